"""CSV (RFC 4180) that a spreadsheet opens without running anything (decisions T14).

A cell that a spreadsheet would take for a formula gets an apostrophe in front, which spreadsheets hide; line ends
inside a cell become spaces, and controls are written out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["csv_cell", "csv_lines"]

_RUNS: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_SPACE: Final = re.compile(r"[\r\n\t]+")
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def csv_cell(text: str) -> str:
    """`text` as one harmless cell; numbers stay numbers."""
    is_formula = text.lstrip(" ").startswith(_RUNS) and not _NUMBER.fullmatch(text)
    seen = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", _SPACE.sub(" ", text))
    return f"'{seen}" if is_formula else seen


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV, each ended by CR LF."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()

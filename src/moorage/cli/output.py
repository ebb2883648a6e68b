"""What a command prints: JSON for programs, sentences and tables for people, refusals for both.

Text that came from outside (subjects, device ids, bodies, server messages) goes through `escape` before it reaches a
terminal: a device must not be able to move the operator's cursor or turn text around (decisions T14). Rich is imported
for tables on a terminal only, and is given `Text`, never markup.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from moorage.errors import Refusal

__all__ = ["escape", "escape_time", "moment", "print_json", "print_refusal", "print_table", "style"]


def escape(text: object) -> str:
    """`text` on one line with all that is not printable written as `\\xNN` or `\\uNNNN`.

    Not printable are controls, formats (bidirectional overrides, zero width), separators other than the space, and code
    points that are private or unknown, of which a terminal may know more than we do.
    """
    plain = str(text)
    return plain if plain.isprintable() else "".join(map(_shown, plain))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x100:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_time(text: str) -> str:
    """As `escape`, with the service's seven fraction digits cut to three, or to none when there is nothing in them."""
    return escape(re.sub(r"(?:\.0+|(\.[0-9]{3})[0-9]*)Z$", r"\1Z", text))


def moment(text: str) -> str:
    """A time of the service to the second, or `never` for the year 1, which says so on the wire."""
    return "never" if text.startswith("0001-") else re.sub(r"\.[0-9]+", "", text)


def print_json(document: Any) -> None:
    """One document on one line, in ASCII."""
    print(json.dumps(document, default=str), flush=True)


def print_refusal(refusal: Refusal, as_json: bool) -> None:
    """On standard error: `reason: message`, then the fix."""
    if as_json:
        error: dict[str, str] = {"reason": refusal.reason, "message": refusal.message}
        if refusal.fix:
            error["fix"] = refusal.fix
        print(json.dumps({"error": error}), file=sys.stderr)
        return
    print(f"{escape(refusal.reason)}: {escape(refusal.message)}", file=sys.stderr)
    if refusal.fix:
        print(f"  fix: {escape(refusal.fix)}", file=sys.stderr)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, dispensable: Sequence[str] = ()) -> None:
    """Aligned columns; with headings and colour on a terminal, tab-separated in a pipe.

    On a terminal that is too narrow those `dispensable` columns that there are go one by one, in their order, and are
    named below.
    """
    cells = [[escape("" if value is None else value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (list(columns), *cells):
            print("\t".join(row))
        return
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = {
        column: max(cell_len(cell) for cell in (column, *cells_below))
        for column, *cells_below in zip(columns, *cells, strict=True)
    }
    left_out = []
    for column in dispensable:
        if sum(widths.values()) + _GAP * (len(widths) - 1) <= console.width:
            break
        if column in widths:
            del widths[column]
            left_out.append(column)
    kept = [index for index, column in enumerate(columns) if column in widths]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in widths:
        table.add_column(Text(column), overflow="fold")
    for row in cells:
        table.add_row(*(Text(row[index]) for index in kept))
    console.print(table)
    if left_out:
        print(style(f"No room for: {', '.join(left_out)}", "dim"))


# Cells between two columns of a table.
_GAP = 2


_STYLES: Mapping[str, str] = {"good": "32", "bad": "31", "dim": "2", "bold": "1"}


def style(text: str, name: str) -> str:
    """`text` in one of our few styles, when standard output is a terminal; `text` has been escaped before."""
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if sys.stdout.isatty() else text

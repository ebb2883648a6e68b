"""What people are told, word for word: kept beside the tests in `*_told.txt`.

So a change of a sentence is a change of a file that somebody reads. `TOLD=write` in the environment writes them anew.
Times and hashes differ from run to run and are compared by their form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from moorage.errors import Refusal

__all__ = ["compare", "refusal_lines"]

_MARKS = {True: "passed", False: "FAILED", None: "not reached"}
_FORMS = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z| UTC)?"), "<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<day>"),
    (re.compile(r"\b[0-9A-Fa-f]{40,}\b"), "<hex>"),
)


def refusal_lines(title: str, refused: Callable[[], object], *, checks: bool = True) -> list[str]:
    """The refusal of `refused`, which has to raise one: its class, reason, sentence, fix, and checks."""
    try:
        refused()
    except Refusal as refusal:
        assert isinstance(refusal.fix, str)
        lines = [
            f"{title}: {type(refusal).__name__}",
            f"  {refusal.reason}: {refusal.message}",
            *([f"  fix: {refusal.fix}"] if refusal.fix else []),
        ]
        if checks:
            lines += [
                f"  {_MARKS[check.passed]} {check.name}" + (f": {check.detail}" if check.detail else "")
                for check in refusal.checks
            ]
        return lines
    raise AssertionError(f"{title} was not refused")


def compare(file: Path, lines: Iterable[str]) -> None:
    """Fails where `file` says something else."""
    text = "\n".join(lines) + "\n"
    for form, shown in _FORMS:
        text = form.sub(shown, text)
    if os.environ.get("TOLD") == "write":
        file.write_text(text)
    assert file.read_text() == text, "somebody is told something else now; if that is meant: TOLD=write"

"""What is wrong with a query, and where: every "no" of the language names a place in the text."""

from __future__ import annotations

from moorage.errors import Invalid

__all__ = ["InvalidQuery", "excerpt", "line_and_column"]

_SHOWN_CHARS = 40


class InvalidQuery(Invalid):
    """A text that is no query. `at` is the character that the sentence points at, `length` how many it is about.

    `said` is the sentence without its place.
    """

    def __init__(self, reason: str, text: str, at: int, message: str, *, length: int = 1, fix: str = "") -> None:
        line, column = line_and_column(text, at)
        super().__init__(reason, f"line {line}, column {column}: {message}", fix=fix)
        self.said = message
        self.text = text
        self.at = at
        self.length = length

    def excerpt(self) -> str:
        return excerpt(self.text, self.at, self.length)


def excerpt(text: str, at: int, length: int = 1) -> str:
    """The line in question, cut to what a terminal shows, and a caret under the place."""
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : len(text) if end < 0 else end]
    offset = at - begin
    cut = max(0, offset - _SHOWN_CHARS)
    shown = line[cut : offset + _SHOWN_CHARS]
    return f"{shown}\n{' ' * (offset - cut)}{'^' * max(1, min(length, len(shown) - (offset - cut)))}"


def line_and_column(text: str, at: int) -> tuple[int, int]:
    """Both from 1, counted in characters."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)

"""Text that comes in pieces, cut into lines whose place is known, so that reading can go on behind any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_LINE_BYTES", "Line", "LineCutter"]

# A twin at all its limits, each member with its metadata, and room to spare.
MAX_LINE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """`text` without its end; None when it was too long to be kept. `end` is the position behind it."""

    number: int
    end: int
    text: bytes | None


class LineCutter:
    """Begins at byte `position`, behind line `number`. Holds at most one line and what was fed last."""

    def __init__(self, position: int = 0, number: int = 0) -> None:
        self._position = position
        self._number = number
        self._rest = bytearray()
        self._is_too_long = False

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that are complete now, cut while they are asked for: a megabyte may hold a million. They have to
        be taken to the last before anything else is asked of the cutter.
        """
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            yield self._line(data[begin:end], end + 1 - begin)
            begin = end + 1
        self._keep(data[begin:])

    def finish(self) -> list[Line]:
        """What is left, if the last line has no end."""
        return [self._line(b"", 0)] if self._rest or self._is_too_long else []

    def _line(self, text: bytes, consumed: int) -> Line:
        self._keep(text)
        whole = None if self._is_too_long else bytes(self._rest)
        self._position += consumed - len(text)
        self._number += 1
        self._rest.clear()
        self._is_too_long = False
        return Line(self._number, self._position, whole)

    def _keep(self, text: bytes) -> None:
        self._position += len(text)
        if self._is_too_long or len(self._rest) + len(text) > MAX_LINE_BYTES:
            self._is_too_long = True
            self._rest.clear()
        else:
            self._rest += text

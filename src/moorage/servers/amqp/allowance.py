"""What the peers of a hub may keep in its memory without having been let in for it.

.NET opens a session for each of up to a thousand devices before it has shown a token for the first of them, so one
connection cannot simply be kept small. Each may hold `OWN_BYTES`, and as much again for every identity that was let in
on it; what it holds beyond comes out of `SHARED_BYTES`, which all connections of the hub have together. When that is
used up, whoever wants more of it is closed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OWN_BYTES", "SHARED_BYTES", "Allowance", "Share"]

OWN_BYTES: Final = 64 * 1024
SHARED_BYTES: Final = 64 * 1024 * 1024


class Allowance:
    """One hub's: how much of `SHARED_BYTES` is lent."""

    __slots__ = ("lent",)

    def __init__(self) -> None:
        self.lent = 0


class Share:
    """One connection's loan."""

    __slots__ = ("_allowance", "_lent")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._lent = 0

    def hold(self, size: int, identities: int) -> bool:
        """Whether a connection on which so many were let in may go on with `size` bytes."""
        beyond = max(0, size - OWN_BYTES * (1 + identities))
        if beyond != self._lent:
            self._allowance.lent += beyond - self._lent
            self._lent = beyond
        return not beyond or self._allowance.lent <= SHARED_BYTES

    def give_back(self) -> None:
        self._allowance.lent -= self._lent
        self._lent = 0

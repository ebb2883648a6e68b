"""Deliveries by their id, and ranges of them.

A disposition names a range of up to 2**32 ids, and a peer may send thousands of them that settle nothing. So a range is
looked up in the sorted list of the ids that were added, never counted through.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Unsettled", "signed"]

T = TypeVar("T")


def signed(difference: int) -> int:
    """A difference of two numbers of 32 bits that wrap around, as -2**31 to 2**31 - 1 (RFC 1982)."""
    return ((difference + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class Unsettled(Generic[T]):
    """Deliveries that wait for an outcome. Ids are added in growing order, wrapping around at 2**32."""

    __slots__ = ("_by_key", "_keys", "_last")

    def __init__(self) -> None:
        # Keys are ids counted on beyond 2**32, so that they sort. `_keys` may hold some that were taken out.
        self._keys: list[int] = []
        self._by_key: dict[int, T] = {}
        self._last = -1

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, id: int, delivery: T) -> bool:
        """Whether `id` comes after all that were added before; only then it is added."""
        step = (id - self._last) & 0xFFFFFFFF
        if self._last < 0:
            self._last = id
        elif 0 < step < 0x80000000:
            self._last += step
        else:
            return False
        keys = self._keys
        if len(keys) > 2 * len(self._by_key) + 64:
            self._keys = keys = list(self._by_key)
        keys.append(self._last)
        self._by_key[self._last] = delivery
        return True

    def pop(self, id: int) -> T | None:
        """Take one out; None when it is not there."""
        return self._by_key.pop(self._last + signed(id - self._last), None)

    def pop_range(self, first: int, last: int) -> list[T]:
        """Take out all from `first` to `last`, both included."""
        low, high = self._last + signed(first - self._last), self._last + signed(last - self._last)
        begin, end = bisect_left(self._keys, low), bisect_right(self._keys, high)
        keys = self._keys[begin:end]
        del self._keys[begin:end]
        return [self._by_key.pop(key) for key in keys if key in self._by_key]

    def discard(self, is_gone: Callable[[T], bool]) -> None:
        """Take out those for which `is_gone`."""
        for key in [key for key, delivery in self._by_key.items() if is_gone(delivery)]:
            del self._by_key[key]

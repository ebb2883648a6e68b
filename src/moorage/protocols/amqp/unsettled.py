"""Deliveries by their id, and ranges of them.

A disposition names a range of up to 2**32 ids, and a peer may send thousands of them that settle nothing. So a range is
looked up in a sorted list of the ids that are left, never counted through.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Generic, TypeVar

__all__ = ["Unsettled", "signed"]

T = TypeVar("T")


def signed(difference: int) -> int:
    """A difference of two numbers of 32 bits that wrap around, as -2**31 to 2**31 - 1 (RFC 1982)."""
    return ((difference + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class Unsettled(Generic[T]):
    """Deliveries that wait for an outcome. Ids are added in growing order, wrapping around at 2**32."""

    __slots__ = ("_by_id", "_ids", "_last")

    def __init__(self) -> None:
        # Ids counted on beyond 2**32, so that they sort.
        self._ids: list[int] = []
        self._by_id: dict[int, T] = {}
        self._last = -1

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, id: int, delivery: T) -> bool:
        """Whether `id` comes after all that were added before; only then it is added."""
        if self._last < 0:
            self._last = id
        else:
            step = signed(id - self._last)
            if step <= 0:
                return False
            self._last += step
        self._ids.append(self._last)
        self._by_id[self._last] = delivery
        return True

    def _unwrap(self, id: int) -> int:
        return self._last + signed(id - self._last)

    def pop(self, id: int) -> T | None:
        """Take one out; None when it is not there."""
        key = self._unwrap(id)
        delivery = self._by_id.pop(key, None)
        if delivery is not None:
            del self._ids[bisect_left(self._ids, key)]
        return delivery

    def pop_range(self, first: int, last: int) -> list[T]:
        """Take out all from `first` to `last`, both included."""
        low, high = self._unwrap(first), self._unwrap(last)
        begin, end = bisect_left(self._ids, low), bisect_right(self._ids, high)
        keys = self._ids[begin:end]
        del self._ids[begin:end]
        return [self._by_id.pop(key) for key in keys]

    def clear(self) -> list[T]:
        """Take out all."""
        deliveries = list(self._by_id.values())
        self._ids.clear()
        self._by_id.clear()
        return deliveries

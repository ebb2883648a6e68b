"""What a target is: a parser of ours, and what has to hold of it whatever bytes it is given.

A target's `check` returns for input that is read and for input that is refused as declared, and raises for everything
else: an error of another kind, a round trip that changes something, a difference that comes from where the bytes were
cut. How long an input may take and how much memory it may hold is judged here, for all targets alike.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["MOST_BYTES", "MOST_S", "Target", "TooSlow", "cut", "names"]

# Of the processor's time, with the instruments of a fuzzer in every branch. The worst that is right takes a tenth.
MOST_S: Final = 2.0
# Beyond the input: `tests/fuzz/test_corpus.py` measures it, and a fuzzer's own limit stands in `guided`.
MOST_BYTES: Final = 32 * 1024 * 1024


class TooSlow(Exception):
    """An input took more than `MOST_S`."""


@dataclass(frozen=True)
class Target:
    """`seeds` are inputs that are right, `words` what fuzzers may put into them, `most_bytes` is the longest input, and
    with `is_json` one is changed as a document too, member by member."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    most_bytes: int = 4096
    is_json: bool = False

    def try_one(self, data: bytes) -> None:
        """Raises what `check` raises, and `TooSlow`."""
        began = time.thread_time()
        self.check(data)
        took = time.thread_time() - began
        if took > MOST_S:
            raise TooSlow(f"{len(data)} bytes took {took:.1f} s of the processor's time")


def cut(data: bytes) -> Iterator[bytes]:
    """`data` in pieces as a network might bring it; the same pieces for the same data."""
    size = 1 + zlib.crc32(data) % 13
    for at in range(0, len(data), size):
        yield data[at : at + size]


def names(targets: Iterable[Target]) -> list[str]:
    return [target.name for target in targets]

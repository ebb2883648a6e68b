"""Certificates one behind the other in one column: each is its length, in four bytes, and its DER."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["pack", "unpack"]


def pack(certificates: Iterable[bytes]) -> bytes:
    return b"".join(len(der).to_bytes(4, "big") + der for der in certificates)


def unpack(packed: bytes) -> tuple[bytes, ...]:
    """The other way round of `pack`."""
    found, at = [], 0
    while at < len(packed):
        size = int.from_bytes(packed[at : at + 4], "big")
        found.append(packed[at + 4 : at + 4 + size])
        at += 4 + size
    return tuple(found)

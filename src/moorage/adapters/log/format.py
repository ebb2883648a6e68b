"""The bytes of a segment file, version 1. All integers little-endian.

    segment   header, then frames without a gap
    header    magic "MOORLOG" + version u8 · partitions u16 · salt u32 · base u64
              · per partition: next sequence u64, last enqueued ms i64 · crc u32
    frame     one batch: magic "mfr1" · payload length u32 · position u64 · number of records u32 · payload crc u32
              · header crc u32 · records
    record    length of all of it u32 · partition u16 · source length u16 · bag length u32 · sequence u64
              · enqueued ms i64 · source · bag · body

`base` and `position` are places in the whole stream: a segment's first byte is at `base`, so a place is a file and an
offset into it by subtraction, and the file's name says its base. Checksums are CRC-32 that starts from the segment's
random salt: a device cannot send a body that would pass for a frame, nor can a frame of one segment pass in another.
The checksum covers a batch rather than each record: a batch reaches the disk as one write, and a checksum per record
costs 0.3 microseconds each (bench/log.py).

A *hint* is one line of the sparse index beside a segment: position u64, then the state there as in the header, crc u32.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "FRAME_HEADER",
    "FRAME_MAGIC",
    "RECORD_HEADER",
    "FrameHeader",
    "Hint",
    "RecordPlace",
    "SegmentHeader",
    "State",
    "decode_frame_header",
    "decode_hints",
    "decode_segment_header",
    "encode_hint",
    "encode_segment_header",
    "hint_size",
    "place_records",
    "seal_frame",
    "segment_header_size",
]

SEGMENT_MAGIC = b"MOORLOG\x01"
FRAME_MAGIC = b"mfr1"
_SEGMENT_HEADER = struct.Struct("<8sHIQ")
_STATE = struct.Struct("<Qq")
_CRC = struct.Struct("<I")
FRAME_HEADER = struct.Struct("<4sIQIII")
_CHECKED_FRAME_HEADER = FRAME_HEADER.size - _CRC.size
RECORD_HEADER = struct.Struct("<IHHIQq")
_POSITION = struct.Struct("<Q")


class State(NamedTuple):
    """Per partition: the sequence number the next record gets, and the enqueued time it may not fall behind."""

    next_sequence: tuple[int, ...]
    last_ms: tuple[int, ...]


class SegmentHeader(NamedTuple):
    """`state` is how things stood when the segment was begun, so it also sums up all segments before it."""

    base: int
    salt: int
    state: State

    @property
    def first_frame(self) -> int:
        """Where in the stream the first frame begins."""
        return self.base + segment_header_size(len(self.state.next_sequence))


class FrameHeader(NamedTuple):
    length: int
    position: int
    record_count: int
    payload_crc: int

    @property
    def end(self) -> int:
        return self.position + FRAME_HEADER.size + self.length


class RecordPlace(NamedTuple):
    """Where a record lies in its frame's payload, and what its header says."""

    start: int
    size: int
    partition: int
    source_length: int
    bag_length: int
    sequence: int
    enqueued_ms: int


class Hint(NamedTuple):
    """A frame begins at `position`, and the state before it is `state`."""

    position: int
    state: State


def segment_header_size(partitions: int) -> int:
    return _SEGMENT_HEADER.size + partitions * _STATE.size + _CRC.size


def encode_segment_header(header: SegmentHeader) -> bytes:
    data = _SEGMENT_HEADER.pack(SEGMENT_MAGIC, len(header.state.next_sequence), header.salt, header.base)
    data += _encode_state(header.state)
    return data + _CRC.pack(zlib.crc32(data))


def decode_segment_header(data: bytes) -> SegmentHeader:
    """The header at the start of `data`. Raises `ValueError`, saying what is wrong with it."""
    if len(data) < _SEGMENT_HEADER.size:
        raise ValueError(f"a segment header in {len(data)} bytes")
    magic, partitions, salt, base = _SEGMENT_HEADER.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        raise ValueError(f"begins with {magic!r}, not with {SEGMENT_MAGIC!r}")
    end = segment_header_size(partitions) - _CRC.size
    if len(data) < end + _CRC.size:
        raise ValueError("segment header cut short")
    if zlib.crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise ValueError("checksum of the segment header does not fit")
    return SegmentHeader(base, salt, _decode_state(data, _SEGMENT_HEADER.size, partitions))


def seal_frame(frame: bytearray, *, position: int, count: int, salt: int) -> None:
    """Fill in the header of `frame`, whose first `FRAME_HEADER.size` bytes were left free for it."""
    payload = memoryview(frame)[FRAME_HEADER.size :]
    crc = zlib.crc32(payload, salt)
    FRAME_HEADER.pack_into(frame, 0, FRAME_MAGIC, len(payload), position, count, crc, 0)
    header_crc = zlib.crc32(frame[:_CHECKED_FRAME_HEADER], salt)
    _CRC.pack_into(frame, _CHECKED_FRAME_HEADER, header_crc)


def decode_frame_header(data: bytes | memoryview, at: int, *, position: int, salt: int) -> FrameHeader | None:
    """The frame header at `data[at:]` if it is whole and says that it belongs at `position`, else None."""
    if len(data) - at < FRAME_HEADER.size:
        return None
    magic, length, said, count, payload_crc, header_crc = FRAME_HEADER.unpack_from(data, at)
    if magic != FRAME_MAGIC or said != position:
        return None
    if zlib.crc32(data[at : at + _CHECKED_FRAME_HEADER], salt) != header_crc:
        return None
    return FrameHeader(length, position, count, payload_crc)


def place_records(payload: bytes | memoryview, count: int, partitions: int) -> list[RecordPlace]:
    """Raises `ValueError` when the records do not fill the payload exactly."""
    places: list[RecordPlace] = []
    at = 0
    end = len(payload)
    fixed = RECORD_HEADER.size
    while at < end:
        if end - at < fixed:
            raise ValueError("a record is cut short")
        size, partition, source_length, bag_length, sequence, enqueued_ms = RECORD_HEADER.unpack_from(payload, at)
        if size < fixed + source_length + bag_length or at + size > end or partition >= partitions:
            raise ValueError("a record does not fit its batch")
        places.append(RecordPlace(at, size, partition, source_length, bag_length, sequence, enqueued_ms))
        at += size
    if len(places) != count:
        raise ValueError(f"{len(places)} records where {count} were written")
    return places


def hint_size(partitions: int) -> int:
    return _POSITION.size + partitions * _STATE.size + _CRC.size


def encode_hint(hint: Hint, salt: int) -> bytes:
    data = _POSITION.pack(hint.position) + _encode_state(hint.state)
    return data + _CRC.pack(zlib.crc32(data, salt))


def decode_hints(data: bytes, header: SegmentHeader, end: int) -> list[Hint]:
    """The hints up to the first that is damaged, out of order, or past `end`."""
    partitions = len(header.state.next_sequence)
    size = hint_size(partitions)
    hints: list[Hint] = []
    last = header.first_frame
    for at in range(0, len(data) - size + 1, size):
        checked = data[at : at + size - _CRC.size]
        (position,) = _POSITION.unpack_from(checked)
        if zlib.crc32(checked, header.salt) != _CRC.unpack_from(data, at + size - _CRC.size)[0]:
            break
        if not last < position <= end:
            break
        hints.append(Hint(position, _decode_state(checked, _POSITION.size, partitions)))
        last = position
    return hints


def _encode_state(state: State) -> bytes:
    return b"".join(_STATE.pack(*pair) for pair in zip(state.next_sequence, state.last_ms, strict=True))


def _decode_state(data: bytes, at: int, partitions: int) -> State:
    pairs: Sequence[tuple[int, int]] = [_STATE.unpack_from(data, at + i * _STATE.size) for i in range(partitions)]
    return State(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))

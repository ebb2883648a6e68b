"""Walk the frames of one segment, and say plainly where they are damaged.

Used three ways: recovery looks for the end of the last whole batch, readers look for messages, and a lost index is made
again. All of them meet the same `Damage`; each decides what it means.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from moorage.adapters.log.files import Files
from moorage.adapters.log.format import (
    FRAME_HEADER,
    FRAME_MAGIC,
    FrameHeader,
    Hint,
    RecordPlace,
    SegmentHeader,
    State,
    decode_frame_header,
    place_records,
)

__all__ = ["HINT_BYTES", "Damage", "Frame", "build_hints", "scan", "state_after"]

# One line of the sparse index per so many bytes of log: about 0.1 % on top of the log, and what a read may have to
# walk before it is where it wants to be.
HINT_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024


class Frame(NamedTuple):
    position: int
    end: int
    payload: memoryview
    records: list[RecordPlace]


class Damage(NamedTuple):
    """No whole frame at `position`; the next one is at `resume`, or there is none before the end of the scan."""

    position: int
    resume: int | None
    why: str


class _Window:
    """A stretch of the file in memory: one read for many small frames."""

    def __init__(self, files: Files, handle: int, base: int, end: int) -> None:
        self._files, self._handle, self._base, self._end = files, handle, base, end
        self._start = 0
        self._data = b""

    def get(self, position: int, count: int) -> memoryview:
        """Up to `count` bytes at stream position `position`; fewer at the end of the scan or of the file."""
        count = min(count, self._end - position)
        if not self._start <= position or position + count > self._start + len(self._data):
            wanted = min(max(count, _CHUNK_BYTES), self._end - position)
            self._data = self._files.pread(self._handle, wanted, position - self._base)
            self._start = position
        at = position - self._start
        return memoryview(self._data)[at : at + count]


def scan(
    files: Files, handle: int, header: SegmentHeader, start: int, end: int, *, skip_to: int = 0
) -> Iterator[Frame | Damage]:
    """Frames from stream position `start` up to `end`. Those that end at or before `skip_to` are stepped over unread.

    After a `Damage` with a `resume` the walk goes on there. Holds one frame, or a quarter of a megabyte, at a time.
    """
    window = _Window(files, handle, header.base, end)
    partitions = len(header.state.next_sequence)
    position = start
    while position < end:
        head = decode_frame_header(window.get(position, FRAME_HEADER.size), 0, position=position, salt=header.salt)
        why = "no frame begins here"
        if head is not None and head.end <= end:
            if head.end <= skip_to:
                position = head.end
                continue
            frame = _read_frame(window, head, header.salt, partitions)
            if isinstance(frame, Frame):
                yield frame
                position = head.end
                continue
            why = frame
        elif head is not None:
            why = f"a frame of {head.length} bytes begins here and {end - position} are left"
        resume = _next_frame(window, position + 1, end, header.salt)
        yield Damage(position, resume, why)
        if resume is None:
            return
        position = resume


def state_after(state: State, records: list[RecordPlace]) -> State:
    """`state` as it is behind a frame that holds `records`."""
    sequences, times = list(state.next_sequence), list(state.last_ms)
    for record in records:
        sequences[record.partition] = record.sequence + 1
        times[record.partition] = record.enqueued_ms
    return State(tuple(sequences), tuple(times))


def build_hints(files: Files, handle: int, header: SegmentHeader, known: list[Hint], end: int) -> list[Hint]:
    """`known` hints and those that are missing behind them, up to `end` or the first damage.

    Not past a damage: what the lost records counted to is unknown there, and a hint that understates it would lead a
    reader around the damage instead of onto it.
    """
    hints = list(known)
    position, state = hints[-1] if hints else Hint(header.first_frame, header.state)
    last = position
    for found in scan(files, handle, header, position, end):
        if isinstance(found, Damage):
            break
        if found.position - last >= HINT_BYTES:
            hints.append(Hint(found.position, state))
            last = found.position
        state = state_after(state, found.records)
    return hints


def _read_frame(window: _Window, head: FrameHeader, salt: int, partitions: int) -> Frame | str:
    payload = window.get(head.position + FRAME_HEADER.size, head.length)
    if len(payload) < head.length:
        return f"a frame of {head.length} bytes begins here and the file has {len(payload)} of them"
    if zlib.crc32(payload, salt) != head.payload_crc:
        return f"the checksum of a batch of {head.record_count} records does not fit"
    try:
        records = place_records(payload, head.record_count, partitions)
    except ValueError as error:
        return str(error)
    return Frame(head.position, head.end, payload, records)


def _next_frame(window: _Window, start: int, end: int, salt: int) -> int | None:
    """The next place where a frame header stands that was written for that very place."""
    position = start
    while end - position >= FRAME_HEADER.size:
        data = bytes(window.get(position, _CHUNK_BYTES))
        if len(data) < FRAME_HEADER.size:
            return None
        at = data.find(FRAME_MAGIC)
        while at >= 0 and len(data) - at >= FRAME_HEADER.size:
            if decode_frame_header(data, at, position=position + at, salt=salt) is not None:
                return position + at
            at = data.find(FRAME_MAGIC, at + 1)
        # Overlap, so that a header across two chunks is seen whole.
        position += max(1, len(data) - FRAME_HEADER.size + 1)
    return None

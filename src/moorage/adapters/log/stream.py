"""The commit stream: segment files, one writer, one `fdatasync` a batch.

    00000000000000000000.log    sealed: another segment begins where it ends
    00000000000067108832.log    active: the only one that is written, and the only one recovery reads
    *.hints                     sparse index beside each; a hint may be lost, never wrong (checksums)
    lock

What holds at every moment, so that power may go at any of them:
- A frame is written only after everything before it was synced. So at most one frame is in doubt, the last one.
- A segment's header and its name in the directory are synced before its first frame is written. So a newest segment
  with a broken header holds nothing and is removed, unless there is something behind the header: then it is damage.
- A segment ends where the next one's name says. Whatever a failed write left behind that place is never read.
- Readers get a `View`, made anew after each sync: nobody sees what is not durable.

After a failed write or sync nothing more goes into that segment: the kernel may have dropped the pages and still
answer the next `fdatasync` with success. `reopen` begins a new segment at the last durable place. For the same reason
recovery writes the last frame once more before it trusts it: the page cache may hold what the disk does not.

A segment that somebody removed under the hub takes what is written to it along and no write fails. `renew_if_lost`,
called now and then and whenever a reader misses the active one, goes on in a fresh segment.

One thread calls `commit`, `reopen`, `renew_if_lost` and `retain`; any thread may look at `view`.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from moorage.adapters.log.files import Files
from moorage.adapters.log.format import (
    RECORD_HEADER,
    Hint,
    SegmentHeader,
    State,
    decode_hints,
    decode_segment_header,
    encode_hint,
    encode_segment_header,
    hint_size,
    seal_frame,
    segment_header_size,
)
from moorage.adapters.log.scan import HINT_BYTES, Damage, scan, state_after
from moorage.errors import Invalid, Unavailable
from moorage.hub.telemetry_log import LogCorrupt

__all__ = [
    "CommitStream",
    "LogSettings",
    "Segment",
    "View",
    "hints_name",
    "load_header",
    "read_hints",
    "refusal_of",
    "state_at_start",
]

logger = logging.getLogger(__name__)

MAX_PARTITIONS = 1024

_SEGMENT_NAME = re.compile(r"(\d{20})\.log")
_HINTS_NAME = re.compile(r"(\d{20})\.hints")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How much, how long. `linger_s` trades latency for CPU at low rates."""

    partitions: int = 4
    segment_bytes: int = 64 * 1024 * 1024
    # A quiet hub also begins new segments, so that retention by age has something to remove.
    segment_span_ms: int = 3_600_000
    retention_ms: int | None = 24 * 3_600_000
    retention_bytes: int | None = 16 * 1024**3
    linger_s: float = 0.0
    # Backlog, gathering and being synced together: where devices should wait, go on, and are refused.
    high_water_bytes: int = 8 * 1024 * 1024
    low_water_bytes: int = 1024 * 1024
    limit_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ValueError(f"telemetry partitions is {self.partitions}; it takes 1 to {MAX_PARTITIONS}")
        if not self.low_water_bytes <= self.high_water_bytes <= self.limit_bytes:
            raise ValueError("the log's low water, high water and limit have to grow in this order")


@dataclass(slots=True)
class Segment:
    """A segment that is there. Sealed ones are known by name alone until somebody reads them."""

    base: int
    header: SegmentHeader | None = None
    # Only the active segment's are held here.
    hints: list[Hint] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.base:020d}.log"


class View(NamedTuple):
    """What is durable. `end` is the place behind it, `state` how things stand there."""

    segments: tuple[Segment, ...]
    end: int
    state: State


def hints_name(base: int) -> str:
    return f"{base:020d}.hints"


def refusal_of(error: BaseException) -> Unavailable:
    """What to tell everyone who waits for the batch that met `error`."""
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            "log.disk_full",
            f"the telemetry log could not be written: {error.strerror}; what it acknowledged before is safe",
            fix="free space on the data folder's disk, or keep less telemetry (retention by age or size)",
        )
    what = error.strerror if isinstance(error, OSError) else repr(error)
    return Unavailable(
        "log.write_failed",
        f"the telemetry log could not be made durable: {what}; nothing is acknowledged until it is reopened",
        fix="look at the disk (dmesg), then restart moorage",
    )


class CommitStream:
    """Open with `CommitStream.open`. `view` is all that readers need."""

    def __init__(self, files: Files, settings: LogSettings) -> None:
        self._files = files
        self._settings = settings
        self._handle: int | None = None
        self._active = Segment(0)
        self._first_ms: int | None = None
        self._hints_handle: int | None = None
        self._hints_count = 0
        self.view = View((), 0, State((0,) * settings.partitions, (0,) * settings.partitions))

    @classmethod
    def open(cls, files: Files, settings: LogSettings) -> CommitStream:
        """Recover: read the tail of the newest segment, cut off a torn batch, be ready to write.

        Raises:
            Conflict: `log.locked`, another process has it.
            Invalid: `log.partitions`, the log was made with another number of partitions.
            LogCorrupt: the newest segment holds records behind an unreadable header.
            Unavailable: the disk does not let us.
        """
        files.lock()
        stream = cls(files, settings)
        try:
            stream._recover()
        except OSError as error:
            stream.close()
            raise refusal_of(error) from error
        except BaseException:
            stream.close()
            raise
        return stream

    def close(self) -> None:
        self._close_handles()
        self._files.unlock()

    def commit(self, frame: bytearray, count: int, state: State) -> None:
        """Make one batch durable. `frame` begins with `FRAME_HEADER.size` free bytes; `state` holds behind it.

        Raises `OSError`: then this stream must not be written until `reopen`.
        """
        files = self._files
        newest_ms = max(state.last_ms)
        if self._roll_due(len(frame), newest_ms):
            self._begin_segment()
        segment, handle = self._active, self._handle
        header = segment.header
        if handle is None or header is None:
            raise Unavailable("log.write_failed", "the log has no open segment; reopen it")
        position = self.view.end
        seal_frame(frame, position=position, count=count, salt=header.salt)
        files.pwrite(handle, frame, position - segment.base)
        files.fdatasync(handle)
        if self._first_ms is None:
            self._first_ms = newest_ms
        self._hint(position, self.view.state)
        self.view = View(self.view.segments, position + len(frame), state)

    def reopen(self) -> None:
        """Go on in a fresh segment behind what is durable. Raises `OSError`."""
        self._close_handles()
        fresh = Segment(self.view.end)
        if fresh.name in self._files.names():
            # Begun by a commit that failed before anything could be acknowledged in it.
            self._files.unlink(fresh.name)
            self._files.sync_directory()
        self._begin_segment()

    def renew_if_lost(self) -> bool:
        """Go on in a fresh segment if the active one's file is gone from the folder; whether it was.

        Raises `OSError`: then this stream must not be written until `reopen`.
        """
        if self._handle is None or self._files.holds(self._active.name, self._handle):
            return False
        logger.error(
            "log_segment_lost file=%s from=%d to=%d: it is no longer in the folder, and what was stored in it is gone",
            self._active.name,
            self._active.base,
            self.view.end,
        )
        self.reopen()
        return True

    def retain(self, now_ms: int | None) -> int:
        """Remove the oldest segments past the age or size kept, never the active one; how many.

        None for `now_ms` looks at the size alone. Raises `OSError`.
        """
        removed = 0
        settings = self._settings
        while len(self.view.segments) > 1:
            oldest, second = self.view.segments[:2]
            too_big = settings.retention_bytes is not None and self.view.end - oldest.base > settings.retention_bytes
            too_old = (
                settings.retention_ms is not None
                and now_ms is not None
                and max(state_at_start(self._files, self.view, 1).last_ms) < now_ms - settings.retention_ms
            )
            if not (too_big or too_old):
                break
            self.view = self.view._replace(segments=self.view.segments[1:])
            if self._files.length(oldest.name) is not None:
                self._files.unlink(oldest.name)
            # One at a time, oldest first: a power cut must not leave a hole between segments.
            self._files.sync_directory()
            if hints_name(oldest.base) in self._files.names():
                self._files.unlink(hints_name(oldest.base))
            removed += 1
            logger.info("log_segment_removed from=%d to=%d too_old=%s", oldest.base, second.base, too_old)
        return removed

    def _roll_due(self, frame_bytes: int, newest_ms: int) -> bool:
        active, end = self._active, self.view.end
        if active.header is None or end == active.header.first_frame:
            return False
        if end - active.base + frame_bytes > self._settings.segment_bytes:
            return True
        return self._first_ms is not None and newest_ms - self._first_ms >= self._settings.segment_span_ms

    def _begin_segment(self) -> None:
        """At the durable end; the view then ends behind the new header."""
        view = self.view
        header = SegmentHeader(view.end, int.from_bytes(os.urandom(4), "little"), view.state)
        segment = Segment(view.end, header)
        handle = self._files.create(segment.name)
        try:
            self._files.pwrite(handle, encode_segment_header(header), 0)
            self._files.fdatasync(handle)
            self._files.sync_directory()
        except BaseException:
            self._files.close(handle)
            raise
        self._close_handles()
        # The sealed one's are read from beside it, when somebody asks.
        self._active.hints = []
        self._active, self._handle, self._first_ms = segment, handle, None
        self._open_hints([])
        self.view = View((*view.segments, segment), header.first_frame, view.state)

    def _recover(self) -> None:
        names = self._files.names()
        bases = sorted(int(match[1]) for name in names if (match := _SEGMENT_NAME.fullmatch(name)))
        self._tell_gaps(names, bases)
        header: SegmentHeader | None = None
        while bases and header is None:
            header = self._open_newest(Segment(bases[-1]))
            if header is None:
                bases.pop()
        for name in names:
            match = _HINTS_NAME.fullmatch(name)
            if name.endswith(".new") or (match and int(match[1]) not in bases):
                self._files.unlink(name)
        if header is None:
            self._begin_segment()
            return
        self._active = Segment(header.base, header)
        self._first_ms = max(header.state.last_ms) or None
        segments = (*(Segment(base) for base in bases[:-1]), self._active)
        end, state = self._recover_tail(header)
        self.view = View(segments, end, state)

    def _tell_gaps(self, names: list[str], bases: list[int]) -> None:
        """Say which stretches of the stream no file holds, and which files are missing if their indexes are left."""
        for base, following in pairwise(bases):
            end = base + (self._files.length(Segment(base).name) or 0)
            if end < following:
                logger.error(
                    "log_gap from=%d to=%d: %s ends early or a segment between it and %s is missing",
                    end,
                    following,
                    Segment(base).name,
                    Segment(following).name,
                )
        indexed = {int(match[1]) for name in names if (match := _HINTS_NAME.fullmatch(name))}
        for base in sorted(indexed.difference(bases)):
            logger.error("log_segment_missing file=%s: its index is here, what was stored is not", Segment(base).name)

    def _open_newest(self, segment: Segment) -> SegmentHeader | None:
        """Its header, with `_handle` open; None when its creation was cut short, and then it is gone."""
        files, partitions = self._files, self._settings.partitions
        handle = self._handle = files.open(segment.name)
        try:
            header = _read_header(files, handle, segment.base, MAX_PARTITIONS)
        except ValueError as error:
            if files.size(handle) > segment_header_size(partitions):
                raise LogCorrupt(
                    f"{segment.name}: {error}, but there are records behind it",
                    offset=segment.base,
                    resume_offset=segment.base + files.size(handle),
                    fix=f"restore {segment.name} from a copy, or move it away and lose what it holds",
                ) from error
            self._close_handles()
            files.unlink(segment.name)
            files.sync_directory()
            return None
        if len(header.state.next_sequence) != partitions:
            raise Invalid(
                "log.partitions",
                f"the log has {len(header.state.next_sequence)} partitions, the setting says {partitions}; "
                "a device must stay in its partition",
                fix="set the number of partitions back",
            )
        return header

    def _recover_tail(self, header: SegmentHeader) -> tuple[int, State]:
        """Find the last whole batch, cut off what is behind it, and make sure of what stays."""
        files, handle = self._files, self._handle
        if handle is None:
            raise Unavailable("log.write_failed", "the log has no open segment; reopen it")
        file_end = header.base + files.size(handle)
        hints = self._read_hints(header, file_end)
        end, state = hints[-1] if hints else Hint(header.first_frame, header.state)
        last_hint = end
        found = len(hints)
        last_frame: tuple[int, int] | None = None
        damaged = False
        for item in scan(files, handle, header, end, file_end):
            if isinstance(item, Damage):
                if item.resume is None:
                    break
                # Whole batches follow, so this one was acknowledged: keep it all, let readers report it. No number
                # that a lost record may have carried is given out again.
                damaged = True
                lost = (item.resume - item.position) // RECORD_HEADER.size
                state = State(tuple(number + lost for number in state.next_sequence), state.last_ms)
                logger.error("log_damaged segment=%d from=%d to=%d", header.base, item.position, item.resume)
                continue
            if item.position - last_hint >= HINT_BYTES and not damaged:
                hints.append(Hint(item.position, state))
                last_hint = item.position
            state = state_after(state, item.records)
            end = item.end
            last_frame = (item.position, item.end)
        if end < file_end:
            logger.warning("log_tail_cut segment=%d at=%d bytes=%d", header.base, end, file_end - end)
            files.truncate(handle, end - header.base)
        files.pwrite(handle, encode_segment_header(header), 0)
        if last_frame is not None:
            at, size = last_frame[0] - header.base, last_frame[1] - last_frame[0]
            files.pwrite(handle, files.pread(handle, size, at), at)
        files.fdatasync(handle)
        files.sync_directory()
        self._active.hints = hints
        self._open_hints(hints if found < len(hints) or not hints else None)
        return end, state

    def _read_hints(self, header: SegmentHeader, end: int) -> list[Hint]:
        name = hints_name(header.base)
        return read_hints(self._files, header, end) if name in self._files.names() else []

    def _open_hints(self, hints: list[Hint] | None) -> None:
        """Open the sidecar for adding to it; with `hints`, write it anew first."""
        header = self._active.header
        if header is None:
            return
        name = hints_name(header.base)
        try:
            if hints is not None:
                self._files.put(name, b"".join(encode_hint(hint, header.salt) for hint in hints))
            self._hints_handle = self._files.open(name)
        except OSError as error:
            self._hints_lost(error)

    def _hint(self, position: int, state: State) -> None:
        segment, header = self._active, self._active.header
        if (
            header is None
            or position - (segment.hints[-1].position if segment.hints else header.first_frame) < HINT_BYTES
        ):
            return
        hint = Hint(position, state)
        if self._hints_handle is not None:
            at = len(segment.hints) * hint_size(len(state.next_sequence))
            try:
                self._files.pwrite(self._hints_handle, encode_hint(hint, header.salt), at)
            except OSError as error:
                self._hints_lost(error)
        segment.hints.append(hint)

    def _hints_lost(self, error: OSError) -> None:
        """The index is made again from the segment when it is missed: no reason to refuse telemetry."""
        logger.warning("log_index_not_written segment=%d error=%s", self._active.base, error.strerror)
        if self._hints_handle is not None:
            self._files.close(self._hints_handle)
            self._hints_handle = None

    def _close_handles(self) -> None:
        for handle in (self._handle, self._hints_handle):
            if handle is not None:
                self._files.close(handle)
        self._handle = self._hints_handle = None


def state_at_start(files: Files, view: View, index: int) -> State:
    """How things stood when segment `index` was begun; of the next one whose header is readable if its own is not.

    That is never earlier than the truth, so a search by it begins too early rather than too late.
    """
    for segment in view.segments[index:]:
        try:
            return load_header(files, segment, len(view.state.next_sequence)).state
        except (LogCorrupt, FileNotFoundError):
            # Damaged, or just removed by retention. Whoever reads on into it is told; here it only bounds a search.
            continue
    return view.state


def load_header(files: Files, segment: Segment, partitions: int) -> SegmentHeader:
    """The segment's header, read once. Raises `FileNotFoundError`, `LogCorrupt` without a place to go on."""
    if segment.header is None:
        handle = files.open(segment.name)
        try:
            segment.header = _read_header(files, handle, segment.base, partitions)
        except ValueError as error:
            raise LogCorrupt(f"{segment.name}: {error}", offset=segment.base, resume_offset=segment.base + 1) from error
        finally:
            files.close(handle)
    return segment.header


def read_hints(files: Files, header: SegmentHeader, end: int) -> list[Hint]:
    """Raises `FileNotFoundError`."""
    handle = files.open(hints_name(header.base))
    try:
        return decode_hints(files.pread(handle, files.size(handle), 0), header, end)
    finally:
        files.close(handle)


def _read_header(files: Files, handle: int, base: int, partitions: int) -> SegmentHeader:
    """Raises `ValueError`, also when there are more than `partitions`."""
    header = decode_segment_header(files.pread(handle, segment_header_size(partitions), 0))
    if header.base != base:
        raise ValueError(f"it says that it begins at {header.base}")
    return header

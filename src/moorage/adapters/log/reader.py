"""Find and read stored messages. Runs in reader threads, beside the writer, on views it published.

A place is found in three steps, none of which reads more than it must: the right segment by bisection over the states
in segment headers, the right stretch by bisection over that segment's hints, and then a walk over its frames.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from moorage.adapters.log.files import Files
from moorage.adapters.log.format import RECORD_HEADER, Hint, SegmentHeader, State, encode_hint
from moorage.adapters.log.scan import HINT_BYTES, Damage, Frame, build_hints, scan
from moorage.adapters.log.stream import Segment, View, hints_name, load_header, read_hints, state_at_start
from moorage.errors import Invalid
from moorage.hub.telemetry_log import LogCorrupt, Page, PartitionState, SourceHeader, StoredMessage

__all__ = ["LogReader"]

logger = logging.getLogger(__name__)

# How much of the log one call looks at, so that a filter which matches nothing does not keep a thread.
_SCAN_BYTES = 4 * 1024 * 1024
# Indexes of sealed segments kept in memory: about 300 KiB each with four partitions.
_INDEXES_KEPT = 8


class _Bounds(NamedTuple):
    """What a record has to satisfy, all of it; zero and None ask for nothing."""

    partition: int | None
    sequence: int
    offset: int
    time: int
    device_id: str | None

    def all_behind(self, state: State) -> bool:
        """Whether every record before `state` fails a bound, so that a search may begin there."""
        if self.partition is None:
            return 0 < self.time > max(state.last_ms)
        return 0 < self.sequence >= state.next_sequence[self.partition] or 0 < self.time > state.last_ms[self.partition]


class LogReader:
    """`view` gives the newest view; every method reads files and blocks."""

    def __init__(self, files: Files, partitions: int, view: Callable[[], View]) -> None:
        self._files = files
        self._partitions = partitions
        self._view = view
        self._indexes: OrderedDict[int, list[Hint]] = OrderedDict()
        self._damaged: set[int] = set()
        self._lock = threading.Lock()

    def read(
        self,
        partition: int | None,
        *,
        from_sequence: int | None = None,
        from_offset: int | None = None,
        from_time: int | None = None,
        device_id: str | None = None,
        limit: int = 256,
    ) -> Page:
        """See `TelemetryLog.read`. The first damage met in a segment is logged, those after it are not."""
        if partition is None and from_sequence is not None:
            raise Invalid("log.partition", f"sequence number {from_sequence} of which partition? each has its own")
        if partition is not None:
            self._check(partition)
        bounds = _Bounds(partition, from_sequence or 0, from_offset or 0, from_time or 0, device_id)
        view = self._view()
        index = self._first_segment(view, bounds)
        messages: list[StoredMessage] = []
        budget = _SCAN_BYTES
        next_offset = view.segments[index].base
        while index < len(view.segments) and budget > 0 and len(messages) < limit:
            segment = view.segments[index]
            try:
                next_offset, budget = self._read_segment(view, index, bounds, messages, limit, budget)
            except FileNotFoundError:
                fresh = self._view()
                if any(other.base == segment.base for other in fresh.segments):
                    damage = _missing(segment, _end_of(view, index))
                    self._tell(view, segment, damage)
                    if not messages:
                        raise damage from None
                    return _page_before(messages)
                next_offset = _end_of(view, index)
            except LogCorrupt as damage:
                self._tell(view, segment, damage)
                if not messages:
                    raise
                return _page_before(messages)
            index += 1
        at_end = index == len(view.segments) and next_offset >= view.end
        return Page(messages, max(next_offset, bounds.offset), at_end)

    def latest(self, partition: int) -> PartitionState:
        """See `TelemetryLog.latest`."""
        self._check(partition)
        view = self._view()
        begin = state_at_start(self._files, view, 0).next_sequence[partition]
        last = view.state.next_sequence[partition] - 1
        empty = last < begin
        found = [] if empty else self.read(partition, from_sequence=last, limit=1).messages
        return PartitionState(
            partition=partition,
            begin_sequence=begin,
            last_sequence=last,
            last_offset=found[0].offset if found else -1,
            last_enqueued_ms=view.state.last_ms[partition] if last >= 0 else -1,
            is_empty=empty,
        )

    def _tell(self, view: View, segment: Segment, damage: LogCorrupt) -> None:
        with self._lock:
            if segment.base in self._damaged:
                return
            self._damaged.intersection_update(other.base for other in view.segments)
            self._damaged.add(segment.base)
        logger.error(
            "log_unreadable file=%s from=%d to=%d message=%r",
            segment.name,
            damage.offset,
            damage.resume_offset,
            damage.message,
        )

    def _check(self, partition: int) -> None:
        if not 0 <= partition < self._partitions:
            raise Invalid("log.partition", f"there is no partition {partition}; they are 0 to {self._partitions - 1}")

    def _first_segment(self, view: View, bounds: _Bounds) -> int:
        """The last segment before whose start nothing can be wanted."""
        low = max(0, bisect_right(view.segments, bounds.offset, key=lambda segment: segment.base) - 1)
        if not bounds.sequence and not bounds.time:
            return low
        high = len(view.segments)
        while high - low > 1:
            middle = (low + high) // 2
            if bounds.all_behind(state_at_start(self._files, view, middle)):
                low = middle
            else:
                high = middle
        return low

    def _read_segment(
        self, view: View, index: int, bounds: _Bounds, messages: list[StoredMessage], limit: int, budget: int
    ) -> tuple[int, int]:
        """Add what fits; where to read on, and what is left of `budget`: zero when the segment was not finished."""
        end = _end_of(view, index)
        if end <= bounds.offset:
            # Nothing here is wanted, so nothing that is wrong with the file may stand in the way of what comes next.
            return end, budget
        try:
            header = load_header(self._files, view.segments[index], self._partitions)
        except LogCorrupt as error:
            raise LogCorrupt(error.message, offset=error.offset, resume_offset=end) from error
        hints = self._hints(view, index, header)
        handle = self._files.open(view.segments[index].name)
        try:
            start = _start(header, hints, bounds)
            for found in scan(self._files, handle, header, start, end, skip_to=bounds.offset):
                if isinstance(found, Damage):
                    resume = found.resume or end
                    if resume <= bounds.offset:
                        continue
                    raise LogCorrupt(
                        f"{view.segments[index].name} at byte {found.position - header.base}: {found.why}",
                        offset=found.position,
                        resume_offset=resume,
                    )
                budget -= found.end - found.position
                stopped = _take(found, bounds, messages, limit)
                if stopped is not None:
                    return stopped, 0
                if budget <= 0:
                    return found.end, 0
        finally:
            self._files.close(handle)
        return end, budget

    def _hints(self, view: View, index: int, header: SegmentHeader) -> list[Hint]:
        segment = view.segments[index]
        if index == len(view.segments) - 1:
            return segment.hints
        with self._lock:
            hints = self._indexes.get(segment.base)
            if hints is None:
                hints = self._load_hints(segment, header, _end_of(view, index))
                self._indexes[segment.base] = hints
                if len(self._indexes) > _INDEXES_KEPT:
                    self._indexes.popitem(last=False)
            self._indexes.move_to_end(segment.base)
        return hints

    def _load_hints(self, segment: Segment, header: SegmentHeader, end: int) -> list[Hint]:
        try:
            hints = read_hints(self._files, header, end)
        except FileNotFoundError:
            hints = []
        covered = hints[-1].position if hints else header.first_frame
        if end - covered <= 2 * HINT_BYTES:
            return hints
        handle = self._files.open(segment.name)
        try:
            rebuilt = build_hints(self._files, handle, header, hints, end)
        finally:
            self._files.close(handle)
        if len(rebuilt) > len(hints):
            try:
                self._files.put(hints_name(segment.base), b"".join(encode_hint(hint, header.salt) for hint in rebuilt))
            except OSError as error:
                # Kept in memory instead; the read itself is none the worse.
                logger.warning("log_index_not_written segment=%d error=%s", segment.base, error.strerror)
        return rebuilt


def _missing(segment: Segment, end: int) -> LogCorrupt:
    return LogCorrupt(
        f"{segment.name} is missing, and with it what was stored from offset {segment.base} to {end}",
        offset=segment.base,
        resume_offset=end,
        fix=f"put {segment.name} back into the hub's telemetry folder; without it, read on from offset {end}",
    )


def _page_before(messages: list[StoredMessage]) -> Page:
    """What was found before a damage; whoever reads on from there is told of it."""
    return Page(messages, messages[-1].offset + 1, at_end=False)


def _end_of(view: View, index: int) -> int:
    return view.segments[index + 1].base if index + 1 < len(view.segments) else view.end


def _start(header: SegmentHeader, hints: list[Hint], bounds: _Bounds) -> int:
    """The last hinted frame before which nothing can be wanted."""
    low = bisect_right(hints, bounds.offset, key=lambda hint: hint.position)
    if bounds.sequence or bounds.time:
        high = len(hints) + 1
        while high - low > 1:
            middle = (low + high) // 2
            if bounds.all_behind(hints[middle - 1].state):
                low = middle
            else:
                high = middle
    return hints[low - 1].position if low else header.first_frame


def _take(frame: Frame, bounds: _Bounds, messages: list[StoredMessage], limit: int) -> int | None:
    """Add the frame's records that satisfy `bounds`; the offset to read on from once there are `limit` messages."""
    payload = frame.payload
    first = frame.end - len(payload)
    partition, sequence, offset, time, device_id = bounds
    for record in frame.records:
        place = first + record.start
        if (
            (partition is not None and record.partition != partition)
            or record.sequence < sequence
            or place < offset
            or record.enqueued_ms < time
        ):
            continue
        at = record.start + RECORD_HEADER.size
        bag_at = at + record.source_length
        try:
            source = SourceHeader.decode(bytes(payload[at:bag_at]))
        except ValueError as error:
            raise LogCorrupt(str(error), offset=place, resume_offset=place + 1) from error
        if device_id is not None and source.device_id != device_id:
            continue
        body_at = bag_at + record.bag_length
        messages.append(
            StoredMessage(
                source=source,
                partition=record.partition,
                sequence=record.sequence,
                offset=place,
                enqueued_ms=record.enqueued_ms,
                bag=bytes(payload[bag_at:body_at]),
                body=bytes(payload[body_at : record.start + record.size]),
            )
        )
        if len(messages) == limit:
            return place + record.size
    return None

"""The telemetry log on disk: the event loop's side of it.

    loop      append ... append │ flush (once a turn, or after the linger)      │ log_durable(n): one call a batch
    thread                      │ write, fdatasync of batch n ──────────────────┤
    loop                        │ append ... append: batch n+1 gathers meanwhile│ flush of n+1 at once

A batch is one bytearray that records are appended to and that is written as it is: no object per message, no copy, and
what the caller passed is not kept. `append` tests one number: `_threshold` stands at whatever needs attention next (the
first record of a batch, the high water mark, the limit, or a log that takes nothing).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from moorage.adapters.log.files import DiskFiles, Files
from moorage.adapters.log.format import FRAME_HEADER, RECORD_HEADER, State
from moorage.adapters.log.reader import LogReader
from moorage.adapters.log.stream import CommitStream, LogSettings, refusal_of
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import LogCorrupt, LogListener, Page, PartitionState

__all__ = ["SegmentLog"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

_pack_record = RECORD_HEADER.pack
_RECORD_BYTES = RECORD_HEADER.size
_FRAME_BYTES = FRAME_HEADER.size
_EMPTY_FRAME = bytes(_FRAME_BYTES)


class _Writer:
    """One thread that runs jobs in order; the outcome of each is handed to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], Callable[[BaseException | None], None]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._run, name="telemetry-log", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run `job` in the thread, then `done(error or None)` on the loop."""
        self._jobs.put((job, done))

    def stop(self) -> None:
        """Finish what was submitted and end the thread. Blocks."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            error: BaseException | None = None
            try:
                job()
            except BaseException as raised:  # whatever it is, those who wait have to hear of it
                error = raised
            self._loop.call_soon_threadsafe(done, error)


class SegmentLog:
    """`TelemetryLog` over segment files.

    Made with `SegmentLog.open` (blocks while it recovers), takes records after `start`. Everything else belongs to the
    event loop it was started on.
    """

    def __init__(self, files: Files, settings: LogSettings, stream: CommitStream) -> None:
        self._settings = settings
        self._stream = stream
        self._reader = LogReader(files, settings.partitions, lambda: stream.view)
        self._read_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="telemetry-read")
        self._writer: _Writer | None = None
        self._listener: LogListener | None = None
        self._refusal: Unavailable | None = _closed()
        self._closing = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._segments = len(stream.view.segments)

        self._batch = 1
        self._frame = bytearray(_EMPTY_FRAME)
        self._threshold = 0
        self._next_sequence: list[int] = []
        self._last_ms: list[int] = []
        self._records_submitted = 0
        self._in_flight_bytes = 0
        self._flush_scheduled = False
        self._flush_due = False
        self._over_high_water = False
        self._gather_after_view()

    @classmethod
    def open(cls, where: Path | Files, settings: LogSettings | None = None) -> SegmentLog:
        """Lock and recover the log in a folder. Raises what `CommitStream.open` raises."""
        files = DiskFiles(where) if isinstance(where, Path) else where
        settings = settings or LogSettings()
        return cls(files, settings, CommitStream.open(files, settings))

    def start(self, listener: LogListener) -> None:
        """Take records from now on, and tell `listener` on the running loop."""
        self._listener = listener
        self._writer = _Writer(asyncio.get_running_loop())
        self._refusal = None

    @property
    def partitions(self) -> int:
        return self._settings.partitions

    @property
    def batch(self) -> int:
        return self._batch

    @property
    def backlog_bytes(self) -> int:
        return self._in_flight_bytes + len(self._frame) - _FRAME_BYTES

    @property
    def durable_start(self) -> int:
        return self._stream.view.segments[0].base

    @property
    def durable_end(self) -> int:
        return self._stream.view.end

    @property
    def failed(self) -> Unavailable | None:
        return self._refusal

    def append(self, source: bytes, partition: int, bag: bytes, body: bytes, enqueued_ms: int) -> int:
        """See `TelemetryLog.append`."""
        if len(self._frame) >= self._threshold:
            self._attend()
        frame = self._frame
        sequence = self._next_sequence[partition]
        last_ms = self._last_ms[partition]
        if enqueued_ms < last_ms:
            enqueued_ms = last_ms
        frame += _pack_record(
            _RECORD_BYTES + len(source) + len(bag) + len(body),
            partition,
            len(source),
            len(bag),
            sequence,
            enqueued_ms,
        )
        frame += source
        frame += bag
        frame += body
        self._next_sequence[partition] = sequence + 1
        self._last_ms[partition] = enqueued_ms
        return self._batch

    async def read(
        self,
        partition: int | None = None,
        *,
        from_sequence: int | None = None,
        from_offset: int | None = None,
        from_time: int | None = None,
        device_id: str | None = None,
        limit: int = 256,
    ) -> Page:
        """See `TelemetryLog.read`."""
        job = partial(
            self._reader.read,
            partition,
            from_sequence=from_sequence,
            from_offset=from_offset,
            from_time=from_time,
            device_id=device_id,
            limit=limit,
        )
        try:
            return await self._in_reader(job)
        except LogCorrupt as damage:
            if damage.offset < self._stream.view.segments[-1].base or not await self._renew_if_lost():
                raise
        # Now the missing segment has an end, so that one report covers all of it.
        return await self._in_reader(job)

    async def latest(self, partition: int) -> PartitionState:
        """See `TelemetryLog.latest`."""
        return await self._in_reader(partial(self._reader.latest, partition))

    async def wait_beyond(self, offset: int) -> None:
        """See `TelemetryLog.wait_beyond`. Raises `Unavailable` (`log.closed`) when the log closes meanwhile."""
        while self.durable_end <= offset:
            if self._closing:
                raise _closed()
            await self._changed()

    async def enforce_retention(self, now: datetime) -> int:
        """See `TelemetryLog.enforce_retention`. Raises `Unavailable` when the disk does not let us.

        Also looks whether the segment that is written is still in its folder, and goes on in a fresh one if it is not.
        """
        await self._renew_if_lost()
        now_ms = int(now.timestamp() * 1000)
        return await self._in_writer(lambda: self._stream.retain(now_ms))

    async def _renew_if_lost(self) -> bool:
        """See `CommitStream.renew_if_lost`. A log that failed is left to `reopen`."""
        if self._refusal is not None:
            return False
        try:
            return await self._in_writer(self._stream.renew_if_lost)
        except Unavailable as refusal:
            # A batch that went to the writer meanwhile meets the same and fails the log itself.
            if self._refusal is None and not self._in_flight_bytes:
                self._fail(refusal)
            raise

    async def reopen(self) -> None:
        """See `TelemetryLog.reopen`. Does nothing when the log has not failed."""
        if self._closing:
            raise _closed()
        if self._refusal is None:
            return
        await self._in_writer(self._stream.reopen)
        self._gather_after_view()
        self._refusal = None
        logger.info("log_reopened at=%d", self.durable_end)

    async def close(self) -> None:
        """See `TelemetryLog.close`. What a failed log still held was refused before, and is not tried again."""
        if self._closing:
            return
        self._closing = True
        self._threshold = 0
        while self._in_flight_bytes or len(self._frame) > _FRAME_BYTES:
            if not self._in_flight_bytes:
                self._submit()
            await self._changed()
        self._refusal = _closed()
        self._wake()
        loop = asyncio.get_running_loop()
        if self._writer is not None:
            await loop.run_in_executor(None, self._writer.stop)
        await loop.run_in_executor(None, self._read_threads.shutdown)
        self._stream.close()

    def _attend(self) -> None:
        """Look at what `_threshold` stood for, and set it for the next time. Raises `Unavailable`."""
        if self._closing:
            raise _closed()
        if self._refusal is not None:
            raise Unavailable(self._refusal.reason, self._refusal.message, fix=self._refusal.fix)
        backlog = self._in_flight_bytes + len(self._frame)
        if backlog >= self._settings.limit_bytes:
            raise Unavailable(
                "log.backlog",
                f"{backlog} bytes of telemetry wait for the disk, the limit is {self._settings.limit_bytes}",
            )
        if not self._flush_scheduled and not self._flush_due:
            self._flush_scheduled = True
            loop = asyncio.get_running_loop()
            if self._settings.linger_s:
                loop.call_later(self._settings.linger_s, self._flush)
            else:
                loop.call_soon(self._flush)
        if backlog >= self._settings.high_water_bytes and not self._over_high_water:
            self._over_high_water = True
            self._told().log_high_water()
        mark = self._settings.limit_bytes if self._over_high_water else self._settings.high_water_bytes
        self._threshold = mark - self._in_flight_bytes

    def _flush(self) -> None:
        self._flush_scheduled = False
        if len(self._frame) == _FRAME_BYTES:
            return
        if self._in_flight_bytes:
            self._flush_due = True
        else:
            self._submit()

    def _submit(self) -> None:
        """Hand the gathering batch to the writer and begin the next."""
        frame, self._frame = self._frame, bytearray(_EMPTY_FRAME)
        records = sum(self._next_sequence)
        state = State(tuple(self._next_sequence), tuple(self._last_ms))
        commit = partial(self._stream.commit, frame, records - self._records_submitted, state)
        self._records_submitted = records
        self._in_flight_bytes = len(frame)
        self._flush_due = False
        self._threshold = 0
        batch, self._batch = self._batch, self._batch + 1
        self._threads().submit(commit, partial(self._committed, batch))

    def _committed(self, batch: int, error: BaseException | None) -> None:
        self._in_flight_bytes = 0
        if error is not None:
            self._fail(error)
            return
        if self._flush_due:
            self._submit()
        self._wake()
        if len(self._stream.view.segments) > self._segments:
            self._threads().submit(self._retain_size, self._retained)
        self._segments = len(self._stream.view.segments)
        self._told().log_durable(batch)
        if self._over_high_water and self.backlog_bytes <= self._settings.low_water_bytes:
            self._over_high_water = False
            self._told().log_low_water()

    def _fail(self, error: BaseException) -> None:
        """Nothing taken and not durable will become so; the numbers it was given are free again."""
        self._refusal = refusal_of(error)
        logger.error("log_failed reason=%s at=%d", self._refusal.reason, self.durable_end, exc_info=error)
        self._batch += 1
        self._over_high_water = False
        self._gather_after_view()
        self._wake()
        self._told().log_failed(self._refusal)

    def _gather_after_view(self) -> None:
        state = self._stream.view.state
        self._frame = bytearray(_EMPTY_FRAME)
        self._threshold = 0
        self._flush_due = False
        self._next_sequence = list(state.next_sequence)
        self._last_ms = list(state.last_ms)
        self._records_submitted = sum(state.next_sequence)

    def _retain_size(self) -> None:
        self._stream.retain(None)

    def _retained(self, error: BaseException | None) -> None:
        if error is not None:
            # The log itself is sound. `enforce_retention`, which the app calls, will meet and report the same.
            logger.error("log_retention_failed", exc_info=error)

    def _wake(self) -> None:
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)

    async def _changed(self) -> None:
        """Until the next commit or failure."""
        woken = asyncio.get_running_loop().create_future()
        self._waiting.add(woken)
        try:
            await woken
        finally:
            self._waiting.discard(woken)

    async def _in_reader(self, job: Callable[[], T]) -> T:
        if self._closing:
            raise _closed()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._read_threads, job)
        except OSError as error:
            raise Unavailable("log.read_failed", f"stored telemetry could not be read: {error.strerror}") from error

    async def _in_writer(self, job: Callable[[], T]) -> T:
        if self._closing:
            # The thread may have ended, and would never come to it.
            raise _closed()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        outcome: list[T] = []

        def done(error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(outcome[0])
            else:
                future.set_exception(refusal_of(error))

        self._threads().submit(lambda: outcome.append(job()), done)
        return await future

    def _threads(self) -> _Writer:
        if self._writer is None:
            raise _closed()
        return self._writer

    def _told(self) -> LogListener:
        if self._listener is None:
            raise _closed()
        return self._listener


def _closed() -> Unavailable:
    return Unavailable("log.closed", "the telemetry log is not open")

"""Follows the telemetry log and keeps the series: politely, since devices come first.

    read a page ──► values of each message, in small slices ──► the open batch ──► written every half second or so
         ▲                                                                              │
         └──────── rest for as long as the work took, where the loop has others to serve ◄┘

All of it happens in one thread of its own. It holds a place in the log and one batch of bounded size; when the hub has
much to do it falls behind, says so (`Progress`), and catches up later. The place is written with what was read up to
it, in one transaction: after a crash it goes on from there, and nothing is counted twice. The log is known again by its
last message; where that does not match (another log, a restored folder), everything is made anew from what the log has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

from moorage.analytics.rollups import MINUTE_MS, Batch, Bucket, DeviceBatch, Key, Readings
from moorage.analytics.series import Pending, Progress, Series
from moorage.clock import Clock
from moorage.errors import Refusal
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage, TelemetryLog

__all__ = [
    "MAX_NAMES",
    "MAX_NAMES_OF_DEVICE",
    "MAX_SHARED",
    "KnownDevice",
    "Place",
    "Projector",
    "ProjectorStore",
    "ReadValues",
]

log = logging.getLogger(__name__)

R = TypeVar("R")

# Different names that one device may send, and all together: what comes under more is not kept.
MAX_NAMES_OF_DEVICE: Final = 256
MAX_NAMES: Final = 100_000
# Devices whose numbers are remembered; about 30 MiB.
_KNOWN: Final = 200_000
# Sets of names that devices may share; a device that sends other names all the time makes ever new ones.
MAX_SHARED: Final = 4_096
_PAGE: Final = 256
# Messages that are read while the lock is held: about a millisecond.
_SLICE: Final = 32
_BREATH_S: Final = 0.0002
# A batch is written when it is so old or so large.
_FLUSH_S: Final = 0.5
_BUSY_FLUSH_S: Final = 4.0
_SMALL_BATCH: Final = 500
_LARGE_BATCH: Final = 10_000
# What came last is on a page within a second: this much of it is waiting for more to come.
_LINGER_S: Final = 0.2
# A loop that wakes us up so much later than we asked for has others to serve.
_PROBE_S: Final = 0.001
_LATE_S: Final = 0.001
_AGAIN_S: Final = 5.0
_TRIM_S: Final = 60.0

# What a message says; None when it is no JSON object. Called in the projector's thread.
ReadValues = Callable[[StoredMessage], Readings | None]


class Place(NamedTuple):
    """How far the store has come: the number of its last batch, where to read on, and its last message."""

    written: int
    end: int
    mark: tuple[int, int, int] | None


class KnownDevice(NamedTuple):
    number: int
    generation: str
    names: frozenset[int]


class ProjectorStore(Protocol):
    """What only the projector asks, in its own thread. Raises `OSError`."""

    def place(self) -> Place: ...

    def find_device(self, device_id: str) -> KnownDevice | None: ...

    def all_names(self) -> dict[Key, int]: ...

    def next_device(self) -> int: ...

    def write(self, batch: Batch) -> None:
        """All of it, in one transaction."""

    def forget(self, device_id: str) -> None:
        """Nothing that was said under this id is the device's any more."""

    def trim(self, minute: int, offset: int) -> bool:
        """Forget some of what lies before this minute and this place in the log; whether there may be more."""

    def reset(self) -> None:
        """Forget everything."""


@dataclass(slots=True)
class _Known:
    number: int
    generation: str
    # Shared by all devices that send the same.
    names: frozenset[int]


class Projector:
    """One hub's. `run` until cancelled, then `close`."""

    def __init__(
        self,
        telemetry: TelemetryLog,
        store: ProjectorStore,
        pending: Pending,
        series: Series,
        read_values: ReadValues,
        clock: Clock,
    ) -> None:
        self._log = telemetry
        self._store = store
        self._pending = pending
        self._series = series
        self._read_values = read_values
        self._clock = clock
        self._progress: Progress = series.progress
        # One thread: what it keeps needs no lock but that of the open batches.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="series")
        self._known: dict[str, _Known] = {}
        self._names: dict[Key, int] = {}
        self._name_sets: dict[frozenset[int], frozenset[int]] = {}
        self._next_device = 1
        self._began_batch = 0.0
        self._trimmed = 0.0
        self._place = 0

    @property
    def behind_bytes(self) -> int:
        return max(0, self._log.durable_end - self._place)

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                await self._begin()
                while True:
                    await self._go_on()
            except Refusal as refusal:
                log.warning("series_wait reason=%s message=%r", refusal.reason, refusal.message)
            except OSError as error:
                log.warning("series_wait error=%s; it is tried again", error)
            except Exception:
                # A fault of ours stops no device, and is told; what is open is read again.
                log.exception("series_failed")
            self._progress.behind_bytes = self.behind_bytes
            await asyncio.sleep(_AGAIN_S)

    async def forget(self, device_id: str) -> None:
        """A device was deleted: who gets its id next is not shown what it said."""
        try:
            await self._in_thread(lambda: self._forget(device_id))
        except OSError as error:
            log.warning("series_not_forgotten device=%s error=%s", device_id, error)

    async def close(self) -> None:
        """Write what is open, as far as the disk lets us, and let the thread go. `run` has ended."""
        try:
            await self._in_thread(self._flush)
        except OSError as error:
            log.warning("series_not_written error=%s; it is read again from the log", error)
        self.thread.shutdown()

    # -- steps ---------------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """From where the store is; what was open before is dropped, and read again."""
        place = await self._in_thread(self._store.place)
        if place.mark is not None and not await self._is_same_log(place):
            log.warning("series_anew place=%d; they do not belong to this telemetry log", place.end)
            await self._in_thread(self._store.reset)
            place = await self._in_thread(self._store.place)
        await self._in_thread(lambda: self._open(place))
        self._place = place.end

    async def _is_same_log(self, place: Place) -> bool:
        assert place.mark is not None
        if place.end > self._log.durable_end:
            return False
        if place.mark[0] < self._log.durable_start:
            return True
        try:
            page = await self._log.read(from_offset=place.mark[0], limit=1)
        except LogCorrupt:
            # Damage is not another log.
            return True
        return bool(page.messages) and _mark(page.messages[0]) == place.mark

    def _open(self, place: Place) -> None:
        self._names = self._store.all_names()
        self._known.clear()
        self._name_sets.clear()
        self._next_device = self._store.next_device()
        with self._pending.lock:
            self._pending.batches[:] = [Batch(place.written + 1, end=place.end, mark=place.mark)]
        self._began_batch = self._clock.monotonic()

    async def _go_on(self) -> None:
        """One page. Raises `OSError`, and `Refusal` when the log cannot be read now."""
        missed = self._log.durable_start - self._place
        if missed > 0:
            if self._place > 0:
                self._progress.missed_bytes += missed
                log.warning("series_missed bytes=%d; they were kept no longer", missed)
            self._place = self._log.durable_start
        try:
            page = await self._log.read(from_offset=self._place, limit=_PAGE)
        except LogCorrupt as damage:
            self._progress.missed_bytes += damage.resume_offset - self._place
            self._place = damage.resume_offset
            return
        began = self._clock.monotonic()
        place = self._place = page.next_offset
        said = await self._in_thread(lambda: self._take(page.messages, place))
        if said:
            self._series.tell(said)
        self._progress.behind_bytes = self.behind_bytes
        if page.at_end:
            if began - self._trimmed > _TRIM_S:
                await self.trim()
            if not await self._something_comes():
                return
            # Under load batches come every millisecond; fewer and larger pages cost less.
            await asyncio.sleep(_LINGER_S)
        else:
            await self._rest(self._clock.monotonic() - began)

    async def _rest(self, worked_s: float) -> None:
        """Between two pages of a long way: as long as the last one took, where the loop has others to serve."""
        before = self._clock.monotonic()
        await asyncio.sleep(_PROBE_S)
        late_s = self._clock.monotonic() - before - _PROBE_S
        if late_s > _LATE_S:
            await asyncio.sleep(worked_s)

    async def _something_comes(self) -> bool:
        """Whether it does before the open batch has to be written, which then is."""
        try:
            async with asyncio.timeout(_FLUSH_S if self._pending.batches[-1].messages else None):
                await self._log.wait_beyond(self._place)
        except TimeoutError:
            await self._in_thread(self._flush)
            return False
        return True

    async def trim(self) -> None:
        """Follow the log's retention: what it keeps no longer is forgotten here as well."""
        self._trimmed = self._clock.monotonic()
        start = self._log.durable_start
        try:
            page = await self._log.read(from_offset=start, limit=1)
        except LogCorrupt:
            return
        if not page.messages:
            return
        minute = page.messages[0].enqueued_ms // MINUTE_MS
        is_done = False
        while not is_done:
            is_done = not await self._in_thread(lambda: self._store.trim(minute, start))
            # Devices have their turn between two of these.
            await asyncio.sleep(_LINGER_S)

    async def _in_thread(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _take(self, messages: Sequence[StoredMessage], end: int) -> set[str]:
        """Put them into the open batch, which is written when it is time. Those listened to that said something."""
        heard: set[str] = set()
        listened = self._series.listened_to
        for at in range(0, len(messages), _SLICE):
            with self._pending.lock:
                batch = self._pending.batches[-1]
                for message in messages[at : at + _SLICE]:
                    self._add(batch, message)
                    if listened and message.source.device_id in listened:
                        heard.add(message.source.device_id)
            # Whoever waits for the interpreter has it now, and not when it is taken from us.
            time.sleep(_BREATH_S)
        batch = self._pending.batches[-1]
        batch.end = end
        age = self._clock.monotonic() - self._began_batch
        if batch.size >= _LARGE_BATCH or age > _BUSY_FLUSH_S or (age > _FLUSH_S and 0 < batch.size < _SMALL_BATCH):
            self._flush()
        return heard

    def _add(self, batch: Batch, message: StoredMessage) -> None:
        source = message.source
        batch.messages += 1
        batch.size += 1
        batch.mark = _mark(message)
        if not source.device_id:
            return
        is_telemetry = source.message_source == "Telemetry"
        # Of a module it is the module's own, and the hub's own messages have none.
        generation = source.generation_id if is_telemetry and source.module_id is None else ""
        known = self._device(batch, source.device_id, generation)
        held = batch.devices.get(source.device_id)
        if held is None or held.number != known.number:
            held = batch.devices[source.device_id] = DeviceBatch(known.number)
        held.offsets.append(message.offset)
        if not is_telemetry:
            return
        came = message.enqueued_ms // MINUTE_MS
        batch.traffic[came] = batch.traffic.get(came, 0) + 1
        readings = self._read_values(message)
        if readings is None:
            return
        minute = readings.at_ms // MINUTE_MS
        for key, value in readings.values:
            number = self._names.get(key)
            if number is None or number not in known.names:
                number = self._new_name(batch, known, key)
                if number is None:
                    self._progress.left_out += 1
                    continue
            said = held.last.get(number)
            if said is None or said[0] <= readings.at_ms:
                held.last[number] = (readings.at_ms, value)
            place = (number, minute)
            bucket = held.buckets.get(place)
            if bucket is None:
                bucket = held.buckets[place] = Bucket()
                batch.size += 1
            bucket.add(value)

    def _device(self, batch: Batch, device_id: str, generation: str) -> _Known:
        known = self._known.get(device_id)
        if known is None:
            found = self._store.find_device(device_id)
            if found is not None:
                known = self._known[device_id] = _Known(found.number, found.generation, self._shared(found.names))
        if known is None or (generation and known.generation and known.generation != generation):
            # Never heard of, or made anew under the same id: what the earlier one said is not its own.
            known = self._known[device_id] = _Known(self._next_device, generation, self._shared(frozenset()))
            self._next_device += 1
            batch.generations[device_id] = (known.number, generation)
        elif generation and not known.generation:
            known.generation = generation
            batch.generations[device_id] = (known.number, generation)
        return known

    def _new_name(self, batch: Batch, known: _Known, key: Key) -> int | None:
        if len(known.names) >= MAX_NAMES_OF_DEVICE:
            return None
        number = self._names.get(key)
        if number is None:
            if len(self._names) >= MAX_NAMES:
                return None
            number = self._names[key] = batch.names[key] = len(self._names) + 1
        known.names = self._shared(known.names | {number})
        return number

    def _forget(self, device_id: str) -> None:
        # What is open belongs to a number that has to be in the store before the id can be taken from it.
        if any(device_id in batch.devices for batch in self._pending.batches):
            self._flush()
        self._known.pop(device_id, None)
        self._store.forget(device_id)

    def _shared(self, names: frozenset[int]) -> frozenset[int]:
        if len(self._name_sets) >= MAX_SHARED:
            self._name_sets.clear()
        return self._name_sets.setdefault(names, names)

    def _flush(self) -> None:
        """Write the open batch and begin another. Raises `OSError`; then it stays, and `run` begins again."""
        batch = self._pending.batches[-1] if self._pending.batches else None
        self._began_batch = self._clock.monotonic()
        if batch is None or not batch.messages:
            return
        self._store.write(batch)
        self._progress.messages += batch.messages
        with self._pending.lock:
            self._pending.batches[:] = [Batch(batch.number + 1, end=batch.end, mark=batch.mark)]
        if len(self._known) > _KNOWN:
            self._known.clear()
            self._name_sets.clear()


def _mark(message: StoredMessage) -> tuple[int, int, int]:
    return message.offset, message.partition, message.sequence

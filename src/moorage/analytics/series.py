"""What pages, rules and queries ask of telemetry without reading the log: last values, figures by minute, messages.

    the log ──► Projector ──► Batch ──► SeriesStore        (derived: deleted, it is made again from the log)
                                │            │
                                └──► Series ◄┘             (an answer holds what is written and what is not yet)

A batch has a number, and the store says which number it wrote last in the same snapshot that it answers from: a reader
takes a copy of the open batches first, and adds those that the snapshot does not hold yet. So nothing is counted twice
or left out, and no reader waits for a write.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol, TypeVar

from moorage.analytics.rollups import (
    EPOCH,
    HOUR,
    Batch,
    Bucket,
    DeviceBatch,
    Key,
    LastValue,
    Scalar,
    bucket_start,
)
from moorage.errors import Invalid, Unavailable

__all__ = [
    "MAX_BUCKETS",
    "MAX_DEVICES",
    "SLICE",
    "Figure",
    "Listener",
    "Pending",
    "Progress",
    "Series",
    "SeriesStore",
    "Snapshot",
]

# Rows of one device and name lie together by so many minutes; those of whole hours by one hour.
SLICE: Final = 10
_MAX_LOOKED_UP: Final = 100_000
# Of one line.
MAX_BUCKETS: Final = 1_500
# That one question may be about.
MAX_DEVICES: Final = 100

R = TypeVar("R")


class Figure(NamedTuple):
    """One row of a rollup: a device, a name (by their numbers), and when (a minute since 1970, of its step)."""

    device: int
    name: int
    minute: int
    counted: int
    total: float | None
    least: float | None
    greatest: float | None
    first: float | None
    last: float | None


class Snapshot(Protocol):
    """The store at one moment, for one thread. `written` is the number of the last batch that is in it."""

    @property
    def written(self) -> int: ...

    def devices(self, device_ids: Sequence[str]) -> dict[str, int]:
        """The numbers of those that there are."""

    def names(self, numbers: Iterable[int]) -> dict[int, Key]: ...

    def numbers(self, keys: Iterable[Key]) -> dict[Key, int]: ...

    def last_values(self, devices: Sequence[int]) -> Iterator[tuple[int, int, int, Scalar]]:
        """(device, name, Unix time in ms, value)."""

    def figures(
        self, devices: Sequence[int], names: Sequence[int], since: int, until: int, step: int
    ) -> Iterator[Figure]:
        """Those of minutes in `[since, until)`, already put together by `step` minutes."""

    def offsets(self, device: int, before: int, limit: int) -> list[int]:
        """The newest first."""

    def traffic(self, since: int, until: int) -> dict[int, int]: ...


class SeriesStore(Protocol):
    """Where batches are written, by one thread, and read, by many."""

    def snapshot(self) -> AbstractContextManager[Snapshot]: ...


@dataclass(slots=True)
class Progress:
    """How far the projector has come. `behind_bytes` is of the log; the counts are since the hub started.

    Attributes:
        left_out: values that came under more names than are kept.
        missed_bytes: of the log, gone by its retention or damaged before they were read.
    """

    behind_bytes: int = 0
    messages: int = 0
    left_out: int = 0
    missed_bytes: int = 0


class Pending:
    """The batches that are being filled and written. One thread fills; `lock` is held while it does, and to copy."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.batches: list[Batch] = []

    def copy(self, device_ids: Iterable[str]) -> list[_Open]:
        with self.lock:
            return [
                _Open(
                    batch.number,
                    {name: batch.devices[name].copy() for name in device_ids if name in batch.devices},
                    dict(batch.names),
                )
                for batch in self.batches
            ]

    def traffic(self) -> list[tuple[int, dict[int, int]]]:
        with self.lock:
            return [(batch.number, dict(batch.traffic)) for batch in self.batches]


@dataclass(frozen=True, slots=True)
class _Open:
    """A copy of what a batch holds of some devices."""

    number: int
    devices: dict[str, DeviceBatch]
    names: dict[Key, int]


class Listener:
    """Hears that a device said something. Belongs to the event loop."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()

    def hear(self) -> None:
        self._heard.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether something came within that time, or since the last call."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        self._heard.clear()
        return True


class Series:
    """Answers questions about telemetry. Its methods read in threads, and raise `Unavailable` (`series.unreadable`)."""

    def __init__(self, store: SeriesStore, pending: Pending, progress: Progress) -> None:
        self._store = store
        self._pending = pending
        self.progress = progress
        self._listeners: dict[str, set[Listener]] = {}

    # -- answers -------------------------------------------------------------------------------------------------------

    async def last_values(self, device_id: str) -> dict[Key, LastValue]:
        """By component and name, in their order."""
        return (await self.last_values_of([device_id]))[device_id]

    async def last_values_of(self, device_ids: Sequence[str]) -> dict[str, dict[Key, LastValue]]:
        """For up to `MAX_DEVICES` devices. Raises `Invalid` (`series.devices`)."""
        _check_devices(device_ids)

        def work(snapshot: Snapshot, opened: list[_Open]) -> dict[str, dict[Key, LastValue]]:
            return _last_values(snapshot, opened, device_ids)

        return await self._ask(device_ids, work)

    async def names(self, device_ids: Sequence[str]) -> list[Key]:
        """What these devices send, in order."""
        last = await self.last_values_of(device_ids)
        return sorted({key for values in last.values() for key in values})

    async def buckets(
        self,
        device_ids: Sequence[str],
        component: str,
        name: str,
        since: datetime,
        until: datetime,
        step: timedelta,
    ) -> dict[str, dict[datetime, Bucket]]:
        """As `many_buckets`, of one name."""
        found = await self.many_buckets(device_ids, [(component, name)], since, until, step)
        return {device_id: lines.get((component, name), {}) for device_id, lines in found.items()}

    async def many_buckets(
        self,
        device_ids: Sequence[str],
        keys: Sequence[Key],
        since: datetime,
        until: datetime,
        step: timedelta,
        *,
        is_first_whole: bool = True,
    ) -> dict[str, dict[Key, dict[datetime, Bucket]]]:
        """By device and name, in the order of time; where no value came there is no bucket.

        Steps are whole minutes, and begin at multiples of themselves since 1970 (UTC). The first one is whole, or has
        only what came from the minute of `since` on; of steps of whole hours, from its hour on.
        Raises `Invalid`: `series.devices` for too many, `series.range` for too many buckets or an empty time.
        """
        _check_devices(device_ids)
        length, begin, end = _minutes(since, until, step, is_first_whole=is_first_whole)
        looked_up = (end - begin) // (SLICE if length % HOUR else HOUR) * len(device_ids) * len(keys)
        if looked_up > _MAX_LOOKED_UP:
            raise Invalid(
                "series.range",
                f"{len(device_ids)} devices, {len(keys)} names and so long a time in steps of {length} minutes are too "
                "much at once; ask for " + ("steps of whole hours, or for less" if length % HOUR else "less"),
            )

        def work(snapshot: Snapshot, opened: list[_Open]) -> dict[str, dict[Key, dict[datetime, Bucket]]]:
            return _buckets(snapshot, opened, device_ids, keys, begin, end, length)

        return await self._ask(device_ids, work)

    async def recent_offsets(self, device_id: str, before: int | None, limit: int) -> list[int]:
        """Places in the log of the device's messages, the newest first; those of before `before` when it is given.

        What the log's retention took may still be among them: go by `TelemetryLog.durable_start`.
        """
        most = 2**62 if before is None else before

        def work(snapshot: Snapshot, opened: list[_Open]) -> list[int]:
            found: list[int] = []
            number = snapshot.devices([device_id]).get(device_id)
            for batch in reversed(_unwritten(snapshot, opened)):
                held = batch.devices.get(device_id)
                if held is not None:
                    found += [offset for offset in reversed(held.offsets) if offset < most]
                    # A device that was made anew has none of the messages of the one before.
                    number = held.number
            if number is not None and len(found) < limit:
                found += snapshot.offsets(number, most, limit - len(found))
            return found[:limit]

        return await self._ask([device_id], work)

    @property
    def indexed_end(self) -> int:
        """From this place in the log on, messages may not be among `recent_offsets` yet."""
        with self._pending.lock:
            return self._pending.batches[-1].end if self._pending.batches else 0

    async def traffic(self, since: datetime, until: datetime) -> dict[datetime, int]:
        """Messages of all devices, by minute."""
        begin, end = _minute(since), _minute(until)
        opened = self._pending.traffic()

        def work() -> dict[int, int]:
            with self._store.snapshot() as snapshot:
                counts = snapshot.traffic(begin, end)
                for number, more in opened:
                    if number > snapshot.written:
                        for minute, count in more.items():
                            if begin <= minute < end:
                                counts[minute] = counts.get(minute, 0) + count
            return counts

        counts = await _reading(work)
        return {EPOCH + timedelta(minutes=minute): counts[minute] for minute in sorted(counts)}

    async def _ask(self, device_ids: Sequence[str], work: Callable[[Snapshot, list[_Open]], R]) -> R:
        def ask() -> R:
            # Before the snapshot: what is written in between is then known by its number.
            opened = self._pending.copy(device_ids)
            with self._store.snapshot() as snapshot:
                return work(snapshot, opened)

        return await _reading(ask)

    # -- live ----------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def listen(self, device_ids: Iterable[str]) -> AsyncIterator[Listener]:
        """Hear of new values of these devices, well within a second of their being durable while nothing is behind."""
        listener = Listener()
        names = set(device_ids)
        for name in names:
            self._listeners.setdefault(name, set()).add(listener)
        try:
            yield listener
        finally:
            for name in names:
                heard = self._listeners[name]
                heard.discard(listener)
                if not heard:
                    del self._listeners[name]

    @property
    def listened_to(self) -> Mapping[str, set[Listener]]:
        return self._listeners

    def tell(self, device_ids: Iterable[str]) -> None:
        """On the event loop: these have said something."""
        for device_id in device_ids:
            for listener in self._listeners.get(device_id, ()):
                listener.hear()


async def _reading(work: Callable[[], R]) -> R:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise Unavailable("series.unreadable", f"the series cannot be read now: {error}") from error


def _last_values(snapshot: Snapshot, opened: list[_Open], device_ids: Sequence[str]) -> dict[str, dict[Key, LastValue]]:
    numbers = snapshot.devices(device_ids)
    latest: dict[tuple[int, int], tuple[int, Scalar]] = {
        (device, name): (at, value) for device, name, at, value in snapshot.last_values(list(numbers.values()))
    }
    keys: dict[int, Key] = {}
    for batch in _unwritten(snapshot, opened):
        keys |= {number: key for key, number in batch.names.items()}
        for device_id, held in batch.devices.items():
            # A device that was made anew has a new number, and none of the old one's values.
            numbers[device_id] = held.number
            for name, said in held.last.items():
                place = (held.number, name)
                if place not in latest or latest[place][0] <= said[0]:
                    latest[place] = said
    keys |= snapshot.names({name for _, name in latest} - keys.keys())
    owners = {number: device_id for device_id, number in numbers.items()}
    found: dict[str, dict[Key, LastValue]] = {device_id: {} for device_id in device_ids}
    for (device, name), (at_ms, value) in latest.items():
        if device in owners:
            found[owners[device]][keys[name]] = LastValue(EPOCH + timedelta(milliseconds=at_ms), value)
    return {device_id: dict(sorted(values.items())) for device_id, values in found.items()}


def _buckets(
    snapshot: Snapshot,
    opened: list[_Open],
    device_ids: Sequence[str],
    keys: Sequence[Key],
    begin: int,
    end: int,
    step: int,
) -> dict[str, dict[Key, dict[datetime, Bucket]]]:
    devices, numbers = snapshot.devices(device_ids), snapshot.numbers(keys)
    unwritten = _unwritten(snapshot, opened)
    for batch in unwritten:
        numbers |= {key: number for key, number in batch.names.items() if key in keys}
        devices |= {device_id: held.number for device_id, held in batch.devices.items()}
    owners = {number: device_id for device_id, number in devices.items()}
    wanted = {number: key for key, number in numbers.items()}
    found: dict[str, dict[Key, dict[datetime, Bucket]]] = {
        device_id: {key: {} for key in keys} for device_id in device_ids
    }
    for row in snapshot.figures(list(owners), list(wanted), begin, end, step):
        start = EPOCH + timedelta(minutes=row.minute)
        found[owners[row.device]][wanted[row.name]][start] = Bucket(*row[3:])
    for batch in unwritten:
        for device_id, held in batch.devices.items():
            for (name, minute), bucket in held.buckets.items():
                if name in wanted and begin <= minute < end:
                    found[device_id][wanted[name]].setdefault(bucket_start(minute, step), Bucket()).merge(bucket)
    return {
        device_id: {key: dict(sorted(line.items())) for key, line in lines.items()}
        for device_id, lines in found.items()
    }


def _unwritten(snapshot: Snapshot, opened: list[_Open]) -> list[_Open]:
    return [batch for batch in opened if batch.number > snapshot.written]


def _check_devices(device_ids: Sequence[str]) -> None:
    if len(device_ids) > MAX_DEVICES:
        raise Invalid("series.devices", f"{len(device_ids)} devices were asked for at once, at most {MAX_DEVICES} are")


def _minute(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(minutes=1)


def _minutes(since: datetime, until: datetime, step: timedelta, *, is_first_whole: bool) -> tuple[int, int, int]:
    """(minutes of a step, first minute, the one after the last). Raises `Invalid` (`series.range`)."""
    length = int(step.total_seconds() // 60)
    if length < 1:
        raise Invalid("series.range", "a step is at least one minute long")
    begin, end = _minute(since), -((EPOCH - until) // timedelta(minutes=1))
    begin -= begin % (length if is_first_whole else HOUR if length % HOUR == 0 else 1)
    if end <= begin:
        raise Invalid("series.range", "the end of the time has to lie behind its beginning")
    count = (end - begin) // length
    if count > MAX_BUCKETS:
        raise Invalid(
            "series.range", f"this time has {count} steps of {length} minutes, at most {MAX_BUCKETS} are shown"
        )
    return length, begin, end

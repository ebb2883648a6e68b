"""Sends what exports ask for: one worker for each export and each of its destinations, with places of its own.

    the log (telemetry, connectivity, twin changes) ──► a page ──┐
    export events (cloud properties, life cycle, audit) ─► some ─┴► select, in a thread ──► deliver, retry ──► the place

A worker holds a place, not a queue, so a destination that is away costs nothing but its own delay, and no other one
waits for it. Places are durable behind what was delivered: after a crash some bodies come twice, none is left out. What
the destination refuses is given up, told and counted; what fails otherwise is tried again with pauses that double.

What no log holds is written down as an export event while an export asks for it (`ExportEars`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, Literal, NamedTuple

from moorage.accounts.model import OrganizationId
from moorage.automation.exports import (
    DataExport,
    Destination,
    DestinationUse,
    ExportEvent,
    ExportId,
    ExportSource,
    ExportTables,
    OutgoingEvent,
)
from moorage.clock import Clock
from moorage.errors import Refusal, TooLarge, Unavailable
from moorage.events import Bus, Event
from moorage.hub.router import Outgoing, Refused, Sink
from moorage.hub.telemetry_log import FOLLOW_PAUSE_S, LogCorrupt, StoredMessage, TelemetryLog, resumed_at
from moorage.ids import HubId
from moorage.store import Store

__all__ = [
    "EXPORTS_CHANGED",
    "MAX_COMPOSED_BYTES",
    "Composed",
    "ExportHealth",
    "ExportRunner",
    "Failure",
    "Selecting",
    "Status",
    "reader_of",
]

log = logging.getLogger(__name__)

EXPORTS_CHANGED: Final = "exports.changed"
_PAGE: Final = 256
# Of bodies that are made before they are sent; with the one that goes beyond it.
MAX_COMPOSED_BYTES: Final = 4 * 1024 * 1024
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_KEEP_PLACE_S: Final = 2.0
_MOST_REST_S: Final = 0.1
# Export events that are kept for samples.
_SAMPLED: Final = 100
_MAX_FAILURES: Final = 20
# Of what no log holds, while a destination takes nothing.
MAX_EVENTS: Final = 100_000
# Which of the two a source is in; properties are in both.
LOG_SOURCES: Final[frozenset[ExportSource]] = frozenset({"telemetry", "properties", "deviceConnectivity"})
EVENT_SOURCES: Final[frozenset[ExportSource]] = frozenset(
    {"properties", "deviceLifecycle", "deviceTemplateLifecycle", "audit"}
)

Status = Literal["starting", "waiting", "healthy", "error", "off"]
Feed = Literal["log", "events"]


class Failure(NamedTuple):
    at: datetime
    text: str


@dataclass(slots=True)
class ExportHealth:
    """How an export does with one destination; counts are since the hub started (CDE-9)."""

    status: Status = "starting"
    delivered: int = 0
    refused: int = 0
    missed_bytes: int = 0
    last_delivery: datetime | None = None
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=_MAX_FAILURES))


class Composed(NamedTuple):
    """Bodies of some events, and why others have none. `through` is the place behind which some are left."""

    outgoing: list[Outgoing]
    refused: list[TooLarge]
    through: int | None


class Selecting(NamedTuple):
    """What a worker selects with. Called in a thread of the store."""

    of_messages: Callable[[Sequence[StoredMessage]], Iterable[OutgoingEvent]]
    of_events: Callable[[Sequence[tuple[int, ExportEvent]]], Iterable[OutgoingEvent]]
    compose: Callable[[DataExport, DestinationUse, Destination, Iterable[OutgoingEvent], ExportTables], Composed]


@dataclass(slots=True)
class _Worker:
    export: DataExport
    use: DestinationUse
    destination: Destination
    sink: Sink
    health: ExportHealth
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    kept_at: float = 0.0


def reader_of(export_id: ExportId, destination: str, feed: Feed) -> str:
    """The name under which a place is kept."""
    return f"export: {export_id} {destination} {feed}"


class ExportRunner:
    """One hub's. `run` until cancelled; without an export nothing but a subscription is kept."""

    def __init__(
        self,
        hub: HubId,
        store: Store[ExportTables],
        telemetry: TelemetryLog,
        bus: Bus,
        make_sink: Callable[[Destination], Sink],
        selecting: Selecting,
        subtree: Callable[[OrganizationId], frozenset[OrganizationId]],
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._store = store
        self._log = telemetry
        self._make_sink = make_sink
        self._selecting = selecting
        self._subtree = subtree
        self._clock = clock
        self._workers: dict[tuple[str, str], _Worker] = {}
        self._health: dict[tuple[str, str], ExportHealth] = {}
        self._changed = asyncio.Event()
        self._changed.set()
        self._more_events = asyncio.Condition()
        self._hears: frozenset[ExportSource] = frozenset()
        self._heard_events: deque[ExportEvent] = deque(maxlen=MAX_EVENTS)
        self._has_heard = asyncio.Event()
        self._forgotten = 0
        self.close = bus.subscribe(self._heard)

    @property
    def hears(self) -> frozenset[ExportSource]:
        """Sources of which somebody wants to know what no log holds."""
        return self._hears

    def health(self, export_id: str, destination: str) -> ExportHealth:
        return self._health.get((export_id, destination), ExportHealth("off"))

    def take(self, event: ExportEvent) -> None:
        """Something that is in no log; on the loop. Kept within some milliseconds, when an export asks for it."""
        if event.source in self._hears:
            self._heard_events.append(event)
            self._has_heard.set()

    async def try_once(self, destination: Destination, outgoing: Sequence[Outgoing]) -> None:
        """Deliver now, without trying again. Raises as `Sink.deliver`."""
        sink = self._make_sink(destination)
        try:
            await sink.deliver(outgoing)
        finally:
            await sink.close()

    async def run(self) -> None:
        """Never returns; cancelled, it ends every worker."""
        keeping = asyncio.create_task(self._keep_events())
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                try:
                    await self._settle()
                except Refusal as refusal:
                    log.warning("exports_wait reason=%s message=%r", refusal.reason, refusal.message)
                    await asyncio.sleep(_FIRST_PAUSE_S)
                    self._changed.set()
                except Exception:
                    # A fault of ours: what runs goes on, and the next change is tried again.
                    log.exception("exports_failed")
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, *map(self._end, list(self._workers)), return_exceptions=True)

    def _heard(self, event: Event) -> None:
        if event.kind == EXPORTS_CHANGED and event.hub == self._hub:
            self._changed.set()

    async def _settle(self) -> None:
        """Have the workers that exports ask for, and no others; those that stay go on where they are."""

        def load(tables: ExportTables) -> tuple[list[DataExport], dict[str, Destination]]:
            found: dict[str, Destination] = {
                each.destination_id: each for each in tables.exports.destinations(self._hub)
            }
            return [each for each in tables.exports.all(self._hub) if each.is_enabled], found

        exports, destinations = await self._store.scan(load)
        self._hears = frozenset(each.source for each in exports) & EVENT_SOURCES
        wanted: dict[tuple[str, str], tuple[DataExport, DestinationUse, Destination]] = {
            (export.export_id, use.destination_id): (export, use, destinations[use.destination_id])
            for export in exports
            for use in export.destinations
            if use.destination_id in destinations
        }
        for key, worker in list(self._workers.items()):
            if wanted.get(key) != (worker.export, worker.use, worker.destination):
                await self._end(key)
        self._health = {key: health for key, health in self._health.items() if key in wanted}
        for key, (export, use, destination) in wanted.items():
            if key in self._workers:
                continue
            health = self._health.setdefault(key, ExportHealth())
            worker = _Worker(export, use, destination, self._make_sink(destination), health)
            self._workers[key] = worker
            if export.source in LOG_SOURCES:
                worker.tasks.append(asyncio.create_task(self._forever(worker, self._follow_log)))
            if export.source in EVENT_SOURCES:
                worker.tasks.append(asyncio.create_task(self._forever(worker, self._follow_events)))

    async def _end(self, key: tuple[str, str]) -> None:
        worker = self._workers.pop(key)
        for task in worker.tasks:
            task.cancel()
        await asyncio.gather(*worker.tasks, return_exceptions=True)
        await worker.sink.close()

    # -- one export and one destination --------------------------------------------------------------------------------

    async def _forever(self, worker: _Worker, follow: Callable[[_Worker], Awaitable[None]]) -> None:
        while True:
            try:
                await follow(worker)
            except Refusal as refusal:
                log.warning("export_waits export=%s reason=%s", worker.export.export_id, refusal.reason)
                await asyncio.sleep(_FIRST_PAUSE_S)
            except Exception:
                # A fault of ours ends no export for good, and is told.
                log.exception("export_failed export=%s", worker.export.export_id)
                self._tell(worker, "this is a fault of moorage; its log has the details")
                await asyncio.sleep(_LONGEST_PAUSE_S)

    def _place(self, worker: _Worker, feed: Feed) -> int | None:
        reader = reader_of(worker.export.export_id, worker.use.destination_id, feed)
        return self._store.read().log_readers.place(self._hub, reader)

    async def _follow_log(self, worker: _Worker) -> None:
        kept = self._place(worker, "log")
        place = resumed_at(self._log, kept, reader=f"export {worker.export.export_id}")
        self._quiet(worker)
        while True:
            if place < self._log.durable_start:
                worker.health.missed_bytes += self._log.durable_start - place
                self._tell(worker, f"{self._log.durable_start - place} bytes of the log were kept no longer")
                place = self._log.durable_start
            try:
                page = await self._log.read(from_offset=place, limit=_PAGE)
            except LogCorrupt as damage:
                self._tell(worker, damage.message)
                place = damage.resume_offset
                continue
            has_sent = False
            messages = page.messages
            while messages:
                began = self._clock.monotonic()
                composed = await self._store.scan(partial(self._of_messages, worker, messages))
                # Devices come first: it rests as long as it has worked.
                await asyncio.sleep(min(self._clock.monotonic() - began, _MOST_REST_S))
                await self._send(worker, composed)
                has_sent = has_sent or bool(composed.outgoing or composed.refused)
                through = composed.through
                messages = [] if through is None else [each for each in messages if each.offset > through]
            place = page.next_offset
            await self._keep(worker, "log", place, at_once=has_sent)
            if page.at_end:
                await self._keep(worker, "log", place, at_once=place != kept and self._is_late(worker))
                await self._log.wait_beyond(place)
                await asyncio.sleep(max(FOLLOW_PAUSE_S, worker.sink.linger_s))

    async def _follow_events(self, worker: _Worker) -> None:
        kept = self._place(worker, "events")
        place = self._store.read().exports.last_event(self._hub) if kept is None else kept
        self._quiet(worker)
        while True:
            found = await self._store.scan(partial(self._events, place))
            if found:
                wanted = [each for each in found if each[1].source == worker.export.source]
                while wanted:
                    composed = await self._store.scan(partial(self._of_events, worker, wanted))
                    await self._send(worker, composed)
                    through = composed.through
                    wanted = [] if through is None else [each for each in wanted if each[0] > through]
                place = found[-1][0]
                await self._keep(worker, "events", place, at_once=True)
                await self._forget_behind(place)
                continue
            async with self._more_events:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5.0):
                        await self._more_events.wait()

    async def _forget_behind(self, place: int) -> None:
        """Events that every export is through with, but for some that samples are made of. By the places that are kept:
        a worker that begins anew, or cannot begin, is none of those that are here."""
        if place - _SAMPLED <= self._forgotten + _SAMPLED:
            return
        through = min(await self._store.scan(self._event_places), default=place) - _SAMPLED
        if through > self._forgotten + _SAMPLED:
            await self._store.write(lambda tables: tables.exports.forget_events(self._hub, through))
            self._forgotten = through

    def _event_places(self, tables: ExportTables) -> list[int]:
        readers = [
            reader_of(export.export_id, use.destination_id, "events")
            for export in tables.exports.all(self._hub)
            if export.is_enabled and export.source in EVENT_SOURCES
            for use in export.destinations
        ]
        places = [tables.log_readers.place(self._hub, reader) for reader in readers]
        return [place for place in places if place is not None]

    def _quiet(self, worker: _Worker) -> None:
        if worker.health.status == "starting":
            worker.health.status = "waiting"

    def _events(self, place: int, tables: ExportTables) -> list[tuple[int, ExportEvent]]:
        return tables.exports.events(self._hub, place, _PAGE)

    def _of_messages(self, worker: _Worker, messages: Sequence[StoredMessage], tables: ExportTables) -> Composed:
        events = (
            event
            for event in self._selecting.of_messages(messages)
            if event.body["messageSource"] == worker.export.source
        )
        return self._compose(worker, events, tables)

    def _of_events(self, worker: _Worker, found: Sequence[tuple[int, ExportEvent]], tables: ExportTables) -> Composed:
        return self._compose(worker, self._selecting.of_events(found), tables)

    def _compose(self, worker: _Worker, events: Iterable[OutgoingEvent], tables: ExportTables) -> Composed:
        return self._selecting.compose(worker.export, worker.use, worker.destination, events, tables)

    async def _send(self, worker: _Worker, composed: Composed) -> None:
        """Tell of what could not be made, and deliver the rest."""
        for refusal in composed.refused:
            worker.health.refused += 1
            self._tell(worker, f"given up: {refusal.message}")
        await self._deliver(worker, composed.outgoing)

    async def _deliver(self, worker: _Worker, outgoing: Sequence[Outgoing]) -> None:
        """Until they are taken, or refused."""
        if len(outgoing) > 1 and _is_single(worker.destination):
            # What was taken is not sent again because of another one.
            for each in outgoing:
                await self._deliver(worker, [each])
            return
        health, pause_s = worker.health, _FIRST_PAUSE_S
        while outgoing:
            try:
                await worker.sink.deliver(outgoing)
            except Refused as refusal:
                if len(outgoing) > 1:
                    for each in outgoing:
                        await self._deliver(worker, [each])
                    return
                health.refused += 1
                self._tell(worker, f"given up: {refusal.message}")
                return
            except Refusal as refusal:
                self._tell(worker, refusal.message)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                health.delivered += len(outgoing)
                health.last_delivery = self._clock.now()
                health.status = "healthy"
                return

    def _tell(self, worker: _Worker, text: str) -> None:
        if worker.health.status != "error":
            log.warning("export_failed export=%s message=%r", worker.export.export_id, text)
        worker.health.status = "error"
        worker.health.failures.append(Failure(self._clock.now(), text))

    def _is_late(self, worker: _Worker) -> bool:
        return self._clock.monotonic() - worker.kept_at > _KEEP_PLACE_S

    async def _keep(self, worker: _Worker, feed: Feed, place: int, *, at_once: bool) -> None:
        if not (at_once or self._is_late(worker)):
            return
        reader = reader_of(worker.export.export_id, worker.use.destination_id, feed)
        await self._store.write(lambda tables: tables.log_readers.put_place(self._hub, reader, place))
        worker.kept_at = self._clock.monotonic()

    # -- what no log holds ---------------------------------------------------------------------------------------------

    async def _keep_events(self) -> None:
        while True:
            await self._has_heard.wait()
            self._has_heard.clear()
            events = [self._heard_events.popleft() for _ in range(len(self._heard_events))]
            try:
                await self._store.write(partial(self._add_events, events))
            except Unavailable as refusal:
                log.warning("export_events_wait reason=%s count=%d", refusal.reason, len(events))
                self._heard_events.extendleft(reversed(events))
                await asyncio.sleep(_FIRST_PAUSE_S)
                self._has_heard.set()
                continue
            except Exception:
                # A fault of ours costs these, and is told; those to come are kept.
                log.exception("export_events_lost count=%d", len(events))
                continue
            async with self._more_events:
                self._more_events.notify_all()

    def _add_events(self, events: Sequence[ExportEvent], tables: ExportTables) -> None:
        for event in events:
            tables.exports.add_event(self._hub, event, MAX_EVENTS)


def _is_single(destination: Destination) -> bool:
    """Whether each body is a request of its own."""
    return destination.kind == "webhook" and destination.options.get("shape", "object") == "object"

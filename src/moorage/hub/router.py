"""Carries messages from the telemetry log to endpoints: one worker for each endpoint that a route leads to.

    the log ──► a page ──► the routes' conditions, in a thread ──► deliver, retry, give up ──► the cursor, durable
                                                                              └──► dead letters

A worker holds a place in the log and one page, so a slow endpoint costs nothing but its own delay, and what devices are
answered never waits for it. Its place is stored behind what was delivered: after a crash some messages come twice, none
is left out. What the log's retention takes first is missed, and told. Messages of a device come in their order.

What an endpoint refuses (`Refused`) goes to the dead letters at once, alone: a batch is tried again one by one. What
fails otherwise is tried again for as long as the endpoint says, with pauses that double up to a minute, and everything
behind it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple, Protocol

from moorage.clock import Clock
from moorage.errors import Refusal, Unavailable
from moorage.events import Bus, Event
from moorage.hub.routing_match import FALLBACK, Outlet, outlet_of
from moorage.hub.routing_model import MAX_DEAD_LETTERS, DeadLetter, Endpoint, Routing, RoutingTables
from moorage.hub.routing_service import CHANGED
from moorage.hub.telemetry_log import FOLLOW_PAUSE_S, LogCorrupt, StoredMessage, TelemetryLog, resumed_at
from moorage.ids import HubId
from moorage.store import Store

__all__ = ["Health", "Outgoing", "Refused", "Router", "Select", "Selected", "Sink"]

log = logging.getLogger(__name__)

# Evaluating and encoding so many takes a thread some ten milliseconds.
_PAGE: Final = 256
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
# A place that moved past messages which went nowhere is stored this seldom.
_KEEP_PLACE_S: Final = 2.0


class Refused(Refusal):
    """The endpoint does not want these messages, and would not later."""


class Outgoing(NamedTuple):
    """A message on its way. `document` is how it is told, in JSON; `offset` its place in the log, or below 0."""

    device_id: str
    offset: int
    document: bytes
    # As it came; of a dead letter it is only in the document.
    body: bytes | None = None


class Sink(Protocol):
    """The other side of one endpoint. It wants to wait `linger_s` for more, so that a delivery is worth it."""

    @property
    def linger_s(self) -> float: ...

    async def deliver(self, messages: Sequence[Outgoing]) -> None:
        """All of them have been taken when it returns. Raises `Refused`; any other `Refusal` means: try again."""

    async def close(self) -> None: ...


class Selected(NamedTuple):
    """Those of some messages that go through an outlet, ready to go, and how many each route sent there."""

    outgoing: list[Outgoing]
    by_route: Mapping[str, int]


# Called in a thread.
Select = Callable[[Outlet, Sequence[StoredMessage], RoutingTables], Selected]


@dataclass(slots=True)
class Health:
    """How an endpoint does. Counts are since the hub started.

    Attributes:
        place: how far it has come in the log.
        waiting: messages for it that were read and are neither delivered nor buried.
        failures: attempts to deliver that failed.
        missed_bytes: of the log, gone by its retention before the endpoint had come there.
        by_route: messages by the route that sent them; those that several routes sent count at each.
        failed_since: None while it takes them.
    """

    place: int = 0
    waiting: int = 0
    delivered: int = 0
    failures: int = 0
    buried: int = 0
    missed_bytes: int = 0
    by_route: Counter[str] = field(default_factory=Counter)
    last_delivery: datetime | None = None
    last_attempt: datetime | None = None
    failed_since: datetime | None = None
    failure: Refusal | None = None


@dataclass(slots=True)
class _Worker:
    endpoint: Endpoint
    outlet: Outlet
    sink: Sink
    health: Health
    task: asyncio.Task[None] | None = None
    # Its place as the store has it, and since when.
    stored: int = -1
    stored_at: float = 0.0


class Router:
    """One hub's. `run` until cancelled; without a route nothing but a subscription is kept."""

    def __init__(
        self,
        hub: HubId,
        store: Store[RoutingTables],
        log: TelemetryLog,
        bus: Bus,
        make_sink: Callable[[Endpoint], Sink],
        select: Select,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._store = store
        self._log = log
        self._make_sink = make_sink
        self._select = select
        self._clock = clock
        self._workers: dict[str, _Worker] = {}
        self._health: dict[str, Health] = {}
        self._changed = asyncio.Event()
        self._changed.set()
        self.close = bus.subscribe(self._heard)

    def health(self, endpoint: str) -> Health:
        return self._health.get(endpoint.lower(), Health())

    def backlog_bytes(self, endpoint: str) -> int:
        """How much of the log it has still to look at; 0 where no route leads there."""
        worker = self._workers.get(endpoint.lower())
        return 0 if worker is None else max(0, self._log.durable_end - worker.health.place)

    def is_running(self, endpoint: str) -> bool:
        return endpoint.lower() in self._workers

    async def run(self) -> None:
        """Never returns; cancelled, it ends every worker."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._settle(self._store.read().routing.load(self._hub))
        finally:
            await asyncio.gather(*map(self._end, list(self._workers)))

    async def try_once(self, endpoint: Endpoint, outgoing: Sequence[Outgoing]) -> None:
        """Deliver now, without trying again. Raises as `Sink.deliver`."""
        async with self._sink(endpoint) as sink:
            await sink.deliver(outgoing)

    @contextlib.asynccontextmanager
    async def _sink(self, endpoint: Endpoint) -> AsyncIterator[Sink]:
        sink = self._make_sink(endpoint)
        try:
            yield sink
        finally:
            await sink.close()

    def _heard(self, event: Event) -> None:
        if event.kind == CHANGED and event.hub == self._hub:
            self._changed.set()

    async def _settle(self, routing: Routing) -> None:
        """Have the workers that `routing` asks for, and no others; those that stay go on where they are."""
        wanted = {endpoint.name.lower(): endpoint for endpoint in routing.endpoints}
        for name in list(self._workers):
            if name not in wanted or outlet_of(routing, name) is None or self._workers[name].endpoint != wanted[name]:
                await self._end(name)
        self._health = {name: health for name, health in self._health.items() if name in wanted}
        routes = {FALLBACK, *(route.name for route in routing.routes)}
        for health in self._health.values():
            health.by_route = Counter({name: count for name, count in health.by_route.items() if name in routes})
        for name, endpoint in wanted.items():
            outlet = outlet_of(routing, name)
            if outlet is None:
                continue
            worker = self._workers.get(name)
            if worker is not None:
                worker.outlet = outlet
                continue
            health = self._health.setdefault(name, Health())
            worker = self._workers[name] = _Worker(endpoint, outlet, self._make_sink(endpoint), health)
            worker.task = asyncio.create_task(self._work(worker))

    async def _end(self, name: str) -> None:
        worker = self._workers.pop(name)
        if worker.task is not None:
            worker.task.cancel()
            await asyncio.gather(worker.task, return_exceptions=True)
        worker.health.waiting = 0
        await worker.sink.close()

    # -- one endpoint --------------------------------------------------------------------------------------------------

    async def _work(self, worker: _Worker) -> None:
        name = worker.endpoint.name
        place = self._store.read().routing.cursor(self._hub, name)
        worker.health.place = resumed_at(self._log, place, reader=f"endpoint {name}")
        while True:
            try:
                await self._go_on(worker)
            except LogCorrupt as damage:
                log.error("route_log_damaged endpoint=%s offset=%d; it goes on behind", name, damage.offset)
                worker.health.place = damage.resume_offset
            except Refusal as refusal:
                log.warning("route_waits endpoint=%s reason=%s message=%r", name, refusal.reason, refusal.message)
                await asyncio.sleep(_FIRST_PAUSE_S)
            except Exception:
                # A fault of ours ends no endpoint for good, and is told.
                log.exception("route_failed endpoint=%s", name)
                await asyncio.sleep(_LONGEST_PAUSE_S)

    async def _go_on(self, worker: _Worker) -> None:
        """One page. Raises `LogCorrupt`, and `Unavailable` when the store or the log cannot be asked now."""
        limit, health = max(_PAGE, worker.endpoint.batch), worker.health
        missed = self._log.durable_start - health.place
        if missed > 0:
            log.error("route_missed endpoint=%s bytes=%d; they were kept no longer", worker.endpoint.name, missed)
            health.missed_bytes += missed
            health.place = self._log.durable_start
        page = await self._log.read(from_offset=health.place, limit=limit)
        outgoing: list[Outgoing] = []
        if page.messages:
            select = partial(self._select, worker.outlet, page.messages)
            # Reads of the store want a thread of the store's own.
            if worker.outlet.needs_twin:
                selected = await self._store.scan(select)
            else:
                selected = await asyncio.to_thread(select, self._store.read())
            outgoing = selected.outgoing
            health.waiting = len(outgoing)
            size = worker.endpoint.batch
            for begin in range(0, len(outgoing), size):
                await self._deliver(worker, outgoing[begin : begin + size])
            health.by_route.update(selected.by_route)
        health.place = page.next_offset
        await self._keep_place(worker, is_due=bool(outgoing) or page.at_end)
        if page.at_end:
            await self._log.wait_beyond(page.next_offset)
            # Under load batches come every millisecond; larger pages cost less.
            await asyncio.sleep(max(FOLLOW_PAUSE_S, worker.sink.linger_s))

    async def _keep_place(self, worker: _Worker, *, is_due: bool) -> None:
        place, now = worker.health.place, self._clock.monotonic()
        if place == worker.stored or not (is_due or now - worker.stored_at > _KEEP_PLACE_S):
            return
        name = worker.endpoint.name
        await self._store.write(lambda tables: tables.routing.put_cursor(self._hub, name, place))
        worker.stored, worker.stored_at = place, now

    async def _deliver(self, worker: _Worker, messages: Sequence[Outgoing]) -> None:
        """Until they are delivered or buried."""
        health, endpoint = worker.health, worker.endpoint
        began, pause_s = self._clock.monotonic(), _FIRST_PAUSE_S
        while True:
            health.last_attempt = self._clock.now()
            try:
                await worker.sink.deliver(messages)
            except Refused as refusal:
                health.failures += 1
                if len(messages) > 1:
                    for message in messages:
                        await self._deliver(worker, [message])
                    return
                await self._bury(worker, messages, refusal)
                return
            except Refusal as refusal:
                health.failures += 1
                if health.failed_since is None:
                    log.warning(
                        "endpoint_failed endpoint=%s reason=%s message=%r",
                        endpoint.name,
                        refusal.reason,
                        refusal.message,
                    )
                    health.failed_since = health.last_attempt
                health.failure = refusal
                if self._clock.monotonic() - began >= endpoint.retry_s:
                    await self._bury(worker, messages, refusal)
                    return
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                if health.failed_since is not None:
                    log.info("endpoint_works_again endpoint=%s", endpoint.name)
                health.delivered += len(messages)
                health.waiting -= len(messages)
                health.last_delivery = self._clock.now()
                health.failed_since = health.failure = None
                return

    async def _bury(self, worker: _Worker, messages: Sequence[Outgoing], refusal: Refusal) -> None:
        now, name = self._clock.now(), worker.endpoint.name
        letters = [
            DeadLetter(
                name,
                now,
                each.device_id,
                each.offset,
                f"{refusal.reason}: {refusal.message}",
                each.document,
            )
            for each in messages
        ]

        def work(tables: RoutingTables) -> None:
            for letter in letters:
                tables.routing.bury(self._hub, letter, MAX_DEAD_LETTERS)

        log.warning("messages_buried endpoint=%s count=%d reason=%s", name, len(letters), refusal.reason)
        while True:
            try:
                await self._store.write(work)
                break
            except Unavailable as unwritten:
                # Nothing goes on before it is kept.
                log.warning("dead_letter_waits endpoint=%s reason=%s", name, unwritten.reason)
                await asyncio.sleep(_FIRST_PAUSE_S)
        worker.health.buried += len(letters)
        worker.health.waiting -= len(letters)

"""Bulk work on devices: *Device operations* (contract/central.md LST-5, LST-6, NAV-21).

    start ──► waits for its turn ──► batches, one transaction each ──► done, with an error for each item that failed
                     └──────────────────────┴──► stopped

A few run at once, the others wait; what a batch did stands, and each item in it is whole or not at all. The panel shows
those of whoever asks. They live in this process: what was done when it ended is in the audit log, the rest is not done.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeVar

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.errors import Exhausted, NotFound, Refusal
from moorage.fleet.model import DeviceFilter, FleetTables
from moorage.fleet.service import Done, Fleet, tell
from moorage.ids import DeviceId
from moorage.store import Store

__all__ = [
    "BATCH",
    "MAX_AT_ONCE",
    "MAX_ERRORS",
    "MAX_KEPT",
    "MAX_WAITING",
    "DeviceOperations",
    "ItemError",
    "Operation",
    "OperationState",
    "these",
]

log = logging.getLogger("moorage.fleet")

BATCH: Final = 100
MAX_AT_ONCE: Final = 2
MAX_WAITING: Final = 20
# Ended ones that are still shown, of all people together.
MAX_KEPT: Final = 100
MAX_ERRORS: Final = 10_000

OperationState = Literal["waiting", "running", "done", "stopped", "failed"]


class ItemError(NamedTuple):
    """`item` is the device, or the row of a file."""

    item: str
    reason: str
    message: str


@dataclass(eq=False, slots=True)
class Operation:
    """One piece of bulk work. `total` is what it began with, where that is known."""

    operation_id: str
    title: str
    by: str
    started: datetime
    total: int
    state: OperationState = "waiting"
    done: int = 0
    failed: int = 0
    ended: datetime | None = None
    errors: list[ItemError] = field(default_factory=list)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def is_over(self) -> bool:
        return self.ended is not None

    @property
    def percent(self) -> int:
        seen = self.done + self.failed
        return 100 if self.state == "done" else min(99, seen * 100 // self.total) if self.total else 0

    def add_error(self, item: str, refusal: Refusal) -> None:
        """The first ones are kept; all are counted."""
        self.failed += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(ItemError(item, refusal.reason, refusal.message))


R = TypeVar("R")
# What is done to one item in a transaction; it raises a `Refusal` where it cannot be done.
Step = Callable[[FleetTables, Any, datetime], Done | None]
Batches = AsyncIterator[Sequence[Any]]


def _nothing() -> None:
    """Nothing is to be closed."""


class DeviceOperations:
    """Runs bulk work of everybody, a few at a time."""

    def __init__(self, fleet: Fleet, store: Store[FleetTables], clock: Clock) -> None:
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._operations: deque[Operation] = deque()

    def start(
        self,
        actor: Actor,
        title: str,
        batches: Batches,
        step: Step,
        *,
        total: int,
        name: Callable[[Any], str] = str,
        on_end: Callable[[], None] = _nothing,
    ) -> Operation:
        """Begin, or wait for a place. `name` says of an item which it is, in errors; `on_end` is called in any case.

        Raises `Exhausted` (`operations.too_many`).
        """
        if sum(not each.is_over for each in self._operations) >= MAX_AT_ONCE + MAX_WAITING:
            raise Exhausted(
                "operations.too_many",
                f"{MAX_AT_ONCE} device operations run and {MAX_WAITING} wait already; try again when one has ended",
                retry_after_s=10,
            )
        operation = Operation(secrets.token_hex(8), title, actor.name, self._clock.now(), total)
        self._operations.appendleft(operation)
        while len(self._operations) > MAX_KEPT and self._operations[-1].is_over:
            self._operations.pop()
        operation.task = asyncio.create_task(
            self._run(operation, actor, batches, step, name), name=f"operation {operation.operation_id}"
        )
        operation.task.add_done_callback(lambda _: on_end())
        return operation

    def of(self, actor: Actor) -> list[Operation]:
        """Those that the actor began, the newest first."""
        return [each for each in self._operations if each.by == actor.name]

    def get(self, actor: Actor, operation_id: str) -> Operation:
        """Raises `NotFound` (`operations.unknown`)."""
        for each in self.of(actor):
            if each.operation_id == operation_id:
                return each
        raise NotFound("operations.unknown", "there is no device operation of this id, or it is not shown any more")

    def stop(self, actor: Actor, operation_id: str) -> None:
        """After the batch that is on its way. Raises `NotFound` (`operations.unknown`)."""
        operation = self.get(actor, operation_id)
        if not operation.is_over:
            operation.state = "stopped"

    async def wait(self, operation: Operation, seconds: float) -> None:
        """Until it is over, at most so long."""
        if operation.task is not None:
            await asyncio.wait({operation.task}, timeout=seconds)

    async def matching(self, actor: Actor, wanted: DeviceFilter) -> AsyncIterator[list[DeviceId]]:
        """All that fit, also as they change on the way: it goes on behind the last one."""
        after = ""
        while batch := await self._behind(actor, wanted, after):
            yield batch
            after = batch[-1]

    async def scan(self, work: Callable[[FleetTables], R]) -> R:
        """Run a heavy read in a thread."""
        return await self._store.scan(work)

    async def _behind(self, actor: Actor, wanted: DeviceFilter, after: str) -> list[DeviceId]:
        return await self._store.scan(lambda tables: self._fleet.ids_in(tables, actor, wanted, BATCH, after))

    async def close(self) -> None:
        tasks = [each.task for each in self._operations if each.task is not None and not each.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self, operation: Operation, actor: Actor, batches: Batches, step: Step, name: Callable[[Any], str]
    ) -> None:
        try:
            async with self._places:
                if operation.state == "waiting":
                    operation.state = "running"
                async for batch in batches:
                    if operation.state == "stopped":
                        break
                    await self._work_off(operation, actor, batch, step, name)
                if operation.state == "running":
                    operation.state = "done"
        except Refusal as refusal:
            operation.state = "failed"
            operation.add_error("", refusal)
        except Exception:
            operation.state = "failed"
            log.exception("operation_failed operation=%s title=%r", operation.operation_id, operation.title)
        finally:
            operation.ended = self._clock.now()

    async def _work_off(
        self, operation: Operation, actor: Actor, batch: Sequence[Any], step: Step, name: Callable[[Any], str]
    ) -> None:
        now = self._clock.now()

        def work(tables: FleetTables) -> list[Done | Refusal | None]:
            outcomes: list[Done | Refusal | None] = []
            for item in batch:
                try:
                    with tables.savepoint():
                        outcomes.append(step(tables, item, now))
                except Refusal as refusal:
                    outcomes.append(refusal)
            return outcomes

        outcomes = await self._store.write(work)
        for item, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                operation.add_error(name(item), outcome)
            else:
                operation.done += 1
        await asyncio.to_thread(_tell_all, actor, outcomes)


async def these(items: Sequence[Any]) -> AsyncIterator[Sequence[Any]]:
    """In batches."""
    for at in range(0, len(items), BATCH):
        yield items[at : at + BATCH]


def _tell_all(actor: Actor, outcomes: Sequence[Done | Refusal | None]) -> None:
    """In a thread: a hundred lines take longer than the event loop has."""
    for outcome in outcomes:
        if not isinstance(outcome, Refusal):
            tell(actor, outcome)

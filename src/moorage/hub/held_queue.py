"""Records that wait for a back end: feedback, file notifications (contract/services.md 3.5).

    waiting ──take──> held by one taker ──complete──> gone
       ▲                   │
       └── abandon, or the lock's end; given out `MAX_DELIVERIES` times, a record is dropped

A taker gets a batch under one lock token and completes or abandons it by that. Bounds: a record waits `TTL`, and at
most `MAX_WAITING` of a queue wait; the oldest go first. Everything is durable when it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar
from uuid import uuid4

from moorage.clock import Clock
from moorage.errors import PreconditionFailed
from moorage.ids import HubId
from moorage.store import Store

__all__ = [
    "LOCK",
    "MAX_BATCH",
    "MAX_DELIVERIES",
    "MAX_WAITING",
    "TTL",
    "HeldBatch",
    "HeldQueue",
    "HeldTable",
    "Record",
    "add_record",
]

TTL: Final = timedelta(hours=1)
LOCK: Final = timedelta(seconds=60)
MAX_DELIVERIES: Final = 10
MAX_BATCH: Final = 64
MAX_WAITING: Final = 50_000
_SWEPT_AT_ONCE: Final = 1000


class Record(Protocol):
    """A frozen dataclass. `lock` and `locked_until` are of the batch that holds it now."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def hub(self) -> HubId: ...

    @property
    def sequence(self) -> int: ...

    @property
    def recorded(self) -> datetime: ...

    @property
    def deliveries(self) -> int: ...

    @property
    def lock(self) -> str | None: ...

    @property
    def locked_until(self) -> datetime | None: ...


R = TypeVar("R", bound=Record)
T = TypeVar("T")


class HeldTable(Protocol[R]):
    """One queue's records."""

    def next_sequence(self, hub: HubId) -> int: ...

    def put(self, record: R) -> None:
        """Insert or replace."""

    def free(self, hub: HubId, now: datetime, limit: int) -> list[R]:
        """The oldest that nobody holds at `now`."""

    def of_lock(self, hub: HubId, lock: str) -> list[R]: ...

    def delete(self, hub: HubId, sequence: int) -> None: ...

    def drop(self, hub: HubId, *, recorded_before: datetime, up_to: int, limit: int) -> None:
        """Delete what is older than that, and what has a sequence up to that; the oldest `limit` are looked at."""


@dataclass(frozen=True, slots=True)
class HeldBatch(Generic[R]):
    """At least one record, the oldest first; it is the taker's until `locked_until`."""

    lock: str
    locked_until: datetime
    records: tuple[R, ...]


def add_record(table: HeldTable[R], record: R, now: datetime) -> None:
    """Put a new record into its queue, for the transaction of what it tells of.

    Each that comes takes away what two may have left, so what is too old or too many does not pile up.
    """
    table.put(record)
    table.drop(record.hub, recorded_before=now - TTL, up_to=record.sequence - MAX_WAITING, limit=2)


class HeldQueue(Generic[T, R]):
    """Hands records of one queue out. Every method is durable when it returns.

    `table` finds the queue in the tables of a store; `what` names it in words, and `reason` is that of a lost lock.
    """

    def __init__(
        self, store: Store[T], clock: Clock, table: Callable[[T], HeldTable[R]], *, what: str, reason: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._table = table
        self._what = what
        self._reason = reason

    async def take(self, hub: HubId, limit: int = MAX_BATCH) -> HeldBatch[R] | None:
        """The oldest records that nobody holds, locked for whoever called; None when there are none."""
        now = self._clock.now()
        if not self._table(self._store.read()).free(hub, now, 1):
            return None
        lock, until = str(uuid4()), now + LOCK

        def work(tables: T) -> HeldBatch[R] | None:
            table = self._table(tables)
            table.drop(hub, recorded_before=now - TTL, up_to=0, limit=_SWEPT_AT_ONCE)
            taken: list[R] = []
            for record in table.free(hub, now, limit):
                if record.recorded <= now - TTL:
                    continue
                if record.deliveries >= MAX_DELIVERIES:
                    table.delete(hub, record.sequence)
                    continue
                held = replace(record, deliveries=record.deliveries + 1, lock=lock, locked_until=until)
                table.put(held)
                taken.append(held)
            return HeldBatch(lock, until, tuple(taken)) if taken else None

        return await self._store.write(work)

    async def complete(self, hub: HubId, lock: str) -> int:
        """Done with: delete the batch; how many records it had. Raises `PreconditionFailed` (the lock is lost)."""

        def work(tables: T) -> int:
            held = self._held(tables, hub, lock)
            for record in held:
                self._table(tables).delete(hub, record.sequence)
            return len(held)

        return await self._store.write(work)

    async def abandon(self, hub: HubId, lock: str) -> int:
        """Give the batch back at once. As `complete`."""

        def work(tables: T) -> int:
            held = self._held(tables, hub, lock)
            for record in held:
                self._table(tables).put(replace(record, lock=None, locked_until=None))
            return len(held)

        return await self._store.write(work)

    def _held(self, tables: T, hub: HubId, lock: str) -> list[R]:
        now = self._clock.now()
        of_lock = self._table(tables).of_lock(hub, lock)
        held = [each for each in of_lock if each.locked_until is not None and each.locked_until > now]
        if not held:
            raise PreconditionFailed(
                self._reason,
                f"no batch of {self._what} is held under this lock token; it was settled, or its lock came to its end",
                fix=f"receive the {self._what} again",
            )
        return held

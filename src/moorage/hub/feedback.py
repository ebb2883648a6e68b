"""Feedback: what became of cloud-to-device messages whose sender asked for it (contract/services.md 3.5, 2.2).

A record is made in the transaction that settles its message, so neither is there without the other. Records wait for a
back end, which takes a batch, reads it, and completes or abandons it by the batch's lock token. One that does neither
within the lock's time loses it, and the records are given out again.

Bounds: a record waits `TTL`, is given out `MAX_DELIVERIES` times, and at most `MAX_WAITING_RECORDS` of a hub wait; the
oldest go first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol
from uuid import uuid4

from moorage.clock import Clock
from moorage.errors import PreconditionFailed
from moorage.events import Event
from moorage.hub.model import CloudMessage, HubTables
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = [
    "LOCK",
    "MAX_BATCH",
    "MAX_DELIVERIES",
    "MAX_WAITING_RECORDS",
    "TTL",
    "FeedbackBatch",
    "FeedbackRecord",
    "FeedbackService",
    "FeedbackTable",
    "FeedbackTables",
    "Outcome",
    "record_outcome",
]

# contract/services.md 3.4, 3.5: a hub's feedback lives an hour, is locked for a minute and given out ten times, in
# batches of 64.
TTL: Final = timedelta(hours=1)
LOCK: Final = timedelta(seconds=60)
MAX_DELIVERIES: Final = 10
MAX_BATCH: Final = 64
MAX_WAITING_RECORDS: Final = 50_000
_SWEPT_AT_ONCE: Final = 1000

Outcome = Literal["Success", "Expired", "DeliveryCountExceeded", "Rejected", "Purged"]


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """What became of one message. `lock` and `locked_until` are of the batch that holds it now."""

    hub: HubId
    sequence: int
    message_id: str
    name: IdentityName
    generation_id: str
    recorded: datetime
    outcome: Outcome
    deliveries: int = 0
    lock: str | None = None
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """At least one record, the oldest first; it is the taker's until `locked_until`."""

    lock: str
    locked_until: datetime
    records: tuple[FeedbackRecord, ...]


class FeedbackTable(Protocol):
    """Records that wait for a back end."""

    def next_sequence(self, hub: HubId) -> int: ...

    def put(self, record: FeedbackRecord) -> None:
        """Insert or replace."""

    def free(self, hub: HubId, now: datetime, limit: int) -> list[FeedbackRecord]:
        """The oldest that nobody holds at `now`."""

    def of_lock(self, hub: HubId, lock: str) -> list[FeedbackRecord]: ...

    def delete(self, hub: HubId, sequence: int) -> None: ...

    def drop(self, hub: HubId, *, recorded_before: datetime, up_to: int, limit: int) -> None:
        """Delete what is older than that, and what has a sequence up to that; the oldest `limit` are looked at."""


class FeedbackTables(HubTables, Protocol):
    """What feedback needs of a store."""

    @property
    def feedback(self) -> FeedbackTable: ...


def record_outcome(tables: FeedbackTables, message: CloudMessage, outcome: Outcome, now: datetime) -> None:
    """Record what became of `message`, if its sender asked for that; for the transaction that takes it away."""
    wanted = ("positive", "full") if outcome == "Success" else ("negative", "full")
    if message.ack not in wanted:
        return
    identity = tables.identities.find(message.hub, message.name)
    if identity is None:
        return
    sequence = tables.feedback.next_sequence(message.hub)
    tables.feedback.put(
        FeedbackRecord(
            hub=message.hub,
            sequence=sequence,
            message_id=message.message_id,
            name=message.name,
            generation_id=identity.generation_id,
            recorded=now,
            outcome=outcome,
        )
    )
    # Each that comes takes away what two may have left, so what is too old or too many does not pile up.
    tables.feedback.drop(message.hub, recorded_before=now - TTL, up_to=sequence - MAX_WAITING_RECORDS, limit=2)
    tables.outbox.emit(Event("feedback.waiting", message.hub, str(message.name), {"sequence": sequence}))


class FeedbackService:
    """Hands records out. Every method is durable when it returns."""

    def __init__(self, store: Store[FeedbackTables], clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def take(self, hub: HubId, limit: int = MAX_BATCH) -> FeedbackBatch | None:
        """The oldest records that nobody holds, locked for whoever called; None when there are none."""
        now = self._clock.now()
        if not self._store.read().feedback.free(hub, now, 1):
            return None
        lock, until = str(uuid4()), now + LOCK

        def work(tables: FeedbackTables) -> FeedbackBatch | None:
            tables.feedback.drop(hub, recorded_before=now - TTL, up_to=0, limit=_SWEPT_AT_ONCE)
            taken: list[FeedbackRecord] = []
            for record in tables.feedback.free(hub, now, limit):
                if record.recorded <= now - TTL:
                    continue
                if record.deliveries >= MAX_DELIVERIES:
                    tables.feedback.delete(hub, record.sequence)
                    continue
                held = replace(record, deliveries=record.deliveries + 1, lock=lock, locked_until=until)
                tables.feedback.put(held)
                taken.append(held)
            return FeedbackBatch(lock, until, tuple(taken)) if taken else None

        return await self._store.write(work)

    async def complete(self, hub: HubId, lock: str) -> int:
        """Done with: delete the batch; how many records it had. Raises `PreconditionFailed` (`feedback.lock_lost`)."""

        def work(tables: FeedbackTables) -> int:
            held = self._held(tables, hub, lock)
            for record in held:
                tables.feedback.delete(hub, record.sequence)
            return len(held)

        return await self._store.write(work)

    async def abandon(self, hub: HubId, lock: str) -> int:
        """Give the batch back at once. As `complete`."""

        def work(tables: FeedbackTables) -> int:
            held = self._held(tables, hub, lock)
            for record in held:
                tables.feedback.put(replace(record, lock=None, locked_until=None))
            return len(held)

        return await self._store.write(work)

    def _held(self, tables: FeedbackTables, hub: HubId, lock: str) -> list[FeedbackRecord]:
        now = self._clock.now()
        held = [each for each in tables.feedback.of_lock(hub, lock) if each.locked_until and each.locked_until > now]
        if not held:
            raise PreconditionFailed(
                "feedback.lock_lost",
                "no batch of feedback is held under this lock token; it was settled, or its lock came to its end",
                fix="receive the feedback again",
            )
        return held

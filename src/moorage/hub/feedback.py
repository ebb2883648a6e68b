"""Feedback: what became of cloud-to-device messages whose sender asked for it (contract/services.md 3.5, 2.2).

A record is made in the transaction that settles its message, so neither is there without the other. Records wait for a
back end in a queue with locks (`hub/held_queue.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from moorage.clock import Clock
from moorage.events import Event
from moorage.hub.held_queue import HeldBatch, HeldQueue, HeldTable, add_record
from moorage.hub.model import CloudMessage, HubTables
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = [
    "FeedbackBatch",
    "FeedbackRecord",
    "FeedbackService",
    "FeedbackTable",
    "FeedbackTables",
    "Outcome",
    "record_outcome",
]

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


FeedbackBatch = HeldBatch[FeedbackRecord]
FeedbackTable = HeldTable[FeedbackRecord]


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
    record = FeedbackRecord(
        hub=message.hub,
        sequence=sequence,
        message_id=message.message_id,
        name=message.name,
        generation_id=identity.generation_id,
        recorded=now,
        outcome=outcome,
    )
    add_record(tables.feedback, record, now)
    tables.outbox.emit(Event("feedback.waiting", message.hub, str(message.name), {"sequence": sequence}))


class FeedbackService(HeldQueue[FeedbackTables, FeedbackRecord]):
    """Hands records out; a lost lock is `feedback.lock_lost`."""

    def __init__(self, store: Store[FeedbackTables], clock: Clock) -> None:
        super().__init__(store, clock, lambda tables: tables.feedback, what="feedback", reason="feedback.lock_lost")

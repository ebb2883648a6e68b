"""Feedback records (port: `hub.feedback.FeedbackTable`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.held_tables import HeldRows, HeldStatements
from moorage.adapters.sqlite.values import from_micros, maybe_from_micros, maybe_to_micros, to_micros
from moorage.hub.feedback import FeedbackRecord
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId

__all__ = ["Feedback"]


class Feedback(HeldRows[FeedbackRecord]):
    """Port: `hub.feedback.FeedbackTable`."""

    __slots__ = ()

    sql = HeldStatements(schema.feedback, "feedback_sequence")

    def row(self, record: FeedbackRecord) -> Sequence[Any]:
        return (
            record.hub,
            record.sequence,
            record.message_id,
            record.name.device_id,
            record.name.module_id or "",
            record.generation_id,
            to_micros(record.recorded),
            record.outcome,
            record.deliveries,
            record.lock,
            maybe_to_micros(record.locked_until),
        )

    def record(self, hub: HubId, *row: Any) -> FeedbackRecord:
        sequence, message_id, device, module, generation_id, recorded, outcome, deliveries, lock, locked_until = row
        return FeedbackRecord(
            hub,
            sequence,
            message_id,
            IdentityName(DeviceId(device), ModuleId(module) if module else None),
            generation_id,
            from_micros(recorded),
            outcome,
            deliveries,
            lock,
            maybe_from_micros(locked_until),
        )

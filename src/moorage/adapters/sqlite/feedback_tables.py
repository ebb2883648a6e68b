"""Feedback records (port: `hub.feedback.FeedbackTable`)."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_micros, maybe_from_micros, maybe_to_micros, to_micros
from moorage.hub.feedback import FeedbackRecord
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId

__all__ = ["Feedback"]

_F = schema.feedback.c
_COLUMNS = [column for column in schema.feedback.c if column.name != "hub_id"]
_PUT = upsert(schema.feedback)
_DELETE = delete_by(schema.feedback, "hub_id", "sequence")
_OF_LOCK = select_by(schema.feedback, _COLUMNS, "hub_id", "lock")
FREE = compile_sql(
    limited(
        sa.select(*_COLUMNS)
        .where(
            _F.hub_id == parameter("hub_id"),
            sa.or_(_F.locked_until.is_(None), _F.locked_until <= parameter("now")),
        )
        .order_by(_F.sequence)
    ),
    "hub_id",
    "now",
    "limit",
)
_DROP = compile_sql(
    sa.delete(schema.feedback).where(_F.hub_id == parameter("hub_id"), _F.sequence <= parameter("sequence")),
    "hub_id",
    "sequence",
)
_OLDEST = compile_sql(
    limited(sa.select(_F.sequence, _F.recorded).where(_F.hub_id == parameter("hub_id")).order_by(_F.sequence)),
    "hub_id",
    "limit",
)
_NEXT = compile_sql(
    insert(schema.counters)
    .values(hub_id=parameter("hub_id"), name=sa.literal_column("'feedback_sequence'"), value=sa.literal_column("1"))
    .on_conflict_do_update(
        index_elements=["hub_id", "name"], set_={"value": schema.counters.c.value + sa.literal_column("1")}
    )
    .returning(schema.counters.c.value),
    "hub_id",
)


class Feedback:
    """Port: `hub.feedback.FeedbackTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def next_sequence(self, hub: HubId) -> int:
        """Counts from 1."""
        number: int = self._connection.execute(_NEXT, (hub,)).fetchone()[0]
        return number

    def put(self, record: FeedbackRecord) -> None:
        self._connection.execute(
            _PUT,
            (
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
            ),
        )

    def free(self, hub: HubId, now: datetime, limit: int) -> list[FeedbackRecord]:
        return [_record(hub, *row) for row in self._connection.execute(FREE, (hub, to_micros(now), limit)).fetchall()]

    def of_lock(self, hub: HubId, lock: str) -> list[FeedbackRecord]:
        return [_record(hub, *row) for row in self._connection.execute(_OF_LOCK, (hub, lock)).fetchall()]

    def delete(self, hub: HubId, sequence: int) -> None:
        self._connection.execute(_DELETE, (hub, sequence))

    def drop(self, hub: HubId, *, recorded_before: datetime, up_to: int, limit: int) -> None:
        oldest = self._connection.execute(_OLDEST, (hub, limit)).fetchall()
        before = to_micros(recorded_before)
        gone = [sequence for sequence, recorded in oldest if recorded < before or sequence <= up_to]
        if gone:
            self._connection.execute(_DROP, (hub, gone[-1]))


def _record(hub: HubId, *row: Any) -> FeedbackRecord:
    sequence, message_id, device_id, module_id, generation_id, recorded, outcome, deliveries, lock, locked_until = row
    return FeedbackRecord(
        hub,
        sequence,
        message_id,
        IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None),
        generation_id,
        from_micros(recorded),
        outcome,
        deliveries,
        lock,
        maybe_from_micros(locked_until),
    )

"""Queues of records with locks (port: `hub.held_queue.HeldTable`): the same statements for every such table.

A table has `hub_id`, `sequence`, `recorded`, `lock` and `locked_until`, and whatever its records hold beside that.
"""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import to_micros
from moorage.hub.held_queue import Record
from moorage.ids import HubId

__all__ = ["HeldRows", "HeldStatements"]

R = TypeVar("R", bound=Record)


class HeldStatements:
    """SQL for one table; `counter` is the name under which its sequence is counted."""

    def __init__(self, table: sa.Table, counter: str) -> None:
        columns = [column for column in table.c if column.name != "hub_id"]
        of_hub = table.c.hub_id == parameter("hub_id")
        sequence = table.c.sequence
        self.put = upsert(table)
        self.delete = delete_by(table, "hub_id", "sequence")
        self.of_lock = select_by(table, columns, "hub_id", "lock")
        is_free = sa.or_(table.c.locked_until.is_(None), table.c.locked_until <= parameter("now"))
        self.free = compile_sql(
            limited(sa.select(*columns).where(of_hub, is_free).order_by(sequence)), "hub_id", "now", "limit"
        )
        self.drop = compile_sql(sa.delete(table).where(of_hub, sequence <= parameter("sequence")), "hub_id", "sequence")
        self.oldest = compile_sql(
            limited(sa.select(sequence, table.c.recorded).where(of_hub).order_by(sequence)), "hub_id", "limit"
        )
        one: sa.ColumnElement[int] = sa.literal_column("1")
        self.next = compile_sql(
            insert(schema.counters)
            .values(hub_id=parameter("hub_id"), name=sa.literal_column(f"'{counter}'"), value=one)
            .on_conflict_do_update(index_elements=["hub_id", "name"], set_={"value": schema.counters.c.value + one})
            .returning(schema.counters.c.value),
            "hub_id",
        )


class HeldRows(Generic[R]):
    """One table's rows as records."""

    __slots__ = ("_connection",)

    sql: ClassVar[HeldStatements]

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @abstractmethod
    def row(self, record: R) -> Sequence[Any]:
        """In the order of the table's columns."""

    @abstractmethod
    def record(self, hub: HubId, *row: Any) -> R:
        """From a row without its `hub_id`."""

    def next_sequence(self, hub: HubId) -> int:
        """Counts from 1."""
        number: int = self._connection.execute(self.sql.next, (hub,)).fetchone()[0]
        return number

    def put(self, record: R) -> None:
        self._connection.execute(self.sql.put, self.row(record))

    def free(self, hub: HubId, now: datetime, limit: int) -> list[R]:
        found = self._connection.execute(self.sql.free, (hub, to_micros(now), limit)).fetchall()
        return [self.record(hub, *row) for row in found]

    def of_lock(self, hub: HubId, lock: str) -> list[R]:
        return [self.record(hub, *row) for row in self._connection.execute(self.sql.of_lock, (hub, lock)).fetchall()]

    def delete(self, hub: HubId, sequence: int) -> None:
        self._connection.execute(self.sql.delete, (hub, sequence))

    def drop(self, hub: HubId, *, recorded_before: datetime, up_to: int, limit: int) -> None:
        oldest = self._connection.execute(self.sql.oldest, (hub, limit)).fetchall()
        before = to_micros(recorded_before)
        gone = [sequence for sequence, recorded in oldest if recorded < before or sequence <= up_to]
        if gone:
            self._connection.execute(self.sql.drop, (hub, gone[-1]))

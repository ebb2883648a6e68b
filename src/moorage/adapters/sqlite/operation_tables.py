"""Acts on many devices, their batches and errors (port: `fleet.operation_model`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.documents import made, plain
from moorage.adapters.sqlite.statements import (
    compile_sql,
    delete_by,
    insert_into,
    limited,
    parameter,
    select_by,
    upsert,
)
from moorage.adapters.sqlite.values import from_json, maybe_to_micros, to_json, to_micros
from moorage.fleet.operation_model import Item, ItemError, Operation, OperationId
from moorage.ids import HubId

__all__ = ["Operations"]

_O, _B, _E = schema.device_operations, schema.device_operation_batches, schema.device_operation_errors
_PUT = upsert(_O)
_FIND = select_by(_O, [_O.c.document], "hub_id", "operation_id")
_OF_HUB = sa.select(_O.c.document).where(_O.c.hub_id == parameter("hub_id"))
_NEWEST = (_O.c.started.desc(), _O.c.operation_id.desc())
_OF = compile_sql(
    limited(_OF_HUB.where(_O.c.maker == parameter("maker")).order_by(*_NEWEST)), "hub_id", "maker", "limit"
)
_UNFINISHED = compile_sql(_OF_HUB.where(_O.c.ended.is_(None)).order_by(_O.c.started, _O.c.operation_id), "hub_id")
_BEYOND = compile_sql(
    sa.select(_O.c.operation_id)
    .where(_O.c.hub_id == parameter("hub_id"), _O.c.ended.is_not(None))
    .order_by(*_NEWEST)
    .limit(sa.literal_column("-1"))
    .offset(parameter("number")),
    "hub_id",
    "number",
)
_DELETE = delete_by(_O, "hub_id", "operation_id")
_DELETE_ERRORS = delete_by(_E, "hub_id", "operation_id")
_ADD_BATCH = insert_into(_B)
_FIRST = compile_sql(
    sa.select(_B.c.number, _B.c["items"])
    .where(_B.c.hub_id == parameter("hub_id"), _B.c.operation_id == parameter("operation_id"))
    .order_by(_B.c.number)
    .limit(sa.literal_column("1"))
    .offset(sa.literal_column("0")),
    "hub_id",
    "operation_id",
)
_DELETE_BATCH = delete_by(_B, "hub_id", "operation_id", "number")
_DELETE_BATCHES = (
    "DELETE FROM device_operation_batches WHERE hub_id = ? AND operation_id = ? AND number IN"
    " (SELECT number FROM device_operation_batches WHERE hub_id = ? AND operation_id = ? LIMIT ?)"
)
_WITH_BATCHES = compile_sql(sa.select(_B.c.operation_id).where(_B.c.hub_id == parameter("hub_id")).distinct(), "hub_id")
_ADD_ERROR = insert_into(_E)
_ERRORS = compile_sql(
    sa.select(_E.c.item, _E.c.reason, _E.c.message)
    .where(_E.c.hub_id == parameter("hub_id"), _E.c.operation_id == parameter("operation_id"))
    .order_by(_E.c.number),
    "hub_id",
    "operation_id",
)


class Operations:
    """Port: `fleet.operation_model.OperationTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, operation_id: OperationId) -> Operation | None:
        row = self._connection.execute(_FIND, (hub, operation_id)).fetchone()
        return None if row is None else _operation(row)

    def put(self, operation: Operation) -> None:
        row = (
            operation.hub,
            operation.operation_id,
            operation.maker.key,
            to_micros(operation.started),
            maybe_to_micros(operation.ended),
            to_json(plain(operation, [])),
        )
        self._connection.execute(_PUT, row)

    def of(self, hub: HubId, maker: str, limit: int) -> list[Operation]:
        return [_operation(row) for row in self._connection.execute(_OF, (hub, maker, limit)).fetchall()]

    def unfinished(self, hub: HubId) -> list[Operation]:
        return [_operation(row) for row in self._connection.execute(_UNFINISHED, (hub,)).fetchall()]

    def beyond(self, hub: HubId, number: int) -> list[OperationId]:
        return [row[0] for row in self._connection.execute(_BEYOND, (hub, number)).fetchall()]

    def delete(self, hub: HubId, operation_id: OperationId) -> None:
        self._connection.execute(_DELETE_ERRORS, (hub, operation_id))
        self._connection.execute(_DELETE, (hub, operation_id))

    # -- batches -------------------------------------------------------------------------------------------------------

    def put_batches(self, hub: HubId, operation_id: OperationId, first: int, batches: Sequence[Sequence[Item]]) -> None:
        rows = [(hub, operation_id, number, to_json(batch)) for number, batch in enumerate(batches, first)]
        self._connection.executemany(_ADD_BATCH, rows)

    def first_batch(self, hub: HubId, operation_id: OperationId) -> tuple[int, list[Item]] | None:
        row = self._connection.execute(_FIRST, (hub, operation_id)).fetchone()
        return None if row is None else (row[0], [Item(*each) for each in from_json(row[1])])

    def delete_batch(self, hub: HubId, operation_id: OperationId, number: int) -> None:
        self._connection.execute(_DELETE_BATCH, (hub, operation_id, number))

    def delete_batches(self, hub: HubId, operation_id: OperationId, limit: int) -> int:
        return self._connection.execute(_DELETE_BATCHES, (hub, operation_id, hub, operation_id, limit)).rowcount

    def with_batches(self, hub: HubId) -> list[OperationId]:
        return [row[0] for row in self._connection.execute(_WITH_BATCHES, (hub,)).fetchall()]

    # -- errors --------------------------------------------------------------------------------------------------------

    def add_errors(self, hub: HubId, operation_id: OperationId, first: int, errors: Iterable[ItemError]) -> None:
        rows = [(hub, operation_id, number, *error) for number, error in enumerate(errors, first)]
        self._connection.executemany(_ADD_ERROR, rows)

    def errors(self, hub: HubId, operation_id: OperationId) -> list[ItemError]:
        return [ItemError(*row) for row in self._connection.execute(_ERRORS, (hub, operation_id)).fetchall()]


def _operation(row: tuple[str]) -> Operation:
    return made(Operation, from_json(row[0]), [])

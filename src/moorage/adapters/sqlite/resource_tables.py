"""Consumer groups (port: `hub/consumer_groups.py`)."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, select_by, upsert
from moorage.adapters.sqlite.values import fold, from_micros, to_micros
from moorage.hub.consumer_groups import ConsumerGroup
from moorage.ids import HubId

__all__ = ["ConsumerGroupRows"]

_C = schema.consumer_groups.c
_VALUES: list[sa.Column[Any]] = [_C.name, _C.created]
_FIND = select_by(schema.consumer_groups, _VALUES, "hub_id", "key")
_ALL = compile_sql(sa.select(*_VALUES).where(_C.hub_id == parameter("hub_id")).order_by(_C.key), "hub_id")
_PUT = upsert(schema.consumer_groups)
_DELETE = delete_by(schema.consumer_groups, "hub_id", "key")


class ConsumerGroupRows:
    """Port: `hub.consumer_groups.ConsumerGroupTable`. `all` is in order of the folded names."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, name: str) -> ConsumerGroup | None:
        row = self._connection.execute(_FIND, (hub, fold(name))).fetchone()
        return None if row is None else ConsumerGroup(hub, row[0], from_micros(row[1]))

    def all(self, hub: HubId) -> list[ConsumerGroup]:
        rows = self._connection.execute(_ALL, (hub,)).fetchall()
        return [ConsumerGroup(hub, name, from_micros(created)) for name, created in rows]

    def put(self, group: ConsumerGroup) -> None:
        if group.created is None:
            raise ValueError(f"{group.name} is not stored")
        self._connection.execute(_PUT, (group.hub, fold(group.name), group.name, to_micros(group.created)))

    def delete(self, hub: HubId, name: str) -> None:
        self._connection.execute(_DELETE, (hub, fold(name)))

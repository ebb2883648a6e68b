"""Hubs that devices can be assigned to (port: `provisioning.model.LinkedHubTable`).

`sealed` holds the connection string, which lets whoever has it write to the other hub's registry.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, select_by, upsert
from moorage.adapters.sqlite.values import fold, from_micros, to_micros
from moorage.ids import HubId, Secret
from moorage.provisioning.model import LinkedHub

__all__ = ["LinkedHubs"]

_TABLE = schema.linked_hubs
_C = _TABLE.c
_VALUES: list[sa.Column[Any]] = [column for column in _C if column.name not in ("hub_id", "key")]
_FIND = select_by(_TABLE, _VALUES, "hub_id", "key")
_ALL = compile_sql(sa.select(*_VALUES).where(_C.hub_id == parameter("hub_id")).order_by(_C.position, _C.key), "hub_id")
_PUT = upsert(_TABLE)
_DELETE = delete_by(_TABLE, "hub_id", "key")


class LinkedHubs:
    """Port: `provisioning.model.LinkedHubTable`."""

    __slots__ = ("_connection", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def find(self, hub: HubId, host_name: str) -> LinkedHub | None:
        row = self._connection.execute(_FIND, (hub, fold(host_name))).fetchone()
        return None if row is None else self._linked(hub, row)

    def all(self, hub: HubId) -> list[LinkedHub]:
        return [self._linked(hub, row) for row in self._connection.execute(_ALL, (hub,)).fetchall()]

    def put(self, linked: LinkedHub) -> None:
        key, text = fold(linked.host_name), linked.connection_string
        self._connection.execute(
            _PUT,
            (
                linked.hub,
                key,
                linked.host_name,
                None if text is None else self._sealer.seal(text, Secret(""), _TABLE.name, linked.hub, key),
                linked.location,
                linked.weight,
                linked.applies_policy,
                linked.position,
                to_micros(linked.created),
                to_micros(linked.updated),
            ),
        )

    def delete(self, hub: HubId, host_name: str) -> None:
        self._connection.execute(_DELETE, (hub, fold(host_name)))

    def _linked(self, hub: HubId, row: tuple[Any, ...]) -> LinkedHub:
        host_name, sealed, location, weight, applies_policy, position, created, updated = row
        return LinkedHub(
            hub,
            host_name,
            None if sealed is None else self._sealer.open(sealed, _TABLE.name, hub, fold(host_name))[0],
            location,
            weight,
            applies_policy == 1,
            position,
            from_micros(created),
            from_micros(updated),
        )

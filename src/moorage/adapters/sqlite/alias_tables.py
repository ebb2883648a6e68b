"""Mapped aliases of devices (port: `fleet.aliases.AliasTable`)."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, upsert
from moorage.adapters.sqlite.values import from_json, to_json
from moorage.fleet.aliases import Alias
from moorage.ids import DeviceId, HubId

__all__ = ["AliasRows"]

_A = schema.mapped_aliases.c
_PUT = upsert(schema.mapped_aliases)
_DELETE = delete_by(schema.mapped_aliases, "hub_id", "device_id", "module_id", "alias")
OF_DEVICE = compile_sql(
    sa.select(_A.alias, _A.path)
    .where(
        _A.hub_id == parameter("hub_id"), _A.device_id == parameter("device_id"), _A.module_id == parameter("module_id")
    )
    .order_by(_A.alias),
    "hub_id",
    "device_id",
    "module_id",
)


class AliasRows:
    """Port: `fleet.aliases.AliasTable`. Aliases belong to a device, whose `module_id` is ''."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of_device(self, hub: HubId, device_id: DeviceId) -> list[Alias]:
        rows = self._connection.execute(OF_DEVICE, (hub, device_id, "")).fetchall()
        return [Alias(alias, tuple(from_json(path))) for alias, path in rows]

    def put(self, hub: HubId, device_id: DeviceId, alias: Alias) -> None:
        self._connection.execute(_PUT, (hub, device_id, "", alias.alias, to_json(alias.path)))

    def delete(self, hub: HubId, device_id: DeviceId, alias: str) -> bool:
        return self._connection.execute(_DELETE, (hub, device_id, "", alias)).rowcount > 0

"""Desired properties that wait for a device (port: `fleet/awaited.py`)."""

from __future__ import annotations

import sqlite3

from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.statements import delete_by, select_by, upsert
from moorage.adapters.sqlite.values import from_json, from_micros, to_json, to_micros
from moorage.fleet.awaited import Awaited
from moorage.ids import DeviceId, HubId

__all__ = ["AwaitedRows"]

_A = schema.awaited_properties.c
_FIND = select_by(schema.awaited_properties, [_A.desired, _A.version, _A.updated], "hub_id", "device_id")
_PUT = upsert(schema.awaited_properties)
_DELETE = delete_by(schema.awaited_properties, "hub_id", "device_id")


class AwaitedRows:
    """Port: `fleet.awaited.AwaitedTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, device_id: DeviceId) -> Awaited | None:
        row = self._connection.execute(_FIND, (hub, device_id)).fetchone()
        return None if row is None else Awaited(from_json(row[0]), row[1], from_micros(row[2]))

    def put(self, hub: HubId, device_id: DeviceId, awaited: Awaited) -> None:
        values = (hub, device_id, to_json(awaited.desired), awaited.version, to_micros(awaited.updated))
        self._connection.execute(_PUT, values)

    def delete(self, hub: HubId, device_id: DeviceId) -> None:
        self._connection.execute(_DELETE, (hub, device_id))

"""Device groups (port: `fleet.groups.GroupTable`)."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from moorage.accounts.model import OrganizationId
from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_micros, to_micros
from moorage.fleet.groups import DeviceGroup, DeviceGroupId
from moorage.ids import HubId

__all__ = ["GroupRows"]

_G = schema.device_groups.c
_COLUMNS = [column for column in _G if column.name != "hub_id"]
_PUT = upsert(schema.device_groups)
_FIND = select_by(schema.device_groups, _COLUMNS, "hub_id", "group_id")
_ALL = compile_sql(
    sa.select(*_COLUMNS).where(_G.hub_id == parameter("hub_id")).order_by(_G.display_name, _G.group_id), "hub_id"
)
_DELETE = delete_by(schema.device_groups, "hub_id", "group_id")


class GroupRows:
    """Port: `fleet.groups.GroupTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, group_id: DeviceGroupId) -> DeviceGroup | None:
        row = self._connection.execute(_FIND, (hub, group_id)).fetchone()
        return None if row is None else _group(hub, *row)

    def all(self, hub: HubId) -> list[DeviceGroup]:
        return [_group(hub, *row) for row in self._connection.execute(_ALL, (hub,)).fetchall()]

    def put(self, group: DeviceGroup) -> None:
        self._connection.execute(
            _PUT,
            (
                group.hub,
                group.group_id,
                group.display_name,
                group.description,
                group.query,
                group.organization,
                to_micros(group.created),
                group.version,
            ),
        )

    def delete(self, hub: HubId, group_id: DeviceGroupId) -> None:
        self._connection.execute(_DELETE, (hub, group_id))


def _group(
    hub: HubId,
    group_id: str,
    display_name: str,
    description: str,
    query: str,
    organization: str,
    created: int,
    version: int,
) -> DeviceGroup:
    return DeviceGroup(
        hub,
        DeviceGroupId(group_id),
        display_name,
        description,
        query,
        OrganizationId(organization),
        from_micros(created),
        version,
    )

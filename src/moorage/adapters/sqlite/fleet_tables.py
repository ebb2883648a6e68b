"""Records of devices (port: `fleet.model.DeviceTable`).

A list of some kinds of devices (organisation, template, state) is merged from the index of kinds: which kinds there are
is known from their tallies, each is in the order of the ids, and of each no more is read than is shown. So a page costs
about as many reads as it has rows, wherever in a hundred thousand devices they stand. What is looked for by a part of
its name takes a scan of the records, which are narrow for that; so does an order by anything but the ids, of which
SQLite keeps no more than the rows of one page. For a hundred thousand devices a scan takes 12 to 40 ms, and every index
that would spare it would be written by each device that registers or connects.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from moorage.accounts.model import OrganizationId
from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_json, from_micros, to_json, to_micros
from moorage.fleet.model import (
    COLUMNS,
    DeviceColumn,
    DeviceFilter,
    DeviceOrder,
    DeviceRecord,
    Place,
    Tally,
    TemplateId,
)
from moorage.ids import DeviceId, HubId

__all__ = ["Devices"]

# More kinds than this are read in the order of the devices instead.
_MAX_KINDS: Final = 400

_D, _T, _P = (
    schema.devices.c,
    schema.device_tallies.c,
    schema.device_cloud_properties.c,
)
_KEPT: Final = ("is_provisioned", "state")
_REST = [column for column in _D if column.name not in ("hub_id", "device_id", "search", "state")]


def _put() -> str:
    columns = [column.name for column in _D if column.name not in _KEPT]
    new = insert(schema.devices).values(
        {name: parameter(name) for name in columns} | {"is_provisioned": sa.literal_column("0")}
    )
    values = {name: new.excluded[name] for name in columns if name not in ("hub_id", "device_id")}
    return compile_sql(new.on_conflict_do_update(index_elements=["hub_id", "device_id"], set_=values), *columns)


_PUT = _put()
_FIND = select_by(schema.devices, _REST, "hub_id", "device_id")
_DELETE = delete_by(schema.devices, "hub_id", "device_id")
# Without statistics SQLite would read all devices in their order.
_OF_KIND: Final = (
    "SELECT device_id FROM devices INDEXED BY ix_devices_kind"
    " WHERE hub_id = ? AND organization = ? AND template = ? AND state = ? AND device_id > ? ORDER BY device_id"
)
_IN_ORDER = compile_sql(
    sa.select(_D.device_id)
    .where(_D.hub_id == parameter("hub_id"), _D.device_id > parameter("after"))
    .order_by(_D.device_id),
    "hub_id",
    "after",
)
# Conditions that are not wanted are NULL. The plus signs keep SQLite from the index of kinds, whose order is another.
_SCAN: Final = (
    "SELECT device_id FROM devices WHERE hub_id = :hub AND device_id > :after AND instr(search, :text) > 0"
    " AND (:state IS NULL OR +state = :state) AND (:template IS NULL OR +template = :template)"
    " AND (:organizations IS NULL OR +organization IN (SELECT value FROM json_each(:organizations)))"
    " ORDER BY device_id"
)
# What each column is sorted by, of a device `d` with the label `l` and the activity `a`. `search` has the id and the
# name, or the id alone where it is the name.
_OWN_NAME: Final = "iif(length(d.search) > length(d.device_id), substr(d.search, length(d.device_id) + 2), d.search)"
_SORTED_BY: Final[dict[DeviceColumn, str]] = {
    "id": "(d.device_id)",
    "name": _OWN_NAME,
    "status": "(l.label)",
    "template": "(l.label)",
    "organization": "(l.label)",
    "simulated": "(d.is_simulated)",
    "connection": "coalesce(a.last_activity, 0)",
}
_KIND_OF: Final[dict[DeviceColumn, str]] = {"status": "state", "template": "template", "organization": "organization"}
_NUMBERS: Final = ("simulated", "connection")


def _sorting(column: DeviceColumn, is_descending: bool) -> str:
    """By a column, ids decide between equals; conditions as `_SCAN` has them."""
    key, kind = _SORTED_BY[column], _KIND_OF.get(column)
    place = "CAST(:key AS INTEGER)" if column in _NUMBERS else ":key"
    less, down = ("<", " DESC") if is_descending else (">", "")
    labels = "WITH l(value, label) AS MATERIALIZED (SELECT key, value FROM json_each(:labels))" if kind else ""
    joined = f"CROSS JOIN l ON l.value = d.{kind}" if kind else ""
    if column == "connection":
        joined = "LEFT JOIN activity a ON a.hub_id = d.hub_id AND a.device_id = d.device_id AND a.module_id = ''"
    return (
        f"{labels} SELECT {key}, d.device_id FROM devices d {joined} WHERE d.hub_id = :hub AND d.device_id > ''"
        f" AND (:id IS NULL OR {key} {less} {place} OR ({key} = {place} AND d.device_id > :id))"
        " AND instr(d.search, :text) > 0"
        " AND (:state IS NULL OR +d.state = :state) AND (:template IS NULL OR +d.template = :template)"
        " AND (:organizations IS NULL OR +d.organization IN (SELECT value FROM json_each(:organizations)))"
        f" ORDER BY {key}{down}, d.device_id LIMIT :limit"
    )


_SORTED: Final = {
    (column, is_descending): _sorting(column, is_descending) for column in COLUMNS for is_descending in (False, True)
}
_TALLIES = compile_sql(
    sa.select(_T.organization, _T.template, _T.state, _T.devices).where(_T.hub_id == parameter("hub_id")), "hub_id"
)
_SIMULATED = compile_sql(
    sa.select(_D.device_id)
    .where(_D.hub_id == parameter("hub_id"), _D.is_simulated == sa.literal_column("1"))
    .order_by(_D.device_id),
    "hub_id",
)
_UNASSIGNED: Final = (
    "SELECT t.device_id FROM twins t INDEXED BY ix_twins_model JOIN devices d USING (hub_id, device_id)"
    " WHERE t.hub_id = ? AND t.model_id = ? AND t.device_id > ? AND t.module_id = '' AND d.template = ''"
    " ORDER BY t.device_id LIMIT ?"
)
_PROPERTIES = select_by(schema.device_cloud_properties, [_P.value], "hub_id", "device_id")
_PUT_PROPERTIES = upsert(schema.device_cloud_properties)


class Devices:
    """Port: `fleet.model.DeviceTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, device_id: DeviceId) -> DeviceRecord | None:
        row = self._connection.execute(_FIND, (hub, device_id)).fetchone()
        return None if row is None else _record(hub, device_id, row)

    def find_many(self, hub: HubId, device_ids: Sequence[DeviceId]) -> list[DeviceRecord]:
        found = (self.find(hub, device_id) for device_id in device_ids)
        return [record for record in found if record is not None]

    def put(self, record: DeviceRecord) -> None:
        self._connection.execute(
            _PUT,
            (
                record.hub,
                record.device_id,
                record.display_name,
                f"{record.device_id}\n{record.display_name}".casefold(),
                record.template,
                record.organization,
                record.is_simulated,
                record.is_edge,
                record.is_approved,
                record.is_blocked,
                record.manifest,
                to_micros(record.created),
                record.version,
            ),
        )

    def delete(self, hub: HubId, device_id: DeviceId) -> None:
        self._connection.execute(_DELETE, (hub, device_id))

    def ids(
        self,
        hub: HubId,
        wanted: DeviceFilter,
        limit: int,
        after: str = "",
        *,
        fits: Callable[[str], bool] | None = None,
    ) -> list[DeviceId]:
        with ExitStack() as opened:
            found = self._found(hub, wanted, after, opened)
            return [DeviceId(each) for each in islice(found if fits is None else filter(fits, found), limit)]

    def places(
        self,
        hub: HubId,
        wanted: DeviceFilter,
        order: DeviceOrder,
        limit: int,
        after: Place | None = None,
        *,
        fits: Callable[[str], bool] | None = None,
    ) -> list[Place]:
        asked = {
            **_conditions(hub, wanted),
            "key": None if after is None else after.key,
            "id": None if after is None else after.device_id,
            "labels": to_json(self._labels(hub, order)),
            # Without a limit SQLite sorts all of them, which takes twice as long.
            "limit": limit if fits is None else -1,
        }
        with closing(self._connection.execute(_SORTED[order.column, order.is_descending], asked)) as rows:
            found = (Place(str(key), DeviceId(device_id)) for key, device_id in rows)
            return list(islice((each for each in found if fits is None or fits(each.device_id)), limit))

    def tallies(self, hub: HubId) -> list[Tally]:
        return [
            Tally(OrganizationId(organization), TemplateId(template), state, devices)
            for organization, template, state, devices in self._connection.execute(_TALLIES, (hub,))
        ]

    def unassigned(self, hub: HubId, model_id: str, limit: int, after: str = "") -> list[DeviceId]:
        rows = self._connection.execute(_UNASSIGNED, (hub, model_id, after, limit)).fetchall()
        return [DeviceId(device_id) for (device_id,) in rows]

    def simulated(self, hub: HubId) -> list[DeviceRecord]:
        rows = self._connection.execute(_SIMULATED, (hub,)).fetchall()
        return self.find_many(hub, [DeviceId(device_id) for (device_id,) in rows])

    def cloud_properties(self, hub: HubId, device_id: DeviceId) -> Mapping[str, Any]:
        row = self._connection.execute(_PROPERTIES, (hub, device_id)).fetchone()
        found: Mapping[str, Any] = {} if row is None else from_json(row[0])
        return found

    def put_cloud_properties(self, hub: HubId, device_id: DeviceId, values: Mapping[str, Any]) -> None:
        self._connection.execute(_PUT_PROPERTIES, (hub, device_id, to_json(values)))

    def _found(self, hub: HubId, wanted: DeviceFilter, after: str, opened: ExitStack) -> Iterator[str]:
        def rows(statement: str, parameters: Any) -> Iterator[str]:
            cursor = opened.enter_context(closing(self._connection.execute(statement, parameters)))
            return (device_id for (device_id,) in cursor)

        if not wanted.text:
            if wanted.state is None and wanted.template is None and wanted.organizations is None:
                return rows(_IN_ORDER, (hub, after))
            kinds = [kind for kind in self.tallies(hub) if kind.fits(wanted)]
            if len(kinds) <= _MAX_KINDS:
                of_each = [rows(_OF_KIND, (hub, kind.organization, kind.template, kind.state, after)) for kind in kinds]
                return heapq.merge(*of_each)
        return rows(_SCAN, {**_conditions(hub, wanted), "after": after})

    def _labels(self, hub: HubId, order: DeviceOrder) -> dict[str, str]:
        """Of each status, template or organization that some device has."""
        kind = _KIND_OF.get(order.column)
        values = {getattr(tally, kind) for tally in self.tallies(hub)} if kind else set()
        return {value: order.labels.get(value, value).casefold() for value in values}


def _conditions(hub: HubId, wanted: DeviceFilter) -> dict[str, str | None]:
    return {
        "hub": hub,
        "text": wanted.text.casefold(),
        "state": wanted.state,
        "template": wanted.template,
        "organizations": None if wanted.organizations is None else to_json(sorted(wanted.organizations)),
    }


def _record(hub: HubId, device_id: DeviceId, rest: Sequence[Any]) -> DeviceRecord:
    name, template, organization, simulated, edge, approved, blocked, provisioned, manifest, created, version = rest
    return DeviceRecord(
        hub,
        device_id,
        name,
        from_micros(created),
        TemplateId(template),
        OrganizationId(organization),
        simulated == 1,
        edge == 1,
        approved == 1,
        blocked == 1,
        provisioned == 1,
        manifest,
        version,
    )

"""Rules, data exports, edge manifests, and how far readers of the log have come (ports: `automation/`).

Each thing is one document (`documents.py`); what a query looks at stands beside it in columns of its own.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from moorage.accounts.model import OrganizationId
from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.documents import made, plain
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.statements import (
    compile_sql,
    delete_by,
    insert_into,
    limited,
    parameter,
    select_by,
    upsert,
)
from moorage.adapters.sqlite.values import from_json, from_micros, to_json, to_micros
from moorage.automation.exports import DataExport, Destination, DestinationId, ExportEvent, ExportId
from moorage.automation.manifests import Manifest, ManifestId
from moorage.automation.rule_model import Rule, RuleEvent, RuleId
from moorage.ids import HubId, Secret

__all__ = ["Documents", "ExportRows", "LogReaders", "ManifestRows", "RuleRows"]

T = TypeVar("T")


class Documents:
    """Rows of `hub_id`, an id, `organization`, `document` and `sealed`; the id's column is the second key.

    Where a thing belongs is what its column says, since organisations that go away give it to another.
    """

    __slots__ = ("_all", "_connection", "_delete", "_find", "_kind", "_name", "_put", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer, table: sa.Table, kind: type[Any]) -> None:
        self._connection = connection
        self._sealer = sealer
        self._kind = kind
        self._name = table.name
        self._put, self._find, self._all, self._delete = _STATEMENTS[table.name]

    def find(self, hub: HubId, key: str) -> Any:
        row = self._connection.execute(self._find, (hub, key)).fetchone()
        return None if row is None else self._made(hub, key, *row)

    def all(self, hub: HubId) -> list[Any]:
        return [self._made(hub, *row) for row in self._connection.execute(self._all, (hub,)).fetchall()]

    def put(self, hub: HubId, key: str, organization: str, value: Any) -> None:
        secrets: list[Secret] = []
        document = to_json(plain(value, secrets))
        sealed = None
        if secrets:
            texts = json.dumps([secret.reveal() for secret in secrets])
            sealed = self._sealer.seal(Secret(texts), Secret(""), self._name, hub, key)
        self._connection.execute(self._put, (hub, key, organization, document, sealed))

    def delete(self, hub: HubId, key: str) -> None:
        self._connection.execute(self._delete, (hub, key))

    def _made(self, hub: HubId, key: str, organization: str, document: str, sealed: bytes | None) -> Any:
        secrets: list[Secret] = []
        if sealed is not None:
            texts = json.loads(self._sealer.open(sealed, self._name, hub, key)[0].reveal())
            secrets = [Secret(text) for text in texts]
        return replace(made(self._kind, from_json(document), secrets), organization=organization)


def _statements(table: sa.Table) -> tuple[str, str, str, str]:
    key = list(table.primary_key)[1].name
    columns = [table.c.organization, table.c.document, table.c.sealed]
    everything = sa.select(table.c[key], *columns).where(table.c.hub_id == parameter("hub_id")).order_by(table.c[key])
    return (
        upsert(table),
        select_by(table, columns, "hub_id", key),
        compile_sql(everything, "hub_id"),
        delete_by(table, "hub_id", key),
    )


_STATEMENTS = {
    table.name: _statements(table)
    for table in (
        schema.rules,
        schema.data_exports,
        schema.export_destinations,
        schema.edge_manifests,
    )
}

_E, _S, _L, _X = (
    schema.rule_events,
    schema.rule_silences,
    schema.log_readers,
    schema.export_events,
)
_ADD_EVENT = insert_into(_E)
_EVENTS = compile_sql(
    limited(
        sa.select(_E.c.at, _E.c.kind, _E.c.device_id, _E.c.text, _E.c.count)
        .where(_E.c.hub_id == parameter("hub_id"), _E.c.rule_id == parameter("rule_id"))
        .order_by(_E.c.number.desc())
    ),
    "hub_id",
    "rule_id",
    "limit",
)
_TRIM_EVENTS = (
    "DELETE FROM rule_events WHERE number IN (SELECT number FROM rule_events WHERE hub_id = ? AND rule_id = ?"
    " ORDER BY number DESC LIMIT -1 OFFSET ?)"
)
_DELETE_EVENTS = delete_by(_E, "hub_id", "rule_id")
_SILENT = select_by(_S, [_S.c.device_id, _S.c.at], "hub_id", "rule_id")
_PUT_SILENT = upsert(_S)
_DELETE_SILENT = delete_by(_S, "hub_id", "rule_id", "device_id")
_DELETE_ALL_SILENT = delete_by(_S, "hub_id", "rule_id")
_PLACE = select_by(_L, [_L.c.place], "hub_id", "reader")
_PUT_PLACE = upsert(_L)
_DELETE_PLACE = delete_by(_L, "hub_id", "reader")
_MANIFEST_NAMES = (
    "SELECT manifest_id, organization, document ->> '$.display_name' AS name FROM edge_manifests WHERE hub_id = ?"
    " ORDER BY name, manifest_id"
)
_ADD_EXPORT_EVENT = insert_into(_X)
_EXPORT_EVENTS = compile_sql(
    limited(
        sa.select(_X.c.number, _X.c.source, _X.c.at, _X.c.device_id, _X.c.facts)
        .where(_X.c.hub_id == parameter("hub_id"), _X.c.number > parameter("after"))
        .order_by(_X.c.number)
    ),
    "hub_id",
    "after",
    "limit",
)
_LAST_EXPORT_EVENT = compile_sql(
    sa.select(sa.func.max(_X.c.number)).where(_X.c.hub_id == parameter("hub_id")), "hub_id"
)
_FORGET_EXPORT_EVENTS = compile_sql(
    sa.delete(_X).where(_X.c.hub_id == parameter("hub_id"), _X.c.number <= parameter("number")), "hub_id", "number"
)


class RuleRows:
    """Port: `automation.rule_model.RuleTable`."""

    __slots__ = ("_connection", "_documents")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._documents = Documents(connection, sealer, schema.rules, Rule)

    def find(self, hub: HubId, rule_id: RuleId) -> Rule | None:
        found: Rule | None = self._documents.find(hub, rule_id)
        return found

    def all(self, hub: HubId) -> list[Rule]:
        return sorted(self._documents.all(hub), key=lambda rule: (rule.display_name.casefold(), rule.rule_id))

    def put(self, rule: Rule) -> None:
        self._documents.put(rule.hub, rule.rule_id, rule.organization, rule)

    def delete(self, hub: HubId, rule_id: RuleId) -> None:
        for statement in (_DELETE_EVENTS, _DELETE_ALL_SILENT):
            self._connection.execute(statement, (hub, rule_id))
        self._documents.delete(hub, rule_id)

    def add_event(self, hub: HubId, event: RuleEvent, keep: int) -> None:
        row = (None, hub, event.rule_id, to_micros(event.at), event.kind, event.device_id, event.text, event.count)
        self._connection.execute(_ADD_EVENT, row)
        self._connection.execute(_TRIM_EVENTS, (hub, event.rule_id, keep))

    def events(self, hub: HubId, rule_id: RuleId, limit: int) -> list[RuleEvent]:
        rows = self._connection.execute(_EVENTS, (hub, rule_id, limit)).fetchall()
        return [RuleEvent(rule_id, from_micros(at), *rest) for at, *rest in rows]

    def silent(self, hub: HubId, rule_id: RuleId) -> dict[str, datetime]:
        rows = self._connection.execute(_SILENT, (hub, rule_id)).fetchall()
        return {device_id: from_micros(at) for device_id, at in rows}

    def put_silent(self, hub: HubId, rule_id: RuleId, device_id: str, at: datetime) -> None:
        self._connection.execute(_PUT_SILENT, (hub, rule_id, device_id, to_micros(at)))

    def delete_silent(self, hub: HubId, rule_id: RuleId, device_id: str) -> None:
        self._connection.execute(_DELETE_SILENT, (hub, rule_id, device_id))


class LogReaders:
    """Port: `automation.rule_model.ReaderTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def place(self, hub: HubId, reader: str) -> int | None:
        row = self._connection.execute(_PLACE, (hub, reader)).fetchone()
        return None if row is None else row[0]

    def put_place(self, hub: HubId, reader: str, offset: int) -> None:
        self._connection.execute(_PUT_PLACE, (hub, reader, offset))

    def forget(self, hub: HubId, reader: str) -> None:
        self._connection.execute(_DELETE_PLACE, (hub, reader))


class ExportRows:
    """Port: `automation.exports.ExportTable`."""

    __slots__ = ("_connection", "_destinations", "_exports")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._exports = Documents(connection, sealer, schema.data_exports, DataExport)
        self._destinations = Documents(connection, sealer, schema.export_destinations, Destination)

    def find(self, hub: HubId, export_id: ExportId) -> DataExport | None:
        found: DataExport | None = self._exports.find(hub, export_id)
        return found

    def all(self, hub: HubId) -> list[DataExport]:
        return self._exports.all(hub)

    def put(self, export: DataExport) -> None:
        self._exports.put(export.hub, export.export_id, export.organization, export)

    def delete(self, hub: HubId, export_id: ExportId) -> None:
        self._exports.delete(hub, export_id)

    def find_destination(self, hub: HubId, destination_id: DestinationId) -> Destination | None:
        found: Destination | None = self._destinations.find(hub, destination_id)
        return found

    def destinations(self, hub: HubId) -> list[Destination]:
        return self._destinations.all(hub)

    def put_destination(self, destination: Destination) -> None:
        self._destinations.put(destination.hub, destination.destination_id, destination.organization, destination)

    def delete_destination(self, hub: HubId, destination_id: DestinationId) -> None:
        self._destinations.delete(hub, destination_id)

    def add_event(self, hub: HubId, event: ExportEvent, keep: int) -> None:
        row = (None, hub, event.source, to_micros(event.at), event.device_id, to_json(event.facts))
        number = self._connection.execute(_ADD_EXPORT_EVENT, row).lastrowid
        assert number is not None  # an INSERT into a table with rowids always has one
        self._connection.execute(_FORGET_EXPORT_EVENTS, (hub, number - keep))

    def events(self, hub: HubId, after: int, limit: int) -> list[tuple[int, ExportEvent]]:
        rows = self._connection.execute(_EXPORT_EVENTS, (hub, after, limit)).fetchall()
        return [
            (number, ExportEvent(source, from_micros(at), device_id, from_json(facts)))
            for number, source, at, device_id, facts in rows
        ]

    def last_event(self, hub: HubId) -> int:
        row = self._connection.execute(_LAST_EXPORT_EVENT, (hub,)).fetchone()
        return row[0] or 0

    def forget_events(self, hub: HubId, through: int) -> None:
        self._connection.execute(_FORGET_EXPORT_EVENTS, (hub, through))


class ManifestRows:
    """Port: `automation.manifests.ManifestTable`."""

    __slots__ = ("_connection", "_documents")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._documents = Documents(connection, sealer, schema.edge_manifests, Manifest)

    def find(self, hub: HubId, manifest_id: ManifestId) -> Manifest | None:
        found: Manifest | None = self._documents.find(hub, manifest_id)
        return found

    def all(self, hub: HubId) -> list[Manifest]:
        return sorted(self._documents.all(hub), key=lambda each: (each.display_name.casefold(), each.manifest_id))

    def names(self, hub: HubId) -> list[tuple[ManifestId, OrganizationId, str]]:
        return [(row[0], row[1], row[2]) for row in self._connection.execute(_MANIFEST_NAMES, (hub,)).fetchall()]

    def put(self, manifest: Manifest) -> None:
        self._documents.put(manifest.hub, manifest.manifest_id, manifest.organization, manifest)

    def delete(self, hub: HubId, manifest_id: ManifestId) -> None:
        self._documents.delete(hub, manifest_id)

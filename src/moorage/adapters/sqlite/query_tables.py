"""Identities and twins as candidates of a query (port: `hub.model.QueryTable`).

What a condition does not ask for is not read: the documents of a twin lie outside of the row's page as soon as they are
large. Rows come in order of their names, from behind the one before, so every page is found by the key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any, Final, cast

from moorage.adapters.sqlite.values import from_json, from_micros, maybe_from_micros
from moorage.hub.model import Candidates, Document, Section, StoredTwin, Twin, TwinRows
from moorage.hub.twins import fresh_twin
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    NoCredential,
)
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId, Secret
from moorage.query.syntax import Expression, Path, walk

__all__ = ["Queries"]

_NO_KEY: Final = Secret("")
_IDENTITY: Final = (
    "generation_id, version, authentication, created, status, status_reason, status_updated, is_edge, device_scope, "
    "parent_scopes, managed_by, primary_thumbprint, secondary_thumbprint, enrollment_group"
)
_TWIN: Final = (
    "version, tags, desired, desired_metadata, desired_version, reported, reported_metadata, reported_version, model_id"
)
_OF_KEY: Final = "WHERE hub_id = ? AND device_id = ? AND module_id = ?"
_FIND_IDENTITY: Final = f"SELECT {_IDENTITY} FROM identities {_OF_KEY}"
_FIND_TWIN: Final = f"SELECT {_TWIN} FROM twins {_OF_KEY}"
_STATUSES: Final = f"SELECT configuration_id, status FROM twin_configurations {_OF_KEY} ORDER BY configuration_id"
_EXISTS: Final = f"SELECT 1 FROM identities {_OF_KEY}"

# The columns that answer for a member of a twin, beside the name.
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "tags": ("tags",),
    "desired": ("desired", "desired_version"),
    "reported": ("reported", "reported_version"),
}


class Queries:
    """Port: `hub.model.QueryTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, name: IdentityName) -> StoredTwin | None:
        if self._connection.execute(_EXISTS, (hub, name.device_id, name.module_id or "")).fetchone() is None:
            return None
        return _Stored(self._connection, hub, name, {})

    def candidates(
        self,
        hub: HubId,
        rows: TwinRows,
        where: Expression | None,
        after: IdentityName | None,
        limit: int,
        connected: Collection[IdentityName] | None = None,
    ) -> Candidates:
        columns = _asked_for(where)
        select = ", ".join(["i.device_id", "i.module_id", *(f"t.{column}" for column in columns)])
        join = "LEFT JOIN twins AS t USING (hub_id, device_id, module_id) " if columns else ""
        kind = "i.module_id = ''" if rows == "devices" else "i.module_id != ''"
        found = self._connection.execute(
            f"SELECT {select} FROM identities AS i {join}"
            f"WHERE i.hub_id = ? AND (i.device_id, i.module_id) > (?, ?) AND {kind} "
            "ORDER BY i.device_id, i.module_id LIMIT ?",
            (hub, *(("", "") if after is None else (after.device_id, after.module_id or "")), limit),
        ).fetchall()
        stored = [
            _Stored(self._connection, hub, _name(*row[:2]), dict(zip(columns, row[2:], strict=True))) for row in found
        ]
        return Candidates(stored, stored[-1].name if len(stored) == limit else None)

    def count(
        self,
        hub: HubId,
        rows: TwinRows,
        where: Expression | None,
        connected: Collection[IdentityName] | None = None,
    ) -> int | None:
        return None


def _asked_for(where: Expression | None) -> tuple[str, ...]:
    """The columns of twins that the condition looks at."""
    asked: set[str] = set()
    for node in () if where is None else walk(where):
        if isinstance(node, Path):
            match node.names:
                case ("tags", *_):
                    asked.add("tags")
                case ("properties", "desired" | "reported" as section, *_):
                    asked.add(section)
    return tuple(column for part in sorted(asked) for column in _COLUMNS[part])


def _name(device_id: str, module_id: str) -> IdentityName:
    return IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None)


class _Stored:
    """Port: `hub.model.StoredTwin`. `columns` of the twin were read with it; a twin never written has nulls."""

    __slots__ = ("_columns", "_connection", "_hub", "_parsed", "name")

    def __init__(self, connection: sqlite3.Connection, hub: HubId, name: IdentityName, columns: dict[str, Any]) -> None:
        self._connection = connection
        self._hub = hub
        self._columns = columns
        self._parsed: dict[str, Any] = {}
        self.name = name

    def identity(self) -> Identity:
        row = self._connection.execute(_FIND_IDENTITY, self._key()).fetchone()
        return _identity(self._hub, self.name, *row)

    def tags(self) -> Mapping[str, Any]:
        return self._document("tags")

    def members(self, section: Section) -> Mapping[str, Any]:
        return self._document(section)

    def version(self, section: Section) -> int:
        return cast(int, self._column(f"{section}_version") or 1)

    def twin(self) -> Twin:
        row = self._connection.execute(_FIND_TWIN, self._key()).fetchone()
        if row is None:
            return fresh_twin(self._hub, self.name)
        version, tags, desired, desired_meta, desired_version, reported, reported_meta, reported_version, model = row
        return Twin(
            self._hub,
            self.name,
            version,
            from_json(tags),
            Document(from_json(desired), from_json(desired_meta), desired_version),
            Document(from_json(reported), from_json(reported_meta), reported_version),
            model,
        )

    def configurations(self) -> Mapping[str, str]:
        return dict(self._connection.execute(_STATUSES, self._key()).fetchall())

    def _document(self, column: str) -> Mapping[str, Any]:
        if column not in self._parsed:
            text = self._column(column)
            self._parsed[column] = {} if text is None or text == "{}" else from_json(text)
        return cast(Mapping[str, Any], self._parsed[column])

    def _column(self, column: str) -> Any:
        if column not in self._columns:
            names = tuple(name for each in _COLUMNS.values() for name in each)
            row = self._connection.execute(f"SELECT {', '.join(names)} FROM twins {_OF_KEY}", self._key()).fetchone()
            self._columns.update(zip(names, row or (None,) * len(names), strict=True))
        return self._columns[column]

    def _key(self) -> tuple[str, str, str]:
        return self._hub, self.name.device_id, self.name.module_id or ""


def _identity(
    hub: HubId,
    name: IdentityName,
    generation_id: str,
    version: int,
    kind: str,
    created: int,
    status: Any,
    status_reason: str | None,
    status_updated: int | None,
    is_edge: int,
    device_scope: str | None,
    parent_scopes: str | None,
    managed_by: str | None,
    primary: Any,
    secondary: Any,
    group: Any,
) -> Identity:
    authentication: Authentication
    match kind:
        case "sas":
            authentication = BySharedKey(_NO_KEY, _NO_KEY)
        case "thumbprint":
            authentication = ByThumbprint(primary, secondary)
        case "authority":
            authentication = ByAuthority(group)
        case _:
            authentication = NoCredential()
    return Identity(
        hub,
        name,
        generation_id,
        version,
        authentication,
        from_micros(created),
        status,
        status_reason,
        maybe_from_micros(status_updated),
        is_edge == 1,
        device_scope,
        tuple(from_json(parent_scopes)) if parent_scopes else (),
        managed_by,
    )

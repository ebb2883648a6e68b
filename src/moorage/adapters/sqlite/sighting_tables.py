"""Certificates that devices showed last, and the CAs above them (port: `fleet.sightings.SightingTable`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from moorage.accounts.model import OrganizationId
from moorage.adapters.certificate_lists import pack, unpack
from moorage.adapters.sqlite import application_schema, schema
from moorage.adapters.sqlite.statements import select_by, upsert
from moorage.adapters.sqlite.values import from_micros, to_micros
from moorage.fleet.sightings import Ending, IssuerPath, PathId, PathTally, Sighting
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId, Thumbprint
from moorage.pki.certificates import Certificate

__all__ = ["SightingRows"]

_S, _P, _I = application_schema.certificate_sightings.c, application_schema.certificate_paths.c, schema.identities.c
_COLUMNS = [column for column in _S if column.name != "hub_id"]
_NAMES = ", ".join(f"s.{column.name}" for column in _COLUMNS)
_FIND = select_by(application_schema.certificate_sightings, _COLUMNS, "hub_id", "device_id", "module_id")
_PUT = upsert(application_schema.certificate_sightings)
_PUT_PATH = upsert(application_schema.certificate_paths)
_FIND_PATH = select_by(
    application_schema.certificate_paths, [_P.path_id, _P.certificates, _P.sample], "hub_id", "path_id"
)
_PATHS = select_by(application_schema.certificate_paths, [_P.path_id, _P.certificates, _P.sample], "hub_id")
_IDENTITY = select_by(schema.identities, [_I.version], "hub_id", "device_id", "module_id")
_SECOND = 1_000_000


class SightingRows:
    """Port: `fleet.sightings.SightingTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, name: IdentityName) -> Sighting | None:
        row = self._connection.execute(_FIND, (hub, name.device_id, name.module_id or "")).fetchone()
        return None if row is None else _sighting(hub, row)

    def put(self, sighting: Sighting) -> None:
        self._connection.execute(
            _PUT,
            (
                sighting.hub,
                sighting.name.device_id,
                sighting.name.module_id or "",
                sighting.thumbprint,
                sighting.subject,
                sighting.issuer,
                to_micros(sighting.not_before),
                to_micros(sighting.not_after),
                sighting.path_id,
                to_micros(sighting.first_seen),
                to_micros(sighting.last_seen),
                sighting.previous,
            ),
        )

    def is_identity(self, hub: HubId, name: IdentityName) -> bool:
        return self._connection.execute(_IDENTITY, (hub, name.device_id, name.module_id or "")).fetchone() is not None

    def put_path(self, hub: HubId, path: IssuerPath) -> None:
        packed = pack([each.der for each in path.certificates])
        self._connection.execute(_PUT_PATH, (hub, path.path_id, packed, pack(path.sample)))

    def find_path(self, hub: HubId, path_id: PathId) -> IssuerPath | None:
        row = self._connection.execute(_FIND_PATH, (hub, path_id)).fetchone()
        return None if row is None else _path(*row)

    def paths(self, hub: HubId) -> list[IssuerPath]:
        return [_path(*row) for row in self._connection.execute(_PATHS, (hub,)).fetchall()]

    def forget_paths(self, hub: HubId) -> None:
        self._connection.execute(
            "DELETE FROM certificate_paths WHERE hub_id = ? AND path_id NOT IN "
            "(SELECT path_id FROM certificate_sightings WHERE hub_id = ?)",
            (hub, hub),
        )

    def tallies(
        self, hub: HubId, organizations: frozenset[OrganizationId] | None, binding: str | None = None
    ) -> list[PathTally]:
        seen, values = _seen_by(organizations, binding)
        rows = self._connection.execute(
            f"SELECT s.path_id, count(*) FROM certificate_sightings s {seen} "
            "WHERE s.hub_id = ? GROUP BY s.path_id ORDER BY 2 DESC",
            (*values, hub),
        )
        return [PathTally(*row) for row in rows.fetchall()]

    def endings(self, hub: HubId, organizations: frozenset[OrganizationId] | None, span: timedelta) -> list[Ending]:
        seen, values = _seen_by(organizations)
        width = int(span.total_seconds()) * _SECOND
        rows = self._connection.execute(
            f"SELECT s.not_after / ?, count(*) FROM certificate_sightings s {seen} "
            "WHERE s.hub_id = ? GROUP BY 1 ORDER BY 1",
            (width, *values, hub),
        )
        return [Ending(from_micros(number * width), devices) for number, devices in rows.fetchall()]

    def below(
        self,
        hub: HubId,
        organizations: frozenset[OrganizationId] | None,
        paths: Sequence[PathId],
        limit: int,
        after: str = "",
        *,
        binding: str | None = None,
    ) -> list[Sighting]:
        seen, values = _seen_by(organizations, binding)
        marks = ", ".join("?" * len(paths))
        device_id, _, module_id = after.partition("/")
        rows = self._connection.execute(
            f"SELECT {_NAMES} FROM certificate_sightings s {seen} WHERE s.hub_id = ? "
            f"AND (s.device_id, s.module_id) > (?, ?) AND s.path_id IN ({marks}) ORDER BY s.device_id, s.module_id "
            "LIMIT ?",
            (*values, hub, device_id, module_id, *paths, limit),
        )
        return [_sighting(hub, row) for row in rows.fetchall()]

    def ending(
        self,
        hub: HubId,
        organizations: frozenset[OrganizationId] | None,
        since: datetime,
        until: datetime,
        limit: int,
        offset: int = 0,
    ) -> list[Sighting]:
        seen, values = _seen_by(organizations)
        rows = self._connection.execute(
            f"SELECT {_NAMES} FROM certificate_sightings s {seen} WHERE s.hub_id = ? AND s.not_after >= ? "
            "AND s.not_after < ? ORDER BY s.not_after, s.device_id LIMIT ? OFFSET ?",
            (*values, hub, to_micros(since), to_micros(until), limit, offset),
        )
        return [_sighting(hub, row) for row in rows.fetchall()]


def _seen_by(
    organizations: frozenset[OrganizationId] | None, binding: str | None = None
) -> tuple[str, list[str | None]]:
    """Joins that leave the devices of these organisations and of this binding, and their parameters."""
    joins: list[str] = []
    values: list[str | None] = []
    if organizations is not None:
        marks = ", ".join("?" * len(organizations))
        joins.append(
            f"JOIN devices d ON d.hub_id = s.hub_id AND d.device_id = s.device_id AND d.organization IN ({marks})"
        )
        values += sorted(organizations)
    if binding is not None:
        joins.append(
            "JOIN identities i ON i.hub_id = s.hub_id AND i.device_id = s.device_id AND i.module_id = s.module_id "
            "AND i.authentication = 'authority' AND i.enrollment_group IS ?"
        )
        values.append(binding or None)
    return " ".join(joins), values


def _sighting(hub: HubId, row: Sequence[Any]) -> Sighting:
    device, module, thumbprint, subject, issuer, not_before, not_after, path_id, first, last, previous = row
    return Sighting(
        hub=hub,
        name=IdentityName(DeviceId(device), ModuleId(module) if module else None),
        thumbprint=Thumbprint(thumbprint),
        subject=subject,
        issuer=issuer,
        not_before=from_micros(not_before),
        not_after=from_micros(not_after),
        path_id=path_id,
        first_seen=from_micros(first),
        last_seen=from_micros(last),
        previous=previous,
    )


def _path(path_id: PathId, packed: bytes, sample: bytes) -> IssuerPath:
    return IssuerPath(path_id, tuple(map(Certificate, unpack(packed))), unpack(sample))

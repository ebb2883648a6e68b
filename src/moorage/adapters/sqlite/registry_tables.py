"""Identities, shared access policies and registered CAs (ports: `identities/model.py`, `certificates/model.py`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.identity_rows import IDENTITY_KEY, IDENTITY_REST, identity_of
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import (
    fold,
    from_json,
    from_micros,
    maybe_from_micros,
    maybe_to_micros,
    to_json,
    to_micros,
)
from moorage.certificates.model import RegisteredCA, Registry
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    NoCredential,
    PolicyScope,
    SasSwitches,
    SharedAccessPolicy,
)
from moorage.ids import CAName, DeviceId, HubId, IdentityName, ModuleId, Secret
from moorage.pki.certificates import Certificate

__all__ = ["CAs", "Identities", "Policies"]

_I = schema.identities.c
_OF_A_DEVICE = (_I.hub_id == parameter("hub_id"), _I.device_id == parameter("device_id"))
_IS_DEVICE = _I.module_id == sa.literal_column("''")

FIND_IDENTITY = select_by(schema.identities, IDENTITY_REST, *IDENTITY_KEY)
_PUT_IDENTITY = upsert(schema.identities)
_DELETE_DEVICE = delete_by(schema.identities, "hub_id", "device_id")
_DELETE_MODULE = delete_by(schema.identities, *IDENTITY_KEY)
_LIST_DEVICES = compile_sql(
    limited(
        sa.select(_I.device_id, *IDENTITY_REST)
        .where(_I.hub_id == parameter("hub_id"), _I.device_id > parameter("after"), _IS_DEVICE)
        .order_by(_I.device_id)
    ),
    "hub_id",
    "after",
    "limit",
)
_SEARCH_DEVICES = compile_sql(
    limited(
        sa.select(_I.device_id, *IDENTITY_REST)
        .where(
            _I.hub_id == parameter("hub_id"),
            _I.device_id > parameter("after"),
            _IS_DEVICE,
            sa.func.instr(sa.func.lower(_I.device_id), parameter("contains")) > sa.literal_column("0"),
            _I.status.in_([parameter("status"), parameter("or_status")]),
        )
        .order_by(_I.device_id)
    ),
    "hub_id",
    "after",
    "contains",
    "status",
    "or_status",
    "limit",
)
# Leaves stand in the scope of their parent; an edge device spans its own, and names those above it.
BELOW = compile_sql(
    limited(
        sa.select(_I.device_id)
        .where(
            _I.hub_id == parameter("hub_id"),
            _I.device_id > parameter("after"),
            _IS_DEVICE,
            sa.or_(
                sa.and_(_I.device_scope == parameter("scope"), _I.is_edge == sa.literal_column("0")),
                sa.and_(
                    _I.is_edge == sa.literal_column("1"),
                    sa.func.instr(_I.parent_scopes, parameter("quoted")) > sa.literal_column("0"),
                ),
            ),
        )
        .order_by(_I.device_id)
    ),
    "hub_id",
    "after",
    "scope",
    "quoted",
    "limit",
)
_LIST_MODULES = compile_sql(
    sa.select(_I.module_id, *IDENTITY_REST).where(*_OF_A_DEVICE, sa.not_(_IS_DEVICE)).order_by(_I.module_id),
    "hub_id",
    "device_id",
)
_N = schema.device_counts.c
COUNT_DEVICES = select_by(schema.device_counts, [_N.status, _N.devices], "hub_id")


class Identities:
    """Port: `identities.model.IdentityTable`."""

    __slots__ = ("_connection", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def find(self, hub: HubId, name: IdentityName) -> Identity | None:
        row = self._connection.execute(FIND_IDENTITY, (hub, name.device_id, name.module_id or "")).fetchone()
        return None if row is None else self._identity(hub, name, row)

    def put(self, identity: Identity) -> None:
        self._connection.execute(_PUT_IDENTITY, self._row(identity))

    def put_many(self, identities: Iterable[Identity]) -> None:
        """`put` for each, prepared once."""
        self._connection.executemany(_PUT_IDENTITY, map(self._row, identities))

    def delete(self, hub: HubId, name: IdentityName) -> None:
        if name.module_id is None:
            self._connection.execute(_DELETE_DEVICE, (hub, name.device_id))
        else:
            self._connection.execute(_DELETE_MODULE, (hub, name.device_id, name.module_id))

    def list_devices(self, hub: HubId, limit: int, after: DeviceId | None = None) -> list[Identity]:
        rows = self._connection.execute(_LIST_DEVICES, (hub, after or "", limit)).fetchall()
        return [self._identity(hub, IdentityName(DeviceId(device_id)), rest) for device_id, *rest in rows]

    def search_devices(
        self, hub: HubId, limit: int, *, after: DeviceId, contains: str = "", status: str = ""
    ) -> list[Identity]:
        states = (status, status) if status else ("enabled", "disabled")
        # `instr` finds no empty text at all where there is none: every id begins with it.
        rows = self._connection.execute(_SEARCH_DEVICES, (hub, after, contains.lower(), *states, limit)).fetchall()
        return [self._identity(hub, IdentityName(DeviceId(device_id)), rest) for device_id, *rest in rows]

    def list_modules(self, hub: HubId, device_id: DeviceId) -> list[Identity]:
        """In order of their id."""
        rows = self._connection.execute(_LIST_MODULES, (hub, device_id)).fetchall()
        return [self._identity(hub, IdentityName(device_id, ModuleId(module_id)), rest) for module_id, *rest in rows]

    def below(self, hub: HubId, scope: str, after: DeviceId, limit: int) -> list[DeviceId]:
        """Devices that stand in that scope, in order of their ids."""
        rows = self._connection.execute(BELOW, (hub, after, scope, to_json(scope), limit)).fetchall()
        return [DeviceId(device_id) for (device_id,) in rows]

    def count_devices(self, hub: HubId) -> tuple[int, int]:
        """(all, enabled). Reads a row for each status, however many devices there are."""
        counts: dict[str, int] = dict(self._connection.execute(COUNT_DEVICES, (hub,)).fetchall())
        return sum(counts.values()), counts.get("enabled", 0)

    def _row(self, identity: Identity) -> tuple[Any, ...]:
        hub, name = identity.hub, identity.name
        kind, primary, secondary, group, sealed = self._authentication_columns(hub, name, identity.authentication)
        return (
            hub,
            name.device_id,
            name.module_id or "",
            identity.generation_id,
            identity.version,
            identity.status,
            identity.status_reason,
            maybe_to_micros(identity.status_updated),
            kind,
            primary,
            secondary,
            group,
            sealed,
            identity.is_edge,
            identity.device_scope,
            to_json(identity.parent_scopes) if identity.parent_scopes else None,
            identity.managed_by,
            to_micros(identity.created),
        )

    def _authentication_columns(
        self, hub: HubId, name: IdentityName, authentication: Authentication
    ) -> tuple[str, str | None, str | None, str | None, bytes | None]:
        match authentication:
            case BySharedKey(primary, secondary):
                return "sas", None, None, None, self._sealer.seal(primary, secondary, *_place(hub, name))
            case ByThumbprint(primary, secondary):
                return "thumbprint", primary, secondary, None, None
            case ByAuthority(enrollment_group):
                return "authority", None, None, enrollment_group, None
            case NoCredential():
                return "none", None, None, None, None

    def _identity(self, hub: HubId, name: IdentityName, rest: Iterable[Any]) -> Identity:
        return identity_of(hub, name, rest, self._keys)

    def _keys(self, hub: HubId, name: IdentityName, sealed: bytes) -> tuple[Secret, Secret]:
        return self._sealer.open(sealed, *_place(hub, name))


def _place(hub: HubId, name: IdentityName) -> tuple[str, ...]:
    return "identities", hub, name.device_id, name.module_id or ""


_P = schema.policies.c
_POLICY_VALUES = [_P.rights, _P.sealed]
_FIND_POLICY = select_by(schema.policies, _POLICY_VALUES, "hub_id", "scope", "name")
_ALL_POLICIES = compile_sql(
    sa.select(_P.name, *_POLICY_VALUES)
    .where(_P.hub_id == parameter("hub_id"), _P.scope == parameter("scope"))
    .order_by(_P.name),
    "hub_id",
    "scope",
)
_PUT_POLICY = upsert(schema.policies)
_DELETE_POLICY = delete_by(schema.policies, "hub_id", "scope", "name")
_S = schema.sas_switches.c
_SWITCHES = select_by(
    schema.sas_switches, [_S.disable_local_auth, _S.disable_device_sas, _S.disable_module_sas], "hub_id"
)
_PUT_SWITCHES = upsert(schema.sas_switches)


class Policies:
    """Port: `identities.model.PolicyTable`. `all` is in order of the names."""

    __slots__ = ("_connection", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def find(self, hub: HubId, scope: PolicyScope, name: str) -> SharedAccessPolicy | None:
        row = self._connection.execute(_FIND_POLICY, (hub, scope, name)).fetchone()
        return None if row is None else self._policy(hub, scope, name, *row)

    def all(self, hub: HubId, scope: PolicyScope) -> list[SharedAccessPolicy]:
        return [self._policy(hub, scope, *row) for row in self._connection.execute(_ALL_POLICIES, (hub, scope))]

    def put(self, policy: SharedAccessPolicy) -> None:
        sealed = self._sealer.seal(policy.primary, policy.secondary, "policies", policy.hub, policy.scope, policy.name)
        rights = to_json(sorted(policy.rights))
        self._connection.execute(_PUT_POLICY, (policy.hub, policy.scope, policy.name, rights, sealed))

    def delete(self, hub: HubId, scope: PolicyScope, name: str) -> None:
        self._connection.execute(_DELETE_POLICY, (hub, scope, name))

    def switches(self, hub: HubId) -> SasSwitches:
        row = self._connection.execute(_SWITCHES, (hub,)).fetchone()
        return SasSwitches() if row is None else SasSwitches(*map(bool, row))

    def put_switches(self, hub: HubId, switches: SasSwitches) -> None:
        self._connection.execute(
            _PUT_SWITCHES,
            (hub, switches.disable_local_auth, switches.disable_device_sas, switches.disable_module_sas),
        )

    def _policy(self, hub: HubId, scope: PolicyScope, name: str, rights: str, sealed: bytes) -> SharedAccessPolicy:
        primary, secondary = self._sealer.open(sealed, "policies", hub, scope, name)
        return SharedAccessPolicy(hub, scope, name, primary, secondary, frozenset(from_json(rights)))


_C = schema.cas.c
_CA_VALUES = [column for column in schema.cas.c if column.name not in ("hub_id", "registry", "key")]
_FIND_CA = select_by(schema.cas, _CA_VALUES, "hub_id", "registry", "key")
_ALL_CAS = compile_sql(
    sa.select(*_CA_VALUES)
    .where(_C.hub_id == parameter("hub_id"), _C.registry == parameter("registry"))
    .order_by(_C.key),
    "hub_id",
    "registry",
)
_PUT_CA = upsert(schema.cas)
_DELETE_CA = delete_by(schema.cas, "hub_id", "registry", "key")


class CAs:
    """Port: `certificates.model.CATable`. `all` is in order of the folded names."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, registry: Registry, name: CAName) -> RegisteredCA | None:
        row = self._connection.execute(_FIND_CA, (hub, registry, fold(name))).fetchone()
        return None if row is None else _ca(hub, registry, *row)

    def all(self, hub: HubId, registry: Registry) -> list[RegisteredCA]:
        return [_ca(hub, registry, *row) for row in self._connection.execute(_ALL_CAS, (hub, registry))]

    def put(self, ca: RegisteredCA) -> None:
        self._connection.execute(
            _PUT_CA,
            (
                ca.hub,
                ca.registry,
                fold(ca.name),
                ca.name,
                ca.certificate.der,
                ca.proof,
                ca.version,
                to_micros(ca.created),
                to_micros(ca.updated),
                ca.code,
                maybe_to_micros(ca.code_expires),
            ),
        )

    def delete(self, hub: HubId, registry: Registry, name: CAName) -> None:
        self._connection.execute(_DELETE_CA, (hub, registry, fold(name)))


def _ca(hub: HubId, registry: Registry, *row: Any) -> RegisteredCA:
    name, der, proof, version, created, updated, code, code_expires = row
    return RegisteredCA(
        hub,
        registry,
        CAName(name),
        Certificate(der),
        proof,
        version,
        from_micros(created),
        from_micros(updated),
        code,
        maybe_from_micros(code_expires),
    )

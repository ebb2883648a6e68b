"""The identity registry: devices and modules made, changed and removed (services.md 2.3, 2.4).

What a caller wants is an `IdentityDraft`; a member that is None means "not said": a default when the identity is new,
the present value when it is not. `decide_create` and `decide_update` turn a draft into the identity to store and know
neither store nor clock nor dice. `create_in`, `update_in` and `delete_in` apply them inside somebody's transaction,
events included, for callers that change more than the registry at once; `IdentityRegistry` is that for everyone else.

An identity that an enrollment group made stays bound to that group through every update that leaves it
`certificateAuthority` (decisions T2): the wire does not carry the binding, so a client that writes back what it read
must not loosen it.
"""

from __future__ import annotations

import logging
import re
import secrets
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from moorage.errors import Conflict, Invalid, NotFound, TooLarge
from moorage.events import Event
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    NoCredential,
    RegistryTables,
    Status,
)
from moorage.identities.policies import check_key, make_key
from moorage.ids import DeviceId, ETag, HubId, IdentityName, ModuleId, Secret, check_etag, version_etag
from moorage.store import Store

__all__ = [
    "EDGE_MODULES",
    "MAX_LISTED_DEVICES",
    "MAX_MODULES",
    "MAX_STATUS_REASON",
    "Fresh",
    "IdentityDraft",
    "IdentityRegistry",
    "audit_identity",
    "authentication_type",
    "create_in",
    "decide_create",
    "decide_update",
    "delete_in",
    "edge_scope",
    "find_in",
    "update_in",
]

audit = logging.getLogger("moorage.audit")

MAX_MODULES = 50
MAX_LISTED_DEVICES = 1000
MAX_STATUS_REASON = 128
MAX_MANAGED_BY = 128
EDGE_MODULES = (ModuleId("$edgeAgent"), ModuleId("$edgeHub"))
_SCOPE = re.compile(r"ms-azure-iot-edge://(?P<device>.{1,128})-(?P<generation>[0-9]{1,20})")
_GENERATION_EPOCH = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class IdentityDraft:
    """What somebody wants an identity to be; None where they did not say.

    In `authentication`, an empty key asks for a new one, or on update for the present one (D-1). `device_scope` and
    `parent_scopes` that are empty take the identity out of its scope. A `status_reason` of None clears the present one.
    """

    name: IdentityName
    authentication: Authentication | None = None
    status: Status | None = None
    status_reason: str | None = None
    is_edge: bool | None = None
    device_scope: str | None = None
    parent_scopes: tuple[str, ...] | None = None
    managed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Fresh:
    """The chance in a new identity: its generation id, first version and keys.

    The first version is random, so that an etag kept from before a delete does not fit what was created after it.
    """

    generation_id: str
    version: int
    primary: Secret
    secondary: Secret

    @classmethod
    def draw(cls, now: datetime) -> Fresh:
        """Generation ids are 18 digits: 100 ns ticks since year 1, as Azure's are, with the last second random."""
        seconds = int((now - _GENERATION_EPOCH).total_seconds())
        return cls(f"{seconds}{secrets.randbelow(10**7):07}", secrets.randbelow(2**31 - 1) + 1, make_key(), make_key())


def edge_scope(device_id: DeviceId, generation_id: str) -> str:
    """The device scope that an edge device spans."""
    return f"ms-azure-iot-edge://{device_id}-{generation_id}"


def decide_create(hub: HubId, draft: IdentityDraft, fresh: Fresh, now: datetime) -> Identity:
    """The new identity. Scopes that it names are the caller's to check (`create_in` does).

    Raises:
        Invalid: `key.base64`, `key.length`, `authentication.thumbprint_missing`, `status_reason.length`,
            `managed_by.length`, `device_scope.fixed`, `module.edge`.
    """
    _check_texts(draft)
    is_edge = bool(draft.is_edge)
    _check_not_module_edge(draft)
    device_scope, parent_scopes = _scopes(draft, None, edge_scope(draft.name.device_id, fresh.generation_id), is_edge)
    return Identity(
        hub=hub,
        name=draft.name,
        generation_id=fresh.generation_id,
        version=fresh.version,
        authentication=_authentication(draft.authentication or BySharedKey(Secret(""), Secret("")), None, fresh),
        created=now,
        status=draft.status or "enabled",
        status_reason=draft.status_reason,
        status_updated=now if draft.status == "disabled" else None,
        is_edge=is_edge,
        device_scope=device_scope,
        parent_scopes=parent_scopes,
        managed_by=draft.managed_by or None,
    )


def decide_update(present: Identity, draft: IdentityDraft, fresh: Fresh, now: datetime) -> Identity:
    """`present` as `draft` wants it, one version on. Raises as `decide_create`, and `Invalid` (`edge.fixed`)."""
    _check_texts(draft)
    if draft.is_edge is not None and draft.is_edge != present.is_edge:
        raise Invalid(
            "edge.fixed",
            f"'{present.name}' was created {'as' if present.is_edge else 'not as'} an edge device and stays that",
            fix=f"delete '{present.name}' and create it again",
        )
    own_scope = edge_scope(present.name.device_id, present.generation_id)
    device_scope, parent_scopes = _scopes(draft, present, own_scope, present.is_edge)
    status = draft.status or present.status
    return replace(
        present,
        version=present.version + 1,
        authentication=present.authentication
        if draft.authentication is None
        else _authentication(draft.authentication, present.authentication, fresh),
        status=status,
        status_reason=draft.status_reason,
        status_updated=now if status != present.status else present.status_updated,
        device_scope=device_scope,
        parent_scopes=parent_scopes,
        managed_by=present.managed_by if draft.managed_by is None else draft.managed_by or None,
    )


def find_in(tables: RegistryTables, hub: HubId, name: IdentityName) -> Identity:
    """Raises `NotFound` (`device.not_found`, `module.not_found`)."""
    identity = tables.identities.find(hub, name)
    if identity is None:
        if name.module_id is None or tables.identities.find(hub, IdentityName(name.device_id)) is None:
            raise NotFound(
                "device.not_found",
                f"there is no device '{name.device_id}' on hub '{hub}'",
                fix=f"moorage device create {shlex.quote(name.device_id)}",
            )
        raise NotFound("module.not_found", f"device '{name.device_id}' has no module '{name.module_id}'")
    return identity


def create_in(
    tables: RegistryTables, hub: HubId, draft: IdentityDraft, now: datetime, *, is_told: bool = True
) -> Identity:
    """Create a device (an edge device with its two modules, D-3) or a module, and emit `identity.created`.

    With `is_told` False the caller tells back ends of it, once it has written the first twin.

    Raises:
        Conflict: `device.exists`, `module.exists`.
        NotFound: `device.not_found`: the device of a module.
        TooLarge: `module.too_many`.
        Invalid: as `decide_create`, and `device_scope.unknown`.
    """
    name = draft.name
    if tables.identities.find(hub, name) is not None:
        raise Conflict(
            "device.exists" if name.module_id is None else "module.exists",
            f"'{name}' exists already; an update has to say so with If-Match",
        )
    if name.module_id is not None:
        find_in(tables, hub, IdentityName(name.device_id))
        count = len(tables.identities.list_modules(hub, name.device_id))
        if count >= MAX_MODULES:
            raise TooLarge(
                "module.too_many", f"device '{name.device_id}' has {count} modules, {MAX_MODULES} is the limit"
            )
    identity = decide_create(hub, draft, Fresh.draw(now), now)
    _check_scopes(tables, identity)
    _put_new(tables, identity)
    if is_told:
        tables.notifications.created(identity, now)
    if identity.is_edge:
        for module_id in EDGE_MODULES:
            module = IdentityDraft(IdentityName(name.device_id, module_id), managed_by="IotEdge")
            made = decide_create(hub, module, Fresh.draw(now), now)
            _put_new(tables, made)
            tables.notifications.created(made, now)
    return identity


def update_in(
    tables: RegistryTables, hub: HubId, draft: IdentityDraft, now: datetime, *, if_match: ETag | None = None
) -> Identity:
    """Change an identity; emits `identity.disabled` when it is disabled by this, else `identity.updated`.

    Raises:
        NotFound: `device.not_found`, `module.not_found`.
        PreconditionFailed: `etag.stale`, when `if_match` is given and not current.
        Invalid: as `decide_update`, and `device_scope.unknown`.
    """
    present = find_in(tables, hub, draft.name)
    _check_etag(present, if_match)
    changed = decide_update(present, draft, Fresh.draw(now), now)
    if (changed.device_scope, changed.parent_scopes) != (present.device_scope, present.parent_scopes):
        _check_scopes(tables, changed)
    tables.identities.put(changed)
    cut = changed.status == "disabled" and present.status == "enabled"
    tables.outbox.emit(_event("identity.disabled" if cut else "identity.updated", changed))
    return changed


def delete_in(tables: RegistryTables, hub: HubId, name: IdentityName, *, if_match: ETag | None = None) -> Identity:
    """Delete an identity and all that hangs on it; emits `identity.deleted`. Returns what it was.

    Raises:
        NotFound: `device.not_found`, `module.not_found`.
        PreconditionFailed: `etag.stale`.
    """
    present = find_in(tables, hub, name)
    _check_etag(present, if_match)
    tables.notifications.deleted(present)
    tables.identities.delete(hub, name)
    tables.outbox.emit(_event("identity.deleted", present))
    return present


class IdentityRegistry:
    """The registry of every hub in one store; changes are written to the audit log, with whoever made them (`by`).

    Refusals are those of the functions above.
    """

    def __init__(self, store: Store[RegistryTables]) -> None:
        self._store = store

    async def create(self, hub: HubId, draft: IdentityDraft, now: datetime, *, by: object = None) -> Identity:
        created = await self._store.write(lambda tables: create_in(tables, hub, draft, now))
        audit_identity("created", created, by)
        return created

    async def update(
        self, hub: HubId, draft: IdentityDraft, now: datetime, *, if_match: ETag | None = None, by: object = None
    ) -> Identity:
        def work(tables: RegistryTables) -> tuple[Identity, Identity]:
            return find_in(tables, hub, draft.name), update_in(tables, hub, draft, now, if_match=if_match)

        before, changed = await self._store.write(work)
        audit_identity("updated" if changed.status == before.status else changed.status, changed, by)
        return changed

    async def delete(
        self, hub: HubId, name: IdentityName, *, if_match: ETag | None = None, by: object = None
    ) -> Identity:
        deleted = await self._store.write(lambda tables: delete_in(tables, hub, name, if_match=if_match))
        audit_identity("deleted", deleted, by)
        return deleted

    def get(self, hub: HubId, name: IdentityName) -> Identity:
        return find_in(self._store.read(), hub, name)

    async def list_devices(
        self, hub: HubId, limit: int = MAX_LISTED_DEVICES, after: DeviceId | None = None
    ) -> list[Identity]:
        """Raises `Invalid` (`list.limit`) outside 1 to `MAX_LISTED_DEVICES`."""
        if not 1 <= limit <= MAX_LISTED_DEVICES:
            raise Invalid("list.limit", f"1 to {MAX_LISTED_DEVICES} devices are listed at once, not {limit}")
        return await self._store.scan(lambda tables: tables.identities.list_devices(hub, limit, after))

    async def list_modules(self, hub: HubId, device_id: DeviceId) -> list[Identity]:
        """Raises `NotFound` (`device.not_found`)."""
        find_in(self._store.read(), hub, IdentityName(device_id))
        return await self._store.scan(lambda tables: tables.identities.list_modules(hub, device_id))

    async def count_devices(self, hub: HubId) -> tuple[int, int]:
        """(all, enabled)."""
        return self._store.read().identities.count_devices(hub)


def authentication_type(authentication: Authentication) -> str:
    """Its name on the wire."""
    match authentication:
        case BySharedKey():
            return "sas"
        case ByThumbprint():
            return "selfSigned"
        case ByAuthority():
            return "certificateAuthority"
        case NoCredential():
            return "none"


def audit_identity(done: str, identity: Identity, by: object = None) -> None:
    """Say in the audit log what was done with `identity`, and by whom, where that is known."""
    event = f"{'device' if identity.name.module_id is None else 'module'}.{done}"
    auth = authentication_type(identity.authentication)
    facts = {"hub": identity.hub, "name": str(identity.name), "auth": auth, "status": identity.status}
    if by is not None:
        facts["by"] = str(by)
    told = " ".join(f"{name}={value}" for name, value in facts.items())
    audit.info("%s %s", event, told, extra={"event": event, "facts": facts})


def _put_new(tables: RegistryTables, identity: Identity) -> None:
    tables.identities.put(identity)
    tables.outbox.emit(_event("identity.created", identity))


def _event(kind: str, identity: Identity) -> Event:
    return Event(
        kind,
        identity.hub,
        str(identity.name),
        {"generation_id": identity.generation_id, "version": identity.version, "status": identity.status},
    )


def _check_etag(present: Identity, if_match: ETag | None) -> None:
    check_etag(f"'{present.name}'", if_match, version_etag(present.version))


def _check_texts(draft: IdentityDraft) -> None:
    for reason, text, limit in (
        ("status_reason.length", draft.status_reason, MAX_STATUS_REASON),
        ("managed_by.length", draft.managed_by, MAX_MANAGED_BY),
    ):
        if text is not None and len(text) > limit:
            raise Invalid(reason, f"at most {limit} characters are kept, this has {len(text)}")


def _check_not_module_edge(draft: IdentityDraft) -> None:
    if draft.name.module_id is not None and draft.is_edge:
        raise Invalid("module.edge", f"'{draft.name}' is a module; only a device can be an edge device")


def _authentication(wanted: Authentication, present: Authentication | None, fresh: Fresh) -> Authentication:
    if isinstance(wanted, BySharedKey):
        kept = present if isinstance(present, BySharedKey) else BySharedKey(fresh.primary, fresh.secondary)
        return BySharedKey(
            check_key(wanted.primary) if wanted.primary.reveal() else kept.primary,
            check_key(wanted.secondary) if wanted.secondary.reveal() else kept.secondary,
        )
    if isinstance(wanted, ByThumbprint) and wanted.primary is None and wanted.secondary is None:
        raise Invalid(
            "authentication.thumbprint_missing",
            "an identity of type selfSigned has a primary or a secondary thumbprint, this has neither",
        )
    if isinstance(wanted, ByAuthority) and wanted.enrollment_group is None and isinstance(present, ByAuthority):
        return present
    return wanted


def _scopes(
    draft: IdentityDraft, present: Identity | None, own: str, is_edge: bool
) -> tuple[str | None, tuple[str, ...]]:
    """(device scope, parent scopes): an edge device spans its own scope, a leaf stands in its parent's."""
    if draft.name.module_id is not None:
        return None, ()
    before = (None, ()) if present is None else (present.device_scope, present.parent_scopes)
    if is_edge:
        if draft.device_scope not in (None, "", own):
            raise Invalid(
                "device_scope.fixed",
                f"the scope of edge device '{draft.name}' is its own, {own!r}; a parent goes into parentScopes",
            )
        return own, before[1] if draft.parent_scopes is None else draft.parent_scopes
    if draft.parent_scopes is not None and len(draft.parent_scopes) > 1:
        raise Invalid(
            "device_scope.several",
            f"parentScopes has {len(draft.parent_scopes)} scopes; '{draft.name}' is no edge device and stands in one",
        )
    named = None if draft.parent_scopes is None else (draft.parent_scopes[0] if draft.parent_scopes else "")
    # Clients say it in either member and send the other as they read it: the one that differs from before is meant.
    said = draft.device_scope
    scope = named if said is None or (said == (before[0] or "") and named is not None) else said
    if scope is None:
        return before
    return (scope, (scope,)) if scope else (None, ())


def _check_scopes(tables: RegistryTables, identity: Identity) -> None:
    """Every scope that `identity` is to stand in is that of an edge device, and none of them stands below it."""
    above: list[Identity] = []
    for scope in identity.parent_scopes:
        parent = _spanning(tables, identity.hub, scope)
        if parent is None or parent.name.device_id == identity.name.device_id:
            raise Invalid(
                "device_scope.unknown",
                f"{scope[:200]!r} is not the scope of an edge device here, so '{identity.name}' cannot be below it",
            )
        above.append(parent)
    if not identity.is_edge:
        return
    seen = {parent.name.device_id for parent in above}
    while above:
        for scope in above.pop().parent_scopes:
            parent = _spanning(tables, identity.hub, scope)
            if parent is None or parent.name.device_id in seen:
                continue
            if parent.name.device_id == identity.name.device_id:
                raise Invalid(
                    "device_scope.circle",
                    f"'{identity.name}' cannot be below {', '.join(identity.parent_scopes)[:200]!r}, which is below it",
                )
            seen.add(parent.name.device_id)
            above.append(parent)


def _spanning(tables: RegistryTables, hub: HubId, scope: str) -> Identity | None:
    """The edge device whose own scope that is."""
    match = _SCOPE.fullmatch(scope)
    # A scope may name anything; what names no device that could exist is not looked up.
    if match is None:
        return None
    found = tables.identities.find(hub, IdentityName(DeviceId(match["device"])))
    return found if found is not None and found.is_edge and found.device_scope == scope else None

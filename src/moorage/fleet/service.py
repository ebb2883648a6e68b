"""The fleet: devices as people see and change them (contract/central.md 5, 6.1, 10).

Whatever is asked about a device goes through `Fleet.get` first: what an actor may not see does not exist for it. Each
act is a function on the tables of one transaction (`*_in`), so that bulk work and pages do the same, and one line of
the audit log, written once it is done.
"""

from __future__ import annotations

import builtins
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from moorage.accounts.model import Actor, OrganizationId
from moorage.accounts.organizations import ROOT
from moorage.clock import Clock
from moorage.errors import Conflict, Invalid, NotFound, Refusal, TooLarge
from moorage.events import Event
from moorage.fleet.limits import OURS, Limits, is_full
from moorage.fleet.model import (
    UNASSIGNED,
    Device,
    DeviceChange,
    DeviceDraft,
    DeviceFilter,
    DeviceOrder,
    DeviceRecord,
    FleetTables,
    Place,
    Tally,
    TemplateId,
    check_display_name,
)
from moorage.fleet.ordering import places_in
from moorage.identities.model import Identity, NoCredential, Status
from moorage.identities.registry import IdentityDraft, create_in, delete_in, update_in
from moorage.ids import DeviceId, ETag, HubId, IdentityName, RegistrationId, check_etag, parse_registration_id
from moorage.store import Store

__all__ = [
    "ALL",
    "MAX_CLOUD_PROPERTIES_BYTES",
    "MAX_LISTED",
    "MAX_SIMULATED",
    "Act",
    "Connections",
    "Deleted",
    "Done",
    "Fleet",
    "Templates",
    "is_auto_approve",
    "seen_in",
    "tell",
]

audit = logging.getLogger("moorage.audit")

MAX_LISTED: Final = 1000
# central.md LIM-14, REG-5
MAX_SIMULATED: Final = 100
MAX_CLOUD_PROPERTIES_BYTES: Final = 32 * 1024
# Every device.
ALL: Final = DeviceFilter()
_AUTO_APPROVE: Final = "fleet.auto_approve"
# So few connected devices are looked at one by one, instead of looking for them among all.
_FEW_CONNECTED: Final = 2000


class Connections(Protocol):
    """Who is connected."""

    def count(self, hub: HubId) -> int: ...

    def connected(self, hub: HubId) -> Collection[IdentityName]:
        """All of them, modules too. May be called from any thread."""

    def is_connected(self, hub: HubId, name: IdentityName) -> bool:
        """May be called from any thread."""


class Templates(Protocol):
    """What the fleet asks of templates, inside a transaction."""

    def is_published(self, tables: Any, template: TemplateId) -> bool: ...

    def for_model(self, tables: Any, model_id: str) -> TemplateId:
        """The published template whose root interface has this id; `UNASSIGNED` when there is none (TPL-2)."""

    def published(self, tables: Any) -> Sequence[tuple[TemplateId, str]]:
        """(id, name) of those that devices can have, by name."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """`group` is the enrollment group that lets the device come back by itself; '' when none does (ST-17)."""

    record: DeviceRecord
    group: str
    enrollment: bool


# One act on one device: what it was and what it is, None when it is gone or nothing changed.
Act = Callable[[FleetTables, Actor, DeviceId, datetime], "Done | None"]


@dataclass(frozen=True, slots=True)
class Done:
    """For the audit log: `event` with `facts`."""

    event: str
    record: DeviceRecord
    facts: Mapping[str, str]


class Fleet:
    """The devices of one hub's application."""

    def __init__(
        self,
        hub: HubId,
        store: Store[FleetTables],
        clock: Clock,
        templates: Templates,
        connections: Connections,
        limits: Limits = OURS,
    ) -> None:
        self.hub = hub
        self._store = store
        self._clock = clock
        self._templates = templates
        self._connections = connections
        self._limits = limits

    # -- looking -------------------------------------------------------------------------------------------------------

    def get(self, actor: Actor, device_id: DeviceId) -> Device:
        """Raises `NotFound` (`device.unknown`), also for what the actor may not see."""
        tables = self._store.read()
        record = seen_in(tables, self.hub, actor, device_id)
        return Device(record, tables.identities.find(self.hub, IdentityName(device_id)))

    async def list(
        self, actor: Actor, wanted: DeviceFilter = ALL, limit: int = 100, after: str = ""
    ) -> builtins.list[Device]:
        """In the order of their ids, those behind `after`. Raises `Invalid` (`list.limit`) above `MAX_LISTED`."""
        _check_limit(limit)

        def work(tables: FleetTables) -> builtins.list[Device]:
            return self._devices(tables, self.ids_in(tables, actor, wanted, limit, after))

        return await self._store.scan(work)

    async def sorted(
        self, actor: Actor, wanted: DeviceFilter, order: DeviceOrder, limit: int, after: Place | None = None
    ) -> tuple[builtins.list[Device], Place | None]:
        """In an order, those behind `after`, and the place behind which more of them come; None at the end.

        Raises `Invalid` (`list.limit`).
        """
        _check_limit(limit)

        def work(tables: FleetTables) -> tuple[builtins.list[Device], Place | None]:
            places = places_in(self, tables, actor, wanted, order, limit + 1, after)
            shown = places[:limit]
            devices = self._devices(tables, [each.device_id for each in shown])
            return devices, shown[-1] if len(places) > limit else None

        return await self._store.scan(work)

    async def count(self, actor: Actor, wanted: DeviceFilter = ALL, *, most: int | None = None) -> int:
        """How many there are; no more than `most` are counted where counting means looking at each."""
        if not wanted.text and wanted.is_connected is None:
            narrowed = _seen_by(actor, wanted)
            return sum(each.devices for each in self._store.read().devices.tallies(self.hub) if each.fits(narrowed))

        def work(tables: FleetTables) -> int:
            return len(self.ids_in(tables, actor, wanted, 1_000_000_000 if most is None else most))

        return await self._store.scan(work)

    def tallies(self, actor: Actor) -> builtins.list[Tally]:
        """How many devices of each kind the actor sees."""
        seen = _seen_by(actor, DeviceFilter())
        return [each for each in self._store.read().devices.tallies(self.hub) if each.fits(seen)]

    def templates(self) -> builtins.list[tuple[TemplateId, str]]:
        """(id, name) of those that devices can have, by name."""
        return builtins.list(self._templates.published(self._store.read()))

    def organization_name(self, organization: OrganizationId) -> str:
        """For people; '' for the root."""
        found = self._store.read().organizations.find(self.hub, organization) if organization else None
        return organization if found is None else found.display_name

    def ids_in(
        self, tables: FleetTables, actor: Actor, wanted: DeviceFilter, limit: int, after: str = ""
    ) -> builtins.list[DeviceId]:
        """For a thread: it may look at every device."""
        wanted = _seen_by(actor, wanted)
        if wanted.is_connected is None:
            return tables.devices.ids(self.hub, wanted, limit, after)
        connections, is_connected = self._connections, wanted.is_connected
        if not is_connected or connections.count(self.hub) > _FEW_CONNECTED:

            def fits(device_id: str) -> bool:
                return connections.is_connected(self.hub, IdentityName(DeviceId(device_id))) == is_connected

            return tables.devices.ids(self.hub, wanted, limit, after, fits=fits)
        names = connections.connected(self.hub)
        found: builtins.list[DeviceId] = []
        for device_id in sorted(name.device_id for name in names if name.module_id is None and name.device_id > after):
            record = tables.devices.find(self.hub, device_id)
            if record is not None and _is_wanted(record, wanted):
                found.append(record.device_id)
                if len(found) == limit:
                    break
        return found

    def places_of(
        self,
        tables: FleetTables,
        actor: Actor,
        wanted: DeviceFilter,
        order: DeviceOrder,
        limit: int,
        after: Place | None,
    ) -> builtins.list[Place]:
        """As the store sorts them; for a thread, since it looks at every device."""
        connections, is_connected = self._connections, wanted.is_connected

        def fits(device_id: str) -> bool:
            return connections.is_connected(self.hub, IdentityName(DeviceId(device_id))) == is_connected

        seen = _seen_by(actor, wanted)
        return tables.devices.places(self.hub, seen, order, limit, after, fits=None if is_connected is None else fits)

    # -- making and changing -------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, draft: DeviceDraft) -> Device:
        """Register a device (ST-10, REG-1, REG-3).

        Raises as `create_in`.
        """
        now = self._clock.now()
        done = await self._store.write(lambda tables: self.create_in(tables, actor, draft, now))
        tell(actor, done)
        return self.get(actor, draft.device_id)

    def create_in(self, tables: FleetTables, actor: Actor, draft: DeviceDraft, now: datetime) -> Done:
        """A new record. A simulated device gets an identity at once, with which nobody can log in.

        Raises:
            Conflict: `device.exists`.
            Invalid: `device.display_name`, `device.simulated_template`.
            NotFound: `template.unknown`, `organization.unknown`.
            TooLarge: `device.simulated_number`, `device.number`.
        """
        device_id = draft.device_id
        if tables.devices.find(self.hub, device_id) is not None:
            raise Conflict("device.exists", f"there is a device '{device_id}' already; ids are given once")
        if not actor.sees(ROOT) and self._is_enrolled(tables, device_id):
            # What it may register with is shown to whoever has the device, and what has none yet is the root's.
            raise Conflict("device.exists", f"there is an enrollment of '{device_id}' already; ids are given once")
        if is_full(tables, self.hub, self._limits):
            raise TooLarge(
                "device.number",
                f"an application has at most {self._limits.devices} devices while strict_limits is on, and has them",
            )
        record = DeviceRecord(
            self.hub,
            device_id,
            check_display_name(draft.display_name) or device_id,
            now,
            template=self._known_template(tables, draft.template),
            organization=self._known_organization(tables, actor, draft.organization),
            is_simulated=draft.is_simulated,
            is_edge=draft.is_edge,
            is_blocked=draft.is_blocked,
            manifest=draft.manifest,
        )
        if record.is_simulated:
            _check_simulated(tables, record)
        tables.devices.put(record)
        if record.is_simulated:
            identity = IdentityDraft(IdentityName(device_id), NoCredential(), is_edge=record.is_edge)
            create_in(tables, self.hub, identity, now)
        tables.outbox.emit(Event("device.changed", self.hub, device_id))
        facts = {"template": record.template or "unassigned", "organization": record.organization or "(the root)"}
        return Done("device.registered", record, facts)

    def _is_enrolled(self, tables: FleetTables, device_id: DeviceId) -> bool:
        registration_id = _registration_id(device_id)
        return registration_id is not None and tables.individuals.find(self.hub, registration_id) is not None

    async def update(
        self, actor: Actor, device_id: DeviceId, change: DeviceChange, *, if_match: ETag | None = None
    ) -> Device:
        """Change what is named in `change`.

        Raises as `change_in`.
        """
        now = self._clock.now()
        done = await self._store.write(
            lambda tables: self.change_in(tables, actor, device_id, change, now, if_match=if_match)
        )
        tell(actor, done)
        return self.get(actor, device_id)

    def change_in(
        self,
        tables: FleetTables,
        actor: Actor,
        device_id: DeviceId,
        change: DeviceChange,
        now: datetime,
        *,
        if_match: ETag | None = None,
    ) -> Done | None:
        """None when nothing is different.

        Raises:
            NotFound: `device.unknown`, `template.unknown`, `organization.unknown`.
            PreconditionFailed: `etag.stale`.
            Conflict: `device.simulated_real`.
            Invalid: `device.display_name`, `device.simulated_template`.
            TooLarge: `device.simulated_number`.
        """
        before = seen_in(tables, self.hub, actor, device_id)
        check_etag(f"the device '{device_id}'", if_match, before.etag)
        after = replace(
            before,
            display_name=(
                before.display_name
                if change.display_name is None
                else check_display_name(change.display_name) or device_id
            ),
            template=before.template if change.template is None else self._known_template(tables, change.template),
            organization=(
                before.organization
                if change.organization is None
                else self._known_organization(tables, actor, change.organization)
            ),
            is_simulated=before.is_simulated if change.is_simulated is None else change.is_simulated,
            is_blocked=before.is_blocked if change.is_blocked is None else change.is_blocked,
            # In the API's words a device that waits is not enabled, so whoever enables it lets it in (ST-3).
            is_approved=before.is_approved or change.is_blocked is False,
            manifest=before.manifest if change.manifest is None else change.manifest,
        )
        if after == before:
            return None
        if after.is_simulated and not before.is_simulated:
            if before.is_provisioned:
                raise Conflict(
                    "device.simulated_real",
                    f"'{device_id}' is a real device, which has an identity; it is not simulated",
                )
            _check_simulated(tables, after)
        after = replace(after, version=before.version + 1)
        tables.devices.put(after)
        if after.is_blocked != before.is_blocked:
            self._switch_identity(tables, actor, after, now)
        if after.is_simulated and not before.is_provisioned:
            draft = IdentityDraft(IdentityName(device_id), NoCredential(), is_edge=after.is_edge)
            create_in(tables, self.hub, draft, now)
        tables.outbox.emit(Event("device.changed", self.hub, device_id))
        return Done(_event_of(before, after), after, _differences(before, after))

    async def approve(self, actor: Actor, device_id: DeviceId) -> Device:
        """Let in a device that waits: it is provisioned at its next attempt (ST-13). Raises `NotFound`."""
        return await self._act(self.approve_in, actor, device_id)

    def approve_in(self, tables: FleetTables, actor: Actor, device_id: DeviceId, now: datetime) -> Done | None:
        before = seen_in(tables, self.hub, actor, device_id)
        if before.is_approved:
            return None
        after = replace(before, is_approved=True, version=before.version + 1)
        tables.devices.put(after)
        tables.outbox.emit(Event("device.changed", self.hub, device_id))
        return Done("device.approved", after, {})

    async def block(self, actor: Actor, device_id: DeviceId) -> Device:
        """Shut it out; a live connection is dropped (ST-15). Raises `NotFound` (`device.unknown`)."""
        return await self._act(self.block_in, actor, device_id)

    def block_in(self, tables: FleetTables, actor: Actor, device_id: DeviceId, now: datetime) -> Done | None:
        return self.change_in(tables, actor, device_id, DeviceChange(is_blocked=True), now)

    async def unblock(self, actor: Actor, device_id: DeviceId) -> Device:
        """As it was before (ST-16). Raises `NotFound` (`device.unknown`)."""
        return await self._act(self.unblock_in, actor, device_id)

    def unblock_in(self, tables: FleetTables, actor: Actor, device_id: DeviceId, now: datetime) -> Done | None:
        before = seen_in(tables, self.hub, actor, device_id)
        if not before.is_blocked:
            return None
        after = replace(before, is_blocked=False, version=before.version + 1)
        tables.devices.put(after)
        self._switch_identity(tables, actor, after, now)
        tables.outbox.emit(Event("device.changed", self.hub, device_id))
        return Done("device.unblocked", after, {})

    async def migrate(self, actor: Actor, device_id: DeviceId, template: TemplateId) -> Device:
        """Give it another template, or none (TPL-12). Raises `NotFound` (`device.unknown`, `template.unknown`)."""
        return await self.update(actor, device_id, DeviceChange(template=template))

    async def delete(self, actor: Actor, device_id: DeviceId) -> Deleted:
        """The record, its identity with all that hangs on it, its individual enrollment and its registration (ST-17).

        Raises `NotFound` (`device.unknown`).
        """
        now = self._clock.now()
        deleted, done = await self._store.write(lambda tables: self.delete_in(tables, actor, device_id, now))
        tell(actor, done)
        return deleted

    def delete_in(self, tables: FleetTables, actor: Actor, device_id: DeviceId, now: datetime) -> tuple[Deleted, Done]:
        record = seen_in(tables, self.hub, actor, device_id)
        group, had_enrollment = "", False
        registration_id = _registration_id(device_id)
        if registration_id is not None:
            registration = tables.registrations.find(self.hub, registration_id)
            enrollment = tables.individuals.find(self.hub, registration_id)
            group = (registration.group_id or "") if registration is not None else ""
            if enrollment is not None and enrollment.for_device == device_id:
                tables.individuals.delete(self.hub, registration_id)
                had_enrollment = True
            if registration is not None and registration.device_id in (None, device_id):
                tables.registrations.delete(self.hub, registration_id)
        if tables.identities.find(self.hub, IdentityName(device_id)) is not None:
            delete_in(tables, self.hub, IdentityName(device_id))
        else:
            tables.devices.delete(self.hub, device_id)
        tables.outbox.emit(Event("device.changed", self.hub, device_id))
        facts = {"enrollment": "deleted" if had_enrollment else "none", "group": group or "none"}
        return Deleted(record, group, had_enrollment), Done("device.deleted", record, facts)

    # -- cloud properties ----------------------------------------------------------------------------------------------

    def cloud_properties(self, actor: Actor, device_id: DeviceId) -> Mapping[str, Any]:
        """What only the application keeps of it (DT-4). Raises `NotFound` (`device.unknown`)."""
        tables = self._store.read()
        seen_in(tables, self.hub, actor, device_id)
        return tables.devices.cloud_properties(self.hub, device_id)

    async def set_cloud_properties(self, actor: Actor, device_id: DeviceId, patch: Mapping[str, Any]) -> None:
        """Merge `patch` into them: None takes a value away.

        Raises `NotFound` (`device.unknown`), `TooLarge` (`device.cloud_properties`).
        """
        tell(
            actor, await self._store.write(lambda tables: self.set_cloud_properties_in(tables, actor, device_id, patch))
        )

    def set_cloud_properties_in(
        self, tables: FleetTables, actor: Actor, device_id: DeviceId, patch: Mapping[str, Any]
    ) -> Done:
        record = seen_in(tables, self.hub, actor, device_id)
        merged = {**tables.devices.cloud_properties(self.hub, device_id), **patch}
        values = {name: value for name, value in merged.items() if value is not None}
        size = len(json.dumps(values, separators=(",", ":")))
        if size > MAX_CLOUD_PROPERTIES_BYTES:
            raise TooLarge(
                "device.cloud_properties",
                f"the cloud properties of a device have at most {MAX_CLOUD_PROPERTIES_BYTES} bytes, these have {size}",
            )
        tables.devices.put_cloud_properties(self.hub, device_id, values)
        tables.outbox.emit(Event("device.changed", self.hub, device_id))
        tables.outbox.emit(Event("device.cloud_properties", self.hub, device_id, {"patch": dict(patch)}))
        return Done("device.cloud_properties_changed", record, {"properties": ", ".join(sorted(patch))[:200]})

    # -- the switch ----------------------------------------------------------------------------------------------------

    def auto_approve(self) -> bool:
        """Whether devices that register themselves come in without being asked about (SAS-5)."""
        return is_auto_approve(self._store.read(), self.hub)

    async def set_auto_approve(self, actor: Actor, on: bool) -> None:
        await self._store.write(lambda tables: tables.settings.put(_AUTO_APPROVE, "on" if on else "off", self.hub))
        facts = {"hub": self.hub, "auto_approve": "on" if on else "off", "by": actor.name}
        audit.info(
            "fleet.auto_approve hub=%s auto_approve=%s by=%s",
            *facts.values(),
            extra={"event": "fleet.auto_approve", "facts": facts},
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _devices(self, tables: FleetTables, device_ids: builtins.list[DeviceId]) -> builtins.list[Device]:
        return [
            Device(record, tables.identities.find(self.hub, IdentityName(record.device_id)))
            for record in tables.devices.find_many(self.hub, device_ids)
        ]

    async def _act(self, act: Act, actor: Actor, device_id: DeviceId) -> Device:
        now = self._clock.now()
        tell(actor, await self._store.write(lambda tables: act(tables, actor, device_id, now)))
        return self.get(actor, device_id)

    def _switch_identity(self, tables: FleetTables, actor: Actor, record: DeviceRecord, now: datetime) -> None:
        name = IdentityName(record.device_id)
        identity: Identity | None = tables.identities.find(self.hub, name)
        wanted: Status = "disabled" if record.is_blocked else "enabled"
        if identity is not None and identity.status != wanted:
            reason = f"blocked by {actor.name}"[:128] if record.is_blocked else None
            update_in(tables, self.hub, IdentityDraft(name, status=wanted, status_reason=reason), now)

    def _known_template(self, tables: FleetTables, template: TemplateId) -> TemplateId:
        if template != UNASSIGNED and not self._templates.is_published(tables, template):
            raise NotFound("template.unknown", f"there is no published template {template[:140]!r}")
        return template

    def _known_organization(self, tables: FleetTables, actor: Actor, organization: OrganizationId) -> OrganizationId:
        if not actor.sees(organization) or (organization and tables.organizations.find(self.hub, organization) is None):
            raise NotFound("organization.unknown", f"there is no organization '{organization[:60]}'")
        return organization


def seen_in(tables: FleetTables, hub: HubId, actor: Actor, device_id: DeviceId) -> DeviceRecord:
    """Raises `NotFound` (`device.unknown`), also for what the actor may not see."""
    record = tables.devices.find(hub, device_id)
    if record is None or not actor.sees(record.organization):
        raise NotFound("device.unknown", f"there is no device '{device_id}'")
    return record


def is_auto_approve(tables: FleetTables, hub: HubId) -> bool:
    """On until somebody switches it off."""
    return tables.settings.get(_AUTO_APPROVE, hub) != "off"


def tell(actor: Actor, done: Done | None) -> None:
    """The line of the audit log."""
    if done is None:
        return
    facts = {"hub": done.record.hub, "name": done.record.device_id, **done.facts, "by": actor.name}
    line = " ".join(f"{name}=%s" for name in facts)
    audit.info(f"{done.event} {line}", *facts.values(), extra={"event": done.event, "facts": facts})


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LISTED:
        raise Invalid("list.limit", f"1 to {MAX_LISTED} devices are listed at once, not {limit}")


def _seen_by(actor: Actor, wanted: DeviceFilter) -> DeviceFilter:
    if actor.organizations is None:
        return wanted
    asked = wanted.organizations
    return replace(wanted, organizations=actor.organizations if asked is None else asked & actor.organizations)


def _is_wanted(record: DeviceRecord, wanted: DeviceFilter) -> bool:
    text = wanted.text.casefold()
    return Tally(record.organization, record.template, record.state, 1).fits(wanted) and (
        text in f"{record.device_id}\n{record.display_name}".casefold()
    )


def _check_simulated(tables: FleetTables, record: DeviceRecord) -> None:
    if record.template == UNASSIGNED:
        raise Invalid(
            "device.simulated_template", "a simulated device invents what its template describes, so it needs one"
        )
    if len(tables.devices.simulated(record.hub)) >= MAX_SIMULATED:
        raise TooLarge("device.simulated_number", f"an application has at most {MAX_SIMULATED} simulated devices")


def _event_of(before: DeviceRecord, after: DeviceRecord) -> str:
    if after.is_blocked != before.is_blocked:
        return "device.blocked" if after.is_blocked else "device.unblocked"
    if after.template != before.template:
        return "device.migrated"
    return "device.moved" if after.organization != before.organization else "device.changed"


def _differences(before: DeviceRecord, after: DeviceRecord) -> dict[str, str]:
    """What was, and what is."""
    facts: dict[str, str] = {}
    for name in ("display_name", "template", "organization", "is_simulated", "manifest"):
        was, now_is = getattr(before, name), getattr(after, name)
        if was != now_is:
            facts |= {f"{name}_before": str(was) or "(none)", name: str(now_is) or "(none)"}
    return facts


def _registration_id(device_id: DeviceId) -> RegistrationId | None:
    try:
        return parse_registration_id(device_id)
    except Refusal:
        return None

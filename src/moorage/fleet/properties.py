"""Properties of a device as its model has them: what the twin says of each, and setting those that may be set.

A writable property is a desired one that the device answers with a reported `{value, ac, av, ad}` (contract/central.md
W-4). What its state is follows from both sides of the twin, and from nothing else:

    nothing desired, nothing reported ──► unset
    desired, not answered at this version ──► pending
    answered: 200 ──► accepted      201, 202, 203 ──► pending      4xx, 5xx ──► error, `ad` says why        (8.1)

A component's properties lie below its name, in an object with `"__t": "c"` (W-5). Cloud properties are never told to a
device (W-9). The functions here are plain; `DeviceProperties` reads and writes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.dtdl.model import Interface, Property
from moorage.errors import Invalid, PreconditionFailed
from moorage.fleet.awaited import AwaitedTables, awaited_twin, with_awaited
from moorage.fleet.device_models import DeviceModel, DeviceModels
from moorage.fleet.model import FleetTables
from moorage.fleet.service import Fleet, seen_in
from moorage.hub.digital_twins import COMPONENT, is_component
from moorage.hub.model import HubTables, Twin
from moorage.hub.twins import TwinChange, check_twin_etag, load_twin, patch_twin, write_twin_in
from moorage.ids import DeviceId, ETag, HubId, IdentityName, ModuleId
from moorage.store import Store

__all__ = [
    "Changes",
    "DeviceProperties",
    "PropertyKey",
    "PropertyProblems",
    "PropertySheet",
    "PropertyState",
    "PropertyTables",
    "State",
    "check_changes",
    "desired_patch",
    "property_states",
    "split_document",
]

audit = logging.getLogger("moorage.audit")

State = Literal["unset", "reported", "accepted", "pending", "error"]
_MARK: Final = COMPONENT[0]
# contract/central.md 8.1
_STILL_PENDING: Final = (201, 202, 203)

# By component ('' is the root) and name; None takes a value away.
Changes = Mapping[str, Mapping[str, Any]]


class PropertyKey(NamedTuple):
    """`component` is '' for the root of the model."""

    component: str
    name: str


@dataclass(frozen=True, slots=True)
class PropertyState:
    """What the twin says of one property.

    Attributes:
        declared: what the model says of it; None for one that is not in the model.
        value: what is shown: the value that the device has, or the desired one where it has said nothing.
        desired, desired_version: None where nothing is desired.
        ack_code, ack_version, ack_description: of the answer; None and '' without one.
        updated: when the side that `value` comes from was last written, as the twin has it.
    """

    key: PropertyKey
    declared: Property | None
    state: State
    value: Any = None
    desired: Any = None
    desired_version: int | None = None
    reported: Any = None
    ack_code: int | None = None
    ack_version: int | None = None
    ack_description: str = ""
    updated: str = ""

    @property
    def is_writable(self) -> bool:
        if self.declared is not None:
            return self.declared.is_writable
        return self.desired_version is not None or self.ack_code is not None

    @property
    def typed(self) -> Any:
        """What a form begins with: what was asked for last, or what the device has."""
        return self.value if self.desired_version is None else self.desired


@dataclass(frozen=True, slots=True)
class PropertySheet:
    """Everything about the properties of one device, read at once."""

    model: DeviceModel
    twin: Twin
    states: tuple[PropertyState, ...]
    cloud: Mapping[str, Any]

    def of(self, component: str) -> list[PropertyState]:
        return [state for state in self.states if state.key.component == component]


class PropertyProblems(Invalid):
    """Values that do not fit; nothing was set. `problems` has a sentence for each."""

    def __init__(self, problems: Mapping[PropertyKey, str]) -> None:
        told = "; ".join(f"{'.'.join(filter(None, key))}: {why}" for key, why in list(problems.items())[:3])
        super().__init__("property.value", f"nothing was set, as {len(problems)} of the values cannot be: {told}")
        self.problems = dict(problems)


# -- reading -----------------------------------------------------------------------------------------------------------


def property_states(twin: Twin, interface: Interface | None) -> tuple[PropertyState, ...]:
    """Each property of the model, in its order, and behind them what the twin holds besides."""
    declared = {} if interface is None else dict(_declared(interface))
    components = set() if interface is None else {each.name for each in interface.components}
    keys = dict.fromkeys(declared)
    for side in (twin.reported.value, twin.desired.value):
        for name, value in side.items():
            if name in components or is_component(value):
                members = value if isinstance(value, Mapping) else {}
                keys |= dict.fromkeys(PropertyKey(name, member) for member in members if member != _MARK)
            else:
                keys |= dict.fromkeys((PropertyKey("", name),))
    return tuple(_state(twin, key, declared.get(key)) for key in keys)


def _declared(interface: Interface) -> Iterator[tuple[PropertyKey, Property]]:
    for component, part in interface.parts():
        for each in part.properties:
            yield PropertyKey(component, each.name), each


def _state(twin: Twin, key: PropertyKey, declared: Property | None) -> PropertyState:
    desired, desired_meta, is_desired = _find(twin.desired.value, twin.desired.metadata, key)
    reported, reported_meta, is_reported = _find(twin.reported.value, twin.reported.metadata, key)
    version = desired_meta.get("$lastUpdatedVersion") if is_desired else None
    if is_desired and not isinstance(version, int):
        version = twin.desired.version
    ack = reported if _is_answer(reported) and (declared is None or declared.is_writable) else None
    code, answered = (None, None) if ack is None else (ack.get("ac"), ack.get("av"))
    value = reported if ack is None else ack["value"]
    return PropertyState(
        key=key,
        declared=declared,
        state=_judge(is_desired, version, is_reported, code, answered),
        value=value if is_reported else desired,
        desired=desired,
        desired_version=version,
        reported=reported,
        ack_code=code,
        ack_version=answered if isinstance(answered, int) else None,
        ack_description="" if ack is None else str(ack.get("ad") or "")[:1000],
        updated=str((reported_meta if is_reported else desired_meta).get("$lastUpdated", "")),
    )


def _judge(is_desired: bool, version: int | None, is_reported: bool, code: int | None, answered: Any) -> State:
    if code is None:
        if is_desired:
            return "pending"
        return "reported" if is_reported else "unset"
    # An answer to an earlier value says nothing of this one.
    if version is not None and isinstance(answered, int) and answered < version:
        return "pending"
    if code >= 400:
        return "error"
    return "accepted" if 200 <= code < 300 and code not in _STILL_PENDING else "pending"


def _is_answer(value: Any) -> bool:
    if not isinstance(value, Mapping) or "value" not in value:
        return False
    code = value.get("ac")
    return isinstance(code, int) and not isinstance(code, bool)


def _find(values: Any, metadata: Any, key: PropertyKey) -> tuple[Any, Mapping[str, Any], bool]:
    """(value, its metadata, whether it is there)."""
    for part in filter(None, key):
        if not isinstance(values, Mapping) or part not in values:
            return None, {}, False
        values = values[part]
        metadata = metadata.get(part, {}) if isinstance(metadata, Mapping) else {}
    return values, metadata if isinstance(metadata, Mapping) else {}, True


# -- setting -----------------------------------------------------------------------------------------------------------


def split_document(interface: Interface, document: Mapping[str, Any]) -> tuple[Changes, Mapping[str, Any]]:
    """(properties of the device, cloud properties) of a document that has both, components as objects (22.2)."""
    changes: dict[str, dict[str, Any]] = {}
    cloud: dict[str, Any] = {}
    of_cloud = {each.name for each in interface.cloud_properties}
    for name, value in document.items():
        if name.startswith("$"):
            continue
        if name in of_cloud:
            cloud[name] = value
        elif interface.part(name) is not None and isinstance(value, Mapping):
            changes[name] = {member: each for member, each in value.items() if not _is_system(member)}
        else:
            changes.setdefault("", {})[name] = value
    return changes, cloud


def check_changes(interface: Interface, changes: Changes) -> None:
    """Raises `PropertyProblems` (`property.value`)."""
    problems: dict[PropertyKey, str] = {}
    for component, values in changes.items():
        for name, value in values.items():
            declared = interface.find_property(name, component)
            if declared is None or declared.is_cloud:
                why: str | None = "the template has no such property"
            elif not declared.is_writable:
                why = "it is read-only: the device alone says what it is"
            else:
                why = None if value is None else declared.schema.check(value)
            if why is not None:
                problems[PropertyKey(component, name)] = why
    if problems:
        raise PropertyProblems(problems)


def check_cloud(interface: Interface, values: Mapping[str, Any]) -> None:
    """Raises `PropertyProblems` (`property.value`)."""
    declared = {each.name: each for each in interface.cloud_properties}
    problems = {
        PropertyKey("", name): why
        for name, value in values.items()
        if (why := _wrong_with_cloud(declared.get(name), value)) is not None
    }
    if problems:
        raise PropertyProblems(problems)


def _wrong_with_cloud(declared: Property | None, value: Any) -> str | None:
    if declared is None:
        return "the template has no such cloud property"
    return None if value is None else declared.schema.check(value)


def desired_patch(current: Mapping[str, Any], changes: Changes, *, replace: bool = False) -> dict[str, Any]:
    """`changes` as one patch of desired properties, given what is desired now.

    A value is put in place of the one before, members that it does not have included, which a merge alone would leave.
    With `replace`, whatever else is desired goes.
    """
    patch: dict[str, Any] = {}
    for component, values in changes.items():
        if not component:
            patch |= {name: _instead_of(current.get(name), value) for name, value in values.items()}
            continue
        before = current.get(component)
        held = before if isinstance(before, Mapping) else {}
        part = {name: _instead_of(held.get(name), value) for name, value in values.items()}
        if replace:
            part = dict.fromkeys(name for name in held if name not in values and name != _MARK) | part
        patch[component] = {_MARK: COMPONENT[1], **part}
    if replace:
        patch = dict.fromkeys(name for name in current if name not in patch) | patch
    return patch


def _instead_of(before: Any, value: Any) -> Any:
    if not isinstance(value, Mapping) or not isinstance(before, Mapping):
        return value
    gone = dict.fromkeys(name for name in before if name not in value)
    return gone | {name: _instead_of(before.get(name), each) for name, each in value.items()}


def _is_system(name: str) -> bool:
    return name.startswith("$") or name == _MARK


class PropertyTables(HubTables, FleetTables, AwaitedTables, Protocol):
    """What setting properties of both kinds needs of a store."""


class DeviceProperties:
    """Reads and sets the properties of devices that an actor sees."""

    def __init__(
        self, hub: HubId, store: Store[PropertyTables], models: DeviceModels, fleet: Fleet, clock: Clock
    ) -> None:
        self._hub = hub
        self._store = store
        self._models = models
        self._fleet = fleet
        self._clock = clock

    def read(self, actor: Actor, device_id: DeviceId, *, module: ModuleId | None = None) -> PropertySheet:
        """Of one that has not registered, what waits for it.

        Raises `NotFound` (`device.unknown`, `module.not_found`).
        """
        model = self._models.get(actor, device_id)
        name = IdentityName(device_id, module)
        twin = self._twin(self._store.read(), name)
        if module is not None:
            return PropertySheet(model, twin, property_states(twin, None), {})
        cloud = self._fleet.cloud_properties(actor, device_id)
        return PropertySheet(model, twin, property_states(twin, model.interface), cloud)

    async def set(
        self,
        actor: Actor,
        device_id: DeviceId,
        changes: Changes,
        *,
        cloud: Mapping[str, Any] | None = None,
        module: ModuleId | None = None,
        if_desired: int | None = None,
        replace: bool = False,
    ) -> Twin:
        """Set them by one patch of desired properties, and cloud properties beside it, in one transaction.

        For a device that has not registered they wait until it does (`awaited.py`). `if_desired` is the `$version` of
        desired properties that the changes were made for. `replace` takes away whatever is not named. Raises as
        `read`, as any change of desired properties (`twin.*`), and:

        PropertyProblems: `property.value`; nothing was set.
        PreconditionFailed: `etag.stale`.
        """
        model = self._models.get(actor, device_id)
        name = IdentityName(device_id, module)
        if model.interface is not None and module is None:
            check_changes(model.interface, changes)
            check_cloud(model.interface, cloud or {})
        now = self._clock.now()
        is_only_cloud = not any(changes.values()) and not replace

        def work(tables: PropertyTables) -> Twin:
            # It may have gone since: what has no identity waits for a device that is there.
            seen_in(tables, self._hub, actor, device_id)
            before = self._twin(tables, name)
            if if_desired is not None and if_desired != before.desired.version:
                raise PreconditionFailed(
                    "etag.stale",
                    f"desired properties of '{name}' changed since they were read: held version {if_desired}, "
                    f"current {before.desired.version}",
                    fix="look at what they are now, and send it again",
                )
            if cloud is not None and module is None:
                held = tables.devices.cloud_properties(self._hub, device_id) if replace else {}
                self._fleet.set_cloud_properties_in(tables, actor, device_id, dict.fromkeys(held) | dict(cloud))
            if is_only_cloud:
                return before
            patch = desired_patch(before.desired.value, changes, replace=replace)
            if self._is_awaited(tables, name):
                tables.awaited.put(self._hub, device_id, with_awaited(before, patch, now))
                return self._twin(tables, name)
            return write_twin_in(tables, self._hub, name, TwinChange(desired=patch), patch_twin, now)

        twin = await self._store.write(work)
        names = sorted(
            ".".join(filter(None, (component, each))) for component in changes for each in changes[component]
        )
        self._tell(name, [*names, *sorted(cloud or ())], actor)
        return twin

    async def patch(
        self, actor: Actor, device_id: DeviceId, patch: Mapping[str, Any], *, if_match: ETag | None = None
    ) -> Twin:
        """Merge `patch` into desired properties as it is, whatever the model says.

        For a device that has not registered it waits until it does. Raises `NotFound` (`device.unknown`), as any
        change of desired properties (`twin.*`), and `PreconditionFailed` (`etag.stale`) when the twin is not at
        `if_match`.
        """
        self._models.get(actor, device_id)
        name, now = IdentityName(device_id), self._clock.now()

        def work(tables: PropertyTables) -> Twin:
            seen_in(tables, self._hub, actor, device_id)
            if self._is_awaited(tables, name):
                before = self._twin(tables, name)
                check_twin_etag(before, if_match)
                tables.awaited.put(self._hub, device_id, with_awaited(before, patch, now))
                return self._twin(tables, name)
            return write_twin_in(tables, self._hub, name, TwinChange(desired=patch), patch_twin, now, if_match)

        twin = await self._store.write(work)
        self._tell(name, sorted(patch), actor)
        return twin

    def twin(self, device_id: DeviceId) -> Twin:
        """Of a device that the caller may see; of one that has not registered, with what waits for it."""
        return self._twin(self._store.read(), IdentityName(device_id))

    async def tell_awaited(self, device_id: DeviceId) -> None:
        """What waited for a device that is there now becomes desired; for one that the hub's own API made.

        Raises `NotFound` (`device.not_found`) when it is gone again, `Invalid` and `TooLarge` (`twin.*`).
        """
        name, now = IdentityName(device_id), self._clock.now()

        def work(tables: PropertyTables) -> None:
            awaited = tables.awaited.find(self._hub, device_id)
            if awaited is not None:
                tables.awaited.delete(self._hub, device_id)
                write_twin_in(tables, self._hub, name, TwinChange(desired=awaited.desired), patch_twin, now)

        await self._store.write(work)

    def _twin(self, tables: PropertyTables, name: IdentityName) -> Twin:
        """Raises `NotFound` (`module.not_found`)."""
        if self._is_awaited(tables, name):
            return awaited_twin(self._hub, name.device_id, tables.awaited.find(self._hub, name.device_id))
        return load_twin(tables, self._hub, name)

    def _is_awaited(self, tables: PropertyTables, name: IdentityName) -> bool:
        return name.module_id is None and tables.identities.find(self._hub, name) is None

    def _tell(self, name: IdentityName, properties: Sequence[str], actor: Actor) -> None:
        facts = {"hub": self._hub, "device": str(name), "properties": ",".join(properties)[:500], "by": actor.name}
        audit.info(
            "properties.set hub=%s device=%s properties=%s by=%s",
            *facts.values(),
            extra={"event": "properties.set", "facts": facts},
        )

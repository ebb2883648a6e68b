"""Digital twins: the same twins, seen as a model's properties and components (contract/services.md 2.2).

A component is a member of desired or reported properties that says so (`"__t": "c"`). A patch speaks of properties
(`/targetTemperature`) and of components and theirs (`/thermostat1`, `/thermostat1/targetTemperature`), and becomes one
change of desired properties, of which the device is told as of any other. The model itself is not known here: what a
path means is seen from what the twin holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from moorage.clock import Clock
from moorage.errors import Invalid
from moorage.events import Event
from moorage.hub.merging import Path, difference, set_at
from moorage.hub.model import HubTables, Twin
from moorage.hub.notifications import tell_of_twin
from moorage.hub.twins import TwinChange, check_twin_etag, load_twin, patch_twin
from moorage.ids import ETag, HubId, IdentityName
from moorage.store import Store

__all__ = ["COMPONENT", "DigitalTwinService", "Operation", "command_method", "decide_patch", "is_component"]

# What marks a member as a component.
COMPONENT: Final = ("__t", "c")
_MARK, _COMPONENT = COMPONENT


@dataclass(frozen=True, slots=True)
class Operation:
    """One of a JSON Patch (RFC 6902): `path` has at least one segment, none of them a system member."""

    kind: Literal["add", "replace", "remove"]
    path: Path
    value: Any = None


def is_component(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(_MARK) == _COMPONENT


def command_method(command: str, component: str | None) -> str:
    """The method by which a device knows a command: components have theirs in front."""
    return command if component is None else f"{component}*{command}"


def decide_patch(twin: Twin, operations: Sequence[Operation]) -> dict[str, Any]:
    """The merge patch of desired properties that `operations`, one after another, come to.

    Setting what is set already is a change too: the device is told again, under a new version.
    Raises `Invalid`: `digital_twin.patch` when there is nothing to replace or remove, `digital_twin.path`.
    """
    desired = dict(twin.desired.value)
    touched: dict[str, Any] = {}
    for operation in operations:
        head = operation.path[0]
        sections = (desired, twin.reported.value)
        present = [section[head] for section in sections if head in section]
        if operation.kind != "add" and not any(_exists(section, operation.path) for section in sections):
            where = "/" + "/".join(operation.path)[:120]
            raise Invalid("digital_twin.patch", f"there is nothing at '{where}' to {operation.kind}; add it first")
        value = operation.value
        if len(operation.path) > 1:
            if present and not any(isinstance(each, Mapping) for each in present):
                raise Invalid("digital_twin.path", f"'/{head}' is a value, with nothing inside of it to be changed")
            if operation.kind != "remove" and head not in desired and (not present or is_component(present[0])):
                desired[head] = {_MARK: _COMPONENT}
        elif isinstance(value, Mapping) and ("$metadata" in value or any(map(is_component, present))):
            members = {name: member for name, member in value.items() if name != "$metadata"}
            value = {_MARK: _COMPONENT, **members}
        desired = set_at(desired, operation.path, value)
        if operation.kind != "remove":
            touched = set_at(touched, operation.path, value)
    return difference(twin.desired.value, desired) or touched


class DigitalTwinService:
    """Patches the digital twins of devices that exist."""

    def __init__(self, store: Store[HubTables], clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def get(self, hub: HubId, name: IdentityName) -> Twin:
        """Raises `NotFound` (`device.not_found`)."""
        return load_twin(self._store.read(), hub, name)

    async def patch(
        self, hub: HubId, name: IdentityName, operations: Sequence[Operation], *, if_match: ETag | None = None
    ) -> Twin:
        """Raises as `decide_patch` and as any change of desired properties (`twin.*`), and:

        NotFound: `device.not_found`.
        PreconditionFailed: `etag.stale`.
        """
        now = self._clock.now()

        def work(tables: HubTables) -> Twin:
            before = load_twin(tables, hub, name)
            check_twin_etag(before, if_match)
            after, patch = patch_twin(before, TwinChange(desired=decide_patch(before, operations)), now=now)
            if patch is not None:
                tables.twins.put(after)
                tell_of_twin(tables, before, after, "updateTwin", now)
                data = {"patch": patch, "version": after.desired.version}
                tables.outbox.emit(Event("twin.desired", hub, str(name), data))
            return after

        return await self._store.write(work)


def _exists(section: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(section, Mapping) or name not in section:
            return False
        section = section[name]
    return True

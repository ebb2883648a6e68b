"""What an edge device runs: its modules made, removed and given their desired properties, from a deployment.

A deployment arrives in one of two ways (contract/services.md 2.2 and 2.10). Applied to one device by hand, it is the
whole truth: modules that it does not list go. Brought by configurations, only those of them go that deployments made,
or the device's own runtime (`managedBy`). `$edgeAgent` and `$edgeHub` always stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from moorage.errors import Invalid, TooLarge
from moorage.events import Event
from moorage.hub.configuration_model import EDGE_AGENT, Configuration, read_modules
from moorage.hub.merging import Layer, Setting, apply_settings, difference, effective
from moorage.hub.model import HubTables, Twin
from moorage.hub.notifications import tell_of_twin
from moorage.hub.twins import TwinChange, fresh_twin, patch_twin
from moorage.identities.model import Identity
from moorage.identities.registry import EDGE_MODULES, MAX_MODULES, IdentityDraft, create_in, delete_in
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId, parse_module_id

__all__ = [
    "MANAGED_BY",
    "Deployment",
    "decide_deployment",
    "deploy_in",
    "read_deployment",
    "write_in",
]

MANAGED_BY: Final = "IotEdge"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What several edge deployments make of one device together.

    `settings` are (module id and path, value), lowest first. `base` is None when no deployment says what the device
    runs; then nothing is applied. `applied` are the ids of those that have a part in it.
    """

    base: Configuration | None
    settings: tuple[Setting, ...] = ()
    applied: frozenset[str] = frozenset()


def decide_deployment(targeted: Iterable[Configuration]) -> Deployment:
    """The highest base, with the layers that rank above it on top (the documents' rule for layered deployments)."""
    ranked = sorted(targeted, key=lambda configuration: configuration.rank)
    bases = [configuration for configuration in ranked if configuration.is_base]
    if not bases:
        return Deployment(None)
    base = bases[-1]
    layers = [base, *(each for each in ranked if not each.is_base and each.rank > base.rank)]
    settings = effective([layer.layer for layer in layers])
    return Deployment(base, tuple(settings), frozenset({base.id, *(setting.owner for setting in settings)}))


def read_deployment(modules: Mapping[str, Any]) -> tuple[Setting, ...]:
    """The settings of `modulesContent` alone. Raises `Invalid`."""
    return tuple(effective([Layer("", dict(read_modules(modules)))]))


def deploy_in(
    tables: HubTables,
    hub: HubId,
    device: Identity,
    settings: Sequence[Setting],
    now: datetime,
    *,
    on_top: bool,
    may_remove: Callable[[Identity], bool],
) -> list[ModuleId]:
    """Give the modules of `device` what `settings` say; returns the modules it has by that.

    With `on_top`, sections that a module has and no setting names stay; without it they go. Of the modules that are not
    listed, those go that `may_remove`. Nothing is written when it raises: `Invalid` (`edge.required`, `id.module`,
    `twin.*`), `TooLarge` (`module.too_many`, `twin.size`).
    """
    device_id = device.name.device_id
    if not device.is_edge:
        raise Invalid("edge.required", f"'{device_id}' is no edge device, so it cannot run modules of a deployment")
    present = {each.name.module_id: each for each in tables.identities.list_modules(hub, device_id)}
    twins = {module: _twin(tables, hub, device_id, module) for module in dict.fromkeys(_modules(settings))}
    desired = {
        module: _module_desired(settings, module, twin.desired.value if on_top else {})
        for module, twin in twins.items()
    }
    listed = _listed(desired)
    removed = [
        identity
        for module, identity in present.items()
        if module not in listed and module not in EDGE_MODULES and may_remove(identity)
    ]
    made = [module for module in listed if module not in present]
    if len(present) - len(removed) + len(made) > MAX_MODULES:
        raise TooLarge(
            "module.too_many",
            f"device '{device_id}' would have {len(present) - len(removed) + len(made)} modules, {MAX_MODULES} is the "
            "limit",
        )
    changes = [_change(twin, desired[module], now) for module, twin in twins.items()]
    for identity in removed:
        delete_in(tables, hub, identity.name)
    for module in made:
        create_in(tables, hub, IdentityDraft(IdentityName(device_id, module), managed_by=MANAGED_BY), now)
    for change in changes:
        _put(tables, *change, now)
    return listed


def write_in(tables: HubTables, twin: Twin, desired: Mapping[str, Any], now: datetime) -> bool:
    """Make `desired` the twin's desired properties, telling the device; False when they are that already.

    Nothing is written when it raises: `Invalid` (`twin.*`), `TooLarge` (`twin.size`).
    """
    return _put(tables, *_change(twin, desired, now), now)


def _listed(desired: Mapping[ModuleId, Mapping[str, Any]]) -> list[ModuleId]:
    """Modules that the device is to have: those that get properties, and those that `$edgeAgent` is told to run.

    Raises `Invalid` (`id.module`).
    """
    running = desired.get(EDGE_AGENT, {}).get("modules")
    # Whoever wrote the twin by hand may have written any names.
    named = map(parse_module_id, running if isinstance(running, Mapping) else ())
    return list(dict.fromkeys([*desired, *named]))


def _change(twin: Twin, desired: Mapping[str, Any], now: datetime) -> tuple[Twin, Twin, Mapping[str, Any] | None]:
    return twin, *patch_twin(twin, TwinChange(desired=difference(twin.desired.value, desired)), now=now)


def _put(tables: HubTables, before: Twin, twin: Twin, patch: Mapping[str, Any] | None, now: datetime) -> bool:
    if patch is None:
        return False
    tables.twins.put(twin)
    tell_of_twin(tables, before, twin, "updateTwin", now)
    data = {"patch": patch, "version": twin.desired.version}
    tables.outbox.emit(Event("twin.desired", twin.hub, str(twin.name), data))
    return True


def _modules(settings: Sequence[Setting]) -> list[ModuleId]:
    return [ModuleId(setting.path[0]) for setting in settings]


def _module_desired(settings: Sequence[Setting], module: ModuleId, before: Mapping[str, Any]) -> dict[str, Any]:
    mine = [
        Setting(setting.path[1:], setting.value, setting.owner) for setting in settings if setting.path[0] == module
    ]
    return apply_settings(before, mine)


def _twin(tables: HubTables, hub: HubId, device_id: DeviceId, module: ModuleId) -> Twin:
    name = IdentityName(device_id, module)
    return tables.twins.find(hub, name) or fresh_twin(hub, name)

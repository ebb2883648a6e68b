"""A device as rules and exports look at it: its record, what it reported, its cloud properties, read at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from moorage.automation.filters import Watched
from moorage.fleet.model import DeviceRecord, DeviceTable
from moorage.hub.digital_twins import COMPONENT, is_component
from moorage.hub.model import TwinTable
from moorage.ids import DeviceId, HubId, IdentityName

__all__ = ["WatchTables", "of_record", "unwrapped", "watched_in"]

_MARK: Final = COMPONENT[0]


class WatchTables(Protocol):
    @property
    def devices(self) -> DeviceTable: ...

    @property
    def twins(self) -> TwinTable: ...


def watched_in(tables: WatchTables, hub: HubId, device_id: str) -> Watched | None:
    """None for a device that is gone. Some point reads, and the parsing of a twin."""
    record = tables.devices.find(hub, DeviceId(device_id))
    if record is None:
        return None
    twin = tables.twins.find(hub, IdentityName(record.device_id))
    reported: Mapping[str, Any] = {} if twin is None else twin.reported.value
    return replace(
        of_record(record),
        properties={name: unwrapped(value) for name, value in reported.items()},
        cloud_properties=tables.devices.cloud_properties(hub, record.device_id),
        components=frozenset(name for name, value in reported.items() if is_component(value)),
    )


def of_record(record: DeviceRecord) -> Watched:
    """Without its properties, which cost more to read than all the rest."""
    return Watched(
        device_id=record.device_id,
        display_name=record.display_name,
        template=record.template,
        organization=record.organization,
        properties={},
        cloud_properties={},
        etag=record.etag,
        is_simulated=record.is_simulated,
        is_provisioned=record.is_provisioned,
        is_approved=record.is_approved,
        is_blocked=record.is_blocked,
    )


def unwrapped(value: Any) -> Any:
    """A reported value without its wrapping: `{value, ac, av, ad}`, or a component with its mark (8.1, W-5)."""
    if is_component(value):
        return {name: unwrapped(each) for name, each in value.items() if name != _MARK}
    if isinstance(value, Mapping) and "value" in value and "ac" in value:
        return value["value"]
    return value

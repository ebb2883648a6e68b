"""Desired properties that wait for a device that has not registered yet (contract/central.md W-4).

    set before the device came ──► kept beside its record ──► joined to its first twin, in the transaction that makes it

So the first twin that a device reads has them. They are put over what its enrollment begins with: whoever set them
meant this device. While they wait they are shown as *pending*, as for a device that is offline.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from moorage.errors import Refusal
from moorage.hub.model import Twin
from moorage.hub.twins import TwinChange, fresh_twin, initial_twin, patch_twin
from moorage.ids import DeviceId, HubId, IdentityName

__all__ = ["Awaited", "AwaitedTable", "AwaitedTwins", "awaited_twin", "with_awaited"]

log = logging.getLogger("moorage.fleet")


@dataclass(frozen=True, slots=True)
class Awaited:
    """`version` counts the changes, as that of desired properties does."""

    desired: Mapping[str, Any]
    version: int
    updated: datetime


class AwaitedTable(Protocol):
    """Keyed by (hub, device id); it goes with the device's record."""

    def find(self, hub: HubId, device_id: DeviceId) -> Awaited | None: ...

    def put(self, hub: HubId, device_id: DeviceId, awaited: Awaited) -> None:
        """Insert or replace; the record has to be there."""

    def delete(self, hub: HubId, device_id: DeviceId) -> None: ...


class AwaitedTables(Protocol):
    """What is needed of a store."""

    @property
    def awaited(self) -> AwaitedTable: ...


def awaited_twin(hub: HubId, device_id: DeviceId, awaited: Awaited | None) -> Twin:
    """What the twin would be if the device registered now, without what its enrollment gives."""
    name = IdentityName(device_id)
    if awaited is None:
        return fresh_twin(hub, name)
    twin = initial_twin(hub, name, tags={}, desired=awaited.desired, now=awaited.updated)
    return replace(twin, version=awaited.version, desired=replace(twin.desired, version=awaited.version))


def with_awaited(twin: Twin, change: Mapping[str, Any], now: datetime) -> Awaited:
    """`change` merged into what waits, which `twin` shows. Raises `Invalid` and `TooLarge` (`twin.*`) as a twin's."""
    after, _ = patch_twin(twin, TwinChange(desired=change), now=now)
    return Awaited(after.desired.value, after.desired.version, now)


class AwaitedTwins:
    """Port: `hub.assigner.FirstTwins`."""

    def join(self, tables: AwaitedTables, twin: Twin, now: datetime) -> Twin:
        """`twin` with what waited for the device, which waits no more."""
        hub, device_id = twin.hub, twin.name.device_id
        awaited = tables.awaited.find(hub, device_id)
        if awaited is None:
            return twin
        tables.awaited.delete(hub, device_id)
        try:
            joined, _ = patch_twin(twin, TwinChange(desired=awaited.desired), now=now)
        except Refusal as refusal:
            # The two together are more than a twin holds. The device comes in all the same.
            log.warning("awaited_properties_dropped device=%s reason=%s", device_id, refusal.reason)
            return twin
        return joined

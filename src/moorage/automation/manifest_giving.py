"""Edge manifests on devices: given, looked at, changed for one device alone (contract/central.md MAN-3, MAN-4).

    Assign ──► the device is there ──► its modules get the content at once
        └────► it never registered ──► kept as its manifest ──► identity made ──► the content, a moment later

What a device runs is in the twins of its modules and nowhere else; `content_of` reads it from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from moorage.accounts.model import ALL_PERMISSIONS, Actor
from moorage.automation.manifests import Manifest, Manifests, check_manifest
from moorage.errors import Invalid, Refusal, Unavailable
from moorage.events import Bus, Event
from moorage.fleet.model import Device, DeviceChange, DeviceTable
from moorage.fleet.service import Fleet
from moorage.hub.model import TwinTable
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId
from moorage.store import Store

__all__ = ["GivingTables", "ManifestGiving"]

log = logging.getLogger(__name__)

_AGENT: Final = ModuleId("$edgeAgent")
_HUB: Final = ModuleId("$edgeHub")
_DESIRED: Final = "properties.desired"
_PAUSE_AFTER_FAILURE_S: Final = 1.0
# Whoever gave the manifest is told when it was given; what follows from it is the application's own doing.
_ITSELF: Final = Actor("moorage", frozenset(ALL_PERMISSIONS))


class GivingTables(Protocol):
    @property
    def devices(self) -> DeviceTable: ...

    @property
    def twins(self) -> TwinTable: ...


class ManifestGiving:
    """One hub's. `run` until cancelled: it gives devices what they were to have before they came."""

    def __init__(self, hub: HubId, store: Store[GivingTables], fleet: Fleet, manifests: Manifests, bus: Bus) -> None:
        self._hub = hub
        self._store = store
        self._fleet = fleet
        self._manifests = manifests
        self._came: deque[DeviceId] = deque()
        self._has_come = asyncio.Event()
        self.close = bus.subscribe(self._heard)

    async def assign(self, actor: Actor, device_id: DeviceId, manifest_id: str) -> Manifest:
        """Give it this manifest, now or when it comes; '' as `manifest_id` is for `unassign`.

        Raises `NotFound` (`device.unknown`, `manifest.unknown`), `Invalid` (`edge.required`), and as a deployment does.
        """
        manifest = self._manifests.get(actor, manifest_id)
        device = self._edge(actor, device_id)
        if device.identity is not None:
            await self._manifests.apply(actor, device_id, manifest.content)
        await self._fleet.update(actor, device_id, DeviceChange(manifest=manifest.manifest_id))
        if device.identity is None and self._fleet.get(actor, device_id).identity is not None:
            # It came after we looked, and was asked what it is to have before it was told.
            await self._manifests.apply(actor, device_id, manifest.content)
        return manifest

    async def unassign(self, actor: Actor, device_id: DeviceId) -> None:
        """It goes on with what it runs, and is said to have no manifest."""
        self._edge(actor, device_id)
        await self._fleet.update(actor, device_id, DeviceChange(manifest=""))

    async def customise(self, actor: Actor, device_id: DeviceId, content: Mapping[str, Any]) -> None:
        """Give this device alone another content; the shared manifest stays as it is (MAN-4).

        Raises as `assign` and `check_manifest`; `Invalid` (`manifest.not_there`) before the device has come.
        """
        device = self._edge(actor, device_id)
        await asyncio.to_thread(check_manifest, content)
        if device.identity is None:
            raise Invalid(
                "manifest.not_there", f"'{device_id}' never registered, so it has no modules to be changed yet"
            )
        await self._manifests.apply(actor, device_id, content)

    async def content_of(self, actor: Actor, device_id: DeviceId) -> dict[str, Any] | None:
        """What it is to run, as a manifest says it; None before it was given anything. Raises `NotFound`."""
        device = self._edge(actor, device_id)
        if device.identity is None:
            return None
        return await self._store.scan(lambda tables: self._read(tables, device_id))

    def _read(self, tables: GivingTables, device_id: DeviceId) -> dict[str, Any] | None:
        agent = tables.twins.find(self._hub, IdentityName(device_id, _AGENT))
        if agent is None or not agent.desired.value:
            return None
        listed = agent.desired.value.get("modules")
        names = [_AGENT, _HUB, *(ModuleId(name) for name in (listed if isinstance(listed, Mapping) else {}))]
        content: dict[str, Any] = {}
        for name in names:
            twin = tables.twins.find(self._hub, IdentityName(device_id, name))
            if twin is not None and twin.desired.value:
                content[name] = {_DESIRED: twin.desired.value}
        return {"modulesContent": content}

    def _edge(self, actor: Actor, device_id: DeviceId) -> Device:
        device = self._fleet.get(actor, device_id)
        if not device.record.is_edge:
            raise Invalid("edge.required", f"'{device_id}' is no edge device, so it cannot run a manifest")
        return device

    # -- who came later ------------------------------------------------------------------------------------------------

    def _heard(self, event: Event) -> None:
        if event.kind == "identity.created" and event.hub == self._hub and "/" not in event.subject:
            self._came.append(DeviceId(event.subject))
            self._has_come.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._has_come.wait()
            self._has_come.clear()
            while self._came:
                device_id = self._came.popleft()
                try:
                    await self._give(device_id)
                except Unavailable as refusal:
                    # The disk is full, say. It has its turn again behind those that came meanwhile.
                    log.warning("manifest_waits device=%s reason=%s", device_id, refusal.reason)
                    self._came.append(device_id)
                    await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
                except Refusal as refusal:
                    log.warning("manifest_not_given device=%s reason=%s", device_id, refusal.reason)
                except Exception:
                    log.exception("manifest_not_given device=%s", device_id)

    async def _give(self, device_id: DeviceId) -> None:
        record = self._store.read().devices.find(self._hub, device_id)
        if record is None or not record.manifest or not record.is_edge:
            return
        manifest = self._manifests.get(_ITSELF, record.manifest)
        await self._manifests.apply(_ITSELF, device_id, manifest.content)

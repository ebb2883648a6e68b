"""What a new device is told of its properties: the initial values of its template (contract/central.md DTDL-7).

    the hub has a new identity ──► its template has initial values ──► desired, and cloud properties, in the background

A value that is there already stays: whoever made the device, or its enrollment, knew better.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final, Protocol

from moorage.accounts.model import ALL_PERMISSIONS, Actor
from moorage.dtdl.model import Interface, Property
from moorage.errors import PreconditionFailed, Refusal
from moorage.events import Event
from moorage.fleet.model import FleetTables, TemplateId
from moorage.fleet.properties import DeviceProperties, PropertySheet
from moorage.ids import DeviceId, HubId
from moorage.store import Store

__all__ = ["InitialValues"]

log = logging.getLogger("moorage.fleet")

_HUB_ITSELF: Final = Actor("moorage", frozenset(ALL_PERMISSIONS))


class Interfaces(Protocol):
    """The models of templates."""

    def interface_of(self, template_id: TemplateId) -> Interface | None: ...


class InitialValues:
    def __init__(
        self, hub: HubId, store: Store[FleetTables], interfaces: Interfaces, properties: DeviceProperties
    ) -> None:
        self._hub = hub
        self._store = store
        self._interfaces = interfaces
        self._properties = properties
        # New devices whose template has initial values.
        self._new: deque[DeviceId] = deque()
        self._woken = asyncio.Event()

    def told(self, event: Event) -> None:
        """An event of the store. Costs a point read or two for a new identity."""
        if event.kind != "identity.created" or event.hub != self._hub or "/" in event.subject:
            return
        device_id = DeviceId(event.subject)
        record = self._store.read().devices.find(self._hub, device_id)
        if record is None or record.is_simulated or not record.template:
            return
        interface = self._interfaces.interface_of(record.template)
        if interface is not None and any(_initial(part) for _, part in interface.parts()):
            self._new.append(device_id)
            self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._new:
                await self._tell(self._new.popleft())

    async def _tell(self, device_id: DeviceId) -> None:
        try:
            sheet = self._properties.read(_HUB_ITSELF, device_id)
            changes, cloud = _missing(sheet)
            if changes or cloud:
                version = sheet.twin.desired.version
                await self._properties.set(_HUB_ITSELF, device_id, changes, cloud=cloud, if_desired=version)
        except PreconditionFailed:
            # Somebody was quicker; what they left out is still to be told.
            self._new.append(device_id)
        except Refusal as refusal:
            log.warning("initial_values_not_told device=%s reason=%s", device_id, refusal.reason)
        except Exception:
            # A fault with one device is no reason to tell no other.
            log.exception("initial_values_not_told device=%s", device_id)


def _initial(part: Interface) -> list[Property]:
    properties = (*part.properties, *part.cloud_properties)
    return [
        each
        for each in properties
        if each.has_initial_value and each.initial_value is not None and (each.is_writable or each.is_cloud)
    ]


def _missing(sheet: PropertySheet) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """(changes of desired properties, cloud properties) that nobody has set."""
    changes: dict[str, dict[str, Any]] = {}
    cloud: dict[str, Any] = {}
    desired = {state.key for state in sheet.states if state.desired_version is not None}
    for component, part in () if sheet.model.interface is None else sheet.model.interface.parts():
        for each in _initial(part):
            if each.is_cloud:
                if not component and each.name not in sheet.cloud:
                    cloud[each.name] = each.initial_value
            elif (component, each.name) not in desired:
                changes.setdefault(component, {})[each.name] = each.initial_value
    return changes, cloud

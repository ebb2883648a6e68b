"""What a new device is told of its properties: what waited for it, and the initial values of its template
(contract/central.md W-4, DTDL-7).

    the hub has a new identity ──► what was set before it came, then what its template begins with ──► desired, and
    cloud properties, in the background

A device that registered has what waited for it already (`awaited.py`); one that the hub's own API made has not.

A value that is there already stays: whoever made the device, or its enrollment, knew better.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final, Protocol

from moorage.accounts.model import ALL_PERMISSIONS, Actor
from moorage.dtdl.model import Interface, Property
from moorage.errors import PreconditionFailed, Refusal, Unavailable
from moorage.events import Event
from moorage.fleet.model import TemplateId
from moorage.fleet.properties import DeviceProperties, PropertySheet, PropertyTables
from moorage.ids import DeviceId, HubId
from moorage.store import Store

__all__ = ["InitialValues"]

log = logging.getLogger("moorage.fleet")

_PAUSE_AFTER_FAILURE_S: Final = 5.0
_HUB_ITSELF: Final = Actor("moorage", frozenset(ALL_PERMISSIONS))


class Interfaces(Protocol):
    """The models of templates."""

    def interface_of(self, template_id: TemplateId) -> Interface | None: ...


class InitialValues:
    def __init__(
        self,
        hub: HubId,
        store: Store[PropertyTables],
        interfaces: Interfaces,
        properties: DeviceProperties,
        *,
        pause_s: float = _PAUSE_AFTER_FAILURE_S,
    ) -> None:
        self._hub = hub
        self._store = store
        self._interfaces = interfaces
        self._properties = properties
        self._pause_s = pause_s
        # New devices for which something waits, or whose template has initial values.
        self._new: deque[DeviceId] = deque()
        self._woken = asyncio.Event()

    def told(self, event: Event) -> None:
        """An event of the store. Costs a point read or two for a new identity."""
        if event.kind != "identity.created" or event.hub != self._hub or "/" in event.subject:
            return
        device_id = DeviceId(event.subject)
        tables = self._store.read()
        record = tables.devices.find(self._hub, device_id)
        if record is None or record.is_simulated:
            return
        interface = self._interfaces.interface_of(record.template) if record.template else None
        begins_with = interface is not None and any(_initial(part) for _, part in interface.parts())
        if begins_with or tables.awaited.find(self._hub, device_id) is not None:
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
            await self._properties.tell_awaited(device_id)
            sheet = self._properties.read(_HUB_ITSELF, device_id)
            changes, cloud = _missing(sheet)
            if changes or cloud:
                version = sheet.twin.desired.version
                await self._properties.set(_HUB_ITSELF, device_id, changes, cloud=cloud, if_desired=version)
        except PreconditionFailed:
            # Somebody was quicker; what they left out is still to be told.
            self._new.append(device_id)
        except Unavailable as refusal:
            # The disk is full, say. What waits for the device is told when it is not.
            log.warning("initial_values_wait device=%s reason=%s", device_id, refusal.reason)
            self._new.append(device_id)
            await asyncio.sleep(self._pause_s)
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

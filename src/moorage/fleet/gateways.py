"""Gateways: which devices stand below which Edge device (contract/central.md DEV-2, DEV-5, LST-5).

A device is below a gateway when it stands in the gateway's device scope, which the hub judges connections by. So this
keeps nothing of its own: attaching and detaching change the identity.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.errors import Invalid, NotFound
from moorage.fleet.model import DeviceRecord, FleetTables
from moorage.fleet.service import seen_in
from moorage.identities.model import Identity
from moorage.identities.registry import IdentityDraft, find_in, update_in
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = ["MAX_LISTED", "Gateways", "attach_in", "gateway_of"]

audit = logging.getLogger("moorage.audit")

MAX_LISTED: Final = 200


def gateway_of(identity: Identity | None) -> DeviceId | None:
    """The first one that an identity stands below: its scope is `ms-azure-iot-edge://gateway-generation`."""
    scopes = () if identity is None else identity.parent_scopes
    if not scopes:
        return None
    name = scopes[0].partition("://")[2].rpartition("-")[0]
    return DeviceId(name) if name else None


class Gateways:
    """Of one hub. Everything raises `NotFound` (`device.unknown`) for what the actor does not see."""

    def __init__(self, hub: HubId, store: Store[FleetTables], clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock

    async def downstream(self, actor: Actor, device_id: DeviceId, *, after: str = "") -> list[DeviceRecord]:
        """Those below it that the actor sees, in the order of their ids; at most `MAX_LISTED`."""

        def work(tables: FleetTables) -> list[DeviceRecord]:
            seen_in(tables, self._hub, actor, device_id)
            identity = tables.identities.find(self._hub, IdentityName(device_id))
            if identity is None or identity.device_scope is None or not identity.is_edge:
                return []
            found: list[DeviceRecord] = []
            behind = DeviceId(after)
            while len(found) < MAX_LISTED:
                ids = tables.identities.below(self._hub, identity.device_scope, behind, MAX_LISTED)
                records = tables.devices.find_many(self._hub, ids)
                found += [record for record in records if actor.sees(record.organization)]
                if len(ids) < MAX_LISTED:
                    break
                behind = ids[-1]
            return found[:MAX_LISTED]

        return await self._store.scan(work)

    async def attach(self, actor: Actor, device_id: DeviceId, gateway: DeviceId | None) -> None:
        """Put it below `gateway`, or below none.

        Raises `NotFound` (`device.not_found` for a device that never registered) and `Invalid`: `gateway.kind` for one
        that is no Edge device, `device_scope.circle`.
        """
        now = self._clock.now()
        await self._store.write(lambda tables: attach_in(tables, self._hub, actor, device_id, gateway, now))
        facts = {"hub": self._hub, "device": device_id, "gateway": gateway or "(none)", "by": actor.name}
        audit.info(
            "device.attached hub=%s device=%s gateway=%s by=%s",
            *facts.values(),
            extra={"event": "device.attached", "facts": facts},
        )


def attach_in(
    tables: FleetTables, hub: HubId, actor: Actor, device_id: DeviceId, gateway: DeviceId | None, now: datetime
) -> None:
    """As `Gateways.attach`, inside a transaction."""
    seen_in(tables, hub, actor, device_id)
    present = find_in(tables, hub, IdentityName(device_id))
    scopes: tuple[str, ...] = ()
    if gateway is not None:
        seen_in(tables, hub, actor, gateway)
        above = tables.identities.find(hub, IdentityName(gateway))
        if above is None:
            raise NotFound("device.not_found", f"the gateway '{gateway}' has not registered yet, so it has no scope")
        if not above.is_edge or above.device_scope is None:
            raise Invalid("gateway.kind", f"'{gateway}' is no IoT Edge device, so nothing can be attached to it")
        scopes = (above.device_scope,)
    # None as the reason of its status would take away what is there.
    draft = IdentityDraft(IdentityName(device_id), parent_scopes=scopes, status_reason=present.status_reason)
    update_in(tables, hub, draft, now)

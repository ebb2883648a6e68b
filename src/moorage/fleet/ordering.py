"""A list of devices in the order of one of its columns (contract/central.md LST-1).

Pages are told apart by the place of the last device that was shown, never by a number of devices to skip: what comes
or goes meanwhile neither repeats a device nor leaves one out.

Whether a device is connected only the hub knows, and when one was last heard of the store knows some seconds late. So
an order by connection has two parts: devices that are connected now, by their ids, and the others by when they were
last heard of, those that never were at its other end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

from moorage.accounts.model import Actor
from moorage.fleet.model import DeviceFilter, DeviceOrder, FleetTables, Place
from moorage.ids import DeviceId, HubId

__all__ = ["CONNECTED", "Lister", "places_in"]

# The key of a place among the devices that are connected; the keys of the others are numbers.
CONNECTED: Final = "connected"


class Lister(Protocol):
    """What lists devices (`fleet.service.Fleet`)."""

    hub: HubId

    def ids_in(
        self, tables: FleetTables, actor: Actor, wanted: DeviceFilter, limit: int, after: str = ""
    ) -> list[DeviceId]: ...

    def places_of(
        self,
        tables: FleetTables,
        actor: Actor,
        wanted: DeviceFilter,
        order: DeviceOrder,
        limit: int,
        after: Place | None,
    ) -> list[Place]: ...


def places_in(
    fleet: Lister,
    tables: FleetTables,
    actor: Actor,
    wanted: DeviceFilter,
    order: DeviceOrder,
    limit: int,
    after: Place | None,
) -> list[Place]:
    """The devices that the actor sees, behind `after`, at most `limit`; for a thread."""
    if order.column == "connection":
        return _by_connection(fleet, tables, actor, wanted, order, limit, after)
    if order.column == "id" and not order.is_descending:
        found = fleet.ids_in(tables, actor, wanted, limit, "" if after is None else after.device_id)
        return [Place(device_id, device_id) for device_id in found]
    return fleet.places_of(tables, actor, wanted, order, limit, after)


def _by_connection(
    fleet: Lister,
    tables: FleetTables,
    actor: Actor,
    wanted: DeviceFilter,
    order: DeviceOrder,
    limit: int,
    after: Place | None,
) -> list[Place]:
    """Upwards those that were never heard of come first, and the connected ones last."""
    is_among_connected = after is not None and after.key == CONNECTED

    def connected(most: int, behind: str) -> list[Place]:
        if wanted.is_connected is False or most == 0:
            return []
        found = fleet.ids_in(tables, actor, replace(wanted, is_connected=True), most, behind)
        return [Place(CONNECTED, device_id) for device_id in found]

    def others(most: int, behind: Place | None) -> list[Place]:
        if wanted.is_connected is True or most == 0:
            return []
        return fleet.places_of(tables, actor, replace(wanted, is_connected=False), order, most, behind)

    if order.is_descending:
        if after is not None and not is_among_connected:
            return others(limit, after)
        first = connected(limit, "" if after is None else after.device_id)
        return [*first, *others(limit - len(first), None)]
    if after is not None and is_among_connected:
        return connected(limit, after.device_id)
    first = others(limit, after)
    return [*first, *connected(limit - len(first), "")]

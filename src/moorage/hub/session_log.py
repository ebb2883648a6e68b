"""The sessions of each device, raw: when it came, with what, when it went and why (contract/central.md CON-3).

What back ends are told of connections is coalesced; this is not. It is kept in memory since the hub started, the newest
entries of all devices together up to a bound, so that a storm of reconnects costs a few microseconds each and no write.
Before that, the attempts know who came in.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Final, Literal, NamedTuple

from moorage.clock import Clock
from moorage.hub.activity import ActivityTracker
from moorage.hub.sessions import LiveSessions
from moorage.ids import DeviceId, HubId, IdentityName, Thumbprint

__all__ = ["MAX_ENTRIES", "MAX_ENTRIES_OF_DEVICE", "SessionEntry", "SessionLog"]

# About 25 MiB.
MAX_ENTRIES: Final = 100_000
MAX_ENTRIES_OF_DEVICE: Final = 20


class SessionEntry(NamedTuple):
    """`thumbprint` is that of the certificate it came with, None without one; `reason` is '' where the device left."""

    name: IdentityName
    at: datetime
    kind: Literal["connected", "disconnected"]
    thumbprint: Thumbprint | None = None
    reason: str = ""
    message: str = ""


class SessionLog:
    """One hub's. Made before anybody connects; belongs to the event loop."""

    def __init__(self, hub: HubId, activity: ActivityTracker, live: LiveSessions, clock: Clock) -> None:
        self._hub = hub
        self._live = live
        self._clock = clock
        # Lists, as most hold few.
        self._entries: dict[DeviceId, list[SessionEntry]] = {}
        # In the order in which they came, to forget the oldest of all.
        self._order: deque[DeviceId] = deque()
        self._endings: dict[IdentityName, tuple[str, str]] = {}
        activity.listen(self._heard)
        activity.listen_to_endings(self._ending)

    def of_device(self, device_id: DeviceId) -> list[SessionEntry]:
        """Of the device and its modules, the newest first."""
        return self._entries.get(device_id, [])[::-1]

    def _ending(self, name: IdentityName, reason: str, message: str) -> None:
        self._endings[name] = (reason, message)

    def _heard(self, name: IdentityName, is_connected: bool) -> None:
        now = self._clock.now()
        ending = self._endings.pop(name, None)
        if is_connected:
            if ending is not None:
                # Another session stood in its place, so nobody said that it left.
                self._add(SessionEntry(name, now, "disconnected", None, *ending))
            session = self._live.find(self._hub, name)
            thumbprint = None if session is None else session.who.thumbprint
            self._add(SessionEntry(name, now, "connected", thumbprint))
        else:
            self._add(SessionEntry(name, now, "disconnected", None, *(ending or ("", ""))))

    def _add(self, entry: SessionEntry) -> None:
        device_id = entry.name.device_id
        held = self._entries.get(device_id)
        if held is None:
            held = self._entries[device_id] = []
        held.append(entry)
        if len(held) > MAX_ENTRIES_OF_DEVICE:
            # Its place in the order goes with the next that is forgotten there.
            del held[0]
        else:
            self._order.append(device_id)
        if len(self._order) > MAX_ENTRIES:
            self._forget(self._order.popleft())

    def _forget(self, device_id: DeviceId) -> None:
        held = self._entries[device_id]
        del held[0]
        if not held:
            del self._entries[device_id]

"""Who is connected, as the API asks for it."""

from __future__ import annotations

from collections.abc import Collection

from moorage.dialects.hub_json import Presence
from moorage.hub.activity import ActivityTracker
from moorage.hub.sessions import SessionDirectory
from moorage.ids import HubId, IdentityName

__all__ = ["TrackedPresence"]


class TrackedPresence:
    """The activity tracker, with the session directory for counts."""

    def __init__(self, activity: ActivityTracker, directory: SessionDirectory) -> None:
        self._activity = activity
        self._directory = directory

    def of(self, hub: HubId, name: IdentityName) -> Presence:
        known = self._activity.find(name)
        if known is None:
            return Presence()
        return Presence(bool(known.connected), known.updated, known.last_activity)

    def count(self, hub: HubId) -> int:
        return self._directory.count(hub)

    def is_connected(self, hub: HubId, name: IdentityName) -> bool:
        return self._directory.is_connected(hub, name)

    def connected(self, hub: HubId) -> Collection[IdentityName]:
        return self._directory.connected(hub)

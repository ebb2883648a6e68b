"""A hub to which nothing is connected."""

from __future__ import annotations

from collections.abc import Collection

from moorage.dialects.hub_json import Presence
from moorage.ids import HubId, IdentityName

__all__ = ["NobodyConnected"]


class NobodyConnected:
    """Port: `dialects.query_rows.PresenceSource`."""

    def of(self, hub: HubId, name: IdentityName) -> Presence:
        return Presence()

    def connected(self, hub: HubId) -> Collection[IdentityName]:
        return ()

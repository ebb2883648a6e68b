"""When each identity was last heard of: held in memory, written coalesced, overlaid on what is read (decisions S5).

Connecting costs no commit. What changed since the last `flush` is written in one transaction; after a crash a
connection state may be some seconds old, and every identity starts as disconnected.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from moorage.clock import Clock
from moorage.hub.sessions import SessionDirectory
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = ["Activity", "ActivityState", "ActivityTable", "ActivityTables"]


@dataclass(frozen=True, slots=True)
class ActivityState:
    """`connection_updated` is when it last connected or disconnected; `last_activity` when it last did either."""

    connected: bool
    connection_updated: datetime | None = None
    last_activity: datetime | None = None


class ActivityTable(Protocol):
    def find(self, hub: HubId, name: IdentityName) -> ActivityState | None: ...

    def put_many(self, hub: HubId, states: list[tuple[IdentityName, ActivityState]]) -> None:
        """Write them all; names that are not registered any more are passed over."""


class ActivityTables(Protocol):
    @property
    def activity(self) -> ActivityTable: ...


class Activity:
    """One hub's connection states."""

    def __init__(self, hub: HubId, store: Store[ActivityTables], directory: SessionDirectory, clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._directory = directory
        self._clock = clock
        self._changed: dict[IdentityName, ActivityState] = {}

    def connected(self, name: IdentityName) -> None:
        now = self._clock.now()
        self._changed[name] = ActivityState(True, now, now)

    def disconnected(self, name: IdentityName) -> None:
        """Call it after the session let go of the identity; one that was taken over is still connected."""
        if not self._directory.is_connected(self._hub, name):
            now = self._clock.now()
            self._changed[name] = ActivityState(False, now, now)

    def state(self, name: IdentityName) -> ActivityState:
        """What is known now."""
        found = self._changed.get(name) or self._store.read().activity.find(self._hub, name) or ActivityState(False)
        connected = self._directory.is_connected(self._hub, name)
        if found.connected == connected:
            return found
        return ActivityState(connected, found.connection_updated, found.last_activity)

    async def flush(self) -> None:
        """Write what changed since the last time; no commit when nothing did."""
        changed, self._changed = self._changed, {}
        if changed:
            states = list(changed.items())
            await self._store.write(lambda tables: tables.activity.put_many(self._hub, states))

"""When each identity was last heard of: held in memory, written coalesced, overlaid on what is read (decisions S5).

Connecting costs no commit, and neither does what a device sends: while it is connected, its session knows when that
was. What changed since the last `flush` is written in one transaction; after a crash a connection state may be some
seconds old, and every identity starts as disconnected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from moorage.clock import Clock
from moorage.hub.model import Activity, HubTables
from moorage.hub.sessions import LiveSession, LiveSessions, SessionDirectory
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = ["ActivityTracker"]


class ActivityTracker:
    """One hub's connection states. `find` may be called from any thread."""

    def __init__(
        self, hub: HubId, store: Store[HubTables], directory: SessionDirectory, live: LiveSessions, clock: Clock
    ) -> None:
        self._hub = hub
        self._store = store
        self._directory = directory
        self._live = live
        self._clock = clock
        self._changed: dict[IdentityName, Activity] = {}
        self._listeners: tuple[Callable[[IdentityName, bool], None], ...] = ()
        self._ending_listeners: tuple[Callable[[IdentityName, str, str], None], ...] = ()

    def listen(self, listener: Callable[[IdentityName, bool], None]) -> Callable[[], None]:
        """Call `listener` with who came (True) or went, on this loop; it must not raise. What is returned ends that."""
        self._listeners = (*self._listeners, listener)

        def end() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    def listen_to_endings(self, listener: Callable[[IdentityName, str, str], None]) -> None:
        """Call `listener` with (name, reason, message) when the hub ends a session; on this loop, it must not raise."""
        self._ending_listeners = (*self._ending_listeners, listener)

    def ending(self, name: IdentityName, reason: str, message: str) -> None:
        """The hub ends a session of `name`; that it is gone is told by `disconnected`, or by who takes its place."""
        for listener in self._ending_listeners:
            listener(name, reason, message)

    def connected(self, name: IdentityName) -> None:
        now = self._clock.now()
        self._changed[name] = Activity(self._hub, name, connected=True, last_activity=now, updated=now)
        for listener in self._listeners:
            listener(name, True)

    def heard(self, name: IdentityName) -> None:
        """Something came from `name` by a way on which nobody is connected."""
        now = self._clock.now()
        known = self._changed.get(name) or self._store.read().activity.find(self._hub, name)
        before = known or Activity(self._hub, name, connected=False, updated=now)
        self._changed[name] = replace(before, last_activity=now)

    def disconnected(self, name: IdentityName) -> None:
        """Call it after the session let go of the identity; one that was taken over is still connected."""
        if not self._directory.is_connected(self._hub, name):
            now = self._clock.now()
            self._changed[name] = Activity(self._hub, name, connected=False, last_activity=now, updated=now)
            for listener in self._listeners:
                listener(name, False)

    def find(self, name: IdentityName) -> Activity | None:
        """What is known now; None when it was never connected."""
        found = self._changed.get(name) or self._store.read().activity.find(self._hub, name)
        if found is None:
            return None
        session = self._live.find(self._hub, name)
        return replace(
            found,
            connected=self._directory.is_connected(self._hub, name),
            last_activity=found.last_activity if session is None else self._last_heard(session),
        )

    async def flush(self) -> None:
        """Write what changed since the last time; no commit when nothing did."""
        if not self._changed:
            return
        states = list(self._changed.values())
        await self._store.write(lambda tables: tables.activity.put_many(states))
        for state in states:
            if self._changed.get(state.name) is state:
                del self._changed[state.name]

    def _last_heard(self, session: LiveSession) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - session.last_received)

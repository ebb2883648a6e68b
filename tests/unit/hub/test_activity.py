"""When an identity was last heard of, on a real store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.hub.activity import ActivityTracker
from moorage.hub.sessions import Line, LiveSessions, LocalSessionDirectory
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

PUMP = IdentityName(DeviceId("pump-01"))


@dataclass(eq=False)
class Session:
    who: AuthenticatedIdentity
    epoch: int
    last_received: float

    @property
    def name(self) -> IdentityName:
        return self.who.identity.name

    def end(self, reason: str, message: str) -> None: ...

    def desired_changed(self, patch: dict[str, Any], version: int) -> None: ...

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        return False

    def messages_waiting(self) -> None: ...

    def line(self) -> Line:
        return Line("MQTT 3.1.1", "TLSv1.3", "192.0.2.9:50000", None)


class Bench:
    def __init__(self, store: SqliteStore, bus: LocalBus) -> None:
        self.store = store
        self.clock = HandClock()
        self.live = LiveSessions()
        self.directory = LocalSessionDirectory(bus)
        self.tracker = self.started_again()

    def started_again(self) -> ActivityTracker:
        return ActivityTracker(DEFAULT_HUB, self.store, self.directory, self.live, self.clock)

    async def connect(self) -> Session:
        identity = await IdentityRegistry(self.store).create(DEFAULT_HUB, IdentityDraft(PUMP), self.clock.now())
        epoch = self.directory.claim(DEFAULT_HUB, PUMP, "app")
        who = AuthenticatedIdentity(identity, AuthMethod("device", "sas", "iothub"), None)
        session = Session(who, epoch, self.clock.monotonic())
        self.live.add(session)
        self.tracker.connected(PUMP)
        return session

    def disconnect(self, session: Session) -> None:
        self.live.remove(session)
        self.directory.release(DEFAULT_HUB, PUMP, session.epoch)
        self.tracker.disconnected(PUMP)


@pytest.fixture
async def bench(store: SqliteStore, bus: LocalBus) -> Bench:
    return Bench(store, bus)


async def test_nothing_is_known_of_a_device_that_never_connected(bench: Bench) -> None:
    assert bench.tracker.find(PUMP) is None


async def test_the_last_activity_of_a_connected_device_is_when_it_last_sent_something(bench: Bench) -> None:
    began = bench.clock.now()
    session = await bench.connect()
    bench.clock.advance(40)
    session.last_received = bench.clock.monotonic()
    bench.clock.advance(5)
    known = bench.tracker.find(PUMP)
    assert known is not None
    assert (known.connected, known.updated, known.last_activity) == (True, began, began + timedelta(seconds=40))


async def test_what_was_flushed_outlives_the_hub_and_everybody_is_disconnected_after(bench: Bench) -> None:
    session = await bench.connect()
    bench.clock.advance(40)
    bench.disconnect(session)
    before = bench.store.commits
    await bench.tracker.flush()
    await bench.tracker.flush()
    assert bench.store.commits == before + 1
    known = bench.started_again().find(PUMP)
    assert known is not None
    assert (known.connected, known.last_activity) == (False, bench.clock.now())


async def test_a_session_that_was_taken_over_does_not_disconnect_its_device(bench: Bench) -> None:
    session = await bench.connect()
    bench.directory.claim(DEFAULT_HUB, PUMP, "app")
    bench.disconnect(session)
    known = bench.tracker.find(PUMP)
    assert known is not None and known.connected

"""The raw log of sessions: who came, who went and why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.hub import session_log
from moorage.hub.activity import ActivityTracker
from moorage.hub.session_log import MAX_ENTRIES_OF_DEVICE, SessionLog
from moorage.hub.sessions import LiveSessions, LocalSessionDirectory
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

PUMP = IdentityName(DeviceId("pump-01"))
VALVE = IdentityName(DeviceId("valve-1"))


@pytest.fixture
def activity(store: SqliteStore, bus: LocalBus) -> ActivityTracker:
    clock = HandClock(datetime(2030, 1, 1, tzinfo=UTC))
    return ActivityTracker(DEFAULT_HUB, store, LocalSessionDirectory(bus), LiveSessions(), clock)


@pytest.fixture
def log(activity: ActivityTracker) -> SessionLog:
    return SessionLog(DEFAULT_HUB, activity, LiveSessions(), HandClock(datetime(2030, 1, 1, tzinfo=UTC)))


def told(log: SessionLog, name: IdentityName = PUMP) -> list[tuple[str, str]]:
    return [(entry.kind, entry.reason) for entry in log.of_device(name.device_id)]


async def test_a_session_that_the_hub_ends_says_why_and_one_that_the_device_ends_does_not(
    activity: ActivityTracker, log: SessionLog
) -> None:
    activity.connected(PUMP)
    activity.disconnected(PUMP)
    activity.connected(PUMP)
    activity.ending(PUMP, "identity.disabled", "the identity is disabled")
    activity.disconnected(PUMP)
    assert told(log) == [
        ("disconnected", "identity.disabled"),
        ("connected", ""),
        ("disconnected", ""),
        ("connected", ""),
    ]
    assert told(log, VALVE) == []


async def test_a_session_that_was_taken_over_ends_before_the_next_begins(
    activity: ActivityTracker, log: SessionLog
) -> None:
    activity.connected(PUMP)
    activity.ending(PUMP, "session.taken_over", "it connected again")
    activity.connected(PUMP)
    assert told(log) == [("connected", ""), ("disconnected", "session.taken_over"), ("connected", "")]


async def test_the_newest_are_kept_of_each_and_of_all(
    activity: ActivityTracker, log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_log, "MAX_ENTRIES", 30)
    for _ in range(30):
        activity.connected(PUMP)
    assert len(told(log)) == MAX_ENTRIES_OF_DEVICE
    for _ in range(15):
        activity.connected(VALVE)
    assert (len(told(log)), len(told(log, VALVE))) == (15, 15)
    for _ in range(10):
        activity.connected(IdentityName(DeviceId("other")))
        activity.connected(IdentityName(DeviceId("another")))
    assert told(log) == []

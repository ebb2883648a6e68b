"""Who is connected: epochs, take-over, and finding sessions by everything that can end them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.bus import LocalBus
from moorage.events import Event
from moorage.hub.sessions import Line, LiveSessions, LocalSessionDirectory
from moorage.hub.watch import parse_subject
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod
from moorage.identities.model import ByAuthority, Identity
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName, ModuleId, Thumbprint
from tests import certs

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OTHER_HUB = HubId("other")


def named(text: str) -> IdentityName:
    return parse_subject(text)


@dataclass(eq=False)
class Session:
    who: AuthenticatedIdentity
    epoch: int
    ended: list[str] = field(default_factory=list)
    last_received: float = 0.0

    @property
    def name(self) -> IdentityName:
        return self.who.identity.name

    def end(self, reason: str, message: str) -> None:
        self.ended.append(reason)

    def desired_changed(self, patch: dict[str, Any], version: int) -> None: ...

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        return False

    def messages_waiting(self) -> None: ...

    def line(self) -> Line:
        return Line("MQTT 3.1.1", "TLSv1.3", "192.0.2.9:50000", None)


def session(name: str = "pump-01", epoch: int = 1, *, hub: HubId = DEFAULT_HUB, **who: Any) -> Session:
    identity = Identity(hub, named(name), "1", 1, ByAuthority(), NOW)
    method = AuthMethod("device", "x509Certificate", "external")
    return Session(AuthenticatedIdentity(identity, method, who.pop("expires", None), **who), epoch)


# --- the directory ---------------------------------------------------------------------------------------------------


def test_a_claim_makes_the_earlier_holder_stale() -> None:
    directory = LocalSessionDirectory(LocalBus())
    first = directory.claim(DEFAULT_HUB, named("a"), "app")
    second = directory.claim(DEFAULT_HUB, named("a"), "app")
    assert not directory.is_current(DEFAULT_HUB, named("a"), first)
    assert directory.is_current(DEFAULT_HUB, named("a"), second)
    directory.release(DEFAULT_HUB, named("a"), first)
    assert directory.is_connected(DEFAULT_HUB, named("a"))
    directory.release(DEFAULT_HUB, named("a"), second)
    assert not directory.is_connected(DEFAULT_HUB, named("a"))
    assert not directory.is_current(DEFAULT_HUB, named("a"), second)


async def test_only_another_app_is_told_of_a_claim(bus: LocalBus, events: list[Event]) -> None:
    directory = LocalSessionDirectory(bus)
    directory.claim(DEFAULT_HUB, named("a/m"), "here")
    directory.claim(DEFAULT_HUB, named("a/m"), "here")
    await asyncio.sleep(0)
    assert events == []
    epoch = directory.claim(DEFAULT_HUB, named("a/m"), "there")
    await asyncio.sleep(0)
    assert events == [Event("session.claimed", DEFAULT_HUB, "a/m", {"epoch": epoch})]


@given(
    st.lists(
        st.tuples(st.sampled_from(["claim", "release"]), st.sampled_from(["a", "b", "a/m"]), st.integers(0, 3)),
        max_size=40,
    )
)
def test_devices_are_counted_as_they_are_connected(steps: list[tuple[str, str, int]]) -> None:
    directory = LocalSessionDirectory(LocalBus())
    epochs: dict[str, list[int]] = {}
    holders: dict[str, int] = {}
    for step, name, back in steps:
        if step == "claim":
            holders[name] = directory.claim(DEFAULT_HUB, named(name), f"app {back % 2}")
            epochs.setdefault(name, []).append(holders[name])
        elif name in epochs:
            epoch = epochs[name][-1 - back % len(epochs[name])]
            directory.release(DEFAULT_HUB, named(name), epoch)
            if holders.get(name) == epoch:
                del holders[name]
        assert directory.count(DEFAULT_HUB) == len({each for each in holders if "/" not in each})
        assert directory.count(OTHER_HUB) == 0


# --- one app's sessions ----------------------------------------------------------------------------------------------

PLANT = certs.root("Plant")
LINE = certs.intermediate(PLANT, "Line")
CERTIFICATE: dict[str, Any] = {
    "thumbprint": Thumbprint("A" * 64),
    "serial": 7,
    "issuers": (LINE.certificate, PLANT.certificate),
    "signers": (Thumbprint("B" * 64), Thumbprint("C" * 64)),
    "binding": "hub",
}


def found_by(live: LiveSessions) -> list[tuple[Any, ...]]:
    return [
        live.of_thumbprint(Thumbprint("A" * 64)),
        live.of_serial(LINE.certificate.subject_key, 7),
        live.of_serial(PLANT.certificate.subject_key, LINE.certificate.serial_number),
        live.of_signer(Thumbprint("B" * 64)),
        live.of_signer(Thumbprint("C" * 64)),
        live.of_binding(DEFAULT_HUB, "hub"),
    ]


def test_a_session_is_found_by_all_that_its_certificate_hangs_on_and_by_nothing_after() -> None:
    live = LiveSessions()
    one = session(**CERTIFICATE)
    live.add(one)
    assert found_by(live) == [(one,)] * 6
    live.remove(one)
    live.remove(one)
    assert live.serials() == []
    assert found_by(live) == [()] * 6
    assert len(live) == 0


def test_many_sessions_may_hang_on_one_signer() -> None:
    live = LiveSessions()
    sessions = [session(f"pump-{number}", number, **CERTIFICATE) for number in range(5)]
    for each in sessions:
        live.add(each)
    assert set(live.of_signer(Thumbprint("C" * 64))) == set(sessions)
    for count, each in enumerate(sessions, 1):
        live.remove(each)
        assert set(live.of_signer(Thumbprint("C" * 64))) == set(sessions[count:])


def test_the_second_session_of_an_identity_takes_the_place_of_the_first_everywhere() -> None:
    live = LiveSessions()
    first, second = session(epoch=1, **CERTIFICATE), session(epoch=2)
    assert live.add(first) is None
    assert live.add(second) is first
    assert found_by(live) == [()] * 6
    live.remove(first)
    assert live.find(DEFAULT_HUB, named("pump-01")) is second


def test_a_device_is_found_with_its_modules_and_nobody_elses() -> None:
    live = LiveSessions()
    sessions = {name: session(name, number) for number, name in enumerate(["a", "a/m", "a/n", "ab", "ab/m", "b/a"])}
    for each in sessions.values():
        live.add(each)
    live.add(session("a/m", 99, hub=OTHER_HUB))
    assert set(live.of_device(DEFAULT_HUB, "a")) == {sessions["a"], sessions["a/m"], sessions["a/n"]}
    live.remove(sessions["a"])
    live.remove(sessions["a/m"])
    assert live.of_device(DEFAULT_HUB, "a") == [sessions["a/n"]]
    assert live.of_device(DEFAULT_HUB, "c") == []


def test_sessions_end_when_their_credentials_do_and_each_is_named_once() -> None:
    live = LiveSessions()
    ends = {name: NOW + timedelta(minutes=minutes) for name, minutes in (("a", 1), ("b", 2), ("c", 3))}
    for number, (name, expires) in enumerate(ends.items()):
        live.add(session(name, number, expires=expires))
    live.add(session("for-ever", 9))
    assert live.expired(NOW) == []
    assert [each.name.device_id for each in live.expired(NOW + timedelta(minutes=2))] == ["a", "b"]
    assert live.expired(NOW + timedelta(minutes=2)) == []
    assert [each.name.device_id for each in live.expired(NOW + timedelta(hours=1))] == ["c"]


def test_what_a_session_before_would_have_ended_with_does_not_end_the_next() -> None:
    live = LiveSessions()
    live.add(session(epoch=1, expires=NOW + timedelta(minutes=1)))
    live.add(session(epoch=2, expires=NOW + timedelta(hours=9)))
    assert live.expired(NOW + timedelta(hours=1)) == []


def test_a_device_that_reconnects_all_day_does_not_fill_the_memory() -> None:
    live = LiveSessions()
    for epoch in range(5000):
        live.add(session(epoch=epoch, expires=NOW + timedelta(hours=1)))
        if epoch % 100 == 0:
            live.expired(NOW)
    live.expired(NOW)
    assert len(live._expiries) <= 66


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 2)), max_size=60))
def test_indexes_agree_with_a_plain_list(steps: list[tuple[bool, int, int]]) -> None:
    live = LiveSessions()
    standing: dict[IdentityName, Session] = {}
    for epoch, (adds, device, signer) in enumerate(steps):
        name = f"d{device}" if device % 2 else f"d{device}/m"
        if adds:
            one = session(name, epoch, signers=(Thumbprint(str(signer) * 64),), binding=f"b{signer}")
            assert live.add(one) is standing.get(one.name)
            standing[one.name] = one
        elif gone := standing.pop(named(name), None):
            live.remove(gone)
        for number in range(3):
            expected = {each for each in standing.values() if each.who.binding == f"b{number}"}
            assert set(live.of_binding(DEFAULT_HUB, f"b{number}")) == expected
            assert set(live.of_signer(Thumbprint(str(number) * 64))) == expected
        assert set(live) == set(standing.values())


@pytest.mark.parametrize("text", ["pump-01", "pump-01/vision", "it's!/$edgeAgent"])
def test_the_subject_of_an_event_names_an_identity(text: str) -> None:
    device, _, module = text.partition("/")
    assert parse_subject(text) == IdentityName(DeviceId(device), ModuleId(module) if module else None)
    assert str(parse_subject(text)) == text

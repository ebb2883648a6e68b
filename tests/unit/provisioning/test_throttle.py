"""How often devices may ask: together when they register, each by itself when it polls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moorage.clock import HandClock
from moorage.dialects.dps_exchange import Caller
from moorage.errors import Exhausted
from moorage.ids import RegistrationId
from moorage.provisioning.attestation import Claim
from moorage.provisioning.throttle import DeviceRates, DeviceThrottle
from tests.certs import self_signed

from .world import NOTHING, SCOPE, World, shows

PUMP = RegistrationId("pump-01")


def passes(ask: Callable[[], None]) -> bool:
    try:
        ask()
    except Exhausted as refusal:
        assert refusal.reason == "throttle.exceeded" and refusal.retry_after_s >= 1
        return False
    return True


def test_a_burst_passes_and_then_as_many_as_are_due() -> None:
    clock = HandClock()
    throttle = DeviceThrottle(DeviceRates(6, 0), clock)
    assert [passes(throttle.register) for _ in range(7)] == [True] * 6 + [False]
    clock.advance(9.9)
    with pytest.raises(Exhausted) as refused:
        throttle.register()
    assert refused.value.retry_after_s == 1
    clock.advance(0.2)
    assert [passes(throttle.register) for _ in range(2)] == [True, False]
    clock.advance(100_000)
    assert [passes(throttle.register) for _ in range(7)] == [True] * 6 + [False]
    assert all(passes(lambda: throttle.poll(PUMP)) for _ in range(1000))


def test_one_device_that_polls_in_a_loop_holds_up_itself_alone() -> None:
    throttle = DeviceThrottle(DeviceRates(0, 3), HandClock())
    assert [passes(lambda: throttle.poll(PUMP)) for _ in range(4)] == [True] * 3 + [False]
    assert not passes(lambda: throttle.poll(RegistrationId("PUMP-01")))
    assert passes(lambda: throttle.poll(RegistrationId("pump-02")))
    assert all(passes(throttle.register) for _ in range(1000))


def test_only_so_many_devices_are_remembered() -> None:
    throttle = DeviceThrottle(DeviceRates(0, 1), HandClock(), max_devices=2)
    names = [RegistrationId(f"pump-{number}") for number in range(3)]
    for name in names:
        throttle.poll(name)
    for name in (names[2], names[1]):
        with pytest.raises(Exhausted):
            throttle.poll(name)
    # The one that asked the longest ago was forgotten, and begins anew.
    throttle.poll(names[0])


async def test_a_device_is_told_how_long_to_wait_and_a_stranger_uses_up_nothing() -> None:
    world = World(rates=DeviceRates(2, 2))
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    stranger = Caller(SCOPE, "pump-01", NOTHING, "dps.https")
    for _ in range(5):
        assert (await world.exchange.register(stranger, b"")).status == 401
    caller = Caller(SCOPE, "pump-01", shows(leaf), "dps.https")
    replies = [await world.exchange.register(caller, b"") for _ in range(3)]
    assert [reply.status for reply in replies] == [202, 202, 429]
    assert replies[-1].body["errorCode"] == 429001
    assert replies[-1].retry_after_s == 30
    assert world.attempts.reasons()[-1] == "throttle.exceeded"
    operation = replies[0].body["operationId"]
    polls = [await world.exchange.poll(caller, operation) for _ in range(3)]
    assert [reply.status for reply in polls][2:] == [429]
    world.clock.advance(30)
    assert (await world.registrations.poll(Claim(SCOPE, PUMP), operation, shows(leaf))).registration is not None
    await world.close()

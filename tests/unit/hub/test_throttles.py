"""How often back ends may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Exhausted
from moorage.hub.throttles import Rate, Throttles
from moorage.ids import DEFAULT_HUB, HubId
from tests.api.hub.world import ApiWorld, open_world


def passes(throttles: Throttles, group: Any, now: float, hub: HubId = DEFAULT_HUB) -> bool:
    try:
        throttles.take(hub, group, now)
    except Exhausted as refusal:
        assert refusal.reason == "throttle.exceeded" and refusal.retry_after_s >= 1
        return False
    return True


def test_a_burst_passes_and_then_one_each_time_that_is_due() -> None:
    throttles = Throttles({"registry": Rate(6, 60)})
    assert [passes(throttles, "registry", 100.0) for _ in range(7)] == [True] * 6 + [False]
    assert not passes(throttles, "registry", 109.9)
    assert passes(throttles, "registry", 110.1)
    assert not passes(throttles, "registry", 110.2)
    with pytest.raises(Exhausted) as refused:
        throttles.take(DEFAULT_HUB, "registry", 110.2)
    assert refused.value.retry_after_s == 10
    # No more than a burst is saved up.
    assert [passes(throttles, "registry", 10_000.0) for _ in range(7)] == [True] * 6 + [False]


def test_groups_and_hubs_are_counted_apart_and_what_has_no_rate_is_not() -> None:
    throttles = Throttles({"queries": Rate(1, 1), "methods": Rate(0, 1)})
    assert passes(throttles, "queries", 0.0)
    assert not passes(throttles, "queries", 0.0)
    assert passes(throttles, "queries", 0.0, HubId("other"))
    assert all(passes(throttles, group, 0.0) for group in ("methods", "registry") for _ in range(1000))


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.integers(1, 20))
def test_never_more_pass_than_the_rate_and_one_burst(gaps: list[float], count: int) -> None:
    throttles, now, passed = Throttles({"jobs": Rate(count, 10)}), 0.0, 0
    for gap in gaps:
        now += gap
        passed += passes(throttles, "jobs", now)
    assert passed <= count + now * count / 10 + 1e-6


async def test_who_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    rates = Throttles({"registry": Rate(2, 60), "twin_reads": Rate(1, 1), "twin_updates": Rate(1, 1)})
    async with open_world(tmp_path, throttles=rates) as world:
        await _ask(world)


async def _ask(world: ApiWorld) -> None:
    await world.device("pump")
    assert (await world.ask("GET", "/devices")).status_code == 200
    refused = await world.ask("GET", "/devices/pump")
    assert (refused.status_code, refused.headers["iothub-errorcode"]) == (429, "ThrottlingBacklogTimeout")
    assert refused.json()["Message"].startswith("ErrorCode:ThrottlingBacklogTimeout;")
    assert refused.headers["retry-after"] == "30"
    # Twins are counted apart, reads and writes of them too, and say no in the same words.
    assert (await world.ask("GET", "/twins/pump")).status_code == 200
    assert (await world.ask("PATCH", "/twins/pump", {"tags": {"a": 1}})).status_code == 200
    refused = await world.ask("GET", "/twins/pump")
    assert refused.json()["Message"].startswith("ErrorCode:ThrottlingBacklogTimeout;")
    # A stranger takes nothing from those who may ask, and the owner is not limited.
    assert (await world.ask("GET", "/devices", policy=None)).status_code == 401
    assert (await world.ask("GET", "/devices", policy="owner")).status_code == 200
    world.clock.advance(30)
    assert (await world.ask("GET", "/devices/pump")).status_code == 200

"""Streams end with the credential that they were asked for with, and whoever goes on from there misses nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest

from moorage.api import connections
from moorage.dialects.mqtt_hub import events_prefix
from moorage.identities.owner import OwnerKey
from tests.servers.world import World, named

TELEMETRY = "/moorage/v1/telemetry/stream"
CONNECTIONS = "/moorage/v1/connection-events"


class Told(NamedTuple):
    name: str
    data: Any
    at: str


@asynccontextmanager
async def following(
    world: World, path: str, query: Mapping[str, str], *, at: str = "", lives_s: int = 2
) -> AsyncIterator[AsyncIterator[Told]]:
    key = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
    bearer = key.mint("api", timedelta(seconds=lives_s), world.clock.now()).reveal()
    headers = {"authorization": f"Bearer {bearer}", **({"last-event-id": at} if at else {})}
    request = world.http.stream("GET", path, params=query, headers=headers, timeout=httpx.Timeout(60))
    async with request as response:
        assert response.status_code == 200, await response.aread()
        yield told(response.aiter_lines())


async def told(lines: AsyncIterator[str]) -> AsyncIterator[Told]:
    fields: dict[str, str] = {}
    async for line in lines:
        name, colon, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif not line and "data" in fields:
            yield Told(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
        if not line:
            fields = {}


def body_of(event: Told) -> Any:
    return json.loads(base64.b64decode(event.data["bodyBase64"]))


async def sent(world: World, *bodies: str) -> None:
    device = await world.connect()
    for body in bodies:
        device.publish(events_prefix(named("pump-01")), json.dumps(body).encode())
    await device.acks(len(bodies))


async def ending(events: AsyncIterator[Told]) -> Told:
    """The next event, which is the last."""
    last = await anext(events)
    assert (last.name, last.data["reason"]) == ("ended", "stream.expired")
    assert [event async for event in events] == []
    return last


@pytest.mark.parametrize("start", ["now", "start"])
async def test_telemetry_that_is_quiet_ends_with_its_bearer_and_resumes(world: World, start: str) -> None:
    await world.create("pump-01")
    async with following(world, TELEMETRY, {"from": start}) as events:
        world.clock.advance(3)
        last = await ending(events)
    await sent(world, "between")
    async with following(world, TELEMETRY, {"from": start}, at=last.at) as events:
        assert body_of(await anext(events)) == "between"


async def test_telemetry_after_the_bearer_has_expired_is_for_the_next(world: World) -> None:
    await world.create("pump-01")
    async with following(world, TELEMETRY, {}, lives_s=600) as events:
        await sent(world, "before")
        assert body_of(await anext(events)) == "before"
        world.clock.advance(601)
        await sent(world, "after")
        last = await ending(events)
    async with following(world, TELEMETRY, {}, at=last.at) as events:
        assert body_of(await anext(events)) == "after"


async def test_who_comes_and_goes_after_the_bearer_has_expired_is_for_the_next(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    async with following(world, CONNECTIONS, {}) as events:
        assert (await anext(events)).name == "following"
        world.clock.advance(3)
        last = await ending(events)
    await world.connect("pump-01")
    # What was noted is for one that asks for the same, and once.
    for query, names in (
        ({"device": "pump-02"}, ["pump-02"]),
        ({}, ["pump-01", "pump-02", "pump-02", "pump-02"]),
        ({}, ["pump-02"]),
    ):
        async with following(world, CONNECTIONS, query, at=last.at, lives_s=600) as events:
            assert (await anext(events)).name == "following"
            client = await world.connect("pump-02")
            assert [(await anext(events)).data["deviceId"] for _ in names] == names
            client.close()
            assert (await anext(events)).name == "disconnected"


async def test_followers_whose_bearer_expired_leave_a_bounded_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_FOLLOWERS", 2)
    listening = len(world.app.activity._listeners)
    for _ in range(4):
        async with following(world, CONNECTIONS, {}, lives_s=1) as events:
            assert (await anext(events)).name == "following"
            world.clock.advance(2)
            await ending(events)
    assert len(world.app.activity._listeners) == listening + 2

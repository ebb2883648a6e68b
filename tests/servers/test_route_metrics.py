"""What `/metrics` and the API say of endpoints and routes while messages go through them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.callees import Received, callee
from tests.servers.test_message_routes import JSON, get, put, routing, send
from tests.servers.world import World, eventually


async def figures(world: World) -> dict[tuple[str, str, str], float]:
    """By name, endpoint and route, of what belongs to routing."""
    response = await world.http.get("/metrics")
    assert response.status_code == 200, response.text
    return {
        (sample.name.removeprefix("moorage_"), sample.labels["endpoint"], sample.labels.get("route", "")): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if "endpoint" in sample.labels
    }


async def test_each_endpoint_and_each_of_its_routes_has_its_figures(tmp_path: Path) -> None:
    mood = {"status": 204}

    async def respond(received: Received, writer: Any) -> None:
        status = 400 if b"bad" in received.body else mood["status"]
        writer.write(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode())

    async with (
        callee(respond, tls=False, names=["127.0.0.1"]) as hook,
        routing(tmp_path / "hub") as world,
    ):
        await world.create("pump-01")
        await put(world, "endpoints/hook", {"kind": "webhook", "address": hook.url})
        await put(world, "endpoints/idle", {"kind": "webhook", "address": hook.url})
        await put(world, "routes/hot", {"endpoints": ["hook"], "condition": "level = 'hot'"})
        await put(world, "routes/all", {"endpoints": ["hook"], "condition": "NOT IS_DEFINED(aside)"})
        await put(world, "fallback-route", {"endpoints": ["hook"]})
        client = await world.connect()
        await send(client, 1, 2, bag=JSON + "&level=hot")
        await send(client, 3)
        await send(client, 4, bag=JSON + "&aside=yes")
        await send(client, 5, bag=JSON + "&level=bad")
        await eventually(lambda: world.app._router.health("hook").buried == 1)
        found = await figures(world)
        assert found["endpoint_delivered_messages_total", "hook", ""] == 4
        assert found["endpoint_buried_messages_total", "hook", ""] == 1
        assert found["endpoint_dead_letters", "hook", ""] == 1
        assert found["endpoint_delivery_failures_total", "hook", ""] >= 1
        assert found["endpoint_failing", "hook", ""] == 0
        await eventually(lambda: world.app._router.health("hook").by_route.total() == 7)
        found = await figures(world)
        by_route = {route: value for (name, _, route), value in found.items() if name == "routed_messages_total"}
        assert by_route == {"hot": 2, "all": 4, "$fallback": 1}
        assert found["endpoint_waiting_messages", "hook", ""] == 0
        assert found["endpoint_delivered_messages_total", "idle", ""] == 0
        assert found["endpoint_backlog_bytes", "idle", ""] == 0

        mood["status"] = 503
        await send(client, 6, 7)
        await eventually(lambda: world.app._router.health("hook").failed_since)
        found = await figures(world)
        assert found["endpoint_failing", "hook", ""] == 1
        assert found["endpoint_waiting_messages", "hook", ""] >= 1
        assert found["endpoint_backlog_bytes", "hook", ""] > 0
        health = (await get(world, "endpoints/hook"))["health"]
        assert health["byRoute"] == {"$fallback": 1, "all": 4, "hot": 2}
        assert (health["delivered"], health["buried"], health["deadLetters"]) == (4, 1, 1)
        assert health["waiting"] >= 1
        assert health["backlogBytes"] > 0
        assert health["failures"] >= 2


def routed(world: World, route: str) -> int:
    return world.app._router.health("hook").by_route[route]


async def test_what_is_not_configured_any_more_has_no_figures(tmp_path: Path) -> None:
    async def respond(_received: Received, writer: Any) -> None:
        writer.write(b"HTTP/1.1 204 Whatever\r\nContent-Length: 0\r\n\r\n")

    async with (
        callee(respond, tls=False, names=["127.0.0.1"]) as hook,
        routing(tmp_path / "hub") as world,
    ):
        await world.create("pump-01")
        await put(world, "endpoints/hook", {"kind": "webhook", "address": hook.url})
        client = await world.connect()
        for number in range(5):
            await put(world, f"routes/route-{number}", {"endpoints": ["hook"]})
            await send(client, number)
            await eventually(partial(routed, world, f"route-{number}"))
            assert (await world.http.delete(f"/moorage/v1/routes/route-{number}")).status_code == 204
        await put(world, "routes/last", {"endpoints": ["hook"], "condition": "false"})
        await eventually(lambda: not world.app._router.health("hook").by_route)
        assert (await world.http.delete("/moorage/v1/routes/last")).status_code == 204
        assert (await world.http.delete("/moorage/v1/endpoints/hook")).status_code == 204
        assert await figures(world) == {}


async def test_what_retention_takes_before_an_endpoint_is_back_is_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mood = {"status": 503}

    async def respond(_received: Received, writer: Any) -> None:
        writer.write(f"HTTP/1.1 {mood['status']} Whatever\r\nContent-Length: 0\r\n\r\n".encode())

    mib = 1024 * 1024
    async with (
        callee(respond, tls=False, names=["127.0.0.1"]) as hook,
        routing(tmp_path / "hub", segment_bytes=mib, retention_bytes=2 * mib) as world,
    ):
        await world.create("pump-01")
        await put(world, "endpoints/hook", {"kind": "webhook", "address": hook.url})
        await put(world, "routes/all", {"endpoints": ["hook"]})
        client = await world.connect()
        await send(client, "first")
        await eventually(lambda: world.app._router.health("hook").failed_since)
        for _ in range(30):
            await send(client, "x" * 200_000)
        await world.app.log.enforce_retention(world.clock.now())
        start = world.app.log.durable_start
        assert start > mib
        mood["status"] = 204
        await eventually(lambda: world.app._router.health("hook").missed_bytes)
        await eventually(lambda: world.app._router.backlog_bytes("hook") == 0)
        found = await figures(world)
        assert 0 < found["endpoint_missed_bytes_total", "hook", ""] <= start
        assert 1 < found["endpoint_delivered_messages_total", "hook", ""] < 31
        assert any("route_missed endpoint=hook" in record.getMessage() for record in caplog.records)

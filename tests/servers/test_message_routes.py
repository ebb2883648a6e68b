"""Message routes on a running hub: from a device's publish to a web hook that really listens."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from moorage.cli.owner import owner_token
from moorage.clock import HandClock
from moorage.hub.twins import TwinChange
from moorage.ids import DEFAULT_HUB
from tests import certs
from tests.callees import Callee, Received, answer, callee
from tests.servers.clients import Client
from tests.servers.world import World, eventually, named, running

EVENTS = "devices/pump-01/messages/events/"
JSON = "$.ct=application%2Fjson&$.ce=utf-8"


@asynccontextmanager
async def routing(data: Path, **settings: Any) -> AsyncIterator[World]:
    async with running(data, egress_allow="127.0.0.1", **settings) as world:
        world.http.headers["Authorization"] = f"Bearer {owner_token(data, world.clock.now()).reveal()}"
        yield world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with routing(tmp_path / "hub") as world:
        await world.create("pump-01")
        yield world


@pytest.fixture
async def hook() -> AsyncIterator[Callee]:
    async with callee(answer(204), tls=False, names=["127.0.0.1"]) as hook:
        yield hook


async def put(world: World, path: str, body: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
    response = await world.http.put(f"/moorage/v1/{path}", json=body)
    assert response.status_code == status, response.text
    document: dict[str, Any] = response.json()
    return document


async def get(world: World, path: str) -> dict[str, Any]:
    response = await world.http.get(f"/moorage/v1/{path}")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def lead_to(world: World, hook: Callee, condition: str = "", **more: Any) -> None:
    """An endpoint `hook`, and a route `all` that leads there."""
    options: dict[str, Any] = {
        name: more.pop(name) for name in ("batch", "retrySeconds", "options", "credential") if name in more
    }
    await put(world, "endpoints/hook", {"kind": "webhook", "address": f"{hook.url}/in?code=secret", **options})
    await put(world, "routes/all", {"endpoints": ["hook"], "condition": condition, **more})


def received(hook: Callee) -> list[dict[str, Any]]:
    """Every message that came, in order."""
    found: list[dict[str, Any]] = []
    for each in hook.received:
        document = json.loads(each.body)
        found += document if isinstance(document, list) else [document]
    return found


def reason_of(response: httpx.Response) -> str:
    return response.headers["moorage-reason"]


async def send(client: Client, *bodies: object, bag: str = JSON) -> None:
    for body in bodies:
        client.publish(EVENTS + bag, json.dumps(body).encode())
    await client.acks(len(bodies))


# --- what goes where -------------------------------------------------------------------------------------------------


async def test_a_route_sends_what_it_takes_to_its_web_hook_and_nothing_else(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "$body.temperature > 30 AND level = 'hot'", credential="Basic c2VjcmV0")
    client = await world.connect()
    await send(client, {"temperature": 20}, {"temperature": 40}, bag=JSON + "&level=hot")
    await send(client, {"temperature": 50}, bag=JSON + "&level=cold")
    await send(client, {"temperature": 60}, bag=JSON + "&level=hot")
    await eventually(lambda: len(received(hook)) == 2)
    first, second = received(hook)
    assert (first["body"], second["body"]) == ({"temperature": 40}, {"temperature": 60})
    assert first["hub"] == "localhost"
    assert first["deviceId"] == "pump-01"
    assert first["properties"] == {"level": "hot"}
    assert first["systemProperties"]["content-type"] == "application/json"
    assert first["systemProperties"]["iothub-message-source"] == "Telemetry"
    request = hook.received[0]
    assert (request.method, request.target) == ("POST", "/in?code=secret")
    assert request.headers["authorization"] == "Basic c2VjcmV0"
    assert request.headers["content-type"] == "application/json; charset=utf-8"


async def test_what_came_before_the_route_is_not_sent(world: World, hook: Callee) -> None:
    client = await world.connect()
    await send(client, {"n": 1})
    await lead_to(world, hook)
    await send(client, {"n": 2})
    await eventually(lambda: received(hook))
    assert [each["body"]["n"] for each in received(hook)] == [2]


async def test_a_message_that_two_routes_take_comes_once(world: World, hook: Callee) -> None:
    await lead_to(world, hook)
    await put(world, "routes/again", {"endpoints": ["hook"], "condition": "true"})
    client = await world.connect()
    await send(client, *({"n": number} for number in range(20)))
    await eventually(lambda: len(received(hook)) >= 20)
    assert [each["body"]["n"] for each in received(hook)] == list(range(20))


async def test_the_fallback_takes_telemetry_that_no_route_takes(world: World, hook: Callee) -> None:
    await put(world, "endpoints/hook", {"kind": "webhook", "address": hook.url})
    await put(world, "routes/cold", {"endpoints": ["events"], "condition": "level = 'cold'"})
    await put(world, "fallback-route", {"endpoints": ["hook"]})
    client = await world.connect()
    await world.set_desired("pump-01", {"not": "telemetry"})
    await send(client, {"n": 1}, bag=JSON + "&level=cold")
    await send(client, {"n": 2}, bag=JSON + "&level=warm")
    await eventually(lambda: received(hook))
    assert [each["body"] for each in received(hook)] == [{"n": 2}]


async def test_the_hubs_own_events_are_routed_and_switched_on_by_the_route(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "opType = 'deleteDeviceIdentity'", source="DeviceLifecycleEvents")
    assert (await get(world, "events"))["deviceLifecycleEvents"] == {
        "isTold": True,
        "isDefault": False,
        "isRouted": True,
        "isSwitchedOn": None,
    }
    await world.create("pump-02")
    await world.delete("pump-02")
    await eventually(lambda: received(hook))
    (event,) = received(hook)
    assert event["systemProperties"]["iothub-message-source"] == "deviceLifecycleEvents"
    assert event["body"]["deviceId"] == "pump-02"
    assert (await world.http.delete("/moorage/v1/routes/all")).status_code == 204
    assert (await get(world, "events"))["deviceLifecycleEvents"]["isTold"] is False


async def test_conditions_and_enrichments_see_the_twin_of_the_sender(world: World, hook: Callee) -> None:
    await world.twins.patch(DEFAULT_HUB, named("pump-01"), TwinChange(tags={"site": "north", "floor": 3}))
    await lead_to(world, hook, "$twin.tags.site = 'north'")
    for key, value in {
        "site": "$twin.tags.site",
        "floor": "$twin.tags.floor",
        "missing": "$twin.tags.nothing",
        "hub": "$iothubname",
        "tenant": "acme",
    }.items():
        await put(world, f"enrichments/{key}", {"key": key, "value": value, "endpoints": ["hook"]})
    client = await world.connect()
    await send(client, {"n": 1}, bag=JSON + "&own=1")
    await eventually(lambda: received(hook))
    assert received(hook)[0]["properties"] == {
        "own": "1",
        "site": "north",
        "floor": "3",
        "missing": "$twin.tags.nothing",
        "hub": "localhost",
        "tenant": "acme",
    }


async def test_single_messages_are_sent_as_objects_when_asked_for(world: World, hook: Callee) -> None:
    await lead_to(world, hook, options={"shape": "object"})
    client = await world.connect()
    await send(client, {"n": 1}, {"n": 2})
    await eventually(lambda: len(hook.received) == 2)
    assert [json.loads(each.body)["body"]["n"] for each in hook.received] == [1, 2]


# --- at least once ---------------------------------------------------------------------------------------------------


async def test_what_was_not_delivered_when_the_hub_stopped_is_delivered_by_the_next(
    tmp_path: Path, hook: Callee
) -> None:
    clock = HandClock(certs.NOW)
    async with routing(tmp_path / "hub", clock=clock) as world:
        await world.create("pump-01")
        await lead_to(world, hook, "true", batch=10)
        client = await world.connect()
        await send(client, *({"n": number} for number in range(5)))
        await eventually(lambda: len(received(hook)) == 5)
        (worker,) = world.app._router._workers.values()
        await eventually(lambda: worker.stored == world.app.log.durable_end)
        assert worker.task is not None
        worker.task.cancel()
        await send(client, *({"n": number} for number in range(5, 9)))
        assert len(received(hook)) == 5
    async with routing(tmp_path / "hub", clock=clock):
        await eventually(lambda: len(received(hook)) == 9)
    assert [each["body"]["n"] for each in received(hook)] == list(range(9))


async def test_a_log_that_was_begun_anew_is_delivered_although_the_place_was_further(
    tmp_path: Path, hook: Callee
) -> None:
    clock = HandClock(certs.NOW)
    async with routing(tmp_path / "hub", clock=clock) as world:
        await world.create("pump-01")
        await lead_to(world, hook)
        await send(await world.connect(), *({"n": number} for number in range(5)))
        await eventually(lambda: len(received(hook)) == 5)
    shutil.rmtree(tmp_path / "hub" / "telemetry")
    async with routing(tmp_path / "hub", clock=clock) as world:
        await send(await world.connect(), {"n": 5})
        await eventually(lambda: len(received(hook)) == 6)
    assert [each["body"]["n"] for each in received(hook)] == list(range(6))


async def test_an_endpoint_that_fails_is_tried_again_and_another_does_not_wait_for_it(world: World) -> None:
    is_well = False

    async def moody(request: Received, writer: asyncio.StreamWriter) -> None:
        await answer(200 if is_well else 503)(request, writer)

    async with (
        callee(moody, tls=False, names=["127.0.0.1"]) as failing,
        callee(answer(200), tls=False, names=["127.0.0.1"]) as well,
    ):
        await lead_to(world, failing)
        await put(world, "endpoints/other", {"kind": "webhook", "address": well.url})
        await put(world, "routes/other", {"endpoints": ["other"]})
        client = await world.connect()
        await send(client, {"n": 1}, {"n": 2})
        await eventually(lambda: len(received(well)) == 2)
        await eventually(lambda: len(failing.received) >= 2)
        health = (await get(world, "endpoints/hook"))["health"]
        assert health["isFailing"] and health["failure"].startswith("endpoint.failed: ")
        is_well = True
        seen = len(failing.received)
        await eventually(lambda: len(failing.received) > seen)

        async def is_healthy() -> bool:
            return not (await get(world, "endpoints/hook"))["health"]["isFailing"]

        async with asyncio.timeout(30):
            while not await is_healthy():  # noqa: ASYNC110  # asked over REST, as an operator would
                await asyncio.sleep(0.05)
        last = json.loads(failing.received[-1].body)
        assert [each["body"]["n"] for each in last][-1] == 2


async def test_what_an_endpoint_refuses_is_kept_alone_and_can_be_replayed(world: World) -> None:
    is_strict = True

    async def strict(request: Received, writer: asyncio.StreamWriter) -> None:
        bad = is_strict and any(each["body"].get("bad") for each in json.loads(request.body))
        await answer(400 if bad else 200)(request, writer)

    async with callee(strict, tls=False, names=["127.0.0.1"]) as hook:
        await lead_to(world, hook)
        client = await world.connect()
        await send(client, {"n": 1}, {"n": 2, "bad": True}, {"n": 3})

        async def buried() -> list[dict[str, Any]]:
            letters: list[dict[str, Any]] = (await get(world, "endpoints/hook/dead-letters"))["deadLetters"]
            return letters

        async with asyncio.timeout(30):
            while not (letters := await buried()):  # noqa: ASYNC110  # asked over REST, as an operator would
                await asyncio.sleep(0.02)
        (letter,) = letters
        assert letter["message"]["body"] == {"n": 2, "bad": True}
        assert letter["deviceId"] == "pump-01"
        assert "answered 400" in letter["reason"]
        replay = "/moorage/v1/endpoints/hook/dead-letters/replay"
        refused = (await world.http.post(replay)).json()
        assert (refused["delivered"], refused["left"]) == (0, 1) and "endpoint.refused" in refused["failure"]
        is_strict = False
        assert (await world.http.post(replay)).json() == {"delivered": 1, "left": 0, "failure": None}
        assert received(hook)[-1]["body"] == {"n": 2, "bad": True}


async def test_an_endpoint_that_never_recovers_gives_its_messages_up_after_its_time(world: World) -> None:
    async with callee(answer(500), tls=False, names=["127.0.0.1"]) as hook:
        await lead_to(world, hook, retrySeconds=0)
        client = await world.connect()
        await send(client, {"n": 1})
        await eventually(lambda: world.app.store.read().routing.count_dead(DEFAULT_HUB, "hook") == 1)
        number = (await get(world, "endpoints/hook/dead-letters"))["deadLetters"][0]["number"]
        assert (await world.http.delete(f"/moorage/v1/endpoints/hook/dead-letters/{number}")).status_code == 204
        assert (await get(world, "endpoints/hook/dead-letters"))["deadLetters"] == []


async def test_an_internal_address_is_not_called_unless_it_is_allowed(tmp_path: Path, hook: Callee) -> None:
    async with running(tmp_path / "hub") as world:
        token = owner_token(world.app.config.data, world.clock.now()).reveal()
        world.http.headers["Authorization"] = f"Bearer {token}"
        body = {"kind": "webhook", "address": hook.url}
        refused = await world.http.put("/moorage/v1/endpoints/hook", json=body)
        assert refused.status_code == 400
        assert reason_of(refused) == "egress.not_allowed"
        assert hook.received == []


async def test_devices_are_answered_while_an_endpoint_hangs(world: World) -> None:
    async def hang(_request: Received, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with callee(hang, tls=False, names=["127.0.0.1"]) as hook:
        await lead_to(world, hook)
        client = await world.connect()
        await send(client, *({"n": number} for number in range(100)))
        await eventually(lambda: hook.connections)


# --- what is kept, and who may ---------------------------------------------------------------------------------------


async def test_nothing_runs_without_a_route(world: World, hook: Callee) -> None:
    assert world.app._router._workers == {}
    await lead_to(world, hook)
    await eventually(lambda: world.app._router._workers)
    await put(world, "routes/all", {"endpoints": ["hook"], "isEnabled": False})
    await eventually(lambda: not world.app._router._workers)


async def test_an_address_is_shown_without_its_secrets_and_stays_when_it_is_sent_back(
    world: World, hook: Callee
) -> None:
    await lead_to(world, hook, credential="Bearer s3cret")
    shown = await get(world, "endpoints/hook")
    assert shown["address"] == f"{hook.url}/***"
    assert shown["hasCredential"] is True
    assert "s3cret" not in json.dumps(shown) and "code=" not in json.dumps(shown)
    again = {name: shown[name] for name in ("kind", "address")} | {"batch": 7}
    assert (await put(world, "endpoints/hook", again))["batch"] == 7
    assert (await world.http.post("/moorage/v1/endpoints/hook/try")).status_code == 200
    assert hook.received[-1].target == "/in?code=secret"
    assert hook.received[-1].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("routes/r", {"endpoints": ["nowhere"]}, "route.endpoints"),
        ("routes/r", {"endpoints": []}, "route.endpoints"),
        ("routes/r", {"endpoints": ["events"], "condition": "level ="}, "query.syntax"),
        ("routes/r", {"endpoints": ["events"], "condition": "level[0] = 1"}, "query.route_path"),
        ("routes/r", {"endpoints": ["events"], "condition": "x = " + "1" * 5000}, "route.condition_size"),
        ("routes/r", {"endpoints": ["events"], "source": "weather"}, "route.source"),
        ("routes/r%20r", {"endpoints": ["events"]}, "route.name"),
        ("routes/r", {"endpoints": ["events"], "name": "q"}, "body.id"),
        ("endpoints/events", {"kind": "webhook", "address": "https://hooks.example/"}, "endpoint.name"),
        ("endpoints/e", {"kind": "pigeon", "address": "https://hooks.example/"}, "endpoint.kind"),
        ("endpoints/e", {"kind": "webhook"}, "endpoint.address"),
        ("endpoints/e", {"kind": "webhook", "address": "https://hooks.example/", "batch": 5000}, "endpoint.batch"),
        (
            "endpoints/e",
            {"kind": "webhook", "address": "https://hooks.example/", "options": {"shape": "heap"}},
            "endpoint.option",
        ),
        (
            "endpoints/e",
            {"kind": "webhook", "address": "https://hooks.example/", "credential": "a\nb"},
            "endpoint.credential",
        ),
        ("enrichments/k", {"value": "$twin.", "endpoints": ["events"]}, "enrichment.value"),
        ("enrichments/k", {"value": "v", "endpoints": ["events"]}, "enrichment.endpoints"),
        ("fallback-route", {"endpoints": ["nowhere"]}, "route.endpoints"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    world: World, path: str, body: dict[str, Any], reason: str
) -> None:
    response = await world.http.put(f"/moorage/v1/{path}", json=body)
    assert response.status_code in (400, 413), response.text
    assert reason_of(response) == reason


async def test_a_credential_that_is_kept_goes_to_no_other_server(world: World) -> None:
    """It is shown to nobody who may change an endpoint, and so not to a server of theirs."""
    there = "/moorage/v1/endpoints/desk"
    hook = {"kind": "webhook", "address": "https://hooks.example/in"}
    assert (await world.http.put(there, json=hook | {"credential": "let me in"})).status_code == 200
    for address in ("https://other.example/in", "http://hooks.example/in", "https://hooks.example:8443/in"):
        refused = await world.http.put(there, json=hook | {"address": address})
        assert (refused.status_code, reason_of(refused)) == (400, "endpoint.credential"), address
    for more in (
        {"address": "https://HOOKS.example:443/out"},
        {"address": "https://other.example/", "credential": "x"},
    ):
        assert (await world.http.put(there, json=hook | more)).status_code == 200, more


async def test_an_endpoint_that_a_route_names_stays(world: World, hook: Callee) -> None:
    await lead_to(world, hook)
    refused = await world.http.delete("/moorage/v1/endpoints/hook")
    assert (refused.status_code, reason_of(refused)) == (409, "endpoint.in_use")
    await world.http.delete("/moorage/v1/routes/all")
    assert (await world.http.delete("/moorage/v1/endpoints/hook")).status_code == 204
    assert (await world.http.get("/moorage/v1/endpoints/hook")).status_code == 404


async def test_a_test_says_for_each_route_why_it_does_not_take_a_message(world: World) -> None:
    await world.twins.patch(DEFAULT_HUB, named("pump-01"), TwinChange(tags={"site": "north"}))
    await put(world, "routes/hot", {"endpoints": ["events"], "condition": "level = 'a' AND $body.t > 30"})
    await put(world, "routes/north", {"endpoints": ["events"], "condition": "$twin.tags.site = 'north'"})
    response = await world.http.post(
        "/moorage/v1/routes:test",
        json={"body": {"t": 20}, "properties": {"level": "a"}, "deviceId": "pump-01"},
    )
    assert response.status_code == 200, response.text
    tested = response.json()
    assert (tested["isMatch"], tested["endpoints"]) == (True, ["events"])
    hot, north = tested["routes"]
    assert (hot["isMatch"], hot["at"]) == (False, 16)
    assert hot["because"] == "this comparison is false: $body.t is 20"
    assert north["isMatch"] is True
    draft = {"route": {"endpoints": ["events"], "condition": "level = 1"}, "properties": {"level": "1"}}
    drafted = (await world.http.post("/moorage/v1/routes:test", json=draft)).json()
    assert drafted["isMatch"] is False and "AS_NUMBER" in drafted["routes"][0]["because"]

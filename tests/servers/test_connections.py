"""Who is on, since when, over what and with which credential: asked of a hub with real devices on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx

from moorage.api.connections import MAX_FOLLOWERS
from moorage.identities.owner import OwnerKey
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB
from tests import certs
from tests.servers.clients import return_code
from tests.servers.world import World, eventually

PATH = "/moorage/v1/connections"


def owner(world: World) -> dict[str, str]:
    key = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
    return {"authorization": "Bearer " + key.mint("api", timedelta(hours=1), world.clock.now()).reveal()}


async def ask(world: World, path: str = PATH, **query: Any) -> Any:
    answer = await world.http.get(path, params=query, headers=owner(world))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def names(world: World, **query: Any) -> list[str]:
    return [
        each["deviceId"] + (f"/{each['moduleId']}" if each["moduleId"] else "")
        for each in (await ask(world, **query))["connections"]
    ]


async def test_a_connection_shows_its_certificate_and_when_it_came(world: World) -> None:
    issued = await world.create_by_authority("pump-01")
    came = world.clock.now()
    client = await world.connect("pump-01", issued)
    world.turn(30)
    (shown,) = (await ask(world))["connections"]
    certificate = issued.certificate
    assert shown["connected"] is True
    assert shown["since"].startswith(came.strftime("%Y-%m-%dT%H:%M:%S"))
    assert (shown["protocol"], shown["tlsVersion"]) == ("MQTT 3.1.1", "TLSv1.3")
    assert shown["address"].startswith("127.0.0.1:")
    credential = shown["credential"]
    assert credential["kind"] == "x509"
    assert (credential["subject"], credential["issuer"]) == (certificate.subject, certificate.issuer)
    assert (credential["sha1Thumbprint"], credential["sha256Thumbprint"]) == (certificate.sha1, certificate.sha256)
    assert credential["notAfter"].startswith(certificate.not_after.strftime("%Y-%m-%dT%H:%M:%S"))
    assert shown["lastRefusal"] is None

    client.close()
    await eventually(lambda: not world.app.directory.count(DEFAULT_HUB))
    gone = await ask(world, f"{PATH}/pump-01")
    assert gone["connected"] is False
    assert (gone["credential"], gone["address"]) == (None, None)
    assert gone["since"] > shown["since"]
    assert (await ask(world))["connections"] == []


async def test_a_token_shows_whose_key_signed_it(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    await world.connect("pump-01")
    policy = world.policies.get(DEFAULT_HUB, "hub", "device")
    token = make_token("localhost", policy.secondary, world.clock.now() + timedelta(hours=1), "device")
    assert return_code(await (await world.dial()).say_hello("pump-02", password=token.reveal().encode())) == 0
    own, by_policy = (each["credential"] for each in (await ask(world))["connections"])
    assert (own["kind"], own["policy"], own["key"]) == ("token", None, None)
    assert (by_policy["kind"], by_policy["policy"], by_policy["key"]) == ("token", "device", "secondary")
    assert own["expires"] is not None


async def test_the_last_refusal_of_an_identity_is_shown_whether_it_is_on_or_not(world: World) -> None:
    await world.create_pinned("pump-01", issued := certs.self_signed("pump-01"))
    await world.connect("pump-01", issued)
    stranger = certs.self_signed("pump-01")
    assert return_code(await (await world.dial(stranger)).say_hello("pump-01")) == 5
    (shown,) = (await ask(world))["connections"]
    assert shown["connected"] is True
    refusal = shown["lastRefusal"]
    attempt = (await world.attempts("pump-01", 1))[0]
    assert (refusal["reason"], refusal["trackingId"]) == (attempt.reason, attempt.tracking_id)

    await world.create("pump-02")
    assert return_code(await (await world.dial()).say_hello("pump-02", password=b"x")) == 5
    off = await ask(world, f"{PATH}/pump-02")
    assert (off["connected"], off["since"], off["credential"]) == (False, None, None)
    assert off["lastRefusal"]["reason"] == "token.malformed"


async def test_connections_come_in_pages_and_through_filters(world: World) -> None:
    for name in ("a-1", "a-2", "b-1"):
        await world.create(name)
    await world.create("a-1/m1")
    issued = certs.self_signed("a-3")
    await world.create_pinned("a-3", issued)
    for name in ("a-1", "a-1/m1", "a-2", "b-1"):
        await world.connect(name, token_lives=timedelta(hours=2 if name == "b-1" else 1))
    await world.connect("a-3", issued)

    everybody = ["a-1", "a-1/m1", "a-2", "a-3", "b-1"]
    assert await names(world) == everybody
    assert (await ask(world))["connectedDeviceCount"] == 4
    seen: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = await ask(world, limit=2, **after)
        seen += [
            each["deviceId"] + (f"/{each['moduleId']}" if each["moduleId"] else "") for each in page["connections"]
        ]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == everybody

    assert await names(world, device="a-1") == ["a-1", "a-1/m1"]
    assert await names(world, prefix="b") == ["b-1"]
    assert await names(world, credential="x509") == ["a-3"]
    assert await names(world, thumbprint=issued.certificate.sha256) == ["a-3"]
    assert await names(world, policy="device") == []
    soon = (world.clock.now() + timedelta(minutes=90)).isoformat().replace("+00:00", "Z")
    assert await names(world, credential="token", expiresBefore=soon) == ["a-1", "a-1/m1", "a-2"]


async def test_questions_that_make_no_sense_are_refused(world: World) -> None:
    for query, reason in (
        ({"credential": "password"}, "query.choice"),
        ({"limit": "0"}, "query.number"),
        ({"limit": "501"}, "query.number"),
        ({"expiresBefore": "tomorrow"}, "time.malformed"),
        ({"after": "a b"}, "id.device"),
        ({"thumbprint": "zz"}, "thumbprint.hex"),
    ):
        answer = await world.http.get(PATH, params=query, headers=owner(world))
        assert (answer.status_code, answer.json()["error"]["reason"]) == (400, reason), query
    answer = await world.http.get(f"{PATH}/nobody", headers=owner(world))
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "device.not_found")


@asynccontextmanager
async def following(world: World, **query: str) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """Events as they come; the first, which says that it began, was read."""
    request = world.http.stream(
        "GET", "/moorage/v1/connection-events", params=query, headers=owner(world), timeout=httpx.Timeout(60)
    )
    async with request as response:
        assert response.status_code == 200
        events = _events(response.aiter_lines())
        assert (await anext(events))[0] == "following"
        yield events


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_a_follower_hears_who_comes_goes_and_is_turned_away(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    async with following(world) as everything, following(world, device="pump-02") as one:
        client = await world.connect("pump-01")
        event, shown = await anext(everything)
        assert (event, shown["deviceId"], shown["credential"]["kind"]) == ("connected", "pump-01", "token")
        client.close()
        event, shown = await anext(everything)
        assert (event, shown["deviceId"], shown["connected"]) == ("disconnected", "pump-01", False)
        assert return_code(await (await world.dial()).say_hello("pump-02", password=b"x")) == 5
        for events in (everything, one):
            event, shown = await anext(events)
            assert (event, shown["claimedId"], shown["reason"]) == ("refused", "pump-02", "token.malformed")


async def test_followers_are_limited_and_leave_nothing_behind(world: World) -> None:
    async def status() -> int:
        async with world.http.stream("GET", "/moorage/v1/connection-events", headers=owner(world)) as response:
            return response.status_code

    async with _many(world, MAX_FOLLOWERS):
        assert await status() == 429
    while await status() != 200:  # noqa: ASYNC110  # who follows no longer is noticed, and tells nobody
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _many(world: World, count: int) -> AsyncIterator[None]:
    if count == 0:
        yield
        return
    async with following(world), _many(world, count - 1):
        yield

"""Tokens for readers of telemetry: who gets one, for how long, and that it opens the endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from moorage.identities.owner import OwnerKey
from moorage.identities.sas import make_token, parse_token
from moorage.ids import DEFAULT_HUB
from tests.servers.amqp_back_ends import Connect, back_ends
from tests.servers.world import World

PATH = "/system/iothubs/generateEventSasTokens"
PARTITION = "localhost/ConsumerGroups/$Default/Partitions/0"


@pytest.fixture
async def back_end(world: World) -> AsyncIterator[Connect]:
    async with back_ends(world) as connect:
        yield connect


async def ask(world: World, authorization: str) -> httpx.Response:
    # As the command line sends it: no body, no version.
    return await world.http.post(PATH, headers={"Authorization": authorization}, params={})


def by_policy(world: World, policy: str, lives: timedelta = timedelta(hours=5)) -> str:
    key = world.policies.get(DEFAULT_HUB, "hub", policy).primary
    return make_token("localhost", key, world.clock.now() + lives, policy).reveal()


def by_owner(world: World) -> str:
    key = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
    return "Bearer " + key.mint("api", timedelta(hours=5), world.clock.now()).reveal()


def told(answer: httpx.Response) -> Mapping[str, Any]:
    assert answer.status_code == 200, answer.text
    (only,) = answer.json().values()
    assert only["eventhubSasToken"]["entityPath"] == "localhost"
    return dict(only)


async def test_a_token_reads_telemetry(world: World, back_end: Connect) -> None:
    document = told(await ask(world, by_owner(world)))
    port = world.app.info().amqp_port
    assert document["eventhubSasToken"]["hostname"] == f"sb://localhost:{port}/"
    token = document["eventhubSasToken"]["sasToken"]
    # The least that reads.
    assert parse_token(token).policy == "service"
    client = await back_end(None)
    assert await client.put_token(token) == 200
    assert (await client.attach(PARTITION, is_sender=False)).error is None
    # It is for the entity, and nothing else.
    assert (await client.attach("/messages/devicebound")).error is not None
    refused = await world.http.get("/devices/pump-01", headers={"Authorization": token})
    assert refused.status_code == 401


async def test_nobody_gets_more_than_they_have(world: World) -> None:
    now = world.clock.now()
    for policy, lives, expected in (
        ("iothubowner", timedelta(hours=5), timedelta(hours=1)),
        ("service", timedelta(minutes=5), timedelta(minutes=5)),
    ):
        document = told(await ask(world, by_policy(world, policy, lives)))
        token = parse_token(document["eventhubSasToken"]["sasToken"])
        assert (token.policy, token.expires) == (policy, (now + expected).replace(microsecond=0))
        assert document["expiry"] == int((now + expected).timestamp())
    for policy in ("device", "registryReadWrite"):
        refused = await ask(world, by_policy(world, policy))
        assert refused.status_code == 401
        assert refused.json()["error"]["message"]


async def test_there_is_none_where_it_would_open_nothing(world: World) -> None:
    await world.policies.delete(DEFAULT_HUB, "hub", "service")
    document = told(await ask(world, by_owner(world)))
    assert parse_token(document["eventhubSasToken"]["sasToken"]).policy == "iothubowner"
    await world.policies.set_switches(DEFAULT_HUB, {"disable_local_auth": True})
    refused = await ask(world, by_owner(world))
    assert (refused.status_code, refused.headers["moorage-reason"]) == (409, "event_tokens.useless")

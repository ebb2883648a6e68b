"""What a device hears at each door of the provisioning service when it asks too often (contract/devices.md 6.2 to 6.6).

The hub's clock is turned by hand, so that the seconds to wait are known to the second.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import Accepted, Rejected
from moorage.protocols.amqp.types import Int
from moorage.protocols.mqtt.packets import ConnAck, Publish
from tests import certs
from tests.attacks.scene import Ground
from tests.servers.amqp.speaking import dialled, open_plainly, outcome_of
from tests.servers.clients import tls_context
from tests.servers.http_clients import RawHTTP
from tests.servers.world import running

NAME: Final = "widget-01"
_VERSION: Final = "api-version=2019-03-31"
_BODY: Final = json.dumps({"registrationId": NAME}).encode()


@dataclass(frozen=True)
class Heard:
    """`wait` is how the seconds to wait were told, in the door's own way; None when nothing was."""

    status: int
    document: dict[str, Any]
    wait: object


# Asks what became of an operation; registers without one.
Ask = Callable[[str | None], Awaitable[Heard]]
Door = Callable[[Ground, certs.Issued], AbstractAsyncContextManager[Ask]]


@asynccontextmanager
async def mqtt(ground: Ground, issued: certs.Issued) -> AsyncIterator[Ask]:
    """`wait` is the rest of the topic after the request's id."""
    client = await ground.world.dial(issued)
    hello = await client.say_hello(NAME, user_name=f"{ground.scope}/registrations/{NAME}/{_VERSION}")
    assert isinstance(hello, ConnAck) and hello.return_code == 0
    await client.subscribe("$dps/registrations/res/#")
    asked = 0

    async def ask(operation: str | None) -> Heard:
        nonlocal asked
        asked += 1
        if operation is None:
            client.publish(f"$dps/registrations/PUT/iotdps-register/?$rid={asked}", _BODY)
        else:
            told = f"?$rid={asked}&operationId={operation}"
            client.publish(f"$dps/registrations/GET/iotdps-get-operationstatus/{told}", b" ")
        await client.acks(1)
        answer = await client.expect(Publish)
        client.acknowledge(answer)
        head, rid, wait = bytes(answer.topic).decode().partition(f"/?$rid={asked}")
        assert head.startswith("$dps/registrations/res/") and rid
        return Heard(int(head.rpartition("/")[2]), json.loads(answer.body), wait or None)

    yield ask


@asynccontextmanager
async def https(ground: Ground, issued: certs.Issued) -> AsyncIterator[Ask]:
    """`wait` is the header."""
    base = f"/{ground.scope}/registrations/{NAME}"
    async with RawHTTP(ground.world, tls_context(ground.world.app.info().ca_bundle, issued)) as http:

        async def ask(operation: str | None) -> Heard:
            if operation is None:
                http.ask("PUT", f"{base}/register?{_VERSION}", "Content-Type: application/json", body=_BODY)
            else:
                http.ask("GET", f"{base}/operations/{quote(operation, safe='')}?{_VERSION}")
            answer = await http.response()
            # IoT Edge reads no other.
            assert "application/json" in answer.headers["content-type"]
            return Heard(answer.status, json.loads(answer.body), answer.headers.get("retry-after"))

        yield ask


@asynccontextmanager
async def amqp(ground: Ground, issued: certs.Issued) -> AsyncIterator[Ask]:
    """`wait` is the info of a rejected outcome, or what an answer's two application properties say."""
    address = f"{ground.scope}/registrations/{NAME}"
    async with dialled(ground.world, issued) as client:
        await open_plainly(client)
        answers = await client.attach(address, is_sender=False, credit=10)
        asks = await client.attach(address)
        assert answers.error is asks.error is None

        async def ask(operation: str | None) -> Heard:
            request = Message(
                properties=Properties(correlation_id="c-1"),
                application_properties={
                    "iotdps-operation-type": "iotdps-register" if operation is None else "iotdps-get-operationstatus",
                    "iotdps-operation-id": operation or "",
                },
                data=_BODY if operation is None else b"",
            )
            state = await outcome_of(client, client.transfer(asks, request))
            if isinstance(state, Rejected):
                assert state.error is not None
                document = json.loads(state.error.description or "")
                return Heard(document["errorCode"] // 1000, document, dict(state.error.info or {}))
            assert isinstance(state, Accepted)
            answer = await client.received(answers)
            told = {answer.application_properties.get(name) for name in ("retry-after", "Retry-After")}
            (wait,) = told
            return Heard(200 if wait is None else 202, json.loads(answer.body), wait)

        yield ask


# By door: how it tells to wait for so many seconds.
DOORS: Final[list[tuple[Door, Callable[[int], object]]]] = [
    (mqtt, lambda seconds: f"&retry-after={seconds}"),
    (https, str),
    (amqp, lambda seconds: {"retry-after": Int(seconds)}),
]


def _check(heard: Heard, wait: object) -> None:
    assert (heard.status, heard.document["errorCode"], heard.wait) == (429, 429001, wait), heard
    assert set(heard.document) == {"errorCode", "trackingId", "message", "timestampUtc"}


@asynccontextmanager
async def _ground(data: Path, **rates: Any) -> AsyncIterator[tuple[Ground, certs.Issued]]:
    async with running(data, **rates) as world:
        ground = Ground(world)
        await ground.with_plant()
        yield ground, certs.device(ground.plant, NAME)


@pytest.mark.parametrize(("door", "waits"), DOORS, ids=lambda each: getattr(each, "__name__", ""))
async def test_who_registers_too_often_hears_429_and_how_long_to_wait(
    tmp_path: Path, door: Door, waits: Callable[[int], object]
) -> None:
    async with (
        _ground(tmp_path / "hub", throttle_registrations_per_minute=2) as (ground, issued),
        door(ground, issued) as ask,
    ):
        for _ in range(2):
            heard = await ask(None)
            assert (heard.status, heard.document["status"]) == (202, "assigning"), heard
        _check(await ask(None), waits(30))
        (attempt,) = await ground.world.attempts(NAME, 1)
        assert (attempt.door, attempt.reason) == (f"dps.{door.__name__}", "throttle.exceeded")
        ground.world.turn(12)
        _check(await ask(None), waits(18))
        # Who waits as long as it was told to is served, on the same connection.
        ground.world.turn(18)
        assert (await ask(None)).status == 202


@pytest.mark.parametrize(("door", "waits"), DOORS, ids=lambda each: getattr(each, "__name__", ""))
async def test_who_polls_too_often_hears_429_and_how_long_to_wait(
    tmp_path: Path, door: Door, waits: Callable[[int], object]
) -> None:
    async with (
        _ground(tmp_path / "hub", throttle_polls_per_minute=1) as (ground, issued),
        door(ground, issued) as ask,
    ):
        operation = (await ask(None)).document["operationId"]
        assert (await ask(operation)).status in (200, 202)
        _check(await ask(operation), waits(60))
        (attempt,) = await ground.world.attempts(NAME, 1)
        assert (attempt.door, attempt.reason) == (f"dps.{door.__name__}", "throttle.exceeded")
        ground.world.turn(60)
        assert (await ask(operation)).status in (200, 202)

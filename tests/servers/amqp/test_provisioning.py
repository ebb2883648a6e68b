"""Devices provision over AMQP and AMQP in WebSockets: by certificate, by key, by a group's key; and are refused."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, RegistrationId, Secret
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import Accepted, Rejected, Transfer
from moorage.protocols.amqp.sasl import PLAIN
from moorage.protocols.amqp.transfers import EMPTY_FRAME
from moorage.protocols.amqp.types import Int
from moorage.provisioning.attestation import derive_key
from tests import certs
from tests.attacks.scene import Ground
from tests.servers.amqp.speaking import dialled, open_plainly, outcome_of, send_raw
from tests.servers.amqp_clients import AMQPClient, Link, plain_response
from tests.servers.world import KEY, OTHER_KEY, World

_KEYS = {"primaryKey": KEY.reveal(), "secondaryKey": OTHER_KEY.reveal()}


@pytest.fixture
async def ground(world: World) -> Ground:
    ground = Ground(world)
    await ground.with_plant()
    return ground


def _address(ground: Ground, name: str) -> str:
    return f"{ground.scope}/registrations/{quote(name, safe='')}"


def _request(kind: str, correlation: object = "c-1", body: bytes = b"", *, operation: str = "") -> Message:
    return Message(
        properties=Properties(correlation_id=correlation),
        application_properties={"iotdps-operation-type": kind, "iotdps-operation-id": operation},
        data=body,
    )


async def _links(client: AMQPClient, address: str) -> tuple[Link, Link]:
    """As C and .NET attach them, with whole URIs; answers first."""
    properties: dict[str, object] = {
        "com.microsoft:api-version": "2019-03-31",
        "com.microsoft:client-version": "tests/1",
    }
    hears = await client.attach(f"amqps://localhost/{address}", is_sender=False, credit=10, properties=properties)
    asks = await client.attach(f"amqps://localhost/{address}", properties=properties)
    assert hears.error is asks.error is None
    return asks, hears


async def _ask(client: AMQPClient, links: tuple[Link, Link], request: Message) -> tuple[dict[str, Any], Message]:
    number = client.transfer(links[0], request)
    assert isinstance(await outcome_of(client, number), Accepted)
    answer = await client.received(links[1])
    assert answer.properties is not None
    return json.loads(answer.body), answer


async def _provision(ground: Ground, client: AMQPClient, name: str) -> dict[str, Any]:
    """Register, and poll as often as it takes; the last answer."""
    links = await _links(client, _address(ground, name))
    document, answer = await _ask(client, links, _request("iotdps-register"))
    assert document["status"] == "assigning"
    for key in ("retry-after", "Retry-After"):
        assert type(answer.application_properties[key]) is Int
    assert answer.properties is not None and answer.properties.correlation_id == "c-1"
    operation = document["operationId"]
    for _ in range(20):
        document, _answer = await _ask(
            client, links, _request("iotdps-get-operationstatus", "c-2", operation=operation)
        )
        if document["status"] != "assigning":
            break
    return document


def _sas(ground: Ground, name: str, key: Secret) -> str:
    expires = ground.world.clock.now() + timedelta(hours=1)
    return make_token(_address(ground, name), key, expires, "registration").reveal()


@pytest.mark.parametrize("in_websocket", [False, True])
async def test_a_device_of_a_group_provisions_by_certificate_and_connects(ground: Ground, in_websocket: bool) -> None:
    issued = certs.device(ground.plant, "widget-01")
    async with dialled(ground.world, issued, in_websocket=in_websocket) as client:
        await open_plainly(client)
        document = await _provision(ground, client, "widget-01")
    assert document["status"] == "assigned"
    (attempt,) = await ground.world.attempts("widget-01")
    assert (attempt.door, attempt.reason) == ("dps.amqp-ws" if in_websocket else "dps.amqp", None)
    state = document["registrationState"]
    assert (state["deviceId"], state["substatus"]) == ("widget-01", "initialAssignment")
    async with dialled(ground.world, issued, in_websocket=in_websocket) as client:
        await open_plainly(client)
        link = await client.attach(f"/devices/{state['deviceId']}/messages/events")
        assert await client.send(link, Message(data=b"1")) is None


@pytest.mark.parametrize("in_websocket", [False, True])
@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
async def test_a_device_provisions_by_its_key_with_sasl_plain(ground: Ground, key: Secret, in_websocket: bool) -> None:
    await ground.enroll("keyed-01", {"type": "symmetricKey", "symmetricKey": _KEYS})
    async with dialled(ground.world, in_websocket=in_websocket) as client:
        user = _address(ground, "keyed-01")
        assert await client.say_hello(PLAIN, plain_response(user, _sas(ground, "keyed-01", key))) == 0
        document = await _provision(ground, client, "keyed-01")
    assert document["status"] == "assigned"


async def test_a_device_provisions_by_a_key_that_is_derived_of_its_groups(ground: Ground) -> None:
    await ground.key_group("keyed", KEY)
    async with dialled(ground.world) as client:
        token = _sas(ground, "derived-01", derive_key(KEY, RegistrationId("derived-01")))
        assert await client.say_hello(PLAIN, plain_response(_address(ground, "derived-01"), token)) == 0
        document = await _provision(ground, client, "derived-01")
    assert document["registrationState"]["deviceId"] == "derived-01"


@pytest.mark.parametrize("why", ["stranger", "wrong key", "no enrollment", "foreign name"])
async def test_who_is_refused_hears_the_error_document_of_the_service(ground: Ground, why: str) -> None:
    name, issued, token = "widget-01", None, None
    if why == "stranger":
        issued = certs.device(certs.root("Stranger"), name)
    elif why == "foreign name":
        issued = certs.device(ground.plant, "widget-02")
    else:
        if why == "wrong key":
            await ground.enroll(name, {"type": "symmetricKey", "symmetricKey": _KEYS})
        token = _sas(ground, name, Secret(base64.b64encode(b"w" * 32).decode()))
    async with dialled(ground.world, issued) as client:
        if token is None:
            await open_plainly(client)
        else:
            assert await client.say_hello(PLAIN, plain_response(_address(ground, name), token)) == 0
        asks, _ = await _links(client, _address(ground, name))
        number = client.transfer(asks, _request("iotdps-register"))
        state = await outcome_of(client, number)
    assert isinstance(state, Rejected) and state.error is not None
    document = json.loads(state.error.description or "")
    assert document["errorCode"] // 1000 in (401, 404), document
    assert {"errorCode", "trackingId", "message", "timestampUtc"} <= document.keys()
    told = await ground.world.app.attempts.find(
        DEFAULT_HUB, device=None, thumbprint=None, tracking_id=document["trackingId"], limit=1
    )
    assert told[0].reason is not None
    assert told[0].claimed_id == name


@pytest.mark.parametrize(
    "request_",
    [
        _request("iotdps-dance"),
        _request("iotdps-get-operationstatus", operation="5.nobody"),
        _request("iotdps-register", body=b"not json"),
        _request("iotdps-register", body=b"[" * 5000),
        Message(data=b"{}"),
    ],
)
async def test_what_is_no_request_is_rejected_and_the_next_one_served(ground: Ground, request_: Message) -> None:
    issued = certs.device(ground.plant, "widget-01")
    async with dialled(ground.world, issued) as client:
        await open_plainly(client)
        links = await _links(client, _address(ground, "widget-01"))
        number = client.transfer(links[0], request_)
        assert isinstance(await outcome_of(client, number), Rejected)
        document, _ = await _ask(client, links, _request("iotdps-register"))
        assert document["status"] == "assigning"


async def test_a_message_that_cannot_be_read_is_the_strangers_fault_and_not_ours(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    # Application properties that are no map: nobody has looked into them when the message is taken.
    unreadable = b"\x00\x53\x74\x40" + Message(data=b"{}").encode()
    async with dialled(ground.world) as client:
        await open_plainly(client)
        asks, _ = await _links(client, _address(ground, "widget-01"))
        send_raw(client, asks, unreadable)
        await client.rest()
        assert client.closed_with is not None and client.closed_with.condition == "amqp:decode-error"
    assert not [each for each in caplog.records if each.exc_info is not None]


async def test_a_request_over_the_limit_detaches_its_link(ground: Ground) -> None:
    async with dialled(ground.world) as client:
        await open_plainly(client)
        asks, _ = await _links(client, _address(ground, "widget-01"))
        for at in range(3):
            first = Transfer(asks.handle, 0, b"t", 0, more=True)
            client.say(first if at == 0 else Transfer(asks.handle, more=True), payload=b"x" * 50_000)
        error = await client.detached(asks)
        assert error is not None and error.condition == "amqp:link:message-size-exceeded"


async def test_who_only_attaches_and_asks_nothing_is_closed_in_the_end(ground: Ground) -> None:
    async with dialled(ground.world) as client:
        await open_plainly(client)
        await _links(client, _address(ground, "widget-01"))
        for _ in range(2):
            ground.world.turn(100)
            # A sign of life, which keeps nobody connected who has no business here.
            client.raw(EMPTY_FRAME)
            assert await client.is_silent(0.3)
        ground.world.turn(101)
        await client.rest()
        assert client.closed_with is not None and client.closed_with.condition == "amqp:connection:forced"


async def test_a_stranger_who_registers_again_and_again_is_closed(ground: Ground) -> None:
    async with dialled(ground.world) as client:
        await open_plainly(client)
        asks, _ = await _links(client, _address(ground, "widget-01"))
        with pytest.raises(EOFError):
            for _ in range(100):
                await outcome_of(client, client.transfer(asks, _request("iotdps-register")))
        assert client.closed_with is not None and client.closed_with.condition == "amqp:unauthorized-access"

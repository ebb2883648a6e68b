"""Every known way in which a device speaks AMQP, each as one conversation (contract/devices.md 4)."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from moorage.dialects.telemetry_json import telemetry_json
from moorage.ids import DEFAULT_HUB
from moorage.protocols.amqp.framing import SASL_HEADER
from moorage.protocols.amqp.message import BATCHED, Message, Properties
from moorage.protocols.amqp.performatives import (
    SENDER,
    Accepted,
    Attach,
    Begin,
    Released,
    SaslInit,
    SaslOutcome,
    Source,
    Target,
    Transfer,
    encode,
)
from moorage.protocols.amqp.sasl import EXTERNAL, MSSBCBS, PLAIN
from moorage.protocols.amqp.transfers import sasl_frame
from moorage.protocols.amqp.types import Int, Long, Timestamp, UByte, ULong
from tests.servers.amqp.speaking import (
    by_key,
    dialled,
    is_connected,
    is_gone,
    next_sent,
    open_plainly,
    outcome_of,
    put_like,
    send_raw,
    settle,
    settles,
    token_of,
)
from tests.servers.amqp_clients import AMQPClient, Link, dial_amqp, plain_response
from tests.servers.world import World, eventually, named


async def _call(world: World, name: str, method: str, payload: Any = None) -> Any:
    path = "/twins/{}/modules/{}/methods".format(*name.split("/")) if "/" in name else f"/twins/{name}/methods"
    answer = await world.http.post(path, json={"methodName": method, "payload": payload})
    return answer.status_code, answer.json()


async def _pair(client: AMQPClient, address: str, correlation: str | None, channel: int = 0) -> tuple[Link, Link]:
    """Two links as those of methods and twins are: settled from the start, with a common correlation."""
    properties: dict[str, object] = {
        "com.microsoft:client-version": "tests/1",
        "com.microsoft:api-version": "2020-09-30",
    }
    if correlation is not None:
        properties["com.microsoft:channel-correlation-id"] = correlation
    more: dict[str, Any] = {"settled": True, "rcv_settle_mode": 0, "properties": properties, "channel": channel}
    up = await client.attach(address, **more)
    down = await client.attach(address, is_sender=False, credit=100, **more)
    assert up.error is down.error is None
    return up, down


def _twin_request(operation: str, resource: str, correlation: object, body: bytes = b" ", **more: object) -> Message:
    annotations: dict[str, object] = {"operation": operation, **more}
    if resource:
        annotations["resource"] = resource
    return Message(message_annotations=annotations, properties=Properties(correlation_id=correlation), data=body)


# --- C ----------------------------------------------------------------------------


async def test_c_by_key_begins_with_mssbcbs_and_sends_everything_as_a_batch(pump: World) -> None:
    async with dialled(pump) as client:
        assert await client.say_hello(MSSBCBS) == 0
        replies = await client.attach(
            "$cbs", is_sender=False, name="cbs-receiver", source=Source("$cbs"), target=Target("cbs"), credit=10_000
        )
        requests = await client.attach("$cbs", name="cbs-sender", source=Source("cbs"), target=Target("$cbs"))
        audience = "localhost/devices/pump-01"
        answer = await put_like(client, requests, replies, token_of(pump, "pump-01"), ULong(0), audience)
        assert answer.application_properties == {"status-code": 200, "status-description": "OK"}

        base = "amqps://localhost/devices/pump-01"
        properties = {"com.microsoft:client-version": "iothubclient/1.14 (Linux; x86_64)"}
        link = await client.attach(
            f"{base}/messages/events", name="link-snd-pump-01-1", source=Source("link-snd-pump-01-1-source"),
            max_message_size=18_446_744_073_709_551_615, rcv_settle_mode=0, properties=properties,
        )  # fmt: skip
        # Sections in C's own order.
        one = b"".join(
            part.encode()
            for part in (
                Message(properties=Properties(message_id="m-1", content_type="application/json")),
                Message(application_properties={"kind": "heat", "iothub-message-schema": "s"}),
                Message(message_annotations={"Diagnostic-Id": "d1", "Correlation-Context": "creationtimeutc=1"}),
                Message(data=b'{"t": 1}'),
            )
        )
        two = Message(data=b"second").encode()
        number = send_raw(client, link, Message(data=(one, two)).encode(), message_format=BATCHED)
        assert isinstance(await outcome_of(client, number), Accepted)
        first, second = await pump.telemetry()
        assert (first.body, second.body) == (b'{"t": 1}', b"second")
        shown = telemetry_json(first)
        assert shown["properties"] == {"kind": "heat"}
        told = shown["systemProperties"]
        assert (told["message-id"], told["content-type"]) == ("m-1", "application/json")
        assert b"$.diagid=d1" in first.bag


async def test_c_receives_with_a_small_link_and_settles_as_it_likes(pump: World) -> None:
    async with dialled(pump) as client:
        assert await client.say_hello(MSSBCBS) == 0
        assert await client.put_token(token_of(pump, "pump-01")) == 200
        base = "amqps://localhost/devices/pump-01"
        link = await client.attach(
            f"{base}/messages/devicebound", is_sender=False, credit=10_000, max_message_size=65_536, rcv_settle_mode=0
        )
        sent = await pump.send("pump-01", b"hello", properties={"a": "b"}, correlation_id="c-1")
        transfer, message = await next_sent(client, link)
        assert not transfer.settled
        assert message.data == (b"hello",)
        assert message.properties is not None
        assert message.properties.to == "/devices/pump-01/messages/devicebound"
        assert (message.properties.message_id, message.properties.correlation_id) == (sent.message_id, "c-1")
        assert message.application_properties == {"a": "b"}
        notes = message.message_annotations
        assert type(notes["x-opt-sequence-number"]) is ULong
        assert type(notes["iothub-deliverycount"]) is UByte
        assert type(notes["iothub-enqueuedtime"]) is Timestamp
        assert transfer.delivery_id is not None
        settle(client, link, transfer.delivery_id, Released())
        # Abandoned, and there again.
        again, _ = await next_sent(client, link)
        assert again.delivery_id is not None
        settle(client, link, again.delivery_id, Accepted())
        await eventually(lambda: not pump.queued("pump-01"))


async def test_c_checks_the_types_of_what_it_hears_of_methods_and_twins(pump: World) -> None:
    await pump.set_desired("pump-01", {"level": 3})
    async with dialled(pump) as client:
        assert await client.say_hello(MSSBCBS) == 0
        assert await client.put_token(token_of(pump, "pump-01")) == 200
        base = "amqps://localhost/devices/pump-01"
        answers, calls = await _pair(client, f"{base}/methods/devicebound", "pump-01")
        calling = asyncio.ensure_future(_call(pump, "pump-01", "reboot", {"in": 1}))
        _, call = await next_sent(client, calls)
        assert call.properties is not None
        assert isinstance(call.properties.correlation_id, uuid.UUID)
        assert (call.application_properties, json.loads(call.body)) == ({"IoThub-methodname": "reboot"}, {"in": 1})
        client.transfer(
            answers,
            Message(
                properties=Properties(correlation_id=call.properties.correlation_id),
                application_properties={"IoThub-status": Int(-3)},
                data=b'{"done":true}',
            ),
            settled=True,
        )
        assert await calling == (200, {"status": -3, "payload": {"done": True}})

        questions, replies = await _pair(client, f"{base}/twin", f"twin:{uuid.uuid4()}")
        client.transfer(questions, _twin_request("PUT", "/notifications/twin/properties/desired", "p-1"), settled=True)
        _, subscribed = await next_sent(client, replies)
        client.transfer(questions, _twin_request("GET", "", "g-1"), settled=True)
        _, got = await next_sent(client, replies)
        client.transfer(questions, _twin_request("PATCH", "/properties/reported", "r-1", b'{"on":true}'), settled=True)
        _, reported = await next_sent(client, replies)
        for answer, correlation in ((subscribed, "p-1"), (got, "g-1"), (reported, "r-1")):
            assert answer.properties is not None and answer.properties.correlation_id == correlation
            assert type(answer.message_annotations["status"]) is Int
        assert json.loads(got.body)["desired"] == {"level": 3, "$version": 2}
        assert reported.message_annotations == {"status": 204, "version": 2}
        assert type(reported.message_annotations["version"]) is Long
        await pump.set_desired("pump-01", {"level": 4})
        _, patch = await next_sent(client, replies)
        assert patch.properties is None or patch.properties.correlation_id is None
        assert json.loads(patch.body) == {"level": 4, "$version": 3}


async def test_a_call_that_is_too_large_for_the_link_of_a_device_is_refused_and_the_next_one_made(pump: World) -> None:
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        where = "/devices/pump-01/methods/devicebound"
        calls = await client.attach(where, is_sender=False, credit=10, max_message_size=1000)
        status, _ = await _call(pump, "pump-01", "reboot", "x" * 1000)
        assert status == 413
        calling = asyncio.ensure_future(_call(pump, "pump-01", "reboot", "x"))
        _, call = await next_sent(client, calls)
        assert call.properties is not None
        answered = Properties(correlation_id=call.properties.correlation_id)
        answer = Message(properties=answered, application_properties={"IoThub-status": Int(200)})
        client.transfer(await client.attach(where), answer, settled=True)
        assert await calling == (200, {"status": 200, "payload": None})


# --- C# ----------------------------------------------------------------------------


async def test_csharp_settles_second_and_makes_a_guid_of_the_delivery_tag(pump: World) -> None:
    async with dialled(pump) as client:
        theirs = await open_plainly(client, max_frame_size=65_536, idle_time_out=120_000)
        assert theirs.max_frame_size == 65_536
        # Tokens have a session of their own.
        assert await client.put_token(token_of(pump, "pump-01")) == 200
        await client.begin(1)
        link = await client.attach(
            "amqps://localhost:5671/devices/pump-01/messages/deviceBound",
            is_sender=False, channel=1, credit=50, rcv_settle_mode=1, name="deviceReceiveMessageLink",
            source=Source("amqps://localhost:5671/devices/pump-01/messages/deviceBound"),
        )  # fmt: skip
        answered = next(
            each.body for each in client.frames if isinstance(each.body, Attach) and each.body.role is SENDER
            and each.channel == 1
        )  # fmt: skip
        assert answered.rcv_settle_mode == 1
        await pump.send("pump-01", b"one")
        transfer, message = await next_sent(client, link)
        assert transfer.delivery_tag is not None and transfer.delivery_id is not None
        assert len(transfer.delivery_tag) == 16
        lock = message.message_annotations["x-opt-lock-token"]
        assert str(uuid.UUID(bytes_le=transfer.delivery_tag)) == lock
        settle(client, link, transfer.delivery_id, Accepted(), settled=False)
        heard = await client.find(settles(transfer.delivery_id, 1, role=False))
        assert heard.body.settled and isinstance(heard.body.state, Accepted)
        # The hub has settled, so the message is gone for good.
        assert pump.queued("pump-01") == []


async def test_csharp_pools_a_thousand_devices_on_one_connection(world: World) -> None:
    names = [f"pooled-{number:04}" for number in range(1000)]
    for name in names:
        await world.create(name)
    async with dialled(world) as client:
        await open_plainly(client, max_frame_size=65_536)
        cbs_in = await client.attach("$cbs", is_sender=False, credit=5000)
        cbs_out = await client.attach("$cbs")
        # All at once, as tasks that nobody waits for: a session each, a token each, and then a link of the same name.
        for at, _ in enumerate(names, 1):
            client.say(Begin(None, 0, 2048, 2048), channel=at)
        for at, name in enumerate(names):
            client.transfer(
                cbs_out,
                Message(
                    properties=Properties(message_id=ULong(at)),
                    application_properties={
                        "operation": "put-token",
                        "type": "servicebus.windows.net:sastoken",
                        "name": f"localhost/devices/{name}",
                    },
                    value=token_of(world, name),
                ),
                settled=True,
            )
            if at % 50 == 49:
                for _ in range(50):
                    answer = await client.received(cbs_in)
                    assert answer.application_properties["status-code"] == 200, answer.application_properties
        links = [
            await client.attach(f"/devices/{name}/messages/events", channel=at, name="telemetryLink")
            for at, name in enumerate(names, 1)
        ]
        assert [link.error for link in links if link.error] == []
        assert len(world.app.live) == 1000
        for link in links[::100]:
            assert await client.send(link, Message(data=b"1")) is None
        # One of them goes, and the others do not notice.
        await world.delete(names[500])
        error = await client.detached(links[500])
        assert error is not None and error.condition == "amqp:unauthorized-access"
        assert await client.send(links[501], Message(data=b"1")) is None
        assert len(world.app.live) == 999
    await eventually(lambda: len(world.app.live) == 0)


async def test_csharp_says_its_model_on_the_link_of_its_telemetry(pump: World) -> None:
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        link = await client.attach(
            "/devices/pump-01/messages/events", properties={"com.microsoft:model-id": "dtmi:plant:pump;1"}
        )
        assert await client.send(link, Message(data=b"{}")) is None
        (message,) = await pump.telemetry()
        assert message.source.model_id == "dtmi:plant:pump;1"
        await eventually(lambda: pump.twins.get(DEFAULT_HUB, named("pump-01")).model_id == "dtmi:plant:pump;1")


# --- Java ----------------------------------------------------------------------------


async def test_java_has_small_frames_and_uuids_for_numbers(pump: World) -> None:
    await pump.set_desired("pump-01", {"text": "x" * 3000, "more": "y" * 3000})
    async with dialled(pump) as client:
        client.raw(*_sasl_anonymous())
        await client.expect(SaslOutcome)
        await open_plainly(client, max_frame_size=4096, idle_time_out=230_000)
        replies = await client.attach("$cbs", is_sender=False, credit=100, settled=True)
        requests = await client.attach("$cbs")
        number = uuid.uuid4()
        answer = await put_like(
            client, requests, replies, token_of(pump, "pump-01"), number, "localhost/devices/pump-01"
        )
        assert answer.properties is not None
        assert answer.properties.correlation_id == number
        assert type(answer.application_properties["status-code"]) is Int

        await client.begin(1)
        asks, hears = await _pair(client, "/devices/pump-01/twin", f"twin:{uuid.uuid4()}", channel=1)
        correlation = uuid.uuid4()
        # Java says the version, and sends no body where there is none.
        request = Message(
            message_annotations={"operation": "GET", "version": Int(0)},
            properties=Properties(correlation_id=correlation),
            data=(),
        )
        client.transfer(asks, request, settled=True)
        pieces = b""
        while True:
            heard = await client.find(lambda each: isinstance(each.body, Transfer) and each.channel == 1)
            assert len(heard.data) <= 4096
            pieces += heard.payload
            if not heard.body.more:
                break
        got = Message.decode(pieces)
        assert got.properties is not None and got.properties.correlation_id == correlation
        assert len(json.loads(got.body)["desired"]["text"]) == 3000
        assert hears.error is None
        # A version that is not the twin's is no reason to take the patch.
        wrong = _twin_request("PATCH", "/properties/reported", uuid.uuid4(), b'{"a":1}', version=Int(77))
        client.transfer(asks, wrong, settled=True)
        _, refused = await next_sent(client, hears)
        assert refused.message_annotations["status"] == 412


async def test_java_refreshes_its_token_on_the_same_links_and_stays(pump: World) -> None:
    async with dialled(pump) as client:
        await open_plainly(client)
        replies = await client.attach("$cbs", is_sender=False, credit=100)
        requests = await client.attach("$cbs")
        audience = "localhost/devices/pump-01"
        short = token_of(pump, "pump-01", lives=timedelta(minutes=-4))
        await put_like(client, requests, replies, short, uuid.uuid4(), audience)
        link = await client.attach("/devices/pump-01/messages/events")
        for _ in range(3):
            pump.turn(50)
            # A clock may be five minutes off.
            longer = token_of(pump, "pump-01", lives=timedelta(minutes=-4))
            answer = await put_like(client, requests, replies, longer, uuid.uuid4(), audience)
            assert answer.application_properties["status-code"] == 200
            # Whatever the hub says of its own accord meanwhile, the link stays.
            assert await client.send(link, Message(data=b"still here")) is None
        assert len(await pump.telemetry()) == 3
        # And without a refresh it goes.
        pump.turn(65)
        error = await client.detached(link)
        assert error is not None and error.condition == "amqp:unauthorized-access"


async def test_java_reconnects_with_links_of_the_same_names(pump: World) -> None:
    for attempt in range(3):
        client = await dial_amqp(pump)
        await by_key(client, pump, "pump-01")
        for is_sender, rest in ((True, "messages/events"), (False, "messages/devicebound")):
            link = await client.attach(f"/devices/pump-01/{rest}", is_sender=is_sender, name=f"{is_sender}-link")
            assert link.error is None, attempt
        if attempt < 2:
            client.close()
            await is_gone(pump, "pump-01")
    client.close()


# --- plain clients, and who shows what ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pump-01", "pump-01/motor"])
async def test_a_plain_client_has_one_token_for_its_whole_connection(pump: World, name: str) -> None:
    if "/" in name:
        await pump.create(name)
    async with dialled(pump) as client:
        device, _, module = name.partition("/")
        user = f"{device}/modules/{module}" if module else device
        # Five minutes after its end, for clocks that are off.
        lives = timedelta(minutes=-4)
        response = plain_response(f"{user}@sas.localhost", token_of(pump, name, lives=lives))
        assert await client.say_hello(PLAIN, response) == 0
        base = f"/devices/{device}" + (f"/modules/{module}" if module else "")
        link = await client.attach(f"{base}/messages/events")
        assert link.error is None
        assert await client.send(link, Message(data=b"1")) is None
        pump.turn(65)
        # Its end is the connection's.
        await client.rest()
        assert client.closed_with is not None
        assert client.closed_with.condition == "amqp:unauthorized-access"


async def test_a_plain_client_that_shows_a_wrong_token_hears_so_from_sasl(pump: World) -> None:
    async with dialled(pump) as client:
        assert await client.say_hello(PLAIN, plain_response("pump-01@sas.localhost", "no token")) == 1
        await client.rest()
    assert await pump.reason("pump-01") == "token.malformed"


@pytest.mark.parametrize(
    ("user", "door"),
    [
        ("iothubowner@sas.root.localhost", "service"),
        ("iothubowner@sas.localhost", "hub.amqp"),
        # A hub that is called so has devices too.
        ("iothubowner@sas.root", "hub.amqp"),
    ],
)
async def test_a_back_end_with_a_wrong_token_is_not_written_down_as_a_device(pump: World, user: str, door: str) -> None:
    async with dialled(pump) as client:
        assert await client.say_hello(PLAIN, plain_response(user, "no token")) == 1
        await client.rest()
    (attempt,) = await pump.attempts("iothubowner")
    assert (attempt.door, attempt.reason) == (door, "token.malformed")


@pytest.mark.parametrize("how", [EXTERNAL, "ANONYMOUS", MSSBCBS, None])
async def test_a_certificate_lets_in_with_any_mechanism_and_with_none(world: World, how: str | None) -> None:
    issued = await world.create_by_authority("pump-01")
    async with dialled(world, issued) as client:
        if how is None:
            await open_plainly(client)
        else:
            assert await client.say_hello(how) == 0
        link = await client.attach("/devices/pump-01/messages/events")
        assert link.error is None
        assert await client.send(link, Message(data=b"1")) is None
        (message,) = await world.telemetry()
        assert json.loads(message.source.auth_method)["type"] == "x509Certificate"


async def test_who_came_before_tokens_were_put_attaches_without_one_and_is_refused(pump: World) -> None:
    """Clients older than CBS, without SASL, a certificate, or a token (services.md C-11)."""
    async with dialled(pump) as client:
        await open_plainly(client)
        link = await client.attach("/devices/pump-01/messages/events")
        assert link.error is not None and link.error.condition == "amqp:unauthorized-access"
        # The connection is still there for a token, and then it works.
        assert await client.put_token(token_of(pump, "pump-01")) == 200
        link = await client.attach("/devices/pump-01/messages/events")
        assert link.error is None


async def test_the_words_of_an_address_are_compared_without_case_and_ids_decoded(world: World) -> None:
    await world.create("Pump#01")
    async with dialled(world) as client:
        await open_plainly(client)
        assert await client.put_token(token_of(world, "Pump#01")) == 200, client.told
        for address in ("/Devices/Pump%2301/Messages/Events", "amqps://localhost/devices/Pump%2301/messages/events"):
            link = await client.attach(address)
            assert link.error is None, link.error
            assert await client.send(link, Message(data=b"1")) is None
        assert len(await world.telemetry("Pump#01")) == 2


async def test_the_edge_puts_the_tokens_of_many_on_one_connection_in_lower_case(world: World) -> None:
    for name in ("Edge-01", "Edge-01/$edgeHub", "Edge-01/Filter"):
        await world.create(name)
    async with dialled(world) as client:
        await open_plainly(client)
        for name in ("Edge-01/$edgeHub", "Edge-01/Filter"):
            device, module = name.split("/")
            lowered = token_of(world, f"{device.lower()}/{module.lower()}")
            assert await client.put_token(lowered) == 200
        for at, module in enumerate(("$edgeHub", "Filter"), 1):
            await client.begin(at)
            base = f"amqps://localhost/devices/Edge-01/modules/{module.replace('$', '%24')}"
            up = await client.attach(f"{base}/messages/events", channel=at, name="same")
            # Inputs: a module receives where its telemetry goes.
            down = await client.attach(f"{base}/messages/events", is_sender=False, channel=at, name="same", credit=10)
            assert up.error is down.error is None
            asks, hears = await _pair(client, f"{base}/twin", f"twin:{uuid.uuid4()}", channel=at)
            client.transfer(asks, _twin_request("GET", "", f"get-{at}"), settled=True)
            _, twin = await next_sent(client, hears)
            assert twin.message_annotations["status"] == 200
        assert is_connected(world, "Edge-01/$edgeHub")
        assert is_connected(world, "Edge-01/Filter")
        # The device itself has shown nothing.
        link = await client.attach("/devices/Edge-01/messages/events")
        assert link.error is not None and link.error.condition == "amqp:unauthorized-access"


def _sasl_anonymous() -> tuple[bytes, ...]:
    return SASL_HEADER, sasl_frame(encode(SaslInit("ANONYMOUS", b"", "localhost")))

"""MQTT in WebSockets on the HTTPS port: what is let through, what is refused and how, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket as tcp
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from moorage.ids import DEFAULT_HUB
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.packets import ConnAck, Connect, Disconnect, PingReq, PingResp, PubAck, Publish
from moorage.protocols.mqtt.topics import TopicName
from tests import certs
from tests.servers.clients import Client, return_code, tls_context
from tests.servers.http_clients import RawHTTP
from tests.servers.websockets import PATH, WebSocket, dial_mqtt, frame, opened, upgrade
from tests.servers.world import World, eventually, named

EVENTS = "devices/pump-01/messages/events/"


@asynccontextmanager
async def raw(world: World, issued: certs.Issued | None = None) -> AsyncIterator[RawHTTP]:
    async with RawHTTP(world, tls_context(world.app.info().ca_bundle, issued)) as http:
        yield http


async def connect(world: World, name: str = "pump-01", **more: Any) -> tuple[Client, WebSocket]:
    """A device with a key, let in."""
    client, socket = await dial_mqtt(world)
    assert return_code(await client.say_hello(name, password=world.token(name), **more)) == 0
    return client, socket


async def bodies(world: World, count: int) -> list[bytes]:
    """The first `count` messages of pump-01 in the log, once they are there."""
    async with asyncio.timeout(10):
        while len(messages := await world.telemetry()) < count:  # noqa: ASYNC110  # the log tells nobody
            await asyncio.sleep(0.005)
    return [message.body for message in messages]


# -- who is let through ------------------------------------------------------------------------------------------------


async def test_a_certificate_opens_the_hub_and_the_record_says_which_way_it_came(world: World) -> None:
    issued = await world.create_by_authority("pump-01")
    client, _ = await dial_mqtt(world, issued)
    assert return_code(await client.say_hello("pump-01")) == 0
    client.publish(EVENTS, b"hello")
    await client.acks(1)
    assert await bodies(world, 1) == [b"hello"]
    (attempt,) = await world.attempts("pump-01")
    assert (attempt.door, attempt.reason, attempt.credential) == ("hub.mqtt-ws", None, "x509")
    session = world.app.live.find(DEFAULT_HUB, named("pump-01"))
    assert session is not None
    line = session.line()
    assert line.protocol == "MQTT 3.1.1 over WebSocket"
    assert line.certificate == issued.certificate.der


async def test_everything_of_a_session_works_as_it_does_without(world: World) -> None:
    await world.create("pump-01")
    client, _ = await connect(world)
    assert await client.subscribe("$iothub/twin/res/#", "$iothub/methods/POST/#") == (1, 1)
    await client.subscribe("devices/pump-01/messages/devicebound/#")
    client.publish("$iothub/twin/GET/?$rid=1", qos=0)
    twin = await client.expect(Publish)
    assert bytes(twin.topic).startswith(b"$iothub/twin/res/200/?$rid=1")
    await world.send("pump-01", b"turn left")
    message = await client.expect(Publish)
    assert message.body == b"turn left"
    client.acknowledge(message)
    await eventually(lambda: not world.queued("pump-01"))
    asking = asyncio.ensure_future(
        world.http.post("/twins/pump-01/methods", json={"methodName": "stop", "payload": 1}, timeout=20)
    )
    call = await client.expect(Publish)
    request_id = bytes(call.topic).rpartition(b"=")[2].decode()
    client.publish(f"$iothub/methods/res/200/?$rid={request_id}", b'{"ok": true}', qos=0)
    assert (await asking).json() == {"status": 200, "payload": {"ok": True}}


@pytest.mark.parametrize("path", ["/", "/mqtt", PATH, f"{PATH}?iothub-no-client-cert=true", "/no/such/page"])
async def test_the_path_and_javas_hint_change_nothing(world: World, path: str) -> None:
    issued = await world.create_pinned("pump-01")
    client, _ = await dial_mqtt(world, issued, path=path)
    assert return_code(await client.say_hello("pump-01")) == 0


@pytest.mark.parametrize("protocol", ["mqtt", "MQTT", "Mqtt"])
async def test_the_subprotocol_comes_back_as_the_client_spells_it(world: World, protocol: str) -> None:
    await world.create("pump-01")
    client, _ = await dial_mqtt(world, protocol=protocol)
    assert return_code(await client.say_hello("pump-01", password=world.token("pump-01"))) == 0


async def test_the_first_subprotocol_that_is_known_is_taken(world: World) -> None:
    async with raw(world) as http:
        upgrade(http, "Sec-WebSocket-Protocol: mqtt, mqttv3.1", protocol="soap, ,mqttv5")
        opened(await http.response())


async def test_a_device_provisions_in_a_websocket(world: World) -> None:
    client, _ = await dial_mqtt(world, certs.self_signed("pump-01"))
    scope = world.app.info().id_scope
    answer = await client.say_hello("pump-01", user_name=f"{scope}/registrations/pump-01/api-version=2019-03-31")
    assert return_code(answer) == 0
    await client.subscribe("$dps/registrations/res/#")
    client.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", json.dumps({"registrationId": "pump-01"}).encode())
    await client.expect(PubAck)
    told = await client.expect(Publish)
    assert bytes(told.topic) == b"$dps/registrations/res/401/?$rid=1"
    (attempt,) = await world.attempts("pump-01")
    assert (attempt.door, attempt.reason) == ("dps.mqtt-ws", "enrollment.unknown")


async def test_who_is_refused_hears_it_from_mqtt_and_then_a_close(world: World) -> None:
    await world.create("pump-01")
    client, socket = await dial_mqtt(world)
    assert return_code(await client.say_hello("pump-01", password=b"SharedAccessSignature no")) == 5
    assert (await socket.closed()).code == 1000
    assert await world.reason("pump-01") == "token.malformed"


async def test_a_session_is_taken_over_between_a_socket_and_a_websocket(world: World) -> None:
    await world.create("pump-01")
    plain = await world.connect("pump-01")
    client, socket = await connect(world)
    await plain.rest()
    client.publish(EVENTS, b"1")
    await client.acks(1)
    again = await world.connect("pump-01")
    assert (await socket.closed()).code == 1000
    again.publish(EVENTS, b"2")
    await again.acks(1)


# -- upgrades that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", ["", "soap", "AMQPWSB11", "mqttx"])
async def test_an_unknown_subprotocol_is_told_what_there_is(world: World, offered: str) -> None:
    async with raw(world) as http:
        upgrade(http, protocol=offered)
        answer = await http.response()
        assert answer.status == 400
        assert repr(offered or "none").strip("'") in answer.body.decode()
        assert "mqtt" in answer.body.decode()
        world.turn(4)
        assert await http.is_closed()


WEBSOCKET = ["Upgrade: websocket", "Connection: Upgrade"]
VERSION, KEY, PROTOCOL = (
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: mqtt",
)


BAD_HANDSHAKES = [
    ("POST", [VERSION, KEY, PROTOCOL], 400),
    ("GET", [KEY, PROTOCOL], 426),
    ("GET", ["Sec-WebSocket-Version: 8", KEY, PROTOCOL], 426),
    ("GET", [VERSION, "Sec-WebSocket-Version: 8", KEY, PROTOCOL], 426),
    ("GET", [VERSION, PROTOCOL], 400),
    ("GET", [VERSION, "Sec-WebSocket-Key: c2hvcnQ=", PROTOCOL], 400),
    ("GET", [VERSION, "Sec-WebSocket-Key: no Base64 at all!", PROTOCOL], 400),
    ("GET", [VERSION, KEY, KEY, PROTOCOL], 400),
    ("GET", [VERSION, KEY, PROTOCOL, "Content-Length: 2"], 400),
    ("GET", [VERSION, KEY, PROTOCOL, "Transfer-Encoding: chunked"], 400),
]


async def test_a_handshake_that_breaks_the_rules_is_refused(world: World) -> None:
    for method, headers, status in BAD_HANDSHAKES:
        async with raw(world) as http:
            http.ask(method, PATH, *WEBSOCKET, *headers)
            if "Content-Length: 2" in headers:
                http.say("{}")
            elif "Transfer-Encoding: chunked" in headers:
                http.say("0\r\n\r\n")
            answer = await http.response()
            assert answer.status == status, (method, headers)
            assert answer.headers["content-type"].startswith("text/plain") and answer.body
            if status == 426:
                assert (answer.headers["sec-websocket-version"], answer.headers["upgrade"]) == ("13", "websocket")
            world.turn(4)
            assert await http.is_closed()


async def test_http_1_0_has_no_websockets(world: World) -> None:
    async with raw(world) as http:
        http.ask("GET", PATH, *WEBSOCKET, VERSION, KEY, PROTOCOL, version="1.0")
        assert (await http.response()).status == 400


async def test_other_upgrades_are_no_business_of_ours(world: World) -> None:
    async with raw(world) as http:
        http.ask("GET", "/healthz", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk")
        assert (await http.response()).status == 200


@pytest.mark.parametrize(
    ("origin", "shows", "status"),
    [
        ("https://localhost:443", True, 101),
        ("https://evil.example", False, 101),
        ("https://evil.example", True, 403),
        ("null", True, 403),
        ("https://[", True, 403),
    ],
)
async def test_a_page_of_somebody_else_may_not_use_the_browsers_certificate(
    world: World, origin: str, shows: bool, status: int
) -> None:
    async with raw(world, certs.self_signed("pump-01") if shows else None) as http:
        upgrade(http, f"Origin: {origin}")
        assert (await http.response()).status == status


# -- frames ------------------------------------------------------------------------------------------------------------


def hello(world: World) -> bytes:
    user_name = "localhost/pump-01/?api-version=2021-04-12"
    return codec.encode(Connect("pump-01", True, 240, user_name, world.token("pump-01"), None))


def telemetry(body: bytes, packet_id: int) -> bytes:
    return codec.encode(Publish(TopicName(EVENTS.encode()), body, 1, packet_id))


async def test_packets_and_frames_need_not_end_together(world: World) -> None:
    await world.create("pump-01")
    client, socket = await dial_mqtt(world)
    client.expect_connack()
    packets = hello(world) + telemetry(b"one", 1) + telemetry(b"two", 2)
    first, second, third = packets[:20], packets[20:-5], packets[-5:]
    socket.raw(frame(first) + frame(b"") + frame(second, fin=False) + frame(b"?", 9) + frame(third, 0))
    assert isinstance(await client.next(), ConnAck)
    assert await client.acks(2) == [1, 2]
    assert socket.pongs == [b"?"]
    assert await bodies(world, 2) == [b"one", b"two"]


async def test_everything_may_come_a_byte_at_a_time(world: World) -> None:
    await world.create("pump-01")
    async with raw(world) as http:
        http.writer.transport.set_write_buffer_limits(0)
        head = f"GET / HTTP/1.1\r\nHost: localhost\r\n{WEBSOCKET[0]}\r\n{WEBSOCKET[1]}\r\n{VERSION}\r\n{KEY}\r\n"
        for byte in f"{head}{PROTOCOL}\r\n\r\n".encode() + frame(hello(world)) + frame(telemetry(b"slow", 7)):
            http.say(bytes((byte,)))
            await asyncio.sleep(0)
        opened(await http.response())
        socket = WebSocket(http.reader, http.writer)
        async with asyncio.timeout(10):
            heard = b""
            while len(heard) < 8:
                heard += await socket.read()
        assert heard == bytes((0x20, 2, 0, 0, 0x40, 2, 0, 7))


async def test_what_follows_the_handshake_at_once_is_not_lost(world: World) -> None:
    await world.create("pump-01")
    async with raw(world) as http:
        head = "\r\n".join(("GET / HTTP/1.1", "Host: localhost", *WEBSOCKET, VERSION, KEY, PROTOCOL, "", ""))
        last_words = telemetry(b"bye", 1) + codec.encode(Disconnect())
        http.say(head.encode() + frame(hello(world)) + frame(last_words) + frame(b"\x03\xe8", 8))
        opened(await http.response())
        assert await http.is_closed()
    assert await bodies(world, 1) == [b"bye"]


BAD_FRAMES = {
    "unmasked": (b"\x82\x02hi", 1002),
    "opcode 3": (frame(b"", 3), 1002),
    "opcode 11": (frame(b"", 11), 1002),
    "rsv 1": (frame(b"x", rsv=4), 1002),
    "rsv 3": (frame(b"x", rsv=1), 1002),
    "continues nothing": (frame(b"x", 0), 1002),
    "is not continued": (frame(b"x", fin=False) + frame(b"y"), 1002),
    "a ping in pieces": (frame(b"", 9, fin=False), 1002),
    "a long ping": (frame(b"p" * 126, 9), 1002),
    "a Close of one byte": (frame(b"\x03", 8), 1002),
    "a Close with 1005": (frame(b"\x03\xed", 8), 1002),
    "16 bits for a short length": (b"\x82\xfe\x00\x05", 1002),
    "64 bits for a short length": (b"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x05", 1002),
    "a length with a sign": (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1002),
    "text": (frame(b"{}", 1), 1003),
    "text that is not UTF-8": (frame(b"\xff\xfe", 1), 1007),
    "MQTT begins with PINGREQ": (frame(b"\xc0\x00"), 1002),
    "HTTP within": (frame(b"GET / HTTP/1.1\r\n\r\n" * 20), 1002),
}


async def test_bad_frames_are_answered_with_a_close_that_says_why(world: World) -> None:
    for wrong, (sent, code) in BAD_FRAMES.items():
        _, socket = await dial_mqtt(world)
        # What follows is dropped, whatever it is.
        socket.raw(sent + bytes(1000))
        close = await socket.closed(answer=False)
        assert (close.code, bool(close.reason)) == (code, True), wrong
        world.turn(7)
        await socket.cut()


async def test_a_fault_of_mqtt_is_named_in_the_close(world: World) -> None:
    await world.create("pump-01")
    client, socket = await connect(world)
    client.publish("somebody/elses/topic")
    close = await socket.closed()
    assert (close.code, close.reason) == (1002, "mqtt.topic")


async def test_a_frame_of_a_hundred_megabytes_is_only_a_long_way_to_its_end(world: World) -> None:
    await world.create("pump-01")
    client, socket = await connect(world)
    socket.raw(frame(telemetry(b"within", 1), length=100 * 2**20))
    assert await client.acks(1) == [1]
    assert await bodies(world, 1) == [b"within"]
    client.close()
    await eventually(lambda: not world.app.directory.count(DEFAULT_HUB))


async def test_many_small_frames_are_all_read_and_let_others_have_their_turn(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    client, socket = await connect(world)
    other = await world.connect("pump-02")
    count = 4000
    socket.raw(frame(b"", 9) * count + frame(telemetry(b"after all", 1)))
    other.say(PingReq())
    assert await other.next() == PingResp()
    assert await client.acks(1) == [1]
    assert len(socket.pongs) == count


async def test_who_asks_and_does_not_listen_is_dropped(world: World) -> None:
    await world.create("pump-01")
    client, socket = await connect(world)
    client.stop_reading()
    pings = frame(b"p" * 125, 9) * 2000
    async with asyncio.timeout(60):
        while world.app.directory.count(DEFAULT_HUB):
            if socket.transport.get_write_buffer_size() < 2**20:
                socket.raw(pings)
            await asyncio.sleep(0.001)


# -- time and the end --------------------------------------------------------------------------------------------------


async def test_a_close_is_answered_with_the_same_code(world: World) -> None:
    await world.create("pump-01")
    _, socket = await connect(world)
    socket.say_close(4000, "enough")
    close = await socket.closed(answer=False)
    assert close.code == 4000
    await eventually(lambda: not world.app.directory.count(DEFAULT_HUB))


async def test_a_close_that_nobody_answers_does_not_hold_the_connection(world: World) -> None:
    await world.create("pump-01")
    client, socket = await connect(world)
    client.say(Disconnect())
    assert (await socket.closed(answer=False)).code == 1000
    # The session is over at once.
    await eventually(lambda: not world.app.directory.count(DEFAULT_HUB))
    streams = [stream for door in world.app.listeners.doors for stream in door.streams]
    assert len(streams) == 1
    socket.raw(frame(telemetry(b"I am still here", 1)))
    world.turn(7)
    await socket.cut()
    await eventually(lambda: not any(door.streams for door in world.app.listeners.doors))
    assert await world.telemetry() == []


async def test_pings_of_the_websocket_are_no_sign_of_life_of_the_device(world: World) -> None:
    await world.create("pump-01")
    _, socket = await connect(world, keep_alive_s=20)
    for _ in range(3):
        world.turn(9)
        socket.raw(frame(b"", 9))
        await socket.pong()
    world.turn(9)
    assert (await socket.closed()).code == 1000


async def test_a_session_without_a_word_ends_after_its_keep_alive(world: World) -> None:
    await world.create("pump-01")
    client, socket = await connect(world, keep_alive_s=20)
    world.turn(25)
    client.say(PingReq())
    assert await client.next() == PingResp()
    world.turn(25)
    assert not socket.close
    world.turn(7)
    assert (await socket.closed()).code == 1000


async def test_a_websocket_in_which_nobody_says_connect_ends(world: World) -> None:
    _, socket = await dial_mqtt(world)
    world.turn(30)
    world.turn(32)
    assert (await socket.closed()).code == 1000
    assert (await world.attempts(""))[0].reason == "mqtt.no_connect"


async def test_a_socket_that_is_gone_ends_its_session(world: World) -> None:
    await world.create("pump-01")
    client, _ = await connect(world)
    client.close()
    await eventually(lambda: not world.app.directory.count(DEFAULT_HUB))


async def test_a_half_closed_socket_ends_its_session(world: World) -> None:
    await world.create("pump-01")
    _, socket = await connect(world)
    # Below TLS: neither a Close nor a close_notify is sent.
    descriptor = os.dup(socket.transport.get_extra_info("socket").fileno())
    with tcp.socket(fileno=descriptor) as half:
        half.shutdown(tcp.SHUT_WR)
    await eventually(lambda: not world.app.directory.count(DEFAULT_HUB))


async def test_who_sends_half_a_handshake_is_not_waited_for(world: World) -> None:
    async with raw(world) as http:
        http.say("\r\n".join(("GET / HTTP/1.1", "Host: localhost", *WEBSOCKET, VERSION, KEY, "")))
        await eventually(lambda: any(door.streams for door in world.app.listeners.doors))
        world.turn(32)
        assert await http.is_closed()


async def test_a_hub_that_stops_says_that_it_goes_away(world: World) -> None:
    await world.create("pump-01")
    _, socket = await connect(world)
    stopping = asyncio.ensure_future(world.app.listeners.close(10))
    close = await socket.closed()
    assert (close.code, close.reason) == (1001, "the hub is stopping")
    await stopping

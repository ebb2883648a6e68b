"""The HTTPS shell: requests of every shape, clients that go away, that stall, that lie about their bodies."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import ssl
import threading
from datetime import timedelta
from typing import Any

import pytest

from moorage.dialects.mqtt_hub import events_prefix
from moorage.identities.owner import OwnerKey
from moorage.ids import DEFAULT_HUB
from moorage.servers.front_door import SecureStream
from moorage.servers.http import HTTPParts, HTTPStream
from tests.servers.clients import PATIENCE_S
from tests.servers.http_clients import RawHTTP
from tests.servers.world import World, eventually, named

PATH = "/devices/pump-01?api-version=2021-04-12"
JSON = "Content-Type: application/json"


def auth(world: World) -> str:
    return f"Authorization: {world.service_token().reveal()}"


def owner(world: World) -> str:
    key = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
    return f"Authorization: Bearer {key.mint('api', timedelta(hours=1), world.clock.now()).reveal()}"


def answering() -> int:
    """Tasks that answer a request now."""
    return sum("HTTPStream._answer" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_one_connection_carries_many_requests(world: World) -> None:
    async with RawHTTP(world) as client:
        for _ in range(20):
            client.ask("GET", "/healthz")
            assert (await client.response()).status == 200


async def test_requests_sent_ahead_are_answered_in_order(world: World) -> None:
    paths = ["/healthz", "/nowhere", PATH, "/healthz"] * 10
    async with RawHTTP(world) as client:
        client.say("".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths))
        assert [(await client.response()).status for _ in paths] == [200, 404, 401, 200] * 10


async def test_a_body_may_come_in_chunks_and_in_pieces(world: World) -> None:
    body = b'{"deviceId": "pump-01"}'
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, auth(world), JSON, "Transfer-Encoding: chunked")
        for at in range(len(body)):
            client.say(b"1\r\n" + body[at : at + 1] + b"\r\n")
            await asyncio.sleep(0)
        client.say("0\r\n\r\n")
        response = await client.response()
        assert (response.status, json.loads(response.body)["deviceId"]) == (200, "pump-01")


async def test_a_client_that_asks_first_is_told_to_go_on(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, auth(world), JSON, "Expect: 100-continue", "Content-Length: 23")
        assert (await client.response()).status == 100
        client.say(b'{"deviceId": "pump-01"}')
        assert (await client.response()).status == 200


async def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, auth(world), "Expect: 100-continue", "Content-Length: 99999999999")
        response = await client.response()
        assert response.status == 413
        assert response.headers["connection"] == "close"


async def test_a_client_that_sends_all_before_it_reads_can_send_all_and_reads_why(world: World) -> None:
    """Closing with unread bytes would reset the connection, and with it the answer."""
    head = f"PUT {PATH} HTTP/1.1\r\nHost: localhost\r\n{auth(world)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    info = world.app.info()
    context = ssl.create_default_context(cafile=info.ca_bundle)

    def send_all() -> bytes:
        with socket.create_connection(("127.0.0.1", info.https_port), timeout=20) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as client:
                client.sendall(head.encode())
                for _ in range(160):
                    client.sendall(chunk)
                return client.recv(12)

    assert await asyncio.to_thread(send_all) == b"HTTP/1.1 413"


async def test_a_refused_client_that_never_stops_is_cut(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, auth(world), "Transfer-Encoding: chunked")
        for _ in range(80):
            client.say(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await client.writer.drain()
        assert (await client.response()).status == 413
        world.turn(15)
        assert await client.is_closed()


async def test_a_stranger_is_turned_away_before_his_body_is_read(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, JSON, "Content-Length: 4000000")
        client.say(bytes(100_000))
        assert (await client.response()).status == 401
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, JSON, "Content-Length: 4000000", "Expect: 100-continue")
        assert (await client.response()).status == 401
        world.turn(5)
        assert await client.is_closed()


async def test_what_was_begun_is_told_of_though_the_rest_of_its_request_makes_no_sense(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await world.create("pump-01")
    chunked = f"HTTP/1.1\r\nHost: x\r\n{auth(world)}\r\nTransfer-Encoding: chunked"
    go_on, is_busy = threading.Event(), threading.Event()

    def holds(_tables: object) -> None:
        is_busy.set()
        go_on.wait(PATIENCE_S)

    writing = asyncio.ensure_future(world.app.store.write(holds))
    await eventually(is_busy.is_set)
    async with RawHTTP(world) as client:
        client.say(f"DELETE {PATH} {chunked}\r\nIf-Match: *\r\n\r\n".encode())
        await eventually(lambda: world.app.store._writer._queue)
        client.say(b"zz\r\n")
        assert (await client.response()).status == 400
    go_on.set()
    await writing
    await eventually(lambda: "device.deleted hub=hub name=pump-01" in caplog.text)
    # What waits for a body does not begin.
    async with RawHTTP(world) as client:
        client.say(f"PUT {PATH} {chunked}\r\n{JSON}\r\n\r\n".encode())
        await eventually(answering)
        client.say(b"zz\r\n")
        assert (await client.response()).status == 400
    await eventually(lambda: not answering())
    assert world.app.store.read().identities.find(DEFAULT_HUB, named("pump-01")) is None
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_a_body_that_nobody_wanted_is_dropped_and_the_connection_goes_on(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, JSON, "Content-Length: 900000")
        assert (await client.response()).status == 401
        for _ in range(9):
            client.say(bytes(100_000))
            await client.writer.drain()
        client.ask("GET", "/healthz")
        assert (await client.response()).status == 200


async def test_a_body_that_nobody_wanted_is_not_waited_for_long(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("PUT", PATH, JSON, "Content-Length: 900000")
        assert (await client.response()).status == 401
        world.turn(5)
        assert await client.is_closed()


async def test_a_body_that_is_not_taken_waits_with_its_sender(world: World) -> None:
    """The application is busy elsewhere: what has come of the body is bounded, whatever is declared."""
    taken = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await taken.wait()
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]})
        await send({"type": "http.response.body", "body": str(size).encode()})

    made: list[HTTPStream] = []

    def waiting() -> int:
        return sum(len(piece) for stream in made for piece in stream._body)

    def handler(stream: SecureStream) -> HTTPStream:
        made.append(HTTPStream(HTTPParts(app, world.clock, 0), stream))
        return made[-1]

    door = world.app.listeners.doors[-1]
    before, door.handler = door.handler, handler
    try:
        async with RawHTTP(world) as client:
            client.ask("PUT", "/", "Content-Length: 4000000")
            for _ in range(40):
                client.say(bytes(100_000))
            await eventually(lambda: waiting() > 64 * 1024)
            await asyncio.sleep(0.2)
            assert waiting() < 512 * 1024
            taken.set()
            assert (await client.response()).body == b"4000000"
    finally:
        door.handler = before


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        b"\x00\xff\xfe nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HELO mail.example\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_in_the_400s_and_closed(world: World, request_line: bytes) -> None:
    async with RawHTTP(world) as client:
        client.say(request_line)
        response = await client.response()
        assert response.status in (400, 413, 431, 501)
        world.turn(5)
        assert await client.is_closed()


async def test_head_and_options_get_their_answers(world: World) -> None:
    async with RawHTTP(world) as client:
        for path in ("/healthz", PATH, "/nowhere"):
            client.ask("HEAD", path)
            response = await client.response(to="HEAD")
            assert response.status in (200, 401, 404, 405)
            client.ask("OPTIONS", path)
            assert (await client.response()).status in (200, 204, 401, 404, 405)
        client.ask("OPTIONS", "*")
        assert (await client.response()).status in (400, 404, 405)


async def test_nobody_gets_a_tunnel(world: World) -> None:
    async with RawHTTP(world) as client:
        client.say("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.response()
        assert response.status == 405
        assert response.headers["connection"] == "close"
        world.turn(5)
        assert await client.is_closed()


async def test_a_target_may_be_written_out_with_scheme_and_host(world: World) -> None:
    """RFC 9112 3.2.2."""
    async with RawHTTP(world) as client:
        client.ask("GET", "https://localhost/healthz?x=1")
        assert (await client.response()).status == 200
        client.ask("GET", "https://localhost")
        assert (await client.response()).status == 404


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_client_that_wants_one_answer_is_closed_after_it_and_nothing_is_logged(
    world: World, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with RawHTTP(world) as client:
        client.ask("GET", "/healthz", "Connection: close", version=version)
        assert (await client.response()).status == 200
        assert await client.is_closed()
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_a_request_that_never_finishes_arriving_is_given_up(world: World) -> None:
    async with RawHTTP(world) as head, RawHTTP(world) as body:
        head.say("GET /healthz HTTP/1.1\r\nHost: loc")
        body.ask("PUT", PATH, auth(world), "Content-Length: 100")
        await eventually(lambda: answering() == 1)
        for _ in range(4):
            world.turn(9)
            head.say("a")
            body.say("{")
            await asyncio.sleep(0.01)
        assert await head.is_closed()
        assert (await body.response()).status == 408
        world.turn(5)
        assert await body.is_closed()


async def test_a_late_second_request_has_no_more_time_than_the_first(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("GET", "/healthz")
        await client.response()
        world.turn(60)
        client.ask("PUT", PATH, auth(world), "Content-Length: 100")
        await eventually(lambda: answering() == 1)
        world.turn(35)
        assert (await client.response()).status == 408


async def test_a_connection_that_nobody_uses_is_closed(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("GET", "/healthz")
        await client.response()
        world.turn(119)
        client.ask("GET", "/healthz")
        assert (await client.response()).status == 200
        world.turn(125)
        assert await client.is_closed()


async def test_a_follower_that_goes_away_leaves_no_task_behind(world: World) -> None:
    await world.create("pump-01")
    for _ in range(3):
        async with RawHTTP(world) as client:
            client.ask("GET", "/moorage/v1/telemetry/stream?from=start", owner(world))
            assert b"200" in await client.reader.readline()
            await client.reader.readuntil(b": following")
            assert answering() == 1
            device = await world.connect()
            device.publish(events_prefix(named("pump-01")), b"hello")
            await device.acks(1)
            await client.reader.readuntil(b"bodyBase64")
        await eventually(lambda: answering() == 0)
    await eventually(lambda: not any(door.streams for door in world.app.listeners.doors[1:]))
    gc.collect()
    assert not any(isinstance(each, HTTPStream) for each in gc.get_objects())


async def test_what_is_sent_ahead_during_a_long_answer_is_bounded(world: World) -> None:
    async with RawHTTP(world) as client:
        client.ask("GET", "/moorage/v1/telemetry/stream?from=now", owner(world))
        await client.reader.readuntil(b": following")
        try:
            for _ in range(64):
                client.say(bytes(65536))
                await client.writer.drain()
        except ConnectionError:
            pass
        assert await client.is_closed()
    await eventually(lambda: answering() == 0)


@pytest.mark.parametrize("ends_late", [False, True], ids=["ended", "all but ended"])
async def test_a_client_that_has_its_answer_may_ask_more_at_once(world: World, ends_late: bool) -> None:
    """The application still has something to do, and watches for its peer's going away."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        gone = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        said = str(size).encode()
        headers = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said, "more_body": ends_late})
        await asyncio.sleep(0.1)
        if ends_late:
            await send({"type": "http.response.body", "body": b""})
        gone.cancel()

    door = world.app.listeners.doors[-1]
    before, door.handler = door.handler, lambda stream: HTTPStream(HTTPParts(app, world.clock, 0), stream)
    try:
        async with RawHTTP(world) as client:
            for size in (1, 100_000, 300_000, 2):
                client.ask("PUT", "/", body=bytes(size))
                assert (await client.response()).body == str(size).encode()
    finally:
        door.handler = before


async def _nothing_moves(world: World) -> None:
    """Until the hub has something for an HTTPS client and can send no more of it: every buffer between them is full."""
    (stream,) = world.app.listeners.doors[-1].streams
    transport = stream._transport
    assert transport is not None
    before, since = 0, 0
    async with asyncio.timeout(PATIENCE_S):
        while since < 20:
            await asyncio.sleep(0.01)
            now = transport.get_write_buffer_size()
            before, since = now, since + 1 if now == before > 0 else 0


async def test_a_client_that_does_not_read_its_answer_is_let_go(world: World) -> None:
    await world.create("pump-01")
    device = await world.connect()
    for _ in range(60):
        device.publish(events_prefix(named("pump-01")), bytes(200_000))
    await device.acks(60)
    async with RawHTTP(world) as client:
        client.stop_reading()
        client.ask("GET", "/moorage/v1/telemetry/stream?from=start", owner(world))
        await _nothing_moves(world)
        assert answering() == 1
        world.turn(60)
        await asyncio.sleep(0.05)
        assert answering() == 1
        # On a busy machine what stood still may have moved once more, and its time begins anew.
        for _ in range(20):
            world.turn(70)
            await asyncio.sleep(0.2)
            if not answering():
                return
        pytest.fail("a client that reads nothing keeps its place")


async def test_stopping_answers_what_is_being_answered_and_cuts_what_has_no_end(world: World) -> None:
    await world.create("pump-01")
    async with RawHTTP(world) as follower, RawHTTP(world) as idle, RawHTTP(world) as caller:
        follower.ask("GET", "/moorage/v1/telemetry/stream?from=now", owner(world))
        await follower.reader.readuntil(b": following")
        idle.ask("GET", "/healthz")
        await idle.response()
        body = b'{"methodName": "m", "connectTimeoutInSeconds": 1}'
        caller.ask("POST", "/twins/pump-01/methods?api-version=2021-04-12", auth(world), JSON, body=body)
        await eventually(lambda: answering() == 2)
        await world.app.stop()
        assert (await caller.response()).status == 404
        assert await follower.is_closed()
        assert await idle.is_closed()
    assert answering() == 0


async def test_a_page_larger_than_what_may_wait_for_a_client_reaches_one_that_reads(world: World) -> None:
    await world.create("pump-01")
    device = await world.connect()
    for _ in range(60):
        device.publish(events_prefix(named("pump-01")), bytes(200_000))
    await device.acks(60)
    async with RawHTTP(world) as client:
        client.ask("GET", "/moorage/v1/telemetry?limit=1000", owner(world))
        response = await client.response()
        page = json.loads(response.body)
        assert len(response.body) > 4 * 1024 * 1024
        assert all(len(message["bodyBase64"]) > 250_000 for message in page["messages"])

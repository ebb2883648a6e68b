"""Too many at the doors: who waits, who is let in, who has to go; and deadlines hold, however slowly a peer comes."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moorage.clock import HandClock
from moorage.protocols.mqtt.packets import PingReq, PingResp
from moorage.servers.backlog import MAX_TAKEN_AT_ONCE, Backlog
from moorage.servers.turns import MAX_AHEAD_BYTES, MAX_AHEAD_BYTES_OF_ALL
from tests import certs
from tests.protocol.tls.ends import client_context
from tests.servers.clients import return_code
from tests.servers.http_clients import RawHTTP
from tests.servers.world import World, eventually, running

FLOOD = 300


class BusyClock(HandClock):
    """Each look at it takes a millisecond: whoever does it for a stranger has soon used up a turn."""

    is_busy = False

    def monotonic(self) -> float:
        if self.is_busy:
            self._monotonic += 0.001
        return self._monotonic


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[World]:
    clock = BusyClock(certs.NOW)
    async with running(tmp_path / "hub", clock=clock, handshake_timeout_s=300.0) as world:
        yield world
        clock.is_busy = False


def client_hello() -> bytes:
    out = ssl.MemoryBIO()
    tls = client_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


@asynccontextmanager
async def crowd(world: World, count: int, first: bytes) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """So many connections, from ten addresses, that have all said their first and no more."""
    port = world.app.info().mqtt_port
    writers = []
    try:
        for number in range(count):
            source = (f"127.0.{number % 2}.{2 + number % 10}", 0)
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
            writers.append(writer)
        await eventually(lambda: len(world.app.listeners.doors[0].streams) >= count)
        for writer in writers:
            writer.write(first)
        yield writers
    finally:
        for writer in writers:
            writer.transport.abort()


def begun(world: World) -> int:
    """Strangers for whom a handshake was begun."""
    return sum(bool(stream._engine.handshake_bytes) for stream in world.app.listeners.doors[0].streams)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
async def test_a_good_device_is_let_in_before_a_crowd_that_came_first(busy: World, is_known: bool) -> None:
    issued = await busy.create_pinned()
    if is_known:
        (await busy.connect(issued=issued)).close()
    clock = busy.clock
    assert isinstance(clock, BusyClock)
    async with crowd(busy, FLOOD, client_hello()):
        clock.is_busy = True
        client = await busy.connect(issued=issued)
        assert begun(busy) < FLOOD / 2, "it waited behind half of them"
        assert busy.app.listeners.crowd.waiting > FLOOD / 4
        await eventually(lambda: begun(busy) > FLOOD, within_s=30)
    client.say(PingReq())
    assert await client.next() == PingResp()


async def test_a_device_that_is_on_is_answered_while_a_crowd_waits(busy: World) -> None:
    client = await busy.connect(issued=await busy.create_pinned())
    clock = busy.clock
    assert isinstance(clock, BusyClock)
    async with crowd(busy, FLOOD, client_hello()):
        clock.is_busy = True
        for _ in range(5):
            client.publish("devices/pump-01/messages/events/", b"x")
            await client.acks(1)
        assert begun(busy) < FLOOD, "the crowd was served first"


async def test_everybody_of_a_good_crowd_gets_in(busy: World) -> None:
    """A fleet that comes back at once: all of it waits, each has two turns, nobody is dropped."""
    names = [f"pump-{number:02}" for number in range(40)]
    issued = [await busy.create_pinned(name) for name in names]
    clock = busy.clock
    assert isinstance(clock, BusyClock)
    clock.is_busy = True
    clients = await asyncio.gather(*map(busy.connect, names, issued))
    assert len(busy.app.live) == len(names)
    assert busy.app.listeners.crowd.strangers == 0
    for client in clients:
        client.say(PingReq())
        assert await client.next() == PingResp()


async def test_who_waits_and_sends_on_is_read_no_further(busy: World) -> None:
    clock = busy.clock
    assert isinstance(clock, BusyClock)
    async with crowd(busy, 40, client_hello()) as writers:
        clock.is_busy = True
        for writer in writers:
            writer.write(b"x" * MAX_AHEAD_BYTES)
        await asyncio.sleep(0)
        streams = busy.app.listeners.doors[0].streams
        await eventually(lambda: busy.app.listeners.crowd.waiting == 0, within_s=20)
        held = sum(len(stream._ahead or b"") for stream in streams)
        assert held <= MAX_AHEAD_BYTES_OF_ALL


async def test_who_loses_patience_leaves_the_queue_and_is_written_down(busy: World) -> None:
    clock = busy.clock
    assert isinstance(clock, BusyClock)
    async with crowd(busy, FLOOD, client_hello()):
        clock.is_busy = True
        await eventually(lambda: busy.app.listeners.crowd.waiting > 20)
    await eventually(lambda: not busy.app.listeners.doors[0].streams, within_s=20)
    assert busy.app.listeners.crowd == (0, 0, 0)
    reasons = {attempt.reason for attempt in await busy.attempts()}
    assert "connections.busy" in reasons


# --- places ----------------------------------------------------------------------------------------------------------


async def test_strangers_beyond_their_part_take_places_from_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with running(tmp_path / "hub", max_strangers=20) as world:
        issued = await world.create_pinned()
        first = await world.connect(issued=issued)
        silent = await world.dial()
        async with crowd(world, 20, b"\x16\x03"):
            writers = []
            for _ in range(20):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", world.app.info().mqtt_port, local_addr=("127.0.1.3", 0)
                )
                writers.append(writer)
            await eventually(lambda: world.app.listeners.crowd == (21, 20, 0))
            # It is as old as any of them, and quieter.
            assert return_code(await silent.say_hello("nobody", password=b"x")) == 5
            second = await world.connect("pump-02", issued=await world.create_pinned("pump-02"))
            for client in (first, second):
                client.say(PingReq())
                assert await client.next() == PingResp()
            for writer in writers:
                writer.transport.abort()
        shed = [attempt for attempt in await world.attempts() if attempt.reason == "connections.strangers"]
        assert shed and all(attempt.address.startswith("127.0.") for attempt in shed)
        world.app.listeners.tell_of_sheds()
        world.app.listeners.tell_of_sheds()
        (line,) = [record.getMessage() for record in caplog.records if "connections_shed" in record.getMessage()]
        assert "reasons=connections.strangers:" in line and "most_from=127.0." in line
        figures = (await world.http.get("/metrics")).text
        assert 'moorage_attempts_total{door="tls",reason="connections.strangers"}' in figures
        assert "moorage_strangers_waiting 0.0" in figures


async def test_one_address_cannot_take_the_place_of_others(tmp_path: Path) -> None:
    async with running(tmp_path / "hub", max_connections=8, max_connections_per_address=3) as world:
        for number in range(3):
            name = f"pump-{number}"
            await world.connect(name, issued=await world.create_pinned(name))
        with pytest.raises((ConnectionError, ssl.SSLError, EOFError)):
            await (await world.dial()).next()
        assert await world.reason() == "connections.address"
        _, writer = await asyncio.open_connection("127.0.0.1", world.app.info().mqtt_port, local_addr=("127.0.0.2", 0))
        await eventually(lambda: len(world.app.listeners.doors[0].streams) == 4)
        writer.transport.abort()


async def test_a_service_that_showed_its_token_is_no_stranger(world: World) -> None:
    assert (await world.http.get("/devices/nobody")).status_code == 404
    assert world.app.listeners.crowd[:2] == (1, 0)
    async with RawHTTP(world) as stranger:
        stranger.ask("GET", "/devices/nobody?api-version=2021-04-12")
        assert (await stranger.response()).status == 401
        assert world.app.listeners.crowd[:2] == (2, 1)


# --- the kernel's queue ----------------------------------------------------------------------------------------------


class Counting(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Counting.made += 1
        transport.close()


async def test_a_full_backlog_is_taken_and_a_few_are_left_to_the_loop() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Counting, "127.0.0.1", 0, backlog=256)
    backlog = Backlog(server.sockets[0].fileno(), Counting)
    port = server.sockets[0].getsockname()[1]
    Counting.made = 0
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    assert len(backlog) >= 199
    assert backlog.take() == MAX_TAKEN_AT_ONCE
    while backlog.take():
        pass
    assert 0 < len(backlog) <= 64
    await eventually(lambda: Counting.made == 200)
    assert backlog.take() == 0
    for each in sockets:
        each.close()
    backlog.close()
    server.close()


# --- one byte a second -----------------------------------------------------------------------------------------------


async def test_a_tls_handshake_of_one_byte_a_second_ends_at_its_deadline(world: World) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", world.app.info().mqtt_port)
    await eventually(lambda: world.app.listeners.doors[0].streams)
    (stream,) = world.app.listeners.doors[0].streams
    seconds = 0
    for seconds, byte in enumerate(client_hello()):
        if stream.is_closing:
            break
        writer.write(bytes((byte,)))
        before = seconds
        await eventually(lambda: stream.is_closing or stream._engine.handshake_bytes > before)  # noqa: B023  # awaited here
        world.turn(1)
    assert 20 <= seconds <= 22
    assert await world.reason() == "tls.handshake_timeout"
    writer.transport.abort()


def requests() -> Iterator[tuple[str, bytes, bytes]]:
    head = b"PUT /devices/pump-01?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n"
    yield "head", b"", head
    yield "body", head + b"Content-Type: application/json\r\nContent-Length: 400\r\n\r\n", b" " * 400


@pytest.mark.parametrize(("at_once", "slowly"), [each[1:] for each in requests()], ids=[each[0] for each in requests()])
async def test_a_request_of_one_byte_a_second_ends_at_its_deadline(world: World, at_once: bytes, slowly: bytes) -> None:
    async with RawHTTP(world) as peer:
        peer.say(at_once.replace(b"%s", world.service_token().reveal().encode()))
        answer = asyncio.ensure_future(peer.reader.read())
        (stream,) = (stream for door in world.app.listeners.doors for stream in door.streams)
        seconds = 0
        while not answer.done() and seconds < len(slowly):
            peer.say(slowly[seconds : seconds + 1])
            seconds += 1
            # It has come, so it is not silence that ends it.
            now = world.clock.monotonic()
            await eventually(lambda: stream.last_received == now or stream.is_closing)  # noqa: B023  # awaited here
            world.turn(1)
            await asyncio.wait((answer,), timeout=0.005)
        assert 30 <= seconds <= 36
        assert (await answer)[:12] == (b"HTTP/1.1 408" if at_once else b"")

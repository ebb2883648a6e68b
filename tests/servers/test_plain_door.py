"""A door without TLS: the bytes go through, and the deadlines are those of every door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from moorage.clock import HandClock
from moorage.errors import RemoteProtocolError
from moorage.servers.front_door import DoorLimits
from moorage.servers.plain_door import PlainDoor
from moorage.servers.streams import ByteStream
from moorage.servers.timers import TimerWheel
from tests.servers.world import eventually

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Echo:
    """Says what it hears, and closes at a full stop."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.is_lost = asyncio.Event()

    def received(self, data: bytes) -> None:
        if b"!" in data:
            raise RemoteProtocolError("test.exclaims", "no exclamation marks")
        self.stream.write(data)
        if b"." in data:
            self.stream.close()

    def lost(self) -> None:
        self.is_lost.set()

    def writable(self, ready: bool) -> None:
        """It never has much to say."""

    def finish(self) -> None:
        self.stream.write(b"bye")
        self.stream.close()

    def on_time(self, now: float) -> float | None:
        return None


class Host:
    def __init__(self) -> None:
        self.clock = HandClock(NOON)
        self.wheel = TimerWheel(self.clock)
        self.echoes: list[Echo] = []
        limits = DoorLimits(max_connections=2, handshake_s=10)
        self.door = PlainDoor(self._echo, clock=self.clock, wheel=self.wheel, limits=limits)
        self.port = 0

    def _echo(self, stream: ByteStream) -> Echo:
        self.echoes.append(Echo(stream))
        return self.echoes[-1]

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def hosting() -> AsyncIterator[Host]:
    host = Host()
    server = await asyncio.get_running_loop().create_server(host.door.stream, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(30), server:
        yield host
        await host.door.close(0)


async def test_bytes_go_through_and_nobody_has_a_certificate() -> None:
    async with hosting() as host:
        reader, writer = await host.dial()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        stream = host.echoes[0].stream
        assert (stream.carrier, stream.tls_version, stream.server_name) == ("tcp", "", None)
        assert not stream.peer_chain()
        assert stream.address == "{}:{}".format(*writer.get_extra_info("sockname"))
        writer.write(b" and bye.")
        assert await reader.read() == b" and bye."
        writer.close()
        await host.echoes[0].is_lost.wait()


async def test_a_handler_that_objects_ends_the_connection() -> None:
    async with hosting() as host:
        reader, writer = await host.dial()
        writer.write(b"hello!")
        assert await reader.read() == b""
        writer.close()
        await host.echoes[0].is_lost.wait()


async def test_whoever_says_nothing_is_closed_in_time_and_has_met_no_handler() -> None:
    async with hosting() as host:
        reader, writer = await host.dial()
        await eventually(lambda: host.door.streams)
        host.clock.advance(9)
        host.wheel.turn()
        assert host.door.streams
        host.clock.advance(3)
        host.wheel.turn()
        assert await reader.read() == b""
        assert host.echoes == []
        writer.close()


async def test_no_more_are_let_in_than_the_door_holds_and_all_may_finish() -> None:
    async with hosting() as host:
        peers = [await host.dial() for _ in range(2)]
        for reader, writer in peers:
            writer.write(b"x")
            await reader.readexactly(1)
            host.door.judged(host.echoes[-1].stream.address)
        reader, writer = await host.dial()
        assert await _rest(reader) == b""
        writer.close()
        await host.door.close(5)
        for reader, writer in peers:
            assert await reader.read() == b"bye"
            writer.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""

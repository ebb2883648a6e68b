"""The client's end of a WebSocket: a device that speaks MQTT in it, and frames by the letter that no library sends."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong

from tests import certs
from tests.servers.clients import Client, tls_context
from tests.servers.http_clients import RawHTTP, Response
from tests.servers.world import World

__all__ = ["KEY", "WebSocket", "dial_mqtt", "frame", "opened", "upgrade"]

# RFC 6455 1.3, with the answer that the RFC gives for it.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
PATH = "/$iothub/websocket"


def frame(payload: bytes, opcode: int = 2, *, fin: bool = True, rsv: int = 0, length: int | None = None) -> bytes:
    """A masked frame; its header may claim another `length`."""
    size = len(payload) if length is None else length
    first = fin << 7 | rsv << 4 | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 2**16:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8)
    mask = b"\x12\x34\x56\x78"
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def upgrade(http: RawHTTP, *headers: str, path: str = PATH, protocol: str = "mqtt") -> None:
    """Ask for a WebSocket; `headers` come in addition."""
    http.ask(
        "GET",
        path,
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        *([f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []),
        *headers,
    )


def opened(answer: Response, protocol: str = "mqtt") -> None:
    """It has to be open now, and nothing granted that was not asked for."""
    assert answer.status == 101, answer
    assert answer.headers == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": ACCEPT,
        "sec-websocket-protocol": protocol,
    }


class WebSocket:
    """What stands in the place of a socket's reader and writer. `close` is what the hub has said last."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.frames = Connection(ConnectionType.CLIENT)
        self.close: CloseConnection | None = None
        self.pongs: list[bytes] = []

    @property
    def transport(self) -> asyncio.WriteTransport:
        return self._writer.transport

    def raw(self, data: bytes) -> None:
        """Bytes of frames that need not be right."""
        self._writer.write(data)

    def write(self, data: bytes) -> None:
        self._writer.write(self.frames.send(BytesMessage(data)))

    def say_close(self, code: int = 1000, reason: str = "") -> None:
        self._writer.write(self.frames.send(CloseConnection(code, reason)))

    async def read(self, _size: int = -1) -> bytes:
        """What came in the next frames; nothing once the hub has closed, by a Close or without."""
        while True:
            data = self._look()
            if data or self.close is not None or not await self._more():
                return data

    def _look(self) -> bytes:
        """The data of the frames that have come; what has to be answered is."""
        data = b""
        for event in self.frames.events():
            if isinstance(event, BytesMessage):
                data += event.data
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, Ping):
                self._writer.write(self.frames.send(event.response()))
            elif isinstance(event, CloseConnection):
                self.close = event
                break
        return data

    async def _more(self) -> bool:
        came = await self._reader.read(65536)
        if came:
            self.frames.receive_data(came)
        return bool(came)

    async def pong(self) -> None:
        """Wait for the next one; no data may come before it."""
        count = len(self.pongs)
        async with asyncio.timeout(10):
            while len(self.pongs) == count:
                assert await self._more()
                assert self._look() == b"" and self.close is None

    async def cut(self) -> None:
        """The end of the connection, whatever comes before."""
        async with asyncio.timeout(10):
            try:
                await self._reader.read()
            except ConnectionResetError:
                return

    async def closed(self, *, answer: bool = True) -> CloseConnection:
        """The hub's Close, and the end of the connection after it is answered."""
        async with asyncio.timeout(10):
            while self.close is None:
                assert await self.read() or self.close, "the hub has gone without a Close"
            if answer:
                if self.frames.state.name == "REMOTE_CLOSING":
                    self.raw(self.frames.send(self.close.response()))
                assert await self._reader.read() == b""
        return self.close


async def dial_mqtt(
    world: World,
    issued: certs.Issued | None = None,
    *,
    context: ssl.SSLContext | None = None,
    path: str = PATH,
    protocol: str = "mqtt",
    sends: int | None = None,
) -> tuple[Client, WebSocket]:
    """An open WebSocket to the hub, and an MQTT client in it that has said nothing."""
    http = RawHTTP(world, context or tls_context(world.app.info().ca_bundle, issued, sends=sends))
    await http.__aenter__()
    upgrade(http, path=path, protocol=protocol)
    opened(await http.response(), protocol)
    socket = WebSocket(http.reader, http.writer)
    client = Client(cast("asyncio.StreamReader", socket), cast("asyncio.StreamWriter", socket))
    return world.keep(client), socket

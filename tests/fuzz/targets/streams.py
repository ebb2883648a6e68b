"""MQTT, HTTP, WebSockets and TLS: what comes over a socket before anybody is known."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Iterable
from functools import cache
from typing import Any, Final, cast

from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from moorage.clock import HandClock
from moorage.errors import RemoteProtocolError
from moorage.pki.certificates import PeerChain
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.connection import Connection, Role
from moorage.protocols.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PubAck,
    Publish,
    ReturnCode,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from moorage.protocols.mqtt.topics import parse_topic_filter, parse_topic_name
from moorage.protocols.tls.engine import TLSEngine
from moorage.servers.front_door import SecureStream
from moorage.servers.http import HTTPParts, HTTPStream, Message
from moorage.servers.streams import ByteStream, Carrier, StreamHandler
from moorage.servers.websocket import WebSocketStream
from tests.fuzz.targets.model import Target, cut
from tests.protocol.tls.ends import VERSIONS, Pair, client_context, server_context

__all__ = ["TARGETS"]

# -- MQTT --------------------------------------------------------------------------------------------------------------


def _mqtt_heard(pieces: Iterable[bytes]) -> list[object]:
    """What a server hears, and how it ends."""
    heard: list[object] = []

    def on_publish(topic: bytes, payload: bytes, packet_id: int, flags: int) -> None:
        heard.append((topic, payload, packet_id, flags))

    server = Connection(Role.SERVER, on_publish=on_publish, on_packet=heard.append)
    try:
        for piece in pieces:
            server.receive(piece)
            while server.is_holding:
                server.send(ConnAck(ReturnCode.ACCEPTED))
                server.receive(b"")
    except RemoteProtocolError as error:
        heard.append(error.reason)
    return heard


def _check_mqtt(data: bytes) -> None:
    heard = _mqtt_heard([data])
    assert heard == _mqtt_heard(cut(data)), "it depends on how the bytes were cut"
    for each in heard:
        if isinstance(each, tuple):
            topic, payload, packet_id, flags = each
            again = codec.encode_publish(
                topic, payload, flags >> 1 & 3, packet_id, dup=bool(flags & 8), retain=bool(flags & 1)
            )
            assert _mqtt_heard([_CONNECT, again])[1:] == [each], each
        elif not isinstance(each, str | Connect):
            # Only DISCONNECT ends a connection, and it comes once.
            assert _mqtt_heard([_CONNECT, codec.encode(cast(Packet, each))])[1:] == [each], each


_CONNECT: Final = codec.encode(Connect("pump-01", user_name="hub/pump-01/?api-version=2021-04-12"))


def _mqtt_seeds() -> Iterable[bytes]:
    topic = parse_topic_name("devices/pump-01/messages/events/a=b&%24.mid=1")
    every: tuple[Packet, ...] = (
        Publish(topic, b"{}", 1, 7),
        Publish(topic, b"", 0, dup=False, retain=True),
        PubAck(9),
        Subscribe(3, (Subscription(parse_topic_filter("$iothub/methods/POST/#"), 1),)),
        Unsubscribe(4, (parse_topic_filter("a/+/b"), parse_topic_filter("#"))),
        PingReq(),
        Disconnect(),
    )
    yield _CONNECT
    yield codec.encode(Connect("a", False, 60, "user", b"password", Will(topic, b"gone", 1, True)))
    yield _CONNECT + b"".join(map(codec.encode, every))
    for packet in every:
        yield _CONNECT + codec.encode(packet)
    yield _CONNECT + codec.encode(Publish(topic, bytes(300), 1, 65535))


# -- a stream in memory ------------------------------------------------------------------------------------------------


class _Stream:
    """A `SecureStream` whose other end is nobody: what is written is kept."""

    carrier: Carrier = "tls"
    address = "127.0.0.1:1"
    tls_version = "TLSv1.3"
    cipher = "TLS_AES_256_GCM_SHA384"
    server_name = "localhost"

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.written: list[bytes] = []
        self.is_closing = False
        self.handler: StreamHandler | None = None
        self._held = 0
        self.last_received = clock.monotonic()

    @property
    def is_held(self) -> bool:
        return bool(self._held)

    def peer_chain(self) -> PeerChain:
        return PeerChain(())

    def own_certificate(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        assert not self.is_closing
        self.written.append(data)

    def wake(self, by: float) -> None:
        assert by >= self._clock.monotonic() - 1

    def hold_reading(self, why: int, hold: bool) -> None:
        self._held = self._held | why if hold else self._held & ~why

    def go_on(self) -> None:
        if self.handler is not None and not self.is_closing:
            self.handler.received(b"")

    def hand_over(self, handler: StreamHandler) -> None:
        self.handler = handler

    def close(self) -> None:
        self.is_closing = True

    abort = close


class _Heard:
    """The handler inside a WebSocket: keeps what comes, and says a little."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.data = b""
        self.ends = 0

    def received(self, data: bytes) -> None:
        assert not self.ends
        self.data += data
        if data:
            self._stream.write(b"heard")
        if b"bad" in self.data:
            raise RemoteProtocolError("mqtt.malformed", "as an inner protocol does")

    def lost(self) -> None:
        self.ends += 1

    def writable(self, ready: bool) -> None: ...

    def finish(self) -> None:
        self._stream.close()

    def on_time(self, now: float) -> float | None:
        return now + 60


class _Faults(logging.Handler):
    """Errors in the log are faults of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.found = record

    found: logging.LogRecord | None = None


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all inputs of a process; it is closed with the process."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


async def _settle() -> None:
    """Until tasks that wait for nobody have come to where they wait."""
    for _ in range(12):
        await asyncio.sleep(0)


async def _feed(stream: _Stream, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        while stream.is_held and not stream.is_closing:
            before = stream.is_held
            await _settle()
            if stream.is_held == before:
                break
        if stream.is_closing or stream.handler is None:
            return
        stream.handler.received(piece)
        await _settle()
    # A held stream goes on without more bytes where there are some that were read already.
    await _settle()


# -- HTTP --------------------------------------------------------------------------------------------------------------


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and tells its size."""
    assert isinstance(scope["path"], str) and scope["type"] == "http"
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    body = str(size).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


async def _http_said(pieces: Iterable[bytes]) -> bytes:
    clock = HandClock()
    stream = _Stream(clock)
    parts = HTTPParts(_app, clock, 443, {"mqtt": _Heard}, lambda path: 100_000 if path.startswith(b"/blobs") else None)
    # Of a stream it asks for no more than this one has.
    stream.handler = HTTPStream(parts, cast(SecureStream, stream))
    before = len(asyncio.all_tasks())
    await _feed(stream, pieces)
    said = b"".join(stream.written)
    for _ in range(5):
        if stream.is_closing:
            break
        clock.advance(200)
        stream.handler.on_time(clock.monotonic())
        await _settle()
    assert stream.is_closing or isinstance(stream.handler, WebSocketStream), "nobody speaks, and it stays open"
    stream.is_closing = True
    stream.handler.lost()
    await _settle()
    assert len(asyncio.all_tasks()) == before, "a task is left behind"
    return said


def _check_http(data: bytes) -> None:
    faults = _Faults()
    log = logging.getLogger("moorage.servers.http")
    log.addHandler(faults)
    try:
        said = _loop().run_until_complete(_http_said([data]))
        assert not said or said.startswith(b"HTTP/1.1 ")
        _loop().run_until_complete(_http_said(cut(data)))
    finally:
        log.removeHandler(faults)
    assert faults.found is None, faults.found


_UPGRADE: Final = (
    b"GET /$iothub/websocket?iothub-no-client-cert=true HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def _http_seeds() -> Iterable[bytes]:
    yield b"GET /devices/pump-01?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b'PUT /devices/a HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\nIf-Match: "*"\r\n\r\n{"deviceId":"a"}'
    yield b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n"
    yield b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n"
    yield b"PUT /blobs/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
    yield b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    yield b"GET https://localhost/a?b HTTP/1.1\r\nHost: localhost\r\nAuthorization: SharedAccessSignature sr=a\r\n\r\n"
    yield _UPGRADE + b"".join(_websocket_seeds())


_HTTP_WORDS: Final = tuple(
    b"Content-Length: |Transfer-Encoding: chunked|Expect: 100-continue|Connection: close|Upgrade: websocket"
    b"|Sec-WebSocket-Key: |Sec-WebSocket-Version: 13|\r\n\r\n|\r\n|HTTP/1.1|HTTP/1.0|://|Host: |0\r\n\r\n".split(b"|")
)


# -- WebSockets --------------------------------------------------------------------------------------------------------


async def _websocket_heard(pieces: Iterable[bytes]) -> bytes:
    clock = HandClock()
    stream = _Stream(clock)
    inner: list[_Heard] = []

    def make(inside: ByteStream) -> _Heard:
        inner.append(_Heard(inside))
        return inner[0]

    stream.handler = WebSocketStream(stream, make, clock)
    await _feed(stream, pieces)
    # What was read at once and waits for its turn.
    for _ in range(2000):
        if not stream.is_held or stream.is_closing:
            break
        await _settle()
    assert not stream.is_held or stream.is_closing, "it holds what it could read"
    stream.is_closing = True
    stream.handler.lost()
    assert inner[0].ends == 1
    # All that was said are frames.
    peer = Frames(ConnectionType.CLIENT)
    for said in stream.written:
        peer.receive_data(said)
    for event in peer.events():
        assert isinstance(event, BytesMessage | CloseConnection) or type(event).__name__ == "Pong", event
    return inner[0].data


def _check_websocket(data: bytes) -> None:
    whole = _loop().run_until_complete(_websocket_heard([data]))
    pieces = _loop().run_until_complete(_websocket_heard(cut(data)))
    if b"bad" not in whole:
        assert whole == pieces, "it depends on how the bytes were cut"


def _websocket_seeds() -> Iterable[bytes]:
    client = Frames(ConnectionType.CLIENT)
    yield client.send(BytesMessage(b"\x10\x04abcd"))
    yield client.send(BytesMessage(bytes(200)))
    yield client.send(Ping(b"p"))
    yield client.send(BytesMessage(b"part", message_finished=False)) + client.send(BytesMessage(b"whole"))
    yield client.send(TextMessage("text"))
    yield client.send(CloseConnection(1000, "bye"))


# -- TLS ---------------------------------------------------------------------------------------------------------------


def _check_tls(data: bytes) -> None:
    for pieces in ([data], cut(data)):
        engine = TLSEngine(server_context())
        try:
            for piece in pieces:
                engine.receive(piece)
                engine.take_output()
                if engine.closed:
                    break
        except RemoteProtocolError as error:
            assert error.reason in ("tls.handshake", "tls.handshake_too_large", "tls.record"), error.reason
        engine.take_output()
        engine.peer_certificates()


def _tls_seeds() -> Iterable[bytes]:
    for version in VERSIONS:
        pair = Pair(client_context(version=version), lambda _: ())
        try:
            pair.client.do_handshake()
        except OSError:
            # It wants to read, and nobody answers: its first flight is out.
            yield pair.say()


TARGETS: Final = (
    Target("mqtt", _check_mqtt, _mqtt_seeds, (b"\x00\x04MQTT\x04", b"\x32", b"\xff\xff\xff\x7f", b"$iothub/"), 2048),
    Target("http", _check_http, _http_seeds, _HTTP_WORDS, 2048),
    Target("websocket", _check_websocket, _websocket_seeds, (b"\x82\x80", b"\x89\x80", b"\x88\x82", b"\xfe"), 2048),
    Target("tls", _check_tls, _tls_seeds, (b"\x16\x03\x01", b"\x00\x00\x00\x00"), 2048),
)

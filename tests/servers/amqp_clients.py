"""A client that speaks AMQP 1.0 by the letter, and beside it where it likes: no library is between it and the hub.

Frames are made and read by the engine's codec. What is heard is kept in order, so that a test can ask for one kind of
frame now and for another one later, and compare every byte of two conversations.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from moorage.protocols.amqp.framing import AMQP_HEADER, SASL_HEADER
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    SETTLE_SETTLED,
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    Error,
    Flow,
    Open,
    Performative,
    Rejected,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Source,
    Target,
    Transfer,
    decode,
    encode,
)
from moorage.protocols.amqp.sasl import ANONYMOUS
from moorage.protocols.amqp.transfers import frame, sasl_frame
from moorage.protocols.amqp.types import Int, ULong
from tests import certs
from tests.servers.clients import PATIENCE_S, tls_context
from tests.servers.http_clients import RawHTTP
from tests.servers.websockets import WebSocket, opened, upgrade
from tests.servers.world import World

__all__ = ["CBS_TOKEN", "AMQPClient", "Frame", "Link", "dial_amqp", "plain_response"]

CBS_TOKEN = "servicebus.windows.net:sastoken"
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Frame:
    """One that was heard; `data` is all of it."""

    channel: int
    body: Any
    payload: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """`error` is why it was refused, None for one that was accepted."""

    handle: int
    channel: int
    error: Error | None


def plain_response(user: str, password: str) -> bytes:
    return b"\0".join((b"", user.encode(errors="surrogatepass"), password.encode(errors="surrogatepass")))


class AMQPClient:
    """One connection. What it says is said at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        # Whatever the hub said, in order.
        self.frames: list[Frame] = []
        # What its close said, once it said one.
        self.closed_with: Error | None = None
        self._waiting: deque[Frame] = deque()
        self._buffer = b""
        # How many links each session has had.
        self._handles: dict[int, int] = {}
        self._deliveries = 0
        self._cbs: dict[int, Link] = {}

    @classmethod
    async def dial(cls, port: int, context: ssl.SSLContext) -> AMQPClient:
        """To a hub on 127.0.0.1."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost", limit=2**20
            )
        return cls(reader, writer)

    # -- saying --------------------------------------------------------------------------------------------------------

    def raw(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    def say(self, *performatives: Performative, channel: int = 0, payload: bytes = b"") -> None:
        self.raw(*(frame(channel, encode(each) + payload) for each in performatives))

    async def say_hello(
        self,
        mechanism: str = ANONYMOUS,
        response: bytes | None = None,
        *,
        hostname: str | None = "localhost",
        idle_time_out: int | None = None,
    ) -> int:
        """SASL, open and begin in one breath; SASL's outcome. Unless it is 0 nothing follows."""
        self.raw(
            SASL_HEADER,
            sasl_frame(encode(SaslInit(mechanism, response, hostname))),
            AMQP_HEADER,
            frame(0, encode(Open("tests", hostname=hostname, idle_time_out=idle_time_out))),
            frame(0, encode(Begin(None, 0, 2048, 2048))),
        )
        await self.expect(SaslMechanisms)
        outcome = await self.expect(SaslOutcome)
        if not outcome.code:
            await self.expect(Begin)
        return outcome.code

    async def begin(self, channel: int) -> None:
        """Another session."""
        self.say(Begin(None, 0, 2048, 2048), channel=channel)
        await self.find(lambda heard: isinstance(heard.body, Begin) and heard.channel == channel)

    async def attach(
        self,
        address: str | None,
        *,
        is_sender: bool = True,
        channel: int = 0,
        credit: int = 0,
        properties: Mapping[str, object] | None = None,
        settled: bool = False,
        **more: Any,
    ) -> Link:
        """A link that sends to `address`, or receives from it; `more` are fields of the attach."""
        handle = self._handles.get(channel, 0)
        self._handles[channel] = handle + 1
        attach = Attach(
            more.pop("name", f"link-{handle}"),
            handle,
            SENDER if is_sender else RECEIVER,
            snd_settle_mode=SETTLE_SETTLED if settled else None,
            source=more.pop("source", Source("here" if is_sender else address)),
            target=more.pop("target", Target(address if is_sender else "here")),
            initial_delivery_count=0 if is_sender else None,
            properties=properties,
            **more,
        )
        self.say(attach, channel=channel)
        answer: Attach = (await self.find(_of(channel, handle, Attach))).body
        if (answer.target if is_sender else answer.source) is None:
            # Refused: a detach with the error is right behind.
            detach: Detach = (await self.find(_of(channel, handle, Detach))).body
            self.say(Detach(handle, True), channel=channel)
            assert detach.closed and detach.error is not None, detach
            return Link(handle, channel, detach.error)
        if credit:
            self.say(Flow(0, 2048, 0, 2048, handle, 0, credit), channel=channel)
        return Link(handle, channel, None)

    def detach(self, link: Link) -> None:
        self.say(Detach(link.handle, True), channel=link.channel)

    def transfer(self, link: Link, message: Message | bytes, *, settled: bool = False) -> int:
        """The number of the delivery."""
        number = self._deliveries
        self._deliveries += 1
        payload = message if isinstance(message, bytes) else message.encode()
        self.say(
            Transfer(link.handle, number, b"t%d" % number, 0, settled=settled), channel=link.channel, payload=payload
        )
        return number

    async def send(self, link: Link, message: Message | bytes) -> Error | None:
        """Why it was rejected; None when it was accepted."""
        number = self.transfer(link, message)

        def settles(heard: Frame) -> bool:
            body = heard.body
            return isinstance(body, Disposition) and body.role and body.first <= number <= (body.last or body.first)

        state = (await self.find(settles)).body.state
        if isinstance(state, Rejected):
            assert state.error is not None
            return state.error
        assert isinstance(state, Accepted), state
        return None

    async def received(self, link: Link, within_s: float = PATIENCE_S) -> Message:
        """The next message on a link; the client lets the hub settle it or not, as it likes."""
        return Message.decode((await self.find(_of(link.channel, link.handle, Transfer), within_s)).payload)

    # -- tokens --------------------------------------------------------------------------------------------------------

    async def put_token(
        self, token: object, *, name: str = "", channel: int = 0, kind: str = CBS_TOKEN, operation: str = "put-token"
    ) -> int:
        """Put it by CBS; the status of the answer. What was said of it is `told`."""
        if channel not in self._cbs:
            replies = await self.attach("$cbs", is_sender=False, channel=channel, credit=2000)
            sender = await self.attach("$cbs", channel=channel)
            assert replies.error is sender.error is None
            self._cbs[channel] = sender
        link = self._cbs[channel]
        number = self._deliveries
        asked = {"operation": operation, "type": kind, "name": name}
        error = await self.send(
            link,
            Message(
                properties=Properties(message_id=ULong(number), reply_to="cbs"),
                application_properties=asked,
                value=token,
            ),
        )
        assert error is None, error
        answer = Message.decode(
            (await self.find(lambda heard: isinstance(heard.body, Transfer) and heard.channel == channel)).payload
        )
        assert answer.properties is not None and answer.properties.correlation_id == number
        self.told = str(answer.application_properties["status-description"])
        status = answer.application_properties["status-code"]
        assert type(status) is Int, status
        return int(status)

    told = ""

    # -- hearing -------------------------------------------------------------------------------------------------------

    async def next(self, within_s: float = PATIENCE_S) -> Frame:
        """The next frame with a body; `EOFError` when the hub has closed."""
        async with asyncio.timeout(within_s):
            while not self._waiting:
                await self._read()
        return self._waiting.popleft()

    async def find(self, wanted: Callable[[Frame], bool], within_s: float = PATIENCE_S) -> Frame:
        """The next frame that is `wanted`; others wait. `EOFError` when the hub closes before."""
        at = 0
        async with asyncio.timeout(within_s):
            while True:
                while at < len(self._waiting):
                    heard = self._waiting[at]
                    if wanted(heard):
                        del self._waiting[at]
                        return heard
                    at += 1
                await self._read()

    async def expect(self, kind: type[P], within_s: float = PATIENCE_S) -> P:
        return cast(P, (await self.find(lambda heard: isinstance(heard.body, kind), within_s)).body)

    async def detached(self, link: Link, within_s: float = PATIENCE_S) -> Error | None:
        """What the hub says when it ends `link`."""
        body: Detach = (await self.find(_of(link.channel, link.handle, Detach), within_s)).body
        return body.error

    async def rest(self, within_s: float = PATIENCE_S) -> list[Frame]:
        """What still comes until the hub closes, which it has to."""
        rest: list[Frame] = []
        try:
            async with asyncio.timeout(within_s):
                while True:
                    rest.append(await self.next(within_s))
        except (EOFError, ConnectionResetError):
            return rest

    async def is_silent(self, for_s: float = 0.1) -> bool:
        """No message comes on any link, and the hub does not close either."""
        try:
            await self.find(lambda heard: isinstance(heard.body, Transfer), for_s)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        """Drop the connection without a word."""
        self.writer.transport.abort()

    async def _read(self) -> None:
        data = await self.reader.read(65536)
        if not data:
            raise EOFError("the hub has closed")
        data = self._buffer + data
        at = 0
        while len(data) - at >= 8:
            if data[at : at + 4] == b"AMQP":
                at += 8
                continue
            size = int.from_bytes(data[at : at + 4])
            assert size >= 8 and data[at + 4] == 2, data[at : at + 8]
            if len(data) - at < size:
                break
            if size > 8:
                self._hear(data[at : at + size])
            at += size
        self._buffer = data[at:]

    def _hear(self, data: bytes) -> None:
        body, end = decode(data[8:])
        heard = Frame(int.from_bytes(data[6:8]), body, data[8 + end :], data)
        if isinstance(body, Close):
            self.closed_with = body.error
        self.frames.append(heard)
        self._waiting.append(heard)


def _of(channel: int, handle: int, kind: type[Any]) -> Callable[[Frame], bool]:
    return lambda heard: isinstance(heard.body, kind) and heard.channel == channel and heard.body.handle == handle


async def dial_amqp(
    world: World, issued: certs.Issued | None = None, *, sends: int | None = None, in_websocket: bool = False
) -> AMQPClient:
    """A TLS connection to the AMQP port, or a WebSocket on the HTTPS port; nothing is said yet."""
    info = world.app.info()
    context = tls_context(info.ca_bundle, issued, sends=sends)
    async with asyncio.timeout(PATIENCE_S):
        if in_websocket:
            http = RawHTTP(world, context)
            await http.__aenter__()
            upgrade(http, protocol="AMQPWSB10")
            opened(await http.response(), "AMQPWSB10")
            socket = WebSocket(http.reader, http.writer)
            return AMQPClient(cast("asyncio.StreamReader", socket), cast("asyncio.StreamWriter", socket))
        client = await AMQPClient.dial(info.amqp_port, context)
        await world.shaken(client.writer)
    return client

"""A device that speaks MQTT as the standard has it and nothing more: no reconnecting, no settling, no patience."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, cast

from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.connection import Connection, Role, State
from moorage.protocols.mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from moorage.protocols.mqtt.topics import TopicFilter, TopicName
from tests import certs

__all__ = ["CUT_S", "PATIENCE_S", "Client", "tls_context"]

# How long a test waits for what has to come: only a test that fails takes so long.
PATIENCE_S = 30.0
# "Within a second" (decisions), with room for a machine that does other things too. Nothing else would end a session
# in a hub whose clock is turned by hand.
CUT_S = 10.0
P = TypeVar("P", bound=Packet)

_FOLDER = tempfile.TemporaryDirectory(prefix="moorage-tests-")


def tls_context(
    trust: Path,
    issued: certs.Issued | None = None,
    *,
    version: ssl.TLSVersion | None = None,
    sends: int | None = None,
) -> ssl.SSLContext:
    """A device's TLS: it trusts the hub's bundle and shows `issued`, with `sends` certificates of its chain."""
    context = ssl.create_default_context(cafile=trust)
    # Weak keys shall reach the hub.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if issued is not None:
        file = Path(_FOLDER.name) / f"{issued.certificate.sha1}-{sends}.pem"
        if not file.exists():
            chain = issued.sends(sends).parse()
            file.write_bytes(issued.key_pem() + "".join(each.pem for each in chain).encode())
        context.load_cert_chain(file)
    return context


class Client:
    """One connection. `next` gives what arrives, in order; what it says is said at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.session_present = False
        self._heard: deque[Packet] = deque()
        self._connection = Connection(Role.CLIENT, on_publish=self._published, on_packet=self._heard.append)
        self._packet_id = 0

    @classmethod
    async def dial(cls, port: int, context: ssl.SSLContext, *, session: ssl.SSLSession | None = None) -> Client:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost", limit=2**20
            )
        return cls(reader, writer)

    # -- saying ----------------------------------------------------------------------------------------------------

    def raw(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    def say(self, *packets: Packet) -> None:
        """Whether they are allowed or not, in one piece."""
        for packet in packets:
            if isinstance(packet, Connect):
                self.expect_connack()
        self.raw(*map(codec.encode, packets))

    def expect_connack(self) -> None:
        """Before a CONNECT that is said in bytes."""
        if self._connection.state is State.EXPECT_CONNECT:
            self._connection.send(Connect("whoever"))

    async def say_hello(
        self,
        name: str,
        *,
        user_name: str | None = None,
        client_id: str | None = None,
        password: bytes | None = None,
        clean: bool = True,
        keep_alive_s: int = 240,
        will: Will | None = None,
    ) -> Packet:
        """CONNECT, and what comes back."""
        packet = Connect(
            name if client_id is None else client_id,
            clean,
            keep_alive_s,
            f"localhost/{name}/?api-version=2021-04-12&DeviceClientType=tests" if user_name is None else user_name,
            password,
            will,
        )
        self.say(packet)
        return await self.next()

    def publish(self, topic: str | bytes, body: bytes = b"", *, qos: int = 1, retain: bool = False) -> int:
        """Send a message; its packet id."""
        name = TopicName(topic.encode() if isinstance(topic, str) else topic)
        packet_id = self._next_id() if qos else 0
        self.say(Publish(name, body, qos, packet_id, False, retain))
        return packet_id

    async def subscribe(self, *filters: str, qos: int = 1) -> tuple[int, ...]:
        """What was granted."""
        packet_id = self._next_id()
        self.say(Subscribe(packet_id, tuple(Subscription(TopicFilter(each.encode()), qos) for each in filters)))
        answer = await self.expect(SubAck)
        assert answer.packet_id == packet_id
        return answer.codes

    async def unsubscribe(self, *filters: str) -> None:
        packet_id = self._next_id()
        self.say(Unsubscribe(packet_id, tuple(TopicFilter(each.encode()) for each in filters)))
        assert (await self.expect(UnsubAck)).packet_id == packet_id

    def acknowledge(self, message: Publish) -> None:
        self.say(PubAck(message.packet_id))

    def _next_id(self) -> int:
        self._packet_id += 1
        return self._packet_id

    # -- hearing ---------------------------------------------------------------------------------------------------

    async def next(self, within_s: float = PATIENCE_S) -> Packet:
        """The next packet; `EOFError` when the hub has closed."""
        async with asyncio.timeout(within_s):
            while not self._heard:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError("the hub has closed")
                self._connection.receive(data)
        return self._heard.popleft()

    async def expect(self, kind: type[P], within_s: float = PATIENCE_S) -> P:
        packet = await self.next(within_s)
        assert isinstance(packet, kind), packet
        return packet

    async def acks(self, count: int) -> list[int]:
        """The packet ids of the next `count` PUBACKs."""
        return [(await self.expect(PubAck)).packet_id for _ in range(count)]

    async def rest(self, within_s: float = PATIENCE_S) -> list[Packet]:
        """What still comes until the hub closes, which it has to."""
        rest: list[Packet] = []
        try:
            async with asyncio.timeout(within_s):
                while True:
                    rest.append(await self.next(within_s))
        except (EOFError, ConnectionResetError):
            return rest

    async def is_silent(self, for_s: float = 0.1) -> bool:
        """Nothing comes, and the hub does not close either."""
        try:
            self._heard.appendleft(await self.next(for_s))
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        """Drop the connection without DISCONNECT."""
        self.writer.transport.abort()

    def stop_reading(self) -> None:
        """Take nothing from the socket any more."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    async def catch_up(self) -> list[Packet]:
        """What had been sent when the hub answers a PINGREQ."""
        self.say(PingReq())
        before: list[Packet] = []
        while (packet := await self.next()) != PingResp():
            before.append(packet)
        return before

    def _published(self, topic: bytes, body: bytes, packet_id: int, flags: int) -> None:
        self._heard.append(Publish(TopicName(topic), body, flags >> 1 & 3, packet_id, bool(flags & 8), bool(flags & 1)))


def return_code(answer: Packet) -> int:
    assert isinstance(answer, ConnAck), answer
    return int(answer.return_code)


def bodies(messages: Iterable[Packet]) -> list[bytes]:
    return [message.body for message in messages if isinstance(message, Publish)]

"""A device on a socket of its own: TLS, MQTT 3.1.1 and nothing that repairs a lost connection.

async with connected(hub, device) as client:
    await client.subscribe(b"$iothub/twin/res/#")
    client.publish(topic, body)             # `client.acknowledged` counts the PUBACKs
    await client.changed()                  # until something came or the connection was lost
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from moorage.cli.hub_client import segment
from moorage.protocols.mqtt.connection import Connection, Role
from moorage.protocols.mqtt.packets import ConnAck, Connect, Packet, PubAck, ReturnCode, SubAck, Subscribe, Subscription
from moorage.protocols.mqtt.topics import TopicFilter
from tests import certs
from tests.hubs import Hub

__all__ = ["GONE", "Client", "Device", "Lost", "Received", "connected"]


class Lost(Exception):
    """The connection ended."""


# What a client may meet when the hub is killed.
GONE = (Lost, OSError)


class Device:
    """A device with a self-signed certificate, known to the hub by its thumbprint."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._issued = certs.self_signed(name)
        self._file = folder / f"{name}.pem"
        self._file.write_bytes(self._issued.pem().encode() + self._issued.key_pem())

    def register(self, hub: Hub) -> None:
        thumbprint = {"primaryThumbprint": self._issued.certificate.sha256}
        body = {"deviceId": self.name, "authentication": {"type": "selfSigned", "x509Thumbprint": thumbprint}}
        hub.request("PUT", self.path, body=body)

    @property
    def certificate(self) -> str:
        """As PEM."""
        return self._issued.certificate.pem

    @property
    def path(self) -> str:
        return f"/devices/{segment(self.name)}"

    @property
    def events(self) -> bytes:
        return f"devices/{self.name}/messages/events/".encode()

    @property
    def devicebound(self) -> bytes:
        return f"devices/{self.name}/messages/devicebound/".encode()

    def tls(self, hub: Hub) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=hub.ca_bundle)
        context.load_cert_chain(self._file)
        return context


class Received:
    """A PUBLISH from the hub. It is acknowledged by whoever takes it, or never."""

    def __init__(self, topic: bytes, body: bytes, packet_id: int) -> None:
        self.topic = topic
        self.body = body
        self.packet_id = packet_id


class Client(asyncio.Protocol):
    """One connection. `on_message` sees what the hub publishes, as it comes."""

    def __init__(self, on_message: Callable[[Received], None]) -> None:
        self._connection = Connection(Role.CLIENT, on_publish=self._published, on_packet=self._packet)
        self._on_message = on_message
        self._transport: asyncio.Transport | None = None
        self._event = asyncio.Event()
        self._outgoing = bytearray()
        self._answers: list[Packet] = []
        self._last_id = 0
        self._waiting: list[int] = []
        self._failure: Exception | None = None
        self.acknowledged = 0
        self.is_lost = False

    async def open(self, name: str, host: str, *, clean_session: bool) -> bool:
        """CONNECT; whether the hub remembers a session. Raises `Lost`."""
        user_name = f"{host}/{name}/?api-version=2021-04-12"
        self._write(self._connection.send(Connect(name, clean_session, 60, user_name)))
        answer = await self._answer()
        assert isinstance(answer, ConnAck), answer
        assert answer.return_code is ReturnCode.ACCEPTED, f"'{name}' was refused: {answer.return_code!r}"
        return answer.session_present

    async def subscribe(self, *filters: bytes) -> None:
        """With QoS 1. Raises `Lost`."""
        wanted = tuple(Subscription(TopicFilter(each), 1) for each in filters)
        self._write(self._connection.send(Subscribe(self._next_id(), wanted)))
        answer = await self._answer()
        assert isinstance(answer, SubAck), answer
        assert answer.codes == (1,) * len(filters), answer

    def publish(self, topic: bytes, body: bytes, *, again: bool = False) -> None:
        """With QoS 1."""
        packet_id = self._next_id()
        self._waiting.append(packet_id)
        self._write(self._connection.encode_publish(topic, body, 1, packet_id, dup=again))

    @property
    def in_flight(self) -> int:
        """How many publishes wait for their PUBACK."""
        return len(self._waiting)

    def acknowledge(self, message: Received) -> None:
        self._write(self._connection.encode_pubacks((message.packet_id,)))

    async def changed(self) -> None:
        """Return when something came since the last time, or the connection was lost. Raises what a callback raised."""
        await self._event.wait()
        if self._failure is not None:
            raise self._failure
        if not self.is_lost:
            self._event.clear()

    async def close(self) -> None:
        """Without a DISCONNECT."""
        if self._transport is not None:
            self._transport.abort()
        while not self.is_lost:
            await self._event.wait()
            self._event.clear()

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._connection.receive(data)
        except Exception as error:  # the loop would only log it; whoever waits has to fail
            self._failure = self._failure or error
        self._event.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._event.set()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _published(self, topic: bytes, body: bytes, packet_id: int, _flags: int) -> None:
        self._on_message(Received(topic, body, packet_id))

    def _packet(self, packet: Packet) -> None:
        if isinstance(packet, PubAck):
            # [MQTT-4.6.0-2]: in the order in which they were sent.
            assert packet.packet_id == self._waiting.pop(0), "PUBACKs out of order"
            self.acknowledged += 1
        else:
            self._answers.append(packet)

    async def _answer(self) -> Packet:
        while not self._answers:
            if self.is_lost:
                raise Lost
            await self.changed()
        return self._answers.pop(0)

    def _next_id(self) -> int:
        self._last_id = self._last_id % 0xFFFF + 1
        return self._last_id

    def _write(self, data: bytes) -> None:
        # One write a turn of the loop, as a client's socket buffer would make of it.
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing += data

    def _flush(self) -> None:
        data, self._outgoing = self._outgoing, bytearray()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


@asynccontextmanager
async def connected(
    hub: Hub, device: Device, on_message: Callable[[Received], None] | None = None, *, clean_session: bool = True
) -> AsyncIterator[tuple[Client, bool]]:
    """(client, whether the hub remembered its session). Raises one of `GONE` when the hub goes away meanwhile."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: Client(on_message or (lambda _: None)),
        hub.info.bind,
        hub.info.mqtt_port,
        ssl=device.tls(hub),
        server_hostname=hub.hostname,
    )
    try:
        present = await client.open(device.name, hub.hostname, clean_session=clean_session)
        yield client, present
    finally:
        await client.close()

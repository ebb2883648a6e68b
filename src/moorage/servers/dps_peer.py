"""A device that provisions over MQTT: one request, its PUBACK, its answer, then the next (contract/devices.md 6.2)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from moorage.dialects.dps_json import MAX_BODY_BYTES
from moorage.dialects.mqtt_dps import ANSWER_FILTER
from moorage.errors import RemoteProtocolError
from moorage.protocols.mqtt.connection import Connection
from moorage.protocols.mqtt.packets import (
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from moorage.servers.streams import HOLD_BACKLOG, ByteStream

__all__ = ["Conversation", "DpsPeer"]

log = logging.getLogger(__name__)

# A device asks, waits and asks again; more than this under way is not a device.
_MAX_REQUESTS = 8


class Conversation(Protocol):
    """`dialects.mqtt_dps.DpsConversation`: one provisioning device."""

    async def handle(self, topic: bytes, body: bytes) -> tuple[bytes, bytes]: ...


class DpsPeer:
    """One connection of a device that provisions; `count` is told why one was ended that broke the protocol."""

    # A registration is polled every few seconds and done within a minute; .NET asks for no keep-alive at all.
    PATIENCE_S = 300.0

    __slots__ = ("_busy", "_connection", "_conversation", "_count", "_next_packet_id", "_qos", "_requests", "_stream")

    def __init__(
        self, stream: ByteStream, connection: Connection, conversation: Conversation, count: Callable[[str], None]
    ) -> None:
        self._count = count
        self._stream = stream
        self._connection = connection
        self._conversation = conversation
        self._requests: deque[tuple[bytes, bytes]] = deque()
        self._busy: asyncio.Task[None] | None = None
        self._qos: int | None = None
        self._next_packet_id = 0

    def published(self, topic: bytes, body: bytes, packet_id: int, _flags: int) -> None:
        if len(body) > MAX_BODY_BYTES or len(self._requests) >= _MAX_REQUESTS:
            raise RemoteProtocolError(
                "dps.too_large", f"a body of {len(body)} bytes while {len(self._requests)} requests wait"
            )
        if packet_id:
            self._stream.write(self._connection.encode_pubacks((packet_id,)))
        self._requests.append((topic, body))
        if self._busy is None:
            self._busy = asyncio.get_running_loop().create_task(self._serve())
            self._busy.add_done_callback(self._served)

    def packet(self, packet: Packet) -> None:
        if isinstance(packet, Subscribe):
            for topic_filter, qos in packet.subscriptions:
                if topic_filter.decode() != ANSWER_FILTER:
                    raise RemoteProtocolError(
                        "mqtt.filter", f"a provisioning device subscribes to {ANSWER_FILTER} alone"
                    )
                self._qos = min(qos, 1)
            codes = tuple(min(qos, 1) for _, qos in packet.subscriptions)
            self._stream.write(self._connection.send(SubAck(packet.packet_id, codes)))
        elif isinstance(packet, Unsubscribe):
            self._qos = None
            self._stream.write(self._connection.send(UnsubAck(packet.packet_id)))
        elif isinstance(packet, PingReq):
            self._stream.write(self._connection.send(PingResp()))
        elif isinstance(packet, Disconnect):
            self._stream.close()

    def lost(self) -> None:
        self._requests.clear()

    def finish(self) -> None:
        self._stream.close()

    def writable(self, ready: bool) -> None:
        self._stream.hold_reading(HOLD_BACKLOG, not ready)

    def on_time(self, now: float) -> float | None:
        if self._stream.is_closing:
            return None
        quiet_until = self._stream.last_received + self.PATIENCE_S
        if now < quiet_until:
            return quiet_until
        self._stream.close()
        return None

    async def _serve(self) -> None:
        while self._requests:
            topic, body = await self._conversation.handle(*self._requests.popleft())
            if self._qos is None or self._stream.is_closing:
                continue
            # PUBACKs of answers settle nothing, so the ids only have to differ.
            self._next_packet_id = self._next_packet_id % 0xFFFF + 1
            packet_id = self._next_packet_id if self._qos else 0
            self._stream.write(self._connection.encode_publish(topic, body, self._qos, packet_id))

    def _served(self, task: asyncio.Task[None]) -> None:
        self._busy = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, RemoteProtocolError):
            log.info("provisioning_ended reason=%s message=%r", error.reason, str(error))
            self._count(error.reason)
        elif error is not None:
            log.error("provisioning_failed", exc_info=error)
        if error is not None:
            self._connection.close()
            self._stream.close()

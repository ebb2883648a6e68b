"""What the hub has sent a device with QoS 1 and the device has not acknowledged yet.

Packet ids are handed out here for everything; what is followed further are cloud-to-device messages. A message stays in
its queue until the device's PUBACK is on disk as a settlement, and meanwhile it is

    sent ──PUBACK──> being settled ──> gone from the queue
     └──after `LOCK_S`──> sent again, the same packet id, marked DUP          (contract/devices.md 2.6, 9.2)

A device that is lost with messages under way gets them again when it resumes its session, as MQTT asks: under their old
packet ids, marked DUP [MQTT-4.4.0-1]. `Unacknowledged` remembers these ids between the two connections. It is memory
alone: forgotten, the message is sent as a new one, and nothing is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from moorage.clock import Clock
from moorage.dialects import mqtt_hub
from moorage.hub.messages import MessageService
from moorage.ids import HubId, IdentityName
from moorage.protocols.mqtt.in_flight import InFlight
from moorage.servers.timers import NO_SLOT, TimerWheel

__all__ = ["LOCK_S", "MAX_UNACKNOWLEDGED", "Deliveries", "Link", "Queues", "Unacknowledged"]

# contract/devices.md 9.2: fixed; when it ends the message is sent again.
LOCK_S = 60.0
# Answers, patches, calls and messages that one device may leave without a PUBACK.
MAX_UNACKNOWLEDGED = 200
_MAX_REMEMBERED = 10_000
# A full queue can be over 5 MiB on the wire. The rest follows when what was sent is settled.
_AT_ONCE_BYTES = 512 * 1024


class Unacknowledged:
    """Packet ids and message sequences of devices that are away, the one lost longest ago forgotten first."""

    def __init__(self) -> None:
        self._lost: OrderedDict[tuple[HubId, IdentityName], dict[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lost)

    def keep(self, hub: HubId, name: IdentityName, sent: dict[int, int]) -> None:
        self._lost[hub, name] = sent
        if len(self._lost) > _MAX_REMEMBERED:
            self._lost.popitem(last=False)

    def take(self, hub: HubId, name: IdentityName) -> dict[int, int]:
        """Packet id to sequence, in the order of sending; forgotten with this."""
        return self._lost.pop((hub, name), {})


class Queues(Protocol):
    """The parts of the hub that deliveries need; `HubParts` has them."""

    @property
    def hub(self) -> HubId: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def messages(self) -> MessageService: ...

    @property
    def wheel(self) -> TimerWheel: ...


class Link(Protocol):
    """The session that the deliveries belong to."""

    name: IdentityName

    @property
    def is_over(self) -> bool: ...

    def write_publish(self, topic: bytes, body: bytes, qos: int, packet_id: int, *, dup: bool = False) -> None: ...

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start work that waits for the store, in the order of the calls."""

    def messages_waiting(self) -> None:
        """Call `send_waiting` with the QoS that is granted now, if any is."""


class Deliveries:
    """One session's; made when the first packet id is needed. Also what the wheel calls when a lock may have ended."""

    __slots__ = ("_has_more", "_in_flight", "_link", "_parts", "_settling", "slot")

    def __init__(self, parts: Queues, link: Link) -> None:
        self._parts = parts
        self._link = link
        self._in_flight: InFlight[_Delivery | None] = InFlight()
        # Settled by the device and not yet gone from the queue.
        self._settling: set[int] = set()
        self._has_more = False
        self.slot = NO_SLOT

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def is_idle(self) -> bool:
        """Nothing is under way: it may be thrown away."""
        return not self._in_flight and not self._settling

    def new_packet_id(self) -> int:
        """For what needs no settling."""
        return self._in_flight.add(None)

    def acknowledged(self, packet_id: int, *, settle: bool) -> None:
        """A PUBACK came. Without `settle` (the session is not the current one) it frees the id and nothing else."""
        delivery = self._in_flight.remove(packet_id)
        if delivery is not None and settle:
            self._settle(delivery.sequence)

    def send_waiting(self, qos: int) -> None:
        """Send what waits and is not under way, as much as is good at once."""
        link, parts = self._link, self._parts
        waiting = parts.messages.waiting(parts.hub, link.name)
        if not waiting:
            return
        under_way = {delivery.sequence for _, delivery in self._in_flight if delivery is not None}
        under_way |= self._settling
        now = parts.clock.monotonic()
        room = _AT_ONCE_BYTES
        for message in waiting:
            if link.is_over:
                return
            if message.sequence in under_way:
                continue
            if room <= 0:
                self._has_more = True
                break
            topic = mqtt_hub.cloud_message_topic(message)
            room -= len(topic) + len(message.body)
            if qos:
                packet_id = self._in_flight.add(_Delivery(message.sequence, now + LOCK_S))
                link.write_publish(topic, message.body, 1, packet_id)
            else:
                link.write_publish(topic, message.body, 0, 0)
                # There will be no acknowledgement: sent is settled.
                self._settle(message.sequence)
        if qos:
            parts.wheel.wake(self, now + LOCK_S)

    def resume(self, sent: dict[int, int]) -> None:
        """Send again what an earlier connection of the same session had sent."""
        for packet_id, sequence in sent.items():
            self._in_flight.put(packet_id, _Delivery(sequence, 0.0))
        again = self.on_time(self._parts.clock.monotonic())
        if again is not None:
            self._parts.wheel.wake(self, again)

    def on_time(self, now: float) -> float | None:
        """Send again, marked DUP, what was not settled within its lock; when the next lock ends."""
        link, parts = self._link, self._parts
        due = [(packet_id, delivery) for packet_id, delivery in self._in_flight if delivery is not None]
        if link.is_over or not due:
            return None
        waiting = {message.sequence: message for message in parts.messages.waiting(parts.hub, link.name)}
        next_lock = now + LOCK_S
        for packet_id, delivery in due:
            if delivery.locked_until > now:
                next_lock = min(next_lock, delivery.locked_until)
                continue
            message = waiting.get(delivery.sequence)
            if message is None:
                # It expired or was purged meanwhile; the device's late PUBACK will settle nothing.
                self._in_flight.remove(packet_id)
                continue
            delivery.locked_until = now + LOCK_S
            link.write_publish(mqtt_hub.cloud_message_topic(message), message.body, 1, packet_id, dup=True)
            if link.is_over:
                return None
        return next_lock

    def close(self) -> dict[int, int]:
        """The connection is gone; what was under way, packet id to sequence."""
        self._parts.wheel.forget(self)
        return {packet_id: delivery.sequence for packet_id, delivery in self._in_flight if delivery is not None}

    def _settle(self, sequence: int) -> None:
        self._settling.add(sequence)
        self._link.run(lambda: self._complete(sequence))

    async def _complete(self, sequence: int) -> None:
        try:
            await self._parts.messages.complete(self._parts.hub, self._link.name, sequence)
        finally:
            self._settling.discard(sequence)
        if self._has_more:
            self._has_more = False
            self._link.messages_waiting()


class _Delivery:
    """A message under way: settled by PUBACK, sent again at `locked_until` (monotonic)."""

    __slots__ = ("locked_until", "sequence")

    def __init__(self, sequence: int, locked_until: float) -> None:
        self.sequence = sequence
        self.locked_until = locked_until

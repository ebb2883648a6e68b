"""Cloud-to-device messages: none that was queued is lost, none that was settled comes again.

A device settles with PUBACK, to which MQTT has no answer. It knows that the hub has taken it once a later request on
the same connection is answered: the hub writes in the order in which it was asked, so the 204 to a reported patch that
was sent after a PUBACK says that the settling is durable too. Between PUBACK and that 204 a message may come again.

    enqueued (2xx) ──► waiting ──► PUBACK sent ──► 204 to a later patch: settled, never again
                          ▲            │
                          └── kill ────┘ either
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from moorage.cli.hub_client import HubClient
from moorage.errors import Refusal
from tests.chaos.clients import GONE, Client, Device, Received, connected
from tests.chaos.twins import ANSWERS, answered, patch_topic
from tests.hubs import Hub

__all__ = ["MessageLoad"]

_DEVICES = 3
# The hub keeps 50 for a device.
_MAX_WAITING = 20
# Of what a device is given, how much it leaves unacknowledged until the next time.
_LEFT = 0.3
_PATIENCE_S = 60.0


@dataclass
class _Queue:
    device: Device
    is_subscribed: bool = False
    last_number: int = 0
    # Numbers of messages: queued for certain, queued perhaps, acknowledged by the device, settled for certain.
    waiting: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)


class MessageLoad:
    """A `Load`."""

    name = "C2D queued and settled"

    def __init__(self, hub: Hub, folder: Path, rng: random.Random) -> None:
        self._hub = hub
        self._rng = rng
        self._queues = [_Queue(Device(f"receiver-{number}", folder)) for number in range(_DEVICES)]
        self._last_sequence = -1
        self.acknowledged = 0

    def prepare(self) -> None:
        for queue in self._queues:
            queue.device.register(self._hub)

    async def run(self) -> None:
        await asyncio.gather(self._enqueue(), *(self._receive(queue) for queue in self._queues))

    async def verify(self) -> None:
        """Everything that has to wait is delivered, in order, and nothing else; it is left unacknowledged."""
        for queue in self._queues:
            count = self._hub.request("GET", queue.device.path)["cloudToDeviceMessageCount"]
            numbers = await self._look(queue, count)
            came = set(numbers)
            assert not came & queue.settled, f"settled messages came again: {sorted(came & queue.settled)}"
            lost = queue.waiting - came
            assert not lost, f"queued messages are lost: {sorted(lost)}"
            strange = came - queue.waiting - queue.acknowledged - queue.doubtful
            assert not strange, f"messages came that nobody queued: {sorted(strange)}"
            assert numbers == sorted(numbers), f"messages come out of order: {numbers}"
            # What was in doubt is decided: it is there, or it is gone for good.
            queue.settled |= queue.acknowledged - came
            queue.waiting, queue.acknowledged, queue.doubtful = came, set(), set()

    verify_all = verify

    def settled(self) -> dict[str, set[int]]:
        """By device, the messages that may not come again."""
        return {queue.device.name: set(queue.settled) for queue in self._queues}

    async def _enqueue(self) -> None:
        client = HubClient(self._hub.data)
        try:
            while True:
                queue = self._rng.choice(self._queues)
                if len(queue.waiting) >= _MAX_WAITING:
                    await asyncio.sleep(0.002)
                    continue
                number = queue.last_number = queue.last_number + 1
                queue.doubtful.add(number)
                path = f"/moorage/v1{queue.device.path}/messages/devicebound"
                made = await asyncio.to_thread(client.request, "POST", path, body={"body": str(number)})
                assert made["sequenceNumber"] > self._last_sequence, f"{made} after {self._last_sequence}"
                self._last_sequence = made["sequenceNumber"]
                # It may have been delivered, and even settled, before its sender heard of it.
                if number not in queue.acknowledged | queue.settled:
                    queue.waiting.add(number)
                queue.doubtful.discard(number)
                self.acknowledged += 1
        except Refusal as refusal:
            if refusal.reason != "hub.unreachable":
                raise
        finally:
            client.close()

    async def _receive(self, queue: _Queue) -> None:
        try:
            await self._settle(queue)
        except GONE:
            # Killed while it connected.
            return

    async def _settle(self, queue: _Queue) -> None:
        clients: list[Client] = []
        came: list[Received] = []
        last_number = 0
        proven: list[int] = []

        def take(message: Received) -> None:
            nonlocal last_number
            if not message.topic.startswith(queue.device.devicebound):
                status, request_id, _ = answered(message)
                assert status == 204, message.topic
                proven.append(request_id)
                clients[0].acknowledge(message)
                return
            number = int(message.body)
            assert number not in queue.settled, f"message {number} of '{queue.device.name}' was settled and came again"
            assert number > last_number, f"message {number} of '{queue.device.name}' came after {last_number}"
            last_number = number
            came.append(message)

        async with connected(self._hub, queue.device, take, clean_session=False) as (client, present):
            clients.append(client)
            assert present or not queue.is_subscribed, f"the hub forgot the session of '{queue.device.name}'"
            await client.subscribe(queue.device.devicebound + b"#", ANSWERS)
            queue.is_subscribed = True
            # What was acknowledged before each patch, by the patch's number.
            behind: dict[int, set[int]] = {}
            patches = 0
            while not client.is_lost:
                await client.changed()
                while proven:
                    settled = behind.pop(proven.pop(0))
                    queue.settled |= settled
                    queue.acknowledged -= settled
                    self.acknowledged += len(settled)
                taken = set()
                while came:
                    message = came.pop(0)
                    if self._rng.random() >= _LEFT:
                        client.acknowledge(message)
                        taken.add(int(message.body))
                queue.acknowledged |= taken
                queue.waiting -= taken
                if taken:
                    patches += 1
                    behind[patches] = taken
                    client.publish(patch_topic(patches), b'{"settled": %d}' % max(taken))

    async def _look(self, queue: _Queue, count: int) -> list[int]:
        """The messages that come without being asked for, since the session is remembered."""
        numbers: list[int] = []
        async with connected(
            self._hub, queue.device, lambda message: numbers.append(int(message.body)), clean_session=False
        ) as (client, present):
            if not present:
                assert not queue.is_subscribed, f"the hub forgot the session of '{queue.device.name}'"
                await client.subscribe(queue.device.devicebound + b"#", ANSWERS)
                queue.is_subscribed = True
            async with asyncio.timeout(_PATIENCE_S):
                while len(numbers) < count:
                    await client.changed()
                    assert not client.is_lost
        assert len(numbers) == count, f"{count} messages wait for '{queue.device.name}', these came: {numbers}"
        return numbers

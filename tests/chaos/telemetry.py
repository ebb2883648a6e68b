"""Telemetry: what was acknowledged is stored, in order, once.

A device sends unique bodies with several in flight, and sends again, marked DUP, what had no PUBACK when the hub died.
So what the log holds of one connection is a beginning of what was sent over it, at least up to the last PUBACK: a
message that is missing, doubled or out of its place makes it something else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.clients import GONE, Device, connected
from tests.hubs import Hub

__all__ = ["TelemetryLoad", "read_telemetry"]

# Messages in flight, a device each.
_WINDOWS = (1, 8, 20, 50)
_SIZES = (0, 10, 200, 2_000, 60_000)
_SIZE_WEIGHTS = (10, 60, 25, 4, 1)


@dataclass
class _Sender:
    device: Device
    window: int
    next_number: int = 0
    # Sent before, never acknowledged; oldest first.
    again: list[bytes] = field(default_factory=list)
    # Over the present connection, and how many of them were acknowledged.
    sent: list[bytes] = field(default_factory=list)
    acknowledged: int = 0
    # Of everything found in the log so far.
    stored: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


class TelemetryLoad:
    """A `Load`."""

    name = "telemetry"

    def __init__(self, hub: Hub, folder: Path, rng: random.Random) -> None:
        self._hub = hub
        self._rng = rng
        self._senders = [_Sender(Device(f"sender-{number}", folder), window) for number, window in enumerate(_WINDOWS)]
        self._offset = 0
        # Of each partition: the last sequence number and enqueued time.
        self._last: dict[int, tuple[int, str]] = {}
        self.acknowledged = 0

    def prepare(self) -> None:
        for sender in self._senders:
            sender.device.register(self._hub)

    async def run(self) -> None:
        await asyncio.gather(*(self._send(sender) for sender in self._senders))

    async def verify(self) -> None:
        """What is new in the log is what was sent since the last time; then forget what was proven."""
        fresh, self._offset = read_telemetry(self._hub, self._offset)
        bodies: dict[str, list[bytes]] = {sender.device.name: [] for sender in self._senders}
        for message in fresh:
            self._check_numbers(message)
            if _is_telemetry(message):
                bodies[message["deviceId"]].append(base64.b64decode(message["bodyBase64"]))
        for sender in self._senders:
            stored = bodies[sender.device.name]
            assert stored == sender.sent[: len(stored)], (
                f"'{sender.device.name}' sent {_shown(sender.sent)}, stored is {_shown(stored)}"
            )
            assert len(stored) >= sender.acknowledged, (
                f"{sender.acknowledged} messages of '{sender.device.name}' were acknowledged, {len(stored)} are stored"
            )
            _count(sender, stored)
            sender.again = sender.sent[sender.acknowledged :] + sender.again
            sender.sent = []
            sender.acknowledged = 0

    async def verify_all(self) -> None:
        """The log as a whole still holds what each round found in it."""
        found = {sender.device.name: (0, hashlib.sha256()) for sender in self._senders}
        messages, _ = read_telemetry(self._hub, 0)
        for message in filter(_is_telemetry, messages):
            count, digest = found[message["deviceId"]]
            digest.update(base64.b64decode(message["bodyBase64"]) + b"\n")
            found[message["deviceId"]] = (count + 1, digest)
        for sender in self._senders:
            count, digest = found[sender.device.name]
            assert (count, digest.digest()) == (sender.stored, sender.digest.digest()), (
                f"what was stored of '{sender.device.name}' has changed since"
            )

    async def _send(self, sender: _Sender) -> None:
        try:
            async with connected(self._hub, sender.device) as (client, _):
                while not client.is_lost:
                    while client.in_flight < sender.window:
                        body, is_again = self._next_body(sender)
                        sender.sent.append(body)
                        client.publish(sender.device.events, body, again=is_again)
                    await client.changed()
                    self.acknowledged += client.acknowledged - sender.acknowledged
                    sender.acknowledged = client.acknowledged
        except GONE:
            # Killed while it connected.
            return

    def _next_body(self, sender: _Sender) -> tuple[bytes, bool]:
        if sender.again:
            return sender.again.pop(0), True
        sender.next_number += 1
        size = self._rng.choices(_SIZES, _SIZE_WEIGHTS)[0]
        return b"%s %d %s" % (sender.device.name.encode(), sender.next_number, self._rng.randbytes(size)), False

    def _check_numbers(self, message: dict[str, Any]) -> None:
        """Sequence numbers have no gap and times do not go back, also over a restart."""
        partition, sequence, enqueued = message["partition"], message["sequenceNumber"], message["enqueuedTime"]
        last_sequence, last_enqueued = self._last.get(partition, (-1, ""))
        assert sequence == last_sequence + 1, f"partition {partition} goes on from {last_sequence} with {sequence}"
        assert enqueued >= last_enqueued, f"partition {partition}: {enqueued} after {last_enqueued}"
        self._last[partition] = (sequence, enqueued)


def read_telemetry(hub: Hub, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Everything stored from `offset` on, and the offset behind it."""
    messages: list[dict[str, Any]] = []
    while True:
        query = {"offset": str(offset), "limit": "1000"}
        page = hub.request("GET", "/moorage/v1/telemetry", query=query)
        messages += page["messages"]
        offset = page["nextOffset"]
        if page["atEnd"]:
            return messages, offset


def _is_telemetry(message: dict[str, Any]) -> bool:
    """Not what the hub itself tells, of twins that another load changes."""
    return bool(message["systemProperties"]["iothub-message-source"] == "Telemetry")


def _count(sender: _Sender, stored: list[bytes]) -> None:
    sender.stored += len(stored)
    for body in stored:
        sender.digest.update(body + b"\n")


def _shown(bodies: list[bytes]) -> str:
    return f"{len(bodies)} from {bodies[0][:40] if bodies else b''!r} to {bodies[-1][:40] if bodies else b''!r}"

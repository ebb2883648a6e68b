"""Reported properties: a patch that was answered 204 is in the twin, whole, under the version that the answer gave.

Each device counts: patch `n` sets `n` and one of a few other members. Every patch makes one version, so version and
content of a twin say together which patches it took; that has to be at least all that were answered.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.clients import GONE, Client, Device, Received, connected
from tests.hubs import Hub

__all__ = ["ANSWERS", "TwinLoad", "answered", "patch_topic"]

ANSWERS = b"$iothub/twin/res/#"
_ANSWER = re.compile(rb"\$iothub/twin/res/(\d+)/\?\$rid=(\w+)(?:&\$version=(\d+))?")
_DEVICES = 3
_WINDOW = 4
_MEMBERS = 5


def patch_topic(request_id: int) -> bytes:
    return b"$iothub/twin/PATCH/properties/reported/?$rid=%d" % request_id


def answered(message: Received) -> tuple[int, int, int]:
    """(status, request id, version or 0) of an answer to a patch."""
    match = _ANSWER.fullmatch(message.topic)
    assert match, message.topic
    return int(match[1]), int(match[2]), int(match[3] or 0)


@dataclass
class _Reporter:
    device: Device
    # The last patch that was sent, the last that was answered, and the last that the twin was found to hold.
    sent: int = 0
    answered: int = 0
    held: int = 0
    # The version before the first patch.
    first_version: int = 0
    expected: dict[str, Any] = field(default_factory=dict)


class TwinLoad:
    """A `Load`."""

    name = "twin patches"

    def __init__(self, hub: Hub, folder: Path) -> None:
        self._hub = hub
        self._reporters = [_Reporter(Device(f"reporter-{number}", folder)) for number in range(_DEVICES)]
        self.acknowledged = 0

    def prepare(self) -> None:
        for reporter in self._reporters:
            reporter.device.register(self._hub)
            reporter.first_version = self._reported(reporter)["$version"]

    async def run(self) -> None:
        await asyncio.gather(*(self._report(reporter) for reporter in self._reporters))

    async def verify(self) -> None:
        for reporter in self._reporters:
            reported = self._reported(reporter)
            held = reported.get("n", 0)
            assert reporter.answered <= held <= reporter.sent, (
                f"'{reporter.device.name}': patches up to {reporter.answered} were answered and up to {reporter.sent} "
                f"were sent; the twin holds {held}"
            )
            for number in range(reporter.held + 1, held + 1):
                reporter.expected |= _patch(number)
            content = {name: value for name, value in reported.items() if name[0] != "$"}
            assert content == reporter.expected, f"the twin of '{reporter.device.name}' is {content}"
            version = reported["$version"]
            assert version == reporter.first_version + held, f"{held} patches made version {version}"
            reporter.sent = reporter.answered = reporter.held = held

    verify_all = verify

    async def _report(self, reporter: _Reporter) -> None:
        def answer(message: Received) -> None:
            status, number, version = answered(message)
            assert status == 204, message.topic
            assert number == reporter.answered + 1, "patches are answered out of order"
            assert version == reporter.first_version + number, f"patch {number} made version {version}"
            reporter.answered = number
            self.acknowledged += 1
            clients[0].acknowledge(message)

        clients: list[Client] = []
        try:
            async with connected(self._hub, reporter.device, answer) as (client, _):
                clients.append(client)
                await client.subscribe(ANSWERS)
                while not client.is_lost:
                    while reporter.sent - reporter.answered < _WINDOW:
                        reporter.sent += 1
                        client.publish(patch_topic(reporter.sent), json.dumps(_patch(reporter.sent)).encode())
                    await client.changed()
        except GONE:
            # Killed while it connected.
            return

    def _reported(self, reporter: _Reporter) -> dict[str, Any]:
        twin = self._hub.request("GET", f"/twins/{reporter.device.name}")
        return dict(twin["properties"]["reported"])


def _patch(number: int) -> dict[str, Any]:
    return {"n": number, f"m{number % _MEMBERS}": {"of": number, "text": "x" * (number % 50)}}

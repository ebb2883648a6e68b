"""Telemetry in: from a device's publish to its acknowledgement, without an object per message.

`accept` is the fast path of decisions S11: it hands the record to the log and counts it for its sender. When the log
says that a batch is durable, every sender in it hears one number: so many of your oldest messages are on disk.
"""

from __future__ import annotations

from typing import Protocol

from moorage.clock import Clock
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import TelemetryLog

__all__ = ["MAX_MESSAGE_BYTES", "Sender", "TelemetryIntake"]

# contract/devices.md 9.2: body and properties of one device-to-cloud message.
MAX_MESSAGE_BYTES = 256 * 1024


class Sender(Protocol):
    """Who waits for acknowledgements, and whose reading can be held while the disk is behind."""

    def telemetry_durable(self, count: int) -> None:
        """The oldest `count` messages that were handed in and not yet acknowledged are on disk."""

    def telemetry_failed(self, refusal: Unavailable) -> None:
        """Nothing handed in and not yet acknowledged will ever be."""

    def hold_reading(self, hold: bool) -> None: ...


class TelemetryIntake:
    """The one way into the telemetry log; a `LogListener`."""

    def __init__(self, log: TelemetryLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._batches: dict[int, dict[Sender, int]] = {}
        self._held: set[Sender] = set()
        self._holding = False
        self.accepted = 0

    def accept(
        self, sender: Sender, source: bytes, partition: int, bag: bytes, body: bytes, *, acknowledge: bool
    ) -> None:
        """Take one message; with `acknowledge`, `sender` hears when it is durable.

        Raises `Unavailable` when the log takes nothing.
        """
        batch = self._log.append(source, partition, bag, body, self._clock.unix_ms())
        self.accepted += 1
        if acknowledge:
            counts = self._batches.get(batch)
            if counts is None:
                counts = self._batches[batch] = {}
            counts[sender] = counts.get(sender, 0) + 1
        if self._holding and sender not in self._held:
            self._held.add(sender)
            sender.hold_reading(True)

    def forget(self, sender: Sender) -> None:
        """The sender is gone; its messages stay. A connection that it shares with others is held for it no more."""
        if sender in self._held:
            self._held.remove(sender)
            sender.hold_reading(False)

    def log_durable(self, batch: int) -> None:
        for sender, count in self._batches.pop(batch, {}).items():
            sender.telemetry_durable(count)

    def log_failed(self, refusal: Unavailable) -> None:
        batches, self._batches = self._batches, {}
        for sender in {sender for counts in batches.values() for sender in counts}:
            sender.telemetry_failed(refusal)
        self.log_low_water()

    def log_high_water(self) -> None:
        self._holding = True

    def log_low_water(self) -> None:
        self._holding = False
        held, self._held = self._held, set()
        for sender in held:
            sender.hold_reading(False)

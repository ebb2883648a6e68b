"""The intake between devices and the log: who is told of which batch, and who is held while the disk is behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.clock import HandClock
from moorage.errors import Unavailable
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.telemetry_log import SourceHeader
from tests.disks import HeldDisk

SOURCE = SourceHeader("hub", "Telemetry", "pump-01", None, "1", "{}", None).encode()


class Device:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.durable: list[int] = []
        self.failures: list[str] = []
        self.held: list[bool] = []

    def telemetry_durable(self, count: int) -> None:
        self.durable.append(count)

    def telemetry_failed(self, refusal: Unavailable) -> None:
        self.failures.append(refusal.reason)

    def hold_reading(self, hold: bool) -> None:
        self.held.append(hold)


@pytest.fixture
def disk(tmp_path: Path) -> HeldDisk:
    return HeldDisk(tmp_path)


@pytest.fixture
async def log(disk: HeldDisk) -> AsyncIterator[SegmentLog]:
    """A real log; 4,000 bytes may wait before devices are held."""
    log = SegmentLog.open(disk, LogSettings(high_water_bytes=4_000, low_water_bytes=1_000, limit_bytes=100_000))
    yield log
    disk.release()
    await log.close()


@pytest.fixture
async def intake(log: SegmentLog) -> TelemetryIntake:
    intake = TelemetryIntake(log, HandClock())
    log.start(intake)
    return intake


def send(intake: TelemetryIntake, device: Device, body: bytes = b"body", *, acknowledge: bool = True) -> None:
    intake.accept(device, SOURCE, 2, b"a=b", body, acknowledge=acknowledge)


async def synced(log: SegmentLog) -> None:
    """Until nothing waits for the disk, and everybody has been told.

    Not until the log is longer than now: its thread may have made it so between two lines of a test.
    """
    async with asyncio.timeout(30):
        while log.backlog_bytes:  # noqa: ASYNC110  # the log tells only its listener
            await asyncio.sleep(0.001)


async def test_a_message_is_stored_whole_with_the_time_of_the_clock(intake: TelemetryIntake, log: SegmentLog) -> None:
    send(intake, Device())
    await synced(log)
    (message,) = (await log.read(2)).messages
    assert (message.bag, message.body, message.enqueued_ms) == (b"a=b", b"body", HandClock().unix_ms())
    assert intake.accepted == 1


async def test_a_sender_hears_one_number_a_batch(intake: TelemetryIntake, log: SegmentLog, disk: HeldDisk) -> None:
    one, two = Device(), Device()
    disk.hold()
    for _ in range(3):
        send(intake, one)
    send(intake, two)
    await asyncio.sleep(0.01)
    # The first batch is being synced; this gathers in the next.
    send(intake, one)
    await asyncio.sleep(0.01)
    assert (one.durable, two.durable) == ([], [])
    disk.release()
    await synced(log)
    assert (one.durable, two.durable) == ([3, 1], [1])


async def test_what_asks_for_no_acknowledgement_gets_none(intake: TelemetryIntake, log: SegmentLog) -> None:
    device = Device()
    send(intake, device, acknowledge=False)
    await synced(log)
    assert device.durable == []


async def test_a_failure_is_told_once_to_each_who_waits(
    intake: TelemetryIntake, log: SegmentLog, disk: HeldDisk
) -> None:
    waits, done, careless = Device(), Device(), Device()
    send(intake, done)
    await synced(log)
    disk.hold()
    send(intake, waits)
    send(intake, careless, acknowledge=False)
    await asyncio.sleep(0.01)
    send(intake, waits)
    disk.break_it()
    async with asyncio.timeout(30):
        while log.failed is None:  # noqa: ASYNC110  # the log tells only its listener
            await asyncio.sleep(0.001)
    assert (waits.failures, waits.durable) == (["log.write_failed"], [])
    assert done.failures == careless.failures == []
    # A log that takes nothing counts nothing.
    accepted = intake.accepted
    with pytest.raises(Unavailable):
        send(intake, waits)
    assert intake.accepted == accepted


async def test_above_the_high_water_mark_whoever_sends_is_held_until_the_low_one(
    intake: TelemetryIntake, log: SegmentLog, disk: HeldDisk
) -> None:
    loud, late, quiet = Device(), Device(), Device()
    disk.hold()
    send(intake, loud, bytes(5_000))
    assert loud.held == []
    for _ in range(3):
        send(intake, loud)
    send(intake, late)
    assert (loud.held, late.held, quiet.held) == ([True], [True], [])
    disk.release()
    await synced(log)
    assert (loud.held, late.held, quiet.held) == ([True, False], [True, False], [])
    send(intake, loud)
    assert loud.held == [True, False]


async def test_a_failure_lets_everybody_go_on_reading(intake: TelemetryIntake, log: SegmentLog, disk: HeldDisk) -> None:
    device = Device()
    disk.hold()
    send(intake, device, bytes(5_000))
    send(intake, device)
    assert device.held == [True]
    disk.break_it()
    async with asyncio.timeout(30):
        while not device.failures:  # noqa: ASYNC110  # the device is told, and tells nobody
            await asyncio.sleep(0.001)
    assert device.held == [True, False]


async def test_who_is_forgotten_is_not_held_any_more(intake: TelemetryIntake, log: SegmentLog, disk: HeldDisk) -> None:
    device = Device()
    disk.hold()
    send(intake, device, bytes(5_000))
    send(intake, device)
    intake.forget(device)
    intake.forget(device)
    # At once: others may be read from the same connection.
    assert device.held == [True, False]
    disk.release()
    await synced(log)
    assert device.held == [True, False]


async def test_every_message_is_acknowledged_exactly_once(intake: TelemetryIntake, log: SegmentLog) -> None:
    devices = [Device() for _ in range(5)]
    sent = [0] * 5
    for turn in range(40):
        for number, device in enumerate(devices):
            for _ in range((turn * 7 + number) % 4):
                send(intake, device)
                sent[number] += 1
        await asyncio.sleep(0.001 if turn % 3 else 0)
    send(intake, Device())
    await synced(log)
    assert [sum(device.durable) for device in devices] == sent
    assert all(0 not in device.durable for device in devices)

"""Whatever was acknowledged is there after a power cut at any moment, and a log that does not sync is caught."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from moorage.adapters.log.reader import LogReader
from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import CommitStream, LogSettings
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import LogCorrupt, SourceHeader, StoredMessage

from .power_loss import FATES, Fate, Killed, PowerDisk

SETTINGS = LogSettings(partitions=2, segment_bytes=900, retention_bytes=4000, retention_ms=None)
SOURCE = SourceHeader("hub", "Telemetry", "pump-01", None, "1", "{}", None).encode()


class Lost(AssertionError):
    """The log broke its promise."""


class Listener:
    """What the hub would have told the devices, and when."""

    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.refusal: Unavailable | None = None
        self.changed = asyncio.Event()

    def log_durable(self, batch: int) -> None:
        self.acknowledged.add(batch)
        self.changed.set()

    def log_failed(self, refusal: Unavailable) -> None:
        self.refusal = refusal
        self.changed.set()

    def log_high_water(self) -> None: ...

    def log_low_water(self) -> None: ...


@dataclass
class Hub:
    """Sends numbered bodies and remembers those that were acknowledged, per partition and in order."""

    acknowledged: list[list[bytes]] = field(default_factory=lambda: [[], []])
    sent: int = 0

    async def send(self, log: SegmentLog, listener: Listener, count: int) -> None:
        listener.changed.clear()
        listener.refusal = None
        batch_records: list[tuple[int, bytes]] = []
        batch = log.batch
        for _ in range(count):
            self.sent += 1
            body = b"%06d" % self.sent + b"." * (self.sent % 90)
            assert log.append(SOURCE, self.sent % 2, b"", body, self.sent) == batch
            batch_records.append((self.sent % 2, body))
        await listener.changed.wait()
        if batch in listener.acknowledged:
            for partition, body in batch_records:
                self.acknowledged[partition].append(body)


def start(disk: PowerDisk) -> tuple[SegmentLog, Listener]:
    log, listener = SegmentLog.open(disk, SETTINGS), Listener()
    log.start(listener)
    return log, listener


async def play(disk: PowerDisk, hub: Hub) -> None:
    """Batches over several segments, a restart, retention, a sync that fails, a full disk."""
    log, listener = start(disk)
    try:
        for count in (1, 2, 3, 1, 5):
            await hub.send(log, listener, count)
        await log.close()
        log, listener = start(disk)
        for count in (2, 1, 4, 3):
            await hub.send(log, listener, count)
        disk.fail_next_sync = True
        await hub.send(log, listener, 2)
        assert log.failed is not None and log.failed.reason == "log.write_failed"
        await log.reopen()
        # That sync was of a new segment's header; this one is of a batch, which stays readable in the page cache.
        for count in (1, 2):
            disk.fail_next_sync = count == 2
            await hub.send(log, listener, count)
        assert log.failed is not None and log.failed.reason == "log.write_failed"
        await log.reopen()
        for count in (1, 6, 2, 4, 4, 5, 1):
            await hub.send(log, listener, count)
        disk.room = 100
        await hub.send(log, listener, 3)
        assert log.failed is not None and log.failed.reason == "log.disk_full"
        disk.room = None
        await log.reopen()
        await log.enforce_retention(datetime(2030, 1, 1, tzinfo=UTC))
        await hub.send(log, listener, 2)
    finally:
        await log.close()


def stored(disk: PowerDisk) -> list[list[StoredMessage]]:
    """What a hub that starts now finds, per partition; it has to be able to go on writing, too."""
    stream = CommitStream.open(disk, SETTINGS)
    reader = LogReader(disk, 2, lambda: stream.view)
    partitions = []
    for partition in (0, 1):
        messages: list[StoredMessage] = []
        offset = 0
        while True:
            page = reader.read(partition, from_offset=offset, limit=7)
            messages += page.messages
            offset = page.next_offset
            if page.at_end:
                break
        partitions.append(messages)
    stream.close()
    return partitions


def check(disk: PowerDisk, acknowledged: list[list[bytes]], where: str) -> None:
    """Every acknowledged record is there, once, in order, under its number; behind it at most what was in doubt."""
    try:
        found_messages = stored(disk)
    except LogCorrupt as error:
        raise Lost(f"{where}: {error}") from error
    for partition, messages in enumerate(found_messages):
        promised = acknowledged[partition]
        begin = messages[0].sequence if messages else 0
        if [message.sequence for message in messages] != list(range(begin, begin + len(messages))):
            raise Lost(f"{where}: numbers of partition {partition} are not without a gap")
        found = [message.body for message in messages]
        kept = promised[begin:]
        if found[: len(kept)] != kept or (begin and begin > len(promised)):
            raise Lost(f"{where}: partition {partition} held {promised}, from {begin} on there is {found}")
        if len(found) - len(kept) > 6:
            raise Lost(f"{where}: {len(found) - len(kept)} records that no single batch can have left")
        if not messages and promised:
            raise Lost(f"{where}: partition {partition} is empty")
        times = [message.enqueued_ms for message in messages]
        if times != sorted(times):
            raise Lost(f"{where}: enqueued time went back")


@dataclass
class Moment:
    """The disk just before one of its changes, and what had been acknowledged by then."""

    disk: PowerDisk
    acknowledged: list[list[bytes]]
    what: str


def watch(disk: PowerDisk, hub: Hub) -> list[Moment]:
    moments: list[Moment] = []

    def remember(number: int, what: str) -> None:
        moments.append(Moment(disk.copy(), [list(bodies) for bodies in hub.acknowledged], f"change {number}, {what}"))

    disk.before_change = remember
    return moments


async def prove_every_cut(make_disk: Callable[[], PowerDisk]) -> int:
    """Cut the power before every change of the script, with every fate of what was not synced."""
    disk, hub = make_disk(), Hub()
    moments = watch(disk, hub)
    await play(disk, hub)
    moments.append(Moment(disk.copy(), hub.acknowledged, "the end"))
    for moment in moments:
        for fate in FATES:
            check(moment.disk.after_power_loss(fate), moment.acknowledged, f"{moment.what}, {fate} survives")
    return len(moments)


async def prove_cut_while_recovering(make_disk: Callable[[], PowerDisk]) -> int:
    """Cut the power a second time, before every change that recovery makes."""
    disk, hub = make_disk(), Hub()
    moments = watch(disk, hub)
    await play(disk, hub)
    cuts = 0
    fates: tuple[Fate, ...] = ("everything", "half", "dice-1")
    for moment in moments:
        for fate in fates:
            recovering = moment.disk.after_power_loss(fate)
            again = watch(recovering, Hub(acknowledged=moment.acknowledged))
            stored(recovering)
            for second in again:
                check(second.disk.after_power_loss("nothing"), moment.acknowledged, f"{moment.what}; {second.what}")
                check(second.disk.after_power_loss("dice-2"), moment.acknowledged, f"{moment.what}; {second.what}")
                cuts += 1
    return cuts


async def prove_kill_then_cut(make_disk: Callable[[], PowerDisk]) -> int:
    """Kill the process at every change: the page cache survives, hides what was not synced, and then the power goes."""
    kill_at = 0
    while True:
        disk, hub = make_disk(), Hub()

        def kill(number: int, what: str, at: int = kill_at) -> None:
            if number >= at:
                raise Killed(what)

        disk.before_change = kill
        finished = await played_to_its_end(disk, hub)
        disk.before_change = None
        disk.fail_next_sync, disk.room = False, None
        before = [list(bodies) for bodies in hub.acknowledged]
        check(disk.copy(), before, f"killed at {kill_at}")
        log, listener = start(disk)
        kept = [message.body for message in (await log.read(0)).messages]
        begin = [state.begin_sequence for state in [await log.latest(0), await log.latest(1)]]
        check(disk.after_power_loss("nothing"), before, f"killed at {kill_at}, restarted")
        found = {message.body for messages in stored(disk.after_power_loss("nothing")) for message in messages}
        if not set(kept) <= found:
            raise Lost(f"killed at {kill_at}: readers were shown records that a power cut then took")
        # What was in doubt has been decided by the restart; the next batch goes behind it.
        hub.acknowledged = [
            before[partition][: begin[partition]] + [message.body for message in messages]
            for partition, messages in enumerate(stored(disk.copy()))
        ]
        await hub.send(log, listener, 2)
        await log.close()
        check(disk.after_power_loss("nothing"), hub.acknowledged, f"killed at {kill_at}, restarted, written")
        if finished:
            return kill_at
        kill_at += 1


async def played_to_its_end(disk: PowerDisk, hub: Hub) -> bool:
    """Whether nobody was killed on the way."""
    try:
        await play(disk, hub)
    except (Killed, Unavailable, AssertionError):
        # Killed on the loop, or the script met the corpse of the writer thread.
        return False
    return True


async def test_no_acknowledged_record_is_lost_at_any_cut_point() -> None:
    assert await prove_every_cut(PowerDisk) > 80


async def test_a_second_power_cut_during_recovery_loses_nothing() -> None:
    assert await prove_cut_while_recovering(PowerDisk) > 500


async def test_records_seen_after_a_kill_survive_a_later_power_cut() -> None:
    assert await prove_kill_then_cut(PowerDisk) > 80


async def test_a_log_that_never_calls_fdatasync_fails_the_proof() -> None:
    with pytest.raises(Lost):
        await prove_every_cut(lambda: PowerDisk(syncs_data=False))


async def test_a_log_that_never_syncs_its_directory_fails_the_proof() -> None:
    with pytest.raises(Lost):
        await prove_every_cut(lambda: PowerDisk(syncs_directory=False))

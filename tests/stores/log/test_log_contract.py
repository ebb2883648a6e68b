"""What `TelemetryLog` promises: numbers, times, pages, following, back-pressure, retention, and failing out loud."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.log.files import DiskFiles, Files
from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.errors import Conflict, Invalid, Unavailable
from moorage.hub.telemetry_log import Page, SourceHeader, StoredMessage, TelemetryLog, follow, partition_of


class Listener(Protocol):
    durable: list[int]
    words: list[str]
    refusals: list[Unavailable]

    def log_durable(self, batch: int) -> None: ...
    def log_failed(self, refusal: Unavailable) -> None: ...
    def log_high_water(self) -> None: ...
    def log_low_water(self) -> None: ...
    async def until(self, word: str) -> None: ...


def source(device: str = "pump-01", module: str | None = None) -> bytes:
    return SourceHeader("hub", "Telemetry", device, module, "7", '{"scope":"device"}', "dtmi:pump;1").encode()


@asynccontextmanager
async def opened(where: Path | Files, listener: Listener, **settings: object) -> AsyncIterator[SegmentLog]:
    log = SegmentLog.open(where, LogSettings(**settings))  # type: ignore[arg-type]  # by name, as each test needs them
    log.start(listener)
    try:
        yield log
    finally:
        await log.close()


async def put(log: SegmentLog, listener: Listener, *records: tuple[int, int, bytes]) -> None:
    """One batch of (partition, time, body)."""
    for partition, enqueued_ms, body in records:
        log.append(source(), partition, b"a=b", body, enqueued_ms)
    await listener.until("durable")


async def everything(log: TelemetryLog, partition: int | None = None) -> list[StoredMessage]:
    messages: list[StoredMessage] = []
    page = Page([], 0, at_end=False)
    while not page.at_end:
        page = await log.read(partition, from_offset=page.next_offset, limit=3)
        messages += page.messages
    return messages


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def modes(folder: Path) -> tuple[int, set[int]]:
    """Of the folder, and of what is in it."""
    return stat.S_IMODE(folder.stat().st_mode), {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def bodies(page: Page) -> list[bytes]:
    return [message.body for message in page.messages]


@given(
    st.builds(
        SourceHeader,
        *[st.text(max_size=300)] * 3,
        st.none() | st.text(max_size=300),
        *[st.text(max_size=300)] * 2,
        st.none() | st.text(max_size=300),
    )
)
def test_a_source_header_reads_back_as_it_was_written(header: SourceHeader) -> None:
    assert SourceHeader.decode(header.encode()) == header


@given(st.binary(max_size=64))
def test_bytes_that_are_no_source_header_are_a_value_error_or_a_header(data: bytes) -> None:
    for candidate in (data, b"\x01" + data, source()[: len(data)]):
        try:
            assert SourceHeader.decode(candidate).encode() == candidate
        except ValueError as error:
            assert str(error)


def test_a_source_header_too_large_for_a_record_is_refused() -> None:
    with pytest.raises(Invalid, match="log.source_size"):
        SourceHeader("hub", "Telemetry", "d", None, "1", "{}", "m" * 65_536).encode()
    with pytest.raises(Invalid, match="log.source_size"):
        SourceHeader("hub", "Telemetry", "d", None, "1", "a" * 40_000, "m" * 40_000).encode()


def test_a_device_stays_in_its_partition() -> None:
    # Written down rather than computed: another hash would move every device of every existing log.
    assert [partition_of(device, 4) for device in ("pump-01", "pump-02", "sample-device-01", "é")] == [1, 3, 2, 2]


async def test_a_message_reads_back_with_everything_that_was_stored(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        batch = log.append(
            source("line-7", "camera"), 2, b"%24.ct=text%2Fplain&k=v", b"\x00\xffhello", 1_700_000_000_123
        )
        assert batch == log.batch
        await listener.until("durable")
        assert listener.durable == [batch]
        (message,) = (await log.read(2)).messages
    assert message.source == SourceHeader(
        "hub", "Telemetry", "line-7", "camera", "7", '{"scope":"device"}', "dtmi:pump;1"
    )
    assert (message.partition, message.sequence, message.bag) == (2, 0, b"%24.ct=text%2Fplain&k=v")
    assert message.body == b"\x00\xffhello"
    assert message.enqueued_time == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)


async def test_what_arrives_in_one_turn_is_one_batch_and_is_told_once(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        batches = {log.append(source(), 0, b"", b"x", 1) for _ in range(500)}
        assert len(batches) == 1
        await listener.until("durable")
        assert listener.words == ["durable"]
        assert log.backlog_bytes == 0


async def test_the_next_batch_gathers_while_one_is_synced(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        first = log.append(source(), 0, b"", b"1", 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = log.append(source(), 0, b"", b"2", 1)
        assert second == first + 1
        while len(listener.durable) < 2:
            await listener.until("durable")
        assert listener.durable == [first, second]
        assert bodies(await log.read(0)) == [b"1", b"2"]


async def test_a_linger_lets_several_turns_share_a_batch(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, linger_s=30) as log:
        for _ in range(5):
            log.append(source(), 0, b"", b"x", 1)
            await asyncio.sleep(0)
        assert listener.durable == []
    assert listener.durable == [1]


async def test_a_linger_ends_by_itself(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, linger_s=0.05) as log:
        log.append(source(), 0, b"", b"x", 1)
        await listener.until("durable")
        assert listener.durable == [1]


async def test_nothing_is_readable_before_it_is_durable(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, linger_s=30) as log:
        log.append(source(), 0, b"", b"x", 1)
        assert (await log.read(0)).messages == []
        assert (await log.read(0)).at_end
        assert log.backlog_bytes > 0
    async with opened(folder, listener) as log:
        assert bodies(await log.read(0)) == [b"x"], "closing makes durable what was taken"


async def test_numbers_go_on_after_a_restart_and_are_counted_per_partition(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"a"), (1, 1, b"b"), (0, 1, b"c"))
    async with opened(folder, listener) as log:
        await put(log, listener, (1, 2, b"d"), (0, 2, b"e"))
        assert [(m.sequence, m.body) for m in await everything(log, 0)] == [(0, b"a"), (1, b"c"), (2, b"e")]
        assert [(m.sequence, m.body) for m in await everything(log, 1)] == [(0, b"b"), (1, b"d")]
        offsets = [message.offset for message in await everything(log)]
        assert offsets == sorted(set(offsets))


async def test_enqueued_time_never_goes_back_even_across_a_restart(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 5_000, b"a"), (0, 4_000, b"b"), (1, 4_000, b"other partition"))
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 3_000, b"c"), (0, 6_000, b"d"))
        assert [m.enqueued_ms for m in await everything(log, 0)] == [5_000, 5_000, 5_000, 6_000]
        assert [m.enqueued_ms for m in await everything(log, 1)] == [4_000]


async def test_every_bound_is_inclusive_and_exact_across_segments(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, segment_bytes=1_000) as log:
        for number in range(40):
            await put(log, listener, (0, number * 10, b"%d" % number), (1, number * 10, b"other %d" % number))
        assert len(segments(folder)) > 5
        stored = await everything(log, 0)
        assert [m.sequence for m in stored] == list(range(40))
        for message in stored:
            number = message.sequence
            rest = [b"%d" % n for n in range(number, 40)]
            assert bodies(await log.read(0, from_sequence=number)) == rest
            assert bodies(await log.read(0, from_offset=message.offset)) == rest
            assert bodies(await log.read(0, from_offset=message.offset + 1)) == rest[1:]
            assert bodies(await log.read(0, from_offset=message.offset - 1)) == rest
            assert bodies(await log.read(0, from_time=message.enqueued_ms)) == rest
            assert bodies(await log.read(0, from_time=message.enqueued_ms + 1)) == rest[1:]
            assert bodies(await log.read(0, from_time=message.enqueued_ms - 1)) == rest
        assert len((await log.read(from_time=200)).messages) == 40
        beyond = await log.read(0, from_sequence=40)
        assert (beyond.messages, beyond.at_end) == ([], True)
        assert (await log.read(0, from_time=391)).at_end
        far = await log.read(0, from_offset=log.durable_end + 10_000)
        assert far == Page([], log.durable_end + 10_000, at_end=True)


async def test_all_bounds_given_have_to_hold(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, *[(0, number * 10, b"%d" % number) for number in range(10)])
        assert bodies(await log.read(0, from_sequence=3, from_time=60)) == [b"6", b"7", b"8", b"9"]
        assert bodies(await log.read(0, from_sequence=8, from_time=60)) == [b"8", b"9"]


async def test_a_device_is_picked_out_page_by_page(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        for number in range(30):
            log.append(source(f"pump-{number % 3}"), number % 4, b"", b"%d" % number, 1)
        await listener.until("durable")
        page = await log.read(device_id="pump-1", limit=4)
        assert bodies(page) == [b"1", b"4", b"7", b"10"]
        page = await log.read(device_id="pump-1", from_offset=page.next_offset)
        assert bodies(page) == [b"13", b"16", b"19", b"22", b"25", b"28"]
        assert page.at_end


async def test_a_filter_that_matches_nothing_returns_after_a_bounded_stretch(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        for _ in range(8):
            log.append(source(), 0, b"", bytes(1_000_000), 1)
            await listener.until("durable")
        page = await log.read(device_id="nobody")
        assert page.messages == []
        assert not page.at_end
        assert 4_000_000 < page.next_offset < 7_000_000


@pytest.mark.parametrize("partition", [-1, 4, 99])
async def test_a_partition_that_does_not_exist_is_refused(folder: Path, listener: Listener, partition: int) -> None:
    async with opened(folder, listener) as log:
        with pytest.raises(Invalid, match="log.partition"):
            await log.read(partition)
        with pytest.raises(Invalid, match="log.partition"):
            await log.latest(partition)
        with pytest.raises(Invalid, match="of which partition"):
            await log.read(from_sequence=1)


async def test_latest_tells_the_ends_of_a_partition(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        nothing = await log.latest(1)
        assert (nothing.begin_sequence, nothing.last_sequence, nothing.last_offset, nothing.last_enqueued_ms) == (
            0,
            -1,
            -1,
            -1,
        )
        assert nothing.is_empty
        await put(log, listener, (1, 10, b"a"), (1, 20, b"b"), (0, 30, b"c"))
        last = (await log.read(1)).messages[-1]
        state = await log.latest(1)
        assert (state.begin_sequence, state.last_sequence, state.last_enqueued_ms) == (0, 1, 20)
        assert state.last_offset == last.offset
        assert not state.is_empty


async def test_following_from_now_shows_only_what_is_new(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"old"))
        seen: list[bytes] = []

        async def watch() -> None:
            async for page in follow(log, from_offset=log.durable_end, device_id="pump-01"):
                seen.extend(bodies(page))
                if len(seen) == 20:
                    return

        watching = asyncio.create_task(watch())
        for number in range(20):
            await put(log, listener, (number % 4, 2, b"%d" % number))
        await asyncio.wait_for(watching, 30)
        assert seen == [b"%d" % number for number in range(20)]


async def test_a_follower_is_told_when_the_log_closes(folder: Path, listener: Listener) -> None:
    log = SegmentLog.open(folder)
    log.start(listener)
    waiting = asyncio.create_task(log.wait_beyond(log.durable_end))
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(Unavailable, match="log.closed"):
        await waiting
    with pytest.raises(Unavailable, match="log.closed"):
        log.append(source(), 0, b"", b"", 1)
    with pytest.raises(Unavailable, match="log.closed"):
        await log.read(0)
    async with asyncio.timeout(30):
        with pytest.raises(Unavailable, match="log.closed"):
            await log.enforce_retention(datetime.now(UTC))


async def test_a_log_that_was_not_started_takes_nothing(folder: Path) -> None:
    log = SegmentLog.open(folder)
    with pytest.raises(Unavailable, match="log.closed"):
        log.append(source(), 0, b"", b"", 1)
    await log.close()


async def test_a_slow_disk_pushes_back_and_then_refuses(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, high_water_bytes=2_000, low_water_bytes=500, limit_bytes=4_000) as log:
        taken = 0
        with pytest.raises(Unavailable, match="log.backlog"):
            while True:
                log.append(source(), 0, b"", bytes(100), 1)
                taken += 1
        assert listener.words == ["high"]
        assert 4_000 <= log.backlog_bytes < 4_500
        await listener.until("low")
        assert listener.words == ["high", "durable", "low"]
        assert len(await everything(log)) == taken
        await put(log, listener, (0, 1, b"again"))


async def test_old_segments_go_by_age_and_the_active_one_stays(folder: Path, listener: Listener) -> None:
    day = 86_400_000
    async with opened(folder, listener, segment_bytes=500, retention_ms=day, retention_bytes=None) as log:
        for number in range(10):
            await put(log, listener, (0, number * day, b"%d" % number + bytes(300)))
        noon_of_day_6 = datetime.fromtimestamp(6.5 * day / 1000, UTC)
        assert await log.enforce_retention(noon_of_day_6) == 6
        assert [m.sequence for m in await everything(log, 0)] == [6, 7, 8, 9]
        assert (await log.latest(0)).begin_sequence == 6
        assert (await log.read(0, from_sequence=0)).messages[0].sequence == 6
        assert await log.enforce_retention(datetime(2100, 1, 1, tzinfo=UTC)) == 3
        assert [m.sequence for m in await everything(log, 0)] == [9]
        assert len(segments(folder)) == 1
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"next"))
        assert [m.sequence for m in await everything(log, 0)] == [9, 10]


async def test_a_quiet_hub_begins_a_segment_every_hour(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, segment_span_ms=3_600_000) as log:
        for hour in (1, 1.5, 2.1, 2.9, 3.2):
            await put(log, listener, (0, int(hour * 3_600_000), b"x"))
    assert len(segments(folder)) == 3


async def test_the_log_keeps_to_its_size_by_itself(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, segment_bytes=1_000, retention_bytes=5_000) as log:
        for _ in range(60):
            await put(log, listener, (0, 1, bytes(200)))
        await log.enforce_retention(datetime(2024, 1, 1, tzinfo=UTC))
        assert sum(path.stat().st_size for path in segments(folder)) <= 6_000


async def test_files_are_for_the_owner_alone(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, segment_bytes=500) as log:
        for _ in range(5):
            await put(log, listener, (0, 1, bytes(300)))
    assert modes(folder) == (0o700, {0o600})


async def test_a_second_writer_is_kept_out(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener):
        with pytest.raises(Conflict, match=f"process {os.getpid()}") as refused:
            SegmentLog.open(folder)
        assert refused.value.reason == "log.locked"
    async with opened(folder, listener):
        pass


async def test_another_number_of_partitions_is_refused_and_changes_nothing(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, partitions=4) as log:
        await put(log, listener, (3, 1, b"x"))
    for partitions in (2, 8):
        with pytest.raises(Invalid, match="log.partitions"):
            SegmentLog.open(folder, LogSettings(partitions=partitions))
    async with opened(folder, listener, partitions=4) as log:
        assert bodies(await log.read(3)) == [b"x"]


class FailingDisk(DiskFiles):
    """A real folder whose disk says no when it is told to."""

    fail: str | None = None
    error = OSError(errno.EIO, "Input/output error")

    def pwrite(self, handle: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        if self.fail == "write":
            # As a full disk does: a part, then the error.
            super().pwrite(handle, memoryview(data)[: len(data) // 2], offset)
            raise self.error
        super().pwrite(handle, data, offset)

    def fdatasync(self, handle: int) -> None:
        if self.fail == "sync":
            raise self.error
        super().fdatasync(handle)


@pytest.mark.parametrize("what", ["write", "sync"])
async def test_a_batch_that_fails_is_told_and_nothing_after_it_is_taken(
    folder: Path, listener: Listener, what: str
) -> None:
    disk = FailingDisk(folder)
    async with opened(disk, listener) as log:
        await put(log, listener, (0, 1, b"kept"))
        disk.fail = what
        lost = log.append(source(), 0, b"", b"lost", 2)
        await asyncio.sleep(0)
        log.append(source(), 0, b"", b"gathering, lost too", 2)
        await listener.until("failed")
        assert listener.durable == [lost - 1]
        assert log.failed is not None
        assert listener.refusals == [log.failed]
        assert log.failed.reason == "log.write_failed"
        assert "Input/output error" in log.failed.message
        for _ in range(3):
            with pytest.raises(Unavailable, match="log.write_failed"):
                log.append(source(), 0, b"", b"refused", 3)
        with pytest.raises(Unavailable, match="log.write_failed"):
            await log.reopen()
        assert bodies(await log.read(0)) == [b"kept"], "reading goes on"
        disk.fail = None
        await log.reopen()
        assert log.failed is None
        assert log.append(source(), 0, b"", b"new", 4) > lost + 1
        await listener.until("durable")
        assert [(m.sequence, m.body) for m in await everything(log, 0)] == [(0, b"kept"), (1, b"new")]
    async with opened(folder, listener) as log:
        assert [(m.sequence, m.body) for m in await everything(log, 0)] == [(0, b"kept"), (1, b"new")]


async def test_a_full_disk_is_named_and_nothing_stored_is_lost(folder: Path, listener: Listener) -> None:
    disk = FailingDisk(folder)
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    async with opened(disk, listener) as log:
        await put(log, listener, (0, 1, b"kept"))
        disk.fail = "write"
        log.append(source(), 0, b"", bytes(500), 2)
        await listener.until("failed")
        assert log.failed is not None
        assert log.failed.reason == "log.disk_full"
        assert "free space" in log.failed.fix
    async with opened(folder, listener) as log:
        assert bodies(await log.read(0)) == [b"kept"]


@pytest.mark.parametrize(
    "settings", [{"partitions": 0}, {"partitions": 2000}, {"high_water_bytes": 10}, {"limit_bytes": 1000}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        LogSettings(**settings)

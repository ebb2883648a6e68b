"""Segment files that somebody takes away: said once, read around, and never written to again."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.adapters.log.segment_log import SegmentLog
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage

from .test_log_contract import Listener, bodies, everything, opened, put, segments, source

NOW = datetime(1970, 1, 1, tzinfo=UTC)
SMALL = {"segment_bytes": 400, "retention_bytes": None, "retention_ms": None}


def lines(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(word)]


def move_away(folder: Path) -> Path:
    return folder.rename(folder.parent / "away")


async def read_around(log: SegmentLog) -> tuple[list[StoredMessage], list[LogCorrupt]]:
    messages: list[StoredMessage] = []
    damages: list[LogCorrupt] = []
    offset = 0
    while True:
        try:
            page = await log.read(from_offset=offset)
        except LogCorrupt as damage:
            assert damage.resume_offset > offset, "reading has to get on"
            damages.append(damage)
            offset = damage.resume_offset
            continue
        messages += page.messages
        offset = page.next_offset
        if page.at_end:
            return messages, damages


async def test_a_reader_that_misses_the_active_segment_is_told_once_and_what_comes_next_is_kept(
    folder: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"gone"))
        (lost,) = segments(folder)
        lost.rename(folder.parent / lost.name)
        messages, (damage,) = await read_around(log)
        assert messages == []
        assert (damage.offset, lost.name in damage.message, lost.name in damage.fix) == (0, True, True)
        assert log.failed is None
        await put(log, listener, (0, 2, b"kept"), (1, 2, b"kept too"))
        messages, again = await read_around(log)
        assert [(m.partition, m.sequence, m.body) for m in messages] == [(0, 1, b"kept"), (1, 0, b"kept too")]
        assert [(d.offset, d.resume_offset) for d in again] == [(0, damage.resume_offset)]
    assert [lost.name in line for line in lines(caplog, "log_segment_lost")] == [True]
    assert [lost.name in line for line in lines(caplog, "log_unreadable")] == [True]
    async with opened(folder, listener) as log:
        assert bodies(await log.read(0)) == [b"kept"]
    assert [lost.name in line for line in lines(caplog, "log_segment_missing")] == [True]


async def test_behind_a_missing_active_segment_a_reader_waits_for_what_comes(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"gone"))
        end = log.durable_end
        segments(folder)[0].unlink()
        page = await log.read(from_offset=end)
        assert (page.messages, page.next_offset, page.at_end) == ([], end, True)


@pytest.mark.parametrize("replaced", [False, True])
async def test_the_minutely_look_finds_a_segment_taken_away_without_any_reader(
    folder: Path, listener: Listener, replaced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"one"))
        await log.enforce_retention(NOW)
        (lost,) = segments(folder)
        content = lost.read_bytes()
        lost.rename(folder.parent / lost.name)
        if replaced:
            lost.write_bytes(content)
        await log.enforce_retention(NOW)
        await log.enforce_retention(NOW)
        assert len(lines(caplog, "log_segment_lost")) == 1
        await put(log, listener, (0, 2, b"two"))
        messages, damages = await read_around(log)
        assert [m.body for m in messages] == ([b"one", b"two"] if replaced else [b"two"])
        assert len(damages) == (0 if replaced else 1)


async def test_a_folder_taken_away_fails_the_log_until_it_is_back(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"one"))
        away = move_away(folder)
        with pytest.raises(Unavailable, match=r"log\.write_failed.*No such file"):
            await log.enforce_retention(NOW)
        assert log.failed is not None
        assert listener.refusals == [log.failed]
        with pytest.raises(Unavailable, match=r"log\.write_failed"):
            log.append(source(), 0, b"", b"refused", 2)
        with pytest.raises(Unavailable, match=r"log\.write_failed"):
            await log.reopen()
        away.rename(folder)
        await log.reopen()
        await put(log, listener, (0, 2, b"two"))
        assert [(m.sequence, m.body) for m in await everything(log, 0)] == [(0, b"one"), (1, b"two")]


async def test_a_batch_on_its_way_while_the_folder_is_gone_is_told_to_have_failed_once(
    folder: Path, listener: Listener
) -> None:
    async with opened(folder, listener) as log:
        await put(log, listener, (0, 1, b"one"))
        move_away(folder)
        looking = asyncio.create_task(log.enforce_retention(NOW))
        await asyncio.sleep(0)
        log.append(source(), 0, b"", b"on its way", 2)
        with pytest.raises(Unavailable, match=r"log\.write_failed"):
            await looking
        if not listener.refusals:
            await listener.until("failed")
        await asyncio.sleep(0.05)
        assert len(listener.refusals) == 1
        assert listener.durable == [1]


async def test_a_gap_between_segments_is_named_at_the_start_and_damage_is_logged_once_a_file(
    folder: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(folder, listener, **SMALL) as log:
        for number in range(8):
            await put(log, listener, (0, number, bytes(150)))
    paths = segments(folder)
    assert len(paths) > 5
    paths[0].unlink()
    paths[2].unlink()
    caplog.clear()
    async with opened(folder, listener, **SMALL) as log:
        (gap,) = lines(caplog, "log_gap")
        assert paths[1].name in gap
        assert paths[3].name in gap
        missing = lines(caplog, "log_segment_missing")
        assert [path.name in line for path, line in zip((paths[0], paths[2]), missing, strict=True)] == [True, True]
        for _ in range(3):
            _, damages = await read_around(log)
            assert len(damages) == 1
        (line,) = lines(caplog, "log_unreadable")
        assert paths[1].name in line
    caplog.clear()
    async with opened(folder, listener, **SMALL) as log:
        assert len(lines(caplog, "log_gap")) == 1, "as long as the gap is there"
        assert lines(caplog, "log_segment_missing") == [], "their indexes are gone too"


async def test_a_log_that_is_whole_starts_without_a_word_about_gaps(
    folder: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        async with opened(folder, listener, **SMALL) as log:
            for number in range(5):
                await put(log, listener, (0, number, bytes(150)))
            assert (await read_around(log))[1] == []
    assert lines(caplog, "log_") == []


async def test_retention_steps_over_segments_that_are_gone_already(folder: Path, listener: Listener) -> None:
    async with opened(folder, listener, segment_bytes=400, retention_bytes=None, retention_ms=1) as log:
        for number in range(8):
            await put(log, listener, (0, 1000 + number, bytes(150)))
        paths = segments(folder)
        paths[0].unlink()
        paths[1].unlink()
        assert await log.enforce_retention(datetime(2030, 1, 1, tzinfo=UTC)) == len(paths) - 1
        assert segments(folder) == paths[-1:]

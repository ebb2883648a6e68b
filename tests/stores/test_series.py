"""The projector on a real log: what it keeps, over restarts, retention, damage and another log."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.database_file import remove
from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.adapters.series import SqliteSeries
from moorage.analytics.projector import MAX_NAMES_OF_DEVICE, MAX_SHARED, Projector
from moorage.analytics.series import Pending, Progress, Series
from moorage.clock import SystemClock
from moorage.dialects.telemetry_values import values_of
from moorage.errors import Invalid, Unavailable
from moorage.hub.telemetry_log import SourceHeader, partition_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class _Ears:
    """A `LogListener` that remembers how far the log is."""

    def __init__(self) -> None:
        self.durable = asyncio.Event()

    def log_durable(self, batch: int) -> None:
        self.durable.set()

    def log_failed(self, refusal: Unavailable) -> None:
        raise AssertionError(refusal)

    def log_high_water(self) -> None: ...

    def log_low_water(self) -> None: ...


class Hub:
    """A log and the series of it, on one folder."""

    def __init__(self, folder: Path, log: SegmentLog, ears: _Ears) -> None:
        self.log = log
        self._ears = ears
        self.store = SqliteSeries(folder / "series.db")
        self.pending = Pending()
        self.series = Series(self.store, self.pending, Progress())
        self.projector = Projector(log, self.store, self.pending, self.series, values_of, SystemClock())
        self.task = asyncio.create_task(self.projector.run())

    async def say(
        self,
        body: Any,
        device: str = "pump-01",
        *,
        at: timedelta = timedelta(0),
        generation: str = "1",
        source: str = "Telemetry",
    ) -> None:
        header = SourceHeader("hub", source, device, None, generation, "", None).encode()
        self._ears.durable.clear()
        at_ms = NOW_MS + int(at.total_seconds() * 1000)
        self.log.append(header, partition_of(device, 4), b"", json.dumps(body).encode(), at_ms)
        await self._ears.durable.wait()

    async def caught_up(self) -> None:
        async with asyncio.timeout(20):
            while self.projector.behind_bytes:  # noqa: ASYNC110  # what is waited for tells nobody
                await asyncio.sleep(0.01)
            # The page that was read last has been taken in, too.
            await asyncio.get_running_loop().run_in_executor(self.projector.thread, threading.Event)

    async def written(self) -> None:
        await self.caught_up()
        async with asyncio.timeout(20):
            while any(batch.messages for batch in self.pending.batches):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.01)

    async def stop(self, *, politely: bool = True) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        if politely:
            await self.projector.close()
        else:
            self.projector.thread.shutdown()
        self.store.close()

    async def last(self, device: str = "pump-01") -> dict[str, Any]:
        return {name: value.value for (_, name), value in (await self.series.last_values(device)).items()}

    async def count(self, device: str = "pump-01", name: str = "t", step: timedelta = MINUTE) -> int:
        """Of values that minutes (or hours) hold."""
        found = await self.series.buckets([device], "", name, NOW - 8 * HOUR, NOW + 8 * HOUR, step)
        return sum(bucket.count for bucket in found[device].values())


@asynccontextmanager
async def hub(folder: Path, **settings: Any) -> AsyncIterator[Hub]:
    ears = _Ears()
    log = SegmentLog.open(folder / "telemetry", LogSettings(partitions=4, **settings))
    log.start(ears)
    made = Hub(folder, log, ears)
    try:
        yield made
    finally:
        await made.stop()
        await log.close()


async def test_values_are_there_before_and_after_they_are_written(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        for number in range(5):
            await made.say({"t": number, "state": "on"}, at=number * timedelta(seconds=30))
        await made.say({"t": 100}, "pump-02")
        checks: list[Callable[[], Awaitable[None]]] = [made.caught_up, made.written]
        for check in checks:
            await check()
            assert await made.last() == {"t": 4, "state": "on"}
            found = await made.series.many_buckets(
                ["pump-01", "pump-02", "nobody"], [("", "t"), ("", "state"), ("", "no")], NOW, NOW + HOUR, MINUTE
            )
            line = list(found["pump-01"]["", "t"].values())
            assert [(each.count, each.average, each.least, each.greatest) for each in line] == [
                (2, 0.5, 0, 1),
                (2, 2.5, 2, 3),
                (1, 4.0, 4, 4),
            ]
            assert [(each.first, each.last) for each in line] == [(0, 1), (2, 3), (4, 4)]
            assert [each.total for each in found["pump-01"]["", "state"].values()] == [None, None, None]
            assert found["nobody"] == {("", "t"): {}, ("", "state"): {}, ("", "no"): {}}
            hours = await made.series.buckets(["pump-01"], "", "t", NOW, NOW + HOUR, HOUR)
            (whole,) = hours["pump-01"].values()
            assert (whole.count, whole.total, whole.first, whole.last) == (5, 10.0, 0, 4)
            traffic = await made.series.traffic(NOW, NOW + HOUR)
            assert list(traffic.values()) == [3, 2, 1]


@pytest.mark.parametrize("later_s", [0.001, 0.999, 59.9])
async def test_a_minute_counts_from_its_first_moment(tmp_path: Path, later_s: float) -> None:
    async with hub(tmp_path) as made:
        await made.say({"t": 7})
        await made.caught_up()
        until = NOW + timedelta(seconds=later_s)
        found = await made.series.buckets(["pump-01"], "", "t", NOW - HOUR, until, MINUTE)
        assert [bucket.last for bucket in found["pump-01"].values()] == [7]


async def test_messages_of_a_device_are_found_without_the_log(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        for number in range(12):
            await made.say({"t": number}, f"pump-0{number % 3}")
        await made.say({"tags": {}}, "pump-00", source="twinChangeEvents")
        await made.written()
        await made.say({"t": 12}, "pump-00")
        await made.caught_up()
        offsets = await made.series.recent_offsets("pump-00", None, 10)
        bodies = [(await made.log.read(from_offset=offset, limit=1)).messages[0].body for offset in offsets]
        assert [json.loads(body).get("t") for body in bodies] == [12, None, 9, 6, 3, 0]
        assert await made.series.recent_offsets("pump-00", offsets[2], 2) == offsets[3:5]
        assert await made.series.recent_offsets("nobody", None, 10) == []


async def test_nothing_is_counted_twice_or_left_out_over_a_restart_and_a_crash(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        for number in range(10):
            await made.say({"t": number})
        await made.written()
        await made.say({"t": 10})
    async with hub(tmp_path) as made:
        await made.caught_up()
        assert (await made.count(), await made.count(step=HOUR)) == (11, 11)
        await made.say({"t": 11})
        await made.caught_up()
        # What is open is lost with the process, and read again by the next one.
        await made.stop(politely=False)
        store = SqliteSeries(tmp_path / "series.db")
        assert store.place().end <= made.log.durable_end
        store.close()
        made.__init__(tmp_path, made.log, made._ears)  # type: ignore[misc]  # the same log, a new projector
        await made.caught_up()
        assert (await made.count(), await made.last()) == (12, {"t": 11})


@pytest.mark.parametrize("harm", ["deleted", "damaged", "another version"])
async def test_a_lost_file_is_made_again_from_the_log(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "series.db"
    async with hub(tmp_path) as made:
        for number in range(5):
            await made.say({"t": number})
        await made.written()
    if harm == "deleted":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    async with hub(tmp_path) as made:
        await made.caught_up()
        assert (await made.count(), await made.last()) == (5, {"t": 4})


async def test_series_of_another_log_are_forgotten(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        for number in range(5):
            await made.say({"t": number})
        await made.written()
    (tmp_path / "telemetry").rename(tmp_path / "gone")
    async with hub(tmp_path) as made:
        for _ in range(9):
            await made.say({"u": 1})
        await made.caught_up()
        assert (await made.count(), await made.last()) == (0, {"u": 1})


async def test_damage_of_the_log_is_passed_over_and_counted(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        await made.say({"t": 1})
        await made.say({"t": 2})
        await made.say({"t": 3})
    (segment,) = (tmp_path / "telemetry").glob("*.log")
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b'{"t": 2}', b'{"t"; 2}'))
    (tmp_path / "series.db").unlink()
    async with hub(tmp_path) as made:
        await made.caught_up()
        assert await made.count() == 2
        assert made.series.progress.missed_bytes > 0


async def test_what_the_logs_retention_takes_is_forgotten(tmp_path: Path) -> None:
    async with hub(tmp_path, segment_bytes=4096, retention_ms=60 * 60_000) as made:
        for number in range(40):
            await made.say({"t": number, "x": "y" * 200}, at=-5 * HOUR)
        for number in range(40):
            await made.say({"t": number, "x": "y" * 200})
        await made.written()
        assert await made.log.enforce_retention(NOW) > 0
        await made.projector.trim()
        kept = await made.count()
        assert 40 <= kept < 80
        (first,) = (await made.series.buckets(["pump-01"], "", "t", NOW, NOW + HOUR, HOUR))["pump-01"].values()
        assert first.count == 40


async def test_many_slices_with_little_in_each_are_forgotten_at_once(tmp_path: Path) -> None:
    """Between two pieces it rests, and what comes meanwhile waits."""
    async with hub(tmp_path) as made:
        for number in range(40):
            await made.say({"t": number}, at=number * 10 * MINUTE)
        await made.written()
        last = (NOW_MS // 60_000) + 39 * 10
        assert not await asyncio.get_running_loop().run_in_executor(
            made.projector.thread, lambda: made.store.trim(last, 0)
        )
        found = await made.series.buckets(["pump-01"], "", "t", NOW, NOW + 7 * HOUR, MINUTE)
        assert [bucket.last for bucket in found["pump-01"].values()] == [39]


async def test_a_device_made_anew_has_nothing_of_the_one_before(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        await made.say({"t": 1, "old": 1})
        await made.written()
        await made.say({"t": 2}, generation="2")
        await made.caught_up()
        assert (await made.last(), await made.count()) == ({"t": 2}, 1)
        assert len(await made.series.recent_offsets("pump-01", None, 10)) == 1
        await made.written()
        assert len(await made.series.recent_offsets("pump-01", None, 10)) == 1
        assert (await made.last(), await made.count()) == ({"t": 2}, 1)


async def test_whoever_gets_the_id_of_a_deleted_device_sees_nothing_of_it(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        await made.say({"t": 1})
        await made.written()
        await made.say({"t": 2})
        await made.caught_up()
        await made.projector.forget("pump-01")
        assert (await made.last(), await made.count()) == ({}, 0)
        assert await made.series.recent_offsets("pump-01", None, 10) == []
        await made.say({"t": 3}, generation="2")
        await made.caught_up()
        assert (await made.last(), await made.count()) == ({"t": 3}, 1)


async def test_names_of_a_device_are_bounded(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        for number in range(10):
            await made.say({f"n{number}-{leaf}": 1 for leaf in range(60)})
        await made.written()
        assert len(await made.last()) == MAX_NAMES_OF_DEVICE
        assert made.series.progress.left_out == 600 - MAX_NAMES_OF_DEVICE


async def test_what_is_remembered_of_names_is_bounded(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        devices = MAX_SHARED // 64 + 2
        for device in range(devices):
            await made.say({f"n{device}-{number}": number for number in range(64)}, f"pump-{device}")
        await made.caught_up()
        assert (await made.last(f"pump-{devices - 1}"))[f"n{devices - 1}-63"] == 63
        assert 0 < len(made.projector._name_sets) <= MAX_SHARED


async def test_a_listener_hears_of_its_device_alone(tmp_path: Path) -> None:
    async with hub(tmp_path) as made, made.series.listen(["pump-01", "pump-01"]) as listener:
        await made.say({"t": 1}, "pump-02")
        await made.caught_up()
        assert not await listener.wait(0.05)
        await made.say({"t": 1})
        assert await listener.wait(20)
        assert await made.last() == {"t": 1}
    assert not made.series.listened_to


async def test_who_reads_while_a_file_goes_reads_the_new_one_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub(tmp_path) as made:
        await made.say({"t": 1})
        await made.written()

        def read() -> int:
            with made.store.snapshot() as snapshot:
                return int(snapshot.written)

        def remove_while_read(path: Path) -> None:
            assert read() > 0
            remove(path)

        monkeypatch.setattr("moorage.adapters.series.remove", remove_while_read)
        await asyncio.get_running_loop().run_in_executor(
            made.projector.thread, lambda: made.store._file._begin_anew(None)
        )
        assert read() == 0


async def test_questions_that_are_too_large_are_refused(tmp_path: Path) -> None:
    async with hub(tmp_path) as made:
        many = [f"pump-{number}" for number in range(101)]
        with pytest.raises(Invalid, match="101 devices"):
            await made.series.last_values_of(many)
        for devices, until, step in (
            (["a"], NOW, MINUTE),
            (["a"], NOW + 400 * 24 * HOUR, MINUTE),
            (["a"], NOW + HOUR, timedelta(seconds=1)),
            (many[:100], NOW + 24 * HOUR, MINUTE),
        ):
            with pytest.raises(Invalid):
                await made.series.many_buckets(devices, [("", str(each)) for each in range(15)], NOW, until, step)

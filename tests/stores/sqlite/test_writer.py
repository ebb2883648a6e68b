"""Writing: shared commits, failures that stay alone, events after the commit and never without it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import MEMORY, AllTables, SqliteStore
from moorage.errors import Conflict, Invalid, Unavailable
from moorage.events import Event

from .samples import HUB, KEY, identity, name, setting, twin


@asynccontextmanager
async def busy(store: SqliteStore) -> AsyncIterator[None]:
    """Keeps the writer at a work of its own until the block ends, so that all that is written within it queues up."""
    started, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(_tables: AllTables) -> None:
        loop.call_soon_threadsafe(started.set)
        assert release.wait(30)

    writing = asyncio.create_task(store.write(work))
    await started.wait()
    try:
        yield
    finally:
        release.set()
        await writing


async def queue(store: SqliteStore, *tasks: asyncio.Task[object]) -> None:
    """Let the tasks reach the writer's queue."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_callers_that_wait_together_share_one_commit(store: SqliteStore) -> None:
    async with busy(store):
        writes = [asyncio.create_task(store.write(setting(number))) for number in range(200)]
        await queue(store, *writes)
        before = store.commits
    await asyncio.gather(*writes)
    assert store.commits - before == 2
    assert all(store.read().settings.get(str(number)) == "x" for number in range(200))


async def test_a_work_that_raises_is_undone_alone(store: SqliteStore) -> None:
    heard: list[Event] = []

    def good(tables: AllTables, key: str) -> str:
        tables.settings.put(key, "good")
        tables.outbox.emit(Event("twin.desired", HUB, key))
        return key

    def bad(tables: AllTables) -> None:
        tables.settings.put("first", "spoiled")
        tables.settings.put("bad", "bad")
        tables.outbox.emit(Event("twin.desired", HUB, "bad"))
        raise Conflict("etag.stale", "no")

    bus = LocalBus()
    other = SqliteStore(MEMORY, secrets_key=KEY, bus=bus)
    bus.subscribe(heard.append)
    try:
        async with busy(other):
            first = asyncio.create_task(other.write(lambda tables: good(tables, "first")))
            failing = asyncio.create_task(other.write(bad))
            last = asyncio.create_task(other.write(lambda tables: good(tables, "last")))
            await queue(other, first, failing, last)
        assert (await first, await last) == ("first", "last")
        with pytest.raises(Conflict, match=r"etag\.stale"):
            await failing
        settings = other.read().settings
        assert [settings.get(key) for key in ("first", "bad", "last")] == ["good", None, "good"]
        assert [event.subject for event in heard] == ["first", "last"]
    finally:
        other.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=repr)
async def test_the_writer_outlives_any_exception(store: SqliteStore, error: BaseException) -> None:
    def work(_tables: AllTables) -> None:
        raise error

    with pytest.raises(RuntimeError, match="the work raised"):
        await store.write(work)
    await store.write(setting("alive", "yes"))


async def test_text_that_no_file_can_hold_is_refused(store: SqliteStore) -> None:
    with pytest.raises(Invalid, match=r"text\.unicode: 'half \\ud800'"):
        await store.write(setting("key", "half \ud800"))


async def test_what_was_written_is_read_by_the_next_line(store: SqliteStore) -> None:
    for version in range(1, 20):
        await store.write(setting("version", str(version)))
        assert store.read().settings.get("version") == str(version)


async def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(Exception, match="readonly"):
        store.read().settings.put("key", "value")


async def test_a_scan_sees_one_moment(store: SqliteStore) -> None:
    halfway, go_on = threading.Event(), threading.Event()

    def work(tables: AllTables) -> tuple[str | None, str | None]:
        before = tables.settings.get("key")
        halfway.set()
        assert go_on.wait(30)
        return before, tables.settings.get("key")

    await store.write(setting("key", "old"))
    scan = asyncio.create_task(store.scan(work))
    await asyncio.to_thread(halfway.wait)
    await store.write(setting("key", "new"))
    go_on.set()
    assert await scan == ("old", "old")
    assert await store.scan(lambda tables: tables.settings.get("key")) == "new"


async def test_point_reads_leave_no_snapshot_open(tmp_path: Path) -> None:
    """One would keep the log from ever being reused."""
    store = SqliteStore(tmp_path / "moorage.db", secrets_key=KEY, bus=LocalBus())
    try:
        await store.write(lambda tables: tables.identities.put(identity()))
        await store.write(lambda tables: tables.twins.put(twin()))
        tables = store.read()
        assert tables.identities.find(HUB, name()) and tables.twins.find(HUB, name())
        assert tables.mqtt_sessions.find(HUB, name()) is None
        assert tables.messages.waiting(HUB, name(), 1) == [] and tables.messages.count(HUB, name()) == 0
        other = sqlite3.connect(tmp_path / "moorage.db", timeout=0)
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        other.close()
    finally:
        store.close()


async def test_more_than_may_wait_is_refused_and_the_rest_is_written(bus: LocalBus) -> None:
    store = SqliteStore(MEMORY, secrets_key=KEY, bus=bus, backlog=3)
    try:
        async with busy(store):
            waiting = [asyncio.create_task(store.write(setting(number))) for number in range(3)]
            await queue(store, *waiting)
            with pytest.raises(Unavailable, match=r"store\.backlog: 3 changes wait to be written; at most 3 may"):
                await store.write(setting("late"))
        await asyncio.gather(*waiting)
        assert store.read().settings.get("late") is None
        await store.write(setting("late"))
    finally:
        store.close()


async def test_a_cancelled_caller_harms_nobody(store: SqliteStore) -> None:
    async with busy(store):
        impatient = asyncio.create_task(store.write(setting("a")))
        patient = asyncio.create_task(store.write(setting("b")))
        await queue(store, impatient, patient)
        impatient.cancel()
    await patient
    assert impatient.cancelled()
    assert (store.read().settings.get("a"), store.read().settings.get("b")) == ("x", "x")


async def test_closing_writes_what_waits_and_refuses_what_comes_later(tmp_path: Path, bus: LocalBus) -> None:
    store = SqliteStore(tmp_path / "moorage.db", secrets_key=KEY, bus=bus)
    store.read()
    waiting = [asyncio.create_task(store.write(setting(number))) for number in range(1000)]
    await queue(store)
    store.close()
    store.close()
    await asyncio.gather(*waiting)
    for use in (store.write(lambda _tables: None), store.scan(lambda _tables: None)):
        with pytest.raises(Unavailable, match=r"store\.closed"):
            await use
    with pytest.raises(Unavailable, match=r"store\.closed"):
        store.read()
    assert os.listdir(tmp_path) == ["moorage.db"]
    again = SqliteStore(tmp_path / "moorage.db", secrets_key=KEY, bus=bus)
    assert again.read().settings.get("999") == "x"
    again.close()


async def test_a_store_in_memory_leaves_nothing_behind(bus: LocalBus) -> None:
    store = SqliteStore(MEMORY, secrets_key=KEY, bus=bus)
    folder = store._path.parent
    assert folder.is_dir()
    store.close()
    assert not folder.exists()


async def test_what_a_commit_returns_is_synced_to_the_disk(tmp_path: Path, bus: LocalBus) -> None:
    store = SqliteStore(tmp_path / "moorage.db", secrets_key=KEY, bus=bus)

    def pragmas(tables: AllTables) -> list[object]:
        execute = tables.settings._connection.execute
        return [execute(f"PRAGMA {what}").fetchone()[0] for what in ("journal_mode", "synchronous", "foreign_keys")]

    try:
        assert await store.write(pragmas) == ["wal", 2, 1]
    finally:
        store.close()


async def test_the_log_stays_bounded_by_itself(tmp_path: Path, bus: LocalBus) -> None:
    store = SqliteStore(tmp_path / "moorage.db", secrets_key=KEY, bus=bus)
    try:
        for number in range(60):
            await store.write(setting(number, "x" * 500_000))
        assert (tmp_path / "moorage.db").stat().st_size > 20_000_000
        assert (tmp_path / "moorage.db-wal").stat().st_size < 10_000_000
    finally:
        store.close()


async def test_a_log_that_grew_under_a_long_scan_is_cut_after_it(tmp_path: Path, bus: LocalBus) -> None:
    store = SqliteStore(tmp_path / "moorage.db", secrets_key=KEY, bus=bus)
    wal = tmp_path / "moorage.db-wal"
    reading, end = threading.Event(), threading.Event()

    def long_scan(tables: AllTables) -> None:
        tables.settings.get("key")
        reading.set()
        assert end.wait(30)

    async def write(letter: str, count: int) -> None:
        for number in range(count):
            await store.write(setting(f"{letter}-{number}", letter * 500_000))

    try:
        scan = asyncio.create_task(store.scan(long_scan))
        await asyncio.to_thread(reading.wait)
        await write("a", 40)
        assert wal.stat().st_size > 20_000_000
        end.set()
        await scan
        await write("b", 20)
        assert wal.stat().st_size < 10_000_000
    finally:
        store.close()

"""The bus and the outbox: every app hears every committed event, in order, at least once."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore, writer
from moorage.events import Event

from .samples import HUB, KEY, emitting


def event(subject: str, **data: object) -> Event:
    return Event("identity.updated", HUB, subject, data)


def rows_in_outbox(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        count: int = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
        return count
    finally:
        connection.close()


async def test_events_arrive_before_the_write_returns_in_order_and_on_the_loop(
    store: SqliteStore, bus: LocalBus
) -> None:
    heard: list[tuple[str, object, bool]] = []
    here = threading.get_ident()

    def handler(it: Event) -> None:
        # Published only after the commit: the change is there to be read.
        heard.append((it.subject, store.read().settings.get(it.subject), threading.get_ident() == here))

    bus.subscribe(handler)

    def change(*subjects: str) -> Callable[[AllTables], None]:
        def work(tables: AllTables) -> None:
            for subject in subjects:
                tables.outbox.emit(event(subject))
                tables.settings.put(subject, "done")

        return work

    for round_ in range(20):
        await store.write(change(*(f"{round_}-{step}" for step in range(3))))
        assert len(heard) == 3 * (round_ + 1)
    assert heard == [(f"{round_}-{step}", "done", True) for round_ in range(20) for step in range(3)]


async def test_two_apps_on_two_loops_hear_the_same_events_in_the_same_order(store: SqliteStore, bus: LocalBus) -> None:
    here: list[str] = []
    there: list[str] = []
    listening = threading.Event()

    async def write(prefix: str) -> None:
        for number in range(50):
            await store.write(emitting(event(f"{prefix}{number}")))

    async def other_app() -> None:
        def hear(it: Event) -> None:
            assert threading.current_thread() is thread
            there.append(it.subject)
            if len(there) == 100:
                done.set()

        done = asyncio.Event()
        bus.subscribe(hear)
        listening.set()
        await write("b")
        await asyncio.wait_for(done.wait(), 60)

    bus.subscribe(lambda it: here.append(it.subject))
    thread = threading.Thread(target=lambda: asyncio.run(other_app()))
    thread.start()
    await asyncio.to_thread(listening.wait)
    await write("a")
    await asyncio.to_thread(thread.join)
    await store.write(lambda _tables: None)
    assert here == there
    assert sorted(here) == sorted(f"{prefix}{number}" for prefix in "ab" for number in range(50))
    assert [subject for subject in here if subject[0] == "a"] == [f"a{number}" for number in range(50)]


async def test_a_handler_that_raises_keeps_nobody_from_the_event(
    bus: LocalBus, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def broken(it: Event) -> None:
        raise ValueError(it.subject)

    bus.subscribe(broken)
    bus.subscribe(lambda it: heard.append(it.subject))
    with caplog.at_level(logging.ERROR, "moorage.adapters.bus"):
        bus.publish(event("one"))
        bus.publish(event("two"))
        await asyncio.sleep(0)
    assert heard == ["one", "two"]
    assert [record.getMessage() for record in caplog.records] == [
        "bus.handler_failed kind=identity.updated hub=hub subject='one'",
        "bus.handler_failed kind=identity.updated hub=hub subject='two'",
    ]


async def test_nothing_is_heard_after_unsubscribing(bus: LocalBus) -> None:
    heard: list[str] = []
    unsubscribe = bus.subscribe(lambda it: heard.append(it.subject))
    bus.publish(event("before"))
    await asyncio.sleep(0)
    bus.publish(event("on its way"))
    unsubscribe()
    bus.publish(event("after"))
    await asyncio.sleep(0)
    assert heard == ["before"]


async def test_a_subscriber_whose_loop_is_gone_is_passed_over(bus: LocalBus) -> None:
    heard: list[str] = []

    async def subscribe() -> None:
        bus.subscribe(lambda it: heard.append("nobody"))

    await asyncio.to_thread(lambda: asyncio.run(subscribe()))
    bus.subscribe(lambda it: heard.append(it.subject))
    bus.publish(event("one"))
    await asyncio.sleep(0)
    assert heard == ["one"]


async def test_published_events_leave_the_outbox_with_a_later_commit(
    tmp_path: Path, bus: LocalBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moorage.db"
    monkeypatch.setattr(writer, "_PURGE_AFTER_S", 3600.0)
    store = SqliteStore(path, secrets_key=KEY, bus=bus)
    try:
        await store.write(emitting(*(event(str(number)) for number in range(5))))
        assert (store.commits, rows_in_outbox(path)) == (1, 5)
        await store.write(emitting(event("last")))
        assert (store.commits, rows_in_outbox(path)) == (2, 1)
        monkeypatch.setattr(writer, "_PURGE_AFTER_S", 0.05)
        await store.write(emitting(event("again")))
        # With nobody writing, one commit of its own.
        async with asyncio.timeout(30):
            while store.commits < 4:  # noqa: ASYNC110  # a commit that nobody asked for tells nobody
                await asyncio.sleep(0.01)
        assert rows_in_outbox(path) == 0
        monkeypatch.setattr(writer, "_PURGE_AFTER_S", 3600.0)
        await store.write(emitting(event("once more")))
    finally:
        store.close()
    assert rows_in_outbox(path) == 0


CRASHING = """
import asyncio, os, signal, sys
from moorage.adapters.sqlite import SqliteStore
from moorage.events import Event
from tests.stores.sqlite.samples import HUB, KEY

class Crash:
    def publish(self, event):
        if event.subject == "second":
            os.kill(os.getpid(), signal.SIGKILL)
    def subscribe(self, handler):
        raise NotImplementedError

async def main():
    store = SqliteStore(sys.argv[1], secrets_key=KEY, bus=Crash())
    await store.write(lambda tables: [tables.outbox.emit(Event("identity.disabled", HUB, subject, {"n": [1]}))
                                      for subject in ("first", "second", "third")])

asyncio.run(main())
"""


async def test_events_of_a_process_that_died_before_publishing_are_replayed_once(tmp_path: Path, bus: LocalBus) -> None:
    path = tmp_path / "moorage.db"
    died = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", CRASHING, str(path)], timeout=60)
    assert died.returncode == -9
    heard: list[Event] = []
    store = SqliteStore(path, secrets_key=KEY, bus=bus)
    try:
        bus.subscribe(heard.append)
        assert store.replay() == 3
        await store.write(emitting(event("fourth")))
        expected = [Event("identity.disabled", HUB, subject, {"n": [1]}) for subject in ("first", "second", "third")]
        assert heard == [*expected, event("fourth")]
        assert store.replay() == 0
    finally:
        store.close()
    assert rows_in_outbox(path) == 0

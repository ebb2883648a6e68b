"""A disk that takes no more: the commit fails, everybody in it is told so, and nothing of it happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# A process of its own, because the limit on the size of a file is the process's. Two works queue behind a third, so
# that they share the commit that fails.
FULL = """
import asyncio, logging, resource, sys, threading
from pathlib import Path
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.errors import Unavailable
from moorage.events import Event
from tests.stores.sqlite.samples import HUB, KEY

logging.disable()

async def main():
    path, bus, heard = Path(sys.argv[1]), LocalBus(), []
    store = SqliteStore(path, secrets_key=KEY, bus=bus)
    bus.subscribe(lambda event: heard.append(event.subject))
    await store.write(lambda tables: tables.settings.put("before", "x"))
    started, release, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def first(tables):
        loop.call_soon_threadsafe(started.set)
        assert release.wait(30)

    def large(tables):
        tables.settings.put("large", "x" * 1_000_000)
        tables.outbox.emit(Event("identity.updated", HUB, "large"))

    def small(tables):
        tables.settings.put("small", "x")
        tables.outbox.emit(Event("identity.updated", HUB, "small"))

    writing = asyncio.create_task(store.write(first))
    await started.wait()
    together = [asyncio.create_task(store.write(work)) for work in (small, large)]
    await asyncio.sleep(0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size + 100_000, hard))
    release.set()
    await writing
    told = await asyncio.gather(*together, return_exceptions=True)
    settings = store.read().settings
    print([f"{type(error).__name__} {error.reason}" for error in told], heard,
          settings.get("before"), settings.get("small"), settings.get("large"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await asyncio.gather(*(store.write(work) for work in (small, large)))
    print(heard, settings.get("small"), len(settings.get("large")))
    store.close()

asyncio.run(main())
"""


def test_a_commit_that_fails_fails_everybody_in_it_and_the_next_one_works(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "moorage.db")], stdout=subprocess.PIPE, timeout=60, check=True
    )
    assert ended.stdout.decode().splitlines() == [
        "['Unavailable store.unwritten', 'Unavailable store.unwritten'] [] x None None",
        "['small', 'large'] x 1000000",
    ]

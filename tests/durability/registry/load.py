"""A process that writes to a store as fast as it may, and says on its standard output what was acknowledged.

    python -m tests.durability.registry.load DATABASE

Each of its workers owns a device: it counts a twin up (the number is its version), puts C2D messages and settles them.
A line is `twin WORKER VERSION`, `put WORKER SEQUENCE` or `settled WORKER SEQUENCE`, written after the await returned.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.events import Event
from moorage.hub.model import Document, Twin
from tests.stores.sqlite.samples import HUB, KEY, identity, message, name

WORKERS = 20


def say(line: str) -> None:
    # One unbuffered write a line: what the reader got before the kill was acknowledged before the kill.
    os.write(1, f"{line}\n".encode())


async def work(store: SqliteStore, number: int) -> None:
    whose = name(f"device-{number}")

    def count_up(tables: AllTables) -> int:
        twin = tables.twins.find(HUB, whose)
        version = 1 if twin is None else twin.version + 1
        tables.twins.put(Twin(HUB, whose, version, {"n": version}, Document({}, {}, 1), Document({}, {}, 1)))
        tables.outbox.emit(Event("twin.desired", HUB, str(whose), {"version": version}))
        return version

    def enqueue(tables: AllTables) -> int:
        sequence = tables.messages.next_sequence(HUB)
        tables.messages.put(message(sequence, whose))
        return sequence

    def settle(sequence: int, tables: AllTables) -> bool:
        return tables.messages.delete(HUB, whose, sequence)

    if store.read().identities.find(HUB, whose) is None:
        await store.write(lambda tables: tables.identities.put(identity(whose)))
    while True:
        say(f"twin {number} {await store.write(count_up)}")
        sequence = await store.write(enqueue)
        say(f"put {number} {sequence}")
        if sequence % 3:
            assert await store.write(partial(settle, sequence))
            say(f"settled {number} {sequence}")


async def main(path: Path) -> None:
    store = SqliteStore(path, secrets_key=KEY, bus=LocalBus())
    await asyncio.gather(*(work(store, number) for number in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

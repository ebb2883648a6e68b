"""What queries take in a hub of 100,000 devices, and what they do to the loop beside them.

    python -m bench.query [--devices 100000] [--rounds 5] [--data FILE]

Fills a database (kept and used again with `--data`), then asks each query several times for a page of 100 and prints
the median and the worst, and how long the event loop had to wait at worst meanwhile. It fails when an indexed query
takes more than `LIMIT_MS` in the median; what has no index is shown for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.clock import SystemClock
from moorage.dialects.hub_json import Presence
from moorage.dialects.json_text import encode_json
from moorage.dialects.query_rows import TwinSource
from moorage.hub.queries import QueryService
from moorage.hub.twins import initial_twin, report
from moorage.identities.model import ByAuthority, Identity, Status
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName

LIMIT_MS = 100.0
_NOW = datetime(2030, 1, 1, tzinfo=UTC)
_CHUNK = 1_000
_PAGE = 100
_TICK_S = 0.001

INDEXED = """
SELECT * FROM devices
SELECT COUNT() AS n FROM devices
SELECT * FROM devices WHERE deviceId = 'device-050000'
SELECT * FROM devices WHERE STARTS_WITH(deviceId, 'device-0999')
SELECT * FROM devices WHERE tags.site = 'site-7'
SELECT COUNT() AS n FROM devices WHERE tags.site = 'site-7'
SELECT * FROM devices WHERE tags.location.region = 'US'
SELECT COUNT() AS n FROM devices WHERE tags.location.region = 'US'
SELECT * FROM devices WHERE tags.site = 'site-7' AND tags.floor > 3
SELECT COUNT() AS n FROM devices WHERE tags.site = 'site-7' AND tags.floor > 3
SELECT * FROM devices WHERE tags.site IN ['site-1', 'site-2'] OR tags.floor = 6
SELECT * FROM devices WHERE tags.serial = 'SN00012345'
SELECT * FROM devices WHERE tags.serial > 'SN00099900'
SELECT COUNT() AS n FROM devices WHERE IS_DEFINED(tags.site)
SELECT * FROM devices WHERE status = 'disabled'
SELECT COUNT() AS n FROM devices WHERE status = 'disabled'
SELECT * FROM devices WHERE capabilities.iotEdge = true
SELECT * FROM devices WHERE connectionState = 'Connected'
SELECT * FROM devices WHERE tags.site = 'site-7' AND properties.reported.firmware.version != '1.7.0'
"""
SCANS = """
SELECT * FROM devices WHERE properties.reported.firmware.version = '1.7.0'
SELECT * FROM devices WHERE properties.reported.battery > 200
SELECT COUNT() AS n FROM devices WHERE properties.reported.battery > 50
SELECT COUNT() AS n FROM devices WHERE connectionState = 'Connected'
SELECT status, COUNT() AS n FROM devices GROUP BY status
SELECT tags.site, AVG(properties.reported.temperature) AS t FROM devices GROUP BY tags.site
"""


@dataclass(frozen=True, slots=True)
class Figure:
    text: str
    median_ms: float
    worst_ms: float
    wait_ms: float


class _Half:
    """Every other device is connected."""

    def __init__(self, devices: int) -> None:
        self._names = [_name(number) for number in range(0, devices, 2)]
        self._found = frozenset(self._names)

    def of(self, hub: HubId, name: IdentityName) -> Presence:
        return Presence(name in self._found)

    def connected(self, hub: HubId) -> list[IdentityName]:
        return self._names


class _Waits:
    """The longest that a turn of the loop came late."""

    worst_s = 0.0

    async def watch(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            self.worst_s = max(self.worst_s, time.perf_counter() - begun - _TICK_S)


def _name(number: int) -> IdentityName:
    return IdentityName(DeviceId(f"device-{number:06d}"))


def _put(tables: AllTables, number: int, chance: random.Random) -> None:
    name = _name(number)
    status: Status = "disabled" if number % 10 == 0 else "enabled"
    identity = Identity(DEFAULT_HUB, name, str(638400000000000000 + number), 1, ByAuthority(), _NOW)
    tables.identities.put(replace(identity, status=status, is_edge=number % 100 == 0))
    tags = {
        "site": f"site-{number % 50}",
        "floor": number % 7,
        "location": {"region": "US" if number % 3 else "EU", "plant": f"plant-{number % 500}"},
        "serial": f"SN{number:08d}",
    }
    twin = initial_twin(DEFAULT_HUB, name, tags=tags, desired={"interval": 300, "mode": {"fast": True}}, now=_NOW)
    reported = {
        "firmware": {"version": f"1.{number % 20}.0"},
        "temperature": chance.random() * 100,
        "battery": number % 101,
        "network": {"ip": "192.0.2.1", "mac": "00:00:5e:00:53:01"},
    }
    tables.twins.put(report(twin, reported, now=_NOW))


async def fill(store: SqliteStore, devices: int) -> None:
    chance = random.Random(1)
    for begin in range(0, devices, _CHUNK):

        def work(tables: AllTables, begin: int = begin) -> None:
            for number in range(begin, min(begin + _CHUNK, devices)):
                _put(tables, number, chance)

        await store.write(work)


async def measure(store: SqliteStore, devices: int, texts: list[str], rounds: int) -> list[Figure]:
    clock, presence = SystemClock(), _Half(devices)
    service: QueryService[AllTables] = QueryService(store, clock, {"devices": TwinSource("devices", presence, clock)})
    figures = []
    for text in texts:
        waits, took = _Waits(), list[float]()
        watching = asyncio.create_task(waits.watch())
        for _ in range(rounds):
            begun = time.perf_counter()
            await service.page(DEFAULT_HUB, text, _PAGE, None, encode_json)
            took.append((time.perf_counter() - begun) * 1000)
        watching.cancel()
        figures.append(Figure(text, statistics.median(took), max(took), waits.worst_s * 1000))
    return figures


def table(figures: list[Figure]) -> str:
    lines = [f"{'median':>9} {'worst':>9} {'loop':>9}  ms"]
    lines += [f"{each.median_ms:9.1f} {each.worst_ms:9.1f} {each.wait_ms:9.1f}  {each.text}" for each in figures]
    return "\n".join(lines)


def failures(figures: list[Figure]) -> list[str]:
    return [
        f"{each.text}: {each.median_ms:.0f} ms, the limit is {LIMIT_MS:.0f}"
        for each in figures
        if each.median_ms > LIMIT_MS
    ]


@contextmanager
def _database(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "registry.db"


async def main(devices: int, rounds: int, data: Path | None) -> int:
    with _database(data) as path:
        is_there = path.exists()
        store = SqliteStore(path, secrets_key=bytes(32), bus=LocalBus())
        try:
            if not is_there:
                begun = time.perf_counter()
                await fill(store, devices)
                print(f"{devices} devices with six tags each in {time.perf_counter() - begun:.1f} s")
            # As a hub does when it has started (app.py).
            gc.collect()
            gc.freeze()
            gc.set_threshold(10_000, 20, 100)
            sys.setswitchinterval(0.001)
            indexed = await measure(store, devices, INDEXED.strip().splitlines(), rounds)
            print(table(indexed))
            print("Without an index:")
            print(table(await measure(store, devices, SCANS.strip().splitlines(), min(rounds, 2))))
        finally:
            store.close()
    found = failures(indexed)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="keep the database here, and use the one that is here")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.devices, given.rounds, given.data)))

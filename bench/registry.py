"""What a look-up at CONNECT costs with few devices and with many: `identities.find` and `mqtt_sessions.find`.

    python bench/registry.py [--devices 1000000] [--rounds 5] [--connect-us 900]

Builds two databases, one with 1,000 devices and one with `--devices`, and measures each in processes of its own, in
turns, over random devices. Microseconds for the pair, the lowest of all rounds:

    first   opening a connection and the first look-up in a new process
    cold    every look-up the first of its device, SQLite's page cache empty at the start
    warm    the same devices again

The claim is about a CONNECT, so the ratio that may not pass 1.2 is that of the whole: `--connect-us` is what the rest
of one costs. The ratio of the bare look-ups is printed beside it; it is larger, because with a million devices the
lines that a look-up touches come from memory, and with a thousand from the processor's cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.hub.model import MqttSession
from moorage.identities.model import ByThumbprint, Identity
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, Thumbprint

LIMIT = 1.2
FEW = 1_000
CHUNK = 10_000
SAMPLES = 3_000
KEY = bytes(32)
CREATED = datetime(2030, 1, 1, tzinfo=UTC)
SUBSCRIPTIONS = {"$iothub/methods/POST/#": 0, "$iothub/twin/PATCH/properties/desired/#": 0, "$iothub/twin/res/#": 0}


def name_of(number: int) -> IdentityName:
    return IdentityName(DeviceId(f"device-{number:07d}"))


def identities(numbers: range) -> Iterator[Identity]:
    for number in numbers:
        thumbprint = Thumbprint(f"{number:064X}")
        yield Identity(
            DEFAULT_HUB, name_of(number), str(638400000000000000 + number), 1, ByThumbprint(thumbprint), CREATED
        )


async def build(path: Path, devices: int) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    store = SqliteStore(path, secrets_key=KEY, bus=LocalBus())

    def work(numbers: range, tables: AllTables) -> None:
        tables.identities.put_many(identities(numbers))
        for number in numbers:
            tables.mqtt_sessions.put(MqttSession(DEFAULT_HUB, name_of(number), SUBSCRIPTIONS))

    for start in range(0, devices, CHUNK):
        await store.write(partial(work, range(start, min(start + CHUNK, devices))))
    store.close()
    return time.perf_counter() - began


def measure(path: Path, devices: int) -> dict[str, float]:
    """Microseconds a look-up, in this process, which has done nothing yet."""
    order = random.Random(devices)
    names = [name_of(order.randrange(devices)) for _ in range(SAMPLES)]
    began = time.perf_counter()
    store = SqliteStore(path, secrets_key=KEY, bus=LocalBus())
    opened = time.perf_counter()

    def look_up(name: IdentityName) -> None:
        tables = store.read()
        if tables.identities.find(DEFAULT_HUB, name) is None or tables.mqtt_sessions.find(DEFAULT_HUB, name) is None:
            raise LookupError(name)

    def sweep() -> float:
        started = time.perf_counter()
        for name in names:
            look_up(name)
        return (time.perf_counter() - started) / len(names) * 1e6

    look_up(name_of(0))
    took = {"open": (opened - began) * 1e6, "first": (time.perf_counter() - opened) * 1e6, "cold": sweep()}
    took["warm"] = min(sweep() for _ in range(5))
    find = store.read().identities.find
    started = time.perf_counter()
    for name in names:
        find(DEFAULT_HUB, name)
    took["find"] = (time.perf_counter() - started) / len(names) * 1e6
    store.close()
    return took


def run(path: Path, devices: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(path), "--devices", str(devices)]
    measured: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description="Look-up cost at CONNECT, few devices against many")
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connect-us", type=float, default=900.0, help="the rest of a CONNECT, in microseconds")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.devices)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few.db", Path(folder) / "many.db"
        asyncio.run(build(few, FEW))
        took_s = asyncio.run(build(many, options.devices))
        print(f"built {options.devices:,} devices in {took_s:.1f} s, {os.path.getsize(many) >> 20} MiB")
        rounds = [(run(few, FEW), run(many, options.devices)) for _ in range(options.rounds)]
    print(f"{'µs':>8} {FEW:>12,} {options.devices:>12,} {'look-up':>9} {'CONNECT':>9}")
    worst = 0.0
    for what in ("open", "first", "cold", "warm", "find"):
        small, large = (min(measured[side][what] for measured in rounds) for side in (0, 1))
        if what in ("open", "find"):
            print(f"{what:>8} {small:12.1f} {large:12.1f} {large / small:9.2f}")
            continue
        whole = (options.connect_us + large) / (options.connect_us + small)
        worst = max(worst, whole)
        print(f"{what:>8} {small:12.1f} {large:12.1f} {large / small:9.2f} {whole:9.3f}")
    print(f"worst ratio of a CONNECT: {worst:.3f}, limit {LIMIT}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

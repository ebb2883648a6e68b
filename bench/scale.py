"""`make bench`: how long the hub takes to be ready, and what a connect costs, when there is much of everything.

    python -m bench.scale [--gigabytes 10] [--devices 1000000] [--json FILE]

Ready: from starting the process to its ready line, for an empty data folder, and for one with 100,000 devices and a
long telemetry log after `kill -9` under load.

Connect: the same 1,000 devices, real handshakes, on a hub that knows them and no other, and on one where they lie
scattered among a million. Cold is the first connect of each after the process was started, warm is the next; from disk
is cold with the registry's pages dropped from the page cache before. Both hubs run side by side and are measured in
turns.

Exit status 1 when a limit is passed, 2 when it could not be measured. Takes about ten minutes and 12 GB of disk below
build/, which it gives back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers import (
    BenchError,
    Devices,
    Server,
    load,
    load_in_background,
    make_devices,
    register,
    start_moorage,
    work_folder,
)

from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import SourceHeader, partition_of

READY_LIMIT_S = 2.0
CONNECT_LIMIT = 1.2
READY_DEVICES = 100_000
CONNECTING = 1000
_STARTS = 5
_ROUNDS = 10
_BODY = b'{"temperature":21.5,"humidity":40}' * 12
_PIECE_BYTES = 4 * 1024 * 1024


class _Durable:
    """Lets the writer of a log wait for its batch."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def log_durable(self, batch: int) -> None:
        self.event.set()

    def log_failed(self, refusal: Unavailable) -> None:
        raise refusal

    def log_high_water(self) -> None:
        raise BenchError("a piece of the log is over its high water mark")

    def log_low_water(self) -> None:
        raise BenchError("a piece of the log was over its high water mark")


async def write_log(
    folder: Path,
    ids: Sequence[str],
    *,
    gigabytes: float = float("inf"),
    messages: float = float("inf"),
    body: bytes = _BODY,
    over_s: float = 0,
) -> int:
    """Messages from `ids`, in turn, through the hub's own log, until there are so many or so much; how many.

    Their times are spread over the last `over_s` seconds, which takes a number of `messages`.
    """
    log = SegmentLog.open(folder, LogSettings())
    durable = _Durable()
    log.start(durable)
    method = '{"scope":"device","type":"x509Certificate","issuer":"external","acceptingIpFilterRule":null}'
    senders = cycle(
        [
            (
                SourceHeader("hub", "Telemetry", each, None, "638671234567890123", method, None).encode(),
                partition_of(each, 4),
            )
            for each in ids
        ]
    )
    written, end = 0, gigabytes * 1e9
    bag = b"%24.ct=application%2Fjson&%24.ce=utf-8"
    while log.durable_end < end and written < messages:
        durable.event.clear()
        now_ms = time.time_ns() // 1_000_000
        if over_s:
            now_ms -= int(1000 * over_s * (1 - written / messages))
        piece = 0
        while log.backlog_bytes < _PIECE_BYTES and written + piece < messages:
            source, partition = next(senders)
            log.append(source, partition, bag, body, now_ms)
            piece += 1
        written += piece
        await durable.event.wait()
    await log.close()
    return written


def measure_ready(folder: Path, gigabytes: float) -> dict[str, Any]:
    """Seconds until ready, each of some starts."""
    first = []
    for number in range(_STARTS):
        with start_moorage(folder / f"new-{number}") as hub:
            first.append(hub.ready_s)
    ids = [f"device-{number:07}" for number in range(READY_DEVICES)]
    devices = make_devices(folder / "some-devices", ids[:200])
    data = folder / "full"
    register(data, devices, ids)
    messages = asyncio.run(write_log(data / "telemetry", ids[:200], gigabytes=gigabytes))
    log_bytes = sum(path.stat().st_size for path in (data / "telemetry").iterdir())
    killed = []
    with start_moorage(data):
        pass
    for _ in range(_STARTS):
        with start_moorage(data) as hub, load_in_background("publish", hub, devices, "-c", "200", "-t", "60"):
            time.sleep(1.5)
            os.kill(hub.pid, signal.SIGKILL)
        with start_moorage(data) as hub:
            killed.append(hub.ready_s)
    shutil.rmtree(data)
    return {"first": first, "killed": killed, "log_bytes": log_bytes, "messages": messages, "devices": READY_DEVICES}


def measure_connect(folder: Path, registered: int) -> dict[str, Any]:
    """CPU and time of a connect on either hub, round by round."""
    ids = [f"device-{number:07}" for number in range(registered)]
    connecting = ids[:: max(1, registered // CONNECTING)][:CONNECTING]
    devices = make_devices(folder / "scattered-devices", connecting)
    hubs = {"few": folder / "few", "many": folder / "many"}
    register(hubs["few"], devices, connecting)
    register(hubs["many"], devices, ids)
    rounds: list[dict[str, dict[str, dict[str, float]]]] = []
    for number in range(_ROUNDS):
        order = list(hubs) if number % 2 == 0 else list(hubs)[::-1]
        for data in hubs.values():
            _drop_pages(data / "registry.db")
        with start_moorage(hubs["few"]) as few, start_moorage(hubs["many"]) as many:
            servers = {"few": few, "many": many}
            from_disk = {name: _connect(servers[name], devices) for name in order}
        with start_moorage(hubs["few"]) as few, start_moorage(hubs["many"]) as many:
            servers = {"few": few, "many": many}
            cold = {name: _connect(servers[name], devices) for name in order}
            warm = {name: _connect(servers[name], devices) for name in order}
        rounds.append({"cold": cold, "warm": warm, "from disk": from_disk})
    return {"registered": registered, "connecting": len(connecting), "rounds": rounds}


def _connect(server: Server, devices: Devices) -> dict[str, float]:
    result = load("connect", server, devices, "-n", str(CONNECTING))
    return {key: result[key] for key in ("cpu_us", "p50_ms")}


def _drop_pages(path: Path) -> None:
    """Have the kernel forget this one file; what is clean of it is read from disk the next time."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def ratio(connect: dict[str, Any], state: str, key: str) -> float:
    """Many over few: the median of the rounds' ratios."""
    return float(median(each[state]["many"][key] / each[state]["few"][key] for each in connect["rounds"]))


def failures(ready: dict[str, Any], connect: dict[str, Any]) -> list[str]:
    found = []
    for name, what in (("first", "at first start"), ("killed", "after kill -9")):
        if (took := median(ready[name])) > READY_LIMIT_S:
            found.append(f"ready {what} after {took:.2f} s, the limit is {READY_LIMIT_S:g} s")
    for state in ("cold", "warm"):
        if (times := ratio(connect, state, "cpu_us")) > CONNECT_LIMIT:
            found.append(f"a {state} connect costs {times:.2f} times as much, the limit is {CONNECT_LIMIT:g}")
    return found


def report(ready: dict[str, Any], connect: dict[str, Any]) -> str:
    lines = []
    for name, what in (
        ("first", "ready at first start"),
        ("killed", f"ready after kill -9, {ready['log_bytes'] / 1e9:.1f} GB of log, {ready['devices']:,} devices"),
    ):
        times = ready[name]
        lines.append(
            f"{what:<62}{median(times):6.2f} s, at most {max(times):.2f} s of {len(times)}; limit {READY_LIMIT_S:g} s"
        )
    for state in ("cold", "warm", "from disk"):
        few, many = (median(each[state][name]["cpu_us"] for each in connect["rounds"]) for name in ("few", "many"))
        what = f"{state} connect, {connect['registered']:,} registered beside {connect['connecting']:,}"
        lines.append(
            f"{what:<62}{ratio(connect, state, 'cpu_us'):6.2f} times the CPU ({few:.0f} and {many:.0f} µs), "
            f"{ratio(connect, state, 'p50_ms'):.2f} times as long; "
            + ("reported" if state == "from disk" else f"limit {CONNECT_LIMIT:g}")
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Ready time and connect cost at scale.")
    parser.add_argument("--gigabytes", type=float, default=10, help="how long the telemetry log is [10]")
    parser.add_argument("--devices", type=int, default=1_000_000, help="how many are registered [1000000]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    try:
        with work_folder() as folder:
            if shutil.disk_usage(folder).free < (options.gigabytes + 2) * 1e9:
                raise BenchError(f"it takes {options.gigabytes + 2:.0f} GB of disk below {folder.parent}")
            ready = measure_ready(folder, options.gigabytes)
            connect = measure_connect(folder, options.devices)
    except (BenchError, subprocess.SubprocessError) as problem:
        print(f"not measured: {problem}", file=sys.stderr)
        return 2
    print(report(ready, connect))
    broken = failures(ready, connect)
    if options.json is not None:
        options.json.write_text(json.dumps({"ready": ready, "connect": connect, "failures": broken}, indent=2) + "\n")
    for sentence in broken:
        print(f"past the limit: {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

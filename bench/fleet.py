"""`make bench-fleet`: how long a fleet takes to be imported, and what the registry's users notice of it.

    python -m bench.fleet [--devices 100000] [--json FILE]

A hub that holds 1,000 devices is asked, over HTTPS, for the list of them, a page of a query, one of them by a query,
and its statistics. The same is asked while `moorage device import` writes 100,000 more, and again after it. The hub has
one core, the import and the questions share the other.

Exit status 1 when a limit is passed, 2 when it could not be measured. Takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.peers import LOAD_CORE, BenchError, start_moorage, work_folder

from moorage.cli.hub_client import HubClient

DEVICES = 100_000
PRESENT = 1000
IMPORT_LIMIT_S = 60.0
# What is asked for is as large before as after: a page has a thousand rows in either case.
FLAT_LIMIT = 1.5
_ASKED = 30
_MOORAGE = str(Path(sys.executable).with_name("moorage"))

Latencies = dict[str, list[float]]


def write_fleet(file: Path, ids: range) -> None:
    """Devices by thumbprint with a twin each, in turn in fifty halls."""
    with file.open("w") as lines:
        for number in ids:
            pin = {"primaryThumbprint": f"{number:064X}"}
            authentication = {"type": "selfSigned", "x509Thumbprint": pin}
            item = {"id": f"device-{number:07}", "authentication": authentication, "tags": {"hall": number % 50}}
            lines.write(json.dumps(item) + "\n")


def ask(hub: HubClient, into: Latencies) -> None:
    """Each question once; milliseconds."""

    def query(text: str) -> None:
        hub.request("POST", "/devices/query", body={"query": text})

    questions: dict[str, Callable[[], object]] = {
        "list": lambda: hub.request("GET", "/devices"),
        "query": lambda: query("SELECT TOP 100 deviceId FROM devices WHERE tags.hall = 7"),
        "query by id": lambda: query("SELECT * FROM devices WHERE deviceId = 'device-0000500'"),
        "statistics": lambda: hub.request("GET", "/statistics/devices"),
    }
    for name, question in questions.items():
        began = time.perf_counter()
        question()
        into[name].append((time.perf_counter() - began) * 1000)


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def import_fleet(data: Path, file: Path) -> dict[str, Any]:
    """What the command says."""
    command = [_MOORAGE, "device", "import", str(file), "--json", "--data", str(data)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchError(f"the import ended with {run.returncode}: {run.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def measure(folder: Path, devices: int) -> dict[str, Any]:
    few, many = folder / "few.txt", folder / "many.txt"
    write_fleet(few, range(PRESENT))
    write_fleet(many, range(PRESENT, PRESENT + devices))
    data = folder / "hub"
    before, during, after = (defaultdict[str, list[float]](list) for _ in range(3))
    with start_moorage(data) as server:
        os.sched_setaffinity(0, {LOAD_CORE})
        hub = HubClient(data)
        import_fleet(data, few)
        for _ in range(_ASKED):
            ask(hub, before)
        is_over = threading.Event()
        failed: list[Exception] = []

        def keep_asking() -> None:
            with_own = HubClient(data)
            try:
                while not is_over.wait(0.1):
                    ask(with_own, during)
            except Exception as error:
                failed.append(error)
            finally:
                with_own.close()

        asking = threading.Thread(target=keep_asking)
        spent, client = cpu_s(server.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
        asking.start()
        try:
            began = time.monotonic()
            told = import_fleet(data, many)
            took_s = time.monotonic() - began
        finally:
            is_over.set()
            asking.join()
        if failed:
            raise BenchError(f"nobody answered during the import: {failed[0]}")
        spent = cpu_s(server.pid) - spent
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(_ASKED):
            ask(hub, after)
        hub.close()
    if told["done"] != devices:
        raise BenchError(f"{told['done']} of {devices} devices were imported")
    return {
        "devices": devices,
        "import_s": took_s,
        "hub_cpu_s": spent,
        "client_cpu_s": ended.ru_utime + ended.ru_stime - client.ru_utime - client.ru_stime,
        "before": before,
        "during": during,
        "after": after,
    }


def worst(latencies: Sequence[float]) -> float:
    """The 95th percentile."""
    return float(quantiles(latencies, n=20)[-1]) if len(latencies) > 1 else latencies[0]


def flatness(measured: dict[str, Any], question: str) -> float:
    """How many times as long it takes when the fleet is there."""
    return float(median(measured["after"][question]) / median(measured["before"][question]))


def failures(measured: dict[str, Any]) -> list[str]:
    found = []
    if measured["import_s"] > IMPORT_LIMIT_S:
        found.append(
            f"{measured['devices']:,} devices took {measured['import_s']:.1f} s, the limit is {IMPORT_LIMIT_S:g} s"
        )
    for question in measured["before"]:
        # What takes no time at all is not compared: a millisecond more is as much as the machine's own noise.
        slower = median(measured["after"][question]) - median(measured["before"][question])
        if slower > 5 and (times := flatness(measured, question)) > FLAT_LIMIT:
            found.append(f"{question} takes {times:.2f} times as long, the limit is {FLAT_LIMIT:g}")
    return found


def report(measured: dict[str, Any]) -> str:
    rate, took_s = measured["devices"] / measured["import_s"], measured["import_s"]
    lines = [
        f"{measured['devices']:,} devices imported in {took_s:.1f} s, {rate:,.0f} a second; limit {IMPORT_LIMIT_S:g} s",
        f"CPU: hub {measured['hub_cpu_s']:.1f} s, command {measured['client_cpu_s']:.1f} s",
        f"{'milliseconds, median (95 %)':<30}{'before':>16}{'during':>16}{'after':>16}",
    ]
    for question in measured["before"]:
        cells = (measured[when][question] for when in ("before", "during", "after"))
        shown = (f"{median(each):.1f} ({worst(each):.1f})" for each in cells)
        lines.append(f"{question:<30}" + "".join(f"{each:>16}" for each in shown))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time to import a fleet, and what others notice of it.")
    parser.add_argument("--devices", type=int, default=DEVICES, help=f"how many [{DEVICES}]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    try:
        with work_folder() as folder:
            measured = measure(folder, options.devices)
    except (BenchError, subprocess.SubprocessError) as problem:
        print(f"not measured: {problem}", file=sys.stderr)
        return 2
    print(report(measured))
    broken = failures(measured)
    if options.json is not None:
        options.json.write_text(json.dumps({**measured, "failures": broken}, indent=2) + "\n")
    for sentence in broken:
        print(f"past the limit: {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench-pages`: what pages of the application take, and what devices notice of people who look at them.

    python -m bench.pages [--devices 100000] [--messages 10000000] [--seconds 60] [--keep FOLDER] [--json FILE]

A hub with 100,000 devices and 10 million messages of the last day takes 5,000 more a second, while somebody opens one
page after the other. Before that the same messages come and nobody looks. The hub has one core, load and browser share
the other. A page's time is from the request to the last byte of the answer, so it holds what the hub's own queue adds.

Exit status 1 when a limit is passed, 2 when it could not be measured. Takes about half an hour and 6 GB of disk below
build/, most of it until charts have caught up with what the hub was filled with (`--messages 1000000`: four minutes).
With `--keep` the filled hub stays in FOLDER, and the next run begins there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import ssl
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import httpx
from bench.peers import (
    LOAD_CORE,
    BenchError,
    Devices,
    Server,
    devices_in,
    free_port,
    load_command,
    make_devices,
    register,
    start_moorage,
    work_folder,
)
from bench.scale import write_log

from moorage.hub_info import read_hub_info

PAGE_LIMIT_MS: Final = 200.0
PUBACK_LIMIT_MS: Final = 50.0
RATE: Final = 5000
_CONNECTIONS: Final = 500
_DAY_S: Final = 86_400
_BODY: Final = b'{"temperature":21.5,"humidity":40,"sequence":12345}'
_CAUGHT_UP_WITHIN_S: Final = 1800.0
_MOORAGE: Final = str(Path(sys.executable).with_name("moorage"))
_PASSWORD: Final = "a word that nobody guesses"

_DEVICE: Final = "device-0000007"
# As the pane has them, and what people open most of a device.
_PAGES: Final = {
    "dashboard": "/dashboards",
    "devices": "/devices",
    "devices, a search": "/devices?q=0099",
    "devices, not connected": "/devices?state=provisioned",
    "devices, by name": "/devices?sort=name",
    "devices, by connection": "/devices?sort=connection&direction=down",
    "device": f"/devices/{_DEVICE}",
    "raw data": f"/devices/{_DEVICE}/data",
    "properties": f"/devices/{_DEVICE}/properties",
    "certificate": f"/devices/{_DEVICE}/certificate",
    "device groups": "/device-groups",
    "device templates": "/device-templates",
    "edge manifests": "/manifests",
    "data explorer": "/explorer",
    "jobs": "/jobs",
    "rules": "/rules",
    "data export": "/exports",
    "certificates": "/certificates",
    "connection groups": "/groups",
    "connection attempts": "/attempts",
    "audit logs": "/audit",
    "users": "/users",
}

Latencies = dict[str, list[float]]


def sign_in(data: Path) -> httpx.Client:
    """A browser in which an administrator is signed in."""
    name = f"bench-{secrets.token_hex(4)}"
    command = [_MOORAGE, "user", "invite", name, "--role", "administrator", "--json", "--data", str(data)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    info = read_hub_info(data)
    client = httpx.Client(
        base_url=f"https://localhost:{info.web_port}",
        verify=ssl.create_default_context(cafile=str(info.ca_bundle)),
        headers={"sec-fetch-site": "same-origin"},
        timeout=60,
        follow_redirects=True,
    )
    path = httpx.URL(told["link"]).path
    answer = client.post(path, data={"password": _PASSWORD, "again": _PASSWORD}, follow_redirects=False)
    if answer.status_code != 303:
        raise BenchError(f"signing in was answered with {answer.status_code}")
    return client


def wait_for_series(client: httpx.Client, data: Path) -> float:
    """Seconds until the series of telemetry have followed the log to its end."""
    info = read_hub_info(data)
    began = time.monotonic()
    with httpx.Client(verify=ssl.create_default_context(cafile=str(info.ca_bundle))) as metrics:
        while time.monotonic() < began + _CAUGHT_UP_WITHIN_S:
            text = metrics.get(f"https://localhost:{info.https_port}/metrics").text
            behind = [line for line in text.splitlines() if line.startswith("moorage_series_behind_bytes")]
            if not behind:
                raise BenchError("there is no metric moorage_series_behind_bytes")
            if float(behind[0].split()[-1]) == 0:
                return time.monotonic() - began
            time.sleep(1)
    raise BenchError(f"the series did not catch up within {_CAUGHT_UP_WITHIN_S:.0f} s")


def publish(server: Server, devices: Devices, seconds: float) -> subprocess.Popen[str]:
    flags = ("-c", str(_CONNECTIONS), "-f", "20", "-b", str(len(_BODY)), "-r", str(RATE), "-t", str(seconds))
    return subprocess.Popen(load_command("publish", server, devices, flags), stdout=subprocess.PIPE, text=True)


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    if process.returncode:
        raise BenchError("the load failed")
    found: dict[str, Any] = json.loads(out)
    return found


def look(client: httpx.Client, process: subprocess.Popen[str]) -> Latencies:
    """One page after the other while the load goes on, as somebody does who never stops to read."""
    took: Latencies = defaultdict(list)
    while process.poll() is None:
        for name, path in _PAGES.items():
            began = time.perf_counter()
            answer = client.get(path)
            took[name].append(1000 * (time.perf_counter() - began))
            if answer.status_code != 200:
                raise BenchError(f"{path} was answered with {answer.status_code}")
    return took


def fill(folder: Path, count: int, messages: int) -> Devices:
    """The devices, and the hub in `folder` that knows them and has so many messages of them."""
    held, wanted = folder / "filled.json", {"devices": count, "messages": messages}
    if held.exists():
        if json.loads(held.read_text()) != wanted:
            raise BenchError(f"{folder} was filled otherwise: {held.read_text()}")
        return devices_in(folder / "devices")
    ids = [f"device-{number:07}" for number in range(count)]
    devices = make_devices(folder / "devices", ids[:_CONNECTIONS])
    register(folder / "hub", devices, ids)
    asyncio.run(write_log(folder / "hub" / "telemetry", ids, messages=messages, body=_BODY, over_s=_DAY_S))
    held.write_text(json.dumps(wanted))
    return devices


def measure(folder: Path, count: int, messages: int, seconds: float) -> dict[str, Any]:
    devices, data = fill(folder, count, messages), folder / "hub"
    with start_moorage(data, "--web-port", str(free_port())) as hub:
        os.sched_setaffinity(0, {LOAD_CORE})
        with closing(sign_in(data)) as client:
            caught_up_s = wait_for_series(client, data)
            alone = told_by(publish(hub, devices, seconds / 3))
            process = publish(hub, devices, seconds)
            took = look(client, process)
            watched = told_by(process)
    return {
        "devices": count,
        "messages": messages,
        "caught_up_s": caught_up_s,
        "alone": alone,
        "watched": watched,
        "pages": took,
    }


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def failures(figures: dict[str, Any]) -> list[str]:
    found = [
        f"'{name}' takes {p95(took):.0f} ms at the 95th percentile, the limit is {PAGE_LIMIT_MS:.0f} ms"
        for name, took in figures["pages"].items()
        if p95(took) > PAGE_LIMIT_MS
    ]
    watched = figures["watched"]
    if watched["p99_ms"] > PUBACK_LIMIT_MS:
        found.append(f"PUBACK takes {watched['p99_ms']:.1f} ms at the 99th percentile, the limit is {PUBACK_LIMIT_MS}")
    rate = watched["operations"] / watched["seconds"]
    if rate < 0.95 * RATE:
        found.append(f"only {rate:.0f} messages a second were taken, {RATE} were sent")
    return found


def report(figures: dict[str, Any]) -> str:
    alone, watched = figures["alone"], figures["watched"]
    lines = [
        (
            f"{figures['devices']:,} devices, {figures['messages']:,} messages; series caught up with them in "
            f"{figures['caught_up_s']:.0f} s"
        ),
        (
            f"PUBACK p99 {watched['p99_ms']:.1f} ms while pages are opened, {alone['p99_ms']:.1f} ms without; limit "
            f"{PUBACK_LIMIT_MS:.0f} ms; {watched['operations'] / watched['seconds']:.0f} messages a second"
        ),
        f"{'page':<26}{'median':>8}{'p95':>8}   ms, limit {PAGE_LIMIT_MS:.0f}",
    ]
    lines += [f"{name:<26}{median(took):>8.1f}{p95(took):>8.1f}" for name, took in figures["pages"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What pages take while devices send.")
    parser.add_argument("--devices", type=int, default=100_000, help="how many are registered [100000]")
    parser.add_argument("--messages", type=int, default=10_000_000, help="how many are stored [10000000]")
    parser.add_argument("--seconds", type=float, default=60, help="of looking at pages [60]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="fill the hub there, or go on with the one there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    try:
        with work_folder() if options.keep is None else nullcontext(options.keep.absolute()) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            figures = measure(folder, options.devices, options.messages, options.seconds)
    except (BenchError, subprocess.SubprocessError, httpx.HTTPError) as problem:
        print(f"not measured: {problem}", file=sys.stderr)
        return 2
    print(report(figures))
    broken = failures(figures)
    if options.json is not None:
        options.json.write_text(json.dumps({**figures, "failures": broken}, indent=2) + "\n")
    for sentence in broken:
        print(f"past the limit: {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make flood`: bad certificates at twice the rate that the hub can judge, and what good devices notice of it.

    python -m bench.flood [--seconds 10] [--json FILE]

First it is measured what one refusal costs: as many bad certificates as the hub takes, without a crowd. Then twice as
many a second are offered, from one address and from two hundred, while from other addresses a good device connects
again and again (one that was let in before, and one from an address never seen) and another publishes. Exit status 1
when a good device waited longer than `WITHIN_S`, 2 when it could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers import (
    LOAD_CORE,
    BenchError,
    Devices,
    Server,
    load,
    load_command,
    make_devices,
    register,
    start_moorage,
    work_folder,
)
from bench.probes import Credential, credentials, seconds_of_acknowledgements, seconds_to_connect

__all__ = ["WITHIN_S", "Flood", "main"]

WITHIN_S = 2.0
# Of the flood's own networks (bench/load.c), and of none of them.
_NEIGHBOUR = "127.0.1.250"
_KNOWN = "127.0.200.1"
_PUBLISHER = "127.0.201.1"
_DEVICES = 1000


@dataclass
class Flood:
    """What was offered, what became of it, and how long good devices took meanwhile, in seconds."""

    name: str
    offered: float = 0
    judged: float = 0
    handshakes: float = 0
    dropped: float = 0
    memory_mib: float = 0
    waits: dict[str, list[float]] = field(default_factory=dict)
    acknowledgements: list[float] = field(default_factory=list)

    def line(self) -> str:
        waits = "  ".join(f"{_ms(self.waits[name]):>16}" for name in ("known", "new", "neighbour"))
        return (
            f"{self.name:<16}{self.offered:>9.0f}{self.judged:>8.0f}{self.dropped:>9.0f}  {waits}  "
            f"{_ms(self.acknowledgements):>16}{self.memory_mib:>8.0f}"
        )


def _ms(values: Sequence[float]) -> str:
    return f"{median(values) * 1e3:.0f} / {max(values) * 1e3:.0f}" if values else "none"


def measure(folder: Path, seconds: float) -> list[Flood]:
    ids = [f"device-{number}" for number in range(_DEVICES)]
    good, bad = make_devices(folder / "good", ids), make_devices(folder / "bad", ids)
    register(folder / "hub", good, ids)
    cards = credentials(good, folder / "cards", 40)
    floods = []
    with ExitStack() as stack:
        hub = stack.enter_context(start_moorage(folder / "hub"))
        os.sched_setaffinity(0, {LOAD_CORE})
        load("connect", hub, good, "-n", "300")
        judged = load("flood", hub, bad, "-r", "1000000", "-c", "48", "-t", "3", "-a", "8")
        cost = judged["busy"] * judged["seconds"] / max(judged["refused"], 1)
        # Not what was judged just now: on a machine that has other work that is less.
        rate = 1 / cost
        print(f"one refusal costs {cost * 1e6:.0f} µs of CPU, so {rate:.0f} a second can be judged")
        for name, addresses in (("nothing", 0), ("one address", 1), ("200 addresses", 200)):
            # Of the first one's address the hub has heard, of most of the two hundred not.
            floods.append(_watch(hub, name, bad, cards, 2 * rate, addresses, seconds))
            time.sleep(1)
    return floods


def _watch(
    hub: Server,
    name: str,
    bad: Devices,
    cards: Sequence[Credential],
    rate: float,
    addresses: int,
    seconds: float,
) -> Flood:
    flood = Flood(name, waits={"known": [], "new": [], "neighbour": []})
    until = time.monotonic() + seconds
    seconds_to_connect(hub.port, cards[0], _KNOWN)
    publisher = threading.Thread(
        target=lambda: flood.acknowledgements.extend(
            seconds_of_acknowledgements(hub.port, cards[1], _PUBLISHER, until=until)
        )
    )
    publisher.start()
    process = None
    if addresses:
        flags = ("-r", str(rate), "-a", str(addresses), "-t", str(seconds))
        process = subprocess.Popen(
            load_command("flood", hub, bad, flags),
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_behind_the_probes,
        )
    number = 0
    while time.monotonic() < until - WITHIN_S:
        sources = {"known": _KNOWN, "new": f"127.0.{100 + number // 250}.{1 + number % 250}", "neighbour": _NEIGHBOUR}
        for kind, source in sources.items():
            flood.waits[kind].append(seconds_to_connect(hub.port, cards[2 + number % 30], source))
        number += 1
        time.sleep(0.1)
    publisher.join()
    if not flood.acknowledgements:
        raise BenchError("the device that publishes did not get through")
    if process is not None:
        out, _ = process.communicate(timeout=60)
        if process.returncode:
            raise BenchError("the flood failed")
        told: dict[str, Any] = json.loads(out)
        took = told["seconds"]
        flood.offered, flood.judged = (told["offered"] + told["missed"]) / took, told["refused"] / took
        flood.handshakes, flood.dropped = told["handshakes"] / took, told["dropped"] / took
        flood.memory_mib = told["memory_kib"] / 1024
    return flood


def _behind_the_probes() -> None:
    """On one core with those that look at a clock, it must not be what they wait for."""
    os.sched_setaffinity(0, {LOAD_CORE})
    os.nice(5)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Bad certificates at twice the rate that the hub can judge.")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each flood")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    try:
        with work_folder() as folder:
            floods = measure(folder, options.seconds)
    except BenchError as problem:
        print(f"not measured: {problem}", file=sys.stderr)
        return 2
    heads = "  ".join(
        f"{name:>16}"
        for name in (
            "known device",
            "new device",
            "same /24",
        )
    )
    print(f"{'flood from':<16}{'offered/s':>9}{'judged':>8}{'dropped':>9}  {heads}  {'PUBACK':>16}{'MiB':>8}")
    for flood in floods:
        print(flood.line())
    print("Times in ms, median / largest, from TCP to CONNACK.")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(flood) for flood in floods], indent=2) + "\n")
    late = [
        f"{flood.name}: a good device ({kind}) waited {max(waits):.1f} s"
        for flood in floods
        for kind, waits in flood.waits.items()
        if max(waits) > WITHIN_S
    ]
    for sentence in late:
        print(f"past the limit: {sentence}", file=sys.stderr)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())

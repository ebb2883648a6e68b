"""`make bench-quick`: what a connect, a durable publish and an idle device cost beside Mosquitto, in three minutes.

    python -m bench.quick [--json FILE]

The two servers run on one core, the load on another. Rounds are short and alternate (ours first, then theirs first), so
that a machine that is busy with something else slows both; a row's figure is the median of its rounds' ratios. Exit
status 1 when a row is past its limit, 2 when it could not be measured.

Beside the figures, always: Mosquitto links Debian's OpenSSL, moorage the one of its own wheel; and Mosquitto
acknowledges a message that it holds in memory, moorage one that is on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers import (
    BenchError,
    Devices,
    Server,
    load,
    make_devices,
    register,
    start_moorage,
    start_mosquitto,
    work_folder,
)
from OpenSSL import SSL

__all__ = ["ROWS", "Row", "Series", "failures", "main", "table"]

# Leaves room within three minutes for a fresh machine to set itself up.
BUDGET_S = 140.0
IDLE_DEVICES = 5000
_WARM_UP = ("-n", "300")
_MIN_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One thing that is measured: the field `key` of what a load with `flags` prints.

    `limit` is the largest that passes, None where there is none; it is for the `ratio` or for `ours`.
    """

    name: str
    unit: str
    key: str
    what: str
    flags: tuple[str, ...]
    limit: float | None
    limits: str = "ratio"


ROWS = (
    Row("connect, TLS 1.3", "µs of CPU", "cpu_us", "connect", ("-v", "13", "-t", "0.5"), 1.1),
    Row("connect, TLS 1.2", "µs of CPU", "cpu_us", "connect", ("-v", "12", "-t", "0.5"), None),
    Row("publish, 200 x 1 in flight", "µs of CPU", "cpu_us", "publish", ("-c", "200", "-f", "1", "-t", "0.7"), 3.0),
    Row("publish, 50 x 20 in flight", "µs of CPU", "cpu_us", "publish", ("-c", "50", "-f", "20", "-t", "0.7"), 1.3),
)
IDLE = Row("idle device, subscribed", "KiB", "grown_kib", "idle", ("-c", str(IDLE_DEVICES), "-t", "2"), 45.0, "ours")


@dataclass
class Series:
    """A row's rounds: what each cost us and what it cost Mosquitto."""

    row: Row
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def judged(self) -> float:
        """The figure that the limit is for."""
        return median(self.ratios) if self.row.limits == "ratio" else median(self.ours)

    def document(self) -> dict[str, Any]:
        return {
            "name": self.row.name,
            "unit": self.row.unit,
            "moorage": {"median": median(self.ours), "min": min(self.ours), "rounds": self.ours},
            "mosquitto": {"median": median(self.theirs), "min": min(self.theirs), "rounds": self.theirs},
            "ratio": {"median": median(self.ratios), "min": min(self.ratios), "max": max(self.ratios)},
            "limit": None if self.row.limit is None else {"of": self.row.limits, "at_most": self.row.limit},
            "passed": failure(self) is None,
        }


def failure(series: Series) -> str | None:
    """What to say when the row is past its limit."""
    row = series.row
    if row.limit is None or series.judged <= row.limit:
        return None
    if row.limits == "ratio":
        return f"{row.name}: {series.judged:.2f} times Mosquitto's CPU, the limit is {row.limit:g}"
    return f"{row.name}: {series.judged:.1f} {row.unit}, the limit is {row.limit:g}"


def failures(measured: Sequence[Series]) -> list[str]:
    return [sentence for series in measured if (sentence := failure(series)) is not None]


def table(measured: Sequence[Series]) -> str:
    """Medians, the lowest in brackets."""
    lines = [f"{'':<28}{'moorage':>17}{'Mosquitto':>17}  {'unit':<11}{'ratio':>6}  {'of rounds':<14}limit"]
    for series in measured:
        row = series.row
        cells = [f"{median(values):.1f} ({min(values):.1f})" for values in (series.ours, series.theirs)]
        spread = f"{min(series.ratios):.2f}..{max(series.ratios):.2f}/{len(series.ours)}"
        limit = "reported"
        if row.limit is not None:
            what = "" if row.limits == "ratio" else f" {row.unit}"
            limit = f"<= {row.limit:g}{what}, {'passed' if failure(series) is None else 'FAILED'}"
        ratio = f"{median(series.ratios):>6.2f}  {spread:<14}"
        lines.append(f"{row.name:<28}{cells[0]:>17}{cells[1]:>17}  {row.unit:<11}{ratio}{limit}")
    return "\n".join(lines)


def measure(folder: Path, until: float) -> tuple[list[Series], str]:
    """Every row, and the version of Mosquitto's OpenSSL. Ends by `until` (monotonic), after three rounds at least."""
    ids = [f"device-{number}" for number in range(IDLE_DEVICES)]
    devices = make_devices(folder / "devices", ids)
    register(folder / "hub", devices, ids)
    idle = Series(IDLE)
    # Memory is read on servers that have seen a few hundred connects and nothing else.
    with ExitStack() as stack:
        for server, values in _start_both(stack, folder, "idle", devices, idle):
            load("connect", server, devices, *_WARM_UP)
            values.append(load(IDLE.what, server, devices, *IDLE.flags)[IDLE.key])
    measured = [Series(row) for row in ROWS]
    openssl = ""
    with ExitStack() as stack:
        ours, theirs = _start_both(stack, folder, "rounds", devices, idle)
        for server, _ in (ours, theirs):
            openssl = load("connect", server, devices, *_WARM_UP)["openssl"]
        rounds = 0
        took = 0.0
        while rounds < _MIN_ROUNDS or time.monotonic() + took < until:
            began = time.monotonic()
            for series in measured:
                pair = [(ours[0], series.ours), (theirs[0], series.theirs)]
                for server, values in pair if rounds % 2 == 0 else reversed(pair):
                    values.append(load(series.row.what, server, devices, *series.row.flags)[series.row.key])
            rounds += 1
            took = time.monotonic() - began
    return [*measured, idle], openssl


def _start_both(
    stack: ExitStack, folder: Path, name: str, devices: Devices, series: Series
) -> tuple[tuple[Server, list[float]], tuple[Server, list[float]]]:
    hub = stack.enter_context(start_moorage(folder / "hub"))
    broker = stack.enter_context(start_mosquitto(folder / f"mosquitto-{name}", devices, hub.certificate))
    return (hub, series.ours), (broker, series.theirs)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="CPU and memory beside Mosquitto, in under three minutes.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        if (os.cpu_count() or 1) < 2:
            raise BenchError("it takes two cores, one for the servers and one for the load")
        with work_folder() as folder:
            measured, openssl = measure(folder, began + BUDGET_S)
    except BenchError as problem:
        print(f"not measured: {problem}", file=sys.stderr)
        return 2
    ours = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode().split()[1]
    print(table(measured))
    print(
        "\nMedians, the lowest round in brackets. "
        f"moorage links OpenSSL {ours} (pyOpenSSL), Mosquitto Debian's {openssl}.\n"
        "P-256 everywhere, two certificates sent by either side, full handshakes. A publish is 100 bytes at QoS 1;\n"
        "moorage acknowledges what is on disk, Mosquitto what is in memory. "
        f"Took {time.monotonic() - began:.0f} s on {os.cpu_count()} cores."
    )
    broken = failures(measured)
    if options.json is not None:
        document = {
            "openssl": {"moorage": ours, "mosquitto": openssl},
            "rows": [series.document() for series in measured],
            "failures": broken,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    for sentence in broken:
        print(f"past the limit: {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

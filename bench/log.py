"""What the telemetry log costs per message: CPU of the whole process, and the time until it is on disk.

    python bench/log.py [FOLDER]

Batches of 1, 20, 200 and 1,000 records of 100 bytes with an ordinary source and bag; each row runs about a second. The
folder decides which disk is measured; without one it is a temporary folder.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import SourceHeader

SOURCE = SourceHeader(
    "hub",
    "Telemetry",
    "sample-device-0001",
    None,
    "638671234567890123",
    '{"scope":"device","type":"x509Certificate","issuer":"external","acceptingIpFilterRule":null}',
    None,
).encode()
BAG = b"%24.ct=application%2Fjson&%24.ce=utf-8"
BODY = b"x" * 100
SECONDS = 1.0


class Listener:
    """Lets the bench wait for one batch."""

    def __init__(self) -> None:
        self.durable = asyncio.Event()

    def log_durable(self, batch: int) -> None:
        self.durable.set()

    def log_failed(self, refusal: Unavailable) -> None:
        raise refusal

    def log_high_water(self) -> None:
        print("over the high water mark")

    def log_low_water(self) -> None:
        print("below the low water mark")


async def run(folder: Path, batch: int) -> None:
    log = SegmentLog.open(folder, LogSettings())
    listener = Listener()
    log.start(listener)
    append = log.append
    now_ms = int(time.time() * 1000)
    batches, appending = 0, 0.0
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < SECONDS:
        at = time.perf_counter()
        for number in range(batch):
            append(SOURCE, number & 3, BAG, BODY, now_ms)
        appending += time.perf_counter() - at
        listener.durable.clear()
        await listener.durable.wait()
        batches += 1
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    messages = batches * batch
    print(
        f"{batch:>8} {messages / elapsed:>12,.0f} {cpu / messages * 1e6:>14.2f} {appending / messages * 1e6:>12.2f}"
        f" {elapsed / batches * 1e3:>12.3f}"
    )
    await log.close()


def main() -> None:
    print(f"{'batch':>8} {'messages/s':>12} {'CPU us/message':>14} {'of it append':>12} {'ms/batch':>12}")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as temporary:
        for batch in (1, 20, 200, 1000):
            uvloop.run(run(Path(temporary) / str(batch), batch))


if __name__ == "__main__":
    main()

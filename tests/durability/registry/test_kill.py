"""kill -9 under load: everything that was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from tests.stores.sqlite.samples import HUB, KEY, name

from .load import WORKERS

ROUNDS = 5


def run_and_kill(path: Path, seconds: float) -> list[tuple[str, int, int]]:
    """What the killed process had acknowledged, in order."""
    command = [sys.executable, "-m", "tests.durability.registry.load", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # it has begun to write
        timer = time.monotonic() + seconds
        lines = [first]
        while time.monotonic() < timer:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    whole = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return [(what, int(worker), int(number)) for what, worker, number in whole]


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "moorage.db"
    versions = dict.fromkeys(range(WORKERS), 0)
    put: set[tuple[int, int]] = set()
    settled: set[tuple[int, int]] = set()
    total = 0
    for _ in range(ROUNDS):
        acknowledged = run_and_kill(path, random.uniform(0.1, 0.6))
        total += len(acknowledged)
        for what, worker, number in acknowledged:
            if what == "twin":
                versions[worker] = number
            else:
                (put if what == "put" else settled).add((worker, number))

        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
        store = SqliteStore(path, secrets_key=KEY, bus=LocalBus())
        try:
            tables = store.read()
            for worker, version in versions.items():
                twin = tables.twins.find(HUB, name(f"device-{worker}"))
                assert twin is not None or version == 0
                if twin is not None:
                    # One more may have been committed than was acknowledged; never fewer, never half.
                    assert twin.version in (version, version + 1)
                    assert twin.tags == {"n": twin.version}
                    versions[worker] = twin.version
                waiting = {
                    (worker, message.sequence)
                    for message in tables.messages.waiting(HUB, name(f"device-{worker}"), 1_000_000)
                }
                ours = {key for key in put if key[0] == worker}
                assert not waiting & settled, "a settled message came back"
                gone = ours - settled - waiting
                # The settling of at most one was committed and not acknowledged.
                assert len(gone) <= 1, "an acknowledged message is lost"
                settled |= gone
            store.replay()
        finally:
            store.close()
    assert total > ROUNDS * WORKERS

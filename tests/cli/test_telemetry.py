"""`moorage telemetry tail` beside a hub whose stored telemetry was taken away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOORAGE = [sys.executable, "-c", "import sys; from moorage.cli import main; sys.exit(main())"]


def test_a_missing_segment_is_said_once_with_its_fix_and_the_tail_goes_on_until_the_hub_ends(tmp_path: Path) -> None:
    data = str(tmp_path / "hub")
    hub = subprocess.Popen(
        [
            *MOORAGE,
            "up",
            "--json",
            "--mqtt-port",
            "0",
            "--https-port",
            "0",
            "--amqp-port",
            "0",
            "--amqp-plain-port",
            "0",
            "--web-port",
            "0",
            "--data",
            data,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert hub.stdout is not None
    try:
        assert json.loads(hub.stdout.readline())["ready"] is True
        (segment,) = (tmp_path / "hub").rglob("*.log")
        segment.rename(tmp_path / segment.name)
        tail = subprocess.Popen(
            [*MOORAGE, "telemetry", "tail", "--count", "1", "--data", data], stderr=subprocess.PIPE, text=True
        )
        assert tail.stderr is not None
        said = [tail.stderr.readline(), tail.stderr.readline()]
        assert said[0].startswith(f"log.corrupt: {segment.name} is missing")
        assert said[1].startswith(f"  fix: put {segment.name} back")
    finally:
        hub.terminate()
        hub.wait(60)
        hub.stdout.close()
    rest = tail.stderr.read()
    assert tail.wait(60) == 3
    tail.stderr.close()
    assert "log.corrupt" not in rest
    assert "hub.unreachable" in rest

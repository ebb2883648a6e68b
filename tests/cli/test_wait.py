"""`moorage wait` with a hub that hangs, has ended, or never came up: within its time, and with a fix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.cli import main
from tests.hubs import Hub, running_hub

UP = [
    sys.executable,
    "-c",
    "import sys; from moorage.cli import main; sys.exit(main())",
    "up",
    "--https-port",
    "0",
    "--amqp-port",
    "0",
    "--amqp-plain-port",
    "0",
    "--web-port",
    "0",
]

Wait = Callable[..., tuple[int, str, float]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("wait") / "hub") as hub:
        yield hub


@pytest.fixture
def wait(capsys: pytest.CaptureFixture[str]) -> Wait:
    """Runs it; its exit code, what it said on standard error, and the seconds it took."""

    def wait(data: Path, *arguments: str) -> tuple[int, str, float]:
        began = time.monotonic()
        code = main(["wait", "--data", str(data), *arguments])
        return code, capsys.readouterr().err, time.monotonic() - began

    return wait


@pytest.fixture
def abandoned(hub: Hub, tmp_path: Path) -> tuple[Path, int]:
    """A data folder whose hub was killed, and the process that it was."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    document = json.loads((hub.data / "hub.json").read_text()) | {"pid": ended.pid, "httpsPort": 1}
    (tmp_path / "hub.json").write_text(json.dumps(document))
    os.link(hub.data / "owner.key", tmp_path / "owner.key")
    return tmp_path, ended.pid


def test_without_any_time_a_hub_that_is_ready_is_found(hub: Hub, wait: Wait) -> None:
    # The one look it takes may last half a second, which a busy machine may need for a handshake; not each time.
    assert any(wait(hub.data, "--timeout", "0")[0] == 0 for _ in range(5))


def test_a_hub_that_hangs_does_not_stretch_the_time(hub: Hub, wait: Wait) -> None:
    os.kill(hub.pid, signal.SIGSTOP)
    try:
        code, said, took = wait(hub.data, "--timeout", "1.5")
    finally:
        os.kill(hub.pid, signal.SIGCONT)
    assert code == 4
    # One look without a limit of its own would take 5 s.
    assert 1.5 <= took < 4.5
    assert f"fix: moorage up --data {hub.data}" in said


def test_a_hub_that_has_ended_is_told_early(abandoned: tuple[Path, int], wait: Wait) -> None:
    data, process = abandoned
    code, said, took = wait(data)
    assert code == 3
    assert f"(process {process}) has ended" in said
    assert f"fix: moorage up --data {data}" in said
    # Of the 30 that it would wait otherwise.
    assert 5 <= took < 25


def test_one_that_starts_where_another_has_ended_gets_all_the_time(abandoned: tuple[Path, int], wait: Wait) -> None:
    data, _ = abandoned
    # It holds the log, and hub.json is still that of the one before.
    (data / "telemetry").mkdir()
    (data / "telemetry" / "lock").write_text(f"{os.getpid()}\n")
    code, said, _ = wait(data, "--timeout", "5.5")
    assert code == 4
    assert "wait.timeout" in said


def test_a_first_start_that_came_to_nothing_is_told_early(hub: Hub, wait: Wait, tmp_path: Path) -> None:
    data = tmp_path / "second"
    taken = [*UP, "--mqtt-port", str(hub.info.mqtt_port), "--data", str(data)]
    assert subprocess.run(taken, capture_output=True, timeout=60, check=False).returncode == 1
    code, said, took = wait(data)
    assert code == 3
    assert "has ended" in said
    assert took < 25

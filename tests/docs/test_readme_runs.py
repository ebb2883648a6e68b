"""What a newcomer does first: the README's step-by-step run, as it stands there, and the demo."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]


@pytest.fixture
def mqtt_port() -> int:
    """8883, once it is free: the SDK in the README and in the demo cannot be told another."""
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 8883)) != 0:
                return 8883
        assert time.monotonic() < deadline, "port 8883 is taken: stop what listens there"
        time.sleep(0.2)


@pytest.mark.timeout(320)
@pytest.mark.usefixtures("mqtt_port")
def test_the_two_minutes_of_the_readme_are_as_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)
    (block,) = [each for each in blocks if "moorage up" in each]
    assert block.startswith("make install\n")
    # A clone of its own: what the run leaves in build/ is not ours to keep. Its .venv is this one.
    clone = tmp_path / "clone"
    shutil.copytree(HERE / "docs" / "examples", clone / "docs" / "examples")
    (clone / ".venv").symlink_to(HERE / ".venv", target_is_directory=True)
    begin = "set -euo pipefail\ntrap 'kill -TERM ${!:-}' EXIT\n"
    end = "\ntrap - EXIT\nkill -TERM $!\nwait $!\n"
    # A session of its own, so that whatever a failure leaves behind can be ended with it.
    run = subprocess.Popen(
        ["bash", "-c", block.replace("make install\n", begin, 1) + end],
        cwd=clone,
        env={name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = run.communicate(timeout=280)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        said, _ = run.communicate()
    assert run.returncode == 0, said
    assert "provisioning: assigned" in said
    assert '{"temperature": 21.5}' in said
    assert "widget-01 let in" in said


@pytest.mark.timeout(320)
@pytest.mark.usefixtures("mqtt_port")
def test_the_demo_comes_out_as_told() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/demo.py"], cwd=HERE, capture_output=True, text=True, timeout=280, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for told in ('the widget got {"interval": 5', "refused: chain.untrusted", "every step came out as told"):
        assert told in run.stdout
    # A passing demo has nothing to complain of.
    assert run.stderr == ""

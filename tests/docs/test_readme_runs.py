"""The README's step-by-step run, line by line as it stands there, by a shell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.timeout(180)
def test_the_two_minutes_of_the_readme_are_as_it_says(tmp_path: Path) -> None:
    assert is_free(8883), "port 8883 is taken, and the SDK in the README cannot be told another"
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
        said, _ = run.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        said, _ = run.communicate()
    assert run.returncode == 0, said
    assert "provisioning: assigned" in said
    assert '{"temperature": 21.5}' in said
    assert "widget-01 let in" in said

"""The real `openssl` tool, as the tutorials use it."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["openssl", "verify"]


def openssl(folder: Path, *arguments: str) -> str:
    """Run it in `folder`; its standard output. Fails the test when it fails."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def verify(folder: Path, *arguments: str) -> str:
    """`openssl verify` with its strict checks: `OK`, or its first complaint."""
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "OK" if done.returncode == 0 else done.stderr

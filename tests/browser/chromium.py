"""Chromium of the distribution, led by Playwright; nothing is downloaded from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

__all__ = ["INSTALL", "chromium", "find_chromium"]

INSTALL = "sudo apt-get update && sudo apt-get install --yes --no-install-recommends chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Its path; it is installed where this user may. Fails with the line to run where not."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["sh", "-c", INSTALL.replace("sudo ", "")]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        assert run.returncode == 0, f"Chromium could not be installed:\n{run.stdout}{run.stderr}\nTry: {INSTALL}"
        found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found is not None, f"there is no Chromium on this machine. Install it and come again: {INSTALL}"
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Its sandbox needs what containers often lack, and it opens pages of ours alone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()

"""Disks that are full when a test says so: a small one of its own, or a limit on the size of the hub's files."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.hubs import Hub

__all__ = ["DISKS", "Disk", "small_disk"]

_SIZE = "48m"


class Disk(Protocol):
    """Holds the hub's data folder."""

    # What the telemetry log calls it when it is full, and whether the hub's own output still reaches its file.
    log_reason: str
    keeps_output: bool

    def fill(self, hub: Hub) -> None:
        """From now on no file of the hub takes more."""

    def free(self, hub: Hub) -> None:
        """There is room again."""


class _SmallDisk:
    """A file system in memory. `fill` puts a file beside the hub's that takes the last page."""

    log_reason = "log.disk_full"
    keeps_output = True

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self, hub: Hub) -> None:
        ballast = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
        size = 1 << 20
        try:
            while size:
                try:
                    os.write(ballast, bytes(size))
                except OSError:
                    size //= 2
        finally:
            os.close(ballast)

    def free(self, hub: Hub) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system can be mounted by root alone: {error}")
    try:
        yield _SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class _SizeLimit:
    """RLIMIT_FSIZE of the running process: a write behind it is refused (EFBIG), to whatever file."""

    log_reason = "log.write_failed"
    keeps_output = False

    def fill(self, hub: Hub) -> None:
        _, hard = resource.prlimit(hub.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(hub.pid, resource.RLIMIT_FSIZE, (1, hard))

    def free(self, hub: Hub) -> None:
        _, hard = resource.prlimit(hub.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(hub.pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def size_limit(folder: Path) -> Iterator[Disk]:
    if not hasattr(resource, "prlimit"):
        pytest.skip("this system cannot limit another process")
    yield _SizeLimit()


DISKS: dict[str, Callable[[Path], AbstractContextManager[Disk]]] = {
    "small disk": small_disk,
    "limit on file size": size_limit,
}

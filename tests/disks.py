"""A disk whose `fdatasync` can be held back, or made to fail."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

from moorage.adapters.log.files import DiskFiles

__all__ = ["HeldDisk"]


class HeldDisk(DiskFiles):
    """`hold()` it, and nothing becomes durable until `release()`; with `break_it()`, nothing ever does."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._may_sync = threading.Event()
        self._may_sync.set()
        self._is_broken = False

    def hold(self) -> None:
        self._may_sync.clear()

    def release(self) -> None:
        self._may_sync.set()

    def break_it(self) -> None:
        self._is_broken = True
        self.release()

    def fdatasync(self, handle: int) -> None:
        self._may_sync.wait()
        if self._is_broken:
            raise OSError(errno.EIO, "the disk is broken")
        super().fdatasync(handle)

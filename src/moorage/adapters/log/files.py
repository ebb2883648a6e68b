"""The disk, as narrow as the log needs it, so that a test can stand in for one that loses power.

What POSIX promises and no more: `pwrite` may be lost or torn until `fdatasync` on that file returned; a created or
removed name may be forgotten until `sync_directory` returned.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Protocol

from moorage.errors import Conflict

__all__ = ["DiskFiles", "Files"]


class Files(Protocol):
    """Files of one directory, by name. Everything may raise `OSError`."""

    def lock(self) -> None:
        """Keep other processes out until `unlock`. Raises `Conflict` (`log.locked`)."""

    def unlock(self) -> None: ...

    def names(self) -> list[str]: ...

    def create(self, name: str) -> int:
        """A handle to a new, empty file; it must not exist."""

    def open(self, name: str) -> int:
        """A handle to an existing file."""

    def size(self, handle: int) -> int: ...

    def length(self, name: str) -> int | None:
        """Bytes in the file of that name, without opening it; None when there is none."""

    def holds(self, name: str, handle: int) -> bool:
        """Whether `name` still leads to the file behind `handle`, rather than to nothing or to another one."""

    def pread(self, handle: int, count: int, offset: int) -> bytes:
        """Fewer than `count` bytes only at the end of the file."""

    def pwrite(self, handle: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        """All of `data`, or an `OSError`."""

    def truncate(self, handle: int, size: int) -> None: ...

    def fdatasync(self, handle: int) -> None:
        """Contents and size are on disk when this returns."""

    def close(self, handle: int) -> None: ...

    def unlink(self, name: str) -> None: ...

    def put(self, name: str, data: bytes) -> None:
        """Create or replace a file at once, without any promise that it survives."""

    def sync_directory(self) -> None:
        """Names created and removed are on disk when this returns."""


class DiskFiles:
    """A real directory, made (0700) if missing; files are 0600 (decisions T13)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True)
            _sync_directory(directory.parent)
        self._lock: int | None = None

    def lock(self) -> None:
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise Conflict(
                "log.locked",
                f"{self.directory} is being written by process {holder}; two writers would destroy each other's work",
                fix="stop the other moorage, or give this one its own --data folder",
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        self._lock = handle

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def names(self) -> list[str]:
        return os.listdir(self.directory)

    def create(self, name: str) -> int:
        return os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open(self, name: str) -> int:
        return os.open(self.directory / name, os.O_RDWR | os.O_CLOEXEC)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def length(self, name: str) -> int | None:
        try:
            return os.stat(self.directory / name).st_size
        except FileNotFoundError:
            return None

    def holds(self, name: str, handle: int) -> bool:
        try:
            named = os.stat(self.directory / name)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(handle))

    def pread(self, handle: int, count: int, offset: int) -> bytes:
        data = os.pread(handle, count, offset)
        while len(data) < count:
            more = os.pread(handle, count - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def pwrite(self, handle: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        written = os.pwrite(handle, data, offset)
        while written < len(data):
            # A nearly full disk takes a part; the next call says ENOSPC.
            written += os.pwrite(handle, memoryview(data)[written:], offset + written)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def fdatasync(self, handle: int) -> None:
        if sys.platform == "darwin":
            # There fsync leaves the data in the drive's own cache (fsync(2) on macOS).
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def unlink(self, name: str) -> None:
        os.unlink(self.directory / name)

    def put(self, name: str, data: bytes) -> None:
        fresh = self.directory / f"{name}.new"
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self.pwrite(handle, data, 0)
        finally:
            os.close(handle)
        os.replace(fresh, self.directory / name)

    def sync_directory(self) -> None:
        _sync_directory(self.directory)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""A disk that keeps the promises of POSIX and not one more, and loses power when it is told to.

Contents: what was written since the last `fdatasync` of a file may be there, be gone, be torn at any sector, or be
zeros where the size was remembered and the data was not; a later write may survive an earlier one. Names: creating and
removing is forgotten in any combination until `sync_directory`. A failed `fdatasync` is the kernel's: the pages stay
readable, count as clean, and no later sync writes them.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["FATES", "Fate", "Killed", "PowerDisk"]

SECTOR = 64
Fate = Literal["nothing", "everything", "half", "zeros", "dice-1", "dice-2", "dice-3"]
FATES: tuple[Fate, ...] = ("nothing", "everything", "half", "zeros", "dice-1", "dice-2", "dice-3")


class Killed(BaseException):
    """The process ends here: kill -9."""


@dataclass(slots=True)
class _File:
    durable: bytes = b""
    current: bytearray = field(default_factory=bytearray)
    # Writes (offset, data) and truncations (size, None) not yet synced.
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


class PowerDisk:
    """`Files` of one directory. Every change calls `before_change(count, what)`, which may look, raise or be None."""

    def __init__(self, *, syncs_data: bool = True, syncs_directory: bool = True) -> None:
        self._syncs_data, self._syncs_directory = syncs_data, syncs_directory
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self._handles: dict[int, _File] = {}
        self._next_handle = 1
        self.changes = 0
        self.before_change: Callable[[int, str], None] | None = None
        self.fail_next_sync = False
        self.room: int | None = None

    def after_power_loss(self, fate: Fate) -> PowerDisk:
        """The disk as it is found when the power is back: all of it durable, nothing else remembered."""
        dice = random.Random(f"{fate} {self.changes}")
        found = PowerDisk(syncs_data=self._syncs_data, syncs_directory=self._syncs_directory)
        for name in {**self._durable_names, **self._names}:
            before, now = self._durable_names.get(name), self._names.get(name)
            keep_new = (
                before is now or fate in ("everything", "half", "zeros") or ("dice" in fate and dice.random() < 0.5)
            )
            file = now if keep_new else before
            if file is not None:
                content = _what_survives(file, fate, dice)
                found._names[name] = found._durable_names[name] = _File(bytes(content), content)
        return found

    def copy(self) -> PowerDisk:
        """As it is at this moment, unsynced changes included."""
        twin = PowerDisk(syncs_data=self._syncs_data, syncs_directory=self._syncs_directory)
        files = {
            id(file): _File(file.durable, bytearray(file.current), list(file.pending))
            for file in [*self._names.values(), *self._durable_names.values()]
        }
        twin._names = {name: files[id(file)] for name, file in self._names.items()}
        twin._durable_names = {name: files[id(file)] for name, file in self._durable_names.items()}
        twin.changes = self.changes
        return twin

    def lock(self) -> None:
        """Of no interest here: a killed process lets go of it."""

    def unlock(self) -> None:
        """See `lock`."""

    def names(self) -> list[str]:
        return list(self._names)

    def create(self, name: str) -> int:
        self._change(f"create {name}")
        if name in self._names:
            raise FileExistsError(errno.EEXIST, "exists", name)
        self._names[name] = _File()
        return self._handle(self._names[name])

    def open(self, name: str) -> int:
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self._handle(self._names[name])

    def size(self, handle: int) -> int:
        return len(self._handles[handle].current)

    def length(self, name: str) -> int | None:
        file = self._names.get(name)
        return None if file is None else len(file.current)

    def holds(self, name: str, handle: int) -> bool:
        return self._names.get(name) is self._handles[handle]

    def pread(self, handle: int, count: int, offset: int) -> bytes:
        return bytes(self._handles[handle].current[offset : offset + count])

    def pwrite(self, handle: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        self._change("write")
        file = self._handles[handle]
        taken = bytes(data)
        if self.room is not None:
            taken = taken[: self.room]
            self.room -= len(taken)
        _apply(file.current, offset, taken)
        file.pending.append((offset, taken))
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def truncate(self, handle: int, size: int) -> None:
        self._change("truncate")
        file = self._handles[handle]
        _apply(file.current, size, None)
        file.pending.append((size, None))

    def fdatasync(self, handle: int) -> None:
        self._change("fdatasync")
        file = self._handles[handle]
        if self.fail_next_sync:
            self.fail_next_sync = False
            file.pending.clear()
            raise OSError(errno.EIO, "Input/output error")
        if self._syncs_data:
            content = bytearray(file.durable)
            for change in file.pending:
                _apply(content, *change)
            file.durable = bytes(content)
            file.pending.clear()

    def close(self, handle: int) -> None:
        del self._handles[handle]

    def unlink(self, name: str) -> None:
        self._change(f"unlink {name}")
        del self._names[name]

    def put(self, name: str, data: bytes) -> None:
        self._change(f"put {name}")
        self._names[name] = _File(b"", bytearray(data), [(0, data)])

    def sync_directory(self) -> None:
        self._change("sync_directory")
        if self._syncs_directory:
            self._durable_names = dict(self._names)

    def _change(self, what: str) -> None:
        if self.before_change is not None:
            self.before_change(self.changes, what)
        self.changes += 1

    def _handle(self, file: _File) -> int:
        self._next_handle += 1
        self._handles[self._next_handle] = file
        return self._next_handle


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _what_survives(file: _File, fate: Fate, dice: random.Random) -> bytearray:
    content = bytearray(file.durable)
    for number, (offset, data) in enumerate(file.pending):
        last = number == len(file.pending) - 1
        if fate == "nothing":
            continue
        if fate == "everything" or data is None:
            if "dice" not in fate or dice.random() < 0.5:
                _apply(content, offset, data)
        elif fate == "half":
            _apply(content, offset, data[: len(data) // 2] if last else data)
        elif fate == "zeros":
            _apply(content, max(len(content), offset + len(data)), b"")
        else:
            for at in range(0, len(data), SECTOR):
                if dice.random() < 0.6:
                    _apply(content, offset + at, data[at : at + SECTOR])
    return content

"""Small files written whole: after a crash the old content or the new is there, and nobody else reads a secret."""

from __future__ import annotations

import os
from pathlib import Path

from moorage.errors import Conflict

__all__ = ["plain_file", "private_folder", "read_private", "write_whole"]


def private_folder(path: Path) -> Path:
    """Make `path` and its parents; the folder itself has mode 0700 from now on."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def read_private(path: Path) -> bytes:
    """What a file of secrets holds; from now on only its owner may read it, as after a careless restore."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            os.fchmod(file.fileno(), 0o600)
        return file.read()


def plain_file(path: Path) -> Path:
    """Where `path` leads, for whoever puts a file in its place: `/dev/stdout` and links stay what they are.

    Raises `Conflict` (`file.exists`) where something else than a plain file is there.
    """
    if path.exists() and not path.is_file():
        raise Conflict(
            "file.exists",
            f"{path} is no plain file, and nothing is put in its place; without a file it goes to standard output",
        )
    return path.resolve()


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` in place of what `path` held, durably."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

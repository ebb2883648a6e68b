"""Blocks of uploads in a folder of this machine, until they are committed (port: `hub.upload_model.BlockArea`).

    folder / correlation id / SHA-256 of the block's id

A block appears under its name when it is whole. The bytes of all blocks together are bounded, and so is their number in
an upload; both are counted once from the folder, at the first use, and then kept up. All file work is done in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from uuid import uuid4

from moorage.adapters.files import private_folder
from moorage.errors import Invalid, TooLarge, Unavailable
from moorage.hub.uploads import MAX_BLOCKS

__all__ = ["BlockFolder"]

P = ParamSpec("P")
T = TypeVar("T")

# What is written by one hop to a thread, and read by one.
_PIECE_BYTES: Final = 1024 * 1024
_DRAFT: Final = ".draft"


class BlockFolder:
    """`most` bounds the bytes of one blob's blocks, `most_waiting` those of all."""

    def __init__(self, folder: Path, *, most: int, most_waiting: int) -> None:
        self._folder = folder
        self._most = most
        self._most_waiting = most_waiting
        # Bytes by upload and block; None until the folder was looked at.
        self._sizes: dict[str, dict[str, int]] | None = None
        self._looking = asyncio.Lock()
        # Bytes of all blocks, and of those that are coming in; by upload, of those that are whole.
        self._waiting = 0
        self._of_upload: dict[str, int] = {}

    async def write(self, upload: str, block: bytes, pieces: AsyncIterator[bytes], *, md5: bytes | None) -> None:
        sizes = await self._known()
        name = _name(block)
        draft = self._folder / upload / f"{uuid4().hex}{_DRAFT}"
        if name not in sizes.get(upload, {}) and len(sizes.get(upload, {})) >= MAX_BLOCKS:
            raise TooLarge("upload.blocks", f"the upload has {MAX_BLOCKS} blocks, which is the most there may be")
        digest = None if md5 is None else hashlib.md5(usedforsecurity=False)
        size = 0
        try:
            file = await _to_its_end(_create, draft)
            try:
                async for piece in _gathered(pieces):
                    size += len(piece)
                    self._waiting += len(piece)
                    self._check(upload, sizes.get(upload, {}).get(name, 0), size)
                    await _to_its_end(_append, file, piece, digest)
            finally:
                self._waiting -= size
                await _to_its_end(os.close, file)
            if digest is not None and digest.digest() != md5:
                raise Invalid("upload.md5", "the body's MD5 is not the one that Content-MD5 says")
            await _to_its_end(draft.replace, draft.with_name(name))
        except OSError as error:
            raise Unavailable("file.store", f"a block could not be written: {error.strerror}") from error
        finally:
            # It has its name by now, or is in vain.
            draft.unlink(missing_ok=True)
        of_upload = sizes.setdefault(upload, {})
        self._count(upload, size - of_upload.get(name, 0))
        of_upload[name] = size

    async def sizes(self, upload: str, blocks: Sequence[bytes]) -> list[int]:
        known = (await self._known()).get(upload, {})
        found = []
        for block in blocks:
            size = known.get(_name(block))
            if size is None:
                raise Invalid(
                    "upload.block_unknown", f"the list names the block {block[:64]!r}, which was not put there"
                )
            found.append(size)
        return found

    async def read(self, upload: str, blocks: Sequence[bytes]) -> AsyncIterator[bytes]:
        for block in blocks:
            path = self._folder / upload / _name(block)
            try:
                file = await _to_its_end(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    while piece := await _to_its_end(os.read, file, _PIECE_BYTES):
                        yield piece
                finally:
                    await _to_its_end(os.close, file)
            except OSError as error:
                raise Unavailable("file.store", f"a block could not be read: {error.strerror}") from error

    async def drop(self, upload: str) -> None:
        if (await self._known()).pop(upload, None) is not None:
            self._count(upload, -self._of_upload.get(upload, 0))
            del self._of_upload[upload]
        await asyncio.to_thread(shutil.rmtree, self._folder / upload, ignore_errors=True)

    async def uploads(self) -> list[str]:
        return list(await self._known())

    def _count(self, upload: str, more: int) -> None:
        self._waiting += more
        self._of_upload[upload] = self._of_upload.get(upload, 0) + more

    def _check(self, upload: str, before: int, size: int) -> None:
        """Whether a block may have `size` bytes, in place of one that had `before`."""
        if self._of_upload.get(upload, 0) - before + size > self._most:
            raise TooLarge("upload.size", f"the blob has more than {self._most} bytes, which is the most it may have")
        if self._waiting > self._most_waiting:
            raise Unavailable(
                "upload.waiting",
                f"uploads that are not committed take {self._waiting} bytes, at most {self._most_waiting} may wait",
            )

    async def _known(self) -> dict[str, dict[str, int]]:
        async with self._looking:
            if self._sizes is None:
                self._sizes = await asyncio.to_thread(_look, self._folder)
                for upload, sizes in self._sizes.items():
                    self._count(upload, sum(sizes.values()))
            return self._sizes


async def _to_its_end(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """In a thread; who is cancelled waits for it, so that no file is closed while it is written."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a hop to a thread."""
    parts: list[bytes] = []
    size = 0
    async for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def _name(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()


def _create(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _append(file: int, data: bytes, digest: hashlib._Hash | None) -> None:
    if digest is not None:
        digest.update(data)
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _look(folder: Path) -> dict[str, dict[str, int]]:
    """What an earlier run left; drafts of it are nobody's."""
    private_folder(folder)
    sizes: dict[str, dict[str, int]] = {}
    for upload in folder.iterdir():
        of_upload = sizes.setdefault(upload.name, {})
        for file in upload.iterdir():
            if file.name.endswith(_DRAFT):
                file.unlink()
            else:
                of_upload[file.name] = file.stat().st_size
    return sizes

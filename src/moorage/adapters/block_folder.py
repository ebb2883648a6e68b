"""Blocks of uploads in a folder of this machine, until they are committed (port: `hub.upload_model.BlockArea`).

    folder / correlation id / SHA-256 of the block's id

A block appears under its name when it is whole and on the disk, so that after a crash a list never names half a block.
The bytes of all blocks together are bounded, and so is their number in an upload; both are counted once from the
folder, at the first use, and then kept up. All file work is done in threads.

Fifty thousand files take minutes to be removed, and nobody waits for that: blocks that are dropped move aside at once,
and one thread of their own removes them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
_GONE: Final = ".gone"
# Looking so many names up takes the loop about a millisecond.
_NAMES_AT_ONCE: Final = 1000
_REMOVER: Final = ThreadPoolExecutor(1, thread_name_prefix="blocks-remove")

log = logging.getLogger(__name__)


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
        # A block gets its name, or an upload goes: one after the other, so that what is counted is what is there.
        self._moving = asyncio.Lock()
        self._closed = threading.Event()

    def close(self) -> None:
        """Remove nothing more; what is left of it goes at the next start."""
        self._closed.set()

    async def write(self, upload: str, block: bytes, pieces: AsyncIterator[bytes], *, md5: bytes | None) -> None:
        sizes = await self._known()
        name = _name(block)
        draft = self._folder / upload / f"{uuid4().hex}{_DRAFT}"
        if name not in sizes.get(upload, {}) and len(sizes.get(upload, {})) >= MAX_BLOCKS:
            raise TooLarge("upload.blocks", f"the upload has {MAX_BLOCKS} blocks, which is the most there may be")
        digest = None if md5 is None else hashlib.md5(usedforsecurity=False)
        size = 0
        opened: list[int] = []
        try:
            try:
                file = await _to_its_end(_create, draft, opened)
                async for piece in _gathered(pieces):
                    size += len(piece)
                    self._waiting += len(piece)
                    self._check(upload, sizes.get(upload, {}).get(name, 0), size)
                    await _to_its_end(_append, file, piece, digest)
                await _to_its_end(os.fsync, file)
            finally:
                self._waiting -= size
                # Also for who was cancelled before it knew of the file.
                for each in opened:
                    await _to_its_end(os.close, each)
            if digest is not None and digest.digest() != md5:
                raise Invalid("upload.md5", "the body's MD5 is not the one that Content-MD5 says")
            async with self._moving:
                await _to_its_end(draft.replace, draft.with_name(name))
                of_upload = sizes.setdefault(upload, {})
                self._count(upload, size - of_upload.get(name, 0))
                of_upload[name] = size
        except OSError as error:
            raise Unavailable("file.store", f"a block could not be written: {error.strerror}") from error
        finally:
            # It has its name by now, or is in vain.
            draft.unlink(missing_ok=True)

    async def sizes(self, upload: str, blocks: Sequence[bytes]) -> list[int]:
        known = (await self._known()).get(upload, {})
        if len(blocks) <= _NAMES_AT_ONCE:
            return self._found(known, blocks)
        return await asyncio.to_thread(self._found, known, blocks)

    @staticmethod
    def _found(known: dict[str, int], blocks: Sequence[bytes]) -> list[int]:
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
        pieces = _read_all(self._folder / upload, blocks)
        try:
            while piece := await _to_its_end(_joined, pieces):
                yield piece
        except OSError as error:
            raise Unavailable("file.store", f"a block could not be read: {error.strerror}") from error
        finally:
            pieces.close()

    async def drop(self, upload: str) -> None:
        known = await self._known()
        aside = self._folder / f"{uuid4().hex}{_GONE}"
        async with self._moving:
            if known.pop(upload, None) is not None:
                self._waiting -= self._of_upload.pop(upload, 0)
            try:
                await _to_its_end((self._folder / upload).rename, aside)
            except FileNotFoundError:
                return
            except OSError as error:
                log.warning("blocks_not_removed folder=%s error=%r; they go at the next start", upload, error.strerror)
                return
        self._remove(aside)

    async def uploads(self) -> list[str]:
        return list(await self._known())

    def _remove(self, folder: Path) -> None:
        _REMOVER.submit(_remove_files, folder, self._closed)

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
                found, gone = await asyncio.to_thread(_look, self._folder)
                self._sizes = found
                for folder in gone:
                    self._remove(folder)
                for upload, sizes in found.items():
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


def _read_all(folder: Path, blocks: Sequence[bytes]) -> Generator[bytes, None, None]:
    for block in blocks:
        with (folder / _name(block)).open("rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece


def _joined(pieces: Iterator[bytes]) -> bytes:
    """The next of `pieces` that together are worth a hop to a thread; nothing at their end."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            break
    return b"".join(parts)


def _remove_files(folder: Path, closed: threading.Event) -> None:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if closed.is_set():
                    return
                os.unlink(entry.path)
        folder.rmdir()
    except OSError as error:
        log.warning("blocks_not_removed folder=%s error=%r; they go at the next start", folder.name, error.strerror)


def _name(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()


def _create(path: Path, opened: list[int]) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return opened[0]


def _append(file: int, data: bytes, digest: hashlib._Hash | None) -> None:
    if digest is not None:
        digest.update(data)
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _look(folder: Path) -> tuple[dict[str, dict[str, int]], list[Path]]:
    """What an earlier run left, and what it was removing; drafts of it are nobody's."""
    private_folder(folder)
    sizes: dict[str, dict[str, int]] = {}
    gone: list[Path] = []
    for upload in folder.iterdir():
        if upload.name.endswith(_GONE):
            gone.append(upload)
            continue
        of_upload = sizes.setdefault(upload.name, {})
        for file in upload.iterdir():
            if file.name.endswith(_DRAFT):
                file.unlink()
            else:
                of_upload[file.name] = file.stat().st_size
    return sizes, gone

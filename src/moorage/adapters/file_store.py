"""Finished files, in a folder of this machine or behind an object store's URL (port: `hub.upload_model.FileStore`).

    file:///folder   s3://bucket/prefix   gs://bucket/prefix   az://container/prefix

`obstore` speaks to all of them. What it takes for credentials is in the environment, under the names that each of these
services has for its own tools (AWS_..., GOOGLE_..., AZURE_STORAGE_...), and never in the URL, which is shown. It writes
a file whole or not at all: into a draft beside its name in a folder, as a multipart upload elsewhere. In a folder, what
was written is synced before it is answered.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from moorage.errors import Conflict, NotFound, Unavailable
from moorage.hub.upload_model import StoredFile

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["ObjectFiles"]

# Parts of a multipart upload: with two under way, a file of any size takes 16 MiB of memory.
_PART_BYTES: Final = 8 * 1024 * 1024
_PARTS_AT_ONCE: Final = 2
# Longer than that no client waits for its answer.
_RETRIED: Final = timedelta(seconds=30)
# Of a URL: it may hold a signature.
_QUERY: Final = re.compile(r"\?\S*")
_PIECE_BYTES: Final = 1024 * 1024


class ObjectFiles:
    """Files below `url`. The store is opened when it is used for the first time."""

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._store: ObjectStore | None = None
        self._opening = asyncio.Lock()

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        import obstore

        store = await self._opened()
        first = await _gathered(pieces)
        # An error of the pieces goes through obstore and comes out as something else.
        failed: list[BaseException] = []
        try:
            if sum(map(len, first)) < _PART_BYTES:
                # All of it, in one request.
                await obstore.put_async(store, name, b"".join(first), use_multipart=False)
            else:
                await obstore.put_async(
                    store,
                    name,
                    _watched(first, pieces, failed),
                    use_multipart=True,
                    chunk_size=_PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        except Exception as error:
            if failed:
                raise failed[0] from None
            if self._folder is not None and await asyncio.to_thread(_is_occupied, self._folder, name):
                raise Conflict(
                    "upload.occupied", f"{name[:80]!r} is a folder here, or a file where it needs a folder"
                ) from error
            raise _unavailable("written", error) from error
        if self._folder is not None:
            try:
                await asyncio.to_thread(_sync, self._folder, self._folder / name)
            except OSError as error:
                raise _unavailable("synced", error) from error

    async def find(self, name: str) -> StoredFile | None:
        import obstore

        store = await self._opened()
        try:
            return _stored(await obstore.head_async(store, name))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _unavailable("looked for", error) from error

    async def files(self, prefix: str, after: str, limit: int) -> list[StoredFile]:
        import obstore

        store = await self._opened()
        folder = prefix.rpartition("/")[0] or None
        try:
            if self._folder is not None:
                return await asyncio.to_thread(_list_folder, store, folder, prefix, after, limit)
            found: list[StoredFile] = []
            async for page in obstore.list(store, prefix=folder, offset=after or None, chunk_size=min(limit, 1000)):
                found += (_stored(each) for each in page if each["path"].startswith(prefix))
                if len(found) >= limit:
                    break
            return found[:limit]
        except Exception as error:
            raise _unavailable("listed", error) from error

    async def read(self, name: str) -> tuple[StoredFile, AsyncIterator[bytes]]:
        import obstore

        store = await self._opened()
        try:
            answer = await obstore.get_async(store, name)
        except FileNotFoundError:
            raise NotFound("file.unknown", f"there is no file {name[:200]!r}", fix="moorage file list") from None
        except Exception as error:
            raise _unavailable("read", error) from error
        return _stored(answer.meta), _pieces(answer.stream(min_chunk_size=_PIECE_BYTES))

    async def delete(self, name: str) -> None:
        import obstore

        store = await self._opened()
        try:
            await obstore.delete_async(store, name)
        except FileNotFoundError:
            return
        except Exception as error:
            raise _unavailable("written", error) from error

    async def _opened(self) -> ObjectStore:
        async with self._opening:
            if self._store is None:
                self._store = await asyncio.to_thread(self._open)
            return self._store

    def _open(self) -> ObjectStore:
        """In a thread: importing it takes a tenth of a second."""
        from obstore.store import LocalStore, from_url

        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                return LocalStore(self._folder)
            return from_url(self._url, retry_config={"max_retries": 3, "retry_timeout": _RETRIED})
        except Exception as error:
            raise _unavailable("opened", error) from error


async def _gathered(pieces: AsyncIterator[bytes]) -> list[bytes]:
    """The first of `pieces`, up to what makes a part; fewer bytes are all there are."""
    first: list[bytes] = []
    size = 0
    async for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size >= _PART_BYTES:
            break
    return first


async def _watched(
    first: list[bytes], pieces: AsyncIterator[bytes], failed: list[BaseException]
) -> AsyncIterator[bytes]:
    try:
        for piece in first:
            yield piece
        async for piece in pieces:
            yield piece
    except Exception as error:
        failed.append(error)
        raise


async def _pieces(stream: Any) -> AsyncIterator[bytes]:
    try:
        async for piece in stream:
            yield bytes(piece)
    except Exception as error:
        raise _unavailable("read", error) from error


def _stored(meta: Any) -> StoredFile:
    return StoredFile(meta["path"], meta["size"], meta["last_modified"])


def _list_folder(store: ObjectStore, folder: str | None, prefix: str, after: str, limit: int) -> list[StoredFile]:
    """A folder is listed in no order, so all of it has to be seen."""
    import obstore

    pages = obstore.list(store, prefix=folder, chunk_size=1000)
    found = (each for page in pages for each in page if each["path"].startswith(prefix) and each["path"] > after)
    return [_stored(each) for each in heapq.nsmallest(limit, found, key=lambda each: each["path"])]


def _unavailable(done: str, error: Exception) -> Unavailable:
    # The first line says what; the rest is how the library's parts see it.
    text = _QUERY.sub("", str(error).partition("\n")[0])[:300]
    return Unavailable("file.store", f"the store for files could not be {done}: {text}")


def _is_occupied(root: Path, name: str) -> bool:
    """Whether no file can have this name: an object store has no folders, a file system does."""
    path = root / name
    folders = list(path.parents)
    return path.is_dir() or any(each.is_file() for each in folders[: folders.index(root)])


def _sync(root: Path, path: Path) -> None:
    """The file, and the folders that its name may have made."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
    for folder in path.parents:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if folder == root:
            return

"""Blobs in containers: behind a shared access URI over HTTPS, or in a folder of this machine.

`https://account.example/container?sv=...&sig=...` is spoken to as a block blob is (Put Block, Put Block List, ranged
Get), by way of the one policy for calls out (decisions T12). `file:///folder` is taken only for folders below the one
that the setting `transfer_folder` names, links followed, and by default there is none.

A URI's query lets anybody in who has it, and is in no message.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from xml.sax.saxutils import escape

from moorage.adapters.egress import Answer, Egress, Limits
from moorage.errors import Invalid, Unavailable
from moorage.hub.transfer_model import Piece
from moorage.ids import Secret

__all__ = ["BlobContainers"]

# The first version that takes blocks of any size we write; every later service speaks it too.
_SERVICE_VERSION: Final = "2019-12-12"
_TIMEOUT_S: Final = 60.0
_ANSWER_BYTES: Final = 64 * 1024
_MAX_URI_CHARS: Final = 4096
_MAX_BLOB_CHARS: Final = 1024
_BLOB: Final = re.compile(r"[^\x00-\x1f\x7f\\?#]+")
_CONTENT_RANGE: Final = re.compile(r"bytes [0-9]+-[0-9]+/([0-9]{1,18})")
_ERROR_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")


class BlobContainers:
    """Port: `hub.transfer_model.Containers`. `folder` None takes no `file:` URI."""

    def __init__(self, egress: Egress, folder: Path | None = None) -> None:
        self._remote = _Remote(egress)
        self._local = _Local(folder)

    def check(self, container: Secret, blob: str) -> None:
        self._of(container).check(container, blob)

    async def read(self, container: Secret, blob: str, *, offset: int, size: int, version: str) -> Piece:
        return await self._of(container).read(container, blob, offset=offset, size=size, version=version)

    async def put_block(self, container: Secret, blob: str, *, number: int, offset: int, data: bytes) -> None:
        await self._of(container).put_block(container, blob, number=number, offset=offset, data=data)

    async def commit(self, container: Secret, blob: str, *, blocks: int, size: int) -> None:
        await self._of(container).commit(container, blob, blocks=blocks, size=size)

    def _of(self, container: Secret) -> _Remote | _Local:
        """Raises `Invalid` (`container.uri`)."""
        uri = container.reveal()
        if len(uri) > _MAX_URI_CHARS:
            raise Invalid("container.uri", f"the container's URI has {len(uri)} characters, at most {_MAX_URI_CHARS}")
        scheme = uri.partition(":")[0].lower()
        if scheme == "https":
            return self._remote
        if scheme == "file":
            return self._local
        raise Invalid("container.uri", f"the container's URI begins with {scheme[:20]!r}; https: and file: are taken")


class _Remote:
    """Block blobs over HTTPS."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    def check(self, container: Secret, blob: str) -> None:
        _check_name(blob)
        try:
            parts = urlsplit(container.reveal())
        except ValueError:
            raise Invalid("container.uri", "the container's URI cannot be read") from None
        if not parts.hostname or not parts.path.strip("/"):
            raise Invalid("container.uri", "the container's URI has no host, or no container behind it")
        if "@" in parts.netloc:
            raise Invalid("container.uri", "the container's URI has a user name or password, which are not sent")
        if parts.fragment:
            raise Invalid("container.uri", "the container's URI has a fragment")

    async def read(self, container: Secret, blob: str, *, offset: int, size: int, version: str) -> Piece:
        headers = [("x-ms-range", f"bytes={offset}-{offset + size - 1}")]
        if version:
            headers.append(("if-match", version))
        answer = await self._ask("GET", container, blob, headers=headers, most=size)
        if answer.status == 416:
            # There is nothing from there on; an empty blob has no range at all.
            return Piece(b"", offset, version or answer.header("etag") or "")
        self._expect(answer, (200, 206), container, blob)
        if answer.status == 200 and offset:
            raise Invalid("container.ranges", f"{_shown(container, blob)} is not given in parts")
        known = _CONTENT_RANGE.fullmatch(answer.header("content-range") or "")
        total = int(known[1]) if known else offset + len(answer.body)
        return Piece(answer.body, total, answer.header("etag") or "")

    async def put_block(self, container: Secret, blob: str, *, number: int, offset: int, data: bytes) -> None:
        answer = await self._ask("PUT", container, blob, (("comp", "block"), ("blockid", _block_id(number))), body=data)
        self._expect(answer, (201,), container, blob)

    async def commit(self, container: Secret, blob: str, *, blocks: int, size: int) -> None:
        latest = "".join(f"<Latest>{escape(_block_id(number))}</Latest>" for number in range(blocks))
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{latest}</BlockList>'.encode()
        headers = [("content-type", "application/xml"), ("x-ms-blob-content-type", "text/plain; charset=utf-8")]
        answer = await self._ask("PUT", container, blob, (("comp", "blocklist"),), headers=headers, body=body)
        self._expect(answer, (201,), container, blob)

    async def _ask(
        self,
        method: str,
        container: Secret,
        blob: str,
        query: Sequence[tuple[str, str]] = (),
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        most: int = _ANSWER_BYTES,
    ) -> Answer:
        parts = urlsplit(container.reveal())
        path = f"{parts.path.rstrip('/')}/{quote(blob)}"
        more = "&".join([*(f"{name}={quote(value, safe='')}" for name, value in query), parts.query]).strip("&")
        limits = Limits(total_s=_TIMEOUT_S, request_bytes=len(body) + 1, response_bytes=max(most, _ANSWER_BYTES))
        return await self._egress.request(
            method,
            urlunsplit((parts.scheme, parts.netloc, path, more, "")),
            headers=[("x-ms-version", _SERVICE_VERSION), *headers],
            body=body,
            limits=limits,
        )

    def _expect(self, answer: Answer, wanted: tuple[int, ...], container: Secret, blob: str) -> None:
        if answer.status in wanted:
            return
        code = answer.header("x-ms-error-code")
        if code is None and (found := _ERROR_CODE.search(answer.body)):
            code = found[1].decode()
        told = f"{_shown(container, blob)} answered {answer.status} {(code or '')[:64]}".rstrip()
        if answer.status in (408, 429) or answer.status >= 500:
            raise Unavailable("container.unavailable", told)
        if answer.status == 412:
            raise Invalid("container.changed", f"{_shown(container, blob)} changed while it was read")
        if answer.status == 404:
            raise Invalid("container.missing", told)
        raise Invalid("container.refused", told, fix="give a URI whose signature is good for reading and writing")


class _Local:
    """Files in folders below one that the operator chose. Blocking work is done in threads."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def check(self, container: Secret, blob: str) -> None:
        self._place(container, blob)

    async def read(self, container: Secret, blob: str, *, offset: int, size: int, version: str) -> Piece:
        return await asyncio.to_thread(self._read, container, blob, offset, size, version)

    async def put_block(self, container: Secret, blob: str, *, number: int, offset: int, data: bytes) -> None:
        await asyncio.to_thread(self._write, container, blob, offset, data)

    async def commit(self, container: Secret, blob: str, *, blocks: int, size: int) -> None:
        await asyncio.to_thread(self._commit, container, blob, size)

    def _place(self, container: Secret, blob: str) -> Path:
        """Raises `Invalid` (`container.folder`, `container.blob`)."""
        _check_name(blob)
        if "/" in blob or blob.startswith("."):
            raise Invalid("container.blob", f"{blob[:80]!r} is no name of a file in a folder")
        if self._folder is None:
            raise Invalid(
                "container.folder",
                "folders of this machine are not taken for containers",
                fix="moorage up --transfer-folder DIR",
            )
        parts = urlsplit(container.reveal())
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise Invalid("container.uri", "a folder is named as file:///path and nothing else")
        try:
            allowed = self._folder.resolve(strict=True)
            folder = Path(unquote(parts.path)).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise Invalid("container.folder", "there is no such folder") from None
        if not folder.is_relative_to(allowed) or not folder.is_dir():
            raise Invalid("container.folder", f"only folders below {self._folder} are taken for containers")
        return folder / blob

    def _read(self, container: Secret, blob: str, offset: int, size: int, version: str) -> Piece:
        path = self._place(container, blob)
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Invalid("container.missing", f"there is no file {blob[:80]!r} in the folder") from None
        except OSError as error:
            raise Invalid("container.refused", f"{blob[:80]!r} cannot be read: {error.strerror}") from error
        try:
            state = os.fstat(file)
            if not stat.S_ISREG(state.st_mode):
                raise Invalid("container.refused", f"{blob[:80]!r} is no plain file")
            present = f"{state.st_ino}-{state.st_mtime_ns}-{state.st_size}"
            if version and version != present:
                raise Invalid("container.changed", f"{blob[:80]!r} changed while it was read")
            return Piece(os.pread(file, size, offset), state.st_size, present)
        finally:
            os.close(file)

    def _write(self, container: Secret, blob: str, offset: int, data: bytes) -> None:
        path = _part_of(self._place(container, blob))
        # With keys in it, a file is its owner's alone.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(path, flags, 0o600)
            try:
                state = os.fstat(file)
                if not stat.S_ISREG(state.st_mode):
                    raise Invalid("container.refused", f"{path.name!r} is no plain file")
                if state.st_size < offset:
                    # What was written before is gone, or is the finished file already; a hole would be no better.
                    raise Invalid("container.changed", f"{path.name!r} has {state.st_size} bytes, not {offset}")
                os.fchmod(file, 0o600)
                written = 0
                while written < len(data):
                    written += os.pwrite(file, data[written:], offset + written)
                os.ftruncate(file, offset + len(data))
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise Unavailable("container.unavailable", f"{path.name!r} cannot be written: {error.strerror}") from error

    def _commit(self, container: Secret, blob: str, size: int) -> None:
        path = self._place(container, blob)
        part = _part_of(path)
        try:
            if size == 0:
                self._write(container, blob, 0, b"")
            elif not part.exists() and path.exists() and path.stat().st_size == size:
                # It was made a moment before the hub ended.
                return
            if part.stat().st_size != size:
                raise Invalid("container.changed", f"{part.name!r} has {part.stat().st_size} bytes, not {size}")
            part.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Unavailable("container.unavailable", f"{path.name!r} cannot be written: {error.strerror}") from error


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _block_id(number: int) -> str:
    # All ids of a blob have one length.
    return base64.b64encode(b"block-%08d" % number).decode()


def _shown(container: Secret, blob: str) -> str:
    parts = urlsplit(container.reveal())
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path[:100]}/{blob[:80]}"


def _check_name(blob: str) -> None:
    """Raises `Invalid` (`container.blob`)."""
    bad = not _BLOB.fullmatch(blob) or len(blob) > _MAX_BLOB_CHARS
    if bad or any(part in ("", ".", "..") for part in blob.split("/")):
        raise Invalid("container.blob", f"{blob[:80]!r} cannot be the name of a blob")

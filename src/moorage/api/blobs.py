"""The blob endpoint: where devices put their files, with what `POST /devices/{id}/files` gave them.

A signature in the query opens one blob for writing, and is all that is looked at: no certificate, no other token.
Bodies are larger here than anywhere else (`LARGE_BODY_BYTES`), and go to disk as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import unquote

from starlette.responses import Response

from moorage.api.device_door import presented_by, tls_version_of
from moorage.api.routing import Call, Route
from moorage.api.schemas.words import ANYTHING, Content
from moorage.attempts.model import MAX_CLIENT, Attempt, AttemptSink, refused
from moorage.clock import Clock
from moorage.dialects.blob_http import (
    MAX_LIST_BYTES,
    created_headers,
    parse_block_id,
    parse_block_list,
    parse_md5,
)
from moorage.errors import Forbidden, Invalid, TooLarge, Unauthenticated
from moorage.hub.upload_model import FileUpload
from moorage.hub.uploads import UploadService
from moorage.ids import Secret

__all__ = ["CONTAINER", "LARGE_BODY_BYTES", "blob_routes", "is_blob_path"]

CONTAINER: Final = "uploads"
# One Put Blob or Put Block; the setting for a whole file may be less. Node's library sends up to 256 MiB in one.
LARGE_BODY_BYTES: Final = 1024 * 1024 * 1024
_LARGE_LIST_BYTES: Final = 32 * 1024
# Headers that make something else of a PUT than the body that comes with it.
_UNSERVED: Final = ("x-ms-copy-source", "x-ms-structured-body", "x-ms-source-range")


def is_blob_path(raw_path: bytes) -> bool:
    """Whether a request for this path is for the blob endpoint."""
    return raw_path[: len(CONTAINER) + 2].lower() == b"/%s/" % CONTAINER.encode()


def blob_routes(
    uploads: UploadService, attempts: AttemptSink, clock: Clock, let_in: Callable[[str], None]
) -> list[Route]:
    """`let_in` is told the address of whoever holds a good signature."""
    api = _Blobs(uploads, attempts, clock, let_in)
    path = f"/{CONTAINER}/{{blob...}}"
    query = {
        "sig": "The signature.",
        "comp": "`block` or `blocklist`; absent for a whole blob.",
        "blockid": "In base64.",
    }
    return [
        Route(
            "PUT",
            path,
            api.put,
            "device",
            "blob",
            summary="Put Blob, Put Block or Put Block List, with the signature that the upload was begun with.",
            query=query,
            body=Content("*/*", ANYTHING),
            body_needed=False,
            answers={201: None},
            max_body_bytes=LARGE_BODY_BYTES,
        ),
        *(
            Route(
                method,
                path,
                api.read,
                "device",
                "blob",
                summary="Refused: a signature is for writing.",
                query={"sig": "The signature."},
                answers={403: None},
            )
            for method in ("GET", "HEAD")
        ),
    ]


class _Blobs:
    def __init__(
        self, uploads: UploadService, attempts: AttemptSink, clock: Clock, let_in: Callable[[str], None]
    ) -> None:
        self._uploads = uploads
        self._attempts = attempts
        self._clock = clock
        self._let_in = let_in

    async def put(self, call: Call) -> Response:
        upload = self._admit(call)
        left_s = (upload.expires - self._clock.now()).total_seconds()
        try:
            async with asyncio.timeout(left_s):
                return await self._put(call, upload)
        except TimeoutError:
            raise Unauthenticated("upload.signature", "the signature expired while the body came") from None

    async def read(self, call: Call) -> Response:
        """Also of a blob that its own device has just put there."""
        self._admit(call)
        raise Forbidden("upload.write_only", "the signature is for writing and for nothing else")

    async def _put(self, call: Call, upload: FileUpload) -> Response:
        headers, uploads = call.request.headers, self._uploads
        what = call.query.get("comp", "").lower()
        unserved = next((name for name in _UNSERVED if name in headers), None)
        if unserved is not None:
            raise Invalid("upload.operation", f"{unserved} is not served here")
        if what == "block":
            block, md5 = parse_block_id(call.query.get("blockid")), parse_md5(headers.get("content-md5"))
            await uploads.put_block(upload, block, _pieces(call), md5=md5)
            return Response(status_code=201, headers=created_headers(headers, call.tracking_id))
        is_new = headers.get("if-none-match", "").strip() == "*"
        if what == "blocklist":
            made = await uploads.commit(upload, await _block_list(call), is_new=is_new)
        elif what == "":
            kind = headers.get("x-ms-blob-type", "")
            if kind.lower() != "blockblob":
                raise Invalid("upload.operation", f"x-ms-blob-type is {kind[:40]!r}, only BlockBlob is served here")
            made = await uploads.put(upload, _pieces(call), md5=parse_md5(headers.get("content-md5")), is_new=is_new)
        else:
            raise Invalid("upload.operation", f"comp={what[:40]} is not served here")
        return Response(status_code=201, headers=created_headers(headers, call.tracking_id, made))

    def _admit(self, call: Call) -> FileUpload:
        """Raises `Unauthenticated` (`upload.signature`)."""
        name, address = call.path["blob"], presented_by(call).address
        signature = Secret(call.query.get("sig", ""))
        try:
            try:
                upload = self._uploads.authorize(name, signature)
            except Unauthenticated:
                # What was told percent-encoded may have been encoded once more.
                if "%" not in name:
                    raise
                upload = self._uploads.authorize(unquote(name), signature)
        except Unauthenticated as refusal:
            attempt = Attempt(
                at=self._clock.now(),
                hub=self._uploads.hub,
                door="hub.https",
                tracking_id=call.tracking_id,
                address=address,
                claimed_id=name.partition("/")[0],
                tls_version=tls_version_of(call),
                client=call.request.headers.get("user-agent", "")[:MAX_CLIENT],
                credential="token" if signature else "none",
            )
            self._attempts.record(refused(attempt, refusal))
            raise
        self._let_in(address)
        return upload


async def _pieces(call: Call) -> AsyncIterator[bytes]:
    async for piece in call.request.stream():
        if piece:
            yield piece


async def _block_list(call: Call) -> list[bytes]:
    parts: list[bytes] = []
    size = 0
    async for piece in _pieces(call):
        size += len(piece)
        if size > MAX_LIST_BYTES:
            raise TooLarge("body.size", f"a block list has at most {MAX_LIST_BYTES} bytes")
        parts.append(piece)
    data = b"".join(parts)
    return await asyncio.to_thread(parse_block_list, data) if size > _LARGE_LIST_BYTES else parse_block_list(data)

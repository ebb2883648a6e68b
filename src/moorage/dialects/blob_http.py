"""Azure's Blob REST, as far as uploading a block blob needs it: block ids, block lists, answers and errors.

Put Blob, Put Block and Put Block List, of any `x-ms-version`: what the storage libraries in the device SDKs ask for,
and the plain PUTs of the C SDK. The codes of errors are Azure's, since those libraries decide by them what to do again.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from moorage.dialects.times import format_http_date
from moorage.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from moorage.hub.upload_model import FileUpload

__all__ = [
    "MAX_LIST_BYTES",
    "BlobError",
    "blob_error",
    "created_headers",
    "error_xml",
    "parse_block_id",
    "parse_block_list",
    "parse_md5",
]

# 50,000 ids of 64 bytes in base64, with their tags.
MAX_LIST_BYTES: Final = 6 * 1024 * 1024
_MAX_BLOCK_ID: Final = 64
_KINDS: Final = ("Latest", "Uncommitted", "Committed")
_VERSION: Final = "2021-12-02"
_MARK: Final = re.compile(r"[\x21-\x7e]{1,1024}")


class BlobError(NamedTuple):
    """HTTP status and Azure's code."""

    status: int
    code: str


_BY_CLASS: Final[Mapping[type[Refusal], BlobError]] = {
    Invalid: BlobError(400, "InvalidInput"),
    Unauthenticated: BlobError(403, "AuthenticationFailed"),
    Forbidden: BlobError(403, "AuthorizationPermissionMismatch"),
    NotFound: BlobError(404, "BlobNotFound"),
    Conflict: BlobError(409, "BlobAlreadyExists"),
    PreconditionFailed: BlobError(412, "ConditionNotMet"),
    TooLarge: BlobError(413, "RequestBodyTooLarge"),
    Unavailable: BlobError(503, "ServerBusy"),
    Refusal: BlobError(500, "InternalError"),
}
_BY_REASON: Final[Mapping[str, BlobError]] = {
    "api.failed": BlobError(500, "InternalError"),
    "route.method": BlobError(405, "UnsupportedHttpVerb"),
    "upload.blocks": BlobError(409, "BlockCountExceedsLimit"),
    "upload.block_id": BlobError(400, "InvalidQueryParameterValue"),
    "upload.block_list": BlobError(400, "InvalidXmlDocument"),
    "upload.block_unknown": BlobError(400, "InvalidBlockList"),
    "upload.md5": BlobError(400, "Md5Mismatch"),
    "upload.operation": BlobError(400, "UnsupportedHeader"),
}


def blob_error(refusal: Refusal) -> BlobError:
    """By its reason, else by the nearest of its classes."""
    found = _BY_REASON.get(refusal.reason)
    return found or next(_BY_CLASS[kind] for kind in type(refusal).__mro__ if kind in _BY_CLASS)


def error_xml(code: str, text: str, tracking_id: str, now: datetime) -> bytes:
    """The body of an error."""
    message = escape(f"{text}\nRequestId:{tracking_id}\nTime:{now:%Y-%m-%dT%H:%M:%S.%f}Z")
    return (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
    )


def created_headers(request: Mapping[str, str], tracking_id: str, upload: FileUpload | None = None) -> dict[str, str]:
    """Of an answer; with `upload` the blob is there."""
    version = request.get("x-ms-version", _VERSION)
    headers = {
        "x-ms-request-id": tracking_id,
        "x-ms-version": version if _MARK.fullmatch(version) else _VERSION,
        "x-ms-request-server-encrypted": "false",
    }
    mark = request.get("x-ms-client-request-id", "")
    if _MARK.fullmatch(mark):
        headers["x-ms-client-request-id"] = mark
    if upload is not None and upload.committed is not None:
        headers["etag"] = f'"0x{(upload.commit_id or "").replace("-", "")[:16].upper()}"'
        headers["last-modified"] = format_http_date(upload.committed)
    return headers


def parse_block_id(text: str | None) -> bytes:
    """Raises `Invalid` (`upload.block_id`)."""
    try:
        block = base64.b64decode((text or "").encode(), validate=True)
    except (binascii.Error, ValueError):
        block = b""
    if not 1 <= len(block) <= _MAX_BLOCK_ID:
        raise Invalid(
            "upload.block_id", f"a block id is base64 of 1 to {_MAX_BLOCK_ID} bytes, not {(text or '')[:90]!r}"
        )
    return block


def parse_block_list(data: bytes) -> list[bytes]:
    """`<BlockList><Latest>id</Latest>...`. Takes milliseconds for a long one.

    Raises `Invalid` (`upload.block_list`, `upload.block_id`).
    """
    try:
        text = data.decode("utf-8-sig")
        # There is no place for declarations in it, so entities have none to hide in.
        if "<!" in text:
            raise Invalid("upload.block_list", "a block list has no declarations")
        # As text, so that an encoding in its first line changes nothing.
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        raise Invalid("upload.block_list", "the block list is not XML in UTF-8") from None
    if root.tag != "BlockList" or any(each.tag not in _KINDS or len(each) for each in root):
        raise Invalid("upload.block_list", f"a block list is a BlockList of {', '.join(_KINDS)}")
    return [parse_block_id((each.text or "").strip()) for each in root]


def parse_md5(text: str | None) -> bytes | None:
    """Content-MD5, where there is one. Raises `Invalid` (`upload.md5`)."""
    if text is None:
        return None
    try:
        digest = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise Invalid("upload.md5", "Content-MD5 is not base64 of 16 bytes")
    return digest

"""A cloud-to-device message in the JSON of our own API (`POST /moorage/v1/devices/{id}/messages/devicebound`)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, cast, get_args

from moorage.dialects.json_text import encode_json
from moorage.dialects.members import get_text
from moorage.dialects.times import format_time, parse_time
from moorage.errors import Invalid
from moorage.hub.messages import MessageDraft
from moorage.hub.model import CloudMessage, FeedbackRequest

__all__ = ["cloud_message_json", "parse_draft"]

_MEMBERS = frozenset(
    {
        "body",
        "bodyBase64",
        "properties",
        "messageId",
        "correlationId",
        "userId",
        "contentType",
        "contentEncoding",
        "expiryTimeUtc",
        "ack",
    }
)


def parse_draft(document: Mapping[str, Any]) -> MessageDraft:
    """`body` is text, or any other JSON value, which is sent as JSON; `bodyBase64` is bytes. One of the two, or none.

    Raises `Invalid` (`body.member` naming the member, `time.malformed`); `hub.messages.check_draft` judges the rest.
    """
    for member in document:
        if member not in _MEMBERS:
            known = ", ".join(sorted(_MEMBERS))
            raise Invalid("body.member", f"{member[:80]!r} is no member of a message; there are {known}")
    ack = document.get("ack") or "none"
    if not isinstance(ack, str) or ack not in get_args(FeedbackRequest):
        raise Invalid("body.member", f"ack is {str(ack)[:40]!r}, it has to be none, positive, negative or full")
    properties = document.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, Mapping):
        raise Invalid("body.member", f"properties is a {type(properties).__name__}, it has to be an object of strings")
    expires = document.get("expiryTimeUtc")
    body, content_type = _body(document)
    return MessageDraft(
        body=body,
        properties=properties,
        message_id=get_text(document, "messageId"),
        correlation_id=get_text(document, "correlationId"),
        user_id=get_text(document, "userId"),
        content_type=get_text(document, "contentType") or content_type,
        content_encoding=get_text(document, "contentEncoding"),
        expires=None if expires is None else parse_time(expires, what="expiryTimeUtc"),
        ack=cast("FeedbackRequest", ack),
    )


def cloud_message_json(message: CloudMessage) -> dict[str, Any]:
    """What the sender learns of a message that was queued."""
    return {
        "messageId": message.message_id,
        "sequenceNumber": message.sequence,
        "enqueuedTimeUtc": format_time(message.enqueued),
        "expiryTimeUtc": format_time(message.expires),
    }


def _body(document: Mapping[str, Any]) -> tuple[bytes, str | None]:
    """The bytes, and the content type that follows from how they were given."""
    encoded = document.get("bodyBase64")
    if encoded is None:
        body = document.get("body", "")
        return (body.encode(), None) if isinstance(body, str) else (encode_json(body), "application/json")
    if "body" in document:
        raise Invalid("body.member", "a message has body or bodyBase64, this has both")
    try:
        return base64.b64decode(encoded.encode() if isinstance(encoded, str) else b"?", validate=True), None
    except (binascii.Error, ValueError):
        raise Invalid("body.member", "bodyBase64 is not base64") from None

"""A message as a store of records takes it: its parts again, out of the document that an endpoint is handed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from moorage.hub.router import Outgoing

__all__ = ["Record", "record_of"]


class Record(NamedTuple):
    """`body` is what the device sent; `document` the whole message as JSON of our own."""

    enqueued_time: str
    properties: Mapping[str, str]
    system_properties: Mapping[str, str]
    body: bytes
    document: Mapping[str, Any]


def record_of(message: Outgoing) -> Record:
    """Parses up to some hundred kilobytes, so in a thread."""
    document = json.loads(message.document)
    body = message.body
    if body is None:
        # A dead letter: what it said, in JSON of our own spacing.
        body = json.dumps(document["body"]).encode() if "body" in document else base64.b64decode(document["bodyBase64"])
    return Record(
        document["enqueuedTime"],
        {name: value or "" for name, value in document["properties"].items()},
        {name: value or "" for name, value in document["systemProperties"].items()},
        body,
        document,
    )

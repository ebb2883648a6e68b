"""A stored message as the JSON object that `moorage telemetry tail --json` and the API show."""

from __future__ import annotations

import base64
from typing import Any

from moorage.dialects.bag import decode_bag
from moorage.dialects.json_text import parse_json
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.hub.telemetry_log import StoredMessage

__all__ = ["json_text_of", "telemetry_json"]

# What IoT Hub itself reads a JSON body in, besides UTF-8.
_OTHER_ENCODINGS = frozenset({"utf-16", "utf-32"})


def telemetry_json(message: StoredMessage) -> dict[str, Any]:
    """The message, its `body` parsed when the content type says JSON and it parses, else as `bodyBase64`.

    `systemProperties` holds what the device set and what the hub knows about the connection (services.md 4.5).
    """
    source = message.source
    bag = decode_bag(message.bag)
    system: dict[str, Any] = dict(bag.system)
    if source.device_id:
        system["iothub-connection-device-id"] = source.device_id
    if source.module_id is not None:
        system["iothub-connection-module-id"] = source.module_id
    # What the hub itself tells was proven by nobody.
    if source.auth_method:
        system["iothub-connection-auth-method"] = source.auth_method
        system["iothub-connection-auth-generation-id"] = source.generation_id
    system["iothub-enqueuedtime"] = format_time(message.enqueued_time)
    system["iothub-message-source"] = source.message_source
    if source.model_id is not None:
        system["dt-dataschema"] = source.model_id
    shown: dict[str, Any] = {
        "deviceId": source.device_id,
        "moduleId": source.module_id,
        "partition": message.partition,
        "sequenceNumber": message.sequence,
        "offset": message.offset,
        "enqueuedTime": format_time(message.enqueued_time),
        "systemProperties": system,
        "properties": bag.properties,
    }
    text = json_text_of(message.body, bag.system.get("content-type"), bag.system.get("content-encoding"))
    if text is not None:
        try:
            shown["body"] = parse_json(text, what="the body")
            return shown
        except Invalid:
            # The device says JSON and sends something else: its bytes are shown as they are.
            pass
    shown["bodyBase64"] = base64.b64encode(message.body).decode()
    return shown


def json_text_of(body: bytes, content_type: str | None, content_encoding: str | None) -> bytes | None:
    """The body in UTF-8 when it claims to be JSON in an encoding we read, else None."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    encoding = (content_encoding or "utf-8").strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        return None
    if encoding == "utf-8":
        return body
    if encoding not in _OTHER_ENCODINGS:
        return None
    try:
        return body.decode(encoding).encode()
    except UnicodeError:
        return None

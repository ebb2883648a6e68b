"""Messages as the HTTPS device API has them: in headers, and in the JSON of a batch (contract/devices.md 5).

What a device sends is stored as every transport stores it, a property bag and a body (`dialects/bag.py`), so here the
headers become a bag. What a device receives is the message's body with everything else in headers, which hold visible
ASCII: other characters go percent-encoded, as UTF-8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from moorage.dialects.json_text import parse_json
from moorage.dialects.mqtt_hub import bag_size
from moorage.dialects.times import format_time
from moorage.errors import Invalid, TooLarge
from moorage.hub.model import CloudMessage
from moorage.hub.telemetry import MAX_MESSAGE_BYTES

__all__ = [
    "BATCH_TYPE",
    "MAX_BATCH_MESSAGES",
    "Telemetry",
    "bag_of",
    "check_size",
    "message_headers",
    "parse_batch",
]

BATCH_TYPE: Final = "application/vnd.microsoft.iothub.json"
# contract/devices.md 9.2
MAX_BATCH_MESSAGES: Final = 500

_PROPERTY: Final = "iothub-app-"
# Header, in lower case, to the key in a bag.
_SYSTEM: Final[Mapping[str, str]] = {
    "iothub-messageid": "$.mid",
    "iothub-correlationid": "$.cid",
    "iothub-userid": "$.uid",
    "iothub-to": "$.to",
    "iothub-expiry": "$.exp",
    "iothub-ack": "iothub-ack",
    "iothub-contenttype": "$.ct",
    "iothub-contentencoding": "$.ce",
    "iothub-interface-id": "$.ifid",
    "dt-subject": "$.sub",
    "iothub-messageschema": "$.schema",
    "iothub-creationtimeutc": "$.ctime",
    "iothub-app-iothub-creation-time-utc": "$.ctime",
}
# Visible ASCII but the percent sign stays as it is in a header's value; a space does too, except at the ends.
_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
# RFC 9110 5.6.2
_TOKEN: Final = "!#$&'*+-.^_`|~"


class Telemetry(NamedTuple):
    """One message: a raw property bag, and the body."""

    bag: bytes
    body: bytes


def bag_of(headers: Iterable[tuple[str, str]]) -> bytes:
    """The bag that `headers` say, those left out that mean nothing for a message. Names keep the case they have."""
    pairs = []
    for name, value in headers:
        lowered = name.lower()
        key = _SYSTEM.get(lowered)
        if key is None and lowered.startswith(_PROPERTY) and len(name) > len(_PROPERTY):
            key = quote(name[len(_PROPERTY) :], safe="")
        if key is not None:
            pairs.append(f"{key}={quote(value, safe='')}")
    return "&".join(pairs).encode()


def parse_batch(data: bytes) -> list[Telemetry]:
    """An array of `{"body", "base64Encoded", "properties"}`; without `base64Encoded` the body is base64.

    Takes milliseconds for a large one. Raises `Invalid` (`json.*`, `batch.item`) and `TooLarge` (`batch.count`,
    `telemetry.size`).
    """
    items = parse_json(data, what="the batch")
    if not isinstance(items, list) or not items:
        raise Invalid("batch.item", "a batch is a JSON array of at least one message")
    if len(items) > MAX_BATCH_MESSAGES:
        raise TooLarge("batch.count", f"the batch has {len(items)} messages, at most {MAX_BATCH_MESSAGES} are allowed")
    messages = [_item(place, item) for place, item in enumerate(items)]
    check_size(sum(bag_size(message.bag) + len(message.body) for message in messages))
    return messages


def check_size(size: int) -> None:
    """Of a message or a whole batch (9.2), properties decoded (decisions W4). Raises `TooLarge` (`telemetry.size`)."""
    if size > MAX_MESSAGE_BYTES:
        raise TooLarge(
            "telemetry.size",
            f"bodies and properties take {size} bytes, at most {MAX_MESSAGE_BYTES} are allowed in a request",
        )


def message_headers(message: CloudMessage, lock: str) -> dict[str, str]:
    """What goes with the body of a message to a device; C insists on the quotes around the lock."""
    system = {
        "iothub-messageid": message.message_id,
        "iothub-correlationid": message.correlation_id,
        "iothub-userid": message.user_id,
        "iothub-to": f"/devices/{message.name.device_id}/messages/deviceBound",
        "iothub-expiry": format_time(message.expires),
        "iothub-ack": message.ack,
        "iothub-sequencenumber": str(message.sequence),
        "iothub-enqueuedtime": format_time(message.enqueued),
        "iothub-deliverycount": str(message.delivery_count),
        "iothub-contenttype": message.content_type,
        "iothub-contentencoding": message.content_encoding,
    }
    headers = {name: _header_value(value) for name, value in system.items() if value is not None}
    for name, value in message.properties.items():
        headers[_PROPERTY + quote(name, safe=_TOKEN)] = _header_value(value)
    return {"etag": f'"{lock}"', **headers}


def _header_value(text: str) -> str:
    value = quote(text, safe=_VISIBLE + " ")
    inner = value.strip(" ")
    return value if inner == value else quote(text, safe=_VISIBLE)


def _item(place: int, item: Any) -> Telemetry:
    if not isinstance(item, dict):
        raise Invalid("batch.item", f"message {place} of the batch is a {type(item).__name__}, it has to be an object")
    body = item.get("body", "")
    if not isinstance(body, str):
        raise Invalid("batch.item", f"the body of message {place} is a {type(body).__name__}, it has to be a string")
    properties = item.get("properties") or {}
    if not isinstance(properties, dict):
        raise Invalid("batch.item", f"the properties of message {place} are no object")
    return Telemetry(bag_of(_named(place, properties)), _body(place, body, item.get("base64Encoded")))


def _named(place: int, properties: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in properties.items():
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, int | float):
            value = str(value)
        elif not isinstance(value, str):
            raise Invalid("batch.item", f"property {name[:80]!r} of message {place} has to be a string")
        # Names without a prefix are properties too.
        lowered = name.lower()
        yield (name if lowered in _SYSTEM or lowered.startswith(_PROPERTY) else _PROPERTY + name), value


def _body(place: int, body: str, encoded: Any) -> bytes:
    try:
        return body.encode() if encoded is False else base64.b64decode(body.encode(), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(
            "batch.item", f"the body of message {place} is not base64; for plain text say 'base64Encoded': false"
        ) from None

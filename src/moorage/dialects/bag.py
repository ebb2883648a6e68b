"""Property bags: the `k=v&k=v` that devices hang on a telemetry topic (contract/devices.md 2.5).

The bag is stored as it came and read when somebody asks; what cannot be read at all was not let in (decisions W4).
Every SDK spells bags in its own way (the `$` of a system key encoded or not, values encoded, half encoded or not at
all, a slash behind), so reading is generous: what cannot be a percent escape is text, and `+` is a plus sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["SYSTEM_KEYS", "Bag", "decode_bag", "with_property"]

# Key in the bag: name in the message.
SYSTEM_KEYS: Final = {
    "$.mid": "message-id",
    "$.cid": "correlation-id",
    "$.uid": "user-id",
    "$.to": "to",
    "$.ct": "content-type",
    "$.ce": "content-encoding",
    "$.exp": "absolute-expiry-time",
    "$.ctime": "iothub-creation-time-utc",
    "$.on": "iothub-outputname",
    "$.ifid": "iothub-interface-id",
    "$.sub": "dt-subject",
    "$.schema": "iothub-message-schema",
    "$.diagid": "Diagnostic-Id",
    "$.diagctx": "Correlation-Context",
    "iothub-operation": "iothub-operation",
    "iothub-ack": "iothub-ack",
}
# The hub writes these. Under a device's hand they would let it speak as another one, whatever it spells them as;
# `$.cdid` and `$.cmid` name the origin of what an edge gateway passes on between its own modules.
_STAMPED_PREFIX = "iothub-connection-"
_STAMPED = frozenset({"$.cdid", "$.cmid", "iothub-enqueuedtime", "iothub-message-source", "dt-dataschema"})


@dataclass(frozen=True, slots=True)
class Bag:
    """System properties by their names in the message, and the device's own. None is a key without `=`."""

    system: dict[str, str | None]
    properties: dict[str, str | None]


def decode_bag(raw: bytes) -> Bag:
    """Read a bag. Later pairs of one name win; what the hub stamps itself is left out.

    Never fails: bytes that are not UTF-8 come out as replacement characters.
    """
    bag = Bag({}, {})
    # C# always, Java and Node sometimes, put one slash behind the bag.
    for pair in raw.removesuffix(b"/").split(b"&"):
        if not pair:
            continue
        raw_key, separator, raw_value = pair.partition(b"=")
        key = _text(raw_key)
        if key in _STAMPED or key.startswith(_STAMPED_PREFIX):
            continue
        value = _text(raw_value) if separator else None
        name = SYSTEM_KEYS.get(key)
        if name is None:
            bag.properties[key] = value
        else:
            bag.system[name] = value
    return bag


def with_property(bag: bytes, pair: bytes) -> bytes:
    """A raw bag with one more `key=value`, such as the hub adds for what MQTT says outside the topic (2.4)."""
    bag = bag.removesuffix(b"/")
    return bag + b"&" + pair if bag else pair


def _text(raw: bytes) -> str:
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode(errors="replace")

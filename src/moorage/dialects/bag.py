"""Property bags: the `k=v&k=v` that devices hang on a telemetry topic (contract/devices.md 2.5).

The bag is stored as it came and read when somebody asks; on the way in only `check_bag` looks at it. Every SDK spells
bags in its own way (the `$` of a system key encoded or not, values encoded, half encoded or not at all, a slash
behind), so reading is generous: what cannot be a percent escape is text, and `+` is a plus sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from moorage.errors import RemoteProtocolError

__all__ = ["MAX_BAG_BYTES", "SYSTEM_KEYS", "Bag", "check_bag", "decode_bag"]

# decisions W4: limits are on decoded sizes.
MAX_BAG_BYTES: Final = 256 * 1024

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


def check_bag(raw: bytes) -> None:
    """What the hub asks of a bag before it stores it: `raw` is everything behind the topic's fixed part.

    Raises `RemoteProtocolError`: `bag.size` over 256 KiB decoded, `bag.encoding` when it is not UTF-8 after decoding.
    """
    data = unquote_to_bytes(raw) if b"%" in raw else raw
    if len(data) > MAX_BAG_BYTES:
        raise RemoteProtocolError(
            "bag.size", f"the property bag has {len(data)} bytes decoded, at most {MAX_BAG_BYTES} are allowed"
        )
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(
            "bag.encoding", f"the property bag is not UTF-8 once decoded: byte {error.start} does not fit"
        ) from None


def decode_bag(raw: bytes) -> Bag:
    """Read a bag. Later pairs of one name win; what the hub stamps itself is left out.

    Never fails: a bag that `check_bag` would not let in comes out with replacement characters.
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


def _text(raw: bytes) -> str:
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode(errors="replace")

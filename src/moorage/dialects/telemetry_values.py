"""What a message says, as values under names: the leaves of its JSON body (contract/central.md W-1, W-2).

    {"temperature": 21.5, "location": {"lat": 52.1, "lon": 5.2}}    temperature, location.lat, location.lon

A message of a component says so in `$.sub`; one of a module is kept apart under `@module`. The time is the one that
the device gives, if it lies within what the hub can have waited for, and otherwise that of its arrival.
"""

from __future__ import annotations

from typing import Any, Final

from moorage.analytics.rollups import Key, Readings, Scalar
from moorage.dialects.bag import decode_bag
from moorage.dialects.json_text import parse_json
from moorage.dialects.times import parse_time
from moorage.errors import Invalid
from moorage.hub.telemetry_log import StoredMessage

__all__ = ["MAX_DEPTH", "MAX_LEAVES", "MAX_TEXT", "values_of"]

# Of one message; what is more or deeper is in the raw data alone.
MAX_LEAVES: Final = 64
MAX_DEPTH: Final = 8
_MAX_NAME: Final = 128
# Of a text that is kept as a last value.
MAX_TEXT: Final = 256
_MAX_COMPONENT: Final = 64
_CREATED: Final = "iothub-creation-time-utc"
# How far ahead of the hub a device's clock may be, and how long a message may have waited on the device.
_AHEAD_MS: Final = 5 * 60_000
_BEHIND_MS: Final = 7 * 24 * 3_600_000
# Numbers beyond are no measurements, and sums of them no numbers.
_LARGEST: Final = 1e200


def values_of(message: StoredMessage) -> Readings | None:
    """Port: `analytics.projector.ReadValues`. None for what is no JSON object, and for one without a value."""
    body = message.body
    if body.lstrip()[:1] != b"{":
        return None
    try:
        document = parse_json(body, what="the body", max_depth=64)
    except Invalid:
        # The raw data shows it, and says why.
        return None
    component, at_ms = "", message.enqueued_ms
    if message.bag and (b"sub" in message.bag or b"time" in message.bag):
        component, at_ms = _said_in_bag(message)
    if message.source.module_id is not None:
        component = f"@{message.source.module_id}" + (f".{component}" if component else "")
    values: list[tuple[Key, Scalar]] = []
    _collect(document, "", component, 1, values)
    return Readings(at_ms, values) if values else None


def _said_in_bag(message: StoredMessage) -> tuple[str, int]:
    bag = decode_bag(message.bag)
    component = (bag.system.get("dt-subject") or "")[:_MAX_COMPONENT]
    said = bag.system.get(_CREATED) or bag.properties.get(_CREATED)
    if said:
        try:
            at_ms = int(parse_time(said, what=_CREATED).timestamp() * 1000)
        except Invalid:
            return component, message.enqueued_ms
        if message.enqueued_ms - _BEHIND_MS < at_ms < message.enqueued_ms + _AHEAD_MS:
            return component, at_ms
    return component, message.enqueued_ms


def _collect(document: dict[str, Any], path: str, component: str, depth: int, found: list[tuple[Key, Scalar]]) -> None:
    for name, value in document.items():
        if len(found) == MAX_LEAVES:
            return
        whole = path + name
        if len(whole) > _MAX_NAME:
            continue
        if isinstance(value, (bool, int, float)):
            if -_LARGEST < value < _LARGEST:
                found.append(((component, whole), value))
        elif isinstance(value, str):
            found.append(((component, whole), value[:MAX_TEXT]))
        elif isinstance(value, dict) and depth < MAX_DEPTH:
            _collect(value, whole + ".", component, depth + 1, found)

"""What a session is subscribed to, as one byte of granted QoS for each of the filters that the hub has.

Devices of one kind subscribe alike, so thousands of sessions share one value, and no session has an object of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from moorage.dialects.mqtt_hub import FILTERS, NOT_SUBSCRIBED, parse_filter
from moorage.ids import IdentityName

__all__ = [
    "CREDENTIALS",
    "DESIRED",
    "MESSAGES",
    "METHODS",
    "NO_SUBSCRIPTIONS",
    "TWIN_ANSWERS",
    "after_changes",
    "fresh",
    "granted_to",
    "places_of",
]

MESSAGES, _INPUTS, TWIN_ANSWERS, DESIRED, METHODS, CREDENTIALS = range(len(FILTERS))
NO_SUBSCRIPTIONS = bytes([NOT_SUBSCRIBED] * len(FILTERS))

_interned: dict[bytes, bytes] = {NO_SUBSCRIPTIONS: NO_SUBSCRIPTIONS}


def places_of(text: str, name: IdentityName) -> list[int]:
    """Which bytes a filter stands for. Raises `RemoteProtocolError`, as `parse_filter`."""
    return [FILTERS.index(subscription) for subscription in parse_filter(text, name)]


def after_changes(before: bytes, changes: Mapping[int, int]) -> bytes:
    """`before` with the QoS, or `NOT_SUBSCRIBED`, that `changes` has for some places."""
    after = bytearray(before)
    for place, qos in changes.items():
        after[place] = qos
    granted = bytes(after)
    return _interned.setdefault(granted, granted)


def granted_to(filters: Mapping[str, int], name: IdentityName) -> bytes:
    """What the filters of a stored session come to."""
    return after_changes(
        NO_SUBSCRIPTIONS, {place: qos for text, qos in filters.items() for place in places_of(text, name)}
    )


def fresh(before: bytes, after: bytes) -> bytes:
    """What `after` grants otherwise than `before` did."""
    return bytes(NOT_SUBSCRIBED if a == b else b for a, b in zip(before, after, strict=True))

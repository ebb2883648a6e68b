"""Topic names (what is published to) and topic filters (what is subscribed to): MQTT 3.1.1, section 4.7.

Two types over the same bytes, so that one cannot be handed over for the other. Both are the UTF-8 of the wire: equality
is equality of bytes, as the standard wants it, and nothing is decoded to be compared.
"""

from __future__ import annotations

from typing import NewType

from moorage.errors import RemoteProtocolError
from moorage.protocols.mqtt.strings import parse_string

__all__ = ["TopicFilter", "TopicName", "is_match", "parse_topic_filter", "parse_topic_name"]

TopicName = NewType("TopicName", bytes)
TopicFilter = NewType("TopicFilter", bytes)


def parse_topic_name(raw: bytes | str) -> TopicName:
    """At least one character, at most 65535 bytes of UTF-8, no U+0000, no wildcard.

    Raises `RemoteProtocolError` (`mqtt.topic_name`, or `mqtt.utf8` when it is no MQTT string at all).
    """
    name = _checked(raw, "topic name", "mqtt.topic_name")
    if b"#" in name or b"+" in name:
        raise RemoteProtocolError(
            "mqtt.topic_name",
            f"a topic name holds no wildcard (# or +), this one does: {_shown(name)}",
            clause="MQTT-3.3.2-2",
        )
    return TopicName(name)


def parse_topic_filter(raw: bytes | str) -> TopicFilter:
    """As a name, and `+` stands alone in its level, `#` alone in the last one.

    Raises `RemoteProtocolError` (`mqtt.topic_filter`, or `mqtt.utf8` when it is no MQTT string at all).
    """
    text = _checked(raw, "topic filter", "mqtt.topic_filter")
    if b"#" in text or b"+" in text:
        levels = text.split(b"/")
        for position, level in enumerate(levels):
            if b"#" in level and (level != b"#" or position != len(levels) - 1):
                raise RemoteProtocolError(
                    "mqtt.topic_filter",
                    f"'#' has to be the whole last level of a filter, it is not in {_shown(text)}",
                    clause="MQTT-4.7.1-2",
                )
            if b"+" in level and level != b"+":
                raise RemoteProtocolError(
                    "mqtt.topic_filter",
                    f"'+' has to be a whole level of a filter, it is not in {_shown(text)}",
                    clause="MQTT-4.7.1-3",
                )
    return TopicFilter(text)


def is_match(topic_filter: TopicFilter, name: TopicName) -> bool:
    """Whether a message published to `name` goes to a subscriber of `topic_filter`."""
    if name.startswith(b"$") and topic_filter.startswith((b"#", b"+")):  # [MQTT-4.7.2-1]
        return False
    wanted, levels = topic_filter.split(b"/"), name.split(b"/")
    for position, level in enumerate(wanted):
        if level == b"#":  # also the parent: "a/#" takes "a" (4.7.1.2)
            return True
        if position == len(levels) or level not in (b"+", levels[position]):
            return False
    return len(wanted) == len(levels)  # whole topics, never prefixes [MQTT-4.7.3-4]


def _checked(raw: bytes | str, what: str, reason: str) -> bytes:
    # A lone surrogate survives "surrogatepass" as bytes that the UTF-8 check then refuses like any others.
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else bytes(raw)
    if not data:
        raise RemoteProtocolError(reason, f"a {what} has at least one character", clause="MQTT-4.7.3-1")
    if len(data) > 65535:
        raise RemoteProtocolError(
            reason, f"a {what} has at most 65535 bytes, this one has {len(data)}", clause="MQTT-4.7.3-3"
        )
    parse_string(data, what)  # [MQTT-3.3.2-1], [MQTT-3.8.3-1], [MQTT-4.7.3-2]
    return data


def _shown(data: bytes) -> str:
    text = data.decode("utf-8")
    return repr(text if len(text) <= 120 else text[:120] + "...")

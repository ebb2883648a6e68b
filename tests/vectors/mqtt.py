"""MQTT 3.1.1 packets, each described once: what is on the wire, and what it means or why it is refused.

Used by the codec's tests, the connection's, and whoever serves them. The bytes are written by hand from the standard.
"""

from __future__ import annotations

from typing import NamedTuple

from moorage.protocols.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReturnCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from moorage.protocols.mqtt.topics import parse_topic_filter, parse_topic_name

__all__ = ["BAD", "GOOD", "OTHER_VERSIONS", "Bad", "Good"]


class Good(NamedTuple):
    """`data` is the shortest spelling of `packet`."""

    name: str
    data: bytes
    packet: Packet


class Bad(NamedTuple):
    """`data` is one packet; `clause` is empty where the standard has no number for the rule."""

    name: str
    data: bytes
    reason: str
    clause: str


_MQTT = b"\x00\x04MQTT\x04"

GOOD: tuple[Good, ...] = (
    Good("connect-least", b"\x10\x0c" + _MQTT + b"\x02\x00\x00\x00\x00", Connect("")),
    Good(
        "connect-empty-client-id-kept-session",
        b"\x10\x0c" + _MQTT + b"\x00\x00\x3c\x00\x00",
        Connect("", clean_session=False, keep_alive_s=60),
    ),
    Good(
        "connect-x509",
        b"\x10\x1d" + _MQTT + b"\x80\x00\xf0\x00\x06pump-1\x00\x09hub/pump1",
        Connect("pump-1", clean_session=False, keep_alive_s=240, user_name="hub/pump1"),
    ),
    Good(
        "connect-all-fields",
        b"\x10\x24"
        + _MQTT
        + b"\xee\xff\xff\x00\x01c\x00\x03w/t\x00\x04\x00\xff\x00\x01\x00\x02\xc3\xbc\x00\x06\x00secre",
        Connect(
            "c",
            clean_session=True,
            keep_alive_s=65535,
            user_name="ü",
            password=b"\x00secre",
            will=Will(parse_topic_name("w/t"), b"\x00\xff\x00\x01", qos=1, retain=True),
        ),
    ),
    Good(
        "connect-empty-password",
        b"\x10\x13" + _MQTT + b"\xc2\x00\x00\x00\x01c\x00\x02un\x00\x00",
        Connect("c", user_name="un", password=b""),
    ),
    Good("connack-accepted", b"\x20\x02\x00\x00", ConnAck(ReturnCode.ACCEPTED)),
    Good("connack-session-present", b"\x20\x02\x01\x00", ConnAck(ReturnCode.ACCEPTED, session_present=True)),
    Good("connack-version", b"\x20\x02\x00\x01", ConnAck(ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION)),
    Good("connack-not-authorized", b"\x20\x02\x00\x05", ConnAck(ReturnCode.NOT_AUTHORIZED)),
    Good("publish-qos-0", b"\x30\x05\x00\x01tab", Publish(parse_topic_name("t"), b"ab")),
    Good("publish-qos-0-empty-body", b"\x30\x03\x00\x01t", Publish(parse_topic_name("t"), b"")),
    Good("publish-qos-0-retain", b"\x31\x04\x00\x01tx", Publish(parse_topic_name("t"), b"x", retain=True)),
    Good("publish-qos-1", b"\x32\x09\x00\x03a/b\x12\x34hi", Publish(parse_topic_name("a/b"), b"hi", 1, 0x1234)),
    Good("publish-qos-1-empty-body", b"\x32\x05\x00\x01t\x00\x01", Publish(parse_topic_name("t"), b"", 1, 1)),
    Good("publish-qos-1-dup", b"\x3a\x06\x00\x01t\x00\x07x", Publish(parse_topic_name("t"), b"x", 1, 7, dup=True)),
    Good("publish-not-ascii", b"\x32\x08\x00\x02\xc3\xbc\xff\xffhi", Publish(parse_topic_name("ü"), b"hi", 1, 65535)),
    Good("publish-byte-order-mark", b"\x30\x05\x00\x03\xef\xbb\xbf", Publish(parse_topic_name("\ufeff"), b"")),
    Good(
        "publish-two-bytes-of-length",
        b"\x32\x85\x01\x00\x01t\x00\x01" + b"z" * 128,
        Publish(parse_topic_name("t"), b"z" * 128, 1, 1),
    ),
    Good(
        "publish-three-bytes-of-length",
        b"\x32\x80\x80\x01\x00\x01t\x00\x01" + b"z" * 16379,
        Publish(parse_topic_name("t"), b"z" * 16379, 1, 1),
    ),
    Good(
        "publish-long-topic",
        b"\x32\xb0\x02\x01\x2c" + b"n" * 300 + b"\x00\x02",
        Publish(parse_topic_name("n" * 300), b"", 1, 2),
    ),
    Good("puback", b"\x40\x02\x00\x0a", PubAck(10)),
    Good("pubrec", b"\x50\x02\x00\x0a", PubRec(10)),
    Good("pubrel", b"\x62\x02\x00\x0a", PubRel(10)),
    Good("pubcomp", b"\x70\x02\xff\xff", PubComp(65535)),
    Good(
        "subscribe-two",
        b"\x82\x0c\x00\x01\x00\x03a/#\x01\x00\x01+\x02",
        Subscribe(1, (Subscription(parse_topic_filter("a/#"), 1), Subscription(parse_topic_filter("+"), 2))),
    ),
    Good("suback", b"\x90\x06\x00\x01\x00\x01\x02\x80", SubAck(1, (0, 1, 2, 0x80))),
    Good(
        "unsubscribe",
        b"\xa2\x0a\x00\x02\x00\x03a/#\x00\x01b",
        Unsubscribe(2, (parse_topic_filter("a/#"), parse_topic_filter("b"))),
    ),
    Good("unsuback", b"\xb0\x02\x00\x02", UnsubAck(2)),
    Good("pingreq", b"\xc0\x00", PingReq()),
    Good("pingresp", b"\xd0\x00", PingResp()),
    Good("disconnect", b"\xe0\x00", Disconnect()),
)

# CONNECTs that get return code 1: data, protocol level.
OTHER_VERSIONS: tuple[tuple[str, bytes, int], ...] = (
    ("mqtt-5", b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x14\x00\x00", 5),
    ("mqtt-3.1", b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c", 3),
    ("a-bridge", b"\x10\x0d\x00\x04MQTT\x84\x02\x00\x3c\x00\x01c", 0x84),
    ("level-0", b"\x10\x07\x00\x04MQTT\x00", 0),
)


def _connect(flags: int, rest: bytes) -> bytes:
    body = _MQTT + bytes((flags,)) + b"\x00\x3c" + rest
    return b"\x10" + bytes((len(body),)) + body


BAD: tuple[Bad, ...] = (
    Bad("type-0", b"\x00\x00", "mqtt.malformed", ""),
    Bad("type-15", b"\xf0\x00", "mqtt.malformed", ""),
    Bad("connect-flags", b"\x11\x0c" + _MQTT + b"\x02\x00\x00\x00\x00", "mqtt.malformed", "MQTT-2.2.2-2"),
    Bad("connack-flags", b"\x21\x02\x00\x00", "mqtt.malformed", "MQTT-2.2.2-2"),
    Bad("puback-flags", b"\x42\x02\x00\x01", "mqtt.malformed", "MQTT-2.2.2-2"),
    Bad("subscribe-flags", b"\x80\x06\x00\x01\x00\x01t\x00", "mqtt.malformed", "MQTT-2.2.2-2"),
    Bad("unsubscribe-flags", b"\xa0\x05\x00\x01\x00\x01t", "mqtt.malformed", "MQTT-2.2.2-2"),
    Bad("pingreq-flags", b"\xc1\x00", "mqtt.malformed", "MQTT-2.2.2-2"),
    Bad("disconnect-flags", b"\xe8\x00", "mqtt.malformed", "MQTT-2.2.2-2"),
    Bad("length-of-five-bytes", b"\x32\x80\x80\x80\x80\x01", "mqtt.malformed", ""),
    Bad("pingreq-with-a-body", b"\xc0\x01\x00", "mqtt.malformed", ""),
    Bad("disconnect-with-a-body", b"\xe0\x01\x00", "mqtt.malformed", ""),
    Bad("puback-too-long", b"\x40\x03\x00\x01\x00", "mqtt.malformed", ""),
    Bad("puback-too-short", b"\x40\x01\x00", "mqtt.malformed", ""),
    Bad("puback-id-0", b"\x40\x02\x00\x00", "mqtt.malformed", "MQTT-2.3.1-1"),
    Bad("connect-empty", b"\x10\x00", "mqtt.malformed", ""),
    Bad(
        "connect-other-protocol", b"\x10\x0d\x00\x05HELLO\x04\x02\x00\x3c\x00\x00", "mqtt.protocol_name", "MQTT-3.1.2-1"
    ),
    Bad(
        "connect-lower-case-name", b"\x10\x0c\x00\x04mqtt\x04\x02\x00\x3c\x00\x00", "mqtt.protocol_name", "MQTT-3.1.2-1"
    ),
    Bad("connect-reserved-flag", _connect(0x03, b"\x00\x01c"), "mqtt.malformed", "MQTT-3.1.2-3"),
    Bad("connect-will-qos-3", _connect(0x1E, b"\x00\x01c\x00\x01t\x00\x00"), "mqtt.malformed", "MQTT-3.1.2-14"),
    Bad("connect-will-qos-without-will", _connect(0x0A, b"\x00\x01c"), "mqtt.malformed", "MQTT-3.1.2-13"),
    Bad("connect-will-retain-without-will", _connect(0x22, b"\x00\x01c"), "mqtt.malformed", "MQTT-3.1.2-15"),
    Bad("connect-password-alone", _connect(0x42, b"\x00\x01c\x00\x01p"), "mqtt.malformed", "MQTT-3.1.2-22"),
    Bad("connect-user-name-missing", _connect(0x82, b"\x00\x01c"), "mqtt.malformed", ""),
    Bad("connect-user-name-not-announced", _connect(0x02, b"\x00\x01c\x00\x01u"), "mqtt.malformed", ""),
    Bad("connect-client-id-not-utf-8", _connect(0x02, b"\x00\x01\xff"), "mqtt.utf8", "MQTT-1.5.3-1"),
    Bad("connect-client-id-surrogate", _connect(0x02, b"\x00\x03\xed\xa0\x80"), "mqtt.utf8", "MQTT-1.5.3-1"),
    Bad("connect-client-id-overlong", _connect(0x02, b"\x00\x02\xc0\x80"), "mqtt.utf8", "MQTT-1.5.3-1"),
    Bad("connect-client-id-nul", _connect(0x02, b"\x00\x03a\x00b"), "mqtt.utf8", "MQTT-1.5.3-2"),
    Bad("connect-user-name-nul", _connect(0x82, b"\x00\x01c\x00\x01\x00"), "mqtt.utf8", "MQTT-1.5.3-2"),
    Bad(
        "connect-will-topic-wildcard", _connect(0x06, b"\x00\x01c\x00\x01#\x00\x00"), "mqtt.topic_name", "MQTT-3.3.2-2"
    ),
    Bad("connect-will-topic-empty", _connect(0x06, b"\x00\x01c\x00\x00\x00\x00"), "mqtt.topic_name", "MQTT-4.7.3-1"),
    Bad("connack-reserved-flag", b"\x20\x02\x02\x00", "mqtt.malformed", ""),
    Bad("connack-reserved-code", b"\x20\x02\x00\x06", "mqtt.malformed", ""),
    Bad("connack-refused-session-present", b"\x20\x02\x01\x05", "mqtt.malformed", "MQTT-3.2.2-4"),
    Bad("publish-qos-3", b"\x36\x06\x00\x01t\x00\x01x", "mqtt.malformed", "MQTT-3.3.1-4"),
    Bad("publish-dup-qos-0", b"\x38\x04\x00\x01tx", "mqtt.malformed", "MQTT-3.3.1-2"),
    Bad("publish-id-0", b"\x32\x06\x00\x01t\x00\x00x", "mqtt.malformed", "MQTT-2.3.1-1"),
    Bad("publish-empty", b"\x32\x00", "mqtt.malformed", ""),
    Bad("publish-topic-cut", b"\x30\x04\x00\x03ab", "mqtt.malformed", ""),
    Bad("publish-id-cut", b"\x32\x04\x00\x01t\x00", "mqtt.malformed", ""),
    Bad("publish-topic-runs-into-what-follows", b"\x32\x08\x00\x07t\x00\x01xyz", "mqtt.malformed", ""),
    Bad("publish-topic-empty", b"\x32\x0a\x00\x00\x00\x01abcdef", "mqtt.topic_name", "MQTT-4.7.3-1"),
    Bad("publish-topic-number-sign", b"\x32\x0a\x00\x03a/#\x00\x01xyz", "mqtt.topic_name", "MQTT-3.3.2-2"),
    Bad("publish-topic-plus", b"\x32\x0a\x00\x03a+b\x00\x01xyz", "mqtt.topic_name", "MQTT-3.3.2-2"),
    Bad("publish-topic-nul", b"\x32\x0a\x00\x03a\x00b\x00\x01xyz", "mqtt.utf8", "MQTT-1.5.3-2"),
    Bad("publish-topic-surrogate", b"\x32\x0a\x00\x03\xed\xbf\xbf\x00\x01xyz", "mqtt.utf8", "MQTT-1.5.3-1"),
    Bad("publish-topic-latin-1", b"\x32\x0a\x00\x03a\xfcb\x00\x01xyz", "mqtt.utf8", "MQTT-1.5.3-1"),
    Bad("subscribe-no-filter", b"\x82\x02\x00\x01", "mqtt.malformed", "MQTT-3.8.3-3"),
    Bad("subscribe-id-0", b"\x82\x06\x00\x00\x00\x01t\x00", "mqtt.malformed", "MQTT-2.3.1-1"),
    Bad("subscribe-qos-3", b"\x82\x06\x00\x01\x00\x01t\x03", "mqtt.malformed", "MQTT-3.8.3-4"),
    Bad("subscribe-reserved-bits", b"\x82\x06\x00\x01\x00\x01t\x41", "mqtt.malformed", "MQTT-3.8.3-4"),
    Bad("subscribe-qos-missing", b"\x82\x05\x00\x01\x00\x01t", "mqtt.malformed", ""),
    Bad("subscribe-empty-filter", b"\x82\x05\x00\x01\x00\x00\x00", "mqtt.topic_filter", "MQTT-4.7.3-1"),
    Bad("subscribe-number-sign-inside", b"\x82\x08\x00\x01\x00\x03#/a\x00", "mqtt.topic_filter", "MQTT-4.7.1-2"),
    Bad("subscribe-number-sign-glued", b"\x82\x07\x00\x01\x00\x02a#\x00", "mqtt.topic_filter", "MQTT-4.7.1-2"),
    Bad("subscribe-plus-glued", b"\x82\x07\x00\x01\x00\x02a+\x00", "mqtt.topic_filter", "MQTT-4.7.1-3"),
    Bad("subscribe-filter-not-utf-8", b"\x82\x06\x00\x01\x00\x01\xff\x00", "mqtt.utf8", "MQTT-1.5.3-1"),
    Bad("suback-no-code", b"\x90\x02\x00\x01", "mqtt.malformed", "MQTT-3.8.4-5"),
    Bad("suback-reserved-code", b"\x90\x03\x00\x01\x03", "mqtt.malformed", "MQTT-3.9.3-2"),
    Bad("unsubscribe-no-filter", b"\xa2\x02\x00\x01", "mqtt.malformed", "MQTT-3.10.3-2"),
    Bad("unsubscribe-id-0", b"\xa2\x05\x00\x00\x00\x01t", "mqtt.malformed", "MQTT-2.3.1-1"),
    Bad("subscribe-too-many", b"\x82\x86\x20\x00\x01" + b"\x00\x01t\x00" * 1025, "mqtt.too_large", ""),
)

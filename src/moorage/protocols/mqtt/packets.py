"""The fourteen control packets of MQTT 3.1.1 as values, and nothing about how they look on the wire (see `codec`).

Topics and filters are UTF-8 bytes as they travel, because that is what is compared and stored; names for people (client
id, user name) are text. A packet id of 0 means "has none": QoS 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, NamedTuple

from moorage.protocols.mqtt.topics import TopicFilter, TopicName

__all__ = [
    "SUBACK_FAILURE",
    "ConnAck",
    "Connect",
    "Disconnect",
    "Packet",
    "PacketType",
    "PingReq",
    "PingResp",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "ReturnCode",
    "SubAck",
    "Subscribe",
    "Subscription",
    "UnsubAck",
    "Unsubscribe",
    "Will",
]

SUBACK_FAILURE = 0x80


class PacketType(IntEnum):
    """The high nibble of the first byte (MQTT 3.1.1, table 2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class ReturnCode(IntEnum):
    """What CONNACK says (MQTT 3.1.1, table 3.1). How SDKs react to each: contract devices 2.3."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL_VERSION = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USER_NAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes for a client that is lost without DISCONNECT."""

    topic: TopicName
    body: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """`client_id` may be empty; without `clean_session` the server has to refuse that with code 2 [MQTT-3.1.3-8]."""

    kind: ClassVar[PacketType] = PacketType.CONNECT
    client_id: str
    clean_session: bool = True
    keep_alive_s: int = 0
    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None


@dataclass(frozen=True, slots=True)
class ConnAck:
    kind: ClassVar[PacketType] = PacketType.CONNACK
    return_code: ReturnCode
    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """For sending. What arrives is handed to `on_publish` without an object (see `connection`)."""

    kind: ClassVar[PacketType] = PacketType.PUBLISH
    topic: TopicName
    body: bytes
    qos: int = 0
    packet_id: int = 0
    dup: bool = False
    retain: bool = False


@dataclass(frozen=True, slots=True)
class PubAck:
    kind: ClassVar[PacketType] = PacketType.PUBACK
    packet_id: int


@dataclass(frozen=True, slots=True)
class PubRec:
    kind: ClassVar[PacketType] = PacketType.PUBREC
    packet_id: int


@dataclass(frozen=True, slots=True)
class PubRel:
    kind: ClassVar[PacketType] = PacketType.PUBREL
    packet_id: int


@dataclass(frozen=True, slots=True)
class PubComp:
    kind: ClassVar[PacketType] = PacketType.PUBCOMP
    packet_id: int


class Subscription(NamedTuple):
    """One line of a SUBSCRIBE: `qos` is the most the client wants."""

    topic_filter: TopicFilter
    qos: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    kind: ClassVar[PacketType] = PacketType.SUBSCRIBE
    packet_id: int
    subscriptions: tuple[Subscription, ...]


@dataclass(frozen=True, slots=True)
class SubAck:
    """One code for each subscription, in order: the QoS granted, or `SUBACK_FAILURE`."""

    kind: ClassVar[PacketType] = PacketType.SUBACK
    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    kind: ClassVar[PacketType] = PacketType.UNSUBSCRIBE
    packet_id: int
    topic_filters: tuple[TopicFilter, ...]


@dataclass(frozen=True, slots=True)
class UnsubAck:
    kind: ClassVar[PacketType] = PacketType.UNSUBACK
    packet_id: int


@dataclass(frozen=True, slots=True)
class PingReq:
    kind: ClassVar[PacketType] = PacketType.PINGREQ


@dataclass(frozen=True, slots=True)
class PingResp:
    kind: ClassVar[PacketType] = PacketType.PINGRESP


@dataclass(frozen=True, slots=True)
class Disconnect:
    kind: ClassVar[PacketType] = PacketType.DISCONNECT


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
)

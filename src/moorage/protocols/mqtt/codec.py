"""MQTT 3.1.1 packets as bytes, and back. No state: what is legal when is `connection`'s business.

A packet is decoded in three steps, each as early as its bytes are there, so that nonsense is refused before it is
buffered: `check_first_byte`, `parse_size` (the remaining length), `check_size`, and `decode` when all of it has come.

Reasons that leave here as `RemoteProtocolError`, with the clause broken:

    mqtt.malformed          flags, lengths, counts or codes that the standard does not allow
    mqtt.utf8               a string that is not MQTT's UTF-8
    mqtt.topic_name         an empty topic name, or one with a wildcard
    mqtt.topic_filter       an empty topic filter, or a wildcard in the wrong place
    mqtt.too_large          larger than this end takes
    mqtt.protocol_name      CONNECT of something that is not MQTT
    mqtt.protocol_version   CONNECT of MQTT, but not level 4 (`UnsupportedVersion`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct, pack
from typing import Any

from moorage.errors import LocalProtocolError, RemoteProtocolError
from moorage.protocols.mqtt.packets import (
    SUBACK_FAILURE,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
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
from moorage.protocols.mqtt.strings import parse_string
from moorage.protocols.mqtt.topics import TopicFilter, TopicName, parse_topic_filter, parse_topic_name

__all__ = [
    "MAX_FILTERS",
    "MAX_REMAINING_LENGTH",
    "UnsupportedVersion",
    "check_first_byte",
    "check_size",
    "decode",
    "decode_publish",
    "encode",
    "encode_pubacks",
    "encode_publish",
    "parse_size",
]

# Four bytes of seven bits (2.2.3).
MAX_REMAINING_LENGTH = 268_435_455

# Filters in one SUBSCRIBE or UNSUBSCRIBE. The standard sets no limit; devices use fewer than ten (contract devices
# 2.4), and a packet full of one-letter filters would become many times its size in objects.
MAX_FILTERS = 1024

# By number; 0 and 15 are reserved.
_TYPES: tuple[PacketType | None, ...] = (None, *PacketType, None)

# The flags every packet but PUBLISH has to carry (table 2.2).
_FLAGS: dict[PacketType, int] = {kind: 0 for kind in PacketType}
_FLAGS.update(dict.fromkeys((PacketType.PUBREL, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE), 2))
del _FLAGS[PacketType.PUBLISH]

# The remaining length of packets that have no choice.
_SIZES: dict[PacketType, int] = {
    PacketType.CONNACK: 2,
    PacketType.PUBACK: 2,
    PacketType.PUBREC: 2,
    PacketType.PUBREL: 2,
    PacketType.PUBCOMP: 2,
    PacketType.UNSUBACK: 2,
    PacketType.PINGREQ: 0,
    PacketType.PINGRESP: 0,
    PacketType.DISCONNECT: 0,
}

_LEVEL = 4


class UnsupportedVersion(RemoteProtocolError):
    """A CONNECT of MQTT in another version. It is answered with return code 1, then closed [MQTT-3.1.2-2]."""

    def __init__(self, protocol_name: str, protocol_level: int) -> None:
        super().__init__(
            "mqtt.protocol_version",
            f"this speaks MQTT 3.1.1 (MQTT, level {_LEVEL}), the client {protocol_name}, level {protocol_level}",
            clause="MQTT-3.1.2-2",
        )
        self.protocol_level = protocol_level


def _malformed(message: str, clause: str = "") -> RemoteProtocolError:
    return RemoteProtocolError("mqtt.malformed", message, clause=clause)


# --- the fixed header -------------------------------------------------------------------------------------------------


def check_first_byte(first: int) -> PacketType:
    """The type of the packet that begins with `first`. Raises for reserved types and wrong flags."""
    kind = _TYPES[first >> 4]
    if kind is None:
        raise _malformed(f"packet type {first >> 4} is reserved (table 2.1)")
    flags = first & 0x0F
    if kind is PacketType.PUBLISH:
        if flags & 0x06 == 0x06:
            raise _malformed("PUBLISH with QoS 3", "MQTT-3.3.1-4")
        if flags & 0x0E == 0x08:
            raise _malformed("PUBLISH with DUP and QoS 0", "MQTT-3.3.1-2")
    elif flags != _FLAGS[kind]:
        raise _malformed(f"{kind.name} with flags {flags:#x}, they have to be {_FLAGS[kind]:#x}", "MQTT-2.2.2-2")
    return kind


def parse_size(data: bytes, at: int) -> tuple[int, int] | None:
    """The remaining length that begins at `at`, and where what it counts begins. None: more bytes are needed."""
    size = shift = 0
    for byte in data[at : at + 4]:
        at += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size, at
        shift += 7
    if shift == 28:
        raise _malformed("a remaining length of more than four bytes (2.2.3)")
    return None


def check_size(kind: PacketType, size: int, max_bytes: int) -> None:
    """Refuse a remaining length that cannot be right, or makes the packet larger than `max_bytes` in all."""
    expected = _SIZES.get(kind)
    if expected is not None and size != expected:
        raise _malformed(f"{kind.name} with a remaining length of {size}, it has to be {expected}")
    total = 1 + len(_encode_size(size)) + size
    if total > max_bytes:
        raise RemoteProtocolError("mqtt.too_large", f"{kind.name} of {total} bytes, at most {max_bytes} are taken here")


# --- decoding ---------------------------------------------------------------------------------------------------------


def decode(kind: PacketType, flags: int, body: bytes) -> Packet:
    """The packet whose fixed header said `kind` and `flags`, and whose `body` is all that the remaining length counts.

    Expects that `check_first_byte` and `check_size` have passed. Raises `RemoteProtocolError`.
    """
    if kind is PacketType.PUBLISH:
        topic, payload, packet_id = decode_publish(flags, body)
        return Publish(topic, payload, flags >> 1 & 3, packet_id, bool(flags & 8), bool(flags & 1))
    reader = _Reader(kind, body)
    packet = _DECODERS[kind](reader)
    reader.finish()
    return packet


def decode_publish(flags: int, body: bytes) -> tuple[TopicName, bytes, int]:
    """Topic, payload and packet id (0 for QoS 0) of a PUBLISH."""
    reader = _Reader(PacketType.PUBLISH, body)
    topic = parse_topic_name(reader.binary("topic name"))
    # Only QoS 1 and 2 have one [MQTT-2.3.1-5].
    packet_id = reader.packet_id() if flags & 0x06 else 0
    return topic, reader.rest(), packet_id


class _Reader:
    """Takes fields off the front of a packet's body."""

    __slots__ = ("_at", "_body", "_kind")

    def __init__(self, kind: PacketType, body: bytes) -> None:
        self._kind = kind
        self._body = body
        self._at = 0

    def take(self, count: int, what: str) -> bytes:
        start, stop = self._at, self._at + count
        if stop > len(self._body):
            raise _malformed(
                f"{self._kind.name} ends within its {what}: {count} bytes are due, {len(self._body) - start} are left"
            )
        self._at = stop
        return self._body[start:stop]

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def number(self, what: str) -> int:
        return int.from_bytes(self.take(2, what), "big")

    def binary(self, what: str) -> bytes:
        return self.take(self.number(f"length of the {what}"), what)

    def string(self, what: str) -> str:
        return parse_string(self.binary(what), what)

    def packet_id(self) -> int:
        packet_id = self.number("packet id")
        if packet_id == 0:
            raise _malformed(f"{self._kind.name} with packet id 0", "MQTT-2.3.1-1")
        return packet_id

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at, "payload")

    def is_at_end(self) -> bool:
        return self._at == len(self._body)

    def finish(self) -> None:
        if not self.is_at_end():
            raise _malformed(f"{self._kind.name} has {len(self._body) - self._at} bytes after its last field")


def _decode_connect(reader: _Reader) -> Connect:
    name, level = reader.binary("protocol name"), reader.byte("protocol level")
    if (name, level) == (b"MQIsdp", 3) or (name == b"MQTT" and level != _LEVEL):
        # The rest may have another shape (MQTT 5 has properties here): it is not looked at.
        raise UnsupportedVersion(name.decode("ascii"), level)
    if name != b"MQTT":
        raise RemoteProtocolError(
            "mqtt.protocol_name", f"the protocol name is {name[:32]!r}, not b'MQTT'", clause="MQTT-3.1.2-1"
        )
    flags = reader.byte("connect flags")
    if flags & 0x01:
        raise _malformed("CONNECT with its reserved flag set", "MQTT-3.1.2-3")
    has_user_name, has_password, has_will = bool(flags & 0x80), bool(flags & 0x40), bool(flags & 0x04)
    will_qos, will_retain = flags >> 3 & 3, bool(flags & 0x20)
    if will_qos == 3:
        raise _malformed("CONNECT with a Will of QoS 3", "MQTT-3.1.2-14")
    if not has_will and will_qos:
        raise _malformed(f"CONNECT with a Will QoS of {will_qos}, but without a Will", "MQTT-3.1.2-13")
    if not has_will and will_retain:
        raise _malformed("CONNECT with Will Retain, but without a Will", "MQTT-3.1.2-15")
    if has_password and not has_user_name:
        raise _malformed("CONNECT with a password, but without a user name", "MQTT-3.1.2-22")
    keep_alive_s = reader.number("keep alive")
    # In this order, each only if its flag says so [MQTT-3.1.3-1].
    client_id = reader.string("client id")
    will = None
    if has_will:
        topic = parse_topic_name(reader.binary("Will topic"))
        will = Will(topic, reader.binary("Will message"), will_qos, will_retain)
    user_name = reader.string("user name") if has_user_name else None
    password = reader.binary("password") if has_password else None
    return Connect(client_id, bool(flags & 0x02), keep_alive_s, user_name, password, will)


def _decode_connack(reader: _Reader) -> ConnAck:
    flags, code = reader.byte("acknowledge flags"), reader.byte("return code")
    if flags > 1:
        raise _malformed(f"CONNACK with acknowledge flags {flags:#x}, bits 7 to 1 are reserved (3.2.2.1)")
    if code > ReturnCode.NOT_AUTHORIZED:
        raise _malformed(f"CONNACK with return code {code}, which is reserved (table 3.1)")
    if code and flags:
        raise _malformed(f"CONNACK with return code {code} and Session Present", "MQTT-3.2.2-4")
    return ConnAck(ReturnCode(code), bool(flags))


def _decode_subscribe(reader: _Reader) -> Subscribe:
    packet_id = reader.packet_id()
    subscriptions: list[Subscription] = []
    while not reader.is_at_end():
        topic_filter = _next_filter(reader, len(subscriptions))
        qos = reader.byte("requested QoS")
        if qos > 2:
            raise _malformed(f"SUBSCRIBE with {qos:#x} for a requested QoS", "MQTT-3.8.3-4")
        subscriptions.append(Subscription(topic_filter, qos))
    if not subscriptions:
        raise _malformed("SUBSCRIBE without a topic filter", "MQTT-3.8.3-3")
    return Subscribe(packet_id, tuple(subscriptions))


def _decode_suback(reader: _Reader) -> SubAck:
    packet_id, codes = reader.packet_id(), reader.rest()
    if not codes:
        raise _malformed("SUBACK without a return code", "MQTT-3.8.4-5")
    for code in codes:
        if code > 2 and code != SUBACK_FAILURE:
            raise _malformed(f"SUBACK with return code {code:#x}, which is reserved", "MQTT-3.9.3-2")
    return SubAck(packet_id, tuple(codes))


def _decode_unsubscribe(reader: _Reader) -> Unsubscribe:
    packet_id = reader.packet_id()
    topic_filters: list[TopicFilter] = []
    while not reader.is_at_end():
        topic_filters.append(_next_filter(reader, len(topic_filters)))
    if not topic_filters:
        raise _malformed("UNSUBSCRIBE without a topic filter", "MQTT-3.10.3-2")
    return Unsubscribe(packet_id, tuple(topic_filters))


def _next_filter(reader: _Reader, count: int) -> TopicFilter:
    if count == MAX_FILTERS:
        raise RemoteProtocolError("mqtt.too_large", f"more than {MAX_FILTERS} topic filters in one packet")
    return parse_topic_filter(reader.binary("topic filter"))


_DECODERS: dict[PacketType, Callable[[_Reader], Packet]] = {
    PacketType.CONNECT: _decode_connect,
    PacketType.CONNACK: _decode_connack,
    PacketType.PUBACK: lambda reader: PubAck(reader.packet_id()),
    PacketType.PUBREC: lambda reader: PubRec(reader.packet_id()),
    PacketType.PUBREL: lambda reader: PubRel(reader.packet_id()),
    PacketType.PUBCOMP: lambda reader: PubComp(reader.packet_id()),
    PacketType.SUBSCRIBE: _decode_subscribe,
    PacketType.SUBACK: _decode_suback,
    PacketType.UNSUBSCRIBE: _decode_unsubscribe,
    PacketType.UNSUBACK: lambda reader: UnsubAck(reader.packet_id()),
    PacketType.PINGREQ: lambda _: PingReq(),
    PacketType.PINGRESP: lambda _: PingResp(),
    PacketType.DISCONNECT: lambda _: Disconnect(),
}


# --- encoding ---------------------------------------------------------------------------------------------------------


def encode(packet: Packet) -> bytes:
    """The packet as bytes. Raises `LocalProtocolError` when a field breaks a rule that the peer would refuse it for."""
    if isinstance(packet, Publish):
        return encode_publish(
            packet.topic, packet.body, packet.qos, packet.packet_id, dup=packet.dup, retain=packet.retain
        )
    if isinstance(packet, ConnAck | PingResp):
        return _encode_answer(packet)
    return _encode(packet)


@lru_cache(maxsize=16)
def _encode_answer(packet: ConnAck | PingResp) -> bytes:
    """The few answers that are the same for every client, each made once."""
    return _encode(packet)


def _encode(packet: Packet) -> bytes:
    kind = packet.kind
    try:
        body: bytes = _ENCODERS[kind](packet)
        survives = decode(kind, _FLAGS[kind], body) == packet
    except (RemoteProtocolError, ValueError) as error:  # what the other end would have said, before it has to
        raise LocalProtocolError(f"{kind.name} cannot be sent: {error}") from error
    if not survives:
        raise LocalProtocolError(f"{kind.name} cannot be sent: a field is out of its range")
    return _frame(kind << 4 | _FLAGS[kind], body)


_PUBACK = Struct(">I")


def encode_pubacks(packet_ids: Sequence[int]) -> bytes:
    """One PUBACK for each id, in order, to be written at once. Ids are those of received packets: 1 to 65535."""
    if len(packet_ids) == 1:
        return _PUBACK.pack(0x40020000 | packet_ids[0])
    return pack(f">{len(packet_ids)}I", *[0x40020000 | packet_id for packet_id in packet_ids])


def encode_publish(
    topic: bytes, body: bytes, qos: int, packet_id: int = 0, *, dup: bool = False, retain: bool = False
) -> bytes:
    """A PUBLISH as bytes. `packet_id` is 0 exactly when `qos` is 0.

    Raises `LocalProtocolError` for a topic that is no topic name, an id without QoS or the reverse, or a body too large
    for any PUBLISH.
    """
    if not 0 <= qos <= 2 or not 0 <= packet_id <= 0xFFFF or (qos > 0) != (packet_id > 0) or (dup and not qos):
        raise LocalProtocolError(f"PUBLISH cannot have QoS {qos} with packet id {packet_id} and DUP {dup}")
    try:
        parse_topic_name(topic)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"PUBLISH cannot be sent: {error}") from error
    first = 0x30 | dup << 3 | qos << 1 | retain
    head = len(topic).to_bytes(2, "big") + topic
    return _frame(first, head, packet_id.to_bytes(2, "big") if qos else b"", body)


def _frame(first: int, *parts: bytes) -> bytes:
    size = sum(map(len, parts))
    if size > MAX_REMAINING_LENGTH:
        raise LocalProtocolError(f"a remaining length of {size} bytes, MQTT allows {MAX_REMAINING_LENGTH}")
    return b"".join((bytes((first,)), _encode_size(size), *parts))


def _encode_size(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    encoded = bytearray()
    while size >= 0x80:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _number(value: int) -> bytes:
    if not 0 <= value <= 0xFFFF:
        raise LocalProtocolError(f"{value} does not fit into two bytes")
    return value.to_bytes(2, "big")


def _binary(value: bytes) -> bytes:
    return _number(len(value)) + value


def _string(value: str) -> bytes:
    # A lone surrogate becomes bytes that are no UTF-8; `encode` refuses them when it reads its own work.
    return _binary(value.encode("utf-8", "surrogatepass"))


def _encode_connect(packet: Connect) -> bytes:
    flags = packet.clean_session << 1
    fields = [_string(packet.client_id)]
    if packet.will is not None:
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
        fields += _binary(packet.will.topic), _binary(packet.will.body)
    if packet.user_name is not None:
        flags |= 0x80
        fields.append(_string(packet.user_name))
    if packet.password is not None:
        flags |= 0x40
        fields.append(_binary(packet.password))
    return b"".join((_binary(b"MQTT"), bytes((_LEVEL, flags & 0xFF)), _number(packet.keep_alive_s), *fields))


def _encode_subscribe(packet: Subscribe) -> bytes:
    lines = (_binary(each.topic_filter) + bytes((each.qos & 0xFF,)) for each in packet.subscriptions)
    return _number(packet.packet_id) + b"".join(lines)


def _encode_packet_id(packet: PubAck | PubRec | PubRel | PubComp | UnsubAck) -> bytes:
    return _number(packet.packet_id)


# Any: the key says which packet the encoder takes, which a dict type cannot.
_ENCODERS: dict[PacketType, Callable[[Any], bytes]] = {
    PacketType.CONNECT: _encode_connect,
    PacketType.CONNACK: lambda packet: bytes((packet.session_present, packet.return_code)),
    PacketType.PUBACK: _encode_packet_id,
    PacketType.PUBREC: _encode_packet_id,
    PacketType.PUBREL: _encode_packet_id,
    PacketType.PUBCOMP: _encode_packet_id,
    PacketType.SUBSCRIBE: _encode_subscribe,
    PacketType.SUBACK: lambda packet: _number(packet.packet_id) + bytes(packet.codes),
    PacketType.UNSUBSCRIBE: lambda packet: _number(packet.packet_id) + b"".join(map(_binary, packet.topic_filters)),
    PacketType.UNSUBACK: _encode_packet_id,
    PacketType.PINGREQ: lambda _: b"",
    PacketType.PINGRESP: lambda _: b"",
    PacketType.DISCONNECT: lambda _: b"",
}

"""The codec against the vectors, against itself, and against noise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.errors import LocalProtocolError, RemoteProtocolError
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PacketType,
    PubAck,
    Publish,
    ReturnCode,
    SubAck,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from moorage.protocols.mqtt.topics import TopicFilter, TopicName, parse_topic_name
from tests.protocol.mqtt.helpers import decode_one
from tests.protocol.mqtt.strategies import packets, publishes
from tests.vectors import mqtt as vectors

good = pytest.mark.parametrize("vector", vectors.GOOD, ids=lambda vector: vector.name)
WITH_A_BODY = frozenset(PacketType) - {PacketType.PINGREQ, PacketType.PINGRESP, PacketType.DISCONNECT}

bad = pytest.mark.parametrize("vector", vectors.BAD, ids=lambda vector: vector.name)


def test_every_type_of_packet_has_a_vector() -> None:
    assert {vector.packet.kind for vector in vectors.GOOD} == set(PacketType)


@good
def test_a_good_vector_decodes_to_its_packet(vector: vectors.Good) -> None:
    assert decode_one(vector.data) == (vector.packet, b"")


@good
def test_a_good_packet_encodes_to_its_vector(vector: vectors.Good) -> None:
    assert codec.encode(vector.packet) == vector.data


@bad
def test_a_bad_vector_is_refused_with_its_reason_and_clause(vector: vectors.Bad) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_one(vector.data)
    assert (caught.value.reason, caught.value.clause) == (vector.reason, vector.clause)


@pytest.mark.parametrize(("name", "data", "level"), vectors.OTHER_VERSIONS)
def test_mqtt_3_1_2_2_another_version_is_told_apart(name: str, data: bytes, level: int) -> None:
    with pytest.raises(codec.UnsupportedVersion) as caught:
        decode_one(data)
    assert (caught.value.reason, caught.value.clause) == ("mqtt.protocol_version", "MQTT-3.1.2-2")
    assert caught.value.protocol_level == level


@given(packets)
@settings(deadline=None)
def test_what_is_encoded_decodes_to_the_same(packet: Packet) -> None:
    assert decode_one(codec.encode(packet)) == (packet, b"")


@good
def test_a_packet_cut_anywhere_is_not_there_yet(vector: vectors.Good) -> None:
    for cut in range(min(len(vector.data), 400)):
        assert decode_one(vector.data[:cut]) is None


@given(packets.filter(lambda packet: packet.kind in WITH_A_BODY), st.data())
@settings(deadline=None)
def test_a_body_cut_anywhere_is_refused_or_is_another_packet_of_that_body(packet: Packet, data: st.DataObject) -> None:
    encoded = codec.encode(packet)
    header = codec.parse_size(encoded, 1)
    assert header is not None
    body = encoded[header[1] :]
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    try:
        shorter = codec.decode(packet.kind, encoded[0] & 0x0F, cut)
    except RemoteProtocolError:
        return
    assert codec.encode(shorter).endswith(cut)
    assert shorter.kind in (PacketType.PUBLISH, PacketType.SUBSCRIBE, PacketType.SUBACK, PacketType.UNSUBSCRIBE)


@given(st.sampled_from(range(256)), st.binary(max_size=80))
@settings(deadline=None, max_examples=500)
def test_random_bodies_decode_or_are_the_peers_fault(first: int, body: bytes) -> None:
    try:
        found = decode_one(bytes((first, len(body))) + body)
    except RemoteProtocolError:
        return
    assert found is not None
    packet, rest = found
    assert rest == b""
    assert codec.encode(packet)[2:] == body


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 2_097_151, 2_097_152, codec.MAX_REMAINING_LENGTH])
def test_remaining_lengths_at_the_bounds_of_table_2_4(size: int) -> None:
    encoded = b""
    rest = size
    while True:
        rest, digit = divmod(rest, 128)
        encoded += bytes((digit | (0x80 if rest else 0),))
        if not rest:
            break
    assert codec.parse_size(b"\x30" + encoded + b"x", 1) == (size, 1 + len(encoded))
    for cut in range(len(encoded)):
        assert codec.parse_size(b"\x30" + encoded[:cut], 1) is None


def test_a_remaining_length_longer_than_it_has_to_be_is_taken() -> None:
    assert codec.parse_size(b"\xc0\x80\x80\x00", 1) == (0, 4)


def test_a_packet_of_the_most_bytes_is_taken_and_of_one_more_is_not() -> None:
    codec.check_size(PacketType.PUBLISH, 126, 128)
    with pytest.raises(RemoteProtocolError, match="PUBLISH of 129 bytes, at most 128") as caught:
        codec.check_size(PacketType.PUBLISH, 127, 128)
    assert caught.value.reason == "mqtt.too_large"


@pytest.mark.parametrize(
    "packet",
    [
        Connect("a\0b"),
        Connect("\ud800"),
        Connect("c" * 65536),
        Connect("c", keep_alive_s=65536),
        Connect("c", password=b"without a user name"),
        Connect("c", will=Will(TopicName(b"a/#"), b"")),
        Connect("c", will=Will(TopicName(b"a"), b"", qos=3)),
        Connect("c", will=Will(TopicName(b"a"), b"", qos=4)),
        ConnAck(ReturnCode.NOT_AUTHORIZED, session_present=True),
        PubAck(0),
        PubAck(65536),
        Publish(TopicName(b"a/+"), b""),
        Publish(TopicName(b""), b""),
        Publish(TopicName(b"\xff"), b""),
        Publish(TopicName(b"n" * 65536), b""),
        Publish(TopicName(b"a"), b"", qos=0, packet_id=1),
        Publish(TopicName(b"a"), b"", qos=1),
        Publish(TopicName(b"a"), b"", qos=3, packet_id=1),
        Publish(TopicName(b"a"), b"", qos=1, packet_id=65536),
        Publish(TopicName(b"a"), b"", dup=True),
        Subscribe(1, ()),
        Subscribe(1, (Subscription(TopicFilter(b"a"), 3),)),
        Subscribe(1, (Subscription(TopicFilter(b"a"), 257),)),
        Subscribe(1, (Subscription(TopicFilter(b"#a"), 1),)),
        SubAck(1, ()),
        SubAck(1, (3,)),
        SubAck(1, (256,)),
        Unsubscribe(1, ()),
    ],
    ids=repr,
)
def test_what_the_peer_would_refuse_is_our_own_fault_before_it_leaves(packet: Packet) -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode(packet)


def test_a_publish_larger_than_mqtt_allows_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError, match="MQTT allows 268435455"):
        codec.encode_publish(b"t", bytes(codec.MAX_REMAINING_LENGTH - 2), 0)


@given(st.lists(st.integers(1, 65535), max_size=30))
@settings(deadline=None)
def test_many_pubacks_are_one_after_the_other(packet_ids: list[int]) -> None:
    assert codec.encode_pubacks(packet_ids) == b"".join(codec.encode(PubAck(each)) for each in packet_ids)


@given(publishes)
@settings(deadline=None)
def test_a_publish_encodes_alike_with_and_without_an_object(packet: Publish) -> None:
    encoded = codec.encode_publish(
        packet.topic, packet.body, packet.qos, packet.packet_id, dup=packet.dup, retain=packet.retain
    )
    assert encoded == codec.encode(packet)


def test_a_password_is_not_printed() -> None:
    assert "hunter2" not in repr(Connect("c", user_name="u", password=b"hunter2"))


def test_mqtt_1_5_3_3_a_byte_order_mark_stays_where_it_is() -> None:
    assert parse_topic_name(b"\xef\xbb\xbfa") == b"\xef\xbb\xbfa"
    connect = decode_one(codec.encode(Connect("\ufeffc")))
    assert connect is not None
    assert connect[0] == Connect("\ufeffc")

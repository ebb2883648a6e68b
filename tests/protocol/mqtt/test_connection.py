"""What a connection hears, however its bytes were cut: the fast path, the buffers and the bounds."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moorage.errors import RemoteProtocolError
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.connection import (
    MAX_CONNECT_BYTES,
    MAX_PACKET_BYTES,
    TRANSITIONS,
    Connection,
    Role,
    State,
    keep_alive_deadline,
)
from moorage.protocols.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PubAck,
    Publish,
    ReturnCode,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from moorage.protocols.mqtt.topics import parse_topic_filter, parse_topic_name
from tests.protocol.mqtt.helpers import ENDS, End, decode_one, end_in
from tests.protocol.mqtt.strategies import packets, publishes
from tests.vectors import mqtt as vectors

TOPIC = parse_topic_name("devices/pump-01/messages/events/")

# A device's day, with every length of header in it.
DAY: tuple[Packet, ...] = (
    Connect("pump-01", clean_session=False, keep_alive_s=60, user_name="hub.example/pump-01/?api-version=2021-04-12"),
    Subscribe(1, (Subscription(parse_topic_filter("$iothub/methods/POST/#"), 0),)),
    Publish(TOPIC, b"one", 1, 2),
    Publish(TOPIC, b"t" * 150, 1, 3),
    PingReq(),
    Publish(TOPIC, b"", 1, 4),
    Publish(TOPIC, b"again", 1, 2, dup=True),
    Publish(TOPIC, b"no answer wanted", 0, 0, retain=True),
    PubAck(9),
    Publish(parse_topic_name("devices/pümp/messages/events/"), b"\x00\xff", 1, 65535),
    Unsubscribe(5, (parse_topic_filter("$iothub/methods/POST/#"),)),
    Disconnect(),
)
DAY_BYTES = b"".join(map(codec.encode, DAY))


class AcceptingServer(End):
    """Answers CONNECT from within the callback, as a server with the verdict at hand does."""

    def __init__(self) -> None:
        super().__init__(Role.SERVER)

    def _on_packet(self, packet: Packet) -> None:
        super()._on_packet(packet)
        if isinstance(packet, Connect):
            self.connection.send(ConnAck(ReturnCode.ACCEPTED))


def test_a_day_in_one_piece_is_heard_in_order() -> None:
    server = AcceptingServer()
    assert server.hear(DAY_BYTES) == ""
    assert tuple(server.heard) == DAY
    assert server.state is State.CLOSED


def test_a_day_byte_by_byte_is_heard_in_order() -> None:
    server = AcceptingServer()
    assert server.hear(*(DAY_BYTES[at : at + 1] for at in range(len(DAY_BYTES)))) == ""
    assert tuple(server.heard) == DAY


def test_a_day_in_two_pieces_cut_anywhere_is_heard_in_order() -> None:
    ends = [len(b"".join(map(codec.encode, DAY[: count + 1]))) for count in range(len(DAY))]
    for cut in range(len(DAY_BYTES) + 1):
        server = AcceptingServer()
        assert server.hear(DAY_BYTES[:cut]) == ""
        # What is complete has been heard, and nothing that is not.
        assert tuple(server.heard) == DAY[: sum(end <= cut for end in ends)]
        assert server.hear(DAY_BYTES[cut:]) == ""
        assert tuple(server.heard) == DAY


@given(st.integers(0, len(DAY_BYTES)), st.integers(0, len(DAY_BYTES)))
@settings(deadline=None, max_examples=300)
def test_a_day_in_three_pieces_cut_anywhere_is_heard_in_order(one: int, other: int) -> None:
    first, second = sorted((one, other))
    server = AcceptingServer()
    assert server.hear(DAY_BYTES[:first], DAY_BYTES[first:second], DAY_BYTES[second:]) == ""
    assert tuple(server.heard) == DAY


@given(st.lists(publishes, max_size=8), st.data())
@settings(deadline=None)
def test_any_publishes_in_any_pieces_are_heard_in_order(sent: list[Publish], data: st.DataObject) -> None:
    stream = b"".join(map(codec.encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    server = end_in(Role.SERVER, State.OPEN)
    assert (
        server.hear(*(stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True))) == ""
    )
    assert server.heard == sent


def slowly(stream: bytes) -> tuple[list[Packet], str]:
    """What an open server should hear of `stream`, and why it should stop, worked out by the codec alone."""
    heard: list[Packet] = []
    try:
        while True:
            # QoS 2 and what a client may not send are refused by their first byte.
            if stream:
                kind = codec.check_first_byte(stream[0])
                if kind in (PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP) or stream[0] & 0xF6 == 0x34:
                    return heard, "mqtt.qos2"
                if kind is PacketType.CONNECT:
                    return heard, "mqtt.connect_twice"
                if kind in (PacketType.CONNACK, PacketType.SUBACK, PacketType.UNSUBACK, PacketType.PINGRESP):
                    return heard, "mqtt.unexpected"
            found = decode_one(stream)
            if found is None:
                return heard, ""
            heard.append(found[0])
            stream = found[1]
            if isinstance(found[0], Disconnect):
                return heard, ""
    except RemoteProtocolError as error:
        return heard, error.reason


@given(st.lists(publishes | packets, max_size=6), st.data())
@settings(deadline=None, max_examples=400)
def test_the_fast_path_and_the_codec_agree_also_on_damaged_streams(sent: list[Packet], data: st.DataObject) -> None:
    stream = bytearray(b"".join(map(codec.encode, sent)))
    if stream:
        for at in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=3)):
            stream[at] = data.draw(st.integers(0, 255))
    server = end_in(Role.SERVER, State.OPEN)
    cut = data.draw(st.integers(0, len(stream)))
    reason = server.hear(bytes(stream[:cut])) or server.hear(bytes(stream[cut:]))
    assert (server.heard, reason) == slowly(bytes(stream))


# Every byte of a short QoS 1 publish replaced by every value, with another one behind it.
@pytest.mark.parametrize("body", [b"", b"0123456789"], ids=["short", "long"])
def test_the_fast_path_and_the_codec_agree_on_every_single_damaged_byte(body: bytes) -> None:
    head = b"\x32" + bytes((5 + len(body), 0, 1)) + b"t\x00\x07"
    stream = head + body + b"\x32\x09\x00\x03a/b\x12\x34hi"
    for at in range(len(head)):
        for value in range(256):
            damaged = stream[:at] + bytes((value,)) + stream[at + 1 :]
            server = end_in(Role.SERVER, State.OPEN)
            reason = server.hear(damaged)
            assert (server.heard, reason) == slowly(damaged)


@given(st.sampled_from(ENDS), st.lists(st.binary(max_size=60), max_size=4))
@settings(deadline=None, max_examples=500)
@example((Role.SERVER, State.EXPECT_CONNECT), [b"GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n"])
@example((Role.SERVER, State.EXPECT_CONNECT), [b"\x16\x03\x01\x02\x00\x01\x00"])
def test_random_bytes_are_heard_or_are_the_peers_fault(where: tuple[Role, State], pieces: list[bytes]) -> None:
    end = end_in(*where)
    reason = end.hear(*pieces)
    assert not reason or end.state in (State.CLOSED, State.EXPECT_REFUSAL)


@pytest.mark.parametrize("vector", vectors.BAD, ids=lambda vector: vector.name)
def test_a_bad_vector_ends_the_connection_with_its_reason_and_clause(vector: vectors.Bad) -> None:
    kind = vector.data[0] >> 4
    if kind == PacketType.CONNECT:
        end = end_in(Role.SERVER, State.EXPECT_CONNECT)
    elif kind == PacketType.CONNACK:
        end = end_in(Role.CLIENT, State.EXPECT_CONNACK)
    else:
        end = end_in(Role.CLIENT if kind == PacketType.SUBACK else Role.SERVER, State.OPEN)
    with pytest.raises(RemoteProtocolError) as caught:
        end.connection.receive(vector.data)
    assert (caught.value.reason, caught.value.clause) == (vector.reason, vector.clause)
    assert end.state is State.CLOSED
    assert end.heard == []


@pytest.mark.parametrize(
    "vector",
    [
        each
        for each in vectors.BAD
        if each.data[0] >> 4 not in (PacketType.CONNECT, PacketType.CONNACK, PacketType.SUBACK)
    ],
    ids=lambda vector: vector.name,
)
def test_a_bad_vector_after_good_packets_does_not_undo_them(vector: vectors.Bad) -> None:
    server = end_in(Role.SERVER, State.OPEN)
    good = Publish(TOPIC, b"kept", 1, 1)
    assert server.hear(codec.encode(good) + vector.data) == vector.reason
    assert server.heard == [good]


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_the_largest_message_of_the_sdks_is_taken_and_one_byte_more_is_not() -> None:
    topic = b"n" * 65535
    largest = codec.encode_publish(topic, b"x" * 262_144, 1, 1)
    assert len(largest) == MAX_PACKET_BYTES
    server = end_in(Role.SERVER, State.OPEN)
    assert server.hear(largest) == ""
    assert len(server.heard) == 1
    assert server.hear(codec.encode_publish(topic, b"x" * 262_145, 1, 1)[:5]) == "mqtt.too_large"


def test_the_largest_connect_is_taken_and_one_byte_more_is_not() -> None:
    least = len(codec.encode(Connect("c", user_name="u", password=b""))) + 1  # a longer length takes a byte more
    password = b"p" * (MAX_CONNECT_BYTES - least)
    connect = Connect("c", user_name="u", password=password)
    server = End(Role.SERVER)
    assert server.hear(codec.encode(connect)) == ""
    assert server.heard == [connect]
    larger = codec.encode(Connect("c", user_name="u", password=password + b"p"))
    server = End(Role.SERVER)
    assert server.hear(larger[:4]) == "mqtt.too_large"  # before any of it is kept


def test_a_large_packet_in_small_pieces_is_copied_a_few_times_not_once_a_piece() -> None:
    packet = codec.encode_publish(TOPIC, b"x" * 262_144, 1, 1)
    server = end_in(Role.SERVER, State.OPEN)
    tracemalloc.start()
    try:
        for at in range(len(packet) - 1):
            server.connection.receive(packet[at : at + 1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(packet)  # what is kept grows by a fraction, which may have to move once
    assert server.heard == []
    assert server.hear(packet[-1:]) == ""
    assert len(server.heard) == 1


def test_an_idle_connection_keeps_no_buffer() -> None:
    server = end_in(Role.SERVER, State.OPEN)
    packet = codec.encode(Publish(TOPIC, b"x", 1, 1))
    server.connection.receive(packet[:5])
    server.connection.receive(packet[5:])
    assert server.connection._buffer is None
    assert not hasattr(server.connection, "__dict__")


# --- callbacks that end it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 6))
def test_closing_in_a_callback_drops_what_follows(count: int) -> None:
    server = end_in(Role.SERVER, State.OPEN)
    sent: list[Packet] = [
        Publish(TOPIC, b"a", 1, 1),
        PubAck(1),
        Publish(TOPIC, b"b", 0),
        Publish(TOPIC, b"c", 1, 2),
        PingReq(),
    ]
    server.close_after = count
    stream = b"".join(map(codec.encode, sent))
    assert server.hear(stream + stream[:9], stream) == ""
    assert server.heard == sent[:count]
    assert server.state is State.CLOSED
    assert server.connection._buffer is None


def test_an_exception_of_a_callback_closes_and_is_passed_on() -> None:
    def fail(topic: bytes, body: bytes, packet_id: int, flags: int) -> None:
        raise ZeroDivisionError

    heard: list[Packet] = []
    server = Connection(Role.SERVER, on_publish=fail, on_packet=heard.append)
    server.receive(codec.encode(Connect("c")))
    server.send(ConnAck(ReturnCode.ACCEPTED))
    with pytest.raises(ZeroDivisionError):
        server.receive(codec.encode(Publish(TOPIC, b"a", 1, 1)) + codec.encode(PingReq()))
    assert server.state is State.CLOSED
    server.receive(codec.encode(PingReq()))
    assert heard == [Connect("c")]


# --- keep-alive -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [(0, 1767.0), (1, 1.5), (60, 90.0), (230, 345.0), (1177, 1765.5), (1178, 1767.0), (1179, 1767.0), (65535, 1767.0)],
)
def test_mqtt_3_1_2_24_a_client_may_be_silent_for_one_and_a_half_keep_alives_up_to_the_cap(
    asked: int, allowed: float
) -> None:
    assert keep_alive_deadline(asked) == allowed


def test_the_table_names_every_state_and_both_ends() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(set(row) == set(Role) for row in TRANSITIONS.values())


def test_a_will_is_heard_with_its_connect() -> None:
    connect = Connect("pump-01", will=Will(TOPIC, b"gone", qos=1))
    server = End(Role.SERVER)
    assert server.hear(codec.encode(connect)) == ""
    assert server.heard == [connect]

"""A client and a server joined in memory; and every step in every state, legal or not."""

from __future__ import annotations

import pytest

from moorage.errors import LocalProtocolError, RemoteProtocolError
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.connection import TRANSITIONS, Connection, Role, State, Step
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
)
from moorage.protocols.mqtt.topics import parse_topic_filter, parse_topic_name
from tests.protocol.mqtt.helpers import ENDS, End, end_in, shake_hands
from tests.vectors import mqtt as vectors

TOPIC = parse_topic_name("devices/pump-01/messages/events/")
FILTER = parse_topic_filter("devices/pump-01/messages/devicebound/#")

PACKETS: dict[Step, Packet] = {
    Step.CONNECT: Connect("pump-01"),
    Step.ACCEPT: ConnAck(ReturnCode.ACCEPTED),
    Step.REFUSE: ConnAck(ReturnCode.NOT_AUTHORIZED),
    Step.PUBLISH: Publish(TOPIC, b"x", 1, 1),
    Step.PUBACK: PubAck(1),
    Step.PUBREC: PubRec(1),
    Step.PUBREL: PubRel(1),
    Step.PUBCOMP: PubComp(1),
    Step.SUBSCRIBE: Subscribe(1, (Subscription(FILTER, 1),)),
    Step.SUBACK: SubAck(1, (1,)),
    Step.UNSUBSCRIBE: Unsubscribe(1, (FILTER,)),
    Step.UNSUBACK: UnsubAck(1),
    Step.PINGREQ: PingReq(),
    Step.PINGRESP: PingResp(),
    Step.DISCONNECT: Disconnect(),
}


def other(role: Role) -> Role:
    return Role.SERVER if role is Role.CLIENT else Role.CLIENT


# --- every pair -------------------------------------------------------------------------------------------------------


def test_every_step_has_a_packet_here() -> None:
    assert set(PACKETS) == set(Step)


@pytest.mark.parametrize("step", Step, ids=lambda step: step.name)
@pytest.mark.parametrize(("role", "state"), ENDS)
def test_sending_is_legal_exactly_where_the_table_says(role: Role, state: State, step: Step) -> None:
    end = end_in(role, state)
    after = TRANSITIONS[state][role].get(step)
    if after is None:
        with pytest.raises(LocalProtocolError):
            end.connection.send(PACKETS[step])
        assert end.state is state
    else:
        assert end.connection.send(PACKETS[step]) == codec.encode(PACKETS[step])
        assert end.state is after


@pytest.mark.parametrize("step", Step, ids=lambda step: step.name)
@pytest.mark.parametrize(("role", "state"), ENDS)
def test_receiving_is_legal_exactly_where_the_table_says(role: Role, state: State, step: Step) -> None:
    end = end_in(role, state)
    data = codec.encode(PACKETS[step])
    after = TRANSITIONS[state][other(role)].get(step)
    if state in (State.CLOSED, State.EXPECT_REFUSAL):
        assert end.hear(data) == ""  # dropped: the socket is about to go
        assert (end.heard, end.state) == ([], state)
    elif (role, state) == (Role.SERVER, State.EXPECT_CONNACK):
        assert end.hear(data) == ""  # held: see the tests of MQTT-3.1.4-5
        assert (end.heard, end.state) == ([], state)
    elif after is None:
        assert end.hear(data) in ("mqtt.unexpected", "mqtt.connect_first", "mqtt.connect_twice", "mqtt.qos2")
        assert (end.heard, end.state) == ([], State.CLOSED)
    else:
        assert end.hear(data) == ""
        assert (end.heard, end.state) == ([PACKETS[step]], after)


@pytest.mark.parametrize("step", Step, ids=lambda step: step.name)
@pytest.mark.parametrize(("role", "state"), ENDS)
def test_what_is_not_legal_is_refused_by_its_first_byte(role: Role, state: State, step: Step) -> None:
    end = end_in(role, state)
    is_refused = bool(end.hear(codec.encode(PACKETS[step])))
    assert bool(end_in(role, state).hear(codec.encode(PACKETS[step])[:1])) == is_refused


# --- conversations ----------------------------------------------------------------------------------------------------


def test_a_device_connects_subscribes_publishes_pings_and_leaves() -> None:
    client, server = End(Role.CLIENT), End(Role.SERVER)
    shake_hands(client, server)

    def say(speaker: End, listener: End, packet: Packet) -> None:
        listener.connection.receive(speaker.connection.send(packet))
        assert listener.heard.pop() == packet
        assert not listener.heard

    say(client, server, Subscribe(1, (Subscription(FILTER, 1),)))
    say(server, client, SubAck(1, (1,)))
    say(client, server, Publish(TOPIC, b"21.5", 1, 2))
    say(server, client, PubAck(2))
    say(server, client, Publish(parse_topic_name("devices/pump-01/messages/devicebound/%24.to=x"), b"on", 1, 1))
    say(client, server, PubAck(1))
    say(client, server, PingReq())
    say(server, client, PingResp())
    say(client, server, Unsubscribe(3, (FILTER,)))
    say(server, client, UnsubAck(3))
    say(client, server, Disconnect())
    assert client.state is server.state is State.CLOSED


def test_mqtt_3_1_0_1_a_first_packet_that_is_not_connect_is_refused() -> None:
    server = End(Role.SERVER)
    with pytest.raises(RemoteProtocolError, match="0xc0") as caught:
        server.connection.receive(b"\xc0\x00")
    assert (caught.value.reason, caught.value.clause) == ("mqtt.connect_first", "MQTT-3.1.0-1")


def test_mqtt_3_1_0_2_a_second_connect_is_refused() -> None:
    server = end_in(Role.SERVER, State.OPEN)
    with pytest.raises(RemoteProtocolError) as caught:
        server.connection.receive(codec.encode(Connect("pump-01")))
    assert (caught.value.reason, caught.value.clause) == ("mqtt.connect_twice", "MQTT-3.1.0-2")


def test_mqtt_3_1_0_2_a_second_connect_that_came_before_the_connack_is_refused_after_it() -> None:
    server = End(Role.SERVER)
    assert server.hear(codec.encode(Connect("pump-01")) * 2) == ""
    server.connection.send(ConnAck(ReturnCode.ACCEPTED))
    assert server.hear(b"") == "mqtt.connect_twice"


@pytest.mark.parametrize(("name", "data", "level"), vectors.OTHER_VERSIONS)
def test_mqtt_3_1_2_2_another_version_can_be_answered_with_code_1_and_nothing_else(
    name: str, data: bytes, level: int
) -> None:
    server = End(Role.SERVER)
    assert server.hear(data + b"\xc0\x00") == "mqtt.protocol_version"
    assert server.hear(b"\xc0\x00") == ""
    with pytest.raises(LocalProtocolError):
        server.connection.send(ConnAck(ReturnCode.ACCEPTED))
    refusal = server.connection.send(ConnAck(ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION))
    assert refusal == b"\x20\x02\x00\x01"
    assert server.state is State.CLOSED
    assert server.heard == []


def test_mqtt_3_1_4_5_what_came_before_the_connack_is_heard_once_it_is_sent() -> None:
    server = End(Role.SERVER)
    early: list[Packet] = [Connect("pump-01"), Publish(TOPIC, b"early", 1, 1), PingReq()]
    for packet in early:
        assert server.hear(codec.encode(packet)) == ""
    assert server.heard == early[:1]
    assert server.connection.is_holding
    server.connection.send(ConnAck(ReturnCode.ACCEPTED))
    assert not server.connection.is_holding
    assert server.hear(b"") == ""
    assert server.heard == early


def test_mqtt_3_1_4_5_what_came_before_the_connack_is_dropped_when_it_refuses() -> None:
    server = End(Role.SERVER)
    assert server.hear(codec.encode(Connect("pump-01")) + codec.encode(Publish(TOPIC, b"early", 1, 1))) == ""
    server.connection.send(ConnAck(ReturnCode.NOT_AUTHORIZED))
    assert server.hear(b"", codec.encode(PingReq())) == ""
    assert server.heard == [Connect("pump-01")]


def test_mqtt_3_1_4_5_what_a_client_sends_before_the_connack_is_bounded() -> None:
    server = End(Role.SERVER, max_packet_bytes=1000)
    assert server.hear(codec.encode(Connect("pump-01"))) == ""
    assert server.hear(*[b"\xc0\x00"] * 500) == ""
    assert server.hear(b"\xc0") == "mqtt.too_large"
    assert server.state is State.CLOSED


@pytest.mark.parametrize("is_accepted_at_once", [True, False])
def test_after_connect_packets_can_be_delivered_to_somebody_else(is_accepted_at_once: bool) -> None:
    published: list[bytes] = []
    packets: list[Packet] = []
    before: list[Packet] = []

    def hand_over(packet: Packet) -> None:
        before.append(packet)
        server.deliver_to(lambda topic, body, packet_id, flags: published.append(body), packets.append)
        if is_accepted_at_once:
            server.send(ConnAck(ReturnCode.ACCEPTED))

    def published_too_early(topic: bytes, body: bytes, packet_id: int, flags: int) -> None:
        raise AssertionError(body)

    server = Connection(Role.SERVER, on_publish=published_too_early, on_packet=hand_over)
    sent: list[Packet] = [Connect("pump-01"), Publish(TOPIC, b"first", 1, 1), PingReq()]
    server.receive(b"".join(map(codec.encode, sent)))
    if not is_accepted_at_once:
        server.send(ConnAck(ReturnCode.ACCEPTED))
        server.receive(b"")
    assert (before, published, packets) == ([Connect("pump-01")], [b"first"], [PingReq()])


def test_a_client_need_not_wait_for_the_connack() -> None:
    client, server = End(Role.CLIENT), End(Role.SERVER)
    early: list[Packet] = [Connect("pump-01"), Subscribe(1, (Subscription(FILTER, 1),)), Publish(TOPIC, b"x", 1, 2)]
    for packet in early:
        server.connection.receive(client.connection.send(packet))
    client.connection.receive(server.connection.send(ConnAck(ReturnCode.ACCEPTED)))
    server.connection.receive(b"")
    assert server.heard == early
    assert client.state is server.state is State.OPEN


def test_mqtt_3_1_3_8_an_empty_client_id_for_a_kept_session_is_left_to_the_server_to_refuse() -> None:
    client, server = End(Role.CLIENT), End(Role.SERVER)
    server.connection.receive(client.connection.send(Connect("", clean_session=False)))
    assert server.heard == [Connect("", clean_session=False)]
    client.connection.receive(server.connection.send(ConnAck(ReturnCode.IDENTIFIER_REJECTED)))
    assert client.heard == [ConnAck(ReturnCode.IDENTIFIER_REJECTED)]
    assert client.state is server.state is State.CLOSED


def test_mqtt_3_14_4_2_nothing_is_heard_after_disconnect() -> None:
    server = end_in(Role.SERVER, State.OPEN)
    assert server.hear(codec.encode(Disconnect()) + codec.encode(PingReq()), codec.encode(PingReq())) == ""
    assert server.heard == [Disconnect()]
    assert server.state is State.CLOSED


@pytest.mark.parametrize(
    "packet", [Publish(TOPIC, b"x", 2, 1), PubRec(1), PubRel(1), PubComp(1)], ids=lambda packet: packet.kind.name
)
def test_qos_2_ends_the_connection(packet: Packet) -> None:
    server = end_in(Role.SERVER, State.OPEN)
    assert server.hear(codec.encode(packet)) == "mqtt.qos2"
    assert server.state is State.CLOSED


def test_we_do_not_send_qos_2_either() -> None:
    server = end_in(Role.SERVER, State.OPEN)
    with pytest.raises(LocalProtocolError, match="QoS 2"):
        server.connection.send(Publish(TOPIC, b"x", 2, 1))
    with pytest.raises(LocalProtocolError, match="QoS 2"):
        server.connection.encode_publish(TOPIC, b"x", 2, 1)


@pytest.mark.parametrize("state", [State.EXPECT_CONNECT, State.EXPECT_CONNACK, State.CLOSED])
def test_a_server_publishes_and_acknowledges_only_when_open(state: State) -> None:
    server = end_in(Role.SERVER, state)
    with pytest.raises(LocalProtocolError):
        server.connection.encode_pubacks([1])
    with pytest.raises(LocalProtocolError):
        server.connection.encode_publish(TOPIC, b"x", 0)


def test_many_pubacks_reach_the_client_in_their_order() -> None:
    client, server = End(Role.CLIENT), End(Role.SERVER)
    shake_hands(client, server)
    client.connection.receive(server.connection.encode_pubacks([3, 1, 65535]))
    assert client.heard == [PubAck(3), PubAck(1), PubAck(65535)]


def test_a_packet_that_cannot_be_sent_leaves_the_state_as_it_was() -> None:
    client = End(Role.CLIENT)
    with pytest.raises(LocalProtocolError):
        client.connection.send(Connect("\0"))
    assert client.state is State.EXPECT_CONNECT

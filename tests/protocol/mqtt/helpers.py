"""Ends of a connection that write down what they hear, and a decoder that is slow and obvious."""

from __future__ import annotations

from moorage.errors import RemoteProtocolError
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.connection import MAX_CONNECT_BYTES, MAX_PACKET_BYTES, Connection, Role, State
from moorage.protocols.mqtt.packets import ConnAck, Connect, Packet, Publish, ReturnCode
from moorage.protocols.mqtt.topics import TopicName

__all__ = ["ENDS", "End", "decode_one", "end_in", "shake_hands"]

# A client is the one that sends CONNECT, so it never owes a refusal.
ENDS = [(role, state) for role in Role for state in State if (role, state) != (Role.CLIENT, State.EXPECT_REFUSAL)]


class End:
    """One end: what it heard is in `heard`, in order, with publishes made into packets again."""

    def __init__(
        self, role: Role, *, max_packet_bytes: int = MAX_PACKET_BYTES, max_connect_bytes: int = MAX_CONNECT_BYTES
    ) -> None:
        self.heard: list[Packet] = []
        self.close_after: int | None = None
        self.connection = Connection(
            role,
            on_publish=self._on_publish,
            on_packet=self._on_packet,
            max_packet_bytes=max_packet_bytes,
            max_connect_bytes=max_connect_bytes,
        )

    @property
    def state(self) -> State:
        return self.connection.state

    def hear(self, *pieces: bytes) -> str:
        """Receive each piece; the reason of the error that ended it, or nothing."""
        try:
            for piece in pieces:
                self.connection.receive(piece)
        except RemoteProtocolError as error:
            return error.reason
        return ""

    def _on_publish(self, topic: bytes, body: bytes, packet_id: int, flags: int) -> None:
        name = TopicName(topic)
        self._on_packet(Publish(name, body, flags >> 1 & 3, packet_id, bool(flags & 8), bool(flags & 1)))

    def _on_packet(self, packet: Packet) -> None:
        self.heard.append(packet)
        if len(self.heard) == self.close_after:
            self.connection.close()


def shake_hands(client: End, server: End) -> None:
    """CONNECT one way, CONNACK the other; what was heard of it is forgotten."""
    server.connection.receive(client.connection.send(Connect("pump-01")))
    client.connection.receive(server.connection.send(ConnAck(ReturnCode.ACCEPTED)))
    client.heard.clear()
    server.heard.clear()


def end_in(role: Role, state: State) -> End:
    """An end that came to be in `state` by legal steps alone."""
    client, server = End(Role.CLIENT), End(Role.SERVER)
    end = client if role is Role.CLIENT else server
    if state is State.OPEN:
        shake_hands(client, server)
    elif state is State.EXPECT_CONNACK:
        server.connection.receive(client.connection.send(Connect("pump-01")))
    elif state is State.EXPECT_REFUSAL:
        assert server.hear(b"\x10\x07\x00\x04MQTT\x05") == "mqtt.protocol_version"
    elif state is State.CLOSED:
        end.connection.close()
    end.heard.clear()
    assert end.state is state
    return end


def decode_one(data: bytes, max_bytes: int = MAX_PACKET_BYTES) -> tuple[Packet, bytes] | None:
    """The first packet in `data`, by the codec's steps one after the other, and what follows it; None if it is cut."""
    if not data:
        return None
    kind = codec.check_first_byte(data[0])
    header = codec.parse_size(data, 1)
    if header is None:
        return None
    size, start = header
    codec.check_size(kind, size, max_bytes)
    if len(data) < start + size:
        return None
    return codec.decode(kind, data[0] & 0x0F, data[start : start + size]), data[start + size :]

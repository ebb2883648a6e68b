"""One MQTT connection, seen from either end, without a socket.

Feed it what arrived with `receive(data)`. It calls `on_publish` for every PUBLISH and `on_packet` for every other
packet, in the order of arrival and before it returns. Hand it packets with `send(packet)` and write the bytes it gives.

What is legal lives in TRANSITIONS and nowhere else. The table does not know which end we are: it says which packets the
client and the server may send, and both ends walk through it together. `Connection` knows its role, so that what the
peer may not send is the peer's fault (`RemoteProtocolError`) and what we may not send is ours (`LocalProtocolError`).

    EXPECT_CONNECT ──CONNECT──> EXPECT_CONNACK ──CONNACK 0──> OPEN ──DISCONNECT──> CLOSED
          │                         └──CONNACK 1..5──> CLOSED
          └─CONNECT of another version─> EXPECT_REFUSAL ──CONNACK 1..5──> CLOSED

A client may go on sending before it has the CONNACK, but a server that ends up refusing must not have acted on any of
it [MQTT-3.1.4-5]. So while a server owes the CONNACK, what arrives is held, unread. Sending the CONNACK from within
`on_packet` goes on at once; sending it later, call `receive(b"")` afterwards.

`close()` may be called from within a callback: what follows in the buffer is dropped. An exception, ours or a
callback's, closes too. After DISCONNECT nothing more is read [MQTT-3.14.4-2].

Telemetry is why `on_publish` takes plain arguments. `receive` takes apart the common shape (QoS 1 sent once, under
16 KiB, an ASCII topic) inline and leaves all else, errors included, to `codec`. The tests hold the two to agree.

QoS 2 is not served, and ends the connection as it does at the service (contract devices 2.4).
Not here: authentication, sessions, keep-alive timers, and which topics mean something.

Reasons that leave here as `RemoteProtocolError`, besides those of `codec`:

    mqtt.connect_first      the first packet was not CONNECT
    mqtt.connect_twice      a second CONNECT
    mqtt.unexpected         a packet that this peer may not send now
    mqtt.qos2               a PUBLISH of QoS 2, or one of the packets that go with it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from moorage.errors import LocalProtocolError, RemoteProtocolError
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.packets import ConnAck, Packet, PacketType, Publish, ReturnCode

__all__ = [
    "CONNECT_PATIENCE_S",
    "KEEP_ALIVE_CAP_S",
    "MAX_CONNECT_BYTES",
    "MAX_PACKET_BYTES",
    "TRANSITIONS",
    "Connection",
    "Role",
    "State",
    "Step",
    "keep_alive_deadline",
]

# The largest telemetry message that an SDK sends: 262144 bytes of payload and, from the C# SDK, a topic of up to 65535
# bytes (contract devices 2.4). Two lengths of two bytes, one byte of type and three of remaining length around them.
MAX_PACKET_BYTES = 262_144 + 65_535 + 2 + 2 + 1 + 3

# The largest CONNECT, which is buffered for a peer that nobody knows yet. Host, ids, product string and model id make a
# user name of at most a few KiB, a SAS token is under 1 KiB; the rest is for a Will.
MAX_CONNECT_BYTES = 16 * 1024

# How long a client may stay silent before it is given up, however long it asked for; and how long it may take to send
# CONNECT (contract devices 2.1).
KEEP_ALIVE_CAP_S = 1767.0
CONNECT_PATIENCE_S = 60.0


def keep_alive_deadline(keep_alive_s: int) -> float:
    """Seconds without any packet after which a client that asked for `keep_alive_s` is gone [MQTT-3.1.2-24].

    One and a half times what it asked for, but never over the cap. 0 would switch keep-alive off by the standard; the
    service gives it the cap, and so do we.
    """
    return min(keep_alive_s * 1.5, KEEP_ALIVE_CAP_S) if keep_alive_s else KEEP_ALIVE_CAP_S


class _Member(Enum):
    # Members are compared by identity and looked up for every packet; Enum's own hash is Python code over the name.
    __hash__ = object.__hash__


class Role(_Member):
    CLIENT = "client"
    SERVER = "server"


class State(_Member):
    EXPECT_CONNECT = "expect-connect"
    EXPECT_CONNACK = "expect-connack"
    EXPECT_REFUSAL = "expect-refusal"
    OPEN = "open"
    CLOSED = "closed"


class Step(_Member):
    """What one end can do: send a packet of that type. CONNACK is two, for it leads to two places."""

    CONNECT = "CONNECT"
    ACCEPT = "CONNACK with return code 0"
    REFUSE = "CONNACK with return code 1 to 5"
    PUBLISH = "PUBLISH"
    PUBACK = "PUBACK"
    PUBREC = "PUBREC"
    PUBREL = "PUBREL"
    PUBCOMP = "PUBCOMP"
    SUBSCRIBE = "SUBSCRIBE"
    SUBACK = "SUBACK"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    UNSUBACK = "UNSUBACK"
    PINGREQ = "PINGREQ"
    PINGRESP = "PINGRESP"
    DISCONNECT = "DISCONNECT"


_FROM_CLIENT = (Step.PUBLISH, Step.PUBACK, Step.SUBSCRIBE, Step.UNSUBSCRIBE, Step.PINGREQ)
_FROM_SERVER = (Step.PUBLISH, Step.PUBACK, Step.SUBACK, Step.UNSUBACK, Step.PINGRESP)

# State, who sends, what they send: the state after it. What is not here is not legal. PUBREC, PUBREL and PUBCOMP are
# nowhere, for they belong to QoS 2.
TRANSITIONS: Mapping[State, Mapping[Role, Mapping[Step, State]]] = {
    State.EXPECT_CONNECT: {
        Role.CLIENT: {Step.CONNECT: State.EXPECT_CONNACK},  # [MQTT-3.1.0-1]
        Role.SERVER: {},  # [MQTT-3.2.0-1]: its first packet is CONNACK, and answers CONNECT
    },
    State.EXPECT_CONNACK: {
        Role.CLIENT: {
            **dict.fromkeys(_FROM_CLIENT, State.EXPECT_CONNACK),  # need not wait for CONNACK (3.1.4)
            Step.DISCONNECT: State.CLOSED,
        },
        Role.SERVER: {Step.ACCEPT: State.OPEN, Step.REFUSE: State.CLOSED},  # [MQTT-3.2.2-5]
    },
    State.EXPECT_REFUSAL: {
        Role.CLIENT: {},
        Role.SERVER: {Step.REFUSE: State.CLOSED},  # [MQTT-3.1.2-2]
    },
    State.OPEN: {
        Role.CLIENT: {**dict.fromkeys(_FROM_CLIENT, State.OPEN), Step.DISCONNECT: State.CLOSED},
        Role.SERVER: dict.fromkeys(_FROM_SERVER, State.OPEN),
    },
    State.CLOSED: {
        Role.CLIENT: {},  # [MQTT-3.14.4-2]
        Role.SERVER: {},
    },
}

# What a packet of each type can be in the table.
_STEPS: Mapping[PacketType, tuple[Step, ...]] = {
    kind: (Step.ACCEPT, Step.REFUSE) if kind is PacketType.CONNACK else (Step[kind.name],) for kind in PacketType
}
_QOS_2_ONLY = (PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP)

# Where whatever arrives is dropped.
_DEAF = (State.CLOSED, State.EXPECT_REFUSAL)


class Connection:
    """One end of a connection. `state` is to be read; only `receive`, `send` and `close` change it.

    Args:
        role: which end we are.
        on_publish: called as (topic, payload, packet id or 0, flags) for each PUBLISH; flags are the low nibble of the
            first byte: DUP 8, QoS 6, RETAIN 1. The topic is UTF-8, not empty, without U+0000 and wildcards.
        on_packet: called with each other packet.
        max_packet_bytes: the largest packet to take, header and all.
        max_connect_bytes: the same for CONNECT.
    """

    __slots__ = (
        "_buffer",
        "_max_connect_bytes",
        "_max_packet_bytes",
        "_needed",
        "_on_packet",
        "_on_publish",
        "_role",
        "state",
    )

    def __init__(
        self,
        role: Role,
        *,
        on_publish: Callable[[bytes, bytes, int, int], None],
        on_packet: Callable[[Packet], None],
        max_packet_bytes: int = MAX_PACKET_BYTES,
        max_connect_bytes: int = MAX_CONNECT_BYTES,
    ) -> None:
        self.state = State.EXPECT_CONNECT
        self._role = role
        self._on_publish = on_publish
        self._on_packet = on_packet
        self._max_packet_bytes = max_packet_bytes
        self._max_connect_bytes = max_connect_bytes
        # The beginning of a packet, or what is held; None most of the time. `_needed` is how long it has to become
        # before looking at it again is worth while, so that a packet in a thousand pieces is not read a thousand times.
        self._buffer: bytearray | None = None
        self._needed = 0

    @property
    def is_holding(self) -> bool:
        """A server that owes the CONNACK. Stop reading meanwhile: what is held may not outgrow `max_packet_bytes`."""
        return self._role is Role.SERVER and self.state is State.EXPECT_CONNACK

    def deliver_to(
        self, on_publish: Callable[[bytes, bytes, int, int], None], on_packet: Callable[[Packet], None]
    ) -> None:
        """Call these from the next packet on: whoever read CONNECT hands over to the peer it accepted.

        Legal within `on_packet` and between two `receive`s, not within `on_publish`.
        """
        self._on_publish = on_publish
        self._on_packet = on_packet

    def close(self) -> None:
        """Neither read nor send any more. May be called at any time, also from a callback, and twice."""
        self.state = State.CLOSED
        self._buffer = None

    # --- arriving -----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take what arrived and call back for each packet that is complete.

        Raises:
            RemoteProtocolError: the peer broke the protocol; we are closed. `UnsupportedVersion` is the one exception:
                a CONNACK with a refusing code may be sent first.
        """
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer = None
        try:
            at = self._read(data)
        except codec.UnsupportedVersion:
            self.state = State.EXPECT_REFUSAL
            raise
        except BaseException:
            self.close()
            raise
        if at < len(data) and self.state not in _DEAF:
            self._buffer = bytearray(data[at:] if at else data)

    def _read(self, data: bytes) -> int:
        """Call back for the packets in `data`; where the first one begins that was not read."""
        # The first branch is paid for each telemetry message: see bench/codec.py before changing it. It takes what is
        # common and surely right; `_read_any` takes the rest, and tells what is wrong.
        on_publish = self._on_publish
        opened = State.OPEN
        is_open = self.state is opened
        at, end = 0, len(data)
        while at < end:
            if data[at] == 0x32 and is_open and end - at > 8:
                start = at + 2
                size = data[at + 1]
                if size > 127:
                    # The second byte of the remaining length. Where there is a third, this comes out over 16383.
                    size += (data[start] << 7) - 128
                    start += 1
                stop = start + size
                topic_at = start + 2
                id_at = topic_at + data[start] * 256 + data[start + 1]
                if stop <= end and id_at + 2 <= stop and size < 16384:
                    topic = data[topic_at:id_at]
                    packet_id = data[id_at] * 256 + data[id_at + 1]
                    # Looking for a number in bytes costs a tenth of looking for bytes in bytes.
                    if (
                        packet_id  # [MQTT-2.3.1-1]
                        and topic  # [MQTT-4.7.3-1]
                        and topic.isascii()  # [MQTT-1.5.3-1]
                        and 0x00 not in topic  # [MQTT-1.5.3-2]
                        and 0x23 not in topic  # "#" [MQTT-3.3.2-2]
                        and 0x2B not in topic  # "+"
                    ):
                        on_publish(topic, data[id_at + 2 : stop], packet_id, 2)
                        at = stop
                        if self.state is not opened:
                            break
                        continue
            after = self._read_any(data, at)
            if after is None:
                break
            at = after
            is_open = self.state is opened
            on_publish = self._on_publish  # `deliver_to` may have been called
        return at

    def _read_any(self, data: bytes, at: int) -> int | None:
        """Call back for the packet that begins at `at`; where the next one begins, or None to stop reading."""
        state = self.state
        if state in _DEAF:
            return None
        if self.is_holding:
            if len(data) - at > self._max_packet_bytes:
                raise RemoteProtocolError(
                    "mqtt.too_large", f"the client sent over {self._max_packet_bytes} bytes before it had its CONNACK"
                )
            self._needed = self._max_packet_bytes + 1
            return None
        first = data[at]
        peer = Role.CLIENT if self._role is Role.SERVER else Role.SERVER
        if state is State.EXPECT_CONNECT and peer is Role.CLIENT and first >> 4 != PacketType.CONNECT:
            raise RemoteProtocolError(
                "mqtt.connect_first",
                f"the first packet has to be CONNECT (byte 0x10), this begins with byte {first:#04x}",
                clause="MQTT-3.1.0-1",
            )
        kind = codec.check_first_byte(first)
        self._check_expected(peer, kind, first)
        header = codec.parse_size(data, at + 1)
        if header is None:
            self._needed = len(data) - at + 1
            return None
        size, start = header
        max_bytes = self._max_connect_bytes if kind is PacketType.CONNECT else self._max_packet_bytes
        codec.check_size(kind, size, max_bytes)
        stop = start + size
        if stop > len(data):
            self._needed = stop - at
            return None
        flags, body = first & 0x0F, data[start:stop]
        if kind is PacketType.PUBLISH:
            topic, payload, packet_id = codec.decode_publish(flags, body)
            self._on_publish(topic, payload, packet_id, flags)
        else:
            packet = codec.decode(kind, flags, body)
            self.state = TRANSITIONS[state][peer][_step(packet)]
            self._on_packet(packet)
        return stop

    def _check_expected(self, peer: Role, kind: PacketType, first: int) -> None:
        """Refuse, by the first byte, a packet that the peer may not send now."""
        if kind in _QOS_2_ONLY or (kind is PacketType.PUBLISH and first & 0x06 == 0x04):
            raise RemoteProtocolError("mqtt.qos2", f"{kind.name} belongs to QoS 2, which is not served: use QoS 1")
        legal = TRANSITIONS[self.state][peer]
        for step in _STEPS[kind]:
            if step in legal:
                return
        if kind is PacketType.CONNECT and peer is Role.CLIENT:
            raise RemoteProtocolError("mqtt.connect_twice", "a second CONNECT on one connection", clause="MQTT-3.1.0-2")
        raise RemoteProtocolError(
            "mqtt.unexpected", f"{kind.name} from the {peer.value}, which may not send it in state {self.state.value}"
        )

    # --- leaving ------------------------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> bytes:
        """The bytes to write. Sending DISCONNECT, or a CONNACK that refuses, closes.

        Raises:
            LocalProtocolError: we may not send this now, or not at all.
        """
        after = self._check_may_send(_step(packet))
        if isinstance(packet, Publish) and packet.qos == 2:
            raise LocalProtocolError("PUBLISH cannot be sent with QoS 2, which is not served")
        data = codec.encode(packet)
        if after is State.CLOSED:
            self.close()
        elif after is not self.state:
            self.state = after
            self._needed = 0  # what was held may be read now
        return data

    def encode_pubacks(self, packet_ids: Sequence[int]) -> bytes:
        """PUBACKs for received packets, in this order [MQTT-4.6.0-2], as one piece to write."""
        self._check_may_send(Step.PUBACK)
        return codec.encode_pubacks(packet_ids)

    def encode_publish(
        self, topic: bytes, body: bytes, qos: int, packet_id: int = 0, *, dup: bool = False, retain: bool = False
    ) -> bytes:
        """A PUBLISH of QoS 0 or 1 as bytes, without an object for it. `packet_id` is 0 exactly when `qos` is 0."""
        self._check_may_send(Step.PUBLISH)
        if qos == 2:
            raise LocalProtocolError("PUBLISH cannot be sent with QoS 2, which is not served")
        return codec.encode_publish(topic, body, qos, packet_id, dup=dup, retain=retain)

    def _check_may_send(self, step: Step) -> State:
        after = TRANSITIONS[self.state][self._role].get(step)
        if after is None:
            raise LocalProtocolError(f"the {self._role.value} may not send {step.value} in state {self.state.value}")
        return after


def _step(packet: Packet) -> Step:
    if isinstance(packet, ConnAck):
        return Step.ACCEPT if packet.return_code is ReturnCode.ACCEPTED else Step.REFUSE
    return _STEPS[packet.kind][0]

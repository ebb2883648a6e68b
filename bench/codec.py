"""How long the MQTT codec takes a message, without sockets: `python bench/codec.py`, a few seconds.

Prints the best of several rounds, in microseconds of process time per message, for buffers shaped like those of devices
with one and with twenty messages in flight.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import process_time

from moorage.protocols.mqtt.connection import Connection, Role
from moorage.protocols.mqtt.packets import ConnAck, Connect, Packet, PubAck, ReturnCode, Subscribe, Subscription
from moorage.protocols.mqtt.topics import TopicFilter

BODY = b"x" * 100
ROUNDS = 7


def take_publish(topic: bytes, body: bytes, packet_id: int, flags: int) -> None:
    """What a callback costs at least."""


def take_packet(packet: Packet) -> None:
    """The same, for other packets."""


def open_connection() -> tuple[Connection, Connection]:
    """A client and a server that have shaken hands."""
    client = Connection(Role.CLIENT, on_publish=take_publish, on_packet=take_packet)
    server = Connection(Role.SERVER, on_publish=take_publish, on_packet=take_packet)
    server.receive(client.send(Connect("pump-01", user_name="hub.example/pump-01/?api-version=2021-04-12")))
    client.receive(server.send(ConnAck(ReturnCode.ACCEPTED)))
    return client, server


def measure(name: str, messages: int, work: Callable[[], object]) -> float:
    """Print and return the best round's microseconds a message; `work` handles `messages` of them."""
    repeat = max(1, 40_000 // messages)
    best = float("inf")
    for _ in range(ROUNDS):
        began = process_time()
        for _ in range(repeat):
            work()
        best = min(best, process_time() - began)
    cost = best / (repeat * messages) * 1e6
    print(f"{name:<58} {cost:8.3f} µs a message")
    return cost


def main() -> int:
    """Exit code 1 when the buffer of twenty costs more than its limit, given as the only argument (µs a message)."""
    client, server = open_connection()
    plain = b"devices/pump-01/messages/events/%24.mid=0123456789&%24.ct=application%2Fjson"
    topics = [b"devices/pump-01/messages/events/%24.mid=" + str(each).encode() for each in range(1, 21)]
    same = [client.encode_publish(plain, BODY, 1, each) for each in range(1, 21)]
    varied = [client.encode_publish(topic, BODY, 1, each) for each, topic in enumerate(topics, 1)]
    many_topics, one_topic = b"".join(varied), b"".join(same)
    twenty = measure("decode 20 x QoS 1, 100 bytes, topics differ", 20, lambda: server.receive(many_topics))
    measure("decode 20 x QoS 1, 100 bytes, one topic", 20, lambda: server.receive(one_topic))
    measure("decode 1 x QoS 1, 100 bytes", 1, lambda: server.receive(varied[0]))
    dup = client.encode_publish(plain, BODY, 1, 7, dup=True)
    measure("decode 1 x QoS 1 with DUP (the careful path)", 1, lambda: server.receive(dup))
    halves = varied[0][:70], varied[0][70:]

    def receive_all(pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            server.receive(piece)

    measure("decode 1 x QoS 1 in two pieces", 1, lambda: receive_all(halves))
    large = client.encode_publish(plain, b"x" * 262_144, 1, 7)
    pieces = [large[at : at + 4096] for at in range(0, len(large), 4096)]
    measure("decode 1 x 256 KiB in 65 pieces", 1, lambda: receive_all(pieces))
    puback = client.send(PubAck(7))
    measure("decode 1 x PUBACK", 1, lambda: server.receive(puback))
    filters = (Subscription(TopicFilter(b"$iothub/methods/POST/#"), 1),)
    subscribe = client.send(Subscribe(7, filters))
    measure("decode 1 x SUBSCRIBE", 1, lambda: server.receive(subscribe))
    ids = list(range(1, 21))
    measure("encode 20 PUBACKs in one piece", 20, lambda: server.encode_pubacks(ids))
    measure("encode 1 PUBACK", 1, lambda: server.encode_pubacks(ids[:1]))
    measure("encode 1 PUBLISH", 1, lambda: server.encode_publish(plain, BODY, 1, 7))
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else None
    if limit is not None and twenty > limit:
        print(f"over the limit of {limit} µs a message")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

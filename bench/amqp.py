"""What a telemetry message over AMQP costs in Python, from bytes to the handler and back to bytes.

Run it as `python bench/amqp.py`. Figures are the best of several rounds, in microseconds per message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from moorage.protocols.amqp.connection import Connection
from moorage.protocols.amqp.framing import AMQP_HEADER
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    Accepted,
    Attach,
    Begin,
    DeliveryState,
    Disposition,
    Error,
    Flow,
    Open,
    Performative,
    Source,
    Target,
    Transfer,
    encode,
)
from moorage.protocols.amqp.transfers import frame

MESSAGES = 1000
ROUNDS = 30

TELEMETRY = Message(
    properties=Properties(
        message_id="6f1d6a35", to="/devices/pump/messages/events", content_type="application/json", user_id=b"hub"
    ),
    application_properties={"line": "7", "alarm": "false"},
    data=b'{"temperature": 21.5, "pressure": 1013.2}',
).encode()


class Taker:
    """Takes every message, and accepts them all at the end of a turn, as a hub does once they are on disk."""

    def __init__(self) -> None:
        self.connection = Connection(self, container_id="hub", now=0.0)
        self.taken: list[Delivery] = []
        self.read: Callable[[Message], object] | None = None
        self.link: Link | None = None

    def opened(self, opened: Open) -> None: ...

    def attached(self, link: Link) -> None:
        self.connection.accept(link, credit=2 * MESSAGES)
        self.link = link

    def delivered(self, link: Link, delivery: Delivery) -> None:
        self.taken.append(delivery)
        if self.read is not None:
            self.read(delivery.message)

    def credited(self, link: Link) -> None: ...

    def drain_requested(self, link: Link) -> None: ...

    def settled(self, link: Link, sent: Sent, state: DeliveryState | None) -> None: ...

    def detached(self, link: Link, error: Error | None, *, closed: bool) -> None: ...

    def closed(self, error: Error | None) -> None: ...


def _connected(role: bool) -> Taker:
    taker = Taker()
    taker.connection.receive(AMQP_HEADER, 0.0)
    frames: list[Performative] = [
        Open("bench"),
        Begin(None, 0, 0x7FFFFFFF, 2048),
        Attach("link", 0, role, source=Source("a"), target=Target("b"), initial_delivery_count=0),
    ]
    if role is RECEIVER:
        frames.append(Flow(0, 0x7FFFFFFF, 0, 2048, 0, 0, 0x7FFFFFFF))
    for performative in frames:
        taker.connection.receive(frame(0, encode(performative)), 0.0)
    taker.connection.take()
    return taker


def _pieces(make: Callable[[int], Performative], payload: bytes = b"") -> list[bytes]:
    """What a socket gives at a time: 50 frames."""
    frames = [frame(0, encode(make(number)) + payload) for number in range(MESSAGES)]
    return [b"".join(frames[at : at + 50]) for at in range(0, MESSAGES, 50)]


def _receive(settled: bool, read: Callable[[Message], object] | None, *, together: bool = True) -> float:
    pieces = _pieces(lambda number: Transfer(0, number, b"%04d" % number, 0, settled, False), TELEMETRY)
    best = 1e9
    for _ in range(ROUNDS):
        taker = _connected(SENDER)
        taker.read = read
        started = time.perf_counter()
        for piece in pieces:
            taker.connection.receive(piece, 0.0)
            if together:
                taker.connection.accept_all(taker.taken)
            else:
                for delivery in taker.taken:
                    taker.connection.settle(delivery, Accepted())
            taker.taken.clear()
            taker.connection.take()
        best = min(best, time.perf_counter() - started)
    return best / MESSAGES * 1e6


def _send() -> float:
    pieces = _pieces(lambda number: Disposition(RECEIVER, number, number, True, Accepted()))
    best = 1e9
    for _ in range(ROUNDS):
        taker = _connected(RECEIVER)
        link = taker.link
        assert link is not None
        started = time.perf_counter()
        for piece in pieces:
            for number in range(50):
                taker.connection.send(link, TELEMETRY, tag=b"%016d" % number)
            taker.connection.take()
            taker.connection.receive(piece, 0.0)
        best = min(best, time.perf_counter() - started)
    return best / MESSAGES * 1e6


def _body(message: Message) -> object:
    return message.body


def _all(message: Message) -> object:
    return message.properties, message.application_properties, message.message_annotations, message.body


def measure() -> Mapping[str, float]:
    """Microseconds per message."""
    return {
        "taken, settled by the sender": _receive(True, None),
        "taken, accepted 50 at a time": _receive(False, None),
        "taken, accepted one by one": _receive(False, None, together=False),
        "taken, sections found, body read": _receive(False, _body),
        "taken, all that a device sets read": _receive(False, _all),
        "sent, and its outcome heard": _send(),
    }


if __name__ == "__main__":
    for name, microseconds in measure().items():
        print(f"{name:40} {microseconds:6.2f} us")

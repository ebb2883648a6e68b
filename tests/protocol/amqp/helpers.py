"""The other end of a connection, in memory: says what it is told to, and keeps what it hears."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moorage.protocols.amqp.connection import DEFAULT_LIMITS, Connection, Limits
from moorage.protocols.amqp.errors import PeerError
from moorage.protocols.amqp.framing import AMQP_HEADER
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    DeliveryState,
    Error,
    Flow,
    Open,
    Performative,
    Source,
    Target,
    Transfer,
    decode,
    encode,
)
from moorage.protocols.amqp.sasl import Authenticator
from moorage.protocols.amqp.transfers import frame


@dataclass
class Recorder:
    """A handler that accepts every link and keeps what it is told, in order."""

    credit: int = 100
    events: list[tuple[Any, ...]] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    outcomes: list[tuple[Sent, DeliveryState | None]] = field(default_factory=list)
    # Names of links whose attach is not answered.
    hesitant: set[str] = field(default_factory=set)
    connection: Connection | None = None

    def _connection(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def opened(self, opened: Open) -> None:
        self.events.append(("opened", opened.container_id))

    def attached(self, link: Link) -> None:
        self.events.append(("attached", link.name))
        self.links[link.name] = link
        if link.name not in self.hesitant:
            self._connection().accept(link, credit=self.credit)

    def delivered(self, link: Link, delivery: Delivery) -> None:
        self.events.append(("delivered", link.name, delivery.id))
        self.deliveries.append(delivery)

    def credited(self, link: Link) -> None:
        self.events.append(("credited", link.name, link.sendable))

    def drain_requested(self, link: Link) -> None:
        self.events.append(("drain", link.name, link.credit))

    def settled(self, link: Link, sent: Sent, state: DeliveryState | None) -> None:
        self.events.append(("settled", link.name, sent.id))
        self.outcomes.append((sent, state))

    def detached(self, link: Link, error: Error | None, *, closed: bool) -> None:
        self.events.append(("detached", link.name, None if error is None else error.condition, closed))

    def closed(self, error: Error | None) -> None:
        self.events.append(("closed", None if error is None else error.condition))


class Peer:
    """A client and the server it speaks with."""

    def __init__(
        self,
        handler: Recorder | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        authenticator: Authenticator | None = None,
        needs_sasl: bool = False,
    ) -> None:
        self.now = 1000.0
        self.handler = handler or Recorder()
        self.server = Connection(
            self.handler,
            container_id="hub",
            now=self.now,
            limits=limits,
            authenticator=authenticator,
            needs_sasl=needs_sasl,
        )
        self.handler.connection = self.server
        self.next_id = 0

    def say(self, *performatives: Performative, channel: int = 0, payload: bytes = b"") -> None:
        for performative in performatives:
            self.server.receive(frame(channel, encode(performative) + payload), self.now)

    def hear(self) -> list[tuple[int, Any, bytes]]:
        """Channel, performative and payload of each frame since the last call."""
        return parse_frames(self.server.take())

    def heard(self) -> list[Any]:
        return [performative for _, performative, _ in self.hear()]

    def open(self, **values: Any) -> Peer:
        self.server.receive(AMQP_HEADER, self.now)
        self.say(Open("client", **values))
        self.say(Begin(None, 0, 2048, 2048))
        self.hear()
        return self

    def attach_sender(self, name: str = "up", handle: int = 0, channel: int = 0, **values: Any) -> Link:
        """We send to the hub."""
        values = {"source": Source("here"), "target": Target("there"), **values}
        self.say(Attach(name, handle, SENDER, initial_delivery_count=0, **values), channel=channel)
        self.hear()
        return self.handler.links[name]

    def attach_receiver(
        self, name: str = "down", handle: int = 1, channel: int = 0, credit: int = 10, **values: Any
    ) -> Link:
        """The hub sends to us."""
        values = {"source": Source("there"), "target": Target("here"), **values}
        self.say(Attach(name, handle, RECEIVER, **values), channel=channel)
        if credit:
            self.say(Flow(0, 2048, 0, 2048, handle, 0, credit), channel=channel)
        self.hear()
        return self.handler.links[name]

    def transfer(self, payload: bytes = b"\x00\x53\x75\xa0\x02hi", handle: int = 0, **values: Any) -> int:
        id = self.next_id
        self.next_id += 1
        values = {"delivery_id": id, "delivery_tag": b"t%d" % id, "message_format": 0, **values}
        self.say(Transfer(handle, **values), payload=payload)
        return id


def parse_frames(data: bytes) -> list[tuple[int, Any, bytes]]:
    """The frames behind the headers that `data` may begin with."""
    while data[:4] == b"AMQP":
        data = data[8:]
    frames = []
    while data:
        size = int.from_bytes(data[:4], "big")
        assert 8 <= size <= len(data)
        assert data[4] == 2
        body = data[8:size]
        if body:
            performative, at = decode(body)
            frames.append((int.from_bytes(data[6:8], "big"), performative, body[at:]))
        data = data[size:]
    return frames


def broken_by(peer: Peer, *performatives: Performative, **values: Any) -> tuple[PeerError, Any]:
    """What the server raises when this is said, and the last thing that it says."""
    try:
        peer.say(*performatives, **values)
    except PeerError as wrong:
        return wrong, peer.heard()[-1]
    raise AssertionError("nothing was wrong")

"""Sessions, links and deliveries, as a handler sees them. Only `Connection` changes what is not called `context`."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any

from moorage.protocols.amqp.message import Message
from moorage.protocols.amqp.performatives import (
    SETTLE_FIRST,
    SETTLE_MIXED,
    Attach,
    Begin,
    DeliveryState,
    Source,
    Target,
)
from moorage.protocols.amqp.unsettled import Unsettled

__all__ = ["Delivery", "Link", "LinkState", "Sent", "Session"]


class LinkState(Enum):
    ATTACHING = "attaching"  # the peer waits for our attach: `accept` or `refuse`
    ATTACHED = "attached"
    DETACHING = "detaching"  # we sent detach, the peer has not
    DETACHED = "detached"


class Link:
    """One link, from our end.

    Attributes:
        session: the session it is in.
        attach: what the peer sent: name, source, target, properties, settle modes, max-message-size, capabilities.
        is_receiver: we receive on it, the peer sends.
        max_message_bytes: the largest message that we take on it.
        source, target: the peer's; replaced by what `accept` is given.
        state: see `LinkState`.
        credit: how many more messages may be sent on it now, by whoever sends.
        drain: we send, and the peer wants its credit used up: see `Handler.drain_requested`.
        context: for the handler.
    """

    __slots__ = (
        "attach",
        "context",
        "credit",
        "delivery_count",
        "drain",
        "is_receiver",
        "max_message_bytes",
        "partial",
        "payload",
        "session",
        "snd_settle_mode",
        "source",
        "state",
        "target",
        "unsettled",
        "window",
    )

    def __init__(self, session: Session, attach: Attach, *, max_message_bytes: int) -> None:
        self.session = session
        self.attach = attach
        self.is_receiver = not attach.role
        self.source: Source | None = attach.source
        self.target: Target | None = attach.target
        self.state = LinkState.ATTACHING
        self.credit = 0
        self.drain = False
        self.context: Any = None
        self.delivery_count = (attach.initial_delivery_count or 0) if self.is_receiver else 0
        self.max_message_bytes = max_message_bytes
        self.snd_settle_mode = SETTLE_MIXED if attach.snd_settle_mode is None else attach.snd_settle_mode
        # Deliveries without an outcome; the session has them.
        self.unsettled = 0
        # We receive: credit and unsettled deliveries together are refilled to this.
        self.window = 0
        # We receive: the delivery of which not all transfers have arrived, and its payload so far.
        self.partial: Delivery | None = None
        self.payload = bytearray()

    @property
    def name(self) -> str:
        return self.attach.name

    @property
    def handle(self) -> int:
        """The number of the link in its session, the same in both directions."""
        return self.attach.handle

    @property
    def rcv_settle_mode(self) -> int:
        """Where we send: whether the peer settles first, or second, after us (devices.md 4.4)."""
        mode = self.attach.rcv_settle_mode
        return SETTLE_FIRST if mode is None or self.is_receiver else mode

    @property
    def sendable(self) -> int:
        """How many messages `Connection.send` takes on this link now."""
        session = self.session
        if self.is_receiver or self.state is not LinkState.ATTACHED or session.queue or session.remote_window <= 0:
            return 0
        return max(0, min(self.credit, session.max_unsettled - len(session.sent)))

    def __repr__(self) -> str:
        return f"Link({self.name!r}, {'receiver' if self.is_receiver else 'sender'}, {self.state.value})"


class Delivery:
    """A delivery that arrived, whole.

    Attributes:
        link: where.
        id: its number in the session.
        tag: its name at the sender, any bytes.
        format: 0, or `message.BATCHED`.
        payload: the encoded message.
        settled: the sender does not wait for an outcome; or we gave it one.
    """

    __slots__ = ("format", "id", "link", "payload", "settled", "tag")

    def __init__(self, link: Link, id: int, tag: bytes, format: int, settled: bool, payload: bytes) -> None:
        self.link = link
        self.id = id
        self.tag = tag
        self.format = format
        self.settled = settled
        self.payload = payload

    @property
    def message(self) -> Message:
        """The message, decoded anew each time.

        Raises:
            PeerError: `amqp.decode`. Let it out of a callback, and the connection is closed.
        """
        return Message.decode(self.payload)


class Sent:
    """A delivery that we sent.

    Attributes:
        link: where.
        id: its number in the session.
        tag: what it was sent with.
        settled: the peer has forgotten it; there is nothing left to do.
        state: the outcome that the peer gave it, or None.
        context: for the handler.
    """

    __slots__ = ("context", "id", "link", "settled", "state", "tag")

    def __init__(self, link: Link, id: int, tag: bytes, settled: bool, context: Any) -> None:
        self.link = link
        self.id = id
        self.tag = tag
        self.settled = settled
        self.state: DeliveryState | None = None
        self.context = context


class Session:
    """A session, which the peer began.

    Attributes:
        channel: its number, the same in both directions.
        links: the links in it by handle.
        context: for the handler.
    """

    __slots__ = (
        "channel",
        "context",
        "incoming",
        "incoming_window",
        "is_ending",
        "links",
        "max_unsettled",
        "names",
        "next_delivery_id",
        "next_incoming_id",
        "next_outgoing_id",
        "queue",
        "remote_window",
        "sent",
    )

    def __init__(self, channel: int, begin: Begin, *, incoming_window: int, max_unsettled: int) -> None:
        self.channel = channel
        self.links: dict[int, Link] = {}
        # Names of links and the peer's role in them: a name may be there once for each role (2.6.1).
        self.names: dict[tuple[str, bool], Link] = {}
        self.context: Any = None
        # We sent end, the peer has not.
        self.is_ending = False
        # Transfers, in both directions: their numbers, and how many may still be sent.
        self.next_incoming_id = begin.next_outgoing_id
        self.incoming_window = incoming_window
        self.next_outgoing_id = 0
        self.remote_window = begin.incoming_window
        # Deliveries without an outcome.
        self.next_delivery_id = 0
        self.max_unsettled = max_unsettled
        self.incoming: Unsettled[Delivery] = Unsettled()
        self.sent: Unsettled[Sent] = Unsettled()
        # Frames of deliveries that were taken and wait for the peer's window, with their links; None stands for the
        # flow that says that the link is drained.
        self.queue: deque[tuple[Link, bytes | None]] = deque()

    def __repr__(self) -> str:
        return f"Session({self.channel}, {len(self.links)} links)"

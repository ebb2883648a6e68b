"""One AMQP 1.0 connection, seen from the server, without a socket.

Feed it what arrived with `receive(data, now)`: it calls the `Handler` in the order of arrival and before it returns.
Write what `take()` gives, after every call. `now` is in seconds on a clock that only goes forward; `wake_at` says when
`on_time(now)` wants to be called.

All methods may be called from within a callback. Numbers of channels and handles are the peer's, used in both
directions. Sessions begin, and frames of detach, end and close are answered, without asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from moorage.protocols.amqp.links import Delivery, Link, Sent, Session
from moorage.protocols.amqp.performatives import DeliveryState, Error, Open, Source, Target
from moorage.protocols.amqp.sasl import Authenticator, Step

__all__ = ["DEFAULT_LIMITS", "Connection", "Handler", "Limits", "State"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take.

    Attributes:
        max_frame_bytes: the largest frame either way.
        max_sessions: sessions at a time.
        max_links_per_session, max_links: links at a time, in a session and in all.
        max_message_bytes: the largest message on a link, where `accept` says nothing else.
        incoming_window: transfers that a session may send before it hears from us.
        max_unsettled: deliveries in a session that we sent and that are not settled.
        max_pending_bytes: what may wait to be written because the peer does not read.
        silence_s: how long the peer may send nothing; half of it is announced (2.4.5).
    """

    max_frame_bytes: int = 65_536
    max_sessions: int = 256
    max_links_per_session: int = 256
    max_links: int = 1024
    max_message_bytes: int = 1_048_576
    incoming_window: int = 2048
    max_unsettled: int = 2048
    max_pending_bytes: int = 4 * 1_048_576
    silence_s: float = 240.0


DEFAULT_LIMITS: Final = Limits()


class State(Enum):
    EXPECT_HEADER = "expect-header"
    SASL = "sasl"  # mechanisms were offered; nothing else is served until the outcome
    EXPECT_OPEN = "expect-open"
    OPEN = "open"
    CLOSING = "closing"  # we sent close, and wait for the peer's; what else arrives is dropped
    CLOSED = "closed"


class Handler(Protocol):
    """Who answers the peer. A `PeerError` that leaves a callback closes the connection with its condition."""

    def opened(self, opened: Open) -> None:
        """The peer opened, and our open is on its way. `Connection.close(error)` refuses it."""
        ...

    def attached(self, link: Link) -> None:
        """The peer attached a link: `Connection.accept` or `refuse` it, now or later."""
        ...

    def delivered(self, link: Link, delivery: Delivery) -> None:
        """A message is there. Unless it is settled, `Connection.settle` it with an outcome, now or later."""
        ...

    def credited(self, link: Link) -> None:
        """We send on `link`, and `link.sendable` has become more than 0 or more than it was."""
        ...

    def drain_requested(self, link: Link) -> None:
        """Send what there is within `link.credit`, then call `Connection.drained(link)`, now or later."""
        ...

    def settled(self, link: Link, sent: Sent, state: DeliveryState | None) -> None:
        """The peer gave what we sent an outcome; None when it settled without one.

        It comes once for each. Where `sent.settled` is still false the peer waits for us to settle too: call
        `Connection.settle(sent, state)`, now or later.
        """
        ...

    def detached(self, link: Link, error: Error | None, *, closed: bool) -> None:
        """A link that `attached` was called for is gone: detached by the peer, or with its session or connection.

        Not called after our own `refuse` and `detach`. What was sent and not settled stays without an outcome.
        """
        ...

    def closed(self, error: Error | None) -> None:
        """The peer closed, after `detached` for each link. Not called after our own `close`, nor for a lost socket."""
        ...


class Connection:
    """The server's end of one connection.

    Args:
        handler: whom to tell.
        container_id: our name in open.
        authenticator: for peers that begin with the SASL header; None refuses them.
        needs_sasl: refuse peers that begin with the plain AMQP header.
        limits: see `Limits`.
        now: when the connection was made.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        container_id: str,
        now: float,
        authenticator: Authenticator | None = None,
        needs_sasl: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.state = State.EXPECT_HEADER
        self.remote_open: Open | None = None
        self.sessions: dict[int, Session] = {}
        raise NotImplementedError

    # --- bytes and time ----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take what arrived and call back for what is complete.

        Raises:
            PeerError: the peer broke the protocol. What `take()` gives tells it so; then close the socket.
        """
        raise NotImplementedError

    def take(self) -> bytes:
        """What is to be written, once."""
        raise NotImplementedError

    @property
    def pending_bytes(self) -> int:
        """How much `take` would give. Stop calling `receive` and `send` while the peer does not read."""
        raise NotImplementedError

    @property
    def is_finished(self) -> bool:
        """Nothing more is read: close the socket once all is written."""
        raise NotImplementedError

    @property
    def wake_at(self) -> float | None:
        """When to call `on_time` next, on the clock of `now`; None: not before something else happens."""
        raise NotImplementedError

    def on_time(self, now: float) -> None:
        """Send an empty frame if the peer has to hear from us; give up a peer that fell silent.

        Raises:
            PeerError: `amqp.idle`, as from `receive`.
        """
        raise NotImplementedError

    def lose(self) -> None:
        """The socket is gone: `detached` is called for each link. May be called in any state, and twice."""
        raise NotImplementedError

    def continue_sasl(self, step: Step) -> None:
        """What the authenticator says after `LATER`. Call `receive(b"", now)` afterwards: bytes may be waiting."""
        raise NotImplementedError

    # --- links --------------------------------------------------------------------------------------------------------

    def accept(
        self,
        link: Link,
        *,
        source: Source | None = None,
        target: Target | None = None,
        credit: int = 0,
        max_message_bytes: int | None = None,
        offered_capabilities: tuple[str, ...] | None = None,
        properties: dict[str, object] | None = None,
    ) -> None:
        """Answer an attach. Source and target are the peer's where they are not given; settle modes are the peer's.

        Args:
            credit: where we receive, as in `grant`.
            properties: keys become symbols.
        """
        raise NotImplementedError

    def refuse(self, link: Link, error: Error) -> None:
        """Answer an attach with null for source and target, and detach with the error (2.6.3)."""
        raise NotImplementedError

    def grant(self, link: Link, credit: int) -> None:
        """Let the peer have up to `credit` messages on the way or unsettled; it is refilled as they are settled."""
        raise NotImplementedError

    def send(
        self,
        link: Link,
        payload: bytes,
        *,
        tag: bytes,
        settled: bool = False,
        message_format: int = 0,
        context: Any = None,
    ) -> Sent:
        """Send an encoded message, in as many transfers as the peer's frame size asks for.

        Links whose peer asked for settled messages get it settled whatever is said here; then `Handler.settled` is not
        called.

        Raises:
            LocalProtocolError: `link.sendable` is 0, the tag is empty or over 32 bytes, or the message is larger than
                the peer takes.
        """
        raise NotImplementedError

    def drained(self, link: Link) -> None:
        """There is nothing more to send: give the rest of the credit back, as the peer asked (2.6.7)."""
        raise NotImplementedError

    def settle(self, delivery: Delivery | Sent, state: DeliveryState | None) -> None:
        """Give a delivery its outcome, and settle it; for what we sent, settle after the peer.

        Nothing happens for one that is settled, or whose link is gone.
        """
        raise NotImplementedError

    def detach(self, link: Link, error: Error | None = None, *, closed: bool = True) -> None:
        """Detach a link. Nothing happens if it is gone."""
        raise NotImplementedError

    def end(self, session: Session, error: Error | None = None) -> None:
        """End a session; `detached` is called for each of its links."""
        raise NotImplementedError

    def close(self, error: Error | None = None) -> None:
        """Close; `detached` is called for each link. Nothing happens if it is closed."""
        raise NotImplementedError

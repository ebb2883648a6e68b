"""One AMQP 1.0 connection, seen from the server, without a socket.

Feed it what arrived with `receive(data, now)`: it calls the `Handler` in the order of arrival and before it returns.
Write what `take()` gives, after every call. `now` is in seconds on a clock that only goes forward; `wake_at` says when
`on_time(now)` wants to be called.

All methods but `receive` and `on_time` may be called from within a callback. Numbers of channels and handles are the
peer's, used in both directions. Sessions begin, and frames of detach, end and close are answered, without asking.

What is wrong with one link detaches that link: a message that is too large, more messages than it had credit for. All
else that a peer does wrong closes the connection, with the condition of the standard, and is raised as `PeerError`.

Links have no memory: one that is detached and attached again is a new one, whatever its `closed` said, and `unsettled`
of an attach is not read. Transactions are not served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.framing import DEFAULT_LIMITS, Limits, State
from moorage.protocols.amqp.handler import Handler
from moorage.protocols.amqp.links import Delivery, Link, LinkState, Sent, Session
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    SETTLE_SETTLED,
    SETTLE_UNSETTLED,
    Accepted,
    Attach,
    Begin,
    Close,
    DeliveryState,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    Received,
    Transfer,
    decode,
)
from moorage.protocols.amqp.sasl import Authenticator
from moorage.protocols.amqp.sessions import MASK, Sessions
from moorage.protocols.amqp.transfers import accepted_frame, read_acceptance, read_transfer, transfer_frames
from moorage.protocols.amqp.unsettled import signed

__all__ = ["DEFAULT_LIMITS", "MAX_TAG_BYTES", "Connection", "Handler", "Limits", "State"]

# 2.8.7.
MAX_TAG_BYTES: Final = 32

# All acceptances are one value.
_ACCEPTED: Final = Accepted()


class Connection(Sessions):
    """The server's end of one connection. `state`, `sessions`, `link_count`, `remote_open` and `partial_bytes`, of
    messages whose end has not come, are to be read.

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
        super().__init__(
            handler,
            container_id=container_id,
            now=now,
            authenticator=authenticator,
            needs_sasl=needs_sasl,
            limits=limits,
        )
        # Begin and open are not here: they make the session, and the connection.
        self._on: Mapping[type, Callable[[Session, Any], None]] = {
            Attach: self._on_attach,
            Flow: self._on_flow,
            Disposition: self._on_disposition,
            Detach: self._on_detach,
            End: self._on_end,
        }

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

        A link whose sender settle mode is settled, or unsettled, decides itself about `settled`. For what was sent
        settled, `Handler.settled` is not called.

        Raises:
            LocalProtocolError: `link.sendable` is 0, the tag is empty or over MAX_TAG_BYTES, or the message is larger
                than `link.attach.max_message_size`.
        """
        if not link.sendable:
            raise LocalProtocolError(f"{link!r} has no credit to send, or its session no window")
        if not 0 < len(tag) <= MAX_TAG_BYTES:
            raise LocalProtocolError(f"a delivery tag has 1 to {MAX_TAG_BYTES} bytes, not {len(tag)}")
        if 0 < (link.attach.max_message_size or 0) < len(payload):
            raise LocalProtocolError(
                f"a message of {len(payload)} bytes, where the peer takes {link.attach.max_message_size}"
            )
        if link.snd_settle_mode in (SETTLE_SETTLED, SETTLE_UNSETTLED):
            settled = link.snd_settle_mode == SETTLE_SETTLED
        session = link.session
        sent = Sent(link, session.next_delivery_id, tag, settled, context)
        session.next_delivery_id = (sent.id + 1) & MASK
        link.credit -= 1
        link.delivery_count = (link.delivery_count + 1) & MASK
        if not settled:
            session.sent.add(sent.id, sent)
            link.unsettled += 1
        for piece in transfer_frames(
            session.channel, link.handle, sent.id, tag, message_format, settled, payload, self._max_frame_bytes
        ):
            session.queue.append((link, piece))
        self._pump(session)
        return sent

    def settle(self, delivery: Delivery | Sent, state: DeliveryState | None) -> None:
        """Give a delivery its outcome, and settle it; for what we sent, settle after the peer.

        Nothing happens for one that is settled, or whose link is gone.
        """
        link = delivery.link
        if delivery.settled or link.state is not LinkState.ATTACHED:
            return
        delivery.settled = True
        channel = link.session.channel
        if isinstance(delivery, Delivery):
            if link.session.incoming.pop(delivery.id) is not None:
                link.unsettled -= 1
            if type(state) is Accepted:
                self._write(accepted_frame(channel, delivery.id, delivery.id))
            else:
                self._say(channel, Disposition(RECEIVER, delivery.id, delivery.id, True, state))
            if 2 * link.credit <= link.window:
                self._refill(link)
        else:
            if link.session.sent.pop(delivery.id) is not None:
                link.unsettled -= 1
            self._say(channel, Disposition(SENDER, delivery.id, delivery.id, True, state))

    def accept_all(self, deliveries: Iterable[Delivery]) -> None:
        """Accept and settle deliveries, with one frame for those that follow each other in one session."""
        links: dict[Link, None] = {}
        session: Session | None = None
        first = last = 0
        for delivery in deliveries:
            link = delivery.link
            if delivery.settled or link.state is not LinkState.ATTACHED:
                continue
            delivery.settled = True
            if link.session.incoming.pop(delivery.id) is not None:
                link.unsettled -= 1
            links[link] = None
            if session is link.session and delivery.id == (last + 1) & MASK:
                last = delivery.id
                continue
            if session is not None:
                self._write(accepted_frame(session.channel, first, last))
            session, first, last = link.session, delivery.id, delivery.id
        if session is not None:
            self._write(accepted_frame(session.channel, first, last))
        for link in links:
            self._refill(link)

    # --- what arrives -------------------------------------------------------------------------------------------------

    def _on_frame(self, channel: int, data: bytes, body: int, stop: int) -> None:
        if data[body : body + 3] == b"\x00\x53\x14" and self.state is State.OPEN:
            self._on_transfer(channel, data, body, stop)
            return
        if data[body : body + 3] == b"\x00\x53\x15" and self.state is State.OPEN:
            accepted = read_acceptance(data, body + 3, stop)
            session = self.sessions.get(channel)
            if accepted is not None and session is not None and not session.is_ending:
                self._on_outcome(session, *accepted, _ACCEPTED, True)
                return
        performative, end = decode(data[body:stop])
        if self.state is State.CLOSING:
            if isinstance(performative, Close):
                self.state = State.CLOSED
            return
        if isinstance(performative, Transfer) and self.state is State.OPEN:
            # Described in another way than all clients do.
            self._on_transfer(channel, data, body, stop)
            return
        if body + end != stop:
            raise PeerError("amqp.framing", Condition.FRAMING_ERROR, "bytes behind the body of a frame")
        if isinstance(performative, Open) is (self.state is State.OPEN):
            raise PeerError(
                "amqp.unexpected",
                Condition.NOT_ALLOWED,
                f"{type(performative).__name__.lower()} in state {self.state.value}",
                clause="AMQP-2.4.1",
            )
        if isinstance(performative, Open):
            self._on_open(performative)
        elif isinstance(performative, Close):
            self._on_close(performative)
        elif isinstance(performative, Begin):
            self._on_begin(channel, performative)
        else:
            if channel not in self.sessions and isinstance(performative, Flow | Disposition | Detach | End):
                return  # azure-eventhub detaches behind its end, and its close is still to come
            session = self._session(channel)
            on = self._on.get(type(performative))
            if on is None:
                raise PeerError(
                    "amqp.unexpected", Condition.NOT_ALLOWED, f"{type(performative).__name__} is no body of a frame"
                )
            if not session.is_ending or isinstance(performative, End):
                on(session, performative)

    def _on_transfer(self, channel: int, data: bytes, body: int, stop: int) -> None:
        session = self._session(channel)
        if session.is_ending:
            return
        handle, id, tag, message_format, settled, transfer, start = read_transfer(data, body, stop)
        session.next_incoming_id = (session.next_incoming_id + 1) & MASK
        session.incoming_window -= 1
        if session.incoming_window < 0:
            raise PeerError(
                "amqp.window",
                Condition.WINDOW_VIOLATION,
                f"more than the {self.limits.incoming_window} transfers that the session's window allows",
                clause="AMQP-2.5.6",
            )
        link = session.links.get(handle)
        if link is None:
            link = self._link(session, handle)
        if link.state is LinkState.ATTACHED and link.is_receiver:
            if transfer is None and link.partial is None:
                self._deliver(link, id, tag, message_format, settled, data[start:stop])
            else:
                self._on_part(link, id, tag, message_format, settled, transfer, data[start:stop])
        elif link.state is not LinkState.DETACHING:
            self._break_link(link, Condition.TRANSFER_LIMIT_EXCEEDED, "a transfer on a link that has no credit for it")
        if 2 * session.incoming_window <= self.limits.incoming_window and not session.is_ending:
            self._open_window(session)

    def _begin_delivery(
        self, link: Link, id: int | None, tag: bytes | None, message_format: int, settled: bool
    ) -> Delivery | None:
        """Count a delivery whose first transfer is here; None, and the link is gone, where it has no credit."""
        if id is None or tag is None or len(tag) > MAX_TAG_BYTES:
            raise PeerError(
                "amqp.field",
                Condition.INVALID_FIELD,
                f"the first transfer of a delivery has a delivery-id, and a tag of at most {MAX_TAG_BYTES} bytes",
                clause="AMQP-2.7.5",
            )
        if link.credit <= 0:
            self._break_link(link, Condition.TRANSFER_LIMIT_EXCEEDED, "a transfer on a link that has no credit for it")
            return None
        link.credit -= 1
        link.delivery_count = (link.delivery_count + 1) & MASK
        delivery = Delivery(link, id, tag, message_format, settled, b"")
        if not settled:
            if not link.session.incoming.add(id, delivery):
                raise PeerError(
                    "amqp.field",
                    Condition.INVALID_FIELD,
                    f"delivery-id {id} does not come after the one before",
                    clause="AMQP-2.6.12",
                )
            link.unsettled += 1
        return delivery

    def _deliver(
        self, link: Link, id: int | None, tag: bytes | None, message_format: int, settled: bool, payload: bytes
    ) -> None:
        """A delivery in one transfer."""
        delivery = self._begin_delivery(link, id, tag, message_format, settled)
        if delivery is None:
            return
        if len(payload) > link.max_message_bytes:
            self._break_for_size(link)
            return
        delivery.payload = payload
        self._handler.delivered(link, delivery)
        if 2 * link.credit <= link.window:
            self._refill(link)

    def _on_part(
        self,
        link: Link,
        id: int | None,
        tag: bytes | None,
        message_format: int,
        settled: bool,
        transfer: Transfer | None,
        payload: bytes,
    ) -> None:
        """A transfer that may not be the first, the last, or the end of a delivery."""
        delivery = link.partial
        if delivery is None:
            delivery = self._begin_delivery(link, id, tag, message_format, settled)
            if delivery is None:
                return
            link.partial = delivery
        elif id not in (None, delivery.id) or tag not in (None, delivery.tag):
            raise PeerError(
                "amqp.unexpected",
                Condition.NOT_ALLOWED,
                f"delivery {id} begins before the last transfer of delivery {delivery.id} on its link",
                clause="AMQP-2.6.14",
            )
        if transfer is not None and transfer.aborted:
            self._drop_partial(link)
            self._forget_delivery(delivery)
            self._refill(link)
            return
        if len(link.payload) + len(payload) > link.max_message_bytes:
            self._break_for_size(link)
            return
        self.partial_bytes += len(payload)
        if self.partial_bytes > self.limits.max_partial_bytes:
            raise PeerError(
                "amqp.limit",
                Condition.RESOURCE_LIMIT_EXCEEDED,
                f"over {self.limits.max_partial_bytes} bytes of messages whose last transfer has not come",
            )
        link.payload += payload
        if settled:
            self._forget_delivery(delivery)
        if transfer is None or not transfer.more:
            delivery.payload = bytes(link.payload)
            self._drop_partial(link)
            self._handler.delivered(link, delivery)
            self._refill(link)

    def _break_for_size(self, link: Link) -> None:
        self._break_link(
            link, Condition.MESSAGE_SIZE_EXCEEDED, f"a message of over {link.max_message_bytes} bytes on this link"
        )

    def _forget_delivery(self, delivery: Delivery) -> None:
        """The peer settled, or took back, what it sent."""
        delivery.settled = True
        if delivery.link.session.incoming.pop(delivery.id) is not None:
            delivery.link.unsettled -= 1

    def _on_disposition(self, session: Session, disposition: Disposition) -> None:
        first = disposition.first
        last = first if disposition.last is None else disposition.last
        state = None if isinstance(disposition.state, Received) else disposition.state
        is_settled = bool(disposition.settled)
        if disposition.role is SENDER:
            if is_settled:
                links: dict[Link, None] = {}
                for delivery in session.incoming.pop_range(first, last):
                    delivery.settled = True
                    delivery.link.unsettled -= 1
                    links[delivery.link] = None
                for link in links:
                    self._refill(link)
            return
        if state is not None or is_settled:
            self._on_outcome(session, first, last, state, is_settled)

    def _on_outcome(
        self, session: Session, first: int, last: int, state: DeliveryState | None, is_settled: bool
    ) -> None:
        """The peer says what became of deliveries that we sent."""
        if signed(last - first) < 0:
            raise PeerError("amqp.field", Condition.INVALID_FIELD, f"a disposition of the deliveries {first} to {last}")
        was_full = len(session.sent) >= session.max_unsettled
        for sent in session.sent.pop_range(first, last):
            link = sent.link
            link.unsettled -= 1
            sent.state = state
            sent.settled = is_settled
            if link.state is LinkState.ATTACHED:
                self._handler.settled(link, sent, state)
        if was_full:
            self._tell_all_credit(session)

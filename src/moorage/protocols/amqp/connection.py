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
from typing import Any, Final, Protocol

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.framing import DEFAULT_LIMITS, Framing, Limits, State
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
    Error,
    Flow,
    Open,
    Performative,
    Received,
    Source,
    Target,
    Transfer,
    decode,
    encode,
)
from moorage.protocols.amqp.sasl import Authenticator
from moorage.protocols.amqp.transfers import accepted_frame, frame, read_acceptance, read_transfer, transfer_frames
from moorage.protocols.amqp.unsettled import Unsettled, signed

__all__ = ["DEFAULT_LIMITS", "MAX_TAG_BYTES", "Connection", "Handler", "Limits", "State"]

# 2.8.7.
MAX_TAG_BYTES: Final = 32

# The smallest max-frame-size that a peer may announce (2.4.1).
_MIN_FRAME_BYTES: Final = 512

_MASK: Final = 0xFFFFFFFF

# All acceptances are one value.
_ACCEPTED: Final = Accepted()

# What we announce as outgoing window: nobody reads it, since ours is bounded by the peer's incoming window.
_OUTGOING_WINDOW: Final = 0x7FFFFFFF


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
        """We send on `link`, and `link.sendable` is more than 0 after something happened that could make it so."""
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


class Connection(Framing):
    """The server's end of one connection. `state`, `sessions` and `remote_open` are to be read.

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
        super().__init__(now=now, authenticator=authenticator, needs_sasl=needs_sasl, limits=limits)
        self.remote_open: Open | None = None
        self.sessions: dict[int, Session] = {}
        self._handler = handler
        self._container_id = container_id
        self._max_frame_bytes = limits.max_frame_bytes
        self._link_count = 0
        self._partial_bytes = 0
        # Sessions whose window was not opened again because the peer does not read.
        self._starved: set[Session] = set()
        # Begin and open are not here: they make the session, and the connection.
        self._on: Mapping[type, Callable[[Session, Any], None]] = {
            Attach: self._on_attach,
            Flow: self._on_flow,
            Disposition: self._on_disposition,
            Detach: self._on_detach,
            End: self._on_end,
        }

    # --- what we say --------------------------------------------------------------------------------------------------

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
        """Answer an attach. Source and target are the peer's where they are not given; so are the settle modes, but
        where we receive we settle first. Nothing happens if the link is gone.

        Credit that the peer gave meanwhile is told to the handler before this returns.

        Args:
            credit: where we receive, as in `grant`.
            properties: keys become symbols.
        """
        if link.state is not LinkState.ATTACHING:
            return
        # services.md 3.1 X-13: both have to be there, unless the link is refused.
        link.source = source or link.source or Source()
        link.target = target or link.target or Target()
        link.state = LinkState.ATTACHED
        if max_message_bytes is not None:
            link.max_message_bytes = max_message_bytes
        self._send_attach(link, offered_capabilities, properties)
        if link.is_receiver:
            self.grant(link, credit)
        else:
            self._tell_credit(link)

    def refuse(self, link: Link, error: Error) -> None:
        """Answer an attach with null for source and target, and detach with the error (2.6.3)."""
        if link.state is LinkState.ATTACHING:
            link.source = link.target = None
            self._send_attach(link, None, None)
            self._begin_detach(link, error, closed=True)

    def grant(self, link: Link, credit: int) -> None:
        """Let the peer have up to `credit` messages on the way or unsettled; it is refilled as they are settled."""
        if link.is_receiver and link.state is LinkState.ATTACHED:
            link.window = credit
            room = max(0, credit - link.unsettled)
            if room != link.credit:
                link.credit = room
                self._send_flow(link.session, link)

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
        session.next_delivery_id = (sent.id + 1) & _MASK
        link.credit -= 1
        link.delivery_count = (link.delivery_count + 1) & _MASK
        if not settled:
            session.sent.add(sent.id, sent)
            link.unsettled += 1
        session.queue.extend(
            transfer_frames(
                session.channel, link.handle, sent.id, tag, message_format, settled, payload, self._max_frame_bytes
            )
        )
        self._pump(session)
        return sent

    def drained(self, link: Link) -> None:
        """There is nothing more to send: give the rest of the credit back, as the peer asked (2.6.7)."""
        if link.drain and link.state is LinkState.ATTACHED:
            link.drain = False
            link.delivery_count = (link.delivery_count + link.credit) & _MASK
            link.credit = 0
            link.session.queue.append(link)
            self._pump(link.session)

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
            if session is link.session and delivery.id == (last + 1) & _MASK:
                last = delivery.id
                continue
            if session is not None:
                self._write(accepted_frame(session.channel, first, last))
            session, first, last = link.session, delivery.id, delivery.id
        if session is not None:
            self._write(accepted_frame(session.channel, first, last))
        for link in links:
            self._refill(link)

    def detach(self, link: Link, error: Error | None = None, *, closed: bool = True) -> None:
        """Detach a link. Nothing happens if it is gone."""
        if link.state is LinkState.ATTACHING:
            self.refuse(link, error or Error(Condition.DETACH_FORCED))
        elif link.state is LinkState.ATTACHED:
            self._begin_detach(link, error, closed=closed)

    def end(self, session: Session, error: Error | None = None) -> None:
        """End a session; `detached` is called for each of its links. Nothing happens if it has ended."""
        if self.sessions.get(session.channel) is session and not session.is_ending:
            session.is_ending = True
            self._say(session.channel, End(error))
            self._drop_links(session, error)

    def close(self, error: Error | None = None) -> None:
        """Close; `detached` is called for each link. Nothing happens if it is closed."""
        if self.state is State.OPEN:
            self._say(0, Close(error))
            self._await_close()
            self._drop_sessions(error)
        elif self.state is not State.CLOSING:
            self.state = State.CLOSED

    def lose(self) -> None:
        """The socket is gone: `detached` is called for each link. May be called in any state, and twice."""
        self.state = State.CLOSED
        self._drop_sessions(None)

    def take(self) -> bytes:
        """What is to be written, once."""
        while self._starved:
            self._send_flow(self._starved.pop())
        return super().take()

    # --- frames -------------------------------------------------------------------------------------------------------

    def _say(self, channel: int, performative: Performative) -> None:
        self._write(frame(channel, encode(performative)))

    def _fail(self, wrong: PeerError) -> None:
        error = Error(wrong.condition, wrong.description)
        if self.state is State.EXPECT_OPEN:
            self._send_open()  # close has to follow an open (2.4.3)
            self._say(0, Close(error))
        elif self.state is State.OPEN:
            self._say(0, Close(error))
        self.state = State.CLOSED
        self._drop_sessions(error)

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

    def _session(self, channel: int) -> Session:
        session = self.sessions.get(channel)
        if session is None:
            raise PeerError(
                "amqp.unexpected", Condition.NOT_ALLOWED, f"a frame on channel {channel}, where no session is"
            )
        return session

    # --- connection and sessions --------------------------------------------------------------------------------------

    def _send_open(self) -> None:
        self._say(
            0,
            Open(
                self._container_id,
                None,
                self.limits.max_frame_bytes,
                self.limits.max_sessions - 1,
                int(self.limits.silence_s * 500),
            ),
        )

    def _on_open(self, opened: Open) -> None:
        theirs = opened.max_frame_size
        if theirs is not None:
            if theirs < _MIN_FRAME_BYTES:
                raise PeerError(
                    "amqp.field",
                    Condition.INVALID_FIELD,
                    f"max-frame-size is {theirs}, it has to be at least {_MIN_FRAME_BYTES}",
                    clause="AMQP-2.7.1",
                )
            self._max_frame_bytes = min(theirs, self.limits.max_frame_bytes)
        self._send_open()
        self.state = State.OPEN
        self.remote_open = opened
        self._hear_idle_time_out(opened.idle_time_out)
        self._handler.opened(opened)

    def _on_close(self, close: Close) -> None:
        self._say(0, Close())
        self.state = State.CLOSED
        self._drop_sessions(close.error)
        self._handler.closed(close.error)

    def _drop_sessions(self, error: Error | None) -> None:
        sessions = list(self.sessions.values())
        self.sessions.clear()
        self._starved.clear()
        for session in sessions:
            self._drop_links(session, error)

    def _drop_links(self, session: Session, error: Error | None) -> None:
        session.queue.clear()
        session.incoming, session.sent = Unsettled(), Unsettled()
        for link in session.links.values():
            link.unsettled = 0
        gone = [link for link in list(session.links.values()) if self._forget(link)]
        for link in gone:
            self._handler.detached(link, error, closed=False)

    def _on_begin(self, channel: int, begin: Begin) -> None:
        if channel >= self.limits.max_sessions:
            raise PeerError(
                "amqp.limit",
                Condition.FRAMING_ERROR,
                f"a session on channel {channel}; channel-max is {self.limits.max_sessions - 1}",
                clause="AMQP-2.7.1",
            )
        if channel in self.sessions or begin.remote_channel is not None:
            raise PeerError(
                "amqp.unexpected",
                Condition.NOT_ALLOWED,
                f"begin on channel {channel}, which is in use or was not begun",
            )
        limits = self.limits
        self.sessions[channel] = Session(
            channel, begin, incoming_window=limits.incoming_window, max_unsettled=limits.max_unsettled
        )
        self._say(
            channel, Begin(channel, 0, limits.incoming_window, _OUTGOING_WINDOW, limits.max_links_per_session - 1)
        )

    def _on_end(self, session: Session, end: End) -> None:
        del self.sessions[session.channel]
        self._starved.discard(session)
        if not session.is_ending:
            self._say(session.channel, End())
            self._drop_links(session, end.error)

    # --- links --------------------------------------------------------------------------------------------------------

    def _on_attach(self, session: Session, attach: Attach) -> None:
        limits = self.limits
        if attach.handle >= limits.max_links_per_session:
            raise PeerError(
                "amqp.limit",
                Condition.FRAMING_ERROR,
                f"a link with handle {attach.handle}; handle-max is {limits.max_links_per_session - 1}",
                clause="AMQP-2.7.2",
            )
        if attach.handle in session.links:
            raise PeerError(
                "amqp.handle", Condition.HANDLE_IN_USE, f"handle {attach.handle} is in use", clause="AMQP-2.6.2"
            )
        if (attach.snd_settle_mode or 0) > 2 or (attach.rcv_settle_mode or 0) > 1:
            raise PeerError("amqp.field", Condition.INVALID_FIELD, "a settle mode that the standard does not know")
        if self._link_count >= limits.max_links:
            raise PeerError(
                "amqp.limit", Condition.RESOURCE_LIMIT_EXCEEDED, f"over {limits.max_links} links in a connection"
            )
        link = Link(session, attach, max_message_bytes=limits.max_message_bytes)
        session.links[attach.handle] = link
        self._link_count += 1
        name = (attach.name, attach.role)
        if name in session.names:
            self.refuse(link, Error(Condition.NOT_ALLOWED, f"a link named {attach.name[:128]!r} is attached already"))
            return
        session.names[name] = link
        self._handler.attached(link)

    def _send_attach(
        self, link: Link, offered_capabilities: tuple[str, ...] | None, properties: dict[str, object] | None
    ) -> None:
        asked = link.attach
        self._say(
            link.session.channel,
            Attach(
                name=asked.name,
                handle=link.handle,
                role=not asked.role,
                snd_settle_mode=link.snd_settle_mode,
                rcv_settle_mode=link.rcv_settle_mode,
                source=link.source,
                target=link.target,
                initial_delivery_count=None if link.is_receiver else link.delivery_count,
                max_message_size=link.max_message_bytes if link.is_receiver else None,
                offered_capabilities=offered_capabilities,
                properties=properties,
            ),
        )

    def _begin_detach(self, link: Link, error: Error | None, *, closed: bool) -> None:
        """Detach from our side; the handle stays taken until the peer detaches too."""
        self._say(link.session.channel, Detach(link.handle, closed, error))
        self._clear(link)
        link.state = LinkState.DETACHING

    def _clear(self, link: Link) -> None:
        """Let go of what a link holds in its session and here."""
        session = link.session
        if link.unsettled:
            session.incoming.discard(lambda delivery: delivery.link is link)
            session.sent.discard(lambda sent: sent.link is link)
            link.unsettled = 0
        self._drop_partial(link)
        link.credit = link.window = 0

    def _forget(self, link: Link) -> bool:
        """The peer detached, or the session is gone. Whether the handler still thought that it was there."""
        was_there = link.state in (LinkState.ATTACHING, LinkState.ATTACHED)
        del link.session.links[link.handle]
        self._link_count -= 1
        name = (link.name, link.attach.role)
        if link.session.names.get(name) is link:
            del link.session.names[name]
        self._clear(link)
        link.state = LinkState.DETACHED
        return was_there

    def _on_detach(self, session: Session, detach: Detach) -> None:
        link = self._link(session, detach.handle)
        was_attaching = link.state is LinkState.ATTACHING
        was_there = self._forget(link)
        if was_there:
            if was_attaching:
                link.source = link.target = None
                self._send_attach(link, None, None)
            self._say(session.channel, Detach(link.handle, bool(detach.closed)))
            self._handler.detached(link, detach.error, closed=bool(detach.closed))

    def _link(self, session: Session, handle: int) -> Link:
        link = session.links.get(handle)
        if link is None:
            raise PeerError(
                "amqp.handle", Condition.UNATTACHED_HANDLE, f"no link has handle {handle}", clause="AMQP-2.6.2"
            )
        return link

    # --- flow ---------------------------------------------------------------------------------------------------------

    def _on_flow(self, session: Session, flow: Flow) -> None:
        in_flight = signed(session.next_outgoing_id - (flow.next_incoming_id or 0))
        if in_flight < 0:
            raise PeerError(
                "amqp.window", Condition.WINDOW_VIOLATION, "a flow that counts transfers which were never sent"
            )
        was_blocked = session.remote_window <= 0 or bool(session.queue)
        session.remote_window = flow.incoming_window - in_flight
        self._pump(session)
        link: Link | None = None
        if flow.handle is not None:
            link = self._link(session, flow.handle)
            self._hear_flow(link, flow)
        if flow.echo:
            self._send_flow(session, link if link is not None and link.state is LinkState.ATTACHED else None)
        if was_blocked:
            self._tell_all_credit(session)
        elif link is not None:
            self._tell_credit(link)

    def _hear_flow(self, link: Link, flow: Flow) -> None:
        if link.state is LinkState.DETACHING:
            return
        if link.is_receiver:
            # The peer used up credit without sending (2.6.7).
            skipped = signed((flow.delivery_count or 0) - link.delivery_count) if flow.delivery_count is not None else 0
            if 0 < skipped <= link.credit:
                link.credit -= skipped
                link.delivery_count = (link.delivery_count + skipped) & _MASK
                self._refill(link)
            return
        in_flight = signed(link.delivery_count - (flow.delivery_count or 0))
        link.credit = max(0, (flow.link_credit or 0) - in_flight)
        link.drain = bool(flow.drain)

    def _tell_credit(self, link: Link) -> None:
        if link.is_receiver:
            return
        if link.sendable:
            self._handler.credited(link)
        if link.drain and link.state is LinkState.ATTACHED:
            if link.credit:
                self._handler.drain_requested(link)
            else:
                self.drained(link)

    def _tell_all_credit(self, session: Session) -> None:
        for link in list(session.links.values()):
            self._tell_credit(link)

    def _pump(self, session: Session) -> None:
        """Write of what waits as much as the peer's window allows."""
        queue = session.queue
        while queue:
            item = queue[0]
            if isinstance(item, Link):
                if item.state is LinkState.ATTACHED:
                    self._send_flow(session, item, drain=True)
            elif session.remote_window > 0:
                session.remote_window -= 1
                session.next_outgoing_id = (session.next_outgoing_id + 1) & _MASK
                self._write(item)
            else:
                break
            queue.popleft()

    def _send_flow(self, session: Session, link: Link | None = None, *, drain: bool = False) -> None:
        session.incoming_window = self.limits.incoming_window
        self._say(
            session.channel,
            Flow(
                session.next_incoming_id,
                session.incoming_window,
                session.next_outgoing_id,
                _OUTGOING_WINDOW,
                *(() if link is None else (link.handle, link.delivery_count, link.credit, None, drain)),
            ),
        )

    def _refill(self, link: Link) -> None:
        """Give credit again, once it is worth a frame."""
        room = link.window - link.unsettled
        gain = room - link.credit
        if gain > 0 and 8 * gain >= link.window and 2 * link.credit <= link.window:
            if link.state is LinkState.ATTACHED:
                link.credit = room
                self._send_flow(link.session, link)

    def _open_window(self, session: Session) -> None:
        if self._out_bytes > self.limits.max_pending_bytes // 2:
            self._starved.add(session)
        else:
            self._send_flow(session)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def _on_transfer(self, channel: int, data: bytes, body: int, stop: int) -> None:
        session = self._session(channel)
        if session.is_ending:
            return
        handle, id, tag, message_format, settled, transfer, start = read_transfer(data, body, stop)
        session.next_incoming_id = (session.next_incoming_id + 1) & _MASK
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

    def _break_link(self, link: Link, condition: str, description: str) -> None:
        """Detach a link on which the peer did wrong."""
        error = Error(condition, description)
        self.detach(link, error)
        self._handler.detached(link, error, closed=True)

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
        link.delivery_count = (link.delivery_count + 1) & _MASK
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
        self._partial_bytes += len(payload)
        if self._partial_bytes > self.limits.max_partial_bytes:
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

    def _drop_partial(self, link: Link) -> None:
        self._partial_bytes -= len(link.payload)
        link.payload = bytearray()
        link.partial = None

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

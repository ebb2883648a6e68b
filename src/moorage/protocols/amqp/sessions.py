"""The middle of a connection: open and close, sessions, links, and who may send how much.

`Sessions` stands on `framing.Framing` and below `connection.Connection`, which adds the messages and is what there is
to use.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.framing import Framing, Limits, State
from moorage.protocols.amqp.handler import Handler
from moorage.protocols.amqp.links import Link, LinkState, Session
from moorage.protocols.amqp.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    End,
    Error,
    Flow,
    Open,
    Performative,
    Source,
    Target,
    encode,
)
from moorage.protocols.amqp.sasl import Authenticator
from moorage.protocols.amqp.transfers import frame
from moorage.protocols.amqp.unsettled import Unsettled, signed

__all__ = ["MASK", "Sessions"]

# Numbers of transfers and deliveries wrap around here.
MASK: Final = 0xFFFFFFFF

# The smallest max-frame-size that a peer may announce (2.4.1).
_MIN_FRAME_BYTES: Final = 512

# What we announce as outgoing window: nobody reads it, since ours is bounded by the peer's incoming window.
_OUTGOING_WINDOW: Final = 0x7FFFFFFF


class Sessions(Framing):
    """See `connection.Connection`."""

    def __init__(
        self,
        handler: Handler,
        *,
        container_id: str,
        now: float,
        authenticator: Authenticator | None,
        needs_sasl: bool,
        limits: Limits,
    ) -> None:
        super().__init__(now=now, authenticator=authenticator, needs_sasl=needs_sasl, limits=limits)
        self.remote_open: Open | None = None
        self.sessions: dict[int, Session] = {}
        self._handler = handler
        self._container_id = container_id
        self._max_frame_bytes = limits.max_frame_bytes
        self.link_count = 0
        self.partial_bytes = 0
        # Sessions whose window was not opened again because the peer does not read.
        self._starved: set[Session] = set()

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

    def drained(self, link: Link) -> None:
        """There is nothing more to send: give the rest of the credit back, as the peer asked (2.6.7)."""
        if link.drain and link.state is LinkState.ATTACHED:
            link.drain = False
            link.delivery_count = (link.delivery_count + link.credit) & MASK
            link.credit = 0
            link.session.queue.append((link, None))
            self._pump(link.session)

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

    # --- connection and sessions --------------------------------------------------------------------------------------

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

    def _session(self, channel: int) -> Session:
        session = self.sessions.get(channel)
        if session is None:
            raise PeerError(
                "amqp.unexpected", Condition.NOT_ALLOWED, f"a frame on channel {channel}, where no session is"
            )
        return session

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
        if self.link_count >= limits.max_links:
            raise PeerError(
                "amqp.limit", Condition.RESOURCE_LIMIT_EXCEEDED, f"over {limits.max_links} links in a connection"
            )
        link = Link(session, attach, max_message_bytes=limits.max_message_bytes)
        session.links[attach.handle] = link
        self.link_count += 1
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

    def _break_link(self, link: Link, condition: str, description: str) -> None:
        """Detach a link on which the peer did wrong."""
        error = Error(condition, description)
        self.detach(link, error)
        self._handler.detached(link, error, closed=True)

    def _clear(self, link: Link) -> None:
        """Let go of what a link holds in its session and here."""
        session = link.session
        if link.unsettled:
            session.incoming.discard(lambda delivery: delivery.link is link)
            session.sent.discard(lambda sent: sent.link is link)
            link.unsettled = 0
        if session.queue:
            session.queue = deque(item for item in session.queue if item[0] is not link)
        self._drop_partial(link)
        link.credit = link.window = 0

    def _drop_partial(self, link: Link) -> None:
        self.partial_bytes -= len(link.payload)
        link.payload = bytearray()
        link.partial = None

    def _forget(self, link: Link) -> bool:
        """The peer detached, or the session is gone. Whether the handler still thought that it was there."""
        was_there = link.state in (LinkState.ATTACHING, LinkState.ATTACHED)
        del link.session.links[link.handle]
        self.link_count -= 1
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
                link.delivery_count = (link.delivery_count + skipped) & MASK
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
            link, waiting = queue[0]
            if waiting is None:
                self._send_flow(session, link, drain=True)
            elif session.remote_window > 0:
                session.remote_window -= 1
                session.next_outgoing_id = (session.next_outgoing_id + 1) & MASK
                self._write(waiting)
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

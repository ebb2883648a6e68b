"""AMQP 1.0 on one stream: from its first bytes to the nodes that its links are attached to.

    bytes ─► Connection ─► attached ─► the node that serves the address ─► LinkHandler
    bytes ◄─ take() ◄──── accept, settle, send, detach ◄──────────────────┘

A link is refused with the condition that the refusal has in AMQP (`dialects/refusals.py`); the reason is written
down as an attempt. Whatever a node does to the connection is flushed once, when control goes back to the loop.

What was read is taken in pieces, and after `_TURN_S` others have their turn (decisions S8): the smallest frames have
eight bytes, and each attach of a stranger may cost the judgement of a chain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast

from moorage.attempts.masking import masked
from moorage.attempts.model import MAX_CLIENT, Attempt, AttemptSink, Door, refused
from moorage.clock import Clock
from moorage.dialects.amqp_address import Address, parse_address, parse_user
from moorage.dialects.amqp_errors import amqp_description, amqp_info
from moorage.dialects.refusals import wire_error
from moorage.errors import Invalid, NotFound, Refusal, TooLarge, Unavailable
from moorage.identities.access import Principal
from moorage.identities.credentials import AuthenticatedIdentity, Presented, credential_of
from moorage.identities.model import Right
from moorage.identities.sas import identity_path
from moorage.ids import HubId, IdentityName, new_tracking_id
from moorage.protocols.amqp.connection import Connection
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.performatives import DeliveryState, Error, Open, Rejected
from moorage.servers.amqp.allowance import Allowance, Share
from moorage.servers.amqp.credentials import CheckToken, Credentials, Mechanism
from moorage.servers.amqp.nodes import LinkHandler, Node, Outbox
from moorage.servers.streams import HOLD_ANSWER, HOLD_BACKLOG, HOLD_INPUT, HOLD_REQUESTS, ByteStream
from moorage.servers.work import Work

if TYPE_CHECKING:
    from moorage.servers.amqp.device import DeviceSession

__all__ = ["AMQPParts", "AMQPStream", "error_of"]

log = logging.getLogger(__name__)

# For the first link that keeps a connection open, and for another one when the last is gone: .NET pools connections.
_FIRST_LINK_S = 60.0
_NEXT_LINK_S = 300.0
# A peer that takes nothing of what waits for it for so long is given up: nothing is read of it meanwhile.
_STALLED_S = 60.0
# Links, tokens and registrations that are refused to a peer that nobody has let in: a device has six links.
_MAX_REFUSED = 32
# Characters of a claimed id that are written down.
_MAX_CLAIM = 300
# Bytes that are taken before the clock is looked at: the first time, and at most, while they cost little time.
_PIECE = 512
_MAX_PIECE = 4096
_CHEAP_S = 0.0003
_TURN_S = 0.002
# About what a session takes, or a link.
_PART_BYTES = 1024
# What may be sent before it is written, so that a peer which does not read is noticed.
_MAX_UNWRITTEN = 256 * 1024


@dataclass(frozen=True, slots=True)
class AMQPParts:
    """What every AMQP connection of a hub needs; made once by the composition root.

    `authenticate` is the judge of identities, at this moment; `authorize(token, resource, any_of)` that of policies.
    """

    hub: HubId
    container_id: str
    clock: Clock
    nodes: Sequence[Node]
    authenticate: Callable[[IdentityName, Presented], AuthenticatedIdentity]
    authorize: Callable[[str | None, str, frozenset[Right]], Principal]
    check_token: CheckToken
    attempts: AttemptSink
    count_end: Callable[[str], None]
    is_stopping: Callable[[], bool]
    mechanisms: Mapping[str, Mechanism] = field(default_factory=dict)
    allowance: Allowance = field(default_factory=Allowance)


def error_of(refusal: Refusal, tracking_id: str = "") -> Error:
    """What `refusal` is in a detach, a close or a rejected outcome."""
    return Error(wire_error(refusal).condition, amqp_description(refusal), amqp_info(tracking_id or new_tracking_id()))


class AMQPStream:
    """One connection: the `StreamHandler` of its bytes, the `Handler` of its frames, and the peer that nodes know."""

    __slots__ = (
        "_behind",
        "_client",
        "_connection",
        "_has_more",
        "_holders",
        "_is_ending",
        "_is_known",
        "_is_writable",
        "_keeping",
        "_link_by",
        "_nested",
        "_parts",
        "_principals",
        "_refused",
        "_share",
        "_stalled_by",
        "_stream",
        "_was_attached",
        "_woken",
        "_work",
        "credentials",
        "sessions",
        "waiting_bytes",
    )

    def __init__(self, parts: AMQPParts, stream: ByteStream) -> None:
        now = parts.clock.monotonic()
        self._parts = parts
        self._stream = stream
        self.credentials = Credentials(stream, parts.check_token, parts.mechanisms)
        self._connection = Connection(self, container_id=parts.container_id, now=now, authenticator=self.credentials)
        self._work: Work | None = None
        # Identities that are connected here (`servers/amqp/device.py`).
        self.sessions: dict[IdentityName, DeviceSession] = {}
        self._principals: set[str] = set()
        self._client = ""
        # What was read and waits for its turn.
        self._behind = b""
        self._is_writable = True
        self._stalled_by: float | None = None
        # A sender was told to stop because too much waits to be written.
        self._has_more = False
        # Those that ask for nothing to be read while the disk is behind.
        self._holders = 0
        # Somebody was let in; something that keeps the connection open was attached.
        self._is_known = False
        self._was_attached = False
        self._refused = 0
        self._share = Share(parts.allowance)
        # What waits on links for the peer's credit.
        self.waiting_bytes = 0
        # Links that are a reason to stay.
        self._keeping = 0
        self._link_by: float | None = now + _FIRST_LINK_S
        # While this is above 0 somebody up the stack will flush.
        self._nested = 0
        # Our close is said, and the stream is closed once it is written.
        self._is_ending = False
        self._woken = now + _FIRST_LINK_S
        stream.wake(self._woken)

    # -- for nodes -----------------------------------------------------------------------------------------------------

    @property
    def stream(self) -> ByteStream:
        return self._stream

    @property
    def client(self) -> str:
        """What the peer's software calls itself, where it does."""
        return self._client

    @property
    def is_closing(self) -> bool:
        return self._is_ending or self._stream.is_closing

    def authenticate(self, name: IdentityName) -> AuthenticatedIdentity:
        """Raises `Unauthenticated` where the peer has not proven to be `name`."""
        if self._parts.is_stopping():
            raise Unavailable("hub.stopping", "the hub is shutting down")
        return self._parts.authenticate(name, self.presented(identity_path(name)))

    def authorize(self, resource: str, any_of: frozenset[Right]) -> Principal:
        """By a token of a policy with one of these rights for `resource`. Raises `Unauthenticated`, `Forbidden`."""
        if self._parts.is_stopping():
            raise Unavailable("hub.stopping", "the hub is shutting down")
        token = self.credentials.token(tuple(part for part in resource.split("/") if part))
        return self._parts.authorize(None if token is None else token.reveal(), resource, any_of)

    def let_in(self, principal: Principal) -> None:
        """Write down that the holder of a policy's key came in; once for each on a connection."""
        name = str(principal)
        if name not in self._principals:
            self._principals.add(name)
            self.record("service", name, None)

    def presented(self, path: tuple[str, ...]) -> Presented:
        return Presented(self.credentials.chain, self.credentials.token(path), self._stream.address)

    def accept(self, link: Link, **answer: Any) -> None:
        """As `Connection.accept`."""
        self._connection.accept(link, **answer)
        self._flush()

    def settle(self, delivery: Delivery | Sent, state: DeliveryState | None) -> None:
        self._connection.settle(delivery, state)
        self._flush()

    def accept_all(self, deliveries: Sequence[Delivery]) -> None:
        """Accept several, in as few frames as can be."""
        self._connection.accept_all(deliveries)
        self._flush()

    def reject(self, delivery: Delivery, refusal: Refusal) -> None:
        self.settle(delivery, Rejected(error_of(refusal)))

    def send(self, link: Link, payload: bytes, *, tag: bytes, settled: bool = False, context: Any = None) -> Sent:
        """As `Connection.send`; at most `sendable(link)` of them."""
        sent = self._connection.send(link, payload, tag=tag, settled=settled, context=context)
        self._flush()
        return sent

    def sendable(self, link: Link) -> int:
        """How many messages may be sent on `link` now; none while the peer does not read.

        To be asked before each message. `LinkHandler.credited` is called when there is more again.
        """
        if not self._is_writable or self.is_closing:
            return 0
        if self._connection.pending_bytes > _MAX_UNWRITTEN:
            self._has_more = True
            return 0
        return link.sendable

    def drained(self, link: Link) -> None:
        self._connection.drained(link)
        self._flush()

    def grant(self, link: Link, credit: int) -> None:
        self._connection.grant(link, credit)
        self._flush()

    def detach(self, link: Link, error: Error | None = None) -> None:
        """From our side; its handler does not hear of it."""
        handler = link.context
        link.context = None
        self._connection.detach(link, error)
        if isinstance(handler, LinkHandler):
            self._left(handler)
        self._flush()

    def tell_end(self, reason: str) -> None:
        """Write down, and count, that what was let in is over."""
        log.info("link_ended reason=%s address=%s", reason, self._stream.address)
        self._parts.count_end(reason)

    def close_unless_used(self, error: Error) -> None:
        """Close a connection on which nothing is left that keeps it open."""
        if not self._keeping:
            self.close(error)

    def close(self, error: Error | None = None) -> None:
        self._connection.close(error)
        self._is_ending = True
        self._flush()

    def stay(self, for_s: float) -> None:
        """Keep a connection open for so long on which no link does."""
        self._was_attached = True
        if not self._keeping:
            self._link_by = self._parts.clock.monotonic() + for_s
            self._wake(self._link_by)

    def run(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start work that waits for the store; the peer is read no further when there is too much of it."""
        if self._work is None:
            self._work = Work(self)
        self._work.run(job)

    def hold_reading(self, hold: bool) -> None:
        """The disk is behind, or no more: said in pairs by each whose telemetry waits."""
        self._holders += 1 if hold else -1
        self._stream.hold_reading(HOLD_BACKLOG, self._holders > 0)

    def refreshed(self, path: tuple[str, ...]) -> None:
        """A token came for `path`. Every link hears of it; raises what the first says that it does not open."""
        wrong: Refusal | None = None
        for handler in self._handlers():
            try:
                handler.refreshed(path)
            except Refusal as refusal:
                wrong = wrong or refusal
        if wrong is not None:
            raise wrong

    def record(
        self,
        door: Literal["hub", "dps", "service"],
        claimed_id: str,
        refusal: Refusal | None,
        *,
        who: AuthenticatedIdentity | None = None,
        path: tuple[str, ...] = (),
        tracking_id: str = "",
    ) -> None:
        """Write down that somebody tried to get in. `path` is what the credential was looked up for."""
        if refusal is None:
            self._is_known = True
        stream = self._stream
        presented = self.presented(path)
        carrier = "amqp-ws" if stream.carrier == "websocket" else "amqp"
        attempt = Attempt(
            at=self._parts.clock.now(),
            hub=self._parts.hub,
            door="service" if door == "service" else cast(Door, f"{door}.{carrier}"),
            tracking_id=tracking_id or new_tracking_id(),
            address=stream.address,
            claimed_id=claimed_id[:_MAX_CLAIM],
            chain=() if presented.chain is None else presented.chain.certificates,
            tls_version=stream.tls_version,
            client=self._client[:MAX_CLIENT],
            credential=credential_of(presented, who),
            checks=() if who is None else who.checks,
        )
        self._parts.attempts.record(attempt if refusal is None else refused(attempt, refusal))

    # -- from the stream -----------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self._behind:
            if data:
                # Its turn is asked for already.
                self._behind += data
                return
            data, self._behind = self._behind, b""
            self._stream.hold_reading(HOLD_INPUT, False)
        self._nested += 1
        try:
            self._take(data)
            if self._connection.is_finished and not self._is_ending:
                self._sasl_ended()
                self._is_ending = True
        except PeerError as error:
            self._broken(error)
            raise
        except Exception as error:
            self._failed(error)
        finally:
            self._nested -= 1
            self._flush()

    def lost(self) -> None:
        self._behind = b""
        work, self._work = self._work, None
        if work is not None:
            work.forget()
        self._connection.lose()
        self._share.give_back()

    def finish(self) -> None:
        self.close(Error(Condition.CONNECTION_FORCED, "the hub is shutting down"))

    def writable(self, ready: bool) -> None:
        self._is_writable = ready
        self._stream.hold_reading(HOLD_ANSWER, not ready)
        if ready:
            self._stalled_by = None
            self._send_more()
        else:
            self._stalled_by = self._parts.clock.monotonic() + _STALLED_S
            self._wake(self._stalled_by)

    def on_time(self, now: float) -> float | None:
        """The first link's deadline, a peer that does not read, its silence, and our own signs of life."""
        stream = self._stream
        if self.is_closing:
            return None
        if self._stalled_by is not None and now >= self._stalled_by:
            log.warning("connection_dropped reason=connection.slow_reader address=%s", stream.address)
            self._parts.count_end("connection.slow_reader")
            stream.abort()
            return None
        if self._link_by is not None and now >= self._link_by:
            if not self._was_attached and not self._parts.is_stopping():
                self.record("hub", "", Invalid("amqp.no_link", "nothing was attached that this peer may use"))
            self.close(Error(Condition.CONNECTION_FORCED, "nothing is attached that keeps this connection open"))
            return None
        connection = self._connection
        if connection.wake_at is not None and now >= connection.wake_at and not stream.is_held:
            try:
                connection.on_time(now)
            except PeerError as error:
                self._broken(error)
                self._flush()
                stream.close()
                return None
            self._flush()
        self._woken = self._next(now)
        return self._woken

    # -- from the connection -------------------------------------------------------------------------------------------

    def opened(self, opened: Open) -> None:
        properties = opened.properties or {}
        self._client = " ".join(
            str(properties[key])
            for key in ("product", "version", "platform", "framework", "user-agent", "com.microsoft:client-version")
            if key in properties
        )[:MAX_CLIENT]
        if self._parts.is_stopping():
            self._connection.close(Error(Condition.CONNECTION_FORCED, "the hub is shutting down"))

    def attached(self, link: Link) -> None:
        properties = link.attach.properties or {}
        version = properties.get("com.microsoft:client-version")
        if isinstance(version, str) and version:
            self._client = version[:MAX_CLIENT]
        terminus = link.target if link.is_receiver else link.source
        text = (terminus.address if terminus is not None else None) or ""
        door: Literal["hub", "dps", "service"] = "hub"
        claimed = text
        try:
            address = parse_address(text)
            claimed = address.claimed
            node = self._node(address, is_receiver=link.is_receiver)
            door = node.door
            handler = node.attach(self, link, address)
        except Refusal as refusal:
            tracking_id = new_tracking_id()
            self.record(door, claimed, refusal, path=_path_of(text), tracking_id=tracking_id)
            self._connection.refuse(link, error_of(refusal, tracking_id))
            self.count_refused()
            return
        link.context = handler
        if handler.keeps_open:
            self._keeping += 1
            self._was_attached = True
            self._link_by = None

    def delivered(self, link: Link, delivery: Delivery) -> None:
        handler = link.context
        if handler is None:
            return
        try:
            handler.delivered(delivery)
        except Refusal as refusal:
            self.tell_end(refusal.reason)
            error = error_of(refusal)
            self.detach(link, error)
            handler.detached(error)

    def credited(self, link: Link) -> None:
        if link.context is not None:
            link.context.credited()

    def drain_requested(self, link: Link) -> None:
        if link.context is not None:
            link.context.drain_requested()

    def settled(self, link: Link, sent: Sent, state: DeliveryState | None) -> None:
        if link.context is not None:
            link.context.settled(sent, state)

    def detached(self, link: Link, error: Error | None, *, closed: bool) -> None:
        handler = link.context
        link.context = None
        if isinstance(handler, LinkHandler):
            self._left(handler)
            handler.detached(error)

    def closed(self, error: Error | None) -> None:
        """What there is to say was said to the links; the stream closes once our close is written."""

    # -- from work (`servers/work.py`) ---------------------------------------------------------------------------------

    def hold_requests(self, hold: bool) -> None:
        self._stream.hold_reading(HOLD_REQUESTS, hold)

    def work_failed(self, error: BaseException) -> None:
        self._failed(error)

    # ------------------------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Read what came, as far as this turn of the loop has time for it."""
        connection = self._connection
        now = self._parts.clock.monotonic()
        begun = perf_counter()
        until = begun + _TURN_S
        at, end, size = 0, len(data), _PIECE
        while not self._is_ending:
            if end - at <= size:
                connection.receive(data[at:] if at else data, now)
                self._hold_no_more()
                return
            connection.receive(data[at : at + size], now)
            self._hold_no_more()
            at += size
            before, begun = begun, perf_counter()
            size = min(2 * size, _MAX_PIECE) if self._is_known and begun - before < _CHEAP_S else _PIECE
            if begun >= until:
                self._behind = data[at:]
                self._stream.hold_reading(HOLD_INPUT, True)
                asyncio.get_running_loop().call_soon(self._stream.go_on)
                return

    def _hold_no_more(self) -> None:
        """Close a connection that keeps too much in memory (`allowance`): the standard's parts of all, what has not
        arrived whole and what waits for credit of strangers."""
        connection = self._connection
        size = _PART_BYTES * (len(connection.sessions) + connection.link_count)
        if not self._is_known:
            size += connection.partial_bytes + connection.unread_bytes + self.credentials.held_bytes
            size += self.waiting_bytes
        if self._share.hold(size, len(self.sessions) + len(self._principals)) or self.is_closing:
            return
        refusal = TooLarge(
            "amqp.memory", "sessions, links and tokens of those who were not let in take too much memory"
        )
        self._parts.count_end(refusal.reason)
        log.info("connection_ended reason=%s address=%s", refusal.reason, self._stream.address)
        if not self._was_attached:
            self.record("hub", "", refusal)
        self.close(Error(Condition.RESOURCE_LIMIT_EXCEEDED, refusal.message))
        # Its sessions are gone with that; the next one may have the room.
        self._share.give_back()

    def _send_more(self) -> None:
        """There is room again: links go on with what they have."""
        self._nested += 1
        try:
            for session in tuple(self._connection.sessions.values()):
                for link in tuple(session.links.values()):
                    if isinstance(link.context, LinkHandler) and link.sendable:
                        link.context.credited()
        finally:
            self._nested -= 1
            self._flush()

    def count_refused(self) -> None:
        """Somebody was not let in; a stranger has so many tries."""
        self._refused += 1
        if self._refused >= _MAX_REFUSED and not self._is_known and not self.is_closing:
            self._parts.count_end("amqp.refused")
            log.info("connection_ended reason=amqp.refused address=%s", self._stream.address)
            self.close(
                Error(Condition.UNAUTHORIZED_ACCESS, f"{self._refused} tries to get in, and none that succeeded")
            )

    def _node(self, address: Address, *, is_receiver: bool) -> Node:
        for node in self._parts.nodes:
            if node.serves(address, is_receiver=is_receiver):
                return node
        where = masked(str(address)[:_MAX_CLAIM])
        raise NotFound("link.unknown", f"there is nothing to {'send to' if is_receiver else 'receive from'} '{where}'")

    def _handlers(self) -> list[LinkHandler]:
        return [
            link.context
            for session in self._connection.sessions.values()
            for link in session.links.values()
            if isinstance(link.context, LinkHandler)
        ]

    def _left(self, handler: LinkHandler) -> None:
        if isinstance(handler, Outbox):
            self.waiting_bytes -= handler.waiting_bytes
        if handler.keeps_open:
            self._keeping -= 1
            if not self._keeping:
                self._link_by = self._parts.clock.monotonic() + _NEXT_LINK_S
                self._wake(self._link_by)

    def _flush(self) -> None:
        if self._nested:
            return
        connection = self._connection
        if connection.pending_bytes:
            self._stream.write(connection.take())
        if self._is_ending:
            self._stream.close()
            return
        if self._has_more:
            self._has_more = False
            if self._is_writable:
                asyncio.get_running_loop().call_soon(self._send_more)
        wake_at = connection.wake_at
        if wake_at is not None:
            self._wake(wake_at)

    def _wake(self, by: float) -> None:
        if by < self._woken:
            self._woken = by
            self._stream.wake(by)

    def _next(self, now: float) -> float:
        """When to look again. A connection that is held is looked at again soon: its silence is ours."""
        soonest = now + (5.0 if self._stream.is_held else 3600.0)
        wake_at = self._connection.wake_at
        if wake_at is not None and wake_at > now:
            soonest = min(soonest, wake_at)
        return min(by for by in (soonest, self._link_by, self._stalled_by) if by is not None)

    def _broken(self, error: PeerError) -> None:
        self._parts.count_end(error.reason)
        if self._was_attached:
            log.info("connection_ended reason=%s address=%s message=%r", error.reason, self._stream.address, str(error))
        else:
            self.record("hub", "", self.credentials.refused or Invalid(error.reason, str(error)))

    def _sasl_ended(self) -> None:
        """SASL said no, and that is the end of the connection: the operator reads why."""
        refusal = self.credentials.refused
        if refusal is not None:
            door, claimed = parse_user(self.credentials.user)
            self.record(door, claimed, refusal)

    def _failed(self, error: BaseException) -> None:
        if self.is_closing:
            return
        if isinstance(error, Refusal):
            log.info("connection_ended reason=%s address=%s", error.reason, self._stream.address)
            self.close(error_of(error))
        elif isinstance(error, PeerError):
            # Parts of a message are read when somebody wants them, which may be long after it was taken.
            self._broken(error)
            self.close(Error(error.condition, error.description))
        else:
            log.error("connection_failed address=%s", self._stream.address, exc_info=error)
            self.close(Error(Condition.INTERNAL_ERROR, "an error of ours; see the log"))


def _path_of(text: str) -> tuple[str, ...]:
    try:
        return parse_address(text).segments
    except Invalid:
        return ()

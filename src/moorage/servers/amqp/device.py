"""Devices and modules over AMQP (contract/devices.md 4.3 to 4.6): links to `/devices/{d}[/modules/{m}]/...`.

An identity is one live session, from its first link on a connection to its last; several identities may share a
connection, each judged by its own credential. Three rules hold a session together, as they do over MQTT:

* Telemetry is accepted when it is durable, in the order in which it came, and not by a session that was taken over.
* A message to the device is under lock until the device gives it an outcome, and the outcome is on disk before the
  hub settles it in turn.
* What a device can have us do at once is bounded: by link credit, and by the work that one connection may have running.
"""

from __future__ import annotations

import logging
import secrets
import uuid
from collections import deque
from typing import Any, Final

from moorage.dialects.amqp_address import Address
from moorage.dialects.amqp_device import (
    TwinRequest,
    cloud_message,
    desired_patch,
    method_answer,
    method_request,
    telemetry_of,
    twin_answer,
    twin_request,
)
from moorage.dialects.json_text import encode_json, parse_object
from moorage.dialects.mqtt_hub import error_body
from moorage.dialects.refusals import wire_error
from moorage.dialects.telemetry_source import telemetry_source
from moorage.errors import Invalid, PreconditionFailed, Refusal, TooLarge, Unavailable
from moorage.hub import twins
from moorage.hub.message_locks import MessageLocks
from moorage.hub.sessions import Line
from moorage.hub.telemetry_log import partition_of
from moorage.identities.credentials import AuthenticatedIdentity
from moorage.identities.sas import identity_path
from moorage.ids import IdentityName, Secret, new_tracking_id, parse_device_id, parse_module_id
from moorage.protocols.amqp.errors import Condition
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.performatives import Accepted, DeliveryState, Error, Rejected
from moorage.servers.amqp.credentials import folded_path
from moorage.servers.amqp.nodes import LinkHandler, Outbox
from moorage.servers.amqp.stream import AMQPStream
from moorage.servers.hub_session import HubParts
from moorage.servers.timers import NO_SLOT

__all__ = ["DeviceNode", "DeviceSession"]

log = logging.getLogger(__name__)

# Telemetry that may be on its way or not yet durable on one link. .NET stops without credit (devices.md 4.4).
_TELEMETRY_CREDIT: Final = 1000
_REQUEST_CREDIT: Final = 100
_MAX_TELEMETRY_BYTES: Final = 1024 * 1024
_MAX_REQUEST_BYTES: Final = 256 * 1024
_MODEL_ID: Final = "com.microsoft:model-id"
# Ends after which the device may simply come back; everything else is about its credential.
_NOT_ITS_FAULT: Final = ("session.taken_over", "log.", "store.", "hub.", "link.")


class DeviceNode:
    """Everything below `/devices`."""

    door: Final = "hub"

    def __init__(self, parts: HubParts, locks: MessageLocks, owner: str) -> None:
        self.parts = parts
        self.locks = locks
        self._owner = owner

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        return _kind(address, is_receiver=is_receiver) is not None

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        name = _name(address)
        session = peer.sessions.get(name)
        if session is None:
            session = self._begin(peer, name)
        handler: LinkHandler
        match _kind(address, is_receiver=link.is_receiver):
            case "telemetry":
                handler = _TelemetryLink(session)
                peer.accept(link, credit=_TELEMETRY_CREDIT, max_message_bytes=_MAX_TELEMETRY_BYTES)
                session.remember_model((link.attach.properties or {}).get(_MODEL_ID))
            case "messages":
                handler = _MessagesLink(session, link)
                session.messages_link = handler
                peer.accept(link)
            case "methods":
                handler = _MethodsLink(session, link)
                session.methods_link = handler
                peer.accept(link)
                self.parts.methods.came_online(self.parts.hub, name)
            case "method answers":
                handler = _AnswersLink(session)
                peer.accept(link, credit=_REQUEST_CREDIT, max_message_bytes=_MAX_REQUEST_BYTES)
            case "twin":
                handler = _TwinLink(session, link)
                session.twin_link = handler
                peer.accept(link)
            case _:
                handler = _TwinRequestsLink(session)
                peer.accept(link, credit=_REQUEST_CREDIT, max_message_bytes=_MAX_REQUEST_BYTES)
        session.links[link] = handler
        return handler

    def _begin(self, peer: AMQPStream, name: IdentityName) -> DeviceSession:
        parts = self.parts
        who = peer.authenticate(name)
        session = DeviceSession(self, peer, who)
        session.epoch = parts.directory.claim(parts.hub, name, self._owner)
        before = parts.live.add(session)
        if before is not None:
            before.end("session.taken_over", f"'{name}' connected again from {peer.stream.address}")
        parts.activity.connected(name)
        peer.sessions[name] = session
        peer.record("hub", str(name), None, who=who, path=identity_path(name))
        return session


def _name(address: Address) -> IdentityName:
    """Raises `Invalid` (`id.device`, `id.module`)."""
    segments = address.segments
    module = parse_module_id(segments[3]) if address.words[2:3] == ("modules",) else None
    return IdentityName(parse_device_id(segments[1]), module)


def _kind(address: Address, *, is_receiver: bool) -> str | None:
    """What a link to `address` is for, seen from the hub, which receives on it or sends."""
    words = address.words
    if len(words) < 3 or words[0] != "devices":
        return None
    rest = words[4:] if words[2] == "modules" and len(words) > 4 else words[2:]
    if rest == ("messages", "events"):
        # With the role of a receiver a module asks for its inputs (4.3).
        return "telemetry" if is_receiver else "messages"
    if rest == ("messages", "devicebound"):
        return None if is_receiver else "messages"
    if rest == ("methods", "devicebound"):
        return "method answers" if is_receiver else "methods"
    if rest == ("twin",):
        return "twin requests" if is_receiver else "twin"
    return None


class DeviceSession:
    """A live session (`hub.sessions.LiveSession`), and the `Sender` of its telemetry."""

    __slots__ = (
        "_call_space",
        "_is_over",
        "_node",
        "_path",
        "peer",
        "_source",
        "_token",
        "_unacknowledged",
        "_wants_desired",
        "epoch",
        "links",
        "messages_link",
        "methods_link",
        "model_id",
        "name",
        "slot",
        "twin_link",
        "who",
    )

    def __init__(self, node: DeviceNode, peer: AMQPStream, who: AuthenticatedIdentity) -> None:
        self.name = who.identity.name
        self.who = who
        self.epoch = 0
        self.slot = NO_SLOT
        self.links: dict[Link, LinkHandler] = {}
        self.messages_link: _MessagesLink | None = None
        self.methods_link: _MethodsLink | None = None
        self.twin_link: _TwinLink | None = None
        self.model_id: str | None = None
        self._node = node
        self.peer = peer
        self._token: Secret | None = self._own_token()
        self._path = folded_path(identity_path(self.name))
        self._source: tuple[bytes, int] | None = None
        # Deliveries that wait for the disk, oldest first, each with the messages of it that do.
        self._unacknowledged: deque[list[Any]] = deque()
        self._wants_desired = False
        self._is_over = False
        # The upper half of the correlation ids of this session's calls: an answer to another one's answers nothing.
        self._call_space = secrets.randbits(64) << 64

    @property
    def last_received(self) -> float:
        return self.peer.stream.last_received

    def line(self) -> Line:
        stream = self.peer.stream
        leaf = next(iter(stream.peer_chain().certificates), None)
        over = " over WebSocket" if stream.carrier == "websocket" else ""
        return Line(f"AMQP 1.0{over}", stream.tls_version, stream.address, leaf)

    # -- beginning and end ---------------------------------------------------------------------------------------------

    def remember_model(self, model_id: object) -> None:
        if not isinstance(model_id, str) or not model_id or model_id == self.model_id:
            return
        self.model_id = model_id
        self._source = None
        parts = self._node.parts
        self.peer.run(lambda: parts.twins.set_model_id(parts.hub, self.name, model_id))

    def refresh(self, path: tuple[str, ...]) -> None:
        """A token came for `path`: go on with it where this identity is there or below. Raises `Unauthenticated`."""
        if self._path[: len(path)] != path:
            return
        token = self._own_token()
        if self.who.method.type != "sas" or token is self._token or self._is_over:
            return
        who = self.peer.authenticate(self.name)
        self._token = token
        live = self._node.parts.live
        live.remove(self)
        self.who = who
        live.add(self)

    def _own_token(self) -> Secret | None:
        return self.peer.credentials.token(identity_path(self.name))

    def end(self, reason: str, message: str) -> None:
        """Detach everything of this identity; the connection too, where nothing else is on it."""
        if self._is_over:
            return
        log.info("session_ended reason=%s device=%s message=%r", reason, self.name, message)
        self._node.parts.counters.session_ended(reason)
        self._node.parts.activity.ending(self.name, reason, message)
        if reason == "session.taken_over":
            error = Error(Condition.STOLEN, "the identity connected again")
        elif reason.startswith(_NOT_ITS_FAULT):
            error = Error(Condition.DETACH_FORCED, message)
        else:
            error = Error(Condition.UNAUTHORIZED_ACCESS, f"{reason}: what let this identity in does so no more")
        self._leave()
        for link in tuple(self.links):
            self.peer.detach(link, error)
        self.links.clear()
        self.peer.close_unless_used(error)

    def left(self, handler: LinkHandler) -> None:
        """A link is gone, by the device or with its connection."""
        self.links = {link: other for link, other in self.links.items() if other is not handler}
        if self.messages_link is handler:
            self.messages_link = None
        if self.methods_link is handler:
            self.methods_link = None
        if self.twin_link is handler:
            self.twin_link = None
            self._wants_desired = False
        if not self.links:
            self._leave()

    def _leave(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        parts = self._node.parts
        parts.live.remove(self)
        parts.directory.release(parts.hub, self.name, self.epoch)
        parts.activity.disconnected(self.name)
        parts.telemetry.forget(self)
        parts.wheel.forget(self)
        self._unacknowledged.clear()
        if self.peer.sessions.get(self.name) is self:
            del self.peer.sessions[self.name]

    # -- telemetry -----------------------------------------------------------------------------------------------------

    def telemetry(self, delivery: Delivery) -> None:
        parts = self._node.parts
        try:
            messages = telemetry_of(delivery)
        except Refusal as refusal:
            self.peer.reject(delivery, refusal)
            return
        if self._source is None:
            self._source = (
                telemetry_source(self.who, self.model_id),
                partition_of(self.name.device_id, parts.partitions),
            )
        source, partition = self._source
        waits = not delivery.settled
        if waits:
            self._unacknowledged.append([delivery, len(messages)])
        try:
            for message in messages:
                parts.telemetry.accept(self, source, partition, message.bag, message.body, acknowledge=waits)
        except Unavailable as refusal:
            self.telemetry_failed(refusal)

    def telemetry_durable(self, count: int) -> None:
        waiting = self._unacknowledged
        durable: list[Delivery] = []
        while count and waiting:
            oldest = waiting[0]
            taken = min(count, oldest[1])
            oldest[1] -= taken
            count -= taken
            if not oldest[1]:
                durable.append(waiting.popleft()[0])
        if durable and self._is_current():
            self.peer.accept_all(durable)

    def telemetry_failed(self, refusal: Unavailable) -> None:
        self.end(refusal.reason, refusal.message)

    def hold_reading(self, hold: bool) -> None:
        self.peer.hold_reading(hold)

    def _is_current(self) -> bool:
        parts = self._node.parts
        return not self._is_over and parts.directory.is_current(parts.hub, self.name, self.epoch)

    # -- cloud-to-device messages --------------------------------------------------------------------------------------

    def messages_waiting(self) -> None:
        """Send what waits and nobody holds, as far as the device gave credit."""
        handler = self.messages_link
        if handler is None or self._is_over:
            return
        parts, locks = self._node.parts, self._node.locks
        for message in locks.free(parts.hub, self.name):
            if not self.peer.sendable(handler.link):
                break
            lock = locks.hold(message)
            tag = uuid.UUID(lock).bytes_le  # .NET reads it as a GUID
            payload = cloud_message(message, lock)
            if 0 < (handler.link.attach.max_message_size or 0) < len(payload):
                # The C SDK takes 64 KiB with all that is around the body. Those behind it go on, and it waits.
                log.warning(
                    "message_too_large_for_link device=%s sequence=%d bytes=%d most=%s",
                    self.name,
                    message.sequence,
                    len(payload),
                    handler.link.attach.max_message_size,
                )
                continue
            sent = self.peer.send(handler.link, payload, tag=tag, context=lock)
            if sent.settled:
                # The device asked for messages without outcomes: sent is settled.
                self.message_settled(sent, Accepted())
        # Also what an earlier session held, or a request over HTTPS, is free again then.
        until = locks.next_end(parts.hub, self.name)
        if until is not None:
            parts.wheel.wake(self, until)

    def on_time(self, now: float) -> float | None:
        """Locks may have come to their end: what they held is sent again."""
        self.messages_waiting()
        return None

    def message_settled(self, sent: Sent, state: DeliveryState | None) -> None:
        if state is None:
            # No outcome: the lock runs out.
            return
        self.peer.run(lambda: self._settle(sent, state))

    async def _settle(self, sent: Sent, state: DeliveryState) -> None:
        parts, locks = self._node.parts, self._node.locks
        if isinstance(state, Accepted):
            settle = locks.complete
        elif isinstance(state, Rejected):
            settle = locks.reject
        else:
            settle = locks.abandon
        if not self._is_current():
            return
        try:
            await settle(parts.hub, self.name, sent.context)
        except PreconditionFailed as refusal:
            log.info("settled_late reason=%s device=%s", refusal.reason, self.name)
        if not self._is_over:
            self.peer.settle(sent, state)
            self.messages_waiting()

    # -- methods -------------------------------------------------------------------------------------------------------

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        handler = self.methods_link
        if handler is None or self._is_over:
            return False
        call_id = uuid.UUID(int=self._call_space | int(request_id, 16))
        request = method_request(call_id, method, payload)
        most = handler.link.attach.max_message_size or 0
        if 0 < most < len(request):
            raise TooLarge("method.payload", f"the call has {len(request)} bytes, '{self.name}' takes at most {most}")
        self._say(handler, request)
        return True

    def method_answered(self, delivery: Delivery) -> None:
        call_id, reply = method_answer(delivery.message)
        self.peer.settle(delivery, Accepted())
        if call_id is not None and call_id.int >> 64 << 64 == self._call_space:
            parts = self._node.parts
            parts.methods.answered(parts.hub, self.name, f"{call_id.int & (1 << 64) - 1:x}", reply)

    # -- twins ---------------------------------------------------------------------------------------------------------

    def desired_changed(self, patch: dict[str, Any], version: int) -> None:
        handler = self.twin_link
        if handler is not None and self._wants_desired and not self._is_over:
            self._say(handler, desired_patch(patch, version))

    def twin_asked(self, delivery: Delivery) -> None:
        message = delivery.message
        try:
            request = twin_request(message)
        except Invalid as refusal:
            properties = message.properties
            self.peer.settle(delivery, Accepted())
            self._answer_error(None if properties is None else properties.correlation_id, refusal)
            return
        self.peer.settle(delivery, Accepted())
        self.peer.run(lambda: self._answer(request))

    async def _answer(self, request: TwinRequest) -> None:
        try:
            answer = await self._answer_of(request)
        except Refusal as refusal:
            self._answer_error(request.correlation, refusal)
            return
        self._answer_twin(answer)

    async def _answer_of(self, request: TwinRequest) -> bytes:
        parts = self._node.parts
        if request.kind == "get":
            twin = parts.twins.get(parts.hub, self.name)
            return twin_answer(request.correlation, 200, None, encode_json(twins.device_view(twin)))
        if request.kind == "report":
            patch = parse_object(request.body, what="the reported properties")
            version = await parts.twins.report(parts.hub, self.name, patch, expected_version=request.version)
            return twin_answer(request.correlation, 204, version)
        self._wants_desired = request.kind == "subscribe"
        return twin_answer(request.correlation, 200)

    def _answer_error(self, correlation: object, refusal: Refusal) -> None:
        error = wire_error(refusal)
        body = error_body(error.code, refusal.message, new_tracking_id(), self._node.parts.clock.now())
        self._answer_twin(twin_answer(correlation, error.status, None, body))

    def _answer_twin(self, payload: bytes) -> None:
        handler = self.twin_link
        if handler is not None and not self._is_over:
            self._say(handler, payload)

    def _say(self, handler: Outbox, payload: bytes) -> None:
        try:
            handler.say(payload)
        except Refusal as refusal:
            self.end(refusal.reason, refusal.message)


class _OfDevice(LinkHandler):
    __slots__ = ("session",)

    def __init__(self, session: DeviceSession) -> None:
        self.session = session

    def detached(self, error: Error | None) -> None:
        self.session.left(self)

    def refreshed(self, path: tuple[str, ...]) -> None:
        self.session.refresh(path)


class _TelemetryLink(_OfDevice):
    __slots__ = ()

    def delivered(self, delivery: Delivery) -> None:
        self.session.telemetry(delivery)


class _AnswersLink(_OfDevice):
    __slots__ = ()

    def delivered(self, delivery: Delivery) -> None:
        self.session.method_answered(delivery)


class _TwinRequestsLink(_OfDevice):
    __slots__ = ()

    def delivered(self, delivery: Delivery) -> None:
        self.session.twin_asked(delivery)


class _MessagesLink(_OfDevice):
    __slots__ = ("link",)

    def __init__(self, session: DeviceSession, link: Link) -> None:
        super().__init__(session)
        self.link = link

    def credited(self) -> None:
        self.session.messages_waiting()

    def drain_requested(self) -> None:
        self.session.messages_waiting()
        self.session.peer.drained(self.link)

    def settled(self, sent: Sent, state: DeliveryState | None) -> None:
        self.session.message_settled(sent, state)


class _OutOfDevice(Outbox):
    __slots__ = ("session",)

    def __init__(self, session: DeviceSession, link: Link) -> None:
        super().__init__(session.peer, link)
        self.session = session

    def detached(self, error: Error | None) -> None:
        self.session.left(self)

    def refreshed(self, path: tuple[str, ...]) -> None:
        self.session.refresh(path)


class _MethodsLink(_OutOfDevice):
    __slots__ = ()


class _TwinLink(_OutOfDevice):
    __slots__ = ()

"""One identity connected over MQTT: telemetry in, acknowledgements out in order, messages, methods and twins both ways.

The session begins when CONNECT was accepted and ends with the connection. Three rules hold it together:

* PUBACKs leave in the order in which the publishes came, across telemetry, twins and methods (decisions S12): a publish
  that waits for the disk holds back the acknowledgements behind it.
* Nothing is acknowledged before it is durable, and nothing by a session that was taken over (S1).
* What a device can have us do at once is bounded: so many requests run (`servers/work.py`), the rest waits in order and
  unread, and at most `MAX_UNACKNOWLEDGED` packets wait for the device's PUBACK.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from moorage.clock import Clock
from moorage.dialects import mqtt_hub, refusals
from moorage.dialects.bag import with_property
from moorage.dialects.json_text import encode_json, parse_object
from moorage.dialects.mqtt_hub import NOT_SUBSCRIBED, CertificateRequest, MethodAnswer, TwinGet, TwinReport
from moorage.dialects.telemetry_source import telemetry_source
from moorage.errors import Forbidden, Refusal, RemoteProtocolError, Unavailable
from moorage.hub import telemetry, twins
from moorage.hub.activity import ActivityTracker
from moorage.hub.messages import MessageService
from moorage.hub.methods import MethodService
from moorage.hub.model import HubTables, MqttSession
from moorage.hub.sessions import Line, LiveSessions, SessionDirectory
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.telemetry_log import partition_of
from moorage.hub.twins import TwinService
from moorage.identities.credentials import AuthenticatedIdentity
from moorage.ids import HubId, new_tracking_id
from moorage.protocols.mqtt.connection import Connection, keep_alive_deadline
from moorage.protocols.mqtt.packets import (
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from moorage.servers import subscriptions
from moorage.servers.acknowledgements import Pending, Waiting, take_ready
from moorage.servers.deliveries import MAX_UNACKNOWLEDGED, Deliveries, Unacknowledged
from moorage.servers.streams import HOLD_BACKLOG, HOLD_CONNACK, HOLD_REQUESTS, ByteStream
from moorage.servers.subscriptions import CREDENTIALS, DESIRED, MESSAGES, METHODS, NO_SUBSCRIPTIONS, TWIN_ANSWERS
from moorage.servers.timers import TimerWheel
from moorage.servers.work import Work
from moorage.store import Store

__all__ = ["HubParts", "HubSession", "SessionCounters"]

log = logging.getLogger(__name__)

_NO_CERTIFICATES = Forbidden("certificate.not_issued", "certificates are not issued to connected devices here")
# Ends after which the Will is published: the device was lost, not turned away [MQTT-3.1.2-8].
_NETWORK_REASONS = ("mqtt.keep_alive", "session.taken_over")


@dataclass(frozen=True, slots=True)
class HubParts:
    """The hub's services as a session needs them; made once by the composition root."""

    hub: HubId
    store: Store[HubTables]
    clock: Clock
    directory: SessionDirectory
    live: LiveSessions
    telemetry: TelemetryIntake
    twins: TwinService
    methods: MethodService
    messages: MessageService
    activity: ActivityTracker
    wheel: TimerWheel
    counters: SessionCounters
    partitions: int
    unacknowledged: Unacknowledged = field(default_factory=Unacknowledged)


class SessionCounters(Protocol):
    """Numbers for /metrics."""

    def session_ended(self, reason: str) -> None: ...


class HubSession:
    """A live session; also the `Sender` of its telemetry."""

    __slots__ = (
        "_acks",
        "_connection",
        "_deliveries",
        "_durable",
        "_filters",
        "_keep_alive_s",
        "_model_id",
        "_parts",
        "_partition",
        "_prefix",
        "_source",
        "_stream",
        "_subscriptions",
        "_will",
        "_work",
        "epoch",
        "is_starting_clean",
        "name",
        "who",
    )

    def __init__(
        self,
        parts: HubParts,
        stream: ByteStream,
        connection: Connection,
        connect: Connect,
        who: AuthenticatedIdentity,
        model_id: str | None,
    ) -> None:
        name = who.identity.name
        self.name = name
        self.who = who
        self.epoch = 0
        self._parts = parts
        self._stream = stream
        self._connection = connection
        self._keep_alive_s = keep_alive_deadline(connect.keep_alive_s)
        self._will = connect.will
        self._prefix = mqtt_hub.events_prefix(name)
        self._model_id = model_id
        self._partition = 0
        # Who sends, as the log has it, and the partition that follows from it: made for the first message.
        self._source: bytes | None = None
        self._subscriptions = NO_SUBSCRIPTIONS
        # Clean session 0 keeps the filters themselves; None while nothing has to be remembered.
        self._filters: dict[str, int] | None = None if connect.clean_session else {}
        # Publishes not yet acknowledged, oldest first; None when there are none.
        self._acks: Waiting | None = None
        self._durable = 0
        # What the hub sent and the device has not acknowledged; None until the first packet id is needed.
        self._deliveries: Deliveries | None = None
        # Twin reads and writes, subscriptions and settlements; None until there is one.
        self._work: Work | None = None
        # A stored session is being forgotten: whoever takes over from this one must not find it any more.
        self.is_starting_clean = False

    # -- beginning and end ---------------------------------------------------------------------------------------------

    def resume(self, stored: MqttSession) -> None:
        """Go on with a stored session's subscriptions; what it had sent is sent again once CONNACK is out."""
        self._filters = dict(stored.subscriptions)
        self._subscriptions = subscriptions.granted_to(self._filters, self.name)

    def start_clean(self, then: Callable[[], None], otherwise: Callable[[Refusal], None]) -> None:
        """Forget the stored session, durably, before `then`; what the device sends meanwhile waits."""
        self.is_starting_clean = True
        self._stream.hold_reading(HOLD_CONNACK, True)
        self.run(lambda: self._forget_stored(then, otherwise))

    async def _forget_stored(self, then: Callable[[], None], otherwise: Callable[[Refusal], None]) -> None:
        parts = self._parts
        try:
            await parts.store.write(lambda tables: tables.mqtt_sessions.delete(parts.hub, self.name))
        except Refusal as refusal:
            otherwise(refusal)
            return
        finally:
            self.is_starting_clean = False
        then()
        self._stream.hold_reading(HOLD_CONNACK, False)
        # What came with CONNECT was held until CONNACK.
        self._stream.go_on()

    def remember_model(self, model_id: str) -> None:
        self.run(lambda: self._parts.twins.set_model_id(self._parts.hub, self.name, model_id))

    def started(self) -> None:
        """CONNACK is out: what waited may go."""
        parts = self._parts
        self._stream.wake(self._stream.last_received + self._keep_alive_s)
        sent = parts.unacknowledged.take(parts.hub, self.name)
        if self._subscriptions is NO_SUBSCRIPTIONS:
            return
        if sent and self._subscriptions[MESSAGES] == 1:
            self._made_deliveries().resume(sent)
        self._subscribed(self._subscriptions)

    def end(self, reason: str, message: str) -> None:
        """Close from our side. Nothing is acknowledged any more."""
        if self._stream.is_closing:
            return
        log.info("session_ended reason=%s device=%s message=%r", reason, self.name, message)
        if reason not in _NETWORK_REASONS:
            # Who may no longer be here may not speak once more either.
            self._will = None
        self._parts.counters.session_ended(reason)
        self._parts.activity.ending(self.name, reason, message)
        self._leave_deliveries()
        self._connection.close()
        self._stream.close()

    def lost(self) -> None:
        parts = self._parts
        parts.live.remove(self)
        parts.directory.release(parts.hub, self.name, self.epoch)
        parts.activity.disconnected(self.name)
        self._leave_deliveries()
        work, self._work = self._work, None
        if work is not None:
            work.forget()
        will, self._will = self._will, None
        if will is not None:
            self._publish_will(will.topic, will.body, retain=will.retain)
        parts.telemetry.forget(self)

    def _leave_deliveries(self) -> None:
        """To the next connection of this session, which may have begun already."""
        deliveries, self._deliveries = self._deliveries, None
        if deliveries is None:
            return
        sent = deliveries.close()
        if sent and self._filters is not None:
            self._parts.unacknowledged.keep(self._parts.hub, self.name, sent)

    def finish(self) -> None:
        """The hub is stopping. What is not acknowledged by now will be sent again."""
        self._stream.close()

    def writable(self, ready: bool) -> None:
        if ready:
            self.messages_waiting()

    def on_time(self, now: float) -> float | None:
        """Keep-alive."""
        if self._stream.is_closing:
            return None
        if self._stream.is_held:
            return now + self._keep_alive_s
        silent_until = self._stream.last_received + self._keep_alive_s
        if now >= silent_until:
            self.end("mqtt.keep_alive", f"nothing came from '{self.name}' for {self._keep_alive_s:.0f} s")
            return None
        return silent_until

    # -- from the device -----------------------------------------------------------------------------------------------

    def published(self, topic: bytes, body: bytes, packet_id: int, flags: int) -> None:
        """A PUBLISH; telemetry takes the short way down."""
        prefix = self._prefix
        if not topic.startswith(prefix):
            self._request(topic, body, packet_id)
            return
        bag = topic[len(prefix) :]
        if bag:
            if bag[0] != 0x2F:
                raise RemoteProtocolError("mqtt.topic", f"'{self.name}' may not publish to {topic[:200]!r}")
            bag = bag[1:]
            if not mqtt_hub.bag_is_readable(bag):
                raise RemoteProtocolError(
                    "telemetry.bag", f"the property bag of '{self.name}' is not UTF-8: {bag[:200]!r}"
                )
        if flags & 1:
            bag = with_property(bag, b"mqtt-retain=true")
        self._accept(bag, body, packet_id)

    def packet(self, packet: Packet) -> None:
        if isinstance(packet, PubAck):
            deliveries = self._deliveries
            if deliveries is not None:
                deliveries.acknowledged(packet.packet_id, settle=self._is_current())
                if deliveries.is_idle:
                    deliveries.close()
                    self._deliveries = None
        elif isinstance(packet, PingReq):
            self._stream.write(self._connection.send(PingResp()))
        elif isinstance(packet, Subscribe):
            self._subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            self._unsubscribe(packet)
        elif isinstance(packet, Disconnect):
            self._will = None
            self._stream.close()

    def _accept(self, bag: bytes, body: bytes, packet_id: int) -> None:
        if len(bag) + len(body) > telemetry.MAX_MESSAGE_BYTES:
            # The limit is on decoded sizes (decisions W4), and escapes make a bag up to three times as long.
            size = mqtt_hub.bag_size(bag) + len(body)
            if size > telemetry.MAX_MESSAGE_BYTES:
                raise RemoteProtocolError(
                    "telemetry.too_large",
                    f"'{self.name}' sent {size} bytes of body and properties, "
                    f"the limit is {telemetry.MAX_MESSAGE_BYTES} together",
                )
        source = self._source or self._name_source()
        try:
            self._parts.telemetry.accept(self, source, self._partition, bag, body, acknowledge=packet_id != 0)
        except Unavailable as refusal:
            self.telemetry_failed(refusal)
            return
        if packet_id:
            if self._acks is None:
                self._acks = [packet_id]
            else:
                self._acks.append(packet_id)

    def _name_source(self) -> bytes:
        parts, name = self._parts, self.name
        self._partition = partition_of(name.device_id, parts.partitions)
        self._source = source = telemetry_source(self.who, self._model_id)
        return source

    def _publish_will(self, topic: bytes, body: bytes, *, retain: bool) -> None:
        bag = topic[len(self._prefix) :].removeprefix(b"/")
        if retain:
            bag = with_property(bag, b"mqtt-retain=true")
        try:
            self._parts.telemetry.accept(
                self,
                self._source or self._name_source(),
                self._partition,
                with_property(bag, b"iothub-MessageType=Will"),
                body,
                acknowledge=False,
            )
        except Unavailable as refusal:
            log.warning("will_lost device=%s reason=%s", self.name, refusal.reason)

    def _request(self, topic: bytes, body: bytes, packet_id: int) -> None:
        request = mqtt_hub.parse_request(topic)
        if isinstance(request, MethodAnswer):
            self._acknowledge(packet_id)
            reply = mqtt_hub.parse_method_reply(request, body)
            self._parts.methods.answered(self._parts.hub, self.name, request.request_id, reply)
        elif isinstance(request, TwinGet):
            self._acknowledge(packet_id)
            self.run(lambda: self._answer_twin_get(request.request_id))
        elif isinstance(request, CertificateRequest):
            self._acknowledge(packet_id)
            status, error = self._error_of(_NO_CERTIFICATES)
            topic = mqtt_hub.certificate_answer_topic(status, request.request_id)
            self._send(topic, error, self._subscriptions[CREDENTIALS])
        else:
            pending = Pending(packet_id) if packet_id else None
            if pending is not None:
                self._enqueue_ack(pending)
            self.run(lambda: self._report(request, body, pending))

    def line(self) -> Line:
        stream = self._stream
        leaf = next(iter(stream.peer_chain().certificates), None)
        protocol = "MQTT 3.1.1 over WebSocket" if stream.carrier == "websocket" else "MQTT 3.1.1"
        return Line(protocol, stream.tls_version, stream.address, leaf)

    # -- acknowledgements ----------------------------------------------------------------------------------------------

    def telemetry_durable(self, count: int) -> None:
        self._durable += count
        self._drain()

    def telemetry_failed(self, refusal: Unavailable) -> None:
        self.end(refusal.reason, refusal.message)

    def hold_reading(self, hold: bool) -> None:
        self._stream.hold_reading(HOLD_BACKLOG, hold)

    def _acknowledge(self, packet_id: int) -> None:
        """Acknowledge a publish that has nothing to wait for but its turn."""
        if packet_id:
            self._enqueue_ack(Pending(packet_id, is_done=True))
            self._drain()

    def _enqueue_ack(self, pending: Pending) -> None:
        if self._acks is None:
            self._acks = [pending]
        else:
            self._acks.append(pending)

    def _drain(self) -> None:
        acks = self._acks
        if not acks or self._stream.is_closing:
            return
        ready, self._durable = take_ready(acks, self._durable)
        if not acks:
            self._acks = None
        if ready and self._is_current():
            self._stream.write(self._connection.encode_pubacks(ready))

    def _is_current(self) -> bool:
        parts = self._parts
        return parts.directory.is_current(parts.hub, self.name, self.epoch)

    # -- subscriptions -------------------------------------------------------------------------------------------------

    def _subscribe(self, packet: Subscribe) -> None:
        changes: dict[int, int] = {}
        filters: dict[str, int] = {}
        codes = []
        for topic_filter, qos in packet.subscriptions:
            text = topic_filter.decode()
            qos = min(qos, 1)
            changes |= dict.fromkeys(subscriptions.places_of(text, self.name), qos)
            filters[text] = qos
            codes.append(qos)
        answer = SubAck(packet.packet_id, tuple(codes))
        if self._filters is None or (
            # Node's SDK asks for methods once a method: the repetition must not overtake what is still being stored.
            not self._is_working and all(self._filters.get(text) == qos for text, qos in filters.items())
        ):
            self._grant(changes, answer)
            return
        self._store_filters({**self._filters, **filters}, changes, answer)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        changes: dict[int, int] = {}
        gone = {topic_filter.decode() for topic_filter in packet.topic_filters}
        for text in gone:
            try:
                changes |= dict.fromkeys(subscriptions.places_of(text, self.name), NOT_SUBSCRIBED)
            except RemoteProtocolError:
                # Anything may be unsubscribed from, also what nobody could subscribe to (devices.md 2.4).
                continue
        answer = UnsubAck(packet.packet_id)
        if self._filters is None or (not self._is_working and not gone & self._filters.keys()):
            self._grant(changes, answer)
            return
        left = {text: qos for text, qos in self._filters.items() if text not in gone}
        self._store_filters(left, changes, answer)

    def _store_filters(self, filters: dict[str, int], changes: dict[int, int], answer: SubAck | UnsubAck) -> None:
        parts = self._parts
        self._filters = filters
        session = MqttSession(parts.hub, self.name, filters)

        async def work() -> None:
            await parts.store.write(lambda tables: tables.mqtt_sessions.put(session))
            self._grant(changes, answer)

        self.run(work)

    def _grant(self, changes: dict[int, int], answer: SubAck | UnsubAck) -> None:
        """`changes` are to what is granted at this moment: another change may have been answered meanwhile."""
        if self._stream.is_closing:
            return
        before = self._subscriptions
        self._subscriptions = subscriptions.after_changes(before, changes)
        self._stream.write(self._connection.send(answer))
        self._subscribed(subscriptions.fresh(before, self._subscriptions))

    def _subscribed(self, fresh: bytes) -> None:
        if fresh[METHODS] != NOT_SUBSCRIBED:
            self._parts.methods.came_online(self._parts.hub, self.name)
        if fresh[MESSAGES] != NOT_SUBSCRIBED:
            self.messages_waiting()

    # -- twins ---------------------------------------------------------------------------------------------------------

    async def _answer_twin_get(self, request_id: str) -> None:
        try:
            twin = self._parts.twins.get(self._parts.hub, self.name)
        except Refusal as refusal:
            self._answer_twin_error(request_id, refusal)
            return
        self._answer_twin(mqtt_hub.twin_answer_topic(200, request_id), encode_json(twins.device_view(twin)))

    async def _report(self, request: TwinReport, body: bytes, pending: Pending | None) -> None:
        try:
            patch = parse_object(body, what="the reported properties")
            version = await self._parts.twins.report(
                self._parts.hub, self.name, patch, expected_version=request.if_version
            )
        except Refusal as refusal:
            self._done(pending)
            self._answer_twin_error(request.request_id, refusal)
            return
        self._done(pending)
        self._answer_twin(mqtt_hub.twin_answer_topic(204, request.request_id, version), b"")

    def _done(self, pending: Pending | None) -> None:
        if pending is not None:
            pending.is_done = True
            self._drain()

    def _answer_twin_error(self, request_id: str, refusal: Refusal) -> None:
        status, error = self._error_of(refusal)
        self._answer_twin(mqtt_hub.twin_answer_topic(status, request_id), error)

    def _error_of(self, refusal: Refusal) -> tuple[int, bytes]:
        """Status and body of an answer that says no."""
        answer = refusals.wire_error(refusal)
        now = self._parts.clock.now()
        return answer.status, mqtt_hub.error_body(answer.code, refusal.message, new_tracking_id(), now)

    def _answer_twin(self, topic: bytes, body: bytes) -> None:
        self._send(topic, body, self._subscriptions[TWIN_ANSWERS])

    def desired_changed(self, patch: dict[str, Any], version: int) -> None:
        qos = self._subscriptions[DESIRED]
        if qos != NOT_SUBSCRIBED:
            self._send(mqtt_hub.desired_patch_topic(version), encode_json({**patch, "$version": version}), qos)

    # -- methods -------------------------------------------------------------------------------------------------------

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        qos = self._subscriptions[METHODS]
        if qos == NOT_SUBSCRIBED or self._stream.is_closing:
            return False
        self._send(mqtt_hub.method_request_topic(method, request_id), payload, qos)
        return True

    # -- cloud-to-device messages --------------------------------------------------------------------------------------

    def messages_waiting(self) -> None:
        """Send what waits and is not under way already."""
        qos = self._subscriptions[MESSAGES]
        if qos == NOT_SUBSCRIBED or self._stream.is_closing:
            return
        parts = self._parts
        # Nothing is made for the many devices whose queues are empty.
        if self._deliveries is not None or parts.messages.waiting(parts.hub, self.name, 1):
            self._made_deliveries().send_waiting(qos)

    def _made_deliveries(self) -> Deliveries:
        if self._deliveries is None:
            self._deliveries = Deliveries(self._parts, self)
        return self._deliveries

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def last_received(self) -> float:
        return self._stream.last_received

    @property
    def is_over(self) -> bool:
        return self._stream.is_closing

    def write_publish(self, topic: bytes, body: bytes, qos: int, packet_id: int, *, dup: bool = False) -> None:
        self._stream.write(self._connection.encode_publish(topic, body, qos, packet_id, dup=dup))

    def _send(self, topic: bytes, body: bytes, qos: int) -> None:
        """PUBLISH to the device with the QoS it was granted; dropped when it has not subscribed (devices.md 2.9)."""
        if qos == NOT_SUBSCRIBED or self._stream.is_closing:
            return
        packet_id = 0
        if qos:
            deliveries = self._made_deliveries()
            if len(deliveries) >= MAX_UNACKNOWLEDGED:
                self.end("mqtt.in_flight", f"'{self.name}' leaves {len(deliveries)} packets unacknowledged")
                return
            packet_id = deliveries.new_packet_id()
        self.write_publish(topic, body, qos, packet_id)

    def run(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start work that waits for the store, in the order of the calls; the device is read no further when there is
        too much of it."""
        if self._work is None:
            self._work = Work(self)
        self._work.run(job)

    @property
    def _is_working(self) -> bool:
        return self._work is not None and self._work.running > 0

    def hold_requests(self, hold: bool) -> None:
        self._stream.hold_reading(HOLD_REQUESTS, hold)

    def work_failed(self, error: BaseException) -> None:
        if isinstance(error, Refusal):
            self.end(error.reason, error.message)
        else:
            log.error("session_failed device=%s", self.name, exc_info=error)
            self.end("hub.error", "an error of ours; see the log")

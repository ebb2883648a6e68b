"""MQTT 3.1.1 behind the front door: from CONNECT to an accepted peer; the user name tells hub from provisioning.

    CONNECT ── `{scope}/registrations/{id}/...` ──> DpsPeer       judged when it registers: that answer has a reason
            └─ `{hub}/{device}[/{module}]/?...` ──> HubSession    judged here: refused with CONNACK 5, or 3 to retry

CONNECT is handled without an await: the registry is read, the session is claimed and indexed in one turn of the loop. A
change to the registry is published on that same loop after its commit, so either the read saw it or the event finds the
session (decisions S2).
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moorage.attempts.model import MAX_CLIENT, Attempt, AttemptSink, Door, refused
from moorage.dialects import mqtt_hub, refusals
from moorage.dialects.mqtt_dps import DpsLogin, parse_dps_login
from moorage.errors import Invalid, Refusal, RemoteProtocolError, Unauthenticated, Unavailable
from moorage.identities.credentials import AuthenticatedIdentity, Presented, credential_of
from moorage.ids import HubId, IdentityName, Secret, new_tracking_id
from moorage.protocols.mqtt.codec import UnsupportedVersion
from moorage.protocols.mqtt.connection import CONNECT_PATIENCE_S, Connection, Role
from moorage.protocols.mqtt.packets import ConnAck, Connect, Packet, ReturnCode
from moorage.servers.dps_peer import Conversation, DpsPeer
from moorage.servers.hub_session import HubParts, HubSession
from moorage.servers.streams import ByteStream

__all__ = ["Authenticate", "MQTTParts", "MQTTStream", "Peer"]

log = logging.getLogger(__name__)

# A module's name has at most 257 characters.
_MAX_CLAIM = 257
# RFC 1035 2.3.4
_MAX_HOST = 253


class Authenticate(Protocol):
    """`identities.judge.Authenticator.authenticate`."""

    def __call__(self, hub: HubId, name: IdentityName, presented: Presented) -> AuthenticatedIdentity: ...


class Peer(Protocol):
    """Who talks on an accepted connection: a hub session, or a device that provisions."""

    def published(self, topic: bytes, body: bytes, packet_id: int, flags: int) -> None: ...

    def packet(self, packet: Packet) -> None: ...

    def lost(self) -> None: ...

    def finish(self) -> None: ...

    def writable(self, ready: bool) -> None: ...

    def on_time(self, now: float) -> float | None: ...


@dataclass(frozen=True, slots=True)
class MQTTParts:
    """What the MQTT door needs; made once by the composition root. `is_ours` knows the hub's host names."""

    session: HubParts
    authenticate: Authenticate
    provision: Callable[[DpsLogin, Presented, str, Door], Conversation]
    is_ours: Callable[[str], bool]
    attempts: AttemptSink
    owner: str
    is_stopping: Callable[[], bool]


class MQTTStream:
    """One plain stream that speaks MQTT."""

    __slots__ = ("_connect_by", "_connection", "_parts", "_peer", "_stream")

    def __init__(self, parts: MQTTParts, stream: ByteStream) -> None:
        self._parts = parts
        self._stream = stream
        self._peer: Peer | None = None
        # However often a byte of it comes.
        self._connect_by: float | None = parts.session.clock.monotonic() + CONNECT_PATIENCE_S
        self._connection = Connection(Role.SERVER, on_publish=_nobody_published, on_packet=self._first_packet)

    def received(self, data: bytes) -> None:
        try:
            self._connection.receive(data)
        except UnsupportedVersion as error:
            self._attempt("", self._presented(), Invalid(error.reason, str(error)))
            self._stream.write(self._connection.send(ConnAck(ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION)))
            self._stream.close()
        except RemoteProtocolError as error:
            self._protocol_broken(error)
            raise

    def lost(self) -> None:
        self._connection.close()
        # Nothing of a connection that is gone refers to itself: it is freed now, not when the collector comes by.
        self._connection.deliver_to(_nobody_published, _nobody_sent)
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.lost()

    def finish(self) -> None:
        if self._peer is None:
            self._stream.close()
        else:
            self._peer.finish()

    def writable(self, ready: bool) -> None:
        if self._peer is not None:
            self._peer.writable(ready)

    def on_time(self, now: float) -> float | None:
        """The peer's deadlines; before there is one, CONNECT's."""
        if self._peer is not None:
            return self._peer.on_time(now)
        if self._connect_by is None or now < self._connect_by:
            return self._connect_by
        self._attempt("", self._presented(), Invalid("mqtt.no_connect", "no CONNECT came within 60 s"))
        self._stream.close()
        return None

    # ------------------------------------------------------------------------------------------------------------------

    def _first_packet(self, packet: Packet) -> None:
        if isinstance(packet, Connect):
            self._connect_by = None
            self._connect(packet)

    def _connect(self, connect: Connect) -> None:
        # An empty password is an absent one (devices.md 2.1).
        token = Secret(connect.password.decode("utf-8", "replace")) if connect.password else None
        presented = self._presented(token)
        login = None if connect.user_name is None else parse_dps_login(connect.user_name)
        if login is not None:
            self._welcome_dps(login, presented)
            return
        try:
            self._welcome(connect, presented)
        except Refusal as refusal:
            self._refuse(connect, presented, refusal)
        except Exception:
            log.exception("connect_failed client=%r address=%s", connect.client_id[:200], presented.address)
            self._refuse(
                connect, presented, Unavailable("api.failed", "this is a fault of moorage; its log has the details")
            )

    def _presented(self, token: Secret | None = None) -> Presented:
        return Presented(self._stream.peer_chain() or None, token, self._stream.address)

    def _refuse(self, connect: Connect, presented: Presented, refusal: Refusal) -> None:
        claimed_id, client = _claim(connect)
        self._attempt(claimed_id, presented, refusal, client=client)
        if not self._stream.is_closing:
            code = ReturnCode(refusals.wire_error(refusal).return_code)
            self._stream.write(self._connection.send(ConnAck(code)))
            self._stream.close()

    def _welcome(self, connect: Connect, presented: Presented) -> None:
        parts = self._parts
        hub_parts = parts.session
        login = _hub_login(connect)
        if not parts.is_ours(login.host):
            host = login.host[:_MAX_HOST]
            raise Unauthenticated(
                "login.host",
                f"the user name is for the hub {host!r}, which this is not",
                # A stranger's word in a command: an operator who takes the advice must not run it.
                fix=f"start the hub with: moorage up --hostname {shlex.quote(host)}",
            )
        if parts.is_stopping():
            raise Unavailable("hub.stopping", "the hub is shutting down")
        who = parts.authenticate(hub_parts.hub, login.name, presented)
        session = HubSession(hub_parts, self._stream, self._connection, connect, who, login.model_id)
        _check_will(connect, login.name)
        stored = hub_parts.store.read().mqtt_sessions.find(hub_parts.hub, login.name)
        session.epoch = hub_parts.directory.claim(hub_parts.hub, login.name, parts.owner)
        before = hub_parts.live.add(session)
        if before is not None:
            if isinstance(before, HubSession) and before.is_starting_clean:
                # What it asked to have forgotten is still there, and will be gone in a moment.
                stored = None
            before.end("session.taken_over", f"'{login.name}' connected again from {presented.address}")
        hub_parts.activity.connected(login.name)
        self._peer = session
        self._connection.deliver_to(session.published, session.packet)
        self._attempt(str(login.name), presented, None, client=login.client_type, who=who)
        if login.model_id is not None:
            session.remember_model(login.model_id)
        if stored is None or not connect.clean_session:
            if stored is not None:
                session.resume(stored)
            self._accept(session, session_present=stored is not None)
            return
        # [MQTT-3.1.2-6]: a clean session ends the stored one before it begins.
        session.start_clean(
            lambda: self._accept(session, session_present=False),
            lambda refusal: self._refuse(connect, presented, refusal),
        )

    def _accept(self, session: HubSession, *, session_present: bool) -> None:
        if self._stream.is_closing:
            return
        self._stream.write(self._connection.send(ConnAck(ReturnCode.ACCEPTED, session_present)))
        session.started()

    def _welcome_dps(self, login: DpsLogin, presented: Presented) -> None:
        parts = self._parts
        peer = DpsPeer(
            self._stream,
            self._connection,
            parts.provision(login, presented, self._stream.tls_version, _door(self._stream, "dps.mqtt", "dps.mqtt-ws")),
            parts.session.counters.session_ended,
        )
        self._peer = peer
        self._connection.deliver_to(peer.published, peer.packet)
        # .NET fails when a provisioning session is said to be present (devices.md 6.2).
        self._stream.write(self._connection.send(ConnAck(ReturnCode.ACCEPTED)))

    def _attempt(
        self,
        claimed_id: str,
        presented: Presented,
        refusal: Refusal | None,
        *,
        client: str = "",
        who: AuthenticatedIdentity | None = None,
    ) -> None:
        stream = self._stream
        attempt = Attempt(
            at=self._parts.session.clock.now(),
            hub=self._parts.session.hub,
            door=_door(stream, "hub.mqtt", "hub.mqtt-ws"),
            tracking_id=new_tracking_id(),
            address=stream.address,
            claimed_id=claimed_id[:_MAX_CLAIM],
            chain=() if presented.chain is None else presented.chain.certificates,
            tls_version=stream.tls_version,
            client=client[:MAX_CLIENT],
            credential=credential_of(presented, who),
            checks=() if who is None else who.checks,
        )
        if refusal is not None:
            attempt = refused(attempt, refusal)
        self._parts.attempts.record(attempt)

    def _protocol_broken(self, error: RemoteProtocolError) -> None:
        peer = self._peer
        if peer is None:
            self._attempt("", self._presented(), Invalid(error.reason, str(error)))
        else:
            name = peer.name if isinstance(peer, HubSession) else "a provisioning device"
            log.info("session_ended reason=%s device=%s message=%r", error.reason, name, str(error))
            self._parts.session.counters.session_ended(error.reason)


def _door(stream: ByteStream, in_tls: Door, in_websocket: Door) -> Door:
    return in_websocket if stream.carrier == "websocket" else in_tls


def _nobody_published(_topic: bytes, _body: bytes, _packet_id: int, _flags: int) -> None:
    raise RemoteProtocolError("mqtt.connect_first", "a PUBLISH before CONNECT was accepted", clause="MQTT-3.1.0-1")


def _nobody_sent(_packet: Packet) -> None:
    raise RemoteProtocolError("mqtt.unexpected", "a packet after the connection was closed")


def _claim(connect: Connect) -> tuple[str, str]:
    """Whom a refused CONNECT spoke of, and with which software: the user name where it can be read."""
    try:
        login = mqtt_hub.parse_user_name(connect.user_name or "")
    except Invalid:
        return connect.client_id, ""
    return str(login.name), login.client_type


def _hub_login(connect: Connect) -> mqtt_hub.HubLogin:
    if connect.user_name is None:
        raise Unauthenticated(
            "login.no_user_name", "CONNECT has no user name; IoT Hub wants '<hub>/<device id>/?api-version=...'"
        )
    try:
        login = mqtt_hub.parse_user_name(connect.user_name)
    except Invalid as refusal:
        raise Unauthenticated(refusal.reason, refusal.message) from None
    if connect.client_id != str(login.name):
        raise Unauthenticated(
            "login.client_id",
            f"the client identifier is {connect.client_id[:200]!r}, the user name speaks of '{login.name}'; "
            "they have to be equal",
        )
    return login


def _check_will(connect: Connect, name: IdentityName) -> None:
    if connect.will is None:
        return
    prefix = mqtt_hub.events_prefix(name)
    topic = connect.will.topic
    bag = topic.removeprefix(prefix)
    if bag == topic or not (bag == b"" or bag.startswith(b"/")) or not mqtt_hub.bag_is_readable(bag):
        raise Unauthenticated("login.will", f"'{name}' may not leave a Will for {topic[:200]!r}")

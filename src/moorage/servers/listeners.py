"""The ports: what listens where, and what to say when a port cannot be had."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Final

from OpenSSL import SSL

from moorage.attempts.model import Attempt
from moorage.clock import Clock
from moorage.config import HTTPS_FALLBACK_PORT, Config, is_loopback
from moorage.errors import RemoteProtocolError, Unavailable
from moorage.ids import DEFAULT_HUB, new_tracking_id
from moorage.servers.admission import origin_of
from moorage.servers.amqp.stream import AMQPParts, AMQPStream
from moorage.servers.backlog import BACKLOG, Backlog
from moorage.servers.front_door import SHED_REASONS, Door, DoorLimits, SecureStream
from moorage.servers.http import ASGIApp, HTTPParts, HTTPStream
from moorage.servers.mqtt import MQTTParts, MQTTStream
from moorage.servers.plain_door import PlainDoor
from moorage.servers.sheds import CrowdFigures, Sheds
from moorage.servers.streams import StreamHandler
from moorage.servers.timers import TimerWheel
from moorage.servers.turns import Turns
from moorage.servers.web_door import WebDoor

__all__ = ["Listeners"]

_UNPRIVILEGED: Final = {"mqtt": 8883, "https": HTTPS_FALLBACK_PORT, "amqp": 5671, "amqp-plain": 5672, "web": 8081}

# How reasons begin that say nothing about who was turned away.
_NOT_THEIR_FAULT: Final = ("connections.", "hub.", "api.", "throttle.", "store.", "log.")


class Listeners:
    """Every open port with its door. The port numbers hold once `open` has returned.

    `warnings` are sentences for whoever started the hub: it runs, and not quite as they may think.
    """

    mqtt_port: int
    https_port: int
    amqp_port: int
    # AMQP without TLS, on loopback; None where it is not served.
    amqp_plain_port: int | None
    # The application for people; None where it is not served.
    web_port: int | None

    def __init__(self, config: Config, clock: Clock, wheel: TimerWheel, record: Callable[[Attempt], None]) -> None:
        self._config = config
        self._clock = clock
        self._wheel = wheel
        self._record = record
        self._servers: list[asyncio.Server] = []
        # The machine is one, whatever the door.
        self._turns = Turns(clock, self._take_waiting)
        self._backlogs: list[Backlog] = []
        self._sheds = Sheds(clock)
        self.doors: list[Door] = []
        self.warnings: list[str] = []

    async def open(
        self,
        context: SSL.Context,
        mqtt: MQTTParts,
        amqp: AMQPParts,
        api: ASGIApp,
        web: ASGIApp,
        body_limit: Callable[[bytes], int | None],
    ) -> None:
        """`body_limit` is `HTTPParts`', for `api` and `web`.

        Raises `Unavailable`: `port.not_permitted`, `port.taken`, `port.unusable`.
        """
        config = self._config
        mqtt_door = self._door(context, lambda stream: MQTTStream(mqtt, stream))
        self.mqtt_port = await self._listen(mqtt_door, config.mqtt_port, "mqtt")
        amqp_door = self._door(context, lambda stream: AMQPStream(amqp, stream))
        self.amqp_port = await self._listen(amqp_door, config.amqp_port, "amqp")
        self.amqp_plain_port = await self._listen_plain(amqp)
        https_door = self._door(context, lambda stream: HTTPStream(http, stream))
        try:
            self.https_port = await self._listen(https_door, config.https_port, "https")
        except Unavailable as refusal:
            if refusal.reason != "port.not_permitted" or "https_port" in config.chosen:
                raise
            self.https_port = await self._listen(https_door, HTTPS_FALLBACK_PORT, "https")
            self.warnings.append(
                f"Port 443 is not permitted here, so HTTPS is on {HTTPS_FALLBACK_PORT}: SDKs that cannot be told "
                "a port (Node's service SDK, devices over HTTPS or WebSocket) do not find it. "
                "To allow it: sudo sysctl net.ipv4.ip_unprivileged_port_start=443"
            )
        http = HTTPParts(
            app=api,
            clock=self._clock,
            port=self.https_port,
            body_limit=body_limit,
            websockets={
                "mqtt": lambda stream: MQTTStream(mqtt, stream),
                "AMQPWSB10": lambda stream: AMQPStream(amqp, stream),
            },
        )
        self.web_port = await self._listen_web(context, web, body_limit)

    def present(self, context: SSL.Context) -> None:
        """Show another server certificate from the next handshake on; open connections stay (decisions S13)."""
        for door in self.doors:
            door.context = context

    def attempted(self, attempt: Attempt) -> None:
        """What became of a peer: it decides how those from the same address stand when there is a crowd."""
        if attempt.reason is None:
            self.let_in(attempt.address)
        elif not attempt.reason.startswith(_NOT_THEIR_FAULT):
            self._turns.standing.refused(origin_of(attempt.address)[2], self._clock.monotonic())

    def let_in(self, address: str) -> None:
        """Whoever is connected from `address` (`host:port`) was judged, and is no stranger."""
        self._turns.standing.accepted(origin_of(address)[2], self._clock.monotonic())
        for door in self.doors:
            door.judged(address)

    @property
    def crowd(self) -> CrowdFigures:
        """How things stand at the doors."""
        return CrowdFigures(
            connections=sum(len(door.crowd) for door in self.doors),
            strangers=sum(door.crowd.strangers for door in self.doors),
            waiting=self._turns.waiting,
        )

    def tell_of_sheds(self) -> None:
        """To be called every second."""
        self._sheds.tell(self.crowd)

    def take_no_more(self) -> None:
        for server in self._servers:
            server.close()
        for backlog in self._backlogs:
            backlog.close()
        self._backlogs = []

    async def close(self, grace_s: float) -> None:
        """Let what is under way finish, for so long."""
        await asyncio.gather(*(door.close(grace_s) for door in self.doors))

    def _door(
        self,
        context: SSL.Context,
        handler: Callable[[SecureStream], StreamHandler],
        *,
        for_people: bool = False,
    ) -> Door:
        door = (WebDoor if for_people else Door)(
            context,
            handler,
            clock=self._clock,
            wheel=self._wheel,
            limits=self._limits(),
            on_failed_handshake=self._browser_failed if for_people else self._handshake_failed,
            turns=self._turns,
            asks_certificate=not for_people,
        )
        self.doors.append(door)
        return door

    def _limits(self) -> DoorLimits:
        config = self._config
        return DoorLimits(
            max_connections=config.max_connections,
            handshake_s=config.handshake_timeout_s,
            per_address=config.max_connections_per_address,
            max_strangers=config.max_strangers,
        )

    async def _listen_plain(self, amqp: AMQPParts) -> int | None:
        """AMQP for `UseDevelopmentEmulator=true`; that 5672 is taken by a message broker is no reason not to start."""
        config = self._config
        if not config.amqp_plain_port:
            return None
        door = PlainDoor(
            lambda stream: AMQPStream(amqp, stream),
            clock=self._clock,
            wheel=self._wheel,
            limits=self._limits(),
            turns=self._turns,
        )
        bind = config.bind if is_loopback(config.bind) else "127.0.0.1"
        try:
            port = await self._listen(door, config.amqp_plain_port, "amqp-plain", bind)
        except Unavailable as refusal:
            if "amqp_plain_port" in config.chosen:
                raise
            self.warnings.append(
                f"Port {config.amqp_plain_port} of {bind} cannot be had ({refusal.reason}), so Event Hubs clients with "
                "UseDevelopmentEmulator=true do not find this hub."
            )
            return None
        self.doors.append(door)
        return port

    async def _listen_web(
        self, context: SSL.Context, web: ASGIApp, body_limit: Callable[[bytes], int | None]
    ) -> int | None:
        """The application; that 8080 is taken by another program is no reason not to start."""
        config = self._config
        if not config.web_port:
            return None
        parts = HTTPParts(app=web, clock=self._clock, port=config.web_port, body_limit=body_limit)
        door = self._door(context, lambda stream: HTTPStream(parts, stream), for_people=True)
        try:
            return await self._listen(door, config.web_port, "web")
        except Unavailable as refusal:
            if "web_port" in config.chosen:
                raise
            self.doors.remove(door)
            self.warnings.append(
                f"Port {config.web_port} of {config.bind} cannot be had ({refusal.reason}), so there is no application "
                "for people; choose another one: moorage up --web-port PORT"
            )
            return None

    async def _listen(self, door: Door, port: int, what: str, bind: str = "") -> int:
        bind = bind or self._config.bind
        try:
            server = await asyncio.get_running_loop().create_server(door.stream, bind, port, backlog=BACKLOG)
        except PermissionError:
            raise Unavailable(
                "port.not_permitted",
                f"this user may not listen on port {port} of {bind}",
                fix=f"sudo sysctl net.ipv4.ip_unprivileged_port_start={port}, or another port: "
                f"moorage up --{what}-port {_UNPRIVILEGED[what]}",
            ) from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Unavailable(
                    "port.taken",
                    f"port {port} of {bind} is taken by another program (perhaps another hub)",
                    fix=f"stop it (ss -ltnp 'sport = :{port}' names it), or run this hub beside it: "
                    "moorage up --bind 127.0.0.2 --hostname 127.0.0.2 --data DIR",
                ) from None
            raise Unavailable(
                "port.unusable", f"cannot listen on port {port} of {bind}: {error.strerror or error}", fix="see --bind"
            ) from None
        self._servers.append(server)
        self._backlogs.append(Backlog(server.sockets[0].fileno(), door.stream))
        return int(server.sockets[0].getsockname()[1])

    def _take_waiting(self) -> None:
        for backlog in self._backlogs:
            backlog.take()

    def _browser_failed(self, stream: SecureStream, error: RemoteProtocolError) -> None:
        """A browser that does not trust the hub yet fails a few times on each visit: no device tried to get in."""
        if error.reason in SHED_REASONS:
            self._sheds.count(error.reason, stream.origin)

    def _handshake_failed(self, stream: SecureStream, error: RemoteProtocolError) -> None:
        if error.reason in SHED_REASONS:
            self._sheds.count(error.reason, stream.origin)
        # What it showed is written down; that it holds the key was not proven.
        chain = stream.peer_chain().certificates
        self._record(
            Attempt(
                at=self._clock.now(),
                hub=DEFAULT_HUB,
                door="tls",
                tracking_id=new_tracking_id(),
                address=stream.address,
                claimed_id="",
                chain=chain,
                tls_version=stream.tls_version,
                credential="x509" if chain else "none",
                reason=error.reason,
                message=str(error),
            )
        )

"""The front door: accepted sockets become plain streams with the peer's certificates attached, unjudged.

    socket ── bytes ──> TLSEngine ── plaintext ──> StreamHandler (MQTT on 8883, HTTP on 443)

Each socket has one `SecureStream`, the only place that writes to it. What the handler writes while one piece of input
is being handled leaves together, encrypted once. A peer that does not read is held back and, past a limit, dropped; one
that does not finish its handshake is closed by the timer wheel, and so is one that does not take what was left to send.

Until somebody has judged its peer (`Door.judged`) a stream is a stranger: it keeps its place only while nobody has more
right to it (`admission`), and what comes of it may have to wait for its turn (`turns`), for which it costs nothing but
the bytes: its engine is made when the turn has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from OpenSSL import SSL

from moorage.clock import Clock
from moorage.errors import LocalProtocolError, RemoteProtocolError
from moorage.pki.certificates import PeerChain
from moorage.protocols.tls.engine import TLSEngine
from moorage.servers.admission import Caps, Crowd, Origin, origin_of
from moorage.servers.streams import Carrier, StreamHandler
from moorage.servers.timers import NO_SLOT, TimerWheel
from moorage.servers.turns import HOLD_TURN, MAX_AHEAD_BYTES, Turns

__all__ = ["SHED_REASONS", "Door", "DoorLimits", "Engine", "SecureStream"]

log = logging.getLogger(__name__)

# Encrypted bytes that wait for a peer that does not read, before it is given up. What one turn of the loop can write is
# below 2 MiB: HTTP sends pages in slices, MQTT answers requests and sends messages a few at a time.
_MAX_UNSENT_BYTES = 4 * 1024 * 1024
# Anybody can fill this, so it is small: 4 MiB hold the issuers of a thousand factories.
_MAX_INTERNED = 1024
_MAX_INTERNED_BYTES = 4096
# How long a closed peer may take to read what it was still sent.
_FAREWELL_S = 10.0


class Engine(Protocol):
    """`TLSEngine`, or what stands in its place where there is no TLS."""

    @property
    def established(self) -> bool: ...

    @property
    def closed(self) -> bool: ...

    @property
    def handshake_bytes(self) -> int: ...

    @property
    def version(self) -> str: ...

    @property
    def cipher(self) -> str: ...

    @property
    def server_name(self) -> str | None: ...

    def receive(self, data: bytes) -> bytes: ...

    def send(self, plaintext: bytes) -> bytes: ...

    def take_output(self) -> bytes: ...

    def close(self) -> bytes: ...

    def own_certificate(self) -> bytes: ...

    def peer_certificates(self) -> tuple[bytes, ...]: ...


class _NoEngine:
    """Of a peer whose first bytes were not taken yet."""

    __slots__ = ()

    established = closed = False
    handshake_bytes = 0
    version = cipher = ""
    server_name = None

    def receive(self, _data: bytes) -> bytes:
        raise LocalProtocolError("there is no engine yet")

    def send(self, _plaintext: bytes) -> bytes:
        raise LocalProtocolError("there is no engine yet")

    def take_output(self) -> bytes:
        return b""

    def close(self) -> bytes:
        return b""

    def own_certificate(self) -> bytes:
        return b""

    def peer_certificates(self) -> tuple[bytes, ...]:
        return ()


_NO_ENGINE: Final = _NoEngine()

# Why somebody has to go whom nobody has judged.
SHED_REASONS: Final = {
    "connections.limit": "as many connections are open as may be",
    "connections.address": "as many connections are open from this address as may be",
    "connections.network": "as many connections are open from this address's network as one may have",
    "connections.strangers": "more connections wait to be judged than may, and most of them from this network",
    "connections.busy": "more strangers wanted to be judged than the machine can judge, and its turn did not come",
}


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """`max_connections` counts every socket of the door; `handshake_s` bounds TLS.

    Of them may be: `per_address` from one address, `max_strangers` of peers that nobody has judged yet; None for all.
    """

    max_connections: int
    handshake_s: float
    per_address: int | None = None
    max_strangers: int | None = None

    @property
    def caps(self) -> Caps:
        most = self.max_connections
        return Caps(
            most,
            most if self.per_address is None else min(self.per_address, most),
            most if self.max_strangers is None else min(self.max_strangers, most),
        )


class Door:
    """Makes streams for one listening port. `context` may be exchanged at any time (decisions S13)."""

    carrier: Carrier = "tls"

    def __init__(
        self,
        context: SSL.Context | None,
        handler: Callable[[SecureStream], StreamHandler],
        *,
        clock: Clock,
        wheel: TimerWheel,
        limits: DoorLimits,
        on_failed_handshake: Callable[[SecureStream, RemoteProtocolError], None],
        turns: Turns | None = None,
        asks_certificate: bool = True,
    ) -> None:
        self.context = context
        self._asks_certificate = asks_certificate
        self.handler = handler
        self.clock = clock
        self.wheel = wheel
        self.limits = limits
        self.on_failed_handshake = on_failed_handshake
        self.turns = turns or Turns(clock)
        self.streams: set[SecureStream] = set()
        self.crowd: Crowd[SecureStream] = Crowd(limits.caps)
        self._strangers: dict[str, SecureStream] = {}
        self._interned: dict[bytes, bytes] = {}
        self._emptied: asyncio.Event | None = None

    @property
    def is_closed(self) -> bool:
        """Nobody is let in any more."""
        return self._emptied is not None

    def stream(self) -> SecureStream:
        """The protocol factory for `create_server`."""
        return SecureStream(self)

    def engine(self) -> Engine:
        """What stands between one socket and its handler."""
        if self.context is None:
            raise LocalProtocolError("this door has no certificate to show")
        return TLSEngine(self.context, asks_certificate=self._asks_certificate)

    def intern(self, certificates: tuple[bytes, ...]) -> PeerChain:
        """A chain whose issuers are shared with every other connection that sent the same (decisions S11)."""
        if len(certificates) < 2:
            return PeerChain(certificates)
        if len(self._interned) >= _MAX_INTERNED:
            self._interned.clear()
        shared = self._interned.setdefault
        issuers = (der if len(der) > _MAX_INTERNED_BYTES else shared(der, der) for der in certificates[1:])
        return PeerChain((certificates[0], *issuers))

    async def close(self, grace_s: float) -> None:
        """Have every stream finish; those that have not within `grace_s` are aborted."""
        self._emptied = emptied = asyncio.Event()
        for stream in tuple(self.streams):
            stream.finish()
        if not self.streams:
            return
        try:
            async with asyncio.timeout(grace_s):
                await emptied.wait()
        except TimeoutError:
            for stream in tuple(self.streams):
                stream.abort()
            await emptied.wait()

    def take_in(self, stream: SecureStream) -> bool:
        """Give a newcomer a place, somebody else's if need be; False where it is the one that has to go."""
        room = self.crowd.room_for(stream.origin)
        if room.reason is not None:
            if room.goes is None:
                stream.shed(room.reason)
                return False
            room.goes.shed(room.reason)
        self.crowd.enter(stream, stream.origin)
        self._strangers[stream.address] = stream
        self.streams.add(stream)
        return True

    def judged(self, address: str) -> None:
        """Somebody let in whoever is connected from `address` (`host:port`), if anybody is."""
        stream = self._strangers.get(address)
        if stream is not None and stream.is_judged():
            del self._strangers[address]
            self.crowd.judged(stream)

    def give_up(self, stream: SecureStream) -> None:
        """Its place can be had by another; the socket may still be open for a moment."""
        self.turns.forget(stream)
        if self._strangers.get(stream.address) is stream:
            del self._strangers[stream.address]
        self.crowd.leave(stream)

    def closed(self, stream: SecureStream) -> None:
        """A stream is gone."""
        self.give_up(stream)
        self.streams.discard(stream)
        if self._emptied is not None and not self.streams:
            self._emptied.set()


class SecureStream(asyncio.Protocol):
    """One connection, in TLS unless its door says otherwise. The handler is made when the handshake is done."""

    __slots__ = (
        "_ahead",
        "_closing",
        "_door",
        "_engine",
        "_handler",
        "_has_turn",
        "_held",
        "_is_stranger",
        "_pending",
        "_receiving",
        "_transport",
        "address",
        "last_received",
        "origin",
        "slot",
    )

    def __init__(self, door: Door) -> None:
        self._door = door
        self._engine: Engine = _NO_ENGINE
        self._handler: StreamHandler | None = None
        self._transport: asyncio.Transport | None = None
        # What the handler wrote while it was being fed: one piece, or a list of them.
        self._pending: list[bytes] | None = None
        self._receiving = False
        self._closing = False
        self._held = 0
        self._is_stranger = True
        # What a stranger sent that has to wait for its turn, which comes with `_has_turn`.
        self._ahead: bytes | None = None
        self._has_turn = False
        self.address = ""
        self.origin: Origin = ("", "", "")
        self.last_received = 0.0
        self.slot = NO_SLOT

    # -- for the handler -----------------------------------------------------------------------------------------------

    @property
    def carrier(self) -> Carrier:
        return self._door.carrier

    @property
    def tls_version(self) -> str:
        return self._engine.version

    @property
    def cipher(self) -> str:
        return self._engine.cipher

    @property
    def server_name(self) -> str | None:
        return self._engine.server_name

    @property
    def is_closing(self) -> bool:
        return self._closing

    def own_certificate(self) -> bytes:
        """The certificate that the peer was shown, DER; empty without TLS."""
        return self._engine.own_certificate()

    def peer_chain(self) -> PeerChain:
        """The certificates that came in the handshake; empty when there were none."""
        return self._door.intern(self._engine.peer_certificates())

    def write(self, data: bytes) -> None:
        """Send plaintext, in order; with what else is written before control goes back to the loop, if it can be."""
        if self._closing:
            return
        if self._receiving:
            if self._pending is None:
                self._pending = [data]
            else:
                self._pending.append(data)
        else:
            self._send(data)

    def wake(self, by: float) -> None:
        """Have the handler's `on_time` called in the second after `by` at the latest."""
        if not self._closing:
            self._door.wheel.wake(self, by)

    def hold_reading(self, why: int, hold: bool) -> None:
        """Back-pressure: stop taking bytes from the peer, or go on when no other reason is left."""
        transport = self._transport
        if transport is None or self._closing:
            return
        held = self._held | why if hold else self._held & ~why
        if held and not self._held:
            transport.pause_reading()
        elif self._held and not held:
            # What it sent meanwhile was not looked at: its silence was ours.
            self.last_received = self._door.clock.monotonic()
            transport.resume_reading()
        self._held = held

    @property
    def is_held(self) -> bool:
        """Nothing is read, so nothing can be heard."""
        return self._held != 0

    def finish(self) -> None:
        """Close when the handler is done with what it has begun."""
        if self._handler is None:
            self.close()
        else:
            self._handler.finish()

    def close(self) -> None:
        """Send what was written, then close."""
        if self._closing:
            return
        self._flush()
        if self._closing:
            return
        self._closing = True
        transport = self._transport
        if transport is not None:
            farewell = self._engine.close()
            if farewell:
                transport.write(farewell)
            transport.close()
            self.last_received = self._door.clock.monotonic()
            self._door.wheel.wake(self, self.last_received + _FAREWELL_S)

    def abort(self) -> None:
        """Drop the socket; nothing more is sent."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # -- for the loop --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else ""
        door = self._door
        if door.is_closed:
            self.abort()
            return
        self.origin = origin_of(self.address)
        if not door.take_in(self):
            return
        self.last_received = door.clock.monotonic()
        door.wheel.wake(self, self.last_received + door.limits.handshake_s)

    def data_received(self, data: bytes) -> None:
        if self._closing or (self._is_stranger and not self._may_take(data)):
            return
        engine = self._engine
        self._receiving = True
        try:
            plaintext = engine.receive(data)
            greets = self._handler is None
            if greets and engine.established:
                self._handler = self._door.handler(self)
            if plaintext and self._handler is not None:
                self.last_received = self._door.clock.monotonic()
                self._handler.received(plaintext)
        except RemoteProtocolError as error:
            self._broken(error)
            return
        finally:
            self._receiving = False
        if self._pending is not None:
            # What TLS itself has to say, such as the end of a handshake, goes along.
            self._flush()
        elif not plaintext or greets:
            self._send_output()
        if engine.closed:
            self.close()

    def on_turn(self) -> None:
        """Take what waited for it."""
        data, self._ahead = self._ahead, None
        if data is None or self._closing:
            return
        self._has_turn = True
        self.data_received(data)
        self.hold_reading(HOLD_TURN, False)

    def is_judged(self) -> bool:
        """Take what comes as it comes from now on; False while something waits that came before."""
        self._is_stranger = self._ahead is not None
        return not self._is_stranger

    def shed(self, reason: str) -> None:
        """Drop it so that others have its place or its turn."""
        if not self._closing:
            self._door.on_failed_handshake(self, RemoteProtocolError(reason, SHED_REASONS[reason]))
            self._door.give_up(self)
            self.abort()

    def hand_over(self, handler: StreamHandler) -> None:
        """From now on everything is `handler`'s."""
        self._handler = handler

    def go_on(self) -> None:
        """Have the handler look again at what it held back."""
        if self._closing or self._handler is None:
            return
        try:
            self._handler.received(b"")
        except RemoteProtocolError as error:
            self._broken(error)

    def on_time(self, now: float) -> float | None:
        """The handshake's deadline, then the handler's, then that of the farewell."""
        if self._closing:
            patience = self.last_received + _FAREWELL_S
            if now < patience:
                return patience
            self.abort()
            return None
        if self._handler is not None:
            return self._handler.on_time(now)
        if self._ahead is not None:
            self.shed("connections.busy")
            return None
        self._door.on_failed_handshake(
            self, RemoteProtocolError("tls.handshake_timeout", "the handshake was not finished in time")
        )
        self.abort()
        return None

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.writable(False)

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.writable(True)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ahead is not None:
            # It lost patience with us.
            self.shed("connections.busy")
        elif self._handler is None and not self._closing and self._engine.handshake_bytes:
            # Without a byte it was a port scan or a health check; with some it is a client that gave up on us.
            self._door.on_failed_handshake(
                self, RemoteProtocolError("tls.abandoned", "the peer went away in the middle of the handshake")
            )
        self._closing = True
        self._door.closed(self)
        self._door.wheel.forget(self)
        handler, self._handler = self._handler, None
        self._transport = None
        if handler is not None:
            handler.lost()

    # ------------------------------------------------------------------------------------------------------------------

    def _may_take(self, data: bytes) -> bool:
        """Whether a stranger's bytes can be taken now; they are kept until it is their turn if not."""
        if self._has_turn:
            self._has_turn = False
        elif self._ahead is not None or not self._door.turns.may_go():
            self._ahead = ahead = data if self._ahead is None else self._ahead + data
            if len(ahead) > MAX_AHEAD_BYTES:
                self.hold_reading(HOLD_TURN, True)
            self._door.turns.wait(self, len(ahead), has_begun=self._engine is not _NO_ENGINE)
            return False
        if self._engine is _NO_ENGINE:
            self._engine = self._door.engine()
        return True

    def _broken(self, error: RemoteProtocolError) -> None:
        if self._handler is None:
            self._door.on_failed_handshake(self, error)
            self._send_output()
        self.close()

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        transport.write(self._engine.send(data))
        if transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            log.warning("connection_dropped reason=connection.slow_reader address=%s", self.address)
            self.abort()

    def _send_output(self) -> None:
        output = self._engine.take_output()
        if output and self._transport is not None:
            self._transport.write(output)

    def _flush(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            self._send(pending[0] if len(pending) == 1 else b"".join(pending))

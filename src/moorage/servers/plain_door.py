"""A door without TLS, for a port on loopback: AMQP on 5672, as `UseDevelopmentEmulator=true` asks for.

Everything else of a connection (limits, back-pressure, deadlines, farewell) is what it is behind TLS: only the engine
that would decrypt hands the bytes through. Nobody shows a certificate here.
"""

from __future__ import annotations

from collections.abc import Callable

from moorage.clock import Clock
from moorage.errors import LocalProtocolError, RemoteProtocolError
from moorage.servers.front_door import Door, DoorLimits, SecureStream
from moorage.servers.streams import ByteStream, Carrier, StreamHandler
from moorage.servers.timers import TimerWheel
from moorage.servers.turns import Turns

__all__ = ["PlainDoor", "PlainEngine"]


class PlainEngine:
    """Stands where `TLSEngine` stands: bytes in are plaintext, plaintext is bytes out, and there is no handshake."""

    __slots__ = ("closed",)

    established = True
    handshake_bytes = 0
    version = ""
    cipher = ""
    server_name = None

    def __init__(self) -> None:
        self.closed = False

    def receive(self, data: bytes) -> bytes:
        return data

    def send(self, plaintext: bytes) -> bytes:
        """Raises `LocalProtocolError` when the connection is closed."""
        if self.closed:
            raise LocalProtocolError("the connection is closed")
        return plaintext

    def take_output(self) -> bytes:
        return b""

    def close(self) -> bytes:
        self.closed = True
        return b""

    def own_certificate(self) -> bytes:
        return b""

    def peer_certificates(self) -> tuple[bytes, ...]:
        return ()


class PlainDoor(Door):
    """Makes streams without TLS. A peer has to say something within `limits.handshake_s`."""

    carrier: Carrier = "tcp"

    def __init__(
        self,
        handler: Callable[[ByteStream], StreamHandler],
        *,
        clock: Clock,
        wheel: TimerWheel,
        limits: DoorLimits,
        turns: Turns | None = None,
    ) -> None:
        super().__init__(
            None, handler, clock=clock, wheel=wheel, limits=limits, on_failed_handshake=_nothing_was_proven, turns=turns
        )

    def engine(self) -> PlainEngine:
        return PlainEngine()


def _nothing_was_proven(_stream: SecureStream, _error: RemoteProtocolError) -> None:
    """A silent peer showed nothing that could be written down."""

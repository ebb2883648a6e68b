"""What a protocol and the bytes below it are to each other: the port between the doors and MQTT, AMQP and HTTP.

    SecureStream (TLS)         ┐                    ┌ MQTTStream, then HubSession or DpsPeer
    the same without TLS       ├ ByteStream ── StreamHandler ── HTTPStream, which may give way to a WebSocketStream
    WebSocketStream (in HTTPS) ┘                    └ AMQP

A handler is given its stream when it is made and is called by it: with bytes, with time, with the stream's end. It
talks back through `ByteStream`, and cannot tell a socket from a WebSocket but by `carrier`.
"""

from __future__ import annotations

from typing import Literal, Protocol

from moorage.pki.certificates import PeerChain

__all__ = [
    "HOLD_ANSWER",
    "HOLD_BACKLOG",
    "HOLD_CONNACK",
    "HOLD_FRAMES",
    "HOLD_INPUT",
    "HOLD_REQUESTS",
    "ByteStream",
    "Carrier",
    "StreamHandler",
]

# Why nothing is read from a peer, as bits: reading goes on when the last reason is gone.
HOLD_BACKLOG = 1  # the disk is behind with telemetry
HOLD_REQUESTS = 2  # the peer asks faster than it can be answered
HOLD_CONNACK = 4  # MQTT: nothing may be acted on before CONNACK
HOLD_ANSWER = 8  # HTTP: a request is being answered, or the peer does not read its answers
HOLD_FRAMES = 16  # WebSocket: frames that were read wait for their turn
HOLD_INPUT = 32  # AMQP: what was read waits for its turn

Carrier = Literal["tcp", "tls", "websocket"]


class ByteStream(Protocol):
    """Bytes in order, both ways, to one peer; what a handler may use of it."""

    @property
    def carrier(self) -> Carrier:
        """What the bytes come in. A WebSocket is always within TLS."""

    @property
    def address(self) -> str:
        """`host:port` of the peer."""

    @property
    def tls_version(self) -> str:
        """`TLSv1.2` or `TLSv1.3`; empty without TLS."""

    @property
    def server_name(self) -> str | None:
        """The name the client asked for (SNI)."""

    @property
    def is_closing(self) -> bool:
        """It is gone, or soon will be: what is written now is not sent."""

    @property
    def is_held(self) -> bool:
        """Nothing is read, so nothing can be heard."""

    @property
    def last_received(self) -> float:
        """When bytes for the handler came last, or reading went on (monotonic seconds)."""

    def peer_chain(self) -> PeerChain:
        """The certificates that came in the handshake, unjudged; empty when there were none."""

    def write(self, data: bytes) -> None:
        """Send, in order; with what else is written before control goes back to the loop, if it can be.

        A peer that does not read is told of by `StreamHandler.writable`, and dropped when too much waits for it.
        """

    def wake(self, by: float) -> None:
        """Have the handler's `on_time` called in the second after `by` (monotonic) at the latest."""

    def hold_reading(self, why: int, hold: bool) -> None:
        """Back-pressure: stop taking bytes from the peer, or go on when no other reason is left. `why`: `HOLD_*`."""

    def go_on(self) -> None:
        """Have the handler look again, with `received(b"")`, at what it held back."""

    def close(self) -> None:
        """Send what was written, then close."""

    def abort(self) -> None:
        """Drop the socket; nothing more is sent."""


class StreamHandler(Protocol):
    """What sits on a stream."""

    def received(self, data: bytes) -> None:
        """Plaintext. May raise `RemoteProtocolError`, which closes the stream."""

    def lost(self) -> None:
        """The stream is gone, whoever closed it. Called once."""

    def writable(self, ready: bool) -> None:
        """The peer reads again, or has stopped reading."""

    def finish(self) -> None:
        """Close the stream once what was begun is answered: the hub is stopping."""

    def on_time(self, now: float) -> float | None:
        """Deadlines; as `timers.Timed`. Asked for the first time soon after the handler was made; see `wake`."""

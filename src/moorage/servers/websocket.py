"""A WebSocket as just another stream: binary frames in, their bytes to the protocol inside; its bytes out as frames.

    SecureStream ── HTTPStream ──101──> WebSocketStream ── ByteStream ──> MQTTStream, AMQP
                                         (RFC 6455, wsproto)

Frame boundaries mean nothing: what has come of a frame goes inside at once, so nothing is gathered and a frame may be
as long as it says; how much of a packet may wait is the inner protocol's own limit. Pings are answered and are not
heard inside: a device that only pings is silent. Back-pressure is that of the stream below.

    open ── close() inside, or a fault ──> Close sent ── peer's Close, or `_FAREWELL_S` ──> closed
      └──── peer's Close, answered ───────────────────────────────────────────────────────────┘

For the handler inside the stream is lost when our Close is out: a session that is cut is over, whether or not the peer
has the manners to answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import islice
from typing import Final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from moorage.clock import Clock
from moorage.errors import RemoteProtocolError
from moorage.pki.certificates import PeerChain
from moorage.servers.streams import HOLD_FRAMES, ByteStream, Carrier, StreamHandler

__all__ = ["WebSocketStream"]

log = logging.getLogger(__name__)

# How long the peer may take to answer our Close before the connection is closed without.
_FAREWELL_S = 5.0
# Frames that are read before others have their turn: the smallest have six bytes, and reads are long.
_FRAMES_AT_ONCE: Final = 256
# RFC 6455 5.5: a control frame has at most 125 bytes, two of which are the code.
_MAX_REASON = 123


class WebSocketStream:
    """The handler of the stream below, and the `ByteStream` of the handler inside."""

    __slots__ = (
        "_clock",
        "_close_by",
        "_frames",
        "_goes_away",
        "_handler",
        "_held",
        "_is_behind",
        "_is_deaf",
        "_stream",
        "last_received",
    )

    carrier: Carrier = "websocket"

    def __init__(self, stream: ByteStream, handler: Callable[[ByteStream], StreamHandler], clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._frames = Connection(ConnectionType.SERVER)
        # Once it is set, our Close frame is out.
        self._close_by: float | None = None
        self._goes_away = False
        # The handler's reasons to read nothing.
        self._held = 0
        # The peer broke the rules of frames: nothing can be made of what follows.
        self._is_deaf = False
        # Frames that were read wait for their turn.
        self._is_behind = False
        self.last_received = clock.monotonic()
        # None once it was told that the stream is lost.
        self._handler: StreamHandler | None = handler(self)
        stream.wake(self.last_received)

    # -- from the stream below -----------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if data:
            self._frames.receive_data(data)
        self._read()

    def lost(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.lost()

    def writable(self, ready: bool) -> None:
        if self._handler is not None:
            self._handler.writable(ready)

    def finish(self) -> None:
        self._goes_away = True
        if self._handler is not None:
            self._handler.finish()

    def on_time(self, now: float) -> float | None:
        if self._close_by is not None:
            if now < self._close_by:
                return self._close_by
            self._stream.close()
        elif self._handler is not None:
            return self._handler.on_time(now)
        return None

    # -- for the handler inside ----------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        return self._stream.address

    @property
    def tls_version(self) -> str:
        return self._stream.tls_version

    @property
    def server_name(self) -> str | None:
        return self._stream.server_name

    @property
    def is_closing(self) -> bool:
        return self._close_by is not None or self._stream.is_closing

    @property
    def is_held(self) -> bool:
        return self._stream.is_held

    def peer_chain(self) -> PeerChain:
        return self._stream.peer_chain()

    def write(self, data: bytes) -> None:
        """One message of one frame; dropped when a Close was read already, behind what is being answered."""
        if self._frames.state is ConnectionState.OPEN:
            self._stream.write(self._frames.send(BytesMessage(data)))

    def wake(self, by: float) -> None:
        self._stream.wake(by)

    def hold_reading(self, why: int, hold: bool) -> None:
        if self._close_by is not None:
            # What is still to come is the peer's Close.
            return
        stream = self._stream
        was_held = stream.is_held
        self._held = self._held | why if hold else self._held & ~why
        stream.hold_reading(why, hold)
        if was_held and not stream.is_held:
            self.last_received = self._clock.monotonic()

    def go_on(self) -> None:
        self._pass_in(b"")

    def close(self) -> None:
        if self._goes_away:
            self._say_goodbye(CloseReason.GOING_AWAY, "the hub is stopping")
        else:
            self._say_goodbye(CloseReason.NORMAL_CLOSURE, "")

    def abort(self) -> None:
        self._stream.abort()

    # ------------------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Look at the frames there are; their data goes inside in one piece."""
        data: list[bytes | bytearray] = []
        end: TextMessage | CloseConnection | None = None
        count = 0
        for event in islice(self._frames.events(), _FRAMES_AT_ONCE):
            count += 1
            if isinstance(event, BytesMessage):
                data.append(event.data)
            elif isinstance(event, TextMessage | CloseConnection):
                end = event
                break
            elif isinstance(event, Ping) and self._frames.state is ConnectionState.OPEN:
                self._stream.write(self._frames.send(event.response()))
        if data:
            self.last_received = self._clock.monotonic()
            self._pass_in(b"".join(data))
        if isinstance(end, TextMessage):
            self._fail(CloseReason.UNSUPPORTED_DATA, "text came; only binary frames are read here")
        elif end is not None:
            self._closed_by_peer(end)
        elif count == _FRAMES_AT_ONCE or self._is_behind:
            self._take_turns(count == _FRAMES_AT_ONCE)

    def _take_turns(self, is_behind: bool) -> None:
        """Let others have the loop while there may be more frames; nothing is read meanwhile."""
        self._is_behind = is_behind
        self._stream.hold_reading(HOLD_FRAMES, is_behind)
        if is_behind:
            asyncio.get_running_loop().call_soon(self._stream.go_on)

    def _pass_in(self, data: bytes) -> None:
        if self.is_closing or self._handler is None:
            return
        try:
            self._handler.received(data)
        except RemoteProtocolError as error:
            # Whoever raised it has written down what was wrong; the reason is for the peer's own log.
            self._say_goodbye(CloseReason.PROTOCOL_ERROR, error.reason)

    def _closed_by_peer(self, close: CloseConnection) -> None:
        """A Close came, or wsproto made one of what it could not read."""
        state = self._frames.state
        if state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            self._is_deaf = True
            self._fail(close.code, close.reason or "")
            return
        if state is ConnectionState.REMOTE_CLOSING:
            self._stream.write(self._frames.send(close.response()))
        self._stream.close()

    def _fail(self, code: int, why: str) -> None:
        log.info("websocket_failed code=%d address=%s message=%r", code, self.address, why)
        self._say_goodbye(code, why)

    def _say_goodbye(self, code: int, why: str) -> None:
        """Send Close, once, and wait for the peer's."""
        if self.is_closing:
            return
        self._close_by = self._clock.monotonic() + _FAREWELL_S
        self._stream.write(self._frames.send(CloseConnection(code, why[:_MAX_REASON] or None)))
        # Whatever the handler held it for: it has to be heard now.
        self._stream.hold_reading(self._held, False)
        self._stream.wake(self._close_by)
        # Not from within its own call.
        asyncio.get_running_loop().call_soon(self.lost)

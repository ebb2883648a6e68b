"""HTTP/1.1 behind the front door: h11 reads and writes, any ASGI app answers.

No ASGI server owns the socket (decisions S8): the TLS stream comes with the peer's certificates, which the application
finds in the form of the ASGI TLS extension, `scope["extensions"]["tls"]`, and as a `PeerChain` in `moorage.tls`. One
request is answered at a time, as HTTP/1.1 has it; what a client sends ahead waits in h11's buffer while reading is
held. A request to go on as a WebSocket is answered here, and after that the stream is no longer HTTP's.

The application is called once the head is there and takes the body as it comes, so a stranger is turned away before his
body is read, and nobody can make more of it wait here than `_BODY_AHEAD_BYTES`.

Bounds: `_MAX_HEADER_BYTES` of head and of what is sent ahead during a long answer, `_MAX_BODY_BYTES` of body,
`_REQUEST_S` for a request to arrive, `_IDLE_S` between two and for a client to take its answer. Where files are put,
`body_limit` takes the place of the second, and every byte buys time at `_LARGE_BYTES_PER_S`, up to `_REQUEST_S` ahead:
so neither a client that stalls nor one that drips keeps its place. A request that is refused unread is answered, and
what follows of it dropped for `_LINGER_S`: closing at once would destroy the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import h11

from moorage.clock import Clock
from moorage.servers.asgi_tls import tls_extension
from moorage.servers.front_door import SecureStream
from moorage.servers.streams import HOLD_ANSWER, ByteStream, StreamHandler
from moorage.servers.upgrade import UpgradeRefused, accept_upgrade, asks_for_websocket
from moorage.servers.websocket import WebSocketStream

__all__ = ["ASGIApp", "HTTPParts", "HTTPStream"]

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

# SAS tokens and Azure's CLI make long headers; nginx and Apache stop at 8 KiB a line, h11's own default is 16 KiB.
_MAX_HEADER_BYTES = 64 * 1024
_MAX_BODY_BYTES = 4 * 1024 * 1024
_BODY_AHEAD_BYTES = 64 * 1024
_SLICE_BYTES = 256 * 1024
_REQUEST_S = 30.0
# Apache's own default (mod_reqtimeout) is 500; the slowest radio that a device sends files over has a few times that.
_LARGE_BYTES_PER_S = 500
_IDLE_S = 120.0
_LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class HTTPParts:
    """What the HTTPS door needs. `websockets`: subprotocols, and what is made to speak each."""

    app: ASGIApp
    clock: Clock
    port: int
    websockets: Mapping[str, Callable[[ByteStream], StreamHandler]] = field(default_factory=dict)
    # What a body may have at a path where large ones come; None for every other path.
    body_limit: Callable[[bytes], int | None] = lambda _path: None


class HTTPStream:
    """One plain stream that speaks HTTP/1.1."""

    __slots__ = (
        "_ahead",
        "_answering",
        "_body",
        "_body_ahead",
        "_body_came",
        "_body_limit",
        "_connection",
        "_deadline",
        "_disconnected",
        "_drained",
        "_has_begun",
        "_held_at",
        "_is_finishing",
        "_is_large",
        "_is_refused",
        "_is_whole",
        "_parts",
        "_request",
        "_size",
        "_stream",
        "_tls",
        "_upgrades",
    )

    def __init__(self, parts: HTTPParts, stream: SecureStream) -> None:
        self._parts = parts
        self._stream = stream
        # The same for every request of the connection.
        self._tls: dict[str, Any] | None = None
        self._upgrades = False
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        self._request: h11.Request | None = None
        # Pieces of the body that the application has not taken yet.
        self._body: list[bytes] = []
        self._body_ahead = 0
        self._body_came = asyncio.Event()
        self._body_limit = _MAX_BODY_BYTES
        self._is_large = False
        # Since when a large body waits for the application to take of it, which costs its sender no time.
        self._held_at: float | None = None
        # All of the body that has come, taken or not.
        self._size = 0
        self._is_whole = False
        # Bytes of later requests that came while one is being answered.
        self._ahead = 0
        self._answering: asyncio.Task[None] | None = None
        self._has_begun = False
        self._is_refused = False
        self._is_finishing = False
        self._disconnected = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        # For the request to arrive; for its answer to be taken, while the client does not read.
        self._deadline = parts.clock.monotonic() + _REQUEST_S

    # -- from the stream -----------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._answering is not None and self._is_whole:
            self._ahead += len(data)
            # A client that has its answer is not ahead, though the task that gave it may not have ended yet.
            if self._ahead > _MAX_HEADER_BYTES and self._connection.our_state is not h11.DONE:
                self._stream.close()
                return
        try:
            self._connection.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))

    def lost(self) -> None:
        self._disconnected.set()
        self._drained.set()
        self._body_came.set()
        if self._is_finishing and self._answering is not None:
            self._answering.cancel()

    def finish(self) -> None:
        """Let an answer that has not begun be given; streams that have no end and requests without one are cut."""
        self._is_finishing = True
        if self._answering is None or not self._is_whole or self._connection.our_state is h11.SEND_BODY:
            self._stream.close()

    def writable(self, ready: bool) -> None:
        if ready:
            self._drained.set()
        elif self._drained.is_set():
            self._drained.clear()
            self._expire_in(_IDLE_S)

    def on_time(self, now: float) -> float | None:
        """Requests that never finish arriving, answers that are not taken, and connections that nobody uses."""
        if self._stream.is_closing:
            return None
        if self._answering is not None and self._is_whole and self._drained.is_set():
            # However long the application takes.
            return now + _IDLE_S
        if self._held_at is not None:
            # It is the application that takes its time.
            return now + _REQUEST_S
        if now < self._deadline:
            return self._deadline
        if self._answering is None or self._is_refused:
            self._stream.close()
        elif self._connection.our_state is h11.SEND_RESPONSE:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, self._why_late())
            return self._deadline
        else:
            log.warning("connection_dropped reason=connection.slow_reader address=%s", self._stream.address)
            self._stream.abort()
        return None

    def _why_late(self) -> str:
        late = f"the request did not arrive within {_REQUEST_S:.0f} s"
        return f"{late}, nor at {_LARGE_BYTES_PER_S} bytes a second" if self._is_large else late

    def _expire_in(self, seconds: float) -> None:
        self._deadline = self._parts.clock.monotonic() + seconds
        self._stream.wake(self._deadline)

    # -- a request -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not (self._answering is not None and self._is_whole) and not self._stream.is_closing:
            event = self._connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Request):
                if not self._begin(event):
                    return
            elif isinstance(event, h11.Data):
                self._size += len(event.data)
                if self._is_large:
                    bought = self._deadline + len(event.data) / _LARGE_BYTES_PER_S
                    self._deadline = min(bought, self._parts.clock.monotonic() + _REQUEST_S)
                if self._size > self._body_limit:
                    self._refuse_body()
                    return
                if self._answering is not None:
                    self._body.append(bytes(event.data))
                    self._body_ahead += len(event.data)
                    self._body_came.set()
                    if self._body_ahead > _BODY_AHEAD_BYTES:
                        self._hold_body()
            elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                self._is_whole = True
                self._body_came.set()
                if self._upgrades:
                    self._switch(self._request)
                    return
                if self._answering is None:
                    # It was answered before it had come to its end.
                    self._end_cycle()
                else:
                    self._stream.hold_reading(HOLD_ANSWER, True)

    def _hold_body(self) -> None:
        self._stream.hold_reading(HOLD_ANSWER, True)
        if self._is_large and self._held_at is None:
            self._held_at = self._parts.clock.monotonic()

    def _take_body(self) -> bytes:
        """What has come of the body; time goes on for its sender where it had been held."""
        body = b"".join(self._body)
        if self._held_at is not None:
            self._deadline += self._parts.clock.monotonic() - self._held_at
        self._drop_body()
        return body

    def _drop_body(self) -> None:
        self._body = []
        self._body_ahead = 0
        self._held_at = None

    def _begin(self, request: h11.Request) -> bool:
        """Call the application, unless the head says already that it is in vain."""
        self._request = request
        self._drop_body()
        self._size = 0
        self._body_came.clear()
        self._is_whole = False
        self._expire_in(_REQUEST_S)
        if _head_size(request) > _MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {_MAX_HEADER_BYTES} bytes")
            return False
        if request.method == b"CONNECT":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "no tunnels are made here")
            return False
        if _is_framed_twice(request):
            self._refuse(HTTPStatus.BAD_REQUEST, "a request has Content-Length or Transfer-Encoding, not both")
            return False
        limit = self._parts.body_limit(_origin_form(request.target).partition(b"?")[0])
        self._is_large = limit is not None
        self._body_limit = _MAX_BODY_BYTES if limit is None else limit
        if _declared_size(request) > self._body_limit:
            self._refuse_body()
            return False
        self._upgrades = asks_for_websocket(request)
        if self._upgrades:
            # Decided when it has come to its end.
            return True
        self._has_begun = False
        self._answering = asyncio.get_running_loop().create_task(self._answer(request))
        self._answering.add_done_callback(self._answered)
        return True

    def _switch(self, request: h11.Request) -> None:
        """Make way for a WebSocket, or say why not."""
        stream = self._stream
        try:
            accepted = accept_upgrade(request, self._parts.websockets, has_certificate=bool(stream.peer_chain()))
        except UpgradeRefused as refusal:
            log.info("websocket_refused status=%d address=%s message=%r", refusal.status, stream.address, str(refusal))
            self._refuse(refusal.status, str(refusal), refusal.headers)
            return
        switching = HTTPStatus.SWITCHING_PROTOCOLS
        self._write(
            h11.InformationalResponse(status_code=switching, headers=accepted.headers, reason=_phrase(switching))
        )
        websocket = WebSocketStream(stream, accepted.handler, self._parts.clock)
        stream.hand_over(websocket)
        if not self._drained.is_set():
            websocket.writable(False)
        ahead, _ = self._connection.trailing_data
        if ahead:
            websocket.received(ahead)

    async def _answer(self, request: h11.Request) -> None:
        self._has_begun = True
        delivered = False
        # What is still to come of an answer that says how long it is.
        left: int | None = None

        async def receive() -> Message:
            nonlocal delivered
            if delivered:
                # The peer's going away is what a long answer waits for; reading must go on to notice it.
                if self._connection.our_state is not h11.DONE:
                    self._stream.hold_reading(HOLD_ANSWER, False)
                await self._disconnected.wait()
                return {"type": "http.disconnect"}
            while not self._body and not self._is_whole:
                if self._disconnected.is_set():
                    return {"type": "http.disconnect"}
                if self._connection.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                self._body_came.clear()
                await self._body_came.wait()
            body = self._take_body()
            delivered = self._is_whole
            if not delivered:
                self._stream.hold_reading(HOLD_ANSWER, False)
            return {"type": "http.request", "body": body, "more_body": not delivered}

        async def send(message: Message) -> None:
            nonlocal left
            if self._stream.is_closing or self._is_refused:
                raise OSError("the client is gone")
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message.get("headers", [])]
                left = next((int(value) for name, value in headers if name.lower() == b"content-length"), None)
                reason = _phrase(message["status"])
                self._write(h11.Response(status_code=message["status"], headers=headers, reason=reason))
                return
            data = b"" if request.method == b"HEAD" else message.get("body", b"")
            # A page can be larger than what may wait for a client: it goes out as fast as it is taken.
            for at in range(0, len(data), _SLICE_BYTES):
                if self._stream.is_closing:
                    raise OSError("the client is gone")
                piece = data[at : at + _SLICE_BYTES]
                self._write(h11.Data(data=piece))
                if left is not None and (left := left - len(piece)) == 0:
                    self._end_answer()
                await self._drained.wait()
            if not message.get("more_body", False) and not self._stream.is_closing:
                self._end_answer()

        await self._parts.app(self._scope(request), receive, send)

    def _end_answer(self) -> None:
        """The client has all of it, and may ask for the next thing before the application knows that it is done."""
        if self._connection.our_state is h11.SEND_BODY:
            self._stream.hold_reading(HOLD_ANSWER, True)
            self._write(h11.EndOfMessage())

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering = None
        error = None if task.cancelled() else task.exception()
        if self._stream.is_closing:
            # Whoever has gone hears no answer; an application that noticed may say so with an error.
            if error is not None and not isinstance(error, OSError):
                log.error("request_failed", exc_info=error)
            return
        if self._is_refused:
            # Refused on the way, and answered where that was.
            return
        if error is not None or self._connection.our_state not in (h11.DONE, h11.MUST_CLOSE):
            log.error("request_failed", exc_info=error)
            if self._connection.our_state is h11.SEND_RESPONSE:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of ours; see the log")
            else:
                self._stream.close()
            return
        if self._is_whole:
            self._end_cycle()
        else:
            self._drop_the_rest()

    def _drop_the_rest(self) -> None:
        """It was answered without its body being needed: take what still comes of it, for a while."""
        self._drop_body()
        self._is_refused = self._is_finishing or self._connection.our_state is not h11.DONE
        self._stream.hold_reading(HOLD_ANSWER, False)
        self._expire_in(_LINGER_S)

    def _end_cycle(self) -> None:
        """Answered: wait for the next request, or close."""
        if (
            self._is_finishing
            or h11.DONE is not self._connection.our_state
            or h11.DONE is not self._connection.their_state
        ):
            self._stream.close()
            return
        self._request = None
        try:
            self._connection.start_next_cycle()
            self._ahead = 0
            self._expire_in(_IDLE_S)
            self._stream.hold_reading(HOLD_ANSWER, False)
            self._read()
        except h11.RemoteProtocolError as refusal:
            self._refuse(refusal.error_status_hint, str(refusal))

    # ------------------------------------------------------------------------------------------------------------------

    def _scope(self, request: h11.Request) -> dict[str, Any]:
        path, _, query = _origin_form(request.target).partition(b"?")
        host, _, port = self._stream.address.rpartition(":")
        if self._tls is None:
            self._tls = tls_extension(self._stream)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "https",
            "path": _unquoted(path),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers],
            "client": (host, int(port or 0)),
            "server": (self._stream.server_name or "", self._parts.port),
            "state": {},
            "extensions": {
                # Names of headers in the case they were sent in: of some, they name properties.
                "moorage.http": {"raw_headers": request.headers.raw_items()},
                "tls": self._tls,
                "moorage.tls": {"peer_chain": self._stream.peer_chain() or None, "version": self._stream.tls_version},
            },
        }

    def _write(self, event: h11.Event) -> None:
        data = self._connection.send(event)
        if data:
            self._stream.write(data)

    def _refuse(self, status: int, message: str, more: Iterable[tuple[str, str]] = ()) -> None:
        """Answer what cannot be served, drop what still comes of it, and close."""
        # Who answers is told that nobody listens any more, and not cut off: what has been begun is done and told of.
        self._disconnected.set()
        self._body_came.set()
        if self._answering is not None and not self._has_begun:
            self._answering.cancel()
        if self._connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._stream.close()
            return
        body = message.encode("utf-8", "replace")
        headers = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
        headers += [("connection", "close"), *more]
        self._write(h11.Response(status_code=status, headers=headers, reason=_phrase(status)))
        if self._request is None or self._request.method != b"HEAD":
            self._write(h11.Data(data=body))
        self._write(h11.EndOfMessage())
        self._is_refused = True
        self._drop_body()
        self._stream.hold_reading(HOLD_ANSWER, False)
        self._expire_in(_LINGER_S)

    def _refuse_body(self) -> None:
        self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {self._body_limit} bytes")


def _head_size(request: h11.Request) -> int:
    """h11's own limit is looked at only while a head is incomplete."""
    return len(request.target) + sum(len(name) + len(value) for name, value in request.headers)


def _is_framed_twice(request: h11.Request) -> bool:
    """Whether it says in two ways where it ends, and whoever stands before us may read the other (RFC 9112 6.1, 11.2).

    h11 goes by the chunks and would keep the connection, which the RFC forbids.
    """
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}


def _declared_size(request: h11.Request) -> int:
    """h11 has seen to it that there is at most one, and that it is a number."""
    return next((int(value) for name, value in request.headers if name == b"content-length"), 0)


def _origin_form(target: bytes) -> bytes:
    """The target without scheme and host, which a client may write out (RFC 9112 3.2.2)."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or not scheme.isalpha():
        return target
    _, slash, path = rest.partition(b"/")
    return slash + path or b"/"


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def _unquoted(path: bytes) -> str:
    return unquote_to_bytes(path).decode("utf-8", "replace")

"""The door of the port for people: TLS, and a way on for browsers that were sent here without it.

Somebody types `host:8080` and the browser says `GET /` in the clear. TLS alone would end that in silence; here the
first bytes are looked at, and where they are HTTP the answer is: the same address, by https. Nothing of such a request
reaches a handler, and what is answered holds nothing but where to go.
"""

from __future__ import annotations

import re
from typing import Final

from moorage.errors import RemoteProtocolError
from moorage.servers.front_door import Door, Engine

__all__ = ["MAX_HEAD_BYTES", "MAX_TARGET", "BrowserEngine", "WebDoor"]

# Of a request in the clear; browsers send about a thousand.
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_TARGET: Final = 2048
# Methods are tokens of capitals (RFC 9110 9.1), a TLS record begins with its type, which is below 32 (RFC 8446 5.1).
_CAPITALS: Final = range(ord("A"), ord("Z") + 1)
_REQUEST: Final = re.compile(rb"(?P<method>[A-Z]{1,16}) (?P<target>\S{1,4096}) HTTP/1\.[01]\r?\n")
_HOST: Final = re.compile(
    rb"\r?\nhost:[ \t]*(?P<host>[a-z0-9.\-_]{1,253}|\[[0-9a-f:.]{2,45}\])(?P<port>:\d{1,5})?[ \t]*\r?\n", re.IGNORECASE
)
# Of a path and its query (RFC 3986 3.3, 3.4), beginning with one slash: two would name another host.
_TARGET: Final = re.compile(rb"/(?!/)[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*")


class BrowserEngine:
    """An engine behind which nobody notices that a peer may begin without TLS."""

    __slots__ = ("_answer", "_engine", "_head")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # What came in the clear so far; None once it is known to be TLS.
        self._head: bytes | None = b""
        self._answer = b""

    @property
    def established(self) -> bool:
        return self._engine.established

    @property
    def closed(self) -> bool:
        return self._engine.closed

    @property
    def handshake_bytes(self) -> int:
        return self._engine.handshake_bytes

    @property
    def version(self) -> str:
        return self._engine.version

    @property
    def cipher(self) -> str:
        return self._engine.cipher

    @property
    def server_name(self) -> str | None:
        return self._engine.server_name

    def receive(self, data: bytes) -> bytes:
        """Raises `RemoteProtocolError` as the engine behind, and `tls.plain_http` with the answer in `take_output`."""
        if self._head is None:
            return self._engine.receive(data)
        head = self._head + data
        if head and head[0] not in _CAPITALS:
            self._head = None
            return self._engine.receive(head)
        self._head = head
        if b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) <= MAX_HEAD_BYTES:
            return b""
        self._answer = answer_to(head[:MAX_HEAD_BYTES])
        raise RemoteProtocolError("tls.plain_http", "a browser spoke HTTP without TLS; it was told to use https")

    def send(self, plaintext: bytes) -> bytes:
        return self._engine.send(plaintext)

    def take_output(self) -> bytes:
        answer, self._answer = self._answer, b""
        return answer or self._engine.take_output()

    def close(self) -> bytes:
        return self._engine.close()

    def own_certificate(self) -> bytes:
        return self._engine.own_certificate()

    def peer_certificates(self) -> tuple[bytes, ...]:
        return self._engine.peer_certificates()


class WebDoor(Door):
    """Makes streams for browsers."""

    def engine(self) -> Engine:
        return BrowserEngine(super().engine())


def answer_to(head: bytes) -> bytes:
    """The whole answer to a request in the clear, of which `head` is the beginning."""
    request, host = _REQUEST.match(head), _HOST.search(head)
    if request is None or host is None or request["method"] not in (b"GET", b"HEAD"):
        return _answer(b"400 Bad Request", b"This port speaks HTTPS: the address begins with https://\n")
    target = request["target"] if len(request["target"]) <= MAX_TARGET else b"/"
    if _TARGET.fullmatch(target) is None:
        target = b"/"
    location = b"https://" + host["host"] + (host["port"] or b"") + target
    body = b"" if request["method"] == b"HEAD" else b"This port speaks HTTPS: " + location + b"\n"
    return _answer(b"307 Temporary Redirect", body, b"Location: " + location + b"\r\n")


def _answer(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    head = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close\r\n"
    return b"HTTP/1.1 " + status + b"\r\n" + more + head + b"Content-Length: %d\r\n\r\n" % len(body) + body

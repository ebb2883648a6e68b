"""Requests as bytes on a real socket: what an ASGI app never sees, because the parser before it has to cope."""

from __future__ import annotations

import asyncio
import random
import ssl
from pathlib import Path
from typing import Final

from tests.api.served import Headers
from tests.fuzz.requests import Sent

__all__ = ["NO_ANSWER", "Wire", "written"]

# The server closed without a word, as it may when what came is no HTTP, or waits for more.
NO_ANSWER: Final = 0
_PATIENCE_S: Final = 20.0

# What replaces the request line's end, or stands between two header lines.
_VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"HTTP/9", b"")
_LINES: Final[tuple[bytes, ...]] = (
    b"X-A: \x00",
    b"X-A: a\x0bb",
    b" folded",
    b"NoColon",
    b": empty",
    b"X A: b",
    b"X-A: " + b"a" * 40_000,
    b"\xff\xfe: x",
    b"Content-Length: 5\r\nContent-Length: 7",
    b"Content-Length: 5, 5",
    b"Content-Length: +5",
    b"Content-Length: 1e3",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Host: a\r\nHost: b",
    b"Authorization: Bearer a\r\nAuthorization: Bearer b",
    b"If-Match: *\r\nIf-Match: *",
    b"Expect: 100-continue",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings",
    b"Upgrade: websocket\r\nConnection: upgrade",
    b"Connection: close, keep-alive",
    b"Trailer: X-A",
)


def written(sent: Sent, method: str, credential: str | None, chance: random.Random) -> bytes:
    """`sent` in HTTP/1.1, two times in three with something about its head that is wrong or rare."""
    headers: list[bytes] = [b"Host: localhost", *_lines(sent.headers)]
    if credential is not None:
        headers.append(b"Authorization: " + credential.encode("latin-1"))
    body, version = sent.body, b"HTTP/1.1"
    length = b"Content-Length: %d" % len(body)
    way = chance.randrange(6)
    if way < 2:
        headers.append(chance.choice(_LINES))
    elif way == 2:
        version = chance.choice(_VERSIONS)
    elif way == 3:
        length = chance.choice((b"Content-Length: %d" % (len(body) + 7), b"Content-Length: 0", b"X-No-Length: 1"))
    if b"Transfer-Encoding: chunked" not in headers:
        headers.append(length)
    return b"\r\n".join((b"%b %b %b" % (method.encode(), sent.target, version), *headers, b"", b"")) + body


def _lines(headers: Headers) -> list[bytes]:
    ours = (b"host", b"content-length", b"connection", b"transfer-encoding")
    return [b"%b: %b" % (name, value) for name, value in headers if name.lower() not in ours]


class Wire:
    """Connections to one hub, each for one request."""

    def __init__(self, port: int, ca_bundle: Path) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=ca_bundle)

    async def ask(self, request: bytes, *, patience_s: float) -> int:
        """The status of the first answer; none when nothing comes, as to a request that announces more than it has."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, server_hostname="localhost", ssl_handshake_timeout=_PATIENCE_S
        )
        try:
            writer.write(request)
            async with asyncio.timeout(patience_s):
                line = await reader.readline()
                while line.startswith(b"HTTP/1.1 100"):
                    await reader.readline()
                    line = await reader.readline()
            return int(line.split(b" ")[1]) if line else NO_ANSWER
        except (ConnectionError, TimeoutError):
            return NO_ANSWER
        finally:
            writer.transport.abort()

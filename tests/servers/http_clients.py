"""HTTP/1.1 by the letter, for requests that no library would send."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import cast

from tests.servers.clients import PATIENCE_S
from tests.servers.world import World

__all__ = ["RawHTTP", "Response"]


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


class RawHTTP:
    """One connection to the HTTPS port: bytes out, responses in."""

    def __init__(self, world: World, context: ssl.SSLContext | None = None) -> None:
        self._world = world
        self._context = context

    async def __aenter__(self) -> RawHTTP:
        info = self._world.app.info()
        context = self._context or ssl.create_default_context(cafile=info.ca_bundle)
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", info.https_port, ssl=context, server_hostname="localhost"
        )
        await self._world.shaken(self.writer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    def stop_reading(self) -> None:
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def say(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)

    def ask(self, method: str, path: str, *headers: str, body: bytes = b"", version: str = "1.1") -> None:
        lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.say("\r\n".join((*lines, "", "")).encode() + body)

    async def response(self, *, to: str = "GET") -> Response:
        """The next response; a 1xx is one of its own."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            status = int(head[0].split(" ")[1])
            size = int(headers.get("content-length", 0))
            body = b"" if to == "HEAD" or status < 200 else await self.reader.readexactly(size)
        return Response(status, headers, body)

    async def is_closed(self) -> bool:
        """The hub closes; what it still says on the way is dropped."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.reader.read()
        except ConnectionResetError:
            return True
        return self.reader.at_eof()

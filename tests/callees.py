"""Servers that the hub calls: real sockets, real TLS, and whatever answer a test wants, the wrong ones included.

async with callee(respond) as hook:                 # https://localhost:PORT, its CA in `hook.ca_bundle`
    ...
    hook.received[-1].body
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from moorage.pki.issue import issue_server
from tests import certs

__all__ = ["Callee", "Received", "Respond", "answer", "callee", "server_context", "server_root"]

_FOLDER = tempfile.TemporaryDirectory(prefix="moorage-tests-")


@dataclass(frozen=True)
class Received:
    """One request. `headers` have lower-case names."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Callee:
    host: str
    port: int
    scheme: str
    ca_bundle: Path
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    sni: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def answer(status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> Respond:
    """One that always says this."""

    async def respond(_received: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *(f"{n}: {v}" for n, v in headers)]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return respond


@cache
def server_root() -> certs.Issued:
    return certs.root("Callee Root")


def server_context(names: Sequence[str]) -> ssl.SSLContext:
    """With a certificate of `server_root` for these names and addresses."""
    key = certs.key_of("callee")
    dns, addresses = [], []
    for name in names:
        try:
            addresses.append(ipaddress.ip_address(name))
        except ValueError:
            dns.append(name)
    root = server_root()
    certificate = issue_server(
        key.public_key(),
        dns_names=dns,
        addresses=addresses,
        issuer=root.certificate,
        issuer_key=root.key,
        now=certs.NOW,
        lifetime=certs.LIFETIME,
    )
    file = Path(_FOLDER.name) / f"{certificate.sha1}.pem"
    file.write_bytes(certs.Issued(certificate, key).key_pem() + certificate.pem.encode())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


@asynccontextmanager
async def callee(
    respond: Respond,
    *,
    tls: bool = True,
    names: Sequence[str] = ("localhost", "127.0.0.1"),
    address: str = "127.0.0.1",
    reads_body: bool = True,
) -> AsyncIterator[Callee]:
    """A server at `address` that calls itself by the first of `names`; without `reads_body` it answers the head."""
    ca_bundle = Path(_FOLDER.name) / "callee-root.pem"
    ca_bundle.write_text(server_root().certificate.pem)
    served = Callee(names[0], 0, "https" if tls else "http", ca_bundle)
    context = server_context(names) if tls else None
    if context is not None:
        context.sni_callback = lambda _connection, name, _context: served.sni.append(name)

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        talking = asyncio.create_task(talk(reader, writer))
        serving.add(talking)
        await asyncio.wait({talking})
        serving.discard(talking)
        writer.transport.abort()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            length = int(headers.get("content-length", "0")) if reads_body else 0
            received = Received(method, target, headers, await reader.readexactly(length))
            served.received.append(received)
            await respond(received, writer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, address, 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        # For the transports to notice that they are closed: some turns of the loop, however long each takes.
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

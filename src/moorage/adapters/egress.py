"""The one way out: an HTTP/1.1 client for addresses that somebody else named (decisions T12).

    url ─► resolve once ─► keep the permitted addresses ─► connect to one of them, by number ─► TLS for the host's name

The address that was judged is the one that is connected to, so a name that resolves otherwise a moment later gains
nothing; the certificate is verified for the name, which also stands in SNI and in `Host`. No redirect is followed, no
proxy of the environment is asked, nothing is decompressed. A call has one time limit for everything and a size limit
each way. Every connection serves one request.

`request` is for answers that fit in memory, `stream` for containers. What a URL holds behind its host is often a secret
(a function's key, a container's signature), so no message shows more of it than scheme, host and port.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import re
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import h11

from moorage.adapters.egress_policy import NOTHING_MORE, Address, AllowList
from moorage.errors import Invalid, LocalProtocolError, Refusal, TooLarge, Unavailable

__all__ = ["Answer", "Egress", "Limits", "Resolve", "StreamedAnswer", "Upload", "resolve_host"]

# Every address of a host, in the order to try them. Raises `OSError`.
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
Headers = Sequence[tuple[str, str]]

_MAX_URL_CHARS: Final = 8192
_MAX_HEADER_BYTES: Final = 64 * 1024
_MAX_INFORMATIONAL: Final = 10
_READ_BYTES: Final = 64 * 1024
# Parsing so many chunks takes about a millisecond.
_CHUNKS_AT_ONCE: Final = 20
_SHOWN: Final = 120
_MAX_ADDRESSES: Final = 4
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What may stand in the target of a request line (RFC 3986 2, taken widely); anything else has to be percent-encoded.
_TARGET: Final = re.compile(r"[!-~]*")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")


@dataclass(frozen=True, slots=True)
class Limits:
    """`total_s` is for the whole call, from the name's resolution to the last byte; sizes are of bodies."""

    total_s: float = 10.0
    request_bytes: int = 1024 * 1024
    response_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is not in memory: exactly `length` bytes in `chunks`."""

    length: int
    chunks: AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` have lower-case names."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return _header(self.headers, name)


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer whose body is still to be read, inside the `async with` that gave it. `headers` as of `Answer`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: AsyncIterator[bytes]

    def header(self, name: str) -> str | None:
        return _header(self.headers, name)


# Whoever names a host may name one whose name servers never answer, and a thread that waits for them cannot be called
# back. So these are others than the loop's own, in which the hub does its work.
_RESOLVERS: Final = ThreadPoolExecutor(8, thread_name_prefix="egress-resolve")


async def resolve_host(host: str, port: int) -> list[Address]:
    """By the system's resolver, in a thread kept for that."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, ask)
    return list(dict.fromkeys(ipaddress.ip_address(str(where[0])) for *_, where in found))


class Egress:
    """Calls out, under one policy. `ca_bundle` is a PEM file of CAs trusted beside the system's."""

    def __init__(
        self, allow: AllowList = NOTHING_MORE, *, ca_bundle: Path | None = None, resolve: Resolve = resolve_host
    ) -> None:
        self._allow = allow
        self._ca_bundle = ca_bundle
        self._resolve = resolve
        self._context: ssl.SSLContext | None = None

    async def request(
        self, method: str, url: str, *, headers: Headers = (), body: bytes = b"", limits: Limits = Limits()
    ) -> Answer:
        """One exchange with the whole answer in memory. Raises as `stream`."""
        async with self.stream(method, url, headers=headers, body=body, limits=limits) as answer:
            whole = b"".join([chunk async for chunk in answer.chunks])
            return Answer(answer.status, answer.headers, whole)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Headers = (), body: bytes | Upload = b"", limits: Limits = Limits()
    ) -> AsyncIterator[StreamedAnswer]:
        """One exchange; `headers` go along with those that frame the request. Any status but a redirect is an answer.

        The time limit runs for as long as the `async with` does.

        Raises:
            Invalid: `egress.url`, `egress.not_allowed`.
            TooLarge: `egress.request_size`, `egress.response_size`.
            Unavailable: `egress.unresolved`, `egress.unreachable`, `egress.tls`, `egress.timeout`.
            Refusal: `egress.redirected`, `egress.malformed`.
        """
        place = _Place.of(url)
        length = body.length if isinstance(body, Upload) else len(body)
        if length > limits.request_bytes:
            raise TooLarge(
                "egress.request_size",
                f"the request to {place} would have {length} bytes, at most {limits.request_bytes} are sent",
            )
        try:
            async with asyncio.timeout(limits.total_s) as deadline:
                exchange = await self._open(place)
                try:
                    yield await exchange.run(method, headers, body, length, limits.response_bytes)
                finally:
                    exchange.close()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise Unavailable(
                "egress.timeout", f"{place} did not finish its answer within {limits.total_s:g} s"
            ) from error

    async def permitted(self, host: str, port: int, *, with_tls: bool) -> list[Address]:
        """Where another protocol may connect to: never empty. Raises as `stream` does before it connects."""
        return await self._permitted(_Place(host, port, with_tls, "/"))

    def check(self, url: str) -> None:
        """What `stream` says of `url` before it asks anybody: a name is judged by where it leads, when it is called.

        Raises `Invalid` (`egress.url`, `egress.not_allowed`).
        """
        self._check(_Place.of(url))

    def check_host(self, host: str, port: int, *, with_tls: bool) -> None:
        """As `check`, of what `permitted` will be asked for. Raises `Invalid` (`egress.not_allowed`)."""
        self._check(_Place(host, port, with_tls, "/"))

    def _check(self, place: _Place) -> None:
        if place.address is not None:
            self._judge(place, [place.address])

    async def _open(self, place: _Place) -> _Exchange:
        context = await self._tls() if place.with_tls else None
        failure: Exception | None = None
        for address in (await self._permitted(place))[:_MAX_ADDRESSES]:
            try:
                reader, writer = await asyncio.open_connection(
                    str(address),
                    place.port,
                    ssl=context,
                    server_hostname=place.host if context is not None else None,
                )
            except ssl.SSLError as error:
                why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
                raise Unavailable(
                    "egress.tls",
                    f"no TLS connection to {place} (at {address}): {why or error}",
                    fix="trust its CA with --egress-ca-bundle FILE" if "certificate" in str(error).lower() else "",
                ) from error
            except OSError as error:
                failure = error
                continue
            return _Exchange(place, reader, writer)
        raise _unreachable(place, failure)

    async def _permitted(self, place: _Place) -> list[Address]:
        """Never empty."""
        if place.address is not None:
            return self._judge(place, [place.address])
        try:
            found = await self._resolve(place.host, place.port)
        except (OSError, UnicodeError) as error:
            raise Unavailable("egress.unresolved", f"{place.host!r} has no address: {error}") from error
        return self._judge(place, found)

    def _judge(self, place: _Place, found: Sequence[Address]) -> list[Address]:
        """Those of `found` that may be called, never none. Raises `Invalid` (`egress.not_allowed`)."""
        permitted = self._allow.permitted(place.host, found, with_tls=place.with_tls)
        if permitted:
            return permitted
        known = ", ".join(map(str, found[:_MAX_ADDRESSES])) or "no address"
        why = (
            "calls go to public addresses and to what egress_allow names"
            if place.with_tls
            else "calls without TLS go to what egress_allow names, and to nothing else"
        )
        raise Invalid(
            "egress.not_allowed",
            f"{place} is at {known}; {why}",
            fix=f"moorage up --egress-allow {place.host}",
        )

    async def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            # Reading the system's CAs takes tens of milliseconds.
            self._context = await asyncio.to_thread(self._make_context)
        return self._context

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._ca_bundle is not None:
            try:
                context.load_verify_locations(self._ca_bundle)
            except OSError as error:
                raise Unavailable(
                    "egress.tls", f"the CA bundle for calls out, {self._ca_bundle}, cannot be read: {error}"
                ) from error
        return context


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads. `target` is path and query, which may be secret."""

    host: str
    port: int
    with_tls: bool
    target: str

    @classmethod
    def of(cls, url: str) -> _Place:
        """Raises `Invalid` (`egress.url`)."""
        if len(url) > _MAX_URL_CHARS:
            raise _bad_url(f"it has {len(url)} characters, at most {_MAX_URL_CHARS} are allowed")
        if not _TARGET.fullmatch(url):
            raise _bad_url("it holds a character that has to be percent-encoded")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _bad_url("its port or its brackets cannot be read") from error
        return cls._of(parts, port)

    @classmethod
    def _of(cls, parts: SplitResult, port: int | None) -> _Place:
        if parts.scheme not in ("https", "http"):
            raise _bad_url(f"it begins with {parts.scheme[:20]!r}, it has to begin with https://")
        if parts.username is not None or parts.password is not None:
            raise _bad_url("it holds a user name or password, which are not sent")
        host = (parts.hostname or "").rstrip(".")
        with_tls = parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        place = cls(host, port or (443 if with_tls else 80), with_tls, target)
        if not _HOST.fullmatch(host) or (place.address is None and ("[" in parts.netloc or ":" in host)):
            raise _bad_url("it has no host name, or one that is not ASCII; write international names as xn--...")
        if port == 0:
            raise _bad_url("its port is 0")
        return place

    @property
    def address(self) -> Address | None:
        """Of a host that is one. What is oddly spelled (127.1, 0x7f000001) is left to the resolver, and judged by what
        it makes of it."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.with_tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.with_tls else 'http'}://{self.authority}"


class _Exchange:
    """One request and its answer on a connection that ends with them."""

    def __init__(self, place: _Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADER_BYTES)

    def close(self) -> None:
        # Nobody waits for a peer's good-bye.
        self._writer.transport.abort()

    async def run(self, method: str, headers: Headers, body: bytes | Upload, length: int, most: int) -> StreamedAnswer:
        """Send and listen at once: a peer may answer before it has read everything, and then hang up."""
        sending = asyncio.create_task(self._send(method, headers, body, length))
        answering = asyncio.create_task(self._answer(most))
        try:
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            return await answering
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _send(self, method: str, headers: Headers, body: bytes | Upload, length: int) -> None:
        frame = [("host", self._place.authority), ("accept-encoding", "identity"), ("connection", "close")]
        if length or method not in ("GET", "HEAD", "DELETE"):
            frame.append(("content-length", str(length)))
        # A header may give back what the peer itself gave, an etag for instance, and that may be any bytes.
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in (*frame, *headers)]
        request = h11.Request(method=method, target=self._place.target, headers=encoded)
        if not await self._write(request):
            return
        if isinstance(body, Upload):
            sent = 0
            async for chunk in body.chunks:
                sent += len(chunk)
                if sent > length:
                    raise LocalProtocolError(f"an upload of {length} bytes has more")
                if not await self._write(h11.Data(chunk)):
                    return
            if sent < length:
                raise LocalProtocolError(f"an upload of {length} bytes ended after {sent}")
        elif body and not await self._write(h11.Data(body)):
            return
        await self._write(h11.EndOfMessage())

    async def _write(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> bool:
        """Whether the peer still reads."""
        try:
            self._writer.write(self._http.send(event) or b"")
            await self._writer.drain()
        except OSError:
            # What there is to hear about it, whoever listens hears.
            return False
        return True

    async def _answer(self, most: int) -> StreamedAnswer:
        for _ in range(_MAX_INFORMATIONAL):
            event = await self._next_event()
            if isinstance(event, h11.Response):
                break
            if not isinstance(event, h11.InformationalResponse):
                raise self._malformed("it sent something else than an answer")
        else:
            raise self._malformed(f"it sent {_MAX_INFORMATIONAL} interim answers and no other")
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers)
        if event.status_code in _REDIRECTS:
            raise Refusal(
                "egress.redirected",
                f"{self._place} answered {event.status_code}, and redirects are not followed",
                fix="name the final address",
            )
        declared = _header(headers, "content-length")
        if declared is not None and int(declared) > most:
            raise self._too_large(most)
        return StreamedAnswer(event.status_code, headers, self._body(most))

    async def _body(self, most: int) -> AsyncIterator[bytes]:
        received = 0
        for count in itertools.count(1):
            event = await self._next_event()
            if not isinstance(event, h11.Data):
                return
            received += len(event.data)
            if received > most:
                raise self._too_large(most)
            yield bytes(event.data)
            if count % _CHUNKS_AT_ONCE == 0:
                # A peer may send a byte in each chunk, some ten thousand of which are read from the socket at once.
                await asyncio.sleep(0)

    async def _next_event(self) -> object:
        ended = False
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(_READ_BYTES)
                ended = not data
                self._http.receive_data(data)
        except OSError as error:
            raise _unreachable(self._place, error) from error
        except h11.RemoteProtocolError as error:
            if ended:
                raise self._broken_off() from error
            raise self._malformed(str(error)) from error
        if isinstance(event, h11.ConnectionClosed):
            raise self._broken_off()
        return event

    def _broken_off(self) -> Unavailable:
        return Unavailable("egress.unreachable", f"{self._place} closed the connection before its answer was complete")

    def _malformed(self, why: str) -> Refusal:
        # What it sent instead may be long, and is told to whoever asked.
        return Refusal("egress.malformed", f"{self._place} did not answer as HTTP/1.1 asks: {why[:_SHOWN]}")

    def _too_large(self, most: int) -> TooLarge:
        return TooLarge("egress.response_size", f"the answer of {self._place} has more than {most} bytes")


def _header(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    return next((value for each, value in headers if each == name.lower()), None)


def _bad_url(why: str) -> Invalid:
    return Invalid("egress.url", f"this URL cannot be called: {why}")


def _unreachable(place: _Place, error: Exception | None) -> Unavailable:
    return Unavailable("egress.unreachable", f"no connection to {place}: {error or 'it has no address left to try'}")

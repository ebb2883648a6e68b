"""The opening handshake of a WebSocket (RFC 6455, 4.2): from a request's head to what is spoken behind it.

The subprotocol decides, whatever the path and the query: C# opens `/`, Java `/mqtt`, everybody else
`/$iothub/websocket` (contract/devices.md 3, services.md 0.1). `?iothub-no-client-cert=true`, with which Java asks not
to be asked for a certificate, comes after the handshake in which that was done; a client without one is let through it,
so there is nothing left to do (devices.md 1.5). No extension is offered: permessage-deflate would spend memory for each
connection on bytes that compress little.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import h11

__all__ = ["Accepted", "UpgradeRefused", "accept_upgrade", "asks_for_websocket"]

H = TypeVar("H")

# RFC 6455 1.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = b"13"


class Accepted(NamedTuple, Generic[H]):
    """What to answer 101 with, and the handler of the subprotocol."""

    headers: list[tuple[bytes, bytes]]
    handler: H


class UpgradeRefused(Exception):
    """The upgrade is answered with `status`, `headers` and the sentence."""

    def __init__(self, status: HTTPStatus, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def asks_for_websocket(request: h11.Request) -> bool:
    """Whether it asks to go on as a WebSocket; other upgrades are no business of ours, and may be ignored."""
    return b"websocket" in _tokens(request, b"upgrade") and b"upgrade" in _tokens(request, b"connection")


def accept_upgrade(request: h11.Request, handlers: Mapping[str, H], *, has_certificate: bool) -> Accepted[H]:
    """The first subprotocol the client offers that is among `handlers`, compared without case, in its own spelling.

    Raises `UpgradeRefused`. `has_certificate`: the peer showed one. A browser shows it for whatever page asks, so the
    page has to be one of ours then (RFC 6455 10.2); a token, which is within the stream, a page has to know.
    """
    if request.method != b"GET" or request.http_version < b"1.1":
        raise UpgradeRefused(HTTPStatus.BAD_REQUEST, "a WebSocket begins with a GET of HTTP/1.1")
    if any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in request.headers):
        raise UpgradeRefused(HTTPStatus.BAD_REQUEST, "the GET that begins a WebSocket has no body")
    if _value(request, b"sec-websocket-version") != _VERSION:
        raise UpgradeRefused(
            HTTPStatus.UPGRADE_REQUIRED,
            "this speaks version 13 of WebSocket (RFC 6455)",
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
        )
    key = _value(request, b"sec-websocket-key")
    if not _is_key(key):
        raise UpgradeRefused(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes in Base64")
    if has_certificate and not _is_own_page(request):
        raise UpgradeRefused(
            HTTPStatus.FORBIDDEN, "a page of another host may not use the certificate that the browser shows"
        )
    known = {name.lower(): handler for name, handler in handlers.items()}
    offered = [token for value in _values(request, b"sec-websocket-protocol") for token in _split(value)]
    for token in offered:
        handler = known.get(token.decode("latin-1").lower())
        if handler is not None:
            headers = [
                (b"upgrade", b"websocket"),
                (b"connection", b"Upgrade"),
                (b"sec-websocket-accept", base64.b64encode(hashlib.sha1(key + _GUID).digest())),
                (b"sec-websocket-protocol", token),
            ]
            return Accepted(headers, handler)
    wanted = ", ".join(repr(token.decode("latin-1")[:64]) for token in offered[:4]) or "none"
    raise UpgradeRefused(
        HTTPStatus.BAD_REQUEST,
        f"Sec-WebSocket-Protocol asks for {wanted}; over WebSocket this hub speaks {' and '.join(handlers)}",
    )


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _is_own_page(request: h11.Request) -> bool:
    """Whether no page is behind it, or one of the host that it asks. SDKs send no Origin, or the host they ask."""
    origin = _value(request, b"origin").decode("latin-1")
    if not origin:
        return True
    host = _value(request, b"host").decode("latin-1")
    try:
        return urlsplit(origin).hostname == urlsplit(f"//{host}").hostname is not None
    except ValueError:
        return False


def _tokens(request: h11.Request, name: bytes) -> set[bytes]:
    return {token.lower() for value in _values(request, name) for token in _split(value)}


def _split(value: bytes) -> list[bytes]:
    return [token for token in map(bytes.strip, value.split(b",")) if token]


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for each, value in request.headers if each == name]


def _value(request: h11.Request, name: bytes) -> bytes:
    """The header's value when it is there exactly once, else nothing."""
    values = _values(request, name)
    return values[0].strip() if len(values) == 1 else b""

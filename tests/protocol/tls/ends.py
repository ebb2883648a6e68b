"""The standard library's TLS client and our engine, joined in memory."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from OpenSSL import SSL

from moorage.protocols.tls.engine import TLSEngine, make_context
from tests import certs

__all__ = ["VERSIONS", "Pair", "client_context", "server_context", "whole"]

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    return (data,) if data else ()


@cache
def server_context() -> SSL.Context:
    server = certs.self_signed("localhost")
    return make_context([server.certificate.x509], server.key)


def client_context(
    issued: certs.Issued | None = None, *, version: ssl.TLSVersion | None = None, sends: int | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if issued is not None:
        chain = issued.sends(sends).parse()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "client.pem"
            file.write_bytes(issued.key_pem() + "".join(each.pem for each in chain).encode())
            context.load_cert_chain(file)
    return context


class Pair:
    """Both ends. What the client sends reaches the engine cut by `cut`; `heard` is the plaintext that came out."""

    def __init__(self, context: ssl.SSLContext, cut: Cut = whole, *, session: ssl.SSLSession | None = None) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._in, self._out, server_hostname="localhost", session=session)
        self.engine = TLSEngine(server_context())
        self.cut = cut
        self.heard = b""

    def shake_hands(self) -> Pair:
        for _ in range(8):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.deliver()
                continue
            self.deliver()
            if self.engine.established:
                return self
        raise AssertionError("the handshake does not end")

    def say(self, *pieces: bytes) -> bytes:
        """Encrypt each piece as records of its own; the bytes for the engine."""
        for piece in pieces:
            self.client.write(piece)
        return self._out.read()

    def deliver(self, data: bytes | None = None) -> None:
        for piece in self.cut(self._out.read() if data is None else data):
            self.heard += self.engine.receive(piece)
        self._in.write(self.engine.take_output())

    def hear(self, encrypted: bytes) -> bytes:
        """What the client makes of bytes from the engine."""
        self._in.write(encrypted)
        heard = b""
        try:
            while piece := self.client.read(65536):
                heard += piece
        except ssl.SSLWantReadError:
            return heard
        return heard

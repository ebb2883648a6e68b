"""The ASGI TLS extension, 0.2: what an application may know of the connection that its request came in."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any, Final, Protocol

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate, PeerChain

__all__ = ["tls_extension"]

# RFC 5246 6.2.1, RFC 8446 4.2.1
_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class _Connection(Protocol):
    @property
    def tls_version(self) -> str: ...

    @property
    def cipher(self) -> str: ...

    def own_certificate(self) -> bytes: ...

    def peer_chain(self) -> PeerChain: ...


def tls_extension(connection: _Connection) -> dict[str, Any]:
    """`scope["extensions"]["tls"]`.

    The chain was not judged: that is the application's (decisions T10), and the extension has one way of saying so.
    """
    chain = connection.peer_chain()
    return {
        "server_cert": ssl.DER_cert_to_PEM_cert(connection.own_certificate()),
        "client_cert_chain": tuple(ssl.DER_cert_to_PEM_cert(der) for der in chain.certificates),
        "client_cert_name": _subject(chain),
        "client_cert_error": "the chain was not validated, only that the peer holds the key" if chain else None,
        "tls_version": _VERSIONS.get(connection.tls_version),
        "cipher_suite": _cipher_codes().get(connection.cipher),
    }


def _subject(chain: PeerChain) -> str | None:
    """The leaf's, as RFC 4514 writes it; None when there is no leaf that can be read."""
    try:
        return Certificate(chain.leaf).subject if chain else None
    except Invalid:
        return None


@cache
def _cipher_codes() -> dict[str, int]:
    """OpenSSL's names of cipher suites to what stands for them on the wire."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}

"""Certificates and requests as people and programs hand them in.

Clients send one thing in many spellings (contract/services.md 6.4, K-1): PEM text, base64 of a PEM file, base64 of
DER with and without line breaks, DER. All are read here, by what they are and not by what they are called. Lines
outside the PEM blocks are ignored, as OpenSSL ignores them: text dumps, bag attributes, and the `null` that the Azure
SDK's generator of test certificates leaves behind a root.

Anything that holds a private key is refused before it is looked at further, and no message quotes the input.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.der import element, is_private_key

__all__ = ["MAX_CERTIFICATES", "MAX_INPUT_BYTES", "parse_certificate", "parse_certificates", "parse_csr"]

# The longest chain in one of our files is five certificates; the largest bundle worth uploading as one trust decision
# has a handful. 16 RSA-4096 certificates as base64 of PEM are about 60 KiB.
MAX_CERTIFICATES: Final = 16
MAX_INPUT_BYTES: Final = 64 * 1024

# base64 of base64 of PEM has not been seen; one wrapping more than has been is still read.
_MAX_WRAPPINGS = 2
_CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_REQUEST_LABELS = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})
_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_SPACE = re.compile(rb"[\s\x00]+")


def parse_certificates(data: bytes | str) -> list[Certificate]:
    """Every certificate in `data`, in its order, at least one.

    Raises `Invalid`: `certificate.private_key`, `certificate.malformed`, `certificate.missing` when it is readable but
    holds no certificate, `certificate.too_large`, `certificate.unsupported_key`.
    """
    return [_readable(der) for der in _ders(data, _CERTIFICATE_LABELS, "certificate")]


def parse_certificate(data: bytes | str) -> Certificate:
    """The first certificate in `data`. Raises as `parse_certificates`."""
    return parse_certificates(data)[0]


def parse_csr(data: bytes | str) -> x509.CertificateSigningRequest:
    """One PKCS#10 request whose signature shows that its sender holds the key.

    Raises `Invalid`: `csr.private_key`, `csr.malformed`, `csr.missing`, `csr.too_large`, `csr.signature`.
    """
    der = _ders(data, _REQUEST_LABELS, "csr")[0]
    try:
        request = x509.load_der_x509_csr(der)
        proven = request.is_signature_valid
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm, InvalidSignature) as error:
        raise Invalid("csr.malformed", f"this is not a well-formed certificate request: {error}") from error
    if not proven:
        raise Invalid("csr.signature", "the request is not signed by the key it asks a certificate for")
    return request


def _readable(der: bytes) -> Certificate:
    certificate = Certificate(der)
    # Names are read on demand elsewhere; of what is stored, they have to be readable now.
    _ = certificate.subject_name, certificate.issuer_name
    return certificate


def _ders(data: bytes | str, labels: frozenset[str], kind: str) -> list[bytes]:
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > MAX_INPUT_BYTES:
        raise Invalid(f"{kind}.too_large", f"{len(raw)} bytes; at most {MAX_INPUT_BYTES} are read")
    for _ in range(_MAX_WRAPPINGS + 1):
        raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            raise Invalid(f"{kind}.missing", "there is nothing in it")
        if b"PRIVATE KEY" in raw.upper() or is_private_key(raw):
            raise _holds_a_key(kind)
        if _BEGIN in raw:
            return _pem(raw, labels, kind)
        if _is_der(raw):
            return [raw]
        try:
            raw = base64.b64decode(_SPACE.sub(b"", raw), validate=True)
        except binascii.Error as error:
            raise Invalid(f"{kind}.malformed", "this is neither PEM nor DER nor base64 of one of them") from error
    raise Invalid(f"{kind}.malformed", "this is base64, but not of PEM or DER")


def _is_der(raw: bytes) -> bool:
    # A base64 text may begin with "0", which is also how DER begins; its length then does not fit.
    try:
        return raw[0] == 0x30 and element(raw, 0)[2] <= len(raw) and raw[1] >= 0x80
    except (IndexError, ValueError):
        return False


def _pem(raw: bytes, labels: frozenset[str], kind: str) -> list[bytes]:
    found: list[bytes] = []
    others: list[str] = []
    at = raw.find(_BEGIN)
    while at >= 0:
        begin = raw.find(_DASHES, at + len(_BEGIN))
        label = raw[at + len(_BEGIN) : begin]
        end = raw.find(_END + label + _DASHES, begin)
        if begin < 0 or end < 0 or b"\n" in label:
            raise Invalid(f"{kind}.malformed", "a PEM block begins but does not end; is the file whole?")
        body = _SPACE.sub(b"", raw[begin + len(_DASHES) : end])
        try:
            der = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise Invalid(f"{kind}.malformed", "a PEM block is not base64") from error
        if is_private_key(der):
            raise _holds_a_key(kind)
        name = label.decode("ascii", "replace")
        if name in labels:
            found.append(der)
        else:
            others.append(name)
        if len(found) > MAX_CERTIFICATES:
            raise Invalid(f"{kind}.too_large", f"more than {MAX_CERTIFICATES} in one input")
        at = raw.find(_BEGIN, end)
    if not found:
        raise Invalid(f"{kind}.missing", f"the PEM holds no {sorted(labels)[0]}, only {others[0][:40]!r}")
    return found


def _holds_a_key(kind: str) -> Invalid:
    return Invalid(
        f"{kind}.private_key",
        "the input holds a private key, which must stay with its owner; nothing of it was kept. "
        "If it was sent over a network, make a new key",
        fix="send the file that ends in _cert.pem",
    )

"""Waivers: weaknesses of a fleet's old certificates that a hub may put up with while it is rolled.

Each names one weakness, and nothing else passes by it: a key or signature that is weak in another way is refused as
before, and what has no waiver here has none anywhere. MD5 is not among them, and never will be: certificates of another
name with the same MD5 signature were made long ago. No waiver is given by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cryptography.x509.oid import SignatureAlgorithmOID

from moorage.errors import Check
from moorage.pki.keys import is_rsa_1024, is_strong
from moorage.pki.signatures import Signed, has_strong_signature

__all__ = [
    "NO_WAIVERS",
    "WAIVERS",
    "Waived",
    "Waiver",
    "Waivers",
    "accepts_key",
    "accepts_signature",
    "waiver_of_key",
    "waiver_of_signature",
]

Waiver = Literal["rsa-1024", "sha1-signature"]
Waivers = frozenset[Waiver]

WAIVERS: Final[dict[Waiver, str]] = {
    "rsa-1024": "RSA keys of 1024 to 2047 bits, of devices and of CAs",
    "sha1-signature": "certificates signed with RSA (PKCS #1 v1.5) or ECDSA and SHA-1",
}
NO_WAIVERS: Final[Waivers] = frozenset()

_SHA1: Final = frozenset({SignatureAlgorithmOID.RSA_WITH_SHA1, SignatureAlgorithmOID.ECDSA_WITH_SHA1})


@dataclass(frozen=True, slots=True)
class Waived:
    """One weakness that was put up with, and the check that passed by it: its detail begins with `waived: `."""

    waiver: Waiver
    check: Check


def waiver_of_key(key: object) -> Waiver | None:
    """The waiver under which a public key passes that is not strong; None when there is none for it."""
    return "rsa-1024" if is_rsa_1024(key) else None


def waiver_of_signature(signed: Signed) -> Waiver | None:
    """The waiver under which a signature passes that is not strong; None when there is none for it."""
    return "sha1-signature" if signed.signature_algorithm_oid in _SHA1 else None


def accepts_key(key: object, waivers: Waivers) -> bool:
    return is_strong(key) or waiver_of_key(key) in waivers


def accepts_signature(signed: Signed, waivers: Waivers) -> bool:
    return has_strong_signature(signed) or waiver_of_signature(signed) in waivers

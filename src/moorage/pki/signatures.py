"""Signatures under certificates, revocation lists and OCSP answers: one place that verifies, one list of algorithms.

Nothing here compares names or asks what a key may be used for. The caller has bounded the key before (`is_strong`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.x509.oid import SignatureAlgorithmOID

__all__ = ["STRONG_SIGNATURES", "Signature", "Signed", "describe_signature", "has_strong_signature", "verifies"]

_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_ALGORITHMS: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.RSASSA_PSS,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.ED25519,
    }
)
STRONG_SIGNATURES: Final = "RSA, RSASSA-PSS and ECDSA with SHA-256, SHA-384 or SHA-512, and Ed25519"
# For messages only: what old tools still sign with.
_WEAK: Final = {
    SignatureAlgorithmOID.RSA_WITH_MD5: "RSA and MD5",
    SignatureAlgorithmOID.RSA_WITH_SHA1: "RSA and SHA-1",
    SignatureAlgorithmOID.RSA_WITH_SHA224: "RSA and SHA-224",
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: "ECDSA and SHA-1",
    SignatureAlgorithmOID.ECDSA_WITH_SHA224: "ECDSA and SHA-224",
    SignatureAlgorithmOID.RSASSA_PSS: "RSASSA-PSS and a weak hash",
}

_How = padding.PSS | padding.PKCS1v15 | ec.ECDSA | None


class Signed(Protocol):
    """As certificates and lists of `cryptography` say how they are signed."""

    @property
    def signature_algorithm_oid(self) -> x509.ObjectIdentifier: ...

    @property
    def signature_hash_algorithm(self) -> hashes.HashAlgorithm | None: ...


def has_strong_signature(signed: Signed) -> bool:
    oid = signed.signature_algorithm_oid
    if oid != SignatureAlgorithmOID.RSASSA_PSS:
        return oid in _ALGORITHMS
    # RSASSA-PSS names its hash in its parameters; left out, it is SHA-1 (RFC 4055 3.1).
    try:
        return isinstance(signed.signature_hash_algorithm, _HASHES)
    except (UnsupportedAlgorithm, ValueError):
        return False


def describe_signature(signed: Signed) -> str:
    oid = signed.signature_algorithm_oid
    return _WEAK.get(oid, oid.dotted_string)


def verifies(
    key: object,
    signature: bytes,
    data: bytes,
    oid: x509.ObjectIdentifier,
    how: _How,
    algorithm: hashes.HashAlgorithm | utils.Prehashed | None,
) -> bool:
    """Whether `key` made `signature` over `data`, or over what `data` is the digest of when `algorithm` says so."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if oid == SignatureAlgorithmOID.ECDSA_WITH_SHA1:
                # The library takes it for an algorithm without parameters (50.0.2).
                how = ec.ECDSA(hashes.SHA1())
            if not isinstance(how, ec.ECDSA):
                return False
            key.verify(signature, data, ec.ECDSA(algorithm) if isinstance(algorithm, utils.Prehashed) else how)
        elif isinstance(key, rsa.RSAPublicKey):
            if algorithm is None or not isinstance(how, padding.PKCS1v15 | padding.PSS):
                return False
            key.verify(signature, data, how, algorithm)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            if oid != SignatureAlgorithmOID.ED25519:
                return False
            key.verify(signature, data)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that can be verified long after what it is over was let go: a digest stands for the data.

    Ed25519 hashes in a way of its own, so there the data itself is kept.
    """

    signature: bytes
    oid: x509.ObjectIdentifier
    how: _How
    data: bytes
    algorithm: utils.Prehashed | None

    @classmethod
    def of(
        cls,
        signature: bytes,
        data: bytes,
        oid: x509.ObjectIdentifier,
        how: _How,
        algorithm: hashes.HashAlgorithm | None,
    ) -> Signature:
        if algorithm is None:
            return cls(signature, oid, how, data, None)
        digest = hashes.Hash(algorithm)
        digest.update(data)
        return cls(signature, oid, how, digest.finalize(), utils.Prehashed(algorithm))

    def is_by(self, key: object) -> bool:
        return verifies(key, self.signature, self.data, self.oid, self.how, self.algorithm)

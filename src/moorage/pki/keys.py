"""Key pairs: made, saved, loaded, and said in words.

The kinds made here are those the tutorials and small TLS stacks use; `is_strong` says what is accepted from others.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from moorage.errors import Invalid
from moorage.pki.der import MAX_ROUNDS, derivation_rounds

__all__ = [
    "DEFAULT_KEY",
    "KEY_KINDS",
    "STRONG_KEYS",
    "PrivateKey",
    "describe_key",
    "is_rsa_1024",
    "is_strong",
    "load_key",
    "make_key",
    "save_key",
]

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

_ENCRYPTED: Final = re.compile(
    rb"-----BEGIN ENCRYPTED PRIVATE KEY-----(.*?)-----END ENCRYPTED PRIVATE KEY-----", re.DOTALL
)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_EXPONENT = 65537
_MAKERS: Final[dict[str, Callable[[], PrivateKey]]] = {
    "rsa-2048": lambda: rsa.generate_private_key(_EXPONENT, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(_EXPONENT, 3072),
    "rsa-4096": lambda: rsa.generate_private_key(_EXPONENT, 4096),
    "ec-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ec-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}
KEY_KINDS: Final = tuple(_MAKERS)
# Large RSA chains overflow small TLS stacks, and P-256 signs and verifies fastest.
DEFAULT_KEY: Final = "ec-p256"

# Upper bounds keep a stranger's key from costing much to verify with; no device is known to have more.
_RSA_BITS: Final = range(2048, 8193)
_SHORT_RSA_BITS: Final = range(1024, 2048)
_RSA_EXPONENTS: Final = range(3, 1 << 32, 2)
STRONG_KEYS: Final = (
    "RSA of 2048 to 8192 bits with an exponent below 2^32, EC on the curves P-256, P-384 and P-521, and Ed25519"
)


def make_key(kind: str = DEFAULT_KEY) -> PrivateKey:
    """A new key pair of one of `KEY_KINDS`. Raises `Invalid` (`key.kind`)."""
    maker = _MAKERS.get(kind)
    if maker is None:
        raise Invalid("key.kind", f"no key kind {kind[:40]!r}; there are {', '.join(KEY_KINDS)}")
    return maker()


def save_key(key: PrivateKey, *, password: bytes | None = None) -> bytes:
    """PKCS#8 PEM. The caller keeps the file private."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def load_key(pem: bytes, *, password: bytes | None = None) -> PrivateKey:
    """Read a PEM key: PKCS#8, PKCS#1 or SEC1.

    Raises `Invalid`: `key.password` when it is encrypted and the password is missing or wrong, `key.malformed`,
    `key.kind` when it is neither RSA nor EC nor Ed25519. No message quotes the file.
    """
    if password is not None and (rounds := _rounds(pem)) > MAX_ROUNDS:
        raise Invalid("key.malformed", f"the key asks for {rounds} rounds of key derivation, {MAX_ROUNDS} are made")
    try:
        key = serialization.load_pem_private_key(pem, password)
    except TypeError:
        if password is None:
            raise Invalid("key.password", "the private key is encrypted; give its password") from None
        # A password for a key that needs none: the file is readable without it.
        return load_key(pem)
    except ValueError as error:
        if password is not None and b"ENCRYPTED" in pem:
            raise Invalid("key.password", "the password does not open the private key") from error
        raise Invalid("key.malformed", "this is not a private key in PEM form") from error
    except UnsupportedAlgorithm as error:
        raise Invalid("key.kind", "a private key of a kind that cannot be used; RSA, EC and Ed25519 can") from error
    if not isinstance(key, PrivateKey):
        raise Invalid("key.kind", f"a private key of kind {type(key).__name__} cannot be used; RSA, EC and Ed25519 can")
    return key


def _rounds(pem: bytes) -> int:
    """Of the first encrypted key in it; 0 where there is none that can be looked at."""
    found = _ENCRYPTED.search(pem)
    try:
        return 0 if found is None else derivation_rounds(base64.b64decode(found[1]))
    except binascii.Error:
        return 0


def is_strong(key: object) -> bool:
    """Whether a public key is of one of the `STRONG_KEYS`. Cheap: computes nothing with the key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in _CURVES
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in _RSA_BITS and key.public_numbers().e in _RSA_EXPONENTS
    return isinstance(key, ed25519.Ed25519PublicKey)


def is_rsa_1024(key: object) -> bool:
    """Whether a public key is RSA of 1024 to 2047 bits, and as strong keys are in all else."""
    return (
        isinstance(key, rsa.RSAPublicKey)
        and key.key_size in _SHORT_RSA_BITS
        and key.public_numbers().e in _RSA_EXPONENTS
    )


def describe_key(key: object) -> str:
    """A private or public key in words: `RSA 2048`, `EC P-256`, `Ed25519`."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return f"EC {_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "Ed25519"
    if isinstance(key, ed448.Ed448PublicKey | ed448.Ed448PrivateKey):
        return "Ed448"
    if isinstance(key, dsa.DSAPublicKey | dsa.DSAPrivateKey):
        return f"DSA {key.key_size}"
    return type(key).__name__

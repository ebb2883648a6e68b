"""What a TPM does with what is wrapped for it, in Python and with keys that a test can see.

It takes apart what `moorage.pki.tpm` puts together, and checks what a TPM checks on the way; that both understand the
specification as a TPM does is shown with `swtpm`, and with what it answered once (`tests/vectors/tpm.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from moorage.pki.tpm import TpmPublic, kdfa, kdfe, parse_public
from tests.tpms import take_apart

__all__ = [
    "ENDORSEMENT_ATTRIBUTES",
    "STORAGE_ATTRIBUTES",
    "SoftTpm",
    "TpmPrivateKey",
    "open_credential",
    "open_duplicate",
    "public_of",
    "tpm_key",
]

TpmPrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
ENDORSEMENT_ATTRIBUTES: Final = 0x000300B2
STORAGE_ATTRIBUTES: Final = 0x00030472
_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


class SoftTpm:
    """A TPM with keys of one kind, `rsa` or `ecc`; each `label` is another TPM, each `owner` another SRK in it."""

    def __init__(self, label: str = "tpm", kind: str = "rsa", owner: str = "") -> None:
        self._endorsement = tpm_key(f"{label} endorsement", kind)
        self._storage = tpm_key(f"{label} storage {owner}", kind)
        self.endorsement_key = public_of(self._endorsement, ENDORSEMENT_ATTRIBUTES, _POLICY)
        self.storage_root_key = public_of(self._storage, STORAGE_ATTRIBUTES)
        self.key = b""

    def activate(self, blob: bytes) -> None:
        """Take in the key. Raises `ValueError` where a TPM says no."""
        credential, secret, private, seed, public, _ = take_apart(blob)
        endorsement = parse_public(self.endorsement_key, "EK")
        storage = parse_public(self.storage_root_key, "SRK")
        inner = open_credential(self._endorsement, endorsement, storage.name, credential, secret)
        self.key = open_duplicate(self._storage, storage, inner, public, private, seed)

    def sign(self, data: bytes) -> bytes:
        return hmac.digest(self.key, data, "sha256")


@cache
def tpm_key(label: str, kind: str) -> TpmPrivateKey:
    """One for each label and kind for the whole run."""
    if kind == "rsa":
        return rsa.generate_private_key(65_537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def public_of(key: TpmPrivateKey, attributes: int, policy: bytes = b"") -> bytes:
    """The TPM2B_PUBLIC of a storage key."""
    if isinstance(key, rsa.RSAPrivateKey):
        kind, bits = 0x0001, key.key_size
        details = (
            _words(0x0010, bits) + bytes(4) + _sized(key.public_key().public_numbers().n.to_bytes(bits // 8, "big"))
        )
    else:
        kind, point = 0x0023, key.public_key().public_numbers()
        details = (
            _words(0x0010, 0x0003, 0x0010) + _sized(point.x.to_bytes(32, "big")) + _sized(point.y.to_bytes(32, "big"))
        )
    area = _words(kind, 0x000B) + attributes.to_bytes(4, "big") + _sized(policy) + _words(0x0006, 128, 0x0043) + details
    return _sized(area)


def open_credential(key: TpmPrivateKey, public: TpmPublic, name: bytes, credential: bytes, secret: bytes) -> bytes:
    """TPM2_ActivateCredential. Raises `ValueError`."""
    return _unsized(_open(public, _seed(key, public, "IDENTITY", secret), name, credential))


def open_duplicate(
    key: TpmPrivateKey, parent: TpmPublic, inner: bytes, public: bytes, private: bytes, seed: bytes
) -> bytes:
    """TPM2_Import of a keyed hash object: its key. Raises `ValueError`."""
    name = b"\x00\x0b" + hashlib.sha256(public).digest()
    wrapped = _open(parent, _seed(key, parent, "DUPLICATE", seed), name, private)
    plain = _decrypt(inner, wrapped)
    integrity, sensitive = plain[2:34], plain[34:]
    if integrity != hashlib.sha256(sensitive + name).digest():
        raise ValueError("the inner wrapper is not whole")
    body = _unsized(sensitive)
    assert body[:2] == b"\x00\x08", "no keyed hash object"
    pieces, rest = [], body[2:]
    while rest:
        size = int.from_bytes(rest[:2], "big")
        pieces.append(rest[2 : 2 + size])
        rest = rest[2 + size :]
    _, obfuscation, found = pieces
    if public[-32:] != hashlib.sha256(obfuscation + found).digest():
        raise ValueError("the public and the sensitive area do not belong together")
    return found


def _seed(key: TpmPrivateKey, public: TpmPublic, label: str, secret: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.decrypt(secret, padding.OAEP(padding.MGF1(public.hash), public.hash, label.encode() + b"\0"))
    width = (key.curve.key_size + 7) // 8
    x = secret[2 : 2 + int.from_bytes(secret[:2], "big")]
    y = _unsized(secret[2 + len(x) :])
    point = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), key.curve)
    shared = key.exchange(ec.ECDH(), point.public_key())
    own = key.public_key().public_numbers().x.to_bytes(width, "big")
    return kdfe(public.hash.name, shared, label, x.rjust(width, b"\0"), own, public.hash.digest_size * 8)


def _open(public: TpmPublic, seed: bytes, name: bytes, data: bytes) -> bytes:
    algorithm = public.hash.name
    size = int.from_bytes(data[:2], "big")
    shown, encrypted = data[2 : 2 + size], data[2 + size :]
    key = kdfa(algorithm, seed, "INTEGRITY", b"", b"", public.hash.digest_size * 8)
    if not secrets.compare_digest(shown, hmac.digest(key, encrypted + name, algorithm)):
        raise ValueError("the outer wrapper is not whole")
    return _decrypt(kdfa(algorithm, seed, "STORAGE", name, b"", public.aes_bits), encrypted)


def _decrypt(key: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _unsized(data: bytes) -> bytes:
    assert len(data) == 2 + int.from_bytes(data[:2], "big")
    return data[2:]

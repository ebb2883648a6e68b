"""Handing a key to one TPM and to no other computer (TPM 2.0 Library, part 1: 24 credentials, 23 duplication).

A TPM shows two public keys: the endorsement key (EK), which it has for life and an operator enrolled, and the storage
root key (SRK), below which it keeps what belongs to its present owner. A secret key of ours is wrapped twice:

    AES key ── MakeCredential(EK, name of the SRK) ──►  only the TPM that holds both unseals it
    HMAC key ── inner: AES key ── outer: SRK ────────►  only that TPM imports it, and then signs with it

The TPM never lets the HMAC key out again. So a token signed with it shows that the TPM with this endorsement key is
there. What devices are sent is these pieces one behind the other (devices.md 6.7), as the SDKs take them apart:

    TPM2B_ID_OBJECT · TPM2B_ENCRYPTED_SECRET · TPM2B_PRIVATE · TPM2B_ENCRYPTED_SECRET · TPM2B_PUBLIC · TPM2B_DATA

The last holds data beside the key, and is empty. All numbers are big-endian; a `TPM2B` begins with its size in two
bytes. Public areas come from strangers: they are read within bounds, and only keys that protect what is wrapped for
them are taken.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from moorage.errors import Invalid

__all__ = [
    "KEY_BYTES",
    "MAX_PUBLIC_BYTES",
    "TpmPublic",
    "kdfa",
    "kdfe",
    "make_credential",
    "parse_public",
    "wrap_key",
]

# Of an HMAC key with SHA-256: as long as the digest.
KEY_BYTES: Final = 32
# RSA-4096 with a policy of SHA-384 takes 592.
MAX_PUBLIC_BYTES: Final = 1024
# The C SDK imports with AES-128 whatever the key.
_INNER_KEY_BYTES: Final = 16

# Part 2, 6.3
_RSA: Final = 0x0001
_HMAC: Final = 0x0005
_AES: Final = 0x0006
_KEYEDHASH: Final = 0x0008
_SHA256: Final = 0x000B
_SHA384: Final = 0x000C
_NULL: Final = 0x0010
_ECC: Final = 0x0023
_CFB: Final = 0x0043
# Part 2, 6.4
_CURVES: Final[dict[int, type[ec.EllipticCurve]]] = {0x0003: ec.SECP256R1, 0x0004: ec.SECP384R1}
_HASHES: Final[dict[int, Callable[[], hashes.HashAlgorithm]]] = {_SHA256: hashes.SHA256, _SHA384: hashes.SHA384}
_DEFAULT_EXPONENT: Final = 65_537
_RSA_BITS: Final = (2048, 3072, 4096)
_AES_BITS: Final = (128, 192, 256)

# Part 2, 8.3
_FIXED_TPM: Final = 1 << 1
_FIXED_PARENT: Final = 1 << 4
_USER_WITH_AUTH: Final = 1 << 6
_NO_DA: Final = 1 << 10
_RESTRICTED: Final = 1 << 16
_DECRYPT: Final = 1 << 17
_SIGN: Final = 1 << 18
_STORAGE: Final = {
    _FIXED_TPM: "fixedTPM",
    _FIXED_PARENT: "fixedParent",
    _RESTRICTED: "restricted",
    _DECRYPT: "decrypt",
}

_PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class TpmPublic:
    """The public area of a storage key: the EK is one too.

    Attributes:
        area: the TPMT_PUBLIC, byte for byte.
        hash_id: its name algorithm, as in part 2, 6.3.
        aes_bits: how it protects what is below it.
    """

    area: bytes
    key: _PublicKey
    hash_id: int
    aes_bits: int

    @property
    def hash(self) -> hashes.HashAlgorithm:
        return _HASHES[self.hash_id]()

    @property
    def name(self) -> bytes:
        """What a TPM calls the object (part 1, 16)."""
        return _number(self.hash_id, 2) + hashlib.new(self.hash.name, self.area).digest()

    @property
    def sha256(self) -> str:
        """For messages and logs: upper-case hex of SHA-256 over the area."""
        return hashlib.sha256(self.area).hexdigest().upper()


def parse_public(data: bytes, what: str) -> TpmPublic:
    """Read a TPM2B_PUBLIC of an RSA or ECC storage key; `what` it is, for the message.

    Raises:
        Invalid: `tpm.public_area`.
    """
    try:
        return _parse_public(data)
    except ValueError as error:
        raise Invalid(
            "tpm.public_area",
            f"{what} is not taken: {error}",
            fix="send the TPM2B_PUBLIC that the TPM gives for the key, in base64",
        ) from None


def wrap_key(endorsement: TpmPublic, storage: TpmPublic, key: bytes) -> bytes:
    """`key`, of `KEY_BYTES`, for the TPM that holds both: it can import it as an HMAC key with SHA-256, and no more."""
    inner = secrets.token_bytes(_INNER_KEY_BYTES)
    blob, secret = make_credential(endorsement, storage.name, inner)
    public, private, seed = _duplicate(storage, key, inner)
    return b"".join(_sized(piece) for piece in (blob, secret, private, seed, public, b""))


def make_credential(endorsement: TpmPublic, name: bytes, credential: bytes) -> tuple[bytes, bytes]:
    """`credential` for the TPM that holds the endorsement key and an object of this name (part 1, 24.2 and 24.4).

    Returns TPMS_ID_OBJECT and the encrypted seed, both without their sizes.
    """
    seed, encrypted = _share_seed(endorsement, "IDENTITY")
    return _protect(endorsement, seed, name, _sized(credential)), encrypted


def kdfa(hash_name: str, key: bytes, label: str, context_u: bytes, context_v: bytes, bits: int) -> bytes:
    """KDFa: SP 800-108 in counter mode over HMAC (part 1, 11.4.10.2). `bits` is a multiple of 8."""
    tail = label.encode() + b"\0" + context_u + context_v + _number(bits, 4)
    return _take(bits, lambda counter: hmac.digest(key, _number(counter, 4) + tail, hash_name))


def kdfe(hash_name: str, shared: bytes, label: str, party_u: bytes, party_v: bytes, bits: int) -> bytes:
    """KDFe: SP 800-56A for what ECDH gave (part 1, 11.4.10.3). `bits` is a multiple of 8."""
    tail = shared + label.encode() + b"\0" + party_u + party_v
    return _take(bits, lambda counter: hashlib.new(hash_name, _number(counter, 4) + tail).digest())


# --- making ------------------------------------------------------------------------------------------------------


def _duplicate(parent: TpmPublic, key: bytes, inner: bytes) -> tuple[bytes, bytes, bytes]:
    """An HMAC key as TPM2_Import takes it below `parent`: TPMT_PUBLIC, TPM2B_PRIVATE's content, encrypted seed."""
    obfuscation = secrets.token_bytes(KEY_BYTES)
    # Neither attribute of being fixed, since it comes from outside; without a policy nobody can duplicate it again.
    public = (
        _number(_KEYEDHASH, 2)
        + _number(_SHA256, 2)
        + _number(_USER_WITH_AUTH | _NO_DA | _SIGN, 4)
        + _sized(b"")
        + _number(_HMAC, 2)
        + _number(_SHA256, 2)
        + _sized(hashlib.sha256(obfuscation + key).digest())
    )
    name = _number(_SHA256, 2) + hashlib.sha256(public).digest()
    sensitive = _sized(_number(_KEYEDHASH, 2) + _sized(b"") + _sized(obfuscation) + _sized(key))
    integrity = hashlib.sha256(sensitive + name).digest()
    wrapped = _encrypt(inner, _sized(integrity) + sensitive)
    seed, encrypted = _share_seed(parent, "DUPLICATE")
    return public, _protect(parent, seed, name, wrapped), encrypted


def _protect(parent: TpmPublic, seed: bytes, name: bytes, data: bytes) -> bytes:
    """`data` encrypted below `parent`, behind an HMAC that binds it to `name` (part 1, 23.3.2.3 and 24.4)."""
    hash_name, digest_bits = parent.hash.name, parent.hash.digest_size * 8
    encrypted = _encrypt(kdfa(hash_name, seed, "STORAGE", name, b"", parent.aes_bits), data)
    key = kdfa(hash_name, seed, "INTEGRITY", b"", b"", digest_bits)
    return _sized(hmac.digest(key, encrypted + name, hash_name)) + encrypted


def _share_seed(parent: TpmPublic, label: str) -> tuple[bytes, bytes]:
    """A seed that the holder of `parent` can find, and what he finds it from (part 1, B.10.3, B.10.4, C.6.3)."""
    algorithm, size = parent.hash, parent.hash.digest_size
    key = parent.key
    if isinstance(key, rsa.RSAPublicKey):
        seed = secrets.token_bytes(size)
        oaep = padding.OAEP(padding.MGF1(algorithm), algorithm, label.encode() + b"\0")
        return seed, key.encrypt(seed, oaep)
    ephemeral = ec.generate_private_key(key.curve)
    own, theirs = ephemeral.public_key().public_numbers(), key.public_numbers()
    width = (key.curve.key_size + 7) // 8
    shared = ephemeral.exchange(ec.ECDH(), key)
    seed = kdfe(algorithm.name, shared, label, _number(own.x, width), _number(theirs.x, width), size * 8)
    return seed, _sized(_number(own.x, width)) + _sized(_number(own.y, width))


def _encrypt(key: bytes, data: bytes) -> bytes:
    # Each key is used once, so the vector may be zero, as the TPM has it.
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _take(bits: int, block: Callable[[int], bytes]) -> bytes:
    made, counter = b"", 0
    while len(made) * 8 < bits:
        counter += 1
        made += block(counter)
    return made[: bits // 8]


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def _sized(data: bytes) -> bytes:
    return _number(len(data), 2) + data


# --- reading -----------------------------------------------------------------------------------------------------


class _Reader:
    """Takes a structure apart from its front. Raises `ValueError`, with a sentence."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        if size > len(self.data):
            raise ValueError(f"it ends where {size} more bytes are announced, and {len(self.data)} are there")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        return self.take(self.number(2))


def _parse_public(data: bytes) -> TpmPublic:
    if len(data) > MAX_PUBLIC_BYTES:
        raise ValueError(f"it has {len(data)} bytes, {MAX_PUBLIC_BYTES} are allowed")
    outer = _Reader(data)
    area = outer.sized()
    if outer.data:
        raise ValueError(f"{len(outer.data)} bytes follow the public area")
    reader = _Reader(area)
    kind, hash_id, attributes = reader.number(2), reader.number(2), reader.number(4)
    if kind not in (_RSA, _ECC):
        raise ValueError(f"keys of type 0x{kind:04X} are not taken; RSA (0x0001) and ECC (0x0023) are")
    if hash_id not in _HASHES:
        raise ValueError(f"the name algorithm 0x{hash_id:04X} is not taken; SHA-256 (0x000B) and SHA-384 (0x000C) are")
    missing = [word for bit, word in _STORAGE.items() if not attributes & bit]
    if missing or attributes & _SIGN:
        raise ValueError(
            f"it is no storage key of a TPM (attributes 0x{attributes:08X}): "
            + (f"{' and '.join(missing)} not set" if missing else "it signs")
        )
    if len(policy := reader.sized()) not in (0, _HASHES[hash_id]().digest_size):
        raise ValueError(f"its policy has {len(policy)} bytes, which is no digest of its name algorithm")
    aes_bits = _read_symmetric(reader)
    if (scheme := reader.number(2)) != _NULL:
        raise ValueError(f"a storage key has no scheme, this one has 0x{scheme:04X}")
    key = _read_rsa(reader) if kind == _RSA else _read_ecc(reader)
    if reader.data:
        raise ValueError(f"{len(reader.data)} bytes follow its key")
    return TpmPublic(area, key, hash_id, aes_bits)


def _read_symmetric(reader: _Reader) -> int:
    algorithm = reader.number(2)
    if algorithm != _AES:
        raise ValueError(f"it protects with 0x{algorithm:04X}, and AES (0x0006) is taken")
    bits, mode = reader.number(2), reader.number(2)
    if bits not in _AES_BITS or mode != _CFB:
        raise ValueError(f"it protects with AES-{bits} in mode 0x{mode:04X}, and AES in CFB (0x0043) is taken")
    return bits


def _read_rsa(reader: _Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.number(2), reader.number(4) or _DEFAULT_EXPONENT
    modulus = int.from_bytes(reader.sized(), "big")
    if bits not in _RSA_BITS or modulus.bit_length() != bits:
        raise ValueError(f"it says RSA-{bits} and has {modulus.bit_length()} bits; 2048, 3072 and 4096 are taken")
    if not modulus & 1:
        # Nothing can be encrypted to it, and whoever tries meets an error.
        raise ValueError("its modulus is even, which is no product of two primes")
    if exponent != _DEFAULT_EXPONENT:
        raise ValueError(f"its exponent is {exponent}, and {_DEFAULT_EXPONENT} is taken")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _read_ecc(reader: _Reader) -> ec.EllipticCurvePublicKey:
    curve_id, kdf = reader.number(2), reader.number(2)
    if curve_id not in _CURVES or kdf != _NULL:
        raise ValueError(
            f"its curve is 0x{curve_id:04X} and its KDF 0x{kdf:04X}; P-256 and P-384 without one are taken"
        )
    curve = _CURVES[curve_id]()
    x, y = reader.sized(), reader.sized()
    width = (curve.key_size + 7) // 8
    if len(x) > width or len(y) > width:
        raise ValueError(f"its point has coordinates of {len(x)} and {len(y)} bytes, {curve.name} has {width}")
    # Raises `ValueError` for a point that is not on the curve.
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    return numbers.public_key()

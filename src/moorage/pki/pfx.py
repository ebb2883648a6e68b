"""PFX (PKCS#12) files: one key, its certificate, and the CAs above it, as Windows and .NET take them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.der import MAX_ROUNDS, derivation_rounds
from moorage.pki.keys import PrivateKey

__all__ = ["PFX", "read_pfx", "write_pfx"]


class PFX(NamedTuple):
    """What a PFX file holds. `signers` are in the file's order; `is_ber` when it is not written in DER."""

    key: PrivateKey
    certificate: Certificate
    signers: tuple[Certificate, ...]
    is_ber: bool = False


def write_pfx(
    key: PrivateKey, certificate: Certificate, signers: Sequence[Certificate] = (), *, password: str | None = None
) -> bytes:
    """Bytes of a PFX file. Without a password it is as open as a PEM key; there is no default one (decisions T13)."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password.encode("utf-8")) if password else serialization.NoEncryption()
    )
    friendly_name = certificate.subject.encode("utf-8")
    return pkcs12.serialize_key_and_certificates(
        friendly_name, key, certificate.x509, [signer.x509 for signer in signers], encryption
    )


def read_pfx(data: bytes, *, password: str | None = None) -> PFX:
    """Read a PFX file. Raises `Invalid`: `pfx.malformed` (or the password is wrong), `pfx.incomplete`."""
    if (rounds := derivation_rounds(data)) > MAX_ROUNDS:
        raise Invalid(
            "pfx.malformed", f"the PFX file asks for {rounds} rounds of key derivation, {MAX_ROUNDS} are made"
        )
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            key, certificate, signers = pkcs12.load_key_and_certificates(
                data, password.encode("utf-8") if password else None
            )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("pfx.malformed", "this is not a PFX file, or the password does not open it") from error
    if certificate is None or not isinstance(key, PrivateKey):
        raise Invalid("pfx.incomplete", "the PFX file does not hold a certificate with its RSA, EC or Ed25519 key")
    return PFX(
        key,
        Certificate.from_x509(certificate),
        tuple(Certificate.from_x509(signer) for signer in signers),
        # The one thing that the library warns of here: it may stop reading those, as other programs have.
        is_ber=bool(told),
    )

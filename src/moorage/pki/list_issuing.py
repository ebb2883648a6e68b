"""Issuing revocation lists for a CA whose key is at hand: complete ones, for everything that the CA signs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.issue import hash_for, key_id_of, key_matches
from moorage.pki.keys import PrivateKey
from moorage.pki.revocation_lists import Entry

__all__ = ["REVOCATION_REASONS", "issue_revocation_list"]

# RFC 5280 5.3.1, those that a complete list may give. "unspecified" is said by leaving the reason out.
REVOCATION_REASONS: Final = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "aACompromise",
)
# RFC 5280 5.2.3: at most 20 octets.
_MAX_NUMBER: Final = 2**159 - 1


def issue_revocation_list(
    ca: Certificate,
    key: PrivateKey,
    entries: Mapping[int, Entry],
    *,
    number: int,
    now: datetime,
    next_update: datetime,
) -> bytes:
    """DER of the list that revokes the serial numbers in `entries`. `number` counts up from one list to the next.

    Raises `Invalid`: `issuer.wrong_key`, `issuer.no_crl_sign`, `crl.next_update` when it is not after `now`,
    `crl.number` when it is out of bounds, `crl.reason`.
    """
    if not key_matches(ca, key):
        raise Invalid("issuer.wrong_key", f"this is not the private key of '{ca.subject}'")
    usage = ca.extensions.key_usage
    if not ca.is_ca or (usage is not None and not usage.crl_sign):
        raise Invalid(
            "issuer.no_crl_sign", f"'{ca.subject}' may not sign revocation lists: it is no CA, or lacks cRLSign"
        )
    if next_update.replace(microsecond=0) <= now.replace(microsecond=0):
        raise Invalid("crl.next_update", "the next list has to be due after this one is made")
    if not 0 <= number <= _MAX_NUMBER:
        raise Invalid("crl.number", f"a list cannot have the number {number}; it has 20 bytes at most")
    revoked = [_revoked(serial, entry) for serial, entry in sorted(entries.items())]
    extensions: list[x509.Extension[x509.ExtensionType]] = [
        _plain(x509.AuthorityKeyIdentifier(key_id_of(ca), None, None)),
        _plain(x509.CRLNumber(number)),
    ]
    # Built in one go: adding entries one by one copies all of them each time.
    builder = x509.CertificateRevocationListBuilder(
        ca.x509.subject,
        now.replace(microsecond=0),
        next_update.replace(microsecond=0),
        extensions,
        revoked,
    )
    return builder.sign(key, hash_for(key)).public_bytes(serialization.Encoding.DER)


def _revoked(serial: int, entry: Entry) -> x509.RevokedCertificate:
    if entry.reason not in REVOCATION_REASONS:
        raise Invalid("crl.reason", f"{entry.reason[:40]!r} is no reason; there are {', '.join(REVOCATION_REASONS)}")
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(entry.date.replace(microsecond=0))
    if entry.reason != "unspecified":
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
    return builder.build()


def _plain(value: x509.ExtensionType) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, False, value)

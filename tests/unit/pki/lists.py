"""Revocation lists for tests: by the library's own builder, with what our issuing never writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from moorage.pki.list_issuing import issue_revocation_list
from moorage.pki.revocation_lists import Entry, RevocationList, parse_revocation_list
from tests.certs import NOW, Issued

__all__ = ["WEEK", "entry", "odd_list", "scoped", "the_list"]

WEEK = timedelta(days=7)


def the_list(
    ca: Issued,
    *serials: int,
    number: int = 1,
    now: datetime = NOW,
    reason: str = "keyCompromise",
    life: timedelta = WEEK,
) -> RevocationList:
    """As a well-behaved CA publishes it."""
    entries = {serial: Entry(now, reason) for serial in serials}
    return parse_revocation_list(
        issue_revocation_list(ca.certificate, ca.key, entries, number=number, now=now, next_update=now + life)
    )


def entry(
    serial: int,
    *extensions: tuple[x509.ExtensionType, bool],
    date: datetime = NOW,
) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.build()


def odd_list(
    ca: Issued,
    *entries: x509.RevokedCertificate,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ((x509.CRLNumber(1), False),),
    now: datetime = NOW,
    life: timedelta | None = WEEK,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    issuer: x509.Name | None = None,
    algorithm: hashes.HashAlgorithm | None = None,
) -> bytes:
    """DER of a list with exactly these extensions."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(
        ca.certificate.x509.subject if issuer is None else issuer
    )
    builder = builder.last_update(now).next_update(now + (life or WEEK))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for each in entries:
        builder = builder.add_revoked_certificate(each)
    chosen = algorithm or hashes.SHA256()
    made = builder.sign(key or ca.key, chosen)  # type: ignore[arg-type]  # any hash is tried here
    return made.public_bytes(serialization.Encoding.DER)


def scoped(
    ca: Issued, *serials: int, number: int = 1, delta_of: int | None = None, now: datetime = NOW, **scope: object
) -> RevocationList:
    """A list with an issuing distribution point of these members, as `x509.IssuingDistributionPoint` names them."""
    members: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    reason = scope.pop("reason", None)
    extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.CRLNumber(number), False)]
    if scope:
        point = x509.IssuingDistributionPoint(**{**members, **scope})  # type: ignore[arg-type]  # the caller names them
        extensions.append((point, True))
    if delta_of is not None:
        extensions.append((x509.DeltaCRLIndicator(delta_of), True))
    made = [
        entry(serial, *([(x509.CRLReason(reason), False)] if isinstance(reason, x509.ReasonFlags) else []))
        for serial in serials
    ]
    return parse_revocation_list(odd_list(ca, *made, extensions=extensions, now=now))


def as_mapping(found: RevocationList) -> Mapping[int, Entry]:
    return dict(found.serials())

"""What is asked of one certificate on a device's chain: a function for each requirement.

Each takes the certificate and what is `Asked`, and says in a sentence how the certificate fails, or None when it does
not; no text is built for a certificate that is fine. Which of them apply to a leaf, an issuer or an anchor, in which
order and under which reason, is listed in `pki/policy.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.errors import Check
from moorage.pki.certificates import Certificate
from moorage.pki.keys import STRONG_KEYS
from moorage.pki.name_constraints import find_violation
from moorage.pki.signatures import STRONG_SIGNATURES, describe_signature
from moorage.pki.waivers import (
    NO_WAIVERS,
    Waived,
    Waiver,
    Waivers,
    accepts_key,
    accepts_signature,
    waiver_of_key,
    waiver_of_signature,
)

__all__ = [
    "Asked",
    "constrains_policies",
    "exceeds_path_length",
    "expired",
    "find_waived",
    "has_no_name",
    "has_unhandled_extension",
    "is_a_ca",
    "lacks_ca_key_usage",
    "lacks_crl_sign",
    "lacks_leaf_key_usage",
    "leaf_constrains_names",
    "not_a_ca",
    "not_yet_valid",
    "usage_name",
    "violates_name_constraints",
    "weak_key",
    "weak_signature",
    "wrong_usage",
]

_USAGES: Final = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "client authentication",
    ExtendedKeyUsageOID.SERVER_AUTH: "server authentication",
    ExtendedKeyUsageOID.CODE_SIGNING: "code signing",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "e-mail protection",
    ExtendedKeyUsageOID.TIME_STAMPING: "time stamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSP signing",
}


@dataclass(slots=True)
class Asked:
    """What a rule is told besides the certificate it looks at."""

    now: datetime
    # None where whatever a certificate may be used for is fine.
    usage: x509.ObjectIdentifier | None
    # The path below the CA in question, leaf first; empty while the leaf itself is looked at.
    below: Sequence[Certificate] = ()
    waivers: Waivers = NO_WAIVERS


def weak_key(certificate: Certificate, asked: Asked) -> str | None:
    key = certificate.public_key
    if accepts_key(key, asked.waivers):
        return None
    return (
        f"'{certificate.subject}' has a key of {certificate.key}; accepted are {STRONG_KEYS}"
        f"{_under(waiver_of_key(key))}"
    )


def weak_signature(certificate: Certificate, asked: Asked) -> str | None:
    if accepts_signature(certificate.x509, asked.waivers):
        return None
    return (
        f"'{certificate.subject}' is signed with {describe_signature(certificate.x509)}; accepted are "
        f"{STRONG_SIGNATURES}{_under(waiver_of_signature(certificate.x509))}"
    )


def not_yet_valid(certificate: Certificate, asked: Asked) -> str | None:
    if certificate.not_before <= asked.now:
        return None
    return (
        f"'{certificate.subject}' is valid from {_date(certificate.not_before)}, and now is {_date(asked.now)}; "
        "is a clock wrong?"
    )


def expired(certificate: Certificate, asked: Asked) -> str | None:
    # notAfter includes its whole last second (RFC 5280 4.1.2.5).
    if asked.now.replace(microsecond=0) <= certificate.not_after:
        return None
    return f"'{certificate.subject}' was valid until {_date(certificate.not_after)}, and now is {_date(asked.now)}"


def is_a_ca(certificate: Certificate, asked: Asked) -> str | None:
    if not certificate.is_ca:
        return None
    return f"'{certificate.subject}' is a CA certificate (CA:TRUE); a device shows one that signs nothing"


def lacks_leaf_key_usage(certificate: Certificate, asked: Asked) -> str | None:
    usage = certificate.extensions.key_usage
    if usage is None or (usage.digital_signature and not usage.key_cert_sign):
        return None
    if usage.key_cert_sign:
        return f"'{certificate.subject}' is no CA, but its key usage has keyCertSign"
    return f"'{certificate.subject}' has a key usage without digitalSignature, which a TLS client needs"


def wrong_usage(certificate: Certificate, asked: Asked) -> str | None:
    usages = certificate.extensions.extended_key_usage
    if (
        usages is None
        or asked.usage is None
        or asked.usage in usages
        or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages
    ):
        return None
    listed = ", ".join(usage_name(oid) for oid in usages)
    return f"'{certificate.subject}' may be used for {listed}, not for {usage_name(asked.usage)}"


def has_unhandled_extension(certificate: Certificate, asked: Asked) -> str | None:
    unhandled = certificate.extensions.unhandled_critical
    if not unhandled:
        return None
    return f"'{certificate.subject}' has the critical extension {unhandled[0]}, which is not understood here"


def has_no_name(certificate: Certificate, asked: Asked) -> str | None:
    """RFC 5280 4.1.2.6: without a subject, the alternative names are all there is and are critical."""
    extensions = certificate.extensions
    if certificate.subject_name.relative_names or (extensions.alt_names is not None and extensions.alt_names_critical):
        return None
    return "the certificate has no subject, and no critical alternative name in its place"


def leaf_constrains_names(certificate: Certificate, asked: Asked) -> str | None:
    if certificate.extensions.name_constraints is None:
        return None
    return f"'{certificate.subject}' has name constraints, which belong into CA certificates"


def constrains_policies(certificate: Certificate, asked: Asked) -> str | None:
    """Critical ones are refused as what is not understood; these have to be critical (RFC 5280 4.2.1.11, 4.2.1.14)."""
    if not certificate.extensions.constrains_policies:
        return None
    return f"'{certificate.subject}' constrains certificate policies, which are not processed here"


def not_a_ca(certificate: Certificate, asked: Asked) -> str | None:
    if not certificate.is_ca:
        did = f"signed {_below(asked)} but " if asked.below else ""
        return f"'{certificate.subject}' {did}is not a CA (basicConstraints CA:TRUE is missing)"
    if not certificate.subject_name.relative_names:
        return "a CA certificate has no subject"
    return None


def lacks_ca_key_usage(certificate: Certificate, asked: Asked) -> str | None:
    usage = certificate.extensions.key_usage
    if usage is None or usage.key_cert_sign:
        return None
    return f"'{certificate.subject}' has a key usage without keyCertSign, so it may not sign {_below(asked)}"


def lacks_crl_sign(certificate: Certificate, asked: Asked) -> str | None:
    usage = certificate.extensions.key_usage
    if usage is None or usage.crl_sign:
        return None
    return f"'{certificate.subject}' has a key usage without cRLSign, so it may not sign revocation lists"


def exceeds_path_length(certificate: Certificate, asked: Asked) -> str | None:
    constraints = certificate.extensions.basic_constraints
    if constraints is None or constraints.path_length is None:
        return None
    # RFC 5280 4.2.1.9: intermediates below, self-issued ones not counted, the leaf not counted.
    count = sum(not certificate.is_self_issued for certificate in asked.below[1:])
    if count <= constraints.path_length:
        return None
    return (
        f"'{certificate.subject}' allows {constraints.path_length} intermediate CAs below itself (path length), "
        f"this path has {count}"
    )


def violates_name_constraints(certificate: Certificate, asked: Asked) -> str | None:
    constraints = certificate.extensions.name_constraints
    if constraints is None:
        return None
    for index, below in enumerate(asked.below):
        if index and below.is_self_issued:
            continue
        if (violation := find_violation(constraints, below)) is not None:
            return f"'{certificate.subject}' may not vouch for '{below.subject}': {violation}"
    return None


def find_waived(path: Sequence[Certificate]) -> tuple[Waived, ...]:
    """Every weakness of an accepted path that only a waiver let pass, leaf first.

    How the last certificate is signed does not matter: it is trusted because it is registered.
    """
    found: list[Waived] = []
    for certificate in path:
        waiver = waiver_of_key(certificate.public_key)
        if waiver is not None:
            found.append(_waived(waiver, "chain.weak_key", f"'{certificate.subject}' has a key of {certificate.key}"))
        waiver = waiver_of_signature(certificate.x509)
        if waiver is not None and certificate is not path[-1]:
            signature = f"'{certificate.subject}' is signed with {describe_signature(certificate.x509)}"
            found.append(_waived(waiver, "chain.weak_signature", signature))
    return tuple(found)


def usage_name(oid: x509.ObjectIdentifier) -> str:
    """An extended key usage in words, or in dotted form where it has none here."""
    return _USAGES.get(oid, oid.dotted_string)


def _under(waiver: Waiver | None) -> str:
    return "" if waiver is None else f", and with the waiver '{waiver}' this too"


def _waived(waiver: Waiver, reason: str, message: str) -> Waived:
    return Waived(waiver, Check(reason, True, f"waived: {waiver}: {message}"))


def _below(asked: Asked) -> str:
    return f"'{asked.below[-1].subject}'" if asked.below else "any certificate"


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")

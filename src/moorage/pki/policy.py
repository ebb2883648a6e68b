"""Who is let in with a certificate: every requirement on a device's chain is one line of a list here, with its reason.

What each line asks is a function of `requirements.py`; `validator.py` builds the path and looks at the lists:

  1. number and size are bounded before anything is parsed;
  2. each of `LEAF_RULES` looks at the leaf alone, no signature yet;
  3. the path is built upwards. `ISSUER_KEY` bounds a candidate's key before it verifies anything, and at most
     `MAX_SIGNATURE_CHECKS` signatures are verified for one chain, however many names collide;
  4. each of `ISSUER_RULES` looks at one CA, in its place on the path; `ANCHOR_RULES` at the one that is trusted;
  5. a path that is whole is asked for revocation (`revocation.py`), where somebody knows about it.

Algorithms and key sizes are the only thing that an operator may waive, by name (`waivers.py`).
`PINNED_RULES` are all there is for a certificate that is registered by its thumbprint (decisions T3).

We spell out what we ask instead of taking a ready-made policy. The verifier of `cryptography` wants a subjectAltName
and an authorityKeyIdentifier in a client's certificate, which most device certificates in the field lack, and names
neither the rule that failed nor the certificate that broke it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.errors import Check, Invalid, Refusal, Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain, VerifiedChain
from moorage.pki.fixes import (
    new_ca,
    new_leaf,
    new_leaf_elsewhere,
    new_pinned,
    set_clock,
    set_clocks,
)
from moorage.pki.requirements import (
    Asked,
    constrains_policies,
    exceeds_path_length,
    expired,
    find_waived,
    has_no_name,
    has_unhandled_extension,
    is_a_ca,
    lacks_ca_key_usage,
    lacks_crl_sign,
    lacks_leaf_key_usage,
    leaf_constrains_names,
    not_a_ca,
    not_yet_valid,
    violates_name_constraints,
    weak_key,
    weak_signature,
    wrong_usage,
)
from moorage.pki.signatures import verifies
from moorage.pki.waivers import NO_WAIVERS, Waivers

__all__ = [
    "ANCHOR_RULES",
    "CRL_SIGNER_RULES",
    "ISSUER_KEY",
    "ISSUER_RULES",
    "LEAF_RULES",
    "MAX_CERTIFICATES",
    "MAX_CHAIN_BYTES",
    "MAX_SIGNATURE_CHECKS",
    "PASSED",
    "PASSED_PINNED",
    "PINNED_RULES",
    "Rule",
    "apply_rules",
    "check_ca",
    "check_pinned",
    "is_signed_by",
    "parse_within_bounds",
    "with_unreached",
]

# OpenSSL sends and takes up to 100 by default; the deepest supply chain in the documentation has four.
MAX_CERTIFICATES: Final = 10
MAX_CHAIN_BYTES: Final = 64 * 1024
# A path of ten needs nine. P-384 costs 0.5 ms to verify, so this is the most that one attempt may cost: 8 ms.
MAX_SIGNATURE_CHECKS: Final = 16

_NEW_LEAF = "moorage cert device ID --issuer CA"


@dataclass(frozen=True, slots=True)
class Rule:
    """One requirement: `broken` says how a certificate breaks it, None when it does not; `fix` what mends that."""

    reason: str
    broken: Callable[[Certificate, Asked], str | None]
    fix: Callable[[Certificate, Asked], str]


# --- the lists, in the order in which they are looked at ----------------------------------------------------------

LEAF_RULES: Final = (
    Rule("chain.weak_key", weak_key, new_leaf),
    Rule("chain.weak_signature", weak_signature, new_leaf),
    Rule("chain.leaf_is_ca", is_a_ca, new_leaf),
    Rule("chain.not_yet_valid", not_yet_valid, set_clocks),
    Rule("chain.expired", expired, new_leaf),
    Rule("chain.key_usage", lacks_leaf_key_usage, new_leaf),
    Rule("chain.wrong_usage", wrong_usage, new_leaf),
    Rule("chain.critical_extension", has_unhandled_extension, new_leaf),
    Rule("chain.name_constraints", leaf_constrains_names, new_leaf),
    Rule("chain.no_name", has_no_name, new_leaf),
)
# For each CA on the path, after its signature was verified; the anchor is the last of them. How an anchor is signed
# is nobody's business: it is trusted because it is registered.
ANCHOR_RULES: Final = (
    Rule("chain.not_a_ca", not_a_ca, new_ca),
    Rule("chain.not_yet_valid", not_yet_valid, set_clock),
    Rule("chain.expired", expired, new_ca),
    Rule("chain.key_usage", lacks_ca_key_usage, new_ca),
    Rule("chain.wrong_usage", wrong_usage, new_ca),
    Rule("chain.critical_extension", has_unhandled_extension, new_ca),
    Rule("chain.policy_constraints", constrains_policies, new_ca),
    Rule("chain.path_length", exceeds_path_length, new_ca),
    Rule("chain.name_constraints", violates_name_constraints, new_leaf_elsewhere),
)
ISSUER_RULES: Final = (Rule("chain.weak_signature", weak_signature, new_ca), *ANCHOR_RULES)
ISSUER_KEY: Final = Rule("chain.weak_key", weak_key, new_ca)
PINNED_RULES: Final = (
    Rule("chain.weak_key", weak_key, new_pinned),
    Rule("chain.not_yet_valid", not_yet_valid, set_clocks),
    Rule("chain.expired", expired, new_pinned),
)
# Of whoever signs revocation lists without being a CA of the path.
CRL_SIGNER_RULES: Final = (
    Rule("chain.weak_key", weak_key, new_ca),
    Rule("chain.weak_signature", weak_signature, new_ca),
    Rule("chain.not_yet_valid", not_yet_valid, set_clock),
    Rule("chain.expired", expired, new_ca),
    Rule("chain.key_usage", lacks_crl_sign, new_ca),
    Rule("chain.critical_extension", has_unhandled_extension, new_ca),
)

_BOUNDS: Final = ("chain.empty", "chain.too_long", "chain.too_large", "chain.malformed")
_LEAF_CHECKS: Final = _BOUNDS + tuple(rule.reason for rule in LEAF_RULES)
_PATH_CHECKS: Final = ("chain.incomplete", "chain.untrusted", "chain.weak_key", "chain.signature") + tuple(
    rule.reason for rule in ISSUER_RULES
)
# What was looked at when a chain is accepted, in order: first for the leaf, then for the path.
PASSED: Final = tuple(Check(name, True) for name in _LEAF_CHECKS + _PATH_CHECKS)
PASSED_PINNED: Final = tuple(Check(name, True) for name in _BOUNDS + tuple(rule.reason for rule in PINNED_RULES))


def check_pinned(chain: PeerChain, now: datetime, waivers: Waivers = NO_WAIVERS) -> VerifiedChain:
    """What a certificate has to fulfil that is registered by its thumbprint: dates and key strength (decisions T3).

    The leaf is its own anchor; whoever signed it, its name, and further certificates sent do not matter. That its hash
    is the registered one is for the caller to compare, before. Raises `Unauthenticated`.
    """
    checks: list[Check] = []
    leaf = parse_within_bounds(PeerChain(chain.certificates[:1]), checks)[0]
    asked = Asked(now, None, waivers=waivers)
    broken = apply_rules(PINNED_RULES, leaf, asked, checks)
    if broken is not None:
        rule, message = broken
        raise Unauthenticated(rule.reason, message, fix=rule.fix(leaf, asked), checks=checks)
    path = (leaf,)
    return VerifiedChain(leaf, path, leaf, now, waived=find_waived(path) if waivers else ())


def check_ca(certificate: Certificate, now: datetime, waivers: Waivers = NO_WAIVERS) -> None:
    """What a certificate has to fulfil to be registered as a CA, so that chains under it can be accepted at all.

    Raises `Invalid` with the reason of the rule under `ca.`: `ca.not_a_ca`, `ca.expired`, `ca.weak_key` and so on.
    """
    checks: list[Check] = []
    asked = Asked(now, ExtendedKeyUsageOID.CLIENT_AUTH, waivers=waivers)
    broken = apply_rules((ISSUER_KEY, *ANCHOR_RULES), certificate, asked, checks)
    if broken is not None:
        rule, message = broken
        raise Invalid(
            "ca." + rule.reason.removeprefix("chain."), message, fix=rule.fix(certificate, asked), checks=checks
        )


def apply_rules(
    rules: Sequence[Rule], certificate: Certificate, asked: Asked, checks: list[Check]
) -> tuple[Rule, str] | None:
    """Look at every rule, note each in `checks`, and return the first broken one with what it says."""
    first: tuple[Rule, str] | None = None
    subject = certificate.subject
    for rule in rules:
        message = rule.broken(certificate, asked)
        checks.append(Check(rule.reason, message is None, subject if message is None else message))
        if message is not None and first is None:
            first = rule, message
    return first


def with_unreached(checks: list[Check]) -> list[Check]:
    """`checks`, and at the end those of a chain that were not reached."""
    seen = {check.name for check in checks}
    return checks + [Check(name, None) for name in dict.fromkeys(_LEAF_CHECKS + _PATH_CHECKS) if name not in seen]


def parse_within_bounds(chain: PeerChain, checks: list[Check]) -> list[Certificate]:
    """The certificates of `chain`, at least one; each bound is noted in `checks`.

    Raises `Unauthenticated`: `chain.empty`, `chain.too_long`, `chain.too_large`, `chain.malformed`.
    """

    def bound(reason: str, holds: bool, message: str, fix: str = "") -> None:
        checks.append(Check(reason, holds, "" if holds else message))
        if not holds:
            raise Unauthenticated(reason, message, fix=fix, checks=with_unreached(checks))

    count = len(chain.certificates)
    size = sum(map(len, chain.certificates))
    bound("chain.empty", count > 0, "no client certificate was sent", _NEW_LEAF)
    bound(
        "chain.too_long", count <= MAX_CERTIFICATES, f"{count} certificates were sent; at most {MAX_CERTIFICATES} are"
    )
    bound("chain.too_large", size <= MAX_CHAIN_BYTES, f"{size} bytes were sent; at most {MAX_CHAIN_BYTES} are read")
    parsed: list[Certificate] = []
    problem = ""
    for position, der in enumerate(chain.certificates):
        try:
            certificate = Certificate(der)
            _ = certificate.subject_name, certificate.issuer_name
            parsed.append(certificate)
        except Refusal as refusal:
            problem = f"certificate {position + 1} of {count} cannot be used: {refusal.message}"
            break
    bound("chain.malformed", not problem, problem, _NEW_LEAF)
    return parsed


def is_signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the key of `issuer` made the signature; names are not compared. The key was bounded before."""
    signed = certificate.x509
    try:
        how, algorithm = signed.signature_algorithm_parameters, signed.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return False
    data = signed.tbs_certificate_bytes
    return verifies(issuer.public_key, signed.signature, data, signed.signature_algorithm_oid, how, algorithm)

"""The lists of rules: what stands in them, in order, and that each line is needed: something breaks it and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from moorage.errors import Check
from moorage.pki.certificates import Certificate
from moorage.pki.policy import (
    ANCHOR_RULES,
    CRL_SIGNER_RULES,
    ISSUER_KEY,
    ISSUER_RULES,
    LEAF_RULES,
    PASSED,
    PASSED_PINNED,
    PINNED_RULES,
    Rule,
)
from moorage.pki.requirements import Asked
from moorage.pki.validator import TrustAnchors, Validator
from tests.certs import (
    IS_A_CA,
    NOW,
    Issued,
    key_of,
    key_usage,
    name,
    odd,
    root,
    signed_with_sha1,
    weak_rsa_key,
)

SECOND: Final = timedelta(seconds=1)
OLD: Final = root("Old Root", kind="rsa-2048")
LINE: Final = odd("Line", issuer=OLD, extensions=[(IS_A_CA, True)])
PUMP: Final = odd("pump-01", issuer=Issued(LINE, key_of("odd")))
SERVERS: Final = x509.ExtendedKeyUsage([ObjectIdentifier("1.3.6.1.5.5.7.3.1")])
UNKNOWN: Final = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
ELSEWHERE: Final = x509.NameConstraints([x509.DirectoryName(name((NameOID.ORGANIZATION_NAME, "Elsewhere")))], None)


def old(certificate: Certificate) -> Certificate:
    return signed_with_sha1(certificate, OLD.key)  # type: ignore[arg-type] # an RSA key


LEAVES: Final[dict[str, Callable[[], Certificate]]] = {
    "chain.weak_key": lambda: odd(issuer=OLD, key=weak_rsa_key()),
    "chain.weak_signature": lambda: old(odd(issuer=OLD)),
    "chain.leaf_is_ca": lambda: odd(issuer=OLD, extensions=[(IS_A_CA, True)]),
    "chain.not_yet_valid": lambda: odd(issuer=OLD, not_before=NOW + SECOND),
    "chain.expired": lambda: odd(issuer=OLD, not_after=NOW - SECOND),
    "chain.key_usage": lambda: odd(issuer=OLD, extensions=[(key_usage(), True)]),
    "chain.wrong_usage": lambda: odd(issuer=OLD, extensions=[(SERVERS, False)]),
    "chain.critical_extension": lambda: odd(issuer=OLD, extensions=[(UNKNOWN, True)]),
    "chain.name_constraints": lambda: odd(issuer=OLD, extensions=[(ELSEWHERE, True)]),
    "chain.no_name": lambda: odd(x509.Name([]), issuer=OLD),
}


def ca(*extensions: tuple[x509.ExtensionType, bool]) -> Certificate:
    return odd("Odd CA", issuer=OLD, extensions=[(IS_A_CA, True), *extensions])


CAS: Final[dict[str, Callable[[], Certificate]]] = {
    "chain.weak_key": lambda: odd("Odd CA", issuer=OLD, key=weak_rsa_key(), extensions=[(IS_A_CA, True)]),
    "chain.weak_signature": lambda: old(ca()),
    "chain.not_a_ca": lambda: odd("Odd CA", issuer=OLD),
    "chain.not_yet_valid": lambda: odd("Odd CA", issuer=OLD, not_before=NOW + SECOND, extensions=[(IS_A_CA, True)]),
    "chain.expired": lambda: odd("Odd CA", issuer=OLD, not_after=NOW - SECOND, extensions=[(IS_A_CA, True)]),
    "chain.key_usage": lambda: ca((key_usage(digital_signature=True), True)),
    "chain.wrong_usage": lambda: ca((SERVERS, False)),
    "chain.critical_extension": lambda: ca((UNKNOWN, True)),
    "chain.policy_constraints": lambda: ca((x509.InhibitAnyPolicy(0), False)),
    "chain.path_length": lambda: odd("Odd CA", issuer=OLD, extensions=[(x509.BasicConstraints(True, 0), True)]),
    "chain.name_constraints": lambda: ca((ELSEWHERE, True)),
}


def reasons(rules: Sequence[Rule]) -> list[str]:
    return [rule.reason for rule in rules]


def broken(rules: Sequence[Rule], certificate: Certificate) -> list[str]:
    """As of an issuer with a leaf and a CA below it."""
    asked = Asked(NOW, ExtendedKeyUsageOID.CLIENT_AUTH, (PUMP, LINE))
    return [rule.reason for rule in rules if rule.broken(certificate, asked) is not None]


def test_what_is_asked_of_a_leaf_a_ca_an_anchor_a_pinned_certificate_and_a_signer_of_lists() -> None:
    assert reasons(LEAF_RULES) == list(LEAVES)
    assert reasons(ISSUER_RULES) == [reason for reason in CAS if reason != "chain.weak_key"]
    assert reasons(ANCHOR_RULES) == [
        reason for reason in CAS if reason not in ("chain.weak_key", "chain.weak_signature")
    ]
    assert ISSUER_KEY.reason == "chain.weak_key"
    assert reasons(PINNED_RULES) == ["chain.weak_key", "chain.not_yet_valid", "chain.expired"]
    assert reasons(CRL_SIGNER_RULES) == [
        *("chain.weak_key", "chain.weak_signature", "chain.not_yet_valid", "chain.expired", "chain.key_usage"),
        "chain.critical_extension",
    ]


@pytest.mark.parametrize("reason", LEAVES)
def test_each_line_for_a_leaf_refuses_somebody_whom_no_other_line_does(reason: str) -> None:
    leaf = LEAVES[reason]()
    chain = Issued(leaf, key_of("odd")).sends()
    anchors = TrustAnchors([OLD.certificate])
    assert broken(LEAF_RULES, leaf) == [reason]
    without = Validator(anchors, leaf_rules=[rule for rule in LEAF_RULES if rule.reason != reason])
    assert without.validate(chain, NOW).leaf == leaf


@pytest.mark.parametrize("reason", CAS)
def test_each_line_for_a_ca_refuses_one_that_no_other_line_does(reason: str) -> None:
    assert broken((ISSUER_KEY, *ISSUER_RULES), CAS[reason]()) == [reason]
    assert broken((ISSUER_KEY, *ISSUER_RULES), LINE) == []


@pytest.mark.parametrize("reason", reasons(PINNED_RULES))
def test_each_line_for_a_pinned_certificate_refuses_one(reason: str) -> None:
    assert broken(PINNED_RULES, LEAVES[reason]()) == [reason]


@pytest.mark.parametrize("reason", reasons(CRL_SIGNER_RULES))
def test_each_line_for_a_signer_of_lists_refuses_one(reason: str) -> None:
    assert broken(CRL_SIGNER_RULES, LEAVES[reason]()) == [reason]


def test_what_is_said_to_have_passed_is_every_line() -> None:
    bounds = ["chain.empty", "chain.too_long", "chain.too_large", "chain.malformed"]
    path = ["chain.incomplete", "chain.untrusted", "chain.weak_key", "chain.signature"]
    assert PASSED == tuple(
        Check(reason, True) for reason in (*bounds, *reasons(LEAF_RULES), *path, *reasons(ISSUER_RULES))
    )
    assert PASSED_PINNED == tuple(Check(reason, True) for reason in (*bounds, *reasons(PINNED_RULES)))

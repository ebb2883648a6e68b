"""NIST PKITS (the Public Key Interoperability Test Suite), from the package `cryptography-vectors`.

Every section but those about certificate policies, which are not processed here: certificates that constrain them are
refused. All CAs and all lists of the suite are known at once, as in a directory; a case is its end entity's certificate
and nothing else. Whoever cannot say whether a certificate is revoked refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Final

import cryptography_vectors

from moorage.errors import Refusal
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.listed_revocation import ListedRevocation
from moorage.pki.policy import LEAF_RULES, Rule
from moorage.pki.revocation_lists import RevocationList, parse_revocation_list
from moorage.pki.validator import TrustAnchors, Validator
from tests.conformance.score import ACCEPTED, Case

__all__ = ["LEFT_OUT", "WAIVERS", "pkits_cases", "pkits_validator", "shown_by_a_ca"]

_DATA: Final = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"
_NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
# Sections 4.8 to 4.12, by the names of their files.
_POLICIES: Final = re.compile("olic|Qualifier|CPSPointer|MappingFrom|MappingTo")
_FILE: Final = re.compile(r"(?P<outcome>Valid|Invalid)?(?P<topic>.*)Test(?P<number>[0-9]+)EE")

_DSA: Final = "DSA is not accepted: TLS has no way left to use it (RFC 8446), and no device is known to"
_LEAF_IS_CA: Final = "what a device shows must not be a CA: it could issue certificates for other devices"
LEFT_OUT: Final[dict[str, str]] = {}
WAIVERS: Final[dict[str, str]] = {
    "ValidDSASignaturesTest4": _DSA,
    "ValidDSAParameterInheritanceTest5": _DSA,
    "ValidonlyContainsCACertsTest13": _LEAF_IS_CA,
    "ValidpathLenConstraintTest8": _LEAF_IS_CA,
    "ValidpathLenConstraintTest14": _LEAF_IS_CA,
}

Judge = Callable[[Validator, PeerChain, datetime], object]


def pkits_cases(judge: Judge) -> Iterator[Case]:
    validator = pkits_validator()
    for file in _end_entities():
        yield Case(file.stem.removesuffix("EE"), _must_succeed(file), partial(_verdict, validator, file, judge))


def shown_by_a_ca() -> Iterator[tuple[str, bool, str]]:
    """(name, whether it must succeed, verdict) of the cases whose end entity is a CA, without the rule against that."""
    rules = [rule for rule in LEAF_RULES if rule.reason not in ("chain.leaf_is_ca", "chain.key_usage")]
    validator = pkits_validator(rules)
    for file in _end_entities():
        try:
            if not Certificate(file.read_bytes()).is_ca:
                continue
        except Refusal:
            continue
        yield (
            file.stem,
            _must_succeed(file),
            _verdict(validator, file, lambda each, sent, now: each.validate(sent, now)),
        )


def pkits_validator(leaf_rules: list[Rule] | None = None) -> Validator:
    cas, lists = _directory()
    anchor = next(ca for ca in cas if ca.subject.startswith("CN=Trust Anchor,"))
    return Validator(
        TrustAnchors([anchor], cas),
        leaf_rules=LEAF_RULES if leaf_rules is None else leaf_rules,
        revocation=ListedRevocation(lists, signers=cas, default="hard"),
    )


@cache
def _directory() -> tuple[list[Certificate], list[RevocationList]]:
    cas, lists = list[Certificate](), list[RevocationList]()
    for file in sorted((_DATA / "certs").glob("*.crt")):
        if not file.stem.endswith("EE"):
            try:
                cas.append(Certificate(file.read_bytes()))
            except Refusal:
                # One that cannot be read cannot be known: the DSA key that inherits its parameters.
                continue
    for file in sorted((_DATA / "crls").glob("*.crl")):
        try:
            lists.append(parse_revocation_list(file.read_bytes()))
        except Refusal:
            continue
    return cas, lists


def _end_entities() -> list[Path]:
    return [file for file in sorted((_DATA / "certs").glob("*EE.crt")) if not _POLICIES.search(file.stem)]


def _must_succeed(file: Path) -> bool:
    found = _FILE.fullmatch(file.stem)
    assert found is not None and found["outcome"], file
    return found["outcome"] == "Valid"


def _verdict(validator: Validator, file: Path, judge: Judge) -> str:
    try:
        judge(validator, PeerChain((file.read_bytes(),)), _NOW)
    except Refusal as refusal:
        return str(refusal)
    return ACCEPTED

"""The short way of a validator, by a path that it knows: whom it lets in, and that it asks what the long way does.

What it declines goes the long way, so its refusals are all that a stranger could use; its other answers save time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from moorage.errors import Unauthenticated
from moorage.pki.certificates import MAX_CERTIFICATE_BYTES, Certificate, PeerChain
from moorage.pki.policy import LEAF_RULES, MAX_CERTIFICATES, MAX_CHAIN_BYTES, is_signed_by
from moorage.pki.revocation import GOOD, Policy, Revoked, Status
from moorage.pki.validator import TrustAnchors, Validator
from tests import certs
from tests.certs import IS_A_CA, LIFETIME, NOW, Issued, key_usage, odd

SECOND = timedelta(seconds=1)
ROOT = certs.root("Short Root")
LINE = certs.intermediate(ROOT, "Short Line")
# Each breaks one rule for leaves.
WRONG = {
    "chain.weak_key": odd(issuer=LINE, key=certs.weak_rsa_key()),
    "chain.weak_signature": odd(issuer=LINE, algorithm=hashes.SHA224()),
    "chain.leaf_is_ca": odd(issuer=LINE, extensions=[(IS_A_CA, True)]),
    "chain.not_yet_valid": odd(issuer=LINE, not_before=NOW + SECOND),
    "chain.expired": odd(issuer=LINE, not_after=NOW - SECOND),
    "chain.key_usage": odd(issuer=LINE, extensions=[(key_usage(), True)]),
    "chain.wrong_usage": odd(
        issuer=LINE, extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)]
    ),
    "chain.critical_extension": odd(
        issuer=LINE, extensions=[(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
    ),
    "chain.name_constraints": odd(
        issuer=LINE, extensions=[(x509.NameConstraints([x509.DNSName("plant.example")], None), True)]
    ),
    "chain.no_name": odd(x509.Name([]), issuer=LINE),
}


def below(*cas: Certificate, leaf: Certificate | None = None) -> PeerChain:
    return PeerChain.of([odd(issuer=LINE) if leaf is None else leaf, *(cas or (LINE.certificate,))])


def short(validator: Validator, chain: PeerChain, now: datetime = NOW) -> Certificate | None:
    """The issuer by the short way, which has to find what the long way finds; None where it declines."""
    found = validator._by_known_path(chain.certificates, now)
    if found is None:
        return None
    assert found == validator._by_search(chain, now)
    return found.path[1]


@pytest.mark.parametrize("reason", WRONG)
def test_a_leaf_that_is_wrong_is_refused_below_a_known_issuer(reason: str) -> None:
    validator = Validator(TrustAnchors([ROOT.certificate]))
    validator.validate(below(), NOW)
    with pytest.raises(Unauthenticated) as caught:
        validator.validate(below(leaf=WRONG[reason]), NOW)
    assert caught.value.reason == reason


def test_a_subject_that_cannot_be_read_is_malformed_below_a_known_issuer() -> None:
    validator = Validator(TrustAnchors([ROOT.certificate]))
    validator.validate(below(), NOW)
    genuine = odd("QQ", issuer=LINE)
    signed = bytearray(genuine.x509.tbs_certificate_bytes)
    # A common name that is a number; and a genuine signature of that, which may be of another length.
    signed[signed.index(b"QQ") - 2] = 0x02
    signature = cast(ec.EllipticCurvePrivateKey, LINE.key).sign(bytes(signed), ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    content = bytes(signed) + algorithm + b"\x03" + bytes((len(signature) + 1,)) + b"\x00" + signature
    der = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    assert is_signed_by(Certificate(der), LINE.certificate)
    with pytest.raises(Unauthenticated) as caught:
        validator.validate(PeerChain((der, LINE.certificate.der)), NOW)
    assert caught.value.reason == "chain.malformed"


def test_every_rule_for_leaves_has_one_that_breaks_it() -> None:
    assert list(WRONG) == [rule.reason for rule in LEAF_RULES]


def test_another_leaf_of_a_known_issuer_goes_the_short_way() -> None:
    validator = Validator(TrustAnchors([ROOT.certificate]))
    assert short(validator, below()) is None
    validator.validate(below(), NOW)
    assert short(validator, below()) == LINE.certificate
    assert short(validator, below(LINE.certificate, ROOT.certificate)) is None
    forged = odd(issuer=Issued(LINE.certificate, certs.key_of("forger")))
    assert short(validator, below(leaf=forged)) is None


def test_it_is_open_from_the_first_second_of_all_its_cas_to_the_last() -> None:
    start, end = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    line = Issued(
        odd("Brief Line", issuer=ROOT, not_before=start, not_after=end, extensions=[(IS_A_CA, True)]),
        certs.key_of("odd"),
    )
    leaf = odd(issuer=line, not_before=start - LIFETIME, not_after=end + LIFETIME)
    validator = Validator(TrustAnchors([line.certificate]))
    chain = PeerChain.of([leaf])
    validator.validate(chain, NOW)
    # A certificate is good throughout its last second.
    moments = (start - SECOND, start, line.certificate.not_after, line.certificate.not_after + SECOND)
    assert [short(validator, chain, now) is not None for now in moments] == [False, True, True, False]


def test_it_takes_as_much_as_is_allowed() -> None:
    validator = Validator(TrustAnchors([ROOT.certificate]))
    others = [odd("Unrelated", serial=number + 1) for number in range(MAX_CERTIFICATES - 2)]
    most = below(LINE.certificate, *others)
    assert len(most.certificates) == MAX_CERTIFICATES
    validator.validate(most, NOW)
    assert short(validator, most) == LINE.certificate

    leaf = odd(issuer=LINE)
    wide = [_filler(number + 1, MAX_CERTIFICATE_BYTES - 400) for number in range(3)]
    size = 12_000
    for _ in range(100):
        largest = below(LINE.certificate, *wide, _filler(4, size), leaf=leaf)
        missing = MAX_CHAIN_BYTES - sum(map(len, largest.certificates))
        if not missing:
            break
        # A signature of ECDSA is a byte longer or shorter now and then.
        size += missing
    assert missing == 0
    validator.validate(largest, NOW)
    assert short(validator, largest) == LINE.certificate


def _filler(serial: int, size: int) -> Certificate:
    extension = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), bytes(size))
    return odd("Unrelated", serial=serial, extensions=[(extension, False)])


def test_a_leaf_that_a_waiver_lets_in_goes_the_short_way_too() -> None:
    validator = Validator(TrustAnchors([ROOT.certificate]), waivers=frozenset({"rsa-1024"}))
    weak = below(leaf=WRONG["chain.weak_key"])
    validator.validate(weak, NOW)
    assert short(validator, weak) == LINE.certificate
    assert [each.waiver for each in validator.validate(weak, NOW).waived] == ["rsa-1024"]


class Says:
    """Whom it knows to be revoked."""

    def __init__(self) -> None:
        self.revoked: set[Certificate] = set()

    def policy(self, issuer: Certificate) -> Policy:
        return "hard"

    def status(self, path: Sequence[Certificate], position: int, now: datetime) -> Status:
        return Revoked("keyCompromise", NOW, "a list") if path[position] in self.revoked else GOOD


class TestTwoPaths:
    """A CA whose certificate was renewed: of one name, found one after the other."""

    def make(self, *, lifetime: timedelta = LIFETIME, constraints: x509.NameConstraints | None = None) -> None:
        self.older = certs.intermediate(ROOT, "Renewed")
        self.newer = certs.intermediate(
            ROOT, "Renewed", label=self.newer_key, lifetime=lifetime, constraints=constraints
        )
        self.says = Says()
        self.validator = Validator(TrustAnchors([ROOT.certificate]), revocation=self.says)

    newer_key = ""

    def chain(self, issuer: Issued) -> PeerChain:
        return below(self.older.certificate, self.newer.certificate, leaf=odd(issuer=issuer))

    def learn(self, first: Issued, then: Issued) -> None:
        """The one that is learned last is looked at first."""
        for issuer in (first, then):
            self.says.revoked = {first.certificate, then.certificate} - {issuer.certificate}
            assert self.validator.validate(self.chain(issuer), NOW).path[1] == issuer.certificate
        self.says.revoked = set()

    def test_the_other_one_when_one_has_ended(self) -> None:
        self.make(lifetime=timedelta(hours=1))
        self.learn(self.older, self.newer)
        chain = self.chain(self.older)
        assert short(self.validator, chain, NOW + timedelta(hours=2)) == self.older.certificate

    def test_the_other_one_when_one_is_revoked(self) -> None:
        self.make()
        self.learn(self.older, self.newer)
        self.says.revoked = {self.newer.certificate}
        assert short(self.validator, self.chain(self.older)) == self.older.certificate

    def test_the_other_one_when_one_has_another_key(self) -> None:
        self.newer_key = "rolled"
        self.make()
        self.learn(self.older, self.newer)
        assert short(self.validator, self.chain(self.older)) == self.older.certificate

    def test_the_other_one_when_one_constrains_the_name(self) -> None:
        self.make(constraints=x509.NameConstraints(None, [x509.DirectoryName(certs.common_name("other"))]))
        self.learn(self.older, self.newer)
        leaf = odd("other", issuer=self.older)
        chain = below(self.older.certificate, self.newer.certificate, leaf=leaf)
        assert short(self.validator, chain) == self.older.certificate

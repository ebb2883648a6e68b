"""Waivers: each lets exactly its own weakness pass, in whatever place on the path, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import combinations
from typing import Final, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from moorage.errors import Invalid, Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.diagnosis import diagnose_ca, diagnose_device
from moorage.pki.issue import issue_verification
from moorage.pki.policy import check_ca, check_pinned
from moorage.pki.possession import check_possession, make_code
from moorage.pki.validator import TrustAnchors, Validator
from moorage.pki.waivers import NO_WAIVERS, WAIVERS, Waiver, Waivers
from tests.certs import (
    IS_A_CA,
    NOW,
    Issued,
    key_of,
    odd,
    odd_curve_key,
    root,
    signed_with_md5,
    signed_with_sha1,
    weak_rsa_key,
)

PLANT: Final = root("Waiving Plant", kind="rsa-2048")
PLANT_KEY: Final = cast(rsa.RSAPrivateKey, PLANT.key)
ALL: Final[Waivers] = frozenset(WAIVERS)


def sets() -> Iterator[Waivers]:
    for size in range(len(WAIVERS) + 1):
        yield from map(frozenset, combinations(WAIVERS, size))


def rsa_of(bits: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    """A public key of this size; nobody has the private one."""
    return rsa.RSAPublicNumbers(exponent, (1 << bits) - 1).public_key()


def ecdsa_with_sha1() -> PeerChain:
    """A leaf whose algorithm is ECDSA with SHA-1, and its CA; lengths put right by hand."""
    ca = root("Old Elliptic Plant")
    new, old = bytes.fromhex("300a06082a8648ce3d040302"), bytes.fromhex("300906072a8648ce3d0401")
    whole = odd(issuer=ca).x509.tbs_certificate_bytes
    # Tag and length go, and come back with the length of what is left.
    signed_part = _sequence(whole[2 + (whole[1] & 0x7F) :].replace(new, old))
    signature = cast(ec.EllipticCurvePrivateKey, ca.key).sign(signed_part, ec.ECDSA(hashes.SHA1()))
    bits = b"\x03" + bytes((len(signature) + 1,)) + b"\x00" + signature
    return PeerChain((_sequence(signed_part + old + bits), ca.certificate.der))


def _sequence(content: bytes) -> bytes:
    return (
        b"\x30\x82" + len(content).to_bytes(2, "big") + content
        if len(content) > 255
        else (b"\x30\x81" + bytes((len(content),)) + content)
    )


def below(ca: Certificate, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> PeerChain:
    return PeerChain((odd(issuer=Issued(ca, key)).der, ca.der))


def with_key(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> PeerChain:
    return PeerChain((odd(issuer=PLANT, public_key=key).der,))


def old_ca(sign: Callable[[Certificate, rsa.RSAPrivateKey], Certificate]) -> PeerChain:
    ca = sign(odd("Old Line", issuer=PLANT, extensions=[(IS_A_CA, True)]), PLANT_KEY)
    return below(ca, cast(ec.EllipticCurvePrivateKey, key_of("odd")))


def weak_ca() -> PeerChain:
    ca = odd("Weak Line", issuer=PLANT, key=weak_rsa_key(), extensions=[(IS_A_CA, True)])
    return below(ca, weak_rsa_key())


def leaf_signed(sign: Callable[[Certificate, rsa.RSAPrivateKey], Certificate], **wrong: object) -> PeerChain:
    return PeerChain((sign(odd(issuer=PLANT, **wrong), PLANT_KEY).der,))  # type: ignore[arg-type] # `odd` says what


# What is wrong with a chain, which waivers it takes, and the reason without them.
CASES: Final[dict[str, tuple[Callable[[], PeerChain], Waivers | None, str]]] = {
    "leaf with RSA 1024": (lambda: with_key(weak_rsa_key().public_key()), frozenset({"rsa-1024"}), "chain.weak_key"),
    "leaf with RSA 2047": (lambda: with_key(rsa_of(2047)), frozenset({"rsa-1024"}), "chain.weak_key"),
    "CA with RSA 1024": (weak_ca, frozenset({"rsa-1024"}), "chain.weak_key"),
    "leaf signed with RSA and SHA-1": (
        lambda: leaf_signed(signed_with_sha1),
        frozenset({"sha1-signature"}),
        "chain.weak_signature",
    ),
    "leaf signed with ECDSA and SHA-1": (ecdsa_with_sha1, frozenset({"sha1-signature"}), "chain.weak_signature"),
    "CA signed with SHA-1": (lambda: old_ca(signed_with_sha1), frozenset({"sha1-signature"}), "chain.weak_signature"),
    "leaf with RSA 1024, signed with SHA-1": (
        lambda: leaf_signed(signed_with_sha1, key=weak_rsa_key()),
        ALL,
        "chain.weak_key",
    ),
    "leaf with RSA 1023": (lambda: with_key(rsa_of(1023)), None, "chain.weak_key"),
    "leaf with RSA 1024 and a huge exponent": (lambda: with_key(rsa_of(1024, (1 << 32) + 1)), None, "chain.weak_key"),
    "leaf with RSA 8193": (lambda: with_key(rsa_of(8193)), None, "chain.weak_key"),
    "leaf on an odd curve": (lambda: with_key(odd_curve_key().public_key()), None, "chain.weak_key"),
    "leaf signed with MD5": (lambda: leaf_signed(signed_with_md5), None, "chain.weak_signature"),
    "CA signed with MD5": (lambda: old_ca(signed_with_md5), None, "chain.weak_signature"),
    "leaf signed with SHA-224": (
        lambda: PeerChain((odd(issuer=PLANT, algorithm=hashes.SHA224()).der,)),
        None,
        "chain.weak_signature",
    ),
}


def judge(waivers: Waivers, *anchors: Certificate) -> Validator:
    return Validator(TrustAnchors(anchors or [PLANT.certificate]), waivers=waivers)


@pytest.mark.parametrize("case", CASES)
def test_a_weakness_passes_by_its_own_waivers_and_by_no_others(case: str) -> None:
    make, takes, reason = CASES[case]
    chain = make()
    anchor = Certificate(chain.certificates[-1]) if case == "leaf signed with ECDSA and SHA-1" else PLANT.certificate
    for waivers in sets():
        validator = judge(waivers, anchor)
        if takes is not None and takes <= waivers:
            # By the long way and by the short one.
            for _ in range(2):
                verified = validator.validate(chain, NOW)
                assert frozenset(each.waiver for each in verified.waived) == takes
                assert all(each.check.passed for each in verified.waived)
                assert all(each.check.detail.startswith(f"waived: {each.waiver}: '") for each in verified.waived)
        else:
            with pytest.raises(Unauthenticated) as caught:
                validator.validate(chain, NOW)
            first = reason if takes is None or waivers.isdisjoint({"rsa-1024"}) else "chain.weak_signature"
            assert caught.value.reason == first


def test_a_refusal_names_the_waiver_that_there_is_and_none_where_there_is_none() -> None:
    for case, (make, takes, _) in CASES.items():
        with pytest.raises(Unauthenticated) as caught:
            judge(NO_WAIVERS).validate(make(), NOW)
        if case != "leaf signed with ECDSA and SHA-1":
            assert ("with the waiver" in caught.value.message) is (takes is not None), case


def test_a_good_chain_passes_by_nothing() -> None:
    good = PeerChain((odd(issuer=PLANT).der,))
    for waivers in sets():
        assert judge(waivers).validate(good, NOW).waived == ()


def test_a_waiver_is_for_algorithms_alone() -> None:
    ended = {"not_after": NOW - timedelta(seconds=1)}
    for chain, reason in (
        (PeerChain((odd(issuer=PLANT, key=weak_rsa_key(), **ended).der,)), "chain.expired"),  # type: ignore[arg-type] # one kind of value
        (PeerChain((odd(issuer=PLANT, key=weak_rsa_key(), extensions=[(IS_A_CA, True)]).der,)), "chain.leaf_is_ca"),
        (PeerChain((odd(issuer=root("Waiving Plant", label="fake"), key=weak_rsa_key()).der,)), "chain.signature"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            judge(ALL).validate(chain, NOW)
        assert caught.value.reason == reason


def test_the_places_of_what_was_waived_are_named() -> None:
    verified = judge(ALL).validate(leaf_signed(signed_with_sha1, key=weak_rsa_key()), NOW)
    assert [each.check.detail for each in verified.waived] == [
        "waived: rsa-1024: 'CN=pump-01' has a key of RSA 1024",
        "waived: sha1-signature: 'CN=pump-01' is signed with RSA and SHA-1",
    ]
    assert [each.check.name for each in verified.waived] == ["chain.weak_key", "chain.weak_signature"]
    (above,) = judge(ALL).validate(weak_ca(), NOW).waived
    assert above.check.detail == "waived: rsa-1024: 'CN=Weak Line' has a key of RSA 1024"
    assert above.check.name == "chain.weak_key"


def test_how_an_anchor_is_signed_is_nobodys_business_and_its_key_is() -> None:
    anchor = signed_with_sha1(odd("Old Line", issuer=PLANT, extensions=[(IS_A_CA, True)]), PLANT_KEY)
    leaf = odd(issuer=Issued(anchor, key_of("odd")))
    assert judge(ALL, anchor).validate(PeerChain((leaf.der,)), NOW).waived == ()
    weak = Certificate(weak_ca().certificates[1])
    leaf = odd(issuer=Issued(weak, weak_rsa_key()))
    (waived,) = judge(ALL, weak).validate(PeerChain((leaf.der,)), NOW).waived
    assert waived.check.detail.endswith("'CN=Weak Line' has a key of RSA 1024")


def test_a_pinned_certificate_takes_the_waiver_of_its_key() -> None:
    chain = PeerChain((odd(key=weak_rsa_key()).der,))
    for waivers in sets():
        if "rsa-1024" in waivers:
            verified = check_pinned(chain, NOW, waivers)
            assert [each.waiver for each in verified.waived] == ["rsa-1024"]
            assert verified.moment == NOW and verified.anchor == verified.leaf and verified.signers == ()
        else:
            with pytest.raises(Unauthenticated, match="RSA 1024"):
                check_pinned(chain, NOW, waivers)


def test_a_ca_takes_the_waiver_of_its_key_to_be_registered() -> None:
    ca = odd("Weak Plant", key=weak_rsa_key(), extensions=[(IS_A_CA, True)])
    check_ca(ca, NOW, frozenset({"rsa-1024"}))
    for waivers in (NO_WAIVERS, frozenset[Waiver]({"sha1-signature"})):
        with pytest.raises(Invalid) as caught:
            check_ca(ca, NOW, waivers)
        assert caught.value.reason == "ca.weak_key"


class TestPossession:
    CODE = make_code()

    def check(self, ca: Issued, proof: Certificate, waivers: Waivers = NO_WAIVERS) -> str:
        try:
            check_possession(ca.certificate, proof, code=self.CODE, now=NOW, waivers=waivers)
        except Invalid as refusal:
            return refusal.reason
        return ""

    def test_a_weak_ca_proves_its_key_by_its_waiver(self) -> None:
        ca = Issued(odd("Weak Plant", key=weak_rsa_key(), extensions=[(IS_A_CA, True)]), weak_rsa_key())
        proof = odd(self.CODE, issuer=ca)
        assert self.check(ca, proof) == "proof.wrong_signer"
        assert self.check(ca, proof, frozenset({"sha1-signature"})) == "proof.wrong_signer"
        assert self.check(ca, proof, frozenset({"rsa-1024"})) == ""

    def test_a_proof_signed_with_sha1_takes_its_waiver_and_one_signed_with_md5_is_none(self) -> None:
        proof = issue_verification(PLANT.certificate, PLANT_KEY, self.CODE, now=NOW, backdate=timedelta(0))
        old, older = signed_with_sha1(proof, PLANT_KEY), signed_with_md5(proof, PLANT_KEY)
        assert self.check(PLANT, proof) == ""
        assert self.check(PLANT, old) == "proof.weak_signature"
        assert self.check(PLANT, old, frozenset({"rsa-1024"})) == "proof.weak_signature"
        assert self.check(PLANT, old, frozenset({"sha1-signature"})) == ""
        assert self.check(PLANT, older, ALL) == "proof.weak_signature"


class TestDoctor:
    def found(self, *certificates: Certificate, waivers: Waivers, now: datetime = NOW) -> dict[str, bool]:
        """Without the note that the CA at the top has to be registered."""
        findings = diagnose_device(certificates, now, waivers=waivers)
        return {each.reason: each.is_refusal for each in findings if each.reason != "chain.untrusted"}

    def test_a_leaf_and_a_ca_that_need_a_waiver_are_told_so(self) -> None:
        leaf, ca = (Certificate(der) for der in weak_ca().certificates)
        assert self.found(leaf, ca, PLANT.certificate, waivers=NO_WAIVERS) == {"chain.weak_key": True}
        assert self.found(leaf, ca, PLANT.certificate, waivers=ALL) == {"chain.waived": False}

    def test_a_pinned_one_too(self) -> None:
        leaf = odd(key=weak_rsa_key())
        assert self.found(leaf, waivers=NO_WAIVERS) == {"chain.weak_key": True, "chain.self_signed": False}
        assert self.found(leaf, waivers=ALL) == {"chain.waived": False, "chain.self_signed": False}

    def test_and_a_ca_that_somebody_wants_to_register(self) -> None:
        ca = odd("Weak Plant", key=weak_rsa_key(), extensions=[(IS_A_CA, True)])
        assert [(each.reason, each.is_refusal) for each in diagnose_ca(ca, NOW)] == [("ca.weak_key", True)]
        (note,) = diagnose_ca(ca, NOW, ALL)
        assert (note.reason, note.is_refusal) == ("chain.waived", False)
        assert note.fix.endswith("moorage policy waivers")

    def test_a_waiver_that_was_not_given_is_not_spoken_of(self) -> None:
        chain = [Certificate(der) for der in leaf_signed(signed_with_sha1, key=weak_rsa_key()).certificates]
        found = self.found(*chain, PLANT.certificate, waivers=frozenset({"rsa-1024"}))
        assert found == {"chain.weak_signature": True, "chain.waived": False}

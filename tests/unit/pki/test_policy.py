"""Every requirement has a certificate that it alone refuses, and a neighbour that is let in."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv4Address, ip_network
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from moorage.errors import Invalid, Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain, VerifiedChain
from moorage.pki.issue import issue_root
from moorage.pki.name_constraints import find_violation
from moorage.pki.policy import (
    MAX_CERTIFICATES,
    MAX_CHAIN_BYTES,
    MAX_SIGNATURE_CHECKS,
    PASSED,
    check_ca,
    check_pinned,
    is_signed_by,
)
from moorage.pki.requirements import Asked, lacks_crl_sign
from moorage.pki.validator import TrustAnchors, Validator
from tests.certs import (
    CLIENT_USAGE,
    IS_A_CA,
    LIFETIME,
    NOT_A_CA,
    NOW,
    Issued,
    device,
    intermediate,
    key_of,
    key_usage,
    name,
    odd,
    odd_curve_key,
    root,
    self_signed,
    signed_with_sha1,
    weak_rsa_key,
)

ROOT = root()
LINE = intermediate(ROOT)
PUMP = device(LINE)
OLD_ROOT = root("Old Root", kind="rsa-2048")
OLD_KEY = cast(rsa.RSAPrivateKey, OLD_ROOT.key)


def validator(*anchors: Issued | Certificate, known: tuple[Certificate, ...] = ()) -> Validator:
    return Validator(TrustAnchors([a.certificate if isinstance(a, Issued) else a for a in anchors], known))


def refused(
    chain: PeerChain | Issued | Certificate, *anchors: Issued | Certificate, now: datetime = NOW, by: str
) -> Unauthenticated:
    """Refused for `by` and nothing else, twice alike, and nothing learned from it."""
    judge = validator(*(anchors or (ROOT,)))
    if isinstance(chain, Certificate):
        chain = PeerChain((chain.der,))
    elif isinstance(chain, Issued):
        chain = chain.sends()
    with pytest.raises(Unauthenticated) as first:
        judge.validate(chain, now)
    with pytest.raises(Unauthenticated) as second:
        judge.validate(chain, now)
    assert first.value.reason == second.value.reason == by
    assert [check.name for check in first.value.checks if check.passed is False] == [by]
    assert first.value.message in [check.detail for check in first.value.checks]
    return first.value


def accepted(chain: PeerChain | Issued, *anchors: Issued | Certificate, now: datetime = NOW) -> VerifiedChain:
    """Let in by the long way and then by the short one, with one result."""
    judge = validator(*(anchors or (ROOT,)))
    sent = chain.sends() if isinstance(chain, Issued) else chain
    first, second = judge.validate(sent, now), judge.validate(sent, now)
    assert first.path == second.path
    return second


class TestPaths:
    def test_leaf_below_the_root(self) -> None:
        pump = device(ROOT)
        verified = accepted(pump)
        assert verified.path == (pump.certificate, ROOT.certificate)
        assert verified.anchor == ROOT.certificate
        assert verified.signers == (ROOT.certificate,)

    def test_leaf_below_two_intermediates(self) -> None:
        cell = intermediate(LINE, "Cell 3")
        pump = device(cell)
        assert accepted(pump).path == pump.fullchain

    def test_root_sent_as_well(self) -> None:
        assert accepted(PUMP.sends(3)).path == PUMP.fullchain

    def test_intermediates_in_the_wrong_order_and_twice(self) -> None:
        cell = intermediate(LINE, "Cell 3")
        pump = device(cell)
        sent = [pump.certificate, LINE.certificate, cell.certificate, LINE.certificate, pump.certificate]
        assert accepted(PeerChain.of(sent)).path == pump.fullchain

    def test_intermediate_as_anchor_needs_no_root(self) -> None:
        verified = accepted(PUMP.sends(1), LINE)
        assert verified.anchor == LINE.certificate

    def test_nearest_anchor_ends_the_path(self) -> None:
        assert accepted(PUMP.sends(3), ROOT, LINE).anchor == LINE.certificate

    def test_another_certificate_of_a_registered_ca_does_not_lead_past_it(self) -> None:
        extensions = [(IS_A_CA, True), (key_usage(key_cert_sign=True), True)]
        # As it was registered: the same name and key, but without the key identifier that the leaf names.
        registered = odd("Plant Line 7", issuer=ROOT, public_key=LINE.key.public_key(), extensions=extensions)
        assert registered.subject == LINE.certificate.subject
        assert accepted(PUMP.sends(2), ROOT, registered).anchor == registered

    def test_leaf_alone_is_completed_by_a_known_intermediate(self) -> None:
        judge = validator(ROOT, known=(LINE.certificate,))
        assert judge.validate(PUMP.sends(1), NOW).path == PUMP.fullchain

    def test_known_intermediate_is_no_anchor(self) -> None:
        with pytest.raises(Unauthenticated, match="chain.incomplete"):
            validator(known=(LINE.certificate,)).validate(PUMP.sends(1), NOW)

    @pytest.mark.parametrize("kind", ["rsa-2048", "rsa-3072", "ec-p384"])
    def test_other_keys(self, kind: str) -> None:
        top = root(f"Root {kind}", kind=kind)
        accepted(device(intermediate(top, f"Line {kind}", kind=kind), kind=kind), top)

    def test_ed25519(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        top = Issued(issue_root(key, "Root Ed25519", now=NOW, lifetime=LIFETIME), key)
        leaf_key = ed25519.Ed25519PrivateKey.generate()
        accepted(PeerChain((odd(issuer=top, public_key=leaf_key.public_key()).der,)), top)

    def test_mixed_keys(self) -> None:
        top = root("Root RSA", kind="rsa-2048")
        accepted(device(intermediate(top, "Line EC")), top)

    def test_rsa_pss(self) -> None:
        top = root("Root RSA", kind="rsa-2048")
        accepted(PeerChain((odd(issuer=top, pss=True).der,)), top)

    def test_renewed_ca_under_its_old_name(self) -> None:
        old, new = root("Plant CA", label="old"), root("Plant CA", label="new")
        judge = validator(old, new)
        for issuer in (old, new, old, new):
            assert judge.validate(device(issuer).sends(), NOW).anchor == issuer.certificate

    def test_cross_signed_intermediate_takes_the_way_that_is_trusted(self) -> None:
        other = root("Other Root")
        crossed = Issued(intermediate(other).certificate, LINE.key, (other.certificate,))
        sent = PeerChain.of([PUMP.certificate, crossed.certificate, LINE.certificate])
        assert accepted(sent, ROOT).path == PUMP.fullchain
        assert accepted(sent, other).path == (PUMP.certificate, *crossed.fullchain)

    def test_expired_twin_of_an_intermediate_does_not_matter(self) -> None:
        past = NOW - timedelta(days=90)
        twin = intermediate(ROOT, now=past)
        assert accepted(PeerChain.of([PUMP.certificate, twin.certificate, LINE.certificate])).path == PUMP.fullchain

    def test_issuer_name_in_another_string_type_is_the_same_name(self) -> None:
        printable = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Plant Root", _ASN1Type.PrintableString)])
        certificate = odd(issuer=ROOT, issuer_name=printable)
        assert certificate.raw_issuer != ROOT.certificate.raw_subject
        accepted(PeerChain((certificate.der,)))

    def test_what_was_checked_is_listed_without_a_failure(self) -> None:
        assert all(check.passed for check in PASSED)
        assert "chain.expired" in {check.name for check in PASSED}


class TestUntrusted:
    def test_no_certificate(self) -> None:
        refused(PeerChain(()), by="chain.empty")

    def test_intermediate_was_not_sent(self) -> None:
        refusal = refused(PUMP.sends(1), by="chain.incomplete")
        assert "CN=Plant Line 7" in refusal.message
        assert "pump01_fullchain.pem" in refusal.fix
        assert refusal.fix.endswith(": moorage ca add plantLine7_cert.pem")

    def test_complete_chain_to_an_unregistered_root(self) -> None:
        refusal = refused(PUMP.sends(3), root("Other Root"), by="chain.untrusted")
        assert "trusted here: 'Other Root'; only if" in refusal.fix
        assert refusal.fix.endswith(": moorage ca add plantRoot_cert.pem --prove-with plantRoot_key.pem")

    @pytest.mark.parametrize("name", ["--force", "a;b", "a$(b)", "a\nb", "a'b"])
    def test_a_name_that_is_no_plain_word_is_in_no_command(self, name: str) -> None:
        leaf = device(ROOT, name, lifetime=timedelta(days=1))
        refusal = refused(leaf, ROOT, now=NOW + timedelta(days=2), by="chain.expired")
        assert refusal.fix == "moorage cert device ID --issuer 'Plant Root' --force"

    def test_self_signed_leaf(self) -> None:
        refusal = refused(self_signed(), by="chain.untrusted")
        assert "x509-thumbprint" in refusal.fix

    def test_no_anchors_at_all(self) -> None:
        with pytest.raises(Unauthenticated, match="chain.incomplete"):
            validator().validate(PUMP.sends(), NOW)

    def test_same_name_other_key(self) -> None:
        refusal = refused(device(root(label="fake")), by="chain.signature")
        assert "another CA of the same name" in refusal.message

    def test_same_name_other_key_with_the_fake_root_sent(self) -> None:
        refusal = refused(device(root(label="fake")).sends(2), by="chain.untrusted")
        assert "same name" in refusal.message

    def test_leaf_changed_after_signing(self) -> None:
        der = bytearray(device(ROOT).certificate.der)
        der[-1] ^= 1
        refused(PeerChain((bytes(der),)), by="chain.signature")

    def test_leaf_changed_after_its_issuer_was_learned(self) -> None:
        judge = validator(ROOT)
        judge.validate(PUMP.sends(), NOW)
        forged = device(intermediate(ROOT, label="forged"))
        with pytest.raises(Unauthenticated, match="chain.signature"):
            judge.validate(PeerChain.of([forged.certificate, LINE.certificate]), NOW)

    def test_what_one_peer_sent_completes_nobody_elses_chain(self) -> None:
        judge = validator(ROOT)
        judge.validate(PUMP.sends(), NOW)
        with pytest.raises(Unauthenticated, match="chain.incomplete"):
            judge.validate(PUMP.sends(1), NOW)

    def test_leaf_that_is_itself_registered_is_not_ca_signed(self) -> None:
        pinned = self_signed()
        refused(pinned, pinned, by="chain.untrusted")

    def test_two_cas_that_name_each_other(self) -> None:
        a, b = key_of("a"), key_of("b")
        first = odd("A", key=a, issuer=Issued(odd("B", key=b), b), extensions=[(IS_A_CA, True)])
        second = odd("B", key=b, issuer=Issued(odd("A", key=a), a), extensions=[(IS_A_CA, True)])
        leaf = device(Issued(first, a))
        refused(PeerChain.of([leaf.certificate, first, second]), by="chain.incomplete")

    def test_leaf_without_an_issuer_name(self) -> None:
        refused(odd(issuer=ROOT, issuer_name=x509.Name([])), by="chain.incomplete")


class TestBounds:
    def test_too_many_certificates(self) -> None:
        chain = PeerChain((PUMP.certificate.der, *([LINE.certificate.der] * MAX_CERTIFICATES)))
        refused(chain, by="chain.too_long")

    def test_too_many_bytes(self) -> None:
        refused(PeerChain((PUMP.certificate.der, bytes(MAX_CHAIN_BYTES))), by="chain.too_large")

    def test_longest_path_is_accepted_and_one_more_is_not(self) -> None:
        issuer = ROOT
        for level in range(MAX_CERTIFICATES - 2):
            issuer = intermediate(issuer, f"Level {level}")
        longest = device(issuer)
        assert len(accepted(longest).path) == MAX_CERTIFICATES
        refused(device(intermediate(issuer, "Level too many")), by="chain.too_long")

    @pytest.mark.parametrize("position", [0, 1])
    def test_garbage_in_any_place(self, position: int) -> None:
        ders = [PUMP.certificate.der, LINE.certificate.der]
        ders[position] = ders[position][:-10]
        refusal = refused(PeerChain(tuple(ders)), by="chain.malformed")
        assert f"certificate {position + 1} of 2" in refusal.message

    def test_many_cas_of_one_name_cost_a_bounded_number_of_signatures(self) -> None:
        fakes = [root(label=f"fake {n}") for n in range(MAX_SIGNATURE_CHECKS + 4)]
        with pytest.raises(Unauthenticated) as caught:
            validator(*fakes).validate(odd_leaf_without_key_id(ROOT), NOW)
        assert [c.name for c in caught.value.checks if c.passed is False] == ["chain.signature"]
        with pytest.raises(Unauthenticated):
            validator(*fakes, ROOT).validate(odd_leaf_without_key_id(ROOT), NOW)

    def test_the_named_key_is_tried_first(self) -> None:
        fakes = [root(label=f"fake {n}") for n in range(MAX_SIGNATURE_CHECKS + 4)]
        assert validator(*fakes, ROOT).validate(device(ROOT).sends(), NOW).anchor == ROOT.certificate


def odd_leaf_without_key_id(issuer: Issued) -> PeerChain:
    return PeerChain((odd(issuer=issuer).der,))


class TestDates:
    def test_expired_leaf_and_its_last_second(self) -> None:
        pump = device(ROOT, lifetime=timedelta(seconds=5))
        accepted(pump, now=NOW + timedelta(seconds=5, microseconds=900_000))
        refusal = refused(pump, now=NOW + timedelta(seconds=6), by="chain.expired")
        assert "was valid until" in refusal.message

    def test_leaf_of_the_future_and_its_first_second(self) -> None:
        pump = device(ROOT, lifetime=timedelta(seconds=5))
        accepted(pump, now=NOW)
        refused(pump, now=NOW - timedelta(microseconds=1), by="chain.not_yet_valid")

    def test_expired_intermediate(self) -> None:
        line = intermediate(ROOT, lifetime=timedelta(seconds=5))
        refusal = refused(device(line), now=NOW + timedelta(seconds=6), by="chain.expired")
        assert "CN=Plant Line 7" in refusal.message

    def test_intermediate_of_the_future(self) -> None:
        line = intermediate(ROOT, now=NOW + timedelta(hours=1))
        refused(device(line), by="chain.not_yet_valid")

    def test_expired_anchor(self) -> None:
        refused(device(ROOT, lifetime=LIFETIME * 2), now=NOW + LIFETIME + timedelta(seconds=1), by="chain.expired")

    def test_known_issuer_is_looked_at_again_each_time(self) -> None:
        line = intermediate(ROOT, lifetime=timedelta(seconds=5))
        judge = validator(ROOT)
        pump = device(line)
        judge.validate(pump.sends(), NOW)
        judge.validate(pump.sends(), NOW + timedelta(seconds=5))
        with pytest.raises(Unauthenticated, match="chain.expired"):
            judge.validate(pump.sends(), NOW + timedelta(seconds=6))
        with pytest.raises(Unauthenticated, match="chain.not_yet_valid"):
            judge.validate(pump.sends(), NOW - timedelta(seconds=1))

    def test_chain_expires_with_the_first_of_its_certificates(self) -> None:
        line = intermediate(ROOT, lifetime=timedelta(hours=2))
        assert accepted(device(line)).expires == line.certificate.not_after


class TestLeaf:
    """Leaves signed by the root itself, each wrong in one way."""

    def test_ca_as_leaf(self) -> None:
        refused(odd(issuer=ROOT, extensions=[(IS_A_CA, True)]), by="chain.leaf_is_ca")

    def test_the_anchor_itself_as_leaf(self) -> None:
        with pytest.raises(Unauthenticated, match="chain.leaf_is_ca"):
            validator(ROOT).validate(ROOT.sends(), NOW)

    @pytest.mark.parametrize("usage", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING])
    def test_usage_without_client_authentication(self, usage: ObjectIdentifier) -> None:
        refused(odd(issuer=ROOT, extensions=[(x509.ExtendedKeyUsage([usage]), False)]), by="chain.wrong_usage")

    @pytest.mark.parametrize(
        "usages",
        [
            [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
            [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
        ],
    )
    @pytest.mark.parametrize("critical", [False, True])
    def test_usage_with_client_authentication(self, usages: list[ObjectIdentifier], critical: bool) -> None:
        certificate = odd(issuer=ROOT, extensions=[(x509.ExtendedKeyUsage(usages), critical)])
        accepted(PeerChain((certificate.der,)))

    def test_leaf_without_any_extension(self) -> None:
        accepted(PeerChain((odd(issuer=ROOT).der,)))

    def test_key_usage_without_digital_signature(self) -> None:
        refused(odd(issuer=ROOT, extensions=[(key_usage(), True)]), by="chain.key_usage")

    def test_key_usage_that_signs_certificates(self) -> None:
        usage = key_usage(digital_signature=True, key_cert_sign=True)
        refused(odd(issuer=ROOT, extensions=[(NOT_A_CA, True), (usage, True)]), by="chain.key_usage")

    def test_key_usage_with_digital_signature(self) -> None:
        certificate = odd(issuer=ROOT, extensions=[(key_usage(digital_signature=True), True), (CLIENT_USAGE, True)])
        accepted(PeerChain((certificate.der,)))

    def test_unknown_critical_extension(self) -> None:
        extension = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        refusal = refused(odd(issuer=ROOT, extensions=[(extension, True)]), by="chain.critical_extension")
        assert "1.2.3.4" in refusal.message

    def test_unknown_extension_that_is_not_critical(self) -> None:
        extension = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        accepted(PeerChain((odd(issuer=ROOT, extensions=[(extension, False)]).der,)))

    def test_short_rsa_key(self) -> None:
        refusal = refused(odd(issuer=ROOT, key=weak_rsa_key()), by="chain.weak_key")
        assert "RSA 1024" in refusal.message

    def test_curve_nobody_uses(self) -> None:
        refused(odd(issuer=ROOT, key=odd_curve_key()), by="chain.weak_key")

    def test_ed448(self) -> None:
        refused(odd(issuer=ROOT, public_key=ed448.Ed448PrivateKey.generate().public_key()), by="chain.weak_key")

    @pytest.mark.parametrize(("bits", "exponent"), [(8200, 65537), (2048, (1 << 32) + 1)])
    def test_rsa_numbers_out_of_bounds(self, bits: int, exponent: int) -> None:
        # No such key pair has to exist: any odd number is a modulus until somebody computes with it.
        numbers = rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) + 1)
        refused(odd(issuer=ROOT, public_key=numbers.public_key()), by="chain.weak_key")

    def test_sha1(self) -> None:
        refusal = refused(signed_with_sha1(odd(issuer=OLD_ROOT), OLD_KEY), OLD_ROOT, by="chain.weak_signature")
        assert "RSA and SHA-1" in refusal.message

    def test_sha224(self) -> None:
        refused(odd(issuer=ROOT, algorithm=hashes.SHA224()), by="chain.weak_signature")

    def test_name_constraints_in_a_leaf(self) -> None:
        constraints = x509.NameConstraints([x509.DNSName("plant.example")], None)
        refused(odd(issuer=ROOT, extensions=[(constraints, True)]), by="chain.name_constraints")

    def test_every_broken_rule_is_listed(self) -> None:
        bad = odd(
            issuer=ROOT, key=weak_rsa_key(), extensions=[(key_usage(), True)], not_after=NOW - timedelta(seconds=1)
        )
        with pytest.raises(Unauthenticated) as caught:
            validator(ROOT).validate(PeerChain((bad.der,)), NOW)
        failed = [check.name for check in caught.value.checks if check.passed is False]
        assert failed == ["chain.weak_key", "chain.expired", "chain.key_usage"]
        assert {check.name for check in caught.value.checks if check.passed is None} >= {"chain.untrusted"}


class TestIssuers:
    """Intermediates (and anchors) wrong in one way; the leaf below is fine."""

    def below(self, certificate: Certificate, key_label: str = "odd") -> PeerChain:
        issuer = Issued(certificate, key_of(key_label), (ROOT.certificate,))
        return device(issuer).sends()

    @pytest.mark.parametrize("extensions", [[], [(NOT_A_CA, True)]])
    def test_not_a_ca(self, extensions: list[tuple[x509.ExtensionType, bool]]) -> None:
        refused(self.below(odd("Line", issuer=ROOT, extensions=extensions)), by="chain.not_a_ca")

    def test_device_that_signs_a_device(self) -> None:
        second = device(device(ROOT, "mytestprimarycert"), "mytestsecondarycert")
        with pytest.raises(Unauthenticated, match="chain.not_a_ca"):
            validator(ROOT).validate(second.sends(), NOW)

    def test_ca_without_critical_basic_constraints_and_key_usage(self) -> None:
        accepted(self.below(odd("Line", issuer=ROOT, extensions=[(IS_A_CA, False)])))

    def test_ca_that_may_not_sign_certificates(self) -> None:
        extensions = [(IS_A_CA, True), (key_usage(digital_signature=True), True)]
        refused(self.below(odd("Line", issuer=ROOT, extensions=extensions)), by="chain.key_usage")

    def test_ca_for_servers_only(self) -> None:
        extensions = [(IS_A_CA, True), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)]
        refused(self.below(odd("Line", issuer=ROOT, extensions=extensions)), by="chain.wrong_usage")

    def test_ca_for_clients_and_servers(self) -> None:
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        accepted(self.below(odd("Line", issuer=ROOT, extensions=[(IS_A_CA, True), (usages, False)])))

    def test_ca_with_an_unknown_critical_extension(self) -> None:
        unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        extensions = [(IS_A_CA, True), (unknown, True)]
        refused(self.below(odd("Line", issuer=ROOT, extensions=extensions)), by="chain.critical_extension")

    def test_ca_signed_with_a_weak_hash(self) -> None:
        line = signed_with_sha1(odd("Line", issuer=OLD_ROOT, extensions=[(IS_A_CA, True)]), OLD_KEY)
        refused(device(Issued(line, key_of("odd"), OLD_ROOT.fullchain)), OLD_ROOT, by="chain.weak_signature")

    def test_anchor_signed_with_a_weak_hash_is_trusted_for_being_registered(self) -> None:
        line = signed_with_sha1(odd("Line", issuer=OLD_ROOT, extensions=[(IS_A_CA, True)]), OLD_KEY)
        accepted(device(Issued(line, key_of("odd"))), line)

    def test_ca_with_a_short_key(self) -> None:
        key = weak_rsa_key()
        line = odd("Line", issuer=ROOT, key=key, extensions=[(IS_A_CA, True)])
        refused(device(Issued(line, key, (ROOT.certificate,))), by="chain.weak_key")

    def test_anchor_that_is_not_a_ca(self) -> None:
        anchor = odd("Line")
        refused(device(Issued(anchor, key_of("odd"))), anchor, by="chain.not_a_ca")

    @pytest.mark.parametrize("path_length", [0, 1])
    def test_path_length(self, path_length: int) -> None:
        issuer = intermediate(ROOT, "Bounded", path_length=path_length)
        for level in range(path_length):
            issuer = intermediate(issuer, f"Level {level}")
        accepted(device(issuer))
        refusal = refused(device(intermediate(issuer, "One more")), by="chain.path_length")
        assert "CN=Bounded" in refusal.message

    def test_path_length_of_the_anchor(self) -> None:
        line = intermediate(ROOT, "Bounded", path_length=0)
        refused(device(intermediate(line, "Cell")), line, by="chain.path_length")

    def test_self_issued_certificates_do_not_count(self) -> None:
        line = intermediate(ROOT, "Bounded", path_length=0)
        accepted(device(intermediate(line, "Bounded", label="renewed")))


class TestAtTheBounds:
    def test_as_much_as_is_allowed_is_within_the_bounds(self) -> None:
        for chain in (PeerChain((bytes(MAX_CHAIN_BYTES),)), PeerChain((b"garbage",) * MAX_CERTIFICATES)):
            refused(chain, by="chain.malformed")
        refused(PeerChain((bytes(MAX_CHAIN_BYTES + 1),)), by="chain.too_large")
        refused(PeerChain((b"garbage",) * (MAX_CERTIFICATES + 1)), by="chain.too_long")

    @pytest.mark.parametrize("position", [0, 1])
    @pytest.mark.parametrize("whose", ["subject", "issuer"])
    def test_a_name_that_cannot_be_read_is_malformed_wherever_it_stands(self, position: int, whose: str) -> None:
        marked = odd("QQ", issuer_name=name((NameOID.COMMON_NAME, "RR")))
        der = bytearray(marked.der)
        der[der.index(b"QQ" if whose == "subject" else b"RR") - 2] = 0x02
        chain = [PUMP.certificate.der]
        chain.insert(position, bytes(der))
        refused(PeerChain(tuple(chain)), by="chain.malformed")


class TestRequirements:
    """What no chain that a stranger sends gets as far as."""

    def test_a_ca_without_a_subject_is_not_registered(self) -> None:
        nameless = odd(x509.Name([]), extensions=[(IS_A_CA, True)])
        with pytest.raises(Invalid) as caught:
            check_ca(nameless, NOW)
        assert (caught.value.reason, caught.value.message) == ("ca.not_a_ca", "a CA certificate has no subject")

    def test_a_signer_of_revocation_lists_has_to_be_allowed_to(self) -> None:
        asked = Asked(NOW, None)
        assert lacks_crl_sign(odd(), asked) is None
        assert lacks_crl_sign(ROOT.certificate, asked) is None
        may_not = odd("Lists", extensions=[(key_usage(digital_signature=True), True)])
        assert lacks_crl_sign(may_not, asked) == (
            "'CN=Lists' has a key usage without cRLSign, so it may not sign revocation lists"
        )

    def test_what_is_signed_in_a_way_that_nobody_can_verify_is_signed_by_nobody(self) -> None:
        assert is_signed_by(odd(issuer=OLD_ROOT), OLD_ROOT.certificate)
        with_sha256 = bytes.fromhex("2a864886f70d01010b")
        # MD2, SHA-224, and an algorithm that there is not.
        for last in (b"\x02", b"\x0e", b"\x7f"):
            of_no_use = Certificate(odd(issuer=OLD_ROOT).der.replace(with_sha256, with_sha256[:-1] + last))
            assert not is_signed_by(of_no_use, OLD_ROOT.certificate)


class TestNameConstraints:
    def judged(self, constraints: x509.NameConstraints, *names: x509.GeneralName, refused_by: str | None) -> None:
        line = intermediate(ROOT, "Constrained", constraints=constraints)
        extensions = [(x509.SubjectAlternativeName(names), False)] if names else []
        leaf = odd("pump-01", issuer=line, extensions=extensions)
        chain = PeerChain.of([leaf, line.certificate])
        if refused_by:
            refused(chain, by=refused_by)
        else:
            accepted(chain)

    @pytest.mark.parametrize(
        ("names", "good"),
        [
            ([], True),
            ([x509.DNSName("plant.example")], True),
            ([x509.DNSName("PUMP.plant.example")], True),
            ([x509.DNSName("*.plant.example")], True),
            ([x509.DNSName("notplant.example")], False),
            ([x509.DNSName("*.example")], False),
            ([x509.DNSName("pump.plant.example"), x509.DNSName("example.org")], False),
            ([x509.IPAddress(IPv4Address("10.1.2.3"))], True),
            ([x509.IPAddress(IPv4Address("11.1.2.3"))], False),
            ([x509.RFC822Name("a@b.example")], True),
        ],
    )
    def test_permitted(self, names: list[x509.GeneralName], good: bool) -> None:
        permitted = [x509.DNSName("plant.example"), x509.IPAddress(ip_network("10.0.0.0/8"))]
        self.judged(
            x509.NameConstraints(permitted, None), *names, refused_by=None if good else "chain.name_constraints"
        )

    @pytest.mark.parametrize(
        ("names", "good"),
        [
            ([x509.DNSName("plant.example")], True),
            ([x509.DNSName("lab.plant.example")], False),
            ([x509.DNSName("a.lab.plant.example")], False),
            ([x509.DNSName("*.plant.example")], False),
            ([x509.IPAddress(IPv4Address("10.1.2.3"))], False),
        ],
    )
    def test_excluded(self, names: list[x509.GeneralName], good: bool) -> None:
        excluded = [x509.DNSName("lab.plant.example"), x509.IPAddress(ip_network("10.0.0.0/8"))]
        self.judged(x509.NameConstraints(None, excluded), *names, refused_by=None if good else "chain.name_constraints")

    @pytest.mark.parametrize(("organization", "good"), [("Plant", True), ("Lab", False), (None, False)])
    def test_directory_names(self, organization: str | None, good: bool) -> None:
        permitted = x509.DirectoryName(name((NameOID.ORGANIZATION_NAME, "Plant")))
        line = intermediate(ROOT, "Constrained", constraints=x509.NameConstraints([permitted], None))
        parts = [(NameOID.ORGANIZATION_NAME, organization)] if organization else []
        leaf = odd(name(*parts, (NameOID.COMMON_NAME, "pump-01")), issuer=line)
        chain = PeerChain.of([leaf, line.certificate])
        if good:
            accepted(chain)
        else:
            refused(chain, by="chain.name_constraints")

    @pytest.mark.parametrize(
        "form",
        [
            x509.RegisteredID(ObjectIdentifier("1.2.3")),
            x509.DNSName(".example"),
            x509.RFC822Name._init_without_validation("a@b@example"),
            x509.UniformResourceIdentifier("https://b.example/"),
        ],
    )
    def test_what_cannot_be_evaluated_is_refused_when_it_matters(self, form: x509.GeneralName) -> None:
        names = {
            x509.RegisteredID: x509.RegisteredID(ObjectIdentifier("1.2.3")),
            x509.DNSName: x509.DNSName("a.example"),
            x509.RFC822Name: x509.RFC822Name("a@example"),
            x509.UniformResourceIdentifier: x509.UniformResourceIdentifier("https://b.example/"),
        }
        for constraints in (x509.NameConstraints([form], None), x509.NameConstraints(None, [form])):
            self.judged(constraints, refused_by=None)
            self.judged(constraints, names[type(form)], refused_by="chain.name_constraints")

    @pytest.mark.parametrize(
        ("limit", "inside", "outside"),
        [
            (
                "ops@plant.example",
                ["ops@plant.example", "ops@PLANT.example"],
                ["Ops@plant.example", "ops@a.plant.example"],
            ),
            ("plant.example", ["ops@plant.example", "x@PLANT.EXAMPLE"], ["ops@a.plant.example", "ops@example"]),
            (
                ".plant.example",
                ["ops@a.plant.example", "ops@a.b.plant.example"],
                ["ops@plant.example", "o@xplant.example"],
            ),
            ("*@plant.example", ["*@plant.example"], ["ops@plant.example"]),
        ],
    )
    def test_mail_addresses(self, limit: str, inside: list[str], outside: list[str]) -> None:
        permitted = x509.NameConstraints([x509.RFC822Name(limit)], None)
        excluded = x509.NameConstraints(None, [x509.RFC822Name(limit)])
        for address in inside:
            self.judged(permitted, x509.RFC822Name(address), refused_by=None)
            self.judged(excluded, x509.RFC822Name(address), refused_by="chain.name_constraints")
        for address in outside:
            self.judged(permitted, x509.RFC822Name(address), refused_by="chain.name_constraints")
        self.judged(excluded, x509.RFC822Name("ops@elsewhere.example"), refused_by=None)
        # A mailbox is compared without case where that refuses (RFC 5280 4.2.1.10 leaves it to the host).
        if "@" in limit and not limit.startswith("*"):
            self.judged(excluded, x509.RFC822Name(limit.upper()), refused_by="chain.name_constraints")

    @pytest.mark.parametrize("address", ["ops", "@plant.example", "a@b@plant.example", "ops@", "ops@pla nt.example"])
    def test_what_is_no_mail_address_is_neither_inside_nor_outside(self, address: str) -> None:
        leaf_name = x509.RFC822Name._init_without_validation(address)
        for constraints in (
            x509.NameConstraints([x509.RFC822Name("plant.example")], None),
            x509.NameConstraints(None, [x509.RFC822Name("lab.example")]),
        ):
            self.judged(constraints, leaf_name, refused_by="chain.name_constraints")

    def test_what_is_no_mail_address_in_a_subject_matters_where_those_are_constrained(self) -> None:
        leaf_name = name((NameOID.EMAIL_ADDRESS, "Ops <ops@plant.example>"), (NameOID.COMMON_NAME, "pump-01"))
        for form, good in ((x509.RFC822Name("plant.example"), False), (x509.DNSName("plant.example"), True)):
            line = intermediate(ROOT, "Constrained", constraints=x509.NameConstraints([form], None))
            chain = PeerChain.of([odd(leaf_name, issuer=line), line.certificate])
            if good:
                accepted(chain)
            else:
                refused(chain, by="chain.name_constraints")

    @pytest.mark.parametrize(("address", "good"), [("ops@plant.example", True), ("ops@lab.example", False)])
    def test_a_mail_address_in_the_subject_is_constrained_too(self, address: str, good: bool) -> None:
        line = intermediate(
            ROOT, "Constrained", constraints=x509.NameConstraints([x509.RFC822Name("plant.example")], None)
        )
        leaf = odd(name((NameOID.EMAIL_ADDRESS, address), (NameOID.COMMON_NAME, "pump-01")), issuer=line)
        chain = PeerChain.of([leaf, line.certificate])
        if good:
            accepted(chain)
        else:
            refused(chain, by="chain.name_constraints")

    @pytest.mark.parametrize(
        ("limit", "inside", "outside"),
        [
            ("plant.example", ["https://plant.example/x", "urn://ops@PLANT.example:8443"], ["https://a.plant.example"]),
            (".plant.example", ["https://a.plant.example", "coap://b.a.plant.example/"], ["https://plant.example"]),
        ],
    )
    def test_uris_by_their_host(self, limit: str, inside: list[str], outside: list[str]) -> None:
        permitted = x509.NameConstraints([x509.UniformResourceIdentifier(limit)], None)
        excluded = x509.NameConstraints(None, [x509.UniformResourceIdentifier(limit)])
        for uri in inside:
            self.judged(permitted, x509.UniformResourceIdentifier(uri), refused_by=None)
            self.judged(excluded, x509.UniformResourceIdentifier(uri), refused_by="chain.name_constraints")
        for uri in outside:
            self.judged(permitted, x509.UniformResourceIdentifier(uri), refused_by="chain.name_constraints")
            self.judged(excluded, x509.UniformResourceIdentifier(uri), refused_by=None)
        for uri in ("urn:uuid:1", "https://10.0.0.1/", "https://[::1", "//", "plant.example"):
            self.judged(excluded, x509.UniformResourceIdentifier(uri), refused_by="chain.name_constraints")

    @pytest.mark.parametrize(
        "spelled", [".plant.example", "a..plant.example", "a b.plant.example", "-a.plant.example", ""]
    )
    def test_what_is_no_dns_name_is_refused_where_those_are_constrained(self, spelled: str) -> None:
        leaf_name = x509.DNSName._init_without_validation(spelled)
        self.judged(
            x509.NameConstraints([x509.DNSName("plant.example")], None), leaf_name, refused_by="chain.name_constraints"
        )
        self.judged(x509.NameConstraints([x509.IPAddress(ip_network("10.0.0.0/8"))], None), leaf_name, refused_by=None)

    def test_constraints_reach_intermediates_and_leaves_far_below(self) -> None:
        line = intermediate(
            ROOT, "Constrained", constraints=x509.NameConstraints([x509.DNSName("plant.example")], None)
        )
        cell = intermediate(line, "Cell 3")
        leaf = odd(issuer=cell, extensions=[(x509.SubjectAlternativeName([x509.DNSName("example.org")]), False)])
        refused(PeerChain.of([leaf, cell.certificate, line.certificate]), by="chain.name_constraints")

    def test_a_known_constrained_issuer_constrains_the_next_leaf(self) -> None:
        line = intermediate(
            ROOT, "Constrained", constraints=x509.NameConstraints([x509.DNSName("plant.example")], None)
        )
        judge = validator(ROOT)
        judge.validate(device(line).sends(), NOW)
        bad = odd(issuer=line, extensions=[(x509.SubjectAlternativeName([x509.DNSName("example.org")]), False)])
        with pytest.raises(Unauthenticated, match="chain.name_constraints"):
            judge.validate(PeerChain.of([bad, line.certificate]), NOW)

    @pytest.mark.parametrize("tag", [0x02, 0x03, 0x05, 0x06, 0x30, 0xA0])
    def test_a_subject_that_is_no_text_is_a_refusal_and_no_error(self, tag: int) -> None:
        line = intermediate(
            ROOT, "Constrained", constraints=x509.NameConstraints([x509.DNSName("plant.example")], None)
        )
        judge = validator(ROOT)
        judge.validate(device(line).sends(), NOW)
        subject = name((NameOID.COMMON_NAME, "pump-01"), (NameOID.ORGANIZATION_NAME, "QQ"))
        der = bytearray(odd(subject, issuer=line).der)
        der[der.index(b"QQ") - 2] = tag
        with pytest.raises(Unauthenticated, match="chain.signature"):
            judge.validate(PeerChain((bytes(der), line.certificate.der)), NOW)

    def test_a_subject_of_odd_length_is_compared_without_a_warning(self) -> None:
        constraints = x509.NameConstraints([x509.DirectoryName(name((NameOID.COMMON_NAME, "pump-01")))], None)
        two_letters = odd(name((NameOID.COUNTRY_NAME, "QQ"), (NameOID.COMMON_NAME, "pump-01")))
        one_letter = Certificate(two_letters.der.replace(b"\x13\x02QQ", b"\x1e\x02\x00Q"))
        assert find_violation(constraints, one_letter) is not None

    @pytest.mark.parametrize(
        ("organization", "good"), [("Lab", False), ("LAB", False), ("lab ", False), ("Labs", True)]
    )
    def test_an_excluded_directory_name_is_excluded_however_it_is_written(self, organization: str, good: bool) -> None:
        excluded = x509.DirectoryName(name((NameOID.ORGANIZATION_NAME, "Lab")))
        line = intermediate(ROOT, "Constrained", constraints=x509.NameConstraints(None, [excluded]))
        leaf = odd(name((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, "pump-01")), issuer=line)
        if good:
            accepted(PeerChain.of([leaf, line.certificate]))
        else:
            refused(PeerChain.of([leaf, line.certificate]), by="chain.name_constraints")

    @pytest.mark.parametrize(("host", "good"), [("pump.plant.example", True), ("example.org", False)])
    def test_a_leaf_without_a_subject_is_constrained_by_its_alternative_names(self, host: str, good: bool) -> None:
        elsewhere = x509.DirectoryName(name((NameOID.ORGANIZATION_NAME, "Elsewhere")))
        line = intermediate(
            ROOT, "Constrained", constraints=x509.NameConstraints([x509.DNSName("plant.example"), elsewhere], None)
        )
        leaf = odd(x509.Name([]), issuer=line, extensions=[(x509.SubjectAlternativeName([x509.DNSName(host)]), True)])
        chain = PeerChain.of([leaf, line.certificate])
        if good:
            accepted(chain)
        else:
            refused(chain, by="chain.name_constraints")

    def test_what_stands_above_a_ca_that_issued_itself_again_is_constrained(self) -> None:
        excluded = x509.DirectoryName(name((NameOID.COMMON_NAME, "Middle")))
        line = intermediate(ROOT, "Constrained", constraints=x509.NameConstraints(None, [excluded]))
        middle = intermediate(line, "Middle")
        refused(device(intermediate(middle, "Middle", label="again")), by="chain.name_constraints")

    def test_a_ca_that_issued_itself_again_is_not_constrained_by_its_own_name(self) -> None:
        excluded = x509.DirectoryName(name((NameOID.COMMON_NAME, "Constrained")))
        line = intermediate(ROOT, "Constrained", constraints=x509.NameConstraints(None, [excluded]))
        again = intermediate(line, "Constrained", label="again")
        accepted(device(again))
        refused(device(intermediate(line, "Other"), "Constrained"), by="chain.name_constraints")

    def test_more_names_than_anyone_compares(self) -> None:
        many = [x509.DNSName(f"h{n}.plant.example") for n in range(60)]
        self.judged(x509.NameConstraints(list(many), None), *many, refused_by="chain.name_constraints")


class TestNames:
    """Issuers are found as RFC 5280 7.1 compares names; the signature decides."""

    @pytest.mark.parametrize("spelled", ["plant  ROOT", " Plant Root ", "PLANT root"])
    def test_an_issuer_in_another_spelling(self, spelled: str) -> None:
        accepted(PeerChain.of([odd(issuer=ROOT, issuer_name=name((NameOID.COMMON_NAME, spelled)))]))
        forged = odd(key=key_of("forger"), issuer_name=name((NameOID.COMMON_NAME, spelled)))
        refused(PeerChain.of([forged]), by="chain.signature")

    def test_another_issuer(self) -> None:
        refused(
            PeerChain.of([odd(issuer=ROOT, issuer_name=name((NameOID.COMMON_NAME, "PlantRoot")))]),
            by="chain.incomplete",
        )

    def test_without_a_subject_the_alternative_names_are_critical(self) -> None:
        names = x509.SubjectAlternativeName([x509.DNSName("pump-01")])
        nobody = x509.Name([])
        accepted(PeerChain.of([odd(nobody, issuer=ROOT, extensions=[(names, True)])]))
        refused(PeerChain.of([odd(nobody, issuer=ROOT, extensions=[(names, False)])]), by="chain.no_name")
        refused(PeerChain.of([odd(nobody, issuer=ROOT)]), by="chain.no_name")


class TestPolicies:
    """Certificate policies are not processed, so nothing that constrains them is let through."""

    @pytest.mark.parametrize("constraint", [x509.PolicyConstraints(0, None), x509.InhibitAnyPolicy(0)])
    def test_a_ca_that_constrains_them(self, constraint: x509.ExtensionType) -> None:
        for critical, reason in ((True, "chain.critical_extension"), (False, "chain.policy_constraints")):
            ca = odd("Strict CA", issuer=ROOT, extensions=[(IS_A_CA, True), (constraint, critical)])
            line = Issued(ca, key_of("odd"), ROOT.fullchain)
            refused(PeerChain.of([odd(issuer=line), ca]), by=reason)


class TestDepth:
    @pytest.mark.parametrize("depth", [0, 1, 2])
    def test_so_many_cas_between_leaf_and_anchor(self, depth: int) -> None:
        issuer = ROOT
        for level in range(depth):
            issuer = intermediate(issuer, f"Level {level}")
        bounded = Validator(TrustAnchors([ROOT.certificate]), max_intermediates=depth)
        bounded.validate(device(issuer).sends(), NOW)
        with pytest.raises(Unauthenticated, match=f"{depth + 1} intermediate CAs; at most {depth}"):
            bounded.validate(device(intermediate(issuer, "One more")).sends(), NOW)

    def test_one_that_issued_itself_again_does_not_count(self) -> None:
        line = intermediate(ROOT, "Again")
        again = intermediate(line, "Again", label="renewed")
        Validator(TrustAnchors([ROOT.certificate]), max_intermediates=1).validate(device(again).sends(), NOW)


class TestPinned:
    """A certificate registered by its thumbprint: dates and key strength, nothing else (decisions T3)."""

    @pytest.mark.parametrize(
        "certificate",
        [
            self_signed().certificate,
            PUMP.certificate,
            ROOT.certificate,
            odd(extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), True)]),
            odd(x509.Name([])),
        ],
        ids=["self-signed", "CA-signed", "a CA", "for servers", "nameless"],
    )
    def test_accepted(self, certificate: Certificate) -> None:
        verified = check_pinned(PeerChain((certificate.der, b"whatever follows")), NOW)
        assert verified.leaf == verified.anchor == certificate
        assert verified.signers == ()

    def test_outside_its_dates(self) -> None:
        pump = self_signed()
        with pytest.raises(Unauthenticated, match="chain.expired"):
            check_pinned(pump.sends(), NOW + LIFETIME + timedelta(seconds=1))
        with pytest.raises(Unauthenticated, match="chain.not_yet_valid"):
            check_pinned(pump.sends(), NOW - timedelta(hours=1))

    def test_weak_key(self) -> None:
        with pytest.raises(Unauthenticated, match="chain.weak_key"):
            check_pinned(PeerChain((odd(key=weak_rsa_key()).der,)), NOW)

    def test_no_certificate_and_garbage(self) -> None:
        with pytest.raises(Unauthenticated, match="chain.empty"):
            check_pinned(PeerChain(()), NOW)
        with pytest.raises(Unauthenticated, match="chain.malformed"):
            check_pinned(PeerChain((b"garbage",)), NOW)


class TestRegisteringACA:
    def test_root_and_intermediate(self) -> None:
        check_ca(ROOT.certificate, NOW)
        check_ca(LINE.certificate, NOW)

    @pytest.mark.parametrize(
        ("certificate", "now", "reason"),
        [
            (PUMP.certificate, NOW, "ca.not_a_ca"),
            (ROOT.certificate, NOW + LIFETIME + timedelta(seconds=1), "ca.expired"),
            (ROOT.certificate, NOW - timedelta(hours=1), "ca.not_yet_valid"),
            (odd("CA", key=weak_rsa_key(), extensions=[(IS_A_CA, True)]), NOW, "ca.weak_key"),
            (odd("CA", extensions=[(IS_A_CA, True), (key_usage(), True)]), NOW, "ca.key_usage"),
        ],
    )
    def test_refused(self, certificate: Certificate, now: datetime, reason: str) -> None:
        with pytest.raises(Invalid) as caught:
            check_ca(certificate, now)
        assert caught.value.reason == reason


def test_server_chains_are_judged_for_their_own_usage() -> None:
    anchors = TrustAnchors([ROOT.certificate])
    server = odd("hub", issuer=ROOT, extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
    Validator(anchors, usage=ExtendedKeyUsageOID.SERVER_AUTH).validate(PeerChain((server.der,)), NOW)
    with pytest.raises(Unauthenticated, match="not for server authentication"):
        Validator(anchors, usage=ExtendedKeyUsageOID.SERVER_AUTH).validate(device(ROOT).sends(), NOW)


def test_only_so_many_paths_are_remembered() -> None:
    judge = validator(ROOT)
    for extra in range(520):
        odd_extra = LINE.certificate.der if extra == 0 else intermediate_der(extra)
        judge.validate(PeerChain((device(ROOT).certificate.der, odd_extra)), NOW)
    assert len(judge._known) == 512


def intermediate_der(number: int) -> bytes:
    return odd("Unrelated", serial=number).der

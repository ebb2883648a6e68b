"""What lists say about chains: every way in which a list does not count, and that the memory of paths keeps up.

The shapes that no well-behaved CA publishes are PKITS' matter (tests/conformance); here is what operators meet.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from moorage.errors import Check, Unauthenticated
from moorage.pki import listed_revocation
from moorage.pki.certificates import PeerChain
from moorage.pki.listed_revocation import SKEW, ListedRevocation
from moorage.pki.revocation import GOOD, Policy, Revoked, Unknown
from moorage.pki.revocation_lists import RevocationList
from moorage.pki.validator import TrustAnchors, Validator
from tests import certs
from tests.certs import NOW, Issued
from tests.unit.pki.lists import WEEK, scoped, the_list

ROOT = certs.root("Revoking Root")
LINE = certs.intermediate(ROOT, "Revoking Line")
PUMP = certs.device(LINE)
SERIAL = PUMP.certificate.serial_number
LATER = NOW + timedelta(days=20)
ALL_GOOD = (the_list(ROOT), the_list(LINE))


def judge(
    *lists: RevocationList, default: Policy = "hard", signers: tuple[Issued, ...] = (), **policies: Policy
) -> Validator:
    named = {"root": ROOT.certificate.subject_key, "line": LINE.certificate.subject_key}
    return Validator(
        TrustAnchors([ROOT.certificate]),
        revocation=ListedRevocation(
            lists,
            signers=[signer.certificate for signer in signers],
            policies={named[name]: policy for name, policy in policies.items()},
            default=default,
        ),
    )


def refused(
    validator: Validator, device: Issued = PUMP, reason: str = "chain.revoked", now: datetime = NOW
) -> Unauthenticated:
    """Asked twice: the second time the path might be known."""
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            validator.validate(device.sends(), now)
        assert caught.value.reason == reason, caught.value
    return caught.value


class TestRevoked:
    def test_a_device(self) -> None:
        refusal = refused(judge(the_list(ROOT), the_list(LINE, SERIAL, number=7)))
        assert f"(serial {SERIAL:X})" in refusal.message and "keyCompromise" in refusal.message
        assert "the list 7 of 'CN=Revoking Line'" in refusal.message
        assert refusal.fix == "moorage cert device pump-01 --issuer 'Revoking Line' --force"
        assert [check.passed for check in refusal.checks if check.name == "chain.revoked"] == [False]

    def test_a_ca_of_the_path(self) -> None:
        refusal = refused(judge(the_list(ROOT, LINE.certificate.serial_number), the_list(LINE)))
        assert "'CN=Revoking Line'" in refusal.message

    def test_the_anchor_itself_is_nobodys_to_revoke(self) -> None:
        validator = judge(the_list(ROOT, ROOT.certificate.serial_number), the_list(LINE))
        assert validator.validate(PUMP.sends(), NOW).revocation == (Check("chain.revoked", True),) * 2

    def test_even_where_nobody_insists(self) -> None:
        refused(judge(the_list(LINE, SERIAL), default="soft"))

    def test_another_device_of_the_same_ca(self) -> None:
        other = certs.device(LINE, "fan-01")
        validator = judge(the_list(ROOT), the_list(LINE, SERIAL))
        assert validator.validate(other.sends(), NOW).leaf == other.certificate
        refused(validator)
        assert validator.validate(other.sends(), NOW).leaf == other.certificate

    def test_the_same_number_of_another_ca(self) -> None:
        judge(the_list(ROOT, SERIAL), the_list(LINE)).validate(PUMP.sends(), NOW)

    def test_a_ca_with_a_second_certificate_goes_another_way(self) -> None:
        """Its first certificate was revoked, and it was certified again for the same key."""
        again = certs.intermediate(ROOT, "Revoking Line")
        assert again.key == LINE.key
        validator = judge(the_list(ROOT, LINE.certificate.serial_number), the_list(LINE))
        sent = PeerChain.of([PUMP.certificate, LINE.certificate, again.certificate])
        for _ in range(2):
            assert validator.validate(sent, NOW).path[1] == again.certificate


class TestOverdue:
    """Whoever keeps the next list from arriving brings nobody back."""

    def test_whom_an_old_list_revoked_stays_revoked(self) -> None:
        old = the_list(LINE, SERIAL, now=NOW - 2 * WEEK)
        for default in ("hard", "soft"):
            refused(judge(the_list(ROOT), old, default=default))

    def test_but_not_one_whom_it_does_not_name(self) -> None:
        old = the_list(LINE, SERIAL, now=NOW - 2 * WEEK)
        other = certs.device(LINE, "fan-01")
        refused(judge(the_list(ROOT), old), other, "chain.revocation_unknown")
        judge(the_list(ROOT), old, default="soft").validate(other.sends(), NOW)

    def test_an_old_delta_takes_nobody_back_and_still_revokes(self) -> None:
        base = scoped(LINE, SERIAL, number=5)
        gone = scoped(LINE, SERIAL, number=6, delta_of=5, now=NOW - 2 * WEEK, reason=x509.ReasonFlags.remove_from_crl)
        refused(judge(the_list(ROOT), base, gone))
        adds = scoped(LINE, SERIAL, number=6, delta_of=5, now=NOW - 2 * WEEK, reason=x509.ReasonFlags.superseded)
        refused(judge(the_list(ROOT), scoped(LINE, number=5), adds))

    def test_a_list_of_tomorrow_says_nothing(self) -> None:
        coming = the_list(LINE, SERIAL, now=NOW + timedelta(hours=1))
        judge(the_list(ROOT), coming, default="soft").validate(PUMP.sends(), NOW)


class TestUnknown:
    @pytest.mark.parametrize(
        ("lists", "why"),
        [
            ([], "there is no list of 'CN=Revoking Line'"),
            ([the_list(LINE, now=NOW - 2 * WEEK)], "is too old"),
            ([the_list(LINE, now=NOW + timedelta(hours=1))], "is from the future"),
            ([the_list(certs.root("Revoking Line", label="impostor"))], "no trusted key signed the list 1"),
            ([scoped(LINE, only_contains_ca_certs=True)], "is for CAs alone"),
            ([scoped(LINE, only_contains_attribute_certs=True)], "is for attribute certificates"),
            (
                [
                    scoped(LINE, number=each, only_some_reasons=frozenset({x509.ReasonFlags.superseded}))
                    for each in (1, 2)
                ],
                "no list covers the reasons aACompromise",
            ),
            ([scoped(LINE, full_name=[x509.UniformResourceIdentifier("http://a.example/1")])], "another distribution"),
            (
                [scoped(LINE, only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))],
                "no list covers the reasons aACompromise",
            ),
            ([scoped(LINE, delta_of=1, number=2)], "there is no list"),
        ],
    )
    def test_hard_refuses_and_soft_says_so(self, lists: list[RevocationList], why: str) -> None:
        refusal = refused(judge(the_list(ROOT), *lists), reason="chain.revocation_unknown")
        assert why in refusal.message
        for _ in range(2):
            verified = judge(the_list(ROOT), *lists, default="soft").validate(PUMP.sends(), NOW)
            (leaf, ca) = verified.revocation
            assert leaf.passed is None and leaf.name == "chain.revocation_unknown" and why in leaf.detail
            assert ca == Check("chain.revoked", True)

    def test_a_list_for_users_alone_says_nothing_of_a_ca(self) -> None:
        refusal = refused(
            judge(scoped(ROOT, only_contains_user_certs=True), the_list(LINE)), reason="chain.revocation_unknown"
        )
        assert "is not for CAs" in refusal.message

    def test_policies_are_by_issuer(self) -> None:
        assert judge(default="off").validate(PUMP.sends(), NOW).revocation == ()
        assert len(judge(the_list(LINE), default="hard", root="soft").validate(PUMP.sends(), NOW).revocation) == 2
        refused(judge(the_list(ROOT), default="soft", line="hard"), reason="chain.revocation_unknown")

    def test_nobody_asks_without_it(self) -> None:
        verified = Validator(TrustAnchors([ROOT.certificate])).validate(PUMP.sends(), NOW)
        assert verified.revocation == ()

    def test_a_ca_that_may_not_sign_lists(self) -> None:
        mute = Issued(
            certs.odd(
                "Mute CA", issuer=ROOT, extensions=[(certs.IS_A_CA, True), (certs.key_usage(key_cert_sign=True), True)]
            ),
            certs.key_of("odd"),
            (ROOT.certificate,),
        )
        able = Issued(certs.odd("Mute CA", issuer=ROOT, extensions=[(certs.IS_A_CA, True)]), mute.key, mute.signers)
        found = the_list(able)
        refused(judge(the_list(ROOT), found), certs.device(mute), "chain.revocation_unknown")
        judge(the_list(ROOT), found).validate(certs.device(able).sends(), NOW)

    def test_clocks_may_differ_a_little(self) -> None:
        for now in (NOW - SKEW, NOW + WEEK + SKEW):
            revocation = ListedRevocation(ALL_GOOD)
            assert revocation.status(PUMP.fullchain, 0, now) == GOOD
            assert isinstance(
                revocation.status(PUMP.fullchain, 0, now + 2 * SKEW if now > NOW else now - SKEW), Unknown
            )

    def test_a_distribution_point_that_cannot_be_read(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "point")])
        point = x509.DistributionPoint(None, name.rdns[0], None, [x509.DNSName("not-a-directory.example")])
        leaf = certs.odd("pump-01", issuer=LINE, extensions=[(x509.CRLDistributionPoints([point]), False)])
        status = ListedRevocation(ALL_GOOD).status((leaf, *PUMP.signers), 0, NOW)
        assert isinstance(status, Unknown) and "cannot be read" in status.why


class TestWhichList:
    def test_of_two_the_later_speaks(self) -> None:
        held, released = the_list(LINE, SERIAL, number=1), the_list(LINE, number=2)
        for lists in ((held, released), (released, held)):
            judge(the_list(ROOT), *lists).validate(PUMP.sends(), NOW)

    def test_a_later_one_that_does_not_count_silences_nobody(self) -> None:
        forged = the_list(certs.root("Revoking Line", label="impostor"), number=9)
        refused(judge(the_list(ROOT), the_list(LINE, SERIAL), forged))

    def test_a_delta_adds_and_takes_back(self) -> None:
        base = the_list(LINE, number=5)
        adds = scoped(LINE, SERIAL, number=6, delta_of=5, reason=x509.ReasonFlags.superseded)
        refusal = refused(judge(the_list(ROOT), _without_key_id(base), adds))
        assert "delta list 6" in refusal.message and "superseded" in refusal.message
        held = scoped(LINE, SERIAL, number=5)
        takes_back = scoped(LINE, SERIAL, number=6, delta_of=5, reason=x509.ReasonFlags.remove_from_crl)
        judge(the_list(ROOT), held, takes_back).validate(PUMP.sends(), NOW)
        refused(judge(the_list(ROOT), held))

    def test_a_delta_that_does_not_continue_the_list(self) -> None:
        held = scoped(LINE, SERIAL, number=5)
        for number, delta_of in ((9, 6), (5, 4)):
            stray = scoped(LINE, SERIAL, number=number, delta_of=delta_of, reason=x509.ReasonFlags.remove_from_crl)
            refused(judge(the_list(ROOT), held, stray))

    def test_a_fresh_delta_keeps_an_old_list_in_use(self) -> None:
        old = scoped(LINE, number=5, now=NOW - 2 * WEEK)
        fresh = scoped(LINE, number=6, delta_of=5)
        judge(the_list(ROOT), old, fresh).validate(PUMP.sends(), NOW)
        refused(judge(the_list(ROOT), old), reason="chain.revocation_unknown")

    def test_two_lists_that_share_the_reasons(self) -> None:
        some = frozenset({x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise})
        others = frozenset(
            set(x509.ReasonFlags) - some - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
        )
        first, second = scoped(LINE, only_some_reasons=some), scoped(LINE, only_some_reasons=others)
        judge(the_list(ROOT), first, second).validate(PUMP.sends(), NOW)
        refused(judge(the_list(ROOT), first, scoped(LINE, SERIAL, only_some_reasons=others)))

    def test_the_distribution_point_that_the_certificate_names(self) -> None:
        names = [x509.UniformResourceIdentifier(f"http://lists.example/{shard}") for shard in (1, 2)]
        point = x509.DistributionPoint([names[0]], None, None, None)
        leaf = certs.odd("pump-01", issuer=LINE, extensions=[(x509.CRLDistributionPoints([point]), False)])
        device = Issued(leaf, certs.key_of("odd"), LINE.fullchain)
        right, wrong = scoped(LINE, full_name=[names[0]]), scoped(LINE, full_name=[names[1]])
        judge(the_list(ROOT), right, wrong).validate(device.sends(), NOW)
        refused(judge(the_list(ROOT), wrong), device, "chain.revocation_unknown")
        refused(judge(the_list(ROOT), scoped(LINE, leaf.serial_number, full_name=[names[0]])), device)

    def test_a_list_of_another_issuer_that_the_certificate_names_has_to_be_indirect(self) -> None:
        point = x509.DistributionPoint(None, None, None, [x509.DirectoryName(ROOT.certificate.x509.subject)])
        leaf = certs.odd("pump-01", issuer=LINE, extensions=[(x509.CRLDistributionPoints([point]), False)])
        device = Issued(leaf, certs.key_of("odd"), LINE.fullchain)
        refusal = refused(judge(the_list(ROOT)), device, "chain.revocation_unknown")
        assert "is not indirect, and the certificate is another issuer's" in refusal.message
        judge(the_list(ROOT), the_list(LINE)).validate(device.sends(), NOW)

    def test_a_point_relative_to_the_issuer_of_the_list(self) -> None:
        line = LINE.certificate.x509.subject
        shards = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"shard {shard}")]) for shard in (1, 2)]
        point = x509.DistributionPoint(None, shards[0].rdns[0], None, [x509.DirectoryName(line)])
        leaf = certs.odd("pump-01", issuer=LINE, extensions=[(x509.CRLDistributionPoints([point]), False)])
        device = Issued(leaf, certs.key_of("odd"), LINE.fullchain)

        def listed(shard: x509.Name, *serials: int) -> RevocationList:
            whole = x509.DirectoryName(x509.Name([*line.rdns, *shard.rdns]))
            return scoped(LINE, *serials, full_name=[whole], indirect_crl=True)

        judge(the_list(ROOT), listed(shards[0])).validate(device.sends(), NOW)
        refused(judge(the_list(ROOT), listed(shards[0], leaf.serial_number)), device)
        refused(judge(the_list(ROOT), listed(shards[1])), device, "chain.revocation_unknown")
        # A list may name its own point in the same way.
        own = scoped(LINE, leaf.serial_number, relative_name=shards[0].rdns[0], indirect_crl=True)
        refused(judge(the_list(ROOT), own), device)


class TestSigners:
    """A CA that signs its lists with a key of their own, and one whose key was rolled over."""

    def signer(self, issuer: Issued = ROOT, label: str = "lists") -> Issued:
        return certs.intermediate(issuer, "Revoking Line", label=label)

    def test_one_that_is_known_and_valid(self) -> None:
        signer = self.signer()
        validator = judge(the_list(ROOT), the_list(signer), signers=(signer,))
        for _ in range(3):
            validator.validate(PUMP.sends(), NOW)
        refused(judge(the_list(ROOT), the_list(signer, SERIAL), signers=(signer,)))

    def test_one_that_is_revoked(self) -> None:
        signer = self.signer()
        lists = the_list(ROOT, signer.certificate.serial_number), the_list(signer)
        refused(judge(*lists, signers=(signer,)), reason="chain.revocation_unknown")

    def test_one_whose_own_status_is_not_known(self) -> None:
        signer = self.signer()
        refused(judge(the_list(signer), signers=(signer,), root="soft"), reason="chain.revocation_unknown")

    def test_one_that_a_ca_beside_the_path_made(self) -> None:
        """Who may issue CAs somewhere below names one like the CA above it."""
        beside = certs.intermediate(ROOT, "Revoking Beside")
        impostor = certs.intermediate(beside, "Revoking Line", label="impostor")
        known, signers = (the_list(ROOT), the_list(beside)), (impostor, beside)
        refused(judge(*known, the_list(LINE, SERIAL), the_list(impostor, number=9), signers=signers))
        refused(judge(*known, the_list(impostor, SERIAL), signers=signers), reason="chain.revocation_unknown")

    def test_one_that_the_ca_made_itself(self) -> None:
        """A key that is rolled over: self-issued (RFC 5280 6.1)."""
        own = certs.intermediate(LINE, "Revoking Line", label="next key")
        refused(judge(the_list(ROOT), the_list(LINE), the_list(own, SERIAL, number=2), signers=(own,)))

    def test_one_under_another_root(self) -> None:
        stranger = self.signer(certs.root("Another Root"))
        refused(judge(the_list(ROOT), the_list(stranger), signers=(stranger,)), reason="chain.revocation_unknown")

    def test_one_that_nobody_knows(self) -> None:
        refused(judge(the_list(ROOT), the_list(self.signer())), reason="chain.revocation_unknown")

    def test_one_that_has_ended_since(self) -> None:
        signer = certs.intermediate(ROOT, "Revoking Line", label="short", lifetime=timedelta(days=1))
        lists = the_list(ROOT, life=4 * WEEK), the_list(signer, life=4 * WEEK)
        validator = judge(*lists, signers=(signer,))
        validator.validate(PUMP.sends(), NOW)
        refused(validator, reason="chain.revocation_unknown", now=NOW + timedelta(days=2))


class TestMemory:
    """A path that is known is asked for revocation each time."""

    def test_time_goes_on(self) -> None:
        validator = judge(*ALL_GOOD)
        validator.validate(PUMP.sends(), NOW)
        refused(validator, reason="chain.revocation_unknown", now=LATER)
        validator.validate(PUMP.sends(), NOW)

    def test_it_is_bounded_and_what_was_forgotten_is_found_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listed_revocation, "_MAX_VERIFIED", 1)
        monkeypatch.setattr(listed_revocation, "_MAX_VALIDATORS", 1)
        plants = [certs.root(f"Bounded Root {number}") for number in (1, 2)]
        lines = [certs.intermediate(plant, f"Bounded Line {number}") for number, plant in enumerate(plants)]
        keys = [certs.intermediate(plant, f"Bounded Line {at}", label="lists") for at, plant in enumerate(plants)]
        devices = [certs.device(line) for line in lines]
        lists = [*(the_list(plant) for plant in plants), *(the_list(key) for key in keys)]
        revocation = ListedRevocation(lists, signers=[key.certificate for key in keys])
        for _ in range(2):
            for pump in devices:
                assert revocation.status(pump.fullchain, 0, NOW) == GOOD
            assert len(revocation._verified) == len(revocation._validators) == len(revocation._paths) == 1

    def test_status_says_the_same_for_a_known_path(self) -> None:
        revocation = ListedRevocation([the_list(ROOT), the_list(LINE, SERIAL, reason="unspecified")])
        first, again = (revocation.status(PUMP.fullchain, 0, NOW) for _ in range(2))
        assert isinstance(first, Revoked) and first == again and first.reason == "unspecified" and first.date == NOW
        assert revocation.status(PUMP.fullchain, 1, NOW) == GOOD

    def test_someone_whose_answer_changes(self) -> None:
        """The port may be anything: what it says now is what counts now."""

        class Changing:
            answer: object = GOOD

            def policy(self, issuer: object) -> Policy:
                return "hard"

            def status(self, path: object, position: int, now: object) -> object:
                return self.answer

        changing = Changing()
        validator = Validator(TrustAnchors([ROOT.certificate]), revocation=changing)  # type: ignore[arg-type]  # as above
        validator.validate(PUMP.sends(), NOW)
        changing.answer = Revoked("superseded", NOW, "a test")
        refused(validator)
        changing.answer = Unknown("nobody is asked")
        refused(validator, reason="chain.revocation_unknown")
        changing.answer = GOOD
        validator.validate(PUMP.sends(), NOW)


def _without_key_id(found: RevocationList) -> RevocationList:
    """A delta continues a list of the same key identifier; those of `scoped` have none."""
    return scoped(LINE, number=found.number)

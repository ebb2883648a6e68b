"""What a chain, a CA and a proof that are refused tell their operator, word for word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.issue import issue_root, issue_verification
from moorage.pki.keys import make_key
from moorage.pki.policy import MAX_CERTIFICATES, MAX_CHAIN_BYTES, MAX_SIGNATURE_CHECKS, check_ca, check_pinned
from moorage.pki.possession import check_possession, make_code
from moorage.pki.requirements import Asked, not_a_ca, usage_name, wrong_usage
from moorage.pki.revocation import GOOD, Policy, Revoked, Status, Unknown
from moorage.pki.validator import TrustAnchors, Validator
from moorage.pki.zoo import ACCEPTED, SPECIMENS, Breeder
from tests import certs
from tests.certs import IS_A_CA, NOW, Issued, odd
from tests.unit.told import compare, refusal_lines

HERE: Final = Path(__file__).parent
ROOT: Final = certs.root("Told Root")
LINE: Final = certs.intermediate(ROOT, "Told Line")
PUMP: Final = certs.device(LINE)
SECOND: Final = timedelta(seconds=1)


@dataclass
class Says:
    """Answers for each certificate of a path, by its place; and the policy of every issuer."""

    answers: Sequence[Status]
    by: Sequence[Policy]

    def policy(self, issuer: Certificate) -> Policy:
        return self.by[0] if issuer == LINE.certificate else self.by[-1]

    def status(self, path: Sequence[Certificate], position: int, now: datetime) -> Status:
        return self.answers[position]


def judged(chain: PeerChain, *anchors: Certificate, now: datetime = NOW, **more: object) -> Callable[[], object]:
    validator = Validator(TrustAnchors(anchors or [ROOT.certificate]), **more)  # type: ignore[arg-type] # as it takes
    return lambda: validator.validate(chain, now)


def test_every_specimen_of_the_zoo() -> None:
    lines: list[str] = []
    key = make_key()
    ca = issue_root(key, "Zoo Root", now=NOW, lifetime=timedelta(days=60))
    breeder = Breeder(ca, key, "zoo-01", NOW)
    for name, species in SPECIMENS.items():
        bred = species.breed(breeder)
        chain = PeerChain.of(bred.chain)
        validator = Validator(TrustAnchors([ca]))
        # Names are compared by the identity's judge, and nobody here knows of revocation.
        if species.reason in (ACCEPTED, "chain.revoked") or species.reason.startswith("identity."):
            assert validator.validate(chain, NOW).leaf == bred.chain[0]
        else:
            lines += refusal_lines(name, lambda: validator.validate(chain, NOW))  # noqa: B023  # called here
    compare(HERE / "zoo_told.txt", lines)


def test_chains_that_no_path_leads_up_from() -> None:
    lines: list[str] = []

    def told(title: str, refused: Callable[[], object]) -> None:
        lines.extend(refusal_lines(title, refused))

    told("nothing", judged(PeerChain(())))
    told("too many", judged(PeerChain(PUMP.sends().certificates * (MAX_CERTIFICATES // 2 + 1))))
    told("too large", judged(PeerChain((bytes(MAX_CHAIN_BYTES + 1),))))
    told("garbage first", judged(PeerChain((b"garbage",))))
    told("garbage behind it", judged(PeerChain((PUMP.certificate.der, b"garbage"))))
    told("its issuer is missing", judged(PUMP.sends(1)))
    told("no anchors at all", _without_anchors())
    told("a root that nobody knows", judged(certs.device(certs.root("Stranger")).sends(2)))
    told("a root of a known name", judged(certs.device(certs.root("Told Root", label="fake")).sends(2)))
    told("the key of another", judged(certs.device(certs.root("Told Root", label="fake")).sends(1)))
    told("self-signed", judged(certs.self_signed().sends()))
    known_root = certs.root("Known")
    known = Validator(TrustAnchors([ROOT.certificate], [known_root.certificate]))
    told("a root that is known and not trusted", lambda: known.validate(certs.device(known_root).sends(2), NOW))
    other = certs.root("Other").certificate
    told("below another of the CAs", judged(certs.device(certs.root("Stranger")).sends(2), ROOT.certificate, other))
    told("no issuer's name", judged(PeerChain((odd(issuer=ROOT, issuer_name=x509.Name([])).der,))))
    deep = [ROOT]
    for depth in range(MAX_CERTIFICATES):
        deep.append(certs.intermediate(deep[-1], f"Deep {depth}"))
    leaf = certs.device(deep[-1])
    above = Validator(TrustAnchors([ROOT.certificate], leaf.signers))
    told("a path that is too long", lambda: above.validate(leaf.sends(1), NOW))
    # The highest CA that is reached has two certificates.
    again = certs.intermediate(deep[1], "Deep 1").certificate
    ways = Validator(TrustAnchors([ROOT.certificate], [*leaf.signers, again]))
    told("two paths that are too long", lambda: ways.validate(leaf.sends(1), NOW))
    twins = [certs.root("Twin", label=str(number)).certificate for number in range(20)]
    weak = [odd("Weak", key=certs.weak_rsa_key(), extensions=[(IS_A_CA, True)], serial=number) for number in (1, 2)]
    below_weak = PeerChain((odd(issuer=Issued(weak[0], certs.weak_rsa_key())).der,))
    told("two of one name whose keys are weak", judged(below_weak, *weak))
    fake = certs.root("Told Root", label="fake")
    told("a line by the key of another", judged(certs.device(certs.intermediate(fake, "Told Line")).sends(2)))
    told("self-signed under the name of a CA", judged(PeerChain((odd("Told Root").der,))))
    stranger = certs.root("Stranger")
    crossed = [certs.intermediate(each, "Crossed") for each in (stranger, certs.root("Other stranger"))]
    both_crossed = [certs.device(crossed[0]).certificate, *(each.certificate for each in crossed)]
    told("two ways up to nobody", judged(PeerChain.of(both_crossed)))
    told("too many of one name", judged(certs.device(certs.root("Twin", label="x")).sends(1), *twins))
    told("too many lines of one name", lambda: _among_lines(MAX_SIGNATURE_CHECKS - 1).validate(_below_the_line(), NOW))
    told("more intermediates than are followed", judged(PUMP.sends(), max_intermediates=0))
    two = ROOT.certificate, fake.certificate
    told("more intermediates than are followed, and another CA", judged(PUMP.sends(), *two, max_intermediates=0))
    told("for servers", judged(PUMP.sends(), usage=ExtendedKeyUsageOID.SERVER_AUTH))
    ended = Issued(odd("Ended Root", not_after=NOW - SECOND, extensions=[(IS_A_CA, True)]), certs.key_of("odd"))
    line = certs.intermediate(ended, "Line of two")
    twin = odd("Line of two", issuer=ROOT, key=line.key, not_after=NOW - SECOND, extensions=[(IS_A_CA, True)])
    two_lines = PeerChain.of([odd(issuer=line), twin, line.certificate])
    told("the way that came further", judged(two_lines, ended.certificate, ROOT.certificate))
    cross = odd("Told Root", issuer=line, key=fake.key, extensions=[(IS_A_CA, True)])
    two_roots = PeerChain.of([certs.device(fake).certificate, fake.certificate, cross, line.certificate])
    told("the way that came further than a root", judged(two_roots, ended.certificate, ROOT.certificate))
    told("an intermediate that has ended", judged(_below_an_ended_line()))
    compare(HERE / "chains_told.txt", lines)


def _without_anchors() -> Callable[[], object]:
    validator = Validator(TrustAnchors([]))
    return lambda: validator.validate(PUMP.sends(3), NOW)


def _among_lines(others: int) -> Validator:
    """Which knows so many other CAs of that name, all of which would be tried before it."""
    fakes = [certs.intermediate(ROOT, "Told Line", label=str(number)).certificate for number in range(others)]
    return Validator(TrustAnchors([ROOT.certificate], [*fakes, LINE.certificate]))


def _below_the_line() -> PeerChain:
    return PeerChain((odd(issuer=LINE).der,))


def test_as_many_signatures_as_are_allowed_are_looked_at() -> None:
    assert _among_lines(MAX_SIGNATURE_CHECKS - 2).validate(_below_the_line(), NOW).path[1] == LINE.certificate


def _below_an_ended_line() -> PeerChain:
    line = odd("Ended Line", issuer=ROOT, not_after=NOW - timedelta(minutes=1), extensions=[(IS_A_CA, True)])
    return PeerChain((odd(issuer=Issued(line, certs.key_of("odd"))).der, line.der))


def test_what_is_revoked_or_not_known_to_be_good() -> None:
    lines: list[str] = []
    date = datetime(2026, 3, 1, tzinfo=UTC)
    revoked, unknown = Revoked("keyCompromise", date, "list 7 of 'CN=Told Line'"), Unknown("nobody published a list")

    def asked(answers: Sequence[Status], *by: Policy) -> Validator:
        return Validator(TrustAnchors([ROOT.certificate]), revocation=Says(answers, by))

    serial = f"{PUMP.certificate.serial_number:X}"
    line_serial = f"{LINE.certificate.serial_number:X}"
    for title, answers, by in (
        ("revoked", [revoked, GOOD], ["hard"]),
        ("its CA is revoked", [GOOD, revoked], ["soft"]),
        ("its CA is revoked, and of it nobody knows", [unknown, revoked], ["soft"]),
        ("nobody knows", [unknown, GOOD], ["hard"]),
        ("of its CA nobody knows", [GOOD, unknown], ["soft", "hard"]),
        ("nobody looks, and its CA is revoked", [revoked, revoked], ["off", "soft"]),
    ):
        validator = asked(answers, *by)  # type: ignore[arg-type] # each a policy
        lines += refusal_lines(title, lambda: validator.validate(PUMP.sends(), NOW))  # noqa: B023  # called here
    renewed = certs.intermediate(ROOT, "Told Line").certificate
    twice = PeerChain.of([PUMP.certificate, LINE.certificate, renewed])
    lines += refusal_lines("revoked, whichever way up", lambda: asked([revoked, GOOD], "soft").validate(twice, NOW))
    lines = [line.replace(line_serial, "<serial>").replace(serial, "<serial>") for line in lines]
    compare(HERE / "revocation_told.txt", lines)

    # Who is let in all the same: by the long way and by the short one.
    let_in: list[tuple[list[Status], list[Policy], list[tuple[str, bool | None, str]]]] = [
        ([GOOD, GOOD], ["hard"], [("chain.revoked", True, "")] * 2),
        ([unknown, GOOD], ["soft"], [_unknown(PUMP), ("chain.revoked", True, "")]),
        ([GOOD, unknown], ["soft"], [("chain.revoked", True, ""), _unknown(LINE)]),
        ([revoked, GOOD], ["off", "hard"], [("chain.revoked", True, "")]),
        ([revoked, revoked], ["off"], []),
    ]
    for passing, policies, found in let_in:
        validator = asked(passing, *policies)
        for _ in range(2):
            said = validator.validate(PUMP.sends(), NOW).revocation
            assert [(check.name, check.passed, check.detail) for check in said] == found


def _unknown(issued: Issued) -> tuple[str, None, str]:
    subject = issued.certificate.subject
    return "chain.revocation_unknown", None, f"whether '{subject}' is revoked is not known: nobody published a list"


def test_cas_pinned_certificates_and_proofs() -> None:
    lines: list[str] = []
    line_only = x509.BasicConstraints(True, None)
    for title, certificate, now in (
        ("no CA", PUMP.certificate, NOW),
        ("a CA without a subject", odd(x509.Name([]), extensions=[(line_only, True)]), NOW),
        ("a CA of tomorrow", ROOT.certificate, NOW - timedelta(days=1)),
        ("a CA of yesterday", ROOT.certificate, ROOT.certificate.not_after + timedelta(days=1)),
        (
            "a CA for servers",
            odd(extensions=[(line_only, True), (_usage(ExtendedKeyUsageOID.SERVER_AUTH), False)]),
            NOW,
        ),
        ("a CA on an odd curve", odd(key=certs.odd_curve_key(), extensions=[(line_only, True)]), NOW),
        ("a CA with a weak key", odd(key=certs.weak_rsa_key(), extensions=[(line_only, True)]), NOW),
    ):
        lines += refusal_lines(title, lambda: check_ca(certificate, now))  # noqa: B023  # called here
    own = certs.self_signed()
    for title, chain, now in (
        ("pinned, nothing", PeerChain(()), NOW),
        ("pinned, garbage", PeerChain((b"garbage",)), NOW),
        ("pinned, tomorrow's", own.sends(), NOW - timedelta(days=1)),
        ("pinned, yesterday's", own.sends(), own.certificate.not_after + timedelta(seconds=1)),
        ("pinned, weak", PeerChain((odd(key=certs.weak_rsa_key()).der,)), NOW),
    ):
        lines += refusal_lines(title, lambda: check_pinned(chain, now))  # noqa: B023  # called here
    code = make_code()
    fake, proof = certs.root("Told Root", label="fake"), _proof(ROOT, code)
    by_rsa = certs.root("Told RSA Root", kind="rsa-2048")
    for title, ca, given, asked, expires, now in (
        ("no code", ROOT, proof, None, None, NOW),
        ("an old code", ROOT, proof, code, NOW - timedelta(seconds=1), NOW),
        ("by another CA", ROOT, _proof(LINE, code), code, None, NOW),
        ("by another key", ROOT, _proof(fake, code), code, None, NOW),
        ("signed in a weak way", by_rsa, odd(code, issuer=by_rsa, algorithm=hashes.SHA224()), code, None, NOW),
        ("for another code", ROOT, _proof(ROOT, "A" * 48), code, None, NOW),
        ("a proof of tomorrow", ROOT, proof, code, None, NOW - timedelta(days=1)),
        ("a proof of yesterday", ROOT, proof, code, None, proof.not_after + timedelta(seconds=1)),
    ):
        told = refusal_lines(
            title,
            lambda: check_possession(ca.certificate, given, code=asked, code_expires=expires, now=now),  # noqa: B023  # called here
        )
        lines += [each.replace(code, "<code>").replace("A" * 48, "<other code>") for each in told]
    compare(HERE / "cas_told.txt", lines)


def _proof(ca: Issued, code: str) -> Certificate:
    return issue_verification(ca.certificate, ca.key, code, now=NOW, backdate=timedelta(0))


def _usage(*purposes: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(purposes)


def test_words_for_what_has_no_name_here() -> None:
    odd_purpose = x509.ObjectIdentifier("1.3.6.1.4.1.99999.2")
    assert usage_name(odd_purpose) == "1.3.6.1.4.1.99999.2"
    assert usage_name(ExtendedKeyUsageOID.CLIENT_AUTH) == "client authentication"
    asked = Asked(NOW, odd_purpose)
    for_nothing = odd(extensions=[(_usage(ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING), False)])
    assert wrong_usage(for_nothing, asked) == (
        "'CN=pump-01' may be used for OCSP signing, time stamping, not for 1.3.6.1.4.1.99999.2"
    )
    assert wrong_usage(for_nothing, Asked(NOW, None)) is None
    assert not_a_ca(PUMP.certificate, Asked(NOW, None)) == (
        "'CN=pump-01' is not a CA (basicConstraints CA:TRUE is missing)"
    )
    assert not_a_ca(PUMP.certificate, Asked(NOW, None, (for_nothing,))) == (
        "'CN=pump-01' signed 'CN=pump-01' but is not a CA (basicConstraints CA:TRUE is missing)"
    )

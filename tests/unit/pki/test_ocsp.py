"""OCSP: what is asked, and every way in which an answer is none."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.listed_revocation import ListedRevocation
from moorage.pki.ocsp import MAX_AGE, MAX_RESPONSE_BYTES, NONCE_BYTES, make_request, read_response
from moorage.pki.revocation import GOOD, Revoked, Status, Unknown
from tests import certs
from tests.certs import NOW, Issued
from tests.unit.pki.lists import the_list

ROOT = certs.root("OCSP Root")
PUMP = certs.device(ROOT)
NONCE = bytes(range(NONCE_BYTES))
SIGNS_ANSWERS = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
DAY = timedelta(days=1)


def answer(
    *,
    by: Issued = ROOT,
    about: Certificate = PUMP.certificate,
    issuer: Certificate = ROOT.certificate,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    reason: x509.ReasonFlags | None = None,
    made: datetime = NOW,
    due: datetime | None = NOW + DAY,
    nonce: bytes | None = NONCE,
    sent: tuple[Issued, ...] = (),
    critical: bool = False,
    algorithm: hashes.SHA1 | hashes.SHA256 | None = None,
    signed_with: hashes.SHA224 | hashes.SHA256 | None = None,
) -> bytes:
    builder = ocsp.OCSPResponseBuilder().add_response(
        about.x509,
        issuer.x509,
        algorithm or hashes.SHA1(),
        status,
        made,
        due,
        NOW - DAY if status is ocsp.OCSPCertStatus.REVOKED else None,
        reason,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate.x509)
    if sent:
        builder = builder.certificates([each.certificate.x509 for each in sent])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    made_by = builder.sign(by.key, signed_with or hashes.SHA256())
    return made_by.public_bytes(serialization.Encoding.DER)


def read(data: bytes, *, now: datetime = NOW, revocation: ListedRevocation | None = None) -> Status:
    return read_response(data, PUMP.certificate, ROOT.certificate, NONCE, now, revocation=revocation).status


def refused(data: bytes, reason: str, *, now: datetime = NOW, revocation: ListedRevocation | None = None) -> str:
    with pytest.raises(Invalid) as caught:
        read(data, now=now, revocation=revocation)
    assert caught.value.reason == reason
    return caught.value.message


def responder(*extensions: tuple[x509.ExtensionType, bool], issuer: Issued = ROOT, name: str = "Responder") -> Issued:
    return Issued(certs.odd(name, issuer=issuer, extensions=extensions), certs.key_of("odd"))


class TestAnswers:
    def test_good(self) -> None:
        assert read(answer()) == GOOD
        assert read(answer(algorithm=hashes.SHA256())) == GOOD

    def test_revoked(self) -> None:
        status = read(answer(status=ocsp.OCSPCertStatus.REVOKED, reason=x509.ReasonFlags.key_compromise))
        assert isinstance(status, Revoked)
        assert (status.reason, status.date) == ("keyCompromise", NOW - DAY)
        assert status.source.startswith("the OCSP responder of 'CN=OCSP Root'")
        status = read(answer(status=ocsp.OCSPCertStatus.REVOKED))
        assert isinstance(status, Revoked) and status.reason == "unspecified"

    @pytest.mark.parametrize("shown", [NOW, NOW + DAY, NOW - DAY])
    def test_a_year_that_is_in_no_calendar_makes_it_no_answer(self, shown: datetime) -> None:
        root = certs.root("OCSP Calendar", kind="rsa-2048")
        pump = certs.device(root)
        data = answer(
            by=root, about=pump.certificate, issuer=root.certificate, status=ocsp.OCSPCertStatus.REVOKED, made=NOW
        )
        # When it was made stands before it too, at the head of the whole answer.
        date = f"{shown:%Y%m%d%H%M%S}Z".encode()
        head, _, tail = data.rpartition(date)
        odd = head + b"0000" + date[4:] + tail
        before = ocsp.load_der_ocsp_response(data).signature
        signed = ocsp.load_der_ocsp_response(odd).tbs_response_bytes
        assert isinstance(root.key, rsa.RSAPrivateKey)
        odd = odd.replace(before, root.key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))
        with pytest.raises(Invalid) as caught:
            read_response(odd, pump.certificate, root.certificate, NONCE, NOW)
        assert caught.value.reason == "ocsp.malformed"

    def test_unknown(self) -> None:
        assert isinstance(read(answer(status=ocsp.OCSPCertStatus.UNKNOWN)), Unknown)

    @pytest.mark.parametrize("kind", ["rsa-2048", "ec-p384"])
    def test_by_other_keys(self, kind: str) -> None:
        root = certs.root("OCSP Other", kind=kind)
        pump = certs.device(root)
        data = answer(by=root, about=pump.certificate, issuer=root.certificate)
        assert read_response(data, pump.certificate, root.certificate, NONCE, NOW).status == GOOD

    def test_without_a_nonce_dates_decide(self) -> None:
        assert read(answer(nonce=None)) == GOOD

    def test_by_a_responder_of_the_issuer(self) -> None:
        delegated = responder(SIGNS_ANSWERS)
        assert read(answer(by=delegated, sent=(ROOT, delegated))) == GOOD

    def test_by_a_responder_of_whom_is_known_that_it_is_not_revoked(self) -> None:
        delegated = responder(SIGNS_ANSWERS)
        assert read(answer(by=delegated, sent=(delegated,)), revocation=ListedRevocation([the_list(ROOT)])) == GOOD

    def test_by_an_ed25519_key(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        root = Issued(certs.odd("OCSP Edwards", key=key, extensions=[(certs.IS_A_CA, True)]), key)
        pump = certs.device(root)
        built = ocsp.OCSPResponseBuilder().add_response(
            pump.certificate.x509, root.certificate.x509, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, NOW, None, None, None
        )
        built = built.responder_id(ocsp.OCSPResponderEncoding.HASH, root.certificate.x509)
        data = built.sign(key, None).public_bytes(serialization.Encoding.DER)
        assert read_response(data, pump.certificate, root.certificate, NONCE, NOW).status == GOOD
        other = certs.odd("OCSP Edwards", key=ed25519.Ed25519PrivateKey.generate(), extensions=[(certs.IS_A_CA, True)])
        with pytest.raises(Invalid, match="nor that of a responder"):
            read_response(data, pump.certificate, other, NONCE, NOW)

    def test_openssl_answers_our_question(self, tmp_path: Path) -> None:
        (tmp_path / "request.der").write_bytes(make_request(PUMP.certificate, ROOT.certificate, NONCE))
        (tmp_path / "index.txt").write_text(
            f"R\t360101000000Z\t251123080000Z,superseded\t{PUMP.certificate.serial_number:X}\tunknown\t/CN=pump-01\n"
        )
        (tmp_path / "ca.pem").write_text(ROOT.certificate.pem)
        (tmp_path / "key.pem").write_bytes(ROOT.key_pem())
        done = subprocess.run(
            "openssl ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey key.pem -reqin request.der "
            "-respout answer.der -ndays 1".split(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # openssl dates its answer by the machine's clock, which has gone on since the tests began.
        status = read((tmp_path / "answer.der").read_bytes(), now=datetime.now(UTC))
        assert isinstance(status, Revoked) and status.reason == "superseded"


class TestRefused:
    def test_somebody_elses_signature(self) -> None:
        refused(answer(by=certs.root("OCSP Root", label="impostor")), "ocsp.signer")

    def test_a_responder_that_the_issuer_did_not_make_one(self) -> None:
        for wrong, why in [
            (responder(), "not for OCSP signing"),
            (responder(SIGNS_ANSWERS, issuer=certs.root("Another")), "did not issue its certificate"),
            (responder(SIGNS_ANSWERS, issuer=certs.root("OCSP Root", label="impostor")), "did not issue"),
            (responder(SIGNS_ANSWERS, (certs.key_usage(key_cert_sign=True), True)), "without digitalSignature"),
            (
                responder(SIGNS_ANSWERS, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)),
                "critical extension 1.2.3.4",
            ),
        ]:
            assert why in refused(answer(by=wrong, sent=(wrong,)), "ocsp.signer")

    def test_a_responder_whose_certificate_is_weakly_signed(self) -> None:
        made = certs.odd("Responder", issuer=ROOT, extensions=[SIGNS_ANSWERS], algorithm=hashes.SHA224())
        weak = Issued(made, certs.key_of("odd"))
        assert "signed with ECDSA and SHA-224" in refused(answer(by=weak, sent=(weak,)), "ocsp.signer")

    def test_a_responder_that_has_ended(self) -> None:
        delegated = responder(SIGNS_ANSWERS)
        later = NOW + certs.LIFETIME + DAY
        data = answer(by=delegated, sent=(delegated,), made=later, due=later + DAY)
        assert "is valid from" in refused(data, "ocsp.signer", now=later)
        last = delegated.certificate.not_after + timedelta(microseconds=999_999)
        data = answer(by=delegated, sent=(delegated,), made=last.replace(microsecond=0), due=last + DAY)
        assert read(data, now=last) == GOOD

    def test_a_responder_that_is_revoked(self) -> None:
        plain = responder(SIGNS_ANSWERS)
        exempt = responder(SIGNS_ANSWERS, (x509.OCSPNoCheck(), False))
        revocation = ListedRevocation(
            [the_list(ROOT, plain.certificate.serial_number, exempt.certificate.serial_number)]
        )
        assert "is revoked" in refused(answer(by=plain, sent=(plain,)), "ocsp.signer", revocation=revocation)
        assert read(answer(by=exempt, sent=(exempt,)), revocation=revocation) == GOOD

    def test_another_nonce(self) -> None:
        refused(answer(nonce=b"another"), "ocsp.nonce")

    def test_another_certificate(self) -> None:
        other = certs.device(ROOT, "fan-01").certificate
        refused(answer(about=other), "ocsp.other_certificate")
        namesake = certs.root("OCSP Root", label="impostor").certificate
        refused(answer(issuer=namesake), "ocsp.other_certificate")

    @pytest.mark.parametrize("algorithm", [hashes.SHA224(), hashes.SHA512()])
    def test_it_is_named_by_a_hash_that_nobody_uses(self, algorithm: hashes.HashAlgorithm) -> None:
        data = answer(algorithm=algorithm)  # type: ignore[arg-type]  # any hash is tried here
        if isinstance(algorithm, hashes.SHA512):
            assert read(data) == GOOD
        else:
            refused(data, "ocsp.other_certificate")

    def test_dates(self) -> None:
        assert "too old" in refused(answer(), "ocsp.stale", now=NOW + 2 * DAY)
        assert "future" in refused(answer(), "ocsp.stale", now=NOW - DAY)
        assert read(answer(due=None), now=NOW + MAX_AGE) == GOOD
        assert "it was made at" in refused(answer(due=None), "ocsp.stale", now=NOW + MAX_AGE + DAY)

    def test_a_critical_extension(self) -> None:
        assert "1.3.6.1.4.1.99999.1" in refused(answer(critical=True), "ocsp.critical_extension")

    def test_a_weak_signature(self) -> None:
        refused(answer(signed_with=hashes.SHA224()), "ocsp.weak_signature")

    def test_no_answer(self) -> None:
        later = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
        assert "try_later" in refused(later.public_bytes(serialization.Encoding.DER), "ocsp.unsuccessful")

    def test_garbage(self) -> None:
        refused(b"", "ocsp.malformed")
        refused(os.urandom(40), "ocsp.malformed")
        refused(bytes(MAX_RESPONSE_BYTES + 1), "ocsp.too_large")

    @given(st.data())
    def test_changed_anywhere_it_is_not_believed(self, data: st.DataObject) -> None:
        good = DELEGATED
        at = data.draw(st.integers(0, len(good) - 1))
        changed = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
        try:
            status = read(changed)
        except Invalid as refusal:
            assert refusal.reason.startswith("ocsp.")
        else:
            # What is not signed may differ: how the responder's certificate is wrapped, say.
            assert status == GOOD and ocsp.load_der_ocsp_response(changed).tbs_response_bytes == TBS


_RESPONDER = responder(SIGNS_ANSWERS)
DELEGATED = answer(by=_RESPONDER, sent=(_RESPONDER,))
TBS = ocsp.load_der_ocsp_response(DELEGATED).tbs_response_bytes


def test_a_question_names_the_certificate_and_carries_the_nonce() -> None:
    request = ocsp.load_der_ocsp_request(make_request(PUMP.certificate, ROOT.certificate, NONCE))
    assert request.serial_number == PUMP.certificate.serial_number
    assert [each.value.nonce for each in request.extensions if isinstance(each.value, x509.OCSPNonce)] == [NONCE]

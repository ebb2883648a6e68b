from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_verification
from moorage.pki.possession import check_possession, make_code
from tests.certs import NOW, Issued, device, intermediate, odd, root, weak_rsa_key

CODE = make_code()
ROOT = root()


def proof_by(ca: Issued, code: str = CODE, *, now: datetime = NOW) -> Certificate:
    return issue_verification(ca.certificate, ca.key, code, now=now, backdate=timedelta(0))


def refused(
    proof: Certificate,
    *,
    ca: Certificate = ROOT.certificate,
    code: str | None = CODE,
    code_expires: datetime | None = None,
    now: datetime = NOW,
) -> Invalid:
    with pytest.raises(Invalid) as caught:
        check_possession(ca, proof, code=code, code_expires=code_expires, now=now)
    assert caught.value.checks[-1].name == caught.value.reason
    return caught.value


class TestCodes:
    def test_fit_a_common_name_and_cannot_be_guessed(self) -> None:
        codes = {make_code() for _ in range(200)}
        assert len(codes) == 200
        for code in codes:
            assert len(code) == 48
            assert int(code, 16).bit_length() > 128
            assert code == code.upper()

    def test_no_command_line_takes_one_for_a_number(self) -> None:
        assert all(make_code()[0].isalpha() for _ in range(200))


class TestAccepted:
    @pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
    def test_signed_by_the_cas_key(self, kind: str) -> None:
        ca = root("Any Root", kind=kind)
        check_possession(ca.certificate, proof_by(ca), code=CODE, code_expires=NOW + timedelta(days=1), now=NOW)

    def test_for_an_intermediate(self) -> None:
        line = intermediate(ROOT)
        check_possession(line.certificate, proof_by(line), code=CODE, now=NOW)

    def test_extensions_do_not_matter(self) -> None:
        check_possession(ROOT.certificate, odd(CODE, issuer=ROOT), code=CODE, now=NOW)

    def test_until_its_last_second(self) -> None:
        check_possession(ROOT.certificate, proof_by(ROOT), code=CODE, now=NOW + timedelta(days=1))


class TestRefused:
    def test_by_another_ca(self) -> None:
        other = root("Other Root")
        refusal = refused(proof_by(other))
        assert refusal.reason == "proof.wrong_signer"
        assert "issued by 'CN=Other Root', not by 'CN=Plant Root'" in refusal.message

    def test_by_a_ca_of_the_same_name_but_another_key(self) -> None:
        refusal = refused(proof_by(root(label="fake")))
        assert refusal.reason == "proof.wrong_signer"
        assert "older CA of the same name" in refusal.message

    def test_by_itself(self) -> None:
        assert refused(odd(CODE)).reason == "proof.wrong_signer"

    def test_the_ca_certificate_itself(self) -> None:
        assert refused(ROOT.certificate).reason == "proof.wrong_code"

    def test_a_code_that_is_void_is_told_from_any_other_name(self) -> None:
        assert "a verification code that is void" in refused(proof_by(ROOT, make_code())).message
        assert "not the current verification code" in refused(proof_by(ROOT, "pump-01")).message

    def test_for_another_code(self) -> None:
        refusal = refused(proof_by(ROOT, make_code()))
        assert refusal.reason == "proof.wrong_code"
        assert CODE not in f"{refusal.message} {refusal.fix}"

    def test_for_the_code_in_lower_case(self) -> None:
        assert refused(proof_by(ROOT, CODE.lower())).reason == "proof.wrong_code"

    def test_a_devices_certificate(self) -> None:
        assert refused(device(ROOT).certificate).reason == "proof.wrong_code"

    def test_outside_its_dates(self) -> None:
        assert refused(proof_by(ROOT), now=NOW - timedelta(seconds=1)).reason == "proof.not_yet_valid"
        assert refused(proof_by(ROOT), now=NOW + timedelta(days=1, seconds=1)).reason == "proof.expired"

    @pytest.mark.parametrize("code", [None, ""])
    def test_no_code_outstanding(self, code: str | None) -> None:
        assert refused(proof_by(ROOT), code=code).reason == "proof.no_code"

    def test_code_that_ran_out(self) -> None:
        assert refused(proof_by(ROOT), code_expires=NOW).reason == "proof.code_expired"

    def test_ca_with_a_key_that_proves_nothing(self) -> None:
        key = weak_rsa_key()
        ca = Issued(odd("Weak", key=key), key)
        assert refused(odd(CODE, issuer=ca), ca=ca.certificate).reason == "proof.wrong_signer"

"""`moorage doctor cert` on files as people have them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.cli import main
from moorage.pki.keys import save_key
from moorage.pki.pfx import write_pfx
from tests import certs

Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOORAGE_PFX_PASSWORD", raising=False)

    def doctor(*arguments: str, code: int) -> dict[str, Any]:
        assert main(["doctor", "cert", *arguments, "--json"]) == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert found["refused"] is (code == 1)
        return found

    return doctor


def reasons(found: dict[str, Any]) -> list[str]:
    return [finding["reason"] for finding in found["findings"] if finding["refusal"]]


def test_a_good_chain_in_two_files_is_one_chain(doctor: Doctor, tmp_path: Path) -> None:
    leaf = certs.device(certs.root("Plant"))
    (tmp_path / "leaf.pem").write_text(leaf.certificate.pem)
    (tmp_path / "ca.der").write_bytes(leaf.signers[0].der)
    found = doctor("leaf.pem", "ca.der", "--for", "pump-01", code=0)
    assert [each["subject"] for each in found["certificates"]] == ["CN=pump-01", "CN=Plant"]


def test_a_ca_is_looked_at_as_one_to_register(doctor: Doctor, tmp_path: Path) -> None:
    ca = certs.root("Plant").certificate
    (tmp_path / "ca.txt").write_bytes(base64.b64encode(ca.der))
    assert reasons(doctor("ca.txt", code=0)) == []
    notes = doctor("ca.txt", "--for", "pump-01", code=0)["findings"]
    assert "chain.self_signed" in [note["reason"] for note in notes], "a device may show one, by its thumbprint"


def test_a_key_beside_the_certificate_is_found_and_the_rest_is_looked_at(doctor: Doctor, tmp_path: Path) -> None:
    leaf, other = certs.device(certs.root("Plant")), certs.device(certs.root("Plant"), label="other")
    (tmp_path / "both.pem").write_bytes(save_key(leaf.key) + leaf.certificate.pem.encode())
    (tmp_path / "mixed.pem").write_bytes(leaf.certificate.pem.encode() + save_key(other.key))
    found = doctor("both.pem", "--for", "pump-01", code=0)
    assert {"certificate.private_key", "chain.own_key"} <= {each["reason"] for each in found["findings"]}
    found = doctor("mixed.pem", "--for", "pump-02", code=1)
    assert reasons(found) == ["identity.mismatch", "chain.wrong_key"]
    assert "PRIVATE" not in json.dumps(found)


def test_a_ca_with_its_key_beside_it_cannot_be_uploaded_so(doctor: Doctor, tmp_path: Path) -> None:
    ca = certs.root("Plant")
    (tmp_path / "ca.pem").write_bytes(save_key(ca.key) + ca.certificate.pem.encode())
    assert reasons(doctor("ca.pem", code=1)) == ["certificate.private_key"]


def test_a_key_alone_is_no_certificate(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(save_key(certs.root("Plant").key))
    found = doctor("key.pem", code=1)
    assert found["certificates"] == []
    assert reasons(found) == ["certificate.private_key"]


def test_a_pfx_file_is_opened_with_its_password(doctor: Doctor, tmp_path: Path) -> None:
    leaf = certs.device(certs.root("Plant"))
    (tmp_path / "pump.pfx").write_bytes(write_pfx(leaf.key, leaf.certificate, leaf.signers, password="1234"))
    assert reasons(doctor("pump.pfx", code=1)) == ["pfx.malformed"]
    assert reasons(doctor("pump.pfx", "--pfx-password", "12345", code=1)) == ["pfx.malformed"]
    assert reasons(doctor("pump.pfx", "--pfx-password", "1234", "--for", "pump-01", code=0)) == []


def test_a_pfx_file_that_is_no_der_is_told_of(doctor: Doctor, tmp_path: Path) -> None:
    """As OpenSSL of another time wrote it: a length in more bytes than it needs."""
    leaf = certs.device(certs.root())
    der = write_pfx(leaf.key, leaf.certificate, password="1234")
    assert der[:2] == b"\x30\x82"
    (tmp_path / "pump.pfx").write_bytes(b"\x30\x83\x00" + der[2:])
    told = doctor("pump.pfx", "--pfx-password", "1234", "--for", "pump-01", code=0)
    assert "pfx.ber" in {each["reason"] for each in told["findings"]}


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA"])
def test_what_is_no_certificate_is_said_to_be_none(doctor: Doctor, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.pem").write_bytes(content)
    (reason,) = reasons(doctor("file.pem", code=1))
    assert reason in ("certificate.missing", "certificate.malformed")


def test_people_read_sentences_with_the_fix_below(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaf.pem").write_text(certs.device(certs.root("Plant")).certificate.pem)
    assert main(["doctor", "cert", "leaf.pem", "--for", "pump-02"]) == 1
    said = capsys.readouterr().out
    assert "refused  identity.mismatch: the common name is 'pump-01' and the device is 'pump-02'\n" in said
    assert "  fix: moorage cert device pump-02 --issuer Plant --force\n" in said
    assert "note  chain.incomplete: " in said
    (tmp_path / "chain.pem").write_text(certs.device(certs.root("Plant")).pem())
    assert main(["doctor", "cert", "chain.pem", "--for", "pump-01"]) == 0
    said = capsys.readouterr().out
    assert "note  chain.untrusted: the chain ends in 'CN=Plant', which is not trusted for being sent along" in said
    assert "  fix: moorage ca add plant_cert.pem --prove-with plant_key.pem\n" in said


def test_a_weak_certificate_is_refused_but_by_a_hub_that_has_given_its_waiver(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "weak.pem").write_text(certs.odd(key=certs.weak_rsa_key()).pem)
    found = doctor("weak.pem", code=1)
    assert reasons(found) == ["chain.weak_key"]
    assert "with the waiver 'rsa-1024' this too" in found["findings"][0]["message"]
    assert reasons(doctor("weak.pem", "--waive", "sha1-signature", code=1)) == ["chain.weak_key"]
    notes = doctor("weak.pem", "--waive", "rsa-1024", code=0)["findings"]
    (waived,) = [note for note in notes if note["reason"] == "chain.waived"]
    assert waived["message"].startswith("waived: rsa-1024: 'CN=pump-01'")

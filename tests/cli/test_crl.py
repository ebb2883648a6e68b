"""`moorage cert crl`: lists that go on from one call to the next, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moorage.cli import main
from moorage.cli.crl import _REASONS
from moorage.pki.list_issuing import REVOCATION_REASONS
from moorage.pki.revocation_lists import parse_revocation_list


@pytest.fixture(autouse=True)
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cert", "root", "Plant Seven"]) == 0
    assert main(["cert", "device", "pump-01", "--issuer", "Plant Seven"]) == 0
    capsys.readouterr()


def crl(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["cert", "crl", "--issuer", "Plant Seven", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["cert", "crl", "--issuer", "Plant Seven", *arguments]) != 0
    return capsys.readouterr().err


def test_the_reasons_are_those_of_the_lists() -> None:
    assert _REASONS == REVOCATION_REASONS


def test_a_list_goes_on_from_one_call_to_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    first = crl(capsys)
    assert (first["file"], first["number"], first["revoked"]) == ("plantSeven.crl", 1, [])
    second = crl(capsys, "--revoke", "pump01_cert.pem", "--reason", "keyCompromise")
    third = crl(capsys, "--revoke", "0A:bc", "--revoke", "7", "--next-update", "12h")
    assert (second["number"], third["number"]) == (2, 3)
    assert third["revoked"][0] == second["revoked"][0] and second["revoked"][0]["reason"] == "keyCompromise"
    assert {each["serialNumber"] for each in third["revoked"][1:]} == {"ABC", "7"}
    found = parse_revocation_list(Path("plantSeven.crl").read_bytes())
    assert len(found) == 3 and found.number == 3 and (found.next_update - found.this_update).seconds == 12 * 3600


def test_revoking_twice_keeps_the_first_date_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    first = crl(capsys, "--revoke", "ABC", "--reason", "superseded")
    assert crl(capsys, "--revoke", "abc", "--reason", "keyCompromise")["revoked"] == first["revoked"]


def test_what_is_told_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "crl", "--issuer", "Plant Seven", "--revoke", "1"]) == 0
    assert "Wrote plantSeven.crl (list 1 of CN=Plant Seven, 1 revoked, next due" in capsys.readouterr().out


def test_a_list_that_would_be_due_past_the_calendar_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "crl.next_update: " in fails(capsys, "--next-update", "9000y")
    assert not Path("plantSeven.crl").exists()


def test_only_its_own_issuer_can_revoke_a_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    main(["cert", "device", "pump-02"])
    assert "only its own issuer can revoke it" in fails(capsys, "--revoke", "pump02_cert.pem")
    assert not Path("plantSeven.crl").exists()


@pytest.mark.parametrize("serial", ["pump03_cert.pem", "0", "xyz", "1" * 41, ""])
def test_what_is_no_serial_number(serial: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "neither a file nor a serial number" in fails(capsys, "--revoke", serial)


def test_a_file_that_is_something_else_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("plantSeven.crl")
    file.write_text("a letter")
    assert "plantSeven.crl: this is not a well-formed" in fails(capsys)
    assert file.read_text() == "a letter"
    assert crl(capsys, "--force")["number"] == 1
    mine = file.read_bytes()
    main(["cert", "root", "Plant Seven", "--out", "other"])
    assert "did not sign" in fails(capsys, "--issuer", "other/plantSeven_cert.pem")
    assert file.read_bytes() == mine
    capsys.readouterr()
    assert crl(capsys, "--issuer", "other/plantSeven_cert.pem", "--out", "other")["file"] == "other/plantSeven.crl"


def test_a_certificate_is_revoked_by_its_file_and_its_issuer_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "revoke", "pump01_cert.pem", "--reason", "superseded"]) == 0
    told = capsys.readouterr().out
    assert "Wrote plantSeven.crl (list 1 of CN=Plant Seven, 1 revoked" in told
    assert "Next: moorage ca crl add plantSeven.crl" in told
    assert main(["cert", "revoke", "0A", "--issuer", "Plant Seven"]) == 0
    found = parse_revocation_list(Path("plantSeven.crl").read_bytes())
    assert (found.number, len(found)) == (2, 2)
    assert "superseded" in {entry.reason for _, entry in found.serials()}


def test_a_serial_number_alone_says_nothing_of_its_issuer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "revoke", "0A"]) == 2
    assert "--issuer" in capsys.readouterr().err


def test_the_doctor_looks_into_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "revoke", "pump01_cert.pem"]) == 0
    assert main(["cert", "root", "Stranger"]) == 0
    assert main(["cert", "crl", "--issuer", "Stranger"]) == 0
    capsys.readouterr()

    def findings(*arguments: str, code: int) -> dict[str, bool]:
        assert main(["doctor", "cert", *arguments, "--json"]) == code
        return {each["reason"]: each["refusal"] for each in json.loads(capsys.readouterr().out)["findings"]}

    assert findings("pump01_fullchain.pem", "--crl", "plantSeven.crl", code=1)["chain.revoked"]
    assert "chain.revoked" not in findings("pump01_fullchain.pem", code=0)
    assert findings("pump01_fullchain.pem", "--crl", "stranger.crl", code=0)["crl.another_issuer"] is False
    assert main(["doctor", "cert", "pump01_cert.pem", "--crl", "pump01_cert.pem"]) == 1
    assert "crl.malformed: pump01_cert.pem" in capsys.readouterr().err

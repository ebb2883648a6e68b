"""`moorage cert`: what is written, how it is named, and that OpenSSL agrees."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.cli import cert, main
from moorage.cli.certificate_files import read_certificate, read_certificates, read_key, write_files
from moorage.pki.issue import key_matches
from moorage.pki.keys import KEY_KINDS
from moorage.pki.pfx import read_pfx

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `moorage cert ... --json` in an empty folder; the document it printed, or the error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> dict[str, Any]:
        assert main(["cert", *arguments, "--json"]) == code
        said = capsys.readouterr()
        if code:
            assert said.out == ""
        return dict(json.loads(said.err)["error"] if code else json.loads(said.out))

    return run


def test_the_key_kinds_offered_are_those_that_can_be_made() -> None:
    assert cert._KEY_KINDS == KEY_KINDS


def test_files_are_named_as_the_tutorials_name_them_and_keys_are_private(run: Run, tmp_path: Path) -> None:
    run("root", "mytestrootcert")
    run("device", "sample-device-01", "--issuer", "mytestrootcert", "--pfx-password", "1234")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o600} == {
        "mytestrootcert_key.pem",
        "sampleDevice01_key.pem",
        "sampleDevice01.pfx",
    }
    assert set(modes) == {
        *("mytestrootcert_cert.pem", "mytestrootcert_key.pem", "mytestrootcert_fullchain.pem"),
        *("sampleDevice01_cert.pem", "sampleDevice01_key.pem", "sampleDevice01_fullchain.pem", "sampleDevice01.pfx"),
    }


@pytest.mark.parametrize("kind", ["rsa-2048", "ec-p256", "ec-p384"])
def test_openssl_accepts_a_chain_of_every_kind_of_key(kind: str, run: Run, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None, "the openssl tool is needed to judge what we issue"
    run("root", "Company X", "--key", kind)
    run("intermediate", "Factory Y", "--issuer", "Company X", "--key", kind)
    run("intermediate", "Technician Z", "--issuer", "factoryY_cert.pem", "--key", kind, "--path-length", "0")
    run("device", "widget-1", "--issuer", "Technician Z", "--key", kind)
    verify = [openssl, "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "companyX_cert.pem"]
    ran = subprocess.run(
        [*verify, "-untrusted", "widget1_fullchain.pem", "widget1_cert.pem"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert [each.subject for each in read_certificates(tmp_path / "widget1_fullchain.pem")] == [
        "CN=widget-1",
        "CN=Technician Z",
        "CN=Factory Y",
        "CN=Company X",
    ]
    assert key_matches(read_certificate(tmp_path / "widget1_cert.pem"), read_key(tmp_path / "widget1_key.pem"))


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("12h", 43200), ("2d", 172800)])
def test_a_lifetime_can_be_seconds(text: str, seconds: int, run: Run) -> None:
    before = datetime.now(UTC)
    document = run("device", "brief", "--lifetime", text)
    left = datetime.fromisoformat(document["notAfter"]) - before
    assert timedelta(seconds=seconds - 1) <= left <= timedelta(seconds=seconds + 30)


@pytest.mark.parametrize("text", ["", "30", "x", "1.5h", "-1d", "999999999y", "10 d"])
def test_a_lifetime_that_is_none_is_wrong_usage(text: str, run: Run) -> None:
    assert run("device", "brief", "--lifetime", text, code=2)["reason"] == "usage"


def test_a_lifetime_of_nothing_and_one_past_the_calendar_are_refused(run: Run) -> None:
    assert run("device", "brief", "--lifetime", "0s", code=1)["reason"] == "certificate.lifetime"
    assert run("device", "brief", "--lifetime", "9000y", code=1)["reason"] == "certificate.lifetime"


def test_where_one_file_cannot_be_written_the_others_stay_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "pump_cert.pem").write_bytes(b"old")
    (tmp_path / "file").touch()
    files = [(tmp_path / "pump_cert.pem", b"new", False), (tmp_path / "file" / "pump_key.pem", b"new", True)]
    with pytest.raises(OSError, match="file"):
        write_files(files, force=True)
    assert (tmp_path / "pump_cert.pem").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pump_cert.pem"]


def test_nothing_is_written_over_unless_forced_and_then_all_is(run: Run, tmp_path: Path) -> None:
    first = run("device", "pump")
    (tmp_path / "pump_cert.pem").unlink()
    refused = run("device", "pump", code=1)
    assert refused["reason"] == "file.exists"
    assert not (tmp_path / "pump_cert.pem").exists()
    second = run("device", "pump", "--force")
    assert first["sha256Thumbprint"] != second["sha256Thumbprint"]
    assert key_matches(read_certificate(tmp_path / "pump_cert.pem"), read_key(tmp_path / "pump_key.pem"))


def test_out_and_stem_say_where(run: Run, tmp_path: Path) -> None:
    run("root", "r", "--out", "new/folder")
    files = run("device", "d", "--issuer", "r", "--out", "new/folder", "--stem", "other")["files"]
    assert files["certificate"] == "new/folder/other_cert.pem"
    assert (tmp_path / "new/folder/other_key.pem").is_file()


def test_a_module_is_named_device_slash_module(run: Run, tmp_path: Path) -> None:
    assert run("device", "d1", "--module", "m1")["subject"] == "CN=d1/m1"
    assert (tmp_path / "d1M1_cert.pem").is_file()


def test_a_server_has_all_its_names_and_addresses(run: Run) -> None:
    run("root", "r")
    document = run("server", "hub.plant.example", "localhost", "127.0.0.1", "::1", "--issuer", "r")
    assert document["altNames"] == ["hub.plant.example", "localhost", "127.0.0.1", "::1"]
    assert document["extendedKeyUsage"] == ["1.3.6.1.5.5.7.3.1"]


def test_a_request_is_signed_for_its_common_name_and_no_key_is_written(run: Run, tmp_path: Path) -> None:
    run("root", "r")
    subprocess.run(
        [
            *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "own.pem", "-out", "request.csr", "-subj", "/CN=pump-9"),
        ],
        check=True,
        capture_output=True,
    )
    assert run("sign-csr", "request.csr", "--issuer", "r")["subject"] == "CN=pump-9"
    assert not (tmp_path / "pump9_key.pem").exists()
    assert key_matches(read_certificate(tmp_path / "pump9_cert.pem"), read_key(tmp_path / "own.pem"))


def test_the_verification_certificate_carries_the_code_in_the_tutorials_words(run: Run, tmp_path: Path) -> None:
    run("root", "mytestrootcert")
    run("verification", "--ca", "mytestrootcert_cert.pem", "--nonce", "ABCDEF")
    proof = read_certificate(tmp_path / "verification_cert.pem")
    assert (proof.subject, proof.issuer) == ("CN=ABCDEF", "CN=mytestrootcert")


def test_an_issuer_is_looked_for_by_name_and_by_file_and_its_key_has_to_fit(run: Run) -> None:
    run("root", "r")
    run("root", "other")
    assert run("device", "d", "--issuer", "nobody", code=1)["reason"] == "issuer.not_found"
    assert run("device", "d", "--issuer", "r", "--issuer-key", "other_key.pem", code=1)["reason"] == "issuer.wrong_key"
    Path("r_key.pem").unlink()
    assert run("device", "d", "--issuer", "r", code=1)["reason"] == "issuer.no_key"


def test_an_issuer_that_is_a_key_or_a_folder_is_told_so(run: Run, tmp_path: Path) -> None:
    run("root", "r")
    key = run("device", "d", "--issuer", "r_key.pem", code=1)
    assert (key["reason"], key["fix"]) == (
        "certificate.private_key",
        "--issuer r_cert.pem --issuer-key r_key.pem",
    )
    assert run("device", "d", *key["fix"].split())["issuer"] == "CN=r"
    folder = run("device", "d2", "--issuer", str(tmp_path), code=1)
    assert (folder["reason"], folder["fix"]) == ("issuer.not_found", f"--issuer {tmp_path}/NAME_cert.pem")
    assert "is a folder" in folder["message"]
    assert "fix" not in run("device", "d2", "--issuer", "nowhere/x.pem", code=1)


def test_a_name_no_file_can_have_is_given_a_stem(run: Run, tmp_path: Path) -> None:
    refused = run("root", "日本", code=1)
    assert (refused["reason"], refused["fix"]) == ("name.file", "give --stem NAME")
    assert run("root", "日本", "--stem", "nippon")["files"]["certificate"] == "nippon_cert.pem"


def test_the_next_certificate_of_a_device_is_not_said_to_need_creating_it(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("root", "r")
    for arguments, is_told in (("d",), True), (("d", "--stem", "d-new"), False):
        assert main(["cert", "device", *arguments, "--issuer", "r"]) == 0
        assert ("Next" in capsys.readouterr().out) == is_told


def test_a_pfx_file_is_written_under_a_password_alone(run: Run, tmp_path: Path) -> None:
    run("device", "pump")
    assert not (tmp_path / "pump.pfx").exists()
    run("device", "pump", "--force", "--pfx-password", "1234")
    pfx = read_pfx((tmp_path / "pump.pfx").read_bytes(), password="1234")
    assert pfx.certificate == read_certificate(tmp_path / "pump_cert.pem")
    assert run("device", "other", "--pfx-password", "", code=2)["reason"] == "usage"


def test_an_encrypted_issuer_key_takes_its_password_from_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("root", "r")
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", "r_key.pem", "-out", "locked.pem", "-passout", "pass:abc"], check=True
    )
    refused = run("device", "d", "--issuer", "r", "--issuer-key", "locked.pem", code=1)
    assert (refused["reason"], refused["fix"]) == ("key.password", "set MOORAGE_KEY_PASSWORD")
    monkeypatch.setenv("MOORAGE_KEY_PASSWORD", "abc")
    run("device", "d", "--issuer", "r", "--issuer-key", "locked.pem")


def test_inspect_shows_both_thumbprints_and_names_the_file_that_is_no_certificate(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run("device", "pump")
    assert main(["cert", "inspect", "pump_cert.pem"]) == 0
    said = capsys.readouterr().out
    assert made["sha1Thumbprint"] in said
    assert made["sha256Thumbprint"] in said
    assert "CA       no\nfor      client authentication\n" in said
    run("root", "short", "--path-length", "0")
    assert main(["cert", "inspect", "short_cert.pem"]) == 0
    assert "CA       yes, with none below it\n" in capsys.readouterr().out
    (tmp_path / "odd.pem").write_text("hello")
    assert "odd.pem" in run("inspect", "odd.pem", code=1)["message"]
    assert run("inspect", "pump_key.pem", code=1)["reason"] == "certificate.private_key"


def test_who_signs_without_being_a_ca_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("root", "plant")
    run("device", "pump")
    assert main(["cert", "device", "valve", "--issuer", "plant"]) == 0
    assert "is no CA" not in capsys.readouterr().out
    assert main(["cert", "device", "valve", "--issuer", "pump", "--force"]) == 0
    assert "Note: its issuer 'CN=pump' is no CA" in capsys.readouterr().out


def test_a_common_name_cannot_write_to_the_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("root", "evil\x1b[2J", "--stem", "evil")
    assert main(["cert", "inspect", "evil_cert.pem"]) == 0
    assert "\x1b" not in capsys.readouterr().out

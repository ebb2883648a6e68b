"""The commands that a page shows for a proof of possession do prove it, run as they stand."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.ids import EnrollmentGroupId
from moorage.pki.inputs import parse_certificate
from moorage.pki.possession import check_possession, make_code
from moorage.web.proof import proof_commands
from tests import certs

GROUP = EnrollmentGroupId("MyX509Group")
CODE = make_code()
CA = certs.root("my test-rootcert")


def command(title: str) -> str:
    return next(each.text for each in proof_commands(CA.certificate, CODE, GROUP, "primary") if each.title == title)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "myTestRootcert_cert.pem").write_text(CA.certificate.pem)
    (tmp_path / "myTestRootcert_key.pem").write_bytes(CA.key_pem())
    return tmp_path


def run(folder: Path, *words: str) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def check(folder: Path) -> None:
    proof = parse_certificate((folder / "verification_cert.pem").read_bytes())
    check_possession(CA.certificate, proof, code=CODE, now=proof.not_before.replace(microsecond=0))


def test_openssl(folder: Path) -> None:
    run(folder, "sh", "-e", "-c", command("OpenSSL"))
    check(folder)


def test_python(folder: Path) -> None:
    run(folder, sys.executable, "-c", command("Python"))
    check(folder)


def test_moorage(folder: Path) -> None:
    make, hand_in = command("moorage").splitlines()
    program = "import sys; from moorage.cli import main; sys.exit(main())"
    run(folder, sys.executable, "-c", program, *shlex.split(make)[1:])
    check(folder)
    assert shlex.split(hand_in)[1:] == ["enrollment-group", "verify", "MyX509Group", "verification_cert.pem"]


def test_step_is_told_the_code_and_who_signs() -> None:
    words = shlex.split(command("step"))
    assert words[:4] == ["step", "certificate", "create", CODE]
    assert words[words.index("--ca") + 1] == "myTestRootcert_cert.pem"


def test_node_is_told_what_the_tutorial_tells() -> None:
    files = "--ca myTestRootcert_cert.pem --key myTestRootcert_key.pem"
    assert command("Node") == f"node create_test_cert.js verification {files} --nonce {CODE}"

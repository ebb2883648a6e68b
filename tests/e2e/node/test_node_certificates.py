"""What the npm package `pem` makes, as the Node SDK's generator has it make, is taken as it is, odd lines included."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.pki.names import file_stem
from moorage.pki.pfx import read_pfx
from tests.e2e.node.workshop import Files, Workshop

# (what to make, its name, below what)
LINE = {
    "root": ("root", "mytestrootcert", ""),
    "device below the root": ("device", "sample-device-01", "mytestrootcert"),
    "intermediate": ("intermediate", "my-test-line", "mytestrootcert"),
    "device below the intermediate": ("device", "sample-device-02", "my-test-line"),
    "self-signed device": ("device", "mytestselfcertprimary", ""),
    "device below a self-signed device": ("device", "mytestsecondarycert", "mytestprimarycert"),
}


def make(workshop: Workshop, which: str) -> Files:
    kind, name, issuer = LINE[which]
    if issuer == "my-test-line":
        make(workshop, "intermediate")
    elif issuer == "mytestrootcert":
        make(workshop, "root")
    elif issuer:
        workshop.make("device", issuer)
    return workshop.make(kind, name, issuer)


@pytest.mark.parametrize("which", LINE)
def test_the_generators_files_are_what_the_tutorials_list(workshop: Workshop, which: str) -> None:
    kind, name, issuer = LINE[which]
    files = make(workshop, which)
    certificate = files.certificate
    assert (certificate.common_name(), certificate.key) == (name, "RSA 2048")
    assert certificate.issuer == f"CN={issuer or name}"
    assert certificate.is_ca == (kind in ("root", "intermediate"))
    assert certificate.not_after - certificate.not_before == timedelta(days=1)
    assert files.fullchain.read_text().splitlines()[-1] == "null"
    pfx = read_pfx(files.pfx.read_bytes(), password="1234")
    assert (pfx.certificate, pfx.signers) == (certificate, ())


@pytest.mark.parametrize(("which", "length"), [("root", 1), ("device below the intermediate", 3)])
def test_a_chain_that_ends_in_the_word_null_is_read(workshop: Workshop, which: str, length: int) -> None:
    files = make(workshop, which)
    (certificates,) = workshop.hub.ask("cert", "inspect", str(files.fullchain))
    assert len(certificates) == length


def test_moorage_cert_names_its_files_as_the_generator_does(workshop: Workshop) -> None:
    names = [
        *("mytestrootcert", "sample-device-01", "mytestselfcertprimary", "Test Root Cert", "Plant CA 2", "line_7"),
        *("pump.v2", "a", "A1", "HTTPServer", "aB-cD", "--edge--", "x509-CA", "ABC", "Factory-Y", "technicianZ"),
    ]
    answers = workshop.run("camel_case.js", given=json.dumps(names))
    assert {name: file_stem(name) for name in names} == answers[0]


def test_a_verification_certificate_by_pem_proves_the_ca_once(workshop: Workshop) -> None:
    ca, other = workshop.make("root", "proofroot"), workshop.make("root", "otherroot")
    hub = workshop.hub
    hub.moorage("ca", "add", str(ca.fullchain), "--name", "proofroot")
    wrong = workshop.make_verification(other, workshop.code("proofroot"))
    assert "proof.wrong_signer" in hub.moorage("ca", "verify", "proofroot", str(wrong.cert), code=1)
    old = workshop.make_verification(ca, workshop.code("proofroot"))
    code = workshop.code("proofroot")
    assert "proof.wrong_code" in hub.moorage("ca", "verify", "proofroot", str(old.cert), code=1)
    right = workshop.make_verification(ca, code)
    assert right.certificate.common_name() == code
    hub.moorage("ca", "verify", "proofroot", str(right.fullchain))
    proven = [each["properties"]["isVerified"] for each in hub.ask("ca", "list") if each["name"] == "proofroot"]
    assert proven == [True, True], "for the hub and for provisioning"


@pytest.mark.parametrize("form", ["PKCS#1", "PKCS#8"])
def test_a_key_of_the_generator_proves_possession_in_either_form(workshop: Workshop, tmp_path: Path, form: str) -> None:
    # Which of the two pem writes is up to the OpenSSL under it: version 1 wrote PKCS#1, version 3 writes PKCS#8.
    name = f"keyform{form[-1]}"
    ca = workshop.make("root", name)
    key = tmp_path / "key.pem"
    rewrite = ["rsa", "-traditional"] if form == "PKCS#1" else ["pkcs8", "-topk8", "-nocrypt"]
    subprocess.run(["openssl", *rewrite, "-in", ca.key, "-out", key], check=True, capture_output=True, timeout=30)
    assert key.read_text().startswith(f"-----BEGIN {'RSA ' if form == 'PKCS#1' else ''}PRIVATE KEY-----")
    documents = workshop.hub.ask("ca", "add", str(ca.cert), "--prove-with", str(key))
    assert documents[0][0]["properties"]["isVerified"]


def test_uploading_the_generators_key_is_refused(workshop: Workshop) -> None:
    ca = workshop.make("root", "mytestrootcert")
    for file in (ca.key, ca.pfx):
        assert "private key" in workshop.hub.moorage("ca", "add", str(file), code=1)

"""Certificates as the tutorials make them, with the openssl tool and with `moorage cert`, from root to telemetry."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sdk import X509, Bench, client
from tests.unit.pki.openssl import openssl

# One CA of `openssl ca`, in its own folder. It copies what the request asks for, as the tutorial's does.
CA_CONFIGURATION = """
[default]
default_ca = ca
name_opt = utf8,esc_ctrl,multiline,lname,align

[ca]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}.crt
private_key = {folder}.key
default_days = 30
default_md = sha256
unique_subject = no
copy_extensions = none
rand_serial = yes
policy = names

[names]
commonName = supplied
organizationName = optional

[req]
prompt = no
distinguished_name = subject

[subject]
commonName = {name}

[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash

[subordinate]
authorityKeyIdentifier = keyid:always
basicConstraints = critical,CA:true,pathlen:0
extendedKeyUsage = clientAuth,serverAuth
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash

[client]
authorityKeyIdentifier = keyid:always
basicConstraints = critical,CA:false
extendedKeyUsage = clientAuth
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
"""

KEYS = {
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
}


class Workshop:
    """CAs of the openssl tool; `NAME.crt` has the text dump that `openssl ca` writes above the certificate."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self._kind = kind

    def key(self, name: str) -> Path:
        openssl(self.folder, "genpkey", *KEYS[self._kind], "-out", f"{name}.key")
        return self.folder / f"{name}.key"

    def root(self, name: str) -> Path:
        self._open(name)
        self._request(name)
        return self._sign(name, name, "root", "-selfsign")

    def intermediate(self, name: str, issuer: str) -> Path:
        self._open(name)
        self._request(name)
        return self._sign(name, issuer, "subordinate")

    def leaf(self, file: str, common_name: str, issuer: str) -> Path:
        self.key(file)
        openssl(self.folder, "req", "-new", "-key", f"{file}.key", "-subj", f"/CN={common_name}", "-out", f"{file}.csr")
        return self._sign(file, issuer, "client")

    def _open(self, name: str) -> None:
        folder = self.folder / name
        folder.mkdir()
        (folder / "index").touch()
        (self.folder / f"{name}.conf").write_text(CA_CONFIGURATION.format(folder=name, name=name))
        self.key(name)

    def _request(self, name: str) -> None:
        openssl(self.folder, "req", "-new", "-config", f"{name}.conf", "-key", f"{name}.key", "-out", f"{name}.csr")

    def _sign(self, name: str, issuer: str, extensions: str, *more: str) -> Path:
        files = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-extensions", extensions)
        openssl(self.folder, "ca", "-batch", "-config", f"{issuer}.conf", *files, *more)
        return self.folder / f"{name}.crt"


def provision_and_send(bench: Bench, name: str, certificate: Path, key: Path, pass_phrase: str | None = None) -> None:
    x509 = X509(cert_file=str(certificate), key_file=str(key), pass_phrase=pass_phrase)
    result = bench.provisioning(name, x509=x509).register()
    assert (result.status, result.registration_state.device_id) == ("assigned", name)
    with client(bench.by_certificate(name, x509)) as device:
        device.send_message("hello")
    assert len(bench.stored(name)) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl tool")
@pytest.mark.parametrize("kind", KEYS)
def test_the_openssl_tutorial_from_root_to_telemetry(
    bench: Bench, new_id: Callable[..., str], tmp_path: Path, kind: str
) -> None:
    name, hub, workshop = new_id("device"), bench.hub, Workshop(tmp_path, kind)
    root = workshop.root(f"rootca-{kind}")
    hub.ask("ca", "add", str(root), "--name", f"tutorial-{kind}")
    code = hub.moorage("ca", "code", f"tutorial-{kind}").splitlines()[0]
    hub.ask("ca", "verify", f"tutorial-{kind}", str(workshop.leaf("pop", code, f"rootca-{kind}")))
    intermediate = workshop.intermediate(f"subca-{kind}", f"rootca-{kind}")
    hub.ask("enrollment-group", "create", f"tutorial-{kind}", "--certificate", str(intermediate))
    leaf = workshop.leaf("device", name, f"subca-{kind}")
    fullchain = tmp_path / "fullchain.pem"
    fullchain.write_bytes(leaf.read_bytes() + intermediate.read_bytes())
    provision_and_send(bench, name, fullchain, tmp_path / "device.key")

    by_hand = new_id("device")
    hub.ask("device", "create", by_hand, "--auth", "x509-ca")
    leaf = workshop.leaf("by-hand", by_hand, f"subca-{kind}")
    fullchain.write_bytes(leaf.read_bytes() + intermediate.read_bytes() + root.read_bytes())
    x509 = X509(cert_file=str(fullchain), key_file=str(tmp_path / "by-hand.key"))
    with client(bench.by_certificate(by_hand, x509)) as device:
        device.send_message("hello")
    assert len(bench.stored(by_hand)) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl tool")
@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_self_signed_by_openssl_and_registered_by_the_fingerprint_it_prints(
    bench: Bench, new_id: Callable[..., str], tmp_path: Path, digest: str
) -> None:
    name = new_id("device")
    make = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}")
    openssl(tmp_path, *make, "-keyout", "device.key", "-out", "device.crt")
    printed = openssl(tmp_path, "x509", "-in", "device.crt", "-noout", "-fingerprint", f"-{digest}")
    thumbprint = printed.strip().partition("=")[2].replace(":", "")
    bench.hub.ask("device", "create", name, "--auth", "x509-thumbprint", "--primary-thumbprint", thumbprint)
    x509 = X509(cert_file=str(tmp_path / "device.crt"), key_file=str(tmp_path / "device.key"))
    with client(bench.by_certificate(name, x509)) as device:
        device.send_message("hello")
    assert len(bench.stored(name)) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl tool")
def test_a_self_signed_certificate_of_openssl_with_a_locked_key_provisions(
    bench: Bench, new_id: Callable[..., str], tmp_path: Path
) -> None:
    name = new_id("device")
    make = ("req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:1234", "-days", "30", "-subj", f"/CN={name}")
    openssl(tmp_path, *make, "-keyout", "device.key", "-out", "device.crt")
    bench.hub.ask("enrollment", "create", name, "--certificate", str(tmp_path / "device.crt"))
    provision_and_send(bench, name, tmp_path / "device.crt", tmp_path / "device.key", "1234")


def test_the_commands_of_moorage_cert_from_root_to_telemetry(
    bench: Bench, new_id: Callable[..., str], tmp_path: Path
) -> None:
    name = new_id("smart-widget")

    def moorage(*arguments: str) -> list[Any]:
        return bench.hub.ask(*arguments, cwd=tmp_path)

    moorage("cert", "root", "Company-X", "--key", "ec-p384")
    moorage("cert", "intermediate", "Factory-Y", "--issuer", "Company-X")
    moorage("cert", "intermediate", "Technician-Z", "--issuer", "Factory-Y", "--key", "rsa-2048")
    moorage("ca", "add", "companyX_cert.pem")
    code = bench.hub.moorage("ca", "code", "Company-X", cwd=tmp_path).splitlines()[0]
    moorage("cert", "verification", "--issuer", "Company-X", "--code", code)
    moorage("ca", "verify", "Company-X", "verification_cert.pem")
    moorage("enrollment-group", "create", "smart-widgets", "--ca", "Company-X")
    (made,) = moorage("cert", "device", name, "--issuer", "Technician-Z", "--stem", "widget")
    assert made["subject"] == f"CN={name}"
    provision_and_send(bench, name, tmp_path / "widget_fullchain.pem", tmp_path / "widget_key.pem")
    assert (tmp_path / "widget_key.pem").stat().st_mode & 0o777 == 0o600

    module = f"{name}/camera"
    moorage("cert", "device", name, "--module", "camera", "--issuer", "Technician-Z", "--stem", "camera")
    bench.hub.request(
        "PUT",
        f"/devices/{name}/modules/camera",
        body={"deviceId": name, "moduleId": "camera", "authentication": {"type": "certificateAuthority"}},
    )
    x509 = X509(cert_file=str(tmp_path / "camera_fullchain.pem"), key_file=str(tmp_path / "camera_key.pem"))
    with client(bench.by_certificate(module, x509)) as camera:
        camera.send_message("from the camera")
    assert [each["moduleId"] for each in bench.stored(name)] == [None, "camera"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl tool")
def test_a_request_of_openssl_is_signed_by_moorage_cert(
    bench: Bench, new_id: Callable[..., str], tmp_path: Path
) -> None:
    name = new_id("device")
    openssl(tmp_path, "genpkey", *KEYS["ec"], "-out", "device.key")
    openssl(tmp_path, "req", "-new", "-key", "device.key", "-subj", f"/CN={name}", "-out", "device.csr")
    hub = bench.hub
    hub.ask("cert", "root", "csr-root", cwd=tmp_path)
    hub.ask("cert", "sign-csr", "device.csr", "--issuer", "csr-root", "--stem", "device", cwd=tmp_path)
    hub.ask("enrollment-group", "create", f"csr-{name}", "--certificate", "csrRoot_cert.pem", cwd=tmp_path)
    provision_and_send(bench, name, tmp_path / "device_fullchain.pem", tmp_path / "device.key")


def test_self_signed_by_moorage_cert_in_both_slots(bench: Bench, new_id: Callable[..., str], tmp_path: Path) -> None:
    name = new_id("device")

    def moorage(*arguments: str) -> list[Any]:
        return bench.hub.ask(*arguments, cwd=tmp_path)

    moorage("cert", "device", name, "--stem", "primary")
    moorage("cert", "device", name, "--stem", "secondary", "--key", "ec-p384")
    files = ("--certificate", "primary_cert.pem", "--secondary", "secondary_cert.pem")
    moorage("enrollment", "create", name, *files)
    for slot in ("primary", "secondary"):
        x509 = X509(cert_file=str(tmp_path / f"{slot}_cert.pem"), key_file=str(tmp_path / f"{slot}_key.pem"))
        assert bench.provisioning(name, x509=x509).register().status == "assigned"
        with client(bench.by_certificate(name, x509)) as device:
            device.send_message(slot)
    assert len(bench.stored(name)) == 2

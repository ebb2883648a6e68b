"""Certificates that nobody here issued: made with the real `openssl`, as the tutorials and the SDK's generator do."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moorage.errors import Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.inputs import parse_certificates
from moorage.pki.keys import load_key
from moorage.pki.pfx import read_pfx
from moorage.pki.policy import check_ca, check_pinned
from moorage.pki.possession import check_possession, make_code
from moorage.pki.validator import TrustAnchors, Validator
from tests.unit.pki.openssl import openssl

KEYS = {
    "RSA": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "EC": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
}
ROOT = "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\nkeyUsage=critical,keyCertSign,cRLSign"
LINE = (
    "basicConstraints=critical,CA:true,pathlen:0\nauthorityKeyIdentifier=keyid:always\nsubjectKeyIdentifier=hash\n"
    "keyUsage=critical,keyCertSign,cRLSign\nextendedKeyUsage=clientAuth,serverAuth"
)
DEVICE = (
    "basicConstraints=critical,CA:false\nauthorityKeyIdentifier=keyid:always\nsubjectKeyIdentifier=hash\n"
    "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth"
)


class Workshop:
    """A folder in which `openssl` makes keys and certificates."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind

    def key(self, name: str) -> None:
        openssl(self.folder, "genpkey", *KEYS[self.kind], "-out", f"{name}.key")

    def root(self, name: str = "root", extensions: str = ROOT) -> Certificate:
        return self.self_signed(name, extensions)

    def self_signed(self, name: str, extensions: str = "", *arguments: str) -> Certificate:
        self.key(name)
        self.request(name)
        return self._sign(name, extensions, "-signkey", f"{name}.key", *arguments)

    def issued(self, name: str, issuer: str, extensions: str = "", *arguments: str) -> Certificate:
        self.key(name)
        self.request(name)
        signer = ("-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial")
        return self._sign(name, extensions, *signer, *arguments)

    def request(self, name: str) -> None:
        openssl(self.folder, "req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")

    def _sign(self, name: str, extensions: str, *arguments: str) -> Certificate:
        (self.folder / "extensions.cnf").write_text(extensions)
        with_extensions = ("-extfile", "extensions.cnf") if extensions else ()
        openssl(
            self.folder, "x509", "-req", "-in", f"{name}.csr", "-days", "1", "-out", f"{name}.pem",
            *with_extensions, *arguments,
        )  # fmt: skip
        return self.read(name)

    def read(self, name: str) -> Certificate:
        return parse_certificates((self.folder / f"{name}.pem").read_bytes())[0]


@pytest.fixture(params=KEYS)
def workshop(tmp_path: Path, request: pytest.FixtureRequest) -> Workshop:
    return Workshop(tmp_path, request.param)


def now() -> datetime:
    return datetime.now(UTC)


def test_tutorial_chain(workshop: Workshop) -> None:
    root, line = workshop.root(), workshop.issued("line", "root", LINE)
    pump = workshop.issued("pump-01", "line", DEVICE)
    check_ca(root, now())
    check_ca(line, now())
    chain = PeerChain.of([pump, line])
    verified = Validator(TrustAnchors([root])).validate(chain, now())
    assert verified.path == (pump, line, root)
    assert verified.leaf.common_name() == "pump-01"
    assert Validator(TrustAnchors([line])).validate(PeerChain.of([pump]), now()).anchor == line


def test_leaf_of_the_shortest_command_has_no_extensions(workshop: Workshop) -> None:
    root, pump = workshop.root(), workshop.issued("pump-01", "root")
    assert Validator(TrustAnchors([root])).validate(PeerChain.of([pump]), now()).path == (pump, root)


def test_req_x509_makes_a_ca_by_default_and_it_can_be_pinned(workshop: Workshop) -> None:
    workshop.key("pump-01")
    openssl(
        workshop.folder, "req", "-x509", "-new", "-key", "pump-01.key", "-subj", "/CN=pump-01", "-days", "1",
        "-out", "pump-01.pem",
    )  # fmt: skip
    pump = workshop.read("pump-01")
    assert pump.is_ca
    assert check_pinned(PeerChain.of([pump]), now()).leaf == pump
    with pytest.raises(Unauthenticated, match="chain.leaf_is_ca"):
        Validator(TrustAnchors([])).validate(PeerChain.of([pump]), now())


def test_generator_of_the_sdk(workshop: Workshop) -> None:
    """Its extensions, and its seven ways to use a certificate (as the tutorials of IoT Central use it)."""
    ca, client = "basicConstraints=critical,CA:true", "extendedKeyUsage=critical,clientAuth"
    root = workshop.self_signed("mytestrootcert", ca)
    line = workshop.issued("my-intermediate", "mytestrootcert", ca)
    below_root = workshop.issued("sample-device-01", "mytestrootcert", client)
    below_line = workshop.issued("sample-device-02", "my-intermediate", client)
    primary = workshop.self_signed("mytestprimarycert", client)
    secondary = workshop.issued("mytestsecondarycert", "mytestprimarycert", client)
    code = make_code()
    proof = workshop.issued(code, "mytestrootcert", client)
    check_ca(root, now())
    check_possession(root, proof, code=code, now=now())
    judge = Validator(TrustAnchors([root]))
    assert judge.validate(PeerChain.of([below_root]), now()).leaf.common_name() == "sample-device-01"
    assert judge.validate(PeerChain.of([below_root, root]), now()).anchor == root
    assert judge.validate(PeerChain.of([below_line, line, root]), now()).signers == (line, root)
    for pinned in (primary, secondary):
        check_pinned(PeerChain.of([pinned]), now())
    with pytest.raises(Unauthenticated, match="chain.incomplete"):
        judge.validate(PeerChain.of([below_line]), now())


def test_expired_by_the_tools_own_word(workshop: Workshop) -> None:
    root, pump = workshop.root(), workshop.issued("pump-01", "root", DEVICE)
    with pytest.raises(Unauthenticated, match="chain.expired"):
        Validator(TrustAnchors([root])).validate(PeerChain.of([pump]), now() + timedelta(days=1, minutes=1))


@pytest.mark.parametrize(
    "arguments",
    [("-md5",), ("-sha1",), ("-sha1", "-sigopt", "rsa_padding_mode:pss")],
    ids=["MD5", "SHA-1", "PSS with SHA-1"],
)
def test_old_hashes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    workshop = Workshop(tmp_path, "RSA")
    root, pump = workshop.root(), workshop.issued("pump-01", "root", DEVICE, *arguments)
    with pytest.raises(Unauthenticated) as caught:
        Validator(TrustAnchors([root])).validate(PeerChain.of([pump]), now())
    assert [check.name for check in caught.value.checks if check.passed is False] == ["chain.weak_signature"]


def test_pss_with_a_strong_hash(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, "RSA")
    root = workshop.root()
    pump = workshop.issued("pump-01", "root", DEVICE, "-sha256", "-sigopt", "rsa_padding_mode:pss")
    Validator(TrustAnchors([root])).validate(PeerChain.of([pump]), now())


def test_files_of_the_tool_are_read(workshop: Workshop) -> None:
    folder, root = workshop.folder, workshop.root()
    dump = openssl(folder, "x509", "-in", "root.pem", "-text")
    openssl(folder, "x509", "-in", "root.pem", "-outform", "DER", "-out", "root.cer")
    for text in (dump, (folder / "root.cer").read_bytes(), base64.encodebytes(dump.encode())):
        assert parse_certificates(text) == [root]


@pytest.mark.parametrize("legacy", [(), ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1")])
def test_pfx_of_the_tool_is_read(workshop: Workshop, legacy: tuple[str, ...]) -> None:
    folder, root = workshop.folder, workshop.root()
    openssl(
        folder, "pkcs12", "-export", "-in", "root.pem", "-inkey", "root.key", "-passout", "pass:1234", *legacy,
        "-out", "root.pfx",
    )  # fmt: skip
    assert read_pfx((folder / "root.pfx").read_bytes(), password="1234").certificate == root
    bags = openssl(folder, "pkcs12", "-in", "root.pfx", "-passin", "pass:1234", "-nokeys")
    assert "Bag Attributes" in bags
    assert parse_certificates(bags) == [root]


def test_keys_of_the_tool_are_read(workshop: Workshop) -> None:
    workshop.key("pump-01")
    openssl(workshop.folder, "pkey", "-in", "pump-01.key", "-traditional", "-out", "old.key")
    for file in ("pump-01.key", "old.key"):
        load_key((workshop.folder / file).read_bytes())

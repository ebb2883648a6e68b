from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.inputs import parse_csr
from moorage.pki.issue import (
    fullchain,
    issue_root,
    issue_self_signed,
    issue_server,
    issue_verification,
    key_matches,
    make_csr,
    server_constraints,
    sign_csr,
)
from moorage.pki.keys import KEY_KINDS, describe_key, load_key, make_key, save_key
from moorage.pki.pfx import read_pfx, write_pfx
from moorage.pki.validator import TrustAnchors, Validator
from tests.certs import LIFETIME, NOW, Issued, device, intermediate, key_of, root, self_signed, weak_rsa_key
from tests.unit.pki.openssl import openssl, verify

ROOT = root()
LINE = intermediate(ROOT, path_length=0)
PUMP = device(LINE)


def write(folder: Path, **certificates: Certificate) -> None:
    for stem, certificate in certificates.items():
        (folder / f"{stem}.pem").write_text(certificate.pem)


class TestOpenSSLAgrees:
    @pytest.mark.parametrize("kind", KEY_KINDS)
    def test_chain_of_every_key_kind(self, tmp_path: Path, kind: str) -> None:
        top = root(f"Root {kind}", kind=kind)
        line = intermediate(top, f"Line {kind}", kind=kind, path_length=0)
        pump = device(line, kind=kind)
        write(tmp_path, root=top.certificate, line=line.certificate, pump=pump.certificate)
        arguments = ("-purpose", "sslclient", "-CAfile", "root.pem", "-untrusted", "line.pem", "pump.pem")
        assert verify(tmp_path, *arguments) == "OK"
        Validator(TrustAnchors([top.certificate])).validate(pump.sends(), NOW)

    def test_a_device_is_no_server(self, tmp_path: Path) -> None:
        write(tmp_path, root=ROOT.certificate, line=LINE.certificate, pump=PUMP.certificate)
        arguments = ("-purpose", "sslserver", "-CAfile", "root.pem", "-untrusted", "line.pem", "pump.pem")
        assert "purpose" in verify(tmp_path, *arguments)

    def test_self_signed(self, tmp_path: Path) -> None:
        write(tmp_path, pump=self_signed().certificate)
        assert verify(tmp_path, "-CAfile", "pump.pem", "-partial_chain", "-purpose", "sslclient", "pump.pem") == "OK"

    @pytest.mark.parametrize("password", [None, "1234"])
    def test_pfx(self, tmp_path: Path, password: str | None) -> None:
        (tmp_path / "pump.pfx").write_bytes(write_pfx(PUMP.key, PUMP.certificate, PUMP.signers, password=password))
        text = openssl(tmp_path, "pkcs12", "-in", "pump.pfx", "-passin", f"pass:{password or ''}", "-nokeys")
        assert text.count("BEGIN CERTIFICATE") == 3

    @pytest.mark.parametrize("kind", ["rsa-2048", "ec-p256"])
    def test_keys(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "key.pem").write_bytes(save_key(key_of("pump-01", kind)))
        assert "BEGIN PUBLIC KEY" in openssl(tmp_path, "pkey", "-in", "key.pem", "-pubout")

    def test_csr(self, tmp_path: Path) -> None:
        (tmp_path / "pump.csr").write_bytes(make_csr(PUMP.key, "pump-01").public_bytes(Encoding.PEM))
        text = openssl(tmp_path, "req", "-in", "pump.csr", "-noout", "-verify", "-subject")
        assert "pump-01" in text


class TestServers:
    def server(self, ca: Issued, *dns_names: str, addresses: tuple[str, ...] = ()) -> Certificate:
        return issue_server(
            key_of("server").public_key(),
            dns_names=dns_names,
            addresses=[ip_address(address) for address in addresses],
            issuer=ca.certificate,
            issuer_key=ca.key,
            now=NOW,
            lifetime=LIFETIME,
        )

    def constrained(self, *dns_names: str, networks: tuple[str, ...] = ()) -> Issued:
        key = key_of("server CA")
        constraints = server_constraints(dns_names, [ip_network(network) for network in networks])
        ca = issue_root(key, "Servers", now=NOW, lifetime=LIFETIME, path_length=0, constraints=constraints)
        return Issued(ca, key)

    def judged(self, folder: Path, ca: Issued, server: Certificate, *host: str) -> str:
        write(folder, ca=ca.certificate, server=server)
        return verify(folder, "-purpose", "sslserver", "-CAfile", "ca.pem", *host, "server.pem")

    def test_all_its_names(self, tmp_path: Path) -> None:
        ca = self.constrained("hub.example", "localhost", networks=("127.0.0.0/8", "::1/128"))
        server = self.server(ca, "hub.example", "localhost", addresses=("127.0.0.1", "::1"))
        assert server.common_name() == "hub.example"
        for host in ("hub.example", "localhost"):
            assert self.judged(tmp_path, ca, server, "-verify_hostname", host) == "OK"
        for address in ("127.0.0.1", "::1"):
            assert self.judged(tmp_path, ca, server, "-verify_ip", address) == "OK"
        assert self.judged(tmp_path, ca, server, "-verify_hostname", "example.org") != "OK"

    def test_constrained_ca_cannot_pose_as_others(self, tmp_path: Path) -> None:
        ca = self.constrained("hub.example", networks=("10.0.0.0/8",))
        assert self.judged(tmp_path, ca, self.server(ca, "a.hub.example")) == "OK"
        assert "subtree" in self.judged(tmp_path, ca, self.server(ca, "example.org"))
        assert "subtree" in self.judged(tmp_path, ca, self.server(ca, addresses=("11.0.0.1",)))
        assert "subtree" in self.judged(tmp_path, ca, self.server(ca, addresses=("::1",)))

    def test_a_form_without_a_permitted_name_is_closed(self, tmp_path: Path) -> None:
        names_only, addresses_only = self.constrained("hub.example"), self.constrained(networks=("10.0.0.0/8",))
        for address in ("10.0.0.1", "::1"):
            server = self.server(names_only, addresses=(address,))
            assert "subtree" in self.judged(tmp_path, names_only, server)
        assert "subtree" in self.judged(tmp_path, addresses_only, self.server(addresses_only, "hub.example"))

    def test_long_name(self, tmp_path: Path) -> None:
        host = f"{'a' * 60}.hub.example"
        server = self.server(ROOT, host)
        assert self.judged(tmp_path, ROOT, server, "-verify_hostname", host) == "OK"

    @pytest.mark.parametrize("names", [(), ("bücher.example",)])
    def test_refused(self, names: tuple[str, ...]) -> None:
        with pytest.raises(Invalid, match="certificate.host_name"):
            self.server(ROOT, *names)


class TestLifetime:
    def lives(self, lifetime: timedelta, *, backdate: timedelta | None = None, now: datetime = NOW) -> Certificate:
        return issue_self_signed(key_of("pump-01"), "pump-01", now=now, lifetime=lifetime, backdate=backdate)

    @pytest.mark.parametrize("seconds", [1, 5, 60])
    def test_down_to_seconds_and_then_not_backdated(self, seconds: int) -> None:
        certificate = self.lives(timedelta(seconds=seconds))
        assert (certificate.not_before, certificate.not_after) == (NOW, NOW + timedelta(seconds=seconds))

    def test_backdated_for_clocks_that_are_behind(self) -> None:
        certificate = self.lives(timedelta(days=1))
        assert certificate.not_before == NOW - timedelta(minutes=5)
        assert certificate.not_after == NOW + timedelta(days=1)

    def test_backdated_as_asked(self) -> None:
        assert self.lives(timedelta(seconds=9), backdate=timedelta(days=2)).not_before == NOW - timedelta(days=2)

    def test_beyond_2050(self) -> None:
        assert self.lives(timedelta(days=365 * 50)).not_after == NOW + timedelta(days=365 * 50)

    @pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-1), timedelta(days=365 * 9000)])
    def test_refused(self, lifetime: timedelta) -> None:
        with pytest.raises(Invalid, match="certificate.lifetime"):
            self.lives(lifetime)

    def test_fractions_of_a_second_are_cut(self) -> None:
        certificate = self.lives(timedelta(seconds=2), now=datetime(2030, 1, 1, 0, 0, 0, 900_000, tzinfo=UTC))
        assert certificate.not_before == datetime(2030, 1, 1, tzinfo=UTC)


class TestIssuing:
    def test_serial_numbers_are_random(self) -> None:
        assert device(LINE).certificate.serial_number != device(LINE).certificate.serial_number

    def test_key_identifiers_link_the_chain(self) -> None:
        assert PUMP.certificate.extensions.authority_key_id == LINE.certificate.extensions.subject_key_id
        assert LINE.certificate.extensions.authority_key_id == ROOT.certificate.extensions.subject_key_id

    def test_issuer_and_key_have_to_belong_together(self) -> None:
        with pytest.raises(Invalid, match="issuer.wrong_key"):
            device(Issued(ROOT.certificate, LINE.key))

    @pytest.mark.parametrize("identity", ["", "x" * 65])
    def test_common_name_of_a_length_that_does_not_fit(self, identity: str) -> None:
        with pytest.raises(Invalid, match="certificate.common_name"):
            device(ROOT, identity)

    def test_longest_common_name(self) -> None:
        assert device(ROOT, "x" * 64).certificate.common_name() == "x" * 64

    def test_module(self) -> None:
        assert device(ROOT, "pump-01/filter").certificate.common_name() == "pump-01/filter"

    def test_hash_follows_the_key(self) -> None:
        for kind, expected in (("ec-p256", hashes.SHA256), ("ec-p384", hashes.SHA384), ("rsa-2048", hashes.SHA256)):
            made = issue_root(key_of("hash", kind), "Root", now=NOW, lifetime=LIFETIME)
            assert isinstance(made.x509.signature_hash_algorithm, expected)

    def test_verification_certificate(self) -> None:
        proof = issue_verification(ROOT.certificate, ROOT.key, "C0DE", now=NOW)
        assert proof.common_name() == "C0DE"
        assert not proof.is_ca
        assert proof.not_after == NOW + timedelta(days=1)

    def test_fullchain_is_leaf_first(self) -> None:
        text = fullchain(PUMP.fullchain)
        assert [Certificate.from_x509(c) for c in x509.load_pem_x509_certificates(text.encode())] == [*PUMP.fullchain]

    def test_key_matches(self) -> None:
        assert key_matches(PUMP.certificate, PUMP.key)
        assert not key_matches(PUMP.certificate, ROOT.key)


class TestRequests:
    def test_device_certificate_for_a_request(self) -> None:
        key = key_of("of the device")
        certificate = sign_csr(
            make_csr(key, "pump-01"), issuer=ROOT.certificate, issuer_key=ROOT.key, now=NOW, lifetime=LIFETIME
        )
        assert key_matches(certificate, key)
        assert Validator(TrustAnchors([ROOT.certificate])).validate(PeerChain((certificate.der,)), NOW)
        assert certificate.common_name() == "pump-01"

    def test_what_else_it_asks_for_is_not_granted(self) -> None:
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pump-01")])
        )
        request = builder.add_extension(x509.BasicConstraints(True, None), True).sign(PUMP.key, hashes.SHA256())
        certificate = sign_csr(request, issuer=ROOT.certificate, issuer_key=ROOT.key, now=NOW, lifetime=LIFETIME)
        assert not certificate.is_ca

    @pytest.mark.parametrize("names", [[], ["pump-01", "pump-02"]])
    def test_not_one_common_name(self, names: list[str]) -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in names])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(PUMP.key, hashes.SHA256())
        with pytest.raises(Invalid, match="csr.common_name"):
            sign_csr(request, issuer=ROOT.certificate, issuer_key=ROOT.key, now=NOW, lifetime=LIFETIME)

    @pytest.mark.parametrize(("tag", "value"), [(0x02, b"QQ"), (0x03, b"QQ"), (0x0C, b"\xff\xfe"), (0x1E, b"\xd8\x00")])
    def test_csr_whose_subject_is_no_text(self, tag: int, value: bytes) -> None:
        key = key_of("QQ", "rsa-2048")
        assert isinstance(key, rsa.RSAPrivateKey)
        request = make_csr(key, "QQ")
        old = request.tbs_certrequest_bytes
        new = old.replace(b"\x0c\x02QQ", bytes([tag, 2]) + value)
        signature = key.sign(new, padding.PKCS1v15(), hashes.SHA256())
        der = request.public_bytes(Encoding.DER).replace(old, new).replace(request.signature, signature)
        with pytest.raises(Invalid, match="csr.malformed"):
            sign_csr(parse_csr(der), issuer=ROOT.certificate, issuer_key=ROOT.key, now=NOW, lifetime=LIFETIME)

    def test_weak_key(self) -> None:
        with pytest.raises(Invalid, match="csr.weak_key"):
            sign_csr(
                make_csr(weak_rsa_key(), "pump-01"),
                issuer=ROOT.certificate,
                issuer_key=ROOT.key,
                now=NOW,
                lifetime=LIFETIME,
            )

    def test_signed_by_another_key(self) -> None:
        der = bytearray(make_csr(PUMP.key, "pump-01").public_bytes(Encoding.DER))
        der[-1] ^= 1
        with pytest.raises(Invalid, match="csr.signature"):
            sign_csr(
                x509.load_der_x509_csr(bytes(der)),
                issuer=ROOT.certificate,
                issuer_key=ROOT.key,
                now=NOW,
                lifetime=LIFETIME,
            )


class TestKeys:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [("rsa-2048", "RSA 2048"), ("rsa-3072", "RSA 3072"), ("ec-p256", "EC P-256"), ("ec-p384", "EC P-384")],
    )
    def test_said_in_words(self, kind: str, words: str) -> None:
        key = key_of("words", kind)
        assert describe_key(key) == describe_key(key.public_key()) == words

    def test_unknown_kind(self) -> None:
        with pytest.raises(Invalid, match="rsa-2048"):
            make_key("rsa-512")

    @pytest.mark.parametrize("kind", ["rsa-2048", "ec-p256"])
    @pytest.mark.parametrize("password", [None, b"1234"])
    def test_saved_and_loaded(self, kind: str, password: bytes | None) -> None:
        key = key_of("saved", kind)
        pem = save_key(key, password=password)
        assert (b"ENCRYPTED" in pem) == (password is not None)
        assert save_key(load_key(pem, password=password)) == save_key(key)

    def test_password_for_an_open_key_is_not_needed(self) -> None:
        key = key_of("saved")
        assert save_key(load_key(save_key(key), password=b"x")) == save_key(key)

    @pytest.mark.parametrize(
        ("pem", "password", "reason"),
        [
            (save_key(key_of("saved"), password=b"1234"), None, "key.password"),
            (save_key(key_of("saved"), password=b"1234"), b"0000", "key.password"),
            (b"garbage", None, "key.malformed"),
            (save_key(key_of("saved"))[:90], None, "key.malformed"),
        ],
        ids=["no password", "wrong password", "garbage", "cut"],
    )
    def test_refused(self, pem: bytes, password: bytes | None, reason: str) -> None:
        with pytest.raises(Invalid) as caught:
            load_key(pem, password=password)
        assert caught.value.reason == reason


class TestPFX:
    @pytest.mark.parametrize("kind", ["rsa-2048", "ec-p256"])
    @pytest.mark.parametrize("password", [None, "1234", "pässwört"])
    def test_there_and_back(self, kind: str, password: str | None) -> None:
        pump = device(LINE, kind=kind)
        read = read_pfx(write_pfx(pump.key, pump.certificate, pump.signers, password=password), password=password)
        assert save_key(read.key) == save_key(pump.key)
        assert (read.certificate, set(read.signers)) == (pump.certificate, set(pump.signers))

    @pytest.mark.parametrize("password", [None, "0000"])
    def test_wrong_password(self, password: str | None) -> None:
        with pytest.raises(Invalid, match="pfx.malformed"):
            read_pfx(write_pfx(PUMP.key, PUMP.certificate, password="1234"), password=password)

    def test_garbage(self) -> None:
        with pytest.raises(Invalid, match="pfx.malformed"):
            read_pfx(b"garbage")

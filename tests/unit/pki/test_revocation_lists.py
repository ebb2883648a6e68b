"""Revocation lists as values: read, bounded, looked up; and issued."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid
from moorage.pki import revocation_lists
from moorage.pki.certificates import Certificate
from moorage.pki.der import element
from moorage.pki.list_issuing import REVOCATION_REASONS, issue_revocation_list
from moorage.pki.revocation_lists import Entry, parse_revocation_list, unpack_revocation_list
from tests import certs
from tests.certs import NOW
from tests.unit.pki.lists import WEEK, as_mapping, entry, odd_list, scoped, the_list
from tests.unit.pki.openssl import openssl

ROOT = certs.root("List Root")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
DER = odd_list(ROOT, entry(5), entry(77, (x509.CRLReason(x509.ReasonFlags.superseded), False)))


def refused(data: bytes, reason: str) -> str:
    with pytest.raises(Invalid) as caught:
        parse_revocation_list(data)
    assert caught.value.reason == reason
    return caught.value.message


class TestReading:
    def test_a_year_that_is_in_no_calendar_is_refused_before_anybody_looks_it_up(self) -> None:
        der = odd_list(ROOT, entry(5, date=datetime(2051, 1, 1, tzinfo=UTC)))
        far = der.replace(b"20510101000000Z", b"00010101000000Z")
        found = parse_revocation_list(far).find(ROOT.certificate.subject_key, 5)
        assert found is not None and found.date == datetime(1, 1, 1, tzinfo=UTC)
        assert "the year 1" in refused(der.replace(b"20510101000000Z", b"00000101000000Z"), "crl.malformed")

    @given(
        st.dictionaries(
            st.integers(1, 2**159 - 1),
            st.builds(
                Entry,
                st.integers(-600_000_000, 3_700_000_000).map(lambda moment: datetime.fromtimestamp(moment, UTC)),
                st.sampled_from(REVOCATION_REASONS),
            ),
            max_size=12,
        )
    )
    def test_what_is_issued_is_read_as_it_was(self, entries: dict[int, Entry]) -> None:
        der = issue_revocation_list(ROOT.certificate, ROOT.key, entries, number=2**100, now=NOW, next_update=NOW + WEEK)
        found = parse_revocation_list(der)
        assert (found.number, found.base_number, len(found)) == (2**100, None, len(entries))
        assert (found.this_update, found.next_update) == (NOW, NOW + WEEK)
        assert found.issuer_key == ROOT.certificate.subject_key
        assert found.authority_key_id == ROOT.certificate.extensions.subject_key_id
        assert found.signature.is_by(ROOT.certificate.public_key)
        assert as_mapping(found) == entries
        for serial, wanted in entries.items():
            assert found.find(found.issuer_key, serial) == wanted
            assert found.find(found.issuer_key, serial ^ 1) == entries.get(serial ^ 1)

    def test_pem_and_der(self) -> None:
        pem = b"Comment\n-----BEGIN X509 CRL-----\n" + base64.encodebytes(DER) + b"-----END X509 CRL-----\n"
        for data in (DER, pem, pem.replace(b"\n", b"\r\n")):
            assert as_mapping(parse_revocation_list(data)).keys() == {5, 77}

    def test_another_issuer_has_no_entries(self) -> None:
        found = parse_revocation_list(DER)
        assert found.find(certs.root().certificate.subject_key, 5) is None
        assert found.find(found.issuer_key, 2**168) is None

    def test_a_serial_number_that_is_negative_is_another_one(self) -> None:
        at = DER.index(bytes.fromhex("020105"))
        negative = parse_revocation_list(DER[:at] + bytes.fromhex("0201fb") + DER[at + 3 :])
        assert negative.find(negative.issuer_key, 0xFB) is None and negative.find(negative.issuer_key, 5) is None
        assert -5 in as_mapping(negative)

    def test_entries_of_any_length_and_of_any_century(self) -> None:
        long = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x04\x81\xc8" + bytes(200))
        late, early = datetime(2061, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(1951, 2, 3, 4, 5, 6, tzinfo=UTC)
        found = parse_revocation_list(odd_list(ROOT, entry(5, (long, False), date=late), entry(6, date=early)))
        assert as_mapping(found) == {5: Entry(late, "unspecified"), 6: Entry(early, "unspecified")}

    def test_it_says_what_it_is(self) -> None:
        assert repr(parse_revocation_list(DER)) == "<list 1 of CN=List Root, 2 entries>"

    @pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
    @pytest.mark.parametrize("serials", [(), (5,), tuple(range(1, 300))])
    def test_what_was_packed_is_the_same_list(self, kind: str, serials: tuple[int, ...]) -> None:
        ca = certs.root("Packed", kind=kind)
        found = the_list(ca, *serials, number=2**90)
        again = unpack_revocation_list(found.pack())
        assert as_mapping(again) == as_mapping(found) and len(again) == len(serials)
        for name in ("issuer", "number", "base_number", "this_update", "next_update", "scope", "authority_key_id"):
            assert getattr(again, name) == getattr(found, name)
        assert again.signature.is_by(ca.certificate.public_key)
        assert not again.signature.is_by(ROOT.certificate.public_key)
        assert again.pack() == found.pack()

    def test_a_delta_with_a_scope_is_packed_with_both(self) -> None:
        found = scoped(ROOT, 7, number=6, delta_of=5, only_contains_user_certs=True)
        again = unpack_revocation_list(found.pack())
        assert (again.base_number, again.scope) == (5, found.scope) and again.scope.users_only

    def test_an_indirect_list_is_not_packed(self) -> None:
        with pytest.raises(Invalid) as caught:
            scoped(ROOT, 7, indirect_crl=True).pack()
        assert caught.value.reason == "crl.indirect"

    def test_what_was_never_packed_or_not_to_its_end_is_no_list(self) -> None:
        packed = the_list(ROOT, 5).pack()
        for wrong, why in (
            (b"MCL0" + packed[4:], "another form"),
            (packed[:-1], "it is cut off"),
            (packed[:200], "it is cut off"),
            (packed[:3], "requires a buffer"),
        ):
            with pytest.raises(Invalid, match=why) as caught:
                unpack_revocation_list(wrong)
            assert caught.value.reason == "crl.malformed"

    @given(st.integers(0, 200), st.integers(1, 255))
    def test_packed_bytes_that_were_changed_or_cut_end_in_a_refusal_or_a_list(self, at: int, change: int) -> None:
        packed = bytearray(the_list(ROOT, 5).pack())
        cut = bytes(packed[: at % len(packed)])
        packed[at % len(packed)] ^= change
        for data in (cut, bytes(packed)):
            try:
                unpack_revocation_list(data)
            except Invalid as refusal:
                assert refusal.reason.startswith("crl.")

    @pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
    def test_signatures(self, kind: str) -> None:
        ca, other = certs.root("Signing CA", kind=kind), certs.root("Signing CA", kind=kind, label="other")
        found = the_list(ca, 1)
        assert found.signature.is_by(ca.certificate.public_key)
        assert not found.signature.is_by(other.certificate.public_key)
        assert not found.signature.is_by(ROOT.certificate.public_key if kind != "ec-p256" else certs.weak_rsa_key())

    def test_a_list_by_openssl(self, tmp_path: Path) -> None:
        (tmp_path / "ca.cnf").write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n"
            "default_crl_days=7\ncrl_extensions=ext\n[ext]\nauthorityKeyIdentifier=keyid\n"
        )
        (tmp_path / "index.txt").write_text("R\t360101000000Z\t251123080000Z,keyCompromise\t0ABC\tunknown\t/CN=pump\n")
        (tmp_path / "number").write_text("1F\n")
        (tmp_path / "ca.pem").write_text(ROOT.certificate.pem)
        (tmp_path / "key.pem").write_bytes(ROOT.key_pem())
        openssl(
            tmp_path, "ca", "-config", "ca.cnf", "-gencrl", "-cert", "ca.pem", "-keyfile", "key.pem", "-out", "l.crl"
        )
        found = parse_revocation_list((tmp_path / "l.crl").read_bytes())
        assert found.number == 0x1F and found.signature.is_by(ROOT.certificate.public_key)
        assert as_mapping(found) == {0xABC: Entry(datetime(2025, 11, 23, 8, tzinfo=UTC), "keyCompromise")}


class TestIndirect:
    """A list for other CAs: each entry is of the issuer named last (RFC 5280 5.3.3)."""

    def made(self, *issuers: str, reason: int = 1) -> bytes:
        point = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
        entries = [entry(1)]
        for serial, name in enumerate(issuers, 2):
            issuer = x509.CertificateIssuer([x509.DNSName("x.example"), x509.DirectoryName(certs.common_name(name))])
            why = x509.CRLReason(x509.ReasonFlags.superseded)
            entries += [entry(serial, (issuer, True), (why, False)), entry(serial + 100)]
        return odd_list(ROOT, *entries, extensions=[(x509.CRLNumber(1), False), (point, True)])

    def test_entries_are_of_the_issuer_named_last(self) -> None:
        found = parse_revocation_list(self.made("Left", "Right"))
        own, left, right = (certs.odd(name).subject_key for name in ("list root", "LEFT", "right"))
        assert found.scope.indirect and len(found) == 5
        assert [serial for serial, _ in found.serials()] == [1]
        for issuer, serials in ((own, {1}), (left, {2, 102}), (right, {3, 103})):
            assert {serial for serial in (1, 2, 3, 102, 103) if found.find(issuer, serial)} == serials
        assert found.find(left, 2) == Entry(NOW, "superseded") and found.find(left, 102) == Entry(NOW, "unspecified")

    def test_so_many_issuers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(revocation_lists, "_MAX_ISSUERS", 1)
        parse_revocation_list(self.made("Left"))
        refused(self.made("Left", "Right"), "crl.too_large")

    def test_an_issuer_that_is_no_directory_name(self) -> None:
        directory = certs.common_name("Left").public_bytes()
        refused(
            self.made("Left").replace(bytes([0xA4, len(directory)]) + directory, _octets(directory)), "crl.malformed"
        )


class TestRefused:
    def test_version_1(self, tmp_path: Path) -> None:
        (tmp_path / "ca.cnf").write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=7\n"
        )
        (tmp_path / "index.txt").write_text("")
        (tmp_path / "ca.pem").write_text(ROOT.certificate.pem)
        (tmp_path / "key.pem").write_bytes(ROOT.key_pem())
        openssl(
            tmp_path, "ca", "-config", "ca.cnf", "-gencrl", "-cert", "ca.pem", "-keyfile", "key.pem", "-out", "l.crl"
        )
        assert "has no number" in refused((tmp_path / "l.crl").read_bytes(), "crl.number")

    def test_a_reason_that_is_none(self) -> None:
        reason = bytes.fromhex("0a0104")
        assert DER.count(reason) == 1
        for number in (7, 11):
            refused(DER.replace(reason, bytes([0x0A, 1, number])), "crl.malformed")

    def test_a_distribution_point_that_cannot_be_read(self) -> None:
        directory = x509.DirectoryName(certs.common_name("odd point"))
        point = x509.IssuingDistributionPoint([directory], None, False, False, None, False, False)
        der = odd_list(ROOT, extensions=[(x509.CRLNumber(1), False), (point, True)])
        refused(der.replace(b"odd point", b"odd \xff\xfeoin"), "crl.malformed")
        at = der.index(b"odd point") - 2
        assert "common name that is not text" in refused(der[:at] + b"\x04" + der[at + 1 :], "crl.malformed")

    def test_the_signed_part_names_another_algorithm(self) -> None:
        sha256, sha384 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040303")
        assert DER.count(sha256) == 2
        refused(DER.replace(sha256, sha384, 1), "crl.malformed")

    def test_parameters_of_a_signature_that_nobody_knows(self) -> None:
        ca = certs.root("List PSS", kind="rsa-2048")
        assert isinstance(ca.key, rsa.RSAPrivateKey)
        sha256 = hashes.SHA256()
        builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.x509.subject)
        builder = builder.last_update(NOW).next_update(NOW + WEEK).add_extension(x509.CRLNumber(1), critical=False)
        made = builder.sign(ca.key, sha256, rsa_padding=padding.PSS(padding.MGF1(sha256), 32))
        der = made.public_bytes(serialization.Encoding.DER)
        assert parse_revocation_list(der).signature.is_by(ca.certificate.public_key)
        mgf1, other = bytes.fromhex("2a864886f70d010108"), bytes.fromhex("2a864886f70d010109")
        assert "cannot be used" in refused(der.replace(mgf1, other), "crl.weak_signature")

    def test_a_serial_number_of_more_than_20_bytes(self) -> None:
        long = bytes.fromhex("0216") + bytes([1] * 22) + bytes.fromhex("170d") + b"251123080000Z"
        plain = odd_list(ROOT)
        _, at, _ = element(plain, 0)
        _, begin, end = element(plain, at)
        extensions = plain.index(bytes.fromhex("a0"), plain.index(b"Z", plain.index(b"Z") + 1))
        content = plain[begin:extensions] + _sequence(_sequence(long)) + plain[extensions:end]
        assert "20 bytes" in refused(_sequence(_sequence(content) + plain[end:]), "crl.malformed")

    @pytest.mark.parametrize("percent", range(0, 100, 2))
    def test_cut_anywhere(self, percent: int) -> None:
        refused(DER[: len(DER) * percent // 100], "crl.malformed")

    @given(st.integers(0, len(DER) - 1), st.integers(1, 255))
    def test_changed_anywhere_it_is_refused_or_no_longer_signed(self, at: int, change: int) -> None:
        changed = DER[:at] + bytes([DER[at] ^ change]) + DER[at + 1 :]
        try:
            found = parse_revocation_list(changed)
        except Invalid as refusal:
            assert refusal.reason.startswith("crl.")
        else:
            assert not found.signature.is_by(ROOT.certificate.public_key)

    def test_what_follows(self) -> None:
        refused(DER + b"\0", "crl.malformed")
        refused(b"-----BEGIN X509 CRL-----\n!!!\n-----END X509 CRL-----", "crl.malformed")
        refused(b"-----BEGIN X509 CRL-----\nAAAA", "crl.malformed")
        refused(ROOT.certificate.der, "crl.malformed")

    def test_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(revocation_lists, "MAX_ENTRIES", 1)
        refused(DER, "crl.too_large")
        monkeypatch.setattr(revocation_lists, "MAX_LIST_BYTES", len(DER) - 1)
        refused(DER, "crl.too_large")

    def test_critical_extensions(self) -> None:
        number = (x509.CRLNumber(1), False)
        assert "1.3.6.1.4.1.99999.1" in refused(
            odd_list(ROOT, extensions=[number, (UNKNOWN, True)]), "crl.critical_extension"
        )
        refused(odd_list(ROOT, entry(5, (UNKNOWN, True))), "crl.critical_extension")
        assert len(
            parse_revocation_list(odd_list(ROOT, entry(5, (UNKNOWN, False)), extensions=[number, (UNKNOWN, False)]))
        )

    def test_an_issuer_of_entries_in_a_list_that_is_not_indirect(self) -> None:
        issuer = x509.CertificateIssuer([x509.DirectoryName(certs.common_name("Other"))])
        refused(odd_list(ROOT, entry(5, (issuer, True))), "crl.critical_extension")

    def test_numbers(self) -> None:
        refused(odd_list(ROOT, extensions=[(x509.AuthorityKeyIdentifier(b"x", None, None), False)]), "crl.number")
        refused(odd_list(ROOT, extensions=[(x509.CRLNumber(1), True)]), "crl.number")

    def test_no_next_update(self) -> None:
        date = bytes.fromhex("170d") + f"{NOW + WEEK:%y%m%d%H%M%S}Z".encode()
        plain = odd_list(ROOT)
        _, at, _ = element(plain, 0)
        _, begin, end = element(plain, at)
        refused(_sequence(_sequence(plain[begin:end].replace(date, b"", 1)) + plain[end:]), "crl.no_next_update")

    def test_weak_signatures(self) -> None:
        refused(odd_list(ROOT, algorithm=hashes.SHA224()), "crl.weak_signature")

    def test_an_issuer_without_a_name(self) -> None:
        refused(odd_list(ROOT, issuer=x509.Name([])), "crl.malformed")


def _octets(directory: bytes) -> bytes:
    """As many bytes as a DNS name."""
    return bytes([0x82, len(directory)]) + b"x" * len(directory)


def _sequence(body: bytes) -> bytes:
    return bytes([0x30, 0x81, len(body)]) + body if len(body) > 127 else bytes([0x30, len(body)]) + body


class TestIssuing:
    def issue(
        self, ca: certs.Issued, key: certs.Issued, life: timedelta = WEEK, number: int = 1, why: str = ""
    ) -> bytes:
        entries = {1: Entry(NOW, why)} if why else {}
        return issue_revocation_list(ca.certificate, key.key, entries, number=number, now=NOW, next_update=NOW + life)

    def test_refused(self) -> None:
        silent = Certificate(
            certs.odd(
                "Silent", key=ROOT.key, extensions=[(certs.IS_A_CA, True), (certs.key_usage(key_cert_sign=True), True)]
            ).der
        )
        calls: list[tuple[Callable[[], bytes], str]] = [
            (lambda: self.issue(ROOT, certs.root()), "issuer.wrong_key"),
            (lambda: self.issue(certs.Issued(silent, ROOT.key), ROOT), "issuer.no_crl_sign"),
            (lambda: self.issue(certs.self_signed(), certs.self_signed()), "issuer.no_crl_sign"),
            (lambda: self.issue(ROOT, ROOT, life=timedelta(0)), "crl.next_update"),
            (lambda: self.issue(ROOT, ROOT, number=2**160), "crl.number"),
            (lambda: self.issue(ROOT, ROOT, why="removeFromCRL"), "crl.reason"),
        ]
        for call, reason in calls:
            with pytest.raises(Invalid) as caught:
                call()
            assert caught.value.reason == reason

    @pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
    def test_openssl_believes_it(self, kind: str, tmp_path: Path) -> None:
        ca = certs.root("OpenSSL Root", kind=kind)
        pump, fan = certs.device(ca, "pump-01"), certs.device(ca, "fan-01")
        der = issue_revocation_list(
            ca.certificate,
            ca.key,
            {pump.certificate.serial_number: Entry(NOW, "keyCompromise")},
            number=1,
            now=NOW,
            next_update=NOW + WEEK,
        )
        (tmp_path / "l.der").write_bytes(der)
        openssl(tmp_path, "crl", "-inform", "DER", "-in", "l.der", "-out", "l.pem")
        for name, each in (("ca", ca), ("pump", pump), ("fan", fan)):
            (tmp_path / f"{name}.pem").write_text(each.certificate.pem)
        check = ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "l.pem"]
        good = subprocess.run([*check, "fan.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
        bad = subprocess.run([*check, "pump.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert good.returncode == 0, good.stderr
        assert bad.returncode != 0 and "certificate revoked" in bad.stderr


def test_many_entries_are_found_in_a_few_steps() -> None:
    serials = {x509.random_serial_number() for _ in range(3000)}
    found = the_list(ROOT, *serials)
    assert all(found.find(found.issuer_key, serial) is not None for serial in serials)
    assert [serial for serial, _ in found.serials()] == sorted(serials)
    assert len(found._rows) == 30 * len(serials)

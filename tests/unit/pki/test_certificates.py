from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid
from moorage.pki.certificates import MAX_CERTIFICATE_BYTES, Certificate, PeerChain
from moorage.pki.distinguished_names import parse_name
from tests.certs import LIFETIME, NOW, common_name, device, name, odd, root, self_signed
from tests.unit.told import compare, refusal_lines

ROOT = root()
PUMP = device(ROOT).certificate


def malformed(der: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        Certificate(der)
    assert caught.value.reason == "certificate.malformed"
    return caught.value.message


class TestFields:
    def test_what_a_certificate_says(self) -> None:
        assert PUMP.subject == "CN=pump-01"
        assert PUMP.issuer == "CN=Plant Root"
        assert PUMP.common_name() == "pump-01"
        assert PUMP.not_after == NOW + LIFETIME
        assert PUMP.not_before < NOW
        assert PUMP.not_after.tzinfo is not None
        assert PUMP.serial_number == PUMP.x509.serial_number
        assert PUMP.key == "EC P-256"
        assert not PUMP.is_ca
        assert ROOT.certificate.is_ca
        assert ROOT.certificate.is_self_issued

    def test_thumbprints_are_of_the_der_in_upper_case_hex(self) -> None:
        assert PUMP.sha1 == hashlib.sha1(PUMP.der).hexdigest().upper()
        assert PUMP.sha256 == hashlib.sha256(PUMP.der).hexdigest().upper()
        chain = PeerChain((PUMP.der,))
        assert (chain.leaf_sha1(), chain.leaf_sha256()) == (PUMP.sha1, PUMP.sha256)

    def test_thumbprint_of_garbage_needs_no_parsing(self) -> None:
        assert len(PeerChain((b"garbage",)).leaf_sha256()) == 64

    def test_pem_goes_there_and_back(self) -> None:
        assert x509.load_pem_x509_certificate(PUMP.pem.encode()) == PUMP.x509

    def test_equal_by_bytes(self) -> None:
        assert Certificate(bytes(bytearray(PUMP.der))) == PUMP
        assert len({PUMP, Certificate(PUMP.der), ROOT.certificate}) == 2
        assert PUMP != PUMP.der

    def test_shows_its_name_and_the_beginning_of_its_thumbprint(self) -> None:
        assert repr(PUMP) == f"<Certificate CN=pump-01 sha256={PUMP.sha256[:16]}>"

    def test_an_empty_chain_is_false(self) -> None:
        assert not PeerChain(())
        assert PeerChain((b"",))


class TestCommonName:
    def test_none(self) -> None:
        with pytest.raises(Invalid, match="certificate.common_name"):
            odd(name((NameOID.ORGANIZATION_NAME, "Plant"))).common_name()

    def test_several(self) -> None:
        with pytest.raises(Invalid, match="has 2"):
            odd(name((NameOID.COMMON_NAME, "pump-01"), (NameOID.COMMON_NAME, "pump-02"))).common_name()

    def test_several_in_one_relative_name(self) -> None:
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, text) for text in ("pump-01", "pump-02")]
        with pytest.raises(Invalid, match="has 2"):
            odd(x509.Name([x509.RelativeDistinguishedName(parts)])).common_name()

    def test_module(self) -> None:
        assert device(ROOT, "pump-01/filter").certificate.common_name() == "pump-01/filter"

    def test_nothing_is_trimmed_or_folded(self) -> None:
        for text in (" pump", "Pump", "pump\x00evil", "pümp"):
            assert odd(text).common_name() == text

    def test_longer_than_the_standard_allows(self) -> None:
        long = "x" * 70
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "y" * 64)])
        der = odd(subject).der
        assert Certificate(der).common_name() == "y" * 64
        assert parse_name(rdn(long)).common_names() == [long]


def rdn(text: str, *, tag: int = 0x0C) -> bytes:
    value = bytes((tag, len(text))) + text.encode()
    attribute = b"\x30" + bytes((len(value) + 5,)) + b"\x06\x03\x55\x04\x03" + value
    relative = b"\x31" + bytes((len(attribute),)) + attribute
    return b"\x30" + bytes((len(relative),)) + relative


class TestNames:
    @pytest.mark.parametrize(
        "subject",
        [
            name((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Plant, Inc."), (NameOID.COMMON_NAME, "a")),
            name((NameOID.COMMON_NAME, ' #a+b\\c;<>" ')),
            name((NameOID.COMMON_NAME, "#a")),
            name((NameOID.DOMAIN_COMPONENT, "example"), (NameOID.USER_ID, "u"), (NameOID.COMMON_NAME, "ü=ü")),
            name((ObjectIdentifier("2.5.4.72"), "role"), (ObjectIdentifier("1.2.840.113549.1.9.2"), "u")),
        ],
    )
    def test_text_is_that_of_rfc_4514(self, subject: x509.Name) -> None:
        assert odd(subject).subject == subject.rfc4514_string()

    def test_control_characters_are_escaped(self) -> None:
        assert odd("a\x1b[31m\n").subject == "CN=a\\1B[31m\\0A"

    def test_no_subject(self) -> None:
        assert odd(x509.Name([])).subject == ""

    @pytest.mark.parametrize("tag", [0x03, 0x04, 0x30])
    def test_common_name_that_is_not_text(self, tag: int) -> None:
        with pytest.raises(ValueError, match="not text"):
            parse_name(rdn("pump", tag=tag))

    @given(st.binary(max_size=60))
    def test_random_bytes_parse_or_raise(self, der: bytes) -> None:
        try:
            parse_name(der)
        except ValueError:
            return

    @given(st.integers(0, 40), st.integers(0, 255))
    def test_damaged_names_parse_or_raise(self, at: int, value: int) -> None:
        der = bytearray(PUMP.raw_subject)
        der[at % len(der)] = value
        try:
            parse_name(bytes(der)).rfc4514()
        except ValueError:
            return


class TestNamesThatCannotBeRead:
    @pytest.mark.parametrize(
        ("der", "what"),
        [
            ("3100", "a name is not a SEQUENCE"),
            ("300000", "a name is not a SEQUENCE"),
            ("30023000", "a relative name is not a SET"),
            ("300431020400", "an attribute of a name is not a SEQUENCE"),
            ("30", "a name ends too early"),
            ("300631043002047f", "an element ends at byte"),
            ("3006310430020400", "an attribute of a name has no type"),
            ("3006310430020600", "an attribute of a name has no type"),
            ("300931073005060180" + "0500", "an object identifier ends too early"),
            ("300b3109300706035504030500", "a common name that is not text"),
        ],
    )
    def test_each_for_its_own_reason(self, der: str, what: str) -> None:
        with pytest.raises(ValueError, match=what):
            parse_name(bytes.fromhex(der))

    def test_an_object_identifier_that_ends_within_an_arc_is_none(self) -> None:
        with pytest.raises(ValueError, match="an object identifier ends too early"):
            parse_name(bytes.fromhex("300a310830060602558105" + "00"))

    def test_a_certificate_with_such_a_name_says_so_when_it_is_asked_for_it(self) -> None:
        subject = name((NameOID.COMMON_NAME, "QQ"))
        der = bytearray(odd(subject).der)
        at = der.index(b"QQ", der.index(b"QQ") + 1) - 2
        der[at] = 0x02
        certificate = Certificate(bytes(der))
        with pytest.raises(Invalid) as caught:
            certificate.common_name()
        assert caught.value.reason == "certificate.malformed"
        assert caught.value.message == "a name in this certificate cannot be read: a common name that is not text"


class TestMalformed:
    @pytest.mark.parametrize("der", [b"", b"\x30", b"garbage", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", bytes(100)])
    def test_not_a_certificate(self, der: bytes) -> None:
        malformed(der)

    @pytest.mark.parametrize(
        ("der", "what"),
        [
            ("0400", "not a SEQUENCE"),
            ("30020400", "no TBSCertificate"),
            ("300430020400", "no serial number"),
            ("300430020200", "no serial number"),
            ("3080", "a length of no definite form"),
            ("30020500ff", "1 bytes follow the certificate"),
            ("3000", "it ends too early"),
        ],
    )
    def test_what_is_not_even_the_outline_of_one(self, der: str, what: str) -> None:
        assert what in malformed(bytes.fromhex(der))

    def test_bytes_after_the_end(self) -> None:
        assert "1 bytes follow" in malformed(PUMP.der + b"\x00")

    @pytest.mark.parametrize("first", [0x00, 0x80, 0xFF])
    def test_serial_number_that_is_not_positive(self, first: int) -> None:
        der = odd(serial=0x42).der
        at = der.index(b"\xa0\x03\x02\x01\x02\x02\x01\x42") + 7
        assert "serial number" in malformed(der[:at] + bytes((first,)) + der[at + 1 :])

    def test_serial_number_of_twenty_bytes(self) -> None:
        assert odd(serial=(1 << 159) - 1).serial_number.bit_length() == 159

    def test_two_signature_algorithms(self) -> None:
        der = PUMP.der
        ecdsa_sha256 = bytes.fromhex("06082a8648ce3d040302")
        at = der.rindex(ecdsa_sha256) + len(ecdsa_sha256) - 1
        assert "signature algorithm" in malformed(der[:at] + b"\x03" + der[at + 1 :])

    def test_an_extension_twice(self) -> None:
        # Two extensions of one length, the second then renamed into the first.
        extensions = [x509.UnrecognizedExtension(ObjectIdentifier(f"1.2.3.{n}"), b"\x05\x00") for n in (4, 5)]
        der = odd(extensions=[(extension, False) for extension in extensions]).der
        malformed(der.replace(bytes.fromhex("06032a0305"), bytes.fromhex("06032a0304")))

    def test_extension_that_cannot_be_read(self) -> None:
        basic_constraints = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.19"), b"\x02\x01\x00")
        with pytest.raises(Invalid, match="certificate.malformed"):
            odd(extensions=[(basic_constraints, True)])

    def test_too_large(self) -> None:
        with pytest.raises(Invalid, match="certificate.too_large"):
            Certificate(bytes(MAX_CERTIFICATE_BYTES + 1))

    def test_key_that_is_no_point_on_its_curve(self) -> None:
        spki = PUMP.x509.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        with pytest.raises(Invalid, match="certificate.unsupported_key"):
            Certificate(PUMP.der.replace(spki, spki[:-1] + bytes((spki[-1] ^ 1,))))

    @given(st.integers(0, len(PUMP.der) - 1))
    def test_every_truncation(self, length: int) -> None:
        malformed(PUMP.der[:length])

    @given(st.integers(0, len(PUMP.der) - 1), st.integers(0, 255))
    def test_damage_is_refused_or_readable(self, at: int, value: int) -> None:
        der = bytearray(self_signed().certificate.der)
        der[at % len(der)] = value
        try:
            certificate = Certificate(bytes(der))
            assert certificate.sha256
            assert certificate.subject is not None
            assert certificate.issuer is not None
            assert certificate.key
        except Invalid as refusal:
            assert refusal.reason.startswith("certificate.")


def test_every_critical_extension_that_nobody_handles_is_named() -> None:
    unknown = [x509.UnrecognizedExtension(ObjectIdentifier(f"1.2.3.{number}"), b"\x05\x00") for number in (4, 5, 6)]
    found = odd(extensions=[(unknown[0], True), (unknown[1], False), (unknown[2], True)]).extensions
    assert found.unhandled_critical == ("1.2.3.4", "1.2.3.6")


@pytest.mark.parametrize("how", ["error", "ignore"])
def test_a_serial_number_below_one_in_the_authority_key_identifier_is_malformed(
    how: Literal["error", "ignore"],
) -> None:
    """The library warns of it and will refuse it; whatever becomes of warnings, it is refused here."""
    issuer = common_name("Plant").public_bytes()
    named = b"\xa4" + bytes((len(issuer),)) + issuer
    content = b"\xa1" + bytes((len(named),)) + named + b"\x82\x01\xff"
    value = b"\x30" + bytes((len(content),)) + content
    identifier = x509.UnrecognizedExtension(ExtensionOID.AUTHORITY_KEY_IDENTIFIER, value)
    with warnings.catch_warnings(), pytest.raises(Invalid) as refused:
        warnings.simplefilter(how)
        odd(extensions=[(identifier, False)])
    assert refused.value.reason == "certificate.malformed"


class TestExtensions:
    def test_the_key_that_signed_is_named_as_its_owner_names_it(self) -> None:
        ca = root("Named Key")
        of_ca, of_device = (Certificate(each.certificate.der).extensions for each in (ca, device(ca)))
        assert of_device.authority_key_id == of_ca.subject_key_id != of_device.subject_key_id
        assert of_ca.subject_key_id == x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key()).digest

    def test_the_serial_number_of_a_named_issuer_is_positive(self) -> None:
        named = x509.AuthorityKeyIdentifier(b"key", [x509.DNSName("ca.example")], 1)
        one = odd(extensions=[(named, False)])
        assert one.extensions.authority_key_id == b"key"
        none = one.der.replace(b"ca.example\x82\x01\x01", b"ca.example\x82\x01\x00")
        # The library warns of it, which is an error here.
        malformed(none)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = malformed(none)
        assert said.endswith(": its authority key identifier names a serial number that is not positive")

    def test_one_that_constrains_policies_is_enough(self) -> None:
        both = [(x509.PolicyConstraints(0, None), False), (x509.InhibitAnyPolicy(0), True)]
        assert odd(extensions=both).extensions.constrains_policies
        assert odd(extensions=both[::-1]).extensions.constrains_policies
        assert not odd(extensions=both[1:]).extensions.constrains_policies


def test_the_largest_certificate_that_is_read() -> None:
    def filled(size: int) -> Certificate:
        return odd(extensions=[(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), bytes(size)), False)], serial=1)

    # A signature of ECDSA is a byte longer or shorter now and then.
    size = 16_000 + MAX_CERTIFICATE_BYTES - len(filled(16_000).der) - 4
    for _ in range(500):
        made = filled(size)
        if len(made.der) == MAX_CERTIFICATE_BYTES:
            break
        size += len(made.der) < MAX_CERTIFICATE_BYTES - 2
    assert len(made.der) == MAX_CERTIFICATE_BYTES
    with pytest.raises(Invalid, match="certificate.too_large"):
        Certificate(made.der + b"\x00")


def test_what_is_told_of_a_certificate_that_cannot_be_used() -> None:
    lines = refusal_lines("too large", lambda: Certificate(bytes(MAX_CERTIFICATE_BYTES + 1)))
    two = odd(name((NameOID.COMMON_NAME, "one"), (NameOID.COMMON_NAME, "two")))
    none = odd(name((NameOID.ORGANIZATION_NAME, "only")))
    lines += refusal_lines("two common names", two.common_name)
    lines += refusal_lines("no common name", none.common_name)
    # An algorithm of keys that there is not.
    strange = PUMP.der.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f"))
    lines += refusal_lines("a key of a strange kind", lambda: Certificate(strange))
    compare(Path(__file__).parent / "certificates_told.txt", lines)


def test_thumbprints_are_hashes_of_the_whole() -> None:
    fresh = Certificate(PUMP.der)
    for _ in range(2):
        assert fresh.sha1 == hashlib.sha1(PUMP.der, usedforsecurity=False).hexdigest().upper()
        assert fresh.sha256 == hashlib.sha256(PUMP.der).hexdigest().upper()


def test_a_chain_is_parsed_in_its_order() -> None:
    assert PeerChain((PUMP.der, ROOT.certificate.der)).parse() == [PUMP, ROOT.certificate]
    assert len({Certificate(PUMP.der), PUMP, ROOT.certificate}) == 2

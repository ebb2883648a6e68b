"""The little DER that is read here: where a certificate stops being one, and what looks like a private key."""

from __future__ import annotations

import pytest

from moorage.pki.der import Outline, element, is_private_key, outline

INTEGER, OCTETS, OID, SEQUENCE, VERSION = 0x02, 0x04, 0x06, 0x30, 0xA0


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


ISSUER, VALIDITY, SUBJECT = (tlv(SEQUENCE, tlv(OID, bytes((byte,)))) for byte in b"ivs")
ALGORITHM = tlv(SEQUENCE, tlv(OID, b"a"))


def certificate(serial: bytes = b"\x01", *, algorithm: bytes = ALGORITHM, version: bytes = b"") -> bytes:
    signed = tlv(SEQUENCE, version, tlv(INTEGER, serial), ALGORITHM, ISSUER, VALIDITY, SUBJECT)
    return tlv(SEQUENCE, signed, algorithm, tlv(0x03, b"\x00"))


@pytest.mark.parametrize("version", [b"", tlv(VERSION, tlv(INTEGER, b"\x02"))])
def test_the_names_are_cut_out_whole(version: bytes) -> None:
    assert outline(certificate(version=version)) == Outline(ISSUER, SUBJECT)


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (b"\x04\x00", "not a SEQUENCE"),
        (tlv(SEQUENCE, b"\x04\x00"), "no TBSCertificate"),
        (tlv(SEQUENCE, tlv(SEQUENCE, b"\x04\x00")), "no serial number"),
        (tlv(SEQUENCE, tlv(SEQUENCE, b"\x02\x00")), "no serial number"),
        (b"\x30\x80", "a length of no definite form"),
        (b"\x30\x85" + bytes(5), "a length of no definite form"),
        (b"\x30\x01", "an element ends at byte 3 of 2"),
        (certificate() + b"\x00\x00", "2 bytes follow the certificate"),
        (b"\x30\x00", "it ends too early"),
        (certificate(algorithm=tlv(SEQUENCE)), "the signature algorithm inside the signed part is not the one outside"),
        *(
            (certificate(serial), "the serial number is not a positive number of at most 20 bytes")
            for serial in (b"\x00", b"\x80", b"\xff", bytes(3), b"\x00" + b"\xff" * 21)
        ),
    ],
)
def test_what_is_not_even_the_outline_of_one(der: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        outline(der)


def test_a_serial_number_has_twenty_bytes_and_a_zero_before_them() -> None:
    assert outline(certificate(b"\x00" + b"\xff" * 20)).issuer == ISSUER


def test_a_length_is_of_up_to_four_bytes_the_most_significant_first() -> None:
    assert element(b"\x04\x84\x00\x00\x01\x02" + bytes(0x102), 0) == (OCTETS, 6, 6 + 0x102)
    assert element(b"\x04\x7f" + bytes(0x7F), 0) == (OCTETS, 2, 2 + 0x7F)


@pytest.mark.parametrize(
    ("der", "is_key"),
    [
        (tlv(SEQUENCE, tlv(INTEGER, b"\x00"), tlv(SEQUENCE)), True),
        (tlv(SEQUENCE, tlv(INTEGER, b"\x00"), tlv(INTEGER, b"\x05")), True),
        (tlv(SEQUENCE, tlv(INTEGER, b"\x01"), tlv(OCTETS)), True),
        (tlv(SEQUENCE, tlv(INTEGER, b"\x03"), tlv(SEQUENCE)), True),
        (tlv(SEQUENCE, tlv(SEQUENCE, tlv(OID, b"p")), tlv(OCTETS, b"x")), True),
        # A version of two bytes, of a number that no format has, or that something else follows.
        (tlv(SEQUENCE, tlv(INTEGER, b"\x01\x00"), tlv(OCTETS)), False),
        (tlv(SEQUENCE, tlv(INTEGER, b"\x02"), tlv(OCTETS)), False),
        (tlv(SEQUENCE, tlv(INTEGER, b"\x00"), tlv(OID, b"p")), False),
        (tlv(SEQUENCE, tlv(INTEGER, b"\x03"), tlv(OCTETS)), False),
        # No algorithm, no octets, or something behind them.
        (tlv(SEQUENCE, tlv(SEQUENCE, tlv(INTEGER, b"\x01")), tlv(OCTETS, b"x")), False),
        (tlv(SEQUENCE, tlv(OCTETS, tlv(OID, b"p")), tlv(OCTETS, b"x")), False),
        (tlv(SEQUENCE, tlv(SEQUENCE, tlv(OID, b"p")), tlv(SEQUENCE)), False),
        (tlv(SEQUENCE, tlv(SEQUENCE, tlv(OID, b"p")), tlv(OCTETS, b"x"), tlv(OCTETS)), False),
        (tlv(OCTETS, tlv(INTEGER, b"\x00"), tlv(SEQUENCE)), False),
        (b"\x30\x00", False),
        (b"", False),
        (certificate(), False),
    ],
)
def test_a_private_key_is_known_by_its_shape(der: bytes, is_key: bool) -> None:
    assert is_private_key(der) is is_key

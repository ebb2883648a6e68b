"""A file of a stranger says how long deriving its key takes: nobody waits for hours to hear of a wrong password."""

from __future__ import annotations

import base64

import pytest

from moorage.errors import Invalid
from moorage.pki.der import MAX_ROUNDS, derivation_rounds
from moorage.pki.keys import load_key, save_key
from moorage.pki.pfx import read_pfx, write_pfx
from tests import certs

PUMP = certs.device(certs.root())


def element(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    return bytes((tag, 0x82)) + len(body).to_bytes(2, "big") + body


def number(value: int) -> bytes:
    return element(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def asking(rounds: int) -> bytes:
    """Salt and rounds, a few levels down, one of them in an OCTET STRING as in PKCS#12."""
    parameters = element(0x30, element(0x04, b"saltsalt"), number(rounds), number(32))
    inside = element(0x30, element(0x06, b"\x2a\x03\x04"), parameters)
    return element(0x30, number(3), element(0x30, element(0xA0, element(0x04, inside))))


def test_rounds_are_found_where_files_have_them() -> None:
    assert derivation_rounds(save_key(PUMP.key)) == 0, "it is PEM"
    assert derivation_rounds(write_pfx(PUMP.key, PUMP.certificate, password="1234")) == 20_000
    assert derivation_rounds(asking(7)) == 7
    assert derivation_rounds(asking(2**31 - 1)) == 2**31 - 1


def test_a_number_of_any_length_is_only_large() -> None:
    assert derivation_rounds(asking(2 ** (8 * 20_000))) > MAX_ROUNDS


def test_what_is_no_der_is_passed_over() -> None:
    whole = asking(7)
    for size in range(len(whole)):
        assert derivation_rounds(whole[:size]) in (0, 7)
    assert derivation_rounds(b"\x30\x80" + asking(9) + b"\x00\x00") == 9, "a length that is not said"


def test_nothing_is_hidden_behind_more_elements_than_are_looked_at() -> None:
    assert derivation_rounds(b"\x05\x00" * 20_000) == 0
    assert derivation_rounds(b"\x05\x00" * 20_001) > MAX_ROUNDS
    assert derivation_rounds(element(0x30, b"\x30\x00" * 9_999) + b"\x05\x00" * 10_000) == 0
    assert derivation_rounds(element(0x30, b"\x30\x00" * 9_999) + b"\x05\x00" * 10_001) > MAX_ROUNDS
    with pytest.raises(Invalid, match="rounds"):
        read_pfx(asking(2**31 - 1) + b"\x05\x00" * 20_000, password="1234")


def test_only_what_has_elements_is_walked() -> None:
    salted = element(0x04, b"s") + number(7)
    assert derivation_rounds(element(0x30, salted)) == derivation_rounds(b"\x30\x80" + salted) == 7
    assert derivation_rounds(element(0x04, element(0x30, salted))) == 7
    # Octets that begin as no SEQUENCE does, and a text that begins as one.
    assert derivation_rounds(element(0x04, salted)) == 0
    assert derivation_rounds(element(0x0C, element(0x30, salted))) == 0
    # Eight bytes of a longer number.
    assert derivation_rounds(asking(2**64 + 1)) == 2**56


def test_a_file_that_asks_for_hours_is_refused_at_once() -> None:
    with pytest.raises(Invalid, match="rounds") as refused:
        read_pfx(asking(2**31 - 1), password="1234")
    assert refused.value.reason == "pfx.malformed"
    body = base64.encodebytes(asking(2**31 - 1))
    pem = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + body + b"-----END ENCRYPTED PRIVATE KEY-----\n"
    with pytest.raises(Invalid, match="rounds") as refused:
        load_key(pem, password=b"1234")
    assert refused.value.reason == "key.malformed"
    with pytest.raises(Invalid) as refused:
        load_key(pem)
    assert refused.value.reason in ("key.password", "key.malformed"), "without a password nothing is derived"

from __future__ import annotations

import base64
import textwrap

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid
from moorage.pki.inputs import MAX_CERTIFICATES, MAX_INPUT_BYTES, parse_certificate, parse_certificates, parse_csr
from moorage.pki.issue import fullchain, make_csr
from moorage.pki.keys import save_key
from moorage.pki.pfx import write_pfx
from tests.certs import device, intermediate, key_of, root

ROOT = root()
LINE = intermediate(ROOT)
PUMP = device(LINE)
DER = PUMP.certificate.der
PEM = PUMP.certificate.pem
CHAIN = fullchain(PUMP.fullchain)


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def wrapped(text: str, newline: str = "\n") -> str:
    return newline.join(textwrap.wrap(text, 64))


SPELLINGS: dict[str, bytes | str] = {
    "PEM": PEM,
    "PEM as bytes": PEM.encode(),
    "PEM with CRLF": PEM.replace("\n", "\r\n"),
    "PEM with trailing spaces and tabs": PEM.replace("\n", " \t\n"),
    "PEM without line breaks": PEM.replace("\n", ""),
    "PEM with a byte order mark": "\ufeff" + PEM,
    "PEM with an older label": PEM.replace("CERTIFICATE", "X509 CERTIFICATE"),
    "PEM between other lines": f"subject=CN = pump-01\n    Serial: 1\n{PEM}\nnull",
    "PEM behind bag attributes": f"Bag Attributes\n    localKeyID: 01 02\nsubject=CN = pump-01\n\n{PEM}",
    "PEM among other blocks": f"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{PEM}",
    "DER": DER,
    "base64 of DER": b64(DER),
    "base64 of DER in lines": wrapped(b64(DER)),
    "base64 of DER in lines with CRLF": wrapped(b64(DER), "\r\n") + "\r\n",
    "base64 of PEM": b64(PEM),
    "base64 of PEM in lines": wrapped(b64(PEM)) + "\n",
    "base64 of base64 of DER": b64(b64(DER)),
    "base64 as bytes": b64(DER).encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_is_read(spelling: bytes | str) -> None:
    assert parse_certificates(spelling) == [PUMP.certificate]
    assert parse_certificate(spelling) == PUMP.certificate


@pytest.mark.parametrize("spelling", [CHAIN, b64(CHAIN), CHAIN.replace("-\n-", "-\nnull\n-") + "null"])
def test_several_blocks_keep_their_order(spelling: str) -> None:
    assert parse_certificates(spelling) == list(PUMP.fullchain)
    assert parse_certificate(spelling) == PUMP.certificate


def test_base64_that_begins_as_der_does() -> None:
    # "0" is the first byte of DER and a letter of base64.
    with pytest.raises(Invalid, match="certificate.malformed"):
        parse_certificates(b"0" * 400)


SECRET_KEY = key_of("a secret")
PRIVATE = serialization.PrivateFormat
NONE = serialization.NoEncryption()
PASSWORD = serialization.BestAvailableEncryption(b"1234")


def key_bytes(
    form: PRIVATE, encoding: serialization.Encoding, encryption: serialization.KeySerializationEncryption = NONE
) -> bytes:
    return SECRET_KEY.private_bytes(encoding, form, encryption)


RSA_KEY = key_of("a secret", "rsa-2048")
KEYS: dict[str, bytes] = {
    "PKCS#8 PEM": save_key(SECRET_KEY),
    "PKCS#8 PEM, encrypted": save_key(SECRET_KEY, password=b"1234"),
    "SEC1 PEM": key_bytes(PRIVATE.TraditionalOpenSSL, serialization.Encoding.PEM),
    "SEC1 PEM, encrypted": key_bytes(PRIVATE.TraditionalOpenSSL, serialization.Encoding.PEM, PASSWORD),
    "PKCS#8 DER": key_bytes(PRIVATE.PKCS8, serialization.Encoding.DER),
    "PKCS#8 DER, encrypted": key_bytes(PRIVATE.PKCS8, serialization.Encoding.DER, PASSWORD),
    "SEC1 DER": key_bytes(PRIVATE.TraditionalOpenSSL, serialization.Encoding.DER),
    "PKCS#1 PEM": RSA_KEY.private_bytes(serialization.Encoding.PEM, PRIVATE.TraditionalOpenSSL, NONE),
    "PKCS#1 DER": RSA_KEY.private_bytes(serialization.Encoding.DER, PRIVATE.TraditionalOpenSSL, NONE),
    "PKCS#8 DER, RSA": RSA_KEY.private_bytes(serialization.Encoding.DER, PRIVATE.PKCS8, NONE),
    "OpenSSH": SECRET_KEY.private_bytes(serialization.Encoding.PEM, PRIVATE.OpenSSH, NONE),
    "PKCS#12": write_pfx(PUMP.key, PUMP.certificate, PUMP.signers),
    "PKCS#12, encrypted": write_pfx(PUMP.key, PUMP.certificate, password="1234"),
    "certificate, then key": PEM.encode() + save_key(SECRET_KEY),
    "key, then certificate": save_key(SECRET_KEY) + PEM.encode(),
    "key cut off": save_key(SECRET_KEY)[:100],
    "key under another label": save_key(SECRET_KEY).replace(b"PRIVATE KEY", b"CERTIFICATE"),
    "lower case label": save_key(SECRET_KEY).replace(b"PRIVATE KEY", b"private key"),
}


@pytest.mark.parametrize("wrap", [bytes, b64, lambda data: wrapped(b64(data)), lambda data: b64(b64(data))])
@pytest.mark.parametrize("upload", KEYS.values(), ids=KEYS)
def test_a_private_key_is_refused_and_not_quoted(upload: bytes, wrap: type[bytes]) -> None:
    with pytest.raises(Invalid) as caught:
        parse_certificates(wrap(upload))
    refusal = caught.value
    assert refusal.reason == "certificate.private_key"
    told = f"{refusal} {refusal.message} {refusal.fix} {refusal.checks} {refusal.__cause__!r}"
    body = b64(upload).encode() + upload.replace(b"\n", b"")
    assert not any(piece.encode() in body for piece in told.split() if len(piece) > 12)


@pytest.mark.parametrize("certificate", [*PUMP.fullchain, root("RSA", kind="rsa-2048").certificate])
def test_certificates_do_not_look_like_keys(certificate: object) -> None:
    assert parse_certificates(certificate.der) == [certificate]  # type: ignore[attr-defined]  # a Certificate


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "certificate.missing"),
        (" \n", "certificate.missing"),
        (make_csr(SECRET_KEY, "pump-01").public_bytes(serialization.Encoding.PEM), "certificate.missing"),
        ("hello", "certificate.malformed"),
        ("päck", "certificate.malformed"),
        ("\ud800", "certificate.malformed"),
        (PEM[:-30], "certificate.malformed"),
        (PEM.replace("END CERTIFICATE", "END SOMETHING"), "certificate.malformed"),
        (PEM.replace("M", "*", 5), "certificate.malformed"),
        (b64(b"hello" * 40), "certificate.malformed"),
        (make_csr(SECRET_KEY, "pump-01").public_bytes(serialization.Encoding.DER), "certificate.malformed"),
        (b"A" * (MAX_INPUT_BYTES + 1), "certificate.too_large"),
        (PEM * (MAX_CERTIFICATES + 1), "certificate.too_large"),
        (b64(b64(b64(b64(DER)))), "certificate.malformed"),
        (b"-----BEGIN " * 5000, "certificate.malformed"),
    ],
)
def test_refused(data: bytes | str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_certificates(data)
    assert caught.value.reason == reason


def read_or_refused(data: bytes | str) -> None:
    try:
        assert parse_certificates(data)
    except Invalid as refusal:
        assert refusal.reason.startswith("certificate.")


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_random_input_is_refused(data: bytes | str) -> None:
    read_or_refused(data)


@given(st.sampled_from([CHAIN.encode(), b64(CHAIN).encode(), DER, b64(DER).encode()]), st.data())
def test_truncated_input_is_read_or_refused(whole: bytes, data: st.DataObject) -> None:
    read_or_refused(whole[: data.draw(st.integers(0, len(whole)))])


@given(st.lists(st.sampled_from(["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "\n", PEM, "x", "-----"])))
def test_shuffled_pem_lines_are_read_or_refused(lines: list[str]) -> None:
    read_or_refused("".join(lines))


class TestRequests:
    CSR = make_csr(SECRET_KEY, "pump-01")
    DER = CSR.public_bytes(serialization.Encoding.DER)
    PEM = CSR.public_bytes(serialization.Encoding.PEM)

    @pytest.mark.parametrize(
        "spelling", [DER, PEM, b64(DER), b64(PEM), PEM.replace(b"CERTIFICATE", b"NEW CERTIFICATE")]
    )
    def test_every_spelling(self, spelling: bytes | str) -> None:
        assert parse_csr(spelling) == self.CSR

    def test_signed_by_another_key(self) -> None:
        changed = bytearray(self.DER)
        changed[-1] ^= 1
        with pytest.raises(Invalid, match="csr.signature"):
            parse_csr(bytes(changed))

    @pytest.mark.parametrize(
        ("data", "reason"),
        [(save_key(SECRET_KEY), "csr.private_key"), (PEM[:50], "csr.malformed"), (DER[:50], "csr.malformed"),
         (DER + b"x", "csr.malformed"), (globals()["PEM"], "csr.missing")],
    )  # fmt: skip
    def test_refused(self, data: bytes | str, reason: str) -> None:
        with pytest.raises(Invalid) as caught:
            parse_csr(data)
        assert caught.value.reason == reason

    @given(st.binary(max_size=200), st.integers(0, len(DER)))
    def test_damage_is_refused(self, tail: bytes, length: int) -> None:
        if tail == self.DER[length:]:
            return
        with pytest.raises(Invalid):
            parse_csr(self.DER[:length] + tail)

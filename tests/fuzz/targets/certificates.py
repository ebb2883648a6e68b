"""X.509: certificates, chains, requests, revocation lists, OCSP answers, PFX files and keys.

What parses DER is Rust; what walks it before and after is ours. A fuzzer seldom makes a signature that holds, so chains
are judged up to the first check that breaks, and what is behind it is the business of the zoo and the attack table.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509 import ocsp

from moorage.errors import Invalid, Refusal, Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.der import element, is_private_key, outline
from moorage.pki.diagnosis import diagnose_ca, diagnose_device, diagnose_revocation
from moorage.pki.distinguished_names import parse_name
from moorage.pki.inputs import parse_certificate, parse_certificates, parse_csr
from moorage.pki.issue import make_csr
from moorage.pki.keys import load_key, save_key
from moorage.pki.ocsp import read_response
from moorage.pki.pfx import read_pfx, write_pfx
from moorage.pki.policy import check_ca, check_pinned, parse_within_bounds
from moorage.pki.revocation_lists import parse_revocation_list, unpack_revocation_list
from moorage.pki.tpm import KEY_BYTES, parse_public, wrap_key
from moorage.pki.validator import TrustAnchors, Validator
from tests import certs
from tests.certs import NOW
from tests.fuzz.targets.model import Target
from tests.unit.pki.lists import entry, odd_list
from tests.unit.pki.test_ocsp import NONCE, PUMP, ROOT, answer
from tests.vectors.tpm import VECTORS

__all__ = ["TARGETS"]


@cache
def _root() -> certs.Issued:
    return certs.root("Fuzz Root")


@cache
def _plant() -> certs.Issued:
    return certs.intermediate(_root(), "Fuzz Plant")


@cache
def _pump() -> certs.Issued:
    return certs.device(_plant(), "pump-01")


# -- as files and bodies -----------------------------------------------------------------------------------------------


def _check_inputs(data: bytes) -> None:
    is_private_key(data)
    for read in (outline, parse_name):
        try:
            read(data)
        except ValueError:
            pass
    try:
        parse_csr(data)
    except Invalid:
        pass
    try:
        found = parse_certificates(data)
    except Invalid:
        return
    assert 1 <= len(found) <= 16
    for certificate in found:
        # As it is stored and read again.
        assert parse_certificate(certificate.pem) == certificate
        try:
            check_ca(certificate, NOW)
        except Refusal:
            pass
    findings = [*diagnose_device(found, NOW, name="pump-01"), *diagnose_ca(found[0], NOW)]
    assert all(finding.reason and finding.message for finding in findings)


def _input_seeds() -> Iterable[bytes]:
    yield _pump().certificate.der
    yield _root().certificate.der
    yield _pump().pem().encode()
    yield base64.b64encode(_plant().certificate.der)
    yield b"Bag Attributes\n" + _plant().certificate.pem.encode() + b"null\n"
    yield make_csr(certs.key_of("csr"), "pump-01").public_bytes(serialization.Encoding.DER)
    yield make_csr(certs.key_of("csr"), "pump-01").public_bytes(serialization.Encoding.PEM)
    yield _constrained().der


@cache
def _constrained() -> Certificate:
    constraint = x509.NameConstraints([x509.DirectoryName(certs.common_name("pump-01"))], [x509.DNSName("a.example")])
    usage = certs.key_usage(key_cert_sign=True)
    extensions = ((constraint, True), (x509.BasicConstraints(True, 0), True), (usage, True))
    return certs.odd("Fuzz CA", issuer=_root(), extensions=extensions)


# -- as chains in a handshake ------------------------------------------------------------------------------------------


def _chain(data: bytes) -> PeerChain:
    """The elements of `data`, whatever they are."""
    certificates: list[bytes] = []
    at = 0
    while at < len(data) and len(certificates) < 20:
        try:
            end = element(data, at)[2]
        except (IndexError, ValueError):
            end = len(data)
        end = max(end, at + 1)
        certificates.append(data[at:end])
        at = end
    return PeerChain(tuple(certificates))


def _check_chains(data: bytes) -> None:
    chain = _chain(data)
    if not chain:
        return
    try:
        parse_within_bounds(chain, [])
    except Unauthenticated as refusal:
        assert refusal.reason.startswith(("chain.", "certificate.")), refusal
    validator = Validator(TrustAnchors([_root().certificate], [_plant().certificate]))
    try:
        verified = validator.validate(chain, NOW)
    except Unauthenticated as refusal:
        assert any(check.passed is False for check in refusal.checks), refusal
    else:
        # A signature can be written in more than one way; what it signs cannot.
        assert verified.leaf.x509.tbs_certificate_bytes in _issued(), "a leaf that nobody issued"
    try:
        check_pinned(chain, NOW)
    except Unauthenticated:
        pass


@cache
def _issued() -> frozenset[bytes]:
    issued = (*_pump().fullchain, _constrained())
    return frozenset(certificate.x509.tbs_certificate_bytes for certificate in issued)


def _chain_seeds() -> Iterable[bytes]:
    for count in (1, 2, 3):
        yield b"".join(certificate.der for certificate in _pump().fullchain[:count])
    yield _plant().certificate.der * 3
    yield certs.self_signed("pump-01").certificate.der
    yield _constrained().der + _root().certificate.der


# -- revocation --------------------------------------------------------------------------------------------------------


def _check_lists(data: bytes) -> None:
    try:
        unpack_revocation_list(data)
    except Invalid:
        pass
    try:
        found = parse_revocation_list(data)
    except Invalid:
        return
    try:
        packed = found.pack()
    except Invalid as refusal:
        # It speaks of certificates of other issuers too.
        assert refusal.reason == "crl.indirect"
        return
    again = unpack_revocation_list(packed)
    assert list(again.serials()) == list(found.serials())
    assert (again.issuer, again.number, again.next_update) == (found.issuer, found.number, found.next_update)
    for serial, listed in found.serials():
        assert found.find(found.issuer_key, serial) == listed
    found.signature.is_by(_root().certificate.public_key)
    diagnose_revocation([_pump().certificate, _plant().certificate, _root().certificate], [found], NOW)


def _list_seeds() -> Iterable[bytes]:
    plain = odd_list(
        _plant(),
        entry(_pump().certificate.serial_number),
        entry(7, (x509.CRLReason(x509.ReasonFlags.key_compromise), False)),
    )
    yield plain
    yield x509.load_der_x509_crl(plain).public_bytes(serialization.Encoding.PEM)
    yield parse_revocation_list(plain).pack()
    other = x509.CertificateIssuer([x509.DirectoryName(_root().certificate.x509.subject)])
    point = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
    yield odd_list(_plant(), entry(9, (other, True)), extensions=((x509.CRLNumber(3), False), (point, True)))
    yield odd_list(_plant(), entry(5), extensions=((x509.CRLNumber(4), False), (x509.DeltaCRLIndicator(1), True)))


def _check_answers(data: bytes) -> None:
    try:
        found = read_response(data, PUMP.certificate, ROOT.certificate, NONCE, NOW)
    except Invalid as refusal:
        assert refusal.reason.startswith("ocsp."), refusal
        return
    assert found.until > NOW - timedelta(days=1)


def _answer_seeds() -> Iterable[bytes]:
    yield answer()
    yield answer(status=ocsp.OCSPCertStatus.REVOKED, reason=x509.ReasonFlags.key_compromise)
    yield answer(nonce=None, sent=(ROOT,))
    yield answer(critical=True, due=None)
    failed = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    yield failed.public_bytes(serialization.Encoding.DER)


# -- files with keys ---------------------------------------------------------------------------------------------------

_PASSWORD: Final = "pump"


def _check_keys(data: bytes) -> None:
    for password in (None, _PASSWORD):
        try:
            found = read_pfx(data, password=password)
            again = read_pfx(write_pfx(found.key, found.certificate, found.signers))
            assert again.certificate == found.certificate
        except Invalid:
            pass
        try:
            key = load_key(data, password=None if password is None else password.encode())
            assert save_key(load_key(save_key(key))) == save_key(key)
        except Invalid:
            pass


def _key_seeds() -> Iterable[bytes]:
    key = _pump().key
    yield save_key(key)
    yield save_key(key, password=_PASSWORD.encode())
    yield key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    yield write_pfx(key, _pump().certificate, _pump().signers)
    yield write_pfx(key, _pump().certificate, password=_PASSWORD)
    yield pkcs12.serialize_key_and_certificates(
        None, None, _root().certificate.x509, None, BestAvailableEncryption(b"pump")
    )


# -- TPMs --------------------------------------------------------------------------------------------------------------


def _check_tpm(data: bytes) -> None:
    try:
        public = parse_public(data, "it")
    except Invalid as refusal:
        assert refusal.reason == "tpm.public_area"
        return
    # As it came, behind its size; and a key can be wrapped for it.
    assert data[2:] == public.area
    assert public.name and public.sha256
    wrap_key(public, public, bytes(KEY_BYTES))


def _tpm_seeds() -> Iterable[bytes]:
    for vector in VECTORS:
        yield bytes.fromhex(vector["public"])


_DER: Final = (
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x01\x00",
    b"\x06\x03\x55\x04\x03",
    b"\x05\x00",
    b"\xa3\x82",
)
_PEM: Final = (b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n", b"-----BEGIN ", b"-----", b"\n", b"=")

TARGETS: Final = (
    Target("certificates", _check_inputs, _input_seeds, (*_DER, *_PEM)),
    Target("chains", _check_chains, _chain_seeds, _DER),
    Target("revocation_lists", _check_lists, _list_seeds, (*_DER, b"-----BEGIN X509 CRL-----\n")),
    Target("tpm_public", _check_tpm, _tpm_seeds, (b"\x00\x01", b"\x00\x23", b"\x00\x0b", b"\x00\x10", b"\xff\xff")),
    Target("ocsp", _check_answers, _answer_seeds, _DER),
    Target(
        "keys",
        _check_keys,
        _key_seeds,
        (*_DER, b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", b"\x02\x04\x7f\xff\xff\xff"),
    ),
)

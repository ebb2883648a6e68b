"""OCSP (RFC 6960) as a client: what is asked, and whether an answer is one. Who carries the two is no matter here.

An answer counts when all of this holds, in this order:

  1. it is a successful, basic one, without a critical extension that is not understood;
  2. it is signed by the certificate's issuer, or by a responder that the same key certified directly for that
     (extended key usage OCSPSigning), within its dates, and not revoked where somebody knows (4.2.2.2);
  3. its nonce is the one that was sent. Responders that answer from a store send none (RFC 8954); then dates decide;
  4. it is about the certificate: name and key of the issuer, and the serial number;
  5. it is fresh: of now, and the next one not overdue; at most `MAX_AGE` old when it does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.keys import is_strong
from moorage.pki.policy import is_signed_by
from moorage.pki.revocation import GOOD, Revocation, Revoked, Status, Unknown
from moorage.pki.signatures import describe_signature, has_strong_signature, verifies

__all__ = ["MAX_AGE", "MAX_RESPONSE_BYTES", "NONCE_BYTES", "Answer", "make_request", "read_response"]

# An answer for one certificate with a responder's RSA-4096 certificate is under 4 KiB.
MAX_RESPONSE_BYTES: Final = 64 * 1024
# RFC 8954: 32 octets are wished for, and no more are taken.
NONCE_BYTES: Final = 32
MAX_AGE: Final = timedelta(hours=24)
_SKEW: Final = timedelta(minutes=5)
_MAX_RESPONDERS: Final = 4
_MAX_ANSWERS: Final = 16
_T = TypeVar("_T")

_RSA: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)
_ECDSA: Final = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    }
)


class Answer(NamedTuple):
    """What a responder says, and for how long."""

    status: Status
    until: datetime


def make_request(certificate: Certificate, issuer: Certificate, nonce: bytes) -> bytes:
    """DER of the question whether `certificate` is revoked. `nonce` is random and `NONCE_BYTES` long.

    The certificate is named with SHA-1: RFC 5019 asks for it, and most responders know no other. Nothing hangs on it,
    since an answer for another certificate of that hash would have to be signed as well.
    """
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate.x509, issuer.x509, hashes.SHA1())
    request = builder.add_extension(x509.OCSPNonce(nonce), critical=False).build()
    return request.public_bytes(serialization.Encoding.DER)


def read_response(
    data: bytes,
    certificate: Certificate,
    issuer: Certificate,
    nonce: bytes,
    now: datetime,
    *,
    revocation: Revocation | None = None,
) -> Answer:
    """What an answer says of `certificate`. `revocation` is asked for responders that are not exempt (id-pkix-nocheck).

    Raises `Invalid` when it is no answer to the question: `ocsp.too_large`, `ocsp.malformed`, `ocsp.unsuccessful`,
    `ocsp.critical_extension`, `ocsp.weak_signature`, `ocsp.signer`, `ocsp.nonce`, `ocsp.other_certificate`,
    `ocsp.stale`.
    """
    if len(data) > MAX_RESPONSE_BYTES:
        raise Invalid("ocsp.too_large", f"an answer of {len(data)} bytes; at most {MAX_RESPONSE_BYTES} are read")
    response = _readable(lambda: ocsp.load_der_ocsp_response(data))
    if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise Invalid("ocsp.unsuccessful", f"the responder gives no answer: {response.response_status.name.lower()}")
    extensions = _readable(lambda: response.extensions)
    for extension in extensions:
        if extension.critical and not isinstance(extension.value, x509.OCSPNonce):
            raise Invalid(
                "ocsp.critical_extension",
                f"the answer has the critical extension {extension.oid.dotted_string}, which is not understood here",
            )
    _check_signer(response, issuer, now, revocation)
    sent_back = next((each.value.nonce for each in extensions if isinstance(each.value, x509.OCSPNonce)), None)
    if sent_back is not None and sent_back != nonce:
        raise Invalid("ocsp.nonce", "the answer is to another question: its nonce is not the one that was sent")
    return _status(_answer(response, certificate, issuer), certificate, now)


def _check_signer(
    response: ocsp.OCSPResponse, issuer: Certificate, now: datetime, revocation: Revocation | None
) -> None:
    if not has_strong_signature(response):
        raise Invalid("ocsp.weak_signature", f"the answer is signed with {describe_signature(response)}")
    if is_strong(issuer.public_key) and _signed(response, issuer):
        return
    problem = f"neither the key of '{issuer.subject}' nor that of a responder of its own signed the answer"
    for sent in _readable(lambda: response.certificates)[:_MAX_RESPONDERS]:
        responder = _readable(partial(_read_responder, sent))
        if not is_strong(responder.public_key) or not _signed(response, responder):
            continue
        why = _why_not_a_responder(responder, issuer, now, revocation)
        if not why:
            return
        problem = f"'{responder.subject}' signed the answer, and {why}"
    raise Invalid("ocsp.signer", problem)


def _read_responder(sent: x509.Certificate) -> Certificate:
    responder = Certificate.from_x509(sent)
    # Names are read on demand, and they come from whoever answered.
    _ = responder.subject_name, responder.issuer_name
    return responder


def _why_not_a_responder(
    responder: Certificate, issuer: Certificate, now: datetime, revocation: Revocation | None
) -> str:
    """Empty when `issuer` lets it answer."""
    if responder.issuer_key != issuer.subject_key or not is_signed_by(responder, issuer):
        return f"'{issuer.subject}' did not issue its certificate"
    extensions = responder.extensions
    if ExtendedKeyUsageOID.OCSP_SIGNING not in (extensions.extended_key_usage or ()):
        return "its certificate is not for OCSP signing"
    if extensions.key_usage is not None and not extensions.key_usage.digital_signature:
        return "its certificate has a key usage without digitalSignature"
    if extensions.unhandled_critical:
        return f"its certificate has the critical extension {extensions.unhandled_critical[0]}"
    if not has_strong_signature(responder.x509):
        return f"its certificate is signed with {describe_signature(responder.x509)}"
    # notAfter includes its whole last second (RFC 5280 4.1.2.5).
    if not responder.not_before <= now.replace(microsecond=0) <= responder.not_after:
        return f"its certificate is valid from {responder.not_before} until {responder.not_after}"
    if revocation is not None and not any(
        isinstance(each.value, x509.OCSPNoCheck) for each in responder.x509.extensions
    ):
        status = revocation.status((responder, issuer), 0, now)
        if isinstance(status, Revoked):
            return f"its certificate is revoked, says {status.source}"
    return ""


def _signed(response: ocsp.OCSPResponse, signer: Certificate) -> bool:
    oid = response.signature_algorithm_oid
    algorithm = _readable(lambda: response.signature_hash_algorithm)
    # The library does not tell the parameters of RSASSA-PSS here; such an answer has no signer.
    how: padding.PKCS1v15 | ec.ECDSA | None = None
    if oid in _ECDSA and algorithm is not None:
        how = ec.ECDSA(algorithm)
    elif oid in _RSA:
        how = padding.PKCS1v15()
    return verifies(signer.public_key, response.signature, response.tbs_response_bytes, oid, how, algorithm)


def _answer(response: ocsp.OCSPResponse, certificate: Certificate, issuer: Certificate) -> ocsp.OCSPSingleResponse:
    for single in _readable(lambda: list(islice(response.responses, _MAX_ANSWERS))):
        if single.serial_number != certificate.serial_number:
            continue
        algorithm = _readable(partial(getattr, single, "hash_algorithm"))
        if not isinstance(algorithm, hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
            continue
        wanted = ocsp.OCSPRequestBuilder().add_certificate(certificate.x509, issuer.x509, algorithm).build()
        if (single.issuer_name_hash, single.issuer_key_hash) == (wanted.issuer_name_hash, wanted.issuer_key_hash):
            return single
    raise Invalid(
        "ocsp.other_certificate",
        f"the answer says nothing of '{certificate.subject}' (serial {certificate.serial_number:X}) of "
        f"'{issuer.subject}'",
    )


def _status(single: ocsp.OCSPSingleResponse, certificate: Certificate, now: datetime) -> Answer:
    # The library takes the year 0 for one, and fails when it is asked for it.
    made, due, revoked = _readable(lambda: (single.this_update_utc, single.next_update_utc, single.revocation_time_utc))
    if made > now + _SKEW:
        raise Invalid("ocsp.stale", f"the answer is from the future, {made:%Y-%m-%d %H:%M:%S} UTC")
    until = due if due is not None else made + MAX_AGE
    if until < now - _SKEW:
        why = f"the next one was due at {due:%Y-%m-%d %H:%M:%S} UTC" if due else f"it was made at {made:%Y-%m-%d %H:%M}"
        raise Invalid("ocsp.stale", f"the answer is too old: {why}")
    if single.certificate_status == ocsp.OCSPCertStatus.GOOD:
        return Answer(GOOD, until)
    if single.certificate_status == ocsp.OCSPCertStatus.REVOKED:
        reason = single.revocation_reason
        date = revoked or made.astimezone(UTC)
        source = f"the OCSP responder of '{certificate.issuer}' at {made:%Y-%m-%d %H:%M} UTC"
        return Answer(Revoked(reason.value if reason is not None else "unspecified", date, source), until)
    return Answer(Unknown(f"the OCSP responder of '{certificate.issuer}' does not know the certificate"), until)


def _readable(read: Callable[[], _T]) -> _T:
    """The library reads parts of an answer when they are asked for."""
    try:
        return read()
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        Invalid,
    ) as error:
        raise Invalid("ocsp.malformed", f"this is not a well-formed OCSP answer: {error}") from error

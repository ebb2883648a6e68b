"""Certificates for tests, issued by `moorage.pki.issue`; the wrong ones by hand, as nobody should issue them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.issue import issue_device, issue_intermediate, issue_root, issue_self_signed
from moorage.pki.keys import PrivateKey, make_key, save_key

NOW = datetime.now(UTC).replace(microsecond=0)
# Not on the minute: of what a clock that stands still has stamped, the minutes in `[then, now)` would hold nothing.
NOW -= timedelta(seconds=1 if NOW.second == 0 else 0)
LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and the certificates above it, closest first."""

    certificate: Certificate
    key: PrivateKey
    signers: tuple[Certificate, ...] = ()

    @property
    def fullchain(self) -> tuple[Certificate, ...]:
        return (self.certificate, *self.signers)

    def sends(self, count: int | None = None) -> PeerChain:
        """What a peer with this certificate sends: the leaf and everything above it but the root, or `count` of them.

        A fresh copy of the bytes each time, as from a socket.
        """
        chain = self.fullchain
        if count is None:
            count = max(1, len(chain) - 1)
        return PeerChain(tuple(bytes(bytearray(certificate.der)) for certificate in chain[:count]))

    def pem(self) -> str:
        return "".join(certificate.pem for certificate in self.fullchain)

    def key_pem(self) -> bytes:
        return save_key(self.key)


@cache
def key_of(label: str, kind: str = "ec-p256") -> PrivateKey:
    """One key per label and kind for the whole run: RSA keys take long to make."""
    return make_key(kind)


def root(name: str = "Plant Root", *, kind: str = "ec-p256", now: datetime = NOW, label: str = "") -> Issued:
    """A self-signed CA. Another `label` makes another key under the same name."""
    key = key_of(f"{name}/{label}", kind)
    return Issued(issue_root(key, name, now=now, lifetime=LIFETIME), key)


def intermediate(
    issuer: Issued,
    name: str = "Plant Line 7",
    *,
    kind: str = "ec-p256",
    path_length: int | None = None,
    constraints: x509.NameConstraints | None = None,
    now: datetime = NOW,
    lifetime: timedelta = LIFETIME,
    label: str = "",
) -> Issued:
    key = key_of(f"{name}/{label}", kind)
    certificate = issue_intermediate(
        key.public_key(),
        name,
        issuer=issuer.certificate,
        issuer_key=issuer.key,
        now=now,
        lifetime=lifetime,
        path_length=path_length,
        constraints=constraints,
    )
    return Issued(certificate, key, issuer.fullchain)


def device(
    issuer: Issued,
    identity: str = "pump-01",
    *,
    kind: str = "ec-p256",
    now: datetime = NOW,
    lifetime: timedelta = LIFETIME,
    label: str = "",
) -> Issued:
    key = key_of(f"{identity}/{label}", kind)
    certificate = issue_device(
        key.public_key(), identity, issuer=issuer.certificate, issuer_key=issuer.key, now=now, lifetime=lifetime
    )
    return Issued(certificate, key, issuer.fullchain)


def self_signed(identity: str = "pump-01", *, kind: str = "ec-p256", now: datetime = NOW, label: str = "") -> Issued:
    key = key_of(f"{identity}/{label}", kind)
    return Issued(issue_self_signed(key, identity, now=now, lifetime=LIFETIME), key)


CLIENT_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
NOT_A_CA = x509.BasicConstraints(False, None)
IS_A_CA = x509.BasicConstraints(True, None)


def key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=not digital_signature and not key_cert_sign,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def common_name(text: str) -> x509.Name:
    return name((NameOID.COMMON_NAME, text))


def odd(
    subject: x509.Name | str = "pump-01",
    *,
    issuer: Issued | None = None,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    public_key: CertificatePublicKeyTypes | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    issuer_name: x509.Name | None = None,
    not_before: datetime = NOW - timedelta(minutes=5),
    not_after: datetime = NOW + LIFETIME,
    algorithm: hashes.SHA224 | hashes.SHA256 | None = None,
    pss: bool = False,
    serial: int | None = None,
) -> Certificate:
    """A certificate with exactly these extensions and nothing else; self-signed without an issuer."""
    subject = common_name(subject) if isinstance(subject, str) else subject
    key = key or key_of("odd")
    above = issuer.certificate.x509.subject if issuer else subject
    signer: CertificateIssuerPrivateKeyTypes = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above if issuer_name is None else issuer_name)
        .public_key(public_key or key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        return Certificate.from_x509(builder.sign(signer, None))
    chosen = algorithm or hashes.SHA256()
    how = padding.PSS(padding.MGF1(chosen), chosen.digest_size) if pss else None
    return Certificate.from_x509(builder.sign(signer, chosen, rsa_padding=how))


def signed_with_sha1(certificate: Certificate, key: rsa.RSAPrivateKey) -> Certificate:
    """The same certificate as `key` would have signed it in 2010: the library does not do that any more."""
    return _signed_anew(certificate, key, b"\x05", hashes.SHA1())


def signed_with_md5(certificate: Certificate, key: rsa.RSAPrivateKey) -> Certificate:
    """The same certificate as `key` would have signed it in 2000."""
    return _signed_anew(certificate, key, b"\x04", hashes.MD5())


def _signed_anew(
    certificate: Certificate, key: rsa.RSAPrivateKey, last: bytes, algorithm: hashes.SHA1 | hashes.MD5
) -> Certificate:
    """`last` ends the object identifier of RSA with this hash (PKCS #1)."""
    new, old = (bytes.fromhex("06092a864886f70d0101") + each for each in (b"\x0b", last))
    signed_part = certificate.x509.tbs_certificate_bytes
    old_part = signed_part.replace(new, old)
    signature = key.sign(old_part, padding.PKCS1v15(), algorithm)
    der = certificate.der.replace(signed_part, old_part).replace(new, old)
    return Certificate(der.replace(certificate.x509.signature, signature))


@cache
def weak_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


@cache
def odd_curve_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256K1())

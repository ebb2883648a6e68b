"""Issuing: root, intermediate, device, server and verification certificates, and certificate requests.

Everything issued here passes `pki/policy.py` where it is meant to, and OpenSSL's strict checks: serial numbers are
random, a CA's basicConstraints and key usage are critical, key identifiers are always there. `now` is an argument;
`lifetime` counts from it and may be as short as a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.der import element
from moorage.pki.distinguished_names import parse_name
from moorage.pki.keys import STRONG_KEYS, PrivateKey, describe_key, is_strong

__all__ = [
    "MAX_COMMON_NAME",
    "fullchain",
    "hash_for",
    "issue_device",
    "issue_intermediate",
    "issue_root",
    "issue_self_signed",
    "issue_server",
    "issue_verification",
    "key_id_of",
    "key_matches",
    "make_csr",
    "server_constraints",
    "sign_csr",
]

# X.520 ub-common-name, in characters.
MAX_COMMON_NAME: Final = 64

# A device's clock may be behind ours; a certificate of a few minutes is made to try out expiry and starts now.
_BACKDATE: Final = timedelta(minutes=5)
_TOO_SHORT_TO_BACKDATE: Final = timedelta(hours=1)
_VERIFICATION_LIFETIME: Final = timedelta(days=1)

_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def issue_root(
    key: PrivateKey,
    common_name: str,
    *,
    now: datetime,
    lifetime: timedelta,
    path_length: int | None = None,
    constraints: x509.NameConstraints | None = None,
    backdate: timedelta | None = None,
) -> Certificate:
    """A self-signed CA. `path_length` bounds the intermediates below it; None leaves them free."""
    name = _name(common_name)
    builder = _begin(name, name, key.public_key(), _key_id(key.public_key()), now, lifetime, backdate)
    return _sign(_as_ca(builder, path_length, constraints), key)


def issue_intermediate(
    public_key: CertificatePublicKeyTypes,
    common_name: str,
    *,
    issuer: Certificate,
    issuer_key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    path_length: int | None = None,
    constraints: x509.NameConstraints | None = None,
    backdate: timedelta | None = None,
) -> Certificate:
    """A CA below `issuer`. Raises `Invalid`: `issuer.wrong_key`, `certificate.common_name`, `certificate.lifetime`."""
    builder = _begin_under(issuer, issuer_key, _name(common_name), public_key, now, lifetime, backdate)
    return _sign(_as_ca(builder, path_length, constraints), issuer_key)


def issue_device(
    public_key: CertificatePublicKeyTypes,
    identity: str,
    *,
    issuer: Certificate,
    issuer_key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta | None = None,
) -> Certificate:
    """A leaf for TLS clients whose common name is `identity`: a device id, or `device/module`. Raises as above."""
    builder = _begin_under(issuer, issuer_key, _name(identity), public_key, now, lifetime, backdate)
    return _sign(_as_leaf(builder, public_key, ExtendedKeyUsageOID.CLIENT_AUTH), issuer_key)


def issue_self_signed(
    key: PrivateKey, identity: str, *, now: datetime, lifetime: timedelta, backdate: timedelta | None = None
) -> Certificate:
    """A leaf for a client that is registered by its thumbprint, signed by its own key."""
    name = _name(identity)
    builder = _begin(name, name, key.public_key(), _key_id(key.public_key()), now, lifetime, backdate)
    return _sign(_as_leaf(builder, key.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH), key)


def issue_server(
    public_key: CertificatePublicKeyTypes,
    *,
    dns_names: Sequence[str],
    addresses: Sequence[IPv4Address | IPv6Address] = (),
    issuer: Certificate,
    issuer_key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta | None = None,
) -> Certificate:
    """A leaf for a TLS server with all its names as alternative names.

    Raises `Invalid` (`certificate.host_name`) for a name that is not ASCII, and when there is no name at all.
    """
    names: list[x509.GeneralName] = [_dns_name(name) for name in dns_names]
    names += [x509.IPAddress(address) for address in addresses]
    if not names:
        raise Invalid("certificate.host_name", "a server certificate needs a DNS name or an address")
    # Clients look at the alternative names alone (RFC 9525); the subject is for people.
    common_name = str([*dns_names, *addresses][0])
    subject = _name(common_name if len(common_name) <= MAX_COMMON_NAME else "server")
    builder = _begin_under(issuer, issuer_key, subject, public_key, now, lifetime, backdate)
    builder = _as_leaf(builder, public_key, ExtendedKeyUsageOID.SERVER_AUTH)
    return _sign(builder.add_extension(x509.SubjectAlternativeName(names), critical=False), issuer_key)


def issue_verification(
    ca: Certificate,
    ca_key: PrivateKey,
    code: str,
    *,
    now: datetime,
    lifetime: timedelta = _VERIFICATION_LIFETIME,
    backdate: timedelta | None = None,
) -> Certificate:
    """The certificate that proves possession of `ca_key`: its common name is the code (see `pki/possession.py`).

    It carries the CA's own public key, so that nothing new has to be kept secret.
    """
    public_key = ca_key.public_key()
    return issue_device(public_key, code, issuer=ca, issuer_key=ca_key, now=now, lifetime=lifetime, backdate=backdate)


def make_csr(key: PrivateKey, common_name: str) -> x509.CertificateSigningRequest:
    """A PKCS#10 request for `common_name`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name))
    return builder.sign(key, hash_for(key))


def sign_csr(
    request: x509.CertificateSigningRequest,
    *,
    issuer: Certificate,
    issuer_key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta | None = None,
) -> Certificate:
    """A device certificate for the key and the one common name of a request; what else it asks for is not granted.

    Raises `Invalid`: `csr.signature` when the request is not signed by its own key, `csr.common_name`, `csr.weak_key`,
    `csr.malformed` when its subject cannot be read.
    """
    public_key = request.public_key()
    if not is_strong(public_key):
        raise Invalid(
            "csr.weak_key", f"the request is for a key of {describe_key(public_key)}; accepted: {STRONG_KEYS}"
        )
    if not request.is_signature_valid:
        raise Invalid("csr.signature", "the request is not signed by the key it asks a certificate for")
    names = _common_names(request)
    if len(names) != 1:
        raise Invalid("csr.common_name", f"exactly one common name says who a device is; the request has {len(names)}")
    return issue_device(
        public_key,
        names[0],
        issuer=issuer,
        issuer_key=issuer_key,
        now=now,
        lifetime=lifetime,
        backdate=backdate,
    )


def server_constraints(
    dns_names: Iterable[str], networks: Iterable[IPv4Network | IPv6Network] = ()
) -> x509.NameConstraints:
    """Constraints for a server CA (decisions T13): whoever steals its key can pose only as these names.

    A form without a permitted name is closed altogether: silence would leave it open (RFC 5280 4.2.1.10).
    """
    permitted: list[x509.GeneralName] = [_dns_name(name) for name in dns_names]
    if not permitted:
        # "invalid." is reserved and belongs to nobody (RFC 6761).
        permitted.append(x509.DNSName("invalid"))
    addresses = [x509.IPAddress(network) for network in networks]
    permitted += addresses
    everything = [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
    return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None if addresses else everything)


def fullchain(certificates: Iterable[Certificate]) -> str:
    """PEM text, leaf first."""
    return "".join(certificate.pem for certificate in certificates)


def key_matches(certificate: Certificate, key: PrivateKey) -> bool:
    """Whether `key` is the private key of `certificate`."""
    return _spki(certificate.public_key) == _spki(key.public_key())


def _name(common_name: str) -> x509.Name:
    if not 1 <= len(common_name) <= MAX_COMMON_NAME:
        raise Invalid(
            "certificate.common_name",
            f"a common name has 1 to {MAX_COMMON_NAME} characters (X.520); {common_name[:80]!r} has {len(common_name)}",
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _common_names(request: x509.CertificateSigningRequest) -> list[str]:
    """Of its subject (RFC 2986 4.1: what follows the version), which the library would read in its own way."""
    body = request.tbs_certrequest_bytes
    subject = element(body, element(body, 0)[1])[2]
    try:
        return parse_name(body[subject : element(body, subject)[2]]).common_names()
    except ValueError as error:
        raise Invalid("csr.malformed", f"the subject of the request cannot be read: {error}") from error


def _dns_name(name: str) -> x509.DNSName:
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise Invalid("certificate.host_name", f"{name[:80]!r} is not an ASCII host name; write it as IDNA") from error


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: CertificatePublicKeyTypes,
    issuer_key_id: bytes,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta | None,
) -> x509.CertificateBuilder:
    if lifetime < timedelta(seconds=1):
        raise Invalid(
            "certificate.lifetime", f"a certificate lives at least a second, not {lifetime.total_seconds()} s"
        )
    if backdate is None:
        backdate = timedelta() if lifetime <= _TOO_SHORT_TO_BACKDATE else _BACKDATE
    try:
        not_after = now + lifetime
    except OverflowError as error:
        raise Invalid("certificate.lifetime", "the certificate would outlive the calendar (year 9999)") from error
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before((now - backdate).replace(microsecond=0))
        .not_valid_after(not_after.replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier(_key_id(public_key)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(issuer_key_id, None, None), critical=False)
    )


def _begin_under(
    issuer: Certificate,
    issuer_key: PrivateKey,
    subject: x509.Name,
    public_key: CertificatePublicKeyTypes,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta | None,
) -> x509.CertificateBuilder:
    if not key_matches(issuer, issuer_key):
        raise Invalid("issuer.wrong_key", f"this is not the private key of '{issuer.subject}'")
    return _begin(subject, issuer.x509.subject, public_key, key_id_of(issuer), now, lifetime, backdate)


def key_id_of(issuer: Certificate) -> bytes:
    """The issuer's own word for its key holds, however it was computed (RFC 5280 4.2.1.2)."""
    return issuer.extensions.subject_key_id or _key_id(issuer.public_key)


def _key_id(public_key: CertificatePublicKeyTypes) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(public_key).digest


def _as_ca(
    builder: x509.CertificateBuilder, path_length: int | None, constraints: x509.NameConstraints | None
) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
    builder = builder.add_extension(_CA_USAGE, critical=True)
    if constraints is not None:
        # RFC 5280 wants it critical. Small TLS stacks that cannot evaluate constraints then refuse the CA altogether,
        # and everyone who can evaluates them either way.
        builder = builder.add_extension(constraints, critical=False)
    return builder


def _as_leaf(
    builder: x509.CertificateBuilder, public_key: CertificatePublicKeyTypes, usage: x509.ObjectIdentifier
) -> x509.CertificateBuilder:
    key_usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        # For the RSA key exchange of TLS 1.2, which some boards still ask for by name.
        key_encipherment=isinstance(public_key, rsa.RSAPublicKey),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(key_usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> Certificate:
    return Certificate.from_x509(builder.sign(key, hash_for(key)))


def hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """What is signed with `key`: a hash of its strength; None where the key's own algorithm says it."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.key_size > 384:
            return hashes.SHA512()
        if key.curve.key_size > 256:
            return hashes.SHA384()
    return hashes.SHA256()


def _spki(public_key: CertificatePublicKeyTypes) -> bytes:
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

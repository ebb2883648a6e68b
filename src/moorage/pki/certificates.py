"""X.509 certificates as values.

A `Certificate` keeps the DER it was made from: that is what thumbprints are taken of and what is stored. Making one
parses it whole (structure, extensions, key), so everything that holds a `Certificate` holds a readable one; making one
says nothing about trust. A `PeerChain` is only what a peer sent; a `VerifiedChain` is what `pki/validator.py` made of
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID

from moorage.errors import Check, Invalid
from moorage.ids import Thumbprint
from moorage.pki.der import outline
from moorage.pki.distinguished_names import DistinguishedName, FoldedName, parse_name
from moorage.pki.keys import describe_key
from moorage.pki.waivers import Waived

__all__ = ["MAX_CERTIFICATE_BYTES", "Certificate", "Extensions", "PeerChain", "VerifiedChain"]

# The largest certificate we read. RSA-4096 leaves with every usual extension stay under 3 KiB; OpenSSL takes a whole
# handshake message of 100 KiB, which is more parsing than a stranger should get for one packet.
MAX_CERTIFICATE_BYTES: Final = 16 * 1024

# Extensions whose meaning the validator enforces; anything else that is critical is a reason to refuse (RFC 5280 4.2).
_ENFORCED = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
    }
)


class Extensions:
    """What a certificate says about itself (RFC 5280 4.2.1). None where the extension is absent."""

    __slots__ = (
        "alt_names",
        "alt_names_critical",
        "authority_key_id",
        "basic_constraints",
        "constrains_policies",
        "distribution_points",
        "extended_key_usage",
        "key_usage",
        "name_constraints",
        "subject_key_id",
        "unhandled_critical",
    )

    def __init__(self, extensions: x509.Extensions) -> None:
        self.basic_constraints: x509.BasicConstraints | None = None
        self.key_usage: x509.KeyUsage | None = None
        self.extended_key_usage: x509.ExtendedKeyUsage | None = None
        self.alt_names: x509.SubjectAlternativeName | None = None
        self.alt_names_critical = False
        self.constrains_policies = False
        self.distribution_points: x509.CRLDistributionPoints | None = None
        self.name_constraints: x509.NameConstraints | None = None
        self.authority_key_id: bytes | None = None
        self.subject_key_id: bytes | None = None
        unhandled: tuple[str, ...] = ()
        for extension in extensions:
            value = extension.value
            if extension.critical and extension.oid not in _ENFORCED:
                unhandled += (extension.oid.dotted_string,)
            if isinstance(value, x509.SubjectKeyIdentifier):
                self.subject_key_id = value.digest
            elif isinstance(value, x509.BasicConstraints):
                self.basic_constraints = value
            elif isinstance(value, x509.KeyUsage):
                self.key_usage = value
            elif isinstance(value, x509.ExtendedKeyUsage):
                self.extended_key_usage = value
            elif isinstance(value, x509.AuthorityKeyIdentifier):
                self.authority_key_id = value.key_identifier
                serial = value.authority_cert_serial_number
                if serial is not None and serial <= 0:
                    raise ValueError("its authority key identifier names a serial number that is not positive")
            elif isinstance(value, x509.SubjectAlternativeName):
                self.alt_names = value
                self.alt_names_critical = extension.critical
            elif isinstance(value, x509.NameConstraints):
                self.name_constraints = value
            elif isinstance(value, x509.CRLDistributionPoints):
                self.distribution_points = value
            elif isinstance(value, x509.PolicyConstraints | x509.InhibitAnyPolicy):
                # A critical one is among those not handled.
                self.constrains_policies |= not extension.critical
        self.unhandled_critical = unhandled


class Certificate:
    """One readable certificate. Equal and hashed by its bytes.

    Raises `Invalid`: `certificate.malformed` when the bytes are not a well-formed certificate, `certificate.too_large`,
    and `certificate.unsupported_key` when its key is of a kind nobody here can use.
    """

    __slots__ = (
        "_issuer",
        "_issuer_key",
        "_sha1",
        "_sha256",
        "_subject",
        "_subject_key",
        "_subject_text",
        "der",
        "extensions",
        "not_after",
        "not_before",
        "public_key",
        "raw_issuer",
        "raw_subject",
        "x509",
    )

    def __init__(self, der: bytes) -> None:
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise Invalid(
                "certificate.too_large", f"a certificate of {len(der)} bytes; at most {MAX_CERTIFICATE_BYTES} are read"
            )
        try:
            self.raw_issuer, self.raw_subject = outline(der)
            parsed = x509.load_der_x509_certificate(der)
            self.extensions = Extensions(parsed.extensions)
            self.not_before: datetime = parsed.not_valid_before_utc
            self.not_after: datetime = parsed.not_valid_after_utc
        except (
            ValueError,
            TypeError,
            x509.InvalidVersion,
            x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType,
            # Of what the library still reads and will refuse; an error where warnings are.
            CryptographyDeprecationWarning,
        ) as error:
            raise Invalid("certificate.malformed", f"this is not a well-formed X.509 certificate: {error}") from error
        try:
            self.public_key: CertificatePublicKeyTypes = parsed.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Invalid("certificate.unsupported_key", f"the certificate's key cannot be used: {error}") from error
        self.der = der
        self.x509: x509.Certificate = parsed
        self._subject: DistinguishedName | None = None
        self._subject_text: str | None = None
        self._issuer: DistinguishedName | None = None
        self._subject_key: FoldedName | None = None
        self._issuer_key: FoldedName | None = None
        self._sha1: Thumbprint | None = None
        self._sha256: Thumbprint | None = None

    @classmethod
    def from_x509(cls, certificate: x509.Certificate) -> Certificate:
        return cls(certificate.public_bytes(serialization.Encoding.DER))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"<Certificate {self.subject} sha256={self.sha256[:16]}>"

    @property
    def subject_name(self) -> DistinguishedName:
        """Raises `Invalid` (`certificate.malformed`)."""
        if self._subject is None:
            self._subject = _read_name(self.raw_subject)
        return self._subject

    @property
    def issuer_name(self) -> DistinguishedName:
        """Raises `Invalid` (`certificate.malformed`)."""
        if self._issuer is None:
            self._issuer = _read_name(self.raw_issuer)
        return self._issuer

    @property
    def subject_key(self) -> FoldedName:
        """The subject as what it is looked up by: as RFC 5280 7.1 compares names. Raises as `subject_name`."""
        if self._subject_key is None:
            self._subject_key = self.subject_name.folded
        return self._subject_key

    @property
    def issuer_key(self) -> FoldedName:
        """The issuer as its certificate's `subject_key` is. Raises as `issuer_name`."""
        if self._issuer_key is None:
            self._issuer_key = self.issuer_name.folded
        return self._issuer_key

    @property
    def subject(self) -> str:
        """RFC 4514 text, for example `CN=pump-01,O=Plant`; empty when the certificate names nobody."""
        if self._subject_text is None:
            self._subject_text = self.subject_name.rfc4514()
        return self._subject_text

    @property
    def issuer(self) -> str:
        """RFC 4514 text."""
        return self.issuer_name.rfc4514()

    def common_name(self) -> str:
        """The one common name of the subject. Raises `Invalid` (`certificate.common_name`) when none or several."""
        names = self.subject_name.common_names()
        if len(names) != 1:
            raise Invalid(
                "certificate.common_name",
                f"exactly one common name says who a device is; the subject '{self.subject}' has {len(names)}",
                fix="moorage cert device ID",
            )
        return names[0]

    @property
    def serial_number(self) -> int:
        return self.x509.serial_number

    @property
    def sha1(self) -> Thumbprint:
        if self._sha1 is None:
            self._sha1 = Thumbprint(hashlib.sha1(self.der, usedforsecurity=False).hexdigest().upper())
        return self._sha1

    @property
    def sha256(self) -> Thumbprint:
        if self._sha256 is None:
            self._sha256 = Thumbprint(hashlib.sha256(self.der).hexdigest().upper())
        return self._sha256

    @property
    def key(self) -> str:
        """The key in words: `EC P-256`, `RSA 2048`."""
        return describe_key(self.public_key)

    @property
    def is_ca(self) -> bool:
        constraints = self.extensions.basic_constraints
        return constraints is not None and constraints.ca

    @property
    def is_self_issued(self) -> bool:
        """Subject and issuer are the same name (RFC 5280 6.1); says nothing about who signed."""
        return self.raw_subject == self.raw_issuer

    @property
    def pem(self) -> str:
        return self.x509.public_bytes(serialization.Encoding.PEM).decode("ascii")


@dataclass(frozen=True, slots=True)
class PeerChain:
    """The certificates a peer sent, as DER, leaf first, unjudged; empty when it sent none."""

    certificates: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.certificates)

    @property
    def leaf(self) -> bytes:
        """DER of the first certificate. Raises `IndexError` on an empty chain."""
        return self.certificates[0]

    def leaf_sha1(self) -> Thumbprint:
        """Taken of the bytes; nothing is parsed."""
        return Thumbprint(hashlib.sha1(self.certificates[0], usedforsecurity=False).hexdigest().upper())

    def leaf_sha256(self) -> Thumbprint:
        """Taken of the bytes; nothing is parsed."""
        return Thumbprint(hashlib.sha256(self.certificates[0]).hexdigest().upper())

    def parse(self) -> list[Certificate]:
        """Raises `Invalid`, as `Certificate` does."""
        return [Certificate(der) for der in self.certificates]

    @classmethod
    def of(cls, certificates: Sequence[Certificate]) -> PeerChain:
        return cls(tuple(certificate.der for certificate in certificates))


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A path that `pki/policy.py` allows. Only `pki/validator.py` makes one, and `check_pinned`.

    Attributes:
        leaf: the peer's own certificate.
        path: leaf first, anchor last; of one certificate when the leaf is pinned by its thumbprint.
        anchor: the last of `path`: the trusted certificate everything else hangs on.
        moment: the instant it was judged at. It holds until `expires`, the earliest end of validity on the path.
        revocation: what was found about the revocation of each certificate below the anchor; empty when nobody looks.
        waived: the weaknesses on the path that only a waiver of the hub let pass.
    """

    leaf: Certificate
    path: tuple[Certificate, ...]
    anchor: Certificate
    moment: datetime
    revocation: tuple[Check, ...] = ()
    waived: tuple[Waived, ...] = ()

    @property
    def expires(self) -> datetime:
        return min(certificate.not_after for certificate in self.path)

    @property
    def signers(self) -> tuple[Certificate, ...]:
        """Who vouches for the leaf, closest first."""
        return self.path[1:]


def _read_name(der: bytes) -> DistinguishedName:
    try:
        return parse_name(der)
    except ValueError as error:
        raise Invalid("certificate.malformed", f"a name in this certificate cannot be read: {error}") from error

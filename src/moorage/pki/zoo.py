"""The certificate zoo: one specimen for each way in which a device's certificate can be wrong, and a good one.

Each says which reason it has to cause at a hub where the issuing CA is proven and the device is registered with
`certificateAuthority`. It is how users try their own hub, and how the wall is tested: what should not be issued is
issued here, by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_device, issue_intermediate, issue_root, issue_self_signed
from moorage.pki.keys import PrivateKey, make_key
from moorage.pki.list_issuing import issue_revocation_list
from moorage.pki.revocation_lists import Entry

__all__ = ["ACCEPTED", "SPECIMENS", "Breeder", "Specimen"]

# The reason of a specimen that is let in.
ACCEPTED: Final = ""

_LIFETIME: Final = timedelta(days=30)
_NOT_A_CA: Final = x509.BasicConstraints(False, None)
_A_CA: Final = x509.BasicConstraints(True, None)
_Extension = tuple[x509.ExtensionType, bool]
# Longer than any path that is followed.
_DEEP: Final = 12


@dataclass(frozen=True, slots=True)
class Specimen:
    """What a device with it sends, its own certificate first, and the key to it.

    `revoked_by` is a list (DER) that a hub has to know of, and the certificate of the CA that signed it.
    """

    chain: tuple[Certificate, ...]
    key: PrivateKey
    revoked_by: tuple[bytes, Certificate] | None = None


class Breeder:
    """Issues specimens for one device under one CA. `others` are the CAs above it, which a device sends too."""

    def __init__(self, ca: Certificate, ca_key: PrivateKey, device: str, now: datetime) -> None:
        self.ca = ca
        self.ca_key = ca_key
        self.device = device
        self.now = now

    def leaf(
        self,
        subject: x509.Name | str | None = None,
        *,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = ((_NOT_A_CA, True),),
        issuer: Certificate | None = None,
        issuer_key: PrivateKey | None = None,
        key: PrivateKey | None = None,
        begins: timedelta = timedelta(minutes=-5),
        ends: timedelta = _LIFETIME,
        above: Sequence[Certificate] = (),
    ) -> Specimen:
        """A certificate with exactly these extensions, whatever sense they make."""
        own = key or make_key("ec-p256")
        signer, signed_by = issuer or self.ca, issuer_key or self.ca_key
        name = subject if isinstance(subject, x509.Name) else _common_name(self.device if subject is None else subject)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(signer.x509.subject)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now + begins)
            .not_valid_after(self.now + ends)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return Specimen((_signed(builder, signed_by), *above), own)

    def intermediate(
        self, name: str, *, path_length: int | None = None, constraints: x509.NameConstraints | None = None
    ) -> tuple[Certificate, PrivateKey]:
        key = make_key("ec-p256")
        return (
            issue_intermediate(
                key.public_key(),
                name,
                issuer=self.ca,
                issuer_key=self.ca_key,
                now=self.now,
                lifetime=_LIFETIME,
                path_length=path_length,
                constraints=constraints,
            ),
            key,
        )

    def below(self, ca: Certificate, key: PrivateKey, above: Sequence[Certificate] = ()) -> Specimen:
        """A good leaf of another CA, sent with that CA and `above`."""
        own = make_key("ec-p256")
        leaf = issue_device(own.public_key(), self.device, issuer=ca, issuer_key=key, now=self.now, lifetime=_LIFETIME)
        return Specimen((leaf, ca, *above), own)


def _good(breeder: Breeder) -> Specimen:
    own = make_key("ec-p256")
    leaf = issue_device(
        own.public_key(),
        breeder.device,
        issuer=breeder.ca,
        issuer_key=breeder.ca_key,
        now=breeder.now,
        lifetime=_LIFETIME,
    )
    return Specimen((leaf,), own)


def _two_common_names(breeder: Breeder) -> Specimen:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in (breeder.device, f"{breeder.device}-other")]
    return breeder.leaf(x509.Name(names))


def _name_in_san_alone(breeder: Breeder) -> Specimen:
    names = x509.SubjectAlternativeName([x509.DNSName(breeder.device)])
    return breeder.leaf(
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zoo")]),
        extensions=[(_NOT_A_CA, True), (names, False)],
    )


def _issuer_is_no_ca(breeder: Breeder) -> Specimen:
    between = breeder.leaf("Zoo End Entity")
    return breeder.leaf(issuer=between.chain[0], issuer_key=between.key, above=between.chain)


def _path_too_long(breeder: Breeder) -> Specimen:
    narrow, narrow_key = breeder.intermediate("Zoo Narrow CA", path_length=0)
    lower = Breeder(narrow, narrow_key, breeder.device, breeder.now)
    return lower.below(*lower.intermediate("Zoo CA Below It"), (narrow,))


def _too_deep(breeder: Breeder) -> Specimen:
    above: list[Certificate] = []
    at = breeder
    for depth in range(_DEEP):
        ca, key = at.intermediate(f"Zoo CA {depth}")
        above.insert(0, ca)
        at = Breeder(ca, key, breeder.device, breeder.now)
    return at.leaf(above=above)


def _constrained(breeder: Breeder) -> Specimen:
    elsewhere = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Elsewhere")]))
    constraints = x509.NameConstraints(permitted_subtrees=[elsewhere], excluded_subtrees=None)
    return breeder.below(*breeder.intermediate("Zoo Constrained CA", constraints=constraints))


def _expired_issuer(breeder: Breeder) -> Specimen:
    key = make_key("ec-p256")
    ended = breeder.leaf(
        "Zoo Ended CA",
        key=key,
        extensions=[(_A_CA, True)],
        begins=timedelta(days=-2),
        ends=timedelta(days=-1),
    ).chain[0]
    return breeder.leaf(issuer=ended, issuer_key=key, above=[ended])


def _issuer_may_not_sign(breeder: Breeder) -> Specimen:
    key = make_key("ec-p256")
    silent = breeder.leaf(
        "Zoo Silent CA", key=key, extensions=[(_A_CA, True), (_key_usage(digital_signature=True), True)]
    ).chain[0]
    return breeder.leaf(issuer=silent, issuer_key=key, above=[silent])


def _below_a_ca_with(
    breeder: Breeder,
    *extensions: tuple[x509.ExtensionType, bool],
    key: PrivateKey | None = None,
    begins: timedelta = timedelta(minutes=-5),
    names: Sequence[x509.GeneralName] = (),
) -> Specimen:
    """A leaf with these alternative names below a CA with these extensions, which is sent with it."""
    own = key or make_key("ec-p256")
    ca = breeder.leaf("Zoo Odd CA", key=own, extensions=[(_A_CA, True), *extensions], begins=begins).chain[0]
    alt_names = [(x509.SubjectAlternativeName(names), False)] if names else []
    return breeder.leaf(issuer=ca, issuer_key=own, extensions=[(_NOT_A_CA, True), *alt_names], above=[ca])


def _nameless(breeder: Breeder) -> Specimen:
    names = x509.SubjectAlternativeName([x509.DNSName(breeder.device)])
    return breeder.leaf(x509.Name([]), extensions=[(_NOT_A_CA, True), (names, False)])


def _loop(breeder: Breeder) -> Specimen:
    """Two CAs that vouch for each other and for nobody else's good opinion."""
    first, second = make_key("ec-p256"), make_key("ec-p256")
    other = issue_root(second, "Zoo Loop B", now=breeder.now, lifetime=_LIFETIME)
    upper = issue_intermediate(
        first.public_key(), "Zoo Loop A", issuer=other, issuer_key=second, now=breeder.now, lifetime=_LIFETIME
    )
    lower = issue_intermediate(
        second.public_key(), "Zoo Loop B", issuer=upper, issuer_key=first, now=breeder.now, lifetime=_LIFETIME
    )
    return breeder.leaf(issuer=upper, issuer_key=first, above=[upper, lower])


def _surplus(breeder: Breeder) -> Specimen:
    good = _good(breeder)
    return Specimen((*good.chain, *_unproven(breeder).chain[1:]), good.key)


def _constraints(*, permitted: x509.GeneralName | None = None, excluded: x509.GeneralName | None = None) -> _Extension:
    return (
        x509.NameConstraints([permitted] if permitted else None, [excluded] if excluded else None),
        True,
    )


def _missing_intermediate(breeder: Breeder) -> Specimen:
    whole = breeder.below(*breeder.intermediate("Zoo Forgotten CA"))
    return Specimen(whole.chain[:1], whole.key)


def _namesake(breeder: Breeder) -> Specimen:
    """The leaf of a CA that has the registered one's name, and another key."""
    return breeder.leaf(issuer_key=make_key("ec-p256"))


def _unproven(breeder: Breeder) -> Specimen:
    key = make_key("ec-p256")
    stranger = issue_root(key, "Zoo Stranger", now=breeder.now, lifetime=_LIFETIME)
    return breeder.below(stranger, key)


def _revoked(breeder: Breeder) -> Specimen:
    """By a CA of the zoo's own, so that the list of the CA above it stays what it is."""
    ca, key = breeder.intermediate("Zoo Revoking CA")
    whole = breeder.below(ca, key)
    return Specimen(whole.chain, whole.key, _revocation(breeder, ca, key, whole.chain[0]))


def _revoked_issuer(breeder: Breeder) -> Specimen:
    upper, upper_key = breeder.intermediate("Zoo Upper CA")
    below = Breeder(upper, upper_key, breeder.device, breeder.now)
    lower, lower_key = below.intermediate("Zoo Revoked CA")
    whole = below.below(lower, lower_key, (upper,))
    return Specimen(whole.chain, whole.key, _revocation(breeder, upper, upper_key, lower))


def _revocation(breeder: Breeder, ca: Certificate, key: PrivateKey, gone: Certificate) -> tuple[bytes, Certificate]:
    entries = {gone.serial_number: Entry(breeder.now, "keyCompromise")}
    der = issue_revocation_list(ca, key, entries, number=1, now=breeder.now, next_update=breeder.now + _LIFETIME)
    return der, ca


def _self_signed(breeder: Breeder) -> Specimen:
    key = make_key("ec-p256")
    return Specimen((issue_self_signed(key, breeder.device, now=breeder.now, lifetime=_LIFETIME),), key)


def _tampered(breeder: Breeder) -> Specimen:
    """Its common name was changed after it was signed."""
    name = breeder.device.encode()
    other = (b"y" if name.startswith(b"x") else b"x") * len(name)
    whole = breeder.leaf(other.decode())
    # With the tag and the length before it, so that nothing but the name is meant.
    tag = bytes((0x0C, len(name)))
    der = whole.chain[0].der.replace(tag + other, tag + name, 1)
    return Specimen((Certificate(der),), whole.key)


def _signed_with_sha1(breeder: Breeder) -> Specimen:
    """As tools did until 2015: its algorithm is written over and signed again, which the library does not do itself."""
    key = make_key("rsa-2048")
    ca = breeder.leaf("Zoo Old CA", key=key, extensions=[(_A_CA, True), (_key_usage(key_cert_sign=True), True)]).chain[
        0
    ]
    whole = breeder.leaf(issuer=ca, issuer_key=key)
    leaf = whole.chain[0]
    new, old = (_oid(oid) for oid in (SignatureAlgorithmOID.RSA_WITH_SHA256, SignatureAlgorithmOID.RSA_WITH_SHA1))
    signed_part = leaf.x509.tbs_certificate_bytes
    old_part = signed_part.replace(new, old)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(old_part, padding.PKCS1v15(), hashes.SHA1())
    der = leaf.der.replace(signed_part, old_part).replace(new, old).replace(leaf.x509.signature, signature)
    return Specimen((Certificate(der), ca), whole.key)


def _usage(*purposes: x509.ObjectIdentifier) -> list[tuple[x509.ExtensionType, bool]]:
    return [(_NOT_A_CA, True), (x509.ExtendedKeyUsage(purposes), False)]


_UNKNOWN: Final = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)


@dataclass(frozen=True, slots=True)
class _Species:
    reason: str
    breed: Callable[[Breeder], Specimen]
    about: str


SPECIMENS: Final[dict[str, _Species]] = {
    "good": _Species(ACCEPTED, _good, "nothing is wrong with it"),
    "usage-absent": _Species(ACCEPTED, lambda b: b.leaf(), "no extended key usage, which is fine"),
    "below-intermediate": _Species(
        ACCEPTED, lambda b: b.below(*b.intermediate("Zoo Intermediate")), "an intermediate sent with it"
    ),
    "any-usage": _Species(
        ACCEPTED,
        lambda b: b.leaf(extensions=_usage(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)),
        "extended key usage any, which has clients in it",
    ),
    "surplus": _Species(ACCEPTED, _surplus, "a CA sent with it that has nothing to do with it"),
    "expired": _Species(
        "chain.expired", lambda b: b.leaf(begins=timedelta(days=-2), ends=timedelta(days=-1)), "ended yesterday"
    ),
    "not-yet-valid": _Species(
        "chain.not_yet_valid", lambda b: b.leaf(begins=timedelta(days=1), ends=timedelta(days=2)), "begins tomorrow"
    ),
    "wrong-name": _Species("identity.mismatch", lambda b: b.leaf(f"{b.device}-other"), "another device's name"),
    "wrong-case": _Species("identity.mismatch", lambda b: b.leaf(b.device.swapcase()), "the name in the other case"),
    "name-with-space": _Species("identity.mismatch", lambda b: b.leaf(f"{b.device} "), "a space behind the name"),
    "name-with-nul": _Species(
        "identity.mismatch", lambda b: b.leaf(f"{b.device}\x00.elsewhere"), "the name, then NUL, then more"
    ),
    "module-name": _Species(
        "identity.mismatch", lambda b: b.leaf(f"{b.device}/camera"), "the name of one of its modules"
    ),
    "look-alike": _Species(
        "identity.mismatch", lambda b: b.leaf(_look_alike(b.device)), "a Cyrillic letter that looks like a Latin one"
    ),
    "two-names": _Species("identity.common_name", _two_common_names, "two common names, the first the right one"),
    "no-name": _Species("identity.common_name", _name_in_san_alone, "the name as an alternative name alone"),
    "ca-as-leaf": _Species("chain.leaf_is_ca", lambda b: b.leaf(extensions=[(_A_CA, True)]), "CA:TRUE"),
    "issuer-no-ca": _Species("chain.not_a_ca", _issuer_is_no_ca, "signed by another device's certificate"),
    "path-too-long": _Species("chain.path_length", _path_too_long, "one CA more than the path length allows"),
    "too-many": _Species("chain.too_long", _too_deep, "more certificates than are taken"),
    "name-constrained": _Species(
        "chain.name_constraints", _constrained, "its CA may issue for another name space only"
    ),
    "expired-issuer": _Species("chain.expired", _expired_issuer, "its CA ended yesterday"),
    "issuer-may-not-sign": _Species("chain.key_usage", _issuer_may_not_sign, "its CA has no keyCertSign"),
    "missing-intermediate": _Species("chain.incomplete", _missing_intermediate, "the intermediate is not sent"),
    "server-only": _Species(
        "chain.wrong_usage",
        lambda b: b.leaf(extensions=_usage(ExtendedKeyUsageOID.SERVER_AUTH)),
        "extended key usage serverAuth alone",
    ),
    "no-digital-signature": _Species(
        "chain.key_usage",
        lambda b: b.leaf(extensions=[(_NOT_A_CA, True), (_key_usage(), True)]),
        "key usage without digitalSignature",
    ),
    "unknown-critical": _Species(
        "chain.critical_extension",
        lambda b: b.leaf(extensions=[(_NOT_A_CA, True), _UNKNOWN]),
        "a critical extension nobody knows",
    ),
    "weak-rsa": _Species("chain.weak_key", lambda b: b.leaf(key=_weak_rsa_key()), "RSA with 1024 bits"),
    "sha1": _Species("chain.weak_signature", _signed_with_sha1, "signed with SHA-1"),
    "namesake-issuer": _Species("chain.signature", _namesake, "signed by a CA of the same name with another key"),
    "tampered": _Species("chain.signature", _tampered, "changed after it was signed"),
    "unproven-ca": _Species("chain.untrusted", _unproven, "a CA that nobody registered"),
    "revoked": _Species("chain.revoked", _revoked, "on the list of its CA"),
    "revoked-issuer": _Species("chain.revoked", _revoked_issuer, "its CA is on the list of the CA above"),
    "self-signed": _Species("chain.untrusted", _self_signed, "signed by its own key"),
    "nameless": _Species("chain.no_name", _nameless, "no subject at all, and an alternative name that is not critical"),
    "code-signing": _Species(
        "chain.wrong_usage",
        lambda b: b.leaf(extensions=_usage(ExtendedKeyUsageOID.CODE_SIGNING)),
        "extended key usage codeSigning alone",
    ),
    "may-sign": _Species(
        "chain.key_usage",
        lambda b: b.leaf(
            extensions=[(_NOT_A_CA, True), (_key_usage(digital_signature=True, key_cert_sign=True), True)]
        ),
        "no CA, but keyCertSign",
    ),
    "constrains-names": _Species(
        "chain.name_constraints",
        lambda b: b.leaf(extensions=[(_NOT_A_CA, True), _constraints(permitted=x509.DNSName("plant.example"))]),
        "no CA, but name constraints",
    ),
    "loop": _Species("chain.incomplete", _loop, "two CAs that vouch for each other"),
    "issuer-not-yet-valid": _Species(
        "chain.not_yet_valid", lambda b: _below_a_ca_with(b, begins=timedelta(days=1)), "its CA begins tomorrow"
    ),
    "issuer-server-only": _Species(
        "chain.wrong_usage",
        lambda b: _below_a_ca_with(b, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
        "its CA is for servers alone",
    ),
    "issuer-unknown-critical": _Species(
        "chain.critical_extension",
        lambda b: _below_a_ca_with(b, _UNKNOWN),
        "its CA has a critical extension nobody knows",
    ),
    "issuer-weak-rsa": _Species(
        "chain.weak_key", lambda b: _below_a_ca_with(b, key=_weak_rsa_key()), "its CA has RSA with 1024 bits"
    ),
    "issuer-policies": _Species(
        "chain.policy_constraints",
        lambda b: _below_a_ca_with(b, (x509.PolicyConstraints(0, None), False)),
        "its CA wants certificate policies to be looked at",
    ),
    "host-excluded": _Species(
        "chain.name_constraints",
        lambda b: _below_a_ca_with(
            b, _constraints(excluded=x509.DNSName("lab.example")), names=[x509.DNSName("*.example")]
        ),
        "a wildcard around a host that its CA may not issue for",
    ),
    "mail-elsewhere": _Species(
        "chain.name_constraints",
        lambda b: _below_a_ca_with(
            b, _constraints(permitted=x509.RFC822Name("plant.example")), names=[x509.RFC822Name("a@lab.example")]
        ),
        "a mail address of a host that its CA may not issue for",
    ),
    "address-elsewhere": _Species(
        "chain.name_constraints",
        lambda b: _below_a_ca_with(
            b,
            _constraints(permitted=x509.IPAddress(ip_network("10.0.0.0/8"))),
            names=[x509.IPAddress(ip_address("11.0.0.1"))],
        ),
        "an address outside the network that its CA may issue for",
    ),
}


def _look_alike(name: str) -> str:
    swaps = {"a": "\u0430", "e": "\u0435", "o": "\u043e", "p": "\u0440", "c": "\u0441", "i": "\u0456"}
    at = next((index for index, letter in enumerate(name) if letter in swaps), None)
    return name + "\u0430" if at is None else name[:at] + swaps[name[at]] + name[at + 1 :]


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _weak_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
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


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> Certificate:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Certificate.from_x509(builder.sign(key, algorithm))


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    """DER of an object identifier whose first two arcs share a byte and whose others are small or multi-byte."""
    arcs = [int(arc) for arc in oid.dotted_string.split(".")]
    content = bytes([40 * arcs[0] + arcs[1], *(byte for arc in arcs[2:] for byte in _base128(arc))])
    return bytes([0x06, len(content)]) + content


def _base128(number: int) -> Iterator[int]:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return reversed(digits)

"""Keys, algorithms and signatures that do not belong together verify nothing, and raise nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ObjectIdentifier, SignatureAlgorithmOID

from moorage.pki.signatures import Signature, describe_signature, has_strong_signature, verifies
from tests.certs import key_of, odd, root, weak_rsa_key

DATA = b"what is signed"
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
RSA = key_of("signatures", "rsa-2048")
ECDSA = ec.ECDSA(hashes.SHA256())
SHA256 = hashes.SHA256()
BY_EC, BY_ED = EC.sign(DATA, ECDSA), ED.sign(DATA)
OID = SignatureAlgorithmOID


def by_rsa() -> bytes:
    assert isinstance(RSA, rsa.RSAPrivateKey)
    return RSA.sign(DATA, padding.PKCS1v15(), SHA256)


@dataclass
class Signed:
    """What a certificate says of its signature."""

    signature_algorithm_oid: ObjectIdentifier
    signature_hash_algorithm: hashes.HashAlgorithm | None = None


class Unreadable(Signed):
    """One whose parameters cannot be read."""

    @property
    def signature_hash_algorithm(self) -> hashes.HashAlgorithm | None:
        raise UnsupportedAlgorithm("of a kind that nobody knows")

    @signature_hash_algorithm.setter
    def signature_hash_algorithm(self, value: object) -> None:
        assert value is None


def test_each_kind_of_key_verifies_its_own_signature() -> None:
    assert verifies(EC.public_key(), BY_EC, DATA, OID.ECDSA_WITH_SHA256, ECDSA, SHA256)
    assert verifies(ED.public_key(), BY_ED, DATA, OID.ED25519, None, None)
    assert verifies(RSA.public_key(), by_rsa(), DATA, OID.RSA_WITH_SHA256, padding.PKCS1v15(), SHA256)


def test_and_nothing_else() -> None:
    for key, signature, oid, how, algorithm in (
        (EC.public_key(), BY_EC, OID.ECDSA_WITH_SHA256, ec.ECDSA(hashes.SHA384()), hashes.SHA384()),
        (EC.public_key(), BY_EC, OID.RSA_WITH_SHA256, padding.PKCS1v15(), SHA256),
        (EC.public_key(), BY_EC, OID.ECDSA_WITH_SHA1, ECDSA, SHA256),
        (EC.public_key(), BY_EC, OID.ED25519, None, None),
        (EC.public_key(), BY_ED, OID.ECDSA_WITH_SHA256, ECDSA, SHA256),
        (ED.public_key(), BY_ED, OID.ED448, None, None),
        (ED.public_key(), BY_EC, OID.ED25519, None, None),
        (RSA.public_key(), by_rsa(), OID.ECDSA_WITH_SHA256, ECDSA, SHA256),
        (RSA.public_key(), by_rsa(), OID.RSA_WITH_SHA256, padding.PKCS1v15(), None),
        (RSA.public_key(), by_rsa(), OID.RSA_WITH_SHA256, padding.PKCS1v15(), hashes.SHA384()),
        (RSA.public_key(), BY_EC, OID.RSA_WITH_SHA256, padding.PKCS1v15(), SHA256),
        (ed448.Ed448PrivateKey.generate().public_key(), b"", OID.ED448, None, None),
        ("no key", BY_EC, OID.ECDSA_WITH_SHA256, ECDSA, SHA256),
    ):
        assert not verifies(key, signature, DATA, oid, how, algorithm), oid
    assert not verifies(EC.public_key(), BY_EC, DATA + b"!", OID.ECDSA_WITH_SHA256, ECDSA, SHA256)
    assert not verifies(ED.public_key(), BY_ED, DATA + b"!", OID.ED25519, None, None)


@pytest.mark.parametrize("by", ["ec", "rsa", "ed25519"])
def test_a_signature_that_was_kept_is_verified_later_by_its_own_key(by: str) -> None:
    kept = {
        "ec": lambda: Signature.of(BY_EC, DATA, OID.ECDSA_WITH_SHA256, ECDSA, SHA256),
        "rsa": lambda: Signature.of(by_rsa(), DATA, OID.RSA_WITH_SHA256, padding.PKCS1v15(), SHA256),
        "ed25519": lambda: Signature.of(BY_ED, DATA, OID.ED25519, None, None),
    }[by]()
    keys = {"ec": EC.public_key(), "rsa": RSA.public_key(), "ed25519": ED.public_key()}
    assert {name for name, key in keys.items() if kept.is_by(key)} == {by}
    assert (kept.data == DATA) is (by == "ed25519"), "a digest stands for the data"
    assert not kept.is_by(weak_rsa_key().public_key())


def test_strong_algorithms_are_those_that_are_listed_and_pss_goes_by_its_hash() -> None:
    strong = (
        *(OID.RSA_WITH_SHA256, OID.RSA_WITH_SHA384, OID.RSA_WITH_SHA512),
        *(OID.ECDSA_WITH_SHA256, OID.ECDSA_WITH_SHA384, OID.ECDSA_WITH_SHA512, OID.ED25519),
    )
    assert all(has_strong_signature(Signed(oid)) for oid in strong)
    weak = (
        OID.RSA_WITH_MD5,
        OID.RSA_WITH_SHA1,
        OID.RSA_WITH_SHA224,
        OID.ECDSA_WITH_SHA1,
        OID.ECDSA_WITH_SHA224,
        OID.ED448,
    )
    assert not any(has_strong_signature(Signed(oid)) for oid in weak)
    for algorithm, is_strong in (
        *((each, True) for each in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())),
        *((each, False) for each in (hashes.SHA1(), hashes.SHA224(), hashes.MD5(), None)),
    ):
        assert has_strong_signature(Signed(OID.RSASSA_PSS, algorithm)) is is_strong
    assert not has_strong_signature(Unreadable(OID.RSASSA_PSS))


def test_algorithms_in_words() -> None:
    ca = root("Signatures", kind="rsa-2048")
    assert describe_signature(odd(issuer=ca, algorithm=hashes.SHA224()).x509) == "RSA and SHA-224"
    assert describe_signature(odd(issuer=ca).x509) == OID.RSA_WITH_SHA256.dotted_string
    assert describe_signature(Signed(OID.RSA_WITH_MD5)) == "RSA and MD5"
    assert describe_signature(Signed(OID.RSA_WITH_SHA1)) == "RSA and SHA-1"
    assert describe_signature(Signed(OID.ECDSA_WITH_SHA1)) == "ECDSA and SHA-1"
    assert describe_signature(Signed(OID.ECDSA_WITH_SHA224)) == "ECDSA and SHA-224"
    assert describe_signature(Signed(OID.RSASSA_PSS, hashes.SHA1())) == "RSASSA-PSS and a weak hash"
    assert describe_signature(Signed(OID.ED448)) == OID.ED448.dotted_string


def test_a_signature_that_is_kept_verifies_with_whatever_algorithm_it_was_made() -> None:
    by_sha1 = EC.sign(DATA, ec.ECDSA(hashes.SHA1()))
    for key, signature, oid, how, algorithm in (
        (EC, BY_EC, OID.ECDSA_WITH_SHA256, ECDSA, SHA256),
        # Of this one the library does not say how it was made.
        (EC, by_sha1, OID.ECDSA_WITH_SHA1, None, hashes.SHA1()),
        (RSA, by_rsa(), OID.RSA_WITH_SHA256, padding.PKCS1v15(), SHA256),
        (ED, BY_ED, OID.ED25519, None, None),
    ):
        assert Signature.of(signature, DATA, oid, how, algorithm).is_by(key.public_key())
        assert not Signature.of(signature, DATA + b"!", oid, how, algorithm).is_by(key.public_key())

"""What a validator keeps of chains it has seen: nothing that a peer can make large."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorage.errors import Unauthenticated
from moorage.pki.certificates import PeerChain
from moorage.pki.validator import _MAX_KNOWN_PATHS, TrustAnchors, Validator, _path_key
from tests import certs


def test_what_is_sent_beside_a_good_chain_is_not_kept_with_it() -> None:
    root = certs.root()
    leaf = certs.device(certs.intermediate(root))
    junk = certs.root("Junk that comes along").certificate.der
    validator = Validator(TrustAnchors([root.certificate]))
    sent = (*leaf.sends().certificates, junk)
    assert validator.validate(PeerChain(sent), certs.NOW).leaf == leaf.certificate
    assert validator.validate(PeerChain(sent), certs.NOW).leaf == leaf.certificate
    kept = b"".join(part for key in validator._known for part in key)
    assert junk not in kept and len(kept) < 256


def test_a_path_is_found_anew_in_the_last_second_of_a_ca_and_kept_once() -> None:
    root = certs.root()
    line = certs.intermediate(root, lifetime=timedelta(days=2))
    leaf = certs.odd(issuer=line, not_after=certs.NOW + timedelta(days=10))
    validator = Validator(TrustAnchors([root.certificate]))
    chain = PeerChain.of([leaf, line.certificate])
    last = line.certificate.not_after
    for now in (certs.NOW, last, last + timedelta(milliseconds=500)):
        assert validator.validate(chain, now).path == (leaf, line.certificate, root.certificate)
    assert [len(paths) for paths in validator._known.values()] == [1]
    with pytest.raises(Unauthenticated) as caught:
        validator.validate(chain, last + timedelta(seconds=1))
    assert caught.value.reason == "chain.expired"


def test_a_path_is_known_by_the_issuer_of_its_leaf() -> None:
    root = certs.root()
    leaf = certs.device(certs.intermediate(root))
    validator = Validator(TrustAnchors([root.certificate]))
    validator.validate(leaf.sends(), certs.NOW)
    assert [issuer for issuer, _ in validator._known] == [leaf.certificate.raw_issuer]


def test_of_several_paths_for_one_name_the_two_that_were_found_last_are_kept() -> None:
    roots = [certs.root("Rolled", label=str(number)) for number in range(3)]
    validator = Validator(TrustAnchors([root.certificate for root in roots]))
    for root in roots:
        assert validator.validate(certs.device(root).sends(), certs.NOW).anchor == root.certificate
    (kept,) = validator._known.values()
    assert [path.issuers for path in kept] == [(roots[2].certificate,), (roots[1].certificate,)]


def test_what_was_not_used_for_longest_is_forgotten_first() -> None:
    root = certs.root()
    leaf = certs.device(root).certificate
    validator = Validator(TrustAnchors([root.certificate]))
    chains = [
        PeerChain((leaf.der, certs.odd("Unrelated", serial=number + 1).der)) for number in range(_MAX_KNOWN_PATHS + 1)
    ]
    for chain in (*chains[:-1], chains[0], chains[-1]):
        validator.validate(chain, certs.NOW)
    is_known = [_path_key(leaf, chain.certificates) in validator._known for chain in chains]
    assert is_known == [True, False] + [True] * (_MAX_KNOWN_PATHS - 1)

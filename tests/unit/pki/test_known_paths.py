"""What a validator keeps of chains it has seen: nothing that a peer can make large."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorage.errors import Unauthenticated
from moorage.pki.certificates import PeerChain
from moorage.pki.validator import TrustAnchors, Validator
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

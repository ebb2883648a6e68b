"""What a validator keeps of chains it has seen: nothing that a peer can make large."""

from __future__ import annotations

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

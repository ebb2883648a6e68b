"""Every specimen causes the reason it is there for, at the validator."""

from __future__ import annotations

import pytest

from moorage.errors import Refusal
from moorage.pki.certificates import PeerChain
from moorage.pki.listed_revocation import ListedRevocation
from moorage.pki.revocation_lists import parse_revocation_list
from moorage.pki.validator import TrustAnchors, Validator
from moorage.pki.zoo import ACCEPTED, SPECIMENS, Breeder, Specimen
from tests import certs

DEVICE = "zoo-pump"


def breed(name: str, kind: str) -> tuple[Specimen, TrustAnchors]:
    ca = certs.root("Zoo Plant", kind=kind)
    return SPECIMENS[name].breed(Breeder(ca.certificate, ca.key, DEVICE, certs.NOW)), TrustAnchors([ca.certificate])


def verdict(specimen: Specimen, anchors: TrustAnchors) -> str:
    chain = PeerChain(tuple(certificate.der for certificate in specimen.chain))
    try:
        lists = [parse_revocation_list(specimen.revoked_by[0])] if specimen.revoked_by else []
        judge = Validator(anchors, revocation=ListedRevocation(lists))
        names = judge.validate(chain, certs.NOW).leaf.subject_name.common_names()
    except Refusal as refusal:
        return refusal.reason
    # What the identity's judge asks behind the validator (decisions T3).
    if len(names) != 1:
        return "identity.common_name"
    return ACCEPTED if names[0] == DEVICE else "identity.mismatch"


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
@pytest.mark.parametrize("name", SPECIMENS)
def test_it_causes_its_reason_whatever_key_the_ca_has(name: str, kind: str) -> None:
    assert verdict(*breed(name, kind)) == SPECIMENS[name].reason


def test_some_are_let_in_so_that_refusing_all_fails() -> None:
    assert sum(species.reason == ACCEPTED for species in SPECIMENS.values()) >= 3


@pytest.mark.parametrize("device", ["x", "xx", "y", "0"])
def test_what_was_tampered_with_is_so_whatever_the_name(device: str) -> None:
    ca = certs.root("Zoo Plant")
    for _ in range(20):
        specimen = SPECIMENS["tampered"].breed(Breeder(ca.certificate, ca.key, device, certs.NOW))
        assert specimen.chain[0].subject == f"CN={device}"
        assert verdict(specimen, TrustAnchors([ca.certificate])) == "chain.signature"

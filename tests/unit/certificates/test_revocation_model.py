"""By what name a CRL issuer is kept, and what becomes of certificates that nobody knows about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.x509.oid import NameOID

from moorage.certificates.revocation_model import CRLIssuer, issuer_id_of
from moorage.ids import DEFAULT_HUB
from moorage.pki.revocation import Policy
from tests import certs

ROOT = certs.root().certificate
ISSUER = CRLIssuer(DEFAULT_HUB, issuer_id_of(ROOT.subject_key), ROOT)


def test_a_name_has_one_id_however_it_is_spelled_and_whatever_its_key() -> None:
    spelled = certs.odd(certs.name((NameOID.COMMON_NAME, "PLANT  root"))).subject_key
    assert issuer_id_of(spelled) == ISSUER.issuer_id
    assert issuer_id_of(certs.root(label="another key").certificate.subject_key) == ISSUER.issuer_id
    assert len(ISSUER.issuer_id) == 64


def test_other_names_have_other_ids() -> None:
    common, organization = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME
    names = [
        certs.name((common, "Plant")),
        certs.name((organization, "Plant")),
        certs.name((common, "Plant"), (organization, "Plant")),
        certs.name((organization, "Plant"), (common, "Plant")),
        certs.name((common, "Plant"), (common, "Plant")),
    ]
    assert len({issuer_id_of(certs.odd(name).subject_key) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("policy", "crl_url", "ocsp_url", "has_list", "effective"),
    [
        (None, None, None, False, "off"),
        (None, None, None, True, "soft"),
        (None, "http://lists.example/l.crl", None, False, "soft"),
        (None, None, "http://ocsp.example/", False, "soft"),
        ("off", "http://lists.example/l.crl", "http://ocsp.example/", True, "off"),
        ("hard", None, None, False, "hard"),
    ],
)
def test_the_policy_is_the_given_one_or_soft_once_anybody_can_say(
    policy: Policy | None, crl_url: str | None, ocsp_url: str | None, has_list: bool, effective: Policy
) -> None:
    issuer = replace(ISSUER, policy=policy, crl_url=crl_url, ocsp_url=ocsp_url)
    assert issuer.effective_policy(has_list=has_list) == effective

"""What is found wrong with certificates, and that the hub's own judge agrees."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moorage.errors import Unauthenticated
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.diagnosis import Finding, diagnose_ca, diagnose_device
from moorage.pki.validator import TrustAnchors, Validator
from tests import certs
from tests.certs import NOW, Issued


def refusals(findings: list[Finding]) -> list[str]:
    return [finding.reason for finding in findings if finding.is_refusal]


def notes(findings: list[Finding]) -> list[str]:
    return [finding.reason for finding in findings if not finding.is_refusal]


@pytest.fixture
def plant() -> Issued:
    return certs.root("Plant")


def test_there_is_nothing_to_say_against_a_good_chain(plant: Issued) -> None:
    leaf = certs.device(certs.intermediate(plant), lifetime=timedelta(days=90))
    leaf = Issued(leaf.certificate, leaf.key, leaf.signers)
    findings = diagnose_device(leaf.fullchain, NOW - timedelta(days=30) + certs.LIFETIME, name="pump-01")
    assert refusals(findings) == []


def test_every_broken_rule_is_named_not_the_first_alone(plant: Issued) -> None:
    wrong = certs.odd(
        "pump-01",
        issuer=plant,
        not_after=NOW - timedelta(days=1),
        not_before=NOW - timedelta(days=2),
        extensions=[
            (certs.IS_A_CA, True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        ],
    )
    findings = diagnose_device([wrong, plant.certificate], NOW)
    assert refusals(findings) == ["chain.leaf_is_ca", "chain.expired", "chain.wrong_usage"]
    assert all(finding.fix for finding in findings)


WRONG: dict[str, list[tuple[x509.ExtensionType, bool]]] = {
    "chain.leaf_is_ca": [(certs.IS_A_CA, True)],
    "chain.wrong_usage": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)],
    "chain.key_usage": [(certs.key_usage(), True)],
    "chain.critical_extension": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)],
}


@pytest.mark.parametrize("reason", WRONG)
def test_the_judge_refuses_for_what_the_doctor_finds(plant: Issued, reason: str) -> None:
    leaf = certs.odd(issuer=plant, extensions=WRONG[reason])
    assert refusals(diagnose_device([leaf, plant.certificate], NOW)) == [reason]
    with pytest.raises(Unauthenticated) as caught:
        Validator(TrustAnchors([plant.certificate])).validate(PeerChain((leaf.der,)), NOW)
    assert caught.value.reason == reason


def test_a_chain_that_breaks_off_names_the_ca_that_is_missing(plant: Issued) -> None:
    leaf = certs.device(certs.intermediate(plant, "Line 7"))
    (finding,) = [each for each in diagnose_device([leaf.certificate], NOW) if each.reason == "chain.incomplete"]
    assert "CN=Line 7" in finding.message
    assert not finding.is_refusal, "it is complete once that CA is registered"


@pytest.mark.parametrize("between", [0, 1])
def test_a_root_that_is_sent_along_has_to_be_registered_and_proven_all_the_same(plant: Issued, between: int) -> None:
    issuer = certs.intermediate(plant, "Line 7") if between else plant
    chain = certs.device(issuer).fullchain
    (finding,) = [each for each in diagnose_device(chain, NOW) if each.reason == "chain.untrusted"]
    assert not finding.is_refusal, "whether it is registered is not in the file"
    assert "'CN=Plant'" in finding.message and "registered with the hub and proven" in finding.message
    assert ("or a CA between the two" in finding.message) is bool(between)
    assert finding.fix == "moorage ca add plant_cert.pem --prove-with plant_key.pem"
    # The judge says the same of it, and lets it in once one of them is registered.
    told = [each.der for each in chain]
    with pytest.raises(Unauthenticated) as caught:
        Validator(TrustAnchors([])).validate(PeerChain(tuple(told)), NOW)
    assert caught.value.reason == "chain.untrusted"
    for anchor in chain[1:]:
        Validator(TrustAnchors([anchor])).validate(PeerChain(tuple(told)), NOW)


def test_where_a_chain_breaks_off_one_that_was_sent_may_be_registered_as_well(plant: Issued) -> None:
    leaf = certs.device(certs.intermediate(plant, "Line 7"))
    findings = {each.reason: each for each in diagnose_device(leaf.fullchain[:2], NOW)}
    assert "chain.untrusted" not in findings
    assert "'CN=Plant': that CA, or one of those that are sent," in findings["chain.incomplete"].message


def test_the_order_in_the_file_is_put_right(plant: Issued) -> None:
    leaf = certs.device(certs.intermediate(plant, "Line 7"))
    upside_down = tuple(reversed(leaf.fullchain))
    (finding,) = [each for each in diagnose_device(upside_down, NOW) if each.reason == "chain.order"]
    assert "'CN=pump-01', 'CN=Line 7', 'CN=Plant'" in finding.message


def test_a_ca_of_the_same_name_and_another_key_is_told_from_the_issuer(plant: Issued) -> None:
    namesake = certs.root("Plant", label="other")
    leaf = certs.device(plant)
    findings = diagnose_device([leaf.certificate, namesake.certificate], NOW)
    assert refusals(findings) == ["chain.signature"]
    assert "chain.unrelated" in notes(findings)


def test_a_rule_broken_above_the_leaf_is_found(plant: Issued) -> None:
    narrow = certs.intermediate(plant, "Narrow", path_length=0)
    below = certs.intermediate(narrow, "Below")
    assert refusals(diagnose_device(certs.device(below).fullchain, NOW)) == ["chain.path_length"]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (certs.name((NameOID.ORGANIZATION_NAME, "Plant")), "identity.common_name"),
        (certs.name((NameOID.COMMON_NAME, "a"), (NameOID.COMMON_NAME, "b")), "identity.common_name"),
        ("pump 01", "identity.common_name"),
        ("pump-01/cam era", "identity.common_name"),
        ("Pump-01", "identity.mismatch"),
        ("pump-02", "identity.mismatch"),
    ],
)
def test_a_common_name_that_is_not_the_devices_is_found(plant: Issued, subject: x509.Name | str, reason: str) -> None:
    leaf = certs.odd(subject, issuer=plant)
    assert refusals(diagnose_device([leaf, plant.certificate], NOW, name="pump-01")) == [reason]


def test_a_module_has_both_names(plant: Issued) -> None:
    leaf = certs.device(plant, "pump-01/camera")
    assert refusals(diagnose_device(leaf.fullchain, NOW, name="pump-01/camera")) == []


def test_a_self_signed_certificate_is_judged_as_a_pinned_one() -> None:
    pinned = certs.self_signed("whoever")
    findings = diagnose_device([pinned.certificate], NOW, name="pump-01")
    assert refusals(findings) == []
    assert "chain.self_signed" in notes(findings)
    (expired,) = refusals(diagnose_device([pinned.certificate], NOW + 2 * certs.LIFETIME))
    assert expired == "chain.expired"


def test_an_end_that_is_near_is_noted_once_it_is() -> None:
    root = certs.root("Plant").certificate
    assert notes(diagnose_ca(root, root.not_after - timedelta(days=29))) == ["chain.ends_soon"]
    assert notes(diagnose_ca(root, root.not_after - timedelta(days=31))) == []


def test_a_leaf_is_no_ca(plant: Issued) -> None:
    assert "ca.not_a_ca" in refusals(diagnose_ca(certs.device(plant).certificate, NOW))


def test_too_many_certificates_are_found_too(plant: Issued) -> None:
    others: tuple[Certificate, ...] = tuple(certs.root(f"R{number}").certificate for number in range(10))
    leaf = certs.device(plant).certificate
    assert "chain.too_long" in refusals(diagnose_device((leaf, *others), NOW))

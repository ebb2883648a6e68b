"""Waivers where devices register: for individual enrollments, for groups, and for proof of a group's certificate."""

from __future__ import annotations

import pytest

from moorage.certificates.waivers import WaiverService
from moorage.errors import Invalid, Refusal
from moorage.ids import DEFAULT_HUB, EnrollmentGroupId, RegistrationId
from moorage.pki.certificates import Certificate
from moorage.pki.waivers import Waiver
from moorage.provisioning.attestation import Claim
from moorage.provisioning.enrollments import ANY
from tests.certs import IS_A_CA, Issued, odd, weak_rsa_key

from .world import SCOPE, World, shows, shows_chain

WEAK_PLANT = Issued(odd("Weak Plant", key=weak_rsa_key(), extensions=[(IS_A_CA, True)]), weak_rsa_key())


async def change(world: World, waiver: Waiver, is_given: bool) -> None:
    await WaiverService(world.store).change(DEFAULT_HUB, {waiver: is_given}, by="tests")


async def refused(world: World, name: str, *shown: Certificate) -> str:
    with pytest.raises(Refusal) as caught:
        await world.register(name, shows_chain(*shown))
    return caught.value.reason


async def test_an_enrolled_certificate_registers_under_the_waiver_of_its_key(world: World) -> None:
    leaf = odd("pump-01", key=weak_rsa_key())
    await world.enroll("pump-01", leaf)
    assert await refused(world, "pump-01", leaf) == "chain.weak_key"
    await change(world, "sha1-signature", True)
    assert await refused(world, "pump-01", leaf) == "chain.weak_key"
    await change(world, "rsa-1024", True)
    assert (await world.register("pump-01", shows_chain(leaf))).status == "assigned"
    await change(world, "rsa-1024", False)
    assert await refused(world, "pump-01", leaf) == "chain.weak_key"


async def test_a_group_takes_its_devices_under_a_waiver_and_says_so(world: World) -> None:
    await world.enroll_group("line-7", WEAK_PLANT.certificate)
    leaf = Issued(odd("pump-01", issuer=WEAK_PLANT), weak_rsa_key())
    assert await refused(world, "pump-01", leaf.certificate) == "chain.weak_key"
    await change(world, "rsa-1024", True)
    answer = await world.registrations.register(Claim(SCOPE, RegistrationId("pump-01")), shows(leaf))
    waived = [check.detail for check in answer.admission.checks if check.detail.startswith("waived")]
    assert waived == ["waived: rsa-1024: 'CN=Weak Plant' has a key of RSA 1024"]
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"
    await change(world, "rsa-1024", False)
    assert await refused(world, "pump-01", leaf.certificate) == "chain.weak_key"


async def test_a_groups_weak_certificate_is_proven_under_its_waiver(world: World) -> None:
    group = await world.enroll_group("line-7", WEAK_PLANT.certificate, vouched=False)
    group = await world.enrollments.issue_code(EnrollmentGroupId("line-7"), "primary", by="tests")
    code = getattr(group.attestation, "primary").code  # noqa: B009  # one of three kinds of attestation
    proof = odd(code, issuer=WEAK_PLANT)
    with pytest.raises(Invalid) as caught:
        await world.enrollments.prove_slot(group.group_id, "primary", proof, if_match=ANY, by="tests")
    assert caught.value.reason == "proof.wrong_signer"
    await change(world, "rsa-1024", True)
    await world.enrollments.prove_slot(group.group_id, "primary", proof, if_match=ANY, by="tests")

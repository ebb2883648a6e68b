"""A chain that is good but ends where nobody is admitted: which end it was is told, and what would mend it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from moorage.errors import NotFound, Refusal, Unauthenticated
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId, RegistrationId
from moorage.pki.listed_revocation import ListedRevocation
from moorage.pki.revocation import Policy
from moorage.pki.revocation_lists import RevocationList
from moorage.provisioning.attestation import Claim, judge_group
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.group_cache import GroupCache
from moorage.provisioning.model import ByCAReferences
from tests.certs import NOW, Issued, device, intermediate, root
from tests.unit.pki.lists import the_list

from .world import SCOPE, World, shows

PUMP = RegistrationId("pump-01")


async def refused(
    world: World, leaf: Issued, count: int | None = None, lists: Sequence[RevocationList] = (), policy: Policy = "off"
) -> Refusal:
    """What `leaf` is told, which sends `count` certificates, where these lists are known."""
    told = ListedRevocation(lists, default=policy)
    cache = GroupCache(DEFAULT_HUB, world.store, world.bus, revocation=told)
    try:
        with pytest.raises(Refusal) as refusal:
            judge_group(await cache.get(), Claim(SCOPE, PUMP), shows(leaf, count), NOW)
    finally:
        cache.close()
    return refusal.value


async def register_ca(world: World, name: str, ca: Issued, *, vouched: bool) -> None:
    await world.cas.upload(DEFAULT_HUB, "dps", CAName(name), ca.certificate.pem, NOW, by="test", vouched=vouched)


async def test_a_revoked_leaf_below_a_ca_without_a_group_is_not_told_which_ca_that_is(world: World) -> None:
    ca = root()
    leaf = device(ca, PUMP)
    await register_ca(world, "plant", ca, vouched=True)
    lists = [the_list(ca, leaf.certificate.serial_number)]
    assert isinstance(await refused(world, leaf, policy="soft"), NotFound)
    refusal = await refused(world, leaf, lists=lists, policy="soft")
    assert isinstance(refusal, Unauthenticated)
    assert "'plant'" not in refusal.message and "--ca plant" not in refusal.fix


async def test_a_leaf_alone_is_led_to_an_unproven_end_by_a_ca_that_is_registered(world: World) -> None:
    ca = root()
    line = intermediate(ca)
    leaf = device(line, PUMP)
    await world.enroll_group("line-7", ca.certificate, vouched=False)
    assert (await refused(world, leaf, 1)).reason != "enrollment.unproven"
    await register_ca(world, "line", line, vouched=False)
    assert (await refused(world, leaf, 1)).reason == "enrollment.unproven"


async def test_an_unproven_second_reference_names_the_second_ca(world: World) -> None:
    first, second = root("first"), root("second", label="other")
    await register_ca(world, "first", first, vouched=True)
    await register_ca(world, "second", second, vouched=True)
    await world.enroll_group("line-7", attestation=ByCAReferences(CAName("first"), CAName("second")))
    await world.cas.delete(DEFAULT_HUB, "dps", CAName("second"), by="test", if_match=None)
    await register_ca(world, "second", second, vouched=False)
    refusal = await refused(world, device(second, PUMP, label="other"))
    assert (refusal.reason, refusal.fix) == ("enrollment.unproven", "moorage ca code second --for dps")
    await world.enrollments.delete_group(EnrollmentGroupId("line-7"), if_match=ANY, by="tests")
    assert (await refused(world, device(second, PUMP, label="other"))).reason == "enrollment.unknown"

"""Waivers of a hub: none until given, told and audited, in force from one login to the next."""

from __future__ import annotations

import logging

import pytest

from moorage.certificates.waivers import WaiverService
from moorage.errors import Invalid, Unauthenticated
from moorage.ids import DEFAULT_HUB, CAName, HubId
from moorage.pki.certificates import PeerChain
from moorage.pki.waivers import NO_WAIVERS
from tests.certs import IS_A_CA, NOW, Issued, odd, weak_rsa_key
from tests.unit.identities.world import World, make_ca

WEAK_PLANT = Issued(odd("Weak Plant", key=weak_rsa_key(), extensions=[(IS_A_CA, True)]), weak_rsa_key())
PUMP = PeerChain((odd("pump-1", issuer=WEAK_PLANT).der,))
PINNED = PeerChain((odd("pump-2", key=weak_rsa_key()).der,))


def told(world: World) -> list[str]:
    return [event.kind for event in world.published if event.kind.startswith("waivers.")]


async def test_none_is_given_until_somebody_gives_it_and_each_is_given_to_one_hub(world: World) -> None:
    waivers = WaiverService(world.store)
    assert waivers.given(DEFAULT_HUB) == NO_WAIVERS
    assert await waivers.change(DEFAULT_HUB, {"rsa-1024": True}, by="tests") == {"rsa-1024"}
    assert await waivers.change(DEFAULT_HUB, {"sha1-signature": True}, by="tests") == {"rsa-1024", "sha1-signature"}
    assert await waivers.change(DEFAULT_HUB, {"rsa-1024": False}, by="tests") == {"sha1-signature"}
    assert waivers.given(DEFAULT_HUB) == {"sha1-signature"}
    assert waivers.given(HubId("other")) == NO_WAIVERS


async def test_a_change_is_told_and_audited_and_what_changes_nothing_is_neither(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    waivers = WaiverService(world.store)
    with caplog.at_level(logging.INFO, "moorage.audit"):
        await waivers.change(DEFAULT_HUB, {"rsa-1024": False}, by="owner")
        assert told(world) == []
        await waivers.change(DEFAULT_HUB, {"rsa-1024": True, "sha1-signature": False}, by="owner")
        await waivers.change(DEFAULT_HUB, {"rsa-1024": True}, by="owner")
        await waivers.change(DEFAULT_HUB, {"rsa-1024": False}, by="owner")
    await world.store.write(lambda tables: None)
    assert told(world) == ["waivers.changed", "waivers.changed"]
    lines = [record.getMessage() for record in caplog.records if record.name == "moorage.audit"]
    assert lines == [
        f"waiver.given hub={DEFAULT_HUB} waiver=rsa-1024 by=owner",
        f"waiver.taken_back hub={DEFAULT_HUB} waiver=rsa-1024 by=owner",
    ]


async def test_an_old_ca_is_registered_under_its_waiver_and_its_devices_are_refused_without(world: World) -> None:
    waivers = WaiverService(world.store)
    await world.x509_device("pump-1")

    async def register() -> None:
        await world.certificates.upload(
            DEFAULT_HUB, "hub", CAName("weak"), WEAK_PLANT.certificate.pem, NOW, by="tests", vouched=True
        )

    with pytest.raises(Invalid) as caught:
        await register()
    assert caught.value.reason == "ca.weak_key"
    await waivers.change(DEFAULT_HUB, {"rsa-1024": True}, by="tests")
    await register()
    who = world.login("pump-1", chain=PUMP, now=NOW)
    assert who.waivers == {"rsa-1024"}
    assert [check.detail for check in who.checks if check.detail.startswith("waived")] == [
        "waived: rsa-1024: 'CN=Weak Plant' has a key of RSA 1024"
    ]
    assert all(check.passed for check in who.checks)
    await waivers.change(DEFAULT_HUB, {"rsa-1024": False}, by="tests")
    assert world.refusal("pump-1", chain=PUMP, now=NOW).reason == "chain.weak_key"


async def test_a_pinned_certificate_is_let_in_under_the_waiver_of_its_key_alone(world: World) -> None:
    waivers = WaiverService(world.store)
    await world.pinned_device("pump-2", PINNED)
    assert world.refusal("pump-2", chain=PINNED, now=NOW).reason == "chain.weak_key"
    await waivers.change(DEFAULT_HUB, {"sha1-signature": True}, by="tests")
    assert world.refusal("pump-2", chain=PINNED, now=NOW).reason == "chain.weak_key"
    await waivers.change(DEFAULT_HUB, {"rsa-1024": True}, by="tests")
    who = world.login("pump-2", chain=PINNED, now=NOW)
    assert who.waivers == {"rsa-1024"} and who.checks[-1].name == "chain.weak_key"
    await waivers.change(DEFAULT_HUB, {"rsa-1024": False}, by="tests")
    assert world.refusal("pump-2", chain=PINNED, now=NOW).reason == "chain.weak_key"


async def test_who_needs_none_is_let_in_by_none_whatever_is_given(world: World) -> None:
    await WaiverService(world.store).change(DEFAULT_HUB, {"rsa-1024": True, "sha1-signature": True}, by="tests")
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("pump-3")
    who = world.login("pump-3", chain=ca.leaf("pump-3"))
    assert who.waivers == NO_WAIVERS
    assert not [check for check in who.checks if check.detail]


async def test_the_refusal_says_which_waiver_would_let_it_in(world: World) -> None:
    await world.pinned_device("pump-2", PINNED)
    refusal = world.refusal("pump-2", chain=PINNED, now=NOW)
    assert isinstance(refusal, Unauthenticated) and "with the waiver 'rsa-1024' this too" in refusal.message

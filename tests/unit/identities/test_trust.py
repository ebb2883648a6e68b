"""Which anchors judge whom, and when they are read anew."""

from __future__ import annotations

import pytest

from moorage.adapters.bus import LocalBus
from moorage.certificates.service import HubAnchors
from moorage.events import Event
from moorage.identities.trust import HUB_BINDING, TrustCache, enrollment_binding
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId, HubId, version_etag
from tests.unit.identities.world import NOW, Groups, World, make_ca


async def settle(world: World) -> None:
    """Events that were published have been heard once a later write has been answered."""
    await world.store.write(lambda tables: None)


async def test_a_validator_is_kept_until_its_anchors_change(world: World) -> None:
    first = world.trust.validator(DEFAULT_HUB, HUB_BINDING)
    assert world.trust.validator(DEFAULT_HUB, HUB_BINDING) is first
    ca = make_ca("root")
    await world.trust_ca(ca)
    second = world.trust.validator(DEFAULT_HUB, HUB_BINDING)
    assert second is not first and ca.certificate in second.anchors


async def test_a_ca_lets_in_from_its_proof_on_and_keeps_out_from_its_deletion_on(world: World) -> None:
    ca = make_ca("root")
    await world.x509_device("pump-1")
    chain = ca.leaf("pump-1")
    made = await world.certificates.upload(DEFAULT_HUB, "hub", CAName("c"), ca.certificate.pem, NOW, by="test")
    assert world.refusal("pump-1", chain=chain).reason == "chain.untrusted"
    made = await world.certificates.replace(
        DEFAULT_HUB, "hub", CAName("c"), ca.certificate.pem, NOW, by="test", if_match=None, vouched=True
    )
    world.login("pump-1", chain=chain)
    await world.certificates.delete(DEFAULT_HUB, "hub", CAName("c"), by="test", if_match=version_etag(made.version))
    assert world.refusal("pump-1", chain=chain).reason == "chain.incomplete"


@pytest.mark.parametrize(
    ("kind", "subject", "forgotten"),
    [
        ("anchors.replaced", "enrollment:a", {"enrollment:a"}),
        ("anchors.removed", "enrollment:a", {"enrollment:a"}),
        ("anchors.replaced", "hub", {"hub"}),
        ("anchors.removed", "dps", {"enrollment:a", "enrollment:b"}),
        ("identity.updated", "enrollment:a", set()),
        ("anchors.removed", "enrollment:c", set()),
        ("waivers.changed", DEFAULT_HUB, {"hub", "enrollment:a", "enrollment:b"}),
    ],
)
async def test_an_event_forgets_the_bindings_it_is_about(
    world: World, kind: str, subject: str, forgotten: set[str]
) -> None:
    other = HubId("other")
    before = {
        (hub, binding): world.trust.validator(hub, binding)
        for hub in (DEFAULT_HUB, other)
        for binding in ("hub", "enrollment:a", "enrollment:b")
    }
    world.bus.publish(Event(kind, DEFAULT_HUB, subject))
    await settle(world)
    for (hub, binding), validator in before.items():
        is_same = world.trust.validator(hub, binding) is validator
        assert is_same is not (hub == DEFAULT_HUB and binding in forgotten)


async def test_the_least_used_validator_is_forgotten_first(world: World) -> None:
    groups = Groups()
    cache = TrustCache(HubAnchors(world.store), groups, LocalBus(), limit=2)
    a, b = cache.validator(DEFAULT_HUB, "enrollment:a"), cache.validator(DEFAULT_HUB, "enrollment:b")
    assert cache.validator(DEFAULT_HUB, "enrollment:a") is a
    cache.validator(DEFAULT_HUB, "enrollment:c")
    assert cache.validator(DEFAULT_HUB, "enrollment:a") is a
    assert groups.reads == 3
    assert cache.validator(DEFAULT_HUB, "enrollment:b") is not b


async def test_a_cache_that_was_closed_hears_nothing(world: World) -> None:
    kept = world.trust.validator(DEFAULT_HUB, HUB_BINDING)
    world.trust.close()
    world.bus.publish(Event("anchors.replaced", DEFAULT_HUB, "hub"))
    await settle(world)
    assert world.trust.validator(DEFAULT_HUB, HUB_BINDING) is kept


def test_bindings_of_groups_fold_the_case_that_group_ids_fold() -> None:
    assert enrollment_binding(EnrollmentGroupId("Line-7")) == enrollment_binding(EnrollmentGroupId("LINE-7"))

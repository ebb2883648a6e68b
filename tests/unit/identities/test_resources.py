"""Hub and provisioning service as resources: changed whole or not at all, guarded by an etag."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from moorage.errors import Conflict, Invalid, PreconditionFailed, Refusal, TooLarge
from moorage.identities.model import Right
from moorage.identities.policy_rules import PolicyDraft
from moorage.identities.resources import ResourceChange, Resources, ResourceTables
from moorage.ids import DEFAULT_HUB, Secret
from tests.unit.identities.world import World

READ = frozenset[Right]({"RegistryRead"})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.policies.ensure_defaults(DEFAULT_HUB)
    yield world
    world.store.close()


@pytest.fixture
def hub(world: World) -> Resources[ResourceTables]:
    return Resources(world.store, "hub")


def everything(hub: Resources[ResourceTables]) -> list[PolicyDraft]:
    return [
        PolicyDraft(each.name, each.rights, each.primary, each.secondary) for each in hub.state(DEFAULT_HUB).policies
    ]


async def test_every_change_gives_another_etag_and_the_same_state_the_same(
    world: World, hub: Resources[ResourceTables]
) -> None:
    first = hub.state(DEFAULT_HUB).etag
    assert (await hub.change(DEFAULT_HUB, ResourceChange())).etag == first
    seen = {first}
    changes = [
        ResourceChange(tags={"a": "1"}),
        ResourceChange(tags={"a": "2"}),
        ResourceChange(switches={"disable_device_sas": True}),
        ResourceChange(policies=[*everything(hub), PolicyDraft("new", READ)]),
    ]
    for change in changes:
        seen.add((await hub.change(DEFAULT_HUB, change)).etag)
    await world.policies.roll_key(DEFAULT_HUB, "hub", "service", "secondary")
    seen.add(hub.state(DEFAULT_HUB).etag)
    assert len(seen) == 6
    assert Resources(world.store, "dps").state(DEFAULT_HUB).tags == {}


async def test_who_read_before_somebody_rolled_a_key_does_not_put_it_back(
    world: World, hub: Resources[ResourceTables]
) -> None:
    etag, policies = hub.state(DEFAULT_HUB).etag, everything(hub)
    rolled = await world.policies.roll_key(DEFAULT_HUB, "hub", "service", "primary")
    with pytest.raises(PreconditionFailed) as caught:
        await hub.change(DEFAULT_HUB, ResourceChange(policies=policies), if_match=etag)
    assert caught.value.reason == "etag.stale"
    assert world.policies.get(DEFAULT_HUB, "hub", "service").primary == rolled.primary


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (ResourceChange(tags={"": "x"}), Invalid),
        (ResourceChange(tags={"n" * 513: "x"}), Invalid),
        (ResourceChange(tags={"n": "x" * 257}), Invalid),
        (ResourceChange(tags={str(number): "" for number in range(51)}), TooLarge),
        (ResourceChange(tags={"n": "x"}, policies=[]), Conflict),
        (ResourceChange(tags={"n": "x"}, policies=[PolicyDraft("iothubowner"), PolicyDraft("x")]), Invalid),
    ],
)
async def test_a_change_that_is_refused_leaves_nothing_behind(
    hub: Resources[ResourceTables], change: ResourceChange, kind: type[Refusal]
) -> None:
    before = hub.state(DEFAULT_HUB)
    with pytest.raises(kind):
        await hub.change(DEFAULT_HUB, change)
    assert hub.state(DEFAULT_HUB) == before


async def test_what_is_done_beside_it_is_undone_with_it(hub: Resources[ResourceTables]) -> None:
    before = hub.state(DEFAULT_HUB)

    def fails(tables: ResourceTables) -> None:
        tables.settings.put("beside", "it", DEFAULT_HUB)
        raise Invalid("body.member", "no")

    with pytest.raises(Invalid):
        await hub.change(DEFAULT_HUB, ResourceChange(tags={"n": "x"}), also=fails)
    assert hub.state(DEFAULT_HUB) == before


async def test_a_change_is_audited_with_who_asked_and_no_key(
    hub: Resources[ResourceTables], caplog: pytest.LogCaptureFixture
) -> None:
    secret = Secret("MDEyMzQ1Njc4OWFiY2RlZg==")
    caplog.set_level(logging.INFO, "moorage.audit")
    change = ResourceChange(
        tags={"site": "n"},
        policies=[*everything(hub), PolicyDraft("new", READ, secret)],
        switches={"disable_module_sas": True},
    )
    await hub.change(DEFAULT_HUB, change, by="owner")
    events = {getattr(record, "event", "") for record in caplog.records}
    assert events == {"policy.created", "sas.switched", "resource.tagged"}
    assert all("by=owner" in record.getMessage() for record in caplog.records)
    assert secret.reveal() not in caplog.text


async def test_a_change_is_answered_after_it_has_settled(world: World) -> None:
    order: list[str] = []

    async def settled() -> None:
        await asyncio.sleep(0)
        order.append("settled")

    await Resources(world.store, "hub", settled).change(DEFAULT_HUB, ResourceChange(tags={"a": "b"}))
    order.append("answered")
    assert order == ["settled", "answered"]

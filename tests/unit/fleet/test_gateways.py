"""Devices below gateways: attached, listed as far as somebody sees them, detached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, Actor, OrganizationId
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.errors import Invalid, NotFound
from moorage.fleet.gateways import Gateways, gateway_of
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))
EVE = Actor("user:eve", frozenset(ALL_PERMISSIONS), OrganizationId("other"), frozenset({OrganizationId("other")}))
EDGE, INNER, PUMP, VALVE = (DeviceId(name) for name in ("edge-1", "edge-2", "pump-01", "valve-1"))


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(":memory:", secrets_key=bytes(32), bus=LocalBus())
    registry = IdentityRegistry(opened)
    for device_id in (EDGE, INNER, PUMP, VALVE):
        draft = IdentityDraft(IdentityName(device_id), is_edge=device_id in (EDGE, INNER))
        await registry.create(DEFAULT_HUB, draft, NOW)
    yield opened
    opened.close()


@pytest.fixture
def gateways(store: SqliteStore) -> Gateways:
    return Gateways(DEFAULT_HUB, store, HandClock(NOW))


async def below(gateways: Gateways, device_id: DeviceId = EDGE, after: str = "") -> list[DeviceId]:
    return [record.device_id for record in await gateways.downstream(ADA, device_id, after=after)]


async def test_leaves_and_edge_devices_stand_below_a_gateway_until_they_are_detached(
    store: SqliteStore, gateways: Gateways
) -> None:
    for device_id in (VALVE, INNER, PUMP):
        await gateways.attach(ADA, device_id, EDGE)
    assert await below(gateways) == [INNER, PUMP, VALVE]
    assert await below(gateways, after="edge-2") == [PUMP, VALVE]
    assert await below(gateways, INNER) == await below(gateways, PUMP) == []
    assert gateway_of(store.read().identities.find(DEFAULT_HUB, IdentityName(PUMP))) == EDGE
    await gateways.attach(ADA, PUMP, INNER)
    assert (await below(gateways), await below(gateways, INNER)) == ([INNER, VALVE], [PUMP])
    await gateways.attach(ADA, PUMP, None)
    assert await below(gateways, INNER) == []
    assert gateway_of(store.read().identities.find(DEFAULT_HUB, IdentityName(PUMP))) is None


async def test_why_a_device_is_shut_out_stays_when_it_is_attached(store: SqliteStore, gateways: Gateways) -> None:
    draft = IdentityDraft(IdentityName(PUMP), status="disabled", status_reason="blocked by user:ada")
    await IdentityRegistry(store).update(DEFAULT_HUB, draft, NOW)
    await gateways.attach(ADA, PUMP, EDGE)
    found = store.read().identities.find(DEFAULT_HUB, IdentityName(PUMP))
    assert found is not None
    assert (found.status, found.status_reason) == ("disabled", "blocked by user:ada")


@pytest.mark.parametrize(
    ("device", "gateway", "reason"),
    [(PUMP, VALVE, "gateway.kind"), (PUMP, "nobody", "device.unknown"), ("nobody", EDGE, "device.unknown")],
)
async def test_what_cannot_be_attached_is_refused(gateways: Gateways, device: str, gateway: str, reason: str) -> None:
    with pytest.raises((Invalid, NotFound)) as refused:
        await gateways.attach(ADA, DeviceId(device), DeviceId(gateway))
    assert refused.value.reason == reason


async def test_gateways_make_no_circle(gateways: Gateways) -> None:
    await gateways.attach(ADA, INNER, EDGE)
    with pytest.raises(Invalid) as refused:
        await gateways.attach(ADA, EDGE, INNER)
    assert refused.value.reason == "device_scope.circle"


async def test_who_does_not_see_a_device_attaches_and_lists_nothing(gateways: Gateways) -> None:
    await gateways.attach(ADA, PUMP, EDGE)
    with pytest.raises(NotFound):
        await gateways.attach(EVE, PUMP, None)
    with pytest.raises(NotFound):
        await gateways.downstream(EVE, EDGE)

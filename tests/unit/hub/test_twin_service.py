"""Twins in a store: durable, counted, and told to whoever holds the device's session."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.errors import Invalid, NotFound, PreconditionFailed
from moorage.events import Event
from moorage.hub.twins import TwinChange, TwinService, fresh_twin, twin_etag
from moorage.identities.registry import IdentityDraft, create_in, delete_in
from moorage.ids import DEFAULT_HUB, DeviceId, ETag, IdentityName

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PUMP = IdentityName(DeviceId("pump-01"))


@pytest.fixture
async def twins(store: SqliteStore) -> TwinService:
    await store.write(lambda tables: create_in(tables, DEFAULT_HUB, IdentityDraft(PUMP), NOW))
    return TwinService(store, HandClock(NOW))


async def test_a_twin_that_nobody_wrote_is_fresh(twins: TwinService) -> None:
    assert twins.get(DEFAULT_HUB, PUMP) == fresh_twin(DEFAULT_HUB, PUMP)
    with pytest.raises(NotFound) as caught:
        twins.get(DEFAULT_HUB, IdentityName(DeviceId("nobody")))
    assert caught.value.reason == "device.not_found"


async def test_what_is_written_is_read_back_and_told(twins: TwinService, events: list[Event]) -> None:
    written = await twins.patch(DEFAULT_HUB, PUMP, TwinChange({"t": 1}, {"rate": 5, "gone": None}))
    assert twins.get(DEFAULT_HUB, PUMP) == written
    assert await twins.report(DEFAULT_HUB, PUMP, {"rate": 5}) == 2
    assert twins.get(DEFAULT_HUB, PUMP).reported.value == {"rate": 5}
    await twins.replace(DEFAULT_HUB, PUMP, TwinChange(desired={"rate": 6}))
    told = [(event.subject, dict(event.data)) for event in events if event.kind == "twin.desired"]
    assert told == [
        ("pump-01", {"patch": {"rate": 5, "gone": None}, "version": 2}),
        ("pump-01", {"patch": {"rate": 6}, "version": 3}),
    ]


async def test_a_stale_etag_changes_nothing_and_tells_nobody(twins: TwinService, events: list[Event]) -> None:
    before = await twins.patch(DEFAULT_HUB, PUMP, TwinChange({"t": 1}))
    current = await twins.patch(DEFAULT_HUB, PUMP, TwinChange({"t": 2}), if_match=twin_etag(before))
    for stale in (twin_etag(before), ETag("nonsense")):
        with pytest.raises(PreconditionFailed):
            await twins.patch(DEFAULT_HUB, PUMP, TwinChange(desired={"x": 1}), if_match=stale)
    assert twins.get(DEFAULT_HUB, PUMP) == current
    assert not [event for event in events if event.kind == "twin.desired"]


async def test_a_refused_report_stores_nothing(twins: TwinService) -> None:
    with pytest.raises(Invalid):
        await twins.report(DEFAULT_HUB, PUMP, {"fine": 1, "not fine": 1})
    assert twins.get(DEFAULT_HUB, PUMP) == fresh_twin(DEFAULT_HUB, PUMP)


async def test_the_model_is_written_only_when_it_changes(twins: TwinService, store: SqliteStore) -> None:
    await twins.set_model_id(DEFAULT_HUB, PUMP, "dtmi:a;1")
    before = store.commits
    await twins.set_model_id(DEFAULT_HUB, PUMP, "dtmi:a;1")
    assert store.commits == before
    assert twins.get(DEFAULT_HUB, PUMP).model_id == "dtmi:a;1"
    assert (await twins.patch(DEFAULT_HUB, PUMP, TwinChange({"t": 1}))).model_id == "dtmi:a;1"


async def test_a_device_made_again_begins_with_a_fresh_twin(twins: TwinService, store: SqliteStore) -> None:
    await twins.patch(DEFAULT_HUB, PUMP, TwinChange({"t": 1}, {"a": 1}))
    await store.write(lambda tables: delete_in(tables, DEFAULT_HUB, PUMP))
    with pytest.raises(NotFound):
        await twins.patch(DEFAULT_HUB, PUMP, TwinChange({"t": 2}))
    await store.write(lambda tables: create_in(tables, DEFAULT_HUB, IdentityDraft(PUMP), NOW))
    assert twins.get(DEFAULT_HUB, PUMP) == fresh_twin(DEFAULT_HUB, PUMP)

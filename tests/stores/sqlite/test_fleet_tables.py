"""Records of devices stand beside identities, and the store keeps the two together (`fleet.model.DeviceTable`)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from moorage.accounts.model import OrganizationId
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.adapters.sqlite.tables import AllTables
from moorage.fleet.model import STATES, UNASSIGNED, DeviceFilter, DeviceRecord, Tally, TemplateId, state_of
from moorage.identities.model import NoCredential
from moorage.identities.registry import IdentityDraft, create_in, delete_in, update_in
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

HUB = DEFAULT_HUB
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = SqliteStore(MEMORY, secrets_key=b"k" * 32, bus=LocalBus())
    yield store
    await asyncio.to_thread(store.close)


def device(name: str, **values: object) -> DeviceRecord:
    return replace(DeviceRecord(HUB, DeviceId(name), name, NOW), **values)  # type: ignore[arg-type] # a test's own names


def identity(name: str, **values: object) -> IdentityDraft:
    draft = IdentityDraft(IdentityName(DeviceId(name)), NoCredential())
    return replace(draft, **values)  # type: ignore[arg-type] # a test's own names


def found(tables: AllTables, name: str) -> DeviceRecord:
    record = tables.devices.find(HUB, DeviceId(name))
    assert record is not None
    return record


async def test_an_identity_that_is_made_elsewhere_has_a_record_at_once(store: SqliteStore) -> None:
    await store.write(lambda tables: create_in(tables, HUB, identity("Pump-1", is_edge=True), NOW))
    record = found(store.read(), "Pump-1")
    assert record == device("Pump-1", is_provisioned=True, is_edge=True)
    assert record.state == "provisioned"


async def test_a_module_has_no_record(store: SqliteStore) -> None:
    await store.write(lambda tables: create_in(tables, HUB, identity("edge", is_edge=True), NOW))
    assert [tally.devices for tally in store.read().devices.tallies(HUB)] == [1]


async def test_a_record_keeps_what_people_made_of_it_when_its_identity_comes(store: SqliteStore) -> None:
    made = device(
        "pump",
        display_name="The pump",
        template=TemplateId("dtmi:a;1"),
        organization=OrganizationId("north"),
        is_approved=False,
    )
    await store.write(lambda tables: tables.devices.put(made))
    assert found(store.read(), "pump").state == "waiting"
    await store.write(lambda tables: create_in(tables, HUB, identity("pump"), NOW))
    assert found(store.read(), "pump") == replace(made, is_approved=True, is_provisioned=True)


async def test_a_record_goes_with_its_identity(store: SqliteStore) -> None:
    await store.write(lambda tables: create_in(tables, HUB, identity("pump"), NOW))
    await store.write(lambda tables: delete_in(tables, HUB, IdentityName(DeviceId("pump"))))
    assert store.read().devices.find(HUB, DeviceId("pump")) is None
    assert store.read().devices.tallies(HUB) == []


async def test_disabling_an_identity_blocks_its_device_and_enabling_it_lets_it_in_again(store: SqliteStore) -> None:
    await store.write(lambda tables: create_in(tables, HUB, identity("pump"), NOW))
    await store.write(lambda tables: update_in(tables, HUB, identity("pump", status="disabled"), NOW))
    assert found(store.read(), "pump").state == "blocked"
    await store.write(lambda tables: update_in(tables, HUB, identity("pump", status="enabled"), NOW))
    assert found(store.read(), "pump").state == "provisioned"


async def test_a_device_that_was_blocked_meanwhile_gets_a_disabled_identity(store: SqliteStore) -> None:
    await store.write(lambda tables: tables.devices.put(device("pump", is_blocked=True)))
    await store.write(lambda tables: create_in(tables, HUB, identity("pump"), NOW))
    stored = store.read().identities.find(HUB, IdentityName(DeviceId("pump")))
    assert stored is not None
    assert stored.status == "disabled"
    assert found(store.read(), "pump").state == "blocked"
    assert store.read().identities.count_devices(HUB) == (1, 0)


async def test_the_state_that_the_store_knows_is_the_one_that_the_fleet_says(store: SqliteStore) -> None:
    def work(tables: AllTables) -> None:
        for number in range(8):
            blocked, approved, provisioned = number & 1 == 1, number & 2 == 2, number & 4 == 4
            name = f"device-{number}"
            if provisioned:
                create_in(tables, HUB, identity(name), NOW)
            tables.devices.put(device(name, is_blocked=blocked, is_approved=approved))

    await store.write(work)
    tables = store.read()
    records = [found(tables, f"device-{number}") for number in range(8)]
    assert {record.is_provisioned for record in records} == {True, False}
    for state in STATES:
        wanted = [record.device_id for record in records if state_of(record) == state]
        assert wanted
        assert tables.devices.ids(HUB, DeviceFilter(state=state), 10) == wanted


async def test_cloud_properties_lie_beside_the_record_and_go_with_it(store: SqliteStore) -> None:
    pump = DeviceId("pump")
    await store.write(lambda tables: tables.devices.put(device("pump")))
    assert store.read().devices.cloud_properties(HUB, pump) == {}
    await store.write(lambda tables: tables.devices.put_cloud_properties(HUB, pump, {"site": "Bergen"}))
    await store.write(lambda tables: tables.devices.put(device("pump", version=2)))
    assert store.read().devices.cloud_properties(HUB, pump) == {"site": "Bergen"}
    await store.write(lambda tables: tables.devices.delete(HUB, pump))
    assert store.read().devices.cloud_properties(HUB, pump) == {}


async def test_lists_and_tallies_are_what_looking_at_every_record_would_say(store: SqliteStore) -> None:
    dice = random.Random(7)
    records = {
        name: device(
            name,
            display_name=dice.choice(("Pumpe Nord", "ÜBERLAUF", name)),
            template=TemplateId(dice.choice(("", "dtmi:a;1", "dtmi:b;1"))),
            organization=OrganizationId(dice.choice(("", "north", "south"))),
            is_approved=dice.random() > 0.2,
            is_blocked=dice.random() < 0.2,
        )
        for name in (f"device-{number:03}" for number in range(300))
    }

    def work(tables: AllTables) -> None:
        for record in records.values():
            # Each is something else first, so that tallies have to follow changes.
            tables.devices.put(device(record.device_id))
            tables.devices.put(record)

    await store.write(work)
    tables = store.read()
    kinds = [
        DeviceFilter(text, state, template, organizations)
        for text in ("", "nord", "überlauf", "-01")
        for state in (None, *STATES)
        for template in (None, UNASSIGNED, TemplateId("dtmi:b;1"))
        for organizations in (
            None,
            frozenset[OrganizationId](),
            frozenset({OrganizationId(""), OrganizationId("south")}),
        )
    ]
    for wanted in kinds:
        fitting = [
            name
            for name, record in records.items()
            if Tally(record.organization, record.template, record.state, 1).fits(wanted)
            and wanted.text in f"{record.device_id}\n{record.display_name}".casefold()
        ]
        assert tables.devices.ids(HUB, wanted, 1000) == fitting
        assert tables.devices.ids(HUB, wanted, 3, "device-100") == [name for name in fitting if name > "device-100"][:3]
        odd = tables.devices.ids(HUB, wanted, 5, fits=lambda name: name[-1] in "13579")
        assert odd == [name for name in fitting if name[-1] in "13579"][:5]
        if not wanted.text:
            assert sum(tally.devices for tally in tables.devices.tallies(HUB) if tally.fits(wanted)) == len(fitting)
    assert all(tally.devices > 0 for tally in tables.devices.tallies(HUB))

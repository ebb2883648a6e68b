"""Records of devices stand beside identities, and the store keeps the two together (`fleet.model.DeviceTable`)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from moorage.accounts.model import OrganizationId
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.adapters.sqlite.tables import AllTables
from moorage.fleet.model import (
    COLUMNS,
    STATES,
    UNASSIGNED,
    DeviceColumn,
    DeviceFilter,
    DeviceOrder,
    DeviceRecord,
    Place,
    Tally,
    TemplateId,
    state_of,
)
from moorage.hub.model import Activity
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


async def test_every_order_is_what_sorting_all_records_would_say_page_by_page(store: SqliteStore) -> None:
    dice = random.Random(11)
    labels = {"dtmi:a;1": "Zebra", "dtmi:b;1": "adder", "north": "Plant", "waiting": "A guest", "": "(none)"}
    records: dict[str, DeviceRecord] = {}
    heard: dict[str, datetime] = {}

    def work(tables: AllTables) -> None:
        for number in range(120):
            name = f"device-{number:03}"
            if dice.random() < 0.5:
                create_in(tables, HUB, identity(name), NOW)
                if dice.random() < 0.7:
                    heard[name] = NOW - timedelta(seconds=dice.randrange(40))
            if dice.random() < 0.9:
                tables.devices.put(
                    device(
                        name,
                        display_name=dice.choice(("Pumpe Nord", "ÜBERLAUF", "pumpe nord", name, "Zeta")),
                        template=TemplateId(dice.choice(("", "dtmi:a;1", "dtmi:b;1"))),
                        organization=OrganizationId(dice.choice(("", "north", "south"))),
                        is_simulated=dice.random() < 0.1,
                        is_approved=dice.random() > 0.2,
                        is_blocked=dice.random() < 0.2,
                    )
                )
        tables.activity.put_many(
            Activity(HUB, IdentityName(DeviceId(name)), NOW, connected=False, last_activity=at)
            for name, at in heard.items()
        )
        for number in range(120):
            record = tables.devices.find(HUB, DeviceId(f"device-{number:03}"))
            if record is not None:
                records[record.device_id] = record

    await store.write(work)

    def key(column: DeviceColumn, record: DeviceRecord) -> str | float:
        at = heard.get(record.device_id)
        said: dict[DeviceColumn, str | float] = {
            "id": record.device_id,
            "name": record.display_name.casefold(),
            "status": labels.get(record.state, record.state).casefold(),
            "template": labels.get(record.template, record.template).casefold(),
            "organization": labels.get(record.organization, record.organization).casefold(),
            "simulated": float(record.is_simulated),
            "connection": 0.0 if at is None else at.timestamp(),
        }
        return said[column]

    def sorted_by(column: DeviceColumn, is_descending: bool, names: list[DeviceId]) -> list[DeviceId]:
        """`reverse` leaves equals as they were, by their ids."""
        return sorted(names, key=lambda name: key(column, records[name]), reverse=is_descending)

    devices = store.read().devices
    filters = [
        DeviceFilter(),
        DeviceFilter("nord"),
        DeviceFilter(state="blocked"),
        DeviceFilter("-0", template=UNASSIGNED, organizations=frozenset({OrganizationId(""), OrganizationId("north")})),
    ]
    for column in COLUMNS:
        for is_descending in (False, True):
            order = DeviceOrder(column, is_descending, labels)
            for wanted in filters:
                fitting = sorted_by(column, is_descending, devices.ids(HUB, wanted, 1000))
                found: list[DeviceId] = []
                after: Place | None = None
                while page := devices.places(HUB, wanted, order, 7, after):
                    found += [place.device_id for place in page]
                    after = page[-1]
                assert found == fitting, (column, is_descending, wanted)
                odd = devices.places(HUB, wanted, order, 4, fits=lambda name: name[-1] in "13579")
                assert [place.device_id for place in odd] == [name for name in fitting if name[-1] in "13579"][:4]


async def test_a_place_that_nobody_gave_out_breaks_nothing(store: SqliteStore) -> None:
    await store.write(lambda tables: tables.devices.put(device("pump", display_name="Pump")))
    for column in COLUMNS:
        for is_descending in (False, True):
            for key in ("", "9" * 40, "odd\x00", "\U0001f40c"):
                order = DeviceOrder(column, is_descending)
                assert len(store.read().devices.places(HUB, DeviceFilter(), order, 5, Place(key, DeviceId("a")))) <= 1

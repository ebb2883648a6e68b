"""States of devices and what leads from one to another (central.md 5.2), and who sees what."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from moorage.accounts.model import OWNER, OrganizationId
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.fleet.export import exported_in
from moorage.fleet.model import (
    COLUMNS,
    MAX_DISPLAY_NAME,
    UNASSIGNED,
    DeviceChange,
    DeviceFilter,
    DeviceOrder,
    Place,
    TemplateId,
    parse_plain_id,
)
from moorage.fleet.service import ALL, MAX_CLOUD_PROPERTIES_BYTES, MAX_SIMULATED
from moorage.hub.model import Activity
from moorage.identities.model import NoCredential
from moorage.ids import DEFAULT_HUB, DeviceId, ETag, IdentityName, RegistrationId
from moorage.provisioning.enrollments import EnrollmentLimits
from tests.unit.fleet.fleets import NORTH, SOUTH, THERMOSTAT, TestFleet, fleet_of, member_of

PUMP = DeviceId("pump")


@pytest.fixture
async def fleet() -> AsyncIterator[TestFleet]:
    async with fleet_of() as fleet:
        yield fleet


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, str]]]:
    """(event, facts) of the audit log."""
    records: list[Any] = [each for each in caplog.records if each.name == "moorage.audit"]
    return [(each.event, each.facts) for each in records]


async def connected(fleet: TestFleet, name: str) -> None:
    """The device provisioned by a key of its own, and its identity is there."""
    await fleet.world.enroll(name)
    enrollment = fleet.world.enrollments.get_individual(RegistrationId(name))
    key: Any = enrollment.attestation
    assert (await fleet.world.register(name, fleet.world.token(name, key.primary))).status == "assigned"


# -- ids and names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "Pump-01", "-", "x" * 128])
def test_an_id_in_a_form_has_letters_digits_and_hyphens(text: str) -> None:
    assert parse_plain_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 129, "pump_1", "pump 1", "pump.1", "pümp", "pump\n"])
def test_what_is_no_id_is_told_the_rule(text: str) -> None:
    with pytest.raises(Invalid, match="1 to 128 letters, digits and hyphens"):
        parse_plain_id(text)


async def test_a_name_is_one_line_of_at_most_148_characters_and_else_the_id(fleet: TestFleet) -> None:
    assert (await fleet.add("a", display_name="  Pumpe  ")).record.display_name == "Pumpe"
    assert (await fleet.add("b")).record.display_name == "b"
    assert (await fleet.add("c", display_name="x" * MAX_DISPLAY_NAME)).record.display_name == "x" * MAX_DISPLAY_NAME
    for name in ("x" * (MAX_DISPLAY_NAME + 1), "two\nlines"):
        with pytest.raises(Invalid, match=r"device\.display_name"):
            await fleet.add("d", display_name=name)


# -- states ------------------------------------------------------------------------------------------------------------


async def test_a_device_is_registered_until_it_first_registers_itself(fleet: TestFleet) -> None:
    device = await fleet.add("pump", display_name="The pump", template=THERMOSTAT, organization=NORTH)
    assert (device.state, device.identity) == ("registered", None)
    await connected(fleet, "pump")
    device = fleet.get("pump")
    assert device.state == "provisioned"
    assert device.identity is not None
    assert device.identity.status == "enabled"
    assert (device.record.display_name, device.record.template, device.record.organization) == (
        "The pump",
        THERMOSTAT,
        NORTH,
    )


@pytest.mark.parametrize("was", ["registered", "provisioned", "waiting"])
async def test_unblocking_leads_back_to_where_blocking_came_from(fleet: TestFleet, was: str) -> None:
    if was == "waiting":
        await fleet.fleet.set_auto_approve(OWNER, False)
        group = await fleet.world.enroll_group("line")
        key: Any = group.attestation
        await fleet.world.register("pump", fleet.world.derived("pump", key.primary))
    else:
        await fleet.add("pump")
    if was == "provisioned":
        await connected(fleet, "pump")
    assert fleet.get("pump").state == was
    assert (await fleet.fleet.block(OWNER, PUMP)).state == "blocked"
    assert (await fleet.fleet.block(OWNER, PUMP)).state == "blocked"
    assert (await fleet.fleet.unblock(OWNER, PUMP)).state == was
    assert (await fleet.fleet.unblock(OWNER, PUMP)).state == was


async def test_blocking_cuts_the_connection_and_says_who_did_it(fleet: TestFleet) -> None:
    await fleet.add("pump")
    await connected(fleet, "pump")
    fleet.world.events.clear()
    device = await fleet.fleet.block(OWNER, PUMP)
    assert device.identity is not None
    assert (device.identity.status, device.identity.status_reason) == ("disabled", "blocked by owner")
    # Sessions of an identity end by this event (hub/watch.py).
    assert ("identity.disabled", "pump") in [(event.kind, event.subject) for event in fleet.world.events]
    device = await fleet.fleet.unblock(OWNER, PUMP)
    assert device.identity is not None
    assert (device.identity.status, device.identity.status_reason) == ("enabled", None)


async def test_in_the_words_of_the_api_enabling_a_device_that_waits_lets_it_in(fleet: TestFleet) -> None:
    await fleet.fleet.set_auto_approve(OWNER, False)
    key: Any = (await fleet.world.enroll_group("line")).attestation
    await fleet.world.register("pump", fleet.world.derived("pump", key.primary))
    assert (await fleet.fleet.update(OWNER, PUMP, DeviceChange(is_blocked=False))).state == "registered"


async def test_deleting_takes_the_identity_the_enrollment_and_the_registration(fleet: TestFleet) -> None:
    await fleet.add("pump")
    await connected(fleet, "pump")
    deleted = await fleet.fleet.delete(OWNER, PUMP)
    assert (deleted.enrollment, deleted.group) == (True, "")
    tables = fleet.store.read()
    assert tables.identities.find(fleet.fleet.hub, IdentityName(PUMP)) is None
    assert tables.individuals.find(fleet.fleet.hub, RegistrationId("pump")) is None
    assert fleet.world.registrations.find(RegistrationId("pump")) is None
    with pytest.raises(NotFound, match=r"device\.unknown"):
        fleet.get("pump")


async def test_whoever_deletes_a_device_of_a_group_is_told_that_it_comes_back(fleet: TestFleet) -> None:
    key: Any = (await fleet.world.enroll_group("line")).attestation
    shown = fleet.world.derived("pump", key.primary)
    await fleet.world.register("pump", shown)
    assert (await fleet.fleet.delete(OWNER, PUMP)).group == "line"
    assert (await fleet.world.register("pump", shown)).status == "assigned"
    assert fleet.get("pump").state == "provisioned"


async def test_the_enrollment_of_another_device_stays(fleet: TestFleet) -> None:
    await fleet.add("pump")
    await fleet.world.enroll("pump", device_id=DeviceId("valve"))
    assert not (await fleet.fleet.delete(OWNER, PUMP)).enrollment
    assert fleet.world.enrollments.get_individual(RegistrationId("pump")).device_id == "valve"


async def test_a_device_of_another_case_has_neither_the_enrollment_nor_its_keys(fleet: TestFleet) -> None:
    await fleet.world.enroll("PUMP")
    await fleet.add("pump")
    [exported] = exported_in(fleet.store.read(), DEFAULT_HUB, [PUMP])
    assert exported.keys is None
    assert not (await fleet.fleet.delete(OWNER, PUMP)).enrollment
    assert fleet.world.enrollments.get_individual(RegistrationId("PUMP")).registration_id == "PUMP"


# -- changing ----------------------------------------------------------------------------------------------------------


async def test_a_change_is_refused_to_whoever_read_an_older_device(fleet: TestFleet) -> None:
    read = (await fleet.add("pump")).record.etag
    changed = await fleet.fleet.update(OWNER, PUMP, DeviceChange(display_name="Pump"), if_match=read)
    assert changed.record.etag != read
    with pytest.raises(PreconditionFailed, match=r"etag\.stale"):
        await fleet.fleet.update(OWNER, PUMP, DeviceChange(display_name="Other"), if_match=ETag(read))
    assert fleet.get("pump").record.display_name == "Pump"


async def test_a_change_that_changes_nothing_leaves_the_etag(fleet: TestFleet) -> None:
    read = (await fleet.add("pump", display_name="Pump")).record.etag
    assert (await fleet.fleet.update(OWNER, PUMP, DeviceChange(display_name="Pump"))).record.etag == read


async def test_what_is_made_again_under_the_same_id_has_another_etag(fleet: TestFleet) -> None:
    read = (await fleet.add("pump")).record.etag
    await fleet.fleet.delete(OWNER, PUMP)
    fleet.clock.advance(1)
    assert (await fleet.add("pump")).record.etag != read


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"template": TemplateId("dtmi:nobody;1")}, "template.unknown"),
        ({"organization": OrganizationId("nowhere")}, "organization.unknown"),
        ({"is_simulated": True}, "device.simulated_template"),
    ],
)
async def test_what_does_not_fit_is_refused_when_made_and_when_changed(
    fleet: TestFleet, values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refusal, match=reason.replace(".", r"\.")):
        await fleet.add("valve", **values)
    await fleet.add("pump")
    with pytest.raises(Refusal, match=reason.replace(".", r"\.")):
        await fleet.fleet.update(OWNER, PUMP, DeviceChange(**values))
    assert fleet.get("pump").record.version == 1


async def test_an_id_is_given_once(fleet: TestFleet) -> None:
    await fleet.add("pump")
    with pytest.raises(Conflict, match=r"device\.exists"):
        await fleet.add("pump")


async def test_a_simulated_device_has_an_identity_that_nobody_can_log_in_by(fleet: TestFleet) -> None:
    device = await fleet.add("pump", template=THERMOSTAT, is_simulated=True)
    assert device.state == "provisioned"
    assert device.identity is not None
    assert device.identity.authentication == NoCredential()
    for number in range(1, MAX_SIMULATED):
        await fleet.add(f"pump-{number}", template=THERMOSTAT, is_simulated=True)
    with pytest.raises(TooLarge, match=r"device\.simulated_number"):
        await fleet.add("one-more", template=THERMOSTAT, is_simulated=True)


async def test_cloud_properties_are_merged_and_have_an_end(fleet: TestFleet) -> None:
    await fleet.add("pump")
    await fleet.fleet.set_cloud_properties(OWNER, PUMP, {"site": "Bergen", "floor": 2})
    await fleet.fleet.set_cloud_properties(OWNER, PUMP, {"floor": None, "room": "B"})
    assert fleet.fleet.cloud_properties(OWNER, PUMP) == {"site": "Bergen", "room": "B"}
    with pytest.raises(TooLarge, match=r"device\.cloud_properties"):
        await fleet.fleet.set_cloud_properties(OWNER, PUMP, {"much": "x" * MAX_CLOUD_PROPERTIES_BYTES})


# -- who sees what -----------------------------------------------------------------------------------------------------


async def test_a_device_of_a_sibling_does_not_exist(fleet: TestFleet) -> None:
    eve = member_of(SOUTH)
    await fleet.add("pump", organization=NORTH)
    acts = (
        lambda: fleet.fleet.approve(eve, PUMP),
        lambda: fleet.fleet.block(eve, PUMP),
        lambda: fleet.fleet.unblock(eve, PUMP),
        lambda: fleet.fleet.migrate(eve, PUMP, UNASSIGNED),
        lambda: fleet.fleet.update(eve, PUMP, DeviceChange(display_name="mine")),
        lambda: fleet.fleet.delete(eve, PUMP),
        lambda: fleet.fleet.set_cloud_properties(eve, PUMP, {"a": 1}),
    )
    for act in acts:
        with pytest.raises(NotFound, match=r"device\.unknown"):
            await act()
    with pytest.raises(NotFound, match=r"device\.unknown"):
        fleet.get("pump", eve)
    with pytest.raises(NotFound, match=r"device\.unknown"):
        fleet.fleet.cloud_properties(eve, PUMP)
    assert await fleet.fleet.list(eve) == []
    assert await fleet.fleet.count(eve) == 0
    assert await fleet.fleet.count(eve, DeviceFilter(text="pump")) == 0
    assert fleet.fleet.tallies(eve) == []
    assert fleet.get("pump").record.version == 1


async def test_nobody_moves_a_device_to_where_they_see_nothing(fleet: TestFleet) -> None:
    eve = member_of(SOUTH)
    await fleet.add("pump", organization=SOUTH)
    for target in (NORTH, OrganizationId("")):
        with pytest.raises(NotFound, match=r"organization\.unknown"):
            await fleet.fleet.update(eve, PUMP, DeviceChange(organization=target))
        with pytest.raises(NotFound, match=r"organization\.unknown"):
            await fleet.add("valve", eve, organization=target)
    assert (await fleet.fleet.update(member_of(SOUTH, NORTH), PUMP, DeviceChange(organization=NORTH))).record


async def test_what_is_asked_for_is_narrowed_to_what_is_seen(fleet: TestFleet) -> None:
    for name, organization in (("a", NORTH), ("b", SOUTH), ("c", OrganizationId(""))):
        await fleet.add(name, organization=organization)
    everything = DeviceFilter(organizations=frozenset({NORTH, SOUTH, OrganizationId("")}))
    assert fleet.ids(await fleet.fleet.list(member_of(SOUTH), everything)) == ["b"]
    assert fleet.ids(await fleet.fleet.list(OWNER, everything)) == ["a", "b", "c"]


# -- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [0, 1000])
async def test_connected_devices_are_listed_whether_they_are_many_or_few(
    fleet: TestFleet, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.fleet.service._FEW_CONNECTED", few)
    for number in range(10):
        await fleet.add(f"pump-{number}", organization=NORTH if number % 2 else OrganizationId(""))
    fleet.connected.names |= {IdentityName(DeviceId(f"pump-{number}")) for number in (1, 2, 3, 7)}
    fleet.connected.names.add(IdentityName(DeviceId("no-record")))
    listed = await fleet.fleet.list(OWNER, DeviceFilter(is_connected=True), 2, "pump-1")
    assert fleet.ids(listed) == ["pump-2", "pump-3"]
    assert await fleet.fleet.count(OWNER, DeviceFilter(is_connected=True)) == 4
    assert await fleet.fleet.count(member_of(NORTH), DeviceFilter(is_connected=True)) == 3
    away = await fleet.fleet.list(OWNER, DeviceFilter(text="pump", is_connected=False))
    assert fleet.ids(away) == [f"pump-{number}" for number in (0, 4, 5, 6, 8, 9)]


@pytest.mark.parametrize("is_descending", [False, True])
async def test_by_connection_those_that_are_connected_now_stand_at_one_end(
    fleet: TestFleet, is_descending: bool
) -> None:
    """The store is some seconds late, so it does not decide who is connected."""
    heard = {"pump-0": 50, "pump-1": 10, "pump-2": 30, "pump-5": 40}
    for number in range(8):
        await fleet.add(f"pump-{number}", is_simulated=number < 6, template=THERMOSTAT)
    now = fleet.clock.now()

    def hear(tables: Any) -> None:
        tables.activity.put_many(
            Activity(DEFAULT_HUB, IdentityName(DeviceId(name)), now, True, now - timedelta(seconds=ago))
            for name, ago in heard.items()
        )

    await fleet.store.write(hear)
    fleet.connected.names |= {IdentityName(DeviceId(f"pump-{number}")) for number in (4, 5, 7)}
    order = DeviceOrder("connection", is_descending)
    never, known, connected = ["pump-3", "pump-6"], ["pump-0", "pump-2", "pump-1"], ["pump-4", "pump-5", "pump-7"]
    whole = [*connected, *reversed(known), *never] if is_descending else [*never, *known, *connected]
    for wanted, expected in (
        (ALL, whole),
        (DeviceFilter(is_connected=True), connected),
        (DeviceFilter(is_connected=False), [name for name in whole if name not in connected]),
    ):
        for limit in (1, 2, 3, 8):
            found: list[str] = []
            after: Place | None = None
            while True:
                devices, after = await fleet.fleet.sorted(OWNER, wanted, order, limit, after)
                found += fleet.ids(devices)
                if after is None:
                    break
            assert found == expected, (wanted, limit)


async def test_an_order_shows_no_more_than_its_reader_may_see(fleet: TestFleet) -> None:
    for name, organization in (("a", NORTH), ("b", SOUTH), ("c", NORTH)):
        await fleet.add(name, organization=organization)
    for column in COLUMNS:
        devices, after = await fleet.fleet.sorted(member_of(NORTH), ALL, DeviceOrder(column, True), 10)
        assert sorted(fleet.ids(devices)) == ["a", "c"]
        assert after is None


async def test_a_list_has_an_end(fleet: TestFleet) -> None:
    for limit in (0, 1001):
        with pytest.raises(Invalid, match=r"list\.limit"):
            await fleet.fleet.list(OWNER, ALL, limit)
        with pytest.raises(Invalid, match=r"list\.limit"):
            await fleet.fleet.sorted(OWNER, ALL, DeviceOrder("name"), limit)


# -- the audit log -----------------------------------------------------------------------------------------------------


async def test_every_act_is_a_line_with_who_did_it_and_what_was_before(
    fleet: TestFleet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="moorage.audit")
    await fleet.add("pump", OWNER)
    await fleet.fleet.update(OWNER, PUMP, DeviceChange(display_name="Pump"))
    await fleet.fleet.migrate(OWNER, PUMP, THERMOSTAT)
    await fleet.fleet.update(OWNER, PUMP, DeviceChange(organization=NORTH))
    await fleet.fleet.block(OWNER, PUMP)
    await fleet.fleet.block(OWNER, PUMP)
    await fleet.fleet.unblock(OWNER, PUMP)
    await fleet.fleet.set_cloud_properties(OWNER, PUMP, {"site": "Bergen"})
    await fleet.fleet.delete(OWNER, PUMP)
    await fleet.fleet.set_auto_approve(OWNER, False)
    told = lines(caplog)
    assert [event for event, _ in told] == [
        "device.registered",
        "device.changed",
        "device.migrated",
        "device.moved",
        "device.blocked",
        "device.unblocked",
        "device.cloud_properties_changed",
        "device.deleted",
        "fleet.auto_approve",
    ]
    assert {facts["by"] for _, facts in told} == {"owner"}
    assert {facts["name"] for _, facts in told[:-1]} == {"pump"}
    migrated = told[2][1]
    assert (migrated["template_before"], migrated["template"]) == ("(none)", THERMOSTAT)


async def test_enrollments_that_went_with_their_devices_make_room_for_others() -> None:
    async with fleet_of(limits=EnrollmentLimits(individuals=2)) as fleet:
        for name in ("pump-1", "pump-2"):
            await fleet.add(name)
            await fleet.world.enroll(name)
        with pytest.raises(TooLarge, match=r"enrollment\.too_many"):
            await fleet.world.enroll("pump-3")
        await fleet.fleet.delete(OWNER, DeviceId("pump-1"))
        await fleet.world.enroll("pump-3")

"""Who of those with a good credential comes in, and with which template (central.md 5.2, 5.3, 6.2; PC-10 to PC-13)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from moorage.accounts.model import OWNER
from moorage.errors import Conflict
from moorage.events import Event
from moorage.fleet.admission import model_of
from moorage.fleet.assignment import Adopter
from moorage.fleet.model import UNASSIGNED, DeviceChange
from moorage.hub.twins import fresh_twin
from moorage.identities.credentials import Presented
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, IdentityName, RegistrationId
from moorage.provisioning.model import Registration
from tests.servers.world import eventually
from tests.unit.fleet.fleets import THERMOSTAT, TestFleet, fleet_of

PUMP = DeviceId("pump")
MODEL = {"modelId": "dtmi:com:example:Thermostat;1"}


@pytest.fixture
async def fleet() -> AsyncIterator[TestFleet]:
    async with fleet_of() as fleet:
        yield fleet


async def in_line(fleet: TestFleet, name: str = "pump") -> Presented:
    """What a device of the group `line` shows."""
    try:
        group: Any = (await fleet.world.enroll_group("line")).attestation
    except Conflict:
        group = fleet.world.enrollments.get_group(EnrollmentGroupId("line")).attestation
    return fleet.world.derived(name, group.primary)


def refusal_of(registration: Registration) -> tuple[str, int | None, str]:
    return registration.status, registration.error_code, (registration.error_message or "").partition(":")[0]


async def test_an_unknown_device_comes_in_through_a_group_while_auto_approve_is_on(fleet: TestFleet) -> None:
    assert fleet.fleet.auto_approve()
    registration = await fleet.world.register("pump", await in_line(fleet))
    assert registration.status == "assigned"
    device = fleet.get("pump")
    assert (device.state, device.record.organization, device.record.template) == ("provisioned", "", UNASSIGNED)


async def test_without_auto_approve_it_waits_is_approved_and_comes_in_at_its_next_attempt(fleet: TestFleet) -> None:
    await fleet.fleet.set_auto_approve(OWNER, False)
    shown = await in_line(fleet)
    for _ in range(2):
        registration = await fleet.world.register("pump", shown)
        assert refusal_of(registration) == ("failed", 400209, "registration.waiting")
        assert fleet.get("pump").state == "waiting"
        assert fleet.world.identity("pump") is None
    assert (await fleet.fleet.approve(OWNER, PUMP)).state == "registered"
    assert (await fleet.world.register("pump", shown)).status == "assigned"
    assert fleet.get("pump").state == "provisioned"


async def test_switching_auto_approve_on_lets_in_who_comes_then_and_not_who_waits(fleet: TestFleet) -> None:
    await fleet.fleet.set_auto_approve(OWNER, False)
    shown = await in_line(fleet)
    await fleet.world.register("pump", shown)
    await fleet.fleet.set_auto_approve(OWNER, True)
    assert (await fleet.world.register("pump", shown)).status == "failed"
    assert (await fleet.world.register("valve", await in_line(fleet, "valve"))).status == "assigned"


async def test_a_device_that_somebody_registered_does_not_wait(fleet: TestFleet) -> None:
    await fleet.fleet.set_auto_approve(OWNER, False)
    await fleet.add("pump")
    assert (await fleet.world.register("pump", await in_line(fleet))).status == "assigned"


async def test_an_enrollment_of_its_own_is_an_approval(fleet: TestFleet) -> None:
    await fleet.fleet.set_auto_approve(OWNER, False)
    await fleet.world.register("pump", await in_line(fleet))
    assert fleet.get("pump").state == "waiting"
    key: Any = (await fleet.world.enroll("pump")).attestation
    assert (await fleet.world.register("pump", fleet.world.token("pump", key.primary))).status == "assigned"
    assert fleet.get("pump").state == "provisioned"


@pytest.mark.parametrize("was_provisioned", [True, False])
async def test_a_blocked_device_is_refused_until_it_is_unblocked(fleet: TestFleet, was_provisioned: bool) -> None:
    shown = await in_line(fleet)
    if was_provisioned:
        await fleet.world.register("pump", shown)
    else:
        await fleet.add("pump")
    await fleet.fleet.block(OWNER, PUMP)
    registration = await fleet.world.register("pump", shown)
    assert refusal_of(registration) == ("failed", 400209, "registration.blocked")
    await fleet.fleet.unblock(OWNER, PUMP)
    registration = await fleet.world.register("pump", shown)
    assert registration.status == "assigned"
    identity = fleet.world.identity("pump")
    assert identity is not None
    assert identity.status == "enabled"


async def test_no_real_device_comes_in_under_the_name_of_a_simulated_one(fleet: TestFleet) -> None:
    await fleet.add("pump", template=THERMOSTAT, is_simulated=True)
    registration = await fleet.world.register("pump", await in_line(fleet))
    assert refusal_of(registration) == ("failed", 400209, "registration.simulated")
    await fleet.fleet.update(OWNER, PUMP, DeviceChange(is_simulated=False))
    assert (await fleet.world.register("pump", await in_line(fleet, "pump"))).status == "assigned"
    with pytest.raises(Conflict, match=r"device\.simulated_real"):
        await fleet.fleet.update(OWNER, PUMP, DeviceChange(is_simulated=True))


async def test_a_device_is_given_the_template_of_the_model_that_it_announces(fleet: TestFleet) -> None:
    await fleet.world.register("pump", await in_line(fleet), payload=MODEL)
    assert fleet.get("pump").record.template == THERMOSTAT


async def test_a_device_that_waits_has_its_template_already(fleet: TestFleet) -> None:
    await fleet.fleet.set_auto_approve(OWNER, False)
    await fleet.world.register("pump", await in_line(fleet), payload=MODEL)
    assert (fleet.get("pump").state, fleet.get("pump").record.template) == ("waiting", THERMOSTAT)


async def test_an_unknown_model_leaves_it_unassigned(fleet: TestFleet) -> None:
    await fleet.world.register("pump", await in_line(fleet), payload={"modelId": "dtmi:com:example:Nobody;1"})
    assert fleet.get("pump").record.template == UNASSIGNED
    assert (await fleet.fleet.migrate(OWNER, PUMP, THERMOSTAT)).record.template == THERMOSTAT


async def test_what_a_device_announces_takes_no_template_away(fleet: TestFleet) -> None:
    await fleet.add("pump", template=THERMOSTAT)
    await fleet.world.register("pump", await in_line(fleet), payload={"modelId": "dtmi:com:example:Nobody;1"})
    assert fleet.get("pump").record.template == THERMOSTAT


@pytest.mark.parametrize(
    ("payload", "model_id"),
    [
        (MODEL, "dtmi:com:example:Thermostat;1"),
        ({"iotcModelId": "dtmi:a;1", "iotcGateway": {"iotcGatewayId": "gateway"}}, "dtmi:a;1"),
        (None, ""),
        ("dtmi:a;1", ""),
        (["modelId"], ""),
        ({"modelId": 7}, ""),
        ({"modelId": ""}, ""),
        ({"modelId": "x" * 257}, ""),
    ],
)
def test_a_model_is_read_from_whatever_a_device_sends(payload: Any, model_id: str) -> None:
    assert model_of(payload) == model_id


async def test_a_device_that_connects_with_a_model_is_assigned_in_the_background(fleet: TestFleet) -> None:
    adopter = Adopter(DEFAULT_HUB, fleet.store, fleet.templates)
    task = asyncio.create_task(adopter.run())
    await fleet.add("pump")
    await fleet.add("kept", template=THERMOSTAT)
    for name, model in (("pump", MODEL["modelId"]), ("kept", "dtmi:other;1"), ("nobody", MODEL["modelId"])):
        adopter.heard(DEFAULT_HUB, IdentityName(DeviceId(name)), model)
    await eventually(lambda: fleet.get("pump").record.template == THERMOSTAT)
    assert fleet.get("kept").record.template == THERMOSTAT
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert fleet.world.registrations.find(RegistrationId("pump")) is None


async def test_whoever_said_its_model_gets_the_template_that_is_published_later(fleet: TestFleet) -> None:
    adopter = Adopter(DEFAULT_HUB, fleet.store, fleet.templates)
    task = asyncio.create_task(adopter.run())
    for name in ("pump-0", "pump-1", "pump-2"):
        await fleet.world.register(name, await in_line(fleet, name))
    models = {"pump-0": MODEL["modelId"], "pump-1": "dtmi:other;1"}

    def announce(tables: Any) -> None:
        for name, model_id in models.items():
            identity = IdentityName(DeviceId(name))
            twin = tables.twins.find(DEFAULT_HUB, identity) or fresh_twin(DEFAULT_HUB, identity)
            tables.twins.put(replace(twin, model_id=model_id))

    await fleet.store.write(announce)
    for life in ("updated", "created"):
        assert fleet.get("pump-0").record.template == UNASSIGNED
        published = {"published": life, "model": MODEL["modelId"]}
        adopter.told(Event("template.changed", DEFAULT_HUB, THERMOSTAT, published))
        await asyncio.sleep(0)
    await eventually(lambda: fleet.get("pump-0").record.template == THERMOSTAT)
    assert [fleet.get(f"pump-{number}").record.template for number in (1, 2)] == [UNASSIGNED, UNASSIGNED]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

"""Limits that IoT Central has, where somebody asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from moorage.accounts.model import OWNER
from moorage.adapters.model_folder import ModelFolders
from moorage.errors import TooLarge
from moorage.fleet.admission import FleetAdmissions
from moorage.fleet.groups import DeviceGroupId, GroupDraft, Groups
from moorage.fleet.limits import Limits
from moorage.fleet.model import DeviceDraft, TemplateId
from moorage.fleet.service import Fleet
from moorage.fleet.template_model import make_content
from moorage.fleet.templates import TemplateService
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.unit.dtdl.models import component, interface, telemetry
from tests.unit.fleet.fleets import TestFleet, fleet_of

FEW = Limits(devices=2, capabilities=3, groups=1)
PUMP = TemplateId("dtmi:modelDefinition:com:example:Pump;1")


@pytest.fixture
async def fleet() -> AsyncIterator[TestFleet]:
    async with fleet_of() as fleet:
        yield fleet


async def test_devices_that_people_make_and_those_that_come_by_themselves_are_counted(fleet: TestFleet) -> None:
    limited = Fleet(DEFAULT_HUB, fleet.store, fleet.clock, fleet.templates, fleet.connected, FEW)
    fleet.world.registrations.admissions = FleetAdmissions(DEFAULT_HUB, fleet.templates, FEW)
    line: Any = (await fleet.world.enroll_group("line")).attestation
    await limited.create(OWNER, DeviceDraft(DeviceId("one")))
    for _ in range(2):
        registration = await fleet.world.register("two", fleet.world.derived("two", line.primary))
        assert registration.status == "assigned"
    refused = await fleet.world.register("three", fleet.world.derived("three", line.primary))
    assert (refused.status, refused.error_code) == ("failed", 400209)
    assert (refused.error_message or "").startswith("registration.number")
    with pytest.raises(TooLarge, match=r"device\.number: an application has at most 2 devices"):
        await limited.create(OWNER, DeviceDraft(DeviceId("three")))
    await limited.delete(OWNER, DeviceId("one"))
    await limited.create(OWNER, DeviceDraft(DeviceId("three")))


async def test_capabilities_of_a_template_are_counted_with_those_of_its_components(fleet: TestFleet) -> None:
    templates = TemplateService(DEFAULT_HUB, fleet.store, fleet.clock, ModelFolders(()), FEW)
    part = component("part", interface(telemetry("a"), telemetry("b"), name="Part"))
    small = make_content("Pump", "", interface(telemetry("a"), telemetry("b"), telemetry("c")))
    large = make_content("Pump", "", interface(telemetry("a"), part))
    await templates.put_published(OWNER, PUMP, small)
    for refused in (
        templates.put_published(OWNER, PUMP, large),
        templates.put_draft(OWNER, PUMP, large),
        templates.create_draft(OWNER, large),
    ):
        with pytest.raises(TooLarge, match=r"template\.capabilities: a template has at most 3 .* this has 4"):
            await refused


async def test_device_groups_are_counted(fleet: TestFleet) -> None:
    templates = TemplateService(DEFAULT_HUB, fleet.store, fleet.clock, ModelFolders(()))
    await templates.put_published(OWNER, PUMP, make_content("Pump", "", interface(telemetry())))
    groups = Groups(DEFAULT_HUB, fleet.store, fleet.clock, FEW)
    draft = GroupDraft("All", f'SELECT * FROM devices WHERE $template = "{PUMP}"')
    await groups.put(OWNER, DeviceGroupId("one"), draft)
    await groups.put(OWNER, DeviceGroupId("one"), draft)
    with pytest.raises(TooLarge, match=r"device_group\.number"):
        await groups.put(OWNER, DeviceGroupId("two"), draft)

"""Desired properties that are set before a device registers, and are in its first twin (central.md W-4)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from moorage.accounts.model import OWNER
from moorage.clock import HandClock
from moorage.dtdl.model import Interface
from moorage.errors import NotFound, PreconditionFailed, TooLarge, Unavailable
from moorage.events import Event
from moorage.fleet.awaited import AwaitedTwins
from moorage.fleet.device_models import DeviceModels
from moorage.fleet.initial_values import InitialValues
from moorage.fleet.model import TemplateId
from moorage.fleet.properties import DeviceProperties, PropertyProblems
from moorage.fleet.template_model import Content, make_content
from moorage.hub.assigner import Assigner
from moorage.hub.model import Twin
from moorage.hub.twins import MAX_DESIRED_BYTES, twin_etag
from moorage.identities.model import ByAuthority
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, ETag, IdentityName, ModuleId
from moorage.provisioning.model import Assignment
from tests.unit.dtdl.models import component, interface, telemetry
from tests.unit.fleet.fleets import NORTH, SOUTH, THERMOSTAT, TestFleet, fleet_of, member_of

PUMP = DeviceId("pump")
NAME = IdentityName(PUMP)


def writable(name: str, schema: str = "double") -> dict[str, Any]:
    return {"@type": "Property", "name": name, "schema": schema, "writable": True}


MODEL = interface(
    writable("target"),
    writable("label", "string"),
    component("door", interface(writable("limit"), telemetry(), name="Part")),
)


@pytest.fixture
async def fleet() -> AsyncIterator[TestFleet]:
    async with fleet_of() as fleet:
        await fleet.add("pump", template=THERMOSTAT, organization=NORTH)
        yield fleet


def properties_of(fleet: TestFleet) -> DeviceProperties:
    content: Content = make_content("Thermostat", "", MODEL)
    models = DeviceModels(fleet.fleet, lambda _template: content)
    return DeviceProperties(DEFAULT_HUB, fleet.store, models, fleet.fleet, fleet.clock)


class NoModels:
    def interface_of(self, template_id: TemplateId) -> Interface | None:
        return None


def waiting(fleet: TestFleet) -> object:
    return fleet.store.read().awaited.find(DEFAULT_HUB, PUMP)


async def assign(fleet: TestFleet, desired: dict[str, Any]) -> Twin:
    assigner = Assigner(fleet.store, HandClock(fleet.clock.now()), DEFAULT_HUB, ("hub",), Assignment)
    assigner.first_twins = AwaitedTwins()
    group = ByAuthority(EnrollmentGroupId("line-7"))
    await assigner.assign("hub", PUMP, group, reset_data=False, tags={"at": 1}, desired=desired, is_edge=False)
    twin = fleet.store.read().twins.find(DEFAULT_HUB, NAME)
    assert twin is not None
    return twin


async def test_what_is_set_before_a_device_came_is_shown_as_pending_and_in_its_first_twin(fleet: TestFleet) -> None:
    properties = properties_of(fleet)
    twin = await properties.set(OWNER, PUMP, {"": {"target": 21.5, "label": "x"}, "door": {"limit": 3}}, cloud={})
    assert twin.desired.value == {"target": 21.5, "label": "x", "door": {"__t": "c", "limit": 3}}
    fleet.clock.advance(60)
    await properties.set(OWNER, PUMP, {"": {"label": None}}, if_desired=twin.desired.version)
    sheet = properties.read(OWNER, PUMP)
    states = {state.key: (state.state, state.desired) for state in sheet.states}
    assert states[("", "target")] == ("pending", 21.5)  # type: ignore[index] # a tuple of two texts
    assert states[("", "label")] == ("unset", None)  # type: ignore[index] # a tuple of two texts
    assert states[("door", "limit")] == ("pending", 3)  # type: ignore[index] # a tuple of two texts

    # Over what the enrollment begins with: whoever set it meant this device.
    first = await assign(fleet, {"target": 18, "rate": 5})
    assert first.desired.value == {"target": 21.5, "rate": 5, "door": {"__t": "c", "limit": 3}}
    assert first.tags == {"at": 1}
    assert waiting(fleet) is None
    after = await properties.set(OWNER, PUMP, {"": {"target": 30}})
    assert after.desired.version == first.desired.version + 1
    assert properties.twin(PUMP) == after


async def test_what_does_not_fit_or_is_out_of_date_or_too_much_is_refused_before_a_device_came(
    fleet: TestFleet,
) -> None:
    properties = properties_of(fleet)
    with pytest.raises(PropertyProblems):
        await properties.set(OWNER, PUMP, {"": {"target": "warm"}})
    twin = await properties.set(OWNER, PUMP, {"": {"target": 1}})
    with pytest.raises(PreconditionFailed):
        await properties.set(OWNER, PUMP, {"": {"target": 2}}, if_desired=twin.desired.version - 1)
    with pytest.raises(PreconditionFailed):
        await properties.patch(OWNER, PUMP, {"any": 1}, if_match=ETag("AAAA"))
    with pytest.raises(TooLarge):
        await properties.patch(OWNER, PUMP, {f"f{number}": "x" * 4000 for number in range(9)})
    with pytest.raises(NotFound):
        await properties.set(member_of(SOUTH), PUMP, {"": {"target": 2}})
    with pytest.raises(NotFound, match=r"device\.not_found"):
        await properties.set(OWNER, PUMP, {"": {"target": 2}}, module=ModuleId("nobody"))
    assert properties.twin(PUMP).desired.value == {"target": 1}
    patched = await properties.patch(OWNER, PUMP, {"any": [1]}, if_match=twin_etag(twin))
    assert patched.desired.value == {"target": 1, "any": [1]}
    replaced = await properties.set(OWNER, PUMP, {"": {"target": 4}}, replace=True)
    assert replaced.desired.value == {"target": 4}


async def test_it_goes_with_its_device(fleet: TestFleet) -> None:
    await properties_of(fleet).set(OWNER, PUMP, {"": {"target": 1}})
    await fleet.fleet.delete(OWNER, PUMP)
    assert waiting(fleet) is None


@pytest.mark.parametrize("way", ["set", "patch"])
async def test_nothing_waits_for_a_device_that_is_deleted_meanwhile(fleet: TestFleet, way: str) -> None:
    properties, go_on = properties_of(fleet), threading.Event()
    busy = asyncio.ensure_future(fleet.store.write(lambda _tables: go_on.wait(30)))
    deleting = asyncio.create_task(fleet.fleet.delete(OWNER, PUMP))
    await asyncio.sleep(0)
    # The device is there, and its end waits for the same writer.
    setting = asyncio.create_task(
        properties.set(OWNER, PUMP, {"": {"target": 1}})
        if way == "set"
        else properties.patch(OWNER, PUMP, {"target": 1})
    )
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(busy, deleting)
    with pytest.raises(NotFound, match=r"device\.unknown"):
        await setting


async def test_a_device_comes_in_even_if_what_waits_and_what_its_enrollment_gives_are_too_much(
    fleet: TestFleet, caplog: pytest.LogCaptureFixture
) -> None:
    half = {f"f{number}": "x" * 4000 for number in range(MAX_DESIRED_BYTES // 4000 - 1)}
    await properties_of(fleet).patch(OWNER, PUMP, half)
    theirs = {f"g{number}": "x" * 4000 for number in range(MAX_DESIRED_BYTES // 4000 - 1)}
    first = await assign(fleet, theirs)
    assert first.desired.value == theirs
    assert waiting(fleet) is None
    assert "awaited_properties_dropped device=pump reason=twin.size" in caplog.text


async def test_what_waits_for_a_device_of_the_hubs_own_api_waits_for_the_disk_too(
    fleet: TestFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = properties_of(fleet)
    await properties.set(OWNER, PUMP, {"": {"target": 21.5}})
    await IdentityRegistry(fleet.store).create(DEFAULT_HUB, IdentityDraft(NAME), fleet.clock.now())
    initial = InitialValues(DEFAULT_HUB, fleet.store, NoModels(), properties, pause_s=0.01)
    initial.told(Event("identity.created", DEFAULT_HUB, PUMP))
    write, failures = fleet.store.write, iter(range(2))

    async def fails_twice(work: Callable[[Any], Any]) -> Any:
        if next(failures, None) is not None:
            raise Unavailable("store.unwritten", "the disk is full")
        return await write(work)

    monkeypatch.setattr(fleet.store, "write", fails_twice)
    telling = asyncio.create_task(initial.run())
    try:
        async with asyncio.timeout(30):
            while properties.twin(PUMP).desired.value != {"target": 21.5}:  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.01)
    finally:
        telling.cancel()
    assert waiting(fleet) is None

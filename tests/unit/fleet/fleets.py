"""A fleet on a store of its own, and short words for what tests say to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from moorage.accounts.model import ALL_PERMISSIONS, OWNER, Actor, OrganizationId
from moorage.accounts.organizations import Organization
from moorage.fleet.admission import FleetAdmissions
from moorage.fleet.model import UNASSIGNED, Device, DeviceDraft, TemplateId
from moorage.fleet.service import Fleet
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName
from moorage.provisioning.enrollments import EnrollmentLimits
from tests.unit.provisioning.world import LIMITS, World

__all__ = ["NORTH", "SOUTH", "THERMOSTAT", "Connected", "Known", "TestFleet", "fleet_of", "member_of"]

THERMOSTAT = TemplateId("dtmi:modelDefinition:com:example:Thermostat;1")
NORTH, SOUTH = OrganizationId("north"), OrganizationId("south")


class Known:
    """One published template, for one model."""

    def is_published(self, tables: Any, template: TemplateId) -> bool:
        return template == THERMOSTAT

    def for_model(self, tables: Any, model_id: str) -> TemplateId:
        return THERMOSTAT if model_id == "dtmi:com:example:Thermostat;1" else UNASSIGNED

    def published(self, tables: Any) -> Sequence[tuple[TemplateId, str]]:
        return [(THERMOSTAT, "Thermostat")]


@dataclass
class Connected:
    """Who is connected, as a test says."""

    names: set[IdentityName] = field(default_factory=set)

    def count(self, hub: HubId) -> int:
        return len(self.names)

    def connected(self, hub: HubId) -> Collection[IdentityName]:
        return self.names

    def is_connected(self, hub: HubId, name: IdentityName) -> bool:
        return name in self.names


class TestFleet:
    """`world` is the provisioning service beside it."""

    # pytest collects no class that says so.
    __test__ = False

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = world.store
        self.clock = world.clock
        self.connected = Connected()
        self.templates = Known()
        self.fleet = Fleet(DEFAULT_HUB, world.store, world.clock, self.templates, self.connected)
        world.registrations.admissions = FleetAdmissions(DEFAULT_HUB, self.templates)

    async def add(self, name: str, actor: Actor = OWNER, **values: Any) -> Device:
        return await self.fleet.create(actor, DeviceDraft(DeviceId(name), **values))

    def get(self, name: str, actor: Actor = OWNER) -> Device:
        return self.fleet.get(actor, DeviceId(name))

    def ids(self, devices: Sequence[Device]) -> list[str]:
        return [device.record.device_id for device in devices]


def member_of(*organizations: OrganizationId) -> Actor:
    """Somebody who belongs to the first of them and sees all of them."""
    return Actor("user:eve", frozenset(ALL_PERMISSIONS), organizations[0], frozenset(organizations))


@asynccontextmanager
async def fleet_of(limits: EnrollmentLimits = LIMITS) -> AsyncIterator[TestFleet]:
    world = World(limits=limits)
    fleet = TestFleet(world)

    def make(tables: Any) -> None:
        for organization in (NORTH, SOUTH):
            tables.organizations.put(Organization(DEFAULT_HUB, organization, organization.title()))

    await world.store.write(make)
    try:
        yield fleet
    finally:
        await world.close()

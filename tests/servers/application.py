"""The application of a running hub, as tests of jobs, rules and exports use it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from moorage.accounts.model import ALL_PERMISSIONS, OWNER, Actor
from moorage.automating import Automation
from moorage.fleet.model import TemplateId
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.servers.world import World

__all__ = ["ADA", "TEMPLATE", "assign", "automation"]

# She has no row among the users: what goes on for her goes on for the owner.
ADA: Final = Actor("user:ada", frozenset(ALL_PERMISSIONS), key=OWNER.key)
TEMPLATE: Final = TemplateId("dtmi:example:Pump;1")


def automation(world: World) -> Automation:
    return world.app.application.automation


async def assign(world: World, device_id: str, template: TemplateId = TEMPLATE) -> None:
    """The device is called *Pump one*, is of the template and stands at the harbour."""

    def work(tables: Any) -> None:
        record = tables.devices.find(DEFAULT_HUB, DeviceId(device_id))
        tables.devices.put(replace(record, template=template, display_name="Pump one"))
        tables.devices.put_cloud_properties(DEFAULT_HUB, DeviceId(device_id), {"site": "Harbour"})

    await world.app.store.write(work)

"""A device that says which model it is comes by its template without a click (central.md 6.2; PC-12, PC-13)."""

from __future__ import annotations

from pathlib import Path

from moorage.accounts.model import OWNER
from moorage.fleet.model import UNASSIGNED, DeviceRecord
from moorage.ids import DeviceId
from tests.servers.world import World, eventually, running


def record(world: World, name: str) -> DeviceRecord:
    return world.app.application.fleet.get(OWNER, DeviceId(name)).record


async def test_a_device_that_connects_with_a_model_that_lies_ready_has_its_template(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        for name, model in (
            ("pump-01", "dtmi:com:example:Thermostat;1"),
            ("pump-02", "dtmi:com:example:Nobody;1"),
            ("pump-03", "nothing-of-the-kind"),
        ):
            await world.create(name)
            await world.connect(name, model=model)
        await eventually(lambda: record(world, "pump-01").template != UNASSIGNED)
        template = record(world, "pump-01").template
        application = world.app.application
        assert application.templates.get(template).model_id == "dtmi:com:example:Thermostat;1"
        assert record(world, "pump-02").template == record(world, "pump-03").template == UNASSIGNED
        # By hand, for what says nothing that is known (TPL-12).
        await application.fleet.migrate(OWNER, DeviceId("pump-02"), template)
        await world.connect("pump-02", model="dtmi:com:example:Thermostat;1")
        assert record(world, "pump-02").template == template

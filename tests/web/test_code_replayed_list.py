"""Show as code of the list of devices, run as it stands: acts on many at once, import and export."""

from __future__ import annotations

import csv
import io
import json

from moorage.accounts.model import OWNER, OrganizationId
from moorage.adapters.sqlite.tables import AllTables
from moorage.fleet.model import DeviceRecord
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.servers.world import World, eventually, named
from tests.web.browser import Browser
from tests.web.shown_as_code import Shell, replays
from tests.web.test_jobs import PUMP, fleet

CODE = "/device-operations/code"
PUMP_01 = DeviceId("pump-01")


@replays("POST /device-operations", "POST /device-operations/{operation_id}/stop", "GET /device-export")
async def test_what_is_done_to_many_devices(world: World, browser: Browser, shell: Shell) -> None:
    await fleet(world)
    devices = world.app.application.fleet
    await devices.delete(OWNER, DeviceId("ghost"))
    await browser.submit("/organizations", {"id": "line-1", "name": "Line 1", "parent": ""})

    def device() -> DeviceRecord:
        return devices.get(OWNER, PUMP_01).record

    def wait(tables: AllTables) -> None:
        tables.devices.put(DeviceRecord(DEFAULT_HUB, PUMP_01, PUMP_01, world.clock.now(), is_approved=False))

    await world.app.store.write(wait)
    await shell.paste(f"{CODE}?state=waiting&q=pump", "Approve")
    await eventually(lambda: device().is_approved)
    await shell.paste(CODE, "Block", "Python")
    await eventually(lambda: device().is_blocked)
    said = await shell.paste(CODE, "Unblock")
    await eventually(lambda: not device().is_blocked)
    await shell.paste(f"{CODE}?template=unassigned", "Migrate")
    await eventually(lambda: device().template == PUMP)
    await shell.paste(f"{CODE}?template={PUMP}", "Organization")
    await eventually(lambda: device().organization == "line-1")
    assert "pump-01" in await shell.paste(f"{CODE}?organization=line-1", "Export")

    draft = IdentityDraft(named("gateway-01"), is_edge=True)
    gateway = await world.registry.create(DEFAULT_HUB, draft, world.clock.now())

    def scope() -> str | None:
        found = world.app.store.read().identities.find(DEFAULT_HUB, named(PUMP_01))
        return found.device_scope if found else "gone"

    alone = f"{CODE}?q=pump&connected=no"
    await shell.paste(alone, "Attach to gateway")
    await eventually(lambda: scope() == gateway.device_scope)
    await shell.paste(alone, "Detach")
    await eventually(lambda: scope() is None)

    # Of what is over nothing is left to be stopped, which is no fault.
    shell.environment["OPERATION_ID"] = json.loads(said)["id"]
    assert json.loads(await shell.paste("/device-operations", "Stop"))["state"] == "done"
    await shell.paste(f"{CODE}?q=pump", "Delete")
    await eventually(lambda: scope() == "gone")
    assert [each.record.device_id for each in await devices.list(OWNER)] == ["gateway-01"]


@replays("POST /device-import")
async def test_a_file_of_devices_is_imported(world: World, browser: Browser, shell: Shell) -> None:
    await fleet(world)
    await browser.submit("/organizations", {"id": "line-1", "name": "Line 1", "parent": ""})
    file = io.StringIO()
    csv.writer(file).writerows([["IOTC_DEVICEID", "IOTC_DEVICENAME"], ["press-01", "Püresse"], ["press-02", ""]])
    (shell.folder / "devices.csv").write_text(file.getvalue())
    chosen = {"template": PUMP, "organization": "line-1"}
    typed = await browser.submit("/device-import", chosen, files={"file": ("x.csv", b"id\n1\n")})
    await shell.paste("/device-import", "Import", "Python", page=typed)
    await eventually(lambda: world.app.store.read().devices.find(DEFAULT_HUB, DeviceId("press-02")))
    first = world.app.application.fleet.get(OWNER, DeviceId("press-01")).record
    assert (first.display_name, first.template, first.organization) == ("Püresse", PUMP, OrganizationId("line-1"))

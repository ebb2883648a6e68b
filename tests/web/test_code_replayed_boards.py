"""Show as code of device groups, dashboards, settings and audit logs, run as it stands."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from moorage.accounts.model import OWNER, OrganizationId
from moorage.analytics.boards import Board, Dashboard, Tile
from moorage.automation.exports import DataExport, DestinationId, DestinationUse, ExportId
from moorage.fleet.groups import GroupDraft, default_group_id
from moorage.hub.telemetry_log import SourceHeader, partition_of
from moorage.hub_info import HubInfo
from moorage.ids import DEFAULT_HUB, Secret
from moorage.protocols.mqtt.packets import Publish
from moorage.web.automation_code import export_acts
from moorage.web.board_code import dashboard_acts, device_group_acts, tile_acts
from tests.servers.world import World
from tests.web.browser import Browser
from tests.web.shown_as_code import Shell, replays
from tests.web.test_jobs import PUMP, fleet
from tests.web.test_settings import png

GROUP = "POST /device-groups/{group_id}"
BOARD = "POST /dashboards/{board_id}"
LOOK = "POST /settings/customization"


@replays("POST /device-groups", GROUP, GROUP + "/delete")
async def test_a_device_group_is_made_changed_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    await fleet(world)
    groups = world.app.application.groups
    await shell.paste(f"/device-groups/new?template={PUMP}", "Save", "Python")
    (made,) = [each for each in await groups.list(OWNER) if each.group_id != default_group_id(PUMP)]
    assert (made.display_name, made.query) == ("New device group", f'SELECT * FROM devices WHERE $template = "{PUMP}"')
    there = f"/device-groups/{made.group_id}"
    typed = {"id": made.group_id, "name": "Hot 'ones'", "description": "$5", "template": PUMP, "etag": made.etag}
    await browser.submit(there, {**typed, "path0": "limit", "operator0": ">", "value0": "20"})
    before = groups.get(OWNER, made.group_id)
    await shell.paste(there, "Save")
    after = groups.get(OWNER, made.group_id)
    assert after.version > before.version
    assert (after.display_name, after.query, after.description) == (before.display_name, before.query, "$5")
    await shell.paste(there, "Delete")
    assert [each.group_id for each in await groups.list(OWNER)] == [default_group_id(PUMP)]


def test_what_was_emptied_is_emptied_by_the_code_too(tmp_path: Path) -> None:
    info = HubInfo(("localhost",), "127.0.0.1", 1, 2, "0ne1", tmp_path, tmp_path, Secret(""), Secret(""), 1)
    draft = GroupDraft("Hot", "SELECT * FROM devices", "", OrganizationId(""))
    (save, _delete) = device_group_acts(info, "hot", draft, is_new=False)
    assert all("description" in code.text for code in save.codes)
    use = DestinationUse(DestinationId("hook"))
    now = datetime(2030, 1, 1, tzinfo=UTC)
    export = DataExport(DEFAULT_HUB, ExportId("out"), "Out", "telemetry", now, now, (use,))
    (save, *_others) = export_acts(info, export, is_new=False)
    assert all(name in code.text for code in save.codes for name in ("filters", "enrichments", "template"))


def test_tiles_that_nobody_would_read_are_a_file(tmp_path: Path) -> None:
    info = HubInfo(("localhost",), "127.0.0.1", 1, 2, "0ne1", tmp_path, tmp_path, Secret(""), Secret(""), 1)
    for count, is_file in ((2, False), (20, True)):
        tiles = tuple(Tile(f"t{number}", "markdown", text="x" * 1000) for number in range(count))
        now = datetime(2030, 1, 1, tzinfo=UTC)
        board = Board(DEFAULT_HUB, "hall", "Hall", "", OrganizationId(""), Dashboard(tiles), now)
        for act in (dashboard_acts(info, board)[0], *tile_acts(info, board, tiles[0], may_run=True)):
            assert all(("tiles.json" in code.text) is is_file for code in act.codes), act.label


@replays(
    "POST /dashboards",
    BOARD,
    BOARD + "/delete",
    BOARD + "/tiles",
    BOARD + "/tiles/{tile_id}",
    BOARD + "/tiles/{tile_id}/place",
    BOARD + "/tiles/{tile_id}/delete",
    BOARD + "/tiles/{tile_id}/run",
)
async def test_a_dashboard_is_made_changed_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    boards = world.app.application.dashboards
    made = json.loads(await shell.paste("/dashboards/new", "Create"))
    assert (made["displayName"], made["personal"], made["tiles"]) == ("New dashboard", True, [])
    # A token's own is nobody else's.
    assert await boards.list(OWNER) == []
    await browser.submit("/dashboards", {"id": "hall", "name": "Hall 7", "for": "organization"})
    edit = "/dashboards/hall/edit"
    await shell.paste(edit, "Add a tile")
    (label,) = boards.get(OWNER, "hall").content.tiles
    assert (label.kind, label.text) == ("label", "Hall 7")
    await browser.submit("/dashboards/hall/tiles", {"kind": "kpi"})
    (tile_id,) = [each.tile_id for each in boards.get(OWNER, "hall").content.tiles if each.kind == "kpi"]
    there = f"/dashboards/hall/tiles/{tile_id}"
    coloured = {"title": "It's", "devices": "pump-01", "a.temperature": "maximum", "span": "30", "by": "$id"}
    await browser.submit(there, coloured | {"least0": "20", "colour0": "warn", "decimals": "1"})
    before = boards.get(OWNER, "hall")
    for language in ("curl", "Python"):
        await shell.paste(f"{there}/edit", "Save", language)
        after = boards.get(OWNER, "hall")
        assert after.version > before.version
        assert replace(after, version=before.version) == before
    await shell.paste(f"{there}/edit", "Remove this tile")
    assert boards.get(OWNER, "hall").content.tiles == (label,)
    await shell.paste(edit, "Rename")
    assert boards.get(OWNER, "hall").display_name == "Hall 7"

    await browser.submit("/dashboards/hall/tiles", {"kind": "command"})
    (tile_id,) = [each.tile_id for each in boards.get(OWNER, "hall").content.tiles if each.kind == "command"]
    there = f"/dashboards/hall/tiles/{tile_id}"
    await browser.submit(there, {"devices": "pump-01", "command": "restart"})
    device = await world.connect("pump-01", await world.create_pinned("pump-01"))
    await device.subscribe("$iothub/methods/POST/#", qos=0)
    asking = asyncio.create_task(shell.paste(f"{there}/edit", "Run"))
    call = await device.expect(Publish)
    assert call.topic.startswith(b"$iothub/methods/POST/restart/")
    device.publish(f"$iothub/methods/res/200/?$rid={call.topic.decode().partition('$rid=')[2]}", b"{}")
    assert json.loads(await asking)["responseCode"] == 200
    await browser.submit("/dashboards/hall/tiles", {"kind": "image"})
    (tile_id,) = [each.tile_id for each in boards.get(OWNER, "hall").content.tiles if each.kind == "image"]
    (shell.folder / "picture.png").write_bytes(png())
    kept = json.loads(await shell.paste(f"/dashboards/hall/tiles/{tile_id}/edit", "Picture"))["id"]
    assert (await browser.get(f"/dashboards/images/{kept}")).content == png()
    await shell.paste(edit, "Delete")
    assert await boards.list(OWNER) == []


@replays("POST /explorer/queries", "POST /explorer/queries/{query_id}/delete", "GET /explorer/data.csv")
async def test_a_query_is_answered_saved_changed_and_forgotten(world: World, browser: Browser, shell: Shell) -> None:
    await world.create("pump-01")
    source = SourceHeader("hub", "Telemetry", "pump-01", None, "1", "", None).encode()
    at = world.clock.unix_ms() - 60_000
    world.app.log.append(source, partition_of("pump-01", 4), b"", b'{"heat": 21.5}', at)
    series, queries = world.app.application.series, world.app.application.queries
    async with asyncio.timeout(20):
        while True:
            if await series.last_values("pump-01"):
                break
            await asyncio.sleep(0.01)
    asked = "/explorer?device=pump-01&s=heat%3Amaximum&span=60&by=%24id&axes=stacked"
    for language in ("curl", "Python"):
        assert ",21.5" in await shell.paste(asked, "Export CSV", language)
    made = json.loads(await shell.paste(asked, "Save"))
    assert (made["personal"], made["measures"]) == (True, [{"name": "heat", "aggregate": "maximum"}])
    # A token's own is nobody else's.
    assert await queries.list(OWNER) == []
    typed = {"id": "heat", "name": "Heat", "asked": asked.partition("?")[2], "shared": "on"}
    page = await browser.submit("/explorer/queries", typed)
    before = queries.get(OWNER, "heat")
    there = page.url.raw_path.decode()
    await shell.paste(there.replace("stacked", "shared"), "Save")
    after = queries.get(OWNER, "heat")
    assert after.content.question == replace(before.content.question, axes="shared")
    assert (after.display_name, after.is_personal) == ("Heat", False)
    await shell.paste(there, "Delete this saved query")
    assert await queries.list(OWNER) == []


@replays(
    "POST /settings/application",
    LOOK,
    LOOK + "/{which}",
    LOOK + "/{which}/remove",
    "GET /audit/entries.csv",
)
async def test_settings_are_changed_and_the_audit_log_is_read(world: World, browser: Browser, shell: Shell) -> None:
    looks = world.app.application.customization
    await browser.submit("/settings/application", {"name": "Pump 'works'"})
    before = looks.current()
    await shell.paste("/settings/application", "Save")
    assert (looks.current().name, looks.current().etag == before.etag) == ("Pump 'works'", False)
    there = "/settings/customization"
    etag = re.findall(r'name="etag" value="([^"]*)"', (await browser.open(there)).text)[0]
    look = {"own_header": "on", "header": "#123456", "label0": "Help & more", "url0": "https://h.example/?a=1&b"}
    await browser.submit(there, {**look, "etag": etag})
    before = looks.current()
    assert before.header and before.links
    await shell.paste(there, "Save", "Python")
    assert (looks.current().header, looks.current().accent, looks.current().links) == ("#123456", "", before.links)
    for which in ("logo", "icon"):
        (shell.folder / f"{which}.png").write_bytes(png())
        await shell.paste(there, f"Upload: {which}", "Python" if which == "icon" else "curl")
        assert getattr(looks.current(), which)
        await shell.paste(there, f"Remove: {which}")
        assert not getattr(looks.current(), which)
    said = json.loads(await shell.paste("/audit?what=customize&sort=at", "Export"))["value"]
    assert said and all("customized" in each["event"] for each in said)

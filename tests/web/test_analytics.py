"""Device groups, the data explorer and dashboards, as a browser has them (contract/central.md 11, 12, 13)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvloop

from moorage.accounts.model import OWNER, Role
from moorage.fleet.model import DeviceChange, TemplateId
from moorage.fleet.template_model import make_content
from moorage.hub.telemetry_log import SourceHeader, partition_of
from moorage.ids import DeviceId
from tests.hubs import free_port
from tests.servers.clients import tls_context
from tests.servers.world import World, eventually, running
from tests.web.browser import Browser, text_of

PUMP = TemplateId("dtmi:com:example:Pump;1")
ALL = "all-com-example-Pump-1"
MODEL: dict[str, Any] = {
    "@id": PUMP,
    "@type": "Interface",
    "@context": "dtmi:dtdl:context;2",
    "displayName": "Pump",
    "contents": [
        {"@type": "Telemetry", "name": "temperature", "displayName": "Warmth", "schema": "double"},
        {"@type": "Property", "name": "site", "schema": "string"},
    ],
}
PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 64

pytestmark = pytest.mark.asyncio(loop_scope="module")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Any:
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Site:
    """A hub with three pumps of which two sent values, and somebody of each kind in a browser."""

    world: World
    ada: Browser
    olga: Browser

    async def say(self, device: str, body: Any) -> None:
        world = self.world
        source = SourceHeader("hub", "Telemetry", device, None, "1", "", None).encode()
        world.app.log.append(
            source, partition_of(device, 4), b"", json.dumps(body).encode(), world.clock.unix_ms() - 60_000
        )
        series = world.app.application.series
        async with asyncio.timeout(20):
            while True:
                last = await series.last_values(device)
                if body["temperature"] in [each.value for each in last.values()]:
                    return
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder: Path = tmp_path_factory.mktemp("analytics")
    async with running(folder / "hub", web_port=free_port()) as world:
        info, application = world.app.info(), world.app.application
        await application.templates.create_draft(OWNER, make_content("Pump", "", MODEL), PUMP)
        await application.templates.publish(OWNER, PUMP)
        for number in range(3):
            await world.create(f"pump-{number}")
            change = DeviceChange(display_name=f"Pump {number}", template=PUMP)
            await application.fleet.update(OWNER, DeviceId(f"pump-{number}"), change)

        for name in ("lamp-0", "lamp-1"):
            # Of no template; what they say changes while others are looked at.
            await world.create(name)

        def browser() -> Browser:
            base = f"https://{info.bind}:{info.web_port}"
            return Browser(httpx.AsyncClient(base_url=base, verify=tls_context(info.ca_bundle), timeout=30))

        async with browser() as ada, browser() as olga:
            roles: list[tuple[Browser, str, Role]] = [(ada, "ada", "administrator"), (olga, "olga", "operator")]
            for each, login, role in roles:
                await each.come_in(world, login, role)
            made = Site(world, ada, olga)
            await made.say("pump-0", {"temperature": 10.5, "place": {"lat": 59.9, "lon": 10.7}})
            await made.say("pump-1", {"temperature": 30.5})
            yield made


def group_form(**fields: str) -> dict[str, str]:
    return {"id": "warm-ones", "name": "Warm ones", "organization": "", "by": "rows", "template": PUMP, **fields}


async def test_a_group_is_made_of_rows_and_shows_who_belongs(site: Site) -> None:
    form = group_form(path0="$id", operator0="!=", value0="pump-2")
    preview = await site.ada.send("/device-groups/preview", form)
    assert "2 devices" in text_of(preview)
    assert '$id != "pump-2"' in text_of(preview)
    page = await site.ada.submit("/device-groups", form)
    assert page.url.path == "/device-groups/warm-ones"
    assert "Pump 1" in text_of(page)
    assert "Pump 2" not in text_of(page)
    again = await site.ada.submit("/device-groups", form)
    assert again.url.path == "/device-groups/warm-ones"
    listed = text_of(await site.ada.open("/device-groups"))
    assert "Warm ones" in listed
    assert "Pump - All devices" in listed


async def test_a_query_that_is_wrong_is_told_with_its_place_and_kept(site: Site) -> None:
    text = f'SELECT * FROM devices WHERE $template = "{PUMP}" AND $id IN ["a", '
    answer = await site.ada.send("/device-groups", group_form(id="broken", by="text", query=text))
    assert answer.status_code == 400
    assert "Line 1, column" in text_of(answer)
    assert text in unescape(answer.text)
    assert (await site.ada.get("/device-groups/broken")).status_code == 404


async def test_a_stale_change_keeps_what_was_typed(site: Site) -> None:
    first = await site.ada.submit("/device-groups", group_form(id="stale"))
    found = re.search(r'name="etag" value="([^"]*)"', first.text)
    assert found is not None
    await site.ada.submit("/device-groups/stale", group_form(id="stale", name="Newer", etag=found[1]))
    answer = await site.ada.send("/device-groups/stale", group_form(id="stale", name="Mine", etag=found[1]))
    assert answer.status_code == 400
    assert "changed since you read it" in text_of(answer)
    assert 'value="Mine"' in answer.text
    await site.ada.submit("/device-groups/stale/delete")
    assert (await site.ada.get("/device-groups/stale")).status_code == 404


async def test_who_may_not_manage_groups_reads_them(site: Site) -> None:
    assert (await site.olga.get(f"/device-groups/{ALL}")).status_code == 200
    assert (await site.olga.get("/device-groups/new")).status_code == 403
    assert (await site.olga.send("/device-groups", group_form(id="mine"))).status_code == 403


async def test_the_explorer_draws_what_a_group_sent(site: Site) -> None:
    page = await site.ada.open("/explorer", group=ALL)
    assert "Warmth" in text_of(page)
    page = await site.ada.open(f"/explorer?group={ALL}&s=temperature:average&by=$id&span=60&step=1")
    found = re.search(r'data-chart="([^"]*)"', page.text)
    assert found is not None
    chart = json.loads(unescape(found[1]))
    assert [line["label"] for line in chart["lines"]] == ["Pump 0", "Pump 1"]
    assert {value for line in chart["lines"] for value in line["values"]} == {None, 10.5, 30.5}
    assert "30.5" in text_of(page)
    table = await site.ada.open(f"/explorer/data.csv?group={ALL}&s=temperature:maximum&span=60")
    assert table.headers["content-type"].startswith("text/csv")
    assert "temperature (maximum)" in table.text
    assert "30.5" in table.text


@pytest.mark.parametrize(
    "asked",
    [
        "s=temperature",
        "s=temperature:median",
        f"group={ALL}&s=temperature:average&step=7",
        f"group={ALL}&s=temperature:average&since=yesterday&until=today",
        f"group={ALL}&s=temperature:average&since=2030-01-01T00:00:00Z",
        "group=nothing&s=temperature:average",
        "device=nobody&s=temperature:average",
        "&".join(f"s=t{number}:average" for number in range(9)),
        "&".join(f"x{number}=1" for number in range(400)),
    ],
)
async def test_the_explorer_says_what_is_wrong_with_an_address(site: Site, asked: str) -> None:
    answer = await site.ada.get(f"/explorer?{asked}")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


async def test_a_query_is_saved_opened_again_and_forgotten(site: Site) -> None:
    asked = f"group={ALL}&s=temperature:average&span=60"
    page = await site.ada.submit("/explorer/queries", {"id": "q1", "name": "Warmth of pumps", "asked": asked})
    assert page.url.params["saved"] == "q1"
    assert "Warmth of pumps" in text_of(page)
    assert (await site.olga.get("/explorer/queries/q1")).status_code == 404
    shared = {"id": "q2", "name": "For all", "asked": asked, "shared": "on"}
    assert (await site.olga.send("/explorer/queries", shared)).status_code == 400
    await site.ada.submit("/explorer/queries", shared)
    assert (await site.olga.get("/explorer/queries/q2")).status_code == 303
    await site.ada.submit("/explorer/queries/q1/delete")
    assert (await site.ada.get("/explorer/queries/q1")).status_code == 404


async def test_the_application_begins_with_an_overview(site: Site) -> None:
    page = await site.olga.open("/")
    assert page.url.path == "/dashboards/default"
    shown = text_of(page)
    assert "Fleet at a glance Devices 5" in shown
    assert "Messages a minute" in shown
    assert "When one is refused: connection attempts say why" in shown
    assert (await site.olga.get("/dashboards/default/edit")).status_code == 403


async def new_board(browser: Browser, board_id: str, *kinds: str, **fields: str) -> list[str]:
    """A dashboard with tiles of these kinds; their ids."""
    await browser.submit("/dashboards", {"id": board_id, "name": board_id.title(), **fields})
    tiles = []
    for kind in kinds:
        answer = await browser.send(f"/dashboards/{board_id}/tiles", {"kind": kind})
        tiles.append(answer.headers["location"].split("/")[4])
    return tiles


async def test_tiles_show_what_they_are_told_to(site: Site) -> None:
    of_pumps = {"group": ALL, "a.temperature": "maximum", "span": "60"}
    fields = {
        "line_chart": of_pumps | {"by": "$id"},
        "bar_chart": of_pumps | {"by": "$id"},
        "pie_chart": of_pumps | {"by": "$id"},
        "heat_map": of_pumps | {"by": "$id"},
        "state_chart": of_pumps,
        "kpi": of_pumps | {"colour0": "bad", "least0": "30"},
        "last_value": {"devices": "pump-1", "a.temperature": "average", "decimals": "3"},
        "property": {"devices": "pump-0, pump-1", "paths": "$displayName\nsite"},
        "device_count": {"group": ALL},
        "map": {"group": ALL, "a.place.lat": "average"},
        "state_history": of_pumps,
        "event_history": of_pumps,
        "event_chart": of_pumps,
        "property_map": {"group": ALL, "paths": "home\nspot\nsite"},
        "label": {"text": "Plant <north>"},
        "markdown": {"text": "**bold** <script>alert(1)</script> [x](javascript:y)"},
    }
    fleet = site.world.app.application.fleet
    await fleet.set_cloud_properties(OWNER, DeviceId("pump-0"), {"home": {"lat": 59.9, "lon": 10.7}})
    spot = {"type": "Point", "coordinates": [5.3, 60.4]}
    await fleet.set_cloud_properties(OWNER, DeviceId("pump-1"), {"spot": spot, "home": {"lat": 95, "lon": 1}})
    tiles = await new_board(site.ada, "everything", *fields)
    for tile, values in zip(tiles, fields.values(), strict=True):
        answer = await site.ada.submit(f"/dashboards/everything/tiles/{tile}", {"title": "", **values})
        assert answer.status_code == 200, text_of(answer)
    shown = {}
    for tile, kind in zip(tiles, fields, strict=True):
        part = await site.ada.part(f"/dashboards/everything/tiles/{tile}", f"tile-{tile}")
        shown[kind] = part.text
    assert "Pump 1" in unescape(shown["line_chart"])
    assert "bar-20" in shown["bar_chart"]
    assert shown["pie_chart"].count('class="part') == 2
    assert shown["heat_map"].count("<rect") == 2
    assert "10.5 (pale) to 30.5 (strong)" in shown["heat_map"]
    assert "Pump 1 <b>30.5</b>" in shown["state_chart"]
    assert '<dd class="bad">30.5' in shown["kpi"]
    assert "30.500" in shown["last_value"]
    assert "Pump 1, $displayName" in shown["property"]
    assert ">3<" in shown["device_count"]
    assert 'class="point"' in shown["map"]
    assert "30.5" in shown["state_history"]
    assert "10.5" in shown["event_history"]
    assert re.search(r"Pump 1 <b>\d+</b></span><svg class=\"strip\"[^>]*><rect class=\"c1\"", shown["event_chart"])
    assert "since" in shown["event_chart"]
    assert shown["property_map"].count('class="point"') == 2
    assert "Pump 0: 59.9, 10.7;" in shown["property_map"] and "Pump 1: 60.4, 5.3;" in shown["property_map"]
    assert "Plant &lt;north&gt;" in shown["label"]
    assert "<strong>bold</strong> &lt;script&gt;" in shown["markdown"]
    assert "href" not in shown["markdown"]
    page = await site.ada.open("/dashboards/everything")
    assert page.text.count('class="tile ') == len(tiles)


async def test_tiles_are_moved_by_steps_and_by_places(site: Site) -> None:
    one, other = await new_board(site.ada, "moved", "kpi", "kpi")
    board = "/dashboards/moved"

    async def places() -> list[str]:
        sheet = (await site.ada.get(f"{board}/layout.css")).text
        return [sheet.split(f"#tile-{tile}{{grid-area:")[1].split("}")[0] for tile in (one, other)]

    assert await places() == ["1/1/span 2/span 3", "1/4/span 2/span 3"]
    await site.ada.submit(f"{board}/tiles/{one}/place", {"step": "x more"})
    assert await places() == ["1/2/span 2/span 3", "3/4/span 2/span 3"]
    await site.ada.submit(f"{board}/tiles/{one}/place", {"x": "99", "y": "-5", "width": "0", "height": "4"})
    assert await places() == ["1/12/span 4/span 1", "1/4/span 2/span 3"]
    await site.ada.submit(f"{board}/tiles/{other}/delete")
    assert (await site.ada.get(f"{board}/tiles/{other}")).status_code == 404


async def test_a_wrong_tile_is_told_in_its_place_and_a_wrong_form_beside_it(site: Site) -> None:
    (tile,) = await new_board(site.ada, "wrong", "last_value")
    path = f"/dashboards/wrong/tiles/{tile}"
    assert "Choose what this tile shows" in text_of(await site.ada.open("/dashboards/wrong"))
    many = " ".join(f"pump-{number}" for number in range(11))
    for values in ({"devices": many}, {"colour0": "bad", "least0": "warm"}, {"a.temperature": "median"}):
        answer = await site.ada.send(path, {"title": "Kept title", **values})
        assert answer.status_code == 400
        assert 'class="wrong"' in answer.text or 'class="problem"' in answer.text
    await site.ada.submit(path, {"devices": "gone", "a.temperature": "average"})
    assert "There is no device" in text_of(await site.ada.open("/dashboards/wrong"))


async def test_a_dashboard_of_ones_own_is_nobody_elses(site: Site) -> None:
    await new_board(site.olga, "private", "label")
    assert (await site.ada.get("/dashboards/private")).status_code == 404
    assert "Private" in text_of(await site.olga.open("/dashboards"))
    await new_board(site.ada, "shared", "label", **{"for": "organization", "organization": ""})
    assert (await site.olga.get("/dashboards/shared")).status_code == 200
    refused = await site.olga.send("/dashboards/shared/tiles", {"kind": "label"})
    assert refused.status_code == 403
    assert (await site.olga.get("/dashboards/shared/edit")).status_code == 403
    copied = await site.olga.submit("/dashboards", {"id": "copied", "copy": "shared", "name": "My copy"})
    assert copied.status_code == 200
    assert "Label" in text_of(copied)


async def test_a_picture_is_an_upload_of_a_known_kind(site: Site) -> None:
    (tile,) = await new_board(site.ada, "pictures", "image")
    path = f"/dashboards/pictures/tiles/{tile}"
    refused = await site.ada.send(path, {"text": "x"}, files={"picture": ("x.svg", b"<svg onload=alert(1)>")})
    assert refused.status_code == 400
    assert "no picture" in text_of(refused)
    await site.ada.submit(path, {"text": "The plant"}, files={"picture": ("x.png", PICTURE)})
    page = await site.ada.open("/dashboards/pictures")
    found = re.search(r'src="(/dashboards/images/[^"]+)" alt="The plant"', page.text)
    assert found is not None
    picture = await site.ada.get(found[1])
    assert (picture.content, picture.headers["content-type"]) == (PICTURE, "image/png")


async def test_an_open_dashboard_hears_of_new_values(site: Site) -> None:
    (tile,) = await new_board(site.ada, "live", "last_value")
    await site.ada.submit(f"/dashboards/live/tiles/{tile}", {"devices": "lamp-0", "a.temperature": "average"})
    lines: list[str] = []
    reading = asyncio.create_task(site.ada.read_lines("/dashboards/live/live", lines))
    await eventually(lambda: lines)
    await site.say("lamp-1", {"temperature": 31.5})
    await site.say("lamp-0", {"temperature": 11.5})
    await eventually(lambda: "event: values" in lines)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    part = await site.ada.part(f"/dashboards/live/tiles/{tile}", "tile")
    assert "11.5" in part.text

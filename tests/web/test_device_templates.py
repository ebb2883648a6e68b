"""Device templates as people make them: imported, edited, published, versioned (contract/central.md 7)."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from moorage.accounts.model import ALL_PERMISSIONS, Actor, Role
from moorage.fleet.model import DeviceChange, DeviceDraft, TemplateId
from moorage.fleet.templates import TemplateService
from moorage.ids import DeviceId
from moorage.protocols.mqtt.packets import PubAck
from tests.servers.world import World
from tests.unit.dtdl.models import component, interface, telemetry
from tests.web.browser import Browser, text_of

CONTROLLER = "dtmi:com:example:TemperatureController;2"
THERMOSTAT = "dtmi:com:example:Thermostat;1"
ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))
PUMP = TemplateId("dtmi:modelDefinition:moorage:waterPump;1")


def templates(world: World) -> TemplateService:
    assert world.app.application is not None
    return world.app.application.templates


def etag(page: httpx.Response) -> str:
    return str(re.findall(r'name="etag" value="([^"]+)"', page.text)[0])


def place(page: httpx.Response) -> str:
    return page.url.raw_path.decode()


async def test_a_model_that_lies_ready_becomes_a_template_beside_its_views(world: World, browser: Browser) -> None:
    page = await browser.submit("/device-templates/from-folder", {"model_id": CONTROLLER})
    words = text_of(page)
    for each in ("Thermostat 1", "Device information", "Overview", "About", "Commands", "Draft", "workingSet"):
        assert each in words
    assert "The same interface as Thermostat 1" in words

    page = await browser.submit(place(page) + "/publish", {"etag": etag(page)})

    assert "Published" in text_of(page)
    assert templates(world).published_for_model(CONTROLLER)
    gallery = await browser.open("/device-templates?q=controller")
    assert "Temperature controller" in text_of(gallery)
    part = await browser.part("/device-templates", "gallery", q="kettle")
    assert "No template has this" in part.text and "<html" not in part.text
    exported = await browser.open(place(page) + "/export")
    assert exported.json()["capabilityModel"]["@id"] == CONTROLLER
    assert "TemperatureController-2.json" in exported.headers["content-disposition"]


async def test_a_blank_template_is_filled_in_forms_and_published(world: World, browser: Browser) -> None:
    page = await browser.submit("/device-templates", {"name": "Water pump"})
    here, model = place(page), "dtmi:moorage:waterPump;1"
    form = await browser.open(f"{here}/capability?interface={model}&kind=telemetry")
    typed = {"interface_id": model, "was": "", "kind": "telemetry", "etag": etag(form), "schema": "double"}

    wrong = await browser.submit(f"{here}/capability", typed | {"name": "_speed", "displayName": "Speed & flow"})
    assert wrong.status_code == 400
    assert 'aria-describedby="f-name-wrong"' in wrong.text and "is no name" in wrong.text
    assert "Speed & flow" in html.unescape(wrong.text)

    page = await browser.submit(f"{here}/capability", typed | {"name": "speed", "displayName": "Speed"})
    assert "Speed" in text_of(page)
    twice = await browser.submit(f"{here}/capability", typed | {"name": "speed"})
    assert (twice.status_code, "template.taken" in twice.text or "already" in twice.text) == (400, True)
    stale = await browser.submit(f"{here}/capability", typed | {"name": "flow"})
    assert (stale.status_code, "etag.stale" in stale.text, 'value="flow"' in stale.text) == (400, True, True)
    page = await browser.submit(f"{here}/capability", typed | {"name": "flow", "etag": etag(stale)})
    assert [each.name for each in templates(world).get(PUMP).latest.interface.telemetry] == ["speed", "flow"]

    part = {"interface_id": model, "was": "", "kind": "component", "name": "motor", "model": THERMOSTAT}
    page = await browser.submit(f"{here}/capability", part | {"etag": etag(page)})
    assert templates(world).get(PUMP).latest.interface.find_command("getMaxMinReport", "motor")
    edit = await browser.open(f"{here}/capability?interface={model}&name=flow")
    gone = {"interface_id": model, "was": "flow", "etag": etag(edit)}
    page = await browser.submit(f"{here}/capability/remove", gone)
    page = await browser.submit(f"{here}/names", {"name": "Pump", "description": "Moves water", "etag": etag(page)})
    assert "Moves water" in text_of(page)
    assert (await browser.submit(f"{here}/names", {"name": " ", "etag": etag(page)})).status_code == 400
    review = await browser.open(f"{here}/publish")
    page = await browser.submit(f"{here}/publish", {"etag": etag(review)})
    assert templates(world).get(PUMP).display_name == "Pump"


async def test_what_is_pasted_and_is_no_model_is_kept_with_the_place_of_the_fault(browser: Browser) -> None:
    text = json.dumps(interface(telemetry("a"), telemetry("b", "decimal")), indent=1)
    page = await browser.submit("/device-templates/import", {"text": text}, files={"file": ("", b"")})
    assert page.status_code == 400
    assert "$.contents[1].schema" in page.text and "line 17" in page.text
    assert text in html.unescape(page.text)
    for broken in ("", "{", "[" * 500, '{"contents": []}', "[]"):
        page = await browser.submit("/device-templates/import", {"text": broken}, files={"file": ("", b"")})
        assert page.status_code == 400, broken
    page = await browser.submit("/device-templates/from-folder", {"model_id": "dtmi:no:where;1"})
    assert page.status_code == 400 and "template.model_unknown" in page.text
    page = await browser.submit("/device-templates", {"name": "X", "model": "kettle"})
    assert page.status_code == 400 and 'value="kettle"' in page.text


async def test_a_file_with_several_interfaces_is_one_template(browser: Browser) -> None:
    whole = [
        interface(component("part", "dtmi:com:example:Part;1"), name="Whole", displayName="The whole"),
        interface(telemetry(), name="Part"),
    ]
    page = await browser.submit("/device-templates/import", files={"file": ("model.json", json.dumps(whole).encode())})
    assert page.status_code == 200 and "The whole" in text_of(page) and "part" in text_of(page)
    here = place(page)
    model = await browser.open(f"{here}/model")
    wrong = await browser.submit(f"{here}/model", {"etag": etag(model), "text": '{"@id": 7}'})
    assert wrong.status_code == 400 and "template.id" in wrong.text and '{"@id": 7}' in html.unescape(wrong.text)
    fixed = json.dumps(interface(telemetry("only"), name="Whole"))
    page = await browser.submit(f"{here}/model", {"etag": etag(model), "text": fixed})
    assert "only" in text_of(page)
    await browser.submit(f"{here}/delete", {"etag": etag(page)})
    assert (await browser.get(here)).status_code == 404


async def test_what_devices_would_not_fit_takes_a_version(world: World, browser: Browser) -> None:
    page = await browser.submit("/device-templates/from-folder", {"model_id": THERMOSTAT})
    here = place(page)
    page = await browser.submit(f"{here}/publish", {"etag": etag(page)})
    template_id = templates(world).published_for_model(THERMOSTAT)
    assert world.app.application is not None
    await world.app.application.fleet.create(ADA, DeviceDraft(DeviceId("t-1"), template=template_id))

    removed = {"interface_id": THERMOSTAT, "was": "temperature", "etag": etag(page)}
    await browser.submit(f"{here}/capability/remove", removed)
    review = await browser.open(f"{here}/publish")
    assert "Removed" in text_of(review) and "new version" in text_of(review)
    now = templates(world).get(template_id).etag
    refused = await browser.submit(f"{here}/publish", {"etag": now})
    assert refused.status_code == 400 and "template.breaking" in refused.text
    assert "template.used" in (await browser.submit(f"{here}/delete", {"etag": now})).text

    version = await browser.submit(f"{here}/version")
    assert "dtmi:com:example:Thermostat;2" in text_of(version)
    page = await browser.submit(f"{here}/discard", {"etag": now})
    assert "Changes not published" not in text_of(page)


async def test_views_are_tiles_in_an_order(world: World, browser: Browser) -> None:
    page = await browser.submit("/device-templates/from-folder", {"model_id": THERMOSTAT})
    here = place(page)
    assert "Generated" in text_of(await browser.open(f"{here}/views/overview"))
    form = await browser.open(f"{here}/views/new?kind=custom")
    page = await browser.submit(f"{here}/views", {"name": "Heat", "kind": "custom", "etag": etag(form)})
    view = place(page)
    assert view.endswith("/views/heat")
    tile = {"kind": "chart", "title": "Now", "subject": "/temperature", "etag": etag(page)}
    page = await browser.submit(f"{view}/tiles", tile)
    page = await browser.submit(f"{view}/tiles", {"kind": "text", "text": "Look here", "etag": etag(page)})
    wrong = await browser.submit(f"{view}/tiles", tile | {"subject": "/nothing", "etag": etag(page)})
    assert wrong.status_code == 400 and "view.tile" in wrong.text and 'value="Now"' in wrong.text
    page = await browser.submit(f"{view}/move", {"tile": "1", "to": "up", "etag": etag(page)})

    def kinds() -> list[str]:
        template_id = TemplateId("dtmi:modelDefinition:com:example:Thermostat;1")
        return [each.kind for each in templates(world).get(template_id).latest.own_views[0].tiles]

    assert kinds() == ["text", "chart"]
    page = await browser.submit(f"{view}/move", {"tile": "0", "to": "away", "etag": etag(page)})
    assert kinds() == ["chart"]
    assert (await browser.submit(f"{view}/move", {"tile": "9", "to": "up", "etag": etag(page)})).status_code == 400
    form = await browser.submit(f"{here}/views", {"name": "Settings", "kind": "form", "etag": etag(page)})
    assert "Target temperature" in text_of(form) and "Maximum since" not in text_of(form)
    added = await browser.submit(f"{place(form)}/tiles", {"subject": "/targetTemperature", "etag": etag(form)})
    assert added.status_code == 200
    page = await browser.submit(f"{view}/delete", {"etag": etag(added)})
    assert "Heat" not in text_of(page) and "Settings" in text_of(page)


async def test_a_view_is_shown_with_invented_values_or_those_of_a_device_while_it_is_edited(
    world: World, browser: Browser
) -> None:
    page = await browser.submit("/device-templates/from-folder", {"model_id": THERMOSTAT})
    here, template_id = place(page), TemplateId("dtmi:modelDefinition:com:example:Thermostat;1")
    form = await browser.open(f"{here}/views/new?kind=custom")
    assert "Preview" not in text_of(form)
    page = await browser.submit(f"{here}/views", {"name": "Heat", "kind": "custom", "etag": etag(form)})
    view = place(page)
    assert "Configure preview device" not in text_of(page)
    for tile in (
        {"kind": "chart", "title": "Now", "subject": "/temperature"},
        {"kind": "property", "title": "Set", "subject": "/targetTemperature"},
        {"kind": "command", "title": "Run", "subject": "/getMaxMinReport"},
        {"kind": "text", "text": "Look here"},
    ):
        page = await browser.submit(f"{view}/tiles", {**tile, "etag": etag(page)})
    # There is no device yet.
    words = text_of(page)
    assert "Simulated values" in words and re.search(r"Now \d+(\.\d+)? °C just now", words), words
    assert re.search(r"Target temperature -?\d+(\.\d+)? °C Accepted", words), words
    assert "On a device's page a button here runs it." in words and "Look here" in words
    assert 'class="spark"' in page.text

    assert (await browser.submit(f"{here}/publish", {"etag": etag(page)})).status_code == 200
    device = await world.connect("oven", await world.create_pinned("oven"))
    await world.app.application.fleet.update(ADA, DeviceId("oven"), DeviceChange(template=template_id))
    await world.app.application.properties.set(ADA, DeviceId("oven"), {"": {"targetTemperature": 31.5}})
    device.publish("devices/oven/messages/events/", b'{"temperature": 123.25}')
    await device.expect(PubAck)
    async with asyncio.timeout(30):
        while "123.25 °C" not in text_of(await browser.part(view, "preview", preview="oven")):  # noqa: ASYNC110 # a page
            await asyncio.sleep(0.02)
    part = await browser.part(view, "preview", preview="oven")
    assert part.text.lstrip().startswith('<section id="preview"') and "31.5 °C Pending" in text_of(part)
    # The device that was heard of last is what a page begins with, and what is chosen goes on with each change.
    assert "123.25 °C" in text_of(await browser.open(view))
    page = await browser.open(f"{view}?preview=/invented")
    assert "123.25 °C" not in text_of(page)
    fields = {"kind": "text", "text": "More", "etag": etag(page), "preview": "/invented"}
    page = await browser.submit(f"{view}/tiles", fields)
    assert str(page.url).endswith("?preview=%2Finvented") and 'name="preview" value="/invented"' in page.text
    for odd in ("nobody", "a b", "/other"):
        assert "Simulated values" in text_of(await browser.open(f"{view}?preview={odd}"))


async def test_who_may_only_look_sees_no_way_to_edit(
    world: World, browser: Browser, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    here = place(await browser.submit("/device-templates/from-folder", {"model_id": THERMOSTAT}))
    operator = await as_role("operator")
    page = await operator.open(here)
    assert "Edit name" not in text_of(page) and "Publish" not in text_of(page)
    assert (await operator.open(f"{here}/model")).status_code == 200
    assert (await operator.get(f"{here}/names")).status_code == 403
    for missing in ("/device-templates/x", "/device-templates/dtmi%3Ano%3Awhere%3B1", f"{here}/views/x"):
        assert (await operator.get(missing)).status_code == 404


async def test_a_template_is_guessed_corrected_and_given_to_the_device(world: World, browser: Browser) -> None:
    device = await world.connect("pump-01", await world.create_pinned("pump-01"))
    empty = await browser.open("/devices/pump-01/auto-create")
    assert "Nothing to guess from yet" in text_of(empty)
    for body in (b'{"speed": 20, "mode": "on", "bad-name": 1}', b'{"speed": 20.5}', b"{no json"):
        device.publish("devices/pump-01/messages/events/", body)
        await device.expect(PubAck)
    device.publish("devices/pump-01/messages/events/%24.sub=motor", b'{"inside": 1}')
    await device.expect(PubAck)

    page = await browser.open("/devices/pump-01/auto-create")
    words = text_of(page)
    assert "speed" in words and "20.5" in words and "bad-name" in words and "inside" not in words
    typed = dict(re.findall(r'name="((?:name|model)(?:\.\d+)?)" [^>]*value="([^"]+)"', page.text))
    names = {typed[key]: key.partition(".")[2] for key in typed if key.startswith("name.")}
    typed |= {f"kind.{names['speed']}": "telemetry", f"schema.{names['speed']}": "float"}
    typed |= {f"label.{names['speed']}": "Speed", f"kind.{names['mode']}": ""}
    nothing = await browser.submit("/devices/pump-01/auto-create", typed | {f"kind.{names['speed']}": ""})
    assert nothing.status_code == 400 and "form.nothing" in nothing.text
    wrong = await browser.submit("/devices/pump-01/auto-create", typed | {f"schema.{names['speed']}": "{"})
    assert wrong.status_code == 400 and 'value="Speed"' in wrong.text

    page = await browser.submit("/devices/pump-01/auto-create", typed)
    await browser.submit("/devices/pump-01/auto-create", typed)

    assert page.status_code == 200
    summaries = await templates(world).list()
    assert [each.is_published for each in summaries] == [True]
    model = templates(world).get(summaries[0].template_id)
    assert [(each.label, each.schema.kind) for each in model.interface.telemetry] == [("Speed", "float")]
    assert world.app.application is not None
    record = world.app.application.fleet.get(ADA, DeviceId("pump-01")).record
    assert record.template == model.template_id


async def test_an_edge_template_has_the_modules_of_a_manifest(browser: Browser) -> None:
    here = place(await browser.submit("/device-templates", {"name": "Gateway"}))
    form = await browser.open(f"{here}/modules")
    wrong = await browser.submit(
        f"{here}/modules", {"text": '{"no": 1}', "etag": etag(form)}, files={"file": ("", b"")}
    )
    assert wrong.status_code == 400 and "template.manifest" in wrong.text and '{"no": 1}' in html.unescape(wrong.text)
    agent: dict[str, Any] = {"modules": {"filter": {}}}
    manifest = {
        "modulesContent": {"$edgeAgent": {"properties.desired": agent}, "filter": {"properties.desired": {"limit": 5}}}
    }
    file = {"file": ("deployment.json", json.dumps(manifest).encode())}
    page = await browser.submit(f"{here}/modules", {"etag": etag(wrong)}, files=file)
    assert "Module" in text_of(page) and "limit" in text_of(page) and "dtmi:moorage:gateway:filter;1" in page.text

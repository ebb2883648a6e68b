"""What pages of device templates show as code, run as it stands."""

from __future__ import annotations

import json
from typing import Any

from moorage.accounts.model import OWNER
from moorage.fleet.model import TemplateId
from moorage.fleet.template_model import Template
from moorage.fleet.views import Subject, Tile
from moorage.ids import DeviceId
from moorage.web.template_code import draft_act
from tests.servers.world import World
from tests.web.browser import Browser
from tests.web.shown_as_code import Shell, replays
from tests.web.test_code import hub
from tests.web.test_device_views import CONTROLLER, JSON, PUMP, connected, sent

MINE = TemplateId("dtmi:moorage:myDevice;1")
HERE = f"/device-templates/{MINE}"


@replays(
    "POST /device-templates",
    "POST /device-templates/import",
    "POST /device-templates/from-folder",
    "POST /device-templates/{template_id}/names",
    "POST /device-templates/{template_id}/model",
    "POST /device-templates/{template_id}/modules",
    "POST /device-templates/{template_id}/capability",
    "POST /device-templates/{template_id}/capability/remove",
    "POST /device-templates/{template_id}/views",
    "POST /device-templates/{template_id}/views/{view_id}",
    "POST /device-templates/{template_id}/views/{view_id}/tiles",
    "POST /device-templates/{template_id}/views/{view_id}/move",
    "POST /device-templates/{template_id}/views/{view_id}/delete",
    "POST /device-templates/{template_id}/publish",
    "POST /device-templates/{template_id}/discard",
    "POST /device-templates/{template_id}/version",
    "POST /device-templates/{template_id}/delete",
)
async def test_a_template_is_made_edited_published_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    templates = world.app.application.templates

    def mine() -> Template:
        return templates.get(MINE)

    def capabilities() -> list[tuple[str, str]]:
        contents: list[dict[str, Any]] = mine().latest.document["contents"]
        return [(str(each["@type"]), each["name"]) for each in contents]

    # + New: blank, of a file, and of a model that lies ready.
    await shell.paste("/device-templates/new", "Create", "curl")
    assert (mine().latest.display_name, mine().is_published) == ("My device", False)
    (shell.folder / "model.json").write_text(json.dumps(CONTROLLER))
    await shell.paste("/device-templates/new", "Import", "Python")
    assert len((await templates.load(TemplateId("dtmi:com:example:MyDevice;1"))).latest.document["contents"]) == 5
    await shell.paste("/device-templates/new", "From the model folder", "curl")
    assert {each.is_published for each in await templates.list()} == {False}
    assert len(await templates.list()) == 3

    # The model.
    form = f"{HERE}/capability?interface=dtmi%3Amoorage%3AmyDevice%3B1"
    for number, kind in enumerate(("telemetry", "command", "cloud", "component")):
        await shell.paste(f"{form}&kind={kind}", "Save", "curl" if number % 2 else "Python")
    assert capabilities() == [
        ("Telemetry", "myTelemetry"),
        ("Command", "myCommand"),
        ("['Property', 'Cloud']", "myCloud"),
        ("Component", "myComponent"),
    ]
    await shell.paste(f"{form}&name=myComponent", "Save", "curl")
    await shell.paste(f"{form}&name=myComponent", "Remove", "Python")
    await shell.paste(f"{HERE}/modules", "Import modules", "curl")
    assert [name for _, name in capabilities()] == ["myTelemetry", "myCommand", "myCloud", "filter"]
    before = mine().latest
    await shell.paste(f"{HERE}/model", "Save", "Python")
    await shell.paste(f"{HERE}/names", "Save", "curl")
    assert mine().latest == before

    # Views.
    await shell.paste(f"{HERE}/views/new", "Create", "Python")
    view = f"{HERE}/views/my-view"
    for language in ("curl", "Python"):
        await shell.paste(view, "Add", language)
    await browser.submit(f"{view}/tiles", {"kind": "text", "text": "Mind the gap", "etag": mine().etag})
    await shell.paste(view, "Rename", "curl")
    chart, text = Tile("chart", "", (Subject("", "myTelemetry"),)), Tile("text", "", (), "Mind the gap")
    [own] = mine().latest.own_views
    assert (own.name, own.kind, own.tiles) == ("My view", "custom", (chart, chart, text))
    await shell.paste(view, "Remove the first tile", "Python")
    await shell.paste(view, "Move the first tile down", "curl")
    assert mine().latest.own_views[0].tiles == (text, chart)

    # Its life.
    await shell.paste(f"{HERE}/publish", "Publish", "curl")
    published = mine().published
    assert published is not None and published.own_views[0].tiles == (text, chart)
    await shell.paste(view, "Delete", "curl")
    assert mine().latest.own_views == ()
    await shell.paste(HERE, "Discard changes", "Python")
    assert mine().draft is None and MINE in await shell.paste(HERE, "Export", "curl")
    await shell.paste(HERE, "Version", "curl")
    second = TemplateId("dtmi:moorage:myDevice;2")
    assert templates.get(second).latest.own_views == published.own_views
    for template_id in (MINE, second):
        await shell.paste(f"/device-templates/{template_id}", "Delete", "Python")
        assert templates.find(template_id) is None


@replays("POST /devices/{device_id}/auto-create")
async def test_a_template_is_made_of_what_a_device_sends(world: World, shell: Shell) -> None:
    device = await connected(world)
    await sent(device, JSON, b'{"temperature": 21.5, "door": {"open": true}}')
    await shell.paste(f"/devices/{PUMP}/auto-create", "Create template", "Python")
    model = world.app.application.models.get(OWNER, DeviceId(PUMP))
    assert model.interface is not None and model.interface.find_telemetry("temperature", "") is not None


def test_a_large_model_is_read_of_a_file() -> None:
    contents = [{"@type": "Telemetry", "name": f"value{number}", "schema": "double"} for number in range(400)]
    document = {"@id": MINE, "@type": "Interface", "contents": contents}
    act = draft_act(hub(), "Save", MINE, "Mine", "", document)
    assert all("model.json" in code.text and "value399" not in code.text for code in act.codes)

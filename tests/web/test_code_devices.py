"""What pages of a device show as code, run as it stands."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from moorage.accounts.model import OWNER, OrganizationId
from moorage.fleet.gateways import gateway_of
from moorage.fleet.model import TemplateId
from moorage.fleet.properties import PropertySheet
from moorage.fleet.template_model import make_content
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB, DeviceId
from moorage.protocols.mqtt.packets import PubAck, Publish
from tests.servers.clients import Client
from tests.servers.world import World, named
from tests.web.browser import Browser
from tests.web.shown_as_code import Shell, replays
from tests.web.test_device_views import CONTROLLER

PUMP = DeviceId("pump-01")
HERE = f"/devices/{PUMP}"


async def with_template(world: World) -> TemplateId:
    templates = world.app.application.templates
    draft = await templates.create_draft(OWNER, make_content("Temperature Controller", "", CONTROLLER))
    return (await templates.publish(OWNER, draft.template_id)).template_id


def sheet(world: World) -> PropertySheet:
    return world.app.application.properties.read(OWNER, PUMP)


@replays(
    "POST /devices/{device_id}/manage",
    "POST /devices/{device_id}/migrate",
    "POST /devices/{device_id}/properties",
    "POST /devices/{device_id}/views/{view_id}",
    "POST /devices/{device_id}/downstream",
    "POST /devices/{device_id}/gateway",
)
async def test_a_device_is_named_placed_and_told_what_it_shall_be(world: World, browser: Browser, shell: Shell) -> None:
    services = world.app.application
    fleet, template_id = services.fleet, await with_template(world)
    await services.organizations.create(OWNER, OrganizationId("line-1"), "Line 1", OrganizationId(""))
    await world.create_pinned(PUMP)

    def record() -> object:
        found = fleet.get(OWNER, PUMP).record
        return found.display_name, found.organization, found.template

    await shell.paste(f"{HERE}/manage", "Save", "curl")
    assert record() == (PUMP, "", "")
    await shell.paste(f"{HERE}/properties", "Save", "curl")
    assert sheet(world).twin.desired.value == {"targetTemperature": 21.5}
    assert "21.5" in await shell.paste(f"{HERE}/code", "Device properties", "Python")
    await shell.paste(f"{HERE}/migrate", "Assign", "Python")
    assert record() == (PUMP, "", template_id)

    await shell.paste(f"{HERE}/properties", "Save", "Python")
    form = shell.read(await browser.open(f"{HERE}/views/writable"), "Save", "Python")
    assert '"customer"' in form and '"targetTemperature"' in form
    await shell.paste(f"{HERE}/views/writable", "Save", "Python")
    found = sheet(world)
    assert isinstance(found.cloud["customer"], str)
    assert isinstance(found.twin.desired.value["thermostat1"]["targetTemperature"], float)

    for name in ("gateway-01", "edge-2"):
        await world.registry.create(DEFAULT_HUB, IdentityDraft(named(name), is_edge=True), world.clock.now())
    await world.create("my-device-01")

    def below(name: str) -> str | None:
        return gateway_of(fleet.get(OWNER, DeviceId(name)).identity)

    await shell.paste(f"{HERE}/gateway", "Attach", "curl")
    assert below(PUMP) == "gateway-01"
    await shell.paste(f"{HERE}/gateway", "Detach", "Python")
    assert below(PUMP) is None
    await shell.paste("/devices/edge-2/downstream", "Attach", "Python")
    assert below("my-device-01") == "edge-2"
    await shell.paste("/devices/edge-2/downstream", "Detach", "curl")
    assert below("my-device-01") is None


async def answer(device: Client, *pastings: Coroutine[Any, Any, str]) -> list[tuple[str, Any]]:
    """(method, payload) that the device was asked for by each of them."""
    asked = []
    for pasting in pastings:
        waiting = asyncio.create_task(pasting)
        call = await device.expect(Publish)
        method, _, request_id = call.topic.decode().removeprefix("$iothub/methods/POST/").partition("/?$rid=")
        device.publish(f"$iothub/methods/res/200/?$rid={request_id}", b"{}")
        await device.expect(PubAck)
        await waiting
        asked.append((method, json.loads(call.body or b"null")))
    return asked


@replays("POST /devices/{device_id}/command", "POST /devices/{device_id}/commands")
async def test_commands_are_run(world: World, shell: Shell) -> None:
    device = await world.connect(PUMP, await world.create_pinned(PUMP))
    await device.subscribe("$iothub/methods/POST/#", qos=0)
    untyped = await answer(
        device,
        shell.paste(f"{HERE}/code", "Command: reboot", "curl"),
        shell.paste(f"{HERE}/command", "Run", "Python"),
    )
    assert untyped == [("reboot", None), ("reboot", None)]
    await shell.paste(f"{HERE}/command", "Run, queued if offline", "curl")
    assert len(world.queued(PUMP)) == 1

    await world.app.application.fleet.migrate(OWNER, PUMP, await with_template(world))
    report = "Command: thermostat1.getMaxMinReport"
    typed = await answer(
        device,
        shell.paste(f"{HERE}/views/commands", report, "curl"),
        shell.paste(f"{HERE}/code", report, "Python"),
    )
    [(method, since)] = set(typed)
    assert (method, since[:5]) == ("thermostat1*getMaxMinReport", "2027-")


@replays(
    "POST /devices/{device_id}/aliases",
    "POST /devices/{device_id}/aliases/delete",
    "POST /devices/{device_id}/files/delete",
)
async def test_aliases_are_saved_and_what_is_kept_is_deleted(world: World, shell: Shell) -> None:
    await world.create(PUMP)
    aliases = world.app.application.aliases
    await shell.paste(f"{HERE}/aliases", "Save", "Python")
    assert [each.alias for each in aliases.of_device(OWNER, PUMP)] == ["temperature"]
    await shell.paste(f"{HERE}/aliases", "Delete", "curl")
    assert aliases.of_device(OWNER, PUMP) == []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"

    files = world.app.uploads._files  # what a device would have put there in three steps
    await files.put("pump-01/logs/a b.txt", pieces())
    await shell.paste(f"{HERE}/files", "Delete", "curl")
    assert await files.find("pump-01/logs/a b.txt") is None


async def test_whoever_may_only_look_is_shown_no_act(
    world: World, browser: Browser, as_role: Callable[[str], Awaitable[Browser]]
) -> None:
    may = ["data.view", "templates.view", "certificates.view", "organizations.view"]
    role = await world.app.application.roles.create(OWNER, "Reader", "application", may)
    template_id = await with_template(world)
    await world.app.application.organizations.create(OWNER, OrganizationId("line-1"), "Line 1", OrganizationId(""))
    await world.registry.create(DEFAULT_HUB, IdentityDraft(named(PUMP), is_edge=True), world.clock.now())
    await browser.submit("/groups", {"name": "Mine", "type": "iot", "attestation": "x509"})
    await browser.submit(f"{HERE}/migrate", {"template": template_id})
    reader = await as_role(role.role_id)
    tabs = ("command", "properties", "aliases", "modules", "downstream", "connect")
    template = f"/device-templates/{template_id}"
    for path in (
        *(f"{HERE}/{tab}" for tab in (*tabs, "views/commands", "views/writable")),
        *(template, f"{template}/model"),
        *("/groups", "/groups/Mine", "/groups/Mine/primary", "/organizations/line-1"),
    ):
        assert 'class="as-code"' in (await browser.open(path)).text, path
        page = await reader.open(path)
        assert (page.status_code, 'class="as-code"' in page.text) == (200, False), path
    page = await reader.open(f"{HERE}/code")
    shown = re.findall(r"<h2>([^<]*)</h2>\s*<div class=\"tabs\"", page.text)
    assert shown == ["Show device", "Device properties"]

"""What the buttons of a device's page do, as code."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Actor
from moorage.dtdl.model import Command
from moorage.fleet.device_models import DeviceModel
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, act_as_code, central_path
from moorage.web.device_page import DevicePage
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["device_acts", "device_code_pages"]

# A model may have hundreds.
_COMMANDS: Final = 20


def device_code_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _DeviceCode(services, renderer)
    return [Page("GET", "/devices/{device_id}/code", pages.show, "devices.view")]


class _DeviceCode:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def show(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        return await self._page.page(
            visit, model, "device/code.html", tab="code", acts=device_acts(self._services.info(), model, visit.actor)
        )


def device_acts(info: HubInfo, model: DeviceModel, actor: Actor) -> list[Act]:
    """The acts of the public API that `actor` may do, with the commands of the device's model."""
    record = model.device.record
    there, which = central_path("devices", record.device_id), ("--device-id", record.device_id)

    def enable(label: str, enabled: bool) -> Act:
        az = ("device", "update", *which, "--enable", str(enabled).lower())
        return act_as_code(info, label, Call("PATCH", there, {"enabled": enabled}, az))

    acts = [
        act_as_code(info, "Show device", Call("GET", there, az=("device", "show", *which))),
        act_as_code(
            info, "Device properties", Call("GET", f"{there}/properties", az=("device", "twin", "show", *which))
        ),
    ]
    if actor.may("commands.run"):
        acts += [_command(info, there, which, component, name, body) for component, name, body in _commands(model)]
    if actor.may("devices.manage"):
        match record.state:
            case "waiting":
                acts.append(enable("Approve", True))
            case "blocked":
                acts.append(enable("Unblock", True))
            case _:
                acts.append(enable("Block", False))
    if actor.may("devices.delete"):
        acts.append(act_as_code(info, "Delete", Call("DELETE", there, az=("device", "delete", *which))))
    return acts


def _command(info: HubInfo, there: str, which: tuple[str, ...], component: str, name: str, body: Any) -> Act:
    path = (central_path("components", component) if component else "") + central_path("commands", name)
    az = ["device", "command", "run", *which, "--command-name", name]
    if component:
        az += ["--component-name", component]
    label = f"Command: {component}.{name}" if component else f"Command: {name}"
    return act_as_code(info, label, Call("POST", there + path, body, [*az, "--content", json.dumps(body)]))


def _commands(model: DeviceModel) -> list[tuple[str, str, Any]]:
    """(component, name, body); for a device without a model one that it may or may not know."""
    interface = model.interface
    if interface is None:
        return [("", "reboot", {"request": None})]
    found = [("", command.name, _body(command)) for command in interface.commands]
    for component in interface.components:
        found += [(component.name, command.name, _body(command)) for command in component.schema.commands]
    return found[:_COMMANDS]


def _body(command: Command) -> dict[str, Any]:
    return {} if command.request is None else {"request": None}

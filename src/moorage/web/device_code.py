"""What the buttons of a device's head do, and its commands, as code; forms of its tabs are in `device_form_code.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Actor
from moorage.dtdl.model import Command
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.views import Subject
from moorage.hub_info import HubInfo
from moorage.ids import DeviceId
from moorage.web.code import Act, Call, act_as_code, central_path
from moorage.web.device_page import DevicePage
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.schema_forms import example_of
from moorage.web.services import WebServices

__all__ = ["command_acts", "command_call", "device_acts", "device_code_pages"]

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
        acts = device_acts(self._services.info(), model, visit.actor)
        return await self._page.page(visit, model, "device/code.html", tab="code", acts=acts)


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
        acts += command_acts(info, model)
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


def command_acts(info: HubInfo, model: DeviceModel, subjects: Collection[Subject] | None = None) -> list[Act]:
    """The commands of the model, or those of `subjects` alone; for a device without a model one that it may know."""
    interface, device_id = model.interface, model.device.record.device_id
    if interface is None:
        return [act_as_code(info, "Command: reboot", command_call(device_id, "reboot", {"request": None}))]
    found = [
        (Subject(component, command.name), command)
        for component, part in interface.parts()
        for command in part.commands
        if subjects is None or Subject(component, command.name) in subjects
    ]
    return [
        act_as_code(
            info,
            f"Command: {'.'.join(filter(None, subject))}",
            command_call(device_id, subject.name, _body(command), component=subject.component),
        )
        for subject, command in found[:_COMMANDS]
    ]


def command_call(device_id: DeviceId, name: str, body: Any, *, component: str = "", module: str = "") -> Call:
    there = [
        part for kind, which in (("modules", module), ("components", component)) if which for part in (kind, which)
    ]
    az = ["device", "command", "run", "--device-id", device_id, "--command-name", name]
    if module:
        az += ["--module-name", module]
    if component:
        az += ["--component-name", component]
    path = central_path("devices", device_id, *there, "commands", name)
    return Call("POST", path, body, (*az, "--content", body))


def _body(command: Command) -> dict[str, Any]:
    """With the request that the model begins with, or one that fits."""
    request = command.request
    if request is None:
        return {}
    return {"request": example_of(request.schema) if request.initial_value is None else request.initial_value}

"""What the forms on a device's tabs do, as code.

A form that is empty is shown with an example; one that came back, with what was typed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moorage.fleet.device_models import DeviceModel
from moorage.fleet.model import DeviceRecord
from moorage.fleet.properties import PropertyKey
from moorage.hub_info import HubInfo
from moorage.ids import DeviceId
from moorage.web.code import Act, Call, act_as_code, central_path
from moorage.web.device_code import command_call
from moorage.web.schema_forms import example_of

__all__ = [
    "alias_acts",
    "any_command_acts",
    "document_of",
    "downstream_acts",
    "file_acts",
    "gateway_acts",
    "manage_acts",
    "migrate_acts",
    "module_acts",
    "property_acts",
]

_MODULES: Final = 20
_AGENT: Final = "$edgeAgent"


def manage_acts(info: HubInfo, record: DeviceRecord, name: str, organization: str) -> list[Act]:
    """`organization` is '' for the root."""
    body: dict[str, Any] = {"displayName": name}
    az: tuple[str, ...] = ("device", "update", "--device-id", record.device_id, "--device-name", name)
    if organization:
        body["organizations"] = [organization]
        az = (*az, "--organizations", organization)
    elif record.organization:
        # az has no word for the root.
        body["organizations"], az = [], ()
    return [act_as_code(info, "Save", Call("PATCH", central_path("devices", record.device_id), body, az))]


def migrate_acts(info: HubInfo, record: DeviceRecord, template: str) -> list[Act]:
    """`template` is '' to have none."""
    az = ("device", "update", "--device-id", record.device_id, "--template", template) if template else ()
    call = Call("PATCH", central_path("devices", record.device_id), {"template": template}, az)
    return [act_as_code(info, "Migrate" if record.template else "Assign", call)]


def property_acts(info: HubInfo, model: DeviceModel, values: Mapping[str, Any] | None = None) -> list[Act]:
    """To set properties, cloud properties among them, and components as objects; without `values` one as an example."""
    device_id = model.device.record.device_id
    body = _example(model) if values is None else values
    az = ("device", "twin", "update", "--device-id", device_id, "--content", dict(body))
    call = Call("PATCH", central_path("devices", device_id, "properties"), dict(body), az)
    return [act_as_code(info, "Save", call)]


def _example(model: DeviceModel) -> dict[str, Any]:
    """The first property that can be written."""
    for component, part in () if model.interface is None else model.interface.parts():
        for each in part.properties:
            if each.is_writable:
                return document_of({PropertyKey(component, each.name): example_of(each.schema)})
    return {"targetTemperature": 21.5}


def document_of(values: Mapping[PropertyKey, Any]) -> dict[str, Any]:
    """Components as objects, as the API has them."""
    document: dict[str, Any] = {}
    for key, value in values.items():
        place = document.setdefault(key.component, {}) if key.component else document
        place[key.name] = value
    return document


def any_command_acts(info: HubInfo, device_id: DeviceId, method: str, payload: Any, module: str) -> list[Act]:
    """Any command, asked for now or left for a device that is away. `method` may begin with a component and `*`."""
    component, star, name = (method or "reboot").rpartition("*")
    asked: dict[str, Any] = {"command": name} | ({"component": component} if star else {})
    asked |= ({"module": module} if module else {}) | {"request": payload}
    queued = Call("POST", central_path("devices", device_id, "queuedCommands"), asked, api="own")
    run = command_call(device_id, name, {"request": payload}, component=component, module=module)
    return [act_as_code(info, "Run", run), act_as_code(info, "Run, queued if offline", queued)]


def module_acts(info: HubInfo, device_id: DeviceId, modules: Sequence[str]) -> list[Act]:
    def restart(module: str) -> Call:
        request = {"schemaVersion": "1.0", "id": module}
        return command_call(device_id, "RestartModule", {"request": request}, module=_AGENT)

    return [act_as_code(info, f"Restart {module}", restart(module)) for module in modules[:_MODULES]]


def alias_acts(info: HubInfo, device_id: DeviceId, alias: str, path: str, present: Sequence[str]) -> list[Act]:
    """To save one, and to delete the first of those that are there."""

    def call(method: str, name: str, body: Any = None) -> Call:
        return Call(method, central_path("devices", device_id, "aliases", name), body, api="own")

    body = {"path": path or '$["Device"]["Temp"]'}
    acts = [act_as_code(info, "Save", call("PUT", alias or "temperature", body))]
    return [*acts, *(act_as_code(info, "Delete", call("DELETE", each)) for each in present[:1])]


def file_acts(info: HubInfo, device_id: DeviceId, names: Sequence[str]) -> list[Act]:
    """To delete the first of those that are there."""
    there = central_path("devices", device_id, "files")
    return [act_as_code(info, "Delete", Call("DELETE", there, api="own", query={"name": name})) for name in names[:1]]


def gateway_acts(info: HubInfo, device_id: DeviceId, gateway: str, present: str) -> list[Act]:
    """To put it below `gateway`, and away from the one that it is below."""
    acts = [act_as_code(info, "Attach", _attaching(gateway or "gateway-01", device_id))]
    return [*acts, *([act_as_code(info, "Detach", _detaching(present, device_id))] if present else [])]


def downstream_acts(info: HubInfo, gateway: DeviceId, child: str, present: Sequence[str]) -> list[Act]:
    """To put `child` below the gateway, and the first of those below it away."""
    acts = [act_as_code(info, "Attach", _attaching(gateway, child or "my-device-01"))]
    return [*acts, *(act_as_code(info, "Detach", _detaching(gateway, each)) for each in present[:1])]


def _attaching(gateway: str, child: str) -> Call:
    body = {"id": child, "source": gateway, "target": child}
    az = ("device", "edge", "children", "add", "--device-id", gateway, "--children-ids", child)
    return Call("PUT", central_path("devices", gateway, "relationships", child), body, az)


def _detaching(gateway: str, child: str) -> Call:
    az = ("device", "edge", "children", "remove", "--device-id", gateway, "--children-ids", child)
    return Call("DELETE", central_path("devices", gateway, "relationships", child), az=az)

"""What one device can do, over REST: properties, telemetry, commands, its components and modules (central.md 22.2).

The same operations are there four times: of the device, of one of its components, of one of its modules, and of a
component of a module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from moorage.api.calls import ActorCall, page_of, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_devices import COMMAND, COMMAND_RUN, NAMED_PART, PROPERTIES, TELEMETRY
from moorage.dialects.central_capabilities import (
    COMMAND_MEMBERS,
    command_json,
    parse_command,
    properties_json,
    telemetry_json,
)
from moorage.dialects.json_text import encode_json, parse_object
from moorage.dialects.members import check_members
from moorage.errors import NotFound
from moorage.fleet.commands import CommandRun
from moorage.fleet.properties import PropertySheet, split_document
from moorage.ids import DeviceId, IdentityName, ModuleId, parse_device_id, parse_module_id

__all__ = ["capability_routes"]

_DEVICE: Final = "/devices/{id}"
_MODULE: Final = _DEVICE + "/modules/{module}"
# Of the model and of the twin; they are told, not set.
_SYSTEM: Final = ("$metadata", "__t")


def capability_routes(services: CentralServices) -> list[Route]:
    api = _Capabilities(services)
    routes = [
        central_route(
            "GET",
            f"{whose}/components",
            api.components,
            "devices.view",
            "Its components.",
            answers={200: page_schema(NAMED_PART)},
        )
        for whose in (_DEVICE, _MODULE)
    ]
    routes.append(
        central_route(
            "GET",
            _MODULE.removesuffix("/{module}"),
            api.modules,
            "devices.view",
            "Its modules.",
            answers={200: page_schema(NAMED_PART)},
        )
    )
    for whose in (_DEVICE, _DEVICE + "/components/{component}", _MODULE, _MODULE + "/components/{component}"):
        routes += _routes_of(api, whose)
    return routes


def _routes_of(api: _Capabilities, whose: str) -> list[Route]:
    properties, command = whose + "/properties", whose + "/commands/{command}"
    return [
        central_route(
            "GET", properties, api.get_properties, "devices.view", "Values of properties.", answers={200: PROPERTIES}
        ),
        central_route(
            "PUT",
            properties,
            api.put_properties,
            "devices.manage",
            "Set writable and cloud properties, and take away those that are not named.",
            body=PROPERTIES,
            answers={202: PROPERTIES},
        ),
        central_route(
            "PATCH",
            properties,
            api.patch_properties,
            "devices.manage",
            "Set some of them; null takes one away.",
            body=PROPERTIES,
            answers={202: PROPERTIES},
        ),
        central_route(
            "GET",
            whose + "/telemetry/{telemetry}",
            api.get_telemetry,
            "devices.view",
            "The last value.",
            answers={200: TELEMETRY},
        ),
        central_route(
            "GET", command, api.history, "devices.view", "Its last runs.", answers={200: page_schema(COMMAND_RUN)}
        ),
        central_route(
            "POST",
            command,
            api.run,
            "commands.run",
            "Run it and wait for the answer.",
            body=COMMAND,
            body_needed=False,
            answers={201: COMMAND_RUN},
        ),
    ]


class _Capabilities:
    def __init__(self, services: CentralServices) -> None:
        self._services = services

    # -- properties ------------------------------------------------------------------------------------------------

    async def get_properties(self, call: ActorCall) -> Response:
        sheet = self._sheet(call)
        return json_response(properties_json(sheet.states, sheet.cloud, component=call.path.get("component")))

    async def put_properties(self, call: ActorCall) -> Response:
        return await self._set(call, replace=True)

    async def patch_properties(self, call: ActorCall) -> Response:
        return await self._set(call, replace=False)

    async def _set(self, call: ActorCall, *, replace: bool) -> Response:
        sheet, body = self._sheet(call), await call.json_object()
        component = call.path.get("component")
        changes, cloud = _asked(sheet, body, component)
        if replace and component is not None:
            # Only what is of this component goes.
            held = {state.key.name for state in sheet.of(component) if state.desired_version is not None}
            changes = {component: {**dict.fromkeys(held - changes[component].keys()), **changes[component]}}
        await self._services.properties.set(
            call.actor,
            _device_id(call),
            changes,
            cloud=cloud,
            module=_module_id(call),
            replace=replace and component is None,
        )
        after = self._sheet(call)
        return json_response(properties_json(after.states, after.cloud, component=component), 202)

    def _sheet(self, call: ActorCall) -> PropertySheet:
        """Raises `NotFound` (`device.unknown`, `module.not_found`, `component.unknown`)."""
        sheet = self._services.properties.read(call.actor, _device_id(call), module=_module_id(call))
        component = call.path.get("component")
        interface = sheet.model.interface if _module_id(call) is None else None
        if component is not None and interface is not None and interface.part(component) is None:
            raise NotFound("component.unknown", f"the template has no component {component[:80]!r}")
        return sheet

    # -- telemetry -------------------------------------------------------------------------------------------------

    async def get_telemetry(self, call: ActorCall) -> Response:
        """A name that the template has and of which nothing came yet has no value."""
        device_id, module_id = _device_id(call), _module_id(call)
        component, name = call.path.get("component", ""), call.path["telemetry"]
        model = self._services.models.get(call.actor, device_id)
        if module_id is not None:
            self._services.registry.get(self._services.hub, IdentityName(device_id, module_id))
        values = await self._services.series.last_values(device_id)
        whose = component if module_id is None else f"@{module_id}" + (f".{component}" if component else "")
        found = telemetry_json(values, whose, name)
        if found is not None:
            return json_response(found)
        interface = model.interface if module_id is None else None
        if interface is None or interface.find_telemetry(name, component) is None:
            raise NotFound("telemetry.unknown", f"'{device_id}' has no telemetry {name[:80]!r}, and never sent any")
        return json_response({})

    # -- commands --------------------------------------------------------------------------------------------------

    async def run(self, call: ActorCall) -> Response:
        body = await _optional_object(call)
        check_members(body, COMMAND_MEMBERS)
        asked = parse_command(body)
        run = await self._services.commands.run(
            call.actor,
            _device_id(call),
            call.path["command"],
            asked.request,
            component=call.path.get("component", ""),
            module=_module_id(call),
            response_timeout_s=asked.response_timeout_s,
            connect_timeout_s=asked.connect_timeout_s,
        )
        return json_response(command_json(run), 201)

    async def history(self, call: ActorCall) -> Response:
        runs = await self._services.commands.history(
            call.actor,
            _device_id(call),
            component=call.path.get("component", ""),
            module=_module_id(call),
            command=call.path["command"],
        )
        return encoded_response(await asyncio.to_thread(_encode_runs, runs))

    # -- parts -----------------------------------------------------------------------------------------------------

    async def components(self, call: ActorCall) -> Response:
        """Those of the template; of a device without one, and of a module, those that its twin tells of."""
        sheet = self._sheet(call)
        interface = sheet.model.interface if _module_id(call) is None else None
        if interface is not None:
            names = [each.name for each in interface.components]
        else:
            names = list(dict.fromkeys(state.key.component for state in sheet.states if state.key.component))
        return await page_of(call, sorted(names), str, lambda name: {"@type": ["Component"], "name": name})

    async def modules(self, call: ActorCall) -> Response:
        device = self._services.fleet.get(call.actor, _device_id(call))
        names: list[str] = []
        if device.identity is not None:
            found = await self._services.registry.list_modules(self._services.hub, device.record.device_id)
            names = sorted(str(each.name.module_id) for each in found)
        return await page_of(
            call, names, str, lambda name: {"@type": ["Relationship", "SemanticType/EdgeModule"], "name": name}
        )


def _asked(
    sheet: PropertySheet, body: Mapping[str, Any], component: str | None
) -> tuple[dict[str, Mapping[str, Any]], Mapping[str, Any] | None]:
    """(properties of the device, cloud properties) in a body; what only reading gives is left aside."""
    plain = {name: value for name, value in body.items() if name not in _SYSTEM}
    if component is not None:
        return {component: plain}, None
    interface = sheet.model.interface
    if interface is None:
        return {"": plain}, None
    changes, cloud = split_document(interface, plain)
    return dict(changes), cloud


async def _optional_object(call: ActorCall) -> dict[str, Any]:
    """A command without a payload may be asked for without a body."""
    data = await call.body()
    return parse_object(data, what="the body") if data.strip() else {}


def _encode_runs(runs: Sequence[CommandRun]) -> bytes:
    """For a thread: request and answer of each may have 128 KiB."""
    return encode_json({"value": [command_json(run) for run in runs]})


def _device_id(call: ActorCall) -> DeviceId:
    return parse_device_id(call.path["id"])


def _module_id(call: ActorCall) -> ModuleId | None:
    module = call.path.get("module")
    return None if module is None else parse_module_id(module)

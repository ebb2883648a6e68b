"""What is done to one device and IoT Central's API has no word for (contract/central.md 5, 9, SAS-5).

Every route first finds the device as the caller sees it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Actor, Permission
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, ActorHandler, no_content, page, page_schema
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.application_devices import (
    ALIAS,
    ALIAS_DRAFT,
    ALIASES,
    AUTO_APPROVE,
    COMMAND_RUN,
    DEVICE_STATE,
    FILE,
    QUEUED_COMMAND,
)
from moorage.api.schemas.words import text
from moorage.dialects.central_capabilities import command_json
from moorage.dialects.members import get_boolean, get_text, need_text
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.fleet.aliases import Alias, encode_path, parse_alias
from moorage.fleet.model import Device
from moorage.hub.device_files import DeviceFiles
from moorage.hub.upload_model import StoredFile
from moorage.ids import DeviceId, parse_device_id, parse_module_id

__all__ = ["device_routes"]

_MANAGE: Final[Permission] = "devices.manage"
_DATA: Final[Permission] = "data.view"


def device_routes(services: OwnServices) -> list[Route]:
    api, one = _Devices(services), "/devices/{id}"
    fleet, state = services.fleet, {200: DEVICE_STATE}
    alias = f"{one}/aliases/{{alias}}"
    named = {"name": {**text("Of the file, without the device's folder."), "x-needed": True}}
    return [
        own_route("POST", f"{one}/approve", _acting(fleet.approve), _MANAGE, "Let it come in.", answers=state),
        own_route("POST", f"{one}/block", _acting(fleet.block), _MANAGE, "Shut it out, at once.", answers=state),
        own_route("POST", f"{one}/unblock", _acting(fleet.unblock), _MANAGE, "Let it in again.", answers=state),
        own_route(
            "POST",
            f"{one}/queuedCommands",
            api.queue,
            "commands.run",
            "Leave a command for a device that may be away; of one in its template, the template says so.",
            body=QUEUED_COMMAND,
            answers={201: COMMAND_RUN},
        ),
        own_route("GET", f"{one}/aliases", api.aliases, _DATA, "Aliases of what it sends.", answers={200: ALIASES}),
        own_route(
            "PUT",
            alias,
            api.put_alias,
            _MANAGE,
            "Name a part of what it sends.",
            body=ALIAS_DRAFT,
            answers={200: ALIAS},
        ),
        own_route("DELETE", alias, api.delete_alias, _MANAGE, "Forget a name.", answers={204: None}),
        own_route("GET", f"{one}/files", api.files, _DATA, "Files that it uploaded.", answers={200: page_schema(FILE)}),
        own_route(
            "DELETE", f"{one}/files", api.delete_file, _MANAGE, "Delete one of them.", query=named, answers={204: None}
        ),
        own_route(
            "DELETE", f"{one}/manifest", api.unassign, _MANAGE, "Say that it has no manifest.", answers={204: None}
        ),
        own_route(
            "GET",
            "/settings/autoApprove",
            api.auto_approve,
            "certificates.view",
            "Whether a device that registers by itself comes in at once.",
            answers={200: AUTO_APPROVE},
        ),
        own_route(
            "PUT",
            "/settings/autoApprove",
            api.set_auto_approve,
            "certificates.manage",
            "Say whether it does.",
            body=AUTO_APPROVE,
            answers={200: AUTO_APPROVE},
        ),
    ]


def _acting(act: Callable[[Actor, DeviceId], Awaitable[Device]]) -> ActorHandler:
    async def handle(call: ActorCall) -> Response:
        return json_response(_state_json(await act(call.actor, _device_id(call))))

    return handle


class _Devices:
    def __init__(self, services: OwnServices) -> None:
        self._services = services
        self._fleet = services.fleet
        self._uploads = services.uploads

    async def queue(self, call: ActorCall) -> Response:
        body = await call.members("command", "component", "module", "request")
        module = get_text(body, "module")
        run = await self._services.commands.run(
            call.actor,
            _device_id(call),
            need_text(body, "command"),
            body.get("request"),
            component=get_text(body, "component") or "",
            module=parse_module_id(module) if module else None,
            is_queued=True,
        )
        return json_response(command_json(run), 201)

    # -- aliases -------------------------------------------------------------------------------------------------------

    async def aliases(self, call: ActorCall) -> Response:
        found = self._services.aliases.of_device(call.actor, _device_id(call))
        return json_response({"value": [_alias_json(each) for each in found]})

    async def put_alias(self, call: ActorCall) -> Response:
        name, body = parse_alias(call.path["alias"]), await call.members("alias", "path")
        device_id = _device_id(call)
        await self._services.aliases.put(call.actor, device_id, name, need_text(body, "path"))
        found = self._services.aliases.of_device(call.actor, device_id)
        return json_response(next(_alias_json(each) for each in found if each.alias == name))

    async def delete_alias(self, call: ActorCall) -> Response:
        await self._services.aliases.delete(call.actor, _device_id(call), call.path["alias"])
        return no_content()

    # -- files ---------------------------------------------------------------------------------------------------------

    async def files(self, call: ActorCall) -> Response:
        own = self._files(call)

        async def behind(limit: int, after: str) -> list[StoredFile]:
            return await own.list(after, limit)

        return await page(
            call,
            behind,
            lambda file: file.name,
            lambda file: {
                "name": file.name,
                "size": file.size,
                "modified": format_time(file.modified),
            },
        )

    async def delete_file(self, call: ActorCall) -> Response:
        await self._files(call).delete(call.query.get("name", ""), by=call.actor.name)
        return no_content()

    def _files(self, call: ActorCall) -> DeviceFiles:
        record = self._fleet.get(call.actor, _device_id(call)).record
        return DeviceFiles(self._uploads, record.device_id, record.created)

    # -- the rest ------------------------------------------------------------------------------------------------------

    async def unassign(self, call: ActorCall) -> Response:
        await self._services.automation.giving.unassign(call.actor, _device_id(call))
        return no_content()

    async def auto_approve(self, _call: ActorCall) -> Response:
        return json_response({"enabled": self._fleet.auto_approve()})

    async def set_auto_approve(self, call: ActorCall) -> Response:
        body = await call.members("enabled")
        wanted = get_boolean(body, "enabled", "enabled", default=None)
        if wanted is None:
            raise Invalid("body.member", "enabled is missing")
        await self._fleet.set_auto_approve(call.actor, wanted)
        return json_response({"enabled": wanted})


def _device_id(call: ActorCall) -> DeviceId:
    return parse_device_id(call.path["id"])


def _state_json(device: Device) -> dict[str, Any]:
    record = device.record
    return {"id": record.device_id, "displayName": record.display_name, "state": device.state, "etag": record.etag}


def _alias_json(alias: Alias) -> dict[str, str]:
    return {"alias": alias.alias, "path": encode_path(alias.path)}

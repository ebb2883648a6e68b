"""Relationships over REST: which devices are below which gateway (contract/central.md 22.2, 4.5).

A device has one gateway at most, so a relationship is told by the device below: that is its id, whatever a caller
proposed (`id` is read-only in the published description).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from moorage.api.calls import ActorCall, no_content, page, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_devices import RELATIONSHIP, RELATIONSHIP_DRAFT
from moorage.dialects.members import check_members, get_text
from moorage.errors import Invalid, NotFound
from moorage.fleet.gateways import gateway_of
from moorage.ids import DeviceId, parse_device_id

__all__ = ["relationship_routes"]

_MEMBERS: Final = ("id", "source", "target")


def relationship_routes(services: CentralServices) -> list[Route]:
    api, all_ = _Relationships(services), "/devices/{id}/relationships"
    one = all_ + "/{relationship}"
    shown, draft = RELATIONSHIP, RELATIONSHIP_DRAFT
    return [
        central_route("GET", all_, api.list, "devices.view", "What is below it.", answers={200: page_schema(shown)}),
        central_route("GET", one, api.get, "devices.view", "One of these.", answers={200: shown}),
        central_route("PUT", one, api.put, "devices.manage", "Attach a device.", body=draft, answers={200: shown}),
        central_route("PATCH", one, api.patch, "devices.manage", "Attach another.", body=draft, answers={200: shown}),
        central_route("DELETE", one, api.delete, "devices.manage", "Detach it.", answers={204: None}),
    ]


class _Relationships:
    def __init__(self, services: CentralServices) -> None:
        self._gateways = services.gateways
        self._fleet = services.fleet

    async def list(self, call: ActorCall) -> Response:
        gateway = self._gateway(call)

        async def list_after(limit: int, after: str) -> list[DeviceId]:
            below = await self._gateways.downstream(call.actor, gateway, after=after)
            return [record.device_id for record in below][:limit]

        return await page(call, list_after, str, lambda device_id: _json(gateway, device_id))

    async def get(self, call: ActorCall) -> Response:
        return json_response(_json(self._gateway(call), self._below(call)))

    async def put(self, call: ActorCall) -> Response:
        gateway, body = self._gateway(call), await call.json_object()
        target = _target(gateway, body)
        if target is None:
            raise Invalid("body.member", "target is missing: the id of the device below")
        await self._gateways.attach(call.actor, target, gateway)
        return json_response(_json(gateway, target))

    async def patch(self, call: ActorCall) -> Response:
        gateway, present = self._gateway(call), self._below(call)
        target = _target(gateway, await call.json_object()) or present
        if target != present:
            await self._gateways.attach(call.actor, target, gateway)
            await self._gateways.attach(call.actor, present, None)
        return json_response(_json(gateway, target))

    async def delete(self, call: ActorCall) -> Response:
        await self._gateways.attach(call.actor, self._below(call), None)
        return no_content()

    def _gateway(self, call: ActorCall) -> DeviceId:
        """Raises `NotFound` (`device.unknown`)."""
        return self._fleet.get(call.actor, parse_device_id(call.path["id"])).record.device_id

    def _below(self, call: ActorCall) -> DeviceId:
        """Raises `NotFound` (`device.unknown`, `relationship.unknown`)."""
        gateway = self._gateway(call)
        device = self._fleet.get(call.actor, parse_device_id(call.path["relationship"]))
        if gateway_of(device.identity) != gateway:
            raise NotFound("relationship.unknown", f"'{device.record.device_id}' is not below '{gateway}'")
        return device.record.device_id


def _target(gateway: DeviceId, body: Mapping[str, Any]) -> DeviceId | None:
    """Raises `Invalid` (`body.member`, `body.id`, `id.device`)."""
    check_members(body, _MEMBERS)
    source, target = get_text(body, "source"), get_text(body, "target")
    if source is not None and source != gateway:
        raise Invalid("body.id", f"source in the body is {source[:140]!r}, the path says {gateway!r}")
    return None if target is None else parse_device_id(target)


def _json(gateway: DeviceId, device_id: DeviceId) -> dict[str, str]:
    return {"id": device_id, "source": gateway, "target": device_id}

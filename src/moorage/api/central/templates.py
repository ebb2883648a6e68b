"""Device templates and device groups over REST (contract/central.md 7.2, 11, 22.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from moorage.accounts.model import OrganizationId, Permission
from moorage.api.calls import (
    ActorCall,
    continuation,
    etag_in,
    no_content,
    page_answer,
    page_of,
    page_parts,
    page_schema,
    page_size,
)
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import MAX_BODY_BYTES, Route
from moorage.api.schemas.central_devices import DEVICE
from moorage.api.schemas.central_templates import DEVICE_GROUP, DEVICE_GROUP_CHANGE, TEMPLATE, TEMPLATE_CHANGE
from moorage.dialects.central_device_groups import DEVICE_GROUP_MEMBERS, device_group_json, parse_device_group
from moorage.dialects.central_devices import device_json
from moorage.dialects.json_text import encode_json
from moorage.dialects.merge_patch import merge_patch
from moorage.dialects.template_json import TEMPLATE_MEMBERS, parse_template, template_json
from moorage.errors import NotFound
from moorage.fleet.groups import DeviceGroupId, GroupDraft, parse_group_id
from moorage.fleet.template_model import Content, Template, parse_template_id
from moorage.ids import ETag

__all__ = ["group_routes", "template_routes"]


def template_routes(services: CentralServices) -> list[Route]:
    api, one = _Templates(services), "/deviceTemplates/{id}"
    view: Permission = "templates.view"
    manage: Permission = "templates.manage"
    most = MAX_BODY_BYTES
    return [
        central_route(
            "GET",
            "/deviceTemplates",
            api.list,
            view,
            "Templates that are published.",
            answers={200: page_schema(TEMPLATE)},
        ),
        central_route("GET", one, api.get, view, "One published template.", answers={200: TEMPLATE}),
        central_route(
            "PUT",
            one,
            api.put,
            manage,
            "Publish a template; of one that devices have, nothing may break.",
            body=TEMPLATE,
            answers={200: TEMPLATE},
            max_body_bytes=most,
        ),
        central_route(
            "PATCH",
            one,
            api.patch,
            manage,
            "Change its cloud properties and how it is shown.",
            body=TEMPLATE_CHANGE,
            answers={200: TEMPLATE},
            max_body_bytes=most,
        ),
        central_route("DELETE", one, api.delete, manage, "Delete one that no device has.", answers={204: None}),
    ]


class _Templates:
    def __init__(self, services: CentralServices) -> None:
        self._templates = services.templates

    async def list(self, call: ActorCall) -> Response:
        """DT-10: drafts are nobody's business."""
        after, limit = continuation(call), page_size(call)
        published = sorted(each.template_id for each in await self._templates.list() if each.is_published)
        wanted = [template_id for template_id in published if template_id > after]
        parts: list[bytes] = []
        for template_id in wanted[:limit]:
            template = self._templates.find(template_id)
            # One that was deleted meanwhile is not there.
            if template is not None:
                parts.append(await asyncio.to_thread(_encoded, template))
        return page_parts(call, parts, wanted[limit - 1] if len(wanted) > limit else None)

    async def get(self, call: ActorCall) -> Response:
        return await _answer(self._published(call))

    async def put(self, call: ActorCall) -> Response:
        template_id, body = parse_template_id(call.path["id"]), await call.members(*TEMPLATE_MEMBERS)
        content = await self._parsed(lambda: body, template_id)
        held = etag_in(call, body)
        return await _answer(await self._templates.put_published(call.actor, template_id, content, if_match=held))

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*TEMPLATE_MEMBERS)
        present = self._published(call)
        content = await self._parsed(lambda: merge_patch(template_json(present), body), present.template_id)
        # What was read just now is what is changed.
        held = etag_in(call, body) or present.etag
        changed = await self._templates.put_published(
            call.actor, present.template_id, content, if_match=held, cosmetic_only=True
        )
        return await _answer(changed)

    async def delete(self, call: ActorCall) -> Response:
        template_id = self._published(call).template_id
        await self._templates.delete(call.actor, template_id, if_match=etag_in(call, {}))
        return no_content()

    async def _parsed(self, body: Callable[[], dict[str, Any]], template_id: str) -> Content:
        # A large model takes longer than the loop may wait.
        return await asyncio.to_thread(lambda: parse_template(body(), template_id, self._templates.models))

    def _published(self, call: ActorCall) -> Template:
        template = self._templates.get(parse_template_id(call.path["id"]))
        if not template.is_published:
            raise NotFound("template.unknown", f"there is no published template {template.template_id!r}")
        return template


async def _answer(template: Template) -> Response:
    return encoded_response(await asyncio.to_thread(_encoded, template))


def _encoded(template: Template) -> bytes:
    return encode_json(template_json(template))


# -- device groups -------------------------------------------------------------------------------------------------


def group_routes(services: CentralServices) -> list[Route]:
    api, one = _DeviceGroups(services), "/deviceGroups/{id}"
    view: Permission = "groups.view"
    manage: Permission = "groups.manage"
    shown, change = DEVICE_GROUP, DEVICE_GROUP_CHANGE
    return [
        central_route("GET", "/deviceGroups", api.list, view, "Device groups.", answers={200: page_schema(shown)}),
        central_route("GET", one, api.get, view, "One device group.", answers={200: shown}),
        central_route("PUT", one, api.put, manage, "Create or replace one.", body=change, answers={200: shown}),
        central_route("PATCH", one, api.patch, manage, "Change one.", body=change, answers={200: shown}),
        central_route("DELETE", one, api.delete, manage, "Delete one; its devices stay.", answers={204: None}),
        central_route(
            "GET", one + "/devices", api.devices, view, "Who belongs to it now.", answers={200: page_schema(DEVICE)}
        ),
    ]


class _DeviceGroups:
    def __init__(self, services: CentralServices) -> None:
        self._groups = services.groups

    async def list(self, call: ActorCall) -> Response:
        groups = sorted(await self._groups.list(call.actor), key=lambda group: group.group_id)
        return await page_of(call, groups, lambda group: group.group_id, device_group_json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(device_group_json(self._groups.get(call.actor, _group_id(call))))

    async def put(self, call: ActorCall) -> Response:
        group_id, body = _group_id(call), await call.members(*DEVICE_GROUP_MEMBERS)
        draft = parse_device_group(group_id, body, default=self._place_of(call, group_id))
        return await self._put(call, group_id, draft, etag_in(call, body))

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*DEVICE_GROUP_MEMBERS)
        present = self._groups.get(call.actor, _group_id(call))
        merged = merge_patch(device_group_json(present), body)
        root = OrganizationId("")
        draft = parse_device_group(present.group_id, merged, default=root)
        # What was read just now is what is changed.
        return await self._put(call, present.group_id, draft, etag_in(call, body) or present.etag)

    async def delete(self, call: ActorCall) -> Response:
        await self._groups.delete(call.actor, _group_id(call), if_match=etag_in(call, {}))
        return no_content()

    async def devices(self, call: ActorCall) -> Response:
        members = await self._groups.members(call.actor, _group_id(call), page_size(call), continuation(call))
        return await page_answer(call, members.devices, device_json, members.after or None)

    async def _put(self, call: ActorCall, group_id: DeviceGroupId, draft: GroupDraft, held: ETag | None) -> Response:
        return json_response(device_group_json(await self._groups.put(call.actor, group_id, draft, if_match=held)))

    def _place_of(self, call: ActorCall, group_id: DeviceGroupId) -> OrganizationId:
        """Where the group is; a new one belongs where its maker does."""
        try:
            return self._groups.get(call.actor, group_id).organization
        except NotFound:
            return call.actor.organization


def _group_id(call: ActorCall) -> DeviceGroupId:
    return parse_group_id(call.path["id"])

"""What is done to a device from its page: shut out and let in, desired properties, commands, deleting."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from moorage.dialects.json_text import parse_json
from moorage.errors import Invalid, Refusal
from moorage.hub.methods import MethodCall
from moorage.hub.twins import TwinChange, twin_etag
from moorage.identities.registry import IdentityDraft
from moorage.ids import IdentityName, parse_device_id, parse_etag
from moorage.web.pages import Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["act_pages"]

# A person waits, so no longer than the product's own page does (contract/central.md W-6).
_PATIENCE_S: Final = 30


def act_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Acts(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one + "/properties", pages.properties, "devices.view"),
        Page("POST", one + "/properties", pages.set_desired, "devices.manage"),
        Page("POST", one + "/command", pages.command, "devices.manage"),
        Page("POST", one + "/block", pages.block, "devices.manage"),
        Page("POST", one + "/unblock", pages.unblock, "devices.manage"),
        Page("POST", one + "/delete", pages.delete, "devices.manage"),
    ]


class _Acts:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    async def properties(self, visit: Visit) -> Response:
        return await self._page(visit, _name(visit))

    async def set_desired(self, visit: Visit) -> Response:
        """A JSON merge patch (RFC 7386): what is named changes, null takes it away."""
        name, fields = _name(visit), await visit.form()
        text = fields.get("patch", "")
        try:
            patch = _object(text, "the patch")
            await self._services.twins.patch(
                self._services.hub, name, TwinChange(desired=patch), if_match=parse_etag(fields.get("etag"))
            )
        except Refusal as refusal:
            return await self._page(visit, name, patch=text, problem=refusal, status=HTTPStatus.BAD_REQUEST)
        return RedirectResponse(f"{_path(name)}/properties", HTTPStatus.SEE_OTHER)

    async def command(self, visit: Visit) -> Response:
        name, fields = _name(visit), await visit.form()
        method, text = fields.get("method", "").strip(), fields.get("payload", "")
        values: dict[str, Any] = {"method": method, "payload": text}
        try:
            payload = parse_json(text.encode(), what="the payload") if text.strip() else None
            reply = await self._services.methods.invoke(
                self._services.hub, name, MethodCall(method, payload, response_timeout_s=_PATIENCE_S)
            )
        except Refusal as refusal:
            return await self._page(visit, name, **values, told=refusal, status=HTTPStatus.BAD_REQUEST)
        return await self._page(
            visit, name, **values, answer=(reply.status, await asyncio.to_thread(_pretty, reply.payload))
        )

    async def block(self, visit: Visit) -> Response:
        who = visit.user.login if visit.user else ""
        draft = IdentityDraft(_name(visit), status="disabled", status_reason=f"blocked by {who}")
        return await self._update(visit, draft)

    async def unblock(self, visit: Visit) -> Response:
        return await self._update(visit, IdentityDraft(_name(visit), status="enabled"))

    async def delete(self, visit: Visit) -> Response:
        await self._services.registry.delete(self._services.hub, _name(visit), by=visit.by)
        return RedirectResponse("/devices", HTTPStatus.SEE_OTHER)

    async def _update(self, visit: Visit, draft: IdentityDraft) -> Response:
        services = self._services
        await services.registry.update(services.hub, draft, services.clock.now(), by=visit.by)
        return RedirectResponse(_path(draft.name), HTTPStatus.SEE_OTHER)

    async def _page(
        self,
        visit: Visit,
        name: IdentityName,
        *,
        patch: str = "",
        problem: Refusal | None = None,
        method: str = "",
        payload: str = "",
        told: Refusal | None = None,
        answer: tuple[int, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        services = self._services
        identity = services.registry.get(services.hub, name)
        twin = services.twins.get(services.hub, name)
        # Some ten milliseconds for a twin as large as one may be.
        desired, reported, tags = await asyncio.to_thread(
            lambda: [_pretty(value) for value in (twin.desired.value, twin.reported.value, twin.tags)]
        )
        return await self._renderer.long_page(
            visit,
            "devices/properties.html",
            status,
            identity=identity,
            presence=services.presence.of(services.hub, name),
            desired=desired,
            desired_version=twin.desired.version,
            reported=reported,
            reported_version=twin.reported.version,
            tags=tags,
            model_id=twin.model_id,
            etag=twin_etag(twin),
            patch=patch,
            problem=problem,
            method=method,
            payload=payload,
            told=told,
            answer=answer,
            tab="properties",
        )


def _name(visit: Visit) -> IdentityName:
    return IdentityName(parse_device_id(visit.path["device_id"]))


def _path(name: IdentityName) -> str:
    return f"/devices/{segment(name.device_id)}"


def _object(text: str, what: str) -> dict[str, Any]:
    value = parse_json(text.encode(), what=what)
    if not isinstance(value, dict):
        raise Invalid("json.not_object", f"{what} has to be a JSON object")
    return value


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=dict)

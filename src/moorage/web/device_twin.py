"""The twin of a device, raw: what is desired, reported and tagged, and patches of what is desired (DEV-5)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.dialects.json_text import parse_object
from moorage.errors import Refusal
from moorage.hub.twins import twin_etag
from moorage.ids import parse_etag
from moorage.web.device_form_code import property_acts
from moorage.web.device_page import DevicePage, device_of, path_of
from moorage.web.forms import about
from moorage.web.pages import Page, Visit, etag_for
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.values import json_text

__all__ = ["twin_pages"]

# A twin's section has at most 32 KiB; indented, some times more.
_MAX_SECTION: Final = 256 * 1024


def twin_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _TwinPages(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one + "/properties", pages.properties, "devices.view"),
        Page("POST", one + "/properties", pages.set_desired, "devices.manage", keeps=True),
    ]


class _TwinPages:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def properties(self, visit: Visit) -> Response:
        return await self._twin(visit)

    async def set_desired(self, visit: Visit) -> Response:
        """A JSON merge patch (RFC 7386): what is named changes, null takes it away."""
        fields = await visit.form()
        text = fields.get("patch", "")
        self._page.find(visit)
        try:
            visit.check_in_time()
            with about("patch"):
                patch = parse_object(text.encode(), what="the patch")
                await self._services.properties.patch(
                    visit.actor, device_of(visit), patch, if_match=parse_etag(fields.get("etag"))
                )
        except Refusal as refusal:
            return await self._twin(visit, fields, problem=refusal, status=HTTPStatus.BAD_REQUEST)
        return RedirectResponse(f"{path_of(device_of(visit))}/properties", HTTPStatus.SEE_OTHER)

    async def _twin(
        self,
        visit: Visit,
        fields: Mapping[str, str] = {},
        *,
        problem: Refusal | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        model = self._page.find(visit)
        twin = self._page.twin(model)
        # Some ten milliseconds for a twin as large as one may be.
        desired, reported, tags = await asyncio.to_thread(
            lambda: [
                json_text(each, most=_MAX_SECTION) for each in (twin.desired.value, twin.reported.value, twin.tags)
            ]
        )
        return await self._page.page(
            visit,
            model,
            "device/twin.html",
            tab="properties",
            status=status,
            desired=desired,
            desired_version=twin.desired.version,
            reported=reported,
            reported_version=twin.reported.version,
            tags=tags,
            model_id=twin.model_id,
            etag=etag_for(fields, problem, twin_etag(twin)),
            patch=fields.get("patch", ""),
            as_code=property_acts(self._services.info(), model) if visit.may("devices.manage") else [],
            problem=problem,
        )

"""Mapped aliases of a device: simple names for places in what it sends (contract/central.md MAP-1 to MAP-4)."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import RedirectResponse, Response

from moorage.errors import NotFound, Refusal
from moorage.fleet.aliases import encode_path
from moorage.web.device_form_code import alias_acts
from moorage.web.device_page import DevicePage, device_of, path_of
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["alias_pages"]


def alias_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Aliases(services, renderer)
    one = "/devices/{device_id}/aliases"
    return [
        Page("GET", one, pages.aliases, "data.view"),
        Page("POST", one, pages.put_alias, "devices.manage", keeps=True),
        Page("POST", one + "/delete", pages.delete_alias, "devices.manage"),
    ]


class _Aliases:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def aliases(self, visit: Visit) -> Response:
        return await self._aliases(visit, visit.query.get("alias", ""), visit.query.get("path", ""))

    async def put_alias(self, visit: Visit) -> Response:
        fields = await visit.form()
        alias, path = fields.get("alias", ""), fields.get("path", "")
        try:
            visit.check_in_time()
            await self._services.aliases.put(visit.actor, device_of(visit), alias, path)
        except Refusal as refusal:
            status = HTTPStatus.NOT_FOUND if isinstance(refusal, NotFound) else HTTPStatus.BAD_REQUEST
            return await self._aliases(visit, alias, path, refusal, status)
        return RedirectResponse(path_of(device_of(visit)) + "/aliases", HTTPStatus.SEE_OTHER)

    async def delete_alias(self, visit: Visit) -> Response:
        fields = await visit.form()
        await self._services.aliases.delete(visit.actor, device_of(visit), fields.get("alias", ""))
        return RedirectResponse(path_of(device_of(visit)) + "/aliases", HTTPStatus.SEE_OTHER)

    async def _aliases(
        self,
        visit: Visit,
        alias: str,
        path: str,
        problem: Refusal | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        model = self._page.find(visit)
        found = self._services.aliases.of_device(visit.actor, device_of(visit))
        return await self._page.page(
            visit,
            model,
            "device/aliases.html",
            tab="aliases",
            status=status,
            aliases=[(each.alias, encode_path(each.path)) for each in found],
            alias=alias,
            path=path,
            as_code=alias_acts(self._services.info(), device_of(visit), alias, path, [each.alias for each in found])
            if visit.may("devices.manage")
            else [],
            problem=problem,
        )

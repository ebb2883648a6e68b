"""What is done to a device from its page: name and organisation, template, shut out and let in (DEV-4, DEV-5)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from moorage.errors import NotFound, PreconditionFailed, Refusal
from moorage.fleet.model import DeviceChange, TemplateId
from moorage.ids import parse_etag
from moorage.web.device_form_code import manage_acts, migrate_acts
from moorage.web.device_page import DevicePage, device_of, path_of
from moorage.web.pages import Page, Visit, etag_for
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["act_pages"]

_FIELDS: Final = ("display_name", "organization", "etag")


def act_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Acts(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one + "/manage", pages.manage, "devices.manage"),
        Page("POST", one + "/manage", pages.change, "devices.manage", keeps=True),
        Page("GET", one + "/migrate", pages.template, "devices.manage"),
        Page("POST", one + "/migrate", pages.migrate, "devices.manage", keeps=True),
        Page("POST", one + "/approve", pages.approve, "devices.manage"),
        Page("POST", one + "/block", pages.block, "devices.manage"),
        Page("POST", one + "/unblock", pages.unblock, "devices.manage"),
        Page("POST", one + "/delete", pages.delete, "devices.delete"),
    ]


class _Acts:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def manage(self, visit: Visit) -> Response:
        record = self._page.find(visit).device.record
        values = dict(zip(_FIELDS, (record.display_name, record.organization, record.etag), strict=True))
        return await self._manage(visit, values)

    async def change(self, visit: Visit) -> Response:
        fields = await visit.form()
        values = {name: fields.get(name, "") for name in _FIELDS}
        device_id = device_of(visit)
        record = self._page.find(visit).device.record
        try:
            visit.check_in_time()
            organization = record.organization
            if "organization" in fields:
                organization = self._services.organizations.choose(visit.actor, values["organization"])
            change = DeviceChange(display_name=values["display_name"], organization=organization)
            await self._services.fleet.update(visit.actor, device_id, change, if_match=parse_etag(values["etag"]))
        except Refusal as refusal:
            # After a stale one, sent once more it replaces what the page now shows.
            values["etag"] = etag_for(values, refusal, self._page.find(visit).device.record.etag)
            return await self._manage(visit, values, refusal)
        return RedirectResponse(path_of(device_id), HTTPStatus.SEE_OTHER)

    async def _manage(self, visit: Visit, values: Mapping[str, str], problem: Refusal | None = None) -> Response:
        model, name = self._page.find(visit), values["display_name"]
        return await self._page.page(
            visit,
            model,
            "device/manage.html",
            tab="manage",
            status=_status(problem),
            values=values,
            choices=self._services.organizations.seen_by(visit.actor),
            as_code=manage_acts(self._services.info(), model.device.record, name, values["organization"]),
            problem=problem,
        )

    async def template(self, visit: Visit) -> Response:
        return await self._template(visit, self._page.find(visit).device.record.template)

    async def migrate(self, visit: Visit) -> Response:
        fields = await visit.form()
        device_id, chosen = device_of(visit), TemplateId(fields.get("template", ""))
        try:
            visit.check_in_time()
            await self._services.fleet.migrate(visit.actor, device_id, chosen)
        except Refusal as refusal:
            return await self._template(visit, chosen, refusal)
        return RedirectResponse(path_of(device_id), HTTPStatus.SEE_OTHER)

    async def _template(self, visit: Visit, chosen: TemplateId, problem: Refusal | None = None) -> Response:
        model = self._page.find(visit)
        summaries = await self._services.templates.list()
        templates = [(each.template_id, each.display_name) for each in summaries if each.is_published]
        example = chosen or next((template_id for template_id, _ in templates), chosen)
        return await self._page.page(
            visit,
            model,
            "device/migrate.html",
            tab="migrate",
            status=_status(problem),
            templates=templates,
            chosen=chosen,
            announced=self._page.twin(model).model_id,
            as_code=migrate_acts(self._services.info(), model.device.record, example),
            problem=problem,
        )

    async def approve(self, visit: Visit) -> Response:
        await self._services.fleet.approve(visit.actor, device_of(visit))
        return self._back(visit)

    async def block(self, visit: Visit) -> Response:
        await self._services.fleet.block(visit.actor, device_of(visit))
        return self._back(visit)

    async def unblock(self, visit: Visit) -> Response:
        await self._services.fleet.unblock(visit.actor, device_of(visit))
        return self._back(visit)

    async def delete(self, visit: Visit) -> Response:
        """A device that is gone already is gone: what was asked for."""
        told = {}
        try:
            deleted = await self._services.fleet.delete(visit.actor, device_of(visit))
            if deleted.group:
                # The list says that it comes back by itself (ST-17).
                told = {"deleted": deleted.record.display_name, "of": deleted.group}
        except NotFound as refusal:
            if refusal.reason != "device.unknown":
                raise
        return RedirectResponse(f"/devices?{urlencode(told)}".rstrip("?"), HTTPStatus.SEE_OTHER)

    def _back(self, visit: Visit) -> Response:
        return RedirectResponse(path_of(device_of(visit)), HTTPStatus.SEE_OTHER)


def _status(problem: Refusal | None) -> HTTPStatus:
    if problem is None:
        return HTTPStatus.OK
    return HTTPStatus.PRECONDITION_FAILED if isinstance(problem, PreconditionFailed) else HTTPStatus.BAD_REQUEST

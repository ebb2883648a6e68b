"""Gateways on the page of a device: what stands below an Edge device, and below which one it stands (DEV-2, DEV-5)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import RedirectResponse, Response

from moorage.errors import NotFound, Refusal
from moorage.fleet.gateways import MAX_LISTED, gateway_of
from moorage.ids import DeviceId, IdentityName, parse_device_id
from moorage.web.device_form_code import downstream_acts, gateway_acts
from moorage.web.device_page import STATE_LABELS, DevicePage, device_of, path_of
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["gateway_pages"]


def gateway_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Gateways(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one + "/downstream", pages.downstream, "devices.view"),
        Page("POST", one + "/downstream", pages.attach_here, "devices.manage", keeps=True),
        Page("GET", one + "/gateway", pages.gateway, "devices.manage"),
        Page("POST", one + "/gateway", pages.attach, "devices.manage", keeps=True),
    ]


class _Gateways:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def downstream(self, visit: Visit) -> Response:
        return await self._downstream(visit)

    async def attach_here(self, visit: Visit) -> Response:
        """`child` is put below this device, or with `detach` below none."""
        fields, above = await visit.form(), device_of(visit)
        self._page.find(visit)
        child = fields.get("child", "").strip()
        try:
            visit.check_in_time()
            await self._services.gateways.attach(
                visit.actor, parse_device_id(child), None if fields.get("detach") == "1" else above
            )
        except Refusal as refusal:
            return await self._downstream(visit, child=child, problem=refusal)
        return RedirectResponse(path_of(above) + "/downstream", HTTPStatus.SEE_OTHER)

    async def _downstream(self, visit: Visit, *, child: str = "", problem: Refusal | None = None) -> Response:
        model = self._page.find(visit)
        after = visit.query.get("after", "")[:128]
        records = await self._services.gateways.downstream(visit.actor, device_of(visit), after=after)
        presences = self._services.presence
        rows = [
            (record, presences.is_connected(record.hub, IdentityName(record.device_id)), STATE_LABELS[record.state])
            for record in records
        ]
        below = [record.device_id for record in records]
        return await self._page.page(
            visit,
            model,
            "device/downstream.html",
            tab="downstream",
            status=_status(problem),
            rows=rows,
            is_first=not after,
            next=records[-1].device_id if len(records) == MAX_LISTED else "",
            child=child,
            as_code=downstream_acts(self._services.info(), device_of(visit), child, below)
            if visit.may("devices.manage")
            else [],
            problem=problem,
        )

    async def gateway(self, visit: Visit) -> Response:
        above = gateway_of(self._page.find(visit).device.identity)
        return await self._gateway(visit, above or "")

    async def attach(self, visit: Visit) -> Response:
        fields, device_id = await visit.form(), device_of(visit)
        self._page.find(visit)
        typed = fields.get("gateway", "").strip()
        try:
            visit.check_in_time()
            above: DeviceId | None = parse_device_id(typed) if typed else None
            await self._services.gateways.attach(visit.actor, device_id, above)
        except Refusal as refusal:
            return await self._gateway(visit, typed, problem=refusal)
        return RedirectResponse(path_of(device_id), HTTPStatus.SEE_OTHER)

    async def _gateway(self, visit: Visit, typed: str, **values: Any) -> Response:
        problem = values.get("problem")
        model = self._page.find(visit)
        above = gateway_of(model.device.identity) or ""
        return await self._page.page(
            visit,
            model,
            "device/gateway.html",
            tab="gateway",
            status=_status(problem),
            typed=typed,
            as_code=gateway_acts(self._services.info(), device_of(visit), typed, above),
            problem=problem,
        )


def _status(problem: Refusal | None) -> HTTPStatus:
    if problem is None:
        return HTTPStatus.OK
    return HTTPStatus.NOT_FOUND if isinstance(problem, NotFound) else HTTPStatus.BAD_REQUEST

"""Bulk work: acts on many devices, import and export, and the *Device operations* panel (NAV-21, LST-3 to LST-6)."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response, StreamingResponse

from moorage.dialects.device_csv import MAX_BYTES, csv_text, exported_text, read_items
from moorage.errors import Invalid, NotFound, Refusal, TooLarge
from moorage.fleet.bulk import act_of, in_batches
from moorage.fleet.export import tell_of_export
from moorage.fleet.model import DeviceFilter, TemplateId
from moorage.fleet.operation_model import BulkAct, Item, Operation
from moorage.fleet.operations import these
from moorage.ids import parse_device_id
from moorage.web.device_list import DeviceQuery
from moorage.web.fleet_code import bulk_acts, filter_of, import_act, stop_act
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["device_work_pages"]

# What is done so soon is seen on the page that the form leads to.
_PATIENCE_S: Final = 1.0
_PANEL: Final = 8
# The field that says what an act takes.
_TO: Final = {"migrate": "to_template", "organization": "to_organization", "attach": "to_gateway"}


def device_work_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _DeviceWork(services, renderer)
    one = "/device-operations/{operation_id}"
    return [
        Page("POST", "/device-operations", pages.start, "devices.manage"),
        Page("GET", "/device-operations", pages.all, "devices.view"),
        Page("GET", "/device-operations/code", pages.code, "devices.manage"),
        Page("GET", "/device-operations/panel", pages.panel, "devices.view"),
        Page("POST", one + "/stop", pages.stop, "devices.view"),
        Page("GET", one + "/errors.csv", pages.errors, "devices.view"),
        Page("GET", "/device-import", pages.import_form, "devices.manage"),
        Page("POST", "/device-import", pages.import_file, "devices.manage", keeps=True),
        Page("GET", "/device-export", pages.export, "devices.manage"),
    ]


class _DeviceWork:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._fleet = services.fleet
        self._operations = services.operations
        self._renderer = renderer

    # -- acts ----------------------------------------------------------------------------------------------------------

    async def start(self, visit: Visit) -> Response:
        """Raises `Invalid` (`operations.act`, `operations.none`), `Forbidden`, `NotFound`, `Exhausted`."""
        fields, chosen = await visit.form(), await visit.values("device")
        query = DeviceQuery.of(fields)
        if not fields.get("act"):
            # Enter, in a browser without scripts.
            return RedirectResponse(f"/devices?{urlencode(query.fields())}".rstrip("?"), HTTPStatus.SEE_OTHER)
        word = fields["act"]
        to = fields.get(_TO.get(word, ""), "")
        title, act = act_of(self._fleet, self._services.organizations, visit.actor, word, to)
        if "every" in fields:
            batches = in_batches(self._operations.matching(visit.actor, query.wanted(self._services)))
        else:
            batches = these(Item(parse_device_id(each)) for each in dict.fromkeys(chosen))
        operation = await self._operations.start(visit.actor, title, act, batches)
        operation = await self._operations.wait(operation, _PATIENCE_S)
        if operation.state == "done" and not operation.failed:
            return RedirectResponse(f"/devices?{urlencode(query.fields())}".rstrip("?"), HTTPStatus.SEE_OTHER)
        return RedirectResponse("/device-operations", HTTPStatus.SEE_OTHER)

    async def code(self, visit: Visit) -> Response:
        """What the buttons below the list do, for the devices that its filter finds."""
        first = await self._fleet.list(visit.actor, DeviceFilter(), 1)
        device_id = first[0].record.device_id if first else "my-device-01"
        templates, nodes = self._fleet.templates(), self._services.organizations.seen_by(visit.actor)
        acts = bulk_acts(
            self._services.info(),
            visit.actor,
            filter_of(DeviceQuery.of(visit.query)),
            device_id,
            template=templates[0][0] if templates else "dtmi:com:example:Thermostat;1",
            organization=nodes[0][1].organization_id if nodes else "line-1",
        )
        return await self._renderer.long_page(visit, "devices/code.html", acts=acts)

    # -- the panel -----------------------------------------------------------------------------------------------------

    async def all(self, visit: Visit) -> Response:
        return await self._shown(visit, "devices/operations.html", await self._operations.of(visit.actor))

    async def panel(self, visit: Visit) -> Response:
        return await self._shown(visit, "devices/operations_panel.html", await self._operations.of(visit.actor, _PANEL))

    async def stop(self, visit: Visit) -> Response:
        """Raises `NotFound` (`operations.unknown`)."""
        await self._operations.stop(visit.actor, visit.path["operation_id"])
        return RedirectResponse("/device-operations", HTTPStatus.SEE_OTHER)

    async def errors(self, visit: Visit) -> Response:
        """The error log of one operation, a row for each item that failed. Raises `NotFound`."""
        operation_id = visit.path["operation_id"]
        errors = await self._operations.errors(visit.actor, operation_id)
        text = await asyncio.to_thread(csv_text, (("item", "reason", "message"), *errors))
        return _file(text, f"errors-{operation_id}.csv")

    async def _shown(self, visit: Visit, template: str, operations: list[Operation]) -> Response:
        running = sum(not each.is_over for each in operations)
        acts = [stop_act(self._services.info())]
        return await self._renderer.long_page(visit, template, operations=operations, running=running, acts=acts)

    # -- import --------------------------------------------------------------------------------------------------------

    async def import_form(self, visit: Visit) -> Response:
        return await self._import_page(visit, {})

    async def import_file(self, visit: Visit) -> Response:
        """What cannot be read is told before anything is done. Raises `Exhausted` (`operations.too_many`)."""
        visit.form_limit = MAX_BYTES
        fields = await visit.form()
        sent = await visit.file("file")
        try:
            visit.check_in_time()
            template = TemplateId(fields.get("template", ""))
            organization = self._services.organizations.choose(
                visit.actor, fields.get("organization", visit.actor.organization)
            )
            if sent is None:
                raise Invalid("csv.missing", "choose a file to import")
        except (Invalid, NotFound) as refusal:
            return await self._import_page(visit, fields, refusal)
        try:
            operation = await self._operations.start(
                visit.actor, "Import", BulkAct("import", template, organization), read_items(sent)
            )
        except (Invalid, TooLarge) as refusal:
            return await self._import_page(visit, fields, refusal)
        operation = await self._operations.wait(operation, _PATIENCE_S)
        there = "/devices" if operation.state == "done" and not operation.failed else "/device-operations"
        return RedirectResponse(there, HTTPStatus.SEE_OTHER)

    async def _import_page(self, visit: Visit, fields: dict[str, str], problem: Refusal | None = None) -> Response:
        services = self._services
        return await self._renderer.long_page(
            visit,
            "devices/import.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            fields=fields,
            problem=problem,
            templates=services.fleet.templates(),
            organizations=services.organizations.seen_by(visit.actor),
            most_mb=MAX_BYTES // (1024 * 1024),
            acts=[import_act(services.info(), fields.get("template", ""), fields.get("organization", ""))],
        )

    # -- export --------------------------------------------------------------------------------------------------------

    async def export(self, visit: Visit) -> Response:
        wanted = DeviceQuery.of(visit.query).wanted(self._services)
        tell_of_export(visit.actor, self._services.hub, await self._fleet.count(visit.actor, wanted))
        rows = exported_text(self._operations, self._services.hub, visit.actor, wanted)
        headers = {"content-disposition": 'attachment; filename="devices.csv"'}
        return StreamingResponse(rows, media_type="text/csv; charset=utf-8", headers=headers)


def _file(text: str, name: str) -> Response:
    return Response(
        text, media_type="text/csv; charset=utf-8", headers={"content-disposition": f'attachment; filename="{name}"'}
    )

"""Bulk work: acts on many devices, import and export, and the *Device operations* panel (NAV-21, LST-3 to LST-6)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response, StreamingResponse

from moorage.accounts.model import Actor, OrganizationId
from moorage.dialects.device_csv import (
    ErrorRow,
    ExportedDevice,
    ImportedDevice,
    csv_text,
    export_header,
    export_rows,
    read_devices,
)
from moorage.errors import Forbidden, Invalid, NotFound, Refusal, TooLarge
from moorage.fleet.export import exported_in, tell_of_export
from moorage.fleet.gateways import attach_in
from moorage.fleet.model import DeviceChange, DeviceDraft, FleetTables, TemplateId
from moorage.fleet.operations import BATCH, Operation, Step, these
from moorage.fleet.service import Done, seen_in
from moorage.ids import DeviceId, parse_device_id
from moorage.web.device_list import DeviceQuery
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["MAX_IMPORT_BYTES", "device_work_pages"]

MAX_IMPORT_BYTES: Final = 16 * 1024 * 1024
# What is done so soon is seen on the page that the form leads to.
_PATIENCE_S: Final = 1.0
_PANEL: Final = 8


def device_work_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _DeviceWork(services, renderer)
    one = "/device-operations/{operation_id}"
    return [
        Page("POST", "/device-operations", pages.start, "devices.manage"),
        Page("GET", "/device-operations", pages.all, "devices.view"),
        Page("GET", "/device-operations/panel", pages.panel, "devices.view"),
        Page("POST", one + "/stop", pages.stop, "devices.view"),
        Page("GET", one + "/errors.csv", pages.errors, "devices.view"),
        Page("GET", "/device-import", pages.import_form, "devices.manage"),
        Page("POST", "/device-import", pages.import_file, "devices.manage"),
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
        title, step = self._act(visit, fields)
        if "every" in fields:
            wanted = query.wanted(self._services)
            total = await self._fleet.count(visit.actor, wanted)
            batches: AsyncIterator[Sequence[Any]] = self._operations.matching(visit.actor, wanted)
        else:
            devices = [parse_device_id(each) for each in dict.fromkeys(chosen)]
            total, batches = len(devices), these(devices)
        if not total:
            raise Invalid("operations.none", "no device is selected")
        operation = self._operations.start(visit.actor, f"{title}: {_counted(total)}", batches, step, total=total)
        await self._operations.wait(operation, _PATIENCE_S)
        if operation.is_over and not operation.failed:
            return RedirectResponse(f"/devices?{urlencode(query.fields())}".rstrip("?"), HTTPStatus.SEE_OTHER)
        return RedirectResponse("/device-operations", HTTPStatus.SEE_OTHER)

    def _act(self, visit: Visit, fields: dict[str, str]) -> tuple[str, Step]:
        fleet, actor, act = self._fleet, visit.actor, fields.get("act", "")

        def change(**values: Any) -> Step:
            wanted = DeviceChange(**values)
            return lambda tables, device_id, now: fleet.change_in(tables, actor, device_id, wanted, now)

        match act:
            case "approve":
                return "Approve", lambda tables, device_id, now: fleet.approve_in(tables, actor, device_id, now)
            case "block":
                return "Block", lambda tables, device_id, now: fleet.block_in(tables, actor, device_id, now)
            case "unblock":
                return "Unblock", lambda tables, device_id, now: fleet.unblock_in(tables, actor, device_id, now)
            case "migrate":
                template = TemplateId(fields.get("to_template", ""))
                label = dict(fleet.templates()).get(template, template) or "Unassigned"
                return f"Migrate to {label}", change(template=template)
            case "organization":
                organization = self._services.organizations.choose(actor, fields.get("to_organization", ""))
                label = fleet.organization_name(organization) or "the whole application"
                return f"Move to {label}", change(organization=organization)
            case "attach" | "detach":
                gateway = parse_device_id(fields.get("to_gateway", "").strip()) if act == "attach" else None
                if gateway is not None:
                    fleet.get(actor, gateway)
                return f"Attach to {gateway}" if gateway else "Detach", self._attaching(actor, gateway)
            case "delete":
                if not visit.may("devices.delete"):
                    raise Forbidden("page.permission", "your role has no permission devices.delete, which this takes")
                return "Delete", lambda tables, device_id, now: fleet.delete_in(tables, actor, device_id, now)[1]
            case _:
                raise Invalid("operations.act", f"{act[:40]!r} is nothing that is done to devices here")

    def _attaching(self, actor: Actor, gateway: DeviceId | None) -> Step:
        hub = self._services.hub

        def step(tables: FleetTables, device_id: DeviceId, now: datetime) -> Done:
            attach_in(tables, hub, actor, device_id, gateway, now)
            return Done("device.attached", seen_in(tables, hub, actor, device_id), {"gateway": gateway or "(none)"})

        return step

    # -- the panel -----------------------------------------------------------------------------------------------------

    async def all(self, visit: Visit) -> Response:
        return await self._shown(visit, "devices/operations.html", self._operations.of(visit.actor))

    async def panel(self, visit: Visit) -> Response:
        return await self._shown(visit, "devices/operations_panel.html", self._operations.of(visit.actor)[:_PANEL])

    async def stop(self, visit: Visit) -> Response:
        """Raises `NotFound` (`operations.unknown`)."""
        self._operations.stop(visit.actor, visit.path["operation_id"])
        return RedirectResponse("/device-operations", HTTPStatus.SEE_OTHER)

    async def errors(self, visit: Visit) -> Response:
        """The error log of one operation, a row for each item that failed. Raises `NotFound`."""
        operation = self._operations.get(visit.actor, visit.path["operation_id"])
        errors = tuple(operation.errors)
        text = await asyncio.to_thread(csv_text, (("item", "reason", "message"), *errors))
        return _file(text, f"errors-{operation.operation_id}.csv")

    async def _shown(self, visit: Visit, template: str, operations: list[Operation]) -> Response:
        running = sum(not each.is_over for each in operations)
        return await self._renderer.long_page(visit, template, operations=operations, running=running)

    # -- import --------------------------------------------------------------------------------------------------------

    async def import_form(self, visit: Visit) -> Response:
        return await self._import_page(visit, {})

    async def import_file(self, visit: Visit) -> Response:
        """Raises `Exhausted` (`operations.too_many`)."""
        visit.form_limit = MAX_IMPORT_BYTES
        fields = await visit.form()
        sent = await visit.file("file")
        try:
            template = TemplateId(fields.get("template", ""))
            organization = self._services.organizations.choose(
                visit.actor, fields.get("organization", visit.actor.organization)
            )
            if sent is None:
                raise Invalid("csv.missing", "choose a file to import")
        except (Invalid, NotFound) as refusal:
            return await self._import_page(visit, fields, refusal)
        with ExitStack() as undo:
            file = undo.enter_context(tempfile.TemporaryFile())
            await asyncio.to_thread(shutil.copyfileobj, sent, file)
            try:
                total = await asyncio.to_thread(_check, file)
            except (Invalid, TooLarge) as refusal:
                return await self._import_page(visit, fields, refusal)
            operation = self._operations.start(
                visit.actor,
                f"Import: {_counted(total)}",
                _batches(read_devices(file)),
                self._import_step(visit.actor, template, organization),
                total=total,
                name=_line_of,
                on_end=file.close,
            )
            undo.pop_all()
        await self._operations.wait(operation, _PATIENCE_S)
        there = "/devices" if operation.is_over and not operation.failed else "/device-operations"
        return RedirectResponse(there, HTTPStatus.SEE_OTHER)

    def _import_step(self, actor: Actor, template: TemplateId, organization: OrganizationId) -> Step:
        def step(tables: FleetTables, row: ImportedDevice | ErrorRow, now: datetime) -> Done:
            if isinstance(row, ErrorRow):
                raise row.refusal
            draft = DeviceDraft(row.device_id, row.display_name, template, organization)
            return self._fleet.create_in(tables, actor, draft, now)

        return step

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
            most_mb=MAX_IMPORT_BYTES // (1024 * 1024),
        )

    # -- export --------------------------------------------------------------------------------------------------------

    async def export(self, visit: Visit) -> Response:
        wanted = DeviceQuery.of(visit.query).wanted(self._services)
        tell_of_export(visit.actor, self._services.hub, await self._fleet.count(visit.actor, wanted))

        async def rows() -> AsyncIterator[str]:
            yield export_header()
            async for batch in self._operations.matching(visit.actor, wanted):
                yield await self._exported(batch)

        headers = {"content-disposition": 'attachment; filename="devices.csv"'}
        return StreamingResponse(rows(), media_type="text/csv; charset=utf-8", headers=headers)

    async def _exported(self, device_ids: Sequence[DeviceId]) -> str:
        services = self._services

        def work(tables: FleetTables) -> str:
            return export_rows(
                ExportedDevice(record, keys, thumbprints)
                for record, keys, thumbprints in exported_in(tables, services.hub, device_ids)
            )

        return await self._operations.scan(work)


def _check(file: Any) -> int:
    """How many rows the file has; it can be read again from its beginning. Raises as `read_devices`."""
    file.seek(0)
    rows = read_devices(file)
    total = sum(1 for _ in rows)
    file.seek(0)
    return total


async def _batches(rows: Iterator[Any]) -> AsyncIterator[Sequence[Any]]:
    while batch := await asyncio.to_thread(lambda: list(islice(rows, BATCH))):
        yield batch


def _line_of(row: ImportedDevice | ErrorRow) -> str:
    return f"line {row.line}" + (f", {row.device_id}" if isinstance(row, ImportedDevice) else "")


def _counted(devices: int) -> str:
    return "1 device" if devices == 1 else f"{devices:,} devices"


def _file(text: str, name: str) -> Response:
    return Response(
        text, media_type="text/csv; charset=utf-8", headers={"content-disposition": f'attachment; filename="{name}"'}
    )

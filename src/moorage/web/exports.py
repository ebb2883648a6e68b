"""Data export: exports and destinations, how they do, and the exact body that would go out, before it is saved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.automation.export_runner import ExportHealth, Status
from moorage.automation.exports import (
    MAX_DESTINATIONS,
    SYSTEM_VALUES,
    DataExport,
    Destination,
)
from moorage.errors import Conflict, PreconditionFailed, Refusal
from moorage.fleet.model import TemplateId
from moorage.hub.router import Outgoing
from moorage.ids import ETag
from moorage.web.automation_code import destination_acts, export_acts
from moorage.web.automation_forms import capability_names, new_id, numbers_of
from moorage.web.code import Act
from moorage.web.export_form import (
    ENRICHMENT_TYPED,
    FILTER_TYPED,
    KIND_WORDS,
    MAX_ROWS,
    SOURCE_WORDS,
    destination_fields,
    destination_of,
    export_fields,
    export_of,
)
from moorage.web.pages import TOLD, Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.rule_form import OPERATOR_WORDS
from moorage.web.services import WebServices

__all__ = ["export_pages"]

# The worst of several destinations is what an export is shown as.
_WORST: Final[tuple[Status, ...]] = ("error", "starting", "waiting", "healthy", "off")


def export_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Exports(services, renderer)
    one, to = "/exports/{export_id}", "/exports/destinations/{destination_id}"
    return [
        Page("GET", "/exports", pages.all, "exports.view"),
        Page("GET", "/exports/new", pages.new, "exports.manage"),
        Page("POST", "/exports", pages.create, "exports.manage", keeps=True),
        Page("GET", "/exports/destinations/new", pages.new_destination, "exports.manage"),
        Page("POST", "/exports/destinations", pages.create_destination, "exports.manage", keeps=True),
        Page("GET", to, pages.destination, "exports.view"),
        Page("POST", to, pages.save_destination, "exports.manage", keeps=True),
        Page("POST", to + "/delete", pages.delete_destination, "exports.manage"),
        Page("GET", one, pages.show, "exports.view"),
        Page("POST", one, pages.save, "exports.manage", keeps=True),
        Page("GET", one + "/health", pages.health, "exports.view"),
        Page("POST", one + "/switch", pages.switch, "exports.manage"),
        Page("POST", one + "/delete", pages.delete, "exports.manage"),
    ]


class _Exports:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._exports = services.automation.exports
        self._runner = services.automation.export_runner
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        destinations = self._exports.destinations(visit.actor)
        names = {each.destination_id: each.display_name for each in destinations}
        exports = self._exports.all(visit.actor)
        used = {use.destination_id for export in exports for use in export.destinations}
        return await self._renderer.long_page(
            visit,
            "exports/list.html",
            exports=[(export, self._status(export)) for export in exports],
            destinations=[(each, each.destination_id in used) for each in destinations],
            names=names,
            sources=SOURCE_WORDS,
            kinds=KIND_WORDS,
        )

    # -- exports -------------------------------------------------------------------------------------------------------

    async def new(self, visit: Visit) -> Response:
        fields = {
            "id": new_id("export"),
            "organization": visit.default_organization,
            "source": "telemetry",
            "enabled": "on",
            "use0": visit.query.get("destination", ""),
        }
        return await self._editor(visit, fields, None)

    async def create(self, visit: Visit) -> Response:
        return await self._act(visit, await visit.form(), None)

    async def show(self, visit: Visit) -> Response:
        export = self._exports.get(visit.actor, visit.path["export_id"])
        return await self._editor(visit, export_fields(export), export)

    async def save(self, visit: Visit) -> Response:
        fields = await visit.form()
        return await self._act(visit, fields, self._exports.get(visit.actor, visit.path["export_id"]))

    async def health(self, visit: Visit) -> Response:
        """A part of the page, which asks for it now and then."""
        export = self._exports.get(visit.actor, visit.path["export_id"])
        return self._renderer.page(visit, "exports/health.html", export=export, health=self._health(visit, export))

    async def switch(self, visit: Visit) -> Response:
        fields = await visit.form()
        export = await self._exports.switch(visit.actor, visit.path["export_id"], is_enabled="enabled" in fields)
        return _to(export)

    async def delete(self, visit: Visit) -> Response:
        await self._exports.delete(visit.actor, visit.path["export_id"])
        return RedirectResponse("/exports", HTTPStatus.SEE_OTHER)

    async def _act(self, visit: Visit, fields: dict[str, str], export: DataExport | None) -> Response:
        """What the button that was pressed asks for: more rows, a sample, or to save."""
        act = fields.get("act", "save")
        if act == "more":
            return await self._editor(visit, fields, export)
        try:
            visit.check_in_time()
            wanted = export_of(fields, self._services.hub, self._services.clock.now())
            if act == "sample":
                return await self._sample(visit, fields, export, wanted)
            if export is not None:
                return _to(await self._exports.update(visit.actor, wanted, if_match=ETag(fields.get("etag", ""))))
            return _to(await self._create(visit, wanted))
        except TOLD as refusal:
            if isinstance(refusal, PreconditionFailed) and export is not None:
                # What was typed stays; the next Save is a decision.
                fields = {**fields, "etag": export.etag}
            return await self._editor(visit, fields, export, refusal)

    async def _create(self, visit: Visit, wanted: DataExport) -> DataExport:
        try:
            return await self._exports.create(visit.actor, wanted)
        except Conflict as refusal:
            if refusal.reason != "export.exists":
                raise
            # The same form, sent twice.
            present = self._exports.get(visit.actor, wanted.export_id)
            if present != replace(wanted, created=present.created, switched=present.switched):
                raise
            return present

    async def _sample(
        self, visit: Visit, fields: dict[str, str], export: DataExport | None, wanted: DataExport
    ) -> Response:
        found = [
            (destination.display_name, "" if sample is None else await asyncio.to_thread(_pretty, sample))
            for destination, sample in await self._services.automation.samples(visit.actor, wanted)
        ]
        return await self._editor(visit, fields, export, samples=found)

    def _status(self, export: DataExport) -> Status:
        if not export.is_enabled:
            return "off"
        found = [self._runner.health(export.export_id, use.destination_id).status for use in export.destinations]
        return min(found, key=_WORST.index, default="off")

    def _health(self, visit: Visit, export: DataExport) -> list[tuple[str, ExportHealth]]:
        names = {each.destination_id: each.display_name for each in self._exports.destinations(visit.actor)}
        return [
            (
                names.get(use.destination_id, use.destination_id),
                self._runner.health(export.export_id, use.destination_id),
            )
            for use in export.destinations
        ]

    async def _editor(
        self,
        visit: Visit,
        fields: Mapping[str, str],
        export: DataExport | None,
        problem: Refusal | None = None,
        *,
        samples: list[tuple[str, str]] | None = None,
    ) -> Response:
        template = fields.get("template", "")
        interface = self._services.templates.interface_of(TemplateId(template)) if template else None
        more = 1 if fields.get("act") != "more" else 2
        return await self._renderer.long_page(
            visit,
            "exports/edit.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            export=export,
            fields=fields,
            filters=_shown(fields, FILTER_TYPED, more, MAX_ROWS),
            enrichments=_shown(fields, ENRICHMENT_TYPED, more, MAX_ROWS),
            uses=_shown(fields, ("use", "utemplate"), more - 1 or (0 if fields.get("use0") else 1), MAX_DESTINATIONS),
            sources=SOURCE_WORDS,
            operators=OPERATOR_WORDS,
            system_values=SYSTEM_VALUES,
            names=capability_names(interface),
            destinations=self._exports.destinations(visit.actor),
            templates=[each for each in await self._services.templates.list() if each.is_published],
            nodes=self._services.organizations.seen_by(visit.actor),
            health=[] if export is None else self._health(visit, export),
            samples=samples,
            may_change=visit.may("exports.manage"),
            acts=await asyncio.to_thread(self._export_acts, visit, fields, export),
            problem=problem,
        )

    def _export_acts(self, visit: Visit, fields: Mapping[str, str], export: DataExport | None) -> list[Act]:
        """Of what was typed, as far as it can be read."""
        if not visit.may("exports.manage"):
            return []
        typed = {**fields, "name": fields.get("name") or "New export"}
        if not any(name.startswith("use") and value for name, value in fields.items()):
            known = self._exports.destinations(visit.actor)
            typed["use0"] = known[0].destination_id if known else "my-destination"
        try:
            wanted = export_of(typed, self._services.hub, self._services.clock.now())
        except TOLD:
            # The form tells what is wrong with it.
            return []
        return export_acts(self._services.info(), wanted, is_new=export is None)

    # -- destinations --------------------------------------------------------------------------------------------------

    async def new_destination(self, visit: Visit) -> Response:
        fields = {"id": new_id("destination"), "organization": visit.default_organization, "kind": "webhook"}
        return self._destination_page(visit, fields, None)

    async def create_destination(self, visit: Visit) -> Response:
        return await self._save_destination(visit, await visit.form(), None)

    async def destination(self, visit: Visit) -> Response:
        found = self._exports.get_destination(visit.actor, visit.path["destination_id"])
        return self._destination_page(visit, destination_fields(found), found)

    async def save_destination(self, visit: Visit) -> Response:
        fields = await visit.form()
        present = self._exports.get_destination(visit.actor, visit.path["destination_id"])
        return await self._save_destination(visit, fields, present)

    async def delete_destination(self, visit: Visit) -> Response:
        present = self._exports.get_destination(visit.actor, visit.path["destination_id"])
        try:
            await self._exports.delete_destination(visit.actor, present.destination_id)
        except Conflict as refusal:
            return self._destination_page(visit, destination_fields(present), present, refusal)
        return RedirectResponse("/exports", HTTPStatus.SEE_OTHER)

    async def _save_destination(self, visit: Visit, fields: dict[str, str], present: Destination | None) -> Response:
        try:
            visit.check_in_time()
            wanted = destination_of(fields, self._services.hub, self._services.clock.now(), present)
            if fields.get("act") == "test":
                return await self._try_destination(visit, fields, present, wanted)
            if present is None:
                await self._add_destination(visit, wanted)
            else:
                await self._exports.update_destination(visit.actor, wanted, if_match=ETag(fields.get("etag", "")))
        except TOLD as refusal:
            if isinstance(refusal, PreconditionFailed) and present is not None:
                fields = {**fields, "etag": present.etag}
            if refusal.field in ("header", "every"):
                refusal.field = f"option_{refusal.field}"
            return self._destination_page(visit, fields, present, refusal)
        return RedirectResponse("/exports", HTTPStatus.SEE_OTHER)

    async def _add_destination(self, visit: Visit, wanted: Destination) -> None:
        try:
            await self._exports.create_destination(visit.actor, wanted)
        except Conflict as refusal:
            # The same form, sent twice.
            if refusal.reason != "export.exists":
                raise
            present = self._exports.get_destination(visit.actor, wanted.destination_id)
            if present != replace(wanted, created=present.created):
                raise

    async def _try_destination(
        self, visit: Visit, fields: dict[str, str], present: Destination | None, wanted: Destination
    ) -> Response:
        """Send one body there, at once."""
        try:
            await self._services.automation.test_destination(visit.actor, wanted, self._services.clock.now())
        except Refusal as refusal:
            return self._destination_page(visit, fields, present, refusal)
        return self._destination_page(visit, fields, present, sent=True)

    def _destination_page(
        self,
        visit: Visit,
        fields: Mapping[str, str],
        present: Destination | None,
        problem: Refusal | None = None,
        *,
        sent: bool = False,
    ) -> Response:
        return self._renderer.page(
            visit,
            "exports/destination.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            destination=present,
            fields=fields,
            kinds=KIND_WORDS,
            reach=self._services.reach,
            nodes=self._services.organizations.seen_by(visit.actor),
            has_credential=present is not None and bool(present.credential.reveal()),
            sent=sent,
            may_change=visit.may("exports.manage"),
            acts=self._destination_acts(visit, fields, present),
            problem=problem,
        )

    def _destination_acts(self, visit: Visit, fields: Mapping[str, str], present: Destination | None) -> list[Act]:
        if not visit.may("exports.manage"):
            return []
        typed = {**fields, "name": fields.get("name") or "New destination"}
        try:
            wanted = destination_of(typed, self._services.hub, self._services.clock.now(), present)
        except TOLD:
            return []
        return destination_acts(self._services.info(), wanted, is_new=present is None)


def _pretty(sample: Outgoing) -> str:
    document = sample.body if sample.body is not None else sample.document
    return json.dumps(json.loads(document), indent=2, ensure_ascii=False)


def _shown(fields: Mapping[str, str], typed: Collection[str], more: int, most: int) -> list[int]:
    """Numbers of the rows that a form shows: those with something in them, and some that are empty."""
    filled = numbers_of(fields, typed, most)
    free = [number for number in range(most) if number not in filled]
    return sorted([*filled, *free[: more if filled else max(1, more)]])


def _to(export: DataExport) -> Response:
    return RedirectResponse(f"/exports/{segment(export.export_id)}", HTTPStatus.SEE_OTHER)

"""Commands of a device: a card for each of its model, one for any other, and what became of them (DEV-7, TPL-10)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import Actor
from moorage.dialects.json_text import parse_json
from moorage.dtdl.model import Command
from moorage.errors import NotFound, Refusal
from moorage.fleet.commands import CommandRun, describe_outcome, outcome_of, progress_of
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.views import Subject, View
from moorage.hub.digital_twins import command_method
from moorage.hub.model import Twin
from moorage.ids import ModuleId, parse_module_id
from moorage.web.device_form_code import any_command_acts
from moorage.web.device_page import DevicePage, device_of, new_run_id, path_of, view_tab
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.schema_forms import inputs_of, parse_inputs
from moorage.web.services import WebServices
from moorage.web.tiles import CommandCard, RunRow
from moorage.web.values import json_text

__all__ = ["command_cards", "command_pages"]

_REQUEST: Final = "request"
# Of one card; the page of all commands has the others.
_RUNS_OF_CARD: Final = 5
_MAX_JSON: Final = 4 * 1024
_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")
# A person waits, so no longer than the product's own page does (contract/central.md W-6).
_PATIENCE_S: Final = 30


def command_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Commands(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one + "/command", pages.show, "devices.view"),
        Page("POST", one + "/command", pages.run_untyped, "commands.run", keeps=True),
        Page("POST", one + "/commands", pages.run, "commands.run", keeps=True),
    ]


class _Commands:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer
        self._page = DevicePage(services, renderer)

    async def show(self, visit: Visit) -> Response:
        """Any command, and the history of all; with `run`, how that one went."""
        return await self._all(visit, self._page.find(visit))

    async def run(self, visit: Visit) -> Response:
        """One of the model. The card comes back to the page that has it, or leads to the page of all commands."""
        model, fields = self._page.find(visit), await visit.form()
        component, name = fields.get("component", ""), fields.get("name", "")
        command = None if model.interface is None else model.interface.find_command(name, component)
        if command is None:
            raise NotFound("command.unknown", f"the template has no command {name[:80]!r} there any more")
        errors: Mapping[str, str] = {}
        problem: Refusal | None = None
        run: CommandRun | None = None
        request = None
        if command.request is not None:
            parsed = parse_inputs(_REQUEST, command.request.schema, fields)
            request, errors = parsed.value, parsed.errors
        if not errors:
            try:
                visit.check_in_time()
                run = await self._run(visit, name, request, component=component, run_id=fields.get("run_id", ""))
            except Refusal as refusal:
                problem = refusal
        if run is not None and not visit.is_fragment:
            return self._to_run(model, run)
        runs = await self._services.commands.runs(visit.actor, device_of(visit))
        rows = await asyncio.to_thread(_rows, self._services, runs, self._page.twin(model))
        card = _card(component, command, rows, {} if run else fields, errors)
        status = HTTPStatus.OK if run is not None or visit.is_fragment else HTTPStatus.BAD_REQUEST
        if visit.is_fragment:
            return await self._renderer.long_page(
                visit,
                "device/command_card.html",
                status,
                card=card,
                here=path_of(model.device.record.device_id),
                problem=problem,
                may_run=True,
                new_id=new_run_id,
            )
        return await self._all(visit, model, status=status, card=card, problem=problem)

    async def run_untyped(self, visit: Visit) -> Response:
        model, fields = self._page.find(visit), await visit.form()
        method, text = fields.get("method", "").strip(), fields.get("payload", "")
        try:
            visit.check_in_time()
            payload = parse_json(text.encode(), what="the payload") if text.strip() else None
            component, _, name = method.rpartition("*")
            module = fields.get("module", "").strip()
            run = await self._run(
                visit,
                name if component else method,
                payload,
                component=component,
                run_id=fields.get("run_id", ""),
                is_queued=fields.get("queue") == "on",
                module=parse_module_id(module) if module else None,
            )
        except Refusal as refusal:
            return await self._all(visit, model, status=HTTPStatus.BAD_REQUEST, typed=fields, told=refusal)
        return self._to_run(model, run)

    async def _run(
        self,
        visit: Visit,
        name: str,
        request: Any,
        *,
        component: str,
        run_id: str,
        is_queued: bool = False,
        module: ModuleId | None = None,
    ) -> CommandRun:
        return await self._services.commands.run(
            visit.actor,
            device_of(visit),
            name,
            request,
            component=component,
            module=module,
            is_queued=is_queued,
            response_timeout_s=_PATIENCE_S,
            run_id=run_id if _RUN_ID.fullmatch(run_id) else None,
        )

    def _to_run(self, model: DeviceModel, run: CommandRun) -> Response:
        path = path_of(model.device.record.device_id)
        return RedirectResponse(f"{path}/command?run={run.run_id}", HTTPStatus.SEE_OTHER)

    async def _all(
        self,
        visit: Visit,
        model: DeviceModel,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        card: CommandCard | None = None,
        problem: Refusal | None = None,
        typed: Mapping[str, str] | None = None,
        told: Refusal | None = None,
    ) -> Response:
        services, typed = self._services, typed or {}
        device_id = model.device.record.device_id
        runs = await services.commands.runs(visit.actor, device_id)
        rows = await asyncio.to_thread(_rows, services, runs, self._page.twin(model))
        wanted = visit.query.get("run", "")
        return await self._page.page(
            visit,
            model,
            "device/command.html",
            tab="command" if model.content is None else view_tab("commands"),
            status=status,
            card=card,
            problem=problem,
            told=told,
            method=typed.get("method", ""),
            payload=typed.get("payload", ""),
            module=typed.get("module", ""),
            is_queued=typed.get("queue") == "on",
            result=next((row for row in rows if row.run.run_id == wanted), None),
            history=rows,
            may_run=visit.may("commands.run"),
            as_code=any_command_acts(
                services.info(), device_id, typed.get("method", "").strip(), _payload(typed), typed.get("module", "")
            )
            if visit.may("commands.run")
            else [],
        )


def _payload(typed: Mapping[str, str]) -> Any:
    """None also for what cannot be read."""
    text = typed.get("payload", "")
    try:
        return parse_json(text.encode(), what="the payload") if text.strip() else None
    except Refusal:
        return None


async def command_cards(
    services: WebServices, actor: Actor, model: DeviceModel, view: View, twin: Twin
) -> dict[Subject, CommandCard]:
    """A card for each command of the view that the model has."""
    subjects = [subject for tile in view.tiles if tile.kind == "command" for subject in tile.subjects]
    interface = model.interface
    if interface is None or not subjects:
        return {}
    found = {subject: interface.find_command(subject.name, subject.component) for subject in subjects}
    runs = await services.commands.runs(actor, model.device.record.device_id)
    rows = await asyncio.to_thread(_rows, services, runs, twin)
    return {
        subject: _card(subject.component, command, rows, {}, {})
        for subject, command in found.items()
        if command is not None
    }


def _card(
    component: str, command: Command, rows: Sequence[RunRow], typed: Mapping[str, str], errors: Mapping[str, str]
) -> CommandCard:
    request = command.request
    inputs = (
        []
        if request is None
        else inputs_of(
            _REQUEST,
            request.display_name or request.name,
            request.schema,
            typed,
            value=request.initial_value,
        )
    )
    own = [
        row
        for row in rows
        if (row.run.component, row.run.command, row.run.name.module_id) == (component, command.name, None)
    ]
    return CommandCard(
        component=component,
        name=command.name,
        label=command.label,
        description=command.description,
        method=command_method(command.name, component or None),
        is_durable=command.is_durable,
        inputs=inputs,
        errors=errors,
        history=own[:_RUNS_OF_CARD],
    )


def _rows(services: WebServices, runs: Sequence[CommandRun], twin: Twin) -> list[RunRow]:
    now = services.clock.now()
    rows = []
    # Only the last run of a command can be the one that was reported of since.
    reported: set[tuple[str, str]] = set()
    for run in runs:
        key = (run.component, run.command)
        progress = None if key in reported or run.name.module_id else progress_of(run, twin)
        reported.add(key)
        rows.append(
            RunRow(
                run,
                outcome_of(run, now=now),
                describe_outcome(run, now=now),
                "" if run.request is None else json_text(run.request, most=_MAX_JSON),
                "" if run.status is None or run.response is None else json_text(run.response, most=_MAX_JSON),
                progress,
                "" if progress is None else json_text(progress.value, most=_MAX_JSON),
            )
        )
    return rows

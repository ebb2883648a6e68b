"""Auto-create template: a model guessed from what a device has sent, corrected by people, and assigned (TPL-13)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from moorage.dialects.bag import decode_bag
from moorage.dialects.capability_forms import SCHEMA_CHOICES
from moorage.dialects.json_text import encode_json, parse_json
from moorage.dtdl.members import parse_dtmi
from moorage.dtdl.schemas import PRIMITIVES, VECTORS
from moorage.errors import Invalid, Refusal
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.guessing import MAX_GUESSES, Guess, Guesses, GuessKind, guess, model_of
from moorage.fleet.template_model import Content, make_content
from moorage.hub.telemetry_log import StoredMessage
from moorage.web.code import Act
from moorage.web.device_page import DevicePage, path_of
from moorage.web.device_templates import TOLD, model_id_for
from moorage.web.pages import Page, Visit
from moorage.web.recent import RecentMessages
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.template_code import guess_acts

__all__ = ["guess_pages"]

_LOOKED_AT: Final = 100
_LOOKED_BACK: Final = timedelta(days=7)
_SHOWN: Final = 60
_KINDS: Final[dict[GuessKind, str]] = {
    "telemetry": "Telemetry",
    "property": "Property",
    "writable": "Writable property",
}
_SIMPLE: Final = tuple(each for each in SCHEMA_CHOICES if each in PRIMITIVES or each in VECTORS)


def guess_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Guessing(services, renderer)
    return [
        Page("GET", "/devices/{device_id}/auto-create", pages.preview, "templates.manage"),
        Page("POST", "/devices/{device_id}/auto-create", pages.create, "templates.manage", keeps=True),
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the preview. `schema` is a name, or the JSON of what is more than that."""

    name: str
    kind: str
    label: str
    schema: str
    sample: str = ""


class _Guessing:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)
        self._renderer = renderer
        self._recent = RecentMessages(services.log, services.series)

    async def preview(self, visit: Visit) -> Response:
        """Data preview: what was seen, and what it is taken for."""
        model = self._page.find(visit)
        guesses = await self._guess(model)
        record = model.device.record
        fields = {"name": record.display_name, "model": self._model_id(model)}
        return await self._show(visit, model, [_row(each) for each in guesses.found], fields, guesses.left_out)

    async def create(self, visit: Visit) -> Response:
        """The template, published; with the permission for it, the device has it at once."""
        fields = await visit.form()
        model = self._page.find(visit)
        rows = [row for number in range(MAX_GUESSES) if (row := _typed(fields, number)) is not None]
        try:
            visit.check_in_time()
            content = await asyncio.to_thread(_content, rows, fields)
            if model.content == content:
                # The form was sent twice.
                return RedirectResponse(path_of(model.device.record.device_id), HTTPStatus.SEE_OTHER)
            template = await self._services.templates.create_draft(visit.actor, content)
            template = await self._services.templates.publish(visit.actor, template.template_id)
        except TOLD as refusal:
            return await self._show(visit, model, rows, fields, (), refusal)
        device_id = model.device.record.device_id
        if visit.may("devices.manage"):
            await self._services.fleet.migrate(visit.actor, device_id, template.template_id)
        return RedirectResponse(path_of(device_id), HTTPStatus.SEE_OTHER)

    async def _guess(self, model: DeviceModel) -> Guesses:
        since = self._services.clock.now() - _LOOKED_BACK
        recent = await self._recent.find(model.device.record.device_id, since, None, _LOOKED_AT)
        twin = self._page.twin(model)

        def work() -> Guesses:
            bodies = [body for message in recent.messages if (body := _body(message)) is not None]
            return guess(bodies, twin.reported.value, twin.desired.value)

        return await asyncio.to_thread(work)

    def _model_id(self, model: DeviceModel) -> str:
        """What the device announces, else one made from its name."""
        announced = self._page.twin(model).model_id
        return announced or model_id_for(model.device.record.display_name)

    async def _show(
        self,
        visit: Visit,
        model: DeviceModel,
        rows: list[Row],
        fields: Mapping[str, str],
        left_out: Any,
        problem: Refusal | None = None,
    ) -> Response:
        device_id, info = model.device.record.device_id, self._services.info()
        acts: list[Act] = []
        if rows:
            try:
                is_given = visit.may("devices.manage")
                acts = await asyncio.to_thread(
                    lambda: guess_acts(info, device_id, _content(rows, fields), is_given=is_given)
                )
            except TOLD:
                # The form says why, once it is sent.
                pass
        return await self._renderer.long_page(
            visit,
            "device_templates/guess.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            record=model.device.record,
            here=path_of(model.device.record.device_id),
            rows=rows,
            fields=fields,
            kinds=_KINDS,
            schemas=_SIMPLE,
            left_out=left_out,
            as_code=acts,
            problem=problem,
        )


def _content(rows: Sequence[Row], fields: Mapping[str, str]) -> Content:
    """The template that the form describes. Raises `Invalid` (`form.nothing`, `template.*`)."""
    model_id = parse_dtmi(fields.get("model", "").strip(), "Model ID")
    wanted = [(kind, row.name, row.label, _schema(row)) for row in rows for kind in _KINDS if row.kind == kind]
    if not wanted:
        raise Invalid("form.nothing", "everything is left out: a template needs at least one capability")
    name = fields.get("name", "")
    return make_content(name, "", model_of(model_id, name.strip(), wanted))


def _body(message: StoredMessage) -> Mapping[str, Any] | None:
    """Of the device's root alone, and only an object."""
    if message.source.module_id is not None or (message.bag and decode_bag(message.bag).system.get("dt-subject")):
        return None
    try:
        body = parse_json(message.body, what="the body")
    except Invalid:
        # Raw data shows it, and says why.
        return None
    return body if isinstance(body, Mapping) else None


def _row(seen: Guess) -> Row:
    schema = seen.schema if isinstance(seen.schema, str) else json.dumps(seen.schema)
    sample = encode_json(seen.sample).decode()
    return Row(seen.name, seen.kind, "", schema, sample if len(sample) <= _SHOWN else f"{sample[:_SHOWN]}…")


def _typed(fields: Mapping[str, str], number: int) -> Row | None:
    name = fields.get(f"name.{number}", "")
    if not name:
        return None
    return Row(
        name,
        fields.get(f"kind.{number}", ""),
        fields.get(f"label.{number}", "").strip(),
        fields.get(f"schema.{number}", ""),
    )


def _schema(row: Row) -> Any:
    return parse_json(row.schema.encode(), what=f"the schema of {row.name}") if row.schema[:1] == "{" else row.schema

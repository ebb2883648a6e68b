"""The model editor: capabilities one by one in forms, or the whole model as JSON, and what a template is called.

Every form saves to the draft. One that cannot be saved comes back as it was typed, with the sentence at its field.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from moorage.dialects.capability_forms import (
    CAPABILITY_KINDS,
    SCHEMA_CHOICES,
    CapabilityKind,
    capability_fields,
    capability_json,
    kind_of,
)
from moorage.dialects.json_text import parse_json, parse_object
from moorage.dtdl.problems import InvalidModel
from moorage.dtdl.quantities import UNITS
from moorage.errors import NotFound, Refusal
from moorage.fleet.model_editing import find_capability, find_interface, put_capability, remove_capability
from moorage.fleet.module_models import manifest_modules, with_modules
from moorage.fleet.template_model import Content, Template, make_content
from moorage.fleet.templates import TemplateService
from moorage.fleet.views import still_fitting
from moorage.web.device_templates import TOLD, place_in, template_id_of, to_template
from moorage.web.forms import about
from moorage.web.pages import Page, Visit, etag_for
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.template_code import draft_act, draft_acts

__all__ = ["editor_pages", "field_of"]

# What else a telemetry or a property may be, beside what it measures (central.md DTDL-5).
_SEMANTICS: Final = ("State", "Event", "Location", "VelocityVector", "AccelerationVector", *UNITS)
_LABELS: Final[dict[CapabilityKind, str]] = {
    "telemetry": "Telemetry",
    "property": "Property",
    "cloud": "Cloud property",
    "command": "Command",
    "component": "Component",
    "relationship": "Relationship",
}
# Which field of the form a member of the JSON is typed into, where that has another name.
_FIELDS: Final = {"@type": "semantic", "enumValues": "values", "valueSchema": "values", "enumValue": "values"}
_OF_THE_FORM: Final = frozenset(
    ("name", "displayName", "description", "comment", "semantic", "schema", "unit", "displayUnit", "writable")
    + ("minValue", "maxValue", "decimalPlaces", "color", "severity", "initialValue", "durable", "values", "json")
)
_STEPS: Final = re.compile(r"@?[A-Za-z]+")
_COMPLEX: Final = ("fields", "mapKey", "mapValue", "elementSchema")
# What a page shows as code before it knows whose modules are meant.
_A_MANIFEST: Final = {
    "modulesContent": {
        "$edgeAgent": {"properties.desired": {"modules": {"filter": {}}}},
        "filter": {"properties.desired": {"interval": 10}},
    }
}


def editor_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Editor(services, renderer)
    one = "/device-templates/{template_id}"
    return [
        Page("GET", one + "/model", pages.model, "templates.view"),
        Page("POST", one + "/model", pages.save_model, "templates.manage", keeps=True),
        Page("GET", one + "/names", pages.names, "templates.manage"),
        Page("POST", one + "/names", pages.save_names, "templates.manage", keeps=True),
        Page("GET", one + "/modules", pages.modules, "templates.manage"),
        Page("POST", one + "/modules", pages.save_modules, "templates.manage", keeps=True),
        Page("GET", one + "/capability", pages.capability, "templates.manage"),
        Page("POST", one + "/capability", pages.save_capability, "templates.manage", keeps=True),
        Page("POST", one + "/capability/remove", pages.remove, "templates.manage"),
    ]


class _Editor:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._templates: TemplateService = services.templates
        self._renderer = renderer

    # -- the whole model as JSON ---------------------------------------------------------------------------------------

    async def model(self, visit: Visit) -> Response:
        template = await self._get(visit)
        text = await asyncio.to_thread(json.dumps, template.latest.document, indent=2, ensure_ascii=False)
        return await self._model_page(visit, template, text)

    async def save_model(self, visit: Visit) -> Response:
        fields = await visit.form()
        template, text = await self._get(visit), fields.get("text", "")
        try:
            visit.check_in_time()
            with about("text"):
                document = await asyncio.to_thread(parse_json, text.encode("utf-8", "replace"), what="the model")
                made = await self._made(template, document)
            saved = await self._put(visit, template, made, fields)
        except TOLD as refusal:
            return await self._model_page(visit, template, text, refusal, fields)
        return to_template(saved)

    # -- what it is called ---------------------------------------------------------------------------------------------

    async def names(self, visit: Visit) -> Response:
        template = await self._get(visit)
        content = template.latest
        fields = {"name": content.display_name, "description": content.description, "etag": template.etag}
        return await self._names_page(visit, template, fields)

    async def save_names(self, visit: Visit) -> Response:
        fields = await visit.form()
        template = await self._get(visit)
        content = template.latest
        try:
            visit.check_in_time()
            name, description = fields.get("name", ""), fields.get("description", "")
            renamed = make_content(name, description, content.document, content.own_views)
            saved = await self._templates.put_draft(visit.actor, template.template_id, renamed, fields.get("etag"))
        except TOLD as refusal:
            etag = etag_for(fields, refusal, template.etag)
            return await self._names_page(visit, template, fields | {"etag": etag}, refusal)
        return to_template(saved)

    async def _names_page(
        self, visit: Visit, template: Template, fields: Mapping[str, str], problem: Refusal | None = None
    ) -> Response:
        info, document = self._services.info(), template.latest.document
        name, description = fields.get("name", ""), fields.get("description", "")
        act = await asyncio.to_thread(draft_act, info, "Save", template.template_id, name, description, document)
        return self._renderer.page(
            visit,
            "device_templates/names.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            shown=template,
            fields=fields,
            as_code=[act],
            problem=problem,
        )

    # -- modules of IoT Edge -------------------------------------------------------------------------------------------

    async def modules(self, visit: Visit) -> Response:
        return await self._modules_page(visit, await self._get(visit), "")

    async def save_modules(self, visit: Visit) -> Response:
        fields, uploaded = await visit.form(), await visit.upload("file")
        template = await self._get(visit)
        text = uploaded.decode("utf-8", "replace") if uploaded else fields.get("text", "")
        try:
            visit.check_in_time()
            with about("text"):
                manifest = await asyncio.to_thread(parse_object, text.encode("utf-8", "replace"), what="the manifest")
                document = with_modules(template.latest.document, manifest_modules(manifest))
            saved = await self._save(visit, template, document, fields)
        except TOLD as refusal:
            return await self._modules_page(visit, template, text, refusal, fields)
        return to_template(saved, "#model")

    async def _modules_page(
        self,
        visit: Visit,
        template: Template,
        text: str,
        problem: Refusal | None = None,
        fields: Mapping[str, str] = {},
    ) -> Response:
        return await self._renderer.long_page(
            visit,
            "device_templates/modules.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            shown=template,
            text=text,
            etag=etag_for(fields, problem, template.etag),
            as_code=await asyncio.to_thread(
                lambda: draft_acts(
                    self._services.info(),
                    template,
                    {"Import modules": with_modules(template.latest.document, manifest_modules(_A_MANIFEST))},
                )
            ),
            problem=problem,
        )

    # -- one capability ------------------------------------------------------------------------------------------------

    async def capability(self, visit: Visit) -> Response:
        """Of `interface` in the query; `name` is one that is there, else `kind` is what to add."""
        template = await self._get(visit)
        interface_id, name = visit.query.get("interface", ""), visit.query.get("name", "")
        if name:
            present = find_capability(template.latest.document, interface_id, name)
            fields = capability_fields(present)
            kind = kind_of(present)
        else:
            find_interface(template.latest.document, interface_id)
            kind = _kind(visit.query.get("kind", ""))
            fields = {"schema": "double", **{f"{which}.schema": "string" for which in ("request", "response")}}
        about = {"interface_id": interface_id, "was": name, "kind": kind, "etag": template.etag}
        return await self._capability_page(visit, template, fields | about)

    async def save_capability(self, visit: Visit) -> Response:
        fields = await visit.form()
        template = await self._get(visit)
        interface_id, name = fields.get("interface_id", ""), fields.get("was", "")
        kind = _kind(fields.get("kind", ""))
        document = template.latest.document
        present: Mapping[str, Any] = find_capability(document, interface_id, name) if name else {}
        try:
            visit.check_in_time()
            capability = capability_json(kind, fields, present)
            edited = put_capability(document, interface_id, name, capability)
            saved = await self._save(visit, template, edited, fields)
        except TOLD as refusal:
            etag = etag_for(fields, refusal, template.etag)
            return await self._capability_page(visit, template, fields | {"etag": etag}, refusal)
        return to_template(saved, "#model")

    async def remove(self, visit: Visit) -> Response:
        fields = await visit.form()
        template = await self._get(visit)
        name = fields.get("was", "")
        try:
            edited = remove_capability(template.latest.document, fields.get("interface_id", ""), name)
            saved = await self._save(visit, template, edited, fields)
        except TOLD as refusal:
            present = find_capability(template.latest.document, fields.get("interface_id", ""), name)
            typed = (
                capability_fields(present)
                | fields
                | {"kind": kind_of(present), "etag": etag_for(fields, refusal, template.etag)}
            )
            return await self._capability_page(visit, template, typed, refusal)
        return to_template(saved, "#model")

    # ------------------------------------------------------------------------------------------------------------------

    async def _get(self, visit: Visit) -> Template:
        return await self._templates.load(template_id_of(visit))

    async def _save(self, visit: Visit, template: Template, document: Any, fields: Mapping[str, str]) -> Template:
        return await self._put(visit, template, await self._made(template, document), fields)

    async def _made(self, template: Template, document: Any) -> Content:
        """Views that show what is not there any more go with it."""

        def make() -> Content:
            content = template.latest
            model = self._templates.read_model(document)
            made = make_content(content.display_name, content.description, model.document)
            return replace(made, own_views=still_fitting(content.own_views, made.interface))

        return await asyncio.to_thread(make)

    async def _put(self, visit: Visit, template: Template, made: Content, fields: Mapping[str, str]) -> Template:
        return await self._templates.put_draft(visit.actor, template.template_id, made, fields.get("etag"))

    async def _model_page(
        self,
        visit: Visit,
        template: Template,
        text: str,
        problem: Refusal | None = None,
        fields: Mapping[str, str] = {},
    ) -> Response:
        return await self._renderer.long_page(
            visit,
            "device_templates/model.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            shown=template,
            text=text,
            etag=etag_for(fields, problem, template.etag),
            as_code=await asyncio.to_thread(
                draft_acts, self._services.info(), template, {"Save": template.latest.document}
            )
            if visit.may("templates.manage")
            else [],
            line=0 if problem is None else place_in(text, problem),
            excerpt=[] if problem is None else _excerpt(text, place_in(text, problem)),
            problem=problem,
        )

    async def _capability_page(
        self, visit: Visit, template: Template, fields: Mapping[str, str], problem: Refusal | None = None
    ) -> Response:
        kind = _kind(fields.get("kind", ""))
        if problem is not None:
            problem.field = problem.field or field_of(problem)
        models = await asyncio.to_thread(self._templates.models.all) if kind == "component" else []
        return await self._renderer.long_page(
            visit,
            "device_templates/capability.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            shown=template,
            kind=kind,
            label=_LABELS[kind],
            fields=fields,
            schemas=SCHEMA_CHOICES,
            semantics=_SEMANTICS,
            units=sorted({unit for units in UNITS.values() for unit in units}),
            models=models,
            as_code=await asyncio.to_thread(
                lambda: draft_acts(self._services.info(), template, _edits(template, kind, fields, models))
            ),
            problem=problem,
        )


def _edits(
    template: Template, kind: CapabilityKind, fields: Mapping[str, str], models: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """The model as each button of the form would leave it; a new capability has an example of a name.

    Without those that the form cannot be read for.
    """
    document, interface_id, was = template.latest.document, fields.get("interface_id", ""), fields.get("was", "")
    typed = {**fields, "name": fields.get("name") or f"my{kind.capitalize()}"}
    if kind == "component" and models and not fields.get("interface"):
        typed["model"] = fields.get("model") or models[0]
    edits: dict[str, Mapping[str, Any]] = {}
    try:
        present = find_capability(document, interface_id, was) if was else {}
        edits["Save"] = put_capability(document, interface_id, was, capability_json(kind, typed, present))
        if was:
            edits["Remove"] = remove_capability(document, interface_id, was)
    except TOLD:
        # The form says why.
        pass
    return edits


def _kind(text: str) -> CapabilityKind:
    """Raises `NotFound` (`route.unknown`)."""
    for kind in CAPABILITY_KINDS:
        if text == kind:
            return kind
    raise NotFound("route.unknown", "there is no such page")


def field_of(problem: Refusal) -> str:
    """The field of the capability form that a refusal speaks of; '' where it is none of them."""
    if problem.reason in ("template.taken", "template.duplicate", "template.name"):
        return "name"
    if not isinstance(problem, InvalidModel):
        return ""
    steps = _STEPS.findall(problem.path.partition("contents")[2])
    prefix = next((f"{step}." for step in steps if step in ("request", "response")), "")
    for step in reversed(steps):
        field = _FIELDS.get(step, "json" if step in _COMPLEX else step)
        if field in _OF_THE_FORM:
            return prefix + field
    return ""


def _excerpt(text: str, line: int) -> list[tuple[int, str]]:
    """The lines around the one meant, with their numbers."""
    if not line:
        return []
    lines = text.splitlines()
    first = max(0, line - 3)
    return [(first + index + 1, each[:200]) for index, each in enumerate(lines[first : line + 2])]

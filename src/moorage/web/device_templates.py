"""Device templates: their gallery, + New, the model beside its views, and their life (contract/central.md 7).

+ New ─► a draft ─► edit ─► Publish ─► devices have it
                                └─► Version ─► the draft of a new template

What edits a model is in `template_editor.py`, what edits views in `template_views.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from moorage.dialects.json_text import parse_json
from moorage.dialects.template_json import TemplateFile, export_text, file_name, read_file
from moorage.dtdl.members import parse_dtmi
from moorage.dtdl.model import Capability, Component, Interface, Relationship
from moorage.dtdl.parser import CENTRAL_CONTEXT, CONTEXT
from moorage.dtdl.problems import InvalidModel, line_of
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.fleet.model import UNASSIGNED, TemplateId
from moorage.fleet.template_model import Template, make_content, parse_template_id
from moorage.fleet.templates import TemplateService
from moorage.web.forms import about
from moorage.web.pages import Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.template_code import new_acts, publish_acts, show_acts

__all__ = [
    "TOLD",
    "ModelPart",
    "model_id_for",
    "parts_of",
    "place_in",
    "template_id_of",
    "template_pages",
    "to_template",
]

# What a form may be told beside its fields; anything else is a page of its own.
TOLD: Final = (Invalid, Conflict, PreconditionFailed, TooLarge)
_MAX_FOUND: Final = 100


def template_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Templates(services, renderer)
    one = "/device-templates/{template_id}"
    return [
        Page("GET", "/device-templates", pages.gallery, "templates.view"),
        Page("GET", "/device-templates/new", pages.new, "templates.manage"),
        Page("POST", "/device-templates", pages.create, "templates.manage", keeps=True),
        Page("POST", "/device-templates/import", pages.import_model, "templates.manage", keeps=True),
        Page("POST", "/device-templates/from-folder", pages.from_folder, "templates.manage", keeps=True),
        Page("GET", one, pages.show, "templates.view"),
        Page("GET", one + "/export", pages.export, "templates.view"),
        Page("GET", one + "/publish", pages.review, "templates.manage"),
        Page("POST", one + "/publish", pages.publish, "templates.manage"),
        Page("POST", one + "/discard", pages.discard, "templates.manage"),
        Page("POST", one + "/version", pages.new_version, "templates.manage"),
        Page("POST", one + "/delete", pages.delete, "templates.manage"),
    ]


@dataclass(frozen=True, slots=True)
class ModelPart:
    """A piece of the tree: the root, a component of it, or what either inherits.

    Attributes:
        anchor: names it on its page.
        place: what it is to the root: `root`, `component`, `module`, `inherited`.
        depth: 0 for the root, 1 for what hangs on it, and so on.
        capabilities: what its interface declares itself.
        like: the label of an earlier part of the same interface, with which it changes; '' for none.
    """

    anchor: str
    place: str
    label: str
    interface: Interface
    depth: int
    capabilities: tuple[Capability, ...]
    like: str = ""

    @property
    def figures(self) -> str:
        kinds: dict[str, int] = {}
        for each in self.capabilities:
            kinds[type(each).__name__] = kinds.get(type(each).__name__, 0) + 1
        return ", ".join(f"{count} {_PLURALS[kind][count != 1]}" for kind, count in kinds.items()) or "empty"


_PLURALS: Final = {
    "Telemetry": ("telemetry", "telemetry"),
    "Property": ("property", "properties"),
    "Command": ("command", "commands"),
    "Component": ("component", "components"),
    "Relationship": ("relationship", "relationships"),
}


def parts_of(interface: Interface) -> list[ModelPart]:
    """The tree in the order of its page: each interface, what it inherits, then its components."""
    parts: list[ModelPart] = []

    def add(each: Interface, place: str, label: str, depth: int) -> None:
        own = tuple(capability for capability in each.capabilities() if capability.origin == each.id)
        like = next((part.label for part in parts if part.interface.id == each.id), "")
        parts.append(ModelPart(f"part-{len(parts)}", place, label, each, depth, own, like))
        for base in each.extends:
            add(base, "inherited", base.label, depth + 1)
        for capability in own:
            if isinstance(capability, Component):
                add(capability.schema, "component", capability.label, depth + 1)
            elif isinstance(capability, Relationship):
                for module in capability.interfaces:
                    add(module, "module", capability.label, depth + 1)

    add(interface, "root", interface.label, 0)
    return parts


class _Templates:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._templates: TemplateService = services.templates
        self._renderer = renderer

    async def gallery(self, visit: Visit) -> Response:
        text = visit.query.get("q", "").strip().casefold()
        summaries = await self._templates.list()
        counts = await self._templates.device_counts(visit.actor)
        found = [each for each in summaries if text in each.display_name.casefold() or text in each.model_id.casefold()]
        return await self._renderer.long_page(
            visit,
            "device_templates/gallery_cards.html" if visit.is_fragment else "device_templates/gallery.html",
            text=visit.query.get("q", ""),
            total=len(summaries),
            found=found[:_MAX_FOUND],
            more=max(0, len(found) - _MAX_FOUND),
            counts=counts,
        )

    # -- + New ---------------------------------------------------------------------------------------------------------

    async def new(self, visit: Visit) -> Response:
        return await self._form(visit, {})

    async def create(self, visit: Visit) -> Response:
        """Blank: a root interface without capabilities."""
        fields = await visit.form()
        try:
            visit.check_in_time()
            name = fields.get("name", "").strip()
            model_id = parse_dtmi(fields.get("model", "").strip() or model_id_for(name), "Model ID")
            content = make_content(name, "", _blank(name, model_id))
            template = await self._templates.create_draft(visit.actor, content)
        except TOLD as refusal:
            return await self._form(visit, fields, blank=refusal)
        return to_template(template)

    async def import_model(self, visit: Visit) -> Response:
        """A file, or what was pasted, which the answer keeps."""
        fields, uploaded = await visit.form(), await visit.upload("file")
        text = uploaded.decode("utf-8", "replace") if uploaded else fields.get("text", "")
        try:
            visit.check_in_time()
            with about("text"):
                found = await asyncio.to_thread(self._read, text)
                template = await self._create(visit, found)
        except TOLD as refusal:
            return await self._form(visit, fields | {"text": text}, imported=refusal, line=place_in(text, refusal))
        return to_template(template)

    async def from_folder(self, visit: Visit) -> Response:
        fields = await visit.form()
        name = fields.get("model_id", "")
        try:
            visit.check_in_time()
            document = await asyncio.to_thread(self._templates.models.find, name)
            if document is None:
                raise NotFound("template.model_unknown", f"no model {name[:140]!r} lies ready here")
            template = await self._create(visit, await asyncio.to_thread(read_file, document, self._templates.models))
        except (*TOLD, NotFound) as refusal:
            return await self._form(visit, fields, folder=refusal)
        return to_template(template)

    def _read(self, text: str) -> TemplateFile:
        if not text.strip():
            raise Invalid("form.file", "no file was chosen, and nothing was pasted", field="file")
        document = parse_json(text.encode("utf-8", "replace"), what="the model")
        return read_file(document, self._templates.models)

    async def _create(self, visit: Visit, found: TemplateFile) -> Template:
        content = await asyncio.to_thread(make_content, found.display_name, found.description, found.model.document)
        template_id = parse_template_id(found.template_id) if found.template_id else UNASSIGNED
        return await self._templates.create_draft(visit.actor, content, template_id)

    async def _form(self, visit: Visit, fields: Mapping[str, str], line: int = 0, **problems: Refusal) -> Response:
        models = await asyncio.to_thread(self._templates.models.all)
        ready = fields.get("model_id") or (models[0] if models else "")
        name = fields.get("name", "").strip() or "My device"
        blank = _blank(name, fields.get("model", "").strip() or model_id_for(name))
        found = await asyncio.to_thread(self._find, ready) if ready in models else None
        return await self._renderer.long_page(
            visit,
            "device_templates/new.html",
            HTTPStatus.BAD_REQUEST if problems else HTTPStatus.OK,
            fields=fields,
            models=models,
            line=line,
            blank=problems.get("blank"),
            imported=problems.get("imported"),
            folder=problems.get("folder"),
            as_code=await asyncio.to_thread(new_acts, self._services.info(), (name, blank), found),
        )

    def _find(self, model_id: str) -> tuple[str, Mapping[str, Any]] | None:
        """(name, interface that stands alone) of a model that lies ready."""
        document = self._templates.models.find(model_id)
        if document is None:
            return None
        found = read_file(document, self._templates.models)
        return found.display_name, found.model.document

    # -- a template ----------------------------------------------------------------------------------------------------

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit, await self._templates.load(template_id_of(visit)))

    async def export(self, visit: Visit) -> Response:
        template = await self._templates.load(template_id_of(visit))
        text = await asyncio.to_thread(export_text, template)
        disposition = f'attachment; filename="{file_name(template)}"'
        return Response(text, media_type="application/json", headers={"content-disposition": disposition})

    async def review(self, visit: Visit) -> Response:
        """What publishing would do."""
        return await self._review(visit, await self._templates.load(template_id_of(visit)))

    async def publish(self, visit: Visit) -> Response:
        fields = await visit.form()
        template_id = template_id_of(visit)
        try:
            template = await self._templates.publish(visit.actor, template_id, fields.get("etag"))
        except TOLD as refusal:
            return await self._review(visit, await self._templates.load(template_id), refusal)
        return to_template(template)

    async def discard(self, visit: Visit) -> Response:
        fields = await visit.form()
        template_id = template_id_of(visit)
        try:
            template = await self._templates.discard_draft(visit.actor, template_id, fields.get("etag"))
        except TOLD as refusal:
            return await self._page(visit, await self._templates.load(template_id), refusal)
        return to_template(template)

    async def new_version(self, visit: Visit) -> Response:
        return to_template(await self._templates.new_version(visit.actor, template_id_of(visit)))

    async def delete(self, visit: Visit) -> Response:
        fields = await visit.form()
        template_id = template_id_of(visit)
        try:
            await self._templates.delete(visit.actor, template_id, fields.get("etag"))
        except TOLD as refusal:
            return await self._page(visit, await self._templates.load(template_id), refusal)
        return RedirectResponse("/device-templates", HTTPStatus.SEE_OTHER)

    async def _review(self, visit: Visit, template: Template, problem: Refusal | None = None) -> Response:
        changes = await asyncio.to_thread(self._templates.changes, template)
        counts = await self._templates.device_counts(visit.actor)
        return await self._renderer.long_page(
            visit,
            "device_templates/publish.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            shown=template,
            parts=parts_of(template.latest.interface),
            changes=changes,
            is_breaking=any(each.is_breaking for each in changes),
            other_views=template.published is not None
            and template.draft is not None
            and template.published.own_views != template.draft.own_views,
            devices=counts.get(template.template_id, 0),
            acts=await asyncio.to_thread(publish_acts, self._services.info(), template),
            problem=problem,
        )

    async def _page(self, visit: Visit, template: Template, problem: Refusal | None = None) -> Response:
        counts = await self._templates.device_counts(visit.actor)
        return await self._renderer.long_page(
            visit,
            "device_templates/show.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            shown=template,
            content=template.latest,
            parts=parts_of(template.latest.interface),
            devices=counts.get(template.template_id, 0),
            acts=await asyncio.to_thread(show_acts, self._services.info(), template)
            if visit.may("templates.manage")
            else [],
            problem=problem,
        )


def template_id_of(visit: Visit) -> TemplateId:
    """Of the path. What cannot be an id is no template: a page that there is not."""
    try:
        return parse_template_id(visit.path["template_id"])
    except Invalid:
        raise NotFound("template.unknown", "there is no such device template") from None


def to_template(template: Template, more: str = "") -> Response:
    return RedirectResponse(f"/device-templates/{segment(template.template_id)}{more}", HTTPStatus.SEE_OTHER)


def place_in(text: str, refusal: Refusal) -> int:
    """The line of `text` that the refusal speaks of; 0 where it speaks of none."""
    return line_of(text, refusal.path) if isinstance(refusal, InvalidModel) and text.strip() else 0


def model_id_for(name: str) -> str:
    """`Water pump 3` becomes `dtmi:moorage:waterPump3;1`."""
    words = "".join(each if each.isascii() and each.isalnum() else " " for each in name).split()
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    joined = joined[:1].lower() + joined[1:60]
    return f"dtmi:moorage:{joined if joined[:1].isalpha() else f'device{joined}'};1"


def _blank(name: str, model_id: str) -> dict[str, Any]:
    """A root interface without capabilities."""
    return {
        "@context": [CONTEXT, CENTRAL_CONTEXT],
        "@id": model_id,
        "@type": "Interface",
        "displayName": name,
        "contents": [],
    }

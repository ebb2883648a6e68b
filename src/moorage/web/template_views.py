"""Views that people make for a template: tiles in an order, and forms (contract/central.md V-4, V-5).

Each act saves to the draft and comes back to the view. Generated views are shown here too, and cannot be changed: they
follow from the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from moorage.dtdl.model import Capability, Command, Interface, Property, Telemetry
from moorage.errors import Invalid, NotFound, PreconditionFailed, Refusal
from moorage.fleet.template_model import Template
from moorage.fleet.templates import TemplateService
from moorage.fleet.views import Subject, Tile, TileKind, View
from moorage.web.device_templates import TOLD, template_id_of, to_template
from moorage.web.pages import Page, Visit, etag_for, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.template_code import view_acts
from moorage.web.view_preview import INVENTED, Preview, preview_of

__all__ = ["template_view_pages"]

# Of a device.
_MOST_ID: Final = 128
_NOT_OF_AN_ID: Final = re.compile(r"[^a-z0-9]+")
TILE_LABELS: Final[dict[TileKind, str]] = {
    "chart": "Chart",
    "last_value": "Last known value",
    "event": "Events",
    "property": "Property",
    "command": "Command",
    "text": "Text",
}


def template_view_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Views(services, renderer)
    views = "/device-templates/{template_id}/views"
    one = views + "/{view_id}"
    return [
        Page("POST", views, pages.create, "templates.manage", keeps=True),
        Page("GET", one, pages.show, "templates.view"),
        Page("POST", one, pages.rename, "templates.manage", keeps=True),
        Page("POST", one + "/tiles", pages.add, "templates.manage", keeps=True),
        Page("POST", one + "/move", pages.move, "templates.manage"),
        Page("POST", one + "/delete", pages.delete, "templates.manage"),
    ]


@dataclass(frozen=True, slots=True)
class Choice:
    """A capability that a tile can show. `value` is what a form sends of it."""

    value: str
    label: str
    part: str
    kinds: str


class _Views:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._templates: TemplateService = services.templates
        self._renderer = renderer

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        template = await self._get(visit)
        name = fields.get("name", "").strip()
        view = View(_view_id(name, _taken(template)), name, "form" if fields.get("kind") == "form" else "custom", ())
        views = (*template.latest.own_views, view)
        try:
            visit.check_in_time()
            saved = await self._save(visit, template, views, fields)
        except TOLD as refusal:
            twin = next(
                (each for each in template.latest.own_views if replace(each, view_id=view.view_id) == view), None
            )
            if isinstance(refusal, PreconditionFailed) and twin is not None:
                # The same form, sent twice.
                return _to_view(template, twin.view_id)
            return await self._page(visit, template, view, refusal, fields, is_new=True)
        return _to_view(saved, view.view_id)

    async def show(self, visit: Visit) -> Response:
        """Also the preview alone, which the page asks for again and again (V-6)."""
        template = await self._get(visit)
        if visit.path["view_id"] == "new":
            view = View("new", "", "form" if visit.query.get("kind") == "form" else "custom", ())
            return await self._page(visit, template, view, is_new=True)
        return await self._page(visit, template, _view(template, visit.path["view_id"]))

    async def rename(self, visit: Visit) -> Response:
        fields = await visit.form()
        return await self._change(visit, fields, lambda view, _: replace(view, name=fields.get("name", "").strip()))

    async def add(self, visit: Visit) -> Response:
        fields = await visit.form()
        subjects = tuple(_subject(text) for text in await visit.values("subject"))

        def add(view: View, _: Interface) -> View:
            kind = "property" if view.kind == "form" else fields.get("kind", "")
            for each in TILE_LABELS:
                if each == kind:
                    tile = Tile(each, fields.get("title", "").strip(), subjects, fields.get("text", "").strip())
                    return replace(
                        view, tiles=(*view.tiles, replace(tile, subjects=() if each == "text" else subjects))
                    )
            raise Invalid("view.tile", "a tile is a chart, a value, events, a property, a command or a text")

        return await self._change(visit, fields, add)

    async def move(self, visit: Visit) -> Response:
        """`tile` by its number, `to` up, down or away."""
        fields = await visit.form()

        def move(view: View, _: Interface) -> View:
            tiles, text = list(view.tiles), fields.get("tile", "")
            index = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else len(tiles)
            if index >= len(tiles):
                raise Invalid("view.tile", f"'{view.name}' has no such tile any more")
            tile = tiles.pop(index)
            match fields.get("to"):
                case "up":
                    tiles.insert(max(0, index - 1), tile)
                case "down":
                    tiles.insert(index + 1, tile)
            return replace(view, tiles=tuple(tiles))

        return await self._change(visit, fields, move)

    async def delete(self, visit: Visit) -> Response:
        fields = await visit.form()
        template, view_id = await self._get(visit), visit.path["view_id"]
        view = _own_view(template, view_id)
        views = [each for each in template.latest.own_views if each.view_id != view_id]
        try:
            saved = await self._save(visit, template, views, fields)
        except TOLD as refusal:
            return await self._page(visit, template, view, refusal)
        return to_template(saved, "#views")

    async def _change(
        self, visit: Visit, fields: Mapping[str, str], change: Callable[[View, Interface], View]
    ) -> Response:
        template, view_id = await self._get(visit), visit.path["view_id"]
        view = _own_view(template, view_id)
        try:
            visit.check_in_time()
            changed = change(view, template.latest.interface)
            views = [changed if each.view_id == view_id else each for each in template.latest.own_views]
            saved = await self._save(visit, template, views, fields)
        except TOLD as refusal:
            return await self._page(visit, template, view, refusal, fields)
        return _to_view(saved, view_id, fields.get("preview", ""))

    async def _save(
        self, visit: Visit, template: Template, views: Sequence[View], fields: Mapping[str, str]
    ) -> Template:
        content = replace(template.latest, own_views=tuple(views))
        return await self._templates.put_draft(visit.actor, template.template_id, content, fields.get("etag"))

    async def _get(self, visit: Visit) -> Template:
        return await self._templates.load(template_id_of(visit))

    async def _page(
        self,
        visit: Visit,
        template: Template,
        view: View,
        problem: Refusal | None = None,
        fields: Mapping[str, str] | None = None,
        *,
        is_new: bool = False,
    ) -> Response:
        interface = template.latest.interface
        choices = [each for each in _choices(interface) if view.kind != "form" or "editable" in each.kinds]
        shown = view
        if is_new:
            name = view.name or ("My form" if view.kind == "form" else "My view")
            shown = replace(view, view_id=_view_id(name, _taken(template)), name=name)
        may = visit.may("templates.manage") and not view.is_generated
        chosen = (fields or visit.query).get("preview", "")[:_MOST_ID]
        preview = await self._preview(visit, template, view, chosen) if view.tiles and not is_new else None
        if preview is not None and visit.request.headers.get("hx-target") == "preview":
            here = f"/device-templates/{segment(template.template_id)}/views/{segment(view.view_id)}"
            return await self._renderer.long_page(visit, "device_templates/preview.html", preview=preview, here=here)
        info, tile = self._services.info(), _example(view, choices)
        return await self._renderer.long_page(
            visit,
            "device_templates/view.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            shown=template,
            view=view,
            is_new=is_new,
            tiles=[(tile, [_spelled(interface, subject) for subject in tile.subjects]) for tile in view.tiles],
            labels=TILE_LABELS,
            choices=choices,
            as_code=view_acts(info, template, shown, tile, is_new=is_new) if may else [],
            fields=fields or {},
            ticked=await visit.values("subject") if fields else [],
            etag=etag_for(fields or {}, problem, template.etag),
            preview=preview,
            chosen_preview=chosen,
            problem=problem,
        )

    async def _preview(self, visit: Visit, template: Template, view: View, chosen: str) -> Preview:
        try:
            return await preview_of(self._services, visit, template, view, chosen)
        except (NotFound, Invalid):
            # It was deleted, or is nobody's to see.
            return await preview_of(self._services, visit, template, view, INVENTED)


def _view(template: Template, view_id: str) -> View:
    """Raises `NotFound` (`view.unknown`)."""
    for view in template.latest.views:
        if view.view_id == view_id:
            return view
    raise NotFound("view.unknown", f"the template has no view {view_id[:60]!r}")


def _own_view(template: Template, view_id: str) -> View:
    """One that can be changed. Raises `NotFound` (`view.unknown`)."""
    view = _view(template, view_id)
    if view.is_generated:
        raise NotFound("view.unknown", f"'{view.name}' follows from the model, and cannot be changed")
    return view


def _taken(template: Template) -> set[str]:
    return {view.view_id for view in template.latest.views} | {"overview", "about", "commands"}


def _example(view: View, choices: Sequence[Choice]) -> Tile | None:
    """A tile of the first capability that there is; None where there is none."""
    if not choices:
        return None
    [kind, *_] = choices[0].kinds.split()
    kinds: Mapping[str, TileKind] = {"telemetry": "chart", "property": "property", "command": "command"}
    return Tile("property" if view.kind == "form" else kinds[kind], "", (_subject(choices[0].value),))


def _view_id(name: str, taken: set[str]) -> str:
    base = _NOT_OF_AN_ID.sub("-", name.lower()).strip("-")[:40].strip("-") or "view"
    # A page of its own is named so.
    candidate, number = base, 2
    while candidate in taken or candidate == "new":
        candidate, number = f"{base}-{number}", number + 1
    return candidate


def _subject(text: str) -> Subject:
    component, _, name = text.partition("/")
    return Subject(component, name)


def _choices(interface: Interface) -> Iterator[Choice]:
    for component, part in interface.parts():
        label = interface.by_name[component].label if component else interface.label
        for each in part.capabilities():
            if kinds := _kinds(each):
                yield Choice(f"{component}/{each.name}", each.label, label, kinds)


def _kinds(capability: Capability) -> str:
    match capability:
        case Telemetry():
            return "telemetry"
        case Property():
            return "property editable" if capability.is_writable or capability.is_cloud else "property"
        case Command():
            return "command"
        case _:
            return ""


def _spelled(interface: Interface, subject: Subject) -> str:
    part = interface.part(subject.component)
    found = None if part is None else part.by_name.get(subject.name)
    label = found.label if found is not None else subject.name
    return f"{interface.by_name[subject.component].label}: {label}" if subject.component and part else label


def _to_view(template: Template, view_id: str, preview: str = "") -> Response:
    kept = f"?{urlencode({'preview': preview[:_MOST_ID]})}" if preview else ""
    return to_template(template, f"/views/{segment(view_id)}{kept}")

"""What the pages of device templates do, as code.

The public API knows what is published alone; drafts and views are our own API's. A page that edits a draft is shown as
the whole draft that it would save, since that is what the API takes. A large model is a file instead.

Making texts of a model takes longer than the loop may wait: call these in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from moorage.dialects.template_json import TEMPLATE_TYPES
from moorage.dtdl.model import Relationship
from moorage.fleet.model import TemplateId
from moorage.fleet.template_model import Content, Template
from moorage.fleet.views import Tile, TileKind, View
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, Document, act_as_code, central_path

__all__ = ["draft_act", "draft_acts", "guess_acts", "new_acts", "publish_acts", "show_acts", "view_acts"]

_EXAMPLE_ID: Final = "dtmi:com:example:MyDevice;1"
# Of a model that is written out, in characters; each page has it several times.
_MOST_SHOWN: Final = 16 * 1024
_FILE: Final = "model.json"
# As our own API calls them.
_TILE_KINDS: Final[Mapping[TileKind, str]] = {"last_value": "lastValue"}


def new_acts(
    info: HubInfo, blank: tuple[str, Mapping[str, Any]], ready: tuple[str, Mapping[str, Any]] | None
) -> list[Act]:
    """A blank draft, (name, model); one of a model that lies ready, (name, model); and one of a file."""
    name, document = blank
    acts = [draft_act(info, "Create", TemplateId(document["@id"]), name, "", document)]
    imported = Call("PUT", _draft(_EXAMPLE_ID), {"capabilityModel": Document(_FILE)}, api="own")
    acts.append(act_as_code(info, "Import", imported))
    if ready is not None:
        name, document = ready
        acts.append(draft_act(info, "From the model folder", TemplateId(document["@id"]), name, "", document))
    return acts


def draft_acts(info: HubInfo, template: Template, documents: Mapping[str, Mapping[str, Any]]) -> list[Act]:
    """To save each of `documents`, models by the label of the act, as the draft."""
    content = template.latest
    return [
        draft_act(info, label, template.template_id, content.display_name, content.description, document)
        for label, document in documents.items()
    ]


def draft_act(
    info: HubInfo, label: str, template_id: TemplateId, name: str, description: str, document: Mapping[str, Any]
) -> Act:
    body: dict[str, Any] = {"displayName": name, "capabilityModel": _shown(document)}
    if description:
        body["description"] = description
    return act_as_code(info, label, Call("PUT", _draft(template_id), body, api="own"))


def publish_acts(info: HubInfo, template: Template) -> list[Act]:
    """By the public API where that says all of it: it has no views (DT-16)."""
    content, published = template.latest, template.published
    if content.own_views != (published.own_views if published is not None else ()):
        call = Call("POST", central_path("deviceTemplates", template.template_id, "publish"), api="own")
    else:
        call = _publishing(template.template_id, content)
    return [act_as_code(info, "Publish", call)]


def show_acts(info: HubInfo, template: Template) -> list[Act]:
    there, named = central_path("deviceTemplates", template.template_id), ("--device-template-id", template.template_id)
    # The public API knows no drafts (DT-10).
    if template.is_published:
        export = Call("GET", there, az=("device-template", "show", *named) if _is_read_by_az(template.content) else ())
        delete = Call("DELETE", there, az=("device-template", "delete", *named))
    else:
        export, delete = Call("GET", there, api="own"), Call("DELETE", there, api="own")
    version = Call("POST", central_path("deviceTemplates", template.template_id, "newVersion"), api="own")
    acts = [
        act_as_code(info, "Export", export),
        act_as_code(info, "Version", version),
        act_as_code(info, "Delete", delete),
    ]
    if template.is_published and template.draft is not None:
        discard = Call("DELETE", _draft(template.template_id), api="own")
        acts.insert(0, act_as_code(info, "Discard changes", discard))
    return acts


def view_acts(info: HubInfo, template: Template, view: View, tile: Tile | None, *, is_new: bool) -> list[Act]:
    """`tile` is one that could be added."""
    there = central_path("deviceTemplates", template.template_id, "views", view.view_id)

    def put(label: str, tiles: Sequence[Tile]) -> Act:
        body = {
            "displayName": view.name,
            "kind": "form" if view.kind == "form" else "custom",
            "tiles": [_tile_json(each) for each in tiles],
        }
        return act_as_code(info, label, Call("PUT", there, body, api="own"))

    if is_new:
        return [put("Create", ())]
    acts = [put("Rename", view.tiles)]
    if tile is not None:
        acts.append(put("Add", (*view.tiles, tile)))
    if view.tiles:
        first, *others = view.tiles
        acts.append(put("Move the first tile down", (*others[:1], first, *others[1:])))
        acts.append(put("Remove the first tile", others))
    return [*acts, act_as_code(info, "Delete", Call("DELETE", there, api="own"))]


def guess_acts(info: HubInfo, device_id: str, content: Content, *, is_given: bool) -> list[Act]:
    """The template, published; with `is_given` the device has it then."""
    template_id = TemplateId(content.interface.id)
    calls = [_publishing(template_id, content)]
    if is_given:
        az = ("device", "update", "--device-id", device_id, "--template", template_id)
        calls.append(Call("PATCH", central_path("devices", device_id), {"template": template_id}, az))
    return [act_as_code(info, "Create template", *calls)]


def _publishing(template_id: TemplateId, content: Content) -> Call:
    body: dict[str, Any] = {
        "@type": list(TEMPLATE_TYPES),
        "displayName": content.display_name,
        "capabilityModel": _shown(content.document),
    }
    if content.description:
        body["description"] = content.description
    az = ("device-template", "create", "--device-template-id", template_id, "--content", body)
    there = central_path("deviceTemplates", template_id)
    return Call("PUT", there, body, az if _is_read_by_az(content) else ())


def _is_read_by_az(content: Content) -> bool:
    """The extension (0.25.0) stumbles over a module whose interface has no components."""
    modules = [
        interface
        for each in content.interface.capabilities()
        if isinstance(each, Relationship)
        for interface in each.interfaces
    ]
    return all(interface.components for interface in modules)


def _shown(document: Mapping[str, Any]) -> Mapping[str, Any] | Document:
    return document if len(json.dumps(document)) <= _MOST_SHOWN else Document(_FILE)


def _draft(template_id: str) -> str:
    return central_path("deviceTemplates", template_id, "draft")


def _tile_json(tile: Tile) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": _TILE_KINDS.get(tile.kind, tile.kind)}
    if tile.title:
        document["title"] = tile.title
    if tile.kind == "text":
        return document | {"text": tile.text}
    subjects = [
        {"name": each.name} | ({"component": each.component} if each.component else {}) for each in tile.subjects
    ]
    return document | {"capabilities": subjects}

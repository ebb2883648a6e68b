"""Views of a device template in the JSON of our own API (contract/central.md 7.5).

{"displayName": "Pressure", "kind": "custom",
 "tiles": [{"kind": "chart", "title": "Last hours", "capabilities": [{"name": "rpm", "component": "motor"}]}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.dialects.members import check_members, check_same, get_choice, get_objects, get_text, need_text
from moorage.errors import Invalid
from moorage.fleet.views import Subject, Tile, TileKind, View, ViewKind
from moorage.ids import ETag

__all__ = ["TILE_KINDS", "VIEW_MEMBERS", "parse_view", "view_json"]

VIEW_MEMBERS: Final = ("id", "displayName", "kind", "tiles", "generated", "etag")
TILE_KINDS: Final[Mapping[str, TileKind]] = {
    "chart": "chart",
    "lastValue": "last_value",
    "event": "event",
    "property": "property",
    "command": "command",
    "text": "text",
}
_WORD_OF: Final = {kind: word for word, kind in TILE_KINDS.items()}
_KINDS: Final[Mapping[str, ViewKind]] = {"custom": "custom", "form": "form"}


def parse_view(view_id: str, body: Mapping[str, Any]) -> View:
    """One that people make. Raises `Invalid` (`body.member`, `body.id`); `check_views` says the rest."""
    check_members(body, VIEW_MEMBERS)
    check_same(body, "id", view_id)
    if body.get("generated"):
        raise Invalid("body.member", "generated is true of views that follow from the model, which nobody makes")
    tiles = tuple(_tile(path, each) for path, each in get_objects(body, "tiles"))
    return View(view_id, need_text(body, "displayName").strip(), get_choice(body, "kind", _KINDS) or "custom", tiles)


def _tile(path: str, body: Mapping[str, Any]) -> Tile:
    check_members(body, ("kind", "title", "capabilities", "text"), path)
    need_text(body, "kind", f"{path}.kind")
    kind = get_choice(body, "kind", TILE_KINDS, f"{path}.kind") or "text"
    return Tile(
        kind,
        (get_text(body, "title", f"{path}.title") or "").strip(),
        tuple(_subject(where, each) for where, each in get_objects(body, "capabilities", f"{path}.capabilities")),
        (get_text(body, "text", f"{path}.text") or "").strip(),
    )


def _subject(path: str, body: Mapping[str, Any]) -> Subject:
    check_members(body, ("name", "component"), path)
    return Subject(get_text(body, "component", f"{path}.component") or "", need_text(body, "name", f"{path}.name"))


def view_json(view: View, etag: ETag) -> dict[str, Any]:
    """`etag` is the template's, which changes with each of its views."""
    return {
        "id": view.view_id,
        "displayName": view.name,
        "kind": view.kind,
        "generated": view.is_generated,
        "tiles": [_tile_json(tile) for tile in view.tiles],
        "etag": etag,
    }


def _tile_json(tile: Tile) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": _WORD_OF[tile.kind], "title": tile.title}
    if tile.kind == "text":
        return {**document, "text": tile.text}
    return {**document, "capabilities": [_subject_json(subject) for subject in tile.subjects]}


def _subject_json(subject: Subject) -> dict[str, str]:
    return {"name": subject.name, "component": subject.component} if subject.component else {"name": subject.name}

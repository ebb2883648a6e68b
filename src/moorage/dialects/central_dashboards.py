"""Dashboards in the JSON of IoT Central's preview API (contract/central.md 13, 23).

A tile's kind has the API's name where it has one, and else our own in the same spelling. `groupBy` and the thresholds
of a format are our own, so that tiles can be sent as they are read: those that are sent take the place of those there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from moorage.analytics.boards import TILE_KINDS, Board, Dashboard, Threshold, Tile, TileKind
from moorage.analytics.explorer import Aggregate, Measure, Question
from moorage.dialects.members import get_boolean, get_object, get_text, get_whole
from moorage.errors import Invalid

__all__ = ["DASHBOARD_MEMBERS", "SplitPath", "dashboard_json", "parse_tiles"]

DASHBOARD_MEMBERS: Final = ("id", "displayName", "personal", "favorite", "tiles", "organizations", "etag")
_TILE_MEMBERS: Final = ("id", "displayName", "configuration", "x", "y", "width", "height")
_OF_THE_API: Final[Mapping[TileKind, str]] = {"last_value": "lkv", "query": "dataExplorer"}
_KIND_OF: Final[Mapping[str, TileKind]] = {
    _OF_THE_API.get(kind) or re.sub(r"_(\w)", lambda match: match[1].upper(), kind): kind for kind in TILE_KINDS
}
# Their capabilities are properties, not telemetry.
_OF_PROPERTIES: Final[tuple[TileKind, ...]] = ("property", "property_map")
_TYPE_OF: Final = {kind: name for name, kind in _KIND_OF.items()}
_AGGREGATES: Final[Mapping[str, Aggregate]] = {
    "avg": "average",
    "min": "minimum",
    "max": "maximum",
    "sum": "sum",
    "count": "count",
}
_FUNCTION_OF: Final = {aggregate: name for name, aggregate in _AGGREGATES.items()}
_DURATION: Final = re.compile(r"P(?:(\d{1,3})W)?(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,6})M)?)?")
_DAY: Final = 24 * 60
# What a tile has of which nothing is said.
_DEFAULT: Final = Tile("", "label")
_MAX_TILES: Final = 100
# As many as the page of a tile has.
_MAX_THRESHOLDS: Final = 3

# (component, name) of a path, for the devices of a group: the component is '' for what the device itself has.
SplitPath = Callable[[str, str], tuple[str, str]]


# --- reading -----------------------------------------------------------------------------------------------------


def parse_tiles(value: Any, split: SplitPath) -> Dashboard:
    """The member `tiles`. Raises `Invalid` (`body.member`); `check_dashboard` says the rest."""
    if not isinstance(value, list) or len(value) > _MAX_TILES:
        raise Invalid("body.member", f"tiles has to be an array of at most {_MAX_TILES} objects")
    return Dashboard(tuple(_parse_tile(each, number, split) for number, each in enumerate(value)))


def _parse_tile(value: Any, number: int, split: SplitPath) -> Tile:
    path = f"tiles[{number}]"
    if not isinstance(value, Mapping) or any(name not in _TILE_MEMBERS for name in value):
        raise Invalid("body.member", f"{path} has to be an object with {', '.join(_TILE_MEMBERS)} and nothing else")
    shown = get_object(value, "configuration", f"{path}.configuration")
    kind = "" if shown is None else get_text(shown, "type", f"{path}.configuration.type") or ""
    if shown is None or kind not in _KIND_OF:
        raise Invalid(
            "body.member", f"{path}.configuration.type is {kind[:40]!r}, it has to be one of {', '.join(_KIND_OF)}"
        )
    x, y, width, height = (get_whole(value, name) for name in ("x", "y", "width", "height"))
    style = get_object(shown, "format", f"{path}.configuration.format") or {}
    return Tile(
        tile_id=get_text(value, "id", f"{path}.id") or f"tile-{number}",
        kind=_KIND_OF[kind],
        title=get_text(value, "displayName", f"{path}.displayName") or "",
        x=x or 0,
        y=y or 0,
        width=_DEFAULT.width if width is None else width,
        height=_DEFAULT.height if height is None else height,
        question=_parse_question(shown, path, split),
        paths=tuple(_names_in(shown, path)) if _KIND_OF[kind] in _OF_PROPERTIES else (),
        text=get_text(shown, "text" if kind == "label" else "description", path) or "",
        query=get_text(shown, "query", path) or "",
        image=get_text(shown, "image", path) or "",
        command=get_text(shown, "command", path) or "",
        decimals=get_whole(style, "decimalPlaces"),
        is_abbreviated=get_boolean(style, "abbreviateValue", f"{path}.format.abbreviateValue", default=False),
        thresholds=_thresholds(style.get("thresholds") or [], path),
    )


def _thresholds(given: Any, path: str) -> tuple[Threshold, ...]:
    if isinstance(given, list) and len(given) <= _MAX_THRESHOLDS:
        found = [_threshold(each) for each in given]
        if None not in found:
            return tuple(filter(None, found))
    raise Invalid(
        "body.member",
        f"{path}.configuration.format.thresholds has to be an array of at most {_MAX_THRESHOLDS} objects with `from`, "
        "a number, and `color`: good, warn or bad",
    )


def _threshold(value: Any) -> Threshold | None:
    match value:
        case {"from": int() | float() as least, "color": "good" | "warn" | "bad" as colour} if abs(
            least
        ) < 1e200 and not isinstance(least, bool):
            return Threshold(float(least), colour)
    return None


def _parse_question(shown: Mapping[str, Any], path: str, split: SplitPath) -> Question:
    group = get_text(shown, "group", f"{path}.configuration.group") or ""
    devices = shown.get("devices") or ([shown["device"]] if shown.get("device") else [])
    if not isinstance(devices, list) or not all(isinstance(each, str) for each in devices):
        raise Invalid("body.member", f"{path}.configuration.devices has to be an array of ids")
    spans = get_object(shown, "queryRange", f"{path}.configuration.queryRange") or {}
    measures: tuple[Measure, ...] = ()
    if _KIND_OF[shown["type"]] not in _OF_PROPERTIES:
        measures = tuple(
            Measure(*(split(group, name) if component is None else (component, name)), function)
            for component, name, function in _capabilities(shown, path)
        )
    return Question(
        group=group,
        devices=tuple(devices),
        measures=measures,
        by=get_text(shown, "groupBy", f"{path}.configuration.groupBy") or "",
        minutes=_minutes(spans.get("duration"), f"{path}.configuration.queryRange.duration", otherwise=_DAY),
        step=_minutes(spans.get("resolution"), f"{path}.configuration.queryRange.resolution", otherwise=0),
    )


def _capabilities(shown: Mapping[str, Any], path: str) -> list[tuple[str | None, str, Aggregate]]:
    """(component, name, aggregate); no component where the name says it."""
    found: list[tuple[str | None, str, Aggregate]] = []
    given = shown.get("capabilities") or []
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise Invalid("body.member", f"{path}.configuration.capabilities has to be an array of objects")
    for each in given:
        name = get_text(each, "capability", f"{path}.configuration.capabilities.capability")
        function = get_text(each, "aggregateFunction", f"{path}.configuration.capabilities.aggregateFunction") or "avg"
        if not name or function not in _AGGREGATES:
            raise Invalid(
                "body.member",
                f"{path}.configuration.capabilities have a capability, and an aggregateFunction that is one of "
                f"{', '.join(_AGGREGATES)}",
            )
        component = get_text(each, "component", f"{path}.configuration.capabilities.component")
        found.append((component, name, _AGGREGATES[function]))
    return found


def _names_in(shown: Mapping[str, Any], path: str) -> list[str]:
    return [name for _, name, _ in _capabilities(shown, path)]


def _minutes(value: Any, path: str, *, otherwise: int) -> int:
    if value is None:
        return otherwise
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or not any(match.groups()):
        raise Invalid("body.member", f"{path} is {str(value)[:40]!r}, it has to be a duration like PT30M or P1D")
    weeks, days, hours, minutes = (int(part or 0) for part in match.groups())
    return ((weeks * 7 + days) * 24 + hours) * 60 + minutes


# --- writing -----------------------------------------------------------------------------------------------------


def dashboard_json(board: Board[Dashboard]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": board.board_id,
        "displayName": board.display_name,
        "personal": board.is_personal,
        "tiles": [_tile_json(tile) for tile in board.content.tiles],
        "favorite": False,
        "etag": board.etag,
    }
    if board.organization and not board.is_personal:
        document["organizations"] = [board.organization]
    return document


def _tile_json(tile: Tile) -> dict[str, Any]:
    return {
        "id": tile.tile_id,
        "displayName": tile.title,
        "configuration": _configuration(tile),
        "x": tile.x,
        "y": tile.y,
        "width": tile.width,
        "height": tile.height,
    }


def _configuration(tile: Tile) -> dict[str, Any]:
    asked = tile.question
    document: dict[str, Any] = {"type": _TYPE_OF[tile.kind]}
    if asked.group:
        document["group"] = asked.group
    if asked.devices:
        document["devices"] = list(asked.devices)
    capabilities: list[dict[str, str]] = [{"capability": path} for path in tile.paths]
    for each in asked.measures:
        # Only of a group's devices it is known what the first part of a name is.
        is_apart = each.component and not asked.group
        named = {"capability": each.name, "component": each.component} if is_apart else {"capability": each.label}
        capabilities.append({**named, "aggregateFunction": _FUNCTION_OF[each.aggregate]})
    if capabilities:
        document["capabilities"] = capabilities
    if (asked.measures and tile.kind not in _OF_PROPERTIES) or asked.minutes != _DAY or asked.step:
        spans = {"type": "time", "duration": _duration(asked.minutes)}
        document["queryRange"] = {**spans, "resolution": _duration(asked.step)} if asked.step else spans
    if asked.by:
        document["groupBy"] = asked.by
    if tile.text:
        document["text" if tile.kind == "label" else "description"] = tile.text
    for name, value in (("query", tile.query), ("image", tile.image), ("command", tile.command)):
        if value:
            document[name] = value
    style: dict[str, Any] = {"abbreviateValue": True} if tile.is_abbreviated else {}
    if tile.decimals is not None:
        style["decimalPlaces"] = tile.decimals
    if tile.thresholds:
        style["thresholds"] = [{"from": each.least, "color": each.colour} for each in tile.thresholds]
    return {**document, "format": style} if style else document


def _duration(minutes: int) -> str:
    days, rest = divmod(minutes, _DAY)
    if not rest:
        return f"P{days}D"
    hours, rest = divmod(minutes, 60)
    return f"PT{hours}H" if not rest else f"PT{minutes}M"

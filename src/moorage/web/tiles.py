"""The tiles of a device's view, filled with what the device said last (contract/central.md 7.5, DEV-6).

Plain values: a view and what is known make tiles, templates draw them, and the same readings go into the stream that
keeps an open page current. The key of a reading is `component/name`, which no name can hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from moorage.analytics.rollups import Bucket, Key, LastValue
from moorage.dtdl.model import Interface, Telemetry, Valued
from moorage.dtdl.quantities import symbol
from moorage.fleet.commands import CommandRun, Outcome, Progress
from moorage.fleet.properties import PropertyKey, PropertySheet, PropertyState, State
from moorage.fleet.views import Subject, Tile, View
from moorage.web.schema_forms import Input
from moorage.web.values import is_numeric, sparkline, value_text

__all__ = [
    "MAX_LINES",
    "SPANS",
    "STATE_TEXTS",
    "CommandCard",
    "PropertyRow",
    "Reading",
    "RunRow",
    "Span",
    "ViewTile",
    "charted_keys",
    "key_text",
    "parse_key",
    "property_rows",
    "readings_of",
    "seen_view",
    "shown_of",
    "view_tiles",
]

# That one page asks for.
MAX_LINES: Final = 24
# Of a device without a template: what it sends is shown as it comes.
_MAX_UNMODELLED: Final = 40


class Span(NamedTuple):
    """How far back charts go, and how wide their steps are."""

    label: str
    length: timedelta
    step: timedelta


SPANS: Final[dict[str, Span]] = {
    "30m": Span("30 minutes", timedelta(minutes=30), timedelta(minutes=1)),
    "6h": Span("6 hours", timedelta(hours=6), timedelta(minutes=5)),
    "1d": Span("day", timedelta(days=1), timedelta(minutes=15)),
    "7d": Span("week", timedelta(days=7), timedelta(hours=2)),
}

# (label, light) of contract/central.md 8.1.
STATE_TEXTS: Final[dict[State, tuple[str, str]]] = {
    "unset": ("Not set", "off"),
    "reported": ("Reported", "off"),
    "accepted": ("Accepted", "good"),
    "pending": ("Pending", "wait"),
    "error": ("Error", "bad"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The last value of one capability. `number` is None for what no line is drawn of."""

    key: str
    label: str
    text: str = "—"
    unit: str = ""
    at: datetime | None = None
    number: float | None = None
    is_charted: bool = False
    path: str = ""
    severity: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PropertyRow:
    """One property, read-only or as form fields, which began with `original`."""

    key: str
    label: str
    text: str
    unit: str
    state: State | Literal["cloud"]
    state_label: str
    light: str
    detail: str
    updated: str
    is_writable: bool = False
    fields: tuple[Input, ...] = ()
    original: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of a command's history; texts are JSON."""

    run: CommandRun
    outcome: Outcome
    told: str
    request: str
    response: str
    progress: Progress | None = None
    progress_text: str = ""


@dataclass(frozen=True, slots=True)
class CommandCard:
    """`errors` is what is wrong with what was typed, by the name of the field."""

    component: str
    name: str
    label: str
    description: str
    method: str
    is_durable: bool
    inputs: Sequence[Input] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    history: Sequence[RunRow] = ()


@dataclass(frozen=True, slots=True)
class ViewTile:
    """`kind` as the template has it; what is not of that kind is empty."""

    kind: str
    title: str
    component: str = ""
    readings: Sequence[Reading] = ()
    properties: Sequence[PropertyRow] = ()
    command: CommandCard | None = None
    text: str = ""
    keys: Sequence[str] = field(default=())


def key_text(component: str, name: str) -> str:
    return f"{component}/{name}"


def parse_key(text: str) -> Key:
    component, _, name = text.partition("/")
    return component, name


# -- telemetry ---------------------------------------------------------------------------------------------------------


def readings_of(
    subjects: Iterable[tuple[str, str]],
    interface: Interface | None,
    last: Mapping[Key, LastValue],
    lines: Mapping[Key, Mapping[datetime, Bucket]],
) -> list[Reading]:
    """In the order of `subjects`, (component, name) each."""
    return [_reading(component, name, interface, last, lines) for component, name in subjects]


def _reading(
    component: str,
    name: str,
    interface: Interface | None,
    last: Mapping[Key, LastValue],
    lines: Mapping[Key, Mapping[datetime, Bucket]],
) -> Reading:
    declared = None if interface is None else interface.find_telemetry(name, component)
    found = last.get((component, name)) or _gathered(last, component, name)
    value = None if found is None else found.value
    is_charted = is_numeric(declared, [value])
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    why = None if declared is None or found is None else declared.schema.check(value)
    return Reading(
        key=key_text(component, name),
        label=declared.label if declared is not None else name,
        text=value_text(value, declared) if found is not None else "—",
        unit=_unit(declared),
        at=None if found is None else found.at,
        number=number if is_charted else None,
        is_charted=is_charted,
        path=sparkline(_points(lines.get((component, name), {}))) if is_charted else "",
        severity=declared.severity if isinstance(declared, Telemetry) else "",
        problem=why or "",
    )


def _gathered(last: Mapping[Key, LastValue], component: str, name: str) -> Any:
    """An object comes as its leaves: put together again from those of its newest message."""
    inside = {key[1][len(name) + 1 :]: each for key, each in last.items() if _is_inside(key, component, name)}
    if not inside:
        return None
    newest = max(each.at for each in inside.values())
    return _Gathered(newest, {leaf: each.value for leaf, each in inside.items() if each.at == newest})


class _Gathered(NamedTuple):
    at: datetime
    value: Any


def _is_inside(key: Key, component: str, name: str) -> bool:
    return key[0] == component and key[1].startswith(f"{name}.")


def _points(line: Mapping[datetime, Bucket]) -> list[tuple[float, float]]:
    return [(start.timestamp(), bucket.average) for start, bucket in line.items() if bucket.average is not None]


def _unit(declared: Valued | None) -> str:
    return "" if declared is None else symbol(declared.shown_unit)


# -- properties --------------------------------------------------------------------------------------------------------


def property_rows(sheet: PropertySheet, subjects: Iterable[tuple[str, str]]) -> list[PropertyRow]:
    """Of the device and of the cloud, in the order of `subjects`."""
    states = {state.key: state for state in sheet.states}
    interface = sheet.model.interface
    rows = []
    for component, name in subjects:
        declared = None if interface is None else interface.find_property(name, component)
        if declared is not None and declared.is_cloud:
            value = sheet.cloud.get(name)
            rows.append(
                PropertyRow(
                    key_text(component, name),
                    declared.label,
                    value_text(value, declared),
                    _unit(declared),
                    "cloud",
                    "Cloud property",
                    "off",
                    "",
                    "",
                    is_writable=True,
                    description=declared.description,
                )
            )
        elif (state := states.get(PropertyKey(component, name))) is not None:
            rows.append(_property_row(state))
    return rows


def _property_row(state: PropertyState) -> PropertyRow:
    declared = state.declared
    label, light = STATE_TEXTS[state.state]
    if not state.is_writable and state.state == "reported":
        label = ""
    return PropertyRow(
        key=key_text(*state.key),
        label=declared.label if declared is not None else state.key.name,
        text=value_text(state.value, declared),
        unit=_unit(declared),
        state=state.state,
        state_label=label,
        light=light,
        detail=_detail(state),
        updated=state.updated,
        is_writable=state.is_writable,
        description=declared.description if declared is not None else "",
    )


def _detail(state: PropertyState) -> str:
    """What stands behind the state, in a few words."""
    asked = "" if state.desired_version is None else value_text(state.desired, state.declared)
    match state.state:
        case "error":
            return (
                f"{state.ack_description or 'the device refused it'} ({state.ack_code}), asked for {asked or 'nothing'}"
            )
        case "pending" if state.desired_version is None:
            return "the value that the device begins with"
        case "pending" if state.ack_code is None or (state.ack_version or 0) < (state.desired_version or 0):
            return f"asked for {asked}; the device has not answered"
        case "pending":
            return f"asked for {asked}; the device is at it ({state.ack_code})"
        case _:
            return state.ack_description


# -- views -------------------------------------------------------------------------------------------------------------


def charted_keys(views: Iterable[View], interface: Interface) -> list[Key]:
    """What lines are drawn of, at most `MAX_LINES`."""
    found = dict.fromkeys(
        (subject.component, subject.name)
        for view in views
        for tile in view.tiles
        if tile.kind in ("chart", "last_value", "event")
        for subject in tile.subjects
        if is_numeric(interface.find_telemetry(subject.name, subject.component), ())
    )
    return list(found)[:MAX_LINES]


def seen_view(last: Mapping[Key, LastValue]) -> View:
    """For a device without a template: what it was seen to send."""
    tiles = tuple(
        Tile("chart" if is_numeric(None, [value.value]) else "last_value", name, (Subject(component, name),))
        for (component, name), value in shown_of(last).items()
    )
    return View("overview", "Overview", "overview", tiles)


def shown_of(last: Mapping[Key, LastValue]) -> dict[Key, LastValue]:
    """What such a view has a place for."""
    return dict(list(last.items())[:_MAX_UNMODELLED])


def view_tiles(
    view: View,
    interface: Interface | None,
    last: Mapping[Key, LastValue],
    lines: Mapping[Key, Mapping[datetime, Bucket]],
    sheet: PropertySheet,
    cards: Mapping[Subject, CommandCard],
) -> list[ViewTile]:
    """The tiles of a view in their order, without those that the model no longer has."""
    tiles = []
    for tile in view.tiles:
        component = tile.subjects[0].component if tile.subjects else ""
        match tile.kind:
            case "chart" | "last_value" | "event":
                readings = readings_of(tile.subjects, interface, last, lines)
                keys = [each.key for each in readings if each.is_charted] if tile.kind == "chart" else []
                tiles.append(ViewTile(tile.kind, _title(tile, readings), component, readings, keys=keys))
            case "property":
                rows = property_rows(sheet, tile.subjects)
                tiles.append(ViewTile(tile.kind, tile.title or "Properties", component, properties=rows))
            case "command":
                card = cards.get(tile.subjects[0])
                if card is not None:
                    tiles.append(ViewTile(tile.kind, tile.title or card.label, component, command=card))
            case "text":
                tiles.append(ViewTile(tile.kind, tile.title, text=tile.text))
    return tiles


def _title(tile: Tile, readings: Sequence[Reading]) -> str:
    return tile.title or ", ".join(each.label for each in readings)

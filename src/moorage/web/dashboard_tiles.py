"""Tiles of a dashboard, filled with what there is to see for whoever looks (contract/central.md 13).

A tile is filled alone: what goes wrong with one is said in its place, and the others stand. How often one is asked for
again follows from its kind (`FRESHNESS`): values when a device has said something, lines less often, the rest by a
timer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from moorage.accounts.model import Actor, Permission
from moorage.analytics.boards import MAX_DEVICES_OF_TILE, Threshold, Tile, TileKind
from moorage.analytics.explorer import STEPS, Question, Total
from moorage.analytics.rollups import Key, LastValue, Scalar
from moorage.dialects.telemetry_values import values_of
from moorage.errors import Forbidden, Invalid, NotFound, Refusal
from moorage.fleet.group_query import device_row
from moorage.fleet.groups import DeviceGroupId
from moorage.fleet.model import STATES, DeviceRecord
from moorage.hub.telemetry_log import LogCorrupt
from moorage.ids import IdentityName
from moorage.web.drawings import Band, Point, bands_of, heat_of, map_of, marks_of, pie_of
from moorage.web.explorer import SPANS, chart_json, number_text
from moorage.web.labels import Labels
from moorage.web.markdown import markdown
from moorage.web.places import place_in, place_of
from moorage.web.services import WebServices

__all__ = ["FRESHNESS", "KIND_NAMES", "Filled", "TileFiller"]

KIND_NAMES: Final[Mapping[TileKind, str]] = {
    "line_chart": "Line chart",
    "bar_chart": "Bar chart",
    "pie_chart": "Pie chart",
    "heat_map": "Heat map",
    "kpi": "KPI",
    "last_value": "Last known value",
    "property": "Property",
    "device_count": "Device count",
    "map": "Map",
    "property_map": "Map of a property",
    "state_chart": "State chart",
    "state_history": "State history",
    "event_chart": "Event chart",
    "event_history": "Event history",
    "messages": "Messages a minute",
    "health": "Fleet at a glance",
    "query": "Data explorer query",
    "command": "Command",
    "label": "Label",
    "markdown": "Markdown",
    "image": "Image",
}
# What makes an open page ask for a tile again: an event of its stream, or a timer; the rest never changes by itself.
FRESHNESS: Final[Mapping[TileKind, str]] = {
    "line_chart": "sse:lines, every 60s",
    "bar_chart": "sse:lines, every 60s",
    "pie_chart": "sse:lines, every 60s",
    "heat_map": "sse:lines, every 60s",
    "state_chart": "sse:lines, every 60s",
    "query": "sse:lines, every 60s",
    "kpi": "sse:values, every 60s",
    "last_value": "sse:values, every 60s",
    "map": "sse:values, every 60s",
    "state_history": "sse:values, every 60s",
    "event_chart": "sse:values, every 60s",
    "event_history": "sse:values, every 60s",
    "property": "every 15s",
    "property_map": "every 15s",
    "device_count": "every 15s",
    "messages": "every 15s",
    "health": "every 15s",
}
_OF_DATA: Final[tuple[TileKind, ...]] = (
    "heat_map",
    "state_chart",
    "line_chart",
    "bar_chart",
    "pie_chart",
    "query",
    "kpi",
    "last_value",
    "map",
    "state_history",
    "event_chart",
    "event_history",
)
_OF_DEVICES: Final[tuple[TileKind, ...]] = ("property", "property_map", "device_count", "health", "messages")
# How far ahead certificates that end are counted.
_SOON: Final = timedelta(days=30)
_HISTORY: Final = 50
_REFUSALS: Final = 200
_MAP_POINTS: Final = 100
_CELLS: Final = 24


@dataclass(frozen=True, slots=True)
class Filled:
    """A tile with what its template (`dashboards/tile_<kind>.html`) shows; `problem` says why it shows nothing."""

    tile: Tile
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: Refusal | None = None
    is_late: bool = False

    @property
    def title(self) -> str:
        return self.tile.title or KIND_NAMES[self.tile.kind]

    @property
    def freshness(self) -> str:
        """What asks for it again; one that was not filled yet is asked for at once."""
        return "load" if self.is_late else FRESHNESS.get(self.tile.kind, "")


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as a tile shows it: `colour` is of the highest threshold that it reaches."""

    label: str
    text: str
    at: datetime | None = None
    colour: str = ""
    device_id: str = ""


class TileFiller:
    def __init__(self, services: WebServices) -> None:
        self._services = services
        self._by_kind: dict[TileKind, Callable[[Actor, Tile], Awaitable[dict[str, Any]]]] = {
            "line_chart": self._line_chart,
            "bar_chart": self._parts,
            "pie_chart": self._parts,
            "heat_map": self._heat_map,
            "kpi": self._kpi,
            "last_value": self._last_value,
            "property": self._property,
            "device_count": self._device_count,
            "map": self._map,
            "property_map": self._property_map,
            "state_chart": self._state_chart,
            "state_history": self._history,
            "event_chart": self._event_chart,
            "event_history": self._history,
            "messages": self._messages,
            "health": self._health,
            "query": self._query,
            "command": self._command,
            "label": self._text,
            "markdown": self._text,
            "image": self._text,
        }

    async def fill(self, actor: Actor, tile: Tile) -> Filled:
        try:
            needed = _permission(tile.kind)
            if needed is not None and not actor.may(needed):
                raise Forbidden("page.permission", f"what this tile shows takes the permission {needed}")
            return Filled(tile, await self._by_kind[tile.kind](actor, tile))
        except NotFound as refusal:
            if refusal.reason == "device.unknown" and actor.organizations is not None:
                # Whoever may not see a device is not told its ID by a tile that somebody else made.
                refusal = NotFound(refusal.reason, "a device of this tile is gone, or not yours to see")
            return Filled(tile, problem=refusal)
        except Refusal as refusal:
            return Filled(tile, problem=refusal)

    async def devices(self, actor: Actor, tiles: Sequence[Tile]) -> list[str]:
        """Whom a page with these tiles has to listen to."""
        found: dict[str, None] = {}
        for tile in tiles:
            if "sse:" not in FRESHNESS.get(tile.kind, ""):
                continue
            try:
                question = self._question(actor, tile)
                subjects = await self._services.explorer.subjects(actor, question, MAX_DEVICES_OF_TILE)
            except Refusal:
                # The tile says what is wrong with it.
                continue
            found |= dict.fromkeys(each.device_id for each in subjects.devices)
        return list(found)

    # -- by kind -------------------------------------------------------------------------------------------------------

    async def _line_chart(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        return await self._chart(actor, tile.question)

    async def _query(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        if not tile.query:
            raise Invalid("dashboard.tile", "choose the saved query that this tile shows")
        return await self._chart(actor, self._question(actor, tile))

    async def _chart(self, actor: Actor, question: Question) -> dict[str, Any]:
        _check_measures(question)
        answer = await self._services.explorer.answer(actor, question, most_devices=MAX_DEVICES_OF_TILE)
        labels = Labels(self._services.templates, answer.subjects.devices)
        return {"answer": answer, "chart": chart_json(answer, question.axes, labels), "span": _span_text(question)}

    async def _heat_map(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        """A strip for each line, of which a cell is a step of the time."""
        _check_measures(tile.question)
        step = _heat_step(tile.question.minutes)
        question = replace(tile.question, step=step)
        answer = await self._services.explorer.answer(actor, question, most_devices=MAX_DEVICES_OF_TILE)
        labels = Labels(self._services.templates, answer.subjects.devices)
        is_one = len(tile.question.measures) == 1
        known = [value for line in answer.lines for value in line.values if value is not None]
        least, greatest = (min(known), max(known)) if known else (0.0, 0.0)
        return {
            "rows": [
                (labels.of_line(line, is_one_measure=is_one), heat_of(line.values, least, greatest))
                for line in (answer.lines if known else ())
            ],
            "least": self._number(tile, least),
            "greatest": self._number(tile, greatest),
            "span": _span_text(question),
        }

    async def _state_chart(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        """Of each device a strip in which every state has its colour, from its newest values."""
        _check_measures(tile.question)
        subjects = await self._services.explorer.subjects(actor, tile.question, MAX_DEVICES_OF_TILE)
        key = tile.question.measures[0].key
        until = self._services.clock.now()
        said: list[tuple[DeviceRecord, list[tuple[datetime, str]]]] = []
        for device in subjects.devices:
            values = await self._values(device, {key}, _HISTORY)
            if values:
                said.append((device, sorted((at, self._value_text(tile, value)) for at, _, _, value in values)))
        since = min((states[0][0] for _, states in said), default=until)
        whole = max((until - since).total_seconds(), 1.0)
        names = sorted({name for _, states in said for _, name in states})
        rows = []
        for device, states in said:
            # Only those that differ from the one before begin a band.
            states = [states[0], *(each for before, each in pairwise(states) if before[1] != each[1])]
            ends = [*(at for at, _ in states[1:]), until]
            bands = [
                Band(
                    (at - since).total_seconds() / whole,
                    (end - since).total_seconds() / whole,
                    names.index(name) % 8 + 1,
                )
                for (at, name), end in zip(states, ends, strict=True)
            ]
            rows.append((device, states[-1][1], bands_of(bands)))
        return {"rows": rows, "states": names[:8], "since": since}

    async def _parts(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        totals = [total for total in await self._totals(actor, tile) if total.value is not None]
        labels = await self._labels(actor, tile)
        most = max((abs(total.value or 0) for total in totals), default=0) or 1
        rows = [
            {
                "label": labels.of_total(total),
                "text": self._number(tile, total.value),
                # Twentieths, which are classes: a page has no styles of its own.
                "length": max(1, round(abs(total.value or 0) / most * 20)),
                "number": number % 8 + 1,
            }
            for number, total in enumerate(totals)
        ]
        return {
            "rows": rows,
            "pie": pie_of([total.value or 0 for total in totals]),
            "span": _span_text(tile.question),
            "aggregate": tile.question.measures[0].aggregate,
        }

    async def _kpi(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        totals, labels = await self._totals(actor, tile), await self._labels(actor, tile)
        shown = []
        for total in totals[:4]:
            change = None
            if total.value is not None and total.before:
                change = (total.value - total.before) / abs(total.before) * 100
            shown.append(
                (
                    Shown(labels.of_total(total), self._number(tile, total.value), colour=_colour(tile, total.value)),
                    change,
                )
            )
        return {"shown": shown, "span": _span_text(tile.question), "aggregate": tile.question.measures[0].aggregate}

    async def _totals(self, actor: Actor, tile: Tile) -> list[Total]:
        _check_measures(tile.question)
        now = self._services.clock.now()
        return await self._services.explorer.totals(actor, tile.question, now, most_devices=MAX_DEVICES_OF_TILE)

    async def _labels(self, actor: Actor, tile: Tile) -> Labels:
        """By the template of the first device: all of a group have one, or send what is called alike."""
        subjects = await self._services.explorer.subjects(actor, tile.question, 1)
        return Labels(self._services.templates, subjects.devices)

    async def _last_value(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        _check_measures(tile.question)
        devices, last = await self._last(actor, tile.question)
        is_one = len(devices) == 1
        labels = Labels(self._services.templates, devices)
        shown = []
        for device in devices:
            for measure in tile.question.measures:
                value = last[device.device_id].get(measure.key)
                label = labels.of(measure) if is_one else f"{device.display_name}, {labels.of(measure)}"
                if value is not None:
                    text, colour = self._value_text(tile, value.value), _colour(tile, value.value)
                    shown.append(Shown(label, text, value.at, colour, device.device_id))
                elif not tile.question.group:
                    shown.append(Shown(label, "–", device_id=device.device_id))
        return {"shown": shown or [Shown("nothing came yet", "–")]}

    async def _last(
        self, actor: Actor, question: Question, most: int = MAX_DEVICES_OF_TILE
    ) -> tuple[Sequence[DeviceRecord], dict[str, dict[Key, LastValue]]]:
        subjects = await self._services.explorer.subjects(actor, question, most)
        ids = [each.device_id for each in subjects.devices]
        return subjects.devices, await self._services.series.last_values_of(ids)

    async def _property(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        rows = await self._rows(actor, tile, MAX_DEVICES_OF_TILE)
        shown = []
        for device, row in rows:
            for path in tile.paths:
                value = _at(row, path)
                label = path if len(rows) == 1 else f"{device.display_name}, {path}"
                text, colour = self._value_text(tile, value), _colour(tile, value)
                shown.append(Shown(label, text, colour=colour, device_id=device.device_id))
        return {"shown": shown}

    async def _rows(self, actor: Actor, tile: Tile, most: int) -> list[tuple[DeviceRecord, dict[str, Any]]]:
        """Each device with its properties, as queries see them."""
        if not tile.paths:
            raise Invalid("dashboard.tile", "name the properties that this tile shows")
        services = self._services
        subjects = await services.explorer.subjects(actor, tile.question, most)

        def read() -> list[tuple[DeviceRecord, dict[str, Any]]]:
            rows = []
            for device in subjects.devices:
                name = IdentityName(device.device_id)
                twin = services.twins.get(services.hub, name) if device.is_provisioned else None
                cloud = services.fleet.cloud_properties(actor, device.device_id)
                rows.append((device, device_row(device, twin, cloud)))
            return rows

        return await asyncio.to_thread(read)

    async def _device_count(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        services = self._services
        if tile.question.group:
            group = services.groups.get(actor, DeviceGroupId(tile.question.group))
            preview = await services.groups.look(actor, group, 0)
            return {"count": preview.count, "is_whole": preview.is_whole, "of": group.display_name}
        return {"count": await services.fleet.count(actor), "is_whole": True, "of": "All devices"}

    async def _map(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        _check_measures(tile.question)
        devices, last = await self._last(actor, tile.question, _MAP_POINTS)
        points = []
        for device in devices:
            for measure in tile.question.measures:
                place = place_of(last[device.device_id], measure)
                if place is not None:
                    points.append((Point(device.display_name, *place), device.device_id))
        return {"points": points, "map": map_of([point for point, _ in points]) if points else ""}

    async def _property_map(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        points = []
        for device, row in await self._rows(actor, tile, _MAP_POINTS):
            for path in tile.paths:
                place = place_in(_at(row, path))
                if place is not None:
                    points.append((Point(device.display_name, *place), device.device_id))
        return {"points": points, "map": map_of([point for point, _ in points]) if points else ""}

    async def _event_chart(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        """Of each device a strip with a mark for each of its newest events, in the colour of its name."""
        _check_measures(tile.question)
        subjects = await self._services.explorer.subjects(actor, tile.question, MAX_DEVICES_OF_TILE)
        keys = [measure.key for measure in tile.question.measures]
        until = self._services.clock.now()
        came = [(device, await self._values(device, set(keys), _HISTORY)) for device in subjects.devices]
        since = min((at for _, events in came for at, *_ in events), default=until)
        whole = max((until - since).total_seconds(), 1.0)
        rows = []
        for device, events in came:
            places = sorted(((at - since).total_seconds() / whole, keys.index(key) % 8 + 1) for at, _, key, _ in events)
            rows.append((device, len(events), marks_of(places)))
        labels = Labels(self._services.templates, subjects.devices)
        names = [labels.of(measure) for measure in tile.question.measures][:8]
        return {"rows": [row for row in rows if row[1]], "names": names, "since": since}

    async def _history(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        """The newest values of one name; of states only those that differ from the one before."""
        _check_measures(tile.question)
        subjects = await self._services.explorer.subjects(actor, tile.question, MAX_DEVICES_OF_TILE)
        wanted = {measure.key for measure in tile.question.measures}
        found: list[tuple[datetime, DeviceRecord, Key, Scalar]] = []
        for device in subjects.devices:
            found += await self._values(device, wanted, max(5, _HISTORY // len(subjects.devices)))
        found.sort(key=lambda each: each[0])
        if tile.kind == "state_history":
            state: dict[tuple[str, Key], Scalar] = {}
            changes = []
            for each in found:
                of = (each[1].device_id, each[2])
                if state.get(of) != each[3]:
                    changes.append(each)
                state[of] = each[3]
            found = changes
        rows = [
            (at, device, key, self._value_text(tile, value), _colour(tile, value))
            for at, device, key, value in reversed(found[-_HISTORY:])
        ]
        return {"rows": rows, "is_one": len(subjects.devices) == 1, "is_one_name": len(wanted) == 1}

    async def _values(
        self, device: DeviceRecord, wanted: set[Key], most: int
    ) -> list[tuple[datetime, DeviceRecord, Key, Scalar]]:
        """Out of the newest messages of a device, whose places are known."""
        log = self._services.log
        found = []
        for offset in await self._services.series.recent_offsets(device.device_id, None, most):
            if offset < log.durable_start:
                break
            try:
                page = await log.read(from_offset=offset, limit=1)
            except LogCorrupt:
                continue
            for message in page.messages:
                if message.source.device_id != device.device_id or message.source.message_source != "Telemetry":
                    continue
                readings = values_of(message)
                for key, value in readings.values if readings is not None else ():
                    if key in wanted:
                        found.append((message.enqueued_time, device, key, value))
        return found

    async def _messages(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        if actor.organizations is not None:
            raise Forbidden("page.permission", "messages are counted for the whole application, not by organization")
        series, now = self._services.series, self._services.clock.now()
        minutes = min(tile.question.minutes, 24 * 60)
        since = (now - timedelta(minutes=minutes)).replace(second=0, microsecond=0)
        traffic = await series.traffic(since, now)
        times = [since + timedelta(minutes=number) for number in range(minutes)]
        counts = [traffic.get(time, 0) for time in times]
        chart = {
            "axes": "shared",
            "times": [int(time.timestamp()) for time in times],
            "lines": [{"label": "messages", "measure": 0, "values": counts}],
        }
        return {
            "chart": json.dumps(chart, separators=(",", ":")),
            "last": counts[-1] if counts else 0,
            "span": _span_text(tile.question),
            "behind": series.progress.behind_bytes,
        }

    async def _health(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        services = self._services
        states = dict.fromkeys(STATES, 0)
        for tally in services.fleet.tallies(actor):
            states[tally.state] += tally.devices
        refusals = None
        if actor.may("attempts.view") and actor.organizations is None:
            since = services.clock.now() - timedelta(hours=1)
            attempts = await services.attempts.find(
                services.hub, device=None, thumbprint=None, tracking_id=None, limit=_REFUSALS
            )
            refusals = sum(each.at > since and not each.is_accepted for each in attempts)
        expiring = None
        if actor.may("certificates.view") and actor.organizations is None:
            # Looked at once a minute.
            expiring = services.forecast.latest.within(_SOON) if services.forecast.latest is not None else None
        return {
            "expiring": expiring,
            "total": sum(states.values()),
            "states": states,
            "connected": services.presence.count(services.hub) if actor.organizations is None else None,
            "refusals": refusals,
            "most_refusals": _REFUSALS,
        }

    async def _command(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        if not tile.command or len(tile.question.devices) != 1:
            raise Invalid("dashboard.tile", "choose one device, and the command that its button runs")
        (device_id,) = tile.question.devices
        subjects = await self._services.explorer.subjects(actor, Question(devices=(device_id,)))
        return {"device": subjects.devices[0]}

    async def _text(self, actor: Actor, tile: Tile) -> dict[str, Any]:
        return {"html": markdown(tile.text) if tile.kind == "markdown" else ""}

    # ------------------------------------------------------------------------------------------------------------------

    def _question(self, actor: Actor, tile: Tile) -> Question:
        if tile.kind == "query" and tile.query:
            return self._services.queries.get(actor, tile.query).content.question
        return tile.question

    def _value_text(self, tile: Tile, value: Any) -> str:
        if value is None:
            return "–"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return self._number(tile, float(value))
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:200]

    def _number(self, tile: Tile, value: float | None) -> str:
        if value is not None and tile.is_abbreviated:
            for least, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
                if abs(value) >= least:
                    return number_text(value / least, 1 if tile.decimals is None else tile.decimals) + letter
        return number_text(value, tile.decimals) or "–"


def _permission(kind: TileKind) -> Permission | None:
    if kind in _OF_DATA:
        return "data.view"
    if kind in _OF_DEVICES:
        return "devices.view"
    return "commands.run" if kind == "command" else None


def _heat_step(minutes: int) -> int:
    """So that a strip has two dozen cells or fewer."""
    return next((step for step in STEPS if minutes / step <= _CELLS), STEPS[-1])


def _check_measures(question: Question) -> None:
    if not question.measures:
        raise Invalid("dashboard.tile", "choose what this tile shows")


def _colour(tile: Tile, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    reached: list[Threshold] = [each for each in tile.thresholds if value >= each.least]
    return max(reached, key=lambda each: each.least).colour if reached else ""


def _at(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for name in [path] if path in row else path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _span_text(question: Question) -> str:
    if question.since is not None and question.until is not None:
        return f"{question.since:%Y-%m-%d %H:%M} to {question.until:%Y-%m-%d %H:%M} UTC"
    return "last " + SPANS.get(question.minutes, f"{question.minutes} minutes")

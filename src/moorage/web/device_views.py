"""The views of a device: tiles that keep current, properties with their states, forms (7.5, 8.1, DEV-6, DEV-8).

A page is whole as the server made it; an open one is told by server-sent events of what changed: `values` with the last
values, `states` with properties. Lines are asked for as JSON and drawn where the page has a place for them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse, RedirectResponse, Response

from moorage.accounts.model import Actor
from moorage.analytics.rollups import Bucket, Key, LastValue
from moorage.dialects.json_text import parse_object
from moorage.dtdl.model import Property
from moorage.errors import Invalid, NotFound, PreconditionFailed, Refusal
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.properties import PropertyKey, PropertyProblems, PropertySheet
from moorage.fleet.views import View
from moorage.web.device_code import command_acts
from moorage.web.device_commands import command_cards
from moorage.web.device_form_code import document_of, property_acts
from moorage.web.device_page import DevicePage, device_of, path_of, view_tab
from moorage.web.live import HEARTBEAT_S, LivePages, pause_after
from moorage.web.pages import Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.schema_forms import example_of, inputs_of, parse_inputs
from moorage.web.services import WebServices
from moorage.web.tiles import (
    MAX_LINES,
    SPANS,
    PropertyRow,
    charted_keys,
    key_text,
    parse_key,
    property_rows,
    readings_of,
    seen_view,
    shown_of,
    view_tiles,
)
from moorage.web.values import typed_text

__all__ = ["device_view_pages"]

_SPAN: Final = "30m"
# How long an open page waits to be told, before it sees whether it is still wanted; and when it looks by itself.
_WAIT_S: Final = 1.0
_LOOK_S: Final = 5.0
_BATCH_S: Final = 0.1


def device_view_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Views(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one, pages.first, "devices.view"),
        Page("GET", one + "/views/{view_id}", pages.view, "devices.view"),
        Page("POST", one + "/views/{view_id}", pages.save, "devices.manage", keeps=True),
        Page("GET", one + "/series", pages.series, "devices.view"),
        Page("GET", one + "/live", pages.live, "devices.view"),
    ]


@dataclass(frozen=True, slots=True)
class _Typed:
    """A form that came back: what was typed, and what is wrong with it."""

    fields: Mapping[str, str]
    errors: Mapping[str, str]
    problem: Refusal | None = None


class _Views:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)
        self._live = LivePages(services.accounts)

    # -- pages ---------------------------------------------------------------------------------------------------------

    async def first(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        if model.content is None:
            last = await self._services.series.last_values(model.device.record.device_id)
            return await self._show(visit, model, seen_view(last), last)
        views = model.content.views
        return await self._view(visit, model, views[0] if views else View("overview", "Overview", "overview", ()))

    async def view(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        return await self._view(visit, model, _view_of(visit, model))

    async def _view(self, visit: Visit, model: DeviceModel, view: View) -> Response:
        if view.kind == "form":
            return await self._form(visit, model, view)
        last = await self._services.series.last_values(model.device.record.device_id)
        return await self._show(visit, model, view, last)

    async def _show(self, visit: Visit, model: DeviceModel, view: View, last: Mapping[Key, LastValue]) -> Response:
        interface = model.interface
        keys = charted_keys([view], interface) if interface is not None else _seen_keys(view)
        lines = await self._lines(model, keys, _SPAN)
        sheet = self._sheet(visit.actor, model)
        cards = await command_cards(self._services, visit.actor, model, view, sheet.twin)
        tiles = await asyncio.to_thread(view_tiles, view, interface, last, lines, sheet, cards)
        return await self._page.page(
            visit,
            model,
            "device/view.html",
            tab=view_tab(view.view_id),
            view=view,
            tiles=tiles,
            spans={name: span.label for name, span in SPANS.items()},
            span=_SPAN,
            may_run=visit.may("commands.run"),
            is_charted=any(tile.keys for tile in tiles),
            as_code=command_acts(self._services.info(), model, cards) if cards and visit.may("commands.run") else [],
        )

    # -- forms ---------------------------------------------------------------------------------------------------------

    async def save(self, visit: Visit) -> Response:
        """What was changed in the form, as one patch; what could not be kept stays typed."""
        model = self._page.find(visit)
        view = _view_of(visit, model)
        if view.kind != "form":
            raise NotFound("view.unknown", f"the view {view.name!r} is no form, so there is nothing to save")
        fields = await visit.form()
        changes, cloud, errors = _read_form(model, view, fields)
        if errors:
            return await self._form(visit, model, view, _Typed(fields, errors), HTTPStatus.BAD_REQUEST)
        version = fields.get("version", "")
        is_changed = any(changes.values()) or bool(cloud)
        try:
            visit.check_in_time()
            if is_changed:
                await self._services.properties.set(
                    visit.actor,
                    device_of(visit),
                    changes,
                    cloud=cloud or None,
                    if_desired=int(version) if version.isascii() and version.isdigit() and len(version) < 16 else None,
                )
        except PropertyProblems as refusal:
            errors = {key_text(*key): f"it does not fit: {why}" for key, why in refusal.problems.items()}
            return await self._form(visit, model, view, _Typed(fields, errors), HTTPStatus.BAD_REQUEST)
        except Refusal as refusal:
            status = (
                HTTPStatus.PRECONDITION_FAILED
                if isinstance(refusal, PreconditionFailed)
                else HTTPStatus.NOT_FOUND
                if isinstance(refusal, NotFound)
                else HTTPStatus.BAD_REQUEST
            )
            return await self._form(visit, model, view, _Typed(fields, {}, refusal), status)
        return RedirectResponse(_action(model, view) + ("?saved=1" if is_changed else ""), HTTPStatus.SEE_OTHER)

    async def _form(
        self,
        visit: Visit,
        model: DeviceModel,
        view: View,
        typed: _Typed | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        sheet = self._sheet(visit.actor, model)
        groups = [
            (tile.title, [_with_fields(model, sheet, row, typed) for row in property_rows(sheet, tile.subjects)])
            for tile in view.tiles
        ]
        return await self._page.page(
            visit,
            model,
            "device/form.html",
            tab=view_tab(view.view_id),
            status=status,
            view=view,
            groups=groups,
            originals=json.dumps({row.key: row.original for _, rows in groups for row in rows if row.original}),
            version=sheet.twin.desired.version,
            problem=typed.problem if typed else None,
            errors=typed.errors if typed else {},
            is_saved=visit.query.get("saved") == "1" and typed is None,
            action=_action(model, view),
            may_save=visit.may("devices.manage"),
            as_code=property_acts(self._services.info(), model, _document(model, view, sheet, typed))
            if visit.may("devices.manage")
            else [],
        )

    # -- data ----------------------------------------------------------------------------------------------------------

    async def series(self, visit: Visit) -> Response:
        """Lines: `{"lines": {"component/name": [[time], [value]]}, "since", "until"}`, times in Unix seconds."""
        model = self._page.find(visit)
        keys = [parse_key(text[:300]) for text in visit.request.query_params.getlist("key")[:MAX_LINES]]
        span = visit.query.get("span", _SPAN)
        span = span if span in SPANS else _SPAN
        now = self._services.clock.now()
        lines = await self._lines(model, keys, span)
        body = {
            key_text(*key): [[start.timestamp() for start in line], [bucket.average for bucket in line.values()]]
            for key, line in lines.items()
        }
        since = now - SPANS[span].length
        return JSONResponse({"lines": body, "since": since.timestamp(), "until": now.timestamp()})

    async def live(self, visit: Visit) -> Response:
        """Raises `Exhausted` (`telemetry.followers`)."""
        self._page.find(visit)
        return self._live.stream(visit, self._events(visit))

    async def _events(self, visit: Visit) -> AsyncGenerator[str, None]:
        services, device_id = self._services, device_of(visit)
        told: dict[Key, LastValue] | None = None
        version, silent_s, unseen_s = -1, 0.0, _LOOK_S
        loop = asyncio.get_running_loop()
        yield ": following\n\n"
        async with services.series.listen([device_id]) as listener:
            while self._live.is_signed_in(visit):
                events, began = [], loop.time()
                # What it says and what changes in its twin comes by the log; that it is gone, or told to nobody,
                # is seen by looking now and then.
                if unseen_s >= _LOOK_S:
                    unseen_s = 0.0
                    try:
                        model = self._page.find(visit)
                    except NotFound:
                        return
                    last = await services.series.last_values(device_id)
                    if last != told:
                        shown = last if model.content is not None else shown_of(last)
                        changed = [key for key, value in shown.items() if told is None or told.get(key) != value]
                        events.append(_event("values", self._values(model, changed, last)))
                        told = last
                    twin = self._page.twin(model)
                    if twin.version != version:
                        version = twin.version
                        events.append(_event("states", _states(self._sheet(visit.actor, model))))
                pause = pause_after(loop.time() - began, self._live.open, least_s=_BATCH_S)
                silent_s = 0.0 if events else silent_s + _WAIT_S
                if silent_s >= HEARTBEAT_S:
                    # An event, which the page hears: a comment is for those between alone.
                    events, silent_s = ["event: here\ndata: still\n\n"], 0.0
                for event in events:
                    yield event
                await asyncio.sleep(pause)
                unseen_s = _LOOK_S if await listener.wait(_WAIT_S) else unseen_s + _WAIT_S

    def _values(
        self, model: DeviceModel, changed: Iterable[Key], last: Mapping[Key, LastValue]
    ) -> list[dict[str, Any]]:
        subjects = dict.fromkeys(_subject_of(model, key) for key in changed)
        return [
            {
                "key": each.key,
                "text": each.text,
                "number": each.number,
                "problem": each.problem,
                "at": _seconds(each.at),
            }
            for each in readings_of(subjects, model.interface, last, {})
        ]

    async def _lines(
        self, model: DeviceModel, keys: list[Key], span_name: str
    ) -> Mapping[Key, Mapping[datetime, Bucket]]:
        if not keys:
            return {}
        span, now = SPANS[span_name], self._services.clock.now()
        device_id = model.device.record.device_id
        found = await self._services.series.many_buckets(
            [device_id], keys[:MAX_LINES], now - span.length, now, span.step
        )
        return found[device_id]

    def _sheet(self, actor: Actor, model: DeviceModel) -> PropertySheet:
        return self._services.properties.read(actor, model.device.record.device_id)


def _view_of(visit: Visit, model: DeviceModel) -> View:
    """Raises `NotFound` (`view.unknown`)."""
    wanted = visit.path["view_id"]
    views = () if model.content is None else model.content.views
    for view in views:
        if view.view_id == wanted:
            return view
    raise NotFound("view.unknown", f"the template of '{model.device.record.device_id}' has no view {wanted[:60]!r}")


def _action(model: DeviceModel, view: View) -> str:
    """Where the form of a view is sent."""
    return f"{path_of(model.device.record.device_id)}/views/{segment(view.view_id)}"


def _seen_keys(view: View) -> list[Key]:
    keys = [(each.component, each.name) for tile in view.tiles if tile.kind == "chart" for each in tile.subjects]
    return keys[:MAX_LINES]


def _subject_of(model: DeviceModel, key: Key) -> Key:
    """The capability that a leaf belongs to: `location.lat` is of `location`, where the model has that."""
    component, name = key
    interface = model.interface
    if interface is None or interface.find_telemetry(name, component) is not None:
        return key
    outer = name.partition(".")[0]
    return key if interface.find_telemetry(outer, component) is None else (component, outer)


def _read_form(
    model: DeviceModel, view: View, fields: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], dict[str, str]]:
    """(properties, cloud properties, errors) of what differs from what the page was sent with."""
    changes: dict[str, dict[str, Any]] = {}
    cloud: dict[str, Any] = {}
    errors: dict[str, str] = {}
    originals = _originals(fields)
    for key, declared in _editable(model, view):
        name = key_text(*key)
        if name not in fields or fields[name] == originals.get(name, ""):
            # Not touched, whatever the device has said of it meanwhile.
            continue
        # One field, whatever it is made of: what is left out of an object would be taken away.
        parsed = parse_inputs(name, declared.schema, fields, is_whole=True)
        errors |= parsed.errors
        target = cloud if declared.is_cloud else changes.setdefault(key.component, {})
        target[key.name] = parsed.value
    return changes, cloud, errors


def _document(model: DeviceModel, view: View, sheet: PropertySheet, typed: _Typed | None) -> dict[str, Any]:
    """What the form sends: what was typed, else all of it as it is now, with examples where nothing is yet."""
    if typed is not None:
        changes, cloud, _ = _read_form(model, view, typed.fields)
        known = {
            PropertyKey(component, name): value for component, part in changes.items() for name, value in part.items()
        }
        known |= {PropertyKey("", name): value for name, value in cloud.items()}
        if known:
            return document_of(known)
    values: dict[PropertyKey, Any] = {}
    for key, declared in _editable(model, view):
        held = sheet.cloud.get(key.name) if declared.is_cloud else _typed_value(sheet, key)
        values[key] = example_of(declared.schema) if declared.schema.check(held) is not None else held
    return document_of(values)


def _editable(model: DeviceModel, view: View) -> Iterable[tuple[PropertyKey, Property]]:
    interface = model.interface
    for subject in (subject for tile in view.tiles if tile.kind == "property" for subject in tile.subjects):
        declared = None if interface is None else interface.find_property(subject.name, subject.component)
        if declared is not None and (declared.is_writable or declared.is_cloud):
            yield PropertyKey(*subject), declared


def _with_fields(model: DeviceModel, sheet: PropertySheet, row: PropertyRow, typed: _Typed | None) -> PropertyRow:
    key = parse_key(row.key)
    declared = None if model.interface is None else model.interface.find_property(key[1], key[0])
    if declared is None or not row.is_writable:
        return row
    value = sheet.cloud.get(key[1]) if declared.is_cloud else _typed_value(sheet, PropertyKey(*key))
    fields = typed.fields if typed else {}
    # What nobody touched shows what is there now, and is not taken for a change.
    is_touched = fields.get(row.key, "") != _originals(fields).get(row.key, "")
    inputs = inputs_of(
        row.key,
        row.label,
        declared.schema,
        fields if is_touched else {},
        value=value,
        is_whole=True,
    )
    return replace(row, fields=tuple(inputs), original=typed_text(value))


def _originals(fields: Mapping[str, str]) -> dict[str, str]:
    """What the fields of a form began with, as the form says it."""
    try:
        said = parse_object(fields.get("was", "{}").encode(), what="what the form began with")
    except Invalid:
        return {}
    return {name: text for name, text in said.items() if isinstance(text, str)}


def _typed_value(sheet: PropertySheet, key: PropertyKey) -> Any:
    return next((state.typed for state in sheet.states if state.key == key), None)


def _states(sheet: PropertySheet) -> list[dict[str, Any]]:
    rows = property_rows(sheet, (state.key for state in sheet.states))
    return [
        {"key": row.key, "text": row.text, "label": row.state_label, "light": row.light, "detail": row.detail}
        for row in rows
    ]


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()

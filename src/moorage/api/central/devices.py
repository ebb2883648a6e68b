"""Devices over REST: made, listed, changed, deleted (contract/central.md 5, 22.2, PRE-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from moorage.api.calls import ActorCall, continuation, etag_in, no_content, page, page_answer, page_schema, page_size
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_devices import DEVICE, DEVICE_CHANGE
from moorage.dialects.central_devices import (
    DEVICE_FIELDS,
    DEVICE_MEMBERS,
    device_json,
    field_values,
    parse_device_body,
)
from moorage.dialects.odata import Filter, Order, parse_filter, parse_order
from moorage.errors import Invalid, NotFound
from moorage.fleet.model import Device, DeviceFilter, DeviceRecord, TemplateId
from moorage.fleet.service import Fleet
from moorage.ids import parse_device_id

__all__ = ["device_routes"]

# So many are read and looked at at once.
_CHUNK: Final = 500
# So many are looked at for one page; a filter that fits few of them ends the page sooner, and the next link goes on.
MAX_LOOKED_AT: Final = 20_000
# What is sorted has to be together first.
MAX_SORTED: Final = 5_000


def device_routes(services: CentralServices) -> list[Route]:
    api, one = _Devices(services.fleet), "/devices/{id}"
    return [
        central_route(
            "GET",
            "/devices",
            api.list,
            "devices.view",
            "Devices, by their ids or as $orderby says.",
            query={
                "$filter": "OData, of id, displayName, enabled, provisioned, simulated, template, scopes.",
                "$orderby": "One of these fields, perhaps with desc.",
                "$top": "How many on a page, at most 100.",
            },
            answers={200: page_schema(DEVICE)},
        ),
        central_route("GET", one, api.get, "devices.view", "One device.", answers={200: DEVICE}),
        central_route(
            "PUT", one, api.put, "devices.manage", "Make one, or change it.", body=DEVICE_CHANGE, answers={200: DEVICE}
        ),
        central_route(
            "PATCH", one, api.patch, "devices.manage", "Change it.", body=DEVICE_CHANGE, answers={200: DEVICE}
        ),
        central_route(
            "DELETE", one, api.delete, "devices.delete", "Delete it and all of its data.", answers={204: None}
        ),
    ]


class _Devices:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def list(self, call: ActorCall) -> Response:
        asked, ordered = call.query.get("$filter"), call.query.get("$orderby")
        wanted = parse_filter(asked, DEVICE_FIELDS) if asked else None
        order = parse_order(ordered, DEVICE_FIELDS) if ordered else Order("id", is_descending=False)
        if order != Order("id", is_descending=False):
            return await self._sorted(call, wanted, order)
        if wanted is not None:
            return await self._filtered(call, wanted)
        return await page(
            call,
            lambda limit, after: self._fleet.list(call.actor, DeviceFilter(), limit, after),
            lambda device: device.record.device_id,
            _encode,
        )

    async def get(self, call: ActorCall) -> Response:
        return _answer(self._fleet.get(call.actor, parse_device_id(call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        device_id, body = parse_device_id(call.path["id"]), await call.members(*DEVICE_MEMBERS)
        wanted = parse_device_body(device_id, body)
        try:
            self._fleet.get(call.actor, device_id)
        except NotFound:
            draft = wanted.draft(device_id)
            if wanted.organization is None:
                # What somebody of an organisation makes belongs there.
                draft = replace(draft, organization=call.actor.organization)
            return _answer(await self._fleet.create(call.actor, draft))
        return await self._change(call, body)

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*DEVICE_MEMBERS)
        return await self._change(call, body)

    async def delete(self, call: ActorCall) -> Response:
        await self._fleet.delete(call.actor, parse_device_id(call.path["id"]))
        return no_content()

    async def _change(self, call: ActorCall, body: Mapping[str, Any]) -> Response:
        device_id = parse_device_id(call.path["id"])
        wanted = parse_device_body(device_id, body)
        record = self._fleet.get(call.actor, device_id).record
        if wanted.is_edge not in (None, record.is_edge):
            raise Invalid("body.member", "type says whether the device runs IoT Edge, which is fixed once it is made")
        held = etag_in(call, body)
        return _answer(await self._fleet.update(call.actor, device_id, wanted.change(), if_match=held))

    async def _filtered(self, call: ActorCall, wanted: Filter) -> Response:
        """Those that match, in the order of their ids. A page of few matches may be short, and go on."""
        limit = page_size(call)
        found: list[Device] = []
        looked_at, after = 0, continuation(call)
        while True:
            chunk = await self._fleet.list(call.actor, _narrowed(wanted), _CHUNK, after)
            matching = await asyncio.to_thread(_matching, chunk, wanted)
            found += matching
            if len(found) > limit:
                found = found[:limit]
                return await page_answer(call, found, _encode, found[-1].record.device_id)
            if len(chunk) < _CHUNK:
                return await page_answer(call, found, _encode, None)
            after, looked_at = chunk[-1].record.device_id, looked_at + len(chunk)
            if looked_at >= MAX_LOOKED_AT:
                return await page_answer(call, found, _encode, after)

    async def _sorted(self, call: ActorCall, wanted: Filter | None, order: Order) -> Response:
        found: list[Device] = []
        after = ""
        while True:
            chunk = await self._fleet.list(call.actor, _narrowed(wanted), _CHUNK, after)
            found += chunk if wanted is None else await asyncio.to_thread(_matching, chunk, wanted)
            if len(found) > MAX_SORTED:
                raise Invalid(
                    "odata.orderby",
                    f"more than {MAX_SORTED} devices would have to be sorted; narrow them with $filter, or leave "
                    "$orderby away: they come in the order of their ids",
                )
            if len(chunk) < _CHUNK:
                break
            after = chunk[-1].record.device_id
        key = _sort_key(order.field)
        await asyncio.to_thread(lambda: found.sort(key=lambda device: key(device.record), reverse=order.is_descending))
        place = continuation(call)
        if place and not (place.isascii() and place.isdigit() and len(place) < 9):
            raise Invalid("query.continuation", "$skiptoken is not one that was given out for this order")
        start = int(place or 0)
        end = start + page_size(call)
        return await page_answer(call, found[start:end], _encode, str(end) if end < len(found) else None)


def _matching(chunk: list[Device], wanted: Filter) -> list[Device]:
    return [device for device in chunk if wanted.matches(field_values(device.record))]


def _narrowed(wanted: Filter | None) -> DeviceFilter:
    """What the store can look for."""
    template = wanted.equal.get("template") if wanted is not None else None
    return DeviceFilter(template=TemplateId(template) if isinstance(template, str) else None)


def _sort_key(field: str) -> Callable[[DeviceRecord], tuple[Any, str]]:
    """Of one kind whatever the value is; ids decide between equals."""

    def key(record: DeviceRecord) -> tuple[Any, str]:
        value = field_values(record)[field]
        text = ",".join(value) if isinstance(value, tuple) else value or ""
        return (text.casefold() if isinstance(text, str) else text, record.device_id)

    return (
        key
        if field not in ("enabled", "provisioned", "simulated")
        else lambda record: (
            field_values(record)[field],
            record.device_id,
        )
    )


def _encode(device: Device) -> dict[str, Any]:
    return device_json(device.record)


def _answer(device: Device) -> Response:
    return json_response(_encode(device))

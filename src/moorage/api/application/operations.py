"""One act on many devices, files of devices taken in and given out, over REST (contract/central.md 10, NAV-21)."""

from __future__ import annotations

import asyncio
import io
from typing import Final

from starlette.responses import Response, StreamingResponse

from moorage.accounts.model import Permission
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, page, page_schema
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.application_devices import CSV, DEVICE_ACT, ITEM_ERROR, OPERATION
from moorage.api.schemas.words import Schema, list_of, members, one_of
from moorage.dialects.device_csv import MAX_BYTES, exported_text, read_items
from moorage.dialects.operations_json import (
    FILTER_WORDS,
    item_error_json,
    operation_json,
    parse_act,
    parse_filter,
)
from moorage.errors import Invalid
from moorage.fleet.bulk import CONNECTED_WORDS, act_of, in_batches
from moorage.fleet.export import tell_of_export
from moorage.fleet.model import STATES, TemplateId
from moorage.fleet.operation_model import BulkAct, Item, ItemError
from moorage.fleet.operations import these

__all__ = ["operation_routes"]

_VIEW: Final[Permission] = "devices.view"
_MANAGE: Final[Permission] = "devices.manage"


def operation_routes(services: OwnServices) -> list[Route]:
    api, all_of_them = _Operations(services), "/deviceOperations"
    one = f"{all_of_them}/{{id}}"
    listed = members({"value": list_of(OPERATION)})
    chosen: dict[str, Schema | str] = {
        "text": "In the id or the name.",
        "state": one_of(*STATES),
        "template": "Its id, or `unassigned`.",
        "organization": "With those below.",
        "connected": one_of(*CONNECTED_WORDS),
    }
    return [
        own_route(
            "POST",
            all_of_them,
            api.start,
            _MANAGE,
            "Do something to many devices; to delete them takes devices.delete.",
            body=DEVICE_ACT,
            answers={202: OPERATION},
        ),
        own_route("GET", all_of_them, api.list, _VIEW, "What the caller began, newest first.", answers={200: listed}),
        own_route("GET", one, api.get, _VIEW, "How far one of them is.", answers={200: OPERATION}),
        own_route(
            "GET",
            f"{one}/errors",
            api.errors,
            _VIEW,
            "What failed of it.",
            answers={200: page_schema(ITEM_ERROR)},
        ),
        own_route("POST", f"{one}/stop", api.stop, _VIEW, "Stop it; what is done stays.", answers={200: OPERATION}),
        own_route(
            "POST",
            "/devices/import",
            api.take_in,
            _MANAGE,
            "Make the devices of a file, with the columns IOTC_DEVICEID and perhaps IOTC_DEVICENAME.",
            query={"template": "Which all of them get.", "organization": "Where all of them go."},
            body=CSV,
            answers={202: OPERATION},
            max_body_bytes=MAX_BYTES,
        ),
        own_route(
            "GET",
            "/devices/export",
            api.give_out,
            _MANAGE,
            "Devices as a file, with their keys and thumbprints.",
            query=chosen,
            answers={200: CSV},
        ),
    ]


class _Operations:
    def __init__(self, services: OwnServices) -> None:
        self._services = services
        self._fleet = services.fleet
        self._organizations = services.organizations
        self._operations = services.operations

    async def start(self, call: ActorCall) -> Response:
        body = await call.json_object()
        # A body may name thousands.
        asked = await asyncio.to_thread(parse_act, body)
        title, act = act_of(self._fleet, self._organizations, call.actor, asked.word, asked.to)
        if asked.wanted is None:
            batches = these(Item(device_id) for device_id in asked.devices)
        else:
            batches = in_batches(self._operations.matching(call.actor, asked.wanted.wanted(self._organizations)))
        return json_response(operation_json(await self._operations.start(call.actor, title, act, batches)), 202)

    async def list(self, call: ActorCall) -> Response:
        return json_response({"value": [operation_json(each) for each in await self._operations.of(call.actor)]})

    async def get(self, call: ActorCall) -> Response:
        return json_response(operation_json(self._operations.get(call.actor, call.path["id"])))

    async def errors(self, call: ActorCall) -> Response:
        found = list(enumerate(await self._operations.errors(call.actor, call.path["id"])))

        async def behind(limit: int, after: str) -> list[tuple[int, ItemError]]:
            if after and not (after.isascii() and after.isdigit() and len(after) < 9):
                raise Invalid("query.continuation", "$skiptoken is not one that was given out for errors")
            first = int(after) + 1 if after else 0
            return found[first : first + limit]

        return await page(call, behind, lambda each: str(each[0]), lambda each: item_error_json(each[1]))

    async def stop(self, call: ActorCall) -> Response:
        await self._operations.stop(call.actor, call.path["id"])
        return json_response(operation_json(self._operations.get(call.actor, call.path["id"])))

    async def take_in(self, call: ActorCall) -> Response:
        """What cannot be read is told before anything is done."""
        template = TemplateId(call.query.get("template", ""))
        organization = self._organizations.choose(call.actor, call.query.get("organization", call.actor.organization))
        file = io.BytesIO(await call.body())
        act = BulkAct("import", template, organization)
        return json_response(
            operation_json(await self._operations.start(call.actor, "Import", act, read_items(file))), 202
        )

    async def give_out(self, call: ActorCall) -> Response:
        words = {name: call.query[name] for name in FILTER_WORDS if name in call.query}
        wanted, hub = parse_filter(words).wanted(self._organizations), self._services.hub
        tell_of_export(call.actor, hub, await self._fleet.count(call.actor, wanted))
        return StreamingResponse(
            exported_text(self._operations, hub, call.actor, wanted), media_type="text/csv; charset=utf-8"
        )

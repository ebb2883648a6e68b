"""Exports tried before they are relied on: what one would send, and one body sent to a destination (central.md 16).

They are made and changed by the Central API's preview; what is tried is stored, or comes as it takes it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, no_content
from moorage.api.problems import encoded_response
from moorage.api.routing import Route
from moorage.api.schemas.central_exports import DESTINATION_CHANGE, EXPORT_CHANGE
from moorage.api.schemas.words import ANYTHING, list_of, members, named, text
from moorage.automation.exports import DataExport, Destination, DestinationId, parse_export_id
from moorage.dialects.central_exports import (
    DESTINATION_MEMBERS,
    EXPORT_MEMBERS,
    changed_destination,
    changed_export,
)
from moorage.dialects.json_text import encode_json
from moorage.fleet.model import TemplateId
from moorage.hub.router import Outgoing
from moorage.ids import Secret

__all__ = ["export_routes"]

_GATE: Final[Permission] = "exports.manage"
# What is not stored has no id yet.
_UNNAMED: Final = "unnamed"
_SAMPLES: Final = named(
    "ExportSamples",
    members({"value": list_of(members({"destination": text("Its id."), "body": ANYTHING}))}),
)


def export_routes(services: OwnServices) -> list[Route]:
    api = _Exports(services)
    destinations, exports = "/dataExport/destinations", "/dataExport/exports"
    return [
        own_route(
            "POST",
            f"{destinations}/{{id}}/test",
            api.test_stored,
            _GATE,
            "Send one body to a destination, at once.",
            answers={204: None},
        ),
        own_route(
            "POST",
            f"{destinations}/test",
            api.test_given,
            _GATE,
            "The same to a destination of the body.",
            body=DESTINATION_CHANGE,
            answers={204: None},
        ),
        own_route(
            "POST",
            f"{exports}/{{id}}/sample",
            api.sample_stored,
            _GATE,
            "What an export would send of the last day's newest, null where nothing passes.",
            answers={200: _SAMPLES},
        ),
        own_route(
            "POST",
            f"{exports}/sample",
            api.sample_given,
            _GATE,
            "The same for an export of the body.",
            body=EXPORT_CHANGE,
            answers={200: _SAMPLES},
        ),
    ]


class _Exports:
    def __init__(self, services: OwnServices) -> None:
        self._services = services
        self._automation = services.automation

    async def test_stored(self, call: ActorCall) -> Response:
        return await self._tested(call, self._automation.exports.get_destination(call.actor, call.path["id"]))

    async def test_given(self, call: ActorCall) -> Response:
        services, now = self._services, self._services.clock.now()
        blank = Destination(
            services.hub,
            DestinationId(_UNNAMED),
            "",
            "webhook",
            Secret(""),
            now,
            organization=call.actor.organization,
        )
        return await self._tested(call, changed_destination(blank, await call.members(*DESTINATION_MEMBERS)))

    async def sample_stored(self, call: ActorCall) -> Response:
        return await self._sampled(call, self._automation.exports.get(call.actor, call.path["id"]))

    async def sample_given(self, call: ActorCall) -> Response:
        services, now = self._services, self._services.clock.now()
        blank = DataExport(
            services.hub, parse_export_id(_UNNAMED), "", "telemetry", now, now, organization=call.actor.organization
        )
        return await self._sampled(call, changed_export(blank, await call.members(*EXPORT_MEMBERS), self._is_cloud))

    async def _tested(self, call: ActorCall, destination: Destination) -> Response:
        """Raises as the delivery does."""
        await self._automation.test_destination(call.actor, destination, self._services.clock.now())
        return no_content()

    async def _sampled(self, call: ActorCall, export: DataExport) -> Response:
        found = await self._automation.samples(call.actor, export)
        return encoded_response(
            await asyncio.to_thread(
                lambda: encode_json(
                    {"value": [{"destination": each.destination_id, "body": _body(sample)} for each, sample in found]}
                )
            )
        )

    def _is_cloud(self, template: TemplateId, path: str) -> bool:
        interface = self._services.templates.interface_of(template)
        return interface is not None and any(each.name == path for each in interface.cloud_properties)


def _body(sample: Outgoing | None) -> Any:
    """What goes out: the body, where it has been made anew, else the document."""
    if sample is None:
        return None
    return json.loads(sample.document if sample.body is None else sample.body)

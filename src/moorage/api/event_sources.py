"""Which events of the hub itself are told, over our REST (contract/services.md 4.7)."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.words import FLAG, members, named, nullable
from moorage.errors import Invalid
from moorage.hub.event_sources import EventSources
from moorage.hub.notification_model import SOURCES, Source, Sources, parse_source

__all__ = ["event_source_routes"]

_PATH: Final = "/moorage/v1/events"
_STATE: Final = named(
    "EventSourceState",
    members({"isTold": FLAG, "isDefault": FLAG, "isRouted": FLAG}, {"isSwitchedOn": nullable(FLAG)}),
)
_STATES: Final = named("EventSources", members({source: _STATE for source in SOURCES}))
_SWITCHES: Final = named("EventSwitches", members({}, {source: nullable(FLAG) for source in SOURCES}))


def event_source_routes(sources: EventSources) -> list[Route]:
    """Routes for the owner."""
    api = _EventSources(sources)
    return [
        Route(
            "GET",
            _PATH,
            api.get,
            "owner",
            "own",
            summary="Which events of the hub itself go into the telemetry log, and why.",
            answers={200: _STATES},
        ),
        Route(
            "PATCH",
            _PATH,
            api.switch,
            "owner",
            "own",
            summary="Switch sources of events on or off; null leaves one to the setting and the routes.",
            body=_SWITCHES,
            answers={200: _STATES},
        ),
    ]


class _EventSources:
    def __init__(self, sources: EventSources) -> None:
        self._sources = sources

    async def get(self, call: Call) -> Response:
        return json_response(_shown(self._sources.get()))

    async def switch(self, call: Call) -> Response:
        switches: dict[Source, bool | None] = {}
        for name, value in (await call.json_object()).items():
            if value is not None and not isinstance(value, bool):
                raise Invalid("body.member", f"{name[:60]} has to be true, false or null")
            switches[parse_source(name)] = value
        return json_response(_shown(await self._sources.switch(switches, by=call.principal)))


def _shown(sources: Sources) -> dict[str, Any]:
    return {
        source: {
            "isTold": source in sources.wanted,
            "isDefault": source in sources.by_default,
            "isRouted": source in sources.routed,
            "isSwitchedOn": sources.switched.get(source),
        }
        for source in SOURCES
    }

"""Twins over REST, as back ends see them (contract/services.md 2.7)."""

from __future__ import annotations

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.devices import TWIN, TWIN_CHANGE
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.services import ApiServices, identity_of
from moorage.dialects.hub_json import parse_twin_change, twin_json
from moorage.hub.model import Twin
from moorage.ids import parse_etag

__all__ = ["twin_routes"]

_SERVICE: Gate = frozenset({"ServiceConnect"})


def twin_routes(services: ApiServices) -> list[Route]:
    api = _Twins(services)
    routes: list[Route] = []
    for path, what in (("/twins/{id}", "device"), ("/twins/{id}/modules/{module}", "module")):
        routes += [
            Route("GET", path, api.get, _SERVICE, "document", summary=f"The twin of a {what}.", answers={200: TWIN}),
            Route(
                "PATCH",
                path,
                api.patch,
                _SERVICE,
                "document",
                summary=f"Merge into the twin of a {what}: null takes a member away.",
                headers=(IF_MATCH,),
                body=TWIN_CHANGE,
                answers={200: TWIN},
            ),
            Route(
                "PUT",
                path,
                api.put,
                _SERVICE,
                "document",
                summary=f"Put tags and desired properties in place of those of a {what}.",
                headers=(IF_MATCH,),
                body=TWIN_CHANGE,
                answers={200: TWIN},
            ),
        ]
    return routes


class _Twins:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def get(self, call: Call) -> Response:
        return self._answer(self._services.twins.get(self._services.hub, identity_of(call)))

    async def patch(self, call: Call) -> Response:
        services, name = self._services, identity_of(call)
        change = parse_twin_change(await call.json_object())
        if_match = parse_etag(call.request.headers.get("if-match"))
        return self._answer(await services.twins.patch(services.hub, name, change, if_match=if_match))

    async def put(self, call: Call) -> Response:
        services, name = self._services, identity_of(call)
        change = parse_twin_change(await call.json_object())
        if_match = parse_etag(call.request.headers.get("if-match"))
        return self._answer(await services.twins.replace(services.hub, name, change, if_match=if_match))

    def _answer(self, twin: Twin) -> Response:
        services = self._services
        identity = services.registry.get(services.hub, twin.name)
        presence = services.presence.of(services.hub, twin.name)
        messages = services.messages.count(services.hub, twin.name)
        stored = services.store.read().queries.find(services.hub, twin.name)
        configurations = None if stored is None else stored.configurations()
        return json_response(twin_json(twin, identity, presence, messages, configurations))

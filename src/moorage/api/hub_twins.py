"""Twins over REST, as back ends see them (contract/services.md 2.7)."""

from __future__ import annotations

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.services import ApiServices, identity_of
from moorage.dialects.hub_json import parse_twin_change, twin_json
from moorage.hub.model import Twin
from moorage.ids import parse_etag

__all__ = ["twin_routes"]

_SERVICE: Gate = frozenset({"ServiceConnect"})


def twin_routes(services: ApiServices) -> list[Route]:
    api = _Twins(services)
    return [
        Route(method, path, handler, _SERVICE, "document")
        for path in ("/twins/{id}", "/twins/{id}/modules/{module}")
        for method, handler in (("GET", api.get), ("PATCH", api.patch), ("PUT", api.put))
    ]


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
        return json_response(twin_json(twin, identity, presence, services.messages.count(services.hub, twin.name)))

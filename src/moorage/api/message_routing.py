"""Message routing over our REST: routes, their test, endpoints with their health and dead letters, enrichments."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.message_routing import (
    DEAD_LETTERS,
    ENDPOINT,
    ENDPOINT_CHANGE,
    ENDPOINTS,
    ENRICHMENT,
    ENRICHMENTS,
    FALLBACK,
    FALLBACK_CHANGE,
    REPLAYED,
    ROUTE,
    ROUTE_CHANGE,
    ROUTE_TEST,
    ROUTE_TESTED,
    ROUTES,
    TRIED,
)
from moorage.api.schemas.words import whole
from moorage.clock import Clock
from moorage.dialects.json_text import encode_json
from moorage.dialects.members import get_object, get_text
from moorage.dialects.routed_message import TestMessage, routing_twin
from moorage.dialects.routing_json import (
    dead_letter_json,
    endpoint_json,
    enrichment_json,
    fallback_json,
    parse_endpoint,
    parse_enrichment,
    parse_fallback,
    parse_route,
    route_json,
    verdict_json,
)
from moorage.dialects.times import format_time
from moorage.errors import Invalid, NotFound, Refusal
from moorage.hub.router import Outgoing, Router
from moorage.hub.routing_match import verdicts
from moorage.hub.routing_model import (
    TELEMETRY,
    Endpoint,
    Routing,
    RoutingTables,
    check_routing,
    find_endpoint,
    find_route,
    parse_route_source,
)
from moorage.hub.routing_service import RoutingService
from moorage.hub.twins import load_twin
from moorage.ids import HubId, IdentityName, parse_device_id, parse_module_id
from moorage.query.syntax import UNDEFINED
from moorage.store import Store

__all__ = ["message_routing_routes", "tested"]

_V1: Final = "/moorage/v1"
_MAX_DEAD: Final = 100


def message_routing_routes(
    service: RoutingService, router: Router, hub: HubId, store: Store[RoutingTables], clock: Clock
) -> list[Route]:
    """Routes for the owner."""
    api = _MessageRouting(service, router, hub, store, clock)

    def route(method: str, pattern: str, handler: Any, summary: str, **more: Any) -> Route:
        return Route(method, f"{_V1}/{pattern}", handler, "owner", "own", summary=summary, **more)

    dead = "endpoints/{name}/dead-letters"
    return [
        route("GET", "routes", api.list_routes, "Message routes, and the fallback.", answers={200: ROUTES}),
        route("GET", "routes/{name}", api.get_route, "One of them.", answers={200: ROUTE}),
        route(
            "PUT",
            "routes/{name}",
            api.put_route,
            "Make a route, or put it in the place of the one of its name.",
            body=ROUTE_CHANGE,
            answers={200: ROUTE},
        ),
        route("DELETE", "routes/{name}", api.delete_route, "Delete a route.", answers={204: None}),
        route(
            "POST",
            "routes:test",
            api.test,
            "Where a message would go, and for each route that does not take it why not.",
            body=ROUTE_TEST,
            answers={200: ROUTE_TESTED},
        ),
        route(
            "GET",
            "fallback-route",
            api.get_fallback,
            "Where telemetry goes that no route takes.",
            answers={200: FALLBACK},
        ),
        route("PUT", "fallback-route", api.put_fallback, "Change that.", body=FALLBACK_CHANGE, answers={200: FALLBACK}),
        route(
            "GET",
            "enrichments",
            api.list_enrichments,
            "Properties that messages get on their way.",
            answers={200: ENRICHMENTS},
        ),
        route(
            "PUT",
            "enrichments/{key}",
            api.put_enrichment,
            "Make one, or change it.",
            body=ENRICHMENT,
            answers={200: ENRICHMENT},
        ),
        route("DELETE", "enrichments/{key}", api.delete_enrichment, "Delete one.", answers={204: None}),
        route("GET", "endpoints", api.list_endpoints, "Endpoints, and how they do.", answers={200: ENDPOINTS}),
        route("GET", "endpoints/{name}", api.get_endpoint, "One of them.", answers={200: ENDPOINT}),
        route(
            "PUT",
            "endpoints/{name}",
            api.put_endpoint,
            "Make an endpoint, or change it; what is not said stays.",
            body=ENDPOINT_CHANGE,
            answers={200: ENDPOINT},
        ),
        route(
            "DELETE",
            "endpoints/{name}",
            api.delete_endpoint,
            "Delete an endpoint with its dead letters.",
            answers={204: None},
        ),
        route(
            "POST",
            "endpoints/{name}/try",
            api.try_endpoint,
            "Deliver one message of the hub's own.",
            answers={200: TRIED},
        ),
        route(
            "GET",
            dead,
            api.list_dead,
            "Messages that it did not take, the oldest first.",
            query={"limit": whole("At most so many.", least=1, most=_MAX_DEAD)},
            answers={200: DEAD_LETTERS},
        ),
        route(
            "POST",
            f"{dead}/replay",
            api.replay,
            "Deliver dead letters again, the oldest first, until one is not taken.",
            answers={200: REPLAYED},
        ),
        route("DELETE", f"{dead}/{{number}}", api.drop_dead, "Give up one of them.", answers={204: None}),
    ]


class _MessageRouting:
    def __init__(
        self, service: RoutingService, router: Router, hub: HubId, store: Store[RoutingTables], clock: Clock
    ) -> None:
        self._service = service
        self._router = router
        self._hub = hub
        self._store = store
        self._clock = clock

    # -- routes --------------------------------------------------------------------------------------------------------

    async def list_routes(self, call: Call) -> Response:
        routing = self._service.get()
        return json_response(
            {"routes": [route_json(each) for each in routing.routes], "fallback": fallback_json(routing.fallback)}
        )

    async def get_route(self, call: Call) -> Response:
        return json_response(route_json(find_route(self._service.get(), call.path["name"])))

    async def put_route(self, call: Call) -> Response:
        route = parse_route(call.path["name"], await call.json_object())
        return json_response(route_json(await self._service.put_route(route, by=call.principal)))

    async def delete_route(self, call: Call) -> Response:
        await self._service.delete_route(call.path["name"], by=call.principal)
        return Response(status_code=204)

    async def test(self, call: Call) -> Response:
        body = await call.json_object()
        routing = self._service.get()
        draft = get_object(body, "route")
        if draft is not None:
            routing = replace(routing, routes=(parse_route(get_text(draft, "name") or "new", draft),))
            check_routing(routing)
        return json_response(await asyncio.to_thread(tested, routing, body, self._twin(body)))

    def _twin(self, body: Mapping[str, Any]) -> Any:
        device = get_text(body, "deviceId")
        if device is None:
            return UNDEFINED
        module = get_text(body, "moduleId")
        name = IdentityName(parse_device_id(device), None if module is None else parse_module_id(module))
        return routing_twin(load_twin(self._store.read(), self._hub, name))

    # -- fallback and enrichments --------------------------------------------------------------------------------------

    async def get_fallback(self, call: Call) -> Response:
        return json_response(fallback_json(self._service.get().fallback))

    async def put_fallback(self, call: Call) -> Response:
        fallback = parse_fallback(await call.json_object(), self._service.get().fallback)
        await self._service.set_fallback(fallback, by=call.principal)
        return json_response(fallback_json(fallback))

    async def list_enrichments(self, call: Call) -> Response:
        return json_response({"enrichments": [enrichment_json(each) for each in self._service.get().enrichments]})

    async def put_enrichment(self, call: Call) -> Response:
        enrichment = parse_enrichment(call.path["key"], await call.json_object())
        await self._service.put_enrichment(enrichment, by=call.principal)
        return json_response(enrichment_json(enrichment))

    async def delete_enrichment(self, call: Call) -> Response:
        await self._service.delete_enrichment(call.path["key"], by=call.principal)
        return Response(status_code=204)

    # -- endpoints -----------------------------------------------------------------------------------------------------

    async def list_endpoints(self, call: Call) -> Response:
        return json_response({"endpoints": [self._shown(each) for each in self._service.get().endpoints]})

    async def get_endpoint(self, call: Call) -> Response:
        return json_response(self._shown(self._endpoint(call)))

    async def put_endpoint(self, call: Call) -> Response:
        # What is there is read behind the body, which may take its time: what changed meanwhile stays changed.
        name, body = call.path["name"], await call.json_object()
        try:
            present = find_endpoint(self._service.get(), name)
        except NotFound:
            present = None
        endpoint = parse_endpoint(name, body, present)
        return json_response(self._shown(await self._service.put_endpoint(endpoint, by=call.principal)))

    async def delete_endpoint(self, call: Call) -> Response:
        await self._service.delete_endpoint(call.path["name"], by=call.principal)
        return Response(status_code=204)

    async def try_endpoint(self, call: Call) -> Response:
        endpoint = self._endpoint(call)
        await self._router.try_once(endpoint, [self._sample()])
        return json_response({"name": endpoint.name, "isDelivered": True})

    async def list_dead(self, call: Call) -> Response:
        limit = call.count("limit", default=20, least=1, most=_MAX_DEAD)
        letters = await self._service.dead_letters(call.path["name"], limit)
        return json_response({"deadLetters": [dead_letter_json(number, letter) for number, letter in letters]})

    async def replay(self, call: Call) -> Response:
        endpoint, delivered, failure = self._endpoint(call), 0, None
        for number, letter in await self._service.dead_letters(endpoint.name, _MAX_DEAD):
            try:
                await self._router.try_once(endpoint, [Outgoing(letter.device_id, letter.offset, letter.body)])
            except Refusal as refusal:
                failure = f"{refusal.reason}: {refusal.message}"
                break
            await self._service.drop_dead_letter(endpoint.name, number)
            delivered += 1
        left = self._store.read().routing.count_dead(self._hub, endpoint.name)
        return json_response({"delivered": delivered, "left": left, "failure": failure})

    async def drop_dead(self, call: Call) -> Response:
        number = call.path["number"]
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            raise Invalid("query.number", f"{number[:40]!r} is no number of a dead letter")
        await self._service.drop_dead_letter(call.path["name"], int(number))
        return Response(status_code=204)

    def _endpoint(self, call: Call) -> Endpoint:
        return find_endpoint(self._service.get(), call.path["name"])

    def _shown(self, endpoint: Endpoint) -> dict[str, Any]:
        dead = self._store.read().routing.count_dead(self._hub, endpoint.name)
        backlog = self._router.backlog_bytes(endpoint.name)
        return endpoint_json(endpoint, self._router.health(endpoint.name), dead=dead, backlog_bytes=backlog)

    def _sample(self) -> Outgoing:
        document = {
            "deviceId": "",
            "enqueuedTime": format_time(self._clock.now()),
            "systemProperties": {"iothub-message-source": TELEMETRY, "content-type": "application/json"},
            "properties": {"test": "true"},
            "body": {"message": "a message of the hub itself, to try the endpoint with"},
        }
        return Outgoing("", -1, encode_json(document))


def tested(routing: Routing, body: Mapping[str, Any], twin: Any) -> dict[str, Any]:
    """Where the message in `body` would go. Raises `Invalid` (`body.member`, `route.source`)."""
    message = TestMessage(
        body=body.get("body", UNDEFINED),
        properties=_texts(body, "properties"),
        system=_texts(body, "systemProperties"),
        twin=twin,
    )
    source = parse_route_source(get_text(body, "source") or TELEMETRY)
    found = verdicts(routing, source, message)
    endpoints = [name for each in found if each.is_match for name in each.route.endpoints]
    if not endpoints and source == TELEMETRY and routing.fallback.is_enabled:
        endpoints = list(routing.fallback.endpoints)
    return {
        "isMatch": any(each.is_match for each in found),
        "endpoints": list(dict.fromkeys(endpoints)),
        "routes": [verdict_json(each) for each in found],
    }


def _texts(body: Mapping[str, Any], member: str) -> dict[str, str]:
    found = get_object(body, member) or {}
    for name, value in found.items():
        if not isinstance(value, str):
            raise Invalid("body.member", f"{member}.{name[:40]} is a {type(value).__name__}; properties are texts")
    return dict(found)

"""Message routing in the JSON of the hub as a resource, and what tests of routes say there (services.md 5).

The control plane knows endpoints that are services of its own (queues, topics, containers); there are none here, and
the lists of them are empty. Endpoints that this hub has are made with `moorage endpoint`; routes and enrichments over
either API may name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from moorage.dialects.arm_members import differs
from moorage.dialects.json_text import parse_json
from moorage.dialects.members import get_boolean, get_object, get_text
from moorage.dialects.routed_message import TestMessage
from moorage.dialects.times import format_http_date
from moorage.errors import Invalid
from moorage.hub.router import Health
from moorage.hub.routing_match import verdicts
from moorage.hub.routing_model import (
    BUILT_IN,
    MAX_ENRICHMENTS,
    MAX_ROUTES,
    TELEMETRY,
    Enrichment,
    Fallback,
    MessageRoute,
    RouteSource,
    Routing,
    parse_route_source,
)
from moorage.query.problems import InvalidQuery, line_and_column
from moorage.query.routes import parse_route_condition
from moorage.query.syntax import UNDEFINED

__all__ = [
    "RoutingChange",
    "endpoint_health_json",
    "parse_routing_change",
    "routing_arm_json",
    "routing_facts",
    "tested_all",
    "tested_one",
]

_KINDS: Final = ("serviceBusQueues", "serviceBusTopics", "eventHubs", "storageContainers", "cosmosDBSqlContainers")
_FALLBACK: Final = "$fallback"


@dataclass(frozen=True, slots=True)
class RoutingChange:
    """Whole lists; None stays."""

    routes: tuple[MessageRoute, ...] | None = None
    enrichments: tuple[Enrichment, ...] | None = None
    fallback: Fallback | None = None

    @property
    def is_empty(self) -> bool:
        return self.routes is None and self.enrichments is None and self.fallback is None


def routing_arm_json(routing: Routing) -> dict[str, Any]:
    return {
        "endpoints": {kind: [] for kind in _KINDS},
        "routes": [_route_json(each) for each in routing.routes],
        "fallbackRoute": {
            "name": _FALLBACK,
            "source": "DeviceMessages",
            "condition": "true",
            "endpointNames": list(routing.fallback.endpoints),
            "isEnabled": routing.fallback.is_enabled,
        },
        "enrichments": [
            {"key": each.key, "value": each.value, "endpointNames": list(each.endpoints)}
            for each in routing.enrichments
        ],
    }


def routing_facts(routing: Routing) -> Any:
    """All that can be changed of it here, for the resource's etag."""
    shown = routing_arm_json(routing)
    return [shown["routes"], shown["fallbackRoute"], shown["enrichments"]]


def parse_routing_change(properties: Mapping[str, Any], shown: Mapping[str, Any]) -> RoutingChange:
    """What `properties.routing` asks for beside what is `shown`.

    Raises:
        Invalid: `body.member`, `route.source`; `resource.fixed` for an endpoint of a kind that is not here.
    """
    routing = get_object(properties, "routing", "properties.routing")
    if routing is None:
        return RoutingChange()
    present = shown["routing"]
    endpoints = get_object(routing, "endpoints", "properties.routing.endpoints") or {}
    for kind, value in endpoints.items():
        if value:
            raise Invalid(
                "resource.fixed",
                f"properties.routing.endpoints.{kind[:40]} was to hold something; such services are not here, and "
                "endpoints have a command of their own",
                fix="moorage endpoint list",
            )
    routes, enrichments = _list(routing, "routes", MAX_ROUTES), _list(routing, "enrichments", MAX_ENRICHMENTS)
    fallback = get_object(routing, "fallbackRoute", "properties.routing.fallbackRoute")
    return RoutingChange(
        None if routes is None or routes == present["routes"] else tuple(map(_parse_route, routes)),
        None
        if enrichments is None or enrichments == present["enrichments"]
        else tuple(map(_parse_enrichment, enrichments)),
        None if fallback is None or not differs(fallback, present["fallbackRoute"]) else _parse_fallback(fallback),
    )


def endpoint_health_json(name: str, health: Health, now: datetime) -> dict[str, Any]:
    """One entry of `routingEndpointsHealth`."""
    shown: dict[str, Any] = {"endpointId": name, "healthStatus": "healthy"}
    if health.failure is not None and health.failed_since is not None:
        failing_s = (now - health.failed_since).total_seconds()
        # As the service says it: what fails for long is dead.
        shown |= {
            "healthStatus": "dead" if failing_s > 3600 else "unhealthy",
            "lastKnownError": f"{health.failure.reason}: {health.failure.message}",
            "lastKnownErrorTime": format_http_date(health.last_attempt or now),
        }
    if health.last_delivery is not None:
        shown["lastSuccessfulSendAttemptTime"] = format_http_date(health.last_delivery)
    if health.last_attempt is not None:
        shown["lastSendAttemptTime"] = format_http_date(health.last_attempt)
    return shown


# -- tests of routes ---------------------------------------------------------------------------------------------------


def tested_all(routing: Routing, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `$testall`: the routes that take the message. Raises `Invalid` (`body.member`, `route.source`)."""
    source: RouteSource = parse_route_source(get_text(body, "routingSource") or TELEMETRY)
    found = verdicts(routing, source, _message(body))
    routes = [{"properties": _route_json(each.route)} for each in found if each.is_match]
    if not routes and source == TELEMETRY and routing.fallback.is_enabled:
        routes = [{"properties": routing_arm_json(routing)["fallbackRoute"]}]
    return {"routes": routes}


def tested_one(body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `$testnew`: `true`, `false` or `undefined`, and where the condition is wrong.

    Raises `Invalid` (`body.member`, `route.source`).
    """
    given = get_object(body, "route")
    if given is None:
        raise Invalid("body.member", "route is missing; it has to be the route that is asked about")
    route = _parse_route(given)
    try:
        condition = parse_route_condition(route.condition)
    except InvalidQuery as problem:
        return {"result": "undefined", "details": {"compilationErrors": [_error_json(route.condition, problem)]}}
    message = _message(body)
    return {"result": "true" if condition.matches(message) else "false", "details": {"compilationErrors": []}}


def _error_json(text: str, problem: InvalidQuery) -> dict[str, Any]:
    begin, end = (line_and_column(text, at) for at in (problem.at, problem.at + problem.length))
    return {
        "message": problem.message,
        "severity": "error",
        "location": {
            name: dict(zip(("line", "column"), at, strict=True)) for name, at in (("start", begin), ("end", end))
        },
    }


def _message(body: Mapping[str, Any]) -> TestMessage:
    message, twin = get_object(body, "message") or {}, get_object(body, "twin")
    text = get_text(message, "body", "message.body")
    document: Any = UNDEFINED
    if text:
        try:
            document = parse_json(text.encode("utf-8", "replace"), what="message.body")
        except Invalid:
            # A message may hold anything; of what is no JSON nothing can be asked.
            document = UNDEFINED
    properties = {} if twin is None else get_object(twin, "properties", "twin.properties") or {}
    return TestMessage(
        body=document,
        properties=_texts(message, "appProperties"),
        system=_texts(message, "systemProperties"),
        twin=UNDEFINED
        if twin is None
        else {"tags": get_object(twin, "tags", "twin.tags") or {}, "properties": properties},
    )


def _texts(message: Mapping[str, Any], member: str) -> dict[str, str]:
    found = get_object(message, member, f"message.{member}") or {}
    return {name: value if isinstance(value, str) else str(value) for name, value in found.items()}


# -- parts -------------------------------------------------------------------------------------------------------------


def _route_json(route: MessageRoute) -> dict[str, Any]:
    source = "DeviceMessages" if route.source == TELEMETRY else route.source[0].upper() + route.source[1:]
    return {
        "name": route.name,
        "source": source,
        "condition": route.condition or "true",
        "endpointNames": list(route.endpoints),
        "isEnabled": route.is_enabled,
    }


def _parse_route(value: Mapping[str, Any]) -> MessageRoute:
    return MessageRoute(
        get_text(value, "name") or "",
        _names(value),
        parse_route_source(get_text(value, "source") or TELEMETRY),
        get_text(value, "condition") or "",
        get_boolean(value, "isEnabled", "isEnabled", default=True),
    )


def _parse_enrichment(value: Mapping[str, Any]) -> Enrichment:
    return Enrichment(get_text(value, "key") or "", get_text(value, "value") or "", _names(value))


def _parse_fallback(value: Mapping[str, Any]) -> Fallback:
    return Fallback(get_boolean(value, "isEnabled", "isEnabled", default=True), _names(value) or (BUILT_IN,))


def _names(value: Mapping[str, Any]) -> tuple[str, ...]:
    names = value.get("endpointNames") or []
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise Invalid("body.member", "endpointNames has to be a list of names")
    return tuple(names)


def _list(routing: Mapping[str, Any], member: str, most: int) -> Sequence[Mapping[str, Any]] | None:
    value = routing.get(member)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise Invalid("body.member", f"properties.routing.{member} has to be a list of objects")
    if len(value) > most:
        raise Invalid("body.member", f"properties.routing.{member} has {len(value)} entries, at most {most} are taken")
    return value

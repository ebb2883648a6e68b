"""Which endpoints a message goes to, and why or why not: plain functions of a configuration and a message."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.hub.routing_model import TELEMETRY, Enrichment, MessageRoute, RouteSource, Routing
from moorage.query.routes import Explanation, Message, RouteCondition, parse_route_condition, parse_twin_path, value_at
from moorage.query.syntax import UNDEFINED

__all__ = ["FALLBACK", "Outlet", "Verdict", "enriched", "outlet_of", "verdicts"]

# In the place of a route's name, for what no route takes.
FALLBACK: Final = "$fallback"
_HUB_NAME: Final = ("$iothubname", "$hubname")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one route says to a message. `explanation` is None when it takes it, or when its source is another."""

    route: MessageRoute
    is_match: bool
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Outlet:
    """One endpoint's view of the routes. `taken_by` names those by which a message of a source goes there."""

    taken_by: Callable[[RouteSource, Message], list[str]]
    needs_twin: bool
    enrichments: tuple[Enrichment, ...]


def verdicts(routing: Routing, source: RouteSource, message: Message) -> list[Verdict]:
    """Of every enabled route, in order."""
    found = []
    for route in routing.routes:
        if not route.is_enabled:
            continue
        if route.source != source:
            found.append(Verdict(route, False))
            continue
        explanation = parse_route_condition(route.condition).explain(message)
        found.append(Verdict(route, explanation is None, explanation))
    return found


def outlet_of(routing: Routing, endpoint: str) -> Outlet | None:
    """None when no route leads there."""
    name = endpoint.lower()
    enabled = [route for route in routing.routes if route.is_enabled]
    own = _by_source([route for route in enabled if name in map(str.lower, route.endpoints)])
    falls_back = routing.fallback.is_enabled and name in map(str.lower, routing.fallback.endpoints)
    if not own and not falls_back:
        return None
    others = _by_source(enabled).get(TELEMETRY, ())

    def taken_by(source: RouteSource, message: Message) -> list[str]:
        names = [name for name, condition in own.get(source, ()) if condition.matches(message)]
        if not names and falls_back and source == TELEMETRY and not any(each.matches(message) for _, each in others):
            names.append(FALLBACK)
        return names

    enrichments = tuple(each for each in routing.enrichments if name in map(str.lower, each.endpoints))
    asked = [*(each for conditions in own.values() for each in conditions), *(others if falls_back else ())]
    needs_twin = any(condition.needs_twin for _, condition in asked) or any(
        parse_twin_path(each.value) is not None for each in enrichments
    )
    return Outlet(taken_by, needs_twin, enrichments)


def enriched(enrichments: tuple[Enrichment, ...], message: Message, hub_name: str) -> dict[str, str]:
    """The properties that `enrichments` add.

    A path that leads nowhere in the twin is added as it is written, as Azure does; what is no text there as JSON.
    """
    added: dict[str, str] = {}
    for enrichment in enrichments:
        value = enrichment.value
        steps = parse_twin_path(value) if value.startswith("$") else None
        if value.lower() in _HUB_NAME:
            value = hub_name
        elif steps is not None:
            found: Any = value_at(message.twin(), steps)
            if found is not UNDEFINED:
                value = found if isinstance(found, str) else json.dumps(found, default=_plain)
        added[enrichment.key] = value
    return added


def _by_source(routes: list[MessageRoute]) -> Mapping[RouteSource, list[tuple[str, RouteCondition]]]:
    found: dict[RouteSource, list[tuple[str, RouteCondition]]] = {}
    for route in routes:
        found.setdefault(route.source, []).append((route.name, parse_route_condition(route.condition)))
    return found


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")

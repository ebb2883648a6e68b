"""Routes, endpoints, enrichments and the fallback, changed one by one or all together.

Each change is one transaction: it loads the configuration, makes another of it, checks that one as a whole, stores it,
switches on the events that routes ask for, and tells the router (`routing.changed`). Who changed what is in the audit
log; addresses and credentials are not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from moorage.errors import Conflict, NotFound
from moorage.events import Event
from moorage.hub.routing_model import (
    DeadLetter,
    Endpoint,
    Enrichment,
    Fallback,
    MessageRoute,
    Routing,
    RoutingTables,
    check_routing,
    find_endpoint,
    find_route,
)
from moorage.ids import HubId
from moorage.store import Store

__all__ = ["CHANGED", "RoutingService"]

audit = logging.getLogger("moorage.audit")

T = TypeVar("T")

CHANGED: Final = "routing.changed"


class RoutingService:
    """One hub's. `end` is the place in the telemetry log from which an endpoint reads once a route leads there.

    Changes raise as `check_routing`, and an endpoint as `vet`: what this machine says of it.
    """

    def __init__(
        self, hub: HubId, store: Store[RoutingTables], end: Callable[[], int], vet: Callable[[Endpoint], None]
    ) -> None:
        self._hub = hub
        self._store = store
        self._end = end
        self._vet = vet

    def get(self) -> Routing:
        return self._store.read().routing.load(self._hub)

    async def put_route(self, route: MessageRoute, *, by: object = None) -> MessageRoute:
        """Make it, or put it in the place of the one of its name."""

        def decide(routing: Routing) -> Routing:
            return replace(routing, routes=_put(routing.routes, route, lambda each: each.name))

        await self._change(decide)
        self._audit("route.stored", route.name, by)
        return find_route(self.get(), route.name)

    async def delete_route(self, name: str, *, by: object = None) -> None:
        """Raises `NotFound` (`route.not_found`)."""

        def decide(routing: Routing) -> Routing:
            gone = find_route(routing, name)
            return replace(routing, routes=tuple(each for each in routing.routes if each is not gone))

        await self._change(decide)
        self._audit("route.deleted", name, by)

    async def put_endpoint(self, endpoint: Endpoint, *, by: object = None) -> Endpoint:
        """Make it, or change the one of its name, which goes on where it was."""
        self._vet(endpoint)

        def decide(routing: Routing) -> Routing:
            return replace(routing, endpoints=_put(routing.endpoints, endpoint, lambda each: each.name))

        await self._change(decide)
        self._audit("endpoint.stored", endpoint.name, by)
        return find_endpoint(self.get(), endpoint.name)

    async def delete_endpoint(self, name: str, *, by: object = None) -> None:
        """With its dead letters. Raises `NotFound` (`endpoint.not_found`), `Conflict` (`endpoint.in_use`)."""

        def decide(routing: Routing) -> Routing:
            gone = find_endpoint(routing, name)
            users = _users(routing, name)
            if users:
                raise Conflict(
                    "endpoint.in_use",
                    f"endpoint '{gone.name}' is named by {', '.join(users[:5])}",
                    fix="moorage route list",
                )
            return replace(routing, endpoints=tuple(each for each in routing.endpoints if each is not gone))

        await self._change(decide)
        self._audit("endpoint.deleted", name, by)

    async def put_enrichment(self, enrichment: Enrichment, *, by: object = None) -> None:
        """Make it, or put it in the place of the one of its key."""

        def decide(routing: Routing) -> Routing:
            return replace(routing, enrichments=_put(routing.enrichments, enrichment, lambda each: each.key))

        await self._change(decide)
        self._audit("enrichment.stored", enrichment.key, by)

    async def delete_enrichment(self, key: str, *, by: object = None) -> None:
        """Raises `NotFound` (`enrichment.not_found`)."""

        def decide(routing: Routing) -> Routing:
            left = tuple(each for each in routing.enrichments if each.key.lower() != key.lower())
            if len(left) == len(routing.enrichments):
                raise NotFound("enrichment.not_found", f"there is no enrichment {key[:64]!r}")
            return replace(routing, enrichments=left)

        await self._change(decide)
        self._audit("enrichment.deleted", key, by)

    async def set_fallback(self, fallback: Fallback, *, by: object = None) -> None:
        await self._change(lambda routing: replace(routing, fallback=fallback))
        self._audit("fallback.set", "on" if fallback.is_enabled else "off", by)

    def replace_in(
        self,
        tables: RoutingTables,
        *,
        routes: tuple[MessageRoute, ...] | None = None,
        enrichments: tuple[Enrichment, ...] | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        """Whole lists at once, inside somebody's transaction; None stays."""

        def decide(routing: Routing) -> Routing:
            return Routing(
                routing.endpoints,
                routing.routes if routes is None else routes,
                routing.enrichments if enrichments is None else enrichments,
                fallback or routing.fallback,
            )

        self._change_in(tables, decide)

    def audit_replaced(self, by: object) -> None:
        routing = self.get()
        self._audit("route.stored", ",".join(each.name for each in routing.routes), by)

    # -- dead letters --------------------------------------------------------------------------------------------------

    async def dead_letters(self, name: str, limit: int) -> list[tuple[int, DeadLetter]]:
        """The oldest, each with its number. Raises `NotFound` (`endpoint.not_found`)."""
        endpoint = find_endpoint(self.get(), name)
        return await self._store.scan(lambda tables: tables.routing.dead(self._hub, endpoint.name, limit))

    async def drop_dead_letter(self, name: str, number: int) -> None:
        endpoint = find_endpoint(self.get(), name)
        await self._store.write(lambda tables: tables.routing.delete_dead(self._hub, endpoint.name, number))

    # -- parts ---------------------------------------------------------------------------------------------------------

    async def _change(self, decide: Callable[[Routing], Routing]) -> None:
        await self._store.write(lambda tables: self._change_in(tables, decide))

    def _change_in(self, tables: RoutingTables, decide: Callable[[Routing], Routing]) -> None:
        before = tables.routing.load(self._hub)
        after = decide(before)
        if after == before:
            return
        check_routing(after)
        tables.routing.save(self._hub, after)
        names = [{each.name.lower() for each in routing.endpoints} for routing in (before, after)]
        for name in names[0] - names[1]:
            tables.routing.forget(self._hub, name)
        # What came before a route led there is not for it.
        for name in after.used - before.used:
            tables.routing.put_cursor(self._hub, name, self._end())
        sources = tables.notifications.sources(self._hub)
        if sources.routed != after.sources:
            tables.notifications.put_sources(self._hub, replace(sources, routed=after.sources))
        tables.outbox.emit(Event(CHANGED, self._hub, ""))

    def _audit(self, event: str, name: str, by: object) -> None:
        facts = {"hub": self._hub, "name": name, "by": str(by)}
        audit.info("%s hub=%s name=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})


def _put(present: tuple[T, ...], new: T, key: Callable[[T], str]) -> tuple[T, ...]:
    """In the place of the one with its key, else behind all."""
    name = key(new).lower()
    if any(key(each).lower() == name for each in present):
        return tuple(new if key(each).lower() == name else each for each in present)
    return (*present, new)


def _users(routing: Routing, endpoint: str) -> list[str]:
    name = endpoint.lower()
    found = [f"route '{each.name}'" for each in routing.routes if name in map(str.lower, each.endpoints)]
    found += [f"enrichment '{each.key}'" for each in routing.enrichments if name in map(str.lower, each.endpoints)]
    if name in map(str.lower, routing.fallback.endpoints):
        found.append("the fallback route")
    return found

"""Message routing as values: what goes where, and the port to where that is kept.

    message ──► routes of its source, each with a condition ──► the endpoints they name
          └───► the fallback route, when no route matched (telemetry only)

A message that several routes send to one endpoint goes there once. Every endpoint reads the telemetry log by a cursor
of its own (`hub/router.py`). The endpoint `events` is the log itself, the built-in one: nothing is copied for it.

The whole configuration of a hub is one value, checked as one and stored as one, so that a control plane can read and
write it whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol, get_args
from urllib.parse import urlsplit

from moorage.errors import Conflict, Invalid, NotFound, TooLarge
from moorage.hub.model import HubTables
from moorage.hub.notification_model import SOURCES, Source
from moorage.ids import HubId, Secret
from moorage.query.routes import parse_route_condition, parse_twin_path

__all__ = [
    "BUILT_IN",
    "ENDPOINT_KINDS",
    "MAX_CONDITION_CHARS",
    "MAX_DEAD_LETTERS",
    "MAX_ENDPOINTS",
    "MAX_ENRICHMENTS",
    "MAX_ROUTES",
    "TELEMETRY",
    "DeadLetter",
    "Endpoint",
    "EndpointKind",
    "Enrichment",
    "Fallback",
    "MessageRoute",
    "RouteSource",
    "Routing",
    "RoutingTable",
    "RoutingTables",
    "check_routing",
    "find_endpoint",
    "find_route",
    "parse_route_source",
    "server_of",
]

RouteSource = Literal["Telemetry"] | Source
TELEMETRY: Final = "Telemetry"
BUILT_IN: Final = "events"

EndpointKind = Literal["webhook", "file", "nats", "kafka"]
ENDPOINT_KINDS: Final[tuple[EndpointKind, ...]] = get_args(EndpointKind)

# Azure has 100 routes, 10 endpoints and 10 enrichments.
MAX_ROUTES: Final = 100
MAX_ENDPOINTS: Final = 20
MAX_ENRICHMENTS: Final = 20
MAX_CONDITION_CHARS: Final = 4096
MAX_DEAD_LETTERS: Final = 1000
_MAX_ENDPOINTS_OF_ROUTE = 10
_MAX_VALUE_CHARS = 1024
_MAX_BATCH = 1000
_MAX_RETRY_S = 7 * 24 * 3600

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}
_RESERVED: Final = frozenset({BUILT_IN, "filenotifications", "operationsmonitoringevents", "$fallback"})


@dataclass(frozen=True, slots=True)
class MessageRoute:
    """`condition` is the text; an empty one is true of every message."""

    name: str
    endpoints: tuple[str, ...]
    source: RouteSource = TELEMETRY
    condition: str = ""
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where messages go.

    Attributes:
        address: a URL, which may be secret in parts.
        credential: what is shown to the other side: a header's value, a password; empty where there is none.
        options: what else its kind takes, as texts.
        batch: the most messages that are delivered together.
        retry_s: how long a delivery is tried before its messages become dead letters.
    """

    name: str
    kind: EndpointKind
    address: Secret
    credential: Secret = Secret("")
    options: Mapping[str, str] = field(default_factory=dict)
    batch: int = 100
    retry_s: int = 3600


def server_of(address: str) -> str:
    """`scheme://host:port` of an address, in which a default port is left out; itself where it is no URL.

    A credential that is kept goes to the server that it was given for, and to no other.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    hosts = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{hosts.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ''))}"


@dataclass(frozen=True, slots=True)
class Enrichment:
    """An application property that messages get on their way to `endpoints`.

    `value` is a text, `$iothubname` or `$hubname`, or a path into the sender's twin, as `$twin.tags.site`.
    """

    key: str
    value: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fallback:
    is_enabled: bool = True
    endpoints: tuple[str, ...] = (BUILT_IN,)


@dataclass(frozen=True, slots=True)
class Routing:
    """All of a hub's routing. Names are compared without regard to case."""

    endpoints: tuple[Endpoint, ...] = ()
    routes: tuple[MessageRoute, ...] = ()
    enrichments: tuple[Enrichment, ...] = ()
    fallback: Fallback = Fallback()

    @property
    def used(self) -> frozenset[str]:
        """Names, in lower case, of the endpoints that messages may go to."""
        names = [name for route in self.routes if route.is_enabled for name in route.endpoints]
        if self.fallback.is_enabled:
            names += self.fallback.endpoints
        return frozenset(map(str.lower, names)) - {BUILT_IN}

    @property
    def sources(self) -> frozenset[Source]:
        """Of the hub's own events, those that a route asks for."""
        return frozenset(
            source for source in SOURCES if any(route.is_enabled and route.source == source for route in self.routes)
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that an endpoint did not take. `body` is as it was to be delivered."""

    endpoint: str
    at: datetime
    device_id: str
    offset: int
    reason: str
    body: bytes


class RoutingTable(Protocol):
    """One configuration a hub; for each of its endpoints a place in the log, and what could not be delivered."""

    def load(self, hub: HubId) -> Routing: ...

    def save(self, hub: HubId, routing: Routing) -> None: ...

    def cursor(self, hub: HubId, endpoint: str) -> int | None:
        """The offset from which on nothing was delivered yet."""

    def put_cursor(self, hub: HubId, endpoint: str, offset: int) -> None: ...

    def forget(self, hub: HubId, endpoint: str) -> None:
        """Take away its cursor and its dead letters."""

    def bury(self, hub: HubId, letter: DeadLetter, keep: int) -> None:
        """Keep a dead letter, and of the endpoint's no more than `keep`, the oldest going first."""

    def dead(self, hub: HubId, endpoint: str, limit: int) -> list[tuple[int, DeadLetter]]:
        """The oldest, each with its number."""

    def count_dead(self, hub: HubId, endpoint: str) -> int: ...

    def delete_dead(self, hub: HubId, endpoint: str, number: int) -> None: ...


class RoutingTables(HubTables, Protocol):
    @property
    def routing(self) -> RoutingTable: ...


def parse_route_source(text: str) -> RouteSource:
    """In any case; `DeviceMessages`, as control planes say, is `Telemetry`. Raises `Invalid` (`route.source`)."""
    if text.lower() in ("devicemessages", "telemetry"):
        return "Telemetry"
    for source in SOURCES:
        if source.lower() == text.lower():
            return source
    raise Invalid("route.source", f"{text[:60]!r} is no source of messages; there are Telemetry, {', '.join(SOURCES)}")


def find_route(routing: Routing, name: str) -> MessageRoute:
    """Raises `NotFound` (`route.not_found`)."""
    for route in routing.routes:
        if route.name.lower() == name.lower():
            return route
    raise NotFound("route.not_found", f"there is no message route {name[:64]!r}", fix="moorage route list")


def find_endpoint(routing: Routing, name: str) -> Endpoint:
    """Raises `NotFound` (`endpoint.not_found`)."""
    for endpoint in routing.endpoints:
        if endpoint.name.lower() == name.lower():
            return endpoint
    raise NotFound("endpoint.not_found", f"there is no endpoint {name[:64]!r}", fix="moorage endpoint list")


def check_routing(routing: Routing) -> None:
    """What has to hold of all of it.

    Raises:
        Invalid: `route.name`, `endpoint.name`, `endpoint.batch`, `endpoint.retry`, `route.endpoints`, `enrichment.key`,
            `enrichment.value`, `enrichment.endpoints`; `query.*` for a condition.
        Conflict: `route.twice`, `endpoint.twice`, `enrichment.twice`.
        TooLarge: `route.too_many`, `endpoint.too_many`, `enrichment.too_many`, `route.condition_size`.
    """
    _check_count(len(routing.routes), MAX_ROUTES, "route.too_many", "routes")
    _check_count(len(routing.endpoints), MAX_ENDPOINTS, "endpoint.too_many", "endpoints")
    _check_count(len(routing.enrichments), MAX_ENRICHMENTS, "enrichment.too_many", "enrichments")
    _check_unique([each.name for each in routing.endpoints], "endpoint.twice")
    _check_unique([each.name for each in routing.routes], "route.twice")
    _check_unique([each.key for each in routing.enrichments], "enrichment.twice")
    known = {BUILT_IN, *(endpoint.name.lower() for endpoint in routing.endpoints)}
    for endpoint in routing.endpoints:
        _check_endpoint(endpoint)
    for route in routing.routes:
        _check_route(route, known)
    for enrichment in routing.enrichments:
        _check_enrichment(enrichment, known)
    _check_names(routing.fallback.endpoints, known, "the fallback route", least=1)


def _check_endpoint(endpoint: Endpoint) -> None:
    _check_name(endpoint.name, "endpoint.name")
    if endpoint.name.lower() in _RESERVED:
        raise Invalid("endpoint.name", f"{endpoint.name!r} is the name of an endpoint that every hub has")
    if not 1 <= endpoint.batch <= _MAX_BATCH:
        raise Invalid("endpoint.batch", f"batch is {endpoint.batch}, it goes from 1 to {_MAX_BATCH} messages")
    if not 0 <= endpoint.retry_s <= _MAX_RETRY_S:
        raise Invalid(
            "endpoint.retry", f"a delivery is retried for 0 to {_MAX_RETRY_S} seconds, not {endpoint.retry_s}"
        )


def _check_route(route: MessageRoute, known: set[str]) -> None:
    _check_name(route.name, "route.name")
    _check_names(route.endpoints, known, f"route '{route.name}'", least=1)
    if len(route.condition) > MAX_CONDITION_CHARS:
        raise TooLarge(
            "route.condition_size",
            f"the condition of route '{route.name}' has {len(route.condition)} characters, at most "
            f"{MAX_CONDITION_CHARS} are read",
        )
    parse_route_condition(route.condition)


def _check_enrichment(enrichment: Enrichment, known: set[str]) -> None:
    _check_name(enrichment.key, "enrichment.key")
    if not 1 <= len(enrichment.value) <= _MAX_VALUE_CHARS:
        raise Invalid(
            "enrichment.value",
            f"the value of '{enrichment.key}' has {len(enrichment.value)} characters, 1 to {_MAX_VALUE_CHARS} may be",
        )
    if enrichment.value.lower().startswith("$twin") and parse_twin_path(enrichment.value) is None:
        raise Invalid("enrichment.value", f"{enrichment.value[:80]!r} is no path into a twin, such as $twin.tags.site")
    _check_names(enrichment.endpoints, known, f"enrichment '{enrichment.key}'", least=1)
    if BUILT_IN in map(str.lower, enrichment.endpoints):
        raise Invalid(
            "enrichment.endpoints",
            f"'{enrichment.key}' was to be put on messages of the built-in endpoint, which shows them as they came",
            fix="moorage endpoint list",
        )


def _check_names(names: tuple[str, ...], known: set[str], of: str, *, least: int) -> None:
    if not least <= len(names) <= _MAX_ENDPOINTS_OF_ROUTE:
        raise Invalid(
            "route.endpoints", f"{of} names {len(names)} endpoints, it has to be {least} to {_MAX_ENDPOINTS_OF_ROUTE}"
        )
    for name in names:
        if name.lower() not in known:
            raise Invalid(
                "route.endpoints",
                f"{of} names the endpoint {name[:64]!r}, which there is not",
                fix="moorage endpoint list",
            )


def _check_name(name: str, reason: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            reason, f"{name[:80]!r} is no name: 1 to 64 letters, digits, dots, hyphens and underscores make one"
        )


def _check_unique(names: list[str], reason: str) -> None:
    folded = [name.lower() for name in names]
    for place, name in enumerate(folded):
        if name in folded[:place]:
            raise Conflict(reason, f"two are named {name[:64]!r}")


def _check_count(number: int, most: int, reason: str, named: str) -> None:
    if number > most:
        raise TooLarge(reason, f"there would be {number} {named}, at most {most} are allowed")

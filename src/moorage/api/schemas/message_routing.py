"""Message routing of our own API."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import (
    ANYTHING,
    FLAG,
    TIME,
    list_of,
    map_of,
    members,
    named,
    nullable,
    one_of,
    text,
    whole,
)
from moorage.hub.notification_model import SOURCES
from moorage.hub.routing_model import ENDPOINT_KINDS, MAX_CONDITION_CHARS

__all__ = [
    "DEAD_LETTERS",
    "ENDPOINT",
    "ENDPOINTS",
    "ENDPOINT_CHANGE",
    "ENRICHMENT",
    "ENRICHMENTS",
    "FALLBACK",
    "FALLBACK_CHANGE",
    "REPLAYED",
    "ROUTE",
    "ROUTES",
    "ROUTE_CHANGE",
    "ROUTE_TEST",
    "ROUTE_TESTED",
    "TRIED",
]

_SOURCE: Final = one_of("Telemetry", *SOURCES)
_CONDITION: Final = text("In IoT Hub's routing query language.", most=MAX_CONDITION_CHARS)
_NAMES: Final = list_of(text(), "Names of endpoints; `events` is the built-in one.")

ROUTE: Final = named(
    "MessageRoute",
    members(
        {"name": text(), "source": _SOURCE, "condition": _CONDITION, "endpoints": _NAMES, "isEnabled": FLAG},
    ),
)
ROUTES: Final = members({"routes": list_of(ROUTE), "fallback": members({"isEnabled": FLAG, "endpoints": _NAMES})})
ROUTE_CHANGE: Final = named(
    "MessageRouteChange",
    members(
        {"endpoints": _NAMES},
        {"name": text(), "source": text(), "condition": nullable(_CONDITION), "isEnabled": nullable(FLAG)},
    ),
)
FALLBACK: Final = members({"isEnabled": FLAG, "endpoints": _NAMES})
FALLBACK_CHANGE: Final = members({}, {"isEnabled": nullable(FLAG), "endpoints": nullable(_NAMES)})
ENRICHMENT: Final = named("Enrichment", members({"key": text(), "value": text(), "endpoints": _NAMES}))
ENRICHMENTS: Final = members({"enrichments": list_of(ENRICHMENT)})
_HEALTH: Final = members(
    {
        "isFailing": FLAG,
        "offset": whole("How far in the log it has come."),
        "waiting": whole("Messages that were read for it and are not delivered yet."),
        "backlogBytes": whole("How much of the log it has still to look at."),
        "delivered": whole("Messages since the hub started."),
        "failures": whole("Deliveries that failed since the hub started."),
        "buried": whole("Messages that became dead letters since the hub started."),
        "missedBytes": whole("Of the log, gone by its retention before the endpoint had come there."),
        "byRoute": map_of(whole("Messages that it sent there since the hub started.")),
        "deadLetters": whole("Messages that it did not take and that are kept."),
        "lastDelivery": nullable(TIME),
        "failingSince": nullable(TIME),
        "failure": nullable(text()),
    }
)
ENDPOINT: Final = named(
    "Endpoint",
    members(
        {
            "name": text(),
            "kind": one_of(*ENDPOINT_KINDS),
            "address": text("With stars in place of what may be secret."),
            "hasCredential": FLAG,
            "options": map_of(text()),
            "batch": whole("The most messages in a delivery."),
            "retrySeconds": whole("How long a delivery is tried."),
            "health": _HEALTH,
        }
    ),
)
ENDPOINTS: Final = members({"endpoints": list_of(ENDPOINT)})
ENDPOINT_CHANGE: Final = named(
    "EndpointChange",
    members(
        {},
        {
            "name": text(),
            "kind": one_of(*ENDPOINT_KINDS),
            "address": nullable(text()),
            "credential": nullable(text("What is shown to the other side; without it the present one stays.")),
            "options": nullable(map_of(text())),
            "batch": nullable(whole(least=1)),
            "retrySeconds": nullable(whole(least=0)),
        },
    ),
)
_DEAD_LETTER: Final = members(
    {
        "number": whole(),
        "endpoint": text(),
        "at": TIME,
        "deviceId": text(),
        "offset": whole(),
        "reason": text(),
        "message": ANYTHING,
    }
)
DEAD_LETTERS: Final = members({"deadLetters": list_of(_DEAD_LETTER)})
REPLAYED: Final = members({"delivered": whole(), "left": whole(), "failure": nullable(text())})
TRIED: Final = members({"name": text(), "isDelivered": FLAG})
ROUTE_TEST: Final = named(
    "RouteTest",
    members(
        {},
        {
            "source": text(),
            "body": ANYTHING,
            "properties": map_of(text()),
            "systemProperties": map_of(text()),
            "deviceId": text("Its twin is what $twin means."),
            "moduleId": nullable(text()),
            "route": ROUTE_CHANGE,
        },
    ),
)
ROUTE_TESTED: Final = members(
    {
        "isMatch": FLAG,
        "endpoints": _NAMES,
        "routes": list_of(
            members(
                {"name": text(), "isMatch": FLAG, "source": _SOURCE, "condition": _CONDITION, "endpoints": _NAMES},
                {"at": whole("Where in the condition the part begins that was to blame."), "because": text()},
            )
        ),
    }
)

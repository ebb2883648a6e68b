"""Routes, endpoints, enrichments and the fallback in the JSON of our own API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.dialects.members import check_same, get_boolean, get_object, get_text, get_whole
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.hub.router import Health
from moorage.hub.routing_match import Verdict
from moorage.hub.routing_model import (
    ENDPOINT_KINDS,
    DeadLetter,
    Endpoint,
    EndpointKind,
    Enrichment,
    Fallback,
    MessageRoute,
    Routing,
    parse_route_source,
    server_of,
)
from moorage.ids import Secret

__all__ = [
    "dead_letter_json",
    "endpoint_json",
    "enrichment_json",
    "fallback_json",
    "masked_address",
    "parse_endpoint",
    "parse_enrichment",
    "parse_fallback",
    "parse_route",
    "route_json",
    "routing_json",
    "verdict_json",
]

# What a kind of endpoint takes beside an address, and which values.
_OPTIONS: Final[Mapping[EndpointKind, Mapping[str, frozenset[str] | None]]] = {
    "webhook": {"shape": frozenset({"array", "object"})},
    "file": {"format": frozenset({"avro", "json"}), "every": None},
    "nats": {"subject": None, "jetstream": frozenset({"yes", "no"})},
    "kafka": {
        "topic": None,
        "value": frozenset({"body", "document"}),
        "sasl": frozenset({"plain", "scram-sha-256", "scram-sha-512"}),
    },
}
_MAX_ADDRESS = 2048
_MAX_CREDENTIAL = 4096
_MAX_OPTION = 256
_MAX_EVERY_S: Final = 3600
_STARS: Final = "***"


def routing_json(routing: Routing) -> dict[str, Any]:
    return {
        "endpoints": [endpoint_json(each) for each in routing.endpoints],
        "routes": [route_json(each) for each in routing.routes],
        "enrichments": [enrichment_json(each) for each in routing.enrichments],
        "fallback": fallback_json(routing.fallback),
    }


# -- routes ------------------------------------------------------------------------------------------------------------


def route_json(route: MessageRoute) -> dict[str, Any]:
    return {
        "name": route.name,
        "source": route.source,
        "condition": route.condition or "true",
        "endpoints": list(route.endpoints),
        "isEnabled": route.is_enabled,
    }


def parse_route(name: str, body: Mapping[str, Any]) -> MessageRoute:
    """Raises `Invalid` (`body.member`, `body.id`, `route.source`)."""
    check_same(body, "name", name)
    return MessageRoute(
        name,
        _names(body, "endpoints"),
        parse_route_source(get_text(body, "source") or "Telemetry"),
        get_text(body, "condition") or "",
        get_boolean(body, "isEnabled", "isEnabled", default=True),
    )


def enrichment_json(enrichment: Enrichment) -> dict[str, Any]:
    return {"key": enrichment.key, "value": enrichment.value, "endpoints": list(enrichment.endpoints)}


def parse_enrichment(key: str, body: Mapping[str, Any]) -> Enrichment:
    """Raises `Invalid` (`body.member`, `body.id`)."""
    check_same(body, "key", key)
    return Enrichment(key, get_text(body, "value") or "", _names(body, "endpoints"))


def fallback_json(fallback: Fallback) -> dict[str, Any]:
    return {"isEnabled": fallback.is_enabled, "endpoints": list(fallback.endpoints)}


def parse_fallback(body: Mapping[str, Any], present: Fallback) -> Fallback:
    """Raises `Invalid` (`body.member`)."""
    return Fallback(
        get_boolean(body, "isEnabled", "isEnabled", default=present.is_enabled),
        _names(body, "endpoints") if body.get("endpoints") is not None else present.endpoints,
    )


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Why not, for a route of the message's source that does not take it: the place in its condition and a sentence."""
    shown: dict[str, Any] = {**route_json(verdict.route), "isMatch": verdict.is_match}
    if verdict.explanation is not None:
        shown |= {"at": verdict.explanation.at, "because": verdict.explanation.sentence}
    return shown


# -- endpoints ---------------------------------------------------------------------------------------------------------


def endpoint_json(
    endpoint: Endpoint, health: Health | None = None, *, dead: int = 0, backlog_bytes: int = 0
) -> dict[str, Any]:
    """Without what may be secret: of the address scheme and host are shown, and the path of a folder."""
    shown: dict[str, Any] = {
        "name": endpoint.name,
        "kind": endpoint.kind,
        "address": shown_address(endpoint),
        "hasCredential": bool(endpoint.credential.reveal()),
        "options": dict(endpoint.options),
        "batch": endpoint.batch,
        "retrySeconds": endpoint.retry_s,
    }
    if health is not None:
        shown["health"] = health_json(health, dead, backlog_bytes)
    return shown


def health_json(health: Health, dead: int, backlog_bytes: int) -> dict[str, Any]:
    failure = health.failure
    return {
        "isFailing": failure is not None,
        "offset": health.place,
        "waiting": health.waiting,
        "backlogBytes": backlog_bytes,
        "delivered": health.delivered,
        "failures": health.failures,
        "buried": health.buried,
        "missedBytes": health.missed_bytes,
        "byRoute": dict(sorted(health.by_route.items())),
        "deadLetters": dead,
        "lastDelivery": None if health.last_delivery is None else format_time(health.last_delivery),
        "failingSince": None if health.failed_since is None else format_time(health.failed_since),
        "failure": None if failure is None else f"{failure.reason}: {failure.message}",
    }


def shown_address(endpoint: Endpoint) -> str:
    return masked_address(endpoint.kind, endpoint.address.reveal())


def masked_address(kind: str, text: str) -> str:
    """Without path, query and password, which may be secret; of a folder all of it."""
    if kind == "file":
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return _STARS
    host = parts.netloc.rpartition("@")[2]
    rest = _STARS if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}/{rest}"


def parse_endpoint(name: str, body: Mapping[str, Any], present: Endpoint | None) -> Endpoint:
    """What `body` does not say stays as it is `present`; a masked address is one that was not said.

    Raises `Invalid`: `body.member`, `body.id`, `endpoint.kind`, `endpoint.address`, `endpoint.option`;
    `endpoint.credential`, also where the one that is kept was for another server.
    """
    check_same(body, "name", name)
    kind = get_text(body, "kind") or (None if present is None else present.kind)
    if kind not in ENDPOINT_KINDS:
        raise Invalid("endpoint.kind", f"kind is {str(kind)[:40]!r}; there are {', '.join(ENDPOINT_KINDS)}")
    same_kind = present if present is not None and present.kind == kind else None
    address = get_text(body, "address")
    if same_kind is not None and (address is None or address == shown_address(same_kind)):
        address = same_kind.address.reveal()
    if not address or len(address) > _MAX_ADDRESS:
        raise Invalid("endpoint.address", f"an endpoint has an address of 1 to {_MAX_ADDRESS} characters")
    if _STARS in address:
        raise Invalid("endpoint.address", f"{address[:80]!r} has stars in place of what it is; say it whole")
    credential = get_text(body, "credential")
    if credential is None:
        credential = "" if same_kind is None else same_kind.credential.reveal()
        if same_kind is not None and credential and server_of(address) != server_of(same_kind.address.reveal()):
            raise Invalid(
                "endpoint.credential",
                "the address leads to another server than before; the credential that is kept was for "
                f"{server_of(same_kind.address.reveal())[:200]}, so say again what is shown to the new one",
            )
    if len(credential) > _MAX_CREDENTIAL or not credential.isprintable() or not credential.isascii():
        raise Invalid("endpoint.credential", f"a credential has at most {_MAX_CREDENTIAL} printable ASCII characters")
    options = get_object(body, "options")
    batch, retry_s = get_whole(body, "batch"), get_whole(body, "retrySeconds")
    before = same_kind or Endpoint(name, kind, Secret(""))
    return Endpoint(
        name,
        kind,
        Secret(address),
        Secret(credential),
        before.options if options is None else _options(kind, options),
        before.batch if batch is None else batch,
        before.retry_s if retry_s is None else retry_s,
    )


def dead_letter_json(number: int, letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": number,
        "endpoint": letter.endpoint,
        "at": format_time(letter.at),
        "deviceId": letter.device_id,
        "offset": letter.offset,
        "reason": letter.reason,
        "message": json.loads(letter.body),
    }


def _options(kind: EndpointKind, options: Mapping[str, Any]) -> dict[str, str]:
    known = _OPTIONS[kind]
    for name, value in options.items():
        if name not in known:
            raise Invalid("endpoint.option", f"a {kind} takes no option {name[:40]!r}; it takes {', '.join(known)}")
        allowed = known[name]
        if not isinstance(value, str) or len(value) > _MAX_OPTION or (allowed is not None and value not in allowed):
            what = (
                f"a text of at most {_MAX_OPTION} characters"
                if allowed is None
                else f"one of {', '.join(sorted(allowed))}"
            )
            raise Invalid("endpoint.option", f"option {name} is {str(value)[:40]!r}, it has to be {what}")
    every = options.get("every", "0")
    if not (every.isascii() and every.isdigit() and int(every) <= _MAX_EVERY_S):
        raise Invalid("endpoint.option", f"every is {every[:40]!r}, it has to be 0 to {_MAX_EVERY_S} seconds")
    return dict(options)


def _names(body: Mapping[str, Any], member: str) -> tuple[str, ...]:
    value = body.get(member)
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid("body.member", f"{member} has to be a list of names of endpoints")
    return tuple(value)

"""Endpoints, message routes and enrichments, in the words of the files.

What may be secret in an endpoint's address is not shown by the hub, and so compared only as far as it is; the
credential, which is never shown, is an input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from moorage.cli.declared.model import Declared, Member, Spec, bad, choice, flag, table, text, texts
from moorage.cli.hub_client import HubClient, segment
from moorage.errors import Invalid, Refusal

__all__ = ["Endpoints", "Enrichments", "Routes"]

_V1: Final = "/moorage/v1"


def _whole(value: Any, folder: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("has to be a whole number")
    return value


class Endpoints:
    """`moorage endpoint`."""

    members: ClassVar[Mapping[str, Member]] = {
        "kind": Member(choice("webhook", "file", "nats", "kafka")),
        "address": Member(text),
        "credential": Member(text, is_secret=True, is_input=True),
        "options": Member(table, default={}),
        "batch": Member(_whole, default=100),
        "retry-seconds": Member(_whole, default=3600),
    }
    _wire: ClassVar[Mapping[str, str]] = {"retry-seconds": "retrySeconds"}

    def settle(self, declared: Declared) -> Spec:
        if "address" not in declared.spec or "kind" not in declared.spec:
            raise bad(declared, "an endpoint has a kind and an address")
        return declared.spec

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        from moorage.dialects.routing_json import masked_address

        document = _found(hub, f"{_V1}/endpoints/{segment(declared.name)}", "endpoint.not_found")
        if document is None:
            return None
        spec = _endpoint_spec(document)
        if masked_address(declared.spec["kind"], declared.spec["address"]) == spec["address"]:
            spec["address"] = declared.spec["address"]
        return spec

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        for document in hub.request("GET", f"{_V1}/endpoints")["endpoints"]:
            yield document["name"], _less_defaults(_endpoint_spec(document), self.members)

    def create(self, hub: HubClient, declared: Declared) -> None:
        body = {self._wire.get(member, member): value for member, value in declared.spec.items()}
        hub.request("PUT", f"{_V1}/endpoints/{segment(declared.name)}", body=body)

    def update(self, hub: HubClient, declared: Declared) -> None:
        self.create(hub, declared)


class Routes:
    """`moorage route`."""

    members: ClassVar[Mapping[str, Member]] = {
        "to": Member(texts, default=[]),
        "condition": Member(text, default="true"),
        "source": Member(text, default="Telemetry"),
        "enabled": Member(flag, default=True),
    }

    def settle(self, declared: Declared) -> Spec:
        """The source as the hub spells it, so that another spelling is no difference."""
        from moorage.hub.routing_model import parse_route_source

        spec = declared.spec
        if not spec.get("to"):
            raise bad(declared, "a route leads to an endpoint; name it in `to`")
        if "source" not in spec:
            return spec
        try:
            return {**spec, "source": parse_route_source(spec["source"])}
        except Invalid as refusal:
            raise bad(declared, refusal.message) from refusal

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        document = _found(hub, f"{_V1}/routes/{segment(declared.name)}", "route.not_found")
        return None if document is None else _route_spec(document)

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        for document in hub.request("GET", f"{_V1}/routes")["routes"]:
            yield document["name"], _less_defaults(_route_spec(document), self.members)

    def create(self, hub: HubClient, declared: Declared) -> None:
        self._put(hub, declared, {})

    def update(self, hub: HubClient, declared: Declared) -> None:
        self._put(hub, declared, self.find(hub, declared) or {})

    def _put(self, hub: HubClient, declared: Declared, present: Spec) -> None:
        spec = {**present, **declared.spec}
        names = {"to": "endpoints", "enabled": "isEnabled"}
        body = {names.get(member, member): value for member, value in spec.items()}
        hub.request("PUT", f"{_V1}/routes/{segment(declared.name)}", body=body)


class Enrichments:
    """`moorage route enrich`."""

    members: ClassVar[Mapping[str, Member]] = {"value": Member(text), "to": Member(texts, default=[])}

    def settle(self, declared: Declared) -> Spec:
        if not declared.spec.get("to") or "value" not in declared.spec:
            raise bad(declared, "an enrichment has a value, and leads to an endpoint named in `to`")
        return declared.spec

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        return next((spec for name, spec in self.all(hub, with_keys=False) if name == declared.name), None)

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        for document in hub.request("GET", f"{_V1}/enrichments")["enrichments"]:
            yield document["key"], {"value": document["value"], "to": document["endpoints"]}

    def create(self, hub: HubClient, declared: Declared) -> None:
        body = {"value": declared.spec["value"], "endpoints": declared.spec["to"]}
        hub.request("PUT", f"{_V1}/enrichments/{segment(declared.name)}", body=body)

    def update(self, hub: HubClient, declared: Declared) -> None:
        self.create(hub, declared)


def _found(hub: HubClient, path: str, absent: str) -> Mapping[str, Any] | None:
    try:
        document: Mapping[str, Any] = hub.request("GET", path)
    except Refusal as refusal:
        if refusal.reason != absent:
            raise
        return None
    return document


def _endpoint_spec(document: Mapping[str, Any]) -> Spec:
    return {
        "kind": document["kind"],
        "address": document["address"],
        "options": document["options"],
        "batch": document["batch"],
        "retry-seconds": document["retrySeconds"],
    }


def _route_spec(document: Mapping[str, Any]) -> Spec:
    return {
        "to": document["endpoints"],
        "condition": document["condition"],
        "source": document["source"],
        "enabled": document["isEnabled"],
    }


def _less_defaults(spec: Spec, members: Mapping[str, Member]) -> Spec:
    return {name: value for name, value in spec.items() if value != members[name].default}

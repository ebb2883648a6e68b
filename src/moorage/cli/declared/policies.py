"""Shared access policies, in the words of the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from moorage.cli.declared.model import Declared, Member, Spec, bad, key, texts
from moorage.cli.hub_client import HubClient, segment
from moorage.errors import Invalid, Refusal
from moorage.identities.model import PolicyScope
from moorage.identities.policy_rules import parse_right

__all__ = ["Policies"]

_KEYS: Final = {"primary-key": "primaryKey", "secondary-key": "secondaryKey"}


class Policies:
    """Of the hub (`scope` hub) or the provisioning service (`dps`)."""

    members: ClassVar[Mapping[str, Member]] = {
        "rights": Member(texts, default=[]),
        **{member: Member(key, is_secret=True) for member in _KEYS},
    }

    def __init__(self, scope: PolicyScope) -> None:
        self._scope: PolicyScope = scope

    def settle(self, declared: Declared) -> Spec:
        """Rights as the hub spells and orders them, so that another spelling is no difference."""
        spec = declared.spec
        if "rights" not in spec:
            return spec
        try:
            return {**spec, "rights": sorted({parse_right(self._scope, right) for right in spec["rights"]})}
        except Invalid as refusal:
            raise bad(declared, refusal.message) from refusal

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        try:
            return _spec(hub.request("GET", self._path(declared.name)))
        except Refusal as refusal:
            if refusal.reason != "policy.not_found":
                raise
            return None

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        for document in hub.request("GET", "/moorage/v1/policies")[self._scope]:
            spec = _spec(document)
            yield document["name"], spec if with_keys else {"rights": spec["rights"]}

    def create(self, hub: HubClient, declared: Declared) -> None:
        hub.request("PUT", self._path(declared.name), body=_body(declared))

    def update(self, hub: HubClient, declared: Declared) -> None:
        hub.request("PATCH", self._path(declared.name), body=_body(declared))

    def _path(self, name: str) -> str:
        return f"/moorage/v1/{self._scope}/policies/{segment(name)}"


def _spec(document: Mapping[str, Any]) -> Spec:
    return {"rights": sorted(document["rights"]), **{member: document[wire] for member, wire in _KEYS.items()}}


def _body(declared: Declared) -> dict[str, Any]:
    spec = declared.spec
    body = {wire: spec[member] for member, wire in _KEYS.items() if member in spec}
    return body | ({"rights": spec["rights"]} if "rights" in spec else {})

"""Devices and modules with their twins, in the words of the files.

A twin (`GET /twins/{id}`, or a row of a query) holds all that is compared but the keys, which are asked for only where
keys are declared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

from moorage.cli.declared.model import Declared, Member, Spec, bad, certificate, choice, flag, key, table, text
from moorage.cli.hub_client import HubClient, segment
from moorage.errors import Invalid, Refusal
from moorage.hub.twins import check_section

__all__ = ["Devices", "Modules"]

_WIRE_TYPE: Final = {
    "sas": "sas",
    "x509-thumbprint": "selfSigned",
    "x509-ca": "certificateAuthority",
    "none": "none",
}
_OUR_TYPE: Final = {wire: ours for ours, wire in _WIRE_TYPE.items()}
_SLOTS: Final = ("primary", "secondary")
_THUMBPRINTS: Final = ("primary-thumbprint", "secondary-thumbprint")
_KEYS: Final = ("primary-key", "secondary-key")


def _thumbprint(value: Any, folder: Any) -> str:
    from moorage.ids import parse_thumbprint

    try:
        return parse_thumbprint(text(value, folder))
    except Invalid as refusal:
        raise ValueError(f"is no thumbprint: {refusal.message}") from None


_SHARED: Final[dict[str, Member]] = {
    "auth": Member(choice(*_WIRE_TYPE), default="x509-ca"),
    "certificate": Member(certificate, is_input=True),
    "secondary": Member(certificate, is_input=True),
    "primary-thumbprint": Member(_thumbprint),
    "secondary-thumbprint": Member(_thumbprint),
    "primary-key": Member(key, is_secret=True),
    "secondary-key": Member(key, is_secret=True),
    "tags": Member(table, merges=True),
    "desired": Member(table, merges=True),
}


class _Identities(ABC):
    """What devices and modules have in common; the two say where one is."""

    members: ClassVar[Mapping[str, Member]] = _SHARED
    _collection: ClassVar[str]

    def settle(self, declared: Declared) -> Spec:
        from moorage.pki.inputs import parse_certificate

        self._check_name(declared)
        spec = dict(declared.spec)
        for member, slot in (("certificate", "primary"), ("secondary", "secondary")):
            if (pem := spec.pop(member, None)) is not None:
                if f"{slot}-thumbprint" in spec:
                    raise bad(declared, f"give {member} or {slot}-thumbprint, not both")
                spec[f"{slot}-thumbprint"] = parse_certificate(pem).sha256
        for section in ("tags", "desired"):
            try:
                check_section(spec.get(section, {}), section)
            except Invalid as refusal:
                raise bad(declared, refusal.message) from refusal
        for ours, members in (("x509-thumbprint", _THUMBPRINTS), ("sas", _KEYS)):
            given = [member for member in members if member in spec]
            if given and spec.setdefault("auth", ours) != ours:
                raise bad(declared, f"auth is {spec['auth']}, and {given[0]} goes with {ours}")
        return spec

    def find(self, hub: HubClient, declared: Declared) -> Spec | None:
        try:
            found = _spec_of(hub.request("GET", f"/twins/{_path(declared.name)}"))
        except Refusal as refusal:
            if refusal.reason not in ("device.not_found", "module.not_found"):
                raise
            return None
        if any(member in declared.spec for member in _KEYS):
            found |= _keys_of(hub, declared.name)
        return found

    def all(self, hub: HubClient, *, with_keys: bool) -> Iterator[tuple[str, Spec]]:
        for twin in hub.query_all("/devices/query", f"SELECT * FROM {self._collection}"):
            name = twin["deviceId"] if twin.get("moduleId") is None else f"{twin['deviceId']}/{twin['moduleId']}"
            spec = _spec_of(twin)
            if with_keys and spec["auth"] == "sas":
                spec |= _keys_of(hub, name)
            yield name, {member: value for member, value in spec.items() if value not in (None, {}, False, "enabled")}

    def create(self, hub: HubClient, declared: Declared) -> None:
        spec = declared.spec
        body = self._identity(declared.name) | {"authentication": _authentication(spec, {})}
        if "edge" in spec:
            body["capabilities"] = {"iotEdge": spec["edge"]}
        if "status" in spec:
            body["status"] = spec["status"]
        hub.request("PUT", f"/devices/{_path(declared.name)}", body=body)
        _write_twin(hub, declared)

    def update(self, hub: HubClient, declared: Declared) -> None:
        spec, path = declared.spec, f"/devices/{_path(declared.name)}"
        if spec.keys() & {"auth", "status", "edge", *_THUMBPRINTS, *_KEYS}:
            body = hub.request("GET", path)
            body["authentication"] = _authentication(spec, body["authentication"])
            if "status" in spec:
                body["status"] = spec["status"]
            if "edge" in spec:
                body["capabilities"] = {"iotEdge": spec["edge"]}
            hub.request("PUT", path, body=body, if_match=f'"{body["etag"]}"')
        _write_twin(hub, declared)

    @abstractmethod
    def _check_name(self, declared: Declared) -> None:
        """Raises `Invalid` (`declared.member`)."""

    @abstractmethod
    def _identity(self, name: str) -> dict[str, Any]:
        """Its names on the wire."""


class Devices(_Identities):
    members: ClassVar[Mapping[str, Member]] = {
        **_SHARED,
        "status": Member(choice("enabled", "disabled"), default="enabled"),
        "edge": Member(flag, default=False),
    }
    _collection = "devices"

    def _check_name(self, declared: Declared) -> None:
        from moorage.ids import parse_device_id

        _checked(declared, parse_device_id, declared.name)

    def _identity(self, name: str) -> dict[str, Any]:
        return {"deviceId": name}


class Modules(_Identities):
    _collection = "devices.modules"

    def create(self, hub: HubClient, declared: Declared) -> None:
        try:
            super().create(hub, declared)
        except Refusal as refusal:
            if refusal.reason != "module.exists":
                raise
            # An edge device, made a moment ago, came with two.
            self.update(hub, declared)

    def _check_name(self, declared: Declared) -> None:
        from moorage.ids import parse_module_id

        _checked(declared, parse_module_id, declared.name.partition("/")[2])

    def _identity(self, name: str) -> dict[str, Any]:
        device_id, _, module_id = name.partition("/")
        return {"deviceId": device_id, "moduleId": module_id}


def _checked(declared: Declared, parse: Callable[[str], object], name: str) -> None:
    try:
        parse(name)
    except Invalid as refusal:
        raise bad(declared, refusal.message) from refusal


def _path(name: str) -> str:
    device_id, _, module_id = name.partition("/")
    return f"{segment(device_id)}/modules/{segment(module_id)}" if module_id else segment(device_id)


def _spec_of(twin: Mapping[str, Any]) -> Spec:
    thumbprints = twin.get("x509Thumbprint") or {}
    spec: Spec = {
        "auth": _OUR_TYPE[twin["authenticationType"]],
        **{f"{slot}-thumbprint": thumbprints.get(f"{slot}Thumbprint") for slot in _SLOTS},
        "tags": twin.get("tags") or {},
        "desired": _user_members(twin["properties"]["desired"]),
    }
    if twin.get("moduleId") is None:
        spec |= {"status": twin["status"], "edge": bool(twin["capabilities"]["iotEdge"])}
    return spec


def _user_members(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if not name.startswith("$")}


def _keys_of(hub: HubClient, name: str) -> Spec:
    keys = hub.request("GET", f"/devices/{_path(name)}")["authentication"]["symmetricKey"]
    return {f"{slot}-key": keys[f"{slot}Key"] for slot in _SLOTS}


def _authentication(spec: Spec, present: Mapping[str, Any]) -> dict[str, Any]:
    """The wire's member for `spec`, with what it does not say as in `present`."""
    wire = _WIRE_TYPE[spec["auth"]] if "auth" in spec else present.get("type", "certificateAuthority")
    kept = present if present.get("type") == wire else {}
    authentication: dict[str, Any] = {"type": wire}
    if wire == "sas":
        keys = kept.get("symmetricKey") or {}
        authentication["symmetricKey"] = {
            f"{slot}Key": spec.get(f"{slot}-key", keys.get(f"{slot}Key", "")) for slot in _SLOTS
        }
    if wire == "selfSigned":
        thumbprints = kept.get("x509Thumbprint") or {}
        authentication["x509Thumbprint"] = {
            f"{slot}Thumbprint": spec.get(f"{slot}-thumbprint", thumbprints.get(f"{slot}Thumbprint")) for slot in _SLOTS
        }
    return authentication


def _write_twin(hub: HubClient, declared: Declared) -> None:
    patch: dict[str, Any] = {}
    if declared.spec.get("tags"):
        patch["tags"] = declared.spec["tags"]
    if declared.spec.get("desired"):
        patch["properties"] = {"desired": declared.spec["desired"]}
    if patch:
        hub.request("PATCH", f"/twins/{_path(declared.name)}", body=patch)

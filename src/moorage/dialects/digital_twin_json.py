"""Digital twins and their patches in the JSON of the hub's service API (contract/services.md 2.2).

A property of the digital twin has the value that the device reported; what is desired of it, and how the device
answered (`value`, `ac`, `av`, `ad`), stands in the `$metadata` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from moorage.errors import Invalid
from moorage.hub.digital_twins import COMPONENT, Operation, is_component
from moorage.hub.merging import Path
from moorage.hub.model import Twin

__all__ = ["MAX_OPERATIONS", "digital_twin_json", "parse_digital_patch"]

MAX_OPERATIONS: Final = 100
_MAX_SEGMENTS = 10
_ACKNOWLEDGED: Final = {"av": "ackVersion", "ac": "ackCode", "ad": "ackDescription"}
_Section = Mapping[str, Any]


def digital_twin_json(twin: Twin) -> dict[str, Any]:
    """The document of GET."""
    members, metadata = _members(
        twin.desired.value, twin.reported.value, twin.desired.metadata, twin.reported.metadata, is_root=True
    )
    return {
        "$dtId": str(twin.name),
        **members,
        "$metadata": {"$model": twin.model_id or "", **metadata},
    }


def parse_digital_patch(body: Any) -> list[Operation]:
    """The operations of a JSON Patch.

    Raises `Invalid`: `digital_twin.json_patch` for what is no JSON Patch of adds, replaces and removes,
    `digital_twin.path`, `digital_twin.payload` for a value that is missing or null.
    """
    if not isinstance(body, list) or not body:
        raise Invalid("digital_twin.json_patch", "the body has to be a JSON array of operations (RFC 6902)")
    if len(body) > MAX_OPERATIONS:
        raise Invalid("digital_twin.json_patch", f"a patch has at most {MAX_OPERATIONS} operations, this {len(body)}")
    return [_operation(each) for each in body]


def _operation(each: Any) -> Operation:
    if not isinstance(each, Mapping):
        raise Invalid("digital_twin.json_patch", f"an operation is an object, this is a {type(each).__name__}")
    kind, path = each.get("op"), each.get("path")
    if kind not in ("add", "replace", "remove"):
        raise Invalid("digital_twin.json_patch", f"op is {str(kind)[:40]!r}, it has to be add, replace or remove")
    if not isinstance(path, str):
        raise Invalid("digital_twin.json_patch", f"an operation has a path, this {kind} has none")
    if kind == "remove":
        return Operation("remove", _path(path))
    value = each.get("value")
    if value is None:
        raise Invalid("digital_twin.payload", f"{kind} of {path[:80]!r} needs a value; remove takes a property away")
    return Operation(cast(Any, kind), _path(path), value)


def _path(text: str) -> Path:
    """A JSON pointer (RFC 6901) to a property or a component."""
    segments = tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])
    if not text.startswith("/") or not all(segments) or not 1 <= len(segments) <= _MAX_SEGMENTS:
        raise Invalid("digital_twin.path", f"{text[:120]!r} is no path to a property or a component")
    for segment in segments:
        if segment.startswith("$") or segment == COMPONENT[0]:
            raise Invalid("digital_twin.path", f"{text[:120]!r}: {segment[:40]!r} cannot be changed")
    return segments


def _members(
    desired: _Section, reported: _Section, desired_meta: Any, reported_meta: Any, *, is_root: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(properties and components, metadata of the properties)."""
    members: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for name in dict.fromkeys([*reported, *desired]):
        if name == COMPONENT[0]:
            continue
        of = [_member(section, name) for section in (desired, reported, desired_meta, reported_meta)]
        if is_root and any(map(is_component, of[:2])):
            inner, inner_meta = _members(*(each if isinstance(each, Mapping) else {} for each in of), is_root=False)
            members[name] = {**inner, "$metadata": inner_meta}
            continue
        metadata[name] = {}
        if name in reported:
            members[name], metadata[name] = _reported(of[1], of[3])
        if name in desired:
            version = _member(of[2], "$lastUpdatedVersion")
            metadata[name] = {"desiredValue": of[0], "desiredVersion": version, **metadata[name]}
    return members, metadata


def _reported(value: Any, meta: Any) -> tuple[Any, dict[str, Any]]:
    """(the property's value, what its metadata says of the device)."""
    told: dict[str, Any] = {}
    if isinstance(value, Mapping) and {"value", "ac", "av"} <= value.keys():
        told = {name: value[short] for short, name in _ACKNOWLEDGED.items() if short in value}
        value = value["value"]
    return value, {**told, "lastUpdateTime": _member(meta, "$lastUpdated")}


def _member(section: Any, name: str) -> Any:
    return section.get(name) if isinstance(section, Mapping) else None

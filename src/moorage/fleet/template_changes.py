"""What differs between two models, and what would break devices that have the old one (central.md DT-11, DT-12).

What is added breaks nothing, nor does how something is shown. To rename, retype or remove what devices have does, and
takes a new version of the template. Cloud properties are the application's own: they may change at any time (DT-15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from moorage.dtdl.model import Capability, Command, Component, Interface, Property, Relationship, Telemetry
from moorage.dtdl.schemas import Array, Enum, Map, Object, Schema

__all__ = ["ModelChange", "compare"]


@dataclass(frozen=True, slots=True)
class ModelChange:
    """One difference. `what` is the kind of capability, `sentence` what changed of it in plain words."""

    kind: Literal["added", "removed", "changed"]
    component: str
    name: str
    what: str
    sentence: str
    is_breaking: bool = False

    @property
    def spelled(self) -> str:
        return f"{self.component}.{self.name}" if self.component else self.name


def compare(old: Interface, new: Interface) -> list[ModelChange]:
    """In the order of the new model, what was removed last."""
    changes = []
    if old.id != new.id:
        sentence = f"the model's id was {old.id}: devices that announce it would not find this template any more"
        changes.append(ModelChange("changed", "", new.id, "model", sentence, is_breaking=True))
    elif (old.display_name, old.description) != (new.display_name, new.description):
        changes.append(ModelChange("changed", "", new.id, "model", "is named or described in other words"))
    return [*changes, *_compare_parts(old, new, "")]


def _compare_parts(old: Interface, new: Interface, component: str) -> Iterator[ModelChange]:
    for capability in new.capabilities():
        was = old.by_name.get(capability.name)
        if was is None:
            yield ModelChange("added", component, capability.name, _kind(capability), _summary(capability))
            continue
        why = _broken(was, capability)
        if why:
            yield ModelChange("changed", component, capability.name, _kind(capability), why, is_breaking=True)
        elif _plain(was) != _plain(capability):
            yield ModelChange("changed", component, capability.name, _kind(capability), _differs(was, capability))
        if not component and isinstance(was, Component) and isinstance(capability, Component):
            yield from _compare_parts(was.schema, capability.schema, capability.name)
        if isinstance(was, Relationship) and isinstance(capability, Relationship):
            for before, after in zip(was.interfaces, capability.interfaces, strict=False):
                yield from _compare_parts(before, after, capability.name)
    for capability in old.capabilities():
        if capability.name not in new.by_name:
            is_cloud = isinstance(capability, Property) and capability.is_cloud
            yield ModelChange(
                "removed", component, capability.name, _kind(capability), _summary(capability), is_breaking=not is_cloud
            )


def _broken(was: Capability, now: Capability) -> str:
    """Why devices with the old one would not fit; empty when they do."""
    match was, now:
        case Property(is_cloud=True), Property(is_cloud=True):
            return ""
        case Property(is_cloud=True), _:
            return "was a cloud property, which no device has"
        case Property(), Property(is_cloud=True):
            return "was a property, and no device is told of a cloud property"
        case Telemetry(), Telemetry():
            return _retyped(was.schema, now.schema, "schema")
        case Property(), Property(is_cloud=False):
            return (
                "was writable"
                if was.is_writable and not now.is_writable
                else _retyped(was.schema, now.schema, "schema")
            )
        case Command(), Command():
            if was.is_durable != now.is_durable:
                return "comes as a message" if now.is_durable else "comes as a call, no longer as a message"
            for what, before, after in (
                ("request", was.request, now.request),
                ("response", was.response, now.response),
            ):
                if (before is None) != (after is None):
                    return f"has a {what} now" if before is None else f"had a {what}"
                if before and after and (why := _retyped(before.schema, after.schema, what)):
                    return why
            return ""
        case Component(), Component():
            return ""
        case _:
            return "" if type(was) is type(now) else f"was a {_kind(was)}"


def _retyped(old: Schema, new: Schema, what: str) -> str:
    if _grew(old, new):
        return ""
    return f"its {what} was {old.kind}, and is {f'another {new.kind}' if old.kind == new.kind else new.kind}"


def _grew(old: Schema, new: Schema) -> bool:
    """Whether whatever fitted `old` fits `new` as well, which may have more fields or values."""
    if old == new:
        return True
    match old, new:
        case Enum(), Enum():
            return old.value_schema == new.value_schema and all(new.find(each.value) is not None for each in old.values)
        case Object(), Object():
            fields = {field.name: field.schema for field in new.fields}
            return all(field.name in fields and _grew(field.schema, fields[field.name]) for field in old.fields)
        case Map(), Map():
            return _grew(old.value.schema, new.value.schema)
        case Array(), Array():
            return _grew(old.element, new.element)
        case _:
            return False


def _plain(capability: Capability) -> Capability:
    """Without the interfaces inside of it, whose differences are told one by one."""
    if isinstance(capability, Component):
        return replace(capability, schema=Interface(capability.schema.id))
    return replace(capability, interfaces=()) if isinstance(capability, Relationship) else capability


def _differs(was: Capability, now: Capability) -> str:
    if was.origin != now.origin:
        return f"is declared by {now.origin}"
    if isinstance(was, Property) and isinstance(now, Property) and was.is_writable != now.is_writable:
        return "is writable"
    if was.label != now.label:
        return f"is called '{now.label}', no longer '{was.label}'"
    if isinstance(was, Component) and isinstance(now, Component) and was.schema.id != now.schema.id:
        return f"is {now.schema.id}, no longer {was.schema.id}"
    if isinstance(was, (Telemetry, Property)) and isinstance(now, (Telemetry, Property)):
        if was.schema != now.schema:
            return _retyped(was.schema, now.schema, "schema") or "takes more values"
        if was.unit != now.unit:
            return f"is in {now.unit or 'no unit'}, was in {was.unit or 'none'}"
    return "is shown or described differently"


def _summary(capability: Capability) -> str:
    match capability:
        case Telemetry() | Property():
            return capability.schema.kind
        case Component():
            return capability.schema.id
        case _:
            return capability.label


def _kind(capability: Capability) -> str:
    if isinstance(capability, Property) and capability.is_cloud:
        return "cloud property"
    return type(capability).__name__.lower()

"""A device model as values: what an Interface of DTDL v2 says, with what IoT Central adds (central.md 7).

An `Interface` tells everything that it has, inherited or not; `extends` are the same values again by where they come
from, and `origin` of each capability names the interface that declares it. Cloud properties are no properties of the
device: they stand apart, and nothing of them goes over the wire (W-9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NewType

from moorage.dtdl.schemas import Field, Primitive, Schema

__all__ = [
    "Annotations",
    "Capability",
    "Command",
    "Component",
    "Dtmi",
    "Interface",
    "Property",
    "Relationship",
    "Telemetry",
    "Valued",
]

Dtmi = NewType("Dtmi", str)


@dataclass(frozen=True, slots=True)
class Annotations:
    """How a value is shown (central.md 7.3). `display_unit` is text beside the value; None is: nothing was said."""

    min_value: float | None = None
    max_value: float | None = None
    decimal_places: int | None = None
    display_unit: str = ""
    color: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """`origin` is the id of the interface that declares it, `semantic_types` what else `@type` names."""

    name: str
    origin: Dtmi = Dtmi("")
    id: str = ""
    display_name: str = ""
    description: str = ""
    comment: str = ""
    semantic_types: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What people read."""
        return self.display_name or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued(Capability):
    """What has a value of a schema: telemetry and properties."""

    schema: Schema
    unit: str = ""
    annotations: Annotations = Annotations()

    @property
    def is_number(self) -> bool:
        return isinstance(self.schema, Primitive) and self.schema.is_number

    @property
    def shown_unit(self) -> str:
        return self.annotations.display_unit or self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry(Valued):
    """`severity` is error, information or warning for events, else empty."""

    severity: str = ""

    @property
    def is_event(self) -> bool:
        return "Event" in self.semantic_types


@dataclass(frozen=True, slots=True, kw_only=True)
class Property(Valued):
    """`initial_value` is what a new device is told (`has_initial_value`: null is a value)."""

    is_writable: bool = False
    is_cloud: bool = False
    initial_value: Any = None
    has_initial_value: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Capability):
    """`is_durable`: it waits for a device that is away, as a cloud-to-device message without an answer (W-7)."""

    request: Field | None = None
    response: Field | None = None
    is_durable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Component(Capability):
    schema: Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship(Capability):
    """`targets` are ids of interfaces, none for any; `interfaces` those inlined, as for modules of IoT Edge (DT-7)."""

    targets: tuple[Dtmi, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    min_multiplicity: int | None = None
    max_multiplicity: int | None = None


@dataclass(frozen=True)
class Interface:
    """`telemetry`, `properties` and so on hold what is inherited too; `extends` says from whom."""

    id: Dtmi
    display_name: str = ""
    description: str = ""
    comment: str = ""
    telemetry: tuple[Telemetry, ...] = ()
    properties: tuple[Property, ...] = ()
    cloud_properties: tuple[Property, ...] = ()
    commands: tuple[Command, ...] = ()
    components: tuple[Component, ...] = ()
    relationships: tuple[Relationship, ...] = ()
    extends: tuple[Interface, ...] = field(default=())

    @property
    def label(self) -> str:
        return self.display_name or self.id.rpartition(";")[0].rpartition(":")[2]

    @cached_property
    def by_name(self) -> Mapping[str, Capability]:
        """Every capability, which share one space of names."""
        return MappingProxyType({each.name: each for each in self.capabilities()})

    def capabilities(self) -> Iterator[Capability]:
        yield from self.telemetry
        yield from self.properties
        yield from self.cloud_properties
        yield from self.commands
        yield from self.components
        yield from self.relationships

    def count(self) -> int:
        """How many capabilities it has, those of its components included."""
        return sum(1 for _ in self.capabilities()) + sum(each.schema.count() for each in self.components)

    def parts(self) -> Iterator[tuple[str, Interface]]:
        """The root, under the empty name, and each component with its interface."""
        yield "", self
        for component in self.components:
            yield component.name, component.schema

    def part(self, component: str) -> Interface | None:
        """The interface of a component; the empty name is the root."""
        if not component:
            return self
        found = self.by_name.get(component)
        return found.schema if isinstance(found, Component) else None

    def find_telemetry(self, name: str, component: str = "") -> Telemetry | None:
        found = self._find(name, component)
        return found if isinstance(found, Telemetry) else None

    def find_property(self, name: str, component: str = "") -> Property | None:
        """A property of the device, or a cloud property."""
        found = self._find(name, component)
        return found if isinstance(found, Property) else None

    def find_command(self, name: str, component: str = "") -> Command | None:
        found = self._find(name, component)
        return found if isinstance(found, Command) else None

    def _find(self, name: str, component: str) -> Capability | None:
        part = self.part(component)
        return None if part is None else part.by_name.get(name)

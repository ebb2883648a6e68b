"""JSON to an `Interface`, judged on the way (DTDL v2 and central.md 7).

`parse_interface` takes one interface or an array of them. An interface that is only named (as the schema of a
component, or in `extends`) is looked for in the same document first, inlined or beside it, and then through `find`:
that such a name fails on import (central.md DTDL-11) is not repeated here.

Accepted beyond the letter of DTDL: a document without `@context`, as IoT Central's REST API writes it, and properties
whose schema is or holds an array, which twins can carry. Members that nobody defines are let be. Bounds are hard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from moorage.dtdl.documents import MAX_INTERFACES, Find, Library, find_root
from moorage.dtdl.members import (
    get_boolean,
    get_display,
    get_list,
    get_number,
    get_unit,
    get_whole,
    parse_dtmi,
    parse_name,
    parse_types,
)
from moorage.dtdl.model import (
    Annotations,
    Capability,
    Command,
    Component,
    Dtmi,
    Interface,
    Property,
    Relationship,
    Telemetry,
)
from moorage.dtdl.problems import InvalidModel, child, shown
from moorage.dtdl.quantities import UNITS
from moorage.dtdl.schema_parser import SchemaBudget, SchemaParser, parse_field
from moorage.dtdl.schemas import Enum, Field, Geometry, Primitive, Schema, Vector
from moorage.errors import Invalid

__all__ = [
    "CENTRAL_CONTEXT",
    "CONTEXT",
    "MAX_CAPABILITIES",
    "MAX_CONTENTS",
    "MAX_EXTENDS_DEPTH",
    "RESERVED_TELEMETRY",
    "parse_interface",
]

CONTEXT: Final = "dtmi:dtdl:context;2"
CENTRAL_CONTEXT: Final = "dtmi:iotcentral:context;2"
# Of one interface (DTDL v2), and of a model with all that it is made of (central.md LIM-9 has 300).
MAX_CONTENTS: Final = 300
MAX_CAPABILITIES: Final = 2000
MAX_EXTENDS: Final = 32
MAX_EXTENDS_DEPTH: Final = 10

# What IoT Central keeps for itself in a message (central.md 7.3).
RESERVED_TELEMETRY: Final = frozenset(
    ("EventEnqueuedUtcTime", "EventProcessedUtcTime", "PartitionId", "EventHub", "User")
)
_KINDS: Final = ("Telemetry", "Property", "Command", "Component", "Relationship")
_EVENT_SCHEMAS: Final = ("double", "float", "integer", "long", "string")
_SEVERITIES: Final = ("error", "information", "warning")
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
# These say how a property is kept, not what it means: they become members of `Property`.
_MARKS: Final = frozenset(("Cloud", "Initialized"))

AnyCapability = TypeVar("AnyCapability", bound=Capability)


def parse_interface(
    document: Any, find: Find = lambda _: None, *, root: str = "", max_capabilities: int = MAX_CAPABILITIES
) -> Interface:
    """The model that `document`, an interface or an array of them, describes.

    `root` picks one of an array; without it, it is the one that no other needs. Raises `InvalidModel` (`template.*`).
    """
    found, path = find_root(document, root)
    interface = _Parser(Library(document, find)).parse(found, path, depth=0, is_component=False)
    if (count := interface.count()) > max_capabilities:
        raise InvalidModel(
            "template.limit", path, f"the model has {count} capabilities, the most is {max_capabilities}"
        )
    return interface


class _Parser:
    """One run over one document. `_parsed` is what was read already, `_open` what is being read, outermost first."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._budget = SchemaBudget()
        self._parsed: dict[tuple[int, bool], Interface] = {}
        self._open: list[str] = []

    def parse(self, document: Any, path: str, *, depth: int, is_component: bool) -> Interface:
        if not isinstance(document, Mapping):
            raise InvalidModel("template.shape", path, f"this is {shown(document)}, an interface is an object")
        # The library holds every document as long as this run lasts: the same address is the same interface.
        key = (id(document), is_component)
        if (known := self._parsed.get(key)) is not None:
            return known
        if len(self._parsed) >= MAX_INTERFACES:
            raise InvalidModel("template.limit", path, f"more than {MAX_INTERFACES} interfaces")
        if depth > MAX_EXTENDS_DEPTH:
            raise InvalidModel(
                "template.limit", path, f"interfaces extend each other more than {MAX_EXTENDS_DEPTH} times"
            )
        identifier = parse_dtmi(document.get("@id"), child(path, "@id"))
        if identifier in self._open:
            chain = " → ".join((*self._open[self._open.index(identifier) :], identifier))
            raise InvalidModel("template.cycle", path, f"an interface cannot be part of itself: {chain}")
        self._open.append(identifier)
        try:
            interface = self._interface(identifier, document, path, depth, is_component)
        finally:
            self._open.pop()
        self._parsed[key] = interface
        return interface

    def _interface(
        self, identifier: Dtmi, document: Mapping[str, Any], path: str, depth: int, is_component: bool
    ) -> Interface:
        _check_context(document, path)
        if "Interface" not in parse_types(document, path):
            raise InvalidModel("template.kind", child(path, "@type"), 'a model is of "@type": "Interface"')
        extends = tuple(self._extended(document, path, depth, is_component))
        contents = get_list(document, "contents", path, MAX_CONTENTS)
        schemas = SchemaParser(document, path, self._budget)
        all_of_them: dict[str, Capability] = {}
        for base in extends:
            for each in base.capabilities():
                _add(all_of_them, each, child(path, "extends"))
        for index, each in enumerate(contents):
            place = child(child(path, "contents"), index)
            _add(all_of_them, self._capability(each, place, identifier, schemas, depth, is_component), place)
        if len(all_of_them) > MAX_CAPABILITIES:
            raise InvalidModel(
                "template.limit",
                path,
                f"{len(all_of_them)} capabilities with those inherited, the most is {MAX_CAPABILITIES}",
            )
        properties = _of(Property, all_of_them)
        return Interface(
            id=identifier,
            display_name=get_display(document, "displayName", path),
            description=get_display(document, "description", path),
            comment=get_display(document, "comment", path),
            telemetry=_of(Telemetry, all_of_them),
            properties=tuple(each for each in properties if not each.is_cloud),
            cloud_properties=tuple(each for each in properties if each.is_cloud),
            commands=_of(Command, all_of_them),
            components=_of(Component, all_of_them),
            relationships=_of(Relationship, all_of_them),
            extends=extends,
        )

    def _extended(self, document: Mapping[str, Any], path: str, depth: int, is_component: bool) -> Iterator[Interface]:
        value = document.get("extends")
        if value is None:
            return
        place = child(path, "extends")
        listed = value if isinstance(value, list) else [value]
        if len(listed) > MAX_EXTENDS:
            raise InvalidModel(
                "template.limit", place, f"{len(listed)} interfaces are extended, the most is {MAX_EXTENDS}"
            )
        for index, each in enumerate(listed):
            at = child(place, index) if isinstance(value, list) else place
            yield self._named_or_inlined(each, at, depth + 1, is_component)

    def _named_or_inlined(self, value: Any, path: str, depth: int, is_component: bool) -> Interface:
        if isinstance(value, str):
            name = parse_dtmi(value, path)
            found = self._library.resolve(name)
            if found is None:
                raise InvalidModel(
                    "template.reference",
                    path,
                    f"{name} is named, and nowhere to be found: not in this document, nor among the models known here",
                    fix="import the interfaces together, as an array, or put the missing file into the model folder",
                )
            return self.parse(found, path, depth=depth, is_component=is_component)
        return self.parse(value, path, depth=depth, is_component=is_component)

    def _capability(
        self, document: Any, path: str, origin: Dtmi, schemas: SchemaParser, depth: int, is_component: bool
    ) -> Capability:
        if not isinstance(document, Mapping):
            raise InvalidModel("template.shape", path, f"this is {shown(document)}, a capability is an object")
        types = parse_types(document, path)
        kinds = [each for each in types if each in _KINDS]
        if len(kinds) != 1:
            raise InvalidModel(
                "template.kind",
                child(path, "@type"),
                f"{shown(document.get('@type'))} has to name exactly one of {', '.join(_KINDS)}",
            )
        common: dict[str, Any] = {
            "name": parse_name(document, path),
            "origin": origin,
            "id": document["@id"] if isinstance(document.get("@id"), str) else "",
            "display_name": get_display(document, "displayName", path),
            "description": get_display(document, "description", path),
            "comment": get_display(document, "comment", path),
            "semantic_types": tuple(each for each in types if each not in kinds and each not in _MARKS),
        }
        match kinds[0]:
            case "Telemetry":
                return self._telemetry(document, path, schemas, common)
            case "Property":
                return self._property(document, path, schemas, common, types)
            case "Command":
                return Command(
                    **common,
                    request=_payload(document, "request", path, schemas),
                    response=_payload(document, "response", path, schemas),
                    is_durable=get_boolean(document, "durable", path),
                )
            case "Component":
                if is_component:
                    raise InvalidModel("template.kind", path, "a component cannot have components of its own")
                place = child(path, "schema")
                if "schema" not in document:
                    raise InvalidModel("template.shape", place, "a component needs the interface that is its schema")
                schema = self._named_or_inlined(document["schema"], place, depth=0, is_component=True)
                return Component(**common, schema=schema)
            case _:
                return self._relationship(document, path, common)

    def _telemetry(
        self, document: Mapping[str, Any], path: str, schemas: SchemaParser, common: dict[str, Any]
    ) -> Telemetry:
        if common["name"] in RESERVED_TELEMETRY:
            raise InvalidModel(
                "template.name", child(path, "name"), f"telemetry cannot be named {common['name']}: that name is taken"
            )
        schema = schemas.parse(document.get("schema"), child(path, "schema"))
        _check_semantics(common["semantic_types"], schema, path)
        severity = document.get("severity") or ""
        if severity and (not isinstance(severity, str) or severity.lower() not in _SEVERITIES):
            raise InvalidModel(
                "template.shape",
                child(path, "severity"),
                f"{shown(severity)} has to be one of {', '.join(_SEVERITIES)}",
            )
        return Telemetry(
            **common,
            schema=schema,
            unit=get_unit(document, path),
            annotations=_annotations(document, path),
            severity=severity.lower(),
        )

    def _property(
        self, document: Mapping[str, Any], path: str, schemas: SchemaParser, common: dict[str, Any], types: list[str]
    ) -> Property:
        schema = schemas.parse(document.get("schema"), child(path, "schema"))
        _check_semantics(common["semantic_types"], schema, path)
        has_initial = document.get("initialValue") is not None
        return Property(
            **common,
            schema=schema,
            unit=get_unit(document, path),
            annotations=_annotations(document, path),
            is_writable=get_boolean(document, "writable", path),
            is_cloud="Cloud" in types,
            initial_value=_initial(document["initialValue"], schema, path) if has_initial else None,
            has_initial_value=has_initial,
        )

    def _relationship(self, document: Mapping[str, Any], path: str, common: dict[str, Any]) -> Relationship:
        place = child(path, "target")
        target = document.get("target")
        listed = target if isinstance(target, list) else [] if target is None else [target]
        if len(listed) > MAX_EXTENDS:
            raise InvalidModel("template.limit", place, f"{len(listed)} targets, the most is {MAX_EXTENDS}")
        # By reference: a target that nobody knows is no fault (DTDL v2). IoT Central inlines those of Edge modules.
        names = [parse_dtmi(each.get("@id") if isinstance(each, Mapping) else each, place) for each in listed]
        interfaces = [
            self.parse(each, place, depth=0, is_component=False) for each in listed if isinstance(each, Mapping)
        ]
        return Relationship(
            **common,
            targets=tuple(names),
            interfaces=tuple(interfaces),
            min_multiplicity=get_whole(document, "minMultiplicity", path),
            max_multiplicity=get_whole(document, "maxMultiplicity", path),
        )


def _add(all_of_them: dict[str, Capability], capability: Capability, path: str) -> None:
    known = all_of_them.setdefault(capability.name, capability)
    if known is capability or known == capability:
        # Inherited on two ways from the one interface that declares it.
        return
    raise InvalidModel(
        "template.duplicate",
        path,
        f"the name {capability.name} is given twice: {_described(known)} and {_described(capability)}",
    )


def _described(capability: Capability) -> str:
    return f"{type(capability).__name__} of {capability.origin}"


def _of(kind: type[AnyCapability], all_of_them: Mapping[str, Capability]) -> tuple[AnyCapability, ...]:
    return tuple(each for each in all_of_them.values() if isinstance(each, kind))


def _check_context(document: Mapping[str, Any], path: str) -> None:
    context = document.get("@context")
    if context is None:
        return
    listed = context if isinstance(context, list) else [context]
    if CONTEXT not in listed:
        raise InvalidModel(
            "template.context", child(path, "@context"), f"{shown(context)} is not DTDL version 2, which is {CONTEXT}"
        )


def _check_semantics(types: tuple[str, ...], schema: Schema, path: str) -> None:
    place = child(path, "schema")
    is_number = isinstance(schema, Primitive) and schema.is_number
    for each in types:
        match each:
            case "State" if not isinstance(schema, Enum):
                raise InvalidModel("template.schema", place, f"a State is an Enum, this is {schema.kind}")
            case "Event" if schema.kind not in _EVENT_SCHEMAS:
                raise InvalidModel(
                    "template.schema", place, f"an Event is one of {', '.join(_EVENT_SCHEMAS)}; this is {schema.kind}"
                )
            case "Location" if not (isinstance(schema, Geometry) or schema == Vector("geopoint")):
                raise InvalidModel(
                    "template.schema", place, f"a Location is a geopoint or a shape, this is {schema.kind}"
                )
            case "VelocityVector" | "AccelerationVector" if schema != Vector("vector"):
                raise InvalidModel("template.schema", place, f"{each} has the schema vector, this is {schema.kind}")
            case _ if each in UNITS and not is_number:
                raise InvalidModel("template.schema", place, f"{each} is measured with a number, this is {schema.kind}")


def _payload(document: Mapping[str, Any], member: str, path: str, schemas: SchemaParser) -> Field | None:
    value = document.get(member)
    return None if value is None else parse_field(value, child(path, member), schemas, "payload")


def _initial(value: Any, schema: Schema, path: str) -> Any:
    if schema.check(value) is None:
        return value
    # IoT Central writes it as it was typed: "100" for a double.
    if isinstance(value, str):
        try:
            return schema.parse_text(value)
        except Invalid as error:
            raise InvalidModel("template.value", child(path, "initialValue"), error.message) from None
    raise InvalidModel("template.value", child(path, "initialValue"), f"{schema.check(value)}")


def _annotations(document: Mapping[str, Any], path: str) -> Annotations:
    color = document.get("color")
    least = get_number(document, "minValue", path)
    most = get_number(document, "maxValue", path)
    if least is not None and most is not None and least > most:
        raise InvalidModel("template.value", child(path, "minValue"), f"{least} is more than maxValue, {most}")
    places = get_whole(document, "decimalPlaces", path)
    if places is not None and not 0 <= places <= 15:
        raise InvalidModel("template.value", child(path, "decimalPlaces"), f"{places} has to be from 0 to 15")
    return Annotations(
        min_value=least,
        max_value=most,
        decimal_places=places,
        display_unit=get_display(document, "displayUnit", path),
        color=color if isinstance(color, str) and _COLOR.fullmatch(color) else "",
    )

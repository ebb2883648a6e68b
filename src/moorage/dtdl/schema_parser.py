"""JSON to schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from moorage.dtdl.members import get_display, parse_name, parse_types
from moorage.dtdl.problems import InvalidModel, child, shown
from moorage.dtdl.schemas import (
    GEOMETRIES,
    PRIMITIVES,
    VECTORS,
    Array,
    Enum,
    EnumValue,
    Field,
    Geometry,
    Map,
    Object,
    Primitive,
    Schema,
    Vector,
)

__all__ = ["SchemaBudget", "SchemaParser", "parse_field"]

# Schemas inside of schemas, members of an Object, values of an Enum, schemas of an interface (DTDL v2).
MAX_SCHEMA_DEPTH: Final = 5
MAX_FIELDS: Final = 30
MAX_ENUM_VALUES: Final = 100
MAX_SCHEMAS: Final = 300
# Of a whole model, a schema that is named counted wherever it is: 30 fields in each of five levels are 24 million.
MAX_SCHEMA_NODES: Final = 20_000

_COMPLEX: Final = ("Array", "Enum", "Map", "Object")
# The full names of what has a short one: dtmi:standard:schema:geospatial:point;2, dtmi:iotcentral:schema:vector;2.
_STANDARD: Final = re.compile(
    r"dtmi:(?:standard|dtdl|iotcentral):(?:instance:)?[Ss]chema:(?:geospatial:)?([A-Za-z]+);[1-9]"
)


class SchemaBudget:
    """How many schemas a model may still have."""

    def __init__(self) -> None:
        self._left = MAX_SCHEMA_NODES

    def spend(self, path: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise InvalidModel("template.limit", path, f"the model has more than {MAX_SCHEMA_NODES} schemas")


class SchemaParser:
    """Of one interface: its `schemas` may be named in place of a schema."""

    def __init__(self, interface: Mapping[str, Any], path: str, budget: SchemaBudget) -> None:
        self._budget = budget
        self._named: dict[str, tuple[Mapping[str, Any], str]] = {}
        listed = interface.get("schemas")
        if listed is None:
            return
        place = child(path, "schemas")
        for index, each in enumerate(listed if isinstance(listed, list) else [listed]):
            at = child(place, index)
            if index >= MAX_SCHEMAS:
                raise InvalidModel("template.limit", place, f"more than {MAX_SCHEMAS} schemas")
            if not isinstance(each, Mapping) or not isinstance(each.get("@id"), str):
                raise InvalidModel("template.shape", at, "a schema of an interface is an object with an @id")
            self._named[each["@id"]] = (each, at)
        for each, at in self._named.values():
            self.parse(each, at)

    def parse(self, value: Any, path: str, depth: int = 0) -> Schema:
        """Raises `InvalidModel` (`template.schema`, `template.limit`)."""
        self._budget.spend(path)
        if isinstance(value, str):
            return self._by_name(value, path, depth)
        if not isinstance(value, Mapping):
            raise InvalidModel(
                "template.schema",
                path,
                "a schema is missing here"
                if value is None
                else f"{shown(value)} is no schema: that is a name or an object",
            )
        if depth >= MAX_SCHEMA_DEPTH:
            raise InvalidModel("template.limit", path, f"schemas are nested deeper than {MAX_SCHEMA_DEPTH} levels")
        types = parse_types(value, path)
        match [each for each in types if each in _COMPLEX]:
            case ["Array"]:
                return Array(self.parse(value.get("elementSchema"), child(path, "elementSchema"), depth + 1))
            case ["Enum"]:
                return _enum(value, path)
            case ["Map"]:
                return self._map(value, path, depth)
            case ["Object"]:
                return self._object(value, path, depth)
            case _:
                raise InvalidModel(
                    "template.schema",
                    child(path, "@type"),
                    f"{shown(value.get('@type'))} has to be one of Array, Enum, Map and Object",
                )

    def _by_name(self, name: str, path: str, depth: int) -> Schema:
        standard = _STANDARD.fullmatch(name)
        short = standard.group(1) if standard else name
        if short in PRIMITIVES:
            return Primitive(short)
        if short in VECTORS:
            return Vector(short)
        if short in GEOMETRIES:
            return Geometry(short)
        if name in self._named:
            # Its own depth bounds a schema that names itself.
            document, place = self._named[name]
            return self.parse(document, place, depth)
        raise InvalidModel(
            "template.schema",
            path,
            f"there is no schema {shown(name)}; there are {', '.join((*PRIMITIVES, *VECTORS, *GEOMETRIES))}, those of "
            "the interface's own `schemas` by their @id, and objects of @type Array, Enum, Map and Object",
        )

    def _map(self, value: Mapping[str, Any], path: str, depth: int) -> Map:
        key, of = value.get("mapKey"), value.get("mapValue")
        if not isinstance(key, Mapping) or not isinstance(of, Mapping):
            raise InvalidModel("template.shape", path, "a Map has a mapKey and a mapValue, both objects")
        if key.get("schema") not in ("string", "dtmi:dtdl:instance:Schema:string;2"):
            raise InvalidModel(
                "template.schema", child(child(path, "mapKey"), "schema"), "keys of a Map are of schema string"
            )
        return Map(
            parse_name(key, child(path, "mapKey")), parse_field(of, child(path, "mapValue"), self, "value", depth + 1)
        )

    def _object(self, value: Mapping[str, Any], path: str, depth: int) -> Object:
        listed = value.get("fields")
        place = child(path, "fields")
        if not isinstance(listed, list):
            raise InvalidModel("template.shape", place, "an Object has an array of fields")
        if len(listed) > MAX_FIELDS:
            raise InvalidModel("template.limit", place, f"{len(listed)} fields, the most is {MAX_FIELDS}")
        fields = []
        names: set[str] = set()
        for index, each in enumerate(listed):
            field = parse_field(each, child(place, index), self, "field", depth + 1)
            if field.name in names:
                raise InvalidModel("template.duplicate", child(place, index), f"a second field is named {field.name}")
            names.add(field.name)
            fields.append(field)
        return Object(tuple(fields))


def parse_field(value: Any, path: str, schemas: SchemaParser, what: str, depth: int = 0) -> Field:
    """What has a name and a schema. Raises `InvalidModel`."""
    if not isinstance(value, Mapping):
        raise InvalidModel(
            "template.shape", path, f"this is {shown(value)}, a {what} is an object with name and schema"
        )
    return Field(
        name=parse_name(value, path),
        schema=schemas.parse(value.get("schema"), child(path, "schema"), depth),
        display_name=get_display(value, "displayName", path),
        description=get_display(value, "description", path),
        initial_value=value.get("initialValue"),
    )


def _enum(value: Mapping[str, Any], path: str) -> Enum:
    of = value.get("valueSchema")
    of = of.rpartition(":")[2].removesuffix(";2") if isinstance(of, str) else of
    if of not in ("integer", "string"):
        raise InvalidModel("template.schema", child(path, "valueSchema"), f"{shown(of)} has to be integer or string")
    listed = value.get("enumValues")
    place = child(path, "enumValues")
    if not isinstance(listed, list):
        raise InvalidModel("template.shape", place, "an Enum has an array of enumValues")
    if len(listed) > MAX_ENUM_VALUES:
        raise InvalidModel("template.limit", place, f"{len(listed)} values, the most is {MAX_ENUM_VALUES}")
    schema = Primitive(of)
    values: list[EnumValue] = []
    names: set[str] = set()
    seen: set[Any] = set()
    for index, each in enumerate(listed):
        at = child(place, index)
        if not isinstance(each, Mapping):
            raise InvalidModel(
                "template.shape", at, f"this is {shown(each)}, a value is an object with name and enumValue"
            )
        name = parse_name(each, at)
        given: Any = each.get("enumValue")
        if (why := schema.check(given)) is not None:
            raise InvalidModel("template.value", child(at, "enumValue"), why)
        if name in names or given in seen:
            raise InvalidModel(
                "template.duplicate", at, f"the name {name} or the value {shown(given)} is there already"
            )
        names.add(name)
        seen.add(given)
        values.append(EnumValue(name, given, get_display(each, "displayName", at)))
    return Enum(of, tuple(values))

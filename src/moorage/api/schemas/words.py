"""The words that schemas are made with. A schema is a plain mapping (JSON Schema 2020-12), or one that has a name.

    DEVICE = named("Device", members({"deviceId": text("Its id"), "etag": text()}, {"status": one_of("on", "off")}))

The first mapping of `members` holds what is always there, the second what may be absent. Members that neither names may
be there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "ANYTHING",
    "EVENTS",
    "FLAG",
    "OBJECT",
    "TIME",
    "Content",
    "Named",
    "Schema",
    "decimal",
    "either",
    "flag",
    "list_of",
    "map_of",
    "members",
    "named",
    "nullable",
    "one_of",
    "text",
    "whole",
]


@dataclass(frozen=True, slots=True)
class Named:
    """A schema that stands once in the document, under `name`, and is referred to from wherever it is used."""

    name: str
    schema: Mapping[str, Any]


Schema = Mapping[str, Any] | Named


@dataclass(frozen=True, slots=True)
class Content:
    """A body that is not JSON."""

    media_type: str
    schema: Schema


def named(name: str, schema: Mapping[str, Any]) -> Named:
    """`name` is in camel case with a capital, and unique."""
    return Named(name, schema)


def text(about: str = "", *, most: int | None = None, pattern: str | None = None) -> dict[str, Any]:
    """A string, of at most `most` characters."""
    return _with({"type": "string"}, description=about or None, maxLength=most, pattern=pattern)


def whole(about: str = "", *, least: int | None = None, most: int | None = None) -> dict[str, Any]:
    """A whole number."""
    return _with({"type": "integer"}, description=about or None, minimum=least, maximum=most)


def decimal(about: str = "", *, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    """Any number."""
    return _with({"type": "number"}, description=about or None, minimum=least, maximum=most)


def flag(about: str = "") -> dict[str, Any]:
    """true or false."""
    return _with({"type": "boolean"}, description=about or None)


def one_of(*values: str, about: str = "") -> dict[str, Any]:
    """One of some strings."""
    return _with({"type": "string", "enum": list(values)}, description=about or None)


def list_of(item: Schema, about: str = "", *, most: int | None = None) -> dict[str, Any]:
    """An array."""
    return _with({"type": "array", "items": item}, description=about or None, maxItems=most)


def map_of(value: Schema, about: str = "") -> dict[str, Any]:
    """An object with any names for members."""
    return _with({"type": "object", "additionalProperties": value}, description=about or None)


def members(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> dict[str, Any]:
    """An object that has `required`, may have `optional`, and whatever else."""
    properties: dict[str, Schema] = {**required, **(optional or {})}
    return _with({"type": "object", "properties": properties}, required=list(required) or None)


def either(*schemas: Schema) -> dict[str, Any]:
    """One of `schemas` at least."""
    return {"anyOf": list(schemas)}


def nullable(schema: Schema) -> dict[str, Any]:
    """`schema`, or null."""
    return either(schema, {"type": "null"})


def _with(schema: dict[str, Any], **more: object) -> dict[str, Any]:
    return schema | {name: value for name, value in more.items() if value is not None}


ANYTHING: Final[Schema] = {}
OBJECT: Final[Schema] = {"type": "object"}
FLAG: Final[Schema] = flag()
TIME: Final[Schema] = text("ISO 8601, UTC")
# Each event; `data` is JSON.
EVENTS: Final = Content("text/event-stream", members({"data": text()}, {"event": text(), "id": text()}))

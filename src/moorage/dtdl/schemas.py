"""What values a capability may have: DTDL's schemas, each of which judges a value and reads one from a form.

    Primitive    boolean, date, dateTime, double, duration, float, integer, long, string, time
    Vector       geopoint {lat, lon, alt?} and vector {x, y, z}, of IoT Central
    Geometry     point, lineString, polygon and their multiples, as GeoJSON
    Enum         one of the values listed
    Object       members with a schema each
    Map          members by any name, all of one schema
    Array        elements of one schema

`check` speaks of "it"; of something inside, it begins with where: `wheel.speed: it is the text "fast", ...`. Members
that an Object does not list are let through, as firmware grows before its model does.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from moorage.errors import Invalid

__all__ = [
    "GEOMETRIES",
    "PRIMITIVES",
    "VECTORS",
    "Array",
    "Enum",
    "EnumValue",
    "Field",
    "Geometry",
    "Map",
    "Object",
    "Primitive",
    "Schema",
    "Vector",
]

PRIMITIVES: Final = (
    "boolean",
    "date",
    "dateTime",
    "double",
    "duration",
    "float",
    "integer",
    "long",
    "string",
    "time",
)
VECTORS: Final[dict[str, tuple[str, ...]]] = {"geopoint": ("lat", "lon", "alt"), "vector": ("x", "y", "z")}
_OPTIONAL_AXIS: Final = "alt"
# How many arrays stand around one position (RFC 7946).
GEOMETRIES: Final[dict[str, int]] = {
    "point": 0,
    "multiPoint": 1,
    "lineString": 1,
    "multiLineString": 2,
    "polygon": 2,
    "multiPolygon": 3,
}

# A twin holds 32 KiB of desired properties and a method 128 KiB; no form has to carry more.
_MAX_TEXT_CHARS = 128 * 1024
_MAX_TEXT_DEPTH = 32
_MAX_INTEGER_CHARS = 20
_SHOWN = 40
_SHOWN_CHOICES = 8

_NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})?")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})?")
# ISO 8601: at least one part, and behind T at least one.
_DURATION = re.compile(
    r"-?P(?=\d|T\d)(?:\d+Y)?(?:\d+M)?(?:\d+W)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+(?:[.,]\d+)?S)?)?"
)
_FRACTION = re.compile(r"\.\d+")


class Schema:
    """`kind` is its name in DTDL."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        raise NotImplementedError

    def check(self, value: Any) -> str | None:
        """None when `value`, as JSON gives it, fits; otherwise the sentence why not."""
        raise NotImplementedError

    def parse_text(self, text: str) -> Any:
        """The value that somebody typed. What is complex is typed as JSON. Raises `Invalid` (`template.value`)."""
        value = _parse_json(text, self.kind)
        self._require(value)
        return value

    def _require(self, value: Any) -> None:
        if (why := self.check(value)) is not None:
            raise Invalid("template.value", f"The value does not fit: {why}.")


@dataclass(frozen=True, slots=True)
class Primitive(Schema):
    name: str

    @property
    def kind(self) -> str:
        return self.name

    @property
    def is_number(self) -> bool:
        return self.name in ("double", "float", "integer", "long")

    def check(self, value: Any) -> str | None:
        match self.name:
            case "boolean":
                return None if isinstance(value, bool) else _not(value, "true or false", self.name)
            case "double" | "float":
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                return None if is_number and _is_finite(value) else _not(value, "a number", self.name)
            case "integer" | "long":
                return self._check_whole(value)
            case "string":
                return None if isinstance(value, str) else _not(value, "text", self.name)
            case _:
                return self._check_time(value)

    def _check_whole(self, value: Any) -> str | None:
        # JSON has one kind of number: 20.0 of a device that knows only fractions is 20.
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not _is_finite(value)
            or value != int(value)
        ):
            return _not(value, "a whole number", self.name)
        bits = 32 if self.name == "integer" else 64
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            return f"it is {value}, which does not fit into the {bits} bits of {self.name}"
        return None

    def _check_time(self, value: Any) -> str | None:
        pattern, example, is_real = _TIMES[self.name]
        if isinstance(value, str) and pattern.fullmatch(value) and is_real(value):
            return None
        return _not(value, f"text like {example}", self.name)

    def parse_text(self, text: str) -> Any:
        if self.name == "string":
            return text
        stripped = text.strip()
        value: Any = stripped
        if self.name == "boolean":
            value = {"true": True, "false": False}.get(stripped.lower(), stripped)
        elif self.is_number:
            value = _parse_number(stripped)
        self._require(value)
        return int(value) if self.name in ("integer", "long") else value


@dataclass(frozen=True, slots=True)
class Vector(Schema):
    name: str

    @property
    def kind(self) -> str:
        return self.name

    def check(self, value: Any) -> str | None:
        axes = VECTORS[self.name]
        if not isinstance(value, Mapping):
            return _not(value, f"an object with {', '.join(axes)}", self.name)
        for axis in axes:
            if axis not in value:
                if axis != _OPTIONAL_AXIS:
                    return f"it has no {axis}, which a {self.name} needs"
            elif not (axis == _OPTIONAL_AXIS and value[axis] is None) and (why := _NUMBER.check(value[axis])):
                return f"{axis}: {why}"
        if self.name == "geopoint" and not (-90 <= value["lat"] <= 90 and -180 <= value["lon"] <= 180):
            return (
                f"it is at latitude {value['lat']} and longitude {value['lon']}; they go from -90 to 90 and -180 to 180"
            )
        return None


@dataclass(frozen=True, slots=True)
class Geometry(Schema):
    name: str

    @property
    def kind(self) -> str:
        return self.name

    def check(self, value: Any) -> str | None:
        wanted = self.name[0].upper() + self.name[1:]
        if not isinstance(value, Mapping) or value.get("type") != wanted:
            return _not(value, f'GeoJSON with "type": "{wanted}"', self.name)
        if not _is_nested_positions(value.get("coordinates"), GEOMETRIES[self.name]):
            return f"its coordinates are not those of a {wanted}"
        return None


@dataclass(frozen=True, slots=True)
class EnumValue:
    name: str
    value: int | str
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Enum(Schema):
    """`value_schema` is integer or string."""

    value_schema: str
    values: tuple[EnumValue, ...]

    @property
    def kind(self) -> str:
        return "Enum"

    def find(self, value: Any) -> EnumValue | None:
        """Which one `value` is, as it came from a device."""
        if isinstance(value, bool):
            return None
        return next((each for each in self.values if each.value == value), None)

    def check(self, value: Any) -> str | None:
        if self.find(value) is not None:
            return None
        choices = ", ".join(f"{each.value} ({each.display_name or each.name})" for each in self.values[:_SHOWN_CHOICES])
        return f"it is {_shown(value)}, and has to be one of {choices or 'no values at all'}" + (
            ", …" if len(self.values) > _SHOWN_CHOICES else ""
        )

    def parse_text(self, text: str) -> Any:
        """Takes the value or its name."""
        stripped = text.strip()
        for each in self.values:
            if stripped in (str(each.value), each.name):
                return each.value
        self._require(stripped)
        return stripped


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an Object, the value of a Map, or what goes into a command or comes out."""

    name: str
    schema: Schema
    display_name: str = ""
    description: str = ""
    initial_value: Any = None


@dataclass(frozen=True, slots=True)
class Object(Schema):
    fields: tuple[Field, ...]

    @property
    def kind(self) -> str:
        return "Object"

    def check(self, value: Any) -> str | None:
        if not isinstance(value, Mapping):
            return _not(value, "an object", "Object")
        for field in self.fields:
            # An object may be told in part: a desired property is a patch.
            if field.name in value and (why := field.schema.check(value[field.name])) is not None:
                return _within(field.name, why)
        return None


@dataclass(frozen=True, slots=True)
class Map(Schema):
    key_name: str
    value: Field

    @property
    def kind(self) -> str:
        return "Map"

    def check(self, value: Any) -> str | None:
        if not isinstance(value, Mapping):
            return _not(value, "an object", "Map")
        for name, each in value.items():
            if (why := self.value.schema.check(each)) is not None:
                return _within(str(name)[:_SHOWN], why)
        return None


@dataclass(frozen=True, slots=True)
class Array(Schema):
    element: Schema

    @property
    def kind(self) -> str:
        return "Array"

    def check(self, value: Any) -> str | None:
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            return _not(value, "an array", "Array")
        for index, each in enumerate(value):
            if (why := self.element.check(each)) is not None:
                return _within(f"[{index}]", why)
        return None


_NUMBER: Final = Primitive("double")


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    try:
        # Nanoseconds are more than Python holds; they change nothing about whether it is a time.
        datetime.time.fromisoformat(_FRACTION.sub("", text).upper())
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    return _is_date(text[:10]) and _is_time(text[11:])


def _is_duration(text: str) -> bool:
    return True


_TIMES: Final = {
    "date": (_DATE, "2026-03-01", _is_date),
    "time": (_TIME, "13:45:00Z", _is_time),
    "dateTime": (_DATE_TIME, "2026-03-01T13:45:00Z", _is_date_time),
    "duration": (_DURATION, "PT15M", _is_duration),
}


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _is_nested_positions(value: Any, depth: int) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    if depth:
        return all(_is_nested_positions(each, depth - 1) for each in value)
    return 2 <= len(value) <= 3 and all(_NUMBER.check(each) is None for each in value)


def _parse_number(text: str) -> Any:
    if not _NUMBER_TEXT.fullmatch(text):
        return text
    return int(text) if len(text) <= 20 and text.lstrip("+-").isdigit() else float(text)


def _parse_json(text: str, kind: str) -> Any:
    if len(text) > _MAX_TEXT_CHARS:
        raise Invalid("template.value", f"The value has {len(text)} characters, the most is {_MAX_TEXT_CHARS}.")
    if _depth(text) > _MAX_TEXT_DEPTH:
        raise Invalid("template.value", f"The value is nested deeper than {_MAX_TEXT_DEPTH} levels.")
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_parse_finite, parse_int=_parse_kept_integer
        )
        # What is read here is written as UTF-8 one day.
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        raise Invalid(
            "template.value",
            f"A value of schema {kind} is typed as JSON, and this is none: {error.msg} at line {error.lineno}, "
            f"column {error.colno}.",
        ) from None
    except UnicodeEncodeError:
        raise Invalid("template.value", "The value holds half of a surrogate pair (\\ud800 to \\udfff).") from None
    except ValueError as error:
        raise Invalid("template.value", f"The value holds a number that cannot be kept: {str(error)[:80]}") from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _parse_kept_integer(text: str) -> int:
    # Beyond 64 bits no client holds it; in JSON that comes over the wire it is refused too.
    if len(text) > _MAX_INTEGER_CHARS:
        raise ValueError(text)
    return int(text)


def _depth(text: str) -> int:
    """At most as deep as this; brackets inside of strings count too, which no value needs that many of."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _not(value: Any, wanted: str, kind: str) -> str:
    return f"it is {_shown(value)}, and {kind} wants {wanted}"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return f'the text "{value[:_SHOWN]}{"…" if len(value) > _SHOWN else ""}"'
        case Mapping():
            return "an object"
        case list() | tuple():
            return "an array"
        case _:
            return str(value)[:_SHOWN]


def _within(place: str, why: str) -> str:
    """`a: it is`, `a.b: it is`: what comes from inside already begins with its own place, or with "it"."""
    if why.startswith(("it ", "its ")):
        return f"{place}: {why}"
    return f"{place}{why}" if why.startswith("[") else f"{place}.{why}"

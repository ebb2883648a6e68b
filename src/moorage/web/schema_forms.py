"""Form fields made from schemas, and values read back from what was typed into them.

A field is named after its place: `request`, or `request.delay` for a member of an Object whose members are all simple.
Everything else that is not simple is typed as JSON. What cannot be read is told beside its field (forms.py).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from moorage.dtdl.schemas import Array, Enum, Field, Geometry, Map, Object, Primitive, Schema, Vector
from moorage.errors import Invalid
from moorage.fleet.invention import invent
from moorage.web.values import typed_text

__all__ = ["Input", "Parsed", "example_of", "inputs_of", "parse_inputs"]

Kind = Literal["text", "number", "choice", "json"]

_EXAMPLES: Final = {
    "date": "2026-03-01",
    "dateTime": "2026-03-01T13:45:00Z",
    "time": "13:45:00Z",
    "duration": "PT15M",
    "geopoint": '{"lat": 52.09, "lon": 5.12}',
    "vector": '{"x": 0, "y": 0, "z": 0}',
}


@dataclass(frozen=True, slots=True)
class Input:
    """One field. `choices` are (value, label)."""

    name: str
    label: str
    kind: Kind
    text: str
    schema: str
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """`value` is None where nothing was typed; `errors` by the name of the field."""

    value: Any
    errors: Mapping[str, str]


def inputs_of(
    name: str,
    label: str,
    schema: Schema,
    typed: Mapping[str, str],
    *,
    value: Any = None,
    is_whole: bool = False,
) -> list[Input]:
    """The fields for a value of `schema`; with what was `typed` before, else with `value`.

    With `is_whole` it is one field, whatever it is made of.
    """
    if isinstance(schema, Object) and _is_flat(schema) and not is_whole:
        members = value if isinstance(value, Mapping) else {}
        return [
            _input(f"{name}.{each.name}", _label(each), each.schema, typed, members.get(each.name))
            for each in schema.fields
        ]
    return [_input(name, label, schema, typed, value)]


def parse_inputs(name: str, schema: Schema, typed: Mapping[str, str], *, is_whole: bool = False) -> Parsed:
    """The value that the fields of `inputs_of` hold. A field that is left empty is left out."""
    if is_whole or not (isinstance(schema, Object) and _is_flat(schema)):
        return _parse(name, schema, typed.get(name, ""))
    members: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for each in schema.fields:
        parsed = _parse(f"{name}.{each.name}", each.schema, typed.get(f"{name}.{each.name}", ""))
        errors |= parsed.errors
        if parsed.value is not None:
            members[each.name] = parsed.value
    return Parsed(members or None, errors)


def example_of(schema: Schema) -> Any:
    """A value that fits, the same each time: what people put their own in the place of."""
    if schema == Primitive("string"):
        return "text"
    return invent(schema, "example", random.Random(0), datetime(2027, 3, 1, 12, tzinfo=UTC))


def _parse(name: str, schema: Schema, text: str) -> Parsed:
    if not text.strip():
        return Parsed(None, {})
    try:
        return Parsed(schema.parse_text(text), {})
    except Invalid as refusal:
        return Parsed(None, {name: refusal.message})


def _input(name: str, label: str, schema: Schema, typed: Mapping[str, str], value: Any) -> Input:
    choices = _choices(schema)
    return Input(
        name=name,
        label=label,
        kind=_kind(schema),
        text=typed.get(name, typed_text(value)),
        schema=schema.kind,
        hint=_EXAMPLES.get(schema.kind, ""),
        choices=choices,
    )


def _kind(schema: Schema) -> Kind:
    match schema:
        case Enum() | Primitive(name="boolean"):
            return "choice"
        case Primitive(is_number=True):
            return "number"
        case Array() | Geometry() | Map() | Object() | Vector():
            return "json"
        case _:
            return "text"


def _choices(schema: Schema) -> tuple[tuple[str, str], ...]:
    match schema:
        case Enum():
            return tuple((str(each.value), each.display_name or each.name) for each in schema.values)
        case Primitive(name="boolean"):
            return (("true", "True"), ("false", "False"))
        case _:
            return ()


def _is_flat(schema: Object) -> bool:
    return bool(schema.fields) and all(isinstance(each.schema, (Primitive, Enum)) for each in schema.fields)


def _label(field: Field) -> str:
    return field.display_name or field.name

"""A model guessed from what a device has sent: its root capabilities alone (central.md TPL-13).

A guess is the schema that every value seen would fit, and the wider one where two would do: numbers are doubles,
because the next one may have a fraction. What no model can describe is left out, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from moorage.dtdl.members import is_name
from moorage.dtdl.parser import CENTRAL_CONTEXT, CONTEXT, RESERVED_TELEMETRY
from moorage.dtdl.schemas import VECTORS, Primitive, Vector

__all__ = ["MAX_GUESSES", "Guess", "GuessKind", "Guesses", "guess", "model_of"]

GuessKind = Literal["telemetry", "property", "writable"]

# A form holds no more.
MAX_GUESSES: Final = 45
# Names that are kept in mind at all.
_MAX_SEEN: Final = 500
_MAX_FIELDS: Final = 30
_MAX_DEPTH: Final = 4
# Of text: the narrowest first.
_TEXTS: Final = ("dateTime", "date", "duration")


@dataclass(frozen=True, slots=True)
class Guess:
    """`schema` is as JSON, `sample` the value seen last."""

    kind: GuessKind
    name: str
    schema: Any
    sample: Any


@dataclass(frozen=True, slots=True)
class Guesses:
    """`left_out` is (name, why) of what was seen and cannot be described."""

    found: Sequence[Guess]
    left_out: Sequence[tuple[str, str]]


def guess(telemetry: Iterable[Mapping[str, Any]], reported: Mapping[str, Any], desired: Mapping[str, Any]) -> Guesses:
    """From the bodies of messages of the root, the newest first, and both sides of the twin."""
    seen: dict[str, tuple[GuessKind, list[Any]]] = {}
    for name in (*reported, *desired):
        if name.startswith("$") or _is_component(reported.get(name)) or _is_component(desired.get(name)):
            continue
        kind: GuessKind = "writable" if name in desired or _is_answer(reported.get(name)) else "property"
        values = [_answered(side[name]) for side in (reported, desired) if side.get(name) is not None]
        seen.setdefault(name, (kind, values))
    for body in telemetry:
        for name, value in body.items():
            if name not in seen and len(seen) >= _MAX_SEEN:
                continue
            known_kind, values = seen.setdefault(name, ("telemetry", []))
            if known_kind == "telemetry":
                values.append(value)
    found: list[Guess] = []
    left_out: list[tuple[str, str]] = []
    for name, (kind, values) in seen.items():
        said = [value for value in values if value is not None]
        schema = _schema_of(said, _MAX_DEPTH) if said else None
        if not is_name(name) or name in RESERVED_TELEMETRY:
            left_out.append((name, "a model cannot have this name; an alias can give it another"))
        elif schema is None:
            left_out.append(
                (name, "its values are of no kind that a model can describe" if said else "it had no value")
            )
        elif len(found) >= MAX_GUESSES:
            left_out.append((name, f"more than {MAX_GUESSES} were seen; add it in the template"))
        else:
            found.append(Guess(kind, name, schema, said[0]))
    return Guesses(found, left_out)


def model_of(
    model_id: str, display_name: str, capabilities: Iterable[tuple[GuessKind, str, str, Any]]
) -> dict[str, Any]:
    """The interface of (kind, name, display name, schema)s. It is for the parser to judge."""
    contents = []
    for kind, name, label, schema in capabilities:
        made: dict[str, Any] = {"@type": "Telemetry" if kind == "telemetry" else "Property", "name": name}
        if label:
            made["displayName"] = label
        made["schema"] = schema
        if kind == "writable":
            made["writable"] = True
        contents.append(made)
    return {
        "@context": [CONTEXT, CENTRAL_CONTEXT],
        "@id": model_id,
        "@type": "Interface",
        "displayName": display_name,
        "contents": contents,
    }


def _schema_of(values: Sequence[Any], depth: int) -> Any:
    """None where nothing fits all of them."""
    for vector in VECTORS:
        if all(Vector(vector).check(value) is None and set(value) <= set(VECTORS[vector]) for value in values):
            return vector
    for primitive in ("boolean", "double", *_TEXTS, "string"):
        if all(Primitive(primitive).check(value) is None for value in values):
            return primitive
    if depth and all(isinstance(value, Mapping) for value in values):
        return _object_of(values, depth)
    if depth and all(isinstance(value, list) for value in values):
        elements = [element for value in values for element in value[:_MAX_FIELDS] if element is not None]
        inner = _schema_of(elements, depth - 1) if elements else None
        return None if inner is None else {"@type": "Array", "elementSchema": inner}
    return None


def _object_of(values: Sequence[Mapping[str, Any]], depth: int) -> Any:
    members: dict[str, list[Any]] = {}
    for value in values:
        for name, member in value.items():
            if member is not None:
                members.setdefault(name, []).append(member)
    fields: list[dict[str, Any]] = []
    for name, inside in members.items():
        schema = _schema_of(inside, depth - 1) if is_name(name) else None
        if schema is not None and len(fields) < _MAX_FIELDS:
            fields.append({"name": name, "schema": schema})
    return {"@type": "Object", "fields": fields} if fields else None


def _is_component(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("__t") == "c"


def _is_answer(value: Any) -> bool:
    return isinstance(value, Mapping) and "value" in value and "ac" in value


def _answered(value: Any) -> Any:
    return value["value"] if _is_answer(value) else value

"""A capability as the fields of a form, and back to JSON (central.md 7.3).

Only what the form shows is changed: members of the JSON that it knows nothing of stay. Schemas with parts of their own
are typed as JSON, except an Enum, whose values are lines: `1 running Running well`. A text that is empty, or has a
space or a quote in it, stands in quotes: `"slow mode" slow`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from moorage.dialects.json_text import parse_json
from moorage.dtdl.members import loose_types
from moorage.dtdl.quantities import UNITS
from moorage.dtdl.schemas import GEOMETRIES, PRIMITIVES, VECTORS
from moorage.errors import Invalid

__all__ = ["CAPABILITY_KINDS", "SCHEMA_CHOICES", "CapabilityKind", "capability_fields", "capability_json", "kind_of"]

CapabilityKind = Literal["telemetry", "property", "cloud", "command", "component", "relationship"]
CAPABILITY_KINDS: Final[tuple[CapabilityKind, ...]] = get_args(CapabilityKind)

ENUMS: Final = ("Enum of integers", "Enum of strings")
JSON: Final = "JSON"
SCHEMA_CHOICES: Final = (*PRIMITIVES, *VECTORS, *ENUMS, *GEOMETRIES, JSON)

_TYPES: Final[dict[CapabilityKind, str]] = {
    "telemetry": "Telemetry",
    "property": "Property",
    "cloud": "Property",
    "command": "Command",
    "component": "Component",
    "relationship": "Relationship",
}
_WHOLE: Final = re.compile(r"-?[0-9]{1,10}")
_TEXTS: Final = ("displayName", "description", "comment")
_NUMBERS: Final = ("minValue", "maxValue", "decimalPlaces")
_SHOWN: Final = ("displayUnit", "color")


def kind_of(capability: Mapping[str, Any]) -> CapabilityKind:
    types = loose_types(capability)
    if "Cloud" in types:
        return "cloud"
    return next((kind for kind, name in _TYPES.items() if name in types and kind != "cloud"), "telemetry")


def capability_fields(capability: Mapping[str, Any]) -> dict[str, str]:
    """What the form holds for a capability that is there."""
    kind = kind_of(capability)
    fields = {"name": str(capability.get("name", ""))}
    for name in (*_TEXTS, *_NUMBERS, *_SHOWN, "unit", "severity"):
        fields[name] = _as_text(capability.get(name))
    own = {_TYPES[kind], "Cloud", "Initialized"}
    semantic = [str(each) for each in loose_types(capability) if each not in own]
    fields["semantic"] = " ".join(semantic)
    if capability.get("writable") is True:
        fields["writable"] = "on"
    if capability.get("durable") is True:
        fields["durable"] = "on"
    fields["initialValue"] = _as_text(capability.get("initialValue"))
    if kind == "component":
        fields["interface"] = _as_text(capability.get("schema"))
    elif kind == "command":
        for which in ("request", "response"):
            payload = capability.get(which)
            if isinstance(payload, Mapping):
                fields |= {f"{which}.name": str(payload.get("name", "")), f"{which}.on": "on"}
                fields[f"{which}.displayName"] = _as_text(payload.get("displayName"))
                fields |= _schema_fields(payload.get("schema"), f"{which}.")
    else:
        fields |= _schema_fields(capability.get("schema"), "")
    return fields


def capability_json(kind: CapabilityKind, fields: Mapping[str, str], present: Mapping[str, Any]) -> dict[str, Any]:
    """The capability that `fields` describe, on top of what is `present`.

    Raises `Invalid`: `form.schema` with the field's label for what is typed as JSON and is none, `form.enum`,
    `form.unit`.
    """
    made: dict[str, Any] = {**present, "name": fields.get("name", "").strip()}
    semantic = fields.get("semantic", "").split()
    marks = ["Cloud"] if kind == "cloud" else []
    if fields.get("initialValue", "").strip() and kind in ("property", "cloud"):
        marks.append("Initialized")
    types = [_TYPES[kind], *marks, *semantic]
    made["@type"] = types if len(types) > 1 else types[0]
    for name in _TEXTS:
        _set(made, name, fields.get(name, "").strip(), present)
    if kind in ("telemetry", "property", "cloud"):
        _put_valued(made, kind, fields, present)
    elif kind == "command":
        _put_command(made, fields, present)
    elif kind == "component":
        made["schema"] = _interface(fields, present)
    return made


def _put_valued(
    made: dict[str, Any], kind: CapabilityKind, fields: Mapping[str, str], present: Mapping[str, Any]
) -> None:
    made["schema"] = _schema(fields, "", present.get("schema"))
    for name in _SHOWN:
        _set(made, name, fields.get(name, "").strip(), present)
    _set(made, "unit", _unit(fields, present), present)
    for name in _NUMBERS:
        text = fields.get(name, "").strip()
        _set(made, name, _number(text) if text else "", present)
    if kind == "telemetry":
        _set(made, "severity", fields.get("severity", "") if "Event" in made["@type"] else "", present)
        return
    if kind == "property":
        _set(made, "writable", "writable" in fields, present)
    text = fields.get("initialValue", "").strip()
    # The parser reads it by the schema, as IoT Central has it.
    _set(made, "initialValue", text, present)


def _unit(fields: Mapping[str, str], present: Mapping[str, Any]) -> str:
    """One of DTDL's, and of the semantic type where that has units. What is there already stays."""
    unit = fields.get("unit", "").strip()
    if not unit or unit == _as_text(present.get("unit")):
        return unit
    typed = [UNITS[each] for each in fields.get("semantic", "").split() if each in UNITS]
    known = {each for units in typed or UNITS.values() for each in units}
    if unit not in known:
        listed = f", such as {', '.join(sorted(known)[:4])}" if typed else " (degreeCelsius, bar, percent)"
        raise Invalid(
            "form.unit",
            f"{unit[:60]!r} is no unit of DTDL{' for this semantic type' if typed else ''}{listed}; "
            "any other stands beside the value as its display unit",
            field="unit",
        )
    return unit


def _put_command(made: dict[str, Any], fields: Mapping[str, str], present: Mapping[str, Any]) -> None:
    _set(made, "durable", "durable" in fields, present)
    for which in ("request", "response"):
        before = present.get(which)
        if f"{which}.on" not in fields:
            made.pop(which, None)
            continue
        payload: dict[str, Any] = {**before} if isinstance(before, Mapping) else {"@type": "CommandPayload"}
        payload["name"] = fields.get(f"{which}.name", "").strip()
        _set(payload, "displayName", fields.get(f"{which}.displayName", "").strip(), payload)
        payload["schema"] = _schema(fields, f"{which}.", payload.get("schema"))
        made[which] = payload


def _set(made: dict[str, Any], name: str, value: Any, present: Mapping[str, Any]) -> None:
    """Put it where it says something. Texts by language stay while the field still says what it showed of them."""
    if isinstance(value, str) and value == _as_text(present.get(name)):
        return
    if value == "" or value is False:
        made.pop(name, None)
    else:
        made[name] = value


def _schema_fields(schema: Any, prefix: str) -> dict[str, str]:
    if isinstance(schema, str) and schema in SCHEMA_CHOICES:
        return {f"{prefix}schema": schema}
    if isinstance(schema, Mapping) and "Enum" in loose_types(schema):
        values = schema.get("enumValues")
        lines = [_enum_line(each) for each in values if isinstance(each, Mapping)] if isinstance(values, list) else []
        which = ENUMS[1] if schema.get("valueSchema") == "string" else ENUMS[0]
        return {f"{prefix}schema": which, f"{prefix}values": "\n".join(lines)}
    return {f"{prefix}schema": JSON, f"{prefix}json": _as_text(schema)}


def _schema(fields: Mapping[str, str], prefix: str, present: Any) -> Any:
    chosen = fields.get(f"{prefix}schema", "")
    if chosen in ENUMS:
        kept = {**present} if isinstance(present, Mapping) and "Enum" in loose_types(present) else {"@type": "Enum"}
        of = "string" if chosen == ENUMS[1] else "integer"
        return {**kept, "valueSchema": of, "enumValues": _enum_values(fields, f"{prefix}values", of, kept)}
    if chosen == JSON:
        return _json(fields, f"{prefix}json", "the schema")
    return chosen


def _enum_line(value: Mapping[str, Any]) -> str:
    said = value.get("enumValue")
    if isinstance(said, str) and (said.split() != [said] or '"' in said):
        said = json.dumps(said, ensure_ascii=not said.isprintable())
    return " ".join(str(part) for part in (said, value.get("name"), _as_text(value.get("displayName"))) if part != "")


def _enum_value(line: str) -> tuple[str, str]:
    """(the text of a value, what stands behind it). Raises `ValueError` for quotes that hold no text."""
    if line.startswith('"'):
        text, end = json.JSONDecoder().raw_decode(line)
        # Half a surrogate pair is none.
        text.encode()
        return text, line[end:]
    value, _, rest = line.partition(" ")
    return value, rest


def _enum_values(fields: Mapping[str, str], field: str, of: str, present: Mapping[str, Any]) -> list[dict[str, Any]]:
    before = present.get("enumValues")
    known = {each.get("name"): each for each in before if isinstance(each, Mapping)} if isinstance(before, list) else {}
    values = []
    for number, line in enumerate(fields.get(field, "").splitlines(), 1):
        if not line.strip():
            continue
        try:
            value, rest = _enum_value(line.strip())
        except ValueError:
            raise Invalid(
                "form.enum", f"line {number} of the values begins with a quote, and no text in quotes", field=field
            ) from None
        name, _, label = rest.strip().partition(" ")
        name = name or value
        if of == "integer" and not _WHOLE.fullmatch(value):
            raise Invalid(
                "form.enum",
                f"line {number} of the values begins with {value[:40]!r}, which is no whole number",
                field=field,
            )
        each = {**known.get(name, {}), "name": name, "enumValue": int(value) if of == "integer" else value}
        _set(each, "displayName", label.strip(), known.get(name, {}))
        values.append(each)
    return values


def _interface(fields: Mapping[str, str], present: Mapping[str, Any]) -> Any:
    """An interface by its id, or as JSON; what was there when neither is given."""
    text = fields.get("interface", "").strip() or fields.get("model", "").strip()
    if not text:
        return present.get("schema")
    return text if text.startswith("dtmi:") else _json(fields, "interface", "the interface")


def _json(fields: Mapping[str, str], field: str, what: str) -> Any:
    text = fields.get(field, "")
    if not text.strip():
        raise Invalid("form.schema", f"{what} is missing: it is typed as JSON", field=field)
    try:
        return parse_json(text.encode("utf-8", "surrogatepass"), what=what)
    except Invalid as error:
        raise Invalid("form.schema", error.message, field=field) from None


def _number(text: str) -> Any:
    try:
        return parse_json(text.encode(), what="the number") if text.lstrip("-")[:1].isdigit() else text
    except Invalid:
        # The parser says with its place that this is no number.
        return text


def _as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case Mapping() if "@type" not in value and value and all(isinstance(each, str) for each in value.values()):
            # Texts by language.
            return str(value.get("en", next(iter(value.values()))))
        case bool():
            return str(value).lower()
        case Mapping() | list():
            return json.dumps(value, indent=2, ensure_ascii=False)
        case _:
            return str(value)

"""The few members that everything in DTDL has: identifiers, names, types, texts for people, numbers.

Each raises `InvalidModel` with the path of what it read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from moorage.dtdl.model import Dtmi
from moorage.dtdl.problems import InvalidModel, child, shown
from moorage.dtdl.schemas import Primitive
from moorage.errors import Invalid

__all__ = [
    "MAX_DISPLAY_CHARS",
    "MAX_NAME_CHARS",
    "get_boolean",
    "get_display",
    "get_list",
    "get_number",
    "get_unit",
    "get_whole",
    "is_name",
    "loose_types",
    "parse_dtmi",
    "parse_name",
    "parse_types",
]

# DTDL v2 has 64 for names and display names, 512 for the rest. IoT Central writes longer display names itself.
MAX_NAME_CHARS: Final = 64
MAX_DISPLAY_CHARS: Final = 512
MAX_INTERFACE_ID_CHARS: Final = 128
_MAX_TYPES: Final = 16
_MAX_TYPE_CHARS: Final = 200
_MAX_LANGUAGES: Final = 200

_NAME: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?")
_SEGMENT: Final = _NAME.pattern
_DTMI: Final = re.compile(rf"dtmi:{_SEGMENT}(?::{_SEGMENT})*;[1-9][0-9]{{0,8}}")


def parse_dtmi(value: Any, path: str = "$") -> Dtmi:
    """An identifier of an interface. Raises `InvalidModel` (`template.id`)."""
    if not isinstance(value, str) or not _DTMI.fullmatch(value):
        raise InvalidModel(
            "template.id",
            path,
            f"{shown(value)} is no model identifier; one is like dtmi:com:example:Thermostat;1, where each part begins "
            "with a letter and has letters, digits and _",
        )
    if len(value) > MAX_INTERFACE_ID_CHARS:
        raise InvalidModel("template.id", path, f"{len(value)} characters, the most is {MAX_INTERFACE_ID_CHARS}")
    return Dtmi(value)


def is_name(text: str) -> bool:
    return len(text) <= MAX_NAME_CHARS and _NAME.fullmatch(text) is not None


def parse_name(document: Mapping[str, Any], path: str) -> str:
    """The `name` member. Raises `InvalidModel` (`template.name`)."""
    name = document.get("name")
    if not isinstance(name, str) or not is_name(name):
        raise InvalidModel(
            "template.name",
            child(path, "name"),
            ("a name is missing here" if name is None else f"{shown(name)} is no name")
            + f": up to {MAX_NAME_CHARS} letters, digits and _, beginning with a letter and not ending in _",
        )
    return name


def parse_types(document: Mapping[str, Any], path: str) -> list[str]:
    """`@type`, which is one text or several. Raises `InvalidModel` (`template.kind`)."""
    value = document.get("@type")
    listed = value if isinstance(value, list) else [value]
    if (
        not listed
        or len(listed) > _MAX_TYPES
        or not all(isinstance(each, str) and len(each) <= _MAX_TYPE_CHARS for each in listed)
    ):
        raise InvalidModel(
            "template.kind",
            child(path, "@type"),
            "an @type is missing here"
            if value is None
            else f"{shown(value)} is no type: that is a text, or an array of texts",
        )
    return cast("list[str]", listed)


def loose_types(document: Mapping[str, Any]) -> list[Any]:
    """`@type` as it stands, before it was judged: one thing or several."""
    value = document.get("@type")
    return value if isinstance(value, list) else [value]


def get_display(document: Mapping[str, Any], member: str, path: str) -> str:
    """Text for people, one or by language: then English, or the first. Raises `InvalidModel` (`template.shape`)."""
    value = document.get(member)
    if value is None:
        return ""
    place = child(path, member)
    if isinstance(value, Mapping):
        if len(value) > _MAX_LANGUAGES:
            raise InvalidModel("template.limit", place, f"{len(value)} languages, the most is {_MAX_LANGUAGES}")
        english = next((tag for tag in value if tag == "en" or tag.lower().startswith("en-")), None)
        value = value[english] if english is not None else next(iter(value.values()), "")
    if not isinstance(value, str):
        raise InvalidModel("template.shape", place, f"{shown(value)} is no text, nor texts by language")
    if len(value) > MAX_DISPLAY_CHARS:
        raise InvalidModel("template.limit", place, f"{len(value)} characters, the most is {MAX_DISPLAY_CHARS}")
    return value


def get_unit(document: Mapping[str, Any], path: str) -> str:
    """The short name of a unit, which may be spelled in full: `dtmi:standard:unit:degreeCelsius;2`."""
    unit = document.get("unit", "")
    if not isinstance(unit, str) or len(unit) > MAX_DISPLAY_CHARS:
        raise InvalidModel("template.shape", child(path, "unit"), f"{shown(unit)} is no unit: that is a short text")
    return unit.rpartition(";")[0].rpartition(":")[2] if unit.startswith("dtmi:") else unit


def get_boolean(document: Mapping[str, Any], member: str, path: str) -> bool:
    value = document.get(member, False)
    if not isinstance(value, bool):
        raise InvalidModel("template.shape", child(path, member), f"{shown(value)} has to be true or false")
    return value


def get_number(document: Mapping[str, Any], member: str, path: str) -> float | None:
    value = _typed(document.get(member), "double", child(path, member))
    return None if value is None else float(value)


def get_whole(document: Mapping[str, Any], member: str, path: str) -> int | None:
    value = _typed(document.get(member), "integer", child(path, member))
    return None if value is None else int(value)


def get_list(document: Mapping[str, Any], member: str, path: str, most: int) -> list[Any]:
    value = document.get(member)
    if value is None:
        return []
    if isinstance(value, Mapping):
        # JSON-LD: a set of one may stand alone.
        return [value]
    if not isinstance(value, list):
        raise InvalidModel("template.shape", child(path, member), f"this is {shown(value)}, it has to be an array")
    if len(value) > most:
        raise InvalidModel("template.limit", child(path, member), f"{len(value)} entries, the most is {most}")
    return value


def _typed(value: Any, kind: str, path: str) -> Any:
    schema = Primitive(kind)
    if isinstance(value, str):
        # IoT Central writes a number as it was typed.
        try:
            return schema.parse_text(value)
        except Invalid as error:
            raise InvalidModel("template.value", path, error.message) from None
    if value is not None and (why := schema.check(value)) is not None:
        raise InvalidModel("template.value", path, why)
    return value

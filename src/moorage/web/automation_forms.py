"""What the forms of rules, exports and jobs share: names out of a template, typed values, rows of a form."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.dtdl.model import Interface

__all__ = ["Names", "capability_names", "new_id", "numbers_of", "rows_of", "typed_value", "value_text"]

_LARGEST: Final = 1e300
# Half a pair, which no UTF-8 holds.
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Names:
    """Paths of a template's capabilities, those of components below their names."""

    telemetry: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    cloud: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def capability_names(interface: Interface | None) -> Names:
    if interface is None:
        return Names()
    telemetry, properties, writable, commands = list[str](), list[str](), list[str](), list[str]()
    for component, part in interface.parts():
        head = f"{component}." if component else ""
        telemetry += [head + each.name for each in part.telemetry]
        properties += [head + each.name for each in part.properties]
        writable += [head + each.name for each in part.properties if each.is_writable]
        commands += [head + each.name for each in part.commands]
    cloud = tuple(each.name for each in interface.cloud_properties)
    return Names(tuple(telemetry), tuple(properties), tuple(writable), cloud, tuple(commands))


def typed_value(text: str) -> Any:
    """A number, a truth value or a text in quotes where it reads as one, else the text as it stands."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, bool) or (isinstance(value, str) and not _SURROGATE.search(value)):
        return value
    return value if isinstance(value, (int, float)) and abs(value) < _LARGEST else text


def value_text(value: Any) -> str:
    """As `typed_value` reads it again: a text only in quotes where it would be taken for something else."""
    if isinstance(value, str) and typed_value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def numbers_of(fields: Mapping[str, str], typed: Collection[str], most: int) -> list[int]:
    """Of the rows of a form whose fields are `name0`, `name1` and so on: those with something in a field of `typed`."""
    return [number for number in range(most) if any(fields.get(f"{name}{number}", "").strip() for name in typed)]


def rows_of(
    fields: Mapping[str, str], names: tuple[str, ...], typed: Collection[str], most: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Those rows, with their numbers. What people choose from a list stands in every row, and makes none."""
    for number in numbers_of(fields, typed, most):
        yield number, tuple(fields.get(f"{name}{number}", "").strip() for name in names)


def new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(6)}"

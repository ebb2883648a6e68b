"""What a device sent, held against its model: modelled values with what is wrong with them, and the rest (RAW-1..6).

Nothing is left out. A value that does not fit its schema is shown as it came, with the sentence why not; what the model
does not have is unmodelled data (W-10), and what is no JSON object at all is said to be none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from moorage.dtdl.model import Interface, Property, Telemetry, Valued
from moorage.hub.digital_twins import is_component

__all__ = ["Cell", "ColumnKey", "Reading", "columns_of", "read_properties", "read_telemetry"]

# As the twin has them, and what stands around their values.
_MARKS: Final = ("__t", "$metadata", "$version")


class ColumnKey(NamedTuple):
    """`component` is '' for the root of the model."""

    component: str
    name: str

    def __str__(self) -> str:
        return f"{self.component}.{self.name}" if self.component else self.name


class Cell(NamedTuple):
    """A value as it came; `problem` is the sentence why it does not fit its schema, '' where it does."""

    value: Any
    problem: str = ""


@dataclass(slots=True)
class Reading:
    """`problem` is about all of it."""

    cells: dict[ColumnKey, Cell] = field(default_factory=dict)
    unmodelled: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def problems(self) -> list[tuple[ColumnKey, str]]:
        return [(key, cell.problem) for key, cell in self.cells.items() if cell.problem]


def columns_of(interface: Interface | None) -> list[tuple[ColumnKey, Valued]]:
    """The capabilities that have a column of their own: telemetry, then properties, component by component."""
    if interface is None:
        return []
    return [
        (ColumnKey(component, each.name), each)
        for component, part in interface.parts()
        for each in (*part.telemetry, *part.properties)
    ]


def read_telemetry(interface: Interface | None, component: str, body: Any) -> Reading:
    """`component` is what the message says of itself in `$.sub` (W-2)."""
    reading = Reading()
    if not isinstance(body, Mapping):
        reading.problem = "it is JSON, but no object with a name for each value"
        return reading
    part = None if interface is None else interface.part(component)
    if interface is not None and part is None:
        reading.problem = f"the template has no component {component[:80]!r}"
    for name, value in body.items():
        declared = None if part is None else part.by_name.get(name)
        if isinstance(declared, Telemetry):
            reading.cells[ColumnKey(component, name)] = Cell(value, declared.schema.check(value) or "")
        else:
            reading.unmodelled[name] = value
    return reading


def read_properties(interface: Interface | None, section: Literal["desired", "reported"], patch: Any) -> Reading:
    """A change of desired or reported properties, components as objects (W-5)."""
    reading = Reading()
    if not isinstance(patch, Mapping):
        return reading
    for name, value in patch.items():
        if name in _MARKS:
            continue
        part = None if interface is None else interface.part(name)
        if isinstance(value, Mapping) and (part is not None or is_component(value)):
            inside = {member: each for member, each in value.items() if member not in _MARKS}
            _read_part(reading, part, name, inside, section)
        else:
            _read_part(reading, interface, "", {name: value}, section)
    return reading


def _read_part(
    reading: Reading, part: Interface | None, component: str, values: Mapping[str, Any], section: str
) -> None:
    for name, value in values.items():
        declared = None if part is None else part.by_name.get(name)
        if not isinstance(declared, Property) or declared.is_cloud:
            target = reading.unmodelled.setdefault(component, {}) if component else reading.unmodelled
            target[name] = value
            continue
        is_answer = section == "reported" and isinstance(value, Mapping) and "value" in value and "ac" in value
        judged = value["value"] if is_answer and declared.is_writable else value
        why = "" if judged is None else declared.schema.check(judged) or ""
        reading.cells[ColumnKey(component, name)] = Cell(judged, why)

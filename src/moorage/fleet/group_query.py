"""Queries of device groups: which devices belong, asked anew each time (contract/central.md DG-1, DG-2, DG-5).

    SELECT * FROM devices WHERE $template = "dtmi:com:example:Pump;1" AND $provisioned = true AND pressure > 2.5

It is the language of `moorage.query` over rows of its own. Names with a dollar are facts of the application; every
other name is a property: a cloud property, or what the device reported, or what was desired of it while it reported
nothing. A component stands before its property (`thermostat1.targetTemperature`). One condition of those joined by AND
has to name the template. Every "no" points at the place in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from moorage.fleet.model import DeviceRecord, TemplateId
from moorage.hub.digital_twins import is_component
from moorage.hub.model import Twin
from moorage.query.evaluator import Evaluate, compile_expression
from moorage.query.parser import KEYWORDS, Parser
from moorage.query.problems import InvalidQuery
from moorage.query.syntax import Comparison, Constant, Expression, Logical, Path, walk

__all__ = [
    "FACTS",
    "MAX_CONDITIONS",
    "MAX_QUERY_CHARS",
    "OPERATORS",
    "FilterRow",
    "GroupQuery",
    "device_row",
    "parse_group_query",
    "write",
]

# central.md DG-2
MAX_CONDITIONS: Final = 100
# Some hundred ids behind IN; more is a property of the devices.
MAX_QUERY_CHARS: Final = 8_000
# Names that are no properties.
FACTS: Final = ("$template", "$id", "$displayName", "$provisioned", "$simulated", "$enabled", "$organizations")
OPERATORS: Final = ("=", "!=", ">", ">=", "<", "<=")
_TEMPLATE: Final = "$template"
_PLAIN_NAME: Final = re.compile(r"[^\W\d]\w*")


class FilterRow(NamedTuple):
    """One condition as a form has it: `pressure > 2.5`."""

    path: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """A query that was read.

    Attributes:
        template: the one that its devices have.
        needs_properties: whether it asks for more than a device's record holds.
        rows: its conditions but for the template, None when they are more than a list of comparisons.
    """

    text: str
    template: TemplateId
    needs_properties: bool
    rows: tuple[FilterRow, ...] | None
    evaluate: Evaluate

    def takes(self, row: Mapping[str, Any]) -> bool:
        return self.evaluate(row) is True


def parse_group_query(text: str) -> GroupQuery:
    """Raises `InvalidQuery` (`query.*`). The longest takes some ten milliseconds, once."""
    if len(text) > MAX_QUERY_CHARS:
        raise InvalidQuery(
            "query.size",
            text,
            MAX_QUERY_CHARS,
            f"the query has {len(text)} characters, at most {MAX_QUERY_CHARS} are read",
        )
    return _remembered(text)


def device_row(record: DeviceRecord, twin: Twin | None, cloud: Mapping[str, Any]) -> dict[str, Any]:
    """A device as queries see it."""
    row: dict[str, Any] = {}
    if twin is not None:
        for side in (twin.desired.value, twin.reported.value):
            for name, value in side.items():
                if is_component(value):
                    held = row.get(name)
                    members = {each: _plain(member) for each, member in value.items() if each != "__t"}
                    row[name] = {**held, **members} if isinstance(held, dict) else members
                else:
                    row[name] = _plain(value)
    row |= cloud
    row |= {
        "$template": record.template,
        "$id": record.device_id,
        "$displayName": record.display_name,
        "$provisioned": record.is_provisioned,
        "$simulated": record.is_simulated,
        "$enabled": not record.is_blocked,
        "$organizations": record.organization,
    }
    return row


def write(template: str, rows: Sequence[FilterRow]) -> str:
    """The text of a query that a form describes."""
    conditions = [f"{_TEMPLATE} = {_constant(template)}"]
    conditions += [f"{_path(row.path)} {row.operator} {_constant(row.value)}" for row in rows]
    return "SELECT * FROM devices WHERE " + " AND ".join(conditions)


class _GroupParser(Parser):
    """Fields of twins are none here: a property may have any of their names."""

    def _path(self) -> Path:
        token = self._peek
        names = [self._advance().value]
        while self._take_sign("."):
            names.append(self._name("a name"))
        if token.kind == "word" and names[0].startswith("$"):
            known = next((fact for fact in FACTS if fact.lower() == names[0].lower()), None)
            if known is None or len(names) > 1:
                raise InvalidQuery(
                    "query.field",
                    self._text,
                    token.at,
                    f"there is no {'.'.join(names)[:60]!r}; there are {', '.join(FACTS)}, and properties",
                    length=len(token.text),
                )
            names = [known]
        return Path(tuple(names), token.at)


def _parse(text: str) -> GroupQuery:
    select = _GroupParser(text).statement()
    if select.projections is not None or select.group_by or select.top is not None or select.collection != "devices":
        raise InvalidQuery(
            "query.collection", text, 0, "a group's query is SELECT * FROM devices WHERE ..., and nothing else"
        )
    conditions = _conditions(select.where)
    if len(conditions) > MAX_CONDITIONS + 1:
        raise InvalidQuery(
            "query.conditions",
            text,
            conditions[-1].at,
            f"{len(conditions)} conditions are joined by AND, at most {MAX_CONDITIONS + 1} are",
        )
    templates = [found for found in conditions if _template_of(found) is not None]
    if len(templates) != 1:
        raise InvalidQuery(
            "query.template",
            text,
            templates[1].at if templates else text.lower().find("where") if select.where else len(text),
            'a group has one template: WHERE has to say $template = "dtmi:..." once, joined to the rest by AND',
        )
    assert select.where is not None
    rest = [each for each in conditions if each is not templates[0]]
    rows = [_row(each) for each in rest]
    paths = {node.names[0] for node in walk(select.where) if isinstance(node, Path)}
    return GroupQuery(
        text,
        TemplateId(_template_of(templates[0]) or ""),
        not paths <= set(FACTS),
        tuple(row for row in rows if row is not None) if all(rows) else None,
        compile_expression(select.where),
    )


_remembered = lru_cache(128)(_parse)


def _conditions(where: Expression | None) -> list[Expression]:
    """Those joined by AND at the top."""
    if where is None:
        return []
    if isinstance(where, Logical) and where.operator == "AND":
        return [each for operand in where.operands for each in _conditions(operand)]
    return [where]


def _template_of(condition: Expression) -> str | None:
    row = _row(condition)
    if row is None or row.path != _TEMPLATE or row.operator != "=" or not isinstance(row.value, str):
        return None
    return row.value


def _row(condition: Expression) -> FilterRow | None:
    match condition:
        # null and undefined are nothing that somebody types beside a name.
        case Comparison(operator, Path() as path, Constant(str() | bool() | int() | float() as value)):
            return FilterRow(str(path), operator, value)
    return None


def _plain(value: Any) -> Any:
    """The value of a property that was acknowledged (central.md W-4)."""
    return value["value"] if isinstance(value, Mapping) and "value" in value and "ac" in value else value


def _path(path: str) -> str:
    """A path as it was typed: what is no plain name is put into brackets, where none stand already."""
    if path.startswith("$") or "[[" in path:
        return path
    return ".".join(name if _is_plain(name) else f"[[{name}]]" for name in path.split("."))


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and name.upper() not in KEYWORDS


def _constant(value: Any) -> str:
    """JSON's strings, numbers, booleans and null are those of the language."""
    return json.dumps(value, ensure_ascii=False)

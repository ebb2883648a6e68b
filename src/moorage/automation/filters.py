"""How rules and exports choose: a device by its properties, a message by its values (contract/central.md RUL-1, CDE-6).

A filter names a value by its path, an operator, and what the value is compared with. Values are those of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from moorage.errors import Invalid

__all__ = [
    "ABSENT",
    "MAX_FILTERS",
    "OPERATORS",
    "Operator",
    "PropertyFilter",
    "Watched",
    "check_filter",
    "check_value",
    "compare",
    "is_kept",
    "is_number",
    "is_path",
    "look_up",
]

Operator = Literal[
    "equals",
    "not_equals",
    "greater",
    "greater_or_equal",
    "less",
    "less_or_equal",
    "contains",
    "starts_with",
    "ends_with",
    "exists",
]
OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)

# Of one rule or export.
MAX_FILTERS: Final = 20
_MAX_VALUE: Final = 1000
# A name of DTDL, below a component's name and a dot.
_PATH: Final = re.compile(r"[^\s\x00-\x1f]{1,200}")
# What is compared may be any JSON value, null included; this stands for "there is none".
ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class PropertyFilter:
    """Narrows the devices of a rule or an export."""

    path: str
    operator: Operator
    value: str | int | float | bool
    is_cloud: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """What rules and exports ask of a device.

    `properties` are the reported ones, unwrapped; those of `components` are objects in it.
    """

    device_id: str
    display_name: str
    template: str
    organization: str
    properties: Mapping[str, Any]
    cloud_properties: Mapping[str, Any]
    components: frozenset[str] = frozenset()
    etag: str = ""
    is_simulated: bool = False
    is_provisioned: bool = True
    is_approved: bool = True
    is_blocked: bool = False


def check_filter(narrowing: PropertyFilter, reason: str) -> None:
    """Raises `Invalid` (`reason`)."""
    if not is_path(narrowing.path):
        raise Invalid(reason, f"{narrowing.path[:80]!r} is no property: its name, below its component and a dot")
    check_value(narrowing.operator, narrowing.value, reason)


def check_value(operator: Operator, value: object, reason: str) -> None:
    """What a value is compared with. Raises `Invalid` (`reason`)."""
    if operator in ("greater", "greater_or_equal", "less", "less_or_equal") and not is_number(value):
        raise Invalid(reason, f"{str(value)[:40]!r} is no number, and only numbers are greater or less")
    if operator in ("contains", "starts_with", "ends_with") and not (isinstance(value, str) and value):
        raise Invalid(reason, "what a text is to hold, begin or end with is a text of at least one character")
    if isinstance(value, str) and len(value) > _MAX_VALUE:
        raise Invalid(reason, f"the value has {len(value)} characters, at most {_MAX_VALUE} are compared")


def is_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def look_up(values: Mapping[str, Any], path: str) -> Any:
    """The member at `name` or `component.name`, else `ABSENT`. A name may hold dots itself."""
    if path in values:
        return values[path]
    head, dot, rest = path.partition(".")
    inside = values.get(head)
    return look_up(inside, rest) if dot and isinstance(inside, Mapping) else ABSENT


def is_kept(narrowing: PropertyFilter, device: Watched) -> bool:
    where = device.cloud_properties if narrowing.is_cloud else device.properties
    return compare(look_up(where, narrowing.path), narrowing.operator, narrowing.value)


def compare(left: Any, operator: Operator, right: Any) -> bool:
    """Values of different kinds are never equal, greater or less; what is absent is not even other than something."""
    if left is ABSENT or (right is ABSENT and operator != "exists"):
        return False
    match operator:
        case "exists":
            return True
        case "equals":
            return _is_same(left, right)
        case "not_equals":
            return not _is_same(left, right)
        case "contains":
            return isinstance(left, str) and isinstance(right, str) and right in left
        case "starts_with":
            return isinstance(left, str) and isinstance(right, str) and left.startswith(right)
        case "ends_with":
            return isinstance(left, str) and isinstance(right, str) and left.endswith(right)
    if not is_number(left) or not is_number(right):
        return False
    match operator:
        case "greater":
            return bool(left > right)
        case "greater_or_equal":
            return bool(left >= right)
        case "less":
            return bool(left < right)
        case "less_or_equal":
            return bool(left <= right)


def _is_same(left: Any, right: Any) -> bool:
    # True is 1 in Python, and is not in JSON.
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)

"""What SELECT makes of rows: a row of projected members each, or one row of many by aggregates and GROUP BY.

Aggregates take rows one after the other and hold a few numbers a group. How many groups, and how much text their keys
take together, is bounded. `COUNT()` counts rows and `COUNT(x)` those where x is defined; `SUM` and `AVG` look at
numbers alone, `MIN` and `MAX` at numbers, or at strings where there is no number. What has no result is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from moorage.errors import Invalid
from moorage.query.evaluator import Evaluate, compile_expression
from moorage.query.functions import is_number, number_or_undefined
from moorage.query.syntax import UNDEFINED, Aggregate, Projection, Row, Select

__all__ = ["MAX_GROUPS", "Grouping", "projector"]

MAX_GROUPS: Final = 10_000
_MAX_KEY_CHARS: Final = 8 * 1024 * 1024

# The order of types among the keys of groups.
_UNDEFINED, _NULL, _BOOLEAN, _NUMBER, _STRING, _OTHER = range(6)


def projector(projections: tuple[Projection, ...]) -> Callable[[Row], dict[str, Any]]:
    """The function that makes of a row what is shown of it; a member that is undefined is left out."""
    elements = [
        (each.name, compile_expression(each.value)) for each in projections if not isinstance(each.value, Aggregate)
    ]

    def project(row: Row) -> dict[str, Any]:
        shown = {name: evaluate(row) for name, evaluate in elements}
        return {name: value for name, value in shown.items() if value is not UNDEFINED}

    return project


class Grouping:
    """The groups of an aggregate query, fed row by row."""

    def __init__(self, select: Select) -> None:
        self._projections = select.projections or ()
        self._keys = tuple(map(compile_expression, select.group_by))
        self._paths = select.group_by
        self._makers = tuple(_maker(each.value) for each in self._projections if isinstance(each.value, Aggregate))
        self._groups: dict[tuple[Any, ...], tuple[tuple[Any, ...], list[_Total]]] = {}
        self._key_chars = 0
        if not self._keys:
            # One row, whether anything was found or not.
            self._group(())

    def add(self, row: Row) -> None:
        """Raises `Invalid` (`query.groups`)."""
        for total in self._group(tuple(key(row) for key in self._keys)):
            total.add(row)

    def add_count(self, count: int) -> None:
        """So many rows that nothing but `COUNT()` looks at."""
        for total in self._group(()):
            assert isinstance(total, _Count)  # that is what `counts_alone` says
            total.count += count

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row each group, in order of the keys: undefined, null, booleans, numbers, strings."""
        for _, (values, totals) in sorted(self._groups.items(), key=lambda group: group[0]):
            keys = dict(zip(self._paths, values, strict=True))
            waiting = iter(totals)
            row = {}
            for each in self._projections:
                value = next(waiting).result() if isinstance(each.value, Aggregate) else keys[each.value]  # type: ignore[index]  # the parser lets no other expression through
                if value is not UNDEFINED:
                    row[each.name] = value
            yield row

    def _group(self, values: tuple[Any, ...]) -> list[_Total]:
        key = tuple(map(_group_key, values))
        found = self._groups.get(key)
        if found is None:
            if self._keys:
                self._check_room(key)
            # A row may make its objects when they are asked for, and is gone once the group is shown.
            plain = tuple(
                json.loads(text) if kind == _OTHER else value for (kind, text), value in zip(key, values, strict=True)
            )
            found = self._groups[key] = (plain, [make() for make in self._makers])
        return found[1]

    def _check_room(self, key: tuple[Any, ...]) -> None:
        self._key_chars += sum(len(part[1]) for part in key if isinstance(part[1], str))
        if len(self._groups) < MAX_GROUPS and self._key_chars <= _MAX_KEY_CHARS:
            return
        raise Invalid(
            "query.groups",
            f"GROUP BY {', '.join(map(str, self._paths))[:200]} makes more than {MAX_GROUPS} groups, or keys of more "
            f"than {_MAX_KEY_CHARS // (1024 * 1024)} MiB",
            fix="select fewer rows with WHERE, or group by a member with fewer values",
        )


def _group_key(value: Any) -> tuple[int, Any]:
    """Hashable, ordered, and equal for values that are the same."""
    if value is UNDEFINED:
        return _UNDEFINED, 0
    if value is None:
        return _NULL, 0
    if isinstance(value, bool):
        return _BOOLEAN, value
    if isinstance(value, (int, float)):
        return _NUMBER, value
    if isinstance(value, str):
        return _STRING, value
    return _OTHER, json.dumps(value, sort_keys=True, default=dict)


class _Total:
    def __init__(self, argument: Evaluate | None) -> None:
        self._argument = argument

    def add(self, row: Row) -> None:
        value = UNDEFINED if self._argument is None else self._argument(row)
        if value is not UNDEFINED:
            self.take(value)

    def take(self, value: Any) -> None:
        raise NotImplementedError

    def result(self) -> Any:
        raise NotImplementedError


class _Count(_Total):
    count = 0

    def add(self, row: Row) -> None:
        if self._argument is None or self._argument(row) is not UNDEFINED:
            self.count += 1

    def result(self) -> int:
        return self.count


class _Sum(_Total):
    total: float = 0
    count = 0

    def take(self, value: Any) -> None:
        if is_number(value):
            self.total += value
            self.count += 1

    def result(self) -> Any:
        return number_or_undefined(self.total)


class _Average(_Sum):
    def result(self) -> Any:
        return number_or_undefined(self.total / self.count) if self.count else UNDEFINED


class _Extreme(_Total):
    """The least or the greatest number, or string when there was no number."""

    def __init__(self, argument: Evaluate | None, choose: Callable[[Any, Any], Any]) -> None:
        super().__init__(argument)
        self._choose = choose
        self._number: Any = UNDEFINED
        self._text: Any = UNDEFINED

    def take(self, value: Any) -> None:
        if is_number(value):
            self._number = value if self._number is UNDEFINED else self._choose(self._number, value)
        elif isinstance(value, str):
            self._text = value if self._text is UNDEFINED else self._choose(self._text, value)

    def result(self) -> Any:
        return self._text if self._number is UNDEFINED else self._number


def _maker(aggregate: Aggregate) -> Callable[[], _Total]:
    argument = None if aggregate.argument is None else compile_expression(aggregate.argument)
    match aggregate.kind:
        case "COUNT":
            return lambda: _Count(argument)
        case "SUM":
            return lambda: _Sum(argument)
        case "AVG":
            return lambda: _Average(argument)
        case "MIN":
            return lambda: _Extreme(argument, min)
        case "MAX":
            return lambda: _Extreme(argument, max)

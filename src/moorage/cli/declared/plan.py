"""What would have to change: a declaration beside what the hub holds. Knows neither files nor the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moorage.cli.declared.model import Declared, Kind, Member, Spec

__all__ = ["Change", "Difference", "compare"]

_HIDDEN = "(secret)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One member, by its path; `before` is None where there was nothing. Secrets are hidden already."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    declared: Declared
    action: Literal["create", "update", "none"]
    differences: tuple[Difference, ...]


def compare(declared: Declared, kind: Kind, present: Spec | None) -> Change:
    """`present` is in the words of the files, None when there is no such thing yet."""
    members = {name: member for name, member in kind.members.items() if not member.is_input}
    wanted = {name: value for name, value in declared.spec.items() if name in members}
    found = present or {}
    differences = tuple(
        difference
        for name, value in wanted.items()
        for difference in _differences(name, members[name], found.get(name, members[name].default), value)
    )
    if present is None:
        return Change(declared, "create", differences)
    return Change(declared, "update" if differences else "none", differences)


def _differences(path: str, member: Member, before: Any, after: Any) -> Iterator[Difference]:
    if member.merges:
        yield from _merged(path, before or {}, after)
    elif not _same(before, after):
        yield Difference(
            path, _HIDDEN if before and member.is_secret else before, _HIDDEN if member.is_secret else after
        )


def _merged(path: str, before: Any, after: Mapping[str, Any]) -> Iterator[Difference]:
    """Member by member, as a twin's patch does it: null removes, tables merge, anything else replaces."""
    known = before if isinstance(before, Mapping) else {}
    for name, value in after.items():
        place = f"{path}.{name}"
        if isinstance(value, Mapping):
            inner = tuple(_merged(place, known.get(name), value))
            # A table with nothing to put in it is still one that was not there.
            yield from (
                inner if inner or isinstance(known.get(name), Mapping) else [Difference(place, known.get(name), {})]
            )
        elif not _same(known.get(name), value):
            yield Difference(place, known.get(name), value)


def _same(one: Any, other: Any) -> bool:
    """As JSON: 1 and 1.0 are, and true is neither."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)

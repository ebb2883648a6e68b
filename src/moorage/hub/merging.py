"""Documents changed by path, and what several configurations make of one document together.

A path names a section of desired properties by its members: `properties.desired.a.b` is `("a", "b")`. Layers are
ranked: the higher priority wins, then the newer one, path by path (contract/services.md 2.10). Whoever wins sets its
section whole; deeper paths of a higher layer go on top of it, deeper paths of a lower one vanish under it.

    ranked layers ──► `effective` ──► settings that count, lowest first ──► `apply_settings` ──► the wanted document
                                                                            `difference`     ──► the patch to write
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Layer", "Path", "Setting", "apply_settings", "difference", "effective", "is_same", "remove_at", "set_at"]

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """`value` at `path`; None takes away what is there. `owner` is the layer that wants it."""

    path: Path
    value: Any
    owner: str


@dataclass(frozen=True, slots=True)
class Layer:
    """What one configuration sets, in the order in which its content names it."""

    owner: str
    settings: Mapping[Path, Any]


def effective(layers: Sequence[Layer]) -> list[Setting]:
    """The settings that count, in the order in which to apply them. `layers` come lowest first.

    A setting does not count when a higher layer sets the same section, or one around it.
    """
    kept: list[Setting] = []
    covered: set[Path] = set()
    for layer in reversed(layers):
        mine = [
            Setting(path, value, layer.owner)
            for path, value in layer.settings.items()
            if not any(path[:length] in covered for length in range(len(path) + 1))
        ]
        # Within one layer a section goes before what is inside of it, however the content orders them.
        kept[:0] = sorted(mine, key=lambda setting: len(setting.path))
        covered.update(layer.settings)
    return kept


def apply_settings(
    document: Mapping[str, Any], settings: Iterable[Setting], *, held: Iterable[Path] = ()
) -> dict[str, Any]:
    """`document` without the sections that were `held` before, and with `settings` in it."""
    wanted = dict(document)
    for path in held:
        wanted = remove_at(wanted, path)
    for setting in settings:
        wanted = set_at(wanted, setting.path, setting.value)
    return wanted


def set_at(document: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy with `value` at `path`, in place of what was there or was in the way. None takes the member away.

    An empty path is the document itself.
    """
    if not path:
        return _without_nulls(value) if isinstance(value, Mapping) else {}
    head, rest = path[0], path[1:]
    copy = dict(document)
    if not rest:
        if value is None:
            copy.pop(head, None)
        else:
            copy[head] = _without_nulls(value) if isinstance(value, Mapping) else value
        return copy
    inner = copy.get(head)
    if value is None and not isinstance(inner, Mapping):
        return copy
    copy[head] = set_at(inner if isinstance(inner, Mapping) else {}, rest, value)
    return copy


def remove_at(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A copy without the section at `path`, and without the members around it that are empty then."""
    copy = dict(document)
    head, rest = path[0], path[1:]
    inner = copy.get(head)
    if not rest:
        copy.pop(head, None)
    elif isinstance(inner, Mapping):
        left = remove_at(inner, rest)
        if left or not inner:
            copy[head] = left
        else:
            del copy[head]
    return copy


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest merge patch that makes `after` of `before`; empty when they are the same. `after` has no nulls."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        present = before.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            inner = difference(present, value)
            if inner:
                patch[key] = inner
        elif key not in before or not is_same(present, value):
            patch[key] = value
    return patch


def is_same(one: Any, other: Any) -> bool:
    """As JSON tells values apart: true is not 1. The order of members does not count."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(member) if isinstance(member, Mapping) else member
        for key, member in value.items()
        if member is not None
    }

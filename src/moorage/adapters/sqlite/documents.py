"""Frozen dataclasses as JSON documents and back, by their own type hints: what would take ten columns takes one.

    plain(rule, secrets)          {"display_name": "Too hot", "conditions": [{"path": ...}], ...}
    made(Rule, document, secrets) the rule again

A `Secret` is put aside into the list `secrets`, which is sealed, and its place in that list stands in the document.
Every object says under `$` which class it was. A member that is absent takes its default, so that a class may grow; to
rename a class or a member, or to change what one means, needs a migration.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from moorage.adapters.sqlite.values import from_micros, to_micros
from moorage.ids import Secret

__all__ = ["made", "plain"]

T = TypeVar("T")

_CLASS: Final = "$"


def plain(value: Any, secrets: list[Secret]) -> Any:
    """What JSON can hold of `value`: a dataclass, or what stands in one."""
    match value:
        case Secret():
            secrets.append(value)
            return len(secrets) - 1
        case datetime():
            return to_micros(value)
        case tuple() | list():
            return [plain(each, secrets) for each in value]
        case Mapping():
            return {name: plain(each, secrets) for name, each in value.items()}
    if is_dataclass(value):
        members = {each.name: plain(getattr(value, each.name), secrets) for each in fields(value)}
        return {_CLASS: type(value).__name__, **members}
    return value


def made(kind: type[T], document: Any, secrets: list[Secret]) -> T:
    """`document` as a `kind` again."""
    value: T = _made(kind, document, secrets)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _made(hint: Any, document: Any, secrets: list[Secret]) -> Any:
    if hasattr(hint, "__supertype__"):
        return _made(hint.__supertype__, document, secrets)
    if hint is Secret:
        return secrets[document]
    if hint is datetime:
        return from_micros(document)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, document, secrets)
    if origin is tuple:
        return tuple(_made(arguments[0], each, secrets) for each in document)
    if origin is Literal or not is_dataclass(hint):
        return document
    return _dataclass(hint, document, secrets)


def _one_of(hints: tuple[Any, ...], document: Any, secrets: list[Secret]) -> Any:
    if document is None:
        return None
    if isinstance(document, dict) and _CLASS in document:
        named = [each for each in hints if getattr(each, "__name__", "") == document[_CLASS]]
        return _made(named[0], document, secrets)
    rest = [each for each in hints if each is not types.NoneType]
    return _made(rest[0], document, secrets) if len(rest) == 1 else document


def _dataclass(kind: Any, document: Mapping[str, Any], secrets: list[Secret]) -> Any:
    hints = _hints(kind)
    values = {}
    for member in fields(kind):
        if member.name in document:
            values[member.name] = _made(hints[member.name], document[member.name], secrets)
        elif member.default is MISSING and member.default_factory is MISSING:
            raise ValueError(f"the stored {kind.__name__} has no {member.name}")
    return kind(**values)

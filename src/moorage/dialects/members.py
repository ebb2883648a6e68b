"""Members of a JSON object from outside, each of the kind it has to be. A missing one and a null one are the same.

Every function raises `Invalid` (`body.member`) with the member's name, or with `path` where that says more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from moorage.errors import Invalid

__all__ = [
    "MAX_OBJECTS",
    "check_members",
    "check_same",
    "get_boolean",
    "get_choice",
    "get_object",
    "get_objects",
    "get_text",
    "get_texts",
    "get_whole",
    "need_text",
]

MAX_OBJECTS: Final = 200

Default = TypeVar("Default")
Choice = TypeVar("Choice")


def get_object(body: Mapping[str, Any], member: str, path: str = "") -> Mapping[str, Any] | None:
    value = body.get(member)
    if value is not None and not isinstance(value, Mapping):
        raise Invalid("body.member", f"{path or member} is a {type(value).__name__}, it has to be an object")
    return value


def get_text(body: Mapping[str, Any], member: str, path: str = "") -> str | None:
    value = body.get(member)
    if value is not None and not isinstance(value, str):
        raise Invalid("body.member", f"{path or member} is a {type(value).__name__}, it has to be a string")
    return value


def need_text(body: Mapping[str, Any], member: str, path: str = "") -> str:
    value = get_text(body, member, path)
    if not value:
        raise Invalid("body.member", f"{path or member} is missing")
    return value


def get_texts(body: Mapping[str, Any], member: str, path: str = "") -> list[str]:
    """An array of strings; [] where there is none."""
    value = body.get(member)
    if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise Invalid("body.member", f"{path or member} has to be an array of strings")
    return value or []


def get_objects(body: Mapping[str, Any], member: str, path: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    """An array of objects, each with its own path; [] where there is none. Of more than `MAX_OBJECTS` none is read: the
    event loop has no time for it (decisions S8), and nothing that has such an array takes as many.
    """
    value, where = body.get(member), path or member
    if value is not None and not (isinstance(value, list) and all(isinstance(each, Mapping) for each in value)):
        raise Invalid("body.member", f"{where} has to be an array of objects")
    if value and len(value) > MAX_OBJECTS:
        raise Invalid("body.member", f"{where} has {len(value)} entries, at most {MAX_OBJECTS} are read")
    return [(f"{where}[{number}]", each) for number, each in enumerate(value or [])]


def get_choice(body: Mapping[str, Any], member: str, choices: Mapping[str, Choice], path: str = "") -> Choice | None:
    """What one of some words stands for."""
    text = get_text(body, member, path)
    if text is not None and text not in choices:
        raise Invalid("body.member", f"{path or member} is {text[:40]!r}, it has to be one of {', '.join(choices)}")
    return None if text is None else choices[text]


def get_boolean(body: Mapping[str, Any], member: str, path: str, *, default: Default) -> bool | Default:
    """Also as text, as some clients spell it (contract/services.md R-11)."""
    value = body.get(member)
    if value is None:
        return default
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise Invalid("body.member", f"{path} is a {type(value).__name__}, it has to be true or false")
    return value


def get_whole(body: Mapping[str, Any], member: str, path: str = "") -> int | None:
    """Also as text (contract/services.md R-11), and with a fraction that is zero."""
    value = body.get(member)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Invalid("body.member", f"{path or member} is {str(value)[:40]!r}, it has to be a whole number")
    return value


def check_members(body: Mapping[str, Any], known: Sequence[str], path: str = "") -> None:
    """A misspelt member is told, not dropped."""
    strange = [name for name in body if name not in known]
    if strange:
        raise Invalid(
            "body.member",
            f"{path or 'the body'} has the member {strange[0][:60]!r}, which means nothing here; it takes "
            f"{', '.join(known)}",
        )


def check_same(body: Mapping[str, Any], member: str, expected: str) -> None:
    """Raises `Invalid` (`body.id`) when the body names another thing than the path does; it need not name it."""
    value = body.get(member)
    if value is not None and value != expected:
        raise Invalid("body.id", f"{member} in the body is {str(value)[:140]!r}, the path says {expected!r}")

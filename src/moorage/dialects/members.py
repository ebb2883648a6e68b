"""Members of a JSON object from outside, each of the kind it has to be. A missing one and a null one are the same.

Every function raises `Invalid` (`body.member`) with the member's name, or with `path` where that says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from moorage.errors import Invalid

__all__ = ["check_same", "get_boolean", "get_object", "get_text", "get_whole"]

Default = TypeVar("Default")


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


def get_whole(body: Mapping[str, Any], member: str) -> int | None:
    """Also as text (contract/services.md R-11), and with a fraction that is zero."""
    value = body.get(member)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Invalid("body.member", f"{member} is {str(value)[:40]!r}, it has to be a whole number")
    return value


def check_same(body: Mapping[str, Any], member: str, expected: str) -> None:
    """Raises `Invalid` (`body.id`) when the body names another thing than the path does; it need not name it."""
    value = body.get(member)
    if value is not None and value != expected:
        raise Invalid("body.id", f"{member} in the body is {str(value)[:140]!r}, the path says {expected!r}")

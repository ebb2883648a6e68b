"""What is wrong with a model, and where: every "no" names the place as a JSON path."""

from __future__ import annotations

import json
import re
from typing import Final

from moorage.errors import Invalid

__all__ = ["InvalidModel", "child", "line_of", "shown"]

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEP: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]|\[(\"(?:[^\"\\]|\\.)*\")\]")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_SHOWN: Final = 80
_DECODER: Final = json.JSONDecoder()


class InvalidModel(Invalid):
    """A document that is no model. `path` is the place the sentence speaks of, such as `$.contents[2].schema`."""

    def __init__(self, reason: str, path: str, message: str, *, fix: str = "") -> None:
        super().__init__(reason, f"{path}: {message}", fix=fix)
        self.path = path


def child(path: str, member: str | int) -> str:
    """The path of a member of an object, or of an element of an array."""
    if isinstance(member, int):
        return f"{path}[{member}]"
    return f"{path}.{member}" if _PLAIN_NAME.fullmatch(member) else f"{path}[{json.dumps(member[:_SHOWN])}]"


def shown(value: object) -> str:
    """A value as it is quoted in a sentence: short, whatever it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def line_of(text: str, path: str) -> int:
    """The line, from 1, at which the place begins in the JSON `text`: as deep as the path can be followed."""
    at = _skip(text, 0)
    try:
        for name, index, quoted in _STEP.findall(path.removeprefix("$")):
            at = _element(text, at, int(index)) if index else _member(text, at, name or json.loads(quoted))
    except (LookupError, ValueError):
        # What the path says is missing, or the text has changed since: the place reached so far.
        pass
    return text.count("\n", 0, at) + 1


def _member(text: str, at: int, wanted: str) -> int:
    if text[at] != "{":
        raise LookupError(wanted)
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        if name == wanted:
            return at
        at = _next(text, _end(text, at))
    raise LookupError(wanted)


def _element(text: str, at: int, wanted: int) -> int:
    if text[at] != "[":
        raise LookupError(wanted)
    at = _skip(text, at + 1)
    for _ in range(wanted):
        if text[at] == "]":
            raise LookupError(wanted)
        at = _next(text, _end(text, at))
    return at


def _end(text: str, at: int) -> int:
    end: int = _DECODER.raw_decode(text, at)[1]
    return end


def _next(text: str, at: int) -> int:
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at

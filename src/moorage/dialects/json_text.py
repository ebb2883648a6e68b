"""JSON from outside, read without surprises.

The standard library's parser recurses, takes `NaN`, and lets half a surrogate pair through; each of these would come
out again as an error somewhere inside. Here nesting is bounded before the parser sees the text, and what is returned
can always be written back as JSON in UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import accumulate, count
from operator import sub
from typing import Any, Final

from moorage.errors import Invalid

__all__ = ["MAX_DEPTH", "encode_json", "parse_json", "parse_object"]

# More than any document the contract knows (a twin sent back whole with its metadata has 14), less than any stack.
MAX_DEPTH: Final = 64

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_WEIGHTS = bytes.maketrans(b"[]{}", b"\2\0\2\0")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(data: bytes, *, what: str, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `data` spells. `what` names the text in messages: "the body".

    Raises `Invalid`: `json.malformed` naming line and column, `json.depth`, `json.number` for NaN, infinities and
    numbers too large to hold, `json.text` for what is not UTF-8 or holds half a surrogate pair.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid("json.text", f"{what} is not UTF-8: byte {error.start} does not fit") from None
    _check_depth(data, what, max_depth)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Invalid(
            "json.malformed", f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except _NumberError as error:
        raise Invalid("json.number", f"{what} holds {error}, which cannot be kept as a number") from None
    if _SURROGATE_ESCAPE.search(data):
        try:
            encode_json(value)
        except UnicodeEncodeError:
            raise Invalid("json.text", f"{what} holds half of a surrogate pair (\\ud800 to \\udfff)") from None
    return value


def parse_object(data: bytes, *, what: str, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """As `parse_json`, and it has to be an object (`json.not_object`)."""
    value = parse_json(data, what=what, max_depth=max_depth)
    if not isinstance(value, dict):
        raise Invalid("json.not_object", f"{what} is a JSON {_kind(value)}, it has to be an object")
    return value


def encode_json(value: Any) -> bytes:
    """Compact UTF-8. Takes any `Mapping` where `json.dumps` takes only `dict`."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


class _NumberError(ValueError):
    pass


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _NumberError(text[:40])
    return number


def _integer(text: str) -> int:
    # Beyond 64 bits no client can hold it, and Python's own limit on digits would speak in its own words.
    if len(text) > 20:
        raise _NumberError(text[:40] + "…")
    return int(text)


def _refuse_constant(text: str) -> float:
    raise _NumberError(text)


# Made once: `json.loads` makes one for each call that has hooks. As its own default one, threads may share it.
_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant, parse_int=_integer)


def _check_depth(data: bytes, what: str, max_depth: int) -> None:
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    # Only brackets outside strings count. An opening one weighs 2 and a closing one 0; what has been weighed so far,
    # less how many that were, is the depth there. Every step of it runs in C.
    brackets = _STRING.sub(b"", data).translate(_WEIGHTS, _NOT_BRACKETS)
    if max(map(sub, accumulate(brackets), count(1)), default=0) > max_depth:
        raise Invalid("json.depth", f"{what} is nested deeper than {max_depth} levels")


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else "array"

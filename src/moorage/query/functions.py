"""The functions of the language: `IS_DEFINED` as twin queries have it, and those of message routes.

A function gets values as they are, `UNDEFINED` included, and returns `UNDEFINED` for values of another type than it
takes, for results that are no finite number, and for texts that would grow beyond `MAX_TEXT`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.query.syntax import UNDEFINED

__all__ = ["FUNCTIONS", "MAX_TEXT", "Function", "equal", "is_number", "number_or_undefined"]

# Nesting CONCAT doubles a text at every level.
MAX_TEXT: Final = 64 * 1024
_EXACT: Final = 2**53


@dataclass(frozen=True, slots=True)
class Function:
    """`most` is None when it takes any number of arguments."""

    call: Callable[..., Any]
    least: int
    most: int | None
    usage: str


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> Any:
    """Of two values of one primitive type whether they are the same; otherwise undefined."""
    if is_number(left):
        return left == right if is_number(right) else UNDEFINED
    if left is None or isinstance(left, (str, bool)):
        return left == right if type(left) is type(right) else UNDEFINED
    return UNDEFINED


def number_or_undefined(number: int | float) -> Any:
    """A result as JSON shows it: 8 and not 8.0, a double beyond what a double tells apart; undefined beyond that."""
    if isinstance(number, int):
        return number if -_EXACT <= number <= _EXACT else _as_double(number)
    if not math.isfinite(number):
        return UNDEFINED
    return int(number) if -_EXACT <= number <= _EXACT and number.is_integer() else number


def _as_double(number: int) -> Any:
    try:
        return float(number)
    except OverflowError:
        return UNDEFINED


def _of_numbers(function: Callable[..., int | float]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        if not all(map(is_number, values)):
            return UNDEFINED
        try:
            return number_or_undefined(function(*values))
        except (ValueError, OverflowError, ZeroDivisionError):
            # The square root of a negative number, a power beyond every double.
            return UNDEFINED

    return call


def _of_texts(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        if not all(isinstance(value, str) for value in values):
            return UNDEFINED
        result = function(*values)
        return UNDEFINED if isinstance(result, str) and len(result) > MAX_TEXT else result

    return call


def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _substring(text: Any, start: Any, length: Any = None) -> Any:
    """From 0; what lies outside of the text is left out."""
    if not isinstance(text, str) or not is_number(start) or not (length is None or is_number(length)):
        return UNDEFINED
    begin = max(0, min(int(start), len(text)))
    if length is None:
        return text[begin:]
    return text[begin : begin + max(0, min(int(length), len(text)))]


def _concat(*texts: str) -> Any:
    return UNDEFINED if sum(map(len, texts)) > MAX_TEXT else "".join(texts)


def _as_number(text: str) -> Any:
    if len(text) > 40 or not text.isascii() or "_" in text:
        return UNDEFINED
    try:
        return number_or_undefined(int(text))
    except ValueError:
        pass
    try:
        return number_or_undefined(float(text))
    except ValueError:
        return UNDEFINED


def _number_of(value: Any) -> Any:
    """A number is one already: a body may hold either."""
    if is_number(value):
        return value
    return _as_number(value) if isinstance(value, str) else UNDEFINED


def _array_contains(array: Any, value: Any) -> Any:
    if not isinstance(array, (list, tuple)):
        return UNDEFINED
    return any(equal(item, value) is True for item in array)


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "IS_DEFINED": Function(lambda value: value is not UNDEFINED, 1, 1, "IS_DEFINED(path)"),
    "IS_NULL": Function(lambda value: value is None, 1, 1, "IS_NULL(value)"),
    "IS_BOOL": Function(_is(bool), 1, 1, "IS_BOOL(value)"),
    "IS_NUMBER": Function(is_number, 1, 1, "IS_NUMBER(value)"),
    "IS_STRING": Function(_is(str), 1, 1, "IS_STRING(value)"),
    "IS_ARRAY": Function(_is(list, tuple), 1, 1, "IS_ARRAY(value)"),
    "IS_OBJECT": Function(_is(Mapping), 1, 1, "IS_OBJECT(value)"),
    "IS_PRIMITIVE": Function(_is(str, bool, int, float, type(None)), 1, 1, "IS_PRIMITIVE(value)"),
    "ARRAY_CONTAINS": Function(_array_contains, 2, 2, "ARRAY_CONTAINS(array, value)"),
    "AS_NUMBER": Function(_number_of, 1, 1, "AS_NUMBER(text)"),
    "ABS": Function(_of_numbers(abs), 1, 1, "ABS(number)"),
    "EXP": Function(_of_numbers(math.exp), 1, 1, "EXP(number)"),
    "POWER": Function(_of_numbers(_power), 2, 2, "POWER(base, exponent)"),
    "SQUARE": Function(_of_numbers(lambda value: value * value), 1, 1, "SQUARE(number)"),
    "SQRT": Function(_of_numbers(math.sqrt), 1, 1, "SQRT(number)"),
    "CEILING": Function(_of_numbers(math.ceil), 1, 1, "CEILING(number)"),
    "FLOOR": Function(_of_numbers(math.floor), 1, 1, "FLOOR(number)"),
    "SIGN": Function(_of_numbers(_sign), 1, 1, "SIGN(number)"),
    "CONCAT": Function(_of_texts(_concat), 1, None, "CONCAT(text, ...)"),
    "LENGTH": Function(_of_texts(len), 1, 1, "LENGTH(text)"),
    "LOWER": Function(_of_texts(str.lower), 1, 1, "LOWER(text)"),
    "UPPER": Function(_of_texts(str.upper), 1, 1, "UPPER(text)"),
    "SUBSTRING": Function(_substring, 2, 3, "SUBSTRING(text, start[, length])"),
    "INDEX_OF": Function(_of_texts(str.find), 2, 2, "INDEX_OF(text, part)"),
    "STARTS_WITH": Function(_of_texts(str.startswith), 2, 2, "STARTS_WITH(text, beginning)"),
    "ENDS_WITH": Function(_of_texts(str.endswith), 2, 2, "ENDS_WITH(text, end)"),
    "CONTAINS": Function(_of_texts(lambda text, part: part in text), 2, 2, "CONTAINS(text, part)"),
}

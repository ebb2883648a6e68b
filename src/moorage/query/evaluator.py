"""What an expression means for a row: the definition of the language, against which every index is tested.

An expression becomes a function of the row once, and is then called for each. Logic has three values: a comparison of
two values of different types is neither true nor false but undefined, and so is what is made of it, unless the other
operand decides alone (`false AND undefined` is false, `true OR undefined` is true). A row is selected when its
condition is true.

    =  !=  <  <=  >  >=    two numbers, two strings (by code point), two booleans (false < true), null and null
    IN                     true when an item equals; undefined for what is never equal (undefined, arrays, objects), and
                           for a list that is none; NIN is its negation
    + - * / %              of two numbers; division by zero and what no double holds are undefined; % has the sign of
                           its first operand
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from moorage.query.functions import FUNCTIONS, equal, is_number, number_or_undefined
from moorage.query.syntax import (
    UNDEFINED,
    ArrayOf,
    Call,
    Chain,
    Comparison,
    Constant,
    Expression,
    Logical,
    Membership,
    Negative,
    Not,
    Path,
    Row,
)

__all__ = ["Evaluate", "compile_expression", "is_true"]

Evaluate = Callable[[Row], Any]

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# For None, which Python does not order: as if it were a number that is always the same.
_NULL: Final = 0


def is_true(expression: Expression | None, row: Row) -> bool:
    """Whether the row is selected; without a condition every row is."""
    return expression is None or compile_expression(expression)(row) is True


def compile_expression(expression: Expression) -> Evaluate:
    """The function from rows to values that `expression` is."""
    match expression:
        case Constant(value):
            return lambda row: value
        case Path(names):
            return _path(names)
        case ArrayOf(items):
            each = tuple(map(compile_expression, items))
            return lambda row: [item(row) for item in each]
        case Not(operand):
            return _not(compile_expression(operand))
        case Negative(operand):
            return _negative(compile_expression(operand))
        case Logical(kind, operands):
            return _logical(tuple(map(compile_expression, operands)), decided_by=kind == "OR")
        case Comparison(sign, left, right):
            return _comparison(_ORDER[sign], compile_expression(left), compile_expression(right))
        case Membership(operand, items, is_negated):
            found = _membership(compile_expression(operand), items)
            return _not(found) if is_negated else found
        case Chain(first, rest):
            return _chain(
                compile_expression(first), tuple((sign, compile_expression(operand)) for sign, operand in rest)
            )
        case Call(name, arguments):
            return _call(FUNCTIONS[name].call, tuple(map(compile_expression, arguments)))


def _path(names: tuple[str, ...]) -> Evaluate:
    field, below = names[0], names[1:]

    def path(row: Row) -> Any:
        value = row.get(field, UNDEFINED)
        for name in below:
            if not isinstance(value, dict) and not isinstance(value, Mapping):
                return UNDEFINED
            value = value.get(name, UNDEFINED)
        return value

    return path


def _not(operand: Evaluate) -> Evaluate:
    def negation(row: Row) -> Any:
        value = operand(row)
        return (not value) if value is True or value is False else UNDEFINED

    return negation


def _negative(operand: Evaluate) -> Evaluate:
    def negative(row: Row) -> Any:
        value = operand(row)
        return -value if is_number(value) else UNDEFINED

    return negative


def _logical(operands: tuple[Evaluate, ...], *, decided_by: bool) -> Evaluate:
    """AND is decided by the first false operand, OR by the first true one."""
    otherwise = not decided_by

    def logical(row: Row) -> Any:
        result: Any = otherwise
        for operand in operands:
            value = operand(row)
            if value is decided_by:
                return decided_by
            if value is not otherwise:
                result = UNDEFINED
        return result

    return logical


def _comparison(compare: Callable[[Any, Any], bool], left: Evaluate, right: Evaluate) -> Evaluate:
    def comparison(row: Row) -> Any:
        a, b = left(row), right(row)
        if isinstance(a, str):
            return compare(a, b) if isinstance(b, str) else UNDEFINED
        if isinstance(a, bool):
            return compare(a, b) if isinstance(b, bool) else UNDEFINED
        if isinstance(a, (int, float)):
            return compare(a, b) if is_number(b) else UNDEFINED
        return compare(_NULL, _NULL) if a is None and b is None else UNDEFINED

    return comparison


def _membership(operand: Evaluate, items: Expression) -> Evaluate:
    if isinstance(items, ArrayOf) and all(isinstance(item, Constant) for item in items.items):
        # A list of a thousand ids is looked up, not gone through; the type goes along, since 1 == True in Python.
        constants = frozenset(
            (_kind(item.value), item.value) for item in items.items if isinstance(item, Constant) and _kind(item.value)
        )

        def among(row: Row) -> Any:
            value = operand(row)
            kind = _kind(value)
            return (kind, value) in constants if kind else UNDEFINED

        return among
    listed = compile_expression(items)

    def membership(row: Row) -> Any:
        value, array = operand(row), listed(row)
        if not _kind(value) or not isinstance(array, (list, tuple)):
            return UNDEFINED
        return any(equal(value, item) is True for item in array)

    return membership


def _kind(value: Any) -> str:
    """The primitive type of a value, '' for what has none."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "null" if value is None else ""


def _chain(first: Evaluate, rest: tuple[tuple[str, Evaluate], ...]) -> Evaluate:
    def chain(row: Row) -> Any:
        result = first(row)
        for sign, operand in rest:
            value = operand(row)
            if not is_number(result) or not is_number(value):
                return UNDEFINED
            result = _calculate(sign, result, value)
        return result

    return chain


def _calculate(sign: str, left: float, right: float) -> Any:
    match sign:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "/" if right != 0:
            result = left / right
        case "%" if right != 0:
            result = math.fmod(left, right)
        case _:
            return UNDEFINED
    return number_or_undefined(result)


def _call(function: Callable[..., Any], arguments: tuple[Evaluate, ...]) -> Evaluate:
    if len(arguments) == 1:
        (argument,) = arguments
        return lambda row: function(argument(row))
    return lambda row: function(*(argument(row) for argument in arguments))

"""Generated documents and expressions over them, for property tests.

Names and values come from small pools, so that what is asked for is often there, and the pools hold what has gone wrong
in such places before: values that look like another type, NUL, both ends of Unicode, numbers next to each other.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
)

__all__ = ["POOL", "expressions", "leaves", "members", "names", "numbers", "texts", "values"]

_NAMES = ("a", "b", "c", "A", "n-1", "é", "[x]", "it's", '"q"', "back\\slash", "日本")
_TEXTS = (
    "",
    "a",
    "ab",
    "b",
    "B",
    "é",
    "a\x00",
    "a\x00b",
    "\x00",
    "\x01",
    "\x01\x02",
    "1",
    "true",
    "null",
    '["a"]',
    '{"a":1}',
    '"',
    "\\u0000",
    "%",
    "_",
    "\ud7ff",
    "\ue000",
    "\U0010ffff",
    "a\U0010ffff",
    "😀",
    "x" * 199,
    "x" * 200,
    "x" * 201,
    "x" * 200 + "y",
)
_NUMBERS = (0, 1, -1, 2, 7, 1.0, -0.0, 0.1, 0.2, 0.30000000000000004, 0.3, 1e300, 5e-324, 2**52 - 1, -(2**52), 1.5)

POOL: tuple[str | float | bool, ...] = (*_TEXTS, *_NUMBERS, True, False)

names = st.sampled_from(_NAMES)
texts = st.sampled_from(_TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
numbers = st.sampled_from(_NUMBERS) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
_primitives = texts | numbers | st.booleans()
values: st.SearchStrategy[Any] = st.recursive(
    _primitives,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
members = st.dictionaries(names, values, max_size=4)
_constants: st.SearchStrategy[Expression] = st.builds(Constant, _primitives | st.sampled_from([None, UNDEFINED]))
_operators: Any = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_tests = st.sampled_from(["IS_DEFINED", "IS_ARRAY", "IS_BOOL", "IS_NUMBER", "IS_OBJECT", "IS_STRING", "IS_NULL"])
_of_two_texts = st.sampled_from(["STARTS_WITH", "ENDS_WITH", "CONTAINS"])


def leaves(paths: st.SearchStrategy[Path], constants: st.SearchStrategy[Expression] = _constants) -> Any:
    """Conditions with one path each, mostly of the kinds that an index could answer."""
    lists = st.lists(constants, max_size=4).map(lambda items: ArrayOf(tuple(items)))
    return st.one_of(
        st.builds(Comparison, _operators, paths, constants),
        st.builds(Comparison, _operators, constants, paths),
        st.builds(Membership, paths, lists, st.booleans()),
        st.builds(lambda name, path: Call(name, (path,)), _tests, paths),
        st.builds(lambda name, path, text: Call(name, (path, text)), _of_two_texts, paths, constants),
        paths,
    )


def expressions(paths: st.SearchStrategy[Path], leaf: Any = None) -> Any:
    """Conditions of any shape."""
    whole = leaves(paths) if leaf is None else leaf
    sums = st.builds(
        lambda first, operator, second: Chain(first, ((operator, second),)),
        paths | _constants,
        st.sampled_from(["+", "-", "*", "/", "%"]),
        paths | _constants,
    )
    odd = st.one_of(
        _constants,
        st.builds(Comparison, _operators, paths, paths),
        st.builds(Comparison, _operators, sums, _constants),
        st.builds(Comparison, _operators, st.builds(Negative, paths), _constants),
        st.builds(Membership, _constants, paths, st.booleans()),
        st.builds(lambda path, value: Call("ARRAY_CONTAINS", (path, value)), paths, _constants),
    )
    return st.recursive(
        whole | whole | odd,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(Logical, st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
        ),
        max_leaves=5,
    )

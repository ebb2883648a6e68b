"""What expressions mean for a row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.query.evaluator import compile_expression, is_true
from moorage.query.functions import FUNCTIONS, MAX_TEXT
from moorage.query.parser import parse_condition
from moorage.query.syntax import UNDEFINED, Expression, Logical, Membership, Not, Path
from tests.unit.query.expressions import expressions, leaves, members, names, values

ROW: dict[str, Any] = {
    "deviceId": "pump-01",
    "statusReason": None,
    "tags": {
        "site": "A",
        "floor": 3,
        "ratio": 0.5,
        "on": True,
        "list": ["a", 1, True],
        "object": {"x": 1},
        "empty": {},
    },
    "properties": {"reported": {"$version": 7, "text": "Grüße"}},
}


def value(text: str) -> Any:
    where = parse_condition(text, "devices").where
    assert where is not None
    return compile_expression(where)(ROW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tags.site", "A"),
        ("tags.Site", UNDEFINED),
        ("TAGS.site", "A"),
        ("tags.site.x", UNDEFINED),
        ("tags.list.x", UNDEFINED),
        ("tags.object", {"x": 1}),
        ("statusReason", None),
        ("statusReason.x", UNDEFINED),
        ("properties.reported.$version", 7),
        # Two values of one type are compared.
        ("tags.floor = 3", True),
        ("tags.floor = 3.0", True),
        ("tags.floor != 3", False),
        ("tags.floor < 4", True),
        ("4 > tags.floor", True),
        ("tags.floor <= 2", False),
        ("tags.site = 'A'", True),
        ("tags.site < 'a'", True),
        ("tags.site >= 'B'", False),
        ("tags.on = true", True),
        ("tags.on > false", True),
        ("tags.on != true", False),
        ("statusReason = null", True),
        ("statusReason != null", False),
        ("statusReason <= null", True),
        ("null < null", False),
        # Values of two types are not, and undefined is of none.
        ("tags.floor = '3'", UNDEFINED),
        ("tags.floor != '3'", UNDEFINED),
        ("tags.on = 1", UNDEFINED),
        ("1 = true", UNDEFINED),
        ("tags.site = null", UNDEFINED),
        ("tags.nothing = null", UNDEFINED),
        ("tags.nothing = tags.nothing", UNDEFINED),
        ("undefined = undefined", UNDEFINED),
        ("tags.list = tags.list", UNDEFINED),
        ("tags.object != 1", UNDEFINED),
        # Logic.
        ("true AND false", False),
        ("true AND true", True),
        ("true AND undefined", UNDEFINED),
        ("undefined AND false", False),
        ("undefined OR true", True),
        ("undefined OR false", UNDEFINED),
        ("false OR false", False),
        ("NOT true", False),
        ("NOT false", True),
        ("NOT undefined", UNDEFINED),
        ("NOT null", UNDEFINED),
        ("1 AND true", UNDEFINED),
        ("'a' OR true", True),
        ("tags.on", True),
        # Lists.
        ("tags.site IN ['A', 'B']", True),
        ("tags.site IN ['B']", False),
        ("tags.site IN []", False),
        ("tags.site NIN []", True),
        ("tags.floor IN ['3', 3.0]", True),
        ("tags.floor IN ['3']", False),
        ("tags.floor NIN ['3']", True),
        ("tags.on IN [1]", False),
        ("tags.nothing IN ['A']", UNDEFINED),
        ("tags.nothing NIN ['A']", UNDEFINED),
        ("tags.list IN ['A']", UNDEFINED),
        ("statusReason IN [null]", True),
        ("'a' IN tags.list", True),
        ("'b' IN tags.list", False),
        ("1 IN tags.list", True),
        ("'a' IN tags.site", UNDEFINED),
        ("tags.site IN [tags.site]", True),
        ("tags.site NOT IN ['A']", False),
        # Arithmetic.
        ("tags.floor + 1", 4),
        ("tags.floor - 5 * 2", -7),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("5.5 % 2", 1.5),
        ("1 / 0", UNDEFINED),
        ("1 % 0", UNDEFINED),
        ("-tags.floor", -3),
        ("-tags.site", UNDEFINED),
        ("tags.site + 'x'", UNDEFINED),
        ("tags.on + 1", UNDEFINED),
        ("1e308 * 10", UNDEFINED),
        ("9007199254740992 * 2", 18014398509481984.0),
        ("tags.nothing + 1", UNDEFINED),
        ("1 + tags.floor / 3 - 2", 0),
        # Functions of types.
        ("IS_DEFINED(tags.site)", True),
        ("IS_DEFINED(tags.nothing)", False),
        ("IS_DEFINED(statusReason)", True),
        ("IS_NULL(statusReason)", True),
        ("IS_NULL(tags.nothing)", False),
        ("IS_BOOL(tags.on)", True),
        ("IS_BOOL(tags.floor)", False),
        ("IS_NUMBER(tags.ratio)", True),
        ("IS_NUMBER(tags.on)", False),
        ("IS_STRING(tags.site)", True),
        ("IS_STRING(tags.nothing)", False),
        ("IS_ARRAY(tags.list)", True),
        ("IS_ARRAY(tags.object)", False),
        ("IS_OBJECT(tags)", True),
        ("IS_OBJECT(tags.empty)", True),
        ("IS_OBJECT(tags.list)", False),
        ("IS_PRIMITIVE(statusReason)", True),
        ("IS_PRIMITIVE(tags.list)", False),
        ("IS_PRIMITIVE(tags.nothing)", False),
        # Of arrays.
        ("ARRAY_CONTAINS(tags.list, 'a')", True),
        ("ARRAY_CONTAINS(tags.list, 'b')", False),
        ("ARRAY_CONTAINS(tags.list, true)", True),
        ("ARRAY_CONTAINS(tags.site, 'A')", UNDEFINED),
        # Of numbers.
        ("ABS(-3)", 3),
        ("EXP(0)", 1),
        ("EXP(1000)", UNDEFINED),
        ("POWER(2, 10)", 1024),
        ("POWER(0, -1)", UNDEFINED),
        ("SQUARE(1.5)", 2.25),
        ("SQRT(9)", 3),
        ("SQRT(-1)", UNDEFINED),
        ("CEILING(1.2)", 2),
        ("FLOOR(-1.2)", -2),
        ("SIGN(-9)", -1),
        ("SIGN(0)", 0),
        ("ABS('3')", UNDEFINED),
        ("ABS(tags.on)", UNDEFINED),
        # Of strings.
        ("AS_NUMBER('12')", 12),
        ("AS_NUMBER('1.50')", 1.5),
        ("AS_NUMBER('x')", UNDEFINED),
        ("AS_NUMBER('nan')", UNDEFINED),
        ("AS_NUMBER('1_0')", UNDEFINED),
        ("AS_NUMBER(1)", 1),
        ("CONCAT('a', tags.site, 'b')", "aAb"),
        ("CONCAT('a', 1)", UNDEFINED),
        ("LENGTH(properties.reported.text)", 5),
        ("LENGTH(tags.list)", UNDEFINED),
        ("LOWER('AbÉ')", "abé"),
        ("UPPER('abé')", "ABÉ"),
        ("SUBSTRING('abcdef', 2)", "cdef"),
        ("SUBSTRING('abcdef', 2, 3)", "cde"),
        ("SUBSTRING('abcdef', 9, 3)", ""),
        ("SUBSTRING('abcdef', -2, 3)", "abc"),
        ("SUBSTRING('abcdef', 1, -1)", ""),
        ("SUBSTRING('abcdef', '1')", UNDEFINED),
        ("SUBSTRING(1, 1)", UNDEFINED),
        ("INDEX_OF('abcabc', 'c')", 2),
        ("INDEX_OF('abc', 'x')", -1),
        ("STARTS_WITH(deviceId, 'pump')", True),
        ("STARTS_WITH(deviceId, 'Pump')", False),
        ("STARTS_WITH(tags.floor, '3')", UNDEFINED),
        ("ENDS_WITH(deviceId, '-01')", True),
        ("CONTAINS(deviceId, 'mp')", True),
        ("CONTAINS(deviceId, 1)", UNDEFINED),
    ],
)
def test_values(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_every_function_is_in_the_table_above() -> None:
    (table,) = (mark for mark in test_values.pytestmark if mark.name == "parametrize")
    tried = " ".join(text for text, _ in table.args[1])
    assert [name for name in FUNCTIONS if f"{name}(" not in tried] == []


def test_texts_do_not_grow_without_bound() -> None:
    text = "deviceId"
    for _ in range(20):
        text = f"CONCAT({text}, {text})" if text == "deviceId" else f"CONCAT({text}, deviceId)"
    assert isinstance(value(text), str)
    doubled: Any = "x" * (MAX_TEXT // 2 + 1)
    assert FUNCTIONS["CONCAT"].call(doubled, doubled) is UNDEFINED
    assert FUNCTIONS["UPPER"].call("ß" * (MAX_TEXT // 2 + 1)) is UNDEFINED


def test_only_true_selects() -> None:
    where = [
        parse_condition(text, "devices").where for text in ("true", "false", "undefined", "1", "tags.site", "tags.on")
    ]
    assert [is_true(each, ROW) for each in where] == [True, False, False, False, False, True]
    assert is_true(None, ROW)


# -- laws --------------------------------------------------------------------------------------------------------------

_paths = st.lists(names, min_size=1, max_size=2).map(lambda below: Path(tuple(below)))
_conditions = expressions(_paths)


@given(members, _conditions)
def test_conditions_have_three_values_and_raise_nothing(row: dict[str, Any], condition: Expression) -> None:
    found = compile_expression(condition)(row)
    assert compile_expression(Not(Not(condition)))(row) is (found if isinstance(found, bool) else UNDEFINED)


@given(members, _conditions, _conditions)
def test_and_and_or_are_each_other_negated(row: dict[str, Any], left: Expression, right: Expression) -> None:
    both = compile_expression(Not(Logical("AND", (left, right))))(row)
    assert both is compile_expression(Logical("OR", (Not(left), Not(right))))(row)
    assert both is compile_expression(Not(Logical("AND", (right, left))))(row)


@given(members, leaves(_paths))
def test_nin_is_not_in(row: dict[str, Any], leaf: Expression) -> None:
    if isinstance(leaf, Membership):
        negated = Membership(leaf.operand, leaf.items, not leaf.is_negated)
        assert compile_expression(negated)(row) is compile_expression(Not(leaf))(row)


@given(
    st.sampled_from(sorted(FUNCTIONS)), st.lists(values | st.sampled_from([None, UNDEFINED]), min_size=3, max_size=3)
)
def test_functions_take_any_value_and_give_what_json_has(name: str, arguments: list[Any]) -> None:
    function = FUNCTIONS[name]
    for count in range(function.least, min(function.most or 3, 3) + 1):
        found = function.call(*arguments[:count])
        if found is not UNDEFINED:
            json.dumps(found, allow_nan=False)

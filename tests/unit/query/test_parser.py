"""What query texts say, and where those that say nothing go wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid
from moorage.query.lexer import MAX_CHARS, MAX_TOKENS, tokenize
from moorage.query.parser import MAX_DEPTH, Condition, parse_condition, parse_query
from moorage.query.problems import InvalidQuery
from moorage.query.syntax import (
    UNDEFINED,
    Aggregate,
    ArrayOf,
    Call,
    Chain,
    CollectionName,
    Comparison,
    Constant,
    Expression,
    Logical,
    Membership,
    Negative,
    Not,
    Path,
    Projection,
    Select,
)

A, B = Path(("a",)), Path(("b",))
ONE = Constant(1)


def where(text: str, collection: CollectionName = "devices") -> Expression:
    found = parse_condition(text, collection).where
    assert found is not None
    return found


def refused(text: str) -> InvalidQuery:
    with pytest.raises(InvalidQuery) as caught:
        parse_query(text)
    return caught.value


# -- statements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["SELECT * FROM devices", "select  *\nfrom Devices ;", "Select*From devices"])
def test_keywords_collections_and_space_are_free(text: str) -> None:
    assert parse_query(text) == Select("devices")


@pytest.mark.parametrize("collection", ["devices", "devices.modules", "devices.jobs"])
def test_collections(collection: CollectionName) -> None:
    assert parse_query(f"SELECT * FROM {collection}") == Select(collection)


def test_projections_are_named_by_as_or_by_their_last_member() -> None:
    assert parse_query("SELECT deviceId, tags.site AS [[the site]], LENGTH(deviceId) FROM devices").projections == (
        Projection(Path(("deviceId",)), "deviceId"),
        Projection(Path(("tags", "site")), "the site"),
        Projection(Call("LENGTH", (Path(("deviceId",)),)), "$1"),
    )


def test_aggregates_and_groups() -> None:
    select = parse_query(
        "SELECT TOP 5 status AS s, COUNT() AS n, avg(tags.x), SUM(a), MIN(a) AS b, Max(a) AS c "
        "FROM devices GROUP BY status"
    )
    assert select.top == 5
    assert select.group_by == (Path(("status",)),)
    assert select.projections == (
        Projection(Path(("status",)), "s"),
        Projection(Aggregate("COUNT", None), "n"),
        Projection(Aggregate("AVG", Path(("tags", "x"))), "$1"),
        Projection(Aggregate("SUM", A), "$2"),
        Projection(Aggregate("MIN", A), "b"),
        Projection(Aggregate("MAX", A), "c"),
    )


@pytest.mark.parametrize("inside", ["", "*"])
def test_count_of_rows(inside: str) -> None:
    assert parse_query(f"SELECT COUNT({inside}) AS n FROM devices").projections == (
        Projection(Aggregate("COUNT", None), "n"),
    )


def test_a_field_that_is_called_like_an_aggregate_is_a_field() -> None:
    assert parse_query("SELECT count FROM devices").projections == (Projection(Path(("count",)), "count"),)


# -- paths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tags.a.b", ("tags", "a", "b")),
        ("properties.desired.$metadata.x.$lastUpdated", ("properties", "desired", "$metadata", "x", "$lastUpdated")),
        ("configurations.[[my-conf: 1]].status", ("configurations", "my-conf: 1", "status")),
        ("[[tags]].[[a]b]].c", ("tags", "a]b", "c")),
        ("tags.in.select.from", ("tags", "in", "select", "from")),
        ("DEVICEID", ("deviceId",)),
        ("Tags.A", ("tags", "A")),
        ("x509thumbprint.primaryThumbprint", ("x509Thumbprint", "primaryThumbprint")),
        ("devices.deviceId", ("deviceId",)),
        ("devices.tags.x", ("tags", "x")),
        ("größe.höhe", ("größe", "höhe")),
        ("nothing.known", ("nothing", "known")),
    ],
)
def test_paths(text: str, names: tuple[str, ...]) -> None:
    assert where(text) == Path(names)


@pytest.mark.parametrize(
    ("collection", "text", "names"),
    [
        ("devices.modules", "devices.modules.moduleId", ("moduleId",)),
        ("devices.modules", "devices.deviceId", ("deviceId",)),
        ("devices.jobs", "devices.jobs.JobId", ("jobId",)),
        ("devices.jobs", "devices.jobs.createdTimeUtc", ("createdDateTimeUtc",)),
        ("devices.jobs", "jobType", ("jobType",)),
    ],
)
def test_paths_may_begin_with_the_collection(collection: CollectionName, text: str, names: tuple[str, ...]) -> None:
    assert where(text, collection) == Path(names)


@pytest.mark.parametrize("said", ["d", "AS d", "as D"])
def test_paths_may_begin_with_another_name_of_the_collection(said: str) -> None:
    select = parse_query(f"SELECT d.tags.x FROM devices {said} WHERE d.deviceId = 'a' AND status = 'b'")
    assert select.projections == (Projection(Path(("tags", "x")), "x"),)
    assert select.where == Logical(
        "AND",
        (
            Comparison("=", Path(("deviceId",)), Constant("a")),
            Comparison("=", Path(("status",)), Constant("b")),
        ),
    )


# -- constants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("undefined", UNDEFINED),
        ("NULL", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("12.50", 12.5),
        ("1e3", 1000.0),
        ("2E-2", 0.02),
        ("0xFf", 255),
        ("-7", -7),
        ("- -7", 7),
        ("9007199254740993", 9007199254740992.0),
        ("'it''", "it"),
        ("'a\"b'", 'a"b'),
        ('"it\'s"', "it's"),
        (r"'\'\"\\\/\b\f\n\r\t'", "'\"\\/\b\f\n\r\t"),
        (r"'\u00e9\uD83D\ude00'", "é😀"),
        ("''", ""),
        ("'two\nlines'", "two\nlines"),
    ],
)
def test_constants(text: str, value: object) -> None:
    if text == "'it''":
        text = "'it'"
    assert where(text) == Constant(value)


def test_true_and_1_are_two_constants() -> None:
    assert where("true") != where("1")
    assert hash(Constant(True)) != hash(Constant(1))


def test_quoted_names_without_an_end_are_refused_at_once() -> None:
    began = time.process_time()
    with pytest.raises(InvalidQuery):
        parse_query(("SELECT * FROM devices WHERE " + "[[a" * 20_000)[:60_000])
    # Every opening that looked for its end to the end of the text took a minute.
    assert time.process_time() - began < 5


def test_an_array_may_begin_with_a_quoted_name() -> None:
    assert where("[[[b]], 1]") == ArrayOf((B, ONE))


def test_arrays() -> None:
    assert where("[1, 'a', [], a]") == ArrayOf((ONE, Constant("a"), ArrayOf(()), A))


# -- operators ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["=", "!=", "<", "<=", ">", ">="])
def test_comparisons(sign: str) -> None:
    assert where(f"a{sign}1") == Comparison(sign, A, ONE)  # type: ignore[arg-type]  # one of the six


def test_both_spellings_of_not_equal() -> None:
    assert where("a <> 1") == where("a != 1")


@pytest.mark.parametrize(
    ("text", "negated"),
    [("a IN [1]", False), ("a in (1)", False), ("a NIN [1]", True), ("a NOT IN [1]", True)],
)
def test_membership(text: str, negated: bool) -> None:
    assert where(text) == Membership(A, ArrayOf((ONE,)), negated)


def test_membership_in_an_array_of_the_row() -> None:
    assert where("'a' IN b") == Membership(Constant("a"), B)


def test_precedence_from_or_to_minus() -> None:
    assert where("a OR NOT b AND -a + 2 * 3 % b < 1 OR (a OR b)") == Logical(
        "OR",
        (
            A,
            Logical(
                "AND",
                (
                    Not(B),
                    Comparison(
                        "<",
                        Chain(Negative(A), (("+", Chain(Constant(2), (("*", Constant(3)), ("%", B)))),)),
                        ONE,
                    ),
                ),
            ),
            Logical("OR", (A, B)),
        ),
    )


def test_arithmetic_goes_from_left_to_right() -> None:
    assert where("a - 1 - b") == Chain(A, (("-", ONE), ("-", B)))
    assert where("a-1") == Chain(A, (("-", ONE),))


def test_functions_in_any_case() -> None:
    assert where("is_Defined(a)") == Call("IS_DEFINED", (A,))
    assert where("SUBSTRING('abc', 1, 1)") == Call("SUBSTRING", (Constant("abc"), ONE, ONE))


# -- conditions --------------------------------------------------------------------------------------------------------


def test_conditions_that_select_all_or_nobody() -> None:
    assert parse_condition("*", "devices") == Condition("devices")
    assert parse_condition(" * ", "devices") == Condition("devices")
    assert parse_condition("", "devices") == Condition("devices", is_empty=True)
    assert parse_condition(" \n", "devices") == Condition("devices", is_empty=True)


def test_a_condition_may_say_its_collection() -> None:
    assert parse_condition("FROM devices.modules WHERE moduleId = 'm'", "devices.modules") == Condition(
        "devices.modules", Comparison("=", Path(("moduleId",)), Constant("m"))
    )
    assert parse_condition("from devices.modules", "devices.modules") == Condition("devices.modules")


def test_a_condition_of_another_collection_is_refused() -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse_condition("FROM devices.modules WHERE a = 1", "devices")
    assert caught.value.reason == "query.collection"
    assert caught.value.at == 5


# -- what is wrong, and where ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason", "at", "says"),
    [
        ("", "query.syntax", 0, "expected SELECT, the query ends here"),
        ("UPDATE devices", "query.syntax", 0, "expected SELECT, found 'UPDATE'"),
        ("SELECT", "query.syntax", 6, "expected a value, a path or a function, the query ends here"),
        ("SELECT *", "query.syntax", 8, "expected FROM, the query ends here"),
        ("SELECT * WHERE a = 1", "query.syntax", 9, "expected FROM, found 'WHERE'"),
        ("SELECT a b FROM devices", "query.syntax", 9, "expected ',' or FROM, found 'b'"),
        ("SELECT a, FROM devices", "query.syntax", 10, "expected a value, a path or a function, found 'FROM'"),
        ("SELECT *, a FROM devices", "query.syntax", 8, "expected FROM, found ','"),
        ("SELECT * FROM", "query.syntax", 13, "expected devices, devices.modules or devices.jobs"),
        ("SELECT * FROM twins", "query.collection", 14, "no collection 'twins'"),
        ("SELECT * FROM devices.x", "query.collection", 14, "no collection 'devices.x'"),
        ("SELECT * FROM devices ORDER BY a", "query.syntax", 22, "expected WHERE, GROUP BY or the end, found 'ORDER'"),
        ("SELECT * FROM devices WHERE", "query.syntax", 27, "expected a value, a path or a function"),
        ("SELECT * FROM devices WHERE a = ", "query.syntax", 32, "the query ends here"),
        ("SELECT * FROM devices WHERE a == 1", "query.syntax", 31, "found '='"),
        ("SELECT * FROM devices WHERE a = 1 = 1", "query.syntax", 34, "a comparison has two sides"),
        ("SELECT * FROM devices WHERE a = 1 b", "query.syntax", 34, "expected an operator, GROUP BY or the end"),
        ("SELECT * FROM devices WHERE (a = 1", "query.syntax", 34, "expected ')' or an operator"),
        ("SELECT * FROM devices WHERE a IN 1", "query.syntax", 33, "expected a list like ['a', 'b']"),
        ("SELECT * FROM devices WHERE a IN [1", "query.syntax", 35, "expected ',' or ']'"),
        ("SELECT * FROM devices WHERE a.", "query.syntax", 30, "expected a name"),
        ("SELECT * FROM devices WHERE tags.5g = 1", "query.token", 33, "written [[5g]]"),
        ("SELECT * FROM devices WHERE tags.5 = 1", "query.syntax", 33, "written [[5]]"),
        ("SELECT * FROM devices WHERE a ! b", "query.token", 30, "it is NOT"),
        ("SELECT * FROM devices WHERE a = `b`", "query.token", 32, "'`' begins no word"),
        ("SELECT * FROM devices WHERE a = 'b", "query.token", 32, "no closing '"),
        ("SELECT * FROM devices WHERE a = 'b\\q'", "query.token", 34, "is no escape"),
        ("SELECT * FROM devices WHERE a = '\\ud800'", "query.token", 32, "half of a surrogate pair"),
        ("SELECT * FROM devices WHERE a = 1e999", "query.token", 32, "larger than any number"),
        ("SELECT * FROM devices WHERE a = " + "1" * 41, "query.token", 32, "at most 40"),
        ("SELECT * FROM devices WHERE FOO(a)", "query.function", 28, "no function 'FOO'; there are IS_DEFINED"),
        ("SELECT * FROM devices WHERE COUNT() > 1", "query.function", 28, "belongs behind SELECT alone"),
        ("SELECT * FROM devices WHERE IS_DEFINED(a, b)", "query.function", 28, "with 2 values; it is IS_DEFINED(path)"),
        ("SELECT TOP 0 * FROM devices", "query.syntax", 11, "a whole number from 1"),
        ("SELECT TOP x FROM devices", "query.syntax", 11, "a whole number from 1"),
        ("SELECT a, b AS a FROM devices", "query.alias", 10, "two elements would be shown as 'a'"),
        ("SELECT a FROM devices tags", "query.alias", 22, "'tags' is a field of its rows"),
        ("SELECT a FROM devices AS", "query.syntax", 24, "expected a name"),
        ("SELECT a, COUNT() FROM devices", "query.aggregate", 7, "'a' differs from row to row"),
        ("SELECT a FROM devices GROUP BY b", "query.aggregate", 7, "'a' differs from row to row"),
        ("SELECT * FROM devices GROUP BY a", "query.aggregate", 7, "SELECT * shows single rows"),
        ("SELECT a FROM devices GROUP a", "query.syntax", 28, "expected BY, found 'a'"),
        ("SELECT a FROM devices GROUP BY 1", "query.syntax", 31, "expected a path"),
        ("SELECT a FROM devices GROUP BY a HAVING a", "query.syntax", 33, "expected the end of the query"),
        ("SELECT moduleId FROM devices.modules GROUP BY moduleId", "query.collection", 37, "GROUP BY is for devices"),
        ("SELECT jobId FROM devices.jobs", "query.collection", 7, "SELECT * FROM devices.jobs"),
        ("SELECT COUNT() FROM devices.jobs", "query.collection", 7, "SELECT * FROM devices.jobs"),
    ],
)
def test_a_refusal_points_at_the_token(text: str, reason: str, at: int, says: str) -> None:
    refusal = refused(text)
    assert (refusal.reason, refusal.at) == (reason, at)
    assert refusal.message.startswith(f"line 1, column {at + 1}: ")
    assert says in refusal.message


def test_lines_and_columns_are_counted_and_the_excerpt_points() -> None:
    refusal = refused("SELECT *\nFROM devices\nWHERE tags.site = = 'a'")
    assert refusal.message == "line 3, column 19: expected a value, a path or a function, found '='"
    assert refusal.excerpt() == "WHERE tags.site = = 'a'\n" + " " * 18 + "^"


def test_the_excerpt_of_a_long_line_is_cut_around_the_place() -> None:
    line, caret = (
        refused(f"SELECT * FROM devices WHERE {'a AND ' * 50} unknown( AND {'b AND ' * 50} c").excerpt().split("\n")
    )
    assert len(line) <= 80
    assert line[caret.index("^") :].startswith("unknown(")


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("(", ")"), ("NOT ", ""), ("-", ""), ("ABS(", ")"), ("[ ", "]"), ("a IN (", ")"), ("a IN [", "]"), ("1 + (", ")")],
)
def test_nesting_is_bounded_whatever_nests(opening: str, closing: str) -> None:
    for depth in (10, 15):
        where(opening * depth + "a" + closing * depth)
    for depth in (MAX_DEPTH + 1, 4_000):
        with pytest.raises(InvalidQuery) as caught:
            parse_condition(opening * depth + "a" + closing * depth, "devices")
        assert caught.value.reason in ("query.depth", "query.size")


def test_a_long_chain_is_not_deep() -> None:
    found = where(" OR ".join(f"deviceId = 'd{number}'" for number in range(1_000)))
    assert isinstance(found, Logical)
    assert len(found.operands) == 1_000
    assert isinstance(where("1" + " + 1" * 2_000), Chain)


def test_length_and_tokens_are_bounded() -> None:
    assert refused(f"SELECT * FROM devices WHERE a = '{'x' * MAX_CHARS}'").reason == "query.size"
    assert refused(f"SELECT * FROM devices WHERE a IN [{'1,' * MAX_TOKENS}1]").reason == "query.size"


_words = st.sampled_from(
    "SELECT * FROM devices devices.modules devices.jobs WHERE GROUP BY AS TOP AND OR NOT IN NIN ( ) [ ] , . = != < <= "
    "+ - * / % 1 0x1f 2.5 'a' \"b\" [[c]] tags.a IS_DEFINED COUNT AVG true null undefined status $version ; ' \\ [[ "
    "é".split(" ")
)


@given(st.lists(_words, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_query_or_refused_with_a_place_in_it(text: str) -> None:
    for parse in (parse_query, lambda condition: parse_condition(condition, "devices.modules")):
        try:
            parse(text)
        except Invalid as refusal:
            assert isinstance(refusal, InvalidQuery)
            assert 0 <= refusal.at <= len(text)
            assert refusal.excerpt()


@given(st.text(max_size=40))
def test_tokens_cover_the_text_in_order(text: str) -> None:
    try:
        tokens = tokenize(text)
    except InvalidQuery:
        return
    behind = 0
    for token in tokens:
        assert text[behind : token.at].strip() == ""
        assert text[token.at : token.at + len(token.text)] == token.text
        behind = token.at + len(token.text)
    assert behind == len(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_string_can_be_written(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    assert where(f"'{escaped}'") == Constant(text)

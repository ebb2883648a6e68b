"""Tokens to a syntax tree, by recursive descent (contract/services.md 2.9).

    statement   SELECT [TOP n] (* | element, ...) FROM collection [[AS] alias] [WHERE or] [GROUP BY path, ...] [;]
    element     (or | aggregate) [AS name]
    or          and {OR and}
    and         not {AND not}
    not         NOT not | comparison
    comparison  sum [(= | != | <> | < | <= | > | >=) sum | [NOT] IN list | NIN list]
    sum         product {(+ | -) product}
    product     unary {(* | / | %) unary}
    unary       - unary | constant | path | function(or, ...) | (or) | [or, ...]

Every "no" points at the token that does not fit and says what would. A path may begin with the collection
(`devices.jobs.status`, `devices.deviceId`) or with the alias; the tree has it without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn, cast

from moorage.query.fields import COLLECTIONS, canonical_field, is_field
from moorage.query.functions import FUNCTIONS
from moorage.query.lexer import Token, tokenize
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

__all__ = ["KEYWORDS", "MAX_DEPTH", "Condition", "Parser", "parse_condition", "parse_query"]

# Of parentheses, brackets, functions and operators in front of a value, one inside the other.
MAX_DEPTH: Final = 50
# `TOP` and page sizes; no hub has more rows.
_MAX_TOP = 1_000_000_000
_MAX_PATH_NAMES = 64
# Conditions of configurations are no longer than this, and asked of every twin that changes.
_REMEMBERED_CHARS = 4096

_AGGREGATES: Final = ("COUNT", "AVG", "SUM", "MIN", "MAX")
_CONSTANTS: Final[dict[str, Any]] = {"TRUE": True, "FALSE": False, "NULL": None, "UNDEFINED": UNDEFINED}
# In capitals; a name that is one of them stands in brackets, unless a dot is before it.
KEYWORDS: Final = frozenset(
    ("SELECT", "TOP", "FROM", "WHERE", "GROUP", "BY", "AS", "AND", "OR", "NOT", "IN", "NIN", *_CONSTANTS)
)
# Clauses that other languages have here: no names for a collection.
_FOREIGN: Final = frozenset(("ORDER", "LIMIT", "OFFSET", "HAVING", "JOIN", "UNION"))
_COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Condition:
    """What selects rows without saying what to show of them: the text behind WHERE.

    `where` is None when there is nothing to satisfy: `*` selects every row, and the empty text none (`is_empty`).
    """

    collection: CollectionName
    where: Expression | None = None
    is_empty: bool = False


def parse_query(text: str) -> Select:
    """Raises `InvalidQuery` (`query.*`)."""
    return Parser(text).statement()


def parse_condition(text: str, collection: CollectionName) -> Condition:
    """The condition of a job or of a configuration: `''`, `*`, or what stands behind WHERE.

    It may say `FROM devices.modules WHERE ...` in front (contract/services.md 2.10), if it means `collection`.
    Raises `InvalidQuery` (`query.*`).
    """
    # The tree of a long one takes a megabyte, and nobody asks for it again and again.
    return (_remembered if len(text) <= _REMEMBERED_CHARS else _parse_condition)(text, collection)


def _parse_condition(text: str, collection: CollectionName) -> Condition:
    return Parser(text).condition(collection) if text.strip() else Condition(collection, is_empty=True)


_remembered = lru_cache(256)(_parse_condition)


class Parser:
    """One text. Other languages of conditions derive from it what they read differently."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._next = 0
        self._depth = 0
        self._collection: CollectionName = "devices"
        self._alias: str | None = None

    # -- whole texts ---------------------------------------------------------------------------------------------------

    def statement(self) -> Select:
        self._expect_word("SELECT")
        # What paths mean depends on what stands behind FROM, so that is read first.
        begin, fro = self._next, self._find_from()
        self._next = fro
        self._from()
        behind = self._next
        self._next = begin
        top = self._top() if self._at_word("TOP") else None
        projections = self._projections()
        if self._next != fro:
            self._fail("FROM" if projections is None else "',' or FROM")
        self._next = behind
        where = self._or() if self._take_word("WHERE") else None
        group_by = self._group_by() if self._at_word("GROUP") else ()
        self._take_sign(";")
        if self._peek.kind != "end":
            self._fail(
                "the end of the query"
                if group_by
                else "an operator, GROUP BY or the end"
                if where
                else "WHERE, GROUP BY or the end"
            )
        select = Select(self._collection, projections, where, group_by, top)
        self._check(select, self._tokens[begin])
        return select

    def condition(self, collection: CollectionName) -> Condition:
        self._collection = collection
        if self._at_word("FROM"):
            said = self._peek_behind
            self._from()
            if self._collection != collection:
                raise InvalidQuery(
                    "query.collection",
                    self._text,
                    said.at,
                    f"this condition selects from {self._collection}, it has to select from {collection}",
                    length=len(said.text),
                )
            if self._peek.kind == "end":
                return Condition(collection)
            self._expect_word("WHERE")
        if self._peek.text == "*" and self._peek_behind.kind == "end":
            return Condition(collection)
        where = self._or()
        if self._peek.kind != "end":
            self._fail("an operator, or the end of the condition")
        return Condition(collection, where)

    # -- clauses -------------------------------------------------------------------------------------------------------

    def _find_from(self) -> int:
        for index in range(self._next, len(self._tokens)):
            if self._tokens[index - 1].text != ".":
                if _is_word(self._tokens[index], "FROM"):
                    return index
                if _is_word(self._tokens[index], "WHERE"):
                    break
        # Without one, whatever else is wrong is told first.
        if self._at_word("TOP"):
            self._top()
        is_whole = self._projections() is None
        self._fail("FROM" if is_whole or self._peek.kind == "end" else "',' or FROM")

    def _from(self) -> None:
        self._expect_word("FROM")
        first = self._peek
        if first.kind != "word" or first.value.upper() in KEYWORDS:
            self._fail("devices, devices.modules or devices.jobs")
        name = self._advance().value.lower()
        if self._take_sign("."):
            if self._peek.kind != "word":
                self._fail("modules or jobs")
            name = f"{name}.{self._advance().value.lower()}"
        found = next((each for each in COLLECTIONS if each == name), None)
        if found is None:
            last = self._tokens[self._next - 1]
            raise InvalidQuery(
                "query.collection",
                self._text,
                first.at,
                f"there is no collection {name[:60]!r}; there are devices, devices.modules and devices.jobs",
                length=last.at + len(last.text) - first.at,
            )
        self._collection = found
        is_said = self._take_word("AS")
        if self._peek.kind == "name" or (
            self._peek.kind == "word" and self._peek.value.upper() not in KEYWORDS | _FOREIGN
        ):
            alias = self._advance()
            if is_field(found, alias.value):
                raise InvalidQuery(
                    "query.alias",
                    self._text,
                    alias.at,
                    f"{alias.value[:60]!r} is a field of its rows and cannot be another name for {found}",
                    length=len(alias.text),
                )
            self._alias = alias.value.lower()
        elif is_said:
            self._fail("a name")

    def _top(self) -> int:
        self._advance()
        token = self._peek
        if token.kind != "number" or not isinstance(token.value, int) or not 1 <= token.value <= _MAX_TOP:
            self._fail(f"a whole number from 1 to {_MAX_TOP}")
        self._advance()
        return token.value

    def _projections(self) -> tuple[Projection, ...] | None:
        if self._take_sign("*"):
            return None
        found: list[Projection] = []
        unnamed = 0
        while True:
            at = self._peek.at
            value = self._element()
            if self._take_word("AS"):
                name = self._name("a name")
            elif isinstance(value, Path):
                name = value.names[-1]
            else:
                unnamed += 1
                name = f"${unnamed}"
            if any(each.name == name for each in found):
                raise InvalidQuery(
                    "query.alias",
                    self._text,
                    at,
                    f"two elements would be shown as {name[:60]!r}",
                    length=self._tokens[self._next - 1].at + len(self._tokens[self._next - 1].text) - at,
                    fix="give one of them another name with AS",
                )
            found.append(Projection(value, name, at))
            if not self._take_sign(","):
                return tuple(found)

    def _element(self) -> Expression | Aggregate:
        token = self._peek
        if token.kind == "word" and token.value.upper() in _AGGREGATES and self._peek_behind.text == "(":
            kind = cast(Literal["COUNT", "AVG", "SUM", "MIN", "MAX"], self._advance().value.upper())
            self._advance()
            argument: Expression | None = None
            if kind == "COUNT":
                if not self._take_sign("*") and self._peek.text != ")":
                    argument = self._or()
            else:
                argument = self._or()
            self._expect_sign(")")
            return Aggregate(kind, argument, token.at)
        return self._or()

    def _group_by(self) -> tuple[Path, ...]:
        at = self._advance()
        self._expect_word("BY")
        if self._collection != "devices":
            raise InvalidQuery(
                "query.collection",
                self._text,
                at.at,
                f"GROUP BY is for devices; {self._collection} cannot be grouped",
                length=len(at.text),
            )
        paths: list[Path] = []
        while True:
            if self._peek.kind == "name" or (self._peek.kind == "word" and self._peek.value.upper() not in KEYWORDS):
                paths.append(self._path())
            else:
                self._fail("a path")
            if not self._take_sign(","):
                return tuple(paths)

    def _check(self, select: Select, first: Token) -> None:
        """What no single clause can tell."""
        if select.collection == "devices.jobs" and select.projections is not None:
            raise InvalidQuery(
                "query.collection",
                self._text,
                first.at,
                "devices.jobs shows whole rows only: SELECT * FROM devices.jobs",
                length=max(1, len(first.text)),
            )
        if not select.is_aggregate:
            return
        if select.projections is None:
            raise InvalidQuery(
                "query.aggregate",
                self._text,
                first.at,
                "SELECT * shows single rows, and GROUP BY makes one of many; name the paths and aggregates to show",
            )
        for projection in select.projections:
            if not isinstance(projection.value, Aggregate) and projection.value not in select.group_by:
                raise InvalidQuery(
                    "query.aggregate",
                    self._text,
                    projection.at,
                    f"{projection.name[:60]!r} differs from row to row: beside an aggregate only what stands behind "
                    "GROUP BY can be shown",
                )

    # -- expressions ---------------------------------------------------------------------------------------------------

    def _or(self) -> Expression:
        return self._logical("OR", self._and)

    def _and(self) -> Expression:
        return self._logical("AND", self._not)

    def _logical(self, operator: Literal["AND", "OR"], operand: Callable[[], Expression]) -> Expression:
        at = self._peek.at
        operands = [operand()]
        while self._take_word(operator):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else Logical(operator, tuple(operands), at)

    def _not(self) -> Expression:
        if not self._at_word("NOT"):
            return self._comparison()
        at = self._advance().at
        depth = self._deeper(at)
        node = Not(self._not(), at)
        self._depth = depth - 1
        return node

    def _comparison(self) -> Expression:
        at = self._peek.at
        left = self._sum()
        token = self._peek
        if token.kind == "sign" and token.value in _COMPARISONS:
            self._advance()
            right = self._sum()
            if self._peek.kind == "sign" and self._peek.value in _COMPARISONS:
                self._fail("AND, OR or the end; a comparison has two sides")
            return Comparison(cast(Any, token.value), left, right, at)
        if _is_word(token, "NOT") and _is_word(self._peek_behind, "IN"):
            self._advance()
            self._advance()
            return Membership(left, self._list(), True, at)
        if _is_word(token, "IN") or _is_word(token, "NIN"):
            self._advance()
            return Membership(left, self._list(), token.value.upper() == "NIN", at)
        return left

    def _list(self) -> Expression:
        """Behind IN: an array, a path to one, or values in parentheses as SQL has them."""
        if self._peek.text == "(":
            return self._items("(", ")")
        if self._peek.text == "[" or self._peek.kind in ("word", "name"):
            return self._unary()
        self._fail("a list like ['a', 'b']")

    def _sum(self) -> Expression:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Expression:
        return self._chain(("*", "/", "%"), self._unary)

    def _chain(self, operators: tuple[str, ...], operand: Callable[[], Expression]) -> Expression:
        at = self._peek.at
        first = operand()
        rest: list[tuple[Any, Expression]] = []
        while self._peek.kind == "sign" and self._peek.value in operators:
            operator = self._advance().value
            rest.append((operator, operand()))
        return Chain(first, tuple(rest), at) if rest else first

    def _unary(self) -> Expression:
        token = self._peek
        depth = self._deeper(token.at)
        node = self._primary(token)
        self._depth = depth - 1
        return node

    def _primary(self, token: Token) -> Expression:
        match token.kind:
            case "string" | "number":
                self._advance()
                return Constant(token.value, token.at)
            case "name":
                return self._path()
            case "word":
                return self._word(token)
            case "sign" if token.value == "-":
                self._advance()
                operand = self._unary()
                # A negative number is a constant, as an index sees it.
                if isinstance(operand, Constant) and type(operand.value) in (int, float):
                    return Constant(-operand.value, token.at)
                return Negative(operand, token.at)
            case "sign" if token.value == "(":
                self._advance()
                inner = self._or()
                self._expect_sign(")", "')' or an operator")
                return inner
            case "sign" if token.value == "[":
                return self._items("[", "]")
        self._fail("a value, a path or a function")

    def _word(self, token: Token) -> Expression:
        upper = token.value.upper()
        is_call = self._peek_behind.text == "("
        if upper in _CONSTANTS and not is_call:
            self._advance()
            return Constant(_CONSTANTS[upper], token.at)
        if upper in KEYWORDS:
            self._fail("a value, a path or a function")
        return self._call(token, upper) if is_call else self._path()

    def _call(self, token: Token, name: str) -> Call:
        function = FUNCTIONS.get(name)
        if function is None:
            what = (
                f"{name}() belongs behind SELECT alone"
                if name in _AGGREGATES
                else f"there is no function {token.value[:60]!r}; there are {', '.join(FUNCTIONS)}"
            )
            raise InvalidQuery("query.function", self._text, token.at, what, length=len(token.text))
        self._advance()
        arguments = self._items("(", ")").items
        if len(arguments) < function.least or (function.most is not None and len(arguments) > function.most):
            raise InvalidQuery(
                "query.function",
                self._text,
                token.at,
                f"{name} is called with {len(arguments)} values; it is {function.usage}",
                length=len(token.text),
            )
        return Call(name, arguments, token.at)

    def _items(self, opening: str, closing: str) -> ArrayOf:
        at = self._peek.at
        depth = self._deeper(at)
        self._expect_sign(opening)
        items: list[Expression] = []
        if not self._take_sign(closing):
            items.append(self._or())
            while self._take_sign(","):
                items.append(self._or())
            self._expect_sign(closing, f"',' or '{closing}'")
        self._depth = depth - 1
        return ArrayOf(tuple(items), at)

    def _path(self) -> Path:
        at = self._peek.at
        names = [self._advance().value]
        while self._take_sign("."):
            names.append(self._name("a name"))
        if len(names) > _MAX_PATH_NAMES:
            raise InvalidQuery("query.depth", self._text, at, f"this path has {len(names)} names, no row is that deep")
        names = self._within_row(names)
        return Path((canonical_field(self._collection, names[0]), *names[1:]), at)

    def _within_row(self, names: list[str]) -> list[str]:
        """The path without the collection or its alias in front."""
        first = names[0].lower()
        if len(names) == 1:
            return names
        if self._alias is not None and first == self._alias:
            return names[1:]
        if first != "devices":
            return names
        within = self._collection.partition(".")[2]
        return names[2:] if within and names[1].lower() == within and len(names) > 2 else names[1:]

    # -- tokens --------------------------------------------------------------------------------------------------------

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    @property
    def _peek_behind(self) -> Token:
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)]

    def _advance(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _at_word(self, word: str) -> bool:
        return _is_word(self._peek, word)

    def _take_word(self, word: str) -> bool:
        if not self._at_word(word):
            return False
        self._next += 1
        return True

    def _take_sign(self, sign: str) -> bool:
        if self._peek.kind != "sign" or self._peek.value != sign:
            return False
        self._next += 1
        return True

    def _expect_word(self, word: str) -> None:
        if not self._take_word(word):
            self._fail(word)

    def _expect_sign(self, sign: str, expected: str = "") -> None:
        if not self._take_sign(sign):
            self._fail(expected or f"'{sign}'")

    def _name(self, expected: str) -> str:
        if self._peek.kind not in ("word", "name"):
            self._fail(expected)
        return cast(str, self._advance().value)

    def _deeper(self, at: int) -> int:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidQuery("query.depth", self._text, at, f"this is nested deeper than {MAX_DEPTH} levels")
        return self._depth

    def _fail(self, expected: str) -> NoReturn:
        token = self._peek
        found = "the query ends here" if token.kind == "end" else f"found {token.text[:60]!r}"
        if token.kind == "number" and expected == "a name":
            expected = f"a name (one that begins with a digit is written [[{token.text}]])"
        raise InvalidQuery(
            "query.syntax", self._text, token.at, f"expected {expected}, {found}", length=max(1, len(token.text))
        )


def _is_word(token: Token, word: str) -> bool:
    return token.kind == "word" and token.value.upper() == word

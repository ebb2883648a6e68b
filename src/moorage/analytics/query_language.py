"""The language of queries over what devices of a template sent (contract/central.md PRE-1, PRE-2): text to values.

    SELECT TOP 10 $id, AVG(temperature) AS warm FROM dtmi:com:example:Pump;1
    WHERE WITHIN_WINDOW(P1D) AND $provisioned = true AND temperature > 20
    GROUP BY $id, WINDOW(PT10M) ORDER BY warm DESC

Expressions are those of `moorage.query`. Names of telemetry and of properties are as in the model, of a component with
its name in front (`motor.speed`); a path is one name here, dots included. Every "no" points at its place in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from moorage.fleet.model import TemplateId
from moorage.query.parser import Parser
from moorage.query.problems import InvalidQuery
from moorage.query.syntax import Comparison, Expression, Logical, Path, walk

__all__ = ["Function", "Item", "Order", "SeriesQuery", "parse_series_query"]

# central.md PRE-2
MAX_ITEMS: Final = 15
MAX_OPERATORS: Final = 10
MAX_ALIASES: Final = 350
_WINDOW: Final = timedelta(days=1)
_LONGEST: Final = timedelta(days=366)
Function = Literal["AVG", "SUM", "MAX", "MIN", "COUNT", "FIRST", "LAST"]
_FUNCTIONS: Final[tuple[Function, ...]] = ("AVG", "SUM", "MAX", "MIN", "COUNT", "FIRST", "LAST")
_DURATION: Final = re.compile(r"P(?:(\d{1,4})W)?(?:(\d{1,4})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7})S)?)?")
_TEMPLATE: Final = re.compile(r"dtmi:[A-Za-z0-9_:]+(?:;[0-9]+(?:\.[0-9]+)?)?")


class Item(NamedTuple):
    """One column: a path, or an aggregate of one (`COUNT(*)` has none)."""

    function: Function | None
    path: str
    alias: str
    at: int


class Order(NamedTuple):
    alias: str
    is_descending: bool


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """`within` is the time that is asked about; `window` the length of rows in time, None for one."""

    items: tuple[Item, ...]
    template: TemplateId
    where: Expression | None
    within: timedelta
    group_by: tuple[str, ...]
    window: timedelta | None
    order: tuple[Order, ...]
    top: int | None

    @property
    def is_aggregate(self) -> bool:
        return any(item.function for item in self.items) or bool(self.group_by) or self.window is not None


def parse_series_query(text: str) -> SeriesQuery:
    """Raises `InvalidQuery` (`query.*`), pointing at the place."""
    # A model id is no word of the language; within its quotes it is a value, and positions stay as they are.
    found = re.search(r"\bFROM\s+(?P<id>" + _TEMPLATE.pattern + r")", text, re.IGNORECASE)
    if found is None:
        word = re.search("FROM", text, re.IGNORECASE)
        at = 0 if word is None else word.start()
        what = "expected FROM with the id of a template, as dtmi:com:example:Pump;1"
        raise InvalidQuery("query.collection", text, at, what)
    begin, end = found.span("id")
    plain = text[:begin] + "x" * (end - begin) + text[end:]
    return _SeriesParser(plain, text, TemplateId(found["id"])).query()


class _SeriesParser(Parser):
    """`text` has a word in the place of the model id; `shown` is what was given, for messages."""

    def __init__(self, text: str, shown: str, template: TemplateId) -> None:
        super().__init__(text)
        self._shown = shown
        self._template = template

    def query(self) -> SeriesQuery:
        self._expect_word("SELECT")
        top = None
        if self._take_word("TOP"):
            top = self._count()
        items = [self._item()]
        while self._take_sign(","):
            items.append(self._item())
        self._expect_word("FROM")
        self._advance()
        within: timedelta | None = None
        where: Expression | None = None
        if self._take_word("WHERE"):
            within, where = self._conditions()
        group_by, window = self._groups()
        order = self._order()
        self._take_sign(";")
        if self._peek.kind != "end":
            self._fail("GROUP BY, ORDER BY or the end of the query")
        self._check_limits(items, where)
        query = SeriesQuery(tuple(items), self._template, where, within or _WINDOW, group_by, window, order, top)
        self._check_columns(query)
        return query

    # -- clauses -------------------------------------------------------------------------------------------------------

    def _item(self) -> Item:
        token = self._peek
        function = next((each for each in _FUNCTIONS if token.kind == "word" and token.value.upper() == each), None)
        if function is not None and self._peek_behind.text == "(":
            self._advance()
            self._advance()
            path = ""
            if function == "COUNT" and self._take_sign("*"):
                path = ""
            elif self._peek.text != ")" or function != "COUNT":
                path = ".".join(self._names())
            self._expect_sign(")")
            alias = self._alias_of(f"{function}({path})" if path else "COUNT")
            return Item(function, path, alias, token.at)
        path = ".".join(self._names())
        return Item(None, path, self._alias_of(path), token.at)

    def _alias_of(self, otherwise: str) -> str:
        return self._name("a name") if self._take_word("AS") else otherwise

    def _names(self) -> list[str]:
        names = [self._name("a name of telemetry or a property, $id or $ts")]
        while self._take_sign("."):
            names.append(self._name("a name"))
        return names

    def _conditions(self) -> tuple[timedelta | None, Expression | None]:
        """The window that is joined to the rest by AND, and the rest."""
        within: timedelta | None = None
        kept: list[Expression] = []
        while True:
            if self._at_word("WITHIN_WINDOW") and self._peek_behind.text == "(":
                self._advance()
                within = self._duration()
            else:
                kept.append(self._not())
            if not self._take_word("AND"):
                break
        if self._at_word("OR"):
            self._fail("AND, GROUP BY, ORDER BY or the end; OR stands in parentheses here")
        if not kept:
            return within, None
        return within, kept[0] if len(kept) == 1 else Logical("AND", tuple(kept), kept[0].at)

    def _groups(self) -> tuple[tuple[str, ...], timedelta | None]:
        if not self._take_word("GROUP"):
            return (), None
        self._expect_word("BY")
        paths: list[str] = []
        window: timedelta | None = None
        while True:
            if self._at_word("WINDOW") and self._peek_behind.text == "(":
                self._advance()
                window = self._duration()
            else:
                paths.append(".".join(self._names()))
            if not self._take_sign(","):
                return tuple(paths), window

    def _order(self) -> tuple[Order, ...]:
        if not self._take_word("ORDER"):
            return ()
        self._expect_word("BY")
        found: list[Order] = []
        while True:
            token = self._peek
            function = next((each for each in _FUNCTIONS if token.kind == "word" and token.value.upper() == each), None)
            if function is not None and self._peek_behind.text == "(":
                alias = self._item().alias
            else:
                alias = ".".join(self._names())
            is_descending = self._take_word("DESC")
            if not is_descending:
                self._take_word("ASC")
            found.append(Order(alias, is_descending))
            if not self._take_sign(","):
                return tuple(found)

    def _path(self) -> Path:
        at = self._peek.at
        return Path((".".join(self._names()),), at)

    # -- small parts ---------------------------------------------------------------------------------------------------

    def _count(self) -> int:
        token = self._peek
        if token.kind != "number" or not isinstance(token.value, int) or token.value < 1:
            self._fail("how many rows")
        self._advance()
        return int(token.value)

    def _duration(self) -> timedelta:
        """`(P1D)`: words to the lexer, put together again."""
        self._expect_sign("(")
        begin = self._peek.at
        text = ""
        while self._peek.text != ")" and self._peek.kind != "end":
            text += str(self._advance().text).strip("'\"")
        self._expect_sign(")")
        match = _DURATION.fullmatch(text.upper())
        weeks, days, hours, minutes, seconds = (int(each or 0) for each in match.groups()) if match else (0,) * 5
        length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        if not timedelta(minutes=1) <= length <= _LONGEST:
            raise InvalidQuery(
                "query.window",
                self._shown,
                begin,
                f"{text[:40]!r} is no length of time between a minute and a year, as P1D or PT10M",
                length=max(1, len(text)),
            )
        return length

    def _check_limits(self, items: Sequence[Item], where: Expression | None) -> None:
        nodes = list(walk(where)) if where is not None else []
        operators = sum(isinstance(node, (Comparison, Logical)) for node in nodes)
        aliases = sum(len(item.alias) for item in items)
        wrong = ""
        if len(items) > MAX_ITEMS:
            wrong = f"{len(items)} columns are asked for, at most {MAX_ITEMS} are"
        elif operators > MAX_OPERATORS:
            wrong = f"the conditions have {operators} operators, at most {MAX_OPERATORS} are read"
        elif aliases > MAX_ALIASES:
            wrong = f"the names of the columns have {aliases} characters together, at most {MAX_ALIASES}"
        if wrong:
            raise InvalidQuery("query.size", self._shown, items[-1].at, wrong)

    def _check_columns(self, query: SeriesQuery) -> None:
        # A condition on it would hold for no message, without a word.
        asked = [] if query.where is None else [node for node in walk(query.where) if isinstance(node, Path)]
        for path in asked:
            if path.names == ("$ts",):
                self._refuse(
                    "query.window", path.at, "$ts is compared with nothing; ask for a time by WITHIN_WINDOW(PT1H)"
                )
        if "$ts" in query.group_by:
            self._refuse("query.window", 0, "rows are put together by time with WINDOW(PT10M), not by $ts itself")
        aliases = [item.alias for item in query.items]
        known = {*aliases, *query.group_by, "$ts", "$id"}
        for item in query.items:
            if aliases.count(item.alias) > 1:
                self._refuse(
                    "query.alias", item.at, f"two columns would be called {item.alias[:60]!r}; name one with AS"
                )
            if item.function is not None and item.path == "$ts":
                what = f"{item.function} is of telemetry or a property, and $ts is a time; COUNT() counts messages"
                self._refuse("query.aggregate", item.at, what)
            if query.is_aggregate and item.function is None and item.path not in (*query.group_by, "$ts"):
                what = (
                    f"{item.path[:60]!r} differs from row to row: beside an aggregate only what stands behind GROUP BY"
                )
                self._refuse("query.aggregate", item.at, f"{what} can be shown")
        for order in query.order:
            if order.alias not in known:
                what = f"the rows cannot be put in the order of {order.alias[:60]!r}, which is no column of theirs"
                self._refuse("query.aggregate", 0, what)

    def _refuse(self, reason: str, at: int, message: str) -> None:
        raise InvalidQuery(reason, self._shown, at, message)

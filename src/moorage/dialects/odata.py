"""`$filter` and `$orderby` of the Central API's list of devices: a small part of OData 4 (contract/central.md PRE-3).

    filter     = and *("or" and)            and = unary *("and" unary)
    unary      = "not" unary / comparison
    comparison = operand [("eq" / "ne" / "lt" / "le" / "gt" / "ge") operand]
    operand    = "(" filter ")" / literal / field / function "(" operand "," operand ")"

Values are texts, numbers, true, false and null; a field that holds several, such as `scopes`, equals each of them.
Texts are compared with case, as ids are; functions (`contains`, `startswith`, `endswith`, `indexof`) look without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.errors import Invalid

__all__ = ["Filter", "Order", "parse_filter", "parse_order"]

MAX_FILTER_CHARS: Final = 4096
_MAX_WORDS: Final = 400
_MAX_DEPTH: Final = 32
_WORD: Final = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^']|'')*')
      | (?P<number>-?[0-9]{1,15}(?:\.[0-9]{1,15})?)(?![A-Za-z0-9_])
      | (?P<name>[A-Za-z][A-Za-z0-9_]{0,60})
      | (?P<mark>[(),])
    )\s*""",
    re.VERBOSE,
)

Values = Mapping[str, Any]
_Evaluate = Callable[[Values], Any]

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda left, right: _is_equal(left, right),
    "ne": lambda left, right: not _is_equal(left, right),
    "lt": lambda left, right: _is_ordered(left, right) and left < right,
    "le": lambda left, right: _is_ordered(left, right) and left <= right,
    "gt": lambda left, right: _is_ordered(left, right) and left > right,
    "ge": lambda left, right: _is_ordered(left, right) and left >= right,
}
_FUNCTIONS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "contains": lambda text, part: part in text,
    "startswith": lambda text, part: text.startswith(part),
    "endswith": lambda text, part: text.endswith(part),
    "indexof": lambda text, part: text.find(part),
}
_CONSTANTS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Filter:
    """`matches` says of the fields of one thing whether it is wanted; `equal` is what some field has to be for that."""

    matches: Callable[[Values], bool]
    equal: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    field: str
    is_descending: bool


def parse_filter(text: str, fields: Collection[str]) -> Filter:
    """Raises `Invalid` (`odata.filter`), with the place of what is wrong."""
    if len(text) > MAX_FILTER_CHARS:
        raise Invalid("odata.filter", f"$filter has {len(text)} characters, at most {MAX_FILTER_CHARS} are read")
    parser = _Parser(_words(text), frozenset(fields))
    evaluate = parser.filter()
    parser.end()
    return Filter(lambda values: evaluate(values) is True, parser.equal)


def parse_order(text: str, fields: Collection[str]) -> Order:
    """One field, perhaps `asc` or `desc`. Raises `Invalid` (`odata.orderby`)."""
    field, _, direction = text.strip().partition(" ")
    direction = direction.strip().lower() or "asc"
    if field not in fields or direction not in ("asc", "desc"):
        raise Invalid(
            "odata.orderby", f"$orderby is {text[:80]!r}; it takes one of {', '.join(fields)}, and asc or desc"
        )
    return Order(field, direction == "desc")


@dataclass(frozen=True, slots=True)
class _Word:
    kind: str
    text: str
    place: int


def _words(text: str) -> list[_Word]:
    found: list[_Word] = []
    place = 0
    while place < len(text):
        match = _WORD.match(text, place)
        if match is None or len(found) >= _MAX_WORDS:
            raise Invalid(
                "odata.filter", f"$filter cannot be read at character {place + 1}: {text[place : place + 20]!r}"
            )
        kind = str(match.lastgroup)
        found.append(_Word(kind, match[kind], match.start(kind) + 1))
        place = match.end()
    return found


class _Parser:
    def __init__(self, words: list[_Word], fields: frozenset[str]) -> None:
        self._words = words
        self._fields = fields
        self._at = 0
        self._depth = 0
        self.equal: dict[str, Any] = {}

    def filter(self) -> _Evaluate:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Invalid("odata.filter", f"$filter is nested deeper than {_MAX_DEPTH} levels")
        known = dict(self.equal)
        parts = [self._and()]
        while self._take("or"):
            parts.append(self._and())
        if len(parts) > 1:
            self.equal = known
        self._depth -= 1
        return parts[0] if len(parts) == 1 else lambda values: any(part(values) is True for part in parts)

    def end(self) -> None:
        if self._at < len(self._words):
            raise self._wrong("the end, and, or")

    def _and(self) -> _Evaluate:
        parts = [self._unary()]
        while self._take("and"):
            parts.append(self._unary())
        return parts[0] if len(parts) == 1 else lambda values: all(part(values) is True for part in parts)

    def _unary(self) -> _Evaluate:
        if self._take("not"):
            known = dict(self.equal)
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise Invalid("odata.filter", f"$filter is nested deeper than {_MAX_DEPTH} levels")
            inner = self._unary()
            self._depth -= 1
            self.equal = known
            return lambda values: inner(values) is not True
        return self._comparison()

    def _comparison(self) -> _Evaluate:
        known = dict(self.equal)
        field, left = self._operand()
        word = self._peek()
        if word is None or word.kind != "name" or word.text not in _COMPARISONS:
            return left
        self._at += 1
        literal_at = self._at
        _, right = self._operand()
        compare = _COMPARISONS[word.text]
        self.equal = known
        if word.text == "eq" and field and self._words[literal_at].kind == "text":
            self.equal.setdefault(field, _unquoted(self._words[literal_at].text))
        return lambda values: compare(left(values), right(values))

    def _operand(self) -> tuple[str, _Evaluate]:
        """(the field's name if it is one, how to find the value)."""
        word = self._peek()
        if word is None:
            raise self._wrong("a value or a field")
        self._at += 1
        if word.kind == "text":
            text = _unquoted(word.text)
            return "", lambda _: text
        if word.kind == "number":
            number = float(word.text)
            return "", lambda _: number
        if word.text == "(":
            inner = self.filter()
            self._need(")")
            return "", inner
        if word.text in _CONSTANTS:
            constant = _CONSTANTS[word.text]
            return "", lambda _: constant
        if word.text.lower() in _FUNCTIONS:
            return "", self._function(_FUNCTIONS[word.text.lower()])
        if word.text in self._fields:
            name = word.text
            return name, lambda values: values.get(name)
        self._at -= 1
        raise self._wrong(f"a value, a function, or one of the fields {', '.join(sorted(self._fields))}")

    def _function(self, function: Callable[[str, str], Any]) -> _Evaluate:
        self._need("(")
        _, text = self._operand()
        self._need(",")
        _, part = self._operand()
        self._need(")")

        def evaluate(values: Values) -> Any:
            whole, piece = text(values), part(values)
            if not isinstance(whole, str) or not isinstance(piece, str):
                return None
            return function(whole.casefold(), piece.casefold())

        return evaluate

    def _peek(self) -> _Word | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _take(self, text: str) -> bool:
        word = self._peek()
        if word is None or word.kind == "text" or word.text != text:
            return False
        self._at += 1
        return True

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._wrong(repr(text))

    def _wrong(self, expected: str) -> Invalid:
        word = self._peek()
        where = "at its end" if word is None else f"at character {word.place}, {word.text[:40]!r}"
        return Invalid("odata.filter", f"$filter cannot be read {where}: {expected} is expected there")


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")


def _is_equal(left: Any, right: Any) -> bool:
    if isinstance(left, tuple) or isinstance(right, tuple):
        several, one = (left, right) if isinstance(left, tuple) else (right, left)
        return one in several
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right)


def _is_ordered(left: Any, right: Any) -> bool:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    return numbers or (isinstance(left, str) and isinstance(right, str))

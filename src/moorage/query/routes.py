"""Conditions of message routes: the expressions of queries, about the fields of a message (IoT Hub's routing language).

    $body.Weather.History[0].Month     the body, when it is JSON and says so
    $twin.tags.site                    the twin of whoever sent it
    $contentType, $connectionDeviceId  a system property; an application property of that name when there is none, but
                                       not in the place of what the hub itself says, such as $connectionModuleId
    {$contentType}                     the system property and nothing else
    severity, sensor.type              an application property; these are texts: AS_NUMBER(severity) > 2
    'a' || severity                    CONCAT('a', severity)

Names are found without regard to case, a spelling that fits exactly first. A hyphen between two names, with no space
around it, belongs to the name (`$dt-subject`); a difference has spaces. A message is routed when the condition is true;
false and undefined alike are a no, and `explain` says which part of it was to blame.

What is compiled reads a `Message`, which makes nothing ready that no condition asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, Protocol

from moorage.query.evaluator import Evaluate, compile_expression
from moorage.query.lexer import Token
from moorage.query.parser import Parser
from moorage.query.problems import InvalidQuery
from moorage.query.syntax import (
    UNDEFINED,
    Call,
    Comparison,
    Expression,
    Logical,
    Membership,
    Not,
    Path,
    walk,
)

__all__ = [
    "Explanation",
    "Message",
    "RouteCondition",
    "field_of",
    "parse_route_condition",
    "parse_twin_path",
    "value_at",
]

Root = Literal["body", "twin", "system", "strict", "application"]
Step = str | int

_SHOWN_CHARS: Final = 60
_MAX_INDEX: Final = 1_000_000
# Conditions of routes are no longer than this, and asked of every message.
_REMEMBERED_CHARS: Final = 4096
# Whoever begins a path so has forgotten the dollar.
_NEARLY: Final = frozenset({"body", "twin", "tags", "properties"})


class Message(Protocol):
    """What a condition may ask of a message. Each is made when it is first asked for."""

    def system(self, name: str) -> Any:
        """A system property by its routing name in lower case (`contenttype`); `UNDEFINED` when it has none."""

    def application(self, name: str) -> Any:
        """An application property in any case; `UNDEFINED` when it has none."""

    def body(self) -> Any:
        """The document, `UNDEFINED` when it is none or does not say that it is."""

    def twin(self) -> Any:
        """`{tags, properties: {desired, reported}}` of the sender, `UNDEFINED` when there is none."""


@dataclass(frozen=True, slots=True)
class Field:
    root: Root
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a message was not routed: the part of the condition that was to blame, where it begins, and what it met."""

    at: int
    sentence: str


@dataclass(frozen=True, slots=True)
class RouteCondition:
    """`needs_body` and `needs_twin` say what has to be at hand before it is asked."""

    text: str
    expression: Expression
    fields: Mapping[str, Field]
    evaluate: Evaluate

    @property
    def needs_body(self) -> bool:
        return any(field.root == "body" for field in self.fields.values())

    @property
    def needs_twin(self) -> bool:
        return any(field.root == "twin" for field in self.fields.values())

    def matches(self, message: Message) -> bool:
        return self.evaluate(_Fields(self.fields, message)) is True

    def explain(self, message: Message) -> Explanation | None:
        """None when it matches."""
        fields = _Fields(self.fields, message)
        blamed = _blame(self.expression, fields)
        return None if blamed is None else Explanation(blamed.at, _sentence(blamed, fields))


def parse_route_condition(text: str) -> RouteCondition:
    """Raises `InvalidQuery` (`query.*`). An empty text is `true`."""
    # Longer ones are tried out and never stored, and the tree of one takes a megabyte.
    return (_remembered if len(text) <= _REMEMBERED_CHARS else _parse_route_condition)(text)


def _parse_route_condition(text: str) -> RouteCondition:
    parser = _RouteParser(text if text.strip() else "true")
    expression = parser.whole()
    return RouteCondition(text, expression, parser.fields, compile_expression(expression))


_remembered = lru_cache(512)(_parse_route_condition)


def parse_twin_path(text: str) -> tuple[Step, ...] | None:
    """The steps of `$twin.tags.site`, None when `text` is no path into a twin."""
    try:
        condition = parse_route_condition(text)
    except InvalidQuery:
        return None
    if not isinstance(condition.expression, Path):
        return None
    (field,) = condition.fields.values()
    return field.steps if field.root == "twin" and field.steps else None


def field_of(field: Field, message: Message) -> Any:
    match field.root:
        case "body":
            # Of the whole body nothing can be asked.
            return value_at(message.body(), field.steps) if field.steps else UNDEFINED
        case "twin":
            return value_at(message.twin(), field.steps) if field.steps else UNDEFINED
        case "system":
            (name,) = field.steps
            found = message.system(str(name)[1:].lower())
            if found is UNDEFINED and not _is_the_hubs(str(name)[1:].lower()):
                return message.application(str(name))
            return found
        case "strict":
            (name,) = field.steps
            return message.system(str(name)[1:].lower())
        case "application":
            (name,) = field.steps
            return message.application(str(name))


def _is_the_hubs(name: str) -> bool:
    """Whether only the hub says it, of whoever sent the message: a device gives itself no other name."""
    return name.startswith(("connection", "iothub-")) or name in ("enqueuedtime", "messagesource")


def value_at(value: Any, steps: tuple[Step, ...]) -> Any:
    """`UNDEFINED` where the path leads nowhere."""
    for step in steps:
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                return UNDEFINED
            value = value[step]
        elif isinstance(value, Mapping):
            if step in value:
                value = value[step]
                continue
            folded = step.lower()
            value = next((member for name, member in value.items() if name.lower() == folded), UNDEFINED)
        else:
            return UNDEFINED
    return value


class _Fields(Mapping[str, Any]):
    """A row for the evaluator, whose members are the paths of one condition, each looked up once."""

    __slots__ = ("_fields", "_found", "_message")

    def __init__(self, fields: Mapping[str, Field], message: Message) -> None:
        self._fields = fields
        self._message = message
        self._found: dict[str, Any] = {}

    def __getitem__(self, path: str) -> Any:
        if path not in self._found:
            self._found[path] = field_of(self._fields[path], self._message)
        return self._found[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class _RouteParser(Parser):
    """Its paths have one name, which is the whole path and a key of `fields`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.fields: dict[str, Field] = {}

    def whole(self) -> Expression:
        expression = self._or()
        if self._peek.kind != "end":
            self._fail("an operator, or the end of the condition")
        return expression

    def _sum(self) -> Expression:
        at = self._peek.at
        texts = [super()._sum()]
        while self._take_sign("||"):
            texts.append(super()._sum())
        return texts[0] if len(texts) == 1 else Call("CONCAT", tuple(texts), at)

    def _primary(self, token: Token) -> Expression:
        if token.text != "{":
            return super()._primary(token)
        self._advance()
        if not self._peek.text.startswith("$"):
            self._fail("a system property such as $contentType")
        path = self._path(is_strict=True)
        self._expect_sign("}")
        return path

    def _path(self, *, is_strict: bool = False) -> Path:
        at = self._peek.at
        steps: list[Step] = [self._joined_name()]
        while True:
            if self._take_sign("."):
                steps.append(self._joined_name())
            elif self._peek.text == "[" and self._peek_behind.kind == "number":
                steps.append(self._index())
            else:
                break
        field = _field(steps, is_strict)
        if field is None:
            raise InvalidQuery(
                "query.route_path",
                self._text,
                at,
                f"a property has no members; paths begin with $body or $twin, not {str(steps[0])[:40]!r}",
                length=len(str(steps[0])),
            )
        key = json.dumps([field.root, *field.steps])
        self.fields[key] = field
        return Path((key,), at)

    def _joined_name(self) -> str:
        """A name with its hyphens."""
        first = self._peek
        name = self._name("a name")
        end = first.at + len(first.text)
        while self._peek.text == "-" and self._peek.at == end and self._peek_behind.kind == "word":
            if self._peek_behind.at != end + 1:
                break
            self._advance()
            word = self._advance()
            name += f"-{word.value}"
            end = word.at + len(word.text)
        return name

    def _index(self) -> int:
        self._advance()
        token = self._advance()
        if not isinstance(token.value, int) or token.value > _MAX_INDEX:
            raise InvalidQuery(
                "query.syntax", self._text, token.at, f"expected the place in an array, found {token.text[:40]!r}"
            )
        self._expect_sign("]")
        return token.value


def _field(steps: list[Step], is_strict: bool) -> Field | None:
    root = str(steps[0]).lower()
    if root in ("$body", "$twin"):
        return Field("body" if root == "$body" else "twin", tuple(steps[1:]))
    if len(steps) == 1:
        kind: Root = "strict" if is_strict else "system" if root[:1] == "$" else "application"
        return Field(kind, tuple(steps))
    if root[:1] == "$" or root in _NEARLY or not all(isinstance(step, str) for step in steps):
        return None
    # A dot belongs to a property's name.
    return Field("application", (".".join(map(str, steps)),))


# -- why not -----------------------------------------------------------------------------------------------------------


def _blame(expression: Expression, fields: _Fields) -> Expression | None:
    """The smallest part that, had it been true, could have made the whole true; None when the whole is true."""
    if compile_expression(expression)(fields) is True:
        return None
    match expression:
        case Logical("AND", operands):
            return next(found for each in operands if (found := _blame(each, fields)) is not None)
        case Logical("OR", operands):
            # None of them is true; the last one is what it came down to.
            return _blame(operands[-1], fields) or expression
        case _:
            return expression


def _sentence(expression: Expression, fields: _Fields) -> str:
    value = compile_expression(expression)(fields)
    result = "undefined" if value is UNDEFINED else _shown(value)
    met = ", ".join(f"{name} is {_shown(found)}" for name, found in _met(expression, fields))
    kind = {
        Comparison: "this comparison",
        Membership: "this membership",
        Call: "this function",
        Not: "this negation",
        Path: "this field",
    }.get(type(expression), "this")
    note = ""
    if isinstance(expression, Comparison) and value is UNDEFINED:
        sides = [compile_expression(side)(fields) for side in (expression.left, expression.right)]
        if UNDEFINED not in sides:
            note = "; values of two kinds cannot be compared"
            if any(isinstance(side, str) for side in sides) and any(isinstance(side, (int, float)) for side in sides):
                note += ", and properties are texts: AS_NUMBER(name)"
    return f"{kind} is {result}" + (f": {met}" if met else "") + note


def _met(expression: Expression, fields: _Fields) -> list[tuple[str, Any]]:
    paths = {each.names[0]: each for each in walk(expression) if isinstance(each, Path)}
    return [(_name(fields._fields[key]), fields[key]) for key in paths]


def _name(field: Field) -> str:
    names = [*(() if field.root in ("system", "strict", "application") else (f"${field.root}",)), *field.steps]
    text = ""
    for step in names:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _shown(value: Any) -> str:
    if value is UNDEFINED:
        return "not there"
    text = json.dumps(value, default=_plain)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _plain(value: Any) -> Any:
    """What JSON does not know: mappings, and in an array what is not there."""
    return "not there" if value is UNDEFINED else dict(value)

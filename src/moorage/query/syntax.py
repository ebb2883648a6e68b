"""The syntax tree of the query language (contract/services.md 2.9): what a text says, before any row is looked at.

    Select ── projections ── Path | Aggregate | Expression
       ├───── where ──────── Expression
       └───── group_by ───── Path ...

Every node knows where it begins in the text (`at`, counted in characters from 0), and two nodes are equal when they say
the same, wherever they were written. Chains of one precedence (`a AND b AND c`, `1 + 2 - 3`) are one node, so that the
depth of a tree is bounded by what was nested by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

__all__ = [
    "UNDEFINED",
    "Aggregate",
    "ArrayOf",
    "Call",
    "Chain",
    "CollectionName",
    "Comparison",
    "Constant",
    "Expression",
    "Logical",
    "Membership",
    "Negative",
    "Not",
    "Path",
    "Projection",
    "Row",
    "Select",
    "Undefined",
    "walk",
]

CollectionName = Literal["devices", "devices.modules", "devices.jobs"]

# A row as it is shown on the wire: a twin or the job of a device, as JSON values.
Row = Mapping[str, Any]


class Undefined(Enum):
    """What a missing member is, and what comes of comparing two values that cannot be compared."""

    UNDEFINED = "undefined"

    def __repr__(self) -> str:
        return "undefined"

    def __bool__(self) -> bool:
        return False


UNDEFINED: Final = Undefined.UNDEFINED


def _position() -> int:
    position: int = field(default=0, compare=False)
    return position


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """`undefined`, null, a boolean, a number or a string."""

    value: Any
    at: int = _position()

    # In Python 1 == True; here they are two constants.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and (type(self.value), self.value) == (type(other.value), other.value)

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Path:
    """A member: `tags.site` is `("tags", "site")`. The name of a field of the row is in the row's own spelling."""

    names: tuple[str, ...]
    at: int = _position()

    def __str__(self) -> str:
        return ".".join(name if name.isidentifier() or name[:1] == "$" else f"[[{name}]]" for name in self.names)


@dataclass(frozen=True, slots=True)
class ArrayOf:
    items: tuple[Expression, ...]
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Negative:
    """Unary minus."""

    operand: Expression
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Logical:
    """Two or more operands of `AND` or of `OR`."""

    operator: Literal["AND", "OR"]
    operands: tuple[Expression, ...]
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Comparison:
    """`<>` is written `!=` here."""

    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    left: Expression
    right: Expression
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Membership:
    """`IN`, or `NIN` when it is negated."""

    operand: Expression
    items: Expression
    is_negated: bool = False
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Chain:
    """Arithmetic of one precedence, from left to right: `first`, then each operator with its operand."""

    first: Expression
    rest: tuple[tuple[Literal["+", "-", "*", "/", "%"], Expression], ...]
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Call:
    """`name` is in upper case and one of `functions.FUNCTIONS`."""

    name: str
    arguments: tuple[Expression, ...]
    at: int = _position()


Expression = Constant | Path | ArrayOf | Not | Negative | Logical | Comparison | Membership | Chain | Call


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`argument` is None for `COUNT()` alone."""

    kind: Literal["COUNT", "AVG", "SUM", "MIN", "MAX"]
    argument: Expression | None
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Projection:
    """One element behind SELECT and the member that it becomes."""

    value: Expression | Aggregate
    name: str
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Select:
    """A whole statement. `projections` is None for `*`."""

    collection: CollectionName
    projections: tuple[Projection, ...] | None = None
    where: Expression | None = None
    group_by: tuple[Path, ...] = ()
    top: int | None = None

    @property
    def is_aggregate(self) -> bool:
        """Whether its rows are made of many."""
        return bool(self.group_by) or any(isinstance(each.value, Aggregate) for each in self.projections or ())


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything in it."""
    waiting: list[Expression] = [expression]
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case ArrayOf(items):
                waiting += items
            case Not(operand) | Negative(operand):
                waiting.append(operand)
            case Logical(_, operands):
                waiting += operands
            case Comparison(_, left, right):
                waiting += (left, right)
            case Membership(operand, items):
                waiting += (operand, items)
            case Chain(first, rest):
                waiting += (first, *(operand for _, operand in rest))
            case Call(_, arguments):
                waiting += arguments
            case Constant() | Path():
                pass

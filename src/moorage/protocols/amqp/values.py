"""Classes for the AMQP types that Python has no type of its own for; `types` has the table and the codec.

They compare equal to what they are made of: `UInt(5) == 5`, `Symbol("a") == "a"`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "Array",
    "Byte",
    "Char",
    "Decimal",
    "Described",
    "Float",
    "Int",
    "Long",
    "Short",
    "Symbol",
    "Timestamp",
    "UByte",
    "UInt",
    "ULong",
    "UShort",
]


class _Number(int):
    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"


class UByte(_Number):
    """Integer of 0 to 2**8 - 1."""

    __slots__ = ()


class UShort(_Number):
    """Integer of 0 to 2**16 - 1."""

    __slots__ = ()


class UInt(_Number):
    """Integer of 0 to 2**32 - 1."""

    __slots__ = ()


class ULong(_Number):
    """Integer of 0 to 2**64 - 1."""

    __slots__ = ()


class Byte(_Number):
    """Integer of 8 bits with sign."""

    __slots__ = ()


class Short(_Number):
    """Integer of 16 bits with sign."""

    __slots__ = ()


class Int(_Number):
    """Integer of 32 bits with sign."""

    __slots__ = ()


class Long(_Number):
    """Integer of 64 bits with sign; a plain `int` is encoded as one too."""

    __slots__ = ()


class Timestamp(_Number):
    """Milliseconds since 1970 in UTC, 64 bits with sign."""

    __slots__ = ()


class Float(float):
    """A number of 32 bits; a plain `float` has 64."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Float({float(self)})"


class Char(str):
    """One Unicode character."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Char({str(self)!r})"


class Symbol(str):
    """ASCII text out of a set that the two ends agree upon."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Symbol({str(self)!r})"


@dataclass(frozen=True, slots=True)
class Decimal:
    """A decimal number of IEEE 754-2008 as its 4, 8 or 16 bytes. Nobody here calculates with it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor, which is a symbol or a ulong that says what it means."""

    descriptor: object
    value: object


@dataclass(frozen=True, slots=True)
class Array:
    """Values of one type.

    Attributes:
        kind: the type of each item, as in the table above: `Symbol`, `str`, `UInt`, `type(None)`, ...
        items: the values, without the descriptor.
        descriptor: what all items are described by, or None.
    """

    kind: type
    items: tuple[object, ...] = field(default=())
    descriptor: object = None

"""AMQP values as Python values, and back (AMQP 1.0 part 1).

What is decoded encodes to the same AMQP type again. Where Python has no type of its own there is a class in `values`,
which is to be had here too.

    null          None              float       Float             string   str
    boolean       bool              double      float             symbol   Symbol
    ubyte..ulong  UByte..ULong      decimal*    Decimal           list     list
    byte..long    Byte..Long        char        Char              map      dict
    timestamp     Timestamp (ms)    uuid        uuid.UUID         array    Array
    (plain int    long)             binary      bytes             described  Described

Decoding is bounded whatever arrives: MAX_DEPTH, and MAX_ITEMS values in one call, which also holds for arrays whose
elements take no bytes. The keys of maps are texts, symbols, integers, booleans or binaries: others are legal in the
standard, but used by nobody, and the hash of a uuid can be chosen so that a map takes quadratic time.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.values import (
    Array,
    Byte,
    Char,
    Decimal,
    Described,
    Float,
    Int,
    Long,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_ITEMS",
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
    "decode",
    "encode",
    "encode_binary",
    "encode_list",
    "encode_string",
    "encode_symbol",
    "encode_ubyte",
    "encode_uint",
    "encode_ulong",
    "encode_ushort",
    "skip",
]

# How deep values may be nested, and how many there may be in one performative or message section. The deepest that a
# client sends is a described value in a filter map in a source in an attach (services.md 4.4): 5. The most are the
# entries of a map of application properties: hundreds.
MAX_DEPTH: Final = 16
MAX_ITEMS: Final = 8192


def _broken(message: str, at: int) -> PeerError:
    return PeerError("amqp.decode", Condition.DECODE_ERROR, f"{message}, at byte {at}")


# --- decoding ---------------------------------------------------------------------------------------------------------

_UNPACK_32 = struct.Struct(">I").unpack_from


def _reader(form: str, kind: Callable[[int], object]) -> tuple[int, Callable[[bytes, int], object]]:
    packed = struct.Struct(">" + form)
    unpack = packed.unpack_from

    def read(data: bytes, at: int) -> object:
        return kind(unpack(data, at)[0])

    return packed.size, read


def _constant(value: object) -> tuple[int, Callable[[bytes, int], object]]:
    def read(data: bytes, at: int) -> object:
        return value

    return 0, read


def _raw(width: int) -> tuple[int, Callable[[bytes, int], object]]:
    def read(data: bytes, at: int) -> object:
        return Decimal(data[at : at + width])

    return width, read


def _read_boolean(data: bytes, at: int) -> object:
    if data[at] > 1:
        raise _broken(f"a boolean is 0 or 1, this is {data[at]}", at)
    return data[at] == 1


def _read_char(data: bytes, at: int) -> object:
    code = _UNPACK_32(data, at)[0]
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise _broken(f"{code:#x} is no Unicode character", at)
    return Char(chr(code))


def _read_float(data: bytes, at: int) -> object:
    return Float(struct.unpack_from(">f", data, at)[0])


def _read_double(data: bytes, at: int) -> object:
    return struct.unpack_from(">d", data, at)[0]


def _read_uuid(data: bytes, at: int) -> object:
    return uuid.UUID(bytes=data[at : at + 16])


# Constructor: width of the value, and its reader (1.6).
_FIXED: Final[dict[int, tuple[int, Callable[[bytes, int], object]]]] = {
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(UInt(0)),
    0x44: _constant(ULong(0)),
    0x50: _reader("B", UByte),
    0x51: _reader("b", Byte),
    0x52: _reader("B", UInt),
    0x53: _reader("B", ULong),
    0x54: _reader("b", Int),
    0x55: _reader("b", Long),
    0x56: (1, _read_boolean),
    0x60: _reader("H", UShort),
    0x61: _reader("h", Short),
    0x70: _reader("I", UInt),
    0x71: _reader("i", Int),
    0x72: (4, _read_float),
    0x73: (4, _read_char),
    0x74: _raw(4),
    0x80: _reader("Q", ULong),
    0x81: _reader("q", Long),
    0x82: (8, _read_double),
    0x83: _reader("q", Timestamp),
    0x84: _raw(8),
    0x94: _raw(16),
    0x98: (16, _read_uuid),
}

# The type of the elements of an array, by their constructor.
_KINDS: Final[dict[int, type]] = {
    0x40: type(None),
    0x41: bool,
    0x42: bool,
    0x43: UInt,
    0x44: ULong,
    0x45: list,
    0x50: UByte,
    0x51: Byte,
    0x52: UInt,
    0x53: ULong,
    0x54: Int,
    0x55: Long,
    0x56: bool,
    0x60: UShort,
    0x61: Short,
    0x70: UInt,
    0x71: Int,
    0x72: Float,
    0x73: Char,
    0x74: Decimal,
    0x80: ULong,
    0x81: Long,
    0x82: float,
    0x83: Timestamp,
    0x84: Decimal,
    0x94: Decimal,
    0x98: uuid.UUID,
    0xA0: bytes,
    0xA1: str,
    0xA3: Symbol,
    0xB0: bytes,
    0xB1: str,
    0xB3: Symbol,
    0xC0: list,
    0xC1: dict,
    0xD0: list,
    0xD1: dict,
    0xE0: Array,
    0xF0: Array,
}

_KEYS = (str, int, bytes)


_ZERO: Final = UInt(0)


class _Decoder:
    """One call of `decode`: counts the values that it made."""

    __slots__ = ("_data", "_left")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_ITEMS

    def value(self, at: int, end: int, depth: int) -> tuple[object, int]:
        """The value whose constructor is at `at`, and where the next begins."""
        if at >= end:
            raise _broken("a value is missing", at)
        code = self._data[at]
        if code:
            return self._payload(code, at + 1, end, depth)
        if depth >= MAX_DEPTH:
            raise _broken(f"values nested over {MAX_DEPTH} deep", at)
        self._count(1, at)
        descriptor, at = self.value(at + 1, end, depth + 1)
        value, at = self.value(at, end, depth + 1)
        return Described(descriptor, value), at

    def _payload(self, code: int, at: int, end: int, depth: int) -> tuple[object, int]:
        fixed = _FIXED.get(code)
        if fixed is not None:
            width, read = fixed
            if at + width > end:
                raise _broken(f"a value of {width} bytes is cut off", at)
            return read(self._data, at), at + width
        if code == 0x45:
            # As deep as the same list written with its size: what is read can be written, and read again.
            if depth >= MAX_DEPTH:
                raise _broken(f"values nested over {MAX_DEPTH} deep", at)
            return [], at
        if code not in _KINDS:
            raise _broken(f"{code:#04x} is no constructor of a value", at - 1)
        size, start = self._size(code, at, end)
        stop = start + size
        if stop > end:
            raise _broken(f"a value of {size} bytes is cut off", at)
        if code < 0xC0:
            return self._text(code, start, stop), stop
        if depth >= MAX_DEPTH:
            raise _broken(f"values nested over {MAX_DEPTH} deep", at)
        count, start = self._size(code, start, stop)
        if code in (0xC1, 0xD1):
            return self._map(count, start, stop, depth + 1), stop
        if code in (0xC0, 0xD0):
            return self._list(count, start, stop, depth + 1), stop
        return self._array(count, start, stop, depth + 1), stop

    def _size(self, code: int, at: int, end: int) -> tuple[int, int]:
        """The size or count of a value of variable width: 4 bytes where the constructor has bit 0x10, else 1."""
        if code & 0x10:
            if at + 4 > end:
                raise _broken("a size is cut off", at)
            return _UNPACK_32(self._data, at)[0], at + 4
        if at >= end:
            raise _broken("a size is cut off", at)
        return self._data[at], at + 1

    def _text(self, code: int, start: int, stop: int) -> object:
        data = self._data[start:stop]
        low = code & 0x0F
        if low == 0:
            return data
        try:
            return data.decode() if low == 1 else Symbol(data.decode("ascii"))
        except UnicodeDecodeError:
            raise _broken("a string has to be UTF-8" if low == 1 else "a symbol has to be ASCII", start) from None

    def _count(self, count: int, at: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _broken(f"over {MAX_ITEMS} values", at)

    def _list(self, count: int, at: int, stop: int, depth: int) -> list[object]:
        if count > stop - at:
            raise _broken(f"a list of {count} values in {stop - at} bytes", at)
        self._count(count, at)
        data = self._data
        values: list[object] = []
        for _ in range(count):
            # Nulls, short strings and small numbers are most of what is in lists and maps; they need no call.
            if at + 1 < stop:
                code = data[at]
                if code == 0x40:
                    values.append(None)
                    at += 1
                    continue
                if code == 0xA1:
                    end = at + 2 + data[at + 1]
                    text = data[at + 2 : end]
                    if end <= stop and text.isascii():
                        values.append(text.decode())
                        at = end
                        continue
                elif code == 0x52:
                    values.append(UInt(data[at + 1]))
                    at += 2
                    continue
                elif code == 0x43:
                    values.append(_ZERO)
                    at += 1
                    continue
            value, at = self.value(at, stop, depth)
            values.append(value)
        if at != stop:
            raise _broken(f"{stop - at} bytes too many in a list of {count} values", at)
        return values

    def _map(self, count: int, at: int, stop: int, depth: int) -> dict[object, object]:
        if count % 2:
            raise _broken(f"a map of {count} keys and values", at)
        values = self._list(count, at, stop, depth)
        keys = values[::2]
        for key in keys:
            if not isinstance(key, _KEYS):
                raise _broken(f"a map with a key of type {type(key).__name__}", at)
        found = dict(zip(keys, values[1::2], strict=True))
        if 2 * len(found) != count:
            raise _broken("a map with the same key twice", at)
        return found

    def _array(self, count: int, at: int, stop: int, depth: int) -> Array:
        # Elements may take no bytes at all, so the count says nothing about the size.
        self._count(count, at)
        if at >= stop:
            raise _broken("an array without a constructor", at)
        descriptor: object = None
        code = self._data[at]
        if code == 0:
            descriptor, at = self.value(at + 1, stop, depth + 1)
            if at >= stop:
                raise _broken("an array without a constructor", at)
            code = self._data[at]
        if code not in _KINDS:
            raise _broken(f"{code:#04x} is no constructor of an array's values", at)
        at += 1
        items: list[object] = []
        for _ in range(count):
            item, at = self._payload(code, at, stop, depth)
            items.append(item)
        if at != stop:
            raise _broken(f"{stop - at} bytes too many in an array of {count} values", at)
        return Array(_KINDS[code], tuple(items), descriptor)


def decode(data: bytes, at: int = 0) -> tuple[object, int]:
    """The value that begins at byte `at`, and where the next one begins.

    Raises:
        PeerError: `amqp.decode`, with the byte.
    """
    return _Decoder(data).value(at, len(data), 0)


def skip(data: bytes, at: int) -> int:
    """Where the value that begins at `at` ends, without making it. A described value is not skipped, but refused.

    Raises:
        PeerError: `amqp.decode`: cut off, or no constructor.
    """
    end = len(data)
    if at < end:
        code = data[at]
        width = code >> 4
        if width in (0xA, 0xC, 0xE) and at + 1 < end:
            stop = at + 2 + data[at + 1]
        elif width in (0xB, 0xD, 0xF) and at + 5 <= end:
            stop = at + 5 + _UNPACK_32(data, at + 1)[0]
        elif code in _FIXED:
            stop = at + 1 + _FIXED[code][0]
        elif code == 0x45:
            stop = at + 1
        else:
            raise _broken(f"{code:#04x} is no constructor of a section's value, or it is cut off", at)
        if code in _KINDS and stop <= end:
            return stop
    raise _broken("a value is cut off", at)


# --- encoding ---------------------------------------------------------------------------------------------------------


def _sized(code: int, body: bytes) -> bytes:
    """A binary, string or symbol: `code` is the constructor with a size of one byte."""
    size = len(body)
    if size < 256:
        return bytes((code, size)) + body
    return bytes((code | 0x10,)) + size.to_bytes(4, "big") + body


def _counted(code: int, count: int, body: bytes) -> bytes:
    """A list, map or array: `code` is the constructor with a size of one byte."""
    if len(body) < 255 and count < 256:
        return bytes((code, len(body) + 1, count)) + body
    return bytes((code | 0x10,)) + (len(body) + 4).to_bytes(4, "big") + count.to_bytes(4, "big") + body


def encode_list(items: Sequence[bytes]) -> bytes:
    """A list of encoded values, as list8 or list32 and never as the empty list0 (services.md 3.1 X-12)."""
    return _counted(0xC0, len(items), b"".join(items))


def _fixed(code: int, form: str) -> Callable[[int], bytes]:
    pack = struct.Struct(">B" + form).pack

    def write(value: int) -> bytes:
        return pack(code, value)

    return write


def _compact(code: int, form: str, small: int, low: int, high: int, zero: int = 0) -> Callable[[int], bytes]:
    """Integers that have a constructor with one byte for `low` to `high`, and perhaps one for zero."""
    pack = struct.Struct(">B" + form).pack

    def write(value: int) -> bytes:
        if zero and value == 0:
            return bytes((zero,))
        if low <= value <= high:
            return bytes((small, value & 0xFF))
        return pack(code, value)

    return write


def _encode_decimal(value: Decimal) -> bytes:
    code = {4: 0x74, 8: 0x84, 16: 0x94}.get(len(value.data))
    if code is None:
        raise LocalProtocolError(f"a decimal has 4, 8 or 16 bytes, not {len(value.data)}")
    return bytes((code,)) + value.data


def _encode_array(array: Array) -> bytes:
    elements = [_element(array.kind, item) for item in array.items]
    narrow = array.kind in (bytes, str, Symbol) and all(len(element) < 256 for element in elements)
    code = _CODES.get(array.kind, 0)
    if array.kind is Decimal:
        code = {4: 0x74, 8: 0x84}.get(len(elements[0]) if elements else 4, 0x94)
    if not code or len({len(element) for element in elements}) > 1 and array.kind is Decimal:
        raise LocalProtocolError(f"no array of {array.kind.__name__}")
    if array.kind in (bytes, str, Symbol):
        code, width = (code, 1) if narrow else (code | 0x10, 4)
        elements = [len(element).to_bytes(width, "big") + element for element in elements]
    head = bytes((code,))
    if array.descriptor is not None:
        head = b"\x00" + encode(array.descriptor) + head
    return _counted(0xE0, len(elements), head + b"".join(elements))


# The constructor of an array's elements by their type; for texts the one with a size of one byte.
_CODES: Final[dict[type, int]] = {
    type(None): 0x40,
    bool: 0x56,
    UByte: 0x50,
    UShort: 0x60,
    UInt: 0x70,
    ULong: 0x80,
    Byte: 0x51,
    Short: 0x61,
    Int: 0x71,
    Long: 0x81,
    int: 0x81,
    Timestamp: 0x83,
    Float: 0x72,
    float: 0x82,
    Char: 0x73,
    uuid.UUID: 0x98,
    bytes: 0xA0,
    str: 0xA1,
    Symbol: 0xA3,
    list: 0xD0,
    dict: 0xD1,
    Array: 0xF0,
}
_FORMS: Final[dict[type, str]] = {
    UByte: "B",
    UShort: "H",
    UInt: "I",
    ULong: "Q",
    Byte: "b",
    Short: "h",
    Int: "i",
    Long: "q",
    int: "q",
    Timestamp: "q",
    Float: "f",
    float: "d",
}


def _element(kind: type, item: object) -> bytes:
    """An array's element: its full-width form without the constructor; texts also without their size."""
    if type(item) is not kind:
        raise LocalProtocolError(f"a {type(item).__name__} in an array of {kind.__name__}")
    form = _FORMS.get(kind)
    if form is not None:
        return struct.pack(">" + form, item)
    if isinstance(item, str):
        if kind is Char:
            return ord(item).to_bytes(4, "big")
        return item.encode("ascii" if kind is Symbol else "utf-8")
    if isinstance(item, bytes):
        return item
    if isinstance(item, uuid.UUID):
        return item.bytes
    if isinstance(item, Decimal):
        return item.data
    if item is None:
        return b""
    if isinstance(item, bool):
        return b"\x01" if item else b"\x00"
    encoded = encode(item)
    if encoded[0] & 0x10:
        return encoded[1:]
    # list8, map8 or array8, where all elements have to be of one width.
    return (encoded[1] + 3).to_bytes(4, "big") + encoded[2].to_bytes(4, "big") + encoded[3:]


def _encode_map(value: dict[object, object]) -> bytes:
    return _counted(0xC1, 2 * len(value), b"".join(encode(part) for entry in value.items() for part in entry))


def _encode_items(value: Sequence[object]) -> bytes:
    return encode_list([encode(item) for item in value])


def encode_symbol(value: str) -> bytes:
    return _sized(0xA3, value.encode("ascii"))


def encode_string(value: str) -> bytes:
    return _sized(0xA1, value.encode())


def encode_binary(value: bytes) -> bytes:
    return _sized(0xA0, value)


def _encode_described(value: Described) -> bytes:
    return b"\x00" + encode(value.descriptor) + encode(value.value)


encode_uint = _compact(0x70, "I", 0x52, 0, 255, 0x43)
encode_ulong = _compact(0x80, "Q", 0x53, 0, 255, 0x44)
encode_ushort = _fixed(0x60, "H")
encode_ubyte = _fixed(0x50, "B")
_encode_long = _compact(0x81, "q", 0x55, -128, 127)

_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    type(None): lambda value: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    UByte: encode_ubyte,
    UShort: encode_ushort,
    UInt: encode_uint,
    ULong: encode_ulong,
    Byte: _fixed(0x51, "b"),
    Short: _fixed(0x61, "h"),
    Int: _compact(0x71, "i", 0x54, -128, 127),
    Long: _encode_long,
    int: _encode_long,
    Timestamp: _fixed(0x83, "q"),
    Float: lambda value: struct.pack(">Bf", 0x72, value),
    float: lambda value: struct.pack(">Bd", 0x82, value),
    Char: lambda value: b"\x73" + ord(value).to_bytes(4, "big"),
    Decimal: _encode_decimal,
    uuid.UUID: lambda value: b"\x98" + value.bytes,
    bytes: encode_binary,
    str: encode_string,
    Symbol: encode_symbol,
    list: _encode_items,
    tuple: _encode_items,
    dict: _encode_map,
    Array: _encode_array,
    Described: _encode_described,
}


def encode(value: object) -> bytes:
    """A value as bytes, in the shortest form of its type.

    Raises:
        LocalProtocolError: a Python type, or a number, that AMQP has no place for.
    """
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise LocalProtocolError(f"a {type(value).__name__} is no AMQP value")
    try:
        return encoder(value)
    except (struct.error, UnicodeEncodeError, OverflowError, TypeError) as wrong:
        raise LocalProtocolError(f"{value!r} is no {type(value).__name__} of AMQP: {wrong}") from None

"""Messages: their sections, read when somebody asks (AMQP 1.0 part 3.2).

`Message.decode` finds where the sections are and reads none, since of a telemetry message most are passed on as they
came. A section that is read and cannot be raises `PeerError` then. Sections may come in any order: the C SDK writes its
own (devices.md 4.5).

A batch, of message format BATCHED, is a message of data sections each of which is a whole message: `split_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.types import (
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    decode,
    encode,
    encode_binary,
    encode_list,
    encode_string,
    encode_symbol,
    skip,
)

__all__ = ["ABSENT", "BATCHED", "MAX_BATCH", "MAX_SECTIONS", "Header", "Message", "Properties", "split_batch"]

# The message format of a batch (devices.md 4.5). The format of a plain message is 0.
BATCHED: Final = 0x80013700

# Sections in one message, and messages in one batch. A batch is at most 256 KB, and a telemetry message over AMQP takes
# some 30 bytes with nothing in it; the SDKs stop at 500 (devices.md 9.2).
MAX_SECTIONS: Final = 1024
MAX_BATCH: Final = 1024


class Absent:
    """The type of ABSENT: no amqp-value section, where None is a section that holds null."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(slots=True)
class Header:
    """3.2.1; `ttl` is in milliseconds."""

    durable: bool | None = None
    priority: int | None = None
    ttl: int | None = None
    first_acquirer: bool | None = None
    delivery_count: int | None = None


@dataclass(slots=True)
class Properties:
    """3.2.4; times are `Timestamp`s in milliseconds.

    `message_id` and `correlation_id` are `ULong`, `uuid.UUID`, `bytes` or `str`. To answer, hand back the value as it
    came: clients compare its type too (services.md 3.2 C-5).
    """

    message_id: object = None
    user_id: bytes | None = None
    to: str | None = None
    subject: str | None = None
    reply_to: str | None = None
    correlation_id: object = None
    content_type: str | None = None
    content_encoding: str | None = None
    absolute_expiry_time: int | None = None
    creation_time: int | None = None
    group_id: str | None = None
    group_sequence: int | None = None
    reply_to_group_id: str | None = None


_NOTHING: Final[Mapping[Any, object]] = MappingProxyType({})

_HEADER, _DELIVERY, _ANNOTATIONS, _PROPERTIES, _APPLICATION, _DATA, _SEQUENCE, _VALUE, _FOOTER = range(0x70, 0x79)

_BY_NAME: Final[Mapping[str, int]] = {
    "amqp:header:list": _HEADER,
    "amqp:delivery-annotations:map": _DELIVERY,
    "amqp:message-annotations:map": _ANNOTATIONS,
    "amqp:properties:list": _PROPERTIES,
    "amqp:application-properties:map": _APPLICATION,
    "amqp:data:binary": _DATA,
    "amqp:amqp-sequence:list": _SEQUENCE,
    "amqp:amqp-value:*": _VALUE,
    "amqp:footer:map": _FOOTER,
}


def _wrong(message: str) -> PeerError:
    return PeerError("amqp.decode", Condition.DECODE_ERROR, message)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_binary(value: object) -> bool:
    return isinstance(value, bytes)


def _is_id(value: object) -> bool:
    return _is_number(value) or isinstance(value, str | bytes | UUID)


def _encode_id(value: object) -> bytes:
    return encode(ULong(value) if type(value) is int else value)


def _as(kind: Callable[..., object]) -> Callable[[Any], bytes]:
    return lambda value: encode(kind(value))


_Field: TypeAlias = "tuple[str, Callable[[object], bool], Callable[[Any], bytes]]"

_HEADER_FIELDS: Final[Sequence[_Field]] = (
    ("durable", _is_flag, encode),
    ("priority", _is_number, _as(UByte)),
    ("ttl", _is_number, _as(UInt)),
    ("first_acquirer", _is_flag, encode),
    ("delivery_count", _is_number, _as(UInt)),
)
_PROPERTY_FIELDS: Final[Sequence[_Field]] = (
    ("message_id", _is_id, _encode_id),
    ("user_id", _is_binary, encode_binary),
    ("to", _is_text, encode_string),
    ("subject", _is_text, encode_string),
    ("reply_to", _is_text, encode_string),
    ("correlation_id", _is_id, _encode_id),
    ("content_type", _is_text, encode_symbol),
    ("content_encoding", _is_text, encode_symbol),
    ("absolute_expiry_time", _is_number, _as(Timestamp)),
    ("creation_time", _is_number, _as(Timestamp)),
    ("group_id", _is_text, encode_string),
    ("group_sequence", _is_number, _as(UInt)),
    ("reply_to_group_id", _is_text, encode_string),
)


def _read_fields(data: bytes, at: int, name: str, fields: Sequence[_Field]) -> list[Any]:
    values, _ = decode(data, at)
    if not isinstance(values, list) or len(values) > len(fields):
        raise _wrong(f"{name} has to be a list of at most {len(fields)} fields")
    for value, (field, is_legal, _encode) in zip(values, fields, strict=False):
        if value is not None and not is_legal(value):
            raise _wrong(f"{field} of {name} cannot be of type {type(value).__name__}")
    return values


def _write_fields(code: int, value: object, fields: Sequence[_Field]) -> bytes:
    items = []
    for name, _is_legal, encode_field in fields:
        item = getattr(value, name)
        items.append(b"\x40" if item is None else encode_field(item))
    return bytes((0x00, 0x53, code)) + encode_list(items)


def _write_map(code: int, value: Mapping[Any, object], *, symbols: bool) -> bytes:
    keyed = {Symbol(key) if symbols and type(key) is str else key: item for key, item in value.items()}
    return bytes((0x00, 0x53, code)) + encode(keyed)


class Message:
    """A message to be sent, or one that arrived. Read its parts; they do not change.

    Args and attributes:
        header, properties: or None where there is no such section.
        delivery_annotations, message_annotations, footer: keys are symbols, or ulongs in what arrives; plain text
            becomes symbols in what is sent. Empty where there is no such section.
        application_properties: keys are strings, values of simple types. Empty where there is none.
        data: the data sections. `body` is all of them as one.
        value: what is in the amqp-value section, or ABSENT.
        sequences: the amqp-sequence sections.

    Raises:
        PeerError: `amqp.decode`, from every attribute of a message that arrived.
    """

    __slots__ = ("_bytes", "_made", "_starts", "data")

    def __init__(
        self,
        *,
        header: Header | None = None,
        delivery_annotations: Mapping[Any, object] = _NOTHING,
        message_annotations: Mapping[Any, object] = _NOTHING,
        properties: Properties | None = None,
        application_properties: Mapping[str, object] = _NOTHING,
        data: bytes | Sequence[bytes] = (),
        value: object = ABSENT,
        sequences: Sequence[list[object]] = (),
        footer: Mapping[Any, object] = _NOTHING,
    ) -> None:
        self.data: tuple[bytes, ...] = (data,) if isinstance(data, bytes) else tuple(data)
        self._bytes = b""
        self._starts: dict[int, list[int]] = {}
        self._made: dict[int, Any] = {
            _HEADER: header,
            _DELIVERY: delivery_annotations,
            _ANNOTATIONS: message_annotations,
            _PROPERTIES: properties,
            _APPLICATION: application_properties,
            _VALUE: value,
            _SEQUENCE: tuple(sequences),
            _FOOTER: footer,
        }
        if (bool(self.data) + (value is not ABSENT) + bool(sequences)) > 1:
            raise LocalProtocolError("a message has data, a value or sequences, not two of them")

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """The message that `data` is, whole.

        Raises:
            PeerError: `amqp.decode`: not sections from end to end, one twice, or bodies of two kinds.
        """
        message = cls.__new__(cls)
        message._bytes = data
        message._made = {}
        starts: dict[int, list[int]] = {}
        message._starts = starts
        bodies: list[bytes] = []
        at, end, count = 0, len(data), 0
        while at < end:
            if data[at : at + 2] == b"\x00\x53" and at + 3 < end:
                code, start = data[at + 2], at + 3
            else:
                code, start = _read_descriptor(data, at)
            at = skip(data, start)
            count += 1
            if count > MAX_SECTIONS:
                raise _wrong(f"over {MAX_SECTIONS} sections in a message")
            if code == _DATA:
                kind = data[start]
                if kind == 0xA0:
                    bodies.append(data[start + 2 : at])
                elif kind == 0xB0:
                    bodies.append(data[start + 5 : at])
                else:
                    raise _wrong(f"a data section has to be binary, not {kind:#04x}")
            elif code == _SEQUENCE:
                starts.setdefault(code, []).append(start)
            elif _HEADER <= code <= _FOOTER and code not in starts:
                starts[code] = [start]
            else:
                raise _wrong(f"section {code:#04x} is unknown, or is there twice")
        if bool(bodies) + (_VALUE in starts) + (_SEQUENCE in starts) > 1:
            raise _wrong("a message with bodies of two kinds")
        message.data = tuple(bodies)
        return message

    @property
    def body(self) -> bytes:
        """The data sections as one; empty where there is none."""
        data = self.data
        return data[0] if len(data) == 1 else b"".join(data)

    @property
    def header(self) -> Header | None:
        return cast("Header | None", self._read(_HEADER))

    @property
    def delivery_annotations(self) -> Mapping[Any, object]:
        return cast("Mapping[Any, object]", self._read(_DELIVERY))

    @property
    def message_annotations(self) -> Mapping[Any, object]:
        return cast("Mapping[Any, object]", self._read(_ANNOTATIONS))

    @property
    def properties(self) -> Properties | None:
        return cast("Properties | None", self._read(_PROPERTIES))

    @property
    def application_properties(self) -> Mapping[str, object]:
        return cast("Mapping[str, object]", self._read(_APPLICATION))

    @property
    def value(self) -> object:
        return self._read(_VALUE)

    @property
    def sequences(self) -> tuple[list[object], ...]:
        return cast("tuple[list[object], ...]", self._read(_SEQUENCE))

    @property
    def footer(self) -> Mapping[Any, object]:
        return cast("Mapping[Any, object]", self._read(_FOOTER))

    def _read(self, code: int) -> object:
        made = self._made
        if code in made:
            return made[code]
        starts = self._starts.get(code)
        value: object
        if code == _HEADER:
            value = Header(*_read_fields(self._bytes, starts[0], "header", _HEADER_FIELDS)) if starts else None
        elif code == _PROPERTIES:
            value = (
                Properties(*_read_fields(self._bytes, starts[0], "properties", _PROPERTY_FIELDS)) if starts else None
            )
        elif code == _VALUE:
            value = decode(self._bytes, starts[0])[0] if starts else ABSENT
        elif code == _SEQUENCE:
            value = tuple(_read_list(self._bytes, start) for start in starts or ())
        else:
            value = _read_map(self._bytes, starts[0], code) if starts else _NOTHING
        made[code] = value
        return value

    def encode(self) -> bytes:
        """The message as bytes, its sections in the order of the standard.

        Raises:
            LocalProtocolError: a value that AMQP has no place for.
        """
        parts = []
        if self.header is not None:
            parts.append(_write_fields(_HEADER, self.header, _HEADER_FIELDS))
        for code, section in ((_DELIVERY, self.delivery_annotations), (_ANNOTATIONS, self.message_annotations)):
            if section:
                parts.append(_write_map(code, section, symbols=True))
        if self.properties is not None:
            parts.append(_write_fields(_PROPERTIES, self.properties, _PROPERTY_FIELDS))
        if self.application_properties:
            parts.append(_write_map(_APPLICATION, self.application_properties, symbols=False))
        parts.extend(b"\x00\x53\x75" + encode_binary(data) for data in self.data)
        parts.extend(b"\x00\x53\x76" + encode(sequence) for sequence in self.sequences)
        if self.value is not ABSENT:
            parts.append(b"\x00\x53\x77" + encode(self.value))
        if self.footer:
            parts.append(_write_map(_FOOTER, self.footer, symbols=True))
        return b"".join(parts)

    def __repr__(self) -> str:
        return f"Message({sum(map(len, self.data))} bytes of data)"


def _read_descriptor(data: bytes, at: int) -> tuple[int, int]:
    """The code of the section at `at`, described in one of the longer ways, and where its value begins."""
    if data[at]:
        raise _wrong(f"a section has to begin with a descriptor, at byte {at}")
    descriptor, start = decode(data, at + 1)
    code = _BY_NAME.get(descriptor) if isinstance(descriptor, str) else descriptor
    if not isinstance(code, int):
        raise _wrong(f"{descriptor!r} describes no section")
    return int(code), start


def _read_map(data: bytes, at: int, code: int) -> Mapping[Any, object]:
    value, _ = decode(data, at)
    if not isinstance(value, dict):
        raise _wrong(f"section {code:#04x} has to be a map")
    keys = (str,) if code == _APPLICATION else (str, ULong)
    if not all(isinstance(key, keys) for key in value):
        raise _wrong(f"a key of section {code:#04x} has to be text")
    return value


def _read_list(data: bytes, at: int) -> list[object]:
    value, _ = decode(data, at)
    if not isinstance(value, list):
        raise _wrong("a sequence section has to be a list")
    return value


def split_batch(payload: bytes) -> list[bytes]:
    """The encoded messages that a delivery of format BATCHED is made of, in their order.

    Raises:
        PeerError: `amqp.decode`: no data section, or over MAX_BATCH of them.
    """
    messages = Message.decode(payload).data
    if not 0 < len(messages) <= MAX_BATCH:
        raise _wrong(f"a batch of {len(messages)} messages; 1 to {MAX_BATCH} are allowed")
    return list(messages)

"""The frames' bodies and what they hold, as values: AMQP 1.0 parts 2.7, 3.4, 3.5 and 5.3.

Every one is a described list. Ours always have all their fields, nulls at the end included, a descriptor of three bytes
and a list with a size: the azure-eventhub client reads no other (services.md 3.1 X-11, X-12). What is read may leave
fields out at the end, describe by symbol, and use integers of any width.

`encode(value)` and `decode(data)` go by the tables `FIELDS` at the end. The frames of telemetry have ways of their own
in `connection`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.types import (
    Array,
    Described,
    Symbol,
    encode_binary,
    encode_list,
    encode_string,
    encode_symbol,
    encode_ubyte,
    encode_uint,
    encode_ulong,
    encode_ushort,
)
from moorage.protocols.amqp.types import (
    decode as decode_value,
)
from moorage.protocols.amqp.types import (
    encode as encode_value,
)

__all__ = [
    "RECEIVER",
    "SENDER",
    "SETTLE_FIRST",
    "SETTLE_MIXED",
    "SETTLE_SECOND",
    "SETTLE_SETTLED",
    "SETTLE_UNSETTLED",
    "Accepted",
    "Attach",
    "Begin",
    "Close",
    "DeliveryState",
    "Detach",
    "Disposition",
    "End",
    "Error",
    "Flow",
    "Modified",
    "Open",
    "Performative",
    "Received",
    "Rejected",
    "Released",
    "SaslChallenge",
    "SaslFrame",
    "SaslInit",
    "SaslMechanisms",
    "SaslOutcome",
    "SaslResponse",
    "Source",
    "Target",
    "Transfer",
    "decode",
    "encode",
]

# The role of an attach, flow or disposition (2.8.1).
SENDER: Final = False
RECEIVER: Final = True

# snd-settle-mode (2.8.2) and rcv-settle-mode (2.8.3).
SETTLE_UNSETTLED: Final = 0
SETTLE_SETTLED: Final = 1
SETTLE_MIXED: Final = 2
SETTLE_FIRST: Final = 0
SETTLE_SECOND: Final = 1

Fields: TypeAlias = "Mapping[str, object]"


@dataclass(slots=True)
class Error:
    """Why: in end, close, detach and rejected. `info` has symbols as keys."""

    condition: str
    description: str | None = None
    info: Fields | None = None


# --- outcomes ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Received:
    """Not an outcome: how far the receiver got with a delivery that is to be resumed."""

    section_number: int
    section_offset: int


@dataclass(slots=True)
class Accepted:
    """Taken over by the receiver."""


@dataclass(slots=True)
class Rejected:
    """Invalid to the receiver, which may say why."""

    error: Error | None = None


@dataclass(slots=True)
class Released:
    """Not processed; as if never sent."""


@dataclass(slots=True)
class Modified:
    """Not processed, and to be changed before it is sent again."""

    delivery_failed: bool | None = None
    undeliverable_here: bool | None = None
    message_annotations: Fields | None = None


DeliveryState: TypeAlias = Received | Accepted | Rejected | Released | Modified


# --- termini ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Source:
    """Where a link's messages come from. `filter` has symbols as keys; values are `Described` or null."""

    address: str | None = None
    durable: int | None = None
    expiry_policy: str | None = None
    timeout: int | None = None
    dynamic: bool | None = None
    dynamic_node_properties: Fields | None = None
    distribution_mode: str | None = None
    filter: Fields | None = None
    default_outcome: DeliveryState | None = None
    outcomes: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None


@dataclass(slots=True)
class Target:
    """Where a link's messages go."""

    address: str | None = None
    durable: int | None = None
    expiry_policy: str | None = None
    timeout: int | None = None
    dynamic: bool | None = None
    dynamic_node_properties: Fields | None = None
    capabilities: tuple[str, ...] | None = None


# --- frames -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Open:
    """`idle_time_out` is in milliseconds."""

    container_id: str
    hostname: str | None = None
    max_frame_size: int | None = None
    channel_max: int | None = None
    idle_time_out: int | None = None
    outgoing_locales: tuple[str, ...] | None = None
    incoming_locales: tuple[str, ...] | None = None
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Fields | None = None


@dataclass(slots=True)
class Begin:
    remote_channel: int | None
    next_outgoing_id: int
    incoming_window: int
    outgoing_window: int
    handle_max: int | None = None
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Fields | None = None


@dataclass(slots=True)
class Attach:
    name: str
    handle: int
    role: bool
    snd_settle_mode: int | None = None
    rcv_settle_mode: int | None = None
    source: Source | None = None
    target: Target | None = None
    unsettled: Mapping[object, object] | None = None
    incomplete_unsettled: bool | None = None
    initial_delivery_count: int | None = None
    max_message_size: int | None = None
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Fields | None = None


@dataclass(slots=True)
class Flow:
    next_incoming_id: int | None
    incoming_window: int
    next_outgoing_id: int
    outgoing_window: int
    handle: int | None = None
    delivery_count: int | None = None
    link_credit: int | None = None
    available: int | None = None
    drain: bool | None = None
    echo: bool | None = None
    properties: Fields | None = None


@dataclass(slots=True)
class Transfer:
    """The message's bytes follow it in the frame."""

    handle: int
    delivery_id: int | None = None
    delivery_tag: bytes | None = None
    message_format: int | None = None
    settled: bool | None = None
    more: bool | None = None
    rcv_settle_mode: int | None = None
    state: DeliveryState | None = None
    resume: bool | None = None
    aborted: bool | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Disposition:
    role: bool
    first: int
    last: int | None = None
    settled: bool | None = None
    state: DeliveryState | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Detach:
    handle: int
    closed: bool | None = None
    error: Error | None = None


@dataclass(slots=True)
class End:
    error: Error | None = None


@dataclass(slots=True)
class Close:
    error: Error | None = None


@dataclass(slots=True)
class SaslMechanisms:
    sasl_server_mechanisms: tuple[str, ...]


@dataclass(slots=True)
class SaslInit:
    mechanism: str
    initial_response: bytes | None = None
    hostname: str | None = None

    def __repr__(self) -> str:
        # The response is a password or a token.
        return f"SaslInit({self.mechanism!r}, hostname={self.hostname!r})"


@dataclass(slots=True)
class SaslChallenge:
    challenge: bytes


@dataclass(slots=True)
class SaslResponse:
    response: bytes

    def __repr__(self) -> str:
        return f"SaslResponse({len(self.response)} bytes)"


@dataclass(slots=True)
class SaslOutcome:
    code: int
    additional_data: bytes | None = None


Performative: TypeAlias = Open | Begin | Attach | Flow | Transfer | Disposition | Detach | End | Close
SaslFrame: TypeAlias = SaslMechanisms | SaslInit | SaslChallenge | SaslResponse | SaslOutcome
Composite: TypeAlias = Performative | SaslFrame | DeliveryState | Source | Target | Error


# --- the types of fields ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a field that is not null is written, and how it is checked once it was decoded."""

    name: str
    encode: Callable[[Any], bytes]
    check: Callable[[object], object]


def _integer(name: str, bits: int, encode: Callable[[int], bytes]) -> _Kind:
    def check(value: object) -> object:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << bits:
            raise TypeError
        return int(value)

    return _Kind(name, encode, check)


def _plain(name: str, kind: type, encode: Callable[[Any], bytes]) -> _Kind:
    def check(value: object) -> object:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return _Kind(name, encode, check)


def _check_text(value: object) -> object:
    if not isinstance(value, str):
        raise TypeError
    return str(value)


def _check_symbols(value: object) -> object:
    """Several symbols: an array, or one alone, which stands for an array of it (1.4)."""
    values: object = value.items if isinstance(value, Array) else value if isinstance(value, list) else [value]
    if not isinstance(values, list | tuple) or not all(isinstance(item, str) for item in values):
        raise TypeError
    return tuple(str(item) for item in values)


def _encode_symbols(value: tuple[str, ...]) -> bytes:
    return encode_value(Array(Symbol, tuple(Symbol(item) for item in value)))


def _encode_fields(value: Fields) -> bytes:
    return encode_value({Symbol(key) if type(key) is str else key: item for key, item in value.items()})


def _check_fields(value: object) -> object:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError
    return value


def _check_annotations(value: object) -> object:
    # Keys may also be ulongs, which are reserved (3.2.10); nobody reads those.
    if not isinstance(value, dict):
        raise TypeError
    return value


def _composite(name: str, *kinds: type) -> _Kind:
    def check(value: object) -> object:
        if not isinstance(value, Described):
            raise TypeError
        made = _compose(value)
        if not isinstance(made, kinds):
            raise TypeError
        return made

    return _Kind(name, lambda value: encode(value), check)


_BOOLEAN = _plain("boolean", bool, encode_value)
_UBYTE = _integer("ubyte", 8, encode_ubyte)
_USHORT = _integer("ushort", 16, encode_ushort)
_UINT = _integer("uint", 32, encode_uint)
_ULONG = _integer("ulong", 64, encode_ulong)
_BINARY = _plain("binary", bytes, encode_binary)
_STRING = _Kind("string", encode_string, _check_text)
_SYMBOL = _Kind("symbol", encode_symbol, _check_text)
_SYMBOLS = _Kind("symbols", _encode_symbols, _check_symbols)
_FIELDS = _Kind("fields", _encode_fields, _check_fields)
_MAP = _plain("map", dict, encode_value)
_ANNOTATIONS = _Kind("annotations", _encode_fields, _check_annotations)
_ERROR = _composite("error", Error)
_STATE = _composite("delivery state", Received, Accepted, Rejected, Released, Modified)
_SOURCE = _composite("source", Source)
_TARGET = _composite("target", Target)


@dataclass(frozen=True, slots=True)
class _Layout:
    code: int
    kind: Callable[..., Composite]
    fields: tuple[tuple[str, _Kind], ...]
    # How many fields at the beginning may not be null.
    mandatory: int
    head: bytes


def _layout(code: int, kind: type[Composite], mandatory: int, *kinds: _Kind) -> tuple[type, _Layout]:
    names = [spec.name for spec in dataclasses.fields(kind)]
    return kind, _Layout(code, kind, tuple(zip(names, kinds, strict=True)), mandatory, bytes((0x00, 0x53, code)))


_TERMINUS = (_STRING, _UINT, _SYMBOL, _UINT, _BOOLEAN, _FIELDS)

LAYOUTS: Final[Mapping[type, _Layout]] = dict(
    (
        _layout(
            0x10, Open, 1, _STRING, _STRING, _UINT, _USHORT, _UINT, _SYMBOLS, _SYMBOLS, _SYMBOLS, _SYMBOLS, _FIELDS
        ),
        _layout(0x11, Begin, 0, _USHORT, _UINT, _UINT, _UINT, _UINT, _SYMBOLS, _SYMBOLS, _FIELDS),
        _layout(
            0x12,
            Attach,
            3,
            *(_STRING, _UINT, _BOOLEAN, _UBYTE, _UBYTE, _SOURCE, _TARGET),
            *(_MAP, _BOOLEAN, _UINT, _ULONG, _SYMBOLS, _SYMBOLS, _FIELDS),
        ),
        _layout(
            0x13,
            Flow,
            0,
            *(_UINT, _UINT, _UINT, _UINT, _UINT, _UINT, _UINT, _UINT, _BOOLEAN, _BOOLEAN, _FIELDS),
        ),
        _layout(
            0x14,
            Transfer,
            1,
            *(_UINT, _UINT, _BINARY, _UINT, _BOOLEAN, _BOOLEAN, _UBYTE, _STATE, _BOOLEAN, _BOOLEAN, _BOOLEAN),
        ),
        _layout(0x15, Disposition, 2, _BOOLEAN, _UINT, _UINT, _BOOLEAN, _STATE, _BOOLEAN),
        _layout(0x16, Detach, 1, _UINT, _BOOLEAN, _ERROR),
        _layout(0x17, End, 0, _ERROR),
        _layout(0x18, Close, 0, _ERROR),
        _layout(0x1D, Error, 1, _SYMBOL, _STRING, _FIELDS),
        _layout(0x23, Received, 2, _UINT, _ULONG),
        _layout(0x24, Accepted, 0),
        _layout(0x25, Rejected, 0, _ERROR),
        _layout(0x26, Released, 0),
        _layout(0x27, Modified, 0, _BOOLEAN, _BOOLEAN, _ANNOTATIONS),
        _layout(0x28, Source, 0, *_TERMINUS, _SYMBOL, _FIELDS, _STATE, _SYMBOLS, _SYMBOLS),
        _layout(0x29, Target, 0, *_TERMINUS, _SYMBOLS),
        _layout(0x40, SaslMechanisms, 1, _SYMBOLS),
        _layout(0x41, SaslInit, 1, _SYMBOL, _BINARY, _STRING),
        _layout(0x42, SaslChallenge, 1, _BINARY),
        _layout(0x43, SaslResponse, 1, _BINARY),
        _layout(0x44, SaslOutcome, 1, _UBYTE, _BINARY),
    )
)

_SYMBOLIC: Final[Mapping[type, str]] = {
    Open: "open",
    Begin: "begin",
    Attach: "attach",
    Flow: "flow",
    Transfer: "transfer",
    Disposition: "disposition",
    Detach: "detach",
    End: "end",
    Close: "close",
    Error: "error",
    Received: "received",
    Accepted: "accepted",
    Rejected: "rejected",
    Released: "released",
    Modified: "modified",
    Source: "source",
    Target: "target",
    SaslMechanisms: "sasl-mechanisms",
    SaslInit: "sasl-init",
    SaslChallenge: "sasl-challenge",
    SaslResponse: "sasl-response",
    SaslOutcome: "sasl-outcome",
}
_BY_DESCRIPTOR: Final[Mapping[object, _Layout]] = {layout.code: layout for layout in LAYOUTS.values()} | {
    f"amqp:{_SYMBOLIC[kind]}:list": layout for kind, layout in LAYOUTS.items()
}


def encode(value: Composite) -> bytes:
    """All the fields of a performative, or of what is in one."""
    layout = LAYOUTS[type(value)]
    items = []
    for name, kind in layout.fields:
        item = getattr(value, name)
        items.append(b"\x40" if item is None else kind.encode(item))
    return layout.head + encode_list(items)


def _compose(described: Described) -> Composite:
    descriptor, values = described.descriptor, described.value
    layout = _BY_DESCRIPTOR.get(descriptor) if isinstance(descriptor, str | int) else None
    if layout is None:
        raise PeerError("amqp.unsupported", Condition.NOT_IMPLEMENTED, f"{descriptor!r} describes nothing served here")
    name = layout.kind.__name__.lower()
    if not isinstance(values, list) or len(values) > len(layout.fields):
        raise PeerError(
            "amqp.decode", Condition.DECODE_ERROR, f"{name} has to be a list of at most {len(layout.fields)} fields"
        )
    checked: list[object] = []
    for at, (field, kind) in enumerate(layout.fields):
        value = values[at] if at < len(values) else None
        if value is None:
            if at < layout.mandatory:
                raise PeerError("amqp.field", Condition.INVALID_FIELD, f"{name} without {field}")
        else:
            try:
                value = kind.check(value)
            except TypeError:
                raise PeerError(
                    "amqp.field", Condition.INVALID_FIELD, f"{field} of {name} has to be of type {kind.name}"
                ) from None
        checked.append(value)
    return layout.kind(*checked)


def decode(data: bytes, at: int = 0) -> tuple[Composite, int]:
    """The performative at byte `at`, and where the payload behind it begins.

    Raises:
        PeerError: `amqp.decode`, `amqp.field` or `amqp.unsupported`.
    """
    value, end = decode_value(data, at)
    if not isinstance(value, Described):
        raise PeerError("amqp.decode", Condition.DECODE_ERROR, "a frame has to begin with a described list")
    return _compose(value), end

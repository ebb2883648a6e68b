"""Performatives: all fields are written, what is read may leave some out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.performatives import (
    LAYOUTS,
    RECEIVER,
    SENDER,
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Modified,
    Open,
    Rejected,
    Released,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Source,
    Target,
    Transfer,
    decode,
    encode,
)
from moorage.protocols.amqp.types import Array, Described, Int, Symbol, ULong
from moorage.protocols.amqp.types import decode as decode_value
from moorage.protocols.amqp.types import encode as encode_value

# services.md 3.1 X-11.
FIELD_COUNTS = {Open: 10, Begin: 8, Attach: 14, Flow: 11, Transfer: 11, Disposition: 6, Detach: 3, End: 1, Close: 1}

EXAMPLES: list[Any] = [
    Open("c", "hub.example", 65536, 255, 60000, None, None, ("a",), ("b", "c"), {"product": "p"}),
    Open("c"),
    Begin(None, 0, 1, 2),
    Begin(7, 0, 1, 2, 255, (), ("x",), {"k": Int(1)}),
    Attach("n", 0, SENDER),
    Attach("n", 4294967295, RECEIVER, 1, 1, Source("a"), Target("b"), {}, False, 0, 2**64 - 1, ("a",), ("b",), {}),
    Flow(None, 0, 0, 0),
    Flow(1, 2, 3, 4, 5, 6, 7, 8, True, True, {}),
    Transfer(0, 0, b"tag", 0x80013700, True, True, 1, Accepted(), True, True, True),
    Disposition(RECEIVER, 0, 9, True, Rejected(Error("amqp:not-found", "no", {"k": "v"}))),
    Disposition(SENDER, 1, None, True, Released()),
    Disposition(RECEIVER, 1, 1, True, Modified(True, False, {"x-opt": "y"})),
    Detach(0, True, Error("amqp:link:stolen")),
    End(),
    Close(Error("amqp:connection:forced", "later")),
    SaslMechanisms(("MSSBCBS", "ANONYMOUS")),
    SaslInit("PLAIN", b"\0user\0secret", "hub"),
    SaslOutcome(0),
    Source(
        "amqps://hub/x",
        filter={"apache.org:selector-filter:string": Described(Symbol("apache.org:selector-filter:string"), "a > 'b'")},
        default_outcome=Modified(),
        outcomes=("amqp:accepted:list",),
    ),
]


@pytest.mark.parametrize("value", EXAMPLES)
def test_what_is_written_is_read(value: Any) -> None:
    data = encode(value)
    assert decode(data + b"payload") == (value, len(data))


@pytest.mark.parametrize("value", EXAMPLES)
def test_all_fields_are_written_behind_a_descriptor_of_one_byte(value: Any) -> None:
    data = encode(value)
    layout = LAYOUTS[type(value)]
    assert data[:3] == bytes((0x00, 0x53, layout.code))
    assert data[3] in (0xC0, 0xD0)
    described, _ = decode_value(data)
    assert isinstance(described, Described) and isinstance(described.value, list)
    assert len(described.value) == len(dataclasses.fields(value))
    if type(value) in FIELD_COUNTS:
        assert len(described.value) == FIELD_COUNTS[type(value)]


@pytest.mark.parametrize("value", [Accepted(), Released(), Disposition(RECEIVER, 0, 0, True, Accepted())])
def test_no_list_is_written_without_a_size(value: Any) -> None:
    assert b"\x45" not in encode(value)


@pytest.mark.parametrize("value", EXAMPLES)
@pytest.mark.parametrize("symbolic", [False, True])
def test_fields_may_be_left_out_at_the_end_and_descriptors_be_symbols(value: Any, symbolic: bool) -> None:
    described, _ = decode_value(encode(value))
    assert isinstance(described, Described) and isinstance(described.value, list)
    fields = list(described.value)
    while fields and fields[-1] is None:
        fields.pop()
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(value).__name__)[1:]
    descriptor = Symbol(f"amqp:{name}:list") if symbolic else described.descriptor
    data = b"\x00" + encode_value(descriptor) + (encode_value(fields) if fields else b"\x45")
    assert decode(data) == (value, len(data))


def test_integers_may_be_of_any_width() -> None:
    data = encode_value(Described(ULong(0x16), [ULong(5), True]))
    assert decode(data)[0] == Detach(5, True)


def test_symbols_may_be_one_or_a_list_or_an_array() -> None:
    for symbols in (Symbol("a"), [Symbol("a")], Array(Symbol, (Symbol("a"),))):
        fields = ["c", None, None, None, None, None, None, symbols]
        found = decode(encode_value(Described(ULong(0x10), fields)))[0]
        assert isinstance(found, Open) and found.offered_capabilities == ("a",)


@pytest.mark.parametrize(
    ("code", "fields", "condition"),
    [
        (0x10, [], Condition.INVALID_FIELD),
        (0x10, [Int(1)], Condition.INVALID_FIELD),
        (0x12, ["n", True, True], Condition.INVALID_FIELD),
        (0x12, ["n", Int(-1), True], Condition.INVALID_FIELD),
        (0x12, ["n", Int(1), True, None, None, "source"], Condition.INVALID_FIELD),
        (0x12, ["n", Int(1), True, None, None, Described(ULong(0x29), [])], Condition.INVALID_FIELD),
        (0x12, ["n", Int(1), True, None, None, None, Described(ULong(0x30), [])], Condition.NOT_IMPLEMENTED),
        (0x14, [ULong(2**32)], Condition.INVALID_FIELD),
        (0x17, [None, None], Condition.DECODE_ERROR),
        (0x17, "text", Condition.DECODE_ERROR),
        (0x99, [], Condition.NOT_IMPLEMENTED),
        ([], [], Condition.NOT_IMPLEMENTED),
    ],
)
def test_what_a_field_may_not_be_is_refused(code: Any, fields: Any, condition: str) -> None:
    descriptor = ULong(code) if isinstance(code, int) else code
    with pytest.raises(PeerError) as caught:
        decode(encode_value(Described(descriptor, fields)))
    assert caught.value.condition == condition


def test_a_frame_that_is_not_described_is_refused() -> None:
    with pytest.raises(PeerError):
        decode(encode_value([]))


def test_what_is_a_password_is_not_printed() -> None:
    assert "secret" not in repr(SaslInit("PLAIN", b"\0user\0secret"))


@given(st.sampled_from([bytes((0, 0x53, layout.code)) for layout in LAYOUTS.values()]), st.binary(max_size=100))
def test_arbitrary_fields_are_a_performative_or_refused(head: bytes, data: bytes) -> None:
    try:
        value, _ = decode(head + data)
    except PeerError:
        return
    assert decode(encode(value))[0] == value or "nan" in repr(value)

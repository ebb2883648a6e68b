"""AMQP values against the encodings of part 1.6 of the standard, and round trips of everything."""

from __future__ import annotations

import math
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.types import (
    MAX_DEPTH,
    MAX_ITEMS,
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
    decode,
    encode,
    skip,
)

A_UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
A_URL = "http://example.org/hello-world"

# Each encoding of table 1.6, the value it stands for, and whether it is how we write that value.
ENCODINGS: list[tuple[str, object, bool]] = [
    ("40", None, True),
    ("41", True, True),
    ("42", False, True),
    ("5601", True, False),
    ("5600", False, False),
    ("50ff", UByte(255), True),
    ("601234", UShort(0x1234), True),
    ("43", UInt(0), True),
    ("5201", UInt(1), True),
    ("7000000100", UInt(256), True),
    ("7000000001", UInt(1), False),
    ("44", ULong(0), True),
    ("53ff", ULong(255), True),
    ("80ffffffffffffffff", ULong(2**64 - 1), True),
    ("51ff", Byte(-1), True),
    ("618000", Short(-32768), True),
    ("54ff", Int(-1), True),
    ("71ffffff7f", Int(-129), True),
    ("5580", Long(-128), True),
    ("818000000000000000", Long(-(2**63)), True),
    ("72c0200000", Float(-2.5), True),
    ("82c004000000000000", -2.5, True),
    ("7422500001", Decimal(bytes.fromhex("22500001")), True),
    ("842238000000000001", Decimal(bytes.fromhex("2238000000000001")), True),
    ("94" + "00" * 15 + "01", Decimal(bytes(15) + b"\x01"), True),
    ("730001f600", Char("\U0001f600"), True),
    ("8300000131682c8b61", Timestamp(0x131682C8B61), True),
    ("9800112233445566778899aabbccddeeff", A_UUID, True),
    ("a0020102", b"\x01\x02", True),
    ("b0000000020102", b"\x01\x02", False),
    ("a103e282ac", "€", True),
    ("b100000003e282ac", "€", False),
    ("a3026869", Symbol("hi"), True),
    ("b3000000026869", Symbol("hi"), False),
    ("45", [], False),
    ("c00100", [], True),
    ("d00000000400000000", [], False),
    ("c00402415407", [True, Int(7)], True),
    ("c10602a101615407", {"a": Int(7)}, True),
    ("d10000000900000002a101615407", {"a": Int(7)}, False),
    ("e00602a301610162", Array(Symbol, (Symbol("a"), Symbol("b"))), True),
    ("f00000000d0000000270" + "0000000100000002", Array(UInt, (UInt(1), UInt(2))), False),
    ("005324c00100", Described(ULong(0x24), []), True),
    # Part 1.3: a described type, "URL" as symbol, with a string.
    (
        "00a10355524ca11e" + b"http://example.org/hello-world".hex(),
        Described("URL", "http://example.org/hello-world"),
        True,
    ),
]


@pytest.mark.parametrize(("encoded", "value", "is_ours"), ENCODINGS)
def test_each_encoding_of_the_standard_is_read(encoded: str, value: object, is_ours: bool) -> None:
    data = bytes.fromhex(encoded)
    found, end = decode(data)
    assert end == len(data)
    assert found == value
    assert type(found) is type(value)
    if is_ours:
        assert encode(value) == data


def test_every_encoding_that_is_cut_off_is_refused() -> None:
    for encoded, _, _ in ENCODINGS:
        data = bytes.fromhex(encoded)
        for size in range(len(data)):
            with pytest.raises(PeerError) as caught:
                decode(data[:size])
            assert caught.value.condition == Condition.DECODE_ERROR


@pytest.mark.parametrize("encoded", ["5602", "73ffffffff", "730000d800", "a101ff", "a301ff", "01", "c1050354015402"])
def test_what_no_value_can_be_is_refused(encoded: str) -> None:
    with pytest.raises(PeerError):
        decode(bytes.fromhex(encoded) + bytes(8))


def test_a_map_with_the_same_key_twice_is_refused() -> None:
    with pytest.raises(PeerError, match="twice"):
        decode(bytes.fromhex("c10b04a101615401a101615402"))


def test_a_map_may_not_have_keys_whose_hash_can_be_chosen() -> None:
    keys: list[object] = [A_UUID, 0.5, Decimal(bytes(4)), []]
    for key in keys:
        body = encode(key) + b"\x40"
        with pytest.raises(PeerError, match="key"):
            decode(bytes((0xC1, len(body) + 1, 2)) + body)


def test_values_are_nested_only_so_deep() -> None:
    value: object = Int(1)
    for _ in range(MAX_DEPTH):
        value = [value]
    assert decode(encode(value))[0] == value
    with pytest.raises(PeerError, match="deep"):
        decode(encode([value]))
    with pytest.raises(PeerError, match="deep"):
        decode(b"\x00" * 100_000)


def test_there_are_only_so_many_values() -> None:
    assert len(decode(encode([None] * MAX_ITEMS))[0]) == MAX_ITEMS  # type: ignore[arg-type]  # it is a list
    with pytest.raises(PeerError, match="over"):
        decode(encode([None] * (MAX_ITEMS + 1)))


def test_an_array_of_values_without_bytes_is_counted_too() -> None:
    with pytest.raises(PeerError, match="over"):
        decode(bytes.fromhex("f000000005ffffffff40"))


def test_an_array_in_an_array_keeps_its_kind() -> None:
    inner = Array(str, ("a", "bc"))
    outer = Array(Array, (inner, Array(UInt, ())))
    assert decode(encode(outer))[0] == outer


def test_items_of_an_array_may_be_described() -> None:
    value = Array(list, ([Int(1)], []), Symbol("x:y"))
    assert decode(encode(value))[0] == value


@pytest.mark.parametrize(
    "value", [UByte(256), Int(2**31), object(), 2**63, Symbol("é"), Array(UInt, (Int(1),)), Char("ab"), Decimal(b"1")]
)
def test_what_amqp_has_no_place_for_cannot_be_written(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        encode(value)


def _numbers(kind: type[int], low: int, high: int) -> st.SearchStrategy[object]:
    return st.integers(low, high).map(kind)


KEYS = st.one_of(
    st.text(max_size=300), st.text(st.characters(max_codepoint=127)).map(Symbol), _numbers(ULong, 0, 2**64 - 1)
)
SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    _numbers(UByte, 0, 255),
    _numbers(UShort, 0, 2**16 - 1),
    _numbers(UInt, 0, 2**32 - 1),
    _numbers(ULong, 0, 2**64 - 1),
    _numbers(Byte, -128, 127),
    _numbers(Short, -(2**15), 2**15 - 1),
    _numbers(Int, -(2**31), 2**31 - 1),
    _numbers(Long, -(2**63), 2**63 - 1),
    _numbers(Timestamp, -(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False).map(Float),
    st.characters(exclude_categories=["Cs"]).map(Char),
    st.text(max_size=300),
    st.text(st.characters(max_codepoint=127), max_size=300).map(Symbol),
    st.binary(max_size=300),
    st.uuids(),
    st.sampled_from([4, 8, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size)).map(Decimal),
)


VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(KEYS, inner, max_size=5),
        st.tuples(st.one_of(KEYS), inner).map(lambda pair: Described(*pair)),
    ),
    max_leaves=12,
)


def alike(one: object, other: object) -> bool:
    """Equal, and of the same AMQP types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return alike(list(one), list(other)) and alike(list(one.values()), list(other.values()))
    if isinstance(one, Described) and isinstance(other, Described):
        return alike([one.descriptor, one.value], [other.descriptor, other.value])
    if isinstance(one, Array) and isinstance(other, Array):
        return one.kind is other.kind and alike(list(one.items), list(other.items))
    return one == other


@given(VALUES)
def test_what_is_written_is_read_with_its_types(value: object) -> None:
    data = encode(value)
    found, end = decode(b"\x40" + data + b"\x40", 1)
    assert alike(found, value)
    assert end == len(data) + 1


@given(st.data())
def test_arrays_come_back(data: st.DataObject) -> None:
    first = data.draw(SIMPLE.filter(lambda item: item is not None and not isinstance(item, Decimal)))
    value = Array(type(first), (first,) * data.draw(st.integers(1, 300)))
    assert alike(decode(encode(value))[0], value)


@given(VALUES.filter(lambda value: not isinstance(value, Described)))
def test_a_value_is_skipped_to_its_end(value: object) -> None:
    data = encode(value)
    assert skip(data + b"\x00", 0) == len(data)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        _, end = decode(data)
    except PeerError as wrong:
        assert wrong.condition == Condition.DECODE_ERROR
    else:
        assert 0 < end <= len(data)


@given(st.binary(max_size=200))
def test_what_was_read_is_written_to_mean_the_same(data: bytes) -> None:
    try:
        value, _ = decode(data)
    except PeerError:
        return
    again, _ = decode(encode(value))
    assert repr(again) == repr(value)  # not a number is not equal to itself


def test_a_double_that_is_not_a_number_comes_back_as_one() -> None:
    value, _ = decode(encode(math.nan))
    assert isinstance(value, float) and math.isnan(value)
    assert struct.pack(">d", value)[:1] == b"\x7f"

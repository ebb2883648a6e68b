"""Messages: sections in any order, read when asked, and batches of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.errors import PeerError
from moorage.protocols.amqp.message import ABSENT, MAX_SECTIONS, Header, Message, Properties, split_batch
from moorage.protocols.amqp.types import Int, Long, Symbol, Timestamp, ULong, encode, encode_binary

FULL = Message(
    header=Header(True, 4, 60_000, False, 1),
    delivery_annotations={"d": Int(1)},
    message_annotations={"x-opt-sequence-number": Long(7), "x-opt-offset": "7"},
    properties=Properties(
        message_id=uuid.UUID(int=1),
        user_id=b"hub",
        to="/devices/pump/messages/devicebound",
        subject="s",
        reply_to="r",
        correlation_id=ULong(9),
        content_type="application/json",
        content_encoding="utf-8",
        absolute_expiry_time=Timestamp(1_700_000_000_000),
        creation_time=Timestamp(1_600_000_000_000),
        group_id="g",
        group_sequence=3,
        reply_to_group_id="rg",
    ),
    application_properties={"iothub-ack": "full", "n": Int(200)},
    data=b"body",
    footer={"f": True},
)


def parts(message: Message) -> list[Any]:
    return [
        message.header,
        dict(message.delivery_annotations),
        dict(message.message_annotations),
        message.properties,
        dict(message.application_properties),
        message.data,
        message.value,
        message.sequences,
        dict(message.footer),
    ]


def section(code: int, value: bytes) -> bytes:
    return bytes((0x00, 0x53, code)) + value


@pytest.mark.parametrize(
    "message",
    [
        FULL,
        Message(),
        Message(data=[b"a", b"", b"c"]),
        Message(value=None),
        Message(value={"k": "v"}),
        Message(sequences=[[Int(1)], ["a"]]),
        Message(data=b"x" * 70_000),
    ],
)
def test_a_message_comes_back(message: Message) -> None:
    assert parts(Message.decode(message.encode())) == parts(message)
    assert Message.decode(message.encode()).encode() == message.encode()


def test_an_id_keeps_its_type() -> None:
    # services.md 3.2 C-5: an answer with another type of id is never matched.
    for value in (ULong(5), uuid.UUID(int=5), "5", b"5"):
        asked = Message.decode(Message(properties=Properties(message_id=value)).encode()).properties
        assert asked is not None
        answer = Message.decode(Message(properties=Properties(correlation_id=asked.message_id)).encode()).properties
        assert answer is not None
        assert (type(answer.correlation_id), answer.correlation_id) == (type(value), value)


def test_sections_may_come_in_the_order_of_the_c_sdk() -> None:
    data = (
        section(0x73, encode([None, None, "to"]))
        + section(0x74, encode({"a": "b"}))
        + section(0x72, encode({Symbol("x"): "y"}))
        + section(0x75, encode_binary(b"body"))
    )
    message = Message.decode(data)
    assert message.properties == Properties(to="to")
    assert message.application_properties == {"a": "b"}
    assert message.message_annotations == {"x": "y"}
    assert message.body == b"body"


def test_descriptors_may_be_long_or_symbols() -> None:
    data = b"\x00\x80" + (0x75).to_bytes(8, "big") + encode_binary(b"a")
    data += b"\x00" + encode(Symbol("amqp:data:binary")) + encode_binary(b"b")
    assert Message.decode(data).body == b"ab"


@pytest.mark.parametrize(
    "data",
    [
        section(0x75, encode("text")),
        section(0x75, b"\xa0\x05abc"),
        section(0x79, encode_binary(b"")),
        section(0x73, encode([])) * 2,
        section(0x75, encode_binary(b"a")) + section(0x77, encode("b")),
        section(0x76, encode([])) + section(0x77, encode("b")),
        section(0x75, encode_binary(b"")) * (MAX_SECTIONS + 1),
        b"\x00\x53",
        b"\x00\x53\x75",
        b"\x40",
        b"\x00\x40\xa0\x00",
        b"\x00\x00\x00",
        section(0x77, b"\x00\xa3\x01a\x40"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        Message.decode(data)


@pytest.mark.parametrize(
    ("attribute", "data"),
    [
        ("header", section(0x70, encode(["yes"]))),
        ("header", section(0x70, encode({}))),
        ("delivery_annotations", section(0x71, encode({Int(1): "x"}))),
        ("message_annotations", section(0x72, encode([]))),
        ("properties", section(0x73, encode([True]))),
        ("properties", section(0x73, encode([None] * 14))),
        ("application_properties", section(0x74, encode({ULong(1): "x"}))),
        ("value", section(0x77, b"\xc0\x03\x02\x40\x53")),
        ("sequences", section(0x76, encode("x"))),
        ("footer", section(0x78, encode("x"))),
    ],
)
def test_a_section_that_cannot_be_read_is_refused_when_it_is_asked_for(attribute: str, data: bytes) -> None:
    message = Message.decode(data)
    with pytest.raises(PeerError):
        getattr(message, attribute)


def test_the_body_is_of_one_kind() -> None:
    with pytest.raises(LocalProtocolError):
        Message(data=b"a", value="b")


def test_null_is_a_value() -> None:
    assert Message.decode(Message(value=None).encode()).value is None
    assert Message.decode(Message(data=b"").encode()).value is ABSENT


def test_a_batch_is_split_into_its_messages() -> None:
    messages = [FULL.encode(), Message(data=b"two").encode()]
    assert split_batch(Message(data=messages).encode()) == messages


@pytest.mark.parametrize("batch", [Message(), Message(value="x"), Message(data=[b""] * (MAX_SECTIONS + 1))])
def test_a_batch_has_at_least_one_message_and_not_too_many(batch: Message) -> None:
    with pytest.raises(PeerError):
        split_batch(batch.encode())


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=12),
            st.tuples(st.integers(0x6F, 0x79), st.binary(max_size=12)).map(lambda pair: section(*pair)),
        ),
        max_size=6,
    ).map(b"".join)
)
def test_arbitrary_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = Message.decode(data)
        parts(message)
    except PeerError:
        return
    assert b"".join(message.data) == message.body

"""The short ways for the frames of telemetry agree with the long one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.protocols.amqp.errors import PeerError
from moorage.protocols.amqp.performatives import RECEIVER, Accepted, Disposition, Rejected, Transfer, decode, encode
from moorage.protocols.amqp.transfers import accepted_frame, read_acceptance, read_transfer, transfer_frames
from moorage.protocols.amqp.types import Described, UInt, ULong
from moorage.protocols.amqp.types import decode as decode_value
from moorage.protocols.amqp.types import encode as encode_value
from tests.protocol.amqp.helpers import parse_frames

NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1))
FLAGS = st.sampled_from([None, True, False])


def read_the_long_way(data: bytes) -> Any:
    try:
        transfer, start = decode(data)
    except PeerError as wrong:
        return wrong.condition
    if not isinstance(transfer, Transfer):
        return None
    return transfer, start


def read_the_short_way(data: bytes) -> Any:
    try:
        handle, id, tag, message_format, settled, transfer, start = read_transfer(data, 0, len(data))
    except PeerError as wrong:
        return wrong.condition
    return transfer or (handle, id, tag, message_format, settled), start


def agree(data: bytes) -> bool:
    """Whether the short way was taken; the two have to agree in any case."""
    long, short = read_the_long_way(data), read_the_short_way(data)
    if isinstance(short, str) or isinstance(short[0], Transfer):
        assert short == long
        return False
    transfer, start = long
    assert short == (
        (
            transfer.handle,
            transfer.delivery_id,
            transfer.delivery_tag,
            transfer.message_format or 0,
            bool(transfer.settled),
        ),
        start,
    )
    assert not (transfer.more or transfer.aborted or transfer.resume or transfer.state)
    return True


def trimmed(performative: Transfer | Disposition, how_many: int) -> bytes:
    """As it is written, but without up to so many nulls at the end."""
    described, _ = decode_value(encode(performative))
    assert isinstance(described, Described) and isinstance(described.value, list)
    fields = list(described.value)
    while how_many and fields[-1] is None:
        fields.pop()
        how_many -= 1
    return b"\x00" + encode_value(described.descriptor) + encode_value(fields)


TRANSFERS = st.builds(
    Transfer,
    NUMBERS,
    st.one_of(st.none(), NUMBERS),
    st.one_of(st.none(), st.binary(max_size=40)),
    st.one_of(st.none(), NUMBERS),
    *(FLAGS, FLAGS),
    st.sampled_from([None, None, 0, 1]),
    st.sampled_from([None, None, Accepted()]),
    *(FLAGS, FLAGS, FLAGS),
)


@given(TRANSFERS, st.integers(0, 11), st.binary(max_size=8))
def test_transfers_are_read_alike(transfer: Transfer, how_many: int, payload: bytes) -> None:
    agree(trimmed(transfer, how_many) + payload)


@given(TRANSFERS, st.integers(0, 40), st.integers(0, 255), st.integers(3, 40))
def test_broken_transfers_are_read_alike(transfer: Transfer, at: int, byte: int, size: int) -> None:
    data = bytearray(encode(transfer))
    if 3 <= at < len(data):
        data[at] = byte
    agree(bytes(data[:size]) if len(data) > size else bytes(data))


@pytest.mark.parametrize("how_many", [0, 6])
@pytest.mark.parametrize("batchable", [None, True])
def test_what_clients_send_goes_the_short_way(how_many: int, batchable: bool | None) -> None:
    assert agree(trimmed(Transfer(3, 70_000, b"\x01\x00\x00\x00", 0, False, False, batchable=batchable), how_many))


DISPOSITIONS = st.builds(
    Disposition,
    st.booleans(),
    NUMBERS,
    st.one_of(st.none(), NUMBERS),
    FLAGS,
    st.sampled_from([None, Accepted(), Accepted(), Rejected()]),
    FLAGS,
)


@given(DISPOSITIONS, st.integers(0, 6), st.integers(0, 30), st.one_of(st.none(), st.integers(0, 255)))
def test_acceptances_are_read_alike(disposition: Disposition, how_many: int, at: int, byte: int | None) -> None:
    data = bytearray(trimmed(disposition, how_many))
    if byte is not None and 3 <= at < len(data):
        data[at] = byte
    short = read_acceptance(bytes(data), 3, len(data))
    if short is not None:
        found, end = decode(bytes(data))
        assert isinstance(found, Disposition)
        assert end == len(data)
        assert (found.role, found.settled, found.state) == (RECEIVER, True, Accepted())
        assert short == (found.first, found.first if found.last is None else found.last)


@pytest.mark.parametrize("state", [b"\x45", b"\xc0\x01\x00"])
def test_the_acceptances_of_clients_go_the_short_way(state: bytes) -> None:
    fields = encode_value(True) + encode_value(UInt(5)) + encode_value(UInt(900)) + b"\x41\x00\x53\x24" + state
    data = b"\x00\x53\x15\xc0" + bytes((len(fields) + 1, 5)) + fields
    assert read_acceptance(data, 3, len(data)) == (5, 900)


@given(NUMBERS, NUMBERS)
def test_our_acceptance_is_the_disposition_that_it_is_meant_to_be(first: int, last: int) -> None:
    assert parse_frames(accepted_frame(7, first, last)) == [
        (7, Disposition(RECEIVER, first, last, True, Accepted()), b"")
    ]


@given(
    *(NUMBERS, NUMBERS, st.binary(min_size=1, max_size=32), NUMBERS, st.booleans()),
    st.binary(max_size=2000),
    st.integers(512, 2048),
)
def test_a_delivery_is_cut_into_frames_that_fit(
    handle: int, id: int, tag: bytes, message_format: int, settled: bool, payload: bytes, max_bytes: int
) -> None:
    frames = transfer_frames(3, handle, id, tag, message_format, settled, payload, max_bytes)
    assert all(len(each) <= max_bytes for each in frames)
    parsed = parse_frames(b"".join(frames))
    assert b"".join(part for _, _, part in parsed) == payload
    for at, (channel, transfer, _) in enumerate(parsed):
        more = at < len(parsed) - 1
        assert channel == 3
        assert transfer == Transfer(handle, id, tag, message_format, settled, more)
    # services.md 3.1 X-11: all eleven fields.
    described, _ = decode_value(frames[0], 8)
    assert isinstance(described, Described) and described.descriptor == ULong(0x14)
    assert isinstance(described.value, list) and len(described.value) == 11

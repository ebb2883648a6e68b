"""The frames of telemetry, read and written without making objects of them.

A transfer of a whole message and the disposition that accepts it are most of all frames. `read_transfer` takes the
usual forms of the first apart and leaves the others, and everything that is wrong, to `performatives`; the tests hold
the two to agree.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import product
from typing import Final, TypeAlias, cast

from moorage.protocols.amqp.performatives import Transfer, decode
from moorage.protocols.amqp.types import encode_binary, encode_list, encode_uint

__all__ = ["EMPTY_FRAME", "accepted_frame", "frame", "read_transfer", "sasl_frame", "transfer_frames"]

# A frame without a body, which says that we are there (2.4.5).
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"

_HEAD = struct.Struct(">IBBH").pack
_UINT = struct.Struct(">I").unpack_from

# Handle, delivery id, tag, message format, settled, the transfer where it is none of the usual, and where the payload
# begins.
Parts: TypeAlias = "tuple[int, int | None, bytes | None, int, bool, Transfer | None, int]"


def frame(channel: int, body: bytes) -> bytes:
    return _HEAD(len(body) + 8, 2, 0, channel) + body


def sasl_frame(body: bytes) -> bytes:
    return _HEAD(len(body) + 8, 2, 1, 0) + body


def _usual_tails() -> dict[bytes, int]:
    """What may follow `settled` in a transfer that is whole and has no state, with the number of fields."""
    null, yes, no = b"\x40", b"\x41", b"\x42"
    choices = ((null, no), (null,), (null,), (null, no), (null, no), (null, yes, no))
    return {b"".join(tail): size for size in range(len(choices) + 1) for tail in product(*choices[:size])}


_TAILS: Final = _usual_tails()


def read_transfer(data: bytes, at: int, stop: int) -> Parts:
    """The transfer whose descriptor begins at `at`, in a frame that ends at `stop`.

    Raises:
        PeerError: as `performatives.decode`.
    """
    usual = _read_usual(data, at + 3, stop)
    if usual is not None:
        return usual
    decoded, start = decode(data[at:stop])
    transfer = cast("Transfer", decoded)
    return (
        transfer.handle,
        transfer.delivery_id,
        transfer.delivery_tag,
        transfer.message_format or 0,
        bool(transfer.settled),
        transfer,
        at + start,
    )


def _read_usual(data: bytes, at: int, stop: int) -> Parts | None:
    # Paid for each telemetry message: see bench/amqp.py before changing it. A frame that is cut off in the middle of a
    # field reads on into what follows it, or past the end; the check of `end` and of the tail find that out.
    try:
        if data[at] == 0xC0:
            end = at + 2 + data[at + 1]
            count = data[at + 2]
            at += 3
        elif data[at] == 0xD0:
            end = at + 5 + _UINT(data, at + 1)[0]
            count = _UINT(data, at + 5)[0]
            at += 9
        else:
            return None
        code = data[at]
        if code == 0x43:
            handle = 0
            at += 1
        elif code == 0x52:
            handle = data[at + 1]
            at += 2
        elif code == 0x70:
            handle = _UINT(data, at + 1)[0]
            at += 5
        else:
            return None
        code = data[at]
        if code == 0x52:
            id = data[at + 1]
            at += 2
        elif code == 0x70:
            id = _UINT(data, at + 1)[0]
            at += 5
        elif code == 0x43:
            id = 0
            at += 1
        else:
            return None
        if data[at] != 0xA0:
            return None
        at += 2
        tag = data[at : at + data[at - 1]]
        at += data[at - 1]
        code = data[at]
        if code == 0x43 or code == 0x40:
            message_format = 0
            at += 1
        elif code == 0x70:
            message_format = _UINT(data, at + 1)[0]
            at += 5
        elif code == 0x52:
            message_format = data[at + 1]
            at += 2
        else:
            return None
        code = data[at]
        if not 0x40 <= code <= 0x42:
            return None
    except (IndexError, struct.error):
        return None
    if end > stop or at >= end or len(tag) > 32 or _TAILS.get(data[at + 1 : end]) != count - 5:
        return None
    return handle, id, tag, message_format, code == 0x41, None, end


def transfer_frames(
    channel: int, handle: int, id: int, tag: bytes, message_format: int, settled: bool, payload: bytes, max_bytes: int
) -> Sequence[bytes]:
    """The frames of one delivery, none over `max_bytes`."""
    fields = [
        encode_uint(handle),
        encode_uint(id),
        encode_binary(tag),
        encode_uint(message_format),
        b"\x41" if settled else b"\x42",
        b"\x42",  # more
        *[b"\x40"] * 5,  # rcv-settle-mode, state, resume, aborted, batchable
    ]
    last = b"\x00\x53\x14" + encode_list(fields)
    room = max_bytes - 8 - len(last)
    if len(payload) <= room:
        return (frame(channel, last + payload),)
    fields[5] = b"\x41"
    more = b"\x00\x53\x14" + encode_list(fields)
    starts = range(0, len(payload), room)
    return [frame(channel, (last if start == starts[-1] else more) + payload[start : start + room]) for start in starts]


_ACCEPTED = struct.Struct(">IBBH3sBBBBBIBIB6sB").pack


def accepted_frame(channel: int, first: int, last: int) -> bytes:
    """A disposition by which the receiver accepts and settles the deliveries `first` to `last`."""
    return _ACCEPTED(
        *(33, 2, 0, channel, b"\x00\x53\x15", 0xC0, 20, 6, 0x41),
        *(0x70, first, 0x70, last, 0x41, b"\x00\x53\x24\xc0\x01\x00", 0x40),
    )

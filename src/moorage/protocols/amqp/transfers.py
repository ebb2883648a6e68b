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

__all__ = [
    "EMPTY_FRAME",
    "accepted_frame",
    "frame",
    "read_acceptance",
    "read_transfer",
    "sasl_frame",
    "transfer_frames",
]

# A frame without a body, which says that we are there (2.4.5).
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"

_HEAD = struct.Struct(">IBBH").pack
_TRANSFER = struct.Struct(">IBBH3s").pack
# The beginning of a transfer's fields: list8, handle and delivery id as uint, tag as vbin8.
_NUMBERS = struct.Struct(">BBBBIBIBB").pack
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


def read_acceptance(data: bytes, at: int, stop: int) -> tuple[int, int] | None:
    """The first and last delivery that a disposition, whose fields begin at `at`, says a receiver accepts and settles.

    None for all other dispositions.
    """
    # Paid for each message that we send.
    try:
        if data[at] != 0xC0 or data[at + 3] != 0x41:
            return None
        end = at + 2 + data[at + 1]
        count = data[at + 2]
        at += 4
        code = data[at]
        if code == 0x52:
            first = data[at + 1]
            at += 2
        elif code == 0x70:
            first = _UINT(data, at + 1)[0]
            at += 5
        elif code == 0x43:
            first = 0
            at += 1
        else:
            return None
        code = data[at]
        if code == 0x52:
            last = data[at + 1]
            at += 2
        elif code == 0x70:
            last = _UINT(data, at + 1)[0]
            at += 5
        elif code == 0x40 or code == 0x43:
            last = first if code == 0x40 else 0
            at += 1
        else:
            return None
    except (IndexError, struct.error):
        return None
    if end != stop or _ACCEPTANCES.get(data[at:end]) != count:
        return None
    return first, last


# What follows the two ids in such a disposition, with the number of all fields: settled, accepted as an empty list of
# one of the three forms, and perhaps batchable.
_ACCEPTANCES: Final = {
    b"\x41\x00\x53\x24" + fields + batchable: 5 + len(batchable)
    for fields in (b"\x45", b"\xc0\x01\x00", b"\xd0\x00\x00\x00\x04\x00\x00\x00\x00")
    for batchable in (b"", b"\x40", b"\x41", b"\x42")
}


def transfer_frames(
    channel: int, handle: int, id: int, tag: bytes, message_format: int, settled: bool, payload: bytes, max_bytes: int
) -> Sequence[bytes]:
    """The frames of one delivery, none over `max_bytes`."""
    last = b"".join(
        (
            _NUMBERS(0xC0, len(tag) + (21 if message_format == 0 else 25), 11, 0x70, handle, 0x70, id, 0xA0, len(tag)),
            tag,
            b"\x43" if message_format == 0 else b"\x70" + message_format.to_bytes(4, "big"),
            b"\x41" if settled else b"\x42",
            b"\x42\x40\x40\x40\x40\x40",  # more; rcv-settle-mode, state, resume, aborted, batchable
        )
    )
    size = len(last) + 11
    if size + len(payload) <= max_bytes:
        return (_TRANSFER(size + len(payload), 2, 0, channel, b"\x00\x53\x14") + last + payload,)
    more = last[:-6] + b"\x41" + last[-5:]
    room = max_bytes - size
    frames = []
    for start in range(0, len(payload), room):
        piece = payload[start : start + room]
        fields = more if start + room < len(payload) else last
        frames.append(_TRANSFER(size + len(piece), 2, 0, channel, b"\x00\x53\x14") + fields + piece)
    return frames


_ACCEPTED = struct.Struct(">IBBH3sBBBBBIBIB6sB").pack


def accepted_frame(channel: int, first: int, last: int) -> bytes:
    """A disposition by which the receiver accepts and settles the deliveries `first` to `last`."""
    return _ACCEPTED(
        *(33, 2, 0, channel, b"\x00\x53\x15", 0xC0, 20, 6, 0x41),
        *(0x70, first, 0x70, last, 0x41, b"\x00\x53\x24\xc0\x01\x00", 0x40),
    )

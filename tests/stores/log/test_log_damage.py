"""Torn tails are cut, damage is reported, and nothing else ever comes out of bytes that are wrong."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.adapters.log.files import DiskFiles
from moorage.adapters.log.format import (
    FRAME_HEADER,
    RECORD_HEADER,
    Hint,
    SegmentHeader,
    State,
    decode_hints,
    decode_segment_header,
    encode_hint,
    encode_segment_header,
    place_records,
    seal_frame,
    segment_header_size,
)
from moorage.adapters.log.reader import LogReader
from moorage.adapters.log.scan import HINT_BYTES
from moorage.adapters.log.stream import CommitStream, LogSettings
from moorage.hub.telemetry_log import LogCorrupt, SourceHeader, StoredMessage

SOURCE = SourceHeader("hub", "Telemetry", "pump-01", None, "1", "{}", None).encode()
SETTINGS = LogSettings(partitions=2, retention_bytes=None, retention_ms=None)
HEADER = segment_header_size(2)


class Writer:
    """Puts batches into a log without an event loop; `ends` are the places behind each, in file and stream."""

    def __init__(self, folder: Path, settings: LogSettings = SETTINGS) -> None:
        self.stream = CommitStream.open(DiskFiles(folder), settings)
        self.ends = [self.stream.view.end]

    def batch(self, *bodies: bytes, enqueued_ms: int = 1) -> None:
        frame = bytearray(FRAME_HEADER.size)
        sequences, times = map(list, self.stream.view.state)
        for number, body in enumerate(bodies):
            partition = number % 2
            size = RECORD_HEADER.size + len(SOURCE) + len(body)
            frame += RECORD_HEADER.pack(size, partition, len(SOURCE), 0, sequences[partition], enqueued_ms)
            frame += SOURCE + body
            sequences[partition] += 1
            times[partition] = enqueued_ms
        self.stream.commit(frame, len(bodies), State(tuple(sequences), tuple(times)))
        self.ends.append(self.stream.view.end)

    def close(self) -> None:
        self.stream.close()


def read_all(folder: Path, settings: LogSettings = SETTINGS) -> tuple[list[StoredMessage], list[LogCorrupt]]:
    """Everything that can be read, and every damage met on the way."""
    files = DiskFiles(folder)
    stream = CommitStream.open(files, settings)
    reader = LogReader(files, 2, lambda: stream.view)
    messages: list[StoredMessage] = []
    damages: list[LogCorrupt] = []
    offset = 0
    try:
        while True:
            try:
                page = reader.read(None, from_offset=offset, limit=5)
            except LogCorrupt as damage:
                assert damage.resume_offset > offset, "reading has to get on"
                damages.append(damage)
                offset = damage.resume_offset
                continue
            messages += page.messages
            offset = page.next_offset
            if page.at_end:
                return messages, damages
    finally:
        stream.close()


def only_segment(folder: Path) -> Path:
    (path,) = folder.glob("*.log")
    return path


def test_every_truncation_leaves_exactly_the_batches_that_are_whole(tmp_path: Path) -> None:
    written = Writer(tmp_path / "whole")
    for batch in ([b"a"], [b"b", b"c"], [b"d" * 50], [b"e", b"f", b"g"]):
        written.batch(*batch)
    written.close()
    path = only_segment(tmp_path / "whole")
    data = path.read_bytes()
    bodies = [[b"a"], [b"b", b"c"], [b"d" * 50], [b"e", b"f", b"g"]]
    for size in range(len(data) + 1):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / path.name).write_bytes(data[:size])
        whole = sum(end <= size for end in written.ends[1:])
        expected = [body for batch in bodies[:whole] for body in batch]
        messages, damages = read_all(folder)
        assert ([message.body for message in messages], damages) == (expected, []), f"cut at {size}"
        again = Writer(folder)
        again.batch(b"after")
        again.close()
        messages, damages = read_all(folder)
        assert ([message.body for message in messages], damages) == ([*expected, b"after"], []), f"cut at {size}"
        shutil.rmtree(folder)


def test_damage_in_the_middle_is_reported_and_what_surrounds_it_is_read(tmp_path: Path) -> None:
    log = Writer(tmp_path)
    for body in (b"one", b"two", b"three", b"four"):
        log.batch(body)
    log.close()
    path = only_segment(tmp_path)
    intact = path.read_bytes()
    for at in range(log.ends[1], log.ends[2]):
        data = bytearray(intact)
        data[at] ^= 0x40
        path.write_bytes(data)
        messages, damages = read_all(tmp_path)
        assert [message.body for message in messages] == [b"one", b"three", b"four"], f"byte {at}"
        assert [(damage.offset, damage.resume_offset) for damage in damages] == [(log.ends[1], log.ends[2])]
        assert damages[0].reason == "log.corrupt"
        assert path.name in damages[0].message


def test_no_number_of_a_damaged_batch_is_given_out_again(tmp_path: Path) -> None:
    log = Writer(tmp_path)
    log.batch(b"0", b"partition 1, number 0")
    log.batch(b"1", b"partition 1, number 1", b"2", b"partition 1, number 2")
    log.batch(b"3")
    log.close()
    path = only_segment(tmp_path)
    data = bytearray(path.read_bytes())
    data[log.ends[1] + FRAME_HEADER.size + 3] ^= 1
    path.write_bytes(data)
    again = Writer(tmp_path)
    assert again.stream.view.state.next_sequence[0] == 4, "the batch behind the damage says so"
    assert again.stream.view.state.next_sequence[1] >= 3, "nobody says so"
    again.batch(b"4", b"partition 1")
    again.close()
    messages, damages = read_all(tmp_path)
    assert len(damages) == 1
    assert [message.body for message in messages] == [b"0", b"partition 1, number 0", b"3", b"4", b"partition 1"]


def test_damage_in_a_sealed_segment_does_not_keep_the_log_from_starting(tmp_path: Path) -> None:
    small = LogSettings(partitions=2, segment_bytes=400, retention_bytes=None, retention_ms=None)
    log = Writer(tmp_path, small)
    for number in range(20):
        log.batch(b"%d" % number, bytes(100), enqueued_ms=number)
    log.close()
    paths = sorted(tmp_path.glob("*.log"))
    whole, _ = read_all(tmp_path, small)
    assert len(paths) > 6
    broken = bytearray(paths[2].read_bytes())
    broken[4] ^= 1
    paths[2].write_bytes(broken)
    paths[4].unlink()
    short = paths[5].read_bytes()
    paths[5].write_bytes(short[:-10])
    messages, damages = read_all(tmp_path, small)
    assert [(damage.offset, damage.resume_offset) for damage in damages[:2]] == [
        (int(paths[index].stem), int(paths[index + 1].stem)) for index in (2, 4)
    ]
    assert damages[2].resume_offset == int(paths[6].stem)
    assert len(damages) == 3
    assert [message for message in whole if message in messages] == messages
    lost = {message.offset for message in whole} - {message.offset for message in messages}
    assert all(any(d.offset <= offset < d.resume_offset for d in damages) for offset in lost)
    # By time and by number, too, one arrives before the damage rather than behind it.
    stream = CommitStream.open(DiskFiles(tmp_path), small)
    reader = LogReader(DiskFiles(tmp_path), 2, lambda: stream.view)
    in_broken = next(message for message in whole if message.offset > int(paths[2].stem))
    with pytest.raises(LogCorrupt):
        reader.read(0, from_sequence=in_broken.sequence)
    with pytest.raises(LogCorrupt):
        reader.read(0, from_time=in_broken.enqueued_ms)
    stream.close()


def test_records_behind_a_broken_header_of_the_newest_segment_stop_the_start(tmp_path: Path) -> None:
    log = Writer(tmp_path)
    log.batch(b"precious")
    log.close()
    path = only_segment(tmp_path)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogCorrupt, match="records behind it") as refused:
        CommitStream.open(DiskFiles(tmp_path), SETTINGS)
    assert path.name in refused.value.fix
    assert path.read_bytes() == data, "nothing is touched"


def test_a_body_that_looks_like_a_batch_is_never_taken_for_one(tmp_path: Path) -> None:
    log = Writer(tmp_path)
    log.batch(b"one")
    # A device that knows the place of its next message and the format, but not the salt, sends a whole frame.
    record = RECORD_HEADER.pack(RECORD_HEADER.size + len(SOURCE) + 4, 0, len(SOURCE), 0, 99, 1) + SOURCE + b"fake"
    forged = bytearray(FRAME_HEADER.size) + record
    seal_frame(forged, position=log.ends[-1] + FRAME_HEADER.size + RECORD_HEADER.size + len(SOURCE), count=1, salt=0)
    log.batch(bytes(forged))
    log.close()
    path = only_segment(tmp_path)
    data = bytearray(path.read_bytes())
    data[log.ends[1]] ^= 1
    path.write_bytes(data)
    messages, damages = read_all(tmp_path)
    assert [message.body for message in messages] == [b"one"]
    assert damages == [], "it is the tail, as after a power cut"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_random_damage_yields_messages_that_were_written_or_the_one_documented_error(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice = random.Random(seed)
    folder = tmp_path_factory.mktemp("log")
    small = LogSettings(partitions=2, segment_bytes=dice.choice([500, 5000]), retention_bytes=None, retention_ms=None)
    log = Writer(folder, small)
    for number in range(12):
        log.batch(*[b"%d.%d" % (number, part) * dice.randrange(1, 9) for part in range(dice.randrange(1, 4))])
    log.close()
    whole = {message.offset: message for message in read_all(folder, small)[0]}
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        for _ in range(dice.randrange(3)):
            if data:
                at = dice.randrange(len(data))
                length = dice.randrange(1, 40)
                data[at : at + length] = dice.choice([dice.randbytes(length), bytes(length), b"", b"mfr1" * 9])
        path.write_bytes(data)
    try:
        messages, damages = read_all(folder, small)
    except LogCorrupt as refused:
        assert "records behind it" in refused.message
        return
    newest = max(int(path.stem) for path in folder.glob("*.log"))
    for message in messages:
        assert whole[message.offset] == message
    for offset in whole.keys() - {message.offset for message in messages}:
        reported = any(damage.offset <= offset < damage.resume_offset for damage in damages)
        assert reported or offset > newest, "only the newest segment may have a torn tail"


def test_a_lost_or_broken_index_is_made_again(tmp_path: Path) -> None:
    big = LogSettings(partitions=2, segment_bytes=HINT_BYTES * 8, retention_bytes=None, retention_ms=None)
    log = Writer(tmp_path, big)
    for number in range(490):
        log.batch(b"%d" % number + bytes(4_000), enqueued_ms=number)
    log.close()
    sidecars = sorted(tmp_path.glob("*.hints"))
    assert len(sidecars) > 2
    kept = [path.read_bytes() for path in sidecars]
    assert all(len(data) > 100 for data in kept)
    for spoil in (b"", b"\xff" * 500, kept[1]):
        for path in sidecars:
            path.write_bytes(spoil)
        sidecars[0].unlink()
        stream = CommitStream.open(DiskFiles(tmp_path), big)
        reader = LogReader(DiskFiles(tmp_path), 2, lambda: stream.view)  # noqa: B023  # used in this round alone
        for number in (0, 1, 57, 489):
            for page in (reader.read(0, from_sequence=number, limit=1), reader.read(0, from_time=number, limit=1)):
                assert page.messages[0].body.startswith(b"%d\x00" % number)
        stream.close()
        # The first was needed by a reader, the last by recovery.
        assert [sidecars[0].read_bytes(), sidecars[-1].read_bytes()] == [kept[0], kept[-1]]


@given(st.binary(max_size=200))
def test_decoders_take_any_bytes(data: bytes) -> None:
    header = SegmentHeader(100, 7, State((1, 2), (3, 4)))
    assert decode_hints(data, header, 10_000) == []
    hint = Hint(500, State((5, 6), (7, 8)))
    assert decode_hints(encode_hint(hint, 7) + data, header, 10_000) == [hint]
    for candidate in (data, encode_segment_header(header)[: len(data)]):
        if len(candidate) < HEADER:
            with pytest.raises(ValueError):
                decode_segment_header(candidate)
    assert decode_segment_header(encode_segment_header(header) + data) == header
    try:
        assert len(place_records(data, 1, 2)) == 1
    except ValueError as error:
        assert str(error)

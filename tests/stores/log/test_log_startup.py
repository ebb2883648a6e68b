"""A long log is ready at once: what is sealed is not read."""

from __future__ import annotations

import time
from pathlib import Path

from moorage.adapters.log.files import DiskFiles
from moorage.adapters.log.format import (
    FRAME_HEADER,
    RECORD_HEADER,
    SegmentHeader,
    State,
    encode_segment_header,
    segment_header_size,
)
from moorage.adapters.log.reader import LogReader
from moorage.adapters.log.stream import CommitStream, LogSettings

SEGMENTS = 2_000
SETTINGS = LogSettings(partitions=4, retention_bytes=None, retention_ms=None)


class CountingFiles(DiskFiles):
    """Counts what is opened and how much is read."""

    opened = 0
    bytes_read = 0

    def open(self, name: str) -> int:
        self.opened += 1
        return super().open(name)

    def pread(self, handle: int, count: int, offset: int) -> bytes:
        data = super().pread(handle, count, offset)
        self.bytes_read += len(data)
        return data


def make_long_log(folder: Path) -> None:
    """Sealed segments of 64 MiB each in name and size, with holes where records would be: 125 GB of log."""
    folder.mkdir()
    size = 64 * 1024 * 1024
    for number in range(SEGMENTS):
        base = number * size
        header = SegmentHeader(base, 1, State((number * 1000,) * 4, (number * 60_000,) * 4))
        with open(folder / f"{base:020d}.log", "wb") as file:
            file.write(encode_segment_header(header))
            file.truncate(size if number < SEGMENTS - 1 else segment_header_size(4))


def test_starting_reads_only_the_newest_segment_however_many_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    make_long_log(folder)
    files = CountingFiles(folder)
    began = time.process_time()
    stream = CommitStream.open(files, SETTINGS)
    took = time.process_time() - began
    # It is 0.02 s. What is read is counted below; this is for work that grows with the square of the segments.
    assert took < 1, f"{SEGMENTS} segments took {took:.3f} s"
    assert files.opened <= 3
    assert files.bytes_read < 1_000
    files.opened = files.bytes_read = 0
    reader = LogReader(files, 4, lambda: stream.view)
    assert reader.read(0, from_time=(SEGMENTS - 1) * 60_000 + 1).at_end
    assert files.opened < 20, "a place is found by bisection"
    assert files.bytes_read < 10_000
    stream.close()


def test_a_full_newest_segment_is_recovered_from_its_last_hint(tmp_path: Path) -> None:
    files = CountingFiles(tmp_path / "log")
    stream = CommitStream.open(files, SETTINGS)
    body_bytes = 1024 * 1024
    for number in range(60):
        frame = bytearray(FRAME_HEADER.size)
        frame += RECORD_HEADER.pack(RECORD_HEADER.size + body_bytes, 0, 0, 0, number, 0) + bytes(body_bytes)
        stream.commit(frame, 1, State((number + 1, 0, 0, 0), (0, 0, 0, 0)))
    stream.close()
    files.bytes_read = 0
    began = time.process_time()
    stream = CommitStream.open(files, SETTINGS)
    took = time.process_time() - began
    assert stream.view.state.next_sequence == (60, 0, 0, 0)
    assert files.bytes_read < 4 * 1024 * 1024
    assert took < 1
    stream.close()

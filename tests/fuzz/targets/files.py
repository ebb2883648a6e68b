"""What is read from files: the log after damage, imports, fleets, declarations."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from moorage.adapters.log.format import (
    FRAME_HEADER,
    RECORD_HEADER,
    State,
    decode_segment_header,
    seal_frame,
)
from moorage.adapters.log.reader import LogReader
from moorage.adapters.log.stream import CommitStream, LogSettings
from moorage.cli.declared.files import nest, read_declarations, to_toml, to_yaml
from moorage.cli.declared.kinds import KINDS
from moorage.cli.fleet_files import FleetLine, read_csv, read_json_lines
from moorage.errors import Invalid, Refusal
from moorage.hub.lines import LineCutter
from moorage.hub.telemetry_log import LogCorrupt, SourceHeader
from moorage.hub_info import HUB_INFO, read_hub_info
from tests.fuzz.targets.model import Target, cut

__all__ = ["TARGETS"]

# -- the log -----------------------------------------------------------------------------------------------------------

_PARTITIONS: Final = 2
_SETTINGS: Final = LogSettings(partitions=_PARTITIONS, retention_bytes=None, retention_ms=None)
_SOURCE: Final = SourceHeader("hub", "Telemetry", "pump-01", None, "1", "{}", None).encode()
_FIRST: Final = f"{0:020d}.log"


class _Memory:
    """Port: `adapters.log.files.Files`, without a disk."""

    def __init__(self, **files: bytes) -> None:
        self._files = {name: bytearray(data) for name, data in files.items()}
        self._open: dict[int, str] = {}
        self._next = 3

    def lock(self) -> None: ...

    def unlock(self) -> None: ...

    def names(self) -> list[str]:
        return list(self._files)

    def create(self, name: str) -> int:
        assert name not in self._files
        self._files[name] = bytearray()
        return self.open(name)

    def open(self, name: str) -> int:
        if name not in self._files:
            raise FileNotFoundError(name)
        self._next += 1
        self._open[self._next] = name
        return self._next

    def size(self, handle: int) -> int:
        return len(self._files[self._open[handle]])

    def length(self, name: str) -> int | None:
        return len(self._files[name]) if name in self._files else None

    def holds(self, name: str, handle: int) -> bool:
        return self._open[handle] == name and name in self._files

    def pread(self, handle: int, count: int, offset: int) -> bytes:
        return bytes(self._files[self._open[handle]][offset : offset + count])

    def pwrite(self, handle: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        file = self._files[self._open[handle]]
        file.extend(bytes(max(0, offset - len(file))))
        file[offset : offset + len(data)] = data

    def truncate(self, handle: int, size: int) -> None:
        del self._files[self._open[handle]][size:]

    def fdatasync(self, handle: int) -> None: ...

    def close(self, handle: int) -> None:
        del self._open[handle]

    def unlink(self, name: str) -> None:
        del self._files[name]

    def put(self, name: str, data: bytes) -> None:
        self._files[name] = bytearray(data)

    def sync_directory(self) -> None: ...

    def contents(self, name: str) -> bytes:
        return bytes(self._files[name])


def _add(stream: CommitStream, *bodies: bytes) -> None:
    frame = bytearray(FRAME_HEADER.size)
    sequences, times = map(list, stream.view.state)
    for number, body in enumerate(bodies):
        partition = number % _PARTITIONS
        size = RECORD_HEADER.size + len(_SOURCE) + len(body) + 3
        frame += RECORD_HEADER.pack(size, partition, len(_SOURCE), 3, sequences[partition], 1)
        frame += _SOURCE + b"a=b" + body
        sequences[partition] += 1
        times[partition] = max(1, times[partition])
    stream.commit(frame, len(bodies), State(tuple(sequences), tuple(times)))


@cache
def _log() -> bytes:
    """A segment of three batches."""
    files = _Memory()
    stream = CommitStream.open(files, _SETTINGS)
    _add(stream, b"one")
    _add(stream, b"two", b"three", bytes(300))
    _add(stream, b"four")
    stream.close()
    return files.contents(_FIRST)


def _read_all(files: _Memory, stream: CommitStream) -> list[bytes]:
    """Every message that can be read, stepping over damage as a reader does."""
    reader = LogReader(files, _PARTITIONS, lambda: stream.view)
    bodies: list[bytes] = []
    offset = 0
    for _ in range(1000):
        try:
            page = reader.read(None, from_offset=offset)
        except LogCorrupt as damage:
            assert damage.resume_offset > offset or damage.resume_offset >= stream.view.end, "no way on"
            offset = damage.resume_offset
        else:
            bodies += [message.body for message in page.messages]
            assert page.next_offset >= offset
            offset = page.next_offset
            if page.at_end:
                return bodies
        if offset >= stream.view.end:
            return bodies
    raise AssertionError("reading does not end")


def _recovered(data: bytes) -> tuple[_Memory, CommitStream] | None:
    files = _Memory(**{_FIRST: data})
    try:
        return files, CommitStream.open(files, _SETTINGS)
    except (LogCorrupt, Refusal):
        return None


def _check_log(data: bytes) -> None:
    """Whatever the segment holds: what is added after recovery is there, also after another."""
    opened = _recovered(data)
    if opened is None:
        return
    files, stream = opened
    before = _read_all(files, stream)
    _add(stream, b"after")
    stream.close()
    again = CommitStream.open(files, _SETTINGS)
    assert _read_all(files, again) == [*before, b"after"]
    again.close()


def _check_records(data: bytes) -> None:
    """A batch whose checksums hold, and whatever in it."""
    count = data[0] if data else 0
    whole = _log()
    header = decode_segment_header(whole)
    frame = bytearray(FRAME_HEADER.size) + data[1:]
    begin = header.first_frame
    seal_frame(frame, position=begin, count=count, salt=header.salt)
    opened = _recovered(whole[:begin] + frame)
    if opened is not None:
        _read_all(*opened)


def _log_seeds() -> Iterable[bytes]:
    whole = _log()
    yield whole
    yield whole[:-5]
    yield whole + bytes(40)


def _record_seeds() -> Iterable[bytes]:
    whole = _log()
    begin = decode_segment_header(whole).first_frame
    (length,) = (int.from_bytes(whole[begin + 4 : begin + 8], "little"),)
    first = whole[begin + FRAME_HEADER.size : begin + FRAME_HEADER.size + length]
    yield b"\x01" + first
    yield b"\x02" + first + first


# -- imports and fleets ------------------------------------------------------------------------------------------------


def _check_lines(data: bytes) -> None:
    whole, cutter = LineCutter(), LineCutter()
    lines = [*whole.feed(data), *whole.finish()]
    pieces = [line for piece in cut(data) for line in cutter.feed(piece)] + cutter.finish()
    assert lines == pieces, "it depends on how the bytes were cut"
    # Each says where to go on behind it.
    for line in lines:
        later = LineCutter(line.end, line.number)
        rest = [*later.feed(data[line.end :]), *later.finish()]
        assert rest == lines[line.number :]
        if line.number > 20:
            break


def _fleet(lines: Iterable[FleetLine]) -> None:
    for line in lines:
        assert (line.item is None) == (line.refusal is not None)
        str(line.name)


def _check_fleets(data: bytes) -> None:
    lines = data.splitlines(keepends=True)
    _fleet(read_json_lines(lines))
    try:
        _fleet(read_csv(lines))
    except Invalid:
        pass


def _fleet_seeds() -> Iterable[bytes]:
    yield b'{"id": "a", "tags": {"b": 1}}\n\n{"id": "b", "moduleId": "m"}\n'
    yield b'\xef\xbb\xbfid,auth,primary-thumbprint,tags,tags.site,parent\na,sas,,"{""x"": 1}",north,\nb,x509-ca,,,,a\n'


# -- declarations ------------------------------------------------------------------------------------------------------


def _check_declarations(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="moorage-fuzz-") as folder:
        for suffix in (".yaml", ".toml"):
            file = Path(folder) / f"fleet{suffix}"
            file.write_bytes(data)
            try:
                found = read_declarations([file], KINDS)
            except Invalid:
                continue
            document = nest((each.kind, each.name, each.spec) for each in found)
            # What `moorage export` would write of it.
            to_yaml(document)
            to_toml(document)


def _declaration_seeds() -> Iterable[bytes]:
    yield b"device:\n  pump-01:\n    auth: sas\n    tags: {site: harbour, n: 1}\n    modules:\n      m: {auth: sas}\n"
    yield b'[device.pump-01]\nauth = "x509-ca"\ntags = { site = "harbour", at = 1.5 }\n'
    yield b'{"device": {"a": {"auth": "sas", "desired": {"x": [1, null]}}}}'
    yield b"device:\n  a: &x {auth: sas}\n  b: *x\n"


def _check_hub_info(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="moorage-fuzz-") as folder:
        (Path(folder) / HUB_INFO).write_bytes(data)
        try:
            read_hub_info(Path(folder))
        except Refusal:
            pass


def _hub_info_seeds() -> Iterable[bytes]:
    yield (
        b'{"hostnames": ["localhost"], "bind": "127.0.0.1", "mqttPort": 8883, "httpsPort": 443, "amqpPort": 5671,'
        b' "amqpPlainPort": null, "idScope": "0ne1", "caBundle": "/ca", "hubKey": "a", "dpsKey": "b", "pid": 1,'
        b' "warnings": []}'
    )


TARGETS: Final = (
    Target("log_segments", _check_log, _log_seeds, (b"mfr1", b"MOORLOG\x01", b"\xff\xff\xff\xff"), 2048),
    Target("log_records", _check_records, _record_seeds, (b"\xff\xff\xff\xff", b"\xff\xff", _SOURCE), 2048),
    Target("lines", _check_lines, lambda: [b"a\nbb\n\nccc", b"\n\n"], (b"\n", b"\r\n", b"\0"), 2048),
    Target("fleets", _check_fleets, _fleet_seeds, (b",", b'""', b'"', b"\r\n", b"tags.", b"desired"), 1024),
    Target(
        "declarations", _check_declarations, _declaration_seeds, (b"&x", b"*x", b"<<: ", b"!!", b"'''", b"---\n"), 1024
    ),
    Target("hub_info", _check_hub_info, _hub_info_seeds, (b"null", b'":', b"[", b"{"), 1024, is_json=True),
)

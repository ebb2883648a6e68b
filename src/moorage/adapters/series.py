"""Series in a SQLite file of their own: derived from the telemetry log, and made again from it when it is deleted, when
it is damaged, or when it is of another version.

Rows lie together by time first (`slice`) and by device then: what is written in a while touches few pages, old slices
go as a whole, and a line of one device over a day is some hundred look-ups. Losing the last seconds with the machine is
a fair price for never waiting for the disk: the place in the log is in the same transaction, so they are read again.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from moorage.adapters.database_file import DatabaseFile, as_os_error, connect, remove
from moorage.analytics.projector import KnownDevice, Place
from moorage.analytics.rollups import HOUR, Batch, Bucket, DeviceBatch, Key, Scalar
from moorage.analytics.series import SLICE, Figure

__all__ = ["SqliteSeries"]

log = logging.getLogger(__name__)

_VERSION: Final = 1
_READERS: Final = 3
# Bytes of the log: messages of a device in one such stretch lie together.
_STRETCH_BITS: Final = 26
# Rows of a table that one call of `trim` deletes, about.
_TRIMMED: Final = 5_000

_FIGURES: Final = """(
    slice INTEGER NOT NULL, device INTEGER NOT NULL, name INTEGER NOT NULL, minute INTEGER NOT NULL,
    count INTEGER NOT NULL, total REAL, least REAL, greatest REAL, first REAL, last REAL,
    PRIMARY KEY (slice, device, name, minute)
) WITHOUT ROWID"""
_SCHEMA: Final = f"""
CREATE TABLE place (
    only INTEGER PRIMARY KEY CHECK (only = 1), written INTEGER NOT NULL, "end" INTEGER NOT NULL, mark TEXT NOT NULL
);
CREATE TABLE devices (number INTEGER PRIMARY KEY, device_id TEXT NOT NULL, generation TEXT NOT NULL);
CREATE INDEX devices_id ON devices (device_id, number);
CREATE TABLE names (number INTEGER PRIMARY KEY, component TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (component, name));
CREATE TABLE last_values (
    device INTEGER NOT NULL, name INTEGER NOT NULL, at INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (device, name)
) WITHOUT ROWID;
CREATE TABLE minutes {_FIGURES};
CREATE TABLE hours {_FIGURES};
CREATE TABLE messages (
    slice INTEGER NOT NULL, device INTEGER NOT NULL, first INTEGER NOT NULL, offsets BLOB NOT NULL,
    PRIMARY KEY (slice, device, first)
) WITHOUT ROWID;
CREATE TABLE traffic (slice INTEGER PRIMARY KEY, messages INTEGER NOT NULL);
INSERT INTO place VALUES (1, 0, 0, '');
PRAGMA user_version = {_VERSION};
"""
_TABLES: Final = ("devices", "names", "last_values", "minutes", "hours", "messages", "traffic")
_PUT_FIGURES: Final = """INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    count = count + excluded.count, total = coalesce(total + excluded.total, total, excluded.total),
    least = coalesce(min(least, excluded.least), least, excluded.least),
    greatest = coalesce(max(greatest, excluded.greatest), greatest, excluded.greatest),
    first = coalesce(first, excluded.first), last = coalesce(excluded.last, last)"""
# Every slice, device and name is looked up: the order of the joins is the order of the key.
_GET_FIGURES: Final = """
WITH RECURSIVE slices (slice) AS (VALUES (:first) UNION ALL SELECT slice + 1 FROM slices WHERE slice < :final),
found AS (
    SELECT row.device AS device, row.name AS name, row.minute - row.minute % :step AS at, sum(row.count) AS count,
        sum(row.total) AS total, min(row.least) AS least, max(row.greatest) AS greatest,
        min(CASE WHEN row.total IS NOT NULL THEN row.minute END) AS earliest,
        max(CASE WHEN row.total IS NOT NULL THEN row.minute END) AS latest
    FROM slices CROSS JOIN json_each(:devices) AS device CROSS JOIN json_each(:names) AS name
    CROSS JOIN {table} AS row
        ON row.slice = slices.slice AND row.device = device.value AND row.name = name.value
    WHERE row.minute >= :since AND row.minute < :until GROUP BY 1, 2, 3
)
SELECT device, name, at, count, total, least, greatest,
    (SELECT first FROM {table} AS row WHERE row.slice = earliest / :width AND row.device = found.device
        AND row.name = found.name AND row.minute = earliest),
    (SELECT last FROM {table} AS row WHERE row.slice = latest / :width AND row.device = found.device
        AND row.name = found.name AND row.minute = latest)
FROM found ORDER BY device, name, at"""


class SqliteSeries:
    """Ports: `analytics.series.SeriesStore`, `analytics.projector.ProjectorStore`. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._readers: queue.LifoQueue[tuple[int, sqlite3.Connection | None]] = queue.LifoQueue()
        # Of connections: those from before a damage read a file that is gone.
        self._epoch = 0
        for _ in range(_READERS):
            self._readers.put((0, None))
        self._file = DatabaseFile(path, "OFF", prepare=_prepare, put_aside=self._put_aside)

    def _put_aside(self, error: sqlite3.Error | None) -> None:
        if error is not None:
            log.error("series_damaged file=%s error=%s; it is made anew", self._path, error)
        remove(self._path)
        # Not before: who connects in between has the old file.
        with self._lock:
            self._epoch += 1

    def close(self) -> None:
        for _ in range(_READERS):
            _, connection = self._readers.get()
            if connection is not None:
                connection.close()
        self._file.close()

    # -- written by one thread -----------------------------------------------------------------------------------------

    def place(self) -> Place:
        with self._file.mending() as connection:
            written, end, mark = connection.execute('SELECT written, "end", mark FROM place').fetchone()
        return Place(written, end, _mark(json.loads(mark)) if mark else None)

    def find_device(self, device_id: str) -> KnownDevice | None:
        with self._file.mending() as connection:
            row = connection.execute(
                "SELECT number, generation FROM devices WHERE device_id = ? ORDER BY number DESC LIMIT 1", (device_id,)
            ).fetchone()
            if row is None:
                return None
            names = connection.execute("SELECT name FROM last_values WHERE device = ?", (row[0],)).fetchall()
        return KnownDevice(row[0], row[1], frozenset(name for (name,) in names))

    def all_names(self) -> dict[Key, int]:
        with self._file.mending() as connection:
            rows = connection.execute("SELECT component, name, number FROM names").fetchall()
        return {(component, name): number for component, name, number in rows}

    def next_device(self) -> int:
        with self._file.mending() as connection:
            (highest,) = connection.execute("SELECT coalesce(max(number), 0) FROM devices").fetchone()
        return int(highest) + 1

    def write(self, batch: Batch) -> None:
        with self._file.transaction() as connection:
            connection.executemany(
                "INSERT INTO devices VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET generation = excluded.generation",
                [(number, device_id, generation) for device_id, (number, generation) in batch.generations.items()],
            )
            connection.executemany(
                "INSERT INTO names VALUES (?, ?, ?)", [(number, *key) for key, number in batch.names.items()]
            )
            ordered = sorted(batch.devices.values(), key=lambda held: held.number)
            connection.executemany(
                "INSERT INTO last_values VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at, "
                "value = excluded.value WHERE excluded.at >= at",
                [
                    (held.number, name, at, json.dumps(value))
                    for held in ordered
                    for name, (at, value) in held.last.items()
                ],
            )
            # One after the other, in the order of devices: to sort them all would keep everybody else waiting.
            for table, width, rows in (("minutes", SLICE, _minutes(ordered)), ("hours", HOUR, _hours(ordered))):
                connection.executemany(
                    _PUT_FIGURES.format(table=table),
                    (
                        (minute // width, device, name, minute, *_figures(bucket))
                        for (device, name, minute), bucket in rows
                    ),
                )
            connection.executemany(
                "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?)",
                [
                    (stretch, held.number, offsets[0], pack_offsets(offsets))
                    for held in ordered
                    for stretch, offsets in _by_stretch(held.offsets)
                ],
            )
            connection.executemany(
                "INSERT INTO traffic VALUES (?, ?) ON CONFLICT DO UPDATE SET messages = messages + excluded.messages",
                list(batch.traffic.items()),
            )
            connection.execute(
                'UPDATE place SET written = ?, "end" = ?, mark = ?',
                (batch.number, batch.end, json.dumps(batch.mark) if batch.mark else ""),
            )

    def forget(self, device_id: str) -> None:
        # No id has a space in it.
        with self._file.mending() as connection:
            connection.execute("UPDATE devices SET device_id = 'gone ' || number WHERE device_id = ?", (device_id,))

    def trim(self, minute: int, offset: int) -> bool:
        with self._file.mending() as connection:
            left = [
                _trim(connection, table, before)
                for table, before in (
                    ("minutes", minute // SLICE),
                    ("hours", minute // HOUR),
                    ("messages", offset >> _STRETCH_BITS),
                )
            ]
            connection.execute("DELETE FROM traffic WHERE slice < ?", (minute,))
        return any(left)

    def reset(self) -> None:
        with self._file.transaction() as connection:
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")
            # The number goes on: who holds a copy of an open batch must not take it for one of these.
            connection.execute("UPDATE place SET \"end\" = 0, mark = ''")

    # -- read by many --------------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[_Snapshot]:
        epoch, connection = self._readers.get()
        try:
            with as_os_error(self._path):
                if connection is not None and epoch != self._epoch:
                    connection.close()
                    connection = None
                if connection is None:
                    with self._lock:
                        epoch = self._epoch
                    connection = connect(self._path, "OFF")
                    connection.execute("PRAGMA query_only = 1")
                connection.execute("BEGIN")
                try:
                    yield _Snapshot(connection)
                finally:
                    connection.execute("ROLLBACK")
        finally:
            self._readers.put((epoch, connection))


class _Snapshot:
    """Port: `analytics.series.Snapshot`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # The first read is what fixes the moment.
        (self.written,) = connection.execute("SELECT written FROM place").fetchone()

    def devices(self, device_ids: Sequence[str]) -> dict[str, int]:
        rows = self._connection.execute(
            "SELECT device_id, max(number) FROM json_each(?) CROSS JOIN devices ON device_id = value "
            "GROUP BY device_id",
            (json.dumps(list(device_ids)),),
        )
        return dict(rows.fetchall())

    def names(self, numbers: Iterable[int]) -> dict[int, Key]:
        rows = self._connection.execute(
            "SELECT number, component, name FROM json_each(?) CROSS JOIN names ON number = value",
            (json.dumps(list(numbers)),),
        )
        return {number: (component, name) for number, component, name in rows}

    def numbers(self, keys: Iterable[Key]) -> dict[Key, int]:
        found = {}
        for key in keys:
            row = self._connection.execute("SELECT number FROM names WHERE component = ? AND name = ?", key).fetchone()
            if row is not None:
                found[key] = row[0]
        return found

    def last_values(self, devices: Sequence[int]) -> Iterator[tuple[int, int, int, Scalar]]:
        rows = self._connection.execute(
            "SELECT device, name, at, last_values.value FROM json_each(?) AS wanted "
            "CROSS JOIN last_values ON device = wanted.value",
            (json.dumps(list(devices)),),
        )
        for device, name, at, value in rows:
            yield device, name, at, json.loads(value)

    def figures(
        self, devices: Sequence[int], names: Sequence[int], since: int, until: int, step: int
    ) -> Iterator[Figure]:
        table, width = ("minutes", SLICE) if step % HOUR else ("hours", HOUR)
        rows = self._connection.execute(
            _GET_FIGURES.format(table=table),
            {
                "first": since // width,
                "final": (until - 1) // width,
                "devices": json.dumps(list(devices)),
                "names": json.dumps(list(names)),
                "since": since,
                "until": until,
                "step": step,
                "width": width,
            },
        )
        return map(Figure._make, rows)

    def offsets(self, device: int, before: int, limit: int) -> list[int]:
        found: list[int] = []
        stretch = before >> _STRETCH_BITS
        (oldest, newest) = self._connection.execute(
            "SELECT (SELECT min(slice) FROM messages), (SELECT max(slice) FROM messages)"
        ).fetchone()
        if oldest is None:
            return found
        stretch = min(stretch, newest)
        while stretch >= oldest and len(found) < limit:
            rows = self._connection.execute(
                "SELECT offsets FROM messages WHERE slice = ? AND device = ? AND first < ? ORDER BY first DESC",
                (stretch, device, before),
            )
            for (packed,) in rows:
                found += [offset for offset in reversed(unpack_offsets(packed)) if offset < before]
                if len(found) >= limit:
                    break
            stretch -= 1
        return found[:limit]

    def traffic(self, since: int, until: int) -> dict[int, int]:
        rows = self._connection.execute(
            "SELECT slice, messages FROM traffic WHERE slice >= ? AND slice < ?", (since, until)
        )
        return dict(rows.fetchall())


def pack_offsets(offsets: Sequence[int]) -> bytes:
    """Eight bytes of the first, four for each further: they lie in one stretch."""
    return struct.pack(f"<Q{len(offsets) - 1}I", offsets[0], *(offset - offsets[0] for offset in offsets[1:]))


def unpack_offsets(packed: bytes) -> list[int]:
    first, *rest = struct.unpack(f"<Q{(len(packed) - 8) // 4}I", packed)
    return [first, *(first + more for more in rest)]


def _by_stretch(offsets: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """They grow, so a stretch is one run of them."""
    run: list[int] = []
    for offset in offsets:
        if run and offset >> _STRETCH_BITS != run[0] >> _STRETCH_BITS:
            yield run[0] >> _STRETCH_BITS, run
            run = []
        run.append(offset)
    if run:
        yield run[0] >> _STRETCH_BITS, run


def _minutes(devices: Sequence[DeviceBatch]) -> Iterator[tuple[tuple[int, int, int], Bucket]]:
    for held in devices:
        for (name, minute), bucket in held.buckets.items():
            yield (held.number, name, minute), bucket


def _hours(devices: Sequence[DeviceBatch]) -> Iterator[tuple[tuple[int, int, int], Bucket]]:
    """Of most devices a batch has one minute of an hour, whose figures are the hour's."""
    for held in devices:
        hours: dict[tuple[int, int, int], Bucket] = {}
        for place, bucket in _minutes([held]):
            hour = (place[0], place[1], place[2] - place[2] % HOUR)
            if hour in hours:
                whole = hours[hour].copy()
                whole.merge(bucket)
                hours[hour] = whole
            else:
                hours[hour] = bucket
        yield from hours.items()


def _figures(bucket: Bucket) -> tuple[int, float | None, float | None, float | None, float | None, float | None]:
    return bucket.count, bucket.total, bucket.least, bucket.greatest, bucket.first, bucket.last


def _mark(found: Any) -> tuple[int, int, int]:
    offset, partition, sequence = found
    return offset, partition, sequence


def _prepare(connection: sqlite3.Connection) -> bool:
    """False for what another version wrote."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            return False
        connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    return True


def _trim(connection: sqlite3.Connection, table: str, before: int) -> bool:
    """Delete about `_TRIMMED` rows of the oldest slices that lie before `before`. Whether there may be more."""
    left = _TRIMMED
    while left > 0:
        (slice_,) = connection.execute(f"SELECT min(slice) FROM {table}").fetchone()
        if slice_ is None or slice_ >= before:
            return False
        row = connection.execute(
            f"SELECT device FROM {table} WHERE slice = ? ORDER BY device LIMIT 1 OFFSET {left}", (slice_,)
        ).fetchone()
        until = 2**62 if row is None else row[0]
        left -= connection.execute(f"DELETE FROM {table} WHERE slice = ? AND device <= ?", (slice_, until)).rowcount
    return True

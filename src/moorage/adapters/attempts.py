"""Attempts in a SQLite file of their own, a ring that forgets the noisiest address first.

A few statements, one reader, a file that may be deleted at any time; one that is damaged is made anew. A chain is kept
once, however often it is sent. When the ring is full, in number or in bytes of chains, every address keeps its latest
attempts up to one common count, the highest that fits: so one peer that knocks all day leaves everybody else's record
alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from moorage.adapters.certificate_lists import pack, unpack
from moorage.adapters.database_file import DatabaseFile, remove
from moorage.attempts.model import MAX_CLIENT, Attempt
from moorage.attempts.recorder import origin_of
from moorage.errors import Check
from moorage.ids import HubId

__all__ = ["SqliteAttempts"]

log = logging.getLogger(__name__)

_VERSION = 2
# A chain of three is about 2 KiB; one that fills a handshake has 64.
_CHAIN_BYTES = 4 * 1024
# Characters. Two names of the longest kind fit a message; a subject of 16 KiB does not, which a stranger may send and
# every check repeats: the chain is kept whole beside it.
_CLAIM = 300
_MESSAGE = 2000
_DETAIL = 500
# Of one statement; SQLite takes some thousands of parameters.
_NAMES_AT_ONCE = 500

_SCHEMA = """
CREATE TABLE chains (hash BLOB PRIMARY KEY, certificates BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    hub TEXT NOT NULL, at REAL NOT NULL, door TEXT NOT NULL, tracking TEXT NOT NULL, host TEXT NOT NULL,
    address TEXT NOT NULL, claimed TEXT NOT NULL, chain BLOB, sha1 TEXT, sha256 TEXT, tls TEXT NOT NULL,
    client TEXT NOT NULL, credential TEXT NOT NULL, reason TEXT, message TEXT NOT NULL, fix TEXT NOT NULL,
    checks TEXT NOT NULL
);
CREATE INDEX attempts_claimed ON attempts (hub, claimed, id);
CREATE INDEX attempts_tracking ON attempts (tracking);
CREATE INDEX attempts_sha1 ON attempts (sha1);
CREATE INDEX attempts_sha256 ON attempts (sha256);
CREATE INDEX attempts_host ON attempts (host, id);
"""

_COLUMNS = (
    "hub, at, door, tracking, host, address, claimed, chain, "
    "sha1, sha256, tls, client, credential, reason, message, fix, checks"
)


class SqliteAttempts:
    """An `AttemptStore` that keeps about `keep` attempts, and `keep` times 4 KiB of chains."""

    def __init__(self, path: Path, *, keep: int) -> None:
        self._path = path
        self._keep = keep
        # Losing the last seconds with the machine is a fair price for never waiting.
        self._file = DatabaseFile(path, "OFF", prepare=self._prepare, put_aside=self._put_aside)

    def _prepare(self, connection: sqlite3.Connection) -> bool:
        execute = connection.execute
        (version,) = execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            # Attempts are a help, not a record: those of another layout are forgotten.
            for (table,) in execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                execute(f'DROP TABLE "{table}"')
            connection.executescript(_SCHEMA + f"PRAGMA user_version = {_VERSION};")
        self._take_stock(connection)
        return True

    def _take_stock(self, connection: sqlite3.Connection) -> None:
        (self._count,) = connection.execute("SELECT count(*) FROM attempts").fetchone()
        (self._chain_bytes,) = connection.execute(
            "SELECT coalesce(sum(length(certificates)), 0) FROM chains"
        ).fetchone()

    def _put_aside(self, error: sqlite3.Error | None) -> None:
        log.error("attempts_damaged file=%s error=%s; it is made anew", self._path, error)
        remove(self._path)

    def append(self, attempts: Sequence[Attempt]) -> None:
        try:
            with self._file.transaction() as connection:
                for attempt in attempts:
                    self._insert(connection, attempt)
                if self._count > self._keep:
                    # A tenth more than has to go, so that room is made seldom.
                    self._make_room(connection, self._keep - self._keep // 10)
                while self._chain_bytes > self._keep * _CHAIN_BYTES and self._count:
                    self._make_room(connection, self._count // 2)
        except BaseException:
            with self._file.mending() as connection:
                self._take_stock(connection)
            raise

    def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]:
        where, values = ["hub = ?"], [str(hub)]
        if device is not None:
            where.append("(claimed = ? OR (claimed > ? AND claimed < ?))")
            values += [device, device + "/", device + "0"]
        if thumbprint is not None:
            where.append("sha1 = ?" if len(thumbprint) == 40 else "sha256 = ?")
            values.append(thumbprint.upper())
        if tracking_id is not None:
            where.append("tracking = ?")
            values.append(tracking_id.upper())
        with self._file.mending() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS}, certificates FROM attempts LEFT JOIN chains ON chain = hash "
                f"WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
                [*values, limit],
            ).fetchall()
        return [_attempt(row) for row in rows]

    def last_refusals(self, hub: HubId, names: Sequence[str]) -> dict[str, Attempt]:
        found: dict[str, Attempt] = {}
        with self._file.mending() as connection:
            for start in range(0, len(names), _NAMES_AT_ONCE):
                some = names[start : start + _NAMES_AT_ONCE]
                marks = ", ".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT {_COLUMNS}, certificates FROM attempts LEFT JOIN chains ON chain = hash WHERE id IN "
                    f"(SELECT max(id) FROM attempts WHERE hub = ? AND claimed IN ({marks}) "
                    "AND reason IS NOT NULL AND door <> 'service' GROUP BY claimed)",
                    [str(hub), *some],
                ).fetchall()
                found |= {attempt.claimed_id: attempt for attempt in map(_attempt, rows)}
        return found

    def close(self) -> None:
        self._file.close()

    def _insert(self, connection: sqlite3.Connection, attempt: Attempt) -> None:
        chain = sha1 = sha256 = None
        if attempt.chain:
            packed = pack(attempt.chain)
            chain = hashlib.sha256(packed).digest()
            new = connection.execute("INSERT OR IGNORE INTO chains VALUES (?, ?)", (chain, packed)).rowcount
            self._chain_bytes += len(packed) * new
            leaf = attempt.chain[0]
            sha1 = hashlib.sha1(leaf, usedforsecurity=False).hexdigest().upper()
            sha256 = hashlib.sha256(leaf).hexdigest().upper()
        connection.execute(
            f"INSERT INTO attempts ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                attempt.hub,
                attempt.at.timestamp(),
                attempt.door,
                attempt.tracking_id.upper(),
                origin_of(attempt.address),
                attempt.address,
                _text(attempt.claimed_id, _CLAIM),
                chain,
                sha1,
                sha256,
                attempt.tls_version,
                _text(attempt.client, MAX_CLIENT),
                attempt.credential,
                attempt.reason,
                _text(attempt.message, _MESSAGE),
                _text(attempt.fix, _MESSAGE),
                json.dumps([[check.name, check.passed, _text(check.detail, _DETAIL)] for check in attempt.checks]),
            ),
        )
        self._count += 1

    def _make_room(self, connection: sqlite3.Connection, target: int) -> None:
        """Leave at most `target` attempts, and the chains that they still name."""
        execute = connection.execute
        held = dict(execute("SELECT host, count(*) FROM attempts GROUP BY host").fetchall())
        share = _fair_share(held.values(), target)
        for host, count in held.items():
            if count > share:
                execute(
                    "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE host = ? ORDER BY id LIMIT ?)",
                    (host, count - share),
                )
        (left,) = execute("SELECT count(*) FROM attempts").fetchone()
        if left > target:
            # More addresses than places: then the oldest go.
            execute("DELETE FROM attempts WHERE id IN (SELECT id FROM attempts ORDER BY id LIMIT ?)", (left - target,))
            left = target
        execute("DELETE FROM chains WHERE hash NOT IN (SELECT chain FROM attempts WHERE chain IS NOT NULL)")
        (self._chain_bytes,) = execute("SELECT coalesce(sum(length(certificates)), 0) FROM chains").fetchone()
        self._count = left


def _fair_share(counts: Iterable[int], target: int) -> int:
    """The highest count that everybody may keep so that no more than `target` are left; at least 1."""
    left = sorted(counts)
    for place, count in enumerate(left):
        share = target // (len(left) - place)
        if count > share:
            return max(1, share)
        target -= count
    return max(left, default=1)


def _text(outside: str, most: int) -> str:
    """At most so many characters, in UTF-8, which has no half surrogates and is what SQLite stores."""
    cut = outside if len(outside) <= most else outside[: most - 1] + "\u2026"
    return cut.encode("utf-8", "backslashreplace").decode()


def _attempt(row: tuple[object, ...]) -> Attempt:
    values = dict(zip([*_COLUMNS.split(", "), "certificates"], row, strict=True))
    packed = values["certificates"]
    return Attempt(
        at=datetime.fromtimestamp(float(str(values["at"])), UTC),
        hub=HubId(str(values["hub"])),
        door=values["door"],  # type: ignore[arg-type]  # only `_insert` writes it
        tracking_id=str(values["tracking"]),
        address=str(values["address"]),
        claimed_id=str(values["claimed"]),
        chain=unpack(packed) if isinstance(packed, bytes) else (),
        tls_version=str(values["tls"]),
        client=str(values["client"]),
        credential=values["credential"],  # type: ignore[arg-type]  # only `_insert` writes it
        reason=None if values["reason"] is None else str(values["reason"]),
        message=str(values["message"]),
        fix=str(values["fix"]),
        checks=tuple(Check(name, passed, detail) for name, passed, detail in json.loads(str(values["checks"]))),
    )

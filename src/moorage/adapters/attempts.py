"""Attempts in a SQLite file of their own, a ring that forgets the noisiest address first.

The standard library's driver is used directly: three statements, one reader, a file that may be deleted at any time.
A chain is stored once, however often it is sent. When the ring is full the oldest attempts of the address that fills
most of it go first, so that one peer that knocks all day leaves everybody else's record alone.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from moorage.attempts.model import Attempt
from moorage.errors import Check
from moorage.ids import HubId

__all__ = ["SqliteAttempts"]

_VERSION = 1

_SCHEMA = """
CREATE TABLE chains (hash BLOB PRIMARY KEY, certificates BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    hub TEXT NOT NULL, at REAL NOT NULL, door TEXT NOT NULL, tracking TEXT NOT NULL, host TEXT NOT NULL,
    address TEXT NOT NULL, claimed TEXT NOT NULL, chain BLOB, sha1 TEXT, sha256 TEXT, tls TEXT NOT NULL,
    credential TEXT NOT NULL, reason TEXT, message TEXT NOT NULL, fix TEXT NOT NULL, checks TEXT NOT NULL
);
CREATE INDEX attempts_claimed ON attempts (hub, claimed, id);
CREATE INDEX attempts_tracking ON attempts (tracking);
CREATE INDEX attempts_sha1 ON attempts (sha1);
CREATE INDEX attempts_sha256 ON attempts (sha256);
CREATE INDEX attempts_host ON attempts (host, id);
"""

_COLUMNS = (
    "hub, at, door, tracking, host, address, claimed, chain, "
    "sha1, sha256, tls, credential, reason, message, fix, checks"
)


class SqliteAttempts:
    """An `AttemptStore` that keeps about `keep` attempts."""

    def __init__(self, path: Path, *, keep: int) -> None:
        self._keep = keep
        # Calls come from threads, one at a time: `AttemptRecorder` sees to that.
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            # Attempts are a help, not a record: those of another layout are forgotten.
            for (table,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                self._connection.execute(f'DROP TABLE "{table}"')
            self._connection.executescript(_SCHEMA + f"PRAGMA user_version = {_VERSION};")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")

    def append(self, attempts: Sequence[Attempt]) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            for attempt in attempts:
                self._insert(attempt)
            self._make_room()
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

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
        rows = self._connection.execute(
            f"SELECT {_COLUMNS}, certificates FROM attempts LEFT JOIN chains ON chain = hash "
            f"WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
            [*values, limit],
        ).fetchall()
        return [_attempt(row) for row in rows]

    def close(self) -> None:
        self._connection.close()

    def _insert(self, attempt: Attempt) -> None:
        chain = sha1 = sha256 = None
        if attempt.chain:
            packed = _pack(attempt.chain)
            chain = hashlib.sha256(packed).digest()
            self._connection.execute("INSERT OR IGNORE INTO chains VALUES (?, ?)", (chain, packed))
            leaf = attempt.chain[0]
            sha1 = hashlib.sha1(leaf, usedforsecurity=False).hexdigest().upper()
            sha256 = hashlib.sha256(leaf).hexdigest().upper()
        self._connection.execute(
            f"INSERT INTO attempts ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                attempt.hub,
                attempt.at.timestamp(),
                attempt.door,
                attempt.tracking_id.upper(),
                attempt.address.rpartition(":")[0],
                attempt.address,
                attempt.claimed_id,
                chain,
                sha1,
                sha256,
                attempt.tls_version,
                attempt.credential,
                attempt.reason,
                attempt.message,
                attempt.fix,
                json.dumps([[check.name, check.passed, check.detail] for check in attempt.checks]),
            ),
        )

    def _make_room(self) -> None:
        execute = self._connection.execute
        (count,) = execute("SELECT count(*) FROM attempts").fetchone()
        # A tenth at a time, so that the noisiest is looked for seldom.
        while count > self._keep:
            host, held = execute(
                "SELECT host, count(*) AS held FROM attempts GROUP BY host ORDER BY held DESC LIMIT 1"
            ).fetchone()
            excess = max(1, min(held // 2, count - self._keep + self._keep // 10))
            execute(
                "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE host = ? ORDER BY id LIMIT ?)",
                (host, excess),
            )
            count -= excess
            execute("DELETE FROM chains WHERE hash NOT IN (SELECT chain FROM attempts WHERE chain IS NOT NULL)")


def _pack(chain: tuple[bytes, ...]) -> bytes:
    return b"".join(len(der).to_bytes(4, "big") + der for der in chain)


def _unpack(packed: bytes) -> tuple[bytes, ...]:
    chain, at = [], 0
    while at < len(packed):
        size = int.from_bytes(packed[at : at + 4], "big")
        chain.append(packed[at + 4 : at + 4 + size])
        at += 4 + size
    return tuple(chain)


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
        chain=_unpack(packed) if isinstance(packed, bytes) else (),
        tls_version=str(values["tls"]),
        credential=values["credential"],  # type: ignore[arg-type]  # only `_insert` writes it
        reason=None if values["reason"] is None else str(values["reason"]),
        message=str(values["message"]),
        fix=str(values["fix"]),
        checks=tuple(Check(name, passed, detail) for name, passed, detail in json.loads(str(values["checks"]))),
    )

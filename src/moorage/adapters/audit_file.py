"""The audit trail in a SQLite file of its own (port: `accounts.audit.AuditStore`).

Called from one thread. A commit is on disk when it returns: unlike attempts, acts are a record. A file that is damaged
is put aside under another name, for whoever wants to read what is left of it, and a new one is begun.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from moorage.accounts.audit import AuditEntry, AuditFilter, Order
from moorage.adapters.database_file import DatabaseFile, remove
from moorage.ids import HubId

__all__ = ["MAX_ENTRIES", "SqliteAudit"]

log = logging.getLogger(__name__)

# Some 300 MB. Beyond it the oldest go before their time.
MAX_ENTRIES: Final = 1_000_000
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    hub TEXT NOT NULL, at REAL NOT NULL, actor TEXT NOT NULL, kind TEXT NOT NULL, event TEXT NOT NULL,
    entity TEXT NOT NULL, facts TEXT NOT NULL
) STRICT;
CREATE INDEX entries_at ON entries (hub, at);
CREATE INDEX entries_actor ON entries (hub, actor, at);
CREATE INDEX entries_event ON entries (hub, event, at);
CREATE INDEX entries_kind ON entries (hub, kind, at);
CREATE INDEX entries_entity ON entries (hub, entity, at);
"""
_LIKE: Final = str.maketrans({"%": "\\%", "_": "\\_", "\\": "\\\\"})


class SqliteAudit:
    """At most so many entries, on `path`, made with mode 0600. Raises `OSError` when it cannot be opened."""

    def __init__(self, path: Path, *, most: int = MAX_ENTRIES) -> None:
        self._path = path
        self._most = most
        self._file = DatabaseFile(path, "FULL", prepare=self._prepare, put_aside=self._put_aside)

    def _prepare(self, connection: sqlite3.Connection) -> bool:
        execute = connection.execute
        (version,) = execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise OSError(f"{self._path} was written by a later version of moorage (layout {version})")
        (self._count,) = execute("SELECT count(*) FROM entries").fetchone()
        self._kinds = set(execute("SELECT DISTINCT hub, kind FROM entries").fetchall())
        return True

    def _put_aside(self, error: sqlite3.Error | None) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
        log.error("audit_damaged file=%s error=%s; it is kept as %s and begun anew", self._path, error, aside)
        self._path.rename(aside)
        remove(self._path)

    def append(self, entries: Sequence[AuditEntry]) -> None:
        count = self._count + len(entries)
        with self._file.transaction() as connection:
            connection.executemany(
                "INSERT INTO entries (hub, at, actor, kind, event, entity, facts) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (each.hub, each.at.timestamp(), each.actor, each.kind, each.event, each.entity, _json(each))
                    for each in entries
                ],
            )
            if count > self._most:
                # A tenth more than has to go, so that room is made seldom.
                spare = count - self._most + self._most // 10
                connection.execute(
                    "DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY id LIMIT ?)", (spare,)
                )
                count -= min(spare, count)
        self._count = count
        self._kinds |= {(str(each.hub), each.kind) for each in entries}

    def find(
        self, hub: HubId, wanted: AuditFilter, order: Order, *, is_descending: bool, limit: int, offset: int
    ) -> list[AuditEntry]:
        where, values = _where(hub, wanted)
        direction = "DESC" if is_descending else "ASC"
        with self._file.mending() as connection:
            rows = connection.execute(
                f"SELECT hub, at, actor, event, entity, facts FROM entries WHERE {where} "
                f"ORDER BY {order} {direction}, id {direction} LIMIT ? OFFSET ?",
                [*values, limit, offset],
            ).fetchall()
        return [_entry(*row) for row in rows]

    def kinds(self, hub: HubId) -> list[str]:
        return sorted(kind for each, kind in self._kinds if each == hub)

    def forget(self, before: datetime) -> None:
        with self._file.mending() as connection:
            gone = connection.execute("DELETE FROM entries WHERE at < ?", (before.timestamp(),)).rowcount
        self._count -= gone

    def close(self) -> None:
        self._file.close()


def _where(hub: HubId, wanted: AuditFilter) -> tuple[str, list[str | float]]:
    """A condition, and what its question marks stand for."""
    clauses: list[tuple[str, str | float]] = [("hub = ?", hub)]
    if wanted.since is not None:
        clauses.append(("at >= ?", wanted.since.timestamp()))
    if wanted.until is not None:
        clauses.append(("at < ?", wanted.until.timestamp()))
    if wanted.kind:
        clauses.append(("kind = ?", wanted.kind))
    for column, text in (("actor", wanted.actor), ("event", wanted.action), ("entity", wanted.entity)):
        if text:
            clauses.append((f"{column} LIKE ? ESCAPE '\\'", f"%{text.translate(_LIKE)}%"))
    return " AND ".join(clause for clause, _value in clauses), [value for _clause, value in clauses]


def _json(entry: AuditEntry) -> str:
    return json.dumps(dict(entry.facts), ensure_ascii=False, separators=(",", ":"))


def _entry(hub: str, at: float, actor: str, event: str, entity: str, facts: str) -> AuditEntry:
    return AuditEntry(datetime.fromtimestamp(at, UTC), HubId(hub), actor, event, entity, json.loads(facts))

"""The file: its mode, its connections, and whether it is one that this version can use.

A new file gets the current schema at once. An older one is migrated, and only then is Alembic imported. Anything else
is refused before a byte of it changes: a newer schema, somebody else's database, a file that is none.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from moorage.adapters.sqlite import schema, terms
from moorage.errors import Conflict, Invalid, Unavailable

__all__ = ["connect_reader", "open_database"]

_BUSY_TIMEOUT_S = 5.0
# One connection runs every statement text of the tables; the driver's default would drop some.
_STATEMENTS = 256
# SQLite reuses the log from its start about every thousand pages. While a scan holds on to an old moment it cannot, and
# the log grows; the first write after that cuts it back to this.
_WAL_KEPT_BYTES = 8 * 1024 * 1024
_READER_CACHE_KIB = 8 * 1024
_WRITER_CACHE_KIB = 16 * 1024


def open_database(path: Path) -> sqlite3.Connection:
    """A connection that writes, on a database that is made or migrated as needed.

    What is committed on it is on disk: write-ahead log, synchronous FULL.

    Raises:
        Invalid: `store.foreign`, this is not a database of ours.
        Conflict: `store.newer`, a later version of us wrote it.
        Unavailable: `store.unusable`, the file cannot be read or written.
    """
    try:
        _make_private(path)
        connection = _connect(path, "rw", _BUSY_TIMEOUT_S)
    except (OSError, sqlite3.OperationalError) as error:
        raise _unusable(path, error) from error
    try:
        _bring_up_to_date(connection, path)
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        terms.register(connection)
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}").fetchone()
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            is_foreign = error.sqlite_errorcode == sqlite3.SQLITE_NOTADB
            raise (_foreign(path, str(error)) if is_foreign else _unusable(path, error)) from error
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. It belongs to the thread that made it, but any may close it."""
    connection = _connect(path, "ro", _BUSY_TIMEOUT_S)
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return connection


def _connect(path: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
    )


def _make_private(path: Path) -> None:
    """Mode 0600, whether new or old. SQLite gives the log beside it the same."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection, path)
    if version == 0:
        _create(connection, path)
    elif version > schema.VERSION:
        raise Conflict(
            "store.newer",
            f"{path} has schema {version}; this version of moorage knows schemas up to {schema.VERSION}",
            fix="install the moorage that last used this data folder, or a later one",
        )
    elif version < schema.VERSION:
        from moorage.adapters.sqlite.migrations import upgrade  # imports Alembic: slow, and rarely needed

        upgrade(path)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The number of the schema; 0 for an empty file."""
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        return 0
    if connection.execute("PRAGMA application_id").fetchone()[0] != schema.APPLICATION_ID:
        raise _foreign(path, "another program's application_id")
    return int(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _create(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN EXCLUSIVE")
    try:
        # Another process may have made it while we waited for the lock.
        if _version(connection, path) == 0:
            for statement in schema.create_statements():
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _foreign(path: Path, why: str) -> Invalid:
    return Invalid(
        "store.foreign",
        f"{path} is not a database of moorage: {why}",
        fix="give another data folder with --data, or move that file away",
    )


def _unusable(path: Path, error: Exception) -> Unavailable:
    return Unavailable(
        "store.unusable",
        f"{path} cannot be opened for writing: {error}",
        fix=f"check that {path.parent} exists, belongs to you and has room",
    )

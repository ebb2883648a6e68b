"""A SQLite file that one adapter has for itself, beside the store: attempts, the audit trail, series.

The standard library's driver is used directly. What goes wrong comes out as `OSError`. A file that turns out to be
damaged, at the start or later, is put aside by its owner, and a new one is begun in its place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

__all__ = ["DatabaseFile", "Synchronous", "as_os_error", "connect", "remove"]

# FULL: what was committed survives the machine. OFF: the last seconds may go with it, and nothing waits for the disk.
Synchronous = Literal["FULL", "OFF"]

_WAIT_S: Final = 10.0
_TAILS: Final = ("", "-wal", "-shm")
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DatabaseFile:
    """One connection for writing, for calls from one thread at a time.

    Attributes:
        connection: replaced when the file is begun anew.
    """

    connection: sqlite3.Connection

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous,
        *,
        prepare: Callable[[sqlite3.Connection], bool],
        put_aside: Callable[[sqlite3.Error | None], None],
    ) -> None:
        """Opens the file, made with mode 0600.

        Args:
            prepare: makes the tables where they are missing, and reads what its owner has to know. False when the
                file is of no use any more, and has to go.
            put_aside: takes a file away that is damaged, or, with None, of no use.

        Raises `OSError`, and what `prepare` raises.
        """
        self._path = path
        self._synchronous = synchronous
        self._prepare = prepare
        self._put_aside = put_aside
        with as_os_error(path):
            try:
                is_of_use = self._open()
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._begin_anew(error)
            else:
                if not is_of_use:
                    self.connection.close()
                    self._begin_anew(None)

    def _open(self) -> bool:
        self._path.touch(0o600)
        self.connection = connect(self._path, self._synchronous)
        try:
            return self._prepare(self.connection)
        except BaseException:
            self.connection.close()
            raise

    def _begin_anew(self, error: sqlite3.Error | None) -> None:
        self._put_aside(error)
        self._open()

    @contextmanager
    def mending(self) -> Iterator[sqlite3.Connection]:
        """What goes wrong inside comes out as `OSError`; damage leaves an empty file behind."""
        with as_os_error(self._path):
            try:
                yield self.connection
            except sqlite3.Error as error:
                if _is_damage(error):
                    self.connection.close()
                    self._begin_anew(error)
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """As `mending`, all of it or nothing."""
        with self.mending() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self.connection.close()


def connect(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """For calls from any thread, one at a time; transactions are begun by whoever wants one. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_WAIT_S)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except BaseException:
        connection.close()
        raise
    return connection


def remove(path: Path) -> None:
    """The file, where there is one, and what SQLite keeps beside it. Raises `OSError`."""
    for tail in _TAILS:
        path.with_name(path.name + tail).unlink(missing_ok=True)


@contextmanager
def as_os_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error


def _is_damage(error: sqlite3.Error) -> bool:
    # The driver's own errors have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED

"""The store: many readers, one writer, one file. Port: `moorage.store.Store`."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

from moorage.adapters.sqlite.database import connect_reader, open_database
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.tables import AllTables
from moorage.adapters.sqlite.writer import Writer
from moorage.errors import Invalid, Unavailable
from moorage.events import Bus
from moorage.ids import Secret

__all__ = ["MEMORY", "SqliteStore"]

R = TypeVar("R")

MEMORY = ":memory:"
_MEMORY_FOLDER = Path("/dev/shm")

_KEY_CHECK = "store.key_check"
_SCANNERS = 2


class SqliteStore:
    """All tables in one SQLite database.

    Reads see what was committed when they began. Any number of event loops may share a store: each thread that reads
    has its own connection. `:memory:` is a database file in the machine's shared memory, with the same behaviour, that
    goes when the store is closed.

    Raises what `open_database` raises, and `Invalid` (`store.secrets_key`) when the file was written with another key.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        secrets_key: bytes,
        bus: Bus,
        backlog: int = 10_000,
    ) -> None:
        self._sealer = Sealer(secrets_key)
        self._temporary: Path | None = None
        if path == MEMORY:
            memory = _MEMORY_FOLDER if _MEMORY_FOLDER.is_dir() else None
            self._temporary = Path(tempfile.mkdtemp(prefix="moorage-", dir=memory))
            path = self._temporary / "moorage.db"
        self._path = Path(path)
        self._is_closed = False
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        connection = open_database(self._path)
        try:
            tables = AllTables(connection, self._sealer)
            _check_key(tables, self._sealer, self._path)
            self._writer = Writer(connection, tables, bus, backlog=backlog)
        except BaseException:
            connection.close()
            raise
        self._scanners = ThreadPoolExecutor(_SCANNERS, thread_name_prefix="moorage-sqlite-scan")

    @property
    def commits(self) -> int:
        """Transactions committed since the store was opened."""
        return self._writer.commits

    @property
    def failed(self) -> Unavailable | None:
        """Why the disk took no write the last time, None while it does. The store tries again by itself."""
        return self._writer.failed

    def replay(self) -> int:
        """Publish events that an earlier run committed and may not have published; call it once subscribers listen.

        Returns how many. Events reach subscribers at least once, in order.
        """
        return self._writer.replay()

    def read(self) -> AllTables:
        """The committed state, for point reads on the calling thread. Raises `Unavailable` (`store.closed`)."""
        if self._is_closed:
            raise Unavailable("store.closed", "the store is closed")
        try:
            return cast(AllTables, self._local.tables)
        except AttributeError:
            return self._connect_thread()

    async def scan(self, work: Callable[[AllTables], R]) -> R:
        """Run a heavy read in a thread; all of it sees one moment."""
        if self._is_closed:
            raise Unavailable("store.closed", "the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._scanners, self._scan, work)

    async def write(self, work: Callable[[AllTables], R]) -> R:
        """Run `work` in a transaction and return its result once that is on disk; see `moorage.store`.

        A caller that is cancelled undoes nothing. Raises what `work` raised, and `Unavailable`: `store.backlog`,
        `store.closed`, and `store.unwritten` when the disk did not take it, in which case nothing changed.
        """
        return cast(R, await self._writer.submit(work))

    def close(self) -> None:
        """Write what is queued, wait for running scans, close the file. Every other use must have ended."""
        if self._is_closed:
            return
        self._is_closed = True
        self._scanners.shutdown()
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
        # Last, because the last connection to go folds the log into the database.
        self._writer.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary)

    def _connect_thread(self) -> AllTables:
        connection = connect_reader(self._path)
        with self._readers_lock:
            self._readers.append(connection)
        self._local.connection = connection
        self._local.tables = AllTables(connection, self._sealer)
        return cast(AllTables, self._local.tables)

    def _scan(self, work: Callable[[AllTables], R]) -> R:
        tables = self.read()
        connection: sqlite3.Connection = self._local.connection
        connection.execute("BEGIN")
        try:
            return work(tables)
        finally:
            connection.execute("ROLLBACK")


def _check_key(tables: AllTables, sealer: Sealer, path: Path) -> None:
    """Refuse a wrong secrets key now, with a sentence, and not at some device's next connect."""
    sealed = tables.settings.get(_KEY_CHECK)
    if sealed is None:
        tables.settings.put(_KEY_CHECK, sealer.seal(Secret(""), Secret(""), _KEY_CHECK).hex())
        return
    try:
        sealer.open(bytes.fromhex(sealed), _KEY_CHECK)
    except Unavailable as error:
        raise Invalid(
            "store.secrets_key",
            f"{path} was written with another secrets key than the one given",
            fix="put back the key file that belongs to this data folder",
        ) from error

"""The one thread that writes, and its group commit.

It takes everything that is queued, runs each work inside a savepoint of one transaction, commits once, publishes what
was emitted, in order, and answers the callers on their loops. While it commits, the next batch gathers. A work that
raises is undone alone. When the commit itself fails, nothing of the batch happened and every caller is told so; the
writer then says that it has `failed` and tries by itself, once a second, until the disk takes writes again.

Events go through the outbox: a row each in the transaction that emitted them, taken out again by a later transaction
(its own only when nothing else comes), so that what was committed but not published is found at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import delete_by
from moorage.adapters.sqlite.tables import AllTables
from moorage.errors import Invalid, Unavailable
from moorage.events import Bus, Event

__all__ = ["Writer"]

_log = logging.getLogger(__name__)

# A batch's callers all wait for its last work, and its events for the commit: enough to make the sync cheap, no more.
_BATCH = 512
# How long published events may lie in the outbox when nobody writes, and a failed disk is left in peace.
_PURGE_AFTER_S = 1.0
_PROBE = "store.probe"

_PURGE = delete_by(schema.outbox, "sequence")


@dataclass(slots=True)
class _Job:
    work: Callable[[AllTables], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Owns the writing connection until `close`. `backlog` bounds the works that wait."""

    def __init__(self, connection: sqlite3.Connection, tables: AllTables, bus: Bus, *, backlog: int) -> None:
        self._connection = connection
        self._tables = tables
        self._bus = bus
        self._backlog = backlog
        self._changed = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._is_closing = False
        # Held while events are handed to the bus: one order for everybody.
        self._publishing = threading.Lock()
        # The sequences of rows in the outbox that were published.
        self._published: list[int] = []
        self._left_over = tables.outbox.left_over()
        self.commits = 0
        # Why the last commit failed, until one succeeds. Set by the thread, read by anybody.
        self.failed: Unavailable | None = None
        self._thread = threading.Thread(target=self._run, name="moorage-sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[AllTables], Any]) -> asyncio.Future[Any]:
        """Queue `work`; the future belongs to the running loop.

        Raises `Unavailable`: `store.backlog` when too much waits already, `store.closed`.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        with self._changed:
            if self._is_closing:
                raise Unavailable("store.closed", "the store is closed")
            if len(self._queue) >= self._backlog:
                raise Unavailable(
                    "store.backlog", f"{len(self._queue)} changes wait to be written; at most {self._backlog} may"
                )
            self._queue.append(job)
            self._changed.notify()
        return job.future

    def replay(self) -> int:
        """Publish what an earlier run committed and did not publish; how many that were."""
        with self._publishing:
            left_over, self._left_over = self._left_over, []
            self._publish(left_over)
        with self._changed:
            self._changed.notify()
        return len(left_over)

    def close(self) -> None:
        """Write what is queued, then end. The connection is closed with it."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._process(batch)
        if self._published:
            self._process([])

    def _process(self, batch: list[_Job]) -> None:
        try:
            self._commit(batch)
        except Exception as error:  # whatever it is, the callers are told and the thread lives on
            self._undo(batch, error)
        self._answer(batch)

    def _next_batch(self) -> list[_Job] | None:
        """What is queued; nothing when it is only time to clear the outbox or to try again; None at the end."""
        with self._changed:
            while not self._queue:
                if self._is_closing:
                    return None
                if not self._changed.wait(_PURGE_AFTER_S if self._published or self.failed else None):
                    return []
            return [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]

    def _commit(self, batch: list[_Job]) -> None:
        execute = self._connection.execute
        with self._publishing:
            purging = [(sequence,) for sequence in self._published]
        execute("BEGIN IMMEDIATE")
        self._connection.executemany(_PURGE, purging)
        if self.failed is not None:
            # A transaction that changes nothing would succeed on a full disk, and so would one that changes nothing
            # in the row that it writes.
            self._tables.settings.put(_PROBE, str(time.time_ns()))
        for job in batch:
            self._do(job)
        execute("COMMIT")
        self.commits += 1
        if self.failed is not None:
            self.failed = None
            _log.info("store.writes_again")
        emitted, self._tables.outbox.emitted = self._tables.outbox.emitted, []
        with self._publishing:
            del self._published[: len(purging)]
            self._publish(emitted)

    def _do(self, job: _Job) -> None:
        """Run one work; a failure stays with its job unless it took the whole transaction along."""
        connection, emitted = self._connection, self._tables.outbox.emitted
        before = len(emitted)
        connection.execute("SAVEPOINT work")
        try:
            job.result = job.work(self._tables)
        except BaseException as error:
            if not connection.in_transaction:
                # Out of space or memory, or a failing disk: SQLite undoes everything at once.
                raise sqlite3.OperationalError(f"the transaction was given up: {error}") from error
            connection.execute("ROLLBACK TO work")
            del emitted[before:]
            job.error = _told(error)
        connection.execute("RELEASE work")

    def _undo(self, batch: list[_Job], error: Exception) -> None:
        if self.failed is None:
            _log.error("store.commit_failed works=%d", len(batch), exc_info=error)
        elif batch:
            _log.warning("store.commit_failed works=%d error=%s", len(batch), error)
        self.failed = _unwritten(error)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            _log.exception("store.rollback_failed")
        self._tables.outbox.emitted.clear()
        for job in batch:
            job.result = None
            job.error = _unwritten(error)

    def _publish(self, events: list[tuple[int, Event]]) -> None:
        """Hand events to the bus; those that it does not take stay in the outbox. Called with `_publishing` held."""
        for sequence, event in events:
            try:
                self._bus.publish(event)
            except Exception:
                _log.exception("store.publish_failed kind=%s subject=%r", event.kind, event.subject)
            else:
                self._published.append(sequence)

    def _answer(self, batch: list[_Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in batch:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, jobs in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, jobs)
            except RuntimeError:
                # The loop is closed, so nobody waits any more.
                _log.warning("store.caller_gone works=%d", len(jobs))


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _told(error: BaseException) -> BaseException:
    """What the caller of a failed work is told."""
    if isinstance(error, sqlite3.OperationalError):
        return _unwritten(error)
    if isinstance(error, UnicodeEncodeError):
        told: BaseException = Invalid("text.unicode", f"{error.object[:80]!r} has no UTF-8 form and cannot be stored")
    elif isinstance(error, StopIteration) or not isinstance(error, Exception):
        # A future cannot carry the first, and the others would end the caller's loop.
        told = RuntimeError(f"the work raised {type(error).__name__}")
    else:
        return error
    told.__cause__ = error
    return told


def _unwritten(error: Exception) -> Unavailable:
    told = Unavailable(
        "store.unwritten",
        f"the change was not stored: {error}",
        fix="check the disk that holds the data folder for errors and free space",
    )
    told.__cause__ = error
    return told

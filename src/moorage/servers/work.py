"""Work of one peer that waits for the store: started in the order of the calls, so much at a time, the rest in a queue.

The peer is read no further while something queues, so the queue holds no more than what was read in one go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from moorage.errors import Refusal

__all__ = ["MAX_RUNNING", "Employer", "Work"]

log = logging.getLogger(__name__)

MAX_RUNNING = 32

Job = Callable[[], Coroutine[Any, Any, None]]


class Employer(Protocol):
    """Whose work it is."""

    def hold_requests(self, hold: bool) -> None:
        """Something begins to queue, or nothing does any more."""

    def work_failed(self, error: BaseException) -> None:
        """A job raised it."""


class Work:
    """Made by whoever has some; `forget` parts the two."""

    __slots__ = ("_employer", "_queued", "running")

    def __init__(self, employer: Employer) -> None:
        self._employer: Employer | None = employer
        self._queued: deque[Job] | None = None
        # Jobs that have begun and not ended.
        self.running = 0

    def run(self, job: Job) -> None:
        if self.running < MAX_RUNNING:
            self._start(job)
        elif self._queued is None:
            self._queued = deque((job,))
            if self._employer is not None:
                self._employer.hold_requests(True)
        else:
            self._queued.append(job)

    def forget(self) -> None:
        """The peer is gone: what has not begun will not, and there is nobody to be told of a refusal."""
        self._employer = None
        self._queued = None

    def _start(self, job: Job) -> None:
        self.running += 1
        task = asyncio.get_running_loop().create_task(job())
        _tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        self.running -= 1
        if self._queued is not None:
            self._start(self._queued.popleft())
            if not self._queued:
                self._queued = None
                if self._employer is not None:
                    self._employer.hold_requests(False)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self._employer is not None:
            self._employer.work_failed(error)
        elif not isinstance(error, Refusal):
            log.error("work_failed", exc_info=error)


# The loop keeps only weak references to tasks.
_tasks: set[asyncio.Task[None]] = set()

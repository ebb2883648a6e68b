"""Work of one peer that waits for the store: started in the order of the calls, so much at a time, the rest in a queue.

The peer is read no further while something queues, so the queue holds no more than what was read in one go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["MAX_RUNNING", "Work"]

MAX_RUNNING = 32

Job = Callable[[], Coroutine[Any, Any, None]]


class Work:
    """`hold` is told when something begins to queue, and when nothing does any more; `failed` hears of exceptions."""

    __slots__ = ("_failed", "_hold", "_queued", "_running")

    def __init__(self, hold: Callable[[bool], None], failed: Callable[[BaseException], None]) -> None:
        self._hold = hold
        self._failed = failed
        self._running = 0
        self._queued: deque[Job] = deque()

    def run(self, job: Job) -> None:
        if self._running < MAX_RUNNING:
            self._start(job)
            return
        if not self._queued:
            self._hold(True)
        self._queued.append(job)

    def forget(self) -> None:
        """The peer is gone: what has not begun will not."""
        self._queued.clear()

    def _start(self, job: Job) -> None:
        self._running += 1
        task = asyncio.get_running_loop().create_task(job())
        _tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        self._running -= 1
        if self._queued:
            self._start(self._queued.popleft())
            if not self._queued:
                self._hold(False)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._failed(error)


# The loop keeps only weak references to tasks.
_tasks: set[asyncio.Task[None]] = set()

"""One timer wheel for all connections: keep-alive, handshake and lock deadlines, a second exact.

A connection has no timer of its own. It stands in the slot of the second in which it next wants to be looked at; when
that comes it says when to look again. Traffic touches nothing here: the deadline is worked out from the time of the
last packet only when the slot comes up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from moorage.clock import Clock

__all__ = ["Timed", "TimerWheel"]

log = logging.getLogger(__name__)


class Timed(Protocol):
    """Something with deadlines."""

    def on_time(self, now: float) -> float | None:
        """Act on what is due at `now` (monotonic seconds); returns when to be asked next, None for never."""


class TimerWheel:
    """Slots of one second. `start` it on the loop whose connections it serves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[int, list[Timed]] = {}
        self._ticks: list[Callable[[], None]] = []
        self._next = int(clock.monotonic())
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(1.0, self._tick)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self._loop = None

    def add(self, timed: Timed, at: float) -> None:
        """Have `timed.on_time` called in the second after `at`."""
        self._slots.setdefault(max(int(at) + 1, self._next), []).append(timed)

    def every_second(self, call: Callable[[], None]) -> None:
        """Have `call` called at each tick, for as long as the wheel turns."""
        self._ticks.append(call)

    def turn(self) -> None:
        """Do everything that is due."""
        now = self._clock.monotonic()
        while self._next <= now:
            for timed in self._slots.pop(self._next, ()):
                again = timed.on_time(now)
                if again is not None:
                    self._slots.setdefault(max(int(again) + 1, self._next + 1), []).append(timed)
            self._next += 1
        for call in self._ticks:
            call()

    def _tick(self) -> None:
        try:
            self.turn()
        except Exception:
            # One connection's fault must not stop everybody's clock.
            log.exception("timer_failed")
        if self._loop is not None:
            self._handle = self._loop.call_later(1.0, self._tick)

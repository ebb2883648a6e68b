"""One timer wheel for all connections: handshake, keep-alive and lock deadlines, a second exact.

A connection has no timer of its own. It stands in the slot of the second in which it next wants to be looked at; when
that comes it says when to look again. Traffic touches nothing here: the deadline is worked out from the time of the
last packet only when the slot comes up. What is gone leaves its slot at once, so that nothing dead is kept alive.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from moorage.clock import Clock

__all__ = ["NO_SLOT", "Timed", "TimerWheel"]

log = logging.getLogger(__name__)

NO_SLOT = -1
_AFTER_A_FAULT_S = 60.0


class Timed(Protocol):
    """Something with deadlines. `slot` belongs to the wheel and begins as `NO_SLOT`."""

    slot: int

    def on_time(self, now: float) -> float | None:
        """Act on what is due at `now` (monotonic seconds); returns when to be asked next, None for never."""


class TimerWheel:
    """Slots of one second. `start` it on the loop whose connections it serves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[int, set[Timed]] = {}
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

    def wake(self, timed: Timed, by: float) -> None:
        """Have `timed.on_time` called in the second after `by`, unless it is to be called sooner anyway."""
        slot = max(int(by) + 1, self._next)
        if timed.slot != NO_SLOT:
            if timed.slot <= slot:
                return
            self.forget(timed)
        self._put(timed, slot)

    def forget(self, timed: Timed) -> None:
        """Never call `timed` again."""
        held = self._slots.get(timed.slot)
        if held is not None:
            held.discard(timed)
            if not held:
                del self._slots[timed.slot]
        timed.slot = NO_SLOT

    def every_second(self, call: Callable[[], None]) -> None:
        """Have `call` called at each tick, for as long as the wheel turns."""
        self._ticks.append(call)

    def turn(self) -> None:
        """Do everything that is due."""
        now = self._clock.monotonic()
        while self._next <= now:
            slot = self._next
            due = self._slots.pop(slot, ())
            self._next += 1
            for timed in due:
                # Not so when an earlier one in this slot had it forgotten, or woken at another time.
                if timed.slot == slot:
                    self._call(timed, now)
        for call in self._ticks:
            call()

    def _call(self, timed: Timed, now: float) -> None:
        timed.slot = NO_SLOT
        try:
            again = timed.on_time(now)
        except Exception:
            # One connection's fault must not stop everybody's clock; its own deadlines still have to come.
            log.exception("timer_failed")
            again = now + _AFTER_A_FAULT_S
        if again is not None:
            self.wake(timed, again)

    def _put(self, timed: Timed, slot: int) -> None:
        held = self._slots.get(slot)
        if held is None:
            self._slots[slot] = {timed}
        else:
            held.add(timed)
        timed.slot = slot

    def _tick(self) -> None:
        try:
            self.turn()
        except Exception:
            log.exception("tick_failed")
        if self._loop is not None:
            self._handle = self._loop.call_later(1.0, self._tick)

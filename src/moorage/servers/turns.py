"""The turns of strangers: how much of the loop's time goes into handshakes and judgements, and in which order.

What a stranger sends is taken at once for as long as nobody waits and `BUDGET_S` have not passed since the first of
those in a window of `_WINDOW_S`. Otherwise it stands in the `FairQueue`, and each turn of the loop serves it for
`BUDGET_S`: between two of them everything else has its go, so that telemetry and its acknowledgements never wait for a
flood to be judged.

While strangers come, `look_out` is called every `LOOK_OUT_S`, for those who have not even been taken from the kernel.

Where there is no crowd that costs one look at the clock. A call back in each turn, to know where one ends, would cost
another round of the loop: 4 % of a connect.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from moorage.clock import Clock
from moorage.servers.admission import FairQueue, Origin, Standing

__all__ = ["BUDGET_S", "HOLD_TURN", "LOOK_OUT_S", "MAX_AHEAD_BYTES", "MAX_AHEAD_BYTES_OF_ALL", "Turns", "Waiting"]

log = logging.getLogger(__name__)

# Why nothing is read, beside those of `streams`: what came waits for its turn.
HOLD_TURN: Final = 1 << 8
# Two or three handshakes: the loop is held for less than the 5 ms of decision S8 when the last of them is a long one.
BUDGET_S: Final = 0.002
# Twice as long, whatever else the loop does, and strangers may go again without a queue.
_WINDOW_S: Final = 2 * BUDGET_S
LOOK_OUT_S: Final = 0.01
# What one that waits may have sent before it is read no further: a ClientHello, or the flight with its certificates.
MAX_AHEAD_BYTES: Final = 8 * 1024
# One read can bring more than that; what all such together may hold.
MAX_AHEAD_BYTES_OF_ALL: Final = 32 * 1024 * 1024


class Waiting(Protocol):
    """A stream whose bytes wait for their turn."""

    origin: Origin

    def on_turn(self) -> None:
        """Take what waits."""

    def shed(self, reason: str) -> None:
        """Close at once: what waits is too much."""


class Turns:
    """One for all doors of a hub. `standing` is told what became of peers by whoever judges them."""

    def __init__(self, clock: Clock, look_out: Callable[[], None] = lambda: None) -> None:
        self.standing = Standing()
        self._look_out = look_out
        self._looked_out = clock.monotonic()
        self._clock = clock
        self._queue: FairQueue[Waiting] = FairQueue()
        # Those with more than `MAX_AHEAD_BYTES`, the oldest first.
        self._large: OrderedDict[Waiting, int] = OrderedDict()
        self._large_bytes = 0
        self._began = 0.0
        self._is_called = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def may_go(self) -> bool:
        """Whether a stranger's bytes can be taken now."""
        if self._queue:
            return False
        now = self._clock.monotonic()
        since = now - self._began
        if since >= _WINDOW_S:
            self._began = now
            self._keep_looking_out(now)
            return True
        return since < BUDGET_S

    def wait(self, stream: Waiting, size: int, *, has_begun: bool) -> None:
        """Have `stream.on_turn` called when it is its turn, `size` bytes waiting; again when there are more of them.

        One that `has_begun` goes before the others of its address: what was spent on it is lost otherwise.
        """
        rank = self.standing.of(stream.origin[2], self._clock.monotonic())
        self._queue.push(stream, stream.origin, rank, first=has_begun)
        if not self._is_called:
            self._call()
        if size > MAX_AHEAD_BYTES:
            self._large_bytes += size - self._large.get(stream, 0)
            self._large[stream] = size
            while self._large_bytes > MAX_AHEAD_BYTES_OF_ALL:
                oldest = next(iter(self._large))
                self.forget(oldest)
                oldest.shed("connections.busy")

    def forget(self, stream: Waiting) -> None:
        """It waits no longer."""
        self._queue.discard(stream)
        self._large_bytes -= self._large.pop(stream, 0)

    def _call(self) -> None:
        self._is_called = True
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_called = False
        self._began = now = self._clock.monotonic()
        self._keep_looking_out(now)
        until = now + BUDGET_S
        while self._queue:
            stream = self._queue.pop()
            self._large_bytes -= self._large.pop(stream, 0)
            try:
                stream.on_turn()
            except Exception:
                # One stream's fault must not end everybody's turns.
                log.exception("turn_failed")
                stream.shed("connections.busy")
            if self._clock.monotonic() >= until:
                break
        if self._queue:
            self._call()

    def _keep_looking_out(self, now: float) -> None:
        if now - self._looked_out >= LOOK_OUT_S:
            self._looked_out = now
            self._look_out()

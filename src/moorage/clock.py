"""One clock with two faces (monotonic for protocol timers, wall for validity), and one that tests turn by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "HandClock", "SystemClock"]


class Clock(Protocol):
    """`monotonic` drives keep-alive and timeouts; `now` drives certificate validity, SAS expiry, TTL and retention."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""

    def unix_ms(self) -> int:
        """The wall clock as milliseconds since 1970: what the telemetry path stamps, without an object."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000


class HandClock:
    """Moves only when told to."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime(2030, 1, 1, tzinfo=UTC)
        self._monotonic = 1000.0

    def monotonic(self) -> float:
        return self._monotonic

    def now(self) -> datetime:
        return self._now

    def unix_ms(self) -> int:
        return int(self._now.timestamp() * 1000)

    def advance(self, seconds: float) -> None:
        """Turn both faces."""
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

    def set_wall(self, now: datetime) -> None:
        """Turn the wall face alone."""
        self._now = now

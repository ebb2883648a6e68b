"""How often back ends may ask: a token bucket for each hub and group of operations (contract/services.md 2.12).

A bucket holds what may be asked in one period and fills up evenly, so that a burst of that size passes after a quiet
time. Groups without a rate are not limited; by default none has one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from moorage.errors import Exhausted
from moorage.ids import HubId

__all__ = ["OperationGroup", "Rate", "Throttles"]

OperationGroup = Literal[
    "registry", "queries", "twin_reads", "twin_updates", "methods", "messages", "configurations", "jobs", "enrollments"
]


@dataclass(frozen=True, slots=True)
class Rate:
    """So many operations in so many seconds."""

    count: int
    seconds: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class Throttles:
    """Counts operations; `now` is the monotonic face of the clock."""

    def __init__(self, rates: Mapping[OperationGroup, Rate] | None = None) -> None:
        self._rates = {group: rate for group, rate in (rates or {}).items() if rate.count > 0}
        self._buckets: dict[tuple[HubId, OperationGroup], _Bucket] = {}

    def take(self, hub: HubId, group: OperationGroup, now: float) -> None:
        """Count one operation. Raises `Exhausted` (`throttle.exceeded`) when it is one too many."""
        rate = self._rates.get(group)
        if rate is None:
            return
        bucket = self._buckets.setdefault((hub, group), _Bucket(rate.count, now))
        per_second = rate.count / rate.seconds
        bucket.tokens = min(float(rate.count), bucket.tokens + max(0.0, now - bucket.filled) * per_second)
        bucket.filled = now
        if bucket.tokens < 1:
            raise Exhausted(
                "throttle.exceeded",
                f"{rate.count} operations of the group {group} may be asked for in {rate.seconds:g} s, and were",
                retry_after_s=max(1, math.ceil((1 - bucket.tokens) / per_second)),
                fix="ask less often, or give the hub a higher rate (docs/reference/settings.md)",
            )
        bucket.tokens -= 1

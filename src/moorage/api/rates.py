"""How often one caller may ask: each has an allowance of its own that fills up evenly (contract/central.md LIM-7)."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

from moorage.errors import Exhausted

__all__ = ["CallRates"]

# Callers that are remembered; one that is forgotten begins with a full allowance.
_MAX_CALLERS: Final = 2_000


class CallRates:
    """Counts calls. `per_second` 0 sets no limit; times are monotonic seconds."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        # By caller: what is left, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, now: float) -> None:
        """Raises `Exhausted` (`throttle.exceeded`)."""
        most = self._per_second
        if not most:
            return
        left, filled = self._left.get(caller, (float(most), now))
        left = min(float(most), left + max(0.0, now - filled) * most)
        is_one_left = left >= 1
        self._left[caller] = (left - 1 if is_one_left else left, now)
        self._left.move_to_end(caller)
        if len(self._left) > _MAX_CALLERS:
            self._left.popitem(last=False)
        if not is_one_left:
            raise Exhausted(
                "throttle.exceeded",
                f"{caller[:80]} may call {most} times in a second, and did",
                retry_after_s=max(1, math.ceil((1 - left) / most)),
                fix="ask less often, or give callers a higher rate (docs/reference/settings.md)",
            )

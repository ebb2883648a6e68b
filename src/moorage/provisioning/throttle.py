"""How often devices may ask the provisioning service (contract/devices.md 6.1), once they were let in.

Registrations are counted together, since each is a write; polls are counted for each device, since one that polls in a
loop should hold up itself alone. What a stranger sends is not counted here: else he could keep the fleet out.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from moorage.clock import Clock
from moorage.errors import Exhausted
from moorage.ids import RegistrationId

__all__ = ["DeviceRates", "DeviceThrottle"]

# Devices whose polls are remembered; one that is forgotten begins with a full allowance.
_MAX_DEVICES: Final = 20_000
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """In a minute; 0 sets no limit. Azure takes 1000 registrations, and 30 polls of one device."""

    registrations: int = 60_000
    polls: int = 600


@dataclass(slots=True)
class _Allowance:
    """Fills up evenly to what may be asked in a minute."""

    left: float
    filled: float

    def take(self, most: int, now: float) -> float:
        """0 when it may be asked, else the seconds until it may."""
        per_second = most / _MINUTE_S
        self.left = min(float(most), self.left + max(0.0, now - self.filled) * per_second)
        self.filled = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) / per_second


class DeviceThrottle:
    """Counts what devices ask. Both raise `Exhausted` (`throttle.exceeded`)."""

    def __init__(self, rates: DeviceRates, clock: Clock, *, max_devices: int = _MAX_DEVICES) -> None:
        self._rates = rates
        self._max_devices = max_devices
        self._clock = clock
        self._all = _Allowance(rates.registrations, clock.monotonic())
        self._polls: OrderedDict[str, _Allowance] = OrderedDict()

    def register(self) -> None:
        most = self._rates.registrations
        if most:
            self._refuse(self._all.take(most, self._clock.monotonic()), most, "registrations of all devices")

    def poll(self, registration_id: RegistrationId) -> None:
        most, key, now = self._rates.polls, registration_id.lower(), self._clock.monotonic()
        if not most:
            return
        allowance = self._polls.setdefault(key, _Allowance(most, now))
        self._polls.move_to_end(key)
        if len(self._polls) > self._max_devices:
            self._polls.popitem(last=False)
        self._refuse(allowance.take(most, now), most, f"requests of {registration_id!r}")

    def _refuse(self, wait_s: float, most: int, what: str) -> None:
        if wait_s:
            raise Exhausted(
                "throttle.exceeded",
                f"{most} {what} are taken in a minute, and were",
                retry_after_s=max(1, math.ceil(wait_s)),
                fix="ask less often, or give the service a higher rate (docs/reference/settings.md)",
            )

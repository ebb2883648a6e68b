"""How often a password may be tried: by address and by login, so that neither one machine nor many can guess."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from moorage.errors import Exhausted

__all__ = ["MAX_WRONG", "REFILL_S", "SignInThrottle"]

# Each wrong one costs a place, and a place comes back every so many seconds.
MAX_WRONG: Final = 10
REFILL_S: Final = 30.0
# Logins and addresses that are remembered: an attacker who tries more of them forgets his own, ten tries for each.
_MAX_REMEMBERED: Final = 20_000


class SignInThrottle:
    """`check` before a password is looked at, `failed` after a wrong one. Times are monotonic seconds."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        # By key: places spent, and when that was.
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, keys: tuple[str, ...], now: float) -> None:
        """Raises `Exhausted` (`account.too_many`)."""
        wait = max(self._spent_by(key, now) - (MAX_WRONG - 1) for key in keys)
        if wait > 0:
            seconds = max(1, round(wait * REFILL_S))
            raise Exhausted(
                "account.too_many",
                f"too many wrong passwords; the next may be tried in {seconds} s",
                retry_after_s=seconds,
            )

    def failed(self, keys: tuple[str, ...], now: float) -> None:
        for key in keys:
            self._spent[key] = (self._spent_by(key, now) + 1, now)
            self._spent.move_to_end(key)
        while len(self._spent) > _MAX_REMEMBERED:
            self._spent.popitem(last=False)

    def succeeded(self, key: str) -> None:
        self._spent.pop(key, None)

    def _spent_by(self, key: str, now: float) -> float:
        spent, at = self._spent.get(key, (0.0, now))
        return max(0.0, spent - (now - at) / REFILL_S)

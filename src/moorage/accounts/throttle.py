"""How often a password may be tried, so that nobody guesses one and nobody keeps another one out.

Three budgets count the tries of browsers that we have never let in: of their network, of the name from that network,
and of the name from everywhere, which is larger. A browser that was let in under a name before has a budget of its own
for that name and none of the others concern it: a stranger may use up all three and the person still comes in.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

from moorage.errors import Exhausted

__all__ = [
    "MAX_WRONG",
    "MAX_WRONG_BY_STRANGERS",
    "REFILL_S",
    "Budget",
    "SignInThrottle",
    "budgets_of",
    "is_known_browser",
    "make_known_browser",
]

# Each wrong one costs a place, and a place comes back every so many seconds.
MAX_WRONG: Final = 10
# Under one name, from everywhere: NIST SP 800-63B 3.2.2 allows a hundred.
MAX_WRONG_BY_STRANGERS: Final = 50
REFILL_S: Final = 30.0
# Logins and addresses that are remembered: an attacker who tries more of them forgets his own, ten tries for each.
_MAX_REMEMBERED: Final = 20_000


class Budget(NamedTuple):
    """`most` wrong passwords are tried before one has to wait."""

    key: str
    most: int


def budgets_of(login: str, network: str, browser: str) -> tuple[Budget, ...]:
    """What a try costs. `browser` names one that was let in under that login before, '' a stranger's."""
    if browser:
        return (Budget(f"browser {browser}", MAX_WRONG),)
    return (
        Budget(f"address {network}", MAX_WRONG),
        Budget(f"login {login} from {network}", MAX_WRONG),
        Budget(f"login {login}", MAX_WRONG_BY_STRANGERS),
    )


def make_known_browser(key: bytes, login: str) -> str:
    """What a browser keeps that was let in under that login; it opens nothing."""
    name = secrets.token_urlsafe(16)
    return f"{name}.{_mark(key, login, name)}"


def is_known_browser(key: bytes, login: str, kept: str) -> bool:
    """Whether we gave that to a browser for that login."""
    name, _, mark = kept[:200].partition(".")
    return hmac.compare_digest(_mark(key, login, name).encode(), mark.encode("utf-8", "replace"))


def _mark(key: bytes, login: str, name: str) -> str:
    return hmac.digest(key, f"{name}\n{login}".encode("utf-8", "replace"), "sha256").hex()


class SignInThrottle:
    """`check` before a password is looked at, `failed` after a wrong one. Times are monotonic seconds."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        # By key: places spent, and when that was.
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, budgets: tuple[Budget, ...], now: float) -> None:
        """Raises `Exhausted` (`account.too_many`)."""
        wait = max(self._spent_by(budget.key, now) - (budget.most - 1) for budget in budgets)
        if wait > 0:
            # Upwards: who comes back after so many seconds is let try.
            seconds = math.ceil(wait * REFILL_S)
            raise Exhausted(
                "account.too_many",
                f"too many wrong passwords; the next may be tried in {seconds} s",
                retry_after_s=seconds,
            )

    def failed(self, budgets: tuple[Budget, ...], now: float) -> None:
        for budget in budgets:
            self._spent[budget.key] = (self._spent_by(budget.key, now) + 1, now)
            self._spent.move_to_end(budget.key)
        while len(self._spent) > _MAX_REMEMBERED:
            self._spent.popitem(last=False)

    def succeeded(self, budgets: tuple[Budget, ...], now: float) -> None:
        """The last one was right: it costs nothing. What was wrong before it still counts."""
        for budget in budgets:
            spent = self._spent_by(budget.key, now) - 1
            if spent > 0:
                self._spent[budget.key] = (spent, now)
            else:
                self._spent.pop(budget.key, None)

    def _spent_by(self, key: str, now: float) -> float:
        spent, at = self._spent.get(key, (0.0, now))
        return max(0.0, spent - (now - at) / REFILL_S)

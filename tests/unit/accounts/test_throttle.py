"""How often a password may be tried: by whom, and who has to wait for whom."""

from __future__ import annotations

import pytest

from moorage.accounts.throttle import (
    MAX_WRONG,
    MAX_WRONG_BY_STRANGERS,
    REFILL_S,
    SignInThrottle,
    budgets_of,
    is_known_browser,
    make_known_browser,
)
from moorage.errors import Exhausted

KEY = b"k" * 32


def guess(throttle: SignInThrottle, login: str, network: str, browser: str = "", now: float = 0.0) -> bool:
    """Whether a wrong password may be tried; it is then."""
    budgets = budgets_of(login, network, browser)
    try:
        throttle.check(budgets, now)
    except Exhausted:
        return False
    throttle.failed(budgets, now)
    return True


def test_a_network_has_ten_tries_whatever_names_it_uses_and_gets_one_back_in_time() -> None:
    throttle = SignInThrottle()
    assert [guess(throttle, f"eve{number}", "here") for number in range(MAX_WRONG + 1)] == [True] * MAX_WRONG + [False]
    assert guess(throttle, "ada", "elsewhere")
    assert guess(throttle, "ada", "here", now=REFILL_S + 1)
    assert not guess(throttle, "ada", "here", now=REFILL_S + 1)


def test_many_networks_together_have_more_under_one_name_and_then_wait_too() -> None:
    throttle = SignInThrottle()
    tries = [guess(throttle, "ada", f"network {number}") for number in range(MAX_WRONG_BY_STRANGERS + 1)]
    assert tries == [True] * MAX_WRONG_BY_STRANGERS + [False]
    assert guess(throttle, "bob", "network 1")
    with pytest.raises(Exhausted) as caught:
        throttle.check(budgets_of("ada", "a new one", ""), 0.0)
    assert 0 < caught.value.retry_after_s <= REFILL_S


@pytest.mark.parametrize("passed", [0.0, 0.7, 12.0, 12.6, 29.9])
def test_who_waits_as_long_as_was_said_may_try(passed: float) -> None:
    throttle = SignInThrottle()
    for _ in range(MAX_WRONG):
        assert guess(throttle, "ada", "here")
    with pytest.raises(Exhausted) as caught:
        throttle.check(budgets_of("ada", "here", ""), passed)
    assert guess(throttle, "ada", "here", now=passed + caught.value.retry_after_s)


def test_a_browser_that_came_in_before_waits_for_nobody_and_has_ten_tries_of_its_own() -> None:
    throttle = SignInThrottle()
    for number in range(MAX_WRONG_BY_STRANGERS):
        guess(throttle, "ada", f"network {number}")
    for _ in range(MAX_WRONG):
        assert guess(throttle, "ada", "network 1", "hers")
    assert not guess(throttle, "ada", "network 1", "hers")
    assert guess(throttle, "ada", "network 1", "her other one")


def test_a_right_password_costs_nothing_and_forgives_nothing() -> None:
    throttle = SignInThrottle()
    for _ in range(MAX_WRONG - 1):
        guess(throttle, "eve", "here")
    own = budgets_of("mallory", "here", "")
    # With an account of one's own one does not buy more tries at another's.
    for _ in range(5):
        throttle.check(own, 0.0)
        throttle.failed(own, 0.0)
        throttle.succeeded(own, 0.0)
    assert guess(throttle, "eve", "here")
    assert not guess(throttle, "eve", "here")


def test_what_a_browser_keeps_is_for_one_name_and_one_hub() -> None:
    kept = make_known_browser(KEY, "ada")
    assert is_known_browser(KEY, "ada", kept)
    assert make_known_browser(KEY, "ada") != kept
    for key, login, text in (
        (b"o" * 32, "ada", kept),
        (KEY, "bob", kept),
        (KEY, "ada", kept.upper()),
        (KEY, "ada", kept.partition(".")[0]),
        (KEY, "ada", ""),
        (KEY, "ada", "\ud800."),
    ):
        assert not is_known_browser(key, login, text)

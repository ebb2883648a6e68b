"""What every test run has: the record of what tests prove about clients; names that are the same in every process; and
no hurry for hypothesis."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.compatibility import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_call,
    pytest_sessionfinish,
)

__all__ = [
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_make_parametrize_id",
    "pytest_runtest_call",
    "pytest_sessionfinish",
]

_LONGEST_NAME: dict[type, int] = {bytes: 30, str: 100}


def pytest_make_parametrize_id(config: pytest.Config, val: Any, argname: str) -> str | None:
    """Keys and certificates are made anew in each process; what has one in its name would be another test there."""
    longest = _LONGEST_NAME.get(type(val))
    return argname if longest is not None and len(val) > longest else None


# An example has no limit of its own, and neither has making one: how long they take is the machine's affair. Where `CI`
# is set hypothesis has this by itself, and a seed that stays the same, which is kept.
settings.register_profile(
    "moorage", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("moorage")

"""What every test run has: the record of what tests prove about clients; and no hurry for hypothesis."""

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
    "pytest_runtest_call",
    "pytest_sessionfinish",
]

# An example has no limit of its own, and neither has making one: how long they take is the machine's affair. Where `CI`
# is set hypothesis has this by itself, and a seed that stays the same, which is kept.
settings.register_profile(
    "moorage", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("moorage")

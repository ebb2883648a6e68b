"""Telemetry in the JSON of IoT Central, put together from its leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from moorage.analytics.rollups import Key, LastValue
from moorage.dialects.central_capabilities import telemetry_json
from moorage.dialects.times import format_time

NOW = datetime(2027, 3, 1, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("older", "newer", "value"),
    [
        (("a.b", 1), ("a.b.c", 2), {"b": {"c": 2}}),
        (("a.b.c", 2), ("a.b", 1), {"b": 1}),
        (("a.b", 1), ("a.c", 2), {"b": 1, "c": 2}),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_an_object_that_changed_its_shape_is_as_it_is_now(
    older: tuple[str, int], newer: tuple[str, int], value: object, is_turned: bool
) -> None:
    found: list[tuple[Key, LastValue]] = [
        (("", older[0]), LastValue(EARLIER, older[1])),
        (("", newer[0]), LastValue(NOW, newer[1])),
    ]
    told = telemetry_json(dict(found[::-1] if is_turned else found), "", "a")
    assert told == {"timestamp": format_time(NOW), "value": value}

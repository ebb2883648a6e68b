"""Places as devices spell them, in telemetry and in properties."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.analytics.explorer import Measure
from moorage.analytics.rollups import LastValue
from moorage.web.places import place_in, place_of

AT = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        {"lat": 59.9, "lon": 10.7, "alt": 3},
        {"latitude": 59.9, "longitude": 10.7},
        {"lat": 59.9, "lng": 10.7},
        {"type": "Point", "coordinates": [10.7, 59.9]},
    ],
)
def test_a_place_is_found_however_it_is_spelled(value: Any) -> None:
    assert place_in(value) == (59.9, 10.7)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "59.9, 10.7",
        [59.9, 10.7],
        {},
        {"lat": 59.9},
        {"lat": "59.9", "lon": "10.7"},
        {"lat": True, "lon": False},
        {"lat": 90.1, "lon": 10.7},
        {"lat": 59.9, "lon": -180.1},
        {"lat": float("nan"), "lon": 1},
        {"type": "Point", "coordinates": [10.7]},
        {"type": "Point", "coordinates": "ab"},
        {"type": "LineString", "coordinates": [10.7, 59.9]},
    ],
)
def test_what_is_no_place_is_none(value: Any) -> None:
    assert place_in(value) is None


@pytest.mark.parametrize("name", ["place", "place.lat", "place.longitude"])
def test_telemetry_is_named_by_its_place_or_by_a_part_of_it(name: str) -> None:
    last = {
        ("gps", "place.lat"): LastValue(AT, 59.9),
        ("gps", "place.longitude"): LastValue(AT, 10.7),
        ("", "place.lat"): LastValue(AT, 1.0),
        ("gps", "placement.lat"): LastValue(AT, 2.0),
    }
    assert place_of(last, Measure("gps", name)) == (59.9, 10.7)
    assert place_of(last, Measure("", name)) is None

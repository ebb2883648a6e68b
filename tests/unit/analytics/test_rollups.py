from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.series import pack_offsets, unpack_offsets
from moorage.analytics.explorer import fitting_step
from moorage.analytics.rollups import EPOCH, Bucket, bucket_start, merge_buckets
from moorage.dialects.json_text import encode_json
from moorage.dialects.telemetry_values import MAX_LEAVES, values_of
from moorage.hub.telemetry_log import SourceHeader, StoredMessage

AT_MS = 1_893_456_000_000


def message(body: bytes, bag: bytes = b"", module: str | None = None) -> StoredMessage:
    source = SourceHeader("hub", "Telemetry", "pump-01", module, "7", "", None)
    return StoredMessage(source, 0, 0, 0, AT_MS, bag, body)


def said(body: Any, bag: bytes = b"", module: str | None = None) -> dict[tuple[str, str], Any]:
    readings = values_of(message(encode_json(body), bag, module))
    return {} if readings is None else dict(readings.values)


def test_leaves_of_a_body_are_values_under_their_paths() -> None:
    body = {"temperature": 21.5, "on": True, "state": "idle", "place": {"lat": 52, "lon": 5.25}, "none": None}
    assert said(body) == {
        ("", "temperature"): 21.5,
        ("", "on"): True,
        ("", "state"): "idle",
        ("", "place.lat"): 52,
        ("", "place.lon"): 5.25,
    }


def test_a_component_is_named_in_the_bag_and_a_module_stands_apart() -> None:
    assert said({"t": 1}, b"%24.sub=thermostat1") == {("thermostat1", "t"): 1}
    assert said({"t": 1}, module="camera") == {("@camera", "t"): 1}
    assert said({"t": 1}, b"$.sub=lens", "camera") == {("@camera.lens", "t"): 1}


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[1,2]", b"12", b'{"a":', b'{"a":NaN}', b"{" * 5000, b'{"a":{}}', b'{"a":1e999}']
)
def test_what_holds_no_values_says_nothing(body: bytes) -> None:
    assert values_of(message(body)) is None


def test_a_body_is_read_to_a_bound() -> None:
    assert len(said({f"n{number}": number for number in range(500)})) == MAX_LEAVES
    deep: Any = 1
    for _ in range(20):
        deep = {"a": deep}
    assert said({"b": 1, "c": deep, "d" * 200: 2, "huge": 1e250}) == {("", "b"): 1}


def test_the_time_is_the_devices_where_it_can_be_and_otherwise_that_of_the_arrival() -> None:
    def at(text: bytes) -> int:
        readings = values_of(message(b'{"a":1}', b"iothub-creation-time-utc=" + text))
        assert readings is not None
        return readings.at_ms

    assert at(b"2029-12-31T23:00:00Z") == AT_MS - 3_600_000
    assert at(b"2029-12-31T23%3A00%3A00Z") == AT_MS - 3_600_000
    for wrong in (b"1970-01-01T00:00:00Z", b"2035-01-01T00:00:00Z", b"yesterday", b""):
        assert at(wrong) == AT_MS


@given(st.lists(st.one_of(st.floats(-1e9, 1e9), st.booleans(), st.text(max_size=3)), min_size=1), st.integers(0, 100))
def test_a_bucket_is_what_its_values_are_however_they_were_split(values: list[Any], at: int) -> None:
    whole, first, second = Bucket(), Bucket(), Bucket()
    for value in values:
        whole.add(value)
    for value in values[:at]:
        first.add(value)
    for value in values[at:]:
        second.add(value)
    first.merge(second)
    numbers = [float(value) for value in values if not isinstance(value, str)]
    assert whole.count == first.count == len(values)
    assert whole.total == pytest.approx(first.total) if numbers else whole.total is None
    for bucket in (whole, first):
        found = (bucket.least, bucket.greatest, bucket.first, bucket.last)
        assert found == ((min(numbers), max(numbers), numbers[0], numbers[-1]) if numbers else (None,) * 4)


def test_lines_of_several_devices_become_one() -> None:
    one, other = EPOCH + timedelta(minutes=1), EPOCH + timedelta(minutes=2)
    merged = merge_buckets(
        [
            {other: Bucket(1, 4.0, 4.0, 4.0, 4.0, 4.0)},
            {one: Bucket(2, 6.0, 1.0, 5.0, 1.0, 5.0), other: Bucket(1)},
        ]
    )
    assert list(merged) == [one, other]
    assert merged[one].average == 3.0
    assert (merged[other].count, merged[other].total) == (2, 4.0)


@given(st.integers(0, 10**8), st.integers(1, 10_000))
def test_steps_begin_at_multiples_of_themselves(minute: int, step: int) -> None:
    start = int((bucket_start(minute, step) - EPOCH).total_seconds()) // 60
    assert start % step == 0
    assert start <= minute < start + step


@given(st.integers(0, 2**40), st.lists(st.integers(0, 2**26), max_size=20))
def test_packed_offsets_come_out_as_they_went_in(first: int, more: list[int]) -> None:
    offsets = [first, *(first + each for each in sorted(more))]
    assert unpack_offsets(pack_offsets(offsets)) == offsets


def test_a_step_fits_the_time_and_the_devices() -> None:
    assert fitting_step(timedelta(hours=1), 10, 1) == 1
    assert fitting_step(timedelta(days=1), 1, 1) == 15
    assert fitting_step(timedelta(days=1), 1, 1, 5) == 5
    assert fitting_step(timedelta(days=30), 100, 8) == 1440
    assert fitting_step(timedelta(days=7), 100, 8, 1) >= 60

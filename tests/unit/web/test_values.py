"""Values as people read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.dtdl.model import Annotations, Telemetry
from moorage.dtdl.schemas import Enum, EnumValue, Primitive, Vector
from moorage.web.values import MAX_SHOWN, json_text, sparkline, typed_text, value_text

FAN = Telemetry(name="fan", schema=Enum("integer", (EnumValue("off", 0, "Standing still"), EnumValue("on", 1))))
PLACE = Telemetry(name="place", schema=Vector("geopoint"))
EXACT = Telemetry(name="t", schema=Primitive("double"), annotations=Annotations(decimal_places=1))


@pytest.mark.parametrize(
    ("value", "declared", "text"),
    [
        (None, None, "—"),
        (True, None, "Yes"),
        (21.5, None, "21.5"),
        (21.0, None, "21"),
        (1234567, None, "1,234,567"),
        (0.1 + 0.2, None, "0.3"),
        (1.23456e-7, None, "1.235e-07"),
        (21.5678, EXACT, "21.6"),
        (0, FAN, "Standing still"),
        (1, FAN, "on"),
        (7, FAN, "7"),
        ({"lat": 52.1, "lon": 5.25}, PLACE, "lat 52.1, lon 5.25"),
        ([1, 2], None, "[1, 2]"),
        ("x" * 500, None, "x" * MAX_SHOWN + "…"),
        (10**40, None, "1e+40"),
    ],
)
def test_a_value_in_one_line(value: Any, declared: Telemetry | None, text: str) -> None:
    assert value_text(value, declared) == text


def test_what_a_form_begins_with_can_be_read_back() -> None:
    assert [typed_text(value) for value in (None, "a", 1.5, True, {"a": 1})] == ["", "a", "1.5", "true", '{"a": 1}']


def test_long_json_is_cut_and_says_so() -> None:
    assert json_text({"a": 1}) == '{\n  "a": 1\n}'
    assert json_text(["x" * 100] * 100, most=500).endswith("…")


def test_of_a_large_value_no_more_is_written_than_is_shown() -> None:
    # What no JSON can hold stands behind what is shown, and is not reached.
    begins = ["x" * 100] * 100 + [object()]
    assert json_text(begins, most=500) == json.dumps(begins[:-1])[:500] + " …"
    assert value_text(begins) == json.dumps(begins[:-1])[:MAX_SHOWN] + "…"
    with pytest.raises(TypeError):
        json_text([object()])


def test_a_line_of_values_stays_within_its_box() -> None:
    assert sparkline([(0, 1)]) == ""
    assert sparkline([(0, 5), (10, 5)]) == "M0.0 20.0L240.0 20.0"
    assert sparkline([(0, 0), (5, 10), (10, 5)]) == "M0.0 38.0L120.0 2.0L240.0 20.0"

"""A model guessed from what a device has sent (central.md TPL-13)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dtdl.parser import parse_interface
from moorage.fleet.guessing import MAX_GUESSES, guess, model_of


def guessed(*bodies: dict[str, Any]) -> dict[str, Any]:
    return {each.name: each.schema for each in guess(bodies, {}, {}).found}


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        ([20, 20.5], "double"),
        ([20], "double"),
        ([True, False], "boolean"),
        (["2026-03-01T10:00:00Z"], "dateTime"),
        (["2026-03-01"], "date"),
        (["PT5M"], "duration"),
        (["2026-03-01", "PT5M"], "string"),
        ([{"lat": 1, "lon": 2}], "geopoint"),
        ([{"x": 1, "y": 2, "z": 3}], "vector"),
        (
            [{"a": 1, "b": {"c": "d"}, "-": 1}],
            {
                "@type": "Object",
                "fields": [
                    {"name": "a", "schema": "double"},
                    {"name": "b", "schema": {"@type": "Object", "fields": [{"name": "c", "schema": "string"}]}},
                ],
            },
        ),
        ([[1, 2], []], {"@type": "Array", "elementSchema": "double"}),
        ([None, 7], "double"),
    ],
)
def test_a_schema_is_what_every_value_fits(values: list[Any], schema: Any) -> None:
    assert guessed(*({"v": value} for value in values)) == {"v": schema}


def test_what_no_model_can_describe_is_left_out_with_its_reason() -> None:
    guesses = guess([{"a": 1, "b-c": 2, "d": None, "e": [], "PartitionId": 1}, {"a": "x"}], {}, {})
    assert not guesses.found
    assert [name for name, _ in guesses.left_out] == ["a", "b-c", "d", "e", "PartitionId"]
    many = guess([{f"n{index}": index for index in range(2000)}], {}, {})
    assert len(many.found) == MAX_GUESSES and len(many.left_out) < 500


def test_properties_come_from_both_sides_of_the_twin_without_components() -> None:
    reported = {
        "serial": "A1",
        "target": {"value": 21.5, "ac": 200, "av": 3},
        "thermostat1": {"__t": "c", "max": 1},
        "$version": 4,
    }
    guesses = guess([{"serial": 7, "t": 1}], reported, {"mode": "eco", "thermostat2": {"__t": "c"}})
    assert [(each.kind, each.name, each.schema, each.sample) for each in guesses.found] == [
        ("property", "serial", "string", "A1"),
        ("writable", "target", "double", 21.5),
        ("writable", "mode", "string", "eco"),
        ("telemetry", "t", "double", 1),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_-", max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=5), max_size=4))
def test_every_guess_is_a_model_that_what_was_seen_fits(bodies: list[dict[str, Any]]) -> None:
    guesses = guess(bodies, {}, {})
    model = parse_interface(
        model_of("dtmi:a:b;1", "B", [(each.kind, each.name, "", each.schema) for each in guesses.found])
    )
    for body in bodies:
        for name, value in body.items():
            telemetry = model.find_telemetry(name)
            assert telemetry is None or value is None or _fits(telemetry.schema.check(value), value)


def _fits(why: str | None, value: Any) -> bool:
    """What is empty inside was no help, and says nothing against the guess."""
    return why is None or "null" in why

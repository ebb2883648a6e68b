"""What fits a schema and what does not, and why; what people type into forms."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dtdl.schemas import Array, Enum, EnumValue, Field, Geometry, Map, Object, Primitive, Schema, Vector
from moorage.errors import Invalid

MODE = Enum("integer", (EnumValue("off", 0, "Off"), EnumValue("heat", 1)))
REPORT = Object((Field("max", Primitive("double")), Field("from", Primitive("dateTime"))))
ALL = [
    *(Primitive(name) for name in ("boolean", "date", "dateTime", "double", "duration")),
    *(Primitive(name) for name in ("float", "integer", "long", "string", "time")),
    Vector("geopoint"),
    Vector("vector"),
    Geometry("point"),
    MODE,
    REPORT,
    Map("k", Field("v", Primitive("integer"))),
    Array(MODE),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (Primitive("boolean"), True),
        (Primitive("date"), "2024-02-29"),
        (Primitive("dateTime"), "2026-03-01T13:45:00Z"),
        (Primitive("dateTime"), "2026-03-01T13:45:00.123456789+02:00"),
        (Primitive("double"), 21),
        (Primitive("duration"), "P1DT12H"),
        (Primitive("duration"), "PT0.5S"),
        (Primitive("float"), -0.5),
        (Primitive("integer"), 20.0),
        (Primitive("long"), 2**40),
        (Primitive("string"), ""),
        (Primitive("time"), "13:45:00"),
        (Vector("geopoint"), {"lat": 47.6, "lon": -122.1}),
        (Vector("vector"), {"x": 1, "y": 2, "z": 3.5}),
        (Geometry("point"), {"type": "Point", "coordinates": [8.5, 47.4]}),
        (Geometry("polygon"), {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 1], [0, 0]]]}),
        (MODE, 1),
        (REPORT, {"max": 21.5, "from": "2026-03-01T13:45:00Z", "new in this firmware": 1}),
        (Map("k", Field("v", Primitive("integer"))), {"a": 1}),
        (Array(Primitive("string")), ["a", "b"]),
    ],
)
def test_a_value_of_its_schema_fits(schema: Schema, value: Any) -> None:
    assert schema.check(value) is None


@pytest.mark.parametrize(
    ("schema", "value", "why"),
    [
        (Primitive("boolean"), 1, "it is 1, and boolean wants true or false"),
        (Primitive("date"), "2026-02-30", "date wants text like 2026-03-01"),
        (Primitive("dateTime"), "2026-03-01", "dateTime wants text like"),
        (Primitive("dateTime"), "2026-03-01T25:00:00Z", "dateTime wants"),
        (Primitive("double"), True, "it is true, and double wants a number"),
        (Primitive("double"), math.inf, "double wants a number"),
        (Primitive("duration"), "P", "duration wants"),
        (Primitive("duration"), "1 hour", 'it is the text "1 hour"'),
        (Primitive("integer"), 2**31, "does not fit into the 32 bits of integer"),
        (Primitive("integer"), 0.5, "integer wants a whole number"),
        (Primitive("long"), 2**63, "does not fit into the 64 bits of long"),
        (Primitive("string"), None, "it is null, and string wants text"),
        (Primitive("time"), "13:61:00", "time wants"),
        (Vector("geopoint"), {"lat": 1}, "it has no lon"),
        (Vector("geopoint"), {"lat": 91, "lon": 0}, "they go from -90 to 90"),
        (Vector("vector"), {"x": "1", "y": 2, "z": 3}, 'x: it is the text "1"'),
        (Geometry("point"), {"type": "Polygon", "coordinates": []}, 'GeoJSON with "type": "Point"'),
        (Geometry("lineString"), {"type": "LineString", "coordinates": [1, 2]}, "not those of a LineString"),
        (MODE, True, "has to be one of 0 (Off), 1 (heat)"),
        (REPORT, {"max": "hot"}, 'max: it is the text "hot"'),
        (Object((Field("inner", REPORT),)), {"inner": {"max": "hot"}}, "inner.max: it is"),
        (Map("k", Field("v", Array(Primitive("integer")))), {"a": [1, "x"]}, "a[1]: it is"),
        (Array(Primitive("string")), "ab", "Array wants an array"),
    ],
)
def test_what_does_not_fit_is_told_why(schema: Schema, value: Any, why: str) -> None:
    assert why in (schema.check(value) or "")


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (Primitive("boolean"), " True ", True),
        (Primitive("double"), "21.5", 21.5),
        (Primitive("double"), "21", 21),
        (Primitive("integer"), "20.0", 20),
        (Primitive("string"), " as typed ", " as typed "),
        (Primitive("date"), "2026-03-01", "2026-03-01"),
        (MODE, "heat", 1),
        (MODE, "0", 0),
        (REPORT, '{"max": 3}', {"max": 3}),
        (Vector("vector"), '{"x": 1, "y": 2, "z": 3}', {"x": 1, "y": 2, "z": 3}),
    ],
)
def test_what_is_typed_becomes_a_value(schema: Schema, text: str, value: Any) -> None:
    assert schema.parse_text(text) == value


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (Primitive("double"), "warm"),
        (Primitive("double"), "1_000"),
        (Primitive("double"), "1e999"),
        (Primitive("integer"), "0.5"),
        (Primitive("boolean"), "yes"),
        (MODE, "cool"),
        (REPORT, "{"),
        (REPORT, "NaN"),
        (REPORT, "[" * 100_000),
        (REPORT, " " * 200_000),
        (Array(Primitive("double")), "[1e999]"),
        # What the model does not list is let through, as far as it can be written again.
        (REPORT, '{"other": 1e999}'),
        (REPORT, '{"other": 123456789012345678901}'),
        (REPORT, '{"other": "\\ud800"}'),
        (Array(Primitive("string")), '["\\ud800"]'),
    ],
)
def test_what_is_typed_and_does_not_fit_is_refused(schema: Schema, text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        schema.parse_text(text)
    assert refusal.value.reason == "template.value"


@given(st.sampled_from(ALL), JSON)
def test_any_value_is_judged_with_a_sentence_or_none(schema: Schema, value: Any) -> None:
    why = schema.check(value)
    assert why is None or "it" in why


@given(st.sampled_from(ALL), st.text(max_size=60))
def test_any_text_becomes_a_value_that_fits_or_is_refused(schema: Schema, text: str) -> None:
    try:
        value = schema.parse_text(text)
    except Invalid as refusal:
        assert refusal.reason == "template.value"
    else:
        assert schema.check(value) is None

"""Fields made from schemas, and values read back from them."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.dtdl.schemas import Array, Enum, EnumValue, Field, Map, Object, Primitive, Schema, Vector
from moorage.web.schema_forms import inputs_of, parse_inputs

FAN = Enum("integer", (EnumValue("off", 0, "Off"), EnumValue("on", 1, "")))
SPAN = Object((Field("since", Primitive("dateTime"), "Since"), Field("most", Primitive("integer")), Field("fan", FAN)))
NESTED = Object((Field("inner", SPAN),))


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (Primitive("double"), "21.5", 21.5),
        (Primitive("integer"), " 3 ", 3),
        (Primitive("boolean"), "true", True),
        (Primitive("string"), " as it is ", " as it is "),
        (FAN, "1", 1),
        (Vector("geopoint"), '{"lat": 1, "lon": 2}', {"lat": 1, "lon": 2}),
        (Array(Primitive("integer")), "[1, 2]", [1, 2]),
        (NESTED, '{"inner": {"most": 3}}', {"inner": {"most": 3}}),
        (Map("name", Field("v", Primitive("string"))), '{"a": "b"}', {"a": "b"}),
    ],
)
def test_what_is_typed_is_the_value(schema: Schema, text: str, value: Any) -> None:
    parsed = parse_inputs("request", schema, {"request": text})
    assert (parsed.value, parsed.errors) == (value, {})
    assert parse_inputs("request", schema, {}).value is None


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (Primitive("double"), "warm"),
        (FAN, "7"),
        (Primitive("date"), "yesterday"),
        (Vector("geopoint"), "{"),
        (NESTED, "[]"),
    ],
)
def test_what_cannot_be_read_is_told_beside_its_field_and_kept(schema: Schema, text: str) -> None:
    parsed = parse_inputs("request", schema, {"request": text})
    assert set(parsed.errors) == {"request"}
    [field] = inputs_of("request", "Request", schema, {"request": text})
    assert (field.text, bool(parsed.errors["request"])) == (text, True)


def test_simple_members_have_a_field_each() -> None:
    typed = {"request.since": "2026-03-01T00:00:00Z", "request.most": "x", "request.fan": "0"}
    parsed = parse_inputs("request", SPAN, typed)
    assert parsed.value == {"since": "2026-03-01T00:00:00Z", "fan": 0}
    assert set(parsed.errors) == {"request.most"}
    fields = inputs_of("request", "Request", SPAN, typed)
    assert [(each.name, each.label, each.kind) for each in fields] == [
        ("request.since", "Since", "text"),
        ("request.most", "most", "number"),
        ("request.fan", "fan", "choice"),
    ]
    assert fields[2].choices == (("0", "Off"), ("1", "on"))
    assert parse_inputs("request", SPAN, {}).value is None


def test_a_field_begins_with_the_value_there_is() -> None:
    assert inputs_of("v", "V", Primitive("boolean"), {}, value=False)[0].text == "false"
    assert inputs_of("v", "V", SPAN, {}, value={"most": 3})[1].text == "3"
    assert inputs_of("v", "V", Array(Primitive("integer")), {}, value=[1])[0].text == "[1]"

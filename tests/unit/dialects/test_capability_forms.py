"""Capabilities as form fields, and back (central.md 7.3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.capability_forms import (
    CAPABILITY_KINDS,
    SCHEMA_CHOICES,
    CapabilityKind,
    capability_fields,
    capability_json,
    kind_of,
)
from moorage.dtdl.parser import parse_interface
from moorage.dtdl.problems import InvalidModel
from moorage.errors import Invalid
from tests.unit.dtdl.models import component, interface, telemetry

ENUM = {
    "@type": "Enum",
    "@id": "dtmi:x:Mode;1",
    "valueSchema": "integer",
    "enumValues": [
        {"name": "off", "enumValue": 0, "displayName": {"en": "Switched off", "de": "Aus"}},
        {"name": "on", "enumValue": 1, "comment": "kept"},
    ],
}
OBJECT = {"@type": "Object", "fields": [{"name": "x", "schema": "double"}]}
EXAMPLES: list[dict[str, Any]] = [
    telemetry(unit="knot", minValue=0, maxValue=0.5, decimalPlaces=0, color="#102030", displayUnit="kn", x=[1]),
    telemetry("mode", ENUM) | {"@type": ["Telemetry", "State"]},
    telemetry("alarm", "string", severity="error") | {"@type": ["Telemetry", "Event"]},
    telemetry("place", OBJECT, displayName={"en": "Place", "fr": "Lieu"}),
    telemetry("shape", "polygon"),
    {"@type": "Property", "name": "limit", "schema": "double", "writable": True, "comment": "c", "description": "d"},
    {"@type": ["Property", "Initialized"], "name": "limit", "schema": "double", "initialValue": 5},
    {"@type": ["Property", "Cloud"], "name": "owner", "schema": "string"},
    {"@type": "Command", "name": "run", "durable": True},
    {
        "@type": "Command",
        "name": "run",
        "request": {"@type": "CommandPayload", "name": "mode", "schema": ENUM},
        "response": {"name": "told", "displayName": "Told", "schema": OBJECT},
    },
    component("part", {"@id": "dtmi:a:b;1", "@type": "Interface", "contents": []}),
    {"@type": "Relationship", "name": "floor", "target": "dtmi:a:b;1"},
]


@pytest.mark.parametrize("capability", EXAMPLES)
def test_saving_what_nobody_changed_changes_nothing(capability: dict[str, Any]) -> None:
    assert capability_json(kind_of(capability), capability_fields(capability), capability) == capability


@pytest.mark.parametrize(
    ("kind", "fields", "made"),
    [
        (
            "telemetry",
            {"name": " speed ", "schema": "double", "semantic": "Velocity", "unit": "knot", "minValue": "0"},
            {"name": "speed", "@type": ["Telemetry", "Velocity"], "schema": "double", "unit": "knot", "minValue": 0},
        ),
        (
            "telemetry",
            {"name": "speed", "schema": "double", "severity": "error"},
            {"name": "speed", "@type": "Telemetry", "schema": "double"},
        ),
        (
            "cloud",
            {"name": "owner", "schema": "string", "initialValue": "nobody", "writable": "on"},
            {
                "name": "owner",
                "@type": ["Property", "Cloud", "Initialized"],
                "schema": "string",
                "initialValue": "nobody",
            },
        ),
        (
            "property",
            {"name": "mode", "schema": "Enum of strings", "values": "ON on Running well\n\nOFF\n", "writable": "on"},
            {
                "name": "mode",
                "@type": "Property",
                "schema": {
                    "@type": "Enum",
                    "valueSchema": "string",
                    "enumValues": [
                        {"name": "on", "enumValue": "ON", "displayName": "Running well"},
                        {"name": "OFF", "enumValue": "OFF"},
                    ],
                },
                "writable": True,
            },
        ),
        (
            "command",
            {"name": "run", "request.on": "on", "request.name": "how", "request.schema": "JSON", "request.json": "{}"},
            {"name": "run", "@type": "Command", "request": {"@type": "CommandPayload", "name": "how", "schema": {}}},
        ),
        (
            "component",
            {"name": "part", "model": "dtmi:a:b;1"},
            {"name": "part", "@type": "Component", "schema": "dtmi:a:b;1"},
        ),
        (
            "component",
            {"name": "part", "interface": '{"@id": "dtmi:a:c;1"}', "model": "dtmi:a:b;1"},
            {"name": "part", "@type": "Component", "schema": {"@id": "dtmi:a:c;1"}},
        ),
    ],
)
def test_what_is_typed_becomes_a_capability(kind: CapabilityKind, fields: dict[str, str], made: dict[str, Any]) -> None:
    assert capability_json(kind, fields, {}) == made


def test_what_is_emptied_goes() -> None:
    present = EXAMPLES[0]
    fields = capability_fields(present) | {"unit": "", "minValue": "", "color": "", "displayUnit": ""}
    made = capability_json("telemetry", fields, present)
    assert sorted(made) == ["@type", "decimalPlaces", "maxValue", "name", "schema", "x"]
    switched = capability_json("property", {"name": "limit", "schema": "double"}, EXAMPLES[5])
    assert "writable" not in switched and "comment" not in switched
    silent = capability_json("command", {"name": "run"}, EXAMPLES[9])
    assert silent == {"@type": "Command", "name": "run"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": "JSON"}, "form.schema"),
        ({"schema": "JSON", "json": "{"}, "form.schema"),
        ({"schema": "Enum of integers", "values": "one a"}, "form.enum"),
        ({"schema": "Enum of integers", "values": "1" * 5000}, "form.enum"),
        ({"schema": "double", "unit": "furlong"}, "form.unit"),
        ({"schema": "double", "unit": "bar", "semantic": "Temperature"}, "form.unit"),
    ],
)
def test_what_cannot_be_read_is_refused(fields: dict[str, str], reason: str) -> None:
    with pytest.raises(Invalid) as refusal:
        capability_json("telemetry", {"name": "a"} | fields, {})
    assert refusal.value.reason == reason


def test_texts_of_an_enum_stay_what_they_are() -> None:
    texts = ["slow mode", "", '"x"', 'a"b', " ", "tab\there", "line\nend", "plain", "\u2028", "1"]
    values = [{"name": f"v{number}", "enumValue": text} for number, text in enumerate(texts)]
    present = telemetry("mode", schema={"@type": "Enum", "valueSchema": "string", "enumValues": values})
    assert capability_json("telemetry", capability_fields(present), present) == present


@pytest.mark.parametrize("line", ['"slow', '"\\ud800" half', '"'])
def test_a_quote_without_a_text_is_told_with_its_line(line: str) -> None:
    fields = {"name": "mode", "schema": "Enum of strings", "values": f"a b\n{line}"}
    with pytest.raises(Invalid, match="line 2 of the values") as refused:
        capability_json("telemetry", fields, {})
    assert (refused.value.reason, refused.value.field) == ("form.enum", "values")


@pytest.mark.parametrize("text", ["9" * 400, "1e999", "-1e999", "9" * 5000])
def test_a_number_beyond_all_numbers_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_interface(
            interface(capability_json("telemetry", {"name": "a", "schema": "double", "minValue": text}, {}))
        )


def test_a_unit_that_is_there_stays_whatever_it_is() -> None:
    present = {"@type": "Telemetry", "name": "speed", "schema": "double", "unit": "furlongPerFortnight"}
    assert capability_json("telemetry", capability_fields(present), present) == present


@given(
    st.sampled_from(CAPABILITY_KINDS),
    st.dictionaries(
        st.sampled_from(
            ("name", "schema", "values", "json", "unit", "minValue", "color", "initialValue", "semantic", "writable")
            + ("request.on", "request.schema", "request.name", "durable", "interface", "model", "severity")
        ),
        st.sampled_from(SCHEMA_CHOICES) | st.text(max_size=30),
    ),
)
def test_any_fields_become_a_model_or_are_refused(kind: CapabilityKind, fields: dict[str, str]) -> None:
    try:
        made = capability_json(kind, fields, {})
        parse_interface(interface(made))
    except Invalid as refusal:
        assert isinstance(refusal, InvalidModel) or refusal.reason.startswith("form.")
    else:
        assert kind_of(made) == kind

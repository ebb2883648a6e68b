"""Models as their makers write them, and what is refused, with the place named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dtdl.documents import inline_references
from moorage.dtdl.model import Command, Component, Interface, Property
from moorage.dtdl.parser import MAX_CAPABILITIES, MAX_CONTENTS, parse_interface
from moorage.dtdl.problems import InvalidModel, child, line_of
from moorage.dtdl.schemas import Array, Enum, Map, Object, Primitive, Vector
from tests.unit.dtdl.models import component, interface, shipped, telemetry

THERMOSTAT = "dtmi:com:example:Thermostat;1"
CONTROLLER = "dtmi:com:example:TemperatureController;2"


def parse(*contents: Any, **members: Any) -> Interface:
    return parse_interface(interface(*contents, **members))


def refused(document: Any, **options: Any) -> InvalidModel:
    with pytest.raises(InvalidModel) as refusal:
        parse_interface(document, **options)
    assert refusal.value.message.startswith(refusal.value.path)
    return refusal.value


def test_the_model_of_the_samples_has_two_thermostats() -> None:
    model = parse_interface(shipped(CONTROLLER), shipped)

    assert [each.name for each in model.components] == ["thermostat1", "thermostat2", "deviceInformation"]
    working_set = model.find_telemetry("workingSet")
    assert working_set is not None and working_set.unit == "kibibyte" and working_set.semantic_types == ("DataSize",)
    target = model.find_property("targetTemperature", "thermostat1")
    assert target is not None and target.is_writable and target.schema == Primitive("double")
    reported = model.find_property("maxTempSinceLastReboot", "thermostat2")
    assert reported is not None and not reported.is_writable
    report = model.find_command("getMaxMinReport", "thermostat2")
    assert report is not None and report.request is not None and report.request.schema == Primitive("dateTime")
    assert report.response is not None and isinstance(report.response.schema, Object)
    assert model.find_property("serialNumber") and model.find_command("reboot")
    assert model.find_property("swVersion", "deviceInformation")
    assert model.find_telemetry("temperature") is None and model.find_telemetry("temperature", "nothing") is None
    assert model.count() == 6 + 4 + 4 + 8
    assert [name for name, _ in model.parts()] == ["", "thermostat1", "thermostat2", "deviceInformation"]


@pytest.mark.parametrize("model_id", [THERMOSTAT, CONTROLLER, "dtmi:com:example:TemperatureController;1"])
def test_models_that_come_along_stand_alone_once_they_are_inlined(model_id: str) -> None:
    alone = inline_references(shipped(model_id), shipped)
    assert parse_interface(alone) == parse_interface(shipped(model_id), shipped)


def test_an_array_is_the_interface_that_no_other_needs() -> None:
    parts = [shipped(THERMOSTAT), shipped("dtmi:azure:DeviceManagement:DeviceInformation;1"), shipped(CONTROLLER)]
    assert parse_interface(parts).id == CONTROLLER
    assert parse_interface(parts, root=THERMOSTAT).id == THERMOSTAT
    assert refused(parts, root="dtmi:com:example:Kettle;1").reason == "template.reference"


def test_inherited_capabilities_are_told_with_the_interface_that_declares_them() -> None:
    base = interface(telemetry("speed"), name="Base")
    left = interface(name="Left", extends=[base])
    right = interface(name="Right", extends="dtmi:com:example:Base;1")
    model = parse_interface([interface(telemetry("flow"), extends=[left, "dtmi:com:example:Right;1"]), right, base])

    assert [each.name for each in model.telemetry] == ["speed", "flow"]
    assert [each.origin for each in model.telemetry] == ["dtmi:com:example:Base;1", "dtmi:com:example:Pump;1"]
    assert [each.id for each in model.extends] == ["dtmi:com:example:Left;1", "dtmi:com:example:Right;1"]


def test_what_iot_central_adds_is_understood() -> None:
    model = parse(
        {
            "@type": ["Telemetry", "Event", "EventValue"],
            "name": "overheated",
            "schema": "string",
            "severity": "Error",
        },
        telemetry(
            "mode",
            {"@type": "Enum", "valueSchema": "string", "enumValues": [{"name": "on", "enumValue": "ON"}]},
            **{"@type": ["Telemetry", "State"]},
        ),
        telemetry("place", "geopoint", **{"@type": ["Telemetry", "Location"]}),
        {"@type": ["Property", "Cloud", "StringValue"], "name": "customer", "schema": "string"},
        {
            "@type": ["Property", "Initialized"],
            "name": "limit",
            "schema": "double",
            "writable": True,
            "initialValue": "100",
            "minValue": 0,
            "maxValue": "200",
            "decimalPlaces": 1,
            "displayUnit": {"en": "per cent"},
            "color": "#1a2b3c",
        },
        {"@type": "Command", "name": "wake", "durable": True},
    )

    event, mode, place = model.telemetry
    assert event.is_event and event.severity == "error"
    assert "State" in mode.semantic_types and isinstance(mode.schema, Enum)
    assert place.schema == Vector("geopoint")
    assert [each.name for each in model.properties] == ["limit"]
    assert [each.name for each in model.cloud_properties] == ["customer"] and model.cloud_properties[0].is_cloud
    limit = model.properties[0]
    assert limit.initial_value == 100 and limit.annotations.max_value == 200 and limit.shown_unit == "per cent"
    assert limit.annotations.decimal_places == 1 and limit.annotations.color == "#1a2b3c"
    assert model.commands[0].is_durable


def test_a_model_needs_no_context_as_the_rest_api_has_none() -> None:
    document = interface(telemetry())
    del document["@context"]
    assert parse_interface(document).telemetry


def test_texts_for_people_may_come_in_languages() -> None:
    model = parse(telemetry(displayName={"de": "Drehzahl", "en-GB": "Speed"}), displayName={"de": "Pumpe"})
    assert model.telemetry[0].label == "Speed" and model.label == "Pumpe"
    assert parse(telemetry()).telemetry[0].label == "speed" and parse().label == "Pump"


def test_complex_schemas_stand_in_place_or_are_named() -> None:
    document = interface(
        telemetry("a", {"@type": "Array", "elementSchema": "dtmi:com:example:point3;1"}),
        telemetry(
            "m",
            {
                "@type": "Map",
                "mapKey": {"name": "key", "schema": "string"},
                "mapValue": {"name": "value", "schema": "dtmi:iotcentral:schema:vector;2"},
            },
        ),
        schemas=[
            {
                "@id": "dtmi:com:example:point3;1",
                "@type": "Object",
                "fields": [{"name": "x", "schema": "dtmi:dtdl:instance:Schema:double;2"}],
            }
        ],
    )
    array, mapped = (each.schema for each in parse_interface(document).telemetry)
    assert isinstance(array, Array) and isinstance(array.element, Object)
    assert array.element.fields[0].schema == Primitive("double")
    assert isinstance(mapped, Map) and mapped.value.schema == Vector("vector")


def test_an_edge_template_names_the_interfaces_of_its_modules() -> None:
    module = interface(telemetry("speed"), name="Module")
    model = parse({"@type": ["Relationship", "EdgeModule"], "name": "filter", "target": [module]})
    assert model.relationships[0].targets == ("dtmi:com:example:Module;1",)
    assert model.relationships[0].interfaces[0].find_telemetry("speed")
    assert parse({"@type": "Relationship", "name": "floor", "target": "dtmi:x:Unknown;1"}).relationships


def test_the_kind_of_a_capability_is_its_class() -> None:
    model = parse_interface(shipped(CONTROLLER), shipped)
    assert isinstance(model.by_name["serialNumber"], Property)
    assert isinstance(model.by_name["reboot"], Command)
    assert isinstance(model.by_name["thermostat1"], Component)


@pytest.mark.parametrize(
    ("document", "reason", "path"),
    [
        ("text", "template.shape", "$"),
        ([], "template.shape", "$"),
        ([1], "template.shape", "$[0]"),
        ({}, "template.id", '$["@id"]'),
        (interface() | {"@id": "dtmi:com:example:_x;1"}, "template.id", '$["@id"]'),
        (interface() | {"@id": "dtmi:com:example:x;0"}, "template.id", '$["@id"]'),
        (interface() | {"@id": f"dtmi:{'a' * 200};1"}, "template.id", '$["@id"]'),
        (interface() | {"@type": "Telemetry"}, "template.kind", '$["@type"]'),
        (interface() | {"@type": 7}, "template.kind", '$["@type"]'),
        (interface() | {"@context": "dtmi:dtdl:context;3"}, "template.context", '$["@context"]'),
        (interface(displayName=7), "template.shape", "$.displayName"),
        (interface(description="a" * 600), "template.limit", "$.description"),
        (interface(contents="none"), "template.shape", "$.contents"),
        (interface(7), "template.shape", "$.contents[0]"),
        (interface({"name": "a"}), "template.kind", '$.contents[0]["@type"]'),
        (interface({"@type": ["Telemetry", "Property"], "name": "a"}), "template.kind", '$.contents[0]["@type"]'),
        (interface(telemetry("_a")), "template.name", "$.contents[0].name"),
        (interface(telemetry("a-b")), "template.name", "$.contents[0].name"),
        (interface(telemetry("a" * 65)), "template.name", "$.contents[0].name"),
        (interface(telemetry("PartitionId")), "template.name", "$.contents[0].name"),
        (interface(telemetry("a"), telemetry("a", "string")), "template.duplicate", "$.contents[1]"),
        (interface(telemetry("a", None)), "template.schema", "$.contents[0].schema"),
        (interface(telemetry("a", "decimal")), "template.schema", "$.contents[0].schema"),
        (interface(telemetry("a", {"@type": "Set"})), "template.schema", '$.contents[0].schema["@type"]'),
        (interface(telemetry("a", {"@type": "Object"})), "template.shape", "$.contents[0].schema.fields"),
        (interface(telemetry() | {"@type": ["Telemetry", "State"]}), "template.schema", "$.contents[0].schema"),
        (
            interface(telemetry("a", "boolean") | {"@type": ["Telemetry", "Event"]}),
            "template.schema",
            "$.contents[0].schema",
        ),
        (
            interface(telemetry("a", "string") | {"@type": ["Telemetry", "Temperature"]}),
            "template.schema",
            "$.contents[0].schema",
        ),
        (interface(telemetry(severity="fatal")), "template.shape", "$.contents[0].severity"),
        (interface(telemetry(minValue=2, maxValue=1)), "template.value", "$.contents[0].minValue"),
        (interface(telemetry(decimalPlaces=-1)), "template.value", "$.contents[0].decimalPlaces"),
        (
            interface({"@type": "Property", "name": "a", "schema": "double", "writable": "yes"}),
            "template.shape",
            "$.contents[0].writable",
        ),
        (
            interface({"@type": "Property", "name": "a", "schema": "double", "initialValue": "warm"}),
            "template.value",
            "$.contents[0].initialValue",
        ),
        (interface({"@type": "Command", "name": "a", "request": 7}), "template.shape", "$.contents[0].request"),
        (interface({"@type": "Component", "name": "a"}), "template.shape", "$.contents[0].schema"),
        (interface(component("a", "dtmi:no:Where;1")), "template.reference", "$.contents[0].schema"),
        (interface(component("a", "dtmi:com:example:Pump;1")), "template.cycle", "$.contents[0].schema"),
        (interface(extends="dtmi:com:example:Pump;1"), "template.cycle", "$.extends"),
        (
            interface(component("a", interface(component("b", interface(name="C")), name="B"))),
            "template.kind",
            "$.contents[0].schema.contents[0]",
        ),
        (interface(*(telemetry(f"a{i}") for i in range(MAX_CONTENTS + 1))), "template.limit", "$.contents"),
        (interface(schemas=[7]), "template.shape", "$.schemas[0]"),
    ],
)
def test_what_is_no_model_is_refused_with_its_place(document: Any, reason: str, path: str) -> None:
    refusal = refused(document)
    assert (refusal.reason, refusal.path) == (reason, path), refusal.message


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([{"name": "a", "enumValue": "1"}], "template.value"),
        ([{"name": "a", "enumValue": 1}, {"name": "a", "enumValue": 2}], "template.duplicate"),
        ([{"name": "a", "enumValue": 1}, {"name": "b", "enumValue": 1}], "template.duplicate"),
        ([{"name": f"a{i}", "enumValue": i} for i in range(101)], "template.limit"),
        (["a"], "template.shape"),
        ("a", "template.shape"),
    ],
)
def test_an_enum_lists_each_value_once(values: Any, reason: str) -> None:
    schema = {"@type": "Enum", "valueSchema": "integer", "enumValues": values}
    assert refused(interface(telemetry("a", schema))).reason == reason


def test_schemas_nest_five_deep_and_no_deeper() -> None:
    schema: Any = "double"
    for _ in range(5):
        schema = {"@type": "Array", "elementSchema": schema}
    assert parse(telemetry("a", schema)).telemetry
    assert refused(interface(telemetry("a", {"@type": "Array", "elementSchema": schema}))).reason == "template.limit"


def test_a_named_schema_that_names_itself_is_refused() -> None:
    loop = {"@id": "dtmi:a:b;1", "@type": "Array", "elementSchema": "dtmi:a:b;1"}
    assert refused(interface(schemas=[loop])).reason == "template.limit"


def test_a_few_named_schemas_cannot_become_millions() -> None:
    def wide(name: str, of: str) -> Any:
        fields = [{"name": f"f{index}", "schema": of} for index in range(30)]
        return {"@id": f"dtmi:a:{name};1", "@type": "Object", "fields": fields}

    schemas = [wide("a", "double"), wide("b", "dtmi:a:a;1"), wide("c", "dtmi:a:b;1"), wide("d", "dtmi:a:c;1")]
    assert "schemas" in refused(interface(schemas=schemas)).message


def test_a_few_interfaces_cannot_become_millions() -> None:
    layers = [
        interface(name=f"L{depth}x{side}", extends=[f"dtmi:com:example:L{depth + 1}x{other};1" for other in range(2)])
        for depth in range(9)
        for side in range(2)
    ]
    last = [interface(telemetry(f"t{side}"), name=f"L9x{side}") for side in range(2)]
    document = [*layers, *last]
    assert len(parse_interface(document).telemetry) == 2
    with pytest.raises(InvalidModel, match="more than"):
        inline_references(document)


def test_components_of_one_interface_count_each_for_themselves() -> None:
    wide = interface(*(telemetry(f"a{index}") for index in range(250)), name="Wide")
    model = interface(*(component(f"c{index}", wide) for index in range(10)))
    assert str(MAX_CAPABILITIES) in refused(model).message
    assert "the most is 100" in refused(interface(component("c", wide)), max_capabilities=100).message


def test_interfaces_extend_each_other_ten_times_and_no_more() -> None:
    chain = [interface(name=f"I{index}", extends=f"dtmi:com:example:I{index + 1};1") for index in range(12)]
    chain.append(interface(telemetry(), name="I12"))
    assert refused(chain).reason == "template.limit"
    assert parse_interface(chain[2:]).telemetry


def test_the_line_of_a_place_is_found_in_the_text() -> None:
    text = json.dumps(interface(telemetry("a"), telemetry("b", "decimal")), indent=2)
    refusal = refused(json.loads(text))
    assert text.splitlines()[line_of(text, refusal.path) - 1].strip() == '"schema": "decimal"'
    assert line_of(text, "$.contents[7].schema") == line_of(text, "$.contents")
    assert line_of("{", "$.a") == 1 and line_of("", "$.a") == 1


@given(st.text(max_size=60), st.lists(st.text(max_size=5) | st.integers(0, 5), max_size=4))
def test_a_line_is_told_of_any_text_and_any_path(text: str, steps: list[Any]) -> None:
    path = "$"
    for step in steps:
        path = child(path, step)
    assert 1 <= line_of(text, path) <= text.count("\n") + 1


MEMBERS = st.sampled_from(
    ("@id", "@type", "@context", "contents", "name", "schema", "extends", "schemas", "fields", "enumValues")
    + ("mapKey", "mapValue", "request", "unit", "displayName", "writable", "initialValue", "valueSchema", "target")
)
WORDS = st.sampled_from(
    ("Interface", "Telemetry", "Property", "Command", "Component", "Relationship", "Enum", "Object", "Map", "Array")
    + ("double", "string", "dtmi:a:b;1", "dtmi:com:example:Pump;1", "name", "State", "Event", "")
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner, max_size=6),
    max_leaves=25,
)


@given(ANYTHING)
def test_any_json_is_a_model_or_refused_with_a_place(contents: Any) -> None:
    for document in (contents, interface(contents), interface(telemetry("a", contents)), interface(extends=contents)):
        try:
            model = parse_interface(document)
        except InvalidModel as refusal:
            assert refusal.reason.startswith("template.") and refusal.path.startswith("$")
        else:
            assert parse_interface(inline_references(document)) == model

"""What a device sent, held against its model."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.dtdl.model import Component, Dtmi, Interface, Property, Telemetry
from moorage.dtdl.schemas import Primitive
from moorage.fleet.raw_data import Cell, ColumnKey, columns_of, read_properties, read_telemetry

THERMOSTAT = Interface(
    Dtmi("dtmi:com:example:Thermostat;1"),
    telemetry=(Telemetry(name="temperature", schema=Primitive("double")),),
    properties=(Property(name="targetTemperature", schema=Primitive("double"), is_writable=True),),
)
MODEL = Interface(
    Dtmi("dtmi:com:example:TemperatureController;2"),
    telemetry=(Telemetry(name="workingSet", schema=Primitive("double")),),
    properties=(Property(name="serialNumber", schema=Primitive("string")),),
    components=(Component(name="thermostat1", schema=THERMOSTAT),),
)
TARGET = ColumnKey("thermostat1", "targetTemperature")


def test_a_column_for_each_capability_that_has_a_value() -> None:
    assert [str(key) for key, _ in columns_of(MODEL)] == [
        "workingSet",
        "serialNumber",
        "thermostat1.temperature",
        "thermostat1.targetTemperature",
    ]
    assert columns_of(None) == []


def test_values_come_apart_into_modelled_and_unmodelled() -> None:
    reading = read_telemetry(MODEL, "thermostat1", {"temperature": 21.5, "humidity": 40})
    assert reading.cells == {ColumnKey("thermostat1", "temperature"): Cell(21.5)}
    assert (reading.unmodelled, reading.problem) == ({"humidity": 40}, "")
    # The same name in the root is another capability, which the model does not have.
    assert read_telemetry(MODEL, "", {"temperature": 21.5}).unmodelled == {"temperature": 21.5}


def test_a_value_that_does_not_fit_says_why_and_is_shown() -> None:
    reading = read_telemetry(MODEL, "", {"workingSet": "much"})
    [(key, problem)] = reading.problems
    assert (key, reading.cells[key].value) == (ColumnKey("", "workingSet"), "much")
    assert "double wants a number" in problem


def test_a_component_that_is_not_there_is_told_and_its_values_are_not_lost() -> None:
    reading = read_telemetry(MODEL, "thermostat9", {"temperature": 1})
    assert "no component 'thermostat9'" in reading.problem
    assert reading.unmodelled == {"temperature": 1}


@pytest.mark.parametrize("body", [[1, 2], "text", 5, None, True])
def test_json_that_is_no_object_is_said_to_be_none(body: Any) -> None:
    assert "no object" in read_telemetry(MODEL, "", body).problem


def test_without_a_model_everything_is_unmodelled_and_nothing_is_wrong() -> None:
    reading = read_telemetry(None, "thermostat1", {"temperature": "x"})
    assert (reading.cells, reading.unmodelled, reading.problem) == ({}, {"temperature": "x"}, "")


def test_property_changes_are_read_through_their_answers_and_components() -> None:
    answer = {"value": 21.5, "ac": 200, "av": 2}
    patch = {"serialNumber": 7, "thermostat1": {"__t": "c", "targetTemperature": answer, "odd": 1}, "fan": {"a": 1}}
    reading = read_properties(MODEL, "reported", patch)
    assert reading.cells[TARGET] == Cell(21.5)
    assert "string wants text" in reading.cells[ColumnKey("", "serialNumber")].problem
    assert reading.unmodelled == {"thermostat1": {"odd": 1}, "fan": {"a": 1}}


def test_a_desired_value_is_itself_and_a_deleted_one_is_no_mismatch() -> None:
    assert read_properties(MODEL, "desired", {"thermostat1": {"targetTemperature": 5}}).cells[TARGET] == Cell(5)
    assert read_properties(MODEL, "desired", {"thermostat1": {"targetTemperature": None}}).problems == []

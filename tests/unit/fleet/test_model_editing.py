"""Edits of a model as JSON: what they change, and what they leave as it is."""

from __future__ import annotations

import copy

import pytest

from moorage.errors import Conflict, NotFound
from moorage.fleet.model_editing import find_capability, interfaces_in, put_capability, remove_capability
from tests.unit.dtdl.models import component, interface, telemetry

PUMP, PART = "dtmi:com:example:Pump;1", "dtmi:com:example:Part;1"
MODEL = interface(
    telemetry("a", junk=["kept"]),
    component("one", interface(telemetry("b"), name="Part")),
    component("two", interface(telemetry("b"), name="Part")),
    extends=[interface(telemetry("c"), name="Base"), "dtmi:com:example:Other;1"],
)


def test_a_capability_is_put_in_place_of_the_one_that_was_there() -> None:
    before = copy.deepcopy(MODEL)
    edited = put_capability(MODEL, PUMP, "a", telemetry("z"))
    assert [each["name"] for each in edited["contents"]] == ["z", "one", "two"]
    assert before == MODEL
    added = put_capability(MODEL, PUMP, "", telemetry("z"))
    assert [each["name"] for each in added["contents"]] == ["a", "one", "two", "z"]
    assert added["contents"][:3] == MODEL["contents"]


def test_an_interface_is_edited_wherever_it_stands() -> None:
    edited = put_capability(MODEL, PART, "b", telemetry("b", "string"))
    assert [each["schema"]["contents"][0]["schema"] for each in edited["contents"][1:]] == ["string", "string"]
    removed = remove_capability(MODEL, PART, "b")
    assert [each["schema"]["contents"] for each in removed["contents"][1:]] == [[], []]
    inherited = remove_capability(MODEL, "dtmi:com:example:Base;1", "c")
    assert inherited["extends"][0]["contents"] == [] and inherited["extends"][1] == "dtmi:com:example:Other;1"
    assert sum(1 for _ in interfaces_in(MODEL)) == 4


def test_what_is_not_there_cannot_be_edited() -> None:
    with pytest.raises(NotFound):
        put_capability(MODEL, "dtmi:no:where;1", "", telemetry("z"))
    with pytest.raises(NotFound):
        put_capability(MODEL, "dtmi:no:where;1", "", telemetry(""))
    with pytest.raises(NotFound):
        put_capability(MODEL, PUMP, "nothing", telemetry("z"))
    with pytest.raises(NotFound):
        remove_capability(MODEL, PART, "a")
    assert find_capability(MODEL, PUMP, "a")["junk"] == ["kept"]


def test_one_name_is_given_once() -> None:
    with pytest.raises(Conflict):
        put_capability(MODEL, PUMP, "", telemetry("a"))
    with pytest.raises(Conflict):
        put_capability(MODEL, PUMP, "a", telemetry("one"))
    assert put_capability(MODEL, PUMP, "a", telemetry("a", "string"))["contents"][0]["schema"] == "string"


def test_interfaces_of_modules_are_edited_too() -> None:
    module = {"@type": ["Relationship", "EdgeModule"], "name": "m", "target": [interface(telemetry("b"), name="Part")]}
    edited = remove_capability(interface(module), PART, "b")
    assert edited["contents"][0]["target"][0]["contents"] == []

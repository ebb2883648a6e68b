"""Digital twins: what a patch makes of desired properties, and what a twin looks like as a model's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from moorage.dialects.digital_twin_json import digital_twin_json, parse_digital_patch
from moorage.errors import Invalid
from moorage.hub.digital_twins import command_method, decide_patch
from moorage.hub.model import Document, Twin
from moorage.hub.twins import TwinChange, fresh_twin, patch_twin, report
from moorage.ids import DEFAULT_HUB
from tests.unit.hub.samples import NOW, named

MODEL = "dtmi:com:example:TemperatureController;1"
STAMP = "2030-01-01T12:00:00.0000000Z"


def twin(desired: dict[str, Any] | None = None, reported: dict[str, Any] | None = None) -> Twin:
    made = fresh_twin(DEFAULT_HUB, named("d"))
    made, _ = patch_twin(made, TwinChange(desired=desired or {}), now=NOW)
    return replace(report(made, reported or {}, now=NOW), model_id=MODEL)


def patch(before: Twin, *operations: tuple[Any, ...]) -> dict[str, Any]:
    body = [dict(zip(("op", "path", "value"), operation, strict=False)) for operation in operations]
    return decide_patch(before, parse_digital_patch(body))


THERMOSTAT = {"thermostat1": {"__t": "c", "target": 20, "limit": {"low": 1}}}


@pytest.mark.parametrize(
    ("desired", "reported", "operation", "made"),
    [
        ({}, {}, ("add", "/target", 21.5), {"target": 21.5}),
        ({}, {"target": 3}, ("replace", "/target", 4), {"target": 4}),
        ({"target": 1}, {}, ("remove", "/target"), {"target": None}),
        ({}, {"target": 1}, ("remove", "/target"), {}),
        ({"target": 1}, {}, ("replace", "/target", 1), {"target": 1}),
        ({"a": {"b": 1, "c": 2}}, {}, ("replace", "/a", {"c": 3}), {"a": {"b": None, "c": 3}}),
        ({"a": {"b": 1, "c": 2}}, {}, ("replace", "/a/b", 5), {"a": {"b": 5}}),
        ({}, {}, ("add", "/t1/target", 5), {"t1": {"__t": "c", "target": 5}}),
        ({}, {"t1": {"__t": "c"}}, ("add", "/t1/target", 5), {"t1": {"__t": "c", "target": 5}}),
        ({}, {"a": {"b": 1}}, ("add", "/a/b", 5), {"a": {"b": 5}}),
        (THERMOSTAT, {}, ("replace", "/thermostat1/target", 5), {"thermostat1": {"target": 5}}),
        (THERMOSTAT, {}, ("remove", "/thermostat1/limit"), {"thermostat1": {"limit": None}}),
        (THERMOSTAT, {}, ("remove", "/thermostat1"), {"thermostat1": None}),
        ({}, {}, ("add", "/t1", {"$metadata": {}, "target": 5}), {"t1": {"__t": "c", "target": 5}}),
        (
            THERMOSTAT,
            {},
            ("replace", "/thermostat1", {"target": 6}),
            {"thermostat1": {"target": 6, "limit": None}},
        ),
        ({}, {}, ("add", "/a~1b~0c", 1), {"a/b~c": 1}),
    ],
)
def test_a_patch_becomes_a_change_of_desired_properties(
    desired: dict[str, Any], reported: dict[str, Any], operation: tuple[Any, ...], made: dict[str, Any]
) -> None:
    assert patch(twin(desired, reported), operation) == made


def test_operations_build_on_each_other() -> None:
    assert patch(twin(), ("add", "/t1", {"$metadata": {}}), ("add", "/t1/x", 1), ("replace", "/t1/x", 2)) == {
        "t1": {"__t": "c", "x": 2}
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "digital_twin.json_patch"),
        ([], "digital_twin.json_patch"),
        ([1], "digital_twin.json_patch"),
        ([{"op": "add", "path": "/a", "value": 1}] * 101, "digital_twin.json_patch"),
        ([{"op": "move", "from": "/a", "path": "/b"}], "digital_twin.json_patch"),
        ([{"op": "add", "value": 1}], "digital_twin.json_patch"),
        ([{"op": "add", "path": "/a"}], "digital_twin.payload"),
        ([{"op": "replace", "path": "/a", "value": None}], "digital_twin.payload"),
        *(
            ([{"op": "add", "path": path, "value": 1}], "digital_twin.path")
            for path in ("", "/", "a", "/a//b", "/$metadata/$model", "/a/$metadata", "/a/__t", "/a" * 11)
        ),
        ([{"op": "remove", "path": "/a"}], "digital_twin.patch"),
        ([{"op": "replace", "path": "/here/x", "value": 1}], "digital_twin.patch"),
        ([{"op": "add", "path": "/here/x", "value": 1}], "digital_twin.path"),
    ],
)
def test_what_is_no_patch_is_refused(body: Any, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        decide_patch(twin({"here": 1}), parse_digital_patch(body))
    assert refused.value.reason == reason


def test_a_twin_is_shown_as_properties_and_components() -> None:
    desired = {"target": 21.5, "thermostat1": {"__t": "c", "target": 30}, "thermostat2": {"__t": "c"}}
    reported = {
        "serial": "x-1",
        "target": {"value": 20, "ac": 200, "av": 2, "ad": "done"},
        "plain": {"value": 1},
        "thermostat1": {"__t": "c", "target": {"value": 29, "ac": 203, "av": 1}, "max": 40},
    }
    assert digital_twin_json(twin(desired, reported)) == {
        "$dtId": "d",
        "serial": "x-1",
        "target": 20,
        "plain": {"value": 1},
        "thermostat1": {
            "target": 29,
            "max": 40,
            "$metadata": {
                "target": {
                    "desiredValue": 30,
                    "desiredVersion": 2,
                    "ackVersion": 1,
                    "ackCode": 203,
                    "lastUpdateTime": STAMP,
                },
                "max": {"lastUpdateTime": STAMP},
            },
        },
        "thermostat2": {"$metadata": {}},
        "$metadata": {
            "$model": MODEL,
            "serial": {"lastUpdateTime": STAMP},
            "target": {
                "desiredValue": 21.5,
                "desiredVersion": 2,
                "ackVersion": 2,
                "ackCode": 200,
                "ackDescription": "done",
                "lastUpdateTime": STAMP,
            },
            "plain": {"lastUpdateTime": STAMP},
        },
    }


def test_what_is_only_desired_has_no_value_yet() -> None:
    shown = digital_twin_json(twin({"target": 1}))
    assert shown == {
        "$dtId": "d",
        "$metadata": {"$model": MODEL, "target": {"desiredValue": 1, "desiredVersion": 2}},
    }


def test_a_device_without_a_model_has_a_digital_twin_too() -> None:
    empty = Document({}, {"$lastUpdated": STAMP}, 1)
    assert digital_twin_json(Twin(DEFAULT_HUB, named("d"), 1, {}, empty, empty)) == {
        "$dtId": "d",
        "$metadata": {"$model": ""},
    }


def test_commands_of_components_are_methods_with_both_names() -> None:
    assert command_method("reboot", None) == "reboot"
    assert command_method("getReport", "thermostat1") == "thermostat1*getReport"

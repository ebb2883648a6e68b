"""The state of a property from both sides of the twin, and the patch that sets properties."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.dtdl.model import Component, Dtmi, Interface, Property
from moorage.dtdl.schemas import Primitive
from moorage.fleet.properties import (
    PropertyKey,
    PropertyProblems,
    PropertyState,
    check_changes,
    check_cloud,
    desired_patch,
    property_states,
    split_document,
)
from moorage.hub.model import Twin
from moorage.hub.twins import TwinChange, fresh_twin, patch_twin, report
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TARGET = Property(name="targetTemperature", schema=Primitive("double"), is_writable=True)
MAXIMUM = Property(name="maxTempSinceLastReboot", schema=Primitive("double"))
CUSTOMER = Property(name="customer", schema=Primitive("string"), is_cloud=True)
THERMOSTAT = Interface(Dtmi("dtmi:com:example:Thermostat;1"), properties=(TARGET, MAXIMUM))
MODEL = Interface(
    Dtmi("dtmi:com:example:TemperatureController;2"),
    properties=(Property(name="serialNumber", schema=Primitive("string")),),
    cloud_properties=(CUSTOMER,),
    components=(Component(name="thermostat1", schema=THERMOSTAT),),
)
KEY = PropertyKey("thermostat1", "targetTemperature")


def twin_of(desired: dict[str, Any], reported: dict[str, Any]) -> Twin:
    twin, _ = patch_twin(
        fresh_twin(DEFAULT_HUB, IdentityName(DeviceId("pump-01"))), TwinChange(desired=desired), now=NOW
    )
    return report(twin, reported, now=NOW)


def thermostat(**members: Any) -> dict[str, Any]:
    return {"thermostat1": {"__t": "c", **members}}


def state_of(twin: Twin, key: PropertyKey = KEY, interface: Interface | None = MODEL) -> PropertyState:
    [found] = [state for state in property_states(twin, interface) if state.key == key]
    return found


# -- states (contract/central.md 8.1) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "state"),
    [(200, "accepted"), (201, "pending"), (202, "pending"), (203, "pending"), (204, "accepted")]
    + [(400, "error"), (404, "error"), (500, "error"), (100, "pending"), (302, "pending")],
)
def test_the_code_of_the_answer_says_the_state(code: int, state: str) -> None:
    answer = {"value": 21.5, "ac": code, "av": 2, "ad": "so it is"}
    found = state_of(twin_of(thermostat(targetTemperature=21.5), thermostat(targetTemperature=answer)))
    assert (found.state, found.value, found.ack_description) == (state, 21.5, "so it is")
    assert (found.ack_code, found.ack_version, found.desired_version) == (code, 2, 2)


def test_without_an_answer_it_is_pending() -> None:
    found = state_of(twin_of(thermostat(targetTemperature=21.5), {}))
    assert (found.state, found.value, found.typed) == ("pending", 21.5, 21.5)


def test_an_answer_to_an_earlier_value_leaves_the_later_one_pending() -> None:
    twin = twin_of(
        thermostat(targetTemperature=21.5), thermostat(targetTemperature={"value": 21.5, "ac": 200, "av": 2})
    )
    assert state_of(twin).state == "accepted"
    twin, _ = patch_twin(twin, TwinChange(desired=thermostat(targetTemperature=30)), now=NOW)
    found = state_of(twin)
    assert (found.state, found.value, found.typed) == ("pending", 21.5, 30)


def test_an_answer_stays_one_when_another_property_is_set() -> None:
    twin = twin_of(
        thermostat(targetTemperature=21.5), thermostat(targetTemperature={"value": 21.5, "ac": 200, "av": 2})
    )
    twin, _ = patch_twin(twin, TwinChange(desired={"other": 1}), now=NOW)
    assert state_of(twin).state == "accepted"


def test_the_value_a_device_begins_with_is_pending_until_somebody_wants_one() -> None:
    found = state_of(twin_of({}, thermostat(targetTemperature={"value": 20, "ac": 203, "av": 0})))
    assert (found.state, found.value, found.desired_version) == ("pending", 20, None)


def test_what_only_the_device_says_is_reported_and_what_nobody_says_is_unset() -> None:
    twin = twin_of({}, thermostat(maxTempSinceLastReboot={"value": 3, "ac": 200}))
    maximum = state_of(twin, PropertyKey("thermostat1", "maxTempSinceLastReboot"))
    # Read-only: what looks like an answer is its value.
    assert (maximum.state, maximum.value) == ("reported", {"value": 3, "ac": 200})
    assert state_of(twin, PropertyKey("", "serialNumber")).state == "unset"


def test_what_the_model_does_not_have_is_shown_behind_it() -> None:
    twin = twin_of({"fan": 3, "left": 1}, {"fan": {"value": 3, "ac": 200, "av": 2}, **thermostat(odd=1)})
    names = [state.key.name for state in property_states(twin, MODEL)]
    assert names == ["serialNumber", "targetTemperature", "maxTempSinceLastReboot", "fan", "odd", "left"]
    fan = state_of(twin, PropertyKey("", "fan"))
    assert (fan.state, fan.declared, fan.is_writable) == ("accepted", None, True)


def test_components_are_found_without_a_model_too() -> None:
    twin = twin_of({}, {**thermostat(maxTempSinceLastReboot=3), "plain": {"a": 1}})
    found = {state.key: state.value for state in property_states(twin, None)}
    assert found == {PropertyKey("thermostat1", "maxTempSinceLastReboot"): 3, PropertyKey("", "plain"): {"a": 1}}


@pytest.mark.parametrize("odd", [{"value": 1, "ac": "200"}, {"value": 1, "ac": True}, {"ac": 200}, [], None, "x"])
def test_what_is_no_answer_counts_for_none(odd: Any) -> None:
    twin = twin_of(thermostat(targetTemperature=21.5), thermostat(targetTemperature=odd))
    assert state_of(twin).state == "pending"


def test_a_component_that_is_a_plain_value_says_nothing_of_its_properties() -> None:
    assert state_of(twin_of({}, {"thermostat1": 5})).state == "unset"


# -- setting -----------------------------------------------------------------------------------------------------------


def test_a_patch_of_a_component_says_that_it_is_one() -> None:
    patch = desired_patch({}, {"": {"fan": 3}, "thermostat1": {"targetTemperature": 21.5}})
    assert patch == {"fan": 3, **thermostat(targetTemperature=21.5)}


def test_an_object_is_put_in_place_of_the_one_before() -> None:
    before = {"limits": {"low": 1, "high": {"a": 1, "b": 2}}, "fan": 3}
    patch = desired_patch(before, {"": {"limits": {"high": {"b": 5}}}})
    assert patch == {"limits": {"low": None, "high": {"a": None, "b": 5}}}


def test_replacing_takes_away_what_is_not_named() -> None:
    before = {"fan": 3, **thermostat(targetTemperature=20, odd=1), "old": {"__t": "c", "x": 1}}
    patch = desired_patch(before, {"thermostat1": {"targetTemperature": 21}}, replace=True)
    assert patch == {"fan": None, "old": None, **thermostat(targetTemperature=21, odd=None)}


def test_each_value_that_does_not_fit_is_told() -> None:
    with pytest.raises(PropertyProblems) as refused:
        check_changes(
            MODEL,
            {
                "": {"serialNumber": "x", "customer": "y", "nothing": 1},
                "thermostat1": {"targetTemperature": "warm", "maxTempSinceLastReboot": None},
                "thermostat9": {"x": 1},
            },
        )
    told = refused.value.problems
    assert "read-only" in told[PropertyKey("", "serialNumber")]
    assert "no such property" in told[PropertyKey("", "customer")]
    assert 'the text "warm"' in told[KEY]
    assert set(told) >= {PropertyKey("", "nothing"), PropertyKey("thermostat9", "x")}
    check_changes(MODEL, {"thermostat1": {"targetTemperature": None}})
    check_changes(MODEL, {"thermostat1": {"targetTemperature": 21}})


def test_cloud_properties_are_judged_by_their_schema() -> None:
    check_cloud(MODEL, {"customer": "Plant 7"})
    with pytest.raises(PropertyProblems):
        check_cloud(MODEL, {"customer": 7})
    with pytest.raises(PropertyProblems):
        check_cloud(MODEL, {"serialNumber": "x"})


def test_a_document_is_taken_apart_by_its_model() -> None:
    document = {
        "serialNumber": "x",
        "customer": "Plant 7",
        "thermostat1": {"__t": "c", "targetTemperature": 21, "$metadata": {}},
        "$metadata": {},
    }
    changes, cloud = split_document(MODEL, document)
    assert changes == {"": {"serialNumber": "x"}, "thermostat1": {"targetTemperature": 21}}
    assert cloud == {"customer": "Plant 7"}

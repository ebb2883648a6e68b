"""When a rule fires, and what it says of each condition (contract/central.md RUL-1 to RUL-4, RUL-9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.accounts.model import Login
from moorage.automation.filters import ABSENT, OPERATORS, Operator, PropertyFilter, Watched, compare
from moorage.automation.rule_model import (
    Condition,
    EmailAction,
    Operand,
    Rule,
    RuleId,
    Silence,
    WebhookAction,
    check_rule,
)
from moorage.automation.rules import (
    Reading,
    Windows,
    evaluate,
    evaluate_silence,
    evaluate_window,
    fires,
    is_watched,
)
from moorage.errors import Refusal
from moorage.ids import DEFAULT_HUB, Secret

NOW = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)
RULE = Rule(
    DEFAULT_HUB,
    RuleId("hot"),
    "Too hot",
    "dtmi:example:Pump;1",
    NOW,
    NOW,
    conditions=(Condition("temperature", "greater", Operand("constant", 30)),),
    actions=(WebhookAction("hook", "Tell the desk", Secret("https://desk.example/in")),),
)
DEVICE = Watched(
    "pump-01",
    "Pump 1",
    RULE.template,
    "",
    {"limit": 25, "cooler": {"limit": 5}},
    {"site": "Harbour"},
)


def reading(values: dict[str, Any], *, at: datetime = NOW, component: str = "", offset: int = 0) -> Reading:
    return Reading("pump-01", at, values, component, offset=offset)


def rule(*conditions: Condition, **changes: Any) -> Rule:
    return replace(RULE, conditions=conditions, **changes)


def test_a_message_beyond_the_limit_fires_and_says_what_was_compared() -> None:
    assert evaluate(RULE, reading({"temperature": 31.5}), DEVICE) == (
        True,
        ("temperature is 31.5, greater than 30",),
    )
    assert evaluate(RULE, reading({"temperature": 30}), DEVICE) == (False, ("temperature is 30, not greater than 30",))
    assert evaluate(RULE, reading({"humidity": 99}), DEVICE) == (False, ("the message has no temperature",))


@pytest.mark.parametrize(
    ("left", "operator", "right", "holds"),
    [
        (5, "greater", 4, True),
        (4, "greater", 4, False),
        (4, "greater_or_equal", 4.0, True),
        (3, "less", 4, True),
        (4, "less", 4, False),
        (4, "less_or_equal", 4, True),
        (1, "equals", 1.0, True),
        (True, "equals", 1, False),
        (1, "equals", True, False),
        (True, "equals", True, True),
        ("1", "equals", 1, False),
        ("on", "not_equals", "off", True),
        ("on", "not_equals", "on", False),
        (True, "greater", 0, False),
        ("b", "greater", "a", False),
        (None, "less", 1, False),
        ("harbour", "contains", "arb", True),
        ("harbour", "starts_with", "har", True),
        ("harbour", "starts_with", "our", False),
        ("harbour", "ends_with", "our", True),
        ("harbour", "ends_with", "har", False),
        (["arb"], "contains", "arb", False),
        (None, "exists", "", True),
        (ABSENT, "exists", "", False),
        (ABSENT, "not_equals", 1, False),
        (1, "not_equals", ABSENT, False),
    ],
)
def test_values_are_compared_as_what_they_are(left: Any, operator: Operator, right: Any, *, holds: bool) -> None:
    assert compare(left, operator, right) is holds


def test_all_takes_every_condition_and_any_takes_one() -> None:
    two = (RULE.conditions[0], Condition("pressure", "less", Operand("constant", 2)))
    half = reading({"temperature": 40, "pressure": 3})
    both = reading({"temperature": 40, "pressure": 1})
    assert not evaluate(rule(*two), half, DEVICE).fires
    assert evaluate(rule(*two), both, DEVICE).fires
    assert evaluate(rule(*two, matches="any"), half, DEVICE).fires
    assert not evaluate(rule(*two, matches="any"), reading({"pressure": 3}), DEVICE).fires
    assert len(evaluate(rule(*two, matches="any"), half, DEVICE).why) == 2


def test_a_value_is_compared_with_a_property_and_a_cloud_property_of_its_device() -> None:
    with_limit = rule(Condition("temperature", "greater", Operand("property", "limit")))
    assert evaluate(with_limit, reading({"temperature": 26}), DEVICE) == (
        True,
        ("temperature is 26, greater than 25 (property limit)",),
    )
    in_component = rule(Condition("temperature", "less", Operand("property", "cooler.limit")))
    assert evaluate(in_component, reading({"temperature": 4}), DEVICE).fires
    at_home = rule(Condition("place", "equals", Operand("cloud_property", "site")))
    assert evaluate(at_home, reading({"place": "Harbour"}), DEVICE).fires
    unknown = rule(Condition("temperature", "greater", Operand("property", "nowhere")))
    assert evaluate(unknown, reading({"temperature": 99}), DEVICE) == (
        False,
        ("the device has no property nowhere, with which temperature is compared",),
    )


def test_telemetry_of_a_component_is_that_components_alone() -> None:
    cooler = rule(Condition("cooler.temperature", "greater", Operand("constant", 30)))
    assert evaluate(cooler, reading({"temperature": 31}, component="cooler"), DEVICE).fires
    assert not evaluate(cooler, reading({"temperature": 31}, component="heater"), DEVICE).fires
    assert not evaluate(cooler, reading({"temperature": 31}), DEVICE).fires
    assert not evaluate(RULE, reading({"temperature": 31}, component="cooler"), DEVICE).fires


def test_an_event_fires_whatever_it_says() -> None:
    event = rule(Condition("doorOpened", "exists"))
    assert evaluate(event, reading({"doorOpened": None}), DEVICE).fires
    assert not evaluate(event, reading({"temperature": 1}), DEVICE).fires


@given(
    matches=st.sampled_from(("all", "any")),
    rows=st.lists(
        st.tuples(
            st.sampled_from(("a", "b", "cooler.limit", "nowhere")),
            st.sampled_from(OPERATORS),
            st.sampled_from(("constant", "property", "cloud_property")),
            st.sampled_from((1, 2.5, "limit", "site", True, "Harbour")),
        ),
        min_size=1,
        max_size=4,
    ),
    values=st.dictionaries(
        st.sampled_from(("a", "b", "limit")), st.sampled_from((None, 0, 1, 2.5, 25, True, False, "Harbour", "", {}))
    ),
    component=st.sampled_from(("", "cooler")),
)
def test_the_short_way_says_what_the_long_one_says(
    matches: Any, rows: list[tuple[Any, ...]], values: dict[str, Any], component: str
) -> None:
    conditions = [
        Condition(path, operator, Operand(kind, str(value) if kind != "constant" else value))
        for path, operator, kind, value in rows
    ]
    judged, message = rule(*conditions, matches=matches), reading(values, component=component)
    assert fires(judged, message, DEVICE) is evaluate(judged, message, DEVICE).fires


def test_a_rule_watches_its_template_narrowed_by_properties() -> None:
    here = replace(RULE, filters=(PropertyFilter("site", "equals", "Harbour", is_cloud=True),))
    assert is_watched(RULE, DEVICE) and is_watched(here, DEVICE)
    assert not is_watched(RULE, replace(DEVICE, template="dtmi:example:Fan;1"))
    assert not is_watched(here, replace(DEVICE, cloud_properties={"site": "Airport"}))
    assert not is_watched(here, replace(DEVICE, cloud_properties={}, properties={"site": "Harbour"}))


def windowed(aggregate: Any, operator: Operator, limit: float) -> Rule:
    condition = Condition("temperature", operator, Operand("constant", limit), aggregate)
    return rule(condition, window_minutes=5)


@pytest.mark.parametrize(
    ("aggregate", "value"), [("average", 20), ("maximum", 30), ("minimum", 10), ("sum", 60), ("count", 3)]
)
def test_a_window_gathers_what_came_within_it(aggregate: Any, value: float) -> None:
    over = windowed(aggregate, "equals", value)
    windows = Windows()
    for place, temperature in enumerate((10, 20, 30)):
        assert list(windows.add(over, reading({"temperature": temperature}, offset=place))) == []
    assert windows.close(NOW + timedelta(minutes=4, seconds=29)) == []
    assert windows.oldest_offset == 0
    (window,) = windows.close(NOW + timedelta(minutes=5))
    assert (window.start.minute, window.end.minute) == (0, 5)
    assert evaluate_window(over, window, DEVICE) == (
        True,
        (f"the {aggregate} of temperature over 5 min is {value}, equal to {value}",),
    )
    assert len(windows) == 0


def test_windows_do_not_overlap_and_a_later_message_closes_the_one_before() -> None:
    over = windowed("maximum", "greater", 30)
    windows = Windows()
    list(windows.add(over, reading({"temperature": 40})))
    (first,) = windows.add(over, reading({"temperature": 1}, at=NOW + timedelta(minutes=6), offset=7))
    assert evaluate_window(over, first, DEVICE).fires
    (second,) = windows.close_all()
    assert second.start == NOW.replace(minute=5, second=0)
    assert not evaluate_window(over, second, DEVICE).fires


def test_a_window_without_numbers_says_so_and_too_many_windows_close_the_oldest() -> None:
    over = windowed("average", "greater", 1)
    windows = Windows(most=2)
    list(windows.add(over, reading({"temperature": "broken"})))
    assert list(windows.add(over, replace(reading({}), device_id="b"))) == []
    (oldest,) = windows.add(over, replace(reading({}), device_id="c"))
    assert oldest.device_id == "pump-01"
    assert evaluate_window(over, oldest, DEVICE) == (False, ("no number came for temperature within 5 min",))
    windows.forget(over.rule_id)
    assert len(windows) == 0


def test_silence_fires_after_its_minutes_and_not_for_who_is_there() -> None:
    offline = Silence("offline", 10)
    assert not evaluate_silence(offline, None, NOW).fires
    assert not evaluate_silence(offline, NOW - timedelta(minutes=9, seconds=59), NOW).fires
    assert evaluate_silence(offline, NOW - timedelta(minutes=10), NOW) == (
        True,
        ("the device is offline for 10 min, the rule takes 10 min",),
    )
    assert "never sent" in evaluate_silence(Silence("no_data", 5), None, NOW).why[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"display_name": " "}, "rule.name"),
        ({"display_name": "two\nlines"}, "rule.name"),
        ({"template": ""}, "rule.template"),
        ({"conditions": ()}, "rule.conditions"),
        ({"silence": Silence("offline", 5)}, "rule.conditions"),
        ({"conditions": (), "silence": Silence("offline", 0)}, "rule.silence"),
        ({"conditions": RULE.conditions * 11}, "rule.too_many"),
        ({"window_minutes": 7, "conditions": ()}, "rule.conditions"),
        ({"window_minutes": 7}, "rule.window"),
        ({"window_minutes": 5}, "rule.conditions"),
        ({"conditions": (Condition("a", "greater", Operand("constant", "x")),)}, "rule.conditions"),
        ({"conditions": (Condition("a", "contains", Operand("constant", "")),)}, "rule.conditions"),
        ({"conditions": (Condition("a b", "exists"),)}, "rule.conditions"),
        ({"conditions": (Condition("a", "equals", Operand("property", "")),)}, "rule.conditions"),
        ({"filters": (PropertyFilter("", "equals", 1),)}, "rule.filter"),
        ({"actions": RULE.actions * 2}, "rule.action_twice"),
        ({"actions": RULE.actions * 6}, "rule.too_many"),
        ({"actions": (WebhookAction("a", "A", Secret("ftp://x")),)}, "rule.action"),
        ({"actions": (WebhookAction("a", "A", Secret("")),)}, "rule.action"),
        ({"actions": (EmailAction("a", "A", ()),)}, "rule.action"),
        ({"actions": (EmailAction("a", "A", (Login("ada"),), "n" * 2001),)}, "rule.action"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    check_rule(RULE)
    with pytest.raises(Refusal) as caught:
        check_rule(replace(RULE, **changes))
    assert caught.value.reason == reason

"""What a configuration may be, and what may change of one that is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import Invalid, Refusal, TooLarge
from moorage.hub.configuration_metrics import system_queries
from moorage.hub.configuration_model import (
    ConfigurationId,
    check_content,
    hears_reports,
    parse_configuration_id,
    read_condition,
)
from moorage.hub.configurations import ConfigurationDraft, decide_create, decide_update
from moorage.ids import DEFAULT_HUB
from moorage.query.parser import parse_query
from tests.unit.hub.samples import NOW, configuration

DEVICE: dict[str, Any] = {"deviceContent": {"properties.desired.a": 1}}
EDGE: dict[str, Any] = {"modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {"camera": {}}}}}}
LAYER: dict[str, Any] = {"modulesContent": {"$edgeAgent": {"properties.desired.modules.camera": {}}}}


def draft_of(content: dict[str, Any], condition: str) -> ConfigurationDraft:
    return ConfigurationDraft(ConfigurationId("c"), content, target_condition=condition)


def reason(refused: pytest.ExceptionInfo[Refusal]) -> str:
    return refused.value.reason


@pytest.mark.parametrize("text", ["a", "line-7", "x" * 128, "a.b_c:d*e!f(g)h=i@j;k$l'm%n#o?p,q~r`s"])
def test_an_id_is_lower_case_ascii(text: str) -> None:
    assert parse_configuration_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 129, "Line", "a b", "ä", "a\n", *(f"a{sign}" for sign in '&^[]{}|"<>/\\')])
def test_an_id_with_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_configuration_id(text)
    assert reason(refused) == "id.configuration"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (DEVICE, "device"),
        ({"deviceContent": {"properties.desired": {"a": 1}}, "note": "kept"}, "device"),
        ({"moduleContent": {"properties.desired.a.b.c": None}}, "module"),
        ({**EDGE, "deviceContent": None}, "edge"),
        (LAYER, "edge"),
        ({"deviceContent": {}}, "device"),
    ],
)
def test_the_kind_is_that_of_the_one_content(content: dict[str, Any], kind: str) -> None:
    assert check_content(content) == kind


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "none of them"),
        ({**DEVICE, **EDGE}, "deviceContent and modulesContent"),
        ({"deviceContent": []}, "deviceContent is a list"),
        ({"deviceContent": {"tags.a": 1}}, "tags.a"),
        ({"deviceContent": {"properties.desired.": 1}}, "is not a section"),
        ({"deviceContent": {"properties.desired.a..b": 1}}, "is not a section"),
        ({"deviceContent": {"properties.desired": 1}}, "has to be an object"),
        ({"deviceContent": {"properties.desired.a$": 1}}, "twin.key"),
        ({"deviceContent": {"properties.desired.a": "x" * 5000}}, "twin.string"),
        ({"deviceContent": {"properties.desired" + ".a" * 12: 1}}, "twin.depth"),
        ({"modulesContent": {"a/b": {}}}, "id.module"),
        ({"modulesContent": {"a": 1}}, "'a' has to be an object"),
        ({"modulesContent": {"a": {"properties.desired": None}}}, "'a' has to be an object"),
        ({"modulesContent": {f"m{number}": {} for number in range(51)}}, "these are 51"),
        ({"modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {"a/b": {}}}}}}, "id.module"),
        ({"modulesContent": {"$edgeAgent": {"properties.desired.modules.a/b": {}}}}, "id.module"),
    ],
)
def test_content_that_no_twin_could_hold_is_refused(content: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_content(content)
    assert reason(refused) == "configuration.content"
    assert told in refused.value.message


def test_content_larger_than_a_twin_is_refused() -> None:
    with pytest.raises(TooLarge):
        check_content({"deviceContent": {f"properties.desired.a{number}": "x" * 4000 for number in range(9)}})


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("", "device", ""),
        ("*", "device", "*"),
        (" tags.a = 1 ", "edge", "tags.a = 1"),
        ("FROM devices WHERE tags.a = 1", "device", "tags.a = 1"),
        ("", "module", ""),
        ("from devices.modules where tags.a = 'from devices where'", "module", "tags.a = 'from devices where'"),
        ("FROM devices.modules", "module", "*"),
        ("deviceId = 'properties.desired.x'", "device", "deviceId = 'properties.desired.x'"),
    ],
)
def test_a_condition_is_what_stands_behind_where(text: str, kind: Any, where: str) -> None:
    assert read_condition(text, kind)[0] == where


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("tags.a ==", "device"),
        ("tags.a = 1", "module"),
        ("*", "module"),
        ("FROM devices WHERE tags.a = 1", "module"),
        ("FROM devices.modules WHERE tags.a = 1", "device"),
        ("properties.desired.a = 1", "device"),
        ("NOT (tags.a = 1 AND properties.[[desired]].a = 1)", "device"),
        ("configurations.[[x]].status = 'Applied'", "edge"),
        ("x" * 5000, "device"),
    ],
)
def test_a_condition_that_is_none_or_goes_by_what_configurations_do_is_refused(text: str, kind: Any) -> None:
    with pytest.raises(Invalid) as refused:
        read_condition(text, kind)
    assert reason(refused) == "configuration.condition"


@pytest.mark.parametrize("field", ["version", "etag", "connectionState", "lastActivityTime", "configurations.a.status"])
def test_a_condition_on_what_is_not_followed_is_refused(field: str) -> None:
    with pytest.raises(Invalid, match=field) as refused:
        read_condition(f"{field} = 1", "device")
    assert reason(refused) == "configuration.condition"


@pytest.mark.parametrize("kind", ["device", "module", "edge"])
def test_a_condition_has_no_other_name_for_its_collection(kind: Any) -> None:
    rows = "devices.modules" if kind == "module" else "devices"
    with pytest.raises(Invalid) as refused:
        read_condition(f"FROM {rows} d WHERE d.tags.hall = 1", kind)
    assert reason(refused) == "configuration.condition"


@pytest.mark.parametrize("content", [DEVICE, EDGE])
def test_a_condition_that_is_taken_can_be_asked(content: dict[str, Any]) -> None:
    taken = 0
    for depth in range(40, 60):
        try:
            made = decide_create(DEFAULT_HUB, draft_of(content, "(" * depth + "tags.a = 1" + ")" * depth), NOW)
        except Invalid:
            continue
        parse_query(system_queries(made)["targetedCount"])
        taken = depth
    assert 40 < taken < 50


def test_only_a_condition_on_reported_properties_hears_reports() -> None:
    assert hears_reports(configuration("a", condition="properties.[[reported]].b = 1"))
    assert not hears_reports(configuration("a", condition="tags.reported = 1"))
    assert not hears_reports(configuration("a", condition="*"))


@pytest.mark.parametrize(
    ("draft", "told"),
    [
        ({"priority": -1}, "configuration.priority"),
        ({"priority": 2**31}, "configuration.priority"),
        ({"labels": {"a": "x" * 513}}, "configuration.labels"),
        ({"labels": {str(number): "" for number in range(51)}}, "configuration.labels"),
        ({"metrics": {str(number): "" for number in range(6)}}, "configuration.metrics"),
        ({"metrics": {"": "SELECT * FROM devices"}}, "configuration.metrics"),
        ({"schema_version": "1" * 17}, "configuration.schema_version"),
        ({"content": None}, "configuration.content"),
        ({"target_condition": "1 ="}, "configuration.condition"),
    ],
)
def test_what_is_out_of_bounds_is_refused(draft: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        decide_create(DEFAULT_HUB, ConfigurationDraft(ConfigurationId("a"), **{"content": DEVICE, **draft}), NOW)
    assert reason(refused) == told


def test_an_update_changes_what_it_says_and_keeps_the_rest() -> None:
    present = decide_create(
        DEFAULT_HUB,
        ConfigurationDraft(ConfigurationId("a"), DEVICE, "*", 3, {"l": "x"}, {"m": "SELECT * FROM devices"}, "2.0"),
        NOW,
    )
    later = NOW.replace(hour=13)
    same = {"deviceContent": {"properties.desired.a": 1.0}}
    changed = decide_update(present, ConfigurationDraft(ConfigurationId("a"), same, priority=0, labels={}), later)
    assert changed == replace(present, version=2, updated=later, priority=0, labels={})
    assert changed.content is present.content


@pytest.mark.parametrize(
    "content", [{"deviceContent": {"properties.desired.a": True}}, {**DEVICE, "x": 1}, {"deviceContent": {}}]
)
def test_other_content_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        decide_update(configuration("a", DEVICE), ConfigurationDraft(ConfigurationId("a"), content), NOW)
    assert reason(refused) == "configuration.immutable"


@pytest.mark.parametrize("content", [DEVICE, {"moduleContent": {}}, EDGE])
@pytest.mark.parametrize("condition", ["", "*", "tags.a = 1 OR tags.b = 2"])
def test_system_metrics_are_queries_of_the_language(content: dict[str, Any], condition: str) -> None:
    if "moduleContent" in content and condition:
        condition = f"FROM devices.modules WHERE {condition}"
    queries = system_queries(configuration("a-1", content, condition=condition))
    assert list(queries)[:2] == ["targetedCount", "appliedCount"]
    assert len(queries) == (4 if "modulesContent" in content else 2)
    for text in queries.values():
        parse_query(text)


def test_the_metrics_of_a_deployment_count_its_agents() -> None:
    assert system_queries(configuration("d", EDGE, condition="tags.a = 1 OR tags.b = 2")) == {
        "targetedCount": "SELECT deviceId FROM devices WHERE capabilities.iotEdge = true "
        "AND (tags.a = 1 OR tags.b = 2)",
        "appliedCount": "SELECT deviceId FROM devices.modules WHERE moduleId = '$edgeAgent' "
        "AND configurations.[[d]].status = 'Applied'",
        "reportedSuccessfulCount": "SELECT deviceId FROM devices.modules WHERE moduleId = '$edgeAgent' "
        "AND configurations.[[d]].status = 'Applied' "
        "AND properties.desired.$version = properties.reported.lastDesiredVersion "
        "AND properties.reported.lastDesiredStatus.code = 200",
        "reportedFailedCount": "SELECT deviceId FROM devices.modules WHERE moduleId = '$edgeAgent' "
        "AND configurations.[[d]].status = 'Applied' "
        "AND properties.desired.$version = properties.reported.lastDesiredVersion "
        "AND properties.reported.lastDesiredStatus.code != 200",
    }

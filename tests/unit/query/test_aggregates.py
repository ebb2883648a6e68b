"""Rows that are made of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from moorage.errors import Invalid
from moorage.query.aggregates import MAX_GROUPS, Grouping, projector
from moorage.query.parser import parse_query

ROWS: list[dict[str, Any]] = [
    {"tags": {"site": "A", "x": 1}},
    {"tags": {"site": "A", "x": 2.5}},
    {"tags": {"site": "B", "x": "text"}},
    {"tags": {"site": True, "x": True}},
    {"tags": {"site": 1, "x": -3}},
    {"tags": {"site": 1.0, "x": [1]}},
    {"tags": {"x": "other"}},
    {"tags": {"site": None}},
]


def grouped(text: str, rows: Sequence[Mapping[str, Any]] = ROWS) -> list[dict[str, Any]]:
    grouping = Grouping(parse_query(text))
    for row in rows:
        grouping.add(row)
    return list(grouping.rows())


def test_one_row_without_groups() -> None:
    text = (
        "SELECT COUNT() AS n, COUNT(tags.site) AS s, SUM(tags.x) AS sum, AVG(tags.x) AS avg, MIN(tags.x) AS min, "
        "MAX(tags.x) AS max FROM devices"
    )
    assert grouped(text) == [{"n": 8, "s": 7, "sum": 0.5, "avg": 0.5 / 3, "min": -3, "max": 2.5}]


def test_nothing_is_counted_as_none_and_has_no_average() -> None:
    text = "SELECT COUNT() AS n, SUM(tags.x) AS sum, AVG(tags.x) AS avg, MIN(tags.x) AS min FROM devices"
    assert grouped(text, []) == [{"n": 0, "sum": 0}]


def test_strings_have_a_least_and_a_greatest_where_there_are_no_numbers() -> None:
    assert grouped("SELECT MIN(tags.site) AS a, MAX(tags.site) AS b FROM devices", ROWS[:3]) == [{"a": "A", "b": "B"}]


def test_groups_come_in_order_of_their_keys_and_tell_types_apart() -> None:
    assert grouped("SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site") == [
        {"n": 1},
        {"site": None, "n": 1},
        {"site": True, "n": 1},
        {"site": 1, "n": 2},
        {"site": "A", "n": 2},
        {"site": "B", "n": 1},
    ]


def test_no_row_makes_no_group() -> None:
    assert grouped("SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site", []) == []


def test_groups_by_objects_and_by_several_paths() -> None:
    rows = [{"tags": {"a": {"x": 1, "y": 2}}, "status": "on"}, {"tags": {"a": {"y": 2, "x": 1}}, "status": "on"}]
    assert grouped("SELECT tags.a, status, COUNT() AS n FROM devices GROUP BY status, tags.a", rows) == [
        {"a": {"x": 1, "y": 2}, "status": "on", "n": 2}
    ]


def test_a_group_is_shown_without_what_nobody_asked_for() -> None:
    assert grouped("SELECT COUNT() AS n FROM devices GROUP BY status", [{"status": "a"}, {"status": "b"}]) == [
        {"n": 1},
        {"n": 1},
    ]


def test_groups_are_bounded() -> None:
    rows = [{"deviceId": f"d{number}"} for number in range(MAX_GROUPS + 1)]
    text = "SELECT deviceId, COUNT() AS n FROM devices GROUP BY deviceId"
    assert len(grouped(text, rows[:-1])) == MAX_GROUPS
    with pytest.raises(Invalid) as caught:
        grouped(text, rows)
    assert caught.value.reason == "query.groups"


def test_the_room_for_keys_is_bounded() -> None:
    rows = [{"deviceId": f"{number:06d}" * 2_000} for number in range(1_000)]
    with pytest.raises(Invalid) as caught:
        grouped("SELECT COUNT() AS n FROM devices GROUP BY deviceId", rows)
    assert caught.value.reason == "query.groups"


def test_what_is_undefined_is_not_shown() -> None:
    projections = parse_query("SELECT deviceId, tags.site, tags.x + 1 AS more FROM devices").projections
    assert projections is not None
    assert projector(projections)({"deviceId": "a", "tags": {"x": 1}}) == {"deviceId": "a", "more": 2}

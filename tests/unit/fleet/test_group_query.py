from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.fleet.group_query import MAX_CONDITIONS, FilterRow, device_row, parse_group_query, write
from moorage.fleet.groups import default_group_id
from moorage.fleet.model import DeviceRecord, TemplateId
from moorage.hub.model import Document, Twin
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName
from moorage.query.problems import InvalidQuery

PUMP = "dtmi:com:example:Pump;1"
BASE = f'SELECT * FROM devices WHERE $template = "{PUMP}"'


def record(**values: Any) -> DeviceRecord:
    whole = {"template": TemplateId(PUMP), "is_provisioned": True, **values}
    return DeviceRecord(DEFAULT_HUB, DeviceId("pump-01"), "Pump 1", datetime(2030, 1, 1, tzinfo=UTC), **whole)


def twin(reported: dict[str, Any], desired: dict[str, Any] | None = None) -> Twin:
    name = IdentityName(DeviceId("pump-01"))
    return Twin(DEFAULT_HUB, name, 1, {}, Document(desired or {}, {}, 1), Document(reported, {}, 1))


def takes(condition: str, reported: dict[str, Any] | None = None, **more: Any) -> bool:
    cloud = more.pop("cloud", {})
    row = device_row(record(**more), twin(reported or {}, {"wanted": 5}), cloud)
    return parse_group_query(f"{BASE} AND {condition}").takes(row)


@pytest.mark.parametrize(
    ("condition", "reported"),
    [
        ("$provisioned = true", {}),
        ('$id IN ["pump-01", "pump-02"]', {}),
        ("$displayname = 'Pump 1'", {}),
        ("pressure > 2.5", {"pressure": 3}),
        ("pressure >= 2.5 AND NOT pressure > 3", {"pressure": 3}),
        ("motor.speed = 100", {"motor": {"__t": "c", "speed": 100}}),
        ("motor.speed = 100", {"motor": {"__t": "c", "speed": {"value": 100, "ac": 200, "av": 1}}}),
        ("target = 7", {"target": {"value": 7, "ac": 200, "av": 3, "ad": ""}}),
        ("wanted = 5", {}),
        ("wanted = 6", {"wanted": 6}),
        ("[[odd name]] = 'x'", {"odd name": "x"}),
        ("Status = 'idle' AND deviceId = 3", {"Status": "idle", "deviceId": 3}),
        ("(a = 1 OR b = 1)", {"b": 1}),
        ("STARTS_WITH(site, 'nor')", {"site": "north"}),
    ],
)
def test_a_device_belongs_by_its_facts_and_properties(condition: str, reported: dict[str, Any]) -> None:
    assert takes(condition, reported)


@pytest.mark.parametrize(
    ("condition", "reported"),
    [
        ("pressure > 2.5", {}),
        ("pressure > 2.5", {"pressure": "3"}),
        ("$simulated = true", {}),
        ('$organizations = "north"', {}),
        ("status = 'idle'", {"Status": "idle"}),
    ],
)
def test_a_device_that_does_not_satisfy_it_is_left_out(condition: str, reported: dict[str, Any]) -> None:
    assert not takes(condition, reported)


def test_cloud_properties_are_asked_as_others_are() -> None:
    assert takes("owner = 'Ada'", {"owner": "Ben"}, cloud={"owner": "Ada"})


@pytest.mark.parametrize(
    ("text", "reason", "at"),
    [
        ("SELECT * FROM devices", "query.template", 21),
        ("SELECT * FROM devices WHERE $provisioned = true", "query.template", 22),
        (f"{BASE} AND $template = 'x'", "query.template", 70),
        (f"{BASE} OR $provisioned = true", "query.template", 22),
        (f"{BASE} AND $provisoned = true", "query.field", 70),
        (f"{BASE} AND $id.x = true", "query.field", 70),
        (f'{BASE} AND $id IN ["a", ]', "query.syntax", 83),
        (f"{BASE} AND", "query.syntax", 69),
        (f"{BASE} AND a # 1", "query.token", 72),
        ("SELECT deviceId FROM devices WHERE $template = 'x'", "query.collection", 0),
        ("SELECT TOP 5 * FROM devices WHERE $template = 'x'", "query.collection", 0),
        ("SELECT * FROM devices.modules WHERE $template = 'x'", "query.collection", 0),
        ("", "query.syntax", 0),
        (BASE + " AND a = 1" * (MAX_CONDITIONS + 1), "query.conditions", None),
    ],
)
def test_what_is_no_query_of_a_group_is_refused_at_its_place(text: str, reason: str, at: int | None) -> None:
    with pytest.raises(InvalidQuery) as refusal:
        parse_group_query(text)
    assert refusal.value.reason == reason
    assert at is None or refusal.value.at == at


def test_a_form_writes_what_it_reads() -> None:
    rows = (
        FilterRow("$provisioned", "=", True),
        FilterRow("motor.speed", ">", 2.5),
        FilterRow("[[odd name]]", "!=", 'with "quotes" and \\'),
    )
    text = write(PUMP, rows)
    query = parse_group_query(text)
    assert (query.template, query.rows, query.needs_properties) == (PUMP, rows, True)
    assert parse_group_query(write(PUMP, ())).rows == ()
    assert parse_group_query(f"{BASE} AND (a = 1 OR b = 2)").rows is None


def test_a_template_names_the_group_of_its_devices() -> None:
    assert default_group_id(TemplateId(PUMP)) == "all-com-example-Pump-1"

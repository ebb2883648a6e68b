"""The form of a device group: whoever opens it and saves it has changed nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.accounts.organizations import ROOT
from moorage.fleet.group_query import parse_group_query
from moorage.fleet.groups import DeviceGroup, DeviceGroupId
from moorage.ids import DEFAULT_HUB
from moorage.web.device_groups import _draft, _fields


@pytest.mark.parametrize(
    "condition",
    [
        "pressure > 2.5",
        "$enabled = true",
        "x = -5 AND y = 1e22 AND z < 1e301",
        "x = 'true' AND y = '5' AND z = ' padded ' AND w = ''",
        "pressure = null",
        "pressure != undefined",
        "[[max temp]] = 2",
        "thermostat1.[[max temp]] > 5",
        "[[two words]].speed = 1",
        # The dot is in the name.
        "[[a.b]] > 5",
        "[[ padded ]] = 1",
        # Names of properties that mean something else to the language.
        "[[group]] = 1 AND [[top]] = 2 AND engine.[[from]] = 3",
        "[[true]] = 1 AND [[NULL]] = 2",
    ],
)
def test_a_query_is_the_same_after_it_was_looked_at_and_saved(condition: str) -> None:
    text = f'SELECT * FROM devices WHERE $template = "dtmi:com:example:Pump;1" AND {condition}'
    group = DeviceGroup(DEFAULT_HUB, DeviceGroupId("g"), "G", "", text, ROOT, datetime(2030, 1, 1, tzinfo=UTC))
    fields = {name: value.strip() for name, value in _fields(group).items()}
    saved = parse_group_query(_draft(fields).query)
    assert (saved.template, saved.rows) == (group.parsed.template, group.parsed.rows)
    if saved.rows is None:
        assert saved.text == text


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    fields = {"by": "rows", "template": "dtmi:com:example:Pump;1", "path0": "Group", "operator0": "=", "value0": "7"}
    query = parse_group_query(_draft(fields).query)
    assert query.takes({"$template": "dtmi:com:example:Pump;1", "Group": 7})

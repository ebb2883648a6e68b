"""Acts on many devices as bodies, and which devices they are for."""

from __future__ import annotations

from moorage.dialects.operations_json import parse_act
from moorage.fleet.model import MAX_DISPLAY_NAME
from moorage.web.device_list import DeviceQuery


def test_a_long_name_finds_the_device_of_that_name_alone() -> None:
    name = "x" * (MAX_DISPLAY_NAME - 1) + "A"
    asked = parse_act({"act": "delete", "filter": {"text": name}})
    assert asked.wanted is not None
    # Cut, it would be the beginning of others.
    assert asked.wanted.text == name
    template = f"dtmi:{'x' * 249};1"
    query = DeviceQuery.of({"q": name, "template": template})
    assert (query.text, query.template) == (name, template)

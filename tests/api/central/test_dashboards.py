"""Dashboards over REST (central.md 13, 23)."""

from __future__ import annotations

from typing import Any

from moorage.accounts.model import OWNER
from tests.api.central.test_templates import PUMP, TEMPLATE, group
from tests.api.central.world import Central
from tests.api.served import Answer

CHART: dict[str, Any] = {
    "displayName": "Pressure",
    "configuration": {
        "type": "lineChart",
        "group": "pumps",
        "devices": ["p1"],
        "capabilities": [
            {"capability": "pressure", "aggregateFunction": "avg"},
            {"capability": "motor.speed", "aggregateFunction": "max"},
            {"capability": "position.lat", "aggregateFunction": "count"},
        ],
        "queryRange": {"type": "time", "duration": "P7D", "resolution": "PT12H"},
        "format": {"abbreviateValue": True, "decimalPlaces": 2},
    },
    "x": 0,
    "y": 0,
    "width": 3,
    "height": 2,
}
OTHERS = [
    {
        "type": "kpi",
        "devices": ["p1"],
        "capabilities": [{"capability": "pressure", "aggregateFunction": "sum"}],
        "queryRange": {"type": "time", "duration": "PT30M"},
    },
    {"type": "property", "devices": ["p1"], "capabilities": [{"capability": "target"}]},
    {"type": "deviceCount", "group": "pumps"},
    {"type": "label", "text": "Hall 7"},
    {"type": "markdown", "description": "# Hall 7"},
    {"type": "command", "devices": ["p1"], "command": "restart"},
]
MOTOR = {
    "@type": "Component",
    "name": "motor",
    "schema": {"@id": "dtmi:contoso:Motor;1", "@type": "Interface", "contents": []},
}


async def ask(central: Central, method: str, path: str = "", body: Any = b"", **more: Any) -> Answer:
    return await central.call(method, f"/dashboards{path}", body, version="2022-10-31-preview", **more)


async def with_pumps(central: Central) -> None:
    model = TEMPLATE["capabilityModel"]
    template = {**TEMPLATE, "capabilityModel": {**model, "contents": [*model["contents"], MOTOR]}}
    assert (await central.put(f"/deviceTemplates/{PUMP}", template)).status == 200
    assert (await central.put("/deviceGroups/pumps", group())).status == 200


async def test_a_dashboard_is_made_read_changed_and_deleted(central: Central) -> None:
    await with_pumps(central)
    tiles = [CHART, *({"configuration": each, "x": 0, "y": 2, "width": 1, "height": 1} for each in OTHERS)]
    made = await ask(central, "PUT", "/hall", {"displayName": "Hall", "tiles": tiles})
    assert made.status == 200, made.body
    shown = made.json()
    assert (shown["id"], shown["displayName"], shown["personal"]) == ("hall", "Hall", False)
    assert shown["tiles"][0] == {"id": "tile-0", **CHART}
    assert [tile["configuration"] for tile in shown["tiles"][1:]] == OTHERS
    board = central.application.dashboards.get(OWNER, "hall")
    measures = [(each.component, each.name) for each in board.content.tiles[0].question.measures]
    assert measures == [("", "pressure"), ("motor", "speed"), ("", "position.lat")]

    renamed = await ask(central, "PATCH", "/hall", {"displayName": "Hall 7"})
    assert renamed.json()["tiles"] == shown["tiles"]
    stale = await ask(central, "PATCH", "/hall", {"displayName": "x", "etag": shown["etag"]})
    assert stale.status == 412
    again = await ask(central, "PUT", "/hall", {**renamed.json(), "tiles": shown["tiles"][:1]})
    assert len(again.json()["tiles"]) == 1
    assert [each["id"] for each in (await ask(central, "GET")).json()["value"]] == ["hall"]
    assert (await ask(central, "DELETE", "/hall")).status == 204
    assert (await ask(central, "GET", "/hall")).status == 404


async def test_what_is_no_dashboard(central: Central) -> None:
    await with_pumps(central)
    for body, status in (
        ({}, 422),
        ({"displayName": "x", "tiles": {}}, 422),
        ({"displayName": "x", "tiles": [1]}, 422),
        ({"displayName": "x", "tiles": [{"configuration": {"type": "hologram"}}]}, 422),
        ({"displayName": "x", "tiles": [{**CHART, "colour": "red"}]}, 422),
        ({"displayName": "x", "tiles": [{**CHART, "width": 99}]}, 400),
        ({"displayName": "x", "tiles": [{**CHART, "configuration": {**CHART["configuration"], "group": "none"}}]}, 404),
        ({"displayName": "x", "tiles": [{"configuration": {"type": "kpi", "queryRange": {"duration": "a day"}}}]}, 422),
        ({"displayName": "x", "organizations": ["none"]}, 404),
    ):
        answer = await ask(central, "PUT", "/hall", body)
        assert answer.status == status, (body, answer.body)
    assert (await ask(central, "GET")).json() == {"value": []}


async def test_own_ones_are_anybodys_and_shared_ones_take_more(central: Central) -> None:
    operator, other = await central.token("operator"), await central.token("operator")
    shared = await ask(central, "PUT", "/shared", {"displayName": "Ours"}, who=operator)
    assert (shared.status, shared.header("moorage-reason")) == (403, "board.shared")
    own = await ask(central, "PUT", "/own", {"displayName": "Mine", "personal": True}, who=operator)
    assert (own.status, own.json()["personal"]) == (200, True)
    assert (await ask(central, "PATCH", "/own", {"displayName": "Still mine"}, who=operator)).json()["personal"] is True
    for method in ("GET", "PATCH", "DELETE"):
        assert (await ask(central, method, "/own", {}, who=other)).status == 404, method
    assert (await ask(central, "GET", who=other)).json() == {"value": []}

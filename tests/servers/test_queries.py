"""`POST /devices/query` of a running hub: pages, headers, who may ask, and what a wrong query is told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from moorage.hub.twins import TwinChange
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB
from tests.servers.world import World, named


@pytest.fixture
async def fleet(world: World) -> World:
    for number in range(12):
        await world.create(f"pump-{number:02d}")
        await world.twins.patch(
            DEFAULT_HUB, named(f"pump-{number:02d}"), TwinChange(tags={"site": "A" if number % 2 else "B"})
        )
    await world.create("pump-00/camera")
    return world


async def ask(world: World, text: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return await world.http.post("/devices/query", json={"query": text}, headers=headers)


def told(response: httpx.Response) -> dict[str, Any]:
    """The document inside of an error's message (services.md 2.12)."""
    document: dict[str, Any] = json.loads(response.json()["Message"])
    return document


async def test_pages_are_followed_by_their_header(fleet: World) -> None:
    names: list[str] = []
    headers = {"x-ms-max-item-count": "5"}
    sizes = []
    while True:
        response = await ask(fleet, "SELECT * FROM devices", headers)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json; charset=utf-8"
        assert response.headers["x-ms-item-type"] == "Twin"
        names += [twin["deviceId"] for twin in response.json()]
        sizes.append(len(response.json()))
        if "x-ms-continuation" not in response.headers:
            break
        headers["x-ms-continuation"] = response.headers["x-ms-continuation"]
    assert names == [f"pump-{number:02d}" for number in range(12)]
    assert sizes == [5, 5, 2]


async def test_a_whole_row_is_what_a_get_of_the_twin_shows(fleet: World) -> None:
    for text, path in (
        ("SELECT * FROM devices WHERE deviceId = 'pump-03'", "/twins/pump-03"),
        ("SELECT * FROM devices.modules", "/twins/pump-00/modules/camera"),
    ):
        (row,) = (await ask(fleet, text)).json()
        assert row == (await fleet.http.get(path)).json()


async def test_a_connected_device_is_connected_in_queries_at_once(fleet: World) -> None:
    await fleet.connect("pump-04")
    (row,) = (await ask(fleet, "SELECT * FROM devices WHERE connectionState = 'Connected'")).json()
    assert row["deviceId"] == "pump-04"
    assert not row["lastActivityTime"].startswith("0001")
    (count,) = (await ask(fleet, "SELECT COUNT() AS n FROM devices WHERE connectionState = 'Connected'")).json()
    assert count == {"n": 1}


async def test_projections_and_groups_are_raw(fleet: World) -> None:
    response = await ask(fleet, "SELECT tags.site AS site, COUNT() AS n FROM devices GROUP BY tags.site")
    assert response.headers["x-ms-item-type"] == "Raw"
    assert response.json() == [{"site": "A", "n": 6}, {"site": "B", "n": 6}]


async def test_a_wrong_query_is_told_where_it_is_wrong(fleet: World) -> None:
    response = await ask(fleet, "SELECT * FROM devices WHERE tags.site == 'A'")
    assert response.status_code == 400
    assert response.headers["iothub-errorcode"] == "ArgumentInvalid"
    assert response.headers["moorage-reason"] == "query.syntax"
    assert told(response)["errorCode"] == 400004
    assert told(response)["message"] == "line 1, column 40: expected a value, a path or a function, found '='"


@pytest.mark.parametrize(
    ("text", "headers", "reason"),
    [
        (7, {}, "body.member"),
        (None, {}, "body.member"),
        ("SELECT * FROM devices", {"x-ms-max-item-count": "0"}, "query.page_size"),
        ("SELECT * FROM devices", {"x-ms-max-item-count": "many"}, "query.page_size"),
        ("SELECT * FROM devices", {"x-ms-continuation": "bWFkZSB1cA"}, "query.continuation"),
        ("x" * 70_000, {}, "query.size"),
        ("*", {}, "query.syntax"),
    ],
)
async def test_what_cannot_be_answered_is_a_400(fleet: World, text: Any, headers: dict[str, str], reason: str) -> None:
    response = await ask(fleet, text, headers)
    assert (response.status_code, response.headers["moorage-reason"]) == (400, reason)


@pytest.mark.parametrize("size", ["", "-1", "100000", "5"])
async def test_page_sizes_that_clients_send(fleet: World, size: str) -> None:
    response = await ask(fleet, "SELECT deviceId FROM devices", {"x-ms-max-item-count": size, "x-ms-continuation": ""})
    assert len(response.json()) == (5 if size == "5" else 12)


@pytest.mark.parametrize(
    ("policy", "status"), [("service", 200), ("registryRead", 200), ("registryReadWrite", 200), ("device", 401)]
)
async def test_whoever_may_read_the_registry_or_twins_may_ask(fleet: World, policy: str, status: int) -> None:
    key = fleet.policies.get(DEFAULT_HUB, "hub", policy).primary
    token = make_token("localhost", key, fleet.clock.now() + timedelta(hours=1), policy)
    response = await ask(fleet, "SELECT * FROM devices", {"Authorization": token.reveal()})
    assert response.status_code == status

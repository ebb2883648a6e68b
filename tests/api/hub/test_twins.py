"""Twins over REST, as back ends see them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.hub.world import ApiWorld


async def test_a_fresh_twin_is_as_documented(world: ApiWorld) -> None:
    device = await world.device("pump-01")
    document = (await world.ask("GET", "/twins/pump-01", policy="service")).json()
    never = {"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1}
    assert document["properties"] == {"desired": never, "reported": never}
    assert (document["version"], document["etag"], document["tags"]) == (2, "AAAAAAAAAAE=", {})
    assert (document["deviceEtag"], document["authenticationType"]) == (device["etag"], "sas")
    assert document["capabilities"] == {"iotEdge": False}


async def test_patch_merges_and_put_replaces(world: ApiWorld) -> None:
    await world.device("pump-01")
    body = {"tags": {"site": {"a": 1, "b": 2}}, "properties": {"desired": {"rate": 5, "old": True}}}
    patched = await world.ask("PATCH", "/twins/pump-01", body)
    assert patched.status_code == 200
    await world.ask("PATCH", "/twins/pump-01", {"tags": {"site": {"a": None}}}, if_match='"*"')
    document = (await world.ask("GET", "/twins/pump-01")).json()
    assert document["tags"] == {"site": {"b": 2}}
    replaced = (await world.ask("PUT", "/twins/pump-01", {"properties": {"desired": {"rate": 6}}})).json()
    assert {key: value for key, value in replaced["properties"]["desired"].items() if key[0] != "$"} == {"rate": 6}
    assert (replaced["properties"]["desired"]["$version"], replaced["tags"]) == (3, {"site": {"b": 2}})
    assert replaced["properties"]["desired"]["$metadata"]["rate"]["$lastUpdatedVersion"] == 3


async def test_a_whole_twin_sent_back_is_a_patch(world: ApiWorld) -> None:
    """Node does that: metadata and versions in it are ignored (T-10)."""
    await world.device("pump-01")
    document = (await world.ask("PATCH", "/twins/pump-01", {"properties": {"desired": {"rate": 5}}})).json()
    document["properties"]["desired"]["rate"] = 7
    again = await world.ask("PATCH", "/twins/pump-01", document, if_match=f'"{document["etag"]}"')
    assert again.status_code == 200
    assert again.json()["properties"]["desired"]["rate"] == 7
    stale = await world.ask("PATCH", "/twins/pump-01", document, if_match=f'"{document["etag"]}"')
    assert stale.status_code == 412
    inner = json.loads(stale.json()["Message"])
    assert (inner["errorCode"], stale.headers["iothub-errorcode"]) == (412001, "PreconditionFailed")


async def test_module_twins_are_their_own(world: ApiWorld) -> None:
    await world.device("pump-01")
    await world.ask("PUT", "/devices/pump-01/modules/camera", {})
    path = "/twins/pump-01/modules/camera"
    document = (await world.ask("PATCH", path, {"properties": {"desired": {"zoom": 2}}})).json()
    assert (document["moduleId"], "capabilities" in document) == ("camera", False)
    assert (await world.ask("GET", "/twins/pump-01")).json()["properties"]["desired"]["$version"] == 1
    missing = await world.ask("GET", "/twins/pump-01/modules/none")
    assert (missing.status_code, missing.headers["iothub-errorcode"]) == (404, "ModuleNotFound")


async def test_new_desired_properties_are_told_as_sent(world: ApiWorld) -> None:
    await world.device("pump-01")
    await world.ask("PATCH", "/twins/pump-01", {"properties": {"desired": {"a": None, "b": {"c": 1}, "$version": 9}}})
    await world.ask("PATCH", "/twins/pump-01", {"tags": {"a": 1}})
    told = [event for event in world.events if event.kind == "twin.desired"]
    assert [(event.subject, dict(event.data)) for event in told] == [
        ("pump-01", {"patch": {"a": None, "b": {"c": 1}}, "version": 2})
    ]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"tags": {"a.b": 1}}, 400, "twin.key"),
        ({"tags": {"a": "x" * 5000}}, 400, "twin.string"),
        ({"tags": {f"k{n}": "x" * 4000 for n in range(3)}}, 413, "twin.size"),
        ({"tags": []}, 400, "body.member"),
        ({"properties": {"desired": 5}}, 400, "body.member"),
        ({"properties": []}, 400, "body.member"),
    ],
)
async def test_what_a_twin_cannot_hold_is_refused_and_nothing_is_stored(
    world: ApiWorld, body: dict[str, Any], status: int, reason: str
) -> None:
    await world.device("pump-01")
    before = (await world.ask("GET", "/twins/pump-01")).json()
    for method in ("PATCH", "PUT"):
        refused = await world.ask(method, "/twins/pump-01", body)
        assert (refused.status_code, refused.headers["moorage-reason"]) == (status, reason)
        assert set(json.loads(refused.json()["Message"])) == {"errorCode", "trackingId", "message", "timestampUtc"}
    assert (await world.ask("GET", "/twins/pump-01")).json() == before

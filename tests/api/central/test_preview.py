"""What only preview versions have, and gateways with what is below them (central.md 17, 22.2, 23)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.central.test_templates import PUMP, TEMPLATE
from tests.api.central.world import Central
from tests.api.served import Answer, ServedHub
from tests.servers.world import World, running

PREVIEW = "2022-10-31-preview"
MANIFEST: dict[str, Any] = {
    "displayName": "Filter",
    "data": {
        "modulesContent": {
            "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": {}, "systemModules": {}}},
            "filter": {"properties.desired": {"level": 3}},
        }
    },
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "hub") as world:
        yield world


@pytest.fixture
async def central(world: World) -> Central:
    return Central(ServedHub(world.app))


async def preview(central: Central, method: str, path: str, body: Any = b"", **more: Any) -> Answer:
    return await central.call(method, path, body, version=PREVIEW, **more)


async def edge(central: Central, name: str) -> None:
    """An edge device that the hub knows."""
    hub = central.hub
    body = {"deviceId": name, "capabilities": {"iotEdge": True}}
    answer = await hub.ask("PUT", f"/devices/{name}?api-version=2021-04-12", body, credential=hub.owner())
    assert answer.status == 200, answer.body


async def test_the_stable_version_does_not_have_them(central: Central) -> None:
    for method, path in (
        ("POST", "/query"),
        ("GET", "/deploymentManifests"),
        ("PUT", "/deploymentManifests/x"),
        ("POST", "/devices/x/applyDeploymentManifest"),
    ):
        answer = await central.call(method, path, {})
        assert (answer.status, answer.header("moorage-reason")) == (404, "api.version"), path


async def test_telemetry_is_asked_for(world: World, central: Central) -> None:
    await central.put(f"/deviceTemplates/{PUMP}", TEMPLATE)
    await world.create("pump-01")
    await central.patch("/devices/pump-01", {"template": PUMP})
    client = await world.connect()
    for number in (1, 2, 6):
        client.publish("devices/pump-01/messages/events/", b'{"pressure": %d}' % number)
    await client.acks(3)
    query = {"query": f"SELECT $id, AVG(pressure) AS mean FROM {PUMP} WHERE WITHIN_WINDOW(PT1H) GROUP BY $id"}
    async with asyncio.timeout(60):
        while (answer := await preview(central, "POST", "/query", query)).json() != {
            "results": [{"$id": "pump-01", "mean": 3}]
        }:
            assert answer.status == 200, answer.body
            await asyncio.sleep(0.02)
    rows = await preview(central, "POST", "/query", {"query": f"SELECT $id, $ts, pressure FROM {PUMP}"})
    assert [row["pressure"] for row in rows.json()["results"]] == [6, 2, 1]
    assert rows.json()["results"][0]["$ts"].endswith("Z")


async def test_queries_that_are_none(central: Central) -> None:
    for body, status in (
        ({}, 422),
        ({"query": "SELECT"}, 400),
        ({"query": "SELECT a FROM dtmi:no:such;1"}, 404),
        ({"q": 1}, 422),
    ):
        assert (await preview(central, "POST", "/query", body)).status == status, body


async def test_a_manifest_is_made_changed_given_and_deleted(central: Central) -> None:
    made = await preview(central, "PUT", "/deploymentManifests/filter", MANIFEST)
    assert made.status == 200, made.body
    document = made.json()
    assert document == {"id": "filter", **MANIFEST, "etag": document["etag"]}
    changed = await preview(central, "PATCH", "/deploymentManifests/filter", {"displayName": "Filter 2"})
    assert changed.json()["data"] == MANIFEST["data"]
    stale = await preview(
        central, "PATCH", "/deploymentManifests/filter", {"displayName": "x", "etag": document["etag"]}
    )
    assert stale.status == 412
    assert (await preview(central, "PUT", "/deploymentManifests/filter", MANIFEST)).json()["displayName"] == "Filter"
    listed = (await preview(central, "GET", "/deploymentManifests")).json()["value"]
    assert [each["id"] for each in listed] == ["filter"]

    await edge(central, "gate-01")
    given = await preview(central, "POST", "/devices/gate-01/applyDeploymentManifest", {"id": "filter"})
    assert given.status == 204, given.body
    assert (await central.get("/devices/gate-01/modules/filter/properties")).json()["level"] == 3
    own = {
        "data": {
            "modulesContent": {**MANIFEST["data"]["modulesContent"], "filter": {"properties.desired": {"level": 9}}}
        }
    }
    assert (await preview(central, "POST", "/devices/gate-01/applyDeploymentManifest", own)).status == 204
    assert (await central.get("/devices/gate-01/modules/filter/properties")).json()["level"] == 9

    assert (await preview(central, "DELETE", "/deploymentManifests/filter")).status == 204
    assert (await preview(central, "GET", "/deploymentManifests/filter")).status == 404


async def test_manifests_that_are_none(central: Central) -> None:
    for body, status in (
        ({}, 422),
        ({**MANIFEST, "data": {}}, 400),
        ({**MANIFEST, "data": []}, 422),
        ({**MANIFEST, "colour": 1}, 422),
        ({**MANIFEST, "organizations": ["none"]}, 404),
    ):
        answer = await preview(central, "PUT", "/deploymentManifests/filter", body)
        assert answer.status == status, (body, answer.body)
    await central.put("/devices/plain", {})
    for body, status in (({}, 422), ({"id": "none"}, 404), ({"id": "a", "data": {}}, 422), ({"data": {}}, 400)):
        answer = await preview(central, "POST", "/devices/plain/applyDeploymentManifest", body)
        assert answer.status == status, (body, answer.body)


async def test_a_device_is_put_below_a_gateway_and_taken_away(world: World, central: Central) -> None:
    await edge(central, "gate-01")
    for name in ("pump-01", "pump-02"):
        await world.create(name)
    path = "/devices/gate-01/relationships"
    made = await central.put(f"{path}/any-id", {"source": "gate-01", "target": "pump-01"})
    assert made.json() == {"id": "pump-01", "source": "gate-01", "target": "pump-01"}
    assert (await central.get(path)).json() == {"value": [made.json()]}
    assert (await central.get(f"{path}/pump-01")).json() == made.json()
    assert (await central.patch(f"{path}/pump-01", {"target": "pump-02"})).json()["target"] == "pump-02"
    assert [each["target"] for each in (await central.get(path)).json()["value"]] == ["pump-02"]
    gone = await central.get(f"{path}/pump-01")
    assert (gone.status, gone.header("moorage-reason")) == (404, "relationship.unknown")
    assert (await central.delete(f"{path}/pump-02")).status == 204
    assert (await central.get(path)).json() == {"value": []}


async def test_relationships_that_are_refused(world: World, central: Central) -> None:
    await edge(central, "gate-01")
    await world.create("pump-01")
    await central.put("/devices/new", {})
    for gateway, body, status in (
        ("gate-01", {}, 422),
        ("gate-01", {"source": "another", "target": "pump-01"}, 422),
        ("gate-01", {"target": "nobody"}, 404),
        ("gate-01", {"target": "new"}, 404),
        ("pump-01", {"target": "gate-01"}, 400),
    ):
        answer = await central.put(f"/devices/{gateway}/relationships/x", body)
        assert answer.status == status, (gateway, body, answer.body)

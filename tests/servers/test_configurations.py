"""Configurations and digital twins over REST, status by status, with a device that hears of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from moorage.identities.registry import IdentityDraft
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB
from moorage.protocols.mqtt.packets import Publish
from tests.servers.clients import PATIENCE_S, Client
from tests.servers.world import World, named

CONTENT = {"deviceContent": {"properties.desired.rate": 5}}
DESIRED = "$iothub/twin/PATCH/properties/desired/#"
METHODS = "$iothub/methods/POST/#"
CODE = re.compile(r"ErrorCode:(\w+);")


async def put(world: World, name: str, *, if_match: str | None = None, **members: Any) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    body = {"id": name, "content": CONTENT, **members}
    return await world.http.put(f"/configurations/{name}", json=body, headers=headers)


def refused(response: httpx.Response, status: int, code: str) -> None:
    """In the registry's style."""
    assert (response.status_code, response.headers["iothub-errorcode"]) == (status, code), response.text
    found = CODE.match(response.json()["Message"])
    assert found is not None and found[1] == code


async def until(holds: Callable[[], Any], within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110  # what is waited for is asked over REST
            await asyncio.sleep(0.02)


# -- configurations ----------------------------------------------------------------------------------------------------


async def test_the_life_of_a_configuration_in_statuses(world: World) -> None:
    made = await put(world, "a")
    assert (made.status_code, made.json()["etag"], made.json()["content"]) == (201, "MQ==", CONTENT)
    refused(await put(world, "a"), 409, "ConfigurationAlreadyExists")
    changed = await put(world, "a", priority="7", if_match="MQ==")
    assert (changed.status_code, changed.json()["priority"], changed.json()["etag"]) == (200, 7, "Mg==")
    refused(await put(world, "a", if_match='"MQ=="'), 412, "PreconditionFailed")
    refused(await world.http.delete("/configurations/a", headers={"If-Match": "MQ=="}), 412, "PreconditionFailed")
    read = await world.http.get("/Configurations/a/")
    assert read.json() == changed.json()
    listed = await world.http.get("/configurations", params={"top": "5"})
    assert (listed.status_code, listed.json()) == (200, [changed.json()])
    gone = await world.http.delete("/configurations/a")
    assert (gone.status_code, gone.content) == (204, b"")
    refused(await world.http.get("/configurations/a"), 404, "ConfigurationNotFound")
    refused(await world.http.delete("/configurations/a"), 404, "ConfigurationNotFound")
    refused(await put(world, "a", if_match="*"), 404, "ConfigurationNotFound")


async def test_every_spelling_of_an_etag_fits(world: World) -> None:
    for number, spelling in enumerate(("*", '"*"', "MQ==", '"MQ=="', 'W/"MQ=="')):
        await put(world, f"c{number}")
        assert (await put(world, f"c{number}", priority=1, if_match=spelling)).status_code == 200, spelling


async def test_the_document_has_every_member_that_clients_read(world: World) -> None:
    document = (await put(world, "a", labels={"l": "x"}, metrics={"queries": {"m": "SELECT * FROM devices"}})).json()
    assert document == {
        "id": "a",
        "schemaVersion": "1.0",
        "labels": {"l": "x"},
        "content": CONTENT,
        "targetCondition": "",
        "createdTimeUtc": document["createdTimeUtc"],
        "lastUpdatedTimeUtc": document["createdTimeUtc"],
        "priority": 0,
        "systemMetrics": {
            "results": {"targetedCount": 0, "appliedCount": 0},
            "queries": {
                "targetedCount": "SELECT deviceId FROM devices WHERE deviceId = ''",
                "appliedCount": "SELECT deviceId FROM devices WHERE configurations.[[a]].status = 'Applied'",
            },
        },
        "metrics": {"results": {"m": 0}, "queries": {"m": "SELECT * FROM devices"}},
        "etag": "MQ==",
    }


async def test_content_comes_back_exactly_as_it_was_sent(world: World) -> None:
    text = (
        '{"content":{"z":1,"deviceContent":{"properties.desired.z":{"b":[1,{"y":null}],"a":"\\u00fc\\ud83d\\ude00"},'
        '"properties.desired.a":1.50},"unknown":{"x":[]}},"targetCondition":null}'
    )
    made = await world.http.put("/configurations/a", content=text)
    assert made.status_code == 201, made.text
    sent = json.dumps(json.loads(text)["content"])
    for response in (made, await world.http.get("/configurations/a")):
        assert json.dumps(response.json()["content"]) == sent


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"targetCondition": "tags.a =="}, "InvalidConfigurationTargetCondition"),
    ({"targetCondition": 1}, "ArgumentInvalid"),
    ({"content": None}, "InvalidConfigurationContent"),
    ({"content": {"deviceContent": {"tags.a": 1}}}, "InvalidConfigurationContent"),
    ({"metrics": {"queries": {"m": "SELECT"}}}, "InvalidConfigurationCustomMetricsQuery"),
    (
        {"metrics": {"queries": {f"m{n}": "SELECT * FROM devices" for n in range(6)}}},
        "InvalidConfigurationCustomMetricsQuery",
    ),
    ({"metrics": {"queries": {"m": 1}}}, "ArgumentInvalid"),
    ({"priority": 1.5}, "ArgumentInvalid"),
    ({"priority": -1}, "ArgumentInvalid"),
    ({"labels": ["x"]}, "ArgumentInvalid"),
    ({"id": "b"}, "ArgumentInvalid"),
]


async def test_what_is_wrong_is_named(world: World) -> None:
    for members, code in WRONG:
        refused(await put(world, "a", **members), 400, code)
    refused(await world.http.get("/configurations/a"), 404, "ConfigurationNotFound")


async def test_other_content_is_refused_with_its_code(world: World) -> None:
    await put(world, "a")
    answer = await put(world, "a", content={"deviceContent": {}}, if_match="*")
    refused(answer, 400, "CannotModifyImmutableConfigurationContent")
    refused(await put(world, "UPPER"), 400, "ArgumentInvalid")


async def test_a_hub_has_a_hundred_configurations(world: World) -> None:
    for number in range(100):
        assert (await put(world, f"c{number:03}")).status_code == 201
    refused(await put(world, "c100"), 413, "ConfigurationCountLimitExceeded")
    assert len((await world.http.get("/configurations")).json()) == 100
    assert [each["id"] for each in (await world.http.get("/configurations", params={"top": "2"})).json()] == [
        "c000",
        "c001",
    ]


async def test_queries_are_tried(world: World) -> None:
    body = {"targetCondition": "tags.a ==", "customMetricQueries": {"bad": "SELECT", "good": "SELECT * FROM devices"}}
    answer = await world.http.post("/configurations/testQueries", json=body)
    assert answer.status_code == 200
    assert "column" in answer.json()["targetConditionError"]
    assert answer.json()["customMetricQueryErrors"].keys() == {"bad"}
    body = {"targetCondition": "FROM devices.modules WHERE tags.a = 1"}
    answer = await world.http.post("/configurations/testqueries", json=body)
    assert answer.json() == {"targetConditionError": None, "customMetricQueryErrors": {}}


RIGHTS = [
    ("registryRead", True, False),
    ("registryReadWrite", True, True),
    ("service", True, True),
    ("device", False, False),
]


async def test_either_kind_of_right_opens_configurations(world: World) -> None:
    for policy, reads, writes in RIGHTS:
        key = world.policies.get(DEFAULT_HUB, "hub", policy).primary
        token = make_token("localhost", key, world.clock.now() + timedelta(hours=1), policy).reveal()
        world.http.headers["Authorization"] = token
        assert (await world.http.get("/configurations")).status_code == (200 if reads else 401), policy
        assert (await put(world, policy.lower())).status_code == (201 if writes else 401), policy
        deployed = await world.http.post("/devices/none/applyConfigurationContent", json={"modulesContent": {}})
        assert deployed.status_code == (404 if writes else 401), policy


async def test_a_connected_device_is_told_and_its_twin_says_by_whom(world: World) -> None:
    await world.create("pump-01")
    client = await world.connect()
    await client.subscribe(DESIRED, qos=0)
    await put(world, "a", targetCondition="deviceId = 'pump-01'")
    patch = await client.expect(Publish)
    assert (patch.topic, json.loads(patch.body)) == (
        b"$iothub/twin/PATCH/properties/desired/?$version=2",
        {"rate": 5, "$version": 2},
    )
    twin = (await world.http.get("/twins/pump-01")).json()
    assert twin["configurations"] == {"a": {"status": "Applied"}}
    query = {"query": "SELECT * FROM devices WHERE configurations.[[a]].status = 'Applied'"}
    (row,) = (await world.http.post("/devices/query", json=query)).json()
    assert row["configurations"] == twin["configurations"]
    await world.http.delete("/configurations/a")
    assert json.loads((await client.expect(Publish)).body) == {"rate": None, "$version": 3}
    assert "configurations" not in (await world.http.get("/twins/pump-01")).json()


async def test_what_a_device_reports_and_its_tags_bring_it_in_and_out(world: World) -> None:
    await put(world, "a", targetCondition="tags.on = true AND properties.reported.ready = true")
    await world.create("pump-01")
    await world.http.patch("/twins/pump-01", json={"tags": {"on": True}})

    async def rate() -> Any:
        return (await world.http.get("/twins/pump-01")).json()["properties"]["desired"].get("rate")

    await world.twins.report(DEFAULT_HUB, named("pump-01"), {"ready": True})
    await until(lambda: _is(rate(), 5))
    await world.http.patch("/twins/pump-01", json={"tags": {"on": None}})
    await until(lambda: _is(rate(), None))


async def _is(value: Any, wanted: Any) -> bool:
    return bool(await value == wanted)


async def test_modules_are_applied_to_one_device_with_no_body_in_the_answer(world: World) -> None:
    await world.registry.create(DEFAULT_HUB, IdentityDraft(named("edge"), is_edge=True), world.clock.now())
    path = "/devices/edge/applyConfigurationContent"
    body = {"modulesContent": {"camera": {"properties.desired": {"rate": 1}}}}
    answer = await world.http.post(path, json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    modules = (await world.http.get("/devices/edge/modules")).json()
    assert [(each["moduleId"], each["managedBy"]) for each in modules] == [
        ("$edgeAgent", "IotEdge"),
        ("$edgeHub", "IotEdge"),
        ("camera", "IotEdge"),
    ]
    refused(await world.http.post(path, json={}), 400, "InvalidConfigurationContent")
    too_many: dict[str, Any] = {
        "$edgeAgent": {"properties.desired": {"modules": {f"m{number}": {} for number in range(49)}}}
    }
    refused(await world.http.post(path, json={"modulesContent": too_many}), 413, "TooManyModulesOnDevice")
    assert len((await world.http.get("/devices/edge/modules")).json()) == 3


# -- digital twins -----------------------------------------------------------------------------------------------------

MODEL = "dtmi:com:example:Thermostat;1"


@pytest.fixture
async def pump(world: World) -> Client:
    """A connected device with a model."""
    await world.create("pump-01")
    client = await world.connect(model=MODEL)
    await client.subscribe(DESIRED, METHODS, qos=0)
    return client


async def test_a_digital_twin_is_read_with_its_model_and_etag(world: World, pump: Client) -> None:
    async def model() -> Any:
        return (await world.http.get("/digitaltwins/pump-01")).json()["$metadata"]["$model"]

    await until(lambda: _is(model(), MODEL))
    answer = await world.http.get("/digitaltwins/pump-01")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"AAAAAAAAAAE="')
    assert answer.json() == {"$dtId": "pump-01", "$metadata": {"$model": MODEL}}
    assert (await world.http.get("/digitaltwins/nobody")).status_code == 404


async def test_a_patch_is_accepted_with_etag_and_location(world: World, pump: Client) -> None:
    operations = [{"op": "add", "path": "/target", "value": 5}]
    answer = await world.http.patch("/digitaltwins/pump-01", json=operations, headers={"If-Match": '"AAAAAAAAAAE="'})
    assert (answer.status_code, answer.content) == (202, b"")
    port = world.app.info().https_port
    assert answer.headers["location"] == f"https://localhost:{port}/digitaltwins/pump-01"
    assert (await world.http.get("/digitaltwins/pump-01")).headers["etag"] == answer.headers["etag"]
    assert json.loads((await pump.expect(Publish)).body) == {"target": 5, "$version": 2}
    stale = await world.http.patch("/digitaltwins/pump-01", json=operations, headers={"If-Match": '"AAAAAAAAAAE="'})
    assert stale.status_code == 412
    again = await world.http.patch("/digitaltwins/pump-01", json=operations)
    assert again.status_code == 202
    assert json.loads((await pump.expect(Publish)).body) == {"target": 5, "$version": 3}


NO_PATCHES: list[tuple[Any, int]] = [
    ({"op": "add"}, 400505),
    ([{"op": "add", "path": "/a"}], 400506),
    ([{"op": "remove", "path": "/a"}], 400507),
    ([{"op": "add", "path": "/$metadata/$model", "value": "x"}], 400508),
    ([{"op": "add", "path": "/a", "value": "x" * 5000}], 400004),
]


async def test_a_patch_that_cannot_be_has_its_code(world: World) -> None:
    await world.create("pump-01")
    for body, code in NO_PATCHES:
        answer = await world.http.patch("/digitaltwins/pump-01", json=body)
        assert (answer.status_code, json.loads(answer.json()["Message"])["errorCode"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "method"),
    [("commands/reboot", "reboot"), ("components/thermostat1/commands/report", "thermostat1*report")],
)
async def test_a_command_is_a_method_on_the_wire(world: World, pump: Client, path: str, method: str) -> None:
    query = {"connectTimeoutInSeconds": "5", "responseTimeoutInSeconds": "10"}
    sending = world.http.post(f"/digitaltwins/pump-01/{path}", json={"since": 1}, params=query)
    asked = asyncio.ensure_future(sending)
    call = await pump.expect(Publish)
    assert (call.topic.split(b"/")[3], json.loads(call.body)) == (method.encode(), {"since": 1})
    request = call.topic.rpartition(b"=")[2].decode()
    pump.publish(f"$iothub/methods/res/203/?$rid={request}", b'{"done": [1, null]}', qos=0)
    answer = await asked
    assert (answer.status_code, answer.json()) == (200, {"done": [1, None]})
    assert answer.headers["x-ms-command-statuscode"] == "203"
    assert re.fullmatch(r"[0-9A-F]{32}", answer.headers["x-ms-request-id"])


async def test_a_command_to_an_absent_device_says_what_methods_say(world: World) -> None:
    await world.create("pump-01")
    answer = await world.http.post("/digitaltwins/pump-01/commands/reboot")
    told = json.loads(answer.json()["Message"])
    assert (answer.status_code, told["errorCode"], told["info"]) == (404, 404103, {"timeout": "00:00:00"})
    query = {"responseTimeoutInSeconds": "1"}
    wrong = await world.http.post("/digitaltwins/pump-01/commands/reboot", params=query)
    assert wrong.status_code == 400

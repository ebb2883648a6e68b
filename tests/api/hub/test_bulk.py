"""Many identities in one request (contract/services.md 2.2, 2.6)."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest

from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName
from tests.api.hub.world import ApiWorld

SHA256 = "B" * 64


async def bulk(world: ApiWorld, *items: Any, status: int = 200, path: str = "/devices") -> Any:
    response = await world.ask("POST", path, list(items))
    assert response.status_code == status, response.text
    result = response.json()
    assert result["isSuccessful"] is (status == 200)
    assert (response.headers.get("iothub-errorcode") == "BulkRegistryOperationFailure") is (status == 400)
    return result


async def found(world: ApiWorld, *path: str) -> Any:
    response = await world.ask("GET", "/" + "/".join(path))
    return response.json() if response.status_code == 200 else response.status_code


async def test_devices_and_modules_are_made_with_their_twins(world: ApiWorld) -> None:
    properties = {"desired": {"rate": 5, "$version": 9, "$metadata": {}}, "reported": {"up": True}}
    result = await bulk(
        world,
        {"id": "pump", "importMode": "create", "status": "disabled", "statusReason": "new", "tags": {"hall": 1}},
        {"id": "pump", "moduleId": "camera", "importMode": "CREATE", "properties": properties},
        {"id": "edge", "importMode": "create", "capabilities": {"iotEdge": True}},
        {"id": "pinned", "authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": SHA256}}},
    )
    assert result == {"isSuccessful": True, "errors": [], "warnings": []}
    pump = await found(world, "devices", "pump")
    assert (pump["status"], pump["statusReason"], pump["authentication"]["type"]) == ("disabled", "new", "sas")
    twin = await found(world, "twins", "pump")
    assert (twin["tags"], twin["version"], twin["etag"]) == ({"hall": 1}, 2, "AAAAAAAAAAE=")
    twin = await found(world, "twins", "pump", "modules", "camera")
    desired, reported = twin["properties"]["desired"], twin["properties"]["reported"]
    assert (desired["rate"], desired["$version"], reported["up"], reported["$version"]) == (5, 1, True, 1)
    assert [each["moduleId"] for each in await found(world, "devices", "edge", "modules")] == ["$edgeAgent", "$edgeHub"]
    assert (await found(world, "devices", "pinned"))["authentication"]["x509Thumbprint"]["primaryThumbprint"] == SHA256


async def test_every_mode_does_what_it_says(world: ApiWorld) -> None:
    made = await world.device("pump")
    await bulk(world, {"id": "pump", "importMode": "Update", "status": "disabled", "tags": {"a": 1}})
    after = await found(world, "devices", "pump")
    assert (after["status"], after["authentication"]) == ("disabled", made["authentication"])
    await bulk(world, {"id": "pump", "importMode": "updateIfMatchETag", "eTag": after["etag"], "status": "enabled"})
    # Node sends the member as it read it.
    stale = {"id": "pump", "importMode": "UpdateIfMatchETag", "etag": after["etag"]}
    result = await bulk(world, stale, status=400)
    assert (result["errors"][0]["errorCode"], result["errors"][0]["errorNumber"]) == ("PreconditionFailed", 412001)
    await bulk(world, {"id": "pump", "importMode": "createOrUpdate", "statusReason": "there"}, {"id": "new"})
    assert (await found(world, "devices", "pump"))["statusReason"] == "there"
    assert (await found(world, "devices", "new"))["deviceId"] == "new"
    await bulk(world, {"id": "new", "importMode": "Delete"})
    assert await found(world, "devices", "new") == 404
    result = await bulk(world, {"id": "pump", "importMode": "deleteIfMatchETag", "eTag": "AAAA"}, status=400)
    assert result["errors"][0]["operation"] == "deleteIfMatchETag"
    etag = (await found(world, "devices", "pump"))["etag"]
    await bulk(world, {"id": "pump", "importMode": "deleteIfMatchETag", "eTag": f'"{etag}"'})
    assert await found(world, "devices", "pump") == 404


async def test_twins_are_merged_by_update_twin_and_replaced_by_update(world: ApiWorld) -> None:
    await world.device("pump")
    device = world.connect("pump")
    tags, desired = {"a": 1, "b": {"c": 2}}, {"x": 1, "y": 2}
    await bulk(world, {"id": "pump", "importMode": "updateTwin", "tags": tags, "properties": {"desired": desired}})
    change = {"tags": {"b": {"c": None}}, "properties": {"desired": {"y": None}, "reported": {"forged": 1}}}
    await bulk(world, {"id": "pump", "importMode": "updateTwin", **change})
    twin = await found(world, "twins", "pump")
    assert (twin["tags"], twin["properties"]["desired"]["$version"]) == ({"a": 1, "b": {}}, 3)
    assert "y" not in twin["properties"]["desired"] and "forged" not in twin["properties"]["reported"]
    stale = {"id": "pump", "importMode": "updateTwinIfMatchETag", "twinETag": "AAAAAAAAAAE=", "tags": {"late": 1}}
    assert (await bulk(world, stale, status=400))["errors"][0]["errorCode"] == "PreconditionFailed"
    await bulk(world, {**stale, "twinETag": twin["etag"]})
    await bulk(world, {"id": "pump", "importMode": "update", "tags": {"only": True}})
    twin = await found(world, "twins", "pump")
    assert (twin["tags"], twin["properties"]["desired"]["x"]) == ({"only": True}, 1)
    subjects = [(event.kind, event.subject) for event in world.events if event.kind == "twin.desired"]
    assert subjects == [("twin.desired", "pump")] * 2
    assert device.name.device_id == "pump"


async def test_an_item_that_is_refused_leaves_nothing_behind_and_the_others_stand(world: ApiWorld) -> None:
    before = len(world.events)
    result = await bulk(
        world,
        {"id": "good", "importMode": "create"},
        {"id": "half", "importMode": "create", "capabilities": {"iotEdge": True}, "tags": {"a.b": 1}},
        {"id": "deep", "importMode": "create", "properties": {"desired": {"text": "x" * 5000}}},
        {"id": "good-too", "importMode": "create"},
        status=400,
    )
    assert [(each["deviceId"], each["item"], each["reason"]) for each in result["errors"]] == [
        ("half", 1, "twin.key"),
        ("deep", 2, "twin.string"),
    ]
    assert "properties.desired.text" in result["errors"][1]["errorStatus"]
    assert [each["deviceId"] for each in await found(world, "devices")] == ["good", "good-too"]
    assert world.store.read().identities.list_modules(DEFAULT_HUB, DeviceId("half")) == []
    assert world.store.read().twins.find(DEFAULT_HUB, IdentityName(DeviceId("deep"))) is None
    # Nor is anybody told of what did not happen.
    assert [event.subject for event in world.events[before:]] == ["good", "good-too"]


async def test_errors_say_which_item_what_and_why(world: ApiWorld) -> None:
    await world.device("there")
    scope = "ms-azure-iot-edge://nowhere-123"
    items: list[tuple[Any, str, int, str]] = [
        ({"id": "there", "importMode": "create"}, "DeviceAlreadyExists", 409001, "there"),
        ({"id": "absent", "importMode": "update"}, "DeviceNotFound", 404001, "absent"),
        ({"id": "there", "moduleId": "m", "importMode": "delete"}, "ModuleNotFound", 404010, "module"),
        ({"id": "twice"}, "DeviceDefinedMultipleTimes", 400011, "2 times"),
        ({"id": "twice", "importMode": "delete"}, "DeviceDefinedMultipleTimes", 400011, "2 times"),
        ({"id": "leaf", "deviceScope": scope}, "InvalidDeviceScope", 400028, "nowhere"),
        ({"id": "no slash/please"}, "ArgumentInvalid", 400004, "device id"),
        ({"importMode": "create"}, "ArgumentInvalid", 400004, "id is missing"),
        ({"id": "x", "importMode": "upsert"}, "ArgumentInvalid", 400004, "importMode"),
        ({"id": "y", "importMode": "updateIfMatchETag"}, "ArgumentInvalid", 400004, "eTag"),
        ({"id": "z", "authentication": {"type": "tpm"}}, "ArgumentInvalid", 400004, "authentication.type"),
        ({"id": "k", "authentication": {"symmetricKey": {"primaryKey": "AA=="}}}, "ArgumentInvalid", 400004, "16"),
        ({"id": 5}, "ArgumentInvalid", 400004, "id"),
        ("text", "ArgumentInvalid", 400004, "object"),
    ]
    result = await bulk(world, *(item for item, *_ in items), status=400)
    assert len(result["errors"]) == len(items)
    for number, (error, (item, code, value, words)) in enumerate(zip(result["errors"], items, strict=True)):
        assert (error["item"], error["errorCode"], error["errorNumber"]) == (number, code, value), error
        assert words in error["errorStatus"], error
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            assert error["deviceId"] == item["id"]
    assert [each["deviceId"] for each in await found(world, "devices")] == ["there"]


@pytest.mark.parametrize("body", [[], [{"id": f"d{number}"} for number in range(101)], {"id": "x"}, "x", None])
async def test_a_request_of_another_size_or_shape_is_refused_whole(world: ApiWorld, body: Any) -> None:
    response = await world.ask("POST", "/devices/", content=json.dumps(body).encode())
    assert response.status_code == 400
    assert response.json()["Message"].startswith("ErrorCode:BulkRegistryOperationFailure;")
    assert await found(world, "devices") == []


async def test_a_hundred_items_with_large_twins_pass(world: ApiWorld) -> None:
    tags = {f"t{number}": "x" * 1000 for number in range(7)}
    desired = {f"d{number}": "y" * 1000 for number in range(25)}
    items = [{"id": f"d{number}", "tags": tags, "properties": {"desired": desired}} for number in range(100)]
    await bulk(world, *items)
    assert len(await found(world, "devices")) == 100


async def test_a_child_of_another_hub_finds_its_parent_here_by_its_id(world: ApiWorld) -> None:
    edge, old = {"id": "edge", "capabilities": {"iotEdge": True}}, "ms-azure-iot-edge://edge-111222333"
    leaf = {"id": "leaf", "deviceScope": old, "parentScopes": [old]}
    nested = {"id": "inner", "capabilities": {"iotEdge": True}, "deviceScope": "ms-azure-iot-edge://inner-5"}
    items = [{**edge, "deviceScope": old}, leaf, {**nested, "parentScopes": [old]}]
    result = await bulk(world, *items, status=400)
    assert [each["errorNumber"] for each in result["errors"]] == [400004, 400028, 400004]
    await bulk(world, *items, path="/devices?rebase=true")
    scope = (await found(world, "devices", "edge"))["deviceScope"]
    assert scope != old
    assert (await found(world, "devices", "leaf"))["parentScopes"] == [scope]
    inner = await found(world, "devices", "inner")
    assert inner["parentScopes"] == [scope] and inner["deviceScope"].startswith("ms-azure-iot-edge://inner-")


async def test_the_audit_log_has_each_change_and_who_made_it(world: ApiWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "moorage.audit")
    secret = base64.b64encode(b"k" * 32).decode()
    keys = {"type": "sas", "symmetricKey": {"primaryKey": secret, "secondaryKey": secret}}
    await bulk(world, {"id": "a", "authentication": keys}, {"id": "b"})
    await bulk(world, {"id": "b", "importMode": "delete"})
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" ")[0] for line in lines] == ["device.created", "device.created", "device.deleted"]
    assert all("by=policy:iothubowner" in line for line in lines)
    assert secret not in caplog.text


# -- keys --------------------------------------------------------------------------------------------------------------


async def regenerate(world: ApiWorld, which: str, *devices: Any) -> tuple[int, Any]:
    body = {"policyKey": which, "devices": list(devices)}
    response = await world.ask("POST", "/devices/keys/regenerate?api-version=2024-03-31", body)
    return response.status_code, response.json()


def keys_of(document: Any) -> tuple[str, str]:
    pair = document["authentication"]["symmetricKey"]
    return pair["primaryKey"], pair["secondaryKey"]


async def test_keys_are_regenerated_one_or_both_of_devices_and_modules(world: ApiWorld) -> None:
    before = await world.device("pump", statusReason="kept")
    await world.ask("PUT", "/devices/pump/modules/m", {"deviceId": "pump", "moduleId": "m"})
    status, result = await regenerate(world, "PrimaryKey", {"id": "pump"}, {"id": "pump", "moduleId": "m"})
    assert (status, result["policyKey"], result["errors"]) == (200, "primaryKey", [])
    after = await found(world, "devices", "pump")
    assert keys_of(after)[0] != keys_of(before)[0] and keys_of(after)[1] == keys_of(before)[1]
    assert after["statusReason"] == "kept" and after["etag"] != before["etag"]
    told = result["rotatedKeys"]
    assert (told[0]["id"], told[0]["primaryKey"]) == ("pump", keys_of(after)[0])
    assert (told[1]["moduleId"], told[1]["primaryKey"]) == (
        "m",
        keys_of(await found(world, "devices/pump/modules/m"))[0],
    )
    status, result = await regenerate(world, "both", {"id": "pump"})
    assert status == 200 and not set(keys_of(await found(world, "devices", "pump"))) & set(keys_of(after))


async def test_who_has_no_keys_gets_none_and_the_others_do(world: ApiWorld) -> None:
    await world.device("pump")
    await world.device("signed", authentication={"type": "certificateAuthority"})
    status, result = await regenerate(world, "both", {"id": "pump"}, {"id": "signed"}, {"id": "absent"})
    assert (status, len(result["rotatedKeys"])) == (207, 1)
    assert [(each["id"], each["errorCode"]) for each in result["errors"]] == [
        ("signed", "ArgumentInvalid"),
        ("absent", "DeviceNotFound"),
    ]
    assert (await found(world, "devices", "signed"))["authentication"]["type"] == "certificateAuthority"
    status, result = await regenerate(world, "both", {"id": "absent"})
    assert (status, result["rotatedKeys"]) == (400, [])


@pytest.mark.parametrize(
    ("which", "devices", "code"),
    [
        ("tertiary", [{"id": "pump"}], "InvalidPolicyKey"),
        ("both", [], "BulkRegenerateDeviceKeyOperationFailure"),
        ("both", [{"id": f"d{number}"} for number in range(101)], "BulkRegenerateDeviceKeyOperationFailure"),
        ("both", [{"id": "pump"}, {"id": "pump"}], "DeviceDefinedMultipleTimes"),
        ("both", ["pump"], "BulkRegenerateDeviceKeyOperationFailure"),
        ("both", [{}], "ArgumentInvalid"),
    ],
)
async def test_a_regeneration_that_cannot_be_understood_is_refused_whole(
    world: ApiWorld, which: str, devices: list[Any], code: str
) -> None:
    before = await world.device("pump")
    status, result = await regenerate(world, which, *devices)
    assert status == 400 and result["Message"].startswith(f"ErrorCode:{code};")
    assert keys_of(await found(world, "devices", "pump")) == keys_of(before)

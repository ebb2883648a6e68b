"""The registry over REST: exact success codes, etags, and every member that a client asks for."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.hub.world import ApiWorld


async def test_a_device_is_created_read_changed_and_deleted(world: ApiWorld) -> None:
    created = await world.ask("PUT", "/devices/pump-01?api-version=2021-04-12", {"deviceId": "pump-01"})
    assert created.status_code == 200
    assert created.headers["content-type"] == "application/json; charset=utf-8"
    document = created.json()
    assert document["status"] == "enabled"
    assert document["authentication"]["type"] == "sas"
    assert len(base64.b64decode(document["authentication"]["symmetricKey"]["primaryKey"])) == 32
    assert document["authentication"]["x509Thumbprint"] == {"primaryThumbprint": None, "secondaryThumbprint": None}
    assert len(document["generationId"]) == 18
    assert document["connectionState"] == "Disconnected"
    assert document["lastActivityTime"] == "0001-01-01T00:00:00Z"
    assert document["cloudToDeviceMessageCount"] == 0
    assert document["capabilities"] == {"iotEdge": False}

    assert (await world.ask("GET", "/devices/pump-01")).json() == document

    document["status"] = "disabled"
    changed = await world.ask("PUT", "/devices/pump-01", document, if_match=f'"{document["etag"]}"')
    assert changed.status_code == 200
    assert (changed.json()["status"], changed.json()["generationId"]) == ("disabled", document["generationId"])
    assert changed.json()["etag"] != document["etag"]

    deleted = await world.ask("DELETE", "/devices/pump-01", if_match='"*"')
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "content-type" not in deleted.headers
    gone = await world.ask("GET", "/devices/pump-01")
    assert gone.status_code == 404
    assert gone.headers["iothub-errorcode"] == "DeviceNotFound"
    assert gone.json()["Message"].startswith("ErrorCode:DeviceNotFound;")
    assert gone.json()["ExceptionMessage"].startswith("Tracking ID:")
    assert gone.headers["moorage-fix"] == "moorage device create pump-01"


async def test_creating_what_exists_is_a_conflict_and_a_stale_etag_fails(world: ApiWorld) -> None:
    document = await world.device("pump-01")
    again = await world.ask("PUT", "/devices/pump-01", {"deviceId": "pump-01"})
    assert (again.status_code, again.headers["iothub-errorcode"]) == (409, "DeviceAlreadyExists")
    await world.ask("PUT", "/devices/pump-01", document, if_match="*")
    stale = await world.ask("PUT", "/devices/pump-01", document, if_match=f'W/"{document["etag"]}"')
    assert (stale.status_code, stale.headers["iothub-errorcode"]) == (412, "PreconditionFailed")
    assert (await world.ask("DELETE", "/devices/pump-01", if_match=document["etag"])).status_code == 412
    # A first create with If-Match is an update of what is not there.
    assert (await world.ask("PUT", "/devices/pump-02", {}, if_match="*")).status_code == 404


async def test_a_deleted_device_comes_back_as_another_generation(world: ApiWorld) -> None:
    first = await world.device("pump-01")
    await world.ask("DELETE", "/devices/pump-01", if_match='"*"')
    second = await world.device("pump-01")
    assert first["generationId"] != second["generationId"]


async def test_empty_keys_generate_on_create_and_keep_on_update(world: ApiWorld) -> None:
    """Node sends them always (D-1)."""
    empty = {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}}
    created = await world.device("pump-01", authentication=empty)
    keys = created["authentication"]["symmetricKey"]
    assert keys["primaryKey"] and keys["secondaryKey"]
    updated = await world.ask("PUT", "/devices/pump-01", {"authentication": empty}, if_match="*")
    assert updated.json()["authentication"]["symmetricKey"] == keys


THUMBPRINT = "AB" * 20


@pytest.mark.parametrize(
    ("sent", "kind", "thumbprint"),
    [
        ({"type": "certificateAuthority"}, "certificateAuthority", None),
        ({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": THUMBPRINT.lower()}}, "selfSigned", THUMBPRINT),
        ({"x509Thumbprint": {"primaryThumbprint": THUMBPRINT}}, "selfSigned", THUMBPRINT),
        ({"type": "none"}, "none", None),
    ],
)
async def test_every_kind_of_authentication_comes_back_as_it_is_documented(
    world: ApiWorld, sent: dict[str, Any], kind: str, thumbprint: str | None
) -> None:
    document = await world.device("pump-01", authentication=sent)
    assert document["authentication"] == {
        "type": kind,
        "symmetricKey": {"primaryKey": None, "secondaryKey": None},
        "x509Thumbprint": {"primaryThumbprint": thumbprint, "secondaryThumbprint": None},
    }


async def test_an_edge_device_brings_its_two_modules(world: ApiWorld) -> None:
    document = await world.device("edge-01", capabilities={"iotEdge": True})
    assert document["deviceScope"] == f"ms-azure-iot-edge://edge-01-{document['generationId']}"
    modules = (await world.ask("GET", "/devices/edge-01/modules")).json()
    assert sorted(module["moduleId"] for module in modules) == ["$edgeAgent", "$edgeHub"]
    leaf = await world.device("leaf-01", deviceScope=document["deviceScope"])
    assert leaf["parentScopes"] == [document["deviceScope"]]
    unknown = await world.ask("PUT", "/devices/leaf-02", {"deviceScope": "ms-azure-iot-edge://edge-09-1"})
    assert (unknown.status_code, unknown.headers["iothub-errorcode"]) == (400, "InvalidDeviceScope")


async def test_modules_have_the_same_life_under_their_device(world: ApiWorld) -> None:
    await world.device("pump-01")
    path = "/devices/pump-01/modules/camera"
    created = await world.ask("PUT", path, {"deviceId": "pump-01", "moduleId": "camera", "managedBy": "me"})
    assert created.status_code == 200
    document = created.json()
    assert (document["moduleId"], document["managedBy"], "status" in document) == ("camera", "me", False)
    again = await world.ask("PUT", path, {})
    assert (again.status_code, again.headers["iothub-errorcode"]) == (409, "ModuleAlreadyExistsOnDevice")
    assert (await world.ask("GET", "/devices/pump-01/modules")).json() == [document]
    assert (await world.ask("DELETE", path, if_match='"*"')).status_code == 204
    gone = await world.ask("GET", path)
    assert (gone.status_code, gone.headers["iothub-errorcode"]) == (404, "ModuleNotFound")
    orphan = await world.ask("PUT", "/devices/nobody/modules/camera", {})
    assert (orphan.status_code, orphan.headers["iothub-errorcode"]) == (404, "DeviceNotFound")


ODD_IDS = ["a%b", "a#b", "a?b", "a+b=c@d", "it's", "$edge(1),!*;:", "%2F", "%41", "..."]


@pytest.mark.parametrize("device_id", ODD_IDS)
async def test_ids_that_need_escaping_travel_in_the_path(world: ApiWorld, device_id: str) -> None:
    path = f"/devices/{quote(device_id, safe='')}"
    created = await world.ask("PUT", path, {"deviceId": device_id})
    assert created.status_code == 200, created.text
    assert created.json()["deviceId"] == device_id
    assert (await world.ask("GET", path)).json()["deviceId"] == device_id
    assert (await world.ask("PUT", f"{path}/modules/{quote(device_id, safe='')}", {})).status_code == 200
    assert (await world.ask("GET", f"/twins/{quote(device_id, safe='')}")).json()["deviceId"] == device_id


@pytest.mark.parametrize("device_id", ["a%2Fb", "%20", "a" * 129, "%C3%A4", "%00"])
async def test_ids_that_cannot_be_are_refused(world: ApiWorld, device_id: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        refused = await world.ask(method, f"/devices/{device_id}", {})
        assert (refused.status_code, refused.headers["moorage-reason"]) == (400, "id.device")


async def test_ids_are_compared_with_case_and_paths_without(world: ApiWorld) -> None:
    await world.device("Pump")
    assert (await world.ask("GET", "/DEVICES/Pump/")).status_code == 200
    assert (await world.ask("GET", "/devices/pump")).status_code == 404
    assert (await world.ask("GET", "/devices/Pump", policy="registryRead")).status_code == 200


async def test_another_id_in_the_body_is_refused(world: ApiWorld) -> None:
    refused = await world.ask("PUT", "/devices/pump-01", {"deviceId": "pump-02"})
    assert (refused.status_code, refused.headers["moorage-reason"]) == (400, "body.id")
    assert "'pump-02'" in refused.json()["Message"] and "'pump-01'" in refused.json()["Message"]


async def test_devices_are_listed_in_order_and_bounded(world: ApiWorld) -> None:
    for number in range(5):
        await world.device(f"pump-{number}")
    listed = await world.ask("GET", "/devices/?top=3&api-version=2021-04-12")
    assert listed.status_code == 200
    assert [document["deviceId"] for document in listed.json()] == ["pump-0", "pump-1", "pump-2"]
    assert len((await world.ask("GET", "/devices")).json()) == 5
    for number in range(5, 203):
        await world.device(f"pump-{number:03}")
    every = [document["deviceId"] for document in (await world.ask("GET", "/devices")).json()]
    assert len(every) == 203 and every == sorted(set(every))
    for top in (99, 100, 101, 200, 203, 204):
        assert len((await world.ask("GET", f"/devices?top={top}")).json()) == min(top, 203)
    for wrong in ("0", "1001", "-1", "x", "1e2", "٣"):
        refused = await world.ask("GET", f"/devices?top={wrong}")
        assert (refused.status_code, refused.headers["moorage-reason"]) == (400, "query.number")


async def test_statistics_count_devices_and_connections(world: ApiWorld) -> None:
    await world.device("pump-01")
    await world.device("pump-02", status="disabled")
    assert (await world.ask("GET", "/statistics/devices")).json() == {
        "totalDeviceCount": 2,
        "enabledDeviceCount": 1,
        "disabledDeviceCount": 1,
    }
    world.connect("pump-01")
    assert (await world.ask("GET", "/statistics/service")).json() == {"connectedDeviceCount": 1}
    assert (await world.ask("GET", "/devices/pump-01")).json()["connectionState"] == "Connected"


async def test_purging_the_queue_tells_how_many_messages_that_were(world: ApiWorld) -> None:
    await world.device("pump-01")
    for _ in range(3):
        sent = await world.ask(
            "POST", "/moorage/v1/devices/pump-01/messages/devicebound", {"body": "x"}, policy="owner"
        )
        assert sent.status_code == 201
    assert (await world.ask("GET", "/devices/pump-01")).json()["cloudToDeviceMessageCount"] == 3
    purged = await world.ask("DELETE", "/devices/pump-01/commands", policy="service")
    assert purged.json() == {"totalMessagesPurged": 3, "deviceId": "pump-01", "moduleId": None}
    assert (await world.ask("GET", "/devices/pump-01")).json()["cloudToDeviceMessageCount"] == 0


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"status": "on"}, "status"),
        ({"status": 5}, "status"),
        ({"authentication": []}, "authentication"),
        ({"authentication": {"type": "x509"}}, "authentication.type"),
        ({"authentication": {"symmetricKey": "x"}}, "authentication.symmetricKey"),
        ({"authentication": {"symmetricKey": {"primaryKey": 5}}}, "authentication.symmetricKey.primaryKey"),
        ({"capabilities": {"iotEdge": "maybe"}}, "capabilities.iotEdge"),
        ({"parentScopes": "x"}, "parentScopes"),
        ({"deviceScope": 1}, "deviceScope"),
    ],
)
async def test_a_member_of_the_wrong_form_is_named(world: ApiWorld, body: dict[str, Any], member: str) -> None:
    refused = await world.ask("PUT", "/devices/pump-01", body)
    assert (refused.status_code, refused.headers["moorage-reason"]) == (400, "body.member")
    assert refused.json()["Message"].startswith(f"ErrorCode:ArgumentInvalid;{member} ")


async def test_every_change_is_told_after_it_is_durable(world: ApiWorld) -> None:
    document = await world.device("pump-01")
    await world.ask("PUT", "/devices/pump-01", {**document, "status": "disabled"}, if_match="*")
    await world.ask("DELETE", "/devices/pump-01", if_match="*")
    kinds = [event.kind for event in world.events if event.subject == "pump-01"]
    assert kinds == ["identity.created", "identity.disabled", "identity.deleted"]


@pytest.mark.parametrize("spelling", ['"{}"', "{}", 'W/"{}"', "*", '"*"', ""])
async def test_every_spelling_of_an_etag_is_understood(world: ApiWorld, spelling: str) -> None:
    """R-6; an empty header says nothing, as an absent one in a delete."""
    etag = (await world.device("pump"))["etag"]
    for method, path, body in (("PATCH", "/twins/pump", {}), ("DELETE", "/devices/pump", None)):
        current = etag if method == "DELETE" else "AAAAAAAAAAE="
        response = await world.ask(method, path, body, if_match=spelling.format(current))
        assert response.status_code in (200, 204), (spelling, method, response.text)


@pytest.mark.parametrize("spelling", ['""', 'W/""', '"AAAA"', "AAAA"])
async def test_an_etag_that_nothing_has_fits_nothing(world: ApiWorld, spelling: str) -> None:
    await world.device("pump")
    for method, path, body in (
        ("PUT", "/devices/pump", {"status": "disabled"}),
        ("PATCH", "/twins/pump", {"tags": {"a": 1}}),
        ("DELETE", "/devices/pump", None),
    ):
        response = await world.ask(method, path, body, if_match=spelling)
        assert (response.status_code, response.headers["iothub-errorcode"]) == (412, "PreconditionFailed")
    assert (await world.ask("GET", "/devices/pump")).json()["status"] == "enabled"


async def test_gateways_nest_and_never_in_a_circle(world: ApiWorld) -> None:
    scopes: dict[str, str] = {}
    for name, above in (("a", None), ("b", "a"), ("c", "b")):
        parents = [] if above is None else [scopes[above]]
        made = await world.device(name, capabilities={"iotEdge": True}, parentScopes=parents)
        scopes[name] = made["deviceScope"]
        assert made["parentScopes"] == parents
    for child, above in (("a", "c"), ("a", "b"), ("a", "a")):
        body = {"deviceId": child, "parentScopes": [scopes[above]]}
        response = await world.ask("PUT", f"/devices/{child}", body, if_match="*")
        assert (response.status_code, response.headers["iothub-errorcode"]) == (400, "InvalidDeviceScope"), above
    leaf = await world.device("leaf", deviceScope=scopes["c"])
    assert (leaf["deviceScope"], leaf["parentScopes"]) == (scopes["c"], [scopes["c"]])
    moved = await world.ask("PUT", "/devices/leaf", {**leaf, "parentScopes": [scopes["b"]]}, if_match="*")
    assert moved.json()["deviceScope"] == scopes["b"]
    body = {"deviceId": "leaf", "parentScopes": [scopes["a"], scopes["b"]]}
    several = await world.ask("PUT", "/devices/leaf", body, if_match="*")
    assert several.headers["iothub-errorcode"] == "InvalidDeviceScope"
    left = await world.ask("PUT", "/devices/leaf", {"deviceId": "leaf", "deviceScope": ""}, if_match="*")
    assert "deviceScope" not in left.json()


async def test_a_method_that_a_path_has_not_is_told_with_those_it_has(world: ApiWorld) -> None:
    for method, path in (("HEAD", "/devices"), ("PATCH", "/devices/pump/"), ("POST", "/statistics/devices/")):
        response = await world.ask(method, path)
        assert response.status_code == 405 and "GET" in response.headers["allow"]
        assert response.headers["iothub-errorcode"] == "MethodNotAllowed"

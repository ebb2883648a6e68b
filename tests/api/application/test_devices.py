"""Acts on devices, one by one and many at once, over our own REST (central.md 5, 9, 10)."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.api.application.world import Own


async def finished(own: Own, operation: dict[str, Any], **more: Any) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while "ended" not in operation:
            await asyncio.sleep(0.02)
            operation = (await own.get(f"/deviceOperations/{operation['id']}", **more)).json()
    return operation


async def registered(own: Own, device_id: str) -> None:
    """With an identity, as one that has come."""
    made = await own.hub.ask("PUT", f"/devices/{device_id}", {"deviceId": device_id}, credential=own.hub.owner())
    assert made.status == 200, made.body


async def test_a_device_is_blocked_let_in_again_and_approved(own: Own) -> None:
    await own.central.put("/devices/d1", {})
    blocked = await own.post("/devices/d1/block")
    assert (blocked.status, blocked.json()["state"]) == (200, "blocked"), blocked.body
    assert (await own.post("/devices/d1/unblock")).json()["state"] == "registered"
    assert (await own.post("/devices/d1/approve")).json()["state"] == "registered"
    for act in ("approve", "block", "unblock"):
        unknown = await own.post(f"/devices/nobody/{act}")
        assert (unknown.status, unknown.json()["error"]["reason"]) == (404, "device.unknown")
    assert (await own.get("/settings/autoApprove")).json() == {"enabled": True}
    assert (await own.put("/settings/autoApprove", {"enabled": False})).json() == {"enabled": False}
    assert (await own.get("/settings/autoApprove")).json() == {"enabled": False}
    assert (await own.put("/settings/autoApprove", {})).json()["error"]["reason"] == "body.member"


async def test_aliases_files_and_commands_of_a_device(own: Own) -> None:
    await registered(own, "d1")
    named = await own.put("/devices/d1/aliases/temperature", {"path": "$.Device.Temp"})
    assert named.json() == {"alias": "temperature", "path": '$["Device"]["Temp"]'}, named.body
    assert (await own.get("/devices/d1/aliases")).json() == {"value": [named.json()]}
    assert (await own.put("/devices/d1/aliases/t", {"path": "Temp"})).json()["error"]["reason"] == "alias.path"
    assert (await own.put("/devices/d1/aliases/t", {})).json()["error"]["reason"] == "body.member"
    assert (await own.delete("/devices/d1/aliases/temperature")).status == 204
    assert (await own.get("/devices/d1/aliases")).json() == {"value": []}

    folder = own.hub.app.config.data / "uploads" / "d1"
    folder.mkdir(parents=True)
    for name in ("a.log", "b.log"):
        (folder / name).write_text("x" * 5)
    first = (await own.get("/devices/d1/files?$top=1")).json()
    assert [(each["name"], each["size"]) for each in first["value"]] == [("a.log", 5)] and "nextLink" in first
    assert (await own.delete("/devices/d1/files?name=a.log")).status == 204
    assert [each["name"] for each in (await own.get("/devices/d1/files")).json()["value"]] == ["b.log"]
    for name in ("a.log", "", "../d2/x", ".."):
        gone = await own.delete(f"/devices/d1/files?name={name}")
        assert (gone.status, gone.json()["error"]["reason"]) == (404, "file.unknown"), name

    queued = await own.post("/devices/d1/queuedCommands", {"command": "reboot", "request": {"in": 5}})
    assert (queued.status, queued.json()["request"]) == (201, {"in": 5}), queued.body
    assert (await own.post("/devices/d1/queuedCommands", {})).json()["error"]["reason"] == "body.member"
    assert (await own.delete("/devices/d1/manifest")).json()["error"]["reason"] == "edge.required"
    await own.central.put("/devices/edge", {"type": ["EdgeDevice"]})
    assert (await own.delete("/devices/edge/manifest")).status == 204


async def test_one_act_is_done_to_many_devices(own: Own) -> None:
    for number in range(3):
        await own.central.put(f"/devices/d{number}", {})
    begun = await own.post("/deviceOperations", {"act": "block", "devices": ["d0", "d1", "nobody"]})
    assert begun.status == 202, begun.body
    done = await finished(own, begun.json())
    assert (done["state"], done["total"], done["done"], done["failed"]) == ("done", 3, 2, 1)
    errors = (await own.get(f"/deviceOperations/{done['id']}/errors")).json()["value"]
    assert [(each["item"], each["reason"]) for each in errors] == [("nobody", "device.unknown")]
    assert not (await own.central.get("/devices/d1")).json()["enabled"]
    found = await own.post("/deviceOperations", {"act": "delete", "filter": {"state": "blocked"}})
    assert (await finished(own, found.json()))["done"] == 2
    assert [each["id"] for each in (await own.central.get("/devices")).json()["value"]] == ["d2"]
    assert [each["title"] for each in (await own.get("/deviceOperations")).json()["value"]] == [
        "Delete: 2 devices",
        "Block: 3 devices",
    ]
    assert (await own.post(f"/deviceOperations/{done['id']}/stop")).json()["state"] == "done"
    # Somebody else's are nobody's business.
    other = await own.token("administrator")
    assert (await own.get("/deviceOperations", who=other)).json() == {"value": []}
    assert (await own.get(f"/deviceOperations/{done['id']}", who=other)).status == 404


async def test_an_act_that_cannot_be_is_refused_with_what_is_wrong(own: Own) -> None:
    await own.central.put("/devices/d1", {})
    await own.put("/roles/keeper", {"displayName": "Keeper", "permissions": ["devices.manage"]})
    for body, status, reason, named in (
        ({"devices": ["d1"]}, 400, "body.member", "act"),
        ({"act": "paint", "devices": ["d1"]}, 400, "body.member", "act"),
        ({"act": "block"}, 400, "body.member", "devices"),
        ({"act": "block", "devices": ["d1"], "filter": {}}, 400, "body.member", "devices"),
        ({"act": "block", "devices": "d1"}, 400, "body.member", "devices"),
        ({"act": "block", "devices": []}, 400, "operations.none", "no device"),
        ({"act": "block", "filter": {"state": "happy"}}, 400, "body.member", "filter.state"),
        ({"act": "block", "filter": {"colour": "red"}}, 400, "body.member", "colour"),
        ({"act": "organization", "to": "nowhere", "devices": ["d1"]}, 404, "organization.unknown", "nowhere"),
        ({"act": "attach", "to": "nobody", "devices": ["d1"]}, 404, "device.unknown", "nobody"),
        ({"act": "attach", "devices": ["d1"]}, 400, "id.device", "device"),
    ):
        refused = await own.post("/deviceOperations", body)
        error = refused.json()["error"]
        assert (refused.status, error["reason"], named in error["message"]) == (status, reason, True), (body, error)
    keeper = await own.token("keeper")
    refused = await own.post("/deviceOperations", {"act": "delete", "devices": ["d1"]}, who=keeper)
    assert (refused.status, refused.json()["error"]["reason"]) == (403, "operations.permission")


async def test_devices_of_a_file_are_made_and_given_out_again(own: Own) -> None:
    await own.central.put("/organizations/north", {"displayName": "North"})
    file = b"IOTC_DEVICEID,IOTC_DEVICENAME\npump-01,Pump 1\npump 02,Pump 2\npump-03,\n"
    begun = await own.post("/devices/import?organization=north", file, headers=[(b"content-type", b"text/csv")])
    assert begun.status == 202, begun.body
    done = await finished(own, begun.json())
    assert (done["done"], done["failed"]) == (2, 1)
    errors = (await own.get(f"/deviceOperations/{done['id']}/errors?$top=1")).json()["value"]
    assert [(each["item"], each["reason"]) for each in errors] == [("line 3", "id.device_plain")]
    assert (await own.central.get("/devices/pump-01")).json()["organizations"] == ["north"]
    await own.central.put("/devices/other", {})
    given = await own.get("/devices/export?organization=north")
    assert given.header("content-type") == "text/csv; charset=utf-8"
    lines = given.body.decode().splitlines()
    assert lines[0].startswith("IOTC_DEVICEID,") and lines[1].startswith("pump-01,Pump 1") and len(lines) == 3
    for query, reason in (("state=happy", "body.member"), ("connected=perhaps", "body.member")):
        assert (await own.get(f"/devices/export?{query}")).json()["error"]["reason"] == reason
    for target, body, reason in (
        ("/devices/import", b"", "csv.columns"),
        ("/devices/import", b"\xff\xfe", "csv.encoding"),
        ("/devices/import", b"IOTC_DEVICEID\n", "operations.none"),
        ("/devices/import?organization=nowhere", file, "organization.unknown"),
    ):
        assert (await own.post(target, body)).json()["error"]["reason"] == reason, target
    nothing = await own.post("/devices/import?template=none", file)
    assert (await finished(own, nothing.json()))["failed"] == 3


async def test_somebody_of_an_organization_reaches_no_siblings_device(own: Own) -> None:
    for organization in ("north", "south"):
        await own.central.put(f"/organizations/{organization}", {"displayName": organization})
        await registered(own, organization)
        await own.central.patch(f"/devices/{organization}", {"organizations": [organization]})
    north = await own.token("org-administrator", "north")
    for method, path in (
        ("POST", "approve"),
        ("POST", "block"),
        ("POST", "unblock"),
        ("GET", "aliases"),
        ("DELETE", "aliases/a"),
        ("GET", "files"),
        ("DELETE", "files?name=a"),
        ("DELETE", "manifest"),
    ):
        refused = await own.call(method, f"/devices/south/{path}", who=north)
        assert (refused.status, refused.json()["error"]["reason"]) == (404, "device.unknown"), path
    for path, body in (("queuedCommands", {"command": "a"}),):
        assert (await own.post(f"/devices/south/{path}", body, who=north)).status == 404
    assert (await own.put("/devices/south/aliases/a", {"path": "$.a"}, who=north)).status == 404
    begun = await own.post("/deviceOperations", {"act": "block", "filter": {}}, who=north)
    assert (await finished(own, begun.json(), who=north))["total"] == 1
    named = await own.post("/deviceOperations", {"act": "block", "devices": ["south"]}, who=north)
    assert (await finished(own, named.json(), who=north))["failed"] == 1
    assert (await own.central.get("/devices/south")).json()["enabled"]
    exported = (await own.get("/devices/export", who=north)).body.decode()
    assert "north" in exported and "south" not in exported

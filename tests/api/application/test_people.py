"""Roles, users and organizations over our own REST (central.md 18)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.application.world import Own, own_hub
from tests.hubs import free_port

WATCHER: dict[str, Any] = {"displayName": "Watcher", "description": "Looks", "permissions": ["rules.view"]}


async def test_a_role_is_made_used_changed_and_deleted(own: Own) -> None:
    made = await own.put("/roles/watcher", WATCHER)
    assert made.status == 200, made.body
    role = made.json()
    assert (role["id"], role["kind"], role["builtIn"]) == ("watcher", "application", False)
    # With what it depends on.
    assert {"rules.view", "groups.view", "templates.view"} <= set(role["permissions"])
    token = await own.token("watcher")
    assert (await own.get("/rules", who=token)).status == 200
    assert (await own.get("/audit", who=token)).status == 403
    changed = (await own.put("/roles/watcher", {**role, "permissions": ["audit.view"]})).json()
    assert changed["permissions"] == ["audit.view"]
    assert (await own.get("/rules", who=token)).status == 403
    stale = await own.put("/roles/watcher", WATCHER, headers=[(b"if-match", role["etag"].encode())])
    assert (stale.status, stale.json()["error"]["reason"]) == (412, "etag.stale")
    stale = await own.delete("/roles/watcher", headers=[(b"if-match", role["etag"].encode())])
    assert (stale.status, stale.json()["error"]["reason"]) == (412, "etag.stale")
    assert (await own.delete("/roles/watcher")).json()["error"]["reason"] == "role.in_use"
    await own.central.delete("/apiTokens/watcher-1")
    assert (await own.delete("/roles/watcher")).status == 204
    gone = await own.put("/roles/watcher", {**WATCHER, "etag": changed["etag"]})
    assert (gone.status, gone.json()["error"]["reason"]) == (404, "role.unknown")
    listed = (await own.get("/roles")).json()["value"]
    assert {each["displayName"] for each in listed if each["builtIn"]} == {"Administrator", "Builder", "Operator"}


async def test_a_role_that_cannot_be_is_refused_with_what_is_wrong(own: Own) -> None:
    await own.put("/roles/watcher", WATCHER)
    for role_id, change, status, reason in (
        ("other", {"displayName": ""}, 400, "body.member"),
        ("other", {"permissions": "all"}, 400, "body.member"),
        ("other", {"permissions": ["fly"]}, 400, "role.permission"),
        ("other", {"permissions": []}, 400, "role.empty"),
        ("other", {"kind": "planet"}, 400, "body.member"),
        ("other", {"kind": "organization"}, 400, "role.permission"),
        ("other", {"may": []}, 400, "body.member"),
        ("other", {}, 409, "role.taken"),
        ("watcher", {"kind": "organization"}, 400, "body.member"),
        ("watcher", {"displayName": "Operator"}, 409, "role.taken"),
        ("administrator", {}, 400, "role.id"),
        ("ca310b8d-2f4a-44e0-a36e-957c202cd8d4", {"displayName": "Boss"}, 409, "role.built_in"),
    ):
        refused = await own.put(f"/roles/{role_id}", {**WATCHER, **change})
        assert (refused.status, refused.json()["error"]["reason"]) == (status, reason), (role_id, change, refused.body)
    builtin = await own.delete("/roles/ca310b8d-2f4a-44e0-a36e-957c202cd8d4")
    assert builtin.json()["error"]["reason"] == "role.built_in"


async def test_nobody_gives_what_they_may_not_do_themselves(own: Own) -> None:
    await own.put("/roles/people", {"displayName": "People", "permissions": ["users.manage"]})
    refused = await own.put("/roles/other", WATCHER, who=await own.token("people"))
    assert (refused.status, refused.json()["error"]["reason"]) == (403, "account.beyond")


async def test_a_user_is_shut_out_let_in_and_given_a_link(tmp_path: Path) -> None:
    async with own_hub(tmp_path, web_port=str(free_port())) as own:
        role = {"roles": [{"role": "operator"}]}
        made = await own.central.put("/users/ada", {"type": "email", "email": "ada@example.com", **role})
        assert made.status == 200, made.body
        shown = (await own.get("/users/ada")).json()
        assert (shown["login"], shown["disabled"], shown["role"]) == ("ada@example.com", False, "operator")
        assert (await own.post("/users/ada/disable")).json()["disabled"]
        assert not (await own.post("/users/ada/enable")).json()["disabled"]
        linked = (await own.post("/users/ada/link")).json()
        url = own.hub.app.info().web_url
        assert url is not None and linked["link"].startswith(f"{url}sign-in/link/") and linked["expires"]
        for act in ("link", "disable", "enable"):
            unknown = await own.post(f"/users/nobody/{act}")
            assert (unknown.status, unknown.json()["error"]["reason"]) == (404, "account.unknown")


async def test_a_link_needs_pages_to_lead_to(own: Own) -> None:
    body = {"type": "email", "email": "ada@example.com", "roles": [{"role": "operator"}]}
    await own.central.put("/users/ada", body)
    refused = await own.post("/users/ada/link")
    assert (refused.status, refused.json()["error"]["reason"]) == (409, "web.none")


async def test_somebody_of_an_organization_sees_no_siblings_people_and_devices(own: Own) -> None:
    for organization in ("north", "south"):
        await own.central.put(f"/organizations/{organization}", {"displayName": organization})
        roles = [{"role": "org-viewer", "organization": organization}]
        body = {"type": "email", "email": f"{organization}@example.com", "roles": roles}
        assert (await own.central.put(f"/users/{organization}", body)).status == 200
    north = await own.token("org-administrator", "north")
    assert (await own.get("/users/north", who=north)).status == 200
    assert (await own.get("/users/south", who=north)).json()["error"]["reason"] == "account.unknown"
    assert (await own.post("/users/south/disable", who=north)).status == 404
    for answer in (
        await own.post("/organizations/south/moveDevices", {"to": "north"}, who=north),
        await own.delete("/organizations/south?moveTo=north", who=north),
    ):
        assert (answer.status, answer.json()["error"]["reason"]) == (404, "organization.unknown")


async def test_devices_of_an_organization_go_to_another_and_it_is_deleted(own: Own) -> None:
    for organization in ("north", "south"):
        await own.central.put(f"/organizations/{organization}", {"displayName": organization})
    for number in range(2):
        await own.central.put(f"/devices/d{number}", {"organizations": ["north"]})
    assert (await own.delete("/organizations/north")).json()["error"]["reason"] == "organization.not_empty"
    assert (await own.post("/organizations/north/moveDevices", {"to": "south"})).json() == {"devices": 2}
    assert (await own.central.get("/devices/d1")).json()["organizations"] == ["south"]
    assert (await own.post("/organizations/north/moveDevices", {})).json()["error"]["reason"] == "body.member"
    assert (await own.delete("/organizations/south?moveTo=north")).status == 204
    assert (await own.central.get("/devices/d1")).json()["organizations"] == ["north"]
    assert (await own.delete("/organizations/north?moveTo=")).status == 204
    assert "organizations" not in (await own.central.get("/devices/d1")).json()

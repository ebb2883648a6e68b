"""Users, roles, organisations and API tokens over REST (central.md 18, 22.2)."""

from __future__ import annotations

from datetime import timedelta

from moorage.accounts.roles import BUILT_IN
from tests.api.central.world import Central

IDS = {role.short: role.role_id for role in BUILT_IN.values()}
OPERATOR = "ae2c9854-393b-4f97-8c42-479d70ce626e"


async def test_a_token_is_made_told_once_and_used(central: Central) -> None:
    made = await central.put("/apiTokens/ci", {"roles": [{"role": OPERATOR}]})
    assert made.status == 200
    document = made.json()
    text = document.pop("token")
    assert (await central.get("/apiTokens/ci")).json() == document
    assert (document["id"], document["roles"]) == ("ci", [{"role": OPERATOR}])
    assert (await central.get("/enrollmentGroups", who=text)).status == 200
    assert (await central.get("/apiTokens", who=text)).status == 403
    assert [each["id"] for each in (await central.get("/apiTokens")).json()["value"]] == ["ci"]

    again = await central.put("/apiTokens/ci", {"roles": [{"role": OPERATOR}]})
    assert (again.status, again.json()["error"]["code"]) == (409, "Conflict")
    assert (await central.delete("/apiTokens/ci")).status == 204
    assert (await central.get("/enrollmentGroups", who=text)).status == 401
    assert (await central.get("/apiTokens/ci")).status == 404


async def test_a_token_ends_when_it_was_told_to(central: Central) -> None:
    expiry = central.hub.app.clock.now() + timedelta(days=2)
    made = await central.put("/apiTokens/ci", {"roles": [{"role": OPERATOR}], "expiry": expiry.isoformat()})
    assert made.json()["expiry"].startswith(expiry.strftime("%Y-%m-%dT%H:%M:%S"))
    past = await central.put("/apiTokens/old", {"roles": [{"role": OPERATOR}], "expiry": "2020-01-01T00:00:00Z"})
    assert (past.status, past.header("moorage-reason")) == (400, "api_token.expiry")


async def test_nobody_gives_away_more_than_they_have(central: Central) -> None:
    await central.put("/organizations/north", {"displayName": "North"})
    north = await central.token("org-administrator", "north")
    body = {"roles": [{"role": IDS["administrator"]}]}
    refused = await central.put("/apiTokens/more", body, who=north)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "Forbidden")
    given = {"roles": [{"role": IDS["org-viewer"], "organization": "north"}]}
    assert (await central.put("/apiTokens/less", given, who=north)).status == 200


_NO_ROLES: tuple[object, ...] = (
    None,
    [],
    [{}],
    [{"role": OPERATOR}, {"role": OPERATOR}],
    "operator",
    [{"role": OPERATOR, "place": "here"}],
    [1],
)


async def test_roles_that_are_none_are_an_invalid_body(central: Central) -> None:
    for roles in _NO_ROLES:
        answer = await central.put("/apiTokens/ci", {"roles": roles})
        assert (answer.status, answer.json()["error"]["code"]) == (422, "InvalidBody"), roles


async def test_organizations_are_a_tree(central: Central) -> None:
    made = await central.put("/organizations/north", {"displayName": "North"})
    assert (made.status, made.json()) == (200, {"id": "north", "displayName": "North"})
    line = await central.put("/organizations/line-1", {"displayName": "Line 1", "parent": "north"})
    assert line.json() == {"id": "line-1", "displayName": "Line 1", "parent": "north"}
    assert (await central.patch("/organizations/line-1", {"displayName": "Line one"})).json()["parent"] == "north"
    held = await central.delete("/organizations/north")
    assert (held.status, held.header("moorage-reason")) == (409, "organization.not_empty")
    moved = await central.patch("/organizations/line-1", {"parent": ""})
    assert moved.json() == {"id": "line-1", "displayName": "Line one"}
    assert (await central.delete("/organizations/north")).status == 204
    unknown = await central.put("/organizations/line-2", {"parent": "north"})
    assert (unknown.status, unknown.header("moorage-reason")) == (404, "organization.unknown")
    bad = await central.put("/organizations/-North", {})
    assert (bad.status, bad.header("moorage-reason")) == (400, "organization.id")


async def test_who_belongs_to_a_node_sees_it_and_what_is_below(central: Central) -> None:
    for name, parent in (("north", ""), ("line-1", "north"), ("south", "")):
        await central.put(f"/organizations/{name}", {"parent": parent})
    north = await central.token("org-administrator", "north")
    seen = (await central.get("/organizations", who=north)).json()["value"]
    assert [each["id"] for each in seen] == ["line-1", "north"]
    assert (await central.get("/organizations/south", who=north)).status == 404
    assert (await central.patch("/organizations/south", {"displayName": "x"}, who=north)).status == 404
    assert (await central.delete("/organizations/south", who=north)).status == 404


async def test_roles_have_the_services_ids(central: Central) -> None:
    roles = {role["displayName"]: role["id"] for role in (await central.get("/roles")).json()["value"]}
    assert roles["Operator"] == OPERATOR
    assert (await central.get(f"/roles/{OPERATOR}")).json() == {"id": OPERATOR, "displayName": "Operator"}
    assert (await central.get("/roles/none")).status == 404


async def test_a_user_is_invited_changed_and_deleted(central: Central) -> None:
    body = {"type": "email", "email": "Ada@example.org", "roles": [{"role": OPERATOR}]}
    made = await central.put("/users/ada", body)
    assert made.json() == {"id": "ada", "type": "email", "email": "ada@example.org", "roles": [{"role": OPERATOR}]}
    builder = [{"role": IDS["builder"]}]
    assert (await central.patch("/users/ada", {"type": "email", "roles": builder})).json()["roles"] == builder
    assert (await central.put("/users/ada", body)).json()["roles"] == [{"role": OPERATOR}]
    other = await central.put("/users/ada", {**body, "email": "eve@example.org"})
    assert (other.status, other.json()["error"]["code"]) == (422, "InvalidBody")
    taken = await central.put("/users/eve", body)
    assert (taken.status, taken.header("moorage-reason")) == (409, "account.taken")
    assert [each["id"] for each in (await central.get("/users")).json()["value"]] == ["ada"]
    assert (await central.delete("/users/ada")).status == 204
    assert (await central.get("/users/ada")).status == 404


async def test_users_of_a_sibling_do_not_exist(central: Central) -> None:
    for name in ("north", "south"):
        await central.put(f"/organizations/{name}", {})
    role = [{"role": IDS["org-viewer"], "organization": "south"}]
    body = {"type": "email", "email": "bob@example.org", "roles": role}
    assert (await central.put("/users/bob", body)).status == 200
    north = await central.token("org-administrator", "north")
    assert (await central.get("/users", who=north)).json()["value"] == []
    assert (await central.get("/users/bob", who=north)).status == 404
    assert (await central.patch("/users/bob", {"roles": role}, who=north)).status == 404
    assert (await central.delete("/users/bob", who=north)).status == 404
    assert (await central.put("/users/bob", body, who=north)).status == 403


async def test_directories_are_nobodys(central: Central) -> None:
    body = {"type": "servicePrincipal", "tenantId": "t", "objectId": "o", "roles": [{"role": OPERATOR}]}
    answer = await central.put("/users/robot", body)
    assert (answer.status, answer.json()["error"]["code"]) == (422, "InvalidBody")
    bad = await central.put("/users/a%20b", {"type": "email"})
    assert (bad.status, bad.header("moorage-reason")) == (400, "account.id")

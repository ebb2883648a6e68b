"""What pages about people show as code, run as it stands."""

from __future__ import annotations

import json
import re

from moorage.accounts.model import OWNER, OrganizationId, RoleId, User, UserId
from moorage.accounts.roles import RoleDefinition
from moorage.fleet.model import DeviceDraft
from moorage.ids import DeviceId
from tests.servers.world import World
from tests.web.browser import PASSWORD, Browser
from tests.web.shown_as_code import Shell, replays

LINE, OTHER = OrganizationId("line-1"), OrganizationId("line-2")
HERE = f"/organizations/{LINE}"


@replays(
    "POST /users",
    "POST /users/{user_id}/assignment",
    "POST /users/{user_id}/disable",
    "POST /users/{user_id}/enable",
    "POST /users/{user_id}/link",
    "POST /users/{user_id}/delete",
)
async def test_somebody_is_assigned_let_in_and_shut_out(world: World, stranger: Browser, shell: Shell) -> None:
    accounts = world.app.accounts

    def grace() -> User:
        return accounts.get(OWNER, UserId("grace"))

    await shell.paste("/users", "Assign user", "curl")
    before = grace()
    assert (before.login, before.password) == ("grace@example.com", "")
    said = json.loads((await shell.paste("/users", "New link", "Python")).partition(" ")[2])
    [path] = re.findall(r"/sign-in/link/\S+", said["link"])
    assert (await stranger.send(path, {"password": PASSWORD, "again": PASSWORD})).status_code == 303
    await shell.paste("/users", "Change", "curl")
    assert grace().role != before.role
    await shell.paste("/users", "Disable", "Python")
    assert grace().is_disabled
    await shell.paste("/users", "Enable", "curl")
    assert not grace().is_disabled
    await shell.paste("/users", "Delete", "Python")
    assert [user.login for user in await accounts.users_after(OWNER, "", 10)] == ["ada"]


@replays("POST /roles", "POST /roles/{role_id}", "POST /roles/{role_id}/delete")
async def test_a_role_is_made_changed_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    roles, role_id = world.app.application.roles, RoleId("plant-operator")

    def made() -> list[RoleDefinition]:
        return [role for role in roles.all() if not role.is_built_in]

    await shell.paste("/roles/new", "Save", "curl")
    [role] = made()
    assert (role.role_id, role.display_name, role.permissions) == (
        role_id,
        "Plant operator",
        frozenset({"devices.view"}),
    )
    text = shell.read(await browser.open(f"/roles/{role_id}"), "Save", "Python")
    await roles.change(OWNER, role_id, "Another name", ["devices.view", "data.view"], "", if_match=role.etag)
    await shell.run(text, "Python")
    await shell.paste(f"/roles/{role_id}", "Save", "curl")
    [again] = made()
    assert (again.display_name, again.permissions) == (role.display_name, role.permissions)
    await shell.paste("/roles", "Delete", "Python")
    assert made() == []
    await shell.paste("/roles/new", "Save", "Python")
    await shell.paste(f"/roles/{role_id}", "Delete", "curl")
    assert made() == []


@replays(
    "POST /organizations",
    "POST /organizations/{organization_id}",
    "POST /organizations/{organization_id}/move",
    "POST /organizations/{organization_id}/delete",
)
async def test_an_organization_is_made_emptied_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    organizations, fleet = world.app.application.organizations, world.app.application.fleet
    await shell.paste("/organizations", "New organization", "Python")
    await organizations.create(OWNER, OTHER, "Line 2", OrganizationId(""))
    text = shell.read(await browser.open(HERE), "Save", "curl")
    await organizations.put(OWNER, LINE, "Renamed", OTHER)
    await shell.run(text, "curl")
    assert organizations.get(OWNER, LINE).display_name == "Line 1"
    await shell.paste(HERE, "Save", "Python")
    assert organizations.get(OWNER, LINE).parent == OTHER

    device_id = DeviceId("pump-01")
    await fleet.create(OWNER, DeviceDraft(device_id, organization=LINE))
    await shell.paste(HERE, "Move devices", "curl")
    assert fleet.get(OWNER, device_id).record.organization == OTHER
    await shell.paste(HERE, "Delete", "Python")
    assert organizations.all() == [organizations.get(OWNER, OTHER)]

    await organizations.create(OWNER, LINE, "Line 1", OrganizationId(""))
    other = f"/organizations/{OTHER}"
    await shell.paste(other, "Delete, and move what it holds", "curl")
    assert fleet.get(OWNER, device_id).record.organization == LINE
    assert [each.organization_id for each in organizations.all()] == [LINE]


@replays("POST /tokens", "POST /tokens/{token_id}/delete")
async def test_a_token_is_made_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    tokens = world.app.application.tokens
    # The shell has one of the name that stands on the page.
    for language in ("curl", "Python"):
        page = await browser.send("/tokens", {"name": "night", "role": "no such role"})
        said = await shell.paste("/tokens", "Generate", language, page=page)
        assert "SharedAccessSignature" in said
        assert {each.token_id for each in tokens.all(OWNER)} == {"ci", "night"}
        page = await browser.send("/tokens", {"name": "night", "role": "no such role"})
        await shell.paste("/tokens", "Delete", language, page=page)
        assert {each.token_id for each in tokens.all(OWNER)} == {"ci"}

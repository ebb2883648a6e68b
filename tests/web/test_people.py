"""Roles, organizations and API tokens on their pages: what they say, and that nobody gives away more than they have."""

from __future__ import annotations

import re

from starlette.requests import Request

from moorage.accounts.model import OWNER, Actor, OrganizationId, RoleId
from moorage.accounts.roles import BUILT_IN
from moorage.accounts.token_model import TokenId
from moorage.errors import Refusal
from moorage.web.pages import Visit
from tests.servers.world import World
from tests.web.browser import Browser, text_of

ORG_ADMINISTRATOR = next(role.role_id for role in BUILT_IN.values() if role.short == "org-administrator")


async def test_a_role_is_copied_ticked_assigned_and_then_cannot_be_deleted(world: World, browser: Browser) -> None:
    builder = next(role.role_id for role in BUILT_IN.values() if role.short == "operator")
    copied = await browser.open("/roles/new", copy=builder)
    assert 'value="Operator copy"' in copied.text
    assert re.search(r'name="may:devices.manage"[^>]* checked', copied.text)
    page = await browser.submit("/roles", {"name": "Night watch", "kind": "application", "may:commands.run": "on"})
    assert page.url.path == "/roles"
    [role_id] = re.findall(r'href="/roles/([0-9a-f-]{36})">Night watch', page.text)
    # USR-7: whoever runs commands sees devices.
    shown = await browser.open(f"/roles/{role_id}")
    assert re.search(r'name="may:devices.view"[^>]* checked', shown.text)

    user, _link = await world.app.accounts.invite(OWNER, "bob", "operator")
    await browser.submit(f"/users/{user.user_id}/assignment", {"role": role_id})
    assert world.app.accounts.get(OWNER, user.user_id).role == role_id
    refused = await browser.send(f"/roles/{role_id}/delete")
    assert refused.status_code == 400
    assert "1 users and 0 API tokens have the role Night watch" in text_of(refused)


async def test_a_role_that_changed_meanwhile_is_not_overwritten_and_what_was_typed_stays(
    world: World, browser: Browser
) -> None:
    page = await browser.submit("/roles", {"name": "Night watch", "kind": "application", "may:devices.view": "on"})
    [role_id] = re.findall(r'href="/roles/([0-9a-f-]{36})">Night watch', page.text)
    change = {"name": "Day watch", "etag": "1", "may:devices.view": "on"}
    assert (await browser.send(f"/roles/{role_id}", change)).status_code == 303
    stale = await browser.send(f"/roles/{role_id}", {**change, "name": "Dog watch", "may:data.view": "on"})
    assert stale.status_code == 400
    assert "etag.stale" in stale.text
    assert 'value="Dog watch"' in stale.text
    assert re.search(r'name="may:data.view"[^>]* checked', stale.text)
    [etag] = re.findall(r'name="etag" value="([^"]*)"', stale.text)
    again = await browser.send(f"/roles/{role_id}", {**change, "name": "Dog watch", "etag": etag})
    assert again.status_code == 303


async def test_organizations_nest_five_levels_and_are_not_deleted_with_what_they_hold(
    world: World, browser: Browser
) -> None:
    parent = ""
    for level in range(1, 6):
        fields = {"name": f"Level {level}", "id": f"level-{level}", "parent": parent}
        assert (await browser.send("/organizations", fields)).status_code == 303
        parent = fields["id"]
    deeper = await browser.send("/organizations", {"name": "Six", "id": "level-6", "parent": parent})
    assert deeper.status_code == 400
    assert "organization.depth" in deeper.text
    assert 'value="level-6"' in deeper.text
    odd = await browser.send("/organizations", {"name": "Odd", "id": "-Odd", "parent": ""})
    assert "organization.id" in odd.text

    await world.app.accounts.invite(OWNER, "bob", "org-viewer", OrganizationId("level-5"))
    full = await browser.send("/organizations/level-5/delete", {"to": "-"})
    assert "holds 1 users" in text_of(full)
    home = await browser.send("/organizations/level-5/delete", {"to": ""})
    assert "organization.people" in home.text
    moved = await browser.submit("/organizations/level-5/delete", {"to": "level-4"})
    assert moved.url.path == "/organizations"
    [bob] = [user for user in world.app.accounts.users() if user.login == "bob"]
    assert bob.organization == "level-4"


async def test_what_somebody_makes_begins_in_the_organization_that_they_chose(browser: Browser) -> None:
    """ORG-6."""
    assert "Default organization" not in (await browser.open("/profile")).text
    for name in ("north", "south"):
        await browser.send("/organizations", {"name": name.title(), "id": name, "parent": ""})

    async def begins(path: str) -> list[str]:
        page = (await browser.open(path)).text
        [menu] = re.findall(r'<select id="organization".*?</select>', page, re.DOTALL)
        return re.findall(r'value="(\w*)" selected', menu)

    forms = ("/profile", "/devices/new", "/device-import", "/device-groups/new", "/rules/new", "/jobs/new")
    assert [await begins(path) for path in forms] == [[""]] * len(forms)
    assert (await browser.send("/profile/organization", {"organization": "nowhere"})).status_code == 400
    await browser.submit("/profile/organization", {"organization": "south"})
    assert [await begins(path) for path in forms] == [["south"]] * len(forms)
    await browser.submit("/profile/organization", {"organization": ""})
    assert await begins("/devices/new") == [""]


def test_a_choice_that_somebody_does_not_see_is_none() -> None:
    north = OrganizationId("north")
    bob = Actor("user:bob", frozenset(), north, frozenset({north}))
    for cookie in (b"organization=south", b"organization=", b""):
        request = Request({"type": "http", "headers": [(b"cookie", cookie)]})
        assert Visit(request, None, None, "auto", bob).default_organization == north


async def test_an_organization_does_not_lie_below_itself_and_a_stale_name_is_not_written(
    world: World, browser: Browser
) -> None:
    for name, parent in (("north", ""), ("line-1", "north")):
        await browser.send("/organizations", {"name": name, "id": name, "parent": parent})
    cycle = await browser.send("/organizations/north", {"name": "North", "parent": "line-1", "etag": "1"})
    assert "organization.cycle" in cycle.text
    good = {"name": "North", "parent": "", "etag": "1"}
    assert (await browser.send("/organizations/north", good)).status_code == 303
    stale = await browser.send("/organizations/north", {**good, "name": "Nord"})
    assert "etag.stale" in stale.text
    assert 'value="Nord"' in stale.text


async def test_whoever_administers_an_organization_stays_in_it(world: World, stranger: Browser) -> None:
    organizations, accounts = world.app.application.organizations, world.app.accounts
    for name in ("north", "south"):
        await organizations.create(OWNER, OrganizationId(name), name.title(), OrganizationId(""))
    await accounts.invite(OWNER, "sue", "org-viewer", OrganizationId("south"))
    boss, _link = await accounts.invite(OWNER, "root-boss", "administrator")
    _nora, link = await accounts.invite(OWNER, "nora", "org-administrator", OrganizationId("north"))
    password = {"password": "a word that nobody guesses", "again": "a word that nobody guesses"}
    assert (await stranger.send(f"/sign-in/link/{link.reveal()}", password)).status_code == 303

    users, tree = await stranger.open("/users"), await stranger.open("/organizations")
    assert "sue" not in text_of(users)
    assert "root-boss" not in text_of(users)
    assert ("North" in text_of(tree), "South" in text_of(tree)) == (True, False)
    assert (await stranger.open("/organizations/south")).status_code == 404
    assert (await stranger.open("/audit")).status_code == 403
    # Neither upwards, nor sideways, nor by a link, nor by a role of her own.
    for fields in (
        {"login": "eve", "role": "administrator", "organization": ""},
        {"login": "eve", "role": "org-viewer", "organization": "south"},
        {"login": "eve", "role": "administrator", "organization": "north"},
    ):
        refused = await stranger.send("/users", fields)
        assert refused.status_code == 400
        assert 'value="eve"' in refused.text
    assert (await stranger.send(f"/users/{boss.user_id}/link")).status_code == 404
    assert (
        await stranger.send("/roles", {"name": "Mine", "kind": "organization", "may:devices.view": "on"})
    ).status_code == 400
    own = await stranger.send("/organizations/north", {"name": "All of it", "parent": "", "etag": "1"})
    assert "organization.own" in own.text
    below = {"name": "Line 1", "id": "line-1", "parent": "north"}
    assert (await stranger.send("/organizations", below)).status_code == 303
    invited = await stranger.send("/users", {"login": "ned", "role": "org-viewer", "organization": "line-1"})
    assert invited.status_code == 200
    assert "sign-in/link/" in invited.text


async def test_a_token_is_shown_once_opens_with_its_role_and_not_after_its_end(world: World, browser: Browser) -> None:
    tokens = world.app.application.tokens
    made = await browser.send("/tokens", {"name": "ci", "role": "operator", "expires": ""})
    [text] = set(re.findall(r"<code>(SharedAccessSignature [^<]+)</code>", made.text))
    text = text.replace("&amp;", "&")
    assert "SharedAccessSignature" not in (await browser.open("/tokens")).text
    actor = tokens.find(text, world.clock.now())
    assert (actor.name, actor.role, actor.organizations) == ("token:ci", "Operator", None)
    [kept] = tokens.all(OWNER)
    assert kept.digest not in text
    assert "signature" not in kept.digest

    for wrong in (
        text[:-1] + str((int(text[-1]) + 1) % 10),
        text.replace("skn=ci", "skn=cd"),
        text.replace("sig=", "sig=A"),
    ):
        assert _reason(world, wrong) == "api_token.unknown"
    for malformed in ("", "Bearer x", "SharedAccessSignature sr=a&sig=b", text + "&sig=x", text + "&policy=x"):
        assert _reason(world, malformed) == "api_token.malformed"
    world.clock.advance(366 * 86_400)
    assert _reason(world, text) == "api_token.expired"


async def test_a_token_cannot_reach_further_than_who_made_it_and_dies_when_deleted(
    world: World, browser: Browser
) -> None:
    tokens, organizations = world.app.application.tokens, world.app.application.organizations
    north = OrganizationId("north")
    await organizations.create(OWNER, north, "North", OrganizationId(""))
    token, text = await tokens.create(OWNER, TokenId("north-ci"), "org-administrator", north)
    actor = tokens.find(text.reveal(), world.clock.now())
    assert actor.organizations == frozenset({north})
    for role, where in (("administrator", ""), ("org-viewer", ""), ("builder", "north"), ("nothing", "north")):
        try:
            await tokens.create(actor, TokenId("more"), role, OrganizationId(where))
        except Refusal as refusal:
            assert refusal.reason in ("account.beyond", "account.role_kind", "account.role")
        else:
            raise AssertionError((role, where))
    past = await browser.send("/tokens", {"name": "late", "role": "operator", "expires": "2001-01-01"})
    assert "api_token.expiry" in past.text
    assert 'value="late"' in past.text
    await browser.send("/tokens/north-ci/delete")
    assert _reason(world, text.reveal()) == "api_token.unknown"
    assert token.role == RoleId(ORG_ADMINISTRATOR)


def _reason(world: World, header: str) -> str:
    try:
        world.app.application.tokens.find(header, world.clock.now())
    except Refusal as refusal:
        return refusal.reason
    return "let in"


async def test_the_audit_log_tells_who_did_what_before_and_after_and_leaves_as_a_file(
    world: World, browser: Browser
) -> None:
    user, _link = await world.app.accounts.invite(OWNER, "bob", "operator")
    builder = next(role.role_id for role in BUILT_IN.values() if role.short == "builder")
    await browser.submit(f"/users/{user.user_id}/assignment", {"role": builder})
    await browser.send("/organizations", {"name": "=HYPERLINK(1)", "id": "north", "parent": ""})
    page = await browser.open("/audit", kind="user", what="changed", on="bob")
    words = text_of(page)
    assert "user:ada changed bob user" in words
    assert "role Operator → Builder" in words
    assert "password" not in words

    for sort in ("actor", "event", "entity", "at", "nonsense"):
        assert (await browser.open("/audit", sort=sort, direction="up", page="2")).status_code == 200
    everything = text_of(await browser.open("/audit"))
    assert "signed" not in everything
    await browser.send("/sign-out")
    await browser.send("/sign-in", {"login": "ada", "password": "wrong and wrong"})
    await browser.send("/sign-in", {"login": "ada", "password": "a word that nobody guesses"})
    everything = text_of(await browser.open("/audit"))
    for act in ("signed out", "signed in", "refused"):
        assert act in everything

    file = await browser.get("/audit/entries.csv?range=all&kind=organization")
    assert file.headers["content-type"].startswith("text/csv")
    lines = file.text.split("\r\n")
    assert lines[0] == "time,who,action,entity type,entity,details"
    assert "name: =HYPERLINK(1)" in lines[1]
    bad = await browser.open("/audit", range="days", since="31.12.2026")
    assert bad.status_code == 400
    assert "query.day" in bad.text

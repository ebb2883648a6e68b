"""Coming in: by a link once, by a password, never from another site; and being shut out at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from moorage.accounts.entrance import MAX_HASHES, SESSION_IDLE, SESSION_LIFETIME
from moorage.accounts.model import OWNER
from moorage.accounts.throttle import MAX_WRONG
from moorage.errors import Refusal
from moorage.web.sign_in import COOKIE, KNOWN_COOKIE
from tests.servers.world import World
from tests.web.browser import PASSWORD, Browser, text_of


async def test_the_first_link_makes_an_administrator_and_works_once(world: World, stranger: Browser) -> None:
    token = await world.app.accounts.first_link()
    assert token is not None
    path = f"/sign-in/link/{token.reveal()}"
    assert "Welcome aboard" in (await stranger.open(path)).text

    page = await stranger.submit(path, {"login": "Ada@Example.com", "password": PASSWORD, "again": PASSWORD})

    assert page.url.path == "/devices"
    assert "ada@example.com Administrator" in text_of(page)
    assert await world.app.accounts.first_link() is None
    again = await stranger.send(path, {"login": "eve", "password": PASSWORD, "again": PASSWORD})
    assert again.status_code == 404
    assert [user.login for user in world.app.accounts.users()] == ["ada@example.com"]


async def test_the_link_of_an_earlier_start_is_void_once_somebody_came_in(world: World, stranger: Browser) -> None:
    earlier, token = await world.app.accounts.first_link(), await world.app.accounts.first_link()
    assert earlier is not None and token is not None
    fields = {"login": "ada", "password": PASSWORD, "again": PASSWORD}
    assert (await stranger.send(f"/sign-in/link/{token.reveal()}", fields)).status_code == 303
    again = await stranger.send(f"/sign-in/link/{earlier.reveal()}", {**fields, "login": "eve"})
    assert again.status_code == 404
    assert [user.login for user in world.app.accounts.users()] == ["ada"]


async def test_a_link_ends_after_a_quarter_of_an_hour(world: World, stranger: Browser) -> None:
    token = await world.app.accounts.make_link(OWNER, None)
    world.clock.advance(15 * 60)
    page = await stranger.open(f"/sign-in/link/{token.reveal()}")
    assert page.status_code == 404
    assert "moorage user link" in page.text
    # A door with a way on, and nothing of pages that nobody here may see.
    assert 'href="/sign-in"' in page.text
    assert "<nav" not in page.text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"login": "ada", "password": "short", "again": "short"}, "account.password_length"),
        ({"login": "ada", "password": PASSWORD, "again": "another"}, "account.passwords_differ"),
        ({"login": "not a name", "password": PASSWORD, "again": PASSWORD}, "account.login"),
        ({"login": "ada-lovelace", "password": "Ada-Lovelace", "again": "Ada-Lovelace"}, "account.password_is_name"),
        ({}, "account.login"),
    ],
)
async def test_a_form_that_is_refused_says_why_and_keeps_the_link_and_the_name(
    world: World, stranger: Browser, fields: dict[str, str], reason: str
) -> None:
    token = await world.app.accounts.make_link(OWNER, None)
    path = f"/sign-in/link/{token.reveal()}"
    page = await stranger.send(path, fields)
    assert page.status_code == 400
    assert reason in page.text
    assert f'value="{fields.get("login", "")}"' in page.text
    assert PASSWORD not in page.text
    good = await stranger.send(path, {"login": "ada", "password": PASSWORD, "again": PASSWORD})
    assert good.status_code == 303


async def test_a_password_opens_and_what_was_asked_for_comes_next(world: World, browser: Browser) -> None:
    assert (await browser.submit("/sign-out")).url.path == "/sign-in"
    asked = await browser.get("/attempts?only=refused")
    assert asked.headers["location"] == "/sign-in?next=%2Fattempts%3Fonly%3Drefused"
    page = await browser.submit("/sign-in", {"login": " ADA ", "password": PASSWORD, "next": "/attempts?only=refused"})
    assert (page.url.path, page.url.query) == ("/attempts", b"only=refused")


@pytest.mark.parametrize("there", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_signing_in_leads_nowhere_else(world: World, browser: Browser, there: str) -> None:
    await browser.send("/sign-out")
    answer = await browser.send("/sign-in", {"login": "ada", "password": PASSWORD, "next": there})
    assert answer.headers["location"] == "/devices"


async def test_a_wrong_name_and_a_wrong_password_read_the_same(world: World, browser: Browser) -> None:
    await browser.send("/sign-out")
    wrong = await browser.send("/sign-in", {"login": "ada", "password": "something else"})
    unknown = await browser.send("/sign-in", {"login": "eve", "password": "something else"})
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert wrong.text.replace('value="ada"', "") == unknown.text.replace('value="eve"', "")


async def test_guessing_is_slowed_down_by_name_and_the_right_one_waits_too(world: World, browser: Browser) -> None:
    await browser.send("/sign-out")
    for _ in range(10):
        assert (await browser.send("/sign-in", {"login": "ada", "password": "wrong"})).status_code == 401
    refused = await browser.send("/sign-in", {"login": "ada", "password": PASSWORD})
    assert refused.status_code == 429
    assert "account.too_many" in refused.text
    world.clock.advance(31)
    assert (await browser.send("/sign-in", {"login": "ada", "password": PASSWORD})).status_code == 303


async def test_strangers_who_guess_make_strangers_wait_and_not_whoever_came_in_here_before(
    world: World, browser: Browser, stranger: Browser
) -> None:
    await browser.send("/sign-out")
    bob, _link = await world.app.accounts.invite(OWNER, "bob", "operator")
    # From this very address.
    for _ in range(MAX_WRONG):
        await stranger.send("/sign-in", {"login": "ada", "password": "wrong"})
    refused = await stranger.send("/sign-in", {"login": "ada", "password": PASSWORD})
    assert refused.status_code == 429

    # What a browser keeps is for the name that came in, cannot be made up, and opens nothing by itself.
    kept = browser.cookies[KNOWN_COOKIE]
    assert PASSWORD not in kept
    for login, cookie in (("ada", kept[:-1] + "!"), ("ada", "x"), ("ada", ""), ("ada", "." * 500), (bob.login, kept)):
        with pytest.raises(Refusal) as caught:
            await world.app.accounts.sign_in(login, PASSWORD, address="127.0.0.1", agent="", known=cookie)
        assert caught.value.reason == "account.too_many"
    assert (await browser.send("/sign-in", {"login": "ada", "password": PASSWORD})).status_code == 303


async def test_a_crowd_at_the_door_is_turned_away_and_does_not_wait_without_end(world: World) -> None:
    accounts = world.app.accounts

    async def knock(number: int) -> str:
        try:
            await accounts.sign_in(f"eve{number}", "wrong", address=f"203.0.113.{number}", agent="")
        except Refusal as refusal:
            return refusal.reason
        return "let in"

    reasons = Counter(await asyncio.gather(*(knock(number) for number in range(MAX_HASHES + 10))))
    assert reasons == {"account.refused": MAX_HASHES, "account.crowd": 10}


async def test_addresses_of_one_ipv6_network_are_one_guesser(world: World) -> None:
    accounts = world.app.accounts
    reasons = []
    for number in range(MAX_WRONG + 1):
        with pytest.raises(Refusal) as caught:
            await accounts.sign_in(f"eve{number}", "wrong", address=f"2001:db8:1:2:{number:x}::1", agent="")
        reasons.append(caught.value.reason)
    assert reasons == ["account.refused"] * MAX_WRONG + ["account.too_many"]


async def test_the_cookie_is_out_of_reach_and_not_what_is_stored(world: World, stranger: Browser) -> None:
    token = await world.app.accounts.make_link(OWNER, None)
    answer = await stranger.send(
        f"/sign-in/link/{token.reveal()}", {"login": "ada", "password": PASSWORD, "again": PASSWORD}
    )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"httponly", "secure", "path=/", "samesite=lax"} <= {part.strip().lower() for part in cookie.split(";")}
    value = cookie.partition("=")[2].partition(";")[0]
    stored = (world.app.config.data / "registry.db").read_bytes()
    assert value.encode() not in stored
    assert token.reveal().encode() not in stored
    assert PASSWORD.encode() not in stored


@pytest.mark.parametrize("after", [SESSION_IDLE, SESSION_LIFETIME])
async def test_a_session_ends(world: World, browser: Browser, after: timedelta) -> None:
    step = timedelta(hours=11)
    left = after
    while left > step:
        if after == SESSION_LIFETIME:
            assert (await browser.get("/devices")).status_code == 200
        world.clock.advance(step.total_seconds())
        left -= step
    world.clock.advance(left.total_seconds())
    assert (await browser.get("/devices")).status_code == 303


async def test_who_is_disabled_or_chooses_another_password_is_out_at_once(world: World, browser: Browser) -> None:
    accounts = world.app.accounts
    user, _token = await accounts.invite(OWNER, "bob", "administrator")
    link = await accounts.make_link(OWNER, "bob")
    await browser.send("/sign-out")
    await browser.send(f"/sign-in/link/{link.reveal()}", {"password": PASSWORD, "again": PASSWORD})
    assert (await browser.get("/devices")).status_code == 200
    await accounts.change(OWNER, user.user_id, is_disabled=True)
    assert (await browser.get("/devices")).status_code == 303
    assert (await browser.send("/sign-in", {"login": "bob", "password": PASSWORD})).status_code == 401


async def test_a_session_of_a_disabled_user_opens_nothing_however_it_came_to_be_there(
    world: World, browser: Browser
) -> None:
    [ada] = world.app.accounts.users()
    await world.app.store.write(lambda tables: tables.users.put(replace(ada, is_disabled=True)))
    assert (await browser.get("/devices")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://["},
        {},
    ],
)
async def test_what_another_site_sends_changes_nothing(world: World, browser: Browser, headers: dict[str, str]) -> None:
    answer = await browser.send("/users", {"login": "eve", "role": "administrator"}, headers=headers)
    assert answer.status_code == 403
    assert "page.foreign" in answer.text
    assert [user.login for user in world.app.accounts.users()] == ["ada"]


async def test_an_older_browser_says_its_origin(world: World, browser: Browser) -> None:
    answer = await browser.send("/users", {"login": "bob", "role": "operator"}, headers={"origin": browser.origin})
    assert answer.status_code == 200


async def test_the_last_administrator_stays(world: World, browser: Browser) -> None:
    [ada] = world.app.accounts.users()
    for act in ("disable", "delete"):
        answer = await browser.send(f"/users/{ada.user_id}/{act}")
        assert (answer.status_code, "account.last_administrator" in answer.text) == (400, True)
    answer = await browser.send(f"/users/{ada.user_id}/assignment", {"role": "operator"})
    assert answer.status_code == 400
    assert (await browser.get("/users")).status_code == 200


async def test_whoever_is_signed_in_changes_the_password_they_know_and_others_are_out(
    world: World, browser: Browser, stranger: Browser
) -> None:
    await stranger.send("/sign-in", {"login": "ada", "password": PASSWORD})
    newer = "another one that nobody guesses"
    for fields, reason in (
        ({"present": "wrong", "password": newer, "again": newer}, "account.refused"),
        ({"present": PASSWORD, "password": newer, "again": "x"}, "account.passwords_differ"),
        ({"present": PASSWORD, "password": "short", "again": "short"}, "account.password_length"),
    ):
        refused = await browser.send("/profile/password", fields)
        assert (refused.status_code, reason in refused.text) == (400, True)
        assert newer not in refused.text
    assert (await stranger.get("/profile")).status_code == 200
    page = await browser.submit("/profile/password", {"present": PASSWORD, "password": newer, "again": newer})
    assert "You have another password" in text_of(page)
    assert (await stranger.get("/profile")).status_code == 303
    assert (await stranger.send("/sign-in", {"login": "ada", "password": PASSWORD})).status_code == 401
    assert (await stranger.send("/sign-in", {"login": "ada", "password": newer})).status_code == 303
    assert (await browser.submit("/profile/sign-out")).url.path == "/profile"
    assert (await stranger.get("/profile")).status_code == 303

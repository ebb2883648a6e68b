"""Whoever belongs to an organisation meets nothing of a sibling: on no page, by no search, in no REST (PC-22).

Every page and every route there is goes through this, those that nobody has thought of yet too.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from moorage.accounts.model import OWNER, OrganizationId
from moorage.accounts.token_model import TokenId
from moorage.analytics.boards import Dashboard, Tile
from moorage.analytics.explorer import Measure, Question
from moorage.fleet.model import DeviceChange
from moorage.ids import DeviceId
from tests.servers.clients import tls_context
from tests.servers.world import World
from tests.web.browser import PASSWORD, Browser

NORTH, SOUTH, ROOT = OrganizationId("north"), OrganizationId("south"), OrganizationId("")
HIDDEN = ("s-pump", "Southern secret", "r-pump", "Root secret")
# Of these the caller knows the name, and hears that there is no such device.
_ECHO = re.compile(r"['\"]?s-pump['\"]?")
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


@pytest.fixture
async def nora(world: World, stranger: Browser) -> AsyncIterator[Browser]:
    """She may do in North all that a role of an organisation can hold; South and the root have a device each."""
    application = world.app.application
    for organization in (NORTH, SOUTH):
        await application.organizations.create(OWNER, organization, organization.title(), ROOT)
    for name, organization, called in (
        ("n-pump", NORTH, "Northern"),
        ("s-pump", SOUTH, "Southern secret"),
        ("r-pump", ROOT, "Root secret"),
    ):
        await world.create(name)
        change = DeviceChange(display_name=called, organization=organization)
        await application.fleet.update(OWNER, DeviceId(name), change)
    _user, link = await world.app.accounts.invite(OWNER, "nora", "org-administrator", NORTH)
    answer = await stranger.send(f"/sign-in/link/{link.reveal()}", {"password": PASSWORD, "again": PASSWORD})
    assert answer.status_code == 303
    yield stranger


def filled(pattern: str, **known: str) -> str:
    return _PARAMETER.sub(lambda found: known.get(found[1], "none"), pattern)


async def test_she_sees_her_own_device(nora: Browser) -> None:
    listed = await nora.open("/devices")
    assert "n-pump" in listed.text
    assert (await nora.open("/devices/n-pump")).status_code == 200


async def test_what_she_is_told_to_begin_with_opens(nora: Browser) -> None:
    overview = (await nora.open("/dashboards/default")).text
    begin = overview.partition('id="tile-begin"')[2].partition("</article>")[0]
    links = re.findall(r'href="([^"]+)"', begin)
    assert links == ["/device-templates", "/explorer"]
    assert [(await nora.get(link)).status_code for link in links] == [200, 200]


async def test_a_tile_that_somebody_else_made_does_not_tell_her_of_whom_it_is(world: World, nora: Browser) -> None:
    about = Question(devices=("s-pump",), measures=(Measure("", "t"),))
    tiles = (Tile("a", "last_value", question=about), Tile("b", "kpi", question=about))
    boards = world.app.application.dashboards
    await boards.put(OWNER, "theirs", "Theirs", Dashboard(tiles), is_personal=False, organization=NORTH)
    page = await nora.open("/dashboards/theirs")
    assert page.text.count("a device of this tile is gone, or not yours to see".capitalize()) == 2
    assert "s-pump" not in page.text


async def test_no_page_shows_or_changes_a_device_of_a_sibling_or_of_the_root(world: World, nora: Browser) -> None:
    looked_at = 0
    for page in world.app.web.pages:
        if page.gate == "public" or page.pattern == "/sign-out":
            continue
        about_a_device = "{device_id}" in page.pattern
        for device in ("s-pump", "r-pump") if about_a_device else ("",):
            path = filled(page.pattern, device_id=device)
            if about_a_device or page.method == "POST":
                status = await nora.status(page.method, path)
                # To delete what is not there, for all she knows, is done already.
                told = (303, 403, 404) if page.pattern.endswith("/delete") else (403, 404)
                assert not about_a_device or status in told, (page, status)
                continue
            found = await nora.open(path, q="pump") if "stream" not in path else None
            looked_at += 1
            for secret in (
                HIDDEN if found is not None and "text/event-stream" not in found.headers["content-type"] else ()
            ):
                assert found is None or secret not in found.text, (page, secret)
    assert looked_at > 10
    # None of that changed anything.
    [south] = [each for each in await world.app.application.fleet.list(OWNER) if each.record.device_id == "s-pump"]
    assert (south.record.display_name, south.record.organization) == ("Southern secret", SOUTH)


async def test_no_call_shows_or_changes_one_either(world: World, nora: Browser) -> None:
    _token, text = await world.app.application.tokens.create(OWNER, TokenId("ci"), "org-administrator", NORTH)
    info = world.app.info()
    answered = 0
    async with httpx.AsyncClient(
        base_url=f"https://localhost:{info.web_port}",
        verify=tls_context(info.ca_bundle),
        headers={"authorization": text.reveal()},
        params={"api-version": "2022-10-31-preview"},
        timeout=30,
    ) as client:
        own = await client.get("/api/devices/n-pump")
        assert own.status_code == 200, own.text
        for route in world.app.application.central.routes:
            if route.gate == "public":
                continue
            about_a_device = route.pattern.startswith("/api/devices/{")
            path = filled(route.pattern, id="s-pump" if about_a_device else "none")
            body = {"displayName": "stolen"} if route.method in ("PUT", "PATCH") else None
            answer = await client.request(route.method, path, json=body)
            answered += answer.status_code != 429
            if about_a_device:
                assert answer.status_code in (400, 403, 404, 409, 422, 429), (route.method, path, answer.text)
            told = _ECHO.sub("", answer.text) if about_a_device else answer.text
            for secret in HIDDEN:
                assert secret not in told, (route.method, path, secret)
            # As fast as a token may ask.
            world.clock.advance(0.2)
    assert answered > 40
    [south] = [each for each in await world.app.application.fleet.list(OWNER) if each.record.device_id == "s-pump"]
    assert (south.record.display_name, south.record.organization) == ("Southern secret", SOUTH)


async def test_an_organization_that_goes_takes_its_people_and_devices_where_they_are_sent(
    world: World, nora: Browser
) -> None:
    organizations = world.app.application.organizations
    await organizations.delete(OWNER, NORTH, move_to=SOUTH)
    listed = await nora.open("/devices")
    assert ("n-pump" in listed.text, "s-pump" in listed.text, "r-pump" in listed.text) == (True, True, False)
    assert await organizations.move_devices(OWNER, SOUTH, ROOT) == 2
    left = (await nora.open("/devices")).text
    assert not any(name in left for name in ("n-pump", "s-pump", "r-pump"))

"""What holds for every page: who may see it, what browsers are told, and that nothing comes from outside."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
from collections.abc import Awaitable, Callable
from importlib.resources import files

import pytest

from moorage.accounts.model import OWNER, PERMISSIONS, ROLES, Role
from tests import certs
from tests.servers.world import World
from tests.web.browser import Browser, text_of

STATIC = files("moorage.web") / "static"
FILLED = {
    "device_id": "pump-01",
    "tracking_id": "NONE",
    "user_id": "nobody",
    "token": "none",
    "version": "1",
    "slot": "primary",
}


def filled(pattern: str) -> str:
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: FILLED.get(found[1], "app.css"), pattern)


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_opens_what_its_permissions_cover_and_nothing_else(
    world: World, as_role: Callable[[Role], Awaitable[Browser]], role: Role
) -> None:
    await world.create("pump-01")
    browser = await as_role(role)
    for page in world.app.web.pages:
        if page.gate == "public" or page.pattern == "/sign-out":
            continue
        status = await browser.status(page.method, filled(page.pattern))
        is_permitted = page.gate == "signed in" or page.gate in PERMISSIONS[role]
        assert (status != 403) == is_permitted, (page, status)
        assert status < 500, page


async def test_a_stranger_is_led_to_the_door_from_every_page(world: World, stranger: Browser) -> None:
    for page in world.app.web.pages:
        if page.gate == "public":
            continue
        answer = await (stranger.get if page.method == "GET" else stranger.send)(filled(page.pattern))
        assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), page
        assert answer.content == b""


async def test_a_part_of_a_page_leaves_what_is_typed_in_it_where_it_is(world: World, stranger: Browser) -> None:
    """The page itself says that the sign-in has ended, or goes to the door where nothing can be typed (page.js)."""
    answer = await stranger.part("/devices", "devices")
    assert (answer.status_code, answer.content, "hx-redirect" in answer.headers) == (401, b"", False)


async def test_every_answer_holds_browsers_to_this_host(world: World, browser: Browser) -> None:
    for path in ("/devices", "/sign-in", "/nowhere", "/static/1/app.css", "/static/1/../../secrets"):
        answer = await browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_pages_have_no_script_and_no_style_of_their_own(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    for path in ("/devices", "/devices/pump-01", "/attempts", "/users", "/sign-in"):
        page = await browser.open(path)
        assert page.status_code == 200
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page.text), path
        assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", page.text), path


async def test_what_is_kept_by_browsers_for_good_changes_its_address(world: World, stranger: Browser) -> None:
    page = await stranger.open("/sign-in")
    [address] = re.findall(r'href="(/static/[^"]+/app.css)"', page.text)
    answer = await stranger.get(address)
    assert hashlib.sha256(answer.content).hexdigest()[:12] in address
    assert "immutable" in answer.headers["cache-control"]
    assert page.headers["cache-control"] == "no-store"


def test_what_others_made_is_what_the_list_says() -> None:
    listed = json.loads((STATIC / "vendor" / "vendor.json").read_text())
    there = {entry.name for entry in (STATIC / "vendor").iterdir()} - {"vendor.json"}
    assert there == set(listed)
    for name, entry in listed.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == entry["sha256"], name
        assert {"name", "version", "licence", "from"} < set(entry)


async def test_what_devices_call_themselves_is_text(world: World, browser: Browser) -> None:
    odd = "a'b<i>"[:3] + "%3Cscript%3E"
    await world.create(odd)
    page = await browser.open("/devices")
    assert odd in text_of(page)
    found = await browser.open(re.findall(r'href="(/devices/a[^"]+)"', page.text)[0].replace("&#39;", "'"))
    assert found.status_code == 200
    assert f"{odd} not connected" in text_of(found)


async def test_a_search_finds_parts_of_ids_whatever_their_case_page_by_page(world: World, browser: Browser) -> None:
    for number in range(120):
        await world.create(f"Pump-{number:03}")
    await world.create("valve-1")
    page = await browser.part("/devices", "devices", q="pUMP")
    seen: list[str] = []
    while True:
        seen += re.findall(r'href="/devices/(Pump-\d+)"', page.text)
        following = re.findall(r'href="(/devices\?[^"]+)" rel="next"', page.text)
        if not following:
            break
        page = await browser.open(following[0].replace("&amp;", "&"))
    assert seen == [f"Pump-{number:03}" for number in range(120)]
    assert "<html" not in (await browser.part("/devices", "devices", q="valve")).text


async def test_a_refusal_is_drawn_with_the_check_that_failed_and_the_fix(world: World, browser: Browser) -> None:
    issued = await world.create_pinned("pump-01")
    other = certs.self_signed("pump-01", label="another key")
    client = await world.dial(other)
    await client.say_hello("pump-01")
    listed = await browser.open("/attempts", device="pump-01", only="refused")
    [path] = set(re.findall(r'href="(/attempts/[A-F0-9]+)"', listed.text))
    page = await browser.open(path)
    words = text_of(page)
    assert "refused" in words
    assert 'class="bad"' in page.text
    assert "moorage explain" in words
    assert other.certificate.sha256[:4].upper() in words.upper()
    assert issued.certificate.sha256 != other.certificate.sha256
    shown = await browser.open("/devices/pump-01/connection")
    assert "Chain of its last attempt" in shown.text
    # The list of devices shows it until the device was in.
    assert path in (await browser.open("/devices")).text
    world.clock.advance(1)
    await world.connect("pump-01", issued)
    assert path not in (await browser.open("/devices")).text


async def test_a_browser_that_does_not_trust_the_hub_yet_is_no_attempt_of_a_device(world: World) -> None:
    info = world.app.info()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(info.bind, info.web_port, ssl=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(info.bind, info.mqtt_port, ssl=ssl.create_default_context())

    while not (found := await world.attempts()):  # noqa: ASYNC110  # what is waited for tells nobody
        await asyncio.sleep(0.01)
    # Python hangs up where browsers say why.
    assert [attempt.reason for attempt in found] == ["tls.abandoned"]


async def test_whoever_showed_no_certificate_is_explained_too(world: World, browser: Browser) -> None:
    await world.create_pinned("pump-01")
    client = await world.dial()
    await client.say_hello("pump-01")
    [attempt] = await world.attempts("pump-01")
    page = await browser.open(f"/attempts/{attempt.tracking_id}")
    assert page.status_code == 200
    assert "No certificate." in text_of(page)


async def test_users_come_page_by_page(world: World, browser: Browser) -> None:
    for number in range(60):
        await world.app.accounts.invite(OWNER, f"user-{number:02}@example.com", "operator")
    first = await browser.open("/users")
    [following] = re.findall(r'href="(/users\?after=[^"]+)" rel="next"', first.text)
    second = await browser.open(following)
    seen = [re.findall(r'<th scope="row">([^<\s]+)', page.text) for page in (first, second)]
    assert [len(each) for each in seen] == [50, 11]
    assert [*seen[0], *seen[1]] == ["ada", *[f"user-{number:02}@example.com" for number in range(60)]]
    assert 'rel="next"' not in second.text

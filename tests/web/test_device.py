"""The page of a device: what it sends appears while one looks, and what is done to it there happens."""

from __future__ import annotations

import asyncio
import re
from html import unescape

import pytest

from moorage.ids import DEFAULT_HUB
from moorage.protocols.mqtt.packets import PubAck, Publish
from tests import certs
from tests.servers.clients import Client
from tests.servers.world import World, eventually, named
from tests.web.browser import Browser, text_of

EVENTS = "devices/pump-01/messages/events/"
JSON = EVENTS + "$.ct=application%2Fjson&$.ce=utf-8"


async def connected(world: World) -> Client:
    return await world.connect("pump-01", await world.create_pinned("pump-01"))


async def sent(client: Client, topic: str, body: bytes) -> None:
    client.publish(topic, body)
    await client.expect(PubAck)


async def test_raw_data_hides_nothing(world: World, browser: Browser) -> None:
    device = await connected(world)
    await sent(device, JSON + "&colour=red", b'{"temperature": 21.5}')
    await sent(device, EVENTS, b'{"humidity": 40}')
    await sent(device, JSON, b"{not json")
    await sent(device, EVENTS, b"\x00\x01\xfe<b>")
    page = await browser.open("/devices/pump-01/data")
    words = text_of(page)
    assert '"temperature": 21.5' in words and '"colour": "red"' in words
    assert "Read as JSON, though no content type was given" in words
    assert "Not JSON: the body" in words
    assert "00 01 fe 3c 62 3e" in words
    assert "<b>" not in page.text
    assert words.index("00 01 fe") < words.index('"temperature"')


async def test_long_messages_are_shown_in_part_are_there_whole_and_fill_a_page_sooner(
    world: World, browser: Browser
) -> None:
    device = await connected(world)
    body = b'{"v": [[], "' + b"x" * 200_000 + b'"]}'
    for _ in range(6):
        await sent(device, JSON, body)
    page = await browser.open("/devices/pump-01/data")
    assert page.text.count('class="event') == 5
    assert f"Too long for a page: the first 16384 of {len(body)} bytes" in text_of(page)
    older = await browser.open(unescape(re.findall(r'href="([^"]+)" rel="next"', page.text)[0]))
    assert older.text.count('class="event') == 1 and 'rel="next"' not in older.text
    [whole] = re.findall(r'href="(/devices/pump-01/data/\d+/body)"', older.text)
    answer = await browser.get(whole)
    assert answer.content == body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "attachment" in answer.headers["content-disposition"]
    await world.create("valve-1")
    for nowhere in (
        whole.replace("pump-01", "valve-1"),
        whole.replace("/body", "1/body"),
        "/devices/pump-01/data/1/body",
        "/devices/pump-01/data/x/body",
    ):
        assert (await browser.get(nowhere)).status_code == 404, nowhere


async def next_event(lines: list[str], after: int) -> str:
    """The words of the first event behind that many lines."""

    def arrived() -> bool:
        return any(line.startswith("data:") for line in lines[after:]) and lines[-1] == ""

    await eventually(arrived)
    return unescape(re.sub(r"<[^>]*>", " ", "".join(line.removeprefix("data: ") for line in lines[after:])))


async def test_a_command_between_two_pages_of_messages_stands_on_the_second(world: World, browser: Browser) -> None:
    device = await connected(world)
    body = b'{"v": [[], "' + b"x" * 200_000 + b'"]}'
    await sent(device, JSON, b'{"first": 1}')
    await sent(device, JSON, body)
    world.clock.advance(1)
    await browser.send("/devices/pump-01/command", {"method": "between"})
    world.clock.advance(1)
    for _ in range(5):
        await sent(device, JSON, body)
    await browser.send("/devices/pump-01/command", {"method": "afterwards"})
    newest = await browser.open("/devices/pump-01/data")
    older = await browser.open(unescape(re.findall(r'href="([^"]+)" rel="next"', newest.text)[0]))
    assert "&#34;first&#34;" in older.text and "&#34;first&#34;" not in newest.text
    told = [[text_of(page).count(f"Command {name}") for page in (newest, older)] for name in ("between", "afterwards")]
    assert told == [[0, 1], [1, 0]]


async def test_an_open_page_is_told_of_what_comes_and_of_no_other_device(world: World, browser: Browser) -> None:
    device = await connected(world)
    other = await world.connect("valve-1", await world.create_pinned("valve-1", certs.self_signed("valve-1")))
    page = await browser.open("/devices/pump-01/data")
    [path] = re.findall(r'sse-connect="([^"]+)"', page.text)
    lines: list[str] = []
    reading = asyncio.create_task(browser.read_lines(path, lines))
    await eventually(lambda: lines[:1] == [": following"])
    await sent(other, "devices/valve-1/messages/events/", b'{"secret": 1}')
    await sent(device, JSON, b'{"temperature": 22.5}')
    words = await next_event(lines, 1)
    assert "22.5" in words and "secret" not in words
    assert [line for line in lines if line.startswith("id: ")]

    # Whoever signs out hears no more, also from a page that stays open.
    await browser.send("/sign-out")
    await sent(device, JSON, b'{"temperature": 99.5}')
    async with asyncio.timeout(30):
        await reading
    assert "99.5" not in "".join(lines)


async def test_a_page_that_connects_again_misses_nothing_and_hears_nothing_twice(
    world: World, browser: Browser
) -> None:
    device = await connected(world)
    page = await browser.open("/devices/pump-01/data")
    [path] = re.findall(r'sse-connect="([^"]+)"', page.text)
    await sent(device, JSON, b'{"n": 1}')
    first: list[str] = []
    reading = asyncio.create_task(browser.read_lines(path, first))
    assert '"n": 1' in await next_event(first, 1)
    reading.cancel()
    [last] = [line.removeprefix("id: ") for line in first if line.startswith("id: ")]
    await sent(device, JSON, b'{"n": 2}')
    second: list[str] = []
    again = asyncio.create_task(browser.read_lines(path, second, {"last-event-id": last}))
    words = await next_event(second, 1)
    assert '"n": 2' in words and '"n": 1' not in words
    again.cancel()


async def test_blocked_is_cut_and_let_in_again(world: World, browser: Browser) -> None:
    device = await connected(world)
    page = await browser.submit("/devices/pump-01/block")
    assert "Status Blocked" in text_of(page)
    assert await device.rest() == []
    identity = world.app.store.read().identities.find(DEFAULT_HUB, named("pump-01"))
    assert identity is not None and identity.status_reason == "blocked by user:ada"
    page = await browser.submit("/devices/pump-01/unblock")
    assert "Unblock" not in text_of(page)


async def test_desired_properties_are_merged_and_reach_the_device(world: World, browser: Browser) -> None:
    device = await connected(world)
    await device.subscribe("$iothub/twin/PATCH/properties/desired/#", qos=0)
    page = await browser.open("/devices/pump-01/properties")
    etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    page = await browser.submit("/devices/pump-01/properties", {"etag": etag, "patch": '{"target": 20}'})
    assert '"target": 20' in text_of(page)
    told = await device.expect(Publish)
    assert b'"target":20' in told.body
    stale = await browser.submit("/devices/pump-01/properties", {"etag": etag, "patch": '{"target": 99}'})
    assert (stale.status_code, "etag" in stale.text) == (400, True)
    assert "{&#34;target&#34;: 99}" in stale.text
    assert world.twins.get(DEFAULT_HUB, named("pump-01")).desired.value == {"target": 20}


@pytest.mark.parametrize("patch", ["", "[]", "{", '{"a.b": 1}', "{" * 5000])
async def test_a_patch_that_is_none_stays_in_the_form(world: World, browser: Browser, patch: str) -> None:
    await world.create("pump-01")
    page = await browser.submit("/devices/pump-01/properties", {"patch": patch})
    assert page.status_code == 400
    assert "Reported" in text_of(page)
    assert world.twins.get(DEFAULT_HUB, named("pump-01")).desired.value == {}


async def test_a_command_is_answered_on_the_page(world: World, browser: Browser) -> None:
    device = await connected(world)
    await device.subscribe("$iothub/methods/POST/#", qos=0)
    asking = asyncio.create_task(
        browser.submit("/devices/pump-01/command", {"method": "reboot", "payload": '{"delay": 3}'})
    )
    call = await device.expect(Publish)
    request_id = call.topic.decode().partition("$rid=")[2]
    assert call.body == b'{"delay":3}'
    device.publish(f"$iothub/methods/res/200/?$rid={request_id}", b'{"ok": true}')
    words = text_of(await asking)
    assert "reboot : Answered 200" in words and '{ "ok": true }' in words


async def test_a_command_nobody_hears_and_one_that_is_none_are_told(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    away = await browser.submit("/devices/pump-01/command", {"method": "reboot"})
    assert "device.not_online" in away.text
    odd = await browser.submit("/devices/pump-01/command", {"method": "no name/", "payload": "{"})
    assert odd.status_code == 400
    assert 'value="no name/"' in odd.text


async def test_a_device_that_is_deleted_is_gone(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    assert (await browser.submit("/devices/pump-01/delete")).url.path == "/devices"
    assert (await browser.get("/devices/pump-01")).status_code == 404
    assert (await browser.get("/devices/pump-01/data/live")).status_code == 404

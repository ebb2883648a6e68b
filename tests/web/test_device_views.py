"""The page of a device with a template: tiles, property states, forms, commands, raw data (PC-12, 14, 15)."""

from __future__ import annotations

import asyncio
import json
import os
import re
from html import unescape
from typing import Any

import httpx
import pytest

from moorage.accounts.model import ALL_PERMISSIONS, OWNER, Actor, OrganizationId
from moorage.fleet.model import DeviceChange
from moorage.fleet.template_model import make_content
from moorage.fleet.views import Subject, Tile, View
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB, DeviceId
from moorage.protocols.mqtt.packets import PubAck, Publish
from tests.servers.clients import Client
from tests.servers.world import World, eventually, named
from tests.web.browser import PASSWORD, Browser, text_of

ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))
PUMP = DeviceId("pump-01")
JSON = "devices/pump-01/messages/events/$.ct=application%2Fjson&$.ce=utf-8"
THERMOSTAT = {
    "@id": "dtmi:com:example:Thermostat;1",
    "@type": "Interface",
    "contents": [
        {"@type": ["Telemetry", "Temperature"], "name": "temperature", "unit": "degreeCelsius", "schema": "double"},
        {"@type": "Property", "name": "targetTemperature", "schema": "double", "writable": True},
        {
            "@type": "Command",
            "name": "getMaxMinReport",
            "request": {"name": "since", "displayName": "Since", "schema": "dateTime"},
        },
    ],
}
CONTROLLER = {
    "@context": ["dtmi:dtdl:context;2", "dtmi:iotcentral:context;2"],
    "@id": "dtmi:com:example:TemperatureController;2",
    "@type": "Interface",
    "contents": [
        {"@type": "Telemetry", "name": "workingSet", "schema": "double"},
        {"@type": "Property", "name": "serialNumber", "schema": "string"},
        {"@type": ["Property", "Cloud"], "name": "customer", "displayName": "Customer", "schema": "string"},
        {"@type": "Command", "name": "wake", "displayName": "Wake up", "durable": True},
        {"@type": "Component", "name": "thermostat1", "schema": THERMOSTAT},
    ],
}
TARGET = "thermostat1/targetTemperature"


async def connected(world: World) -> Client:
    device = await world.connect("pump-01", await world.create_pinned("pump-01"))
    await device.subscribe("$iothub/methods/POST/#", "$iothub/twin/PATCH/properties/desired/#", qos=0)
    return device


async def assign(world: World, browser: Browser, *views: View) -> httpx.Response:
    """Publish the template, and migrate the device to it from its page."""
    templates = world.app.application.templates
    draft = await templates.create_draft(ADA, make_content("Temperature Controller", "", CONTROLLER, views))
    published = await templates.publish(ADA, draft.template_id)
    page = await browser.open("/devices/pump-01/migrate")
    assert "Temperature Controller" in text_of(page)
    return await browser.submit("/devices/pump-01/migrate", {"template": published.template_id})


async def sent(client: Client, topic: str, body: bytes) -> None:
    client.publish(topic, body)
    await client.expect(PubAck)


def value_of(page: httpx.Response, key: str) -> str:
    [found] = re.findall(rf'data-value="{re.escape(key)}">([^<]*)<', page.text)
    return unescape(found)


def state_of(page: httpx.Response, key: str) -> str:
    """The label of the state, and what stands beside it."""
    [found] = re.findall(
        rf'data-state="{re.escape(key)}".*?<b>(.*?)</b>.*?data-detail="[^"]*">([^<]*)<', page.text, re.S
    )
    return unescape(": ".join(filter(None, found)))


def field(page: httpx.Response, name: str) -> str:
    [found] = re.findall(rf'name="{re.escape(name)}" value="([^"]*)"', page.text)
    return unescape(found)


# -- PC-12 -------------------------------------------------------------------------------------------------------------


async def test_an_unassigned_device_shows_what_it_sends_and_typed_views_fill_once_it_is_migrated(
    world: World, browser: Browser
) -> None:
    device = await connected(world)
    odd = "an odd 'name\"<b>"
    await sent(device, JSON, json.dumps({"workingSet": 1234.5, "voltage": 12, odd: 1}).encode())
    await sent(device, JSON + "&$.sub=thermostat1", b'{"temperature": 21.5}')
    raw = await browser.open("/devices/pump-01/data")
    assert '"workingSet": 1234.5' in text_of(raw)
    # Series follow the log a moment behind.
    pages: list[httpx.Response] = []

    async def shown() -> bool:
        pages.append(await browser.open("/devices/pump-01"))
        return 'data-value="/voltage"' in pages[-1].text and 'data-value="thermostat1/temperature"' in pages[-1].text

    async with asyncio.timeout(30):
        while not await shown():  # noqa: ASYNC110  # pages tell nobody
            await asyncio.sleep(0.05)
    assert "This device has no template" in text_of(pages[-1])
    keys = [json.loads(unescape(each)) for each in re.findall(r"data-keys='([^']*)'", pages[-1].text)]
    assert [f"/{odd}"] in keys and ["/voltage"] in keys
    page = await assign(world, browser)
    assert (value_of(page, "/workingSet"), value_of(page, "thermostat1/temperature")) == ("1,234.5", "21.5")
    assert "°C" in text_of(page)
    assert "voltage" not in page.text
    about = await browser.open("/devices/pump-01/views/about")
    assert "serialNumber" in text_of(about) and "Customer" in text_of(about)
    raw = await browser.open("/devices/pump-01/data")
    words = text_of(raw)
    assert "Unmodeled data" in words and '"voltage": 12' in words
    lines = (await browser.get("/devices/pump-01/series?key=/workingSet&key=thermostat1/temperature")).json()["lines"]
    assert (lines["/workingSet"][1], lines["thermostat1/temperature"][1]) == ([1234.5], [21.5])


# -- raw data ----------------------------------------------------------------------------------------------------------


async def test_raw_data_has_columns_says_what_does_not_fit_and_holds_changes_and_commands(
    world: World, browser: Browser
) -> None:
    device = await connected(world)
    await assign(world, browser)
    await sent(device, JSON, b'{"workingSet": "much"}')
    await sent(device, JSON + "&$.sub=thermostat1", b'{"temperature": 21.5, "odd": {"deep": 1}}')
    await browser.submit("/devices/pump-01/aliases", {"alias": "depth", "path": '$["odd"]["deep"]'})
    await world.app.application.properties.set(ADA, PUMP, {"thermostat1": {"targetTemperature": 22.5}})
    await browser.send("/devices/pump-01/commands", {"name": "wake"})

    async def words_of(**query: str) -> str:
        return text_of(await browser.open("/devices/pump-01/data", **query))

    async with asyncio.timeout(30):
        while "Property change" not in (words := await words_of()):  # noqa: ASYNC110  # the notifier tells nobody
            await asyncio.sleep(0.05)
    assert 'workingSet : it is the text "much", and double wants a number' in words
    assert "Property change desired" in words and "22.5" in words
    assert "Command wake" in words
    assert '"_mappeddata": { "depth": 1 }' in words and '"_unmodeleddata"' in words
    assert "path=%24%5B%22odd%22%5D%5B%22deep%22%5D" in (await browser.open("/devices/pump-01/data")).text
    headings = re.findall(r'<th scope="col">(.*?)</th>', (await browser.open("/devices/pump-01/data")).text)
    assert [re.sub(r"<.*?>", "", each).strip() for each in headings][:3] == ["Time", "Event type", "workingSet"]
    chosen = await browser.open("/devices/pump-01/data", columns="chosen", column="thermostat1/temperature")
    headings = re.findall(r'<th scope="col">(\w+)', chosen.text)
    assert headings == ["Time", "Event", "temperature", "Unmodeled"]


async def test_raw_data_of_a_time_is_what_came_from_its_beginning_to_its_end(world: World, browser: Browser) -> None:
    device = await connected(world)
    times = []
    for number in range(4):
        times.append(f"{world.clock.now():%Y-%m-%dT%H:%M:%S}")
        await sent(device, JSON, b'{"n": %d}' % number)
        world.clock.advance(60)

    async def numbers(**query: str) -> tuple[list[str], httpx.Response]:
        page = await browser.open("/devices/pump-01/data", **query)
        return re.findall(r"<code>\{&#34;n&#34;: (\d+)\}</code>", page.text), page

    some, page = await numbers(since=times[1], until=times[3])
    assert some == ["2", "1"]
    assert "sse-connect" not in page.text and f"{times[1]} to {times[3]}".replace("T", " ") in text_of(page)
    some, page = await numbers(since=times[2][:-3] if times[2].endswith(":00") else times[2])
    assert some == ["3", "2"] and "sse-connect" in page.text
    assert (await numbers(since="2001-01-01T00:00", until="2001-01-02T00:00"))[0] == []
    assert (await numbers(since="0001-01-01T00:00:00", until="9999-12-31T23:59:59"))[0] == ["3", "2", "1", "0"]
    for wrong, reason in (
        ({"since": "soon"}, "time.malformed"),
        ({"since": times[1], "until": times[0]}, "query.times"),
    ):
        some, page = await numbers(**wrong)
        assert reason in page.text and f'value="{wrong["since"]}"' in page.text


async def test_older_messages_are_a_page_further(world: World, browser: Browser) -> None:
    device = await connected(world)
    for number in range(55):
        device.publish(JSON, b'{"n": %d}' % number)
    await device.acks(55)
    page = await browser.open("/devices/pump-01/data")
    numbers = [int(each) for each in re.findall(r"<code>\{&#34;n&#34;: (\d+)\}</code>", page.text)]
    assert numbers == list(range(54, 4, -1))
    [older] = re.findall(r'href="([^"]*before=[^"]*)" rel="next"', page.text)
    page = await browser.open(unescape(older))
    numbers = [int(each) for each in re.findall(r"<code>\{&#34;n&#34;: (\d+)\}</code>", page.text)]
    assert numbers == [4, 3, 2, 1, 0]
    assert "To the newest" in text_of(page) and "sse-connect" not in page.text


# -- PC-14, PC-15 ------------------------------------------------------------------------------------------------------


async def test_a_writable_property_is_pending_until_the_device_answers(world: World, browser: Browser) -> None:
    device = await connected(world)
    await assign(world, browser)
    form = await browser.open("/devices/pump-01/views/writable")
    typed = {"version": field(form, "version"), "was": field(form, "was"), TARGET: "22.5", "/customer": "A"}
    saved = await browser.submit("/devices/pump-01/views/writable", typed)
    assert "Saved" in text_of(saved)
    assert field(saved, TARGET) == "22.5"
    assert state_of(saved, TARGET) == "Pending: asked for 22.5; the device has not answered"
    told = await device.expect(Publish)
    assert json.loads(told.body) == {"thermostat1": {"__t": "c", "targetTemperature": 22.5}, "$version": 2}
    properties = world.app.application.properties
    assert properties.read(ADA, PUMP).cloud == {"customer": "A"}

    answer: dict[str, Any] = {"value": 22.5, "ac": 200, "av": 2}
    for code, state in ((200, "Accepted"), (404, "Error: too hot (404), asked for 22.5")):
        answer |= {"ac": code, "ad": "too hot" if code == 404 else ""}
        reported = {"thermostat1": {"__t": "c", "targetTemperature": answer}}
        await world.twins.report(DEFAULT_HUB, named("pump-01"), reported)
        assert state_of(await browser.open("/devices/pump-01/views/about"), TARGET) == state


async def test_what_cannot_be_saved_is_told_beside_its_field_and_what_was_typed_stays(
    world: World, browser: Browser
) -> None:
    await connected(world)
    await assign(world, browser)
    form = await browser.open("/devices/pump-01/views/writable")
    version = field(form, "version")
    typed = {"version": version, TARGET: "warm", "/customer": "Plant 7"}
    wrong = await browser.submit("/devices/pump-01/views/writable", typed)
    assert (wrong.status_code, field(wrong, TARGET), field(wrong, "/customer")) == (400, "warm", "Plant 7")
    assert "double wants a number" in text_of(wrong)
    assert 'aria-invalid="true"' in wrong.text
    # Somebody else is faster: nothing typed is lost, and sent once more it is set.
    await world.app.application.properties.set(ADA, PUMP, {"thermostat1": {"targetTemperature": 5}})
    stale = await browser.submit("/devices/pump-01/views/writable", {"version": version, TARGET: "23"})
    assert (stale.status_code, field(stale, TARGET), json.loads(field(stale, "was"))) == (412, "23", {TARGET: "5"})
    again = {"version": field(stale, "version"), TARGET: "23", "was": field(stale, "was")}
    assert (await browser.submit("/devices/pump-01/views/writable", again)).status_code == 200
    twin = world.twins.get(DEFAULT_HUB, named("pump-01"))
    assert twin.desired.value["thermostat1"]["targetTemperature"] == 23


async def test_a_component_command_is_answered_in_its_card_and_kept(world: World, browser: Browser) -> None:
    device = await connected(world)
    await assign(world, browser)
    page = await browser.open("/devices/pump-01/views/commands")
    assert "getMaxMinReport" in page.text and 'name="request"' in page.text
    fields = {"component": "thermostat1", "name": "getMaxMinReport", "run_id": "a" * 32}
    wrong = await browser.submit("/devices/pump-01/commands", {**fields, "request": "yesterday"})
    assert (wrong.status_code, field(wrong, "request")) == (400, "yesterday")
    fields["request"] = "2026-03-01T00:00:00Z"
    headers = {"sec-fetch-site": "same-origin", "hx-request": "true"}
    asking = asyncio.create_task(browser.send("/devices/pump-01/commands", fields, headers=headers))
    call = await device.expect(Publish)
    topic = call.topic.decode()
    assert topic.startswith("$iothub/methods/POST/thermostat1*getMaxMinReport/")
    assert call.body == b'"2026-03-01T00:00:00Z"'
    device.publish(f"$iothub/methods/res/200/?$rid={topic.partition('$rid=')[2]}", b'{"maxTemp": 25}')
    await device.expect(PubAck)
    card = await asking
    assert "Answered 200" in text_of(card) and '"maxTemp": 25' in text_of(card)
    assert "<html" not in card.text
    # Sent twice, it runs once.
    again = await browser.submit("/devices/pump-01/commands", fields)
    assert "Answered 200" in text_of(again)
    assert await device.is_silent()
    [run] = await world.app.application.commands.history(ADA, PUMP)
    assert (run.status, run.response, run.by) == (200, {"maxTemp": 25}, "user:ada")


async def test_an_offline_command_arrives_as_a_message_that_names_its_method(world: World, browser: Browser) -> None:
    device = await connected(world)
    await assign(world, browser)
    done = await browser.submit("/devices/pump-01/commands", {"name": "wake"})
    assert "Queued for the device" in text_of(done)
    await device.subscribe("devices/pump-01/messages/devicebound/#")
    message = await device.expect(Publish)
    assert "method-name=wake" in message.topic.decode()
    assert message.body == b"@"
    device.acknowledge(message)


async def test_views_that_people_made_stand_among_the_tabs_and_their_forms_save(world: World, browser: Browser) -> None:
    await connected(world)
    target, text = Subject("thermostat1", "targetTemperature"), Tile("text", "Mind", (), "Open the valve first.")
    views = (
        View("form", "Data", "custom", (text, Tile("property", "Set point", (target,)))),
        View("set-point", "Set point", "form", (Tile("property", "Set point", (target,)),)),
    )
    page = await assign(world, browser, *views)
    assert "Overview About Commands Form Data Set point Raw data" in text_of(page)
    custom = await browser.open("/devices/pump-01/views/form")
    assert "Open the valve first." in text_of(custom) and "Set point" in text_of(custom)
    assert custom.text.count('aria-current="page"') == 2  # the pane's, and one tab
    form = await browser.open("/devices/pump-01/views/set-point")
    assert "Customer" not in text_of(form)
    saved = await browser.submit(
        "/devices/pump-01/views/set-point", {"version": field(form, "version"), "was": field(form, "was"), TARGET: "19"}
    )
    assert (saved.url.path, field(saved, TARGET)) == ("/devices/pump-01/views/set-point", "19")
    # Nothing that the form does not have is set by it.
    await browser.submit("/devices/pump-01/views/set-point", {"version": "99", "/customer": "Mallory"})
    assert world.app.application.properties.read(ADA, PUMP).cloud == {}


# -- an open page ------------------------------------------------------------------------------------------------------


async def test_an_open_page_is_told_of_values_and_states(world: World, browser: Browser) -> None:
    device = await connected(world)
    await assign(world, browser)
    lines: list[str] = []
    reading = asyncio.create_task(browser.read_lines("/devices/pump-01/live", lines))
    await eventually(lambda: any(line.startswith("event: states") for line in lines))
    await sent(device, JSON, b'{"workingSet": 42}')

    def told(name: str) -> list[dict[str, Any]]:
        found = [json.loads(lines[at + 1][6:]) for at, line in enumerate(lines) if line == f"event: {name}"]
        return [each for values in found for each in values]

    await eventually(lambda: any(each["key"] == "/workingSet" and each["text"] == "42" for each in told("values")))
    await world.app.application.properties.set(ADA, PUMP, {"thermostat1": {"targetTemperature": 20}})
    await eventually(lambda: any(each["key"] == TARGET and each["label"] == "Pending" for each in told("states")))
    await browser.send("/sign-out")
    async with asyncio.timeout(30):
        await reading


# -- more --------------------------------------------------------------------------------------------------------------


async def test_an_open_page_is_told_of_what_it_has_a_place_for(world: World, browser: Browser) -> None:
    """A page without a template is loaded anew for what it does not show: once more each second, for ever."""
    device = await connected(world)
    for part in range(3):
        names = {f"n{number}": number for number in range(part * 20, part * 20 + 20)}
        device.publish(JSON, json.dumps(names).encode())
        await device.expect(PubAck)
    series = world.app.application.series
    async with asyncio.timeout(30):
        while len(await series.last_values(PUMP)) < 60:  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.01)
    page = await browser.open("/devices/pump-01")
    shown = set(re.findall(r'data-value="([^"]+)"', page.text))
    lines: list[str] = []
    reading = asyncio.create_task(browser.read_lines("/devices/pump-01/live", lines))
    await eventually(lambda: any(line.startswith("data: [{") for line in lines))
    reading.cancel()
    [told, *_] = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: [{")]
    assert {each["key"] for each in told} == shown
    assert len(shown) == 40


async def test_aliases_are_made_judged_and_deleted(world: World, browser: Browser) -> None:
    await connected(world)
    wrong = await browser.submit("/devices/pump-01/aliases", {"alias": "t", "path": "Device.Temp"})
    assert (wrong.status_code, field(wrong, "alias"), "begins with $" in text_of(wrong)) == (400, "t", True)
    page = await browser.submit("/devices/pump-01/aliases", {"alias": "t", "path": "$.Device.Temp"})
    assert '$["Device"]["Temp"]' in text_of(page)
    page = await browser.submit("/devices/pump-01/aliases/delete", {"alias": "t"})
    assert "None yet" in text_of(page)


async def test_files_are_listed_looked_at_and_deleted(world: World, browser: Browser) -> None:
    await connected(world)

    async def pieces(data: bytes) -> Any:
        yield data

    files = world.app.uploads._files  # what a device would have put there in three steps
    await files.put("pump-01/logs/a b.txt", pieces(b"<b>hello"))
    await files.put("pump-02/secret.txt", pieces(b"not yours"))
    page = await browser.open("/devices/pump-01/files")
    assert "logs/a b.txt" in text_of(page) and "secret" not in page.text
    path = "/devices/pump-01/files/content?name=logs%2Fa%20b.txt"
    kept = await browser.get(path)
    assert kept.content == b"<b>hello" and "attachment" in kept.headers["content-disposition"]
    looked = await browser.get(path + "&show=1")
    assert looked.headers["content-type"] == "text/plain; charset=utf-8"
    for name in ("../pump-02/secret.txt", "..%2Fpump-02%2Fsecret.txt", "none"):
        assert (await browser.get(f"/devices/pump-01/files/content?name={name}")).status_code == 404
    await browser.send("/devices/pump-01/files/delete", {"name": "../pump-02/secret.txt"})
    assert "No files yet" in text_of(await browser.submit("/devices/pump-01/files/delete", {"name": "logs/a b.txt"}))
    assert await files.find("pump-02/secret.txt") is not None
    # Whoever makes a device of that id later, in an organization of theirs perhaps, has none of its files.
    await files.put("pump-01/secret.txt", pieces(b"not theirs"))
    assert "secret.txt" in (await browser.open("/devices/pump-01/files")).text
    await world.app.application.fleet.delete(OWNER, DeviceId("pump-01"))
    [lies] = world.app.config.data.rglob("pump-01/secret.txt")
    long_ago = world.clock.now().timestamp() - 60
    os.utime(lies, (long_ago, long_ago))
    await world.create("pump-01")
    assert "No files yet" in text_of(await browser.open("/devices/pump-01/files"))
    assert (await browser.get("/devices/pump-01/files/content?name=secret.txt")).status_code == 404
    await browser.send("/devices/pump-01/files/delete", {"name": "secret.txt"})
    assert await files.find("pump-01/secret.txt") is not None


async def test_sessions_say_who_came_with_what_and_why_they_ended(world: World, browser: Browser) -> None:
    device = await connected(world)
    await browser.submit("/devices/pump-01/block")
    await device.rest()
    words = text_of(await browser.open("/devices/pump-01/connection"))
    assert "disconnected identity.disabled" in words
    assert re.search(r"connected Certificate ([0-9A-F]{4} ){4}", words)
    await world.app.application.fleet.delete(OWNER, PUMP)
    world.clock.advance(1)
    await world.create("pump-01")
    assert "connected Certificate" not in text_of(await browser.open("/devices/pump-01/connection"))


@pytest.mark.parametrize(
    "path", ["views/none", "views/..", "files/content?name=", "series?key=" + "a" * 400, "data?before=x"]
)
async def test_what_is_not_there_is_answered_in_words(world: World, browser: Browser, path: str) -> None:
    await world.create("pump-01")
    assert (await browser.get(f"/devices/pump-01/{path}")).status_code in (200, 404)


async def test_a_device_is_renamed_and_a_stale_page_keeps_what_was_typed(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    etag = field(await browser.open("/devices/pump-01/manage"), "etag")
    done = await browser.submit("/devices/pump-01/manage", {"display_name": "Pump in hall 3", "etag": etag})
    assert "<h1>Pump in hall 3</h1>" in done.text
    stale = await browser.submit("/devices/pump-01/manage", {"display_name": "Mine", "etag": etag})
    assert stale.status_code == 412 and 'value="Mine"' in stale.text
    saved = await browser.submit("/devices/pump-01/manage", {"display_name": "Mine", "etag": field(stale, "etag")})
    assert "<h1>Mine</h1>" in saved.text


async def test_devices_are_attached_to_a_gateway_and_detached_from_its_page(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    await world.registry.create(DEFAULT_HUB, IdentityDraft(named("edge-1"), is_edge=True), world.clock.now())
    wrong = await browser.submit("/devices/pump-01/gateway", {"gateway": "pump-01"})
    assert (wrong.status_code, field(wrong, "gateway"), "gateway.kind" in wrong.text) == (400, "pump-01", True)
    await browser.submit("/devices/pump-01/gateway", {"gateway": "edge-1"})
    page = await browser.open("/devices/edge-1/downstream")
    assert "Modules Downstream devices" in text_of(page) and "pump-01" in text_of(page)
    gone = await browser.submit("/devices/edge-1/downstream", {"child": "pump-01", "detach": "1"})
    assert "No device stands below this one" in text_of(gone)
    reported = {
        "systemModules": {"edgeHub": {"runtimeStatus": "running", "settings": {"image": "hub:1.5"}}},
        "modules": 5,
    }
    await world.twins.report(DEFAULT_HUB, named("edge-1/$edgeAgent"), reported)
    words = text_of(await browser.open("/devices/edge-1/modules"))
    assert "$edgeAgent" in words and "$edgeHub" in words
    assert "Runtime running Image hub:1.5" in words


async def test_no_page_of_a_device_is_there_for_a_user_of_a_sibling_organization(
    world: World, stranger: Browser
) -> None:
    """PC-22: every page whose path names a device, whatever it does."""
    application = world.app.application
    for name in ("north", "south"):
        await application.organizations.create(OWNER, OrganizationId(name), name.title(), OrganizationId(""))
    await world.create("pump-01")
    await application.fleet.update(OWNER, PUMP, DeviceChange(organization=OrganizationId("south")))
    _, link = await world.app.accounts.invite(OWNER, "nora", "org-administrator", OrganizationId("north"))
    path = f"/sign-in/link/{link.reveal()}"
    assert (await stranger.send(path, {"password": PASSWORD, "again": PASSWORD})).status_code == 303
    seen = []
    for page in world.app.web.pages:
        if "{device_id}" not in page.pattern or page.gate == "public":
            continue
        where = page.pattern.replace("{device_id}", "pump-01").replace("{view_id}", "overview")
        status = await stranger.status(page.method, where)
        # Deleting what is not there is done already, and asks nothing of it.
        if status not in (403, 404) and page.pattern != "/devices/{device_id}/delete":
            seen.append((page.method, page.pattern, status))
    assert not seen
    assert world.app.store.read().identities.find(DEFAULT_HUB, named("pump-01")) is not None
    assert application.fleet.get(OWNER, PUMP).record.display_name == "pump-01"

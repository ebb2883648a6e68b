"""The list of devices, + New, bulk acts, import and export, and the panel that says how bulk work went."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Awaitable, Callable
from html import unescape
from typing import Any

import httpx
import pytest

from moorage.accounts.model import OWNER, OrganizationId, Role
from moorage.cli.owner import owner_token
from moorage.fleet.model import DeviceDraft, DeviceRecord
from moorage.fleet.template_model import make_content
from moorage.identities.model import ByThumbprint
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, RegistrationId, Thumbprint
from moorage.provisioning.model import Registration
from tests.servers.world import World, eventually, named
from tests.web.browser import Browser, text_of

ERROR_LOG = re.compile(r'href="(/device-operations/[0-9a-f]+/errors.csv)"')


async def add(world: World, name: str, **values: Any) -> None:
    await world.app.application.fleet.create(OWNER, DeviceDraft(DeviceId(name), **values))


def record(world: World, name: str) -> DeviceRecord:
    return world.app.application.fleet.get(OWNER, DeviceId(name)).record


def listed(page: httpx.Response) -> list[str]:
    return re.findall(r'name="device" value="([^"]+)"', page.text)


async def operated(world: World) -> None:
    """Bulk work has come to its end."""
    operations = world.app.application.operations
    await eventually(lambda: not operations._tasks)


async def act(browser: Browser, what: str, *devices: str, **fields: str) -> httpx.Response:
    return await browser.submit("/device-operations", {"act": what, "device": list(devices), **fields})  # type: ignore[dict-item] # a name that comes several times


async def test_filters_narrow_the_list_together(world: World, browser: Browser) -> None:
    await world.app.application.organizations.create(OWNER, OrganizationId("north"), "Plant North", OrganizationId(""))
    await world.app.application.organizations.create(OWNER, OrganizationId("line-1"), "Line", OrganizationId("north"))
    await add(world, "pump-01", display_name="Überlauf", organization=OrganizationId("line-1"))
    await add(world, "pump-02", is_blocked=True, organization=OrganizationId("line-1"))
    await add(world, "pump-03")
    for query, found in (
        ({"q": "ÜBER"}, ["pump-01"]),
        ({"q": "pump"}, ["pump-01", "pump-02", "pump-03"]),
        ({"state": "blocked"}, ["pump-02"]),
        ({"organization": "north"}, ["pump-01", "pump-02"]),
        ({"organization": "north", "state": "registered"}, ["pump-01"]),
        ({"template": "unassigned", "q": "03"}, ["pump-03"]),
        ({"template": "dtmi:nobody;1"}, []),
        ({"connected": "yes"}, []),
        ({"connected": "no", "state": "registered"}, ["pump-01", "pump-03"]),
        ({"state": "odd", "connected": "odd"}, ["pump-01", "pump-02", "pump-03"]),
    ):
        page = await browser.part("/devices", "devices", **query)
        assert listed(page) == found, query
        assert "<html" not in page.text
    # What goes on with the filter comes along.
    page = await browser.part("/devices", "devices", q="pump", state="blocked")
    assert 'href="/devices?q=pump&amp;state=blocked&amp;template=unassigned"' in page.text
    assert 'href="/device-export?q=pump&amp;state=blocked"' in page.text


async def test_the_list_says_how_to_begin_and_then_what_each_device_is(world: World, browser: Browser) -> None:
    words = text_of(await browser.open("/devices"))
    assert "No devices yet" in words
    assert "moorage cert device pump-01 && moorage device create pump-01" in words
    assert "moorage ca add" in words
    await world.app.application.organizations.create(OWNER, OrganizationId("north"), "Plant North", OrganizationId(""))
    await add(world, "pump-01", display_name="Pump in the cellar", organization=OrganizationId("north"))
    await world.create("valve-1")
    page = await browser.open("/devices")
    words = text_of(page)
    assert "Pump in the cellar pump-01 Registered Unassigned Plant North No not connected" in words
    assert "valve-1 valve-1 Provisioned Unassigned No not connected" in words
    assert "All devices 2" in words
    assert "2 devices" in words


async def test_the_head_of_each_column_sorts_by_it_and_the_order_goes_on_with_the_address(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.web.device_list.PAGE_SIZE", 2)
    for name, label in (("c-1", "Alpha"), ("a-1", "gamma"), ("b-1", "Beta"), ("d-1", "beta")):
        await add(world, name, display_name=label, is_blocked=name == "b-1")
    page = await browser.open("/devices")
    assert re.findall('aria-sort="([a-z]+)"><a id="sort-([a-z]+)"', page.text) == [
        ("none", "name"),
        ("ascending", "id"),
        ("none", "status"),
        ("none", "template"),
        ("none", "simulated"),
        ("none", "connection"),
    ]
    assert 'href="/devices?sort=connection&amp;direction=down"' in page.text
    # Page by page, with what was filtered.
    found, address = [], "/devices?q=-1&sort=name"
    while address:
        page = await browser.open(address)
        found += listed(page)
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        address = unescape(following.group(1)) if following else ""
    assert found == ["c-1", "b-1", "d-1", "a-1"]
    page = await browser.part("/devices", "devices", q="-1", sort="name", direction="down")
    assert listed(page) == ["a-1", "b-1"]
    assert 'aria-sort="descending"><a id="sort-name"' in page.text
    assert 'href="/devices?q=-1&amp;sort=name"' in page.text
    # What was typed meanwhile is sorted too, and a filter of another template as well.
    assert '<input type="hidden" name="direction" value="down">' in page.text
    assert 'href="/devices?q=-1&amp;sort=name&amp;direction=down&amp;template=unassigned"' in page.text
    assert listed(await browser.open("/devices", sort="status")) == ["b-1", "a-1"]
    for odd in (
        {"sort": "odd"},
        {"sort": "name", "after": "a-1", "key": "\x00" * 900},
        {"sort": "simulated", "after": "x"},
    ):
        assert (await browser.open("/devices", **odd)).status_code == 200
    answer = await browser.send("/device-operations", {"act": "", "sort": "name", "direction": "down"})
    assert answer.headers["location"] == "/devices?sort=name&direction=down"


async def test_bad_input_is_told_beside_its_field_and_a_good_form_registers_once(
    world: World, browser: Browser
) -> None:
    await world.app.application.organizations.create(OWNER, OrganizationId("north"), "North", OrganizationId(""))
    for fields, field in (
        ({"device_id": "pump 01"}, "device_id"),
        ({"device_id": "pump-01", "display_name": "x" * 149}, "display_name"),
        ({"device_id": "pump-01", "template": "dtmi:nobody;1"}, "template"),
        ({"device_id": "pump-01", "simulated": "on"}, "simulated"),
        ({"device_id": "pump-01", "organization": "nowhere"}, "organization"),
    ):
        page = await browser.send("/devices", {"display_name": "The <pump>", **fields})
        assert page.status_code == 400, fields
        assert re.search(rf'<span class="wrong" role="alert" id="{field}-wrong"', page.text), fields
        for typed in fields.values():
            if typed not in ("on", "dtmi:nobody;1", "nowhere"):
                assert f'value="{typed}"' in page.text
    assert await world.app.application.fleet.count(OWNER) == 0
    fields = {"display_name": "The pump", "device_id": "pump-01", "organization": "", "template": "", "edge": "on"}
    answer = await browser.send("/devices", fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/devices/pump-01")
    made = record(world, "pump-01")
    assert (made.display_name, made.state, made.is_edge, made.is_simulated) == ("The pump", "registered", True, False)
    again = await browser.send("/devices", fields)
    assert (again.status_code, again.headers["location"]) == (303, "/devices/pump-01")
    other = await browser.send("/devices", {**fields, "display_name": "Another"})
    assert other.status_code == 400
    assert "There is a device 'pump-01' already" in text_of(other)


async def test_several_devices_are_blocked_unblocked_moved_and_deleted_at_once(world: World, browser: Browser) -> None:
    await world.app.application.organizations.create(OWNER, OrganizationId("north"), "Plant North", OrganizationId(""))
    for name in ("pump-01", "pump-02", "pump-03"):
        await add(world, name)
    await world.create("pump-04")
    await act(browser, "block", "pump-01", "pump-04")
    assert [record(world, f"pump-0{number}").state for number in (1, 2, 3, 4)] == [
        "blocked",
        "registered",
        "registered",
        "blocked",
    ]
    await act(browser, "unblock", "pump-01", "pump-02", "pump-04")
    assert record(world, "pump-04").state == "provisioned"
    await act(browser, "organization", "pump-02", to_organization="north")
    assert record(world, "pump-02").organization == "north"
    await add(world, "gateway", is_edge=True)
    await world.registry.create(DEFAULT_HUB, IdentityDraft(named("edge"), is_edge=True), world.clock.now())
    await act(browser, "attach", "pump-04", to_gateway="edge")
    edge, below = (world.app.store.read().identities.find(DEFAULT_HUB, named(each)) for each in ("edge", "pump-04"))
    assert edge and below and below.device_scope == edge.device_scope
    await act(browser, "detach", "pump-04")
    below = world.app.store.read().identities.find(DEFAULT_HUB, named("pump-04"))
    assert below and below.device_scope is None
    answer = await browser.send("/device-operations", {"act": "attach", "device": "pump-04", "to_gateway": "nobody"})
    assert answer.status_code == 404
    await act(browser, "delete", "gateway", "edge")

    def registered(tables: Any) -> None:
        now = world.clock.now()
        tables.registrations.put(
            Registration(
                DEFAULT_HUB,
                RegistrationId("pump-01"),
                "1",
                "assigned",
                now,
                now,
                1,
                "x509",
                group_id=EnrollmentGroupId("line"),
                device_id=DeviceId("pump-01"),
            )
        )

    await world.app.store.write(registered)
    told = text_of(await browser.submit("/devices/pump-01/delete"))
    assert "pump-01 was deleted. It had come in through the enrollment group line: it comes back by itself" in told
    await add(world, "pump-01")
    page = await act(browser, "delete", "pump-03", "pump-04")
    await operated(world)
    assert page.url.path == "/devices"
    assert listed(await browser.open("/devices")) == ["pump-01", "pump-02"]
    for fields in ({"act": "explode", "device": "pump-01"}, {"act": "block"}, {"act": "organization", "device": "a"}):
        answer = await browser.send("/device-operations", fields)
        assert answer.status_code in (303, 400), fields
    answer = await browser.send("/device-operations", {"act": "block", "device": "bad id"})
    assert answer.status_code == 400


async def test_all_that_match_are_worked_off_in_the_background_page_or_not(world: World, browser: Browser) -> None:
    def fill(tables: Any) -> None:
        for number in range(250):
            name = DeviceId(f"pump-{number:03}")
            tables.devices.put(DeviceRecord(DEFAULT_HUB, name, name, world.clock.now(), is_approved=number % 5 == 0))

    await world.app.store.write(fill)
    await browser.submit("/device-operations", {"act": "approve", "every": "yes", "state": "waiting", "q": "pump"})
    await operated(world)
    assert await world.app.application.fleet.count(OWNER) == 250
    assert {tally.state for tally in world.app.application.fleet.tallies(OWNER)} == {"registered"}
    panel = text_of(await browser.part("/device-operations/panel", "operations-panel"))
    assert "Approve: 200 devices 100 % 200 done" in panel


async def test_what_fails_of_bulk_work_is_in_its_error_log_for_whoever_began_it(
    world: World, browser: Browser, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    await add(world, "pump-01")
    page = await act(browser, "block", "gone", "pump-01")
    await operated(world)
    assert page.url.path == "/device-operations"
    assert record(world, "pump-01").state == "blocked"
    page = await browser.open("/device-operations")
    assert "1 done, 1 failed" in text_of(page)
    [path] = ERROR_LOG.findall(page.text)
    log = await browser.open(path)
    assert list(csv.reader(io.StringIO(log.text)))[1] == ["gone", "device.unknown", "there is no device 'gone'"]
    assert "attachment" in log.headers["content-disposition"]
    other = await as_role("operator")
    assert (await other.open(path)).status_code == 404
    assert "Nothing was done" in text_of(await other.open("/device-operations"))


async def test_a_file_is_imported_and_what_cannot_be_taken_is_told(world: World, browser: Browser) -> None:
    for sent, reason in (
        (b"id,name\na,b\n", "csv.columns"),
        (b"IOTC_DEVICEID\n\xff\xfe\n", "csv.encoding"),
        (b"", "csv.missing"),
        (b"IOTC_DEVICEID\n" + b"x" * 70_000 + b"\n", "csv.line"),
    ):
        page = await browser.send("/device-import", {"template": ""}, files={"file": ("devices.csv", sent, "text/csv")})
        assert page.status_code == 400, reason
        assert reason in page.text
        assert 'aria-describedby="file-wrong"' in page.text
    await world.app.application.organizations.create(OWNER, OrganizationId("north"), "Plant North", OrganizationId(""))
    await add(world, "pump-02")
    lines = [
        "\ufeffiotc_deviceid;Other;IOTC_DEVICENAME",
        'pump-01;x;Pumpe "Süd"',
        "",
        "bad id;;",
        "pump-02;;again",
        "'-3;;",
    ]
    content = "\r\n".join(lines)
    answer = await browser.submit(
        "/device-import",
        {"template": "", "organization": "north"},
        files={"file": ("devices.csv", content.encode(), "text/csv")},
    )
    await operated(world)
    assert answer.url.path == "/device-operations"
    made = record(world, "pump-01")
    assert (made.display_name, made.organization, made.state) == ('Pumpe "Süd"', "north", "registered")
    assert record(world, "-3").display_name == "-3"
    page = await browser.open("/device-operations")
    assert "Import: 4 devices" in text_of(page)
    [path] = ERROR_LOG.findall(page.text)
    rows = list(csv.reader(io.StringIO((await browser.open(path)).text)))[1:]
    assert [(row[0], row[1]) for row in rows] == [("line 4", "id.device_plain"), ("line 5, pump-02", "device.exists")]


async def test_a_file_is_as_large_as_its_form_says(world: World, browser: Browser) -> None:
    line = b"pump-%07d," + b"x" * 10_000 + b"\n"
    small, large = (b"IOTC_DEVICEID,IOTC_DEVICENAME\n" + line % 1 * lines for lines in (500, 1_700))
    for content, status in ((small, 303), (large, 413)):
        files = {"file": ("devices.csv", content, "text/csv")}
        assert (await browser.send("/device-import", {"template": ""}, files=files)).status_code == status
    token = owner_token(world.app.config.data, world.clock.now()).reveal()
    for content, status in ((small, 202), (large, 413)):
        answer = await world.http.post(
            "/moorage/v1/application/devices/import", content=content, headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status, answer.text


async def test_an_export_has_keys_and_thumbprints_and_no_formulas(world: World, browser: Browser) -> None:
    thumbprint = Thumbprint("A" * 64)
    await add(world, "pump-01", display_name='=HYPERLINK("https://evil.example")')
    await world.create("pump-02", ByThumbprint(thumbprint, None))
    await world.create("pump-03")
    export = await browser.open("/device-export", q="pump")
    rows = list(csv.DictReader(io.StringIO(export.text)))
    assert [row["IOTC_DEVICEID"] for row in rows] == ["pump-01", "pump-02", "pump-03"]
    assert rows[0]["IOTC_DEVICENAME"] == '\'=HYPERLINK("https://evil.example")'
    assert rows[1]["IOTC_X509THUMBPRINT_PRIMARY"] == thumbprint
    assert rows[2]["IOTC_SASKEY_PRIMARY"].endswith("=")
    assert rows[0]["IOTC_SASKEY_PRIMARY"] == ""


async def test_a_member_of_an_organization_sees_its_devices_and_no_others(
    world: World, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    browser = await as_role("operator")
    application = world.app.application
    for name in ("north", "south"):
        await application.organizations.create(OWNER, OrganizationId(name), name.title(), OrganizationId(""))
        await add(world, f"pump-{name}", organization=OrganizationId(name))
    [user] = [each for each in world.app.accounts.users() if each.login == "the-operator"]
    await world.app.accounts.change(OWNER, user.user_id, role="org-administrator", organization=OrganizationId("north"))
    assert listed(await browser.open("/devices")) == ["pump-north"]
    assert listed(await browser.open("/devices", organization="south")) == []
    assert "pump-south" not in (await browser.open("/device-export")).text
    assert (await browser.open("/devices/pump-south")).status_code == 404
    await act(browser, "delete", "pump-south")
    await operated(world)
    assert record(world, "pump-south").state == "registered"
    page = await browser.send("/devices", {"device_id": "mine", "organization": ""})
    assert page.status_code == 400


async def test_properties_of_a_template_are_columns_for_whoever_chooses_them(world: World, browser: Browser) -> None:
    application = world.app.application
    model = {
        "@context": ["dtmi:dtdl:context;2", "dtmi:iotcentral:context;2"],
        "@id": "dtmi:com:example:Pump;1",
        "@type": "Interface",
        "contents": [
            {"@type": "Property", "name": "level", "displayName": "Water level", "schema": "double"},
            {"@type": ["Property", "Cloud"], "name": "site", "schema": "string"},
        ],
    }
    made = await application.templates.create_draft(OWNER, make_content("Pump", "", model))
    await application.templates.publish(OWNER, made.template_id)
    await world.create("pump-01")
    for name in ("pump-02", "pump-03"):
        await add(world, name, template=made.template_id)
    await application.fleet.migrate(OWNER, DeviceId("pump-01"), made.template_id)
    await world.twins.report(DEFAULT_HUB, named("pump-01"), {"level": 1234.5})
    await application.fleet.set_cloud_properties(OWNER, DeviceId("pump-02"), {"site": "<Bergen>"})
    words = text_of(await browser.open("/devices", template=made.template_id))
    assert "Properties to show" in words
    assert "Pump 3" in words
    page = await browser.open(f"/devices?template={made.template_id}&column=level&column=site&column=nothing")
    words = text_of(page)
    assert "Simulated Water level site Connection" in words
    assert "pump-01 Provisioned Pump No 1,234.5 — not connected" in words
    assert "pump-02 Registered Pump No — <Bergen> not connected" in words
    assert "Properties to show" not in text_of(await browser.open("/devices?column=level"))

    # What the hub invents comes by no connection.
    await add(world, "sim-01", template=made.template_id, is_simulated=True)
    assert "sim-01 Provisioned Pump Yes simulated" in text_of(await browser.open("/devices"))
    simulated, other = [text_of(await browser.open(f"/devices/{name}")) for name in ("sim-01", "pump-02")]
    assert "sim-01 Simulated Connect" in simulated and "not connected" not in simulated
    assert ("Last heard of" in other, "Last heard of" in simulated) == (True, False)

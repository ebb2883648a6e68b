"""Whoever wants more than they may: rights that were withdrawn, acts that somebody else prepared, odd addresses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from moorage.accounts.model import OWNER, OrganizationId, Role
from moorage.accounts.roles import BUILT_IN
from moorage.automation.jobs import JobData, JobDraft, JobId, Schedule, ScheduleId
from moorage.fleet.groups import default_group_id
from moorage.fleet.model import DeviceDraft, DeviceRecord
from moorage.ids import DEFAULT_HUB, DeviceId
from moorage.provisioning.drafts import KeysDraft
from moorage.web.live import MAX_LIVE_PAGES, MAX_LIVE_PAGES_OF_ONE, pause_after
from tests.servers.world import KEY, World, eventually
from tests.web.browser import PASSWORD, Browser
from tests.web.test_jobs import ADA, PUMP, fleet, is_over

AsRole = Callable[[Role], Awaitable[Browser]]


async def test_a_stream_ends_when_its_reader_may_not_see_it_any_more(world: World, as_role: AsRole) -> None:
    await world.create("pump-01")
    accounts, roles = world.app.accounts, world.app.application.roles
    role = await roles.create(OWNER, "Reader", "application", ["data.view"])
    reader = await as_role("operator")
    (user,) = accounts.users()
    await accounts.change(OWNER, user.user_id, role=role.role_id)
    streams: list[list[str]] = [[], []]
    paths = ("/devices/pump-01/data/live", "/devices/pump-01/live")
    reading = [asyncio.create_task(reader.read_lines(path, lines)) for path, lines in zip(paths, streams, strict=True)]
    await eventually(lambda: all(": following" in lines for lines in streams))
    # The session stays good; the role loses the permission.
    await roles.change(OWNER, role.role_id, "Reader", ["templates.view"])
    device = await world.connect()
    device.publish("devices/pump-01/messages/events/", b"{}")
    async with asyncio.timeout(30):
        await asyncio.gather(*reading)
    assert (await reader.get("/devices/pump-01/data")).status_code == 403


async def test_nobody_takes_the_places_of_all_open_pages(world: World, as_role: AsRole) -> None:
    await world.create("pump-01")
    greedy, modest = await as_role("operator"), await as_role("builder")
    streams: list[list[str]] = [[] for _ in range(2 * MAX_LIVE_PAGES_OF_ONE)]

    async def follow(lines: list[str]) -> None:
        # More than may are refused, or told at once to come later.
        with suppress(AssertionError):
            await greedy.read_lines("/devices/pump-01/live", lines)

    reading = [asyncio.create_task(follow(lines)) for lines in streams]
    try:
        await eventually(lambda: sum(": following" in lines for lines in streams) == MAX_LIVE_PAGES_OF_ONE)
        answer = await greedy.get("/devices/pump-01/live")
        assert (answer.status_code, "telemetry.followers" in answer.text) == (429, True)
        assert await modest.status("GET", "/devices/pump-01/live") == 200
        assert sum(": following" in lines for lines in streams) == MAX_LIVE_PAGES_OF_ONE
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


def test_the_more_pages_are_open_the_longer_each_waits_to_be_drawn_for() -> None:
    assert pause_after(0.5, 1, least_s=0.2) == 0.2
    for pages in (4, 16, MAX_LIVE_PAGES):
        pause = pause_after(0.02, pages, least_s=0.2)
        assert pages * 0.02 / (0.02 + pause) <= 0.4
    assert pause_after(60.0, MAX_LIVE_PAGES, least_s=0.2) <= 10


async def test_nobody_goes_on_with_a_job_that_they_may_not_make(world: World, as_role: AsRole) -> None:
    await fleet(world)
    jobs, schedules = world.app.application.automation.jobs, world.app.application.automation.scheduled_jobs
    group = default_group_id(PUMP)
    draft = JobDraft("Restart", group, (JobData("command", PUMP, "restart"),))
    await jobs.create(ADA, draft, JobId("restart"))
    schedule = Schedule(world.clock.now().replace(year=2100))
    await schedules.put(ADA, ScheduleId("later"), draft, schedule, is_enabled=False)
    # Nobody is connected, so every device fails.
    await eventually(is_over(world, "restart"))
    role = await world.app.application.roles.create(OWNER, "Setter", "application", ["jobs.manage", "devices.manage"])
    setter = await as_role("operator")
    (user,) = [each for each in world.app.accounts.users() if each.login == "the-operator"]
    assert (await setter.send("/jobs/restart/rerun")).status_code == 303
    await world.app.accounts.change(OWNER, user.user_id, role=role.role_id)
    assert (await setter.send("/jobs/restart/rerun")).status_code == 403
    assert (await setter.send("/jobs/restart/resume")).status_code == 403
    assert (await setter.send("/jobs/scheduled/later/switch", {"enabled": "on"})).status_code == 403
    assert world.app.application.fleet.get(ADA, DeviceId("pump-01"))


async def test_times_at_the_ends_of_the_calendar_are_answered(world: World, browser: Browser) -> None:
    await fleet(world)
    first, last = ("0001-01-01T00:00:00Z", "0001-02-01T00:00:00Z"), ("9999-12-01T00:00:00Z", "9999-12-31T23:59:59Z")
    for since, until in (first, last):
        asked = {"group": default_group_id(PUMP), "s": "limit:average", "since": since, "until": until}
        page = await browser.open("/explorer", **asked)
        assert (page.status_code, "explorer.question" in page.text) == (400, True)
        assert (await browser.open("/explorer/data.csv", **asked)).status_code == 400
    for query in ({"range": "days", "until": "9999-12-31"}, {"page": "1" * 5000}):
        assert (await browser.open("/audit", **query)).status_code == 200
    assert (await browser.open("/certificates/ending", month="9999-12")).status_code == 400


async def test_a_role_that_somebody_took_away_is_not_given_back_by_an_older_page(
    world: World, browser: Browser
) -> None:
    builder, operator = (each.role_id for each in BUILT_IN.values() if each.short in ("operator", "builder"))
    bob, _link = await world.app.accounts.invite(OWNER, "bob", "builder")
    seen = re.findall(r'name="was" value="([^"]*)"', (await browser.open("/users")).text)
    assert f"{builder} " in seen
    await world.app.accounts.change(OWNER, bob.user_id, role="operator")
    stale = {"role": builder, "organization": "", "was": f"{builder} "}
    page = await browser.send(f"/users/{bob.user_id}/assignment", stale)
    assert (page.status_code, "etag.stale" in page.text) == (400, True)
    assert world.app.accounts.get(OWNER, bob.user_id).role == operator
    assert (await browser.send(f"/users/{bob.user_id}/assignment", {**stale, "was": f"{operator} "})).status_code == 303
    assert world.app.accounts.get(OWNER, bob.user_id).role == builder


async def test_nobody_in_an_organization_takes_over_an_enrollment_that_waits_for_its_device(
    world: World, stranger: Browser
) -> None:
    application, north = world.app.application, OrganizationId("north")
    await application.organizations.create(OWNER, north, "North", OrganizationId(""))
    gateway = DeviceRecord(DEFAULT_HUB, DeviceId("gateway-7"), "Gateway", world.clock.now())
    await application.credentials.put(gateway, KeysDraft(KEY, KEY), if_match=None, by="owner")
    _user, link = await world.app.accounts.invite(OWNER, "nora", "org-administrator", north)
    await stranger.send(f"/sign-in/link/{link.reveal()}", {"password": PASSWORD, "again": PASSWORD})
    refused = await stranger.send("/devices", {"device_id": "gateway-7", "organization": "north"})
    assert (refused.status_code, "device.exists" in refused.text) == (400, True)
    assert (await stranger.send("/devices", {"device_id": "gateway-8", "organization": "north"})).status_code == 303
    # Whoever sees the root may.
    await application.fleet.create(ADA, DeviceDraft(DeviceId("gateway-7"), organization=north))


async def test_what_several_people_do_to_a_dashboard_at_one_time_is_all_kept(browser: Browser) -> None:
    await browser.send("/dashboards", {"id": "hall", "name": "Hall", "for": "me"})
    added = await asyncio.gather(*(browser.send("/dashboards/hall/tiles", {"kind": "label"}) for _ in range(6)))
    tiles = sorted(answer.headers["location"].split("/")[-2] for answer in added)
    page = (await browser.get("/dashboards/hall/edit")).text
    assert sorted(set(re.findall(r'id="tile-(\w+)"', page))) == tiles
    await asyncio.gather(
        browser.send("/dashboards/hall", {"name": "North hall"}),
        *(browser.send(f"/dashboards/hall/tiles/{tile}/delete") for tile in tiles[:3]),
        *(browser.send(f"/dashboards/hall/tiles/{tile}/place", {"step": "width more"}) for tile in tiles[3:]),
    )
    page = (await browser.get("/dashboards/hall/edit")).text
    assert sorted(set(re.findall(r'id="tile-(\w+)"', page))) == tiles[3:]
    assert "North hall" in page
    # What is deleted is not made again by who still has it open.
    await browser.send("/dashboards/hall/delete")
    assert (await browser.send("/dashboards/hall/tiles", {"kind": "label"})).status_code == 404
    assert (await browser.get("/dashboards/hall")).status_code == 404

"""Jobs in a browser: the wizard's four steps, what became of each device, rerun, schedules (contract/central.md 14)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from moorage.accounts.model import ALL_PERMISSIONS, OWNER, Actor, OrganizationId, Role
from moorage.automation.jobs import Amount, Job, JobData, JobDraft, JobId, Schedule, Threshold
from moorage.dialects.central_jobs import draft_json, parse_job, parse_schedule, schedule_json
from moorage.fleet.groups import default_group_id
from moorage.fleet.model import DeviceChange, DeviceDraft, TemplateId
from moorage.fleet.template_model import make_content
from moorage.hub.twins import MAX_DESIRED_BYTES
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.servers.world import World, eventually, named
from tests.web.browser import Browser, text_of

# She has no row among the users: what goes on for her goes on for the owner.
ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS), key=OWNER.key)
PUMP = TemplateId("dtmi:example:Pump;1")
MODEL = {
    "@context": "dtmi:dtdl:context;2",
    "@id": PUMP,
    "@type": "Interface",
    "displayName": "Pump",
    "contents": [
        {"@type": "Property", "name": "limit", "schema": "integer", "writable": True},
        {"@type": "Command", "name": "restart"},
    ],
}
JOB = {
    "id": "job-1",
    "name": "Limits",
    "group": default_group_id(PUMP),
    "kind": "property",
    "path0": "limit",
    "value0": "25",
    "batch": "1",
    "batch_kind": "number",
    "recurrence": "now",
}


async def fleet(world: World) -> None:
    """One pump that the hub knows, and one that never registered, for which more waits than can be added to."""
    application = world.app.application
    await application.templates.put_published(ADA, PUMP, make_content("Pump", "", MODEL))
    await world.create("pump-01")
    await application.fleet.update(ADA, DeviceId("pump-01"), DeviceChange(template=PUMP))
    await application.fleet.create(ADA, DeviceDraft(DeviceId("ghost"), template=PUMP))
    filling = {f"f{number}": "x" * 4000 for number in range(MAX_DESIRED_BYTES // 4000)} | {"rest": "x" * 745}
    await application.properties.patch(ADA, DeviceId("ghost"), filling)


def is_over(world: World, job_id: str) -> Callable[[], bool]:
    def check() -> bool:
        job = world.app.store.read().device_jobs.find(DEFAULT_HUB, JobId(job_id))
        return job is not None and job.status == "completed"

    return check


async def test_the_wizard_leads_through_four_steps_and_keeps_what_was_typed(world: World, browser: Browser) -> None:
    await fleet(world)
    assert "No jobs yet" in text_of(await browser.open("/jobs"))
    page = await browser.open("/jobs/new")
    assert 'aria-current="step">Configure' in page.text
    values = await browser.submit("/jobs/values", JOB)
    assert "The template has: limit" in text_of(values)
    for step, heading in enumerate(("Delivery options", "Schedule", "Review")):
        page = await browser.submit("/jobs", {**JOB, "step": str(step), "go": "next"})
        assert (page.status_code, f'aria-current="step">{heading}' in page.text) == (200, True)
        assert step == 2 or re.search(r'name="value0" value="25"', page.text)
    words = text_of(page)
    assert "limit = 25" in words and "2 devices now" in words and "of 1 devices" in words
    assert "Show as code" in words and "/api/jobs/job-1?api-version=" in words
    back = await browser.submit("/jobs", {**JOB, "step": "1", "go": "back"})
    assert 'aria-current="step">Configure' in back.text and 'name="value0" value="25"' in back.text


async def test_a_job_runs_shows_each_device_and_is_run_again_on_the_one_that_failed(
    world: World, browser: Browser
) -> None:
    await fleet(world)
    page = await browser.submit("/jobs", {**JOB, "step": "3", "go": "run"})
    assert page.url.path == "/jobs/job-1"
    # The same form, sent twice.
    assert (await browser.submit("/jobs", {**JOB, "step": "3", "go": "run"})).url.path == "/jobs/job-1"
    await eventually(is_over(world, "job-1"))
    words = text_of(await browser.open("/jobs/job-1"))
    assert "Completed" in words and "twin.size" in words and "Rerun on failed devices" in words
    assert world.twins.get(DEFAULT_HUB, named("pump-01")).desired.value["limit"] == 25
    assert "pump-01" not in text_of(await browser.open("/jobs/job-1?outcome=failed"))
    csv = await browser.get("/jobs/job-1/results.csv")
    assert csv.headers["content-type"].startswith("text/csv")
    assert [line.split(",")[:3] for line in csv.text.splitlines()] == [
        ["device", "batch", "status"],
        ["ghost", "1", "failed"],
        ["pump-01", "2", "completed"],
    ]
    ghost, properties = DeviceId("ghost"), world.app.application.properties
    await properties.patch(ADA, ghost, dict.fromkeys(properties.twin(ghost).desired.value))
    again = await browser.submit("/jobs/job-1/rerun")
    job_id = again.url.path.rpartition("/")[2]
    await eventually(is_over(world, job_id))
    assert properties.twin(ghost).desired.value == {"limit": 25}
    words = text_of(await browser.open(f"/jobs/{job_id}"))
    assert "devices that failed in" in words
    nothing = await browser.submit(f"/jobs/{job_id}/rerun")
    assert (nothing.status_code, "job.status" in nothing.text) == (400, True)
    assert "Copy of Limits" in (await browser.open("/jobs/new?copy=job-1")).text
    assert (await browser.get("/jobs/job-1/progress")).headers["hx-refresh"] == "true"
    assert "Limits" in text_of(await browser.open("/jobs"))


async def test_bad_input_is_answered_on_the_step_where_it_is_typed(world: World, browser: Browser) -> None:
    await fleet(world)
    wrong = {
        "job.name": ({"name": ""}, "Configure"),
        "job.group": ({"group": ""}, "Configure"),
        "template.value": ({"value0": "hot"}, "Configure"),
        "job.data": ({"path0": "nowhere"}, "Configure"),
        "job.batch": ({"batch": "many"}, "Delivery options"),
        "job.threshold": ({"threshold": "101", "threshold_kind": "percentage"}, "Delivery options"),
        "job.schedule": ({"recurrence": "daily", "start_date": "soon"}, "Schedule"),
        "job.plain_id": ({"id": "a b"}, "Configure"),
    }
    for reason, (fields, heading) in wrong.items():
        page = await browser.submit("/jobs", {**JOB, "description": "kept", "step": "3", "go": "run", **fields})
        assert (page.status_code, reason in page.text) == (400, True), reason
        assert f'aria-current="step">{heading}' in page.text and 'value="kept"' in page.text
    assert "No jobs yet" in text_of(await browser.open("/jobs"))


def test_the_code_of_the_last_step_is_the_job_that_it_runs() -> None:
    data = (JobData("property", PUMP, "limit", 25), JobData("property", PUMP, "c.p", {"x": [None, "ä"]}))
    threshold = Threshold(Amount("percentage", 5), is_per_batch=True)
    draft = JobDraft("Limits", "pumps", data, "why", Amount("number", 3), threshold, OrganizationId("north"))
    assert parse_job("job-1", draft_json(draft), default=OrganizationId("")) == draft
    start = datetime(2099, 1, 31, 8, tzinfo=UTC)
    for schedule in (Schedule(start), Schedule(start, "weekly", end_after=3), Schedule(start, "daily")):
        assert parse_schedule({"schedule": schedule_json(schedule)}) == schedule


async def test_a_schedule_is_made_switched_and_deleted(world: World, browser: Browser) -> None:
    await fleet(world)
    when = {"recurrence": "daily", "start_date": "2099-01-31", "start_time": "08:00", "end": "runs", "end_runs": "3"}
    page = await browser.submit("/jobs", {**JOB, **when, "step": "3", "go": "run"})
    assert page.url.path == "/jobs/scheduled/job-1"
    assert "daily, from 2099-01-31 08:00 UTC, 3 times" in text_of(page)
    assert "Enabled" in text_of(await browser.open("/jobs/scheduled"))
    assert "Disabled" in text_of(await browser.submit("/jobs/scheduled/job-1/switch", {}))
    assert 'value="2099-01-31"' in (await browser.open("/jobs/new?schedule=job-1")).text
    await browser.submit("/jobs/scheduled/job-1/delete")
    assert "Nothing is scheduled" in text_of(await browser.open("/jobs/scheduled"))


async def test_what_was_of_somebody_who_is_gone_says_so_and_goes_on_for_who_continues_it(
    world: World, browser: Browser, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    await fleet(world)
    gone = await as_role("operator")
    when = {"recurrence": "daily", "start_date": "2099-01-31", "start_time": "08:00", "end": "never"}
    await gone.submit("/jobs", {**JOB, **when, "id": "nightly", "step": "3", "go": "run"})
    (scheduled,) = world.app.application.automation.scheduled_jobs.all(ADA)
    await world.app.accounts.delete(OWNER, world.app.accounts.users()[-1].user_id)
    job = Job(DEFAULT_HUB, JobId("job-1"), scheduled.draft, world.clock.now(), scheduled.by)

    def work(tables: Any) -> None:
        tables.device_jobs.put(replace(job, acts_for=scheduled.acts_for))
        tables.device_jobs.put_schedule(replace(scheduled, due=world.clock.now()))

    await world.app.store.write(work)
    world.app.application.automation.job_runner.wake()
    said = "user:the-operator, for whom this goes on, was deleted"
    await eventually(lambda: not world.app.application.automation.scheduled_jobs.get(ADA, "nightly").is_enabled)
    words = text_of(await browser.open("/jobs/scheduled/nightly"))
    assert "Disabled" in words and f"Switched off {said}" in words
    await eventually(lambda: world.app.application.automation.jobs.get(ADA, "job-1").status == "stopped")
    assert f"Stopped {said}" in text_of(await browser.open("/jobs/job-1"))
    await browser.submit("/jobs/job-1/resume")
    await eventually(is_over(world, "job-1"))
    assert "by the-operator; goes on for ada" in text_of(await browser.open("/jobs/job-1"))


async def test_an_operator_makes_jobs_and_a_stopped_one_goes_on(
    world: World, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    await fleet(world)
    browser = await as_role("operator")
    page = await browser.submit("/jobs", {**JOB, "step": "3", "go": "run"})
    assert page.url.path == "/jobs/job-1"
    await eventually(is_over(world, "job-1"))
    late = await browser.submit("/jobs/job-1/stop")
    assert (late.status_code, "job.status" in late.text) == (400, True)

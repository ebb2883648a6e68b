"""Jobs on a running hub: a writable property on a group, in batches, with devices that fail (PC-19)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, OWNER, Actor, Login, RoleId, User, UserId
from moorage.accounts.roles import ADMINISTRATOR
from moorage.accounts.tables import actor_of
from moorage.analytics.boards import Dashboard
from moorage.automation.job_runner import JobRunner
from moorage.automation.job_service import JobService
from moorage.automation.jobs import Amount, Job, JobData, JobDraft, JobId, JobRow, Schedule, ScheduleId, Threshold
from moorage.errors import NotFound, Refusal, Unavailable
from moorage.fleet.groups import DeviceGroupId, Members, default_group_id
from moorage.fleet.model import DeviceChange, DeviceDraft, DeviceRecord, TemplateId
from moorage.fleet.template_model import make_content
from moorage.fleet.templates import TemplateService
from moorage.hub.twins import MAX_DESIRED_BYTES
from moorage.ids import DEFAULT_HUB, DeviceId, HubId
from moorage.protocols.mqtt.packets import Publish
from tests.servers.application import ADA, automation
from tests.servers.world import World, eventually, named, running

MODEL: dict[str, Any] = {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:example:Pump;1",
    "@type": "Interface",
    "displayName": "Pump",
    "contents": [
        {"@type": "Telemetry", "name": "temperature", "schema": "double"},
        {"@type": "Property", "name": "limit", "schema": "integer", "writable": True},
        {"@type": "Property", "name": "serial", "schema": "string"},
        {"@type": "Command", "name": "restart"},
    ],
}


def templates(world: World) -> TemplateService:
    return world.app.application.templates


async def publish(world: World) -> TemplateId:
    """The template of pumps."""
    content = make_content("Pump", "", MODEL)
    return (await templates(world).put_published(ADA, TemplateId(str(MODEL["@id"])), content)).template_id


async def fill(world: World, name: str) -> None:
    """So that no property more fits into a device."""
    filling = {f"f{number}": "x" * 4000 for number in range(MAX_DESIRED_BYTES // 4000)} | {"rest": "x" * 745}
    await world.app.application.properties.patch(ADA, DeviceId(name), filling)


async def pumps(world: World, count: int) -> TemplateId:
    """So many pumps, and one more, `ghost`, that never registered, and that takes nothing."""
    template = await publish(world)
    fleet = world.app.application.fleet
    for number in range(count):
        await world.create(f"pump-{number}")
        await fleet.update(ADA, DeviceId(f"pump-{number}"), DeviceChange(template=template))
    await fleet.create(ADA, DeviceDraft(DeviceId("ghost"), template=template))
    await fill(world, "ghost")
    return template


def draft(template: TemplateId, **changes: object) -> JobDraft:
    made = JobDraft(
        "Limits", default_group_id(template), (JobData("property", template, "limit", 25),), batch=Amount("number", 2)
    )
    return replace(made, **changes)  # type: ignore[arg-type] # what a test names


async def ended(world: World, job_id: str, *statuses: str) -> Job:
    wanted = statuses or ("completed",)
    await eventually(lambda: automation(world).jobs.get(ADA, job_id).status in wanted)
    return automation(world).jobs.get(ADA, job_id)


def limit_of(world: World, device: str) -> object:
    return world.twins.get(DEFAULT_HUB, named(device)).desired.value.get("limit")


async def test_a_property_is_set_in_batches_and_a_rerun_touches_only_what_failed(world: World) -> None:
    template = await pumps(world, 4)
    jobs = automation(world).jobs
    await jobs.create(ADA, draft(template), JobId("job-1"))
    job = await ended(world, "job-1")
    assert (job.counts.total, job.counts.completed, job.counts.failed, job.counts.pending) == (5, 4, 1, 0)
    assert job.batches == 3
    assert [limit_of(world, f"pump-{number}") for number in range(4)] == [25] * 4
    rows = await jobs.devices(ADA, "job-1")
    assert [(row.device_id, row.outcome) for row in rows][:2] == [("ghost", "failed"), ("pump-0", "completed")]
    assert rows[0].reason == "twin.size"

    versions = [world.twins.get(DEFAULT_HUB, named(f"pump-{number}")).desired.version for number in range(4)]
    properties, ghost = world.app.application.properties, DeviceId("ghost")
    await properties.patch(ADA, ghost, dict.fromkeys(properties.twin(ghost).desired.value))
    await jobs.rerun(ADA, "job-1", JobId("job-2"))
    again = await ended(world, "job-2")
    assert (again.counts.total, again.counts.completed) == (1, 1)
    # It waits for the device.
    assert properties.twin(ghost).desired.value == {"limit": 25}
    assert versions == [world.twins.get(DEFAULT_HUB, named(f"pump-{number}")).desired.version for number in range(4)]
    with pytest.raises(Refusal, match=r"job\.status"):
        await jobs.rerun(ADA, "job-2")


async def test_more_failures_than_allowed_cancel_and_the_rest_is_left_alone(world: World) -> None:
    template = await pumps(world, 3)
    fleet = world.app.application.fleet
    for name in ("a-1", "a-2"):
        await fleet.create(ADA, DeviceDraft(DeviceId(name), template=template))
        await fill(world, name)
    await automation(world).jobs.create(ADA, draft(template, threshold=Threshold(Amount("number", 1))), JobId("job-1"))
    job = await ended(world, "job-1", "canceled")
    assert "2 of 6 devices failed" in job.message
    assert (job.counts.failed, job.counts.pending) == (2, 4)
    assert limit_of(world, "pump-2") is None


async def test_a_command_runs_on_who_is_there_and_its_answer_is_kept(world: World) -> None:
    template = await pumps(world, 1)
    device = await world.connect("pump-0")
    await device.subscribe("$iothub/methods/POST/#")
    command = (JobData("command", template, "restart"),)
    await automation(world).jobs.create(ADA, draft(template, data=command), JobId("job-1"))
    message = await device.expect(Publish)
    request = bytes(message.topic).decode().rpartition("$rid=")[2]
    device.publish(f"$iothub/methods/res/200/?$rid={request}", b"{}", qos=0)
    job = await ended(world, "job-1")
    assert (job.counts.completed, job.counts.failed) == (1, 1)
    rows = {row.device_id: row for row in await automation(world).jobs.devices(ADA, "job-1")}
    assert rows[DeviceId("pump-0")].message == "answered 200"


async def test_a_job_that_was_stopped_goes_on_where_it_was(world: World) -> None:
    template = await pumps(world, 3)
    jobs = automation(world).jobs
    await jobs.create(ADA, draft(template, batch=None), JobId("job-1"))
    await jobs.stop(ADA, "job-1")
    stopped = await ended(world, "job-1", "stopped", "completed")
    if stopped.status == "stopped":
        await jobs.resume(ADA, "job-1")
    assert (await ended(world, "job-1")).counts.completed == 3


async def test_a_job_of_a_hub_that_was_killed_goes_on_after_its_start(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        template = await pumps(world, 2)
        now = world.clock.now()
        job = Job(DEFAULT_HUB, JobId("job-1"), draft(template), now, ADA.name, "running", now, acts_for=ADA.maker)
        # As a hub leaves it that dies before the first device.
        await world.app.store.write(lambda tables: tables.device_jobs.put(job))
    async with running(tmp_path / "hub") as world:
        assert (await ended(world, "job-1")).counts.completed == 2


async def eve_of(world: World) -> tuple[User, Actor]:
    """A user with a row of her own, and the actor she is."""
    eve = User(DEFAULT_HUB, UserId("eve"), Login("eve"), ADMINISTRATOR, "x", world.clock.now())
    await world.app.store.write(lambda tables: tables.users.put(eve))
    return eve, actor_of(world.app.store.read(), DEFAULT_HUB, eve)


@pytest.mark.parametrize("change", ["deleted", "disabled", "role"])
async def test_a_job_stops_where_it_is_once_its_maker_may_no_more_and_goes_on_for_who_resumes_it(
    world: World, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.audit")
    hub, store, now = HubId("other"), world.app.store, world.clock.now()
    eve, _ = await eve_of(world)
    eve = replace(eve, hub=hub)

    def lose(tables: Any) -> None:
        match change:
            case "deleted":
                tables.users.delete(hub, eve.user_id)
            case "disabled":
                tables.users.put(replace(eve, is_disabled=True))
            case "role":
                tables.users.put(replace(eve, role=RoleId("gone")))

    class Pumps:
        async def members(self, actor: Actor, group_id: DeviceGroupId, limit: int = 100, after: str = "") -> Members:
            return Members([DeviceRecord(hub, DeviceId(f"pump-{at:03}"), "", now) for at in range(120)], "")

    done: list[str] = []

    async def act(actor: Actor, job: Job, device_id: DeviceId) -> str:
        done.append(actor.name)
        if len(done) == 50:
            await store.write(lose)
        return ""

    template = TemplateId("dtmi:example:Pump;1")
    acts_for = replace(ADA, name="user:eve", key=eve.key).maker
    job = Job(hub, JobId("long"), draft(template, batch=None), now, "user:eve", acts_for=acts_for)

    def begin(tables: Any) -> None:
        tables.users.put(eve)
        tables.device_jobs.put(job)

    def found() -> Job:
        job = store.read().device_jobs.find(hub, JobId("long"))
        assert job is not None
        return job

    await store.write(begin)
    runner = JobRunner(hub, store, Pumps(), act, world.clock, history=timedelta(days=1))
    task = asyncio.create_task(runner.run())
    try:
        await eventually(lambda: found().status == "stopped")
        assert (found().counts.completed, found().counts.pending) == (50, 70)
        assert "user:eve" in found().message
        reason = {"deleted": "maker.gone", "disabled": "maker.disabled", "role": "job.permission"}[change]

        def is_told() -> bool:
            told = [record for record in caplog.records if getattr(record, "event", "") == "job.halted"]
            return [record.facts["reason"] for record in told] == [reason]  # type: ignore[attr-defined] # of the audit

        await eventually(is_told)
        jobs = JobService(hub, store, world.app.application.groups, templates(world), world.clock, runner.wake)
        await jobs.resume(ADA, "long")
        await eventually(lambda: found().status == "completed")
        assert done[50:] == ["owner"] * 70
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_schedule_of_somebody_who_is_gone_is_switched_off_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.audit")
    template = await pumps(world, 1)
    eve, actor = await eve_of(world)
    schedules, start = automation(world).scheduled_jobs, world.clock.now() + timedelta(hours=1)
    await schedules.put(actor, ScheduleId("nightly"), draft(template), Schedule(start, "daily"))
    await world.app.store.write(lambda tables: tables.users.delete(DEFAULT_HUB, eve.user_id))
    world.clock.advance(3601)
    automation(world).job_runner.wake()
    await eventually(lambda: not schedules.get(ADA, "nightly").is_enabled)
    assert "user:eve, for whom this goes on, was deleted" in schedules.get(ADA, "nightly").message
    assert await automation(world).jobs.list(ADA) == []
    await eventually(lambda: any(getattr(each, "event", "") == "schedule.halted" for each in caplog.records))
    # Whoever switches it on again is whom it acts for.
    on = await schedules.switch(ADA, "nightly", is_enabled=True)
    assert (on.message, on.acts_for) == ("", ADA.maker)
    world.clock.advance(24 * 3600)
    automation(world).job_runner.wake()
    await eventually(lambda: schedules.get(ADA, "nightly").runs > 0)


async def test_a_schedule_makes_jobs_that_carry_its_name(world: World) -> None:
    template = await pumps(world, 1)
    schedules = automation(world).scheduled_jobs
    start = world.clock.now() + timedelta(hours=1)
    made = await schedules.put(ADA, ScheduleId("nightly"), draft(template), Schedule(start, "daily", end_after=2))
    assert made.due == start
    assert await automation(world).jobs.list(ADA) == []
    world.clock.advance(3601)
    automation(world).job_runner.wake()
    await eventually(lambda: schedules.get(ADA, "nightly").runs == 1)
    (job,) = await automation(world).jobs.list(ADA, schedule="nightly")
    assert job.scheduled_job_id == "nightly"
    await ended(world, job.job_id)
    world.clock.advance(24 * 3600)
    automation(world).job_runner.wake()
    await eventually(lambda: schedules.get(ADA, "nightly").is_completed)
    assert len(await automation(world).jobs.list(ADA, schedule="nightly")) == 2


async def test_what_was_deleted_meanwhile_does_not_come_back_by_being_saved(world: World) -> None:
    template = await pumps(world, 1)
    schedules, start = automation(world).scheduled_jobs, world.clock.now() + timedelta(hours=1)
    made = await schedules.put(ADA, ScheduleId("nightly"), draft(template), Schedule(start, "daily"))
    await schedules.delete(ADA, "nightly")
    with pytest.raises(NotFound, match=r"job\.schedule_unknown"):
        await schedules.put(ADA, made.schedule_id, made.draft, made.schedule, if_match=made.etag)
    boards = world.app.application.dashboards
    board = await boards.put(ADA, "hall", "Hall", Dashboard(), is_personal=True)
    await boards.delete(ADA, "hall")
    with pytest.raises(NotFound, match=r"dashboard\.unknown"):
        await boards.put(ADA, "hall", "The hall", Dashboard(), is_personal=True, if_match=board.etag)
    assert (schedules.all(ADA), await boards.list(ADA)) == ([], [])


async def test_what_no_template_has_is_refused_before_anything_is_done(world: World) -> None:
    template = await pumps(world, 1)
    jobs = automation(world).jobs
    for data, reason in (
        (JobData("property", template, "nowhere", 1), "property.value"),
        (JobData("property", template, "serial", "x"), "property.value"),
        (JobData("property", template, "limit", "hot"), "property.value"),
        (JobData("command", template, "explode"), "job.data"),
        (JobData("property", "dtmi:example:Fan;1", "limit", 1), "job.data"),
    ):
        with pytest.raises(Refusal) as caught:
            await jobs.create(ADA, draft(template, data=(data,)))
        assert caught.value.reason == reason
    assert await jobs.list(ADA) == []


async def test_jobs_of_other_organisations_are_not_there(world: World) -> None:
    template = await pumps(world, 1)
    await automation(world).jobs.create(ADA, draft(template), JobId("job-1"))
    stranger = Actor("user:eve", frozenset(ALL_PERMISSIONS), organizations=frozenset())
    assert await automation(world).jobs.list(stranger) == []
    with pytest.raises(Refusal, match=r"job\.unknown"):
        automation(world).jobs.get(stranger, "job-1")


async def test_old_jobs_are_forgotten_with_their_rows(world: World) -> None:
    template = await pumps(world, 1)
    await automation(world).jobs.create(ADA, draft(template), JobId("job-1"))
    await ended(world, "job-1")
    world.clock.advance(timedelta(days=31).total_seconds())
    await automation(world).job_runner._forget_old()
    assert await automation(world).jobs.list(ADA) == []
    assert world.app.store.read().device_jobs.rows(DEFAULT_HUB, JobId("job-1"), after="", limit=10) == []


async def test_a_job_that_goes_on_is_not_forgotten(world: World) -> None:
    hub, store, job_id = DEFAULT_HUB, world.app.store, JobId("job-1")
    template = await pumps(world, 1)
    long_ago = world.clock.now() - timedelta(days=99)
    resumed = Job(hub, job_id, draft(template), long_ago, "owner", is_frozen=True)
    row = JobRow(DeviceId("pump-0"), 0, "pending", long_ago)

    def put(tables: Any, job: Job) -> None:
        tables.device_jobs.put(job)
        tables.device_jobs.put_rows(hub, job_id, [row])

    await store.write(partial(put, job=resumed))
    runner = automation(world).job_runner
    await store.write(partial(runner._forget_some, job_id, world.clock.now()))
    assert store.read().device_jobs.rows(hub, job_id, after="", limit=9) == [row]


async def test_what_was_done_is_kept_where_the_disk_was_full_for_another_device(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.automation.job_runner._PAUSE_AFTER_FAILURE_S", 0.05)
    hub, now, template = HubId("other"), world.clock.now(), TemplateId("dtmi:example:Pump;1")

    class Pumps:
        async def members(self, actor: Actor, group_id: DeviceGroupId, limit: int = 100, after: str = "") -> Members:
            return Members([DeviceRecord(hub, DeviceId(f"pump-{at}"), "", now) for at in range(2)], "")

    async def act(actor: Actor, job: Job, device_id: DeviceId) -> str:
        if device_id == "pump-0":
            raise Unavailable("store.full", "the disk is full")
        await asyncio.sleep(0.01)
        return "answered 200"

    command = draft(template, data=(JobData("command", template, "restart"),), batch=None)
    job = Job(hub, JobId("restart"), command, now, "owner", acts_for=OWNER.maker)
    await world.app.store.write(lambda tables: tables.device_jobs.put(job))
    runner = JobRunner(hub, world.app.store, Pumps(), act, world.clock, history=timedelta(days=1))
    task = asyncio.create_task(runner.run())
    tables = world.app.store.read
    try:
        await eventually(lambda: getattr(tables().device_jobs.find(hub, JobId("restart")), "status", "") == "completed")
        rows = tables().device_jobs.rows(hub, JobId("restart"), after="", limit=9)
        assert [(row.outcome, row.reason, row.message) for row in rows[1:]] == [("completed", "", "answered 200")]
        assert rows[0].reason == "job.interrupted"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_devices_that_fail_at_once_leave_the_loop_to_others(world: World) -> None:
    hub, now = HubId("other"), world.clock.now()

    class Ghosts:
        async def members(self, actor: Actor, group_id: DeviceGroupId, limit: int = 100, after: str = "") -> Members:
            return Members([DeviceRecord(hub, DeviceId(f"ghost-{at}"), "", now) for at in range(60)], "")

    rounds, begun = 0, Counter[int]()

    async def act(actor: Actor, job: Job, device_id: DeviceId) -> str:
        begun[rounds] += 1
        raise NotFound("device.unknown", f"'{device_id}' never registered")

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    job = Job(
        hub, JobId("ghosts"), draft(TemplateId("dtmi:example:Pump;1"), batch=None), now, "owner", acts_for=OWNER.maker
    )
    await world.app.store.write(lambda tables: tables.device_jobs.put(job))
    runner = JobRunner(hub, world.app.store, Ghosts(), act, world.clock, history=timedelta(days=1))
    tasks = [asyncio.create_task(count()), asyncio.create_task(runner.run())]

    def is_over() -> bool:
        found = world.app.store.read().device_jobs.find(hub, JobId("ghosts"))
        return found is not None and found.counts.failed == 60

    try:
        await eventually(is_over)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(begun.values()) == 60 and max(begun.values()) <= 10

"""Jobs carried out on a real store: by condition, in pieces, on time, and by whoever comes after a crash."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest

from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.clock import HandClock
from moorage.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable
from moorage.events import Event
from moorage.hub import job_runner
from moorage.hub import jobs as jobs_module
from moorage.hub.job_model import Counts, Job, JobDevice, JobId, JobTables
from moorage.hub.job_runner import JobRunner
from moorage.hub.jobs import JobDraft, JobService
from moorage.hub.methods import MethodCall, MethodReply, MethodService
from moorage.hub.model import HubTables
from moorage.hub.sessions import Line, LiveSessions
from moorage.hub.targets import Collection
from moorage.hub.twins import TwinChange
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod
from moorage.identities.registry import IdentityDraft, create_in, delete_in
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName
from moorage.store import Store

R = TypeVar("R")
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
BLUE = TwinChange(desired={"colour": "blue"})


class ByPrefix:
    """Conditions of one kind: the beginning of a device's id; `*` is everybody, `?` is none."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.asked: list[IdentityName | None] = []

    def check(self, condition: str, collection: Collection) -> None:
        if condition.startswith("?"):
            raise Invalid("query.token", f"{condition!r} is no beginning of an id")

    def matches(
        self, tables: HubTables, hub: HubId, condition: str, collection: Collection, name: IdentityName
    ) -> bool:
        is_there = tables.identities.find(hub, name) is not None
        return is_there and (condition == "*" or name.device_id.startswith(condition))

    async def select(
        self, hub: HubId, condition: str, collection: Collection, *, after: IdentityName | None, limit: int
    ) -> Sequence[IdentityName]:
        self.check(condition, collection)
        self.asked.append(after)

        def work(tables: AllTables) -> list[IdentityName]:
            found: list[IdentityName] = []
            last = None if after is None else after.device_id
            while len(found) < limit and (piece := tables.identities.list_devices(hub, limit, last)):
                last = piece[-1].name.device_id
                found += [each.name for each in piece if self.matches(tables, hub, condition, collection, each.name)]
            return found[:limit]

        return await self._store.scan(work)


class Answering:
    """A connected device: `answers` says what it gives to a call; None is silence."""

    epoch = 1
    last_received = 0.0

    def __init__(self, world: World, who: AuthenticatedIdentity, answer: MethodReply | None) -> None:
        self._world, self.who, self.answer = world, who, answer
        self.calls = 0

    @property
    def name(self) -> IdentityName:
        return self.who.identity.name

    def end(self, reason: str, message: str) -> None: ...

    def desired_changed(self, patch: dict[str, Any], version: int) -> None: ...

    def messages_waiting(self) -> None: ...

    def line(self) -> Line:
        return Line("MQTT 3.1.1", "TLSv1.3", "192.0.2.9:50000", None)

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        self.calls += 1
        if self.answer is not None:
            asyncio.get_running_loop().call_soon(
                self._world.methods.answered, DEFAULT_HUB, self.name, request_id, self.answer
            )
        return True


class FullDisk:
    """A store that takes no writes as long as `is_full`; `refused_at` are the loop's times of those it refused."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.is_full = True
        self.refused_at: list[float] = []

    def read(self) -> AllTables:
        return self._store.read()

    async def scan(self, work: Callable[[AllTables], R]) -> R:
        return await self._store.scan(work)

    async def write(self, work: Callable[[AllTables], R]) -> R:
        if self.is_full:
            self.refused_at.append(asyncio.get_running_loop().time())
            raise Unavailable("store.full", "there is no room on the disk")
        return await self._store.write(work)


class World:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = HandClock(NOW)
        self.targets = ByPrefix(store)
        self.live = LiveSessions()
        self.methods = MethodService(store, self.live)
        self.runner: JobRunner | None = None
        self.jobs = JobService(DEFAULT_HUB, store, self.targets, self.clock, self._wake)

    def _wake(self) -> None:
        if self.runner is not None:
            self.runner.wake()

    def start(self, *, places: int = 10, reconnect_s: float = 0.0) -> JobRunner:
        self.runner = self.another(places=places, reconnect_s=reconnect_s)
        return self.runner

    def another(
        self, *, places: int = 10, reconnect_s: float = 0.0, store: Store[JobTables] | None = None
    ) -> JobRunner:
        runner = JobRunner(
            DEFAULT_HUB,
            store or self.store,
            self.targets,
            self.methods,
            self.clock,
            places=places,
            history=timedelta(days=30),
            poll_s=0.02,
            reconnect_s=reconnect_s,
        )
        runner.start()
        return runner

    async def crash(self) -> None:
        """The tasks are gone; what they had handed to the store by then is written, as it may be in a crash, or not."""
        assert self.runner is not None
        await self.runner.close()
        self.runner = None
        # The store writes in order: behind this, nothing of theirs is under way.
        await self.store.write(lambda tables: None)

    async def devices(self, *ids: str) -> None:
        def work(tables: AllTables) -> None:
            for each in ids:
                create_in(tables, DEFAULT_HUB, IdentityDraft(IdentityName(DeviceId(each))), NOW)

        await self.store.write(work)

    def connect(self, device_id: str, answer: MethodReply | None) -> Answering:
        identity = self.store.read().identities.find(DEFAULT_HUB, IdentityName(DeviceId(device_id)))
        assert identity is not None
        device = Answering(self, AuthenticatedIdentity(identity, AuthMethod("device", "sas", "iothub"), None), answer)
        self.live.add(device)
        return device

    async def create(self, job_id: str = "j", **members: Any) -> Job:
        draft = JobDraft(**{"job_id": JobId(job_id), "work": BLUE, "condition": "*", **members})
        return await self.jobs.create(draft, by="owner")

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while True:
                if is_so():
                    return
                await asyncio.sleep(0.005)

    async def ended(self, job_id: str = "j") -> Job:
        await self.until(lambda: self.job(job_id).ended is not None)
        job = self.job(job_id)
        self.expect_counted(job)
        return job

    def job(self, job_id: str = "j") -> Job:
        return self.jobs.get(JobId(job_id))

    def exists(self, job_id: str) -> bool:
        return self.store.read().jobs.find(DEFAULT_HUB, JobId(job_id)) is not None

    def rows(self, job_id: str = "j") -> list[JobDevice]:
        return self.store.read().job_devices.page(DEFAULT_HUB, JobId(job_id), after=None, limit=100_000)

    async def states(self, job_id: str = "j") -> dict[str, str]:
        rows = await self.jobs.devices(JobId(job_id), limit=100_000)
        return {row.device_id: row.status for row in rows}

    def versions(self) -> Counter[int]:
        """How many twins have been written how often: a desired version of 1 is an untouched one."""
        tables = self.store.read()
        names = [each.name for each in tables.identities.list_devices(DEFAULT_HUB, 100_000)]
        twins = [tables.twins.find(DEFAULT_HUB, name) for name in names]
        return Counter(1 if twin is None else twin.desired.version for twin in twins)

    async def expect_told(self, events: list[Event], devices: int) -> None:
        """So many were told of new desired properties: no more, and no fewer, once what is committed is published."""
        await self.store.write(lambda tables: None)
        assert [event.kind for event in events].count("twin.desired") == devices

    def expect_counted(self, job: Job) -> None:
        """The statistics are what the rows say."""
        found = Counter(row.status for row in self.rows(job.job_id))
        left = found["pending"] + found["running"]
        if job.status == "failed":
            found["failed"] += left
        if job.ended is not None:
            found["pending"] = found["running"] = 0
        devices = len(self.rows(job.job_id))
        assert job.counts == Counts(devices, found["completed"], found["failed"], found["running"], found["pending"])


@pytest.fixture
async def world(store: SqliteStore) -> AsyncIterator[World]:
    made = World(store)
    yield made
    if made.runner is not None:
        await made.runner.close()


async def test_a_twin_update_reaches_every_selected_device_once(world: World, events: list[Event]) -> None:
    await world.devices(*(f"blue-{n:03}" for n in range(60)), "red-1")
    world.start()
    assert (await world.create(condition="blue-")).status == "queued"
    job = await world.ended()
    assert job.status == "completed"
    assert job.counts == Counts(devices=60, succeeded=60)
    assert world.versions() == {2: 60, 1: 1}
    await world.expect_told(events, 60)


async def test_a_condition_is_asked_page_by_page_and_frozen(world: World) -> None:
    await world.devices(*(f"d{n:04}" for n in range(1100)))
    world.start()
    await world.create()
    job = await world.ended()
    assert job.counts.succeeded == 1100
    assert [after and after.device_id for after in world.targets.asked] == [None, "d0499", "d0999"]


async def test_a_job_for_nobody_is_complete(world: World) -> None:
    world.start()
    await world.create(condition="nobody")
    job = await world.ended()
    assert (job.status, job.counts) == ("completed", Counts())


async def test_listed_devices_that_are_not_there_fail_and_the_others_do_not(world: World) -> None:
    await world.devices("a", "b")
    world.start()
    await world.create(condition=None, device_ids=(DeviceId("b"), DeviceId("ghost"), DeviceId("a")))
    job = await world.ended()
    assert (job.status, job.counts) == ("completed", Counts(devices=3, succeeded=2, failed=1))
    (failed,) = await world.jobs.devices(JobId("j"), limit=10, status="failed")
    assert (failed.device_id, failed.reason) == ("ghost", "device.not_found")


async def test_a_twin_without_room_for_the_patch_fails_alone(world: World) -> None:
    await world.devices("full", "free")
    patch = TwinChange(tags={f"t{n}": "x" * 3900 for n in range(2)})
    world.start()
    await world.create("fills", work=patch, condition="full")
    await world.ended("fills")
    await world.create(work=TwinChange(tags={"more": "y" * 600}))
    job = await world.ended()
    assert job.counts == Counts(devices=2, succeeded=1, failed=1)
    (failed,) = await world.jobs.devices(JobId("j"), limit=10, status="failed")
    assert (failed.device_id, failed.reason) == ("full", "twin.size")


async def test_a_future_job_waits_for_the_wall_clock(world: World) -> None:
    await world.devices("a")
    world.start()
    start = NOW + timedelta(hours=2)
    assert (await world.create(start=start)).status == "queued"
    await world.until(lambda: world.job().status == "scheduled")
    world.clock.set_wall(start - timedelta(seconds=1))
    await asyncio.sleep(0.1)
    assert world.job().status == "scheduled"
    world.clock.set_wall(start)
    job = await world.ended()
    assert (job.status, job.started) == ("completed", start)


async def test_a_scheduled_job_that_is_cancelled_touches_nobody(world: World) -> None:
    await world.devices("a")
    world.start()
    await world.create(start=NOW + timedelta(hours=1))
    assert (await world.jobs.cancel(JobId("j"), by="owner")).status == "cancelled"
    world.clock.advance(7200)
    await asyncio.sleep(0.1)
    assert world.job().status == "cancelled"
    assert world.versions() == {1: 1}


async def test_a_running_job_that_is_cancelled_stops_where_it_is(world: World) -> None:
    await world.devices("a", "b")
    silent = world.connect("a", None)
    world.start()
    await world.create(work=MethodCall("m", connect_timeout_s=300, response_timeout_s=300))
    await world.until(lambda: silent.calls == 1)
    job = await world.jobs.cancel(JobId("j"), by="owner")
    assert (job.status, job.counts) == ("cancelled", Counts(devices=2))
    assert await world.states() == {"a": "canceled", "b": "canceled"}
    runner = world.runner
    assert runner is not None
    await world.until(lambda: runner.running == 0)
    assert world.job() == job
    assert await world.jobs.cancel(JobId("j"), by="owner") == job


async def test_what_has_ended_cannot_be_cancelled(world: World) -> None:
    world.start()
    await world.create()
    await world.ended()
    with pytest.raises(Conflict, match=r"job\.finished"):
        await world.jobs.cancel(JobId("j"), by="owner")
    with pytest.raises(NotFound, match=r"job\.unknown"):
        await world.jobs.cancel(JobId("other"), by="owner")


async def test_methods_are_called_and_their_answers_kept(world: World) -> None:
    await world.devices("away", "down", "up")
    up = world.connect("up", MethodReply(200, {"done": True}))
    world.connect("down", MethodReply(503, None))
    world.start()
    await world.create(work=MethodCall("reboot", {"in": 5}))
    job = await world.ended()
    assert (job.status, job.counts) == ("completed", Counts(devices=3, succeeded=2, failed=1))
    rows = {row.device_id: row for row in world.rows()}
    assert rows[DeviceId("up")].reply == MethodReply(200, {"done": True})
    assert rows[DeviceId("down")].reply == MethodReply(503, None)
    assert rows[DeviceId("away")].reason == "device.not_online"
    assert up.calls == 1


async def test_many_methods_are_under_way_at_a_time_and_not_all(world: World) -> None:
    ids = [f"d{n:03}" for n in range(250)]
    await world.devices(*ids)
    devices = [world.connect(each, None) for each in ids]
    world.start()
    await world.create(work=MethodCall("m", response_timeout_s=300))
    await world.until(lambda: sum(each.calls for each in devices) == 100)
    await asyncio.sleep(0.1)
    assert sum(each.calls for each in devices) == 100
    assert world.job().counts == Counts(devices=250, running=100, pending=150)
    world.expect_counted(world.job())


async def test_a_very_long_answer_is_left_out_and_says_so(world: World) -> None:
    await world.devices("a")
    world.connect("a", MethodReply(200, "x" * 20_000))
    world.start()
    await world.create(work=MethodCall("m"))
    await world.ended()
    (row,) = world.rows()
    assert row.reply == MethodReply(200, None)
    assert row.message is not None and "20002 bytes" in row.message


async def test_time_runs_out_for_what_is_left(world: World) -> None:
    await world.devices("a", "b", "c")
    world.connect("a", MethodReply(200, None))
    silent = world.connect("b", None)
    world.start()
    await world.create(work=MethodCall("m", response_timeout_s=300), max_execution_s=60)
    await world.until(lambda: world.job().counts.succeeded == 1 and silent.calls == 1)
    await world.until(lambda: world.job().counts.failed == 1)
    world.clock.advance(60)
    job = await world.ended()
    assert (job.status, job.failure_reason) == ("failed", "job.out_of_time")
    assert job.counts == Counts(devices=3, succeeded=1, failed=2)
    assert await world.states() == {"a": "completed", "b": "failed", "c": "failed"}


async def test_only_so_many_jobs_run_at_a_time_and_the_others_get_their_turn(world: World) -> None:
    await world.devices("a")
    silent = world.connect("a", None)
    world.start(places=2)
    for n in range(4):
        await world.create(f"j{n}", work=MethodCall("m", response_timeout_s=300))

    def statuses() -> list[str]:
        return [world.job(f"j{n}").status for n in range(4)]

    await world.until(lambda: silent.calls == 2 and statuses()[3] == "enqueued")
    await asyncio.sleep(0.1)
    assert statuses() == ["running", "running", "enqueued", "enqueued"]
    assert silent.calls == 2
    await world.jobs.cancel(JobId("j0"), by="owner")
    await world.until(lambda: silent.calls == 3)
    assert world.job("j2").status == "running"


async def test_a_crash_between_two_batches_loses_nothing_and_repeats_nothing(world: World, events: list[Event]) -> None:
    await world.devices(*(f"d{n:04}" for n in range(700)))
    crashes = 0
    await world.create()
    while world.job().ended is None:
        before = world.job()
        world.start()
        await world.until(partial(_has_moved, world, before))
        await world.crash()
        world.expect_counted(world.job())
        crashes += 1
    assert crashes > 5
    assert world.job().counts == Counts(devices=700, succeeded=700)
    assert world.versions() == {2: 700}
    await world.expect_told(events, 700)


def _has_moved(world: World, before: Job) -> bool:
    return world.job().counts != before.counts or world.job().ended is not None


async def test_a_call_under_way_in_a_crash_is_not_made_again(world: World) -> None:
    await world.devices("a", "b")
    silent = world.connect("a", None)
    world.start()
    await world.create(work=MethodCall("m", response_timeout_s=300), condition="a")
    await world.until(lambda: silent.calls == 1)
    await world.crash()
    assert [row.status for row in world.rows()] == ["running"]
    silent.answer = MethodReply(200, None)
    world.start()
    job = await world.ended()
    assert (job.status, job.counts) == ("completed", Counts(devices=1, failed=1))
    assert [row.reason for row in world.rows()] == ["job.interrupted"]
    assert silent.calls == 1


async def test_a_job_from_before_the_start_waits_for_devices_to_come_back(world: World) -> None:
    await world.devices("a")
    await world.create(work=MethodCall("m"))
    world.clock.advance(1)
    world.start(reconnect_s=3600)
    await world.until(lambda: world.job().is_frozen)
    device = world.connect("a", MethodReply(200, None))
    await world.create("new", work=MethodCall("m"))
    assert (await world.ended("new")).counts.succeeded == 1
    assert device.calls == 1
    await world.crash()
    began = asyncio.get_running_loop().time()
    world.start(reconnect_s=0.2)
    assert (await world.ended()).counts.succeeded == 1
    assert asyncio.get_running_loop().time() - began > 0.19
    assert device.calls == 2


async def test_what_was_left_is_taken_over_when_the_disk_has_room_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runner, "_PAUSE_AFTER_FAILURE_S", 0.01)
    await world.devices("a")
    silent = world.connect("a", None)
    world.start()
    await world.create(work=MethodCall("m", response_timeout_s=300))
    await world.until(lambda: silent.calls == 1)
    await world.crash()
    disk = FullDisk(world.store)
    world.runner = world.another(store=disk)
    await world.until(lambda: len(disk.refused_at) > 2)
    assert world.job().status == "running"
    disk.is_full = False
    job = await world.ended()
    assert (job.status, job.counts) == ("completed", Counts(devices=1, failed=1))


async def test_a_job_that_cannot_even_be_given_up_waits_and_fails_later(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_runner, "_PAUSE_AFTER_FAILURE_S", 0.3)
    await world.create(condition="x")
    disk = FullDisk(world.store)
    disk.is_full = False
    select = world.targets.select

    async def none_any_more(*arguments: Any, **named: Any) -> Sequence[IdentityName]:
        await select(*arguments, **named)
        disk.is_full = True
        raise Invalid("query.token", "no condition any more")

    monkeypatch.setattr(world.targets, "select", none_any_more)
    world.runner = world.another(store=disk)
    await world.until(lambda: len(disk.refused_at) > 1)
    first, second = disk.refused_at[:2]
    assert second - first > 0.29, "it tried again at once"
    assert "job_waits" in caplog.text
    monkeypatch.setattr(world.targets, "select", select)
    disk.is_full = False
    assert (await world.ended()).status == "completed"


async def test_a_job_that_another_runner_carries_out_takes_no_place_here(world: World) -> None:
    await world.devices("a")
    world.start(places=1)
    theirs = replace(await world.create("theirs", start=NOW + timedelta(hours=1)), status="running", runner="other")
    await world.store.write(lambda tables: tables.jobs.put(replace(theirs, started=NOW)))
    await world.create("ours")
    assert (await world.ended("ours")).counts.succeeded == 1
    assert world.job("theirs").status == "running"


async def test_a_runner_whose_job_was_taken_over_writes_nothing_more(world: World) -> None:
    await world.devices("a")
    silent = world.connect("a", None)
    first = world.start()
    await world.create(work=MethodCall("m", response_timeout_s=300))
    await world.until(lambda: silent.calls == 1)
    second = world.another()
    try:
        job = await world.ended()
        assert job.counts == Counts(devices=1, failed=1)
        await world.until(lambda: first.running == 0)
        assert world.job() == job
    finally:
        await second.close()


async def test_two_runners_on_one_store_share_the_jobs(world: World, events: list[Event]) -> None:
    await world.devices(*(f"d{n:03}" for n in range(80)))
    world.start()
    second = world.another()
    try:
        for n in range(5):
            await world.create(f"j{n}")
        for n in range(5):
            assert (await world.ended(f"j{n}")).counts.succeeded == 80
    finally:
        await second.close()
    assert world.versions() == {6: 80}
    await world.expect_told(events, 400)


async def test_a_device_deleted_before_its_turn_fails_and_keeps_its_row(world: World) -> None:
    await world.devices("a", "b")
    world.start(places=1)
    blocker = world.connect("b", None)
    await world.create("first", work=MethodCall("m", response_timeout_s=300), condition="b")
    await world.until(lambda: blocker.calls == 1)
    await world.create(condition=None, device_ids=(DeviceId("a"),))
    name = IdentityName(DeviceId("a"))
    await world.store.write(lambda tables: delete_in(tables, DEFAULT_HUB, name))
    await world.jobs.cancel(JobId("first"), by="owner")
    assert (await world.ended()).counts == Counts(devices=1, failed=1)
    assert [(row.device_id, row.reason) for row in world.rows()] == [("a", "device.not_found")]


async def test_a_condition_that_is_none_is_refused_and_nothing_is_kept(world: World) -> None:
    with pytest.raises(Invalid, match=r"query\.token"):
        await world.create(condition="? what")
    with pytest.raises(NotFound):
        world.job()


async def test_a_condition_that_became_none_fails_its_job(world: World) -> None:
    made = await world.create()
    await world.store.write(lambda tables: tables.jobs.put(replace(made, condition="? what")))
    world.start()
    job = await world.ended()
    assert (job.status, job.failure_reason) == ("failed", "query.token")


async def test_an_id_is_used_once(world: World) -> None:
    await world.create()
    with pytest.raises(Conflict, match=r"job\.exists"):
        await world.create()


async def test_too_many_waiting_jobs_are_told_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_UNFINISHED", 2)
    await world.create("a", start=NOW + timedelta(days=1))
    await world.create("b", start=NOW + timedelta(days=1))
    with pytest.raises(Exhausted, match=r"job\.too_many"):
        await world.create("c")
    await world.jobs.cancel(JobId("a"), by="owner")
    assert (await world.create("c")).status == "queued"


async def test_jobs_are_forgotten_a_month_after_their_end(world: World) -> None:
    await world.devices(*(f"d{n:04}" for n in range(600)))
    world.start()
    await world.create("old")
    await world.ended("old")
    world.clock.advance(86400)
    await world.create("new", condition="d000")
    await world.ended("new")
    world.clock.advance(29 * 86400 + 1)
    await world.until(lambda: not world.exists("old"))
    assert world.rows("old") == []
    assert world.exists("new")
    assert len(world.rows("new")) == 10


async def test_jobs_are_listed_newest_first_by_type_and_status(world: World) -> None:
    for n, work in enumerate([BLUE, MethodCall("m"), BLUE]):
        await world.create(f"j{n}", work=work, start=NOW + timedelta(days=1))
        world.clock.advance(1)
    await world.jobs.cancel(JobId("j0"), by="owner")
    assert [job.job_id for job in await world.jobs.page(limit=10)] == ["j2", "j1", "j0"]
    assert [job.job_id for job in await world.jobs.page(limit=10, kind="twin")] == ["j2", "j0"]
    assert [job.job_id for job in await world.jobs.page(limit=10, status="cancelled")] == ["j0"]
    assert [job.job_id for job in await world.jobs.page(limit=10, kind="method", status="cancelled")] == []
    (newest,) = await world.jobs.page(limit=1)
    behind = await world.jobs.page(limit=1, before=(newest.created, newest.job_id))
    assert [job.job_id for job in behind] == ["j1"]


async def test_a_job_waits_while_the_store_takes_no_writes(world: World) -> None:
    await world.devices("a")
    await world.create()
    world.store.close()
    runner = world.start()
    await asyncio.sleep(0.1)
    assert runner.running == 0
    with pytest.raises(Unavailable):
        world.job()

"""Jobs and the rows of their devices: what is put is found, in order, by an index."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from moorage.adapters.sqlite import AllTables, SqliteStore, job_tables, schema
from moorage.hub.job_model import Counts, Job, JobDevice, JobHead, JobId, JobKind, JobStatus
from moorage.hub.methods import MethodCall, MethodReply
from moorage.hub.twins import TwinChange
from moorage.ids import DeviceId

from .samples import HUB, LATER, OTHER_HUB, THEN

J = JobId("job-1")
TWIN = Job(
    HUB,
    J,
    TwinChange(tags={"site": None, "ä": [1.5, "x"]}, desired={"a": {"b": 2}}),
    "tags.site = 'a'",
    None,
    THEN,
    LATER,
    90,
    "running",
    "runner-1",
    THEN,
    None,
    "job.fault",
    "what went wrong",
    True,
    DeviceId("pump-09"),
    Counts(9, 4, 3, 2, 1),
)
METHOD = Job(
    HUB,
    JobId("job-2"),
    MethodCall("reboot", [None, {"in": 5}], 40, 7),
    None,
    (DeviceId("a"), DeviceId("b")),
    THEN,
    THEN,
    1,
)


def ids(*names: str) -> list[DeviceId]:
    return [DeviceId(name) for name in names]


def job(job_id: str, status: JobStatus = "queued", seconds: int = 0, kind: JobKind = "twin") -> Job:
    moment = THEN + timedelta(seconds=seconds)
    ended = moment if status in ("completed", "failed", "cancelled") else None
    made = dataclasses.replace(
        TWIN, job_id=JobId(job_id), status=status, created=moment, start=moment, started=None, ended=ended, runner=""
    )
    return made if kind == "twin" else dataclasses.replace(made, work=METHOD.work)


@pytest.mark.parametrize("sample", [TWIN, METHOD], ids=["twin", "method"])
async def test_a_job_comes_back_as_it_was_last_put(store: SqliteStore, sample: Job) -> None:
    await store.write(lambda tables: tables.jobs.put(dataclasses.replace(sample, status="enqueued", counts=Counts())))
    await store.write(lambda tables: tables.jobs.put(sample))
    jobs = store.read().jobs
    assert jobs.find(HUB, sample.job_id) == sample
    assert jobs.find(OTHER_HUB, sample.job_id) is None
    await store.write(lambda tables: tables.jobs.delete(HUB, sample.job_id))
    assert jobs.find(HUB, sample.job_id) is None


async def test_jobs_that_have_not_ended_come_in_the_order_they_are_due(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for each in (job("late", "scheduled", 9), job("done", "completed"), job("first"), job("next", "running", 3)):
            tables.jobs.put(each)
        tables.jobs.put(dataclasses.replace(job("foreign"), hub=OTHER_HUB))

    await store.write(put)
    assert store.read().jobs.unfinished(HUB) == [
        JobHead(JobId("first"), "queued", THEN, ""),
        JobHead(JobId("next"), "running", THEN + timedelta(seconds=3), ""),
        JobHead(JobId("late"), "scheduled", THEN + timedelta(seconds=9), ""),
    ]
    assert store.read().jobs.ended_before(HUB, LATER, 10) == ["done"]
    assert store.read().jobs.ended_before(HUB, THEN, 10) == []


async def test_pages_of_jobs_meet_without_a_gap_and_without_a_double(store: SqliteStore) -> None:
    # Three of each second: a page may end between jobs that were made at the same moment.
    every = [
        job(f"job-{n:02}", "failed" if n % 2 else "queued", n // 3, "method" if n % 5 else "twin") for n in range(20)
    ]

    def put(tables: AllTables) -> None:
        for each in every:
            tables.jobs.put(each)

    await store.write(put)
    jobs = store.read().jobs
    for kind in (None, "twin", "method"):
        for status in (None, "queued", "failed"):
            wanted = [each for each in every if kind in (None, each.kind) and status in (None, each.status)]
            found: list[Job] = []
            while page := jobs.page(
                HUB,
                limit=2,
                kind=kind,
                status=status,
                before=(found[-1].created, found[-1].job_id) if found else None,
            ):
                found += page
            assert found == wanted[::-1]


async def test_the_row_of_a_device_comes_back_as_it_was_last_put(store: SqliteStore) -> None:
    rows = [
        JobDevice(DeviceId("a"), "completed", LATER, THEN, LATER, MethodReply(503, {"ä": None})),
        JobDevice(DeviceId("b"), "completed", LATER, THEN, LATER, MethodReply(200, None)),
        JobDevice(DeviceId("c"), "failed", LATER, THEN, LATER, None, "twin.size", "it is full"),
        JobDevice(DeviceId("d"), "running", LATER, THEN),
    ]

    def put(tables: AllTables) -> int:
        new = tables.job_devices.add(HUB, J, ids("a", "b", "c", "d", "e"), THEN)
        tables.job_devices.put(HUB, J, rows)
        return new

    assert await store.write(put) == 5
    table = store.read().job_devices
    pending = JobDevice(DeviceId("e"), "pending", THEN)
    assert table.page(HUB, J, after=None, limit=10) == [*rows, pending]
    assert table.page(HUB, J, after=DeviceId("b"), limit=2) == [rows[2], rows[3]]
    assert table.page(HUB, J, after=None, limit=10, statuses=["failed", "pending"]) == [rows[2], pending]
    assert table.page(HUB, JobId("other"), after=None, limit=10) == []
    assert table.find(HUB, J, DeviceId("c")) == rows[2]
    assert table.find(OTHER_HUB, J, DeviceId("c")) is None
    assert table.open(HUB, J, "pending", 10) == ["e"]
    assert table.open(HUB, J, "running", 10) == ["d"]


async def test_adding_devices_again_changes_nothing_of_those_that_are_there(store: SqliteStore) -> None:
    done = JobDevice(DeviceId("a"), "completed", LATER, LATER, LATER)

    def put(tables: AllTables) -> int:
        tables.job_devices.put(HUB, J, [done])
        return tables.job_devices.add(HUB, J, ids("a", "b"), THEN)

    assert await store.write(put) == 1
    assert store.read().job_devices.find(HUB, J, DeviceId("a")) == done


async def test_rows_are_found_by_job_by_device_and_all_of_them_in_order(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        for each in ("j2", "j1", "j3"):
            tables.job_devices.add(HUB, JobId(each), ids("a", "b"), THEN)
        tables.job_devices.add(OTHER_HUB, JobId("j9"), ids("a"), THEN)

    await store.write(put)
    table = store.read().job_devices
    assert table.jobs_of(HUB, DeviceId("a"), after=None, limit=10) == ["j1", "j2", "j3"]
    assert table.jobs_of(HUB, DeviceId("a"), after=JobId("j1"), limit=1) == ["j2"]
    seen = [(job_id, row.device_id) for job_id, row in table.behind(HUB, None, 10)]
    assert seen == [(job_id, device) for job_id in ("j1", "j2", "j3") for device in ("a", "b")]
    behind = [(job_id, row.device_id) for job_id, row in table.behind(HUB, (JobId("j1"), DeviceId("b")), 2)]
    assert behind == [("j2", "a"), ("j2", "b")]


async def test_rows_are_deleted_in_pieces(store: SqliteStore) -> None:
    await store.write(lambda tables: tables.job_devices.add(HUB, J, ids("a", "b", "c"), THEN))
    await store.write(lambda tables: tables.job_devices.add(HUB, JobId("job-2"), ids("a"), THEN))
    assert await store.write(lambda tables: tables.job_devices.delete_some(HUB, J, 2)) == 2
    assert await store.write(lambda tables: tables.job_devices.delete_some(HUB, J, 2)) == 1
    assert await store.write(lambda tables: tables.job_devices.delete_some(HUB, J, 2)) == 0
    assert len(store.read().job_devices.behind(HUB, None, 10)) == 1


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (job_tables.UNFINISHED, "COVERING INDEX ix_jobs_unfinished"),
        (job_tables.ENDED_BEFORE, "INDEX ix_jobs_ended"),
        (job_tables.LISTINGS[()], "INDEX ix_jobs_created"),
        (job_tables.LISTINGS["kind", "status"], "INDEX ix_jobs_created"),
        (job_tables.OPEN, "COVERING INDEX ix_job_devices_open"),
        (job_tables.LIST_DEVICES, "PRIMARY KEY"),
        (job_tables.BEHIND, "PRIMARY KEY"),
        (job_tables.JOBS_OF, "INDEX ix_job_devices_device"),
    ],
)
def test_no_look_up_sorts_or_reads_a_whole_table(sql: str, index: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in schema.create_statements():
            connection.execute(statement)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?")).fetchall()
    (step,) = (row[3] for row in plan)
    assert step.startswith("SEARCH") and index in step

"""Jobs of the application, what became of each of their devices, and schedules (port: `automation/jobs.py`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from moorage.accounts.model import OrganizationId
from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.documents import made, plain
from moorage.adapters.sqlite.statements import (
    compile_sql,
    delete_by,
    insert_into,
    limited,
    parameter,
    select_by,
    upsert,
)
from moorage.adapters.sqlite.values import from_json, from_micros, maybe_to_micros, to_json, to_micros
from moorage.automation.jobs import DeviceOutcome, Job, JobId, JobRow, ScheduledJob, ScheduleId
from moorage.ids import DeviceId, HubId

__all__ = ["DeviceJobs"]

_J, _R, _S = schema.device_jobs, schema.device_job_rows, schema.scheduled_jobs
_PUT = upsert(_J)
_FIND = select_by(_J, [_J.c.organization, _J.c.document], "hub_id", "job_id")
_DELETE = delete_by(_J, "hub_id", "job_id")
_ORDER = (_J.c.created.desc(), _J.c.job_id.desc())
_OF_HUB = sa.select(_J.c.organization, _J.c.document).where(_J.c.hub_id == parameter("hub_id"))
_BEHIND = sa.tuple_(_J.c.created, _J.c.job_id) < sa.tuple_(parameter("created"), parameter("job_id"))
_PAGE = compile_sql(limited(_OF_HUB.where(_BEHIND).order_by(*_ORDER)), "hub_id", "created", "job_id", "limit")
_PAGE_OF_SCHEDULE = compile_sql(
    limited(_OF_HUB.where(_BEHIND, _J.c.schedule_id == parameter("schedule_id")).order_by(*_ORDER)),
    "hub_id",
    "created",
    "job_id",
    "schedule_id",
    "limit",
)
_UNFINISHED = compile_sql(
    _OF_HUB.where(_J.c.status.in_((sa.literal_column("'pending'"), sa.literal_column("'running'")))).order_by(
        _J.c.created, _J.c.job_id
    ),
    "hub_id",
)
_ENDED = compile_sql(
    limited(sa.select(_J.c.job_id).where(_J.c.hub_id == parameter("hub_id"), _J.c.ended < parameter("ended"))),
    "hub_id",
    "ended",
    "limit",
)
_ADD_ROW = insert_into(_R)
_PUT_ROW = upsert(_R)
_ROW = [_R.c.device_id, _R.c.batch, _R.c.outcome, _R.c.updated, _R.c.reason, _R.c.message]
_IN_JOB = (_R.c.hub_id == parameter("hub_id"), _R.c.job_id == parameter("job_id"))
_IS_OPEN = _R.c.outcome.in_((sa.literal_column("'pending'"), sa.literal_column("'running'")))
_FIRST_OPEN = compile_sql(sa.select(sa.func.min(_R.c.batch)).where(*_IN_JOB, _IS_OPEN), "hub_id", "job_id")
_OPEN = compile_sql(
    limited(sa.select(*_ROW).where(*_IN_JOB, _R.c.batch == parameter("batch"), _IS_OPEN).order_by(_R.c.device_id)),
    "hub_id",
    "job_id",
    "batch",
    "limit",
)
_ROWS = compile_sql(
    limited(sa.select(*_ROW).where(*_IN_JOB, _R.c.device_id > parameter("after")).order_by(_R.c.device_id)),
    "hub_id",
    "job_id",
    "after",
    "limit",
)
_ROWS_THAT = compile_sql(
    limited(
        sa.select(*_ROW)
        .where(*_IN_JOB, _R.c.device_id > parameter("after"), _R.c.outcome == parameter("outcome"))
        .order_by(_R.c.device_id)
    ),
    "hub_id",
    "job_id",
    "after",
    "outcome",
    "limit",
)
_COUNT_FAILED = compile_sql(
    sa.select(sa.func.count()).where(
        *_IN_JOB, _R.c.batch == parameter("batch"), _R.c.outcome == sa.literal_column("'failed'")
    ),
    "hub_id",
    "job_id",
    "batch",
)
_DELETE_ROWS = (
    "DELETE FROM device_job_rows WHERE hub_id = ? AND job_id = ? AND device_id IN"
    " (SELECT device_id FROM device_job_rows WHERE hub_id = ? AND job_id = ? LIMIT ?)"
)
_PUT_SCHEDULE = upsert(_S)
_FIND_SCHEDULE = select_by(_S, [_S.c.organization, _S.c.document], "hub_id", "schedule_id")
_SCHEDULES = compile_sql(
    sa.select(_S.c.organization, _S.c.document).where(_S.c.hub_id == parameter("hub_id")).order_by(_S.c.schedule_id),
    "hub_id",
)
_DELETE_SCHEDULE = delete_by(_S, "hub_id", "schedule_id")
# Behind every time that there is.
_END = 2**62


class DeviceJobs:
    """Port: `automation.jobs.JobTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, job_id: JobId) -> Job | None:
        row = self._connection.execute(_FIND, (hub, job_id)).fetchone()
        return None if row is None else _job(*row)

    def put(self, job: Job) -> None:
        self._connection.execute(
            _PUT,
            (
                job.hub,
                job.job_id,
                job.draft.organization,
                job.scheduled_job_id,
                job.status,
                to_micros(job.created),
                maybe_to_micros(job.ended),
                to_json(plain(job, [])),
            ),
        )

    def page(
        self, hub: HubId, limit: int, *, before: tuple[datetime, JobId] | None = None, schedule: str | None = None
    ) -> list[Job]:
        created, job_id = (_END, "") if before is None else (to_micros(before[0]), before[1])
        if schedule is None:
            rows = self._connection.execute(_PAGE, (hub, created, job_id, limit)).fetchall()
        else:
            rows = self._connection.execute(_PAGE_OF_SCHEDULE, (hub, created, job_id, schedule, limit)).fetchall()
        return [_job(*row) for row in rows]

    def unfinished(self, hub: HubId) -> list[Job]:
        return [_job(*row) for row in self._connection.execute(_UNFINISHED, (hub,)).fetchall()]

    def ended_before(self, hub: HubId, moment: datetime, limit: int) -> list[JobId]:
        return [row[0] for row in self._connection.execute(_ENDED, (hub, to_micros(moment), limit)).fetchall()]

    def delete(self, hub: HubId, job_id: JobId) -> None:
        self._connection.execute(_DELETE, (hub, job_id))

    # -- rows ----------------------------------------------------------------------------------------------------------

    def add_rows(self, hub: HubId, job_id: JobId, rows: Iterable[JobRow]) -> None:
        self._connection.executemany(_ADD_ROW, [_row(hub, job_id, row) for row in rows])

    def put_rows(self, hub: HubId, job_id: JobId, rows: Iterable[JobRow]) -> None:
        self._connection.executemany(_PUT_ROW, [_row(hub, job_id, row) for row in rows])

    def open_rows(self, hub: HubId, job_id: JobId, limit: int) -> list[JobRow]:
        batch = self._connection.execute(_FIRST_OPEN, (hub, job_id)).fetchone()[0]
        if batch is None:
            return []
        return _rows(self._connection.execute(_OPEN, (hub, job_id, batch, limit)).fetchall())

    def rows(
        self, hub: HubId, job_id: JobId, *, after: str, limit: int, outcome: DeviceOutcome | None = None
    ) -> list[JobRow]:
        if outcome is None:
            return _rows(self._connection.execute(_ROWS, (hub, job_id, after, limit)).fetchall())
        return _rows(self._connection.execute(_ROWS_THAT, (hub, job_id, after, outcome, limit)).fetchall())

    def count_failed(self, hub: HubId, job_id: JobId, batch: int) -> int:
        number: int = self._connection.execute(_COUNT_FAILED, (hub, job_id, batch)).fetchone()[0]
        return number

    def delete_rows(self, hub: HubId, job_id: JobId, limit: int) -> int:
        return self._connection.execute(_DELETE_ROWS, (hub, job_id, hub, job_id, limit)).rowcount

    # -- schedules -----------------------------------------------------------------------------------------------------

    def find_schedule(self, hub: HubId, schedule_id: ScheduleId) -> ScheduledJob | None:
        row = self._connection.execute(_FIND_SCHEDULE, (hub, schedule_id)).fetchone()
        return None if row is None else _scheduled(*row)

    def schedules(self, hub: HubId) -> list[ScheduledJob]:
        rows = self._connection.execute(_SCHEDULES, (hub,)).fetchall()
        return [_scheduled(*row) for row in rows]

    def put_schedule(self, scheduled: ScheduledJob) -> None:
        document = to_json(plain(scheduled, []))
        row = (scheduled.hub, scheduled.schedule_id, scheduled.draft.organization, document)
        self._connection.execute(_PUT_SCHEDULE, row)

    def delete_schedule(self, hub: HubId, schedule_id: ScheduleId) -> None:
        self._connection.execute(_DELETE_SCHEDULE, (hub, schedule_id))


def _job(organization: str, document: str) -> Job:
    """Where it belongs is what its column says, since organisations that go away give it to another."""
    job = made(Job, from_json(document), [])
    return replace(job, draft=replace(job.draft, organization=OrganizationId(organization)))


def _scheduled(organization: str, document: str) -> ScheduledJob:
    scheduled = made(ScheduledJob, from_json(document), [])
    return replace(scheduled, draft=replace(scheduled.draft, organization=OrganizationId(organization)))


def _row(hub: HubId, job_id: JobId, row: JobRow) -> tuple[object, ...]:
    return hub, job_id, row.device_id, row.batch, row.outcome, to_micros(row.updated), row.reason, row.message


def _rows(found: Iterable[tuple[str, int, DeviceOutcome, int, str, str]]) -> list[JobRow]:
    return [
        JobRow(DeviceId(device_id), batch, outcome, from_micros(updated), reason, message)
        for device_id, batch, outcome, updated, reason, message in found
    ]

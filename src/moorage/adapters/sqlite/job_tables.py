"""Jobs and their devices (ports in `hub/job_model.py`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Literal, assert_never

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import (
    from_json,
    from_micros,
    maybe_from_micros,
    maybe_to_micros,
    to_json,
    to_micros,
)
from moorage.hub.job_model import Counts, DeviceStatus, Job, JobDevice, JobHead, JobId, JobKind, JobStatus, Work
from moorage.hub.methods import MethodCall, MethodReply
from moorage.hub.twins import TwinChange
from moorage.ids import DeviceId, HubId

__all__ = ["JobDevices", "Jobs"]

_J = schema.jobs.c
_D = schema.job_devices.c
# Behind every time and every id.
_LAST = (2**63 - 1, "")

_COLUMNS = [column for column in schema.jobs.c if column.name != "hub_id"]
_FIND = select_by(schema.jobs, _COLUMNS, "hub_id", "job_id")
_PUT = upsert(schema.jobs)
_DELETE = delete_by(schema.jobs, "hub_id", "job_id")
UNFINISHED = compile_sql(
    sa.select(_J.job_id, _J.status, _J.start, _J.runner)
    .where(_J.hub_id == parameter("hub_id"), _J.ended.is_(None))
    .order_by(_J.start, _J.created, _J.job_id),
    "hub_id",
)
ENDED_BEFORE = compile_sql(
    limited(
        sa.select(_J.job_id)
        .where(_J.hub_id == parameter("hub_id"), _J.ended.is_not(None), _J.ended < parameter("moment"))
        .order_by(_J.ended)
    ),
    "hub_id",
    "moment",
    "limit",
)


def _listing(*filters: str) -> str:
    """The newest first, behind (created, job_id)."""
    behind = sa.tuple_(_J.created, _J.job_id) < sa.tuple_(parameter("created"), parameter("last"))
    equal = [_J[name] == parameter(name) for name in filters]
    statement = (
        sa.select(*_COLUMNS)
        .where(_J.hub_id == parameter("hub_id"), behind, *equal)
        .order_by(_J.created.desc(), _J.job_id.desc())
    )
    return compile_sql(limited(statement), "hub_id", "created", "last", *filters, "limit")


LISTINGS: dict[tuple[str, ...], str] = {
    filters: _listing(*filters) for filters in ((), ("kind",), ("status",), ("kind", "status"))
}


class Jobs:
    """Port: `hub.job_model.JobTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, job_id: JobId) -> Job | None:
        row = self._connection.execute(_FIND, (hub, job_id)).fetchone()
        return None if row is None else _job(hub, *row)

    def put(self, job: Job) -> None:
        counts = job.counts
        self._connection.execute(
            _PUT,
            (
                job.hub,
                job.job_id,
                job.kind,
                to_json(_work_row(job.work)),
                job.condition,
                None if job.device_ids is None else to_json(job.device_ids),
                to_micros(job.created),
                to_micros(job.start),
                job.max_execution_s,
                job.status,
                job.runner,
                maybe_to_micros(job.started),
                maybe_to_micros(job.ended),
                job.failure_reason,
                job.status_message,
                job.is_frozen,
                job.frozen_up_to,
                counts.devices,
                counts.succeeded,
                counts.failed,
                counts.running,
                counts.pending,
            ),
        )

    def unfinished(self, hub: HubId) -> list[JobHead]:
        rows = self._connection.execute(UNFINISHED, (hub,)).fetchall()
        return [JobHead(job_id, status, from_micros(start), runner) for job_id, status, start, runner in rows]

    def page(
        self,
        hub: HubId,
        *,
        limit: int,
        kind: JobKind | None = None,
        status: JobStatus | None = None,
        before: tuple[datetime, JobId] | None = None,
    ) -> list[Job]:
        given = {name: value for name, value in (("kind", kind), ("status", status)) if value is not None}
        last = _LAST if before is None else (to_micros(before[0]), before[1])
        sql = LISTINGS[tuple(given)]
        rows = self._connection.execute(sql, (hub, *last, *given.values(), limit)).fetchall()
        return [_job(hub, *row) for row in rows]

    def ended_before(self, hub: HubId, moment: datetime, limit: int) -> list[JobId]:
        rows = self._connection.execute(ENDED_BEFORE, (hub, to_micros(moment), limit)).fetchall()
        return [JobId(job_id) for (job_id,) in rows]

    def delete(self, hub: HubId, job_id: JobId) -> None:
        self._connection.execute(_DELETE, (hub, job_id))


def _work_row(work: Work) -> dict[str, Any]:
    match work:
        case TwinChange():
            return {"tags": work.tags, "desired": work.desired}
        case MethodCall():
            return {
                "method": work.method,
                "payload": work.payload,
                "response_timeout_s": work.response_timeout_s,
                "connect_timeout_s": work.connect_timeout_s,
            }
        case _:
            assert_never(work)


def _job(hub: HubId, *row: Any) -> Job:
    job_id, kind, work, condition, device_ids, created, start, max_execution_s, status, runner, *rest = row
    started, ended, failure_reason, status_message, is_frozen, frozen_up_to, *counts = rest
    members = from_json(work)
    return Job(
        hub,
        JobId(job_id),
        TwinChange(**members) if kind == "twin" else MethodCall(**members),
        condition,
        None if device_ids is None else tuple(from_json(device_ids)),
        from_micros(created),
        from_micros(start),
        max_execution_s,
        status,
        runner,
        maybe_from_micros(started),
        maybe_from_micros(ended),
        failure_reason,
        status_message,
        is_frozen == 1,
        frozen_up_to,
        Counts(*counts),
    )


_OF_JOB = (_D.hub_id == parameter("hub_id"), _D.job_id == parameter("job_id"))
_ADD = compile_sql(
    insert(schema.job_devices)
    .values(
        hub_id=parameter("hub_id"),
        job_id=parameter("job_id"),
        device_id=parameter("device_id"),
        status=sa.literal_column("'pending'"),
        updated=parameter("updated"),
    )
    .on_conflict_do_nothing(),
    "hub_id",
    "job_id",
    "device_id",
    "updated",
)
_PUT_DEVICE = upsert(schema.job_devices)
OPEN = compile_sql(
    limited(
        sa.select(_D.device_id)
        .where(*_OF_JOB, _D.ended.is_(None), _D.status == parameter("status"))
        .order_by(_D.device_id)
    ),
    "hub_id",
    "job_id",
    "status",
    "limit",
)
_ROW = [column for column in schema.job_devices.c if column.name not in ("hub_id", "job_id")]
LIST_DEVICES = compile_sql(
    limited(sa.select(*_ROW).where(*_OF_JOB, _D.device_id > parameter("after")).order_by(_D.device_id)),
    "hub_id",
    "job_id",
    "after",
    "limit",
)
_THREE = ("first", "second", "third")
LIST_DEVICES_IN = compile_sql(
    limited(
        sa.select(*_ROW)
        .where(*_OF_JOB, _D.device_id > parameter("after"), sa.or_(*(_D.status == parameter(name) for name in _THREE)))
        .order_by(_D.device_id)
    ),
    "hub_id",
    "job_id",
    "after",
    *_THREE,
    "limit",
)
_FIND_DEVICE = select_by(schema.job_devices, _ROW, "hub_id", "job_id", "device_id")
BEHIND = compile_sql(
    limited(
        sa.select(_D.job_id, *_ROW)
        .where(
            _D.hub_id == parameter("hub_id"),
            sa.tuple_(_D.job_id, _D.device_id) > sa.tuple_(parameter("job_id"), parameter("device_id")),
        )
        .order_by(_D.job_id, _D.device_id)
    ),
    "hub_id",
    "job_id",
    "device_id",
    "limit",
)
JOBS_OF = compile_sql(
    limited(
        sa.select(_D.job_id)
        .where(_D.hub_id == parameter("hub_id"), _D.device_id == parameter("device_id"), _D.job_id > parameter("after"))
        .order_by(_D.job_id)
    ),
    "hub_id",
    "device_id",
    "after",
    "limit",
)
_SOME = limited(sa.select(_D.device_id).where(*_OF_JOB).order_by(_D.device_id))
_DELETE_SOME = compile_sql(
    sa.delete(schema.job_devices).where(
        _D.hub_id == parameter("of_hub"), _D.job_id == parameter("of_job"), _D.device_id.in_(_SOME)
    ),
    "of_hub",
    "of_job",
    "hub_id",
    "job_id",
    "limit",
)


class JobDevices:
    """Port: `hub.job_model.JobDeviceTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, hub: HubId, job_id: JobId, devices: Iterable[DeviceId], now: datetime) -> int:
        updated = to_micros(now)
        rows = ((hub, job_id, device_id, updated) for device_id in devices)
        return self._connection.executemany(_ADD, rows).rowcount

    def open(self, hub: HubId, job_id: JobId, status: Literal["pending", "running"], limit: int) -> list[DeviceId]:
        return [DeviceId(row[0]) for row in self._connection.execute(OPEN, (hub, job_id, status, limit)).fetchall()]

    def put(self, hub: HubId, job_id: JobId, rows: Iterable[JobDevice]) -> None:
        self._connection.executemany(
            _PUT_DEVICE,
            (
                (
                    hub,
                    job_id,
                    row.device_id,
                    row.status,
                    to_micros(row.updated),
                    maybe_to_micros(row.started),
                    maybe_to_micros(row.ended),
                    None if row.reply is None else row.reply.status,
                    None if row.reply is None else to_json(row.reply.payload),
                    row.reason,
                    row.message,
                )
                for row in rows
            ),
        )

    def page(
        self,
        hub: HubId,
        job_id: JobId,
        *,
        after: DeviceId | None,
        limit: int,
        statuses: Collection[DeviceStatus] | None = None,
    ) -> list[JobDevice]:
        if statuses is None:
            found = self._connection.execute(LIST_DEVICES, (hub, job_id, after or "", limit)).fetchall()
        else:
            # `''` is no state.
            wanted = [*statuses, "", "", ""][:3]
            found = self._connection.execute(LIST_DEVICES_IN, (hub, job_id, after or "", *wanted, limit)).fetchall()
        return [_device(*row) for row in found]

    def find(self, hub: HubId, job_id: JobId, device_id: DeviceId) -> JobDevice | None:
        row = self._connection.execute(_FIND_DEVICE, (hub, job_id, device_id)).fetchone()
        return None if row is None else _device(*row)

    def behind(self, hub: HubId, after: tuple[JobId, DeviceId] | None, limit: int) -> list[tuple[JobId, JobDevice]]:
        found = self._connection.execute(BEHIND, (hub, *(after or ("", "")), limit)).fetchall()
        return [(JobId(job_id), _device(*row)) for job_id, *row in found]

    def jobs_of(self, hub: HubId, device_id: DeviceId, *, after: JobId | None, limit: int) -> list[JobId]:
        rows = self._connection.execute(JOBS_OF, (hub, device_id, after or "", limit)).fetchall()
        return [JobId(job_id) for (job_id,) in rows]

    def delete_some(self, hub: HubId, job_id: JobId, limit: int) -> int:
        return self._connection.execute(_DELETE_SOME, (hub, job_id, hub, job_id, limit)).rowcount


def _device(*row: Any) -> JobDevice:
    device_id, status, updated, started, ended, reply_status, reply_payload, reason, message = row
    return JobDevice(
        DeviceId(device_id),
        status,
        from_micros(updated),
        maybe_from_micros(started),
        maybe_from_micros(ended),
        None if reply_status is None else MethodReply(reply_status, from_json(reply_payload)),
        reason,
        message,
    )

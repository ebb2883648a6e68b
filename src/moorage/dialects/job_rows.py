"""The collection `devices.jobs` of the query language: a row for each device of each job (contract/services.md 2.9).

A condition that says which job, or which device, is answered from an index; the rest is left to the evaluator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moorage.dialects.jobs_json import device_job_json
from moorage.hub.job_model import Job, JobDevice, JobId, JobTables
from moorage.hub.query_rows import Key, Piece
from moorage.ids import DeviceId, HubId
from moorage.query.syntax import Comparison, Constant, Expression, Logical, Path, Row

__all__ = ["JobRows"]


class JobRows:
    """Port: `hub.query_rows.RowSource`. Keys are (job id, device id)."""

    @property
    def item_type(self) -> str:
        return "DeviceJob"

    def piece(
        self,
        tables: JobTables,
        hub: HubId,
        where: Expression | None,
        after: Key | None,
        limit: int,
        shown: Sequence[Expression] = (),
    ) -> Piece:
        job_id, device_id = _said(where, "jobId"), _said(where, "deviceId")
        # Tokens can be made up: one of another collection has one name alone.
        behind = None if after is None else (JobId(after[0]), DeviceId(after[-1]))
        if device_id is not None:
            found = _of_device(tables, hub, DeviceId(device_id), job_id, behind, limit)
        elif job_id is not None:
            found = _of_job(tables, hub, JobId(job_id), behind, limit)
        else:
            found = tables.job_devices.behind(hub, behind, limit)
        jobs: dict[JobId, Job | None] = {}
        rows: list[tuple[Key, Row]] = []
        for each, row in found:
            if each not in jobs:
                jobs[each] = tables.jobs.find(hub, each)
            job = jobs[each]
            # A job is deleted with the last of its rows.
            if job is not None:
                rows.append(((each, row.device_id), device_job_json(job, row)))
        last = found[-1] if len(found) == limit else None
        return Piece(rows, None if last is None else (last[0], last[1].device_id))

    def whole(self, row: Row) -> Mapping[str, Any]:
        return row

    def count(self, tables: JobTables, hub: HubId, where: Expression | None) -> int | None:
        return None


_Found = list[tuple[JobId, JobDevice]]


def _of_job(tables: JobTables, hub: HubId, job_id: JobId, behind: tuple[JobId, DeviceId] | None, limit: int) -> _Found:
    after = None if behind is None else behind[1]
    return [(job_id, row) for row in tables.job_devices.page(hub, job_id, after=after, limit=limit)]


def _of_device(
    tables: JobTables,
    hub: HubId,
    device_id: DeviceId,
    job_id: str | None,
    behind: tuple[JobId, DeviceId] | None,
    limit: int,
) -> _Found:
    jobs: Iterable[JobId]
    if job_id is None:
        jobs = tables.job_devices.jobs_of(hub, device_id, after=None if behind is None else behind[0], limit=limit)
    else:
        jobs = [JobId(job_id)] if behind is None else []
    found = ((job_id, tables.job_devices.find(hub, job_id, device_id)) for job_id in jobs)
    return [(job_id, row) for job_id, row in found if row is not None]


def _said(where: Expression | None, field: str) -> str | None:
    """The text that `field` has to be equal to, where the condition says one that all of its rows have."""
    match where:
        case Logical("AND", operands):
            return next((said for operand in operands if (said := _said(operand, field)) is not None), None)
        case Comparison("=", Path(names), Constant(value)) | Comparison("=", Constant(value), Path(names)):
            return value if names == (field,) and isinstance(value, str) else None
    return None

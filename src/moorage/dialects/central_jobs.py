"""Jobs and scheduled jobs in the JSON of IoT Central (contract/central.md 14, 22.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal, cast, get_args

from moorage.accounts.model import OrganizationId
from moorage.automation.jobs import (
    DATA_KINDS,
    Amount,
    Job,
    JobData,
    JobDraft,
    JobRow,
    JobStatus,
    Recurrence,
    Schedule,
    ScheduledJob,
    Threshold,
)
from moorage.dialects.central_device_groups import parse_organizations
from moorage.dialects.members import check_same, get_boolean, get_object, get_text, get_whole
from moorage.dialects.times import format_time, parse_time
from moorage.errors import Invalid

__all__ = [
    "JOB_MEMBERS",
    "SCHEDULED_JOB_MEMBERS",
    "device_status_json",
    "draft_json",
    "schedule_json",
    "job_json",
    "parse_job",
    "parse_schedule",
    "scheduled_job_json",
]

_SHARED: Final = (
    "id",
    "displayName",
    "description",
    "group",
    "batch",
    "cancellationThreshold",
    "data",
    "organizations",
)
JOB_MEMBERS: Final = (*_SHARED, "scheduledJobId", "start", "end", "progress", "status")
SCHEDULED_JOB_MEMBERS: Final = (*_SHARED, "schedule", "enabled", "completed", "etag")
_DATA_MEMBERS: Final = ("type", "target", "path", "value", "template", "manifest")
# What is named, where that is no template of the devices. A manifest is our own kind (JOB-3).
_PLACES: Final[Mapping[str, str]] = {"deviceTemplateMigration": "template", "deploymentManifest": "manifest"}
# JOB-8: as the published examples have them.
_STATUSES: Final[Mapping[JobStatus, str]] = {"completed": "complete"}


# --- reading -----------------------------------------------------------------------------------------------------


def parse_job(job_id: str, body: Mapping[str, Any], *, default: OrganizationId) -> JobDraft:
    """What a job does; it belongs to `default` where the body says nothing of it.

    Raises `Invalid` (`body.member`, `body.id`).
    """
    check_same(body, "id", job_id)
    data = body.get("data")
    group = get_text(body, "group")
    if not group or not isinstance(data, list) or not data:
        raise Invalid("body.member", "group and data have to be there, data as an array of at least one object")
    organization = parse_organizations(body)
    threshold = get_object(body, "cancellationThreshold")
    batch = get_object(body, "batch")
    return JobDraft(
        display_name=get_text(body, "displayName") or job_id,
        group=group,
        data=tuple(_parse_data(each, f"data[{number}]") for number, each in enumerate(data)),
        description=get_text(body, "description") or "",
        batch=None if batch is None else _parse_amount(batch, "batch"),
        threshold=None
        if threshold is None
        else Threshold(
            _parse_amount(threshold, "cancellationThreshold"),
            get_boolean(threshold, "batch", "cancellationThreshold.batch", default=False),
        ),
        organization=default if organization is None else organization,
    )


def parse_schedule(body: Mapping[str, Any]) -> Schedule:
    """The member `schedule`. Raises `Invalid` (`body.member`, `time.malformed`)."""
    schedule = get_object(body, "schedule")
    if schedule is None or not schedule.get("start"):
        raise Invalid("body.member", "schedule has to be there, with its start")
    recurrence = get_text(schedule, "recurrence", "schedule.recurrence")
    if recurrence is not None and recurrence not in get_args(Recurrence):
        raise Invalid(
            "body.member",
            f"schedule.recurrence is {recurrence[:40]!r}, it has to be one of {', '.join(get_args(Recurrence))}",
        )
    end = get_object(schedule, "end", "schedule.end")
    kind = None if end is None else get_text(end, "type", "schedule.end.type")
    end_by: datetime | None = None
    end_after: int | None = None
    if end is not None and kind == "date":
        end_by = _parse_end(end.get("date"))
    elif end is not None and kind == "occurrences":
        end_after = get_whole(end, "occurrences")
        if end_after is None:
            raise Invalid("body.member", "schedule.end.occurrences is missing")
    elif end is not None:
        raise Invalid("body.member", f"schedule.end.type is {str(kind)[:40]!r}, it has to be date or occurrences")
    return Schedule(
        parse_time(schedule["start"], what="schedule.start"), cast("Recurrence | None", recurrence), end_by, end_after
    )


def _parse_end(value: Any) -> datetime:
    """A day, the last one on which the job runs, or a moment."""
    if isinstance(value, str) and len(value) == 10:
        try:
            return datetime.combine(date.fromisoformat(value), time(23, 59, 59), UTC)
        except ValueError:
            raise Invalid(
                "body.member", f"schedule.end.date is {value!r}, it has to be a day like 2030-01-31"
            ) from None
    return parse_time(value, what="schedule.end.date")


def _parse_data(value: Any, path: str) -> JobData:
    if not isinstance(value, Mapping) or any(name not in _DATA_MEMBERS for name in value):
        raise Invalid("body.member", f"{path} has to be an object with {', '.join(_DATA_MEMBERS)} and nothing else")
    kind = get_text(value, "type", f"{path}.type")
    if kind not in DATA_KINDS:
        raise Invalid("body.member", f"{path}.type is {str(kind)[:40]!r}, it has to be one of {', '.join(DATA_KINDS)}")
    place = _PLACES.get(kind, "target")
    target = get_text(value, place, f"{path}.{place}")
    if not target:
        what = "an edge manifest" if place == "manifest" else "a device template"
        raise Invalid("body.member", f"{path}.{place} is missing: the id of {what}")
    return JobData(kind, target, get_text(value, "path", f"{path}.path") or "", value.get("value"))


def _parse_amount(value: Mapping[str, Any], path: str) -> Amount:
    kind, number = get_text(value, "type", f"{path}.type"), get_whole(value, "value")
    if kind not in ("number", "percentage") or number is None:
        raise Invalid("body.member", f"{path} has a type, number or percentage, and a whole number as its value")
    return Amount(cast("Literal['number', 'percentage']", kind), number)


# --- writing -----------------------------------------------------------------------------------------------------


def job_json(job: Job) -> dict[str, Any]:
    """22.2, jobs."""
    counts = job.counts
    document = {
        "id": job.job_id,
        **draft_json(job.draft),
        "status": _STATUSES.get(job.status, job.status),
        "progress": {
            "total": counts.total,
            "pending": counts.pending,
            "completed": counts.completed,
            "failed": counts.failed,
        },
    }
    for name, moment in (("start", job.started), ("end", job.ended)):
        if moment is not None:
            document[name] = format_time(moment)
    if job.scheduled_job_id:
        document["scheduledJobId"] = job.scheduled_job_id
    return document


def device_status_json(row: JobRow) -> dict[str, str]:
    """22.2, `/jobs/{id}/devices`."""
    return {"id": row.device_id, "status": row.outcome}


def scheduled_job_json(scheduled: ScheduledJob) -> dict[str, Any]:
    """22.2, scheduledJobs."""
    return {
        "id": scheduled.schedule_id,
        **draft_json(scheduled.draft),
        "schedule": schedule_json(scheduled.schedule),
        "enabled": scheduled.is_enabled,
        "completed": scheduled.is_completed,
        "etag": scheduled.etag,
    }


def schedule_json(schedule: Schedule) -> dict[str, Any]:
    """As `parse_schedule` reads it."""
    document: dict[str, Any] = {"start": format_time(schedule.start)}
    if schedule.recurrence is not None:
        document["recurrence"] = schedule.recurrence
    if schedule.end_by is not None:
        # A day, where it is all of that day.
        is_day = schedule.end_by.time() >= time(23, 59)
        end = schedule.end_by.date().isoformat() if is_day else format_time(schedule.end_by)
        document["end"] = {"type": "date", "date": end}
    if schedule.end_after is not None:
        document["end"] = {"type": "occurrences", "occurrences": schedule.end_after}
    return document


def draft_json(draft: JobDraft) -> dict[str, Any]:
    """As `parse_job` reads it."""
    document: dict[str, Any] = {
        "displayName": draft.display_name,
        "group": draft.group,
        "data": [_data_json(each) for each in draft.data],
    }
    if draft.description:
        document["description"] = draft.description
    if draft.batch is not None:
        document["batch"] = {"type": draft.batch.kind, "value": draft.batch.value}
    if draft.threshold is not None:
        amount = draft.threshold.amount
        document["cancellationThreshold"] = {
            "type": amount.kind,
            "value": amount.value,
            "batch": draft.threshold.is_per_batch,
        }
    if draft.organization:
        document["organizations"] = [draft.organization]
    return document


def _data_json(data: JobData) -> dict[str, Any]:
    if data.kind in _PLACES:
        return {"type": data.kind, _PLACES[data.kind]: data.target}
    document = {"type": data.kind, "target": data.target, "path": data.path}
    return document if data.value is None else {**document, "value": data.value}

"""Jobs in the JSON of the hub's service API (contract/services.md 2.11), and the jobs of devices (2.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from moorage.dialects.hub_json import parse_method_call, parse_twin_change
from moorage.dialects.members import check_same, get_object, get_text, get_whole
from moorage.dialects.reasons import REASONS
from moorage.dialects.refusals import BY_CLASS, BY_REASON
from moorage.dialects.times import format_time, parse_time
from moorage.errors import Invalid
from moorage.hub.job_model import DeviceStatus, Job, JobDevice, JobId, JobKind, JobStatus, Work, shown
from moorage.hub.jobs import MAX_DEVICE_IDS, JobDraft
from moorage.hub.methods import MethodCall
from moorage.hub.twins import TwinChange
from moorage.ids import DeviceId, parse_device_id

__all__ = [
    "JOB_TYPES",
    "OTHER_STATUS",
    "OTHER_TYPES",
    "device_job_json",
    "job_json",
    "parse_device_status",
    "parse_job",
    "parse_listing",
    "unknown_job_json",
]

JOB_TYPES: Final[Mapping[JobKind, str]] = {"twin": "scheduleUpdateTwin", "method": "scheduleDeviceMethod"}
# What else clients may ask a list for, by the service's description of its API: none of our jobs is ever that.
OTHER_TYPES: Final = (
    "unknown",
    "export",
    "import",
    "backup",
    "readDeviceProperties",
    "writeDeviceProperties",
    "updateDeviceConfiguration",
    "rebootDevice",
    "factoryResetDevice",
    "firmwareUpdate",
)
OTHER_STATUS: Final = "unknown"


def parse_job(job_id: JobId, body: Mapping[str, Any]) -> JobDraft:
    """What a PUT asks for. Raises `Invalid`: `body.member`, `body.id`, `job.status`, `time.malformed`, `id.device`."""
    check_same(body, "jobId", job_id)
    job_type = get_text(body, "type")
    if job_type is None:
        raise Invalid("body.member", f"type is missing, it has to be {' or '.join(JOB_TYPES.values())}")
    kind = _job_type(job_type)
    start = get_text(body, "startTime")
    return JobDraft(
        job_id,
        _parse_work(kind, body),
        get_text(body, "queryCondition"),
        _parse_device_ids(body),
        parse_time(start, what="startTime") if start else None,
        get_whole(body, "maxExecutionTimeInSeconds"),
    )


def parse_listing(job_type: str | None, status: str | None) -> tuple[JobKind | None, JobStatus | None] | None:
    """Which jobs a list is to hold; None when there can be none. Raises `Invalid` (`job.status`)."""
    is_empty = (job_type or "").lower() in map(str.lower, OTHER_TYPES) or (status or "").lower() == OTHER_STATUS
    if is_empty:
        return None
    kind = _job_type(job_type) if job_type else None
    return kind, cast("JobStatus", _one_of(status, get_args(JobStatus))) if status else None


def parse_device_status(text: str | None) -> DeviceStatus | None:
    """None for None. Raises `Invalid` (`job.status`)."""
    return cast("DeviceStatus", _one_of(text, get_args(DeviceStatus))) if text else None


def job_json(job: Job) -> dict[str, Any]:
    """`JobResponse`; what there is nothing to say about is left out."""
    counts = job.counts
    document: dict[str, Any] = {
        "jobId": job.job_id,
        "queryCondition": job.condition,
        "deviceIds": None if job.device_ids is None else list(job.device_ids),
        "createdTime": format_time(job.created),
        "startTime": format_time(job.start),
        "endTime": None if job.ended is None else format_time(job.ended),
        "maxExecutionTimeInSeconds": job.max_execution_s,
        "type": JOB_TYPES[job.kind],
        **_work_json(job.work),
        "status": job.status,
        "failureReason": job.failure_reason,
        "statusMessage": job.status_message,
        "deviceJobStatistics": {
            "deviceCount": counts.devices,
            "failedCount": counts.failed,
            "succeededCount": counts.succeeded,
            "runningCount": counts.running,
            "pendingCount": counts.pending,
        },
    }
    return {name: value for name, value in document.items() if value is not None}


def unknown_job_json(job_id: str) -> dict[str, Any]:
    """What the id of an import or export is here; clients then ask where those are (J-7)."""
    return {"jobId": job_id, "type": "unknown", "status": "unknown"}


def device_job_json(job: Job, row: JobDevice) -> dict[str, Any]:
    """`DeviceJob`: a row of `devices.jobs`."""
    row = shown(job, row)
    document: dict[str, Any] = {
        "deviceId": row.device_id,
        "jobId": job.job_id,
        "jobType": JOB_TYPES[job.kind],
        "status": row.status,
        "startTimeUtc": None if row.started is None else format_time(row.started),
        "endTimeUtc": None if row.ended is None else format_time(row.ended),
        "createdDateTimeUtc": format_time(job.created),
        "lastUpdatedDateTimeUtc": format_time(row.updated),
    }
    if row.reply is not None:
        reply = {"status": row.reply.status, "payload": row.reply.payload}
        document["outcome"] = {"deviceMethodResponse": reply}
    if row.message is not None:
        document["error"] = {"code": _error_name(row.reason), "description": row.message, "reason": row.reason}
    return {name: value for name, value in document.items() if value is not None}


def _parse_work(kind: JobKind, body: Mapping[str, Any]) -> Work:
    member = "updateTwin" if kind == "twin" else "cloudToDeviceMethod"
    work = get_object(body, member)
    if work is None:
        raise Invalid("body.member", f"{member} is missing, which a job of type {JOB_TYPES[kind]} has to have")
    # Whole twins come here, with an etag, a device id and reported properties that mean nothing (J-5).
    return parse_twin_change(work) if kind == "twin" else parse_method_call(work)


def _work_json(work: Work) -> dict[str, Any]:
    if isinstance(work, MethodCall):
        call = {
            "methodName": work.method,
            "payload": work.payload,
            "responseTimeoutInSeconds": work.response_timeout_s,
            "connectTimeoutInSeconds": work.connect_timeout_s,
        }
        return {"cloudToDeviceMethod": call}
    return {"updateTwin": _twin_change_json(work)}


def _twin_change_json(change: TwinChange) -> dict[str, Any]:
    document: dict[str, Any] = {"etag": "*"}
    if change.tags is not None:
        document["tags"] = change.tags
    if change.desired is not None:
        document["properties"] = {"desired": change.desired}
    return document


def _parse_device_ids(body: Mapping[str, Any]) -> tuple[DeviceId, ...] | None:
    ids = body.get("deviceIds")
    # The models of some clients have the member always, and null or empty.
    if ids is None or ids == []:
        return None
    if not isinstance(ids, list) or len(ids) > MAX_DEVICE_IDS or not all(isinstance(each, str) for each in ids):
        raise Invalid("body.member", f"deviceIds has to be an array of at most {MAX_DEVICE_IDS} strings")
    return tuple(parse_device_id(each) for each in ids)


def _job_type(text: str) -> JobKind:
    for kind, name in JOB_TYPES.items():
        if text.lower() == name.lower():
            return kind
    raise Invalid("job.status", f"{text[:40]!r} is no type of job, it has to be {' or '.join(JOB_TYPES.values())}")


def _one_of(text: str, values: tuple[str, ...]) -> str:
    if text.lower() not in values:
        raise Invalid("job.status", f"{text[:40]!r} is no status, it has to be one of {', '.join(values)}")
    return text.lower()


def _error_name(reason: str | None) -> str:
    """The service's name of an error: of what was stored by an earlier version, which had other reasons, none."""
    if reason in BY_REASON:
        return BY_REASON[reason].name
    kind = REASONS[reason].kind if reason in REASONS else None
    return "" if kind is None else BY_CLASS[kind].name

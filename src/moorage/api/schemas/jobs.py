"""Jobs, as the hub's service API has them (contract/services.md 2.11), and what became of their devices (2.9)."""

from __future__ import annotations

from typing import Final, get_args

from moorage.api.schemas.devices import METHOD_CALL, METHOD_REPLY, TWIN_CHANGE
from moorage.api.schemas.words import TIME, list_of, members, named, nullable, one_of, text, whole
from moorage.dialects.jobs_json import JOB_TYPES, OTHER_STATUS, OTHER_TYPES
from moorage.hub.job_model import DeviceStatus, JobStatus
from moorage.hub.jobs import MAX_DEVICE_IDS, MAX_EXECUTION_S

__all__ = ["DEVICE_JOBS", "DEVICE_STATUS", "JOB", "JOBS", "JOB_REQUEST", "LISTED_STATUS", "LISTED_TYPE"]

_JOB_TYPE: Final = one_of(*JOB_TYPES.values())
LISTED_TYPE: Final = one_of(*JOB_TYPES.values(), *OTHER_TYPES)
LISTED_STATUS: Final = one_of(*get_args(JobStatus), OTHER_STATUS)
DEVICE_STATUS: Final = one_of(*get_args(DeviceStatus))

JOB_REQUEST: Final = named(
    "JobRequest",
    members(
        {"type": _JOB_TYPE},
        {
            "jobId": text("That of the path."),
            "updateTwin": nullable(TWIN_CHANGE),
            "cloudToDeviceMethod": nullable(METHOD_CALL),
            "queryCondition": nullable(text("What stands behind WHERE, or * for all devices.")),
            "deviceIds": nullable(list_of(text(), "In place of queryCondition.", most=MAX_DEVICE_IDS)),
            "startTime": nullable(text("ISO 8601; now when it is missing.")),
            "maxExecutionTimeInSeconds": nullable(whole(least=1, most=MAX_EXECUTION_S)),
        },
    ),
)
JOB: Final = named(
    "Job",
    members(
        {
            "jobId": text(),
            "type": one_of(*JOB_TYPES.values(), "unknown"),
            "status": one_of("unknown", *get_args(JobStatus)),
        },
        {
            "queryCondition": text(),
            "deviceIds": list_of(text()),
            "createdTime": TIME,
            "startTime": TIME,
            "endTime": TIME,
            "maxExecutionTimeInSeconds": whole(),
            "updateTwin": TWIN_CHANGE,
            "cloudToDeviceMethod": METHOD_CALL,
            "failureReason": text(),
            "statusMessage": text(),
            "deviceJobStatistics": members(
                {
                    "deviceCount": whole(),
                    "succeededCount": whole(),
                    "failedCount": whole(),
                    "runningCount": whole(),
                    "pendingCount": whole(),
                }
            ),
        },
    ),
)
JOBS: Final = list_of(JOB)
DEVICE_JOBS: Final = list_of(
    named(
        "DeviceJob",
        members(
            {
                "deviceId": text(),
                "jobId": text(),
                "jobType": _JOB_TYPE,
                "status": DEVICE_STATUS,
                "createdDateTimeUtc": TIME,
                "lastUpdatedDateTimeUtc": TIME,
            },
            {
                "startTimeUtc": TIME,
                "endTimeUtc": TIME,
                "outcome": members({"deviceMethodResponse": METHOD_REPLY}),
                "error": members({"code": text(), "description": text()}, {"reason": text()}),
            },
        ),
    )
)

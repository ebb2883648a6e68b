"""Jobs and scheduled jobs of the Central API (contract/central.md 14, 22.2)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import ANYTHING, FLAG, TIME, Schema, flag, list_of, members, named, one_of, text, whole

__all__ = ["DEVICE_STATUS", "JOB", "JOB_DRAFT", "SCHEDULED_JOB", "SCHEDULED_JOB_CHANGE"]

_AMOUNT: Final = {"type": one_of("number", "percentage"), "value": whole(least=1)}
_DATA: Final = list_of(
    members(
        {"type": one_of("property", "cloudProperty", "command", "deviceTemplateMigration", "deploymentManifest")},
        {
            "target": text("The template whose devices it is for."),
            "path": text("`component.name`, or a name of the device itself."),
            "value": ANYTHING,
            "template": text("The template to have, for a migration."),
            "manifest": text("The edge manifest to have, for a deployment."),
        },
    ),
    "All of one type.",
)
_NEEDED: Final[dict[str, Schema]] = {"group": text("The id of a device group."), "data": _DATA}
_SHARED: Final[dict[str, Schema]] = {
    "displayName": text("Its id, when absent.", most=255),
    "description": text(),
    "batch": members(_AMOUNT),
    "cancellationThreshold": members(_AMOUNT, {"batch": flag("Of each batch by itself.")}),
    "organizations": list_of(text(), "At most one.", most=1),
}
JOB_DRAFT: Final = named("CentralJobDraft", members(_NEEDED, _SHARED))
_PROGRESS: Final = members(
    {"total": whole(), "pending": whole(), "completed": whole(), "failed": whole()},
)
JOB: Final = named(
    "CentralJob",
    members(
        {
            "id": text(),
            **_NEEDED,
            "status": one_of("pending", "running", "complete", "failed", "stopped", "canceled"),
            "progress": _PROGRESS,
        },
        {**_SHARED, "start": TIME, "end": TIME, "scheduledJobId": text()},
    ),
)
DEVICE_STATUS: Final = named(
    "CentralJobDeviceStatus",
    members({"id": text("The device's."), "status": one_of("pending", "running", "completed", "failed")}),
)
_SCHEDULE: Final = members(
    {"start": TIME},
    {
        "recurrence": one_of("daily", "weekly", "monthly"),
        "end": members(
            {"type": one_of("date", "occurrences")},
            {"date": text("The last day."), "occurrences": whole(least=1, most=999)},
        ),
    },
)
SCHEDULED_JOB: Final = named(
    "CentralScheduledJob",
    members(
        {"id": text(), **_NEEDED, "schedule": _SCHEDULE, "enabled": FLAG, "completed": FLAG, "etag": text()}, _SHARED
    ),
)
SCHEDULED_JOB_CHANGE: Final = named(
    "CentralScheduledJobChange",
    members(
        {}, {**_NEEDED, **_SHARED, "schedule": _SCHEDULE, "enabled": FLAG, "etag": text("Only if it is still that.")}
    ),
)

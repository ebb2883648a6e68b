"""Jobs of the application: one change for all devices of a group, in batches (contract/central.md 14).

    pending ──► running ──► completed          every device had its turn, whatever came of it
       ▲           ├──────► failed             it could not be carried out at all: its group is gone, say
       │           ├──────► canceled           more devices failed than the cancellation threshold allows (JOB-6)
       └─ resume ─ stopped ◄─ stop

Members of the group are frozen into rows when the job begins, each with the number of its batch. A batch begins when
the one before it is through. A job made by *rerun* has the rows of the devices that failed in another (JOB-10).

A schedule is not a job: it makes one each time it is due, under the schedule's own name (JOB-13).
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NewType, Protocol, get_args

from moorage.accounts.model import Maker, OrganizationId
from moorage.accounts.tables import AccountTables
from moorage.automation.naming import check_id, check_name
from moorage.errors import Conflict, Invalid, TooLarge
from moorage.fleet.model import FleetTables
from moorage.ids import DeviceId, ETag, HubId, version_etag

__all__ = [
    "DATA_KINDS",
    "JOB_STATUSES",
    "MAX_SCHEDULES",
    "TRANSITIONS",
    "UNFINISHED",
    "Amount",
    "Counts",
    "DataKind",
    "DeviceOutcome",
    "Job",
    "JobData",
    "JobDraft",
    "JobEvent",
    "JobId",
    "JobRow",
    "JobStatus",
    "JobTable",
    "JobTables",
    "Recurrence",
    "Schedule",
    "ScheduleId",
    "ScheduledJob",
    "Threshold",
    "batch_sizes",
    "check_draft",
    "check_schedule",
    "in_batches",
    "is_beyond",
    "move",
    "next_due",
    "occurrence",
    "parse_job_id",
    "parse_schedule_id",
]

JobId = NewType("JobId", str)
ScheduleId = NewType("ScheduleId", str)

# As the API spells them (JOB-3); it has none for a manifest (JOB-2), so that is our own word.
DataKind = Literal["property", "cloudProperty", "command", "deviceTemplateMigration", "deploymentManifest"]
DATA_KINDS: Final[tuple[DataKind, ...]] = get_args(DataKind)
JobStatus = Literal["pending", "running", "completed", "failed", "stopped", "canceled"]
JOB_STATUSES: Final[tuple[JobStatus, ...]] = get_args(JobStatus)
JobEvent = Literal["run", "complete", "fail", "stop", "cancel", "resume"]
DeviceOutcome = Literal["pending", "running", "completed", "failed"]
Recurrence = Literal["daily", "weekly", "monthly"]

TRANSITIONS: Final[Mapping[tuple[JobStatus, JobEvent], JobStatus]] = {
    ("pending", "run"): "running",
    ("pending", "stop"): "stopped",
    ("pending", "fail"): "failed",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("running", "stop"): "stopped",
    ("running", "cancel"): "canceled",
    ("stopped", "resume"): "pending",
}
# Of schedules: their runs are counted one by one, and calendars end.
_YEARS: Final = range(2000, 2200)
UNFINISHED: Final[frozenset[JobStatus]] = frozenset({"pending", "running"})

MAX_DATA: Final = 50
MAX_SCHEDULES: Final = 100
MAX_RUNS: Final = 999
_MAX_NAME: Final = 255
_MAX_DESCRIPTION: Final = 1024
_MAX_AMOUNT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class JobData:
    """One thing to be done to each device.

    Attributes:
        path: the property, cloud property or command, below its component and a dot (JOB-4).
        value: any JSON value: what a property gets, what a command is called with; None for no payload.
        target: for these the template whose devices they are of; for a migration the template to have, for a manifest
            the manifest.
    """

    kind: DataKind
    target: str
    path: str = ""
    value: Any = None


@dataclass(frozen=True, slots=True)
class Amount:
    kind: Literal["number", "percentage"]
    value: int

    def of(self, devices: int) -> int:
        """How many devices that is, never less than one."""
        return max(1, self.value if self.kind == "number" else devices * self.value // 100)


@dataclass(frozen=True, slots=True)
class Threshold:
    """More failed devices than this cancel the job; `is_per_batch` counts each batch by itself (JOB-6)."""

    amount: Amount
    is_per_batch: bool = False


@dataclass(frozen=True, slots=True)
class JobDraft:
    """What somebody asks for."""

    display_name: str
    group: str
    data: tuple[JobData, ...]
    description: str = ""
    batch: Amount | None = None
    threshold: Threshold | None = None
    organization: OrganizationId = OrganizationId("")


@dataclass(frozen=True, slots=True)
class Counts:
    total: int = 0
    pending: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """`by` is who made it, as the audit log names people.

    Attributes:
        acts_for: who made it, or had it go on: it may what they may.
        rerun_of: the job whose failed devices it takes; '' for one that takes its group.
        message: why it failed, was cancelled, or stopped by itself.
        is_frozen: whether its devices have their rows.
    """

    hub: HubId
    job_id: JobId
    draft: JobDraft
    created: datetime
    by: str
    status: JobStatus = "pending"
    started: datetime | None = None
    ended: datetime | None = None
    scheduled_job_id: str = ""
    rerun_of: str = ""
    message: str = ""
    is_frozen: bool = False
    batches: int = 1
    counts: Counts = field(default_factory=Counts)
    acts_for: Maker = Maker()


@dataclass(frozen=True, slots=True)
class JobRow:
    """What became of one device. `message` says why it failed, or what a command answered."""

    device_id: DeviceId
    batch: int
    outcome: DeviceOutcome
    updated: datetime
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """It ends by a moment or after so many runs, or never (JOB-7); without `recurrence` there is one run."""

    start: datetime
    recurrence: Recurrence | None = None
    end_by: datetime | None = None
    end_after: int | None = None


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """`runs` counts the jobs that it made; `due` is the next time, None when there is no more (`is_completed`).

    Attributes:
        by: who changed it last, or switched it on.
        acts_for: the same: its jobs may what they may.
        message: why it was switched off by itself.
    """

    hub: HubId
    schedule_id: ScheduleId
    draft: JobDraft
    schedule: Schedule
    created: datetime
    by: str
    due: datetime | None
    runs: int = 0
    is_enabled: bool = True
    version: int = 1
    acts_for: Maker = Maker()
    message: str = ""

    @property
    def etag(self) -> ETag:
        return version_etag(self.version)

    @property
    def is_completed(self) -> bool:
        return self.due is None


class JobTable(Protocol):
    """Jobs, the rows of their devices, and schedules."""

    def find(self, hub: HubId, job_id: JobId) -> Job | None: ...

    def put(self, job: Job) -> None: ...

    def page(
        self, hub: HubId, limit: int, *, before: tuple[datetime, JobId] | None = None, schedule: str | None = None
    ) -> list[Job]:
        """The newest first; `before` is the creation and the id of the last one of the page before."""

    def unfinished(self, hub: HubId) -> list[Job]:
        """Pending and running ones, the oldest first."""

    def ended_before(self, hub: HubId, moment: datetime, limit: int) -> list[JobId]:
        """Stopped ones too."""

    def delete(self, hub: HubId, job_id: JobId) -> None:
        """Its rows have to be gone before."""

    def add_rows(self, hub: HubId, job_id: JobId, rows: Iterable[JobRow]) -> None: ...

    def put_rows(self, hub: HubId, job_id: JobId, rows: Iterable[JobRow]) -> None: ...

    def open_rows(self, hub: HubId, job_id: JobId, limit: int) -> list[JobRow]:
        """Pending and running ones of the first batch that has any, in the order of their ids."""

    def rows(
        self, hub: HubId, job_id: JobId, *, after: str, limit: int, outcome: DeviceOutcome | None = None
    ) -> list[JobRow]:
        """In the order of their ids."""

    def count_failed(self, hub: HubId, job_id: JobId, batch: int) -> int: ...

    def delete_rows(self, hub: HubId, job_id: JobId, limit: int) -> int:
        """How many were deleted."""

    def find_schedule(self, hub: HubId, schedule_id: ScheduleId) -> ScheduledJob | None: ...

    def schedules(self, hub: HubId) -> list[ScheduledJob]:
        """By their ids."""

    def put_schedule(self, scheduled: ScheduledJob) -> None: ...

    def delete_schedule(self, hub: HubId, schedule_id: ScheduleId) -> None: ...


class JobTables(FleetTables, AccountTables, Protocol):
    @property
    def device_jobs(self) -> JobTable: ...


def parse_job_id(text: str) -> JobId:
    """ID-7. Raises `Invalid` (`job.plain_id`)."""
    return JobId(check_id(text, "job.plain_id"))


def parse_schedule_id(text: str) -> ScheduleId:
    """ID-7. Raises `Invalid` (`job.plain_id`)."""
    return ScheduleId(check_id(text, "job.plain_id"))


def check_draft(draft: JobDraft) -> None:
    """What has to hold of a job by itself.

    Raises:
        Invalid: `job.name`, `job.group`, `job.data`, `job.batch`, `job.threshold`.
        TooLarge: `job.data_size`.
    """
    check_name(draft.display_name, "job.name", _MAX_NAME)
    if len(draft.description) > _MAX_DESCRIPTION:
        raise Invalid("job.name", f"a description has at most {_MAX_DESCRIPTION} characters", field="description")
    if not draft.group:
        raise Invalid("job.group", "a job is for the devices of a group, and none was chosen")
    if not draft.data:
        raise Invalid("job.data", "a job does at least one thing, and this does none")
    if len(draft.data) > MAX_DATA:
        raise TooLarge("job.data_size", f"the job has {len(draft.data)} parts, at most {MAX_DATA} are allowed")
    kinds = {data.kind for data in draft.data}
    if len(kinds) > 1:
        raise Invalid("job.data", f"a job does one kind of thing, and this does {', '.join(sorted(kinds))}")
    if kinds & {"command", "deviceTemplateMigration", "deploymentManifest"} and len(draft.data) > 1:
        raise Invalid("job.data", "a job runs one command, migrates to one template or gives one manifest")
    for data in draft.data:
        if not data.target:
            raise Invalid("job.data", "each part of a job names the template it is for, or to migrate to")
        if data.kind in ("property", "cloudProperty", "command") and not data.path:
            raise Invalid("job.data", "each part of a job names its property or command")
    if draft.batch is not None:
        _check_amount(draft.batch, "job.batch", "a batch", least=1)
    if draft.threshold is not None:
        _check_amount(draft.threshold.amount, "job.threshold", "the cancellation threshold", least=1)
        if draft.threshold.is_per_batch and draft.batch is None:
            raise Invalid("job.threshold", "a threshold for each batch takes batches")


def _check_amount(amount: Amount, reason: str, named: str, *, least: int) -> None:
    most = 100 if amount.kind == "percentage" else _MAX_AMOUNT
    if not least <= amount.value <= most:
        unit = "percent" if amount.kind == "percentage" else "devices"
        raise Invalid(reason, f"{named} is {least} to {most} {unit}, not {amount.value}")


def move(job: Job, event: JobEvent, now: datetime, message: str = "") -> Job:
    """`job` after `event`. Raises `Conflict` (`job.status`) when nothing may follow."""
    status = TRANSITIONS.get((job.status, event))
    if status is None:
        raise Conflict("job.status", f"job '{job.job_id}' is {job.status}, there is nothing to {event}")
    if status == "running":
        return replace(job, status=status, started=job.started or now, ended=None, message="")
    if status == "pending":
        return replace(job, status=status, ended=None, message="")
    return replace(job, status=status, ended=now, message=message)


def batch_sizes(devices: int, batch: Amount | None) -> list[int]:
    """How many devices each batch has, the last one perhaps fewer; one batch without an amount."""
    size = devices if batch is None else batch.of(devices)
    return [min(size, devices - begun) for begun in range(0, devices, max(1, size))]


def is_beyond(threshold: Threshold, *, devices: int, failed: int, batch: int, failed_in_batch: int) -> bool:
    """Whether so many failures cancel a job of `devices`; `batch` is the size of the batch that is under way."""
    amount = threshold.amount
    of, seen = (batch, failed_in_batch) if threshold.is_per_batch else (devices, failed)
    return seen > (amount.value if amount.kind == "number" else of * amount.value // 100)


# -- schedules ---------------------------------------------------------------------------------------------------------


def check_schedule(schedule: Schedule) -> None:
    """Raises `Invalid` (`job.schedule`)."""
    for moment in (schedule.start, schedule.end_by):
        if moment is not None and moment.year not in _YEARS:
            raise Invalid(
                "job.schedule", f"a schedule lies in the years {_YEARS[0]} to {_YEARS[-1]}, not {moment.year}"
            )
    if schedule.recurrence is None and (schedule.end_by is not None or schedule.end_after is not None):
        raise Invalid("job.schedule", "a schedule of one run has no end")
    if schedule.end_by is not None and schedule.end_after is not None:
        raise Invalid("job.schedule", "a schedule ends by a date or after a number of runs, not both", field="end")
    if schedule.end_by is not None and schedule.end_by <= schedule.start:
        raise Invalid("job.schedule", "the schedule ends before it begins", field="end_date")
    if schedule.end_after is not None and not 1 <= schedule.end_after <= MAX_RUNS:
        raise Invalid(
            "job.schedule",
            f"a schedule ends after 1 to {MAX_RUNS} runs, not after {schedule.end_after}",
            field="end_runs",
        )


def occurrence(schedule: Schedule, number: int) -> datetime | None:
    """When the run of that number is due, 0 for the first; None when there is none.

    In a month that is too short the last day stands in.
    """
    if schedule.end_after is not None and number >= schedule.end_after:
        return None
    start = schedule.start
    match schedule.recurrence:
        case None:
            due = start if number == 0 else None
        case "daily":
            due = start + timedelta(days=number)
        case "weekly":
            due = start + timedelta(weeks=number)
        case "monthly":
            years, month = divmod(start.month - 1 + number, 12)
            year = start.year + years
            last = calendar.monthrange(year, month + 1)[1]
            due = start.replace(year=year, month=month + 1, day=min(start.day, last))
    if due is not None and schedule.end_by is not None and due > schedule.end_by:
        return None
    return due


def next_due(schedule: Schedule, runs: int, now: datetime) -> tuple[int, datetime | None]:
    """The next run that is not past, after `runs` of them: its number and when. What was missed is left out."""
    number, due = runs, occurrence(schedule, runs)
    while due is not None and due <= now:
        number += 1
        due = occurrence(schedule, number)
    return number, due


def in_batches(devices: Sequence[DeviceId], batch: Amount | None, now: datetime) -> list[JobRow]:
    """Pending rows for `devices`, in their order."""
    rows: list[JobRow] = []
    for number, size in enumerate(batch_sizes(len(devices), batch)):
        rows += [JobRow(each, number, "pending", now) for each in devices[len(rows) : len(rows) + size]]
    return rows

"""Jobs: one twin update or one method call for many devices (contract/services.md 2.11).

A job is accepted, waits for its start time and for a free place, freezes the devices that its condition selects at that
moment into rows, goes through them, and ends. What may follow what is in `TRANSITIONS` and nowhere else:

    queued ──► scheduled ──► enqueued ──► running ──► completed
       │           │             │           ├──────► failed       (its time ran out, or it could not be carried out)
       └───────────┴─────────────┴───────────┴──────► cancelled

`queued` is what a PUT is answered with, whenever the job starts (J-3); `scheduled` waits for its time, `enqueued` for
one of the places that running jobs take.

A device's row says what became of it. When a job ends early, the rows that it did not get to are left as they are, and
read as `canceled` or `failed` from then on (`shown`): an end takes one small transaction, however many devices it has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, NewType, Protocol

from moorage.errors import Conflict, Invalid
from moorage.hub.methods import MethodCall, MethodReply
from moorage.hub.model import HubTables
from moorage.hub.notifications import tell_of_job
from moorage.hub.twins import TwinChange
from moorage.ids import DeviceId, HubId

__all__ = [
    "TRANSITIONS",
    "UNFINISHED",
    "Counts",
    "DeviceStatus",
    "Job",
    "JobDevice",
    "JobDeviceTable",
    "JobEvent",
    "JobHead",
    "JobId",
    "JobKind",
    "JobStatus",
    "JobTable",
    "JobTables",
    "Work",
    "move",
    "out_of_time",
    "parse_job_id",
    "shown",
    "stored_as",
    "tell_of_end",
]

JobId = NewType("JobId", str)

JobStatus = Literal["queued", "scheduled", "enqueued", "running", "completed", "failed", "cancelled"]
JobEvent = Literal["await_start", "await_place", "run", "complete", "fail", "cancel"]
DeviceStatus = Literal["pending", "running", "completed", "failed", "canceled"]
JobKind = Literal["twin", "method"]
Work = TwinChange | MethodCall

TRANSITIONS: Final[Mapping[tuple[JobStatus, JobEvent], JobStatus]] = {
    ("queued", "await_start"): "scheduled",
    ("queued", "await_place"): "enqueued",
    ("scheduled", "await_place"): "enqueued",
    ("enqueued", "run"): "running",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("queued", "cancel"): "cancelled",
    ("scheduled", "cancel"): "cancelled",
    ("enqueued", "cancel"): "cancelled",
    ("running", "cancel"): "cancelled",
}
UNFINISHED: Final[frozenset[JobStatus]] = frozenset({"queued", "scheduled", "enqueued", "running"})

# As device ids (services.md 2.3): clients make GUIDs, or let people choose.
_JOB_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of a job's devices are where. `running` and `pending` are 0 once it has ended."""

    devices: int = 0
    succeeded: int = 0
    failed: int = 0
    running: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """`condition` or `device_ids` says for whom; `start` is when it is due, `started` when it really began.

    `runner` names the runner that carries it out: only that one may write to it. The devices are frozen up to
    `frozen_up_to`, and all of them when `is_frozen`.
    """

    hub: HubId
    job_id: JobId
    work: Work
    condition: str | None
    device_ids: tuple[DeviceId, ...] | None
    created: datetime
    start: datetime
    max_execution_s: int
    status: JobStatus = "queued"
    runner: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    failure_reason: str | None = None
    status_message: str | None = None
    is_frozen: bool = False
    frozen_up_to: DeviceId | None = None
    counts: Counts = field(default_factory=Counts)

    @property
    def kind(self) -> JobKind:
        return "twin" if isinstance(self.work, TwinChange) else "method"

    @property
    def deadline(self) -> datetime | None:
        """None before it began."""
        return None if self.started is None else self.started + timedelta(seconds=self.max_execution_s)


class JobHead(NamedTuple):
    """Of a job that has not ended, what deciding about its turn takes."""

    job_id: JobId
    status: JobStatus
    start: datetime
    runner: str


@dataclass(frozen=True, slots=True)
class JobDevice:
    """What became of one device. `reason` and `message` say why it failed; `reply` is a method's answer."""

    device_id: DeviceId
    status: DeviceStatus
    updated: datetime
    started: datetime | None = None
    ended: datetime | None = None
    reply: MethodReply | None = None
    reason: str | None = None
    message: str | None = None


class JobTable(Protocol):
    def find(self, hub: HubId, job_id: JobId) -> Job | None: ...

    def put(self, job: Job) -> None: ...

    def unfinished(self, hub: HubId) -> list[JobHead]:
        """Those that have not ended, the one that is due first at the head."""

    def page(
        self,
        hub: HubId,
        *,
        limit: int,
        kind: JobKind | None = None,
        status: JobStatus | None = None,
        before: tuple[datetime, JobId] | None = None,
    ) -> list[Job]:
        """The newest first; `before` is the creation and the id of the last one of the page before."""

    def ended_before(self, hub: HubId, moment: datetime, limit: int) -> list[JobId]: ...

    def delete(self, hub: HubId, job_id: JobId) -> None:
        """Its devices' rows have to be gone before."""


class JobDeviceTable(Protocol):
    """The rows of jobs. They are kept when their device is deleted."""

    def add(self, hub: HubId, job_id: JobId, devices: Iterable[DeviceId], now: datetime) -> int:
        """Rows that are pending; how many of them are new."""

    def open(self, hub: HubId, job_id: JobId, status: Literal["pending", "running"], limit: int) -> list[DeviceId]:
        """Of those not ended, in order of their ids."""

    def put(self, hub: HubId, job_id: JobId, rows: Iterable[JobDevice]) -> None:
        """Insert or replace."""

    def page(
        self,
        hub: HubId,
        job_id: JobId,
        *,
        after: DeviceId | None,
        limit: int,
        statuses: Collection[DeviceStatus] | None = None,
    ) -> list[JobDevice]:
        """In order of their ids; only those stored with one of `statuses`."""

    def find(self, hub: HubId, job_id: JobId, device_id: DeviceId) -> JobDevice | None: ...

    def behind(self, hub: HubId, after: tuple[JobId, DeviceId] | None, limit: int) -> list[tuple[JobId, JobDevice]]:
        """Of all jobs, in order of the jobs' ids and in each of the devices'."""

    def jobs_of(self, hub: HubId, device_id: DeviceId, *, after: JobId | None, limit: int) -> list[JobId]:
        """The jobs that have a row of this device, in order of their ids."""

    def delete_some(self, hub: HubId, job_id: JobId, limit: int) -> int:
        """How many were deleted."""


class JobTables(HubTables, Protocol):
    """What jobs need of a store."""

    @property
    def jobs(self) -> JobTable: ...

    @property
    def job_devices(self) -> JobDeviceTable: ...


def parse_job_id(text: str) -> JobId:
    """Raises `Invalid` (`job.id`)."""
    # `GET /jobs/v2/query` lists jobs: one of that name could never be looked at.
    if not _JOB_ID.fullmatch(text) or text.lower() == "query":
        raise Invalid(
            "job.id",
            f"{text[:140]!r} is not a job's id: it takes 1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ ; $ ' "
            "and is not the word query",
        )
    return JobId(text)


def tell_of_end(tables: JobTables, job: Job, now: datetime) -> None:
    """Have back ends told that `job` has ended, inside the transaction in which it did."""
    facts = {
        "job_id": job.job_id,
        "kind": job.kind,
        "status": job.status,
        "failure_reason": job.failure_reason,
        "counts": asdict(job.counts),
    }
    tell_of_job(tables, job.hub, f"job{job.status.capitalize()}", facts, now)


def move(job: Job, event: JobEvent, now: datetime, *, reason: str | None = None, message: str | None = None) -> Job:
    """`job` after `event`; an end settles the counts. Raises `Conflict` (`job.finished`) when nothing may follow.

    `reason` and `message` say why it failed.
    """
    status = TRANSITIONS.get((job.status, event))
    if status is None:
        raise Conflict("job.finished", f"job '{job.job_id}' is {job.status}, there is nothing to {event}")
    moved = replace(job, status=status)
    if status == "running":
        return replace(moved, started=now)
    if status in UNFINISHED:
        return moved
    counts = job.counts
    left = counts.running + counts.pending
    failed = counts.failed + (left if status == "failed" else 0)
    return replace(
        moved,
        ended=now,
        failure_reason=reason,
        status_message=message,
        counts=replace(counts, failed=failed, running=0, pending=0),
    )


def out_of_time(job: Job, now: datetime) -> Job | None:
    """`job` as failed when its time is up, else None."""
    deadline = job.deadline
    if deadline is None or now < deadline:
        return None
    left = job.counts.running + job.counts.pending
    return move(
        job,
        "fail",
        now,
        reason="job.out_of_time",
        message=f"its {job.max_execution_s} s were over with {left} of {job.counts.devices} devices left",
    )


def shown(job: Job, row: JobDevice) -> JobDevice:
    """`row` as it is to be read: one that was left behind has ended with its job."""
    if job.ended is None or row.ended is not None:
        return row
    if job.status == "cancelled":
        return replace(row, status="canceled", updated=job.ended, ended=job.ended)
    return replace(
        row,
        status="failed",
        updated=job.ended,
        ended=job.ended,
        reason=job.failure_reason,
        message=job.status_message,
    )


def stored_as(job: Job, status: DeviceStatus) -> Sequence[DeviceStatus]:
    """In which states rows lie that `shown` gives `status`."""
    left_behind: list[DeviceStatus] = ["pending", "running"]
    if job.ended is None:
        return [status]
    if status == "canceled":
        return left_behind if job.status == "cancelled" else []
    if status == "failed":
        return ["failed", *left_behind] if job.status == "failed" else ["failed"]
    return [status] if status == "completed" else []

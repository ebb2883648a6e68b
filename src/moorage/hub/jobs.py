"""Jobs as back ends see them: made, listed, looked at, cancelled. `hub/job_runner.py` carries them out.

A job is judged whole before it is accepted: its condition is parsed, its twin patch is tried on an empty twin, its
method call is checked. What can go wrong later goes wrong for single devices and is in their rows (contract/services.md
2.11).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from moorage.clock import Clock
from moorage.errors import Conflict, Exhausted, Invalid, NotFound
from moorage.hub.job_model import (
    DeviceStatus,
    Job,
    JobDevice,
    JobId,
    JobKind,
    JobStatus,
    JobTables,
    Work,
    move,
    shown,
    stored_as,
    tell_of_end,
)
from moorage.hub.methods import check_call
from moorage.hub.targets import Targets
from moorage.hub.twins import TwinChange, fresh_twin, patch_twin
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = ["MAX_DEVICE_IDS", "MAX_EXECUTION_S", "MAX_UNFINISHED", "JobDraft", "JobService", "decide_job"]

audit = logging.getLogger("moorage.audit")

# What old bodies list one by one; a condition has no such bound.
MAX_DEVICE_IDS: Final = 1000
# Jobs that wait or run. Azure refuses what it cannot run at once (J-9), and clients try again; here it waits its turn.
MAX_UNFINISHED: Final = 1000
_RETRY_AFTER_S = 30
# Azure's clients send an hour by themselves and have been seen to send two days.
_DEFAULT_EXECUTION_S = 3600
MAX_EXECUTION_S: Final = 30 * 86400
_MAX_AHEAD = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class JobDraft:
    """What a back end asks for. `start` None is now; exactly one of `condition` and `device_ids` is given."""

    job_id: JobId
    work: Work
    condition: str | None = None
    device_ids: tuple[DeviceId, ...] | None = None
    start: datetime | None = None
    max_execution_s: int | None = None


def decide_job(hub: HubId, draft: JobDraft, now: datetime) -> Job:
    """The job, queued. Whether the condition is one is the caller's to check.

    Raises:
        Invalid: `job.targets`, `job.start`, `job.max_execution_time`, `job.nothing`; of the work, `twin.*`, `method.*`.
        TooLarge: `twin.size`, `method.payload`.
    """
    if (draft.condition is None) == (draft.device_ids is None):
        raise Invalid(
            "job.targets", "a job is for those that queryCondition selects, or for deviceIds: give one of both"
        )
    if draft.condition is not None and not draft.condition.strip():
        raise Invalid("job.targets", "queryCondition is empty, which selects nobody; all devices are '*'")
    if draft.device_ids is not None and not 1 <= len(draft.device_ids) <= MAX_DEVICE_IDS:
        raise Invalid(
            "job.targets",
            f"deviceIds has {len(draft.device_ids)} items, 1 to {MAX_DEVICE_IDS} are taken; queryCondition takes more",
        )
    start = draft.start or now
    if start > now + _MAX_AHEAD:
        raise Invalid("job.start", f"startTime is {start:%Y-%m-%d}, at most {_MAX_AHEAD.days} days ahead are taken")
    seconds = _DEFAULT_EXECUTION_S if draft.max_execution_s is None else draft.max_execution_s
    if not 1 <= seconds <= MAX_EXECUTION_S:
        raise Invalid(
            "job.max_execution_time", f"maxExecutionTimeInSeconds is {seconds}, it has to be 1 to {MAX_EXECUTION_S}"
        )
    _check_work(hub, draft.work, now)
    return Job(
        hub=hub,
        job_id=draft.job_id,
        work=draft.work,
        condition=draft.condition,
        device_ids=None if draft.device_ids is None else tuple(sorted(set(draft.device_ids))),
        created=now,
        start=start,
        max_execution_s=seconds,
    )


def _check_work(hub: HubId, work: Work, now: datetime) -> None:
    if not isinstance(work, TwinChange):
        check_call(work)
        return
    empty = fresh_twin(hub, IdentityName(DeviceId("any")))
    patched, _ = patch_twin(empty, work, now=now)
    if patched is empty:
        raise Invalid(
            "job.nothing", "updateTwin has neither tags nor desired properties, so there is nothing to update"
        )


class JobService:
    """Jobs of one hub. `changed` is called when there is something to do for the runner."""

    def __init__(
        self, hub: HubId, store: Store[JobTables], targets: Targets, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._store = store
        self._targets = targets
        self._clock = clock
        self._changed = changed

    async def create(self, draft: JobDraft, *, by: str) -> Job:
        """The job as it was accepted, `queued` (J-3). `by` is for the audit log.

        Raises:
            Invalid, TooLarge: as `decide_job`; `query.*` when the condition is none.
            Conflict: `job.exists`.
            Exhausted: `job.too_many`.
        """
        now = self._clock.now()
        # A patch of a megabyte takes long to be looked through, and so does a long condition (decisions S8).
        job = await asyncio.to_thread(self._judge, draft, now)

        def work(tables: JobTables) -> None:
            if tables.jobs.find(self._hub, job.job_id) is not None:
                raise Conflict("job.exists", f"there is a job '{job.job_id}' already; a job's id is used once")
            unfinished = len(tables.jobs.unfinished(self._hub))
            if unfinished >= MAX_UNFINISHED:
                raise Exhausted(
                    "job.too_many",
                    f"{unfinished} jobs wait or run, {MAX_UNFINISHED} is the limit",
                    retry_after_s=_RETRY_AFTER_S,
                    fix="moorage job list",
                )
            tables.jobs.put(job)

        await self._store.write(work)
        _audit("created", job, by)
        self._changed()
        return job

    def _judge(self, draft: JobDraft, now: datetime) -> Job:
        job = decide_job(self._hub, draft, now)
        if job.condition is not None:
            try:
                self._targets.check(job.condition, "devices")
            except Invalid as refusal:
                raise Invalid(
                    refusal.reason, f"queryCondition, {refusal.message}", fix=refusal.fix, checks=refusal.checks
                ) from refusal
        return job

    async def cancel(self, job_id: JobId, *, by: str) -> Job:
        """The job, cancelled; devices that it has not come to are left alone. One that is cancelled already stays so.

        Raises `NotFound` (`job.unknown`) and `Conflict` (`job.finished`).
        """
        now = self._clock.now()

        def work(tables: JobTables) -> tuple[Job, bool]:
            job = _find(tables, self._hub, job_id)
            if job.status == "cancelled":
                return job, False
            cancelled = move(job, "cancel", now)
            tables.jobs.put(cancelled)
            tell_of_end(tables, cancelled, now)
            return cancelled, True

        job, is_new = await self._store.write(work)
        if is_new:
            _audit("cancelled", job, by)
            self._changed()
        return job

    def get(self, job_id: JobId) -> Job:
        """Raises `NotFound` (`job.unknown`)."""
        return _find(self._store.read(), self._hub, job_id)

    async def page(
        self,
        *,
        limit: int,
        kind: JobKind | None = None,
        status: JobStatus | None = None,
        before: tuple[datetime, JobId] | None = None,
    ) -> list[Job]:
        """The newest first; see `JobTable.page`."""
        return await self._store.scan(
            lambda tables: tables.jobs.page(self._hub, limit=limit, kind=kind, status=status, before=before)
        )

    async def devices(
        self, job_id: JobId, *, limit: int, after: DeviceId | None = None, status: DeviceStatus | None = None
    ) -> Sequence[JobDevice]:
        """What became of its devices, in order of their ids. Raises `NotFound` (`job.unknown`)."""

        def work(tables: JobTables) -> list[JobDevice]:
            job = _find(tables, self._hub, job_id)
            statuses = None if status is None else stored_as(job, status)
            if statuses == []:
                return []
            rows = tables.job_devices.page(self._hub, job_id, after=after, limit=limit, statuses=statuses)
            return [shown(job, row) for row in rows]

        return await self._store.scan(work)


def _find(tables: JobTables, hub: HubId, job_id: JobId) -> Job:
    job = tables.jobs.find(hub, job_id)
    if job is None:
        raise NotFound("job.unknown", f"there is no job '{job_id}' on hub '{hub}' (any more)", fix="moorage job list")
    return job


def _audit(done: str, job: Job, by: str) -> None:
    event = f"job.{done}"
    facts = {"hub": job.hub, "job": job.job_id, "kind": job.kind, "by": by}
    audit.info("%s hub=%s job=%s kind=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})

"""Carries jobs of the application out: batch by batch, some devices at a time, every result in the store.

    pending ──► members frozen into rows ──► a wave of devices of the first open batch ──► results, counts, threshold
                                                     ▲                                              │
                                                     └──────────────────────────────────────────────┘

Nothing of a job is known that is not in the store, so a hub that was killed goes on where it was. Properties and
migrations are done again for the devices of the last wave, which changes nothing; a command that was under way is not
run again, and has failed as `job.interrupted`.

A job acts for whoever made it or had it go on, and a schedule for whoever changed it last, with what they may now: that
is looked at when a schedule is due and before each wave. Who is gone, or may no more, stops it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from moorage.accounts.model import Actor, Maker
from moorage.accounts.organizations import Tree
from moorage.accounts.tables import acting_in
from moorage.automation.job_service import check_right
from moorage.automation.jobs import (
    Counts,
    Job,
    JobDraft,
    JobEvent,
    JobId,
    JobRow,
    JobTables,
    ScheduledJob,
    batch_sizes,
    in_batches,
    is_beyond,
    move,
    occurrence,
)
from moorage.clock import Clock
from moorage.errors import Forbidden, Refusal, Unavailable
from moorage.fleet.groups import DeviceGroupId, Members
from moorage.ids import DeviceId, HubId, new_tracking_id
from moorage.store import Store

__all__ = ["JobActs", "JobMembers", "JobRunner"]

log = logging.getLogger(__name__)
audit = logging.getLogger("moorage.audit")

# JOB-12.
PLACES: Final = 5
# Devices of one job that have their turn together, and rows that are frozen in one transaction.
_WAVE: Final = 50
# Of a wave, so many begin in one round of the loop.
_TOGETHER: Final = 4
_FROZEN_AT_ONCE: Final = 500
_POLL_S: Final = 1.0
_PAUSE_AFTER_FAILURE_S: Final = 5.0
_FORGET_EVERY_S: Final = 60.0
_FORGOTTEN_AT_ONCE: Final = 500
_PAUSE_BETWEEN_PIECES_S: Final = 0.01
_MAX_MESSAGE: Final = 500


class JobMembers(Protocol):
    """`fleet.groups.Groups` is one."""

    async def members(self, actor: Actor, group_id: DeviceGroupId, limit: int = 100, after: str = "") -> Members: ...


class JobActs(Protocol):
    """What a job does to one device."""

    async def __call__(self, actor: Actor, job: Job, device_id: DeviceId) -> str:
        """What there is to say of it, '' for nothing. Raises `Refusal` when the device failed."""


class _Stopped(Exception):
    """The job does not run any more."""


class _Halted(Exception):
    """Nobody may have the job go on."""

    def __init__(self, job: Job, refusal: Forbidden) -> None:
        self.job = job
        self.refusal = refusal


class JobRunner:
    """Runs the jobs of one hub's application, `PLACES` at a time, and makes those that schedules ask for."""

    def __init__(
        self,
        hub: HubId,
        store: Store[JobTables],
        members: JobMembers,
        act: JobActs,
        clock: Clock,
        *,
        history: timedelta,
        poll_s: float = _POLL_S,
    ) -> None:
        self._hub = hub
        self._store = store
        self._members = members
        self._act = act
        self._clock = clock
        self._history = history
        self._poll_s = poll_s
        self._wake = asyncio.Event()
        self._running: dict[JobId, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There is a new job, or one was stopped or resumed."""
        self._wake.set()

    async def run(self) -> None:
        """Never returns; cancelled, it leaves every job where it is."""
        forgetting = asyncio.create_task(self._forget())
        try:
            while True:
                self._wake.clear()
                try:
                    await self._turn()
                except Refusal as refusal:
                    log.warning("device_jobs_wait reason=%s message=%r", refusal.reason, refusal.message)
                except Exception:
                    log.exception("device_jobs_failed")
                try:
                    async with asyncio.timeout(self._poll_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            tasks = [forgetting, *self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- whose turn it is ----------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        now = self._clock.now()
        schedules = await self._store.scan(lambda tables: tables.device_jobs.schedules(self._hub))
        if any(_is_due(each, now) for each in schedules):
            for scheduled, refusal in await self._store.write(self._make_due):
                facts = {"schedule": scheduled.schedule_id, "name": scheduled.draft.display_name}
                self._tell_halt("schedule.halted", facts, scheduled.acts_for, refusal)
        unfinished = await self._store.scan(lambda tables: tables.device_jobs.unfinished(self._hub))
        for job in sorted(unfinished, key=lambda job: job.status != "running"):
            if len(self._running) >= PLACES:
                break
            if job.job_id not in self._running:
                self._begin(job.job_id)

    def _make_due(self, tables: JobTables) -> list[tuple[ScheduledJob, Forbidden]]:
        """Jobs of schedules whose time has come; of runs that were missed only the last one is made up for.

        Those that nobody may have go on are switched off, and returned.
        """
        now = self._clock.now()
        halted = []
        for scheduled in tables.device_jobs.schedules(self._hub):
            if not _is_due(scheduled, now):
                continue
            number = scheduled.runs + 1
            due = occurrence(scheduled.schedule, number)
            while due is not None and due <= now:
                number += 1
                due = occurrence(scheduled.schedule, number)
            try:
                self._acting(tables, scheduled.acts_for, scheduled.draft, now)
            except Forbidden as refusal:
                off = replace(scheduled, is_enabled=False, message=refusal.message, version=scheduled.version + 1)
                tables.device_jobs.put_schedule(off)
                halted.append((off, refusal))
                continue
            job = Job(
                self._hub,
                JobId(new_tracking_id().lower()),
                scheduled.draft,
                now,
                scheduled.by,
                scheduled_job_id=scheduled.schedule_id,
                acts_for=scheduled.acts_for,
            )
            tables.device_jobs.put(job)
            tables.device_jobs.put_schedule(replace(scheduled, runs=number, due=due))
        return halted

    def _begin(self, job_id: JobId) -> None:
        task = self._running[job_id] = asyncio.create_task(self._run(job_id))
        task.add_done_callback(partial(self._ended, job_id))

    def _ended(self, job_id: JobId, _task: asyncio.Task[None]) -> None:
        del self._running[job_id]
        self._wake.set()

    # -- one job -------------------------------------------------------------------------------------------------------

    async def _run(self, job_id: JobId) -> None:
        try:
            await self._carry_out(job_id)
        except _Stopped:
            return
        except Unavailable as refusal:
            # The disk is full, say. The job stays as it is, and its turn comes again.
            log.warning("device_job_waits job=%s reason=%s message=%r", job_id, refusal.reason, refusal.message)
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
        except _Halted as halted:
            await self._end(job_id, "stop", halted.refusal.message)
            facts = {"job": job_id, "name": halted.job.draft.display_name}
            self._tell_halt("job.halted", facts, halted.job.acts_for, halted.refusal)
        except Refusal as refusal:
            await self._end(job_id, "fail", refusal.message)
        except Exception:
            log.exception("device_job_failed job=%s", job_id)
            await self._end(job_id, "fail", "this is a fault of moorage; its log has the details")

    async def _carry_out(self, job_id: JobId) -> None:
        job = await self._store.write(partial(self._taken, job_id))
        if not job.is_frozen:
            job = await self._freeze(job, await self._store.scan(partial(self._actor, job)))
        job = await self._fail_interrupted(job)
        sizes = batch_sizes(job.counts.total, job.draft.batch)
        while True:
            rows = await self._store.scan(partial(self._open_rows, job_id))
            if not rows:
                await self._end(job_id, "complete", "")
                return
            actor = await self._store.scan(partial(self._actor, job))
            job = await self._wave(job, actor, rows)
            threshold = job.draft.threshold
            if threshold is None or not job.counts.failed:
                continue
            batch = rows[0].batch
            failed = await self._store.scan(partial(self._failed_in, job_id, batch))
            if is_beyond(
                threshold,
                devices=job.counts.total,
                failed=job.counts.failed,
                batch=sizes[batch] if batch < len(sizes) else 0,
                failed_in_batch=failed,
            ):
                told = f"{job.counts.failed} of {job.counts.total} devices failed, more than the threshold allows"
                await self._end(job_id, "cancel", told)
                return

    def _taken(self, job_id: JobId, tables: JobTables) -> Job:
        job = tables.device_jobs.find(self._hub, job_id)
        if job is None or job.status not in ("pending", "running"):
            raise _Stopped
        if job.status == "pending":
            job = move(job, "run", self._clock.now())
            tables.device_jobs.put(job)
        return job

    def _actor(self, job: Job, tables: JobTables) -> Actor:
        """Whom it acts for, as they are now, on the devices of its organisation. Raises `_Halted`."""
        try:
            return self._acting(tables, job.acts_for, job.draft, self._clock.now())
        except Forbidden as refusal:
            raise _Halted(job, refusal) from refusal

    def _acting(self, tables: JobTables, maker: Maker, draft: JobDraft, now: datetime) -> Actor:
        """Raises `Forbidden` (`maker.*`, `job.permission`, `organization.not_seen`)."""
        actor, organization = acting_in(tables, self._hub, maker, now), draft.organization
        check_right(actor, draft)
        if not actor.sees(organization):
            raise Forbidden("organization.not_seen", f"{actor.name} does not see the organization {organization!r}")
        if not organization:
            return actor
        below = Tree(tables.organizations.all(self._hub)).subtree(organization)
        seen = below if actor.organizations is None else below & actor.organizations
        return replace(actor, organization=organization, organizations=seen)

    def _tell_halt(self, event: str, facts: dict[str, str], maker: Maker, refusal: Forbidden) -> None:
        told = {"hub": self._hub, **facts, "reason": refusal.reason, "by": maker.name}
        line = " ".join(f"{name}=%r" for name in told)
        audit.info(f"{event} {line}", *told.values(), extra={"event": event, "facts": told})

    async def _freeze(self, job: Job, actor: Actor) -> Job:
        """Members of the group, or the failed devices of the job that is run again, as rows."""
        while await self._store.write(partial(self._forget_rows, job.job_id)) == _FORGOTTEN_AT_ONCE:
            continue
        devices: list[DeviceId] = []
        after = ""
        while True:
            if job.rerun_of:
                rows = await self._store.scan(partial(self._failed_rows, JobId(job.rerun_of), after))
                devices += [row.device_id for row in rows]
                after = rows[-1].device_id if len(rows) == _FROZEN_AT_ONCE else ""
            else:
                page = await self._members.members(actor, DeviceGroupId(job.draft.group), _FROZEN_AT_ONCE, after)
                devices += [record.device_id for record in page.devices]
                after = page.after
            if not after:
                break
        # Of a hundred thousand devices this takes a tenth of a second.
        rows = await asyncio.to_thread(in_batches, devices, job.draft.batch, self._clock.now())
        for begun in range(0, len(rows), _FROZEN_AT_ONCE):
            await self._step(job.job_id, partial(self._add_rows, rows[begun : begun + _FROZEN_AT_ONCE]))
        batches = len(batch_sizes(len(devices), job.draft.batch))
        counts = Counts(total=len(devices), pending=len(devices))
        return await self._step(
            job.job_id, lambda tables, job: replace(job, is_frozen=True, batches=batches, counts=counts)
        )

    async def _fail_interrupted(self, job: Job) -> Job:
        """Commands that were under way when an earlier run ended; everything else is simply done again."""
        rows = await self._store.scan(partial(self._open_rows, job.job_id))
        now = self._clock.now()
        lost = [
            replace(
                row,
                outcome="failed",
                updated=now,
                reason="job.interrupted",
                message="the hub stopped while the command was under way; it may have reached the device",
            )
            for row in rows
            if row.outcome == "running"
        ]
        return await self._settle(job, lost) if lost else job

    async def _wave(self, job: Job, actor: Actor, rows: Sequence[JobRow]) -> Job:
        if job.draft.data[0].kind == "command":
            # Before they are run, so that none is run twice.
            now = self._clock.now()
            marked = [replace(row, outcome="running", updated=now) for row in rows]
            await self._step(job.job_id, partial(self._put_rows, marked))
        acts = (self._one(job, actor, row, at // _TOGETHER) for at, row in enumerate(rows))
        done, faults = [], []
        for result in await asyncio.gather(*acts, return_exceptions=True):
            if isinstance(result, BaseException):
                faults.append(result)
            else:
                done.append(result)
        # What was done is kept, also when it could not be done to others.
        job = await self._settle(job, done)
        if faults:
            raise faults[0]
        return job

    async def _one(self, job: Job, actor: Actor, row: JobRow, turn: int) -> JobRow:
        for _ in range(turn):
            # What fails at once waits for nothing: between some devices the loop serves others.
            await asyncio.sleep(0)
        try:
            message = await self._act(actor, job, row.device_id)
        except Unavailable as refusal:
            if refusal.reason.startswith("store."):
                raise
            return _failed(row, refusal, self._clock.now())
        except Refusal as refusal:
            return _failed(row, refusal, self._clock.now())
        return replace(row, outcome="completed", updated=self._clock.now(), reason="", message=message[:_MAX_MESSAGE])

    async def _settle(self, job: Job, rows: Sequence[JobRow]) -> Job:
        """Keep what became of these devices, also when the job was stopped meanwhile."""
        completed = sum(row.outcome == "completed" for row in rows)
        failed = len(rows) - completed

        def work(tables: JobTables) -> Job:
            present = tables.device_jobs.find(self._hub, job.job_id)
            if present is None:
                raise _Stopped
            counts = present.counts
            changed = replace(
                present,
                counts=replace(
                    counts,
                    pending=counts.pending - len(rows),
                    completed=counts.completed + completed,
                    failed=counts.failed + failed,
                ),
            )
            tables.device_jobs.put_rows(self._hub, job.job_id, rows)
            tables.device_jobs.put(changed)
            return changed

        changed = await self._store.write(work)
        if changed.status != "running":
            raise _Stopped
        return changed

    async def _step(self, job_id: JobId, work: Callable[[JobTables, Job], Job]) -> Job:
        """One transaction of a job that runs. Raises `_Stopped` when it does not any more."""

        def in_transaction(tables: JobTables) -> Job:
            job = tables.device_jobs.find(self._hub, job_id)
            if job is None or job.status != "running":
                raise _Stopped
            changed = work(tables, job)
            if changed != job:
                tables.device_jobs.put(changed)
            return changed

        return await self._store.write(in_transaction)

    async def _end(self, job_id: JobId, event: JobEvent, message: str) -> None:
        now = self._clock.now()

        def work(tables: JobTables) -> None:
            job = tables.device_jobs.find(self._hub, job_id)
            if job is not None and job.status in ("pending", "running"):
                tables.device_jobs.put(move(job, event, now, message))

        await self._store.write(work)

    # -- reads and writes ----------------------------------------------------------------------------------------------

    def _open_rows(self, job_id: JobId, tables: JobTables) -> list[JobRow]:
        return tables.device_jobs.open_rows(self._hub, job_id, _WAVE)

    def _failed_rows(self, job_id: JobId, after: str, tables: JobTables) -> list[JobRow]:
        return tables.device_jobs.rows(self._hub, job_id, after=after, limit=_FROZEN_AT_ONCE, outcome="failed")

    def _failed_in(self, job_id: JobId, batch: int, tables: JobTables) -> int:
        return tables.device_jobs.count_failed(self._hub, job_id, batch)

    def _add_rows(self, rows: Iterable[JobRow], tables: JobTables, job: Job) -> Job:
        tables.device_jobs.add_rows(self._hub, job.job_id, rows)
        return job

    def _put_rows(self, rows: Iterable[JobRow], tables: JobTables, job: Job) -> Job:
        tables.device_jobs.put_rows(self._hub, job.job_id, rows)
        return job

    def _forget_rows(self, job_id: JobId, tables: JobTables) -> int:
        return tables.device_jobs.delete_rows(self._hub, job_id, _FORGOTTEN_AT_ONCE)

    # -- history -------------------------------------------------------------------------------------------------------

    async def _forget(self) -> None:
        while True:
            try:
                await self._forget_old()
            except Refusal as refusal:
                log.warning("device_jobs_not_forgotten reason=%s message=%r", refusal.reason, refusal.message)
            except Exception:
                log.exception("device_jobs_not_forgotten")
            await asyncio.sleep(_FORGET_EVERY_S)

    async def _forget_old(self) -> None:
        """In small pieces, with pauses that leave the writer to others."""
        before = self._clock.now() - self._history
        while old := self._store.read().device_jobs.ended_before(self._hub, before, 1):
            await self._store.write(partial(self._forget_some, old[0], before))
            await asyncio.sleep(_PAUSE_BETWEEN_PIECES_S)

    def _forget_some(self, job_id: JobId, before: datetime, tables: JobTables) -> None:
        job = tables.device_jobs.find(self._hub, job_id)
        if job is None or job.ended is None or job.ended >= before:
            # Somebody had it go on meanwhile.
            return
        if self._forget_rows(job_id, tables) < _FORGOTTEN_AT_ONCE:
            tables.device_jobs.delete(self._hub, job_id)


def _is_due(scheduled: ScheduledJob, now: datetime) -> bool:
    return scheduled.is_enabled and scheduled.due is not None and scheduled.due <= now


def _failed(row: JobRow, refusal: Refusal, now: datetime) -> JobRow:
    return replace(row, outcome="failed", updated=now, reason=refusal.reason, message=refusal.message[:_MAX_MESSAGE])

"""Carries jobs out: every step is one transaction, and nothing about a job is known that is not in the store.

So a hub that was killed goes on where it was. What that means for one device:

    twin updates   the new twin and the device's result are one transaction: exactly once, and with ten runners too
    methods        the row says `running` before the call goes out, and has its result after; what was under way when
                   the hub stopped may have reached its device, is not called again, and is failed as `job.interrupted`;
                   the others wait until devices have had `reconnect_s` to come back

A transaction begins by reading the job: only a running job, and only its own runner, is written to. A runner takes over
the running jobs of others when it starts, and never after; whoever ran them finds out at its next step.

`plan` decides whose turn it is. Deadlines and start times are by the wall clock, asked at every step.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from moorage.clock import Clock
from moorage.errors import Refusal, Unavailable
from moorage.hub.job_model import (
    TRANSITIONS,
    Job,
    JobDevice,
    JobEvent,
    JobHead,
    JobId,
    JobTables,
    move,
    out_of_time,
    tell_of_end,
)
from moorage.hub.methods import MethodCall, MethodReply, MethodService
from moorage.hub.targets import Targets
from moorage.hub.twins import TwinChange, patch_twin, write_twin_in
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = ["JobRunner", "plan"]

log = logging.getLogger(__name__)

R = TypeVar("R")

# Names that a condition is asked for at a time, and rows that are frozen in one transaction.
_PAGE = 500
# Twins of one transaction: some milliseconds, in which other writers wait.
_BATCH = 25
# Calls of one job that are under way at a time.
_CALLS = 100
# An answer of a method is kept up to this; longer ones would make a job of many devices a large file.
_MAX_KEPT_REPLY_BYTES: Final = 16 * 1024
_POLL_S = 1.0
_PAUSE_AFTER_FAILURE_S = 5.0
# What devices get to come back in after a start, before older jobs call their methods.
_RECONNECT_S = 10.0
_FORGET_EVERY_S = 60.0
_FORGOTTEN_AT_ONCE = 500
_PAUSE_BETWEEN_PIECES_S = 0.01


class _Stopped(Exception):
    """The job is not this runner's to write to: it ended, or somebody else took it over."""


def plan(heads: Sequence[JobHead], now: datetime, free: int) -> list[tuple[JobId, JobEvent]]:
    """What follows for jobs that have not ended, in the order in which it is to be done.

    `heads` has the one that is due first at its head; `free` is how many more may run.
    """
    steps: list[tuple[JobId, JobEvent]] = []
    for head in heads:
        status = head.status
        if status == "queued":
            is_due = head.start <= now
            steps.append((head.job_id, "await_place" if is_due else "await_start"))
            status = "enqueued" if is_due else "scheduled"
        elif status == "scheduled" and head.start <= now:
            steps.append((head.job_id, "await_place"))
            status = "enqueued"
        if status == "enqueued" and free > 0:
            steps.append((head.job_id, "run"))
            free -= 1
    return steps


class JobRunner:
    """Runs the jobs of one hub, at most `places` at a time; forgets them `history` after their end."""

    def __init__(
        self,
        hub: HubId,
        store: Store[JobTables],
        targets: Targets,
        methods: MethodService,
        clock: Clock,
        *,
        places: int,
        history: timedelta,
        poll_s: float = _POLL_S,
        reconnect_s: float = _RECONNECT_S,
    ) -> None:
        self._hub = hub
        self._store = store
        self._targets = targets
        self._methods = methods
        self._clock = clock
        self._places = places
        self._history = history
        self._poll_s = poll_s
        self._reconnect_s = reconnect_s
        self._since = clock.now()
        self._came_back_at = 0.0
        self._id = secrets.token_hex(8)
        self._wake = asyncio.Event()
        self._running: dict[JobId, asyncio.Task[None]] = {}
        # Running jobs of others that were there at the start and are not taken over yet.
        self._left: set[JobId] = set()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Take over what an earlier run left, and go on with it."""
        self._since = self._clock.now()
        self._came_back_at = asyncio.get_running_loop().time() + self._reconnect_s
        self._loops = [asyncio.create_task(self._turns()), asyncio.create_task(self._forget())]

    async def close(self) -> None:
        """Stop where every job is; the next runner goes on from there."""
        ending = [*self._loops, *self._running.values()]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def wake(self) -> None:
        """There is a new job, or one was cancelled."""
        self._wake.set()

    @property
    def running(self) -> int:
        return len(self._running)

    # -- whose turn it is ----------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        is_first = True
        while True:
            self._wake.clear()
            try:
                await self._turn(is_first)
                is_first = False
            except Unavailable as refusal:
                log.warning("jobs_not_started reason=%s message=%r", refusal.reason, refusal.message)
            except Exception:
                # The next turn may find what this one did not; until then the log says what is wrong.
                log.exception("jobs_failed")
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _turn(self, is_first: bool) -> None:
        heads = self._store.read().jobs.unfinished(self._hub)
        now = self._clock.now()
        if is_first:
            self._left = {head.job_id for head in heads if head.status == "running"}
        running = sum(head.status == "running" and self._is_ours(head) for head in heads)
        steps = plan(heads, now, self._places - running)
        if steps:
            await self._store.write(partial(self._take_steps, steps=steps, now=now))
            heads = self._store.read().jobs.unfinished(self._hub)
        for head in heads:
            if head.status == "running" and self._is_ours(head) and head.job_id not in self._running:
                self._begin(head.job_id)
        alive = {head.job_id for head in heads if head.status == "running"}
        for job_id, task in self._running.items():
            if job_id not in alive:
                task.cancel()

    def _is_ours(self, head: JobHead) -> bool:
        return head.runner == self._id or head.job_id in self._left

    def _take_steps(self, tables: JobTables, steps: Iterable[tuple[JobId, JobEvent]], now: datetime) -> None:
        for job_id, event in steps:
            job = tables.jobs.find(self._hub, job_id)
            # It may have been cancelled since it was looked at, or taken by another runner.
            if job is not None and (job.status, event) in TRANSITIONS:
                moved = move(job, event, now)
                tables.jobs.put(replace(moved, runner=self._id) if moved.status == "running" else moved)

    def _begin(self, job_id: JobId) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            del self._running[job_id]
            self._wake.set()

        task = asyncio.create_task(self._run(job_id), name=f"job {job_id}")
        self._running[job_id] = task
        task.add_done_callback(ended)

    # -- one job -------------------------------------------------------------------------------------------------------

    async def _run(self, job_id: JobId) -> None:
        try:
            await self._carry_out(job_id)
        except _Stopped:
            return
        except Unavailable as refusal:
            # The disk is full, say. The job stays as it is, and its turn comes again.
            log.warning("job_waits job=%s reason=%s message=%r", job_id, refusal.reason, refusal.message)
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)

    async def _carry_out(self, job_id: JobId) -> None:
        """Raises `_Stopped` and `Unavailable`; the job has failed by all else that goes wrong."""
        try:
            job = await self._take_over(job_id)
            job = await self._freeze(job)
            if isinstance(job.work, TwinChange):
                await self._update_twins(job.job_id)
            else:
                if job.created < self._since:
                    # The devices lost their connections with the hub that made the job.
                    await asyncio.sleep(self._came_back_at - asyncio.get_running_loop().time())
                await self._call_methods(job.job_id, job.work)
        except (_Stopped, Unavailable):
            raise
        except Refusal as refusal:
            await self._give_up(job_id, refusal.reason, refusal.message)
        except Exception:
            log.exception("job_failed job=%s", job_id)
            await self._give_up(job_id, "job.fault", "this is a fault of moorage; its log has the details")

    async def _step(self, job_id: JobId, work: Callable[[JobTables, Job, datetime], R]) -> R:
        """One transaction of a job that this runner runs. Raises `_Stopped` when it is not, or has ended now."""
        now = self._clock.now()

        def in_transaction(tables: JobTables) -> R | None:
            job = tables.jobs.find(self._hub, job_id)
            if job is None or job.status != "running" or job.runner != self._id:
                return None
            late = out_of_time(job, now)
            if late is not None:
                tables.jobs.put(late)
                tell_of_end(tables, late, now)
                return None
            return work(tables, job, now)

        result = await self._store.write(in_transaction)
        if result is None:
            raise _Stopped
        return result

    async def _take_over(self, job_id: JobId) -> Job:
        """Make it this runner's. Calls that were under way when another stopped have failed: see the module's text."""
        now = self._clock.now()

        def work(tables: JobTables) -> Job | None:
            job = tables.jobs.find(self._hub, job_id)
            if job is None or job.status != "running":
                return None
            open_calls = tables.job_devices.open(self._hub, job_id, "running", job.counts.running)
            message = "the hub stopped while the call was under way; it may have reached the device"
            rows = [_failed(device_id, now, "job.interrupted", message) for device_id in open_calls]
            tables.job_devices.put(self._hub, job_id, rows)
            taken = _counted(replace(job, runner=self._id), rows)
            tables.jobs.put(taken)
            return taken

        job = await self._store.write(work)
        self._left.discard(job_id)
        if job is None:
            raise _Stopped
        return job

    async def _give_up(self, job_id: JobId, reason: str, message: str) -> None:
        def work(tables: JobTables, job: Job, now: datetime) -> bool:
            failed = move(job, "fail", now, reason=reason, message=message)
            tables.jobs.put(failed)
            tell_of_end(tables, failed, now)
            return True

        await self._step(job_id, work)

    # -- its devices ---------------------------------------------------------------------------------------------------

    async def _freeze(self, job: Job) -> Job:
        """Write a row for each device that the condition selects, in pieces; goes on where an earlier run stopped."""
        while not job.is_frozen:
            if job.device_ids is not None:
                names: Sequence[DeviceId] = job.device_ids
                is_last = True
            else:
                after = None if job.frozen_up_to is None else IdentityName(job.frozen_up_to)
                found = await self._targets.select(self._hub, job.condition or "", "devices", after=after, limit=_PAGE)
                names = [name.device_id for name in found]
                is_last = len(names) < _PAGE
            job = await self._step(job.job_id, partial(self._freeze_in, names=names, is_last=is_last))
        return job

    def _freeze_in(
        self, tables: JobTables, job: Job, now: datetime, *, names: Sequence[DeviceId], is_last: bool
    ) -> Job:
        new = tables.job_devices.add(self._hub, job.job_id, names, now)
        counts = replace(job.counts, devices=job.counts.devices + new, pending=job.counts.pending + new)
        frozen = replace(job, counts=counts, is_frozen=is_last, frozen_up_to=names[-1] if names else job.frozen_up_to)
        tables.jobs.put(frozen)
        return frozen

    async def _update_twins(self, job_id: JobId) -> None:
        goes_on = True
        while goes_on:
            goes_on = await self._step(job_id, self._update_in)

    def _update_in(self, tables: JobTables, job: Job, now: datetime) -> bool:
        """The next twins and their devices' results, in one transaction; False when there are no more."""
        change = job.work
        assert isinstance(change, TwinChange)  # `_run` has looked
        rows: list[JobDevice] = []
        for device_id in tables.job_devices.open(self._hub, job.job_id, "pending", _BATCH):
            try:
                write_twin_in(tables, self._hub, IdentityName(device_id), change, patch_twin, now)
            except Refusal as refusal:
                rows.append(_failed(device_id, now, refusal.reason, refusal.message))
            else:
                rows.append(JobDevice(device_id, "completed", now, now, now))
        return self._settle_in(tables, job, now, rows)

    async def _call_methods(self, job_id: JobId, call: MethodCall) -> None:
        calls: set[asyncio.Task[JobDevice]] = set()
        try:
            while True:
                done = {task for task in calls if task.done()}
                calls -= done
                rows = [task.result() for task in done]
                room = _CALLS - len(calls)
                claimed = await self._step(job_id, partial(self._claim_in, rows=rows, room=room))
                calls |= {asyncio.create_task(self._call(device_id, call)) for device_id in claimed}
                if not calls:
                    return
                # Not for ever, so that a deadline is kept.
                await asyncio.wait(calls, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in calls:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    def _claim_in(
        self, tables: JobTables, job: Job, now: datetime, *, rows: Sequence[JobDevice], room: int
    ) -> Sequence[DeviceId]:
        """Write the results of calls, and mark the next ones as running before they are made."""
        claimed = tables.job_devices.open(self._hub, job.job_id, "pending", room)
        marks = [JobDevice(device_id, "running", now, started=now) for device_id in claimed]
        self._settle_in(tables, job, now, [*rows, *marks])
        return claimed

    def _settle_in(self, tables: JobTables, job: Job, now: datetime, rows: Sequence[JobDevice]) -> bool:
        """Write rows and count them; the job is complete when none is left. Whether it goes on."""
        tables.job_devices.put(self._hub, job.job_id, rows)
        settled = _counted(job, rows)
        if settled.counts.pending == 0 and settled.counts.running == 0:
            settled = move(settled, "complete", now)
        if settled != job:
            tables.jobs.put(settled)
        if settled.status == "completed":
            tell_of_end(tables, settled, now)
        return settled.status == "running"

    async def _call(self, device_id: DeviceId, call: MethodCall) -> JobDevice:
        started = self._clock.now()
        try:
            reply = await self._methods.invoke(self._hub, IdentityName(device_id), call)
        except Refusal as refusal:
            failed = _failed(device_id, self._clock.now(), refusal.reason, refusal.message)
            return replace(failed, started=started)
        now = self._clock.now()
        size = len(json.dumps(reply.payload))
        if size <= _MAX_KEPT_REPLY_BYTES:
            return JobDevice(device_id, "completed", now, started, now, reply)
        message = f"the answer has {size} bytes as JSON, of which jobs keep {_MAX_KEPT_REPLY_BYTES}; it is left out"
        return JobDevice(device_id, "completed", now, started, now, MethodReply(reply.status, None), None, message)

    # -- history -------------------------------------------------------------------------------------------------------

    async def _forget(self) -> None:
        while True:
            try:
                await self._forget_old()
            except Unavailable as refusal:
                log.warning("jobs_not_forgotten reason=%s message=%r", refusal.reason, refusal.message)
            except Exception:
                log.exception("jobs_not_forgotten")
            await asyncio.sleep(min(_FORGET_EVERY_S, 60 * self._poll_s))

    async def _forget_old(self) -> None:
        """In small pieces, with pauses that leave the writer to others."""
        while old := self._store.read().jobs.ended_before(self._hub, self._clock.now() - self._history, 1):
            await self._store.write(partial(self._forget_some, job_id=old[0]))
            await asyncio.sleep(_PAUSE_BETWEEN_PIECES_S)

    def _forget_some(self, tables: JobTables, job_id: JobId) -> None:
        if tables.job_devices.delete_some(self._hub, job_id, _FORGOTTEN_AT_ONCE) < _FORGOTTEN_AT_ONCE:
            tables.jobs.delete(self._hub, job_id)


def _failed(device_id: DeviceId, now: datetime, reason: str, message: str) -> JobDevice:
    return JobDevice(device_id, "failed", now, now, now, None, reason, message)


def _counted(job: Job, rows: Sequence[JobDevice]) -> Job:
    """`job` with `rows` counted: what ends was running (a method) or pending (a twin) before; what runs was pending."""
    if not rows:
        return job
    succeeded = sum(row.status == "completed" for row in rows)
    failed = sum(row.status == "failed" for row in rows)
    begun = sum(row.status == "running" for row in rows)
    counts = job.counts
    ended = succeeded + failed
    from_running = ended if job.kind == "method" else 0
    return replace(
        job,
        counts=replace(
            counts,
            succeeded=counts.succeeded + succeeded,
            failed=counts.failed + failed,
            running=counts.running + begun - from_running,
            pending=counts.pending - begun - (ended - from_running),
        ),
    )

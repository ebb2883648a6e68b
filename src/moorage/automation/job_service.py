"""Jobs as people and the API make, stop and look at them; schedules, which make jobs by themselves.

An actor sees the jobs of the organisations that it sees. What a job does is checked against its template when it is
made, and each device again when its turn comes.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from moorage.accounts.model import Actor, Permission
from moorage.automation.jobs import (
    MAX_SCHEDULES,
    DataKind,
    DeviceOutcome,
    Job,
    JobDraft,
    JobEvent,
    JobId,
    JobRow,
    JobTables,
    Schedule,
    ScheduledJob,
    ScheduleId,
    check_draft,
    check_schedule,
    move,
    next_due,
)
from moorage.clock import Clock
from moorage.dtdl.model import Interface
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from moorage.fleet.commands import judge_command
from moorage.fleet.groups import DeviceGroup, DeviceGroupId
from moorage.fleet.model import TemplateId
from moorage.fleet.properties import check_changes, check_cloud
from moorage.ids import ETag, HubId, check_etag, new_tracking_id
from moorage.store import Store

__all__ = ["JobGroups", "JobService", "JobTemplates", "ScheduledJobs", "check_right", "split_path"]

audit = logging.getLogger("moorage.audit")

MAX_PAGE: Final = 1000
# A job does for whoever makes it, or has it go on, what they may do to one device themselves.
_TAKES: Final[dict[DataKind, Permission]] = {
    "property": "devices.manage",
    "cloudProperty": "devices.manage",
    "command": "commands.run",
    "deviceTemplateMigration": "devices.manage",
    "deploymentManifest": "devices.manage",
}


class JobGroups(Protocol):
    """`fleet.groups.Groups` is one."""

    def get(self, actor: Actor, group_id: DeviceGroupId) -> DeviceGroup: ...


class JobTemplates(Protocol):
    """`fleet.templates.TemplateService` is one."""

    def interface_of(self, template_id: TemplateId) -> Interface | None: ...


class _Drafts:
    """What a job may be, given the groups and templates that there are."""

    def __init__(self, groups: JobGroups, templates: JobTemplates) -> None:
        self._groups = groups
        self._templates = templates

    def check(self, actor: Actor, draft: JobDraft) -> None:
        """Raises as `check_draft`; `NotFound` for its group, `Invalid` (`job.data`, `property.value`), `Forbidden`."""
        check_draft(draft)
        check_right(actor, draft)
        if not actor.sees(draft.organization):
            raise Forbidden("organization.not_seen", f"you do not see the organization {draft.organization[:60]!r}")
        self._groups.get(actor, DeviceGroupId(draft.group))
        changes: dict[str, dict[str, object]] = {}
        for data in draft.data:
            if data.kind == "deploymentManifest":
                continue
            interface = self._templates.interface_of(TemplateId(data.target))
            if interface is None:
                raise Invalid("job.data", f"there is no published device template {data.target[:120]!r}")
            component, name = split_path(interface, data.path)
            match data.kind:
                case "property":
                    changes.setdefault(component, {})[name] = data.value
                    check_changes(interface, changes)
                case "cloudProperty":
                    check_cloud(interface, {data.path: data.value})
                case "command":
                    if interface.find_command(name, component) is None:
                        raise Invalid("job.data", f"the template has no command {data.path[:120]!r}")
                    judge_command(interface, component, name, data.value)


class JobService:
    """The jobs of one hub's application. `wake` tells the runner that there is something to do."""

    def __init__(
        self,
        hub: HubId,
        store: Store[JobTables],
        groups: JobGroups,
        templates: JobTemplates,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._store = store
        self._drafts = _Drafts(groups, templates)
        self._clock = clock
        self._wake = wake

    def get(self, actor: Actor, job_id: str) -> Job:
        """Raises `NotFound` (`job.unknown`)."""
        return _seen(self._store.read(), self._hub, actor, job_id)

    async def list(
        self,
        actor: Actor,
        limit: int = 50,
        *,
        before: tuple[datetime, JobId] | None = None,
        schedule: str | None = None,
    ) -> list[Job]:
        """The newest first; `before` is the creation and the id of the last one of the page before."""
        wanted = min(max(1, limit), MAX_PAGE)

        def work(tables: JobTables) -> list[Job]:
            found: list[Job] = []
            place = before
            while len(found) < wanted:
                page = tables.device_jobs.page(self._hub, wanted, before=place, schedule=schedule)
                found += [job for job in page if actor.sees(job.draft.organization)]
                if len(page) < wanted:
                    break
                place = page[-1].created, page[-1].job_id
            return found[:wanted]

        return await self._store.scan(work)

    def check(self, actor: Actor, draft: JobDraft) -> None:
        """Whether such a job may be; raises as `create` does before it looks at other jobs."""
        self._drafts.check(actor, draft)

    async def create(self, actor: Actor, draft: JobDraft, job_id: JobId | None = None) -> Job:
        """A job that begins as soon as there is a place for it. Raises as `check`; `Conflict` (`job.exists`)."""
        self._drafts.check(actor, draft)
        job = Job(self._hub, job_id or _new_id(), draft, self._clock.now(), actor.name, acts_for=actor.maker)
        await self._add(job)
        self._tell("job.created", actor, job)
        return job

    async def stop(self, actor: Actor, job_id: str) -> Job:
        """Devices whose turn it is have it. Raises `NotFound` (`job.unknown`), `Conflict` (`job.status`)."""
        return await self._move(actor, job_id, "stop", "job.stopped")

    async def resume(self, actor: Actor, job_id: str) -> Job:
        """Go on, for the actor, with what was stopped.

        Raises `NotFound` (`job.unknown`), `Conflict` (`job.status`), `Forbidden` (`job.permission`).
        """
        check_right(actor, self.get(actor, job_id).draft)
        return await self._move(actor, job_id, "resume", "job.resumed")

    async def rerun(self, actor: Actor, job_id: str, rerun_id: JobId | None = None) -> Job:
        """A new job for the devices that failed in this one (JOB-10).

        Raises as `check`; `NotFound` (`job.unknown`), `Conflict` (`job.status`) while it runs or where no device
        failed, `Conflict` (`job.exists`).
        """
        before = self.get(actor, job_id)
        if before.ended is None:
            raise Conflict("job.status", f"job '{job_id}' is {before.status}; stop it before it is run again")
        if not before.counts.failed:
            raise Conflict("job.status", f"no device failed in job '{job_id}', so there is none to run it for again")
        self._drafts.check(actor, before.draft)
        now, named = self._clock.now(), rerun_id or _new_id()
        job = Job(self._hub, named, before.draft, now, actor.name, rerun_of=before.job_id, acts_for=actor.maker)
        await self._add(job)
        self._tell("job.rerun", actor, job, rerun_of=before.job_id)
        return job

    async def devices(
        self, actor: Actor, job_id: str, *, after: str = "", limit: int = 100, outcome: DeviceOutcome | None = None
    ) -> builtins.list[JobRow]:
        """In the order of their ids. Raises `NotFound` (`job.unknown`)."""
        job = self.get(actor, job_id)
        wanted = min(max(1, limit), MAX_PAGE)
        return await self._store.scan(
            lambda tables: tables.device_jobs.rows(self._hub, job.job_id, after=after, limit=wanted, outcome=outcome)
        )

    async def _add(self, job: Job) -> None:
        def work(tables: JobTables) -> None:
            if tables.device_jobs.find(self._hub, job.job_id) is not None:
                raise Conflict("job.exists", f"there is a job '{job.job_id}' already")
            tables.device_jobs.put(job)

        await self._store.write(work)
        self._wake()

    async def _move(self, actor: Actor, job_id: str, step: JobEvent, event: str) -> Job:
        now = self._clock.now()

        def work(tables: JobTables) -> Job:
            moved = move(_seen(tables, self._hub, actor, job_id), step, now)
            if step == "resume":
                moved = replace(moved, acts_for=actor.maker)
            tables.device_jobs.put(moved)
            return moved

        moved = await self._store.write(work)
        self._wake()
        self._tell(event, actor, moved)
        return moved

    def _tell(self, event: str, actor: Actor, job: Job, **more: str) -> None:
        facts = {"hub": self._hub, "job": job.job_id, "name": job.draft.display_name, "by": actor.name, **more}
        audit.info(
            "%s hub=%s job=%s name=%r by=%s",
            event,
            self._hub,
            job.job_id,
            job.draft.display_name,
            actor.name,
            extra={"event": event, "facts": facts},
        )


class ScheduledJobs:
    """The schedules of one hub's application."""

    def __init__(
        self,
        hub: HubId,
        store: Store[JobTables],
        groups: JobGroups,
        templates: JobTemplates,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._store = store
        self._drafts = _Drafts(groups, templates)
        self._clock = clock
        self._wake = wake

    def all(self, actor: Actor) -> list[ScheduledJob]:
        found = self._store.read().device_jobs.schedules(self._hub)
        return [each for each in found if actor.sees(each.draft.organization)]

    def get(self, actor: Actor, schedule_id: str) -> ScheduledJob:
        """Raises `NotFound` (`job.schedule_unknown`)."""
        return self._seen(self._store.read(), actor, schedule_id)

    async def put(
        self,
        actor: Actor,
        schedule_id: ScheduleId | None,
        draft: JobDraft,
        schedule: Schedule,
        *,
        is_enabled: bool = True,
        if_match: ETag | None = None,
    ) -> ScheduledJob:
        """Make it, or put it in the place of the one of its id, which begins to count anew if its times change.

        Raises as `JobService.check` and `check_schedule`; `PreconditionFailed` (`etag.stale`), `NotFound`
        (`job.schedule_unknown`) with `if_match`, `TooLarge` (`job.too_many_schedules`).
        """
        self._drafts.check(actor, draft)
        check_schedule(schedule)
        return await self._put(actor, schedule_id, draft, schedule, is_enabled=is_enabled, if_match=if_match)

    async def switch(self, actor: Actor, schedule_id: str, *, is_enabled: bool) -> ScheduledJob:
        """Raises `NotFound` (`job.schedule_unknown`); where it is switched on, as `put`."""
        found = self.get(actor, schedule_id)
        if is_enabled:
            self._drafts.check(actor, found.draft)
        return await self._put(
            actor, found.schedule_id, found.draft, found.schedule, is_enabled=is_enabled, if_match=found.etag
        )

    async def _put(
        self,
        actor: Actor,
        schedule_id: ScheduleId | None,
        draft: JobDraft,
        schedule: Schedule,
        *,
        is_enabled: bool,
        if_match: ETag | None,
    ) -> ScheduledJob:
        now, named = self._clock.now(), schedule_id or ScheduleId(_new_id())

        def work(tables: JobTables) -> tuple[ScheduledJob, bool]:
            present = tables.device_jobs.find_schedule(self._hub, named)
            is_seen = if_match is None if present is None else actor.sees(present.draft.organization)
            if not is_seen:
                # What was read and is gone does not come back by being saved.
                raise NotFound("job.schedule_unknown", f"there is no scheduled job {named[:80]!r}")
            if present is not None:
                check_etag(f"the scheduled job '{named}'", if_match, present.etag)
            if present is None and len(tables.device_jobs.schedules(self._hub)) >= MAX_SCHEDULES:
                raise TooLarge("job.too_many_schedules", f"there are {MAX_SCHEDULES} scheduled jobs, no more may be")
            runs = present.runs if present is not None and present.schedule == schedule else 0
            number, due = next_due(schedule, runs, now)
            stored = ScheduledJob(
                self._hub,
                named,
                draft,
                schedule,
                now if present is None else present.created,
                actor.name,
                due,
                number if due is not None else runs,
                is_enabled,
                1 if present is None else present.version + 1,
                actor.maker,
            )
            tables.device_jobs.put_schedule(stored)
            return stored, present is None

        stored, is_new = await self._store.write(work)
        self._wake()
        self._tell("schedule.created" if is_new else "schedule.updated", actor, stored)
        return stored

    async def delete(self, actor: Actor, schedule_id: str) -> None:
        """Jobs that it made stay. Raises `NotFound` (`job.schedule_unknown`)."""

        def work(tables: JobTables) -> ScheduledJob:
            present = self._seen(tables, actor, schedule_id)
            tables.device_jobs.delete_schedule(self._hub, present.schedule_id)
            return present

        self._tell("schedule.deleted", actor, await self._store.write(work))

    def _seen(self, tables: JobTables, actor: Actor, schedule_id: str) -> ScheduledJob:
        found = tables.device_jobs.find_schedule(self._hub, ScheduleId(schedule_id))
        if found is None or not actor.sees(found.draft.organization):
            raise NotFound("job.schedule_unknown", f"there is no scheduled job {schedule_id[:80]!r}")
        return found

    def _tell(self, event: str, actor: Actor, scheduled: ScheduledJob) -> None:
        facts = {
            "hub": self._hub,
            "schedule": scheduled.schedule_id,
            "name": scheduled.draft.display_name,
            "by": actor.name,
        }
        audit.info(
            "%s hub=%s schedule=%s name=%r by=%s", event, *facts.values(), extra={"event": event, "facts": facts}
        )


def split_path(interface: Interface, path: str) -> tuple[str, str]:
    """(component, name) of `component.name` or a plain name (JOB-4)."""
    head, dot, rest = path.partition(".")
    if dot and any(component.name == head for component in interface.components):
        return head, rest
    return "", path


def check_right(actor: Actor, draft: JobDraft) -> None:
    """Raises `Forbidden` (`job.permission`)."""
    for permission in ("jobs.manage", *(_TAKES[data.kind] for data in draft.data)):
        if not actor.may(permission):
            raise Forbidden(
                "job.permission", f"{actor.name} has no permission {permission}, which a job of this kind takes"
            )


def _seen(tables: JobTables, hub: HubId, actor: Actor, job_id: str) -> Job:
    found = tables.device_jobs.find(hub, JobId(job_id))
    if found is None or not actor.sees(found.draft.organization):
        raise NotFound("job.unknown", f"there is no job {job_id[:80]!r}")
    return found


def _new_id() -> JobId:
    return JobId(new_tracking_id().lower())

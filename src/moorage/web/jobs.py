"""Jobs: a wizard that makes one, how it goes while it runs, what became of each device, and schedules."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, get_args

from starlette.responses import RedirectResponse, Response

from moorage.automation.jobs import DeviceOutcome, Job, JobDraft, JobId, parse_job_id, parse_schedule_id
from moorage.dialects.csv_text import csv_lines
from moorage.dialects.times import format_time
from moorage.dtdl.model import Interface
from moorage.errors import Conflict, Invalid, NotFound, Refusal
from moorage.fleet.groups import DeviceGroupId
from moorage.fleet.model import TemplateId
from moorage.fleet.properties import PropertyProblems
from moorage.web.automation_code import job_acts, new_job_act, schedule_acts
from moorage.web.automation_forms import capability_names, new_id, numbers_of
from moorage.web.job_form import (
    KIND_WORDS,
    MAX_ROWS,
    STATUS_LIGHTS,
    STEPS,
    TYPED,
    describe,
    draft_of,
    job_fields,
    kind_of,
    percent_of,
    schedule_fields,
    schedule_of,
    when_words,
)
from moorage.web.pages import TOLD, Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["job_pages"]

_PAGE: Final = 50
_ROWS: Final = 100
_CSV_ROWS: Final = 500
_MAX_CSV_ROWS: Final = 200_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_OUTCOMES: Final[tuple[DeviceOutcome, ...]] = get_args(DeviceOutcome)


def job_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Jobs(services, renderer)
    one, schedule = "/jobs/{job_id}", "/jobs/scheduled/{schedule_id}"
    return [
        Page("GET", "/jobs", pages.all, "jobs.view"),
        Page("GET", "/jobs/new", pages.new, "jobs.manage"),
        Page("POST", "/jobs", pages.create, "jobs.manage", keeps=True),
        Page("POST", "/jobs/values", pages.values, "jobs.manage"),
        Page("GET", "/jobs/scheduled", pages.schedules, "jobs.view"),
        Page("GET", schedule, pages.schedule, "jobs.view"),
        Page("POST", schedule + "/switch", pages.switch, "jobs.manage"),
        Page("POST", schedule + "/delete", pages.delete_schedule, "jobs.manage"),
        Page("GET", one, pages.show, "jobs.view"),
        Page("GET", one + "/progress", pages.progress, "jobs.view"),
        Page("GET", one + "/results.csv", pages.csv, "jobs.view"),
        Page("POST", one + "/stop", pages.stop, "jobs.manage"),
        Page("POST", one + "/resume", pages.resume, "jobs.manage"),
        Page("POST", one + "/rerun", pages.rerun, "jobs.manage"),
    ]


class _Jobs:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._jobs = services.automation.jobs
        self._schedules = services.automation.scheduled_jobs
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        before = _place(visit.query.get("before", ""))
        jobs = await self._jobs.list(visit.actor, _PAGE + 1, before=before)
        names = await self._names(visit)
        last = jobs[_PAGE - 1] if len(jobs) > _PAGE else None
        return await self._renderer.long_page(
            visit,
            "jobs/list.html",
            jobs=[(job, describe(job.draft, names)[:1], percent_of(job)) for job in jobs[:_PAGE]],
            before="" if last is None else _key(last),
            groups={each.group_id: each.display_name for each in await self._services.groups.list(visit.actor)},
            **_WORDS,
            tab="jobs",
        )

    # -- the wizard ----------------------------------------------------------------------------------------------------

    async def new(self, visit: Visit) -> Response:
        fields = {
            "id": new_id("job"),
            "organization": visit.default_organization,
            "kind": "property",
            "group": visit.query.get("group", ""),
            "recurrence": "now",
        }
        if copied := visit.query.get("copy", ""):
            draft = self._jobs.get(visit.actor, copied).draft
            fields = job_fields(draft) | {"id": fields["id"], "name": f"Copy of {draft.display_name}"[:255]}
        elif scheduled := visit.query.get("schedule", ""):
            found = self._schedules.get(visit.actor, scheduled)
            fields = schedule_fields(found) | {"id": fields["id"], "name": f"Copy of {found.draft.display_name}"[:255]}
        return await self._wizard(visit, fields, 0)

    async def create(self, visit: Visit) -> Response:
        """One step of the wizard, or its end."""
        fields = await visit.form()
        step = int(fields["step"]) if fields.get("step") in ("0", "1", "2", "3") else 0
        match fields.get("go", "next"):
            case "back":
                return await self._wizard(visit, fields, max(0, step - 1))
            case "more":
                return await self._wizard(visit, fields, 0)
        try:
            visit.check_in_time()
            template, interface = self._target(visit, fields)
            draft = draft_of(fields, template, interface)
            if fields.get("go") != "run":
                self._jobs.check(visit.actor, draft)
                if step == 2:
                    schedule_of(fields)
                return await self._wizard(visit, fields, min(step + 1, len(STEPS) - 1))
            schedule = schedule_of(fields)
            if schedule is None:
                job_id = parse_job_id(fields.get("id", ""))
                return _to(await self._begin(visit, draft, job_id))
            schedule_id = parse_schedule_id(fields.get("id", ""))
            await self._schedules.put(visit.actor, schedule_id, draft, schedule)
            return RedirectResponse(f"/jobs/scheduled/{segment(schedule_id)}", HTTPStatus.SEE_OTHER)
        except TOLD as refusal:
            if isinstance(refusal, PropertyProblems):
                refusal.field = _field_of(refusal, fields)
            return await self._wizard(visit, fields, _step_of(refusal, step), refusal)

    async def values(self, visit: Visit) -> Response:
        """The part of the first step that depends on the group and the kind."""
        fields = await visit.form()
        return await self._renderer.long_page(visit, "jobs/values.html", **await self._configure(visit, fields))

    async def _begin(self, visit: Visit, draft: JobDraft, job_id: JobId) -> Job:
        try:
            return await self._jobs.create(visit.actor, draft, job_id)
        except Conflict as refusal:
            if refusal.reason != "job.exists":
                raise
            # The same form, sent twice.
            present = self._jobs.get(visit.actor, job_id)
            if present.draft != draft:
                raise
            return present

    def _target(self, visit: Visit, fields: Mapping[str, str]) -> tuple[str, Interface | None]:
        """The template of the group's devices. Raises `Invalid` (`job.group`), `NotFound`."""
        if not fields.get("group"):
            raise Invalid("job.group", "a job is for the devices of a group, and none was chosen")
        template = self._services.groups.get(visit.actor, DeviceGroupId(fields["group"])).parsed.template
        return template, self._services.templates.interface_of(TemplateId(template))

    async def _configure(self, visit: Visit, fields: Mapping[str, str]) -> dict[str, Any]:
        try:
            interface = self._target(visit, fields)[1]
        except (Invalid, NotFound):
            # Nothing is chosen yet, or what was is gone: there is nothing to propose.
            interface = None
        filled = numbers_of(fields, TYPED, MAX_ROWS)
        free = [number for number in range(MAX_ROWS) if number not in filled]
        more = 1 if fields.get("go") == "more" or not filled else 0
        return {
            "fields": fields,
            "kind": kind_of(fields),
            "rows": sorted([*filled, *free[:more]]),
            "names": capability_names(interface),
            "templates": [each for each in await self._services.templates.list() if each.is_published],
            "manifests": await self._services.automation.manifests.names(visit.actor),
        }

    async def _wizard(
        self, visit: Visit, fields: Mapping[str, str], step: int, problem: Refusal | None = None
    ) -> Response:
        values: dict[str, Any] = {"lines": [], "count": None, "when": "", "acts": []}
        groups = await self._services.groups.list(visit.actor)
        if step == len(STEPS) - 1:
            values = await self._review(visit, fields)
        return await self._renderer.long_page(
            visit,
            "jobs/wizard.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            step=step,
            steps=STEPS,
            groups=groups,
            group_names={each.group_id: each.display_name for each in groups},
            nodes=self._services.organizations.seen_by(visit.actor),
            today=self._services.clock.now(),
            problem=problem,
            **_WORDS,
            **values,
            **await self._configure(visit, fields),
        )

    async def _review(self, visit: Visit, fields: Mapping[str, str]) -> dict[str, Any]:
        try:
            draft = draft_of(fields, *self._target(visit, fields))
            count = await self._services.groups.count(visit.actor, DeviceGroupId(draft.group))
            schedule = schedule_of(fields)
            return {
                "lines": describe(draft, await self._names(visit)),
                "count": count,
                "when": when_words(schedule),
                "acts": [
                    await asyncio.to_thread(new_job_act, self._services.info(), fields.get("id", ""), draft, schedule)
                ],
            }
        except TOLD:
            # What is wrong is told where the form is checked, which it is before anything runs.
            return {"lines": [], "count": None, "when": "", "acts": []}

    async def _names(self, visit: Visit) -> dict[str, str]:
        names = {str(each.template_id): each.display_name for each in await self._services.templates.list()}
        return names | dict(await self._services.automation.manifests.names(visit.actor))

    # -- one job -------------------------------------------------------------------------------------------------------

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit)

    async def _page(self, visit: Visit, problem: Refusal | None = None) -> Response:
        job = self._jobs.get(visit.actor, visit.path["job_id"])
        wanted = visit.query.get("outcome", "")
        outcome = next((each for each in _OUTCOMES if each == wanted), None)
        after = visit.query.get("after", "")[:128]
        rows = await self._jobs.devices(visit.actor, job.job_id, after=after, limit=_ROWS + 1, outcome=outcome)
        groups = {str(each.group_id): each.display_name for each in await self._services.groups.list(visit.actor)}
        return await self._renderer.long_page(
            visit,
            "jobs/show.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            job=job,
            percent=percent_of(job),
            lines=describe(job.draft, await self._names(visit)),
            group=groups.get(job.draft.group, job.draft.group),
            rows=rows[:_ROWS],
            after=rows[_ROWS - 1].device_id if len(rows) > _ROWS else "",
            outcome=outcome or "",
            outcomes=_OUTCOMES,
            is_first=not after,
            may_change=visit.may("jobs.manage"),
            acts=job_acts(self._services.info(), job, may_change=visit.may("jobs.manage")),
            problem=problem,
            **_WORDS,
        )

    async def progress(self, visit: Visit) -> Response:
        """The part of the page that moves; all of it once the job has ended."""
        job = self._jobs.get(visit.actor, visit.path["job_id"])
        if job.status not in ("pending", "running"):
            return Response(headers={"hx-refresh": "true"})
        return self._renderer.page(visit, "jobs/progress.html", job=job, percent=percent_of(job), **_WORDS)

    async def csv(self, visit: Visit) -> Response:
        """What became of each device, up to a bound that no group passes as a rule (JOB-11)."""
        job = self._jobs.get(visit.actor, visit.path["job_id"])
        parts = [csv_lines([("device", "batch", "status", "reason", "message", "time")])]
        after, count = "", 0
        while count < _MAX_CSV_ROWS:
            rows = await self._jobs.devices(visit.actor, job.job_id, after=after, limit=_CSV_ROWS)
            parts.append(
                await asyncio.to_thread(
                    csv_lines,
                    [
                        (
                            row.device_id,
                            str(row.batch + 1),
                            row.outcome,
                            row.reason,
                            row.message,
                            format_time(row.updated),
                        )
                        for row in rows
                    ],
                )
            )
            count += len(rows)
            if len(rows) < _CSV_ROWS:
                break
            after = rows[-1].device_id
        headers = {"content-disposition": f'attachment; filename="{job.job_id}.csv"'}
        return Response("".join(parts), media_type="text/csv", headers=headers)

    async def stop(self, visit: Visit) -> Response:
        return await self._change(visit, self._jobs.stop)

    async def resume(self, visit: Visit) -> Response:
        return await self._change(visit, self._jobs.resume)

    async def rerun(self, visit: Visit) -> Response:
        return await self._change(visit, self._jobs.rerun)

    async def _change(self, visit: Visit, change: Any) -> Response:
        try:
            job: Job = await change(visit.actor, visit.path["job_id"])
        except Conflict as refusal:
            return await self._page(visit, refusal)
        return _to(job)

    # -- schedules -----------------------------------------------------------------------------------------------------

    async def schedules(self, visit: Visit) -> Response:
        names = await self._names(visit)
        return await self._renderer.long_page(
            visit,
            "jobs/schedules.html",
            schedules=[
                (each, describe(each.draft, names)[:1], when_words(each.schedule))
                for each in self._schedules.all(visit.actor)
            ],
            tab="scheduled",
            **_WORDS,
        )

    async def schedule(self, visit: Visit) -> Response:
        found = self._schedules.get(visit.actor, visit.path["schedule_id"])
        jobs = await self._jobs.list(visit.actor, _PAGE, schedule=found.schedule_id)
        return await self._renderer.long_page(
            visit,
            "jobs/schedule.html",
            scheduled=found,
            when=when_words(found.schedule),
            lines=describe(found.draft, await self._names(visit)),
            groups={each.group_id: each.display_name for each in await self._services.groups.list(visit.actor)},
            jobs=[(job, percent_of(job)) for job in jobs],
            may_change=visit.may("jobs.manage"),
            acts=schedule_acts(self._services.info(), found) if visit.may("jobs.manage") else [],
            **_WORDS,
        )

    async def switch(self, visit: Visit) -> Response:
        fields = await visit.form()
        found = await self._schedules.switch(visit.actor, visit.path["schedule_id"], is_enabled="enabled" in fields)
        return RedirectResponse(f"/jobs/scheduled/{segment(found.schedule_id)}", HTTPStatus.SEE_OTHER)

    async def delete_schedule(self, visit: Visit) -> Response:
        await self._schedules.delete(visit.actor, visit.path["schedule_id"])
        return RedirectResponse("/jobs/scheduled", HTTPStatus.SEE_OTHER)


_WORDS: Final[dict[str, Any]] = {"kinds": KIND_WORDS, "lights": STATUS_LIGHTS}


def _step_of(refusal: Refusal, step: int) -> int:
    """The step where what was refused is typed."""
    if refusal.reason in ("job.batch", "job.threshold"):
        return 1
    if refusal.reason == "job.schedule":
        return 2
    return 0 if refusal.reason.startswith(("job.", "template.", "property.", "command.", "device_group.")) else step


def _field_of(problems: PropertyProblems, fields: Mapping[str, str]) -> str:
    """Where the first value that does not fit was typed."""
    paths = {".".join(filter(None, key)) for key in problems.problems}
    rows = [
        number for number in numbers_of(fields, TYPED, MAX_ROWS) if fields.get(f"path{number}", "").strip() in paths
    ]
    return f"value{rows[0]}" if rows else ""


def _key(job: Job) -> str:
    return f"{(job.created - _EPOCH) // _MICROSECOND}.{job.job_id}"


def _place(text: str) -> tuple[datetime, JobId] | None:
    """The end of the page before; None for the first one, and for what is no place."""
    micros, dot, job_id = text.partition(".")
    if not dot or not micros.isascii() or not micros.isdigit() or len(micros) > 17:
        return None
    return _EPOCH + int(micros) * _MICROSECOND, JobId(job_id[:255])


def _to(job: Job) -> Response:
    return RedirectResponse(f"/jobs/{segment(job.job_id)}", HTTPStatus.SEE_OTHER)

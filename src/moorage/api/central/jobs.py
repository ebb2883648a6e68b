"""Jobs and scheduled jobs over REST (contract/central.md 14, 22.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import OrganizationId, Permission
from moorage.api.calls import ActorCall, etag_in, no_content, page, page_of, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_jobs import DEVICE_STATUS, JOB, JOB_DRAFT, SCHEDULED_JOB, SCHEDULED_JOB_CHANGE
from moorage.automation.jobs import (
    Job,
    JobId,
    parse_job_id,
    parse_schedule_id,
)
from moorage.dialects.central_jobs import (
    JOB_MEMBERS,
    SCHEDULED_JOB_MEMBERS,
    device_status_json,
    job_json,
    parse_job,
    parse_schedule,
    scheduled_job_json,
)
from moorage.dialects.members import get_boolean
from moorage.dialects.merge_patch import merge_patch
from moorage.errors import Invalid, NotFound

__all__ = ["job_routes"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_VIEW: Final[Permission] = "jobs.view"
_MANAGE: Final[Permission] = "jobs.manage"


def job_routes(services: CentralServices) -> list[Route]:
    jobs, schedules = _Jobs(services), _ScheduledJobs(services)
    job, scheduled = "/jobs/{id}", "/scheduledJobs/{id}"
    change = SCHEDULED_JOB_CHANGE
    return [
        central_route("GET", "/jobs", jobs.list, _VIEW, "Jobs, the newest first.", answers={200: page_schema(JOB)}),
        central_route("GET", job, jobs.get, _VIEW, "One job.", answers={200: JOB}),
        central_route("PUT", job, jobs.put, _MANAGE, "Begin a job.", body=JOB_DRAFT, answers={200: JOB}),
        central_route(
            "GET",
            job + "/devices",
            jobs.devices,
            _VIEW,
            "What became of each device.",
            answers={200: page_schema(DEVICE_STATUS)},
        ),
        central_route("POST", job + "/stop", jobs.stop, _MANAGE, "Stop it.", answers={204: None}),
        central_route("POST", job + "/resume", jobs.resume, _MANAGE, "Go on with it.", answers={204: None}),
        central_route(
            "PUT",
            job + "/rerun/{rerun}",
            jobs.rerun,
            _MANAGE,
            "A new job for the devices that failed in it.",
            answers={200: JOB},
        ),
        central_route(
            "GET",
            "/scheduledJobs",
            schedules.list,
            _VIEW,
            "Scheduled jobs.",
            answers={200: page_schema(SCHEDULED_JOB)},
        ),
        central_route("GET", scheduled, schedules.get, _VIEW, "One scheduled job.", answers={200: SCHEDULED_JOB}),
        central_route(
            "PUT",
            scheduled,
            schedules.put,
            _MANAGE,
            "Create or replace one.",
            body=change,
            answers={200: SCHEDULED_JOB},
        ),
        central_route(
            "PATCH", scheduled, schedules.patch, _MANAGE, "Change one.", body=change, answers={200: SCHEDULED_JOB}
        ),
        central_route(
            "DELETE", scheduled, schedules.delete, _MANAGE, "Delete one; its jobs stay.", answers={204: None}
        ),
        central_route(
            "GET", scheduled + "/jobs", jobs.of_schedule, _VIEW, "The jobs it made.", answers={200: page_schema(JOB)}
        ),
    ]


class _Jobs:
    def __init__(self, services: CentralServices) -> None:
        self._jobs = services.jobs
        self._schedules = services.scheduled_jobs
        self._organizations = services.organizations

    async def list(self, call: ActorCall) -> Response:
        return await self._page(call, None)

    async def of_schedule(self, call: ActorCall) -> Response:
        return await self._page(call, self._schedules.get(call.actor, call.path["id"]).schedule_id)

    async def get(self, call: ActorCall) -> Response:
        return json_response(job_json(self._jobs.get(call.actor, call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        job_id, body = parse_job_id(call.path["id"]), await call.members(*JOB_MEMBERS)
        draft = parse_job(job_id, body, default=call.actor.organization)
        self._organizations.choose(call.actor, draft.organization)
        return json_response(job_json(await self._jobs.create(call.actor, draft, job_id)))

    async def devices(self, call: ActorCall) -> Response:
        job_id = call.path["id"]
        return await page(
            call,
            lambda limit, after: self._jobs.devices(call.actor, job_id, after=after, limit=limit),
            lambda row: row.device_id,
            device_status_json,
        )

    async def stop(self, call: ActorCall) -> Response:
        await self._jobs.stop(call.actor, call.path["id"])
        return no_content()

    async def resume(self, call: ActorCall) -> Response:
        await self._jobs.resume(call.actor, call.path["id"])
        return no_content()

    async def rerun(self, call: ActorCall) -> Response:
        rerun_id = parse_job_id(call.path["rerun"])
        return json_response(job_json(await self._jobs.rerun(call.actor, call.path["id"], rerun_id)))

    async def _page(self, call: ActorCall, schedule: str | None) -> Response:
        async def list_after(limit: int, after: str) -> list[Job]:
            return await self._jobs.list(call.actor, limit, before=_place(after), schedule=schedule)

        return await page(call, list_after, _key, job_json)


class _ScheduledJobs:
    def __init__(self, services: CentralServices) -> None:
        self._schedules = services.scheduled_jobs
        self._organizations = services.organizations

    async def list(self, call: ActorCall) -> Response:
        return await page_of(call, self._schedules.all(call.actor), lambda each: each.schedule_id, scheduled_job_json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(scheduled_job_json(self._schedules.get(call.actor, call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        return await self._put(call, await call.members(*SCHEDULED_JOB_MEMBERS), default=self._place_of(call))

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*SCHEDULED_JOB_MEMBERS)
        present = self._schedules.get(call.actor, call.path["id"])
        merged = merge_patch(scheduled_job_json(present), body)
        # What was read just now is what is changed.
        return await self._put(
            call, {**merged, "etag": etag_in(call, body) or present.etag}, default=OrganizationId("")
        )

    async def delete(self, call: ActorCall) -> Response:
        await self._schedules.delete(call.actor, call.path["id"])
        return no_content()

    async def _put(self, call: ActorCall, body: dict[str, Any], *, default: OrganizationId) -> Response:
        schedule_id = parse_schedule_id(call.path["id"])
        draft = parse_job(schedule_id, body, default=default)
        self._organizations.choose(call.actor, draft.organization)
        stored = await self._schedules.put(
            call.actor,
            schedule_id,
            draft,
            parse_schedule(body),
            is_enabled=get_boolean(body, "enabled", "enabled", default=True),
            if_match=etag_in(call, body),
        )
        return json_response(scheduled_job_json(stored))

    def _place_of(self, call: ActorCall) -> OrganizationId:
        """Where the scheduled job is; a new one belongs where its maker does."""
        try:
            return self._schedules.get(call.actor, call.path["id"]).draft.organization
        except NotFound:
            return call.actor.organization


def _key(job: Job) -> str:
    return f"{(job.created - _EPOCH) // _MICROSECOND}.{job.job_id}"


def _place(after: str) -> tuple[datetime, JobId] | None:
    """Raises `Invalid` (`query.continuation`)."""
    if not after:
        return None
    micros, dot, job_id = after.partition(".")
    if not dot or not (micros.isascii() and micros.isdigit() and len(micros) <= 17):
        raise Invalid("query.continuation", "$skiptoken is not one that was given out for jobs")
    return _EPOCH + int(micros) * _MICROSECOND, JobId(job_id)

"""Jobs for many devices over REST (contract/services.md 2.11)."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from moorage.api.problems import JSON_TYPE, json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.jobs import DEVICE_JOBS, DEVICE_STATUS, JOB, JOB_REQUEST, JOBS, LISTED_STATUS, LISTED_TYPE
from moorage.api.schemas.parameters import PAGE_HEADERS, PAGED
from moorage.api.schemas.words import whole
from moorage.dialects.jobs_json import (
    device_job_json,
    job_json,
    parse_device_status,
    parse_job,
    parse_listing,
    unknown_job_json,
)
from moorage.dialects.json_text import encode_json
from moorage.errors import Invalid, NotFound
from moorage.hub.job_model import Job, JobId, parse_job_id
from moorage.hub.jobs import JobService
from moorage.ids import parse_device_id

__all__ = ["job_routes"]

# services.md 1.3: jobs do to devices what twins and methods do, one by one.
_SERVICE: Gate = frozenset({"ServiceConnect"})
# Fewer than queries give: a job can hold a payload of 128 KiB.
_MAX_PAGE: Final = 100
_MAX_DEVICES: Final = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def job_routes(jobs: JobService, is_transfer: Callable[[str], bool]) -> list[Route]:
    """`is_transfer` tells whether an id is that of an import or export."""
    api = _Jobs(jobs, is_transfer)
    return [
        Route(
            "GET",
            "/jobs/v2/query",
            api.list,
            _SERVICE,
            "registry",
            summary="Jobs, the newest first, page by page.",
            query={"jobType": LISTED_TYPE, "jobStatus": LISTED_STATUS},
            headers=PAGED,
            answers={200: JOBS},
            answer_headers=PAGE_HEADERS,
        ),
        Route(
            "PUT",
            "/jobs/v2/{id}",
            api.create,
            _SERVICE,
            "registry",
            summary="Update the twins of many devices, or call a method on them; now or later.",
            body=JOB_REQUEST,
            answers={200: JOB},
        ),
        Route(
            "GET",
            "/jobs/v2/{id}",
            api.get,
            _SERVICE,
            "registry",
            summary="How far a job is; an import or export is of status unknown here.",
            answers={200: JOB},
        ),
        Route(
            "POST",
            "/jobs/v2/{id}/cancel",
            api.cancel,
            _SERVICE,
            "registry",
            summary="Stop a job where it is; what was done stays.",
            answers={200: JOB},
        ),
        Route(
            "GET",
            "/moorage/v1/jobs/{id}/devices",
            api.devices,
            "owner",
            "own",
            summary="What became of a job's devices, in order of their ids.",
            query={
                "after": "The last device id of the page before.",
                "limit": whole(f"At most so many; {_MAX_DEVICES} when not given.", least=1, most=_MAX_DEVICES),
                "status": DEVICE_STATUS,
            },
            answers={200: DEVICE_JOBS},
        ),
    ]


class _Jobs:
    def __init__(self, jobs: JobService, is_transfer: Callable[[str], bool]) -> None:
        self._jobs = jobs
        self._is_transfer = is_transfer

    async def create(self, call: Call) -> Response:
        draft = parse_job(parse_job_id(call.path["id"]), await call.json_object())
        if self._is_transfer(draft.job_id):
            # Clients look here first: theirs would be in the shade of this one (J-7).
            raise Invalid("job.id", f"'{draft.job_id}' is the id of an import or export; take another")
        return json_response(job_json(await self._jobs.create(draft, by=str(call.principal))))

    async def get(self, call: Call) -> Response:
        job_id = call.path["id"]
        try:
            return json_response(job_json(self._jobs.get(parse_job_id(job_id))))
        except NotFound:
            if not self._is_transfer(job_id):
                raise
            return json_response(unknown_job_json(job_id))

    async def cancel(self, call: Call) -> Response:
        return json_response(job_json(await self._jobs.cancel(parse_job_id(call.path["id"]), by=str(call.principal))))

    async def list(self, call: Call) -> Response:
        limit = _page_size(call)
        before = _parse_continuation(call.request.headers.get("x-ms-continuation"))
        headers = {"x-ms-item-type": "JobResponse"}
        wanted = parse_listing(call.query.get("jobType"), call.query.get("jobStatus"))
        if wanted is None:
            return json_response([], headers=headers)
        # One more than is shown tells whether there is another page.
        found = await self._jobs.page(limit=limit + 1, kind=wanted[0], status=wanted[1], before=before)
        if len(found) > limit:
            headers["x-ms-continuation"] = _continuation(found[limit - 1])
        return await _array((job_json(job) for job in found[:limit]), headers)

    async def devices(self, call: Call) -> Response:
        job_id, after = parse_job_id(call.path["id"]), call.query.get("after")
        job = self._jobs.get(job_id)
        rows = await self._jobs.devices(
            job_id,
            limit=call.count("limit", default=_MAX_DEVICES, least=1, most=_MAX_DEVICES),
            after=parse_device_id(after) if after else None,
            status=parse_device_status(call.query.get("status")),
        )
        return await _array(device_job_json(job, row) for row in rows)


async def _array(documents: Iterable[Mapping[str, Any]], headers: Mapping[str, str] | None = None) -> Response:
    """Made and encoded in a thread, one by one, so that the loop has its turn between them (decisions S8)."""
    parts = await asyncio.to_thread(lambda: [encode_json(document) for document in documents])
    return Response(b"[" + b",".join(parts) + b"]", headers=headers, media_type=JSON_TYPE)


def _page_size(call: Call) -> int:
    text = call.request.headers.get("x-ms-max-item-count", "").strip()
    if text in ("", "-1"):
        return _MAX_PAGE
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
        raise Invalid("query.page_size", f"x-ms-max-item-count is {text[:40]!r}, it has to be a whole number from 1")
    return min(int(text), _MAX_PAGE)


def _continuation(last: Job) -> str:
    """Where the next page begins: printable, and opaque to clients."""
    micros = (last.created - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{micros}:{last.job_id}".encode()).decode("ascii")


def _parse_continuation(token: str | None) -> tuple[datetime, JobId] | None:
    if not token:
        return None
    try:
        micros, _, job_id = (
            base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode("ascii").partition(":")
        )
        return _EPOCH + timedelta(microseconds=int(micros)), parse_job_id(job_id)
    except (binascii.Error, ValueError, OverflowError, Invalid):
        raise Invalid("query.continuation", "x-ms-continuation is not one that was given out here") from None

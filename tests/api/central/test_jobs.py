"""Jobs and scheduled jobs over REST (central.md 14, 22.2; the API half of PC-19)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.accounts.model import OWNER
from moorage.hub.twins import MAX_DESIRED_BYTES
from moorage.ids import DeviceId
from tests.api.central.test_templates import PUMP, TEMPLATE
from tests.api.central.world import Central
from tests.api.served import ServedHub
from tests.servers.world import World, running


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "hub") as world:
        yield world


@pytest.fixture
async def central(world: World) -> Central:
    """Three pumps, the last of which never registered and takes nothing more; a group of them all."""
    central = Central(ServedHub(world.app))
    await central.put(f"/deviceTemplates/{PUMP}", TEMPLATE)
    for number in range(3):
        await central.put(f"/devices/p{number}", {"template": PUMP})
        if number < 2:
            await world.create(f"p{number}")
    filling = {f"f{number}": "x" * 4000 for number in range(MAX_DESIRED_BYTES // 4000)} | {"rest": "x" * 745}
    await world.app.application.properties.patch(OWNER, DeviceId("p2"), filling)
    query = f'SELECT * FROM devices WHERE $template = "{PUMP}"'
    assert (await central.put("/deviceGroups/pumps", {"displayName": "Pumps", "filter": query})).status == 200
    return central


def job(**more: Any) -> dict[str, Any]:
    data = [{"type": "property", "target": PUMP, "path": "target", "value": 21.5}]
    return {"displayName": "Set target", "group": "pumps", "data": data, **more}


async def finished(central: Central, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            document: dict[str, Any] = (await central.get(f"/jobs/{job_id}")).json()
            if "end" in document:
                return document
            await asyncio.sleep(0.02)


async def test_a_job_changes_a_property_in_batches_and_a_rerun_takes_what_failed(central: Central) -> None:
    body = job(batch={"type": "number", "value": 2}, description="For the night")
    made = await central.put("/jobs/night", body)
    assert made.status == 200, made.body
    assert made.json()["status"] in ("pending", "running")
    done = await finished(central, "night")
    assert (done["status"], done["batch"], done["description"]) == ("complete", body["batch"], "For the night")
    assert done["progress"] == {"total": 3, "pending": 0, "completed": 2, "failed": 1}
    rows = (await central.get("/jobs/night/devices")).json()["value"]
    assert [(row["id"], row["status"]) for row in rows] == [
        ("p0", "completed"),
        ("p1", "completed"),
        ("p2", "failed"),
    ]
    assert (await central.get("/devices/p0/properties")).json()["target"] == 21.5

    again = await central.put("/jobs/night/rerun/night-2", {})
    assert (again.status, again.json()["id"]) == (200, "night-2")
    await finished(central, "night-2")
    assert [row["id"] for row in (await central.get("/jobs/night-2/devices")).json()["value"]] == ["p2"]
    first = await central.get("/jobs?$top=1")
    second = await central.follow(first)
    assert second is not None
    assert [each["id"] for answer in (first, second) for each in answer.json()["value"]] == ["night-2", "night"]


async def test_what_ended_is_neither_stopped_nor_resumed_nor_made_again(central: Central) -> None:
    await central.put("/jobs/night", job())
    await finished(central, "night")
    for answer in (
        await central.post("/jobs/night/stop"),
        await central.post("/jobs/night/resume"),
        await central.put("/jobs/night", job()),
    ):
        assert (answer.status, answer.json()["error"]["code"]) == (409, "Conflict")
    for method, path in (("GET", ""), ("GET", "/devices"), ("POST", "/stop"), ("POST", "/resume"), ("PUT", "/rerun/x")):
        assert (await central.call(method, f"/jobs/none{path}")).status == 404, path


_BAD_JOBS: tuple[tuple[Any, int], ...] = (
    ({}, 422),
    (job(data=[]), 422),
    (job(data=[{"type": "property", "path": "target"}]), 422),
    (job(data=[{"type": "deploymentManifest", "target": "x"}]), 422),
    (job(data=[{"type": "command", "target": PUMP, "path": "restart", "when": "now"}]), 422),
    (job(batch={"type": "some", "value": 1}), 422),
    (job(batch={"type": "number", "value": 0}), 400),
    (job(data=[{"type": "property", "target": PUMP, "path": "target", "value": "warm"}]), 400),
    (job(group="none"), 404),
    (job(organizations=["none"]), 404),
    (job(colour="red"), 422),
)


async def test_jobs_that_are_refused(central: Central) -> None:
    for body, status in _BAD_JOBS:
        answer = await central.put("/jobs/night", body)
        assert answer.status == status, answer.body
        assert (await central.get("/jobs/night")).status == 404


async def test_nobody_runs_by_a_job_what_they_may_not_run_themselves(central: Central) -> None:
    role = await central.application.roles.create(OWNER, "Setter", "application", ["jobs.manage"])
    setter = await central.token(role.role_id)
    command = job(data=[{"type": "command", "target": PUMP, "path": "restart"}])
    refused = await central.put("/jobs/restart", command, who=setter)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "Forbidden")
    schedule = {"start": "2099-01-01T00:00:00Z"}
    assert (await central.put("/scheduledJobs/restart", {**command, "schedule": schedule}, who=setter)).status == 403
    assert (await central.put("/jobs/set", job(), who=setter)).status == 200


async def test_a_scheduled_job_is_made_changed_and_deleted(world: World, central: Central) -> None:
    start = (world.clock.now() + timedelta(days=1)).replace(microsecond=0)
    schedule = {"start": start.isoformat(), "recurrence": "daily", "end": {"type": "occurrences", "occurrences": 3}}
    made = await central.put("/scheduledJobs/nightly", job(schedule=schedule))
    assert made.status == 200, made.body
    document = made.json()
    assert document["schedule"]["recurrence"] == "daily"
    assert document["schedule"]["end"] == {"type": "occurrences", "occurrences": 3}
    assert (document["enabled"], document["completed"]) == (True, False)
    assert (await central.get("/scheduledJobs/nightly")).json() == document

    moment = {"type": "date", "date": f"{start.year + 1}-12-31T10:30:00.0000000Z"}
    await central.patch("/scheduledJobs/nightly", {"schedule": {"end": {**moment, "occurrences": None}}})
    switched = await central.patch("/scheduledJobs/nightly", {"enabled": False})
    assert switched.json()["schedule"]["end"] == moment
    until = {"schedule": {"end": {"type": "date", "date": f"{start:%Y}-12-31", "occurrences": None}}, "enabled": False}
    changed = await central.patch("/scheduledJobs/nightly", until)
    assert changed.status == 200, changed.body
    assert changed.json()["schedule"]["end"] == {"type": "date", "date": f"{start:%Y}-12-31"}
    assert (changed.json()["enabled"], changed.json()["displayName"]) == (False, "Set target")
    stale = await central.patch("/scheduledJobs/nightly", {"enabled": True, "etag": document["etag"]})
    assert stale.status == 412
    assert [each["id"] for each in (await central.get("/scheduledJobs")).json()["value"]] == ["nightly"]
    assert (await central.get("/scheduledJobs/nightly/jobs")).json() == {"value": []}
    assert (await central.delete("/scheduledJobs/nightly")).status == 204
    assert (await central.get("/scheduledJobs/nightly/jobs")).status == 404


async def test_schedules_that_are_none(central: Central) -> None:
    for schedule in (
        None,
        {},
        {"start": "soon"},
        {"start": "2099-01-01T00:00:00Z", "recurrence": "hourly"},
        {"start": "2099-01-01T00:00:00Z", "end": {"type": "never"}},
        {"start": "2099-01-01T00:00:00Z", "recurrence": "daily", "end": {"type": "date", "date": "2099-02-31"}},
        {"start": "2099-01-01T00:00:00Z", "recurrence": "daily", "end": {"type": "occurrences"}},
    ):
        answer = await central.put("/scheduledJobs/nightly", job(schedule=schedule))
        assert answer.status in (400, 422), schedule


async def test_a_siblings_jobs_do_not_exist(central: Central) -> None:
    for name in ("north", "south"):
        await central.put(f"/organizations/{name}", {})
    later = {"start": "2099-01-01T00:00:00Z"}
    await central.put("/jobs/theirs", job(organizations=["south"]))
    await central.put("/scheduledJobs/theirs", job(organizations=["south"], schedule=later))
    north = await central.token("org-administrator", "north")
    assert (await central.get("/jobs", who=north)).json() == {"value": []}
    assert (await central.get("/scheduledJobs", who=north)).json() == {"value": []}
    for method, path in (
        ("GET", "/jobs/theirs"),
        ("GET", "/jobs/theirs/devices"),
        ("POST", "/jobs/theirs/stop"),
        ("POST", "/jobs/theirs/resume"),
        ("PUT", "/jobs/theirs/rerun/mine"),
        ("GET", "/scheduledJobs/theirs"),
        ("PATCH", "/scheduledJobs/theirs"),
        ("DELETE", "/scheduledJobs/theirs"),
        ("GET", "/scheduledJobs/theirs/jobs"),
    ):
        assert (await central.call(method, path, {}, who=north)).status == 404, (method, path)
    # What somebody of an organisation makes belongs there, and reaches no further.
    group = next(each["id"] for each in (await central.get("/deviceGroups", who=north)).json()["value"])
    made = await central.put("/jobs/mine", job(group=group), who=north)
    assert made.json()["organizations"] == ["north"], made.body
    assert (await finished(central, "mine"))["progress"]["total"] == 0

"""Jobs over REST (contract/services.md 2.11), with the real conditions and devices that answer in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.api.hub_jobs import job_routes
from moorage.api.routing import Route
from moorage.dialects.hub_json import Presence
from moorage.dialects.query_rows import TwinSource
from moorage.hub.conditions import ConditionTargets
from moorage.hub.job_runner import JobRunner
from moorage.hub.jobs import JobService
from moorage.hub.methods import MethodReply
from moorage.hub.model import TwinRows
from moorage.ids import DEFAULT_HUB, HubId, IdentityName
from tests.api.hub.world import NOW, ApiWorld, open_world

PATCH = {"type": "scheduleUpdateTwin", "updateTwin": {"etag": "*", "tags": {"seen": True}}}
CALL = {"type": "scheduleDeviceMethod", "cloudToDeviceMethod": {"methodName": "reboot", "payload": {"in": 5}}}
IMPORT = "an-import"
TWIN_ROWS: tuple[TwinRows, ...] = ("devices", "devices.modules")


class InMemory:
    """Who is connected."""

    def __init__(self, world: ApiWorld) -> None:
        self._world = world

    def of(self, hub: HubId, name: IdentityName) -> Presence:
        return self._world.of(hub, name)

    def connected(self, hub: HubId) -> Collection[IdentityName]:
        return self._world.directory.connected(hub)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    runners: list[JobRunner] = []

    def routes(world: ApiWorld) -> Sequence[Route]:
        devices, modules = (TwinSource(rows, InMemory(world), world.clock) for rows in TWIN_ROWS)
        targets = ConditionTargets(world.store, {"devices": devices, "devices.modules": modules})
        runner = JobRunner(
            DEFAULT_HUB,
            world.store,
            targets,
            world.methods,
            world.clock,
            places=10,
            history=timedelta(days=30),
            poll_s=0.02,
        )
        runner.start()
        runners.append(runner)
        jobs = JobService(DEFAULT_HUB, world.store, targets, world.clock, runner.wake)
        return job_routes(jobs, lambda job_id: job_id == IMPORT)

    async with open_world(tmp_path, more_routes=routes) as opened:
        yield opened
        await runners[0].close()


async def create(world: ApiWorld, job_id: str, body: dict[str, Any]) -> Any:
    answer = await world.ask("PUT", f"/jobs/v2/{job_id}", body, policy="service")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(world: ApiWorld, job_id: str) -> Any:
    answer = await world.ask("GET", f"/jobs/v2/{job_id}", policy="service")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def until(world: ApiWorld, job_id: str, *statuses: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            document = await get(world, job_id)
            if document["status"] in statuses:
                return document
            await asyncio.sleep(0.01)


async def ended(world: ApiWorld, job_id: str) -> Any:
    return await until(world, job_id, "completed", "failed", "cancelled")


def refused(answer: Any) -> tuple[int, str, str]:
    """Style (a): the name is in the header and begins the message."""
    name = answer.headers["iothub-errorcode"]
    assert answer.json()["Message"].startswith(f"ErrorCode:{name};")
    return answer.status_code, name, answer.headers["moorage-reason"]


@pytest.mark.parametrize(
    ("condition", "selected"),
    [
        ("*", ["a-1", "a-2", "b-1"]),
        ("deviceId IN ['b-1', 'ghost', 'a-1']", ["a-1", "b-1"]),
        ("tags.site = 'a'", ["a-1", "a-2"]),
        ("tags.nobody = 1", []),
    ],
)
async def test_a_condition_selects_the_devices_of_a_job(world: ApiWorld, condition: str, selected: list[str]) -> None:
    for name in ("a-1", "a-2", "b-1"):
        await world.device(name)
        await world.ask("PATCH", f"/twins/{name}", {"tags": {"site": name[0]}})
    made = await create(world, "j", {**PATCH, "queryCondition": condition})
    assert (made["status"], made["queryCondition"]) == ("queued", condition)
    statistics = (await ended(world, "j"))["deviceJobStatistics"]
    assert (statistics["deviceCount"], statistics["succeededCount"]) == (len(selected), len(selected))
    found = [
        name
        for name in ("a-1", "a-2", "b-1")
        if "seen" in (await world.ask("GET", f"/twins/{name}", policy="service")).json()["tags"]
    ]
    assert found == selected


async def test_a_future_job_is_queued_then_scheduled_then_cancelled(world: ApiWorld) -> None:
    start = (NOW + timedelta(days=6)).replace(tzinfo=None).isoformat()
    made = await create(world, "j", {**PATCH, "queryCondition": "*", "startTime": start})
    assert (made["status"], made["startTime"]) == ("queued", "2030-01-07T12:00:00.0000000Z")
    await until(world, "j", "scheduled")
    cancelled = await world.ask("POST", "/jobs/v2/j/cancel", policy="service")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await get(world, "j"))["endTime"] == "2030-01-01T12:00:00.0000000Z"


async def test_devices_of_a_job_are_read_page_by_page_and_by_status(world: ApiWorld) -> None:
    for name in ("a", "b", "c"):
        await world.device(name)
    world.connect("b").answer = MethodReply(201, [1])
    await create(world, "j", {**CALL, "deviceIds": ["c", "b", "a"]})
    assert (await ended(world, "j"))["deviceIds"] == ["a", "b", "c"]
    path = "/moorage/v1/jobs/j/devices"
    (first,) = (await world.ask("GET", f"{path}?limit=1", policy="owner")).json()
    assert (first["deviceId"], first["error"]["code"]) == ("a", "DeviceNotOnline")
    (second, third) = (await world.ask("GET", f"{path}?after=a", policy="owner")).json()
    assert second["outcome"] == {"deviceMethodResponse": {"status": 201, "payload": [1]}}
    (done,) = (await world.ask("GET", f"{path}?status=completed", policy="owner")).json()
    assert done == second
    assert third["deviceId"] == "c"
    for query in ("limit=0", "limit=1001", "status=gone", "after=a/b"):
        assert (await world.ask("GET", f"{path}?{query}", policy="owner")).status_code == 400
    assert (await world.ask("GET", path, policy="iothubowner")).status_code == 401


async def test_jobs_are_listed_as_an_array_page_by_page(world: ApiWorld) -> None:
    for n in range(5):
        world.clock.advance(1)
        start = (world.clock.now() + timedelta(days=1)).isoformat()
        body = {**(CALL if n == 2 else PATCH), "queryCondition": "*", "startTime": start}
        await create(world, f"j{n}", body)
        await until(world, f"j{n}", "scheduled")
    found: list[str] = []
    headers = {"x-ms-max-item-count": "2"}
    path = "/jobs/v2/query?jobType=scheduleUpdateTwin&jobStatus=scheduled"
    while True:
        page = await world.ask("GET", path, policy="service", headers=headers)
        assert page.headers["x-ms-item-type"] == "JobResponse"
        found += [each["jobId"] for each in page.json()]
        if "x-ms-continuation" not in page.headers:
            break
        assert len(page.json()) == 2
        headers["x-ms-continuation"] = page.headers["x-ms-continuation"]
    assert found == ["j4", "j3", "j1", "j0"]
    for query in ("jobType=export", "jobStatus=unknown"):
        assert (await world.ask("GET", f"/jobs/v2/query?{query}", policy="service")).json() == []


@pytest.mark.parametrize(
    ("query", "headers", "reason"),
    [
        ("jobType=lost", {}, "job.status"),
        ("jobStatus=lost", {}, "job.status"),
        ("", {"x-ms-continuation": "!"}, "query.continuation"),
        ("", {"x-ms-continuation": "bm9uZQ=="}, "query.continuation"),
        ("", {"x-ms-continuation": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Omo="}, "query.continuation"),
        ("", {"x-ms-max-item-count": "many"}, "query.page_size"),
    ],
)
async def test_a_listing_that_cannot_be_made_says_why(
    world: ApiWorld, query: str, headers: dict[str, str], reason: str
) -> None:
    answer = await world.ask("GET", f"/jobs/v2/query?{query}", policy="service", headers=headers)
    assert refused(answer) == (400, "ArgumentInvalid", reason)


async def test_what_there_is_no_job_of_is_404002(world: ApiWorld) -> None:
    for method, path in (("GET", "/jobs/v2/none"), ("POST", "/jobs/v2/none/cancel")):
        assert refused(await world.ask(method, path, policy="service")) == (404, "JobNotFound", "job.unknown")
    assert (await world.ask("GET", "/moorage/v1/jobs/none/devices", policy="owner")).status_code == 404


async def test_an_id_is_used_once_and_what_has_ended_cannot_be_cancelled(world: ApiWorld) -> None:
    body = {**PATCH, "queryCondition": "*"}
    await create(world, "j", body)
    again = await world.ask("PUT", "/jobs/v2/j", body, policy="service")
    assert refused(again) == (409, "JobAlreadyExists", "job.exists")
    await ended(world, "j")
    assert refused(await world.ask("POST", "/jobs/v2/j/cancel")) == (400, "InvalidOperation", "job.finished")


async def test_the_id_of_an_import_is_of_status_unknown_and_taken(world: ApiWorld) -> None:
    assert await get(world, IMPORT) == {"jobId": IMPORT, "type": "unknown", "status": "unknown"}
    taken = await world.ask("PUT", f"/jobs/v2/{IMPORT}", {**PATCH, "queryCondition": "*"})
    assert refused(taken) == (400, "ArgumentInvalid", "job.id")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"type": "scheduleUpdateTwin", "queryCondition": "*"}, "updateTwin"),
        ({**PATCH}, "queryCondition"),
        ({**PATCH, "queryCondition": ""}, "queryCondition"),
        ({**PATCH, "queryCondition": "tags.site ="}, "queryCondition, line 1, column 12"),
        ({**PATCH, "queryCondition": "*", "maxExecutionTimeInSeconds": -1}, "maxExecutionTimeInSeconds"),
        ({**PATCH, "queryCondition": "*", "startTime": "9999-12-31T23:59:59Z"}, "startTime"),
        ({**PATCH, "queryCondition": "*", "updateTwin": {"tags": {"a b": 1}}}, "a b"),
        ({**CALL, "queryCondition": "*", "cloudToDeviceMethod": {"methodName": "a b"}}, "a b"),
    ],
)
async def test_a_job_that_makes_no_sense_is_refused_by_name_and_not_kept(
    world: ApiWorld, body: dict[str, Any], named: str
) -> None:
    answer = await world.ask("PUT", "/jobs/v2/j", body, policy="service")
    assert answer.status_code == 400
    assert named in answer.json()["Message"]
    assert (await world.ask("GET", "/jobs/v2/j", policy="service")).status_code == 404


@pytest.mark.parametrize("policy", ["registryReadWrite", "device", None])
async def test_jobs_take_the_right_to_connect_as_a_service(world: ApiWorld, policy: str | None) -> None:
    for method, path in (("PUT", "/jobs/v2/j"), ("GET", "/jobs/v2/j"), ("GET", "/jobs/v2/query")):
        assert (await world.ask(method, path, policy=policy)).status_code == 401


async def test_an_operators_changes_are_in_the_audit_log(world: ApiWorld, caplog: pytest.LogCaptureFixture) -> None:
    start = (NOW + timedelta(days=1)).isoformat()
    with caplog.at_level("INFO", "moorage.audit"):
        await create(world, "j", {**PATCH, "queryCondition": "*", "startTime": start})
        await world.ask("POST", "/jobs/v2/j/cancel", policy="owner")
        await world.ask("POST", "/jobs/v2/j/cancel", policy="owner")
    lines = [record.message for record in caplog.records if record.message.startswith("job.")]
    assert lines == [
        "job.created hub=hub job=j kind=twin by=policy:service",
        "job.cancelled hub=hub job=j kind=twin by=owner",
    ]

"""A job whose hub was killed goes on where it was: no device is left out, none is dealt with twice, nothing is half."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clients import Device, Received, connected
from tests.hubs import Hub, running_hub

DEVICES = 2000
PATIENCE_S = 90.0
METHODS = b"$iothub/methods/POST/#"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_hub(tmp_path / "hub") as hub:
        yield hub


def create_devices(hub: Hub) -> None:
    for first in range(0, DEVICES, 100):
        hub.owner.bulk([{"id": f"d{number:04}", "importMode": "create"} for number in range(first, first + 100)])


def get(hub: Hub, job_id: str) -> Any:
    return hub.request("GET", f"/jobs/v2/{job_id}")


def done(job: Any) -> int:
    return int(job["deviceJobStatistics"]["succeededCount"])


def expect_whole(hub: Hub, job_id: str) -> Counter[str]:
    """What lies on the disk of a hub that was killed: a twin was written if and only if its row says so."""
    with closing(sqlite3.connect(f"file:{hub.data}/registry.db?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT j.status, coalesce(t.desired_version, 1) FROM job_devices j LEFT JOIN twins t "
            "ON t.hub_id = j.hub_id AND t.device_id = j.device_id AND t.module_id = '' WHERE j.job_id = ?",
            (job_id,),
        ).fetchall()
        counted = connection.execute(
            "SELECT devices, succeeded, failed, running, pending FROM jobs WHERE job_id = ?", (job_id,)
        ).fetchone()
    assert {version for status, version in rows if status == "completed"} <= {2}
    assert {version for status, version in rows if status == "pending"} <= {1}
    found = Counter(status for status, _ in rows)
    assert counted == (len(rows), found["completed"], found["failed"], found["running"], found["pending"])
    return found


def test_a_twin_update_goes_on_after_each_kill_9_and_reaches_every_device_once(hub: Hub) -> None:
    create_devices(hub)
    body = {"type": "scheduleUpdateTwin", "updateTwin": {"properties": {"desired": {"a": 1}}}, "queryCondition": "*"}
    hub.request("PUT", "/jobs/v2/long", body=body)
    interrupted = 0
    for part in (0, 500, 1200):
        end = time.monotonic() + PATIENCE_S
        while done(job := get(hub, "long")) <= part and job["status"] != "completed":
            assert time.monotonic() < end, job
        hub.kill()
        found = expect_whole(hub, "long")
        interrupted += 0 < found["pending"] < DEVICES
        hub.start()
    assert interrupted, "the job was never interrupted halfway"
    end = time.monotonic() + PATIENCE_S
    while get(hub, "long")["status"] != "completed":
        assert time.monotonic() < end
        time.sleep(0.02)
    hub.kill()
    assert expect_whole(hub, "long") == {"completed": DEVICES}
    hub.start()
    assert hub.request("GET", "/twins/d0000")["properties"]["desired"]["$version"] == 2


async def test_a_call_that_was_under_way_is_not_made_again(hub: Hub, tmp_path: Path) -> None:
    device = Device("pump-01", tmp_path)
    device.register(hub)
    calls: list[bytes] = []

    def heard(message: Received) -> None:
        calls.append(message.topic)

    async with asyncio.timeout(PATIENCE_S):
        async with connected(hub, device, heard) as (client, _):
            await client.subscribe(METHODS)
            call = {"methodName": "blink", "responseTimeoutInSeconds": 300}
            body = {"type": "scheduleDeviceMethod", "cloudToDeviceMethod": call, "deviceIds": ["pump-01"]}
            await asyncio.to_thread(hub.request, "PUT", "/jobs/v2/blink", body=body)
            while not calls:
                await client.changed()
            hub.kill()
        hub.start()
        async with connected(hub, device, heard) as (client, _):
            await client.subscribe(METHODS)
            while True:
                (row,) = await asyncio.to_thread(hub.request, "GET", "/moorage/v1/jobs/blink/devices")
                if row["status"] == "failed":
                    break
            assert row["error"]["reason"] == "job.interrupted"
            await asyncio.sleep(0.5)
    assert len(calls) == 1


def test_a_job_that_waits_for_its_time_is_there_after_a_kill_9(hub: Hub) -> None:
    body = {"type": "scheduleUpdateTwin", "updateTwin": {"tags": {"a": 1}}, "queryCondition": "*"}
    hub.request("PUT", "/jobs/v2/later", body={**body, "startTime": f"{time.gmtime().tm_year + 1}-01-01T00:00:00Z"})
    hub.kill()
    hub.start()
    assert get(hub, "later")["status"] in ("queued", "scheduled")
    assert hub.request("POST", "/jobs/v2/later/cancel")["status"] == "cancelled"
    hub.kill()
    hub.start()
    assert get(hub, "later")["status"] == "cancelled"

"""azure-iothub for Node: jobs, scheduled, cancelled and listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from tests.compatibility import proves, refuses
from tests.e2e.node.backend import Backend, date, fails
from tests.e2e.node.workshop import Workshop
from tests.e2e.sdk import until
from tests.e2e.service.sdk import container

CLIENT = "azure-iothub"
jobs = partial(proves, CLIENT, "JobClient")

JOB_PATIENCE_S = 60.0


def ended(backend: Backend, job_id: str) -> Any:
    ends = ("completed", "failed", "cancelled")
    until(f"{job_id} has ended", lambda: backend.jobs("getJob", job_id)["status"] in ends, JOB_PATIENCE_S)
    return backend.jobs("getJob", job_id)


@jobs("scheduleTwinUpdate", "getJob", "createQuery")
def test_a_job_updates_twins_and_is_found_again(backend: Backend, new_id: Callable[..., str]) -> None:
    hall, names, job_id = new_id("hall"), [new_id() for _ in range(3)], new_id("job")
    for name in names:
        backend.registry("create", {"deviceId": name})
        backend.registry("updateTwin", name, {"tags": {"hall": hall}}, "*")
    patch = {"etag": "*", "tags": {"floor": 2}, "properties": {"desired": {"interval": 9}}}
    backend.jobs("scheduleTwinUpdate", job_id, f"tags.hall = '{hall}'", patch, date(datetime.now(UTC)), 60)
    done = ended(backend, job_id)
    assert (done["status"], done["deviceJobStatistics"]["succeededCount"]) == ("completed", 3)
    assert backend.registry("getTwin", names[0])["tags"] == {"hall": hall, "floor": 2}
    backend.jobs("createQuery", "scheduleUpdateTwin", "completed", 1, keep="query")
    pages = backend.pages("query", CLIENT)
    assert job_id in {each["jobId"] for page in pages for each in page}
    assert max(len(page) for page in pages) == 1
    rows = f"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{job_id}'"
    backend.registry("createQuery", rows, keep="query")
    (found,) = backend.pages("query", CLIENT)
    assert sorted(row["deviceId"] for row in found) == sorted(names)


@jobs("scheduleDeviceMethod", "cancelJob")
def test_a_job_that_waits_for_its_time_is_cancelled(backend: Backend, new_id: Callable[..., str]) -> None:
    job_id = new_id("job")
    later = date(datetime.now(UTC) + timedelta(hours=1))
    method = {"methodName": "blink", "payload": {"times": 2}, "responseTimeoutInSeconds": 10}
    made = backend.jobs("scheduleDeviceMethod", job_id, "*", method, later, 60)
    assert (made["status"], made["type"]) == ("queued", "scheduleDeviceMethod")
    backend.jobs("cancelJob", job_id)
    assert backend.jobs("getJob", job_id)["status"] == "cancelled"
    fails(404, "Error", backend.jobs, "getJob", new_id("job"))


# -- import and export -------------------------------------------------------------------------------------------------


@proves(CLIENT, "Registry", "exportDevicesToBlob", "importDevicesFromBlob", "getJob", "listJobs", "cancelJob")
def test_a_fleet_is_exported_and_imported(backend: Backend, workshop: Workshop, new_id: Callable[..., str]) -> None:
    folder, name = container(workshop.hub, new_id("container")), new_id()
    backend.registry("create", {"deviceId": name})

    def run(method: str, *given: Any) -> str:
        job_id = str(backend.registry(method, *given)["jobId"])
        ends = ("completed", "failed")
        until(f"{method} has ended", lambda: backend.registry("getJob", job_id)["status"] in ends, JOB_PATIENCE_S)
        assert backend.registry("getJob", job_id)["status"] == "completed"
        return job_id

    exported = run("exportDevicesToBlob", folder.as_uri(), True)
    lines = {each["id"]: each for each in map(json.loads, (folder / "devices.txt").read_text().splitlines())}
    assert lines[name]["authentication"]["type"] == "sas"
    (folder / "devices.txt").write_text(json.dumps({"id": name, "importMode": "delete"}) + "\n")
    imported = run("importDevicesFromBlob", folder.as_uri(), folder.as_uri())
    fails(404, "DeviceNotFoundError", backend.registry, "get", name)
    assert {exported, imported} <= {each["jobId"] for each in backend.registry("listJobs")}
    backend.registry("cancelJob", imported)


@refuses(
    CLIENT,
    "Registry",
    "exportDevicesToBlobByIdentity",
    "importDevicesFromBlobByIdentity",
    answer="400: the hub has no identity with a storage account; give containers by URIs with a signature",
)
def test_the_hub_has_no_identity_with_a_storage_account(backend: Backend) -> None:
    container = "https://account.example/devices"
    fails(400, "ArgumentError", backend.registry, "exportDevicesToBlobByIdentity", container, True)
    fails(400, "ArgumentError", backend.registry, "importDevicesFromBlobByIdentity", container, container)

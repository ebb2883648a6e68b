"""azure-iot-hub: scheduled jobs, and jobs of import and export."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from azure.core.exceptions import DeserializationError
from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import CloudToDeviceMethod, JobProperties, JobRequest, Twin, TwinProperties

from tests.compatibility import breaks, proves, watched
from tests.e2e.sdk import Bench, until
from tests.e2e.service.sdk import OwnerToken, answering_device, container, key, refused
from tests.hubs import Hub

jobs = partial(proves, "azure-iot-hub", "IoTHubJobManager")

JOB_PATIENCE_S = 60.0


@pytest.fixture
def manager(hub: Hub, service: Any) -> Any:
    """The fixture `service` has set the trust."""
    return watched(IoTHubJobManager.from_connection_string(hub.connection_string), "azure-iot-hub")


def ended(manager: Any, job_id: str) -> Any:
    """The job once it has ended."""
    ends = ("completed", "failed", "cancelled")
    until(f"{job_id} has ended", lambda: manager.get_scheduled_job(job_id).status in ends, JOB_PATIENCE_S)
    return manager.get_scheduled_job(job_id)


@jobs("create_scheduled_job", "get_scheduled_job")
def test_a_job_updates_the_twins_that_its_condition_names(
    manager: Any, service: Any, new_id: Callable[..., str]
) -> None:
    hall, names, job_id = new_id("hall"), [new_id() for _ in range(3)], new_id("job")
    for name in names:
        service.create_device_with_certificate_authority(name, "enabled")
        service.update_twin(name, Twin(tags={"hall": hall}))
    patch = Twin(etag="*", tags={"floor": 2}, properties=TwinProperties(desired={"interval": 9}))
    request = JobRequest(
        job_id=job_id,
        type="scheduleUpdateTwin",
        update_twin=patch,
        query_condition=f"tags.hall = '{hall}'",
        max_execution_time_in_seconds=60,
    )
    made = manager.create_scheduled_job(job_id, request)
    assert (made.job_id, made.type, made.query_condition) == (job_id, "scheduleUpdateTwin", f"tags.hall = '{hall}'")
    done = ended(manager, job_id)
    assert done.status == "completed"
    statistics = done.device_job_statistics
    assert (statistics.device_count, statistics.succeeded_count, statistics.failed_count) == (3, 3, 0)
    for name in names:
        twin = service.get_twin(name)
        assert (twin.tags, twin.properties.desired["interval"]) == ({"hall": hall, "floor": 2}, 9)
    refused(409, "", manager.create_scheduled_job, job_id, request)


@jobs("create_scheduled_job", "get_scheduled_job")
def test_a_job_calls_a_method_on_each_device(
    bench: Bench, manager: Any, service: Any, new_id: Callable[..., str]
) -> None:
    hall, there, away, job_id = new_id("hall"), new_id(), new_id(), new_id("job")
    document = bench.create(there)
    bench.create(away)
    for name in (there, away):
        service.update_twin(name, Twin(tags={"hall": hall}))
    method = CloudToDeviceMethod(method_name="blink", payload={"times": 2}, response_timeout_in_seconds=10)
    request = JobRequest(
        job_id=job_id,
        type="scheduleDeviceMethod",
        cloud_to_device_method=method,
        query_condition=f"tags.hall = '{hall}'",
        max_execution_time_in_seconds=15,
    )
    with answering_device(bench, document):
        manager.create_scheduled_job(job_id, request)
        statistics = ended(manager, job_id).device_job_statistics
    assert (statistics.device_count, statistics.succeeded_count, statistics.failed_count) == (2, 1, 1)


@jobs("cancel_scheduled_job")
def test_a_job_that_waits_for_its_time_is_cancelled(manager: Any, new_id: Callable[..., str]) -> None:
    job_id = new_id("job")
    request = JobRequest(
        job_id=job_id,
        type="scheduleUpdateTwin",
        update_twin=Twin(etag="*", tags={"a": 1}),
        query_condition="tags.nobody = 'has this'",
        start_time=(datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        max_execution_time_in_seconds=60,
    )
    assert manager.create_scheduled_job(job_id, request).status in {"queued", "scheduled"}
    manager.cancel_scheduled_job(job_id)
    assert manager.get_scheduled_job(job_id).status == "cancelled"
    refused(404, "JobNotFound", manager.cancel_scheduled_job, new_id("job"))


@breaks(
    "azure-iot-hub",
    "IoTHubJobManager",
    "query_scheduled_jobs",
    because="it expects an object; the service answers an array, which other clients read",
)
def test_the_list_of_jobs_is_an_array_that_this_client_cannot_read(manager: Any, hub: Hub) -> None:
    assert isinstance(hub.request("GET", "/jobs/v2/query"), list)
    with pytest.raises(DeserializationError):
        manager.query_scheduled_jobs("scheduleUpdateTwin", "completed")


@jobs("create_import_export_job", "get_import_export_job", "get_import_export_jobs", "cancel_import_export_job")
def test_a_fleet_is_exported_and_comes_back(manager: Any, service: Any, hub: Hub, new_id: Callable[..., str]) -> None:
    folder, name = container(hub, new_id("container")), new_id()
    made = service.create_device_with_sas(name, key(), key(), "enabled")

    def run(**properties: Any) -> Any:
        job_id = manager.create_import_export_job(JobProperties(**properties)).job_id
        read = partial(manager.get_import_export_job, job_id)
        until(f"{properties['type']} has ended", lambda: read().status in {"completed", "failed"}, JOB_PATIENCE_S)
        assert (read().status, read().failure_reason) == ("completed", None)
        return job_id

    exported = run(type="export", output_blob_container_uri=folder.as_uri(), exclude_keys_in_export=False)
    lines = {each["id"]: each for each in map(json.loads, (folder / "devices.txt").read_text().splitlines())}
    assert lines[name]["authentication"]["symmetricKey"]["primaryKey"] == made.authentication.symmetric_key.primary_key
    service.delete_device(name)
    again = {**lines[name], "importMode": "create"}
    (folder / "devices.txt").write_text(json.dumps(again) + "\n")
    imported = run(type="import", input_blob_container_uri=folder.as_uri(), output_blob_container_uri=folder.as_uri())
    kept = service.get_device(name).authentication.symmetric_key
    assert kept.primary_key == made.authentication.symmetric_key.primary_key
    assert {exported, imported} <= {each.job_id for each in manager.get_import_export_jobs()}
    manager.cancel_import_export_job(exported)
    assert manager.get_import_export_job(exported).status == "completed"
    refused(404, "JobNotFound", manager.cancel_import_export_job, new_id("job"))


@jobs("from_connection_string", "from_token_credential")
@pytest.mark.usefixtures("service")
def test_both_credentials_open_it(hub: Hub) -> None:
    made = watched(IoTHubJobManager, "azure-iot-hub")
    for each in (
        made.from_connection_string(hub.connection_string),
        made.from_token_credential(hub.info.service_host, OwnerToken(hub)),
    ):
        assert isinstance(each.get_import_export_jobs(), list)

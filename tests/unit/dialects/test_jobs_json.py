"""Jobs as clients write and read them (contract/services.md 2.11), and the rows of `devices.jobs` (2.9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moorage.dialects.jobs_json import (
    device_job_json,
    job_json,
    parse_device_status,
    parse_job,
    parse_listing,
    unknown_job_json,
)
from moorage.errors import Invalid
from moorage.hub.job_model import Counts, Job, JobDevice, JobId
from moorage.hub.jobs import JobDraft, decide_job
from moorage.hub.methods import MethodCall, MethodReply
from moorage.hub.twins import TwinChange
from moorage.ids import DEFAULT_HUB, DeviceId

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
J = JobId("j")
TWIN = {"type": "scheduleUpdateTwin", "updateTwin": {"tags": {"a": 1}}, "queryCondition": "*"}
METHOD = {"type": "scheduleDeviceMethod", "cloudToDeviceMethod": {"methodName": "m"}, "queryCondition": "*"}


def job(body: dict[str, Any], **members: Any) -> Job:
    return replace(decide_job(DEFAULT_HUB, parse_job(J, body), NOW), **members)


def test_what_the_python_sdk_sends_is_read() -> None:
    body = {
        "jobId": "j",
        "type": "scheduleUpdateTwin",
        "cloudToDeviceMethod": None,
        "updateTwin": {
            "deviceId": "other",
            "etag": "*",
            "tags": {"a": None},
            "properties": {"desired": {"b": 2}, "reported": {}},
        },
        "queryCondition": "tags.a = 1",
        "startTime": "2030-01-01T14:00:00.000Z",
        "maxExecutionTimeInSeconds": 60,
    }
    work = TwinChange(tags={"a": None}, desired={"b": 2})
    assert parse_job(J, body) == JobDraft(J, work, "tags.a = 1", None, NOW + timedelta(hours=2), 60)


def test_what_the_node_sdk_and_the_command_line_send_is_read() -> None:
    body = {**METHOD, "startTime": None, "maxExecutionTimeInSeconds": "120"}
    body["cloudToDeviceMethod"] = {"methodName": "m", "payload": "", "responseTimeoutInSeconds": "30"}
    assert parse_job(J, body) == JobDraft(J, MethodCall("m", "", 30, 0), "*", None, None, 120)


def test_old_bodies_list_devices_and_have_one_timeout() -> None:
    body = {
        "type": "scheduledevicemethod",
        "deviceIds": ["a", "b"],
        "cloudToDeviceMethod": {"methodName": "m", "timeoutInSeconds": 6},
    }
    draft = parse_job(J, body)
    assert (draft.condition, draft.device_ids) == (None, ("a", "b"))
    assert draft.work == MethodCall("m", None, 6, 0)
    assert parse_job(J, {**TWIN, "deviceIds": []}).device_ids is None


@pytest.mark.parametrize(
    ("change", "reason", "named"),
    [
        ({"type": None}, "body.member", "type"),
        ({"type": "export"}, "job.status", "scheduleUpdateTwin"),
        ({"type": 7}, "body.member", "type"),
        ({"jobId": "k"}, "body.id", "jobId"),
        ({"updateTwin": None}, "body.member", "updateTwin"),
        ({"updateTwin": []}, "body.member", "updateTwin"),
        ({"updateTwin": {"tags": 3}}, "body.member", "tags"),
        ({"updateTwin": {"properties": {"desired": "x"}}}, "body.member", "properties.desired"),
        ({"type": "scheduleDeviceMethod"}, "body.member", "cloudToDeviceMethod"),
        ({"queryCondition": 5}, "body.member", "queryCondition"),
        ({"startTime": "soon"}, "time.malformed", "startTime"),
        ({"startTime": 5}, "body.member", "startTime"),
        ({"maxExecutionTimeInSeconds": 1.5}, "body.member", "maxExecutionTimeInSeconds"),
        ({"deviceIds": "a"}, "body.member", "deviceIds"),
        ({"deviceIds": ["a", 1]}, "body.member", "deviceIds"),
        ({"deviceIds": ["a"] * 1001}, "body.member", "deviceIds"),
        ({"deviceIds": ["a/b"]}, "id.device", "a/b"),
    ],
)
def test_a_body_that_cannot_be_read_names_the_member(change: dict[str, Any], reason: str, named: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_job(J, {**TWIN, **change})
    assert refused.value.reason == reason
    assert named in refused.value.message


def test_a_job_is_shown_with_what_it_does_and_how_far_it_is() -> None:
    shown = job_json(job({**TWIN, "updateTwin": {"tags": {"a": 1}, "properties": {"desired": {"b": None}}}}))
    assert shown == {
        "jobId": "j",
        "queryCondition": "*",
        "createdTime": "2030-01-01T12:00:00.000000Z".replace("Z", "0Z"),
        "startTime": "2030-01-01T12:00:00.0000000Z",
        "maxExecutionTimeInSeconds": 3600,
        "type": "scheduleUpdateTwin",
        "updateTwin": {"etag": "*", "tags": {"a": 1}, "properties": {"desired": {"b": None}}},
        "status": "queued",
        "deviceJobStatistics": {
            "deviceCount": 0,
            "failedCount": 0,
            "succeededCount": 0,
            "runningCount": 0,
            "pendingCount": 0,
        },
    }


def test_a_failed_method_job_says_why_and_when() -> None:
    over = job(
        METHOD,
        status="failed",
        ended=NOW,
        failure_reason="job.out_of_time",
        status_message="why",
        counts=Counts(3, 1, 2),
    )
    shown = job_json(over)
    assert shown["cloudToDeviceMethod"] == {
        "methodName": "m",
        "payload": None,
        "responseTimeoutInSeconds": 30,
        "connectTimeoutInSeconds": 0,
    }
    assert (shown["endTime"], shown["failureReason"], shown["statusMessage"]) == (
        "2030-01-01T12:00:00.0000000Z",
        "job.out_of_time",
        "why",
    )
    assert shown["deviceJobStatistics"]["succeededCount"] == 1


def test_an_import_is_of_an_unknown_kind_here() -> None:
    assert unknown_job_json("x") == {"jobId": "x", "type": "unknown", "status": "unknown"}


def test_a_device_row_holds_the_answer_of_its_method() -> None:
    row = JobDevice(DeviceId("a"), "completed", NOW, NOW, NOW, MethodReply(503, {"x": None}))
    at = "2030-01-01T12:00:00.0000000Z"
    assert device_job_json(job(METHOD, status="running"), row) == {
        "deviceId": "a",
        "jobId": "j",
        "jobType": "scheduleDeviceMethod",
        "status": "completed",
        "startTimeUtc": at,
        "endTimeUtc": at,
        "createdDateTimeUtc": at,
        "lastUpdatedDateTimeUtc": at,
        "outcome": {"deviceMethodResponse": {"status": 503, "payload": {"x": None}}},
    }


@pytest.mark.parametrize(
    ("reason", "code"),
    [("device.not_online", "DeviceNotOnline"), ("twin.size", "MessageTooLarge"), ("of.an_older_version", "")],
)
def test_a_failed_device_row_has_the_services_name_and_our_reason(reason: str, code: str) -> None:
    row = JobDevice(DeviceId("a"), "failed", NOW, NOW, NOW, None, reason, "why")
    shown = device_job_json(job(TWIN, status="running"), row)
    assert shown["error"] == {"code": code, "description": "why", "reason": reason}
    assert "outcome" not in shown


def test_a_row_that_a_cancelled_job_left_behind_reads_so() -> None:
    row = JobDevice(DeviceId("a"), "pending", NOW)
    later = NOW + timedelta(seconds=1)
    shown = device_job_json(job(TWIN, status="cancelled", ended=later), row)
    assert (shown["status"], shown["endTimeUtc"]) == ("canceled", "2030-01-01T12:00:01.0000000Z")


def test_words_are_taken_in_any_case_and_others_are_refused() -> None:
    assert parse_listing(None, "") == (None, None)
    assert parse_listing("SCHEDULEUPDATETWIN", "Completed") == ("twin", "completed")
    assert parse_device_status("Canceled") == "canceled"
    for listing in (("nonsense", None), (None, "nonsense")):
        with pytest.raises(Invalid, match=r"job\.status"):
            parse_listing(*listing)
    with pytest.raises(Invalid, match=r"job\.status"):
        parse_device_status("nonsense")


@pytest.mark.parametrize("listing", [("Export", None), ("firmwareUpdate", "queued"), (None, "unknown")])
def test_what_the_service_has_and_no_job_here_is_makes_an_empty_list(listing: tuple[str | None, str | None]) -> None:
    assert parse_listing(*listing) is None

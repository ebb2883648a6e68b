"""`moorage job` as a user types it, against a hub that runs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.sdk import until
from tests.hubs import Hub, running_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("jobs") / "hub") as hub:
        for name, site in (("a-1", "a"), ("a-2", "a"), ("b-1", "b")):
            hub.request("PUT", f"/devices/{name}", body={"deviceId": name})
            hub.request("PATCH", f"/twins/{name}", body={"tags": {"site": site}})
        body = {"type": "scheduleUpdateTwin", "updateTwin": {"tags": {"seen": 0}}, "deviceIds": ["ghost"]}
        hub.request("PUT", "/jobs/v2/ended", body=body)
        hub.ask("job", "show", "ended", "--watch")
        yield hub


def twin(hub: Hub, name: str) -> Any:
    return hub.request("GET", f"/twins/{name}")


def test_a_twin_update_that_is_waited_for_says_how_it_went(hub: Hub) -> None:
    where = ("--where", "tags.site = 'a'")
    said = hub.moorage("job", "create", "twin-update", "--id", "one", *where, "--desired", '{"x": 1}', "--wait")
    assert said == "Job one is completed: of 2 devices 2 succeeded, 0 failed.\n"
    assert [twin(hub, name)["properties"]["desired"].get("x") for name in ("a-1", "a-2", "b-1")] == [1, 1, None]


def test_a_job_for_named_devices_is_shown_with_each_of_them(hub: Hub) -> None:
    (made,) = hub.ask("job", "create", "twin-update", "--device", "b-1", "--device", "ghost", "--tags", '{"seen": 1}')
    assert made["status"] == "queued"
    (watched,) = hub.ask("job", "show", made["jobId"], "--watch")
    assert (watched["status"], watched["deviceIds"]) == ("completed", ["b-1", "ghost"])
    rows = hub.ask("job", "show", made["jobId"], "--devices")
    assert [(row["deviceId"], row["status"]) for row in rows] == [("b-1", "completed"), ("ghost", "failed")]
    lines = hub.moorage("job", "show", made["jobId"], "--devices", "--status", "failed").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["device", "status"], ["ghost", "failed"]]
    assert "there is no device 'ghost'" in lines[1]


def test_a_method_that_nobody_answers_ends_with_exit_code_1_and_says_where_to_look(hub: Hub) -> None:
    arguments = (
        "job",
        "create",
        "method",
        "reboot",
        "--id",
        "calls",
        "--where",
        "*",
        "--payload",
        '{"in": 5}',
        "--wait",
    )
    said = hub.moorage(*arguments, code=1)
    assert said == "job.not_all: 3 of 3 devices did not succeed\n  fix: moorage job show calls --devices\n"
    (shown,) = hub.ask("job", "show", "calls")
    assert shown["cloudToDeviceMethod"]["payload"] == {"in": 5}


def test_a_scheduled_job_is_listed_and_cancelled(hub: Hub) -> None:
    start = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    said = hub.moorage(
        "job", "create", "twin-update", "--id", "later", "--where", "*", "--tags", '{"a": 1}', "--start", start
    )
    assert said == "Job later is queued.\nNext: moorage job show later --watch\n"
    (listed,) = hub.ask("job", "list", "--type", "twin-update", "--status", "scheduled")
    assert listed["jobId"] == "later"
    table = hub.moorage("job", "list", "--top", "1").splitlines()
    assert [line.split("\t")[:3] for line in table] == [
        ["job", "type", "status"],
        ["later", "twin-update", "scheduled"],
    ]
    assert hub.moorage("job", "cancel", "later").startswith("Job later is cancelled:")
    assert hub.ask("job", "list", "--status", "scheduled") == []


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("create", "twin-update", "--where", "*"), 2, "--desired"),
        (("create", "twin-update", "--tags", "{}"), 2, "--where"),
        (("create", "twin-update", "--tags", "{}", "--where", "*", "--device", "a-1"), 2, "--where"),
        (("create", "twin-update", "--tags", "[]", "--where", "*"), 1, "--tags"),
        (("create", "twin-update", "--tags", '{"a": 1}', "--where", "tags.site ="), 1, "column 12"),
        (("create", "twin-update", "--tags", '{"a": 1}', "--where", "*", "--start", "soon"), 1, "--start"),
        (("create", "method", "m", "--where", "*", "--payload", "{"), 1, "--payload"),
        (("show", "ended", "--status", "failed"), 2, "--devices"),
        (("show", "none"), 1, "moorage job list"),
        (("cancel", "none"), 1, "job.unknown"),
        (("cancel", "ended"), 1, "job.finished"),
    ],
)
def test_what_cannot_be_done_says_why(hub: Hub, arguments: tuple[str, ...], code: int, named: str) -> None:
    assert named in hub.moorage("job", *arguments, code=code)


def test_running_jobs_are_counted_in_the_metrics(hub: Hub) -> None:
    def running() -> str:
        url = f"https://127.0.0.1:{hub.info.https_port}/metrics"
        text = httpx.get(url, verify=ssl.create_default_context(cafile=hub.ca_bundle)).text
        return next(line for line in text.splitlines() if line.startswith("moorage_jobs_running "))

    call = {"methodName": "m", "connectTimeoutInSeconds": 60}
    body = {"type": "scheduleDeviceMethod", "cloudToDeviceMethod": call, "deviceIds": ["a-1"]}
    hub.request("PUT", "/jobs/v2/counted", body=body)
    until("the job runs", lambda: hub.request("GET", "/jobs/v2/counted")["status"] == "running", 60.0)
    until("it is counted", lambda: running() == "moorage_jobs_running 1.0", 60.0)
    hub.request("POST", "/jobs/v2/counted/cancel")
    until("it does not", lambda: running() == "moorage_jobs_running 0.0", 60.0)

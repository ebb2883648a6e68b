"""An import that is cut off by kill -9 goes on after the next start: every line once, and the log of it complete."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.hubs import Hub, running_hub

DEVICES = 4000
PATIENCE_S = 60.0


def wait_for_progress(hub: Hub, job_id: str, least: int) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        job = hub.request("GET", f"/jobs/{job_id}")
        if job["progress"] >= least:
            return int(job["progress"])
        time.sleep(0.01)
    raise AssertionError(f"not at {least} percent after {PATIENCE_S:g} s: {job}")


def test_an_import_that_was_killed_is_finished_by_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "transfers"
    folder.mkdir()
    with (folder / "devices.txt").open("w") as file:
        for number in range(DEVICES):
            item = {"id": f"d{number:05}", "importMode": "create", "tags": {"number": number}}
            file.write(json.dumps(item) + "\n")
            if number % 1000 == 500:
                file.write("this is no line of a fleet\n")
    with running_hub(tmp_path / "hub", "--transfer-folder", str(folder)) as hub:
        uri = folder.as_uri()
        body = {"type": "import", "inputBlobContainerUri": uri, "outputBlobContainerUri": uri}
        job_id = hub.request("POST", "/jobs/create", body=body)["jobId"]
        reached = []
        for least in (10, 40, 70):
            reached.append(wait_for_progress(hub, job_id, least))
            hub.kill()
            hub.start()
        wait_for_progress(hub, job_id, 100)
        job = hub.request("GET", f"/jobs/{job_id}")
        assert (job["status"], job["failureReason"]) == (
            "completed",
            f"4 of {DEVICES + 4} lines were refused; importErrors.log says why",
        )
        assert reached == sorted(reached) and reached[0] < 100
        # A line that was done twice would be refused the second time: its mode is create.
        refused = [json.loads(line) for line in (folder / "importErrors.log").read_text().splitlines()]
        assert [each["reason"] for each in refused] == ["json.malformed"] * 4
        assert hub.request("GET", "/statistics/devices")["totalDeviceCount"] == DEVICES
        for number in (0, 999, 2500, DEVICES - 1):
            assert hub.request("GET", f"/twins/d{number:05}")["tags"] == {"number": number}

"""Show as code of rules, exports, jobs and edge manifests, run as it stands."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from moorage.accounts.model import OWNER
from moorage.automation.jobs import JobId, ScheduleId
from moorage.ids import DEFAULT_HUB, DeviceId
from moorage.protocols.mqtt.packets import Publish
from tests.callees import answer, callee
from tests.manifests import CONTENT
from tests.servers.world import World, eventually
from tests.web.browser import Browser
from tests.web.shown_as_code import Shell, replays
from tests.web.test_jobs import JOB, fleet, is_over
from tests.web.test_manifests import edge, limit
from tests.web.test_rules import RULE as TOO_HOT
from tests.web.test_rules import TOPIC, pump

RULE = "POST /rules/{rule_id}"
DESTINATION = "POST /exports/destinations/{destination_id}"
EXPORT = "POST /exports/{export_id}"
MANIFEST = "POST /manifests/{manifest_id}"
ADDRESS = "https://desk.example/in?code=1"


@replays("POST /rules", RULE, RULE + "/switch", RULE + "/delete")
@pytest.mark.parametrize("world", [{"egress_allow": "127.0.0.1"}], indirect=True)
async def test_a_rule_is_made_tried_tested_changed_switched_and_deleted(
    world: World, browser: Browser, shell: Shell
) -> None:
    await pump(world)
    device = await world.connect()
    for temperature in (20, 31):
        device.publish(TOPIC, b'{"temperature": %d}' % temperature)
    await device.acks(2)
    rules = world.app.application.automation.rules
    async with callee(answer(200), tls=False, names=["127.0.0.1"]) as hook:
        shell.environment["WEBHOOK_URL"] = f"{hook.url}/in?code=1"
        action = {"atype0": "webhook", "aname0": "Desk", "aurl0": f"{hook.url}/in?code=1"}
        # One that is off fires for nothing that came before.
        rule = {name: value for name, value in TOO_HOT.items() if name != "enabled"} | action
        typed = await browser.submit("/rules", {**rule, "act": "try"})
        assert "?code=1" not in typed.text.partition("Show as code")[2]
        tried = json.loads(await shell.paste("/rules/new", "Try on the last day", page=typed))
        assert (tried["fired"], tried["lookedAt"]) == (1, 2)
        await shell.paste("/rules/new", "Send a test", page=typed)
        assert [each.target for each in hook.received] == ["/in?code=1"]
        assert await rules.all(OWNER) == []
        await shell.paste("/rules/new", "Save", "Python", page=typed)
        (made,) = await rules.all(OWNER)
        assert (made.display_name, made.actions[0].display_name, made.is_enabled) == ("Too hot", "Desk", False)

        there, etag = "/rules/rule-1", made.etag
        more = {"path1": "temperature", "operator1": "greater", "value1": "900", "window": "5"}
        narrow = {"fpath0": "limit", "foperator0": "greater_or_equal", "fvalue0": "3", "fkind0": "property"}
        await browser.submit(there, {**rule, **more, **narrow, "etag": etag})
        before = rules.get(OWNER, made.rule_id)
        assert before.version > made.version and before.window_minutes == 5
        await shell.paste(there, "Save")
        after = rules.get(OWNER, made.rule_id)
        assert after.version > before.version
        assert replace(after, version=before.version, updated=before.updated) == before
        await shell.paste(there, "Send a test", "Python")
        assert len(hook.received) == 2 and b'"rule-1"' in hook.received[1].body
        tried = json.loads(await shell.paste(there, "Try on the last day"))
        assert tried["fired"] == 0
    await shell.paste(there, "Enable", "Python")
    assert rules.get(OWNER, made.rule_id).is_enabled
    await shell.paste(there, "Disable")
    assert not rules.get(OWNER, made.rule_id).is_enabled
    await shell.paste(there, "Delete")
    assert await rules.all(OWNER) == []


@replays("POST /exports/destinations", DESTINATION, DESTINATION + "/delete")
@pytest.mark.parametrize("world", [{"egress_allow": "127.0.0.1"}], indirect=True)
async def test_a_destination_is_made_changed_and_deleted_and_its_secrets_are_on_no_page(
    world: World, browser: Browser, shell: Shell
) -> None:
    exports = world.app.application.automation.exports
    shell.environment |= {"DESTINATION_URL": ADDRESS, "DESTINATION_CREDENTIAL": "let me in"}
    await shell.paste("/exports/destinations/new", "Save")
    (made,) = exports.destinations(OWNER)
    assert (made.display_name, made.kind, made.address.reveal()) == ("New destination", "webhook", ADDRESS)
    there = f"/exports/destinations/{made.destination_id}"
    typed = {"id": made.destination_id, "kind": "webhook", "address": "https://other.example/", "etag": made.etag}
    await browser.submit(there, typed | {"name": "The desk", "credential": "open sesame", "option_header": "x-api-key"})
    page = (await browser.open(there)).text.partition("Show as code")[2]
    assert "other.example" not in page and "sesame" not in page
    for language, address in (("Python", ADDRESS), ("curl", "https://third.example/")):
        shell.environment["DESTINATION_URL"] = address
        await shell.paste(there, "Save", language)
        (changed,) = exports.destinations(OWNER)
        assert changed.address.reveal() == address and changed.display_name == "The desk"
        assert (changed.credential.reveal(), changed.options) == ("let me in", {"header": "x-api-key"})
    async with callee(answer(200), tls=False, names=["127.0.0.1"]) as hook:
        shell.environment["DESTINATION_URL"] = f"{hook.url}/in"
        await shell.paste("/exports/destinations/new", "Send a test")
        await shell.paste(there, "Save")
        await shell.paste(there, "Send a test", "Python")
        assert [each.headers.get("x-api-key") for each in hook.received] == [None, "let me in"]
    await shell.paste(there, "Delete", "Python")
    assert exports.destinations(OWNER) == []


@replays("POST /exports", EXPORT, EXPORT + "/switch", EXPORT + "/delete")
async def test_an_export_is_made_changed_switched_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    exports = world.app.application.automation.exports
    destination = {"id": "hook", "name": "The hook", "kind": "webhook", "address": ADDRESS}
    await browser.submit("/exports/destinations", destination)
    await world.create("pump-01")
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": 31}')
    await device.acks(1)
    (sample,) = json.loads(await shell.paste("/exports/new", "Show a sample"))["value"]
    assert sample["body"]["telemetry"] == {"temperature": 31}
    await shell.paste("/exports/new", "Save", "Python")
    (made,) = exports.all(OWNER)
    assert (made.source, made.is_enabled, [use.destination_id for use in made.destinations]) == (
        "telemetry",
        True,
        ["hook"],
    )
    there = f"/exports/{made.export_id}"
    typed = {"id": made.export_id, "name": "Out", "source": "telemetry", "use0": "hook", "etag": made.etag}
    filters = {
        "fkind0": "messageProperty",
        "fname0": "level",
        "foperator0": "contains",
        "fvalue0": "al",
        "joined": "any",
    }
    await browser.submit(there, typed | filters | {"ekey0": "plant", "evalue0": "north", "act": "save"})
    before = exports.get(OWNER, made.export_id)
    assert before.filters and before.enrichments
    await shell.paste(there, "Save")
    assert replace(exports.get(OWNER, made.export_id), version=before.version) == before
    (sample,) = json.loads((await shell.paste(there, "Show a sample", "Python")).partition(" ")[2])["value"]
    assert sample == {"destination": "hook", "body": None}, "no message has the property of its filter"
    await shell.paste(there, "Switch on" if not before.is_enabled else "Switch off")
    assert exports.get(OWNER, made.export_id).is_enabled is not before.is_enabled
    await shell.paste(there, "Switch on" if before.is_enabled else "Switch off")
    assert exports.get(OWNER, made.export_id).is_enabled is before.is_enabled
    await shell.paste(there, "Delete", "Python")
    assert exports.all(OWNER) == []


@replays(
    "POST /jobs",
    "POST /jobs/{job_id}/stop",
    "POST /jobs/{job_id}/resume",
    "POST /jobs/{job_id}/rerun",
    "GET /jobs/{job_id}/results.csv",
)
async def test_a_job_is_run_stopped_continued_and_run_again(world: World, browser: Browser, shell: Shell) -> None:
    await fleet(world)
    device = await world.connect()
    await device.subscribe("$iothub/methods/POST/#", qos=0)
    wanted = {**JOB, "kind": "command", "cpath": "restart"}
    last_step = await browser.submit("/jobs", {**wanted, "step": "2", "go": "next"})
    await shell.paste("/jobs/new", "Run", page=last_step)
    # It goes on as long as this device thinks.
    call = await device.expect(Publish)
    await shell.paste("/jobs/job-1", "Stop")
    job = world.app.store.read().device_jobs.find(DEFAULT_HUB, JobId("job-1"))
    assert job and job.status == "stopped"
    device.publish(f"$iothub/methods/res/200/?$rid={call.topic.decode().partition('$rid=')[2]}", b"{}")
    await shell.paste("/jobs/job-1", "Continue")
    await eventually(is_over(world, "job-1"))
    said = await shell.paste("/jobs/job-1", "Download results")
    assert ("ghost" in said, "pump-01" in said, said.count('"failed"')) == (True, True, 1)
    await shell.paste("/jobs/job-1", "Rerun on failed devices", "Python")
    await eventually(is_over(world, "job-1-again"))


@replays("POST /jobs/scheduled/{schedule_id}/switch", "POST /jobs/scheduled/{schedule_id}/delete")
async def test_a_schedule_is_made_switched_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    await fleet(world)
    when = {"recurrence": "daily", "start_date": "2099-01-31", "start_time": "08:00", "end": "runs", "end_runs": "3"}
    last_step = await browser.submit("/jobs", {**JOB, **when, "step": "2", "go": "next"})
    await shell.paste("/jobs/new", "Schedule", "Python", page=last_step)
    schedules = world.app.application.automation.scheduled_jobs
    found = schedules.get(OWNER, ScheduleId("job-1"))
    assert (found.is_enabled, found.schedule.recurrence, found.schedule.end_after) == (True, "daily", 3)
    assert found.schedule.start == datetime(2099, 1, 31, 8, tzinfo=UTC)
    there = "/jobs/scheduled/job-1"
    await shell.paste(there, "Disable")
    assert not schedules.get(OWNER, ScheduleId("job-1")).is_enabled
    await shell.paste(there, "Enable")
    assert schedules.get(OWNER, ScheduleId("job-1")).is_enabled
    await shell.paste(there, "Delete")
    assert schedules.all(OWNER) == []


@replays("POST /manifests", MANIFEST, MANIFEST + "/delete")
async def test_a_manifest_is_made_changed_and_deleted(world: World, shell: Shell) -> None:
    manifests = world.app.application.automation.manifests
    file = shell.folder / "manifest.json"
    file.write_text(json.dumps(CONTENT))
    await shell.paste("/manifests/new", "Save")
    (made,) = await manifests.all(OWNER)
    assert (made.display_name, made.content) == ("New edge manifest", CONTENT)
    other = json.loads(json.dumps(CONTENT).replace('"limit": 5', '"limit": 6'))
    file.write_text(json.dumps(other))
    await shell.paste(f"/manifests/{made.manifest_id}", "Save", "Python")
    assert manifests.get(OWNER, made.manifest_id).content == other
    await shell.paste(f"/manifests/{made.manifest_id}", "Delete")
    assert await manifests.all(OWNER) == []


@replays("POST /devices/{device_id}/manifest", "POST /devices/{device_id}/manifest/content")
async def test_a_device_is_given_a_manifest_and_content_of_its_own(
    world: World, browser: Browser, shell: Shell
) -> None:
    await edge(world)
    await browser.submit("/manifests", {"id": "plant", "name": "Plant", "json": json.dumps(CONTENT)})
    there, fleet_of = "/devices/gateway/manifest", world.app.application.fleet
    chosen = await browser.submit(there, {"manifest": "plant"})
    await shell.paste(there, "Assign", page=chosen)
    assert limit(world) == 5
    file = shell.folder / "manifest.json"
    file.write_text(json.dumps(CONTENT).replace('"limit": 5', '"limit": 7'))
    await shell.paste(there, "Apply", "Python")
    assert limit(world) == 7
    assert fleet_of.get(OWNER, DeviceId("gateway")).record.manifest == "plant"
    await shell.paste(there, "Assign none")
    assert fleet_of.get(OWNER, DeviceId("gateway")).record.manifest == ""

"""Data exports on a running hub: from what devices and people do to destinations that really listen (PC-21)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, Actor, OrganizationId
from moorage.automation.export_runner import MAX_COMPOSED_BYTES
from moorage.automation.exports import (
    MAX_BODY_BYTES,
    DataExport,
    Destination,
    DestinationId,
    DestinationUse,
    Enrichment,
    ExportEvent,
    ExportId,
    ExportSource,
    MessageFilter,
)
from moorage.errors import Refusal
from moorage.fleet.model import DeviceDraft, TemplateId
from moorage.fleet.template_model import make_content
from moorage.hub.router import Outgoing, Refused
from moorage.hub.twins import TwinChange
from moorage.ids import DEFAULT_HUB, DeviceId, Secret
from tests.callees import Callee, answer, callee
from tests.servers.application import ADA, TEMPLATE, assign, automation
from tests.servers.world import World, eventually, named, running
from tests.unit.dtdl.models import interface, telemetry

FAN = TemplateId("dtmi:example:Fan;1")
TOPIC = "devices/pump-01/messages/events/$.ct=application%2Fjson&$.ce=utf-8&line=7"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "out").mkdir()
    settings: dict[str, Any] = {"transfer_folder": str(tmp_path / "out")}
    async with running(tmp_path / "hub", egress_allow="127.0.0.1", **settings) as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        yield world


async def lead_to(world: World, hook: Callee, source: ExportSource, **changes: Any) -> DataExport:
    """An export of `source` to the hook."""
    now = world.clock.now()
    destination = Destination(
        DEFAULT_HUB,
        DestinationId("hook"),
        "The hook",
        "webhook",
        Secret(f"{hook.url}/in"),
        now,
        Secret("let me in"),
        {"header": "x-api-key"},
    )
    await automation(world).exports.create_destination(ADA, destination)
    use = changes.pop("use", DestinationUse(DestinationId("hook")))
    export = DataExport(DEFAULT_HUB, ExportId("out"), "Out", source, now, now, (use,), **changes)
    return await automation(world).exports.create(ADA, export)


def bodies(hook: Callee) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in hook.received]


async def test_telemetry_goes_out_with_the_products_fields_and_enrichments(world: World, hook: Callee) -> None:
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": 1}')
    await device.acks(1)
    enrichments = (
        Enrichment("plant", "constant", "North"),
        Enrichment("site", "cloud_property", "site"),
        Enrichment("name", "system", "$displayName"),
        Enrichment("simulated", "system", "$simulated"),
        Enrichment("nothing", "property", "nowhere"),
    )
    await lead_to(world, hook, "telemetry", enrichments=enrichments)
    device.publish(TOPIC, b'{"temperature": 2}')
    await eventually(lambda: hook.received)
    # Nothing from before the switch-on (CDE-10).
    (body,) = bodies(hook)
    assert body == {
        "applicationId": await world.app.application.customization.application_id(),
        "messageSource": "telemetry",
        "deviceId": "pump-01",
        "schema": "default@v1",
        "templateId": TEMPLATE,
        "enqueuedTime": body["enqueuedTime"],
        "telemetry": {"temperature": 2},
        "messageProperties": {"line": "7"},
        "enrichments": {"plant": "North", "site": "Harbour", "name": "Pump one", "simulated": False},
    }
    assert hook.received[0].headers["x-api-key"] == "let me in"
    await eventually(lambda: automation(world).export_runner.health("out", "hook").status == "healthy")


async def test_filters_and_a_template_make_of_it_what_is_wanted(world: World, hook: Callee) -> None:
    template = {"id": "$.deviceId", "t": "$.telemetry.temperature", "none": "$.nowhere", "fixed": [1, "x"]}
    await lead_to(
        world,
        hook,
        "telemetry",
        use=DestinationUse(DestinationId("hook"), template),
        filters=(MessageFilter("capability", "temperature", "greater", 10),),
    )
    device = await world.connect()
    for temperature in (5, 20):
        device.publish(TOPIC, b'{"temperature": %d}' % temperature)
    await eventually(lambda: hook.received)
    assert bodies(hook) == [{"id": "pump-01", "t": 20, "none": None, "fixed": [1, "x"]}]


async def test_a_body_too_large_to_be_sent_is_given_up_and_others_go_on(world: World, hook: Callee) -> None:
    export = await lead_to(world, hook, "telemetry", use=DestinationUse(DestinationId("hook"), ["$.telemetry"] * 60))
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": "%s"}' % (b"x" * 200_000))
    device.publish(TOPIC, b'{"temperature": 2}')
    health = automation(world).export_runner.health
    await eventually(lambda: health("out", "hook").delivered == 1)
    assert health("out", "hook").refused == 1
    assert "a body would have more than 1048576 bytes" in health("out", "hook").failures[0].text
    device.publish(TOPIC, b'{"temperature": "%s"}' % (b"x" * 200_000))
    await eventually(lambda: health("out", "hook").refused == 2)
    with pytest.raises(Refusal, match="a body would have more than 1048576 bytes"):
        await automation(world).services().samples(ADA, export)


async def test_a_request_to_a_web_hook_beyond_its_limit_is_refused_and_not_tried_again(
    world: World, hook: Callee
) -> None:
    await lead_to(world, hook, "telemetry")
    destination = automation(world).exports.get_destination(ADA, "hook")
    with pytest.raises(Refused, match="at most 8388608 are sent"):
        await automation(world).export_runner.try_once(destination, [Outgoing("", 0, bytes(9 * 1024 * 1024))])


async def test_large_bodies_of_a_page_are_made_a_few_at_a_time_and_none_is_left_out(world: World) -> None:
    ready = asyncio.Event()

    async def respond(received: Any, writer: Any) -> None:
        await ready.wait()
        await answer(200)(received, writer)

    async with callee(respond, tls=False, names=["127.0.0.1"]) as hook:
        export = await lead_to(world, hook, "telemetry", use=DestinationUse(DestinationId("hook"), ["$.telemetry"] * 5))
        start = world.app.log.durable_end
        device = await world.connect()
        for number in range(12):
            device.publish(TOPIC, b'{"temperature": "%d %s"}' % (number, b"x" * 200_000))
        await device.acks(12)
        messages = (await world.app.log.read(from_offset=start, limit=256)).messages
        exports = automation(world).exports
        selecting, destination = exports._selecting, exports.get_destination(ADA, "hook")
        pieces = []
        while messages:
            events = selecting.of_messages(messages)
            composed = selecting.compose(export, export.destinations[0], destination, events, world.app.store.read())
            assert sum(len(each.document) for each in composed.outgoing) <= MAX_COMPOSED_BYTES + MAX_BODY_BYTES
            pieces.append(len(composed.outgoing))
            messages = [each for each in messages if composed.through is not None and each.offset > composed.through]
        assert pieces == [5, 5, 2]
        # All but the first few stand in one page of the worker.
        ready.set()
        await eventually(lambda: automation(world).export_runner.health("out", "hook").delivered == 12)
    sent = [json.loads(each.body)[4]["temperature"].split()[0] for each in hook.received]
    assert sent == [str(number) for number in range(12)]


async def test_properties_of_each_kind_go_out_as_they_change(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "properties")
    await world.twins.patch(DEFAULT_HUB, named("pump-01"), TwinChange(desired={"limit": 25}))
    await world.twins.report(
        DEFAULT_HUB,
        named("pump-01"),
        {"limit": {"value": 25, "ac": 200, "av": 2}, "cooler": {"__t": "c", "fan": 3}},
    )
    await world.app.application.fleet.set_cloud_properties(ADA, DeviceId("pump-01"), {"site": "Airport"})
    await eventually(lambda: len(hook.received) >= 3)
    told = {body["messageType"]: body["properties"] for body in bodies(hook)}
    assert told == {
        "devicePropertyDesiredChange": [{"name": "limit", "value": 25}],
        "devicePropertyReportedChange": [
            {"name": "limit", "value": 25},
            {"name": "fan", "value": 3, "component": "cooler"},
        ],
        "cloudPropertyChange": [{"name": "site", "value": "Airport"}],
    }


async def test_who_comes_and_goes_goes_out(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "deviceConnectivity")
    await eventually(lambda: world.app._notifier._connections.is_wanted)
    device = await world.connect()
    await eventually(lambda: hook.received)
    device.close()
    await eventually(lambda: len(hook.received) >= 2)
    assert [body["messageType"] for body in bodies(hook)] == ["connected", "disconnected"]
    assert all(body["messageSource"] == "deviceConnectivity" for body in bodies(hook))


async def test_the_life_of_a_device_goes_out(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "deviceLifecycle")
    await eventually(lambda: "deviceLifecycle" in automation(world).export_runner.hears)
    fleet = world.app.application.fleet
    await fleet.create(ADA, DeviceDraft(DeviceId("fan-1")))
    await world.create("fan-1")
    await fleet.block(ADA, DeviceId("fan-1"))
    await fleet.unblock(ADA, DeviceId("fan-1"))
    await fleet.delete(ADA, DeviceId("fan-1"))
    await eventually(lambda: len(hook.received) >= 5)
    assert [body["messageType"] for body in bodies(hook)] == [
        "registered",
        "provisioned",
        "disabled",
        "enabled",
        "deleted",
    ]


async def test_the_life_of_a_template_goes_out(world: World, hook: Callee) -> None:
    """CDE-5; drafts are nobody's business."""
    await lead_to(world, hook, "deviceTemplateLifecycle")
    await eventually(lambda: "deviceTemplateLifecycle" in automation(world).export_runner.hears)
    templates = world.app.application.templates
    for contents in ((telemetry("speed"),), (telemetry("speed"), telemetry("heat"))):
        content = make_content("Fan", "", interface(*contents))
        await templates.put_published(ADA, FAN, content)
    await templates.put_draft(ADA, FAN, make_content("Draft", "", interface(telemetry("speed"))))
    await templates.delete(ADA, FAN)
    await eventually(lambda: len(hook.received) >= 3)
    assert [body["messageType"] for body in bodies(hook)] == ["created", "updated", "deleted"]
    assert all(body["templateId"] == FAN and "deviceId" not in body for body in bodies(hook))


async def test_a_destination_that_is_away_gets_everything_once_it_is_back(world: World, hook: Callee) -> None:
    answers = iter((503,))

    async def respond(received: Any, writer: Any) -> None:
        await answer(next(answers, 200))(received, writer)

    async with callee(respond, tls=False, names=["127.0.0.1"]) as moody:
        await lead_to(world, moody, "telemetry")
        device = await world.connect()
        device.publish(TOPIC, b'{"temperature": 1}')
        await eventually(lambda: automation(world).export_runner.health("out", "hook").delivered == 1)
    health = automation(world).export_runner.health("out", "hook")
    assert [failure.text for failure in health.failures] == ["endpoint 'The hook' answered 503"]
    assert health.status == "healthy"


async def test_what_a_hook_took_is_not_sent_again_because_of_what_it_refused(world: World) -> None:
    async def respond(received: Any, writer: Any) -> None:
        await answer(400 if b'"messageType":"m2"' in received.body else 200)(received, writer)

    async with callee(respond, tls=False, names=["127.0.0.1"]) as hook:
        await lead_to(world, hook, "deviceLifecycle")
        runner = automation(world).export_runner
        await eventually(lambda: "deviceLifecycle" in runner.hears)
        for number in range(4):
            runner.take(event(world, f"m{number}"))
        await eventually(lambda: runner.health("out", "hook").delivered == 3)
    assert [body["messageType"] for body in bodies(hook)] == ["m0", "m1", "m2", "m3"]
    assert runner.health("out", "hook").refused == 1


def event(world: World, kind: str) -> ExportEvent:
    return ExportEvent("deviceLifecycle", world.clock.now(), "pump-01", {"messageType": kind})


async def test_what_one_destination_waits_for_is_kept_while_its_export_begins_anew(world: World, hook: Callee) -> None:
    export = await lead_to(world, hook, "deviceLifecycle")
    exports, runner, tables = automation(world).exports, automation(world).export_runner, world.app.store.read
    away = Destination(
        DEFAULT_HUB, DestinationId("away"), "Away", "webhook", Secret("http://127.0.0.1:1/in"), world.clock.now()
    )
    await exports.create_destination(ADA, away)
    late = replace(export, export_id=ExportId("late"), destinations=(DestinationUse(DestinationId("away")),))
    await exports.create(ADA, late)
    await eventually(lambda: ("late", "away") in runner._workers)
    await runner._end(("late", "away"))
    for number in range(250):
        runner.take(event(world, f"m{number}"))
    await eventually(lambda: runner.health("out", "hook").delivered == 250)
    runner.take(event(world, "last"))
    await eventually(lambda: runner.health("out", "hook").delivered == 251)
    place = tables().log_readers.place(DEFAULT_HUB, "export: late away events")
    assert place is not None
    assert [number for number, _ in tables().exports.events(DEFAULT_HUB, place, 300)] == [
        place + 1 + more for more in range(251)
    ]


async def test_what_another_organization_exports_is_not_sent_elsewhere(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "telemetry")
    exports = automation(world).exports
    north = OrganizationId("north")
    own = replace(exports.get_destination(ADA, "hook"), organization=north)
    await exports.update_destination(ADA, own)
    northerner = Actor("user:nora", frozenset(ALL_PERMISSIONS), north, frozenset({north}))
    with pytest.raises(Refusal, match=r"organization\.not_seen"):
        await exports.update_destination(northerner, replace(own, address=Secret("http://127.0.0.1:1/mine")))
    with pytest.raises(Refusal, match="a data export that you do not see"):
        await exports.delete_destination(northerner, "hook")


async def test_what_came_while_it_was_off_is_never_sent(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "telemetry")
    exports = automation(world).exports
    device = await world.connect()
    await exports.switch(ADA, "out", is_enabled=False)
    device.publish(TOPIC, b'{"temperature": 1}')
    await device.acks(1)
    await exports.switch(ADA, "out", is_enabled=True)
    device.publish(TOPIC, b'{"temperature": 2}')
    await eventually(lambda: hook.received)
    assert [body["telemetry"] for body in bodies(hook)] == [{"temperature": 2}]


async def test_a_file_has_a_document_a_line(world: World, hook: Callee, tmp_path: Path) -> None:
    now = world.clock.now()
    folder = tmp_path / "out"
    file = Destination(
        DEFAULT_HUB, DestinationId("file"), "Files", "file", Secret(folder.as_uri()), now, options={"every": "0"}
    )
    await automation(world).exports.create_destination(ADA, file)
    use = (DestinationUse(DestinationId("file"), {"t": "$.telemetry.temperature"}),)
    await automation(world).exports.create(
        ADA, DataExport(DEFAULT_HUB, ExportId("out"), "Out", "telemetry", now, now, use)
    )
    device = await world.connect()
    for temperature in (1, 2):
        device.publish(TOPIC, b'{"temperature": %d}' % temperature)
    lines: list[str] = []

    def read() -> bool:
        lines[:] = [line for path in sorted(folder.rglob("*.json")) for line in path.read_text().splitlines()]
        return len(lines) == 2

    await eventually(read)
    assert sorted(lines) == ['{"t":1}', '{"t":2}']


async def test_two_exports_write_into_one_folder(world: World, tmp_path: Path) -> None:
    now = world.clock.now()
    folder = tmp_path / "out"
    file = Destination(
        DEFAULT_HUB, DestinationId("file"), "Files", "file", Secret(folder.as_uri()), now, options={"every": "0"}
    )
    await automation(world).exports.create_destination(ADA, file)
    for name in ("one", "two"):
        use = (DestinationUse(DestinationId("file"), {name: "$.telemetry.temperature"}),)
        export = DataExport(DEFAULT_HUB, ExportId(name), name, "telemetry", now, now, use)
        await automation(world).exports.create(ADA, export)
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": 1}')
    health = automation(world).export_runner.health
    await eventually(lambda: all(health(name, "file").delivered for name in ("one", "two")))
    assert sorted(path.read_text() for path in folder.rglob("*.json")) == ['{"one":1}\n', '{"two":1}\n']


async def test_a_sample_shows_the_exact_body_before_anything_is_saved(world: World, hook: Callee) -> None:
    export = await lead_to(world, hook, "telemetry", is_enabled=False)
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": 21}')
    await device.acks(1)
    unsaved = replace(export, enrichments=(Enrichment("plant", "constant", "North"),))
    sample = await automation(world).exports.sample(ADA, unsaved, unsaved.destinations[0])
    assert sample is not None
    body = json.loads(sample.document)
    assert (body["telemetry"], body["enrichments"]) == ({"temperature": 21}, {"plant": "North"})
    assert hook.received == []


async def test_the_audit_log_goes_out_to_those_who_may_see_it(world: World, hook: Callee) -> None:
    builder = Actor("user:bea", frozenset(ALL_PERMISSIONS) - {"audit.view"})
    await lead_to(world, hook, "telemetry", is_enabled=False)
    exports = automation(world).exports
    export = replace(exports.get(ADA, "out"), source="audit", is_enabled=True)
    with pytest.raises(Refusal, match=r"export\.audit"):
        await exports.update(builder, export)
    await exports.update(ADA, export)
    await eventually(lambda: "audit" in automation(world).export_runner.hears)
    await world.app.application.fleet.create(ADA, DeviceDraft(DeviceId("fan-1")))
    await eventually(lambda: any(body.get("action") == "device.registered" for body in bodies(hook)))
    (body,) = [body for body in bodies(hook) if body.get("action") == "device.registered"]
    assert (body["actor"], body["deviceId"], body["resource"]["type"]) == ("user:ada", "fan-1", "device")
    elsewhere = replace(exports.get_destination(builder, "hook"), address=Secret("https://elsewhere.example/in"))
    with pytest.raises(Refusal, match=r"export\.audit"):
        await exports.update_destination(builder, elsewhere)
    with pytest.raises(Refusal, match=r"export\.audit"):
        await exports.update(builder, replace(export, source="telemetry"))


async def test_a_destination_in_use_stays_and_a_stranger_sees_nothing(world: World, hook: Callee) -> None:
    await lead_to(world, hook, "telemetry")
    exports = automation(world).exports
    with pytest.raises(Refusal, match=r"export\.destination_used"):
        await exports.delete_destination(ADA, "hook")
    stranger = Actor("user:eve", frozenset(ALL_PERMISSIONS), organizations=frozenset())
    assert exports.all(stranger) == [] and exports.destinations(stranger) == []
    await exports.delete(ADA, "out")
    await exports.delete_destination(ADA, "hook")
    assert exports.destinations(ADA) == []

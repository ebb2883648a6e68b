"""Rules on a running hub: from a device's publish to a web hook and a mail server that really listen (PC-20)."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, Actor, Login
from moorage.automation.exports import DataExport, Destination, DestinationId, DestinationUse, ExportId
from moorage.automation.rule_model import (
    Action,
    Condition,
    EmailAction,
    Operand,
    Rule,
    RuleEvent,
    RuleId,
    Silence,
    WebhookAction,
)
from moorage.clock import HandClock
from moorage.ids import DEFAULT_HUB, Secret
from tests import certs
from tests.callees import Callee, answer, callee
from tests.mail import MailServer, mail_server
from tests.servers.application import ADA, TEMPLATE, assign, automation
from tests.servers.world import World, eventually, named, running

TOPIC = "devices/pump-01/messages/events/$.ct=application%2Fjson&$.ce=utf-8"


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with mail_server() as mail:
        yield mail


@pytest.fixture
async def world(tmp_path: Path, mail: MailServer) -> AsyncIterator[World]:
    settings: dict[str, Any] = {"smtp_host": mail.host, "smtp_port": mail.port, "smtp_security": "none"}
    async with running(tmp_path / "hub", egress_allow="127.0.0.1", **settings) as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        yield world


def rule(world: World, *actions: Action, **changes: Any) -> Rule:
    hot = Condition("temperature", "greater", Operand("constant", 30))
    now = world.clock.now()
    made = Rule(DEFAULT_HUB, RuleId("hot"), "Too hot", TEMPLATE, now, now, conditions=(hot,), actions=actions)
    return replace(made, **changes)


def webhook(hook: Callee) -> WebhookAction:
    return WebhookAction("hook-1", "Tell the desk", Secret(f"{hook.url}/in?code=secret"))


async def events(world: World, *kinds: str) -> list[RuleEvent]:
    return [each for each in await automation(world).rules.events(ADA, "hot") if each.kind in kinds]


async def happened(world: World, kind: str) -> RuleEvent:
    """The newest of a kind, as soon as there is one."""
    found: list[RuleEvent] = []
    tables = world.app.store.read

    def is_there() -> bool:
        found[:] = [each for each in tables().rules.events(DEFAULT_HUB, RuleId("hot"), 50) if each.kind == kind]
        return bool(found)

    await eventually(is_there)
    return found[0]


async def test_a_rule_fires_a_web_hook_with_the_products_fields_and_nothing_else(world: World, hook: Callee) -> None:
    reported = {"limit": {"value": 25, "ac": 200, "av": 1}, "cooler": {"__t": "c", "fan": 2}}
    await world.twins.report(DEFAULT_HUB, named("pump-01"), reported)
    await automation(world).rules.create(ADA, rule(world, webhook(hook)))
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": 20}')
    device.publish(TOPIC, b'{"temperature": 31.5, "humidity": 40}')
    assert (await happened(world, "fired")).text == "temperature is 31.5, greater than 30"
    assert (await happened(world, "delivered")).text == "Tell the desk"
    (received,) = hook.received
    body = json.loads(received.body)
    assert set(body) == {"timestamp", "action", "application", "device", "rule"}
    assert set(body["action"]) == {"id", "type", "rules", "displayName", "url"}
    assert set(body["application"]) == {"id", "displayName", "subdomain", "host"}
    assert body["action"]["type"] == "WebhookAction" and body["action"]["rules"] == ["hot"]
    assert body["rule"] == {"id": "hot", "displayName": "Too hot"}
    assert body["device"] == {
        "id": "pump-01",
        "etag": body["device"]["etag"],
        "displayName": "Pump one",
        "instanceOf": TEMPLATE,
        "simulated": False,
        "provisioned": True,
        "approved": True,
        "cloudProperties": {"site": {"value": "Harbour"}},
        "properties": {"limit": {"value": 25}, "cooler": {"fan": {"value": 2}}},
        "telemetry": {"temperature": {"value": 31.5}, "humidity": {"value": 40}},
    }


async def test_a_second_firing_waits_and_an_e_mail_goes_to_who_has_signed_in(
    world: World, hook: Callee, mail: MailServer
) -> None:
    accounts = world.app.accounts
    _, token = await accounts.invite(ADA, "ada@example.com", "operator")
    await accounts.redeem(token.reveal(), "", "a long password", address="127.0.0.1", agent="")
    await accounts.invite(ADA, "new@example.com", "operator")
    letter = EmailAction(
        "mail-1", "Write to the desk", (Login("ada@example.com"), Login("new@example.com")), "Look at the cooler."
    )
    await automation(world).rules.create(ADA, rule(world, webhook(hook), letter))
    device = await world.connect()
    for temperature in (31, 32, 33):
        device.publish(TOPIC, b'{"temperature": %d}' % temperature)
    await eventually(lambda: mail.letters and hook.received)
    assert mail.letters[0].to == ["ada@example.com"]
    assert mail.letters[0].subject == "Too hot: Pump one"
    assert "greater than 30" in mail.letters[0].text and "Look at the cooler." in mail.letters[0].text
    await eventually(lambda: len(world.app.store.read().rules.events(DEFAULT_HUB, RuleId("hot"), 50)) >= 3)
    assert sum(each.count for each in await events(world, "fired")) == 3
    assert len(hook.received) == 1 and len(mail.letters) == 1


async def test_what_is_not_taken_is_told_and_not_tried_for_ever(world: World) -> None:
    async with callee(answer(410), tls=False, names=["127.0.0.1"]) as gone:
        await automation(world).rules.create(ADA, rule(world, webhook(gone)))
        device = await world.connect()
        device.publish(TOPIC, b'{"temperature": 99}')
        assert (await happened(world, "failed")).text == "Tell the desk: the web hook answered 410"
        assert len(gone.received) == 1


async def test_a_device_of_another_template_and_a_rule_that_is_off_fire_nothing(world: World, hook: Callee) -> None:
    rules = automation(world).rules
    await rules.create(ADA, rule(world, webhook(hook), template="dtmi:example:Fan;1"))
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": 99}')
    await device.acks(1)
    # A rule judges what comes after it was made or changed, to the millisecond.
    world.clock.advance(1)
    await rules.create(ADA, rule(world, webhook(hook), rule_id=RuleId("mine"), is_enabled=False))
    device.publish(TOPIC, b'{"temperature": 98}')
    await device.acks(1)
    world.clock.advance(1)
    await rules.switch(ADA, "mine", is_enabled=True)
    device.publish(TOPIC, b'{"temperature": 97}')
    await eventually(lambda: hook.received)
    telemetry = [json.loads(each.body)["device"]["telemetry"]["temperature"]["value"] for each in hook.received]
    assert telemetry == [97]


async def test_a_window_fires_once_its_time_has_passed(world: World, hook: Callee) -> None:
    mean = Condition("temperature", "greater", Operand("constant", 30), "average")
    await automation(world).rules.create(ADA, rule(world, webhook(hook), conditions=(mean,), window_minutes=1))
    device = await world.connect()
    for temperature in (20, 50):
        device.publish(TOPIC, b'{"temperature": %d}' % temperature)
    await eventually(lambda: len(automation(world).rule_runner._windows) == 1)
    world.clock.advance(65)
    fired = await happened(world, "fired")
    assert fired.text == "the average of temperature over 1 min is 35, greater than 30"


async def test_a_window_that_was_open_when_the_hub_stopped_is_made_again(tmp_path: Path, hook: Callee) -> None:
    clock = HandClock(certs.NOW)
    async with running(tmp_path / "other", clock=clock, egress_allow="127.0.0.1") as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        mean = Condition("temperature", "greater", Operand("constant", 30), "average")
        each = Condition("temperature", "greater", Operand("constant", 45))
        rules = automation(world).rules
        await rules.create(ADA, rule(world, conditions=(mean,), window_minutes=5))
        await rules.create(ADA, rule(world, conditions=(each,), rule_id=RuleId("each")))
        device = await world.connect()
        for temperature in (20, 50):
            device.publish(TOPIC, b'{"temperature": %d}' % temperature)
        await device.acks(2)
        await eventually(lambda: len(automation(world).rule_runner._windows) == 1)
        await eventually(lambda: world.app.store.read().rules.events(DEFAULT_HUB, RuleId("each"), 9))
        kept = world.app.store.read().log_readers
        await eventually(lambda: (kept.place(DEFAULT_HUB, "rules: fired") or 0) >= world.app.log.durable_end)
        assert (kept.place(DEFAULT_HUB, "rules: windows") or 0) < world.app.log.durable_end
    clock.advance(301)
    async with running(tmp_path / "other", clock=clock, egress_allow="127.0.0.1") as world:
        fired = await happened(world, "fired")
        assert fired.text == "the average of temperature over 5 min is 35, greater than 30"
        # What was judged by itself is not judged again.
        assert len(world.app.store.read().rules.events(DEFAULT_HUB, RuleId("each"), 9)) == 1


async def test_a_window_is_whole_also_when_it_is_read_page_by_page_long_after(tmp_path: Path) -> None:
    clock = HandClock(certs.NOW)
    async with running(tmp_path / "other", clock=clock) as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        many = Condition("temperature", "greater_or_equal", Operand("constant", 600), "count")
        await automation(world).rules.create(ADA, rule(world, conditions=(many,), window_minutes=5))
        device = await world.connect()
        for _ in range(600):
            device.publish(TOPIC, b'{"temperature": 20}')
        await device.acks(600)
        await eventually(lambda: len(automation(world).rule_runner._windows) == 1)
    clock.advance(1200)
    async with running(tmp_path / "other", clock=clock) as world:
        assert (await happened(world, "fired")).text.startswith("the count of temperature over 5 min is 600,")


async def test_who_is_silent_stays_so_over_a_restart_and_a_changed_rule(tmp_path: Path) -> None:
    clock = HandClock(certs.NOW)
    silent = [Silence("offline", 10), Silence("no_data", 10)]
    async with running(tmp_path / "other", clock=clock) as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        rules = automation(world).rules
        automation(world).rule_runner._look_every_s = 0.02
        for each in silent:
            await rules.create(ADA, rule(world, conditions=(), silence=each, rule_id=RuleId(each.kind)))
        device = await world.connect()
        device.publish(TOPIC, b'{"temperature": 20}')
        await device.acks(1)
        device.close()
        await eventually(lambda: not world.app.directory.is_connected(DEFAULT_HUB, named("pump-01")))
        clock.advance(660)
        await eventually(lambda: all(told(world, each.kind) == ["fired"] for each in silent))
        for each in silent:
            await rules.update(ADA, replace(rules.get(ADA, each.kind), display_name="Another name"))
        await looked_again(world)
        assert [told(world, each.kind) for each in silent] == [["fired"]] * 2
    async with running(tmp_path / "other", clock=clock) as world:
        automation(world).rule_runner._look_every_s = 0.02
        await looked_again(world)
        clock.advance(660)
        await looked_again(world)
        assert [told(world, each.kind) for each in silent] == [["fired"]] * 2
        device = await world.connect()
        device.publish(TOPIC, b'{"temperature": 20}')
        await eventually(lambda: all(told(world, each.kind) == ["recovered", "fired"] for each in silent))


async def test_nobody_is_silent_because_the_hub_was_away(tmp_path: Path) -> None:
    clock = HandClock(certs.NOW)
    silence = Silence("no_data", 10)
    async with running(tmp_path / "other", clock=clock) as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        await automation(world).rules.create(ADA, rule(world, conditions=(), silence=silence))
        device = await world.connect()
        device.publish(TOPIC, b'{"temperature": 20}')
        await device.acks(1)
        await eventually(lambda: automation(world).rule_runner._rules)
    clock.advance(3600)
    async with running(tmp_path / "other", clock=clock) as world:
        automation(world).rule_runner._look_every_s = 0.02
        await looked_again(world)
        assert told(world, "hot") == []
        clock.advance(601)
        await happened(world, "fired")


async def test_rules_and_exports_go_on_with_a_log_that_was_begun_anew(tmp_path: Path, hook: Callee) -> None:
    clock = HandClock(certs.NOW)
    async with running(tmp_path / "other", clock=clock, egress_allow="127.0.0.1") as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        await automation(world).rules.create(ADA, rule(world))
        now = world.clock.now()
        destination = Destination(DEFAULT_HUB, DestinationId("hook"), "The hook", "webhook", Secret(hook.url), now)
        await automation(world).exports.create_destination(ADA, destination)
        use = DestinationUse(DestinationId("hook"))
        await automation(world).exports.create(
            ADA, DataExport(DEFAULT_HUB, ExportId("out"), "Out", "telemetry", now, now, (use,))
        )
        (await world.connect()).publish(TOPIC, b'{"temperature": 31}')
        await happened(world, "fired")
        await eventually(lambda: len(hook.received) == 1)
        readers = world.app.store.read
        await eventually(lambda: readers().log_readers.place(DEFAULT_HUB, "rules: fired") == world.app.log.durable_end)
    shutil.rmtree(tmp_path / "other" / "telemetry")
    async with running(tmp_path / "other", clock=clock, egress_allow="127.0.0.1") as world:
        clock.advance(60)
        (await world.connect()).publish(TOPIC, b'{"temperature": 32}')
        await eventually(lambda: len(hook.received) == 2)

        def counted() -> int:
            return sum(each.count for each in tables().rules.events(DEFAULT_HUB, RuleId("hot"), 50))

        tables = world.app.store.read
        await eventually(lambda: counted() == 2)


def told(world: World, rule_id: str) -> list[str]:
    return [each.kind for each in world.app.store.read().rules.events(DEFAULT_HUB, RuleId(rule_id), 50)]


async def looked_again(world: World) -> None:
    """Twice: what it is at now may have begun before."""
    runner = automation(world).rule_runner
    for _ in range(2):
        runner._look_again.set()
        await eventually(lambda: not runner._look_again.is_set())
    await asyncio.sleep(0.1)


async def test_a_device_that_goes_away_fires_once_and_recovers(tmp_path: Path, hook: Callee) -> None:
    async with running(tmp_path / "other", egress_allow="127.0.0.1") as world:
        await world.create("pump-01")
        await assign(world, "pump-01")
        automation(world).rule_runner._look_every_s = 0.05
        away = rule(world, webhook(hook), conditions=(), silence=Silence("offline", 10))
        await automation(world).rules.create(ADA, away)
        device = await world.connect()
        device.close()
        await eventually(lambda: not world.app.directory.is_connected(DEFAULT_HUB, named("pump-01")))
        world.clock.advance(timedelta(minutes=11).total_seconds())
        fired = await happened(world, "fired")
        assert fired.text == "the device is offline for 11 min, the rule takes 10 min"
        await eventually(lambda: hook.received)
        await world.connect()
        assert (await happened(world, "recovered")).text == "the device is connected again"
        assert len(await events(world, "fired")) == 1


async def test_a_dry_run_says_yes_or_no_and_why_of_each_message(world: World, hook: Callee) -> None:
    device = await world.connect()
    for temperature in (20, 31):
        device.publish(TOPIC, b'{"temperature": %d}' % temperature)
    await device.acks(2)
    tried = await automation(world).rules.dry_run(ADA, rule(world, webhook(hook)))
    assert [(each.verdict.fires, each.verdict.why) for each in tried.tried] == [
        (True, ("temperature is 31, greater than 30",)),
        (False, ("temperature is 20, not greater than 30",)),
    ]
    assert (tried.fired, tried.looked_at, tried.is_whole) == (1, 2, True)
    assert hook.received == []


async def test_a_rule_of_another_organisation_is_not_there(world: World, hook: Callee) -> None:
    rules = automation(world).rules
    await rules.create(ADA, rule(world, webhook(hook)))
    stranger = Actor("user:eve", frozenset(ALL_PERMISSIONS), organizations=frozenset())
    assert await rules.all(stranger) == []
    for act in (rules.delete(stranger, "hot"), rules.switch(stranger, "hot", is_enabled=False)):
        with pytest.raises(Exception, match=r"rule\.unknown"):
            await act
    assert [each.rule_id for each in await rules.all(ADA)] == ["hot"]


async def test_a_stale_rule_is_not_written_over(world: World, hook: Callee) -> None:
    rules = automation(world).rules
    first = await rules.create(ADA, rule(world, webhook(hook)))
    await rules.update(ADA, replace(first, display_name="Hotter"), if_match=first.etag)
    with pytest.raises(Exception, match=r"etag\.stale"):
        await rules.update(ADA, replace(first, display_name="Cold"), if_match=first.etag)
    assert rules.get(ADA, "hot").display_name == "Hotter"
    assert rules.get(ADA, "hot").actions == first.actions

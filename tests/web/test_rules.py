"""Rules in a browser: made, tried on the last day, switched, and what happened (contract/central.md 15)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from moorage.accounts.model import ALL_PERMISSIONS, Actor, Role
from moorage.automation.rule_model import RuleEvent, RuleId
from moorage.fleet.model import DeviceChange, TemplateId
from moorage.fleet.template_model import make_content
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.callees import answer, callee
from tests.servers.world import World
from tests.web.browser import Browser, text_of

ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))
PUMP = TemplateId("dtmi:example:Pump;1")
MODEL = {
    "@context": "dtmi:dtdl:context;2",
    "@id": PUMP,
    "@type": "Interface",
    "displayName": "Pump",
    "contents": [
        {"@type": "Telemetry", "name": "temperature", "schema": "double"},
        {"@type": "Property", "name": "limit", "schema": "integer", "writable": True},
    ],
}
TOPIC = "devices/pump-01/messages/events/$.ct=application%2Fjson&$.ce=utf-8"
RULE = {
    "id": "rule-1",
    "name": "Too hot",
    "template": PUMP,
    "enabled": "on",
    "watches": "messages",
    "joined": "all",
    "path0": "temperature",
    "operator0": "greater",
    "against0": "constant",
    "value0": "30",
    "act": "save",
}


async def publish(world: World) -> None:
    await world.app.application.templates.put_published(ADA, PUMP, make_content("Pump", "", MODEL))


async def pump(world: World) -> None:
    await publish(world)
    await world.create("pump-01")
    await world.app.application.fleet.update(ADA, DeviceId("pump-01"), DeviceChange(template=PUMP))


async def test_a_rule_is_made_shown_changed_switched_and_deleted(world: World, browser: Browser) -> None:
    await publish(world)
    assert "No rules yet" in text_of(await browser.open("/rules"))
    page = await browser.submit(
        "/rules", {**RULE, "atype0": "webhook", "aname0": "Desk", "aurl0": "https://d.example/"}
    )
    assert page.url.path == "/rules/rule-1"
    listed = text_of(await browser.open("/rules"))
    assert "Too hot" in listed and "temperature is greater than 30" in listed and "Enabled" in listed
    etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    page = await browser.submit("/rules/rule-1", {**RULE, "name": "Hotter", "etag": etag})
    assert "Hotter" in text_of(page)
    stale = await browser.submit("/rules/rule-1", {**RULE, "name": "Cold", "etag": etag})
    assert (stale.status_code, "etag.stale" in stale.text, 'value="Cold"' in stale.text) == (400, True, True)
    await browser.submit("/rules/rule-1/switch", {})
    assert "Disabled" in text_of(await browser.open("/rules"))
    await browser.submit("/rules/rule-1/switch", {"enabled": "on"})
    await browser.submit("/rules/rule-1/delete")
    assert "No rules yet" in text_of(await browser.open("/rules"))


async def test_bad_input_is_answered_and_everything_typed_stays(world: World, browser: Browser) -> None:
    await publish(world)
    wrong = {
        "rule.name": {"name": " "},
        "rule.template": {"template": ""},
        "rule.conditions": {"value0": "hot"},
        "rule.silence": {"watches": "silence", "minutes": "soon"},
        "rule.action": {"atype0": "webhook", "aurl0": "ftp://x"},
        "egress.not_allowed": {"atype0": "webhook", "aurl0": "https://169.254.169.254/latest"},
        "egress.url": {"atype0": "webhook", "aurl0": "https://user:key@d.example/"},
        "account.login": {"atype0": "email", "ato0": "a b"},
        "rule.id": {"id": "no good"},
    }
    for reason, fields in wrong.items():
        page = await browser.submit("/rules", {**RULE, "path1": "kept", "value1": "1", **fields})
        assert (page.status_code, reason in page.text) == (400, True), reason
        assert 'value="kept"' in page.text
    assert "No rules yet" in text_of(await browser.open("/rules"))


async def test_the_same_form_twice_makes_one_rule_and_another_rule_of_its_id_none(
    world: World, browser: Browser
) -> None:
    await publish(world)
    for _ in range(2):
        assert (await browser.submit("/rules", RULE)).url.path == "/rules/rule-1"
    other = await browser.submit("/rules", {**RULE, "name": "Other"})
    assert (other.status_code, "rule.exists" in other.text) == (400, True)


async def test_a_rule_is_tried_on_the_last_day_before_it_is_saved(world: World, browser: Browser) -> None:
    await pump(world)
    device = await world.connect()
    for temperature in (20, 31):
        device.publish(TOPIC, b'{"temperature": %d}' % temperature)
    await device.acks(2)
    page = await browser.submit("/rules", {**RULE, "act": "try"})
    words = text_of(page)
    assert "1 of 2 messages would have fired" in words
    assert "temperature is 31, greater than 30" in words and "temperature is 20, not greater than 30" in words
    assert "No rules yet" in text_of(await browser.open("/rules"))


async def test_a_test_is_sent_or_says_why_not(world: World, browser: Browser) -> None:
    await pump(world)
    async with callee(answer(200), tls=False, names=["127.0.0.1"]) as hook:
        fields = {**RULE, "atype0": "webhook", "aid0": "a1", "aurl0": f"{hook.url}/in", "act": "test-a1"}
        page = await browser.submit("/rules", fields)
        assert (page.status_code, "egress.not_allowed" in page.text) == (400, True)
        assert hook.received == []
    page = await browser.submit(
        "/rules", {**RULE, "atype0": "email", "aid0": "a1", "ato0": "ada@example.com", "act": "test-a1"}
    )
    assert (page.status_code, "rule.recipients" in page.text) == (400, True)


async def test_a_url_is_shown_to_those_alone_who_may_change_it(
    world: World, browser: Browser, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    await publish(world)
    await browser.submit(
        "/rules", {**RULE, "atype0": "webhook", "aname0": "Desk", "aurl0": "https://d.example/?code=1"}
    )
    assert "code=1" in (await browser.open("/rules/rule-1")).text
    operator = await as_role("operator")
    page = await operator.open("/rules/rule-1")
    assert "Desk" in page.text and "code=1" not in page.text
    assert (await operator.submit("/rules/rule-1", RULE)).status_code == 403


async def test_what_happened_is_shown(world: World, browser: Browser) -> None:
    await publish(world)
    await browser.submit("/rules", RULE)
    event = RuleEvent(RuleId("rule-1"), world.clock.now(), "failed", "pump-01", "Desk: the web hook answered 410")
    await world.app.store.write(lambda tables: tables.rules.add_event(DEFAULT_HUB, event, 10))
    assert "the web hook answered 410" in text_of(await browser.open("/rules/rule-1"))
    assert "the web hook answered 410" in (await browser.get("/rules/rule-1/history")).text
    assert "Delivery fails" in text_of(await browser.open("/rules"))

"""Rules over our own REST (central.md 15, 25)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from moorage.automation.rule_model import RuleEvent, RuleId, RuleTables
from moorage.ids import DEFAULT_HUB
from tests.api.application.world import Own, own_hub
from tests.api.central.test_templates import PUMP, TEMPLATE
from tests.callees import answer, callee

HOT: dict[str, Any] = {"path": "pressure", "operator": "greater", "value": 5}
HOOK = {"id": "desk", "type": "webhook", "displayName": "Desk", "url": "https://desk.example/secret"}
RULE: dict[str, Any] = {"displayName": "Too hot", "template": PUMP, "conditions": [HOT], "actions": [HOOK]}


async def test_a_rule_is_made_read_switched_changed_and_deleted(own: Own) -> None:
    made = await own.put("/rules/hot", {**RULE, "filters": [{"path": "site", "operator": "startsWith", "value": "n"}]})
    assert made.status == 200, made.body
    document = made.json()
    assert document["conditions"] == [HOT]
    assert document["actions"] == [HOOK]
    assert (document["id"], document["enabled"], document["matches"]) == ("hot", True, "all")
    assert (await own.get("/rules/hot")).json() == document
    # What is answered can be sent back as it is.
    assert (await own.put("/rules/hot", document)).status == 200
    off = await own.patch("/rules/hot", {"enabled": False})
    assert (off.status, off.json()["enabled"]) == (200, False)
    silent = {"conditions": None, "silence": {"kind": "noData", "minutes": 30}, "filters": None}
    changed = (await own.patch("/rules/hot", silent)).json()
    assert (changed["silence"], changed["conditions"], changed["filters"]) == (silent["silence"], [], [])
    assert (changed["enabled"], changed["actions"]) == (False, [HOOK])
    await own.put("/rules/cold", RULE)
    first = await own.get("/rules?$top=1")
    assert [each["id"] for each in first.json()["value"]] == ["cold"]
    second = await own.hub.ask(
        "GET", first.json()["nextLink"].removeprefix(f"https://{own.hub.host}"), credential=own.hub.owner()
    )
    assert [each["id"] for each in second.json()["value"]] == ["hot"] and "nextLink" not in second.json()
    assert (await own.delete("/rules/hot")).status == 204
    assert (await own.get("/rules/hot")).header("moorage-reason") == "rule.unknown"


async def test_a_stale_etag_changes_nothing_wherever_it_stands(own: Own) -> None:
    old = (await own.put("/rules/hot", RULE)).json()["etag"]
    now = (await own.patch("/rules/hot", {"displayName": "Hotter"})).json()["etag"]
    for answered in (
        await own.put("/rules/hot", RULE, headers=[(b"if-match", old.encode())]),
        await own.put("/rules/hot", {**RULE, "etag": old}),
        await own.patch("/rules/hot", {"enabled": False, "etag": old}),
        await own.patch("/rules/hot", {"displayName": "Cold", "etag": old}),
        await own.delete("/rules/hot", headers=[(b"if-match", old.encode())]),
    ):
        assert (answered.status, answered.json()["error"]["reason"]) == (412, "etag.stale"), answered.body
    assert (await own.get("/rules/hot")).json()["etag"] == now
    assert (await own.put("/rules/hot", {**RULE, "etag": now})).status == 200
    gone = await own.put("/rules/none", {**RULE, "etag": now})
    assert (gone.status, gone.json()["error"]["reason"]) == (404, "rule.unknown")


async def test_the_address_of_a_web_hook_is_told_to_whoever_may_change_rules(own: Own) -> None:
    await own.put("/rules/hot", RULE)
    shown = (await own.get("/rules/hot", who=await own.token("operator"))).body.decode()
    assert "Desk" in shown and "secret" not in shown
    assert "secret" in (await own.get("/rules/hot", who=await own.token("builder"))).body.decode()


async def test_bad_bodies_are_refused_with_the_member_that_is_wrong(own: Own) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"displayNam": "x"}, "body.member", "displayNam"),
        ({"id": "other"}, "body.id", "other"),
        ({"displayName": ""}, "body.member", "displayName"),
        ({"template": 5}, "body.member", "template"),
        ({"enabled": "perhaps"}, "body.member", "enabled"),
        ({"matches": "most"}, "body.member", "matches"),
        ({"windowMinutes": "long"}, "body.member", "windowMinutes"),
        ({"windowMinutes": 5}, "rule.conditions", "aggregate"),
        ({"conditions": [5]}, "body.member", "conditions"),
        ({"conditions": [HOT] * 2000}, "body.member", "at most 200"),
        ({"conditions": [HOT, {"path": "a", "operator": "near", "value": 1}]}, "body.member", "conditions[1].operator"),
        ({"conditions": [{"path": "a", "operator": "equals"}]}, "body.member", "conditions[0]"),
        ({"conditions": [{**HOT, "property": "limit"}]}, "body.member", "conditions[0]"),
        ({"conditions": [{**HOT, "value": [1]}]}, "body.member", "conditions[0].value"),
        ({"filters": [{"path": "a", "operator": "equals"}]}, "body.member", "filters[0].value"),
        ({"silence": {"kind": "quiet", "minutes": 5}}, "body.member", "silence.kind"),
        ({"silence": {"kind": "offline"}}, "body.member", "silence"),
        ({"actions": [{**HOOK, "type": "pigeon"}]}, "body.member", "actions[0].type"),
        ({"actions": [{**HOOK, "id": "x" * 65}]}, "body.member", "actions[0].id"),
        ({"actions": [{**HOOK, "to": []}]}, "body.member", "actions[0]"),
        ({"actions": [{**HOOK, "url": "ftp://x"}]}, "rule.action", "https"),
        ({"organizations": ["nobody"]}, "organization.unknown", "nobody"),
    ]
    for change, reason, named in wrong:
        refused = await own.put("/rules/hot", {**RULE, **change})
        error = refused.json()["error"]
        assert (error["reason"], named in error["message"]) == (reason, True), (change, refused.body)
        assert refused.status == (404 if reason == "organization.unknown" else 400), refused.body
        assert refused.header("moorage-reason") == reason
    assert (await own.get("/rules")).json() == {"value": []}
    assert (await own.put("/rules/a b", RULE)).json()["error"]["reason"] in ("rule.id", "path.encoding")
    many = await own.put("/rules/hot", {**RULE, "conditions": [HOT] * 11})
    assert (many.status, many.json()["error"]["code"]) == (413, "ContentTooLarge")


async def test_what_happened_to_a_rule_comes_newest_first(own: Own) -> None:
    await own.put("/rules/hot", RULE)
    store, now = own.hub.app.store, own.hub.app.clock.now()
    happened = [RuleEvent(RuleId("hot"), now, "fired", f"pump-{number}", "pressure is 6") for number in range(3)]

    def add(tables: RuleTables) -> None:
        for event in happened:
            tables.rules.add_event(DEFAULT_HUB, event, 200)

    await store.write(add)
    events = (await own.get("/rules/hot/events?$top=2")).json()["value"]
    assert [(each["kind"], each["device"], each["count"]) for each in events] == [
        ("fired", "pump-2", 1),
        ("fired", "pump-1", 1),
    ]
    assert (await own.get("/rules/hot/events?$top=0")).status == 400
    assert (await own.get("/rules/none/events")).status == 404


async def pump_that_sent(own: Own, *pressures: int) -> None:
    """`pump-01` of the template, whose messages have come."""
    await own.central.put(f"/deviceTemplates/{PUMP}", TEMPLATE)
    key = base64.b64encode(b"k" * 32).decode()
    keys = {"symmetricKey": {"primaryKey": key, "secondaryKey": key}}
    made = await own.hub.ask(
        "PUT", "/devices/pump-01", {"deviceId": "pump-01", "authentication": keys}, credential=own.hub.owner()
    )
    assert made.status == 200, made.body
    assert (await own.central.patch("/devices/pump-01", {"template": PUMP})).status == 200
    for pressure in pressures:
        sent = await own.hub.ask(
            "POST",
            "/devices/pump-01/messages/events?api-version=2021-04-12",
            {"pressure": pressure},
            credential=own.hub.signed(f"{own.hub.host}/devices/pump-01", key),
            headers=[(b"content-type", b"application/json; charset=utf-8")],
        )
        assert sent.status == 204, sent.body


async def test_a_rule_is_tried_on_the_messages_of_the_last_day(own: Own) -> None:
    await pump_that_sent(own, 4, 6)
    tried = await own.post("/rules/try", RULE)
    assert tried.status == 200, tried.body
    run = tried.json()
    assert (run["fired"], run["lookedAt"], run["complete"]) == (1, 2, True)
    assert [(each["device"], each["fires"]) for each in run["value"]] == [("pump-01", True), ("pump-01", False)]
    assert run["value"][0]["why"] == ["pressure is 6, greater than 5"]
    assert (await own.get("/rules")).json() == {"value": []}
    await own.put("/rules/hot", {**RULE, "conditions": [{**HOT, "value": 7}]})
    assert (await own.post("/rules/hot/try")).json()["fired"] == 0
    assert (await own.post("/rules/none/try")).status == 404
    assert (await own.post("/rules/try", {**RULE, "conditions": []})).json()["error"]["reason"] == "rule.conditions"


async def test_an_action_is_done_by_hand_or_says_why_it_was_not(tmp_path: Path) -> None:
    async with (
        callee(answer(200), tls=False, names=["127.0.0.1"]) as hook,
        own_hub(tmp_path, egress_allow="127.0.0.1") as own,
    ):
        rule = {**RULE, "actions": [{**HOOK, "url": f"{hook.url}/in"}]}
        assert (await own.put("/rules/hot", rule)).status == 200
        sent = await own.post("/rules/hot/actions/desk/test")
        assert sent.status == 204, sent.body
        assert json.loads(hook.received[-1].body)["rule"] == {"id": "hot", "displayName": "Too hot"}
        assert (await own.post("/rules/actions/desk/test", rule)).status == 204
        assert len(hook.received) == 2
        unknown = await own.post("/rules/hot/actions/none/test")
        assert (unknown.status, unknown.json()["error"]["reason"]) == (404, "rule.action_unknown")
        forbidden = await own.post(
            "/rules/actions/desk/test", {**RULE, "actions": [{**HOOK, "url": "http://10.0.0.1"}]}
        )
        assert forbidden.json()["error"]["reason"] == "egress.not_allowed"

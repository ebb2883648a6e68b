"""Data exports and their destinations over REST (central.md 16, 23)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from moorage.accounts.model import OWNER
from tests.api.central.test_templates import PUMP, TEMPLATE
from tests.api.central.world import Central
from tests.api.served import Answer

HOOK: dict[str, Any] = {"displayName": "Hook", "type": "webhook@v1", "url": "https://example.org/a?sig=secret"}
EXPORT: dict[str, Any] = {
    "displayName": "Export",
    "source": "telemetry",
    "enabled": False,
    "destinations": [{"id": "hook"}],
}


async def ask(central: Central, method: str, path: str, body: Any = b"", **more: Any) -> Answer:
    return await central.call(method, f"/dataExport/{path}", body, version="2022-10-31-preview", **more)


async def test_a_destination_is_made_changed_and_deleted(central: Central) -> None:
    header = {"authorization": {"type": "header", "value": "Bearer very-secret"}}
    made = await ask(central, "PUT", "destinations/hook", {**HOOK, **header})
    assert made.status == 200, made.body
    shown = made.json()
    assert shown == {
        "id": "hook",
        **HOOK,
        "etag": shown["etag"],
        "status": "waiting",
        "authorization": {"type": "header", "value": "*****"},
    }
    changed = await ask(
        central, "PATCH", "destinations/hook", {"displayName": "Hook 2", "authorization": shown["authorization"]}
    )
    assert changed.json()["displayName"] == "Hook 2"
    kept = central.application.automation.services().exports.get_destination(OWNER, "hook")
    assert kept.credential.reveal() == "Bearer very-secret"
    own = {"headerCustomizations": {"x-key": {"value": "other", "secret": True}}}
    assert (await ask(central, "PATCH", "destinations/hook", own)).json()["headerCustomizations"] == {
        "x-key": {"value": "*****", "secret": True}
    }
    stale = await ask(central, "PATCH", "destinations/hook", {"displayName": "x", "etag": shown["etag"]})
    assert (stale.status, stale.json()["error"]["code"]) == (412, "PreconditionFailed")
    plain = await ask(central, "PUT", "destinations/hook", HOOK)
    assert "authorization" not in plain.json()
    assert (await ask(central, "DELETE", "destinations/hook")).status == 204
    assert (await ask(central, "GET", "destinations/hook")).status == 404


async def test_a_credential_that_is_kept_goes_to_no_other_server(central: Central) -> None:
    header: dict[str, Any] = {"authorization": {"type": "header", "value": "Bearer very-secret"}}
    shown: dict[str, Any] = {"authorization": {"type": "header", "value": "*****"}}
    elsewhere = {"url": "https://example.com/in"}
    await ask(central, "PUT", "destinations/hook", {**HOOK, **header})
    for method, body in (
        ("PATCH", elsewhere),
        ("PATCH", {**elsewhere, **shown}),
        ("PATCH", {**elsewhere, "headerCustomizations": {"x-key": {"value": "*****"}}}),
        ("PUT", {**HOOK, **elsewhere, **shown}),
        ("PUT", {**HOOK, **elsewhere, "displayName": "*****"}),
    ):
        answer = await ask(central, method, "destinations/hook", body)
        assert (answer.status, b"say again what is shown" in answer.body) == (400, True), (body, answer.body)
    get = central.application.automation.services().exports.get_destination
    assert get(OWNER, "hook").address.reveal() == HOOK["url"]
    assert (await ask(central, "PUT", "destinations/hook", {**HOOK, **shown})).status == 200
    assert get(OWNER, "hook").credential.reveal() == "Bearer very-secret"
    nowhere = await ask(central, "PUT", "destinations/hook", {**HOOK, **shown, "url": None})
    assert (nowhere.status, b"has an address such as" in nowhere.body) == (400, True), nowhere.body
    assert (await ask(central, "PATCH", "destinations/hook", {**elsewhere, **header})).status == 200
    assert get(OWNER, "hook").address.reveal() == elsewhere["url"]


async def test_who_may_only_look_is_not_told_what_an_address_holds(central: Central) -> None:
    await ask(central, "PUT", "destinations/hook", HOOK)
    answer = await ask(central, "GET", "destinations", who=await central.token("operator"))
    assert [each["url"] for each in answer.json()["value"]] == ["https://example.org"]
    assert b"secret" not in answer.body


async def test_a_destination_that_this_hub_may_not_call_is_refused_when_it_is_saved(central: Central) -> None:
    for url, word in (
        ("https://user:key@example.org/", "user name or password"),
        ("https://169.254.169.254/latest", "169.254.169.254"),
        ("http://192.168.7.7/", "192.168.7.7"),
    ):
        made = await ask(central, "PUT", "destinations/hook", {**HOOK, "url": url})
        assert (made.status, word in made.json()["error"]["message"]) == (400, True), made.body
    assert (await ask(central, "GET", "destinations/hook")).status == 404


async def test_an_export_is_made_changed_switched_and_deleted(central: Central) -> None:
    await central.put(f"/deviceTemplates/{PUMP}", TEMPLATE)
    await ask(central, "PUT", "destinations/hook", HOOK)
    body = {
        **EXPORT,
        "filter": f'SELECT * FROM devices WHERE $template = "{PUMP}" AND target > 2 AND customer = "Contoso"',
        "enrichments": {"site": {"value": "Hall 7"}, "name": {"path": "$displayName"}, "who": {"path": "customer"}},
        "destinations": [{"id": "hook", "transform": '{"at": "$.enqueuedTime"}'}],
    }
    made = await ask(central, "PUT", "exports/out", body)
    assert made.status == 200, made.body
    shown = made.json()
    assert shown == {"id": "out", **body, "status": "notStarted", "etag": shown["etag"]}
    stored = central.application.automation.services().exports.get(OWNER, "out")
    assert [(each.path, each.is_cloud) for each in stored.property_filters] == [("target", False), ("customer", True)]
    assert [each.kind for each in stored.enrichments] == ["constant", "system", "cloud_property"]

    on = await ask(central, "PATCH", "exports/out", {"enabled": True})
    assert (on.json()["enabled"], on.json()["filter"]) == (True, body["filter"])
    used = await ask(central, "DELETE", "destinations/hook")
    assert (used.status, used.json()["error"]["code"]) == (409, "Conflict")
    again = await ask(central, "PUT", "exports/out", EXPORT)
    assert (again.json()["enabled"], "filter" in again.json()) == (False, False)
    assert [each["id"] for each in (await ask(central, "GET", "exports")).json()["value"]] == ["out"]
    assert (await ask(central, "DELETE", "exports/out")).status == 204
    assert (await ask(central, "GET", "exports/out")).status == 404


async def test_what_is_not_served_is_said(central: Central) -> None:
    for body, named in (
        ({**HOOK, "type": "eventhubs@v1"}, "webhook@v1"),
        ({**HOOK, "authorization": {"type": "oauth"}}, "header"),
        ({**HOOK, "headerCustomizations": {"a": {"value": "1"}, "b": {"value": "2"}}}, "one header"),
        (
            {**HOOK, "authorization": {"type": "header", "value": "1"}, "headerCustomizations": {"a": {"value": "2"}}},
            "one header",
        ),
        ({**HOOK, "headerCustomizations": {"a": "1"}}, "headerCustomizations.a"),
        ({**HOOK, "queryCustomizations": {}}, "queryCustomizations"),
        ({"type": "webhook@v1"}, "displayName"),
    ):
        answer = await ask(central, "PUT", "destinations/hook", body)
        assert (answer.status, answer.json()["error"]["code"]) == (422, "InvalidBody"), answer.body
        assert named in answer.json()["error"]["message"]
    await ask(central, "PUT", "destinations/hook", HOOK)
    for body, status in (
        ({**EXPORT, "source": "device"}, 422),
        ({**EXPORT, "destinations": [{"id": "none"}]}, 404),
        ({**EXPORT, "destinations": {}}, 422),
        ({**EXPORT, "destinations": [{"id": "hook", "transform": "{ a: .telemetry }"}]}, 400),
        ({**EXPORT, "filter": "SELECT * FROM devices"}, 400),
        ({**EXPORT, "filter": f'SELECT * FROM devices WHERE $template = "{PUMP}" AND $id = "a"'}, 422),
        ({**EXPORT, "enrichments": {"a": "b"}}, 422),
        ({**EXPORT, "enrichments": {"a": {"path": "$none"}}}, 400),
        ({**EXPORT, "organizations": ["none"]}, 404),
    ):
        answer = await ask(central, "PUT", "exports/out", body)
        assert answer.status == status, (body, answer.body)
    assert (await ask(central, "GET", "exports")).json() == {"value": []}


async def test_of_two_changes_at_one_time_none_is_lost(central: Central) -> None:
    await ask(central, "PUT", "destinations/hook", HOOK)
    await ask(central, "PUT", "exports/e", EXPORT)
    store = central.application.automation.services().exports._store
    for path, changes in (
        ("destinations/hook", ({"displayName": "New"}, {"url": "https://example.org/b"})),
        ("exports/e", ({"displayName": "New"}, {"enabled": True})),
    ):
        # Both have read it before either writes.
        busy = asyncio.create_task(store.write(lambda _: time.sleep(0.5)))
        answers = await asyncio.gather(*(ask(central, "PATCH", path, change) for change in changes))
        await busy
        assert sorted(answer.status for answer in answers) == [200, 412], path

"""Drafts and views of device templates over our own REST (central.md 7)."""

from __future__ import annotations

from typing import Any

from tests.api.application.world import Own
from tests.api.central.test_templates import MODEL, PUMP, TEMPLATE

ONE = f"/deviceTemplates/{PUMP}"
DRAFT: dict[str, Any] = {"displayName": "Pump", "capabilityModel": MODEL}
CHART = {"kind": "chart", "title": "Pressure", "capabilities": [{"name": "pressure"}]}
HALL: dict[str, Any] = {"displayName": "Hall", "kind": "custom", "tiles": [CHART]}


async def test_a_draft_is_saved_published_versioned_and_deleted(own: Own) -> None:
    made = await own.put(f"{ONE}/draft", {**DRAFT, "description": "Old"})
    assert made.status == 200, made.body
    document = made.json()
    assert (document["@id"], document["published"], document["draft"]) == (PUMP, False, True)
    assert document["capabilityModel"]["@id"] == MODEL["@id"]
    # Nobody but who edits it sees it (DT-10).
    assert (await own.central.get(f"/deviceTemplates/{PUMP}")).status == 404
    assert [(each["@id"], each["draft"]) for each in (await own.get("/deviceTemplates")).json()["value"]] == [
        (PUMP, True)
    ]
    assert (await own.delete(f"{ONE}/draft")).json()["error"]["reason"] == "template.not_published"
    published = (await own.post(f"{ONE}/publish")).json()
    assert (published["published"], published["draft"]) == (True, False)
    assert (await own.central.get(f"/deviceTemplates/{PUMP}")).status == 200
    renamed = (await own.put(f"{ONE}/draft", {**published, "displayName": "Pump 2"})).json()
    assert (renamed["displayName"], renamed["draft"]) == ("Pump 2", True)
    assert (await own.central.get(f"/deviceTemplates/{PUMP}")).json()["displayName"] == "Pump"
    stale = await own.put(f"{ONE}/draft", {**DRAFT, "etag": published["etag"]})
    assert (stale.status, stale.json()["error"]["reason"]) == (412, "etag.stale")
    assert (await own.delete(f"{ONE}/draft")).status == 204
    assert (await own.get(ONE)).json()["displayName"] == "Pump"
    version = (await own.post(f"{ONE}/newVersion")).json()
    assert (version["@id"], version["published"]) == (PUMP.replace(";1", ";2"), False)
    assert (await own.delete(f"/deviceTemplates/{version['@id']}")).status == 204
    gone = await own.put(f"/deviceTemplates/{version['@id']}/draft", {**DRAFT, "etag": "x"})
    assert (gone.status, gone.json()["error"]["reason"]) == (404, "template.unknown")
    for body, named in (({}, "capabilityModel"), ({**DRAFT, "model": {}}, "'model'"), ({**DRAFT, "@id": "x"}, "@id")):
        refused = await own.put(f"{ONE}/draft", body)
        assert refused.status == 400 and named in refused.json()["error"]["message"], refused.body


async def test_views_are_made_changed_and_deleted_in_the_draft(own: Own) -> None:
    await own.central.put(f"/deviceTemplates/{PUMP}", TEMPLATE)
    before = (await own.get(f"{ONE}/views")).json()["value"]
    assert [(each["id"], each["generated"]) for each in before] == [
        ("overview", True),
        ("about", True),
        ("commands", True),
        ("writable", True),
    ]
    made = await own.put(f"{ONE}/views/hall", HALL)
    assert made.status == 200, made.body
    view = made.json()
    assert (view["displayName"], view["tiles"], view["generated"]) == ("Hall", [CHART], False)
    assert (await own.get(ONE)).json()["draft"]
    text = {"kind": "text", "title": "", "text": "Mind the step"}
    changed = await own.put(f"{ONE}/views/hall", {**view, "tiles": [text, CHART]})
    assert changed.json()["tiles"] == [text, CHART]
    stale = await own.put(f"{ONE}/views/hall", {**HALL, "etag": view["etag"]})
    assert (stale.status, stale.json()["error"]["reason"]) == (412, "etag.stale")
    form = {"displayName": "Set", "kind": "form", "tiles": [{"kind": "property", "capabilities": [{"name": "target"}]}]}
    assert (await own.put(f"{ONE}/views/set", form)).status == 200
    # What the model loses, views lose too.
    without = {**MODEL, "contents": [each for each in MODEL["contents"] if each["name"] != "target"]}
    await own.put(f"{ONE}/draft", {"displayName": "Pump", "capabilityModel": without})
    assert (await own.get(f"{ONE}/views/set")).json()["error"]["reason"] == "view.unknown"
    assert (await own.delete(f"{ONE}/views/hall")).status == 204
    for path in ("hall", "overview"):
        assert (await own.delete(f"{ONE}/views/{path}")).status == 404


async def test_a_view_that_cannot_be_is_refused_with_what_is_wrong(own: Own) -> None:
    await own.central.put(f"/deviceTemplates/{PUMP}", TEMPLATE)
    for view_id, change, reason, named in (
        ("hall", {"displayName": " "}, "view.name", "name"),
        ("hall", {"colour": "red"}, "body.member", "colour"),
        ("hall", {"kind": "overview"}, "body.member", "kind"),
        ("hall", {"generated": True}, "body.member", "generated"),
        ("hall", {"tiles": [{"title": "x"}]}, "body.member", "tiles[0].kind"),
        ("hall", {"tiles": [{**CHART, "capabilities": ["x"]}]}, "body.member", "tiles[0].capabilities"),
        ("hall", {"tiles": [{**CHART, "capabilities": [{"name": "target"}]}]}, "view.tile", "target"),
        ("hall", {"id": "other"}, "body.id", "other"),
        ("overview", {}, "view.id", "overview"),
        ("new", {}, "view.id", "new"),
        ("Big Hall", {}, "view.id", "Big Hall"),
    ):
        refused = await own.put(f"{ONE}/views/{view_id.replace(' ', '%20')}", {**HALL, **change})
        error = refused.json()["error"]
        assert (refused.status, error["reason"], named in error["message"]) == (400, reason, True), error
    assert (await own.put("/deviceTemplates/dtmi:none;1/views/hall", HALL)).json()["error"][
        "reason"
    ] == "template.unknown"

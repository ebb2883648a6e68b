"""The audit log, the name and the looks of the application, over our own REST (central.md 18, 20)."""

from __future__ import annotations

from tests.api.application.test_rules import RULE
from tests.api.application.world import Own
from tests.web.test_settings import png


async def test_the_audit_log_is_filtered_sorted_and_paged_while_acts_go_on(own: Own) -> None:
    for number in range(3):
        assert (await own.put(f"/rules/r{number}", RULE)).status == 200
    await own.delete("/rules/r2", who=await own.token("builder"))
    first = await own.get("/audit?kind=rule&$top=2")
    shown = first.json()["value"]
    assert [(each["event"], each["entity"]) for each in shown] == [("rule.deleted", "r2"), ("rule.created", "r2")]
    assert shown[0]["actor"].startswith("token:") and shown[1]["actor"] == "owner", shown
    assert {"name": "name", "after": "Too hot"} in shown[0]["details"]
    # What comes meanwhile does not move the next page.
    await own.put("/rules/r9", RULE)
    second = await own.hub.ask(
        "GET", first.json()["nextLink"].removeprefix(f"https://{own.hub.host}"), credential=own.hub.owner()
    )
    assert [each["entity"] for each in second.json()["value"]] == ["r1", "r0"] and "nextLink" not in second.json()
    up = await own.get("/audit?kind=rule&what=CREATED&on=r1&direction=up&sort=entity&since=2020-01-01T00:00:00Z")
    assert [each["entity"] for each in up.json()["value"]] == ["r1"]
    assert (await own.get("/audit?until=2020-01-01T00:00:00Z")).json() == {"value": []}
    for query, reason in (
        ("since=yesterday", "time.malformed"),
        ("sort=size", "query.choice"),
        ("direction=left", "query.choice"),
        ("$skiptoken=eA==", "query.continuation"),
    ):
        refused = await own.get(f"/audit?{query}")
        assert (refused.status, refused.json()["error"]["reason"]) == (400, reason), query


async def test_the_application_is_renamed(own: Own) -> None:
    before = (await own.get("/settings")).json()
    assert (before["displayName"], before["idScope"]) == (None, own.hub.app.info().id_scope)
    renamed = (await own.patch("/settings", {"displayName": "Plant"})).json()
    assert renamed == {**before, "displayName": "Plant"}
    assert (await own.patch("/settings", {})).json() == renamed
    assert (await own.patch("/settings", {"displayName": "x" * 61})).json()["error"]["reason"] == "customization.name"
    assert (await own.patch("/settings", {"displayName": None})).json() == before


async def test_colours_and_links_are_changed_one_by_one(own: Own) -> None:
    there = "/settings/customization"
    before = (await own.get(there)).json()
    assert (before["headerColor"], before["helpLinks"], before["logo"]) == (None, [], None)
    link = {"label": "Help", "url": "https://help.example/"}
    await own.patch(there, {"headerColor": "#0F2D3D", "helpLinks": [link]})
    changed = (await own.patch(there, {"accentColor": "#0b6a85"})).json()
    assert (changed["headerColor"], changed["accentColor"], changed["helpLinks"]) == ("#0f2d3d", "#0b6a85", [link])
    assert (await own.patch(there, {"headerColor": None})).json()["headerColor"] is None
    stale = await own.patch(there, {"accentColor": None}, headers=[(b"if-match", b'"%s"' % before["etag"].encode())])
    assert (stale.status, stale.json()["error"]["reason"]) == (412, "etag.stale")
    for body, reason in (
        ({"headerColor": "red"}, "customization.colour"),
        ({"accentColor": 5}, "body.member"),
        ({"helpLinks": [{**link, "url": "javascript:alert(1)"}]}, "customization.link"),
        ({"helpLinks": [{**link, "icon": "x"}]}, "body.member"),
        ({"helpLinks": {}}, "body.member"),
        ({"logo": "x"}, "body.member"),
    ):
        refused = await own.patch(there, body)
        assert (refused.status, refused.json()["error"]["reason"]) == (400, reason), body


async def test_pictures_are_put_looked_at_and_removed(own: Own) -> None:
    there = "/settings/customization/logo"
    assert (await own.get(there)).status == 404
    put = await own.put(there, png(), headers=[(b"content-type", b"image/png")])
    assert (put.status, bool(put.json()["logo"]), put.json()["icon"]) == (200, True, None), put.body
    shown = await own.get(there)
    assert (shown.header("content-type"), shown.body) == ("image/png", png())
    assert (await own.delete(there)).status == 204
    assert (await own.get(there)).status == 404
    assert (await own.put(there, b"<svg>")).json()["error"]["reason"] == "customization.picture"
    assert (await own.put("/settings/customization/banner", png())).json()["error"]["reason"] == "image.unknown"
    large = await own.put(there, b"\x89PNG\r\n\x1a\n" + b"x" * 300_000)
    assert (large.status, large.json()["error"]["reason"]) == (413, "body.size")

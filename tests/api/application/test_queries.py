"""Saved queries of the data explorer over our own REST (central.md 12)."""

from __future__ import annotations

from typing import Any

from tests.api.application.world import Own

QUERY: dict[str, Any] = {
    "displayName": "Pressure",
    "group": "pumps",
    "measures": [{"name": "pressure", "aggregate": "maximum"}, {"name": "rpm", "component": "motor"}],
    "by": "$id",
    "minutes": 60,
    "stepMinutes": 5,
    "axes": "stacked",
}


async def test_a_query_is_saved_read_changed_and_deleted(own: Own) -> None:
    made = await own.put("/queries/heat", QUERY)
    assert made.status == 200, made.body
    document = made.json()
    assert document["measures"][1] == {"name": "rpm", "component": "motor", "aggregate": "average"}
    assert {name: document[name] for name in QUERY if name != "measures"} == {
        name: value for name, value in QUERY.items() if name != "measures"
    }
    assert document["personal"]
    assert (await own.get("/queries/heat")).json() == document
    times = {"since": "2026-01-01T00:00:00.0000000Z", "until": "2026-01-02T00:00:00.0000000Z"}
    changed = (await own.put("/queries/heat", {**document, **times})).json()
    assert (changed["since"], changed["until"]) == (times["since"], times["until"])
    held = document["etag"]
    for stale in (
        await own.put("/queries/heat", QUERY, headers=[(b"if-match", held.encode())]),
        await own.put("/queries/heat", {**QUERY, "etag": held}),
        await own.delete("/queries/heat", headers=[(b"if-match", held.encode())]),
    ):
        assert (stale.status, stale.json()["error"]["reason"]) == (412, "etag.stale")
    assert [each["id"] for each in (await own.get("/queries")).json()["value"]] == ["heat"]
    assert (await own.delete("/queries/heat")).status == 204
    gone = await own.put("/queries/heat", {**QUERY, "etag": changed["etag"]})
    assert (gone.status, gone.json()["error"]["reason"]) == (404, "query.unknown")


async def test_a_query_is_its_owners_or_its_organizations_and_no_siblings(own: Own) -> None:
    for organization in ("north", "south"):
        await own.central.put(f"/organizations/{organization}", {"displayName": organization})
    north, south = [await own.token("org-administrator", each) for each in ("north", "south")]
    viewer = await own.token("org-viewer", "north")
    shared = await own.put("/queries/shared", {**QUERY, "personal": False}, who=north)
    assert (shared.status, shared.json()["organizations"]) == (200, ["north"]), shared.body
    assert (await own.put("/queries/mine", QUERY, who=viewer)).status == 200
    seen = {
        who: [each["id"] for each in (await own.get("/queries", who=token)).json()["value"]]
        for who, token in (("north", north), ("south", south), ("viewer", viewer))
    }
    assert seen == {"north": ["shared"], "south": [], "viewer": ["mine", "shared"]}
    for path, who in (("shared", south), ("mine", south), ("mine", north)):
        for answer in (await own.get(f"/queries/{path}", who=who), await own.delete(f"/queries/{path}", who=who)):
            assert (answer.status, answer.json()["error"]["reason"]) == (404, "query.unknown"), path
    refused = await own.put("/queries/shared", QUERY, who=viewer)
    assert (refused.status, refused.json()["error"]["reason"]) == (403, "board.shared")
    elsewhere = await own.put("/queries/other", {**QUERY, "personal": False, "organizations": ["south"]}, who=north)
    assert (elsewhere.status, elsewhere.json()["error"]["reason"]) == (404, "organization.unknown")


async def test_a_query_that_cannot_be_asked_is_refused_with_what_is_wrong(own: Own) -> None:
    for change, reason, named in (
        ({"displayName": None}, "body.member", "displayName"),
        ({"span": 5}, "body.member", "span"),
        ({"measures": ["pressure"]}, "body.member", "measures"),
        ({"measures": [{"name": "a", "aggregate": "median"}]}, "body.member", "measures[0].aggregate"),
        ({"axes": "crossed"}, "body.member", "axes"),
        ({"since": "noon"}, "time.malformed", "since"),
        ({"since": "2026-01-01T00:00:00Z"}, "explorer.question", "end"),
        ({"stepMinutes": 7}, "explorer.question", "7"),
        ({"minutes": 0}, "explorer.question", "minute"),
        ({"personal": "perhaps"}, "body.member", "personal"),
        ({"organizations": "north"}, "body.member", "organizations"),
    ):
        refused = await own.put("/queries/heat", {**QUERY, **change})
        error = refused.json()["error"]
        assert (refused.status, error["reason"], named in error["message"]) == (400, reason, True), error


async def test_a_question_is_answered_without_being_saved(own: Own) -> None:
    asked = {"devices": ["p1"], "measures": [{"name": "pressure"}], "minutes": 60, "stepMinutes": 30}
    answer = await own.call("POST", "/queries/answer", asked)
    assert (answer.status, answer.json()["error"]["reason"]) == (404, "device.unknown")
    await own.central.put("/devices/p1", {})
    answer = await own.call("POST", "/queries/answer", asked)
    assert (answer.status, answer.header("content-type")) == (200, "text/csv; charset=utf-8")
    head, *rows = answer.body.decode().splitlines()
    assert head == "time,pressure (average)" and all(row.endswith(",") for row in rows)
    for wrong in ({**asked, "stepMinutes": 7}, {**asked, "measures": {}}, {**asked, "weather": 1}):
        assert (await own.call("POST", "/queries/answer", wrong)).status in (400, 422), wrong
    assert (await own.get("/queries")).json() == {"value": []}

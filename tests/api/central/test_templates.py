"""Device templates and device groups over REST (central.md 7.2, 11, 22.2)."""

from __future__ import annotations

from typing import Any

from moorage.accounts.model import OWNER
from moorage.dialects.merge_patch import merge_patch
from moorage.fleet.model import TemplateId
from moorage.fleet.template_model import make_content
from tests.api.central.world import Central

PUMP = "dtmi:contoso:PumpTemplate;1"
PATH = f"/deviceTemplates/{PUMP}"
MODEL: dict[str, Any] = {
    "@id": "dtmi:contoso:Pump;1",
    "@type": "Interface",
    "@context": ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"],
    "displayName": "Pump",
    "contents": [
        {"@type": "Telemetry", "name": "pressure", "schema": "double"},
        {"@type": "Property", "name": "target", "schema": "double", "writable": True},
        {"@type": "Command", "name": "restart"},
        {"@type": ["Property", "Cloud", "StringValue"], "name": "customer", "schema": "string"},
    ],
}
TEMPLATE: dict[str, Any] = {
    "@type": ["ModelDefinition", "DeviceModel"],
    "displayName": "Pump",
    "capabilityModel": MODEL,
}


def group(where: str = "", **more: Any) -> dict[str, Any]:
    return {"displayName": "Pumps", "filter": f'SELECT * FROM devices WHERE $template = "{PUMP}"{where}', **more}


async def test_a_template_is_published_read_changed_and_deleted(central: Central) -> None:
    made = await central.put(PATH, TEMPLATE)
    assert made.status == 200, made.body
    document = made.json()
    assert (document["@id"], document["@type"], document["displayName"]) == (PUMP, TEMPLATE["@type"], "Pump")
    assert document["capabilityModel"]["@id"] == MODEL["@id"]
    assert (await central.get(PATH)).json() == document
    assert [each["@id"] for each in (await central.get("/deviceTemplates")).json()["value"]] == [PUMP]

    changed = await central.patch(PATH, {"displayName": "Big pump"})
    assert (changed.status, changed.json()["displayName"]) == (200, "Big pump")
    stale = await central.patch(PATH, {"displayName": "Small pump", "etag": document["etag"]})
    assert (stale.status, stale.json()["error"]["code"]) == (412, "PreconditionFailed")
    assert (await central.delete(PATH)).status == 204
    assert (await central.get(PATH)).status == 404


async def test_what_devices_have_is_neither_broken_nor_deleted(central: Central) -> None:
    await central.put(PATH, TEMPLATE)
    assert (await central.put("/devices/pump-01", {"template": PUMP})).json()["template"] == PUMP
    broken = {**TEMPLATE, "capabilityModel": {**MODEL, "contents": MODEL["contents"][1:]}}
    for answer, reason in (
        (await central.put(PATH, broken), "template.breaking"),
        (await central.delete(PATH), "template.used"),
        (await central.patch(PATH, {"capabilityModel": broken["capabilityModel"]}), "template.not_cosmetic"),
    ):
        assert (answer.status, answer.json()["error"]["code"]) == (409, "Conflict"), answer.body
        assert answer.header("moorage-reason") == reason


_NO_TEMPLATES: tuple[tuple[Any, str], ...] = (
    ({}, "@type"),
    ({"@type": ["DeviceModel"]}, "@type"),
    ({"@type": TEMPLATE["@type"]}, "capabilityModel"),
    ({**TEMPLATE, "colour": 1}, "colour"),
    ({**TEMPLATE, "@id": "dtmi:another:one;1"}, "another"),
    (
        {**TEMPLATE, "capabilityModel": {**MODEL, "contents": [{"@type": "Telemetry"}]}},
        "$.capabilityModel.contents[0]",
    ),
)


async def test_what_is_no_template_is_told_by_its_place(central: Central) -> None:
    for body, named in _NO_TEMPLATES:
        answer = await central.put(PATH, body)
        assert (answer.status, answer.json()["error"]["code"]) == (422, "InvalidBody"), answer.body
        assert named in answer.json()["error"]["message"]
        assert (await central.get(PATH)).status == 404


async def test_drafts_are_nobodys_business(central: Central) -> None:
    await central.application.templates.create_draft(OWNER, make_content("Pump", "", MODEL), TemplateId(PUMP))
    assert (await central.get("/deviceTemplates")).json() == {"value": []}
    for answer in (await central.get(PATH), await central.patch(PATH, {}), await central.delete(PATH)):
        assert (answer.status, answer.header("moorage-reason")) == (404, "template.unknown")


async def test_a_group_is_a_query(central: Central) -> None:
    await central.put(PATH, TEMPLATE)
    for number in range(3):
        await central.put(f"/devices/p{number}", {"template": PUMP, "simulated": number == 1})
    made = await central.put("/deviceGroups/pumps", group(description="All of them"))
    assert made.status == 200, made.body
    document = made.json()
    assert document == {**group(description="All of them"), "id": "pumps", "etag": document["etag"]}
    first = await central.get("/deviceGroups/pumps/devices?$top=2")
    second = await central.follow(first)
    assert second is not None
    found = [each["id"] for answer in (first, second) for each in answer.json()["value"]]
    assert found == ["p0", "p1", "p2"]
    assert "nextLink" not in second.json()

    patched = await central.patch("/deviceGroups/pumps", {"filter": group(" AND $simulated = true")["filter"]})
    assert (patched.status, patched.json()["description"]) == (200, "All of them")
    members = (await central.get("/deviceGroups/pumps/devices")).json()["value"]
    assert [each["id"] for each in members] == ["p1"]
    stale = await central.put("/deviceGroups/pumps", group(etag=document["etag"]))
    assert stale.status == 412
    assert (await central.delete("/deviceGroups/pumps")).status == 204
    assert (await central.get("/deviceGroups/pumps/devices")).status == 404


async def test_every_template_brings_a_group_that_stays(central: Central) -> None:
    await central.put(PATH, TEMPLATE)
    (default,) = (await central.get("/deviceGroups")).json()["value"]
    refused = await central.delete(f"/deviceGroups/{default['id']}")
    assert (refused.status, refused.json()["error"]["code"]) == (403, "Forbidden")


async def test_a_query_that_is_wrong_stores_nothing(central: Central) -> None:
    await central.put(PATH, TEMPLATE)
    for body in (
        group(" AND"),
        group(" AND $id IN ['a', 'b'"),
        {**group(), "filter": "SELECT"},
        {**group(), "filter": ""},
    ):
        answer = await central.put("/deviceGroups/pumps", body)
        assert answer.status in (400, 422), answer.body
    assert (await central.get("/deviceGroups/pumps")).status == 404


async def test_a_siblings_group_does_not_exist(central: Central) -> None:
    await central.put(PATH, TEMPLATE)
    for name in ("north", "south"):
        await central.put(f"/organizations/{name}", {})
        await central.put(f"/devices/{name}-pump", {"template": PUMP, "organizations": [name]})
        await central.put(f"/deviceGroups/{name}", group(organizations=[name]))
    north = await central.token("org-administrator", "north")
    seen = [each["id"] for each in (await central.get("/deviceGroups", who=north)).json()["value"]]
    assert "north" in seen
    assert "south" not in seen
    for method, path in (("GET", ""), ("GET", "/devices"), ("PATCH", ""), ("DELETE", "")):
        answer = await central.call(method, f"/deviceGroups/south{path}", {}, who=north)
        assert answer.status == 404, (method, path)
    default = next(name for name in seen if name != "north")
    members = (await central.get(f"/deviceGroups/{default}/devices", who=north)).json()["value"]
    assert [each["id"] for each in members] == ["north-pump"]


def test_a_merge_patch_is_that_of_the_rfc() -> None:
    # RFC 7396, appendix A.
    for target, patch, result in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert merge_patch(target, patch) == result

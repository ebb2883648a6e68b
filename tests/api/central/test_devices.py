"""Devices over REST: made, listed, filtered, changed, deleted, and who sees them (central.md 22.2, PRE-3; PC-22)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from moorage.accounts.model import OWNER
from moorage.api.central import devices as devices_module
from moorage.identities.model import BySharedKey
from moorage.identities.policies import make_key
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName
from tests.api.central.world import Central


async def ids(central: Central, query: str, **more: Any) -> list[str]:
    answer = await central.get(f"/devices{query}", **more)
    assert answer.status == 200, answer.body
    return [each["id"] for each in answer.json()["value"]]


async def test_a_device_is_made_read_changed_and_deleted(central: Central) -> None:
    made = await central.put("/devices/pump-01", {"displayName": "Pump", "enabled": True, "simulated": False})
    assert made.status == 200
    document = made.json()
    etag = document.pop("etag")
    assert document == {
        "id": "pump-01",
        "displayName": "Pump",
        "enabled": True,
        "provisioned": False,
        "simulated": False,
    }
    assert (await central.get("/devices/pump-01")).json() == {**document, "etag": etag}
    changed = (await central.patch("/devices/pump-01", {"displayName": "Old pump"})).json()
    assert changed["displayName"] == "Old pump"
    assert changed["etag"] != etag
    assert (await central.delete("/devices/pump-01")).status == 204
    for answer in (await central.get("/devices/pump-01"), await central.delete("/devices/pump-01")):
        assert (answer.status, answer.json()["error"]["code"]) == (404, "NotFound")


async def test_what_was_read_is_taken_back(central: Central) -> None:
    made = (await central.put("/devices/pump-01", {})).json()
    assert made["displayName"] == "pump-01"
    again = await central.put("/devices/pump-01", {**made, "displayName": "Pump"})
    assert (again.status, again.json()["displayName"]) == (200, "Pump")


async def test_a_stale_etag_changes_nothing(central: Central) -> None:
    made = (await central.put("/devices/pump-01", {})).json()
    await central.patch("/devices/pump-01", {"displayName": "Second"})
    body = {"displayName": "Third", "etag": made["etag"]}
    for answer in (await central.patch("/devices/pump-01", body), await central.put("/devices/pump-01", body)):
        assert (answer.status, answer.json()["error"]["code"]) == (412, "PreconditionFailed")
    header = [(b"if-match", f'"{made["etag"]}"'.encode())]
    assert (await central.patch("/devices/pump-01", {"displayName": "Third"}, headers=header)).status == 412
    assert (await central.get("/devices/pump-01")).json()["displayName"] == "Second"


async def test_a_device_that_is_not_enabled_is_blocked(central: Central) -> None:
    await central.put("/devices/pump-01", {})
    blocked = await central.patch("/devices/pump-01", {"enabled": False})
    assert blocked.json()["enabled"] is False
    record = central.application.fleet.get(OWNER, DeviceId("pump-01")).record
    assert record.state == "blocked"
    assert (await central.patch("/devices/pump-01", {"enabled": True})).json()["enabled"] is True


async def test_devices_that_a_back_end_made_are_there_too(central: Central) -> None:
    draft = IdentityDraft(IdentityName(DeviceId("by_the_hub")), BySharedKey(make_key(), make_key()))
    await IdentityRegistry(central.hub.app.store).create(DEFAULT_HUB, draft, central.hub.app.clock.now())
    found = (await central.get("/devices/by_the_hub")).json()
    assert (found["provisioned"], found["enabled"]) == (True, True)


_BAD_BODIES: tuple[tuple[Any, int, str], ...] = (
    ({"displayName": 5}, 422, "InvalidBody"),
    ({"enabled": "maybe"}, 422, "InvalidBody"),
    ({"colour": "red"}, 422, "InvalidBody"),
    ({"organizations": ["a", "b"]}, 422, "InvalidBody"),
    ({"organizations": "a"}, 422, "InvalidBody"),
    ({"organizations": ["unknown"]}, 404, "NotFound"),
    ({"template": "dtmi:no:such;1"}, 404, "NotFound"),
    ({"template": "pump"}, 400, "BadRequest"),
    ({"displayName": "x" * 149}, 400, "BadRequest"),
    ({"simulated": True}, 400, "BadRequest"),
    ({"id": "another"}, 422, "InvalidBody"),
    ({"type": ["Toaster"]}, 422, "InvalidBody"),
    ([], 422, "InvalidBody"),
)


async def test_bodies_that_do_not_fit(central: Central) -> None:
    for body, status, code in _BAD_BODIES:
        answer = await central.put("/devices/pump-01", body)
        assert (answer.status, answer.json()["error"]["code"]) == (status, code), answer.body
        assert (await central.get("/devices/pump-01")).status == 404


async def test_lists_are_filtered_sorted_and_paged(central: Central) -> None:
    for number, name in enumerate(("cellar", "attic", "Boiler", "attic")):
        await central.put(f"/devices/d{number}", {"displayName": name, "enabled": number != 2})
    await central.put("/devices/edge", {"type": ["EdgeDevice"]})
    assert await ids(central, "") == ["d0", "d1", "d2", "d3", "edge"]
    assert await ids(central, "?$filter=displayName%20eq%20'attic'") == ["d1", "d3"]
    assert await ids(central, "?$filter=enabled%20eq%20false%20or%20indexof(displayName,'CELL')%20ge%200") == [
        "d0",
        "d2",
    ]
    assert await ids(central, "?$filter=type%20eq%20'GatewayDevice'%20or%20type%20eq%20'EdgeDevice'") == ["edge"]
    assert await ids(central, "?$orderby=displayName") == ["d1", "d3", "d2", "d0", "edge"]
    assert await ids(central, "?$orderby=displayName%20desc&$filter=type%20ne%20'EdgeDevice'") == [
        "d0",
        "d2",
        "d3",
        "d1",
    ]
    for query in ("?$top=2", "?$top=2&$orderby=id%20desc", "?maxpagesize=2&$filter=enabled"):
        whole = await ids(central, query.replace("=2", "=100"))
        answer = await central.get(f"/devices{query}")
        seen = [each["id"] for each in answer.json()["value"]]
        while (following := await central.follow(answer)) is not None:
            answer = following
            seen += [each["id"] for each in answer.json()["value"]]
        assert seen == whole, query
    for query in ("$filter=colour%20eq%20'red'", "$filter=id", "$orderby=colour", "$orderby=id%20desc&$skiptoken=eA=="):
        answer = await central.get(f"/devices?{query}")
        wanted = (200, None) if query == "$filter=id" else (400, "BadRequest")
        assert (answer.status, answer.header("x-ms-error-code")) == wanted, query


async def test_a_page_ends_when_enough_was_looked_at_and_goes_on(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices_module, "_CHUNK", 2)
    monkeypatch.setattr(devices_module, "MAX_LOOKED_AT", 2)
    for number in range(5):
        await central.put(f"/devices/d{number}", {"displayName": "wanted" if number in (0, 4) else "other"})
    answer = await central.get("/devices?$filter=displayName%20eq%20'wanted'")
    seen, pages = [each["id"] for each in answer.json()["value"]], 1
    while (following := await central.follow(answer)) is not None:
        answer, pages = following, pages + 1
        seen += [each["id"] for each in answer.json()["value"]]
    assert (seen, pages) == (["d0", "d4"], 3)


async def test_too_many_to_be_sorted_are_refused(central: Central, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_module, "MAX_SORTED", 2)
    for number in range(3):
        await central.put(f"/devices/d{number}", {})
    answer = await central.get("/devices?$orderby=displayName")
    assert (answer.status, answer.header("moorage-reason")) == (400, "odata.orderby")


async def test_a_siblings_devices_do_not_exist_by_any_route(central: Central) -> None:
    for name, parent in (("north", ""), ("line-1", "north"), ("south", "")):
        await central.put(f"/organizations/{name}", {"parent": parent})
    for device, where in (("a", []), ("b", ["north"]), ("c", ["line-1"]), ("d", ["south"])):
        await central.put(f"/devices/{device}", {"organizations": where})
    north = await central.token("org-administrator", "north")
    assert await ids(central, "", who=north) == ["b", "c"]
    assert await ids(central, "?$filter=id%20ne%20'b'&$orderby=id%20desc", who=north) == ["c"]
    assert await ids(central, "?$filter=scopes%20eq%20'south'", who=north) == []
    for hidden in ("a", "d"):
        path = f"/devices/{hidden}"
        unknown = await central.get("/devices/never-was", who=north)
        for route in central.application.central.routes:
            if not route.pattern.startswith("/api/devices/{id}") or (route.method, route.pattern) == (
                "PUT",
                "/api/devices/{id}",
            ):
                continue
            pattern = route.pattern.removeprefix("/api").replace("{id}", hidden)
            body = {"type": "symmetricKey"} if "attestation" in pattern else {}
            answer = await central.call(route.method, _filled(pattern), body, who=north, version="2022-10-31-preview")
            error = answer.json()["error"]
            assert (answer.status, error["code"]) == (404, "NotFound"), (route.method, route.pattern, error)
            assert error["message"] == unknown.json()["error"]["message"].replace("never-was", hidden)
        taken = await central.put(path, {}, who=north)
        assert (taken.status, taken.json()["error"]["code"]) == (409, "Conflict")
    away = await central.patch("/devices/b", {"organizations": ["south"]}, who=north)
    assert (away.status, away.header("moorage-reason")) == (404, "organization.unknown")
    made = await central.put("/devices/mine", {}, who=north)
    assert made.json()["organizations"] == ["north"]


def _filled(pattern: str) -> str:
    return re.sub(r"{\w+}", "x", pattern)

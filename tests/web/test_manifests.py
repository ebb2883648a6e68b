"""Edge manifests in a browser: uploaded, reviewed, edited, copied, given to a device (contract/central.md 17)."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, Actor
from moorage.errors import Unavailable
from moorage.fleet.model import DeviceDraft
from moorage.identities.model import BySharedKey
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.manifests import CONTENT
from tests.servers.application import automation
from tests.servers.world import KEY, World, eventually, named
from tests.web.browser import Browser, text_of

ADA = Actor("user:ada", frozenset(ALL_PERMISSIONS))


def fields(**changes: str) -> dict[str, str]:
    return {"id": "plant", "name": "Plant", "json": json.dumps(CONTENT), **changes}


async def edge(world: World) -> None:
    draft = IdentityDraft(named("gateway"), BySharedKey(KEY, KEY), is_edge=True)
    await world.registry.create(DEFAULT_HUB, draft, world.clock.now())


def limit(world: World, device: str = "gateway") -> Any:
    return world.twins.get(DEFAULT_HUB, named(f"{device}/filter")).desired.value.get("limit")


async def test_a_manifest_is_uploaded_reviewed_changed_copied_and_deleted(world: World, browser: Browser) -> None:
    assert "No edge manifests yet" in text_of(await browser.open("/manifests"))
    file = {"file": ("deployment.json", json.dumps(CONTENT).encode())}
    page = await browser.submit("/manifests", fields(json=""), files=file)
    assert page.url.path == "/manifests/plant"
    words = text_of(page)
    assert "example/filter:2" in words and "edgeHub" in words and "always" in words
    etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    other = copy.deepcopy(CONTENT)
    other["modulesContent"]["filter"]["properties.desired"]["limit"] = 6
    await browser.submit("/manifests/plant", fields(name="Plant 2", json=json.dumps(other), etag=etag))
    stale = await browser.submit("/manifests/plant", fields(name="Plant 3", etag=etag))
    assert (stale.status_code, "etag.stale" in stale.text, "Plant 3" in stale.text) == (400, True, True)
    assert json.loads((await browser.get("/manifests/plant/manifest.json")).text) == other
    assert "Copy of Plant 2" in (await browser.open("/manifests/new?copy=plant")).text
    assert "Plant 2" in text_of(await browser.open("/manifests"))
    await browser.submit("/manifests/plant/delete")
    assert "No edge manifests yet" in text_of(await browser.open("/manifests"))


async def test_what_is_no_manifest_is_answered_and_what_was_typed_stays(world: World, browser: Browser) -> None:
    wrong = {
        "json.malformed": fields(json="{"),
        "json.not_object": fields(json="[1]"),
        "manifest.content": fields(json='{"modulesContent": {}}'),
        "configuration.content": fields(
            json=json.dumps({"modulesContent": {**CONTENT["modulesContent"], "filter": {"nothing": {}}}})
        ),
        "manifest.name": fields(name=" "),
        "manifest.id": fields(id="a b"),
    }
    for reason, typed in wrong.items():
        page = await browser.submit("/manifests", typed)
        assert (page.status_code, reason in page.text) == (400, True), reason
    file = {"file": ("deployment.json", b'{"half": ')}
    page = await browser.submit("/manifests", fields(name="Kept", json=""), files=file)
    assert "json.malformed" in page.text and 'value="Kept"' in page.text and "half" in page.text
    assert "No edge manifests yet" in text_of(await browser.open("/manifests"))


async def test_a_device_that_comes_while_it_is_given_a_manifest_has_it(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.submit("/manifests", fields())
    fleet, giving = world.app.application.fleet, automation(world).giving
    await fleet.create(ADA, DeviceDraft(DeviceId("gateway"), is_edge=True))
    update = fleet.update

    async def late(*change: Any) -> Any:
        await edge(world)
        # Whoever hears of it has looked, and found that it has no manifest.
        await eventually(lambda: not giving._came and not giving._has_come.is_set())
        return await update(*change)

    monkeypatch.setattr(fleet, "update", late)
    await giving.assign(ADA, DeviceId("gateway"), "plant")
    assert limit(world) == 5


async def test_a_device_has_its_manifest_also_where_the_disk_was_full_when_it_came(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.automation.manifest_giving._PAUSE_AFTER_FAILURE_S", 0.01)
    await browser.submit("/manifests", fields())
    giving, manifests = automation(world).giving, automation(world).manifests
    await world.app.application.fleet.create(ADA, DeviceDraft(DeviceId("gateway"), is_edge=True))
    await giving.assign(ADA, DeviceId("gateway"), "plant")
    apply = manifests.apply

    async def full(*given: Any) -> None:
        monkeypatch.setattr(manifests, "apply", apply)
        raise Unavailable("store.full", "the disk is full")

    monkeypatch.setattr(manifests, "apply", full)
    await edge(world)

    def is_given() -> bool:
        return world.app.store.read().twins.find(DEFAULT_HUB, named("gateway/filter")) is not None

    await eventually(is_given)
    assert limit(world) == 5


async def test_a_device_is_given_a_manifest_and_changed_alone(world: World, browser: Browser) -> None:
    await edge(world)
    for _ in range(2):
        # The same form, sent twice.
        assert (await browser.submit("/manifests", fields())).url.path == "/manifests/plant"
    assert "Assign manifest" in text_of(await browser.open("/devices/gateway"))
    page = await browser.submit("/devices/gateway/manifest", {"manifest": "plant"})
    assert limit(world) == 5
    assert "example/filter:2" in text_of(page)
    other = copy.deepcopy(CONTENT)
    other["modulesContent"]["filter"]["properties.desired"]["limit"] = 9
    await browser.submit("/devices/gateway/manifest/content", {"json": json.dumps(other)})
    assert limit(world) == 9
    assert "9" not in (await browser.get("/manifests/plant/manifest.json")).text
    page = await browser.submit("/devices/gateway/manifest/content", {"json": "{}"})
    assert (page.status_code, "manifest.content" in page.text) == (400, True)
    await browser.submit("/devices/gateway/manifest", {"manifest": ""})
    record = world.app.store.read().devices.find(DEFAULT_HUB, DeviceId("gateway"))
    assert record is not None and record.manifest == ""


async def test_a_device_that_comes_later_gets_its_manifest_then(world: World, browser: Browser) -> None:
    await browser.submit("/manifests", fields())
    await world.app.application.fleet.create(ADA, DeviceDraft(DeviceId("gateway"), is_edge=True))
    await browser.submit("/devices/gateway/manifest", {"manifest": "plant"})
    refused = await browser.submit("/devices/gateway/manifest/content", {"json": json.dumps(CONTENT)})
    assert (refused.status_code, "manifest.not_there" in refused.text) == (400, True)
    await edge(world)

    def has_come() -> bool:
        twin = world.app.store.read().twins.find(DEFAULT_HUB, named("gateway/filter"))
        return twin is not None and twin.desired.value.get("limit") == 5

    await eventually(has_come)


async def test_a_device_that_is_no_edge_device_has_no_such_page(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    assert (await browser.get("/devices/pump-01/manifest")).status_code == 404
    page = await browser.submit("/devices/pump-01/manifest", {"manifest": ""})
    assert page.status_code == 404

"""Device groups over a store: who belongs, who sees whom, and what is refused (contract/central.md 11)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.accounts.model import ALL_PERMISSIONS, Actor, OrganizationId
from moorage.accounts.organizations import ROOT, Organization
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.adapters.sqlite.tables import AllTables
from moorage.clock import HandClock
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from moorage.fleet.groups import DeviceGroupId, GroupDraft, Groups, parse_group_id
from moorage.fleet.model import DeviceRecord, TemplateId
from moorage.fleet.template_model import make_content
from moorage.fleet.templates import TemplateService
from moorage.hub.model import Document, Twin
from moorage.identities.model import NoCredential
from moorage.identities.registry import IdentityDraft, create_in
from moorage.ids import DEFAULT_HUB, DeviceId, ETag, IdentityName

HUB = DEFAULT_HUB
NOW = datetime(2030, 1, 1, tzinfo=UTC)
PUMP = TemplateId("dtmi:com:example:Pump;1")
MODEL = {"@id": PUMP, "@type": "Interface", "@context": "dtmi:dtdl:context;2", "displayName": "Pump", "contents": []}
OWNER = Actor("owner", frozenset(ALL_PERMISSIONS))
NORTH, SOUTH, FAR = OrganizationId("north"), OrganizationId("south"), OrganizationId("far-north")
NORTHERNER = Actor("user:nora", frozenset(ALL_PERMISSIONS), NORTH, frozenset({NORTH, FAR}))
ID = DeviceGroupId("busy")
BUSY = GroupDraft("Busy pumps", f'SELECT * FROM devices WHERE $template = "{PUMP}" AND pressure > 2')


class _NoModels:
    def find(self, model_id: str) -> None:
        return None

    def all(self) -> list[Any]:
        return []


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    """Ten pumps whose pressure is their number, in three organisations by turns, and one valve."""
    store = SqliteStore(MEMORY, secrets_key=b"k" * 32, bus=LocalBus())

    def fill(tables: AllTables) -> None:
        for organization, parent in ((NORTH, ROOT), (SOUTH, ROOT), (FAR, NORTH)):
            tables.organizations.put(Organization(HUB, organization, organization.title(), parent))
        for number in range(10):
            device_id = DeviceId(f"pump-{number}")
            create_in(tables, HUB, IdentityDraft(IdentityName(device_id), NoCredential()), NOW)
            organization = (NORTH, SOUTH, FAR)[number % 3]
            tables.devices.put(DeviceRecord(HUB, device_id, device_id, NOW, template=PUMP, organization=organization))
            reported = Document({"pressure": number}, {}, 1)
            tables.twins.put(Twin(HUB, IdentityName(device_id), 1, {}, Document({}, {}, 1), reported))
        tables.devices.put(DeviceRecord(HUB, DeviceId("valve"), "valve", NOW))

    await store.write(fill)
    templates = TemplateService(HUB, store, HandClock(), _NoModels())
    content = make_content("Pump", "", json.loads(json.dumps(MODEL)))
    await templates.create_draft(OWNER, content, PUMP)
    await templates.publish(OWNER, PUMP)
    yield store
    await asyncio.to_thread(store.close)


@pytest.fixture
def groups(store: SqliteStore) -> Groups:
    return Groups(HUB, store, HandClock())


async def names(groups: Groups, actor: Actor = OWNER, group: str = ID) -> list[str]:
    return [record.device_id for record in (await groups.members(actor, DeviceGroupId(group), 100)).devices]


async def test_members_are_found_when_they_are_asked_for(groups: Groups, store: SqliteStore) -> None:
    await groups.put(OWNER, ID, BUSY)
    assert await names(groups) == [f"pump-{number}" for number in range(3, 10)]
    assert await groups.count(OWNER, ID) == 7
    name = IdentityName(DeviceId("pump-0"))
    reported = Document({"pressure": 9}, {}, 2)
    await store.write(lambda tables: tables.twins.put(Twin(HUB, name, 2, {}, Document({}, {}, 1), reported)))
    assert (await names(groups))[0] == "pump-0"


async def test_members_come_in_pages(groups: Groups) -> None:
    await groups.put(OWNER, ID, BUSY)
    found, after = [], ""
    while True:
        page = await groups.members(OWNER, ID, 3, after)
        found.append([record.device_id for record in page.devices])
        after = page.after
        if not after:
            break
    assert [each for page_ in found for each in page_] == [f"pump-{number}" for number in range(3, 10)]
    assert all(len(page_) <= 3 for page_ in found)


async def test_every_template_has_a_group_of_all_its_devices(groups: Groups) -> None:
    (group,) = await groups.list(OWNER)
    assert (group.group_id, group.display_name, group.is_default) == (
        "all-com-example-Pump-1",
        "Pump - All devices",
        True,
    )
    assert await groups.count(OWNER, group.group_id) == 10
    assert len(await names(groups, group=group.group_id)) == 10
    assert await groups.count(NORTHERNER, group.group_id) == 7
    for act in (groups.delete(OWNER, group.group_id), groups.put(OWNER, group.group_id, BUSY)):
        with pytest.raises(Forbidden, match="comes with its template"):
            await act


async def test_nobody_is_told_of_devices_or_groups_that_they_do_not_see(groups: Groups) -> None:
    await groups.put(OWNER, ID, BUSY)
    in_north = GroupDraft("Of the north", BUSY.query, organization=NORTH)
    await groups.put(NORTHERNER, DeviceGroupId("nordic"), in_north)
    assert await names(groups, OWNER, "nordic") == ["pump-3", "pump-5", "pump-6", "pump-8", "pump-9"]
    assert [group.display_name for group in await groups.list(NORTHERNER)] == ["Of the north", "Pump - All devices"]
    southerner = Actor("user:sid", frozenset(ALL_PERMISSIONS), SOUTH, frozenset({SOUTH}))
    for unseen in (groups.get, groups.members, groups.count, groups.delete):
        with pytest.raises(NotFound, match="nordic"):
            found = unseen(southerner, DeviceGroupId("nordic"))
            if not hasattr(found, "group_id"):
                await found
    with pytest.raises(Conflict, match="already"):
        await groups.put(southerner, DeviceGroupId("nordic"), GroupDraft("Mine", BUSY.query, organization=SOUTH))
    with pytest.raises(NotFound, match="organization"):
        await groups.put(NORTHERNER, DeviceGroupId("more"), BUSY)


async def test_what_is_wrong_stores_nothing(groups: Groups) -> None:
    """central.md DG-8: a query with IN once left half a group behind."""
    wrong = GroupDraft("Half", f'SELECT * FROM devices WHERE $template = "{PUMP}" AND $id IN ["a", ')
    with pytest.raises(Invalid, match="line 1, column 84: expected a value"):
        await groups.put(OWNER, ID, wrong)
    with pytest.raises(Invalid, match="1 to 128"):
        await groups.put(OWNER, ID, GroupDraft(" ", BUSY.query))
    with pytest.raises(NotFound, match="template"):
        await groups.put(OWNER, ID, GroupDraft("Other", 'SELECT * FROM devices WHERE $template = "dtmi:no;1"'))
    assert len(await groups.list(OWNER)) == 1
    with pytest.raises(Invalid, match="letters, digits"):
        parse_group_id("with space")


async def test_a_stale_change_is_refused(groups: Groups) -> None:
    first = await groups.put(OWNER, ID, BUSY, is_new=True)
    second = await groups.put(OWNER, ID, GroupDraft("Busier", BUSY.query), if_match=first.etag)
    for etag in (first.etag, ETag("nonsense")):
        with pytest.raises(PreconditionFailed, match="changed since"):
            await groups.put(OWNER, ID, BUSY, if_match=etag)
        with pytest.raises(PreconditionFailed, match="changed since"):
            await groups.delete(OWNER, ID, if_match=etag)
    with pytest.raises(Conflict, match="already"):
        await groups.put(OWNER, ID, BUSY, is_new=True)
    await groups.delete(OWNER, ID, if_match=second.etag)
    with pytest.raises(NotFound, match="busy"):
        groups.get(OWNER, ID)

"""Consumer groups over a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import SqliteStore
from moorage.errors import Conflict, Invalid, NotFound, TooLarge
from moorage.hub.consumer_groups import DEFAULT_CONSUMER_GROUP, MAX_CONSUMER_GROUPS, ConsumerGroups
from moorage.ids import DEFAULT_HUB, HubId

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def groups() -> AsyncIterator[ConsumerGroups]:
    store = SqliteStore(":memory:", secrets_key=bytes(32), bus=LocalBus())
    yield ConsumerGroups(store)
    store.close()


async def test_groups_are_told_apart_without_case_and_keep_their_spelling(groups: ConsumerGroups) -> None:
    made = await groups.create(DEFAULT_HUB, "Archive", NOW)
    assert await groups.create(DEFAULT_HUB, "aRCHIVE", NOW.replace(year=2031)) == made
    assert groups.get(DEFAULT_HUB, "archive") == made
    assert [each.name for each in groups.all(DEFAULT_HUB)] == [DEFAULT_CONSUMER_GROUP, "Archive"]
    assert [each.name for each in groups.all(HubId("other"))] == [DEFAULT_CONSUMER_GROUP]
    await groups.delete(DEFAULT_HUB, "ARCHIVE")
    with pytest.raises(NotFound):
        groups.get(DEFAULT_HUB, "Archive")


async def test_the_default_one_is_there_and_stays(groups: ConsumerGroups) -> None:
    assert (await groups.create(DEFAULT_HUB, "$default", NOW)).name == groups.get(DEFAULT_HUB, "$DEFAULT").name
    assert len(groups.all(DEFAULT_HUB)) == 1
    with pytest.raises(Conflict):
        await groups.delete(DEFAULT_HUB, "$Default")


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a/b", "$other", "é", "x" * 51])
async def test_what_cannot_be_a_name_is_refused(groups: ConsumerGroups, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        await groups.create(DEFAULT_HUB, name, NOW)
    assert caught.value.reason == "consumer_group.name"


async def test_there_are_so_many_and_no_more(groups: ConsumerGroups) -> None:
    for number in range(MAX_CONSUMER_GROUPS - 1):
        await groups.create(DEFAULT_HUB, f"g{number}", NOW)
    with pytest.raises(TooLarge):
        await groups.create(DEFAULT_HUB, "one-more", NOW)
    assert len(groups.all(DEFAULT_HUB)) == MAX_CONSUMER_GROUPS

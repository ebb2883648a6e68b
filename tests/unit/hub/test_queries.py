"""Pages, tokens, groups and conditions over a store with a few hundred devices."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.sqlite import SqliteStore
from moorage.adapters.sqlite.tables import AllTables
from moorage.clock import HandClock
from moorage.dialects.hub_json import Presence
from moorage.dialects.job_rows import JobRows
from moorage.dialects.query_rows import TwinSource
from moorage.errors import Invalid
from moorage.hub.conditions import ConditionTargets
from moorage.hub.model import TwinRows
from moorage.hub.queries import AGGREGATE_S, PAGE_S, Page, QueryService
from moorage.hub.query_rows import Key, Piece
from moorage.hub.query_tokens import Resume, encode_token, parse_token
from moorage.hub.twins import fresh_twin, initial_twin
from moorage.identities.model import ByAuthority, Identity
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName, ModuleId
from moorage.query.evaluator import is_true
from moorage.query.parser import parse_query
from moorage.query.syntax import Expression, Row
from tests.certs import NOW

DEVICES = 250
HUB = DEFAULT_HUB


class Nobody:
    """Only `d-007` is connected."""

    def of(self, hub: HubId, name: IdentityName) -> Presence:
        return Presence(name.device_id == "d-007")

    def connected(self, hub: HubId) -> list[IdentityName]:
        return [IdentityName(DeviceId("d-007"))]


class World:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = HandClock(NOW)
        sources = {rows: TwinSource(rows, Nobody(), self.clock) for rows in TWINS}
        self.service: QueryService[AllTables] = QueryService(
            store,
            self.clock,
            {"devices": sources["devices"], "devices.modules": sources["devices.modules"], "devices.jobs": JobRows()},
        )
        self.targets = ConditionTargets(store, sources)

    async def page(self, text: str, size: int = 1000, continuation: str | None = None) -> Page[Mapping[str, Any]]:
        return await self.service.page(HUB, text, size, continuation, dict)

    async def all(self, text: str, size: int) -> list[list[Mapping[str, Any]]]:
        pages: list[list[Mapping[str, Any]]] = []
        continuation = None
        while True:
            page = await self.page(text, size, continuation)
            pages.append(list(page.items))
            continuation = page.continuation
            if continuation is None:
                return pages


TWINS: tuple[TwinRows, ...] = ("devices", "devices.modules")


def name(number: int, module: str | None = None) -> IdentityName:
    return IdentityName(DeviceId(f"d-{number:03d}"), None if module is None else ModuleId(module))


def fill(tables: AllTables) -> None:
    for number in range(DEVICES):
        whose = name(number)
        tables.identities.put(Identity(HUB, whose, "1", 1, ByAuthority(), NOW))
        if number % 10 == 0:
            tables.identities.put(Identity(HUB, name(number, "camera"), "1", 1, ByAuthority(), NOW))
        tags = {"site": f"site-{number % 5}", "floor": number % 7}
        twin = initial_twin(HUB, whose, tags=tags, desired={}, now=NOW)
        tables.twins.put(replace(twin, reported=replace(twin.reported, value={"battery": number % 100})))


@pytest.fixture
async def world(store: SqliteStore) -> World:
    await store.write(fill)
    return World(store)


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 100, 125, 249, 250, 251, 1000])
async def test_pages_hold_every_row_once_in_order_and_the_last_has_no_continuation(world: World, size: int) -> None:
    pages = await world.all("SELECT deviceId FROM devices", size)
    assert [row["deviceId"] for page in pages for row in page] == [f"d-{number:03d}" for number in range(DEVICES)]
    assert {len(page) for page in pages[:-1]} <= {size}
    assert pages[-1]


@pytest.mark.parametrize(
    "condition",
    [
        "tags.site = 'site-3'",
        "properties.reported.battery > 90",
        "tags.site = 'site-3' AND properties.reported.battery >= 50",
        "tags.floor IN [1, 2] OR deviceId = 'd-000'",
        "NOT IS_DEFINED(tags.nothing)",
        "LENGTH(tags.site) + tags.floor = 8",
        "tags.site = 'nowhere'",
    ],
)
@pytest.mark.parametrize("size", [1, 6, 1000])
async def test_pages_of_a_condition(world: World, condition: str, size: int) -> None:
    where = parse_query(f"SELECT * FROM devices WHERE {condition}").where
    (everything,) = await world.all("SELECT * FROM devices", 1000)
    expected = [row["deviceId"] for row in everything if is_true(where, row)]
    pages = await world.all(f"SELECT * FROM devices WHERE {condition}", size)
    assert [row["deviceId"] for page in pages for row in page] == expected
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    (counted,) = (await world.page(f"SELECT COUNT() AS n FROM devices WHERE {condition}")).items
    assert counted == {"n": len(expected)}


async def test_what_is_written_between_two_pages_neither_repeats_nor_hides_what_stays(world: World) -> None:
    first = await world.page("SELECT deviceId FROM devices", 100)

    def change(tables: AllTables) -> None:
        tables.identities.delete(HUB, name(50))
        tables.identities.delete(HUB, name(99))
        tables.identities.put(Identity(HUB, IdentityName(DeviceId("d-0990")), "1", 1, ByAuthority(), NOW))

    await world.store.write(change)
    second = await world.page("SELECT deviceId FROM devices", 2, first.continuation)
    assert [row["deviceId"] for row in second.items] == ["d-0990", "d-100"]


@pytest.mark.parametrize(("top", "size"), [(1, 10), (10, 10), (25, 10), (25, 1000), (1000, 100)])
async def test_top_ends_the_pages(world: World, top: int, size: int) -> None:
    pages = await world.all(f"SELECT TOP {top} deviceId FROM devices", size)
    assert sum(map(len, pages)) == min(top, DEVICES)
    assert pages[-1]


async def test_item_types(world: World) -> None:
    assert (await world.page("SELECT * FROM devices", 1)).item_type == "Twin"
    assert (await world.page("SELECT * FROM devices.modules", 1)).item_type == "Twin"
    assert (await world.page("SELECT * FROM devices.jobs", 1)).item_type == "DeviceJob"
    assert (await world.page("SELECT deviceId FROM devices", 1)).item_type == "Raw"
    assert (await world.page("SELECT COUNT() FROM devices", 1)).item_type == "Raw"


async def test_modules_have_rows_of_their_own(world: World) -> None:
    page = await world.page("SELECT moduleId, deviceId FROM devices.modules WHERE devices.deviceId = 'd-010'")
    assert list(page.items) == [{"moduleId": "camera", "deviceId": "d-010"}]
    pages = await world.all("SELECT * FROM devices.modules WHERE moduleId = 'camera'", 10)
    assert [len(each) for each in pages] == [10, 10, 5]


async def test_who_is_connected_is_asked_when_the_query_is(world: World) -> None:
    connected = "connectionState = 'Connected'"
    assert [row["deviceId"] for row in (await world.page(f"SELECT * FROM devices WHERE {connected}")).items] == [
        "d-007"
    ]
    for more, count in (("tags.site = 'site-2'", 1), ("tags.site = 'site-1'", 0), ("tags.site > 'site'", 1)):
        (found,) = (await world.page(f"SELECT COUNT() AS n FROM devices WHERE {more} AND {connected}")).items
        assert found == {"n": count}
    (others,) = (await world.page(f"SELECT COUNT() AS n FROM devices WHERE NOT {connected}")).items
    assert others == {"n": DEVICES - 1}


async def test_groups_are_paged_and_ended_by_top(world: World) -> None:
    text = "SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site"
    pages = await world.all(text, 2)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [row for page in pages for row in page] == [{"site": f"site-{number}", "n": 50} for number in range(5)]
    assert [len(page) for page in await world.all(text.replace("SELECT", "SELECT TOP 4"), 2)] == [2, 2]
    assert [len(page) for page in await world.all(text.replace("SELECT", "SELECT TOP 3"), 2)] == [2, 1]


async def test_groups_by_whole_sections_are_plain_when_they_are_shown(world: World) -> None:
    page = await world.page("SELECT properties.desired AS d, COUNT() AS n FROM devices GROUP BY properties.desired")
    (row,) = page.items
    assert json.loads(json.dumps(row)) == {
        "d": {"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1},
        "n": DEVICES,
    }


# -- time --------------------------------------------------------------------------------------------------------------


class Slow:
    """Rows `0` to `9`, one a piece, each of which takes some time to find."""

    item_type = "Raw"

    def __init__(self, clock: HandClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def piece(
        self,
        tables: AllTables,
        hub: HubId,
        where: Expression | None,
        after: Key | None,
        limit: int,
        shown: object = (),
    ) -> Piece:
        self._clock.advance(self._seconds)
        number = 0 if after is None else int(after[0]) + 1
        key = (str(number),)
        return Piece([(key, {"number": number})], key if number < 9 else None)

    def whole(self, row: Row) -> Row:
        return row

    def count(self, tables: AllTables, hub: HubId, where: Expression | None) -> int | None:
        return None


async def test_a_page_ends_early_when_it_took_long_and_the_next_goes_on(world: World) -> None:
    world.service = QueryService(world.store, world.clock, {"devices": Slow(world.clock, PAGE_S / 3)})
    pages = await world.all("SELECT * FROM devices WHERE number >= 5", 1000)
    assert [[row["number"] for row in page] for page in pages] == [[], [5], [6, 7, 8], [9]]


async def test_an_aggregate_that_takes_too_long_is_refused(world: World) -> None:
    world.service = QueryService(world.store, world.clock, {"devices": Slow(world.clock, AGGREGATE_S / 5)})
    with pytest.raises(Invalid) as caught:
        await world.page("SELECT SUM(number) AS n FROM devices")
    assert caught.value.reason == "query.time"
    world.service = QueryService(world.store, world.clock, {"devices": Slow(world.clock, AGGREGATE_S / 11)})
    assert list((await world.page("SELECT SUM(number) AS n FROM devices")).items) == [{"n": 45}]


# -- tokens ------------------------------------------------------------------------------------------------------------


async def test_a_token_of_another_query_or_none_of_ours_is_refused(world: World) -> None:
    text = "SELECT deviceId FROM devices"
    token = (await world.page(text, 10)).continuation
    assert token is not None
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")
    for query, made_up in (
        (text + " ", token),
        (text, token[:-1]),
        (text, token + "A"),
        (text, token.swapcase()),
        (text, ""),
        (text, "é"),
        (text, "A" * 10_000),
        (text, base64.urlsafe_b64encode(b"d-009").decode()),
    ):
        with pytest.raises(Invalid) as caught:
            await world.page(query, 10, made_up)
        assert caught.value.reason == "query.continuation"


_positions: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


@given(_positions)
def test_a_token_with_a_right_digest_and_a_wrong_position_is_refused_too(position: Any) -> None:
    from moorage.hub import query_tokens

    data = json.dumps(position).encode()
    token = base64.urlsafe_b64encode(query_tokens._digest(HUB, "q", data) + data).rstrip(b"=").decode()
    try:
        found = parse_token(token, HUB, "q")
    except Invalid as refusal:
        assert refusal.reason == "query.continuation"
    else:
        assert found == Resume(None if position[0] is None else tuple(position[0]), *position[1:])


@given(
    st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3).map(tuple),
    st.integers(0, 10**6),
    st.none() | st.integers(1, 10**9),
)
def test_a_token_comes_back_as_it_went(after: Key | None, offset: int, remaining: int | None) -> None:
    resume = Resume(after, offset, remaining)
    assert parse_token(encode_token(resume, HUB, "q"), HUB, "q") == resume
    with pytest.raises(Invalid):
        parse_token(encode_token(resume, HUB, "q"), HubId("another"), "q")


@pytest.mark.parametrize("collection", ["devices", "devices.modules", "devices.jobs"])
@pytest.mark.parametrize("parts", [1, 2, 3])
async def test_a_token_with_the_key_of_another_collection_ends_in_a_page(
    world: World, collection: str, parts: int
) -> None:
    text = f"SELECT * FROM {collection}"
    page = await world.page(text, 10, encode_token(Resume(after=("x",) * parts), HUB, text))
    assert (page.items, page.continuation) == ([], None)


# -- conditions --------------------------------------------------------------------------------------------------------


async def test_targets_are_selected_in_order_and_in_portions(world: World) -> None:
    condition = "tags.site = 'site-1' AND properties.reported.battery < 50"
    expected = [name(number) for number in range(DEVICES) if number % 5 == 1 and number % 100 < 50]
    found: list[IdentityName] = []
    after = None
    while portion := await world.targets.select(HUB, condition, "devices", after=after, limit=7):
        found += portion
        after = portion[-1]
    assert found == expected


async def test_all_and_nobody_are_selected(world: World) -> None:
    assert len(await world.targets.select(HUB, "*", "devices", after=None, limit=1000)) == DEVICES
    assert await world.targets.select(HUB, "", "devices", after=None, limit=1000) == []
    modules = await world.targets.select(HUB, "FROM devices.modules", "devices.modules", after=None, limit=1000)
    assert modules == [name(number, "camera") for number in range(0, DEVICES, 10)]


async def test_one_identity_is_looked_at_inside_a_transaction(world: World) -> None:
    targets = world.targets

    def work(tables: AllTables) -> list[bool]:
        tables.twins.put(replace(fresh_twin(HUB, name(1)), tags={"site": "new"}))
        return [
            targets.matches(tables, HUB, "tags.site = 'new'", "devices", name(1)),
            targets.matches(tables, HUB, "tags.site = 'site-1'", "devices", name(1)),
            targets.matches(tables, HUB, "*", "devices", name(1)),
            targets.matches(tables, HUB, "", "devices", name(1)),
            targets.matches(tables, HUB, "*", "devices", IdentityName(DeviceId("nobody"))),
            targets.matches(tables, HUB, "*", "devices", name(10, "camera")),
            targets.matches(tables, HUB, "*", "devices.modules", name(10, "camera")),
        ]

    assert await world.store.write(work) == [True, False, True, False, False, False, True]


def test_a_condition_that_is_none_is_refused(store: SqliteStore) -> None:
    with pytest.raises(Invalid) as caught:
        ConditionTargets(store, {}).check("tags.site =", "devices")
    assert caught.value.reason == "query.syntax"
    ConditionTargets(store, {}).check("tags.site = 'a'", "devices")

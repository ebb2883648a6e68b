"""Queries over what devices sent, on a real log with real series (contract/central.md PRE-1, PRE-2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from moorage.accounts.model import ALL_PERMISSIONS, Actor, OrganizationId
from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.adapters.sqlite.tables import AllTables
from moorage.analytics.explorer import Explorer, Measure, Question
from moorage.analytics.query import SeriesQueries
from moorage.clock import HandClock
from moorage.dialects.telemetry_values import values_of
from moorage.dtdl.parser import parse_interface
from moorage.errors import Invalid, NotFound
from moorage.fleet.groups import DeviceGroupId, GroupDraft, Groups
from moorage.fleet.model import UNASSIGNED, DeviceRecord, TemplateId
from moorage.fleet.service import Fleet
from moorage.hub.model import Document, Twin
from moorage.identities.model import NoCredential
from moorage.identities.registry import IdentityDraft, create_in
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName
from moorage.query.problems import InvalidQuery
from tests.stores.test_series import HOUR, NOW, Hub, hub

HUB = DEFAULT_HUB
PUMP = TemplateId("dtmi:com:example:Pump;1")
LIAR = TemplateId("dtmi:com:example:Liar;1")
OWNER = Actor("owner", frozenset(ALL_PERMISSIONS))
NORTH = OrganizationId("north")
NORTHERNER = Actor("user:nora", frozenset(ALL_PERMISSIONS), NORTH, frozenset({NORTH}))
MODEL = parse_interface(
    {
        "@id": PUMP,
        "@type": "Interface",
        "@context": "dtmi:dtdl:context;2",
        "contents": [
            {"@type": "Telemetry", "name": "t", "schema": "double"},
            {"@type": "Property", "name": "site", "schema": "string"},
        ],
    }
)
FROM = f"FROM {PUMP} WHERE WITHIN_WINDOW(PT3H)"


class NoTemplates:
    def is_published(self, tables: Any, template: TemplateId) -> bool:
        return False

    def for_model(self, tables: Any, model_id: str) -> TemplateId:
        return UNASSIGNED

    def published(self, tables: Any) -> Sequence[tuple[TemplateId, str]]:
        return ()


class Connected:
    def count(self, hub: str) -> int:
        return 0

    def connected(self, hub: str) -> list[IdentityName]:
        return []

    def is_connected(self, hub: str, name: IdentityName) -> bool:
        return False


class Plant:
    """Three pumps that sent their number times ten, and one more, in each of two hours."""

    def __init__(self, made: Hub, store: SqliteStore) -> None:
        self.clock = HandClock(NOW + 2 * HOUR)
        self.queries = SeriesQueries(
            HUB,
            store,
            made.series,
            made.log,
            values_of,
            lambda template: MODEL if template in (PUMP, LIAR) else None,
            self.clock,
        )
        self.groups = Groups(HUB, store, self.clock)
        fleet = Fleet(HUB, store, self.clock, NoTemplates(), Connected())
        self.explorer = Explorer(HUB, store, made.series, self.groups, fleet, self.clock)
        self.store = store

    async def rows(self, text: str, actor: Actor = OWNER) -> list[dict[str, Any]]:
        return await self.queries.rows(actor, text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    store = SqliteStore(MEMORY, secrets_key=b"k" * 32, bus=LocalBus())

    def fill(tables: AllTables) -> None:
        for number in range(3):
            name = IdentityName(DeviceId(f"pump-{number}"))
            create_in(tables, HUB, IdentityDraft(name, NoCredential()), NOW)
            organization = NORTH if number == 2 else OrganizationId("")
            record = DeviceRecord(
                HUB,
                name.device_id,
                f"Pump {number}",
                NOW,
                template=PUMP,
                organization=organization,
                is_provisioned=True,
            )
            tables.devices.put(record)
            site = Document({"site": "Oslo" if number else "Bergen"}, {}, 1)
            tables.twins.put(Twin(HUB, name, 1, {}, Document({}, {}, 1), site))
        name = IdentityName(DeviceId("liar"))
        create_in(tables, HUB, IdentityDraft(name, NoCredential()), NOW)
        tables.devices.put(DeviceRecord(HUB, name.device_id, "Liar", NOW, template=LIAR, is_provisioned=True))

    await store.write(fill)
    async with hub(Path(tmp_path_factory.mktemp("plant"))) as made:
        for hours in range(2):
            for number in range(3):
                for more in range(2):
                    body = {"t": number * 10 + more, "motor": {"speed": number}, "state": "on"}
                    await made.say(body, f"pump-{number}", at=hours * HOUR + timedelta(minutes=more))
        await made.say({"t": 1, "$id": "pump-0", "$ts": "now"}, "liar", at=HOUR)
        await made.caught_up()
        yield Plant(made, store)
    await asyncio.to_thread(store.close)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_aggregates_come_of_all_that_was_sent(plant: Plant) -> None:
    assert await plant.rows(f"SELECT AVG(t) AS warm, MAX(t), COUNT(t) AS n {FROM}") == [
        {"warm": 10.5, "MAX(t)": 21.0, "n": 12}
    ]
    assert await plant.rows(f"SELECT $id, SUM(t) AS s, LAST(t) AS z {FROM} GROUP BY $id ORDER BY s DESC") == [
        {"$id": "pump-2", "s": 82.0, "z": 21.0},
        {"$id": "pump-1", "s": 42.0, "z": 11.0},
        {"$id": "pump-0", "s": 2.0, "z": 1.0},
    ]
    assert await plant.rows(f"SELECT site, MIN(motor.speed) AS m {FROM} GROUP BY site ORDER BY site") == [
        {"site": "Bergen", "m": 0.0},
        {"site": "Oslo", "m": 1.0},
    ]
    rows = await plant.rows(f"SELECT TOP 1 AVG(t) AS a {FROM} GROUP BY WINDOW(PT1H) ORDER BY $ts DESC")
    assert rows == [{"$ts": NOW + HOUR, "a": 10.5}]


async def test_aggregates_of_telemetry_and_of_properties_stand_beside_each_other(plant: Plant) -> None:
    assert await plant.rows(f"SELECT MAX(t) AS x, COUNT(site) AS n {FROM} GROUP BY site ORDER BY x") == [
        {"x": 1.0, "n": 4, "site": "Bergen"},
        {"x": 21.0, "n": 8, "site": "Oslo"},
    ]


async def test_what_came_before_the_window_is_in_no_aggregate(plant: Plant) -> None:
    text = f"SELECT COUNT(t) AS n FROM {PUMP} WHERE WITHIN_WINDOW(PT1H58M)"
    assert await plant.rows(f"{text} GROUP BY WINDOW(PT30M)") == [{"$ts": NOW + HOUR, "n": 6}]
    assert await plant.rows(text) == [{"n": 6}]


async def test_conditions_on_telemetry_are_asked_of_each_message(plant: Plant) -> None:
    assert await plant.rows(f"SELECT COUNT(t) AS n, MAX(t) AS x {FROM} AND t > 9 AND t < 20") == [{"n": 4, "x": 11.0}]
    assert await plant.rows(f"SELECT COUNT() AS n {FROM} AND $id = 'pump-1'") == [{"n": 4}]
    rows = await plant.rows(f"SELECT TOP 2 $id, $ts, t {FROM} AND $id IN ['pump-0', 'pump-2'] AND t >= 1")
    assert [(row["$id"], row["t"]) for row in rows] == [("pump-0", 1), ("pump-2", 21)]
    assert rows[0]["$ts"] == rows[1]["$ts"] == NOW + HOUR + timedelta(minutes=1)
    assert await plant.rows(f"SELECT t FROM {PUMP} WHERE WITHIN_WINDOW(PT5M)") == []


async def test_who_said_it_and_when_is_asked_of_messages_without_their_values(plant: Plant) -> None:
    rows = await plant.rows(f"SELECT $id, $ts {FROM} AND t > 10")
    assert sorted(row["$id"] for row in rows) == ["pump-1", "pump-1", *["pump-2"] * 4]
    assert rows[0]["$ts"] == NOW + HOUR + timedelta(minutes=1)


async def test_a_query_reads_so_many_messages_of_however_many_devices(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"SELECT t {FROM}"
    monkeypatch.setattr("moorage.analytics.query.MAX_READ", 12)
    assert len(await plant.rows(text)) == 12
    monkeypatch.setattr("moorage.analytics.query.MAX_READ", 11)
    with pytest.raises(Invalid, match="after 11 messages"):
        await plant.rows(text)


async def test_properties_alone_make_a_row_for_each_device(plant: Plant) -> None:
    text = f"SELECT $id, site, $provisioned FROM {PUMP} WHERE site = 'Oslo'"
    assert await plant.rows(text) == [
        {"$id": "pump-1", "site": "Oslo", "$provisioned": True},
        {"$id": "pump-2", "site": "Oslo", "$provisioned": True},
    ]
    assert [row["$id"] for row in await plant.rows(text, NORTHERNER)] == ["pump-2"]
    assert await plant.rows(f"SELECT COUNT(t) AS n {FROM}", NORTHERNER) == [{"n": 4}]


@pytest.mark.parametrize(
    ("text", "reason", "at"),
    [
        ("SELECT t", "query.collection", 0),
        ("SELECT t FROM devices", "query.collection", 9),
        (f"SELECT t FROM {PUMP} WHERE WITHIN_WINDOW(1 day)", "query.window", 58),
        (f"SELECT t FROM {PUMP} WHERE t > ", "query.syntax", 48),
        (f"SELECT t FROM {PUMP} LIMIT 5", "query.syntax", 38),
        (f"SELECT t, t FROM {PUMP}", "query.alias", 7),
        (f"SELECT t, AVG(t) FROM {PUMP}", "query.aggregate", 7),
        (f"SELECT t FROM {PUMP} ORDER BY x", "query.aggregate", 0),
        ("SELECT " + ", ".join(f"c{number}" for number in range(16)) + f" FROM {PUMP}", "query.size", None),
        (f"SELECT t FROM {PUMP} WHERE " + " AND ".join("t > 1" for _ in range(11)), "query.size", None),
        (f"SELECT t AS {'x' * 351} FROM {PUMP}", "query.size", None),
        (f"SELECT COUNT(), MAX($ts) FROM {PUMP}", "query.aggregate", 16),
        (f"SELECT t FROM {PUMP} WHERE $ts > '2030-01-01T00:00:00Z'", "query.window", 44),
        (f"SELECT $ts, COUNT(t) FROM {PUMP} GROUP BY $ts", "query.window", 0),
        ("ßßßßßßßßßßßßFROM x", "query.collection", 12),
    ],
)
async def test_what_is_no_query_is_refused_at_its_place(plant: Plant, text: str, reason: str, at: int | None) -> None:
    with pytest.raises(InvalidQuery) as refusal:
        await plant.rows(text)
    assert refusal.value.reason == reason
    assert at is None or refusal.value.at == at
    assert refusal.value.at <= len(text)


async def test_a_template_that_there_is_not_has_nothing(plant: Plant) -> None:
    with pytest.raises(NotFound, match="template"):
        await plant.rows("SELECT t FROM dtmi:no:such;1")


async def test_the_explorer_answers_with_lines(plant: Plant) -> None:
    ids = ("pump-0", "pump-1", "pump-2")
    average, count = Measure("", "t"), Measure("", "state", "count")
    question = Question(devices=ids, measures=(average, count), minutes=180, step=60)
    answer = await plant.explorer.answer(OWNER, question)
    assert [line.label for line in answer.lines] == ["t", "state"]
    assert [list(line.values) for line in answer.lines] == [[None, 10.5, 10.5], [0.0, 6.0, 6.0]]
    twice = await plant.explorer.answer(OWNER, replace(question, devices=(*ids, *ids)))
    assert [line.values for line in twice.lines] == [line.values for line in answer.lines]
    by_site = await plant.explorer.answer(
        OWNER, Question(devices=ids, measures=(average,), by="site", minutes=180, step=60)
    )
    assert {line.of: list(line.values) for line in by_site.lines} == {
        "Bergen": [None, 0.5, 0.5],
        "Oslo": [None, 15.5, 15.5],
    }
    totals = await plant.explorer.totals(
        OWNER,
        Question(devices=ids, measures=(Measure("", "t", "maximum"),), by="$id", minutes=60),
        NOW + 2 * HOUR,
        most_devices=2,
    )
    assert [(total.of, total.value, total.before) for total in totals] == [
        ("Pump 0", 1.0, 1.0),
        ("Pump 1", 11.0, 11.0),
    ]


async def test_a_total_is_of_its_time_to_the_minute(plant: Plant) -> None:
    question = Question(devices=("pump-1",), measures=(Measure("", "t", "count"),), minutes=119)
    (total,) = await plant.explorer.totals(OWNER, question, NOW + 2 * HOUR, most_devices=9)
    assert (total.value, total.before) == (3, 1)
    (total,) = await plant.explorer.totals(OWNER, question, NOW + 3 * HOUR, most_devices=9)
    assert (total.value, total.before) == (1, 3)


async def test_the_explorer_shows_nobody_what_they_do_not_see(plant: Plant) -> None:
    with pytest.raises(NotFound, match="pump-0"):
        await plant.explorer.answer(NORTHERNER, Question(devices=("pump-0",), measures=(Measure("", "t"),)))
    with pytest.raises(NotFound, match="no-group"):
        await plant.explorer.answer(OWNER, Question(group="no-group", measures=(Measure("", "t"),)))


@pytest.mark.parametrize(
    "question",
    [
        Question(measures=tuple(Measure("", f"n{number}") for number in range(9))),
        Question(devices=tuple(f"d{number}" for number in range(101))),
        Question(step=7),
        Question(minutes=0),
        Question(since=NOW),
        Question(since=NOW, until=NOW),
        Question(since=NOW, until=NOW + timedelta(days=400)),
    ],
)
async def test_a_question_that_asks_too_much_is_refused(plant: Plant, question: Question) -> None:
    with pytest.raises(Invalid) as refusal:
        await plant.explorer.answer(OWNER, question)
    assert refusal.value.reason == "explorer.question"


async def test_members_of_a_group_are_explored(plant: Plant) -> None:
    query = f'SELECT * FROM devices WHERE $template = "{PUMP}" AND site = "Oslo"'
    group = GroupDraft("Oslo", query)
    with pytest.raises(NotFound, match="template"):
        # No template was published in this store.
        await plant.groups.put(OWNER, DeviceGroupId("oslo"), group)
    found = await plant.groups.preview(OWNER, group, 10)
    assert [record.device_id for record in found.devices] == ["pump-1", "pump-2"]


async def test_a_body_does_not_say_whose_it_is_nor_when_it_came(plant: Plant) -> None:
    of_liar = FROM.replace(PUMP, LIAR)
    assert await plant.rows(f"SELECT $id, t {of_liar} AND t > 0") == [{"$id": "liar", "t": 1}]
    rows = await plant.rows(f"SELECT $id, COUNT(t) AS n {of_liar} AND t > 0 GROUP BY $id, WINDOW(PT1H)")
    assert rows == [{"$id": "liar", "n": 1, "$ts": NOW + HOUR}]

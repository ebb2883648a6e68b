"""Counting: what is counted when, and that asking often does not mean counting often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.dialects.query_rows import TwinSource
from moorage.errors import Invalid
from moorage.hub.configuration_metrics import ConfigurationMetrics, Counts, QueryCounts
from moorage.hub.queries import QueryService
from moorage.ids import HubId
from tests.unit.hub.absent import NobodyConnected
from tests.unit.hub.samples import configuration, named
from tests.unit.hub.test_applier import Fleet
from tests.unit.hub.test_edge_deployments import base


class Counted:
    """Port: `MetricQueries`: the real ones, written down; `hold` keeps those that are asked waiting."""

    def __init__(self, queries: QueryCounts[AllTables]) -> None:
        self._queries = queries
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None

    def check(self, text: str) -> None:
        self._queries.check(text)

    async def count(self, hub: HubId, text: str) -> int:
        self.asked.append(text)
        if self.hold is not None:
            await self.hold.wait()
        return await self._queries.count(hub, text)


@pytest.fixture
async def fleet(store: SqliteStore, bus: LocalBus) -> Fleet:
    return Fleet(store, bus)


@pytest.fixture
async def counted(fleet: Fleet) -> Counted:
    nobody = NobodyConnected()
    service = QueryService(
        fleet.store,
        fleet.clock,
        {
            "devices": TwinSource("devices", nobody, fleet.clock),
            "devices.modules": TwinSource("devices.modules", nobody, fleet.clock),
        },
    )
    return Counted(QueryCounts(service))


@pytest.fixture
async def metrics(fleet: Fleet, counted: Counted) -> AsyncIterator[ConfigurationMetrics]:
    made = ConfigurationMetrics(HubId("hub"), fleet.store, counted, fleet.clock)
    yield made
    await made.close()


DEVICES = "SELECT deviceId FROM devices"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (DEVICES, 7),
        ("SELECT * FROM devices WHERE tags.hall = 1", 2),
        ("SELECT COUNT() AS n FROM devices", 7),
        ("SELECT tags.hall AS hall, COUNT() AS n FROM devices GROUP BY tags.hall", 2),
        ("SELECT deviceId FROM devices.modules", 0),
    ],
)
async def test_a_query_counts_its_rows_or_is_asked_for_a_number(
    fleet: Fleet, counted: Counted, text: str, count: int
) -> None:
    for number in range(7):
        await fleet.create(f"d{number}", tags={"hall": 1} if number < 2 else None)
    assert await counted.count(HubId("hub"), text) == count


async def test_more_rows_than_a_page_are_counted(fleet: Fleet, counted: Counted) -> None:
    await fleet.create_many(1001)
    assert await counted.count(HubId("hub"), DEVICES) == 1001


async def test_what_is_no_query_is_refused(counted: Counted) -> None:
    with pytest.raises(Invalid, match=r"query\.syntax"):
        counted.check("SELECT FROM devices")


async def test_counts_are_those_of_now_and_kept_for_a_moment(
    fleet: Fleet, counted: Counted, metrics: ConfigurationMetrics
) -> None:
    made = configuration("a", condition="tags.hall = 1", metrics={"all": DEVICES})
    await fleet.put(made)
    assert await metrics.of(made) == Counts({"targetedCount": 0, "appliedCount": 0}, {"all": 0})
    await fleet.create("d", tags={"hall": 1})
    await fleet.settle()
    assert await metrics.of(made) == Counts({"targetedCount": 1, "appliedCount": 1}, {"all": 0})
    fleet.clock.advance(2)
    assert await metrics.of(made) == Counts({"targetedCount": 1, "appliedCount": 1}, {"all": 1})
    assert counted.asked == [DEVICES, DEVICES]


async def test_a_deployment_counts_what_devices_reported(fleet: Fleet, metrics: ConfigurationMetrics) -> None:
    made = base("b")
    await fleet.put(made)
    for name, code in (("e1", 200), ("e2", 406), ("e3", None)):
        await fleet.create(name, edge=True)
        await fleet.settle()
        if code is not None:
            version = fleet.twins.get(HubId("hub"), named(f"{name}/$edgeAgent")).desired.version
            answer = {"lastDesiredVersion": version, "lastDesiredStatus": {"code": code}}
            await fleet.twins.report(HubId("hub"), named(f"{name}/$edgeAgent"), answer)
    assert (await metrics.of(made)).system == {
        "targetedCount": 3,
        "appliedCount": 3,
        "reportedSuccessfulCount": 1,
        "reportedFailedCount": 1,
    }


async def test_a_list_counts_each_once_and_again_after_a_minute(
    fleet: Fleet, counted: Counted, metrics: ConfigurationMetrics
) -> None:
    many = [configuration(f"c{number}", metrics={"m": DEVICES}) for number in range(30)]
    for _ in range(3):
        await asyncio.gather(*(metrics.of_all(many) for _ in range(3)))
    assert len(counted.asked) == 30
    fleet.clock.advance(61)
    await metrics.of_all(many)
    assert len(counted.asked) == 60


async def test_who_asks_does_not_wait_for_a_long_count(fleet: Fleet, counted: Counted) -> None:
    metrics = ConfigurationMetrics(HubId("hub"), fleet.store, counted, fleet.clock, patience_s=0.05)
    made = configuration("a", metrics={"m": DEVICES})
    counted.hold = asyncio.Event()
    assert (await metrics.of(made)).custom == {}
    counted.hold.set()
    async with asyncio.timeout(30):
        # However often it is asked meanwhile, it is counted once.
        while not (custom := (await metrics.of(made)).custom):
            pass
    assert custom == {"m": 0}
    assert counted.asked == [DEVICES]
    await metrics.close()


async def test_a_changed_configuration_is_counted_anew_and_one_of_the_same_name_too(
    fleet: Fleet, counted: Counted, metrics: ConfigurationMetrics
) -> None:
    await metrics.of(configuration("a", metrics={"m": DEVICES}))
    assert (await metrics.of(configuration("a", metrics={"n": DEVICES}, age_s=5))).custom == {"n": 0}
    assert len(counted.asked) == 2

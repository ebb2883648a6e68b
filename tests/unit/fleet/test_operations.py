"""Bulk work on devices: batches, what fails alone, who waits for whom, and what becomes of it (central.md LST-6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from moorage.accounts.model import OWNER
from moorage.errors import Exhausted, NotFound
from moorage.fleet.model import DeviceFilter, DeviceRecord
from moorage.fleet.operations import BATCH, MAX_AT_ONCE, MAX_WAITING, DeviceOperations, Operation, these
from moorage.fleet.service import Done
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.unit.fleet.fleets import NORTH, SOUTH, TestFleet, fleet_of, member_of


@pytest.fixture
async def fleet() -> AsyncIterator[TestFleet]:
    async with fleet_of() as fleet:
        yield fleet


@pytest.fixture
async def operations(fleet: TestFleet) -> AsyncIterator[DeviceOperations]:
    operations = DeviceOperations(fleet.fleet, fleet.store, fleet.clock)
    yield operations
    await operations.close()


async def fill(fleet: TestFleet, devices: int) -> None:
    def work(tables: Any) -> None:
        for number in range(devices):
            name = DeviceId(f"pump-{number:04}")
            organization = NORTH if number % 2 else SOUTH
            record = DeviceRecord(DEFAULT_HUB, name, name, fleet.clock.now(), organization=organization)
            tables.devices.put(record)

    await fleet.store.write(work)


def blocking(fleet: TestFleet, operations: DeviceOperations, wanted: DeviceFilter, actor: Any = OWNER) -> Operation:
    def step(tables: Any, device_id: DeviceId, now: datetime) -> Done | None:
        return fleet.fleet.block_in(tables, actor, device_id, now)

    return operations.start(actor, "Block", operations.matching(actor, wanted), step, total=1)


async def test_devices_that_stop_matching_on_the_way_are_worked_off_all_the_same(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    await fill(fleet, 2 * BATCH + 7)
    operation = blocking(fleet, operations, DeviceFilter(state="registered"))
    await operations.wait(operation, 30)
    assert (operation.state, operation.done, operation.failed) == ("done", 2 * BATCH + 7, 0)
    assert await fleet.fleet.count(OWNER, DeviceFilter(state="blocked")) == 2 * BATCH + 7


async def test_only_what_the_actor_sees_is_touched(fleet: TestFleet, operations: DeviceOperations) -> None:
    await fill(fleet, 10)
    operation = blocking(fleet, operations, DeviceFilter(), member_of(NORTH))
    await operations.wait(operation, 30)
    assert operation.done == 5
    assert await fleet.fleet.count(OWNER, DeviceFilter(state="blocked")) == 5


async def test_what_is_refused_is_kept_with_its_reason_and_undone_alone(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    await fill(fleet, 3)

    def step(tables: Any, device_id: DeviceId, now: datetime) -> Done | None:
        done = fleet.fleet.block_in(tables, OWNER, device_id, now)
        if device_id == "pump-0001":
            raise NotFound("device.unknown", "there is no such device")
        return done

    names = [DeviceId(f"pump-{number:04}") for number in range(3)]
    operation = operations.start(OWNER, "Block", these(names), step, total=3)
    await operations.wait(operation, 30)
    assert (operation.state, operation.done, operation.failed) == ("done", 2, 1)
    assert operation.errors == [("pump-0001", "device.unknown", "there is no such device")]
    assert [fleet.get(name).state for name in names] == ["blocked", "registered", "blocked"]


async def test_a_fault_in_the_work_ends_it_and_is_logged(
    fleet: TestFleet, operations: DeviceOperations, caplog: pytest.LogCaptureFixture
) -> None:
    def step(tables: Any, item: int, now: datetime) -> Done | None:
        raise ValueError("a fault of ours")

    operation = operations.start(OWNER, "Fault", these([1]), step, total=1)
    await operations.wait(operation, 30)
    assert operation.state == "failed"
    assert "operation_failed" in caplog.text


async def test_a_few_run_at_once_others_wait_and_too_many_are_refused(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    going = asyncio.Event()
    ended: list[str] = []

    async def held() -> AsyncIterator[list[int]]:
        await going.wait()
        yield [1]

    def begin(name: str) -> Operation:
        return operations.start(
            OWNER, name, held(), lambda tables, item, now: None, total=1, on_end=lambda: ended.append(name)
        )

    begun = [begin(str(number)) for number in range(MAX_AT_ONCE + MAX_WAITING)]
    await asyncio.sleep(0.02)
    assert [each.state for each in begun].count("running") == MAX_AT_ONCE
    with pytest.raises(Exhausted, match=r"operations\.too_many"):
        begin("one more")
    operations.stop(OWNER, begun[0].operation_id)
    operations.stop(OWNER, begun[-1].operation_id)
    going.set()
    for each in begun:
        await operations.wait(each, 30)
    assert [each.state for each in begun].count("stopped") == 2
    assert [each.state for each in begun].count("done") == len(begun) - 2
    await asyncio.sleep(0)
    assert len(ended) == len(begun)


async def test_others_see_nothing_of_it(fleet: TestFleet, operations: DeviceOperations) -> None:
    operation = operations.start(OWNER, "Nothing", these([]), lambda tables, item, now: None, total=0)
    await operations.wait(operation, 30)
    assert operations.of(OWNER) == [operation]
    assert operations.of(member_of(NORTH)) == []
    with pytest.raises(NotFound, match=r"operations\.unknown"):
        operations.stop(member_of(NORTH), operation.operation_id)

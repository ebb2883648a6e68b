"""Bulk work on devices: batches, what fails alone, who waits for whom, restarts, and for whom it goes on (LST-6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from moorage.accounts.model import OWNER, PERMISSIONS, Actor, Login, RoleId, User, UserId
from moorage.accounts.roles import ADMINISTRATOR
from moorage.accounts.tables import actor_of
from moorage.errors import Exhausted, Forbidden, Invalid, NotFound
from moorage.fleet.model import DeviceFilter, DeviceRecord
from moorage.fleet.operation_model import BulkAct, Item, Operation, OperationId
from moorage.fleet.operations import BATCH, MAX_AT_ONCE, MAX_KEPT, MAX_WAITING, DeviceOperations, these
from moorage.fleet.service import Done
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.servers.world import eventually
from tests.unit.fleet.fleets import NORTH, SOUTH, THERMOSTAT, TestFleet, fleet_of, member_of

BLOCK = BulkAct("block")


@pytest.fixture
async def fleet() -> AsyncIterator[TestFleet]:
    async with fleet_of() as fleet:
        yield fleet


@pytest.fixture
async def operations(fleet: TestFleet) -> AsyncIterator[DeviceOperations]:
    operations = DeviceOperations(fleet.fleet, fleet.store, fleet.clock)
    yield operations
    await operations.close()


async def fill(fleet: TestFleet, devices: int) -> list[Item]:
    """Pumps in the north and in the south; all of them as items."""
    names = [DeviceId(f"pump-{number:04}") for number in range(devices)]

    def work(tables: Any) -> None:
        for number, name in enumerate(names):
            organization = NORTH if number % 2 else SOUTH
            tables.devices.put(DeviceRecord(DEFAULT_HUB, name, name, fleet.clock.now(), organization=organization))

    await fleet.store.write(work)
    return [Item(name) for name in names]


async def add_user(fleet: TestFleet, user_id: str = "u1", login: str = "ada", **values: Any) -> Actor:
    user = User(DEFAULT_HUB, UserId(user_id), Login(login), ADMINISTRATOR, "x", fleet.clock.now(), **values)
    await fleet.store.write(lambda tables: tables.users.put(user))
    return actor_of(fleet.store.read(), DEFAULT_HUB, user)


async def matching(operations: DeviceOperations, actor: Actor, wanted: DeviceFilter) -> AsyncIterator[Sequence[Item]]:
    async for found in operations.matching(actor, wanted):
        yield [Item(each) for each in found]


async def ended(operations: DeviceOperations, operation: Operation) -> Operation:
    found = await operations.wait(operation, 30)
    assert found.is_over
    return found


async def blocked(fleet: TestFleet) -> int:
    return await fleet.fleet.count(OWNER, DeviceFilter(state="blocked"))


async def test_devices_that_stop_matching_on_the_way_are_worked_off_all_the_same(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    await fill(fleet, 2 * BATCH + 7)
    wanted = DeviceFilter(state="registered")
    operation = await operations.start(OWNER, "Block", BLOCK, matching(operations, OWNER, wanted))
    assert (operation.total, operation.title) == (2 * BATCH + 7, "Block: 207 devices")
    operation = await ended(operations, operation)
    assert (operation.state, operation.done, operation.failed, operation.percent) == ("done", 2 * BATCH + 7, 0, 100)
    assert await blocked(fleet) == 2 * BATCH + 7


async def test_only_what_the_actor_sees_is_touched(fleet: TestFleet, operations: DeviceOperations) -> None:
    every = await fill(fleet, 10)
    ada = await add_user(fleet, organization=NORTH)
    found = matching(operations, ada, DeviceFilter())
    assert (await ended(operations, await operations.start(ada, "Block", BLOCK, found))).done == 5
    assert await blocked(fleet) == 5
    operation = await ended(operations, await operations.start(ada, "Block", BLOCK, these(every)))
    assert (operation.done, operation.failed) == (5, 5)


async def test_what_is_refused_is_kept_with_its_reason_and_undone_alone(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    await fill(fleet, 2)
    items = [
        Item("pump-0000", 2, "Again"),
        Item("new-1", 3, "First"),
        Item("", 4, reason="id.device_plain", message="' ' is no id"),
        Item("new-2", 5),
    ]
    act = BulkAct("import", organization=NORTH)
    operation = await ended(operations, await operations.start(OWNER, "Import", act, these(items)))
    assert (operation.state, operation.done, operation.failed) == ("done", 2, 2)
    assert [(each.item, each.reason) for each in await operations.errors(OWNER, operation.operation_id)] == [
        ("line 2, pump-0000", "device.exists"),
        ("line 4", "id.device_plain"),
    ]
    made = fleet.get("new-1").record
    assert (made.display_name, made.organization) == ("First", NORTH)


async def test_each_act_does_what_it_is_called(fleet: TestFleet, operations: DeviceOperations) -> None:
    [one] = await fill(fleet, 1)

    async def act(act: BulkAct) -> DeviceRecord:
        assert (await ended(operations, await operations.start(OWNER, "Act", act, these([one])))).done == 1
        return fleet.get(one.device_id).record

    assert (await act(BulkAct("block"))).state == "blocked"
    assert (await act(BulkAct("unblock"))).state == "registered"
    assert (await act(BulkAct("move", organization=NORTH))).organization == NORTH
    await fleet.store.write(
        lambda tables: tables.devices.put(replace(fleet.get(one.device_id).record, is_approved=False))
    )
    assert (await act(BulkAct("approve"))).is_approved
    assert (await act(BulkAct("migrate", template=THERMOSTAT))).template == THERMOSTAT
    with pytest.raises(NotFound):
        await act(BulkAct("delete"))
    detached = await ended(operations, await operations.start(OWNER, "Detach", BulkAct("detach"), these([one])))
    assert [each.reason for each in await operations.errors(OWNER, detached.operation_id)] == ["device.unknown"]


async def test_nothing_to_do_and_what_somebody_may_not_do_is_refused_at_once(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    with pytest.raises(Invalid, match=r"operations\.none"):
        await operations.start(OWNER, "Block", BLOCK, these([]))
    reader = Actor("user:eve", PERMISSIONS["operator"] - {"devices.delete"})
    with pytest.raises(Forbidden, match=r"operations\.permission: .* devices\.delete"):
        await operations.start(reader, "Delete", BulkAct("delete"), these([Item("a")]))
    assert fleet.store.read().operations.with_batches(DEFAULT_HUB) == []


class _Broken(Exception):
    """A fault of ours, in the middle of a batch."""


async def test_a_fault_in_the_work_ends_it_undoes_its_batch_and_is_logged(
    fleet: TestFleet, operations: DeviceOperations, caplog: pytest.LogCaptureFixture
) -> None:
    every = await fill(fleet, 3)
    block_in = fleet.fleet.block_in

    def broken(tables: Any, actor: Actor, device_id: DeviceId, now: Any) -> Done | None:
        if device_id == "pump-0002":
            raise _Broken
        return block_in(tables, actor, device_id, now)

    fleet.fleet.block_in = broken  # type: ignore[method-assign] # a fault cannot be had otherwise
    operation = await ended(operations, await operations.start(OWNER, "Block", BLOCK, these(every)))
    assert (operation.state, operation.done) == ("failed", 0)
    assert "fault of moorage" in operation.message
    assert await blocked(fleet) == 0
    assert "operation_failed" in caplog.text


async def test_a_few_run_at_once_others_wait_and_too_many_are_refused(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    every = await fill(fleet, 1)
    # Whoever holds the places.
    for _ in range(MAX_AT_ONCE):
        await operations._places.acquire()
    begun = [
        await operations.start(OWNER, str(number), BLOCK, these(every)) for number in range(MAX_AT_ONCE + MAX_WAITING)
    ]
    with pytest.raises(Exhausted, match=r"operations\.too_many"):
        await operations.start(OWNER, "one more", BLOCK, these(every))
    await operations.stop(OWNER, begun[0].operation_id)
    begun.append(await operations.start(OWNER, "in its place", BLOCK, these(every)))
    for _ in range(MAX_AT_ONCE):
        operations._places.release()
    states = [(await ended(operations, each)).state for each in begun]
    assert states == ["stopped", *["done"] * (len(begun) - 1)]
    assert len(await operations.of(OWNER)) == len(begun)


async def test_whoever_goes_away_while_it_is_written_down_leaves_nothing(
    fleet: TestFleet, operations: DeviceOperations
) -> None:
    async def endless() -> AsyncIterator[Sequence[Item]]:
        for _ in range(30):
            yield [Item("pump-0000")]
        await asyncio.Event().wait()

    asking = asyncio.create_task(operations.start(OWNER, "Block", BLOCK, endless()))
    table = fleet.store.read().operations
    await eventually(lambda: bool(table.with_batches(DEFAULT_HUB)))
    asking.cancel()
    await asyncio.gather(asking, *operations._aside, return_exceptions=True)
    await eventually(lambda: not table.with_batches(DEFAULT_HUB))
    assert await operations.of(OWNER) == []


async def test_after_a_restart_it_goes_on_with_the_first_device_that_is_not_done(fleet: TestFleet) -> None:
    every = await fill(fleet, 3 * BATCH)
    before = DeviceOperations(fleet.fleet, fleet.store, fleet.clock)
    for _ in range(MAX_AT_ONCE):
        await before._places.acquire()
    begun = await before.start(OWNER, "Block", BLOCK, these([*every, Item("gone")]))
    # One batch, and then the hub ends.
    await fleet.store.write(lambda tables: before._work_off(tables, begun.operation_id))
    # What was being written down when it ended never began.
    await fleet.store.write(
        lambda tables: tables.operations.put_batches(DEFAULT_HUB, OperationId("never"), 0, [[Item("pump-0000")]])
    )
    await before.close()
    assert (before.get(OWNER, begun.operation_id).done, await blocked(fleet)) == (BATCH, BATCH)
    # Unblocked by somebody meanwhile: what was done is not done again.
    await fleet.fleet.unblock(OWNER, DeviceId("pump-0000"))

    after = DeviceOperations(fleet.fleet, fleet.store, fleet.clock)
    try:
        await after.resume()
        operation = await ended(after, begun)
        assert (operation.state, operation.done, operation.failed) == ("done", 3 * BATCH, 1)
        assert fleet.get("pump-0000").state == "registered"
        assert await blocked(fleet) == 3 * BATCH - 1
        assert [each.item for each in await after.errors(OWNER, begun.operation_id)] == ["gone"]
        await asyncio.gather(*after._aside)
        assert fleet.store.read().operations.with_batches(DEFAULT_HUB) == []
    finally:
        await after.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tables, user: tables.users.delete(DEFAULT_HUB, user.user_id), "maker.gone"),
        (lambda tables, user: tables.users.put(replace(user, is_disabled=True)), "maker.disabled"),
        (lambda tables, user: tables.users.put(replace(user, role=RoleId("none"))), "operations.permission"),
        # Somebody else of that name, even of that id.
        (
            lambda tables, user: tables.users.put(replace(user, created=user.created + timedelta(seconds=1))),
            "maker.gone",
        ),
    ],
)
async def test_it_goes_on_only_while_whoever_began_it_may(
    fleet: TestFleet, change: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.audit")
    every = await fill(fleet, 2 * BATCH)
    ada = await add_user(fleet)
    user = fleet.store.read().users.find(DEFAULT_HUB, UserId("u1"))
    operations = DeviceOperations(fleet.fleet, fleet.store, fleet.clock)
    for _ in range(MAX_AT_ONCE):
        await operations._places.acquire()
    begun = await operations.start(ada, "Block", BLOCK, these(every))
    await fleet.store.write(lambda tables: operations._work_off(tables, begun.operation_id))
    await fleet.store.write(lambda tables: change(tables, user))
    operations._places.release()
    try:
        operation = await ended(operations, begun)
        assert (operation.state, operation.done, await blocked(fleet)) == ("failed", BATCH, BATCH)
        assert "user:ada" in operation.message
        told = [record for record in caplog.records if getattr(record, "event", "") == "operation.halted"]
        assert [record.facts["reason"] for record in told] == [reason]  # type: ignore[attr-defined] # of the audit log
    finally:
        await operations.close()


async def test_old_ones_are_forgotten_with_their_errors(fleet: TestFleet, operations: DeviceOperations) -> None:
    def work(tables: Any) -> None:
        for number in range(MAX_KEPT + 3):
            moment = fleet.clock.now() - timedelta(seconds=number)
            named = OperationId(f"{number:04}")
            old = Operation(DEFAULT_HUB, named, "Old", BLOCK, OWNER.maker, moment, 1, "done", ended=moment)
            tables.operations.put(old)
            tables.operations.add_errors(DEFAULT_HUB, named, 0, [("a", "b", "c")])

    await fleet.store.write(work)
    await fill(fleet, 1)
    await ended(operations, await operations.start(OWNER, "Block", BLOCK, these([Item("pump-0000")])))
    table = fleet.store.read().operations
    assert len(table.of(DEFAULT_HUB, OWNER.key, 1000)) == MAX_KEPT + 1
    assert table.errors(DEFAULT_HUB, OperationId("0001")) and not table.errors(DEFAULT_HUB, OperationId("0102"))


async def test_others_see_nothing_of_it(fleet: TestFleet, operations: DeviceOperations) -> None:
    await fleet.add("pump-0000")
    operation = await ended(operations, await operations.start(OWNER, "Block", BLOCK, these([Item("pump-0000")])))
    assert await operations.of(OWNER) == [operation]
    stranger = member_of(NORTH)
    assert await operations.of(stranger) == []
    with pytest.raises(NotFound, match=r"operations\.unknown"):
        await operations.stop(stranger, operation.operation_id)
    with pytest.raises(NotFound, match=r"operations\.unknown"):
        await operations.errors(stranger, operation.operation_id)

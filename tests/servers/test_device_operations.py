"""Bulk work that a hub was killed in the middle of goes on when the hub starts again (LST-6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moorage.accounts.model import OWNER
from moorage.fleet.model import DeviceDraft
from moorage.fleet.operation_model import BulkAct, Item, Operation, OperationId
from moorage.ids import DEFAULT_HUB, DeviceId
from tests.servers.world import eventually, running

ONE = OperationId("0123456789abcdef")


async def test_what_was_under_way_is_done_after_the_start_and_what_was_done_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        for number in range(4):
            await world.app.application.fleet.create(OWNER, DeviceDraft(DeviceId(f"pump-{number}")))

        def work(tables: Any) -> None:
            # As a hub leaves it that dies after the first batch, which was pump-0 alone, and failed at another.
            operation = Operation(
                DEFAULT_HUB,
                ONE,
                "Block: 5 devices",
                BulkAct("block"),
                OWNER.maker,
                world.clock.now(),
                5,
                "running",
                1,
                1,
            )
            tables.operations.put(operation)
            tables.operations.add_errors(DEFAULT_HUB, ONE, 0, [("gone", "device.unknown", "there is no device 'gone'")])
            tables.operations.put_batches(DEFAULT_HUB, ONE, 1, [[Item("pump-1"), Item("lost")], [Item("pump-2")]])

        await world.app.store.write(work)
    async with running(tmp_path / "hub") as world:
        application = world.app.application
        await eventually(lambda: application.operations.get(OWNER, ONE).is_over)
        operation = application.operations.get(OWNER, ONE)
        assert (operation.state, operation.done, operation.failed) == ("done", 3, 2)
        assert [each.item for each in await application.operations.errors(OWNER, ONE)] == ["gone", "lost"]
        states = [application.fleet.get(OWNER, DeviceId(f"pump-{number}")).state for number in range(4)]
        assert states == ["registered", "blocked", "blocked", "registered"]

"""Every case of the attack table, on every transport that it names, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.attacks.chapters import TABLE
from tests.attacks.scene import Ground, Scene
from tests.attacks.table import IN_WEBSOCKETS, Case, Door
from tests.servers.world import World, running

PLAYS = [
    (case, door, in_websocket)
    for case in TABLE
    for door in case.outcomes
    for in_websocket in ((False, True) if door in IN_WEBSOCKETS else (False,))
]
IDS = [f"{case.number}-{door}{' in a WebSocket' if in_websocket else ''}" for case, door, in_websocket in PLAYS]
# More than all cases together ask for in the one minute in which they all happen.
_RATES: dict[str, Any] = {
    "throttle_registrations_per_minute": 100_000,
    "throttle_polls_per_minute": 100_000,
    "throttle_enrollments_per_minute": 100_000,
    "throttle_registry_per_minute": 100_000,
}


def hub(folder: Path, **settings: Any) -> AbstractAsyncContextManager[World]:
    return running(folder / "hub", **_RATES, **settings)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    async with hub(tmp_path_factory.mktemp("attacks")) as world:
        yield Ground(world)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("case", "door", "in_websocket"), PLAYS, ids=IDS)
async def test_an_attack_is_answered_and_written_down_as_the_table_says(
    ground: Ground, case: Case, door: Door, in_websocket: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if case.own_hub is not None:
        async with hub(tmp_path_factory.mktemp(case.number), **case.own_hub) as world:
            scene = Scene(Ground(world), case, door, in_websocket=in_websocket)
            assert await scene.play(case) == case.outcomes[door]
    else:
        scene = Scene(ground, case, door, in_websocket=in_websocket)
        assert await scene.play(case) == case.outcomes[door]

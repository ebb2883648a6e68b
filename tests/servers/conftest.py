"""Hubs in this process, on ports of their own, on the loop that moorage runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from tests.callees import Callee, answer, callee
from tests.disks import HeldDisk
from tests.servers.world import World, running


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "hub") as world:
        yield world


@pytest.fixture
async def pump(world: World) -> World:
    await world.create("pump-01")
    return world


@pytest.fixture
async def hook() -> AsyncIterator[Callee]:
    """A web hook that takes everything."""
    async with callee(answer(200), tls=False, names=["127.0.0.1"]) as hook:
        yield hook


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[tuple[World, HeldDisk]]:
    """A hub on a disk that can be held back."""
    disk = HeldDisk(tmp_path / "telemetry")
    async with running(tmp_path / "hub", files=disk) as world:
        await world.create("pump-01")
        try:
            yield world, disk
        finally:
            disk.release()

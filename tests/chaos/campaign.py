"""Rounds of: load, kill -9 at some moment, start again, look whether everything that was acknowledged is there.

A round's moment comes from a seeded generator; what the hub is doing then does not repeat, which is the point.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.chaos.messages import MessageLoad
from tests.chaos.rest import RestLoad
from tests.chaos.telemetry import TelemetryLoad
from tests.chaos.twins import TwinLoad
from tests.hubs import Hub

__all__ = ["Campaign", "Load", "Round"]

# Some die while their clients still connect.
_KILL_AFTER_S = (0.05, 1.5)
_PATIENCE_S = 60.0
_LOOK_S = 0.05


class Load(Protocol):
    """Keeps a hub busy and remembers what it acknowledged."""

    name: str

    @property
    def acknowledged(self) -> int:
        """How many acknowledgements came, over all rounds."""

    def prepare(self) -> None:
        """Once, on a hub that runs."""

    async def run(self) -> None:
        """Until the hub is gone."""

    async def verify(self) -> None:
        """After a restart: what was acknowledged since the last time is there. Raises `AssertionError`."""

    async def verify_all(self) -> None:
        """The same for everything that was ever acknowledged."""


@dataclass(frozen=True)
class Round:
    """`acknowledged` is how many there were of each load; `ready_s` how long the hub took to be ready again."""

    number: int
    killed_after_s: float
    ready_s: float
    acknowledged: dict[str, int]


class Campaign:
    """`hub` runs, and runs again after each round."""

    def __init__(self, hub: Hub, folder: Path, *, seed: int) -> None:
        self._hub = hub
        self._rng = random.Random(seed)
        self.loads: list[Load] = [
            TelemetryLoad(hub, folder, random.Random(seed + 1)),
            TwinLoad(hub, folder),
            MessageLoad(hub, folder, random.Random(seed + 2)),
            RestLoad(hub, random.Random(seed + 3)),
        ]
        self._rounds = 0
        for load in self.loads:
            load.prepare()

    async def round(self, *, least: int = 0, before_start: Callable[[], None] = lambda: None) -> Round:
        """It ends no sooner than when every load has had `least` acknowledgements, over all rounds.

        `before_start` is called while the hub is dead.
        """
        self._rounds += 1
        before = [load.acknowledged for load in self.loads]
        began = asyncio.get_running_loop().time()
        wait_s = self._rng.uniform(*_KILL_AFTER_S)
        running = [asyncio.create_task(load.run()) for load in self.loads]
        # None of them ends before the hub does, unless something is wrong.
        early, _ = await asyncio.wait(running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        while not early and any(load.acknowledged < least for load in self.loads):
            early, _ = await asyncio.wait(running, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        self._hub.kill()
        moment_s = asyncio.get_running_loop().time() - began
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.gather(*running)
        assert not early, "a load ended although the hub had not been killed"
        before_start()
        ready_s = await asyncio.to_thread(self._hub.start)
        for load in self.loads:
            await load.verify()
        acknowledged = {load.name: load.acknowledged - count for load, count in zip(self.loads, before, strict=True)}
        return Round(self._rounds, moment_s, ready_s, acknowledged)

    async def verify_all(self) -> None:
        for load in self.loads:
            await load.verify_all()

"""A served hub and the callers of our own API of its application, who may ask the Central API too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from moorage.api.application.routing import BASE
from tests.api.central.world import Central
from tests.api.served import ServedHub, served_hub

__all__ = ["Own", "own_hub"]


class Own(Central):
    """As `Central`, below our own path, where there are no versions."""

    def __init__(self, hub: ServedHub) -> None:
        super().__init__(hub)
        self.central = Central(hub)

    def target(self, path: str, version: str) -> str:
        return BASE + path


@asynccontextmanager
async def own_hub(folder: Path, **settings: Any) -> AsyncIterator[Own]:
    async with served_hub(folder, **settings) as hub:
        yield Own(hub)

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import MEMORY, SqliteStore

from .samples import KEY


@pytest.fixture
def bus() -> LocalBus:
    return LocalBus()


@pytest.fixture
async def store(bus: LocalBus) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(MEMORY, secrets_key=KEY, bus=bus)
    yield store
    store.close()

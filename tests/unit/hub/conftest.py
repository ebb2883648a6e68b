"""A real store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.events import Event


@pytest.fixture
async def bus() -> LocalBus:
    return LocalBus()


@pytest.fixture
async def events(bus: LocalBus) -> list[Event]:
    """Everything that is told, in order."""
    heard: list[Event] = []
    bus.subscribe(heard.append)
    return heard


@pytest.fixture
async def store(bus: LocalBus, events: list[Event]) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(":memory:", secrets_key=bytes(32), bus=bus)
    yield opened
    opened.close()

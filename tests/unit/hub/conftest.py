"""A real store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore, writer
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
async def store(bus: LocalBus, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    # The commit that clears the outbox when nobody writes would come in the middle of a slow test that counts commits.
    monkeypatch.setattr(writer, "_PURGE_AFTER_S", 3600.0)
    opened = SqliteStore(":memory:", secrets_key=bytes(32), bus=bus)
    yield opened
    opened.close()

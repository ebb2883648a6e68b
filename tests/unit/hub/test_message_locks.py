"""Messages under lock: held by one at a time, also while what became of them is on its way to the disk."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.errors import PreconditionFailed
from moorage.hub.message_locks import HeldMessage, MessageLocks
from moorage.hub.messages import MessageDraft, MessageService
from moorage.identities.registry import IdentityDraft, create_in
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PUMP = IdentityName(DeviceId("pump-01"))


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
async def service(store: SqliteStore, clock: HandClock) -> MessageService:
    await store.write(lambda tables: create_in(tables, DEFAULT_HUB, IdentityDraft(PUMP), NOW))
    service = MessageService(store, clock)
    await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b"1"))
    return service


@pytest.fixture
def locks(service: MessageService, clock: HandClock) -> MessageLocks:
    return MessageLocks(service, clock)


def taken(locks: MessageLocks, lock_for: timedelta = timedelta(seconds=60)) -> HeldMessage:
    held = locks.take(DEFAULT_HUB, PUMP, lock_for)
    assert held is not None
    return held


@pytest.mark.parametrize("how", ["complete", "reject"])
async def test_a_message_whose_settlement_is_on_its_way_to_the_disk_is_given_to_nobody(
    locks: MessageLocks, how: str
) -> None:
    lock = taken(locks).lock
    settling = asyncio.ensure_future(getattr(locks, how)(DEFAULT_HUB, PUMP, lock))
    await asyncio.sleep(0)
    assert not settling.done()
    assert locks.take(DEFAULT_HUB, PUMP) is None
    with pytest.raises(PreconditionFailed):
        await locks.complete(DEFAULT_HUB, PUMP, lock)
    await settling
    assert (locks.take(DEFAULT_HUB, PUMP), len(locks)) == (None, 0)


async def test_what_was_not_settled_is_held_as_before(locks: MessageLocks, clock: HandClock) -> None:
    lock = taken(locks).lock
    ends = clock.monotonic() + 60
    settling = asyncio.ensure_future(locks.complete(DEFAULT_HUB, PUMP, lock))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    # Nobody knows whether it was; who asks again under the same lock is told.
    assert locks.next_end(DEFAULT_HUB, PUMP) == ends
    await asyncio.gather(locks.complete(DEFAULT_HUB, PUMP, lock), return_exceptions=True)
    assert (locks.take(DEFAULT_HUB, PUMP), len(locks)) == (None, 0)


async def test_the_end_of_a_lock_is_known_to_others_than_its_holder(
    locks: MessageLocks, service: MessageService, clock: HandClock
) -> None:
    assert locks.next_end(DEFAULT_HUB, PUMP) is None
    await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b"2"))
    begun = clock.monotonic()
    taken(locks)
    taken(locks, timedelta(seconds=5))
    assert locks.next_end(DEFAULT_HUB, PUMP) == begun + 5
    clock.advance(5)
    assert locks.next_end(DEFAULT_HUB, PUMP) == begun + 60
    clock.advance(55)
    assert locks.next_end(DEFAULT_HUB, PUMP) is None
    assert [message.body for message in locks.free(DEFAULT_HUB, PUMP)] == [b"1", b"2"]

"""Feedback: who asks is told once what became of a message, and nobody else is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.dialects.feedback_json import feedback_json
from moorage.errors import PreconditionFailed
from moorage.events import Event
from moorage.hub import held_queue
from moorage.hub.feedback import FeedbackBatch, FeedbackService
from moorage.hub.held_queue import LOCK, MAX_BATCH, MAX_DELIVERIES, TTL
from moorage.hub.messages import MessageDraft, MessageService
from moorage.hub.model import FeedbackRequest
from moorage.identities.registry import IdentityDraft, create_in, delete_in
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PUMP = IdentityName(DeviceId("pump-01"))


class World:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = HandClock(NOW)
        self.messages = MessageService(store, self.clock)
        self.feedback = FeedbackService(store, self.clock)

    async def send(self, message_id: str, ack: FeedbackRequest = "full", minutes: int = 30) -> int:
        expires = self.clock.now() + timedelta(minutes=minutes)
        draft = MessageDraft(b"x", message_id=message_id, ack=ack, expires=expires)
        return (await self.messages.enqueue(DEFAULT_HUB, PUMP, draft)).sequence

    async def settled(self, count: int = 1) -> None:
        """So many messages that a device took."""
        for number in range(count):
            await self.messages.complete(DEFAULT_HUB, PUMP, await self.send(f"m{number}"))

    async def take(self) -> FeedbackBatch:
        batch = await self.feedback.take(DEFAULT_HUB)
        assert batch is not None
        return batch


@pytest.fixture
async def world(store: SqliteStore) -> World:
    await store.write(lambda tables: create_in(tables, DEFAULT_HUB, IdentityDraft(PUMP), NOW))
    return World(store)


def told(batch: FeedbackBatch) -> list[tuple[str, str]]:
    return [(record.message_id, record.outcome) for record in batch.records]


async def test_each_outcome_is_told_to_who_asked_for_its_kind(world: World, events: list[Event]) -> None:
    for ack in get_args(FeedbackRequest):
        await world.messages.complete(DEFAULT_HUB, PUMP, await world.send(f"taken-{ack}", ack))
        await world.messages.reject(DEFAULT_HUB, PUMP, await world.send(f"rejected-{ack}", ack))
        await world.send(f"purged-{ack}", ack)
    await world.messages.purge(DEFAULT_HUB, PUMP)
    for ack in get_args(FeedbackRequest):
        await world.send(f"late-{ack}", ack, minutes=5)
    world.clock.advance(301)
    assert await world.messages.expire_all(DEFAULT_HUB) == 4
    assert await world.messages.expire_all(DEFAULT_HUB) == 0
    batch = await world.take()
    assert sorted(told(batch)) == sorted(
        [("taken-positive", "Success"), ("taken-full", "Success")]
        + [
            (f"{what}-{ack}", outcome)
            for ack in ("negative", "full")
            for what, outcome in (("rejected", "Rejected"), ("purged", "Purged"), ("late", "Expired"))
        ]
    )
    identity = world.store.read().identities.find(DEFAULT_HUB, PUMP)
    assert identity is not None
    assert {record.generation_id for record in batch.records} == {identity.generation_id}
    assert [event.kind for event in events].count("feedback.waiting") == len(batch.records)


async def test_a_message_that_is_settled_twice_is_told_of_once(world: World) -> None:
    sequence = await world.send("m")
    assert await world.messages.complete(DEFAULT_HUB, PUMP, sequence) is True
    assert await world.messages.complete(DEFAULT_HUB, PUMP, sequence) is False
    assert await world.messages.reject(DEFAULT_HUB, PUMP, sequence) is False
    assert told(await world.take()) == [("m", "Success")]


async def test_a_batch_is_held_completed_or_given_back(world: World) -> None:
    await world.settled(3)
    first = await world.take()
    assert len(first.records) == 3 and first.locked_until == NOW + LOCK
    assert await world.feedback.take(DEFAULT_HUB) is None
    assert await world.feedback.abandon(DEFAULT_HUB, first.lock) == 3
    second = await world.take()
    assert told(second) == told(first) and second.lock != first.lock
    with pytest.raises(PreconditionFailed) as lost:
        await world.feedback.complete(DEFAULT_HUB, first.lock)
    assert lost.value.reason == "feedback.lock_lost"
    with pytest.raises(PreconditionFailed):
        await world.feedback.complete(HubId("other"), second.lock)
    assert await world.feedback.complete(DEFAULT_HUB, second.lock) == 3
    assert await world.feedback.take(DEFAULT_HUB) is None


async def test_who_does_nothing_loses_the_batch_and_in_the_end_the_records(world: World) -> None:
    await world.settled()
    locks = []
    for _ in range(MAX_DELIVERIES):
        locks.append((await world.take()).lock)
        world.clock.advance(LOCK.total_seconds() + 1)
    assert len(set(locks)) == MAX_DELIVERIES
    assert await world.feedback.take(DEFAULT_HUB) is None
    with pytest.raises(PreconditionFailed):
        await world.feedback.complete(DEFAULT_HUB, locks[-1])


async def test_batches_have_a_size_and_go_in_order(world: World) -> None:
    await world.settled(MAX_BATCH + 5)
    first, second = await world.take(), await world.take()
    assert (len(first.records), len(second.records)) == (MAX_BATCH, 5)
    sequences = [record.sequence for record in (*first.records, *second.records)]
    assert sequences == sorted(sequences)


async def test_what_is_too_old_or_too_many_is_dropped_the_oldest_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.settled(3)
    world.clock.advance(TTL.total_seconds() + 1)
    assert await world.feedback.take(DEFAULT_HUB) is None
    monkeypatch.setattr(held_queue, "MAX_WAITING", 5)
    await world.settled(9)
    assert [each for each, _ in told(await world.take())] == [f"m{number}" for number in range(4, 9)]


async def test_feedback_outlives_its_device_and_the_hub(world: World) -> None:
    await world.settled()
    await world.store.write(lambda tables: delete_in(tables, DEFAULT_HUB, PUMP))
    again = FeedbackService(world.store, world.clock)
    batch = await again.take(DEFAULT_HUB)
    assert batch is not None and told(batch) == [("m0", "Success")]


async def test_a_record_is_told_in_the_words_of_the_service(world: World) -> None:
    await world.settled()
    (document,) = feedback_json((await world.take()).records)
    assert document == {
        "originalMessageId": "m0",
        "deviceGenerationId": document["deviceGenerationId"],
        "deviceId": "pump-01",
        "enqueuedTimeUtc": "2030-01-01T12:00:00.0000000Z",
        "statusCode": "Success",
        "description": "Success",
    }

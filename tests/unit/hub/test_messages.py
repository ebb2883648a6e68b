"""Cloud-to-device queues: what may be queued, for how long, and what settling means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.sqlite import SqliteStore
from moorage.clock import HandClock
from moorage.errors import Invalid, NotFound, Refusal, TooLarge
from moorage.events import Event
from moorage.hub.messages import MAX_MESSAGE_BYTES, MAX_WAITING, MessageDraft, MessageService, check_draft
from moorage.identities.registry import IdentityDraft, create_in, delete_in
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PUMP = IdentityName(DeviceId("pump-01"))


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
async def service(store: SqliteStore, clock: HandClock) -> MessageService:
    await store.write(lambda tables: create_in(tables, DEFAULT_HUB, IdentityDraft(PUMP), NOW))
    return MessageService(store, clock)


async def test_messages_wait_in_order_until_they_are_settled(service: MessageService, events: list[Event]) -> None:
    first = await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b"1", {"a": "b"}, message_id="m"))
    second = await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b"2"))
    assert second.message_id and second.sequence > first.sequence
    assert service.waiting(DEFAULT_HUB, PUMP) == [first, second]
    assert service.waiting(DEFAULT_HUB, PUMP, 1) == [first]
    assert [(event.kind, event.subject) for event in events[-2:]] == [("message.enqueued", "pump-01")] * 2
    assert await service.complete(DEFAULT_HUB, PUMP, first.sequence) is True
    assert await service.complete(DEFAULT_HUB, PUMP, first.sequence) is False
    assert service.waiting(DEFAULT_HUB, PUMP) == [second]
    assert await service.purge(DEFAULT_HUB, PUMP) == 1
    assert (service.count(DEFAULT_HUB, PUMP), service.waiting(DEFAULT_HUB, PUMP)) == (0, [])


async def test_a_sequence_number_is_never_used_again(service: MessageService) -> None:
    seen = set()
    for _ in range(3):
        message = await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b""))
        seen.add(message.sequence)
        await service.purge(DEFAULT_HUB, PUMP)
    assert len(seen) == 3


async def test_an_expired_message_is_not_delivered_and_makes_room(service: MessageService, clock: HandClock) -> None:
    for _ in range(MAX_WAITING):
        await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b"", expires=NOW + timedelta(minutes=1)))
    with pytest.raises(TooLarge, match="50 messages wait for 'pump-01'") as caught:
        await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b""))
    assert caught.value.reason == "message.queue_full"
    clock.advance(60)
    assert (service.waiting(DEFAULT_HUB, PUMP), service.count(DEFAULT_HUB, PUMP)) == ([], 0)
    await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b""))
    assert service.count(DEFAULT_HUB, PUMP) == 1
    assert await service.expire(DEFAULT_HUB, PUMP) == 0
    clock.advance(3600)
    assert await service.expire(DEFAULT_HUB, PUMP) == 1


async def test_nothing_is_written_when_nothing_expired(service: MessageService, store: SqliteStore) -> None:
    await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b""))
    before = store.commits
    assert await service.expire(DEFAULT_HUB, PUMP) == 0
    assert store.commits == before


async def test_the_default_time_to_live_is_an_hour(service: MessageService) -> None:
    message = await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b""))
    assert message.expires == NOW + timedelta(hours=1)


async def test_an_unknown_identity_has_no_queue(service: MessageService, store: SqliteStore) -> None:
    with pytest.raises(NotFound):
        await service.enqueue(DEFAULT_HUB, IdentityName(DeviceId("nobody")), MessageDraft(b""))
    await service.enqueue(DEFAULT_HUB, PUMP, MessageDraft(b""))
    await store.write(lambda tables: delete_in(tables, DEFAULT_HUB, PUMP))
    assert service.waiting(DEFAULT_HUB, PUMP) == []
    with pytest.raises(NotFound):
        await service.purge(DEFAULT_HUB, PUMP)


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (MessageDraft(b"", {"a": ""}), "message.property"),
        (MessageDraft(b"", {"": "a"}), "message.property"),
        (MessageDraft(b"", {"$.to": "a"}), "message.property"),
        (MessageDraft(b"", {"iothub-ack": "a"}), "message.property"),
        (MessageDraft(b"", {"iothub-connection-device-id": "a"}), "message.property"),
        (MessageDraft(b"", message_id=""), "message.id"),
        (MessageDraft(b"", correlation_id="c" * 129), "message.id"),
        (MessageDraft(b"x" * (MAX_MESSAGE_BYTES + 1)), "message.size"),
        (MessageDraft(b"x" * MAX_MESSAGE_BYTES, {"a": "b"}), "message.size"),
        (MessageDraft(b"", {"a": " " * 30_000}), "message.bag"),
        (MessageDraft(b"", expires=NOW), "message.expiry"),
        (MessageDraft(b"", expires=NOW + timedelta(days=2, seconds=1)), "message.expiry"),
    ],
)
def test_what_no_device_could_read_is_refused_when_it_is_sent(draft: MessageDraft, reason: str) -> None:
    with pytest.raises((Invalid, TooLarge)) as caught:
        check_draft(draft, now=NOW)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "draft",
    [
        MessageDraft(b"x" * MAX_MESSAGE_BYTES),
        MessageDraft(b"", {"a": " " * 20_000}),
        MessageDraft(b"", message_id="m" * 128, expires=NOW + timedelta(days=2)),
        MessageDraft(b"", {"iothub-operation": "x", "ünï": "=&/%"}),
    ],
)
def test_what_is_at_the_limit_may_be_sent(draft: MessageDraft) -> None:
    check_draft(draft, now=NOW)


@given(st.dictionaries(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=3000), max_size=12))
def test_whatever_passes_fits_into_an_mqtt_topic(properties: dict[str, str]) -> None:
    try:
        check_draft(MessageDraft(b"", properties, message_id="m" * 128, user_id="\u00e4" * 128), now=NOW)
    except Refusal:
        return
    bag = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in properties.items())
    longest_id = quote("%" * 128, safe="")
    system = f"%24.to=%2Fdevices%2F{longest_id}%2Fmodules%2F{longest_id}%2Fmessages%2FdeviceBound&"
    system += f"%24.mid={'m' * 128}&%24.uid={quote('ä' * 128)}&%24.exp=2030-01-01T12%3A00%3A00.0000000Z&"
    topic = f"devices/{'d' * 128}/modules/{'m' * 128}/messages/devicebound/{system}{bag}"
    assert len(topic.encode()) <= 65_535

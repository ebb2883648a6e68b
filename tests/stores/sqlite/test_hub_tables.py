"""Twins, queues, MQTT sessions and activity: what is put is found, and needs an identity to hang on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from moorage.adapters.sqlite import AllTables, SqliteStore
from moorage.errors import NotFound
from moorage.hub.model import Activity, Document, MqttSession, Twin

from .samples import HUB, LATER, OTHER_HUB, THEN, identity, message, name, register, twin


async def test_a_twin_comes_back_as_it_was_last_put(store: SqliteStore) -> None:
    bare = Twin(HUB, name(), 8, {}, Document({}, {}, 1), Document({}, {}, 1))
    await store.write(register)
    assert store.read().twins.find(HUB, name()) is None
    await store.write(lambda tables: tables.twins.put(twin()))
    assert store.read().twins.find(HUB, name()) == twin()
    await store.write(lambda tables: tables.twins.put(bare))
    assert store.read().twins.find(HUB, name()) == bare
    assert store.read().twins.find(HUB, name(module="m")) is None
    assert store.read().twins.find(OTHER_HUB, name()) is None


async def test_a_large_twin_comes_back_whole(store: SqliteStore) -> None:
    large = dataclasses.replace(twin(), tags={f"tag-{number}": "x" * 500 for number in range(400)})
    await store.write(register)
    await store.write(lambda tables: tables.twins.put(large))
    assert store.read().twins.find(HUB, name()) == large


async def test_messages_wait_in_order_each_in_its_own_queue(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        register(tables, name(), name(module="m"))
        for it in (message(3), message(1), message(2, name(module="m")), message(4, body=b"")):
            tables.messages.put(it)

    await store.write(put)
    messages = store.read().messages
    assert messages.waiting(HUB, name(), 10) == [message(1), message(3), message(4, body=b"")]
    assert messages.waiting(HUB, name(), 2) == [message(1), message(3)]
    assert messages.waiting(HUB, name(module="m"), 10) == [message(2, name(module="m"))]
    assert (messages.count(HUB, name()), messages.count(HUB, name("x")), messages.count(OTHER_HUB, name())) == (3, 0, 0)


async def test_putting_a_message_again_updates_it(store: SqliteStore) -> None:
    def put(tables: AllTables) -> None:
        register(tables)
        tables.messages.put(message(1))
        tables.messages.put(dataclasses.replace(message(1), delivery_count=9, correlation_id=None))

    await store.write(put)
    (found,) = store.read().messages.waiting(HUB, name(), 10)
    assert (found.delivery_count, found.correlation_id) == (9, None)


async def test_a_message_is_deleted_once(store: SqliteStore) -> None:
    def work(tables: AllTables) -> list[bool]:
        register(tables)
        tables.messages.put(message(1))
        return [tables.messages.delete(HUB, whose, 1) for whose in (name("x"), name(), name())]

    assert await store.write(work) == [False, True, False]


async def test_sequences_grow_per_hub_and_survive_the_messages(store: SqliteStore) -> None:
    assert [await store.write(lambda tables: tables.messages.next_sequence(HUB)) for _ in range(3)] == [1, 2, 3]
    assert await store.write(lambda tables: tables.messages.next_sequence(OTHER_HUB)) == 1


async def test_an_mqtt_session_is_found_until_it_is_deleted(store: SqliteStore) -> None:
    session = MqttSession(HUB, name(), {"$iothub/methods/POST/#": 0, "devices/pump-01/messages/devicebound/#": 1})
    await store.write(register)
    await store.write(lambda tables: tables.mqtt_sessions.put(dataclasses.replace(session, subscriptions={})))
    await store.write(lambda tables: tables.mqtt_sessions.put(session))
    assert store.read().mqtt_sessions.find(HUB, name()) == session
    assert store.read().mqtt_sessions.find(HUB, name(module="m")) is None
    await store.write(lambda tables: tables.mqtt_sessions.delete(HUB, name()))
    assert store.read().mqtt_sessions.find(HUB, name()) is None


PUTS: list[Callable[[AllTables], None]] = [
    lambda tables: tables.twins.put(twin()),
    lambda tables: tables.messages.put(message(1)),
    lambda tables: tables.mqtt_sessions.put(MqttSession(HUB, name(), {})),
]


@pytest.mark.parametrize("put", PUTS, ids=["twin", "message", "session"])
async def test_nothing_is_stored_for_an_identity_that_is_gone(
    store: SqliteStore, put: Callable[[AllTables], None]
) -> None:
    await store.write(lambda tables: tables.identities.put(identity(name(module="m"))))
    with pytest.raises(NotFound, match=r"device\.not_found: 'pump-01' is not registered"):
        await store.write(put)
    await store.write(register)
    await store.write(put)


async def test_activity_is_replaced_in_bulk_and_left_out_for_identities_that_are_gone(store: SqliteStore) -> None:
    await store.write(register)
    first = Activity(HUB, name(), THEN, True, THEN)
    second = Activity(HUB, name(), LATER, False)
    gone = Activity(HUB, name("gone"), THEN, True, THEN)
    await store.write(lambda tables: tables.activity.put_many([first, gone]))
    assert store.read().activity.find(HUB, name()) == first
    assert store.read().activity.find(HUB, name("gone")) is None
    await store.write(lambda tables: tables.activity.put_many([second]))
    assert store.read().activity.find(HUB, name()) == second
    await store.write(lambda tables: tables.activity.put_many([Activity(HUB, name(), LATER)]))
    assert store.read().activity.find(HUB, name()) == Activity(HUB, name(), LATER, None, None)

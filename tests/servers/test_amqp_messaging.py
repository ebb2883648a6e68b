"""Back ends over AMQP as no client library makes them: messages to devices that are wrong, and queues that are held."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from moorage.ids import DEFAULT_HUB
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    Accepted,
    DeliveryState,
    Disposition,
    Error,
    Modified,
    Rejected,
    Released,
    Transfer,
)
from moorage.protocols.amqp.types import Timestamp, ULong
from tests.servers.amqp_back_ends import Connect, back_ends, condition, drained, give
from tests.servers.amqp_clients import AMQPClient, Frame, Link
from tests.servers.world import World, named

DEVICE_BOUND = "/messages/devicebound"
FEEDBACK = "/messages/serviceBound/feedback"
FILES = "/messages/serviceBound/filenotifications"


@pytest.fixture
async def back_end(world: World) -> AsyncIterator[Connect]:
    async with back_ends(world) as connect:
        yield connect


def to(name: str, **more: Any) -> Properties:
    return Properties(to=f"/devices/{name}/messages/devicebound", **more)


# -- messages to devices -----------------------------------------------------------------------------------------------


WRONG = [
    (Message(data=b"x"), "com.microsoft:argument-error"),
    (Message(properties=Properties(to="pump-01"), data=b"x"), "com.microsoft:argument-error"),
    (
        Message(properties=Properties(to="/devices//messages/devicebound"), data=b"x"),
        "com.microsoft:argument-error",
    ),
    (Message(properties=to("pump 01"), data=b"x"), "com.microsoft:argument-error"),
    (Message(properties=to("p" * 129), data=b"x"), "com.microsoft:argument-error"),
    (Message(properties=to("nobody"), data=b"x"), "amqp:not-found"),
    (Message(properties=to("pump-01/modules/none"), data=b"x"), "amqp:not-found"),
    (
        Message(properties=to("pump-01"), application_properties={"iothub-ack": "perhaps"}, data=b"x"),
        "com.microsoft:argument-error",
    ),
    (
        Message(properties=to("pump-01"), application_properties={"iothub-ack": ULong(1)}, data=b"x"),
        "com.microsoft:argument-error",
    ),
    (
        Message(properties=to("pump-01"), application_properties={"": "nameless"}, data=b"x"),
        "com.microsoft:argument-error",
    ),
    (
        Message(properties=to("pump-01", absolute_expiry_time=Timestamp(1)), data=b"x"),
        "com.microsoft:argument-error",
    ),
    (Message(properties=to("pump-01"), value=["a", "list"]), "com.microsoft:argument-error"),
]


async def test_what_is_wrong_with_a_message_is_said(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    client = await back_end()
    link = await client.attach(DEVICE_BOUND)
    for message, expected in WRONG:
        error = await client.send(link, message)
        assert error is not None and error.condition == expected, message
        assert error.info is not None and error.info["com.microsoft:tracking-id"]
    # The link goes on.
    assert await client.send(link, Message(properties=to("pump-01"), data=b"right")) is None
    assert world.queued("pump-01") == [b"right"]


async def test_the_fifty_first_message_has_no_room(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    client = await back_end()
    link = await client.attach("amqps://localhost:5671/Messages/DeviceBound")
    message = Message(properties=to("pump-01"), data=b"x")
    for _ in range(50):
        assert await client.send(link, message) is None
    error = await client.send(link, message)
    assert error is not None and error.condition == "amqp:resource-limit-exceeded"


async def test_a_message_that_nobody_waits_for_is_queued_too(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    client = await back_end()
    link = await client.attach(DEVICE_BOUND)
    client.transfer(link, Message(properties=to("nobody"), data=b"lost"), settled=True)
    client.transfer(link, Message(properties=to("pump-01"), data=b"one"), settled=True)
    assert await client.send(link, Message(properties=to("pump-01"), data=b"two")) is None
    assert world.queued("pump-01") == [b"one", b"two"]


async def test_it_takes_the_right_to_connect_services(world: World, back_end: Connect) -> None:
    for policy in (None, "device", "registryReadWrite"):
        client = await back_end(policy)
        for address in (DEVICE_BOUND, FEEDBACK, FILES):
            link = await client.attach(address, is_sender=address == DEVICE_BOUND)
            assert condition(link) == "amqp:unauthorized-access", (policy, address)


async def test_directions_are_not_mixed_up(world: World, back_end: Connect) -> None:
    client = await back_end()
    for address in (DEVICE_BOUND, FEEDBACK, FILES):
        assert condition(await client.attach(address, is_sender=address != DEVICE_BOUND)) == "amqp:not-found"


# -- feedback ----------------------------------------------------------------------------------------------------------


async def tell(world: World, *message_ids: str, name: str = "pump-01") -> None:
    """Each of these messages is taken by its device, and its sender wants to hear so."""
    for message_id in message_ids:
        message = await world.send(name, b"x", message_id=message_id, ack="full")
        assert await world.messages.complete(DEFAULT_HUB, named(name), message.sequence)


async def taken(client: AMQPClient, link: Link) -> tuple[Frame, list[str]]:
    """The next batch: its transfer, and which messages it tells of."""
    heard = await client.find(lambda heard: isinstance(heard.body, Transfer) and heard.body.handle == link.handle)
    message = Message.decode(heard.payload)
    assert message.properties is not None
    assert message.properties.content_type == "application/vnd.microsoft.iothub.feedback.json"
    assert message.properties.user_id == b"localhost"
    assert "iothub-enqueuedtime" in message.message_annotations
    # .NET makes a GUID of it.
    assert str(uuid.UUID(bytes_le=heard.body.delivery_tag))
    return heard, [each["originalMessageId"] for each in json.loads(message.body)]


def settle(client: AMQPClient, heard: Frame, state: DeliveryState | None) -> None:
    number = heard.body.delivery_id
    client.say(Disposition(RECEIVER, number, number, True, state), channel=heard.channel)


async def test_feedback_comes_in_batches(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    await tell(world, *(f"m-{number}" for number in range(70)))
    client = await back_end()
    link = await client.attach(FEEDBACK, is_sender=False)
    assert await client.is_silent()
    give(client, link, 0, 300)
    first, ids = await taken(client, link)
    second, more = await taken(client, link)
    assert (ids + more, len(ids)) == ([f"m-{number}" for number in range(70)], 64)
    for heard in (first, second):
        settle(client, heard, Accepted())
    # What happens later is told at once.
    await tell(world, "late")
    assert (await taken(client, link))[1] == ["late"]


@pytest.mark.parametrize("state", [Released(), Modified(delivery_failed=True), None])
async def test_what_is_given_back_comes_again(world: World, back_end: Connect, state: DeliveryState | None) -> None:
    await world.create("pump-01")
    await tell(world, "m-1")
    client = await back_end()
    link = await client.attach(FEEDBACK, is_sender=False, credit=10)
    heard, ids = await taken(client, link)
    settle(client, heard, state)
    if state is None:
        # Settled without a word of what became of it: it is held until the lock ends.
        assert await client.is_silent()
        world.turn(61)
    again, same = await taken(client, link)
    assert same == ids == ["m-1"]
    settle(client, again, Accepted())


@pytest.mark.parametrize("state", [Accepted(), Rejected(), Rejected(Error("mine:no", "not for me"))])
async def test_what_was_taken_or_rejected_is_gone(world: World, back_end: Connect, state: DeliveryState) -> None:
    await world.create("pump-01")
    await tell(world, "m-1")
    client = await back_end()
    link = await client.attach(FEEDBACK, is_sender=False, credit=10)
    heard, _ = await taken(client, link)
    settle(client, heard, state)
    assert await client.is_silent()
    for _ in range(2):
        world.turn(61)
        assert await client.is_silent()
    await tell(world, "m-2")
    assert (await taken(client, link))[1] == ["m-2"]


async def test_two_receivers_get_each_record_once(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    first, second = await back_end(), await back_end()
    one = await first.attach(FEEDBACK, is_sender=False, credit=10)
    await second.attach(FEEDBACK, is_sender=False, credit=0)
    await tell(world, "m-1")
    heard, ids = await taken(first, one)
    assert ids == ["m-1"]
    assert await second.is_silent()
    settle(first, heard, Accepted())


async def test_a_receiver_that_is_gone_holds_nothing_for_long(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    await tell(world, "m-1")
    client = await back_end()
    link = await client.attach(FEEDBACK, is_sender=False, credit=1)
    await taken(client, link)
    client.close()
    world.turn(61)
    other = await back_end()
    link = await other.attach(FEEDBACK, is_sender=False, credit=1)
    assert (await taken(other, link))[1] == ["m-1"]


async def test_a_receiver_that_comes_too_late_is_not_told_twice(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    await tell(world, "m-1")
    client = await back_end(lives=timedelta(hours=1))
    link = await client.attach(FEEDBACK, is_sender=False, credit=1)
    heard, _ = await taken(client, link)
    world.turn(61)
    # Its lock has come to its end; the record is not lost.
    settle(client, heard, Accepted())
    give(client, link, 1, 5)
    assert (await taken(client, link))[1] == ["m-1"]


@pytest.mark.parametrize("address", [FEEDBACK, FILES])
async def test_a_drain_of_an_empty_queue_is_answered(world: World, back_end: Connect, address: str) -> None:
    client = await back_end()
    link = await client.attach(address, is_sender=False)
    give(client, link, 0, 7, drain=True)
    assert await drained(client, link) == (7, 0)


async def test_a_drain_gives_what_there_is(world: World, back_end: Connect) -> None:
    await world.create("pump-01")
    await tell(world, "m-1")
    client = await back_end()
    link = await client.attach(FEEDBACK, is_sender=False)
    give(client, link, 0, 7, drain=True)
    assert (await taken(client, link))[1] == ["m-1"]
    assert await drained(client, link) == (7, 0)

"""Readers of telemetry over AMQP as no client library makes them: what they may ask for, and what they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from moorage.app import App
from moorage.hub.telemetry_log import SourceHeader
from moorage.ids import DEFAULT_HUB
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import RECEIVER, Accepted, Disposition, Flow, Source, Transfer
from moorage.protocols.amqp.types import Described, Symbol, ULong
from tests.servers.amqp_back_ends import Connect, back_ends, condition, drained, give
from tests.servers.amqp_clients import AMQPClient, Frame, Link
from tests.servers.world import World, eventually

SELECTOR = "apache.org:selector-filter:string"
EPOCH = "com.microsoft:epoch"
SOURCE = SourceHeader("hub", "Telemetry", "pump-01", None, "1", "{}", None).encode()
PARTITION = "localhost/ConsumerGroups/$Default/Partitions/0"


@pytest.fixture
async def back_end(world: World) -> AsyncIterator[Connect]:
    async with back_ends(world) as connect:
        yield connect


async def store(app: App, *bodies: bytes, partition: int = 0) -> None:
    for body in bodies:
        app.log.append(SOURCE, partition, b"", body, 1_700_000_000_000)
    await eventually(lambda: app.log.backlog_bytes == 0)


async def read(
    client: AMQPClient,
    address: str = PARTITION,
    *,
    filter: Mapping[str, object] | None = None,
    credit: int = 0,
    **more: Any,
) -> Link:
    return await client.attach(address, is_sender=False, credit=credit, source=Source(address, filter=filter), **more)


def selector(text: object, descriptor: object = Symbol(SELECTOR)) -> dict[str, object]:
    return {SELECTOR: Described(descriptor, text)}


async def bodies(client: AMQPClient, link: Link, count: int) -> list[bytes]:
    return [(await client.received(link)).body for _ in range(count)]


# -- where a reader begins ---------------------------------------------------------------------------------------------


NO_PLACES: list[dict[str, object]] = [
    selector("amqp.annotation.x-opt-offset > 'somewhere'"),
    selector("amqp.annotation.x-opt-offset < '5'"),
    selector("amqp.annotation.x-opt-offset > '@earliest'"),
    selector("amqp.annotation.x-opt-sequence-number > '@latest'"),
    selector(f"amqp.annotation.x-opt-offset > '{'9' * 19}'"),
    selector("amqp.annotation.x-opt-partition-key = 'pump'"),
    selector("amqp.annotation.x-opt-offset > '1' or 1 = 1"),
    selector("x" * 30_000),
    selector(""),
    selector(5),
    selector(["amqp.annotation.x-opt-offset > '-1'"]),
    {"apache.org:legacy-amqp-topic-binding:string": Described(ULong(0x468C00000001), "a.b")},
    {"mine": "amqp.annotation.x-opt-offset > '-1'"},
]


async def test_a_filter_that_says_no_place_is_refused(world: World, back_end: Connect) -> None:
    client = await back_end()
    for filters in NO_PLACES:
        assert condition(await read(client, filter=filters)) == "com.microsoft:argument-error", filters
    # It is the link's end and not the connection's.
    assert (await read(client, filter=selector("amqp.annotation.x-opt-offset > '-1'"))).error is None


@pytest.mark.parametrize(
    ("filters", "first"),
    [
        (None, b"0"),
        ({}, b"0"),
        ({SELECTOR: None}, b"0"),
        (selector("amqp.annotation.x-opt-offset > '-1'"), b"0"),
        (selector("amqp.annotation.x-opt-sequence-number > '1'"), b"2"),
        (selector("  amqp.annotation.x-opt-sequence-number  >=  1  "), b"1"),
        # As @azure/event-hubs, and older clients, describe it.
        (selector("amqp.annotation.x-opt-sequence-number >= '2'", ULong(0x468C00000004)), b"2"),
        ({SELECTOR: "amqp.annotation.x-opt-sequence-number >= '2'"}, b"2"),
        (selector("amqp.annotation.x-opt-enqueued-time > '1699999999999'"), b"0"),
        (selector("amqp.annotation.x-opt-enqueuedtimeutc > 1699999999999"), b"0"),
        (selector("amqp.annotation.x-opt-enqueued-time > '1700000000000'"), b"new"),
        (selector("amqp.annotation.x-opt-offset > '@latest'"), b"new"),
        # A place that is not there yet.
        (selector(f"amqp.annotation.x-opt-sequence-number >= '{10**17}'"), None),
    ],
)
async def test_a_reader_begins_at_its_place(
    world: World, back_end: Connect, filters: dict[str, object] | None, first: bytes | None
) -> None:
    await store(world.app, b"0", b"1", b"2")
    client = await back_end()
    link = await read(client, filter=filters, credit=10)
    assert link.error is None
    if first in (b"new", None):
        assert await client.is_silent()
        world.app.log.append(SOURCE, 0, b"", b"new", 1_700_000_000_001)
    if first is None:
        assert await client.is_silent()
    else:
        assert await bodies(client, link, 1) == [first]


# -- which partition, and who reads it ---------------------------------------------------------------------------------


NOWHERE = [
    "localhost/ConsumerGroups/$Default/Partitions/4",
    "localhost/ConsumerGroups/$Default/Partitions/-1",
    "localhost/ConsumerGroups/$Default/Partitions/zero",
    "localhost/ConsumerGroups/$Default/Partitions/\u0661",
    f"localhost/ConsumerGroups/$Default/Partitions/{'0' * 1000}",
    "localhost/ConsumerGroups/nobody/Partitions/0",
    "localhost/ConsumerGroups/%00/Partitions/0",
    "another/ConsumerGroups/$Default/Partitions/0",
    "localhost/ConsumerGroups/$Default",
    "localhost",
    "localhost/Partitions/0",
]


async def test_what_is_not_there_is_not_found(world: World, back_end: Connect) -> None:
    client = await back_end()
    for address in NOWHERE:
        assert condition(await read(client, address)) == "amqp:not-found", address
    assert (await read(client)).error is None


async def test_case_tells_no_two_entities_or_groups_apart(world: World, back_end: Connect) -> None:
    await store(world.app, b"0")
    client = await back_end()
    for address in (
        "LOCALHOST/consumergroups/$DEFAULT/PARTITIONS/0",
        "amqps://elsewhere:1234/Localhost/ConsumerGroups/%24default/Partitions/0",
    ):
        link = await read(client, address, credit=1)
        assert link.error is None
        assert await bodies(client, link, 1) == [b"0"]


async def test_readers_are_told_apart_by_their_epochs(world: World, back_end: Connect) -> None:
    client = await back_end()
    plain = [await read(client) for _ in range(5)]
    assert [link.error for link in plain] == [None] * 5
    assert condition(await read(client)) == "amqp:resource-limit-exceeded"
    first = await read(client, properties={EPOCH: 3})
    assert first.error is None
    for link in plain:
        error = await client.detached(link)
        assert error is not None and error.condition == "amqp:link:stolen"
    for wrong in ({EPOCH: 2}, {}, {EPOCH: 0}):
        assert condition(await read(client, properties=wrong)) == "amqp:link:stolen"
    # Another partition has its own.
    assert (await read(client, PARTITION.replace("/0", "/1"))).error is None
    # As much takes over, on another connection, too.
    other = await back_end()
    again = await read(other, properties={EPOCH: 3})
    assert again.error is None
    error = await client.detached(first)
    assert error is not None and error.condition == "amqp:link:stolen"
    # Who is gone stands in nobody's way.
    other.detach(again)
    await other.detached(again)
    assert (await read(client)).error is None


async def test_an_epoch_is_a_number(world: World, back_end: Connect) -> None:
    client = await back_end()
    wrong: tuple[object, ...] = (-1, True, "1", 1.5, b"1", {})
    for epoch in wrong:
        assert condition(await read(client, properties={EPOCH: epoch})) == "com.microsoft:argument-error", epoch
    assert (await read(client)).error is None


# -- credit ------------------------------------------------------------------------------------------------------------


async def test_a_reader_gets_as_many_as_it_has_credit_for(world: World, back_end: Connect) -> None:
    await store(world.app, *(b"%d" % number for number in range(600)))
    client = await back_end()
    idle = await read(client)
    link = await read(client)
    assert await client.is_silent()
    give(client, link, 0, 3)
    assert await bodies(client, link, 3) == [b"0", b"1", b"2"]
    assert await client.is_silent()
    give(client, link, 3, 500)
    assert await bodies(client, link, 500) == [b"%d" % number for number in range(3, 503)]
    assert await client.is_silent()
    # The first one still has its place.
    give(client, idle, 0, 1)
    assert await bodies(client, idle, 1) == [b"0"]


async def test_a_reader_that_settles_nothing_is_not_waited_for_by_others(world: World, back_end: Connect) -> None:
    await store(world.app, *(b"%d" % number for number in range(5000)))
    slow, quick = await back_end(), await back_end()
    held = await read(slow, credit=100_000)
    link = await read(quick, credit=100_000)
    count = 0
    while count < 5000:
        heard = await quick.find(lambda heard: isinstance(heard.body, Transfer) and heard.body.handle == link.handle)
        count += 1
        if count % 500 == 0:
            last = heard.body.delivery_id
            quick.say(Disposition(RECEIVER, 0, last, True, Accepted()))
            quick.say(Flow(last + 1, 2048, 0, 2048, link.handle, count, 100_000))
    assert held.error is None


async def test_large_messages_are_sent_as_the_peer_takes_them(world: World, back_end: Connect) -> None:
    sent = [bytes([number]) * 200_000 for number in range(40)]
    await store(world.app, *sent)
    client = await back_end()
    link = await read(client, credit=100)
    client.say(Flow(0, 100_000, 0, 2048, link.handle, 0, 100))
    got: list[bytes] = []
    payload = b""
    while len(got) < len(sent):
        heard: Frame = await client.find(
            lambda heard: isinstance(heard.body, Transfer) and heard.body.handle == link.handle
        )
        payload += heard.payload
        if not heard.body.more:
            got.append(Message.decode(payload).body)
            payload = b""
    assert got == sent


@pytest.mark.parametrize(("credit", "sent"), [(10, 3), (3, 3), (2, 2), (0, 0)])
async def test_a_drain_uses_credit_up(world: World, back_end: Connect, credit: int, sent: int) -> None:
    await store(world.app, b"0", b"1", b"2")
    client = await back_end()
    link = await read(client)
    give(client, link, 0, credit, drain=True)
    assert await bodies(client, link, sent) == [b"%d" % number for number in range(sent)]
    assert await drained(client, link) == (credit, 0)
    assert await client.is_silent()
    # What is stored later needs credit of its own.
    give(client, link, credit, 5)
    await store(world.app, b"3")
    assert await bodies(client, link, 4 - sent) == [b"%d" % number for number in range(sent, 4)]
    # Asked for while nothing is there.
    give(client, link, credit + 4 - sent, 5, drain=True)
    assert await drained(client, link) == (credit + 4 - sent + 5, 0)


# -- tokens ------------------------------------------------------------------------------------------------------------


async def test_who_may_not_read_is_refused(world: World, back_end: Connect) -> None:
    stranger = await back_end(None)
    assert condition(await read(stranger)) == "amqp:unauthorized-access"
    other = await back_end("registryRead")
    for address in (PARTITION, "another/ConsumerGroups/$Default/Partitions/0", "/messages/events/$management"):
        refused = await read(other, address)
        assert condition(refused) == "amqp:unauthorized-access"
        # Nothing is told of what is there and what is not.
        assert refused.error is not None and "another" not in str(refused.error.description)


async def test_readers_end_with_the_key_that_let_them_in(world: World, back_end: Connect) -> None:
    client = await back_end()
    link = await read(client, credit=5)
    await world.policies.roll_key(DEFAULT_HUB, "hub", "service", "primary")
    error = await client.detached(link)
    assert error is not None and error.condition == "amqp:unauthorized-access"


async def test_readers_end_with_their_token(world: World, back_end: Connect) -> None:
    client = await back_end(lives=timedelta(seconds=30))
    link = await read(client, credit=5)
    world.turn(29)
    assert await client.is_silent()
    world.turn(2)
    error = await client.detached(link)
    assert error is not None and error.condition == "amqp:unauthorized-access"


# -- $management -------------------------------------------------------------------------------------------------------


async def ask(client: AMQPClient, sender: Link, replies: Link, asked: Mapping[str, object]) -> Message:
    question = Message(properties=Properties(message_id=ULong(7)), application_properties=asked)
    assert await client.send(sender, question) is None
    answer = await client.received(replies)
    assert answer.properties is not None and answer.properties.correlation_id == 7
    return answer


QUESTIONS: list[tuple[dict[str, object], int, str | None]] = [
    ({"type": "com.microsoft:eventhub", "name": "LOCALHOST"}, 200, None),
    ({"type": "com.microsoft:partition", "name": "localhost", "partition": "3"}, 200, None),
    ({"type": "com.microsoft:eventhub", "name": "another"}, 404, "amqp:not-found"),
    ({"type": "com.microsoft:eventhub"}, 404, "amqp:not-found"),
    ({"type": "com.microsoft:partition", "name": "localhost", "partition": "4"}, 404, "amqp:not-found"),
    ({"type": "com.microsoft:partition", "name": "localhost"}, 404, "amqp:not-found"),
    ({"type": "com.microsoft:consumergroup", "name": "localhost"}, 400, "com.microsoft:argument-error"),
    ({"type": 5, "name": b"localhost"}, 400, "com.microsoft:argument-error"),
    (
        {"operation": "DELETE", "type": "com.microsoft:eventhub", "name": "localhost"},
        400,
        "com.microsoft:argument-error",
    ),
    ({}, 400, "com.microsoft:argument-error"),
]


async def test_questions_are_answered(world: World, back_end: Connect) -> None:
    client = await back_end()
    replies = await client.attach("$management", is_sender=False, credit=100)
    sender = await client.attach("localhost/$management")
    for asked, status, error in QUESTIONS:
        answer = await ask(client, sender, replies, {"operation": "READ", **asked} if asked else {})
        said = answer.application_properties
        assert (said["status-code"], said.get("error-condition")) == (status, error), asked
        if error is None:
            assert isinstance(answer.value, dict) and answer.value["name"] == asked["name"]


async def test_an_empty_partition_is_described(world: World, back_end: Connect) -> None:
    client = await back_end()
    replies = await client.attach("$management", is_sender=False, credit=10)
    sender = await client.attach("$management")
    question = {"operation": "READ", "type": "com.microsoft:partition", "name": "localhost", "partition": "2"}
    answer = (await ask(client, sender, replies, question)).value
    assert isinstance(answer, dict)
    assert (answer["is_partition_empty"], answer["last_enqueued_sequence_number"], answer["last_enqueued_offset"]) == (
        True,
        -1,
        "-1",
    )


# -- the redirect ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest", ["$management", "ConsumerGroups/$Default/Partitions/0", "ConsumerGroups/Mine/Partitions/77"]
)
async def test_older_clients_are_sent_to_the_entity(world: World, back_end: Connect, rest: str) -> None:
    client = await back_end()
    link = await read(client, f"amqps://localhost/Messages/events/{rest}")
    assert link.error is None
    error = await client.detached(link)
    port = world.app.info().amqp_port
    assert error is not None and error.condition == "amqp:link:redirect" and error.info is not None
    assert dict(error.info) == {
        "hostname": "localhost",
        "network-host": "localhost",
        "port": port,
        "address": f"amqps://localhost:{port}/localhost/{rest}",
    }

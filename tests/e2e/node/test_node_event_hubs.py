"""@azure/event-hubs as it is, reading what devices sent (contract/services.md 4): its READs, positions and levels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from moorage.hub.telemetry_log import partition_of
from tests.compatibility import proves
from tests.e2e.node.workshop import Program, Workshop
from tests.e2e.sdk import Message, client, until

reading = partial(proves, "@azure/event-hubs", "EventHubConsumerClient")

WAYS = {"port 5671": "AMQP", "emulator": "AMQP", "port 443": "AMQP-WS"}


class Source:
    """A device; `send` returns what is stored of it."""

    def __init__(self, workshop: Workshop, name: str) -> None:
        self._workshop = workshop
        self.name = name
        self.partition = str(partition_of(name, 4))
        self._document = workshop.bench.create(name)

    def send(self, *bodies: Any) -> None:
        before = len(self._workshop.bench.stored(self.name))
        with client(self._workshop.bench.by_key(self._document)) as device:
            for body in bodies:
                message = Message(json.dumps(body), content_encoding="utf-8", content_type="application/json")
                message.custom_properties["place"] = "hall 3"
                device.send_message(message)
        until("it is stored", lambda: len(self._workshop.bench.stored(self.name)) == before + len(bodies))


@pytest.fixture
def source(workshop: Workshop, new_id: Callable[..., str]) -> Source:
    return Source(workshop, new_id("read"))


@contextmanager
def reader(workshop: Workshop, way: str = "port 5671", *, connection: str = "", **read: Any) -> Iterator[Program]:
    hub = workshop.hub
    text = connection or hub.info.event_hub_connection_string.reveal()
    settings = {"READ": json.dumps(read)}
    if way == "emulator":
        text = text.replace(f"sb://{hub.hostname}/", f"sb://{hub.hostname}:5672/") + ";UseDevelopmentEmulator=true"
    elif way == "port 443":
        settings["IN_WEBSOCKETS"] = "yes"
    with workshop.start("event_reader.js", {**settings, "EVENTHUB_CONNECTION_STRING": text}) as program:
        yield program


def events_of(program: Program, name: str, count: int) -> list[dict[str, Any]]:
    """So many of a device; those of others are passed over."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        event = program.next("event")
        if event["systemProperties"]["iothub-connection-device-id"] == name:
            found.append(event)
    return found


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            way,
            marks=reading(
                "getEventHubProperties",
                "getPartitionIds",
                "getPartitionProperties",
                "subscribe",
                "close",
                transport=over,
            ),
        )
        for way, over in WAYS.items()
    ],
)
def test_a_reader_gets_what_a_device_sent(workshop: Workshop, source: Source, way: str) -> None:
    if way == "port 443" and workshop.hub.info.https_port != 443:
        pytest.skip("the hub could not have port 443 here")
    source.send({"n": 0}, {"n": 1})
    with reader(workshop, way) as program:
        described = program.next("hub")
        assert (described["name"], described["partitionIds"]) == (workshop.hub.info.name, ["0", "1", "2", "3"])
        states = program.next("partitions")
        assert [state["partitionId"] for state in states] == ["0", "1", "2", "3"]
        assert not states[int(source.partition)]["isEmpty"]
        first, second = events_of(program, source.name, 2)
        source.send({"n": 2})
        (third,) = events_of(program, source.name, 1)
        program.end()
    assert [event["body"] for event in (first, second, third)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert (first["partition"], first["properties"]) == (source.partition, {"place": "hall 3"})
    assert (first["contentType"], first["systemProperties"]["iothub-message-source"]) == (
        "application/json",
        "Telemetry",
    )
    assert first["sequenceNumber"] < second["sequenceNumber"] < third["sequenceNumber"]
    assert states[int(source.partition)]["lastEnqueuedSequenceNumber"] == second["sequenceNumber"]
    assert str(states[int(source.partition)]["lastEnqueuedOffset"]) == second["offset"]


@reading("subscribe from a position", transport="AMQP")
def test_a_reader_begins_where_it_says(workshop: Workshop, source: Source) -> None:
    source.send("zero", "one", "two")
    with reader(workshop, partition=source.partition) as program:
        zero, one, _ = events_of(program, source.name, 3)
    for position, first in (
        ({"offset": one["offset"]}, "two"),
        ({"sequenceNumber": one["sequenceNumber"], "isInclusive": True}, "one"),
        ({"enqueuedOn": zero["enqueuedTimeUtc"]}, None),
    ):
        with reader(workshop, partition=source.partition, position=position) as program:
            event = program.next("event")
            assert first is None or event["body"] == first
            assert event["enqueuedTimeUtc"] >= zero["enqueuedTimeUtc"]
            assert first is not None or event["sequenceNumber"] > zero["sequenceNumber"]


@reading("subscribe, ownerLevel", transport="AMQP")
def test_the_highest_owner_level_reads_alone(workshop: Workshop, source: Source) -> None:
    source.send("one")
    with reader(workshop, partition=source.partition, ownerLevel=1) as first:
        first.next("event")
        with reader(workshop, partition=source.partition, ownerLevel=2) as second:
            events_of(second, source.name, 1)
            assert first.next("refused")["code"] == "ReceiverDisconnectedError"
            with reader(workshop, partition=source.partition, ownerLevel=1) as lower:
                assert lower.next("refused")["code"] == "ReceiverDisconnectedError"
            source.send("two")
            assert events_of(second, source.name, 1)[0]["body"] == "two"


def test_who_is_refused_hears_it(workshop: Workshop) -> None:
    text = workshop.hub.info.event_hub_connection_string.reveal()
    with reader(workshop, group="nobody", partition="0") as program:
        assert program.next("refused")["code"] == "MessagingEntityNotFoundError"
    # A token for another entity opens nothing here, as that of a policy that is none.
    for wrong in (text.replace("iothubowner", "nobody"), text.rpartition("=")[0] + "=another"):
        with reader(workshop, connection=wrong) as program:
            assert program.next("refused")["code"] == "UnauthorizedError"

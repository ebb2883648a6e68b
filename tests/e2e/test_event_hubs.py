"""azure-eventhub as it is, reading what devices sent (contract/services.md 4), in each way of pointing it at a hub."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext, TransportType
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from moorage.hub.telemetry_log import partition_of
from tests.compatibility import proves
from tests.e2e.sdk import Bench, Inbox, Message, client, until
from tests.hubs import HTTPS_PORT, Hub, may_listen, sdk_hub

PARTITIONS = 4
WAYS = {"emulator": "AMQP", "port 5671": "AMQP", "custom endpoint": "AMQP", "port 443": "AMQP-WS"}

reading = partial(proves, "azure-eventhub", "EventHubConsumerClient")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """On all ports that the client knows, if 443 may be had."""
    https_port = HTTPS_PORT if may_listen(HTTPS_PORT) else 0
    with sdk_hub(tmp_path_factory.mktemp("events") / "hub", https_port=https_port) as hub:
        yield hub


@pytest.fixture(scope="module")
def bench(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(hub, tmp_path_factory.mktemp("certificates"))


class Reader:
    """A client of one consumer group. What it reads waits in `events`; `errors` are what it was told went wrong."""

    def __init__(self, hub: Hub, way: str = "port 5671", group: str = "$Default", **changes: str) -> None:
        text = hub.info.event_hub_connection_string.reveal()
        options: dict[str, Any] = {}
        for old, new in changes.items():
            text = ";".join(f"{old}={new}" if part.startswith(f"{old}=") else part for part in text.split(";"))
        match way:
            case "emulator":
                text = text.replace(f"sb://{hub.hostname}/", f"sb://{hub.hostname}:5672/")
                text += ";UseDevelopmentEmulator=true"
            case "custom endpoint":
                # What the connection string says stands in addresses; where to connect is said apart.
                text = text.replace(f"sb://{hub.hostname}/", "sb://localhost/")
                options = {"custom_endpoint_address": f"sb://{hub.hostname}:5671", "transport_type": TransportType.Amqp}
            case "port 443":
                options = {"transport_type": TransportType.AmqpOverWebsocket}
        if way != "emulator":
            options["connection_verify"] = str(hub.info.ca_bundle)
        self.client: Any = EventHubConsumerClient.from_connection_string(text, group, retry_total=0, **options)
        self.events = Inbox()
        self.errors = Inbox()
        # How often nothing came in `max_wait_time`.
        self.idle = Inbox()
        self._threads: list[threading.Thread] = []

    def start(self, *partitions: str, **options: Any) -> None:
        """Read these partitions, or all, in threads."""
        for partition in partitions or (None,):
            more = {} if partition is None else {"partition_id": partition}
            arguments = {"on_event": self._take, "on_error": self._fail, "max_wait_time": 0.5, **more, **options}
            thread = threading.Thread(target=self.client.receive, kwargs=arguments)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        self.client.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def bodies(self, count: int) -> list[str]:
        """The first so many that come."""
        self.events.wait(count)
        return [event.body_as_str() for event in self.events]

    def _take(self, context: PartitionContext, event: EventData | None) -> None:
        (self.idle if event is None else self.events).append(event)

    def _fail(self, context: PartitionContext | None, error: Exception) -> None:
        self.errors.append(error)


@contextmanager
def reader(
    hub: Hub, *partitions: str, way: str = "port 5671", group: str = "$Default", **options: Any
) -> Iterator[Reader]:
    made = Reader(hub, way, group)
    try:
        made.start(*partitions, **options)
        yield made
    finally:
        made.close()


class Source:
    """A device. `send` returns once everything is stored."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        self.name = name
        self.document = bench.create(name)
        self.partition = str(partition_of(name, PARTITIONS))

    def send(self, *bodies: str) -> list[dict[str, Any]]:
        """What is stored of it now."""
        before = len(self._bench.stored(self.name))
        with client(self._bench.by_key(self.document)) as device:
            for body in bodies:
                message = Message(body, content_encoding="utf-8", content_type="application/json")
                message.custom_properties["place"] = "hall 3 & 4"
                device.send_message(message)
        until("it is stored", lambda: len(self._bench.stored(self.name)) == before + len(bodies))
        return self._bench.stored(self.name)


@pytest.fixture
def source(bench: Bench, new_id: Callable[..., str]) -> Source:
    return Source(bench, new_id("source"))


def of(name: str, events: list[Any]) -> list[Any]:
    return [event for event in events if event.system_properties[b"iothub-connection-device-id"] == name.encode()]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=reading("receive", "close", "get_partition_ids", transport=over))
        for way, over in WAYS.items()
    ],
)
def test_a_reader_gets_what_a_device_sent(hub: Hub, source: Source, way: str) -> None:
    if way == "port 443" and hub.info.https_port != HTTPS_PORT:
        pytest.skip("the hub could not have port 443 here")
    source.send('{"n": 0}', '{"n": 1}', '{"n": 2}')
    # In WebSockets the client waits a second for each partition, one after the other.
    with reader(hub, source.partition, way=way, starting_position="-1") as found:
        assert found.client.get_partition_ids() == ["0", "1", "2", "3"]
        until("they came", lambda: len(of(source.name, found.events)) == 3)
        # A reader goes on with what is sent while it reads.
        source.send('{"n": 3}')
        until("it came", lambda: len(of(source.name, found.events)) == 4)
    events = of(source.name, found.events)
    assert [event.body_as_json() for event in events] == [{"n": number} for number in range(4)]
    first = events[0]
    assert first.properties == {b"place": b"hall 3 & 4"}
    assert (first.content_type, first.raw_amqp_message.properties.content_encoding) == ("application/json", b"utf-8")
    assert first.system_properties[b"iothub-message-source"] == b"Telemetry"
    assert first.system_properties[b"iothub-connection-auth-generation-id"] == source.document["generationId"].encode()
    assert b'"type":"sas"' in first.system_properties[b"iothub-connection-auth-method"]
    assert first.enqueued_time is not None and first.offset is not None
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert found.errors == []


@reading("get_eventhub_properties", "get_partition_properties", transport="AMQP")
def test_the_hub_and_its_partitions_are_described(hub: Hub, source: Source) -> None:
    source.send("first", "last")
    with reader(hub, source.partition, starting_position="-1") as found:
        described = found.client.get_eventhub_properties()
        assert described["eventhub_name"] == hub.info.name
        assert described["partition_ids"] == ["0", "1", "2", "3"]
        until("they came", lambda: len(of(source.name, found.events)) == 2)
        state = found.client.get_partition_properties(source.partition)
    event = found.events[-1]
    assert state["last_enqueued_sequence_number"] == event.sequence_number
    assert state["last_enqueued_offset"] == event.offset
    assert state["last_enqueued_time_utc"] == event.enqueued_time
    assert (state["is_empty"], state["id"], state["beginning_sequence_number"]) == (False, source.partition, 0)


@reading("receive from a position", transport="AMQP")
def test_a_reader_begins_where_it_says(hub: Hub, source: Source) -> None:
    source.send("zero", "one", "two")
    with reader(hub, source.partition, starting_position="-1") as found:
        until("they came", lambda: len(of(source.name, found.events)) == 3)
    zero, one, _ = of(source.name, found.events)
    cases: list[tuple[Any, bool, str]] = [
        (one.offset, False, "two"),
        (one.sequence_number, True, "one"),
        (zero.enqueued_time - timedelta(milliseconds=1), False, "zero"),
    ]
    for position, inclusive, first in cases:
        with reader(hub, source.partition, starting_position=position, starting_position_inclusive=inclusive) as found:
            assert found.bodies(1)[0] == first, (position, inclusive)
    with reader(hub, source.partition, starting_position="@latest") as found:

        def is_seen() -> bool:
            """It does not say when it has begun: what is sent before goes past it."""
            source.send("three")
            time.sleep(0.5)
            return bool(found.events)

        until("it came", is_seen)
        assert {event.body_as_str() for event in found.events} == {"three"}


@reading("receive from all partitions", transport="AMQP")
def test_every_partition_is_read(hub: Hub, bench: Bench, new_id: Callable[..., str]) -> None:
    sources: dict[str, Source] = {}
    while len(sources) < PARTITIONS:
        name = new_id("spread")
        if str(partition_of(name, PARTITIONS)) not in sources:
            sources[str(partition_of(name, PARTITIONS))] = Source(bench, name)
    for each in sources.values():
        each.send(each.name)
    names = {each.name for each in sources.values()}
    with reader(hub, *sources, starting_position="-1") as found:
        until("all came", lambda: names <= {event.body_as_str() for event in found.events})


@reading("receive in a consumer group", transport="AMQP")
def test_consumer_groups_read_side_by_side(hub: Hub, source: Source) -> None:
    path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub"
    path = path.replace("/hub", f"/{hub.info.name.partition('.')[0]}")
    hub.request(
        "PUT", f"{path}/eventHubEndpoints/events/ConsumerGroups/Dashboards", query={"api-version": "2023-06-30"}
    )
    source.send("for all")
    position = {"starting_position": "-1"}
    with reader(hub, source.partition, **position, owner_level=1) as first:
        first.events.wait()
        # Names are compared without case.
        with reader(hub, source.partition, group="DASHBOARDS", **position, owner_level=1) as second:
            second.events.wait()
            assert (first.errors, second.errors) == ([], [])
            with reader(hub, source.partition, group="$default", **position, owner_level=2) as third:
                third.events.wait()
                assert is_stolen(first)
                assert second.errors == []


def is_stolen(reader: Reader) -> bool:
    """The client has an error of its own for it, and does not raise it."""
    return "amqp:link:stolen" in str(reader.errors.wait())


@reading("receive, owner_level", transport="AMQP")
def test_the_highest_owner_level_reads_alone(hub: Hub, source: Source) -> None:
    source.send("one")
    with reader(hub, source.partition, starting_position="-1") as without:
        without.events.wait()
        with reader(hub, source.partition, starting_position="-1", owner_level=2) as second:
            second.events.wait()
            assert is_stolen(without)
            with reader(hub, source.partition, owner_level=1) as lower, reader(hub, source.partition) as plain:
                assert is_stolen(lower)
                assert is_stolen(plain)
            with reader(hub, source.partition, starting_position="-1", owner_level=3) as third:
                assert is_stolen(second)
                third.events.wait()
                assert third.errors == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"SharedAccessKey": "bm90IHRoZSBrZXkgb2YgYW55Ym9keQ=="}, AuthenticationError),
        ({"SharedAccessKeyName": "nobody"}, AuthenticationError),
        ({"EntityPath": "another"}, EventHubError),
    ],
)
def test_who_is_refused_hears_it(hub: Hub, changes: dict[str, str], error: type[Exception]) -> None:
    found = Reader(hub, **changes)
    try:
        with pytest.raises(error):
            found.client.get_partition_ids()
    finally:
        found.close()


def test_what_is_not_there_is_said(hub: Hub) -> None:
    with reader(hub, "0", group="nobody") as found:
        error = found.errors.wait()
        assert isinstance(error, EventHubError)
        assert "amqp:not-found" in str(error)
        for partition in ("4", "first"):
            with pytest.raises(EventHubError, match="Status code: 404"):
                found.client.get_partition_properties(partition)

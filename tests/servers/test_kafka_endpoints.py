"""Message routes that lead to Kafka: a cluster that speaks the protocol on sockets, and a hub beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.broker_policy import BrokerList
from moorage.adapters.endpoints.kafka import KafkaSink
from moorage.hub.router import Outgoing
from moorage.hub.routing_model import Endpoint
from moorage.ids import DEFAULT_HUB, Secret
from tests.callees import server_context, server_root
from tests.kafka import MESSAGE_TOO_LARGE, TOPIC_AUTHORIZATION_FAILED, Cluster, cluster
from tests.servers.test_route_endpoints import BODIES, EVENTS, JSON, lead_to, routing, send_all, tried
from tests.servers.world import World, eventually, running

TOPIC = "moorage"


@pytest.fixture
def kafka() -> Iterator[Cluster]:
    with cluster(2) as found:
        found.create_topic(TOPIC, 3)
        yield found


@asynccontextmanager
async def hub(data: Path, **settings: Any) -> AsyncIterator[World]:
    async with routing(data, **({"kafka_brokers": "127.0.0.1"} | settings)) as world:
        yield world


def address(kafka: Cluster) -> str:
    return "kafka://" + ",".join(kafka.addresses)


def health(world: World) -> Any:
    return world.app._router.health("there")


def dead(world: World) -> int:
    return world.app.store.read().routing.count_dead(DEFAULT_HUB, "there")


async def publish(world: World, *bodies: bytes) -> None:
    client = await world.connect()
    for body in bodies:
        client.publish(EVENTS, body)
    await client.acks(len(bodies))


async def test_a_message_becomes_a_record_under_the_key_of_its_device(tmp_path: Path, kafka: Cluster) -> None:
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka))
        await send_all(world)
        records = await asyncio.to_thread(kafka.read, TOPIC, 3)
        assert [record.value() for record in records] == list(BODIES)
        assert {record.key() for record in records} == {b"pump-01"}
        # One partition, so that the messages of a device stay in their order.
        assert len({record.partition() for record in records}) == 1
        headers = dict(records[2].headers())
        assert headers["number"] == b"2"
        assert headers["content-type"] == b"application/json"
        assert headers["iothub-connection-device-id"] == b"pump-01"
        assert headers["iothub-enqueuedtime"].decode().startswith(f"{world.clock.now():%Y-%m-%dT%H:%M}")
        await eventually(lambda: health(world).delivered == 3)


async def test_a_device_cannot_write_the_headers_that_the_hub_writes(tmp_path: Path, kafka: Cluster) -> None:
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka))
        client = await world.connect()
        forged = "iothub-connection-device-id=boss&IoTHub-Message-Source=twinChangeEvents&dt-dataschema=dtmi%3Ax%3B1"
        client.publish(f"{EVENTS}{forged}&fine=yes", b"x")
        await client.acks(1)
        (record,) = await asyncio.to_thread(kafka.read, TOPIC, 1)
        names = [name.lower() for name, _ in record.headers()]
        assert len(names) == len(set(names))
        headers = dict(record.headers())
        assert headers["iothub-connection-device-id"] == b"pump-01"
        assert headers["fine"] == b"yes"
        assert "dt-dataschema" not in headers


async def test_the_value_is_the_whole_message_when_asked_for(tmp_path: Path, kafka: Cluster) -> None:
    kafka.create_topic("plant.out")
    async with hub(tmp_path / "hub") as world:
        enrichment = {"key": "site", "value": "$twin.tags.site", "endpoints": ["there"]}
        await lead_to(world, "kafka", address(kafka), options={"topic": "plant.out", "value": "document"})
        response = await world.http.put("/moorage/v1/enrichments/site", json=enrichment)
        assert response.status_code == 200, response.text
        client = await world.connect()
        client.publish(f"{EVENTS}{JSON}", b'{"n": 1}')
        await client.acks(1)
        (record,) = await asyncio.to_thread(kafka.read, "plant.out", 1)
        document = json.loads(record.value())
        assert document["body"] == {"n": 1}
        assert dict(record.headers())["site"] == b"$twin.tags.site"


async def test_what_comes_while_the_brokers_are_gone_is_there_when_they_are_back(
    tmp_path: Path, kafka: Cluster
) -> None:
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka))
        await publish(world, b"before")
        await eventually(lambda: health(world).delivered == 1)
        kafka.stop(1)
        kafka.stop(2)
        await publish(world, *(b"%d" % number for number in range(50)))
    # The hub goes, too, and starts where it was.
    kafka.start(1)
    kafka.start(2)
    async with running(tmp_path / "hub", kafka_brokers="127.0.0.1") as world:
        await eventually(lambda: health(world).delivered == 50)
        assert dead(world) == 0
    records = await asyncio.to_thread(kafka.read, TOPIC, 51)
    assert [record.value() for record in records] == [b"before", *(b"%d" % number for number in range(50))]


async def test_a_cluster_that_is_not_there_yet_is_waited_for(tmp_path: Path, kafka: Cluster) -> None:
    kafka.stop(1)
    kafka.stop(2)
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka))
        await publish(world, b"one")
        await eventually(lambda: health(world).failure is not None)
        assert health(world).failure.reason == "endpoint.failed"
        kafka.start(2)
        await eventually(lambda: health(world).delivered == 1)
        assert health(world).failure is None


async def test_a_topic_that_is_refused_ends_in_dead_letters_once_it_was_tried_long_enough(
    tmp_path: Path, kafka: Cluster
) -> None:
    kafka.refuse_topic(TOPIC, TOPIC_AUTHORIZATION_FAILED)
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka), retrySeconds=0)
        await send_all(world)
        await eventually(lambda: dead(world) == 3)
        assert "TopicAuthorization" in health(world).failure.message
        kafka.refuse_topic(TOPIC, 0)
        answer = await world.http.post("/moorage/v1/endpoints/there/dead-letters/replay")
        assert answer.json() == {"delivered": 3, "left": 0, "failure": None}
        records = await asyncio.to_thread(kafka.read, TOPIC, 3)
        assert [record.key() for record in records] == [b"pump-01"] * 3
        assert records[1].value() == BODIES[1]


async def test_a_record_that_is_too_large_for_the_topic_is_buried_alone(tmp_path: Path, kafka: Cluster) -> None:
    # The batch, and then the first of its messages.
    kafka.refuse_produce(MESSAGE_TOO_LARGE, MESSAGE_TOO_LARGE)
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka))
        await send_all(world)
        await eventually(lambda: health(world).delivered == 2)
        assert dead(world) == 1
        records = await asyncio.to_thread(kafka.read, TOPIC, 2)
        assert [record.value() for record in records] == list(BODIES[1:])


async def test_a_broker_that_falls_silent_is_left_behind_with_nothing_running(kafka: Cluster) -> None:
    inner = [int(place.rpartition(":")[2]) for place in kafka.addresses]
    speaks = asyncio.Event()
    speaks.set()
    async with contextlib.AsyncExitStack() as stack:
        for number, port in enumerate(inner, start=1):
            outer = await stack.enter_async_context(passing_on(port, speaks=speaks))
            kafka.advertise("127.0.0.1", outer, broker=number)
        endpoint = Endpoint("there", "kafka", Secret(f"kafka://127.0.0.1:{outer}"))
        sink = KafkaSink(endpoint, BrokerList.of(["127.0.0.1"]))
        document = b'{"enqueuedTime":"2030-01-01T00:00:00Z","properties":{},"systemProperties":{}}'
        message = Outgoing("pump-01", 0, document, b"x")
        await sink.deliver([message])
        speaks.clear()
        delivering = asyncio.create_task(sink.deliver([message]))
        await asyncio.sleep(0.5)
        assert not delivering.done()
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        async with asyncio.timeout(30):
            await sink.close()
            await eventually(lambda: not any("aiokafka" in repr(task.get_coro()) for task in asyncio.all_tasks()))
        speaks.set()


# --- whom the operator vouches for -----------------------------------------------------------------------------------


async def test_without_the_setting_no_kafka_endpoint_is_taken(tmp_path: Path, kafka: Cluster) -> None:
    async with routing(tmp_path / "hub") as world:
        body = {"kind": "kafka", "address": address(kafka)}
        response = await world.http.put("/moorage/v1/endpoints/there", json=body)
        assert response.status_code == 400
        assert response.headers["moorage-reason"] == "endpoint.broker"
        assert f"moorage up --kafka-brokers {kafka.addresses[0]}" in response.text
        assert (await world.http.get("/moorage/v1/endpoints")).json() == {"endpoints": []}


async def test_a_broker_that_the_metadata_name_is_held_against_the_setting_too(tmp_path: Path, kafka: Cluster) -> None:
    visitors: list[object] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(writer.get_extra_info("peername"))
        writer.close()

    inside = await asyncio.start_server(visited, "127.0.0.1", 0)
    port: int = inside.sockets[0].getsockname()[1]
    kafka.advertise("127.0.0.1", port, broker=2)
    async with inside, hub(tmp_path / "hub", kafka_brokers=",".join(kafka.addresses)) as world:
        await lead_to(world, "kafka", address(kafka))
        assert await tried(world) == (400, "endpoint.broker")
        await send_all(world)
        await eventually(lambda: health(world).failure is not None)
        assert f"127.0.0.1:{port}" in health(world).failure.message
        assert visitors == []
        # As soon as it is vouched for by being what it was, everything comes.
        kafka.advertise("127.0.0.1", int(kafka.addresses[1].rpartition(":")[2]), broker=2)
        await eventually(lambda: health(world).delivered == 3)


async def test_an_endpoint_that_is_not_vouched_for_any_more_waits(tmp_path: Path, kafka: Cluster) -> None:
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka))
    async with running(tmp_path / "hub") as world:
        await publish(world, b"one")
        await eventually(lambda: health(world).failure is not None)
        assert health(world).failure.reason == "endpoint.broker"


# --- TLS and passwords -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def tls_before(kafka: Cluster) -> AsyncIterator[str]:
    """A door with TLS before each broker, which the brokers tell of as their own; gives the address of one."""
    context = server_context(["localhost"])
    async with contextlib.AsyncExitStack() as stack:
        for number, place in enumerate(kafka.addresses, start=1):
            inner = int(place.rpartition(":")[2])
            outer = await stack.enter_async_context(passing_on(inner, context=context))
            kafka.advertise("localhost", outer, broker=number)
        yield f"kafka+tls://localhost:{outer}"
    for number, place in enumerate(kafka.addresses, start=1):
        kafka.advertise("127.0.0.1", int(place.rpartition(":")[2]), broker=number)


@asynccontextmanager
async def passing_on(
    port: int, *, context: ssl.SSLContext | None = None, speaks: asyncio.Event | None = None
) -> AsyncIterator[int]:
    """A port that leads to `port`; nothing goes through while it does not speak."""
    passing: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_pass_on(port, reader, writer, speaks))
        passing.add(task)
        await asyncio.wait({task})
        passing.discard(task)

    door = await asyncio.start_server(served, "127.0.0.1", 0, ssl=context)
    try:
        yield door.sockets[0].getsockname()[1]
    finally:
        door.close()
        for task in list(passing):
            task.cancel()
        await eventually(lambda: not passing)


async def _pass_on(
    port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, speaks: asyncio.Event | None
) -> None:
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.gather(_copy(reader, inner_writer, speaks), _copy(inner_reader, writer, speaks))
    finally:
        writer.transport.abort()
        inner_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, speaks: asyncio.Event | None) -> None:
    # A connection may end in any way; then the other half ends, too.
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            if speaks is not None:
                await speaks.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_over_tls_the_certificate_of_every_broker_is_verified(tmp_path: Path, kafka: Cluster) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(server_root().certificate.pem)
    settings = {"kafka_brokers": "localhost"}
    async with tls_before(kafka) as door:
        async with hub(tmp_path / "trusting", egress_ca_bundle=str(bundle), **settings) as world:
            await lead_to(world, "kafka", door)
            await send_all(world)
            await eventually(lambda: health(world).delivered == 3)
        async with hub(tmp_path / "careful", **settings) as world:
            await lead_to(world, "kafka", door)
            assert await tried(world) == (503, "endpoint.failed")
    records = await asyncio.to_thread(kafka.read, TOPIC, 3)
    assert [record.value() for record in records] == list(BODIES)


@pytest.mark.parametrize("sasl", ["scram-sha-256", "scram-sha-512"])
async def test_brokers_that_take_no_passwords_are_told_none(tmp_path: Path, kafka: Cluster, sasl: str) -> None:
    async with hub(tmp_path / "hub") as world:
        await lead_to(world, "kafka", address(kafka), credential="ann:hush-hush", options={"sasl": sasl})
        assert await tried(world) == (503, "endpoint.failed")
        shown = await world.http.get("/moorage/v1/endpoints/there")
        assert shown.json()["hasCredential"] is True
        assert "hush" not in shown.text


@asynccontextmanager
async def asking_for_passwords(context: ssl.SSLContext | None) -> AsyncIterator[tuple[int, list[tuple[str, bytes]]]]:
    """A door that asks for a mechanism and its first message, and lets nobody in; with what it was told."""
    told: list[tuple[str, bytes]] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mechanism = ""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, ssl.SSLError):
            while True:
                request = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
                key, _, correlation, name = struct.unpack_from(">hhih", request)
                rest = request[10 + name :]
                match key:
                    case 18:  # ApiVersions: itself, SaslHandshake and SaslAuthenticate
                        answer = struct.pack(">hi9h", 0, 3, 18, 0, 0, 17, 0, 1, 36, 0, 0)
                    case 17:  # SaslHandshake
                        mechanism = rest[2:].decode()
                        answer = struct.pack(">hih", 0, 1, len(mechanism)) + mechanism.encode()
                    case _:  # SaslAuthenticate
                        told.append((mechanism, rest[4:]))
                        answer = struct.pack(">hh", 58, 8) + b"not here" + struct.pack(">i", 0)
                writer.write(struct.pack(">ii", len(answer) + 4, correlation) + answer)
        writer.close()

    door = await asyncio.start_server(ask, "127.0.0.1", 0, ssl=context)
    async with door:
        yield door.sockets[0].getsockname()[1], told


async def test_a_password_is_shown_as_the_endpoint_says(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(server_root().certificate.pem)
    settings = {"kafka_brokers": "localhost", "egress_ca_bundle": str(bundle)}
    credential = {"credential": "ann:hush:hush"}
    async with hub(tmp_path / "hub", **settings) as world:
        async with asking_for_passwords(server_context(["localhost"])) as (port, told):
            await lead_to(world, "kafka", f"kafka+tls://localhost:{port}", **credential)
            assert await tried(world) == (503, "endpoint.failed")
            assert told == [("PLAIN", b"ann\0ann\0hush:hush")]
        for hashed in ("256", "512"):
            async with asking_for_passwords(None) as (port, told):
                options = {"sasl": f"scram-sha-{hashed}"}
                await lead_to(world, "kafka", f"kafka://localhost:{port}", options=options, **credential)
                assert await tried(world) == (503, "endpoint.failed")
                ((mechanism, first),) = told
                assert mechanism == f"SCRAM-SHA-{hashed}"
                assert first.startswith(b"n,,n=ann,r=") and b"hush" not in first

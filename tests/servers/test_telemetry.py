"""Telemetry from the socket to the disk: what is taken, what is acknowledged, when, and in which order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from moorage.dialects.telemetry_json import telemetry_json
from moorage.ids import DEFAULT_HUB
from moorage.protocols.mqtt.packets import Publish
from moorage.protocols.mqtt.topics import TopicName
from tests.disks import HeldDisk
from tests.servers.clients import Client
from tests.servers.world import World, busy_store, eventually, named, running

EVENTS = "devices/pump-01/messages/events"
REPORTED = "$iothub/twin/PATCH/properties/reported/?$rid="


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "bag"),
    [
        ("", b""),
        ("/", b""),
        ("/a=b&%24.ct=application%2Fjson", b"a=b&%24.ct=application%2Fjson"),
        ("/a=b/", b"a=b/"),
        ("/$.mid=1&route=x/y/z", b"$.mid=1&route=x/y/z"),
        ("/broken=%4&more=%zz", b"broken=%4&more=%zz"),
    ],
)
async def test_telemetry_is_stored_as_it_came(pump: World, tail: str, bag: bytes) -> None:
    client = await pump.connect()
    packet_id = client.publish(EVENTS + tail, b"\x00payload")
    assert await client.acks(1) == [packet_id]
    (message,) = await pump.telemetry()
    assert (message.bag, message.body) == (bag, b"\x00payload")


async def test_the_hub_stamps_who_sent_it_and_how_that_was_proven(pump: World) -> None:
    client = await pump.connect(model="dtmi:plant:pump;1")
    client.publish(f"{EVENTS}/iothub-connection-device-id=somebody-else&%24.cdid=x&mine=1", b"{}")
    await client.acks(1)
    (message,) = await pump.telemetry()
    source = message.source
    assert (source.device_id, source.module_id, source.model_id) == ("pump-01", None, "dtmi:plant:pump;1")
    assert json.loads(source.auth_method) == {
        "scope": "device", "type": "sas", "issuer": "iothub", "acceptingIpFilterRule": None,
    }  # fmt: skip
    shown = telemetry_json(message)
    assert shown["properties"] == {"mine": "1"}
    assert shown["systemProperties"]["iothub-connection-device-id"] == "pump-01"
    await eventually(lambda: pump.twins.get(DEFAULT_HUB, named("pump-01")).model_id == "dtmi:plant:pump;1")


async def test_the_retain_flag_becomes_a_property(pump: World) -> None:
    client = await pump.connect()
    client.publish(EVENTS + "/a=b/", b"1", retain=True)
    client.publish(EVENTS, b"2", retain=True)
    await client.acks(2)
    assert [message.bag for message in await pump.telemetry()] == [b"a=b&mqtt-retain=true", b"mqtt-retain=true"]


async def test_qos_0_is_stored_and_not_acknowledged(pump: World) -> None:
    client = await pump.connect()
    client.publish(EVENTS, b"0", qos=0)
    assert await client.acks(1 if client.publish(EVENTS, b"1") else 0) == [1]
    assert [message.body for message in await pump.telemetry()] == [b"0", b"1"]


async def test_a_message_of_256_kib_is_taken_and_one_byte_more_is_not(pump: World) -> None:
    client = await pump.connect()
    client.publish(EVENTS, bytes(262_144))
    await client.acks(1)
    client.publish(EVENTS, bytes(262_145))
    assert await client.rest() == []


async def test_the_limit_is_on_decoded_sizes(pump: World) -> None:
    """Decisions W4: the escapes of a bag do not count."""
    client = await pump.connect()
    client.publish(EVENTS + "/a=" + "%41" * 20_000, bytes(262_144 - 20_002))
    await client.acks(1)
    client.publish(EVENTS + "/a=" + "%41" * 20_000, bytes(262_144 - 20_001))
    assert await client.rest() == []
    assert len(await pump.telemetry()) == 1


@pytest.mark.parametrize(
    "topic",
    [
        "devices/pump-02/messages/events/",
        "devices/pump-01/messages/eventsX",
        "devices/pump-01/modules/vision/messages/events/",
        "devices/PUMP-01/messages/events/",
        "devices/pump-01/messages/devicebound/",
        "devices/pump-01/messages/events/a=%ff%fe",
        "$iothub/twin/GET/",
        "$iothub/twin/GET/?$rid=",
        "$iothub/methods/res/abc/?$rid=1",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
        "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=abc",
        "other",
    ],
)
async def test_other_topics_and_unreadable_bags_end_the_connection(pump: World, topic: str) -> None:
    client = await pump.connect()
    client.publish(topic, b"{}")
    assert await client.rest() == []
    assert await pump.telemetry() == []


async def test_qos_2_ends_the_connection(pump: World) -> None:
    client = await pump.connect()
    client.raw(b"\x34\x28\x00\x22" + (EVENTS + "/ab").encode() + b"\x00\x01hi")
    assert await client.rest() == []


async def test_what_came_before_a_fault_is_stored(pump: World) -> None:
    client = await pump.connect()
    before = pump.app.log.durable_end
    client.say(Publish(TopicName(EVENTS.encode()), b"good", 1, 1), Publish(TopicName(b"bad"), b"", 1, 2))
    assert await client.rest() == []
    await pump.app.log.wait_beyond(before)
    assert [message.body for message in await pump.telemetry()] == [b"good"]


# --- acknowledged in order, and only what is durable -----------------------------------------------------------------


async def test_nothing_is_acknowledged_before_it_is_on_disk(held: tuple[World, HeldDisk]) -> None:
    world, disk = held
    client = await world.connect()
    disk.hold()
    sent = [client.publish(EVENTS, b"x") for _ in range(5)]
    assert await client.is_silent(0.2)
    disk.release()
    assert await client.acks(5) == sent


async def test_acknowledgements_keep_the_order_of_the_publishes(held: tuple[World, HeldDisk]) -> None:
    """Decisions S12: across telemetry, twins and methods."""
    world, disk = held
    client = await world.connect()
    disk.hold()
    sent = [
        client.publish(EVENTS, b"1"),
        client.publish(f"{REPORTED}1", b'{"a": 1}'),
        client.publish("$iothub/methods/res/200/?$rid=9", b"{}"),
        client.publish(EVENTS, b"2"),
        client.publish("$iothub/twin/GET/?$rid=2"),
        client.publish(f"{REPORTED}3", b"not json"),
        client.publish(EVENTS, b"3"),
    ]
    # The twin is written by now; its acknowledgement waits behind the telemetry before it.
    await eventually(lambda: world.twins.get(DEFAULT_HUB, named("pump-01")).reported.version == 2)
    assert await client.is_silent(0.1)
    disk.release()
    assert await client.acks(7) == sent


async def test_telemetry_waits_for_the_twin_before_it(pump: World) -> None:
    client = await pump.connect()
    async with busy_store(pump):
        sent = [client.publish(f"{REPORTED}1", b'{"a": 1}'), client.publish(EVENTS, b"1"), client.publish(EVENTS, b"2")]
        await eventually(lambda: pump.app.telemetry.accepted == 2)
        assert await client.is_silent(0.1)
    assert await client.acks(3) == sent


async def test_a_broken_disk_ends_the_sessions_that_wait_without_a_word(held: tuple[World, HeldDisk]) -> None:
    world, disk = held
    await world.create("pump-02")
    waits, idle = await world.connect(), await world.connect("pump-02")
    disk.hold()
    waits.publish(EVENTS, b"never")
    await eventually(lambda: world.app.telemetry.accepted == 1)
    disk.break_it()
    assert await waits.rest() == []
    # Who has nothing to lose may stay, until it sends.
    assert await idle.is_silent(0.02)
    idle.publish("devices/pump-02/messages/events", b"refused")
    assert await idle.rest() == []
    response = await world.http.get("/readyz")
    assert response.status_code == 503


async def test_reading_stops_while_the_disk_is_behind_and_goes_on_after(held: tuple[World, HeldDisk]) -> None:
    world, disk = held
    await world.create("pump-02")
    client, other = await world.connect(), await world.connect("pump-02", keep_alive_s=600)
    world.turn(25)
    disk.hold()
    body = bytes(200_000)
    sent = []

    def backlog() -> int:
        return world.app.log.backlog_bytes

    async def flood() -> None:
        for _ in range(120):
            sent.append(client.publish(EVENTS, body))
            await client.writer.drain()

    flooding = asyncio.ensure_future(flood())
    await eventually(lambda: backlog() >= 8 * 1024 * 1024)
    await asyncio.sleep(0.3)
    # 24 MB were offered: the rest stays with the device, and in the buffers between.
    assert backlog() < 12 * 1024 * 1024
    # Another device is held as soon as it sends, and no earlier.
    other.publish("devices/pump-02/messages/events", b"small")
    assert await other.is_silent(0.05)
    # A device that is not read is not silent by its own fault.
    world.turn(400)
    await asyncio.sleep(0.05)
    assert len(world.app.live) == 2
    disk.release()
    await flooding
    assert await client.acks(120) == sent
    assert await other.acks(1) == [1]
    assert await client.is_silent(0.05)
    # Its time to speak, 900 s, began when it was heard again.
    world.turn(510)
    assert await other.is_silent(0.05)


async def test_stopping_while_devices_send_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: dict[str, list[int]] = {}
    stopping = asyncio.Event()

    async def send_on(name: str, client: Client) -> None:
        acknowledged[name] = []
        try:
            for number in range(100_000):
                client.publish(f"devices/{name}/messages/events", b"%d" % number)
                await client.acks(1)
                acknowledged[name].append(number)
        except (EOFError, ConnectionResetError):
            assert stopping.is_set()

    names = [f"pump-{number}" for number in range(8)]
    async with running(tmp_path / "hub") as world:
        tasks = []
        for name in names:
            await world.create(name)
            tasks.append(asyncio.ensure_future(send_on(name, await world.connect(name))))
        await eventually(lambda: all(len(acknowledged.get(name, ())) > 20 for name in names))
        stopping.set()
        await world.app.stop()
        await asyncio.gather(*tasks)
    async with running(tmp_path / "hub") as world:
        for name in names:
            stored = [int(message.body) for message in await world.telemetry(name)]
            assert stored[: len(acknowledged[name])] == acknowledged[name][:1000]

"""A full disk: /readyz says so, nothing that was acknowledged is lost, and the hub goes on once there is room."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moorage.errors import Refusal
from tests.chaos.clients import Client, Device, Received, connected
from tests.chaos.telemetry import read_telemetry
from tests.chaos.twins import ANSWERS, answered, patch_topic
from tests.durability.hub.disks import DISKS, Disk, small_disk
from tests.hubs import Hub

PATIENCE_S = 60.0


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with DISKS[request.param](tmp_path / "hub") as disk:
        yield disk


@pytest.fixture
def hub(disk: Disk, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub")
    hub.start()
    yield hub
    if hub.was_started:
        hub.kill()


def why_not_ready(hub: Hub) -> str:
    """The reason that /readyz gives, empty when it is ready."""
    try:
        hub.request("GET", "/readyz")
    except Refusal as refusal:
        return refusal.reason
    return ""


async def until(what: str, happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def subscribed(hub: Hub, device: Device, topic_filter: bytes, came: list[Received]) -> AsyncIterator[Client]:
    async with asyncio.timeout(PATIENCE_S), connected(hub, device, came.append) as (client, _):
        await client.subscribe(topic_filter)
        yield client


async def send(client: Client, device: Device, bodies: list[bytes]) -> int:
    """Publish one after the other until all are acknowledged or the connection ends; how many were."""
    async with asyncio.timeout(PATIENCE_S):
        for number, body in enumerate(bodies, 1):
            client.publish(device.events, body)
            while client.acknowledged < number and not client.is_lost:
                await client.changed()
            if client.is_lost:
                break
    return client.acknowledged


def stored(hub: Hub, device: Device) -> list[bytes]:
    """What is stored of the only sender, its numbers checked."""
    messages, _ = read_telemetry(hub, 0)
    assert [message["deviceId"] for message in messages] == [device.name] * len(messages)
    numbers = [message["sequenceNumber"] for message in messages]
    assert numbers == list(range(len(messages)))
    return [base64.b64decode(message["bodyBase64"]) for message in messages]


def body(number: int, size: int = 40_000) -> bytes:
    return b"%06d" % number + bytes(size)


async def test_telemetry_is_not_acknowledged_while_the_disk_is_full(hub: Hub, disk: Disk, tmp_path: Path) -> None:
    device = Device("pump-01", tmp_path)
    device.register(hub)
    async with connected(hub, device) as (client, _):
        assert await send(client, device, [body(number) for number in range(5)]) == 5
        kept = [body(number) for number in range(5)]
        disk.fill(hub)
        # What still has room is taken, and then the sender is turned away.
        more = [body(number) for number in range(5, 400)]
        taken = await send(client, device, more) - 5
        assert client.is_lost
        kept += more[:taken]

    assert why_not_ready(hub).startswith(disk.log_reason)
    if disk.keeps_output:
        assert f"log_failed reason={disk.log_reason}" in hub.log_text()
    for _ in range(3):
        async with connected(hub, device) as (client, _):
            assert await send(client, device, [body(1000)]) == 0
    assert stored(hub, device) == kept

    disk.free(hub)
    await until("ready again", lambda: why_not_ready(hub) == "")
    async with connected(hub, device) as (client, _):
        assert await send(client, device, [body(2000), body(2001)]) == 2
    kept += [body(2000), body(2001)]
    assert stored(hub, device) == kept
    hub.kill()
    hub.start()
    assert stored(hub, device) == kept


async def test_a_hub_ends_in_order_on_a_full_disk(tmp_path: Path, hub: Hub, disk: Disk) -> None:
    device = Device("pump-01", tmp_path)
    device.register(hub)
    async with connected(hub, device) as (client, _):
        disk.fill(hub)
        await send(client, device, [body(number) for number in range(400)])
    assert why_not_ready(hub)
    hub.stop(quiet_log=False)


async def test_a_hub_that_finds_its_disk_full_says_so_and_starts_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "hub") as disk:
        hub, device = Hub(tmp_path / "hub"), Device("pump-01", tmp_path)
        hub.start()
        device.register(hub)
        async with connected(hub, device) as (client, _):
            assert await send(client, device, [body(1)]) == 1
        hub.kill()
        disk.fill(hub)
        with pytest.raises(AssertionError, match="did not get ready"):
            hub.start()
        said = hub.log_text().splitlines()[-1]
        assert str(hub.data) in said
        assert "No space left on device" in said
        disk.free(hub)
        hub.start()
        assert stored(hub, device) == [body(1)]
        hub.stop(quiet_log=False)


async def test_what_the_registry_cannot_store_is_refused_and_it_says_so(hub: Hub, disk: Disk, tmp_path: Path) -> None:
    device, receiver = Device("pump-01", tmp_path), Device("pump-02", tmp_path)
    device.register(hub)
    receiver.register(hub)
    hub.request("POST", f"/moorage/v1{receiver.path}/messages/devicebound", body={"body": "first"})

    def patch(number: int) -> dict[str, object]:
        return {"properties": {"desired": {"n": number, "text": "x" * 3000, "more": "y" * 3000}}}

    hub.request("PATCH", "/twins/pump-01", body=patch(0))
    disk.fill(hub)
    done = 0
    with pytest.raises(Refusal) as refused:
        for done in range(5000):
            hub.request("PATCH", "/twins/pump-01", body=patch(done + 1))
    assert refused.value.reason == "store.unwritten"
    # The log says so first where it had something to write, too.
    assert "store.unwritten: " in why_not_ready(hub)
    if disk.keeps_output:
        assert "store.commit_failed" in hub.log_text()
    # What was answered is there, and can be read.
    assert hub.request("GET", "/twins/pump-01")["properties"]["desired"]["n"] == done

    answers: list[Received] = []
    async with subscribed(hub, device, ANSWERS, answers) as client:
        client.publish(patch_topic(1), b'{"reported": true}')
        while not answers:
            await client.changed()
    assert [answered(answer)[0] for answer in answers] == [503]
    # A message whose settling cannot be stored is not settled: the device is cut off and gets it again.
    came: list[Received] = []
    messages = receiver.devicebound + b"#"
    async with subscribed(hub, receiver, messages, came) as client:
        while not came:
            await client.changed()
        client.acknowledge(came[0])
        while not client.is_lost:
            await client.changed()

    disk.free(hub)
    await until("ready again", lambda: why_not_ready(hub) == "")
    assert hub.request("PATCH", "/twins/pump-01", body=patch(-1))["properties"]["desired"]["n"] == -1
    async with subscribed(hub, receiver, messages, came) as client:
        while len(came) < 2:
            await client.changed()
    assert [message.body for message in came] == [b"first", b"first"]
    hub.kill()
    hub.start()
    assert hub.request("GET", "/twins/pump-01")["properties"]["desired"]["n"] == -1
    assert "reported" not in hub.request("GET", "/twins/pump-01")["properties"]["reported"]
    hub.stop(quiet_log=False)

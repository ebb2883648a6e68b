"""What the hub itself tells back ends, as a reader of the telemetry log sees it (contract services 4.7)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.owner import owner_token
from moorage.clock import HandClock
from moorage.dialects.bag import decode_bag
from moorage.hub.connection_events import ConnectionEvents
from moorage.hub.digital_twins import DigitalTwinService, Operation
from moorage.hub.notification_model import SOURCES
from moorage.hub.telemetry_log import StoredMessage
from moorage.hub.twins import TwinChange, patch_twin, write_twin_in
from moorage.ids import DEFAULT_HUB
from tests.disks import HeldDisk
from tests.servers.world import World, eventually, named, running


@dataclass(frozen=True)
class Event:
    """One message of the hub, read."""

    source: str
    operation: str
    body: Any
    properties: dict[str, str | None]
    system: dict[str, str | None]
    message: StoredMessage


async def events(world: World, count: int, source: str | None = None) -> list[Event]:
    """The first `count` of them, once they are there, in the order of the log."""
    found: list[Event] = []

    async def read() -> list[Event]:
        page = await world.app.log.read(limit=1000)
        read = [_event(each) for each in page.messages if each.source.message_source != "Telemetry"]
        return [each for each in read if source in (None, each.source)]

    async with asyncio.timeout(30):
        while len(found := await read()) < count:  # noqa: ASYNC110  # the log tells nobody of a single message
            await asyncio.sleep(0.01)
    return found


async def listening(world: World) -> None:
    """Until who connects is noticed."""
    await eventually(lambda: world.app._notifier._connections.is_wanted)


def _event(message: StoredMessage) -> Event:
    bag = decode_bag(message.bag)
    operation = bag.properties["opType"]
    assert operation is not None
    return Event(
        message.source.message_source, operation, json.loads(message.body), bag.properties, bag.system, message
    )


@pytest.fixture
async def telling(tmp_path: Path) -> AsyncIterator[World]:
    """A hub that tells of everything."""
    async with running(tmp_path / "hub", hub_events="all") as world:
        await listening(world)
        yield world


async def test_what_a_device_reports_is_told_with_its_metadata_and_nothing_else(world: World) -> None:
    await world.create("pump-01")
    await world.twins.report(DEFAULT_HUB, named("pump-01"), {"old": 1, "kept": {"a": 1, "b": 2}})
    world.clock.advance(1)
    await world.twins.report(DEFAULT_HUB, named("pump-01"), {"old": None, "kept": {"b": 2}, "rpm": 900})
    event = (await events(world, 2))[1]
    stamp = {"$lastUpdated": world.clock.now().strftime("%Y-%m-%dT%H:%M:%S.0000000Z")}
    assert event.body == {
        "version": 4,
        "properties": {
            "reported": {
                "old": None,
                "kept": {"b": 2},
                "rpm": 900,
                "$metadata": {**stamp, "kept": {**stamp, "b": stamp}, "rpm": stamp},
                "$version": 3,
            }
        },
    }
    assert event.message.source.device_id == "pump-01"
    assert (
        event.system.items()
        >= {
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "user-id": "localhost",
        }.items()
    )
    assert event.system["correlation-id"]
    assert event.properties == {
        "hubName": "localhost",
        "deviceId": "pump-01",
        "operationTimestamp": stamp["$lastUpdated"],
        "iothub-message-schema": "twinChangeNotification",
        "opType": "updateTwin",
    }


async def test_a_replaced_twin_is_told_whole_and_a_module_by_its_name(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-01/valve")
    change = TwinChange(tags={"site": "north"}, desired={"open": True})
    await world.twins.replace(DEFAULT_HUB, named("pump-01/valve"), change)
    (event,) = await events(world, 1)
    assert event.operation == "replaceTwin"
    assert event.properties["moduleId"] == event.message.source.module_id == event.body["moduleId"] == "valve"
    assert event.body["tags"] == {"site": "north"}
    assert event.body["properties"]["desired"]["open"] is True
    assert event.body["version"] == 3 and event.body["etag"]


async def test_nothing_but_twin_changes_is_told_unless_it_is_switched_on(world: World) -> None:
    await world.create("pump-01")
    client = await world.connect()
    client.close()
    await world.set_desired("pump-01", {"speed": 1})
    await events(world, 1)
    assert {each.source for each in await events(world, 1)} == {"twinChangeEvents"}


async def test_devices_that_come_and_go_are_told_with_their_twins(telling: World) -> None:
    await telling.create("pump-01")
    await telling.set_desired("pump-01", {"speed": 1})
    await telling.delete("pump-01")
    created, deleted = await events(telling, 2, "deviceLifecycleEvents")
    assert (created.operation, deleted.operation) == ("createDeviceIdentity", "deleteDeviceIdentity")
    assert created.body["properties"]["reported"] == {
        "$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"},
        "$version": 1,
    }
    assert (created.body["version"], created.body["etag"]) == (2, "AAAAAAAAAAE=")
    assert deleted.body["properties"]["desired"]["speed"] == 1
    assert created.properties["iothub-message-schema"] == "deviceLifecycleNotification"


async def test_who_connects_and_leaves_is_told_with_numbers_that_grow(telling: World) -> None:
    await telling.create("pump-01")
    client = await telling.connect()
    client.close()
    came, went = await events(telling, 2, "deviceConnectionStateEvents")
    assert (came.operation, went.operation) == ("deviceConnected", "deviceDisconnected")
    numbers = [each.body["sequenceNumber"] for each in (came, went)]
    assert all(len(number) == 64 and int(number, 16) for number in numbers)
    assert numbers == sorted(set(numbers))


async def test_numbers_go_on_growing_when_the_clock_was_set_back(tmp_path: Path) -> None:
    numbers: list[str] = []
    for _ in range(2):
        async with running(tmp_path / "hub", hub_events="deviceConnectionStateEvents") as world:
            await listening(world)
            if not numbers:
                await world.create("pump-01")
            world.clock.advance(-3600 * len(numbers))
            client = await world.connect(token_lives=timedelta(days=1))
            client.close()
            found = await events(world, len(numbers) + 2)
            numbers = [each.body["sequenceNumber"] for each in found]
    assert len(numbers) == 4
    assert sorted(numbers) == sorted(set(numbers))
    assert max(numbers[:2]) < min(numbers[2:])


async def test_a_digital_twin_that_changes_is_told_as_a_json_patch(telling: World) -> None:
    await telling.create("pump-01")
    await telling.twins.set_model_id(DEFAULT_HUB, named("pump-01"), "dtmi:com:example:Pump;1")
    patches = DigitalTwinService(telling.app.store, telling.clock)
    await patches.patch(DEFAULT_HUB, named("pump-01"), [Operation("add", ("target",), 20)])
    await telling.twins.report(DEFAULT_HUB, named("pump-01"), {"rpm": 900})
    wanted, reported = await events(telling, 2, "digitalTwinChangeEvents")
    assert wanted.system["content-type"] == "application/json-patch+json"
    assert any(each["path"] == "/$metadata/target" for each in wanted.body)
    assert {"op": "add", "path": "/rpm", "value": 900} in reported.body


async def test_a_job_that_ended_is_told_with_what_became_of_its_devices(telling: World) -> None:
    await telling.create("pump-01")
    answer = await telling.http.put(
        "/jobs/v2/j-1",
        json={
            "jobId": "j-1",
            "type": "scheduleUpdateTwin",
            "queryCondition": "*",
            "updateTwin": {"etag": "*", "tags": {"site": "north"}},
            "startTime": "",
            "maxExecutionTimeInSeconds": 60,
        },
    )
    assert answer.status_code == 200, answer.text
    (event,) = await events(telling, 1, "deviceJobLifecycleEvents")
    assert event.operation == "jobCompleted"
    assert event.body["jobId"] == "j-1"
    assert event.body["deviceJobStatistics"]["succeededCount"] == 1
    assert "deviceId" not in event.properties


async def test_what_was_committed_and_not_told_when_the_hub_died_is_told_by_the_next(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        # As if it had been killed: nobody comes round any more.
        (telling,) = [each for each in world.app._background if "Notifier.run" in repr(each)]
        telling.cancel()
        await world.create("pump-01")
        await world.set_desired("pump-01", {"speed": 1})
        assert world.app.store.read().notifications.is_waiting(DEFAULT_HUB)
    async with running(tmp_path / "hub") as world:
        (event,) = await events(world, 1)
        assert event.body["properties"]["desired"]["speed"] == 1
        await eventually(lambda: not world.app.store.read().notifications.is_waiting(DEFAULT_HUB))


async def test_a_change_that_was_undone_is_not_told(world: World) -> None:
    await world.create("pump-01")

    def spoiled(tables: Any) -> None:
        change = TwinChange(desired={"speed": 1})
        write_twin_in(tables, DEFAULT_HUB, named("pump-01"), change, patch_twin, world.clock.now())
        raise LookupError("after all not")

    with pytest.raises(LookupError):
        await world.app.store.write(spoiled)
    await world.set_desired("pump-01", {"speed": 2})
    (event,) = await events(world, 1)
    assert event.body["properties"]["desired"]["speed"] == 2


async def test_sources_are_switched_over_rest_and_by_hand_before_the_setting(world: World) -> None:
    world.http.headers["Authorization"] = f"Bearer {_owner(world)}"
    answer = await world.http.patch(
        "/moorage/v1/events", json={"twinChangeEvents": False, "devicelifecycleevents": True}
    )
    assert answer.status_code == 200, answer.text
    states = answer.json()
    assert set(states) == set(SOURCES)
    assert states["twinChangeEvents"] == {
        "isTold": False,
        "isDefault": True,
        "isRouted": False,
        "isSwitchedOn": False,
    }
    await world.create("pump-01")
    await world.set_desired("pump-01", {"speed": 1})
    await world.delete("pump-01")
    told = await events(world, 2)
    assert [each.operation for each in told] == ["createDeviceIdentity", "deleteDeviceIdentity"]
    answer = await world.http.patch("/moorage/v1/events", json={"twinChangeEvents": None})
    assert answer.json()["twinChangeEvents"]["isTold"] is True


@pytest.mark.parametrize("body", [{"twinChangeEvents": "yes"}, {"telemetry": True}])
async def test_what_is_no_switch_is_refused(world: World, body: dict[str, Any]) -> None:
    world.http.headers["Authorization"] = f"Bearer {_owner(world)}"
    assert (await world.http.patch("/moorage/v1/events", json=body)).status_code == 400


def _owner(world: World) -> str:
    return owner_token(world.app.config.data, world.clock.now()).reveal()


def test_a_storm_of_reconnects_takes_two_entries_a_device_and_ends_in_the_last_state() -> None:
    waiting = ConnectionEvents(HandClock())
    waiting.is_wanted = True
    for _ in range(10_000):
        waiting.heard(named("pump-01"), True)
        waiting.heard(named("pump-01"), False)
    waiting.heard(named("pump-01"), True)
    assert len(waiting) == 2
    taken = waiting.take(10)
    assert [each.operation for each in taken] == ["deviceDisconnected", "deviceConnected"]
    assert len(waiting) == 0


def test_what_could_not_be_told_comes_again_unless_something_newer_has() -> None:
    waiting = ConnectionEvents(HandClock())
    waiting.is_wanted = True
    waiting.heard(named("pump-01"), True)
    waiting.heard(named("pump-02"), True)
    taken = waiting.take(10)
    waiting.heard(named("pump-02"), True)
    waiting.put_back(taken)
    again = waiting.take(10)
    assert [str(each.name) for each in again] == ["pump-01", "pump-02"]
    assert again[0].facts["sequence"] > taken[-1].facts["sequence"]


async def test_twins_are_written_while_the_disk_of_the_log_is_held_and_told_once_it_goes_on(tmp_path: Path) -> None:
    disk = HeldDisk(tmp_path / "telemetry")
    async with running(tmp_path / "hub", files=disk) as world:
        await world.create("pump-01")
        disk.hold()
        try:
            for speed in range(5):
                await world.set_desired("pump-01", {"speed": speed})
            assert world.app.store.read().notifications.is_waiting(DEFAULT_HUB)
        finally:
            disk.release()
        found = await events(world, 5)
        assert [each.body["properties"]["desired"]["speed"] for each in found] == list(range(5))
        await eventually(lambda: not world.app.store.read().notifications.is_waiting(DEFAULT_HUB))


async def test_of_too_many_that_wait_the_oldest_are_given_up(world: World) -> None:
    (telling,) = [each for each in world.app._background if "Notifier.run" in repr(each)]
    telling.cancel()
    await world.create("pump-01")
    for speed in range(5):
        await world.set_desired("pump-01", {"speed": speed})
    notifications = world.app.store.read().notifications
    assert await world.app.store.write(lambda tables: tables.notifications.trim(DEFAULT_HUB, 2)) == 3
    left = [each.facts["desired"]["value"]["speed"] for _, each in notifications.first(DEFAULT_HUB, 10)]
    assert left == [3, 4]
    assert await world.app.store.write(lambda tables: tables.notifications.trim(DEFAULT_HUB, 2)) == 0

"""What one device can do, over REST: properties, telemetry, commands, components, modules (central.md 22.2; PC-14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moorage.hub.twins import TwinService
from moorage.identities.model import BySharedKey
from moorage.identities.policies import make_key
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, ModuleId
from moorage.protocols.mqtt.packets import Publish
from tests.api.central.world import Central
from tests.api.served import Answer, ServedHub
from tests.servers.clients import Client
from tests.servers.world import World, running

TEMPLATE = "dtmi:contoso:ThermostatTemplate;1"
MODEL: dict[str, Any] = {
    "@id": "dtmi:contoso:Controller;1",
    "@type": "Interface",
    "@context": ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"],
    "displayName": "Controller",
    "contents": [
        {"@type": "Telemetry", "name": "workingSet", "schema": "double"},
        {
            "@type": "Telemetry",
            "name": "position",
            "schema": {
                "@type": "Object",
                "fields": [{"name": "lat", "schema": "double"}, {"name": "lon", "schema": "double"}],
            },
        },
        {"@type": "Property", "name": "interval", "schema": "integer", "writable": True},
        {"@type": "Property", "name": "serial", "schema": "string"},
        {"@type": ["Property", "Cloud", "StringValue"], "name": "customer", "schema": "string"},
        {"@type": "Command", "name": "reboot", "request": {"name": "delay", "schema": "integer"}},
        {
            "@type": "Component",
            "name": "thermostat1",
            "schema": {
                "@id": "dtmi:contoso:Thermostat;1",
                "@type": "Interface",
                "contents": [
                    {"@type": "Telemetry", "name": "temperature", "schema": "double"},
                    {"@type": "Property", "name": "target", "schema": "double", "writable": True},
                    {"@type": "Command", "name": "calibrate"},
                ],
            },
        },
    ],
}
PUMP = "/devices/pump-01"
PART = PUMP + "/components/thermostat1"
MODULE = PUMP + "/modules/filter"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "hub") as world:
        yield world


@pytest.fixture
async def central(world: World) -> Central:
    """pump-01 has a template, and a module beside it."""
    central = Central(ServedHub(world.app))
    body = {"@type": ["ModelDefinition", "DeviceModel"], "displayName": "Controller", "capabilityModel": MODEL}
    assert (await central.put(f"/deviceTemplates/{TEMPLATE}", body)).status == 200
    await world.create("pump-01")
    assert (await central.patch(PUMP, {"template": TEMPLATE})).status == 200
    name = IdentityName(DeviceId("pump-01"), ModuleId("filter"))
    await IdentityRegistry(world.app.store).create(
        DEFAULT_HUB, IdentityDraft(name, BySharedKey(make_key(), make_key())), world.clock.now()
    )
    return central


async def report(world: World, values: dict[str, Any], module: str | None = None) -> None:
    name = IdentityName(DeviceId("pump-01"), ModuleId(module) if module else None)
    await TwinService(world.app.store, world.clock).report(DEFAULT_HUB, name, values)


async def reply(client: Client, code: int, body: bytes) -> tuple[str, bytes]:
    """Answer the next command; (its method, its payload)."""
    asked = await client.expect(Publish)
    _, method, rid = asked.topic.decode().replace("/?$rid=", "/").rsplit("/", 2)
    client.publish(f"$iothub/methods/res/{code}/?$rid={rid}", body, qos=0)
    return method, asked.body


async def test_properties_are_set_answered_and_read(world: World, central: Central) -> None:
    empty = await central.get(PUMP + "/properties")
    assert (empty.status, empty.json()) == (200, {"$metadata": {}})
    body = {"interval": 5, "customer": "Contoso", "thermostat1": {"target": 21.5}}
    put = await central.patch(PUMP + "/properties", body)
    assert put.status == 202, put.body
    shown = put.json()
    assert (shown["interval"], shown["customer"], shown["thermostat1"]["target"]) == (5, "Contoso", 21.5)
    metadata = shown["$metadata"]["interval"]
    assert (metadata["desiredValue"], metadata["desiredVersion"]) == (5, 2)

    await report(world, {"interval": {"value": 5, "ac": 200, "av": 2, "ad": "done"}, "serial": "S-1"})
    shown = (await central.get(PUMP + "/properties")).json()
    metadata = shown["$metadata"]["interval"]
    assert (shown["interval"], shown["serial"]) == (5, "S-1")
    assert (metadata["ackCode"], metadata["ackVersion"], metadata["ackDescription"]) == (200, 2, "done")
    assert (await central.get(PART + "/properties")).json()["target"] == 21.5


async def test_a_put_takes_away_what_it_does_not_name(central: Central) -> None:
    await central.patch(PUMP + "/properties", {"interval": 5, "customer": "Contoso", "thermostat1": {"target": 21.5}})
    again = await central.put(PART + "/properties", {})
    assert again.status == 202, again.body
    shown = (await central.get(PUMP + "/properties")).json()
    assert "target" not in shown.get("thermostat1", {})
    assert (shown["interval"], shown["customer"]) == (5, "Contoso")
    shown = (await central.put(PUMP + "/properties", {"interval": 6})).json()
    assert shown["interval"] == 6
    assert "customer" not in shown


async def test_what_was_read_is_taken_back(central: Central) -> None:
    await central.patch(PUMP + "/properties", {"interval": 5, "thermostat1": {"target": 21.5}})
    shown = (await central.get(PUMP + "/properties")).json()
    again = await central.put(PUMP + "/properties", shown)
    assert again.status == 202, again.body
    assert again.json()["interval"] == 5


async def test_values_that_do_not_fit_are_refused_together(central: Central) -> None:
    for path, body in (
        (PUMP, {"interval": "often"}),
        (PUMP, {"serial": "S-2"}),
        (PUMP, {"colour": "red"}),
        (PUMP, {"customer": 5}),
        (PART, {"target": "warm"}),
    ):
        answer = await central.patch(path + "/properties", body)
        assert (answer.status, answer.header("moorage-reason")) == (400, "property.value"), answer.body
    assert (await central.get(PUMP + "/properties")).json() == {"$metadata": {}}


async def test_last_values_of_telemetry(world: World, central: Central) -> None:
    client = await world.connect()
    client.publish("devices/pump-01/messages/events/", b'{"workingSet": 12.5, "position": {"lat": 1.5, "lon": 2}}')
    client.publish("devices/pump-01/messages/events/%24.sub=thermostat1", b'{"temperature": 21.5}')
    await client.acks(2)
    deadline = asyncio.get_running_loop().time() + 60
    while (answer := await central.get(PART + "/telemetry/temperature")).json() == {}:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
    assert answer.json()["value"] == 21.5
    assert answer.json()["timestamp"].startswith(world.clock.now().strftime("%Y-%m-%dT"))
    assert (await central.get(PUMP + "/telemetry/workingSet")).json()["value"] == 12.5
    assert (await central.get(PUMP + "/telemetry/position")).json()["value"] == {"lat": 1.5, "lon": 2}


async def test_telemetry_that_nobody_knows_and_what_never_came(central: Central) -> None:
    never = await central.get(PUMP + "/telemetry/workingSet")
    assert (never.status, never.json()) == (200, {})
    for path in (PUMP + "/telemetry/colour", PART + "/telemetry/workingSet", MODULE + "/telemetry/workingSet"):
        answer = await central.get(path)
        assert (answer.status, answer.header("moorage-reason")) == (404, "telemetry.unknown"), path


async def test_a_command_is_run_answered_and_remembered(world: World, central: Central) -> None:
    client = await world.connect()
    await client.subscribe("$iothub/methods/POST/#")
    asking = asyncio.ensure_future(central.post(PUMP + "/commands/reboot", {"request": 5}))
    assert await reply(client, 202, b'{"in": 5}') == ("reboot", b"5")
    answer: Answer = await asking
    assert answer.status == 201, answer.body
    run = answer.json()
    assert (run["request"], run["response"], run["responseCode"]) == (5, {"in": 5}, 202)
    assert (await central.get(PUMP + "/commands/reboot")).json() == {"value": [run]}

    asking = asyncio.ensure_future(central.post(PART + "/commands/calibrate"))
    assert (await reply(client, 200, b"null"))[0] == "thermostat1*calibrate"
    assert (await asking).json()["responseCode"] == 200
    assert len((await central.get(PART + "/commands/calibrate")).json()["value"]) == 1


async def test_a_device_that_is_away_is_not_found_as_in_the_service(central: Central) -> None:
    answer = await central.post(PUMP + "/commands/reboot", {"request": 5})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "NotFound")
    assert answer.header("moorage-reason") == "device.not_online"


_BAD_COMMANDS: tuple[tuple[Any, int], ...] = (
    ({"responseTimeout": 4}, 422),
    ({"connectionTimeout": 31}, 422),
    ({"responseTimeout": "soon"}, 422),
    ({"payload": 1}, 422),
    ({"request": "now"}, 400),
    ([], 422),
)


async def test_commands_that_are_refused(central: Central) -> None:
    for body, status in _BAD_COMMANDS:
        assert (await central.post(PUMP + "/commands/reboot", body)).status == status, body


async def test_components_and_modules_are_listed_and_spoken_to(world: World, central: Central) -> None:
    components = (await central.get(PUMP + "/components")).json()
    assert components == {"value": [{"@type": ["Component"], "name": "thermostat1"}]}
    modules = (await central.get(PUMP + "/modules")).json()["value"]
    assert [each["name"] for each in modules] == ["filter"]
    set_ = await central.patch(MODULE + "/properties", {"level": 3})
    assert (set_.status, set_.json()["level"]) == (202, 3)
    await report(world, {"motor": {"__t": "c", "speed": 7}}, module="filter")
    assert (await central.get(MODULE + "/components")).json()["value"][0]["name"] == "motor"
    assert (await central.get(MODULE + "/components/motor/properties")).json()["speed"] == 7
    missing = await central.get(PUMP + "/modules/none/properties")
    assert (missing.status, missing.header("moorage-reason")) == (404, "module.not_found")
    unknown = await central.get(PUMP + "/components/none/properties")
    assert (unknown.status, unknown.header("moorage-reason")) == (404, "component.unknown")


async def test_a_device_without_a_template_takes_what_is_asked(world: World, central: Central) -> None:
    await world.create("raw-01")
    answer = await central.patch("/devices/raw-01/properties", {"anything": {"goes": True}})
    assert (answer.status, answer.json()["anything"]) == (202, {"goes": True})
    assert (await central.get("/devices/raw-01/components")).json() == {"value": []}

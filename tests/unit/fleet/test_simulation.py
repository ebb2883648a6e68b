"""Simulated devices: what they invent fits their model, and it goes the way of all telemetry (REG-5)."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.accounts.model import OWNER
from moorage.dtdl.parser import parse_interface
from moorage.fleet.invention import MAX_VALUES, invent_message
from moorage.fleet.model import DeviceDraft
from moorage.fleet.template_model import make_content
from moorage.ids import DeviceId
from tests.servers.world import running

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def model(*contents: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": "dtmi:dtdl:context;2",
        "@id": "dtmi:com:example:Pump;1",
        "@type": "Interface",
        "displayName": "Pump",
        "contents": list(contents),
    }


def telemetry(name: str, schema: Any, *types: str, **more: Any) -> dict[str, Any]:
    return {"@type": ["Telemetry", *types], "name": name, "schema": schema, **more}


ENUM = {"@type": "Enum", "valueSchema": "string", "enumValues": [{"name": "on", "enumValue": "ON"}]}
SCHEMAS: list[Any] = [
    "boolean",
    "date",
    "dateTime",
    "double",
    "duration",
    "float",
    "integer",
    "long",
    "string",
    "time",
    "geopoint",
    "vector",
    "point",
    "multiPoint",
    "lineString",
    "multiLineString",
    "polygon",
    "multiPolygon",
    ENUM,
    {"@type": "Object", "fields": [{"name": "x", "schema": "double"}, {"name": "state", "schema": ENUM}]},
    {"@type": "Map", "mapKey": {"name": "k", "schema": "string"}, "mapValue": {"name": "v", "schema": "integer"}},
    {"@type": "Array", "elementSchema": "double"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema if isinstance(schema, str) else schema["@type"])
def test_what_is_invented_fits_its_schema(schema: Any) -> None:
    interface = parse_interface(model(telemetry("value", schema)), lambda name: None)
    for number in range(50):
        values = invent_message(interface, "pump", random.Random(number), NOW + timedelta(minutes=number))
        assert interface.telemetry[0].schema.check(values["value"]) is None, values
        json.dumps(values, allow_nan=False)


def test_of_a_model_that_makes_huge_messages_no_more_is_invented_than_there_is_time_for() -> None:
    schema: Any = {"@type": "Object", "fields": [{"name": f"f{number}", "schema": "double"} for number in range(30)]}
    for _ in range(4):
        schema = {"@type": "Array", "elementSchema": schema}
    interface = parse_interface(model(*(telemetry(f"t{number}", schema) for number in range(50))), lambda name: None)
    values = invent_message(interface, "pump", random.Random(1), NOW)
    assert json.dumps(values).count(".") <= MAX_VALUES
    assert all(interface.telemetry[0].schema.check(value) is None for value in values.values())


def test_numbers_stay_between_the_bounds_of_the_model_and_move() -> None:
    interface = parse_interface(
        model(
            telemetry("t", "double", "Temperature", unit="degreeCelsius"),
            telemetry("bounded", "double", "NumberValue", minValue=5, maxValue=6),
        ),
        lambda name: None,
    )
    messages = [
        invent_message(interface, "pump", random.Random(number), NOW + timedelta(minutes=number))
        for number in range(90)
    ]
    assert all(17 <= each["t"] <= 28 for each in messages)
    assert len({each["t"] for each in messages}) > 40
    assert max(each["t"] for each in messages) - min(each["t"] for each in messages) > 4


def test_events_are_rare() -> None:
    interface = parse_interface(model(telemetry("alarm", "string", "Event")), lambda name: None)
    dice = random.Random(1)
    told = sum(bool(invent_message(interface, "pump", dice, NOW)) for _ in range(1000))
    assert 20 < told < 300


async def test_a_simulated_device_speaks_as_soon_as_there_is_one_and_a_blocked_one_is_silent(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        application = world.app.application
        thermostat = {
            "@context": "dtmi:dtdl:context;2",
            "@id": "dtmi:com:example:Thermostat;1",
            "@type": "Interface",
            "contents": [telemetry("temperature", "double")],
        }
        part = {"@type": "Component", "name": "inlet", "schema": thermostat}
        content = make_content("Pump", "", model(telemetry("level", "integer"), part))
        template = await application.templates.create_draft(OWNER, content)
        await application.templates.publish(OWNER, template.template_id)
        pump = DeviceId("pump-01")
        await application.fleet.create(OWNER, DeviceDraft(pump, template=template.template_id, is_simulated=True))
        async with asyncio.timeout(30):
            while len(stored := await world.telemetry()) < 2:
                world.clock.advance(3)
                await asyncio.sleep(0.05)
        first, second = stored[:2]
        assert first.source.message_source == "Telemetry"
        assert (first.source.device_id, first.source.model_id) == (pump, "dtmi:com:example:Pump;1")
        assert list(json.loads(first.body)) == ["level"]
        assert (list(json.loads(second.body)), b"$.sub=inlet" in second.bag) == (["temperature"], True)

        await application.fleet.block(OWNER, pump)
        count = world.app.telemetry.accepted
        world.clock.advance(60)
        await application.simulator.speak()
        assert world.app.telemetry.accepted == count
        await application.fleet.unblock(OWNER, pump)
        world.clock.advance(60)
        await application.simulator.speak()
        assert world.app.telemetry.accepted > count

"""Tiles filled with what a device said last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from moorage.analytics.rollups import Bucket, Key, LastValue, Scalar
from moorage.dtdl.model import Dtmi, Interface, Telemetry
from moorage.dtdl.schemas import Primitive, Vector
from moorage.fleet.device_models import DeviceModel
from moorage.fleet.model import Device, DeviceRecord
from moorage.fleet.properties import PropertySheet, property_states
from moorage.fleet.views import Subject, Tile, View
from moorage.hub.twins import fresh_twin
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName
from moorage.web.tiles import MAX_LINES, charted_keys, parse_key, readings_of, seen_view, view_tiles

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MODEL = Interface(
    Dtmi("dtmi:com:example:Pump;1"),
    telemetry=(
        Telemetry(name="temperature", schema=Primitive("double"), unit="degreeCelsius", display_name="Temperature"),
        Telemetry(name="place", schema=Vector("geopoint")),
        Telemetry(name="mode", schema=Primitive("string")),
    ),
)
PUMP = DeviceId("pump-01")
SHEET = PropertySheet(
    DeviceModel(Device(DeviceRecord(DEFAULT_HUB, PUMP, "Pump", NOW), None), None),
    fresh_twin(DEFAULT_HUB, IdentityName(PUMP)),
    property_states(fresh_twin(DEFAULT_HUB, IdentityName(PUMP)), None),
    {},
)


def said(**values: Scalar) -> dict[Key, LastValue]:
    return {("", name.replace("__", ".")): LastValue(NOW, value) for name, value in values.items()}


def test_a_reading_has_its_unit_its_line_and_what_is_wrong_with_it() -> None:
    line = {NOW + timedelta(minutes=at): Bucket(2, 40.0 + at, 1, 50) for at in range(3)}
    [reading] = readings_of([("", "temperature")], MODEL, said(temperature=21.5), {("", "temperature"): line})
    assert (reading.label, reading.text, reading.unit, reading.number) == ("Temperature", "21.5", "°C", 21.5)
    assert reading.path.startswith("M0.0 38.0L120.0 20.0L240.0 2.0")
    [wrong] = readings_of([("", "temperature")], MODEL, said(temperature="warm"), {})
    assert (wrong.text, wrong.number, "wants a number" in wrong.problem) == ("warm", None, True)
    [unheard] = readings_of([("", "temperature")], MODEL, {}, {})
    assert (unheard.text, unheard.at, unheard.problem) == ("—", None, "")


def test_an_object_is_put_together_from_its_newest_leaves() -> None:
    last = said(place__lat=52.1, place__lon=5.2)
    last["", "place.alt"] = LastValue(NOW - timedelta(hours=1), 3)
    [reading] = readings_of([("", "place")], MODEL, last, {})
    assert (reading.text, reading.is_charted) == ("lat 52.1, lon 5.2", False)


def test_a_view_shows_what_its_model_still_has() -> None:
    view = View(
        "mine",
        "Mine",
        "custom",
        (
            Tile("chart", "", (Subject("", "temperature"), Subject("", "mode"))),
            Tile("command", "Gone", (Subject("", "reboot"),)),
            Tile("text", "Note", (), "Look here first"),
        ),
    )
    tiles = view_tiles(view, MODEL, said(temperature=21.5, mode="auto"), {}, SHEET, {})
    assert [(tile.kind, tile.title) for tile in tiles] == [("chart", "Temperature, mode"), ("text", "Note")]
    # What is no number has no line.
    assert tiles[0].keys == ["/temperature"]
    assert charted_keys([view], MODEL) == [("", "temperature")]


def test_a_device_without_a_template_shows_what_it_was_seen_to_send() -> None:
    view = seen_view(said(voltage=12.0, mode="auto"))
    assert [(tile.kind, tile.title) for tile in view.tiles] == [("chart", "voltage"), ("last_value", "mode")]
    tiles = view_tiles(view, None, said(voltage=12.0, mode="auto"), {}, SHEET, {})
    assert [reading.text for tile in tiles for reading in tile.readings] == ["12", "auto"]


def test_lines_are_bounded_and_keys_are_read_back() -> None:
    many = Interface(
        Dtmi("dtmi:com:example:Many;1"),
        telemetry=tuple(Telemetry(name=f"t{at}", schema=Primitive("double")) for at in range(MAX_LINES + 5)),
    )
    tiles = tuple(Tile("chart", "", (Subject("", each.name),)) for each in many.telemetry)
    assert len(charted_keys([View("overview", "Overview", "overview", tiles)], many)) == MAX_LINES
    assert [parse_key(text) for text in ("/a", "c/a", "a", "c/a/b")] == [("", "a"), ("c", "a"), ("a", ""), ("c", "a/b")]

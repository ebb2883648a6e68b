"""What an export takes, what is added to it and what is made of it (contract/central.md 16)."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.automation.exports import (
    MAX_BODY_BYTES,
    DataExport,
    Destination,
    DestinationId,
    DestinationUse,
    Enrichment,
    ExportId,
    MessageFilter,
    OutgoingEvent,
    check_destination,
    check_export,
    enriched,
    fill,
    is_exported,
)
from moorage.automation.filters import PropertyFilter
from moorage.dialects.export_json import encode_body
from moorage.errors import Refusal, TooLarge
from moorage.ids import DEFAULT_HUB, Secret
from tests.unit.automation.test_rules import DEVICE

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EXPORT = DataExport(
    DEFAULT_HUB, ExportId("out"), "Out", "telemetry", NOW, NOW, (DestinationUse(DestinationId("hook")),)
)
BODY = {"deviceId": "pump-01", "telemetry": {"temperature": 31, "cooler.fan": 2}}
EVENT = OutgoingEvent("pump-01", BODY, {"temperature": 31, "cooler": {"fan": 2}}, {"line": "7", "flag": None}, 0)
DESTINATION = Destination(DEFAULT_HUB, DestinationId("hook"), "Hook", "webhook", Secret("https://desk.example/in"), NOW)


def taken(*filters: MessageFilter | PropertyFilter, **changes: Any) -> bool:
    messages = tuple(each for each in filters if isinstance(each, MessageFilter))
    properties = tuple(each for each in filters if isinstance(each, PropertyFilter))
    return is_exported(replace(EXPORT, filters=messages, property_filters=properties, **changes), EVENT, DEVICE)


def test_an_export_takes_what_its_template_and_its_filters_say() -> None:
    assert taken()
    assert taken(template=DEVICE.template) and not taken(template="dtmi:example:Fan;1")
    assert taken(MessageFilter("capability", "cooler.fan", "exists"))
    assert not taken(MessageFilter("capability", "humidity", "exists"))
    assert taken(MessageFilter("messageProperty", "line", "equals", "7"))
    assert not taken(MessageFilter("messageProperty", "line", "equals", 7))
    assert taken(PropertyFilter("site", "starts_with", "Har", is_cloud=True))
    assert not taken(PropertyFilter("site", "starts_with", "Har"))
    hot, wet = MessageFilter("capability", "temperature", "greater", 30), MessageFilter("capability", "wet", "exists")
    assert not taken(hot, wet) and taken(hot, wet, matches="any")


def test_what_concerns_no_device_passes_where_nothing_is_asked_of_one() -> None:
    assert is_exported(EXPORT, EVENT, None)
    assert not is_exported(replace(EXPORT, template="dtmi:example:Pump;1"), EVENT, None)
    assert not is_exported(replace(EXPORT, property_filters=(PropertyFilter("a", "exists", ""),)), EVENT, None)


def test_enrichments_are_texts_properties_and_system_values_and_what_is_not_there_is_left_out() -> None:
    wanted = (
        Enrichment("a", "constant", "North"),
        Enrichment("b", "property", "cooler.limit"),
        Enrichment("c", "cloud_property", "site"),
        Enrichment("d", "system", "$simulated"),
        Enrichment("e", "property", "nowhere"),
        Enrichment("f", "system", "$displayName"),
    )
    export = replace(EXPORT, enrichments=wanted)
    assert enriched(export, DEVICE, {"$simulated": False}) == {"a": "North", "b": 5, "c": "Harbour", "d": False}
    assert enriched(export, None, {}) == {"a": "North"}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$", BODY),
        ("$.deviceId", "pump-01"),
        ("$.telemetry.temperature", 31),
        ("$.telemetry.cooler.fan", 2),
        ("$.telemetry.nowhere", None),
        ("text", "text"),
        ("$5", "$5"),
        ([1, "$.deviceId", {"x": True}], [1, "pump-01", {"x": True}]),
        ({"$.deviceId": "$.deviceId"}, {"$.deviceId": "pump-01"}),
        (None, None),
    ],
)
def test_a_template_is_filled_from_the_body(template: Any, filled: Any) -> None:
    assert fill(template, BODY, lambda _path, _value: None) == filled


def test_a_body_has_as_many_bytes_as_one_may_have() -> None:
    body = {"text": "x" * (MAX_BODY_BYTES - len('["",1]'))}
    assert len(encode_body(body, ["$.text", 1])) == MAX_BODY_BYTES
    assert len(encode_body({"text": "x" * (MAX_BODY_BYTES - len('{"text":""}'))}, None)) == MAX_BODY_BYTES
    for template in (["$.text", 10], ["$.text", "$.text"], "$", None):
        with pytest.raises(TooLarge) as caught:
            encode_body(body | {"more": 1}, template)
        assert caught.value.reason == "export.body"


def test_of_a_body_that_is_too_large_no_more_than_a_part_is_made() -> None:
    """A template of some kilobytes would make 200 MB of one message."""
    body = {"telemetry": {"text": "x" * 200_000}}
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            encode_body(body, [["$.telemetry"] * 100] * 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_BODY_BYTES


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"display_name": ""}, "export.name"),
        ({"display_name": "   "}, "export.name"),
        ({"display_name": " " * 5000 + "x"}, "export.name"),
        ({"destinations": ()}, "export.destinations"),
        ({"destinations": EXPORT.destinations * 11}, "export.too_many"),
        ({"filters": (MessageFilter("capability", "", "exists"),)}, "export.filter"),
        ({"filters": (MessageFilter("capability", "a", "exists"),) * 21}, "export.too_many"),
        ({"property_filters": (PropertyFilter("a", "less", "x"),)}, "export.filter"),
        ({"enrichments": (Enrichment("a b", "constant", "x"),)}, "export.enrichment"),
        ({"enrichments": (Enrichment("a", "constant", ""),)}, "export.enrichment"),
        ({"enrichments": (Enrichment("a", "system", "$nothing"),)}, "export.enrichment"),
        ({"enrichments": (Enrichment("a", "constant", "x"),) * 2}, "export.twice"),
        ({"destinations": (DestinationUse(DestinationId("d"), nested(20)),)}, "export.template"),
        ({"destinations": (DestinationUse(DestinationId("d"), [1] * 1001),)}, "export.template"),
    ],
)
def test_an_export_that_cannot_be_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    check_export(EXPORT)
    with pytest.raises(Refusal) as caught:
        check_export(replace(EXPORT, **changes))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"address": Secret("")},
        {"address": Secret("desk.example")},
        {"address": Secret("ftp://desk.example")},
        {"credential": Secret("a\r\nb: c")},
        {"credential": Secret("ä")},
        {"credential": Secret("Bearer abc ")},
        {"options": {"header": "a: b"}},
        {"options": {"header": "Content-Length"}},
        {"options": {"every": "-1"}},
        {"options": {f"o{number}": "x" for number in range(11)}},
    ],
)
def test_a_destination_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    check_destination(DESTINATION)
    with pytest.raises(Refusal, match=r"export\.destination"):
        check_destination(replace(DESTINATION, **changes))


def test_an_address_is_asked_for_as_its_type_has_it() -> None:
    with pytest.raises(Refusal, match=r"file:///srv/exports"):
        check_destination(replace(DESTINATION, kind="file", address=Secret("archive")))

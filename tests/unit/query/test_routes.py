"""Conditions of message routes: what they ask of a message, and what they say when it is not there."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.dialects.routed_message import RoutedMessage, TestMessage
from moorage.hub.telemetry_log import SourceHeader, StoredMessage
from moorage.query.problems import InvalidQuery, excerpt
from moorage.query.routes import parse_route_condition, parse_twin_path
from moorage.query.syntax import UNDEFINED

BODY = {"Weather": {"Temperature": 50, "IsEnabled": True, "Place": "WA", "History": [{"Month": "Feb"}, 7]}}
TWIN = {"tags": {"site": "north", "floor": 1}, "properties": {"desired": {"interval": "5m"}, "reported": {}}}

MESSAGE = TestMessage(
    body=BODY,
    properties={"severity": "3", "Level": "hot", "sensor-type": "pump", "sensor.type": "dotted", "$odd": "x"},
    system={"contentType": "application/json", "dt-subject": "thermostat", "connectionDeviceId": "pump-01"},
    twin=TWIN,
)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "true",
        "$body.Weather.Temperature = 50",
        "$body.weather.TEMPERATURE >= 50",
        "$body.Weather.IsEnabled",
        "$body.Weather.History[0].Month = 'Feb'",
        "$body.Weather.History[1] = 7",
        "length($body.Weather.Place) = 2",
        "is_defined($body.Weather.Place) AND NOT is_defined($body.Weather.Wind)",
        "level = 'hot'",
        'LEVEL = "hot" AND as_number(severity) > 2',
        "severity > '2'",
        "sensor-type = 'pump'",
        "[[sensor-type]] = 'pump'",
        "$odd = 'x'",
        "$contentType = 'application/json'",
        "$CONTENTTYPE = 'application/json'",
        "$dt-subject = 'thermostat'",
        "$connectionDeviceId in ['pump-01', 'pump-02']",
        "starts_with($connectionDeviceId, 'pump')",
        "$twin.tags.site = 'north' AND $twin.properties.desired.interval = '5m'",
        "$twin.tags.floor = 1",
        "$body.Weather.Temperature - 1 = 49",
        "nothing = 1 OR level = 'hot'",
        "{$contentType} = 'application/json' AND {$body.Weather.Temperature} = 50",
        "sensor.type = 'dotted'",
        "'a' || level || 'b' = 'ahotb'",
        "level || severity = concat(level, severity) AND true",
        "as_number($body.Weather.Temperature) = 50 AND as_number(severity) + 1 = 4",
        "length($body.Weather.History) = 2 OR is_array($body.Weather.History)",
        "NOT is_defined({$odd})",
        "$body.Weather.Place <> 'Wa'",
    ],
)
def test_a_message_is_taken(condition: str) -> None:
    assert parse_route_condition(condition).explain(MESSAGE) is None
    assert parse_route_condition(condition).matches(MESSAGE)


@pytest.mark.parametrize(
    ("condition", "at", "because"),
    [
        ("level = 'cold'", 0, 'this comparison is false: level is "hot"'),
        ("level = 'hot' AND $body.Weather.Temperature > 60", 18, "$body.Weather.Temperature is 50"),
        ("level = 'cold' OR level = 'warm'", 18, 'level is "hot"'),
        ("severity > 2", 0, "AS_NUMBER(name)"),
        ("$body.Weather.Wind = 1", 0, "this comparison is undefined: $body.Weather.Wind is not there"),
        ("nothing", 0, "this field is undefined: nothing is not there"),
        ("level", 0, 'this field is "hot"'),
        ("NOT $body.Weather.IsEnabled", 0, "this negation is false: $body.Weather.IsEnabled is true"),
        ("$body = 1", 0, "$body is not there"),
        ("$body.Weather.History[9] = 1", 0, "$body.Weather.History[9] is not there"),
        ("$twin.tags.none = 1", 0, "$twin.tags.none is not there"),
        ("$connectionModuleId = 'm'", 0, "is not there"),
        ("level in ['warm']", 0, "this membership is false"),
        ("[level, nothing]", 0, 'this is ["hot", "not there"]'),
    ],
)
def test_what_is_not_taken_says_why_and_where(condition: str, at: int, because: str) -> None:
    parsed = parse_route_condition(condition)
    assert not parsed.matches(MESSAGE)
    explanation = parsed.explain(MESSAGE)
    assert explanation is not None
    assert explanation.at == at
    assert because in explanation.sentence
    assert excerpt(condition, at).split("\n")[1].index("^") == min(at, 40)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("level =", "query.syntax"),
        ("level = 'a' level", "query.syntax"),
        ("body.b = 1", "query.route_path"),
        ("tags.site = 'x'", "query.route_path"),
        ("a[0] = 1", "query.route_path"),
        ("{level} = 'hot'", "query.syntax"),
        ("{$contentType = 'x'", "query.syntax"),
        ("level || = 'x'", "query.syntax"),
        ("{} = 1", "query.syntax"),
        ("$contentType.b = 1", "query.route_path"),
        ("$body.a[x] = 1", "query.syntax"),
        ("$body.a[1 = 1", "query.syntax"),
        ("$body.a[99999999] = 1", "query.syntax"),
        ("nonsense(level)", "query.function"),
        ("(" * 60 + "true" + ")" * 60, "query.depth"),
        ("x = 'open", "query.token"),
        ("SELECT * FROM devices", "query.syntax"),
    ],
)
def test_what_is_no_condition_is_refused_at_its_place(condition: str, reason: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse_route_condition(condition)
    assert caught.value.reason == reason
    assert 0 <= caught.value.at <= len(condition)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$twin.tags.site", ("tags", "site")),
        ("$twin.properties.reported.a[0]", ("properties", "reported", "a", 0)),
        ("$twin", None),
        ("$body.a", None),
        ("$twin.tags.", None),
        ("$twin.tags.a = 1", None),
        ("text", None),
    ],
)
def test_paths_into_twins_are_told_from_other_texts(text: str, steps: Any) -> None:
    assert parse_twin_path(text) == steps


def stored(bag: bytes, body: bytes) -> RoutedMessage:
    source = SourceHeader("hub", "Telemetry", "pump-01", "valve", "gen", '{"scope":"device"}', "dtmi:a;1")
    return RoutedMessage(StoredMessage(source, 0, 0, 0, 1_900_000_000_000, bag, body), lambda _name: TWIN)


JSON = b"$.ct=application%2Fjson&$.ce=utf-8"


@pytest.mark.parametrize(
    "condition",
    [
        "$body.t = 1",
        "$connectionDeviceId = 'pump-01' AND $connectionModuleId = 'valve'",
        "$messageId = 'm-1' AND $message-id = 'm-1'",
        "$dt-dataschema = 'dtmi:a;1'",
        "$enqueuedTime > '2030-01-01T00:00:00Z' AND $enqueuedTime < '2031'",
        "$iothub-message-source = 'Telemetry'",
        "own = '1' AND OWN = '1'",
        "is_null(bare)",
        "$twin.tags.site = 'north'",
        "contains($connectionAuthMethod, 'device')",
    ],
)
def test_a_stored_message_is_asked_by_the_names_of_the_service(condition: str) -> None:
    message = stored(JSON + b"&$.mid=m-1&own=1&bare", b'{"t": 1}')
    explanation = parse_route_condition(condition).explain(message)
    assert explanation is None, explanation


@pytest.mark.parametrize(
    ("bag", "body", "is_read"),
    [
        (b"$.ct=application%2Fjson&$.ce=utf-8", b'{"t": 1}', True),
        (b"$.ct=APPLICATION%2FJSON&$.ce=UTF-8", b'{"t": 1}', True),
        (b"$.ct=application%2Fjson&$.ce=utf-16", '{"t": 1}'.encode("utf-16"), True),
        (b"$.ct=application%2Fjson&$.ce=utf-32", '{"t": 1}'.encode("utf-32"), True),
        (b"$.ct=application%2Fjson", b'{"t": 1}', False),
        (b"$.ce=utf-8", b'{"t": 1}', False),
        (b"$.ct=text%2Fplain&$.ce=utf-8", b'{"t": 1}', False),
        (b"$.ct=application%2Fjson&$.ce=base64", b'{"t": 1}', False),
        (b"$.ct=application%2Fjson&$.ce=utf-8", b'{"t": ', False),
        (b"$.ct=application%2Fjson&$.ce=utf-8", b"[" * 5000, False),
        (b"$.ct=application%2Fjson&$.ce=utf-8", b"\xff\xfe", False),
    ],
)
def test_a_body_is_read_when_it_is_json_and_says_so(bag: bytes, body: bytes, is_read: bool) -> None:
    assert (stored(bag, body).body() is not UNDEFINED) is is_read
    assert parse_route_condition("$body.t = 1").matches(stored(bag, body)) is is_read


def test_a_device_cannot_speak_as_another_by_its_properties() -> None:
    message = stored(JSON + b"&iothub-connection-device-id=other&connectionDeviceId=other", b"{}")
    assert parse_route_condition("$connectionDeviceId = 'pump-01'").matches(message)


@pytest.mark.parametrize("name", ["$connectionModuleId", "$iothub-connection-module-id", "{$connectionModuleId}"])
def test_a_device_cannot_speak_as_its_module_either(name: str) -> None:
    source = SourceHeader("hub", "Telemetry", "pump-01", None, "gen", '{"scope":"device"}', None)
    bag = JSON + b"&$connectionModuleId=valve&$iothub-connection-module-id=valve&$own=valve"
    message = RoutedMessage(StoredMessage(source, 0, 0, 0, 1_900_000_000_000, bag, b"{}"), lambda _name: TWIN)
    assert not parse_route_condition(f"{name} = 'valve'").matches(message)
    assert parse_route_condition("$own = 'valve' AND NOT is_defined({$own})").matches(message)


def test_conditions_longer_than_any_route_has_are_not_remembered() -> None:
    short = "$body.a = 1"
    assert parse_route_condition(short) is parse_route_condition(short)
    long = " OR ".join(f"$body.a{number} = 1" for number in range(400))
    assert parse_route_condition(long) is not parse_route_condition(long)

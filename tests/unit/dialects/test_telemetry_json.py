"""A stored message as people and programs see it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from moorage.dialects.telemetry_json import telemetry_json
from moorage.hub.telemetry_log import SourceHeader, StoredMessage


def shown(body: bytes, bag: bytes = b"") -> dict[str, Any]:
    source = SourceHeader("hub", "Telemetry", "pump-01", "camera", "637", '{"scope":"module"}', "dtmi:a;1")
    return telemetry_json(StoredMessage(source, 2, 7, 4096, 1_893_499_200_123, bag, body))


def test_every_key_is_there_and_the_hub_signs_for_the_sender() -> None:
    assert shown(b"{}", b"%24.ct=application/json&a=b&iothub-connection-device-id=other") == {
        "deviceId": "pump-01",
        "moduleId": "camera",
        "partition": 2,
        "sequenceNumber": 7,
        "offset": 4096,
        "enqueuedTime": "2030-01-01T12:00:00.1230000Z",
        "systemProperties": {
            "content-type": "application/json",
            "iothub-connection-device-id": "pump-01",
            "iothub-connection-module-id": "camera",
            "iothub-connection-auth-method": '{"scope":"module"}',
            "iothub-connection-auth-generation-id": "637",
            "iothub-enqueuedtime": "2030-01-01T12:00:00.1230000Z",
            "iothub-message-source": "Telemetry",
            "dt-dataschema": "dtmi:a;1",
        },
        "properties": {"a": "b"},
        "body": {},
    }


@pytest.mark.parametrize(
    ("bag", "body", "value"),
    [
        (b"%24.ct=application%2Fjson", b"null", None),
        (b"$.ct=Application/JSON;charset=utf-8&$.ce=UTF-8", '"ä"'.encode(), "ä"),
        (b"$.ct=application/json&$.ce=utf-16", '{"a":1}'.encode("utf-16"), {"a": 1}),
        (b"$.ct=application/ld%2Bjson", b"[1]", [1]),
    ],
)
def test_a_body_that_says_json_and_is_json_is_parsed(bag: bytes, body: bytes, value: Any) -> None:
    document = shown(body, bag)
    assert document["body"] == value
    assert "bodyBase64" not in document


@pytest.mark.parametrize(
    ("bag", "body"),
    [
        (b"", b"{}"),
        (b"$.ct=text/plain", b"{}"),
        (b"$.ct", b"{}"),
        (b"$.ct=application/json", b"{half"),
        (b"$.ct=application/json", b"\xff"),
        (b"$.ct=application/json", b"NaN"),
        (b"$.ct=application/json", b"[" * 5000),
        (b"$.ct=application/json", b""),
        (b"$.ct=application/json&$.ce=gzip", b"{}"),
        (b"$.ct=application/json&$.ce=utf-16", b"\x00"),
    ],
)
def test_any_other_body_is_shown_as_bytes(bag: bytes, body: bytes) -> None:
    document = shown(body, bag)
    assert base64.b64decode(document["bodyBase64"]) == body
    assert "body" not in document

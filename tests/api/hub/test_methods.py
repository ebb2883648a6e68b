"""Direct methods over REST, against devices that answer in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.hub.methods import BadDeviceReply, MethodReply
from tests.api.hub.world import ApiWorld

CALL = {"methodName": "reboot", "payload": {"in": 5}, "responseTimeoutInSeconds": 5, "connectTimeoutInSeconds": 0}


def inner(response: Any) -> Any:
    return json.loads(response.json()["Message"])


@pytest.mark.parametrize("status", [200, 404, 500, -1])
async def test_the_answer_is_200_whatever_status_the_device_gave(world: ApiWorld, status: int) -> None:
    await world.device("pump-01")
    device = world.connect("pump-01")
    device.answer = MethodReply(status, {"ok": [1, 2]})
    answer = await world.ask("POST", "/twins/pump-01/methods", CALL, policy="service")
    assert answer.status_code == 200
    assert answer.json() == {"status": status, "payload": {"ok": [1, 2]}}
    assert device.calls == [("reboot", b'{"in":5}')]


@pytest.mark.parametrize(
    ("payload", "bytes_sent"), [("", b'""'), ({}, b"{}"), (None, b"null"), (0, b"0"), ("ä", '"ä"'.encode())]
)
async def test_a_payload_is_handed_on_unchanged(world: ApiWorld, payload: Any, bytes_sent: bytes) -> None:
    await world.device("pump-01")
    device = world.connect("pump-01")
    await world.ask("POST", "/twins/pump-01/methods", {**CALL, "payload": payload})
    sent = device.calls[0][1]
    assert json.loads(sent) == json.loads(bytes_sent)


async def test_timeouts_may_be_strings_and_old_bodies_have_one(world: ApiWorld) -> None:
    await world.device("pump-01")
    world.connect("pump-01")
    body = {"methodName": "reboot", "responseTimeoutInSeconds": "30", "connectTimeoutInSeconds": "0"}
    assert (await world.ask("POST", "/twins/pump-01/methods", body)).status_code == 200
    assert (
        await world.ask("POST", "/twins/pump-01/methods", {"methodName": "reboot", "timeoutInSeconds": 6})
    ).status_code == 200


async def test_a_device_that_is_not_connected_is_404103(world: ApiWorld) -> None:
    await world.device("pump-01")
    refused = await world.ask("POST", "/twins/pump-01/methods", CALL)
    assert (refused.status_code, refused.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
    document = inner(refused)
    assert document["errorCode"] == 404103
    assert document["message"] == "Timed out waiting for device to connect."
    assert document["info"] == {"timeout": "00:00:00"}
    assert refused.json()["ExceptionMessage"] == ""


async def test_an_unknown_device_is_404001(world: ApiWorld) -> None:
    refused = await world.ask("POST", "/twins/nobody/methods", CALL)
    assert (refused.status_code, inner(refused)["errorCode"]) == (404, 404001)


async def test_a_silent_device_is_504101(world: ApiWorld) -> None:
    await world.device("pump-01")
    world.connect("pump-01").answer = None
    refused = await world.ask("POST", "/twins/pump-01/methods", CALL)
    assert (refused.status_code, refused.headers["iothub-errorcode"]) == (504, "GatewayTimeout")
    document = inner(refused)
    assert (document["errorCode"], document["info"]) == (504101, {"timeout": "00:00:05"})
    assert document["message"] == "Timed out waiting for the response from device."


async def test_an_answer_that_cannot_be_used_is_502(world: ApiWorld) -> None:
    await world.device("pump-01")
    world.connect("pump-01").answer = BadDeviceReply("method.bad_reply", "not JSON")
    refused = await world.ask("POST", "/twins/pump-01/methods", CALL)
    assert (refused.status_code, refused.headers["moorage-reason"]) == (502, "method.bad_reply")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"methodName": None}, "body.member"),
        ({"methodName": ""}, "body.member"),
        ({"methodName": "a b"}, "method.name"),
        ({"methodName": "x/y"}, "method.name"),
        ({"responseTimeoutInSeconds": 4}, "method.response_timeout"),
        ({"responseTimeoutInSeconds": 301}, "method.response_timeout"),
        ({"responseTimeoutInSeconds": "soon"}, "body.member"),
        ({"responseTimeoutInSeconds": True}, "body.member"),
        ({"connectTimeoutInSeconds": 301}, "method.connect_timeout"),
        ({"connectTimeoutInSeconds": 1.5}, "body.member"),
    ],
)
async def test_a_wrong_call_is_refused_before_the_device_hears_of_it(
    world: ApiWorld, change: dict[str, Any], reason: str
) -> None:
    await world.device("pump-01")
    device = world.connect("pump-01")
    refused = await world.ask("POST", "/twins/pump-01/methods", {**CALL, **change})
    assert (refused.status_code, refused.headers["moorage-reason"]) == (400, reason)
    assert device.calls == []


async def test_a_payload_over_128_kib_is_413(world: ApiWorld) -> None:
    await world.device("pump-01")
    world.connect("pump-01")
    body = {**CALL, "payload": "x" * (128 * 1024)}
    refused = await world.ask("POST", "/twins/pump-01/methods", body)
    assert (refused.status_code, refused.headers["moorage-reason"]) == (413, "method.payload")


async def test_modules_answer_methods_too(world: ApiWorld) -> None:
    await world.device("pump-01")
    await world.ask("PUT", "/devices/pump-01/modules/camera", {})
    world.connect("pump-01", "camera")
    assert (await world.ask("POST", "/twins/pump-01/modules/camera/methods", CALL)).status_code == 200
    assert (await world.ask("POST", "/twins/pump-01/methods", CALL)).status_code == 404

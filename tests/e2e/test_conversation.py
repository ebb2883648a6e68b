"""What a connected device and the cloud say to each other: telemetry, messages, methods and twins.

The device is azure-iot-device, with its blocking and its asyncio clients; the cloud is azure-iot-hub, and our own REST
for what that does over AMQP.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from azure.iot.device.aio import IoTHubDeviceClient as AioDeviceClient
from azure.iot.device.aio import IoTHubModuleClient as AioModuleClient
from azure.iot.device.exceptions import ClientError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from moorage.cli.hub_client import segment
from tests import certs
from tests.certs import Issued
from tests.compatibility import proves
from tests.e2e.sdk import PATIENCE_S, Bench, Inbox, Message, MethodResponse, authority, client, split, until

device_does = partial(proves, "azure-iot-device", "devices and modules", transport="MQTT")

device_or_module = pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])
AIO = (AioDeviceClient, AioModuleClient)


@pytest.fixture
def name(new_id: Callable[..., str], suffix: str, bench: Bench) -> str:
    """A registered device, or module, with a CA-signed certificate."""
    name = new_id() + suffix
    bench.create(name, authority())
    return name


@pytest.fixture
def device(bench: Bench, plant: Issued, name: str) -> Iterator[Any]:
    """Connected, with the blocking client."""
    with client(bench.by_certificate(name, bench.x509(certs.device(plant, name)))) as device:
        yield device


def send_c2d(bench: Bench, name: str, **message: Any) -> Any:
    return bench.hub.request("POST", f"/moorage/v1/devices/{segment(name)}/messages/devicebound", body=message)


def call(service: Any, name: str, method: str, payload: Any = None, timeout_s: int = 10) -> Any:
    """Call a direct method through azure-iot-hub."""
    device_id, module_id = split(name)
    request = CloudToDeviceMethod(method_name=method, payload=payload, response_timeout_in_seconds=timeout_s)
    if module_id:
        return service.invoke_device_module_method(device_id, module_id, request)
    return service.invoke_device_method(device_id, request)


def patch_desired(service: Any, name: str, desired: dict[str, Any], *, replace: bool = False) -> Any:
    device_id, module_id = split(name)
    which = ("module_" if module_id else "") + "twin"
    change = getattr(service, f"{'replace' if replace else 'update'}_{which}")
    return change(*filter(None, (device_id, module_id)), Twin(properties=TwinProperties(desired=desired)))


# -- telemetry ---------------------------------------------------------------------------------------------------------


@device_does("send_message")
@device_or_module
def test_telemetry_keeps_its_body_and_every_property(bench: Bench, name: str, device: Any) -> None:
    message = Message(json.dumps({"temperature": 21.5, "text": "Grüße"}), "id-1", "utf-8", "application/json")
    message.correlation_id = "reply to 1/2"
    message.user_id = "installer & son"
    message.expiry_time_utc = datetime.now(UTC) + timedelta(hours=1)
    message.custom_properties = {"alert": "true", "a b": "c=d&e", "ünï": "+1 %41/$?#", "$odd": "x"}
    before = datetime.now(UTC)
    device.send_message(message)
    (stored,) = bench.stored(split(name)[0])
    assert stored["body"] == {"temperature": 21.5, "text": "Grüße"}
    assert stored["properties"] == {"alert": "true", "a b": "c=d&e", "ünï": "+1 %41/$?#", "$odd": "x"}
    system = stored["systemProperties"]
    assert (system["message-id"], system["correlation-id"]) == ("id-1", "reply to 1/2")
    assert (system["content-type"], system["content-encoding"]) == ("application/json", "utf-8")
    assert system["user-id"] == "installer & son"
    assert "absolute-expiry-time" in system
    device_id, module_id = split(name)
    assert system["iothub-connection-device-id"] == device_id
    assert system.get("iothub-connection-module-id", "") == module_id
    enqueued = datetime.fromisoformat(stored["enqueuedTime"])
    assert before - timedelta(seconds=1) < enqueued < datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_what_is_no_json_is_kept_byte_for_byte_and_in_order(bench: Bench, name: str, device: Any) -> None:
    bodies: list[Any] = ["plain text", b"\x00\xff\xfe", b"", "{not json", bytes(range(256)) * 100]
    for body in bodies:
        device.send_message(Message(body))
    device.send_message(Message("{not json", content_type="application/json", content_encoding="utf-8"))
    stored = bench.stored(name)
    sent = [body.encode() if isinstance(body, str) else body for body in (*bodies, "{not json")]
    assert [base64.b64decode(each["bodyBase64"]) for each in stored] == sent
    assert not any("body" in each for each in stored)
    sequences = [each["sequenceNumber"] for each in stored]
    assert sequences == sorted(set(sequences))


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_telemetry_tail_prints_what_is_stored_with_exactly_the_promised_keys(
    bench: Bench, name: str, device: Any
) -> None:
    device.send_message(Message('{"n": 1}', content_type="application/json", content_encoding="utf-8"))
    device.send_message(Message("two"))
    first, second = bench.hub.ask("telemetry", "tail", "--device", name, "--count", "2")
    keys = "deviceId moduleId partition sequenceNumber offset enqueuedTime systemProperties properties".split()
    assert list(first) == [*keys, "body"]
    assert list(second) == [*keys, "bodyBase64"]
    assert (first["deviceId"], first["moduleId"], first["body"]) == (name, None, {"n": 1})


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_many_messages_at_once_are_all_stored_once(bench: Bench, name: str, plant: Issued) -> None:
    async def send(count: int) -> None:
        device = bench.by_certificate(name, bench.x509(certs.device(plant, name)), api=AIO)
        await device.connect()
        try:
            await asyncio.gather(*(device.send_message(f"{number}") for number in range(count)))
        finally:
            await device.shutdown()

    asyncio.run(send(200))
    # The SDK hands each to a thread, so it is not said in which order they leave.
    assert sorted(int(base64.b64decode(each["bodyBase64"])) for each in bench.stored(name)) == list(range(200))


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_the_largest_message_is_stored(bench: Bench, name: str, device: Any) -> None:
    device.send_message(Message(b"x" * (255 * 1024)))
    (stored,) = bench.stored(name)
    assert len(base64.b64decode(stored["bodyBase64"])) == 255 * 1024


# -- messages to devices -----------------------------------------------------------------------------------------------


@device_does("on_message_received")
@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_a_message_arrives_with_its_properties_and_is_settled(bench: Bench, name: str, device: Any) -> None:
    messages = Inbox()
    device.on_message_received = messages
    expires = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    send_c2d(
        bench,
        name,
        body="Grüße",
        properties={"alert": "a=b&c/d", "ünï": "+ %"},
        messageId="m-1",
        correlationId="c-1",
        userId="installer",
        contentType="text/plain",
        contentEncoding="utf-8",
        expiryTimeUtc=expires,
        ack="full",
    )
    got = messages.wait()
    assert got.data == "Grüße".encode()
    assert {key: value for key, value in got.custom_properties.items() if not key.startswith("$.")} == {
        "alert": "a=b&c/d",
        "ünï": "+ %",
    }
    assert (got.message_id, got.correlation_id, got.user_id, got.ack) == ("m-1", "c-1", "installer", "full")
    assert (got.content_type, got.content_encoding) == ("text/plain", "utf-8")
    assert datetime.fromisoformat(got.expiry_time_utc) == datetime.fromisoformat(expires)
    until("the message is settled", lambda: waiting(bench, name) == 0)


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_messages_wait_for_the_device_in_order_and_come_once(bench: Bench, name: str, plant: Issued) -> None:
    for number in range(5):
        send_c2d(bench, name, body=f"{number}")
    assert waiting(bench, name) == 5
    messages = Inbox()
    x509 = bench.x509(certs.device(plant, name))
    with client(bench.by_certificate(name, x509)) as device:
        device.on_message_received = messages
        messages.wait(5)
        assert [int(each.data) for each in messages] == [0, 1, 2, 3, 4]
        until("they are settled", lambda: waiting(bench, name) == 0)
    send_c2d(bench, name, body="later")
    device = bench.by_certificate(name, x509)
    # A session that is resumed brings them right behind CONNACK, as IoT Hub does; the SDK acknowledges and drops what
    # it has no handler for, so the handler comes first. Setting it connects.
    device.on_message_received = messages
    with client(device):
        assert messages.wait(6).data == b"later"
        until("it is settled", lambda: waiting(bench, name) == 0)


def waiting(bench: Bench, device_id: str) -> int:
    return int(bench.hub.request("GET", f"/devices/{segment(device_id)}")["cloudToDeviceMessageCount"])


# -- methods -----------------------------------------------------------------------------------------------------------


@device_does("on_method_request_received", "send_method_response")
@device_or_module
@pytest.mark.parametrize("payload", [{"times": 3, "text": "Grüße"}, None, [1, 2], "text", 0, False], ids=repr)
def test_a_method_is_answered_with_any_json(bench: Bench, service: Any, name: str, device: Any, payload: Any) -> None:
    requests = Inbox()

    def answer(request: Any) -> None:
        requests.append(request)
        device.send_method_response(MethodResponse.create_from_method_request(request, 207, payload))

    device.on_method_request_received = answer
    result = call(service, name, "blink", payload)
    assert (result.status, result.payload) == (207, payload)
    # azure-iot-hub sends an empty text where there is no payload.
    assert (requests[0].name, requests[0].payload) == ("blink", "" if payload is None else payload)


@device_or_module
def test_a_method_on_one_that_is_not_connected_is_a_404(bench: Bench, service: Any, name: str) -> None:
    with pytest.raises(HttpOperationError) as refused:
        call(service, name, "blink")
    assert refused.value.response.status_code == 404
    assert "404103" in refused.value.response.text


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_a_method_that_is_not_answered_is_a_504_in_time(bench: Bench, service: Any, name: str, device: Any) -> None:
    requests = Inbox()
    device.on_method_request_received = requests
    began = datetime.now(UTC)
    with pytest.raises(HttpOperationError) as refused:
        call(service, name, "hang", timeout_s=5)
    assert refused.value.response.status_code == 504
    # Without the caller's own it would be the 30 s that are the rule.
    assert timedelta(seconds=4.5) < datetime.now(UTC) - began < timedelta(seconds=20)
    # Too late: ignored, and the connection stands.
    device.send_method_response(MethodResponse.create_from_method_request(requests.wait(), 200, {}))
    device.send_message("still here")
    assert len(bench.stored(name)) == 1


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_methods_called_at_once_each_get_their_own_answer(bench: Bench, service: Any, name: str, device: Any) -> None:
    def answer(request: Any) -> None:
        device.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))

    device.on_method_request_received = answer
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        answers[number] = call(service, name, "echo", {"n": number}).payload

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == {number: {"n": number} for number in range(8)}


# -- twins -------------------------------------------------------------------------------------------------------------


@device_does("get_twin", "patch_twin_reported_properties")
@device_or_module
def test_reported_properties_are_merged_and_seen_by_the_service(
    bench: Bench, service: Any, name: str, device: Any
) -> None:
    assert device.get_twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    device.patch_twin_reported_properties({"a": {"b": 1, "c": [1, {"d": None}]}, "gone": "soon"})
    device.patch_twin_reported_properties({"a": {"b": 2}, "gone": None, "ünï": "Grüße"})
    reported = {"a": {"b": 2, "c": [1, {"d": None}]}, "ünï": "Grüße", "$version": 3}
    assert device.get_twin()["reported"] == reported
    twin = service.get_module_twin(*split(name)) if split(name)[1] else service.get_twin(name)
    seen = dict(twin.properties.reported)
    assert "$lastUpdated" in seen.pop("$metadata")
    assert seen == reported


@device_does("on_twin_desired_properties_patch_received")
@device_or_module
def test_desired_properties_arrive_as_they_were_sent(bench: Bench, service: Any, name: str, device: Any) -> None:
    patches = Inbox()
    device.on_twin_desired_properties_patch_received = patches
    patch_desired(service, name, {"interval": 5, "deep": {"x": 1, "y": 2}})
    assert patches.wait(1) == {"interval": 5, "deep": {"x": 1, "y": 2}, "$version": 2}
    patch_desired(service, name, {"deep": {"x": None}, "interval": 6})
    assert patches.wait(2) == {"interval": 6, "deep": {"x": None}, "$version": 3}
    assert device.get_twin()["desired"] == {"interval": 6, "deep": {"y": 2}, "$version": 3}
    patch_desired(service, name, {"only": True}, replace=True)
    assert patches.wait(3) == {"only": True, "$version": 4}
    assert device.get_twin()["desired"] == {"only": True, "$version": 4}


@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_a_reported_patch_that_breaks_a_rule_is_refused_and_changes_nothing(
    bench: Bench, name: str, device: Any
) -> None:
    device.patch_twin_reported_properties({"kept": 1})
    for broken in ({"a.b": 1}, {"x": "y" * 5000}, {"big": {str(n): "z" * 4000 for n in range(9)}}, {"$dollar": 1}):
        with pytest.raises(ClientError):
            device.patch_twin_reported_properties(broken)
    assert device.get_twin()["reported"] == {"kept": 1, "$version": 2}


# -- the asyncio clients -----------------------------------------------------------------------------------------------


@device_does("the same with asyncio")
@device_or_module
async def test_the_asyncio_clients_hold_the_same_conversation(
    bench: Bench, service: Any, plant: Issued, name: str, suffix: str
) -> None:
    device = bench.by_certificate(name, bench.x509(certs.device(plant, name)), api=AIO)
    messages, patches = Inbox(), Inbox()

    async def answer(request: Any) -> None:
        response = MethodResponse.create_from_method_request(request, 200, {"echo": request.payload})
        await device.send_method_response(response)

    await device.connect()
    try:
        device.on_method_request_received = answer
        device.on_twin_desired_properties_patch_received = patches
        await device.send_message(Message('{"n": 1}', content_type="application/json", content_encoding="utf-8"))
        result = await asyncio.to_thread(call, service, name, "echo", {"n": 2})
        assert (result.status, result.payload) == (200, {"echo": {"n": 2}})
        await device.patch_twin_reported_properties({"n": 3})
        await asyncio.to_thread(patch_desired, service, name, {"n": 4})
        assert await asyncio.to_thread(patches.wait) == {"n": 4, "$version": 2}
        twin = await device.get_twin()
        assert twin == {"desired": {"n": 4, "$version": 2}, "reported": {"n": 3, "$version": 2}}
        if not suffix:
            device.on_message_received = messages
            await asyncio.to_thread(send_c2d, bench, name, body="5")
            assert (await asyncio.to_thread(messages.wait)).data == b"5"
    finally:
        await device.shutdown()
    assert [each["body"] for each in await asyncio.to_thread(bench.stored, split(name)[0])] == [{"n": 1}]

"""azure-iot-device with `websockets=True`: hub and provisioning on port 443, by certificate and by key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from azure.iot.device.exceptions import ClientError, CredentialError

from tests import certs
from tests.certs import Issued
from tests.compatibility import proves
from tests.e2e.sdk import Bench, Inbox, Message, MethodResponse, authority, client, until
from tests.hubs import HTTPS_PORT, may_listen, sdk_hub

device_does = partial(proves, "azure-iot-device", "devices and modules", transport="MQTT-WS")
provisioning = partial(proves, "azure-iot-device", "provisioning", transport="MQTT-WS")

device_or_module = pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A hub with the only port that the SDK knows for WebSockets."""
    if not may_listen(HTTPS_PORT):
        pytest.skip("port 443 is not permitted here")
    folder = tmp_path_factory.mktemp("websockets")
    with sdk_hub(folder / "hub", https_port=HTTPS_PORT) as hub:
        (folder / "files").mkdir()
        yield Bench(hub, folder / "files")


@pytest.fixture(scope="module")
def plant(bench: Bench) -> Issued:
    root = certs.root("WebSocket Plant Root")
    bench.trust(root)
    return root


def door(bench: Bench, name: str) -> tuple[str, bool]:
    attempt = bench.hub.attempts(device=name)[0]
    return attempt["door"], attempt["accepted"]


def converse(bench: Bench, name: str, device: Any) -> None:
    """Every kind of exchange there is, once."""
    device_id, _, module_id = name.partition("/")
    inbox, patches = Inbox(), Inbox()
    device.on_message_received = inbox
    device.on_twin_desired_properties_patch_received = patches

    # Over many records of TLS, and in frames as the client cuts them.
    body = {"text": "x" * 200_000}
    device.send_message(Message(json.dumps(body), content_encoding="utf-8", content_type="application/json"))
    assert [each["body"] for each in bench.stored(device_id)] == [body]

    def answer(request: Any) -> None:
        device.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))

    device.on_method_request_received = answer
    twin = f"/twins/{device_id}" + (f"/modules/{module_id}" if module_id else "")
    call = {"methodName": "echo", "payload": {"a": 1}, "responseTimeoutInSeconds": 10, "connectTimeoutInSeconds": 10}
    assert bench.hub.request("POST", f"{twin}/methods", body=call) == {"status": 200, "payload": {"a": 1}}

    device.patch_twin_reported_properties({"speed": 3})
    assert device.get_twin()["reported"]["speed"] == 3
    bench.hub.request("PATCH", twin, body={"properties": {"desired": {"speed": 5}}})
    assert patches.wait()["speed"] == 5
    if not module_id:
        path = f"/moorage/v1/devices/{device_id}/messages/devicebound"
        bench.hub.request("POST", path, body={"body": "slower"})
        assert inbox.wait().data == b"slower"


@device_does(
    "create_from_x509_certificate",
    "send_message",
    "on_message_received",
    "on_method_request_received",
    "get_twin",
    "patch_twin_reported_properties",
)
@device_or_module
def test_a_certificate_holds_a_whole_conversation(
    bench: Bench, plant: Issued, new_id: Callable[..., str], suffix: str
) -> None:
    name = new_id() + suffix
    bench.create(name, authority())
    with client(bench.by_certificate(name, bench.x509(certs.device(plant, name)), websockets=True)) as device:
        assert door(bench, name) == ("hub.mqtt-ws", True)
        (shown,) = bench.hub.request("GET", "/moorage/v1/connections", query={"device": name.partition("/")[0]})[
            "connections"
        ]
        assert (shown["protocol"], shown["credential"]["kind"]) == ("MQTT 3.1.1 over WebSocket", "x509")
        converse(bench, name, device)


@device_does("create_from_connection_string")
@device_or_module
def test_a_key_holds_a_whole_conversation(bench: Bench, new_id: Callable[..., str], suffix: str) -> None:
    name = new_id() + suffix
    with client(bench.by_key(bench.create(name), websockets=True)) as device:
        converse(bench, name, device)


@device_does("connect, refused")
def test_who_is_refused_hears_it_as_over_plain_mqtt(bench: Bench, plant: Issued, new_id: Callable[..., str]) -> None:
    name = new_id()
    bench.create(name, authority())
    stranger = bench.by_certificate(name, bench.x509(certs.self_signed(name)), websockets=True)
    with pytest.raises((ClientError, CredentialError)):
        stranger.connect()
    stranger.shutdown()
    assert door(bench, name) == ("hub.mqtt-ws", False)


@provisioning("register")
def test_a_device_is_provisioned_and_connects(bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    root = certs.root("WebSocket Group Root")
    attestation = {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": root.certificate.pem}}}}
    group = {"enrollmentGroupId": f"group-{name}", "attestation": attestation}
    bench.hub.request("PUT", f"/enrollmentGroups/group-{name}", body=group, query={"api-version": "2021-10-01"})
    x509 = bench.x509(certs.device(root, name))
    result = bench.provisioning(name, x509=x509, websockets=True).register()
    assert (result.status, result.registration_state.device_id) == ("assigned", name)
    assert door(bench, name) == ("dps.mqtt-ws", True)
    with client(bench.by_certificate(name, x509, websockets=True)) as device:
        device.send_message(Message("hello"))
    until("the session has ended", lambda: bench.hub.request("GET", f"/devices/{name}")["connectionState"][0] == "D")

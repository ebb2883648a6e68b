"""azure-iot-device for Node in WebSockets: its programs as they are, with `MqttWs` for a transport."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.compatibility import proves
from tests.e2e.node.workshop import Workshop
from tests.e2e.sdk import pinned, until

device_does = partial(proves, "azure-iot-device-mqtt", "devices and modules", transport="MQTT-WS")
provisioning = partial(proves, "azure-iot-provisioning-device-mqtt", "provisioning", transport="MQTT-WS")

device_or_module = pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])


@pytest.fixture(autouse=True)
def port_443(workshop: Workshop) -> None:
    if workshop.hub.info.https_port != 443:
        pytest.skip("the hub could not have port 443 here")


@device_does(
    "sendEvent", "onDeviceMethod", "onMethod", "getTwin", "desired and reported properties", "message", "complete"
)
@device_or_module
def test_a_conversation_by_certificate(workshop: Workshop, new_id: Callable[..., str], suffix: str) -> None:
    name = new_id() + suffix
    files = workshop.make("device", "mytesttalker")
    workshop.bench.create(name, pinned(files.certificate.sha1))
    settings = {**workshop.by_certificate(name, files), "TRANSPORT": "MqttWs"}
    with workshop.start("conversing_device.js", settings) as device:
        device.next("ready")
        attempt = workshop.hub.attempts(device=name)[0]
        assert (attempt["door"], attempt["credential"]) == ("hub.mqtt-ws", "x509")
        assert workshop.call(name, "echo", "x" * 100_000) == {"status": 200, "payload": "x" * 100_000}
        assert workshop.call(name, "report", {"on": True}) == {"status": 200, "payload": None}
        assert workshop.bench.twin(name)["properties"]["reported"]["on"] is True
        workshop.change_desired(name, {"interval": 5})
        # First comes what was there when it began to follow.
        while device.next("desired").get("interval") != 5:
            pass
        assert workshop.call(name, "send", [1, 2]) == {"status": 200, "payload": None}
        until("the message is stored", lambda: workshop.bench.stored(name.partition("/")[0]))
        if not suffix:
            path = f"/moorage/v1/devices/{name}/messages/devicebound"
            workshop.hub.request("POST", path, body={"body": "slower", "properties": {"a": "b"}})
            assert device.next("message") == {"text": "slower", "properties": {"a": "b", "iothub-ack": "none"}}
        device.end()


@device_does("sendEvent, by a key")
def test_a_conversation_by_key(workshop: Workshop, new_id: Callable[..., str]) -> None:
    name = new_id()
    document = workshop.bench.create(name)
    settings = {
        "IOTHUB_DEVICE_CONNECTION_STRING": workshop.hub.device_connection_string(document),
        "TRANSPORT": "MqttWs",
    }
    with workshop.start("conversing_device.js", settings) as device:
        device.next("ready")
        assert workshop.call(name, "echo", 1) == {"status": 200, "payload": 1}
        device.end()


@provisioning("register")
def test_the_tutorials_device_provisions_and_sends(workshop: Workshop) -> None:
    name = "mytestwebsocket"
    device = workshop.make("device", name)
    workshop.hub.moorage("enrollment", "create", name, "--certificate", str(device.cert))
    said = workshop.provision(name, device.cert, device.key, transport="MqttWs")
    assert said == [{"assignedHub": workshop.hub.hostname, "deviceId": name}, {"sent": name}]
    doors = [(each["door"], each["accepted"]) for each in workshop.hub.attempts(device=name)[:2]]
    assert doors == [("hub.mqtt-ws", True), ("dps.mqtt-ws", True)]

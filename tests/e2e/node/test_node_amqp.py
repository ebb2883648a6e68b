"""azure-iot-device for Node over AMQP, plain and in WebSockets: its programs as they are, with another transport."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.node.workshop import Workshop
from tests.e2e.sdk import pinned, until

DOORS = {"Amqp": "amqp", "AmqpWs": "amqp-ws"}

over_amqp = pytest.mark.parametrize("transport", DOORS)
device_or_module = pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])


def need_port(workshop: Workshop, transport: str) -> None:
    if transport == "AmqpWs" and workshop.hub.info.https_port != 443:
        pytest.skip("the hub could not have port 443 here")


@over_amqp
@device_or_module
def test_a_conversation_by_certificate(
    workshop: Workshop, new_id: Callable[..., str], transport: str, suffix: str
) -> None:
    need_port(workshop, transport)
    name = new_id() + suffix
    files = workshop.make("device", "mytestamqptalker")
    workshop.bench.create(name, pinned(files.certificate.sha1))
    settings = {**workshop.by_certificate(name, files), "TRANSPORT": transport}
    with workshop.start("conversing_device.js", settings) as device:
        device.next("ready")
        attempt = workshop.hub.attempts(device=name)[0]
        assert (attempt["door"], attempt["credential"]) == (f"hub.{DOORS[transport]}", "x509")
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
            assert device.next("message")["text"] == "slower"
        device.end()


@over_amqp
def test_a_conversation_by_key(workshop: Workshop, new_id: Callable[..., str], transport: str) -> None:
    need_port(workshop, transport)
    name = new_id()
    document = workshop.bench.create(name)
    settings = {
        "IOTHUB_DEVICE_CONNECTION_STRING": workshop.hub.device_connection_string(document),
        "TRANSPORT": transport,
    }
    with workshop.start("conversing_device.js", settings) as device:
        device.next("ready")
        assert workshop.call(name, "echo", 1) == {"status": 200, "payload": 1}
        device.end()


@over_amqp
def test_the_tutorials_device_provisions_and_sends(workshop: Workshop, transport: str) -> None:
    need_port(workshop, transport)
    name = f"mytest{transport.lower()}"
    device = workshop.make("device", name)
    workshop.hub.moorage("enrollment", "create", name, "--certificate", str(device.cert))
    said = workshop.provision(name, device.cert, device.key, transport=transport)
    assert said == [{"assignedHub": workshop.hub.hostname, "deviceId": name}, {"sent": name}]
    doors = [(each["door"], each["accepted"]) for each in workshop.hub.attempts(device=name)[:2]]
    assert doors == [(f"hub.{DOORS[transport]}", True), (f"dps.{DOORS[transport]}", True)]

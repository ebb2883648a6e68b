"""What a connected device by azure-iot-device for Node and the cloud say to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.compatibility import proves
from tests.e2e.node.workshop import Program, Workshop
from tests.e2e.sdk import pinned, split, until

device_does = partial(proves, "azure-iot-device-mqtt", "devices and modules", transport="MQTT")

device_or_module = pytest.mark.parametrize("suffix", ["", "/camera"], ids=["device", "module"])


@pytest.fixture
def name(workshop: Workshop, new_id: Callable[..., str], suffix: str) -> str:
    """Registered by thumbprint."""
    name = new_id() + suffix
    workshop.bench.create(name, pinned(workshop.make("device", "mytesttalker").certificate.sha1))
    return name


@pytest.fixture
def device(workshop: Workshop, name: str) -> Iterator[Program]:
    settings = workshop.by_certificate(name, workshop.make("device", "mytesttalker"))
    with workshop.start("conversing_device.js", settings) as device:
        yield device


@device_does("sendEvent", "onDeviceMethod", "onMethod", "getTwin", "desired and reported properties")
@device_or_module
def test_a_conversation_of_twin_methods_and_messages(workshop: Workshop, name: str, device: Program) -> None:
    device_id, module_id = split(name)
    assert device.next("twin") == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    # It asks for desired properties first and for methods then, and does not wait for either.
    workshop.call(name, "echo", "are you there?")

    # Desired: a patch as it was sent, null for what goes.
    desired: list[dict[str, Any]] = [{"interval": 5, "line": {"speed": 2, "name": "A b/ü"}}, {"line": {"speed": None}}]
    for version, patch in enumerate(desired, start=2):
        workshop.change_desired(name, patch)
        until_desired(device, {**patch, "$version": version})

    # Reported, by a method of the device; what it may not report is an error there too.
    reports: list[dict[str, Any]] = [{"firmware": "1.2", "state": {"on": True}}, {"state": {"on": None}}]
    for version, patch in enumerate(reports, start=2):
        assert workshop.call(name, "report", patch) == {"status": 200, "payload": None}
        assert workshop.bench.twin(name)["properties"]["reported"]["$version"] == version
    reported = workshop.bench.twin(name)["properties"]["reported"]
    assert (reported["firmware"], reported["state"]) == ("1.2", {})
    assert workshop.call(name, "report", {"big": "x" * 5000})["status"] == 500

    # Methods: whatever JSON is said comes back.
    for payload in (None, 21.5, "Grüße", [1, {"a": []}]):
        assert workshop.call(name, "echo", payload) == {"status": 200, "payload": payload}

    # Telemetry.
    workshop.call(name, "send", {"temperature": 21.5})
    (message,) = workshop.bench.stored(device_id)
    assert (message["deviceId"], message["moduleId"]) == (device_id, module_id or None)
    device.end()
    assert device.next("closed")


def until_desired(device: Program, expected: object) -> None:
    """The SDK tells a new listener first what it had; what we wait for comes next, and nothing else in between."""
    delta = device.next("desired")
    while delta != expected:
        delta = device.next("desired")


@device_does("message", "complete")
@pytest.mark.parametrize("suffix", [""], ids=["device"])
def test_messages_from_the_cloud_arrive_and_are_gone(workshop: Workshop, name: str, device: Program) -> None:
    hub = workshop.hub
    device.next("ready")
    for number, text in enumerate(("hello", "Grüße & mehr")):
        hub.moorage("c2d", "send", name, text, "--property", f"number={number}", "--property", "a b=c/d&e=f")
        said = device.next("message")
        assert said == {"text": text, "properties": {"iothub-ack": "none", "number": str(number), "a b": "c/d&e=f"}}
    until("they are settled", lambda: hub.request("GET", f"/devices/{name}")["cloudToDeviceMessageCount"] == 0)
    device.end()

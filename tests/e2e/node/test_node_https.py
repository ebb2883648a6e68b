"""azure-iot-device-http for Node as it is: telemetry, batches, messages, and files through @azure/storage-blob."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests import certs
from tests.compatibility import proves
from tests.e2e.node.workshop import Files, Workshop
from tests.e2e.sdk import pinned

device_does = partial(proves, "azure-iot-device-http", "devices", transport="HTTPS")


@pytest.fixture
def own_workshop(workshop: Workshop) -> Workshop:
    if f":{workshop.hub.info.https_port}" in workshop.hub.connection_string:
        pytest.skip("the hub could not have port 443 here")
    return workshop


@device_does("sendEvent", "sendEventBatch", "message", "complete", "reject", "abandon", "uploadToBlob")
def test_a_device_over_https(own_workshop: Workshop, new_id: Callable[..., str], tmp_path: Path) -> None:
    workshop, name = own_workshop, new_id("https")
    hub = workshop.hub
    file = tmp_path / "file.bin"
    # More than two blocks of the SDK's 4 MiB.
    file.write_bytes(os.urandom(9 * 1024 * 1024))
    issued = certs.self_signed(name)
    workshop.bench.create(name, pinned(issued.certificate.sha256))
    chain, key = workshop.bench.files(issued)
    settings = workshop.by_certificate(name, Files(chain, key, chain, chain))
    for text in ("complete", "reject"):
        hub.moorage("c2d", "send", name, text, "--property", "Site=7")
    lines = workshop.run(
        "https_device.js",
        settings={**settings, "IOTHUB_DEVICE_UPLOAD": str(file), "IOTHUB_DEVICE_MESSAGES": "2"},
    )
    messages = [line["message"] for line in lines if "message" in line]
    assert [message["text"] for message in messages] == ["complete", "reject"]
    assert all(message["id"] for message in messages)
    single, *batch = workshop.bench.stored(name)
    assert single["body"] == {"temperature": 21.5} and single["properties"] == {"temperatureAlert": "true"}
    assert single["systemProperties"]["message-id"] == "m-1"
    assert [message["properties"] for message in batch] == [{"number": "1"}, {"number": "2"}]
    assert hub.request("GET", f"/devices/{name}")["cloudToDeviceMessageCount"] == 0
    hub.moorage("file", "get", f"{name}/logs/today.bin", "--out", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == file.read_bytes()
    (told,) = hub.ask("file", "notifications")
    assert told["blobName"] == f"{name}/logs/today.bin"

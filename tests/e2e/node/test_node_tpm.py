"""azure-iot-security-tpm for Node as it is: provisioning over HTTPS and AMQP, then MQTT with the key in the TPM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.compatibility import Cell, plays, proves
from tests.e2e.node.workshop import Workshop
from tests.hubs import own_address
from tests.tpms import running_tpm, simulator

by_http = partial(proves, "azure-iot-provisioning-device-http", "provisioning", transport="HTTPS")
by_amqp = partial(proves, "azure-iot-provisioning-device-amqp", "provisioning", transport="AMQP")
in_websocket = partial(proves, "azure-iot-provisioning-device-amqp", "provisioning", transport="AMQP-WS")


def field(transport: str) -> pytest.MarkDecorator:
    """Of the table of transports and credentials."""
    return plays(Cell("provisioning", "Node", transport, "TPM", "register", "device"))


def provisions(workshop: Workshop, name: str, folder: Path, transport: str) -> None:
    if transport != "AMQP" and f":{workshop.hub.info.https_port}" in workshop.hub.connection_string:
        pytest.skip("the hub could not have port 443 here")
    host = own_address()
    settings = {
        "IOTHUB_DEVICE_DPS_ENDPOINT": workshop.hub.hostname,
        "IOTHUB_DEVICE_DPS_ID_SCOPE": workshop.hub.id_scope,
        "IOTHUB_DEVICE_DPS_DEVICE_ID": name,
        "IOTHUB_DEVICE_DPS_TRANSPORT": transport,
        "IOTHUB_DEVICE_TPM_HOST": host,
    }
    with running_tpm(folder) as tpm, simulator(tpm, host) as port:
        with workshop.start("tpm_device.js", {**settings, "IOTHUB_DEVICE_TPM_PORT": str(port)}) as device:
            workshop.hub.moorage("enrollment", "create", name, "--tpm", device.next("endorsementKey"))
            device.ask({})
            assert device.next("assignedHub") == workshop.hub.hostname
            assert device.next("sent") == name
            device.end()
    assert workshop.bench.stored(name)[-1]["body"] == {"temperature": 21.5}
    # It may have come back to the hub meanwhile.
    doors = {(each["door"], each["accepted"]) for each in workshop.hub.attempts(device=name)}
    assert doors >= {("hub.mqtt", True), (f"dps.{transport.lower()}", True)}


@field("HTTPS")
@by_http("register: by a TPM")
def test_a_tpm_provisions_over_https(workshop: Workshop, new_id: Callable[..., str], tmp_path: Path) -> None:
    provisions(workshop, new_id("tpm"), tmp_path, "HTTPS")


@field("AMQP")
@by_amqp("register: by a TPM")
def test_a_tpm_provisions_over_amqp(workshop: Workshop, new_id: Callable[..., str], tmp_path: Path) -> None:
    provisions(workshop, new_id("tpm"), tmp_path, "AMQP")


@field("AMQP-WS")
@in_websocket("register: by a TPM")
def test_a_tpm_provisions_over_amqp_in_a_websocket(
    workshop: Workshop, new_id: Callable[..., str], tmp_path: Path
) -> None:
    provisions(workshop, new_id("tpm"), tmp_path, "AMQP-WS")

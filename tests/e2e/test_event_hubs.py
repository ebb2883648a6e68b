"""azure-eventhub as it is, reading what devices sent (contract/services.md 4.8), and C2D by azure-iot-hub over AMQP."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext

from tests.e2e.sdk import Bench, until
from tests.hubs import Hub


def connection_string(hub: Hub, endpoint: str, more: str = "") -> str:
    key = hub.info.hub_key.reveal()
    return f"Endpoint=sb://{endpoint}/;SharedAccessKeyName=iothubowner;SharedAccessKey={key};EntityPath={hub.hostname}{more}"


def client(hub: Hub, way: str) -> EventHubConsumerClient:
    if way == "emulator":
        text = connection_string(hub, f"{hub.hostname}:5672", ";UseDevelopmentEmulator=true")
        return EventHubConsumerClient.from_connection_string(text, "$Default")
    text = connection_string(hub, hub.hostname)
    return EventHubConsumerClient.from_connection_string(text, "$default", connection_verify=str(hub.info.ca_bundle))


@pytest.mark.parametrize("way", ["emulator", "tls"])
def test_a_reader_gets_what_a_device_sent(hub: Hub, bench: Bench, new_id: Callable[..., str], way: str) -> None:
    name = new_id()
    document = bench.create(name)
    send = ["-c", SENDER, hub.device_connection_string(document), str(hub.info.ca_bundle)]
    subprocess.run([sys.executable, *send], check=True, timeout=60)
    until("it is stored", lambda: len(bench.stored(name)) == 3)
    found: list[EventData] = []
    with client(hub, way) as reader:
        properties = reader.get_eventhub_properties()
        assert properties["partition_ids"] == ["0", "1", "2", "3"]

        def take(context: PartitionContext, event: EventData | None) -> None:
            if event is not None and event.system_properties[b"iothub-connection-device-id"] == name.encode():
                found.append(event)
            if len(found) == 3:
                reader.close()

        reader.receive(take, starting_position="-1", max_wait_time=1)
    assert [event.body_as_str() for event in found] == ["0", "1", "2"]
    assert found[0].properties == {b"place": b"hall 3 & 4"}
    assert found[0].system_properties[b"iothub-message-source"] == b"Telemetry"
    numbers = [event.sequence_number or 0 for event in found]
    assert numbers == sorted(set(numbers))


SENDER = textwrap.dedent(
    """
    import sys
    from azure.iot.device import IoTHubDeviceClient, Message
    trust = open(sys.argv[2]).read()
    client = IoTHubDeviceClient.create_from_connection_string(sys.argv[1], server_verification_cert=trust)
    client.connect()
    for number in range(3):
        message = Message(str(number))
        message.custom_properties["place"] = "hall 3 & 4"
        client.send_message(message)
    client.shutdown()
    """
)

# uamqp trusts what certifi says and nothing else.
CALLER = textwrap.dedent(
    """
    import os, sys, certifi
    certifi.where = lambda: sys.argv[2]
    from azure.iot.hub import IoTHubRegistryManager
    manager = IoTHubRegistryManager(sys.argv[1])
    manager.send_c2d_message(sys.argv[3], "slower", {"a": "b"})
    try:
        manager.send_c2d_message("nobody-of-this-name", "slower")
    except Exception as error:
        print("refused", error, flush=True)
    # It complains when the interpreter takes its modules away before it.
    os._exit(0)
    """
)


def test_a_back_end_sends_to_a_device_over_amqp(hub: Hub, bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    bench.create(name)
    called = subprocess.run(
        [sys.executable, "-c", CALLER, hub.connection_string, str(hub.info.ca_bundle), name],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert called.stdout.startswith("refused"), called.stderr
    waiting = hub.request("GET", f"/devices/{name}", query={"api-version": "2021-04-12"})
    assert waiting["cloudToDeviceMessageCount"] == 1

"""azure-iot-hub as it is, sending messages to devices: over AMQP (uamqp), plain and in WebSockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.compatibility import note_call, proves
from tests.e2e.sdk import Bench, Inbox, client
from tests.hubs import HTTPS_PORT, Hub, may_listen, sdk_hub

AREA = ("azure-iot-hub", "IoTHubRegistryManager")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    https_port = HTTPS_PORT if may_listen(HTTPS_PORT) else 0
    with sdk_hub(tmp_path_factory.mktemp("messaging") / "hub", https_port=https_port) as hub:
        yield hub


@pytest.fixture(scope="module")
def bench(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(hub, tmp_path_factory.mktemp("certificates"))


# uamqp trusts what certifi says and nothing else, and blocks the thread that it is called in.
CALLER = textwrap.dedent(
    """
    import json, os, sys, certifi
    certifi.where = lambda: sys.argv[2]
    from azure.iot.hub import IoTHubRegistryManager
    from uamqp import TransportType
    manager = IoTHubRegistryManager.from_connection_string(sys.argv[1], getattr(TransportType, sys.argv[3]))
    for line in sys.stdin:
        try:
            manager.send_c2d_message(*json.loads(line))
            print(json.dumps(None), flush=True)
        except Exception as error:
            print(json.dumps(str(error)), flush=True)
    # It complains when the interpreter takes its modules away before it.
    os._exit(0)
    """
)


def send(hub: Hub, transport: str, *messages: list[Any]) -> list[str | None]:
    """Why each was not sent."""
    ran = subprocess.run(
        [sys.executable, "-c", CALLER, hub.connection_string, str(hub.ca_bundle), transport],
        input="".join(json.dumps(each) + "\n" for each in messages),
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said: list[str | None] = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(said) == len(messages), ran.stderr
    note_call(*AREA, "send_c2d_message", succeeded=said[0] is None)
    return said


@pytest.mark.parametrize(
    "transport",
    [
        pytest.param("Amqp", marks=proves(*AREA, "send_c2d_message", transport="AMQP")),
        pytest.param("AmqpOverWebsocket", marks=proves(*AREA, "send_c2d_message", transport="AMQP-WS")),
    ],
)
def test_a_back_end_sends_to_a_device(hub: Hub, bench: Bench, new_id: Callable[..., str], transport: str) -> None:
    if transport != "Amqp" and hub.info.https_port != HTTPS_PORT:
        pytest.skip("the hub could not have port 443 here")
    name = new_id() + ":a'b%20c"
    document = bench.create(name)
    properties = {"a": "b", "messageId": "m-1", "contentType": "text/plain", "ack": "mine"}
    said = send(hub, transport, [name, "slower", properties], ["nobody-of-this-name", "x"], [name, "x" * 66_000])
    assert said[0] is None
    # uamqp keeps what it was told to itself.
    assert None not in said[1:]
    inbox = Inbox()
    device = bench.by_key(document)
    device.on_message_received = inbox
    with client(device):
        message = inbox.wait()
    assert (message.data, message.message_id, message.content_type) == (b"slower", "m-1", "text/plain")
    assert message.custom_properties == {"a": "b", "ack": "mine"}

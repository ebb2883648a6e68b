"""The AMQP commands of `az iot`: what they say, said with the uamqp that they say it with, to a hub on their ports."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest

from moorage.cli.owner import owner_token
from moorage.hub.telemetry_log import partition_of
from tests.compatibility import proves
from tests.e2e.sdk import Bench, Inbox, Message, client
from tests.hubs import HTTPS_PORT, Hub, may_listen, sdk_hub

CLIENT = "az iot"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The commands take the port of the connection string for AMQP, too, so there must be none in it."""
    if not may_listen(HTTPS_PORT):
        pytest.skip("the hub could not have port 443 here")
    with sdk_hub(tmp_path_factory.mktemp("az") / "hub", https_port=HTTPS_PORT) as hub:
        yield hub


@pytest.fixture(scope="module")
def bench(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(hub, tmp_path_factory.mktemp("certificates"))


class Running:
    """A command, of which every line is a document."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert process.stdout is not None
        self.reader = threading.Thread(target=self._read, args=(process.stdout,))
        self.reader.start()

    def next(self, key: str) -> Any:
        """What the next document with `key` says under it."""
        while True:
            line = self._lines.get(timeout=PATIENCE_S)
            assert line is not None, f"it ended without {key!r}"
            document = json.loads(line)
            if key in document:
                return document[key]

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def command(hub: Hub, name: str, *arguments: str) -> Iterator[Running]:
    program = Path(__file__).with_name("messaging.py")
    where = (hub.connection_string, str(hub.ca_bundle))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(program), name, *where, *arguments], stdout=subprocess.PIPE, text=True
    )
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        running.reader.join()
        assert process.stdout is not None
        process.stdout.close()


def send(hub: Hub, device_id: str, **flags: Any) -> list[str]:
    with command(hub, "c2d-message-send", device_id, json.dumps(flags)) as running:
        return list(running.next("sent"))


@proves(CLIENT, "iot hub", "monitor-events", transport="AMQP")
def test_events_are_monitored(hub: Hub, bench: Bench, new_id: Callable[..., str]) -> None:
    sources: dict[int, str] = {}
    while len(sources) < 4:
        name = new_id("watched")
        sources.setdefault(partition_of(name, 4), name)
    hub.request("PATCH", "/moorage/v1/events", body={"deviceConnectionStateEvents": True})
    documents = {name: bench.create(name) for name in sources.values()}
    with command(hub, "monitor-events", "0") as running:
        redirect = running.next("redirect")
        assert (redirect["hostname"], redirect["port"]) == (hub.hostname, 5671)
        assert running.next("partitions") == ["0", "1", "2", "3"]
        for name, document in documents.items():
            with client(bench.by_key(document)) as device:
                message = Message(f'{{"from": "{name}"}}', content_encoding="utf-8", content_type="application/json")
                message.custom_properties["place"] = "hall 3"
                device.send_message(message)
        found: dict[str, dict[str, Any]] = {}
        states: dict[str, list[str]] = {name: [] for name in documents}
        while len(found) < 4 or any(len(each) < 2 for each in states.values()):
            event = running.next("event")
            if event["origin"] not in documents:
                continue
            if event["source"] == "Telemetry":
                found[event["origin"]] = event
            elif event["source"] == "deviceConnectionStateEvents":
                states[event["origin"]].append(event["application"]["opType"])
    for name, event in found.items():
        assert json.loads(event["payload"]) == {"from": name}
        assert (event["content_type"], event["content_encoding"]) == ("application/json", "utf-8")
        assert event["application"] == {"place": "hall 3"}
    assert list(states.values()) == [["deviceConnected", "deviceDisconnected"]] * 4


@proves(CLIENT, "iot central diagnostics", "monitor-events", transport="AMQP")
def test_events_are_monitored_as_of_an_application(hub: Hub, bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    document = bench.create(name)
    bearer = "Bearer " + owner_token(hub.data, datetime.now(UTC)).reveal()
    with command(hub, "central-monitor-events", bearer) as running:
        assert running.next("partitions") == ["0", "1", "2", "3"]
        with client(bench.by_key(document)) as device:
            device.send_message(Message("hello"))
        while (event := running.next("event"))["origin"] != name:
            pass
        while event["source"] != "Telemetry":
            event = running.next("event")
        assert event["payload"] == "hello"


@proves(CLIENT, "iot hub", "monitor-feedback", transport="AMQP")
@proves(CLIENT, "iot device c2d-message", "send", transport="AMQP")
def test_messages_are_sent_and_their_feedback_monitored(hub: Hub, bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    document = bench.create(name)
    with command(hub, "monitor-feedback") as running:
        running.next("listening")
        system = {
            "message_id": "first",
            "correlation_id": "c-1",
            "content_type": "text/plain",
            "content_encoding": "utf-8",
        }
        assert send(hub, name, data="slower", ack="full", system=system, properties={"a": "b"}) == [
            "MessageState.SendComplete"
        ]
        inbox = Inbox()
        device = bench.by_key(document)
        device.on_message_received = inbox
        with client(device):
            message = inbox.wait()
        assert (message.data, message.message_id, message.correlation_id) == (b"slower", "first", "c-1")
        assert message.custom_properties == {"a": "b"}
        # One after the other: what was taken is not given again.
        send(hub, name, data="never", ack="negative", system={"message_id": "second"})
        hub.moorage("c2d", "purge", name)
        told = [(each["originalMessageId"], each["statusCode"]) for _ in range(2) for each in running.next("feedback")]
    assert told == [("first", "Success"), ("second", "Purged")]
    assert send(hub, "nobody-of-this-name", data="x") == ["MessageState.SendFailed"]

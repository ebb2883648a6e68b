"""azure-iothub for Node as a back end over AMQP, plain and in WebSockets: messages to devices, feedback, and files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from moorage.cli.hub_client import segment
from tests.compatibility import note_call, proves
from tests.e2e.node.backend import Failed
from tests.e2e.node.workshop import Program, Workshop
from tests.e2e.sdk import client, until
from tests.e2e.test_file_upload import blob_client

over_amqp = pytest.mark.parametrize("transport", ["Amqp", "AmqpWs"])

CLIENT = "azure-iothub"
# What the program adds to the client's own methods.
_OURS = ("feedback", "file")


class Messaging:
    """The client, in a program of its own."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def do(self, method: str, **given: Any) -> Any:
        """Raises `Failed`."""
        said = self._program.ask({"method": method, **given})
        if method not in _OURS:
            note_call(CLIENT, "Client", method, succeeded="error" not in said)
        if "error" in said:
            raise Failed(said)
        return said["body"]

    def send(self, to: str, text: str, *, properties: dict[str, str] | None = None, **message: Any) -> None:
        options = {"message": message, "properties": properties or {}}
        assert self.do("send", to=to, text=text, options=options) == "MessageEnqueued"

    def feedback(self) -> list[tuple[str, str]]:
        """The next batch: what became of which message."""
        told = self.do("feedback")
        assert told["properties"]["contentType"] == "application/vnd.microsoft.iothub.feedback.json"
        return [(each["originalMessageId"], each["statusCode"]) for each in told["told"]]


def need_port(workshop: Workshop, transport: str) -> None:
    if transport == "AmqpWs" and workshop.hub.info.https_port != 443:
        pytest.skip("the hub could not have port 443 here")


@contextmanager
def messaging(workshop: Workshop, transport: str) -> Iterator[Messaging]:
    need_port(workshop, transport)
    settings = {"IOTHUB_CONNECTION_STRING": workshop.hub.connection_string, "TRANSPORT": transport}
    with workshop.start("messaging_backend.js", settings) as program:
        backend = Messaging(program)
        backend.do("open")
        yield backend
        backend.do("close")
        program.end()


def claims(*operations: str) -> pytest.MarkDecorator:
    """The test shows them over both transports."""
    cases = [
        pytest.param(name, marks=proves(CLIENT, "Client", *operations, transport=transport))
        for name, transport in (("Amqp", "AMQP"), ("AmqpWs", "AMQP-WS"))
    ]
    return pytest.mark.parametrize("transport", cases)


@claims("open", "close", "send", "getFeedbackReceiver")
def test_what_became_of_messages_is_told(workshop: Workshop, new_id: Callable[..., str], transport: str) -> None:
    name = new_id("told")
    document = workshop.bench.create(name)
    with messaging(workshop, transport) as backend:
        backend.do("getFeedbackReceiver")
        device = workshop.bench.by_key(document)
        got: list[Any] = []
        device.on_message_received = got.append
        with client(device):
            for ack in ("none", "negative", "positive", "full"):
                backend.send(name, f"take {ack}", messageId=f"{name}-{ack}", ack=ack, properties={"site": "7"})
            until("they came", lambda: len(got) == 4)
        assert [message.data for message in got] == [b"take none", b"take negative", b"take positive", b"take full"]
        assert got[0].custom_properties == {"site": "7"}
        assert taken(backend, 2) == {f"{name}-positive": "Success", f"{name}-full": "Success"}
        for ack in ("negative", "positive"):
            backend.send(name, "late", messageId=f"{name}-late-{ack}", ack=ack, expiryTimeUtc=expiry(1.5))
        backend.send(name, "purged", messageId=f"{name}-purged", ack="full")
        until("it expired", lambda: waiting(workshop, name) == 1)
        workshop.hub.moorage("c2d", "purge", name)
        assert taken(backend, 2) == {f"{name}-late-negative": "Expired", f"{name}-purged": "Purged"}


def taken(backend: Messaging, count: int) -> dict[str, str]:
    """What became of so many messages."""
    found: dict[str, str] = {}
    while len(found) < count:
        found |= dict(backend.feedback())
    return found


def expiry(after_s: float) -> int:
    return int((time.time() + after_s) * 1000)


def waiting(workshop: Workshop, name: str) -> int:
    return int(workshop.hub.request("GET", f"/devices/{segment(name)}")["cloudToDeviceMessageCount"])


@over_amqp
def test_a_device_over_amqp_rejects_and_completes(
    workshop: Workshop, new_id: Callable[..., str], transport: str
) -> None:
    name = new_id("settling")
    document = workshop.bench.create(name)
    key = {"IOTHUB_DEVICE_CONNECTION_STRING": workshop.hub.device_connection_string(document), "TRANSPORT": transport}
    with messaging(workshop, transport) as backend, workshop.start("conversing_device.js", key) as device:
        device.next("ready")
        backend.do("getFeedbackReceiver")
        backend.send(name, "reject", messageId=f"{name}-1", ack="full")
        backend.send(name, "complete", messageId=f"{name}-2", ack="full")
        assert taken(backend, 2) == {f"{name}-1": "Rejected", f"{name}-2": "Success"}
        device.end()


@over_amqp
def test_what_cannot_be_sent_is_said(workshop: Workshop, new_id: Callable[..., str], transport: str) -> None:
    name = new_id("full")
    workshop.bench.create(name)
    with messaging(workshop, transport) as backend:
        for to, text, error in (
            ("nobody-of-this-name", "hello", "DeviceNotFoundError"),
            (name, "x" * 66_000, "MessageTooLargeError"),
        ):
            with pytest.raises(Failed) as failed:
                backend.do("send", to=to, text=text, options={})
            assert failed.value.error == error
        # Ids with characters that have to be encoded on their way.
        odd = f"{name}:a%b=c"
        workshop.bench.create(odd)
        backend.send(odd, "hello")
        assert waiting(workshop, odd) == 1
        for _ in range(50):
            backend.send(name, "hello")
        with pytest.raises(Failed) as failed:
            backend.send(name, "one more")
        assert failed.value.error == "DeviceMaximumQueueDepthExceededError"


@claims("getFileNotificationReceiver")
def test_files_that_came_are_told(workshop: Workshop, new_id: Callable[..., str], transport: str) -> None:
    need_port(workshop, "AmqpWs")
    name = new_id("files")
    device = workshop.bench.by_key(workshop.bench.create(name))
    with messaging(workshop, transport) as backend:
        backend.do("getFileNotificationReceiver")
        try:
            info = device.get_storage_info_for_blob("today.txt")
            with blob_client(workshop.hub, info) as blob:
                blob.upload_blob(b"one line\n", overwrite=True)
            device.notify_blob_upload_status(info["correlationId"], True, 200, "OK")
        finally:
            device.shutdown()
        told = backend.do("file")
        assert told["properties"]["contentType"] == "application/vnd.microsoft.iothub.filenotification.json"
        said = told["told"]
        assert (said["deviceId"], said["blobName"], said["blobSizeInBytes"]) == (name, f"{name}/today.txt", 9)
        assert said["blobUri"] == f"https://{workshop.hub.hostname}/{info['containerName']}/{name}/today.txt"

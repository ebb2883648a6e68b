"""A device as the SDK for Python or Node is one: the same few verbs, each a call or two of the SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from azure.storage.blob import BlobClient

from tests.e2e.node.workshop import Crowd, Settings
from tests.e2e.sdk import Inbox, Message, MethodResponse
from tests.hubs import Hub

__all__ = ["NodeDevice", "Player", "PythonDevice"]


class Player(Protocol):
    """A device or module. Each raises what the SDK raises, or `AssertionError` after patience."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def send(self, text: str) -> None: ...

    def receive(self) -> str:
        """The text of the next message from the cloud, which is then settled."""

    def echo(self, method: str) -> None:
        """Answer this method with what it is given."""

    def twin(self) -> dict[str, Any]:
        """The twin as {desired, reported}; from now on the device is told of changes."""

    def desired(self, name: str, value: object) -> None:
        """Wait until the device is told of a desired property of this value."""

    def report(self, patch: dict[str, Any]) -> None: ...

    def upload(self, name: str, text: str) -> None: ...


class NodeDevice:
    """One of those in the program many_devices.js."""

    def __init__(self, crowd: Crowd, name: str, transport: str, settings: Settings) -> None:
        self._crowd, self._name = crowd, name
        self._transport, self._settings = transport, settings

    def open(self) -> None:
        self._ask("open", transport=self._transport, settings=self._settings)

    def close(self) -> None:
        self._ask("close")

    def send(self, text: str) -> None:
        self._ask("send", text=text)

    def receive(self) -> str:
        return str(self._ask("receive"))

    def echo(self, method: str) -> None:
        self._ask("echo", method=method)

    def twin(self) -> dict[str, Any]:
        return dict(self._ask("twin"))

    def desired(self, name: str, value: object) -> None:
        self._ask("desired", name=name, value=value)

    def report(self, patch: dict[str, Any]) -> None:
        self._ask("report", patch=patch)

    def upload(self, name: str, text: str) -> None:
        self._ask("upload", name=name, text=text)

    def _ask(self, verb: str, **more: Any) -> Any:
        answer = self._crowd.ask({"device": self._name, "do": verb, **more})
        assert "error" not in answer, answer
        return answer.get("done")


class PythonDevice:
    """A client of azure-iot-device, made when it is opened, in this process."""

    def __init__(self, hub: Hub, make: Callable[[], Any]) -> None:
        self._hub, self._make = hub, make
        self._client: Any = None
        self._patches = Inbox()

    def open(self) -> None:
        self._client = self._make()
        self._client.connect()

    def close(self) -> None:
        self._client.shutdown()

    def send(self, text: str) -> None:
        self._client.send_message(Message(text, content_encoding="utf-8", content_type="application/json"))

    def receive(self) -> str:
        messages = Inbox()
        self._client.on_message_received = messages
        return str(messages.wait().data, "utf-8")

    def echo(self, method: str) -> None:
        def answer(request: Any) -> None:
            status = 200 if request.name == method else 404
            response = MethodResponse.create_from_method_request(request, status, request.payload)
            self._client.send_method_response(response)

        self._client.on_method_request_received = answer

    def twin(self) -> dict[str, Any]:
        self._client.on_twin_desired_properties_patch_received = self._patches
        return dict(self._client.get_twin())

    def desired(self, name: str, value: object) -> None:
        count = 1
        while self._patches.wait(count).get(name) != value:
            count += 1

    def report(self, patch: dict[str, Any]) -> None:
        self._client.patch_twin_reported_properties(patch)

    def upload(self, name: str, text: str) -> None:
        info = self._client.get_storage_info_for_blob(name)
        url = f"https://{info['hostName']}/{info['containerName']}/{info['blobName']}{info['sasToken']}"
        with BlobClient.from_blob_url(url, connection_verify=str(self._hub.ca_bundle), retry_total=0) as blob:
            blob.upload_blob(text.encode(), overwrite=True)
        self._client.notify_blob_upload_status(info["correlationId"], True, 200, "OK")

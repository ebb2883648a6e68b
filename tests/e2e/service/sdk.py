"""What the suites of the service SDKs share: refusals as each family raises them, keys, devices that answer."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from msrest.exceptions import HttpOperationError
from provisioningserviceclient import ProvisioningServiceError

from moorage.cli.owner import owner_token
from tests.e2e.sdk import Bench, MethodResponse, client
from tests.hubs import Hub

__all__ = ["MODEL", "OwnerToken", "answering_device", "container", "key", "refused"]

# A model that a device may announce; the hub keeps its name and never fetches it.
MODEL = "dtmi:plant:example:Pump;1"


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def refused(status: int, code: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """The call fails with this HTTP status; the answer has the error's name, or its number."""
    with pytest.raises((HttpOperationError, HttpResponseError, ProvisioningServiceError)) as failed:
        call(*arguments, **named)
    error: Any = failed.value
    response: Any = (error.cause if isinstance(error, ProvisioningServiceError) else error).response
    text = response.text if isinstance(response.text, str) else response.text()
    assert (response.status_code, code in text) == (status, True), text


class OwnerToken:
    """A token credential as azure-identity's are: `get_token(scope)` gives the owner's bearer."""

    def __init__(self, hub: Hub) -> None:
        self._data = hub.data

    def get_token(self, *_scopes: str, **_more: Any) -> AccessToken:
        now = datetime.now(UTC)
        # It is good for longer; the clients fetch a new one five minutes before this one is said to end.
        return AccessToken(owner_token(self._data, now).reveal(), int(now.timestamp()) + 600)


def container(hub: Hub, name: str) -> Path:
    """A new folder that imports and exports may use (tests.hubs.transfer_flags); `as_uri()` is what a job is given."""
    folder = hub.data.with_name("transfers") / name
    folder.mkdir()
    return folder


@contextmanager
def answering_device(bench: Bench, document: dict[str, Any], **options: Any) -> Iterator[Any]:
    """A device with keys that answers every method with its name and payload; `fail...` with status 500."""
    device = bench.by_key(document, **options)

    def answer(request: Any) -> None:
        status = 500 if request.name.startswith("fail") else 200
        said = {"method": request.name, "payload": request.payload}
        device.send_method_response(MethodResponse.create_from_method_request(request, status, said))

    with client(device):
        device.on_method_request_received = answer
        yield device

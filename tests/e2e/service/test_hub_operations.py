"""azure-iot-hub: feedback over HTTP, and that every public operation is claimed by a test."""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable
from typing import Any

import azure.iot.hub
import httpx
import pytest
from azure.iot.hub import IoTHubHttpRuntimeManager

from tests.compatibility import claimed, proves, watched
from tests.e2e import test_conversation, test_messaging, test_service_sdk
from tests.e2e.service import (
    test_hub_configurations,
    test_hub_digital_twins,
    test_hub_jobs,
    test_hub_registry,
)
from tests.e2e.service.sdk import OwnerToken, refused
from tests.hubs import Hub


@proves(
    "azure-iot-hub",
    "IoTHubHttpRuntimeManager",
    "receive_feedback_notification",
    "complete_feedback_notification",
    "abandon_feedback_notification",
    "from_connection_string",
    "from_token_credential",
)
@pytest.mark.usefixtures("service")
def test_feedback_is_received_abandoned_and_completed_over_http(hub: Hub, new_id: Callable[..., str]) -> None:
    made = watched(IoTHubHttpRuntimeManager, "azure-iot-hub")
    name = new_id()
    hub.moorage("device", "create", name, "--auth", "sas")
    for each in (
        made.from_connection_string(hub.connection_string),
        made.from_token_credential(hub.info.service_host, OwnerToken(hub)),
    ):
        runtime = watched(each, "azure-iot-hub")
        body = {"body": "to nobody", "messageId": "m", "ack": "full"}
        hub.request("POST", f"/moorage/v1/devices/{name}/messages/devicebound", body=body)
        hub.request("DELETE", f"/devices/{name}/commands")
        # The client reads no answer, so the token is taken from one of our own and handed to it.
        lock = received(hub, name)
        assert runtime.receive_feedback_notification() is None
        runtime.abandon_feedback_notification(lock)
        runtime.complete_feedback_notification(received(hub, name))
        refused(412, "DeviceMessageLockLost", runtime.complete_feedback_notification, lock)
        refused(412, "DeviceMessageLockLost", runtime.abandon_feedback_notification, lock)


def received(hub: Hub, device_id: str) -> str:
    """Take a batch of feedback, in which there is some of the device and may be some of others; its lock token."""
    trust = ssl.create_default_context(cafile=str(hub.ca_bundle))
    headers = {"Authorization": f"Bearer {OwnerToken(hub).get_token().token}"}
    url = f"https://{hub.info.service_host}/messages/serviceBound/feedback"
    answer = httpx.get(url, headers=headers, verify=trust, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert (device_id, "Purged") in {(each["deviceId"], each["statusCode"]) for each in answer.json()}
    return answer.headers["etag"].strip('"')


def operations() -> set[tuple[str, str]]:
    """(class, method) of what the package offers, constructors aside."""
    classes: list[Any] = [each for each in vars(azure.iot.hub).values() if inspect.isclass(each)]
    return {
        (each.__name__, name)
        for each in classes
        for name, member in inspect.getmembers(each, callable)
        if not name.startswith("_")
    }


def test_every_operation_is_claimed() -> None:
    modules = (
        test_conversation,
        test_messaging,
        test_service_sdk,
        test_hub_configurations,
        test_hub_digital_twins,
        test_hub_jobs,
    )
    here = inspect.getmodule(test_every_operation_is_claimed)
    assert here is not None
    offered = operations()
    assert len(offered) > 60
    assert claimed("azure-iot-hub", *modules, test_hub_registry, here) == offered

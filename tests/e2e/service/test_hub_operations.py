"""azure-iot-hub: every public operation is claimed by a test; feedback over HTTP is refused."""

from __future__ import annotations

import inspect
from typing import Any

import azure.iot.hub
import pytest
from azure.iot.hub import IoTHubHttpRuntimeManager

from tests.compatibility import claimed, lacks, proves, refuses, watched
from tests.e2e import test_conversation, test_service_sdk
from tests.e2e.service import (
    test_hub_configurations,
    test_hub_digital_twins,
    test_hub_jobs,
    test_hub_registry,
)
from tests.e2e.service.sdk import OwnerToken, refused
from tests.hubs import Hub

NO_FEEDBACK = "404: feedback is not collected"


@refuses(
    "azure-iot-hub",
    "IoTHubHttpRuntimeManager",
    "receive_feedback_notification",
    "complete_feedback_notification",
    "abandon_feedback_notification",
    answer=NO_FEEDBACK,
)
@proves("azure-iot-hub", "IoTHubHttpRuntimeManager", "from_connection_string", "from_token_credential")
@pytest.mark.usefixtures("service")
def test_feedback_over_http_is_refused(hub: Hub) -> None:
    made = watched(IoTHubHttpRuntimeManager, "azure-iot-hub")
    for each in (
        made.from_connection_string(hub.connection_string),
        made.from_token_credential(hub.info.service_host, OwnerToken(hub)),
    ):
        runtime = watched(each, "azure-iot-hub")
        refused(404, "", runtime.receive_feedback_notification)
        refused(404, "", runtime.complete_feedback_notification, "token")
        refused(404, "", runtime.abandon_feedback_notification, "token")


def operations() -> set[tuple[str, str]]:
    """(class, method) of what the package offers, constructors aside."""
    classes: list[Any] = [each for each in vars(azure.iot.hub).values() if inspect.isclass(each)]
    return {
        (each.__name__, name)
        for each in classes
        for name, member in inspect.getmembers(each, callable)
        if not name.startswith("_")
    }


@lacks("azure-iot-hub", "IoTHubRegistryManager", "send_c2d_message", because="`moorage c2d send` and our own REST do")
def test_every_operation_is_claimed() -> None:
    modules = (test_conversation, test_service_sdk, test_hub_configurations, test_hub_digital_twins, test_hub_jobs)
    here = inspect.getmodule(test_every_operation_is_claimed)
    assert here is not None
    offered = operations()
    assert len(offered) > 60
    assert claimed("azure-iot-hub", *modules, test_hub_registry, here) == offered

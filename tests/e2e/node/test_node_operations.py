"""Every public operation of the service SDKs for Node is claimed by a test."""

from __future__ import annotations

import inspect

from tests.compatibility import claimed, lacks
from tests.e2e.node import (
    test_node_configurations,
    test_node_digital_twins,
    test_node_dps,
    test_node_jobs,
    test_node_service,
)
from tests.e2e.node.backend import Backend

HUB, DPS = "azure-iothub", "azure-iot-provisioning-service"


@lacks(
    HUB,
    "Client",
    "open",
    "close",
    "send",
    "getFeedbackReceiver",
    "getFileNotificationReceiver",
    because="`moorage c2d send` and our own REST send",
)
def test_every_operation_is_claimed(backend: Backend) -> None:
    offered = backend.offers()
    # How the digital twin client is given its connection string; it has no operation of its own.
    del offered["IoTHubTokenCredentials"]
    of_dps = {("ProvisioningServiceClient", name) for name in offered.pop("ProvisioningServiceClient")}
    of_hub = {(area, name) for area, names in offered.items() for name in names}
    assert (len(of_hub), len(of_dps)) == (62, 16)
    assert claimed(DPS, test_node_dps) == {*of_dps, ("Query", "next")}
    here = inspect.getmodule(test_every_operation_is_claimed)
    assert here is not None
    modules = (test_node_service, test_node_configurations, test_node_digital_twins, test_node_jobs)
    assert claimed(HUB, *modules, here) == of_hub

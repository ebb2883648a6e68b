"""Every public operation of the service SDKs for Node is claimed by a test."""

from __future__ import annotations

from tests.compatibility import claimed
from tests.e2e.node import (
    test_node_configurations,
    test_node_digital_twins,
    test_node_dps,
    test_node_jobs,
    test_node_messaging,
    test_node_service,
)
from tests.e2e.node.backend import Backend

HUB, DPS = "azure-iothub", "azure-iot-provisioning-service"


def test_every_operation_is_claimed(backend: Backend) -> None:
    offered = backend.offers()
    # How the digital twin client is given its connection string; it has no operation of its own.
    del offered["IoTHubTokenCredentials"]
    of_dps = {("ProvisioningServiceClient", name) for name in offered.pop("ProvisioningServiceClient")}
    of_hub = {(area, name) for area, names in offered.items() for name in names}
    assert (len(of_hub), len(of_dps)) == (62, 16)
    assert claimed(DPS, test_node_dps) == {*of_dps, ("Query", "next")}
    modules = (
        test_node_service,
        test_node_configurations,
        test_node_digital_twins,
        test_node_jobs,
        test_node_messaging,
    )
    assert claimed(HUB, *modules) == of_hub

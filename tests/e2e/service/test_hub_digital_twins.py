"""azure-iot-hub: digital twins, on a device that announces a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from azure.iot.hub import DigitalTwinClient

from tests.compatibility import proves, watched
from tests.e2e.sdk import Bench, until
from tests.e2e.service.sdk import MODEL, OwnerToken, answering_device, refused
from tests.hubs import Hub

digital_twins = partial(proves, "azure-iot-hub", "DigitalTwinClient")


@pytest.fixture
def twins(hub: Hub, service: Any) -> Any:
    """The fixture `service` has set the trust."""
    return watched(DigitalTwinClient.from_connection_string(hub.connection_string), "azure-iot-hub")


@pytest.fixture
def pump(bench: Bench, service: Any, new_id: Callable[..., str]) -> Iterator[str]:
    """A device with a model, connected."""
    name = new_id()
    with answering_device(bench, bench.create(name), product_info=MODEL):
        until("the twin names the model", lambda: bench.twin(name)["modelId"] == MODEL)
        yield name


@digital_twins("get_digital_twin", "update_digital_twin")
def test_a_digital_twin_is_read_and_patched(twins: Any, service: Any, pump: str) -> None:
    read = twins.get_digital_twin(pump)
    assert read["$dtId"] == pump
    assert read["$metadata"]["$model"] == MODEL
    twins.update_digital_twin(pump, [{"op": "add", "path": "/targetTemperature", "value": 21.5}])
    assert service.get_twin(pump).properties.desired["targetTemperature"] == 21.5
    component = {"$metadata": {}, "limit": 4}
    twins.update_digital_twin(pump, [{"op": "add", "path": "/thermostat1", "value": component}])
    assert service.get_twin(pump).properties.desired["thermostat1"]["limit"] == 4
    twins.update_digital_twin(pump, [{"op": "replace", "path": "/targetTemperature", "value": 22}])
    twins.update_digital_twin(pump, [{"op": "remove", "path": "/thermostat1"}])
    desired = service.get_twin(pump).properties.desired
    assert (desired["targetTemperature"], "thermostat1" in desired) == (22, False)
    refused(400, "", twins.update_digital_twin, pump, [{"op": "replace", "path": "/$metadata/$model", "value": "x"}])
    refused(412, "", twins.update_digital_twin, pump, [{"op": "add", "path": "/a", "value": 1}], '"AAAAAAAAAAE="')


@digital_twins("invoke_command", "invoke_component_command")
def test_commands_reach_the_device_and_its_components(twins: Any, pump: str) -> None:
    answer = twins.invoke_command(pump, "reboot", {"delay": 5}, 5, 10)
    assert answer == {"method": "reboot", "payload": {"delay": 5}}
    answer = twins.invoke_component_command(pump, "thermostat1", "getMaxMinReport", "2026-01-01", 5, 10)
    assert answer == {"method": "thermostat1*getMaxMinReport", "payload": "2026-01-01"}


def test_what_is_unknown_is_a_404(twins: Any, new_id: Callable[..., str]) -> None:
    refused(404, "", twins.get_digital_twin, new_id())
    refused(404, "", twins.invoke_command, new_id(), "reboot", {})


@digital_twins("from_connection_string", "from_token_credential")
@pytest.mark.usefixtures("service")
def test_both_credentials_open_it(hub: Hub, pump: str) -> None:
    made = watched(DigitalTwinClient, "azure-iot-hub")
    for each in (
        made.from_connection_string(hub.connection_string),
        made.from_token_credential(hub.info.service_host, OwnerToken(hub)),
    ):
        assert each.get_digital_twin(pump)["$dtId"] == pump

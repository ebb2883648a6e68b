"""azure-iothub for Node: digital twins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.compatibility import proves
from tests.e2e.node.backend import Backend
from tests.e2e.node.workshop import Workshop
from tests.e2e.service.sdk import answering_device

digital_twins = partial(proves, "azure-iothub", "DigitalTwinClient")


@digital_twins("getDigitalTwin", "updateDigitalTwin")
def test_a_digital_twin_is_read_and_patched(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id()
    backend.registry("create", {"deviceId": name})
    assert backend.twins("getDigitalTwin", name)["$dtId"] == name
    backend.twins("updateDigitalTwin", name, [{"op": "add", "path": "/targetTemperature", "value": 21.5}])
    assert backend.registry("getTwin", name)["properties"]["desired"]["targetTemperature"] == 21.5


@digital_twins("invokeCommand", "invokeComponentCommand")
def test_commands_reach_the_device_and_its_components(
    backend: Backend, workshop: Workshop, new_id: Callable[..., str]
) -> None:
    name = new_id()
    patience = {"connectTimeoutInSeconds": 10, "responseTimeoutInSeconds": 10}
    with answering_device(workshop.bench, workshop.bench.create(name)):
        answer = backend.twins("invokeCommand", name, "reboot", {"delay": 5}, patience)
        assert answer == {"method": "reboot", "payload": {"delay": 5}}
        answer = backend.twins("invokeComponentCommand", name, "thermostat1", "report", {"since": 1}, patience)
        assert answer == {"method": "thermostat1*report", "payload": {"since": 1}}

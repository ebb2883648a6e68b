"""azure-iothub for Node: configurations, and modules set on one edge device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.compatibility import proves
from tests.e2e.node.backend import Backend, fails

registry = partial(proves, "azure-iothub", "Registry")


def configuration(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "schemaVersion": "1.0",
        "content": {"deviceContent": {"properties.desired.chiller": {"temperature": 66, "fans": [1, {"a": {}}]}}},
        "targetCondition": "",
        "priority": 5,
        "labels": {"made": "by a test"},
        "metrics": {"queries": {"hot": "SELECT deviceId FROM devices WHERE tags.hot = true"}},
    }


@registry("addConfiguration", "getConfiguration", "getConfigurations", "updateConfiguration", "removeConfiguration")
def test_a_configuration_is_made_read_listed_changed_and_deleted(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id("configuration")
    draft = configuration(name)
    made = backend.registry("addConfiguration", draft)
    assert (made["id"], made["content"]) == (name, draft["content"])
    read = backend.registry("getConfiguration", name)
    # What comes back is what was sent, whatever it holds.
    assert {member: read[member] for member in draft if member != "metrics"} == {
        member: value for member, value in draft.items() if member != "metrics"
    }
    assert read["metrics"]["queries"] == draft["metrics"]["queries"]
    assert name in {each["id"] for each in backend.registry("getConfigurations")}
    changed = backend.registry("updateConfiguration", {**read, "priority": 7})
    assert changed["priority"] == 7
    fails(412, "InvalidEtagError", backend.registry, "updateConfiguration", {**read, "priority": 8})
    assert backend.registry("updateConfiguration", {**read, "priority": 9}, True)["priority"] == 9
    backend.registry("removeConfiguration", name)
    with_nothing = backend.registry("getConfigurations")
    assert name not in {each["id"] for each in with_nothing}


@registry("applyConfigurationContentOnDevice")
def test_modules_are_set_on_an_edge_device(backend: Backend, new_id: Callable[..., str]) -> None:
    edge = new_id("edge")
    backend.registry("create", {"deviceId": edge, "capabilities": {"iotEdge": True}})
    content = {
        "modulesContent": {
            "$edgeAgent": {"properties.desired": {"schemaVersion": "1.0", "modules": {}}},
            "$edgeHub": {"properties.desired": {"schemaVersion": "1.0", "routes": {}}},
            "camera": {"properties.desired": {"interval": 5}},
        }
    }
    backend.registry("applyConfigurationContentOnDevice", edge, content)
    modules = {each["moduleId"] for each in backend.registry("getModulesOnDevice", edge)}
    assert modules == {"$edgeAgent", "$edgeHub", "camera"}
    assert backend.registry("getModuleTwin", edge, "camera")["properties"]["desired"]["interval"] == 5

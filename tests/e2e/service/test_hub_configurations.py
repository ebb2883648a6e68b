"""azure-iot-hub: automatic device configurations and edge deployments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    Twin,
)

from tests.compatibility import proves, watched
from tests.e2e.sdk import until
from tests.e2e.service.sdk import OwnerToken, key, refused
from tests.hubs import Hub

configurations = partial(proves, "azure-iot-hub", "IoTHubConfigurationManager")

DEVICE_CONTENT = {"properties.desired.chiller": {"temperature": 66, "fans": [1, {"speed": None}]}}


@pytest.fixture
def manager(hub: Hub, service: Any) -> Any:
    """The fixture `service` has set the trust."""
    return watched(IoTHubConfigurationManager.from_connection_string(hub.connection_string), "azure-iot-hub")


def configuration(name: str, **more: Any) -> Any:
    wanted = {
        "schema_version": "1.0",
        "content": ConfigurationContent(device_content=DEVICE_CONTENT),
        "target_condition": "",
        "priority": 5,
        "labels": {"made": "by a test"},
        **more,
    }
    return Configuration(id=name, **wanted)


@configurations("create_configuration", "get_configuration", "get_configurations", "update_configuration")
@configurations("delete_configuration")
def test_a_configuration_is_made_read_listed_changed_and_deleted(manager: Any, new_id: Callable[..., str]) -> None:
    name = new_id("configuration")
    made = manager.create_configuration(configuration(name))
    assert (made.id, made.priority, made.labels) == (name, 5, {"made": "by a test"})
    assert made.content.device_content == DEVICE_CONTENT
    refused(409, "", manager.create_configuration, configuration(name))
    read = manager.get_configuration(name)
    assert (read.etag, read.content.device_content) == (made.etag, DEVICE_CONTENT)
    assert set(read.system_metrics.queries) >= {"targetedCount", "appliedCount"}
    assert name in {each.id for each in manager.get_configurations(100)}
    assert len(manager.get_configurations(1)) == 1
    read.priority, read.labels = 7, {"made": "again"}
    changed = manager.update_configuration(read, read.etag)
    assert (changed.priority, changed.labels) == (7, {"made": "again"})
    refused(412, "PreconditionFailed", manager.update_configuration, read, made.etag)
    refused(412, "PreconditionFailed", manager.delete_configuration, name, made.etag)
    manager.delete_configuration(name, changed.etag)
    refused(404, "ConfigurationNotFound", manager.get_configuration, name)
    manager.create_configuration(configuration(name))
    manager.delete_configuration(name)
    refused(404, "ConfigurationNotFound", manager.get_configuration, name)


@configurations("create_configuration", "get_configuration")
def test_a_configuration_reaches_the_twins_that_it_targets(
    manager: Any, service: Any, new_id: Callable[..., str]
) -> None:
    name, hall, aimed, other = new_id("configuration"), new_id("hall"), new_id(), new_id()
    for each, tags in ((aimed, {"hall": hall}), (other, {"hall": "elsewhere"})):
        service.create_device_with_certificate_authority(each, "enabled")
        service.update_twin(each, Twin(tags=tags))
    counted = ConfigurationMetrics(queries={"hall": f"SELECT deviceId FROM devices WHERE tags.hall = '{hall}'"})
    manager.create_configuration(configuration(name, target_condition=f"tags.hall = '{hall}'", metrics=counted))
    until(
        "the twin has what the configuration wants",
        lambda: service.get_twin(aimed).properties.desired.get("chiller", {}).get("temperature") == 66,
    )
    assert "chiller" not in service.get_twin(other).properties.desired

    def results() -> tuple[Any, Any, Any]:
        read = manager.get_configuration(name)
        system = read.system_metrics.results
        return system.get("targetedCount"), system.get("appliedCount"), read.metrics.results.get("hall")

    until("its metrics have counted the device", lambda: results() == (1, 1, 1))
    manager.delete_configuration(name)


@configurations("test_configuration_queries")
def test_queries_are_tried_before_they_are_used(manager: Any) -> None:
    good = ConfigurationQueriesTestInput(
        target_condition="tags.hall = 'north'", custom_metric_queries={"n": "SELECT deviceId FROM devices"}
    )
    answer = manager.test_configuration_queries(good)
    assert (answer.target_condition_error or None, answer.custom_metric_query_errors or {}) == (None, {})
    bad = ConfigurationQueriesTestInput(
        target_condition="tags.hall ==== 'north'", custom_metric_queries={"n": "SELECT FROM devices"}
    )
    answer = manager.test_configuration_queries(bad)
    assert answer.target_condition_error
    assert set(answer.custom_metric_query_errors) == {"n"}


@configurations("apply_configuration_on_edge_device")
def test_modules_are_set_on_an_edge_device(manager: Any, service: Any, new_id: Callable[..., str]) -> None:
    edge = new_id("edge")
    service.create_device_with_sas(edge, key(), key(), "enabled", iot_edge=True)
    modules = {"camera": {"settings": {"image": "plant/camera:1"}}}
    content = {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.0", "modules": modules}},
        "$edgeHub": {"properties.desired": {"schemaVersion": "1.0", "routes": {}}},
        "camera": {"properties.desired": {"interval": 5}},
    }
    manager.apply_configuration_on_edge_device(edge, ConfigurationContent(modules_content=content))
    assert {each.module_id for each in service.get_modules(edge)} == {"$edgeAgent", "$edgeHub", "camera"}
    assert service.get_module_twin(edge, "camera").properties.desired["interval"] == 5
    assert service.get_module_twin(edge, "$edgeAgent").properties.desired["modules"] == modules


@configurations("from_connection_string", "from_token_credential")
@pytest.mark.usefixtures("service")
def test_both_credentials_open_it(hub: Hub) -> None:
    made = watched(IoTHubConfigurationManager, "azure-iot-hub")
    for each in (
        made.from_connection_string(hub.connection_string),
        made.from_token_credential(hub.info.service_host, OwnerToken(hub)),
    ):
        refused(404, "ConfigurationNotFound", each.get_configuration, "nothing")

"""azure-iot-hub: what its registry manager does in bulk, asks, counts and calls (test_service_sdk.py has the rest)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import (
    AuthenticationMechanism,
    CloudToDeviceMethod,
    ExportImportDevice,
    QuerySpecification,
    SymmetricKey,
    Twin,
    TwinProperties,
)

from tests.compatibility import proves, watched
from tests.e2e.sdk import Bench
from tests.e2e.service.sdk import OwnerToken, answering_device, key, refused
from tests.hubs import Hub

registry = partial(proves, "azure-iot-hub", "IoTHubRegistryManager")


def item(name: str, mode: str, **more: Any) -> Any:
    return ExportImportDevice(id=name, import_mode=mode, **more)


@registry("bulk_create_or_update_devices")
def test_devices_are_created_updated_and_deleted_in_bulk(service: Any, new_id: Callable[..., str]) -> None:
    by_key, pinned = new_id(), new_id()
    primary, secondary = key(), key()
    keys = AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey(primary_key=primary, secondary_key=secondary))
    made = service.bulk_create_or_update_devices(
        [
            item(by_key, "create", status="enabled", authentication=keys, tags={"hall": 1}),
            item(
                pinned, "create", status="disabled", authentication=AuthenticationMechanism(type="certificateAuthority")
            ),
        ]
    )
    assert (made.is_successful, made.errors) == (True, [])
    assert service.get_device(by_key).authentication.symmetric_key.primary_key == primary
    assert service.get_twin(by_key).tags == {"hall": 1}
    changed = service.bulk_create_or_update_devices(
        [item(pinned, "update", status="enabled", authentication=AuthenticationMechanism(type="certificateAuthority"))]
    )
    assert changed.is_successful
    assert service.get_device(pinned).status == "enabled"
    gone = service.bulk_create_or_update_devices([item(by_key, "delete"), item(pinned, "delete")])
    assert gone.is_successful
    refused(404, "DeviceNotFound", service.get_device, by_key)


@registry("bulk_create_or_update_devices")
def test_a_bulk_that_fails_names_each_device_and_why(service: Any, new_id: Callable[..., str]) -> None:
    there, absent, stale = new_id(), new_id(), new_id()
    for each in (there, stale):
        service.create_device_with_certificate_authority(each, "enabled")
    result = service.bulk_create_or_update_devices(
        [
            item(there, "create", status="enabled"),
            item(absent, "delete"),
            item(stale, "deleteIfMatchETag", e_tag="MQ=="),
        ]
    )
    assert result.is_successful is False
    assert {each.device_id for each in result.errors} == {there, absent, stale}
    assert {each.device_id: each.error_code for each in result.errors}[there] in {"DeviceAlreadyExists", 409001}
    assert all(each.error_status for each in result.errors)


@registry("query_iot_hub")
def test_a_query_gives_its_answer_page_by_page(service: Any, new_id: Callable[..., str]) -> None:
    names, hall = sorted(new_id("query") for _ in range(5)), new_id("hall")
    for number, name in enumerate(names):
        service.create_device_with_certificate_authority(name, "enabled")
        service.update_twin(name, Twin(tags={"hall": hall, "number": number}))
    question = QuerySpecification(query=f"SELECT * FROM devices WHERE tags.hall = '{hall}'")
    first = service.query_iot_hub(question, None, 2)
    assert (len(first.items), first.type) == (2, "Twin")
    second = service.query_iot_hub(question, first.continuation_token, 2)
    third = service.query_iot_hub(question, second.continuation_token, 2)
    assert third.continuation_token is None
    assert sorted(twin.device_id for page in (first, second, third) for twin in page.items) == names
    whole = service.query_iot_hub(question)
    assert (len(whole.items), whole.continuation_token) == (5, None)
    assert {twin.tags["number"] for twin in whole.items} == {0, 1, 2, 3, 4}


@registry("query_iot_hub")
def test_a_projection_and_an_aggregate_give_raw_rows(service: Any, new_id: Callable[..., str]) -> None:
    name, hall = new_id("query"), new_id("hall")
    service.create_device_with_certificate_authority(name, "enabled")
    service.create_module_with_certificate_authority(name, "camera", "me")
    service.update_twin(name, Twin(tags={"hall": hall}, properties=TwinProperties(desired={"t": 5})))
    where = f"WHERE tags.hall = '{hall}'"

    def rows(query: str) -> tuple[str, list[dict[str, Any]]]:
        answer = service.query_iot_hub(QuerySpecification(query=query))
        return answer.type, [twin.additional_properties | {"deviceId": twin.device_id} for twin in answer.items]

    kind, (row,) = rows(f"SELECT deviceId, properties.desired.t AS t FROM devices {where}")
    assert (kind, row["deviceId"], row["t"]) == ("Raw", name, 5)
    _, (row,) = rows(f"SELECT COUNT() AS n FROM devices {where}")
    assert row["n"] == 1
    modules = service.query_iot_hub(
        QuerySpecification(query=f"SELECT * FROM devices.modules WHERE deviceId = '{name}'")
    )
    assert [twin.module_id for twin in modules.items] == ["camera"]


def test_a_query_that_cannot_be_read_is_a_400_that_says_where(service: Any) -> None:
    for broken in ("SELECT * FROM devices WHERE", "SELEKT *", "SELECT * FROM cupboards"):
        refused(400, "400004", service.query_iot_hub, QuerySpecification(query=broken))


@registry("invoke_device_method", "invoke_device_module_method")
def test_methods_reach_devices_and_modules(bench: Bench, service: Any, new_id: Callable[..., str]) -> None:
    name = new_id()
    ask = CloudToDeviceMethod(method_name="ping", payload={"a": [1, None]}, response_timeout_in_seconds=10)
    with answering_device(bench, bench.create(name)), answering_device(bench, bench.create(f"{name}-x/camera")):
        by_device = service.invoke_device_method(name, ask)
        by_module = service.invoke_device_module_method(f"{name}-x", "camera", ask)
    for answer in (by_device, by_module):
        assert (answer.status, answer.payload) == (200, {"method": "ping", "payload": {"a": [1, None]}})


@registry("get_device_registry_statistics", "get_service_statistics")
def test_the_connected_are_counted(bench: Bench, service: Any, new_id: Callable[..., str]) -> None:
    before = service.get_device_registry_statistics().total_device_count
    document = bench.create(new_id())
    assert service.get_device_registry_statistics().total_device_count == before + 1
    connected = service.get_service_statistics().connected_device_count
    with answering_device(bench, document):
        assert service.get_service_statistics().connected_device_count == connected + 1


@registry("from_connection_string")
@pytest.mark.usefixtures("service")
def test_a_connection_string_is_all_it_takes(hub: Hub) -> None:
    made = watched(IoTHubRegistryManager, "azure-iot-hub").from_connection_string(hub.connection_string)
    assert made.get_devices(1) is not None


@registry("from_token_credential")
@pytest.mark.usefixtures("service")
def test_a_bearer_is_taken_as_well(hub: Hub, service: Any, new_id: Callable[..., str]) -> None:
    name = new_id()
    service.create_device_with_certificate_authority(name, "enabled")
    manager = watched(IoTHubRegistryManager, "azure-iot-hub")
    by_owner = manager.from_token_credential(hub.info.service_host, OwnerToken(hub))
    assert by_owner.get_device(name).device_id == name

"""azure-iot-hub as it is on PyPI: identities of every kind, their etags and their twins, and who may ask."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from tests.compatibility import proves
from tests.e2e.sdk import Bench, client
from tests.hubs import Hub

registry = partial(proves, "azure-iot-hub", "IoTHubRegistryManager")

SHA1, SHA256 = "A" * 40, "B" * 64


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def refused(status: int, code: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """The call fails with this HTTP status; the answer has the error's name, or for twins its number."""
    with pytest.raises(HttpOperationError) as failed:
        call(*arguments, **named)
    response = failed.value.response
    assert (response.status_code, code in response.text) == (status, True), response.text


# -- devices -----------------------------------------------------------------------------------------------------------


@registry("create_device_with_sas", "get_device", "update_device_with_sas", "delete_device")
def test_a_device_with_keys_is_created_read_updated_and_deleted(service: Any, new_id: Callable[..., str]) -> None:
    name, primary, secondary = new_id(), key(), key()
    made = service.create_device_with_sas(name, primary, secondary, "enabled", status_reason="new")
    assert (made.device_id, made.status, made.status_reason, made.authentication.type) == (
        name,
        "enabled",
        "new",
        "sas",
    )
    keys = made.authentication.symmetric_key
    assert (keys.primary_key, keys.secondary_key) == (primary, secondary)
    assert (made.connection_state, made.cloud_to_device_message_count) == ("Disconnected", 0)
    read = service.get_device(name)
    assert (read.etag, read.generation_id) == (made.etag, made.generation_id)
    changed = service.update_device_with_sas(name, made.etag, secondary, key(), "disabled", status_reason="moved")
    assert (changed.status, changed.status_reason) == ("disabled", "moved")
    assert changed.authentication.symmetric_key.primary_key == secondary
    assert changed.generation_id == made.generation_id
    assert changed.etag != made.etag
    refused(412, "PreconditionFailed", service.update_device_with_sas, name, made.etag, primary, secondary, "enabled")
    refused(412, "PreconditionFailed", service.delete_device, name, made.etag)
    service.delete_device(name, changed.etag)
    refused(404, "DeviceNotFound", service.get_device, name)
    again = service.create_device_with_sas(name, primary, secondary, "enabled")
    assert again.generation_id != made.generation_id


def test_keys_that_are_not_given_are_made(service: Any, bench: Bench, new_id: Callable[..., str]) -> None:
    name = new_id()
    keys = service.create_device_with_sas(name, "", "", "enabled").authentication.symmetric_key
    assert {len(base64.b64decode(each)) for each in (keys.primary_key, keys.secondary_key)} <= {32, 64}
    assert keys.primary_key != keys.secondary_key
    with client(bench.by_key(bench.hub.request("GET", f"/devices/{name}"))) as device:
        device.send_message("hello")
    assert len(bench.stored(name)) == 1


@registry("create_device_with_x509", "update_device_with_x509")
def test_a_device_by_thumbprint_is_created_and_updated(service: Any, new_id: Callable[..., str]) -> None:
    name = new_id()
    made = service.create_device_with_x509(name, SHA1, SHA256, "enabled")
    pair = made.authentication.x509_thumbprint
    assert (made.authentication.type, pair.primary_thumbprint, pair.secondary_thumbprint) == (
        "selfSigned",
        SHA1,
        SHA256,
    )
    assert made.authentication.symmetric_key.primary_key is None
    changed = service.update_device_with_x509(name, made.etag, SHA256, SHA1, "enabled")
    assert changed.authentication.x509_thumbprint.primary_thumbprint == SHA256
    refused(400, "ArgumentInvalid", service.create_device_with_x509, new_id(), "ABC", SHA256, "enabled")


@registry("create_device_with_certificate_authority", "update_device_with_certificate_authority")
def test_a_device_by_certificate_authority_is_created_and_changes_its_kind(
    service: Any, new_id: Callable[..., str]
) -> None:
    name = new_id()
    made = service.create_device_with_certificate_authority(name, "enabled")
    assert made.authentication.type == "certificateAuthority"
    changed = service.update_device_with_sas(name, made.etag, key(), key(), "enabled")
    assert changed.authentication.type == "sas"
    changed = service.update_device_with_certificate_authority(name, changed.etag, "disabled")
    assert (changed.authentication.type, changed.status) == ("certificateAuthority", "disabled")
    assert changed.authentication.symmetric_key.primary_key is None


def test_a_device_that_exists_is_not_made_twice(service: Any, new_id: Callable[..., str]) -> None:
    name = new_id()
    service.create_device_with_certificate_authority(name, "enabled")
    refused(409, "DeviceAlreadyExists", service.create_device_with_certificate_authority, name, "enabled")
    refused(404, "DeviceNotFound", service.update_device_with_certificate_authority, new_id(), "*", "enabled")
    refused(404, "DeviceNotFound", service.delete_device, new_id())


@registry("create_device_with_sas", "get_modules")
def test_an_edge_device_has_its_system_modules_and_a_scope_for_its_children(
    service: Any, new_id: Callable[..., str]
) -> None:
    edge, leaf = new_id("edge"), new_id()
    made = service.create_device_with_sas(edge, key(), key(), "enabled", iot_edge=True)
    assert made.capabilities.iot_edge is True
    assert made.device_scope == f"ms-azure-iot-edge://{edge}-{made.generation_id}"
    assert {module.module_id for module in service.get_modules(edge)} == {"$edgeAgent", "$edgeHub"}
    child = service.create_device_with_sas(leaf, key(), key(), "enabled", device_scope=made.device_scope)
    assert child.device_scope == made.device_scope
    assert child.parent_scopes == [made.device_scope]


@registry("get_devices", "get_device_registry_statistics", "get_service_statistics")
def test_devices_are_listed_and_counted(service: Any, new_id: Callable[..., str]) -> None:
    before = service.get_device_registry_statistics()
    names = {new_id(), new_id()}
    for name, status in zip(sorted(names), ("enabled", "disabled"), strict=True):
        service.create_device_with_certificate_authority(name, status)
    after = service.get_device_registry_statistics()
    assert after.total_device_count == before.total_device_count + 2
    assert after.enabled_device_count == before.enabled_device_count + 1
    assert after.disabled_device_count == before.disabled_device_count + 1
    assert names <= {device.device_id for device in service.get_devices(1000)}
    assert len(service.get_devices(1)) == 1
    assert service.get_service_statistics().connected_device_count >= 0


# -- modules -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def parent(service: Any, new_id: Callable[..., str]) -> str:
    name = new_id()
    service.create_device_with_certificate_authority(name, "enabled")
    return name


@registry(
    "create_module_with_sas",
    "create_module_with_x509",
    "create_module_with_certificate_authority",
    "get_module",
    "get_modules",
    "update_module_with_sas",
    "update_module_with_x509",
    "update_module_with_certificate_authority",
    "delete_module",
)
def test_modules_of_every_kind_are_created_read_updated_and_deleted(service: Any, parent: str) -> None:
    primary, secondary = key(), key()
    by_key = service.create_module_with_sas(parent, "by-key", "me", primary, secondary)
    pinned = service.create_module_with_x509(parent, "pinned", "me", SHA1, SHA256)
    signed = service.create_module_with_certificate_authority(parent, "signed", "me")
    assert [each.authentication.type for each in (by_key, pinned, signed)] == [
        "sas",
        "selfSigned",
        "certificateAuthority",
    ]
    assert (by_key.device_id, by_key.module_id, by_key.managed_by) == (parent, "by-key", "me")
    assert {module.module_id for module in service.get_modules(parent)} == {"by-key", "pinned", "signed"}
    read = service.get_module(parent, "by-key")
    assert read.authentication.symmetric_key.secondary_key == secondary
    changed = service.update_module_with_sas(parent, "by-key", "you", read.etag, secondary, primary)
    assert (changed.managed_by, changed.authentication.symmetric_key.primary_key) == ("you", secondary)
    refused(
        412, "PreconditionFailed", service.update_module_with_sas, parent, "by-key", "me", read.etag, primary, secondary
    )
    rolled = service.update_module_with_x509(parent, "pinned", "me", pinned.etag, SHA256, SHA1)
    assert rolled.authentication.x509_thumbprint.primary_thumbprint == SHA256
    service.update_module_with_certificate_authority(parent, "pinned", "me", rolled.etag)
    refused(
        409, "ModuleAlreadyExistsOnDevice", service.create_module_with_certificate_authority, parent, "signed", "me"
    )
    refused(412, "PreconditionFailed", service.delete_module, parent, "by-key", read.etag)
    service.delete_module(parent, "by-key", changed.etag)
    refused(404, "ModuleNotFound", service.get_module, parent, "by-key")
    service.delete_device(parent)
    refused(404, "NotFound", service.get_module, parent, "signed")


# -- twins -------------------------------------------------------------------------------------------------------------


def twin_calls(service: Any, parent: str, module: bool) -> tuple[Callable[..., Any], ...]:
    """(get, update, replace) of the device's twin or of a module's."""
    if not module:
        return (
            lambda: service.get_twin(parent),
            lambda twin, etag=None: service.update_twin(parent, twin, etag),
            lambda twin, etag=None: service.replace_twin(parent, twin, etag),
        )
    service.create_module_with_sas(parent, "m", "me", key(), key())
    return (
        lambda: service.get_module_twin(parent, "m"),
        lambda twin, etag=None: service.update_module_twin(parent, "m", twin, etag),
        lambda twin, etag=None: service.replace_module_twin(parent, "m", twin, etag),
    )


def changed_by(desired: dict[str, Any] | None = None, tags: dict[str, Any] | None = None) -> Any:
    return Twin(tags=tags, properties=None if desired is None else TwinProperties(desired=desired))


def members(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if not name.startswith("$")}


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(False, id="device", marks=registry("get_twin", "update_twin", "replace_twin")),
        pytest.param(True, id="module", marks=registry("get_module_twin", "update_module_twin", "replace_module_twin")),
    ],
)
def test_a_twin_is_merged_replaced_and_guarded_by_its_etag(service: Any, parent: str, module: bool) -> None:
    get, update, replace = twin_calls(service, parent, module)
    fresh = get()
    assert (fresh.etag, fresh.properties.desired["$version"], fresh.properties.reported["$version"]) == (
        "AAAAAAAAAAE=",
        1,
        1,
    )
    first = update(changed_by({"a": {"b": 1, "c": 2}, "list": [1, {"x": None}]}, {"site": "x", "line": 7}))
    assert members(first.properties.desired) == {"a": {"b": 1, "c": 2}, "list": [1, {"x": None}]}
    assert first.properties.desired["$metadata"]["a"]["b"]["$lastUpdatedVersion"] == 2
    second = update(changed_by({"a": {"b": None, "d": "Grüße"}}, {"line": None}), first.etag)
    assert members(second.properties.desired) == {"a": {"c": 2, "d": "Grüße"}, "list": [1, {"x": None}]}
    assert (second.tags, second.properties.desired["$version"]) == ({"site": "x"}, 3)
    refused(412, "412001", update, changed_by({"late": True}), first.etag)
    third = replace(changed_by({"only": 1}, {"only": "tag"}), second.etag)
    assert (members(third.properties.desired), third.tags) == ({"only": 1}, {"only": "tag"})
    assert third.version > second.version > first.version
    refused(412, "412001", replace, changed_by({"late": True}), first.etag)
    assert members(get().properties.desired) == {"only": 1}


def test_a_twin_that_breaks_a_rule_is_refused_and_unchanged(service: Any, parent: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(11):
        deep = {"x": deep}
    for broken in ({"a.b": 1}, {"text": "y" * 5000}, {"deep": deep}, {"number": 2**53}):
        refused(400, "400004", service.update_twin, parent, changed_by(broken))
    assert service.get_twin(parent).properties.desired["$version"] == 1


# -- who may ask -------------------------------------------------------------------------------------------------------


def policies(hub: Hub) -> dict[str, Any]:
    return {each["name"]: each for each in hub.request("GET", "/moorage/v1/policies")["hub"]}


def as_policy(hub: Hub, name: str, key: str) -> Any:
    """The SDK with another policy's key. The fixture `service` has set the trust."""
    text = f"HostName={hub.info.service_host};SharedAccessKeyName={name};SharedAccessKey={key}"
    return IoTHubRegistryManager.from_connection_string(text)


@pytest.mark.usefixtures("service")
def test_a_policy_opens_what_its_rights_name(hub: Hub, parent: str) -> None:
    held = policies(hub)
    for slot in ("primaryKey", "secondaryKey"):
        assert as_policy(hub, "registryRead", held["registryRead"][slot]).get_device(parent).device_id == parent
    reader = as_policy(hub, "registryRead", held["registryRead"]["primaryKey"])
    refused(401, "IotHubUnauthorizedAccess", reader.create_device_with_certificate_authority, "nobody", "enabled")
    refused(401, "401002", reader.get_twin, parent)
    caller = as_policy(hub, "service", held["service"]["primaryKey"])
    assert caller.get_twin(parent).device_id == parent
    refused(401, "IotHubUnauthorizedAccess", caller.get_device, parent)


@pytest.mark.usefixtures("service")
def test_a_wrong_key_and_an_unknown_policy_are_refused_alike(hub: Hub, parent: str) -> None:
    refused(401, "IotHubUnauthorizedAccess", as_policy(hub, "iothubowner", key()).get_device, parent)
    refused(401, "IotHubUnauthorizedAccess", as_policy(hub, "nobody", key()).get_device, parent)

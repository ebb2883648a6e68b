"""azure-iothub for Node as the back end, over REST. It knows port 443 and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.node.workshop import Workshop
from tests.e2e.sdk import pinned


@pytest.fixture
def service(workshop: Workshop) -> Callable[..., list[Any]]:
    """Carries out calls, each `[object, method, ...arguments]`; what came back, or the error."""
    if f":{workshop.hub.info.https_port}" in workshop.hub.connection_string:
        pytest.skip("the hub could not have port 443 here")

    def service(*calls: list[Any]) -> list[Any]:
        settings = {"IOTHUB_CONNECTION_STRING": workshop.hub.connection_string}
        said = workshop.run("service.js", settings=settings, given=json.dumps(calls))
        assert len(said) == len(calls)
        return [document.get("body", document) for document in said]

    return service


def test_devices_and_modules_are_made_changed_and_deleted(
    service: Callable[..., list[Any]], new_id: Callable[..., str]
) -> None:
    name = new_id()
    made, module, again, changed, found, modules = service(
        ["registry", "create", {"deviceId": name, "authentication": {"type": "certificateAuthority"}}],
        ["registry", "addModule", {"deviceId": name, "moduleId": "camera"}],
        ["registry", "create", {"deviceId": name}],
        ["registry", "update", {"deviceId": name, "status": "disabled", "statusReason": "for a test"}],
        ["registry", "get", name],
        ["registry", "getModulesOnDevice", name],
    )
    assert (made["deviceId"], made["authentication"]["type"]) == (name, "certificateAuthority")
    assert (module["moduleId"], module["authentication"]["type"]) == ("camera", "sas")
    assert (again["error"], again["status"]) == ("DeviceAlreadyExistsError", 409)
    assert (changed["status"], found["statusReason"]) == ("disabled", "for a test")
    assert [each["moduleId"] for each in modules] == ["camera"]
    gone = service(
        ["registry", "removeModule", name, "camera"], ["registry", "delete", name], ["registry", "get", name]
    )
    assert (gone[2]["error"], gone[2]["status"]) == ("DeviceNotFoundError", 404)


def test_twins_are_read_and_changed_with_their_etags(
    service: Callable[..., list[Any]], new_id: Callable[..., str]
) -> None:
    name = new_id()
    _, twin = service(["registry", "create", {"deviceId": name}], ["registry", "getTwin", name])
    patch = {"tags": {"hall": 3}, "properties": {"desired": {"interval": 5}}}
    changed, stale, forced = service(
        ["registry", "updateTwin", name, patch, twin["etag"]],
        ["registry", "updateTwin", name, patch, twin["etag"]],
        ["registry", "updateTwin", name, {"tags": {"hall": None}}, "*"],
    )
    assert (changed["tags"], changed["properties"]["desired"]["interval"]) == ({"hall": 3}, 5)
    assert stale["status"] == 412
    assert forced["tags"] == {}
    assert forced["properties"]["desired"]["$version"] == 2


def test_methods_reach_a_device_and_tell_when_there_is_none(
    service: Callable[..., list[Any]], workshop: Workshop, new_id: Callable[..., str]
) -> None:
    name = new_id()
    files = workshop.make("device", "mytesttalker")
    workshop.bench.create(name, pinned(files.certificate.sha256))
    ping = {"methodName": "echo", "payload": {"a": [1, None]}, "connectTimeoutInSeconds": 10}
    with workshop.start("conversing_device.js", workshop.by_certificate(name, files)) as device:
        device.next("ready")
        echoed, nothing = service(
            ["client", "invokeDeviceMethod", name, ping],
            ["client", "invokeDeviceMethod", name, {"methodName": "echo"}],
        )
        device.end()
    assert echoed == {"status": 200, "payload": {"a": [1, None]}}
    assert nothing == {"status": 200, "payload": None}
    (absent,) = service(["client", "invokeDeviceMethod", name, {"methodName": "echo"}])
    assert absent["status"] == 404

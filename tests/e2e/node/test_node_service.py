"""azure-iothub for Node as the back end, over REST: devices, modules, twins, methods, queries, bulk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from azure.iot.hub.sastoken import SasToken

from tests.compatibility import proves
from tests.e2e.node.backend import Backend, Failed, bearer, fails, kept
from tests.e2e.node.workshop import Workshop
from tests.e2e.sdk import pinned

CLIENT = "azure-iothub"
registry = partial(proves, CLIENT, "Registry")


# -- devices and modules -----------------------------------------------------------------------------------------------


@registry("create", "update", "get", "list", "delete")
def test_devices_are_made_changed_listed_and_deleted(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id()
    made = backend.registry("create", {"deviceId": name, "authentication": {"type": "certificateAuthority"}})
    assert (made["deviceId"], made["authentication"]["type"]) == (name, "certificateAuthority")
    fails(409, "DeviceAlreadyExistsError", backend.registry, "create", {"deviceId": name})
    changed = backend.registry("update", {"deviceId": name, "status": "disabled", "statusReason": "for a test"})
    assert (changed["status"], backend.registry("get", name)["statusReason"]) == ("disabled", "for a test")
    assert name in {each["deviceId"] for each in backend.registry("list")}
    backend.registry("delete", name)
    fails(404, "DeviceNotFoundError", backend.registry, "get", name)


@registry("create", "update")
def test_an_update_without_keys_leaves_the_keys(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id()
    made = backend.registry("create", {"deviceId": name})
    changed = backend.registry("update", {"deviceId": name, "status": "enabled"})
    assert changed["authentication"]["symmetricKey"] == made["authentication"]["symmetricKey"]


@registry("addModule", "getModulesOnDevice", "getModule", "updateModule", "removeModule")
def test_modules_are_made_changed_and_deleted(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id()
    backend.registry("create", {"deviceId": name})
    made = backend.registry("addModule", {"deviceId": name, "moduleId": "camera", "managedBy": "me"})
    assert (made["moduleId"], made["authentication"]["type"]) == ("camera", "sas")
    assert [each["moduleId"] for each in backend.registry("getModulesOnDevice", name)] == ["camera"]
    read = backend.registry("getModule", name, "camera")
    changed = backend.registry("updateModule", {**read, "managedBy": "you"})
    assert changed["managedBy"] == "you"
    fails(412, "InvalidEtagError", backend.registry, "updateModule", {**read, "managedBy": "late"})
    forced = backend.registry("updateModule", {**read, "managedBy": "all"}, True)
    assert forced["managedBy"] == "all"
    backend.registry("removeModule", name, "camera")
    assert backend.registry("getModulesOnDevice", name) == []


@registry("addDevices", "updateDevices", "removeDevices")
def test_devices_in_bulk(backend: Backend, new_id: Callable[..., str]) -> None:
    first, second = new_id(), new_id()
    both = [{"deviceId": name, "status": "enabled"} for name in (first, second)]
    made = backend.registry("addDevices", both)
    assert (made["isSuccessful"], made["errors"]) == (True, [])
    changed = backend.registry("updateDevices", [{**each, "status": "disabled"} for each in both], True)
    assert changed["isSuccessful"]
    assert backend.registry("get", second)["status"] == "disabled"
    fails(400, "ArgumentError", backend.registry, "addDevices", both)
    etag = backend.registry("get", first)["etag"]
    gone = backend.registry("removeDevices", [{"deviceId": first, "etag": etag}], False)
    assert gone["isSuccessful"]
    assert backend.registry("removeDevices", [{"deviceId": second}], True)["isSuccessful"]
    fails(404, "DeviceNotFoundError", backend.registry, "get", second)


@registry("getRegistryStatistics")
def test_devices_are_counted(backend: Backend, new_id: Callable[..., str]) -> None:
    before = backend.registry("getRegistryStatistics")["totalDeviceCount"]
    backend.registry("create", {"deviceId": new_id()})
    assert backend.registry("getRegistryStatistics")["totalDeviceCount"] == before + 1


# -- twins -------------------------------------------------------------------------------------------------------------


@registry("getTwin", "updateTwin", "getModuleTwin", "updateModuleTwin")
def test_twins_are_read_and_changed_with_their_etags(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id()
    backend.registry("create", {"deviceId": name})
    backend.registry("addModule", {"deviceId": name, "moduleId": "camera"})
    patch = {"tags": {"hall": 3}, "properties": {"desired": {"interval": 5}}}
    for read, update, path in (
        ("getTwin", "updateTwin", (name,)),
        ("getModuleTwin", "updateModuleTwin", (name, "camera")),
    ):
        twin = backend.registry(read, *path)
        changed = backend.registry(update, *path, patch, twin["etag"])
        assert (changed["tags"], changed["properties"]["desired"]["interval"]) == ({"hall": 3}, 5)
        fails(412, "InvalidEtagError", backend.registry, update, *path, patch, twin["etag"])
        forced = backend.registry(update, *path, {"tags": {"hall": None}}, "*")
        assert (forced["tags"], forced["properties"]["desired"]["$version"]) == ({}, 2)


@proves(CLIENT, "Twin", "get", "update", "toJSON")
def test_a_twin_object_reads_and_changes_itself(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id()
    backend.registry("create", {"deviceId": name})
    backend.registry("getTwin", name, keep="twin")
    changed = backend.do("twin", "update", {"tags": {"floor": 2}}, of="Twin")
    assert changed["tags"] == {"floor": 2}
    assert backend.do("twin", "get", of="Twin")["tags"] == {"floor": 2}
    assert backend.do("twin", "toJSON", of="Twin")["deviceId"] == name


# -- queries -----------------------------------------------------------------------------------------------------------


@registry("createQuery")
@proves(CLIENT, "Query", "next", "nextAsTwin")
def test_a_query_goes_on_page_by_page(backend: Backend, new_id: Callable[..., str]) -> None:
    hall, names = new_id("hall"), sorted(new_id("query") for _ in range(5))
    for name in names:
        backend.registry("create", {"deviceId": name})
        backend.registry("updateTwin", name, {"tags": {"hall": hall}}, "*")
    text = f"SELECT * FROM devices WHERE tags.hall = '{hall}'"
    for method in ("next", "nextAsTwin"):
        backend.registry("createQuery", text, 2, keep="query")
        pages = backend.pages("query", CLIENT, method)
        assert [len(page) for page in pages] == [2, 2, 1]
        assert sorted(twin["deviceId"] for page in pages for twin in page) == names
    backend.registry("createQuery", "SELECT * FROM devices WHERE", keep="query")
    fails(400, "ArgumentError", backend.pages, "query", CLIENT)


# -- methods -----------------------------------------------------------------------------------------------------------


@proves(CLIENT, "Client", "invokeDeviceMethod")
def test_methods_reach_a_device_and_tell_when_there_is_none(
    backend: Backend, workshop: Workshop, new_id: Callable[..., str]
) -> None:
    name = new_id()
    files = workshop.make("device", "mytesttalker")
    workshop.bench.create(name, pinned(files.certificate.sha256))
    ping = {"methodName": "echo", "payload": {"a": [1, None]}, "connectTimeoutInSeconds": 10}
    with workshop.start("conversing_device.js", workshop.by_certificate(name, files)) as device:
        device.next("ready")
        echoed = backend.client("invokeDeviceMethod", name, ping)
        nothing = backend.client("invokeDeviceMethod", name, {"methodName": "echo"})
        device.end()
    assert echoed == {"status": 200, "payload": {"a": [1, None]}}
    assert nothing == {"status": 200, "payload": None}
    fails(404, "Error", backend.client, "invokeDeviceMethod", name, {"methodName": "echo"})


# -- credentials -------------------------------------------------------------------------------------------------------


@registry("fromConnectionString", "fromSharedAccessSignature", "fromTokenCredential")
@proves(CLIENT, "JobClient", "fromConnectionString", "fromSharedAccessSignature", "fromTokenCredential")
@proves(CLIENT, "Client", "fromConnectionString", "fromSharedAccessSignature", "fromTokenCredential")
@proves(CLIENT, "Client", "setRetryPolicy")
def test_every_credential_opens_them(backend: Backend, workshop: Workshop, new_id: Callable[..., str]) -> None:
    hub, absent = workshop.hub, new_id()
    parts = dict(part.split("=", 1) for part in hub.connection_string.split(";"))
    token = str(SasToken(hub.hostname, parts["SharedAccessKey"], parts["SharedAccessKeyName"]))
    calls: dict[str, tuple[Any, ...]] = {
        "Registry": ("get", absent),
        "JobClient": ("getJob", absent),
        "Client": ("invokeDeviceMethod", absent, {"methodName": "x"}),
    }
    for made_by, arguments in (
        ("fromConnectionString", (hub.connection_string,)),
        ("fromSharedAccessSignature", (token,)),
        ("fromTokenCredential", (hub.hostname, bearer(hub))),
    ):
        for name, (method, *given) in calls.items():
            backend.do(name, made_by, *arguments, keep="made")
            with pytest.raises(Failed) as failed:
                backend.do("made", method, *given, of=name)
            assert failed.value.status == 404, (name, made_by, failed.value)
            if name == "Client":
                backend.do("made", "setRetryPolicy", kept("policy"), of=name)

"""What `az resource`, `az iot hub` and `az iot dps` send to the control plane, request by request (services.md 5.5).

Written down from how the commands work, and sent without any SDK: paths in their spelling, whole resources as they were
read, and the command line's own If-Match.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest

from tests.e2e.control.sdk import encoded, plant
from tests.e2e.service.sdk import OwnerToken
from tests.hubs import Hub

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
GROUP = f"{SUBSCRIPTION}/resourceGroups/moorage"
HUB = f"{GROUP}/providers/Microsoft.Devices/IotHubs/hub"
DPS = f"{GROUP}/providers/Microsoft.Devices/provisioningServices/dps"
SWITCHES = ("disableLocalAuth", "disableDeviceSAS", "disableModuleSAS")


@pytest.fixture(scope="module")
def az(control_hub: Hub) -> Iterator[httpx.Client]:
    bearer = OwnerToken(control_hub).get_token().token
    with httpx.Client(
        base_url=f"https://{control_hub.info.service_host}",
        verify=ssl.create_default_context(cafile=str(control_hub.ca_bundle)),
        headers={"Authorization": f"Bearer {bearer}", "Accept": "application/json"},
        params={"api-version": "2023-06-30-preview"},
        trust_env=False,
    ) as client:
        yield client


def answered(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def as_generic(resource: dict[str, Any]) -> dict[str, Any]:
    """What `az resource update` keeps of a resource when it writes it back."""
    kept = ("location", "tags", "plan", "properties", "kind", "managedBy", "sku", "identity", "extendedLocation")
    return {name: resource.get(name) for name in kept}


def test_a_session_begins_with_tenants_and_subscriptions(az: httpx.Client) -> None:
    (tenant,) = answered(az.get("/tenants"))["value"]
    (subscription,) = answered(az.get("/subscriptions"))["value"]
    assert (subscription["tenantId"], subscription["state"]) == (tenant["tenantId"], "Enabled")
    assert answered(az.get(subscription["id"]))["subscriptionId"] == subscription["subscriptionId"]
    (group,) = answered(az.get(f"{SUBSCRIPTION}/resourcegroups"))["value"]
    assert answered(az.get(group["id"])) == group
    assert az.head(f"{SUBSCRIPTION}/resourcegroups/moorage").status_code == 204
    assert answered(az.get(f"{SUBSCRIPTION}/locations"))["value"][0]["name"] == group["location"]
    found = answered(az.get(f"{SUBSCRIPTION}/resources"))["value"]
    assert [each["type"] for each in found] == ["Microsoft.Devices/IotHubs", "Microsoft.Devices/provisioningServices"]
    of_a_kind = {"$filter": "resourceType eq 'Microsoft.Devices/iotHubs' and name eq 'hub'"}
    (found,) = answered(az.get(f"{GROUP}/resources", params=of_a_kind))["value"]
    assert answered(az.get(found["id"]))["name"] == "hub"
    assert (
        answered(az.get(f"{GROUP}/resources", params={"$filter": "tagName eq 'x'"}), 400)["code"] == "ArgumentInvalid"
    )


@pytest.mark.parametrize("path", [HUB, DPS])
def test_az_resource_update_writes_back_all_that_it_read(az: httpx.Client, path: str) -> None:
    provider = answered(az.get(f"{SUBSCRIPTION}/providers/Microsoft.Devices"))
    kind = path.split("/")[-2]
    (versions,) = [each["apiVersions"] for each in provider["resourceTypes"] if each["resourceType"] == kind]
    version = {"api-version": next(each for each in versions if "preview" not in each)}
    before = answered(az.get(path, params=version))
    wanted = deepcopy(as_generic(before))
    wanted["tags"] = {"made": "by az"}
    if path == HUB:
        wanted["properties"] |= dict.fromkeys(SWITCHES, True)
    answer = az.put(path, params=version, json=wanted)
    after = answered(answer)
    assert "moorage-warning" not in answer.headers
    assert (after["tags"], after["properties"]["provisioningState"]) == ({"made": "by az"}, "Succeeded")
    if path == HUB:
        assert [after["properties"][switch] for switch in SWITCHES] == [True, True, True]
        patched = answered(az.patch(path, json={"properties": dict.fromkeys(SWITCHES, False)}))
        assert [patched["properties"][switch] for switch in SWITCHES] == [False, False, False]
    assert answered(az.put(path, params=version, json=as_generic(before)))["etag"] == before["etag"]


def test_members_that_nobody_here_knows_are_named_in_a_warning(az: httpx.Client) -> None:
    hub = answered(az.get(HUB))
    hub["properties"]["newFeature"] = {"isOn": True}
    hub["properties"]["nothing"] = None
    hub["extra"] = [1]
    answer = az.put(HUB, json={**hub, "location": "westeurope", "sku": {"name": "S3", "capacity": 200}})
    assert answered(answer)["etag"] == hub["etag"]
    assert answer.headers["moorage-warning"] == ("without effect here: location, sku, extra, properties.newFeature")


def test_az_iot_hub_update_finds_the_hub_and_writes_it_with_an_if_match_of_its_own(az: httpx.Client) -> None:
    (listed,) = answered(az.get(f"{SUBSCRIPTION}/providers/Microsoft.Devices/IotHubs"))["value"]
    assert az.head(f"{SUBSCRIPTION}/resourcegroups/{listed['resourcegroup']}").status_code == 204
    check = f"{SUBSCRIPTION}/providers/Microsoft.Devices/checkNameAvailability"
    assert answered(az.post(check, json={"name": listed["name"]}))["nameAvailable"] is False
    hub = answered(az.get(HUB))
    hub["properties"]["disableModuleSAS"] = True
    changed = answered(az.put(HUB, json=hub, headers={"If-Match": f"{{'IF-MATCH': '{hub['etag']}'}}"}))
    assert changed["properties"]["disableModuleSAS"] is True
    stale = az.put(HUB, json=hub, headers={"If-Match": f"{{'IF-MATCH': '{hub['etag']}'}}"})
    assert answered(stale, 412)["error"]["code"] == "PreconditionFailed"
    changed["properties"]["disableModuleSAS"] = False
    answered(az.put(HUB, json=changed, headers={"If-Match": "{'IF-MATCH': None}"}))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("cloudToDevice", {"maxDeliveryCount": 20}),
        ("cloudToDevice", {"defaultTtlAsIso8601": "PT2H"}),
        ("eventHubEndpoints", {"events": {"retentionTimeInDays": 3}}),
        ("storageEndpoints", {"$default": {"connectionString": "SharedAccessKey=k3y", "containerName": "c"}}),
        ("ipFilterRules", [{"filterName": "f", "action": "Reject", "ipMask": "10.0.0.0/8"}]),
        ("publicNetworkAccess", "Disabled"),
        ("networkRuleSets", {"defaultAction": "Deny"}),
    ],
)
def test_settings_that_would_be_ignored_are_refused(az: httpx.Client, member: str, value: Any) -> None:
    before = answered(az.get(HUB))
    error = answered(az.patch(HUB, json={"tags": {"no": "no"}, "properties": {member: value}}), 400)
    assert error["error"]["code"] == "PropertyChangeNotAllowed"
    assert f"properties.{member}" in error["message"] and "k3y" not in error["message"]
    assert answered(az.get(HUB)) == before


def test_file_notifications_are_switched_and_where_files_go_is_a_setting(az: httpx.Client) -> None:
    shown = answered(az.get(HUB))["properties"]
    assert shown["enableFileUploadNotifications"] is True
    assert shown["storageEndpoints"]["$default"]["sasTtlAsIso8601"] == "PT60M"
    assert shown["messagingEndpoints"]["fileNotifications"] == {
        "lockDurationAsIso8601": "PT60S",
        "ttlAsIso8601": "PT1H",
        "maxDeliveryCount": 10,
    }
    for on in (False, True):
        before = answered(az.get(HUB))["etag"]
        changed = answered(az.patch(HUB, json={"properties": {"enableFileUploadNotifications": on}}))
        assert changed["properties"]["enableFileUploadNotifications"] is on and changed["etag"] != before
    same = {"messagingEndpoints": {"fileNotifications": {"lockDurationAsIso8601": "PT1M"}}}
    answered(az.patch(HUB, json={"properties": same}))


def test_a_switch_that_the_provisioning_service_does_not_have_is_not_ignored(az: httpx.Client) -> None:
    error = answered(az.patch(DPS, json={"properties": {"disableLocalAuth": True}}), 400)
    assert error["error"]["code"] == "PropertyChangeNotAllowed"
    answered(az.patch(DPS, json={"properties": {"disableLocalAuth": False}}))


def test_settings_in_another_spelling_are_the_same(az: httpx.Client) -> None:
    before = answered(az.get(HUB))
    same = {
        "cloudToDevice": {"defaultTtlAsIso8601": "PT60M", "feedback": None},
        "publicNetworkAccess": "enabled",
        "storageEndpoints": {"$default": {"connectionString": "", "containerName": ""}},
        "disableLocalAuth": "False",
    }
    assert answered(az.patch(HUB, json={"properties": same})) == before


def test_az_iot_hub_policy_creates_renews_and_deletes(az: httpx.Client) -> None:
    def keys() -> list[dict[str, Any]]:
        return list(answered(az.post(f"{HUB}/listkeys"))["value"])

    def put(policies: list[dict[str, Any]]) -> None:
        hub = answered(az.get(HUB))
        hub["properties"]["authorizationPolicies"] = policies
        answered(az.put(HUB, json=hub, headers={"If-Match": f"{{'IF-MATCH': '{hub['etag']}'}}"}))

    put([*keys(), {"keyName": "reader", "rights": "RegistryRead"}])
    (made,) = [each for each in keys() if each["keyName"] == "reader"]
    swapped = {**made, "primaryKey": made["secondaryKey"], "secondaryKey": made["primaryKey"]}
    put([*(each for each in keys() if each["keyName"] != "reader"), swapped])
    assert answered(az.post(f"{HUB}/IotHubKeys/reader/listkeys")) == swapped
    put([each for each in keys() if each["keyName"] != "reader"])
    assert answered(az.post(f"{HUB}/IotHubKeys/reader/listkeys"), 404)["error"]["code"] == "PolicyNotFound"


def test_az_iot_dps_policy_creates_updates_and_deletes(az: httpx.Client) -> None:
    def keys() -> list[dict[str, Any]]:
        return list(answered(az.post(f"{DPS}/listkeys"))["value"])

    def put(policies: list[dict[str, Any]]) -> None:
        dps = answered(az.get(DPS))
        dps["properties"]["authorizationPolicies"] = policies
        answered(az.put(DPS, json=dps))

    put([*keys(), {"keyName": "enroller", "rights": "EnrollmentWrite,EnrollmentRead", "primaryKey": None}])
    enroller = answered(az.post(f"{DPS}/keys/enroller/listkeys"))
    assert enroller["rights"] == "EnrollmentRead, EnrollmentWrite"
    put([each | ({"rights": "EnrollmentRead"} if each["keyName"] == "enroller" else {}) for each in keys()])
    assert answered(az.post(f"{DPS}/keys/enroller/listkeys")) == {**enroller, "rights": "EnrollmentRead"}
    put([each for each in keys() if each["keyName"] != "enroller"])
    assert [each["keyName"] for each in keys()] == ["provisioningserviceowner"]


@pytest.mark.parametrize(("path", "is_nested"), [(HUB, True), (DPS, False)])
def test_az_certificate_creates_and_updates(az: httpx.Client, path: str, is_nested: bool) -> None:
    assert answered(az.get(f"{path}/certificates")) == {"value": []}
    ca, other = plant("one"), plant("two")

    def body(pem: str, verified: bool | None) -> dict[str, Any]:
        members = {"certificate": encoded(pem), "isVerified": verified}
        return {"properties": members} if is_nested else members

    created = answered(az.put(f"{path}/certificates/plant", json=body(ca.certificate.pem, None)))
    assert created["properties"]["isVerified"] is False
    etag = {"If-Match": created["etag"]}
    updated = answered(az.put(f"{path}/certificates/plant", json=body(other.certificate.pem, True), headers=etag))
    assert (updated["properties"]["isVerified"], updated["properties"]["thumbprint"]) == (
        True,
        other.certificate.sha1,
    )
    assert az.delete(f"{path}/certificates/plant", headers=etag).status_code == 412
    assert az.delete(f"{path}/certificates/plant", headers={"If-Match": updated["etag"]}).status_code == 204


@pytest.mark.parametrize("bearer", ["eyJhbGciOiJub25lIn0.e30.", "stub", ""])
@pytest.mark.parametrize(
    "path", ["/subscriptions", HUB, f"{HUB}/listkeys", DPS, "/providers/Microsoft.Devices/operations"]
)
def test_a_stub_bearer_opens_nothing(az: httpx.Client, bearer: str, path: str) -> None:
    method = "POST" if path.endswith("listkeys") else "GET"
    answer = az.request(method, path, headers={"Authorization": f"Bearer {bearer}".strip()})
    error = answered(answer, 401)
    assert error["error"]["code"] == "IotHubUnauthorizedAccess" and "value" not in error


def test_a_policy_key_does_not_open_the_control_plane(az: httpx.Client, control_hub: Hub) -> None:
    token = control_hub.moorage("token", "--policy", "iothubowner").strip()
    for path in (HUB, f"{HUB}/certificates", "/moorage/v1/policies"):
        assert az.get(path, headers={"Authorization": token}).status_code == 401

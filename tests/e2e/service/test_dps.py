"""azure-iot-deviceprovisioning: enrollments, groups and registrations, every operation of the package."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.iot.deviceprovisioning import DeviceProvisioningClient, generate_sas_token

from tests import certs
from tests.compatibility import claimed, proves, watched
from tests.e2e.sdk import Bench
from tests.e2e.service.sdk import OwnerToken, key, refused
from tests.hubs import Hub

CLIENT = "azure-iot-deviceprovisioning"
individual = partial(proves, CLIENT, "enrollment")
group = partial(proves, CLIENT, "enrollment_group")
state = partial(proves, CLIENT, "device_registration_state")
whole = partial(proves, CLIENT, "DeviceProvisioningClient")


class Dps:
    """The client's three groups of operations, with their calls noted."""

    def __init__(self, client: Any) -> None:
        self.enrollment = watched(client.enrollment, CLIENT, "enrollment")
        self.enrollment_group = watched(client.enrollment_group, CLIENT, "enrollment_group")
        self.state = watched(client.device_registration_state, CLIENT, "device_registration_state")


@pytest.fixture(scope="module")
def dps(hub: Hub) -> Dps:
    client = DeviceProvisioningClient.from_connection_string(
        hub.dps_connection_string, connection_verify=str(hub.ca_bundle)
    )
    return Dps(client)


def by_key(primary: str = "", secondary: str = "") -> dict[str, Any]:
    keys = {"primaryKey": primary, "secondaryKey": secondary} if primary else {}
    return {"type": "symmetricKey", "symmetricKey": keys}


def signed_by(pem: str) -> dict[str, Any]:
    return {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": pem}}}}


def pinned_to(pem: str) -> dict[str, Any]:
    return {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": pem}}}}


# -- individual enrollments --------------------------------------------------------------------------------------------


@individual("create_or_update", "get", "delete")
def test_an_enrollment_is_made_read_changed_and_deleted(dps: Dps, new_id: Callable[..., str]) -> None:
    name = new_id("enrollment")
    twin = {"tags": {"hall": 3}, "properties": {"desired": {"interval": 5}}}
    draft = {"registrationId": name, "attestation": by_key(), "deviceId": f"{name}-device", "initialTwin": twin}
    made = dps.enrollment.create_or_update(name, draft)
    assert (made["registrationId"], made["deviceId"], made["provisioningStatus"]) == (name, f"{name}-device", "enabled")
    assert (made["initialTwin"]["tags"]["hall"], made["allocationPolicy"]) == (3, "hashed")
    assert made["reprovisionPolicy"] == {"updateHubAssignment": True, "migrateDeviceData": True}
    refused(409, "409", dps.enrollment.create_or_update, name, draft)
    read = dps.enrollment.get(name)
    assert read["etag"] == made["etag"]
    # As it was read: without its keys, which stay.
    before = dps.enrollment.get_attestation_mechanism(name)
    changed = dps.enrollment.create_or_update(name, {**read, "provisioningStatus": "disabled"}, if_match=read["etag"])
    assert changed["provisioningStatus"] == "disabled"
    assert dps.enrollment.get_attestation_mechanism(name) == before
    refused(412, "412", dps.enrollment.create_or_update, name, read, if_match=read["etag"])
    forced = dps.enrollment.create_or_update(name, {**changed, "provisioningStatus": "enabled"}, if_match="*")
    refused(412, "412", dps.enrollment.delete, name, if_match=made["etag"])
    dps.enrollment.delete(name, if_match=forced["etag"])
    refused(404, "404201", dps.enrollment.get, name)


@individual("get_attestation_mechanism")
def test_keys_are_shown_by_the_attestation_mechanism_alone(dps: Dps, new_id: Callable[..., str]) -> None:
    name, primary, secondary = new_id("enrollment"), key(), key()
    dps.enrollment.create_or_update(name, {"registrationId": name, "attestation": by_key(primary, secondary)})
    shown = dps.enrollment.get_attestation_mechanism(name)
    assert shown["symmetricKey"] == {"primaryKey": primary, "secondaryKey": secondary}
    for document in (dps.enrollment.get(name), *dps.enrollment.query({"query": "SELECT *"})):
        assert primary not in str(document)


@individual("create_or_update", "get")
def test_a_certificate_is_shown_by_its_particulars(dps: Dps, new_id: Callable[..., str]) -> None:
    name = new_id("enrollment")
    leaf = certs.device(certs.root(f"Root of {name}"), name).certificate
    dps.enrollment.create_or_update(name, {"registrationId": name, "attestation": pinned_to(leaf.pem)})
    primary = dps.enrollment.get(name)["attestation"]["x509"]["clientCertificates"]["primary"]
    assert primary["info"]["sha256Thumbprint"].lower() == leaf.sha256.lower()
    assert len(primary["info"]) == 8
    assert not primary.get("certificate")


@individual("run_bulk_operation", "query")
def test_enrollments_are_made_and_deleted_in_bulk_and_queried(dps: Dps, new_id: Callable[..., str]) -> None:
    names = [new_id("bulk") for _ in range(3)]
    drafts = [{"registrationId": name, "attestation": by_key()} for name in names]
    made = dps.enrollment.run_bulk_operation({"mode": "create", "enrollments": drafts})
    assert (made["isSuccessful"], made["errors"]) == (True, [])
    again = dps.enrollment.run_bulk_operation({"mode": "create", "enrollments": drafts[:1]})
    assert again["isSuccessful"] is False
    assert [each["registrationId"] for each in again["errors"]] == names[:1]
    assert all(each["errorCode"] and each["errorStatus"] for each in again["errors"])
    pages = dps.enrollment.query({"query": "SELECT * FROM enrollments"}, top=2).by_page()
    found = [[each["registrationId"] for each in page] for page in pages]
    assert set(names) <= {name for page in found for name in page}
    assert len(found) > 1
    assert {len(page) for page in found[:-1]} == {2}
    gone = dps.enrollment.run_bulk_operation({"mode": "delete", "enrollments": drafts})
    assert gone["isSuccessful"]
    refused(404, "404201", dps.enrollment.get, names[0])


# -- groups ------------------------------------------------------------------------------------------------------------


@group("create_or_update", "get", "delete", "get_attestation_mechanism")
def test_a_group_is_made_read_changed_and_deleted(dps: Dps, new_id: Callable[..., str]) -> None:
    name = new_id("group")
    pem = certs.root(f"Root of {name}").certificate.pem
    made = dps.enrollment_group.create_or_update(name, {"enrollmentGroupId": name, "attestation": signed_by(pem)})
    assert made["enrollmentGroupId"] == name
    refused(409, "409", dps.enrollment_group.create_or_update, name, {**made})
    read = dps.enrollment_group.get(name)
    assert len(read["attestation"]["x509"]["signingCertificates"]["primary"]["info"]) == 8
    changed = dps.enrollment_group.create_or_update(
        name, {**read, "provisioningStatus": "disabled"}, if_match=read["etag"]
    )
    assert changed["provisioningStatus"] == "disabled"
    assert dps.enrollment_group.get(name)["attestation"] == read["attestation"]
    shown = dps.enrollment_group.get_attestation_mechanism(name)
    assert shown["x509"]["signingCertificates"]["primary"]["certificate"]
    refused(412, "412", dps.enrollment_group.delete, name, if_match=made["etag"])
    dps.enrollment_group.delete(name)
    refused(404, "404201", dps.enrollment_group.get, name)


@group("run_bulk_operation", "query")
def test_groups_are_made_and_deleted_in_bulk_and_queried(dps: Dps, new_id: Callable[..., str]) -> None:
    names = [new_id("bulk") for _ in range(2)]
    drafts = [{"enrollmentGroupId": name, "attestation": by_key()} for name in names]
    made = dps.enrollment_group.run_bulk_operation({"mode": "create", "enrollmentGroups": drafts})
    assert made["isSuccessful"], made
    found = list(dps.enrollment_group.query({"query": "SELECT * FROM enrollmentGroups"}))
    assert set(names) <= {each["enrollmentGroupId"] for each in found}
    gone = dps.enrollment_group.run_bulk_operation({"mode": "delete", "enrollmentGroups": drafts})
    assert gone["isSuccessful"], gone
    refused(404, "404201", dps.enrollment_group.get, names[0])


# -- registrations -----------------------------------------------------------------------------------------------------


@state("get", "query", "delete")
def test_a_registration_is_read_queried_and_forgotten(dps: Dps, bench: Bench, new_id: Callable[..., str]) -> None:
    name, plant = new_id("group"), certs.root(new_id("Root of registrations"))
    pem = plant.certificate.pem
    dps.enrollment_group.create_or_update(name, {"enrollmentGroupId": name, "attestation": signed_by(pem)})
    devices = sorted(new_id() for _ in range(2))
    for device in devices:
        result = bench.provisioning(device, x509=bench.x509(certs.device(plant, device))).register()
        assert result.status == "assigned"
    read = dps.state.get(devices[0])
    assert (read["registrationId"], read["status"], read["assignedHub"]) == (devices[0], "assigned", bench.hub.hostname)
    assert (read["deviceId"], read["substatus"]) == (devices[0], "initialAssignment")
    assert sorted(each["registrationId"] for each in dps.state.query(name)) == devices
    dps.state.delete(devices[0], if_match=read["etag"])
    refused(404, "404", dps.state.get, devices[0])
    assert [each["registrationId"] for each in dps.state.query(name)] == devices[1:]


# -- credentials, and that this is all ---------------------------------------------------------------------------------


@whole("from_connection_string")
def test_every_credential_of_the_client_opens_it(hub: Hub) -> None:
    host, trust = hub.info.service_host, {"connection_verify": str(hub.ca_bundle)}
    parts = dict(part.split("=", 1) for part in hub.dps_connection_string.split(";"))
    policy, secret = parts["SharedAccessKeyName"], parts["SharedAccessKey"]
    token = generate_sas_token(host, policy, secret)
    made = watched(DeviceProvisioningClient, CLIENT).from_connection_string(hub.dps_connection_string, **trust)
    credentials: tuple[Any, ...] = (
        AzureNamedKeyCredential(policy, secret),
        AzureSasCredential(token),
        OwnerToken(hub),
    )
    for client in (made, *(DeviceProvisioningClient(host, each, **trust) for each in credentials)):
        refused(404, "404201", client.enrollment.get, "nothing")
    stranger = DeviceProvisioningClient(host, AzureNamedKeyCredential(policy, key()), **trust)
    refused(401, "401002", stranger.enrollment.get, "nothing")


def test_every_operation_is_claimed(dps: Dps, hub: Hub) -> None:
    client = DeviceProvisioningClient.from_connection_string(hub.dps_connection_string)
    areas = {
        name: value for name, value in vars(client).items() if type(value).__module__.endswith("operations._patch")
    }
    offered = {
        (area, name)
        for area, value in areas.items()
        for name, _ in inspect.getmembers(value, callable)
        if not name.startswith("_") and name != "models"
    }
    assert len(offered) == 15
    here = inspect.getmodule(test_every_operation_is_claimed)
    assert here is not None
    assert claimed(CLIENT, here) == offered | {("DeviceProvisioningClient", "from_connection_string")}

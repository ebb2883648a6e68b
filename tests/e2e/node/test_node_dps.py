"""azure-iot-provisioning-service for Node: enrollments, groups, registrations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests import certs
from tests.compatibility import proves
from tests.e2e.node.backend import Backend, bearer, fails
from tests.e2e.node.workshop import Workshop
from tests.e2e.service.sdk import key

CLIENT = "azure-iot-provisioning-service"
does = partial(proves, CLIENT, "ProvisioningServiceClient")


def individual(name: str, **attestation: Any) -> dict[str, Any]:
    chosen = attestation or {"type": "symmetricKey", "symmetricKey": {"primaryKey": key(), "secondaryKey": key()}}
    return {"registrationId": name, "attestation": chosen}


def group(name: str, pem: str) -> dict[str, Any]:
    signing = {"primary": {"certificate": pem}}
    return {"enrollmentGroupId": name, "attestation": {"type": "x509", "x509": {"signingCertificates": signing}}}


@does("createOrUpdateIndividualEnrollment", "getIndividualEnrollment", "deleteIndividualEnrollment")
@does("getIndividualEnrollmentAttestationMechanism")
def test_an_enrollment_is_made_read_changed_and_deleted(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id("enrollment")
    draft = individual(name)
    made = backend.dps("createOrUpdateIndividualEnrollment", draft)
    assert (made["registrationId"], made["provisioningStatus"]) == (name, "enabled")
    fails(409, "DeviceAlreadyExistsError", backend.dps, "createOrUpdateIndividualEnrollment", draft)
    read = backend.dps("getIndividualEnrollment", name)
    assert draft["attestation"]["symmetricKey"]["primaryKey"] not in str(read)
    changed = backend.dps("createOrUpdateIndividualEnrollment", {**read, "provisioningStatus": "disabled"})
    assert changed["provisioningStatus"] == "disabled"
    shown = backend.dps("getIndividualEnrollmentAttestationMechanism", name)
    assert shown["symmetricKey"] == draft["attestation"]["symmetricKey"]
    fails(412, "InvalidEtagError", backend.dps, "deleteIndividualEnrollment", name, made["etag"])
    backend.dps("deleteIndividualEnrollment", changed)
    fails(404, "Error", backend.dps, "getIndividualEnrollment", name)


@does("createOrUpdateIndividualEnrollment", "deleteIndividualEnrollment")
def test_enrollments_that_nothing_can_use_yet_are_kept(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id("enrollment")
    draft = individual(name, type="tpm", tpm={"endorsementKey": key()})
    webhook = {"webhookUrl": "https://allocation.plant.example/api", "apiVersion": "2019-03-31"}
    more = {"allocationPolicy": "custom", "customAllocationDefinition": webhook}
    made = backend.dps("createOrUpdateIndividualEnrollment", {**draft, **more})
    assert (made["attestation"]["type"], made["customAllocationDefinition"]) == ("tpm", webhook)
    backend.dps("deleteIndividualEnrollment", name)
    near = backend.dps("createOrUpdateIndividualEnrollment", {**individual(name), "allocationPolicy": "geoLatency"})
    assert near["allocationPolicy"] == "geoLatency"


@does("createOrUpdateEnrollmentGroup", "getEnrollmentGroup", "deleteEnrollmentGroup")
@does("getEnrollmentGroupAttestationMechanism")
def test_a_group_is_made_read_changed_and_deleted(backend: Backend, new_id: Callable[..., str]) -> None:
    name = new_id("group")
    root = certs.root(f"Root of {name}").certificate
    made = backend.dps("createOrUpdateEnrollmentGroup", group(name, root.pem))
    read = backend.dps("getEnrollmentGroup", name)
    assert read["etag"] == made["etag"]
    info = read["attestation"]["x509"]["signingCertificates"]["primary"]["info"]
    assert info["sha256Thumbprint"].lower() == root.sha256.lower()
    changed = backend.dps("createOrUpdateEnrollmentGroup", {**read, "provisioningStatus": "disabled"})
    assert changed["provisioningStatus"] == "disabled"
    shown = backend.dps("getEnrollmentGroupAttestationMechanism", name)
    assert shown["x509"]["signingCertificates"]["primary"]["certificate"]
    backend.dps("deleteEnrollmentGroup", name, changed["etag"])
    fails(404, "Error", backend.dps, "getEnrollmentGroup", name)


@does("runBulkEnrollmentOperation", "createIndividualEnrollmentQuery", "createEnrollmentGroupQuery")
@proves(CLIENT, "Query", "next")
def test_enrollments_in_bulk_and_queries_page_by_page(backend: Backend, new_id: Callable[..., str]) -> None:
    names = [new_id("bulk") for _ in range(3)]
    drafts = [individual(name) for name in names]

    def in_bulk(mode: str) -> Any:
        """Its promise never settles."""
        operation = {"mode": mode, "enrollments": drafts}
        return backend.dps("runBulkEnrollmentOperation", operation, called_back=True)

    assert in_bulk("create")["isSuccessful"]
    again = in_bulk("create")
    assert (again["isSuccessful"], {each["registrationId"] for each in again["errors"]}) == (False, set(names))
    backend.dps("createIndividualEnrollmentQuery", {"query": "*"}, 2, keep="query")
    pages = backend.pages("query", CLIENT)
    assert set(names) <= {each["registrationId"] for page in pages for each in page}
    assert {len(page) for page in pages[:-1]} == {2}
    name = new_id("group")
    backend.dps("createOrUpdateEnrollmentGroup", group(name, certs.root(f"Root of {name}").certificate.pem))
    backend.dps("createEnrollmentGroupQuery", {"query": "*"}, keep="query")
    pages = backend.pages("query", CLIENT)
    assert name in {each["enrollmentGroupId"] for page in pages for each in page}
    assert in_bulk("delete")["isSuccessful"]


@does("getDeviceRegistrationState", "createEnrollmentGroupDeviceRegistrationStateQuery")
@does("deleteDeviceRegistrationState")
def test_a_registration_is_read_queried_and_forgotten(
    backend: Backend, workshop: Workshop, new_id: Callable[..., str]
) -> None:
    name, plant, device = new_id("group"), certs.root(new_id("Root of registrations")), new_id()
    backend.dps("createOrUpdateEnrollmentGroup", group(name, plant.certificate.pem))
    x509 = workshop.bench.x509(certs.device(plant, device))
    assert workshop.bench.provisioning(device, x509=x509).register().status == "assigned"
    read = backend.dps("getDeviceRegistrationState", device)
    assert (read["registrationId"], read["status"]) == (device, "assigned")
    backend.dps("createEnrollmentGroupDeviceRegistrationStateQuery", {"query": "*"}, name, keep="query")
    (page,) = backend.pages("query", CLIENT)
    assert [each["registrationId"] for each in page] == [device]
    backend.dps("deleteDeviceRegistrationState", device, read["etag"])
    fails(404, "Error", backend.dps, "getDeviceRegistrationState", device)


@does("fromConnectionString", "fromTokenCredential")
def test_every_credential_opens_it(backend: Backend, workshop: Workshop) -> None:
    hub = workshop.hub
    for made_by, arguments in (
        ("fromConnectionString", (hub.dps_connection_string,)),
        ("fromTokenCredential", (hub.hostname, bearer(hub))),
    ):
        backend.do("ProvisioningServiceClient", made_by, *arguments, keep="made")
        fails(404, "Error", backend.do, "made", "getIndividualEnrollment", "nothing")

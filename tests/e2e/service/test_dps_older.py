"""azure-iothub-provisioningserviceclient: the provisioning service's former Python client, every operation of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from provisioningserviceclient import (
    BULKOP_CREATE,
    BULKOP_DELETE,
    BulkEnrollmentOperation,
    ProvisioningServiceClient,
    QuerySpecification,
)
from provisioningserviceclient.models import AttestationMechanism, EnrollmentGroup, IndividualEnrollment, InitialTwin

from tests import certs
from tests.compatibility import breaks, claimed, proves, watched
from tests.e2e.sdk import Bench
from tests.e2e.service.sdk import key, refused
from tests.hubs import Hub

CLIENT = "azure-iothub-provisioningserviceclient"
does = partial(proves, CLIENT, "ProvisioningServiceClient")


@pytest.fixture(scope="module")
def dps(hub: Hub) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("REQUESTS_CA_BUNDLE", str(hub.ca_bundle))
        made = ProvisioningServiceClient.create_from_connection_string(hub.dps_connection_string)
        yield watched(made, CLIENT)


def by_certificate(name: str) -> Any:
    return AttestationMechanism.create_with_x509_client_certs(certs.device(certs.root(name), name).certificate.pem)


def signed_by(name: str) -> Any:
    return AttestationMechanism.create_with_x509_signing_certs(certs.root(name).certificate.pem)


def names(query: Any, member: str) -> list[list[str]]:
    """The ids on each page."""
    return [[getattr(each, member) for each in page] for page in query]


@does("create_or_update", "get_individual_enrollment", "get_individual_enrollment_attestation_mechanism", "delete")
def test_an_enrollment_is_made_read_changed_and_deleted(dps: Any, new_id: Callable[..., str]) -> None:
    name = new_id("enrollment")
    twin = InitialTwin.create(tags={"hall": 3}, desired_properties={"interval": 5})
    made = dps.create_or_update(
        IndividualEnrollment.create(name, by_certificate(name), device_id=f"{name}-device", initial_twin=twin)
    )
    assert (made.registration_id, made.device_id, made.provisioning_status) == (name, f"{name}-device", "enabled")
    refused(409, "409", dps.create_or_update, IndividualEnrollment.create(name, by_certificate(name)))
    read = dps.get_individual_enrollment(name)
    info = read.attestation.x509.client_certificates.primary.info
    assert (read.etag, info.subject_name) == (made.etag, f"CN={name}")
    read.provisioning_status = "disabled"
    changed = dps.create_or_update(read)
    assert changed.provisioning_status == "disabled"
    shown = dps.get_individual_enrollment_attestation_mechanism(name)
    assert shown.x509.client_certificates.primary.info.sha256_thumbprint == info.sha256_thumbprint
    refused(412, "412", dps.delete, read)
    dps.delete(changed)
    refused(404, "404201", dps.get_individual_enrollment, name)


@does("delete_individual_enrollment_by_param")
def test_an_enrollment_for_a_tpm_is_kept(dps: Any, new_id: Callable[..., str]) -> None:
    name, endorsement = new_id("enrollment"), key()
    dps.create_or_update(IndividualEnrollment.create(name, AttestationMechanism.create_with_tpm(endorsement)))
    read = dps.get_individual_enrollment(name)
    assert (read.attestation.type, read.attestation.tpm.endorsement_key) == ("tpm", endorsement)
    dps.delete_individual_enrollment_by_param(name)
    refused(404, "404201", dps.get_individual_enrollment, name)


@does("create_or_update", "get_enrollment_group", "get_enrollment_group_attestation_mechanism", "delete")
@does("delete_enrollment_group_by_param")
def test_a_group_is_made_read_changed_and_deleted(dps: Any, new_id: Callable[..., str]) -> None:
    name = new_id("group")
    made = dps.create_or_update(EnrollmentGroup.create(name, signed_by(f"Root of {name}")))
    read = dps.get_enrollment_group(name)
    assert (read.enrollment_group_id, read.etag) == (name, made.etag)
    read.provisioning_status = "disabled"
    changed = dps.create_or_update(read)
    assert changed.provisioning_status == "disabled"
    shown = dps.get_enrollment_group_attestation_mechanism(name)
    assert shown.x509.signing_certificates.primary.info.subject_name == f"CN=Root of {name}"
    dps.delete(changed)
    refused(404, "404201", dps.delete_enrollment_group_by_param, name)
    dps.create_or_update(EnrollmentGroup.create(name, signed_by(f"Root of {name}")))
    dps.delete_enrollment_group_by_param(name)
    refused(404, "404201", dps.get_enrollment_group, name)


@does("run_bulk_operation", "create_individual_enrollment_query", "create_enrollment_group_query")
def test_enrollments_in_bulk_and_queries_page_by_page(dps: Any, new_id: Callable[..., str]) -> None:
    made = sorted(new_id("bulk") for _ in range(3))
    enrollments = [IndividualEnrollment.create(name, by_certificate(name)) for name in made]
    assert dps.run_bulk_operation(BulkEnrollmentOperation(BULKOP_CREATE, enrollments)).is_successful
    again = dps.run_bulk_operation(BulkEnrollmentOperation(BULKOP_CREATE, enrollments[:1]))
    assert (again.is_successful, [each.registration_id for each in again.errors]) == (False, made[:1])
    pages = names(dps.create_individual_enrollment_query(QuerySpecification("SELECT *"), 2), "registration_id")
    assert set(made) <= {name for page in pages for name in page}
    assert {len(page) for page in pages[:-1]} == {2}
    group = new_id("group")
    dps.create_or_update(EnrollmentGroup.create(group, signed_by(f"Root of {group}")))
    pages = names(dps.create_enrollment_group_query(QuerySpecification("SELECT *")), "enrollment_group_id")
    assert group in {name for page in pages for name in page}
    assert dps.run_bulk_operation(BulkEnrollmentOperation(BULKOP_DELETE, enrollments)).is_successful


@does("get_registration_state", "delete_registration_state_by_param", "delete")
def test_a_registration_is_read_and_forgotten(dps: Any, bench: Bench, new_id: Callable[..., str]) -> None:
    name, plant = new_id("group"), certs.root(new_id("Root of registrations"))
    signing = AttestationMechanism.create_with_x509_signing_certs(plant.certificate.pem)
    dps.create_or_update(EnrollmentGroup.create(name, signing))
    device = new_id()
    x509 = bench.x509(certs.device(plant, device))
    assert bench.provisioning(device, x509=x509).register().status == "assigned"
    read = dps.get_registration_state(device)
    assert (read.registration_id, read.status, read.device_id) == (device, "assigned", device)
    dps.delete(read)
    refused(404, "404", dps.get_registration_state, device)
    assert bench.provisioning(device, x509=x509).register().status == "assigned"
    dps.delete_registration_state_by_param(device)
    refused(404, "404", dps.get_registration_state, device)


@breaks(
    CLIENT,
    "ProvisioningServiceClient",
    "create_registration_state_query",
    because="it gives its own code one argument too many, and never asks",
)
def test_the_query_for_registrations_breaks_inside_the_client(dps: Any) -> None:
    query = dps.create_registration_state_query("any group")
    with pytest.raises(TypeError, match="multiple values for argument 'raw'"):
        query.next()


@does("create_from_connection_string")
@pytest.mark.usefixtures("dps")
def test_a_connection_string_is_all_it_takes(hub: Hub) -> None:
    made = watched(ProvisioningServiceClient, CLIENT).create_from_connection_string(hub.dps_connection_string)
    refused(404, "404201", made.get_individual_enrollment, "nothing")


def test_every_operation_is_claimed() -> None:
    offered = {
        ("ProvisioningServiceClient", name)
        for name, _ in inspect.getmembers(ProvisioningServiceClient, callable)
        if not name.startswith("_")
    }
    assert len(offered) == 15
    here = inspect.getmodule(test_every_operation_is_claimed)
    assert here is not None
    assert claimed(CLIENT, here) == offered

"""azure-mgmt-iothubprovisioningservices: every operation of the package, against a hub instead of Azure."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.mgmt.iothubprovisioningservices import IotDpsClient
from azure.mgmt.iothubprovisioningservices import models as m

from moorage.pki.issue import issue_verification
from tests.compatibility import claimed, proves, refuses
from tests.e2e.control.sdk import GROUP, SUBSCRIPTION, Plane, encoded, made, operations_of, plant
from tests.e2e.control.test_mgmt_iothub import NOT_THERE, UNKNOWN, StubToken
from tests.e2e.service.sdk import key, refused
from tests.hubs import Hub

CLIENT = "azure-mgmt-iothubprovisioningservices"
dps_does = partial(proves, CLIENT, "iot_dps_resource")
dps_refuses = partial(refuses, CLIENT, "iot_dps_resource")

DPS = "dps"


@pytest.fixture(scope="module")
def client(control_hub: Hub) -> Iterator[Any]:
    with made(IotDpsClient, control_hub) as client:
        yield client


@pytest.fixture(scope="module")
def plane(client: Any) -> Plane:
    return Plane(client, CLIENT)


def read(plane: Plane) -> Any:
    return plane.iot_dps_resource.get(DPS, GROUP)


def write(plane: Plane, dps: Any) -> Any:
    return plane.iot_dps_resource.begin_create_or_update(GROUP, DPS, dps).result()


def test_a_stub_bearer_is_refused(control_hub: Hub) -> None:
    with made(IotDpsClient, control_hub, StubToken()) as stranger:
        with pytest.raises(ClientAuthenticationError) as failed:
            stranger.iot_dps_resource.get(DPS, GROUP)
        assert failed.value.status_code == 401


# -- the resource ------------------------------------------------------------------------------------------------------


@dps_does("get", "list_by_resource_group", "list_by_subscription", "list_valid_skus")
@proves(CLIENT, "operations", "list")
def test_the_service_is_read_and_listed(plane: Plane, control_hub: Hub) -> None:
    dps = read(plane)
    kind = "providers/Microsoft.Devices/provisioningServices"
    assert dps.id == f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/{kind}/{DPS}"
    assert (dps.properties.state, dps.properties.id_scope) == ("Active", control_hub.id_scope)
    assert dps.properties.device_provisioning_host_name == control_hub.hostname
    (own,) = dps.properties.iot_hubs
    assert own.name == control_hub.hostname
    assert "SharedAccessKey=****" in own.connection_string
    for listed in (plane.iot_dps_resource.list_by_resource_group(GROUP), plane.iot_dps_resource.list_by_subscription()):
        assert [each.etag for each in listed] == [dps.etag]
    assert [each.name for each in plane.iot_dps_resource.list_valid_skus(DPS, GROUP)] == ["S1"]
    assert "Microsoft.Devices/provisioningServices/Read" in {each.name for each in plane.operations.list()}
    with pytest.raises(ResourceNotFoundError):
        plane.iot_dps_resource.get("other", GROUP)


@dps_does("begin_create_or_update")
def test_the_service_is_written_as_it_was_read_with_what_differs(plane: Plane) -> None:
    before = read(plane)
    assert write(plane, before).etag == before.etag
    before.tags = {"line": "7"}
    changed = write(plane, before)
    assert changed.tags == {"line": "7"}
    refused(412, "PreconditionFailed", write, plane, before)
    changed.properties.public_network_access = "Disabled"
    refused(400, "properties.publicNetworkAccess", write, plane, changed)


@dps_does("begin_create_or_update")
def test_hubs_are_linked_weighted_and_taken_out(plane: Plane) -> None:
    dps = read(plane)
    own = dps.properties.iot_hubs[0]
    secret = key()
    other = f"HostName=east.example;SharedAccessKeyName=iothubowner;SharedAccessKey={secret}"
    dps.properties.iot_hubs.append(
        m.IotHubDefinitionDescription(connection_string=other, location="east", allocation_weight=3)
    )
    dps.properties.allocation_policy = "Static"
    changed = write(plane, dps).properties
    assert changed.allocation_policy == "Static"
    assert [(each.name, each.allocation_weight) for each in changed.iot_hubs] == [(own.name, 1), ("east.example", 3)]
    assert secret not in str([each.as_dict() for each in changed.iot_hubs])
    # Written back with the key hidden, it is kept.
    dps = read(plane)
    dps.properties.iot_hubs[1].apply_allocation_policy = False
    assert write(plane, dps).properties.iot_hubs[1].apply_allocation_policy is False
    dps = read(plane)
    dps.properties.iot_hubs = dps.properties.iot_hubs[:1]
    dps.properties.allocation_policy = "Hashed"
    after = write(plane, dps).properties
    assert ([each.name for each in after.iot_hubs], after.allocation_policy) == ([own.name], "Hashed")
    dps = read(plane)
    dps.tags = {"half": "written"}
    dps.properties.iot_hubs.append(m.IotHubDefinitionDescription(connection_string="HostName=x", location="x"))
    with pytest.raises(HttpResponseError, match="SharedAccessKeyName") as failed:
        write(plane, dps)
    assert failed.value.status_code == 400
    assert "half" not in (read(plane).tags or {})


@dps_does("begin_update")
def test_tags_are_replaced(plane: Plane) -> None:
    update = plane.iot_dps_resource.begin_update
    assert update(GROUP, DPS, m.TagsResource(tags={"a": "1"})).result().tags == {"a": "1"}
    assert update(GROUP, DPS, m.TagsResource(tags={})).result().tags == {}


@dps_refuses("begin_delete", answer="409, CannotDeleteResource: it goes with its hub's data folder")
def test_the_service_is_not_deleted_over_its_own_api(plane: Plane) -> None:
    refused(409, "CannotDeleteResource", plane.iot_dps_resource.begin_delete, DPS, GROUP)


@dps_does("check_provisioning_service_name_availability")
def test_a_name_is_taken_or_not_to_be_had(plane: Plane) -> None:
    check = plane.iot_dps_resource.check_provisioning_service_name_availability
    assert (check(m.OperationInputs(name=DPS)).name_available, check(m.OperationInputs(name=DPS)).reason) == (
        False,
        "AlreadyExists",
    )
    assert check(m.OperationInputs(name="other")).reason == "Invalid"


# -- policies ----------------------------------------------------------------------------------------------------------


@dps_does("list_keys", "list_keys_for_key_name", "begin_create_or_update")
def test_policies_are_added_changed_rolled_and_taken_out(plane: Plane, control_hub: Hub) -> None:
    def keys() -> dict[str, Any]:
        return {each.key_name: each for each in plane.iot_dps_resource.list_keys(DPS, GROUP)}

    def put(policies: list[Any]) -> None:
        dps = read(plane)
        dps.properties.authorization_policies = policies
        write(plane, dps)

    before = keys()
    rule = m.SharedAccessSignatureAuthorizationRuleAccessRightsDescription
    put([*before.values(), rule(key_name="line-7", rights="EnrollmentRead,EnrollmentWrite")])
    added = plane.iot_dps_resource.list_keys_for_key_name(DPS, "line-7", GROUP)
    assert added.rights == "EnrollmentRead, EnrollmentWrite" and added.primary_key
    owner = keys()["provisioningserviceowner"]
    owner.primary_key, owner.secondary_key = owner.secondary_key, owner.primary_key
    put([owner])
    assert keys().keys() == before.keys()
    (environment,) = control_hub.ask("env", "--format", "json")
    assert environment["DPS_CONNECTION_STRING"].endswith(f"SharedAccessKey={owner.primary_key}")


# -- certificates ------------------------------------------------------------------------------------------------------


@proves(
    CLIENT,
    "dps_certificate",
    "list",
    "create_or_update",
    "get",
    "generate_verification_code",
    "verify_certificate",
    "delete",
)
def test_a_ca_is_registered_proven_and_distrusted(plane: Plane) -> None:
    certificates, ca = plane.dps_certificate, plant("dps")
    body = m.CertificateBodyDescription(certificate=encoded(ca.certificate.pem))
    created = certificates.create_or_update(GROUP, DPS, "plant", body)
    assert created.properties.is_verified is False
    assert bytes(created.properties.certificate) == ca.certificate.der
    assert [each.name for each in certificates.list(GROUP, DPS).value] == ["plant"]
    coded = certificates.generate_verification_code("plant", created.etag, GROUP, DPS, certificate_nonce="ignored")
    proof = issue_verification(ca.certificate, ca.key, coded.properties.verification_code, now=datetime.now(UTC))
    request = m.VerificationCodeRequest(certificate=encoded(proof.pem))
    proven = certificates.verify_certificate("plant", coded.etag, GROUP, DPS, request)
    assert proven.properties.is_verified is True
    assert certificates.get("plant", GROUP, DPS).etag == proven.etag
    certificates.delete(GROUP, proven.etag, DPS, "plant")
    with pytest.raises(ResourceNotFoundError):
        certificates.get("plant", GROUP, DPS)


# -- what there is not -------------------------------------------------------------------------------------------------


@dps_does("list_private_link_resources", "list_private_endpoint_connections")
@dps_refuses("begin_create_or_update_private_endpoint_connection", answer=NOT_THERE)
@dps_refuses(
    "get_private_link_resources",
    "get_private_endpoint_connection",
    "begin_delete_private_endpoint_connection",
    answer=UNKNOWN,
)
@dps_refuses("get_operation_result", answer="404, OperationNotFound: everything is done when it is answered")
def test_what_there_is_not_is_said(plane: Plane) -> None:
    services = plane.iot_dps_resource
    assert services.list_private_link_resources(GROUP, DPS).value == []
    assert services.list_private_endpoint_connections(GROUP, DPS) == []
    state = m.PrivateLinkServiceConnectionState(status="Approved", description="")
    wanted = m.PrivateEndpointConnection(
        properties=m.PrivateEndpointConnectionProperties(private_link_service_connection_state=state)
    )
    connect = services.begin_create_or_update_private_endpoint_connection
    refused(403, "OperationNotAvailableInCurrentTier", connect, GROUP, DPS, "p", wanted)
    for call in (
        services.get_private_link_resources,
        services.get_private_endpoint_connection,
        services.begin_delete_private_endpoint_connection,
    ):
        refused(404, "ResourceNotFound", call, GROUP, DPS, "p")
    refused(404, "OperationNotFound", services.get_operation_result, "o", GROUP, DPS)


def test_every_operation_is_claimed(client: Any) -> None:
    here = inspect.getmodule(test_every_operation_is_claimed)
    assert here is not None
    offered = operations_of(client)
    assert len(offered) > 20
    assert claimed(CLIENT, here) == offered

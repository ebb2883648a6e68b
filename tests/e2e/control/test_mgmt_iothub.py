"""azure-mgmt-iothub: every operation of the package, against a hub instead of Azure."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.mgmt.iothub import IotHubClient
from azure.mgmt.iothub import models as m

from moorage.pki.issue import issue_verification
from tests.compatibility import claimed, proves, refuses
from tests.e2e.control.sdk import GROUP, SUBSCRIPTION, Plane, encoded, made, operations_of, plant
from tests.e2e.sdk import until
from tests.e2e.service.sdk import container, refused
from tests.hubs import Hub

CLIENT = "azure-mgmt-iothub"
hub_does = partial(proves, CLIENT, "iot_hub_resource")
hub_refuses = partial(refuses, CLIENT, "iot_hub_resource")
NOT_THERE = "403010, OperationNotAvailableInCurrentTier: there is no such thing here"
UNKNOWN = "404, ResourceNotFound: there is none"

HUB = "hub"


@pytest.fixture(scope="module")
def client(control_hub: Hub) -> Iterator[Any]:
    with made(IotHubClient, control_hub) as client:
        yield client


@pytest.fixture(scope="module")
def plane(client: Any) -> Plane:
    return Plane(client, CLIENT)


def read(plane: Plane) -> Any:
    return plane.iot_hub_resource.get(GROUP, HUB)


def write(plane: Plane, hub: Any, etag: Any = None) -> Any:
    return plane.iot_hub_resource.begin_create_or_update(GROUP, HUB, hub, etag).result()


def rule(name: str, rights: str, primary: str | None = None, secondary: str | None = None) -> Any:
    return m.SharedAccessSignatureAuthorizationRule(
        key_name=name, rights=rights, primary_key=primary, secondary_key=secondary
    )


# -- who may -----------------------------------------------------------------------------------------------------------


class StubToken:
    """What a login at some other authority gives (decisions T11)."""

    def get_token(self, *_scopes: str, **_more: Any) -> AccessToken:
        claims = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL21hbmFnZW1lbnQuYXp1cmUuY29tLyJ9."
        return AccessToken(claims, int(datetime.now(UTC).timestamp()) + 600)


def test_a_stub_bearer_is_refused(control_hub: Hub) -> None:
    with made(IotHubClient, control_hub, StubToken()) as stranger:
        for call in (
            lambda: stranger.iot_hub_resource.get(GROUP, HUB),
            lambda: list(stranger.iot_hub_resource.list_keys(GROUP, HUB)),
            lambda: stranger.operations.list().next(),
        ):
            with pytest.raises(ClientAuthenticationError) as failed:
                call()
            assert failed.value.status_code == 401


# -- the resource ------------------------------------------------------------------------------------------------------


@hub_does("get", "list_by_resource_group", "list_by_subscription")
def test_the_hub_is_read_and_listed(plane: Plane, control_hub: Hub) -> None:
    hub = read(plane)
    assert hub.id == f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Devices/IotHubs/{HUB}"
    assert (hub.properties.state, hub.properties.provisioning_state) == ("Active", "Succeeded")
    assert hub.properties.host_name == control_hub.hostname
    assert hub.properties.event_hub_endpoints["events"].partition_ids == ["0", "1", "2", "3"]
    assert {each.key_name for each in hub.properties.authorization_policies} >= {"iothubowner", "service", "device"}
    assert all(each.primary_key is None for each in hub.properties.authorization_policies)
    (listed,) = plane.iot_hub_resource.list_by_resource_group(GROUP)
    assert listed.etag == hub.etag
    (listed,) = plane.iot_hub_resource.list_by_subscription()
    # Without a group, tools take it from here.
    assert listed.additional_properties["resourcegroup"] == "moorage"
    with pytest.raises(ResourceNotFoundError):
        plane.iot_hub_resource.get(GROUP, "other")


@hub_does("begin_create_or_update")
def test_the_hub_is_written_as_it_was_read_with_what_differs(plane: Plane) -> None:
    before = read(plane)
    assert write(plane, before).etag == before.etag
    before.properties.disable_device_sas = True
    before.tags = {"site": "north"}
    changed = write(plane, before, before.etag)
    assert (changed.properties.disable_device_sas, changed.tags) == (True, {"site": "north"})
    assert changed.etag != before.etag
    refused(412, "PreconditionFailed", write, plane, before, before.etag)
    # The body's own etag is that of a hub that was changed since.
    refused(412, "PreconditionFailed", write, plane, before)
    changed.properties.disable_device_sas = False
    after = write(plane, changed, changed.etag)
    assert (after.properties.disable_device_sas, after.tags) == (False, {"site": "north"})


@hub_does("begin_create_or_update")
def test_what_a_hub_does_not_have_is_refused_by_name_and_nothing_of_the_rest_is_done(plane: Plane) -> None:
    hub = read(plane)
    hub.tags = {"never": "written"}
    queue = m.RoutingServiceBusQueueEndpointProperties(name="q", endpoint_uri="sb://other.example")
    hub.properties.routing.endpoints.service_bus_queues = [queue]
    with pytest.raises(HttpResponseError, match=r"properties\.routing\.endpoints") as failed:
        write(plane, hub)
    assert failed.value.status_code == 400
    assert "never" not in (read(plane).tags or {})
    hub = read(plane)
    hub.properties.min_tls_version = "1.0"
    refused(400, "properties.minTlsVersion", write, plane, hub)
    # Who knows nothing of what it does not say changes none of it.
    bare = m.IotHubDescription(location="westeurope", sku=m.IotHubSkuInfo(name="S1", capacity=1))
    assert write(plane, bare).etag == read(plane).etag


@hub_does("begin_update")
def test_tags_are_replaced(plane: Plane) -> None:
    update = plane.iot_hub_resource.begin_update
    assert update(GROUP, HUB, m.TagsResource(tags={"a": "1", "b": "2"})).result().tags == {"a": "1", "b": "2"}
    assert update(GROUP, HUB, m.TagsResource(tags={"b": "3"})).result().tags == {"b": "3"}
    assert read(plane).tags == {"b": "3"}
    refused(413, "tag", update, GROUP, HUB, m.TagsResource(tags={f"t{n}": "" for n in range(51)}))


@hub_refuses("begin_delete", answer="409, CannotDeleteResource: a hub goes with its data folder")
def test_the_hub_is_not_deleted_over_its_own_api(plane: Plane) -> None:
    refused(409, "CannotDeleteResource", plane.iot_hub_resource.begin_delete, GROUP, HUB)
    assert read(plane).properties.state == "Active"


def test_another_hub_is_not_made(plane: Plane) -> None:
    other = m.IotHubDescription(location="x", sku=m.IotHubSkuInfo(name="S1", capacity=1))
    refused(409, "moorage up", plane.iot_hub_resource.begin_create_or_update, GROUP, "other", other)


@hub_does("check_name_availability")
def test_a_name_is_taken_or_not_to_be_had(plane: Plane) -> None:
    asked = plane.iot_hub_resource.check_name_availability(m.OperationInputs(name=HUB))
    assert (asked.name_available, asked.reason) == (False, "AlreadyExists")
    asked = plane.iot_hub_resource.check_name_availability(m.OperationInputs(name="other"))
    assert (asked.name_available, asked.reason) == (False, "Invalid")


# -- policies ----------------------------------------------------------------------------------------------------------


@hub_does("list_keys", "get_keys_for_key_name", "begin_create_or_update")
def test_policies_are_added_changed_rolled_and_taken_out(plane: Plane, control_hub: Hub) -> None:
    def keys() -> dict[str, Any]:
        return {each.key_name: each for each in plane.iot_hub_resource.list_keys(GROUP, HUB)}

    def put(policies: list[Any]) -> None:
        hub = read(plane)
        hub.properties.authorization_policies = policies
        write(plane, hub, hub.etag)

    before = keys()
    put([*before.values(), rule("dashboard", "ServiceConnect")])
    made = keys()["dashboard"]
    assert made.rights == "ServiceConnect" and made.primary_key and made.primary_key != made.secondary_key
    assert {name: each.primary_key for name, each in keys().items() if name != "dashboard"} == {
        name: each.primary_key for name, each in before.items()
    }
    # Keys that are not said stay; rights come in any order, with or without a space.
    put([*before.values(), rule("dashboard", "ServiceConnect,RegistryRead", primary=before["device"].secondary_key)])
    changed = plane.iot_hub_resource.get_keys_for_key_name(GROUP, HUB, "dashboard")
    assert changed.rights == "RegistryRead, ServiceConnect"
    assert (changed.primary_key, changed.secondary_key) == (before["device"].secondary_key, made.secondary_key)
    put(list(before.values()))
    assert keys().keys() == before.keys()
    with pytest.raises(ResourceNotFoundError, match="dashboard"):
        plane.iot_hub_resource.get_keys_for_key_name(GROUP, HUB, "dashboard")
    refused(409, "iothubowner", put, [each for name, each in before.items() if name != "iothubowner"])
    refused(400, "RegistryReed", put, [*before.values(), rule("typo", "RegistryReed")])
    assert keys().keys() == before.keys()


@hub_does("begin_create_or_update")
def test_a_rolled_owner_key_is_the_one_that_env_gives(plane: Plane, control_hub: Hub) -> None:
    hub, keys = read(plane), list(plane.iot_hub_resource.list_keys(GROUP, HUB))
    (owner,) = [each for each in keys if each.key_name == "iothubowner"]
    owner.primary_key = keys[0].secondary_key if keys[0] is not owner else keys[1].secondary_key
    hub.properties.authorization_policies = keys
    write(plane, hub, hub.etag)
    (environment,) = control_hub.ask("env", "--format", "json")
    assert environment["IOTHUB_CONNECTION_STRING"].endswith(f"SharedAccessKey={owner.primary_key}")


# -- certificates ------------------------------------------------------------------------------------------------------


@proves(
    CLIENT,
    "certificates",
    "list_by_iot_hub",
    "create_or_update",
    "get",
    "generate_verification_code",
    "verify",
    "delete",
)
def test_a_ca_is_registered_proven_and_distrusted(plane: Plane) -> None:
    certificates, ca = plane.certificates, plant("hub")
    body = m.CertificateDescription(properties=m.CertificateProperties(certificate=encoded(ca.certificate.pem)))
    created = certificates.create_or_update(GROUP, HUB, "plant", body)
    assert created.properties.is_verified is False
    assert created.properties.expiry == ca.certificate.not_after
    assert [each.name for each in certificates.list_by_iot_hub(GROUP, HUB).value] == ["plant"]
    coded = certificates.generate_verification_code(GROUP, HUB, "plant", created.etag)
    proof = issue_verification(ca.certificate, ca.key, coded.properties.verification_code, now=datetime.now(UTC))
    verification = m.CertificateVerificationDescription(certificate=encoded(proof.pem))
    proven = certificates.verify(GROUP, HUB, "plant", coded.etag, verification)
    assert proven.properties.is_verified is True
    assert certificates.get(GROUP, HUB, "plant").etag == proven.etag
    refused(412, "PreconditionFailed", certificates.delete, GROUP, HUB, "plant", created.etag)
    certificates.delete(GROUP, HUB, "plant", proven.etag)
    with pytest.raises(ResourceNotFoundError):
        certificates.get(GROUP, HUB, "plant")


# -- figures -----------------------------------------------------------------------------------------------------------


@hub_does("get_stats", "get_quota_metrics", "get_valid_skus", "get_endpoint_health")
@proves(CLIENT, "resource_provider_common", "get_subscription_quota")
@proves(CLIENT, "operations", "list")
def test_figures_are_those_of_the_hub(plane: Plane, control_hub: Hub) -> None:
    before = plane.iot_hub_resource.get_stats(GROUP, HUB)
    for name, status in (("figure-1", "enabled"), ("figure-2", "disabled")):
        control_hub.request("PUT", f"/devices/{name}", body={"deviceId": name, "status": status})
    after = plane.iot_hub_resource.get_stats(GROUP, HUB)
    assert after.total_device_count - before.total_device_count == 2
    assert after.disabled_device_count - before.disabled_device_count == 1
    quotas = {each.name: each for each in plane.iot_hub_resource.get_quota_metrics(GROUP, HUB)}
    assert quotas["TotalDeviceCount"].current_value == after.total_device_count
    assert quotas["TotalMessages"].current_value == 0
    (sku,) = plane.iot_hub_resource.get_valid_skus(GROUP, HUB)
    assert (sku.sku.name, sku.capacity.maximum) == ("S1", 1)
    (endpoint,) = plane.iot_hub_resource.get_endpoint_health(GROUP, HUB)
    assert (endpoint.endpoint_id, endpoint.health_status) == ("events", "healthy")
    (usage,) = plane.resource_provider_common.get_subscription_quota().value
    assert (usage.current_value, usage.limit) == (1, 1)
    operations = {each.name for each in plane.operations.list()}
    assert "Microsoft.Devices/IotHubs/Read" in operations and "Microsoft.Devices/IotHubs/Delete" not in operations


# -- consumer groups ---------------------------------------------------------------------------------------------------


@hub_does(
    "create_event_hub_consumer_group",
    "get_event_hub_consumer_group",
    "list_event_hub_consumer_groups",
    "delete_event_hub_consumer_group",
)
def test_consumer_groups_are_kept(plane: Plane, control_hub: Hub) -> None:
    hubs, where = plane.iot_hub_resource, (GROUP, HUB, "events")

    def names() -> list[str]:
        return [each.name for each in hubs.list_event_hub_consumer_groups(*where)]

    assert names() == ["$Default"]
    body = m.EventHubConsumerGroupBodyDescription(properties=m.EventHubConsumerGroupName(name="archive"))
    made = hubs.create_event_hub_consumer_group(*where, "archive", body)
    assert (made.name, hubs.get_event_hub_consumer_group(*where, "Archive").name) == ("archive", "archive")
    assert hubs.create_event_hub_consumer_group(*where, "archive", body).properties == made.properties
    control_hub.kill()
    control_hub.start()
    assert names() == ["$Default", "archive"]
    assert hubs.get_event_hub_consumer_group(*where, "$Default").name == "$Default"
    hubs.delete_event_hub_consumer_group(*where, "archive")
    assert names() == ["$Default"]
    refused(404, "ConsumerGroupNotFound", hubs.delete_event_hub_consumer_group, *where, "archive")
    refused(409, "$Default", hubs.delete_event_hub_consumer_group, *where, "$Default")
    refused(404, "ResourceNotFound", hubs.get_event_hub_consumer_group, GROUP, HUB, "other", "archive")


# -- jobs --------------------------------------------------------------------------------------------------------------


@hub_does("export_devices", "import_devices", "list_jobs", "get_job")
def test_devices_are_exported_and_imported(plane: Plane, control_hub: Hub) -> None:
    folder, hubs = container(control_hub, "control"), plane.iot_hub_resource
    control_hub.request("PUT", "/devices/moved", body={"deviceId": "moved"})

    def done(job: Any) -> None:
        until("the job", lambda: hubs.get_job(GROUP, HUB, job.job_id).status != "running")
        assert hubs.get_job(GROUP, HUB, job.job_id).status == "completed"

    exported = hubs.export_devices(
        GROUP, HUB, m.ExportDevicesRequest(export_blob_container_uri=folder.as_uri(), exclude_keys=False)
    )
    assert exported.type == "export"
    done(exported)
    assert '"moved"' in (folder / "devices.txt").read_text()
    control_hub.request("DELETE", "/devices/moved", if_match="*")
    imported = hubs.import_devices(
        GROUP,
        HUB,
        m.ImportDevicesRequest(input_blob_container_uri=folder.as_uri(), output_blob_container_uri=folder.as_uri()),
    )
    done(imported)
    assert control_hub.request("GET", "/devices/moved")["deviceId"] == "moved"
    jobs = {each.job_id: each for each in hubs.list_jobs(GROUP, HUB)}
    assert {exported.job_id, imported.job_id} <= jobs.keys()
    assert jobs[exported.job_id].end_time_utc >= jobs[exported.job_id].start_time_utc
    refused(404, "JobNotFound", hubs.get_job, GROUP, HUB, "none")


# -- routes ------------------------------------------------------------------------------------------------------------


def route(name: str, condition: str, *endpoints: str, source: str = "DeviceMessages") -> Any:
    return m.RouteProperties(
        name=name, source=source, condition=condition, endpoint_names=list(endpoints or ("events",)), is_enabled=True
    )


@hub_does("begin_create_or_update", "test_all_routes", "test_route", "get_endpoint_health")
def test_routes_are_written_with_the_hub_and_tested(plane: Plane, control_hub: Hub) -> None:
    control_hub.moorage("endpoint", "add", "hook", "https://hooks.example/in")
    hub = read(plane)
    hub.properties.routing.routes = [
        route("hot", "level = 'hot' AND $body.t > 30", "hook"),
        route("born", "opType = 'createDeviceIdentity'", source="DeviceLifecycleEvents"),
    ]
    hub.properties.routing.enrichments = [
        m.EnrichmentProperties(key="site", value="$twin.tags.site", endpoint_names=["hook"])
    ]
    written = write(plane, hub).properties.routing
    assert [(each.name, each.source, each.endpoint_names) for each in written.routes] == [
        ("hot", "DeviceMessages", ["hook"]),
        ("born", "DeviceLifecycleEvents", ["events"]),
    ]
    assert [each.key for each in written.enrichments] == ["site"]
    assert written.fallback_route.is_enabled is True
    assert [each["name"] for each in control_hub.request("GET", "/moorage/v1/routes")["routes"]] == ["hot", "born"]
    message = m.RoutingMessage(
        body='{"t": 40}', app_properties={"level": "hot"}, system_properties={"contentType": "application/json"}
    )
    hubs = plane.iot_hub_resource
    taken = hubs.test_all_routes(HUB, GROUP, m.TestAllRoutesInput(routing_source="DeviceMessages", message=message))
    assert [each.properties.name for each in taken.routes] == ["hot"]
    cold = m.RoutingMessage(body="{}", app_properties={"level": "cold"}, system_properties={})
    fallen = hubs.test_all_routes(HUB, GROUP, m.TestAllRoutesInput(routing_source="DeviceMessages", message=cold))
    assert [each.properties.name for each in fallen.routes] == ["$fallback"]
    twin = m.RoutingTwin(tags={"site": "north"}, properties=m.RoutingTwinProperties(desired={}, reported={"rpm": 9}))
    asked = route("r", "$twin.tags.site = 'north' AND $twin.properties.reported.rpm = 9")
    assert hubs.test_route(HUB, GROUP, m.TestRouteInput(message=message, route=asked, twin=twin)).result == "true"
    assert hubs.test_route(HUB, GROUP, m.TestRouteInput(message=cold, route=asked)).result == "false"
    wrong = hubs.test_route(HUB, GROUP, m.TestRouteInput(message=cold, route=route("r", "level ==")))
    (error,) = wrong.details.compilation_errors
    assert (wrong.result, error.severity, error.location.start.column) == ("undefined", "error", 8)
    health = {each.endpoint_id: each.health_status for each in hubs.get_endpoint_health(GROUP, HUB)}
    assert health == {"events": "healthy", "hook": "healthy"}
    hub = read(plane)
    hub.properties.routing.routes = [route("lost", "true", "nowhere")]
    refused(400, "nowhere", write, plane, hub)
    hub.properties.routing.routes, hub.properties.routing.enrichments = [], []
    emptied = write(plane, hub).properties.routing
    assert (emptied.routes, emptied.enrichments) == ([], [])
    control_hub.moorage("endpoint", "remove", "hook")


# -- what there is not -------------------------------------------------------------------------------------------------


@refuses(CLIENT, "iot_hub", "begin_manual_failover", answer=NOT_THERE)
@refuses(CLIENT, "private_endpoint_connections", "begin_update", answer=NOT_THERE)
@refuses(CLIENT, "private_endpoint_connections", "get", "begin_delete", answer=UNKNOWN)
@refuses(CLIENT, "private_link_resources", "get", answer=UNKNOWN)
@proves(CLIENT, "private_endpoint_connections", "list")
@proves(CLIENT, "private_link_resources", "list")
def test_what_there_is_not_is_said(plane: Plane) -> None:
    unavailable = partial(refused, 403, "OperationNotAvailableInCurrentTier")
    unavailable(plane.iot_hub.begin_manual_failover, HUB, GROUP, m.FailoverInput(failover_region="x"))
    connections, links = plane.private_endpoint_connections, plane.private_link_resources
    assert connections.list(GROUP, HUB) == []
    assert links.list(GROUP, HUB).value == []
    state = m.PrivateLinkServiceConnectionState(status="Approved", description="")
    wanted = m.PrivateEndpointConnection(
        properties=m.PrivateEndpointConnectionProperties(private_link_service_connection_state=state)
    )
    unavailable(connections.begin_update, GROUP, HUB, "p", wanted)
    for call in (connections.get, connections.begin_delete, links.get):
        refused(404, "ResourceNotFound", call, GROUP, HUB, "p")


def test_every_operation_is_claimed(client: Any) -> None:
    here = inspect.getmodule(test_every_operation_is_claimed)
    assert here is not None
    offered = operations_of(client)
    assert len(offered) > 35
    assert claimed(CLIENT, here) == offered

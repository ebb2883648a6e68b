"""JSON from devices, services and hooks: one text, given to everything that reads such a body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from moorage.dialects import (
    arm_json,
    arm_members,
    arm_resources,
    arm_routing,
    arm_transfers,
    configuration_json,
    digital_twin_json,
    dps_allocation,
    dps_enrollments,
    dps_json,
    jobs_json,
    linked_hubs_json,
    policies_json,
    revocation_json,
    routing_json,
)
from moorage.dialects.arm_hub import check_consumer_group_body
from moorage.dialects.arm_links import parse_allocation, parse_links
from moorage.dialects.bulk_json import parse_item, parse_line
from moorage.dialects.c2d_json import parse_draft
from moorage.dialects.device_http import parse_batch
from moorage.dialects.hub_json import parse_identity, parse_method_call, parse_twin_change
from moorage.dialects.json_text import encode_json, parse_json
from moorage.dialects.keys_json import parse_regeneration
from moorage.dialects.members import get_object
from moorage.dialects.mqtt_hub import MethodAnswer, parse_method_reply
from moorage.dialects.transfer_json import parse_transfer
from moorage.dialects.upload_json import parse_success
from moorage.errors import Refusal
from moorage.hub.configuration_model import check_content, check_settings, parse_configuration_id
from moorage.hub.digital_twins import decide_patch
from moorage.hub.edge import read_deployment
from moorage.hub.job_model import parse_job_id
from moorage.hub.merging import difference
from moorage.hub.messages import check_draft
from moorage.hub.methods import check_call
from moorage.hub.model import Twin
from moorage.hub.routing_model import Routing
from moorage.hub.twins import TwinChange, device_view, initial_twin, patch_twin, replace_twin, report
from moorage.ids import DeviceId, HubId, IdentityName, parse_enrollment_group_id, parse_registration_id
from tests.fuzz.targets.model import Target

__all__ = ["TARGETS"]

_HUB: Final = HubId("hub")
_NAME: Final = IdentityName(DeviceId("pump-01"), None)
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SHOWN: Final[Mapping[str, Any]] = {
    "location": "local",
    "tags": {"a": "b"},
    "sku": {"name": "S1", "capacity": 1},
    "properties": {
        "hostName": "hub.example",
        "disableLocalAuth": False,
        "authorizationPolicies": [],
        "routing": arm_routing.routing_arm_json(Routing()),
        "iotHubs": [],
        "allocationPolicy": "Hashed",
        "minTlsVersion": "1.2",
    },
}
Body = Mapping[str, Any]


def _all_of(readers: Iterable[Callable[[Any], object]], value: Any) -> None:
    for read in readers:
        try:
            read(value)
        except Refusal:
            continue


# -- JSON itself -------------------------------------------------------------------------------------------------------


def _check_json(data: bytes) -> None:
    try:
        value = parse_json(data, what="the body")
    except Refusal:
        # What is refused is no JSON, or deeper, larger or stranger than a document can be.
        return
    again = encode_json(value)
    assert parse_json(again, what="again") == value
    assert json.loads(again) == value


def _json_seeds() -> Iterable[bytes]:
    yield b'{"a": [1, -2.5e3, true, false, null, "\\u00fc\\ud83d\\ude00"], "b": {"c": {}}}'
    yield b"\xef\xbb\xbf[[[[[[[[[[1]]]]]]]]]]"
    yield b"18446744073709551615"


# -- the hub -----------------------------------------------------------------------------------------------------------


def _call(body: Body) -> object:
    return check_call(parse_method_call(body))


def _draft(body: Body) -> None:
    check_draft(parse_draft(body), now=_NOW)


def _configuration(body: Body) -> None:
    draft = configuration_json.parse_configuration(parse_configuration_id("a"), body)
    check_content(draft.content or {})
    check_settings(draft.priority or 0, draft.labels or {}, draft.metrics or {})


_HUB_BODIES: Final[tuple[Callable[[Body], object], ...]] = (
    lambda body: parse_identity(_NAME, body),
    _call,
    _draft,
    _configuration,
    lambda body: read_deployment(get_object(configuration_json.parse_content(body), "modulesContent") or {}),
    configuration_json.parse_queries_test,
    lambda body: jobs_json.parse_job(parse_job_id("job-1"), body),
    parse_item,
    parse_transfer,
    parse_regeneration,
    parse_success,
    lambda body: routing_json.parse_fallback(body, Routing().fallback),
    lambda body: routing_json.parse_route("r", body),
    lambda body: routing_json.parse_enrichment("e", body),
    lambda body: routing_json.parse_endpoint("e", body, None),
    lambda body: policies_json.parse_draft("hub", "p", body),
    policies_json.parse_roll,
    policies_json.parse_switches,
    policies_json.parse_waivers,
    revocation_json.parse_issuer_change,
)


def _check_hub(data: bytes) -> None:
    try:
        value = parse_json(data, what="the body")
    except Refusal:
        _all_of((parse_line, parse_batch), data)
        return
    _all_of((parse_line, parse_batch), data)
    parse_method_reply(MethodAnswer("1", 200), data)
    try:
        operations = digital_twin_json.parse_digital_patch(value)
        decide_patch(_TWIN, operations)
    except Refusal:
        pass
    if isinstance(value, dict):
        _all_of(_HUB_BODIES, value)


def _hub_seeds() -> Iterable[bytes]:
    thumbprint = "0123456789ABCDEF0123456789ABCDEF01234567"
    key = "cHVtcHVtcHVtcHVtcHVtcHVtcHVtcHVtcHVtcHVtcHU="
    for body in (
        {
            "deviceId": "pump-01",
            "status": "disabled",
            "statusReason": "why",
            "capabilities": {"iotEdge": True},
            "authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": thumbprint}},
            "deviceScope": "ms-azure-iot-edge://a-1",
            "parentScopes": [],
        },
        {"deviceId": "a", "authentication": {"type": "sas", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}},
        {"id": "a", "moduleId": "m", "importMode": "createOrUpdateIfMatchETag", "eTag": "AAAAAAAAAAE=", "tags": {}},
        {"id": "a", "importMode": "updateTwin", "tags": {"a": 1}, "properties": {"desired": {"b": None}}},
        {"methodName": "m", "payload": {"a": [1]}, "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 5},
        {"bodyBase64": "e30=", "properties": {"a": "b"}, "expiryTimeUtc": "2030-01-01T00:00:00Z", "ack": "full"},
        {"id": "a", "content": {"deviceContent": {"properties.desired.x": {"y": 1}}}, "targetCondition": "*"},
        {
            "id": "a",
            "content": {"modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {"m": {}}}}}},
            "priority": "7",
            "labels": {"a": "b"},
            "metrics": {"queries": {"q": "SELECT deviceId FROM devices"}},
        },
        {
            "jobId": "job-1",
            "type": "scheduleDeviceMethod",
            "cloudToDeviceMethod": {"methodName": "m"},
            "queryCondition": "tags.a = 1",
            "startTime": "2030-01-01T00:00:00Z",
            "maxExecutionTimeInSeconds": 60,
        },
        {"type": "scheduleUpdateTwin", "updateTwin": {"etag": "*", "tags": {"a": None}}, "queryCondition": "*"},
        {"type": "import", "inputBlobContainerUri": "file:in", "outputBlobContainerUri": "https://a/b?sig=c"},
        {"correlationId": "c", "isSuccess": True, "statusCode": 200, "statusDescription": "d"},
        {"name": "r", "source": "DeviceMessages", "condition": "true", "endpoints": ["events"], "isEnabled": True},
        {"kind": "webhook", "url": "https://a/b", "secret": "s", "batch": {"count": 10}},
        {"rights": ["registryRead", "deviceConnect"], "primaryKey": key},
        {"url": "http://crl/a.crl", "ocsp": "http://ocsp/", "policy": "hard", "refreshSeconds": 3600},
        {"policyKey": "primary", "devices": [{"id": "a", "moduleId": "m"}]},
        [{"op": "add", "path": "/thermostat/target", "value": 1}, {"op": "remove", "path": "/x"}],
        [{"body": "e30=", "properties": {"a": "b", "iothub-app-c": 1}}, {"body": "x", "base64Encoded": False}],
    ):
        yield json.dumps(body).encode()


# -- twins -------------------------------------------------------------------------------------------------------------

_TWIN: Final = initial_twin(
    _HUB, _NAME, tags={"a": 1, "b": {"c": "d"}}, desired={"x": 1, "t": {"__t": "c", "y": 2}}, now=_NOW
)


def _check_twins(data: bytes) -> None:
    """Two patches one after another, or one."""
    twin: Twin = _TWIN
    for line in data.split(b"\n", 1):
        try:
            value = parse_json(line, what="the patch")
        except Refusal:
            continue
        if not isinstance(value, dict):
            continue
        try:
            twin = report(twin, value, now=_NOW)
        except Refusal:
            pass
        for write in (patch_twin, replace_twin):
            try:
                change = parse_twin_change(value)
            except Refusal:
                change = TwinChange(desired=value)
            try:
                changed, pushed = write(twin, change, now=_NOW)
            except Refusal:
                continue
            assert changed.version >= twin.version
            encode_json(device_view(changed))
            encode_json(pushed)
            again = difference(twin.desired.value, changed.desired.value)
            merged, _ = patch_twin(twin, TwinChange(desired=again), now=_NOW)
            assert merged.desired.value == changed.desired.value
            twin = changed


def _twin_seeds() -> Iterable[bytes]:
    yield b'{"temperature": 21.5, "list": [1, {"a": null}], "thermostat": {"__t": "c", "x": {"value": 1, "av": 3}}}'
    yield b'{"tags": {"site": "A", "a": null}, "properties": {"desired": {"x": {"y": {"z": 1}}, "$version": 3}}}'
    yield b'{"properties": {"desired": {"t": null}}, "etag": "x", "version": 1}\n{"x": null, "$metadata": {}}'


# -- provisioning ------------------------------------------------------------------------------------------------------

_REGISTRATION: Final = parse_registration_id("pump-01")


def _check_dps(data: bytes) -> None:
    _all_of(
        (partial(dps_json.parse_register_body, registration_id=_REGISTRATION), dps_allocation.parse_allocation), data
    )
    try:
        value = parse_json(data, what="the body")
    except Refusal:
        return
    if isinstance(value, dict):
        _all_of(
            (
                partial(dps_enrollments.parse_individual, _REGISTRATION),
                partial(dps_enrollments.parse_group, parse_enrollment_group_id("line-1")),
                partial(linked_hubs_json.parse_linked_hub, "b.example", present=None),
                linked_hubs_json.parse_default_allocation,
                lambda body: policies_json.parse_draft("dps", "p", body),
            ),
            value,
        )


def _dps_seeds() -> Iterable[bytes]:
    certificate = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"
    for body in (
        {"registrationId": "pump-01", "payload": {"modelId": "dtmi:a:b;1"}},
        {"registrationId": "PUMP-01", "tpm": None, "csr": ""},
        {
            "registrationId": "pump-01",
            "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": certificate}}}},
            "deviceId": "d",
            "provisioningStatus": "enabled",
            "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
            "allocationPolicy": "custom",
            "customAllocationDefinition": {"webhookUrl": "https://a/b?code=c", "apiVersion": "2019-03-31"},
            "iotHubs": ["hub.example"],
            "initialTwin": {"tags": {"a": 1}, "properties": {"desired": {"b": 2}}},
            "capabilities": {"iotEdge": False},
        },
        {"enrollmentGroupId": "line-1", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": ""}}},
        {"enrollmentGroupId": "g", "attestation": {"x509": {"signingCertificates": {"primary": {"info": {}}}}}},
        {"enrollmentGroupId": "g", "attestation": {"x509": {"caReferences": {"primary": "ca", "secondary": None}}}},
        {"iotHubHostName": "hub.example", "initialTwin": {"tags": None}, "payload": [1]},
        {"connectionString": "HostName=a;SharedAccessKeyName=b;SharedAccessKey=cHVt", "allocationWeight": 3},
    ):
        yield json.dumps(body).encode()


# -- the control plane -------------------------------------------------------------------------------------------------


def _check_arm(data: bytes) -> None:
    try:
        value = parse_json(data, what="the body")
    except Refusal:
        return
    if not isinstance(value, dict):
        return
    properties = value.get("properties")
    inner = properties if isinstance(properties, dict) else {}
    shown = _SHOWN["properties"]
    _all_of(
        (
            lambda body: arm_resources.parse_change("hub", body, _SHOWN),
            lambda body: arm_resources.parse_change("dps", body, _SHOWN),
            lambda body: parse_links(inner, shown),
            lambda body: parse_allocation(inner, shown),
            lambda body: arm_routing.parse_routing_change(inner, shown),
            lambda body: arm_routing.tested_all(Routing(), body),
            arm_routing.tested_one,
            arm_transfers.parse_export,
            arm_transfers.parse_import,
            arm_json.certificate_text,
            arm_json.is_vouched,
            lambda body: arm_members.if_match_of(None, body),
            lambda body: check_consumer_group_body(body, "readers"),
        ),
        value,
    )


def _arm_seeds() -> Iterable[bytes]:
    for body in (
        dict(_SHOWN),
        {"etag": "*", "properties": {"certificate": "MIIB", "isVerified": True}},
        {
            "location": "local",
            "properties": {
                "disableDeviceSAS": True,
                "authorizationPolicies": [{"keyName": "p", "rights": "RegistryRead, ServiceConnect"}],
                "routing": {
                    "routes": [{"name": "r", "source": "DeviceMessages", "endpointNames": ["events"]}],
                    "endpoints": {"eventHubs": []},
                    "fallbackRoute": {"isEnabled": False, "endpointNames": ["events"]},
                    "enrichments": [{"key": "k", "value": "$twin.tags.a", "endpointNames": ["events"]}],
                },
                "messagingEndpoints": {"fileNotifications": {"ttlAsIso8601": "PT1H"}},
                "enableFileUploadNotifications": True,
                "iotHubs": [{"connectionString": "HostName=a;SharedAccessKey=b", "allocationWeight": 1}],
                "allocationPolicy": "GeoLatency",
            },
        },
        {"message": {"body": "{}", "appProperties": {"a": "b"}}, "routingSource": "DeviceMessages"},
        {"route": {"properties": {"name": "r", "condition": "a = 1"}}, "twin": {"tags": {}}, "message": {"body": "x"}},
        {"exportBlobContainerUri": "https://a/b?c", "excludeKeys": False, "authenticationType": "keyBased"},
        {"properties": {"name": "readers"}},
    ):
        yield json.dumps(body).encode()


_JSON: Final = (b'":', b'{"', b"[[", b"null", b"true", b'"\\ud800"', b"1e308", b"-0", b"$", b'""', b'"a":{"b":', b"NaN")

TARGETS: Final = (
    Target("json", _check_json, _json_seeds, _JSON, 1024, is_json=True),
    Target(
        "hub_bodies", _check_hub, _hub_seeds, (*_JSON, b'"$version":', b'"properties.desired":'), 2048, is_json=True
    ),
    Target(
        "twins",
        _check_twins,
        _twin_seeds,
        (*_JSON, b"\n", b'"$version":', b'"__t":"c"', b'"tags":'),
        2048,
        is_json=True,
    ),
    Target("dps_bodies", _check_dps, _dps_seeds, (*_JSON, b'"attestation":', b'"x509":'), 2048, is_json=True),
    Target("arm_bodies", _check_arm, _arm_seeds, (*_JSON, b'"properties":', b'"routing":'), 2048, is_json=True),
)

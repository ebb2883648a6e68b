"""Who may do what: every operation against every kind of credential.

`MAY` is written by hand, from contract/services.md 1.3 and decisions T7 and T11, and not from the gates of the routes:
a route whose gate is wrong, or that nobody thought about here, fails. Each cell is a request that would be let through
by its credential alone: what is sent means nothing, so whoever is admitted hears 2xx, 400, 404 or the like, and whoever
is not hears 401 or 403.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from moorage.api.routing import Route
from moorage.identities.policy_rules import RIGHTS
from tests import certs
from tests.api.served import Answer, Headers, ServedHub, served_hub

# -- the table -------------------------------------------------------------------------------------------------------

OWNER: Final = frozenset({"owner"})
_HUB: Final = OWNER | {"iothubowner"}
REGISTRY_READ: Final = _HUB | {"registryRead", "registryReadWrite"}
REGISTRY_WRITE: Final = _HUB | {"registryReadWrite"}
SERVICE: Final = _HUB | {"service"}
DEVICE: Final = _HUB | {"device"}
_DPS: Final = OWNER | {"provisioningserviceowner"}
ENROLLMENT_READ: Final = _DPS | {"EnrollmentRead", "EnrollmentWrite"}
ENROLLMENT_WRITE: Final = _DPS | {"EnrollmentWrite"}
REGISTRATION_READ: Final = _DPS | {"RegistrationStatusRead", "RegistrationStatusWrite"}
REGISTRATION_WRITE: Final = _DPS | {"RegistrationStatusWrite"}
# Judged by the handler: `test_a_device_registers_with_its_own_credential_only`.
THE_DEVICE: Final = frozenset[str]()
# Judged by the handler too, as a CONNECT is (tests/servers/test_device_http.py): of a device that is not there, nobody.
# Whoever holds the signature of an upload (tests/servers/test_uploads.py).
A_SIGNATURE: Final = frozenset({"the signature of an upload"})
A_KNOWN_DEVICE: Final = frozenset({"a device that is there"})
EVERYBODY: Final = frozenset({"everybody"})

_ID: Final = "/devices/{id}"
_MODULE: Final = "/devices/{id}/modules/{module}"
_ARM: Final = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices"

MAY: Final[Mapping[frozenset[str], tuple[str, ...]]] = {
    EVERYBODY: (
        "GET /healthz",
        "GET /readyz",
        "GET /moorage/v1/openapi.json",
    ),
    THE_DEVICE: (
        "PUT /{scope}/registrations/{id}/register",
        "GET /{scope}/registrations/{id}/operations/{operation}",
        "POST /{scope}/registrations/{id}",
    ),
    A_SIGNATURE: tuple(f"{method} /uploads/{{blob...}}" for method in ("PUT", "GET", "HEAD")),
    A_KNOWN_DEVICE: (
        "POST /devices/{id}/files",
        "POST /devices/{id}/files/notifications",
        "POST /devices/{id}/files/notifications/{correlation}",
        *(
            f"{method} {who}/messages/{path}"
            for who in (_ID, _MODULE)
            for method, path in (
                ("POST", "events"),
                ("GET", "devicebound"),
                ("DELETE", "devicebound/{lock}"),
                ("POST", "devicebound/{lock}/abandon"),
            )
        ),
        "POST /twins/{id}/methods with x-ms-edge-moduleid",
        "POST /twins/{id}/modules/{module}/methods with x-ms-edge-moduleid",
    ),
    REGISTRY_READ: (
        "GET /devices",
        f"GET {_ID}",
        f"GET {_ID}/modules",
        f"GET {_MODULE}",
        "GET /statistics/devices",
        "GET /statistics/service",
        "GET /jobs",
        "GET /jobs/{id}",
    ),
    REGISTRY_WRITE: (
        f"PUT {_ID}",
        f"PUT {_MODULE}",
        f"DELETE {_ID}",
        f"DELETE {_MODULE}",
        "POST /devices",
        "POST /devices/keys/regenerate",
        "POST /jobs/create",
        "DELETE /jobs/{id}",
    ),
    # Which of the two it is, the documents do not agree on (1.3): either.
    REGISTRY_READ | SERVICE: (
        "POST /devices/query",
        "GET /configurations",
        "GET /configurations/{id}",
        "POST /configurations/testQueries",
    ),
    REGISTRY_WRITE | SERVICE: (
        "PUT /configurations/{id}",
        "DELETE /configurations/{id}",
        "POST /devices/{id}/applyConfigurationContent",
    ),
    SERVICE: (
        "POST /system/iothubs/generateEventSasTokens",
        "GET /messages/serviceBound/feedback",
        "DELETE /messages/serviceBound/feedback/{lock}",
        "POST /messages/serviceBound/feedback/{lock}/abandon",
        "GET /messages/serviceBound/filenotifications",
        "DELETE /messages/serviceBound/filenotifications/{lock}",
        "POST /messages/serviceBound/filenotifications/{lock}/abandon",
        f"DELETE {_ID}/commands",
        f"DELETE {_MODULE}/commands",
        *(
            f"{method} /twins/{{id}}{module}"
            for method in ("GET", "PATCH", "PUT")
            for module in ("", "/modules/{module}")
        ),
        "POST /twins/{id}/methods",
        "POST /twins/{id}/modules/{module}/methods",
        "GET /digitaltwins/{id}",
        "PATCH /digitaltwins/{id}",
        "POST /digitaltwins/{id}/commands/{command}",
        "POST /digitaltwins/{id}/components/{component}/commands/{command}",
        "GET /jobs/v2/query",
        "GET /jobs/v2/{id}",
        "PUT /jobs/v2/{id}",
        "POST /jobs/v2/{id}/cancel",
    ),
    ENROLLMENT_READ: (
        "GET /enrollments/{id}",
        "GET /enrollmentGroups/{id}",
        "POST /enrollments/query",
        "POST /enrollmentGroups/query",
    ),
    ENROLLMENT_WRITE: tuple(
        f"{method} /{collection}{path}"
        for collection in ("enrollments", "enrollmentGroups")
        for method, path in (
            ("PUT", "/{id}"),
            ("DELETE", "/{id}"),
            ("POST", "/{id}/attestationmechanism"),
            ("POST", ""),
        )
    ),
    REGISTRATION_READ: ("GET /registrations/{id}", "POST /registrations/{id}/query"),
    REGISTRATION_WRITE: ("DELETE /registrations/{id}",),
    OWNER: (
        # For anybody on the machine itself: `test_figures_are_for_this_machine_and_the_owner`.
        "GET /metrics",
        *(
            f"{method} {_ARM}/{kind}/{{resource}}{path}"
            for kind, keys in (("IotHubs", "IotHubKeys"), ("provisioningServices", "keys"))
            for method, path in (
                ("GET", ""),
                ("POST", "/listkeys"),
                ("POST", f"/{keys}/{{policy}}/listkeys"),
                ("GET", "/certificates"),
                ("GET", "/certificates/{name}"),
                ("PUT", "/certificates/{name}"),
                ("DELETE", "/certificates/{name}"),
                ("POST", "/certificates/{name}/generateVerificationCode"),
                ("POST", "/certificates/{name}/verify"),
            )
        ),
        *(
            f"GET {place}/{kind}"
            for kind in ("IotHubs", "provisioningServices")
            for place in (_ARM, "/subscriptions/{subscription}/providers/Microsoft.Devices")
        ),
        *(
            f"{method} {_ARM}/{kind}/{{resource}}{path}"
            for kind in ("IotHubs", "provisioningServices")
            for method, path in (
                ("PUT", ""),
                ("PATCH", ""),
                ("DELETE", ""),
                ("GET", "/skus"),
                ("GET", "/privateLinkResources"),
                ("GET", "/privateLinkResources/{name}"),
                ("GET", "/privateEndpointConnections"),
                ("GET", "/privateEndpointConnections/{name}"),
                ("PUT", "/privateEndpointConnections/{name}"),
                ("DELETE", "/privateEndpointConnections/{name}"),
            )
        ),
        *(
            f"{operation.replace(' /', f' {_ARM}/IotHubs/{{resource}}/', 1)}"
            for operation in (
                "GET /IotHubStats",
                "GET /quotaMetrics",
                "GET /routingEndpointsHealth",
                "GET /eventHubEndpoints/{endpoint}/ConsumerGroups",
                "GET /eventHubEndpoints/{endpoint}/ConsumerGroups/{name}",
                "PUT /eventHubEndpoints/{endpoint}/ConsumerGroups/{name}",
                "DELETE /eventHubEndpoints/{endpoint}/ConsumerGroups/{name}",
                "POST /exportDevices",
                "POST /importDevices",
                "GET /jobs",
                "GET /jobs/{id}",
                "POST /failover",
                "POST /routing/routes/$testall",
                "POST /routing/routes/$testnew",
            )
        ),
        f"GET {_ARM}/provisioningServices/{{resource}}/operationresults/{{operation}}",
        "GET /providers/Microsoft.Devices/operations",
        "GET /tenants",
        "GET /subscriptions",
        *(
            f"{operation.replace(' ', ' /subscriptions/{subscription}', 1)}"
            for operation in (
                "GET ",
                "GET /locations",
                "GET /resourceGroups",
                "GET /resourceGroups/{group}",
                "HEAD /resourceGroups/{group}",
                "GET /resources",
                "GET /resourceGroups/{group}/resources",
                "GET /providers",
                "GET /providers/{namespace}",
                "POST /providers/{namespace}/register",
                "GET /providers/Microsoft.Devices/usages",
                "POST /providers/Microsoft.Devices/checkNameAvailability",
                "POST /providers/Microsoft.Devices/checkProvisioningServiceNameAvailability",
            )
        ),
        "POST /moorage/v1/devices/{id}/messages/devicebound",
        "POST /moorage/v1/devices/{id}/modules/{module}/messages/devicebound",
        "GET /moorage/v1/telemetry",
        "GET /moorage/v1/telemetry/stream",
        "GET /moorage/v1/telemetry/partitions",
        "GET /moorage/v1/attempts",
        "GET /moorage/v1/files",
        "GET /moorage/v1/files/{file...}",
        "GET /moorage/v1/file-uploads",
        "PATCH /moorage/v1/file-uploads",
        "GET /moorage/v1/connections",
        "GET /moorage/v1/connections/{id}",
        "GET /moorage/v1/connections/{id}/modules/{module}",
        "GET /moorage/v1/connection-events",
        "GET /moorage/v1/jobs/{id}/devices",
        "GET /moorage/v1/devices:export",
        *(f"{method} /moorage/v1/linked-hubs/{{name}}" for method in ("GET", "PUT", "DELETE")),
        "GET /moorage/v1/linked-hubs",
        *(f"GET /moorage/v1/{each}/{{id}}/webhook" for each in ("enrollments", "enrollment-groups")),
        "POST /moorage/v1/linked-hubs/{name}/check",
        "PUT /moorage/v1/allocation-policy",
        "GET /moorage/v1/env",
        "GET /moorage/v1/policies",
        "GET /moorage/v1/switches",
        "PATCH /moorage/v1/switches",
        *(f"{method} /moorage/v1/revocation/issuers" for method in ("GET", "POST")),
        *(f"{method} /moorage/v1/revocation/issuers/{{id}}" for method in ("GET", "DELETE")),
        "POST /moorage/v1/revocation/issuers/{id}/fetch",
        "POST /moorage/v1/revocation/lists",
        *(f"{method} /moorage/v1/users" for method in ("GET", "POST")),
        *(f"{method} /moorage/v1/users/{{user}}" for method in ("PATCH", "DELETE")),
        "POST /moorage/v1/sign-in-links",
        "GET /moorage/v1/waivers",
        "PATCH /moorage/v1/waivers",
        "GET /moorage/v1/routes",
        *(f"{method} /moorage/v1/routes/{{name}}" for method in ("GET", "PUT", "DELETE")),
        "POST /moorage/v1/routes:test",
        "GET /moorage/v1/fallback-route",
        "PUT /moorage/v1/fallback-route",
        "GET /moorage/v1/enrichments",
        *(f"{method} /moorage/v1/enrichments/{{key}}" for method in ("PUT", "DELETE")),
        "GET /moorage/v1/endpoints",
        *(f"{method} /moorage/v1/endpoints/{{name}}" for method in ("GET", "PUT", "DELETE")),
        "POST /moorage/v1/endpoints/{name}/try",
        "GET /moorage/v1/endpoints/{name}/dead-letters",
        "POST /moorage/v1/endpoints/{name}/dead-letters/replay",
        "DELETE /moorage/v1/endpoints/{name}/dead-letters/{number}",
        "GET /moorage/v1/events",
        "PATCH /moorage/v1/events",
        *(
            f"{method} /moorage/v1/{scope}/policies/{{policy}}{path}"
            for scope in ("hub", "dps")
            for method, path in (("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/roll"))
        ),
        *(
            f"{method} /moorage/v1/{registry}/certificates{path}"
            for registry in ("hub", "dps")
            for method, path in (
                ("GET", ""),
                ("GET", "/{name}"),
                ("PUT", "/{name}"),
                ("DELETE", "/{name}"),
                ("POST", "/{name}/generateVerificationCode"),
                ("POST", "/{name}/verify"),
            )
        ),
        *(
            f"{method} /moorage/v1/enrollment-groups/{{id}}/certificates/{{slot}}{path}"
            for method, path in (("GET", ""), ("POST", "/code"), ("POST", "/verify"), ("POST", "/vouch"))
        ),
    ),
}

_HUB_POLICIES: Final = ("iothubowner", "service", "device", "registryRead", "registryReadWrite")
_DPS_RIGHTS: Final = tuple(RIGHTS["dps"])
# What a bearer of somebody else's login service looks like.
_STUB: Final = "Bearer eyJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL21hbmFnZW1lbnQuYXp1cmUuY29tLyJ9."


def _table() -> Iterator[tuple[str, frozenset[str]]]:
    for who, operations in MAY.items():
        for operation in operations:
            yield operation, who


def _name(route: Route) -> str:
    return f"{route.method} {route.pattern}" + (f" with {route.needs_header}" if route.needs_header else "")


def _headers(route: Route) -> Headers:
    return [(route.needs_header.encode(), b"nobody/nobody")] if route.needs_header else []


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    async with served_hub(tmp_path) as served:
        yield served


async def _credentials(hub: ServedHub) -> dict[str, str | None]:
    """By the name that `MAY` has for its holder; the others are nobody's."""
    for right in _DPS_RIGHTS:
        await hub.add_policy("dps", right, right)
    made = await hub.ask("PUT", "/devices/pump-01", {"deviceId": "pump-01"}, credential=hub.owner())
    key = made.json()["authentication"]["symmetricKey"]["primaryKey"]
    return {
        "nobody": None,
        "an empty header": "",
        "garbage": "SharedAccessSignature \x00\xff sr",
        "basic": "Basic YWRtaW46YWRtaW4=",
        "a stub bearer": _STUB,
        "no bearer": "Bearer",
        "an expired token": hub.policy("hub", "iothubowner", minutes=-10),
        "a token for another hub": hub.policy("hub", "iothubowner", resource="other.example"),
        "an expired token of DPS": hub.policy("dps", "provisioningserviceowner", minutes=-10),
        "a token of DPS for another": hub.policy("dps", "provisioningserviceowner", resource="other.example"),
        "the device": hub.signed(f"{hub.host}/devices/pump-01", key),
        "the device, for the whole hub": hub.signed(hub.host, key),
        **{name: hub.policy("hub", name) for name in _HUB_POLICIES},
        "provisioningserviceowner": hub.policy("dps", "provisioningserviceowner"),
        **{right: hub.policy("dps", right) for right in _DPS_RIGHTS},
        "owner": hub.owner(),
    }


def _target(route: Route, **names: str) -> str:
    """A path of that route, about things that are not there."""
    return re.sub(r"{(\w+)(?:\.\.\.)?}", lambda found: names.get(found[1], "nobody"), route.pattern)


# -- the tests -------------------------------------------------------------------------------------------------------


async def test_every_operation_is_in_the_table_once(hub: ServedHub) -> None:
    tabled = [operation for operation, _ in _table()]
    assert len(tabled) == len(set(tabled))
    assert sorted(tabled) == sorted(_name(route) for route in hub.routes)


async def test_each_credential_opens_what_its_right_covers_and_nothing_else(hub: ServedHub) -> None:
    credentials = await _credentials(hub)
    wrong = []
    for route in hub.routes:
        may = _may(route)
        if may == THE_DEVICE:
            continue
        for holder, credential in credentials.items():
            answer = await hub.ask(route.method, _target(route), b"{}", credential=credential, headers=_headers(route))
            expected = may == EVERYBODY or holder in may
            if (answer.status not in (401, 403)) != expected or answer.status >= 500:
                wrong.append(f"{_name(route)} as {holder}: {answer.status}, {'admit' if expected else 'refuse'} it")
    assert not wrong, "\n".join(wrong)


async def test_a_stranger_hears_the_same_of_what_is_there_and_what_is_not(hub: ServedHub) -> None:
    """Decisions T7. The tracking id and the time differ, nothing else does."""
    credentials = await _credentials(hub)
    strangers = [
        name for name in credentials if name not in {*_HUB_POLICIES, *_DPS_RIGHTS, "provisioningserviceowner", "owner"}
    ]
    owner = hub.owner()
    root = certs.root("Plant CA")
    for path, body in (
        ("/devices/pump-01/modules/m1", {"deviceId": "pump-01", "moduleId": "m1"}),
        ("/enrollments/pump-01", {"registrationId": "pump-01", "attestation": {"type": "symmetricKey"}}),
        ("/enrollmentGroups/pump-01", {"enrollmentGroupId": "pump-01", "attestation": {"type": "symmetricKey"}}),
        ("/moorage/v1/hub/certificates/pump-01", {"certificate": root.pem()}),
        ("/moorage/v1/dps/certificates/pump-01", {"certificate": root.pem()}),
    ):
        assert (await hub.ask("PUT", path, body, credential=owner)).status == 200, path
    names = {"module": "m1", "resource": "hub", "policy": "service", "scope": hub.app.info().id_scope}
    for route in hub.routes:
        if _may(route) == EVERYBODY:
            continue
        for stranger in strangers:
            if stranger == "the device" and (route.of_device or _may(route) == A_KNOWN_DEVICE):
                continue
            credential = credentials[stranger]
            heard = {
                _without_marks(
                    await hub.ask(route.method, target, b"{}", credential=credential, headers=_headers(route))
                )
                for target in (_target(route), _target(route, id="pump-01", name="pump-01", **names))
            }
            assert len(heard) == 1, (_name(route), stranger, heard)


async def test_a_device_registers_with_its_own_credential_only(hub: ServedHub) -> None:
    pump, other = certs.self_signed("pump-01"), certs.self_signed("pump-02")
    body = {
        "registrationId": "pump-01",
        "attestation": {
            "type": "x509",
            "x509": {"clientCertificates": {"primary": {"certificate": pump.pem()}}},
        },
    }
    assert (await hub.ask("PUT", "/enrollments/pump-01", body, credential=hub.owner())).status == 200
    credentials = await _credentials(hub)
    names = {"scope": hub.app.info().id_scope, "id": "pump-01"}
    registered: dict[str, object] = {}
    for operation in MAY[THE_DEVICE]:
        (route,) = (each for each in hub.routes if _name(each) == operation)
        target = _target(route, **names, operation=str(registered.get("operationId", "nobody")))
        for holder, credential in credentials.items():
            # The owner's bearer is no device's: it is refused like any other.
            answer = await hub.ask(route.method, target, b"{}", credential=credential)
            assert answer.status == 401, (operation, holder)
            answer = await hub.ask(route.method, target, b"{}", credential=credential, chain=other.sends())
            assert answer.status == 401, (operation, holder, "with another's certificate")
        admitted = await hub.ask(route.method, target, b"{}", chain=pump.sends())
        assert admitted.status in (200, 202), (operation, admitted.body)
        registered = admitted.json()


async def test_figures_are_for_this_machine_and_the_owner(hub: ServedHub) -> None:
    for address in ("127.0.0.1", "::1"):
        assert (await hub.ask("GET", "/metrics", client=(address, 1))).status == 200
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "", "localhost"):
        assert (await hub.ask("GET", "/metrics", client=(address, 1))).status == 401, address


async def test_other_methods_are_refused_with_those_there_are(hub: ServedHub) -> None:
    shapes = [
        (re.compile(re.sub(r"{\w+(?:\.\.\.)?}", "[^/]+", route.pattern.replace("$", r"\$")), re.IGNORECASE), route)
        for route in hub.routes
    ]
    for target in {_target(route) for route in hub.routes}:
        methods = {route.method for shape, route in shapes if shape.fullmatch(target)}
        for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"} - methods:
            for credential in (None, hub.owner()):
                answer = await hub.ask(method, target, b"{}", credential=credential)
                assert answer.status == 405, (method, target, answer.status)
                assert set((answer.header("allow") or "").split(", ")) == methods, (method, target)


def _may(route: Route) -> frozenset[str]:
    for operation, who in _table():
        if operation == _name(route):
            return who
    raise AssertionError(f"{_name(route)} is not in the table of rights: tests/api/test_rights.py")


def _without_marks(answer: Answer) -> str:
    """What was heard, without what differs from one answer to the next."""
    heard = json.dumps([answer.status, [(str(name), str(value)) for name, value in answer.headers], str(answer.body)])
    heard = re.sub(r"[0-9A-F]{32}", "<tracking id>", heard)
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\d\d/\d\d/\d{4} [0-9:]+", "<time>", heard)

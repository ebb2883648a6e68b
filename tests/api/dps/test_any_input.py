"""Whatever comes as a body: 2xx or 4xx, never a 5xx, and nothing that was stored is lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.certs import root, self_signed

from .world import DpsWorld

NAMES = st.sampled_from(
    [
        "registrationId",
        "enrollmentGroupId",
        "deviceId",
        "attestation",
        "type",
        "x509",
        "clientCertificates",
        "signingCertificates",
        "caReferences",
        "primary",
        "secondary",
        "certificate",
        "info",
        "sha1Thumbprint",
        "sha256Thumbprint",
        "symmetricKey",
        "primaryKey",
        "secondaryKey",
        "tpm",
        "endorsementKey",
        "initialTwin",
        "tags",
        "properties",
        "desired",
        "capabilities",
        "iotEdge",
        "iotHubs",
        "iotHubHostName",
        "reprovisionPolicy",
        "updateHubAssignment",
        "allocationPolicy",
        "customAllocationDefinition",
        "webhookUrl",
        "provisioningStatus",
        "mode",
        "enrollments",
        "enrollmentGroups",
        "etag",
        "query",
        "payload",
    ]
)
LEAF = self_signed("pump-01").certificate
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["x509", "symmetricKey", "tpm", "static", "create", "delete", "update", "enabled", "hub.example", "pump-01", ""]
    ),
    st.sampled_from([LEAF.pem, LEAF.sha256, LEAF.sha1, "AAAA", "-----BEGIN CERTIFICATE-----", "SELECT *", "\ud800"]),
)
DOCUMENTS = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)
ATTESTATIONS = st.fixed_dictionaries(
    {"type": st.sampled_from(["x509", "symmetricKey", "tpm", "X509", "none"])},
    optional={
        "x509": st.dictionaries(NAMES, DOCUMENTS, max_size=3),
        "symmetricKey": st.dictionaries(NAMES, VALUES, max_size=3),
        "tpm": DOCUMENTS,
    },
)
BODIES = DOCUMENTS | st.fixed_dictionaries(
    {"attestation": ATTESTATIONS},
    optional={"initialTwin": DOCUMENTS, "reprovisionPolicy": DOCUMENTS, "iotHubs": DOCUMENTS, "deviceId": VALUES},
)
REQUESTS = st.sampled_from(
    [
        ("PUT", "/enrollments/fuzz"),
        ("PUT", "/enrollmentGroups/fuzz"),
        ("POST", "/enrollments"),
        ("POST", "/enrollmentGroups"),
        ("POST", "/enrollments/query"),
        ("POST", "/enrollmentGroups/query"),
        ("POST", "/enrollments/fuzz/attestationmechanism"),
        ("POST", "/registrations/line-7/query"),
        ("DELETE", "/registrations/fuzz"),
    ]
)
# The fixture is one service for all examples, which is meant: what one leaves behind the next one meets.
many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


@pytest.fixture
async def fuzzed(dps: DpsWorld) -> AsyncIterator[DpsWorld]:
    ca, leaf = root(), self_signed("pump-01")
    await dps.world.enroll("pump-01", leaf.certificate)
    await dps.world.enroll_group("line-7", ca.certificate)
    dps.shows(leaf)
    yield dps
    assert (await dps.ask("GET", "/enrollments/pump-01")).status_code in (200, 404)
    assert (await dps.ask("GET", "/enrollmentGroups/line-7")).status_code == 200


@many
@given(request=REQUESTS, body=BODIES, if_match=st.sampled_from([None, "*", '"1-1"', "\x7f"]))
async def test_any_json_for_the_service(
    fuzzed: DpsWorld, request: tuple[str, str], body: Any, if_match: str | None
) -> None:
    response = await fuzzed.ask(*request, content=as_json(body), if_match=if_match)
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert set(response.json()) == {"errorCode", "trackingId", "message", "timestampUtc"}


@many
@given(body=st.one_of(st.binary(max_size=200), BODIES.map(as_json)))
async def test_any_body_of_a_device(fuzzed: DpsWorld, body: bytes) -> None:
    response = await fuzzed.device("PUT", "pump-01/register", body)
    assert response.status_code < 500, response.text


@many
@given(
    scope=st.text(max_size=12), name=st.text(max_size=12), token=st.binary(max_size=60), query=st.binary(max_size=60)
)
async def test_any_names_and_tokens_of_a_device(
    fuzzed: DpsWorld, scope: str, name: str, token: bytes, query: bytes
) -> None:
    path = f"/{quote(scope, safe='', errors='replace')}/registrations/{quote(name, safe='', errors='replace')}/register"
    fuzzed.chain = None
    response = await fuzzed.client.put(
        path, content=b"{}", headers={b"authorization": b"SharedAccessSignature " + token.replace(b"\n", b"")}
    )
    assert response.status_code < 500, response.text
    response = await fuzzed.client.post("/enrollments/query", content=query)
    assert response.status_code == 401

"""Provisioning over HTTPS: register, poll, look up (contract/devices.md 6.3, 6.5, 6.6)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from moorage.dialects.dps_json import operation_json
from moorage.identities.sas import make_token
from moorage.ids import RegistrationId, Secret
from moorage.provisioning.attestation import derive_key
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.model import BySymmetricKey, CustomAllocation
from tests.certs import Issued, device, root, self_signed
from tests.unit.provisioning.world import HOST, SCOPE

from .world import DpsWorld


async def enrolled(dps: DpsWorld, name: str = "pump-01", **fields: Any) -> Issued:
    leaf = self_signed(name)
    await dps.world.enroll(name, leaf.certificate, **fields)
    dps.shows(leaf)
    return leaf


async def test_register_is_answered_with_202_where_to_ask_and_when(dps: DpsWorld) -> None:
    await enrolled(dps)
    answer = await dps.device("PUT", "pump-01/register?api-version=2019-03-31&forceRegistration=true", b"{}")
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["retry-after"] == "1"
    body = answer.json()
    assert set(body) == {"operationId", "status"}
    assert body["status"] == "assigning"
    path = f"/{SCOPE}/registrations/pump-01/operations/{body['operationId']}?api-version=2019-03-31"
    assert answer.headers["location"] == f"https://{HOST}{path}"
    done = await dps.client.get(answer.headers["location"])
    assert done.status_code == 200
    assert "retry-after" not in done.headers
    document = done.json()
    assert (document["operationId"], document["status"]) == (body["operationId"], "assigned")
    state = document["registrationState"]
    assert state["etag"].startswith('"')
    assert {
        name: state[name] for name in state if name not in ("etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc")
    } == {
        "registrationId": "pump-01",
        "x509": {},
        "assignedHub": HOST,
        "deviceId": "pump-01",
        "substatus": "initialAssignment",
        "status": "assigned",
    }
    looked_up = await dps.device("POST", "pump-01?api-version=2019-03-31")
    assert (looked_up.status_code, looked_up.json()) == (200, state)


async def test_what_is_assigning_still_says_so_with_the_registrations_name(dps: DpsWorld) -> None:
    # IoT Edge reads a status and a state as a pair.
    await enrolled(dps)
    operation = (await dps.device("PUT", "pump-01/register")).json()["operationId"]
    await dps.device("GET", f"pump-01/operations/{operation}")
    waiting = replace(dps.world.registrations.get(RegistrationId("pump-01")), status="assigning")
    state = operation_json(waiting, with_state=True)["registrationState"]
    assert (state["registrationId"], state["status"]) == ("pump-01", "assigning")
    assert "assignedHub" not in state
    assert "deviceId" not in state


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b'{"registrationId":"pump-01"}',
        b'{"registrationId":"PUMP-01","payload":null}',
        b'{"registrationId":"pump-01","payload":"text"}',
        b'\xef\xbb\xbf{"registrationId":"pump-01","payload":{"deep":[1,2,{"er":true}]}}',
        b'{"registrationId":null,"tpm":null,"csr":null}',
    ],
)
async def test_every_body_that_clients_send_is_taken(dps: DpsWorld, body: bytes) -> None:
    await enrolled(dps)
    assert (await dps.device("PUT", "pump-01/register", body)).status_code == 202


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"registrationId":"pump-02"}', 400),
        (b'{"registrationId":7}', 400),
        (b'{"tpm":{"endorsementKey":"AToAAQ=="}}', 400),
        (b'{"csr":"MIIB"}', 400),
        (b'{"payload":"' + b"x" * 97 * 1024 + b'"}', 413),
    ],
)
async def test_a_body_that_is_none_is_told_so(dps: DpsWorld, body: bytes, code: int) -> None:
    await enrolled(dps)
    answer = await dps.device("PUT", "pump-01/register", body)
    assert answer.status_code == code
    assert answer.json()["errorCode"] // 1000 == code
    assert answer.headers["x-ms-error-code"] == str(answer.json()["errorCode"])
    assert dps.world.attempts.kept[-1].tracking_id == answer.json()["trackingId"]


async def test_a_token_registers_like_a_certificate(dps: DpsWorld) -> None:
    group = await dps.world.enroll_group("by-key")
    assert isinstance(group.attestation, BySymmetricKey)
    key = derive_key(group.attestation.secondary, RegistrationId("pump-01"))
    expires = dps.world.clock.now() + timedelta(hours=1)
    token = make_token(f"{SCOPE}/registrations/pump-01", key, expires, "registration")
    answer = await dps.device("PUT", "pump-01/register", token=token)
    assert answer.status_code == 202
    done = await dps.device("GET", f"pump-01/operations/{answer.json()['operationId']}", token=token)
    assert done.json()["registrationState"]["symmetricKey"] == {}
    assert dps.world.attempts.kept[-1].credential == "token"


async def test_a_refusal_tells_the_device_a_tracking_id_and_the_operator_the_reason(dps: DpsWorld) -> None:
    await enrolled(dps)
    stranger = self_signed("pump-02")
    dps.shows(stranger)
    answer = await dps.device("PUT", "pump-01/register", b"{}")
    assert answer.status_code == 401
    body = answer.json()
    assert body["errorCode"] == 401002
    assert "SHA-256" not in body["message"]
    attempt = dps.world.attempts.kept[-1]
    assert (attempt.tracking_id, attempt.reason) == (body["trackingId"], "attestation.thumbprint")
    assert (attempt.door, attempt.address, attempt.tls_version) == ("dps.https", "192.0.2.7:40000", "TLSv1.3")
    assert attempt.client.startswith("python-httpx/")
    assert attempt.chain == stranger.sends().certificates
    assert stranger.certificate.sha256 in attempt.message
    unknown = await dps.device("PUT", "pump-99/register", b"{}")
    assert (unknown.status_code, unknown.json()["errorCode"]) == (401, 401002)


async def test_an_accepted_attempt_is_recorded_with_its_checks(dps: DpsWorld) -> None:
    await enrolled(dps)
    await dps.device("PUT", "pump-01/register", b"{}")
    attempt = dps.world.attempts.kept[-1]
    assert attempt.is_accepted
    assert [check.name for check in attempt.checks if check.passed] == [
        "enrollment.individual",
        "attestation.thumbprint",
        "chain.expired",
        "registration.case_conflict",
        "enrollment.disabled",
    ]


async def test_a_disabled_enrollment_is_an_error_here_since_iot_edge_reads_no_status_disabled(dps: DpsWorld) -> None:
    await enrolled(dps, status="disabled")
    answer = await dps.device("PUT", "pump-01/register", b"{}")
    assert answer.status_code == 401
    assert "disabled" in answer.json()["message"]
    assert dps.world.attempts.reasons() == ["enrollment.disabled"]


async def test_a_failed_placing_is_a_state_with_code_and_message_and_an_attempt(dps: DpsWorld) -> None:
    hook = CustomAllocation(Secret("https://127.0.0.1:9/?code=open-sesame"), "2021-10-01")
    leaf = await enrolled(dps, allocation="custom", custom_allocation=hook)
    operation = (await dps.device("PUT", "pump-01/register")).json()["operationId"]
    failed = await dps.device("GET", f"pump-01/operations/{operation}")
    assert failed.status_code == 200
    state = failed.json()["registrationState"]
    assert (failed.json()["status"], state["status"], state["errorCode"]) == ("failed", "failed", 400207)
    assert state["errorMessage"] == "allocation.webhook_failed: the operator of the hub can read why"
    assert "127.0.0.1" not in failed.text
    assert dps.world.attempts.reasons() == [None, "allocation.webhook_failed"]
    await dps.world.enroll("pump-01", leaf.certificate, if_match=ANY)
    assert (await dps.device("PUT", "pump-01/register")).status_code == 202


async def test_an_operation_that_is_not_the_devices_own_is_unknown(dps: DpsWorld) -> None:
    await enrolled(dps)
    answer = await dps.device("GET", "pump-01/operations/4.0.0")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, 404202)
    assert (await dps.device("POST", "pump-01")).json()["errorCode"] == 404202


async def test_paths_have_no_case_and_other_methods_are_refused(dps: DpsWorld) -> None:
    await enrolled(dps)
    path = f"/{SCOPE.lower()}/Registrations/pump-01/Register/"
    assert (await dps.client.put(path, content=b"{}")).status_code == 202
    assert (await dps.device("GET", "pump-01/register")).status_code == 405
    wrong_scope = await dps.client.put("/0ne00000000/registrations/pump-01/register", content=b"{}")
    assert (wrong_scope.status_code, wrong_scope.json()["errorCode"]) == (401, 401002)


async def test_names_that_are_none_and_headers_that_are_none_are_refused(dps: DpsWorld) -> None:
    ca = root()
    await dps.world.enroll_group("line-7", ca.certificate)
    dps.shows(device(ca, "pump-01"))
    for name in ("a%20b", "a.", "%2F", "x" * 129):
        assert (await dps.device("PUT", f"{name}/register", b"{}")).status_code == 400
    dps.shows(None)
    for token in ("Bearer abc", "SharedAccessSignature ", "SharedAccessSignature sr=%00&sig=%ff&se=1", "\u00ff"):
        answer = await dps.device("PUT", "pump-01/register", json.dumps({}).encode(), token=Secret(token))
        assert answer.status_code == 401


async def test_an_attempt_is_recorded_with_its_whole_address_by_which_quotas_are_kept(dps: DpsWorld) -> None:
    await dps.device("PUT", "pump-01/register", b"{}")
    assert [attempt.address for attempt in dps.world.attempts.kept] == ["192.0.2.7:40000"]

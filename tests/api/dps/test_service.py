"""The provisioning service's REST as its clients use it: exact codes, headers and members (contract/services.md 6)."""

from __future__ import annotations

import base64
import time
from datetime import timedelta
from typing import Any

import pytest

from moorage.dialects.times import parse_time
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, EnrollmentGroupId
from moorage.pki.certificates import Certificate
from moorage.provisioning.model import BySigningCertificates
from tests.certs import device, root, self_signed
from tests.unit.provisioning.world import HOST

from .world import DpsWorld

KEYS: dict[str, Any] = {"type": "symmetricKey"}
TPM: dict[str, Any] = {"type": "tpm", "tpm": {"endorsementKey": "AToAAQ=="}}
# Members that every answer has and no client chooses.
READ_ONLY = ("etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc")


def client_certificates(primary: str, secondary: str | None = None) -> dict[str, Any]:
    slots = {"primary": {"certificate": primary}}
    if secondary is not None:
        slots["secondary"] = {"certificate": secondary}
    return {"type": "x509", "x509": {"clientCertificates": slots}}


def signing_certificates(primary: str) -> dict[str, Any]:
    return {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": primary}}}}


async def test_an_individual_enrollment_is_created_read_and_deleted(dps: DpsWorld) -> None:
    leaf = self_signed("pump-01").certificate
    response = await dps.ask(
        "PUT",
        "/enrollments/pump-01",
        {
            "registrationId": "pump-01",
            "deviceId": "Pump#1",
            "attestation": client_certificates(leaf.pem),
            "optionalDeviceInformation": {"batch": 9},
            "initialTwin": {"tags": {"line": 7}, "properties": {"desired": {"rate": 1}}},
            "capabilities": {"iotEdge": True},
        },
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    read = await dps.ask("GET", "/enrollments/pump-01")
    assert read.status_code == 200
    document = read.json()
    assert document["etag"].startswith('"')
    assert parse_time(document["createdDateTimeUtc"], what="created") == dps.world.clock.now()
    info = document["attestation"]["x509"]["clientCertificates"]["primary"].pop("info")
    assert set(info) == {
        "subjectName",
        "sha1Thumbprint",
        "sha256Thumbprint",
        "issuerName",
        "notBeforeUtc",
        "notAfterUtc",
        "serialNumber",
        "version",
    }
    assert (info["subjectName"], info["sha1Thumbprint"], info["version"]) == ("CN=pump-01", leaf.sha1, 3)
    assert {name: value for name, value in document.items() if name not in READ_ONLY} == {
        "registrationId": "pump-01",
        "deviceId": "Pump#1",
        "optionalDeviceInformation": {"batch": 9},
        "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {}}}},
        "capabilities": {"iotEdge": True},
        "initialTwin": {"tags": {"line": 7}, "properties": {"desired": {"rate": 1}}},
        "provisioningStatus": "enabled",
        "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
        "allocationPolicy": "hashed",
    }
    deleted = await dps.ask("DELETE", "/enrollments/pump-01")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "content-type" not in deleted.headers
    gone = await dps.ask("GET", "/enrollments/pump-01")
    assert (gone.status_code, gone.headers["x-ms-error-code"]) == (404, "404201")
    error = gone.json()
    assert set(error) == {"errorCode", "trackingId", "message", "timestampUtc"}
    assert error["errorCode"] == 404201


@pytest.mark.parametrize("spelling", ["pem", "pem_with_crlf", "base64_of_pem", "base64_of_der"])
async def test_a_certificate_comes_in_every_spelling(dps: DpsWorld, spelling: str) -> None:
    certificate = self_signed("pump-01").certificate
    pem = certificate.pem
    text = {
        "pem": pem,
        "pem_with_crlf": pem.replace("\n", "\r\n"),
        "base64_of_pem": base64.b64encode(pem.encode()).decode(),
        "base64_of_der": base64.b64encode(certificate.der).decode(),
    }[spelling]
    await dps.put("/enrollments/pump-01", client_certificates(text))
    mechanism = (await dps.ask("POST", "/enrollments/pump-01/attestationmechanism")).json()
    slot = mechanism["x509"]["clientCertificates"]["primary"]
    assert Certificate(base64.b64decode(slot["certificate"])) == certificate
    assert slot["info"]["sha256Thumbprint"] == certificate.sha256


async def test_a_private_key_in_an_upload_is_refused_and_not_repeated(dps: DpsWorld) -> None:
    leaf = self_signed("pump-01")
    key = leaf.key_pem().decode()
    response = await dps.ask(
        "PUT", "/enrollments/pump-01", {"attestation": client_certificates(leaf.certificate.pem + key)}
    )
    assert response.status_code == 400
    assert response.headers["moorage-reason"] == "certificate.private_key"
    assert key.splitlines()[1] not in response.text


async def test_creating_what_exists_is_a_conflict_and_stale_etags_fail(dps: DpsWorld) -> None:
    first = await dps.put("/enrollmentGroups/by-key", KEYS)
    again = await dps.ask("PUT", "/enrollmentGroups/by-key", {"attestation": KEYS})
    assert (again.status_code, again.json()["errorCode"]) == (409, 409201)
    raw, bare, weak = first["etag"], first["etag"].strip('"'), "W/" + first["etag"]
    for spelling in (raw, bare, weak, "*", '"*"'):
        current = (await dps.ask("GET", "/enrollmentGroups/by-key")).json()["etag"]
        if_match = spelling if "*" in spelling else spelling.replace(bare, current.strip('"'))
        changed = await dps.ask("PUT", "/enrollmentGroups/by-key", {"attestation": KEYS}, if_match=if_match)
        assert changed.status_code == 200, spelling
    stale = await dps.ask("PUT", "/enrollmentGroups/by-key", {"attestation": KEYS}, if_match=raw)
    assert (stale.status_code, stale.json()["errorCode"]) == (412, 412201)
    assert (await dps.ask("DELETE", "/enrollmentGroups/by-key", if_match=raw)).status_code == 412
    assert (await dps.ask("DELETE", "/enrollmentGroups/by-key", if_match="*")).status_code == 204


async def test_what_was_read_can_be_written_back_and_loses_nothing(dps: DpsWorld) -> None:
    leaf, ca = self_signed("pump-01").certificate, root().certificate
    for path, attestation in (
        ("/enrollments/by-cert", client_certificates(leaf.pem, self_signed("pump-02").certificate.pem)),
        ("/enrollments/by-key", KEYS),
        ("/enrollments/by-tpm", TPM),
        ("/enrollmentGroups/by-cert", signing_certificates(ca.pem)),
        ("/enrollmentGroups/by-key", KEYS),
    ):
        await dps.put(path, attestation)
        mechanism = (await dps.ask("POST", f"{path}/attestationmechanism")).json()
        document = (await dps.ask("GET", path)).json()
        document["provisioningStatus"] = "disabled"
        written = await dps.ask("PUT", path, document, if_match=document["etag"])
        assert written.status_code == 200, path
        assert written.json()["provisioningStatus"] == "disabled"
        assert (await dps.ask("POST", f"{path}/attestationmechanism")).json() == mechanism, path
    group = dps.world.enrollments.get_group(EnrollmentGroupId("by-cert"))
    assert isinstance(group.attestation, BySigningCertificates)
    assert group.attestation.primary is not None
    assert group.attestation.primary.proof == "vouched"


async def test_keys_are_made_when_missing_or_empty_and_shown_only_to_who_may_write(dps: DpsWorld) -> None:
    made = await dps.put("/enrollments/pump-01", {"type": "symmetricKey", "symmetricKey": {"primaryKey": ""}})
    keys = made["attestation"]["symmetricKey"]
    assert len(base64.b64decode(keys["primaryKey"])) == 32
    read = (await dps.ask("GET", "/enrollments/pump-01")).json()
    assert read["attestation"] == {"type": "symmetricKey", "symmetricKey": {}}
    mechanism = await dps.ask("POST", "/enrollments/pump-01/attestationmechanism")
    assert (mechanism.status_code, mechanism.json()["symmetricKey"]) == (200, keys)
    await dps.add_policy("reader", "EnrollmentRead")
    assert (await dps.ask("GET", "/enrollments/pump-01", policy="reader")).status_code == 200
    refused = await dps.ask("POST", "/enrollments/pump-01/attestationmechanism", policy="reader")
    assert refused.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/enrollments/pump-01"),
        ("PUT", "/enrollments/pump-01"),
        ("DELETE", "/enrollments/pump-01"),
        ("POST", "/enrollments/pump-01/attestationmechanism"),
        ("POST", "/enrollments"),
        ("POST", "/enrollments/query"),
        ("GET", "/enrollmentGroups/line-7"),
        ("PUT", "/enrollmentGroups/line-7"),
        ("DELETE", "/enrollmentGroups/line-7"),
        ("POST", "/enrollmentGroups/line-7/attestationmechanism"),
        ("POST", "/enrollmentGroups"),
        ("POST", "/enrollmentGroups/query"),
        ("GET", "/registrations/pump-01"),
        ("DELETE", "/registrations/pump-01"),
        ("POST", "/registrations/line-7/query"),
    ],
)
async def test_every_operation_asks_who_it_is_and_for_its_right(dps: DpsWorld, method: str, path: str) -> None:
    nobody = await dps.ask(method, path, policy=None)
    assert (nobody.status_code, nobody.json()["errorCode"]) == (401, 401002)
    hub_policy = await dps.client.request(method, path, headers={"authorization": hub_token(dps)})
    assert hub_policy.status_code == 401
    await dps.add_policy("configures", "ServiceConfig")
    assert (await dps.ask(method, path, policy="configures")).status_code == 401
    assert dps.world.attempts.reasons() == ["authorization.missing", "token.policy_unknown", "token.policy_rights"]


def hub_token(dps: DpsWorld) -> str:
    policy = dps.policies.get(DEFAULT_HUB, "hub", "iothubowner")
    return make_token(HOST, policy.primary, dps.world.clock.now() + timedelta(hours=1), policy.name).reveal()


async def test_paths_match_without_case_and_with_a_slash_behind(dps: DpsWorld) -> None:
    await dps.put("/Enrollments/pump-01/", KEYS)
    assert (await dps.ask("GET", "/ENROLLMENTS/PUMP-01")).json()["registrationId"] == "pump-01"
    await dps.put("/enrollmentgroups/line-7", KEYS)
    assert (await dps.ask("POST", "/enrollmentGroups/query/", {"query": "*"})).status_code == 200
    wrong = await dps.ask("PATCH", "/enrollments/pump-01", {})
    assert wrong.status_code == 405
    assert wrong.json()["errorCode"] == 405000


@pytest.mark.parametrize(
    "query",
    [
        "*",
        "SELECT *",
        "select * from enrollments",
        "{'additional_properties': {}, 'query': 'SELECT *'}",
    ],
)
async def test_every_spelling_of_all_lists_all(dps: DpsWorld, query: str) -> None:
    for name in ("a", "b"):
        await dps.put(f"/enrollments/{name}", KEYS)
    listed = await dps.ask("POST", "/enrollments/query", {"query": query})
    assert listed.status_code == 200
    assert listed.headers["x-ms-item-type"] == "Enrollment"
    assert "x-ms-continuation" not in listed.headers
    assert [each["registrationId"] for each in listed.json()] == ["a", "b"]
    assert "primaryKey" not in listed.text


async def test_a_query_that_is_not_understood_is_refused_at_its_token(dps: DpsWorld) -> None:
    for query in ("SELECT * FROM enrollments WHERE x = 1", "drop table", "", None, {"a": 1}):
        response = await dps.ask("POST", "/enrollments/query", {"query": query})
        assert response.status_code == 400
        assert response.headers["moorage-reason"] == "query.unsupported"
    response = await dps.ask("POST", "/enrollments/query", {"query": "SELECT * FROM enrollments WHERE x = 1"})
    assert "'WHERE x = 1'" in response.json()["message"]


async def test_pages_follow_each_other_until_the_last(dps: DpsWorld) -> None:
    names = [f"group-{number}" for number in range(5)]
    for name in names:
        await dps.put(f"/enrollmentGroups/{name}", KEYS)
    seen: list[str] = []
    headers = {"x-ms-max-item-count": "2"}
    for _ in range(3):
        page = await dps.ask("POST", "/enrollmentGroups/query", {"query": "SELECT *"}, headers=headers)
        assert page.headers["x-ms-item-type"] == "EnrollmentGroup"
        seen += [each["enrollmentGroupId"] for each in page.json()]
        headers["x-ms-continuation"] = page.headers.get("x-ms-continuation", "")
    assert seen == names
    assert headers["x-ms-continuation"] == ""
    for wrong in ({"x-ms-max-item-count": "0"}, {"x-ms-max-item-count": "many"}, {"x-ms-continuation": "%%"}):
        assert (await dps.ask("POST", "/enrollmentGroups/query", {"query": "*"}, headers=wrong)).status_code == 400


async def test_bulk_does_each_entry_by_itself(dps: DpsWorld) -> None:
    one = {"registrationId": "a", "attestation": KEYS}
    created = await dps.ask(
        "POST", "/enrollments/", {"mode": "create", "enrollments": [one, {**one, "registrationId": "b"}]}
    )
    assert (created.status_code, created.json()) == (200, {"isSuccessful": True, "errors": []})
    mixed = await dps.ask(
        "POST", "/enrollments", {"mode": "create", "enrollments": [one, {**one, "registrationId": "c"}]}
    )
    assert mixed.status_code == 200
    assert mixed.json()["isSuccessful"] is False
    [error] = mixed.json()["errors"]
    assert (error["registrationId"], error["errorCode"]) == ("a", 409201)
    assert error["errorStatus"]
    stale = {**one, "etag": '"0-0"', "provisioningStatus": "disabled"}
    for mode, code in (("updateIfMatchETag", 412201), ("delete", 412201)):
        answer = await dps.ask("POST", "/enrollments", {"mode": mode, "enrollments": [stale]})
        assert [each["errorCode"] for each in answer.json()["errors"]] == [code]
    updated = await dps.ask("POST", "/enrollments", {"mode": "update", "enrollments": [stale]})
    assert updated.json()["isSuccessful"] is True
    document = (await dps.ask("GET", "/enrollments/a")).json()
    assert document["provisioningStatus"] == "disabled"
    fresh = await dps.ask("POST", "/enrollments", {"mode": "updateIfMatchETag", "enrollments": [document]})
    assert fresh.json()["isSuccessful"] is True
    without = {name: value for name, value in document.items() if name != "etag"}
    for unsure in (without, {**without, "etag": ""}, {**without, "etag": None}):
        answer = await dps.ask("POST", "/enrollments", {"mode": "updateIfMatchETag", "enrollments": [unsure]})
        assert [each["errorCode"] for each in answer.json()["errors"]] == [400004]
    gone = await dps.ask("POST", "/enrollments", {"mode": "delete", "enrollments": [{"registrationId": "b"}]})
    assert gone.json()["isSuccessful"] is True
    assert (await dps.ask("GET", "/enrollments/b")).status_code == 404
    groups = await dps.ask(
        "POST",
        "/enrollmentGroups",
        {"mode": "create", "enrollmentGroups": [{"enrollmentGroupId": "g", "attestation": KEYS}]},
    )
    assert groups.json()["isSuccessful"] is True


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mode": "upsert", "enrollments": [{"registrationId": "a"}]},
        {"mode": "create", "enrollments": []},
        {"mode": "create", "enrollments": [{"registrationId": str(number)} for number in range(11)]},
        {"mode": "create", "enrollments": [{}]},
        {"mode": "create", "enrollments": ["a"]},
        {"mode": "create", "enrollments": {"registrationId": "a"}},
    ],
)
async def test_a_bulk_request_that_is_none_is_refused_whole(dps: DpsWorld, body: Any) -> None:
    assert (await dps.ask("POST", "/enrollments", body)).status_code == 400


async def test_a_bulk_request_that_is_refused_whole_has_changed_nothing(dps: DpsWorld) -> None:
    body = {"mode": "create", "enrollments": [{"registrationId": "a", "attestation": KEYS}, {"attestation": KEYS}]}
    assert (await dps.ask("POST", "/enrollments", body)).status_code == 400
    assert (await dps.ask("GET", "/enrollments/a")).status_code == 404


async def test_an_empty_etag_or_one_that_is_no_text_fits_nothing(dps: DpsWorld) -> None:
    """Quotes with nothing in between are not the asterisk: who holds them has read nothing."""
    await dps.put("/enrollments/a", KEYS)
    await dps.put("/enrollmentGroups/g", KEYS)
    for path in ("/enrollments/a", "/enrollmentGroups/g"):
        assert (await dps.ask("PUT", path, {"attestation": KEYS}, if_match='""')).status_code == 412
        assert (await dps.ask("DELETE", path, if_match='""')).status_code == 412
    for etag, code in (('""', 412201), (5, 400004)):
        entry = {"registrationId": "a", "etag": etag}
        gone = await dps.ask("POST", "/enrollments", {"mode": "delete", "enrollments": [entry]})
        assert [each["errorCode"] for each in gone.json()["errors"]] == [code]
    assert (await dps.ask("GET", "/enrollments/a")).status_code == 200


async def test_p11_what_test_suites_create_is_taken(dps: DpsWorld) -> None:
    await dps.put("/enrollments/tpm", TPM)
    await dps.put("/enrollments/geo", KEYS, allocationPolicy="geoLatency", iotHubs=None)
    hook = {"webhookUrl": "https://no.example/x", "apiVersion": "2019-03-31"}
    custom = await dps.put("/enrollments/custom", KEYS, allocationPolicy="custom", customAllocationDefinition=hook)
    assert custom["customAllocationDefinition"] == hook
    fixed = await dps.put("/enrollments/fixed", KEYS, iotHubHostName=HOST)
    assert (fixed["allocationPolicy"], fixed["iotHubs"]) == ("static", [HOST])
    twin = {"properties": {"desired": {}, "version": None}, "tags": {"version": None, "count": None, "a": 1}}
    with_twin = await dps.put("/enrollments/twin", KEYS, initialTwin=twin)
    assert with_twin["initialTwin"] == {"tags": {"a": 1}, "properties": {"desired": {}}}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "body.member"),
        ({"attestation": {}}, "body.member"),
        ({"attestation": {"type": "none"}}, "attestation.kind"),
        ({"attestation": {"type": "x509"}}, "attestation.certificate_missing"),
        ({"attestation": {"type": "tpm"}}, "body.member"),
        ({"attestation": signing_certificates(root().certificate.pem)}, "attestation.kind"),
        ({"attestation": client_certificates("garbage")}, "certificate.malformed"),
        ({"attestation": KEYS, "registrationId": "other"}, "body.id"),
        ({"attestation": KEYS, "deviceId": "a/b"}, "id.device"),
        ({"attestation": KEYS, "allocationPolicy": "custom"}, "allocation.webhook_missing"),
        ({"attestation": KEYS, "iotHubs": HOST}, "body.member"),
        ({"attestation": KEYS, "allocationPolicy": "random"}, "body.member"),
        ({"attestation": KEYS, "provisioningStatus": "maybe"}, "body.member"),
        ({"attestation": KEYS, "initialTwin": {"tags": []}}, "body.member"),
        ({"attestation": KEYS, "capabilities": {"iotEdge": 1}}, "body.member"),
        ({"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "c2hvcnQ="}}}, "key.length"),
    ],
)
async def test_a_body_that_asks_for_nothing_possible_names_what_is_wrong(
    dps: DpsWorld, members: dict[str, Any], reason: str
) -> None:
    response = await dps.ask("PUT", "/enrollments/pump-01", members)
    assert (response.status_code, response.headers["moorage-reason"]) == (400, reason)


@pytest.mark.parametrize("name", ["a.", "a b", "x" * 129, "%C3%A4"])
async def test_a_name_that_is_none_is_refused(dps: DpsWorld, name: str) -> None:
    for path in (f"/enrollments/{name}", f"/enrollmentGroups/{name}", f"/registrations/{name}"):
        assert (await dps.ask("GET", path)).status_code == 400


async def test_registration_states_are_read_listed_and_deleted(dps: DpsWorld) -> None:
    ca = root()
    await dps.put("/enrollmentGroups/line-7", signing_certificates(ca.certificate.pem))
    for name in ("pump-01", "pump-02"):
        dps.shows(device(ca, name))
        operation = (await dps.device("PUT", f"{name}/register")).json()["operationId"]
        assert (await dps.device("GET", f"{name}/operations/{operation}")).json()["status"] == "assigned"
    state = await dps.ask("GET", "/registrations/pump-01")
    assert state.status_code == 200
    assert {name: state.json()[name] for name in ("registrationId", "deviceId", "assignedHub", "status")} == {
        "registrationId": "pump-01",
        "deviceId": "pump-01",
        "assignedHub": HOST,
        "status": "assigned",
    }
    listed = await dps.ask("POST", "/registrations/line-7/query", headers={"x-ms-max-item-count": "1"})
    assert listed.headers["x-ms-item-type"] == "DeviceRegistration"
    assert [each["registrationId"] for each in listed.json()] == ["pump-01"]
    rest = await dps.ask(
        "POST",
        "/registrations/line-7/query",
        headers={"x-ms-continuation": listed.headers["x-ms-continuation"]},
    )
    assert [each["registrationId"] for each in rest.json()] == ["pump-02"]
    assert (await dps.ask("DELETE", "/registrations/pump-01", if_match='"stale"')).status_code == 412
    assert (await dps.ask("DELETE", "/registrations/pump-01", if_match=state.json()["etag"])).status_code == 204
    gone = await dps.ask("GET", "/registrations/pump-01")
    assert (gone.status_code, gone.json()["errorCode"]) == (404, 404202)
    assert (await dps.ask("POST", "/registrations/no-such/query")).status_code == 404


async def test_an_individual_enrollment_shows_its_registration_state(dps: DpsWorld) -> None:
    leaf = self_signed("pump-01")
    await dps.put("/enrollments/pump-01", client_certificates(leaf.certificate.pem))
    assert "registrationState" not in (await dps.ask("GET", "/enrollments/pump-01")).json()
    dps.shows(leaf)
    operation = (await dps.device("PUT", "pump-01/register")).json()["operationId"]
    await dps.device("GET", f"pump-01/operations/{operation}")
    document = (await dps.ask("GET", "/enrollments/pump-01")).json()
    assert document["registrationState"]["substatus"] == "initialAssignment"
    # It goes back with the rest and is ignored.
    assert (await dps.ask("PUT", "/enrollments/pump-01", document, if_match="*")).status_code == 200


@pytest.mark.parametrize("slots", [{}, {"primary": None}, {"primary": {"certificate": None}, "secondary": {}}])
async def test_slots_that_say_nothing_leave_what_is_trusted_as_it_is(dps: DpsWorld, slots: dict[str, Any]) -> None:
    certificate = root().certificate
    group = await dps.put("/enrollmentGroups/line-7", signing_certificates(certificate.pem))
    silent = {"type": "x509", "x509": {"signingCertificates": slots}}
    await dps.put("/enrollmentGroups/line-7", silent, etag=group["etag"])
    held = dps.world.enrollments.get_group(EnrollmentGroupId("line-7")).attestation
    assert isinstance(held, BySigningCertificates)
    assert held.primary is not None and held.primary.certificate == certificate


async def test_a_slot_whose_members_are_misspelt_is_refused(dps: DpsWorld) -> None:
    certificate = root().certificate
    group = await dps.put("/enrollmentGroups/line-7", signing_certificates(certificate.pem))
    slots = {"primary": {"certificat": certificate.pem}, "secondary": {"certificate": certificate.pem}}
    body = {"attestation": {"type": "x509", "x509": {"signingCertificates": slots}}}
    response = await dps.ask("PUT", "/enrollmentGroups/line-7", body, if_match=group["etag"])
    assert response.status_code == 400
    assert "signingCertificates.primary has neither certificate nor info" in response.json()["message"]


@pytest.mark.parametrize("text", ["*" + " " * 500_000 + "x", "select *" + " " * 500_000 + "x", "{'query'" * 100_000])
async def test_a_long_query_is_refused_at_once(dps: DpsWorld, text: str) -> None:
    began = time.process_time()
    response = await dps.ask("POST", "/enrollments/query", {"query": text})
    assert response.status_code == 400
    assert response.headers["moorage-reason"] == "query.unsupported"
    # It is a hundredth of that; what grows with the square of the text takes minutes.
    assert time.process_time() - began < 5

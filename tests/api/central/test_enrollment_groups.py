"""Device connection groups over REST, X.509 first (central.md 4.7; PC-17)."""

from __future__ import annotations

from typing import Any

from tests import certs
from tests.api.central.world import Central, central_hub

X509: dict[str, Any] = {"displayName": "Line 7", "type": "iot", "attestation": {"type": "x509"}}


async def test_a_group_is_made_given_a_certificate_and_proven(central: Central) -> None:
    made = await central.put("/enrollmentGroups/line-7", X509)
    assert made.status == 200
    assert made.json() == {
        "id": "line-7",
        "displayName": "Line 7",
        "enabled": True,
        "type": "iot",
        "attestation": {"type": "x509", "x509": {"signingCertificates": {}}},
        "etag": made.json()["etag"],
    }
    root = certs.root()
    slot = "/enrollmentGroups/line-7/certificates/primary"
    uploaded = await central.put(slot, {"certificate": root.pem()})
    assert uploaded.status == 200
    shown = uploaded.json()
    assert (shown["verified"], shown["info"]) == (False, {"sha1Thumbprint": root.certificate.sha1})

    code = (await central.post(slot + "/generateVerificationCode")).json()["verificationCode"]
    proof = certs.device(root, code)
    answer = await central.post(slot + "/verify", {"certificate": proof.pem()})
    assert (answer.status, answer.body) == (204, b"")
    assert (await central.get(slot)).json()["verified"] is True
    group = (await central.get("/enrollmentGroups/line-7")).json()
    assert group["attestation"]["x509"]["signingCertificates"]["primary"]["verified"] is True


async def test_a_certificate_of_another_name_proves_nothing(central: Central) -> None:
    await central.put("/enrollmentGroups/line-7", X509)
    root, slot = certs.root(), "/enrollmentGroups/line-7/certificates/secondary"
    await central.put(slot, {"certificate": root.pem()})
    await central.post(slot + "/generateVerificationCode")
    refused = await central.post(slot + "/verify", {"certificate": certs.device(root, "another").pem()})
    assert refused.status == 400
    assert refused.json()["error"]["code"] == refused.header("x-ms-error-code") == "BadRequest"
    assert refused.header("moorage-reason") == "proof.wrong_code"
    assert (await central.get(slot)).json()["verified"] is False


async def test_a_caller_vouches_for_a_certificate(central: Central) -> None:
    await central.put("/enrollmentGroups/line-7", X509)
    slot = "/enrollmentGroups/line-7/certificates/primary"
    uploaded = await central.put(slot, {"certificate": certs.root().pem(), "verified": True})
    assert (uploaded.status, uploaded.json()["verified"]) == (200, True)


async def test_nothing_is_stored_where_the_hub_takes_nobodys_word(tmp_path: Any) -> None:
    async with central_hub(tmp_path, vouched_certificates="no") as central:
        await central.put("/enrollmentGroups/line-7", X509)
        slot = "/enrollmentGroups/line-7/certificates/primary"
        refused = await central.put(slot, {"certificate": certs.root().pem(), "verified": True})
        assert (refused.status, refused.header("moorage-reason")) == (409, "enrollment.vouching_off")
        assert (await central.get(slot)).status == 404


async def test_a_slot_is_emptied_and_the_other_one_stays(central: Central) -> None:
    await central.put("/enrollmentGroups/line-7", X509)
    both = "/enrollmentGroups/line-7/certificates/"
    first, second = certs.root("first"), certs.root("second")
    for slot, issued in (("primary", first), ("secondary", second)):
        await central.put(both + slot, {"certificate": issued.pem(), "verified": True})
    assert (await central.delete(both + "primary")).status == 204
    gone = await central.get(both + "primary")
    assert (gone.status, gone.json()["error"]["code"]) == (404, "NotFound")
    kept = (await central.get(both + "secondary")).json()
    assert (kept["verified"], kept["info"]["sha1Thumbprint"]) == (True, second.certificate.sha1)
    assert (await central.delete(both + "primary")).status == 404


async def test_a_stale_etag_changes_nothing(central: Central) -> None:
    made = (await central.put("/enrollmentGroups/line-7", X509)).json()
    assert (await central.patch("/enrollmentGroups/line-7", {"displayName": "Line 8"})).status == 200
    stale = await central.patch("/enrollmentGroups/line-7", {"displayName": "Line 9", "etag": made["etag"]})
    assert (stale.status, stale.header("x-ms-error-code")) == (412, "PreconditionFailed")
    stale = await central.put("/enrollmentGroups/line-7", {**X509, "etag": made["etag"]})
    assert stale.status == 412
    header = [(b"if-match", f'"{made["etag"]}"'.encode())]
    assert (await central.delete("/enrollmentGroups/line-7", headers=header)).status == 412
    assert (await central.get("/enrollmentGroups/line-7")).json()["displayName"] == "Line 8"


async def test_a_patch_changes_what_it_names_alone(central: Central) -> None:
    await central.put("/enrollmentGroups/line-7", X509)
    slot = "/enrollmentGroups/line-7/certificates/primary"
    await central.put(slot, {"certificate": certs.root().pem(), "verified": True})
    other = certs.root("other")
    change = {"signingCertificates": {"secondary": {"certificate": other.pem()}}}
    answer = await central.patch(
        "/enrollmentGroups/line-7", {"enabled": False, "attestation": {"type": "x509", "x509": change}}
    )
    group = answer.json()
    assert (group["displayName"], group["enabled"], group["type"]) == ("Line 7", False, "iot")
    slots = group["attestation"]["x509"]["signingCertificates"]
    assert (slots["primary"]["verified"], slots["secondary"]["verified"]) == (True, False)


async def test_a_put_without_certificates_leaves_those_there_are(central: Central) -> None:
    await central.put("/enrollmentGroups/line-7", X509)
    slot = "/enrollmentGroups/line-7/certificates/primary"
    await central.put(slot, {"certificate": certs.root().pem(), "verified": True})
    again = await central.put("/enrollmentGroups/line-7", {**X509, "displayName": "New name"})
    assert (again.status, again.json()["displayName"]) == (200, "New name")
    assert (await central.get(slot)).json()["verified"] is True


async def test_a_group_of_keys_makes_them_or_takes_them(central: Central) -> None:
    made = await central.put(
        "/enrollmentGroups/keys", {"displayName": "Keys", "type": "iotEdge", "attestation": {"type": "symmetricKey"}}
    )
    keys = made.json()["attestation"]["symmetricKey"]
    assert len({keys["primaryKey"], keys["secondaryKey"]}) == 2
    assert made.json()["type"] == "iotEdge"
    changed = await central.patch(
        "/enrollmentGroups/keys",
        {"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": keys["secondaryKey"]}}},
    )
    assert changed.json()["attestation"]["symmetricKey"] == dict.fromkeys(
        ("primaryKey", "secondaryKey"), keys["secondaryKey"]
    )
    refused = await central.put("/enrollmentGroups/keys/certificates/primary", {"certificate": certs.root().pem()})
    assert (refused.status, refused.header("moorage-reason")) == (400, "attestation.kind")


async def test_keys_are_shown_to_those_who_could_replace_them(central: Central) -> None:
    shown = (await central.get("/enrollmentGroups/SAS-IoT-Devices", who=await central.token("builder"))).json()
    assert "symmetricKey" in shown["attestation"]
    hidden = (await central.get("/enrollmentGroups/SAS-IoT-Devices", who=await central.token("operator"))).json()
    assert hidden["attestation"] == {"type": "symmetricKey"}


async def test_groups_are_listed_by_pages(central: Central) -> None:
    for number in range(4):
        await central.put(f"/enrollmentGroups/a{number}", X509)
    answer = await central.get("/enrollmentGroups?$top=4")
    found = [group["id"] for group in answer.json()["value"]]
    following = await central.follow(answer)
    assert following is not None
    found += [group["id"] for group in following.json()["value"]]
    assert found == ["a0", "a1", "a2", "a3", "SAS-IoT-Devices", "SAS-IoT-Edge-Devices"]
    assert "nextLink" not in following.json()


async def test_a_body_that_does_not_fit_is_told_by_its_member(central: Central) -> None:
    for body, named in (
        ({"type": "iot", "attestation": {"type": "x509"}}, "displayName"),
        ({**X509, "type": "toaster"}, "toaster"),
        ({**X509, "displayNmae": "x"}, "displayNmae"),
        ({**X509, "attestation": {"type": "password"}}, "password"),
        ({**X509, "id": "other"}, "other"),
        ([], "object"),
    ):
        answer = await central.put("/enrollmentGroups/line-7", body)
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (422, "InvalidBody"), body
        assert named in error["message"], error
    answer = await central.put("/enrollmentGroups/line-7", b"{")
    assert (answer.status, answer.header("x-ms-error-code")) == (400, "BadRequest")
    assert (await central.get("/enrollmentGroups/line-7")).status == 404


async def test_a_private_key_is_refused_and_said_nowhere(central: Central) -> None:
    await central.put("/enrollmentGroups/line-7", X509)
    issued = certs.root()
    refused = await central.put(
        "/enrollmentGroups/line-7/certificates/primary", {"certificate": issued.key_pem().decode() + issued.pem()}
    )
    assert (refused.status, refused.header("moorage-reason")) == (400, "certificate.private_key")
    assert b"PRIVATE" not in refused.body

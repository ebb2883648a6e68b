"""A group's own certificates over our REST: proven by whoever holds the key, or vouched for where that is allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moorage.pki.issue import issue_verification
from tests.certs import NOW, Issued, device, root

from .world import DpsWorld, open_dps

GROUP = "/moorage/v1/enrollment-groups/line-7/certificates"


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[DpsWorld]:
    """A hub with `vouched_certificates = no`."""
    async with open_dps(tmp_path, vouching=False) as opened:
        yield opened


async def enroll(dps: DpsWorld, **slots: Issued) -> Any:
    certificates = {slot: {"certificate": ca.certificate.pem} for slot, ca in slots.items()}
    attestation = {"type": "x509", "x509": {"signingCertificates": certificates}}
    return await dps.put("/enrollmentGroups/line-7", attestation, enrollmentGroupId="line-7")


async def proof(dps: DpsWorld, ca: Issued, slot: str = "primary") -> dict[str, str]:
    coded = await dps.ask_as_owner("POST", f"{GROUP}/{slot}/code")
    assert coded.status_code == 200, coded.text
    return {"certificate": issue_verification(ca.certificate, ca.key, coded.json()["verificationCode"], now=NOW).pem}


async def register(dps: DpsWorld, ca: Issued, name: str) -> int:
    dps.shows(device(ca, name))
    body = f'{{"registrationId":"{name}"}}'.encode()
    return (await dps.device("PUT", f"{name}/register?api-version=2021-06-01", body)).status_code


@pytest.mark.parametrize("slot", ["primary", "secondary"])
async def test_a_group_admits_devices_once_its_certificate_is_proven(strict: DpsWorld, slot: str) -> None:
    ca = root()
    await enroll(strict, **{slot: ca})
    state = (await strict.ask_as_owner("GET", f"{GROUP}/{slot}")).json()
    assert (state["proof"], state["isVerified"], state["subject"]) == ("none", False, "CN=Plant Root")
    assert await register(strict, ca, "pump-01") == 401
    assert strict.world.attempts.reasons() == ["enrollment.unproven"]

    proven = await strict.ask_as_owner("POST", f"{GROUP}/{slot}/verify", await proof(strict, ca, slot))
    assert proven.status_code == 200
    assert (proven.json()["proof"], proven.json()["isVerified"]) == ("possession", True)
    assert proven.json()["sha256Thumbprint"] == ca.certificate.sha256
    assert await register(strict, ca, "pump-01") == 202


async def test_a_code_is_told_once_and_used_once(strict: DpsWorld) -> None:
    ca = root()
    await enroll(strict, primary=ca)
    body = await proof(strict, ca)
    assert "verificationCode" not in (await strict.ask_as_owner("GET", f"{GROUP}/primary")).json()
    assert (await strict.ask_as_owner("POST", f"{GROUP}/primary/verify", body)).status_code == 200
    again = await strict.ask_as_owner("POST", f"{GROUP}/primary/verify", body)
    assert again.status_code == 400
    assert again.json()["error"]["reason"] == "proof.no_code"
    assert again.json()["error"]["fix"] == "moorage enrollment-group code line-7"


async def test_a_proof_by_another_key_proves_nothing_and_leaves_the_code_good(strict: DpsWorld) -> None:
    ca, twin = root(), root("Plant Root", label="other")
    await enroll(strict, primary=ca)
    code = (await strict.ask_as_owner("POST", f"{GROUP}/primary/code")).json()["verificationCode"]
    answers = [
        await strict.ask_as_owner(
            "POST",
            f"{GROUP}/primary/verify",
            {"certificate": issue_verification(each.certificate, each.key, code, now=NOW).pem},
        )
        for each in (twin, ca)
    ]
    assert answers[0].json()["error"]["reason"] == "proof.wrong_signer"
    assert answers[1].json()["proof"] == "possession"


async def test_vouching_is_refused_where_the_hub_forbids_it_and_names_the_way(strict: DpsWorld) -> None:
    await enroll(strict, secondary=root())
    refused = await strict.ask_as_owner("POST", f"{GROUP}/secondary/vouch")
    assert refused.status_code == 409
    error = refused.json()["error"]
    assert (error["reason"], error["fix"]) == (
        "enrollment.vouching_off",
        "moorage enrollment-group code line-7 --slot secondary",
    )


async def test_the_owner_vouches_and_is_named_in_the_audit_log(dps: DpsWorld, caplog: pytest.LogCaptureFixture) -> None:
    ca = root()
    await dps.world.enroll_group("line-7", ca.certificate, vouched=False)
    assert await register(dps, ca, "pump-01") == 401
    with caplog.at_level("INFO", "moorage.audit"):
        vouched = await dps.ask_as_owner("POST", f"{GROUP}/primary/vouch")
    assert vouched.json()["proof"] == "vouched"
    assert (
        f"enrollment.vouched hub=hub group=line-7 slot=primary thumbprint={ca.certificate.sha256} by=owner"
        in caplog.text
    )
    assert await register(dps, ca, "pump-01") == 202


async def test_a_change_by_etag_fails_when_the_group_has_changed(strict: DpsWorld) -> None:
    await enroll(strict, primary=root())
    etag = (await strict.ask_as_owner("GET", f"{GROUP}/primary")).json()["etag"]
    coded = await strict.ask_as_owner("POST", f"{GROUP}/primary/code", if_match=etag)
    assert coded.status_code == 200
    stale = await strict.ask_as_owner("POST", f"{GROUP}/primary/code", if_match=etag)
    assert (stale.status_code, stale.json()["error"]["reason"]) == (412, "etag.stale")
    assert (await strict.ask_as_owner("POST", f"{GROUP}/primary/code", if_match="*")).status_code == 200


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"{GROUP}/secondary", "enrollment.slot_empty"),
        (f"{GROUP}/tertiary", "route.unknown"),
        ("/moorage/v1/enrollment-groups/nobody/certificates/primary", "enrollment.unknown"),
    ],
)
async def test_what_is_not_there_is_not_found(dps: DpsWorld, path: str, reason: str) -> None:
    await enroll(dps, primary=root())
    body = {"certificate": root().certificate.pem}
    for method, action in (("GET", ""), ("POST", "/code"), ("POST", "/verify"), ("POST", "/vouch")):
        answer = await dps.ask_as_owner(method, path + action, body)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (404, reason), action


@pytest.mark.parametrize("body", [{}, {"certificate": 7}, {"certificate": "no certificate"}, []])
async def test_a_body_without_a_certificate_is_refused(dps: DpsWorld, body: Any) -> None:
    await enroll(dps, primary=root())
    assert (await dps.ask_as_owner("POST", f"{GROUP}/primary/verify", body)).status_code == 400


async def test_nobody_but_the_owner_may(dps: DpsWorld) -> None:
    await enroll(dps, primary=root())
    for method, action in (("GET", ""), ("POST", "/code"), ("POST", "/verify"), ("POST", "/vouch")):
        for policy in (None, "provisioningserviceowner"):
            answer = await dps.ask(method, f"{GROUP}/primary{action}", {}, policy=policy)
            assert answer.status_code == 401, (action, policy)

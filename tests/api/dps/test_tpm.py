"""Attesting with a TPM over HTTPS: the challenge, the token that answers it, and everything that does not (T7)."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import pytest

from moorage.dialects.dps_allocation import allocation_request
from moorage.identities.model import BySharedKey
from moorage.identities.sas import key_bytes
from moorage.ids import DEFAULT_HUB, RegistrationId, Secret
from moorage.provisioning.allocation import AllocationQuestion
from moorage.provisioning.model import ByTpm
from moorage.provisioning.tpm_challenges import ANSWER_WITHIN, FORGOTTEN_AFTER
from tests.certs import self_signed
from tests.soft_tpms import SoftTpm
from tests.tpms import ECC_STORAGE, RSA_STORAGE, TpmDevice, running_tpm
from tests.unit.provisioning.world import HOST, SCOPE

from .world import DpsWorld


class Tpm(Protocol):
    endorsement_key: bytes
    storage_root_key: bytes

    def activate(self, blob: bytes) -> None: ...

    def sign(self, data: bytes) -> bytes: ...


def text_of(key: bytes) -> str:
    return base64.b64encode(key).decode()


async def enrolled(dps: DpsWorld, tpm: Tpm, name: str = "pump-01", *, pins: bool = False, **fields: Any) -> None:
    storage = text_of(tpm.storage_root_key) if pins else None
    await dps.world.enroll(name, attestation=ByTpm(text_of(tpm.endorsement_key), storage), **fields)


def token_of(dps: DpsWorld, tpm: Tpm, name: str = "pump-01", *, lives: timedelta = timedelta(hours=1)) -> Secret:
    """As the SDKs make it, signed in the TPM."""
    sr = quote(f"{SCOPE}/registrations/{name}", safe="")
    se = str(int((dps.world.clock.now() + lives).timestamp()))
    signature = quote(text_of(tpm.sign(f"{sr}\n{se}".encode())), safe="")
    return Secret(f"SharedAccessSignature sr={sr}&sig={signature}&se={se}&skn=registration")


async def ask(dps: DpsWorld, tpm: Tpm, name: str = "pump-01", *, token: Secret | None = None) -> httpx.Response:
    shown = {"endorsementKey": text_of(tpm.endorsement_key), "storageRootKey": text_of(tpm.storage_root_key)}
    body = f'{{"registrationId":"{name}","tpm":{{"endorsementKey":"{shown["endorsementKey"]}",'
    body += f'"storageRootKey":"{shown["storageRootKey"]}"}}}}'
    return await dps.device("PUT", f"{name}/register?api-version=2021-06-01", body.encode(), token=token)


async def challenged(dps: DpsWorld, tpm: Tpm, name: str = "pump-01") -> Secret:
    """Take in the challenge; the token that answers it."""
    answer = await ask(dps, tpm, name)
    assert answer.status_code == 401, answer.text
    body = answer.json()
    assert set(body) == {"errorCode", "message", "authenticationKey", "keyName", "trackingId", "timestampUtc"}
    assert body["errorCode"] == 401002
    assert body["keyName"] == "registration"
    tpm.activate(base64.b64decode(body["authenticationKey"]))
    return token_of(dps, tpm, name)


async def polled(dps: DpsWorld, registered: httpx.Response, token: Secret, name: str = "pump-01") -> httpx.Response:
    assert registered.status_code == 202, registered.text
    while True:
        answer = await dps.device("GET", f"{name}/operations/{registered.json()['operationId']}", token=token)
        if answer.status_code != 202:
            return answer


async def provisioned(dps: DpsWorld, tpm: Tpm, name: str = "pump-01") -> dict[str, Any]:
    """The registration's state, once the TPM has taken in the key for the hub."""
    token = await challenged(dps, tpm, name)
    # As IoT Edge: it shows its keys in the first request only.
    registered = await dps.device("PUT", f"{name}/register", b"{}", token=token)
    answer = await polled(dps, registered, token, name)
    assert answer.status_code == 200, answer.text
    state: dict[str, Any] = answer.json()["registrationState"]
    tpm.activate(base64.b64decode(state["tpm"]["authenticationKey"]))
    return state


def hub_key(dps: DpsWorld, name: str = "pump-01") -> bytes:
    identity = dps.world.identity(name)
    assert identity is not None
    assert isinstance(identity.authentication, BySharedKey)
    return key_bytes(identity.authentication.primary)


def reasons(dps: DpsWorld) -> list[str | None]:
    return dps.world.attempts.reasons()


async def is_kept_out(dps: DpsWorld, answer: httpx.Response, reason: str) -> None:
    """The device hears what every stranger hears, and the operator why."""
    assert answer.status_code == 401
    body = answer.json()
    assert body["errorCode"] == 401002
    assert body["message"] == "Unauthorized. The reason is kept under the tracking id"
    attempt = dps.world.attempts.kept[-1]
    assert (attempt.reason, attempt.tracking_id) == (reason, body["trackingId"])
    assert any(check.name == reason and check.passed is False for check in attempt.checks)


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
async def test_a_tpm_registers_and_gets_the_key_of_its_identity(dps: DpsWorld, kind: str) -> None:
    tpm = SoftTpm("edge", kind)
    await enrolled(dps, tpm, pins=True)
    state = await provisioned(dps, tpm)
    assert (state["assignedHub"], state["deviceId"], state["substatus"]) == (HOST, "pump-01", "initialAssignment")
    assert tpm.key == hub_key(dps)
    assert len(tpm.key) == 32
    assert dps.world.registrations.get(RegistrationId("pump-01")).attestation_kind == "tpm"
    passed = [check.name for check in dps.world.attempts.kept[-1].checks]
    assert passed == [
        "enrollment.individual",
        "tpm.challenge",
        "attestation.endorsement_key",
        "attestation.storage_root_key",
        "token.expired",
        "registration.case_conflict",
        "enrollment.disabled",
    ]
    assert set(reasons(dps)) == {None}


@pytest.mark.parametrize("template", [RSA_STORAGE, ECC_STORAGE], ids=["rsa", "ecc"])
async def test_swtpm_registers_and_gets_the_key_of_its_identity(
    dps: DpsWorld, tmp_path: Path, template: tuple[int, bytes]
) -> None:
    with running_tpm(tmp_path / "swtpm") as running:
        tpm = TpmDevice(running, template)
        await enrolled(dps, tpm)
        for _ in range(2):
            await provisioned(dps, tpm)
            soft = SoftTpm()
            soft.key = hub_key(dps)
            assert tpm.sign(b"anything") == soft.sign(b"anything")


async def test_each_registration_gives_a_new_key_and_the_operator_reads_none(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm, device_id="pump-of-line-7")
    await provisioned(dps, tpm)
    first = hub_key(dps, "pump-of-line-7")
    state = await provisioned(dps, tpm)
    assert state["deviceId"] == "pump-of-line-7"
    assert tpm.key == hub_key(dps, "pump-of-line-7") != first
    shown = (await dps.ask("GET", "/registrations/pump-01")).text
    assert "tpm" not in shown
    mechanism = (await dps.ask("POST", "/enrollments/pump-01/attestationmechanism")).json()
    assert mechanism == {"type": "tpm", "tpm": {"endorsementKey": text_of(tpm.endorsement_key)}}


async def test_who_is_not_enrolled_is_challenged_like_everybody_and_the_operator_reads_why(dps: DpsWorld) -> None:
    tpm, other = SoftTpm(), SoftTpm("another")
    await enrolled(dps, tpm, pins=True)
    await dps.world.enroll("pump-02", self_signed("pump-02").certificate)
    await dps.world.enroll("pump-03", attestation=ByTpm("AToAAQ=="))
    for name, shown, reason in (
        ("pump-01", other, "attestation.endorsement_key"),
        ("pump-01", SoftTpm(owner="new"), "attestation.storage_root_key"),
        ("pump-02", tpm, "attestation.kind"),
        ("pump-03", tpm, "attestation.endorsement_key"),
        ("pump-04", tpm, "enrollment.unknown"),
    ):
        token = await challenged(dps, shown, name)
        assert reasons(dps)[-1] == reason
        assert dps.world.attempts.kept[-1].checks
        before = len(reasons(dps))
        answer = await dps.device("PUT", f"{name}/register", b"{}", token=token)
        assert (answer.status_code, answer.json()["errorCode"]) == (401, 401002)
        assert len(reasons(dps)) == before + 1
    assert dps.world.identity("pump-02") is None


async def test_the_challenges_of_strangers_and_of_who_is_enrolled_look_alike(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    answers = [await ask(dps, tpm), await ask(dps, SoftTpm("another")), await ask(dps, tpm, "pump-09")]
    assert len({(each.status_code, len(each.content), *sorted(each.json())) for each in answers}) == 1
    headers = [{name: value for name, value in each.headers.items() if "date" not in name} for each in answers]
    assert headers[0].keys() == headers[1].keys() == headers[2].keys()


async def test_only_the_tpm_that_was_challenged_can_answer(dps: DpsWorld) -> None:
    tpm, thief = SoftTpm(), SoftTpm("another")
    await enrolled(dps, tpm)
    blob = base64.b64decode((await ask(dps, tpm)).json()["authenticationKey"])
    with pytest.raises(ValueError):
        thief.activate(blob)
    thief.key = bytes(32)
    answer = await ask(dps, tpm, token=token_of(dps, thief))
    await is_kept_out(dps, answer, "tpm.challenge_unknown")


async def test_a_challenge_is_answered_in_time_or_not_at_all(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    token = await challenged(dps, tpm)
    dps.world.clock.advance(ANSWER_WITHIN.total_seconds())
    await is_kept_out(dps, await ask(dps, tpm, token=token), "tpm.challenge_expired")
    # It begins again, and is let in.
    await provisioned(dps, tpm)


async def test_a_challenge_is_used_up_once_the_device_was_told_its_hub(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    token = await challenged(dps, tpm)
    registered = await ask(dps, tpm, token=token)
    # Its connection broke before the answer came: it says the same again.
    assert (await ask(dps, tpm, token=token)).json() == registered.json()
    first = await polled(dps, registered, token)
    before = hub_key(dps)
    await is_kept_out(dps, await ask(dps, tpm, token=token), "tpm.challenge_used")
    # The result may be asked for again, and is the same key in another wrapper.
    second = await polled(dps, registered, token)
    wrapped = [each.json()["registrationState"]["tpm"]["authenticationKey"] for each in (first, second)]
    assert wrapped[0] != wrapped[1]
    for each in wrapped:
        tpm.activate(base64.b64decode(each))
        assert tpm.key == before == hub_key(dps)
    dps.world.clock.advance(FORGOTTEN_AFTER.total_seconds())
    await is_kept_out(
        dps,
        await dps.device("GET", f"pump-01/operations/{registered.json()['operationId']}", token=token),
        "tpm.challenge_expired",
    )


async def test_a_later_registration_makes_the_token_of_an_earlier_one_void(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    token = await challenged(dps, tpm)
    registered = await ask(dps, tpm, token=token)
    await polled(dps, registered, token)
    await provisioned(dps, tpm)
    operation = registered.json()["operationId"]
    late = await dps.device("GET", f"pump-01/operations/{operation}", token=token)
    await is_kept_out(dps, late, "tpm.challenge_unknown")


async def test_who_only_answered_has_no_result_to_ask_for(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    await provisioned(dps, tpm)
    operation = dps.world.registrations.get(RegistrationId("pump-01")).operation_id
    token = await challenged(dps, tpm)
    await is_kept_out(
        dps, await dps.device("GET", f"pump-01/operations/{operation}", token=token), "tpm.challenge_unknown"
    )
    await is_kept_out(dps, await dps.device("POST", "pump-01", token=token), "tpm.challenge_unknown")


async def test_nobody_makes_a_challenge_void_by_asking_in_the_devices_place(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    token = await challenged(dps, tpm)
    for _ in range(20):
        await ask(dps, tpm)
        await ask(dps, SoftTpm("another"))
    assert (await ask(dps, tpm, token=token)).status_code == 202


async def test_what_a_process_knew_of_challenges_ends_with_it(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    token = await challenged(dps, tpm)
    dps.world.exchange._registrations = dps.world.new_process()
    await is_kept_out(dps, await ask(dps, tpm, token=token), "tpm.challenge_unknown")
    await provisioned(dps, tpm)


async def test_what_changes_in_the_enrollment_holds_for_challenges_that_are_out(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    token = await challenged(dps, tpm)
    other = SoftTpm("another")
    await dps.world.enroll("pump-01", attestation=ByTpm(text_of(other.endorsement_key)), if_match="*")
    await is_kept_out(dps, await ask(dps, tpm, token=token), "attestation.endorsement_key")


async def test_a_disabled_enrollment_is_told_to_the_tpm_that_proved_itself_alone(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm, status="disabled")
    token = await challenged(dps, tpm)
    answer = await ask(dps, tpm, token=token)
    assert reasons(dps)[-1] == "enrollment.disabled"
    assert "is disabled" in answer.json()["message"]
    stranger = await challenged(dps, SoftTpm("another"))
    await is_kept_out(dps, await ask(dps, SoftTpm("another"), token=stranger), "tpm.challenge_unknown")


async def test_a_token_has_to_be_for_this_registration_and_alive(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    await challenged(dps, tpm)
    await is_kept_out(dps, await ask(dps, tpm, token=token_of(dps, tpm, "pump-02")), "token.audience")
    old = token_of(dps, tpm, lives=-timedelta(hours=1))
    await is_kept_out(dps, await ask(dps, tpm, token=old), "token.expired")


async def test_a_certificate_does_not_stand_in_for_the_tpm(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    dps.shows(self_signed("pump-01"))
    await is_kept_out(dps, await dps.device("PUT", "pump-01/register", b"{}"), "attestation.kind")


async def test_where_tokens_of_devices_are_switched_off_a_tpm_registers_no_more(dps: DpsWorld) -> None:
    tpm = SoftTpm()
    await enrolled(dps, tpm)
    token = await challenged(dps, tpm)
    await dps.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": True})
    await is_kept_out(dps, await ask(dps, tpm, token=token), "sas.disabled_for_devices")


@pytest.mark.parametrize(
    ("tpm", "code", "says"),
    [
        ('{"endorsementKey":"AToAAQ=="}', 400004, "endorsement key is not taken"),
        ('{"storageRootKey":"AToAAQ=="}', 400004, "tpm.endorsementKey is missing"),
        ('{"endorsementKey":"%%%","storageRootKey":""}', 400004, "base64"),
        ('{"endorsementKey":7}', 400004, "has to be a string"),
        ('"text"', 400004, "has to be an object"),
    ],
)
async def test_keys_that_are_none_are_told_so(dps: DpsWorld, tpm: str, code: int, says: str) -> None:
    answer = await dps.device("PUT", "pump-01/register", f'{{"tpm":{tpm}}}'.encode())
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert says in answer.json()["message"]


async def test_a_web_hook_reads_that_it_is_a_tpm(dps: DpsWorld) -> None:
    enrollment = await dps.world.enroll("pump-01", attestation=ByTpm("AToAAQ=="))
    asked = allocation_request(AllocationQuestion(enrollment, enrollment.registration_id, [HOST]))
    assert asked["deviceRuntimeContext"] == {"registrationId": "pump-01", "tpm": {}}

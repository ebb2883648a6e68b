"""An individual enrollment that attests with a TPM, when the device answers the challenge to it."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest

from moorage.errors import Check, Refusal
from moorage.identities.credentials import Presented
from moorage.identities.model import SasSwitches
from moorage.identities.sas import SasToken, make_token
from moorage.ids import DEFAULT_HUB, CAName, IdScope, RegistrationId, Secret
from moorage.pki.tpm import parse_public
from moorage.provisioning.attestation import Claim, check_switches, judge_individual
from moorage.provisioning.model import Attestation, ByCAReferences, ByTpm, IndividualEnrollment
from moorage.provisioning.tpm_attestation import TpmAnswer
from moorage.provisioning.tpm_challenges import TpmChallenge, TpmChallenges, TpmKeys
from tests.certs import NOW
from tests.soft_tpms import SoftTpm

PUMP = RegistrationId("pump-01")
CLAIM = Claim(IdScope("0ne00ABCDEF"), PUMP)
AUDIENCE = "0ne00ABCDEF/registrations/pump-01"
TPM = SoftTpm(kind="ecc")
KEYS = TpmKeys(parse_public(TPM.endorsement_key, "EK"), parse_public(TPM.storage_root_key, "SRK"))
ENROLLED = ByTpm(base64.b64encode(TPM.endorsement_key).decode(), base64.b64encode(TPM.storage_root_key).decode())
HOUR = timedelta(hours=1)


class Challenged:
    """A device that was given a challenge."""

    def __init__(self) -> None:
        self.challenges = TpmChallenges()
        self.challenge = self.challenges.open(PUMP, KEYS, NOW)
        self.asked: list[tuple[RegistrationId, datetime]] = []

    def answer(self, registration_id: RegistrationId, token: SasToken, now: datetime) -> TpmChallenge:
        self.asked.append((registration_id, now))
        return self.challenges.for_registering(registration_id, token, now)

    def token(
        self, audience: str = AUDIENCE, *, ends: datetime = NOW + HOUR, policy: str | None = "registration"
    ) -> Secret:
        return make_token(audience, self.challenge.key, ends, policy)


@pytest.fixture
def device() -> Challenged:
    return Challenged()


def enrollment(attestation: Attestation = ENROLLED, **more: object) -> IndividualEnrollment:
    return IndividualEnrollment(DEFAULT_HUB, attestation, 1, NOW, NOW, registration_id=PUMP, **more)  # type: ignore[arg-type] # its members


def refused(
    token: Secret | None, answer: TpmAnswer | None, enrolled: IndividualEnrollment | None = None, claim: Claim = CLAIM
) -> Refusal:
    with pytest.raises(Refusal) as caught:
        judge_individual(enrolled or enrollment(), claim, Presented(None, token, ""), NOW, answer=answer)
    assert caught.value.checks[-1].passed is False
    return caught.value


def test_a_device_that_answers_registers_with_the_keys_that_were_made_for_it(device: Challenged) -> None:
    admission = judge_individual(enrollment(), CLAIM, Presented(None, device.token(), ""), NOW, answer=device.answer)
    assert (admission.kind, admission.device_id, admission.certificate) == ("tpm", "pump-01", None)
    assert admission.challenge is device.challenge
    assert admission.authentication is device.challenge.hub_keys
    assert device.asked == [(PUMP, NOW)]
    assert admission.checks == (
        Check("enrollment.individual", True, "enrollment 'pump-01'"),
        Check("tpm.challenge", True, f"answered; it was given at {NOW:%H:%M:%SZ}"),
        Check("attestation.endorsement_key", True, f"SHA-256 {KEYS.endorsement.sha256}"),
        Check("attestation.storage_root_key", True, f"SHA-256 {KEYS.storage.sha256}"),
        Check("token.expired", True, f"valid until {NOW + HOUR:%Y-%m-%dT%H:%M:%SZ}"),
        Check("registration.case_conflict", True, "pump-01"),
        Check("enrollment.disabled", True, "enrollment 'pump-01' is enabled"),
    )


def test_without_a_token_or_where_nobody_is_challenged_a_tpm_cannot_attest(device: Challenged) -> None:
    for token, answer in ((None, device.answer), (device.token(), None)):
        refusal = refused(token, answer)
        assert (refusal.reason, refusal.message.partition(";")[0]) == (
            "attestation.kind",
            "enrollment 'pump-01' attests with a TPM",
        )
    assert device.asked == []


def test_what_groups_attest_with_is_nothing_for_one_device(device: Challenged) -> None:
    refusal = refused(device.token(), device.answer, enrollment(ByCAReferences(CAName("plant"))))
    assert (refusal.reason, refusal.message) == (
        "attestation.kind",
        "enrollment 'pump-01' attests with an X.509 client certificate; the device showed a token",
    )


def test_the_token_is_for_this_registration_signed_with_the_key_of_the_challenge_and_in_time(
    device: Challenged,
) -> None:
    other = "0ne00ABCDEF/registrations/pump-02"
    assert refused(device.token(other), device.answer).reason == "token.audience"
    assert refused(device.token(policy="owner"), device.answer).reason == "token.policy"
    assert device.asked == [], "what is not for this registration is not looked for"
    strange = make_token(AUDIENCE, Secret("AAECAwQFBgcICQoLDA0ODw=="), NOW + HOUR, "registration")
    assert refused(strange, device.answer).reason == "tpm.challenge_unknown"
    assert refused(device.token(ends=NOW - HOUR), device.answer).reason == "token.expired"
    assert refused(Secret("no token"), device.answer).reason == "token.malformed"


def test_the_keys_are_those_that_are_enrolled_when_the_device_answers(device: Challenged) -> None:
    other = SoftTpm("other", kind="ecc")
    replaced = ByTpm(base64.b64encode(other.endorsement_key).decode())
    refusal = refused(device.token(), device.answer, enrollment(replaced))
    assert refusal.reason == "attestation.endorsement_key"
    assert refusal.fix == "moorage enrollment update pump-01 --tpm FILE"
    assert [check.name for check in refusal.checks][:2] == ["enrollment.individual", "tpm.challenge"]


def test_another_spelling_of_the_id_and_a_disabled_enrollment_are_refused_at_the_end(device: Challenged) -> None:
    louder = Claim(CLAIM.scope, RegistrationId("PUMP-01"))
    assert refused(device.token(), device.answer, claim=louder).reason == "registration.case_conflict"
    assert refused(device.token(), device.answer, enrollment(status="disabled")).reason == "enrollment.disabled"


def test_where_tokens_of_devices_are_switched_off_no_tpm_brings_one_in(device: Challenged) -> None:
    admission = judge_individual(enrollment(), CLAIM, Presented(None, device.token(), ""), NOW, answer=device.answer)
    check_switches(admission, SasSwitches(disable_module_sas=True))
    with pytest.raises(Refusal) as caught:
        check_switches(admission, SasSwitches(disable_device_sas=True))
    assert caught.value.reason == "sas.disabled_for_devices"

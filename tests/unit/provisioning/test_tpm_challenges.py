"""What is remembered of challenges, and for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorage.errors import Unauthenticated
from moorage.identities.sas import SasToken, make_token, parse_token
from moorage.ids import RegistrationId
from moorage.pki.tpm import parse_public
from moorage.provisioning import tpm_challenges
from moorage.provisioning.tpm_challenges import (
    ANSWER_WITHIN,
    FORGOTTEN_AFTER,
    MAX_OF_ONE,
    TpmChallenge,
    TpmChallenges,
    TpmKeys,
)
from tests.certs import NOW
from tests.soft_tpms import SoftTpm

PUMP = RegistrationId("pump-01")


def keys_of(tpm: SoftTpm) -> TpmKeys:
    return TpmKeys(parse_public(tpm.endorsement_key, "EK"), parse_public(tpm.storage_root_key, "SRK"))


KEYS = keys_of(SoftTpm(kind="ecc"))


def token(challenge: TpmChallenge) -> SasToken:
    return parse_token(make_token("scope/registrations/pump-01", challenge.key, NOW + timedelta(days=1)).reveal())


def test_who_asks_again_soon_is_given_the_same_key_and_later_another() -> None:
    challenges = TpmChallenges()
    first = challenges.open(PUMP, KEYS, NOW)
    assert challenges.open(RegistrationId("PUMP-01"), KEYS, NOW + ANSWER_WITHIN / 3) is first
    later = challenges.open(PUMP, KEYS, NOW + ANSWER_WITHIN / 2)
    assert later.key.reveal() != first.key.reveal()
    for each in (first, later):
        assert challenges.for_registering(PUMP, token(each), NOW + ANSWER_WITHIN / 2) is each


def test_the_challenges_of_one_device_are_few() -> None:
    challenges = TpmChallenges()
    given = [challenges.open(PUMP, keys_of(SoftTpm(kind="ecc", owner=str(n))), NOW) for n in range(MAX_OF_ONE + 1)]
    with pytest.raises(Unauthenticated, match=r"tpm\.challenge_unknown"):
        challenges.for_registering(PUMP, token(given[0]), NOW)
    for each in given[1:]:
        assert challenges.for_registering(PUMP, token(each), NOW) is each


def test_what_nobody_may_use_any_more_is_forgotten() -> None:
    challenges = TpmChallenges()
    for number in range(20):
        challenges.open(RegistrationId(f"pump-{number}"), KEYS, NOW)
    # This one is still in use when the others are not.
    late = challenges.open(RegistrationId("pump-0"), KEYS, NOW + FORGOTTEN_AFTER / 2)
    challenges.settle(RegistrationId("pump-0"), late)
    assert len(challenges) == 20
    challenges.open(PUMP, KEYS, NOW + FORGOTTEN_AFTER)
    assert len(challenges) == 2
    asked = parse_token(make_token("scope/registrations/pump-0", late.key, NOW + timedelta(days=1)).reveal())
    assert challenges.for_asking(RegistrationId("pump-0"), asked, NOW + FORGOTTEN_AFTER) is late


def test_as_many_devices_are_remembered_as_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm_challenges, "MAX_CHALLENGED", 3)
    challenges = TpmChallenges()
    for number in range(10):
        challenges.open(RegistrationId(f"pump-{number}"), KEYS, NOW)
    assert len(challenges) == 3
    last = challenges.open(RegistrationId("pump-9"), KEYS, NOW)
    assert challenges.for_registering(RegistrationId("pump-9"), token(last), NOW) is last

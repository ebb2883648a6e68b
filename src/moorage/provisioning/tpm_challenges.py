"""Challenges to TPMs: a key that only one TPM can take in, with which the device then signs its token.

    device: EK, SRK   ─►  a fresh key, wrapped for both        (whoever asks gets one)
    device: token     ─►  signed with a key that was given for an enrolled EK, in time, and not used up

A stranger is given a challenge too, with a key that opens nothing: so nobody learns from the first step which ids and
which endorsement keys are enrolled here (decisions T7). Only challenges for the enrolled key are remembered, so what
strangers send takes no memory.

A challenge is answered within `ANSWER_WITHIN`, by registering. Until the device has been told its hub it may register
again with the same token, as clients do whose connection broke; then the challenge is used up, and the token serves
for nothing but asking for the result once more, until `FORGOTTEN_AFTER`. The challenges live in this process: after a
restart a device begins again with the first step.
"""

from __future__ import annotations

import base64
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from moorage.errors import Unauthenticated
from moorage.identities.model import BySharedKey
from moorage.identities.sas import SasToken, check_signature, key_bytes
from moorage.ids import RegistrationId, Secret
from moorage.pki.tpm import KEY_BYTES, TpmPublic, wrap_key

__all__ = [
    "ANSWER_WITHIN",
    "FORGOTTEN_AFTER",
    "MAX_CHALLENGED",
    "MAX_OF_ONE",
    "TpmChallenge",
    "TpmChallenges",
    "TpmKeys",
]

# A TPM takes seconds to take a key in.
ANSWER_WITHIN: Final = timedelta(minutes=5)
# The SDKs' tokens live for an hour.
FORGOTTEN_AFTER: Final = timedelta(hours=1)
MAX_CHALLENGED: Final = 10_000
# Of one device: an SRK changes when the TPM gets another owner.
MAX_OF_ONE: Final = 4
_START: Final = "register from the start: the TPM is challenged anew"


@dataclass(frozen=True, slots=True)
class TpmKeys:
    """What a device shows of its TPM."""

    endorsement: TpmPublic
    storage: TpmPublic


@dataclass(eq=False, slots=True)
class TpmChallenge:
    """A key that was given to one TPM, and the keys that its device gets for its hub."""

    keys: TpmKeys
    made: datetime
    key: Secret = field(default_factory=lambda: _new_key())
    hub_keys: BySharedKey = field(default_factory=lambda: BySharedKey(_new_key(), _new_key()))
    # A device registered with it; and has been told its hub.
    is_answered: bool = False
    is_used_up: bool = False

    def wrapped(self) -> bytes:
        """The challenge, as the device's TPM takes it in."""
        return _wrapped(self.keys, self.key)

    def wrapped_hub_key(self) -> bytes:
        """The primary key of the device's identity, likewise."""
        return _wrapped(self.keys, self.hub_keys.primary)


class TpmChallenges:
    """Those of one provisioning service."""

    def __init__(self) -> None:
        # By registration id in lower case; that which was asked for last is at the end.
        self._given: OrderedDict[str, list[TpmChallenge]] = OrderedDict()

    def open(self, registration_id: RegistrationId, keys: TpmKeys, now: datetime) -> TpmChallenge:
        """The challenge for a device that showed the enrolled endorsement key.

        Who asks again soon gets the same: nobody can make a device's challenge void by asking in its place.
        """
        self._forget(now)
        given = self._given.setdefault(registration_id.lower(), [])
        self._given.move_to_end(registration_id.lower())
        given[:] = [each for each in given if now < each.made + FORGOTTEN_AFTER]
        for each in given:
            if each.keys == keys and not each.is_used_up and now < each.made + ANSWER_WITHIN / 2:
                return each
        del given[: max(0, len(given) - MAX_OF_ONE + 1)]
        given.append(TpmChallenge(keys, now))
        while len(self._given) > MAX_CHALLENGED:
            self._given.popitem(last=False)
        return given[-1]

    def __len__(self) -> int:
        """Of how many devices there are any."""
        return len(self._given)

    def _forget(self, now: datetime) -> None:
        """Those who asked longest ago and have nothing that is remembered any more."""
        while self._given:
            oldest = next(iter(self._given))
            if any(now < each.made + FORGOTTEN_AFTER for each in self._given[oldest]):
                return
            del self._given[oldest]

    def decoy(self, keys: TpmKeys) -> bytes:
        """What a stranger is given: its TPM takes it in, and what it signs opens nothing."""
        return _wrapped(keys, _new_key())

    def settle(self, registration_id: RegistrationId, challenge: TpmChallenge) -> None:
        """A device registered by answering `challenge`: what else was given to it is void, and the keys with it."""
        challenge.is_answered = True
        self._given[registration_id.lower()] = [challenge]

    def for_registering(self, registration_id: RegistrationId, token: SasToken, now: datetime) -> TpmChallenge:
        """The challenge whose key signed the token.

        Raises:
            Unauthenticated: `tpm.challenge_unknown`, `tpm.challenge_expired`, `tpm.challenge_used`.
        """
        found = self._find(registration_id, token, answered_only=False)
        if now >= found.made + ANSWER_WITHIN:
            raise _expired(registration_id, found, now, ANSWER_WITHIN, "to register")
        if found.is_used_up:
            raise Unauthenticated(
                "tpm.challenge_used",
                f"the challenge to the TPM of {registration_id!r} from {found.made:%Y-%m-%dT%H:%M:%SZ} was answered "
                "already, and the device told its hub; each registration answers a challenge of its own",
                fix=_START,
            )
        return found

    def for_asking(self, registration_id: RegistrationId, token: SasToken, now: datetime) -> TpmChallenge:
        """The challenge by which the device registered, whose result it asks for now.

        Raises:
            Unauthenticated: `tpm.challenge_unknown`, `tpm.challenge_expired`.
        """
        found = self._find(registration_id, token, answered_only=True)
        if now >= found.made + FORGOTTEN_AFTER:
            raise _expired(registration_id, found, now, FORGOTTEN_AFTER, "until the result is asked for")
        return found

    def _find(self, registration_id: RegistrationId, token: SasToken, *, answered_only: bool) -> TpmChallenge:
        given = self._given.get(registration_id.lower(), ())
        known = [each for each in given if each.is_answered or not answered_only]
        try:
            place = check_signature(token, [key_bytes(each.key) for each in known], "a challenge")
        except Unauthenticated:
            raise Unauthenticated(
                "tpm.challenge_unknown",
                f"the token of {registration_id!r} is signed with the key of no challenge that is remembered for its "
                f"TPM; {len(known)} of them are",
                fix=_START,
            ) from None
        return known[place]


def _expired(
    registration_id: RegistrationId, challenge: TpmChallenge, now: datetime, given: timedelta, what: str
) -> Unauthenticated:
    return Unauthenticated(
        "tpm.challenge_expired",
        f"the TPM of {registration_id!r} was challenged at {challenge.made:%Y-%m-%dT%H:%M:%SZ}, and it is "
        f"{now:%Y-%m-%dT%H:%M:%SZ} now; {int(given.total_seconds())} seconds are given {what}",
        fix=_START,
    )


def _new_key() -> Secret:
    return Secret(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii"))


def _wrapped(keys: TpmKeys, key: Secret) -> bytes:
    return wrap_key(keys.endorsement, keys.storage, key_bytes(key))

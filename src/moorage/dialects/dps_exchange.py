"""One question of a provisioning device and its answer, the same over every transport.

The transports differ in where they carry the status, the retry interval and the body; what these say is decided here,
and here every attempt is recorded under the tracking id that the device is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from moorage.attempts.model import MAX_CLIENT, Attempt, AttemptSink, Door, refused
from moorage.clock import Clock
from moorage.dialects.dps_json import (
    RETRY_AFTER_S,
    challenge_json,
    disabled_json,
    error_json,
    is_disabled,
    operation_json,
    parse_register_body,
    parse_tpm,
    registration_json,
    retry_after_s,
)
from moorage.dialects.refusals import wire_error
from moorage.errors import Check, Invalid, Refusal
from moorage.identities.credentials import Presented
from moorage.ids import IdScope, Secret, new_tracking_id, parse_registration_id
from moorage.provisioning.attestation import Claim
from moorage.provisioning.registrations import Answer, RegistrationService, failure_of
from moorage.provisioning.tpm_challenges import TpmKeys

__all__ = ["Caller", "DpsExchange", "Reply"]

_MQTT_DOORS: Final = ("dps.mqtt", "dps.mqtt-ws")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the names as the device gave them, unchecked, and what it showed."""

    scope: str
    registration_id: str
    presented: Presented
    door: Door
    tls_version: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """`retry_after_s` is None when the device has nothing to wait for."""

    status: int
    body: dict[str, Any]
    retry_after_s: int | None = None


class DpsExchange:
    """Answers devices; never raises a `Refusal`."""

    def __init__(self, registrations: RegistrationService, attempts: AttemptSink, clock: Clock) -> None:
        self._registrations = registrations
        self._attempts = attempts
        self._clock = clock

    async def register(self, caller: Caller, body: bytes) -> Reply:
        """202 `assigning`, always: some clients understand no other first answer (devices.md 6.1)."""
        try:
            claim = _claim(caller)
            request = parse_register_body(body, claim.registration_id)
            if request.tpm is not None and caller.presented.token is None:
                return self._challenge_first(caller, claim, request.tpm)
            answer = await self._registrations.register(claim, caller.presented, request.payload)
        except Refusal as refusal:
            return self.refuse(caller, refusal)
        self._record(caller, answer.admission.checks)
        return Reply(202, operation_json(answer.registration, with_state=False), RETRY_AFTER_S)

    async def poll(self, caller: Caller, operation_id: str) -> Reply:
        """202 while `assigning`, else 200: also for a placing that failed."""
        answer = await self._ask(caller, lambda claim: self._registrations.poll(claim, operation_id, caller.presented))
        if isinstance(answer, Reply):
            return answer
        registration = answer.registration
        challenge = answer.admission.challenge if registration.status == "assigned" else None
        key = b"" if challenge is None else challenge.wrapped_hub_key()
        body = operation_json(registration, with_state=True, wrapped_key=key)
        if registration.status == "assigning":
            return Reply(202, body, RETRY_AFTER_S)
        failure = failure_of(registration)
        if failure is not None:
            self._record(caller, answer.admission.checks, failure)
        return Reply(200, body)

    async def look_up(self, caller: Caller) -> Reply:
        """The registration's state."""
        answer = await self._ask(caller, lambda claim: self._registrations.find_own(claim, caller.presented))
        if isinstance(answer, Reply):
            return answer
        return Reply(200, registration_json(answer.registration, to_device=True))

    def challenge(self, caller: Caller, keys: TpmKeys) -> tuple[bytes, str]:
        """What the device's TPM has to take in to register, and the tracking id under which it is written down if that
        will not help it. Raises `Invalid` (`id.registration`).
        """
        wrapped, refusal = self._registrations.challenge(_claim(caller), keys)
        return wrapped, new_tracking_id() if refusal is None else self._record(caller, (), refusal)

    def check_answer(self, caller: Caller, token: Secret) -> None:
        """Raises `Refusal` for a token that does not answer the challenge; the caller writes that down."""
        self._registrations.check_answer(_claim(caller), token)

    def refuse(self, caller: Caller, refusal: Refusal) -> Reply:
        """The "no", recorded."""
        tracking_id = self._record(caller, (), refusal)
        if caller.door in _MQTT_DOORS and is_disabled(refusal):
            # IoT Edge, which cannot read this status, speaks HTTPS and gets an error there (devices.md 6.5).
            return Reply(200, disabled_json(parse_registration_id(caller.registration_id)))
        body = error_json(refusal, tracking_id, self._clock.now())
        return Reply(wire_error(refusal).dps_status, body, retry_after_s(refusal))

    def _challenge_first(self, caller: Caller, claim: Claim, tpm: Mapping[str, Any]) -> Reply:
        if caller.door != "dps.https":
            raise Invalid(
                "attestation.kind",
                f"{claim.registration_id!r} asks to attest with a TPM: that takes HTTPS, or SASL's TPM in AMQP",
                fix="give the provisioning client another transport",
            )
        return Reply(401, challenge_json(*self.challenge(caller, parse_tpm(tpm)), self._clock.now()))

    async def _ask(self, caller: Caller, ask: Callable[[Claim], Awaitable[Answer]]) -> Answer | Reply:
        try:
            return await ask(_claim(caller))
        except Refusal as refusal:
            return self.refuse(caller, refusal)

    def _record(self, caller: Caller, checks: tuple[Check, ...], refusal: Refusal | None = None) -> str:
        attempt = Attempt(
            at=self._clock.now(),
            hub=self._registrations.hub,
            door=caller.door,
            tracking_id=new_tracking_id(),
            address=caller.presented.address,
            claimed_id=caller.registration_id[:128],
            chain=caller.presented.chain.certificates if caller.presented.chain else (),
            tls_version=caller.tls_version,
            client=caller.client[:MAX_CLIENT],
            credential=_credential(caller.presented),
            checks=checks,
        )
        if refusal is not None:
            refusal.checks = (*checks, *refusal.checks)
            attempt = refused(attempt, refusal)
        self._attempts.record(attempt)
        return attempt.tracking_id


def _claim(caller: Caller) -> Claim:
    return Claim(IdScope(caller.scope), parse_registration_id(caller.registration_id))


def _credential(presented: Presented) -> Literal["x509", "token", "none"]:
    if presented.token is not None:
        return "token"
    return "x509" if presented.chain else "none"

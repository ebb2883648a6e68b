"""What devices and operators say to the provisioning service about registrations, in its JSON, and its errors.

Shapes of contract/devices.md 6.5 and 6.6 and services.md 6.5; enrollments are in `dps_enrollments`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from moorage.dialects.json_text import parse_object
from moorage.dialects.members import get_object, get_text
from moorage.dialects.refusals import wire_error
from moorage.dialects.times import format_time
from moorage.errors import Exhausted, Forbidden, Invalid, Refusal, TooLarge, Unauthenticated
from moorage.ids import ETag, RegistrationId
from moorage.pki.tpm import parse_public
from moorage.provisioning.model import Registration
from moorage.provisioning.tpm_challenges import TpmKeys

__all__ = [
    "MAX_BODY_BYTES",
    "RETRY_AFTER_S",
    "RegisterRequest",
    "challenge_json",
    "disabled_json",
    "error_json",
    "is_disabled",
    "operation_json",
    "parse_register_body",
    "parse_tpm",
    "quoted",
    "registration_json",
    "retry_after_s",
]

# devices.md 6.1
MAX_BODY_BYTES: Final = 96 * 1024
# Placing takes milliseconds; clients wait two seconds when they are told nothing, and C rounds zero up to this.
RETRY_AFTER_S: Final = 1
# After an error that may pass.
_ERROR_RETRY_AFTER_S: Final = 5
# As for every device that is not let in.
_CHALLENGED: Final = 401002
# What a web hook or a linked hub answered, and where it is, is no device's business (decisions T7).
_OF_OTHERS: Final = frozenset({400207, 400209})


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """`payload` is for a web hook, None when the device sends none; `tpm` as it came, for `parse_tpm`."""

    payload: Any = None
    tpm: Mapping[str, Any] | None = None


def parse_register_body(body: bytes, registration_id: RegistrationId) -> RegisterRequest:
    """What a device sends along with its request to register.

    C# sends nothing at all when it has no payload, Python always sends `"payload": null` (devices.md 6.2). Any JSON is
    allowed.

    Raises:
        TooLarge: `body.size`.
        Invalid: `json.*`; `body.id` when it names another registration; `registration.csr` for a certificate request,
            which is not answered here.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge("body.size", f"the body has {len(body)} bytes, at most {MAX_BODY_BYTES} are allowed")
    if not body.strip():
        return RegisterRequest()
    request = parse_object(body, what="the registration request")
    named = request.get("registrationId")
    if named is not None and (not isinstance(named, str) or named.lower() != registration_id.lower()):
        raise Invalid(
            "body.id", f"registrationId in the body is {str(named)[:140]!r}, the request is for {registration_id!r}"
        )
    if request.get("csr") is not None:
        raise Invalid(
            "registration.csr",
            f"{registration_id!r} asks for a certificate to be issued at registration, which is not served here",
            fix=f"moorage cert device {registration_id}",
        )
    return RegisterRequest(request.get("payload"), get_object(request, "tpm"))


def parse_tpm(tpm: Mapping[str, Any]) -> TpmKeys:
    """`{"endorsementKey", "storageRootKey"}`, each a TPM2B_PUBLIC in base64.

    Raises:
        Invalid: `body.member`, `tpm.public_area`.
    """
    shown = []
    for member, what in (("endorsementKey", "the endorsement key"), ("storageRootKey", "the storage root key")):
        text = get_text(tpm, member, f"tpm.{member}")
        if text is None:
            raise Invalid("body.member", f"tpm.{member} is missing")
        try:
            shown.append(parse_public(base64.b64decode(text, validate=True), what))
        except ValueError:
            raise Invalid("body.member", f"tpm.{member} is base64 text; this cannot be decoded") from None
    return TpmKeys(*shown)


def challenge_json(challenge: bytes, tracking_id: str, now: datetime) -> dict[str, Any]:
    """What a device with a TPM is answered first, with status 401 (devices.md 6.7): an error document, and the key."""
    return {
        "errorCode": _CHALLENGED,
        "message": "Authorization required: sign the token with this key",
        "authenticationKey": base64.b64encode(challenge).decode("ascii"),
        "keyName": "registration",
        "trackingId": tracking_id,
        "timestampUtc": format_time(now),
    }


def operation_json(registration: Registration, *, with_state: bool, wrapped_key: bytes = b"") -> dict[str, Any]:
    """An operation's status. Without the state it is what the first request is answered with.

    `wrapped_key` is for the device's TPM.
    """
    answer: dict[str, Any] = {"operationId": registration.operation_id, "status": registration.status}
    if with_state:
        state = registration_json(registration, to_device=True)
        if wrapped_key:
            state["tpm"] = {"authenticationKey": base64.b64encode(wrapped_key).decode("ascii")}
        answer["registrationState"] = state
    return answer


def registration_json(registration: Registration, *, to_device: bool = False) -> dict[str, Any]:
    """The registration state. Where a device was before shows only while it is assigned (AZC: both or neither)."""
    state: dict[str, Any] = {
        "registrationId": registration.registration_id,
        "createdDateTimeUtc": format_time(registration.created),
    }
    if to_device:
        # If it held the certificate's details, Java would demand every one of them (devices.md 6.5).
        state[registration.attestation_kind] = {}
    if registration.status == "assigned":
        state |= {
            "assignedHub": registration.assigned_hub,
            "deviceId": registration.device_id,
            "substatus": registration.substatus,
        }
    state["status"] = registration.status
    if registration.status == "failed":
        message = registration.error_message
        if to_device and registration.error_code in _OF_OTHERS:
            message = f"{(message or '').partition(':')[0]}: the operator of the hub can read why"
        state |= {"errorCode": registration.error_code, "errorMessage": message}
    state |= {"lastUpdatedDateTimeUtc": format_time(registration.updated), "etag": quoted(registration.etag)}
    if registration.payload is not None:
        state["payload"] = registration.payload
    return state


def disabled_json(registration_id: RegistrationId) -> dict[str, Any]:
    """What the service says for a disabled enrollment, with status 200 (devices.md 6.5)."""
    return {
        "operationId": "",
        "status": "disabled",
        "registrationState": {"registrationId": registration_id, "status": "disabled"},
    }


def is_disabled(refusal: Refusal) -> bool:
    """Whether `disabled_json` is the answer, where the client reads it."""
    return isinstance(refusal, Forbidden) and refusal.reason == "enrollment.disabled"


def error_json(refusal: Refusal, tracking_id: str, now: datetime) -> dict[str, Any]:
    """The error document (devices.md 6.6).

    A peer whose credential was not accepted hears no reason: it is kept under the tracking id (decisions T7).
    """
    if isinstance(refusal, Unauthenticated):
        text = "Unauthorized. The reason is kept under the tracking id"
    else:
        text = f"{refusal.message}. {refusal.fix}" if refusal.fix else refusal.message
    return {
        "errorCode": wire_error(refusal).dps_code,
        "trackingId": tracking_id,
        "message": text,
        "timestampUtc": format_time(now),
    }


def retry_after_s(refusal: Refusal) -> int | None:
    """Seconds to tell a client that may try again: with 429 and all from 500 (devices.md 6.6)."""
    if isinstance(refusal, Exhausted):
        return max(1, refusal.retry_after_s)
    status = wire_error(refusal).dps_status
    return _ERROR_RETRY_AFTER_S if status == 429 or status >= 500 else None


def quoted(etag: ETag) -> str:
    """Etags of the provisioning service hold their own quotes (services.md P-1)."""
    return f'"{etag}"'

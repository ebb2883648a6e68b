"""What an individual enrollment says of a TPM, held against the TPM that is there: plain decisions.

They are made twice. When a device asks for a challenge they say whether it gets one that opens anything, which it is
not told; when it answers they are made again, since the enrollment may have changed meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime

from moorage.errors import Check, Unauthenticated
from moorage.identities.sas import SasToken
from moorage.ids import RegistrationId
from moorage.provisioning.model import ByTpm, IndividualEnrollment
from moorage.provisioning.tpm_challenges import TpmChallenge, TpmKeys

__all__ = ["TpmAnswer", "check_challengeable", "check_tpm_keys"]

# (registration id, token, now): the challenge of that device whose key signed the token. Raises `Unauthenticated`.
TpmAnswer = Callable[[RegistrationId, SasToken, datetime], TpmChallenge]


def check_challengeable(
    enrollment: IndividualEnrollment | None, registration_id: RegistrationId, keys: TpmKeys
) -> None:
    """Whether a device with this TPM is to be given a challenge that it can register with.

    Raises:
        Unauthenticated: `enrollment.unknown`, `attestation.kind`, `attestation.endorsement_key`,
            `attestation.storage_root_key`.
    """
    if enrollment is None:
        message = (
            f"there is no individual enrollment for {registration_id!r}, and no group takes the TPM that it attests "
            f"with; its endorsement key has SHA-256 {keys.endorsement.sha256}"
        )
        fix = f"moorage enrollment create {registration_id} --tpm FILE"
        raise Unauthenticated(
            "enrollment.unknown", message, fix=fix, checks=[Check("enrollment.individual", False, message)]
        )
    what = f"enrollment {enrollment.registration_id!r}"
    if not isinstance(enrollment.attestation, ByTpm):
        message = f"{what} does not attest with a TPM, which is what the device showed"
        raise Unauthenticated("attestation.kind", message, checks=[Check("attestation.kind", False, message)])
    check_tpm_keys(enrollment.attestation, keys, enrollment.registration_id)


def check_tpm_keys(enrolled: ByTpm, keys: TpmKeys, registration_id: RegistrationId) -> list[Check]:
    """Whether these are the keys that are enrolled; without a storage root key any of the TPM's is taken.

    Raises:
        Unauthenticated: `attestation.endorsement_key`, `attestation.storage_root_key`.
    """
    checks: list[Check] = []
    for reason, name, wanted, shown in (
        ("attestation.endorsement_key", "endorsement key", enrolled.endorsement_key, keys.endorsement),
        ("attestation.storage_root_key", "storage root key", enrolled.storage_root_key or None, keys.storage),
    ):
        if wanted is None:
            continue
        known = _area_of(wanted)
        if known != shown.area:
            message = f"the TPM's {name} has SHA-256 {shown.sha256}, that of enrollment {registration_id!r} " + (
                "cannot be read" if known is None else hashlib.sha256(known).hexdigest().upper()
            )
            fix = f"moorage enrollment update {registration_id} --tpm FILE"
            raise Unauthenticated(reason, message, fix=fix, checks=[*checks, Check(reason, False, message)])
        checks.append(Check(reason, True, f"SHA-256 {shown.sha256}"))
    return checks


def _area_of(enrolled: str) -> bytes | None:
    """The public area in an enrolled key, which may be any text in base64 (services.md P-11)."""
    try:
        data = base64.b64decode(enrolled, validate=True)
    except ValueError:
        return None
    return data[2:] if len(data) == 2 + int.from_bytes(data[:2], "big") else None

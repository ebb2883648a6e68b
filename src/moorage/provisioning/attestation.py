"""Whether a device may register: plain decisions over what it showed, the enrollments, and the time.

An individual enrollment for the registration id decides alone. Without one, the group whose certificate is the closest
signer on the device's chain decides; without a chain, the group whose key the device's key was derived from. The first
match decides: when it is disabled, or does not accept the credential, nothing after it is asked (contract/devices.md
6.7).

Until a credential was accepted for the registration id, every "no" is `Unauthenticated`: a stranger cannot tell an
unknown name from one he may not use (decisions T7). What exactly failed is in the reason, for the operator.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from moorage.certificates.model import RegisteredCA
from moorage.errors import Check, Conflict, Forbidden, NotFound, Refusal, Unauthenticated
from moorage.identities.credentials import Presented
from moorage.identities.model import Authentication, ByAuthority, BySharedKey, ByThumbprint, SasSwitches
from moorage.identities.sas import (
    SasToken,
    check_expiry,
    check_signature,
    key_bytes,
    parse_audience,
    parse_token,
    sign,
)
from moorage.ids import DeviceId, EnrollmentGroupId, IdScope, RegistrationId, Secret, parse_device_id
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.fixes import issuer_word
from moorage.pki.policy import PASSED, check_pinned
from moorage.pki.revocation import Revocation
from moorage.pki.validator import TrustAnchors, Validator
from moorage.pki.waivers import NO_WAIVERS, Waivers
from moorage.provisioning.anchors import Signer, how_to_prove
from moorage.provisioning.model import (
    ByCAReferences,
    ByClientCertificates,
    BySymmetricKey,
    ByTpm,
    Enrollment,
    EnrollmentGroup,
    IndividualEnrollment,
)
from moorage.provisioning.tpm_attestation import TpmAnswer, check_tpm_keys
from moorage.provisioning.tpm_challenges import TpmChallenge

__all__ = [
    "Admission",
    "AttestationKind",
    "Claim",
    "Groups",
    "check_switches",
    "derive_key",
    "judge_group",
    "judge_individual",
]

AttestationKind = Literal["x509", "symmetricKey", "tpm"]

# Of a chain that leads to a group's certificate: it has selected that group, and a token beside it is no fallback
# (decisions T4). A chain that leads to nobody here may be there for other reasons.
_OF_A_GROUP: Final = ("chain.revoked", "chain.revocation_unknown")

# The policy name that devices put into their tokens; some leave it out (contract/devices.md 1.6).
_TOKEN_POLICY: Final = "registration"

_CREDENTIAL_NAMES: Final = {
    "x509": "an X.509 client certificate",
    "symmetricKey": "a SAS token signed with its symmetric key",
    "tpm": "a TPM",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """The name a device speaks, before anything shows that it is its own."""

    scope: IdScope
    registration_id: RegistrationId


@dataclass(frozen=True, slots=True)
class Admission:
    """A device that may register: by which enrollment, and what the hub shall know it by. `certificate` is the one it
    showed, where that admitted it; `challenge` the one that its TPM answered.
    """

    enrollment: IndividualEnrollment | EnrollmentGroup
    device_id: DeviceId
    authentication: Authentication
    kind: AttestationKind
    checks: tuple[Check, ...]
    certificate: Certificate | None = None
    challenge: TpmChallenge | None = None

    @property
    def group_id(self) -> EnrollmentGroupId | None:
        return self.enrollment.group_id if isinstance(self.enrollment, EnrollmentGroup) else None


class Groups:
    """All that can vouch for a device without an enrollment of its own; not for use by several threads at once.

    Attributes:
        signers: every group's certificates, oldest group first.
        key_groups: the groups that attest by key, with their keys.
        authorities: the CAs registered with the provisioning service, which may complete a chain.
        validator: judges chains that shall end in a proven certificate of a group. That of a disabled group is among
            them: a device below it is stopped there, and does not climb past it to a group further up.
        other_ends: judges chains that end in a certificate that admits nobody, to say so.
    """

    def __init__(
        self,
        signers: Sequence[Signer] = (),
        groups: Sequence[EnrollmentGroup] = (),
        authorities: Sequence[RegisteredCA] = (),
        waivers: Waivers = NO_WAIVERS,
        revocation: Revocation | None = None,
    ) -> None:
        self.signers = tuple(signers)
        self.key_groups = tuple(
            (group, group.attestation) for group in groups if isinstance(group.attestation, BySymmetricKey)
        )
        self.authorities = tuple(authorities)
        proven = [signer.certificate for signer in signers if signer.is_proven]
        unproven = [signer.certificate for signer in signers if not signer.is_proven]
        proven_cas = [ca.certificate for ca in authorities if ca.is_verified]
        known = [signer.certificate for signer in signers] + [ca.certificate for ca in authorities]
        # A root completes no chain.
        known = [certificate for certificate in known if not certificate.is_self_issued]
        self.validator = Validator(TrustAnchors(proven, known), revocation=revocation, waivers=waivers)
        self.other_ends = Validator(
            TrustAnchors([*unproven, *proven_cas], known), revocation=revocation, waivers=waivers
        )

    def find_signer(self, certificate: Certificate, *, is_proven: bool) -> Signer | None:
        """The oldest group's slot that holds `certificate`."""
        return next(
            (each for each in self.signers if each.is_proven is is_proven and each.certificate == certificate), None
        )


def judge_individual(
    enrollment: IndividualEnrollment,
    claim: Claim,
    presented: Presented,
    now: datetime,
    waivers: Waivers = NO_WAIVERS,
    answer: TpmAnswer | None = None,
) -> Admission:
    """Whether `enrollment` admits who presented this; `answer` finds the challenge that a TPM's token answers.

    Raises:
        Unauthenticated: `attestation.kind`, `attestation.thumbprint`, `attestation.endorsement_key`,
            `attestation.storage_root_key`, `chain.*`, `token.*`, `tpm.challenge_*`.
        Conflict: `registration.case_conflict`.
        Forbidden: `enrollment.disabled`.
    """
    what = f"enrollment {enrollment.registration_id!r}"
    checks = [Check("enrollment.individual", True, what)]
    shown: Certificate | None = None
    challenge: TpmChallenge | None = None
    kind: AttestationKind
    authentication: Authentication
    try:
        match enrollment.attestation:
            case ByClientCertificates(primary, secondary) as pinned:
                chain = _chain(presented, what)
                checks.append(_check_listed(chain, enrollment, pinned, what))
                checks += _check_pinned(chain, now, waivers)
                shown = Certificate(chain.leaf)
                kind = "x509"
                authentication = ByThumbprint(
                    primary.sha256 if primary else None, secondary.sha256 if secondary else None
                )
            case BySymmetricKey(primary_key, secondary_key):
                token = _token(presented, what)
                checks += _check_token(token, claim, (key_bytes(primary_key), key_bytes(secondary_key)), what, now)
                kind = "symmetricKey"
                authentication = BySharedKey(primary_key, secondary_key)
            case ByTpm() as enrolled:
                if presented.token is None or answer is None:
                    raise _wrong_kind(what, "tpm", presented)
                token = parse_token(presented.token.reveal())
                _check_token_form(token, claim)
                challenge = answer(claim.registration_id, token, now)
                checks.append(Check("tpm.challenge", True, f"answered; it was given at {challenge.made:%H:%M:%SZ}"))
                checks += check_tpm_keys(enrolled, challenge.keys, enrollment.registration_id)
                check_expiry(token, now)
                checks.append(Check("token.expired", True, f"valid until {token.expires:%Y-%m-%dT%H:%M:%SZ}"))
                kind = "tpm"
                authentication = challenge.hub_keys
            case _:
                raise _wrong_kind(what, "x509", presented)
        if enrollment.registration_id != claim.registration_id:
            raise Conflict(
                "registration.case_conflict",
                f"the device registers as {claim.registration_id!r}, enrolled is {enrollment.registration_id!r}; "
                "registration ids are one name whatever their case, and have to be spelled alike",
                fix=f"register as {enrollment.registration_id}",
            )
        checks.append(Check("registration.case_conflict", True, enrollment.registration_id))
        checks.append(_check_enabled(enrollment, what, f"moorage enrollment update {claim.registration_id} --enable"))
    except Refusal as refusal:
        raise _with_checks(refusal, checks) from None
    device_id = enrollment.device_id or parse_device_id(enrollment.registration_id)
    return Admission(enrollment, device_id, authentication, kind, tuple(checks), shown, challenge)


def judge_group(groups: Groups, claim: Claim, presented: Presented, now: datetime) -> Admission:
    """Which group admits who presented this, when there is no individual enrollment.

    Raises:
        Unauthenticated: `credential.missing`, `enrollment.unknown`, `enrollment.unproven`, `registration.id_mismatch`,
            `chain.*`, `certificate.*`, `token.*`.
        NotFound: `enrollment.unknown`, to a peer whose chain ends in a CA that is proven here but in no group.
        Forbidden: `enrollment.disabled`.
    """
    checks = [Check("enrollment.individual", None, f"there is none for {claim.registration_id!r}")]
    try:
        if presented.chain:
            signer = _find_signer(groups, presented.chain, claim, checks, now, has_token=presented.token is not None)
            if signer is not None:
                return _admit_by_chain(signer, presented.chain, claim, checks)
        if presented.token is None:
            raise Unauthenticated(
                "credential.missing",
                f"{claim.registration_id!r} showed neither a client certificate nor a SAS token",
                fix="give the provisioning client its certificate and key, or its symmetric key",
            )
        return _admit_by_token(groups.key_groups, parse_token(presented.token.reveal()), claim, checks, now)
    except Refusal as refusal:
        raise _with_checks(refusal, checks) from None


def check_switches(admission: Admission, switches: SasSwitches) -> None:
    """A hub that takes no tokens of devices (services.md 5.4) brings none in by one either.

    Raises `Unauthenticated` (`sas.disabled_for_devices`).
    """
    if switches.disable_device_sas and admission.kind in ("symmetricKey", "tpm"):
        message = (
            f"'{admission.device_id}' registers with a token; tokens of devices are switched off (disableDeviceSAS)"
        )
        raise Unauthenticated(
            "sas.disabled_for_devices",
            message,
            fix="enroll the device with X.509",
            checks=(*admission.checks, Check("sas.disabled_for_devices", False, message)),
        )


def derive_key(master: Secret, registration_id: RegistrationId) -> Secret:
    """A device's key under a group's: the HMAC-SHA256 of its registration id as typed (contract/devices.md 1.6)."""
    return Secret(b64encode(hmac.digest(key_bytes(master), registration_id.encode(), hashlib.sha256)).decode("ascii"))


# --- certificates ------------------------------------------------------------------------------------------------


def _chain(presented: Presented, what: str) -> PeerChain:
    if not presented.chain:
        raise _wrong_kind(what, "x509", presented)
    return presented.chain


def _check_listed(chain: PeerChain, enrollment: IndividualEnrollment, pinned: ByClientCertificates, what: str) -> Check:
    shown = chain.leaf_sha256()
    slots = (("primary", pinned.primary), ("secondary", pinned.secondary))
    listed = {name: each.sha256 for name, each in slots if each is not None}
    for name, thumbprint in listed.items():
        if shown == thumbprint:
            return Check("attestation.thumbprint", True, f"{name} certificate, SHA-256 {shown}")
    known = " and ".join(f"{name} {thumbprint}" for name, thumbprint in listed.items()) or "no certificate"
    raise Unauthenticated(
        "attestation.thumbprint",
        f"the certificate shown has SHA-256 {shown}, {what} lists {known}",
        fix=f"moorage enrollment update {enrollment.registration_id} --secondary FILE",
    )


def _check_pinned(chain: PeerChain, now: datetime, waivers: Waivers) -> list[Check]:
    verified = check_pinned(chain, now, waivers)
    until = Check("chain.expired", True, f"'{verified.leaf.subject}' is valid until {verified.expires:%Y-%m-%d}")
    return [until, *(each.check for each in verified.waived)]


def _find_signer(
    groups: Groups, chain: PeerChain, claim: Claim, checks: list[Check], now: datetime, *, has_token: bool
) -> Signer | None:
    """The proven signer closest to the leaf, its group enabled or not; None leaves the decision to the token."""
    try:
        verified = groups.validator.validate(chain, now)
    except Refusal as refusal:
        better = _find_other_end(groups, chain, claim, now)
        if better is not None:
            raise better from None
        if has_token and groups.key_groups and refusal.reason not in _OF_A_GROUP:
            checks.extend(refusal.checks)
            return None
        nobody = not len(groups.validator.anchors)
        if nobody or (refusal.reason in ("chain.leaf_is_ca", "chain.untrusted") and _is_self_signed(chain)):
            raise _unknown(
                claim, f"no group's certificate vouches for its chain ({refusal.message})", refusal
            ) from None
        raise
    checks.extend(PASSED)
    checks.extend(each.check for each in verified.waived)
    return groups.find_signer(verified.anchor, is_proven=True)


def _find_other_end(groups: Groups, chain: PeerChain, claim: Claim, now: datetime) -> Refusal | None:
    """The better explanation for a chain that is good, but ends in a certificate that admits nobody."""
    try:
        anchor = groups.other_ends.validate(chain, now).anchor
    except Unauthenticated:
        return None
    signer = groups.find_signer(anchor, is_proven=False)
    if signer is not None:
        return Unauthenticated(
            "enrollment.unproven",
            f"the chain ends in '{anchor.subject}', the {signer.slot} certificate of enrollment group "
            f"{signer.group.group_id!r}; possession of its key was not proven, and nobody vouched for it",
            fix=_how_to_prove(signer),
            checks=PASSED,
        )
    name = next(ca.name for ca in groups.authorities if ca.is_verified and ca.certificate == anchor)
    return NotFound(
        "enrollment.unknown",
        f"{claim.registration_id!r} has a good chain to '{anchor.subject}', which is registered and proven here as "
        f"{name!r}, but no individual enrollment, and no enrollment group refers to that CA",
        fix=f"moorage enrollment-group create NAME --ca {name}",
        checks=PASSED,
    )


def _how_to_prove(signer: Signer) -> str:
    match signer.group.attestation:
        case ByCAReferences(primary, secondary):
            name = primary if signer.slot == "primary" else secondary
            return f"moorage ca code {name} --for dps"
        case _:
            return how_to_prove(signer.group.group_id, signer.slot)


def _admit_by_chain(signer: Signer, chain: PeerChain, claim: Claim, checks: list[Check]) -> Admission:
    group = signer.group
    what = f"enrollment group {group.group_id!r}"
    checks.append(Check("enrollment.group", True, f"{what}, {signer.slot}: '{signer.certificate.subject}'"))
    leaf = Certificate(chain.leaf)
    try:
        common_name = leaf.common_name()
    except Refusal as refusal:
        raise Unauthenticated(refusal.reason, refusal.message, fix=refusal.fix) from None
    # Registration ids have no case; the device gets the name that its certificate says, since the hub will compare
    # that byte for byte (decisions T3).
    if common_name.lower() != claim.registration_id.lower():
        raise Unauthenticated(
            "registration.id_mismatch",
            f"the certificate says {common_name!r}, the device registers as {claim.registration_id!r}; they have to be "
            "equal",
            fix=f"moorage cert device {claim.registration_id} --issuer {issuer_word(leaf)}",
        )
    checks.append(Check("registration.id_mismatch", True, f"the common name is {common_name!r}"))
    checks.append(_check_enabled(group, what, f"moorage enrollment-group update {group.group_id} --enable"))
    return Admission(group, parse_device_id(common_name), ByAuthority(group.group_id), "x509", tuple(checks), leaf)


def _is_self_signed(chain: PeerChain) -> bool:
    return Certificate(chain.leaf).is_self_issued


# --- tokens ------------------------------------------------------------------------------------------------------


def _token(presented: Presented, what: str) -> SasToken:
    if presented.token is None:
        raise _wrong_kind(what, "symmetricKey", presented)
    return parse_token(presented.token.reveal())


def _check_token(token: SasToken, claim: Claim, keys: Sequence[bytes], whose: str, now: datetime) -> list[Check]:
    _check_token_form(token, claim)
    check_signature(token, keys, whose)
    check_expiry(token, now)
    return [
        Check("token.audience", True, token.resource[:200]),
        Check("token.signature", True, whose),
        Check("token.expired", True, f"valid until {token.expires:%Y-%m-%dT%H:%M:%SZ}"),
    ]


def _check_token_form(token: SasToken, claim: Claim) -> None:
    audience = parse_audience(token.resource)
    wanted = (claim.scope.lower(), "registrations", claim.registration_id.lower())
    named = (audience.host, *(part.lower() for part in audience.path))
    if named != wanted:
        raise Unauthenticated(
            "token.audience",
            f"the token is for {str(audience)[:200]!r}, the device registers as "
            f"'{claim.scope}/registrations/{claim.registration_id}'",
            fix="make the token for {id scope}/registrations/{registration id}",
        )
    if token.policy is not None and token.policy.lower() != _TOKEN_POLICY:
        raise Unauthenticated(
            "token.policy",
            f"the token names the policy {token.policy[:64]!r}; a device signs with its own key and names "
            f"{_TOKEN_POLICY!r} or nothing",
        )


def _admit_by_token(
    key_groups: Sequence[tuple[EnrollmentGroup, BySymmetricKey]],
    token: SasToken,
    claim: Claim,
    checks: list[Check],
    now: datetime,
) -> Admission:
    _check_token_form(token, claim)
    checks.append(Check("token.audience", True, token.resource[:200]))
    given = token.signature.encode(errors="surrogatepass")
    found: tuple[EnrollmentGroup, BySharedKey] | None = None
    for group, keys in key_groups:
        primary = derive_key(keys.primary, claim.registration_id)
        secondary = derive_key(keys.secondary, claim.registration_id)
        # Which group it is cannot be seen in a token, so each is tried.
        for key in (primary, secondary):
            wanted = sign(token.resource, token.expiry, key_bytes(key)).encode()
            if hmac.compare_digest(given, wanted) and found is None:
                found = group, BySharedKey(primary, secondary)
    if found is None:
        raise _unknown(claim, f"its token is signed with a key derived from none of {len(key_groups)} groups' keys")
    group, authentication = found
    what = f"enrollment group {group.group_id!r}"
    checks.append(Check("enrollment.group", True, f"{what}: the token's key is derived from its key"))
    check_expiry(token, now)
    checks.append(Check("token.expired", True, f"valid until {token.expires:%Y-%m-%dT%H:%M:%SZ}"))
    checks.append(_check_enabled(group, what, f"moorage enrollment-group update {group.group_id} --enable"))
    return Admission(group, parse_device_id(claim.registration_id), authentication, "symmetricKey", tuple(checks))


# --- both --------------------------------------------------------------------------------------------------------


def _check_enabled(enrollment: Enrollment, what: str, fix: str) -> Check:
    if enrollment.status == "disabled":
        raise Forbidden("enrollment.disabled", f"{what} accepts this credential, but is disabled", fix=fix)
    return Check("enrollment.disabled", True, f"{what} is enabled")


def _wrong_kind(what: str, wanted: Literal["x509", "symmetricKey", "tpm"], presented: Presented) -> Unauthenticated:
    shown = [
        name
        for name, is_shown in (("a client certificate", bool(presented.chain)), ("a token", bool(presented.token)))
        if is_shown
    ]
    message = f"{what} attests with {_CREDENTIAL_NAMES[wanted]}; the device showed {' and '.join(shown) or 'nothing'}"
    fix = "" if wanted != "tpm" else "register with a TPM over HTTPS or AMQP; over MQTT it is not possible"
    return Unauthenticated("attestation.kind", message, fix=fix)


def _unknown(claim: Claim, why: str, cause: Refusal | None = None) -> Unauthenticated:
    return Unauthenticated(
        "enrollment.unknown",
        f"there is no individual enrollment for {claim.registration_id!r}, and {why}",
        fix=f"moorage enrollment create {claim.registration_id} --certificate FILE",
        checks=cause.checks if cause else (),
    )


def _with_checks(refusal: Refusal, passed: Sequence[Check]) -> Refusal:
    """`refusal` with the checks that went before it, and itself as the last one if it did not say."""
    checks = [*passed, *refusal.checks]
    if not any(check.passed is False and check.name == refusal.reason for check in checks):
        checks.append(Check(refusal.reason, False, refusal.message))
    refusal.checks = tuple(checks)
    return refusal

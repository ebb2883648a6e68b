"""Enrollments as somebody wants them, and how that is merged with what is stored: plain values and decisions.

A draft describes a whole enrollment, but clients read back neither keys nor certificates (contract/services.md P-3): so
a draft may say "the certificate with this thumbprint" or "the key as it is".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.errors import Invalid
from moorage.identities.model import Status
from moorage.identities.policies import check_key, make_key
from moorage.ids import DeviceId, EnrollmentGroupId, RegistrationId, Secret, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.provisioning.model import (
    AllocationPolicy,
    Attestation,
    ByCAReferences,
    ByClientCertificates,
    BySigningCertificates,
    BySymmetricKey,
    ByTpm,
    CustomAllocation,
    Enrollment,
    EnrollmentGroup,
    Reprovisioning,
    SigningCertificate,
    Slot,
)

__all__ = [
    "AttestationDraft",
    "CertificatesDraft",
    "EnrollmentDraft",
    "GroupDraft",
    "IndividualDraft",
    "KeepAttestation",
    "Kept",
    "KeysDraft",
    "merge_group",
    "merge_individual",
    "merge_webhook",
    "redraft",
    "redraft_slot",
    "signing_certificates",
]


@dataclass(frozen=True, slots=True)
class Kept:
    """The stored certificate that has this thumbprint; without one, that of the same slot."""

    thumbprint: Thumbprint | None = None


@dataclass(frozen=True, slots=True)
class CertificatesDraft:
    """An individual's client certificates, or a group's signing certificates."""

    primary: Certificate | Kept | None = None
    secondary: Certificate | Kept | None = None


@dataclass(frozen=True, slots=True)
class KeysDraft:
    """A key that is None stays as stored, or is made when there is none."""

    primary: Secret | None = None
    secondary: Secret | None = None


@dataclass(frozen=True, slots=True)
class KeepAttestation:
    """X.509 as stored: what clients send back when they only read `type`."""


AttestationDraft = KeysDraft | CertificatesDraft | ByCAReferences | ByTpm | KeepAttestation


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentDraft:
    """The enrollment somebody wants. `allocation` None is the service's default."""

    attestation: AttestationDraft
    status: Status = "enabled"
    allocation: AllocationPolicy | None = None
    linked_hubs: tuple[str, ...] = ()
    reprovisioning: Reprovisioning = Reprovisioning()
    initial_tags: Mapping[str, Any] = field(default_factory=dict)
    initial_desired: Mapping[str, Any] = field(default_factory=dict)
    is_edge: bool = False
    custom_allocation: CustomAllocation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndividualDraft(EnrollmentDraft):
    registration_id: RegistrationId
    device_id: DeviceId | None = None
    device_information: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDraft(EnrollmentDraft):
    """`display_name` None stays as stored."""

    group_id: EnrollmentGroupId
    display_name: str | None = None


def merge_individual(draft: AttestationDraft, stored: Attestation | None) -> Attestation:
    match draft:
        case KeysDraft():
            return _keys(draft, stored)
        case ByTpm():
            return draft
        case KeepAttestation() if isinstance(stored, ByClientCertificates):
            return stored
        case CertificatesDraft():
            held = stored if isinstance(stored, ByClientCertificates) else ByClientCertificates()
            known: dict[Slot, Certificate | None] = {"primary": held.primary, "secondary": held.secondary}
            return ByClientCertificates(
                _client_certificate(draft.primary, known, "primary"),
                _client_certificate(draft.secondary, known, "secondary"),
            )
        case KeepAttestation():
            raise _no_certificate("clientCertificates")
        case ByCAReferences():
            raise Invalid(
                "attestation.kind",
                "an individual enrollment takes client certificates, a symmetric key or a TPM; CA references are for "
                "groups",
            )


def merge_group(draft: AttestationDraft, stored: Attestation | None, vouched: bool) -> Attestation:
    match draft:
        case KeysDraft():
            return _keys(draft, stored)
        case ByCAReferences():
            return draft
        case KeepAttestation() if isinstance(stored, BySigningCertificates | ByCAReferences):
            return stored
        case CertificatesDraft():
            held = dict(signing_certificates(stored))
            return BySigningCertificates(
                _signing_certificate(draft.primary, held, "primary", vouched),
                _signing_certificate(draft.secondary, held, "secondary", vouched),
            )
        case KeepAttestation():
            raise _no_certificate("signingCertificates or caReferences")
        case ByTpm():
            raise Invalid(
                "attestation.kind", "an enrollment group takes X.509 or symmetric keys; a TPM is one device's"
            )


def redraft(group: EnrollmentGroup, attestation: AttestationDraft | None = None) -> GroupDraft:
    """The draft that leaves `group` as it is, but for its `attestation` where one is given."""
    if attestation is None:
        match group.attestation:
            case BySigningCertificates(primary, secondary):
                attestation = CertificatesDraft(Kept() if primary else None, Kept() if secondary else None)
            case BySymmetricKey():
                attestation = KeysDraft()
            case _:
                attestation = KeepAttestation()
    return GroupDraft(
        group_id=group.group_id,
        attestation=attestation,
        status=group.status,
        allocation=group.allocation,
        linked_hubs=group.linked_hubs,
        reprovisioning=group.reprovisioning,
        initial_tags=group.initial_tags,
        initial_desired=group.initial_desired,
        is_edge=group.is_edge,
        custom_allocation=group.custom_allocation,
    )


def redraft_slot(stored: Attestation | None, slot: Slot, certificate: Certificate | None) -> CertificatesDraft:
    """A group's signing certificates as they are stored, but for `slot`, which gets `certificate`."""
    slots: dict[Slot, Certificate | Kept | None] = {held: Kept() for held, _ in signing_certificates(stored)}
    slots[slot] = certificate
    return CertificatesDraft(slots.get("primary"), slots.get("secondary"))


def merge_webhook(draft: EnrollmentDraft, stored: Enrollment | None) -> CustomAllocation | None:
    """The web hook that the enrollment gets: a URL that comes back as it was shown stays as it is."""
    wanted = draft.custom_allocation
    if wanted is None or not wanted.webhook_url.reveal():
        if draft.allocation == "custom":
            raise Invalid(
                "allocation.webhook_missing",
                "custom allocation asks a web hook, and customAllocationDefinition names none",
                fix='"customAllocationDefinition": {"webhookUrl": "https://...", "apiVersion": "2021-10-01"}',
            )
        return None
    if not wanted.webhook_url.reveal().endswith("?****"):
        return wanted
    held = stored.custom_allocation if stored is not None else None
    if held is None or held.shown_url != wanted.webhook_url.reveal():
        raise Invalid(
            "allocation.webhook_hidden",
            "the web hook's URL ends in ?****, which stands for a query that is not shown, and no URL of this kind is "
            "stored that could be kept",
            fix="send the whole URL",
        )
    return CustomAllocation(held.webhook_url, wanted.api_version or held.api_version)


def _keys(draft: KeysDraft, stored: Attestation | None) -> BySymmetricKey:
    held = stored if isinstance(stored, BySymmetricKey) else None
    primary = check_key(draft.primary) if draft.primary else held.primary if held else make_key()
    secondary = check_key(draft.secondary) if draft.secondary else held.secondary if held else make_key()
    return BySymmetricKey(primary, secondary)


def _client_certificate(
    draft: Certificate | Kept | None, held: Mapping[Slot, Certificate | None], slot: Slot
) -> Certificate | None:
    if not isinstance(draft, Kept):
        return draft
    return _find_kept(draft, {name: each for name, each in held.items() if each is not None}, slot)


def _signing_certificate(
    draft: Certificate | Kept | None, held: Mapping[Slot, SigningCertificate], slot: Slot, vouched: bool
) -> SigningCertificate | None:
    if draft is None:
        return None
    certificate = (
        _find_kept(draft, {name: each.certificate for name, each in held.items()}, slot)
        if isinstance(draft, Kept)
        else draft
    )
    # A certificate stays proven when it is sent again, or moves to the other slot in a roll. A verification code does
    # not stay: it was made for the state before (decisions T6).
    for signer in held.values():
        if signer.certificate == certificate and signer.proof != "none":
            return SigningCertificate(certificate, signer.proof)
    return SigningCertificate(certificate, "vouched" if vouched and isinstance(draft, Certificate) else "none")


def _find_kept(kept: Kept, held: Mapping[Slot, Certificate], slot: Slot) -> Certificate:
    if kept.thumbprint is None:
        if slot in held:
            return held[slot]
        raise _no_certificate(slot)
    for certificate in held.values():
        if kept.thumbprint in (certificate.sha256, certificate.sha1):
            return certificate
    raise Invalid(
        "attestation.certificate_missing",
        f"the {slot} slot names a stored certificate by thumbprint {kept.thumbprint}, and none is stored with it",
        fix="send the certificate itself, as PEM or base64, in the member 'certificate'",
    )


def _no_certificate(where: str) -> Invalid:
    return Invalid(
        "attestation.certificate_missing",
        f"X.509 attestation without a certificate in {where}, and none is stored that could be kept",
        fix="send the certificate itself, as PEM or base64, in the member 'certificate'",
    )


def signing_certificates(attestation: Attestation | None) -> list[tuple[Slot, SigningCertificate]]:
    if not isinstance(attestation, BySigningCertificates):
        return []
    slots: list[tuple[Slot, SigningCertificate | None]] = [
        ("primary", attestation.primary),
        ("secondary", attestation.secondary),
    ]
    return [(slot, signer) for slot, signer in slots if signer is not None]

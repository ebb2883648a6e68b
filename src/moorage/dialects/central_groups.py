"""Enrollment groups and attestations in the JSON of IoT Central (contract/central.md 4.7, 22.3).

The words are the provisioning service's with less in them: of a certificate only its SHA-1 thumbprint is shown, of a
group's slot also whether it is verified. Keys are shown when asked to `reveal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from moorage.dialects.members import check_same, get_boolean, get_object, get_text
from moorage.errors import Invalid
from moorage.ids import EnrollmentGroupId, Secret
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.provisioning.drafts import AttestationDraft, CertificatesDraft, KeepAttestation, Kept, KeysDraft
from moorage.provisioning.model import (
    Attestation,
    ByClientCertificates,
    BySigningCertificates,
    BySymmetricKey,
    ByTpm,
    EnrollmentGroup,
    SigningCertificate,
    Slot,
)

__all__ = [
    "GROUP_MEMBERS",
    "CertificateUpload",
    "GroupChange",
    "attestation_json",
    "group_json",
    "parse_attestation",
    "parse_attestation_change",
    "parse_certificate_text",
    "parse_group_change",
    "parse_upload",
    "signer_json",
]

SLOTS: Final[tuple[Slot, ...]] = get_args(Slot)
GROUP_MEMBERS: Final = ("displayName", "type", "enabled", "attestation", "etag", "id")
_TYPES: Final = ("iot", "iotEdge")
_MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What a body says of a group; None where it says nothing. `verified` are slots taken on the caller's word."""

    display_name: str | None = None
    is_enabled: bool | None = None
    is_edge: bool | None = None
    attestation: AttestationDraft | None = None
    verified: tuple[Slot, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificateUpload:
    """One slot of a group (REST-X2)."""

    certificate: Certificate
    is_verified: bool


# --- reading -----------------------------------------------------------------------------------------------------


def parse_group_change(group_id: EnrollmentGroupId, body: Mapping[str, Any]) -> GroupChange:
    """A body of PUT or PATCH. Raises `Invalid` (`body.member`, `body.id`, `attestation.kind`, `certificate.*`)."""
    check_same(body, "id", group_id)
    kind = get_text(body, "type")
    if kind is not None and kind not in _TYPES:
        raise Invalid("body.member", f"type is {kind[:40]!r}, it has to be one of {', '.join(_TYPES)}")
    attestation = get_object(body, "attestation")
    return GroupChange(
        display_name=_display_name(body),
        is_enabled=get_boolean(body, "enabled", "enabled", default=None),
        is_edge=None if kind is None else kind == "iotEdge",
        attestation=None if attestation is None else _group_attestation(attestation),
        verified=() if attestation is None else _verified_slots(attestation),
    )


def parse_upload(body: Mapping[str, Any]) -> CertificateUpload:
    """REST-X2. Raises `Invalid` (`body.member`, `certificate.*`)."""
    return CertificateUpload(parse_certificate_text(body), get_boolean(body, "verified", "verified", default=False))


def parse_certificate_text(body: Mapping[str, Any], path: str = "certificate") -> Certificate:
    """The member `certificate`. Raises `Invalid` (`body.member`, `certificate.*`)."""
    text = get_text(body, "certificate", path)
    if not text:
        raise Invalid("body.member", f"{path} is missing: the certificate as PEM, or its DER in base64")
    return parse_certificate(text)


def parse_attestation(body: Mapping[str, Any]) -> AttestationDraft:
    """How one device attests (REST-X7). Raises `Invalid` (`body.member`, `attestation.kind`, `certificate.*`)."""
    match _kind_of(body):
        case "symmetricKey":
            return _keys(body)
        case "tpm":
            key = get_text(get_object(body, "tpm") or {}, "endorsementKey", "tpm.endorsementKey")
            if not key:
                raise Invalid("body.member", "tpm.endorsementKey is missing")
            return ByTpm(key)
        case _:
            slots = _slots_in(body, "clientCertificates")
            if "primary" not in slots:
                raise Invalid("body.member", "x509.clientCertificates.primary is missing")
            return _certificates(slots)


def parse_attestation_change(body: Mapping[str, Any], stored: Attestation) -> AttestationDraft:
    """A merge patch of it (REST-X9): what it does not name stays. Raises as `parse_attestation`."""
    kind = _kind_of(body) if body.get("type") is not None else _stored_kind(stored)
    if kind != "x509" or not isinstance(stored, ByClientCertificates):
        return parse_attestation({**body, "type": kind})
    slots = _slots_in(body, "clientCertificates")
    held = {"primary": stored.primary, "secondary": stored.secondary}
    draft = {slot: Kept() if held[slot] is not None and slot not in slots else None for slot in SLOTS}
    changed = _certificates({slot: value for slot, value in slots.items() if value is not None})
    return CertificatesDraft(changed.primary or draft["primary"], changed.secondary or draft["secondary"])


def _group_attestation(attestation: Mapping[str, Any]) -> AttestationDraft:
    match _kind_of(attestation):
        case "symmetricKey":
            return _keys(attestation)
        case "x509":
            slots = {slot: value for slot, value in _slots_in(attestation, "signingCertificates").items() if value}
            return _certificates(slots) if slots else KeepAttestation()
        case _:
            raise Invalid("attestation.kind", "an enrollment group takes x509 or symmetricKey; a TPM is one device's")


def _verified_slots(attestation: Mapping[str, Any]) -> tuple[Slot, ...]:
    if _kind_of(attestation) != "x509":
        return ()
    slots = _slots_in(attestation, "signingCertificates")
    return tuple(
        slot
        for slot, value in slots.items()
        if value and value.get("certificate") and get_boolean(value, "verified", f"{slot}.verified", default=False)
    )


def _kind_of(attestation: Mapping[str, Any]) -> str:
    kind = get_text(attestation, "type", "attestation.type")
    if kind not in ("x509", "symmetricKey", "tpm"):
        said = "missing" if kind is None else repr(kind[:40])
        raise Invalid("body.member", f"the attestation's type is {said}, it has to be x509, symmetricKey or tpm")
    return kind


def _stored_kind(stored: Attestation) -> str:
    match stored:
        case BySymmetricKey():
            return "symmetricKey"
        case ByTpm():
            return "tpm"
        case _:
            return "x509"


def _keys(attestation: Mapping[str, Any]) -> KeysDraft:
    keys = get_object(attestation, "symmetricKey") or {}
    primary, secondary = (get_text(keys, name, f"symmetricKey.{name}") for name in ("primaryKey", "secondaryKey"))
    return KeysDraft(Secret(primary) if primary else None, Secret(secondary) if secondary else None)


def _slots_in(attestation: Mapping[str, Any], member: str) -> dict[Slot, Mapping[str, Any] | None]:
    """What is said of each slot; None for one that is to be emptied."""
    x509 = get_object(attestation, "x509") or {}
    given = get_object(x509, member, f"x509.{member}") or {}
    return {slot: get_object(given, slot, f"x509.{member}.{slot}") for slot in SLOTS if slot in given}


def _certificates(slots: Mapping[Slot, Mapping[str, Any] | None]) -> CertificatesDraft:
    return CertificatesDraft(_slot(slots.get("primary"), "primary"), _slot(slots.get("secondary"), "secondary"))


def _slot(value: Mapping[str, Any] | None, slot: Slot) -> Certificate | Kept | None:
    """What was read is taken back: a slot without the certificate's text stays as stored."""
    if value is None:
        return None
    return Kept() if not value.get("certificate") else parse_certificate_text(value, f"{slot}.certificate")


def _display_name(body: Mapping[str, Any]) -> str | None:
    name = get_text(body, "displayName")
    if name is None:
        return None
    name = name.strip()
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise Invalid("body.member", f"displayName has to have 1 to {_MAX_NAME} printable characters")
    return name


# --- writing -----------------------------------------------------------------------------------------------------


def group_json(group: EnrollmentGroup, *, reveal: bool) -> dict[str, Any]:
    """22.2, enrollmentGroups. Keys are in it with `reveal`."""
    return {
        "id": group.group_id,
        "displayName": group.display_name or group.group_id,
        "enabled": group.status == "enabled",
        "type": "iotEdge" if group.is_edge else "iot",
        "attestation": attestation_json(group.attestation, reveal=reveal, etag=group.etag),
        "etag": group.etag,
    }


def signer_json(signer: SigningCertificate, etag: str) -> dict[str, Any]:
    """REST-X3."""
    return {"verified": signer.proof != "none", **_certificate_json(signer.certificate), "etag": etag}


def attestation_json(attestation: Attestation, *, reveal: bool, etag: str = "") -> dict[str, Any]:
    """22.3. A group that trusts registered CAs by their names has no certificate of its own to show."""
    match attestation:
        case BySymmetricKey(primary, secondary):
            keys = {"symmetricKey": {"primaryKey": primary.reveal(), "secondaryKey": secondary.reveal()}}
            return {"type": "symmetricKey", **(keys if reveal else {})}
        case ByTpm(endorsement_key):
            return {"type": "tpm", "tpm": {"endorsementKey": endorsement_key}}
        case ByClientCertificates(upper, lower):
            client = _by_slot([upper, lower], _certificate_json)
            return {"type": "x509", "x509": {"clientCertificates": client}}
        case BySigningCertificates(first, second):
            signing = _by_slot([first, second], lambda signer: signer_json(signer, etag))
            return {"type": "x509", "x509": {"signingCertificates": signing}}
        case _:
            return {"type": "x509"}


def _by_slot(values: Sequence[Any], encode: Any) -> dict[str, Any]:
    return {slot: encode(value) for slot, value in zip(SLOTS, values, strict=True) if value is not None}


def _certificate_json(certificate: Certificate) -> dict[str, Any]:
    return {"info": {"sha1Thumbprint": certificate.sha1}}

"""Enrollments in the JSON of the provisioning service (contract/services.md 6.2 to 6.4).

Reading takes back what writing gave: etags, times and states are ignored, a certificate known by its `info` alone stays
as stored, and so does a key that is missing (P-3). Writing hides keys and certificate bodies unless asked to `reveal`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from moorage.dialects.dps_json import quoted, registration_json
from moorage.dialects.members import check_same, get_boolean, get_object, get_text
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.identities.model import Status
from moorage.ids import (
    CAName,
    EnrollmentGroupId,
    RegistrationId,
    Secret,
    parse_ca_name,
    parse_device_id,
    parse_thumbprint,
)
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.provisioning.drafts import (
    AttestationDraft,
    CertificatesDraft,
    GroupDraft,
    IndividualDraft,
    KeepAttestation,
    Kept,
    KeysDraft,
)
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
    IndividualEnrollment,
    Registration,
    Reprovisioning,
    SigningCertificate,
    Slot,
)

__all__ = [
    "attestation_json",
    "certificate_json",
    "collection",
    "group_json",
    "individual_json",
    "parse_group",
    "parse_individual",
    "signer_json",
]

_MAX_HUBS: Final = 100
_MAX_URL: Final = 4000
# What the SDKs' twin collections carry beside their members, as null.
_COLLECTION_MEMBERS: Final = ("version", "count", "metadata")


# --- reading -----------------------------------------------------------------------------------------------------


def parse_individual(registration_id: RegistrationId, body: Mapping[str, Any]) -> IndividualDraft:
    """What a PUT of an individual enrollment asks for.

    Raises `Invalid`: `body.member` naming the member, `body.id` when path and body differ, `attestation.kind`,
    `certificate.*`, `id.*`, `thumbprint.*`.
    """
    check_same(body, "registrationId", registration_id)
    device_id = get_text(body, "deviceId")
    return IndividualDraft(
        registration_id=registration_id,
        device_id=parse_device_id(device_id) if device_id else None,
        device_information=get_object(body, "optionalDeviceInformation"),
        attestation=_parse_attestation(body, "clientCertificates"),
        **_parse_common(body),
    )


def parse_group(group_id: EnrollmentGroupId, body: Mapping[str, Any]) -> GroupDraft:
    """What a PUT of an enrollment group asks for. Raises as `parse_individual`."""
    check_same(body, "enrollmentGroupId", group_id)
    return GroupDraft(
        group_id=group_id, attestation=_parse_attestation(body, "signingCertificates"), **_parse_common(body)
    )


def _parse_common(body: Mapping[str, Any]) -> dict[str, Any]:
    twin = get_object(body, "initialTwin") or {}
    properties = get_object(twin, "properties", "initialTwin.properties") or {}
    policy = get_object(body, "reprovisionPolicy") or {}
    capabilities = get_object(body, "capabilities") or {}
    hook = get_object(body, "customAllocationDefinition")
    hubs = _hubs(body)
    fixed_hub = get_text(body, "iotHubHostName")
    allocation = _choice(body, "allocationPolicy", get_args(AllocationPolicy))
    if fixed_hub and not hubs:
        # The old way to say "this hub and no other".
        hubs = (fixed_hub,)
        allocation = allocation or "static"
    return {
        "status": cast("Status", _choice(body, "provisioningStatus", get_args(Status)) or "enabled"),
        "allocation": cast("AllocationPolicy | None", allocation),
        "linked_hubs": hubs,
        "reprovisioning": Reprovisioning(
            get_boolean(policy, "updateHubAssignment", "reprovisionPolicy.updateHubAssignment", default=True),
            get_boolean(policy, "migrateDeviceData", "reprovisionPolicy.migrateDeviceData", default=True),
        ),
        "initial_tags": collection(get_object(twin, "tags", "initialTwin.tags")),
        "initial_desired": collection(get_object(properties, "desired", "initialTwin.properties.desired")),
        "is_edge": get_boolean(capabilities, "iotEdge", "capabilities.iotEdge", default=False),
        "custom_allocation": None
        if hook is None
        else CustomAllocation(
            _webhook_url(hook),
            get_text(hook, "apiVersion", "customAllocationDefinition.apiVersion") or "",
        ),
    }


def _webhook_url(hook: Mapping[str, Any]) -> Secret:
    text = get_text(hook, "webhookUrl", "customAllocationDefinition.webhookUrl") or ""
    if len(text) > _MAX_URL:
        raise Invalid(
            "body.member",
            f"customAllocationDefinition.webhookUrl has {len(text)} characters, at most {_MAX_URL} are kept",
        )
    return Secret(text)


def _parse_attestation(body: Mapping[str, Any], certificates: str) -> AttestationDraft:
    """`certificates` is the member of x509 that this kind of enrollment takes."""
    attestation = get_object(body, "attestation")
    kind = None if attestation is None else get_text(attestation, "type", "attestation.type")
    if attestation is None or not kind:
        raise Invalid("body.member", "attestation.type is missing: x509, symmetricKey or tpm")
    match kind.lower():
        case "symmetrickey":
            keys = get_object(attestation, "symmetricKey", "attestation.symmetricKey") or {}
            return KeysDraft(_key(keys, "primaryKey"), _key(keys, "secondaryKey"))
        case "tpm":
            tpm = get_object(attestation, "tpm", "attestation.tpm") or {}
            endorsement = get_text(tpm, "endorsementKey", "attestation.tpm.endorsementKey")
            if not endorsement:
                raise Invalid("body.member", "attestation.tpm.endorsementKey is missing")
            return ByTpm(endorsement, get_text(tpm, "storageRootKey", "attestation.tpm.storageRootKey"))
        case "x509":
            return _parse_x509(get_object(attestation, "x509", "attestation.x509") or {}, certificates)
    raise Invalid("attestation.kind", f"attestation.type is {kind[:40]!r}; it has to be x509, symmetricKey or tpm")


def _parse_x509(x509: Mapping[str, Any], certificates: str) -> AttestationDraft:
    given = [
        member
        for member in ("clientCertificates", "signingCertificates", "caReferences")
        if any((get_object(x509, member, f"attestation.x509.{member}") or {}).values())
    ]
    if not given:
        return KeepAttestation()
    if len(given) > 1:
        raise Invalid("attestation.kind", f"attestation.x509 has {' and '.join(given)}; it takes one of them")
    slots = x509[given[0]]
    path = f"attestation.x509.{given[0]}"
    draft: ByCAReferences | CertificatesDraft
    if given[0] == "caReferences":
        draft = ByCAReferences(_ca_name(slots, "primary", path), _ca_name(slots, "secondary", path))
    elif given[0] == certificates:
        draft = CertificatesDraft(_slot(slots, "primary", path), _slot(slots, "secondary", path))
    else:
        raise Invalid("attestation.kind", f"{path}: this kind of enrollment takes {certificates}")
    # Two slots that say nothing ask for nothing, least of all to take away what is trusted.
    return KeepAttestation() if draft.primary is None and draft.secondary is None else draft


def _slot(slots: Mapping[str, Any], slot: str, path: str) -> Certificate | Kept | None:
    value = get_object(slots, slot, f"{path}.{slot}")
    if value is None:
        return None
    text = get_text(value, "certificate", f"{path}.{slot}.certificate")
    if text:
        return parse_certificate(text)
    info = get_object(value, "info", f"{path}.{slot}.info")
    if info is None:
        if any(each is not None for each in value.values()):
            raise Invalid("body.member", f"{path}.{slot} has neither certificate nor info")
        return None
    for member in ("sha256Thumbprint", "sha1Thumbprint"):
        thumbprint = get_text(info, member, f"{path}.{slot}.info.{member}")
        if thumbprint:
            return Kept(parse_thumbprint(thumbprint))
    return Kept()


def _ca_name(slots: Mapping[str, Any], slot: str, path: str) -> CAName | None:
    name = get_text(slots, slot, f"{path}.{slot}")
    return parse_ca_name(name) if name else None


def _key(keys: Mapping[str, Any], member: str) -> Secret | None:
    text = get_text(keys, member, f"attestation.symmetricKey.{member}")
    return Secret(text) if text else None


# --- writing -----------------------------------------------------------------------------------------------------


def individual_json(
    enrollment: IndividualEnrollment, registration: Registration | None = None, *, reveal: bool = False
) -> dict[str, Any]:
    """services.md 6.2. `registration` is its state, if it has one."""
    document: dict[str, Any] = {"registrationId": enrollment.registration_id}
    if enrollment.device_id is not None:
        document["deviceId"] = enrollment.device_id
    if registration is not None:
        document["registrationState"] = registration_json(registration)
    if enrollment.device_information is not None:
        document["optionalDeviceInformation"] = enrollment.device_information
    return document | _common_json(enrollment, reveal)


def group_json(group: EnrollmentGroup, *, reveal: bool = False) -> dict[str, Any]:
    """services.md 6.3."""
    return {"enrollmentGroupId": group.group_id, **_common_json(group, reveal)}


def attestation_json(attestation: Attestation, *, reveal: bool) -> dict[str, Any]:
    """services.md 6.4. Revealed, it has the keys and the certificates themselves (P-4)."""
    match attestation:
        case BySymmetricKey(primary, secondary):
            keys = {"primaryKey": primary.reveal(), "secondaryKey": secondary.reveal()} if reveal else {}
            return {"type": "symmetricKey", "symmetricKey": keys}
        case ByTpm(endorsement_key, storage_root_key):
            tpm = {"endorsementKey": endorsement_key}
            if storage_root_key is not None:
                tpm["storageRootKey"] = storage_root_key
            return {"type": "tpm", "tpm": tpm}
        case ByClientCertificates(client_primary, client_secondary):
            client = _certificates_json({"primary": client_primary, "secondary": client_secondary}, reveal)
            return {"type": "x509", "x509": {"clientCertificates": client}}
        case BySigningCertificates(signer_primary, signer_secondary):
            signers = {
                "primary": signer_primary.certificate if signer_primary else None,
                "secondary": signer_secondary.certificate if signer_secondary else None,
            }
            return {"type": "x509", "x509": {"signingCertificates": _certificates_json(signers, reveal)}}
        case ByCAReferences(ca_primary, ca_secondary):
            names = {slot: name for slot, name in (("primary", ca_primary), ("secondary", ca_secondary)) if name}
            return {"type": "x509", "x509": {"caReferences": names}}


def signer_json(
    group: EnrollmentGroup, slot: Slot, signer: SigningCertificate, *, with_code: bool = False
) -> dict[str, Any]:
    """The proof state of one of a group's own certificates, for which Azure has no words; `proof` is how it was proven:
    possession, vouched or none. The code is shown to whoever made it, once.
    """
    certificate = signer.certificate
    document: dict[str, Any] = {
        "enrollmentGroupId": group.group_id,
        "slot": slot,
        "etag": group.etag,
        "subject": certificate.subject,
        "sha256Thumbprint": certificate.sha256,
        "notAfter": format_time(certificate.not_after),
        "proof": signer.proof,
        "isVerified": signer.proof != "none",
    }
    if with_code and signer.code is not None and signer.code_expires is not None:
        document["verificationCode"] = signer.code
        document["verificationCodeExpires"] = format_time(signer.code_expires)
    return document


def _certificates_json(slots: Mapping[str, Certificate | None], reveal: bool) -> dict[str, Any]:
    return {slot: certificate_json(each, reveal=reveal) for slot, each in slots.items() if each is not None}


def certificate_json(certificate: Certificate, *, reveal: bool) -> dict[str, Any]:
    """services.md 6.4. Revealed, with its DER."""
    document: dict[str, Any] = {}
    if reveal:
        document["certificate"] = base64.b64encode(certificate.der).decode("ascii")
    # All eight: clients mark every one as required.
    document["info"] = {
        "subjectName": certificate.subject,
        "sha1Thumbprint": certificate.sha1,
        "sha256Thumbprint": certificate.sha256,
        "issuerName": certificate.issuer,
        "notBeforeUtc": format_time(certificate.not_before),
        "notAfterUtc": format_time(certificate.not_after),
        "serialNumber": f"{certificate.serial_number:X}",
        "version": certificate.x509.version.value + 1,
    }
    return document


def _common_json(enrollment: Enrollment, reveal: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "attestation": attestation_json(enrollment.attestation, reveal=reveal),
        "capabilities": {"iotEdge": enrollment.is_edge},
        "initialTwin": {"tags": enrollment.initial_tags, "properties": {"desired": enrollment.initial_desired}},
        "etag": quoted(enrollment.etag),
        "provisioningStatus": enrollment.status,
        "reprovisionPolicy": {
            "updateHubAssignment": enrollment.reprovisioning.update_hub_assignment,
            "migrateDeviceData": enrollment.reprovisioning.migrate_device_data,
        },
        "createdDateTimeUtc": format_time(enrollment.created),
        "lastUpdatedDateTimeUtc": format_time(enrollment.updated),
        "allocationPolicy": enrollment.allocation,
    }
    if enrollment.linked_hubs:
        document["iotHubs"] = list(enrollment.linked_hubs)
    if enrollment.custom_allocation is not None:
        document["customAllocationDefinition"] = {
            "webhookUrl": enrollment.custom_allocation.shown_url,
            "apiVersion": enrollment.custom_allocation.api_version,
        }
    return document


# --- members -----------------------------------------------------------------------------------------------------


def _choice(body: Mapping[str, Any], member: str, choices: tuple[str, ...]) -> str | None:
    text = get_text(body, member)
    if not text:
        return None
    for choice in choices:
        if text.lower() == choice.lower():
            return choice
    raise Invalid("body.member", f"{member} is {text[:40]!r}, it has to be one of {', '.join(choices)}")


def _hubs(body: Mapping[str, Any]) -> tuple[str, ...]:
    names = body.get("iotHubs")
    if names is None:
        return ()
    if not isinstance(names, list) or len(names) > _MAX_HUBS or not all(isinstance(name, str) for name in names):
        raise Invalid("body.member", f"iotHubs has to be an array of at most {_MAX_HUBS} host names")
    return tuple(dict.fromkeys(names))


def collection(members: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A twin collection without what the SDKs' models carry beside its members."""
    return {
        name: value
        for name, value in (members or {}).items()
        if not (name in _COLLECTION_MEMBERS and value is None) and name not in ("$metadata", "$version")
    }

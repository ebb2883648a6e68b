"""What the pages about how devices come in do, as code: groups, their certificates, and enrollments of single devices.

Keys are variables wherever somebody has typed one or there is one: no page shows a secret as code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from moorage.fleet.roll_model import HubCA, Roll
from moorage.hub_info import HubInfo
from moorage.ids import DeviceId
from moorage.pki.certificates import Certificate
from moorage.pki.names import certificate_files
from moorage.provisioning.model import BySymmetricKey, EnrollmentGroup, IndividualEnrollment, Slot
from moorage.web.code import Act, Call, File, Variable, act_as_code, central_path
from moorage.web.proof import files_of_ca
from moorage.web.samples import files_of

__all__ = [
    "approval_acts",
    "chain_acts",
    "connect_acts",
    "group_acts",
    "new_group_acts",
    "rehearsal_acts",
    "slot_acts",
    "undo_acts",
]

# What the files are called whose name nobody knows yet, and what the tools call a proof.
_ROOT: Final = certificate_files("root")
_PROOF: Final = certificate_files("verification")
_DEVICE: Final = certificate_files("device")
# Where az takes the certificate of a slot.
_PATHS: Final[dict[Slot, str]] = {"primary": "--certificate-path", "secondary": "--secondary-certificate-path"}
_KEYS: Final = {"primaryKey": Variable("PRIMARY_KEY"), "secondaryKey": Variable("SECONDARY_KEY")}


def approval_acts(info: HubInfo, *, is_on: bool) -> list[Act]:
    call = Call("PUT", central_path("settings", "autoApprove"), {"enabled": is_on}, api="own")
    return [act_as_code(info, "Save", call)]


def new_group_acts(
    info: HubInfo, group_id: str, name: str, *, is_edge: bool, is_enabled: bool, by_keys: bool, has_keys: bool
) -> list[Act]:
    """With `has_keys` they are given, else the hub makes them (REST-X1)."""
    return [_saving(info, group_id, name, is_edge, is_enabled, by_keys, has_keys)]


def group_acts(info: HubInfo, group: EnrollmentGroup) -> list[Act]:
    """REST-X1, and what removes it."""
    by_keys, is_enabled = isinstance(group.attestation, BySymmetricKey), group.status == "enabled"
    delete = ("enrollment-group", "delete", "--id", group.group_id)
    return [
        _saving(info, group.group_id, group.display_name or group.group_id, group.is_edge, is_enabled, by_keys, False),
        act_as_code(info, "Delete", Call("DELETE", central_path("enrollmentGroups", group.group_id), az=delete)),
    ]


def _saving(
    info: HubInfo, group_id: str, name: str, is_edge: bool, is_enabled: bool, by_keys: bool, has_keys: bool
) -> Act:
    kind, attestation = "iotEdge" if is_edge else "iot", "symmetricKey" if by_keys else "x509"
    body: dict[str, Any] = {
        "displayName": name,
        "type": kind,
        "enabled": is_enabled,
        "attestation": {"type": attestation},
    }
    options: dict[str, Any] = {
        "--id": group_id,
        "--display-name": name,
        "--type": kind,
        "--attestation-type": attestation,
        "--provisioning-status": "enabled" if is_enabled else "disabled",
    }
    if has_keys:
        body["attestation"] |= {"symmetricKey": _KEYS}
        options |= {"--primary-key": _KEYS["primaryKey"], "--secondary-key": _KEYS["secondaryKey"]}
    create = ("enrollment-group", "create", *(word for option in options.items() for word in option))
    return act_as_code(info, "Save", Call("PUT", central_path("enrollmentGroups", group_id), body, create))


def slot_acts(
    info: HubInfo, group: EnrollmentGroup, slot: Slot, held: Certificate | None, *, is_verified: bool
) -> list[Act]:
    """REST-X2, X4, X5 and X6; `held` is what the slot holds."""
    there = central_path("enrollmentGroups", group.group_id, "certificates", slot)
    which = ("--id", group.group_id)
    # What az does not name it would switch on.
    update = ("enrollment-group", "update", *which, "--provisioning-status", group.status)
    file = (_ROOT if held is None else files_of_ca(held)).certificate
    add = Call("PUT", there, {"certificate": File(file), "verified": False}, (*update, _PATHS[slot], file))
    acts = [act_as_code(info, "Add certificate", add)]
    if held is None:
        return acts
    if not is_verified:
        code = Call(
            "POST",
            f"{there}/generateVerificationCode",
            az=("enrollment-group", "generate-verification-code", *which, "--certificate-entry", slot),
        )
        verify = Call(
            "POST",
            f"{there}/verify",
            {"certificate": File(_PROOF.certificate)},
            ("enrollment-group", "verify-certificate", *which, _PATHS[slot], _PROOF.certificate),
        )
        acts += [act_as_code(info, "Generate verification code", code), act_as_code(info, "Verify", verify)]
    remove = Call("DELETE", there, az=(*update, "--remove-x509", "--certificate-entry", slot))
    return [*acts, act_as_code(info, "Remove", remove)]


def connect_acts(
    info: HubInfo,
    device_id: DeviceId,
    enrollment: IndividualEnrollment | None,
    method: Literal["symmetricKey", "x509", "tpm"] | None,
    *,
    is_held: bool,
) -> list[Act]:
    """REST-X7, X9 to X11. `method` is what the form saves by, None without one; `is_held` where it is so already."""
    there, which = central_path("devices", device_id), ("--device-id", device_id)
    attestation = f"{there}/attestation"

    def save(label: str, body: dict[str, Any], *, is_change: bool = False) -> Act:
        az = ("device", "attestation", "update" if is_change else "create", *which, "--content", body)
        return act_as_code(info, label, Call("PATCH" if is_change else "PUT", attestation, body, az))

    acts = [
        act_as_code(
            info, "Show credentials", Call("GET", f"{there}/credentials", az=("device", "show-credentials", *which))
        )
    ]
    match method:
        case "x509":
            # One slot alone, the other one stays.
            slots: tuple[Slot, ...] = ("primary", "secondary") if is_held else ("primary",)
            for slot in slots:
                certificate = {slot: {"certificate": File(files_of(device_id).certificate)}}
                body = {"type": "x509", "x509": {"clientCertificates": certificate}}
                acts.append(save(f"Save a {slot} certificate", body, is_change=is_held))
        case "symmetricKey":
            acts.append(save("Save", {"type": "symmetricKey"} | ({"symmetricKey": _KEYS} if is_held else {})))
        case "tpm":
            acts.append(save("Save", {"type": "tpm", "tpm": {"endorsementKey": Variable("ENDORSEMENT_KEY")}}))
    if enrollment is not None:
        removes = Call("DELETE", attestation, az=("device", "attestation", "delete", *which))
        acts.append(act_as_code(info, "Remove individual enrollment", removes))
    return acts


def rehearsal_acts(
    info: HubInfo, place: Mapping[str, str], certificate: Certificate | None, *, is_removed: bool, may_roll: bool
) -> list[Act]:
    """`place` is `group` and `slot`, or `ca`; `certificate` is None before one was chosen, or where it `is_removed`."""
    body: dict[str, Any] = dict(place)
    if not is_removed:
        body["certificate"] = File(_ROOT.certificate) if certificate is None else certificate.pem
    acts = [act_as_code(info, "Rehearse", Call("POST", central_path("certificates", "rehearsal"), body, api="own"))]
    if certificate is not None and may_roll:
        rolls = Call("POST", central_path("certificates", "rolls"), body, api="own")
        acts.append(act_as_code(info, "Roll it now", rolls))
    return acts


def undo_acts(info: HubInfo, roll: Roll) -> list[Act]:
    match roll.place:
        case HubCA(name):
            there = central_path("certificates", "caRolls", name, "undo")
        case place:
            there = central_path("certificates", "rolls", place.group_id, "undo")
    return [act_as_code(info, "Undo", Call("POST", there, api="own"))]


def chain_acts(info: HubInfo) -> list[Act]:
    body = {"certificate": File(_DEVICE.certificate)}
    call = Call("POST", central_path("certificates", "chains"), body, api="own")
    return [act_as_code(info, "Judge it", call)]

"""Rehearsals and rolls of CAs in the JSON of our own API, and where a certificate fits (contract/central.md 25).

    {"group": "line-7", "slot": "primary", "certificate": "-----BEGIN CERTIFICATE-----..."}
    {"ca": "plant", "certificate": "-----BEGIN CERTIFICATE-----..."}

A slot of an enrollment group, or a CA that is registered at the hub. Without a certificate it is taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from moorage.dialects.attempts_json import certificate_json
from moorage.dialects.members import check_members, get_choice, need_text
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.fleet.rehearsal import Outcome, Rehearsal
from moorage.fleet.roll_model import GroupSlot, HubCA, Progress, Roll
from moorage.fleet.sightings import Sighting
from moorage.fleet.supply_chain import Fit
from moorage.ids import parse_ca_name, parse_enrollment_group_id
from moorage.pki.certificates import Certificate
from moorage.provisioning.model import Slot

__all__ = ["ROLL_MEMBERS", "fit_json", "parse_place", "progress_json", "rehearsal_json", "roll_json"]

ROLL_MEMBERS: Final = ("group", "slot", "ca", "certificate", "etag")
_SLOTS: Final[Mapping[str, Slot]] = {"primary": "primary", "secondary": "secondary"}


def parse_place(body: Mapping[str, Any]) -> GroupSlot | HubCA:
    """Raises `Invalid` (`body.member`, `id.*`)."""
    check_members(body, ROLL_MEMBERS)
    if (body.get("ca") is None) == (body.get("group") is None):
        raise Invalid("body.member", "a group with its slot, or a ca of the hub: one of the two has to be there")
    if body.get("ca") is not None:
        return HubCA(parse_ca_name(need_text(body, "ca")))
    group_id = parse_enrollment_group_id(need_text(body, "group"))
    return GroupSlot(group_id, get_choice(body, "slot", _SLOTS) or "primary")


def rehearsal_json(rehearsal: Rehearsal, stranded: Iterable[Sighting]) -> dict[str, Any]:
    """`stranded` are devices that would be left outside, the first of them."""
    return {
        "fine": rehearsal.fine_devices,
        "stranded": rehearsal.stranded_devices,
        "paths": [
            *(_outcome_json(each, stays=True) for each in rehearsal.fine),
            *(_outcome_json(each, stays=False) for each in rehearsal.stranded),
        ],
        "devices": [_sighting_json(each) for each in stranded],
    }


def _outcome_json(outcome: Outcome, *, stays: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "devices": outcome.devices,
        "stays": stays,
        "certificates": [each.subject for each in outcome.path.certificates],
    }
    return document if stays else {**document, "reason": outcome.reason, "message": outcome.message, "fix": outcome.fix}


def _sighting_json(sighting: Sighting) -> dict[str, Any]:
    return {
        "device": str(sighting.name),
        "subject": sighting.subject,
        "issuer": sighting.issuer,
        "notAfter": format_time(sighting.not_after),
        "lastSeen": format_time(sighting.last_seen),
    }


def roll_json(roll: Roll) -> dict[str, Any]:
    """`old` is null where the slot was empty."""
    match roll.place:
        case GroupSlot(group_id, slot):
            place = {"group": str(group_id), "slot": str(slot)}
        case HubCA(name):
            place = {"ca": str(name)}
    return {
        **place,
        "old": None if roll.old is None else _certificate_json(roll.old),
        "new": _certificate_json(roll.new),
        "time": format_time(roll.at),
        "by": roll.by,
    }


def progress_json(progress: Progress, waiting: Iterable[Sighting]) -> dict[str, Any]:
    """`waiting` are devices that were seen below the old CA alone, the first of them."""
    return {
        **roll_json(progress.roll),
        "changed": progress.changed,
        "waiting": progress.waiting,
        "devices": [_sighting_json(each) for each in waiting],
    }


def fit_json(fit: Fit) -> dict[str, Any]:
    """`admittedBy` is there for a device's certificate that would be let in, `refusal` for one that would not."""
    document: dict[str, Any] = {
        "certificates": [_certificate_json(each) for each in fit.certificates],
        "path": [_certificate_json(each) for each in fit.path],
        "findings": [
            {"reason": each.reason, "message": each.message, "fix": each.fix, "refused": each.is_refusal}
            for each in fit.findings
        ],
        "checks": [{"name": each.name, "passed": each.passed, "detail": each.detail} for each in fit.checks],
    }
    if fit.admitted_by:
        document["admittedBy"] = fit.admitted_by
    if fit.refusal is not None:
        refusal = fit.refusal
        document["refusal"] = {"reason": refusal.reason, "message": refusal.message, "fix": refusal.fix}
    return document


def _certificate_json(certificate: Certificate) -> dict[str, Any]:
    return certificate_json(certificate.der)

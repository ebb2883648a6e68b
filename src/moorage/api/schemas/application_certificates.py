"""Rehearsals and rolls of CAs, and where a certificate fits (contract/central.md 25)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.own import SHOWN_CERTIFICATE
from moorage.api.schemas.words import FLAG, TIME, Schema, flag, list_of, members, named, nullable, one_of, text, whole

__all__ = ["CHAIN", "FIT", "PROGRESS", "REHEARSAL", "REHEARSAL_DRAFT", "ROLL", "ROLLS", "ROLL_DRAFT"]

_PEM: Final = text("As PEM, or its DER in base64.")
_PLACE: Final[dict[str, Schema]] = {
    "group": text("An enrollment group."),
    "slot": one_of("primary", "secondary"),
    "ca": text("Instead: a CA that is registered at the hub."),
}
REHEARSAL_DRAFT: Final = named(
    "RehearsalDraft", members({}, {**_PLACE, "certificate": text("The new one; absent to take the old one away.")})
)
ROLL_DRAFT: Final = named(
    "RollDraft",
    members({"certificate": _PEM}, {**_PLACE, "etag": text("Of the group or the CA: only if it is still that.")}),
)
_DEVICES: Final = list_of(
    members({"device": text(), "subject": text(), "issuer": text(), "notAfter": TIME, "lastSeen": TIME}),
    "The first hundred of them.",
)
REHEARSAL: Final = named(
    "Rehearsal",
    members(
        {
            "fine": whole("Devices that stay in."),
            "stranded": whole("Devices that would be left outside."),
            "paths": list_of(
                members(
                    {"devices": whole(), "stays": FLAG, "certificates": list_of(text(), "Subjects, closest first.")},
                    {"reason": text(), "message": text(), "fix": text()},
                )
            ),
            "devices": _DEVICES,
        }
    ),
)
_ROLL: Final[dict[str, Schema]] = {
    "old": nullable(SHOWN_CERTIFICATE),
    "new": SHOWN_CERTIFICATE,
    "time": TIME,
    "by": text(),
}
ROLL: Final = named("Roll", members(_ROLL, _PLACE))
ROLLS: Final = members({"value": list_of(ROLL)})
PROGRESS: Final = named(
    "RollProgress",
    members(
        {
            **_ROLL,
            "changed": whole("Devices seen below the new CA."),
            "waiting": whole("Devices seen below the old one alone."),
            "devices": _DEVICES,
        },
        _PLACE,
    ),
)
CHAIN: Final = members({"certificate": text("One or more as PEM, the first of them is judged.")})
_TOLD: Final[dict[str, Schema]] = {"reason": text(), "message": text(), "fix": text()}
FIT: Final = named(
    "Fit",
    members(
        {
            "certificates": list_of(SHOWN_CERTIFICATE, "As they came."),
            "path": list_of(SHOWN_CERTIFICATE, "Above the first of them, closest first."),
            "findings": list_of(members({**_TOLD, "refused": flag("Whether it keeps it from being taken.")})),
            "checks": list_of(members({"name": text(), "passed": nullable(FLAG), "detail": text()})),
        },
        {"admittedBy": text("The group or enrollment that lets it in."), "refusal": members(_TOLD)},
    ),
)

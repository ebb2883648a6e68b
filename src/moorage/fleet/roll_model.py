"""A roll of a CA that was done, as it is kept until it is undone or another one takes its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from moorage.fleet.sightings import PathId
from moorage.ids import CAName, EnrollmentGroupId, parse_ca_name, parse_enrollment_group_id
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.provisioning.model import Slot

__all__ = ["AT_HUB", "GroupSlot", "HubCA", "Progress", "Roll", "read_roll", "roll_text"]

# The binding of identities that hang on the hub's registered CAs; of others it is the id of their group.
AT_HUB = ""


class GroupSlot(NamedTuple):
    """A slot of an enrollment group."""

    group_id: EnrollmentGroupId
    slot: Slot


class HubCA(NamedTuple):
    """A CA that is registered at the hub, which anchors devices that were created by hand."""

    name: CAName


@dataclass(frozen=True, slots=True)
class Roll:
    """A roll that was done, with what it takes to undo it.

    `old` is None for a slot that was empty; `was_proven` says whether it let anybody in.
    """

    place: GroupSlot | HubCA
    old: Certificate | None
    new: Certificate
    at: datetime
    by: str
    was_proven: bool

    @property
    def binding(self) -> str:
        """What identities that it concerns hang on."""
        return self.place.group_id if isinstance(self.place, GroupSlot) else AT_HUB


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a roll is: devices seen below the new CA, and those still seen below the old one alone."""

    roll: Roll
    changed: int
    waiting: int
    waiting_paths: tuple[PathId, ...]


def roll_text(roll: Roll) -> str:
    """As it is kept."""
    place: dict[str, str]
    match roll.place:
        case GroupSlot(group_id, slot):
            place = {"group": group_id, "slot": slot}
        case HubCA(name):
            place = {"ca": name}
    return json.dumps(
        {
            **place,
            "old": roll.old.pem if roll.old is not None else "",
            "new": roll.new.pem,
            "at": roll.at.isoformat(),
            "by": roll.by,
            "proven": roll.was_proven,
        }
    )


def read_roll(text: str) -> Roll:
    value = json.loads(text)
    place: GroupSlot | HubCA
    if "ca" in value:
        place = HubCA(parse_ca_name(value["ca"]))
    else:
        place = GroupSlot(parse_enrollment_group_id(value["group"]), value["slot"])
    return Roll(
        place,
        parse_certificate(value["old"]) if value["old"] else None,
        parse_certificate(value["new"]),
        datetime.fromisoformat(value["at"]),
        value["by"],
        # Of rolls that were kept before this was.
        value.get("proven", True),
    )

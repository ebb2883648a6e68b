"""Which of the linked hubs a device goes to: plain decisions over names and weights.

`hashed` spreads devices by weighted rendezvous hashing: every hub draws a number for the registration id, scaled by its
weight, and the highest wins. So linking, unlinking or weighing a hub moves only devices to or from that hub, and no
count of devices has to be kept.

`geoLatency` does the same. What would count is how far a hub is from the device, and nobody here can measure that: the
distance from this provisioning service says nothing about it.
"""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from moorage.errors import Refusal
from moorage.ids import DeviceId, RegistrationId
from moorage.pki.certificates import Certificate
from moorage.provisioning.model import Enrollment, HubChoice, Registration, Substatus

__all__ = [
    "CUSTOM_FAILED",
    "HUB_REFUSED",
    "NO_HUB",
    "AllocationAnswer",
    "AllocationFailed",
    "AllocationQuestion",
    "Placement",
    "candidate_names",
    "choose_hub",
    "decide_placement",
    "find_hub",
]

# What a failed registration carries as its error code (contract/devices.md 6.6).
CUSTOM_FAILED: Final = 400207
NO_HUB: Final = 400208
HUB_REFUSED: Final = 400209


class AllocationFailed(Refusal):
    """No hub was found for a device that may register: told in the registration's state, not as an error."""

    def __init__(self, reason: str, message: str, *, error_code: int, fix: str = "") -> None:
        super().__init__(reason, message, fix=fix)
        self.error_code = error_code


@dataclass(frozen=True, slots=True)
class AllocationQuestion:
    """What a web hook is asked. `certificate` is the one that the device showed; `payload` what it sent along."""

    enrollment: Enrollment
    registration_id: RegistrationId
    linked_hubs: Sequence[str]
    certificate: Certificate | None = None
    payload: Any = None
    current_hub: str | None = None
    current_device: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class AllocationAnswer:
    """What a web hook said. `initial` is (tags, desired), None when it leaves that to the enrollment."""

    host_name: str
    initial: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a device goes, and what becomes of its data on the way."""

    host_name: str
    substatus: Substatus
    moved_from: str | None = None


def decide_placement(
    enrollment: Enrollment,
    before: Registration | None,
    hubs: Sequence[HubChoice],
    registration_id: RegistrationId,
    chosen: str | None = None,
) -> Placement:
    """The hub for a device that registers, given where it was `before`; `chosen` is a web hook's choice.

    Resetting takes place on the same hub too: that is how a factory reset is done. Migrating does something only when
    the hub changes. Raises `AllocationFailed`.
    """
    present = before.assigned_hub if before is not None else None
    if before is None or present is None:
        return Placement(chosen or choose_hub(enrollment, hubs, registration_id), "initialAssignment")
    policy = enrollment.reprovisioning
    hub = find_hub(hubs, present)
    if hub is not None and not policy.update_hub_assignment:
        return Placement(present, before.substatus or "initialAssignment")
    host_name = chosen or choose_hub(enrollment, hubs, registration_id)
    moved_from = None if hub is not None and hub is find_hub(hubs, host_name) else present
    if policy.update_hub_assignment and not policy.migrate_device_data:
        return Placement(host_name, "deviceDataReset", moved_from)
    return Placement(host_name, "deviceDataMigrated" if moved_from else "initialAssignment", moved_from)


def candidate_names(enrollment: Enrollment, before: Registration | None, hubs: Sequence[HubChoice]) -> list[str]:
    """The hubs that a web hook may choose from: the present one alone, for a device that never moves.

    Raises `AllocationFailed` (`allocation.no_hub`).
    """
    present = before.assigned_hub if before is not None else None
    if present is not None and not enrollment.reprovisioning.update_hub_assignment and find_hub(hubs, present):
        return [present]
    return [name for name, _ in _candidates(enrollment, hubs, for_policy=False)]


def choose_hub(enrollment: Enrollment, hubs: Sequence[HubChoice], registration_id: RegistrationId) -> str:
    """The host name of the hub for this device, out of those the enrollment names, or of all linked `hubs`.

    Raises `AllocationFailed` (`allocation.no_hub`).
    """
    if enrollment.allocation == "static":
        return _candidates(enrollment, hubs, for_policy=False)[0][0]
    return _by_hash(_candidates(enrollment, hubs, for_policy=True), registration_id)


def find_hub(hubs: Sequence[HubChoice], host_name: str) -> HubChoice | None:
    """The linked hub that has this name, by all its names."""
    wanted = host_name.lower()
    return next((hub for hub in hubs if wanted in (name.lower() for name in hub.names)), None)


def _candidates(enrollment: Enrollment, hubs: Sequence[HubChoice], *, for_policy: bool) -> list[tuple[str, int]]:
    """Name and weight of each hub that may be chosen, never empty: the first name that the enrollment calls it by, in
    the enrollment's order, or the preferred names of all linked ones.

    A hub that applies no policy is chosen only where it is named; what is spread by weight needs one.
    """
    chosen: dict[str, tuple[str, int]] = {}
    for name in enrollment.linked_hubs:
        hub = find_hub(hubs, name)
        if hub is not None:
            known = next(each for each in hub.names if each.lower() == name.lower())
            chosen.setdefault(hub.names[0], (known, hub.weight))
    if not enrollment.linked_hubs:
        chosen = {hub.names[0]: (hub.names[0], hub.weight) for hub in hubs if hub.applies_policy or not for_policy}
    found = [(name, weight) for name, weight in chosen.values() if weight or not for_policy]
    if not found:
        linked = ", ".join(hub.names[0] for hub in hubs) or "none"
        if chosen:
            names = [name for name, _ in chosen.values()]
            why = f"every hub it could go to has the weight 0: {', '.join(names)}"
            fix = f"moorage linked-hub update {shlex.quote(names[0])} --weight 1"
        else:
            named = ", ".join(enrollment.linked_hubs)
            wanted = f"of the hubs that the enrollment names ({named}) none" if named else "no hub that takes devices"
            why = f"{wanted} is linked; linked: {linked}"
            fix = "moorage linked-hub list"
            if named:
                fix += (
                    ", then moorage enrollment-group update NAME --hub HOST, or moorage enrollment update ID --hub HOST"
                )
        raise AllocationFailed("allocation.no_hub", why, error_code=NO_HUB, fix=fix)
    return found


def _by_hash(candidates: Sequence[tuple[str, int]], registration_id: RegistrationId) -> str:
    name = registration_id.lower()

    def score(candidate: tuple[str, int]) -> tuple[float, str]:
        host_name, weight = candidate
        digest = hashlib.sha256(f"{host_name.lower()}\n{name}".encode()).digest()
        # Strictly between 0 and 1. The largest of these scores is that of a hub with the chance weight / all weights.
        drawn = (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
        return -weight / math.log(drawn), host_name

    return max(candidates, key=score)[0]

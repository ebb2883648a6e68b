"""Which of the linked hubs a device goes to: plain decisions over names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from moorage.errors import Refusal
from moorage.ids import RegistrationId
from moorage.provisioning.model import Enrollment

__all__ = ["CUSTOM_FAILED", "HUB_REFUSED", "NO_HUB", "AllocationFailed", "choose_hub", "find_hub"]

# What a failed registration carries as its error code (contract/devices.md 6.6).
CUSTOM_FAILED: Final = 400207
NO_HUB: Final = 400208
HUB_REFUSED: Final = 400209


class AllocationFailed(Refusal):
    """No hub was found for a device that may register: told in the registration's state, not as an error."""

    def __init__(self, reason: str, message: str, *, error_code: int, fix: str = "") -> None:
        super().__init__(reason, message, fix=fix)
        self.error_code = error_code


def choose_hub(enrollment: Enrollment, hubs: Sequence[Sequence[str]], registration_id: RegistrationId) -> str:
    """The host name of the hub for this device, out of those the enrollment names, or of all linked `hubs`.

    Raises:
        AllocationFailed: `allocation.no_hub`, `allocation.custom`.
    """
    if enrollment.allocation == "custom":
        raise AllocationFailed(
            "allocation.custom",
            "the enrollment asks for custom allocation by a web hook, which this provisioning service does not call",
            error_code=CUSTOM_FAILED,
            fix="set allocationPolicy to hashed or static",
        )
    candidates = _candidates(enrollment.linked_hubs, hubs)
    if not candidates:
        raise AllocationFailed(
            "allocation.no_hub",
            f"of the hubs that the enrollment names ({', '.join(enrollment.linked_hubs) or 'any'}) none is linked; "
            f"linked: {', '.join(name for names in hubs for name in names) or 'none'}",
            error_code=NO_HUB,
        )
    if enrollment.allocation == "static":
        return candidates[0]
    # Also for geoLatency: the hubs behind one provisioning service are equally far from it.
    # Rendezvous hashing: when a hub is linked or unlinked, only the devices that gain or lose it move.
    name = registration_id.lower()
    return max(candidates, key=lambda hub: (hashlib.sha256(f"{hub.lower()}\n{name}".encode()).digest(), hub))


def find_hub(hubs: Sequence[Sequence[str]], host_name: str) -> Sequence[str] | None:
    """The linked hub that has this name, by all its names."""
    wanted = host_name.lower()
    return next((names for names in hubs if wanted in (name.lower() for name in names)), None)


def _candidates(wanted: Sequence[str], hubs: Sequence[Sequence[str]]) -> list[str]:
    """One name for each hub that may be chosen: the first that the enrollment calls it by, else its preferred one."""
    if not wanted:
        return [names[0] for names in hubs if names]
    chosen: dict[int, str] = {}
    for name in wanted:
        hub = find_hub(hubs, name)
        if hub is not None:
            chosen.setdefault(id(hub), next(each for each in hub if each.lower() == name.lower()))
    return list(chosen.values())

"""Shared access policies, the SAS switches and the waivers in the JSON of our own API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from moorage.dialects.members import check_same, get_boolean, get_text
from moorage.errors import Invalid
from moorage.identities.model import PolicyScope, SasSwitches, SharedAccessPolicy
from moorage.identities.policy_rules import PolicyDraft, ordered, parse_right
from moorage.ids import Secret
from moorage.pki.waivers import WAIVERS, Waiver, Waivers

__all__ = [
    "SWITCHES",
    "own_policy_json",
    "parse_draft",
    "parse_roll",
    "parse_switches",
    "parse_waivers",
    "switches_json",
    "waivers_json",
]

# Members of a hub, and the attributes of `SasSwitches` that they are.
SWITCHES: Final = {
    "disableLocalAuth": "disable_local_auth",
    "disableDeviceSAS": "disable_device_sas",
    "disableModuleSAS": "disable_module_sas",
}
_MAX_RIGHTS = 20


def own_policy_json(policy: SharedAccessPolicy) -> dict[str, Any]:
    """Keys included; rights as a list."""
    return {
        "name": policy.name,
        "primaryKey": policy.primary.reveal(),
        "secondaryKey": policy.secondary.reveal(),
        "rights": ordered(policy.scope, policy.rights),
    }


def parse_draft(scope: PolicyScope, name: str, body: Mapping[str, Any]) -> PolicyDraft:
    """Raises `Invalid` (`body.member`, `body.id`, `policy.rights`)."""
    check_same(body, "name", name)
    rights = body.get("rights")
    if rights is not None and (not isinstance(rights, list) or not all(isinstance(each, str) for each in rights)):
        raise Invalid("body.member", "rights has to be a list of strings")
    if rights is not None and len(rights) > _MAX_RIGHTS:
        raise Invalid("body.member", f"rights has {len(rights)} entries, at most {_MAX_RIGHTS} are allowed")
    primary, secondary = get_text(body, "primaryKey"), get_text(body, "secondaryKey")
    return PolicyDraft(
        name,
        None if rights is None else frozenset(parse_right(scope, each) for each in rights),
        Secret(primary) if primary else None,
        Secret(secondary) if secondary else None,
    )


def parse_roll(body: Mapping[str, Any]) -> tuple[Literal["primary", "secondary", "swap"], Secret | None]:
    """Which key, and by which. Raises `Invalid` (`body.member`)."""
    which, value = get_text(body, "key"), get_text(body, "value")
    if which not in ("primary", "secondary", "swap"):
        raise Invalid("body.member", f"key is {str(which)[:40]!r}, it has to be primary, secondary or swap")
    if which == "swap" and value:
        raise Invalid("body.member", "value goes with key primary or secondary")
    return cast(Literal["primary", "secondary", "swap"], which), Secret(value) if value else None


def switches_json(switches: SasSwitches) -> dict[str, bool]:
    return {member: getattr(switches, attribute) for member, attribute in SWITCHES.items()}


def parse_switches(body: Mapping[str, Any], path: str = "") -> dict[str, bool]:
    """Those that `body` speaks of, by attribute. `path` stands before the member. Raises `Invalid` (`body.member`)."""
    changes: dict[str, bool] = {}
    for member, attribute in SWITCHES.items():
        value = get_boolean(body, member, path + member, default=None)
        if value is not None:
            changes[attribute] = value
    return changes


def waivers_json(given: Waivers) -> dict[str, bool]:
    return {waiver: waiver in given for waiver in WAIVERS}


def parse_waivers(body: Mapping[str, Any]) -> dict[Waiver, bool]:
    """Those that `body` speaks of. Raises `Invalid` (`body.member`), also for a name that is no waiver."""
    unknown = next((member for member in body if member not in WAIVERS), None)
    if unknown is not None:
        raise Invalid("body.member", f"there is no waiver {unknown[:40]!r}; there are {', '.join(WAIVERS)}")
    found = ((waiver, get_boolean(body, waiver, waiver, default=None)) for waiver in WAIVERS)
    return {waiver: value for waiver, value in found if value is not None}

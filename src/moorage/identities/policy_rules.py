"""What a shared access policy may be: its name, its rights, its keys, and which ones stay (services.md 1.3).

Plain decisions over values. A draft says what somebody wants of a policy; what it leaves out is made for a new policy
and kept for one that exists. Names are told apart without case, as tools do, and keep the spelling they were made with.

Two policies stay whatever is asked, with every right they have: those whose connection strings `moorage env` hands out.
Their keys roll like any other's, and `disableLocalAuth` closes those of the hub.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from moorage.errors import Conflict, Invalid, NotFound, TooLarge
from moorage.identities.model import PolicyScope, Right, SharedAccessPolicy
from moorage.identities.sas import key_bytes
from moorage.ids import HubId, Secret

__all__ = [
    "DEFAULT_POLICIES",
    "KEY_BYTES_MAX",
    "KEY_BYTES_MIN",
    "MAX_POLICIES",
    "OWNERS",
    "RIGHTS",
    "KeySlot",
    "PolicyDraft",
    "PolicyPlan",
    "check_key",
    "check_stays",
    "decide_all",
    "decide_create",
    "decide_roll",
    "decide_swap",
    "decide_update",
    "find_among",
    "get_among",
    "make_key",
    "ordered",
    "parse_right",
]

# services.md 1.3: base64 of 16 to 64 bytes, for policies and devices alike.
KEY_BYTES_MIN: Final = 16
KEY_BYTES_MAX: Final = 64
# Every login that names a policy finds it among these, and every one of them is a way in.
MAX_POLICIES: Final = 100

# In the order in which Azure writes them (services.md 1.3).
RIGHTS: Final[dict[PolicyScope, tuple[Right, ...]]] = {
    "hub": ("RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"),
    "dps": (
        "ServiceConfig",
        "DeviceConnect",
        "EnrollmentRead",
        "EnrollmentWrite",
        "RegistrationStatusRead",
        "RegistrationStatusWrite",
    ),
}
# Those whose connection strings the hub hands out.
OWNERS: Final[dict[PolicyScope, str]] = {"hub": "iothubowner", "dps": "provisioningserviceowner"}
# What a hub and its provisioning service begin with.
DEFAULT_POLICIES: Final[dict[PolicyScope, dict[str, frozenset[Right]]]] = {
    "hub": {
        OWNERS["hub"]: frozenset(RIGHTS["hub"]),
        "service": frozenset({"ServiceConnect"}),
        "device": frozenset({"DeviceConnect"}),
        "registryRead": frozenset({"RegistryRead"}),
        "registryReadWrite": frozenset({"RegistryRead", "RegistryWrite"}),
    },
    "dps": {OWNERS["dps"]: frozenset(RIGHTS["dps"])},
}

KeySlot = Literal["primary", "secondary"]

_NAME: Final = re.compile(r"[A-Za-z0-9\-._]{1,64}")
_PLACES: Final[dict[PolicyScope, str]] = {"hub": "hub", "dps": "provisioning service"}


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """What somebody wants of the policy `name`; None is not said."""

    name: str
    rights: frozenset[Right] | None = None
    primary: Secret | None = None
    secondary: Secret | None = None


@dataclass(frozen=True, slots=True)
class PolicyPlan:
    """What there is to do. `updated` holds each policy before and after."""

    created: Sequence[SharedAccessPolicy] = ()
    updated: Sequence[tuple[SharedAccessPolicy, SharedAccessPolicy]] = ()
    deleted: Sequence[SharedAccessPolicy] = ()

    def __bool__(self) -> bool:
        return bool(self.created or self.updated or self.deleted)


def make_key() -> Secret:
    """Base64 of 32 random bytes."""
    return Secret(base64.b64encode(secrets.token_bytes(32)).decode())


def check_key(key: Secret) -> Secret:
    """Raises `Invalid` (`key.base64`, `key.length`); the key is not shown."""
    size = len(key_bytes(key))
    if not KEY_BYTES_MIN <= size <= KEY_BYTES_MAX:
        raise Invalid(
            "key.length", f"a shared access key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, this one has {size}"
        )
    return key


def parse_right(scope: PolicyScope, text: str) -> Right:
    """One right, in any case. Raises `Invalid` (`policy.rights`)."""
    for right in RIGHTS[scope]:
        if right.lower() == text.strip().lower():
            return right
    raise Invalid(
        "policy.rights",
        f"{text.strip()[:64]!r} is no right of a {_PLACES[scope]}; there are {', '.join(RIGHTS[scope])}",
    )


def ordered(scope: PolicyScope, rights: frozenset[Right]) -> list[Right]:
    """`rights` as Azure orders them."""
    return [right for right in RIGHTS[scope] if right in rights]


def find_among(policies: Sequence[SharedAccessPolicy], name: str) -> SharedAccessPolicy | None:
    """The one of this name, in whatever case."""
    return next((policy for policy in policies if policy.name.lower() == name.lower()), None)


def decide_create(
    hub: HubId, scope: PolicyScope, draft: PolicyDraft, present: Sequence[SharedAccessPolicy]
) -> SharedAccessPolicy:
    """A new policy beside those `present`; keys that the draft does not give are made.

    Raises:
        Invalid: `policy.name`, `policy.rights`, `key.base64`, `key.length`.
        Conflict: `policy.exists`, `policy.same_key`.
        TooLarge: `policy.too_many`.
    """
    if not _NAME.fullmatch(draft.name):
        raise Invalid(
            "policy.name", f"{draft.name[:80]!r} cannot be a policy's name: it takes 1 to 64 letters, digits, - . _"
        )
    known = find_among(present, draft.name)
    if known is not None:
        raise Conflict(
            "policy.exists", f"there is a policy {known.name!r} already", fix=f"moorage policy show {known.name}"
        )
    if len(present) >= MAX_POLICIES:
        raise _too_many(scope, f"has {len(present)}")
    if draft.rights is None:
        raise Invalid("policy.rights", f"policy {draft.name!r} needs rights: {', '.join(RIGHTS[scope])}")
    primary, secondary = draft.primary or make_key(), draft.secondary or make_key()
    return _checked(SharedAccessPolicy(hub, scope, draft.name, primary, secondary, draft.rights))


def decide_update(present: SharedAccessPolicy, draft: PolicyDraft) -> SharedAccessPolicy:
    """`present` with what the draft gives.

    Raises:
        Invalid: `policy.rights`, `key.base64`, `key.length`.
        Conflict: `policy.same_key`; `policy.fixed` for the rights of a policy that stays.
    """
    changed = replace(
        present,
        rights=present.rights if draft.rights is None else draft.rights,
        primary=draft.primary or present.primary,
        secondary=draft.secondary or present.secondary,
    )
    if changed.rights != present.rights:
        check_stays(present, "keeps its rights")
    return present if changed == present else _checked(changed)


def decide_roll(present: SharedAccessPolicy, slot: KeySlot, key: Secret | None) -> SharedAccessPolicy:
    """`present` with another key in `slot`: `key`, or a new random one. Raises as `decide_update`."""
    fresh = make_key() if key is None else key
    return _checked(replace(present, primary=fresh) if slot == "primary" else replace(present, secondary=fresh))


def decide_swap(present: SharedAccessPolicy) -> SharedAccessPolicy:
    """Both keys go on working, under each other's name."""
    return replace(present, primary=present.secondary, secondary=present.primary)


def check_stays(policy: SharedAccessPolicy, what: str = "is not deleted") -> None:
    """Raises `Conflict` (`policy.fixed`) for a policy whose connection string the hub hands out."""
    if policy.name == OWNERS[policy.scope]:
        raise Conflict(
            "policy.fixed",
            f"policy {policy.name!r} {what}: 'moorage env' hands out its connection string. Its keys can be rolled",
            fix=f"moorage policy roll {policy.name}",
        )


def decide_all(
    hub: HubId, scope: PolicyScope, drafts: Sequence[PolicyDraft], present: Sequence[SharedAccessPolicy]
) -> PolicyPlan:
    """The policies that `drafts` speak of and no others: an update of the whole list, as Azure's tools send it.

    Raises as `decide_create` and `decide_update`; `Invalid` (`policy.twice`); `Conflict` (`policy.fixed`).
    """
    after: list[SharedAccessPolicy] = []
    created: list[SharedAccessPolicy] = []
    updated: list[tuple[SharedAccessPolicy, SharedAccessPolicy]] = []
    for draft in drafts:
        if find_among(after, draft.name) is not None:
            raise Invalid("policy.twice", f"policy {draft.name[:64]!r} is named twice")
        known = find_among(present, draft.name)
        if known is None:
            changed = decide_create(hub, scope, draft, after)
            created.append(changed)
        else:
            changed = decide_update(known, draft)
            if changed != known:
                updated.append((known, changed))
        after.append(changed)
    if created and len(after) > MAX_POLICIES:
        # Of those that were there, some stand behind the new ones in the list.
        raise _too_many(scope, f"would have {len(after)}")
    deleted = [policy for policy in present if find_among(after, policy.name) is None]
    for policy in deleted:
        check_stays(policy)
    return PolicyPlan(created, updated, deleted)


def get_among(policies: Sequence[SharedAccessPolicy], scope: PolicyScope, name: str) -> SharedAccessPolicy:
    """Raises `NotFound` (`policy.not_found`)."""
    policy = find_among(policies, name)
    if policy is None:
        known = ", ".join(each.name for each in policies)
        raise NotFound(
            "policy.not_found",
            f"the {_PLACES[scope]} has no policy {name[:64]!r}; it has {known}",
            fix="moorage policy list",
        )
    return policy


def _too_many(scope: PolicyScope, what: str) -> TooLarge:
    return TooLarge("policy.too_many", f"the {_PLACES[scope]} {what} policies, at most {MAX_POLICIES} are allowed")


def _checked(policy: SharedAccessPolicy) -> SharedAccessPolicy:
    if not policy.rights:
        raise Invalid("policy.rights", f"policy {policy.name!r} needs at least one right")
    for key in (policy.primary, policy.secondary):
        check_key(key)
    if secrets.compare_digest(policy.primary.reveal().encode(), policy.secondary.reveal().encode()):
        raise Conflict(
            "policy.same_key",
            f"both keys of policy {policy.name!r} would be the same, so that the next roll would cut everyone",
        )
    return policy

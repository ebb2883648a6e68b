"""Whether what let somebody in still would, judged by the registry as it is now: for whatever outlives its login.

Live sessions ask when a change is heard of (`hub/watch.py`), uploads when a request comes (`hub/upload_standing.py`).
Certificates above a leaf are judged elsewhere: what became of them is told by events. Rolling cuts nobody (T5).
"""

from __future__ import annotations

from collections.abc import Collection

from moorage.identities.model import Authentication, ByThumbprint, SasSwitches
from moorage.ids import IdentityName, Thumbprint

__all__ = ["is_taken_out", "pins_of", "takes_token"]


def pins_of(authentication: Authentication) -> frozenset[Thumbprint]:
    """The thumbprints in its slots; none unless it is by thumbprint."""
    if not isinstance(authentication, ByThumbprint):
        return frozenset()
    return frozenset(pin for pin in (authentication.primary, authentication.secondary) if pin)


def is_taken_out(pinned: Thumbprint, held: Collection[Thumbprint], holds: Collection[Thumbprint]) -> bool:
    """Whether `pinned` is gone from among those that were `held` then, and no new one has come for it since."""
    return pinned not in holds and set(holds) <= set(held)


def takes_token(switches: SasSwitches, name: IdentityName, *, of_policy: bool) -> bool:
    """Whether the hub takes tokens for this identity, of its own key or of a policy's."""
    refused = switches.disable_device_sas if name.module_id is None else switches.disable_module_sas
    return not (refused or (of_policy and switches.disable_local_auth))

"""Shared access policies: those every hub and provisioning service begins with, their keys, and the SAS switches.

`Policies` is the service; `PolicyCache` is what logins read: the policies of a scope and the switches, kept until a
`policies.changed` event says otherwise. Both the read that fills it and the event that empties it happen on the event
loop, the event after its commit, so a stale entry cannot outlive the event.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from moorage.errors import Conflict, Invalid, NotFound
from moorage.events import Bus, Event
from moorage.identities.model import PolicyScope, RegistryTables, Right, SasSwitches, SharedAccessPolicy
from moorage.identities.sas import key_bytes
from moorage.ids import HubId, Secret
from moorage.store import Store

__all__ = [
    "DEFAULT_DPS_POLICIES",
    "DEFAULT_HUB_POLICIES",
    "KEY_BYTES_MAX",
    "KEY_BYTES_MIN",
    "KeySlot",
    "Policies",
    "PolicyCache",
    "UsablePolicy",
    "check_key",
    "make_key",
]

# services.md 1.3: base64 of 16 to 64 bytes, for policies and devices alike.
KEY_BYTES_MIN: Final = 16
KEY_BYTES_MAX: Final = 64

DEFAULT_HUB_POLICIES: Final[dict[str, frozenset[Right]]] = {
    "iothubowner": frozenset({"RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"}),
    "service": frozenset({"ServiceConnect"}),
    "device": frozenset({"DeviceConnect"}),
    "registryRead": frozenset({"RegistryRead"}),
    "registryReadWrite": frozenset({"RegistryRead", "RegistryWrite"}),
}
DEFAULT_DPS_POLICIES: Final[dict[str, frozenset[Right]]] = {
    "provisioningserviceowner": frozenset(
        {
            "ServiceConfig",
            "DeviceConnect",
            "EnrollmentRead",
            "EnrollmentWrite",
            "RegistrationStatusRead",
            "RegistrationStatusWrite",
        }
    ),
}
_DEFAULTS: Final[dict[PolicyScope, dict[str, frozenset[Right]]]] = {
    "hub": DEFAULT_HUB_POLICIES,
    "dps": DEFAULT_DPS_POLICIES,
}

KeySlot = Literal["primary", "secondary"]


def make_key() -> Secret:
    """Base64 of 32 random bytes."""
    return Secret(base64.b64encode(secrets.token_bytes(32)).decode())


def check_key(key: Secret) -> Secret:
    """Raises `Invalid` (`key.base64`, `key.length`); the key is not shown."""
    size = len(key_bytes(key))
    if not KEY_BYTES_MIN <= size <= KEY_BYTES_MAX:
        raise Invalid(
            "key.length", f"a shared access key is base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, this has {size}"
        )
    return key


class Policies:
    """Makes, shows and changes policies. Every change emits `policies.changed` with the scope as its subject."""

    def __init__(self, store: Store[RegistryTables]) -> None:
        self._store = store

    async def ensure_defaults(self, hub: HubId) -> None:
        """Make the default policies of a scope that has none: at the first start, and never again after."""

        def work(tables: RegistryTables) -> None:
            for scope, defaults in _DEFAULTS.items():
                if tables.policies.all(hub, scope):
                    continue
                for name, rights in defaults.items():
                    tables.policies.put(SharedAccessPolicy(hub, scope, name, make_key(), make_key(), rights))
                tables.outbox.emit(Event("policies.changed", hub, scope))

        if any(not self._store.read().policies.all(hub, scope) for scope in _DEFAULTS):
            await self._store.write(work)

    def get(self, hub: HubId, scope: PolicyScope, name: str) -> SharedAccessPolicy:
        """Raises `NotFound` (`policy.not_found`)."""
        return _get(self._store.read(), hub, scope, name)

    def all(self, hub: HubId, scope: PolicyScope) -> list[SharedAccessPolicy]:
        return self._store.read().policies.all(hub, scope)

    async def roll_key(
        self, hub: HubId, scope: PolicyScope, name: str, slot: KeySlot, key: Secret | None = None
    ) -> SharedAccessPolicy:
        """Replace one key, by `key` or a new random one; the other goes on working.

        Raises:
            NotFound: `policy.not_found`.
            Invalid: `key.base64`, `key.length`.
            Conflict: `policy.same_key`: both slots would hold the same key, so the next roll would cut everyone.
        """
        fresh = make_key() if key is None else check_key(key)

        def work(tables: RegistryTables) -> SharedAccessPolicy:
            present = _get(tables, hub, scope, name)
            other = present.secondary if slot == "primary" else present.primary
            if secrets.compare_digest(other.reveal().encode(), fresh.reveal().encode()):
                raise Conflict("policy.same_key", f"the other key of policy {name!r} is this very key")
            changed = replace(present, primary=fresh) if slot == "primary" else replace(present, secondary=fresh)
            tables.policies.put(changed)
            tables.outbox.emit(Event("policies.changed", hub, scope, {"policy": name, "slot": slot}))
            return changed

        return await self._store.write(work)

    def switches(self, hub: HubId) -> SasSwitches:
        return self._store.read().policies.switches(hub)

    async def set_switches(self, hub: HubId, switches: SasSwitches) -> None:
        """Decide which token logins are refused from now on (services.md 5.4)."""

        def work(tables: RegistryTables) -> None:
            tables.policies.put_switches(hub, switches)
            tables.outbox.emit(
                Event(
                    "policies.changed",
                    hub,
                    "switches",
                    {
                        "disableLocalAuth": switches.disable_local_auth,
                        "disableDeviceSAS": switches.disable_device_sas,
                        "disableModuleSAS": switches.disable_module_sas,
                    },
                )
            )

        await self._store.write(work)


@dataclass(frozen=True, slots=True)
class UsablePolicy:
    """A policy with its keys decoded, ready to check signatures."""

    name: str
    rights: frozenset[Right]
    keys: tuple[bytes, bytes]


class PolicyCache:
    """What a login needs of policies and switches, without a query. Holds as much as a hub has policies."""

    def __init__(self, store: Store[RegistryTables], bus: Bus) -> None:
        self._store = store
        self._policies: dict[tuple[HubId, PolicyScope], dict[str, UsablePolicy]] = {}
        self._switches: dict[HubId, SasSwitches] = {}
        self.close: Callable[[], None] = bus.subscribe(self._heard)

    def find(self, hub: HubId, scope: PolicyScope, name: str) -> UsablePolicy | None:
        known = self._policies.get((hub, scope))
        if known is None:
            known = {
                policy.name: UsablePolicy(
                    policy.name, policy.rights, (key_bytes(policy.primary), key_bytes(policy.secondary))
                )
                for policy in self._store.read().policies.all(hub, scope)
            }
            self._policies[hub, scope] = known
        return known.get(name)

    def switches(self, hub: HubId) -> SasSwitches:
        known = self._switches.get(hub)
        if known is None:
            known = self._switches[hub] = self._store.read().policies.switches(hub)
        return known

    def _heard(self, event: Event) -> None:
        if event.kind == "policies.changed":
            self._policies.pop((event.hub, "hub"), None)
            self._policies.pop((event.hub, "dps"), None)
            self._switches.pop(event.hub, None)


def _get(tables: RegistryTables, hub: HubId, scope: PolicyScope, name: str) -> SharedAccessPolicy:
    policy = tables.policies.find(hub, scope, name)
    if policy is None:
        known = ", ".join(each.name for each in tables.policies.all(hub, scope))
        raise NotFound("policy.not_found", f"there is no policy {name[:64]!r}; there are {known}")
    return policy

"""Shared access policies: those every hub and provisioning service begins with, their keys, and the SAS switches.

`Policies` is the service; what it may do is decided in `policy_rules.py`. `PolicyCache` is what logins read: the
policies of a scope and the switches, kept until a `policies.changed` event says otherwise. Both the read that fills it
and the event that empties it happen on the event loop, the event after its commit, so a stale entry cannot outlive the
event.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from moorage.events import Bus, Event
from moorage.identities.model import PolicyScope, RegistryTables, Right, SasSwitches, SharedAccessPolicy
from moorage.identities.policy_rules import (
    DEFAULT_POLICIES,
    KeySlot,
    PolicyDraft,
    PolicyPlan,
    check_key,
    check_stays,
    decide_create,
    decide_roll,
    decide_swap,
    decide_update,
    get_among,
    make_key,
)
from moorage.identities.sas import key_bytes
from moorage.ids import HubId, Secret
from moorage.store import Store

__all__ = [
    "KeySlot",
    "Policies",
    "PolicyCache",
    "UsablePolicy",
    "audit_policies",
    "audit_switches",
    "carry_out",
    "check_key",
    "key_mark",
    "make_key",
    "put_switches",
]

audit = logging.getLogger("moorage.audit")

_MARK_BYTES = 16


class Policies:
    """Makes, shows and changes policies; names are found in any case, and `by` says who asks, for the audit log.

    Every change emits `policies.changed` with the scope as its subject, and is answered only after `settled`: what
    others made of that event is in place by then.
    """

    def __init__(self, store: Store[RegistryTables], settled: Callable[[], Awaitable[None]] | None = None) -> None:
        self._store = store
        self._settled = settled

    async def ensure_defaults(self, hub: HubId) -> None:
        """Make the default policies of a scope that has none: at the first start, and never again after."""

        def work(tables: RegistryTables) -> None:
            for scope, defaults in DEFAULT_POLICIES.items():
                if not tables.policies.all(hub, scope):
                    made = [
                        SharedAccessPolicy(hub, scope, name, make_key(), make_key(), rights)
                        for name, rights in defaults.items()
                    ]
                    carry_out(tables, hub, scope, PolicyPlan(created=made))

        if any(not self._store.read().policies.all(hub, scope) for scope in DEFAULT_POLICIES):
            await self._store.write(work)

    def get(self, hub: HubId, scope: PolicyScope, name: str) -> SharedAccessPolicy:
        """Raises `NotFound` (`policy.not_found`)."""
        return get_among(self.all(hub, scope), scope, name)

    def all(self, hub: HubId, scope: PolicyScope) -> list[SharedAccessPolicy]:
        return self._store.read().policies.all(hub, scope)

    async def create(
        self, hub: HubId, scope: PolicyScope, draft: PolicyDraft, *, by: object = ""
    ) -> SharedAccessPolicy:
        """Raises as `decide_create`."""

        def decide(present: list[SharedAccessPolicy]) -> PolicyPlan:
            return PolicyPlan(created=[decide_create(hub, scope, draft, present)])

        return (await self._change(hub, scope, decide, by)).created[0]

    async def update(
        self, hub: HubId, scope: PolicyScope, draft: PolicyDraft, *, by: object = ""
    ) -> SharedAccessPolicy:
        """Give the policy other rights or keys. Raises `NotFound` (`policy.not_found`), and as `decide_update`."""
        return await self._update(hub, scope, draft.name, lambda present: decide_update(present, draft), by)

    async def delete(self, hub: HubId, scope: PolicyScope, name: str, *, by: object = "") -> SharedAccessPolicy:
        """Nothing that its keys signed opens anything after. Raises `NotFound` and `Conflict` (`policy.fixed`)."""

        def decide(present: list[SharedAccessPolicy]) -> PolicyPlan:
            policy = get_among(present, scope, name)
            check_stays(policy)
            return PolicyPlan(deleted=[policy])

        return (await self._change(hub, scope, decide, by)).deleted[0]

    async def roll_key(
        self, hub: HubId, scope: PolicyScope, name: str, slot: KeySlot, key: Secret | None = None, *, by: object = ""
    ) -> SharedAccessPolicy:
        """Replace one key, by `key` or a new random one; the other goes on working. Raises as `update`."""
        return await self._update(hub, scope, name, lambda present: decide_roll(present, slot, key), by)

    async def swap_keys(self, hub: HubId, scope: PolicyScope, name: str, *, by: object = "") -> SharedAccessPolicy:
        """Primary becomes secondary; nobody is cut. Raises `NotFound` (`policy.not_found`)."""
        return await self._update(hub, scope, name, decide_swap, by)

    def switches(self, hub: HubId) -> SasSwitches:
        return self._store.read().policies.switches(hub)

    async def set_switches(self, hub: HubId, changes: Mapping[str, bool], *, by: object = "") -> SasSwitches:
        """Decide which token logins are refused from now on (services.md 5.4); `changes` by attribute."""

        def work(tables: RegistryTables) -> SasSwitches:
            return put_switches(tables, hub, changes)

        switches = await self._store.write(work)
        audit_switches(hub, switches, by)
        await self._settle()
        return switches

    async def _update(
        self,
        hub: HubId,
        scope: PolicyScope,
        name: str,
        change: Callable[[SharedAccessPolicy], SharedAccessPolicy],
        by: object,
    ) -> SharedAccessPolicy:
        def decide(present: list[SharedAccessPolicy]) -> PolicyPlan:
            before = get_among(present, scope, name)
            return PolicyPlan(updated=[(before, change(before))])

        return (await self._change(hub, scope, decide, by)).updated[0][1]

    async def _change(
        self, hub: HubId, scope: PolicyScope, decide: Callable[[list[SharedAccessPolicy]], PolicyPlan], by: object
    ) -> PolicyPlan:
        def work(tables: RegistryTables) -> PolicyPlan:
            plan = decide(tables.policies.all(hub, scope))
            carry_out(tables, hub, scope, plan)
            return plan

        plan = await self._store.write(work)
        audit_policies(hub, scope, plan, by)
        await self._settle()
        return plan

    async def _settle(self) -> None:
        if self._settled is not None:
            await self._settled()


def carry_out(tables: RegistryTables, hub: HubId, scope: PolicyScope, plan: PolicyPlan) -> None:
    """Write what `plan` says, inside a transaction."""
    for policy in (*plan.created, *(after for _, after in plan.updated)):
        tables.policies.put(policy)
    for policy in plan.deleted:
        tables.policies.delete(hub, scope, policy.name)
    if plan:
        tables.outbox.emit(Event("policies.changed", hub, scope))


def put_switches(tables: RegistryTables, hub: HubId, changes: Mapping[str, bool]) -> SasSwitches:
    """Turn those that are not so yet, inside a transaction; all of them as they are then."""
    present = tables.policies.switches(hub)
    switches = replace(present, **changes)
    if switches != present:
        tables.policies.put_switches(hub, switches)
        tables.outbox.emit(Event("policies.changed", hub, "switches"))
    return switches


def audit_policies(hub: HubId, scope: PolicyScope, plan: PolicyPlan, by: object) -> None:
    """Say in the audit log what became of policies."""
    for policy in plan.created:
        _audit("policy.created", hub, scope, policy.name, "rights,primaryKey,secondaryKey", by)
    for before, after in plan.updated:
        changed = {
            "rights": before.rights != after.rights,
            "primaryKey": before.primary != after.primary,
            "secondaryKey": before.secondary != after.secondary,
        }
        _audit("policy.updated", hub, scope, after.name, ",".join(name for name, is_so in changed.items() if is_so), by)
    for policy in plan.deleted:
        _audit("policy.deleted", hub, scope, policy.name, "", by)


def audit_switches(hub: HubId, switches: SasSwitches, by: object) -> None:
    """Say in the audit log which tokens are refused from now on."""
    facts = {
        "hub": hub,
        "disableLocalAuth": switches.disable_local_auth,
        "disableDeviceSAS": switches.disable_device_sas,
        "disableModuleSAS": switches.disable_module_sas,
        "by": str(by),
    }
    event = "sas.switched"
    text = "%s hub=%s disableLocalAuth=%s disableDeviceSAS=%s disableModuleSAS=%s by=%s"
    audit.info(text, event, *facts.values(), extra={"event": event, "facts": facts})


def _audit(event: str, hub: HubId, scope: PolicyScope, name: str, changed: str, by: object) -> None:
    facts = {"hub": hub, "scope": scope, "policy": name, "changed": changed, "by": str(by)}
    text = "%s hub=%s scope=%s policy=%s changed=%s by=%s"
    audit.info(text, event, *facts.values(), extra={"event": event, "facts": facts})


@dataclass(frozen=True, slots=True)
class UsablePolicy:
    """A policy with its keys decoded, ready to check signatures; `marks` tells each key apart from any other.

    `texts` are the keys as they are written: clients of Event Hubs sign with these (services.md 1.1 A-4).
    """

    name: str
    rights: frozenset[Right]
    keys: tuple[bytes, bytes]
    marks: tuple[bytes, bytes]
    texts: tuple[bytes, bytes]


def key_mark(key: Secret) -> bytes:
    """What a session remembers of the key that let it in: says whether it is a certain key, and not which."""
    return hashlib.sha256(key_bytes(key)).digest()[:_MARK_BYTES]


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
                    policy.name,
                    policy.rights,
                    (key_bytes(policy.primary), key_bytes(policy.secondary)),
                    (key_mark(policy.primary), key_mark(policy.secondary)),
                    (policy.primary.reveal().encode(), policy.secondary.reveal().encode()),
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

"""Hub and provisioning service as resources that a control plane reads and writes whole (services.md 5.4).

What can be changed of one are its tags, its policies and, of a hub, the SAS switches; `more` is what else its owner
keeps. A change is one transaction: all of it, or nothing. The etag is made from all that can be changed, keys included,
so who read a resource before somebody rolled a key cannot put the old key back unawares.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from moorage.errors import Invalid, PreconditionFailed, TooLarge
from moorage.identities.model import PolicyScope, RegistryTables, SasSwitches, SharedAccessPolicy
from moorage.identities.policies import audit_policies, audit_switches, carry_out, put_switches
from moorage.identities.policy_rules import PolicyDraft, PolicyPlan, decide_all
from moorage.ids import ETag, HubId
from moorage.store import SettingTable, Store

__all__ = [
    "MAX_TAGS",
    "ResourceChange",
    "ResourceState",
    "ResourceTables",
    "Resources",
    "check_tags",
]

audit = logging.getLogger("moorage.audit")

# Azure's own limits for the tags of a resource.
MAX_TAGS: Final = 50
_MAX_TAG_NAME = 512
_MAX_TAG_VALUE = 256
_ETAG_BYTES = 12


class ResourceTables(RegistryTables, Protocol):
    """What this module needs of a store."""

    @property
    def settings(self) -> SettingTable: ...


T = TypeVar("T", bound=ResourceTables)


@dataclass(frozen=True, slots=True)
class ResourceState:
    """All that can be changed of a resource. `switches` stay at their defaults for a provisioning service."""

    tags: Mapping[str, str]
    policies: Sequence[SharedAccessPolicy]
    switches: SasSwitches
    etag: ETag


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What is to be another way; None stays. `tags` and `policies` are all there will be, `switches` by attribute."""

    tags: Mapping[str, str] | None = None
    policies: Sequence[PolicyDraft] | None = None
    switches: Mapping[str, bool] = field(default_factory=dict)


class Resources(Generic[T]):
    """The resource of one scope. `more` gives what else of it can be changed, as JSON, for the etag.

    As with `Policies`, a change is answered after `settled`.
    """

    def __init__(
        self,
        store: Store[T],
        scope: PolicyScope,
        settled: Callable[[], Awaitable[None]] | None = None,
        more: Callable[[T, HubId], Any] | None = None,
    ) -> None:
        self._store = store
        self._scope = scope
        self._settled = settled
        self._more = more

    def state(self, hub: HubId) -> ResourceState:
        return self._state(self._store.read(), hub)

    async def change(
        self,
        hub: HubId,
        change: ResourceChange,
        *,
        by: object = "",
        if_match: ETag | None = None,
        also: Callable[[T], object] | None = None,
    ) -> ResourceState:
        """Make it so, `also` in the same transaction; the resource as it is then.

        Raises:
            PreconditionFailed: `etag.stale`.
            Invalid, TooLarge: `tag.*`.
            As `decide_all` for policies, and as `also`.
        """
        if change.tags is not None:
            check_tags(change.tags)

        def work(tables: T) -> tuple[ResourceState, ResourceState, PolicyPlan]:
            before = self._state(tables, hub)
            if if_match is not None and if_match != before.etag:
                raise PreconditionFailed(
                    "etag.stale",
                    f"the resource was changed since it was read (you hold {if_match[:64]!r}, it is at "
                    f"{before.etag!r}); read it again",
                )
            plan = PolicyPlan()
            if change.policies is not None:
                plan = decide_all(hub, self._scope, change.policies, before.policies)
                carry_out(tables, hub, self._scope, plan)
            put_switches(tables, hub, change.switches)
            if change.tags is not None and change.tags != before.tags:
                tables.settings.put(_tags_key(self._scope), json.dumps(dict(change.tags)), hub)
            if also is not None:
                also(tables)
            return before, self._state(tables, hub), plan

        before, after, plan = await self._store.write(work)
        audit_policies(hub, self._scope, plan, by)
        if after.switches != before.switches:
            audit_switches(hub, after.switches, by)
        if after.tags != before.tags:
            _audit_tags(hub, self._scope, after.tags, by)
        if self._settled is not None:
            await self._settled()
        return after

    def _state(self, tables: T, hub: HubId) -> ResourceState:
        stored = tables.settings.get(_tags_key(self._scope), hub)
        tags: dict[str, str] = {} if stored is None else json.loads(stored)
        policies = tables.policies.all(hub, self._scope)
        switches = tables.policies.switches(hub) if self._scope == "hub" else SasSwitches()
        more = None if self._more is None else self._more(tables, hub)
        facts = [
            tags,
            [[each.name, sorted(each.rights), each.primary.reveal(), each.secondary.reveal()] for each in policies],
            [switches.disable_local_auth, switches.disable_device_sas, switches.disable_module_sas],
            more,
        ]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
        return ResourceState(tags, policies, switches, ETag(base64.b64encode(digest[:_ETAG_BYTES]).decode()))


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises `TooLarge` (`tag.too_many`) and `Invalid` (`tag.name`, `tag.value`)."""
    if len(tags) > MAX_TAGS:
        raise TooLarge("tag.too_many", f"there are {len(tags)} tags, at most {MAX_TAGS} are allowed")
    for name, value in tags.items():
        if not 1 <= len(name) <= _MAX_TAG_NAME:
            raise Invalid(
                "tag.name", f"the tag name {name[:40]!r} has {len(name)} characters, not 1 to {_MAX_TAG_NAME}"
            )
        if len(value) > _MAX_TAG_VALUE:
            raise Invalid("tag.value", f"tag {name[:40]!r} has {len(value)} characters, at most {_MAX_TAG_VALUE}")


def _tags_key(scope: PolicyScope) -> str:
    return f"tags_of_{scope}"


def _audit_tags(hub: HubId, scope: PolicyScope, tags: Mapping[str, str], by: object) -> None:
    facts = {"hub": hub, "scope": scope, "tags": ",".join(sorted(tags)), "by": str(by)}
    event = "resource.tagged"
    audit.info("%s hub=%s scope=%s tags=%r by=%s", event, *facts.values(), extra={"event": event, "facts": facts})

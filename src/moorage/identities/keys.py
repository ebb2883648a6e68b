"""New symmetric keys for many identities at once (contract/services.md 2.2, "Regenerate keys").

One transaction for a request; one identity that is refused keeps nobody else from new keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from moorage.errors import Invalid, Refusal
from moorage.identities.model import BySharedKey, Identity, RegistryTables
from moorage.identities.policies import make_key
from moorage.identities.registry import IdentityDraft, audit_identity, find_in, update_in
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = ["MAX_REGENERATED", "KeyService", "PolicyKey", "Regenerated"]

# contract/services.md 2.2
MAX_REGENERATED: Final = 100

PolicyKey = Literal["primaryKey", "secondaryKey", "both"]


@dataclass(frozen=True, slots=True)
class Regenerated:
    """What became of one name: the identity with its new keys, or why it has none."""

    name: IdentityName
    identity: Identity | None = None
    refusal: Refusal | None = None


class KeyService:
    """Gives identities new keys; sessions that stand go on until they connect again."""

    def __init__(self, store: Store[RegistryTables]) -> None:
        self._store = store

    async def regenerate(
        self, hub: HubId, names: Sequence[IdentityName], which: PolicyKey, now: datetime, *, by: object = None
    ) -> list[Regenerated]:
        """One result a name, in order; `names` holds none twice."""
        results = await self._store.write(
            lambda tables: [_regenerate(tables, hub, name, which, now) for name in names],
        )
        for result in results:
            if result.identity is not None:
                audit_identity("keys_regenerated", result.identity, by)
        return results


def _regenerate(tables: RegistryTables, hub: HubId, name: IdentityName, which: PolicyKey, now: datetime) -> Regenerated:
    try:
        present = find_in(tables, hub, name)
        if not isinstance(present.authentication, BySharedKey):
            raise Invalid("key.not_used", f"'{name}' does not authenticate by symmetric keys, so it has none to renew")
        keys = BySharedKey(
            present.authentication.primary if which == "secondaryKey" else make_key(),
            present.authentication.secondary if which == "primaryKey" else make_key(),
        )
        draft = IdentityDraft(name, authentication=keys, status_reason=present.status_reason)
        return Regenerated(name, update_in(tables, hub, draft, now))
    except Refusal as refusal:
        return Regenerated(name, refusal=refusal)
